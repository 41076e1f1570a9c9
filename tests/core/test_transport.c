/* SPDX-License-Identifier: MIT */
/* part: net */
#include "support/badpeer.h"
#include "support/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static struct net *net;
static struct got got;

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

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

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("no \"%s\" in \"%s\"", part, text);
    }
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part)) {
        fail_msg("\"%s\" in \"%s\"", part, text);
    }
}

/* What a request looks like on the wire; `last` is how it ends. */
static char *wire_of(struct peri_request request, const char *last, const char *answer)
{
    const struct badpeer_step script[] = { { .action = BADPEER_EXPECT, .text = last }, BADPEER_SAYS(answer), { 0 } };
    struct badpeer *peer = badpeer_one(script);
    request.url = badpeer_url(peer, "/a/../b%2f?q=1#frag");
    assert_int_equal(net_fetch(net, &request, &got), PERI_OK);
    char *seen = badpeer_seen(peer, NULL);
    badpeer_free(peer);
    return seen;
}

/* One handle serves them all in turn: nothing of one request may show in the next. */
static void test_wire(void **state)
{
    (void)state;
    struct peri_headers headers;
    peri_headers_init(&headers);
    peri_headers_set(&headers, "X-One", "1");
    peri_headers_set(&headers, "X-Empty", "");
    peri_headers_set(&headers, "Accept-Encoding", "rot13");
    peri_headers_set(&headers, "Expect", "100-continue");
    peri_headers_set(&headers, "Content-Length", "999");
    peri_headers_set(&headers, "Transfer-Encoding", "chunked");

    char *seen = wire_of((struct peri_request){ .headers = &headers }, "\r\n\r\n", OK_ANSWER);
    assert_contains(seen, "GET /a/../b%2f?q=1 HTTP/1.1\r\n"); /* not normalised; no fragment */
    assert_contains(seen, "\r\nX-One: 1\r\n");
    assert_contains(seen, "\r\nX-Empty:\r\n");
    assert_contains(seen, "gzip");
    assert_contains(seen, ", br");
    assert_lacks(seen, "rot13");
    assert_lacks(seen, "Expect");
    assert_lacks(seen, "Content-Length");
    assert_lacks(seen, "Transfer-Encoding");
    assert_lacks(seen, "Content-Type");
    assert_true(got.result.anything_sent);
    assert_int_equal(got.result.bytes_sent, 0);
    free(seen);

    struct peri_reader *body = peri_reader_memory(peri_str_from("{\"a\":1}"), NULL);
    seen = wire_of((struct peri_request){ .method = "POST", .body = body }, "{\"a\":1}", OK_ANSWER);
    assert_contains(seen, "POST /a/../b%2f?q=1 HTTP/1.1\r\n");
    assert_contains(seen, "\r\nContent-Length: 7\r\n");
    assert_lacks(seen, "Content-Type"); /* none was given */
    assert_lacks(seen, "X-One");
    assert_int_equal(got.result.bytes_sent, 7);
    free(seen);

    seen =
        wire_of((struct peri_request){ .method = "HEAD" }, "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_contains(seen, "HEAD /a");
    assert_int_equal(got.result.body.len, 0);
    assert_string_equal(peri_headers_get(&got.result.headers, "content-length"), "5");
    free(seen);

    peri_headers_set(&headers, "Content-Type", "application/json");
    peri_reader_rewind(body, NULL);
    seen =
        wire_of((struct peri_request){ .method = "PATCH", .body = body, .headers = &headers }, "{\"a\":1}", OK_ANSWER);
    assert_contains(seen, "PATCH /a");
    assert_contains(seen, "\r\nContent-Type: application/json\r\n");
    assert_contains(seen, "\r\nContent-Length: 7\r\n");
    assert_lacks(seen, "999");
    free(seen);
    peri_reader_free(body);

    static const char *const methods[] = { "PUT", "POST", "DELETE", "OPTIONS" };
    for (size_t i = 0; i < 4; i++) {
        seen = wire_of((struct peri_request){ .method = methods[i] }, "\r\n\r\n", OK_ANSWER);
        assert_memory_equal(seen, methods[i], strlen(methods[i]));
        if (i < 2) {
            assert_contains(seen, "\r\nContent-Length: 0\r\n");
        } else {
            assert_lacks(seen, "Content-Length");
        }
        free(seen);
    }
    peri_headers_fini(&headers);
}

/* ---- streams ---- */

#define BIG (3 * 1024 * 1024 + 17)

static char pattern_at(size_t i)
{
    return i == BIG - 1 ? 'Z' : (char)('a' + i * 7 % 26);
}

/* A source and a sink that say PERI_BUSY every other time and are resumed by a timer. */
struct slow {
    struct peri_timer *timer;
    struct peri_reader *reader;
    struct peri_writer *writer;
    size_t at, end;
    unsigned busy, turns;
    bool broken;
};

static void resume_slow(void *data)
{
    struct slow *slow = data;
    if (slow->reader) {
        peri_reader_resume(slow->reader);
    } else {
        peri_writer_resume(slow->writer);
    }
}

static enum peri_code read_slow(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    struct slow *slow = data;
    if (slow->timer && slow->turns++ % 2 == 0) {
        slow->busy++;
        peri_timer_start(slow->timer, 0);
        return PERI_BUSY;
    }
    if (slow->broken && slow->at > BIG / 2) {
        return peri_error_set(err, PERI_STORE, "the disk is gone");
    }
    size_t left = slow->end - slow->at;
    *n = left < cap ? left : cap;
    for (size_t i = 0; i < *n; i++) {
        ((char *)out)[i] = pattern_at(slow->at++);
    }
    return PERI_OK;
}

static enum peri_code write_slow(void *data, struct peri_str bytes, struct peri_error *err)
{
    struct slow *slow = data;
    if (slow->timer && slow->turns++ % 2 == 0) {
        slow->busy++;
        peri_timer_start(slow->timer, 0);
        return PERI_BUSY;
    }
    if (slow->broken && slow->at > BIG / 2) {
        return peri_error_set(err, PERI_STORE, "the disk is full");
    }
    for (size_t i = 0; i < bytes.len; i++) {
        assert_int_equal(bytes.data[i], pattern_at(slow->at++));
    }
    return PERI_OK;
}

static int64_t progress_sent, progress_received;
static void on_progress(void *data, int64_t sent, int64_t received)
{
    assert_ptr_equal(data, &progress_sent);
    assert_true(sent >= progress_sent && received >= progress_received);
    progress_sent = sent;
    progress_received = received;
}

static void upload(int64_t size, bool slowly)
{
    /* The pattern ends with its only capitals, so that the peer can tell the end. */
    struct slow slow = { .end = BIG };
    const struct badpeer_step script[] = { { .action = BADPEER_EXPECT, .text = size < 0 ? "Z\r\n0\r\n\r\n" : "Z" },
                                           BADPEER_SAYS(OK_ANSWER),
                                           { 0 } };
    struct badpeer *peer = badpeer_one(script);
    slow.reader = peri_reader_callback(read_slow, NULL, size, &slow, NULL, NULL);
    slow.timer = slowly ? peri_timer_new(net->loop, resume_slow, &slow, NULL) : NULL;
    progress_sent = progress_received = 0;
    struct peri_request request = { .method = "PUT", .url = badpeer_url(peer, "/"), .body = slow.reader };
    request.progress = on_progress;
    request.progress_data = &progress_sent;
    assert_int_equal(net_fetch(net, &request, &got), PERI_OK);
    assert_int_equal(progress_sent, BIG);
    assert_int_equal(progress_received, 2);
    assert_true(slowly ? slow.busy > 10 : slow.busy == 0);
    size_t length;
    char *seen = badpeer_seen(peer, &length);
    assert_lacks(seen, "Expect");
    if (size >= 0) {
        const char *bytes = strstr(seen, "\r\n\r\n") + 4;
        assert_int_equal(got.result.bytes_sent, BIG);
        assert_int_equal(seen + length - bytes, BIG);
        for (size_t i = 0; i < BIG; i++) {
            assert_int_equal(bytes[i], pattern_at(i));
        }
    } else {
        assert_contains(seen, "Transfer-Encoding: chunked");
        assert_true(length > BIG);
    }
    free(seen);
    peri_timer_free(slow.timer);
    peri_reader_free(slow.reader);
    badpeer_free(peer);
}

static void test_upload(void **state)
{
    (void)state;
    upload(BIG, false);
    upload(BIG, true);
    upload(-1, false);
    upload(-1, true);
}

/* A large body from memory: streamed, and never in one piece with the header. */
static void test_upload_from_memory(void **state)
{
    (void)state;
    char *text = malloc(BIG);
    assert_non_null(text);
    memset(text, 'x', BIG);
    mempcpy(text + BIG - 5, "<end>", 5);
    const struct badpeer_step script[] = { { .action = BADPEER_EXPECT, .text = "<end>" },
                                           BADPEER_SAYS(OK_ANSWER),
                                           { 0 } };
    struct badpeer *peer = badpeer_one(script);
    struct peri_reader *reader = peri_reader_borrowed((struct peri_str){ text, BIG }, NULL);
    assert_int_equal(
        net_fetch(net, &(struct peri_request){ .method = "POST", .url = badpeer_url(peer, "/"), .body = reader }, &got),
        PERI_OK);
    assert_int_equal(got.result.bytes_sent, BIG);
    size_t length;
    char *seen = badpeer_seen(peer, &length);
    const char *bytes = strstr(seen, "\r\n\r\n") + 4;
    assert_int_equal(seen + length - bytes, BIG);
    assert_memory_equal(bytes, text, BIG);
    assert_lacks(seen, "Expect");
    free(seen);
    free(text);
    peri_reader_free(reader);
    badpeer_free(peer);
}

static char *big_answer(size_t *length, const char *status)
{
    char *answer = malloc(BIG + 200);
    assert_non_null(answer);
    size_t head = (size_t)sprintf(answer, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n", status, BIG);
    for (size_t i = 0; i < BIG; i++) {
        answer[head + i] = pattern_at(i);
    }
    *length = head + BIG;
    return answer;
}

static void download(bool slowly)
{
    size_t length;
    char *answer = big_answer(&length, "200 OK");
    const struct badpeer_step script[] = { BADPEER_REQUEST,
                                           { .action = BADPEER_SEND, .text = answer, .length = length },
                                           { 0 } };
    struct badpeer *peer = badpeer_one(script);
    struct slow slow = { 0 };
    slow.writer = peri_writer_callback(write_slow, NULL, &slow, NULL, NULL);
    slow.timer = slowly ? peri_timer_new(net->loop, resume_slow, &slow, NULL) : NULL;
    assert_int_equal(net_fetch(net, &(struct peri_request){ .url = badpeer_url(peer, "/"), .sink = slow.writer }, &got),
                     PERI_OK);
    assert_int_equal(slow.at, BIG);
    assert_int_equal(got.result.bytes_received, BIG);
    assert_int_equal(got.result.body.len, 0);
    assert_true(slowly ? slow.busy > 10 : slow.busy == 0);
    peri_timer_free(slow.timer);
    peri_writer_free(slow.writer);
    badpeer_free(peer);
    free(answer);
}

static void test_download(void **state)
{
    (void)state;
    download(false);
    download(true);
}

static void test_sink_takes_only_success(void **state)
{
    (void)state;
    struct peri_buf buf;
    peri_buf_init(&buf, 100);
    struct peri_writer *writer = peri_writer_buf(&buf, NULL);
    static const struct badpeer_step script[] = {
        BADPEER_REQUEST, BADPEER_SAYS("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"),
        BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER),
        { 0 },
    };
    struct badpeer *peer = badpeer_one(script);
    struct peri_request request = { .url = badpeer_url(peer, "/"), .sink = writer };
    assert_int_equal(net_fetch(net, &request, &got), PERI_OK);
    assert_int_equal(got.result.status, 404);
    assert_string_equal(got.result.body.data, "gone");
    assert_int_equal(buf.len, 0);
    assert_int_equal(net_fetch(net, &request, &got), PERI_OK);
    assert_true(got.result.reused);
    assert_int_equal(got.result.body.len, 0);
    assert_string_equal(buf.data, "ok");
    peri_writer_free(writer);
    peri_buf_fini(&buf);
    badpeer_free(peer);
}

static void test_broken_streams(void **state)
{
    (void)state;
    static const struct badpeer_step eats[] = { { .action = BADPEER_HANG } };
    struct badpeer *peer = badpeer_one(eats);
    struct slow slow = { .end = BIG, .broken = true };
    struct peri_request request = { .method = "PUT", .url = badpeer_url(peer, "/") };
    request.body = slow.reader = peri_reader_callback(read_slow, NULL, BIG, &slow, NULL, NULL);
    assert_int_equal(net_fetch(net, &request, &got), PERI_STORE);
    assert_contains(got.result.error.message, "the disk is gone");
    peri_reader_free(slow.reader);

    slow = (struct slow){ .end = 1000 }; /* less than it promises: the peer would wait for ever */
    request.body = slow.reader = peri_reader_callback(read_slow, NULL, 2000, &slow, NULL, NULL);
    assert_int_equal(net_fetch(net, &request, &got), PERI_IO);
    assert_contains(got.result.error.message, "1000 of 2000");
    peri_reader_free(slow.reader);
    badpeer_free(peer);

    size_t length;
    char *answer = big_answer(&length, "200 OK");
    const struct badpeer_step script[] = { BADPEER_REQUEST,
                                           { .action = BADPEER_SEND, .text = answer, .length = length },
                                           { 0 } };
    peer = badpeer_one(script);
    slow = (struct slow){ .broken = true };
    slow.writer = peri_writer_callback(write_slow, NULL, &slow, NULL, NULL);
    assert_int_equal(net_fetch(net, &(struct peri_request){ .url = badpeer_url(peer, "/"), .sink = slow.writer }, &got),
                     PERI_STORE);
    assert_contains(got.result.error.message, "the disk is full");
    peri_writer_free(slow.writer);
    badpeer_free(peer);
    free(answer);
}

static void test_codings(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t length;
        const char *text;
    } cases[] = {
        { "gzip",
          "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x90\x00\x80\x88\xf9\xe5\x11\x00\x00"
          "\x00",
          28, "hello hello hello" },
        { "deflate", "\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x90\x00\x3a\x2e\x06\x7d", 16, "hello hello hello" },
        { "br", "\x0b\x02\x80hello\x03", 9, "hello" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char head[100];
        sprintf(head, "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %zu\r\n\r\n", cases[i].name,
                cases[i].length);
        const struct badpeer_step script[] = {
            BADPEER_REQUEST,
            BADPEER_SAYS(head),
            { .action = BADPEER_SEND, .text = cases[i].bytes, .length = cases[i].length },
            { 0 }
        };
        struct badpeer *peer = badpeer_one(script);
        assert_int_equal(net_get(net, badpeer_url(peer, "/"), &got), PERI_OK);
        assert_string_equal(got.result.body.data, cases[i].text);
        assert_int_equal(got.result.bytes_received, strlen(cases[i].text));
        badpeer_free(peer);
    }
}

static void test_proxy(void **state)
{
    (void)state;
    static const struct badpeer_step script[] = { BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER), { 0 } };
    static const struct badpeer_step refuses[] = { BADPEER_REQUEST,
                                                   BADPEER_SAYS("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
                                                   { 0 } };
    struct badpeer *peer = badpeer_one(script), *other = badpeer_one(refuses);
    setenv("http_proxy", badpeer_url(peer, ""), 1);
    setenv("https_proxy", badpeer_url(other, ""), 1);
    struct net *proxied = net_new(NULL), *direct = net_new(&(struct peri_transport_options){ .proxy = "" });
    assert_int_equal(net_get(proxied, "http://somewhere.invalid/x", &got), PERI_OK);
    char *seen = badpeer_seen(peer, NULL);
    assert_contains(seen, "GET http://somewhere.invalid/x HTTP/1.1\r\n");
    free(seen);
    assert_int_equal(net_get(direct, "http://somewhere.invalid/x", &got), PERI_RESOLVE);
    assert_int_equal(net_get(proxied, "https://somewhere.invalid/x", &got), PERI_CONNECT);
    assert_false(got.result.anything_sent); /* the proxy saw CONNECT, the service nothing */
    unsetenv("http_proxy");
    unsetenv("https_proxy");
    net_free(proxied);
    net_free(direct);
    badpeer_free(peer);
    badpeer_free(other);
}

/* ---- cancelling, and doing things within callbacks ---- */

static void never(void *data, struct peri_result *result)
{
    (void)data;
    (void)result;
    fail_msg("done was called");
}

static struct peri_exchange *start(const char *url, struct peri_writer *sink, peri_exchange_fn done, void *data)
{
    struct peri_exchange *exchange =
        peri_exchange_start(net->transport, &(struct peri_request){ .url = url, .sink = sink }, done, data, NULL);
    assert_non_null(exchange);
    return exchange;
}

static void test_cancel(void **state)
{
    (void)state;
    static const struct badpeer_step silent[] = { { .action = BADPEER_HANG } };
    struct badpeer *peer = badpeer_one(silent);
    const char *url = badpeer_url(peer, "/");
    for (int turns = 0; turns < 6; turns++) { /* at each stage */
        struct peri_exchange *exchange = start(url, NULL, never, NULL);
        assert_int_equal(peri_loop_active(net->loop), 1);
        for (int i = 0; i < turns; i++) {
            peri_loop_run_once(net->loop, 5, NULL);
        }
        peri_exchange_cancel(exchange);
        assert_int_equal(peri_loop_active(net->loop), 0);
    }
    peri_exchange_cancel(NULL);
    /* While a thread looks the name up. */
    peri_exchange_cancel(start("http://no-such-host.invalid/", NULL, never, NULL));
    struct peri_exchange *exchange = start("http://no-such-host.invalid/", NULL, never, NULL);
    peri_loop_run_once(net->loop, 0, NULL);
    peri_exchange_cancel(exchange);
    badpeer_free(peer);
}

struct plot {
    struct peri_exchange *victim, *self;
    struct peri_writer *victims_sink;
    struct peri_reader *victims_body;
    const char *url;
    unsigned writes, done;
    bool start_another, free_transport;
};

static void on_plot_done(void *data, struct peri_result *result)
{
    struct plot *plot = data;
    assert_int_equal(result->code, PERI_OK);
    plot->done++;
    if (plot->victim) {
        peri_exchange_cancel(plot->victim);
        plot->victim = NULL;
    }
    if (plot->free_transport) {
        peri_transport_free(net->transport);
        net->transport = NULL;
        assert_string_equal(result->body.data, "ok"); /* the result lives until this returns */
    }
}

static enum peri_code on_plot_write(void *data, struct peri_str bytes, struct peri_error *err)
{
    (void)bytes;
    (void)err;
    struct plot *plot = data;
    plot->writes++;
    if (plot->victim) {
        peri_exchange_cancel(plot->victim);
        peri_writer_free(plot->victims_sink); /* nothing of the victim is touched any more */
        plot->victim = NULL;
    }
    if (plot->self) {
        peri_exchange_cancel(plot->self);
        plot->self = NULL;
    }
    if (plot->start_another) {
        plot->start_another = false;
        start(plot->url, NULL, on_plot_done, plot);
    }
    return PERI_OK;
}

static void test_cancel_within_callbacks(void **state)
{
    (void)state;
    static const struct badpeer_step silent[] = { { .action = BADPEER_HANG } };
    static const struct badpeer_step half[] = { BADPEER_REQUEST,
                                                BADPEER_SAYS("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"),
                                                { .action = BADPEER_HANG } };
    static const struct badpeer_step whole[] = {
        BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER), BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER), { .action = BADPEER_HANG }
    };
    struct badpeer *quiet = badpeer_one(silent), *halfway = badpeer_one(half), *good = badpeer_one(whole);
    struct plot plot = { .url = badpeer_url(good, "/") };
    struct peri_writer *sink = peri_writer_callback(on_plot_write, NULL, &plot, NULL, NULL);

    /* Another one, from within a sink. */
    plot.victims_sink = peri_writer_callback(on_plot_write, NULL, &plot, NULL, NULL);
    plot.victim = start(badpeer_url(quiet, "/"), plot.victims_sink, never, NULL);
    start(plot.url, sink, on_plot_done, &plot);
    net_wait(net, &plot.done, 1);
    assert_int_equal(plot.writes, 1);
    assert_null(plot.victim);

    /* Itself, from within its sink. */
    plot.self = start(badpeer_url(halfway, "/"), sink, never, NULL);
    net_wait(net, &plot.writes, 2);
    assert_int_equal(peri_loop_active(net->loop), 0);

    /* Another one, from within done. */
    plot.victim = start(badpeer_url(quiet, "/"), NULL, never, NULL);
    start(plot.url, NULL, on_plot_done, &plot);
    net_wait(net, &plot.done, 2);
    assert_null(plot.victim);
    assert_int_equal(peri_loop_active(net->loop), 0);

    peri_writer_free(sink);
    peri_transport_free(net->transport);
    net->transport = NULL;
    badpeer_free(quiet);
    badpeer_free(halfway);
    badpeer_free(good);
}

static void test_start_within_sink(void **state)
{
    (void)state;
    static const struct badpeer_step answers[] = { BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER), { 0 } };
    struct badpeer *peer = badpeer_one(answers);
    struct plot plot = { .url = badpeer_url(peer, "/"), .start_another = true };
    struct peri_writer *sink = peri_writer_callback(on_plot_write, NULL, &plot, NULL, NULL);
    start(plot.url, sink, on_plot_done, &plot);
    net_wait(net, &plot.done, 2);
    peri_writer_free(sink);
    badpeer_free(peer);
}

static void test_free_within_done(void **state)
{
    (void)state;
    static const struct badpeer_step answers[] = { BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER), { 0 } };
    static const struct badpeer_step silent[] = { { .action = BADPEER_HANG } };
    struct badpeer *peer = badpeer_one(answers), *quiet = badpeer_one(silent);
    struct plot plot = { .free_transport = true };
    start(badpeer_url(quiet, "/"), NULL, never, NULL); /* is cancelled with it */
    start(badpeer_url(peer, "/"), NULL, on_plot_done, &plot);
    net_wait(net, &plot.done, 1);
    badpeer_free(peer);
    badpeer_free(quiet);
}

static void test_free_with_exchanges(void **state)
{
    (void)state;
    static const struct badpeer_step silent[] = { { .action = BADPEER_HANG } };
    struct badpeer *peer = badpeer_one(silent);
    for (int i = 0; i < 10; i++) {
        start(badpeer_url(peer, "/"), NULL, never, NULL);
    }
    peri_loop_run_once(net->loop, 5, NULL);
    peri_transport_free(net->transport);
    net->transport = NULL;
    assert_int_equal(peri_loop_active(net->loop), 0);
    badpeer_free(peer);
}

/* More at once than the pool keeps, over few connections. */
static void test_host_limit(void **state)
{
    (void)state;
    static const struct badpeer_step answers[] = {
        BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER), BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER), { 0 }
    };
    struct badpeer *peer = badpeer_one(answers);
    struct net *limited = net_new(&(struct peri_transport_options){ .max_host_connections = 1 });
    struct got many[300] = { 0 };
    unsigned finished = 0;
    for (int i = 0; i < 300; i++) {
        struct peri_request request = { .url = badpeer_url(peer, "/"), .connect_timeout_ms = 30000 };
        assert_non_null(peri_exchange_start(limited->transport, &request, got_done, &many[i], NULL));
    }
    while (finished < 300) {
        peri_loop_run_once(limited->loop, -1, NULL);
        finished = 0;
        for (int i = 0; i < 300; i++) {
            finished += many[i].calls;
        }
    }
    for (int i = 0; i < 300; i++) {
        assert_int_equal(many[i].result.code, PERI_OK);
        assert_string_equal(many[i].result.body.data, "ok");
        got_fini(&many[i]);
    }
    net_free(limited);
    assert_true(badpeer_free(peer) >= 150);
}

static void test_wrapped_loop(void **state)
{
    (void)state;
    static const struct badpeer_step answers[] = { BADPEER_REQUEST,
                                                   BADPEER_SAYS(OK_ANSWER),
                                                   { .action = BADPEER_HANG } };
    struct badpeer *peer = badpeer_one(answers);
    uv_loop_t uv;
    assert_int_equal(uv_loop_init(&uv), 0);
    struct peri_loop *loop = peri_loop_wrap(&uv, NULL);
    struct peri_transport *transport = peri_loop_transport(loop, NULL);
    struct peri_request request = { .url = badpeer_url(peer, "/") };
    assert_non_null(peri_exchange_start(transport, &request, got_done, &got, NULL));
    uv_run(&uv, UV_RUN_DEFAULT); /* ends although a connection is kept */
    assert_int_equal(got.calls, 1);
    assert_int_equal(got.result.code, PERI_OK);
    peri_loop_free(loop);
    uv_run(&uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&uv), 0);
    badpeer_free(peer);
}

static void test_request_is_copied(void **state)
{
    (void)state;
    static const struct badpeer_step answers[] = { BADPEER_REQUEST, BADPEER_SAYS(OK_ANSWER), { 0 } };
    struct badpeer *peer = badpeer_one(answers);
    char url[64], method[] = "DELETE";
    struct peri_headers headers;
    peri_headers_init(&headers);
    peri_headers_set(&headers, "X-One", "1");
    snprintf(url, sizeof(url), "%s", badpeer_url(peer, "/copied"));
    got_fini(&got);
    assert_non_null(peri_exchange_start(net->transport,
                                        &(struct peri_request){ .url = url, .method = method, .headers = &headers },
                                        got_done, &got, NULL));
    memset(url, 'x', sizeof(url) - 1);
    memset(method, 'x', sizeof(method) - 1);
    peri_headers_fini(&headers);
    net_wait(net, &got.calls, 1);
    assert_int_equal(got.result.code, PERI_OK);
    char *seen = badpeer_seen(peer, NULL);
    assert_contains(seen, "DELETE /copied ");
    assert_contains(seen, "X-One: 1\r\n");
    free(seen);
    badpeer_free(peer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_wire),
        TEST(test_upload),
        TEST(test_upload_from_memory),
        TEST(test_download),
        TEST(test_sink_takes_only_success),
        TEST(test_broken_streams),
        TEST(test_codings),
        TEST(test_proxy),
        TEST(test_cancel),
        TEST(test_cancel_within_callbacks),
        TEST(test_start_within_sink),
        TEST(test_free_within_done),
        TEST(test_free_with_exchanges),
        TEST(test_host_limit),
        TEST(test_wrapped_loop),
        TEST(test_request_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
