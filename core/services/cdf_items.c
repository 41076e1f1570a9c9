/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "services/cdf_private.h"

/* Operations on many identifiers, in requests of ten; and sessions, whose item depends on the options. */

#define CHUNK 10

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

static bool begin(struct peri_flow *flow, const char *ids, const char *external_ids)
{
    struct items_state *state = peri_flow_state(flow);
    const json_t *args = peri_flow_args(flow);
    struct peri_error err = PERI_ERROR_INIT;
    state->identifiers = json_array();
    state->collected = json_array();
    if (!state->identifiers || !state->collected)
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    else if (add_identifiers(state->identifiers, ids, "id", json_object_get(args, ids), &err) == PERI_OK &&
             add_identifiers(state->identifiers, external_ids, "externalId", json_object_get(args, external_ids),
                             &err) == PERI_OK)
        return true;
    peri_flow_fail(flow, &err);
    return false;
}

/* Starts the next request; false when there is none left. */
static bool next_chunk(struct peri_flow *flow, const struct peri_operation *operation, json_t *ignore_unknown)
{
    struct items_state *state = peri_flow_state(flow);
    size_t count = json_array_size(state->identifiers);
    if (state->next >= count)
        return false;
    json_t *items = json_array();
    bool whole = items != NULL;
    for (size_t i = 0; i < CHUNK && state->next < count && whole; i++)
        whole = json_array_append(items, json_array_get(state->identifiers, state->next++)) == 0;
    state->requests++;
    json_t *args = NULL;
    if (whole)
        args = json_pack("{s:o, s:O*}", "items", items, "ignore_unknown_ids", ignore_unknown);
    else
        json_decref(items);
    peri_flow_send(flow, operation, args, NULL);
    return true;
}

static void step_retrieve(struct peri_flow *flow, struct peri_op *child)
{
    struct items_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    if (child && peri_op_code(child) != PERI_OK) {
        peri_flow_fail(flow, peri_op_error(child));
        return;
    }
    if (!child && !begin(flow, "ids", "external_ids"))
        return;
    if (child) {
        json_t *items = json_object_get(peri_op_json(child, &err), "items");
        if (!json_is_array(items)) {
            if (err.code == PERI_OK)
                peri_error_set(&err, PERI_PROTOCOL, "the answer has no list of items");
            peri_flow_fail(flow, &err);
            return;
        }
        if (json_array_extend(state->collected, items) != 0) {
            peri_error_set(&err, PERI_NOMEM, "out of memory");
            peri_flow_fail(flow, &err);
            return;
        }
    }
    json_t *ignore = json_object_get(peri_flow_args(flow), "ignore_unknown_ids");
    if (next_chunk(flow, &peri_cdf__functions_byids, json_is_true(ignore) ? ignore : json_false()))
        return;
    json_t *result = json_pack("{s:O}", "items", state->collected);
    peri_flow_finish_value(flow, result);
    json_decref(result);
}

/* Deletes run to the end whatever fails, so that what can be deleted is; the first failure is reported. */
static void step_delete(struct peri_flow *flow, struct peri_op *child)
{
    struct items_state *state = peri_flow_state(flow);
    if (!child && !begin(flow, "id", "external_id"))
        return;
    if (child && peri_op_code(child) != PERI_OK && state->failed++ == 0)
        state->first = *peri_op_error(child);
    if (next_chunk(flow, &peri_cdf__functions_delete, NULL))
        return;
    if (state->failed == 0) {
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

const struct peri_flow_kind peri_cdf__retrieve_many = { sizeof(struct items_state), step_retrieve, fini_items, NULL };
const struct peri_flow_kind peri_cdf__delete = { sizeof(struct items_state), step_delete, fini_items, NULL };

/* The item of POST /sessions that a type stands for, new; NULL with err. */
static json_t *session_item(const json_t *args, struct peri_error *err)
{
    const json_t *credentials = json_object_get(args, "client_credentials");
    const char *id = json_string_value(json_object_get(credentials, "client_id"));
    const char *secret = json_string_value(json_object_get(credentials, "client_secret"));
    const char *type = json_string_value(json_object_get(args, "session_type"));
    if (credentials && !json_is_null(credentials) && (!id || !secret)) {
        peri_error_set(err, PERI_INVALID, "option 'client_credentials' must hold client_id and client_secret");
        return NULL;
    }
    if (!type || strcasecmp(type, "DEFAULT") == 0)
        type = id ? "CLIENT_CREDENTIALS" : "TOKEN_EXCHANGE";
    if (strcasecmp(type, "CLIENT_CREDENTIALS") == 0) {
        if (id)
            return json_pack("{s:s, s:s}", "clientId", id, "clientSecret", secret);
        peri_error_set(err, PERI_INVALID, "a CLIENT_CREDENTIALS session needs option 'client_credentials'");
        return NULL;
    }
    if (strcasecmp(type, "TOKEN_EXCHANGE") == 0)
        return json_pack("{s:b}", "tokenExchange", 1);
    if (strcasecmp(type, "ONESHOT_TOKEN_EXCHANGE") == 0)
        return json_pack("{s:b}", "oneshotTokenExchange", 1);
    peri_error_set(err, PERI_INVALID, "no session_type '%.40s'", type);
    return NULL;
}

static void step_session(struct peri_flow *flow, struct peri_op *child)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (child && peri_op_code(child) != PERI_OK) {
        peri_flow_fail(flow, peri_op_error(child));
        return;
    }
    if (child) {
        peri_flow_finish(flow, child);
        return;
    }
    json_t *item = session_item(peri_flow_args(flow), &err);
    if (!item) {
        peri_flow_fail(flow, &err);
        return;
    }
    peri_flow_send(flow, &peri_cdf__sessions, json_pack("{s:[o]}", "items", item), NULL);
}

const struct peri_flow_kind peri_cdf__session = { 0, step_session, NULL, NULL };
