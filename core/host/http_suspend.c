/* SPDX-License-Identifier: MIT */
#include <poll.h>
#include <stdlib.h>

#include "host/http_private.h"
#include "host/http_sink.h"

#define SWEEP_MS 250
#define LINGER_TICK_MS 1
#define LINGER_TICKS 2
#define LINGER_MAX 128 /* at once: each is looked at in every run of libmicrohttpd */

/* Requests that wait for their answer. Suspending one costs two system calls and some locks, more than many a handler:
 * so a request first lingers, which to libmicrohttpd is a handler that has nothing to say yet and is asked again in
 * every run, and is suspended only when a few milliseconds brought no answer.
 *
 * libmicrohttpd does not watch suspended connections, so a sweep looks for peers that went away. */

static void list_add(struct peri_http_req *req)
{
    struct peri_http *http = req->http;
    if (req->listed)
        return;
    req->listed = true;
    req->prev = NULL;
    req->next = http->waiting;
    if (http->waiting != NULL)
        http->waiting->prev = req;
    http->waiting = req;
}

void peri__http_unlist(struct peri_http_req *req)
{
    if (!req->listed)
        return;
    req->listed = false;
    if (req->prev != NULL)
        req->prev->next = req->next;
    else
        req->http->waiting = req->next;
    if (req->next != NULL)
        req->next->prev = req->prev;
}

static void on_sweep(uv_timer_t *timer);

void peri__http_sweep_arm(struct peri_http *http)
{
    if (!http->closing && !uv_is_active((uv_handle_t *)&http->sweep))
        uv_timer_start(&http->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

void peri__http_suspend(struct peri_http_req *req)
{
    struct peri_http *http = req->http;
    req->suspended = true;
    list_add(req);
    MHD_suspend_connection(req->connection);
    peri__http_sweep_arm(http);
}

void peri__http_linger_end(struct peri_http_req *req)
{
    req->http->lingering -= req->lingering;
    req->lingering = false;
}

void peri__http_wait(struct peri_http_req *req)
{
    struct peri_http *http = req->http;
    if (http->lingering == LINGER_MAX || http->closing) {
        peri__http_suspend(req);
        return;
    }
    req->lingering = true;
    req->linger_tick = http->linger_tick;
    http->lingering++;
}

void peri__http_linger_on(struct peri_http_req *req)
{
    if (req->http->linger_tick - req->linger_tick <= LINGER_TICKS)
        return;
    peri__http_linger_end(req);
    peri__http_suspend(req);
}

static void on_linger(uv_timer_t *timer)
{
    struct peri_http *http = timer->data;
    http->linger_tick++;
    http->dirty = true;
    if (http->lingering == 0)
        uv_timer_stop(timer);
}

void peri__http_linger_arm(struct peri_http *http)
{
    if (!http->closing && !uv_is_active((uv_handle_t *)&http->linger))
        uv_timer_start(&http->linger, on_linger, LINGER_TICK_MS, LINGER_TICK_MS);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* an active idle handle keeps the loop from sleeping: that is all it is for */
}

void peri__http_again(struct peri_http *http)
{
    http->dirty = true;
    uv_idle_start(&http->idle, on_idle);
}

void peri__http_resume(struct peri_http_req *req)
{
    if (req->lingering) {
        peri__http_linger_end(req);
        peri__http_again(req->http);
    }
    if (!req->suspended)
        return;
    req->suspended = false;
    peri__http_unlist(req);
    req->http->dirty = true;
    MHD_resume_connection(req->connection);
}

void peri__http_abandon(struct peri_http_req *req)
{
    void (*on_close)(void *data) = req->on_close;
    bool streaming = req->state == PERI__REQ_STREAMING;
    req->on_close = NULL;
    if (!streaming)
        req->state = PERI__REQ_DEAD;
    req->stream_ended = true;
    if (on_close != NULL)
        on_close(req->on_close_data);
    req->stream_paused = false;
    peri__http_resume(req);
}

static bool sweep_reserve(struct peri_http *http, size_t count)
{
    if (count <= http->sweep_cap)
        return true;
    size_t cap = count * 2;
    struct pollfd *fds = realloc(http->sweep_fds, cap * sizeof *fds);
    if (fds == NULL)
        return false;
    http->sweep_fds = fds;
    struct peri_http_req **reqs = realloc(http->sweep_reqs, cap * sizeof(struct peri_http_req *));
    if (reqs == NULL)
        return false;
    http->sweep_reqs = reqs;
    http->sweep_cap = cap;
    return true;
}

static void on_sweep(uv_timer_t *timer)
{
    struct peri_http *http = timer->data;
    size_t count = 0;
    peri__sink_sweep(http);
    for (struct peri_http_req *r = http->waiting; r != NULL; r = r->next)
        count++;
    if (count == 0 && http->sinks == NULL)
        uv_timer_stop(timer);
    if (count == 0 || !sweep_reserve(http, count))
        return;
    size_t n = 0;
    for (struct peri_http_req *r = http->waiting; r != NULL; r = r->next) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        http->sweep_fds[n] = (struct pollfd){ .fd = info->connect_fd, .events = POLLRDHUP };
        http->sweep_reqs[n++] = r;
    }
    if (poll(http->sweep_fds, n, 0) <= 0)
        return;
    /* Abandoning one may, through its door, end another: only those still listed are looked at. */
    for (size_t i = 0; i < n; i++) {
        if ((http->sweep_fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0)
            continue;
        for (struct peri_http_req *r = http->waiting; r != NULL; r = r->next) {
            if (r == http->sweep_reqs[i]) {
                peri__http_abandon(r);
                break;
            }
        }
    }
}
