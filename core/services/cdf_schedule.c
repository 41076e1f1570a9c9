/* SPDX-License-Identifier: MIT */
#include "services/cdf_private.h"

/* functions.schedules.create: the function's id, a nonce, then the schedule. */

enum phase { START, LOOKUP, SESSION, CREATE, REVOKE };

struct schedule_state {
    enum phase phase;
    json_int_t function_id;
    struct peri_cdf__own_session session;
};

static void create(struct peri_flow *flow)
{
    struct schedule_state *state = peri_flow_state(flow);
    json_t *args = peri_flow_copy_args(flow);
    state->phase = CREATE;
    if (json_object_set_new(args, "function_id", json_integer(state->function_id)) != 0 ||
        (state->session.nonce && json_object_set(args, "nonce", state->session.nonce) != 0)) {
        json_decref(args);
        args = NULL;
    }
    peri_flow_send(flow, peri_flow_operation(flow), args, NULL);
}

static void create_session(struct peri_flow *flow)
{
    struct schedule_state *state = peri_flow_state(flow);
    const char *nonce = json_string_value(json_object_get(peri_flow_args(flow), "nonce"));
    if (nonce && nonce[0]) {
        create(flow);
        return;
    }
    state->phase = SESSION;
    peri_cdf__session_create(flow);
}

static void start(struct peri_flow *flow)
{
    struct schedule_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    const json_t *args = peri_flow_args(flow);
    const json_t *id = json_object_get(args, "function_id");
    const json_t *external_id = json_object_get(args, "function_external_id");
    json_t *item = NULL;
    if (peri_cdf__check_schedule(args, &err) == PERI_OK)
        item = peri_cdf__session_item(flow, NULL, &err); /* a mistake in the credentials is said at once */
    if (!item) {
        peri_flow_fail(flow, &err);
    } else if (json_is_integer(id)) {
        state->function_id = json_integer_value(id);
        create_session(flow);
    } else {
        state->phase = LOOKUP;
        peri_cdf__lookup(flow, external_id);
    }
    json_decref(item);
}

static void looked_up(struct peri_flow *flow, struct peri_op *child)
{
    struct schedule_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    const json_t *external_id = json_object_get(peri_flow_args(flow), "function_external_id");
    if (peri_cdf__found(child, external_id, &state->function_id, &err) == PERI_OK)
        create_session(flow);
    else
        peri_flow_fail(flow, &err);
}

static void step(struct peri_flow *flow, struct peri_op *child)
{
    struct schedule_state *state = peri_flow_state(flow);
    bool failed = child && peri_op_code(child) != PERI_OK;
    if (failed && state->phase == CREATE && peri_cdf__session_revoke(flow, &state->session, child)) {
        state->phase = REVOKE;
        return;
    }
    if (failed && (state->phase == SESSION || state->phase == CREATE)) {
        peri_flow_fail(flow, peri_op_error(child));
        return;
    }
    switch (state->phase) {
    case START:
        start(flow);
        break;
    case LOOKUP:
        looked_up(flow, child);
        break;
    case SESSION:
        if (peri_cdf__session_created(flow, &state->session, child))
            create(flow);
        break;
    case CREATE:
        peri_flow_finish(flow, child);
        break;
    case REVOKE:
        peri_flow_fail(flow, &state->session.cause);
        break;
    }
}

static void fini(void *data)
{
    struct schedule_state *state = data;
    json_decref(state->session.nonce);
}

const struct peri_flow_kind peri_cdf__schedule_create = { sizeof(struct schedule_state), step, fini, NULL };
