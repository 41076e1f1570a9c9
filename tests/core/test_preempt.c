/* SPDX-License-Identifier: MIT */
/* part: lua */
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "lperi.h"
#include "support/runtime_fixture.h"

/* Turns, deadlines and quotas of calls that run at the same time. */

static struct peri_lua_runtime_stats stats_of(const struct bench *b)
{
    struct peri_lua_runtime_stats stats;
    peri_lua_runtime_stats(b->runtime, &stats);
    return stats;
}

static const struct answer *answer_of(const struct bench *b, uint64_t id)
{
    for (size_t i = 0; i < b->answer_count; i++) {
        if (b->answers[i].call_id == id) {
            return &b->answers[i];
        }
    }
    return NULL;
}

#define SPIN "local x = 0 while true do x = x + 1 end"
#define COUNT(n) "local x = 0 for i = 1, " #n " do x = x + i % 7 end"

/* ---- turns ---- */

static void test_spinning_call_lets_others_run(void **state)
{
    struct bench *b = *state;
    load_code(b, 1, HANDLER(SPIN));
    load_code(b, 2, HANDLER("return ctx.data.n"));
    start(b, (struct call){ .id = 1000, .timeout_ms = 1500 });
    for (uint64_t i = 1; i <= 100; i++) {
        start(b, (struct call){ .id = i, .version = 2, .body = "{\"n\":5}" });
    }
    run_until(b, 101);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(b->answers[i].code, PERI_OK);
    }
    assert_int_equal(b->answers[100].call_id, 1000);
    assert_int_equal(b->answers[100].code, PERI_HANDLER_TIMEOUT);
}

static void test_no_hook_when_nobody_waits(void **state)
{
    struct bench *b = *state;
    load_code(b, 1, HANDLER(COUNT(3e7) " return debug.traceback and x"));
    call(b, (struct call){ .body = "{}" });
    unsigned preemptions = (unsigned)stats_of(b).preemptions;
    uint64_t hooks = stats_of(b).hooks;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    call(b, (struct call){ .body = "{}" });
    clock_gettime(CLOCK_MONOTONIC, &after);
    double ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
    /* The runtime's own sweep of idle states is due once a second, and waits too. */
    assert_true(stats_of(b).hooks - hooks <= 1 + (uint64_t)(ms / 1000));
    assert_true(stats_of(b).preemptions - preemptions <= 1 + (uint64_t)(ms / 1000));
    /* The same call while another waits is interrupted all the time. */
    start(b, (struct call){ .id = 2, .body = "{}" });
    start(b, (struct call){ .id = 3, .body = "{}" });
    hooks = stats_of(b).hooks;
    run_until(b, 4);
    assert_true(stats_of(b).hooks - hooks > 4);
}

/* What preemption interrupts goes on where it was: sums are right in loops, calls, metamethods, coroutines, pcall. */
static void test_preempted_code_computes_right(void **state)
{
    struct bench *b = *state;
    static const char *const bodies[] = {
        HANDLER("local x = 0 for i = 1, 3e6 do x = x + i % 7 end return x"),
        HANDLER(
            "local function add(a, b) return a + b end local x = 0 for i = 1, 1e6 do x = add(x, i % 7) end return x"),
        HANDLER("local mt = { __index = function(_, k) return k % 7 end, __add = function(a, n) return { v = a.v + n } "
                "end }\n"
                "local t = setmetatable({}, mt) local x = 0 for i = 1, 1e6 do x = x + t[i] end return x"),
        HANDLER("local x = 0 for v in coroutine.wrap(function() for i = 1, 4e5 do coroutine.yield(i % 7) end end) do\n"
                "x = x + v end return x"),
        HANDLER("local x = 0 for i = 1, 4e5 do local ok, v = pcall(function(a) if a == 3 then error(3, 0) end return a "
                "end, i % 7)\n"
                "x = x + v end return x"),
        HANDLER("local outer = coroutine.wrap(function() local inner = coroutine.wrap(function()\n"
                "for i = 1, 2e5 do coroutine.yield(i % 7) end end)\n"
                "local s = 0 for v in inner do s = s + v end coroutine.yield(s) end) return outer()"),
        HANDLER("local t = {} for i = 1, 1e5 do t[i] = (i * 7919) % 100003 end table.sort(t, function(a, c) return a < "
                "c end)\n"
                "for i = 2, #t do if t[i - 1] > t[i] then return -1 end end return #t"),
    };
    char alone[7][8192];
    for (size_t i = 0; i < 7; i++) {
        load_code(b, i + 1, bodies[i]);
        snprintf(alone[i], sizeof(alone[i]), "%s", call(b, (struct call){ .version = i + 1 })->body);
        assert_true(atol(alone[i]) > 0);
    }
    b->answer_count = 0;
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 7; i++) {
            start(b, (struct call){ .id = round * 10 + i + 1, .version = i + 1 });
        }
    }
    run_until(b, 21);
    for (size_t i = 0; i < 21; i++) {
        assert_string_equal(b->answers[i].body, alone[b->answers[i].call_id % 10 - 1]);
    }
    assert_true(stats_of(b).preemptions > 20);
}

/* A log line goes out while its handler still computes, though no other call waits. */
static void test_log_goes_out_while_computing(void **state)
{
    struct bench *b = *state;
    struct peri_error err = PERI_ERROR_INIT;
    load_code(b, 1, HANDLER("print('started') " COUNT(3e7)));
    start(b, (struct call){ 0 });
    for (int i = 0; i < 1000 && b->line_count == 0; i++) {
        peri_loop_run_once(b->loop, 1000, &err);
    }
    assert_int_equal(b->line_count, 1);
    assert_int_equal(b->answer_count, 0);
    run_until(b, 1);
}

struct input {
    struct bench *bench;
    uv_poll_t poll;
    int fd, rounds;
};

/* Readable again in the middle of the next slice; the call is cancelled after 40 rounds. */
static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    const struct itimerspec soon = { .it_value = { 0, 10000000 } };
    struct input *input = poll->data;
    timerfd_settime(input->fd, 0, &soon, NULL);
    if (++input->rounds == 40) {
        input->bench->runtime->kind->cancel(input->bench->runtime, 2);
        uv_close((uv_handle_t *)poll, NULL);
    }
}

/* Something to read on the loop preempts a call, too: that is how a sandbox hears of new calls. */
static void test_input_preempts(void **state)
{
    struct bench *b = *state;
    const struct itimerspec soon = { .it_value = { 0, 10000000 } };
    struct input input = { .bench = b };
    input.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    uv_poll_init(peri_loop_uv(b->loop), &input.poll, input.fd);
    input.poll.data = &input;
    uv_poll_start(&input.poll, UV_READABLE, on_readable);
    timerfd_settime(input.fd, 0, &soon, NULL);
    load_code(b, 1, HANDLER(SPIN));
    /* The runtime's own timer preempts once a second: if it alone did, the deadline would come before the 40th round. */
    start(b, (struct call){ .id = 2, .timeout_ms = 20000 });
    run_until(b, 1);
    assert_int_equal(input.rounds, 40);
    assert_int_equal(b->answers[0].code, PERI_CANCELLED);
    close(input.fd);
}

/* ---- deadlines ---- */

static void times_out(struct bench *b, const char *code)
{
    struct answer *a = run_code(b, code, (struct call){ .timeout_ms = 150 });
    assert_int_equal(a->code, PERI_HANDLER_TIMEOUT);
    assert_contains(a->body, "\"message\":\"the handler ran past its deadline of 0.15 s\"");
}

static void test_deadline(void **state)
{
    struct bench *b = *state;
    times_out(b, HANDLER(SPIN));
    assert_contains(b->answers[0].body, "handler.lua:2: in function");
    times_out(b, HANDLER("while true do pcall(function() while true do end end) end"));
    times_out(b, HANDLER("while true do pcall(error) end"));
    times_out(b, HANDLER("while true do xpcall(error, function() while true do end end) end"));
    times_out(b, HANDLER("xpcall(function() while true do end end, function() while true do end end)"));
    times_out(b, HANDLER("local function f() return xpcall(f, f) end while true do f() end"));
    times_out(b, HANDLER("coroutine.wrap(function() while true do end end)()"));
    times_out(b, HANDLER("while true do coroutine.wrap(function() pcall(function() while true do end end) end)() end"));
    times_out(b, HANDLER("local co = coroutine.create(function() while true do coroutine.yield() end end)\n"
                         "while true do coroutine.resume(co) end"));
    times_out(
        b, HANDLER(
               "while true do local c <close> = setmetatable({}, { __close = function() while true do end end }) end"));
    times_out(
        b, HANDLER(
               "local c <close> = setmetatable({}, { __close = function() while true do end end }) while true do end"));
    times_out(b, HANDLER("local co = coroutine.create(function()\n"
                         " local c <close> = setmetatable({}, { __close = function() while true do end end })\n"
                         " coroutine.yield() end) coroutine.resume(co) coroutine.close(co)"));
    times_out(b, HANDLER("table.sort({ 1, 2, 3 }, function() while true do end end)"));
    times_out(b, HANDLER("string.gsub('x', 'x', function() while true do end end)"));
    times_out(b, HANDLER("return setmetatable({}, { __index = function() while true do end end }).x"));
    times_out(b, HANDLER("error(setmetatable({}, { __tostring = function() while true do end end }))"));
    times_out(b, HANDLER("load(function() while true do end end)"));
    times_out(b, HANDLER("while true do collectgarbage 'step' end"));
    times_out(b, HANDLER("while true do print 'x' end"));
    times_out(b, HANDLER("for _ in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end"));
    times_out(b, HANDLER("::top:: goto top"));
    times_out(b, "local M = {} function M.handle() return M.handle() end return M");
}

/* The deadline of a call that runs behind others, and of one that waits for its package. */
static void test_deadline_while_queued(void **state)
{
    struct bench *b = *state;
    load_code(b, 1, HANDLER(SPIN));
    load_code(b, 2, "local x = 0 while true do x = x + 1 end");
    for (uint64_t i = 1; i <= 5; i++) {
        start(b, (struct call){ .id = i, .timeout_ms = 100 + (int64_t)i * 10 });
    }
    start(b, (struct call){ .id = 6, .version = 2, .timeout_ms = 200 });
    run_until(b, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(b->answers[i].code, PERI_HANDLER_TIMEOUT);
    }
    assert_int_equal(stats_of(b).tasks, 1); /* the load itself */
    b->runtime->kind->unload(b->runtime, 2);
    while (stats_of(b).tasks) {
        struct peri_error err = PERI_ERROR_INIT;
        peri_loop_run_once(b->loop, 10000, &err);
    }
}

/* ---- memory ---- */

static void runs_out(struct bench *b, const char *code)
{
    struct answer *a = run_code(b, code, (struct call){ .memory = 8 * MIB, .timeout_ms = 60000 });
    assert_contains(a->body, "the handler went over its memory quota of 8 MiB: it held ");
    assert_int_equal(a->code, PERI_HANDLER_MEMORY);
    assert_true(a->memory_peak > 0);
    assert_true(a->memory_peak <= 9 * MIB);
}

static void test_memory(void **state)
{
    struct bench *b = *state;
    runs_out(b, HANDLER("return #string.rep('x', 1 << 30)"));
    runs_out(b, HANDLER("return #string.rep('x', 100 << 20)"));
    runs_out(b, HANDLER("local t = {} for i = 1, 1e9 do t[i] = {} end"));
    runs_out(b, HANDLER("local s = 'x' while true do s = s .. s end"));
    runs_out(b, HANDLER("local t = {} for i = 1, 1e9 do t[i] = i end"));
    runs_out(b, HANDLER("local t = {} for i = 1, 1e9 do t[i] = 'key' .. i end"));
    runs_out(b, HANDLER("local t = {} for i = 1, 1e9 do t[i] = coroutine.create(print) end"));
    runs_out(b, HANDLER("while true do pcall(string.rep, 'x', 100 << 20) end"));
    runs_out(b, HANDLER("while true do xpcall(string.rep, function() while true do end end, 'x', 100 << 20) end"));
    runs_out(b, HANDLER("while true do coroutine.resume(coroutine.create(string.rep), 'x', 100 << 20) end"));
    runs_out(b, HANDLER("while true do pcall(function() local t = {} for i = 1, 1e9 do t[i] = {} end end) end"));
    runs_out(b,
             HANDLER("local co = coroutine.wrap(function() local t = {} while true do t[#t + 1] = {} end end) co()"));
    runs_out(
        b, HANDLER(
               "local t = {} for i = 1, 1e6 do t[i] = 'xxxxxxxxxxxxxxxxxxxxxx' end while true do table.concat(t) end"));
    runs_out(b, HANDLER("return load(function() return ('x = 1;'):rep(100000) end)"));
    runs_out(b, HANDLER("local function f(a) return 1 + f(a) end return f(1)"));
    runs_out(b, HANDLER("error(setmetatable({}, { __tostring = function() return ('x'):rep(100 << 20) end }))"));
    runs_out(b, HANDLER("print(('x'):rep(100 << 20))"));
    runs_out(b, HANDLER("local c <close> = setmetatable({}, { __close = function() while true do end end })\n"
                        "local t = {} for i = 1, 1e9 do t[i] = {} end"));
    assert_int_equal(stats_of(b).states, 0);
}

/* Garbage is not held against a call. */
static void test_garbage_is_free(void **state)
{
    struct bench *b = *state;
    struct answer *a =
        run_code(b, HANDLER("for i = 1, 2e6 do local t = { i } end return 'fine'"), (struct call){ .memory = 2 * MIB });
    assert_string_equal(a->body, "\"fine\"");
}

static void test_innocent_call_survives_a_bomb(void **state)
{
    struct bench *b = *state;
    load_code(b, 1,
              "kept = {}\nreturn { handle = function(ctx)\n"
              " if ctx.data.bomb then local t = {} for i = 1, 1e9 do t[i] = {} end end\n"
              " local mine = {} for i = 1, 20000 do mine[i] = { i } end\n"
              " local x = 0 while x < 2e7 do x = x + 1 end\n"
              " return #mine end }");
    start(b, (struct call){ .id = 1, .body = "{}", .memory = 16 * MIB });
    start(b, (struct call){ .id = 2, .body = "{\"bomb\":true}", .memory = 16 * MIB });
    start(b, (struct call){ .id = 3, .body = "{}", .memory = 16 * MIB });
    run_until(b, 3);
    assert_string_equal(answer_of(b, 1)->body, "20000");
    assert_string_equal(answer_of(b, 3)->body, "20000");
    assert_int_equal(answer_of(b, 2)->code, PERI_HANDLER_MEMORY);
    /* The state that held the bomb was replaced, and the next call has a fresh one. */
    assert_int_equal(stats_of(b).states, 0);
    assert_string_equal(call(b, (struct call){ .id = 4, .body = "{}" })->body, "20000");
    assert_int_equal(stats_of(b).states, 1);
}

/* ---- waiting: a module in C stands for perilune's operations ---- */

static struct bench *waiting_bench;
static struct peri_lua_waiter *the_waiter;
static void *waiters[64];
static unsigned waiter_count;

static int after_wait(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    lua_pushliteral(L, "woken");
    return 1;
}

static int wait_for(lua_State *L)
{
    the_waiter = peri_lua_get_waiter(L);
    waiters[waiter_count++ % 64] = the_waiter->current(the_waiter, L);
    return the_waiter->block(L, the_waiter, luaL_optinteger(L, 1, -1), 0, after_wait);
}

static int open_waiting(lua_State *L)
{
    lua_pushcfunction(L, wait_for);
    return 1;
}

static int setup_waiting(void **state)
{
    static const luaL_Reg modules[] = { { "wait", open_waiting }, { NULL, NULL } };
    struct peri_error err = PERI_ERROR_INIT;
    setup(state);
    struct bench *b = waiting_bench = *state;
    b->runtime->kind->free(b->runtime);
    struct peri_lua_runtime_options options = { .modules = modules, .library = PERI_SOURCE_DIR "/lua" };
    struct peri_runtime_events events = { b, on_loaded, on_log, on_reply };
    waiter_count = 0;
    return peri_lua_runtime_new(b->loop, &options, &events, &b->runtime, &err) == PERI_OK ? 0 : -1;
}

static void turn_until_waiting(struct bench *b, unsigned count)
{
    struct peri_error err = PERI_ERROR_INIT;
    while (waiter_count < count) {
        peri_loop_run_once(b->loop, 1000, &err);
    }
    peri_loop_run_once(b->loop, 0, &err);
}

#define WAIT_MODULE "require 'perilune.core' local wait = require 'wait'\n"

static void test_waiting(void **state)
{
    struct bench *b = *state;
    load_code(b, 1, WAIT_MODULE HANDLER("local r = wait() return r .. ctx.data.n"));
    load_code(b, 2,
              WAIT_MODULE HANDLER("local co = coroutine.wrap(function() return pcall(function()\n"
                                  " return coroutine.wrap(function() coroutine.yield(1) return wait() end) end) end)\n"
                                  " local _, inner = co() inner() return inner()"));
    load_code(b, 3, WAIT_MODULE HANDLER("return { pcall(table.sort, { 1, 2 }, function() wait() end) }"));
    start(b, (struct call){ .id = 1, .body = "{\"n\":1}" });
    start(b, (struct call){ .id = 2, .body = "{\"n\":2}" });
    start(b, (struct call){ .id = 3, .version = 2 });
    turn_until_waiting(b, 3);
    assert_int_equal(b->answer_count, 0);
    for (int i = 2; i >= 0; i--) { /* in the other order */
        the_waiter->ready(the_waiter, waiters[i]);
        the_waiter->ready(the_waiter, waiters[i]);
    }
    run_until(b, 3);
    assert_string_equal(answer_of(b, 1)->body, "\"woken1\"");
    assert_string_equal(answer_of(b, 2)->body, "\"woken2\"");
    assert_string_equal(answer_of(b, 3)->body, "\"woken\"");
    for (int i = 0; i < 3; i++) { /* those who waited are gone */
        the_waiter->ready(the_waiter, waiters[i]);
    }
    assert_contains(call(b, (struct call){ .id = 4, .version = 3 })->body, "can't wait here");
}

static void test_waiting_ends(void **state)
{
    struct bench *b = *state;
    load_code(
        b, 1,
        WAIT_MODULE HANDLER("local co = coroutine.wrap(function()\n"
                            " local c <close> = setmetatable({}, { __close = function() while true do end end })\n"
                            " return wait(ctx.data.ms) end) return co()"));
    load_code(b, 2, WAIT_MODULE HANDLER("return wait(ctx.data.ms)"));
    assert_string_equal(call(b, (struct call){ .version = 2, .body = "{\"ms\":20}" })->body, "\"woken\"");
    struct answer *a = call(b, (struct call){ .version = 1, .body = "{}", .timeout_ms = 100 });
    assert_int_equal(a->code, PERI_HANDLER_TIMEOUT);
    waiter_count = 0;
    start(b, (struct call){ .id = 9, .body = "{}" });
    turn_until_waiting(b, 1);
    b->runtime->kind->cancel(b->runtime, 9);
    run_until(b, 3);
    assert_int_equal(answer_of(b, 9)->code, PERI_CANCELLED);
    the_waiter->ready(the_waiter, waiters[0]);
}

/* A coroutine of one call that waits can't be resumed or closed by another; a module that waits while it loads is
 * loaded once, for all. */
static void test_waiting_is_shared(void **state)
{
    struct bench *b = *state;
    const char *files[] = {
        "handler.lua",
        WAIT_MODULE
        "local shared\nreturn { handle = function(ctx)\n"
        " if ctx.data.first then shared = coroutine.create(function() return wait() end)\n"
        "  return { coroutine.resume(shared) } end\n"
        " return { coroutine.status(shared), coroutine.resume(shared), pcall(coroutine.close, shared) } end }",
        NULL
    };
    load_package(b, 1, files, false);
    start(b, (struct call){ .id = 1, .body = "{\"first\":true}" });
    turn_until_waiting(b, 1);
    struct answer *a = call(b, (struct call){ .id = 2, .body = "{}" });
    assert_string_equal(a->body, "[\"normal\",false,false,\"cannot close a normal coroutine\"]");
    the_waiter->ready(the_waiter, waiters[0]);
    run_until(b, 2);
    assert_string_equal(answer_of(b, 1)->body, "[true,\"woken\"]");

    static const char slow_handler[] = WAIT_MODULE HANDLER("return require 'slow'.count");
    const char *slow[] = { "handler.lua", slow_handler, "slow.lua",
                           "count = (count or 0) + 1 require 'wait'() return { count = count }", NULL };
    load_package(b, 2, slow, false);
    b->answer_count = waiter_count = 0;
    start(b, (struct call){ .id = 1, .version = 2 });
    start(b, (struct call){ .id = 2, .version = 2 });
    turn_until_waiting(b, 1);
    the_waiter->ready(the_waiter, waiters[0]);
    run_until(b, 2);
    assert_string_equal(b->answers[0].body, "1");
    assert_string_equal(b->answers[1].body, "1");
    assert_int_equal(waiter_count, 1);
}

#define WAITING(name) cmocka_unit_test_setup_teardown(name, setup_waiting, teardown)

static const struct CMUnitTest tests[] = {
    TEST(test_spinning_call_lets_others_run),
    TEST(test_no_hook_when_nobody_waits),
    TEST(test_preempted_code_computes_right),
    TEST(test_log_goes_out_while_computing),
    TEST(test_input_preempts),
    TEST(test_deadline),
    TEST(test_deadline_while_queued),
    TEST(test_memory),
    TEST(test_garbage_is_free),
    TEST(test_innocent_call_survives_a_bomb),
    WAITING(test_waiting),
    WAITING(test_waiting_ends),
    WAITING(test_waiting_is_shared),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
