/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "services/cdf_private.h"

/* Operations on many identifiers, in as many requests as the service's limit asks for. */

/* How an operation on many says it. */
struct many {
    const char *ids, *external_ids;       /* its options; NULL: none */
    const struct peri_operation *request; /* with options items and ignore_unknown_ids */
    size_t chunk;                         /* the most that one request may name */
    bool says_ignore;                     /* ignoreUnknownIds is always sent */
    bool one_is_none;                     /* a single identifier (no list): the item alone, or no result */
    bool collects;                        /* the items of the replies are the result */
};
static const struct many functions_retrieve = { .ids = "ids",
                                                .external_ids = "external_ids",
                                                .request = &peri_cdf__functions_byids,
                                                .chunk = 10,
                                                .says_ignore = true,
                                                .collects = true };
static const struct many functions_delete = {
    .ids = "id", .external_ids = "external_id", .request = &peri_cdf__functions_delete, .chunk = 10
};
static const struct many schedules_retrieve = { .ids = "id",
                                                .request = &peri_cdf__schedules_byids,
                                                .chunk = 1000,
                                                .says_ignore = true,
                                                .one_is_none = true,
                                                .collects = true };
static const struct many schedules_delete = { .ids = "id", .request = &peri_cdf__schedules_delete, .chunk = 1000 };
static const struct many sessions_retrieve = {
    .ids = "id", .request = &peri_cdf__sessions_byids, .chunk = 1000, .one_is_none = true, .collects = true
};
static const struct many sessions_revoke = {
    .ids = "id", .request = &peri_cdf__sessions_revoke, .chunk = 100, .one_is_none = true, .collects = true
};

struct items_state {
    json_t *identifiers;
    json_t *collected; /* the items found so far */
    size_t next;
    unsigned requests, failed;
    struct peri_error first; /* of the failures */
};

/* Adds {key: value} for a value or each of a list. */
static enum peri_code add_identifiers(json_t *list, const char *option, const char *key, json_t *given,
                                      struct peri_error *err)
{
    bool text = strcmp(key, "externalId") == 0;
    size_t count = json_is_array(given) ? json_array_size(given) : 1;
    if (!given || json_is_null(given) || (json_is_object(given) && json_object_size(given) == 0))
        return PERI_OK;
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_is_array(given) ? json_array_get(given, i) : given;
        if (text ? !json_is_string(value) : !json_is_integer(value))
            return peri_error_set(err, PERI_INVALID, "option '%s' must hold %s", option,
                                  text ? "external ids (strings)" : "ids (integers)");
        if (json_array_append_new(list, json_pack("{s:O}", key, value)) != 0)
            return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    return PERI_OK;
}

static bool begin(struct peri_flow *flow, const struct many *many)
{
    struct items_state *state = peri_flow_state(flow);
    const json_t *args = peri_flow_args(flow);
    struct peri_error err = PERI_ERROR_INIT;
    state->identifiers = json_array();
    state->collected = json_array();
    if (!state->identifiers || !state->collected)
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    else
        add_identifiers(state->identifiers, many->ids, "id", json_object_get(args, many->ids), &err);
    if (err.code == PERI_OK && many->external_ids)
        add_identifiers(state->identifiers, many->external_ids, "externalId", json_object_get(args, many->external_ids),
                        &err);
    if (err.code == PERI_OK)
        return true;
    peri_flow_fail(flow, &err);
    return false;
}

/* Starts the next request; false when there is none left. */
static bool next_chunk(struct peri_flow *flow, const struct many *many)
{
    struct items_state *state = peri_flow_state(flow);
    size_t count = json_array_size(state->identifiers);
    if (state->next >= count)
        return false;
    json_t *ignore = many->says_ignore ? json_object_get(peri_flow_args(flow), "ignore_unknown_ids") : NULL;
    if (many->says_ignore && !json_is_true(ignore))
        ignore = json_false();
    json_t *items = json_array();
    bool whole = items != NULL;
    for (size_t i = 0; i < many->chunk && state->next < count && whole; i++)
        whole = json_array_append(items, json_array_get(state->identifiers, state->next++)) == 0;
    state->requests++;
    json_t *args = NULL;
    if (whole)
        args = json_pack("{s:o, s:O*}", "items", items, "ignore_unknown_ids", ignore);
    else
        json_decref(items);
    peri_flow_send(flow, many->request, args, NULL);
    return true;
}

static bool wants_one(struct peri_flow *flow, const struct many *many)
{
    return many->one_is_none && json_is_integer(json_object_get(peri_flow_args(flow), many->ids));
}

/* Keeps the items of a reply; on failure the flow was failed. */
static bool collect(struct peri_flow *flow, struct peri_op *child)
{
    struct items_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    json_t *items = json_object_get(peri_op_json(child, &err), "items");
    if (json_is_array(items) && json_array_extend(state->collected, items) == 0)
        return true;
    if (json_is_array(items))
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    else if (err.code == PERI_OK)
        peri_error_set(&err, PERI_PROTOCOL, "the answer has no list of items");
    peri_flow_fail(flow, &err);
    return false;
}

static void finish_collected(struct peri_flow *flow, const struct many *many)
{
    struct items_state *state = peri_flow_state(flow);
    json_t *result = json_pack("{s:O}", "items", state->collected);
    if (result)
        peri_flow_finish_value(flow, result);
    else
        peri_flow_fail(flow, &(struct peri_error)PERI_ERROR_INIT);
    if (wants_one(flow, many))
        peri_flow_set_shape(flow, PERI_SHAPE_ITEM);
    json_decref(result);
}

static void step_retrieve(struct peri_flow *flow, struct peri_op *child, const struct many *many)
{
    if (child && peri_op_code(child) != PERI_OK) {
        if (peri_op_code(child) == PERI_NOT_FOUND && wants_one(flow, many))
            finish_collected(flow, many);
        else
            peri_flow_fail(flow, peri_op_error(child));
        return;
    }
    if (child ? !collect(flow, child) : !begin(flow, many))
        return;
    if (!next_chunk(flow, many))
        finish_collected(flow, many);
}

/* These run to the end whatever fails, so that what can be done is; the first failure is reported. */
static void step_all(struct peri_flow *flow, struct peri_op *child, const struct many *many)
{
    struct items_state *state = peri_flow_state(flow);
    if (!child && !begin(flow, many))
        return;
    if (child && peri_op_code(child) != PERI_OK && state->failed++ == 0)
        state->first = *peri_op_error(child);
    if (child && peri_op_code(child) == PERI_OK && many->collects && !collect(flow, child))
        return;
    if (next_chunk(flow, many))
        return;
    if (state->failed == 0) {
        if (many->collects)
            finish_collected(flow, many);
        else
            peri_flow_finish_json(flow, peri_str_from("{}"));
        return;
    }
    if (state->requests > 1)
        peri_error_prefix(&state->first, "%u of %u requests failed, the first", state->failed, state->requests);
    peri_flow_fail(flow, &state->first);
}

static void fini_items(void *data)
{
    struct items_state *state = data;
    json_decref(state->identifiers);
    json_decref(state->collected);
}

/* A flow's step knows its operation by its own name. */
#define MANY(name, step, many)                                                                                         \
    static void step_##many(struct peri_flow *flow, struct peri_op *child)                                             \
    {                                                                                                                  \
        step(flow, child, &(many));                                                                                    \
    }                                                                                                                  \
    const struct peri_flow_kind name = { sizeof(struct items_state), step_##many, fini_items, NULL };

MANY(peri_cdf__retrieve_many, step_retrieve, functions_retrieve)
MANY(peri_cdf__delete, step_all, functions_delete)
MANY(peri_cdf__schedules_retrieve, step_retrieve, schedules_retrieve)
MANY(peri_cdf__schedules_delete_all, step_all, schedules_delete)
MANY(peri_cdf__sessions_retrieve, step_retrieve, sessions_retrieve)
MANY(peri_cdf__sessions_revoke_all, step_all, sessions_revoke)
