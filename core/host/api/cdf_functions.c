/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"

#define BYIDS_MAX 10
#define LIST_MAX 10000

/* ---- identifiers ---- */

/* {"id": n} or {"externalId": "x"}. false: answered. *out is NULL when there is no such function. */
static bool resolve(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *item, struct peri_function **out)
{
    const json_t *id = json_object_get(item, "id"), *external = json_object_get(item, "externalId");
    *out = NULL;
    if (json_is_integer(id) && external == NULL) {
        *out = json_integer_value(id) > 0 ? peri_engine_function(cdf->engine, (uint64_t)json_integer_value(id)) : NULL;
        return true;
    }
    if (json_is_string(external) && id == NULL) {
        struct peri_str text = { json_string_value(external), json_string_length(external) };
        *out = peri_engine_function_by_name(cdf->engine, text);
        return true;
    }
    return peri__cdf_refuse(req, "an item must be {\"id\": integer} or {\"externalId\": string}");
}

/* Both spellings: the documented one, and the one that the live service sends. */
static void add_missing(json_t *missing, const json_t *item)
{
    json_t *external = json_object_get(item, "externalId");
    json_t *entry = json_object();
    if (external != NULL) {
        json_object_set(entry, "externalId", external);
        json_object_set(entry, "external_id", external);
    } else {
        json_object_set(entry, "id", json_object_get(item, "id"));
    }
    json_array_append_new(missing, entry);
}

struct lookup {
    struct peri_function *found[BYIDS_MAX];
    size_t count;
};

static void lookup_fini(struct lookup *lookup)
{
    for (size_t i = 0; i < lookup->count; i++)
        peri_function_unref(lookup->found[i]);
}

/* The functions of body.items. false: the request has been answered. */
static bool look_up(struct peri__cdf *cdf, struct peri_http_req *req, struct lookup *lookup)
{
    json_t *body = peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_ids(cdf, req, body, BYIDS_MAX);
    json_t *missing = json_array();
    bool good = items != NULL;
    size_t index;
    json_t *item;
    lookup->count = 0;
    json_array_foreach(items, index, item)
    {
        struct peri_function *function = NULL;
        good = resolve(cdf, req, item, &function);
        if (!good)
            break;
        if (function == NULL)
            add_missing(missing, item);
        else
            lookup->found[lookup->count++] = function;
    }
    if (good && json_array_size(missing) > 0 && !json_is_true(json_object_get(body, "ignoreUnknownIds"))) {
        peri__cdf_error(cdf, req, 400, "Function ids not found", "missing", missing);
        good = false;
    }
    json_decref(missing);
    json_decref(body);
    if (!good)
        lookup_fini(lookup);
    return good;
}

struct peri_function *peri__cdf_find(struct peri__cdf *cdf, struct peri_http_req *req)
{
    uint64_t id = peri__cdf_id(req, "functionId");
    if (id == 0)
        return NULL;
    struct peri_function *function = peri_engine_function(cdf->engine, id);
    if (function == NULL) {
        json_t *missing = json_pack("[{sI}]", "id", (json_int_t)id);
        peri__cdf_error(cdf, req, 400, "Function ids not found", "missing", missing);
        json_decref(missing);
    }
    return function;
}

/* ---- list ---- */

struct listing {
    struct peri_json_writer w;
    const char *name, *owner, *status, *prefix;
    json_int_t file_id;
    int64_t created_min, created_max;
    json_t *metadata;
    size_t limit;
};

static bool same(const char *wanted, const char *value)
{
    return wanted == NULL || (value != NULL && strcmp(wanted, value) == 0);
}

static bool holds_metadata(const struct peri_function *function, json_t *wanted)
{
    const char *key;
    json_t *value;
    json_t *own = function->metadata == NULL ? NULL : peri_json_parse(peri_str_from(function->metadata), NULL);
    bool holds = true;
    json_object_foreach(wanted, key, value)
    {
        holds = holds && json_equal(json_object_get(own, key), value) == 1;
    }
    json_decref(own);
    return holds;
}

static bool list_one(void *data, struct peri_function *f)
{
    struct listing *l = data;
    if (l->limit == 0)
        return false;
    bool wanted = same(l->name, f->name) && same(l->owner, f->owner) &&
                  same(l->status, peri_function_status_name(f->status)) &&
                  (l->file_id == 0 || (uint64_t)l->file_id == f->file_id) && f->created_ms >= l->created_min &&
                  (l->created_max == 0 || f->created_ms <= l->created_max);
    if (wanted && l->prefix != NULL)
        wanted = f->external_id != NULL && strncmp(f->external_id, l->prefix, strlen(l->prefix)) == 0;
    if (wanted && l->metadata != NULL)
        wanted = holds_metadata(f, l->metadata);
    if (!wanted)
        return true;
    l->limit--;
    peri__cdf_function(&l->w, f);
    return true;
}

static bool read_filter(struct peri_http_req *req, const json_t *filter, struct listing *l)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_json_get_string(filter, "name", false, &l->name, &err) != PERI_OK ||
        peri_json_get_string(filter, "owner", false, &l->owner, &err) != PERI_OK ||
        peri_json_get_string(filter, "status", false, &l->status, &err) != PERI_OK ||
        peri_json_get_string(filter, "externalIdPrefix", false, &l->prefix, &err) != PERI_OK ||
        peri_json_get_integer(filter, "fileId", false, &l->file_id, &err) != PERI_OK ||
        peri__cdf_range(filter, "createdTime", &l->created_min, &l->created_max, &err) != PERI_OK)
        return peri__cdf_refuse(req, "filter: %s", err.message);
    l->metadata = json_object_get(filter, "metadata");
    if (l->metadata != NULL && !json_is_object(l->metadata))
        return peri__cdf_refuse(req, "filter: field 'metadata' must be an object");
    return true;
}

static void reply_list(struct peri__cdf *cdf, struct peri_http_req *req, struct listing *l)
{
    struct peri_buf out;
    peri__cdf_open_items(&l->w, &out);
    peri_engine_each_function(cdf->engine, list_one, l);
    peri_jw_close(&l->w, ']');
    peri_jw_close(&l->w, '}');
    peri__cdf_send(cdf, req, 200, &l->w);
}

void peri__cdf_list(void *data, struct peri_http_req *req)
{
    struct listing l = { .limit = 0 };
    json_t *body = peri__cdf_body(req);
    const json_t *filter = NULL;
    if (body != NULL && peri__cdf_filter(req, body, &filter) && peri__cdf_limit(req, body, LIST_MAX, &l.limit) &&
        (filter == NULL || read_filter(req, filter, &l)))
        reply_list(data, req, &l);
    json_decref(body);
}

void peri__cdf_list_get(void *data, struct peri_http_req *req)
{
    struct listing l = { .limit = 0 };
    if (peri__cdf_query_limit(req, LIST_MAX, &l.limit))
        reply_list(data, req, &l);
}

/* ---- by id, delete, one ---- */

void peri__cdf_byids(void *data, struct peri_http_req *req)
{
    struct lookup lookup;
    struct peri_buf out;
    struct peri_json_writer w;
    if (!look_up(data, req, &lookup))
        return;
    peri__cdf_open_items(&w, &out);
    for (size_t i = 0; i < lookup.count; i++)
        peri__cdf_function(&w, lookup.found[i]);
    peri_jw_close(&w, ']');
    peri_jw_close(&w, '}');
    peri__cdf_send(data, req, 200, &w);
    lookup_fini(&lookup);
}

struct deletion {
    struct peri__cdf_job job;
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
    if (err != NULL && err->code != PERI_OK && d->err.code == PERI_OK)
        d->err = *err;
    if (--d->left > 0)
        return;
    if (d->job.req != NULL && d->err.code != PERI_OK && d->err.code != PERI_NOT_FOUND) {
        peri_http_reply_error(d->job.req, 0, &d->err);
    } else if (d->job.req != NULL) {
        peri__cdf_send_empty(d->job.cdf, d->job.req);
    }
    free(d);
}

void peri__cdf_delete(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct lookup lookup;
    struct deletion *d = NULL;
    if (!look_up(cdf, req, &lookup))
        return;
    d = calloc(1, sizeof *d);
    if (d == NULL) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
    } else {
        d->job = (struct peri__cdf_job){ .cdf = cdf, .req = req };
        d->left = lookup.count + 1;
        peri_http_on_close(req, on_gone, &d->job);
        for (size_t i = 0; i < lookup.count; i++)
            peri_engine_delete(cdf->engine, lookup.found[i]->id, on_deleted, d);
        on_deleted(d, NULL); /* nothing to delete is fine, with ignoreUnknownIds */
    }
    lookup_fini(&lookup);
}

void peri__cdf_show(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_function *function = peri__cdf_find(data, req);
    if (function == NULL)
        return;
    peri_buf_init(&out, 4 * 1024 * 1024);
    peri__cdf_function(&w, function);
    peri__cdf_send(data, req, 200, &w);
    peri_function_unref(function);
}

/* ---- limits, status ---- */

static void write_range(struct peri_json_writer *w, const char *key, double max, double usual)
{
    peri_jw_key(w, key);
    peri_jw_open(w, '{');
    peri_jw_key(w, "min");
    peri_jw_real(w, 0.1);
    peri_jw_key(w, "max");
    peri_jw_real(w, max);
    peri_jw_key(w, "default");
    peri_jw_real(w, usual);
    peri_jw_close(w, '}');
}

void peri__cdf_limits(void *data, struct peri_http_req *req)
{
    static const char *const runtimes[] = { "py310", "py311", "py312", "py313", "py314", "lua54" };
    struct peri__cdf *cdf = data;
    const struct peri_engine_options *settings = peri_engine_settings(cdf->engine);
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 65536);
    peri_jw_open(&w, '{');
    peri_jw_key_int(&w, "timeoutMinutes", (settings->timeout_ms + 59999) / 60000);
    write_range(&w, "cpuCores", 1024.0, 1.0);
    write_range(&w, "memoryGb", 1024.0, (double)settings->memory_limit / (1024.0 * 1024 * 1024));
    peri_jw_key(&w, "runtimes");
    peri_jw_open(&w, '[');
    for (size_t i = 0; i < sizeof runtimes / sizeof runtimes[0]; i++)
        peri_jw_text(&w, peri_str_from(runtimes[i]));
    peri_jw_close(&w, ']');
    peri_jw_key_int(&w, "responseSizeMb", (int64_t)(settings->response_limit >> 20));
    peri_jw_close(&w, '}');
    peri__cdf_send(cdf, req, 200, &w);
}

void peri__cdf_status(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 256);
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "status", "activated");
    peri_jw_close(&w, '}');
    peri__cdf_send(data, req, strcmp(peri_http_method(req), "POST") == 0 ? 202 : 200, &w);
}
