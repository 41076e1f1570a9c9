/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/doors.h"
#include "host/api/json_writer.h"
#include "host/api/request_meta.h"
#include "perilune/hash.h"
#include "perilune/json.h"
#include "perilune/log.h"
#include "perilune/webhook.h"

/* The event runner: CIM Database Cloud calls a function with an event, by its webhook (signed) or by hand (the host's
 * token). The sandbox reads the event and makes the response; here are only names, credentials and failures. */

#define EVENT_MAX (16U * 1024 * 1024) /* a signature can only be checked when all of the body is there */

struct event_door {
    struct peri_door door; /* first: the door is handed out as this member */
    struct peri_engine *engine;
    char *secret;
    struct peri_buf meta; /* scratch, kept between requests */
};

/* ---- failures: {"response_type":"error",...} ---- */

/* The platform's runtime says which exception it was; these are its names for the same. */
static const char *error_type(enum peri_code code)
{
    switch ((int)code) {
    case PERI_BAD_REQUEST:
        return "ValidationError";
    case PERI_NOT_FOUND:
        return "LookupError";
    case PERI_UNAUTHORIZED:
        return "PermissionError";
    case PERI_HANDLER_TIMEOUT:
        return "TimeoutError";
    case PERI_HANDLER_MEMORY:
    case PERI_NOMEM:
        return "MemoryError";
    case PERI_CANCELLED:
        return "CancelledError";
    default:
        return "RuntimeError";
    }
}

struct failure {
    enum peri_code code;
    const char *message, *trace;
    bool of_call; /* the sandbox has seen the body */
};

static void reply_failure(struct peri_http_req *req, int status, const struct failure *failure)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    json_t *body = peri_json_parse(peri_http_body(req), NULL);
    const json_t *id = json_object_get(json_object_get(body, "event"), "event_id");
    bool no_json = failure->of_call && failure->code == PERI_BAD_REQUEST && body == NULL;
    peri_buf_init(&out, 1024 * 1024);
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "response_type", "error");
    peri_jw_key(&w, "event_id");
    peri_jw_text(&w, (struct peri_str){ json_string_value(id), json_string_length(id) });
    peri_jw_key_text(&w, "message", failure->message);
    peri_jw_key_text(&w, "error_type", no_json ? "JSONDecodeError" : error_type(failure->code));
    peri_jw_key_text(&w, "trace", failure->trace == NULL ? "" : failure->trace);
    peri_jw_close(&w, '}');
    json_decref(body);
    if (w.failed) {
        peri_buf_fini(&out);
        peri_http_reply(req, 500, "text/plain; charset=utf-8", peri_str_from("out of memory"));
        return;
    }
    peri_http_reply_take(req, status, "application/json", &out);
}

static void reply_error(void *data, struct peri_http_req *req, int status, const struct peri_error *err)
{
    (void)data;
    if (status == 401) {
        bool tried = peri_http_header(req, PERI_WEBHOOK_SIGNATURE) != NULL;
        if (tried)
            peri_log(PERI_LOG_WARN, "an event was refused: %s", err->message);
        peri_http_reply(req, 401, "text/plain; charset=utf-8",
                        peri_str_from(tried ? "Invalid signature" : err->message));
        return;
    }
    reply_failure(req, status, &(struct failure){ .code = err->code, .message = err->message });
}

/* ---- credentials ---- */

static int64_t now_s(const struct event_door *events)
{
    return peri_clock_wall_ms(peri_loop_clock(peri_engine_loop(events->engine))) / 1000;
}

/* The function's name without slashes around it. */
static struct peri_str name_of(const struct peri_http_req *req)
{
    struct peri_str name = peri_http_param(req, "name");
    while (name.len > 0 && name.data[0] == '/') {
        name.data++;
        name.len--;
    }
    while (name.len > 0 && name.data[name.len - 1] == '/')
        name.len--;
    return name;
}

/* A signature is for the body, which is not there yet: handle_event checks it. */
static enum peri_code authenticate(void *data, struct peri_http_req *req, struct peri_error *err)
{
    const char *signature = peri_http_header(req, PERI_WEBHOOK_SIGNATURE);
    if (peri_http_route(req) == NULL || name_of(req).len == 0 || peri_http_bearer(req, err) == PERI_OK)
        return PERI_OK;
    if (signature != NULL)
        return peri_webhook_check(peri_http_header(req, PERI_WEBHOOK_TIMESTAMP), signature, now_s(data), err);
    if (peri_http_header(req, "Authorization") == NULL)
        peri_error_set(err, PERI_UNAUTHORIZED,
                       "no credentials: sign with " PERI_WEBHOOK_TIMESTAMP " and " PERI_WEBHOOK_SIGNATURE
                       ", or send \"Authorization: Bearer TOKEN\"");
    return PERI_UNAUTHORIZED;
}

static enum peri_code verify(const struct event_door *events, struct peri_http_req *req, struct peri_error *err)
{
    if (peri_http_bearer(req, err) == PERI_OK)
        return PERI_OK;
    return peri_webhook_verify(peri_str_from(events->secret), peri_http_header(req, PERI_WEBHOOK_TIMESTAMP),
                               peri_http_header(req, PERI_WEBHOOK_SIGNATURE), peri_http_body(req), now_s(events), err);
}

/* ---- a call ---- */

struct waiting {
    struct event_door *events;
    struct peri_http_req *req;
    uint64_t call_id;
};

static void on_finished(void *data, struct peri_call *call)
{
    struct waiting *w = data;
    struct peri_http_req *req = w->req;
    char id[24];
    free(w);
    snprintf(id, sizeof id, "%" PRIu64, call->id);
    peri_http_set_header(req, "perilune-call-id", id);
    if (call->state == PERI_CALL_COMPLETED) {
        peri_http_unmark(req);
        peri_http_reply(req, call->status == 0 ? 200 : call->status,
                        call->content_type == NULL ? "application/json" : call->content_type,
                        peri_buf_str(&call->response));
        return;
    }
    struct failure failure = {
        .code = call->code, .message = call->error_message, .trace = call->error_trace, .of_call = true
    };
    if (failure.message == NULL)
        failure.message = peri_code_text(call->code);
    reply_failure(req, 500, &failure);
}

static void on_gone(void *data)
{
    struct waiting *w = data;
    peri_engine_forget(w->events->engine, w->call_id, w);
    free(w);
}

static void submit(struct event_door *events, struct peri_http_req *req, struct peri_function *function)
{
    struct peri_call *call = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    struct waiting *w = malloc(sizeof *w);
    peri_buf_clear(&events->meta);
    if (w == NULL || peri_request_meta(req, &events->meta) != PERI_OK) {
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    } else {
        *w = (struct waiting){ .events = events, .req = req };
        struct peri_call_events told = { .finished = on_finished, .data = w };
        struct peri_submit order = { .function = function,
                                     .input = PERI_INPUT_EVENT,
                                     .body = peri_http_body(req),
                                     .request_meta = peri_buf_str(&events->meta) };
        peri_engine_submit(events->engine, &order, &told, &call, &err);
    }
    if (call == NULL) {
        free(w);
        peri_http_reply_error(req, 0, &err);
        return;
    }
    w->call_id = call->id;
    peri_http_on_close(req, on_gone, w);
}

static void handle_event(void *data, struct peri_http_req *req)
{
    struct event_door *events = data;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_str name = name_of(req);
    if (name.len == 0) {
        peri_http_reply(req, 400, "text/plain; charset=utf-8", peri_str_from("No function name provided"));
        return;
    }
    if (verify(events, req, &err) != PERI_OK) {
        peri_http_reply_error(req, 0, &err);
        return;
    }
    struct peri_function *function = peri_engine_function_by_name(events->engine, name);
    if (function == NULL) {
        peri_error_set(&err, PERI_NOT_FOUND, "this host has no function '%.*s'", (int)(name.len < 200 ? name.len : 200),
                       name.data);
        peri_http_reply_error(req, 0, &err);
        return;
    }
    submit(events, req, function);
    peri_function_unref(function);
}

/* ---- the door ---- */

static const struct peri_route routes[] = {
    { "POST", "/cim/events", PERI_HTTP_BUFFERED, EVENT_MAX, true, handle_event, "events" },
    { "POST", "/cim/events/", PERI_HTTP_BUFFERED, EVENT_MAX, true, handle_event, "events" },
    { "POST", "/cim/events/{name...}", PERI_HTTP_BUFFERED, EVENT_MAX, true, handle_event, "events" },
};

struct peri_door *peri_cim_event_door_new(const struct peri_door_options *options, struct peri_error *err)
{
    struct event_door *events = calloc(1, sizeof *events);
    if (events != NULL)
        events->secret = strdup(options->cim_secret == NULL ? "" : options->cim_secret);
    if (events == NULL || events->secret == NULL) {
        free(events);
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    events->engine = options->engine;
    peri_buf_init(&events->meta, 1024 * 1024);
    events->door = (struct peri_door){ .name = "cim events",
                                       .routes = routes,
                                       .count = sizeof routes / sizeof routes[0],
                                       .data = events,
                                       .authenticate = authenticate,
                                       .reply_error = reply_error,
                                       .prefix = "/cim/events" };
    return &events->door;
}

void peri_cim_event_door_free(struct peri_door *door)
{
    struct event_door *events = (struct event_door *)door;
    if (events == NULL)
        return;
    peri_secure_zero(events->secret, strlen(events->secret));
    free(events->secret);
    peri_buf_fini(&events->meta);
    free(events);
}
