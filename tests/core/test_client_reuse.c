/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include "perilune/client.h"

#include <stdio.h>

/* What one request leaves for the next: connections, memory, and what its URL stands for. */

static const struct peri_service plain = { .name = "plain", .retry = &peri_retry_none };

/* Many requests made in step: between two rounds none is under way, and yet no connection is given up. */
static void test_connections_between_rounds(void **state)
{
    (void)state;
    enum { MANY = 40, ROUNDS = 3 };
    struct fixture f;
    static const struct httpd_step answer = { "GET", "/", .status = 200, .times = MANY * ROUNDS };
    fixture_open(&f, &plain, NULL, &answer, 1);
    struct peri_transport_options few = { .max_connections = 1 };
    struct peri_transport *transport = peri_transport_new(f.loop, &few, &f.err);
    struct peri_client_options options = { .base_url = httpd_url(f.server), .transport = transport };
    struct peri_client *client = peri_client_new(f.loop, &options, &f.err);
    struct peri_op *ops[MANY];
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            ops[i] = peri_client_request(client, &(struct peri_http){ .url = "/" }, &f.err);
            assert_non_null(ops[i]);
        }
        for (unsigned i = 0; i < MANY; i++) {
            assert_int_equal(peri_op_wait(ops[i], &f.err), PERI_OK);
            peri_op_free(ops[i]);
        }
    }
    unsigned connections = 0;
    for (size_t i = 0; i < MANY * ROUNDS; i++) {
        unsigned number = httpd_request(f.server, i)->connection;
        connections = number > connections ? number : connections;
    }
    assert_int_equal(connections, MANY);
    peri_client_free(client);
    peri_transport_free(transport);
    fixture_close(&f);
}

static void check_answer(struct fixture *f, const char *url, const char *header, const char *expected)
{
    struct peri_headers headers;
    peri_headers_init(&headers);
    if (header)
        peri_headers_set(&headers, header, "1");
    struct peri_http http = { .url = url, .headers = &headers, .operation = header };
    struct peri_op *op = peri_client_request(f->client, &http, &f->err);
    if (!op)
        fail_msg("%s", f->err.message);
    peri_op_wait(op, &f->err);
    assert_int_equal(peri_op_body(op).len, strlen(expected));
    assert_memory_equal(peri_op_body(op).data, expected, strlen(expected));
    assert_string_equal(peri_op_error(op)->operation, header ? header : "");
    peri_op_free(op);
    peri_headers_fini(&headers);
}

/* Nothing of a request shows in the next one, which has its memory. */
static void test_nothing_shows_in_the_next(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "GET", "/long", .status = 200, .reply = "a long answer", .headers = "X-There: yes\r\n" },
        { "GET", "/fails", .status = 500, .reply = "why" },
        { "GET", "/empty", .status = 200 },
    };
    fixture_open(&f, &plain, NULL, steps, 3);
    check_answer(&f, "/long", "X-First", "a long answer");
    check_answer(&f, "/fails", "X-Second", "why");
    struct peri_op *op = peri_client_request(f.client, &(struct peri_http){ .url = "/empty" }, &f.err);
    assert_int_equal(peri_op_code(op), PERI_BUSY);
    assert_int_equal(peri_op_body(op).len, 0);
    assert_int_equal(peri_op_headers(op)->count, 0);
    assert_int_equal(peri_op_error(op)->code, PERI_OK);
    assert_string_equal(peri_op_error(op)->message, "");
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    assert_null(peri_headers_get(peri_op_headers(op), "X-There"));
    peri_op_free(op);
    char value[8];
    assert_true(httpd_header(httpd_request(f.server, 1), "X-Second", value, sizeof value));
    assert_false(httpd_header(httpd_request(f.server, 1), "X-First", value, sizeof value));
    assert_false(httpd_header(httpd_request(f.server, 2), "X-Second", value, sizeof value));
    fixture_close(&f);
}

/* A URL is read once for requests that follow each other: another one, or a wrong one, is read again. */
static void test_url_again(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step home = { "GET", "/x", .status = 200, .reply = "home", .times = 4 };
    static const struct httpd_step away = { "GET", "/x", .status = 200, .reply = "away", .times = 2 };
    struct httpd *other = httpd_start(&away, 1);
    fixture_open(&f, &plain, NULL, &home, 1);
    char url[128], value[32];
    snprintf(url, sizeof url, "%s/x", httpd_url(other));
    check_answer(&f, "/x", NULL, "home");
    check_answer(&f, "/x", NULL, "home");
    check_answer(&f, url, NULL, "away");
    check_answer(&f, url, NULL, "away");
    check_answer(&f, "/x", NULL, "home");
    for (int i = 0; i < 2; i++) {
        assert_null(peri_client_request(f.client, &(struct peri_http){ .url = "http://a b/" }, &f.err));
        assert_int_equal(f.err.code, PERI_INVALID);
    }
    check_answer(&f, "/x", NULL, "home");
    for (size_t i = 0; i < 4; i++)
        assert_true(httpd_header(httpd_request(f.server, i), "Authorization", value, sizeof value));
    for (size_t i = 0; i < 2; i++)
        assert_false(httpd_header(httpd_request(other, i), "Authorization", value, sizeof value));
    fixture_close(&f);
    httpd_stop(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_between_rounds),
        cmocka_unit_test(test_nothing_shows_in_the_next),
        cmocka_unit_test(test_url_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
