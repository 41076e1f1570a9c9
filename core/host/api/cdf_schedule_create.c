/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "host/cron.h"

/* A schedule that is being made: first it is checked, then the nonce is used up, then it is stored with its session,
 * which lives as long as it. */

struct creation {
    struct peri__cdf_job job; /* first */
    struct peri_schedule *spec;
};

static void creation_free(struct creation *creation)
{
    peri_schedule_unref(creation->spec);
    free(creation);
}

static void on_gone(void *data)
{
    ((struct peri__cdf_job *)data)->req = NULL;
}

static void on_revoked(void *data, const struct peri_error *err)
{
    (void)data;
    if (err != NULL)
        peri_log(PERI_LOG_WARN, "the session of a schedule that was not stored is left: %s", err->message);
}

static void on_stored(void *data, struct peri_schedule *schedule, const struct peri_error *err)
{
    struct creation *creation = data;
    struct peri__cdf_job *job = &creation->job;
    struct peri_buf out;
    struct peri_json_writer w;
    if (schedule == NULL)
        peri_engine_sessions_revoke(job->cdf->engine, &creation->spec->session_id, 1, on_revoked, NULL, NULL);
    if (job->req != NULL && schedule == NULL) {
        peri_http_reply_error(job->req, err->code == PERI_NOT_FOUND ? 400 : 0, err);
    } else if (job->req != NULL) {
        peri__cdf_open_items(&w, &out);
        peri__cdf_schedule(&w, schedule);
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(job->cdf, job->req, 201, &w);
    }
    creation_free(creation);
}

static void on_nonce(void *data, const struct peri_session *session, const struct peri_error *err)
{
    struct creation *creation = data;
    struct peri__cdf_job *job = &creation->job;
    if (session == NULL) {
        if (job->req != NULL)
            peri_http_reply_error(job->req, err->code == PERI_BAD_REQUEST ? 400 : 0, err);
        creation_free(creation);
        return;
    }
    creation->spec->session_id = session->id;
    creation->spec->client_id = session->client_id == NULL ? NULL : strdup(session->client_id);
    peri_engine_schedule_put(job->cdf->engine, creation->spec, false, on_stored, creation);
}

/* ---- reading ---- */

static bool read_function(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *item,
                          struct peri_schedule *spec)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *external = NULL;
    json_int_t id = 0;
    if (peri_json_get_integer(item, "functionId", false, &id, &err) != PERI_OK ||
        peri_json_get_string(item, "functionExternalId", false, &external, &err) != PERI_OK)
        return peri__cdf_refuse(req, "%s", err.message);
    if ((id != 0) == (external != NULL))
        return peri__cdf_refuse(req, "a schedule needs functionId or functionExternalId, and not both");
    struct peri_function *function = external != NULL
                                         ? peri_engine_function_by_name(cdf->engine, peri_str_from(external))
                                         : peri_engine_function(cdf->engine, id < 0 ? 0 : (uint64_t)id);
    if (function == NULL) {
        json_t *missing = external == NULL ? json_pack("[{sI}]", "id", id)
                                           : json_pack("[{ssss}]", "externalId", external, "external_id", external);
        peri__cdf_error(cdf, req, 400, "Function ids not found", "missing", missing);
        json_decref(missing);
        return false;
    }
    spec->function_id = function->id;
    peri_function_unref(function);
    return true;
}

/* The platform has minutes as its finest step: five fields, no more. */
static bool read_cron(struct peri_http_req *req, const json_t *item, struct peri_schedule *spec)
{
    static const char blanks[] = " \t";
    struct peri_cron cron;
    struct peri_error err = PERI_ERROR_INIT;
    size_t fields = 0;
    if (!peri__cdf_take_text(req, item, "cronExpression", 1024, &spec->cron))
        return false;
    if (spec->cron == NULL)
        return peri__cdf_refuse(req, "field 'cronExpression' is missing");
    for (const char *at = spec->cron + strspn(spec->cron, blanks); *at != '\0'; at += strspn(at, blanks)) {
        at += strcspn(at, blanks);
        fields++;
    }
    if (fields != 5)
        return peri__cdf_refuse(req, "field 'cronExpression' must have five parts: minute hour day month weekday");
    return peri_cron_parse(&cron, peri_str_from(spec->cron), &err) == PERI_OK ||
           peri__cdf_refuse(req, "field 'cronExpression': %s", err.message);
}

/* The text of item.data as it came, so that no number is rounded. There is one item. */
static bool read_data(struct peri_http_req *req, const json_t *item, struct peri_schedule *spec)
{
    const json_t *data = json_object_get(item, "data");
    if (data == NULL || json_is_null(data))
        return true;
    struct peri_str items = peri__cdf_raw_field(peri_http_body(req), "items");
    const char *object = items.len == 0 ? NULL : memchr(items.data, '{', items.len);
    if (object == NULL)
        return peri__cdf_refuse(req, "field 'items' must be an array");
    struct peri_str rest = { object, items.len - (size_t)(object - items.data) };
    return peri_buf_append_str(&spec->body, peri__cdf_raw_field(rest, "data")) == PERI_OK ||
           peri__cdf_refuse(req, "out of memory");
}

static bool read_spec(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *item, struct peri_schedule *spec)
{
    if (!peri__cdf_take_text(req, item, "name", 140, &spec->name))
        return false;
    if (spec->name == NULL || spec->name[0] == '\0')
        return peri__cdf_refuse(req, "field 'name' must be a string of 1 to 140 characters");
    spec->input = PERI_INPUT_JSON;
    return peri__cdf_take_text(req, item, "description", 500, &spec->description) && read_cron(req, item, spec) &&
           read_function(cdf, req, item, spec) && read_data(req, item, spec);
}

void peri__cdf_schedule_create(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_error err = PERI_ERROR_INIT;
    const char *nonce = NULL;
    struct creation *creation = calloc(1, sizeof *creation);
    json_t *body = peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_items(req, body, 1);
    json_t *item = json_array_get(items, 0);
    if (creation != NULL)
        *creation = (struct creation){ { cdf, req }, peri_schedule_new() };
    if (items == NULL)
        goto refused;
    if (creation == NULL || creation->spec == NULL) {
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        goto refused;
    }
    if (!read_spec(cdf, req, item, creation->spec))
        goto refused;
    if (peri_json_get_string(item, "nonce", true, &nonce, &err) != PERI_OK) {
        peri__cdf_refuse(req, "%s", err.message);
        goto refused;
    }
    peri_http_on_close(req, on_gone, &creation->job);
    peri_engine_nonce_use(cdf->engine, peri_str_from(nonce), on_nonce, creation);
    json_decref(body);
    return;
refused:
    if (creation != NULL)
        creation_free(creation);
    json_decref(body);
}
