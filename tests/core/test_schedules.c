/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

/* Schedules in the engine, with a clock that the test turns. */

#define MINUTE INT64_C(60000)
#define START INT64_C(1772323200000) /* 2026-03-01T00:00:00Z */

struct world {
    struct fixture f;
    _Atomic int64_t now; /* the store's thread reads it too */
    struct peri_function *function;
};

static int64_t read_now(void *state)
{
    return ((struct world *)state)->now;
}

static void world_open(struct world *w)
{
    struct peri_error err = PERI_ERROR_INIT;
    w->f.loop = peri_loop_new(&err);
    peri_loop_set_clock(w->f.loop, (struct peri_clock){ read_now, read_now, w });
    w->f.options = (struct peri_engine_options){ .data_dir = w->f.dir,
                                                 .sandbox_path = PERI_BINARY_DIR "/tests/fake_sandbox",
                                                 .sandboxes = 2 };
    if (peri_engine_new(w->f.loop, &w->f.options, &w->f.engine, &err) != PERI_OK)
        fail_msg("%s", err.message);
}

static void world_start(struct world *w)
{
    w->now = START;
    fixture_folder(w->f.dir, sizeof w->f.dir);
    world_open(w);
    w->function = fixture_deploy(&w->f, "job");
}

static void world_end(struct world *w)
{
    peri_function_unref(w->function);
    fixture_end(&w->f);
}

struct answer {
    bool done;
    struct peri_schedule *schedule;
    struct peri_error err;
};

static void on_answer(void *data, struct peri_schedule *schedule, const struct peri_error *err)
{
    struct answer *a = data;
    assert_false(a->done);
    a->done = true;
    a->schedule = schedule ? peri_schedule_ref(schedule) : NULL;
    if (err)
        a->err = *err;
}

static void on_deleted(void *data, const struct peri_error *err)
{
    on_answer(data, NULL, err);
}

/* The spec's strings are literals. */
static struct answer put(struct world *w, const char *name, const char *cron, const char *body, enum peri_missed missed,
                         enum peri_overlap overlap)
{
    struct peri_schedule spec = { .function_id = w->function->id,
                                  .external_id = (char *)(uintptr_t)name,
                                  .name = (char *)(uintptr_t)name,
                                  .cron = (char *)(uintptr_t)cron,
                                  .input = PERI_INPUT_BYTES,
                                  .missed = missed,
                                  .overlap = overlap };
    struct answer a = { 0 };
    peri_buf_init(&spec.body, 1000);
    peri_buf_append_text(&spec.body, body);
    peri_engine_schedule_put(w->f.engine, &spec, true, on_answer, &a);
    assert_false(a.done);
    fixture_wait(&w->f, &a.done);
    peri_buf_fini(&spec.body);
    return a;
}

static uint64_t schedule(struct world *w, const char *name, const char *cron, const char *body, enum peri_missed missed,
                         enum peri_overlap overlap)
{
    struct answer a = put(w, name, cron, body, missed, overlap);
    if (!a.schedule)
        fail_msg("%s", a.err.message);
    uint64_t id = a.schedule->id;
    peri_schedule_unref(a.schedule);
    return id;
}

struct ticks {
    struct peri_tick list[2000];
    size_t count;
};

static void add_tick(void *data, const struct peri_tick *tick)
{
    struct ticks *ticks = data;
    if (ticks->count < 2000)
        ticks->list[ticks->count++] = *tick;
}

static size_t read_ticks(struct world *w, uint64_t id, struct ticks *ticks)
{
    ticks->count = 0;
    assert_int_equal(peri_engine_ticks(w->f.engine, id, 0, 2000, add_tick, ticks, NULL), PERI_OK);
    return ticks->count;
}

/* Until the store has so many ticks. */
static void wait_ticks(struct world *w, uint64_t id, size_t count, struct ticks *ticks)
{
    uint64_t until = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (read_ticks(w, id, ticks) < count) {
        peri_loop_run_once(w->f.loop, 10, NULL);
        if (uv_hrtime() > until)
            fail_msg("%zu ticks instead of %zu", ticks->count, count);
    }
}

static enum peri_call_state state_of(struct world *w, uint64_t call_id)
{
    struct peri_call *call;
    uint64_t until = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    /* The store's thread may have it already while the engine hasn't heard of that. */
    while (!(call = peri_engine_call(w->f.engine, call_id, false, NULL))) {
        peri_loop_run_once(w->f.loop, 10, NULL);
        assert_true(uv_hrtime() < until);
    }
    enum peri_call_state state = call->state;
    peri_call_unref(call);
    return state;
}

static void wait_state(struct world *w, uint64_t call_id, enum peri_call_state state)
{
    uint64_t until = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (state_of(w, call_id) != state) {
        peri_loop_run_once(w->f.loop, 10, NULL);
        if (uv_hrtime() > until)
            fail_msg("the call is %s", peri_call_state_name(state_of(w, call_id)));
    }
}

static void ticks_become_calls(void **state)
{
    (void)state;
    struct world w = { 0 };
    static struct ticks ticks;
    world_start(&w);
    uint64_t id = schedule(&w, "each-minute", "* * * * *", "meta", PERI_MISSED_SKIP, PERI_OVERLAP_ALLOW);
    assert_int_equal(peri_engine_schedules_run(w.f.engine), START + MINUTE);
    w.now = START + MINUTE - 1;
    peri_engine_schedules_run(w.f.engine);
    for (int i = 1; i <= 90; i++) {
        w.now = START + i * MINUTE + 5;
        assert_int_equal(peri_engine_schedules_run(w.f.engine), START + (i + 1) * MINUTE);
    }
    wait_ticks(&w, id, 90, &ticks);
    assert_int_equal(ticks.count, 90);
    for (size_t i = 0; i < 90; i++) {
        const struct peri_tick *tick = &ticks.list[i];
        assert_int_equal(tick->scheduled_ms, START + (int64_t)(90 - i) * MINUTE);
        assert_int_equal(tick->outcome, PERI_TICK_CALLED);
        wait_state(&w, tick->call_id, PERI_CALL_COMPLETED);
    }
    struct peri_call *call = peri_engine_call(w.f.engine, ticks.list[0].call_id, true, NULL);
    assert_int_equal(call->schedule_id, id);
    assert_int_equal(call->scheduled_ms, START + 90 * MINUTE);
    assert_true(call->async);
    char expected[128];
    snprintf(expected, sizeof expected, "\"schedule_id\":%llu,\"scheduled_time\":%lld", (unsigned long long)id,
             (long long)(START + 90 * MINUTE));
    assert_non_null(strstr(call->response.data, expected));
    peri_call_unref(call);
    struct peri_schedule *s = peri_engine_schedule_by_name(w.f.engine, peri_str_from("each-minute"));
    assert_int_equal(s->last_ms, START + 90 * MINUTE);
    assert_int_equal(s->next_ms, START + 91 * MINUTE);
    assert_string_equal(s->timezone, "UTC");
    peri_schedule_unref(s);
    assert_int_equal(peri_engine_schedule_next(w.f.engine, id, START), START + MINUTE);
    world_end(&w);
}

struct opened {
    bool done;
    uint64_t id;
    char nonce[64];
};

static void on_opened(void *data, const struct peri_session *session, const char *nonce, const struct peri_error *err)
{
    struct opened *opened = data;
    assert_null(err);
    opened->id = session->id;
    snprintf(opened->nonce, sizeof opened->nonce, "%s", nonce);
    opened->done = true;
}

static void on_bound(void *data, const struct peri_session *session, const struct peri_error *err)
{
    struct opened *opened = data;
    assert_null(err);
    assert_int_equal(session->id, opened->id);
    opened->done = true;
}

static void expect_session(struct world *w, uint64_t id, const char *status, int64_t expires_ms)
{
    struct peri_session session = { 0 };
    assert_int_equal(peri_engine_session(w->f.engine, id, &session, NULL), PERI_OK);
    assert_string_equal(session.status, status);
    assert_int_equal(session.expires_ms, expires_ms);
    peri_session_fini(&session);
}

static void a_tick_has_the_session_of_its_schedule(void **state)
{
    (void)state;
    struct world w = { 0 };
    static struct ticks ticks;
    const int64_t end_of_2099 = INT64_C(4102444799000);
    world_start(&w);
    struct opened opened = { 0 };
    peri_engine_session_create(w.f.engine, &(struct peri_session){ .type = "X" }, on_opened, &opened);
    fixture_wait(&w.f, &opened.done);
    opened.done = false;
    peri_engine_nonce_use(w.f.engine, peri_str_from(opened.nonce), on_bound, &opened);
    fixture_wait(&w.f, &opened.done);
    char name[] = "with a session", cron[] = "* * * * *";
    struct peri_schedule spec = { .function_id = w.function->id, .name = name, .cron = cron, .session_id = opened.id };
    struct answer a = { 0 };
    peri_buf_init(&spec.body, 1000);
    peri_buf_append_text(&spec.body, "{}");
    peri_engine_schedule_put(w.f.engine, &spec, false, on_answer, &a);
    fixture_wait(&w.f, &a.done);
    peri_buf_fini(&spec.body);
    uint64_t id = a.schedule->id;
    peri_schedule_unref(a.schedule);
    expect_session(&w, opened.id, "ACTIVE", end_of_2099);
    w.now = START + MINUTE;
    peri_engine_schedules_run(w.f.engine);
    wait_ticks(&w, id, 1, &ticks);
    wait_state(&w, ticks.list[0].call_id, PERI_CALL_COMPLETED);
    fixture_close(&w.f);
    w.now = START + 80 * 24 * 60 * MINUTE; /* long after any other session's end */
    world_open(&w);
    struct peri_call *call = peri_engine_call(w.f.engine, ticks.list[0].call_id, true, NULL);
    assert_int_equal(call->session_id, opened.id);
    peri_call_unref(call);
    expect_session(&w, opened.id, "ACTIVE", end_of_2099);
    a = (struct answer){ 0 };
    peri_engine_schedule_delete(w.f.engine, id, on_deleted, &a);
    fixture_wait(&w.f, &a.done);
    expect_session(&w, opened.id, "REVOKED", w.now);
    world_end(&w);
}

static void schedules_and_missed_ticks_outlive_the_host(void **state)
{
    (void)state;
    struct world w = { 0 };
    static struct ticks ticks;
    world_start(&w);
    uint64_t skip = schedule(&w, "skip", "* * * * *", "meta", PERI_MISSED_SKIP, PERI_OVERLAP_ALLOW);
    uint64_t once = schedule(&w, "once", "* * * * *", "meta", PERI_MISSED_ONCE, PERI_OVERLAP_ALLOW);
    uint64_t all = schedule(&w, "all", "* * * * *", "meta", PERI_MISSED_ALL, PERI_OVERLAP_ALLOW);
    w.now = START + MINUTE;
    peri_engine_schedules_run(w.f.engine);
    wait_ticks(&w, all, 1, &ticks);
    fixture_close(&w.f);
    w.now = START + 10 * MINUTE + 1;
    world_open(&w);
    wait_ticks(&w, all, 10, &ticks);
    assert_int_equal(read_ticks(&w, all, &ticks), 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(ticks.list[i].scheduled_ms, START + (int64_t)(10 - i) * MINUTE);
    wait_ticks(&w, once, 2, &ticks);
    assert_int_equal(ticks.list[0].scheduled_ms, START + 10 * MINUTE);
    assert_int_equal(ticks.list[0].outcome, PERI_TICK_CALLED);
    wait_ticks(&w, skip, 2, &ticks);
    assert_int_equal(ticks.list[0].outcome, PERI_TICK_MISSED);
    assert_non_null(strstr(ticks.list[0].reason, "missed"));
    w.now += MINUTE;
    peri_engine_schedules_run(w.f.engine);
    wait_ticks(&w, skip, 3, &ticks);
    assert_int_equal(ticks.list[0].outcome, PERI_TICK_CALLED);
    world_end(&w);
}

static void a_tick_runs_once_even_if_it_comes_again(void **state)
{
    (void)state;
    struct world w = { 0 };
    static struct ticks ticks;
    world_start(&w);
    uint64_t id = schedule(&w, "s", "* * * * *", "meta", PERI_MISSED_SKIP, PERI_OVERLAP_ALLOW);
    w.now = START + MINUTE;
    peri_engine_schedules_run(w.f.engine);
    wait_ticks(&w, id, 1, &ticks);
    uint64_t call = ticks.list[0].call_id;
    w.now = START - 300 * MINUTE; /* believed: the same minute comes again */
    peri_engine_schedules_run(w.f.engine);
    for (int64_t minute = -299; minute <= 2; minute++) {
        w.now = START + minute * MINUTE;
        peri_engine_schedules_run(w.f.engine);
    }
    wait_ticks(&w, id, 302, &ticks);
    assert_int_equal(ticks.list[1].scheduled_ms, START + MINUTE);
    assert_int_equal(ticks.list[1].call_id, call);
    wait_state(&w, ticks.list[0].call_id, PERI_CALL_COMPLETED);
    world_end(&w);
}

static void overlap_waits_or_gives_way(void **state)
{
    (void)state;
    struct world w = { 0 };
    static struct ticks ticks;
    world_start(&w);
    uint64_t queue = schedule(&w, "queue", "* * * * *", "sleep 2000000000", PERI_MISSED_SKIP, PERI_OVERLAP_QUEUE);
    uint64_t skip = schedule(&w, "skip", "* * * * *", "sleep 2000000000", PERI_MISSED_SKIP, PERI_OVERLAP_SKIP);
    for (int i = 1; i <= 4; i++) {
        w.now = START + i * MINUTE;
        peri_engine_schedules_run(w.f.engine);
    }
    wait_ticks(&w, skip, 4, &ticks);
    assert_int_equal(ticks.list[3].outcome, PERI_TICK_CALLED);
    assert_int_equal(ticks.list[0].outcome, PERI_TICK_SKIPPED);
    peri_engine_cancel(w.f.engine, ticks.list[3].call_id);
    wait_state(&w, ticks.list[3].call_id, PERI_CALL_CANCELLED);
    wait_ticks(&w, queue, 4, &ticks);
    wait_state(&w, ticks.list[3].call_id, PERI_CALL_RUNNING);
    assert_int_equal(state_of(&w, ticks.list[2].call_id), PERI_CALL_QUEUED);
    /* A held one can be cancelled; the first one's end starts the next but one. */
    peri_engine_cancel(w.f.engine, ticks.list[2].call_id);
    wait_state(&w, ticks.list[2].call_id, PERI_CALL_CANCELLED);
    peri_engine_cancel(w.f.engine, ticks.list[3].call_id);
    wait_state(&w, ticks.list[3].call_id, PERI_CALL_CANCELLED);
    wait_state(&w, ticks.list[1].call_id, PERI_CALL_RUNNING);
    assert_int_equal(state_of(&w, ticks.list[0].call_id), PERI_CALL_QUEUED);
    /* What is held stays held in the next run. */
    fixture_close(&w.f);
    world_open(&w);
    wait_state(&w, ticks.list[1].call_id, PERI_CALL_RUNNING);
    assert_int_equal(state_of(&w, ticks.list[0].call_id), PERI_CALL_QUEUED);
    struct answer gone = { 0 };
    peri_engine_schedule_delete(w.f.engine, queue, on_deleted, &gone);
    fixture_wait(&w.f, &gone.done);
    assert_int_equal(gone.err.code, PERI_OK);
    wait_state(&w, ticks.list[0].call_id, PERI_CALL_RUNNING);
    world_end(&w);
}

static void paused_schedules_wait(void **state)
{
    (void)state;
    struct world w = { 0 };
    static struct ticks ticks;
    world_start(&w);
    uint64_t id = schedule(&w, "s", "* * * * *", "meta", PERI_MISSED_ALL, PERI_OVERLAP_ALLOW);
    struct answer a = { 0 }, b = { 0 }, c = { 0 };
    peri_engine_schedule_pause(w.f.engine, id, true, on_answer, &a);
    fixture_wait(&w.f, &a.done);
    assert_true(a.schedule->paused);
    assert_int_equal(a.schedule->next_ms, 0);
    w.now = START + 5 * MINUTE;
    assert_int_equal(peri_engine_schedules_run(w.f.engine), -1);
    fixture_close(&w.f);
    world_open(&w);
    peri_engine_schedule_pause(w.f.engine, id, false, on_answer, &b);
    fixture_wait(&w.f, &b.done);
    assert_int_equal(b.schedule->next_ms, START + 6 * MINUTE);
    w.now = START + 6 * MINUTE;
    peri_engine_schedules_run(w.f.engine);
    wait_ticks(&w, id, 1, &ticks);
    assert_int_equal(ticks.count, 1);
    peri_engine_schedule_pause(w.f.engine, id + 1, false, on_answer, &c);
    fixture_wait(&w.f, &c.done);
    assert_int_equal(c.err.code, PERI_NOT_FOUND);
    peri_schedule_unref(a.schedule);
    peri_schedule_unref(b.schedule);
    world_end(&w);
}

static void a_function_that_is_not_there_fails_the_tick(void **state)
{
    (void)state;
    struct world w = { 0 };
    static struct ticks ticks;
    struct peri_error err = PERI_ERROR_INIT;
    world_start(&w);
    assert_null(fixture_try_deploy(&w.f, "broken", "return 1", "{\"X\":\"BROKEN\"}", true, &err));
    struct peri_function *job = w.function;
    w.function = peri_engine_function_by_name(w.f.engine, peri_str_from("broken"));
    uint64_t id = schedule(&w, "s", "* * * * *", "x", PERI_MISSED_SKIP, PERI_OVERLAP_SKIP);
    w.now = START + 2 * MINUTE - 30000;
    peri_engine_schedules_run(w.f.engine);
    wait_ticks(&w, id, 1, &ticks);
    assert_int_equal(ticks.list[0].outcome, PERI_TICK_FAILED);
    assert_non_null(strstr(ticks.list[0].reason, "its status is Failed: handler.lua:3"));
    w.now = START + 2 * MINUTE; /* and the next is not taken for an overlap */
    peri_engine_schedules_run(w.f.engine);
    wait_ticks(&w, id, 2, &ticks);
    assert_int_equal(ticks.list[0].outcome, PERI_TICK_FAILED);
    struct answer gone = { 0 };
    peri_engine_delete(w.f.engine, w.function->id, on_deleted, &gone);
    fixture_wait(&w.f, &gone.done);
    assert_null(peri_engine_schedule(w.f.engine, id));
    assert_null(peri_engine_schedule_by_name(w.f.engine, peri_str_from("s")));
    fixture_close(&w.f);
    world_open(&w);
    assert_null(peri_engine_schedule(w.f.engine, id));
    peri_function_unref(job);
    world_end(&w);
}

static void bad_schedules_are_refused(void **state)
{
    (void)state;
    struct world w = { 0 };
    world_start(&w);
    struct answer a = put(&w, "s", "61 * * * *", "", PERI_MISSED_SKIP, PERI_OVERLAP_ALLOW);
    assert_int_equal(a.err.code, PERI_BAD_REQUEST);
    assert_string_equal(a.err.message, "cron expression '61 * * * *': column 1: a minute is from 0 to 59, not 61");
    struct peri_schedule spec = { .function_id = w.function->id,
                                  .external_id = (char *)(uintptr_t) "s",
                                  .cron = (char *)(uintptr_t) "* * * * *",
                                  .timezone = (char *)(uintptr_t) "Mars/Olympus" };
    struct answer b = { 0 }, c = { 0 }, d = { 0 };
    peri_buf_init(&spec.body, 10);
    peri_engine_schedule_put(w.f.engine, &spec, true, on_answer, &b);
    fixture_wait(&w.f, &b.done);
    assert_int_equal(b.err.code, PERI_BAD_REQUEST);
    assert_non_null(strstr(b.err.message, "Mars/Olympus"));
    spec.timezone = NULL;
    spec.function_id = 12345;
    peri_engine_schedule_put(w.f.engine, &spec, true, on_answer, &c);
    fixture_wait(&w.f, &c.done);
    assert_int_equal(c.err.code, PERI_NOT_FOUND);
    uint64_t id = schedule(&w, "s", "0 0 * * *", "x", PERI_MISSED_ALL, PERI_OVERLAP_QUEUE);
    assert_int_equal(schedule(&w, "s", "0 1 * * *", "y", PERI_MISSED_ONCE, PERI_OVERLAP_SKIP), id);
    spec.function_id = w.function->id;
    peri_engine_schedule_put(w.f.engine, &spec, false, on_answer, &d);
    fixture_wait(&w.f, &d.done);
    assert_int_equal(d.err.code, PERI_CONFLICT);
    fixture_close(&w.f);
    world_open(&w);
    struct peri_schedule *s = peri_engine_schedule(w.f.engine, id);
    assert_non_null(s);
    assert_string_equal(s->cron, "0 1 * * *");
    assert_string_equal(s->external_id, "s");
    assert_int_equal(s->missed, PERI_MISSED_ONCE);
    assert_int_equal(s->overlap, PERI_OVERLAP_SKIP);
    assert_int_equal(s->created_ms, START);
    assert_true(s->body.len == 1 && s->body.data[0] == 'y');
    peri_schedule_unref(s);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_become_calls),
        cmocka_unit_test(a_tick_has_the_session_of_its_schedule),
        cmocka_unit_test(schedules_and_missed_ticks_outlive_the_host),
        cmocka_unit_test(a_tick_runs_once_even_if_it_comes_again),
        cmocka_unit_test(overlap_waits_or_gives_way),
        cmocka_unit_test(paused_schedules_wait),
        cmocka_unit_test(a_function_that_is_not_there_fails_the_tick),
        cmocka_unit_test(bad_schedules_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
