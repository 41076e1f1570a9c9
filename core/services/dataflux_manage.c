/* SPDX-License-Identifier: MIT */
#include "services/dataflux_private.h"

/* The management endpoints: members in "data", the answer out of its envelope. */

struct manage_state {
    struct peri_dataflux__signer signer;
    json_t *args; /* what the table's interpreter gets */
    json_t *body;
};

static json_t *nomem(struct peri_error *err)
{
    peri_error_set(err, PERI_NOMEM, "out of memory");
    return NULL;
}

/* "data" as the platform spells it, new. */
static json_t *make_data(const struct peri_flow *flow, struct peri_error *err)
{
    const struct peri_operation *operation = peri_flow_operation(flow);
    const json_t *args = peri_flow_args(flow);
    json_t *data = json_object(), *more = json_object_get(args, "data");
    bool fits = data != NULL;
    for (size_t i = 0; i < operation->field_count && fits; i++) {
        const struct peri_field *field = &operation->fields[i];
        json_t *value = json_object_get(args, field->name);
        if (field->place == PERI_IN_FLOW && field->wire && value)
            fits = json_object_set(data, field->wire, value) == 0;
    }
    if (fits && json_is_object(more))
        fits = json_object_update(data, more) == 0;
    if (fits)
        return data;
    json_decref(data);
    return nomem(err);
}

static enum peri_code prepare(struct peri_flow *flow, struct peri_error *err)
{
    struct manage_state *state = peri_flow_state(flow);
    const struct peri_operation *operation = peri_flow_operation(flow);
    enum peri_code code = peri_dataflux__no_streams(flow, err);
    if (code != PERI_OK)
        return code;
    state->args = peri_flow_copy_args(flow);
    if (!state->args)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    if (operation->body == PERI_BODY_OBJECT) {
        json_t *data = make_data(flow, err);
        if (!data || json_object_set_new(state->args, "data", data) != 0 ||
            !(state->body = json_pack("{s:O}", "data", data)))
            return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    return peri_dataflux__signer_init(&state->signer, peri_flow_client(flow), peri_flow_args(flow), state->body, err);
}

static void send_request(struct peri_flow *flow)
{
    struct manage_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    if (prepare(flow, &err) != PERI_OK) {
        peri_flow_fail(flow, &err);
        return;
    }
    struct peri_call_streams streams = {
        .signer = peri_dataflux__signer_is_needed(&state->signer) ? &state->signer.signer : NULL,
    };
    peri_flow_send(flow, peri_flow_operation(flow), json_incref(state->args), &streams);
}

/* {items, page_info}, new. */
static json_t *make_page(const json_t *data, const json_t *page_info)
{
    size_t i = 0;
    json_t *item = NULL, *items = json_array();
    json_array_foreach((json_t *)data, i, item)
    {
        if (json_array_append_new(items, peri_dataflux__snake(item)) != 0) {
            json_decref(items);
            return NULL;
        }
    }
    json_t *info = json_is_object(page_info) ? peri_dataflux__snake(page_info) : json_object();
    return json_pack("{s:o, s:o}", "items", items, "page_info", info);
}

static void finish(struct peri_flow *flow, struct peri_op *child, bool list)
{
    struct peri_error err = PERI_ERROR_INIT;
    const json_t *data = peri_dataflux__data(flow, child);
    if (!data)
        return;
    json_t *result = NULL;
    if (list && !json_is_array(data))
        peri_error_set(&err, PERI_PROTOCOL, "the answer has no list");
    else if (list)
        result = make_page(data, json_object_get(peri_op_json(child, NULL), "pageInfo"));
    else
        result = peri_dataflux__snake(data);
    if (result) {
        peri_flow_finish(flow, child);
        peri_flow_finish_value(flow, result);
        peri_flow_set_shape(flow, PERI_SHAPE_RAW);
    } else {
        err.status = peri_op_status(child);
        peri_flow_fail(flow, &err);
    }
    json_decref(result);
}

static void step_manage(struct peri_flow *flow, struct peri_op *child)
{
    if (child)
        finish(flow, child, false);
    else
        send_request(flow);
}

static void step_list(struct peri_flow *flow, struct peri_op *child)
{
    if (child)
        finish(flow, child, true);
    else
        send_request(flow);
}

static void fini_manage(void *data)
{
    struct manage_state *state = data;
    json_decref(state->args);
    json_decref(state->body);
}

const struct peri_flow_kind peri_dataflux__manage = { sizeof(struct manage_state), step_manage, fini_manage, NULL };
const struct peri_flow_kind peri_dataflux__list = { sizeof(struct manage_state), step_list, fini_manage, NULL };
