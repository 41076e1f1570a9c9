/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

#include "host/parts.h"

/* What calls ask for: times, keys, attempts, queues. The clock stands still until a test moves it. */

#define NOW INT64_C(1790000000000)

static struct peri_submit asks(struct peri_function *function, const char *body, const struct peri_terms *terms)
{
    return (struct peri_submit){
        .function = function, .async = true, .input = PERI_INPUT_BYTES, .body = peri_str_from(body), .terms = terms
    };
}

static void ask(struct fixture *f, struct peri_function *function, const char *body, const struct peri_terms *terms,
                struct called *c)
{
    struct peri_submit submit = asks(function, body, terms);
    if (fixture_submit_as(f, &submit, c) != PERI_OK)
        fail_msg("%s", c->err.message);
}

static void ask_and_accept(struct fixture *f, struct peri_function *function, const char *body,
                           const struct peri_terms *terms, struct called *c)
{
    ask(f, function, body, terms, c);
    fixture_wait(f, &c->accepted);
}

static void move_clock(struct fixture *f, int64_t ms)
{
    f->now_ms += ms;
    if (f->engine) /* it has one: for the analyzer */
        peri__turn_ask(f->engine->turn);
}

/* Whatever could happen by itself has happened: another call came and went. */
static void settle(struct fixture *f, struct peri_function *function)
{
    peri_call_unref(fixture_call(f, function, "1", true));
}

static struct peri_call *look(struct fixture *f, uint64_t id)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_call *call = peri_engine_call(f->engine, id, true, &err);
    if (!call)
        fail_msg("%s", err.message);
    return call;
}

static void assert_state(struct fixture *f, uint64_t id, enum peri_call_state state)
{
    struct peri_call *call = look(f, id);
    assert_int_equal(call->state, state);
    peri_call_unref(call);
}

/* Until the call has this state. */
static void wait_state(struct fixture *f, uint64_t id, enum peri_call_state state)
{
    for (int i = 0; i < 600; i++) {
        struct peri_call *call = look(f, id);
        bool there = call->state == state;
        peri_call_unref(call);
        if (there)
            return;
        peri_loop_run_once(f->loop, 100, NULL);
    }
    fail_msg("call %llu does not become %s", (unsigned long long)id, peri_call_state_name(state));
}

static void reopen(struct fixture *f, struct peri_function **function)
{
    peri_function_unref(*function);
    fixture_close(f);
    fixture_open(f);
    *function = peri_engine_function_by_name(f->engine, peri_str_from("f"));
    assert_non_null(*function);
}

static struct peri_function *start(struct fixture *f)
{
    f->now_ms = NOW;
    fixture_start(f);
    return fixture_deploy(f, "f");
}

static void end(struct fixture *f, struct peri_function *function)
{
    peri_function_unref(function);
    fixture_end(f);
}

/* ---- times ---- */

static void a_delayed_call_waits_for_its_time(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f);
    struct called late = { 0 }, later = { 0 };
    ask_and_accept(&f, function, "\"later\"", &(struct peri_terms){ .start_ms = NOW + 20000 }, &later);
    ask_and_accept(&f, function, "\"late\"", &(struct peri_terms){ .start_ms = NOW + 10000 }, &late);
    settle(&f, function);
    char *info = peri_engine_info(f.engine);
    assert_non_null(strstr(info, "\"calls_waiting\":0,\"calls_delayed\":2"));
    free(info);
    move_clock(&f, 9999);
    settle(&f, function);
    assert_false(late.finished);
    move_clock(&f, 1);
    fixture_wait(&f, &late.finished);
    assert_int_equal(late.call->state, PERI_CALL_COMPLETED);
    assert_int_equal(late.call->start_ms, NOW + 10000);
    peri_call_unref(late.call);
    assert_false(later.finished);
    move_clock(&f, 10000);
    fixture_wait(&f, &later.finished);
    peri_call_unref(later.call);
    end(&f, function);
}

static void a_delay_outlives_the_host(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f);
    struct called c = { 0 };
    ask_and_accept(&f, function, "\"x\"", &(struct peri_terms){ .start_ms = NOW + 10000, .queue = 2 }, &c);
    for (int i = 0; i < 5; i++) /* more often than a call has attempts */
        reopen(&f, &function);
    settle(&f, function);
    struct peri_call *call = look(&f, c.id);
    assert_int_equal(call->state, PERI_CALL_QUEUED);
    assert_int_equal(call->attempt, 1);
    assert_int_equal(call->terms->queue, 2);
    assert_int_equal(call->terms->start_ms, NOW + 10000);
    peri_call_unref(call);
    move_clock(&f, 10000);
    wait_state(&f, c.id, PERI_CALL_COMPLETED);
    call = look(&f, c.id);
    assert_body(call, "\"x\"");
    peri_call_unref(call);
    end(&f, function);
}

static void a_delayed_call_is_cancelled_at_once(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f);
    struct called c = { 0 };
    ask_and_accept(&f, function, "1", &(struct peri_terms){ .start_ms = NOW + 10000 }, &c);
    peri_engine_cancel(f.engine, c.id);
    fixture_wait(&f, &c.finished);
    assert_int_equal(c.call->state, PERI_CALL_CANCELLED);
    peri_call_unref(c.call);
    move_clock(&f, 10000);
    settle(&f, function);
    assert_state(&f, c.id, PERI_CALL_CANCELLED);
    end(&f, function);
}

static void count_call(void *data, const struct peri_call *call)
{
    (void)call;
    ++*(size_t *)data;
}

static void assert_expired(struct called *c)
{
    assert_int_equal(c->call->state, PERI_CALL_TIMEOUT);
    assert_int_equal(c->call->code, PERI_EXPIRED);
    assert_non_null(strstr(c->call->error_message, "did not start within 5.000 s"));
    assert_int_equal(c->call->start_ms, 0);
    peri_call_unref(c->call);
}

/* A function of which so many calls run at a time. */
static struct peri_function *deploy_limited(struct fixture *f, const char *name, unsigned concurrency)
{
    char path[600];
    snprintf(path, sizeof path, "%s/tmp/limited.zip", f->dir);
    fixture_zip(path, "handler.lua", "return {}");
    struct peri_function spec = { .external_id = (char *)(uintptr_t)name,
                                  .entry = (char *)(uintptr_t) "handler.lua",
                                  .concurrency = concurrency };
    struct peri_deploy deploy = { .spec = &spec, .package_path = path, .replace = true, .wait = true };
    struct deployed d = { 0 };
    peri_engine_deploy(f->engine, &deploy, fixture__deployed, &d);
    fixture_wait(f, &d.done);
    if (!d.function)
        fail_msg("%s", d.err.message);
    return d.function;
}

static void what_does_not_start_in_time_expires(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f), *single = deploy_limited(&f, "single", 1);
    struct peri_terms terms = { .expires_ms = NOW + 5000 };
    struct peri_terms delay = { .start_ms = NOW + 9000, .expires_ms = NOW + 5000 };
    struct called busy = { 0 }, async = { 0 }, sync = { 0 }, delayed = { 0 };
    ask_and_accept(&f, single, "sleep 60000", &terms, &busy);
    wait_state(&f, busy.id, PERI_CALL_RUNNING);
    ask_and_accept(&f, single, "1", &terms, &async);
    ask_and_accept(&f, function, "1", &delay, &delayed);
    struct peri_submit submit = asks(single, "1", &terms);
    submit.async = false;
    assert_int_equal(fixture_submit_as(&f, &submit, &sync), PERI_OK);
    move_clock(&f, 4999);
    settle(&f, function);
    assert_false(async.finished || sync.finished || delayed.finished);
    move_clock(&f, 1);
    fixture_wait(&f, &async.finished);
    fixture_wait(&f, &sync.finished);
    fixture_wait(&f, &delayed.finished);
    assert_expired(&async);
    assert_expired(&sync);
    assert_expired(&delayed);
    assert_state(&f, busy.id, PERI_CALL_RUNNING); /* it has started in time */
    peri_engine_cancel(f.engine, busy.id);
    fixture_wait(&f, &busy.finished);
    peri_call_unref(busy.call);
    peri_function_unref(single);
    end(&f, function);
}

static void a_call_expires_while_the_host_is_down(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f);
    struct called c = { 0 };
    ask_and_accept(&f, function, "1", &(struct peri_terms){ .start_ms = NOW + 4000, .expires_ms = NOW + 5000 }, &c);
    f.now_ms += 5000;
    reopen(&f, &function);
    wait_state(&f, c.id, PERI_CALL_TIMEOUT);
    struct peri_call *call = look(&f, c.id);
    assert_int_equal(call->code, PERI_EXPIRED);
    peri_call_unref(call);
    end(&f, function);
}

/* ---- keys ---- */

static void one_key_makes_one_call(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f), *other = deploy_limited(&f, "other", 0);
    struct peri_terms terms = { .key = (char *)(uintptr_t) "order-17" };
    struct called first = { 0 }, twin = { 0 }, late = { 0 }, wrong = { 0 }, elsewhere = { 0 };
    ask(&f, function, "\"a\"", &terms, &first);
    ask(&f, function, "\"a\"", &terms, &twin); /* before the first one is durable */
    fixture_wait(&f, &twin.replayed);
    assert_true(first.accepted);
    assert_true(twin.id == first.id && !twin.accepted);
    fixture_wait(&f, &first.finished);
    peri_call_unref(first.call);
    ask(&f, function, "\"a\"", &terms, &late);
    fixture_wait(&f, &late.replayed);
    assert_int_equal(late.id, first.id);
    ask(&f, function, "\"b\"", &terms, &wrong);
    fixture_wait(&f, &wrong.refused);
    assert_int_equal(wrong.err.code, PERI_CONFLICT);
    assert_non_null(strstr(wrong.err.message, "order-17"));
    ask_and_accept(&f, other, "\"b\"", &terms, &elsewhere);
    assert_true(elsewhere.id != first.id);
    fixture_wait(&f, &elsewhere.finished);
    peri_call_unref(elsewhere.call);
    /* Over a restart too. */
    reopen(&f, &function);
    late = (struct called){ 0 };
    ask(&f, function, "\"a\"", &terms, &late);
    fixture_wait(&f, &late.replayed);
    assert_int_equal(late.id, first.id);
    struct peri_call_filter filter = { .function_id = function->id, .state = -1 };
    struct peri_error err = PERI_ERROR_INIT;
    size_t count = 0;
    assert_int_equal(peri_engine_calls(f.engine, &filter, 10, count_call, &count, &err), PERI_OK);
    assert_int_equal(count, 1);
    peri_function_unref(other);
    end(&f, function);
}

static void only_asynchronous_calls_have_a_key_or_a_delay(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f);
    const struct peri_terms wrong[] = {
        { .key = (char *)(uintptr_t) "k" }, { .start_ms = NOW + 1 }, { .retry = true }, { .attempts = 2 }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct called c = { 0 };
        struct peri_submit submit = asks(function, "1", &wrong[i]);
        submit.async = false;
        assert_int_equal(fixture_submit_as(&f, &submit, &c), PERI_BAD_REQUEST);
    }
    end(&f, function);
}

/* ---- attempts ---- */

static void a_failing_handler_is_tried_again_with_longer_waits(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f);
    struct peri_terms terms = { .retry = true, .attempts = 4, .base_ms = 1000, .cap_ms = 3000 };
    static const int64_t waits[] = { 1000, 2000, 3000 };
    struct called c = { 0 };
    ask_and_accept(&f, function, "fail", &terms, &c);
    for (unsigned i = 0; i < 3; i++) {
        struct peri_call *call = look(&f, c.id);
        while (call->attempt != i + 2) {
            peri_call_unref(call);
            peri_loop_run_once(f.loop, 100, NULL);
            call = look(&f, c.id);
        }
        int64_t wait = call->terms->start_ms - f.now_ms;
        assert_int_equal(call->state, PERI_CALL_QUEUED);
        assert_true(wait >= waits[i] / 2 && wait <= waits[i]);
        peri_call_unref(call);
        settle(&f, function);
        if (i == 1)
            reopen(&f, &function); /* the wait outlives the host */
        move_clock(&f, wait - 1);
        settle(&f, function);
        assert_state(&f, c.id, PERI_CALL_QUEUED);
        move_clock(&f, 1);
    }
    wait_state(&f, c.id, PERI_CALL_FAILED);
    struct peri_call *call = look(&f, c.id);
    assert_true(call->dead);
    assert_int_equal(call->attempt, 4);
    assert_int_equal(call->code, PERI_HANDLER_FAILED);
    assert_string_equal(call->error_message, "handler.lua:7: no rows; given up after 4 attempts");
    peri_call_unref(call);
    end(&f, function);
}

static void without_retry_a_failure_is_the_end_and_nothing_dead(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f);
    struct peri_call *call = fixture_call(&f, function, "fail", true);
    assert_int_equal(call->state, PERI_CALL_FAILED);
    assert_int_equal(call->attempt, 1);
    assert_false(call->dead);
    peri_call_unref(call);
    end(&f, function);
}

static size_t count_dead(struct fixture *f)
{
    struct peri_call_filter filter = { .state = -1, .dead = true };
    struct peri_error err = PERI_ERROR_INIT;
    size_t count = 0;
    assert_int_equal(peri_engine_calls(f->engine, &filter, 10, count_call, &count, &err), PERI_OK);
    return count;
}

struct changed {
    bool done;
    enum peri_code code;
    enum peri_call_state state;
};

static void on_changed(void *data, struct peri_call *call, const struct peri_error *err)
{
    struct changed *changed = data;
    assert_false(changed->done);
    *changed = (struct changed){ true, err ? err->code : PERI_OK, call ? call->state : PERI_CALL_FAILED };
}

static void dead_calls_are_requeued_or_dismissed(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_function *function = start(&f);
    struct called dead = { 0 }, good = { 0 };
    peri_log_set_level(PERI_LOG_OFF);
    ask_and_accept(&f, function, "exit 1", &(struct peri_terms){ .attempts = 2 }, &dead);
    fixture_wait(&f, &dead.finished);
    assert_true(dead.call->dead);
    assert_int_equal(dead.call->attempt, 2);
    peri_call_unref(dead.call);
    ask_and_accept(&f, function, "1", NULL, &good);
    fixture_wait(&f, &good.finished);
    peri_call_unref(good.call);
    assert_int_equal(count_dead(&f), 1);
    assert_int_equal(peri_engine_requeue(f.engine, good.id, on_changed, NULL, &err), PERI_CONFLICT);
    assert_int_equal(peri_engine_dismiss(f.engine, good.id, on_changed, NULL, &err), PERI_CONFLICT);
    assert_int_equal(peri_engine_requeue(f.engine, 12345, on_changed, NULL, &err), PERI_NOT_FOUND);
    reopen(&f, &function);
    assert_int_equal(count_dead(&f), 1);
    /* Two at once: one of them finds nothing dead. */
    struct changed a = { 0 }, b = { 0 };
    assert_int_equal(peri_engine_requeue(f.engine, dead.id, on_changed, &a, &err), PERI_OK);
    assert_int_equal(peri_engine_requeue(f.engine, dead.id, on_changed, &b, &err), PERI_OK);
    fixture_wait(&f, &a.done);
    fixture_wait(&f, &b.done);
    assert_int_equal(a.code, PERI_OK);
    assert_int_equal(a.state, PERI_CALL_QUEUED);
    assert_int_equal(b.code, PERI_CONFLICT);
    assert_int_equal(count_dead(&f), 0);
    wait_state(&f, dead.id, PERI_CALL_FAILED);
    struct peri_call *call = look(&f, dead.id);
    assert_int_equal(call->attempt, 2); /* all its attempts again */
    assert_true(call->dead);
    peri_call_unref(call);
    settle(&f, function);
    a = (struct changed){ 0 };
    assert_int_equal(peri_engine_dismiss(f.engine, dead.id, on_changed, &a, &err), PERI_OK);
    fixture_wait(&f, &a.done);
    assert_int_equal(a.code, PERI_OK);
    assert_int_equal(count_dead(&f), 0);
    assert_state(&f, dead.id, PERI_CALL_FAILED); /* the record stays */
    peri_log_set_level(PERI_LOG_WARN);
    end(&f, function);
}

/* ---- limits and queues ---- */

static void a_limited_function_blocks_nobody(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f), *single = deploy_limited(&f, "single", 2);
    assert_int_equal(single->concurrency, 2);
    enum { CALLS = 10 };
    struct called calls[CALLS] = { 0 };
    for (int i = 0; i < CALLS; i++)
        ask_and_accept(&f, single, "sleep 60000", NULL, &calls[i]);
    wait_state(&f, calls[1].id, PERI_CALL_RUNNING);
    settle(&f, function);
    struct peri_call_filter filter = { .function_id = single->id, .state = PERI_CALL_RUNNING };
    struct peri_error err = PERI_ERROR_INIT;
    size_t running = 0;
    assert_int_equal(peri_engine_calls(f.engine, &filter, 100, count_call, &running, &err), PERI_OK);
    assert_int_equal(running, 2);
    peri_function_unref(single);
    single = deploy_limited(&f, "single", 5); /* those that wait hear of it */
    wait_state(&f, calls[4].id, PERI_CALL_RUNNING);
    settle(&f, function);
    running = 0;
    assert_int_equal(peri_engine_calls(f.engine, &filter, 100, count_call, &running, &err), PERI_OK);
    assert_int_equal(running, 5);
    for (int i = CALLS - 1; i >= 0; i--)
        peri_engine_cancel(f.engine, calls[i].id);
    for (int i = 0; i < CALLS; i++) {
        fixture_wait(&f, &calls[i].finished);
        assert_int_equal(calls[i].call->state, PERI_CALL_CANCELLED);
        peri_call_unref(calls[i].call);
    }
    peri_function_unref(single);
    single = NULL;
    reopen(&f, &function); /* the limit is kept with the function */
    single = peri_engine_function_by_name(f.engine, peri_str_from("single"));
    assert_int_equal(single->concurrency, 5);
    peri_function_unref(single);
    end(&f, function);
}

static void urgent_calls_start_first(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_function *function = start(&f), *single = deploy_limited(&f, "single", 1);
    struct called busy = { 0 }, low = { 0 }, plain = { 0 }, high = { 0 };
    ask_and_accept(&f, single, "sleep 60000", NULL, &busy);
    wait_state(&f, busy.id, PERI_CALL_RUNNING);
    ask_and_accept(&f, single, "sleep 60000", &(struct peri_terms){ .queue = 9 }, &low);
    ask_and_accept(&f, single, "sleep 60000", NULL, &plain);
    ask_and_accept(&f, single, "sleep 60000", &(struct peri_terms){ .queue = 1 }, &high);
    struct called *order[] = { &busy, &high, &plain, &low };
    for (int i = 0; i < 4; i++) {
        wait_state(&f, order[i]->id, PERI_CALL_RUNNING);
        for (int later = i + 1; later < 4; later++)
            assert_state(&f, order[later]->id, PERI_CALL_QUEUED);
        peri_engine_cancel(f.engine, order[i]->id);
        fixture_wait(&f, &order[i]->finished);
        peri_call_unref(order[i]->call);
    }
    peri_function_unref(single);
    end(&f, function);
}

static void delayed_calls_count_against_the_limit_of_the_queue(void **state)
{
    (void)state;
    struct fixture f = { .options = { .queue_limit = 3, .sandboxes = 1 } };
    struct peri_function *function = start(&f);
    struct peri_terms terms = { .start_ms = NOW + 1000 };
    struct called calls[600] = { 0 };
    struct peri_submit submit = asks(function, "1", &terms);
    int count = 0;
    while (count < 600 && fixture_submit_as(&f, &submit, &calls[count]) == PERI_OK)
        fixture_wait(&f, &calls[count++].accepted);
    assert_true(count < 600);
    assert_int_equal(calls[count].err.code, PERI_UNAVAILABLE);
    assert_true(calls[count].err.retry_after_ms > 0);
    move_clock(&f, 1000);
    for (int i = 0; i < count; i++) {
        fixture_wait(&f, &calls[i].finished);
        peri_call_unref(calls[i].call);
    }
    end(&f, function);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delayed_call_waits_for_its_time),
        cmocka_unit_test(a_delay_outlives_the_host),
        cmocka_unit_test(a_delayed_call_is_cancelled_at_once),
        cmocka_unit_test(what_does_not_start_in_time_expires),
        cmocka_unit_test(a_call_expires_while_the_host_is_down),
        cmocka_unit_test(one_key_makes_one_call),
        cmocka_unit_test(only_asynchronous_calls_have_a_key_or_a_delay),
        cmocka_unit_test(a_failing_handler_is_tried_again_with_longer_waits),
        cmocka_unit_test(without_retry_a_failure_is_the_end_and_nothing_dead),
        cmocka_unit_test(dead_calls_are_requeued_or_dismissed),
        cmocka_unit_test(a_limited_function_blocks_nobody),
        cmocka_unit_test(urgent_calls_start_first),
        cmocka_unit_test(delayed_calls_count_against_the_limit_of_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
