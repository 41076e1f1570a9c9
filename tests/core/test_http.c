/* SPDX-License-Identifier: MIT */
/* part: host */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>
#include <zlib.h>

#include <cmocka.h>

#include "host/http.h"
#include "support/raw_http.h"

#define TOKEN "0123456789abcdef"
#define AUTH "Authorization: Bearer " TOKEN "\r\n"
#define BODY_LIMIT (256 * 1024)

/* ---- a server in its own thread ---- */

static struct {
    uv_thread_t thread;
    uv_sem_t ready;
    uv_async_t stop;
    struct peri_loop *loop;
    struct peri_http *http;
    unsigned port;
    char tmp[64];
    atomic_int handled, gone, overrun;
} server;

static void reply_text(struct peri_http_req *req, int status, const char *text)
{
    peri_http_reply(req, status, "text/plain", peri_str_from(text));
}

static void handle_echo(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    const char *q = peri_http_query(req, "q"), *header = peri_http_header(req, "x-Test");
    struct peri_str x = peri_http_param(req, "x");
    (void)data;
    atomic_fetch_add(&server.handled, 1);
    peri_buf_init(&out, 65536);
    peri_buf_printf(&out, "%s %s x=%.*s q=%s h=%s", peri_http_method(req), peri_http_path(req), (int)x.len, x.data,
                    q == NULL ? "-" : q, header == NULL ? "-" : header);
    peri_http_set_header(req, "x-one", "1");
    peri_http_set_header(req, "x-evil", "a\r\nInjected: yes");
    peri_http_reply_take(req, 200, "text/plain", &out);
}

static void handle_body(void *data, struct peri_http_req *req)
{
    (void)data;
    atomic_fetch_add(&server.handled, 1);
    peri_http_reply(req, 200, "application/octet-stream", peri_http_body(req));
}

static void handle_file(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    int64_t size = 0;
    const char *hash = NULL, *path = peri_http_file(req, &size, &hash);
    (void)data;
    peri_buf_init(&out, 4096);
    peri_buf_printf(&out, "%lld %s %d", (long long)size, hash, access(path, R_OK));
    peri_http_reply_take(req, 200, "text/plain", &out);
}

struct later {
    uv_timer_t timer;
    struct peri_http_req *req;
    int left;
};

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static struct later *later_new(struct peri_http_req *req, uv_timer_cb fn, uint64_t ms)
{
    struct later *later = calloc(1, sizeof *later);
    later->req = req;
    uv_timer_init(peri_loop_uv(server.loop), &later->timer);
    later->timer.data = later;
    uv_timer_start(&later->timer, fn, ms, ms);
    return later;
}

static void on_later_gone(void *data)
{
    struct later *later = data;
    atomic_fetch_add(&server.gone, 1);
    uv_close((uv_handle_t *)&later->timer, on_timer_closed);
}

static void on_later(uv_timer_t *timer)
{
    struct later *later = timer->data;
    reply_text(later->req, 200, "later");
    uv_close((uv_handle_t *)timer, on_timer_closed);
}

static void handle_later(void *data, struct peri_http_req *req)
{
    (void)data;
    peri_http_on_close(req, on_later_gone, later_new(req, on_later, 5));
}

static void handle_never(void *data, struct peri_http_req *req)
{
    (void)data;
    peri_http_on_close(req, on_later_gone, later_new(req, on_later, 1000000));
}

static void on_piece(uv_timer_t *timer)
{
    struct later *later = timer->data;
    char text[32];
    snprintf(text, sizeof text, "piece %d\n", later->left);
    peri_http_stream_write(later->req, peri_str_from(text));
    if (--later->left > 0)
        return;
    peri_http_stream_end(later->req);
    uv_close((uv_handle_t *)timer, on_timer_closed);
}

static void handle_stream(void *data, struct peri_http_req *req)
{
    const char *count = peri_http_query(req, "n");
    (void)data;
    struct later *later = later_new(req, on_piece, 2);
    later->left = count == NULL ? 3 : atoi(count);
    peri_http_stream_begin(req, 200, "text/event-stream");
    peri_http_on_close(req, on_later_gone, later);
}

static void handle_flood(void *data, struct peri_http_req *req)
{
    static char block[65536];
    enum peri_code code = PERI_OK;
    size_t written = 0;
    (void)data;
    memset(block, 'x', sizeof block);
    peri_http_stream_begin(req, 200, "text/plain");
    while (code == PERI_OK && written < 64U * 1024 * 1024) {
        code = peri_http_stream_write(req, (struct peri_str){ block, sizeof block });
        written += sizeof block;
    }
    if (code == PERI_TOO_LARGE)
        atomic_fetch_add(&server.overrun, 1);
    peri_http_stream_end(req);
}

static void reply_error(void *data, struct peri_http_req *req, int status, const struct peri_error *err)
{
    struct peri_buf out;
    (void)data;
    peri_buf_init(&out, 8192);
    peri_buf_printf(&out, "{\"door\":\"%s\",\"code\":\"%s\",\"message\":\"%s\"}", (const char *)data,
                    peri_code_name(err->code), err->message);
    peri_http_reply_take(req, status, "application/json", &out);
}

static const struct peri_route routes[] = {
    { "GET", "/echo/{x}", PERI_HTTP_NO_BODY, 0, false, handle_echo, "" },
    { "POST", "/body", PERI_HTTP_BUFFERED, 0, false, handle_body, "" },
    { "POST", "/small", PERI_HTTP_BUFFERED, 1000, false, handle_body, "" },
    { "PUT", "/file", PERI_HTTP_TO_FILE, 0, false, handle_file, "" },
    { "GET", "/later", PERI_HTTP_NO_BODY, 0, false, handle_later, "" },
    { "POST", "/later", PERI_HTTP_BUFFERED, 0, false, handle_later, "" },
    { "GET", "/never", PERI_HTTP_NO_BODY, 0, false, handle_never, "" },
    { "GET", "/stream", PERI_HTTP_NO_BODY, 0, false, handle_stream, "" },
    { "GET", "/flood", PERI_HTTP_NO_BODY, 0, false, handle_flood, "" },
    { "GET", "/open", PERI_HTTP_NO_BODY, 0, true, handle_echo, "" },
};
static const struct peri_door main_door = { .name = "main",
                                            .routes = routes,
                                            .count = sizeof routes / sizeof routes[0],
                                            .data = (void *)(uintptr_t) "main",
                                            .reply_error = reply_error,
                                            .prefix = "" };
static const struct peri_door other_door = {
    .name = "other", .data = (void *)(uintptr_t) "other", .reply_error = reply_error, .prefix = "/other/"
};
static const struct peri_door *const doors[] = { &main_door, &other_door, NULL };

static void on_stop(uv_async_t *async)
{
    uv_close((uv_handle_t *)async, NULL);
    uv_stop(async->loop);
}

static void serve(void *data)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_http_options options = { .token = peri_str_from(TOKEN),
                                         .body_limit = BODY_LIMIT,
                                         .tmp_dir = server.tmp };
    (void)data;
    server.loop = peri_loop_new(&err);
    if (peri_http_new(server.loop, &options, doors, &server.http, &err) != PERI_OK)
        abort();
    server.port = peri_http_port(server.http);
    uv_async_init(peri_loop_uv(server.loop), &server.stop, on_stop);
    uv_sem_post(&server.ready);
    uv_run(peri_loop_uv(server.loop), UV_RUN_DEFAULT);
    peri_http_free(server.http);
    uv_run(peri_loop_uv(server.loop), UV_RUN_NOWAIT);
    uv_run(peri_loop_uv(server.loop), UV_RUN_NOWAIT);
    peri_loop_free(server.loop);
}

static int setup(void **state)
{
    (void)state;
    snprintf(server.tmp, sizeof server.tmp, "/tmp/perilune-http-XXXXXX");
    if (mkdtemp(server.tmp) == NULL)
        return -1;
    uv_sem_init(&server.ready, 0);
    uv_thread_create(&server.thread, serve, NULL);
    uv_sem_wait(&server.ready);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    uv_async_send(&server.stop);
    uv_thread_join(&server.thread);
    uv_sem_destroy(&server.ready);
    return rmdir(server.tmp); /* fails when a body was left behind */
}

static void wait_for(const atomic_int *value, int wanted)
{
    for (int i = 0; i < 20000 && atomic_load(value) < wanted; i++)
        usleep(1000);
    assert_int_equal(atomic_load(value), wanted);
}

static struct raw_reply ask(const char *method, const char *path, const char *headers, const char *body)
{
    return raw_request(server.port, method, path, headers, body, body == NULL ? 0 : strlen(body));
}

static void assert_status(struct raw_reply reply, int status, const char *part)
{
    if (reply.status != status || (part != NULL && (reply.body == NULL || strstr(reply.body, part) == NULL)))
        fail_msg("status %d, not %d; body: %s", reply.status, status, reply.body == NULL ? "" : reply.body);
    raw_reply_fini(&reply);
}

/* ---- requests and replies ---- */

static void test_reads_the_request(void **state)
{
    (void)state;
    assert_status(ask("GET", "/echo/a%2Fb%20c?q=1%262+3&r", AUTH "X-TEST: h\r\n", NULL), 200,
                  "GET /echo/a%2Fb%20c x=a/b c q=1&2 3 h=h");
    assert_status(ask("GET", "/echo/caf%C3%A9", AUTH, NULL), 200, "x=caf\xc3\xa9 q=- h=-");
    assert_status(ask("GET", "/echo/a%00b", AUTH, NULL), 400, "percent-encoding");
    assert_status(ask("GET", "/echo/a%zz", AUTH, NULL), 400, "percent-encoding");
    assert_status(ask("GET", "/echo/a%2", AUTH, NULL), 400, "percent-encoding");
    assert_status(ask("GET", "/echo/a?q=%zz%00", AUTH, NULL), 200, "q=%zz%00");
}

static void test_headers_of_the_reply(void **state)
{
    char value[64];
    (void)state;
    struct raw_reply reply = ask("GET", "/echo/1", AUTH, NULL);
    assert_string_equal(raw_header(&reply, "perilune-version", value, sizeof value), PERI_VERSION);
    assert_string_equal(raw_header(&reply, "content-type", value, sizeof value), "text/plain");
    assert_string_equal(raw_header(&reply, "x-one", value, sizeof value), "1");
    assert_null(raw_header(&reply, "injected", value, sizeof value));
    assert_null(raw_header(&reply, "x-evil", value, sizeof value));
    raw_reply_fini(&reply);
}

static void test_head_is_get_without_body(void **state)
{
    char value[64];
    (void)state;
    int fd = raw_connect(server.port);
    raw_puts(fd, "HEAD /echo/1 HTTP/1.1\r\nHost: x\r\n" AUTH "\r\nGET /echo/2 HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n");
    struct raw_reply reply = raw_read(fd, 1);
    assert_int_equal(reply.status, 200);
    assert_string_not_equal(raw_header(&reply, "content-length", value, sizeof value), "0");
    raw_reply_fini(&reply);
    assert_status(raw_read(fd, 0), 200, "GET /echo/2");
    raw_close(fd);
}

static void test_nothing_without_the_token(void **state)
{
    static const char *const bad[] = { "",
                                       "Authorization: Bearer\r\n",
                                       "Authorization: Bearer wrong\r\n",
                                       "Authorization: Bearer 0123456789abcdeF\r\n",
                                       "Authorization: Bearer 0123456789abcdef0\r\n",
                                       "Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZg==\r\n" };
    static const char *const paths[] = { "/echo/1", "/nothing", "/body", "/other/x" };
    int before = atomic_load(&server.handled);
    char value[64];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++) {
            struct raw_reply reply = ask("GET", paths[p], bad[i], NULL);
            assert_non_null(raw_header(&reply, "www-authenticate", value, sizeof value));
            assert_null(strstr(reply.body, TOKEN));
            assert_status(reply, 401, "unauthorized");
        }
    }
    assert_int_equal(atomic_load(&server.handled), before);
    assert_status(ask("GET", "/open", "", NULL), 200, NULL);
    assert_status(ask("GET", "/echo/1", "authorization: bearer " TOKEN "\r\n", NULL), 200, NULL);
}

static void test_a_body_without_the_token_is_not_stored(void **state)
{
    int fd = raw_connect(server.port);
    (void)state;
    raw_puts(fd, "PUT /file HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nonly the beginning");
    assert_status(raw_read(fd, 0), 401, NULL);
    DIR *dir = opendir(server.tmp);
    int entries = 0;
    while (readdir(dir) != NULL)
        entries++;
    closedir(dir);
    assert_int_equal(entries, 2); /* . and .. */
    raw_close(fd);
}

static void test_unknown_paths_and_methods(void **state)
{
    char value[64];
    (void)state;
    assert_status(ask("GET", "/nothing", AUTH, NULL), 404, "\"door\":\"main\",\"code\":\"not_found\"");
    assert_status(ask("GET", "/other/x", AUTH, NULL), 404, "\"door\":\"other\"");
    struct raw_reply reply = ask("DELETE", "/body", AUTH, NULL);
    assert_string_equal(raw_header(&reply, "allow", value, sizeof value), "POST");
    assert_status(reply, 405, "\"door\":\"main\"");
    assert_status(ask("GET", "/echo/1", AUTH, "a body"), 413, "takes no body");
    assert_status(ask("GET", "/echo/1", AUTH "Content-Length: 0\r\n", NULL), 200, NULL);
    assert_status(ask("PUT", "/file", AUTH, NULL), 400, "no body");
}

/* ---- bodies ---- */

static char *filled(size_t len)
{
    char *data = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)('a' + i % 26);
    data[len] = '\0';
    return data;
}

static void test_bodies_up_to_the_limit(void **state)
{
    static const size_t sizes[] = { 0, 1, 100, 16384, 40000, BODY_LIMIT };
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *data = filled(sizes[i]);
        struct raw_reply reply = raw_request(server.port, "POST", "/body", AUTH, data, sizes[i]);
        assert_int_equal(reply.status, 200);
        assert_int_equal(reply.len, sizes[i]);
        assert_memory_equal(reply.body, data, sizes[i]);
        raw_reply_fini(&reply);
        free(data);
    }
    char *data = filled(BODY_LIMIT + 1);
    assert_status(raw_request(server.port, "POST", "/body", AUTH, data, 1001), 200, NULL);
    assert_status(raw_request(server.port, "POST", "/small", AUTH, data, 1000), 200, NULL);
    assert_status(raw_request(server.port, "POST", "/small", AUTH, data, 1001), 413, "1000 bytes");
    assert_status(raw_request(server.port, "POST", "/body", AUTH, data, BODY_LIMIT + 1), 413, "payload_too_large");
    free(data);
}

static void test_a_chunked_body_is_cut_at_the_limit(void **state)
{
    int fd = raw_connect(server.port);
    char *data = filled(65536);
    (void)state;
    raw_puts(fd, "POST /small HTTP/1.1\r\nHost: x\r\n" AUTH "Transfer-Encoding: chunked\r\n\r\n"
                 "5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n");
    assert_status(raw_read(fd, 0), 200, "hello world");
    /* over the limit, but ending soon: the connection lives on */
    raw_puts(fd, "POST /small HTTP/1.1\r\nHost: x\r\n" AUTH "Transfer-Encoding: chunked\r\n\r\n10000\r\n");
    raw_write(fd, data, 65536);
    raw_puts(fd, "\r\n0\r\n\r\n");
    assert_status(raw_read(fd, 0), 413, "1000 bytes");
    raw_puts(fd, "GET /echo/1 HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n");
    assert_status(raw_read(fd, 0), 200, NULL);
    /* without end: answered, then closed */
    raw_puts(fd, "POST /small HTTP/1.1\r\nHost: x\r\n" AUTH "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 64; i++) {
        if (raw_puts(fd, "10000\r\n") != 0 || raw_write(fd, data, 65536) != 0 || raw_puts(fd, "\r\n") != 0)
            break;
    }
    assert_status(raw_read(fd, 0), 413, "1000 bytes");
    raw_close(fd);
    free(data);
}

static void *pack(const void *data, size_t len, int bits, size_t *out_len)
{
    z_stream z = { 0 };
    unsigned char *out = malloc(len + 1024);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)data;
    z.avail_in = (unsigned)len;
    z.next_out = out;
    z.avail_out = (unsigned)len + 1024;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    *out_len = z.total_out;
    deflateEnd(&z);
    return out;
}

static void test_compressed_bodies(void **state)
{
    static const struct {
        int bits;
        const char *header;
    } kinds[] = { { 31, "gzip" }, { 15, "deflate" }, { -15, "deflate" }, { 31, "GZIP" } };
    char *data = filled(100000), headers[200];
    size_t len = 0;
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        void *packed = pack(data, 100000, kinds[i].bits, &len);
        snprintf(headers, sizeof headers, AUTH "Content-Encoding: %s\r\n", kinds[i].header);
        struct raw_reply reply = raw_request(server.port, "POST", "/body", headers, packed, len);
        assert_int_equal(reply.status, 200);
        assert_int_equal(reply.len, 100000);
        assert_memory_equal(reply.body, data, 100000);
        raw_reply_fini(&reply);
        free(packed);
    }
    void *packed = pack(data, 100000, 31, &len);
    assert_status(raw_request(server.port, "POST", "/body", AUTH "Content-Encoding: gzip\r\n", packed, len - 3), 400,
                  "ends early");
    ((char *)packed)[len / 2] ^= 0x55;
    assert_status(raw_request(server.port, "POST", "/body", AUTH "Content-Encoding: gzip\r\n", packed, len), 400,
                  "not valid gzip");
    assert_status(ask("POST", "/body", AUTH "Content-Encoding: gzip\r\n", "plain text"), 400, "not valid gzip");
    assert_status(ask("POST", "/body", AUTH "Content-Encoding: br\r\n", "x"), 415, "Content-Encoding br");
    assert_status(ask("POST", "/body", AUTH "Content-Encoding: identity\r\n", "x"), 200, "x");
    free(packed);
    free(data);
}

static void test_gzip_members_and_bombs(void **state)
{
    size_t len = 0, bomb_len = 0;
    char *zeros = calloc(1, 32 * 1024 * 1024);
    void *part = pack("member", 6, 31, &len);
    char *two = malloc(2 * len + 4);
    (void)state;
    memcpy(two, part, len);
    memcpy(two + len, part, len);
    assert_status(raw_request(server.port, "POST", "/body", AUTH "Content-Encoding: gzip\r\n", two, 2 * len), 200,
                  "membermember");
    memset(two + len, 'j', 4);
    assert_status(raw_request(server.port, "POST", "/body", AUTH "Content-Encoding: gzip\r\n", two, len + 4), 400,
                  NULL);
    void *bomb = pack(zeros, 32 * 1024 * 1024, 31, &bomb_len);
    assert_true(bomb_len < BODY_LIMIT);
    assert_status(raw_request(server.port, "POST", "/body", AUTH "Content-Encoding: gzip\r\n", bomb, bomb_len), 413,
                  "payload_too_large");
    free(bomb);
    free(two);
    free(part);
    free(zeros);
}

static void test_bodies_to_files(void **state)
{
    (void)state;
    assert_status(ask("PUT", "/file", AUTH, "abc"), 200,
                  "3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 0");
    char *data = filled(BODY_LIMIT + 1);
    assert_status(raw_request(server.port, "PUT", "/file", AUTH, data, BODY_LIMIT), 200, "262144 ");
    assert_status(raw_request(server.port, "PUT", "/file", AUTH, data, BODY_LIMIT + 1), 413, NULL);
    free(data);
}

/* ---- framing and garbage ---- */

static void assert_refused(const char *text, int status)
{
    int fd = raw_connect(server.port);
    raw_puts(fd, text);
    struct raw_reply reply = raw_read(fd, 0);
    if (reply.status != status)
        fail_msg("%s: status %d, not %d", text, reply.status, status);
    raw_reply_fini(&reply);
    raw_close(fd);
}

static void test_ambiguous_framing_is_refused(void **state)
{
    (void)state;
    assert_refused("POST /body HTTP/1.1\r\nHost: x\r\n" AUTH
                   "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                   400);
    assert_refused("POST /body HTTP/1.1\r\nHost: x\r\n" AUTH "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
                   400);
    assert_refused("POST /body HTTP/1.1\r\nHost: x\r\n" AUTH "Content-Length: 5x\r\n\r\nhello", 400);
    assert_refused("POST /body HTTP/1.1\r\nHost: x\r\n" AUTH "Content-Length: -5\r\n\r\nhello", 400);
    assert_refused("POST /body HTTP/1.1\r\nHost: x\r\n" AUTH "Transfer-Encoding: gzip\r\n\r\nhello", 400);
    assert_refused("GET /echo/1 HTTP/1.1\r\n" AUTH "\r\n", 400); /* no Host */
}

static void test_garbage_leaves_the_server_up(void **state)
{
    /* The first two begin something: the server waits for more, until the peer leaves or it has been idle too long. */
    static const char *const garbage[] = { "\r\n\r\n\r\n",
                                           "\x16\x03\x01\x02\xfc\x03\x03",
                                           "GET\r\n\r\n",
                                           "GET /echo/1 HTTP/9.9\r\n\r\n",
                                           "GET /echo/1 HTTP/1.1\r\nbad header\r\n\r\n",
                                           "POST /body HTTP/1.1\r\nHost: x\r\n" AUTH
                                           "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n" };
    char *data = filled(100000);
    (void)state;
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        int fd = raw_connect(server.port);
        raw_puts(fd, garbage[i]);
        if (i > 1) {
            struct raw_reply reply = raw_read(fd, 0);
            assert_int_not_equal(reply.status, 200);
            raw_reply_fini(&reply);
        }
        raw_close(fd);
    }
    /* headers and a request line without end */
    int fd = raw_connect(server.port);
    raw_puts(fd, "GET /echo/1 HTTP/1.1\r\nHost: x\r\nX-Long: ");
    raw_write(fd, data, 100000);
    raw_puts(fd, "\r\n\r\n");
    struct raw_reply reply = raw_read(fd, 0);
    assert_true(reply.status == 431 || reply.status == 413 || reply.status == 0);
    raw_reply_fini(&reply);
    raw_close(fd);
    fd = raw_connect(server.port);
    raw_puts(fd, "GET /");
    raw_write(fd, data, 100000);
    reply = raw_read(fd, 0);
    assert_true(reply.status == 414 || reply.status == 431 || reply.status == 0);
    raw_reply_fini(&reply);
    raw_close(fd);
    free(data);
    assert_status(ask("GET", "/echo/1", AUTH, NULL), 200, NULL);
}

static void test_many_headers(void **state)
{
    struct peri_buf headers;
    (void)state;
    peri_buf_init(&headers, 65536);
    peri_buf_append_text(&headers, AUTH);
    for (int i = 0; i < 100; i++)
        peri_buf_printf(&headers, "x-%d: %d\r\n", i, i);
    peri_buf_append_text(&headers, "x-test: last\r\n");
    assert_status(ask("GET", "/echo/1", headers.data, NULL), 200, "h=last");
    for (int i = 100; i < 450; i++)
        peri_buf_printf(&headers, "x-%d: %d\r\n", i, i);
    assert_status(ask("GET", "/echo/1", headers.data, NULL), 431, NULL);
    peri_buf_fini(&headers);
}

static void test_slow_bytes(void **state)
{
    static const char text[] = "POST /body HTTP/1.1\r\nHost: x\r\n" AUTH "Content-Length: 5\r\n\r\nhello";
    int fd = raw_connect(server.port);
    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        raw_write(fd, text + i, 1);
        usleep(200);
    }
    assert_status(raw_read(fd, 0), 200, "hello");
    raw_close(fd);
}

static void test_pipelining(void **state)
{
    int fd = raw_connect(server.port);
    char path[160];
    (void)state;
    for (int i = 0; i < 50; i++) {
        snprintf(path, sizeof path, "GET /echo/%d HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n", i);
        raw_puts(fd, path);
        raw_puts(fd, "GET /later HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n");
        raw_puts(fd, "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n" AUTH "\r\nabc");
    }
    for (int i = 0; i < 50; i++) {
        snprintf(path, sizeof path, "x=%d ", i);
        assert_status(raw_read(fd, 0), 200, path);
        assert_status(raw_read(fd, 0), 200, "later");
        assert_status(raw_read(fd, 0), 200, "later");
    }
    raw_close(fd);
}

/* ---- late replies, streams, peers that leave ---- */

static void test_peers_that_leave_are_noticed(void **state)
{
    int fds[8], before = atomic_load(&server.gone);
    (void)state;
    for (int i = 0; i < 8; i++) {
        fds[i] = raw_connect(server.port);
        raw_puts(fds[i], i % 2 == 0 ? "GET /never HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n"
                                    : "GET /stream?n=1000000 HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n");
    }
    usleep(50000); /* most are inside by now; one that is not is noticed as well */
    for (int i = 0; i < 8; i++)
        raw_close(fds[i]);
    wait_for(&server.gone, before + 8);
    assert_status(ask("GET", "/echo/1", AUTH, NULL), 200, NULL);
}

static void test_a_body_cut_short(void **state)
{
    int before = atomic_load(&server.handled);
    int fd = raw_connect(server.port);
    (void)state;
    raw_puts(fd, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n" AUTH "\r\nhalf");
    raw_close(fd);
    fd = raw_connect(server.port);
    raw_puts(fd, "PUT /file HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n" AUTH "\r\nhalf");
    raw_close(fd); /* its file is gone when the fixture ends */
    assert_status(ask("GET", "/echo/1", AUTH, NULL), 200, NULL);
    assert_int_equal(atomic_load(&server.handled), before + 1);
}

static void test_streams(void **state)
{
    int fd = raw_connect(server.port);
    (void)state;
    raw_puts(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n" AUTH "\r\nGET /echo/9 HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n");
    assert_status(raw_read(fd, 0), 200, "piece 3\npiece 2\npiece 1\n");
    assert_status(raw_read(fd, 0), 200, "x=9");
    raw_close(fd);
}

static void test_a_slow_reader_is_bounded(void **state)
{
    int before = atomic_load(&server.overrun);
    int fd = raw_connect(server.port);
    (void)state;
    raw_puts(fd, "GET /flood HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n");
    wait_for(&server.overrun, before + 1);
    struct raw_reply reply = raw_read(fd, 0);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.len, 4 * 1024 * 1024);
    raw_reply_fini(&reply);
    raw_close(fd);
}

static void test_the_port_is_taken(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_loop *loop = peri_loop_new(&err);
    struct peri_http *http = NULL;
    struct peri_http_options options = { .token = peri_str_from(TOKEN), .port = server.port };
    char wanted[64];
    (void)state;
    assert_int_equal(peri_http_new(loop, &options, doors, &http, &err), PERI_BUSY);
    snprintf(wanted, sizeof wanted, "port %u is in use (start with --port 0 for any free one)", server.port);
    assert_string_equal(err.message, wanted);
    options = (struct peri_http_options){ .token = peri_str_from(TOKEN), .host = "192.0.2.1" };
    assert_int_equal(peri_http_new(loop, &options, doors, &http, &err), PERI_IO);
    peri_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_the_request),
        cmocka_unit_test(test_headers_of_the_reply),
        cmocka_unit_test(test_head_is_get_without_body),
        cmocka_unit_test(test_nothing_without_the_token),
        cmocka_unit_test(test_a_body_without_the_token_is_not_stored),
        cmocka_unit_test(test_unknown_paths_and_methods),
        cmocka_unit_test(test_bodies_up_to_the_limit),
        cmocka_unit_test(test_a_chunked_body_is_cut_at_the_limit),
        cmocka_unit_test(test_compressed_bodies),
        cmocka_unit_test(test_gzip_members_and_bombs),
        cmocka_unit_test(test_bodies_to_files),
        cmocka_unit_test(test_ambiguous_framing_is_refused),
        cmocka_unit_test(test_garbage_leaves_the_server_up),
        cmocka_unit_test(test_many_headers),
        cmocka_unit_test(test_slow_bytes),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_peers_that_leave_are_noticed),
        cmocka_unit_test(test_a_body_cut_short),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_a_slow_reader_is_bounded),
        cmocka_unit_test(test_the_port_is_taken),
    };
    return cmocka_run_group_tests_name("http", tests, setup, teardown);
}
