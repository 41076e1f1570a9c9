/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "support/gateway.h"

/* The Functions API door, through the real programs; shapes and texts as in the protocol sheet. */

#define P "/api/v1/projects/demo"

static struct gateway gw;
static json_int_t function_id;

static const char code[] =
    "local perilune = require 'perilune'\n"
    "return { handle = function(ctx)\n"
    "  local data = ctx.data\n"
    "  print('called')\n"
    "  if data.fail then error('boom') end\n"
    "  if data.pause then perilune.sleep(data.pause) end\n"
    "  if data.secret then return ctx.secrets[data.secret] end\n"
    "  if data.text then return ctx.response { content_type = 'text/plain', body = 'h\\'i' } end\n"
    "  return data\n"
    "end }\n";

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static json_int_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static json_t *first(const json_t *answer)
{
    return json_array_get(json_object_get(answer, "items"), 0);
}

static json_t *ask(int status, const char *method, const char *path, const char *body)
{
    return gateway_json(&gw, status, method, path, body);
}

static json_t *askf(int status, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
static json_t *askf(int status, const char *path, const char *format, ...)
{
    char body[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(body, sizeof body, format, args); /* NOLINT(clang-analyzer-valist.Uninitialized): it is not */
    va_end(args);
    return gateway_json(&gw, status, "POST", path, body);
}

static void refused(int status, const char *path, const char *body, const char *part)
{
    json_t *answer = ask(status, "POST", path, body);
    const json_t *error = json_object_get(answer, "error");
    assert_int_equal(int_of(error, "code"), status);
    if (strstr(text_of(error, "message"), part) == NULL)
        fail_msg("POST %s: '%s' is not in '%s'", path, part, text_of(error, "message"));
    json_decref(answer);
}

/* ---- steps ---- */

static json_int_t upload(const char *lua)
{
    size_t len = 0;
    char *zip = stored_zip("handler.lua", lua, &len);
    json_t *file = ask(201, "POST", P "/files?overwrite=false", "{\"name\":\"f.zip\"}");
    assert_false(json_is_true(json_object_get(file, "uploaded")));
    struct raw_reply reply = raw_request(gw.port, "PUT", text_of(file, "uploadUrl"), "", zip, len);
    assert_int_equal(reply.status, 200);
    raw_reply_fini(&reply);
    json_int_t id = int_of(file, "id");
    json_decref(file);
    free(zip);
    return id;
}

/* Waits until the function is no longer being deployed. */
static json_t *settled(json_int_t id)
{
    for (int i = 0; i < 2000; i++) {
        json_t *answer = askf(200, P "/functions/byids", "{\"items\":[{\"id\":%lld}]}", (long long)id);
        const char *status = text_of(first(answer), "status");
        if (strcmp(status, "Ready") == 0 || strcmp(status, "Failed") == 0) {
            json_t *function = json_incref(first(answer));
            json_decref(answer);
            return function;
        }
        json_decref(answer);
        usleep(10000);
    }
    fail_msg("function %lld is deployed for ever", (long long)id);
    return NULL;
}

static void nonce(char out[128])
{
    json_t *answer = ask(200, "POST", P "/sessions", "{\"items\":[{\"tokenExchange\":true}]}");
    assert_string_equal(text_of(first(answer), "type"), "TOKEN_EXCHANGE");
    assert_string_equal(text_of(first(answer), "status"), "READY");
    assert_true(int_of(first(answer), "id") > 0);
    snprintf(out, 128, "%s", text_of(first(answer), "nonce"));
    json_decref(answer);
}

static json_t *call(const char *data)
{
    char path[128], fresh[128];
    nonce(fresh);
    snprintf(path, sizeof path, P "/functions/%lld/call", (long long)function_id);
    return askf(201, path, "{\"data\":%s,\"nonce\":\"%s\"}", data, fresh);
}

static const char *call_path(const json_t *made, const char *suffix)
{
    static char path[160];
    snprintf(path, sizeof path, P "/functions/%lld/calls%s%.0lld%s", (long long)function_id, made == NULL ? "" : "/",
             (long long)int_of(made, "id"), suffix);
    return path;
}

static json_t *finished(const json_t *made)
{
    for (int i = 0; i < 60; i++) {
        json_t *answer =
            askf(200, call_path(NULL, "/byids"), "{\"items\":[{\"id\":%lld}]}", (long long)int_of(made, "id"));
        if (strcmp(text_of(first(answer), "status"), "Running") != 0) {
            json_t *found = json_incref(first(answer));
            json_decref(answer);
            return found;
        }
        json_decref(answer);
    }
    fail_msg("the call runs for ever");
    return NULL;
}

static int setup(void **state)
{
    (void)state;
    if (!gateway_start(&gw, PERI_BINARY_DIR, NULL))
        return -1;
    json_int_t file = upload(code);
    json_t *made = askf(
        201, P "/functions",
        "{\"items\":[{\"name\":\"a/b\",\"fileId\":%lld,\"externalId\":\"rep-1\",\"owner\":\"ops\","
        "\"functionPath\":\"handler.py\",\"runtime\":\"py313\",\"cpu\":1.0,\"memory\":0.5,"
        "\"envVars\":{\"K\":\"v\"},\"secrets\":{\"api-key\":\"s3cret\"},\"metadata\":{\"team\":\"x\",\"env\":\"y\"}}]}",
        (long long)file);
    function_id = int_of(first(made), "id");
    json_decref(made);
    json_t *ready = settled(function_id);
    int status = strcmp(text_of(ready, "status"), "Ready");
    json_decref(ready);
    return status;
}

static int teardown(void **state)
{
    (void)state;
    int status = gateway_stop(&gw);
    gateway_remove(&gw);
    return status;
}

/* ---- functions ---- */

static void test_a_function_shows_what_was_given(void **state)
{
    (void)state;
    json_t *f = settled(function_id);
    assert_string_equal(text_of(f, "name"), "a/b");
    assert_string_equal(text_of(f, "externalId"), "rep-1");
    assert_string_equal(text_of(f, "functionPath"), "handler.py");
    assert_string_equal(text_of(f, "runtime"), "py313");
    assert_string_equal(text_of(json_object_get(f, "envVars"), "K"), "v");
    assert_string_equal(text_of(json_object_get(f, "metadata"), "team"), "x");
    assert_true(json_is_real(json_object_get(f, "cpu")));
    assert_true(json_real_value(json_object_get(f, "memory")) == 0.5);
    assert_true(int_of(f, "fileId") > 0 && int_of(f, "createdTime") > 0);
    assert_null(json_object_get(f, "description"));
    assert_string_equal(text_of(json_object_get(f, "secrets"), "api-key"), "***");
    json_decref(f);
}

static void test_byids_and_missing(void **state)
{
    (void)state;
    json_t *answer = ask(400, "POST", P "/functions/byids", "{\"items\":[{\"externalId\":\"nope\"},{\"id\":17}]}");
    json_t *missing = json_object_get(json_object_get(answer, "error"), "missing");
    json_t *wanted = json_loads("[{\"externalId\":\"nope\",\"external_id\":\"nope\"},{\"id\":17}]", 0, NULL);
    assert_true(json_equal(missing, wanted));
    json_decref(wanted);
    json_decref(answer);
    answer = ask(200, "POST", P "/functions/byids",
                 "{\"items\":[{\"externalId\":\"nope\"},{\"externalId\":\"rep-1\"}],\"ignoreUnknownIds\":true}");
    assert_int_equal(json_array_size(json_object_get(answer, "items")), 1);
    json_decref(answer);
    refused(400, P "/functions/byids", "{\"items\":[]}", "items");
    refused(400, P "/functions/byids", "{\"items\":[{\"name\":\"x\"}]}", "externalId");
    refused(400, P "/functions/byids", "{\"items\":[1]}", "items[0]");
    refused(400, P "/functions/byids", "[]", "object");
    refused(400, P "/functions/byids", "{", "line 1");
}

static size_t listed(const char *body)
{
    json_t *answer = ask(200, "POST", P "/functions/list", body);
    size_t count = json_array_size(json_object_get(answer, "items"));
    json_decref(answer);
    return count;
}

static void test_list_filters(void **state)
{
    (void)state;
    assert_int_equal(listed("{\"filter\":{},\"limit\":1}"), 1);
    assert_int_equal(listed("{\"filter\":{\"name\":\"a/b\",\"owner\":\"ops\",\"status\":\"Ready\","
                            "\"externalIdPrefix\":\"rep\",\"createdTime\":{\"min\":1},\"metadata\":{\"team\":\"x\"}},"
                            "\"limit\":10000}"),
                     1);
    assert_int_equal(listed("{\"filter\":{\"owner\":\"nobody\"}}"), 0);
    assert_int_equal(listed("{\"filter\":{\"metadata\":{\"team\":\"z\"}}}"), 0);
    assert_int_equal(listed("{\"filter\":{\"createdTime\":{\"max\":1}}}"), 0);
    assert_int_equal(listed("{\"filter\":{\"externalIdPrefix\":\"ep-1\"}}"), 0);
    refused(400, P "/functions/list", "{\"limit\":0}", "limit");
    refused(400, P "/functions/list", "{\"filter\":{\"owner\":1}}", "owner");
    json_t *answer = ask(200, "GET", P "/functions?limit=1", NULL);
    assert_int_equal(json_array_size(json_object_get(answer, "items")), 1);
    json_decref(answer);
}

static void test_create_is_checked(void **state)
{
    char body[512];
    (void)state;
    json_int_t file = upload(code);
    snprintf(body, sizeof body, "{\"items\":[{\"name\":\"r\",\"fileId\":%lld,\"externalId\":\"rep-1\"}]}",
             (long long)file);
    json_t *answer = ask(409, "POST", P "/functions", body);
    const json_t *error = json_object_get(answer, "error");
    assert_string_equal(text_of(error, "message"), "Function with externalId rep-1 already exists");
    assert_string_equal(text_of(json_array_get(json_object_get(error, "duplicated"), 0), "externalId"), "rep-1");
    json_decref(answer);
    refused(400, P "/functions", "{\"items\":[{\"fileId\":1}]}", "name");
    refused(400, P "/functions", "{\"items\":[{\"name\":\"x\"}]}", "fileId");
    refused(400, P "/functions", "{\"items\":[{\"name\":\"x\",\"fileId\":1}]}", "no file with id 1");
    refused(400, P "/functions", "{\"items\":[{\"name\":\"x\",\"fileId\":1},{}]}", "1 to 1");
    refused(400, P "/functions", "{\"items\":[{\"name\":\"x\",\"fileId\":1,\"secrets\":{\"a b\":\"s3cret\"}}]}",
            "'a b'");
    refused(400, P "/functions", "{\"items\":[{\"name\":\"x\",\"fileId\":1,\"secrets\":{\"token\":\"s3cret\"}}]}",
            "reserved");
    refused(400, P "/functions", "{\"items\":[{\"name\":\"x\",\"fileId\":1,\"secrets\":{\"k\":7}}]}", "'k'");
    refused(400, P "/functions", "{\"items\":[{\"name\":\"x\",\"fileId\":1,\"envVars\":{\"K\":1}}]}", "'K'");
    refused(400, P "/functions", "{\"items\":[{\"name\":\"x\",\"fileId\":1,\"cpu\":-1}]}", "cpu");
}

static void test_a_package_without_the_namesake_fails(void **state)
{
    (void)state;
    json_t *made =
        askf(201, P "/functions", "{\"items\":[{\"name\":\"n\",\"fileId\":%lld,\"functionPath\":\"main.py\"}]}",
             (long long)upload(code));
    json_t *failed = settled(int_of(first(made), "id"));
    assert_string_equal(text_of(failed, "status"), "Failed");
    assert_non_null(strstr(text_of(json_object_get(failed, "error"), "message"), "main.lua"));
    assert_string_equal(text_of(failed, "functionPath"), "main.py");
    json_decref(askf(200, P "/functions/delete", "{\"items\":[{\"id\":%lld}]}", (long long)int_of(failed, "id")));
    json_decref(failed);
    json_decref(made);
}

static void test_a_broken_handler_fails(void **state)
{
    (void)state;
    json_t *made = askf(201, P "/functions", "{\"items\":[{\"name\":\"n\",\"fileId\":%lld}]}",
                        (long long)upload("return {\n handle = = 1 }"));
    assert_string_equal(text_of(first(made), "status"), "Queued");
    json_int_t id = int_of(first(made), "id");
    json_decref(made);
    json_t *failed = settled(id);
    assert_string_equal(text_of(failed, "status"), "Failed");
    assert_non_null(strstr(text_of(json_object_get(failed, "error"), "message"), "handler.lua:2:"));
    json_decref(failed);
    char path[128], fresh[128]; /* a call that is not taken leaves the nonce as it is */
    nonce(fresh);
    snprintf(path, sizeof path, P "/functions/%lld/call", (long long)id);
    json_decref(askf(400, path, "{\"data\":{},\"nonce\":\"%s\"}", fresh));
    snprintf(path, sizeof path, P "/functions/%lld/call", (long long)function_id);
    json_decref(askf(201, path, "{\"data\":{},\"nonce\":\"%s\"}", fresh));
    json_decref(askf(200, P "/functions/delete", "{\"items\":[{\"id\":%lld}]}", (long long)id));
    json_decref(askf(400, P "/functions/delete", "{\"items\":[{\"id\":%lld}]}", (long long)id));
}

/* A file may be used again: its content stays. */
static void test_two_functions_of_one_file(void **state)
{
    (void)state;
    json_int_t file = upload("return { handle = function() return 2 end }");
    for (int i = 0; i < 2; i++) {
        json_t *made = askf(201, P "/functions", "{\"items\":[{\"name\":\"two\",\"fileId\":%lld}]}", (long long)file);
        json_t *ready = settled(int_of(first(made), "id"));
        assert_string_equal(text_of(ready, "status"), "Ready");
        assert_string_equal(text_of(ready, "functionPath"), "handler.lua");
        json_decref(askf(200, P "/functions/delete", "{\"items\":[{\"id\":%lld}]}", (long long)int_of(ready, "id")));
        json_decref(ready);
        json_decref(made);
    }
}

static void test_limits_and_status(void **state)
{
    (void)state;
    json_t *limits = ask(200, "GET", P "/functions/limits", NULL);
    assert_int_equal(int_of(limits, "timeoutMinutes"), 10);
    assert_true(json_is_real(json_object_get(json_object_get(limits, "cpuCores"), "min")));
    assert_true(json_is_real(json_object_get(json_object_get(limits, "memoryGb"), "default")));
    assert_true(json_array_size(json_object_get(limits, "runtimes")) >= 5);
    json_decref(limits);
    json_t *status = ask(200, "GET", P "/functions/status", NULL);
    assert_string_equal(text_of(status, "status"), "activated");
    json_decref(status);
    json_decref(ask(202, "POST", P "/functions/status", NULL));
}

/* ---- calls ---- */

static void test_secrets_reach_the_handler_alone(void **state)
{
    (void)state;
    json_t *made = call("{\"secret\":\"api-key\"}");
    json_decref(finished(made));
    json_t *response = ask(200, "GET", call_path(made, "/response"), NULL);
    assert_string_equal(text_of(response, "response"), "s3cret");
    json_decref(response);
    json_decref(made);
}

static void test_a_call_and_its_response(void **state)
{
    static const char data[] = "{\"day\":\"2026-11-22\",\"n\":9007199254740993,"
                               "\"x\":1.0,\"s\":\"}],\\\"{\",\"a\":[1,{\"b\":null}]}";
    (void)state;
    json_t *made = call(data);
    assert_int_equal(int_of(made, "functionId"), function_id);
    assert_true(int_of(made, "startTime") > 0);
    json_t *ended = finished(made);
    assert_string_equal(text_of(ended, "status"), "Completed");
    assert_true(int_of(ended, "endTime") >= int_of(ended, "startTime"));
    json_decref(ended);
    json_t *response = ask(200, "GET", call_path(made, "/response"), NULL);
    const json_t *value = json_object_get(response, "response");
    assert_true(int_of(value, "n") == 9007199254740993);
    assert_string_equal(text_of(value, "s"), "}],\"{");
    assert_int_equal(int_of(response, "callId"), int_of(made, "id"));
    json_decref(response);
    json_t *logs = ask(200, "GET", call_path(made, "/logs"), NULL);
    assert_string_equal(text_of(first(logs), "message"), "called");
    assert_true(int_of(first(logs), "timestamp") > 0);
    json_decref(logs);
    json_decref(made);
}

static void test_failed_calls_and_other_answers(void **state)
{
    (void)state;
    json_t *made = call("{\"fail\":true}");
    json_t *ended = finished(made);
    assert_string_equal(text_of(ended, "status"), "Failed");
    assert_non_null(strstr(text_of(json_object_get(ended, "error"), "message"), "boom"));
    assert_non_null(strstr(text_of(json_object_get(ended, "error"), "trace"), "handler.lua:5"));
    json_decref(ended);
    json_t *response = ask(200, "GET", call_path(made, "/response"), NULL);
    assert_null(json_object_get(response, "response"));
    json_decref(response);
    json_decref(made);
    made = call("{\"text\":true}");
    json_decref(finished(made));
    response = ask(200, "GET", call_path(made, "/response"), NULL);
    assert_string_equal(text_of(response, "response"), "h'i");
    json_decref(response);
    json_t *one = ask(200, "GET", call_path(made, ""), NULL);
    assert_string_equal(text_of(one, "status"), "Completed");
    json_decref(one);
    json_decref(made);
}

static void test_nonces_are_used_once(void **state)
{
    char path[128], fresh[128], body[256];
    (void)state;
    snprintf(path, sizeof path, P "/functions/%lld/call", (long long)function_id);
    nonce(fresh);
    snprintf(body, sizeof body, "{\"data\":null,\"nonce\":\"%s\"}", fresh);
    json_t *made = ask(201, "POST", path, body);
    json_decref(finished(made));
    json_decref(made);
    refused(400, path, body, "");
    refused(400, path, "{\"data\":{},\"nonce\":\"made-up\"}", "");
    refused(400, path, "{\"data\":{}}", "nonce");
    refused(400, P "/functions/17/call", "{\"data\":{},\"nonce\":\"x\"}", "not found");
    refused(400, P "/functions/abc/call", "{\"data\":{},\"nonce\":\"x\"}", "'abc'");
}

static void test_calls_are_listed_in_pages(void **state)
{
    json_int_t ids[5], last = 0;
    char cursor[64];
    (void)state;
    for (int i = 0; i < 5; i++) {
        json_t *made = call("{}");
        ids[i] = int_of(made, "id");
        json_decref(finished(made));
        json_decref(made);
    }
    json_t *page = ask(200, "POST", call_path(NULL, "/list"), "{\"filter\":{\"status\":\"Completed\"},\"limit\":3}");
    assert_int_equal(json_array_size(json_object_get(page, "items")), 3);
    assert_int_equal(int_of(first(page), "id"), ids[4]);
    snprintf(cursor, sizeof cursor, "%s", text_of(page, "nextCursor"));
    assert_string_not_equal(cursor, "");
    json_decref(page);
    page = askf(200, call_path(NULL, "/list"), "{\"filter\":{\"status\":\"Completed\"},\"limit\":2,\"cursor\":\"%s\"}",
                cursor);
    assert_int_equal(int_of(first(page), "id"), ids[1]);
    json_decref(page);
    page = ask(200, "POST", call_path(NULL, "/list"), "{\"limit\":1000,\"cursor\":null}");
    assert_null(json_object_get(page, "nextCursor"));
    json_decref(page);
    page = ask(200, "POST", call_path(NULL, "/list"), "{\"filter\":{\"status\":\"Failed\"},\"limit\":1000}");
    size_t index;
    json_t *item;
    json_array_foreach(json_object_get(page, "items"), index, item)
    {
        assert_string_equal(text_of(item, "status"), "Failed");
        assert_true(last == 0 || int_of(item, "id") < last);
        last = int_of(item, "id");
    }
    json_decref(page);
    page = ask(200, "POST", call_path(NULL, "/list"), "{\"filter\":{\"startTime\":{\"max\":1}}}");
    assert_int_equal(json_array_size(json_object_get(page, "items")), 0);
    json_decref(page);
    refused(400, call_path(NULL, "/list"), "{\"cursor\":\"c1\"}", "cursor");
    refused(400, call_path(NULL, "/list"), "{\"limit\":-1}", "limit");
}

static void test_byids_of_calls(void **state)
{
    (void)state;
    json_t *slow = call("{\"pause\":30}");
    /* held for a moment, then answered as it is */
    json_t *answer = askf(200, call_path(NULL, "/byids"), "{\"items\":[{\"id\":%lld}]}", (long long)int_of(slow, "id"));
    assert_string_equal(text_of(first(answer), "status"), "Running");
    json_decref(answer);
    answer =
        askf(400, call_path(NULL, "/byids"), "{\"items\":[{\"id\":%lld},{\"id\":42}]}", (long long)int_of(slow, "id"));
    assert_int_equal(int_of(json_array_get(json_object_get(json_object_get(answer, "error"), "missing"), 0), "id"), 42);
    json_decref(answer);
    json_decref(askf(200, call_path(NULL, "/byids"), "{\"items\":[{\"id\":42}],\"ignoreUnknownIds\":true}"));
    char path[96];
    snprintf(path, sizeof path, "/v1/calls/%lld/cancel", (long long)int_of(slow, "id"));
    json_decref(ask(202, "POST", path, NULL));
    json_t *ended = finished(slow);
    assert_string_equal(text_of(ended, "status"), "Failed");
    json_decref(ended);
    json_decref(slow);
}

/* ---- files, sessions, tokens ---- */

static void test_files(void **state)
{
    char url[512], headers[256];
    (void)state;
    json_t *file =
        ask(201, "POST", P "/files?overwrite=true",
            "{\"externalId\":\"x-1\",\"name\":\"a-b.zip\",\"dataSetId\":5,\"mimeType\":\"application/zip\"}");
    assert_string_equal(text_of(file, "mimeType"), "application/zip");
    snprintf(url, sizeof url, "%s", text_of(file, "uploadUrl"));
    assert_int_equal(strncmp(url, P "/files/", strlen(P "/files/")), 0);
    /* another id, another project, a changed or absent signature: all refused before the body is read */
    char *forged = strdup(url);
    *strstr(forged, "expires=") = 'X';
    struct raw_reply reply = raw_request(gw.port, "PUT", forged, "", "x", 1);
    assert_int_equal(reply.status, 401);
    raw_reply_fini(&reply);
    free(forged);
    forged = strdup(url);
    strstr(forged, "/content")[-1] ^= 1;
    reply = raw_request(gw.port, "PUT", forged, "", "x", 1);
    assert_int_equal(reply.status, 401);
    raw_reply_fini(&reply);
    free(forged);
    *strchr(url, '?') = '\0';
    reply = raw_request(gw.port, "PUT", url, "", "x", 1);
    assert_int_equal(reply.status, 401);
    raw_reply_fini(&reply);
    /* the token alone is enough */
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", gw.token);
    reply = raw_request(gw.port, "PUT", url, headers, "x", 1);
    assert_int_equal(reply.status, 200);
    raw_reply_fini(&reply);
    json_t *found = ask(200, "POST", P "/files/byids", "{\"items\":[{\"externalId\":\"x-1\"}]}");
    assert_true(json_is_true(json_object_get(first(found), "uploaded")));
    assert_int_equal(int_of(first(found), "id"), int_of(file, "id"));
    assert_null(json_object_get(first(found), "uploadUrl"));
    json_decref(found);
    json_t *again = ask(201, "POST", P "/files?overwrite=true", "{\"externalId\":\"x-1\",\"name\":\"c.zip\"}");
    assert_int_equal(int_of(again, "id"), int_of(file, "id"));
    json_decref(again);
    json_decref(ask(409, "POST", P "/files?overwrite=false", "{\"externalId\":\"x-1\",\"name\":\"c.zip\"}"));
    json_decref(ask(400, "POST", P "/files/byids", "{\"items\":[{\"id\":4711}]}"));
    json_decref(file);
}

static const char *session_status(json_int_t id)
{
    static char status[32];
    json_t *answer = askf(200, P "/sessions/byids", "{\"items\":[{\"id\":%lld}]}", (long long)id);
    snprintf(status, sizeof status, "%s", text_of(first(answer), "status"));
    assert_true(int_of(first(answer), "expirationTime") > int_of(first(answer), "creationTime"));
    assert_null(json_object_get(first(answer), "nonce"));
    json_decref(answer);
    return status;
}

static void test_sessions_are_listed_and_revoked(void **state)
{
    (void)state;
    json_int_t ids[3];
    char nonce[128] = "", path[200];
    for (int i = 0; i < 3; i++) {
        json_t *made = ask(200, "POST", P "/sessions", "{\"items\":[{\"tokenExchange\":true}]}");
        ids[i] = int_of(first(made), "id");
        snprintf(nonce, sizeof nonce, "%s", text_of(first(made), "nonce"));
        json_decref(made);
    }
    json_t *page = ask(200, "GET", P "/sessions?status=ready&limit=2", NULL); /* newest first */
    assert_int_equal(json_array_size(json_object_get(page, "items")), 2);
    assert_int_equal(int_of(first(page), "id"), ids[2]);
    snprintf(path, sizeof path, P "/sessions?status=READY&limit=1&cursor=%s", text_of(page, "nextCursor"));
    json_decref(page);
    page = ask(200, "GET", path, NULL);
    assert_int_equal(int_of(first(page), "id"), ids[0]);
    json_decref(page);
    for (int again = 0; again < 2; again++) { /* revoking is idempotent */
        json_t *answer = askf(200, P "/sessions/revoke", "{\"items\":[{\"id\":%lld},{\"id\":%lld}]}", (long long)ids[2],
                              (long long)ids[1]);
        assert_int_equal(int_of(first(answer), "id"), ids[2]);
        assert_string_equal(text_of(first(answer), "status"), "REVOKED");
        json_decref(answer);
    }
    assert_string_equal(session_status(ids[0]), "READY");
    assert_string_equal(session_status(ids[1]), "REVOKED");
    snprintf(path, sizeof path, P "/functions/%lld/call", (long long)function_id);
    json_t *answer = askf(400, path, "{\"data\":{},\"nonce\":\"%s\"}", nonce); /* of the revoked one */
    json_decref(answer);
    answer = ask(400, "POST", P "/sessions/revoke", "{\"items\":[{\"id\":1}]}");
    assert_int_equal(int_of(json_array_get(json_object_get(json_object_get(answer, "error"), "missing"), 0), "id"), 1);
    json_decref(answer);
    refused(400, P "/sessions/byids", "{\"items\":[{\"externalId\":\"x\"}]}", "items[0]");
    json_decref(ask(400, "GET", P "/sessions?limit=0", NULL));
    json_decref(ask(400, "GET", P "/sessions?cursor=x", NULL));
}

static void test_sessions(void **state)
{
    (void)state;
    json_t *answer = askf(200, P "/sessions", "{\"items\":[{\"clientId\":\"cid\",\"clientSecret\":\"%s\"}]}", gw.token);
    assert_string_equal(text_of(first(answer), "type"), "CLIENT_CREDENTIALS");
    assert_string_equal(text_of(first(answer), "clientId"), "cid");
    json_decref(answer);
    answer = ask(200, "POST", P "/sessions", "{\"items\":[{\"oneshotTokenExchange\":true}]}");
    assert_string_equal(text_of(first(answer), "type"), "ONESHOT_TOKEN_EXCHANGE");
    json_decref(answer);
    refused(400, P "/sessions", "{\"items\":[{\"clientId\":\"cid\",\"clientSecret\":\"wrong\"}]}",
            "client credentials");
    refused(400, P "/sessions", "{\"items\":[{}]}", "tokenExchange");
    refused(400, P "/sessions", "{\"items\":[{\"clientId\":\"cid\"}]}", "clientSecret");
}

static struct raw_reply token_request(const char *form)
{
    return raw_request(gw.port, "POST", "/oauth2/token",
                       "Content-Type: application/x-www-form-urlencoded;charset=UTF-8\r\n", form, strlen(form));
}

static void test_oauth_token(void **state)
{
    char form[512];
    (void)state;
    snprintf(form, sizeof form, "grant_type=client_credentials&client_secret=%s&scope=a+b&client_id=cid", gw.token);
    struct raw_reply reply = token_request(form);
    assert_int_equal(reply.status, 200);
    json_t *answer = json_loads(reply.body, 0, NULL);
    assert_string_equal(text_of(answer, "access_token"), gw.token);
    assert_string_equal(text_of(answer, "token_type"), "Bearer");
    assert_int_equal(int_of(answer, "expires_in"), 3600);
    json_decref(answer);
    raw_reply_fini(&reply);
    reply = token_request("grant_type=client_credentials&client_secret=wrong&client_id=cid");
    assert_int_equal(reply.status, 401);
    assert_non_null(strstr(reply.body, "\"error\":\"invalid_client\""));
    raw_reply_fini(&reply);
    reply = token_request("grant_type=password&client_secret=wrong");
    assert_int_equal(reply.status, 400);
    assert_non_null(strstr(reply.body, "\"error\":\"unsupported_grant_type\""));
    raw_reply_fini(&reply);
    json_t *inspect = ask(200, "GET", "/api/v1/token/inspect", NULL);
    assert_true(json_is_array(json_object_get(inspect, "projects")));
    json_decref(inspect);
}

/* ---- manners of the whole door ---- */

static void test_request_ids_and_error_shapes(void **state)
{
    char value[128], other[128];
    (void)state;
    struct raw_reply reply = gateway_ask(&gw, "POST", P "/functions/list", "application/json", "{}");
    assert_non_null(raw_header(&reply, "x-request-id", value, sizeof value));
    raw_reply_fini(&reply);
    reply = gateway_ask(&gw, "GET", P "/nothing", NULL, NULL);
    assert_int_equal(reply.status, 404);
    assert_non_null(raw_header(&reply, "x-request-id", other, sizeof other));
    assert_string_not_equal(value, other);
    assert_non_null(strstr(reply.body, "{\"error\":{\"code\":404,\"message\":"));
    raw_reply_fini(&reply);
    reply = raw_request(gw.port, "POST", P "/functions/list", "", "{}", 2);
    assert_int_equal(reply.status, 401);
    assert_non_null(strstr(reply.body, "{\"error\":{\"code\":401,\"message\":"));
    raw_reply_fini(&reply);
    reply = gateway_ask(&gw, "DELETE", P "/functions", NULL, NULL);
    assert_int_equal(reply.status, 405);
    assert_string_equal(raw_header(&reply, "allow", value, sizeof value), "GET, HEAD, POST");
    raw_reply_fini(&reply);
}

static void test_gzip_is_the_default_of_the_platforms_client(void **state)
{
    static const char text[] = "{\"filter\":{\"externalIdPrefix\":\"rep\"},\"limit\":25}";
    unsigned char packed[256];
    char headers[256];
    z_stream z = { 0 };
    (void)state;
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)text;
    z.avail_in = sizeof text - 1;
    z.next_out = packed;
    z.avail_out = sizeof packed;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    snprintf(headers, sizeof headers,
             "Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n", gw.token);
    struct raw_reply reply = raw_request(gw.port, "POST", P "/functions/list", headers, packed, z.total_out);
    deflateEnd(&z);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body, "\"externalId\":\"rep-1\""));
    raw_reply_fini(&reply);
}

/* Delayed calls fill the queue; every way to call then says at once that it is full, and when to come again. */
static void test_a_full_queue_is_said_at_every_door(void **state)
{
    static const char *const options[] = { "--sandboxes", "1", "--queue-limit", "1", NULL };
    static const char event[] = "{\"metadata\":{},\"data\":{}}";
    (void)state;
    struct gateway other = { 0 }, first_one = gw;
    assert_true(gateway_start(&other, PERI_BINARY_DIR, options));
    gw = other;
    json_t *function = gateway_deploy(&gw, 201, "f", "return { handle = function() return 1 end }");
    char fresh[128], cdf_path[128], body[256], value[64];
    nonce(fresh);
    int taken = 0, status = 202;
    for (; taken < 2000 && status == 202; taken += status == 202) {
        struct raw_reply reply = gateway_ask(&gw, "POST", "/v1/functions/f/calls?delay_ms=3600000", NULL, "{}");
        status = reply.status;
        raw_reply_fini(&reply);
    }
    snprintf(cdf_path, sizeof cdf_path, P "/functions/%lld/call", (long long)int_of(function, "id"));
    snprintf(body, sizeof body, "{\"data\":{},\"nonce\":\"%s\"}", fresh);
    const struct {
        const char *path, *body;
        int status;
    } doors[] = { { "/v1/functions/f/call", "{}", 503 },
                  { "/v1/functions/f/calls", "{}", 503 },
                  { "/cim/events/f", event, 503 },
                  { cdf_path, body, 429 } }; /* as the platform's client understands it */
    bool good[4];
    for (size_t i = 0; i < 4; i++) {
        struct raw_reply reply = gateway_ask(&gw, "POST", doors[i].path, "application/json", doors[i].body);
        good[i] = reply.status == doors[i].status && raw_header(&reply, "Retry-After", value, sizeof value);
        if (!good[i])
            print_error("%s: %d %s\n", doors[i].path, reply.status, reply.head);
        raw_reply_fini(&reply);
    }
    json_decref(function);
    int code_of_end = gateway_stop(&gw);
    gateway_remove(&gw);
    gw = first_one;
    assert_int_equal(status, 503);
    assert_int_equal(code_of_end, 0);
    for (size_t i = 0; i < 4; i++)
        assert_true(good[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_function_shows_what_was_given),
        cmocka_unit_test(test_byids_and_missing),
        cmocka_unit_test(test_list_filters),
        cmocka_unit_test(test_create_is_checked),
        cmocka_unit_test(test_a_package_without_the_namesake_fails),
        cmocka_unit_test(test_a_broken_handler_fails),
        cmocka_unit_test(test_two_functions_of_one_file),
        cmocka_unit_test(test_limits_and_status),
        cmocka_unit_test(test_secrets_reach_the_handler_alone),
        cmocka_unit_test(test_a_call_and_its_response),
        cmocka_unit_test(test_failed_calls_and_other_answers),
        cmocka_unit_test(test_nonces_are_used_once),
        cmocka_unit_test(test_calls_are_listed_in_pages),
        cmocka_unit_test(test_byids_of_calls),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_sessions_are_listed_and_revoked),
        cmocka_unit_test(test_oauth_token),
        cmocka_unit_test(test_request_ids_and_error_shapes),
        cmocka_unit_test(test_gzip_is_the_default_of_the_platforms_client),
        cmocka_unit_test(test_a_full_queue_is_said_at_every_door),
    };
    return cmocka_run_group_tests_name("api_cdf", tests, setup, teardown);
}
