/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/api/host_private.h"
#include "perilune/json.h"

/* A deployment or deletion under way. req is NULL once its peer has gone: the work goes on. */
struct job {
    struct peri__host *host;
    struct peri_http_req *req;
    bool known; /* the function was there before */
    char *name;
};

static void on_gone(void *data)
{
    ((struct job *)data)->req = NULL;
}

static struct job *job_new(struct peri__host *host, struct peri_http_req *req)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        return NULL;
    }
    job->host = host;
    job->req = req;
    peri_http_on_close(req, on_gone, job);
    return job;
}

static void job_free(struct job *job)
{
    free(job->name);
    free(job);
}

/* ---- deploy ---- */

static bool check_name(struct peri_str name, struct peri_error *err)
{
    bool digits = true, good = name.len >= 1 && name.len <= 140;
    for (size_t i = 0; good && i < name.len; i++) {
        char c = name.data[i];
        bool digit = c >= '0' && c <= '9';
        digits = digits && digit;
        good = digit || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
    }
    if (!good)
        peri_error_set(err, PERI_BAD_REQUEST,
                       "a function's name has 1 to 140 characters, each a letter, a digit, '.', '_' or '-'");
    else if (digits)
        peri_error_set(err, PERI_BAD_REQUEST, "a function's name can't be all digits: that would be an id");
    return good && !digits;
}

static bool check_env(const char *text, struct peri_error *err)
{
    json_t *env = peri_json_parse(peri_str_from(text), err);
    const char *key;
    json_t *value;
    bool good = json_is_object(env);
    if (env == NULL)
        peri_error_prefix(err, "header perilune-env");
    else if (!good)
        peri_error_set(err, PERI_BAD_REQUEST, "header perilune-env must be a JSON object of strings");
    json_object_foreach(env, key, value)
    {
        if (json_is_string(value))
            continue;
        peri_error_set(err, PERI_BAD_REQUEST, "header perilune-env: the value of '%.80s' must be a string", key);
        good = false;
        break;
    }
    json_decref(env);
    return good;
}

static bool set_text(char **field, const char *text)
{
    *field = text == NULL ? NULL : strdup(text);
    return text == NULL || *field != NULL;
}

/* false: the request has been answered. */
static bool read_spec(struct peri_http_req *req, struct peri_function *spec)
{
    struct peri_str name = peri_http_param(req, "name");
    const char *entry = peri_http_query(req, "entry"), *description = peri_http_query(req, "description");
    const char *env = peri_http_header(req, "perilune-env");
    struct peri_error err = PERI_ERROR_INIT;
    uint64_t timeout = 0, memory = 0, concurrency = 0, attempts = 0;
    if (!peri__host_number(req, "timeout_ms", 365 * INT64_C(86400000), &timeout) ||
        !peri__host_number(req, "concurrency", 1000000, &concurrency) ||
        !peri__host_number(req, "attempts", PERI_ATTEMPTS_MAX, &attempts) || !peri__host_size(req, "memory", &memory))
        return false;
    bool good = check_name(name, &err) && (env == NULL || check_env(env, &err));
    if (good && description != NULL && strlen(description) > 500) {
        peri_error_set(&err, PERI_BAD_REQUEST, "a description has at most 500 bytes");
        good = false;
    }
    if (good) {
        spec->external_id = peri_str_dup(name);
        spec->name = peri_str_dup(name);
        spec->timeout_ms = (int64_t)timeout;
        spec->memory_limit = memory;
        spec->concurrency = (unsigned)concurrency;
        spec->attempts = (unsigned)attempts;
        good = spec->external_id != NULL && spec->name != NULL &&
               set_text(&spec->entry, entry == NULL || entry[0] == '\0' ? "handler.lua" : entry) &&
               set_text(&spec->description, description) && set_text(&spec->env, env);
        if (!good)
            peri_error_set(&err, PERI_NOMEM, "out of memory");
    }
    if (!good)
        peri_http_reply_error(req, 0, &err);
    return good;
}

/* The trace of a failed deployment is kept with the function, when it was its first one. */
static void reply_failed(struct job *job, const struct peri_error *err)
{
    struct peri_function *function =
        err->code == PERI_PACKAGE ? peri_engine_function_by_name(job->host->engine, peri_str_from(job->name)) : NULL;
    bool same = function != NULL && function->status == PERI_FN_FAILED;
    peri__host_error(job->req, peri_http_status(err->code), err, same ? function->error_trace : NULL, 0);
    peri_function_unref(function);
}

static void on_deployed(void *data, struct peri_function *function, const struct peri_error *err)
{
    struct job *job = data;
    struct peri_error failed = PERI_ERROR_INIT;
    if (job->req == NULL) {
        job_free(job);
        return;
    }
    if (function == NULL) {
        reply_failed(job, err);
    } else if (function->status == PERI_FN_FAILED) {
        peri_error_set(&failed, PERI_PACKAGE, "%s", function->error_message == NULL ? "" : function->error_message);
        peri__host_error(job->req, 422, &failed, function->error_trace, 0);
    } else {
        struct peri_buf out;
        struct peri_json_writer w = { .out = &out };
        peri_buf_init(&out, 1024 * 1024);
        peri__host_function(job->host, &w, function);
        peri__host_send(job->req, job->known ? 200 : 201, &w);
    }
    job_free(job);
}

void peri__host_deploy(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_function *spec = peri_function_new();
    struct peri_function *known = NULL;
    struct job *job = NULL;
    const char *hash = NULL;
    bool create = false;
    if (spec == NULL || !read_spec(req, spec) || !peri__host_flag(req, "create", &create))
        goto out;
    job = job_new(host, req);
    if (job == NULL)
        goto out;
    job->name = strdup(spec->external_id);
    known = peri_engine_function_by_name(host->engine, peri_str_from(spec->external_id));
    job->known = known != NULL;
    struct peri_deploy deploy = {
        .spec = spec, .package_path = peri_http_file(req, NULL, &hash), .replace = !create, .wait = true
    };
    deploy.package_hash = hash;
    peri_engine_deploy(host->engine, &deploy, on_deployed, job);
out:
    peri_function_unref(known);
    peri_function_unref(spec);
}

/* ---- list, show, delete ---- */

struct listing {
    struct peri__host *host;
    struct peri_json_writer w;
    uint64_t limit, before;
    const char *prefix;
};

static bool list_one(void *data, struct peri_function *function)
{
    struct listing *list = data;
    const char *name = function->external_id == NULL ? "" : function->external_id;
    if (list->limit == 0)
        return false;
    if (list->before > 0 && function->id >= list->before)
        return true;
    if (list->prefix != NULL && strncmp(name, list->prefix, strlen(list->prefix)) != 0)
        return true;
    list->limit--;
    peri__host_function(list->host, &list->w, function);
    return true;
}

void peri__host_list(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct listing list = { .host = data, .w = { .out = &out }, .limit = 100 };
    if (!peri__host_number(req, "limit", 10000, &list.limit) ||
        !peri__host_number(req, "before_id", INT64_MAX, &list.before))
        return;
    list.prefix = peri_http_query(req, "prefix");
    peri_buf_init(&out, 64 * 1024 * 1024);
    peri_jw_open(&list.w, '{');
    peri_jw_key(&list.w, "items");
    peri_jw_open(&list.w, '[');
    peri_engine_each_function(list.host->engine, list_one, &list);
    peri_jw_close(&list.w, ']');
    peri_jw_close(&list.w, '}');
    peri__host_send(req, 200, &list.w);
}

void peri__host_show(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_function *function = peri__host_find(data, req);
    if (function == NULL)
        return;
    peri_buf_init(&out, 1024 * 1024);
    peri__host_function(data, &w, function);
    peri__host_send(req, 200, &w);
    peri_function_unref(function);
}

static void on_deleted(void *data, const struct peri_error *err)
{
    struct job *job = data;
    if (job->req != NULL && err != NULL && err->code != PERI_OK)
        peri_http_reply_error(job->req, 0, err);
    else if (job->req != NULL)
        peri_http_reply(job->req, 200, "application/json", peri_str_from("{}"));
    job_free(job);
}

void peri__host_delete(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_function *function = peri__host_find(host, req);
    struct job *job = function == NULL ? NULL : job_new(host, req);
    if (job != NULL)
        peri_engine_delete(host->engine, function->id, on_deleted, job);
    peri_function_unref(function);
}
