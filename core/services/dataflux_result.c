/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "perilune/json.h"
#include "services/dataflux_private.h"

/* task.result: a perilune host is asked for the answer itself, and holds the request until it is there; the platform only
 * has records of tasks, which appear late. */

#define HOLD_S 25 /* what one request waits at most: well below the patience of what may stand between */
#define FIRST_PAUSE_MS 100
#define PAUSE_FACTOR 2
#define MAX_PAUSE_MS 2000

enum phase { START, HOST, RECORD, PAUSE };

struct result_state {
    enum phase phase;
    bool records; /* the platform's way */
    int64_t until_ms, pause_ms;
    struct peri_dataflux__signer signer;
};

static int64_t left_ms(struct peri_flow *flow)
{
    const struct result_state *state = peri_flow_state(flow);
    struct peri_clock clock = peri_loop_clock(peri_client_loop(peri_flow_client(flow)));
    int64_t left = state->until_ms - peri_clock_monotonic_ms(clock);
    return left > 0 ? left : 0;
}

static const json_t *task_id(const struct peri_flow *flow)
{
    return json_object_get(peri_flow_args(flow), "task_id");
}

static void start(struct peri_flow *flow, struct peri_error *err)
{
    struct result_state *state = peri_flow_state(flow);
    const json_t *wait = json_object_get(peri_flow_args(flow), "wait");
    double seconds = json_is_number(wait) ? json_number_value(wait) : 0;
    struct peri_clock clock = peri_loop_clock(peri_client_loop(peri_flow_client(flow)));
    if (peri_dataflux__no_streams(flow, err) != PERI_OK)
        return;
    if (!(seconds >= 0 && seconds <= INT32_MAX)) {
        peri_error_set(err, PERI_INVALID, "option 'wait' must be seconds from 0 on");
        return;
    }
    state->until_ms = peri_clock_monotonic_ms(clock) + (int64_t)(seconds * 1000);
    (void)peri_dataflux__signer_init(&state->signer, peri_flow_client(flow), peri_flow_args(flow), NULL, err);
}

static void ask_host(struct peri_flow *flow)
{
    struct result_state *state = peri_flow_state(flow);
    int64_t wait_s = (left_ms(flow) + 999) / 1000;
    state->phase = HOST;
    json_t *args = json_pack("{s:O}", "task_id", task_id(flow));
    if (wait_s > 0 && json_object_set_new(args, "wait", json_integer(wait_s < HOLD_S ? wait_s : HOLD_S)) != 0) {
        json_decref(args);
        args = NULL;
    }
    peri_flow_send(flow, &peri_dataflux__task_result, args, NULL);
}

static void ask_record(struct peri_flow *flow)
{
    struct result_state *state = peri_flow_state(flow);
    struct peri_error err;
    struct peri_call_streams streams = { .signer = &state->signer.signer };
    if (peri_dataflux__signer_is_needed(&state->signer)) {
        state->phase = RECORD;
        peri_flow_send(flow, &peri_dataflux__task_record, json_pack("{s:O, s:i}", "id", task_id(flow), "page_size", 1),
                       &streams);
        return;
    }
    peri_error_set(&err, PERI_UNAUTHORIZED,
                   "the platform shows results of tasks only in its task records, which need credentials");
    peri_flow_fail(flow, &err);
}

static void not_ended(struct peri_flow *flow)
{
    struct result_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    int64_t left = left_ms(flow);
    if (left == 0) {
        peri_error_set(&err, PERI_TIMEOUT, "task %.64s has not ended%s", json_string_value(task_id(flow)),
                       state->records ? ", or has no record (yet: they appear up to 20 s late)" : "");
        err.retryable = true;
        peri_flow_fail(flow, &err);
        return;
    }
    state->pause_ms = state->pause_ms ? state->pause_ms * PAUSE_FACTOR : FIRST_PAUSE_MS;
    if (state->pause_ms > MAX_PAUSE_MS)
        state->pause_ms = MAX_PAUSE_MS;
    state->phase = PAUSE;
    int64_t pause = state->pause_ms < left ? state->pause_ms : left;
    peri_flow_then(flow, peri_op_sleep(peri_client_loop(peri_flow_client(flow)), pause, &err), &err);
}

/* The platform's 404 for a path that it does not know names the URL; that for a task names the task. */
static bool is_no_route(struct peri_op *child)
{
    if (peri_op_status(child) != 404)
        return false;
    json_t *answer = peri_json_parse(peri_op_body(child), NULL);
    bool no_route = json_is_string(json_object_get(json_object_get(answer, "detail"), "url"));
    json_decref(answer);
    return no_route;
}

static void host_answered(struct peri_flow *flow, struct peri_op *child)
{
    struct result_state *state = peri_flow_state(flow);
    if (peri_op_code(child) == PERI_OK && peri_op_status(child) == 202) {
        not_ended(flow);
    } else if (is_no_route(child)) {
        state->records = true;
        ask_record(flow);
    } else {
        peri_dataflux__answer(flow, child, true, false);
    }
}

/* ---- records ---- */

/* How the task ended, as the synchronous call would have failed: the same members, so that the same reader finds them. */
static void record_failed(struct peri_flow *flow, const json_t *record, const char *status)
{
    static const struct {
        const char *status, *reason;
        enum peri_code code;
        const char *message;
    } ends[] = {
        { "failure", "EFuncFailed", PERI_HANDLER_FAILED, "Func task failed" },
        { "timeout", "EFuncTimeout", PERI_HANDLER_TIMEOUT, "Func task timeout" },
        { "skip", "skip", PERI_CONFLICT, "the task was skipped" },
        { "expire", "expire", PERI_TIMEOUT, "the task has waited too long in its queue" },
        { "pending", "pending", PERI_SANDBOX_LOST, "the worker of the task was ended by its function" },
        { NULL, "", PERI_PROTOCOL, "the task's record has an unknown status" },
    };
    size_t i = 0;
    struct peri_error err;
    const char *exception = peri_dataflux__text(record, "exceptionTEXT");
    while (ends[i].status && strcmp(ends[i].status, status) != 0)
        i++;
    json_t *body = json_pack("{s:b, s:s, s:s, s:{s:O*, s:O*}}", "ok", 0, "reason", ends[i].reason, "message",
                             ends[i].message, "detail", "exception", json_object_get(record, "exceptionTEXT"),
                             "traceback", json_object_get(record, "tracebackTEXT"));
    peri_error_set(&err, ends[i].code, "%s%s%.600s", ends[i].message, exception ? ": " : "",
                   exception ? exception : "");
    peri_error_copy(err.platform_code, sizeof err.platform_code, ends[i].reason, strlen(ends[i].reason));
    if (body)
        peri_flow_finish_value(flow, body);
    else
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    json_decref(body);
    peri_flow_fail(flow, &err);
}

/* JSON as text or decoded, by the platform's database. */
static void record_succeeded(struct peri_flow *flow, struct peri_op *child, const json_t *record)
{
    struct peri_error err = PERI_ERROR_INIT;
    const json_t *given = json_object_get(record, "returnValueJSON");
    json_t *value = NULL;
    if (json_is_string(given))
        value = peri_json_parse((struct peri_str){ json_string_value(given), json_string_length(given) }, &err);
    if (!value && err.code == PERI_NOMEM) {
        peri_flow_fail(flow, &err);
        return;
    }
    if (!value)
        value = given ? json_incref((json_t *)given) : json_null();
    peri_flow_finish(flow, child);
    peri_flow_finish_value(flow, value);
    peri_flow_set_shape(flow, PERI_SHAPE_RAW);
    json_decref(value);
}

static void record_answered(struct peri_flow *flow, struct peri_op *child)
{
    const json_t *data = peri_dataflux__data(flow, child);
    if (!data)
        return;
    const json_t *record = json_array_get(data, 0);
    const char *status = peri_dataflux__text(record, "status");
    if (!status)
        not_ended(flow);
    else if (strcmp(status, "success") == 0)
        record_succeeded(flow, child, record);
    else
        record_failed(flow, record, status);
}

static void step_result(struct peri_flow *flow, struct peri_op *child)
{
    struct result_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    switch (state->phase) {
    case START:
        start(flow, &err);
        if (err.code == PERI_OK)
            ask_host(flow);
        else
            peri_flow_fail(flow, &err);
        break;
    case HOST:
        host_answered(flow, child);
        break;
    case RECORD:
        record_answered(flow, child);
        break;
    case PAUSE:
        if (state->records)
            ask_record(flow);
        else
            ask_host(flow);
        break;
    }
}

const struct peri_flow_kind peri_dataflux__result = { sizeof(struct result_state), step_result, NULL, NULL };
