/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "host/api/request_meta.h"

/* A call that is being started: first the nonce is used up, then the call is stored. */
struct starting {
    struct peri__cdf *cdf;
    struct peri_http_req *req; /* NULL: its peer has gone */
    struct peri_function *function;
    struct peri_buf data, meta;
    uint64_t call_id; /* 0: not submitted yet */
};

static void starting_free(struct starting *s)
{
    peri_function_unref(s->function);
    peri_buf_fini(&s->data);
    peri_buf_fini(&s->meta);
    free(s);
}

static void on_accepted(void *data, struct peri_call *call)
{
    struct starting *s = data;
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_engine_forget(s->cdf->engine, call->id, s);
    peri_buf_init(&out, 1024 * 1024);
    peri__cdf_call(&w, call);
    peri__cdf_send(s->cdf, s->req, 201, &w);
    starting_free(s);
}

/* A full queue asks to come back later with a 429, the one status that the platform's own client repeats a call for. */
static void reply_failed(struct starting *s, const struct peri_error *err)
{
    int status = peri_http_status(err->code);
    if (err->code == PERI_CONFLICT)
        status = 400;
    if (err->code == PERI_UNAVAILABLE)
        status = 429;
    peri_http_reply_error(s->req, status, err);
}

static void on_refused(void *data, struct peri_call *call, const struct peri_error *err)
{
    struct starting *s = data;
    (void)call;
    reply_failed(s, err);
    starting_free(s);
}

static void on_nonce(void *data, const struct peri_session *session, const struct peri_error *err)
{
    struct starting *s = data;
    struct peri_error failed = PERI_ERROR_INIT;
    struct peri_call *call = NULL;
    if (s->req == NULL) {
        starting_free(s);
        return;
    }
    if (session == NULL) {
        peri_http_reply_error(s->req, err->code == PERI_BAD_REQUEST ? 400 : 0, err);
        starting_free(s);
        return;
    }
    struct peri_call_events events = { .accepted = on_accepted, .refused = on_refused, .data = s };
    struct peri_submit submit = { .function = s->function,
                                  .async = true,
                                  .input = PERI_INPUT_JSON,
                                  .body = peri_buf_str(&s->data),
                                  .request_meta = peri_buf_str(&s->meta),
                                  .session_id = session->id };
    if (peri_engine_submit(s->cdf->engine, &submit, &events, &call, &failed) != PERI_OK) {
        reply_failed(s, &failed);
        starting_free(s);
        return;
    }
    s->call_id = call->id;
}

static void on_gone(void *data)
{
    struct starting *s = data;
    s->req = NULL;
    if (s->call_id == 0)
        return; /* on_nonce comes yet */
    peri_engine_forget(s->cdf->engine, s->call_id, s);
    starting_free(s);
}

static bool read_body(struct peri_http_req *req, struct starting *s, char **nonce)
{
    const char *text = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    json_t *body = peri__cdf_body(req);
    if (body == NULL)
        return false;
    bool good = peri_json_get_string(body, "nonce", true, &text, &err) == PERI_OK;
    if (good) {
        struct peri_str data = peri__cdf_raw_field(peri_http_body(req), "data");
        if (data.len == 0 || (data.len == 4 && json_is_null(json_object_get(body, "data"))))
            data = peri_str_from("{}");
        *nonce = strdup(text);
        good = *nonce != NULL && peri_buf_append_str(&s->data, data) == PERI_OK &&
               peri_request_meta(req, &s->meta) == PERI_OK;
        if (!good)
            peri_error_set(&err, PERI_NOMEM, "out of memory");
    }
    if (!good)
        peri_http_reply_error(req, err.code == PERI_NOMEM ? 500 : 400, &err);
    json_decref(body);
    return good;
}

void peri__cdf_call_start(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_function *function = peri__cdf_find(cdf, req);
    struct starting *s = function == NULL ? NULL : calloc(1, sizeof *s);
    char *nonce = NULL;
    if (function == NULL)
        return;
    if (s == NULL) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        peri_function_unref(function);
        return;
    }
    *s = (struct starting){ .cdf = cdf, .req = req, .function = function };
    struct peri_error refused = PERI_ERROR_INIT;
    peri_buf_init(&s->data, (size_t)1 << 40);
    peri_buf_init(&s->meta, 1024 * 1024);
    if (!read_body(req, s, &nonce)) {
        starting_free(s);
    } else if (peri_engine_admits(cdf->engine, function, &refused) != PERI_OK) {
        reply_failed(s, &refused); /* the nonce can still be used when the client tries again */
        starting_free(s);
    } else {
        peri_http_on_close(req, on_gone, s);
        peri_engine_nonce_use(cdf->engine, peri_str_from(nonce), on_nonce, s);
    }
    free(nonce);
}
