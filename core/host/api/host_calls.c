/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "host/api/host_private.h"
#include "host/api/request_meta.h"
#include "perilune/json.h"

/* A request that waits for its call. */
struct waiting {
    struct peri__host *host;
    struct peri_http_req *req;
    uint64_t call_id;
};

static void set_number(struct peri_http_req *req, const char *name, uint64_t value)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    peri_http_set_header(req, name, digits + at);
}

/* A handler's own headers, but for those that frame the message or are the host's. */
static bool may_set(const char *name)
{
    static const char *const reserved[] = { "connection", "content-length", "content-type",      "date",   "keep-alive",
                                            "server",     "trailer",        "transfer-encoding", "upgrade" };
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcasecmp(name, reserved[i]) == 0)
            return false;
    }
    return strncasecmp(name, "perilune-", 9) != 0;
}

static void set_handler_headers(struct peri_http_req *req, const char *json)
{
    json_t *headers = peri_json_parse(peri_str_from(json), NULL);
    const char *name;
    json_t *value;
    json_object_foreach(headers, name, value)
    {
        if (json_is_string(value) && may_set(name))
            peri_http_set_header(req, name, json_string_value(value));
    }
    json_decref(headers);
}

static void reply_completed(struct peri_http_req *req, const struct peri_call *call, int status)
{
    bool shaped = call->content_type != NULL && call->content_type[0] != '\0';
    if (call->headers != NULL && call->headers[0] != '\0')
        set_handler_headers(req, call->headers);
    peri_http_reply(req, status, shaped ? call->content_type : "application/json", peri_buf_str(&call->response));
}

static void reply_failed(struct peri_http_req *req, const struct peri_call *call)
{
    struct peri_error err;
    enum peri_code code = call->code == PERI_OK ? PERI_CANCELLED : call->code;
    peri_error_set(&err, code, "%s", call->error_message == NULL ? peri_code_text(code) : call->error_message);
    peri__host_error(req, peri_http_status(code), &err, call->error_trace, call->id);
}

/* "duration-us=410; cpu-us=90; memory-peak=18432": one header, since each costs more than a small handler's answer. */
static void set_usage(struct peri_http_req *req, const struct peri_call *call)
{
    struct peri_buf text;
    peri_buf_init(&text, 256);
    if (peri_buf_append_text(&text, "duration-us=") == PERI_OK &&
        peri_buf_append_uint(&text, uv_hrtime() / 1000 - (uint64_t)peri_http_started_us(req)) == PERI_OK &&
        peri_buf_append_text(&text, "; cpu-us=") == PERI_OK && peri_buf_append_uint(&text, call->cpu_us) == PERI_OK &&
        peri_buf_append_text(&text, "; memory-peak=") == PERI_OK &&
        peri_buf_append_uint(&text, call->memory_peak) == PERI_OK)
        peri_http_set_header(req, "perilune-usage", text.data);
    peri_buf_fini(&text);
}

static void on_finished(void *data, struct peri_call *call)
{
    struct waiting *w = data;
    struct peri_http_req *req = w->req;
    free(w);
    set_number(req, "perilune-call-id", call->id);
    set_usage(req, call);
    if (call->state == PERI_CALL_COMPLETED) {
        peri_http_unmark(req);
        reply_completed(req, call, call->status >= 200 && call->status <= 599 ? call->status : 200);
    } else {
        reply_failed(req, call);
    }
}

static void on_accepted(void *data, struct peri_call *call)
{
    struct waiting *w = data;
    char location[48];
    snprintf(location, sizeof location, "/v1/calls/%" PRIu64, call->id);
    set_number(w->req, "perilune-call-id", call->id);
    peri_http_set_header(w->req, "Location", location);
    peri_engine_forget(w->host->engine, call->id, w);
    peri__host_reply_call(w->host, w->req, call, 202);
    free(w);
}

/* As the first answer, though the call may have ended meanwhile. */
static void on_replayed(void *data, struct peri_call *earlier)
{
    struct waiting *w = data;
    peri_http_set_header(w->req, "Idempotent-Replay", "true");
    on_accepted(data, earlier);
}

static void on_refused(void *data, struct peri_call *call, const struct peri_error *err)
{
    struct waiting *w = data;
    (void)call;
    peri_http_reply_error(w->req, 0, err);
    free(w);
}

static void on_gone(void *data)
{
    struct waiting *w = data;
    peri_engine_forget(w->host->engine, w->call_id, w);
    free(w);
}

static void submit(struct peri__host *host, struct peri_http_req *req, bool async)
{
    uint64_t timeout = 0;
    struct peri_call *call = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_terms terms = { 0 };
    bool any = false;
    struct peri_function *function = peri__host_find(host, req);
    if (function == NULL || !peri__host_terms(host, req, async, &terms, &any) ||
        !peri__host_number(req, "timeout_ms", 365 * INT64_C(86400000), &timeout)) {
        peri_function_unref(function);
        return;
    }
    struct waiting *w = malloc(sizeof *w);
    peri_buf_clear(&host->meta);
    if (w == NULL || peri_request_meta(req, &host->meta) != PERI_OK) {
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    } else {
        *w = (struct waiting){ .host = host, .req = req };
        struct peri_call_events events = { .finished = async ? NULL : on_finished,
                                           .accepted = async ? on_accepted : NULL,
                                           .refused = on_refused,
                                           .replayed = on_replayed,
                                           .data = w };
        struct peri_submit submit = { .function = function,
                                      .async = async,
                                      .input = peri_request_input(req),
                                      .body = peri_http_body(req),
                                      .request_meta = peri_buf_str(&host->meta),
                                      .timeout_ms = (int64_t)timeout,
                                      .terms = any ? &terms : NULL };
        peri_engine_submit(host->engine, &submit, &events, &call, &err);
    }
    peri_function_unref(function);
    if (call == NULL) {
        free(w);
        peri_http_reply_error(req, 0, &err);
        return;
    }
    w->call_id = call->id;
    peri_http_on_close(req, on_gone, w);
}

void peri__host_call_sync(void *data, struct peri_http_req *req)
{
    submit(data, req, false);
}

void peri__host_call_async(void *data, struct peri_http_req *req)
{
    submit(data, req, true);
}

void peri__host_result(void *data, struct peri_http_req *req)
{
    struct peri_call *call = peri__host_find_call(data, req, true);
    if (call == NULL)
        return;
    set_number(req, "perilune-call-id", call->id);
    if (!peri_call_state_final(call->state)) {
        struct peri_error err;
        peri_error_set(&err, PERI_CONFLICT, "call %" PRIu64 " is still %s", call->id,
                       call->state == PERI_CALL_QUEUED ? "queued" : "running");
        peri__host_error(req, 409, &err, NULL, call->id);
    } else if (call->state == PERI_CALL_COMPLETED) {
        if (call->status != 0)
            set_number(req, "perilune-status", (uint64_t)call->status);
        reply_completed(req, call, 200);
    } else {
        reply_failed(req, call);
    }
    peri_call_unref(call);
}
