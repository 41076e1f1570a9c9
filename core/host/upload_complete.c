/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/access_private.h"
#include "host/blobs.h"
#include "host/uploads_private.h"

/* The end of an upload: what was sent is compared, made durable under its hash, then the record is changed. */

#define PIECE ((size_t)1 << 20)

struct completion {
    struct peri__task task; /* first */
    struct peri__upload *upload;
    struct peri__access_op *op;
    char wanted[65]; /* "": any */
    char hash[65];
    bool pinned;
};

enum peri_code peri__upload_permitted(struct peri_engine *engine, const struct peri_upload_spec *spec,
                                      struct peri_file_object *found, struct peri_error *err)
{
    struct peri_file_object object = { 0 };
    enum peri_code code = peri_engine_object(engine, spec->object_id, &object, err);
    if (!code && spec->check_access)
        code = peri__access_check(engine, object.parent, spec->persno, PERI_MAY_WRITE, err);
    if (!code && found)
        *found = object;
    else
        peri_file_object_fini(&object);
    return code;
}

/* ---- on the thread pool ---- */

/* The chunks that the running digest has not seen are read back, mostly from the page cache. */
static enum peri_code hash_rest(struct peri__upload *upload, struct peri_error *err)
{
    int64_t at = (int64_t)upload->hashed * upload->chunksize;
    char *piece = at < upload->filesize ? malloc(PIECE) : NULL;
    enum peri_code code = PERI_OK;
    if (at < upload->filesize && !piece)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    while (at < upload->filesize && !code) {
        ssize_t n = pread(upload->fd, piece, PIECE, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            code = peri_error_set(err, PERI_IO, "can't read what was uploaded: %s",
                                  n < 0 ? strerror(errno) : "it ends early");
        if (n > 0)
            peri_hash_update(upload->running, piece, (size_t)n);
        at += n;
    }
    free(piece);
    return code;
}

static void work_hash(struct peri__task *task)
{
    struct completion *c = (struct completion *)task;
    struct peri_error *err = &c->op->err;
    struct peri_buf hex;
    unsigned char digest[PERI_HASH_MAX];
    if (hash_rest(c->upload, err) != PERI_OK)
        return;
    peri_hash_final(c->upload->running, digest);
    peri_buf_init(&hex, 65);
    if (peri_hex_append(&hex, digest, 32) == PERI_OK)
        memcpy(c->hash, hex.data, 65);
    else
        peri_error_set(err, PERI_NOMEM, "out of memory");
    peri_buf_fini(&hex);
    if (!err->code && c->wanted[0] && strcmp(c->wanted, c->hash) != 0)
        peri_error_set(err, PERI_UNPROCESSABLE, "sha256 is %s, but what was uploaded has %s", c->wanted, c->hash);
}

static void work_place(struct peri__task *task)
{
    struct completion *c = (struct completion *)task;
    peri__blobs_place(task->engine->blobs, c->upload->path, c->hash, &c->op->err);
}

/* ---- on the loop's thread ---- */

static void drop(struct peri__task *task)
{
    struct completion *c = (struct completion *)task;
    peri__access_op_free(c->op);
    peri__upload_unref(c->upload);
    free(c);
}

static void finish(struct completion *c)
{
    if (c->pinned)
        peri__blobs_unpin(c->upload->uploads->engine->blobs, c->hash);
    c->upload->completing = c->upload->committing = false;
    peri__upload_touch(c->upload);
    peri__upload_unref(c->upload);
    free(c);
}

static void on_written(struct peri__access_op *op)
{
    struct completion *c = op->owner;
    struct peri_engine *engine = op->engine;
    const char *old = op->access.old_hash;
    if (!op->err.code && old[0] && strcmp(old, c->hash) != 0 && peri__blobs_pin(engine->blobs, old, NULL) == PERI_OK)
        peri__blobs_unpin(engine->blobs, old);
    /* The bytes are no longer in tmp/: whatever came of it, the upload is over. */
    peri__upload_drop(c->upload);
    finish(c);
}

static void on_dropped(struct peri__access_op *op)
{
    struct completion *c = op->owner;
    peri__upload_unref(c->upload);
    free(c);
}

static void fail(struct completion *c)
{
    struct peri__access_op *op = c->op;
    finish(c);
    peri__access_op_run(op, PERI_ACCESS_NOTHING);
}

static void on_placed(struct peri__task *task)
{
    struct completion *c = (struct completion *)task;
    free(c->upload->path);
    c->upload->path = NULL;
    if (c->op->err.code) {
        peri__upload_drop(c->upload);
        fail(c);
        return;
    }
    struct peri__access_op *op = c->op;
    memcpy(op->access.object.hash, c->hash, sizeof c->hash);
    op->access.object.size = c->upload->filesize;
    op->access.object.modified_ms = peri__engine_now(task->engine);
    op->written = on_written;
    op->dropped = on_dropped;
    op->owner = c;
    peri__access_op_run(op, PERI_WRITE_OBJECT_CONTENT);
}

static void on_hashed(struct peri__task *task)
{
    struct completion *c = (struct completion *)task;
    struct peri_error *err = &c->op->err;
    peri_hash_free(c->upload->running);
    c->upload->running = peri_hash_new(PERI_SHA256, NULL); /* should it be completed again */
    c->upload->hashed = 0;
    if (!err->code && c->upload->dropped)
        peri_error_set(err, PERI_CONFLICT, "the upload was aborted");
    if (!err->code && !c->upload->running)
        peri_error_set(err, PERI_NOMEM, "out of memory");
    if (!err->code)
        c->pinned = peri__blobs_pin(task->engine->blobs, c->hash, err) == PERI_OK;
    if (err->code) {
        fail(c);
        return;
    }
    c->upload->committing = true;
    c->task.work = work_place;
    c->task.done = on_placed;
    peri__task_start(task->engine, &c->task);
}

/* ---- what is claimed ---- */

static enum peri_code unprocessable(struct peri_error *err, const char *format, ...) PERI_PRINTF(2, 3);
static enum peri_code unprocessable(struct peri_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    peri_error_setv(err, PERI_UNPROCESSABLE, format, args);
    va_end(args);
    return PERI_UNPROCESSABLE;
}

/* ETags are compared as they were given: the md5 in quotes. */
static bool same_etag(const char *etag, const char *md5)
{
    size_t len = strlen(md5);
    return etag && strlen(etag) == len + 2 && etag[0] == '"' && strncmp(etag + 1, md5, len) == 0 &&
           etag[len + 1] == '"';
}

static enum peri_code compare(const struct peri__upload *upload, const struct peri_upload_claim *claim,
                              struct peri_error *err)
{
    int64_t size = 0;
    if (!claim->ours || claim->upload_id != upload->id)
        return unprocessable(err, "presigned_write_urls: this is not what the upload was given");
    if (claim->spec.filesize != upload->filesize)
        return unprocessable(err, "filesize is %" PRId64 ", but the URLs were asked for with %" PRId64,
                             claim->spec.filesize, upload->filesize);
    for (unsigned i = 0; i < upload->part_count; i++) {
        const struct peri__part_state *part = &upload->parts[i];
        if (!part->present)
            return unprocessable(err, "chunk %u of %u was not uploaded%s", i + 1, upload->part_count,
                                 part->writing ? " yet" : "");
        size += part->size;
    }
    if (size != upload->filesize)
        return unprocessable(err, "filesize is %" PRId64 ", but %" PRId64 " bytes were uploaded", upload->filesize,
                             size);
    if (claim->etag_count != upload->part_count)
        return unprocessable(err, "presigned_write_urls.etags has %zu entries for %u chunks", claim->etag_count,
                             upload->part_count);
    for (unsigned i = 0; i < upload->part_count; i++)
        if (!same_etag(claim->etags[i], upload->parts[i].md5))
            return unprocessable(err, "presigned_write_urls.etags[%u] is not the ETag of chunk %u", i, i + 1);
    return PERI_OK;
}

static bool done_before(const struct peri_file_object *object, const struct peri_upload_claim *claim)
{
    return object->hash[0] && object->lock_id && strcmp(object->lock_id, claim->spec.lock_id) == 0 &&
           object->size == claim->spec.filesize && (!claim->sha256 || strcmp(claim->sha256, object->hash) == 0);
}

/* The upload that the claim is about; NULL with PERI_OK: it has been completed before. */
static enum peri_code find(struct peri_engine *engine, const struct peri_upload_claim *claim,
                           const struct peri_file_object *object, struct peri__upload **out, struct peri_error *err)
{
    struct peri__upload *upload = peri__upload_of(engine->uploads, claim->spec.object_id);
    if (upload && strcmp(upload->lock_id, claim->spec.lock_id) != 0)
        upload = NULL;
    if (!upload && !done_before(object, claim))
        return peri_error_set(err, PERI_CONFLICT, "the file %" PRIu64 " is not locked under this lock_id",
                              claim->spec.object_id);
    if (upload && upload->completing) {
        peri_error_set(err, PERI_UNAVAILABLE, "the upload is being completed already");
        err->retry_after_ms = 1000;
        return PERI_UNAVAILABLE;
    }
    *out = upload;
    return upload ? compare(upload, claim, err) : PERI_OK;
}

static void begin(struct peri__access_op *op, struct peri__upload *upload, const struct peri_upload_claim *claim)
{
    struct completion *c = calloc(1, sizeof *c);
    op->access.object.id = upload->object_id;
    op->access.object.lock_id = strdup(upload->lock_id);
    if (!c || !op->access.object.lock_id) {
        free(c);
        peri_error_set(&op->err, PERI_NOMEM, "out of memory");
        peri__access_op_run(op, PERI_ACCESS_NOTHING);
        return;
    }
    c->upload = upload;
    c->op = op;
    if (claim->sha256)
        snprintf(c->wanted, sizeof c->wanted, "%s", claim->sha256);
    upload->refs++;
    upload->completing = true;
    c->task.work = work_hash;
    c->task.done = on_hashed;
    c->task.drop = drop;
    peri__task_start(op->engine, &c->task);
}

void peri_engine_upload_complete(struct peri_engine *engine, const struct peri_upload_claim *claim, peri_access_fn done,
                                 void *data)
{
    struct peri_file_object object = { 0 };
    struct peri__upload *upload = NULL;
    struct peri__access_op *op = peri__access_op_new(engine, done, data);
    if (!op)
        return;
    if (peri__upload_permitted(engine, &claim->spec, &object, &op->err) == PERI_OK)
        find(engine, claim, &object, &upload, &op->err);
    peri_file_object_fini(&object);
    if (op->err.code || !upload)
        peri__access_op_run(op, PERI_ACCESS_NOTHING);
    else
        begin(op, upload, claim);
}
