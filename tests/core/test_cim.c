/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include <stdio.h>

#include "perilune/cim.h"
#include "support/vectors.h"

/* The golden vectors of the access service's sheet, byte by byte, and how its base URL becomes a request's. */

#define LOCK_ID "\"lock_id\": \""
#define LOCK_LENGTH 12

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* A copy of text with each `from` replaced; freed by the caller. */
static char *replace(const char *original, const char *from, const char *to)
{
    struct peri_buf out;
    peri_buf_init(&out, 1024 * 1024);
    for (const char *at = original; *at;) {
        const char *found = strstr(at, from);
        size_t plain = found ? (size_t)(found - at) : strlen(at);
        assert_int_equal(peri_buf_append(&out, at, plain), PERI_OK);
        at += plain;
        if (found) {
            assert_int_equal(peri_buf_append_text(&out, to), PERI_OK);
            at += strlen(from);
        }
    }
    assert_int_equal(peri_buf_append_byte(&out, '\0'), PERI_OK);
    return peri_buf_take(&out, NULL);
}

static void add_exchange(struct httpd *server, const json_t *exchange)
{
    const json_t *reply = json_object_get(exchange, "reply");
    char *plain = reply ? json_dumps(reply, 0) : strdup(text(exchange, "text"));
    char *answer = replace(plain, "$B", httpd_url(server));
    char headers[128] = "";
    if (text(exchange, "etag"))
        snprintf(headers, sizeof headers, "ETag: %s\r\n", text(exchange, "etag"));
    httpd_add(server, &(struct httpd_step){ .method = text(exchange, "method"),
                                            .path = text(exchange, "path"),
                                            .status = (int)json_integer_value(json_object_get(exchange, "status")),
                                            .headers = headers,
                                            .reply = answer });
    free(answer);
    free(plain);
}

/* The lock that the client chose: all requests of an upload must have the same. */
static void learn_lock(const char *body, char lock[LOCK_LENGTH + 1])
{
    const char *at = strstr(body, LOCK_ID);
    if (!at || lock[0])
        return;
    memcpy(lock, at + strlen(LOCK_ID), LOCK_LENGTH);
    for (size_t i = 0; i < LOCK_LENGTH; i++)
        assert_true((lock[i] >= 'A' && lock[i] <= 'Z') || (lock[i] >= 'a' && lock[i] <= 'z'));
}

static void check_headers(const json_t *exchange, const struct httpd_request *request)
{
    char value[256];
    const char *name = NULL;
    json_t *expected = NULL;
    bool access = json_is_true(json_object_get(exchange, "access"));
    assert_int_equal(httpd_header(request, "Authorization", value, sizeof value), access);
    if (access)
        assert_string_equal(value, "Bearer tok-123");
    bool json = access && strcmp(request->method, "POST") == 0;
    assert_int_equal(httpd_header(request, "Content-Type", value, sizeof value), json);
    if (json)
        assert_string_equal(value, "application/json");
    assert_int_equal(httpd_header(request, "Content-Length", value, sizeof value), strcmp(request->method, "GET") != 0);
    assert_false(httpd_header(request, "Transfer-Encoding", value, sizeof value));
    assert_false(httpd_header(request, "Expect", value, sizeof value));
    json_object_foreach(json_object_get(exchange, "headers"), name, expected)
    {
        assert_true(httpd_header(request, name, value, sizeof value));
        assert_string_equal(value, json_string_value(expected));
    }
}

static void check_request(const char *id, const json_t *exchange, const struct httpd_request *request, const char *base,
                          char lock[LOCK_LENGTH + 1])
{
    assert_non_null(request);
    if (strcmp(request->method, text(exchange, "method")) != 0 || strcmp(request->path, text(exchange, "path")) != 0)
        fail_msg("%s: %s %s, expected %s %s", id, request->method, request->path, text(exchange, "method"),
                 text(exchange, "path"));
    check_headers(exchange, request);
    char *body = replace(text(exchange, "body") ? text(exchange, "body") : "", "$B", base);
    char *at = strstr(body, LOCK_ID);
    if (at) {
        learn_lock(request->body, lock);
        memcpy(at + strlen(LOCK_ID), lock, LOCK_LENGTH);
    }
    if (strcmp(body, request->body) != 0 || strlen(body) != request->body_len)
        fail_msg("%s: %s\n got      %s\n expected %s", id, request->path, request->body, body);
    free(body);
}

static enum peri_code read_string(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    const char **at = data;
    (void)err;
    *n = **at && cap ? 1 : 0; /* as short as reads can be */
    if (*n)
        *(char *)out = *(*at)++;
    return PERI_OK;
}

static void run_vector(const json_t *vector)
{
    struct fixture f;
    const char *id = text(vector, "id");
    const json_t *exchanges = json_object_get(vector, "exchanges");
    const json_t *expected = json_object_get(vector, "error");
    const char *stream = text(vector, "stream");
    struct peri_client_options options = { .token = "tok-123", .retry = &peri_retry_none };
    char lock[LOCK_LENGTH + 1] = "";
    fixture_open(&f, &peri_cim, &options, NULL, 0);
    for (size_t i = 0; i < json_array_size(exchanges); i++)
        add_exchange(f.server, json_array_get(exchanges, i));
    struct peri_call_streams streams = { 0 };
    if (json_is_false(json_object_get(vector, "seekable")))
        streams.content = peri_reader_callback(read_string, NULL, -1, &stream, NULL, &f.err);
    else if (stream)
        streams.content = peri_reader_memory(peri_str_from(stream), &f.err);
    struct peri_op *op = peri_service_call(f.client, f.service, text(vector, "operation"),
                                           json_object_get(vector, "args"), &streams, &f.err);
    if (!op)
        fail_msg("%s: %s", id, f.err.message);
    enum peri_code code = peri_op_wait(op, &f.err);
    if (expected) {
        assert_string_equal(peri_code_name(code), text(expected, "code"));
        assert_int_equal(f.err.status, json_integer_value(json_object_get(expected, "status")));
        if (text(expected, "message"))
            assert_string_equal(f.err.message, text(expected, "message"));
    } else if (code != PERI_OK) {
        fail_msg("%s: %s", id, f.err.message);
    } else if (json_object_get(vector, "result")) {
        assert_true(json_equal(peri_op_json(op, &f.err), json_object_get(vector, "result")));
    }
    assert_int_equal(httpd_count(f.server), json_array_size(exchanges));
    for (size_t i = 0; i < json_array_size(exchanges); i++)
        check_request(id, json_array_get(exchanges, i), httpd_request(f.server, i), httpd_url(f.server), lock);
    peri_op_free(op);
    fixture_close(&f);
}

static void test_vectors(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("cim");
    const json_t *list = vectors_section(vectors, "calls");
    assert_int_equal(json_array_size(list), 17);
    for (size_t i = 0; i < json_array_size(list); i++)
        run_vector(json_array_get(list, i));
    json_decref(vectors);
}

/* ---- section 2.1: the service's URL ---- */

static void test_base_urls(void **state)
{
    static const char *const bases[][2] = { { "", "" },           { "/", "" },           { "//", "" },
                                            { "/base", "/base" }, { "/base/", "/base" }, { "/a%2Fb//", "/a%2Fb" } };
    (void)state;
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        struct fixture f;
        char path[128];
        char url[128];
        struct peri_client_options options = { .token = "t", .base_url = "http://127.0.0.1:1" };
        fixture_open(&f, &peri_cim, &options, NULL, 0);
        peri_client_free(f.client);
        snprintf(url, sizeof url, "%s%s", httpd_url(f.server), bases[i][0]);
        options.base_url = url;
        f.client = peri_client_new(f.loop, &options, &f.err);
        snprintf(path, sizeof path, "%s/numgen?name=n&count=1", bases[i][1]);
        httpd_add(f.server, &(struct httpd_step){ "GET", path, .status = 200, .reply = "{\"numbers\":[1]}" });
        struct peri_op *op = fixture_call(&f, "generator.get_number", "{\"name\":\"n\"}");
        assert_int_equal(peri_op_code(op), PERI_OK);
        peri_op_free(op);
        fixture_close(&f);
    }
}

static void test_bad_base_urls(void **state)
{
    static const char *const bad[][2] = {
        { "http://h/base?x=1", "no query" }, { "http://h/base?", "no query" },
        { "http://h/#f", "no query" },       { "http://user@h/", "user name" },
        { "http://user:pw@h/", "password" }, { "ftp://h/", "http or https" },
        { "h:8000", "not absolute" },        { "", "required" },
    };
    struct peri_error err;
    (void)state;
    struct peri_loop *loop = peri_loop_new(&err);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(peri_client_new(loop, &(struct peri_client_options){ .base_url = bad[i][0], .token = "t" }, &err));
        if (!strstr(err.message, bad[i][1]))
            fail_msg("%s: %s", bad[i][0], err.message);
    }
    peri_loop_free(loop);
}

/* An id is one segment of the path, whatever is in it. */
static void test_file_ids(void **state)
{
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "GET", "/files/a%2Fb%3Fc%23d%20%C3%A4", .status = 200, .reply = "{\"filename\":\"x\",\"locked\":false}" },
        { "GET", "/files/f-1/content", .status = 200, .reply = "bytes", .headers = "Content-Type: text/plain\r\n" },
    };
    (void)state;
    fixture_open(&f, &peri_cim, NULL, steps, 2);
    struct peri_op *op = fixture_call(&f, "files.retrieve", "{\"file_object_id\":\"a/b?c#d \xc3\xa4\"}");
    fixture_assert_json(op, "{\"filename\":\"x\",\"locked\":false}");
    peri_op_free(op);
    op = fixture_call(&f, "files.download", "{\"file_object_id\":\"f-1\"}");
    assert_int_equal(peri_op_code(op), PERI_OK);
    assert_true(peri_str_equal(peri_op_body(op), peri_str_from("bytes")));
    peri_op_free(op);
    fixture_close(&f);
}

/* ---- section 2.4: nothing but 200 ---- */

static void test_statuses(void **state)
{
    static const struct {
        int status;
        enum peri_code code;
    } cases[] = {
        { 201, PERI_HTTP },        { 202, PERI_HTTP },          { 204, PERI_HTTP },         { 302, PERI_HTTP },
        { 400, PERI_BAD_REQUEST }, { 401, PERI_UNAUTHORIZED },  { 403, PERI_FORBIDDEN },    { 404, PERI_NOT_FOUND },
        { 409, PERI_CONFLICT },    { 422, PERI_UNPROCESSABLE }, { 429, PERI_RATE_LIMITED }, { 500, PERI_SERVER },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        struct peri_client_options options = { .token = "t", .retry = &peri_retry_none };
        struct httpd_step step = { "GET", "/numgen?name=n&count=1", .status = cases[i].status };
        fixture_open(&f, &peri_cim, &options, &step, 1);
        struct peri_op *op = fixture_call(&f, "generator.get_number", "{\"name\":\"n\"}");
        if (f.err.code != cases[i].code || f.err.status != cases[i].status)
            fail_msg("%d: %s, %s", cases[i].status, peri_code_name(f.err.code), f.err.message);
        assert_non_null(strstr(f.err.message, "status"));
        peri_op_free(op);
        fixture_close(&f);
    }
}

/* ---- numbers ---- */

static void refused(struct fixture *f, const char *operation, const char *args, const char *message)
{
    assert_null(fixture_start(f, operation, args, NULL));
    assert_int_equal(f->err.code, PERI_INVALID);
    if (strcmp(f->err.message, message) != 0)
        fail_msg("%s", f->err.message);
}

static void test_refused(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, &peri_cim, NULL, NULL, 0);
    refused(&f, "generator.get_numbers", "{\"name\":\"n\",\"count\":0}",
            "cim.generator.get_numbers: option 'count' must be from 1 to 100, not 0");
    refused(&f, "generator.get_numbers", "{\"name\":\"n\",\"count\":101}",
            "cim.generator.get_numbers: option 'count' must be from 1 to 100, not 101");
    refused(&f, "generator.get_number", "{\"nam\":\"n\"}",
            "cim.generator.get_number: unknown option 'nam'; did you mean 'name'?");
    peri_client_free(f.client);
    f.client = peri_client_new(f.loop, &(struct peri_client_options){ .base_url = httpd_url(f.server) }, &f.err);
    refused(&f, "generator.get_number", "{\"name\":\"n\"}",
            "cim.generator.get_number: no service token was given: the client needs a token");
    assert_int_equal(httpd_count(f.server), 0);
    fixture_close(&f);
}

static void test_bad_numbers(void **state)
{
    static const char *const answers[][2] = {
        { "", "line 1" },
        { "[1]", "not a JSON object" },
        { "null", "not a JSON object" },
        { "{\"numbers\": null}", "no list 'numbers'" },
        { "{\"numbers\": 5}", "no list 'numbers'" },
        { "{\"numbers\": [1.5]}", "no list 'numbers'" },
        { "{\"numbers\": []}", "asked for 1 numbers, got 0" },
        { "{\"numbers\": [1, 2]}", "asked for 1 numbers, got 2" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct fixture f;
        struct httpd_step step = { "GET", "/numgen?name=n&count=1", .status = 200, .reply = answers[i][0] };
        fixture_open(&f, &peri_cim, NULL, &step, 1);
        struct peri_op *op = fixture_call(&f, "generator.get_number", "{\"name\":\"n\"}");
        if (f.err.code == PERI_OK || !strstr(f.err.message, answers[i][1]))
            fail_msg("%s: %s", answers[i][0], f.err.message);
        peri_op_free(op);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),     cmocka_unit_test(test_base_urls), cmocka_unit_test(test_bad_base_urls),
        cmocka_unit_test(test_file_ids),    cmocka_unit_test(test_statuses),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bad_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
