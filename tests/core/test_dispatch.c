/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

#include <jansson.h>
#include <signal.h>

/* What happens to calls when sandboxes misbehave or die, and which sandbox gets which call. */

static int pid_of(const struct peri_call *call)
{
    json_t *answer = json_loadb(call->response.data, call->response.len, 0, NULL);
    int pid = (int)json_integer_value(json_object_get(answer, "pid"));
    json_decref(answer);
    return pid;
}

static void assert_says(const struct peri_call *call, const char *text)
{
    if (!call->error_message || !strstr(call->error_message, text))
        fail_msg("'%s' does not say '%s'", call->error_message ? call->error_message : "(nothing)", text);
}

static void assert_works(struct fixture *f, struct peri_function *function)
{
    struct peri_call *call = fixture_call(f, function, "7", false);
    assert_int_equal(call->state, PERI_CALL_COMPLETED);
    peri_call_unref(call);
}

/* One call does `body` while another one waits in the same sandbox; both end as lost. */
static void lose(struct fixture *f, struct peri_function *function, const char *body, struct peri_call **culprit,
                 struct peri_call **bystander)
{
    struct called b = { 0 }, c = { 0 };
    fixture_submit(f, function, "sleep 100000", false, 0, &b);
    fixture_submit(f, function, body, false, 0, &c);
    fixture_wait(f, &b.finished);
    fixture_wait(f, &c.finished);
    assert_int_equal(b.call->code, PERI_SANDBOX_LOST);
    assert_int_equal(b.call->state, PERI_CALL_FAILED);
    assert_int_equal(c.call->code, PERI_SANDBOX_LOST);
    *culprit = c.call;
    *bystander = b.call;
}

static void the_watchdog_names_the_culprit(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1, .options.watchdog_ms = 2000 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "spinner");
    struct peri_call *culprit, *bystander;
    char held[64];
    lose(&f, function, "hang", &culprit, &bystander);
    assert_string_equal(culprit->error_message,
                        "the sandbox was stopped by the watchdog: this call did not give control back for 2 s (it was "
                        "in C code that can't be interrupted)");
    snprintf(held, sizeof held, "while call %llu of function spinner held it", (unsigned long long)culprit->id);
    assert_says(bystander, held);
    peri_call_unref(culprit);
    peri_call_unref(bystander);
    assert_works(&f, function);

    /* Without a culprit, both are told of the silence. */
    lose(&f, function, "stall", &culprit, &bystander);
    assert_says(culprit, "it did not answer for 2 s");
    assert_says(bystander, "it did not answer for 2 s");
    peri_call_unref(culprit);
    peri_call_unref(bystander);

    /* Asynchronous: the culprit is not tried again, the others are. */
    struct called hang = { 0 }, other = { 0 };
    fixture_submit(&f, function, "sleep 3000", true, 0, &other);
    fixture_submit(&f, function, "hang", true, 0, &hang);
    fixture_wait(&f, &hang.finished);
    fixture_wait(&f, &other.finished);
    assert_int_equal(hang.call->code, PERI_SANDBOX_LOST);
    assert_int_equal(hang.call->attempt, 1);
    assert_int_equal(other.call->state, PERI_CALL_COMPLETED);
    assert_int_equal(other.call->attempt, 2);
    peri_call_unref(hang.call);
    peri_call_unref(other.call);
    peri_function_unref(function);
    fixture_end(&f);
}

static void a_crash_tells_the_signal(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct peri_call *culprit, *bystander;
    lose(&f, function, "crash", &culprit, &bystander);
    assert_says(culprit, "killed by signal 11");
    assert_says(culprit, "while this call's code ran");
    assert_says(bystander, "of function f ran in it");
    peri_call_unref(culprit);
    peri_call_unref(bystander);
    lose(&f, function, "exit 5", &culprit, &bystander);
    assert_says(culprit, "exit code 5");
    peri_call_unref(culprit);
    peri_call_unref(bystander);
    assert_works(&f, function);
    peri_function_unref(function);
    fixture_end(&f);
}

static void what_a_sandbox_says_is_checked(void **state)
{
    (void)state;
    static const char *const lies[][2] = { { "garbage", "garbage" },
                                           { "oversize", "oversized" },
                                           { "unknown", "does not run there" },
                                           { "badreply", "malformed reply" } };
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct peri_call *culprit, *bystander;
        lose(&f, function, lies[i][0], &culprit, &bystander);
        assert_says(culprit, lies[i][1]);
        assert_says(bystander, lies[i][1]);
        peri_call_unref(culprit);
        peri_call_unref(bystander);
        assert_works(&f, function);
    }
    peri_function_unref(function);
    fixture_end(&f);
}

static void take_line(void *data, size_t index, const struct peri_log_line *line)
{
    (void)index;
    (void)line;
    *(bool *)data = true;
}

/* Until a call that writes to its log has done so. */
static void wait_running(struct fixture *f, const struct called *c)
{
    bool runs = false;
    while (!runs) {
        peri_loop_run_once(f->loop, 10, NULL);
        peri_engine_log(f->engine, c->id, 0, take_line, &runs, NULL);
    }
}

static void asynchronous_calls_outlive_their_sandbox(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct peri_call *where = fixture_call(&f, function, "version", false);
    struct called c[20] = { 0 };
    for (int i = 0; i < 20; i++)
        fixture_submit(&f, function, "once", true, 0, &c[i]);
    for (int i = 0; i < 20; i++)
        wait_running(&f, &c[i]);
    kill(pid_of(where), SIGKILL);
    for (int i = 0; i < 20; i++) {
        fixture_wait(&f, &c[i].finished);
        assert_int_equal(c[i].call->state, PERI_CALL_COMPLETED);
        assert_int_equal(c[i].call->attempt, 2);
        peri_call_unref(c[i].call);
    }
    peri_call_unref(where);
    peri_function_unref(function);
    fixture_end(&f);
}

static void a_cancelled_call_is_not_lost(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    for (int async = 0; async < 2; async++) {
        struct peri_call *where = fixture_call(&f, function, "version", false);
        struct called c = { 0 };
        fixture_submit(&f, function, "deaf", async, 0, &c);
        wait_running(&f, &c);
        peri_engine_cancel(f.engine, c.id);
        /* The next call's answer shows that the cancel was sent, and ignored. */
        peri_call_unref(fixture_call(&f, function, "1", false));
        kill(pid_of(where), SIGKILL);
        fixture_wait(&f, &c.finished);
        assert_int_equal(c.call->state, PERI_CALL_CANCELLED);
        assert_int_equal(c.call->code, PERI_CANCELLED);
        peri_call_unref(c.call);
        peri_call_unref(where);
    }
    peri_function_unref(function);
    fixture_end(&f);
}

static void attempts_come_to_an_end(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1, .options.max_attempts = 3 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct peri_call *call = fixture_call(&f, function, "crash", true);
    assert_int_equal(call->state, PERI_CALL_FAILED);
    assert_int_equal(call->code, PERI_SANDBOX_LOST);
    assert_int_equal(call->attempt, 3);
    assert_says(call, "given up after 3 attempts");
    peri_call_unref(call);
    assert_works(&f, function);
    peri_function_unref(function);
    fixture_end(&f);
}

static void wait_ready(struct fixture *f, size_t wanted)
{
    for (size_t ready = 0; ready < wanted;) {
        char *text = peri_engine_info(f->engine);
        json_t *info = json_loads(text, 0, NULL), *sandboxes = json_object_get(info, "sandboxes");
        ready = 0;
        for (size_t i = 0; i < json_array_size(sandboxes); i++)
            ready += json_is_true(json_object_get(json_array_get(sandboxes, i), "ready"));
        json_decref(info);
        free(text);
        peri_loop_run_once(f->loop, 20, NULL);
    }
}

static void only_one_sandbox_is_affected(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 2 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct called c[10] = { 0 };
    wait_ready(&f, 2);
    struct peri_call *where = fixture_call(&f, function, "version", false);
    for (int i = 0; i < 10; i++)
        fixture_submit(&f, function, "once", false, 0, &c[i]);
    for (int i = 0; i < 10; i++)
        wait_running(&f, &c[i]);
    kill(pid_of(where), SIGKILL);
    bool noticed = false;
    while (!noticed) {
        peri_loop_run_once(f.loop, 10, NULL);
        for (int i = 0; i < 10; i++)
            noticed = noticed || c[i].finished;
    }
    int lost = 0, cancelled = 0;
    for (int i = 0; i < 10; i++) {
        peri_engine_cancel(f.engine, c[i].id);
        fixture_wait(&f, &c[i].finished);
        lost += c[i].call->code == PERI_SANDBOX_LOST;
        cancelled += c[i].call->code == PERI_CANCELLED;
        peri_call_unref(c[i].call);
    }
    assert_int_equal(lost, 5); /* and so they were spread evenly */
    assert_int_equal(cancelled, 5);
    peri_call_unref(where);
    peri_function_unref(function);
    fixture_end(&f);
}

static void many_versions_are_loaded_and_dropped(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    enum { N = 530 }; /* over what a sandbox holds at a time */
    struct peri_function *functions[N];
    struct deployed d[N];
    memset(d, 0, sizeof d);
    char path[600], name[32];
    snprintf(path, sizeof path, "%s/same.zip", f.dir);
    fixture_zip(path, "handler.lua", "return {}");
    for (int i = 0; i < N; i++) {
        char copy[640], command[1400];
        snprintf(copy, sizeof copy, "%s/tmp/%d.zip", f.dir, i);
        snprintf(command, sizeof command, "%s", path);
        assert_int_equal(link(command, copy), 0);
        snprintf(name, sizeof name, "f%d", i);
        struct peri_function spec = { .external_id = name };
        struct peri_deploy deploy = { .spec = &spec, .package_path = copy, .replace = true, .wait = true };
        peri_engine_deploy(f.engine, &deploy, fixture__deployed, &d[i]);
    }
    for (int i = 0; i < N; i++) {
        fixture_wait(&f, &d[i].done);
        assert_non_null(d[i].function);
        functions[i] = d[i].function;
    }
    for (int i = 0; i < N; i++) {
        assert_works(&f, functions[i]);
        peri_function_unref(functions[i]);
    }
    fixture_end(&f);
}

static void a_sandbox_that_can_not_start(void **state)
{
    (void)state;
    static const char *const modes[] = { "die", "version", "early" };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct fixture f = { .options.sandboxes = 1 };
        setenv("PERILUNE_SANDBOX_FAKE", modes[i], 1);
        fixture_start(&f);
        for (int turn = 0; turn < 30; turn++)
            peri_loop_run_once(f.loop, 20, NULL);
        unsetenv("PERILUNE_SANDBOX_FAKE");
        struct peri_function *function = fixture_deploy(&f, "f"); /* as soon as one starts properly */
        assert_works(&f, function);
        peri_function_unref(function);
        fixture_end(&f);
    }
}

static void calls_that_find_no_sandbox_end(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    setenv("PERILUNE_SANDBOX_FAKE", "silent", 1);
    struct peri_call *lost = fixture_call(&f, function, "exit 1", false);
    struct called c = { 0 };
    fixture_submit(&f, function, "1", false, 300, &c);
    fixture_wait(&f, &c.finished);
    assert_int_equal(c.call->code, PERI_UNAVAILABLE);
    unsetenv("PERILUNE_SANDBOX_FAKE");
    peri_call_unref(lost);
    peri_call_unref(c.call);
    peri_function_unref(function);
    fixture_end(&f);
}

static void many_calls_at_once(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 2 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    enum { N = 20000 };
    struct called *c = calloc(N, sizeof *c);
    for (int i = 0; i < N; i++) {
        char body[32];
        snprintf(body, sizeof body, "{\"n\":%d}", i);
        assert_int_equal(fixture_submit(&f, function, body, false, 0, &c[i]), PERI_OK);
    }
    for (int i = 0; i < N; i++) {
        char body[32];
        snprintf(body, sizeof body, "{\"n\":%d}", i);
        fixture_wait(&f, &c[i].finished);
        assert_body(c[i].call, body);
        peri_call_unref(c[i].call);
    }
    free(c);
    peri_function_unref(function);
    fixture_end(&f);
}

int main(void)
{
    peri_log_set_level(PERI_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_watchdog_names_the_culprit),
        cmocka_unit_test(a_crash_tells_the_signal),
        cmocka_unit_test(what_a_sandbox_says_is_checked),
        cmocka_unit_test(asynchronous_calls_outlive_their_sandbox),
        cmocka_unit_test(a_cancelled_call_is_not_lost),
        cmocka_unit_test(attempts_come_to_an_end),
        cmocka_unit_test(only_one_sandbox_is_affected),
        cmocka_unit_test(many_versions_are_loaded_and_dropped),
        cmocka_unit_test(a_sandbox_that_can_not_start),
        cmocka_unit_test(calls_that_find_no_sandbox_end),
        cmocka_unit_test(many_calls_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
