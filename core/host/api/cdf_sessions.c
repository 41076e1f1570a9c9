/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "perilune/hash.h"
#include "perilune/uri.h"

/* ---- sessions ---- */

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

static bool is_token(const struct peri__cdf *cdf, struct peri_str secret)
{
    return peri_constant_time_equal(secret, peri_str_from(cdf->token));
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
        if (!is_token(cdf, peri_str_from(secret)))
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

/* ---- OAuth client credentials: the client's secret is the host's token, and so is the access token ---- */

static void reply_oauth_error(struct peri__cdf *cdf, struct peri_http_req *req, int status, const char *code,
                              const char *description)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 4096);
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "error", code);
    peri_jw_key_text(&w, "error_description", description);
    peri_jw_close(&w, '}');
    peri_http_set_header(req, "Cache-Control", "no-store");
    peri__cdf_send(cdf, req, status, &w);
}

/* A field of a form, decoded into out; false when it is absent or badly encoded. */
static bool form_field(struct peri_str form, const char *name, struct peri_buf *out)
{
    size_t len = strlen(name);
    const char *at = form.data, *end = form.data + form.len;
    peri_buf_clear(out);
    while (at < end) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        const char *stop = next == NULL ? end : next;
        if ((size_t)(stop - at) > len && memcmp(at, name, len) == 0 && at[len] == '=')
            return peri_uri_decode(out, (struct peri_str){ at + len + 1, (size_t)(stop - at) - len - 1 }, true) ==
                   PERI_OK;
        at = next == NULL ? end : next + 1;
    }
    return false;
}

static void reply_token(struct peri__cdf *cdf, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 65536);
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "access_token", cdf->token);
    peri_jw_key_int(&w, "expires_in", 3600);
    peri_jw_key_text(&w, "token_type", "Bearer");
    peri_jw_close(&w, '}');
    peri_http_set_header(req, "Cache-Control", "no-store");
    peri__cdf_send(cdf, req, 200, &w);
}

void peri__cdf_token(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_str form = peri_http_body(req);
    struct peri_buf value;
    peri_buf_init(&value, 65536);
    if (!form_field(form, "grant_type", &value) ||
        !peri_str_equal(peri_buf_str(&value), peri_str_from("client_credentials")))
        reply_oauth_error(cdf, req, 400, "unsupported_grant_type", "grant_type must be client_credentials");
    else if (!form_field(form, "client_secret", &value) || !is_token(cdf, peri_buf_str(&value)))
        reply_oauth_error(cdf, req, 401, "invalid_client", "client_secret must be this host's token");
    else
        reply_token(cdf, req);
    if (value.data != NULL)
        peri_secure_zero(value.data, value.cap);
    peri_buf_fini(&value);
}

/* There is one space of functions, whatever a client calls its project. */
void peri__cdf_inspect(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 4096);
    peri_jw_raw(&w, peri_str_from("{\"subject\":\"perilune\",\"projects\":[{\"projectUrlName\":\"default\",\"groups\":"
                                  "[]}],\"capabilities\":[]}"));
    peri__cdf_send(data, req, 200, &w);
}
