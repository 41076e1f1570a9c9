/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "services/cdf_private.h"

/* Sessions: the item that asks for one depends on the options and on how the client signs in. */

/* {clientId, clientSecret} of the options or of the client; NULL with err.code PERI_OK: there are none. */
static json_t *credentials_item(const struct peri_flow *flow, struct peri_error *err)
{
    const json_t *given = json_object_get(peri_flow_args(flow), "client_credentials");
    const char *id = json_string_value(json_object_get(given, "client_id"));
    const char *secret = json_string_value(json_object_get(given, "client_secret"));
    bool from_options = given && !json_is_null(given);
    const struct peri_oauth *own = peri_client_oauth(peri_flow_client(flow));
    if (from_options && (!id || !secret)) {
        peri_error_set(err, PERI_INVALID, "option 'client_credentials' must hold client_id and client_secret");
        return NULL;
    }
    if (!from_options && !own)
        return NULL;
    json_t *item = json_pack("{s:s, s:s}", "clientId", from_options ? id : peri_oauth_client_id(own), "clientSecret",
                             from_options ? secret : peri_oauth_client_secret(own));
    if (!item)
        peri_error_set(err, PERI_NOMEM, "out of memory, or the client's credentials are not UTF-8");
    return item;
}

json_t *peri_cdf__session_item(const struct peri_flow *flow, const char *type, struct peri_error *err)
{
    peri_error_clear(err);
    bool by_default = !type || strcasecmp(type, "DEFAULT") == 0;
    if (by_default || strcasecmp(type, "CLIENT_CREDENTIALS") == 0) {
        json_t *item = credentials_item(flow, err);
        if (!item && err->code == PERI_OK && !by_default)
            peri_error_set(err, PERI_INVALID,
                           "a CLIENT_CREDENTIALS session needs option 'client_credentials', or a client with them");
        if (item || err->code != PERI_OK)
            return item;
    }
    if (by_default || strcasecmp(type, "TOKEN_EXCHANGE") == 0)
        return json_pack("{s:b}", "tokenExchange", 1);
    if (strcasecmp(type, "ONESHOT_TOKEN_EXCHANGE") == 0)
        return json_pack("{s:b}", "oneshotTokenExchange", 1);
    peri_error_set(err, PERI_INVALID,
                   "no session_type '%.40s': there are DEFAULT, CLIENT_CREDENTIALS, TOKEN_EXCHANGE and "
                   "ONESHOT_TOKEN_EXCHANGE",
                   type);
    return NULL;
}

static void send_item(struct peri_flow *flow, const char *type)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_t *item = peri_cdf__session_item(flow, type, &err);
    if (item)
        peri_flow_send(flow, &peri_cdf__sessions, json_pack("{s:[o]}", "items", item), NULL);
    else
        peri_flow_fail(flow, &err);
}

static void step_session(struct peri_flow *flow, struct peri_op *child)
{
    if (!child)
        send_item(flow, json_string_value(json_object_get(peri_flow_args(flow), "session_type")));
    else if (peri_op_code(child) != PERI_OK)
        peri_flow_fail(flow, peri_op_error(child));
    else
        peri_flow_finish(flow, child);
}

const struct peri_flow_kind peri_cdf__session = { 0, step_session, NULL, NULL };

/* The platform compares the status in upper case. */
static void step_list(struct peri_flow *flow, struct peri_op *child)
{
    char status[32] = "";
    if (child) {
        if (peri_op_code(child) != PERI_OK)
            peri_flow_fail(flow, peri_op_error(child));
        else
            peri_flow_finish(flow, child);
        return;
    }
    json_t *args = peri_flow_copy_args(flow);
    const char *given = json_string_value(json_object_get(args, "status"));
    struct peri_error err;
    for (size_t i = 0; given && given[i]; i++) {
        if (i + 1 >= sizeof status || (!isalpha((unsigned char)given[i]) && given[i] != '_')) {
            peri_error_set(&err, PERI_INVALID, "no session has the status '%.40s'", given);
            json_decref(args);
            peri_flow_fail(flow, &err);
            return;
        }
        status[i] = (char)toupper((unsigned char)given[i]);
        status[i + 1] = '\0';
    }
    if (given && json_object_set_new(args, "status", json_string(status)) != 0) {
        json_decref(args);
        args = NULL;
    }
    peri_flow_send(flow, peri_flow_operation(flow), args, NULL);
}

const struct peri_flow_kind peri_cdf__sessions_list = { 0, step_list, NULL, NULL };

/* ---- of another flow ---- */

void peri_cdf__session_create(struct peri_flow *flow)
{
    send_item(flow, NULL);
}

bool peri_cdf__session_created(struct peri_flow *flow, struct peri_cdf__own_session *session, struct peri_op *child)
{
    struct peri_error err = PERI_ERROR_INIT;
    const json_t *created = peri_op_json(child, &err);
    json_t *nonce = json_object_get(created, "nonce");
    if (json_is_string(nonce)) {
        session->nonce = json_incref(nonce);
        session->id = json_integer_value(json_object_get(created, "id"));
        return true;
    }
    if (err.code == PERI_OK)
        peri_error_set(&err, PERI_PROTOCOL, "the answer to the new session has no nonce");
    peri_flow_fail(flow, &err);
    return false;
}

/* Whether a failed request was certainly not carried out. */
static bool was_refused(const struct peri_error *err)
{
    if (err->status == 0)
        return err->code == PERI_CONNECT || err->code == PERI_RESOLVE;
    return err->status != 502 && err->status != 504;
}

bool peri_cdf__session_revoke(struct peri_flow *flow, struct peri_cdf__own_session *session, struct peri_op *failed)
{
    const struct peri_error *err = peri_op_error(failed);
    if (session->id == 0 || !was_refused(err))
        return false;
    session->cause = *err;
    json_t *args = json_pack("{s:[{s:I}]}", "items", "id", session->id);
    session->id = 0;
    if (!args) /* the failure that counts is the first one */
        return false;
    peri_flow_keep_answer(flow, failed);
    peri_flow_send(flow, &peri_cdf__sessions_revoke, args, NULL);
    return true;
}
