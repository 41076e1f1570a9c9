/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "services/cdf_private.h"

/* Calling a function, waiting for a call, and everything else that is asked of "the function with external id X". */

#define FIRST_PAUSE_MS 10
#define PAUSE_FACTOR 1.5
#define MAX_PAUSE_MS 1000

enum phase { START, LOOKUP, SESSION, CALL, REVOKE, POLL, PAUSE, ANSWER };

struct call_state {
    enum phase phase;
    json_int_t function_id;
    json_int_t call_id;
    struct peri_cdf__own_session session;
    double pause_ms;
};

void peri_cdf__lookup(struct peri_flow *flow, const json_t *external_id)
{
    peri_flow_send(flow, &peri_cdf__functions_byids, json_pack("{s:[{s:O}]}", "items", "externalId", external_id),
                   NULL);
}

enum peri_code peri_cdf__found(struct peri_op *lookup, const json_t *external_id, json_int_t *id,
                               struct peri_error *err)
{
    const char *name = json_string_value(external_id);
    if (peri_op_code(lookup) != PERI_OK) {
        *err = *peri_op_error(lookup);
        if (err->code == PERI_NOT_FOUND)
            peri_error_prefix(err, "no function has the external id '%s'", name);
        return err->code;
    }
    json_t *reply = peri_op_json(lookup, err);
    if (err->code != PERI_OK)
        return err->code;
    const json_t *found = json_object_get(json_array_get(json_object_get(reply, "items"), 0), "id");
    if (!json_is_integer(found))
        return peri_error_set(err, PERI_NOT_FOUND, "no function has the external id '%s'", name);
    *id = json_integer_value(found);
    return PERI_OK;
}

/* A request of this flow's own operation, or of another, with what the flow has found out. */
static void then_send(struct peri_flow *flow, const struct peri_operation *operation, const char *id_option)
{
    struct call_state *state = peri_flow_state(flow);
    json_t *args = peri_flow_copy_args(flow);
    if (json_object_set_new(args, id_option, json_integer(state->function_id)) != 0 ||
        (state->session.nonce && json_object_set(args, "nonce", state->session.nonce) != 0) ||
        (state->call_id && json_object_set_new(args, "call_id", json_integer(state->call_id)) != 0)) {
        json_decref(args);
        args = NULL;
    }
    peri_flow_send(flow, operation, args, NULL);
}

/* The function's id from the options: true, and state has it; false: a look-up was started. */
static bool resolve(struct peri_flow *flow, const char *id_option, const char *external_option)
{
    struct call_state *state = peri_flow_state(flow);
    const json_t *id = json_object_get(peri_flow_args(flow), id_option);
    if (json_is_integer(id)) {
        state->function_id = json_integer_value(id);
        return true;
    }
    state->phase = LOOKUP;
    peri_cdf__lookup(flow, json_object_get(peri_flow_args(flow), external_option));
    return false;
}

/* After a look-up: true when the id is known; false: the flow was failed. */
static bool resolved(struct peri_flow *flow, struct peri_op *child, const char *external_option)
{
    struct call_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_cdf__found(child, json_object_get(peri_flow_args(flow), external_option), &state->function_id, &err) ==
        PERI_OK)
        return true;
    peri_flow_fail(flow, &err);
    return false;
}

static void send_call(struct peri_flow *flow)
{
    struct call_state *state = peri_flow_state(flow);
    state->phase = CALL;
    then_send(flow, peri_flow_operation(flow), "id");
}

static void create_session(struct peri_flow *flow)
{
    struct call_state *state = peri_flow_state(flow);
    const char *nonce = json_string_value(json_object_get(peri_flow_args(flow), "nonce"));
    if (nonce && nonce[0]) {
        send_call(flow);
        return;
    }
    state->phase = SESSION;
    peri_cdf__session_create(flow);
}

static void poll(struct peri_flow *flow)
{
    struct call_state *state = peri_flow_state(flow);
    state->phase = POLL;
    then_send(flow, &peri_cdf__calls_byids, "function_id");
}

static bool is_running(const json_t *call)
{
    const char *status = json_string_value(json_object_get(call, "status"));
    return status && strcmp(status, "Running") == 0;
}

static bool wants_wait(struct peri_flow *flow)
{
    return !json_is_false(json_object_get(peri_flow_args(flow), "wait"));
}

/* The call was accepted: ends the flow, or goes on to wait. */
static void call_accepted(struct peri_flow *flow, struct peri_op *child)
{
    struct call_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    json_t *call = peri_op_json(child, &err);
    if (err.code != PERI_OK) {
        peri_flow_fail(flow, &err);
        return;
    }
    state->call_id = json_integer_value(json_object_get(call, "id"));
    if (!wants_wait(flow) || !is_running(call) || !state->call_id)
        peri_flow_finish(flow, child);
    else
        poll(flow);
}

static void polled(struct peri_flow *flow, struct peri_op *child)
{
    struct call_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    json_t *call = peri_op_json(child, &err);
    if (!call && err.code == PERI_OK)
        peri_error_set(&err, PERI_NOT_FOUND, "call %" JSON_INTEGER_FORMAT " does not exist", state->call_id);
    if (!call) {
        peri_flow_fail(flow, &err);
        return;
    }
    if (!is_running(call)) {
        peri_flow_finish(flow, child);
        return;
    }
    state->pause_ms = state->pause_ms > 0 ? state->pause_ms * PAUSE_FACTOR : FIRST_PAUSE_MS;
    if (state->pause_ms > MAX_PAUSE_MS)
        state->pause_ms = MAX_PAUSE_MS;
    state->phase = PAUSE;
    peri_flow_then(flow, peri_op_sleep(peri_op_loop(child), (int64_t)state->pause_ms, &err), &err);
}

static bool child_failed(struct peri_flow *flow, struct peri_op *child)
{
    struct call_state *state = peri_flow_state(flow);
    if (!child || peri_op_code(child) == PERI_OK || state->phase == LOOKUP || state->phase == REVOKE)
        return false;
    if (state->phase == CALL && peri_cdf__session_revoke(flow, &state->session, child))
        state->phase = REVOKE;
    else
        peri_flow_fail(flow, peri_op_error(child));
    return true;
}

static void step_call(struct peri_flow *flow, struct peri_op *child)
{
    struct call_state *state = peri_flow_state(flow);
    if (child_failed(flow, child))
        return;
    switch (state->phase) {
    case START:
        if (resolve(flow, "id", "external_id"))
            create_session(flow);
        break;
    case LOOKUP:
        if (resolved(flow, child, "external_id"))
            create_session(flow);
        break;
    case SESSION:
        if (peri_cdf__session_created(flow, &state->session, child))
            send_call(flow);
        break;
    case CALL:
        call_accepted(flow, child);
        break;
    case REVOKE:
        peri_flow_fail(flow, &state->session.cause);
        break;
    case POLL:
        polled(flow, child);
        break;
    default:
        poll(flow);
        break;
    }
}

static void begin_wait(struct peri_flow *flow)
{
    struct call_state *state = peri_flow_state(flow);
    state->call_id = json_integer_value(json_object_get(peri_flow_args(flow), "call_id"));
    poll(flow);
}

static void step_wait(struct peri_flow *flow, struct peri_op *child)
{
    struct call_state *state = peri_flow_state(flow);
    if (child_failed(flow, child))
        return;
    switch (state->phase) {
    case START:
        if (resolve(flow, "function_id", "function_external_id"))
            begin_wait(flow);
        break;
    case LOOKUP:
        if (resolved(flow, child, "function_external_id"))
            begin_wait(flow);
        break;
    case POLL:
        polled(flow, child);
        break;
    default:
        poll(flow);
        break;
    }
}

static void ask(struct peri_flow *flow)
{
    struct call_state *state = peri_flow_state(flow);
    state->phase = ANSWER;
    then_send(flow, peri_flow_operation(flow), "function_id");
}

static void step_of_function(struct peri_flow *flow, struct peri_op *child)
{
    struct call_state *state = peri_flow_state(flow);
    if (child_failed(flow, child))
        return;
    if (state->phase == ANSWER)
        peri_flow_finish(flow, child);
    else if (child ? resolved(flow, child, "function_external_id")
                   : resolve(flow, "function_id", "function_external_id"))
        ask(flow);
}

static void fini_call(void *data)
{
    struct call_state *state = data;
    json_decref(state->session.nonce);
}

static void say_still_running(struct peri_flow *flow, struct peri_error *err)
{
    struct call_state *state = peri_flow_state(flow);
    if (state->phase == POLL || state->phase == PAUSE)
        peri_error_prefix(err, "call %" JSON_INTEGER_FORMAT " is still running, and goes on", state->call_id);
}

const struct peri_flow_kind peri_cdf__call = { sizeof(struct call_state), step_call, fini_call, say_still_running };
const struct peri_flow_kind peri_cdf__wait = { sizeof(struct call_state), step_wait, fini_call, say_still_running };
const struct peri_flow_kind peri_cdf__of_function = { sizeof(struct call_state), step_of_function, fini_call, NULL };
