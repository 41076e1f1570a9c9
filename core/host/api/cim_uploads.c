/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/cim_private.h"
#include "host/size.h"

#define URL_MS INT64_C(86400000) /* a presigned URL; it ends with its upload if that is sooner */
#define LOCK_ID_MAX 200

/* ---- generate_presigned_url ---- */

/* The name under which the client reached us, as far as it is one. */
static bool good_host(const char *host)
{
    size_t len = host == NULL ? 0 : strlen(host);
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)host[i]) && strchr(".-_:[]", host[i]) == NULL)
            return false;
    }
    return len > 0 && len < 256;
}

/* What the client echoes at the end shows by this that it is what it was given. */
static enum peri_code sign_upload(const struct peri__cim *cim, uint64_t object_id, const char *upload_id,
                                  const char *blob_id, const char *lock_id, char out[PERI_SIGNATURE_SIZE])
{
    struct peri_buf text;
    peri_buf_init(&text, 4096);
    enum peri_code code =
        peri_buf_printf(&text, "upload\n%" PRIu64 "\n%s\n%s\n%s", object_id, upload_id, blob_id, lock_id);
    if (code == PERI_OK)
        code = peri_signature(cim->key, peri_buf_str(&text), out);
    peri_buf_fini(&text);
    return code;
}

static void ids_of(uint64_t upload, char upload_id[24], char blob_id[24])
{
    snprintf(upload_id, 24, "%016" PRIx64, upload);
    snprintf(blob_id, 24, "b-%016" PRIx64, upload);
}

static void write_urls(const struct peri__cim *cim, const struct peri_http_req *req, struct peri_json_writer *w,
                       const struct peri_upload *upload, const char *upload_id)
{
    const char *host = peri_http_header(req, "Host");
    int64_t expires = peri_clock_wall_ms(peri_loop_clock(peri_engine_loop(cim->engine))) + URL_MS;
    bool named = good_host(host);
    peri_jw_key(w, "urls");
    peri_jw_open(w, '[');
    for (unsigned i = 1; i <= upload->parts && !w->failed; i++) {
        char path[80], *signed_path, *url = NULL;
        snprintf(path, sizeof path, "/cim/blobs/%s/%u", upload_id, i);
        signed_path = peri_signed_url(cim->key, path, expires);
        if (signed_path == NULL ||
            asprintf(&url, "%s%s%s", named ? "http://" : "", named ? host : cim->url, signed_path) < 0)
            w->failed = true;
        else
            peri_jw_text(w, peri_str_from(url));
        free(signed_path);
        if (!w->failed)
            free(url);
    }
    peri_jw_close(w, ']');
}

static void reply_presigned(const struct peri__cim *cim, struct peri_http_req *req, const struct peri_upload *upload)
{
    static const char *const unused[] = { "etags", "block_ids", "headers", "metadata" };
    char upload_id[24], blob_id[24], signature[PERI_SIGNATURE_SIZE];
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, (size_t)16 << 20);
    ids_of(upload->id, upload_id, blob_id);
    if (sign_upload(cim, upload->object_id, upload_id, blob_id, upload->lock_id, signature) != PERI_OK)
        w.failed = true;
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "blob_id", blob_id);
    write_urls(cim, req, &w, upload, upload_id);
    peri_jw_key_int(&w, "chunksize", upload->chunksize);
    peri_jw_key_text(&w, "upload_id", upload_id);
    for (size_t i = 0; i < sizeof unused / sizeof unused[0]; i++) {
        peri_jw_key(&w, unused[i]);
        peri_jw_raw(&w, peri_str_from("null"));
    }
    peri_jw_key_text(&w, "signature", signature);
    peri_jw_close(&w, '}');
    peri__cim_send(req, &w);
}

/* What presign and complete have in common. */
static bool read_spec(struct peri_http_req *req, const json_t *body, struct peri_upload_spec *spec)
{
    *spec = (struct peri_upload_spec){ .persno = "", .check_access = true };
    if (!peri__cim_int(req, body, "filesize", &spec->filesize) ||
        !peri__cim_flag(req, body, "check_access", &spec->check_access) ||
        !peri__cim_text(req, body, "persno", false, &spec->persno) ||
        !peri__cim_text(req, body, "lock_id", true, &spec->lock_id))
        return false;
    if (spec->filesize < 0)
        return peri__cim_refuse(req, "field 'filesize' must be 0 or more");
    if (spec->lock_id[0] == '\0' || strlen(spec->lock_id) > LOCK_ID_MAX)
        return peri__cim_refuse(req, "field 'lock_id' must have 1 to %d bytes", LOCK_ID_MAX);
    return true;
}

void peri__cim_presign(void *data, struct peri_http_req *req)
{
    struct peri__cim *cim = data;
    struct peri_upload_spec spec;
    struct peri_upload upload;
    struct peri_error err = PERI_ERROR_INIT;
    json_t *body = peri__cim_body(req);
    if (body == NULL)
        return;
    if (read_spec(req, body, &spec) && peri__cim_object_id(req, &spec.object_id)) {
        if (peri_engine_upload_begin(cim->engine, &spec, &upload, &err) == PERI_OK)
            reply_presigned(cim, req, &upload);
        else
            peri_http_reply_error(req, 0, &err);
    }
    json_decref(body);
}

/* ---- complete and abort ---- */

static void on_completed(void *data, const struct peri_access_result *result, const struct peri_error *err)
{
    struct peri_http_req *req = peri__cim_job_end(data, err);
    (void)result;
    if (req != NULL && err == NULL)
        peri__cim_null(req);
}

/* etags: null or strings; claim->etags is then owned by the caller. */
static bool read_etags(struct peri_http_req *req, const json_t *list, struct peri_upload_claim *claim)
{
    size_t count = json_array_size(list), index;
    const json_t *item;
    if (list == NULL || json_is_null(list) || (json_is_array(list) && count == 0))
        return true;
    if (!json_is_array(list))
        return peri__cim_refuse(req, "field 'presigned_write_urls.etags' must be an array of strings or null");
    const char **etags = calloc(count, sizeof(const char *));
    if (etags == NULL)
        return peri__cim_refuse(req, "out of memory");
    claim->etags = etags;
    claim->etag_count = count;
    json_array_foreach(list, index, item)
    {
        etags[index] = json_string_value(item);
        if (etags[index] == NULL)
            return peri__cim_refuse(req, "field 'presigned_write_urls.etags[%zu]' must be a string", index);
    }
    return true;
}

static bool read_hash(struct peri_http_req *req, const json_t *body, const char **out)
{
    if (!peri__cim_text(req, body, "sha256", false, out))
        return false;
    if (*out != NULL && (strlen(*out) != 64 || strspn(*out, "0123456789abcdef") != 64))
        return peri__cim_refuse(req, "field 'sha256' must be null or 64 hexadecimal digits in lower case");
    return true;
}

/* Whether what is echoed is of this host, and of which upload. */
static bool read_echo(const struct peri__cim *cim, struct peri_http_req *req, const json_t *body,
                      struct peri_upload_claim *claim)
{
    const json_t *urls = json_object_get(body, "presigned_write_urls");
    const char *blob = NULL, *upload = NULL, *signature = NULL;
    char upload_id[24], blob_id[24], wanted[PERI_SIGNATURE_SIZE];
    if (!json_is_object(urls))
        return peri__cim_refuse(req, "field 'presigned_write_urls' must be an object");
    if (!peri__cim_text(req, urls, "blob_id", true, &blob) || !peri__cim_text(req, urls, "upload_id", false, &upload) ||
        !peri__cim_text(req, urls, "signature", false, &signature) ||
        !read_etags(req, json_object_get(urls, "etags"), claim))
        return false;
    if (upload == NULL || signature == NULL || strlen(upload) != 16)
        return true;
    claim->upload_id = strtoull(upload, NULL, 16);
    ids_of(claim->upload_id, upload_id, blob_id);
    claim->ours = strcmp(upload, upload_id) == 0 && strcmp(blob, blob_id) == 0 &&
                  sign_upload(cim, claim->spec.object_id, upload_id, blob_id, claim->spec.lock_id, wanted) == PERI_OK &&
                  peri_constant_time_equal(peri_str_from(signature), peri_str_from(wanted));
    return true;
}

void peri__cim_complete(void *data, struct peri_http_req *req)
{
    struct peri__cim *cim = data;
    struct peri_upload_claim claim = { 0 };
    bool derived = false; /* there are no derived files here: what becomes of them is nobody's concern */
    json_t *body = peri__cim_body(req);
    if (body == NULL)
        return;
    bool good = read_spec(req, body, &claim.spec) && read_hash(req, body, &claim.sha256) &&
                peri__cim_flag(req, body, "delete_derived_files", &derived) &&
                peri__cim_object_id(req, &claim.spec.object_id) && read_echo(cim, req, body, &claim);
    struct peri__cim_job *job = good ? peri__cim_job_new(cim, req) : NULL;
    if (job != NULL)
        peri_engine_upload_complete(cim->engine, &claim, on_completed, job);
    free((void *)(uintptr_t)claim.etags);
    json_decref(body);
}

void peri__cim_abort(void *data, struct peri_http_req *req)
{
    struct peri__cim *cim = data;
    struct peri_error err = PERI_ERROR_INIT;
    const char *lock_id = NULL;
    uint64_t id = 0;
    json_t *body = peri__cim_body(req);
    if (body == NULL)
        return;
    if (peri__cim_text(req, body, "lock_id", true, &lock_id) && peri__cim_object_id(req, &id)) {
        if (peri_engine_upload_abort(cim->engine, id, lock_id, &err) == PERI_OK)
            peri__cim_null(req);
        else
            peri_http_reply_error(req, 0, &err);
    }
    json_decref(body);
}

/* ---- chunks ---- */

static void on_ended(void *part)
{
    peri_engine_part_close(part);
}

/* The URL's signature is ours: what it names was once an upload. */
enum peri_code peri__cim_target(void *data, struct peri_http_req *req, struct peri_http_target *out,
                                struct peri_error *err)
{
    struct peri__cim *cim = data;
    struct peri_part_place place;
    struct peri_part *part = NULL;
    uint64_t index = 0;
    char *upload = peri_str_dup(peri_http_param(req, "upload")), *number = peri_str_dup(peri_http_param(req, "part"));
    enum peri_code code = PERI_NOMEM;
    if (upload == NULL || number == NULL)
        peri_error_set(err, PERI_NOMEM, "out of memory");
    else if (!peri_number_parse(number, UINT32_MAX, &index) || index == 0)
        code = peri_error_set(err, PERI_NOT_FOUND, "there is no such chunk");
    else
        code = peri_engine_part_open(cim->engine, strtoull(upload, NULL, 16), (unsigned)index - 1, &part, &place, err);
    free(upload);
    free(number);
    if (code != PERI_OK)
        return code;
    *out = (struct peri_http_target){ .fd = place.fd,
                                      .offset = place.offset,
                                      .max = (size_t)place.max,
                                      .hash = PERI_MD5,
                                      .running = place.running,
                                      .ended = on_ended,
                                      .data = part };
    return PERI_OK;
}

void peri__cim_put(void *data, struct peri_http_req *req)
{
    const char *md5 = NULL;
    char etag[48];
    int64_t size = 0;
    (void)data;
    peri_http_file(req, &size, &md5);
    peri_engine_part_stored(peri_http_target_data(req), size, md5);
    snprintf(etag, sizeof etag, "\"%s\"", md5);
    peri_http_set_header(req, "ETag", etag);
    peri_http_reply(req, 200, NULL, (struct peri_str){ "", 0 });
}
