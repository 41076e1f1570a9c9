/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/api/doors.h"
#include "support/gateway.h"

/* The host's own door, through the real programs. */

static struct gateway gw;

static const char echo_code[] =
    "return { handle = function(ctx)\n"
    "  print('hello', ctx.data and ctx.data.n)\n"
    "  ctx.log.warn('second')\n"
    "  return { data = ctx.data, body = ctx.request.body, path = ctx.request.path, query = ctx.request.query,\n"
    "    test = ctx.request.headers['x-test'], auth = ctx.request.headers.authorization,\n"
    "    type = ctx.request.content_type, method = ctx.request.method }\n"
    "end }\n";
static const char many_code[] =
    "local perilune = require 'perilune'\n"
    "return { handle = function(ctx)\n"
    "  if ctx.data.fail then error('asked to') end\n"
    "  if ctx.data.bomb then local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end\n"
    "  for i = 1, ctx.data.lines or 0 do print('line ' .. i) perilune.sleep(ctx.data.pause or 0.01) end\n"
    "  return ctx.response { status = 418, content_type = 'text/tea', body = 'short and stout',\n"
    "    headers = { ['x-pot'] = 'yes', ['content-length'] = '1', ['perilune-call-id'] = 'forged' } }\n"
    "end }\n";

static int setup(void **state)
{
    (void)state;
    if (!gateway_start(&gw, PERI_BINARY_DIR, NULL))
        return -1;
    json_decref(gateway_deploy(&gw, 201, "echo", echo_code));
    json_decref(gateway_deploy(&gw, 201, "many", many_code));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    int status = gateway_stop(&gw);
    gateway_remove(&gw);
    return status;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static json_int_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* An error answer: its code, and a part of its message. */
static void assert_error(const char *method, const char *path, const char *body, int status, const char *code,
                         const char *part)
{
    json_t *answer = gateway_json(&gw, status, method, path, body);
    const json_t *error = json_object_get(answer, "error");
    assert_string_equal(text_of(error, "code"), code);
    if (strstr(text_of(error, "message"), part) == NULL)
        fail_msg("%s %s: '%s' is not in '%s'", method, path, part, text_of(error, "message"));
    json_decref(answer);
}

static void test_host_information(void **state)
{
    char url[64];
    (void)state;
    json_t *host = gateway_json(&gw, 200, "GET", "/v1/host", NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", gw.port);
    assert_string_equal(text_of(host, "version"), PERI_VERSION);
    assert_int_equal(int_of(host, "pid"), gw.pid);
    assert_string_equal(text_of(host, "data"), gw.data);
    assert_string_equal(text_of(json_object_get(host, "doors"), "host"), url);
    assert_int_equal(json_array_size(json_object_get(host, "sandboxes")), 2);
    assert_int_equal(int_of(json_object_get(host, "limits"), "timeout_ms"), 600000);
    json_decref(host);
    json_t *health = gateway_json(&gw, 200, "GET", "/healthz", NULL);
    assert_string_equal(text_of(health, "status"), "ok");
    json_decref(health);
}

static void test_deploy_again_and_delete(void **state)
{
    static const char one[] = "return { handle = function() return 1 end }";
    static const char two[] = "return { handle = function() return 2 end }";
    (void)state;
    json_t *first = gateway_deploy(&gw, 201, "short", one);
    assert_string_equal(text_of(first, "status"), "Ready");
    assert_int_equal(int_of(first, "version"), 1);
    json_t *same = gateway_deploy(&gw, 200, "short", one);
    assert_int_equal(int_of(same, "version"), 1);
    json_t *next = gateway_deploy(&gw, 200, "short", two);
    assert_int_equal(int_of(next, "version"), 2);
    assert_int_equal(int_of(next, "id"), int_of(first, "id"));
    json_decref(gateway_deploy(&gw, 409, "short?create=true", one));
    json_t *answer = gateway_json(&gw, 200, "POST", "/v1/functions/short/call", "{}");
    assert_int_equal(json_integer_value(answer), 2);
    json_decref(answer);
    char path[64];
    snprintf(path, sizeof path, "/v1/functions/%lld", (long long)int_of(first, "id"));
    json_t *by_id = gateway_json(&gw, 200, "GET", path, NULL);
    assert_string_equal(text_of(by_id, "name"), "short");
    json_decref(by_id);
    json_decref(gateway_json(&gw, 200, "DELETE", "/v1/functions/short", NULL));
    assert_error("GET", "/v1/functions/short", NULL, 404, "not_found", "'short'");
    assert_error("DELETE", "/v1/functions/short", NULL, 404, "not_found", "'short'");
    json_decref(first);
    json_decref(same);
    json_decref(next);
}

static void test_settings_of_a_deployment(void **state)
{
    (void)state;
    json_t *f = gateway_deploy(&gw, 201, "set?timeout_ms=1500&memory=64M&description=a%20b",
                               "return { handle = function() return os.getenv('K') or 'none' end }");
    assert_int_equal(int_of(f, "timeout_ms"), 1500);
    assert_int_equal(int_of(f, "memory_limit"), 64 << 20);
    assert_string_equal(text_of(f, "description"), "a b");
    assert_int_equal(strlen(text_of(f, "code_hash")), 64);
    json_decref(f);
    json_decref(gateway_deploy(&gw, 400, "set?timeout_ms=-1", "return {}"));
    json_decref(gateway_deploy(&gw, 400, "set?memory=lots", "return {}"));
    json_decref(gateway_deploy(&gw, 400, "set?create=maybe", "return {}"));
    json_decref(gateway_deploy(&gw, 400, "12345", "return {}"));
    json_decref(gateway_deploy(&gw, 400, "a%20b", "return {}"));
    json_decref(gateway_deploy(&gw, 400, "caf%C3%A9", "return {}"));
}

static void test_bad_packages(void **state)
{
    (void)state;
    json_t *answer = gateway_deploy(&gw, 422, "bad", "return {\n  handle = = 1 }\n");
    const json_t *error = json_object_get(answer, "error");
    assert_string_equal(text_of(error, "code"), "package");
    assert_non_null(strstr(text_of(error, "message"), "handler.lua:2:"));
    json_decref(answer);
    /* the earlier version stays in service */
    json_decref(gateway_deploy(&gw, 422, "echo", "error('at load')"));
    json_t *echo = gateway_json(&gw, 200, "GET", "/v1/functions/echo", NULL);
    assert_string_equal(text_of(echo, "status"), "Ready");
    json_decref(echo);
    json_decref(gateway_json(&gw, 200, "POST", "/v1/functions/echo/call", "{}"));
    assert_error("PUT", "/v1/functions/bad", "no zip", 422, "package", "zip");
    json_decref(gateway_deploy(&gw, 422, "bad?entry=other.lua", "return {}"));
    assert_error("POST", "/v1/functions/bad/call", "{}", 409, "conflict", "");
}

static void test_call_with_json(void **state)
{
    char value[64];
    (void)state;
    char headers[256];
    snprintf(headers, sizeof headers,
             "Authorization: Bearer %s\r\nX-Test: one\r\nx-test: two\r\nContent-Type: application/vnd.x+json; a=b\r\n",
             gw.token);
    static const char body[] = "{\"n\":9007199254740993,\"x\":[],\"u\":\"\\u00e9\"}";
    struct raw_reply reply =
        raw_request(gw.port, "POST", "/v1/functions/echo/call?a=1%262&b", headers, body, sizeof body - 1);
    assert_int_equal(reply.status, 200);
    assert_string_equal(raw_header(&reply, "content-type", value, sizeof value), "application/json");
    assert_true(strtoull(raw_header(&reply, "perilune-call-id", value, sizeof value), NULL, 10) > 0);
    unsigned long long duration = 0, cpu = 0, peak = 0;
    assert_int_equal(sscanf(raw_header(&reply, "perilune-usage", value, sizeof value),
                            "duration-us=%llu; cpu-us=%llu; memory-peak=%llu", &duration, &cpu, &peak),
                     3);
    assert_true(duration > 0 && peak > 0);
    assert_null(raw_header(&reply, "perilune-version", value, sizeof value));
    json_t *answer = json_loads(reply.body, 0, NULL);
    const json_t *data = json_object_get(answer, "data");
    assert_true(int_of(data, "n") == 9007199254740993);
    assert_true(json_is_array(json_object_get(data, "x")));
    assert_string_equal(text_of(data, "u"), "\xc3\xa9");
    assert_string_equal(text_of(answer, "test"), "one, two");
    assert_null(json_object_get(answer, "auth"));
    assert_string_equal(text_of(answer, "method"), "POST");
    assert_string_equal(text_of(answer, "path"), "/v1/functions/echo/call");
    assert_string_equal(text_of(json_object_get(answer, "query"), "a"), "1&2");
    assert_string_equal(text_of(answer, "type"), "application/vnd.x+json; a=b");
    json_decref(answer);
    raw_reply_fini(&reply);
    assert_error("POST", "/v1/functions/echo/call", "{\"n\":\n  1,}", 400, "bad_request", "line 2");
    assert_error("POST", "/v1/functions/nobody/call", "{}", 404, "not_found", "'nobody'");
    assert_error("POST", "/v1/functions/echo/call?timeout_ms=x", "{}", 400, "bad_request", "timeout_ms");
}

static void test_call_with_bytes(void **state)
{
    (void)state;
    struct raw_reply reply = gateway_ask(&gw, "POST", "/v1/functions/echo/call", "text/plain", "{\"n\":1}");
    json_t *answer = json_loads(reply.body, 0, NULL);
    assert_string_equal(text_of(answer, "body"), "{\"n\":1}");
    assert_null(json_object_get(answer, "data"));
    json_decref(answer);
    raw_reply_fini(&reply);
    reply = gateway_ask(&gw, "POST", "/v1/functions/echo/call", NULL, "{\"n\":1}");
    answer = json_loads(reply.body, 0, NULL);
    assert_int_equal(int_of(json_object_get(answer, "data"), "n"), 1);
    json_decref(answer);
    raw_reply_fini(&reply);
}

static void test_an_answer_of_the_handlers_own_shape(void **state)
{
    char value[64], id[32];
    (void)state;
    struct raw_reply reply = gateway_ask(&gw, "POST", "/v1/functions/many/call", "application/json", "{}");
    assert_int_equal(reply.status, 418);
    assert_string_equal(reply.body, "short and stout");
    assert_string_equal(raw_header(&reply, "content-type", value, sizeof value), "text/tea");
    assert_string_equal(raw_header(&reply, "x-pot", value, sizeof value), "yes");
    assert_string_equal(raw_header(&reply, "content-length", value, sizeof value), "15");
    assert_string_not_equal(raw_header(&reply, "perilune-call-id", id, sizeof id), "forged");
    raw_reply_fini(&reply);
    char path[64];
    snprintf(path, sizeof path, "/v1/calls/%s/result", id);
    reply = gateway_ask(&gw, "GET", path, NULL, NULL);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "short and stout");
    assert_string_equal(raw_header(&reply, "perilune-status", value, sizeof value), "418");
    raw_reply_fini(&reply);
}

static void test_failures(void **state)
{
    (void)state;
    json_t *answer = gateway_json(&gw, 500, "POST", "/v1/functions/many/call", "{\"fail\":true}");
    const json_t *error = json_object_get(answer, "error");
    assert_string_equal(text_of(error, "code"), "handler_failed");
    assert_non_null(strstr(text_of(error, "message"), "handler.lua:3: asked to"));
    assert_non_null(strstr(text_of(error, "trace"), "handler.lua:3:"));
    char path[64];
    snprintf(path, sizeof path, "/v1/calls/%lld/result", (long long)int_of(error, "call_id"));
    assert_error("GET", path, NULL, 500, "handler_failed", "asked to");
    json_decref(answer);
    assert_error("POST", "/v1/functions/many/call", "{\"bomb\":true}", 500, "handler_memory", "");
    assert_error("POST", "/v1/functions/many/call?timeout_ms=50", "{\"lines\":1,\"pause\":5}", 504, "handler_timeout",
                 "0.05");
}

static json_t *start(const char *name, const char *body)
{
    char path[128], value[64], wanted[64];
    snprintf(path, sizeof path, "/v1/functions/%s/calls", name);
    struct raw_reply reply = gateway_ask(&gw, "POST", path, "application/json", body);
    assert_int_equal(reply.status, 202);
    json_t *call = json_loads(reply.body, 0, NULL);
    snprintf(wanted, sizeof wanted, "/v1/calls/%lld", (long long)int_of(call, "id"));
    assert_string_equal(raw_header(&reply, "location", value, sizeof value), wanted);
    raw_reply_fini(&reply);
    return call;
}

static json_t *ask_call(const json_t *call, int status, const char *suffix, const char *method)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/calls/%lld%s", (long long)int_of(call, "id"), suffix);
    return gateway_json(&gw, status, method, path, NULL);
}

static void test_asynchronous_calls(void **state)
{
    (void)state;
    json_t *call = start("echo", "{\"n\":7}");
    assert_true(json_is_true(json_object_get(call, "async")));
    json_t *ended = ask_call(call, 200, "?wait=30", "GET");
    assert_string_equal(text_of(ended, "status"), "Completed");
    assert_string_equal(text_of(ended, "function"), "echo");
    assert_int_equal(int_of(ended, "attempt"), 1);
    json_decref(ended);
    json_t *result = ask_call(call, 200, "/result", "GET");
    assert_int_equal(int_of(json_object_get(result, "data"), "n"), 7);
    json_decref(result);
    json_t *log = ask_call(call, 200, "/log", "GET");
    const json_t *lines = json_object_get(log, "items");
    assert_int_equal(json_array_size(lines), 2);
    assert_string_equal(text_of(json_array_get(lines, 0), "message"), "hello 7");
    assert_string_equal(text_of(json_array_get(lines, 0), "level"), "info");
    assert_string_equal(text_of(json_array_get(lines, 1), "level"), "warn");
    json_decref(log);
    log = ask_call(call, 200, "/log?first=1", "GET");
    assert_int_equal(json_array_size(json_object_get(log, "items")), 1);
    json_decref(log);
    json_decref(call);
}

static void test_waiting_and_cancelling(void **state)
{
    (void)state;
    json_t *call = start("many", "{\"lines\":1000,\"pause\":60}");
    json_t *now = ask_call(call, 200, "?wait=1", "GET");
    assert_true(strcmp(text_of(now, "status"), "Running") == 0 || strcmp(text_of(now, "status"), "Queued") == 0);
    json_decref(now);
    json_t *early = ask_call(call, 409, "/result", "GET");
    assert_string_equal(text_of(json_object_get(early, "error"), "code"), "conflict");
    json_decref(early);
    json_decref(ask_call(call, 202, "/cancel", "POST"));
    json_t *ended = ask_call(call, 200, "?wait=30", "GET");
    assert_string_equal(text_of(ended, "status"), "Cancelled");
    json_decref(ended);
    json_decref(ask_call(call, 202, "/cancel", "POST"));
    json_t *result = ask_call(call, 409, "/result", "GET");
    assert_string_equal(text_of(json_object_get(result, "error"), "code"), "cancelled");
    json_decref(result);
    json_decref(call);
    assert_error("GET", "/v1/calls/1?wait=61", NULL, 400, "bad_request", "0 to 60");
    assert_error("GET", "/v1/calls/1", NULL, 404, "not_found", "'1'");
    assert_error("GET", "/v1/calls/abc", NULL, 404, "not_found", "'abc'");
    assert_error("POST", "/v1/calls/1/cancel", NULL, 404, "not_found", "");
}

static void test_a_followed_log(void **state)
{
    char path[128], headers[256];
    (void)state;
    json_t *call = start("many", "{\"lines\":5,\"pause\":0.02}");
    snprintf(path, sizeof path, "/v1/calls/%lld/log?follow=true", (long long)int_of(call, "id"));
    struct raw_reply reply = gateway_ask(&gw, "GET", path, NULL, NULL);
    assert_int_equal(reply.status, 200);
    const char *at = reply.body;
    for (int i = 0; i < 5; i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "id: %d\nevent: line\ndata: {\"timestamp\":", i);
        at = strstr(at, wanted);
        assert_non_null(at);
        at += strlen(wanted);
    }
    const char *end = strstr(at, "event: end\ndata: {");
    assert_non_null(end);
    json_t *final = json_loads(strchr(end, '{'), JSON_DISABLE_EOF_CHECK, NULL);
    assert_string_equal(text_of(final, "status"), "Completed");
    json_decref(final);
    raw_reply_fini(&reply);
    snprintf(path, sizeof path, "/v1/calls/%lld/log", (long long)int_of(call, "id"));
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\nAccept: text/event-stream\r\nLast-Event-ID: 2\r\n",
             gw.token);
    reply = raw_request(gw.port, "GET", path, headers, NULL, 0);
    assert_null(strstr(reply.body, "id: 2\n"));
    assert_non_null(strstr(reply.body, "id: 3\n"));
    assert_non_null(strstr(reply.body, "event: end"));
    raw_reply_fini(&reply);
    json_decref(call);
}

static void test_lists(void **state)
{
    (void)state;
    json_t *page = gateway_json(&gw, 200, "GET", "/v1/functions?prefix=ec", NULL);
    assert_int_equal(json_array_size(json_object_get(page, "items")), 1);
    json_decref(page);
    json_decref(start("echo", "{}"));
    json_t *calls = gateway_json(&gw, 200, "GET", "/v1/functions/echo/calls?limit=2", NULL);
    const json_t *items = json_object_get(calls, "items");
    assert_int_equal(json_array_size(items), 2);
    json_int_t newest = int_of(json_array_get(items, 0), "id"), older = int_of(json_array_get(items, 1), "id");
    assert_true(newest > older);
    char path[128];
    snprintf(path, sizeof path, "/v1/calls?limit=1&before_id=%lld", (long long)newest);
    json_t *next = gateway_json(&gw, 200, "GET", path, NULL);
    assert_true(int_of(json_array_get(json_object_get(next, "items"), 0), "id") < newest);
    json_decref(next);
    json_decref(calls);
    json_t *failed = gateway_json(&gw, 200, "GET", "/v1/calls?state=failed", NULL);
    size_t index;
    json_t *item;
    assert_true(json_array_size(json_object_get(failed, "items")) > 0);
    json_array_foreach(json_object_get(failed, "items"), index, item)
    {
        assert_string_equal(text_of(item, "status"), "Failed");
    }
    json_decref(failed);
    assert_error("GET", "/v1/calls?state=odd", NULL, 400, "bad_request", "'odd'");
    assert_error("GET", "/v1/calls?limit=99999", NULL, 400, "bad_request", "limit");
}

/* ---- the description against the routes, both ways ---- */

static json_t *wait_for_end(json_int_t id)
{
    char path[64];
    snprintf(path, sizeof path, "/v1/calls/%lld?wait=20", (long long)id);
    return gateway_json(&gw, 200, "GET", path, NULL);
}

static void test_terms_of_calls(void **state)
{
    (void)state;
    char path[64];
    json_t *call = gateway_json(
        &gw, 202, "POST", "/v1/functions/echo/calls?delay_ms=3600000&expires_ms=7200000&queue=2&attempts=5", "{}");
    assert_string_equal(text_of(call, "status"), "Queued");
    assert_int_equal(int_of(call, "expires_at") - int_of(call, "start_at"), 3600000);
    assert_int_equal(int_of(call, "start_at") - int_of(call, "created_at") >= 3599000, 1);
    assert_int_equal(int_of(call, "queue"), 2);
    assert_int_equal(int_of(call, "attempts"), 5);
    json_t *host = gateway_json(&gw, 200, "GET", "/v1/host", NULL);
    assert_int_equal(int_of(host, "calls_delayed"), 1);
    json_decref(host);
    snprintf(path, sizeof path, "/v1/calls/%lld/cancel", (long long)int_of(call, "id"));
    json_decref(gateway_json(&gw, 202, "POST", path, ""));
    json_t *ended = wait_for_end(int_of(call, "id"));
    assert_string_equal(text_of(ended, "status"), "Cancelled");
    json_decref(ended);
    json_decref(call);

    static const struct {
        const char *query, *part;
    } wrong[] = {
        { "calls?delay_ms=-1", "delay_ms must be a number from 0" },
        { "calls?queue=0", "queue must be a number from 1 to 9, not '0'" },
        { "call?queue=10", "queue must be a number from 1 to 9" },
        { "calls?retry=maybe", "retry must be true or false" },
        { "calls?delay_ms=1&start_at=1", "exclude each other" },
        { "calls?delay_ms=2000&expires_ms=1000", "would expire before" },
        { "call?delay_ms=5", "only an asynchronous call" },
        { "call?retry=true", "only an asynchronous call" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(path, sizeof path, "/v1/functions/echo/%s", wrong[i].query);
        assert_error("POST", path, "{}", 400, "bad_request", wrong[i].part);
    }
}

static struct raw_reply ask_with_key(const char *key, const char *body)
{
    char headers[600];
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\nIdempotency-Key: %s\r\n", gw.token, key);
    return raw_request(gw.port, "POST", "/v1/functions/echo/calls", headers, body, strlen(body));
}

static void test_idempotency_keys(void **state)
{
    (void)state;
    char first[32], again[32], value[32];
    struct raw_reply reply = ask_with_key("order 17", "{\"n\":1}");
    assert_int_equal(reply.status, 202);
    assert_non_null(raw_header(&reply, "perilune-call-id", first, sizeof first));
    assert_null(raw_header(&reply, "Idempotent-Replay", value, sizeof value));
    raw_reply_fini(&reply);
    reply = ask_with_key("order 17", "{\"n\":1}");
    assert_int_equal(reply.status, 202);
    assert_string_equal(raw_header(&reply, "perilune-call-id", again, sizeof again), first);
    assert_string_equal(raw_header(&reply, "Idempotent-Replay", value, sizeof value), "true");
    raw_reply_fini(&reply);
    reply = ask_with_key("order 17", "{\"n\":2}");
    assert_int_equal(reply.status, 409);
    assert_non_null(strstr(reply.body, "which has another input"));
    raw_reply_fini(&reply);
    reply = ask_with_key("", "{}");
    assert_int_equal(reply.status, 400);
    raw_reply_fini(&reply);
    json_t *call = wait_for_end(strtoll(first, NULL, 10));
    assert_string_equal(text_of(call, "idempotency_key"), "order 17");
    json_decref(call);
}

static size_t count_dead(void)
{
    json_t *list = gateway_json(&gw, 200, "GET", "/v1/dead", NULL);
    size_t count = json_array_size(json_object_get(list, "items"));
    json_decref(list);
    return count;
}

static void test_dead_calls(void **state)
{
    (void)state;
    char requeue[64], dead[64];
    json_t *call =
        gateway_json(&gw, 202, "POST", "/v1/functions/many/calls?retry_base_ms=0&attempts=2", "{\"fail\":true}");
    snprintf(requeue, sizeof requeue, "/v1/calls/%lld/requeue", (long long)int_of(call, "id"));
    snprintf(dead, sizeof dead, "/v1/dead/%lld", (long long)int_of(call, "id"));
    for (int round = 0; round < 2; round++) {
        json_t *ended = wait_for_end(int_of(call, "id"));
        assert_string_equal(text_of(ended, "status"), "Failed");
        assert_true(json_is_true(json_object_get(ended, "dead")));
        assert_int_equal(int_of(ended, "attempt"), 2);
        assert_non_null(strstr(text_of(json_object_get(ended, "error"), "message"), "given up after 2 attempts"));
        json_decref(ended);
        assert_int_equal(count_dead(), 1);
        if (round == 0) {
            json_t *again = gateway_json(&gw, 202, "POST", requeue, "");
            assert_int_equal(int_of(again, "id"), int_of(call, "id"));
            json_decref(again);
        }
    }
    json_decref(gateway_json(&gw, 200, "DELETE", dead, NULL));
    assert_int_equal(count_dead(), 0);
    assert_error("DELETE", dead, NULL, 409, "conflict", "not among the dead ones");
    assert_error("POST", requeue, "", 409, "conflict", "not among the dead ones: it is Failed");
    assert_error("POST", "/v1/calls/77/requeue", "", 404, "not_found", "there is no call");
    json_decref(call);
}

static void test_a_limit_and_an_expiry(void **state)
{
    (void)state;
    json_t *single = gateway_deploy(&gw, 201, "single?concurrency=1&attempts=7", many_code);
    assert_int_equal(int_of(single, "concurrency"), 1);
    assert_int_equal(int_of(single, "attempts"), 7);
    json_decref(single);
    json_t *busy = gateway_json(&gw, 202, "POST", "/v1/functions/single/calls", "{\"lines\":100,\"pause\":10}");
    json_t *waits = gateway_json(&gw, 202, "POST", "/v1/functions/single/calls?expires_ms=50", "{}");
    assert_error("POST", "/v1/functions/single/call?expires_ms=50", "{}", 504, "expired",
                 "did not start within 0.050 s");
    json_t *ended = wait_for_end(int_of(waits, "id"));
    assert_string_equal(text_of(ended, "status"), "Timeout");
    assert_string_equal(text_of(json_object_get(ended, "error"), "code"), "expired");
    json_decref(ended);
    json_decref(waits);
    char path[64];
    snprintf(path, sizeof path, "/v1/calls/%lld/cancel", (long long)int_of(busy, "id"));
    json_decref(gateway_json(&gw, 202, "POST", path, ""));
    json_decref(wait_for_end(int_of(busy, "id")));
    json_decref(busy);
}

static void collect(json_t *paths, const struct peri_route *routes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char method[16] = "";
        for (size_t c = 0; routes[i].method[c] != '\0'; c++)
            method[c] = (char)(routes[i].method[c] | 0x20);
        json_t *known = json_object_get(paths, routes[i].pattern);
        if (known == NULL)
            json_object_set_new(paths, routes[i].pattern, known = json_object());
        json_object_set_new(known, method, json_string(routes[i].summary));
    }
}

static void test_openapi_matches_the_routes(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_door_options options = { .token = "t" };
    struct peri_door *door = peri_host_door_new(&options, &err);
    json_t *routes = json_object();
    json_t *doc = json_loadb(peri_openapi().data, peri_openapi().len, 0, NULL);
    const char *path, *method;
    json_t *methods, *operation, *summary;
    (void)state;
    assert_non_null(doc);
    collect(routes, door->routes, door->count);
    json_object_foreach(json_object_get(doc, "paths"), path, methods)
    {
        json_object_foreach(methods, method, operation)
        {
            if (json_object_get(json_object_get(routes, path), method) == NULL)
                fail_msg("openapi.json has %s %s, the door has not", method, path);
        }
    }
    json_object_foreach(routes, path, methods)
    {
        json_object_foreach(methods, method, summary)
        {
            operation = json_object_get(json_object_get(json_object_get(doc, "paths"), path), method);
            if (operation == NULL)
                fail_msg("the door has %s %s, openapi.json has not", method, path);
            assert_string_equal(text_of(operation, "summary"), json_string_value(summary));
        }
    }
    assert_string_equal(text_of(json_object_get(doc, "info"), "version"), PERI_VERSION);
    json_t *served = gateway_json(&gw, 200, "GET", "/openapi.json", NULL);
    assert_true(json_equal(served, doc));
    json_decref(served);
    json_decref(doc);
    json_decref(routes);
    peri_host_door_free(door);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_information),
        cmocka_unit_test(test_deploy_again_and_delete),
        cmocka_unit_test(test_settings_of_a_deployment),
        cmocka_unit_test(test_bad_packages),
        cmocka_unit_test(test_call_with_json),
        cmocka_unit_test(test_call_with_bytes),
        cmocka_unit_test(test_an_answer_of_the_handlers_own_shape),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_asynchronous_calls),
        cmocka_unit_test(test_waiting_and_cancelling),
        cmocka_unit_test(test_a_followed_log),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_terms_of_calls),
        cmocka_unit_test(test_idempotency_keys),
        cmocka_unit_test(test_dead_calls),
        cmocka_unit_test(test_a_limit_and_an_expiry),
        cmocka_unit_test(test_openapi_matches_the_routes),
    };
    return cmocka_run_group_tests_name("api_host", tests, setup, teardown);
}
