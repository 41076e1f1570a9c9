/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/api/cim_private.h"
#include "host/api/object_reply.h"

#define FILENAME_MAX_BYTES 4096
#define SHA256_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* ---- create ---- */

static void write_id(struct peri_json_writer *w, uint64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, id);
    peri_jw_key_text(w, "file_object_id", text);
}

static void on_created(void *data, const struct peri_access_result *result, const struct peri_error *err)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_http_req *req = peri__cim_job_end(data, err);
    if (req == NULL || err != NULL)
        return;
    peri_buf_init(&out, 4096);
    peri_jw_open(&w, '{');
    write_id(&w, result->object->id);
    peri_jw_close(&w, '}');
    peri__cim_send(req, &w);
}

void peri__cim_create(void *data, struct peri_http_req *req)
{
    struct peri__cim *cim = data;
    const char *parent = NULL, *filename = NULL, *persno = "";
    bool check_access = true;
    json_t *body = peri__cim_body(req);
    if (body == NULL)
        return;
    bool good = peri__cim_text(req, body, "parent_object_id", true, &parent) &&
                peri__cim_text(req, body, "filename", true, &filename) &&
                peri__cim_text(req, body, "persno", false, &persno) &&
                peri__cim_flag(req, body, "check_access", &check_access);
    if (good && strlen(filename) > FILENAME_MAX_BYTES)
        good = peri__cim_refuse(req, "field 'filename' must have at most %d bytes", FILENAME_MAX_BYTES);
    struct peri__cim_job *job = good ? peri__cim_job_new(cim, req) : NULL;
    if (job != NULL) {
        struct peri_file_object spec = { .parent = (char *)(uintptr_t)parent,
                                         .filename = (char *)(uintptr_t)filename,
                                         .persno = (char *)(uintptr_t)persno };
        peri_engine_object_create(cim->engine, &spec, check_access, on_created, job);
    }
    json_decref(body);
}

/* ---- reading ---- */

/* ?persno= asks whether that person may read; without it the token alone decides. */
static bool find(struct peri__cim *cim, struct peri_http_req *req, struct peri_file_object *object)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *persno = peri_http_query(req, "persno");
    uint64_t id = 0;
    if (!peri__cim_object_id(req, &id))
        return false;
    enum peri_code code = peri_engine_object(cim->engine, id, object, &err);
    if (code == PERI_OK && persno != NULL)
        code = peri_engine_object_access(cim->engine, object, persno, PERI_MAY_READ, &err);
    if (code == PERI_OK)
        return true;
    peri_file_object_fini(object);
    peri_http_reply_error(req, 0, &err);
    return false;
}

static const char *hash_of(const struct peri_file_object *object)
{
    return object->hash[0] == '\0' ? SHA256_OF_NOTHING : object->hash;
}

void peri__cim_show(void *data, struct peri_http_req *req)
{
    struct peri__cim *cim = data;
    struct peri_file_object object = { 0 };
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    if (!find(cim, req, &object))
        return;
    peri_buf_init(&out, 65536);
    peri_jw_open(&w, '{');
    write_id(&w, object.id);
    peri_jw_key_text(&w, "parent_object_id", object.parent);
    peri_jw_key_text(&w, "filename", object.filename == NULL ? "" : object.filename);
    peri_jw_key_int(&w, "filesize", object.size);
    peri_jw_key_text(&w, "sha256", hash_of(&object));
    peri_jw_key_text(&w, "persno", object.persno == NULL ? "" : object.persno);
    peri_jw_key_int(&w, "created_time", object.created_ms);
    peri_jw_key_int(&w, "modified_time", object.modified_ms);
    peri_jw_key_bool(&w, "locked", peri_engine_object_locked(cim->engine, object.id));
    peri_jw_close(&w, '}');
    peri_file_object_fini(&object);
    peri__cim_send(req, &w);
}

void peri__cim_content(void *data, struct peri_http_req *req)
{
    struct peri__cim *cim = data;
    struct peri_file_object object = { 0 };
    if (!find(cim, req, &object))
        return;
    peri_reply_object(cim->engine, req, &object);
    peri_file_object_fini(&object);
}
