/* SPDX-License-Identifier: MIT */
/* part: lua */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/runtime_fixture.h"

/* The handler runtime in this process: what calls answer, and how they fail. */

/* ---- answers ---- */

static void test_answers_json(void **state)
{
    struct bench *b = *state;
    load_code(b, 1, HANDLER("return { sum = ctx.data.a + ctx.data.b, big = ctx.data.big }"));
    struct answer *a = call(b, (struct call){ .id = 7, .body = "{\"a\":1,\"b\":2,\"big\":9007199254740993}" });
    assert_int_equal(a->call_id, 7);
    assert_int_equal(a->code, PERI_OK);
    assert_true(strcmp(a->body, "{\"sum\":3,\"big\":9007199254740993}") == 0 ||
                strcmp(a->body, "{\"big\":9007199254740993,\"sum\":3}") == 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(call(b, (struct call){ .body = "{\"a\":1,\"b\":2}" })->code, PERI_OK);
    }
}

static void test_values(void **state)
{
    struct bench *b = *state;
    answers(b, HANDLER(""), "null");
    answers(b, HANDLER("return nil"), "null");
    answers(b, HANDLER("return false, 'ignored'"), "false");
    answers(b, HANDLER("return ctx.data"), "{}");
    answers(b, HANDLER("return 'text'"), "\"text\"");
    answers(b, HANDLER("return {1, 2.5, 'x'}"), "[1,2.5,\"x\"]");
}

static void test_bad_values_name_the_key(void **state)
{
    struct bench *b = *state;
    fails(b, HANDLER("return { rows = { {}, { callback = print } } }"), "callback");
    fails(b, HANDLER("return { rate = 0/0 }"), "rate");
    fails(b, HANDLER("return { rate = math.huge }"), "rate");
    fails(b, HANDLER("local t = {} t.self = t return { a = t }"), "self");
    fails(b, HANDLER("return { co = coroutine.create(print) }"), "co");
    fails(b, HANDLER("return function() end"), "what JSON can't hold");
    fails(b, HANDLER("return { [1] = 1, x = 2 }"), "what JSON can't hold");
    fails(b, HANDLER("return { text = '\\xff' }"), "text");
    fails(b, HANDLER("return ('x'):rep(200000)"), "over the limit of 100000 bytes");
}

static void test_input(void **state)
{
    struct bench *b = *state;
    struct answer *a = run_code(b, HANDLER("return 1"), (struct call){ .body = "{\"a\":\n  oops}" });
    assert_int_equal(a->code, PERI_BAD_REQUEST);
    assert_contains(a->body, "line 2 column 3");
    a = run_code(b, HANDLER("return { ctx.data == nil, ctx.request.body, #ctx.request.body }"),
                 (struct call){ .body = "raw \x01 bytes", .input = PERI_INPUT_BYTES });
    assert_string_equal(a->body, "[true,\"raw \\u0001 bytes\",11]");
    a = run_code(b, HANDLER("return ctx.data"), (struct call){ .body = "[]" });
    assert_string_equal(a->body, "[]");
}

static void test_context(void **state)
{
    struct bench *b = *state;
    const char *meta = "{\"call\":{\"id\":12,\"function_name\":\"f\",\"attempt\":1},\"request\":{\"method\":\"POST\","
                       "\"headers\":{\"x-a\":\"b\"}},\"secrets\":{\"key\":\"s3\"}}";
    struct answer *a = run_code(b,
                                HANDLER("return { ctx.call.id, ctx.call.function_name, ctx.request.method,\n"
                                        " ctx.request.headers['x-a'], ctx.secrets.key, ctx.request.body }"),
                                (struct call){ .meta = meta, .body = "{}" });
    assert_string_equal(a->body, "[12,\"f\",\"POST\",\"b\",\"s3\",\"{}\"]");
    a = run_code(b, HANDLER("local n = {} for k in pairs(ctx) do n[#n+1] = k end table.sort(n) return n"),
                 (struct call){ .meta = meta });
    assert_string_equal(a->body, "[\"call\",\"data\",\"request\",\"secrets\"]");
    a = run_code(b, HANDLER("return { next(ctx.secrets) == nil, ctx.nothing == nil, ctx.call.id == nil }"),
                 (struct call){ 0 });
    assert_string_equal(a->body, "[true,true,true]");
    a = run_code(b, HANDLER("return { os.getenv 'PLACE', os.getenv 'HOME' == nil, os.getenv 'PATH' == nil }"),
                 (struct call){ 0 });
    assert_string_equal(a->body, "[\"here\",true,true]");
}

static void test_log(void **state)
{
    struct bench *b = *state;
    run_code(b,
             HANDLER("print('a', 1, true, nil) ctx.log.debug('d') ctx.log.warn('w', 2.5) ctx.log.error({} ~= nil)\n"
                     "print(('x'):rep(100000)) print('nul\\0in')"),
             (struct call){ .id = 5 });
    assert_int_equal(b->line_count, 6);
    assert_string_equal(b->lines[0].text, "a 1 true nil");
    assert_int_equal(b->lines[0].level, PERI_LOG_INFO);
    assert_int_equal(b->lines[0].call_id, 5);
    assert_true(b->lines[0].wall_ms > INT64_C(1700000000000));
    assert_int_equal(b->lines[1].level, PERI_LOG_DEBUG);
    assert_string_equal(b->lines[2].text, "w 2.5");
    assert_int_equal(b->lines[2].level, PERI_LOG_WARN);
    assert_string_equal(b->lines[3].text, "true");
    assert_int_equal(b->lines[3].level, PERI_LOG_ERROR);
    assert_int_equal(b->lines[4].len, 65536);
    assert_int_equal(b->lines[5].len, 6);
}

static void test_response(void **state)
{
    struct bench *b = *state;
    struct answer *a = run_code(b,
                                HANDLER("return ctx.response{ status = 201, content_type = 'text/csv', body = 'a,b',\n"
                                        "headers = { ['X-Rows'] = '2' } }"),
                                (struct call){ 0 });
    assert_int_equal(a->code, PERI_OK);
    assert_int_equal(a->kind, PERI_REPLY_BYTES);
    assert_int_equal(a->status, 201);
    assert_string_equal(a->content_type, "text/csv");
    assert_string_equal(a->headers, "{\"X-Rows\":\"2\"}");
    assert_string_equal(a->body, "a,b");
    a = run_code(b, HANDLER("return ctx.response{ status = 404, body = { error = 'none' } }"), (struct call){ 0 });
    assert_int_equal(a->kind, PERI_REPLY_JSON);
    assert_int_equal(a->status, 404);
    assert_string_equal(a->body, "{\"error\":\"none\"}");
    a = run_code(b, HANDLER("return ctx.response{ status = 204 }"), (struct call){ 0 });
    assert_int_equal(a->status, 204);
    assert_string_equal(a->body, "");
    fails(b, HANDLER("return ctx.response{ status = 42 }"), "`status` must be an integer from 200 to 599");
    fails(b, HANDLER("return ctx.response{ staus = 200 }"), "unknown option 'staus'");
    fails(b, HANDLER("return ctx.response{ headers = { a = 'x\\r\\nset-cookie: y' } }"), "without line breaks");
    fails(b, HANDLER("return ctx.response{ headers = { ['a b'] = 'x' } }"), "not one of an HTTP header");
    fails(b, HANDLER("return ctx.response{ content_type = 'a\\nb' }"), "of one line");
    fails(b, HANDLER("local r = ctx.response{ status = 200 } r.headers = { a = '\\n' } return r"), "line breaks");
    fails(b, HANDLER("return ctx.response{ body = { f = print } }"), "f: ");
    fails(b, HANDLER("return ctx.response{ body = ('x'):rep(200000) }"), "over the limit of 100000 bytes");
}

/* ---- failures ---- */

static void test_errors_and_traces(void **state)
{
    struct bench *b = *state;
    static const char util[] = "local M = {}\nlocal function inner() error('boom') end\n"
                               "function M.work(n)\n  inner(n)\nend\nreturn M";
    const char *files[] = { "handler.lua",
                            "local util = require 'lib.util'\nreturn { handle = function()\n  util.work(1)\nend }",
                            "lib/util.lua", util, NULL };
    load_package(b, 1, files, false);
    struct answer *a = call(b, (struct call){ 0 });
    assert_int_equal(a->code, PERI_HANDLER_FAILED);
    assert_contains(a->body, "\"message\":\"lib/util.lua:2: boom\"");
    assert_contains(a->body, "lib/util.lua:2: in upvalue 'inner'");
    assert_contains(a->body, "lib/util.lua:4: in field 'work'");
    assert_contains(a->body, "handler.lua:3: in function <handler.lua:2>");
    assert_null(strstr(a->body, "[C]"));
    fails(b, HANDLER("return nil, 'no such day'"), "\"message\":\"no such day\"");
    fails(b, HANDLER("return nil, { message = 'nope', code = 3 }"), "\"message\":\"nope\"");
    fails(b, HANDLER("error({ message = 'thrown' })"), "\"message\":\"thrown\"");
    fails(b, HANDLER("error({ 1 })"), "a table without `message`");
    fails(b, HANDLER("error()"), "\"message\":\"nil\"");
    fails(b, HANDLER("error(setmetatable({}, { __tostring = function() return 'as text' end }))"), "\"as text\"");
    a = fails(b, HANDLER("error(setmetatable({}, { __tostring = function() error('worse') end }))"),
              "whose __tostring failed: handler.lua:2: worse");
    assert_contains(a->body, "handler.lua:2: in function");
    fails(b, HANDLER("error(setmetatable({}, { __tostring = function() return {} end }))"), "__tostring failed");
    fails(b, HANDLER("local x = nil; x.y = 1"), "attempt to index a nil value");
    a = run_code(b, HANDLER("local function f() return 1 + f() end return f()"), (struct call){ .memory = 512 * MIB });
    assert_int_equal(a->code, PERI_HANDLER_FAILED);
    assert_contains(a->body, "stack overflow");
    assert_contains(a->body, "levels left out");
    fails(b,
          HANDLER("local function f(n) return (string.gsub('x', 'x', function() return f(n + 1) end)) end return f(1)"),
          "C stack overflow");
    fails(b, HANDLER("local function w() return coroutine.wrap(w)() end return w()"), "C stack overflow");
}

static void test_strange_yields(void **state)
{
    struct bench *b = *state;
    fails(b, HANDLER("coroutine.yield(1)"), "handler yielded outside of a coroutine of its own");
    answers(b, HANDLER("return { pcall(coroutine.yield, 1) == false, coroutine.isyieldable() }"), "[true,false]");
    answers(b, HANDLER("local _, main = coroutine.running() return main"), "true");
    /* the call's own coroutine, kept and resumed by a later call */
    load_code(b, 1,
              "local kept\nreturn { handle = function()\n local old = kept kept = coroutine.running()\n"
              " if old then return { coroutine.resume(old) } end end }");
    call(b, (struct call){ 0 });
    struct answer *a = call(b, (struct call){ 0 });
    assert_contains(a->body, "[false,\"cannot resume");
}

static void test_coroutines_work(void **state)
{
    struct bench *b = *state;
    answers(b,
            HANDLER("local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) return b * 2 end)\n"
                    "local r = { coroutine.status(co), select(2, coroutine.resume(co, 1)), coroutine.status(co),\n"
                    " select(2, coroutine.resume(co, 21)), coroutine.status(co), coroutine.resume(co) }\n"
                    "return r"),
            "[\"suspended\",2,\"suspended\",42,\"dead\",false,\"cannot resume dead coroutine\"]");
    answers(b,
            HANDLER("local sum = 0 for v in coroutine.wrap(function() for i = 1, 10 do coroutine.yield(i) end end) do\n"
                    " sum = sum + v end return sum"),
            "55");
    answers(
        b,
        HANDLER(
            "local closed = false\nlocal co = coroutine.create(function()\n"
            " local x <close> = setmetatable({}, { __close = function() closed = true end }) coroutine.yield() end)\n"
            "coroutine.resume(co) return { coroutine.close(co), closed, coroutine.status(co) }"),
        "[true,true,\"dead\"]");
    fails(b, HANDLER("coroutine.wrap(function() error('inside') end)()"), "inside");
    answers(b, HANDLER("local ok, e = pcall(function() error('x', 0) end) return { ok, e }"), "[false,\"x\"]");
    answers(b,
            HANDLER("local r = { xpcall(function(a, b) error(a .. b, 0) end, function(m) return '<' .. m .. '>' end,\n"
                    " 'p', 'q') } return r"),
            "[false,\"<pq>\"]");
    answers(b, HANDLER("return { xpcall(function(...) return ... end, print, 1, 2) }"), "[true,1,2]");
    answers(b, HANDLER("return { select('#', pcall(function() end)), (pcall(error)) }"), "[1,false]");
}

/* ---- packages ---- */

static void test_bad_packages(void **state)
{
    struct bench *b = *state;
    fails(b, "", "handler.lua returned nil; it must return a table with a function `handle`");
    fails(b, "return 5", "handler.lua returned number; it must");
    fails(b, "return {}", "a table without `handle`");
    fails(b, "return { handle = 3 }", "`handle` of handler.lua is a number");
    fails(b, "return {\n  handle = function( end }", "handler.lua:2:");
    fails(b, "error('at the top')", "handler.lua:1: at the top");
    fails(b, "\x1bLua binary", "binary chunk");
    const char *other[] = { "main.lua", "return 1", NULL };
    load_package(b, 1, other, false);
    assert_contains(call(b, (struct call){ 0 })->body, "the package has no file handler.lua");
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_load garbage = { .version_id = 2,
                                 .package = peri_str_from("this is no zip"),
                                 .entry = peri_str_from("handler.lua"),
                                 .timeout_ms = 1000,
                                 .memory_limit = MIB };
    assert_int_equal(b->runtime->kind->load(b->runtime, &garbage, &err), PERI_OK);
    assert_contains(call(b, (struct call){ .version = 2 })->body, "not a readable zip file");
    struct peri_invocation unknown = { .call_id = 9, .version_id = 77 };
    assert_int_equal(b->runtime->kind->call(b->runtime, &unknown, &err), PERI_NOT_FOUND);
}

static void checked(struct bench *b, const char *const *files, enum peri_code code, const char *part)
{
    static uint64_t version = 50000;
    struct peri_error err = PERI_ERROR_INIT;
    b->loaded_count = 0;
    load_package(b, ++version, files, true);
    while (b->loaded_count == 0) {
        assert_int_equal(peri_loop_run_once(b->loop, 20000, &err), PERI_OK);
    }
    assert_int_equal(b->loaded_code, code);
    assert_contains(b->detail, part);
    b->runtime->kind->unload(b->runtime, version);
}

static void test_check(void **state)
{
    struct bench *b = *state;
    static const char one[] = HANDLER("return 1");
    const char *good[] = { "handler.lua", one, "readme.txt", "not lua (", NULL };
    checked(b, good, PERI_OK, "");
    assert_string_equal(b->detail, "");
    const char *syntax[] = { "handler.lua", one, "lib/unused.lua", "x = = 1", NULL };
    checked(b, syntax, PERI_PACKAGE, "{\"message\":\"lib/unused.lua:1: ");
    const char *top[] = { "handler.lua", "local function f()\n  error('early')\nend\nf()", NULL };
    checked(b, top, PERI_PACKAGE, "{\"message\":\"handler.lua:2: early\",\"trace\":\"stack traceback:");
    assert_contains(b->detail, "handler.lua:4: in main chunk");
    const char *nothing[] = { "handler.lua", "local x = 1", NULL };
    checked(b, nothing, PERI_PACKAGE, "handler.lua returned nil");
    const char *endless[] = { "handler.lua", "while true do end", NULL };
    checked(b, endless, PERI_PACKAGE, "top level ran past its deadline of 5 s");
    const char *greedy[] = { "handler.lua", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end", NULL };
    checked(b, greedy, PERI_PACKAGE, "memory quota of 64 MiB");
}

static void test_require(void **state)
{
    struct bench *b = *state;
    static const char handler[] =
        "#!/usr/bin/env lua\nlocal a, b = require 'lib.a', require 'dir'\nreturn { handle = function(ctx)\n"
        "  if ctx.data.name then return { pcall(require, ctx.data.name) } end\n"
        "  return { a.name, b.name, require 'lib.a' == a, package.loaded['lib.a'] == a }\nend }";
    const char *files[] = { "handler.lua",
                            handler,
                            "lib/a.lua",
                            "return { name = 'a ' .. ... }",
                            "dir/init.lua",
                            "\xEF\xBB\xBFreturn { name = 'b' }",
                            "loop1.lua",
                            "return require 'loop2'",
                            "loop2.lua",
                            "return require 'loop1'",
                            "broken.lua",
                            "local = 1",
                            "fails.lua",
                            "error('on load')",
                            "nothing.lua",
                            "",
                            NULL };
    load_package(b, 1, files, false);
    assert_string_equal(call(b, (struct call){ 0 })->body, "[\"a lib.a\",\"b\",true,true]");
    assert_contains(call(b, (struct call){ .body = "{\"name\":\"loop1\"}" })->body, "requires itself");
    assert_contains(call(b, (struct call){ .body = "{\"name\":\"broken\"}" })->body, "broken.lua:1: ");
    assert_contains(call(b, (struct call){ .body = "{\"name\":\"fails\"}" })->body, "fails.lua:1: on load");
    assert_contains(call(b, (struct call){ .body = "{\"name\":\"fails\"}" })->body, "fails.lua:1: on load");
    assert_string_equal(call(b, (struct call){ .body = "{\"name\":\"nothing\"}" })->body, "[true,true]");
    struct answer *a = call(b, (struct call){ .body = "{\"name\":\"ffi\"}" });
    assert_contains(a->body, "module 'ffi' not found");
    assert_contains(a->body, "no file 'ffi.lua' in the package");
    assert_contains(a->body, "no file 'ffi/init.lua' in the package");
    assert_contains(call(b, (struct call){ .body = "{\"name\":\"../etc/passwd\"}" })->body, "not found");
    assert_contains(call(b, (struct call){ .body = "{\"name\":\"\"}" })->body, "not a module's name");
}

static void test_escapes(void **state)
{
    struct bench *b = *state;
    answers(
        b,
        HANDLER(
            "local missing = {}\n"
            "for _, n in ipairs { 'io', 'dofile', 'loadfile', 'debug.getinfo', 'debug.sethook',\n"
            " 'debug.getregistry', 'debug.setmetatable', 'debug.getupvalue', 'os.execute', 'os.exit', 'os.remove',\n"
            " 'os.rename', 'os.tmpname', 'string.dump', 'package.loadlib', 'package.cpath', 'package.searchers',\n"
            " 'package.searchpath' } do\n"
            "  local v = _G for part in n:gmatch '[^.]+' do v = v and v[part] end\n"
            "  if v ~= nil then missing[#missing + 1] = n end\n"
            "end return #missing == 0 or missing"),
        "true");
    answers(b,
            HANDLER("return { load('\\27Lua') == nil, load('return 1', 'c', 'b') == nil, load('return 1')(),\n"
                    " load(function() return nil end) ~= nil, load('return x', 'c', 't', { x = 5 })() }"),
            "[true,true,1,true,5]");
    answers(b,
            HANDLER("return { getmetatable('') == false, pcall(setmetatable, {}, { __gc = print }) == false,\n"
                    " select(2, pcall(setmetatable, {}, { __gc = print })):match('__gc') }"),
            "[true,true,\"__gc\"]");
    answers(b,
            HANDLER("local mt = {} setmetatable({}, mt) mt.__gc = print\n"
                    "return { pcall(setmetatable, {}, mt) == false, getmetatable(ctx) == false }"),
            "[true,true]");
    answers(
        b,
        HANDLER("return { type(collectgarbage('count')), collectgarbage(), pcall(collectgarbage, 'stop') == false,\n"
                " pcall(collectgarbage, 'generational') == false }"),
        "[\"number\",0,true,true]");
    answers(b,
            HANDLER("return { pcall(require, 'ffi') == false, pcall(require, 'lfs') == false,\n"
                    " pcall(require, 'luv') == false, debug.traceback('m', 1):match('^m\\n') ~= nil }"),
            "[true,true,true,true]");
    answers(
        b,
        HANDLER("return { pcall(os.setlocale, 'C') == false, type(os.time()), type(os.clock()), os.date('!%Y', 0) }"),
        "[true,\"number\",\"number\",\"1970\"]");
}

/* perilune itself, in a handler: operations wait by yielding, and nothing in its core reaches the machine. */
static void test_perilune(void **state)
{
    struct bench *b = *state;
    answers(b,
            HANDLER("local core = require 'perilune.core'\n"
                    "return { core.exec == nil, core.host_credentials == nil, core.host_data_dir == nil,\n"
                    " type(core.json_decode) }"),
            "[true,true,true,\"function\"]");
    answers(b,
            HANDLER("local host, err = require 'perilune'.host { url = 'http://127.0.0.1:1' }\n"
                    "return { host == nil, err.message }"),
            "[true,\"a handler has no credentials of its own; give url and token\"]");
    load_code(b, 1,
              HANDLER("local p = require 'perilune' p.sleep(ctx.data.s)\n"
                      "local r = p.gather(function() p.sleep(0.01) return 1 end, function() return 2 end)\n"
                      "return { ctx.data.s, r[1], r[2] }"));
    start(b, (struct call){ .id = 1, .body = "{\"s\":0.4}" });
    start(b, (struct call){ .id = 2, .body = "{\"s\":0.01}" });
    size_t first = b->answer_count;
    run_until(b, first + 2);
    assert_string_equal(b->answers[first].body, "[0.01,1,2]"); /* the shorter sleep ends first: they waited together */
    assert_string_equal(b->answers[first + 1].body, "[0.4,1,2]");
    assert_int_equal(run_code(b, HANDLER("require 'perilune'.sleep(60)"), (struct call){ .timeout_ms = 50 })->code,
                     PERI_HANDLER_TIMEOUT);
}

/* ---- versions ---- */

static void test_unload(void **state)
{
    struct bench *b = *state;
    struct peri_error err = PERI_ERROR_INIT;
    load_code(b, 1, HANDLER("local n = 0 while n < 1e6 do n = n + 1 end return n"));
    start(b, (struct call){ .id = 1 });
    start(b, (struct call){ .id = 2 });
    b->runtime->kind->unload(b->runtime, 1);
    struct peri_invocation late = { .call_id = 3, .version_id = 1 };
    assert_int_equal(b->runtime->kind->call(b->runtime, &late, &err), PERI_NOT_FOUND);
    load_code(b, 1, HANDLER("return 'new'"));
    assert_string_equal(call(b, (struct call){ .id = 4 })->body, "\"new\"");
    run_until(b, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(b->answers[i].code, PERI_OK);
    }
    struct peri_lua_runtime_stats stats;
    peri_lua_runtime_stats(b->runtime, &stats);
    assert_int_equal(stats.states, 1);
    assert_int_equal(stats.versions, 1);
    b->runtime->kind->unload(b->runtime, 1);
    b->runtime->kind->unload(b->runtime, 1);
    peri_lua_runtime_stats(b->runtime, &stats);
    assert_int_equal(stats.states, 0);
    assert_int_equal(stats.lua_bytes, 0);
}

static void test_ten_thousand_loads(void **state)
{
    struct bench *b = *state;
    struct peri_lua_runtime_stats stats;
    for (uint64_t id = 1; id <= 10000; id++) {
        load_code(b, id, HANDLER("return 1"));
        if (id % 10 == 0) { /* most are never called */
            b->answer_count = 0;
            assert_string_equal(call(b, (struct call){ .version = id })->body, "1");
        }
        if (id > 100) {
            b->runtime->kind->unload(b->runtime, id - 100);
        }
    }
    peri_lua_runtime_stats(b->runtime, &stats);
    assert_int_equal(stats.versions, 100);
    assert_int_equal(stats.states, 10);
    assert_true(stats.lua_bytes < 10 * 100 * 1024);
}

/* ---- freeing and cancelling ---- */

static void test_cancel(void **state)
{
    struct bench *b = *state;
    load_code(b, 1, HANDLER("print('here') while true do end"));
    load_code(b, 2, HANDLER("return 1"));
    start(b, (struct call){ .id = 1 }); /* while it is parked */
    b->runtime->kind->cancel(b->runtime, 1);
    run_until(b, 1);
    assert_int_equal(b->answers[0].code, PERI_CANCELLED);
    b->cancel_at_log = 2; /* from within its own event */
    start(b, (struct call){ .id = 2 });
    run_until(b, 2);
    assert_int_equal(b->answers[1].code, PERI_CANCELLED);
    b->cancel_at_log = 0;
    start(b, (struct call){ .id = 3 }); /* after it was preempted */
    start(b, (struct call){ .id = 4, .version = 2 });
    start(b, (struct call){ .id = 5, .version = 2 });
    run_until(b, 4);
    b->runtime->kind->cancel(b->runtime, 3);
    b->runtime->kind->cancel(b->runtime, 999);
    run_until(b, 5);
    assert_int_equal(b->answers[4].call_id, 3);
    assert_int_equal(b->answers[4].code, PERI_CANCELLED);
    assert_contains(b->answers[4].body, "the call was cancelled");
}

static void test_free_with_calls_running(void **state)
{
    struct bench *b = *state;
    struct peri_error err = PERI_ERROR_INIT;
    load_code(b, 1, HANDLER("while true do end"));
    load_code(b, 2, HANDLER("return 1"));
    start(b, (struct call){ .id = 1 });
    start(b, (struct call){ .id = 2, .version = 2 });
    run_until(b, 1);
    start(b, (struct call){ .id = 3, .version = 2 });
    b->runtime->kind->unload(b->runtime, 1);
    b->runtime->kind->free(b->runtime);
    assert_int_equal(b->answer_count, 1);
    struct peri_runtime_events events = { b, on_loaded, on_log, on_reply };
    assert_int_equal(peri_lua_runtime_new(b->loop, NULL, &events, &b->runtime, &err), PERI_OK);
}

static const struct CMUnitTest tests[] = {
    TEST(test_answers_json),
    TEST(test_values),
    TEST(test_bad_values_name_the_key),
    TEST(test_input),
    TEST(test_context),
    TEST(test_log),
    TEST(test_response),
    TEST(test_errors_and_traces),
    TEST(test_strange_yields),
    TEST(test_coroutines_work),
    TEST(test_bad_packages),
    TEST(test_check),
    TEST(test_require),
    TEST(test_escapes),
    TEST(test_perilune),
    TEST(test_unload),
    TEST(test_ten_thousand_loads),
    TEST(test_cancel),
    TEST(test_free_with_calls_running),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
