/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "perilune/hash.h"
#include "perilune/host.h"

/* The host's own API, and where its credentials are. */

static char folder[] = "/tmp/perilune-test-host-XXXXXX";

static void write_file(const char *name, const char *text, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    write_file("handler.lua", "return { handle = function() end }", 0644);
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = { "handler.lua", "credentials.json", "package.zip" };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static const struct httpd_request *last(struct fixture *f)
{
    return httpd_request(f->server, httpd_count(f->server) - 1);
}

static void assert_header(struct fixture *f, const char *name, const char *expected)
{
    char value[256] = "";
    bool there = httpd_header(last(f), name, value, sizeof value);
    assert_int_equal(there, expected != NULL);
    if (expected)
        assert_string_equal(value, expected);
}

struct simple_case {
    const char *operation, *args;
    struct httpd_step step;
    const char *result; /* NULL: none */
};

#define CALL "{\"id\":5,\"functionId\":1,\"status\":\"Running\"}"

static void test_one_request_each(void **state)
{
    (void)state;
    static const struct simple_case cases[] = {
        { "info", "{}", { "GET", "/v1/host", .status = 200, .reply = "{\"callsRunning\":0}" }, "{\"callsRunning\":0}" },
        { "functions.list",
          "{\"limit\":3,\"prefix\":\"a b\",\"before_id\":9}",
          { "GET", "/v1/functions?limit=3&before_id=9&prefix=a%20b", .status = 200,
            .reply = "{\"items\":[{\"id\":1}]}" },
          "[{\"id\":1}]" },
        { "functions.get",
          "{\"name\":\"a.b-c_1\"}",
          { "GET", "/v1/functions/a.b-c_1", .status = 200, .reply = "{\"id\":1,\"code_hash\":\"x\"}" },
          "{\"id\":1,\"code_hash\":\"x\"}" },
        { "functions.delete", "{\"name\":\"f\"}", { "DELETE", "/v1/functions/f", .status = 200, .reply = "{}" }, NULL },
        { "functions.call_async",
          "{\"name\":\"f\",\"data\":[1]}",
          { "POST", "/v1/functions/f/calls", "[1]", .status = 202, .reply = CALL },
          "{\"id\":5,\"function_id\":1,\"status\":\"Running\"}" },
        { "functions.call_async",
          "{\"name\":\"f\",\"data\":1,\"delay_ms\":5,\"queue\":2,\"retry\":true,\"retry_base_ms\":7}",
          { "POST", "/v1/functions/f/calls?queue=2&delay_ms=5&retry=true&retry_base_ms=7", "1", .status = 202,
            .reply = CALL },
          "{\"id\":5,\"function_id\":1,\"status\":\"Running\"}" },
        { "dead.list", "{\"limit\":3}", { "GET", "/v1/dead?limit=3", .status = 200, .reply = "{\"items\":[]}" }, "[]" },
        { "dead.delete",
          "{\"id\":5}",
          { "DELETE", "/v1/dead/5", .status = 200, .reply = CALL },
          "{\"id\":5,\"function_id\":1,\"status\":\"Running\"}" },
        { "calls.requeue",
          "{\"id\":5}",
          { "POST", "/v1/calls/5/requeue", .status = 202, .reply = CALL },
          "{\"id\":5,\"function_id\":1,\"status\":\"Running\"}" },
        { "calls.get",
          "{\"id\":5,\"wait\":7}",
          { "GET", "/v1/calls/5?wait=7", .status = 200, .reply = CALL },
          "{\"id\":5,\"function_id\":1,\"status\":\"Running\"}" },
        { "calls.list",
          "{\"state\":\"Failed\"}",
          { "GET", "/v1/calls?state=Failed", .status = 200, .reply = "{\"items\":[]}" },
          "[]" },
        { "calls.list",
          "{\"name\":\"f\",\"limit\":2}",
          { "GET", "/v1/functions/f/calls?limit=2", .status = 200, .reply = "{\"items\":[]}" },
          "[]" },
        { "calls.result",
          "{\"id\":5}",
          { "GET", "/v1/calls/5/result", .status = 200, .reply = "{\"aB\":1}" },
          "{\"aB\":1}" },
        { "calls.log",
          "{\"id\":5,\"first\":2}",
          { "GET", "/v1/calls/5/log?first=2", .status = 200,
            .reply = "{\"items\":[{\"timestamp\":1,\"level\":\"info\",\"message\":\"m\"}]}" },
          "[{\"timestamp\":1,\"level\":\"info\",\"message\":\"m\"}]" },
        { "calls.cancel",
          "{\"id\":5}",
          { "POST", "/v1/calls/5/cancel", .status = 202, .reply = CALL },
          "{\"id\":5,\"function_id\":1,\"status\":\"Running\"}" },
    };
    struct fixture f;
    fixture_open(&f, &peri_host, NULL, NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        httpd_add(f.server, &cases[i].step);
        struct peri_op *op = fixture_call(&f, cases[i].operation, cases[i].args);
        if (f.err.code != PERI_OK)
            fail_msg("%s: %s", cases[i].operation, f.err.message);
        if (cases[i].result)
            fixture_assert_json(op, cases[i].result);
        else
            assert_int_equal(peri_op_shape(op), PERI_SHAPE_NONE);
        assert_header(&f, "Authorization", "Bearer tok-1");
        peri_op_free(op);
    }
    assert_int_equal(httpd_unused(f.server), 0);
    fixture_close(&f);
}

/* With a key a call may be asked for again: it is one call all the same. */
static void test_a_request_with_a_key_is_repeated(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "POST", "/v1/functions/f/calls", "1", .status = 503, .headers = "Retry-After: 0\r\n", .reply = "{}" },
        { "POST", "/v1/functions/f/calls", "1", .status = 202, .reply = CALL },
        { "POST", "/v1/functions/f/calls", "1", .status = 503, .headers = "Retry-After: 0\r\n", .reply = "{}" },
    };
    fixture_open(&f, &peri_host, NULL, steps, 3);
    struct peri_op *op =
        fixture_call(&f, "functions.call_async", "{\"name\":\"f\",\"data\":1,\"idempotency_key\":\"order-17\"}");
    assert_int_equal(f.err.code, PERI_OK);
    assert_header(&f, "Idempotency-Key", "order-17");
    peri_op_free(op);
    op = fixture_call(&f, "functions.call_async", "{\"name\":\"f\",\"data\":1}");
    assert_int_equal(f.err.code, PERI_UNAVAILABLE);
    peri_op_free(op);
    assert_int_equal(httpd_unused(f.server), 0);
    fixture_close(&f);
}

static void test_call_answers(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "POST", "/v1/functions/f/call?timeout_ms=500", "{\"n\":1}", .status = 200,
          .headers = "perilune-call-id: 5\r\n", .reply = "{\"okThen\":true}" },
        { "POST", "/v1/functions/f/call", .status = 200, .headers = "Content-Type: text/csv\r\n", .reply = "a,b" },
        { "POST", "/v1/functions/f/call", .status = 200, .reply = "null" },
        { "POST", "/v1/functions/f/call", .status = 200, .headers = "Content-Type: text/plain\r\n",
          .reply = "to the sink" },
        { "POST", "/v1/functions/f/call", .status = 500, .headers = "perilune-version: 1\r\nperilune-call-id: 6\r\n",
          .reply = "{\"error\":{\"code\":\"handler_failed\",\"message\":\"handler.lua:3: boom\",\"trace\":\"t\"}}" },
        { "POST", "/v1/functions/f/call", .status = 503, .reply = "{}", .times = 9 },
    };
    fixture_open(&f, &peri_host, NULL, steps, 6);
    struct peri_op *op = fixture_call(&f, "functions.call", "{\"name\":\"f\",\"data\":{\"n\":1},\"timeout_ms\":500}");
    fixture_assert_json(op, "{\"okThen\":true}"); /* the handler's own keys are left alone */
    assert_string_equal(peri_headers_get(peri_op_headers(op), "perilune-call-id"), "5");
    assert_header(&f, "Content-Type", "application/json");
    peri_op_free(op);
    op = fixture_call(&f, "functions.call", "{\"name\":\"f\",\"body\":\"x;y\",\"content_type\":\"text/csv\"}");
    assert_int_equal(peri_op_shape(op), PERI_SHAPE_BYTES);
    assert_true(peri_str_equal(peri_op_body(op), peri_str_from("a,b")));
    assert_header(&f, "Content-Type", "text/csv");
    peri_op_free(op);
    op = fixture_call(&f, "functions.call", "{\"name\":\"f\",\"data\":null}");
    fixture_assert_json(op, "null");
    assert_string_equal(last(&f)->body, "null");
    peri_op_free(op);
    struct peri_buf out;
    peri_buf_init(&out, 100);
    struct peri_call_streams streams = { .content = peri_reader_memory(peri_str_from("bytes"), NULL),
                                         .sink = peri_writer_buf(&out, NULL) };
    op = fixture_start(&f, "functions.call", "{\"name\":\"f\"}", &streams);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    assert_string_equal(out.data, "to the sink");
    assert_string_equal(last(&f)->body, "bytes");
    peri_op_free(op);
    peri_buf_fini(&out);
    op = fixture_call(&f, "functions.call", "{\"name\":\"f\",\"data\":1}");
    assert_int_equal(f.err.code, PERI_HANDLER_FAILED);
    assert_string_equal(f.err.message, "handler.lua:3: boom");
    assert_string_equal(f.err.request_id, "6");
    peri_op_free(op);
    /* a call may have had its effect: never repeated */
    size_t before = httpd_count(f.server);
    op = fixture_call(&f, "functions.call", "{\"name\":\"f\",\"data\":1}");
    assert_int_equal(f.err.code, PERI_UNAVAILABLE);
    assert_int_equal(httpd_count(f.server), before + 1);
    peri_op_free(op);
    fixture_close(&f);
}

#define READY "{\"id\":1,\"name\":\"f\",\"status\":\"Ready\",\"version\":2}"

static void test_deploy(void **state)
{
    (void)state;
    struct fixture f;
    char args[512];
    static const struct httpd_step steps[] = {
        { "PUT", "/v1/functions/f?timeout_ms=1000&memory=64M&create=true", .status = 201, .reply = READY },
        { "PUT", "/v1/functions/f", .status = 503, .reply = "{}" },
        { "PUT", "/v1/functions/f", .status = 200, .reply = READY, .times = 3 },
        { "PUT", "/v1/functions/f", .status = 422, .headers = "perilune-version: 1\r\n",
          .reply = "{\"error\":{\"code\":\"package\",\"message\":\"handler.lua:1: boom\"}}" },
    };
    fixture_open(&f, &peri_host, NULL, steps, 4);
    snprintf(args, sizeof args,
             "{\"name\":\"f\",\"folder\":\"%s\",\"timeout_ms\":1000,\"memory\":\"64M\",\"create\":true,\"env\":{\"K\":"
             "\"ø\"}}",
             folder);
    struct peri_op *op = fixture_call(&f, "functions.deploy", args);
    assert_int_equal(f.err.code, PERI_OK);
    fixture_assert_json(op, READY);
    assert_memory_equal(last(&f)->body, "PK", 2);
    assert_header(&f, "perilune-env", "{\"K\":\"\\u00F8\"}");
    peri_op_free(op);
    snprintf(args, sizeof args, "{\"name\":\"f\",\"folder\":\"%s\"}", folder);
    op = fixture_call(&f, "functions.deploy", args);
    assert_int_equal(peri_op_attempts(op), 2);
    const struct httpd_request *first = httpd_request(f.server, 1);
    assert_int_equal(first->body_len, last(&f)->body_len); /* sent again whole */
    assert_memory_equal(first->body, last(&f)->body, first->body_len);
    peri_op_free(op);
    write_file("package.zip", "not looked at here", 0644);
    snprintf(args, sizeof args, "{\"name\":\"f\",\"package\":\"%s/package.zip\"}", folder);
    peri_op_free(fixture_call(&f, "functions.deploy", args));
    assert_string_equal(last(&f)->body, "not looked at here");
    struct peri_call_streams streams = { .content = peri_reader_memory(peri_str_from("streamed"), NULL) };
    op = fixture_start(&f, "functions.deploy", "{\"name\":\"f\"}", &streams);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    assert_string_equal(last(&f)->body, "streamed");
    peri_op_free(op);
    op = fixture_call(&f, "functions.deploy", args);
    assert_int_equal(f.err.code, PERI_PACKAGE);
    assert_int_equal(f.err.status, 422);
    assert_string_equal(f.err.message, "handler.lua:1: boom");
    peri_op_free(op);
    fixture_close(&f);
}

static void test_deploy_refusals(void **state)
{
    (void)state;
    struct fixture f;
    char args[512];
    fixture_open(&f, &peri_host, NULL, NULL, 0);
    assert_null(fixture_start(&f, "functions.deploy", "{\"name\":\"f\"}", NULL));
    assert_int_equal(f.err.code, PERI_INVALID);
    assert_string_equal(f.err.message,
                        "host.functions.deploy: exactly one of the options 'folder' and 'package' is required");
    peri_op_free(fixture_call(&f, "functions.deploy", "{\"name\":\"f\",\"folder\":\"/nonexistent/x\"}"));
    assert_int_equal(f.err.code, PERI_PACKAGE);
    snprintf(args, sizeof args, "{\"name\":\"f\",\"folder\":\"%s\",\"entry\":\"main.lua\"}", folder);
    peri_op_free(fixture_call(&f, "functions.deploy", args));
    assert_int_equal(f.err.code, PERI_PACKAGE);
    assert_non_null(strstr(f.err.message, "the entry file main.lua does not exist"));
    peri_op_free(fixture_call(&f, "functions.deploy", "{\"name\":\"f\",\"package\":\"/nonexistent/x\"}"));
    assert_int_not_equal(f.err.code, PERI_OK);
    assert_non_null(strstr(f.err.message, "/nonexistent/x"));
    assert_int_equal(httpd_count(f.server), 0);
    fixture_close(&f);
}

static void test_wait(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "GET", "/v1/calls/5?wait=25", .status = 200, .reply = "{\"id\":5,\"status\":\"Queued\"}" },
        { "GET", "/v1/calls/5?wait=25", .status = 200, .reply = CALL, .times = 2 },
        { "GET", "/v1/calls/5?wait=25", .status = 200, .reply = "{\"id\":5,\"status\":\"Cancelled\"}" },
        { "GET", "/v1/calls/6?wait=25", .status = 200, .reply = CALL, .delay_ms = 600000 },
        { "GET", "/v1/calls/7?wait=25", .status = 404,
          .reply = "{\"error\":{\"code\":\"not_found\",\"message\":\"no\"}}" },
    };
    fixture_open(&f, &peri_host, NULL, steps, 4);
    struct peri_op *op = fixture_call(&f, "calls.wait", "{\"id\":5}");
    fixture_assert_json(op, "{\"id\":5,\"status\":\"Cancelled\"}");
    assert_int_equal(httpd_count(f.server), 4);
    peri_op_free(op);
    op = fixture_call(&f, "calls.wait", "{\"id\":6,\"timeout\":0.05}");
    assert_int_equal(f.err.code, PERI_TIMEOUT);
    assert_string_equal(f.err.message, "call 6 has not ended, and goes on: not done within 50 ms");
    peri_op_free(op);
    fixture_close(&f);
    fixture_open(&f, &peri_host, NULL, &steps[4], 1);
    peri_op_free(fixture_call(&f, "calls.wait", "{\"id\":7}"));
    assert_int_equal(f.err.code, PERI_NOT_FOUND);
    fixture_close(&f);
}

static void test_follow(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_buf out;
    static const char events[] = "id: 1\nevent: line\ndata: {}\n\nevent: end\ndata: {}\n\n";
    static const struct httpd_step steps[] = {
        { "GET", "/v1/calls/5/log?follow=true", .status = 200, .headers = "Content-Type: text/event-stream\r\n",
          .reply = events },
    };
    /* a first-byte deadline that would end it: following has none */
    struct peri_client_options options = { .token = "t", .first_byte_timeout_ms = 1 };
    struct httpd_step slow = steps[0];
    slow.delay_ms = 100;
    peri_buf_init(&out, 1000);
    fixture_open(&f, &peri_host, &options, &slow, 1);
    struct peri_call_streams streams = { .sink = peri_writer_buf(&out, NULL) };
    struct peri_op *op = fixture_start(&f, "calls.follow", "{\"id\":5,\"last_event_id\":\"1\"}", &streams);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    assert_string_equal(out.data, events);
    assert_header(&f, "Last-Event-ID", "1");
    peri_op_free(op);
    peri_buf_fini(&out);
    fixture_close(&f);
}

static void test_credentials(void **state)
{
    (void)state;
    struct peri_error err;
    char *url = NULL;
    char *token = NULL;
    assert_int_equal(peri_host_credentials_load(folder, &url, &token, &err), PERI_NOT_FOUND);
    assert_non_null(strstr(err.message, "has a host been started"));
    write_file("credentials.json", "{\"url\":\"http://127.0.0.1:1\",\"token\":\"s3cret\"}", 0644);
    assert_int_equal(peri_host_credentials_load(folder, &url, &token, &err), PERI_FORBIDDEN);
    assert_non_null(strstr(err.message, "chmod 600"));
    assert_null(url);
    write_file("credentials.json", "{\"url\":\"http://127.0.0.1:1\",\"token\":\"s3cret\"}", 0600);
    assert_int_equal(peri_host_credentials_load(folder, &url, &token, &err), PERI_OK);
    assert_string_equal(url, "http://127.0.0.1:1");
    assert_string_equal(token, "s3cret");
    free(url);
    free(token);
    setenv("PERILUNE_DATA", folder, 1);
    assert_int_equal(peri_host_credentials_load(NULL, &url, &token, &err), PERI_OK);
    unsetenv("PERILUNE_DATA");
    free(url);
    free(token);
    static const char *const broken[] = { "{\"url\":\"u\"}", "{\"url\":1,\"token\":\"s3cret\"}", "s3cret", "" };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        write_file("credentials.json", broken[i], 0600);
        assert_int_not_equal(peri_host_credentials_load(folder, &url, &token, &err), PERI_OK);
        assert_non_null(strstr(err.message, "credentials.json"));
        assert_null(strstr(err.message, "s3cret"));
        assert_null(token);
    }
}

static void assert_data_dir(const char *data, const char *xdg, const char *home, const char *expected)
{
    static const char *const names[] = { "PERILUNE_DATA", "XDG_DATA_HOME", "HOME" };
    const char *const values[] = { data, xdg, home };
    for (size_t i = 0; i < 3; i++)
        values[i] ? setenv(names[i], values[i], 1) : unsetenv(names[i]);
    char *dir = peri_host_data_dir();
    assert_string_equal(dir, expected);
    free(dir);
}

static void test_data_dir(void **state)
{
    (void)state;
    const char *before = getenv("HOME");
    char *home = strdup(before ? before : "/");
    assert_non_null(home);
    assert_data_dir("/data", "/x", "/h", "/data");
    assert_data_dir("", "/x", "/h", "/x/perilune");
    assert_data_dir(NULL, "relative", "/h", "/h/.local/share/perilune"); /* the convention ignores relative ones */
    assert_data_dir(NULL, NULL, "/h", "/h/.local/share/perilune");
    setenv("HOME", home, 1);
    free(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_request_each),
        cmocka_unit_test(test_call_answers),
        cmocka_unit_test(test_a_request_with_a_key_is_repeated),
        cmocka_unit_test(test_deploy),
        cmocka_unit_test(test_deploy_refusals),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_data_dir),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
