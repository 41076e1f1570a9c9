/* SPDX-License-Identifier: MIT */
/* part: net */
/* What the transport makes of peers that misbehave. */
#include "support/badpeer.h"
#include "support/exchange.h"

#include <stdio.h>

static struct net *net;
static struct got got;

static int setup(void **state)
{
    (void)state;
    net = net_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    got_fini(&got);
    net_free(net);
    return 0;
}

/* One exchange with a peer that plays the script. */
static enum peri_code against(const struct badpeer_step *script, struct peri_request request)
{
    struct badpeer *peer = badpeer_one(script);
    char place[32];
    request.url = badpeer_url(peer, "/x?token=hush");
    snprintf(place, sizeof(place), "127.0.0.1:%u", badpeer_port(peer));
    enum peri_code code = net_fetch(net, &request, &got);
    if (code != PERI_OK) {
        assert_non_null(strstr(got.result.error.message, place));
    }
    badpeer_free(peer);
    return code;
}

struct fault {
    const char *name, *answer;
    size_t length;
    enum peri_code code;
};

static void test_answers(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        { "short by length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", 0, PERI_TRUNCATED },
        { "short chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n12345", 0, PERI_TRUNCATED },
        { "no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", 0, PERI_TRUNCATED },
        { "bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n12345\r\n0\r\n\r\n", 0,
          PERI_TRUNCATED },
        { "no answer", "", 0, PERI_TRUNCATED },
        { "header cut", "HTTP/1.1 200 OK\r\nContent-Le", 0, PERI_TRUNCATED },
        { "garbage", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", 0, PERI_PROTOCOL },
        { "binary", "\x15\x03\x01\x00\x02\x02\x46", 7, PERI_PROTOCOL },
        { "no colon", "HTTP/1.1 200 OK\r\nwhat is this\r\n\r\n", 0, PERI_PROTOCOL },
        { "blank in a name", "HTTP/1.1 200 OK\r\nA b: c\r\nContent-Length: 0\r\n\r\n", 0, PERI_PROTOCOL },
        { "NUL in a header", "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n", 46, PERI_PROTOCOL },
        { "bad length", "HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n1234567890", 0, PERI_PROTOCOL },
        { "gzip garbage", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\nnot gzip ...", 0,
          PERI_PROTOCOL },
        { "unknown coding", "HTTP/1.1 200 OK\r\nContent-Encoding: rot13\r\nContent-Length: 2\r\n\r\nhi", 0,
          PERI_PROTOCOL },
        { "HTTP/3 from nowhere", "HTTP/7.3 200 OK\r\nContent-Length: 0\r\n\r\n", 0, PERI_PROTOCOL },
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
        const struct badpeer_step script[] = {
            BADPEER_REQUEST,
            { .action = BADPEER_SEND, .text = faults[i].answer, .length = faults[i].length },
            { .action = BADPEER_END },
        };
        enum peri_code code = against(script, (struct peri_request){ 0 });
        if (code != faults[i].code) {
            fail_msg("%s: %s, not %s (%s)", faults[i].name, peri_code_name(code), peri_code_name(faults[i].code),
                     got.result.error.message);
        }
        assert_true(got.result.anything_sent);
        assert_false(got.result.reused);
        assert_int_equal(got.result.body.len, 0);
    }
}

/* Over-long bodies, early ends and interim answers that are right all the same. */
static void test_odd_but_right(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *body;
        int status;
    } cases[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi, and more than that", "hi", 200 },
        { "HTTP/1.0 200 OK\r\n\r\nto the end", "to the end", 200 },
        { "HTTP/1.1 100 Continue\r\nX: no\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: no\r\n\r\nHTTP/1.1 201 Made\r\nY: "
          "yes\r\nContent-Length: 1\r\n\r\n!",
          "!", 201 },
        { "HTTP/1.1 204 No Content\r\nY: yes\r\n\r\n", "", 204 },
        { "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 3\r\n\r\nbye", "bye", 302 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: "
          "late\r\n\r\n",
          "abc", 200 },
        { "HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n", "", 500 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct badpeer_step script[] = { BADPEER_REQUEST, BADPEER_SAYS(cases[i].answer), { 0 } };
        assert_int_equal(against(script, (struct peri_request){ 0 }), PERI_OK);
        assert_int_equal(got.result.status, cases[i].status);
        assert_int_equal(got.result.body.len, strlen(cases[i].body));
        if (*cases[i].body) {
            assert_string_equal(got.result.body.data, cases[i].body);
        }
        assert_null(peri_headers_get(&got.result.headers, "X"));
        assert_null(peri_headers_get(&got.result.headers, "T")); /* trailers are not headers */
        assert_int_equal(got.result.http_version, i == 1 ? 10 : 11);
        assert_int_equal(got.result.bytes_received, strlen(cases[i].body));
    }
}

static void test_resets(void **state)
{
    (void)state;
    static const struct badpeer_step before[] = { BADPEER_REQUEST, { .action = BADPEER_RESET } };
    static const struct badpeer_step amid[] = { BADPEER_REQUEST,
                                                BADPEER_SAYS("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123"),
                                                { .action = BADPEER_SLEEP, .number = 20 },
                                                { .action = BADPEER_RESET } };
    assert_int_equal(against(before, (struct peri_request){ 0 }), PERI_TRUNCATED);
    assert_true(got.result.anything_sent);
    assert_true(got.result.error.retryable);
    assert_int_equal(against(amid, (struct peri_request){ 0 }), PERI_TRUNCATED);
}

static void test_not_reached(void **state)
{
    (void)state;
    char url[80];
    unsigned port = badpeer_closed_port();
    snprintf(url, sizeof(url), "http://me@127.0.0.1:%u/x?hush", port);
    assert_int_equal(net_get(net, url, &got), PERI_CONNECT);
    assert_false(got.result.anything_sent);
    assert_true(got.result.error.retryable);
    assert_non_null(strstr(got.result.error.message, "refused"));
    assert_null(strstr(got.result.error.message, "me@"));
    assert_int_equal(net_get(net, "http://no-such-host.invalid/?hush", &got), PERI_RESOLVE);
    assert_false(got.result.anything_sent);
    assert_non_null(strstr(got.result.error.message, "no-such-host.invalid:80"));
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", port);
    assert_int_equal(net_get(net, url, &got), PERI_CONNECT);
}

static void test_not_tls(void **state)
{
    (void)state;
    static const struct badpeer_step script[] = { { .action = BADPEER_SEND, .text = "HTTP/1.1 400 Bad\r\n\r\n" },
                                                  { 0 } };
    struct badpeer *peer = badpeer_one(script);
    char url[80];
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", badpeer_port(peer));
    assert_int_equal(net_get(net, url, &got), PERI_TLS);
    assert_false(got.result.anything_sent);
    badpeer_free(peer);
}

static void test_endless_headers(void **state)
{
    (void)state;
    static char line[4096];
    memset(line, 'a', sizeof(line) - 1);
    mempcpy(line, "X: ", 3);
    mempcpy(line + sizeof(line) - 3, "\r\n", 2);
    const struct badpeer_step many[] = { BADPEER_REQUEST,
                                         BADPEER_SAYS("HTTP/1.1 200 OK\r\n"),
                                         { .action = BADPEER_REPEAT, .text = line, .number = 100000 },
                                         { 0 } };
    assert_int_equal(against(many, (struct peri_request){ 0 }), PERI_TOO_LARGE);
    const struct badpeer_step small[] = { BADPEER_REQUEST,
                                          BADPEER_SAYS("HTTP/1.1 200 OK\r\n"),
                                          { .action = BADPEER_REPEAT, .text = "a:\r\n", .number = 1000000 },
                                          { 0 } };
    assert_int_equal(against(small, (struct peri_request){ 0 }), PERI_TOO_LARGE);
    const struct badpeer_step one[] = { BADPEER_REQUEST,
                                        BADPEER_SAYS("HTTP/1.1 200 OK\r\nX: "),
                                        { .action = BADPEER_REPEAT, .text = "aaaaaaaa", .number = 1000000 },
                                        { 0 } };
    assert_int_equal(against(one, (struct peri_request){ 0 }), PERI_TOO_LARGE);
    const struct badpeer_step status[] = { BADPEER_REQUEST,
                                           { .action = BADPEER_REPEAT, .text = "HTTP/1.1 ", .number = 1000000 },
                                           { 0 } };
    assert_int_equal(against(status, (struct peri_request){ 0 }), PERI_TOO_LARGE);
}

static void test_body_limit(void **state)
{
    (void)state;
    const struct badpeer_step script[] = { BADPEER_REQUEST,
                                           BADPEER_SAYS("HTTP/1.1 200 OK\r\n\r\n"),
                                           { .action = BADPEER_REPEAT, .text = "12345678", .number = 100000 },
                                           { 0 } };
    assert_int_equal(against(script, (struct peri_request){ .max_body = 100000 }), PERI_TOO_LARGE);
    assert_non_null(strstr(got.result.error.message, "100000"));
    assert_false(got.result.error.retryable);
    const struct badpeer_step exact[] = { BADPEER_REQUEST,
                                          BADPEER_SAYS("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678"),
                                          { 0 } };
    assert_int_equal(against(exact, (struct peri_request){ .max_body = 8 }), PERI_OK);
    assert_int_equal(against(exact, (struct peri_request){ .max_body = 7 }), PERI_TOO_LARGE);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    static const struct badpeer_step script[] = {
        BADPEER_REQUEST,
        { .action = BADPEER_DRIP,
          .text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
          .number = 1 },
        { 0 },
    };
    assert_int_equal(against(script, (struct peri_request){ 0 }), PERI_OK);
    assert_string_equal(got.result.body.data, "abcde");
    assert_string_equal(peri_headers_get(&got.result.headers, "a"), "b");
}

static int64_t in_ms(int64_t ms)
{
    return peri_clock_monotonic_ms(peri_loop_clock(net->loop)) + ms;
}

static enum peri_code endless_zeros(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    (void)data;
    (void)err;
    memset(out, 0, cap);
    *n = cap;
    return PERI_OK;
}

static enum peri_code stalled_upload(void)
{
    static const struct badpeer_step deaf[] = { BADPEER_REQUEST, { .action = BADPEER_SLEEP, .number = 60000 } };
    struct peri_error err;
    struct peri_reader *body = peri_reader_callback(endless_zeros, NULL, INT64_C(1) << 40, NULL, NULL, &err);
    enum peri_code code = against(deaf, (struct peri_request){ .method = "PUT", .body = body, .stall_timeout_ms = 50 });
    peri_reader_free(body);
    return code;
}

static void test_deadlines(void **state)
{
    (void)state;
    static const struct badpeer_step silent[] = { { .action = BADPEER_HANG } };
    static const struct badpeer_step slow[] = { BADPEER_REQUEST,
                                                BADPEER_SAYS("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1"),
                                                { .action = BADPEER_HANG } };
    assert_int_equal(against(silent, (struct peri_request){ .first_byte_timeout_ms = 30 }), PERI_TIMEOUT);
    assert_non_null(strstr(got.result.error.message, "first-byte"));
    assert_true(got.result.anything_sent);
    assert_int_equal(against(silent, (struct peri_request){ .first_byte_timeout_ms = 60000, .deadline_ms = in_ms(30) }),
                     PERI_TIMEOUT);
    assert_non_null(strstr(got.result.error.message, "total"));
    assert_int_equal(against(slow, (struct peri_request){ .first_byte_timeout_ms = 20, .deadline_ms = in_ms(200) }),
                     PERI_TIMEOUT);
    assert_non_null(strstr(got.result.error.message, "total")); /* the first byte came in time */
    /* its body stands still; one that trickles does not */
    assert_int_equal(against(slow, (struct peri_request){ .stall_timeout_ms = 30, .deadline_ms = in_ms(60000) }),
                     PERI_TIMEOUT);
    assert_non_null(strstr(got.result.error.message, "stall"));
    static const struct badpeer_step trickle[] = {
        BADPEER_REQUEST,
        { .action = BADPEER_DRIP, .number = 20, .text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789" },
        { .action = BADPEER_END }
    };
    assert_int_equal(against(trickle, (struct peri_request){ .stall_timeout_ms = 5000 }), PERI_OK);
    /* nor does the request's body move, when the peer takes nothing more of it */
    assert_int_equal(stalled_upload(), PERI_TIMEOUT);
    assert_non_null(strstr(got.result.error.message, "stall"));
    assert_int_equal(against(silent, (struct peri_request){ .deadline_ms = in_ms(-5) }), PERI_TIMEOUT);
    assert_false(got.result.anything_sent); /* was over before it began */
}

static void test_connect_deadline(void **state)
{
    (void)state;
    /* A peer that accepts and never speaks TLS. */
    static const struct badpeer_step silent[] = { { .action = BADPEER_HANG } };
    struct badpeer *peer = badpeer_one(silent);
    char url[80];
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", badpeer_port(peer));
    assert_int_equal(net_fetch(net, &(struct peri_request){ .url = url, .connect_timeout_ms = 50 }, &got),
                     PERI_TIMEOUT);
    assert_non_null(strstr(got.result.error.message, "connect"));
    assert_non_null(strstr(got.result.error.message, "50 ms"));
    assert_false(got.result.anything_sent);
    badpeer_free(peer);
}

/* A kept connection that dies under the next request. */
static void test_kept_connection_dies(void **state)
{
    (void)state;
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    static const struct badpeer_step dies[] = {
        BADPEER_REQUEST, BADPEER_SAYS(ANSWER), BADPEER_REQUEST, { .action = BADPEER_RESET }
    };
    static const struct badpeer_step lives[] = {
        BADPEER_REQUEST, BADPEER_SAYS(ANSWER), BADPEER_REQUEST, BADPEER_SAYS(ANSWER), { .action = BADPEER_HANG }
    };
    static const struct badpeer_step *const scripts[] = { dies, lives };
    struct badpeer *peer = badpeer_new(scripts, 2);
    const char *url = badpeer_url(peer, "/");
    assert_int_equal(net_get(net, url, &got), PERI_OK);
    assert_false(got.result.reused);
    assert_int_equal(net_get(net, url, &got), PERI_OK); /* repeated on a new connection: GET may be */
    assert_false(got.result.reused);
    assert_int_equal(net_get(net, url, &got), PERI_OK);
    assert_true(got.result.reused);
    peri_transport_free(net->transport);
    net->transport = peri_transport_new(net->loop, NULL, NULL);
    assert_int_equal(badpeer_free(peer), 2);

    peer = badpeer_new(scripts, 2);
    url = badpeer_url(peer, "/");
    assert_int_equal(net_get(net, url, &got), PERI_OK);
    struct peri_reader *body = peri_reader_borrowed(peri_str_from("{}"), NULL);
    assert_int_equal(net_fetch(net, &(struct peri_request){ .url = url, .method = "POST", .body = body }, &got),
                     PERI_TRUNCATED); /* POST may have been carried out: not sent twice */
    assert_true(got.result.anything_sent);
    assert_non_null(strstr(got.result.error.message, "twice"));
    peri_reader_free(body);
    size_t length;
    char *seen = badpeer_seen(peer, &length);
    char *first = strstr(seen, "POST ");
    assert_non_null(first);
    assert_null(strstr(first + 1, "POST "));
    free(seen);
    badpeer_free(peer);
}

/* A kept connection that was closed while idle is noticed before anything is sent. */
static void test_kept_connection_closed(void **state)
{
    (void)state;
    static const struct badpeer_step closes[] = { BADPEER_REQUEST, BADPEER_SAYS(ANSWER), { 0 } };
    struct badpeer *peer = badpeer_one(closes);
    const char *url = badpeer_url(peer, "/");
    assert_int_equal(net_get(net, url, &got), PERI_OK);
    for (int i = 0; i < 5; i++) {
        peri_loop_run_once(net->loop, 10, NULL); /* the end of the connection arrives */
    }
    struct peri_reader *body = peri_reader_borrowed(peri_str_from("{}"), NULL);
    assert_int_equal(net_fetch(net, &(struct peri_request){ .url = url, .method = "POST", .body = body }, &got),
                     PERI_OK);
    assert_false(got.result.reused);
    peri_reader_free(body);
    assert_int_equal(badpeer_free(peer), 2);
}

static void test_bad_requests(void **state)
{
    (void)state;
    static const struct peri_request bad[] = {
        { .url = "" },
        { .url = "ftp://127.0.0.1/" },
        { .url = "file:///etc/passwd" },
        { .url = "http://me:hush@127.0.0.1/" },
        { .url = "http://127.0.0.1/a b" },
        { .url = "http://127.0.0.1/", .method = "GET / HTTP/1.1\r\nX:" },
        { .url = "http://127.0.0.1/", .method = "" },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct peri_error err = PERI_ERROR_INIT;
        assert_null(peri_exchange_start(net->transport, &bad[i], got_done, &got, &err));
        assert_int_equal(err.code, PERI_INVALID);
        assert_null(strstr(err.message, "hush"));
    }
    assert_int_equal(got.calls, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_answers),
        TEST(test_odd_but_right),
        TEST(test_resets),
        TEST(test_not_reached),
        TEST(test_not_tls),
        TEST(test_endless_headers),
        TEST(test_body_limit),
        TEST(test_byte_by_byte),
        TEST(test_deadlines),
        TEST(test_connect_deadline),
        TEST(test_kept_connection_dies),
        TEST(test_kept_connection_closed),
        TEST(test_bad_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
