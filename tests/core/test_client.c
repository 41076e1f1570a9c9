/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include "perilune/cdf.h"
#include "support/badpeer.h"

/* One request's life: token, limiter, attempts, deadline, streams, errors. */

static const struct peri_service plain = { .name = "plain", .retry = &peri_retry_default };

static struct peri_op *request(struct fixture *f, const struct peri_http *http)
{
    peri_error_clear(&f->err);
    struct peri_op *op = peri_client_request(f->client, http, &f->err);
    if (!op)
        fail_msg("%s", f->err.message);
    peri_op_wait(op, &f->err);
    return op;
}

static void assert_header(struct fixture *f, size_t i, const char *name, const char *expected)
{
    char value[256] = "";
    const struct httpd_request *sent = httpd_request(f->server, i);
    assert_non_null(sent);
    bool there = httpd_header(sent, name, value, sizeof value);
    if (there != (expected != NULL))
        fail_msg("header %s is %s", name, there ? value : "absent");
    if (expected)
        assert_string_equal(value, expected);
}

static void test_answer_and_headers(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_headers headers;
    peri_headers_init(&headers);
    peri_headers_set(&headers, "X-Mine", "1");
    static const struct httpd_step steps[] = {
        { "GET", "/base/a?b=1", .status = 203, .headers = "X-There: yes\r\n", .reply = "{\"a\":1}" },
        { "GET", "/base/a?b=1", .status = 204 },
    };
    fixture_open(&f, &plain, NULL, steps, 2);
    char base[128];
    snprintf(base, sizeof base, "%s/base/", httpd_url(f.server));
    struct peri_client *client = peri_client_new(
        f.loop,
        &(struct peri_client_options){ .base_url = base, .token = "tok-2", .headers = &headers, .user_agent = "me/1" },
        &f.err);
    assert_non_null(client);
    peri_client_free(f.client);
    f.client = client;
    struct peri_op *op =
        request(&f, &(struct peri_http){ .url = "/a?b=1", .shape = PERI_SHAPE_RAW, .operation = "plain.get" });
    assert_int_equal(peri_op_code(op), PERI_OK);
    assert_int_equal(peri_op_status(op), 203);
    assert_int_equal(peri_op_attempts(op), 1);
    assert_string_equal(peri_headers_get(peri_op_headers(op), "x-there"), "yes");
    fixture_assert_json(op, "{\"a\":1}");
    assert_header(&f, 0, "Authorization", "Bearer tok-2");
    assert_header(&f, 0, "X-Mine", "1");
    assert_header(&f, 0, "User-Agent", "me/1");
    assert_header(&f, 0, "Accept", "application/json");
    peri_op_free(op);
    op = request(&f, &(struct peri_http){ .url = "/a?b=1", .no_auth = true, .shape = PERI_SHAPE_NONE });
    assert_header(&f, 1, "Authorization", NULL);
    assert_int_equal(httpd_request(f.server, 1)->connection, 1); /* kept and reused */
    peri_op_free(op);
    fixture_close(&f);
    peri_headers_fini(&headers);
}

/* Neither the token nor the program's own headers go to another origin. */
static void test_credentials_stay_home(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_headers headers;
    static const struct httpd_step step = { "PUT", "/up", .status = 200 };
    struct httpd *other = httpd_start(&step, 1);
    peri_headers_init(&headers);
    peri_headers_set(&headers, "X-Api-Key", "secret");
    struct peri_client_options options = { .token = "tok-1", .headers = &headers };
    fixture_open(&f, &plain, &options, &step, 1);
    for (int home = 0; home < 2; home++) {
        char url[128];
        char value[64];
        struct httpd *server = home ? f.server : other;
        snprintf(url, sizeof url, "%s/up", httpd_url(server));
        struct peri_op *op = request(&f, &(struct peri_http){ .method = "PUT", .url = url });
        assert_int_equal(peri_op_code(op), PERI_OK);
        assert_int_equal(httpd_header(httpd_request(server, 0), "Authorization", value, sizeof value), home);
        assert_int_equal(httpd_header(httpd_request(server, 0), "X-Api-Key", value, sizeof value), home);
        peri_op_free(op);
    }
    fixture_close(&f);
    httpd_stop(other);
    peri_headers_fini(&headers);
}

static enum peri_code next_token(void *data, struct peri_buf *token, struct peri_error *err)
{
    unsigned *calls = data;
    ++*calls;
    if (*calls > 3)
        return peri_error_set(err, PERI_UNAUTHORIZED, "no more tokens");
    return peri_buf_printf(token, "t%u", *calls);
}

static void test_token_before_each_attempt(void **state)
{
    (void)state;
    struct fixture f;
    unsigned calls = 0;
    struct peri_retry_policy impatient = fixture_impatient(&peri_retry_default);
    struct peri_client_options options = { .token_fn = next_token, .token_data = &calls, .retry = &impatient };
    static const struct httpd_step steps[] = {
        { "GET", "/", .status = 503, .times = 2 },
        { "GET", "/", .status = 200, .reply = "1" },
    };
    fixture_open(&f, &plain, &options, steps, 2);
    struct peri_op *op = request(&f, &(struct peri_http){ .url = "/", .idempotent = true });
    assert_int_equal(peri_op_code(op), PERI_OK);
    assert_int_equal(peri_op_attempts(op), 3);
    assert_header(&f, 0, "Authorization", "Bearer t1");
    assert_header(&f, 1, "Authorization", "Bearer t2");
    assert_header(&f, 2, "Authorization", "Bearer t3");
    peri_op_free(op);
    op = request(&f, &(struct peri_http){ .url = "/", .operation = "plain.x" });
    assert_int_equal(f.err.code, PERI_UNAUTHORIZED);
    assert_string_equal(f.err.message, "no more tokens");
    assert_string_equal(f.err.operation, "plain.x");
    assert_int_equal(httpd_count(f.server), 3);
    peri_op_free(op);
    fixture_close(&f);
}

static void test_retry_rewinds_the_body(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "PUT", "/", "[1,2,3]", .status = 502 },
        { "PUT", "/", "[1,2,3]", .status = 429 },
        { "PUT", "/", "[1,2,3]", .status = 200 },
    };
    fixture_open(&f, &plain, NULL, steps, 3);
    struct peri_op *op = request(&f, &(struct peri_http){ .method = "PUT",
                                                          .url = "/",
                                                          .idempotent = true,
                                                          .body = peri_reader_memory(peri_str_from("[1,2,3]"), NULL) });
    assert_int_equal(peri_op_code(op), PERI_OK);
    assert_int_equal(peri_op_attempts(op), 3);
    peri_op_free(op);
    fixture_close(&f);
}

static enum peri_code read_once(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    bool *done = data;
    (void)err;
    (void)cap;
    *n = *done ? 0 : 3;
    if (!*done)
        memcpy(out, "abc", 3);
    *done = true;
    return PERI_OK;
}

/* A source that can't rewind ends the retries, and the error says so; nothing empty is sent in its place. */
static void test_body_that_cannot_rewind(void **state)
{
    (void)state;
    struct fixture f;
    bool done = false;
    static const struct httpd_step steps[] = { { "PUT", "/", .status = 503, .reply = "{\"message\":\"later\"}",
                                                 .times = 9 } };
    fixture_open(&f, &plain, NULL, steps, 1);
    struct peri_op *op =
        request(&f, &(struct peri_http){ .method = "PUT",
                                         .url = "/",
                                         .idempotent = true,
                                         .body = peri_reader_callback(read_once, NULL, 3, &done, NULL, NULL) });
    assert_int_equal(f.err.code, PERI_UNAVAILABLE);
    assert_string_equal(f.err.message, "later; not tried again, because the body's source can't rewind");
    assert_int_equal(httpd_count(f.server), 1);
    assert_string_equal(httpd_request(f.server, 0)->body, "abc");
    peri_op_free(op);
    fixture_close(&f);
}

struct sink_end {
    enum peri_code result;
    unsigned finished;
};

static enum peri_code take(void *data, struct peri_str bytes, struct peri_error *err)
{
    (void)data;
    (void)bytes;
    (void)err;
    return PERI_OK;
}

static enum peri_code finished(void *data, enum peri_code result, struct peri_error *err)
{
    struct sink_end *end = data;
    (void)err;
    end->result = result;
    end->finished++;
    return PERI_OK;
}

static void test_sink(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_buf out;
    peri_buf_init(&out, 1000);
    static const struct httpd_step steps[] = {
        { "GET", "/a", .status = 503, .reply = "not for the sink" },
        { "GET", "/a", .status = 200, .reply = "for the sink" },
        { "GET", "/b", .status = 404, .reply = "{\"error\":{\"message\":\"gone fishing\"}}" },
        { "GET", "/c", .status = 200, .reply = "x" },
    };
    fixture_open(&f, &plain, NULL, steps, 4);
    struct peri_op *op = request(
        &f, &(struct peri_http){
                .url = "/a", .idempotent = true, .sink = peri_writer_buf(&out, NULL), .shape = PERI_SHAPE_RAW });
    assert_int_equal(peri_op_code(op), PERI_OK);
    assert_string_equal(out.data, "for the sink");
    assert_int_equal(peri_op_shape(op), PERI_SHAPE_NONE);
    assert_int_equal(peri_op_body(op).len, 0);
    peri_op_free(op);
    static const enum peri_code ends[] = { PERI_NOT_FOUND, PERI_OK };
    static const char *const urls[] = { "/b", "/c" };
    for (size_t i = 0; i < 2; i++) {
        struct sink_end end = { 0 };
        op = request(
            &f, &(struct peri_http){ .url = urls[i], .sink = peri_writer_callback(take, finished, &end, NULL, NULL) });
        assert_int_equal(peri_op_code(op), ends[i]);
        assert_int_equal(end.result, ends[i]);
        assert_int_equal(end.finished, 1);
        peri_op_free(op);
        assert_int_equal(end.finished, 1);
    }
    peri_buf_fini(&out);
    fixture_close(&f);
}

static void test_limiter(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "GET", "/", .status = 200, .reply = "1", .times = 3 },
        { "GET", "/", .status = 429, .headers = "Retry-After: 3600\r\n", .times = 9 },
    };
    struct peri_rate_limit limit = { .requests = 1, .window_ms = 50 };
    struct peri_client_options options = { .token = "one", .rate_limit = &limit, .retry = &peri_retry_none };
    fixture_open(&f, &plain, &options, steps, 2);
    for (int i = 0; i < 3; i++)
        peri_op_free(request(&f, &(struct peri_http){ .url = "/" }));
    assert_int_equal(f.err.code, PERI_OK);
    assert_int_equal(httpd_count(f.server), 3);
    peri_op_free(request(&f, &(struct peri_http){ .url = "/" }));
    struct peri_op *op = request(&f, &(struct peri_http){ .url = "/", .timeout_ms = 1000 });
    assert_int_equal(f.err.code, PERI_RATE_LIMITED); /* at once: the deadline would pass before */
    assert_non_null(strstr(f.err.message, "after the deadline"));
    peri_op_free(op);
    op = peri_client_request(f.client, &(struct peri_http){ .url = "/" }, &f.err);
    peri_op_free(op); /* while it waits */

    limit.mode = PERI_LIMIT_FAIL;
    options.base_url = httpd_url(f.server);
    peri_client_free(f.client);
    f.client = peri_client_new(f.loop, &options, &f.err); /* the limiter has not forgotten */
    assert_non_null(f.client);
    op = request(&f, &(struct peri_http){ .url = "/", .operation = "plain.x" });
    assert_int_equal(f.err.code, PERI_RATE_LIMITED);
    assert_int_equal(f.err.status, 0);
    assert_true(f.err.retryable);
    assert_true(f.err.retry_after_ms > 1000);
    assert_int_equal(httpd_count(f.server), 4);
    peri_op_free(op);
    fixture_close(&f);
}

/* A server's 429 holds back all that share the limiter. */
static void test_429_blocks_the_limiter(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = { { "GET", "/", .status = 429, .headers = "Retry-After: 7\r\n" } };
    static const struct peri_rate_limit limit = { .requests = 100, .window_ms = 60000, .mode = PERI_LIMIT_FAIL };
    struct peri_client_options options = { .token = "two", .rate_limit = &limit };
    fixture_open(&f, &plain, &options, steps, 1);
    peri_op_free(request(&f, &(struct peri_http){ .url = "/" }));
    assert_int_equal(f.err.code, PERI_RATE_LIMITED);
    assert_int_equal(f.err.status, 429);
    assert_int_equal(f.err.retry_after_ms, 7000);
    assert_true(f.err.retryable);
    peri_op_free(request(&f, &(struct peri_http){ .url = "/" }));
    assert_int_equal(f.err.code, PERI_RATE_LIMITED);
    assert_int_equal(f.err.status, 0);
    assert_int_equal(httpd_count(f.server), 1);
    fixture_close(&f);
}

static void test_deadline(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "GET", "/slow", .status = 200, .delay_ms = 600000 },
        { "GET", "/later", .status = 503, .headers = "Retry-After: 30\r\n", .times = 9 },
    };
    struct peri_client_options options = { .timeout_ms = 3600 * 1000 };
    fixture_open(&f, &plain, &options, &steps[1], 1);
    /* the retry would come after the deadline: no use waiting for it */
    peri_op_free(request(&f, &(struct peri_http){ .url = "/later", .idempotent = true, .timeout_ms = 20000 }));
    assert_int_equal(f.err.code, PERI_UNAVAILABLE);
    assert_non_null(strstr(f.err.message, "the deadline leaves no time"));
    assert_int_equal(httpd_count(f.server), 1);
    fixture_close(&f);
    fixture_open(&f, &plain, &options, steps, 1);
    peri_op_free(request(&f, &(struct peri_http){ .url = "/slow", .idempotent = true, .timeout_ms = 50 }));
    assert_int_equal(f.err.code, PERI_TIMEOUT);
    fixture_close(&f);
}

static void test_cancel(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = { { "PUT", "/", .status = 200, .delay_ms = 600000 } };
    struct sink_end end = { 0 };
    fixture_open(&f, &plain, NULL, steps, 1);
    struct peri_op *op =
        peri_client_request(f.client,
                            &(struct peri_http){ .method = "PUT",
                                                 .url = "/",
                                                 .body = peri_reader_memory(peri_str_from("x"), NULL),
                                                 .sink = peri_writer_callback(take, finished, &end, NULL, NULL) },
                            &f.err);
    while (httpd_count(f.server) == 0)
        peri_loop_run_once(f.loop, 10, NULL);
    peri_op_cancel(op);
    assert_int_equal(peri_op_code(op), PERI_CANCELLED);
    assert_int_equal(peri_loop_active(f.loop), 0); /* all is freed before the op is */
    assert_int_equal(end.finished, 1);
    assert_int_equal(end.result, PERI_CANCELLED);
    peri_op_free(op);
    fixture_close(&f);
}

struct failure_case {
    const char *headers, *reply;
    int status;
    enum peri_code code;
    const char *message, *platform_code, *request_id;
    int64_t retry_after_ms;
};

static void test_failures(void **state)
{
    (void)state;
    static const char host[] = "perilune-version: 0.1.0\r\nperilune-call-id: 77\r\n";
    static const struct failure_case cases[] = {
        { NULL, "{\"error\":{\"code\":400,\"message\":\"m\",\"missing\":[{\"id\":3}]}}", 400, PERI_NOT_FOUND,
          "m (missing: [{\"id\":3}])", "400", "", -1 },
        { NULL, "{\"error\":{\"code\":409,\"message\":\"m\",\"duplicated\":[{\"id\":3}]}}", 409, PERI_CONFLICT,
          "m (duplicated: [{\"id\":3}])", "409", "", -1 },
        { host, "{\"error\":{\"code\":\"handler_failed\",\"message\":\"boom\"}}", 500, PERI_HANDLER_FAILED, "boom",
          "handler_failed", "77", -1 },
        { host, "{\"error\":{\"code\":\"unavailable\",\"message\":\"full\",\"retry_after_ms\":1500}}", 503,
          PERI_UNAVAILABLE, "full", "unavailable", "77", 1500 },
        { NULL, "{\"error\":{\"code\":\"handler_failed\",\"message\":\"boom\"}}", 500, PERI_SERVER, "boom",
          "handler_failed", "", -1 },
        { "x-request-id: r-1\r\nRetry-After: 5\r\n", "{\"error\":\"invalid_grant\",\"error_description\":\"why\"}", 401,
          PERI_UNAUTHORIZED, "why", "invalid_grant", "r-1", 5000 },
        { NULL, "{\"code\":\"NotAuthenticated\",\"message\":\"sign\"}", 401, PERI_UNAUTHORIZED, "sign",
          "NotAuthenticated", "", -1 },
        { NULL, "{\"detail\":[{\"loc\":[\"a\"],\"msg\":\"field required\"}]}", 422, PERI_UNPROCESSABLE,
          "field required", "", "", -1 },
        { NULL, "{\"detail\":\"d\",\"request_id\":\"r-2\"}", 403, PERI_FORBIDDEN, "d", "", "r-2", -1 },
        { NULL, "{\"error\":[1]}", 400, PERI_BAD_REQUEST, "{\"error\":[1]}", "", "", -1 },
        { NULL, "{broken", 400, PERI_BAD_REQUEST, "{broken", "", "", -1 },
        { "Content-Type: text/plain\r\n", "no such thing\n", 404, PERI_NOT_FOUND, "no such thing", "", "", -1 },
        { "Content-Type: text/html\r\n", "<html>", 500, PERI_SERVER, "the server answered with status 500", "", "",
          -1 },
        { NULL, NULL, 410, PERI_GONE, "the server answered with status 410", "", "", -1 },
    };
    struct fixture f;
    struct peri_client_options options = { .retry = &peri_retry_none };
    fixture_open(&f, &plain, &options, NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct failure_case *c = &cases[i];
        httpd_add(f.server,
                  &(struct httpd_step){ "GET", "/", .status = c->status, .headers = c->headers, .reply = c->reply });
        struct peri_op *op = request(&f, &(struct peri_http){ .url = "/", .operation = "plain.get" });
        if (f.err.code != c->code)
            fail_msg("case %zu: %s", i, peri_code_name(f.err.code));
        assert_int_equal(f.err.status, c->status);
        assert_string_equal(f.err.message, c->message);
        assert_string_equal(f.err.platform_code, c->platform_code);
        assert_string_equal(f.err.request_id, c->request_id);
        assert_string_equal(f.err.operation, "plain.get");
        assert_int_equal(f.err.retry_after_ms, c->retry_after_ms);
        assert_int_equal(f.err.retryable, c->status == 503);
        assert_int_equal(peri_op_body(op).len, c->reply ? strlen(c->reply) : 0);
        peri_op_free(op);
    }
    fixture_close(&f);
}

static void test_long_message_is_cut(void **state)
{
    (void)state;
    struct fixture f;
    char *reply = malloc(200000);
    memset(reply, 'e', 199999);
    reply[199999] = '\0';
    struct peri_client_options options = { .retry = &peri_retry_none };
    fixture_open(&f, &plain, &options, NULL, 0);
    httpd_add(f.server, &(struct httpd_step){ "GET", "/", .status = 500, .reply = reply });
    peri_op_free(request(&f, &(struct peri_http){ .url = "/" }));
    assert_int_equal(f.err.code, PERI_SERVER);
    assert_int_equal(strlen(f.err.message), 600);
    fixture_close(&f);
    free(reply);
}

static void test_options(void **state)
{
    (void)state;
    struct peri_error err;
    static const struct {
        struct peri_client_options options;
        const char *message;
    } bad[] = {
        { { .base_url = NULL }, "base_url is required" },
        { { .base_url = "ftp://x" }, "base_url: " },
        { { .base_url = "http://x/?a=b" }, "base_url: no query" },
        { { .base_url = "http://x", .token = "a b" }, "" },
        { { .base_url = "http://x", .token = "a", .token_fn = next_token }, "either token or token_fn" },
    };
    struct peri_loop *loop = peri_loop_new(&err);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(peri_client_new(loop, &bad[i].options, &err));
        assert_int_equal(err.code, PERI_INVALID);
        assert_memory_equal(err.message, bad[i].message, strlen(bad[i].message));
        assert_null(strstr(err.message, "a b"));
    }
    struct peri_client *client = peri_client_new(loop, &(struct peri_client_options){ .base_url = "http://x" }, &err);
    assert_null(peri_client_request(client, &(struct peri_http){ .method = "MUCHTOOLONGAMETHOD", .url = "/" }, &err));
    assert_int_equal(err.code, PERI_INVALID);
    assert_null(peri_client_request(client, &(struct peri_http){ .url = "http://bad host/" }, &err));
    assert_int_equal(err.code, PERI_INVALID);
    peri_client_free(client);
    peri_client_free(NULL);
    peri_loop_free(loop);
}

/* ---- bad peers: a client of cdf, whose policy tells a repeatable request from another ---- */

struct bad_case {
    const char *operation, *args;
    const struct badpeer_step *script;
    enum peri_code code;
    unsigned attempts;
};

static const struct badpeer_step refuse[] = { { .action = BADPEER_END } };
static const struct badpeer_step reset[] = { BADPEER_REQUEST, { .action = BADPEER_RESET } };
static const struct badpeer_step silent[] = { BADPEER_REQUEST, { .action = BADPEER_HANG } };
static const struct badpeer_step garbage[] = { BADPEER_REQUEST,
                                               BADPEER_SAYS("\x16\x03\x01 what?\r\n\r\n"),
                                               { .action = BADPEER_END } };
static const struct badpeer_step truncated[] = { BADPEER_REQUEST,
                                                 BADPEER_SAYS(
                                                     "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"items\":"),
                                                 { .action = BADPEER_END } };

static void run_bad(const struct bad_case *c)
{
    struct peri_error err = PERI_ERROR_INIT;
    char url[64];
    struct peri_retry_policy policy = fixture_impatient(peri_cdf.retry);
    struct peri_loop *loop = peri_loop_new(&err);
    struct badpeer *peer = c->script == refuse ? NULL : badpeer_one(c->script);
    unsigned port = peer ? badpeer_port(peer) : badpeer_closed_port();
    policy.max_attempts = 3;
    policy.max_connect_attempts = 3;
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    struct peri_client_options options = { .base_url = url,
                                           .project = "demo",
                                           .token = "secret-token",
                                           .retry = &policy,
                                           .first_byte_timeout_ms = c->script == silent ? 50 : 0 };
    struct peri_client *client = peri_client_new(loop, &options, &err);
    assert_non_null(client);
    json_t *args = json_loads(c->args, 0, NULL);
    struct peri_op *op = peri_service_call(client, &peri_cdf, c->operation, args, NULL, &err);
    assert_non_null(op);
    peri_op_wait(op, &err);
    if (err.code != c->code || peri_op_attempts(op) != c->attempts)
        fail_msg("%s: %s after %u attempts: %s", c->operation, peri_code_name(err.code), peri_op_attempts(op),
                 err.message);
    assert_int_equal(err.status, 0);
    assert_true(err.message[0] != '\0');
    assert_null(strstr(err.message, "secret-token"));
    peri_op_free(op);
    json_decref(args);
    peri_client_free(client);
    assert_int_equal(peri_loop_active(loop), 0);
    peri_loop_free(loop);
    if (peer)
        badpeer_free(peer);
}

static void test_bad_peers(void **state)
{
    (void)state;
    static const char call[] = "{\"id\":1,\"nonce\":\"n\",\"wait\":false}";
    static const struct bad_case cases[] = {
        { "functions.list", "{}", refuse, PERI_CONNECT, 3 },
        { "functions.call", call, refuse, PERI_CONNECT, 3 }, /* nothing was sent */
        { "functions.list", "{}", reset, PERI_TRUNCATED, 3 },
        { "functions.call", call, reset, PERI_TRUNCATED, 1 }, /* it may have been received: never twice */
        { "functions.list", "{}", silent, PERI_TIMEOUT, 3 },
        { "functions.call", call, silent, PERI_TIMEOUT, 1 },
        { "functions.list", "{}", truncated, PERI_TRUNCATED, 3 },
        { "functions.call", call, truncated, PERI_TRUNCATED, 1 },
        { "functions.list", "{}", garbage, PERI_PROTOCOL, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run_bad(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_and_headers),
        cmocka_unit_test(test_credentials_stay_home),
        cmocka_unit_test(test_token_before_each_attempt),
        cmocka_unit_test(test_retry_rewinds_the_body),
        cmocka_unit_test(test_body_that_cannot_rewind),
        cmocka_unit_test(test_sink),
        cmocka_unit_test(test_limiter),
        cmocka_unit_test(test_429_blocks_the_limiter),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_long_message_is_cut),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_bad_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
