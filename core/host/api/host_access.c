/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/access.h"
#include "host/api/host_private.h"
#include "host/api/object_reply.h"
#include "host/size.h"
#include "perilune/json.h"

/* What the access service (/cim) works with, for whoever runs the host: generators, parents, files. */

#define NAME_MAX_BYTES 1000
#define ANSWER_MAX ((size_t)64 * 1024 * 1024)
#define ID_MAX ((UINT64_C(1) << 53) - 1)
#define SHA256_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* A change under way. req is NULL once its peer has gone: the change goes on. */
struct job {
    struct peri__host *host;
    struct peri_http_req *req;
    char *name;
};

static void on_gone(void *data)
{
    ((struct job *)data)->req = NULL;
}

static bool refuse(struct peri_http_req *req, const struct peri_error *err)
{
    peri_http_reply_error(req, 0, err);
    return false;
}

/* name: taken. NULL: answered. */
static struct job *job_new(struct peri__host *host, struct peri_http_req *req, char *name)
{
    struct peri_error err;
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        free(name);
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        refuse(req, &err);
        return NULL;
    }
    *job = (struct job){ .host = host, .req = req, .name = name };
    peri_http_on_close(req, on_gone, job);
    return job;
}

static void job_free(struct job *job)
{
    free(job->name);
    free(job);
}

/* ---- what is asked ---- */

/* A path parameter as text, owned by the caller; NULL: answered. */
static char *name_of(struct peri_http_req *req, const char *param)
{
    struct peri_str text = peri_http_param(req, param);
    struct peri_error err;
    char *name = text.len <= NAME_MAX_BYTES ? peri_str_dup(text) : NULL;
    if (name != NULL)
        return name;
    if (text.len > NAME_MAX_BYTES)
        peri_error_set(&err, PERI_BAD_REQUEST, "a name has at most %d bytes", NAME_MAX_BYTES);
    else
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    refuse(req, &err);
    return NULL;
}

/* The body as an object with no other fields than these; an empty one is an empty object. NULL: answered. */
static json_t *body_of(struct peri_http_req *req, const char *const *known)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_str text = peri_http_body(req);
    json_t *body = text.len == 0 ? json_object() : peri_json_parse(text, &err), *value;
    const char *key;
    if (body != NULL && !json_is_object(body))
        peri_error_set(&err, PERI_BAD_REQUEST, "the body must be a JSON object");
    json_object_foreach(body, key, value)
    {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0)
            i++;
        if (known[i] == NULL)
            peri_error_set(&err, PERI_BAD_REQUEST, "unknown field '%.80s'; known are %s, %s%s%s", key, known[0],
                           known[1], known[2] == NULL ? "" : ", ", known[2] == NULL ? "" : known[2]);
    }
    if (err.code == PERI_OK && body != NULL)
        return body;
    json_decref(body);
    refuse(req, &err);
    return NULL;
}

static struct peri_json_writer open_list(struct peri_buf *out)
{
    struct peri_json_writer w = { .out = out };
    peri_buf_init(out, ANSWER_MAX);
    peri_jw_open(&w, '{');
    peri_jw_key(&w, "items");
    peri_jw_open(&w, '[');
    return w;
}

static void send_list(struct peri_http_req *req, struct peri_json_writer *w, enum peri_code code,
                      const struct peri_error *err)
{
    if (code != PERI_OK) {
        peri_buf_fini(w->out);
        refuse(req, err);
        return;
    }
    peri_jw_close(w, ']');
    peri_jw_close(w, '}');
    peri__host_send(req, 200, w);
}

static void on_deleted(void *data, const struct peri_access_result *result, const struct peri_error *err)
{
    struct job *job = data;
    (void)result;
    if (job->req != NULL && err != NULL)
        refuse(job->req, err);
    else if (job->req != NULL)
        peri_http_reply(job->req, 200, "application/json", peri_str_from("{}"));
    job_free(job);
}

/* ---- generators ---- */

static void write_generator(void *data, const struct peri_generator *generator)
{
    struct peri_json_writer *w = data;
    peri_jw_open(w, '{');
    peri_jw_key_text(w, "name", generator->name);
    peri_jw_key_int(w, "start", generator->start);
    peri_jw_key_int(w, "step", generator->step);
    if (generator->used)
        peri_jw_key_int(w, "last", generator->last);
    peri_jw_key_int(w, "created_at", generator->created_ms);
    peri_jw_key_int(w, "updated_at", generator->updated_ms);
    peri_jw_close(w, '}');
}

void peri__host_generators(void *data, struct peri_http_req *req)
{
    const struct peri__host *host = data;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buf out;
    uint64_t limit = 100;
    if (!peri__host_number(req, "limit", 10000, &limit))
        return;
    struct peri_json_writer w = open_list(&out);
    enum peri_code code =
        peri_engine_generators(host->engine, peri_http_query(req, "after"), (size_t)limit, write_generator, &w, &err);
    send_list(req, &w, code, &err);
}

static void send_generator(struct peri_http_req *req, int status, const struct peri_generator *generator)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, ANSWER_MAX);
    write_generator(&w, generator);
    peri__host_send(req, status, &w);
}

void peri__host_generator_show(void *data, struct peri_http_req *req)
{
    const struct peri__host *host = data;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_generator generator = { 0 };
    char *name = name_of(req, "name");
    if (name == NULL)
        return;
    if (peri_engine_generator(host->engine, name, &generator, &err) == PERI_OK)
        send_generator(req, 200, &generator);
    else
        refuse(req, &err);
    peri_generator_fini(&generator);
    free(name);
}

static void on_generator(void *data, const struct peri_access_result *result, const struct peri_error *err)
{
    struct job *job = data;
    if (job->req != NULL && err != NULL)
        refuse(job->req, err);
    else if (job->req != NULL)
        send_generator(job->req, result->created ? 201 : 200, result->generator);
    job_free(job);
}

void peri__host_generator_put(void *data, struct peri_http_req *req)
{
    static const char *const known[] = { "start", "step", NULL };
    struct peri__host *host = data;
    struct peri_error err = PERI_ERROR_INIT;
    json_int_t start = 1, step = 1;
    char *name = name_of(req, "name");
    json_t *body = name == NULL ? NULL : body_of(req, known);
    bool good = body != NULL;
    if (good && (peri_json_get_integer(body, "start", false, &start, &err) != PERI_OK ||
                 peri_json_get_integer(body, "step", false, &step, &err) != PERI_OK))
        good = refuse(req, &err);
    json_decref(body);
    struct job *job = good ? job_new(host, req, name) : NULL;
    if (!good)
        free(name);
    if (job == NULL)
        return;
    struct peri_generator spec = { .name = job->name, .start = start, .step = step };
    peri_engine_generator_create(host->engine, &spec, on_generator, job);
}

void peri__host_generator_delete(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    char *name = name_of(req, "name");
    struct job *job = name == NULL ? NULL : job_new(host, req, name);
    if (job != NULL)
        peri_engine_generator_delete(host->engine, job->name, on_deleted, job);
}

/* ---- parents ---- */

static void write_parent(void *data, const struct peri_parent *parent)
{
    struct peri_json_writer *w = data;
    peri_jw_open(w, '{');
    peri_jw_key_text(w, "id", parent->id);
    peri_jw_opt_text(w, "owner", parent->owner);
    peri_jw_key(w, "readers");
    peri_jw_raw(w, peri_str_from(parent->readers == NULL ? "[]" : parent->readers));
    peri_jw_key(w, "writers");
    peri_jw_raw(w, peri_str_from(parent->writers == NULL ? "[]" : parent->writers));
    peri_jw_key_int(w, "created_at", parent->created_ms);
    peri_jw_key_int(w, "updated_at", parent->updated_ms);
    peri_jw_close(w, '}');
}

void peri__host_parents(void *data, struct peri_http_req *req)
{
    const struct peri__host *host = data;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buf out;
    uint64_t limit = 100;
    if (!peri__host_number(req, "limit", 10000, &limit))
        return;
    struct peri_json_writer w = open_list(&out);
    enum peri_code code =
        peri_engine_parents(host->engine, peri_http_query(req, "after"), (size_t)limit, write_parent, &w, &err);
    send_list(req, &w, code, &err);
}

static void show_parent(const struct peri__host *host, struct peri_http_req *req, int status, const char *id)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_parent parent = { 0 };
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    if (peri_engine_parent(host->engine, id, &parent, &err) != PERI_OK) {
        refuse(req, &err);
        return;
    }
    peri_buf_init(&out, ANSWER_MAX);
    write_parent(&w, &parent);
    peri_parent_fini(&parent);
    peri__host_send(req, status, &w);
}

void peri__host_parent_show(void *data, struct peri_http_req *req)
{
    char *id = name_of(req, "id");
    if (id != NULL)
        show_parent(data, req, 200, id);
    free(id);
}

static void on_parent(void *data, const struct peri_access_result *result, const struct peri_error *err)
{
    struct job *job = data;
    if (job->req != NULL && err != NULL)
        refuse(job->req, err);
    else if (job->req != NULL)
        show_parent(job->host, job->req, result->created ? 201 : 200, job->name);
    job_free(job);
}

/* A list of names as the text that is kept; absent, null or empty: NULL. */
static bool read_names(const json_t *body, const char *key, char **out, struct peri_error *err)
{
    const json_t *list = json_object_get(body, key), *name;
    size_t index;
    if (list == NULL || json_is_null(list) || (json_is_array(list) && json_array_size(list) == 0))
        return true;
    bool good = json_is_array(list);
    json_array_foreach(list, index, name) good = good && json_is_string(name);
    if (!good) {
        peri_error_set(err, PERI_BAD_REQUEST, "field '%s' must be an array of strings", key);
        return false;
    }
    *out = json_dumps(list, JSON_COMPACT);
    if (*out == NULL)
        peri_error_set(err, PERI_NOMEM, "out of memory");
    return *out != NULL;
}

void peri__host_parent_put(void *data, struct peri_http_req *req)
{
    static const char *const known[] = { "owner", "readers", "writers", NULL };
    struct peri__host *host = data;
    struct peri_error err = PERI_ERROR_INIT;
    const char *owner = NULL;
    char *id = name_of(req, "id"), *readers = NULL, *writers = NULL;
    json_t *body = id == NULL ? NULL : body_of(req, known);
    bool good = body != NULL;
    if (good && (peri_json_get_string(body, "owner", false, &owner, &err) != PERI_OK ||
                 !read_names(body, "readers", &readers, &err) || !read_names(body, "writers", &writers, &err)))
        good = refuse(req, &err);
    struct job *job = good ? job_new(host, req, id) : NULL;
    if (!good)
        free(id);
    if (job != NULL) {
        struct peri_parent spec = {
            .id = job->name, .owner = (char *)(uintptr_t)owner, .readers = readers, .writers = writers
        };
        peri_engine_parent_put(host->engine, &spec, on_parent, job);
    }
    free(readers);
    free(writers);
    json_decref(body);
}

void peri__host_parent_delete(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    char *id = name_of(req, "id");
    struct job *job = id == NULL ? NULL : job_new(host, req, id);
    if (job != NULL)
        peri_engine_parent_delete(host->engine, job->name, on_deleted, job);
}

/* ---- files ---- */

struct listing {
    const struct peri__host *host;
    struct peri_json_writer w;
};

static void write_file(void *data, const struct peri_file_object *object)
{
    struct listing *list = data;
    struct peri_json_writer *w = &list->w;
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)object->id);
    peri_jw_key_text(w, "parent", object->parent);
    peri_jw_key_text(w, "filename", object->filename == NULL ? "" : object->filename);
    peri_jw_key_int(w, "filesize", object->size);
    peri_jw_key_text(w, "sha256", object->hash[0] == '\0' ? SHA256_OF_NOTHING : object->hash);
    peri_jw_opt_text(w, "persno", object->persno);
    peri_jw_key_int(w, "created_at", object->created_ms);
    peri_jw_key_int(w, "modified_at", object->modified_ms);
    peri_jw_key_bool(w, "locked", peri_engine_object_locked(list->host->engine, object->id));
    peri_jw_close(w, '}');
}

void peri__host_files(void *data, struct peri_http_req *req)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buf out;
    struct listing list = { .host = data };
    struct peri_object_filter filter = { .parent = peri_http_query(req, "parent") };
    uint64_t limit = 100;
    if (!peri__host_number(req, "limit", 10000, &limit) ||
        !peri__host_number(req, "before_id", ID_MAX, &filter.before_id))
        return;
    list.w = open_list(&out);
    enum peri_code code = peri_engine_objects(list.host->engine, &filter, (size_t)limit, write_file, &list, &err);
    send_list(req, &list.w, code, &err);
}

/* 0: answered. */
static uint64_t file_id(struct peri_http_req *req)
{
    struct peri_str text = peri_http_param(req, "id");
    struct peri_error err;
    uint64_t id = 0;
    char *digits = peri_str_dup(text);
    bool good = peri_number_parse(digits, ID_MAX, &id) && id > 0;
    free(digits);
    if (good)
        return id;
    peri_error_set(&err, PERI_NOT_FOUND, "there is no file '%.*s'", text.len > 100 ? 100 : (int)text.len, text.data);
    refuse(req, &err);
    return 0;
}

static bool find_file(const struct peri__host *host, struct peri_http_req *req, struct peri_file_object *out)
{
    struct peri_error err = PERI_ERROR_INIT;
    uint64_t id = file_id(req);
    if (id == 0)
        return false;
    return peri_engine_object(host->engine, id, out, &err) == PERI_OK || refuse(req, &err);
}

void peri__host_file_show(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct listing list = { .host = data, .w = { .out = &out } };
    struct peri_file_object object = { 0 };
    if (!find_file(data, req, &object))
        return;
    peri_buf_init(&out, ANSWER_MAX);
    write_file(&list, &object);
    peri_file_object_fini(&object);
    peri__host_send(req, 200, &list.w);
}

void peri__host_file_content(void *data, struct peri_http_req *req)
{
    const struct peri__host *host = data;
    struct peri_file_object object = { 0 };
    if (!find_file(host, req, &object))
        return;
    peri_reply_object(host->engine, req, &object);
    peri_file_object_fini(&object);
}

void peri__host_file_delete(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    uint64_t id = file_id(req);
    struct job *job = id == 0 ? NULL : job_new(host, req, NULL);
    if (job != NULL)
        peri_engine_object_delete(host->engine, id, on_deleted, job);
}
