/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/scheduler.h"

/* Weeks in milliseconds: time is an argument. */

#define DAY INT64_C(86400000)
#define START INT64_C(1772323200000) /* 2026-03-01T00:00:00Z */

struct seen {
    int64_t times[5000];
    enum peri__verdict verdicts[5000];
    size_t count;
};

static bool note(void *data, struct peri__plan *plan, int64_t scheduled_ms, enum peri__verdict verdict,
                 const char *reason)
{
    struct seen *seen = data;
    assert_ptr_equal(plan->data, seen);
    assert_true(seen->count < 5000);
    assert_int_equal(reason != NULL, verdict == PERI__TICK_SKIP || verdict == PERI__TICK_MISSED);
    seen->times[seen->count] = scheduled_ms;
    seen->verdicts[seen->count++] = verdict;
    return verdict == PERI__TICK_RUN || verdict == PERI__TICK_HOLD;
}

struct play {
    struct peri__scheduler scheduler;
    struct peri__plan plan;
    struct seen seen;
    struct peri_timezone *zone;
};

static void play_begin(struct play *p, const char *cron, const char *zone, int64_t since)
{
    p->scheduler.tick = note;
    p->scheduler.data = &p->seen;
    p->plan.data = &p->seen;
    p->plan.since_ms = since;
    assert_int_equal(peri_cron_parse(&p->plan.cron, peri_str_from(cron), NULL), PERI_OK);
    assert_int_equal(peri_timezone_load(zone, NULL, &p->zone, NULL), PERI_OK);
    p->plan.zone = p->zone;
}

static void play_end(struct play *p)
{
    peri__scheduler_fini(&p->scheduler);
    peri_timezone_free(p->zone);
}

static void weeks_pass(void **state)
{
    (void)state;
    struct play p = { 0 };
    play_begin(&p, "30 2 * * *", "Europe/Berlin", START);
    assert_int_equal(peri__scheduler_add(&p.scheduler, &p.plan, START), PERI_OK);
    for (int64_t now = START; now <= START + 300 * DAY;) {
        peri__scheduler_run(&p.scheduler, now);
        p.plan.open = 0;
        int64_t next = peri__scheduler_next(&p.scheduler);
        assert_true(next > now);
        now = next;
    }
    /* One a day; the one that was skipped on 29 March came at 03:00, 01:00 UTC; the one of 25 October once. */
    assert_int_equal(p.seen.count, 300);
    assert_int_equal(p.seen.times[0], START + 90 * 60000);
    assert_int_equal(p.seen.times[28], INT64_C(1774746000000));
    assert_int_equal(p.seen.times[29] - p.seen.times[28], DAY - 30 * 60000);
    assert_int_equal(p.seen.times[239] - p.seen.times[238], DAY + 3600000);
    play_end(&p);
}

static void missed_ticks_follow_the_policy(void **state)
{
    (void)state;
    static const struct {
        enum peri_missed missed;
        size_t count, run;
    } cases[] = { { PERI_MISSED_SKIP, 1, 0 }, { PERI_MISSED_ONCE, 1, 1 }, { PERI_MISSED_ALL, 24, 24 } };
    for (size_t i = 0; i < 3; i++) {
        struct play p = { .plan.missed = cases[i].missed };
        size_t run = 0;
        play_begin(&p, "0 * * * *", "UTC", START);
        peri__scheduler_add(&p.scheduler, &p.plan, START + DAY + 1);
        assert_int_equal(p.seen.count, cases[i].count);
        for (size_t k = 0; k < p.seen.count; k++)
            run += p.seen.verdicts[k] == PERI__TICK_RUN;
        assert_int_equal(run, cases[i].run);
        assert_int_equal(p.seen.times[p.seen.count - 1], START + DAY);
        assert_int_equal(p.plan.next_ms, START + DAY + 3600000);
        play_end(&p);
    }
    /* A year of minutes: the latest thousand run, and one record stands for the others. */
    struct play p = { .plan.missed = PERI_MISSED_ALL };
    play_begin(&p, "* * * * *", "UTC", START);
    peri__scheduler_add(&p.scheduler, &p.plan, START + 365 * DAY);
    assert_int_equal(p.seen.count, 1001);
    assert_int_equal(p.seen.verdicts[0], PERI__TICK_MISSED);
    assert_int_equal(p.seen.times[1] - p.seen.times[0], 60000);
    assert_int_equal(p.seen.times[1000], START + 365 * DAY);
    play_end(&p);
}

static void overlapping_ticks_follow_the_policy(void **state)
{
    (void)state;
    static const struct {
        enum peri_overlap overlap;
        enum peri__verdict second;
    } cases[] = { { PERI_OVERLAP_ALLOW, PERI__TICK_RUN },
                  { PERI_OVERLAP_SKIP, PERI__TICK_SKIP },
                  { PERI_OVERLAP_QUEUE, PERI__TICK_HOLD } };
    for (size_t i = 0; i < 3; i++) {
        struct play p = { .plan.overlap = cases[i].overlap };
        play_begin(&p, "* * * * *", "UTC", START);
        peri__scheduler_add(&p.scheduler, &p.plan, START);
        for (int64_t minute = 1; minute <= 1200; minute++)
            peri__scheduler_run(&p.scheduler, START + minute * 60000);
        assert_int_equal(p.seen.count, 1200);
        assert_int_equal(p.seen.verdicts[0], PERI__TICK_RUN);
        assert_int_equal(p.seen.verdicts[1], cases[i].second);
        assert_int_equal(p.seen.verdicts[1100], PERI__TICK_SKIP); /* there is a limit for all */
        assert_int_equal(p.plan.open, cases[i].overlap == PERI_OVERLAP_SKIP ? 1 : PERI__OPEN_MAX);
        p.plan.open = 0;
        peri__scheduler_run(&p.scheduler, START + 1201 * 60000);
        assert_int_equal(p.seen.verdicts[1200], PERI__TICK_RUN);
        play_end(&p);
    }
}

static void late_ticks_run_and_later_ones_were_missed(void **state)
{
    (void)state;
    struct play p = { 0 };
    play_begin(&p, "* * * * * *", "UTC", START);
    peri__scheduler_add(&p.scheduler, &p.plan, START);
    peri__scheduler_run(&p.scheduler, START + 30500);
    assert_int_equal(p.seen.count, 30);
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(p.seen.times[i], START + 1000 * (int64_t)(i + 1));
    peri__scheduler_run(&p.scheduler, START + DAY); /* the clock was set forward */
    assert_int_equal(p.seen.count, 31);
    assert_int_equal(p.seen.verdicts[30], PERI__TICK_MISSED);
    assert_int_equal(peri__scheduler_next(&p.scheduler), START + DAY + 1000);
    play_end(&p);
}

static void a_clock_set_back_repeats_nothing_but_is_believed(void **state)
{
    (void)state;
    struct play p = { 0 };
    play_begin(&p, "0 * * * *", "UTC", START);
    peri__scheduler_add(&p.scheduler, &p.plan, START);
    peri__scheduler_run(&p.scheduler, START + 3600000);
    peri__scheduler_run(&p.scheduler, START + 100); /* an hour back */
    peri__scheduler_run(&p.scheduler, START + 3600000);
    assert_int_equal(p.seen.count, 1);
    assert_int_equal(peri__scheduler_next(&p.scheduler), START + 7200000);
    peri__scheduler_run(&p.scheduler, START - 10 * DAY); /* it was wrong by days */
    assert_int_equal(peri__scheduler_next(&p.scheduler), START - 10 * DAY + 3600000);
    /* And so is one that comes back as the host starts. */
    struct play q = { 0 };
    play_begin(&q, "0 * * * *", "UTC", START + 1000 * DAY);
    peri__scheduler_add(&q.scheduler, &q.plan, START);
    assert_int_equal(peri__scheduler_next(&q.scheduler), START + 3600000);
    play_end(&p);
    play_end(&q);
}

/* Thousands of plans come and go: whatever is due comes in order, and all of it. */
static struct {
    int64_t last;
    size_t count;
} order;

static bool in_order(void *data, struct peri__plan *plan, int64_t scheduled_ms, enum peri__verdict verdict,
                     const char *reason)
{
    (void)data;
    (void)plan;
    (void)reason;
    assert_int_equal(verdict, PERI__TICK_RUN);
    assert_true(scheduled_ms >= order.last);
    order.last = scheduled_ms;
    order.count++;
    return false;
}

static void many_plans_tick_in_order(void **state)
{
    (void)state;
    enum { PLANS = 3000 };
    struct peri__scheduler s = { .tick = in_order };
    struct peri__plan *plans = calloc(PLANS, sizeof *plans);
    struct peri_timezone *zone = NULL;
    peri_timezone_load("Asia/Kolkata", NULL, &zone, NULL);
    assert_non_null(plans);
    for (int i = 0; i < PLANS; i++) {
        char text[64];
        snprintf(text, sizeof text, "%d %d * * * *", i * 7 % 60, i * 13 % 60);
        assert_int_equal(peri_cron_parse(&plans[i].cron, peri_str_from(text), NULL), PERI_OK);
        plans[i].zone = zone;
        plans[i].since_ms = START;
        assert_int_equal(peri__scheduler_add(&s, &plans[i], START), PERI_OK);
    }
    for (int i = 0; i < PLANS; i += 3)
        peri__scheduler_remove(&s, &plans[i]);
    order.last = order.count = 0;
    for (int64_t now = START; now <= START + 2 * 3600000;) {
        peri__scheduler_run(&s, now);
        now = peri__scheduler_next(&s);
    }
    assert_int_equal(order.count, 2 * (PLANS - PLANS / 3));
    peri__scheduler_fini(&s);
    peri_timezone_free(zone);
    free(plans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weeks_pass),
        cmocka_unit_test(missed_ticks_follow_the_policy),
        cmocka_unit_test(overlapping_ticks_follow_the_policy),
        cmocka_unit_test(late_ticks_run_and_later_ones_were_missed),
        cmocka_unit_test(a_clock_set_back_repeats_nothing_but_is_believed),
        cmocka_unit_test(many_plans_tick_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
