/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "host/cron.h"

/* Schedules: list, by id, delete, input data. */

#define LIST_MAX 10000
#define IDS_MAX 10000

void peri__cdf_schedule(struct peri_json_writer *w, const struct peri_schedule *s)
{
    struct peri_buf when;
    peri_buf_init(&when, 64 * 1024);
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)s->id);
    peri_jw_key_text(w, "name", s->name == NULL ? "" : s->name);
    peri_jw_opt_text(w, "description", s->description);
    peri_jw_key_int(w, "createdTime", s->created_ms);
    peri_jw_key_text(w, "cronExpression", s->cron);
    bool told = peri_cron_text(peri_str_from(s->cron), &when) == PERI_OK;
    peri_jw_key_text(w, "when", told ? when.data : s->cron);
    peri_jw_key_int(w, "sessionId", (int64_t)s->session_id);
    peri_jw_key_int(w, "functionId", (int64_t)s->function_id);
    peri_jw_close(w, '}');
    peri_buf_fini(&when);
}

/* ---- list ---- */

struct listing {
    struct peri_json_writer w;
    const char *name, *cron;
    uint64_t function_id; /* 0: of any function */
    int64_t created_min, created_max;
    size_t limit;
};

static bool same(const char *wanted, const char *value)
{
    return wanted == NULL || (value != NULL && strcmp(wanted, value) == 0);
}

static bool list_one(void *data, struct peri_schedule *s)
{
    struct listing *l = data;
    if (l->limit == 0)
        return false;
    if (!same(l->name, s->name) || !same(l->cron, s->cron) ||
        (l->function_id != 0 && s->function_id != l->function_id) || s->created_ms < l->created_min ||
        (l->created_max != 0 && s->created_ms > l->created_max))
        return true;
    l->limit--;
    peri__cdf_schedule(&l->w, s);
    return true;
}

/* The platform's client writes functionId, its documentation FunctionId. */
static const char *spelling(const json_t *filter, const char *small, const char *capital)
{
    return json_object_get(filter, small) == NULL ? capital : small;
}

/* UINT64_MAX: a function that there is not. */
static bool read_function(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *filter, uint64_t *out)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *external = NULL;
    json_int_t id = 0;
    if (peri_json_get_integer(filter, spelling(filter, "functionId", "FunctionId"), false, &id, &err) != PERI_OK ||
        peri_json_get_string(filter, spelling(filter, "functionExternalId", "FunctionExternalId"), false, &external,
                             &err) != PERI_OK)
        return peri__cdf_refuse(req, "filter: %s", err.message);
    if (id != 0 && external != NULL)
        return peri__cdf_refuse(req, "filter: give functionId or functionExternalId, not both");
    *out = id < 0 ? UINT64_MAX : (uint64_t)id;
    if (external != NULL) {
        struct peri_function *function = peri_engine_function_by_name(cdf->engine, peri_str_from(external));
        *out = function == NULL ? UINT64_MAX : function->id;
        peri_function_unref(function);
    }
    return true;
}

static bool read_filter(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *filter, struct listing *l)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_json_get_string(filter, "name", false, &l->name, &err) != PERI_OK ||
        peri_json_get_string(filter, "cronExpression", false, &l->cron, &err) != PERI_OK ||
        peri__cdf_range(filter, "createdTime", &l->created_min, &l->created_max, &err) != PERI_OK)
        return peri__cdf_refuse(req, "filter: %s", err.message);
    return read_function(cdf, req, filter, &l->function_id);
}

static void reply_list(struct peri__cdf *cdf, struct peri_http_req *req, struct listing *l)
{
    struct peri_buf out;
    peri__cdf_open_items(&l->w, &out);
    peri_engine_each_schedule(cdf->engine, list_one, l);
    peri_jw_close(&l->w, ']');
    peri_jw_close(&l->w, '}');
    peri__cdf_send(cdf, req, 200, &l->w);
}

void peri__cdf_schedules_list(void *data, struct peri_http_req *req)
{
    struct listing l = { .limit = 0 };
    const json_t *filter = NULL;
    json_t *body = peri__cdf_body(req);
    if (body != NULL && peri__cdf_filter(req, body, &filter) && peri__cdf_limit(req, body, LIST_MAX, &l.limit) &&
        (filter == NULL || read_filter(data, req, filter, &l)))
        reply_list(data, req, &l);
    json_decref(body);
}

void peri__cdf_schedules_list_get(void *data, struct peri_http_req *req)
{
    struct listing l = { .limit = 0 };
    if (peri__cdf_query_limit(req, LIST_MAX, &l.limit))
        reply_list(data, req, &l);
}

/* ---- by id ---- */

static void reply_missing(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *missing)
{
    peri__cdf_error(cdf, req, 400, "Schedules not found", "missing", missing);
}

struct lookup {
    struct peri_schedule **found;
    size_t count;
};

static void lookup_fini(struct lookup *lookup)
{
    for (size_t i = 0; i < lookup->count; i++)
        peri_schedule_unref(lookup->found[i]);
    free(lookup->found);
}

/* The schedules of the items that there are. false: answered. */
static bool find_items(struct peri__cdf *cdf, struct peri_http_req *req, json_t *items, struct lookup *lookup,
                       json_t *missing)
{
    size_t index;
    json_t *item;
    json_array_foreach(items, index, item)
    {
        const json_t *id = json_object_get(item, "id");
        if (!json_is_integer(id))
            return peri__cdf_refuse(req, "items[%zu]: field 'id' must be an integer", index);
        struct peri_schedule *schedule =
            json_integer_value(id) > 0 ? peri_engine_schedule(cdf->engine, (uint64_t)json_integer_value(id)) : NULL;
        if (schedule == NULL)
            json_array_append_new(missing, json_pack("{sI}", "id", json_integer_value(id)));
        else
            lookup->found[lookup->count++] = schedule;
    }
    return true;
}

/* false: the request has been answered. */
static bool look_up(struct peri__cdf *cdf, struct peri_http_req *req, struct lookup *lookup)
{
    json_t *body = peri__cdf_body(req), *missing = json_array();
    json_t *items = body == NULL ? NULL : peri__cdf_ids(cdf, req, body, IDS_MAX);
    bool good = false;
    *lookup = (struct lookup){ 0 };
    if (items == NULL)
        goto out;
    lookup->found = calloc(json_array_size(items), sizeof(struct peri_schedule *));
    if (lookup->found == NULL) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        goto out;
    }
    if (!find_items(cdf, req, items, lookup, missing))
        goto out;
    good = json_array_size(missing) == 0 || json_is_true(json_object_get(body, "ignoreUnknownIds"));
    if (!good)
        reply_missing(cdf, req, missing);
out:
    if (!good)
        lookup_fini(lookup);
    json_decref(missing);
    json_decref(body);
    return good;
}

void peri__cdf_schedules_byids(void *data, struct peri_http_req *req)
{
    struct lookup lookup;
    struct peri_buf out;
    struct peri_json_writer w;
    if (!look_up(data, req, &lookup))
        return;
    peri__cdf_open_items(&w, &out);
    for (size_t i = 0; i < lookup.count; i++)
        peri__cdf_schedule(&w, lookup.found[i]);
    peri_jw_close(&w, ']');
    peri_jw_close(&w, '}');
    peri__cdf_send(data, req, 200, &w);
    lookup_fini(&lookup);
}

/* ---- delete ---- */

struct deletion {
    struct peri__cdf_job job; /* first */
    size_t left;
    struct peri_error err; /* the first failure */
};

static void on_gone(void *data)
{
    ((struct peri__cdf_job *)data)->req = NULL;
}

static void on_deleted(void *data, const struct peri_error *err)
{
    struct deletion *d = data;
    bool failed = err != NULL && err->code != PERI_OK && err->code != PERI_NOT_FOUND; /* another was quicker */
    if (failed && d->err.code == PERI_OK)
        d->err = *err;
    if (--d->left > 0)
        return;
    if (d->job.req != NULL && d->err.code != PERI_OK)
        peri_http_reply_error(d->job.req, 0, &d->err);
    else if (d->job.req != NULL)
        peri__cdf_send_empty(d->job.cdf, d->job.req);
    free(d);
}

void peri__cdf_schedules_delete(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct lookup lookup;
    if (!look_up(cdf, req, &lookup))
        return;
    struct deletion *d = calloc(1, sizeof *d);
    if (d == NULL) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
    } else {
        d->job = (struct peri__cdf_job){ .cdf = cdf, .req = req };
        d->left = lookup.count + 1;
        peri_http_on_close(req, on_gone, &d->job);
        for (size_t i = 0; i < lookup.count; i++)
            peri_engine_schedule_delete(cdf->engine, lookup.found[i]->id, on_deleted, d);
        on_deleted(d, NULL); /* nothing to delete is fine, with ignoreUnknownIds */
    }
    lookup_fini(&lookup);
}

/* ---- one ---- */

/* The schedule of {scheduleId}, referenced; NULL: answered. */
static struct peri_schedule *find(struct peri__cdf *cdf, struct peri_http_req *req)
{
    uint64_t id = peri__cdf_id(req, "scheduleId");
    if (id == 0)
        return NULL;
    struct peri_schedule *schedule = peri_engine_schedule(cdf->engine, id);
    if (schedule == NULL) {
        json_t *missing = json_pack("[{sI}]", "id", (json_int_t)id);
        reply_missing(cdf, req, missing);
        json_decref(missing);
    }
    return schedule;
}

void peri__cdf_schedule_show(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_schedule *schedule = find(data, req);
    if (schedule == NULL)
        return;
    peri_buf_init(&out, 1024 * 1024);
    peri__cdf_schedule(&w, schedule);
    peri__cdf_send(data, req, 200, &w);
    peri_schedule_unref(schedule);
}

void peri__cdf_schedule_input(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_schedule *schedule = find(data, req);
    if (schedule == NULL)
        return;
    peri_buf_init(&out, (size_t)256 * 1024 * 1024);
    peri_jw_open(&w, '{');
    peri_jw_key_int(&w, "id", (int64_t)schedule->id);
    if (schedule->input == PERI_INPUT_JSON && schedule->body.len > 0) {
        peri_jw_key(&w, "data");
        peri_jw_raw(&w, peri_buf_str(&schedule->body));
    }
    peri_jw_close(&w, '}');
    peri__cdf_send(data, req, 200, &w);
    peri_schedule_unref(schedule);
}
