/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "host/api/cim_private.h"
#include "host/size.h"

#define ID_MAX ((UINT64_C(1) << 53) - 1)

/* ---- answers ---- */

static void on_gone(void *data)
{
    ((struct peri__cim_job *)data)->req = NULL;
}

struct peri__cim_job *peri__cim_job_new(struct peri__cim *cim, struct peri_http_req *req)
{
    struct peri__cim_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        return NULL;
    }
    job->cim = cim;
    job->req = req;
    peri_http_on_close(req, on_gone, job);
    return job;
}

struct peri_http_req *peri__cim_job_end(struct peri__cim_job *job, const struct peri_error *err)
{
    struct peri_http_req *req = job->req;
    free(job);
    if (req != NULL && err != NULL)
        peri_http_reply_error(req, 0, err);
    return req;
}

void peri__cim_reply_error(void *data, struct peri_http_req *req, int status, const struct peri_error *err)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    (void)data;
    peri_buf_init(&out, 65536);
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "detail", err->message);
    peri_jw_close(&w, '}');
    peri_http_reply_take(req, status, "application/json", &out);
}

void peri__cim_send(struct peri_http_req *req, struct peri_json_writer *w)
{
    struct peri_error err;
    if (!w->failed) {
        peri_http_reply_take(req, 200, "application/json", w->out);
        return;
    }
    peri_buf_fini(w->out);
    peri_error_set(&err, PERI_NOMEM, "out of memory");
    peri_http_reply_error(req, 0, &err);
}

void peri__cim_null(struct peri_http_req *req)
{
    peri_http_reply(req, 200, "application/json", peri_str_from("null"));
}

bool peri__cim_refuse(struct peri_http_req *req, const char *format, ...)
{
    struct peri_error err;
    va_list args;
    va_start(args, format);
    peri_error_setv(&err, PERI_UNPROCESSABLE, format, args);
    va_end(args);
    peri_http_reply_error(req, 422, &err);
    return false;
}

/* ---- what is asked ---- */

json_t *peri__cim_body(struct peri_http_req *req)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_t *body = peri_json_parse(peri_http_body(req), &err);
    if (json_is_object(body))
        return body;
    if (body == NULL)
        peri__cim_refuse(req, "the body is not JSON: %s", err.message);
    else
        peri__cim_refuse(req, "the body must be a JSON object");
    json_decref(body);
    return NULL;
}

bool peri__cim_text(struct peri_http_req *req, const json_t *body, const char *key, bool required, const char **out)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *text = NULL;
    if (peri_json_get_string(body, key, required, &text, &err) != PERI_OK)
        return peri__cim_refuse(req, "%s", err.message);
    if (text != NULL)
        *out = text;
    return true;
}

bool peri__cim_int(struct peri_http_req *req, const json_t *body, const char *key, int64_t *out)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_int_t value = 0;
    if (peri_json_get_integer(body, key, true, &value, &err) != PERI_OK)
        return peri__cim_refuse(req, "%s", err.message);
    *out = value;
    return true;
}

bool peri__cim_flag(struct peri_http_req *req, const json_t *body, const char *key, bool *out)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_json_get_bool(body, key, false, out, &err) != PERI_OK)
        return peri__cim_refuse(req, "%s", err.message);
    return true;
}

bool peri__cim_object_id(struct peri_http_req *req, uint64_t *id)
{
    struct peri_error err;
    struct peri_str text = peri_http_param(req, "file_object_id");
    char *digits = peri_str_dup(text);
    bool good = peri_number_parse(digits, ID_MAX, id) && *id > 0;
    free(digits);
    if (good)
        return true;
    peri_error_set(&err, PERI_NOT_FOUND, "there is no file '%.*s'", text.len > 100 ? 100 : (int)text.len, text.data);
    peri_http_reply_error(req, 0, &err);
    return false;
}
