/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/http_private.h"
#include "host/http_sink.h"
#include "perilune/log.h"

#define CONNECTION_MEMORY 16384   /* bounds the headers; libmicrohttpd clears all of it for each request */
#define DISCARD_MAX (1024 * 1024) /* of a refused body is read past, so that the peer can read its answer in peace */
#define RUNS_PER_TURN 64

/* ---- one request, as libmicrohttpd tells it ---- */

static enum peri_code check_framing(struct peri_http_req *req, struct peri_error *err)
{
    if (req->content_length != NULL && req->transfer_encoding != NULL)
        return peri_error_set(err, PERI_BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other");
    if (req->repeated_length)
        return peri_error_set(err, PERI_BAD_REQUEST, "more than one Content-Length");
    if (req->transfer_encoding != NULL && strcasecmp(req->transfer_encoding, "chunked") != 0)
        return peri_error_set(err, PERI_BAD_REQUEST, "Transfer-Encoding must be chunked");
    return PERI_OK;
}

static enum peri_code authenticate(struct peri_http_req *req, struct peri_error *err)
{
    const struct peri_door *door = req->match.door;
    if (door != NULL && door->authenticate != NULL)
        return door->authenticate(door->data, req, err);
    if (req->match.route != NULL && req->match.route->open)
        return PERI_OK;
    return peri_http_bearer(req, err);
}

/* Everything that can be said before the body is read. Returns the status of a refusal, else 0. */
static int admit(struct peri_http_req *req, struct peri_error *err)
{
    enum peri_route_result result = peri_router_match(req->http->router, req->method, req->path, &req->match);
    if (authenticate(req, err) != PERI_OK)
        return peri_http_status(err->code);
    if (check_framing(req, err) != PERI_OK)
        return 400;
    if (req->too_many_headers) {
        peri_error_set(err, PERI_BAD_REQUEST, "too many headers");
        return 431;
    }
    if (result == PERI_ROUTE_NOT_FOUND) {
        peri_error_set(err, PERI_NOT_FOUND, "there is nothing at %.200s", req->path);
        return 404;
    }
    if (result == PERI_ROUTE_BAD_METHOD) {
        peri_http_set_header(req, "Allow", req->match.allow);
        peri_error_set(err, PERI_BAD_REQUEST, "%.20s is not a method of %.200s; it has %s", req->method, req->path,
                       req->match.allow);
        return 405;
    }
    if (peri__req_decode_params(req, err) != PERI_OK)
        return peri_http_status(err->code);
    if (!req->has_body && (req->match.route->body != PERI_HTTP_TO_FILE || req->match.door->target == NULL))
        return 0;
    if (req->match.route->body == PERI_HTTP_NO_BODY) {
        peri_error_set(err, PERI_PAYLOAD_TOO_LARGE, "%s %.200s takes no body", req->method, req->path);
        return 413;
    }
    return peri__body_begin(req, err) == PERI_OK ? 0 : err->code == PERI_IO ? 507 : peri_http_status(err->code);
}

static void fail_later(struct peri_http_req *req, int status, const struct peri_error *err)
{
    req->fail_status = status;
    req->fail = malloc(sizeof *req->fail);
    if (req->fail != NULL)
        *req->fail = *err;
    peri__body_fini(req);
    peri_buf_fini(&req->body);
}

static enum MHD_Result send_response(struct peri_http_req *req)
{
    enum MHD_Result result = MHD_queue_response(req->connection, (unsigned)req->status, req->response);
    MHD_destroy_response(req->response);
    return result;
}

static enum MHD_Result begin(struct peri_http *http, struct MHD_Connection *connection, const char *path,
                             const char *method, void **slot)
{
    struct peri_http_req *req = peri__req_new(http, connection, path, method);
    struct peri_error err = PERI_ERROR_INIT;
    if (req == NULL)
        return MHD_NO;
    *slot = req;
    int status = admit(req, &err);
    if (status == 0)
        return MHD_YES;
    if (!req->has_body) {
        fail_later(req, status, &err);
        return MHD_YES;
    }
    peri_http_reply_error(req, status, &err); /* the body stays unread and the connection closes */
    return send_response(req);
}

static enum MHD_Result take_body(struct peri_http_req *req, const char *data, size_t *size)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_str bytes = { data, *size };
    if (req->state == PERI__REQ_DEAD)
        return MHD_NO; /* it went away while its body waited */
    if (req->fail_status == 0) {
        enum peri_code code = peri__body_feed(req, &bytes, &err);
        *size = bytes.len;
        if (code == PERI_OK) {
            if (bytes.len > 0)
                peri__http_suspend(req);
            return MHD_YES;
        }
        fail_later(req, err.code == PERI_IO ? 507 : peri_http_status(err.code), &err);
    }
    *size = 0;
    req->discarded += (int64_t)bytes.len;
    if (req->discarded <= DISCARD_MAX)
        return MHD_YES;
    req->raw = true;
    if (req->fail != NULL)
        peri_http_reply_error(req, req->fail_status, req->fail);
    return MHD_NO;
}

/* false: the rest of the body is still being written, and this is called again. */
static bool handle(struct peri_http_req *req)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (req->fail_status == 0 && !peri__body_settled(req)) {
        peri__http_suspend(req);
        return false;
    }
    if (req->fail_status == 0 && (req->has_body || req->sink != NULL) && peri__body_finish(req, &err) != PERI_OK)
        fail_later(req, err.code == PERI_IO ? 507 : peri_http_status(err.code), &err);
    req->state = PERI__REQ_HANDLING;
    if (req->fail_status != 0) {
        if (req->fail == NULL)
            peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, req->fail_status, req->fail == NULL ? &err : req->fail);
        return true;
    }
    if (!req->has_body && req->sink == NULL && req->match.route->body == PERI_HTTP_TO_FILE) {
        peri_error_set(&err, PERI_BAD_REQUEST, "the request has no body");
        peri_http_reply_error(req, 0, &err);
        return true;
    }
    req->match.route->handle(req->match.door->data, req);
    return true;
}

static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **slot)
{
    struct peri_http_req *req = *slot;
    (void)version;
    if (req != NULL && req->lingering) {
        peri__http_linger_on(req);
        return MHD_YES;
    }
    ((struct peri_http *)data)->progress = true;
    if (req == NULL)
        return begin(data, connection, path, method, slot);
    if (*upload_size > 0)
        return take_body(req, upload, upload_size);
    if (req->state == PERI__REQ_READING) {
        if (!handle(req))
            return MHD_YES;
        if (req->state == PERI__REQ_HANDLING) {
            req->state = PERI__REQ_WAITING;
            peri__http_wait(req);
            return MHD_YES;
        }
    }
    if (req->state == PERI__REQ_DEAD || req->response == NULL)
        return MHD_NO;
    return send_response(req);
}

static void on_completed(void *data, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode how)
{
    struct peri_http_req *req = *slot;
    (void)data;
    (void)connection;
    (void)how;
    if (req == NULL)
        return;
    *slot = NULL;
    req->http->progress = true;
    peri__http_linger_end(req);
    peri__http_unlist(req);
    void (*on_close)(void *data) = req->on_close;
    req->on_close = NULL;
    if (on_close != NULL)
        on_close(req->on_close_data);
    peri__req_free(req);
}

/* ---- in the loop ---- */

static void on_timer(uv_timer_t *timer);

static void run(struct peri_http *http)
{
    MHD_UNSIGNED_LONG_LONG wait = 0;
    bool waits = false;
    http->dirty = false;
    for (int i = 0; i < RUNS_PER_TURN; i++) {
        http->progress = false;
        MHD_run(http->daemon);
        /* With lingering requests libmicrohttpd always has something to ask: then only progress counts, and what that
         * overlooks (the rest of a long answer, say) goes on at the next tick. */
        if (http->lingering > 0 && !http->progress)
            break;
        waits = http->lingering == 0 && MHD_get_timeout(http->daemon, &wait) == MHD_YES;
        if (http->lingering == 0 && (!waits || wait > 0))
            break;
    }
    if (http->lingering > 0) {
        peri__http_linger_arm(http);
        if (http->progress)
            peri__http_again(http);
    }
    if (http->lingering > 0 || !waits)
        return;
    /* Idle time-outs only move away: a timer that is due earlier stays and is set anew when it fires. */
    uint64_t due = uv_now(http->timer.loop) + wait;
    if (http->timer_due != 0 && http->timer_due <= due)
        return;
    http->timer_due = due;
    uv_timer_start(&http->timer, on_timer, wait, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct peri_http *http = timer->data;
    http->timer_due = 0;
    http->dirty = true;
    run(http);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    ((struct peri_http *)poll->data)->dirty = true;
}

/* Once per loop turn, after everything that a turn brought (answers of sandboxes too). */
static void on_check(uv_check_t *check)
{
    struct peri_http *http = check->data;
    uv_idle_stop(&http->idle);
    if (http->dirty)
        run(http);
}

static void on_room(uv_async_t *room)
{
    peri__sink_room(room->data);
}

/* ---- life ---- */

static enum peri_code bind_one(const struct addrinfo *a, unsigned port, int *out, struct peri_error *err)
{
    int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return peri_error_set(err, PERI_IO, "can't make a socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 1024) == 0) {
        *out = fd;
        return PERI_OK;
    }
    int reason = errno;
    close(fd);
    if (reason == EADDRINUSE)
        return peri_error_set(err, PERI_BUSY, "port %u is in use (start with --port 0 for any free one)", port);
    return peri_error_set(err, PERI_IO, "can't listen on port %u: %s", port, strerror(reason));
}

static enum peri_code listen_on(struct peri_http *http, const char *host, unsigned port, bool *ipv6,
                                struct peri_error *err)
{
    char service[16];
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *found = NULL;
    struct sockaddr_storage bound = { 0 };
    socklen_t len = sizeof bound;
    snprintf(service, sizeof service, "%u", port);
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        return peri_error_set(err, PERI_RESOLVE, "can't listen on %s: %s", host, gai_strerror(rc));
    enum peri_code code = bind_one(found, port, &http->listen_fd, err);
    *ipv6 = found->ai_family == AF_INET6;
    freeaddrinfo(found);
    if (code != PERI_OK)
        return code;
    if (getsockname(http->listen_fd, (struct sockaddr *)&bound, &len) != 0)
        return peri_error_set(err, PERI_IO, "can't tell the port: %s", strerror(errno));
    in_port_t in_order = 0; /* at the same place for both families */
    memcpy(&in_order, (char *)&bound + offsetof(struct sockaddr_in, sin_port), sizeof in_order);
    http->port = ntohs(in_order);
    return PERI_OK;
}

static size_t keep_escapes(void *data, struct MHD_Connection *connection, char *text)
{
    (void)data;
    (void)connection;
    return strlen(text);
}

static void on_mhd_log(void *data, const char *format, va_list args) PERI_PRINTF(2, 0);
static void on_mhd_log(void *data, const char *format, va_list args)
{
    char text[256];
    (void)data;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    peri_log(PERI_LOG_DEBUG, "http: %s", text);
}

static enum peri_code start_daemon(struct peri_http *http, const struct peri_http_options *options, bool ipv6,
                                   struct peri_error *err)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (ipv6 ? MHD_USE_IPv6 : 0);
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        http->listen_fd, MHD_OPTION_CONNECTION_LIMIT, options->max_connections == 0 ? 4096 : options->max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, options->idle_timeout_s == 0 ? 75U : options->idle_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (http->daemon == NULL)
        return peri_error_set(err, PERI_IO, "can't start the HTTP server (are there enough file descriptors?)");
    return PERI_OK;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct peri_http *http = handle->data;
    if (--http->open_handles > 0)
        return;
    free(http->sweep_fds);
    free(http->sweep_reqs);
    free(http->token);
    free(http->tmp_dir);
    free(http);
}

static void attach(struct peri_http *http)
{
    uv_loop_t *uv = peri_loop_uv(http->loop);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_poll_init(uv, &http->poll, info->epoll_fd);
    uv_check_init(uv, &http->check);
    uv_timer_init(uv, &http->timer);
    uv_timer_init(uv, &http->sweep);
    uv_timer_init(uv, &http->linger);
    uv_idle_init(uv, &http->idle);
    uv_async_init(uv, &http->room, on_room);
    http->poll.data = http->check.data = http->timer.data = http->sweep.data = http->linger.data = http->idle.data =
        http->room.data = http;
    http->open_handles = 7;
    uv_poll_start(&http->poll, UV_READABLE, on_poll);
    uv_check_start(&http->check, on_check);
}

enum peri_code peri_http_new(struct peri_loop *loop, const struct peri_http_options *options,
                             const struct peri_door *const *doors, struct peri_http **out, struct peri_error *err)
{
    struct peri_http *http = calloc(1, sizeof *http);
    bool ipv6 = false;
    enum peri_code code = PERI_NOMEM;
    if (http == NULL)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    http->loop = loop;
    http->listen_fd = -1;
    http->body_limit = options->body_limit == 0 ? 64U * 1024 * 1024 : options->body_limit;
    http->token = peri_str_dup(options->token);
    http->tmp_dir = peri_str_dup(peri_str_from(options->tmp_dir == NULL ? "/tmp" : options->tmp_dir));
    if (http->token == NULL || http->tmp_dir == NULL)
        peri_error_set(err, PERI_NOMEM, "out of memory");
    else
        code = peri_router_new(doors, &http->router, err);
    if (code == PERI_OK)
        code = listen_on(http, options->host == NULL ? "127.0.0.1" : options->host, options->port, &ipv6, err);
    if (code == PERI_OK)
        code = start_daemon(http, options, ipv6, err);
    if (code == PERI_OK) {
        attach(http);
        *out = http;
        return PERI_OK;
    }
    if (http->listen_fd >= 0)
        close(http->listen_fd);
    peri_router_free(http->router);
    free(http->token);
    free(http->tmp_dir);
    free(http);
    return code;
}

unsigned peri_http_port(const struct peri_http *http)
{
    return http->port;
}

void peri_http_quiesce(struct peri_http *http)
{
    if (http->listen_fd < 0)
        return;
    if (MHD_quiesce_daemon(http->daemon) != MHD_INVALID_SOCKET)
        close(http->listen_fd);
    http->listen_fd = -1;
}

unsigned peri_http_pending(const struct peri_http *http)
{
    return http->pending;
}

void peri_http_free(struct peri_http *http)
{
    if (http == NULL)
        return;
    http->closing = true;
    peri_http_quiesce(http);
    while (http->waiting != NULL)
        peri__http_abandon(http->waiting);
    MHD_run(http->daemon);
    uv_poll_stop(&http->poll);
    MHD_stop_daemon(http->daemon);
    peri__sink_abandon_all(http);
    while (http->pool != NULL) {
        struct peri_http_req *req = http->pool;
        http->pool = req->next;
        peri_buf_fini(&req->body);
        peri_buf_fini(&req->out_headers);
        free(req);
    }
    peri_router_free(http->router);
    uv_close((uv_handle_t *)&http->poll, on_handle_closed);
    uv_close((uv_handle_t *)&http->check, on_handle_closed);
    uv_close((uv_handle_t *)&http->timer, on_handle_closed);
    uv_close((uv_handle_t *)&http->sweep, on_handle_closed);
    uv_close((uv_handle_t *)&http->linger, on_handle_closed);
    uv_close((uv_handle_t *)&http->idle, on_handle_closed);
    uv_close((uv_handle_t *)&http->room, on_handle_closed);
}
