/* SPDX-License-Identifier: MIT */
#include "services/dataflux_private.h"

/* sync.call, async.call and func.call: one request. */

#define STALL_MS 60000

struct call_state {
    struct peri_dataflux__request request;
    struct peri_dataflux__signer signer;
};

static void send_request(struct peri_flow *flow)
{
    struct call_state *state = peri_flow_state(flow);
    struct peri_dataflux__request *request = &state->request;
    struct peri_call_streams *streams = peri_flow_streams(flow);
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_writer *sink = NULL;
    struct peri_op *op = NULL;
    peri_dataflux__request_init(request);
    if (peri_dataflux__request_build(request, flow, &err) == PERI_OK &&
        peri_dataflux__signer_init(&state->signer, peri_flow_client(flow), peri_flow_args(flow), request->json, &err) ==
            PERI_OK) {
        struct peri_reader *body = request->body;
        sink = streams->sink;
        request->body = NULL;
        streams->sink = NULL;
        struct peri_http http = {
            .method = request->method,
            .url = request->url.data,
            .headers = &request->headers,
            .body = body,
            .sink = sink,
            .idempotent = json_is_true(json_object_get(peri_flow_args(flow), "idempotent")),
            .shape = request->deferred ? PERI_SHAPE_RAW : PERI_SHAPE_ANSWER,
            .retry = peri_flow_service(flow)->retry,
            .progress = streams->progress,
            .progress_data = streams->progress_data,
            .first_byte_default_ms = request->deferred ? 0 : request->first_byte_ms,
            .stall_timeout_ms = STALL_MS,
            .signer = peri_dataflux__signer_is_needed(&state->signer) ? &state->signer.signer : NULL,
        };
        op = peri_client_request(peri_flow_client(flow), &http, &err);
    }
    peri_flow_then(flow, op, &err);
}

/* The id of the task that was queued. */
static void finish_deferred(struct peri_flow *flow, struct peri_op *child)
{
    json_t *data = peri_dataflux__data(flow, child);
    const json_t *id = json_object_get(data, "id");
    if (json_is_string(id)) {
        json_incref((json_t *)id);
        peri_flow_finish(flow, child);
        peri_flow_finish_value(flow, id);
        json_decref((json_t *)id);
    } else if (data) {
        struct peri_error err;
        peri_error_set(&err, PERI_PROTOCOL, "the answer has no task id");
        err.status = peri_op_status(child);
        peri_flow_fail(flow, &err);
    }
}

static void step_call(struct peri_flow *flow, struct peri_op *child)
{
    struct call_state *state = peri_flow_state(flow);
    if (!child)
        send_request(flow);
    else if (state->request.deferred)
        finish_deferred(flow, child);
    else
        peri_dataflux__answer(flow, child, state->request.unboxed, state->request.dumped);
}

static void fini_call(void *data)
{
    struct call_state *state = data;
    peri_dataflux__request_fini(&state->request);
}

const struct peri_flow_kind peri_dataflux__call = { sizeof(struct call_state), step_call, fini_call, NULL };
