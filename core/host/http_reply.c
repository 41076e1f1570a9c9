/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "host/http_private.h"
#include "perilune/log.h"

static const struct peri_str empty = { "", 0 };

int peri_http_status(enum peri_code code)
{
    switch (code) {
    case PERI_INVALID:
    case PERI_BAD_REQUEST:
    case PERI_JSON:
        return 400;
    case PERI_UNAUTHORIZED:
        return 401;
    case PERI_FORBIDDEN:
        return 403;
    case PERI_NOT_FOUND:
        return 404;
    case PERI_NOT_ACCEPTABLE:
        return 406;
    case PERI_CONFLICT:
    case PERI_CANCELLED:
        return 409;
    case PERI_GONE:
        return 410;
    case PERI_TOO_LARGE:
    case PERI_PAYLOAD_TOO_LARGE:
        return 413;
    case PERI_UNSUPPORTED:
        return 415;
    case PERI_PACKAGE:
    case PERI_UNPROCESSABLE:
        return 422;
    case PERI_RATE_LIMITED:
        return 429;
    case PERI_SANDBOX_LOST:
        return 502;
    case PERI_BUSY:
    case PERI_STORE: /* a full disk, say: later it may work */
    case PERI_UNAVAILABLE:
        return 503;
    case PERI_TIMEOUT:
    case PERI_HANDLER_TIMEOUT:
    case PERI_EXPIRED:
        return 504;
    default:
        return 500;
    }
}

void peri_http_on_close(struct peri_http_req *req, void (*fn)(void *data), void *data)
{
    req->on_close = fn;
    req->on_close_data = data;
}

void peri_http_set_header(struct peri_http_req *req, const char *name, const char *value)
{
    struct peri_buf *out = &req->out_headers;
    size_t before = out->len;
    if (strpbrk(name, "\r\n") != NULL || strpbrk(value, "\r\n") != NULL)
        return;
    if (peri_buf_append(out, name, strlen(name) + 1) != PERI_OK ||
        peri_buf_append(out, value, strlen(value) + 1) != PERI_OK)
        out->len = before;
}

void peri_http_unmark(struct peri_http_req *req)
{
    req->unmarked = true;
}

static void each_out_header(struct peri_http_req *req, void (*fn)(void *data, const char *name, const char *value),
                            void *data)
{
    const char *at = req->out_headers.data, *end = at == NULL ? NULL : at + req->out_headers.len;
    while (at < end) {
        const char *name = at, *value = name + strlen(name) + 1;
        at = value + strlen(value) + 1;
        fn(data, name, value);
    }
}

static void add_to_response(void *data, const char *name, const char *value)
{
    MHD_add_response_header(data, name, value);
}

static void add_to_text(void *data, const char *name, const char *value)
{
    peri_buf_printf(data, "%s: %s\r\n", name, value);
}

/* An answer to a body that is refused while it still comes, which libmicrohttpd has no state for. It is small and the
 * first thing on the socket's way out, so it fits into the socket's buffer or the peer is beyond help. */
static void reply_raw(struct peri_http_req *req, int status, const char *content_type, struct peri_str body)
{
    struct peri_buf text;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(req->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    peri_buf_init(&text, 256 * 1024);
    peri_buf_printf(&text,
                    "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                    "perilune-version: %s\r\n",
                    status, MHD_get_reason_phrase_for((unsigned)status), content_type, body.len, PERI_VERSION);
    each_out_header(req, add_to_text, &text);
    peri_buf_append_text(&text, "\r\n");
    peri_buf_append_str(&text, body);
    if (info != NULL && send(info->connect_fd, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        peri_log(PERI_LOG_DEBUG, "http: a refusal could not be sent");
    peri_buf_fini(&text);
    req->state = PERI__REQ_DEAD;
}

void peri__http_finish(struct peri_http_req *req, int status, const char *content_type, struct MHD_Response *response)
{
    if (!req->unmarked)
        MHD_add_response_header(response, "perilune-version", PERI_VERSION);
    if (content_type != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    each_out_header(req, add_to_response, response);
    req->on_close = NULL;
    req->response = response;
    req->status = status;
    if (req->state == PERI__REQ_READING || req->state == PERI__REQ_HANDLING) {
        req->state = PERI__REQ_REPLIED;
        return;
    }
    req->state = PERI__REQ_REPLIED;
    peri__http_resume(req);
}

static void reply(struct peri_http_req *req, int status, const char *content_type, struct peri_str body,
                  enum MHD_ResponseMemoryMode mode)
{
    if (req->state == PERI__REQ_DEAD || req->response != NULL) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free((void *)(uintptr_t)body.data);
        return;
    }
    if (req->raw) {
        reply_raw(req, status, content_type == NULL ? "application/octet-stream" : content_type, body);
        if (mode == MHD_RESPMEM_MUST_FREE)
            free((void *)(uintptr_t)body.data);
        return;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)(body.data == NULL ? "" : body.data), mode);
    if (response == NULL) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free((void *)(uintptr_t)body.data);
        status = 500;
        response = MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    }
    if (response == NULL)
        abort(); /* not even a hundred bytes are left */
    peri__http_finish(req, status, content_type, response);
}

void peri_http_reply(struct peri_http_req *req, int status, const char *content_type, struct peri_str body)
{
    reply(req, status, content_type, body, body.len == 0 ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_COPY);
}

void peri_http_reply_take(struct peri_http_req *req, int status, const char *content_type, struct peri_buf *body)
{
    size_t len = body->len;
    if (len == 0) {
        peri_buf_fini(body);
        reply(req, status, content_type, empty, MHD_RESPMEM_PERSISTENT);
        return;
    }
    char *data = peri_buf_take(body, &len);
    reply(req, status, content_type, (struct peri_str){ data, len }, MHD_RESPMEM_MUST_FREE);
}

void peri_http_reply_error(struct peri_http_req *req, int status, const struct peri_error *err)
{
    const struct peri_door *door = req->match.door;
    if (status == 0)
        status = peri_http_status(err->code);
    if (status == 401)
        peri_http_set_header(req, "WWW-Authenticate", "Bearer");
    if (err->retry_after_ms >= 0) {
        char seconds[24];
        snprintf(seconds, sizeof seconds, "%lld", (long long)((err->retry_after_ms + 999) / 1000));
        peri_http_set_header(req, "Retry-After", seconds);
    }
    if (door != NULL && door->reply_error != NULL)
        door->reply_error(door->data, req, status, err);
    else
        peri_http_reply(req, status, "text/plain; charset=utf-8", peri_str_from(err->message));
}

/* ---- replies in pieces ---- */

static ssize_t read_stream(void *data, uint64_t position, char *out, size_t max)
{
    struct peri_http_req *req = data;
    (void)position;
    if (req->stream.len > 0) {
        size_t n = req->stream.len < max ? req->stream.len : max;
        memcpy(out, req->stream.data, n);
        peri_buf_consume(&req->stream, n);
        return (ssize_t)n;
    }
    if (req->stream_ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    req->stream_paused = true;
    peri__http_suspend(req);
    return 0;
}

static void stream_ready(struct peri_http_req *req)
{
    if (!req->stream_paused)
        return;
    req->stream_paused = false;
    peri__http_resume(req);
}

void peri_http_stream_begin(struct peri_http_req *req, int status, const char *content_type)
{
    if (req->state == PERI__REQ_DEAD || req->response != NULL)
        return;
    void (*on_close)(void *data) = req->on_close;
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 * 1024, read_stream, req, NULL);
    if (response == NULL)
        abort();
    bool waiting = req->state == PERI__REQ_WAITING;
    req->state = PERI__REQ_READING; /* peri__http_finish must not resume before the state is streaming */
    peri__http_finish(req, status, content_type, response);
    req->state = PERI__REQ_STREAMING;
    req->on_close = on_close; /* may still be cut short */
    if (waiting)
        peri__http_resume(req);
}

enum peri_code peri_http_stream_write(struct peri_http_req *req, struct peri_str bytes)
{
    enum peri_code code = peri_buf_append_str(&req->stream, bytes);
    if (code == PERI_OK && bytes.len > 0)
        stream_ready(req);
    return code;
}

void peri_http_stream_end(struct peri_http_req *req)
{
    req->on_close = NULL;
    req->stream_ended = true;
    stream_ready(req);
}
