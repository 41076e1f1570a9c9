/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "host/api/signed_url.h"

#define UPLOAD_MS (7 * INT64_C(86400000))
#define BYIDS_MAX 1000

/* ---- signed upload URLs ---- */

enum peri_code peri__cdf_check_signature(struct peri__cdf *cdf, struct peri_http_req *req, struct peri_error *err)
{
    return peri_signed_url_check(cdf->upload_key, req, peri_clock_wall_ms(peri_clock_system()), err);
}

/* The URL is relative to the host, which then needs not know under which name it was reached. NULL: out of memory. */
static char *upload_url(const struct peri__cdf *cdf, const struct peri_http_req *req, uint64_t id)
{
    char *path = NULL;
    int64_t expires_ms = peri_clock_wall_ms(peri_clock_system()) + UPLOAD_MS;
    if (asprintf(&path, "%s/%" PRIu64 "/content", peri_http_path(req), id) < 0)
        return NULL;
    char *url = peri_signed_url(cdf->upload_key, path, expires_ms);
    free(path);
    return url;
}

/* ---- create ---- */

static void on_gone(void *data)
{
    ((struct peri__cdf_job *)data)->req = NULL;
}

static struct peri__cdf_job *job_new(struct peri__cdf *cdf, struct peri_http_req *req)
{
    struct peri__cdf_job *job = malloc(sizeof *job);
    if (job == NULL) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        return NULL;
    }
    *job = (struct peri__cdf_job){ .cdf = cdf, .req = req };
    peri_http_on_close(req, on_gone, job);
    return job;
}

static void on_created(void *data, const struct peri_file *file, const struct peri_error *err)
{
    struct peri__cdf_job *job = data;
    struct peri__cdf *cdf = job->cdf;
    struct peri_http_req *req = job->req;
    free(job);
    if (req == NULL)
        return;
    if (file == NULL) {
        peri_http_reply_error(req, 0, err);
        return;
    }
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    char *url = upload_url(cdf, req, file->id);
    peri_buf_init(&out, 1024 * 1024);
    peri__cdf_file(&w, file, url);
    w.failed = w.failed || url == NULL;
    peri__cdf_send(cdf, req, 201, &w);
    free(url);
}

void peri__cdf_file_create(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    const char *overwrite = peri_http_query(req, "overwrite");
    const char *name = NULL, *external_id = NULL, *mime_type = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    json_t *body = peri__cdf_body(req);
    if (body == NULL)
        return;
    if (peri_json_get_string(body, "name", true, &name, &err) != PERI_OK ||
        peri_json_get_string(body, "externalId", false, &external_id, &err) != PERI_OK ||
        peri_json_get_string(body, "mimeType", false, &mime_type, &err) != PERI_OK) {
        peri__cdf_refuse(req, "%s", err.message);
    } else if (name[0] == '\0' || strlen(name) > 1024 || (external_id != NULL && strlen(external_id) > 1020)) {
        peri__cdf_refuse(req, "a file's name has 1 to 256 characters, its externalId at most 255");
    } else {
        struct peri_file spec = { .external_id = (char *)(uintptr_t)external_id,
                                  .name = (char *)(uintptr_t)name,
                                  .mime_type = (char *)(uintptr_t)mime_type };
        struct peri__cdf_job *job = job_new(cdf, req);
        if (job != NULL)
            peri_engine_file_create(cdf->engine, &spec, overwrite != NULL && strcmp(overwrite, "true") == 0, on_created,
                                    job);
    }
    json_decref(body);
}

/* ---- content ---- */

static void on_stored(void *data, const struct peri_file *file, const struct peri_error *err)
{
    struct peri__cdf_job *job = data;
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    if (job->req != NULL && file == NULL) {
        peri_http_reply_error(job->req, 0, err);
    } else if (job->req != NULL) {
        peri_buf_init(&out, 64);
        peri_jw_open(&w, '{');
        peri_jw_close(&w, '}');
        peri__cdf_send(job->cdf, job->req, 200, &w);
    }
    free(job);
}

void peri__cdf_file_content(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_file file = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    const char *hash = NULL;
    int64_t size = 0;
    uint64_t id = peri__cdf_id(req, "fileId");
    if (id == 0)
        return;
    if (peri_engine_file(cdf->engine, id, (struct peri_str){ NULL, 0 }, &file, &err) != PERI_OK) {
        peri_http_reply_error(req, 400, &err);
        return;
    }
    peri_file_fini(&file);
    const char *path = peri_http_file(req, &size, &hash);
    struct peri__cdf_job *job = job_new(cdf, req);
    if (job != NULL)
        peri_engine_file_content(cdf->engine, id, path, hash, size, on_stored, job);
}

/* ---- by id ---- */

static bool write_files(struct peri__cdf *cdf, struct peri_http_req *req, json_t *items, struct peri_json_writer *w,
                        json_t *missing)
{
    size_t index;
    json_t *item;
    json_array_foreach(items, index, item)
    {
        const json_t *id = json_object_get(item, "id"), *external = json_object_get(item, "externalId");
        struct peri_str name = { json_string_value(external), json_string_length(external) };
        struct peri_file file = { 0 };
        bool known = false;
        if (!json_is_integer(id) && !json_is_string(external))
            return peri__cdf_refuse(req, "items[%zu] must be {\"id\": integer} or {\"externalId\": string}", index);
        if (json_is_string(external) || json_integer_value(id) > 0)
            known = peri_engine_file(cdf->engine, (uint64_t)json_integer_value(id), name, &file, NULL) == PERI_OK;
        if (known)
            peri__cdf_file(w, &file, NULL);
        else
            json_array_append(missing, item);
        peri_file_fini(&file);
    }
    return true;
}

void peri__cdf_file_byids(void *data, struct peri_http_req *req)
{
    json_t *body = peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_items(req, body, BYIDS_MAX);
    json_t *missing = json_array();
    struct peri_buf out;
    struct peri_json_writer w;
    peri__cdf_open_items(&w, &out);
    if (items == NULL || !write_files(data, req, items, &w, missing)) {
        peri_buf_fini(&out);
    } else if (json_array_size(missing) > 0 && !json_is_true(json_object_get(body, "ignoreUnknownIds"))) {
        peri_buf_fini(&out);
        peri__cdf_error(data, req, 400, "File ids not found", "missing", missing);
    } else {
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(data, req, 200, &w);
    }
    json_decref(missing);
    json_decref(body);
}
