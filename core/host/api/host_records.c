/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <strings.h>

#include "host/api/host_private.h"

#define WAIT_MAX_S 60

/* ---- lists ---- */

struct listing {
    struct peri__host *host;
    struct peri_json_writer w;
};

static void list_one(void *data, const struct peri_call *call)
{
    struct listing *list = data;
    peri__host_call(list->host, &list->w, call);
}

static bool read_state(struct peri_http_req *req, int *state)
{
    const char *text = peri_http_query(req, "state");
    struct peri_error err;
    *state = -1;
    if (text == NULL)
        return true;
    for (int s = PERI_CALL_QUEUED; s <= PERI_CALL_CANCELLED; s++) {
        if (strcasecmp(text, peri_call_state_name((enum peri_call_state)s)) == 0) {
            *state = s;
            return true;
        }
    }
    peri_error_set(&err, PERI_BAD_REQUEST,
                   "state must be Queued, Running, Completed, Failed, Timeout or Cancelled, not '%.40s'", text);
    peri_http_reply_error(req, 0, &err);
    return false;
}

static void list_calls(struct peri__host *host, struct peri_http_req *req, uint64_t function_id, bool dead)
{
    struct peri_buf out;
    struct listing list = { .host = host, .w = { .out = &out } };
    struct peri_call_filter filter = { .function_id = function_id, .dead = dead };
    struct peri_error err = PERI_ERROR_INIT;
    uint64_t limit = 100;
    if (!peri__host_number(req, "limit", 10000, &limit) ||
        !peri__host_number(req, "before_id", INT64_MAX, &filter.before_id) || !read_state(req, &filter.state))
        return;
    peri_buf_init(&out, 256 * 1024 * 1024);
    peri_jw_open(&list.w, '{');
    peri_jw_key(&list.w, "items");
    peri_jw_open(&list.w, '[');
    if (limit > 0 && peri_engine_calls(host->engine, &filter, (size_t)limit, list_one, &list, &err) != PERI_OK) {
        peri_buf_fini(&out);
        peri_http_reply_error(req, 0, &err);
        return;
    }
    peri_jw_close(&list.w, ']');
    peri_jw_close(&list.w, '}');
    peri__host_send(req, 200, &list.w);
}

void peri__host_calls(void *data, struct peri_http_req *req)
{
    list_calls(data, req, 0, false);
}

void peri__host_dead(void *data, struct peri_http_req *req)
{
    list_calls(data, req, 0, true);
}

void peri__host_function_calls(void *data, struct peri_http_req *req)
{
    struct peri_function *function = peri__host_find(data, req);
    if (function == NULL)
        return;
    list_calls(data, req, function->id, false);
    peri_function_unref(function);
}

/* ---- one call ---- */

struct watching {
    struct peri__host *host;
    struct peri_http_req *req;
    uint64_t call_id, handle;
    struct peri_timer *timer;
};

static void watching_free(struct watching *w)
{
    peri_timer_free(w->timer);
    free(w);
}

static void on_end(void *data, struct peri_call *call)
{
    struct watching *w = data;
    peri__host_reply_call(w->host, w->req, call, 200);
    watching_free(w);
}

static void on_waited(void *data)
{
    struct watching *w = data;
    struct peri_error err = PERI_ERROR_INIT;
    peri_engine_unwatch(w->host->engine, w->handle);
    struct peri_call *call = peri_engine_call(w->host->engine, w->call_id, false, &err);
    if (call != NULL)
        peri__host_reply_call(w->host, w->req, call, 200);
    else
        peri_http_reply_error(w->req, 0, &err);
    peri_call_unref(call);
    watching_free(w);
}

static void on_gone(void *data)
{
    struct watching *w = data;
    peri_engine_unwatch(w->host->engine, w->handle);
    watching_free(w);
}

/* true: the answer comes when the call is final or the time is over. */
static bool wait_for(struct peri__host *host, struct peri_http_req *req, uint64_t call_id, uint64_t seconds)
{
    struct watching *w = calloc(1, sizeof *w);
    if (w == NULL)
        return false;
    *w = (struct watching){ .host = host, .req = req, .call_id = call_id };
    w->timer = peri_timer_new(peri_engine_loop(host->engine), on_waited, w, NULL);
    struct peri_watch watch = { .end = on_end, .data = w };
    w->handle = w->timer == NULL ? 0 : peri_engine_watch(host->engine, call_id, &watch);
    if (w->handle == 0) {
        watching_free(w);
        return false;
    }
    peri_timer_start(w->timer, (int64_t)seconds * 1000);
    peri_http_on_close(req, on_gone, w);
    return true;
}

void peri__host_call_show(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    uint64_t wait = 0;
    if (!peri__host_number(req, "wait", WAIT_MAX_S, &wait))
        return;
    struct peri_call *call = peri__host_find_call(host, req, false);
    if (call == NULL)
        return;
    if (wait == 0 || peri_call_state_final(call->state) || !wait_for(host, req, call->id, wait))
        peri__host_reply_call(host, req, call, 200);
    peri_call_unref(call);
}

void peri__host_cancel(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_call *call = peri__host_find_call(host, req, false);
    if (call == NULL)
        return;
    if (!peri_call_state_final(call->state))
        peri_engine_cancel(host->engine, call->id);
    peri__host_reply_call(host, req, call, 202);
    peri_call_unref(call);
}
