/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/host_private.h"
#include "host/size.h"

#define KEEP_ALIVE_MS 15000

/* ---- as a list ---- */

static void list_line(void *data, size_t index, const struct peri_log_line *line)
{
    (void)index;
    peri__host_line(data, line);
}

static void reply_list(struct peri__host *host, struct peri_http_req *req, uint64_t call_id, size_t first)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_error err = PERI_ERROR_INIT;
    peri_buf_init(&out, 256 * 1024 * 1024);
    peri_jw_open(&w, '{');
    peri_jw_key(&w, "items");
    peri_jw_open(&w, '[');
    if (peri_engine_log(host->engine, call_id, first, list_line, &w, &err) != PERI_OK) {
        peri_buf_fini(&out);
        peri_http_reply_error(req, 0, &err);
        return;
    }
    peri_jw_close(&w, ']');
    peri_jw_close(&w, '}');
    peri__host_send(req, 200, &w);
}

/* ---- as server-sent events ---- */

struct following {
    struct peri__host *host;
    struct peri_http_req *req;
    uint64_t handle;
    size_t next; /* index of the next line to send */
    struct peri_timer *timer;
    struct peri_buf event;
    bool overrun; /* the peer reads too slowly */
};

static void following_free(struct following *f)
{
    peri_timer_free(f->timer);
    peri_buf_fini(&f->event);
    free(f);
}

static void send_event(struct following *f)
{
    if (!f->overrun && peri_http_stream_write(f->req, peri_buf_str(&f->event)) != PERI_OK)
        f->overrun = true;
    peri_buf_clear(&f->event);
}

static void send_line(void *data, size_t index, const struct peri_log_line *line)
{
    struct following *f = data;
    struct peri_json_writer w = { .out = &f->event };
    if (index < f->next || f->overrun)
        return;
    f->next = index + 1;
    peri_buf_printf(&f->event, "id: %zu\nevent: line\ndata: ", index);
    peri__host_line(&w, line);
    peri_buf_append_text(&f->event, "\n\n");
    send_event(f);
}

static void on_gone(void *data)
{
    struct following *f = data;
    peri_engine_unwatch(f->host->engine, f->handle);
    following_free(f);
}

/* A peer that reads so slowly that megabytes wait loses the stream; it can resume with Last-Event-ID. */
static bool cut_off(struct following *f)
{
    if (!f->overrun)
        return false;
    peri_engine_unwatch(f->host->engine, f->handle);
    peri_http_stream_end(f->req);
    following_free(f);
    return true;
}

static void on_line(void *data, size_t index, const struct peri_log_line *line)
{
    struct following *f = data;
    send_line(f, index, line);
    cut_off(f);
}

static void send_end(struct following *f, const struct peri_call *call)
{
    struct peri_json_writer w = { .out = &f->event };
    peri_buf_append_text(&f->event, "event: end\ndata: ");
    peri__host_call(f->host, &w, call);
    peri_buf_append_text(&f->event, "\n\n");
    send_event(f);
    peri_http_stream_end(f->req);
    following_free(f);
}

static void on_end(void *data, struct peri_call *call)
{
    send_end(data, call);
}

static void on_quiet(void *data)
{
    struct following *f = data;
    peri_buf_append_text(&f->event, ": still running\n\n");
    send_event(f);
    if (!cut_off(f))
        peri_timer_start(f->timer, KEEP_ALIVE_MS);
}

static void follow(struct peri__host *host, struct peri_http_req *req, struct peri_call *call, size_t first)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct following *f = calloc(1, sizeof *f);
    struct peri_timer *timer = f == NULL ? NULL : peri_timer_new(peri_engine_loop(host->engine), on_quiet, f, NULL);
    if (timer == NULL) {
        free(f);
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        return;
    }
    *f = (struct following){ .host = host, .req = req, .next = first, .timer = timer };
    peri_buf_init(&f->event, 16 * 1024 * 1024);
    peri_http_set_header(req, "Cache-Control", "no-store");
    peri_http_stream_begin(req, 200, "text/event-stream");
    peri_engine_log(host->engine, call->id, first, send_line, f, &err);
    struct peri_watch watch = { .line = on_line, .end = on_end, .data = f };
    f->handle = peri_engine_watch(host->engine, call->id, &watch);
    if (f->handle == 0) {
        struct peri_call *final = peri_engine_call(host->engine, call->id, false, &err);
        send_end(f, final == NULL ? call : final);
        peri_call_unref(final);
        return;
    }
    peri_http_on_close(req, on_gone, f);
    if (!cut_off(f))
        peri_timer_start(f->timer, KEEP_ALIVE_MS);
}

void peri__host_log(void *data, struct peri_http_req *req)
{
    const char *accept = peri_http_header(req, "accept"), *last = peri_http_header(req, "last-event-id");
    uint64_t first = 0, seen = 0;
    bool followed = accept != NULL && strstr(accept, "text/event-stream") != NULL;
    if (!peri__host_number(req, "first", INT64_MAX, &first) || !peri__host_flag(req, "follow", &followed))
        return;
    if (last != NULL && peri_number_parse(last, INT64_MAX, &seen))
        first = seen + 1;
    struct peri_call *call = peri__host_find_call(data, req, false);
    if (call == NULL)
        return;
    if (followed)
        follow(data, req, call, (size_t)first);
    else
        reply_list(data, req, call->id, (size_t)first);
    peri_call_unref(call);
}
