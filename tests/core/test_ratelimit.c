/* SPDX-License-Identifier: MIT */
/* part: policy */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/random.h"
#include "perilune/ratelimit.h"
#include "support/alloc_fail.h"
#include "support/vectors.h"

static void every_step_answers_as_recorded(void **state)
{
    json_t *vectors = vectors_load("ratelimit"), *vector, *step;
    size_t i, k;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "cases"), i, vector)
    {
        const char *name = json_string_value(json_object_get(vector, "name"));
        unsigned limit = (unsigned)json_integer_value(json_object_get(vector, "limit"));
        struct peri_ratelimit *limiter =
            peri_ratelimit_new(limit, json_integer_value(json_object_get(vector, "window_ms")), NULL);
        assert_non_null(limiter);
        assert_int_equal(peri_ratelimit_limit(limiter), limit);
        json_array_foreach((json_t *)vectors_section(vector, "steps"), k, step)
        {
            int64_t at = json_integer_value(json_object_get(step, "at")), got = 0, want = 0;
            const json_t *arg;
            if ((arg = json_object_get(step, "take"))) {
                got = peri_ratelimit_take(limiter, (unsigned)json_integer_value(arg), at);
                want = json_integer_value(json_object_get(step, "wait"));
            } else if ((arg = json_object_get(step, "hold"))) {
                got = peri_ratelimit_hold(limiter, (unsigned)json_integer_value(arg), at);
                want = json_integer_value(json_object_get(step, "wait"));
            } else if ((arg = json_object_get(step, "end"))) {
                peri_ratelimit_end(limiter, (unsigned)json_integer_value(arg), at);
            } else if ((arg = json_object_get(step, "drop"))) {
                peri_ratelimit_drop(limiter, (unsigned)json_integer_value(arg));
            } else if ((arg = json_object_get(step, "remaining"))) {
                got = peri_ratelimit_remaining(limiter, at);
                want = json_integer_value(arg);
            } else if ((arg = json_object_get(step, "reset_at"))) {
                got = peri_ratelimit_reset_at(limiter, at);
                want = json_integer_value(arg);
            } else if ((arg = json_object_get(step, "block"))) {
                peri_ratelimit_block(limiter, json_integer_value(arg));
            } else if ((arg = json_object_get(step, "give_back"))) {
                peri_ratelimit_give_back(limiter, (unsigned)json_integer_value(arg));
            } else {
                fail_msg("%s, step %zu: unknown", name, k);
            }
            if (got != want)
                fail_msg("%s, step %zu: %lld instead of %lld", name, k, (long long)got, (long long)want);
        }
        peri_ratelimit_free(limiter);
    }
    json_decref(vectors);
}

enum { LIMIT = 100, WINDOW = 60000, HOURS = 6, DURATION = HOURS * 3600 * 1000 };

/* No window [t, t + WINDOW) holds more than LIMIT: it is enough that no LIMIT + 1 in a row lie within one. */
static void check_no_window_is_over(const int64_t *sent, size_t count)
{
    for (size_t i = LIMIT; i < count; i++)
        if (sent[i] - sent[i - LIMIT] < WINDOW)
            fail_msg("%d requests between %lld and %lld", LIMIT + 1, (long long)sent[i - LIMIT], (long long)sent[i]);
}

/* Requests arrive at random times, mean_gap apart, and each waits in line for its turn. Returns how many were sent. */
static size_t simulate(uint64_t seed, double mean_gap, int64_t *sent, size_t most)
{
    struct peri_random random = peri_random_seeded(&seed);
    struct peri_ratelimit *limiter = peri_ratelimit_new(LIMIT, WINDOW, NULL);
    double arrival = 0;
    int64_t now = 0;
    size_t count = 0;
    assert_non_null(limiter);
    while (count < most) {
        arrival += peri_random_unit(random) * 2 * mean_gap;
        if (peri_random_u64(random) % 500 == 0)
            arrival += peri_random_unit(random) * 4 * mean_gap * LIMIT; /* a lull, after which a burst fits */
        if (now < (int64_t)arrival)
            now = (int64_t)arrival;
        int64_t wait = peri_ratelimit_take(limiter, 1, now);
        if (wait > 0) {
            assert_true(wait <= WINDOW);
            assert_true(peri_ratelimit_take(limiter, 1, now + wait - 1) == 1); /* it is not free earlier */
            now += wait;
            assert_int_equal(peri_ratelimit_take(limiter, 1, now), 0);
        }
        if (now >= DURATION)
            break;
        sent[count++] = now;
    }
    peri_ratelimit_free(limiter);
    return count;
}

static void no_window_is_ever_over_the_limit(void **state)
{
    static const double gaps[] = { 1, 50, 300, 550, 600, 650, 5000 }; /* 600 ms is exactly the limit */
    const size_t most = (size_t)LIMIT * (DURATION / WINDOW) + LIMIT;
    int64_t *sent = malloc(most * sizeof *sent);
    (void)state;
    assert_non_null(sent);
    for (size_t g = 0; g < sizeof gaps / sizeof gaps[0]; g++) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            size_t count = simulate(seed, gaps[g], sent, most);
            assert_true(count > 1000);
            check_no_window_is_over(sent, count);
        }
    }
    free(sent);
}

static void the_throughput_is_the_limit(void **state)
{
    const size_t minutes = DURATION / WINDOW, most = LIMIT * minutes + LIMIT;
    int64_t *sent = malloc(most * sizeof *sent);
    (void)state;
    assert_non_null(sent);
    struct peri_ratelimit *limiter = peri_ratelimit_new(LIMIT, WINDOW, NULL);
    size_t count = 0;
    for (int64_t now = 0; now < DURATION;) { /* always somebody waits */
        int64_t wait = peri_ratelimit_take(limiter, 1, now);
        if (wait == 0)
            sent[count++] = now;
        now += wait;
    }
    assert_int_equal(count, LIMIT * minutes);
    check_no_window_is_over(sent, count);
    peri_ratelimit_free(limiter);
    free(sent);
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Five clients share the limiter. Each request arrives at the server some time between its start and its end, so that
 * arrivals bunch up; the server's windows hold all the same. Nothing is lost but the time that requests take. */
static void the_servers_windows_hold_too(void **state)
{
    enum { CLIENTS = 5, MOST_DELAY = 3000 };
    const size_t most = (size_t)LIMIT * (DURATION / WINDOW) + LIMIT;
    int64_t *arrived = malloc(most * sizeof *arrived);
    (void)state;
    assert_non_null(arrived);
    for (uint64_t seed = 1; seed <= 2; seed++) {
        uint64_t random_state = seed;
        struct peri_random random = peri_random_seeded(&random_state);
        struct peri_ratelimit *limiter = peri_ratelimit_new(LIMIT, WINDOW, NULL);
        int64_t ends[CLIENTS] = { 0 }; /* 0: idle */
        size_t count = 0;
        for (int64_t now = 1; now < DURATION; now += 7) {
            for (int i = 0; i < CLIENTS; i++) {
                if (ends[i] > now)
                    continue;
                if (ends[i] != 0)
                    peri_ratelimit_end(limiter, 1, now);
                ends[i] = 0;
                bool greedy = now / 600000 % 2 == 0; /* ten minutes of always wanting, ten of now and then */
                if ((!greedy && peri_random_u64(random) % 570 != 0) || peri_ratelimit_hold(limiter, 1, now) != 0)
                    continue;
                ends[i] = now + 1 + (int64_t)(peri_random_unit(random) * (i % 2 ? MOST_DELAY : 50));
                arrived[count++] = now + (int64_t)(peri_random_unit(random) * (double)(ends[i] - now));
            }
        }
        qsort(arrived, count, sizeof *arrived, compare_times);
        check_no_window_is_over(arrived, count);
        assert_true(count > (size_t)LIMIT * (DURATION / WINDOW) * 3 / 4);
        peri_ratelimit_free(limiter);
    }
    free(arrived);
}

/* Held places count until a window after their end, dropped ones not at all; many together need several windows. */
static void what_is_held_counts(void **state)
{
    (void)state;
    struct peri_ratelimit *limiter = peri_ratelimit_new(3, 1000, NULL);
    assert_int_equal(peri_ratelimit_hold(limiter, 4, 0), -1);
    assert_int_equal(peri_ratelimit_hold(limiter, 3, 0), 0);
    assert_int_equal(peri_ratelimit_remaining(limiter, 5000), 0);
    assert_int_equal(peri_ratelimit_hold(limiter, 1, 5000), 1000);
    peri_ratelimit_end(limiter, 1, 5100);
    peri_ratelimit_drop(limiter, 1);
    assert_int_equal(peri_ratelimit_remaining(limiter, 5100), 1);
    assert_int_equal(peri_ratelimit_hold(limiter, 2, 5100), 1000);
    assert_int_equal(peri_ratelimit_wait(limiter, 1, 5100), 0);
    assert_int_equal(peri_ratelimit_wait(limiter, 4, 5100), 1000);
    assert_int_equal(peri_ratelimit_hold(limiter, 2, 6100), 0);
    peri_ratelimit_end(limiter, 9, 6200);
    assert_int_equal(peri_ratelimit_wait(limiter, 5, 6200), 2000);
    struct peri_ratelimit *next = peri_ratelimit_new(2, 500, NULL);
    peri_ratelimit_copy(next, limiter);
    assert_int_equal(peri_ratelimit_hold(next, 1, 6200), 500);
    peri_ratelimit_free(next);
    peri_ratelimit_free(limiter);
}

/* Refused together counts once; refused again after the wait doubles it, up to the window; one success forgets. */
static void a_throttle_backs_off(void **state)
{
    (void)state;
    struct peri_throttle throttle = { 0 };
    int64_t now = 100000, until = 0, wait = 3750;
    for (int i = 0; i < 7; i++) {
        until = peri_throttle_refused(&throttle, 60000, now, -1, now + 20);
        assert_int_equal(until, now + 20 + wait);
        assert_int_equal(peri_throttle_refused(&throttle, 60000, now, -1, now + 30), until);
        wait = wait * 2 < 60000 ? wait * 2 : 60000;
        now = until;
    }
    assert_int_equal(peri_throttle_refused(&throttle, 60000, now, 1500, now + 20), now + 1520);
    peri_throttle_accepted(&throttle, now); /* began before the refusal: says nothing */
    assert_int_equal(throttle.refusals, 7);
    peri_throttle_accepted(&throttle, now + 1520);
    assert_int_equal(throttle.refusals, 0);
    assert_int_equal(peri_throttle_refused(&throttle, 5, 0, -1, 10), 11);
}

/* Groups of several, places given back, blocks: against a plain list of what was sent. */
static void a_plain_list_agrees(void **state)
{
    enum { SMALL = 7, SPAN = 1000, STEPS = 20000 };
    static int64_t list[STEPS * SMALL];
    uint64_t seed = 12;
    struct peri_random random = peri_random_seeded(&seed);
    struct peri_ratelimit *limiter = peri_ratelimit_new(SMALL, SPAN, NULL);
    int64_t now = 0, blocked = 0;
    size_t count = 0;
    (void)state;
    for (int i = 0; i < STEPS; i++) {
        unsigned inside = 0, n = (unsigned)(peri_random_u64(random) % (SMALL + 1));
        now += (int64_t)(peri_random_u64(random) % 300);
        if (peri_random_u64(random) % 50 == 0) {
            blocked = now + (int64_t)(peri_random_u64(random) % 2000) > blocked ? now + 700 : blocked;
            peri_ratelimit_block(limiter, blocked);
        }
        for (size_t k = count; k > 0 && list[k - 1] + SPAN > now; k--)
            inside++;
        assert_int_equal(peri_ratelimit_remaining(limiter, now), now < blocked ? 0 : SMALL - inside);
        int64_t wait = peri_ratelimit_take(limiter, n, now);
        assert_int_equal(wait == 0, n == 0 || (now >= blocked && inside + n <= SMALL));
        if (wait != 0)
            continue;
        unsigned back = peri_random_u64(random) % 4 == 0 ? n / 2 : 0;
        peri_ratelimit_give_back(limiter, back);
        for (unsigned k = back; k < n; k++)
            list[count++] = now;
    }
    assert_true(count > 10000);
    peri_ratelimit_free(limiter);
}

static void nonsense_is_refused(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    assert_null(peri_ratelimit_new(0, 1000, &err));
    assert_int_equal(err.code, PERI_INVALID);
    assert_null(peri_ratelimit_new(1, 0, &err));
    assert_null(peri_ratelimit_new(1, -1, &err));
    assert_null(peri_ratelimit_new(PERI_RATELIMIT_MAX + 1, 1000, &err));
    assert_int_equal(err.code, PERI_INVALID);
    peri_ratelimit_free(NULL);
    struct peri_ratelimit *limiter = peri_ratelimit_new(PERI_RATELIMIT_MAX, 1000, &err);
    assert_int_equal(peri_ratelimit_take(limiter, PERI_RATELIMIT_MAX, 0), 0);
    assert_int_equal(peri_ratelimit_take(limiter, 1, 0), 1000);
    peri_ratelimit_free(limiter);
}

static void survives_a_failing_allocation(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    alloc_fail_at(1);
    struct peri_ratelimit *limiter = peri_ratelimit_new(5, 1000, &err);
    assert_true(alloc_fail_stop());
    assert_null(limiter);
    assert_int_equal(err.code, PERI_NOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_answers_as_recorded),
        cmocka_unit_test(no_window_is_ever_over_the_limit),
        cmocka_unit_test(the_throughput_is_the_limit),
        cmocka_unit_test(the_servers_windows_hold_too),
        cmocka_unit_test(what_is_held_counts),
        cmocka_unit_test(a_throttle_backs_off),
        cmocka_unit_test(a_plain_list_agrees),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(survives_a_failing_allocation),
    };
    return cmocka_run_group_tests_name("ratelimit", tests, NULL, NULL);
}
