/* SPDX-License-Identifier: MIT */
/* part: policy */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/retry.h"
#include "support/vectors.h"

static json_t *vectors;

/* A source whose uniform number is *state. */
static void fill_unit(void *state, void *out, size_t len)
{
    uint64_t word = (uint64_t)(*(double *)state * 0x1p53) << 11;
    assert_int_equal(len, sizeof word);
    memcpy(out, &word, sizeof word);
}

static int64_t integer_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key)); /* 0 when absent */
}

static bool flag_of(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static enum peri_code code_of(const json_t *name)
{
    enum peri_code code = peri_code_from_name(json_string_value(name));
    assert_int_not_equal(code, PERI_CODE_COUNT);
    return code;
}

enum { MOST = 16 };

/* A policy of the vectors, with the lists that it points to. */
struct loaded {
    struct peri_retry_policy policy;
    int statuses[MOST], unsafe_statuses[MOST], never_statuses[MOST];
    enum peri_code codes[MOST], unsafe_codes[MOST];
    struct peri_retry_coded coded[MOST];
};

static const int *load_statuses(const json_t *list, int *into)
{
    size_t i;
    json_t *item;
    assert_true(json_array_size(list) < MOST);
    json_array_foreach((json_t *)list, i, item) into[i] = (int)json_integer_value(item);
    into[json_array_size(list)] = 0;
    return list ? into : NULL;
}

static const enum peri_code *load_codes(const json_t *list, enum peri_code *into)
{
    size_t i;
    json_t *item;
    assert_true(json_array_size(list) < MOST);
    json_array_foreach((json_t *)list, i, item) into[i] = code_of(item);
    into[json_array_size(list)] = PERI_OK;
    return list ? into : NULL;
}

static enum peri_backoff backoff_of(const char *name)
{
    static const char *const names[] = {
        [PERI_BACKOFF_NONE] = "none",
        [PERI_BACKOFF_FULL_JITTER] = "full_jitter",
        [PERI_BACKOFF_EQUAL_JITTER] = "equal_jitter",
        [PERI_BACKOFF_DECORRELATED] = "decorrelated",
        [PERI_BACKOFF_EXPONENTIAL] = "exponential",
        [PERI_BACKOFF_EXPONENTIAL_PLUS] = "exponential_plus",
        [PERI_BACKOFF_EXPONENTIAL_SPREAD] = "exponential_spread",
        [PERI_BACKOFF_FULL_EQUAL_ON_THROTTLE] = "full_equal_on_throttle",
        [PERI_BACKOFF_QUADRATIC] = "quadratic",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return (enum peri_backoff)i;
    fail_msg("unknown back-off %s", name);
    return PERI_BACKOFF_NONE;
}

static void load_policy(const char *name, struct loaded *to)
{
    const json_t *from = json_object_get(json_object_get(vectors, "policies"), name);
    size_t i;
    json_t *pair;
    memset(to, 0, sizeof *to);
    if (strcmp(name, "default") == 0 || strcmp(name, "none") == 0) {
        to->policy = name[0] == 'd' ? peri_retry_default : peri_retry_none;
        return;
    }
    assert_non_null(from);
    const json_t *coded = json_object_get(from, "coded");
    assert_true(json_array_size(coded) < MOST);
    json_array_foreach((json_t *)coded, i, pair)
    {
        to->coded[i].status = (int)json_integer_value(json_array_get(pair, 0));
        to->coded[i].platform_code = json_string_value(json_array_get(pair, 1));
    }
    to->policy = (struct peri_retry_policy){
        .max_attempts = (unsigned)integer_of(from, "max_attempts"),
        .max_connect_attempts = (unsigned)integer_of(from, "max_connect_attempts"),
        .backoff = backoff_of(json_string_value(json_object_get(from, "backoff"))),
        .min_ms = integer_of(from, "min_ms"),
        .base_ms = integer_of(from, "base_ms"),
        .cap_ms = integer_of(from, "cap_ms"),
        .max_elapsed_ms = integer_of(from, "max_elapsed_ms"),
        .obey_retry_after = flag_of(from, "obey_retry_after"),
        .max_retry_after_ms = integer_of(from, "max_retry_after_ms"),
        .statuses = load_statuses(json_object_get(from, "statuses"), to->statuses),
        .unsafe_statuses = load_statuses(json_object_get(from, "unsafe_statuses"), to->unsafe_statuses),
        .growth = json_number_value(json_object_get(from, "growth")),
        .jitter_ms = integer_of(from, "jitter_ms"),
        .spread = json_number_value(json_object_get(from, "spread")),
        .any_5xx = flag_of(from, "any_5xx"),
        .never_statuses = load_statuses(json_object_get(from, "never_statuses"), to->never_statuses),
        .coded = coded ? to->coded : NULL,
        .codes = load_codes(json_object_get(from, "codes"), to->codes),
        .unsafe_codes = load_codes(json_object_get(from, "unsafe_codes"), to->unsafe_codes),
        .elapsed_excludes_wait = flag_of(from, "elapsed_excludes_wait"),
    };
}

static struct peri_attempt load_attempt(const json_t *from)
{
    const json_t *code = json_object_get(from, "code");
    const json_t *retry_after = json_object_get(from, "retry_after_ms");
    return (struct peri_attempt){
        .number = (unsigned)integer_of(from, "number"),
        .connect_failures = (unsigned)integer_of(from, "connect_failures"),
        .status = (int)integer_of(from, "status"),
        .code = code ? code_of(code) : PERI_OK,
        .idempotent = flag_of(from, "idempotent"),
        .anything_sent = flag_of(from, "anything_sent"),
        .forced = flag_of(from, "forced"),
        .retry_after_ms = retry_after ? json_integer_value(retry_after) : -1,
        .elapsed_ms = integer_of(from, "elapsed_ms"),
        .previous_wait_ms = integer_of(from, "previous_wait_ms"),
        .platform_code = json_string_value(json_object_get(from, "platform_code")),
    };
}

static void every_case_is_decided_as_recorded(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "cases"), i, vector)
    {
        struct loaded loaded;
        const json_t *want_reason = json_object_get(vector, "reason");
        double unit = json_number_value(json_object_get(vector, "random"));
        int64_t wait_ms = -7;
        const char *reason = "unset", *name = json_string_value(json_object_get(vector, "policy"));
        load_policy(name, &loaded);
        struct peri_attempt attempt = load_attempt(json_object_get(vector, "attempt"));
        bool again =
            peri_retry_decide(&loaded.policy, &attempt, (struct peri_random){ fill_unit, &unit }, &wait_ms, &reason);
        if (again != !want_reason)
            fail_msg("case %zu, %s: %s", i, name, again ? "retried" : reason);
        if (want_reason) {
            assert_string_equal(reason, json_string_value(want_reason));
            assert_int_equal(wait_ms, 0);
            assert_false(
                peri_retry_decide(&loaded.policy, &attempt, (struct peri_random){ fill_unit, &unit }, &wait_ms, NULL));
        } else if (wait_ms != integer_of(vector, "wait_ms")) {
            fail_msg("case %zu, %s: waits %lld ms", i, name, (long long)wait_ms);
        } else {
            assert_null(reason);
        }
    }
}

static void runs_end_after_as_many_attempts(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "runs"), i, vector)
    {
        struct loaded loaded;
        const json_t *template = json_object_get(vector, "attempt");
        double unit = json_number_value(json_object_get(vector, "random"));
        int64_t wait_ms = 0;
        load_policy(json_string_value(json_object_get(vector, "policy")), &loaded);
        struct peri_attempt attempt = load_attempt(template);
        attempt.number = 0;
        do {
            attempt.number++;
            attempt.connect_failures += flag_of(template, "connect");
            attempt.elapsed_ms += wait_ms;
            attempt.previous_wait_ms = wait_ms;
        } while (peri_retry_decide(&loaded.policy, &attempt, (struct peri_random){ fill_unit, &unit }, &wait_ms, NULL));
        if (attempt.number != integer_of(vector, "attempts") ||
            attempt.elapsed_ms != integer_of(vector, "total_wait_ms"))
            fail_msg("run %zu: %u attempts in %lld ms", i, attempt.number, (long long)attempt.elapsed_ms);
    }
}

/* Whatever the attempt: a wait lies between what is least and most for its back-off. */
static void waits_stay_within_their_bounds(void **state)
{
    static const int statuses[] = { 429, 503, 0 };
    uint64_t seed = 9;
    struct peri_random random = peri_random_seeded(&seed);
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct peri_retry_policy policy = {
            .max_attempts = UINT32_MAX,
            .backoff = (enum peri_backoff)(i % (PERI_BACKOFF_QUADRATIC + 1)),
            .min_ms = (int64_t)(peri_random_u64(random) % 100),
            .base_ms = (int64_t)(peri_random_u64(random) % 1000) + 100,
            .cap_ms = (int64_t)(peri_random_u64(random) % 100000) + 1100,
            .jitter_ms = 500,
            .spread = 0.5,
            .growth = (double)(i % 4),
            .statuses = statuses,
        };
        struct peri_attempt attempt = { .number = 1u << (i % 32),
                                        .status = i % 2 ? 429 : 503,
                                        .idempotent = true,
                                        .retry_after_ms = -1,
                                        .previous_wait_ms = (int64_t)(peri_random_u64(random) % 200000) };
        int64_t wait_ms;
        assert_true(peri_retry_decide(&policy, &attempt, random, &wait_ms, NULL));
        assert_true(wait_ms >= 0 && wait_ms <= policy.cap_ms);
        if (policy.backoff == PERI_BACKOFF_NONE)
            assert_int_equal(wait_ms, 0);
        if (policy.backoff == PERI_BACKOFF_FULL_JITTER)
            assert_true(wait_ms >= policy.min_ms);
        if (policy.backoff == PERI_BACKOFF_DECORRELATED)
            assert_true(wait_ms >= policy.base_ms);
        if (policy.backoff == PERI_BACKOFF_EXPONENTIAL || policy.backoff == PERI_BACKOFF_QUADRATIC)
            assert_true(wait_ms >= policy.base_ms);
    }
}

static void retry_after_is_read(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "retry_after"), i, vector)
    {
        const char *value = json_string_value(json_object_get(vector, "value"));
        int64_t wait_ms = peri_retry_after_parse(value, integer_of(vector, "now_ms"));
        if (wait_ms != integer_of(vector, "wait_ms"))
            fail_msg("'%s' gives %lld", value, (long long)wait_ms);
    }
    assert_int_equal(peri_retry_after_parse(NULL, 0), -1);
    assert_true(peri_retry_after_parse("99999999999999999999999999999999", 0) > INT64_C(1000000000000));
}

static int setup(void **state)
{
    (void)state;
    vectors = vectors_load("retry");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_is_decided_as_recorded),
        cmocka_unit_test(runs_end_after_as_many_attempts),
        cmocka_unit_test(waits_stay_within_their_bounds),
        cmocka_unit_test(retry_after_is_read),
    };
    return cmocka_run_group_tests_name("retry", tests, setup, teardown);
}
