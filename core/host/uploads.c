/* SPDX-License-Identifier: MIT */
#include "host/uploads.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/access_private.h"
#include "host/uploads_private.h"
#include "perilune/random.h"

#define PARTS_MAX 10000 /* more, and the chunks grow */
#define FILESIZE_MAX (INT64_C(1) << 44)
#define UPLOADS_MAX 10000

/* ---- life ---- */

enum peri_code peri__uploads_new(struct peri_engine *engine, struct peri_error *err)
{
    engine->uploads = calloc(1, sizeof *engine->uploads);
    if (!engine->uploads)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    engine->uploads->engine = engine;
    return PERI_OK;
}

static int64_t monotonic(const struct peri__uploads *uploads)
{
    return peri_clock_monotonic_ms(peri_loop_clock(uploads->engine->loop));
}

void peri__upload_touch(struct peri__upload *upload)
{
    upload->expires_ms = monotonic(upload->uploads) + upload->uploads->engine->options.lock_timeout_ms;
}

static void destroy(struct peri__upload *upload)
{
    if (upload->fd >= 0)
        close(upload->fd);
    if (upload->path)
        unlink(upload->path);
    free(upload->path);
    free(upload->lock_id);
    free(upload->parts);
    peri_hash_free(upload->running);
    free(upload);
}

void peri__upload_unref(struct peri__upload *upload)
{
    if (--upload->refs == 0)
        destroy(upload);
}

void peri__upload_drop(struct peri__upload *upload)
{
    if (upload->dropped)
        return;
    upload->dropped = true;
    peri__idmap_remove(&upload->uploads->by_id, upload->id);
    peri__idmap_remove(&upload->uploads->by_object, upload->object_id);
    peri__upload_unref(upload);
}

void peri__uploads_free(struct peri__uploads *uploads)
{
    if (!uploads)
        return;
    for (size_t at = 0;;) {
        struct peri__upload *upload = peri__idmap_next(&uploads->by_id, &at);
        if (!upload)
            break;
        peri__upload_unref(upload); /* a task that was abandoned may hold it still */
    }
    peri__idmap_fini(&uploads->by_id);
    peri__idmap_fini(&uploads->by_object);
    free(uploads);
}

static bool silent(const struct peri__upload *upload)
{
    return !upload->completing && upload->refs == 1 && upload->expires_ms <= monotonic(upload->uploads);
}

void peri__uploads_tick(struct peri__uploads *uploads)
{
    for (size_t at = 0;;) {
        struct peri__upload *upload = peri__idmap_next(&uploads->by_id, &at);
        if (!upload)
            return;
        if (!silent(upload))
            continue;
        peri_log(PERI_LOG_INFO, "the upload to file %" PRIu64 " fell silent and is dropped", upload->object_id);
        peri__upload_drop(upload);
        at = 0; /* the map has changed */
    }
}

/* The one that holds the object's lock; one that fell silent holds it no more. */
struct peri__upload *peri__upload_of(struct peri__uploads *uploads, uint64_t object_id)
{
    struct peri__upload *upload = peri__idmap_get(&uploads->by_object, object_id);
    if (upload && silent(upload)) {
        peri__upload_drop(upload);
        upload = NULL;
    }
    return upload;
}

void peri__uploads_drop_object(struct peri__uploads *uploads, uint64_t object_id)
{
    struct peri__upload *upload = peri__upload_of(uploads, object_id);
    if (upload && !upload->completing)
        peri__upload_drop(upload);
}

bool peri_engine_object_locked(const struct peri_engine *engine, uint64_t id)
{
    return peri__upload_of(engine->uploads, id) != NULL;
}

/* ---- begin ---- */

static void describe(const struct peri__upload *upload, struct peri_upload *out)
{
    *out = (struct peri_upload){ .id = upload->id,
                                 .object_id = upload->object_id,
                                 .filesize = upload->filesize,
                                 .chunksize = upload->chunksize,
                                 .parts = upload->part_count,
                                 .lock_id = upload->lock_id };
}

/* At least one chunk, also of an empty file. */
static void divide(struct peri__upload *upload, int64_t chunksize)
{
    int64_t least = (upload->filesize + PARTS_MAX - 1) / PARTS_MAX;
    upload->chunksize = chunksize > least ? chunksize : least;
    int64_t parts = (upload->filesize + upload->chunksize - 1) / upload->chunksize;
    upload->part_count = parts > 1 ? (unsigned)parts : 1;
}

static enum peri_code open_file(struct peri__upload *upload, struct peri_error *err)
{
    char name[48];
    snprintf(name, sizeof name, "upload-%016" PRIx64, upload->id);
    upload->path = peri__datadir_path(&upload->uploads->engine->dir, "tmp", name);
    if (!upload->path)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    upload->fd = open(upload->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (upload->fd >= 0)
        return PERI_OK;
    free(upload->path); /* it is not ours */
    upload->path = NULL;
    return peri_error_set(err, PERI_IO, "can't create a file for the upload: %s", strerror(errno));
}

static enum peri_code make(struct peri_engine *engine, const struct peri_upload_spec *spec, struct peri__upload **out,
                           struct peri_error *err)
{
    struct peri__uploads *uploads = engine->uploads;
    struct peri__upload *upload = calloc(1, sizeof *upload);
    if (!upload)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    upload->uploads = uploads;
    upload->refs = 1;
    upload->fd = -1;
    upload->id = peri_random_u64(peri_random_system()) | 1;
    upload->object_id = spec->object_id;
    upload->filesize = spec->filesize;
    divide(upload, engine->options.chunk_size);
    upload->lock_id = strdup(spec->lock_id);
    upload->parts = calloc(upload->part_count, sizeof *upload->parts);
    upload->running = peri_hash_new(PERI_SHA256, err);
    enum peri_code code = upload->lock_id && upload->parts && upload->running
                              ? PERI_OK
                              : peri_error_set(err, PERI_NOMEM, "out of memory");
    if (!code)
        code = open_file(upload, err);
    if (!code && (peri__idmap_put(&uploads->by_id, upload->id, upload) != PERI_OK ||
                  peri__idmap_put(&uploads->by_object, upload->object_id, upload) != PERI_OK)) {
        peri__idmap_remove(&uploads->by_id, upload->id);
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    if (code) {
        destroy(upload);
        return code;
    }
    peri__upload_touch(upload);
    *out = upload;
    return PERI_OK;
}

/* Makes room for a new upload to the object, when it may have it. */
static enum peri_code take_lock(struct peri__uploads *uploads, const struct peri_upload_spec *spec,
                                struct peri_error *err)
{
    struct peri__upload *earlier = peri__upload_of(uploads, spec->object_id);
    if (earlier && (strcmp(earlier->lock_id, spec->lock_id) != 0 || earlier->completing || earlier->refs > 1))
        return peri_error_set(err, PERI_CONFLICT, "the file %" PRIu64 " is locked by another upload", spec->object_id);
    if (earlier)
        peri__upload_drop(earlier);
    if (uploads->by_id.count < UPLOADS_MAX)
        return PERI_OK;
    peri_error_set(err, PERI_UNAVAILABLE, "there are %d uploads under way already", UPLOADS_MAX);
    err->retry_after_ms = 1000;
    return PERI_UNAVAILABLE;
}

enum peri_code peri_engine_upload_begin(struct peri_engine *engine, const struct peri_upload_spec *spec,
                                        struct peri_upload *out, struct peri_error *err)
{
    struct peri__upload *upload = NULL;
    enum peri_code code = PERI_OK;
    if (spec->filesize < 0 || spec->filesize > FILESIZE_MAX)
        return peri_error_set(err, PERI_UNPROCESSABLE, "filesize must be from 0 to %" PRId64, FILESIZE_MAX);
    code = peri__upload_permitted(engine, spec, NULL, err);
    if (!code)
        code = take_lock(engine->uploads, spec, err);
    if (!code)
        code = make(engine, spec, &upload, err);
    if (!code)
        describe(upload, out);
    return code;
}

enum peri_code peri_engine_upload(struct peri_engine *engine, uint64_t id, struct peri_upload *out,
                                  struct peri_error *err)
{
    const struct peri__upload *upload = peri__idmap_get(&engine->uploads->by_id, id);
    if (!upload)
        return peri_error_set(err, PERI_NOT_FOUND, "this upload has ended");
    describe(upload, out);
    return PERI_OK;
}

enum peri_code peri_engine_upload_abort(struct peri_engine *engine, uint64_t object_id, const char *lock_id,
                                        struct peri_error *err)
{
    struct peri_file_object object = { 0 };
    enum peri_code code = peri_engine_object(engine, object_id, &object, err);
    peri_file_object_fini(&object);
    if (code)
        return code;
    struct peri__upload *upload = peri__upload_of(engine->uploads, object_id);
    if (!upload || strcmp(upload->lock_id, lock_id) != 0)
        return PERI_OK;
    if (upload->committing)
        return peri_error_set(err, PERI_CONFLICT, "the content of file %" PRIu64 " is being committed", object_id);
    peri__upload_drop(upload);
    return PERI_OK;
}

/* ---- chunks ---- */

/* The digest of all bytes goes along while chunks come one after another from the first on. A chunk that does not follow,
 * or comes again, leaves the rest to be read back in the end. */
static void follow(struct peri_part *part)
{
    struct peri__upload *upload = part->upload;
    if (part->index < upload->hashed) {
        struct peri_hash *fresh = peri_hash_new(PERI_SHA256, NULL);
        if (!fresh)
            return; /* complete will say that the digests differ */
        peri_hash_free(upload->running);
        upload->running = fresh;
        upload->hashed = 0;
        upload->generation++;
    }
    if (part->index == upload->hashed)
        part->running = peri_hash_copy(upload->running, NULL);
}

enum peri_code peri_engine_part_open(struct peri_engine *engine, uint64_t upload_id, unsigned index,
                                     struct peri_part **out, struct peri_part_place *place, struct peri_error *err)
{
    struct peri__upload *upload = peri__idmap_get(&engine->uploads->by_id, upload_id);
    if (!upload || index >= upload->part_count || silent(upload))
        return peri_error_set(err, PERI_NOT_FOUND, "this upload has ended");
    if (upload->completing || upload->parts[index].writing)
        return peri_error_set(err, PERI_CONFLICT,
                              upload->completing ? "the upload is being completed"
                                                 : "another request is sending the same chunk");
    struct peri_part *part = calloc(1, sizeof *part);
    if (!part)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    *part = (struct peri_part){ .upload = upload, .index = index };
    follow(part);
    part->generation = upload->generation;
    upload->refs++;
    upload->parts[index] = (struct peri__part_state){ .writing = true };
    peri__upload_touch(upload);
    int64_t offset = (int64_t)index * upload->chunksize, left = upload->filesize - offset;
    *place = (struct peri_part_place){ .fd = upload->fd,
                                       .offset = offset,
                                       .max = left < upload->chunksize ? left : upload->chunksize,
                                       .running = part->running };
    *out = part;
    return PERI_OK;
}

void peri_engine_part_stored(struct peri_part *part, int64_t size, const char *md5)
{
    struct peri__upload *upload = part->upload;
    struct peri__part_state *state = &upload->parts[part->index];
    *state = (struct peri__part_state){ .present = true, .size = size };
    snprintf(state->md5, sizeof state->md5, "%s", md5);
    part->stored = true;
    if (part->running && part->index == upload->hashed && part->generation == upload->generation) {
        peri_hash_free(upload->running);
        upload->running = part->running;
        part->running = NULL;
        upload->hashed++;
    }
    peri__upload_touch(upload);
}

void peri_engine_part_close(struct peri_part *part)
{
    struct peri__upload *upload = part->upload;
    if (!part->stored)
        upload->parts[part->index] = (struct peri__part_state){ 0 };
    peri_hash_free(part->running);
    free(part);
    peri__upload_touch(upload);
    peri__upload_unref(upload);
}
