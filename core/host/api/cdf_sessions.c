/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "host/size.h"
#include "perilune/hash.h"

/* ---- create ---- */

static void on_gone(void *data)
{
    ((struct peri__cdf_job *)data)->req = NULL;
}

static void on_created(void *data, const struct peri_session *session, const char *nonce, const struct peri_error *err)
{
    struct peri__cdf_job *job = data;
    struct peri_buf out;
    struct peri_json_writer w;
    if (job->req != NULL && session == NULL) {
        peri_http_reply_error(job->req, 0, err);
    } else if (job->req != NULL) {
        peri__cdf_open_items(&w, &out);
        peri_jw_open(&w, '{');
        peri_jw_key_int(&w, "id", (int64_t)session->id);
        peri_jw_key_text(&w, "type", session->type);
        peri_jw_key_text(&w, "status", session->status);
        peri_jw_key_text(&w, "nonce", nonce);
        peri_jw_opt_text(&w, "clientId", session->client_id);
        peri_jw_close(&w, '}');
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(job->cdf, job->req, 200, &w);
    }
    free(job);
}

/* Which kind of credential it is. false: answered. */
static bool read_credential(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *item,
                            struct peri_session *spec)
{
    const char *client = NULL, *secret = NULL, *type = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    if (json_is_true(json_object_get(item, "tokenExchange")))
        type = "TOKEN_EXCHANGE";
    else if (json_is_true(json_object_get(item, "oneshotTokenExchange")))
        type = "ONESHOT_TOKEN_EXCHANGE";
    if (type == NULL) {
        type = "CLIENT_CREDENTIALS";
        if (json_object_get(item, "clientId") == NULL && json_object_get(item, "clientSecret") == NULL)
            return peri__cdf_refuse(req, "a session needs clientId and clientSecret, tokenExchange or "
                                         "oneshotTokenExchange");
        if (peri_json_get_string(item, "clientId", true, &client, &err) != PERI_OK ||
            peri_json_get_string(item, "clientSecret", true, &secret, &err) != PERI_OK)
            return peri__cdf_refuse(req, "%s", err.message);
        if (!peri__cdf_is_token(cdf, peri_str_from(secret)))
            return peri__cdf_refuse(req, "the client credentials are not good: on this host the secret is its token");
    }
    snprintf(spec->type, sizeof spec->type, "%s", type);
    spec->client_id = (char *)(uintptr_t)client;
    return true;
}

void peri__cdf_session_create(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_session spec = { 0 };
    json_t *body = peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_items(req, body, 1);
    if (items != NULL && read_credential(cdf, req, json_array_get(items, 0), &spec)) {
        struct peri__cdf_job *job = malloc(sizeof *job);
        if (job == NULL) {
            struct peri_error err;
            peri_error_set(&err, PERI_NOMEM, "out of memory");
            peri_http_reply_error(req, 0, &err);
        } else {
            *job = (struct peri__cdf_job){ .cdf = cdf, .req = req };
            peri_http_on_close(req, on_gone, job);
            peri_engine_session_create(cdf->engine, &spec, on_created, job);
        }
    }
    json_decref(body);
}

/* ---- list, by id ---- */

#define PAGE_DEFAULT 25
#define PAGE_MAX 1000
#define BYIDS_MAX 1000

static void write_session(struct peri_json_writer *w, const struct peri_session *session)
{
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)session->id);
    peri_jw_key_text(w, "type", session->type);
    peri_jw_key_text(w, "status", session->status);
    peri_jw_key_int(w, "creationTime", session->created_ms);
    peri_jw_key_int(w, "expirationTime", session->expires_ms);
    peri_jw_opt_text(w, "clientId", session->client_id);
    peri_jw_close(w, '}');
}

struct session_page {
    struct peri_json_writer *w;
    size_t left; /* one more than fits is asked for, to know whether there is a next page */
    uint64_t last_id;
    bool more;
};

static void take_session(void *data, const struct peri_session *session)
{
    struct session_page *page = data;
    if (page->left == 0) {
        page->more = true;
        return;
    }
    page->left--;
    page->last_id = session->id;
    write_session(page->w, session);
}

void peri__cdf_sessions_list(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    const char *limit_text = peri_http_query(req, "limit"), *cursor = peri_http_query(req, "cursor");
    const char *status = peri_http_query(req, "status");
    uint64_t limit = PAGE_DEFAULT, before = 0;
    if (limit_text != NULL && (!peri_number_parse(limit_text, PAGE_MAX, &limit) || limit == 0)) {
        peri__cdf_refuse(req, "limit must be a number from 1 to %d", PAGE_MAX);
        return;
    }
    if (cursor != NULL && !peri_number_parse(cursor, INT64_MAX, &before)) {
        peri__cdf_refuse(req, "cursor must be the nextCursor of an earlier answer");
        return;
    }
    struct peri_buf out;
    struct peri_json_writer w;
    struct peri_error err = PERI_ERROR_INIT;
    struct session_page page = { .w = &w, .left = limit };
    peri__cdf_open_items(&w, &out);
    if (peri_engine_sessions(cdf->engine, status, before, limit + 1, take_session, &page, &err) != PERI_OK) {
        peri_buf_fini(&out);
        peri_http_reply_error(req, 0, &err);
        return;
    }
    peri_jw_close(&w, ']');
    if (page.more) {
        char next[24];
        snprintf(next, sizeof next, "%" PRIu64, page.last_id);
        peri_jw_key_text(&w, "nextCursor", next);
    }
    peri_jw_close(&w, '}');
    peri__cdf_send(cdf, req, 200, &w);
}

/* Writes the sessions that body.items names and fills ids; false: answered with a 400. */
static bool write_named(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *items,
                        struct peri_json_writer *w, uint64_t *ids)
{
    size_t index;
    json_t *item, *missing = json_array();
    bool ok = missing != NULL;
    json_array_foreach((json_t *)items, index, item)
    {
        struct peri_session session = { 0 };
        const json_t *id = json_object_get(item, "id");
        ok = json_is_integer(id) || peri__cdf_refuse(req, "items[%zu] must be {\"id\": integer}", index);
        if (!ok)
            break;
        ids[index] = (uint64_t)json_integer_value(id);
        if (peri_engine_session(cdf->engine, ids[index], &session, NULL) == PERI_OK)
            write_session(w, &session);
        else
            json_array_append(missing, item);
        peri_session_fini(&session);
    }
    if (ok && json_array_size(missing) > 0) {
        peri__cdf_error(cdf, req, 400, "Sessions not found", "missing", missing);
        ok = false;
    }
    json_decref(missing);
    return ok;
}

void peri__cdf_sessions_byids(void *data, struct peri_http_req *req)
{
    uint64_t ids[BYIDS_MAX];
    struct peri_buf out;
    struct peri_json_writer w;
    json_t *body = peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_ids(data, req, body, BYIDS_MAX);
    peri__cdf_open_items(&w, &out);
    if (items != NULL && write_named(data, req, items, &w, ids)) {
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(data, req, 200, &w);
    } else {
        peri_buf_fini(&out);
    }
    json_decref(body);
}

/* ---- revoke ---- */

struct revoking {
    struct peri__cdf_job job; /* first */
    size_t count;
    uint64_t ids[BYIDS_MAX];
};

static void on_revoked(void *data, const struct peri_error *err)
{
    struct revoking *revoking = data;
    struct peri__cdf_job *job = &revoking->job;
    struct peri_buf out;
    struct peri_json_writer w;
    if (job->req != NULL && err != NULL) {
        peri_http_reply_error(job->req, 0, err);
    } else if (job->req != NULL) {
        peri__cdf_open_items(&w, &out);
        for (size_t i = 0; i < revoking->count; i++) {
            struct peri_session session = { 0 };
            if (peri_engine_session(job->cdf->engine, revoking->ids[i], &session, NULL) == PERI_OK)
                write_session(&w, &session);
            peri_session_fini(&session);
        }
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(job->cdf, job->req, 200, &w);
    }
    free(revoking);
}

void peri__cdf_sessions_revoke(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_buf out;
    struct peri_json_writer w;
    struct peri_error err = PERI_ERROR_INIT;
    struct revoking *revoking = malloc(sizeof *revoking);
    json_t *body = peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_ids(data, req, body, BYIDS_MAX);
    peri__cdf_open_items(&w, &out);
    if (items == NULL || revoking == NULL) {
        if (items != NULL) {
            peri_error_set(&err, PERI_NOMEM, "out of memory");
            peri_http_reply_error(req, 0, &err);
        }
        free(revoking);
    } else if (!write_named(cdf, req, items, &w, revoking->ids)) {
        free(revoking);
    } else {
        revoking->job = (struct peri__cdf_job){ .cdf = cdf, .req = req };
        revoking->count = json_array_size(items);
        peri_http_on_close(req, on_gone, &revoking->job);
        if (peri_engine_sessions_revoke(cdf->engine, revoking->ids, revoking->count, on_revoked, revoking, &err) !=
            PERI_OK) {
            peri_http_on_close(req, NULL, NULL);
            peri_http_reply_error(req, 0, &err);
            free(revoking);
        }
    }
    peri_buf_fini(&out);
    json_decref(body);
}
