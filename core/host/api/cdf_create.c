/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/api/cdf_private.h"

struct creation {
    struct peri__cdf_job job;
    char *external_id;
    char *package; /* a second name of the file's content, which the engine may take for itself */
};

static void creation_free(struct creation *creation)
{
    if (creation->package != NULL)
        unlink(creation->package);
    free(creation->package);
    free(creation->external_id);
    free(creation);
}

static void on_gone(void *data)
{
    ((struct peri__cdf_job *)data)->req = NULL;
}

static void reply_duplicated(struct peri__cdf *cdf, struct peri_http_req *req, const char *external_id)
{
    struct peri_error err;
    json_t *list = json_pack("[{ss}]", "externalId", external_id);
    peri_error_set(&err, PERI_CONFLICT, "Function with externalId %s already exists", external_id);
    peri__cdf_error(cdf, req, 409, err.message, "duplicated", list);
    json_decref(list);
}

static void on_created(void *data, struct peri_function *function, const struct peri_error *err)
{
    struct creation *creation = data;
    struct peri__cdf *cdf = creation->job.cdf;
    struct peri_http_req *req = creation->job.req;
    struct peri_buf out;
    struct peri_json_writer w;
    if (req != NULL && function != NULL) {
        peri__cdf_open_items(&w, &out);
        peri__cdf_function(&w, function);
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(cdf, req, 201, &w);
    } else if (req != NULL && err->code == PERI_CONFLICT && creation->external_id != NULL) {
        reply_duplicated(cdf, req, creation->external_id);
    } else if (req != NULL) {
        peri_http_reply_error(req, err->code == PERI_PACKAGE ? 400 : 0, err);
    }
    creation_free(creation);
}

/* A deployment takes its package away, but a file can be used more than once. */
static char *second_name(struct peri__cdf *cdf, const struct peri_file *file)
{
    static unsigned count;
    char *path = peri_engine_file_path(cdf->engine, file), *name = NULL;
    if (path == NULL || asprintf(&name, "%s/tmp/deploy-%u", peri_engine_settings(cdf->engine)->data_dir, ++count) < 0)
        name = NULL;
    if (name != NULL && link(path, name) != 0) {
        free(name);
        name = NULL;
    }
    free(path);
    return name;
}

/* false: answered. */
static bool find_content(struct peri__cdf *cdf, struct peri_http_req *req, uint64_t file_id, struct peri_file *file)
{
    struct peri_error err = PERI_ERROR_INIT;
    const struct peri_str none = { NULL, 0 };
    if (file_id == 0 || peri_engine_file(cdf->engine, file_id, none, file, &err) != PERI_OK)
        return peri__cdf_refuse(req, "there is no file with id %llu", (unsigned long long)file_id);
    return file->uploaded || peri__cdf_refuse(req, "file %llu has no content yet", (unsigned long long)file_id);
}

static void deploy(struct peri__cdf *cdf, struct peri_http_req *req, const struct peri_function *spec,
                   const struct peri_file *file)
{
    struct creation *creation = calloc(1, sizeof *creation);
    struct peri_error err;
    if (creation == NULL) {
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        return;
    }
    creation->job = (struct peri__cdf_job){ .cdf = cdf, .req = req };
    creation->external_id = spec->external_id == NULL ? NULL : strdup(spec->external_id);
    creation->package = second_name(cdf, file);
    if (creation->package == NULL) {
        peri_error_set(&err, PERI_IO, "can't reach the content of file %" PRIu64, file->id);
        peri_http_reply_error(req, 0, &err);
        creation_free(creation);
        return;
    }
    peri_http_on_close(req, on_gone, &creation->job);
    struct peri_deploy order = { .spec = spec, .package_path = creation->package, .package_hash = file->hash };
    peri_engine_deploy(cdf->engine, &order, on_created, creation);
}

void peri__cdf_create(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_file file = { 0 };
    struct peri_function *spec = peri_function_new(), *known = NULL;
    json_t *body = spec == NULL ? NULL : peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_items(req, body, 1);
    if (items == NULL || !peri__cdf_read_spec(cdf, req, json_array_get(items, 0), spec))
        goto out;
    if (spec->external_id != NULL)
        known = peri_engine_function_by_name(cdf->engine, peri_str_from(spec->external_id));
    if (known != NULL)
        reply_duplicated(cdf, req, spec->external_id);
    else if (find_content(cdf, req, spec->file_id, &file))
        deploy(cdf, req, spec, &file);
out:
    peri_file_fini(&file);
    peri_function_unref(known);
    peri_function_unref(spec);
    json_decref(body);
}
