/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include <stdio.h>

#include "perilune/cdf.h"
#include "support/alloc_fail.h"

/* Tokens by OAuth: one request for all that wait, before the last one's end; a failure goes to all. */

#define ANSWER "{\"access_token\":\"AT1\",\"expires_in\":3600}"
#define WAITERS 50

static int64_t now;

static void open_with(struct fixture *f, const struct httpd_step *steps, size_t count, const char *token_path,
                      int64_t timeout_ms)
{
    char token_url[256];
    struct peri_retry_policy once = peri_retry_none;
    now = 1000000;
    fixture_open(f, &peri_cdf, NULL, steps, count);
    peri_client_free(f->client);
    snprintf(token_url, sizeof token_url, "%s%s", httpd_url(f->server), token_path);
    struct peri_oauth_options oauth = { .token_url = token_url, .client_id = "cid", .client_secret = "top-secret" };
    struct peri_client_options options = {
        .base_url = httpd_url(f->server), .project = "demo", .oauth = &oauth, .retry = &once, .timeout_ms = timeout_ms
    };
    f->client = peri_client_new(f->loop, &options, &f->err);
    assert_non_null(f->client);
}

static struct peri_op *start(struct fixture *f)
{
    struct peri_op *op =
        peri_client_request(f->client, &(struct peri_http){ .url = "/x", .operation = "cdf.x" }, &f->err);
    assert_non_null(op);
    return op;
}

static void assert_bearer(struct fixture *f, size_t i, const char *expected)
{
    char value[64];
    assert_true(httpd_header(httpd_request(f->server, i), "Authorization", value, sizeof value));
    assert_string_equal(value, expected);
}

static void test_one_request_for_many(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_op *ops[WAITERS];
    static const struct httpd_step steps[] = {
        { "POST", "/token", .status = 200, .reply = ANSWER, .delay_ms = 30 },
        { "GET", "/x", .status = 200, .times = WAITERS + 1 },
        { "POST", "/token", .status = 200, .reply = "{\"access_token\":\"AT2\",\"expires_in\":3600}" },
        { "GET", "/x", .status = 200 },
    };
    open_with(&f, steps, 4, "/token", 0);
    peri_loop_set_clock(f.loop, peri_clock_manual(&now));
    for (size_t i = 0; i < WAITERS; i++)
        ops[i] = start(&f);
    for (size_t i = 0; i < WAITERS; i++) {
        assert_int_equal(peri_op_wait(ops[i], &f.err), PERI_OK);
        assert_int_equal(peri_op_attempts(ops[i]), 1);
        peri_op_free(ops[i]);
    }
    assert_int_equal(httpd_count(f.server), WAITERS + 1);
    for (size_t i = 1; i <= WAITERS; i++)
        assert_bearer(&f, i, "Bearer AT1");
    now += 3600 * 1000 - PERI_OAUTH_LEEWAY_MS - 1; /* the token still serves */
    struct peri_op *op = start(&f);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    peri_op_free(op);
    assert_bearer(&f, WAITERS + 1, "Bearer AT1");
    now += 1; /* now it is renewed */
    op = start(&f);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    peri_op_free(op);
    assert_bearer(&f, WAITERS + 3, "Bearer AT2");
    assert_int_equal(httpd_unused(f.server), 0);
    fixture_close(&f);
}

/* A token that lives for no time at all serves those that waited for it, and is asked for again by the next. */
static void test_short_lived(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "POST", "/token", .status = 200, .reply = "{\"access_token\":\"AT1\",\"expires_in\":0}", .times = 2 },
        { "GET", "/x", .status = 200, .times = 2 },
    };
    open_with(&f, steps, 2, "/token", 0);
    for (int i = 0; i < 2; i++) {
        struct peri_op *op = start(&f);
        assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
        peri_op_free(op);
    }
    assert_int_equal(httpd_unused(f.server), 0);
    fixture_close(&f);
}

static void test_failure_goes_to_all(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum peri_code code;
        const char *reply, *part;
    } failures[] = {
        { 401, PERI_UNAUTHORIZED, "{\"error\":\"invalid_client\",\"error_description\":\"no such client\"}",
          "no such client" },
        { 400, PERI_UNAUTHORIZED, "{\"error\":\"invalid_scope\"}", "invalid_scope" },
        { 503, PERI_UNAVAILABLE, "", "status 503" },
        { 200, PERI_PROTOCOL, "<html>", "not JSON" },
    };
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        struct fixture f;
        struct peri_op *ops[3];
        struct httpd_step steps[] = { { "POST", "/token", .status = failures[i].status, .reply = failures[i].reply },
                                      { "POST", "/token", .status = 200, .reply = ANSWER },
                                      { "GET", "/x", .status = 200 } };
        open_with(&f, steps, 3, "/token", 0);
        for (size_t k = 0; k < 3; k++)
            ops[k] = start(&f);
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(peri_op_wait(ops[k], &f.err), failures[i].code);
            assert_memory_equal(f.err.message, "no token from http://127.0.0.1:", 31);
            assert_non_null(strstr(f.err.message, failures[i].part));
            assert_null(strstr(f.err.message, "top-secret"));
            assert_string_equal(f.err.operation, "cdf.x");
            peri_op_free(ops[k]);
        }
        assert_int_equal(httpd_count(f.server), 1);
        struct peri_op *op = start(&f); /* the next one asks again */
        assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
        peri_op_free(op);
        fixture_close(&f);
    }
}

/* Those that wait may go: by their deadline, cancelled, freed; the client too, while the request is under way. */
static void test_waiters_leave(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = { { "POST", "/token", .status = 200, .reply = ANSWER, .delay_ms = 200 } };
    open_with(&f, steps, 1, "/token", 0);
    struct peri_op *late = peri_client_request(f.client, &(struct peri_http){ .url = "/x", .timeout_ms = 20 }, &f.err);
    struct peri_op *cancelled = start(&f);
    struct peri_op *freed = start(&f);
    assert_int_equal(peri_op_wait(late, &f.err), PERI_TIMEOUT);
    peri_op_cancel(cancelled);
    peri_op_free(freed);
    peri_op_free(cancelled);
    peri_op_free(late);
    fixture_close(&f);
}

static void free_other(void *data, struct peri_op *op)
{
    (void)op;
    struct peri_op **other = data;
    peri_op_free(*other);
    *other = NULL;
}

/* A callback of one may end another that waits for the same token. */
static void test_callback_frees_another(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = { { "POST", "/token", .status = 401 } };
    open_with(&f, steps, 1, "/token", 0);
    struct peri_op *first = start(&f);
    struct peri_op *second = start(&f);
    peri_op_on_done(first, free_other, &second);
    assert_int_equal(peri_op_wait(first, &f.err), PERI_UNAUTHORIZED);
    assert_null(second);
    peri_op_free(first);
    fixture_close(&f);
}

static void test_options(void **state)
{
    (void)state;
    struct peri_error err;
    struct peri_loop *loop = peri_loop_new(&err);
    struct peri_oauth_options oauth = { .token_url = "https://x", .client_id = "i", .client_secret = "s" };
    struct peri_client_options options = { .base_url = "https://x", .oauth = &oauth, .token = "t" };
    assert_null(peri_client_new(loop, &options, &err));
    assert_string_equal(err.message, "either a token or credentials, not both");
    options.token = NULL;
    oauth.client_id = NULL;
    assert_null(peri_client_new(loop, &options, &err));
    assert_string_equal(err.message, "credentials: 'client_id' is required");
    peri_loop_free(loop);
}

/* The token never goes to another origin; asking for it takes no place in the rate limit, which outlives it. */
static void test_origin_and_limit(void **state)
{
    (void)state;
    struct fixture f;
    char url[128];
    char value[64];
    static const struct httpd_step steps[] = {
        { "POST", "/token", .status = 200, .reply = "{\"access_token\":\"AT1\",\"expires_in\":0}" },
        { "POST", "/token", .status = 200, .reply = "{\"access_token\":\"AT2\",\"expires_in\":0}" },
        { "GET", "/x", .status = 200 },
    };
    static const struct httpd_step put = { "PUT", "/up", .status = 200 };
    struct httpd *storage = httpd_start(&put, 1);
    open_with(&f, steps, 3, "/token", 0);
    struct peri_rate_limit limit = { .requests = 1, .window_ms = 3600 * 1000, .mode = PERI_LIMIT_FAIL };
    struct peri_oauth_options oauth = { .client_id = "i", .client_secret = "s" };
    snprintf(url, sizeof url, "%s/token", httpd_url(f.server));
    oauth.token_url = url;
    struct peri_client_options options = { .base_url = httpd_url(f.server), .oauth = &oauth, .rate_limit = &limit };
    struct peri_client *limited = peri_client_new(f.loop, &options, &f.err);
    struct peri_op *op = peri_client_request(limited, &(struct peri_http){ .url = "/x" }, &f.err);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    peri_op_free(op);
    op = peri_client_request(limited, &(struct peri_http){ .url = "/x" }, &f.err);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_RATE_LIMITED);
    peri_op_free(op);
    peri_client_free(limited);
    snprintf(url, sizeof url, "%s/up", httpd_url(storage));
    op = peri_client_request(f.client, &(struct peri_http){ .method = "PUT", .url = url }, &f.err);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK); /* and asks for no token */
    assert_false(httpd_header(httpd_request(storage, 0), "Authorization", value, sizeof value));
    peri_op_free(op);
    fixture_close(&f);
    httpd_stop(storage);
}

static void test_memory(void **state)
{
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    static const struct httpd_step steps[] = {
        { "GET", "/warm", .status = 200 },
        { "POST", "/token", .status = 200, .reply = ANSWER },
        { "GET", "/x", .status = 200 },
    };
    bool hit = true;
    unsigned failures = 0;
    for (unsigned n = 1; hit; n++) {
        struct fixture f;
        struct peri_error err = PERI_ERROR_INIT;
        open_with(&f, steps, 3, "/token", 60);
        struct peri_op *op = peri_client_request(
            f.client, &(struct peri_http){ .url = "/warm", .no_auth = true, .timeout_ms = 60000 }, &err);
        assert_int_equal(peri_op_wait(op, &err), PERI_OK); /* libuv ends the process when its first table can't grow */
        peri_op_free(op);
        alloc_fail_at(n);
        op = peri_client_request(f.client, &(struct peri_http){ .url = "/x" }, &err);
        enum peri_code code = op ? peri_op_wait(op, &err) : err.code;
        hit = alloc_fail_stop();
        failures += code != PERI_OK;
        if (!hit)
            assert_int_equal(code, PERI_OK);
        peri_op_free(op);
        fixture_close(&f);
    }
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_request_for_many),   cmocka_unit_test(test_short_lived),
        cmocka_unit_test(test_failure_goes_to_all),    cmocka_unit_test(test_waiters_leave),
        cmocka_unit_test(test_callback_frees_another), cmocka_unit_test(test_options),
        cmocka_unit_test(test_origin_and_limit),       cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
