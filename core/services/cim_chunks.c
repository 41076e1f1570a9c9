/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "client/hasher.h"
#include "client/op_kind.h"
#include "services/cim_private.h"

/* The chunks of one upload: an operation whose requests are PUTs to presigned URLs, several at once if the source can be
 * read anywhere. Each chunk is as long as the platform said, whatever the source gives at once. */

#define ANSWERED_WITHIN_MS 20000 /* of a chunk, and the longest that none of its bytes moves */

struct chunks;

struct slot {
    struct chunks *owner;
    struct peri_op *op; /* NULL: free */
    size_t index;
    int64_t sent;
};

struct chunks {
    struct peri_op op;
    struct peri_cim__chunks_options with;
    struct peri_hasher *hasher;
    struct slot slots[PERI_CIM_CONCURRENCY_MAX];
    size_t next, active;
    struct peri_reader *part; /* of a source that is read only once: its running chunk; NULL: none */
    int64_t part_left;
    int64_t done, reported; /* bytes of finished chunks; the most that was told */
    json_t *etags;
    bool some_etag, ending;
    char sha256[65];
};

static void release(struct peri_op *op)
{
    struct chunks *chunks = (struct chunks *)op;
    for (size_t i = 0; i < PERI_CIM_CONCURRENCY_MAX; i++) {
        peri_op_free(chunks->slots[i].op);
        chunks->slots[i].op = NULL;
    }
    if (chunks->with.source)
        peri_reader_on_resume(chunks->with.source, NULL, NULL);
    chunks->with.source = NULL;
    peri_hasher_free(chunks->hasher);
    chunks->hasher = NULL;
}

static void fini(struct peri_op *op)
{
    release(op);
    json_decref(((struct chunks *)op)->etags);
}

static const struct peri_op_kind chunks_kind = { .cancel = release, .fini = fini };

static void finish(struct chunks *chunks, const struct peri_error *err)
{
    release(&chunks->op);
    peri__op_finish(&chunks->op, err);
}

/* ---- a chunk of a source that is read from its beginning to its end ---- */

static enum peri_code part_read(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    struct chunks *chunks = data;
    size_t room = peri_hasher_room(chunks->hasher);
    if (room == 0)
        return PERI_BUSY; /* until the other buffer is hashed */
    cap = cap < room ? cap : room;
    cap = (int64_t)cap < chunks->part_left ? cap : (size_t)chunks->part_left;
    enum peri_code code = peri_reader_read(chunks->with.source, out, cap, n, err);
    if (code != PERI_OK)
        return code;
    if (*n == 0 && cap > 0)
        return peri_error_set(err, PERI_INVALID, "the stream ended %lld bytes before the %lld that filesize says",
                              (long long)(chunks->with.size - chunks->done - chunks->slots[0].sent),
                              (long long)chunks->with.size);
    chunks->part_left -= (int64_t)*n;
    peri_hasher_feed(chunks->hasher, (struct peri_str){ out, *n });
    return PERI_OK;
}

static void part_gone(void *data)
{
    struct chunks *chunks = data;
    chunks->part = NULL;
}

/* ---- the end: nothing more to read, everything hashed ---- */

/* PERI_BUSY: the source can't tell yet. */
static enum peri_code check_end(struct chunks *chunks, struct peri_error *err)
{
    char byte = 0;
    size_t n = 0;
    struct peri_reader *source = chunks->with.source;
    if (peri_reader_size(source) >= 0)
        return PERI_OK; /* the same as the upload's: see cim_upload.c */
    struct peri_reader *rest = NULL;
    if (peri_reader_has_parts(source) && !(rest = peri_reader_part(source, chunks->with.size, 1, err)))
        return err->code;
    enum peri_code code = peri_reader_read(rest ? rest : source, &byte, 1, &n, err);
    peri_reader_free(rest);
    if (code == PERI_OK && n > 0)
        code = peri_error_set(err, PERI_INVALID, "the stream goes on after the %lld bytes that filesize says",
                              (long long)chunks->with.size);
    return code;
}

static void end(struct chunks *chunks)
{
    struct peri_error err = PERI_ERROR_INIT;
    enum peri_code code = PERI_OK;
    if (!chunks->ending) {
        code = check_end(chunks, &err);
        if (code == PERI_OK)
            peri_hasher_finish(chunks->hasher, chunks->with.size);
        chunks->ending = code == PERI_OK;
    }
    if (code == PERI_OK)
        code = peri_hasher_state(chunks->hasher, &err);
    if (code == PERI_BUSY)
        return; /* source_resumed or hasher_changed comes back here */
    if (code == PERI_OK)
        peri_hasher_digest(chunks->hasher, chunks->sha256);
    finish(chunks, code == PERI_OK ? NULL : &err);
}

/* ---- one chunk after the other, or some at once ---- */

static bool all_sent(const struct chunks *chunks)
{
    return chunks->active == 0 && chunks->next == chunks->with.presigned->count;
}

static void source_resumed(void *data)
{
    struct chunks *chunks = data;
    if (chunks->part)
        peri_reader_resume(chunks->part);
    else if (all_sent(chunks))
        end(chunks);
}

static void hasher_changed(void *data)
{
    struct chunks *chunks = data;
    struct peri_error err = PERI_ERROR_INIT;
    enum peri_code code = peri_hasher_state(chunks->hasher, &err);
    if (code != PERI_OK && code != PERI_BUSY)
        finish(chunks, &err);
    else if (chunks->part)
        peri_reader_resume(chunks->part);
    else if (chunks->ending)
        end(chunks);
}

static int64_t length_of(const struct chunks *chunks, size_t index)
{
    int64_t start = (int64_t)index * chunks->with.presigned->chunksize;
    int64_t left = chunks->with.size - start;
    return left < chunks->with.presigned->chunksize ? left : chunks->with.presigned->chunksize;
}

static void report(struct chunks *chunks)
{
    int64_t sent = chunks->done;
    for (size_t i = 0; i < PERI_CIM_CONCURRENCY_MAX; i++)
        sent += chunks->slots[i].sent;
    if (sent <= chunks->reported) /* a chunk begins again */
        return;
    chunks->reported = sent;
    if (peri_reader_has_parts(chunks->with.source))
        peri_hasher_reach(chunks->hasher, sent);
    if (chunks->with.uploaded)
        chunks->with.uploaded(chunks->with.uploaded_data, sent, chunks->with.size);
}

static void slot_progress(void *data, int64_t sent, int64_t received)
{
    struct slot *slot = data;
    (void)received;
    slot->sent = sent;
    report(slot->owner);
}

static struct peri_reader *open_chunk(struct chunks *chunks, size_t index, struct peri_error *err)
{
    int64_t length = length_of(chunks, index);
    if (length == 0)
        return peri_reader_borrowed((struct peri_str){ "", 0 }, err);
    if (peri_reader_has_parts(chunks->with.source))
        return peri_reader_part(chunks->with.source, (int64_t)index * chunks->with.presigned->chunksize, length, err);
    chunks->part_left = length;
    chunks->part = peri_reader_callback(part_read, NULL, length, chunks, part_gone, err);
    return chunks->part;
}

static void slot_done(void *data, struct peri_op *op);

static enum peri_code start_chunk(struct chunks *chunks, struct slot *slot, struct peri_error *err)
{
    const struct peri_cim__presigned *presigned = chunks->with.presigned;
    slot->index = chunks->next;
    slot->sent = 0;
    struct peri_reader *body = open_chunk(chunks, slot->index, err);
    if (!body)
        return err->code;
    struct peri_http http = {
        .method = "PUT",
        .url = peri_cim__presigned_url(presigned, slot->index),
        .headers = &presigned->headers,
        .body = body,
        .idempotent = true,
        .no_auth = true, /* the URL is the right to write, also when it is of the service's own origin */
        .shape = PERI_SHAPE_BYTES,
        .operation = chunks->with.operation,
        .progress = slot_progress,
        .progress_data = slot,
        .retry = chunks->with.retry,
        .first_byte_default_ms = ANSWERED_WITHIN_MS,
        .stall_timeout_ms = ANSWERED_WITHIN_MS,
    };
    slot->op = peri_client_request(chunks->with.client, &http, err);
    if (!slot->op)
        return err->code;
    chunks->next++;
    chunks->active++;
    peri_op_on_done(slot->op, slot_done, slot);
    return PERI_OK;
}

static void name_chunk(const struct chunks *chunks, size_t index, struct peri_error *err)
{
    size_t count = chunks->with.presigned->count;
    if (count > 1)
        peri_error_prefix(err, "chunk %zu of %zu", index + 1, count);
}

static void go_on(struct chunks *chunks)
{
    struct peri_error err = PERI_ERROR_INIT;
    for (size_t i = 0; i < chunks->with.concurrency && chunks->next < chunks->with.presigned->count; i++) {
        if (!chunks->slots[i].op && start_chunk(chunks, &chunks->slots[i], &err) != PERI_OK) {
            name_chunk(chunks, chunks->next, &err);
            finish(chunks, &err);
            return;
        }
    }
    if (all_sent(chunks))
        end(chunks);
}

static enum peri_code keep_etag(struct chunks *chunks, size_t index, const char *etag)
{
    if (etag && etag[0])
        chunks->some_etag = true;
    while (json_array_size(chunks->etags) <= index)
        if (json_array_append_new(chunks->etags, json_string("")) != 0)
            return PERI_NOMEM;
    if (!etag)
        return PERI_OK;
    return json_array_set_new(chunks->etags, index, json_string(etag)) == 0 ? PERI_OK : PERI_NOMEM;
}

static void slot_done(void *data, struct peri_op *op)
{
    struct slot *slot = data;
    struct chunks *chunks = slot->owner;
    struct peri_error err = *peri_op_error(op);
    chunks->op.attempts += peri_op_attempts(op);
    chunks->active--;
    if (err.code == PERI_OK && keep_etag(chunks, slot->index, peri_headers_get(peri_op_headers(op), "etag")) != PERI_OK)
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    slot->op = NULL;
    peri_op_free(op);
    if (err.code != PERI_OK) {
        name_chunk(chunks, slot->index, &err);
        finish(chunks, &err);
        return;
    }
    slot->sent = 0;
    chunks->done += length_of(chunks, slot->index);
    go_on(chunks);
}

struct peri_op *peri_cim__chunks_new(const struct peri_cim__chunks_options *options, struct peri_error *err)
{
    struct peri_loop *loop = peri_client_loop(options->client);
    struct chunks *chunks = peri__op_new(sizeof *chunks, &chunks_kind, loop, options->operation, err);
    if (!chunks)
        return NULL;
    chunks->with = *options;
    for (size_t i = 0; i < PERI_CIM_CONCURRENCY_MAX; i++)
        chunks->slots[i].owner = chunks;
    bool parts = peri_reader_has_parts(options->source);
    if (!parts)
        chunks->with.concurrency = 1;
    struct peri_reader *own = parts ? peri_reader_part(options->source, 0, options->size, err) : NULL;
    chunks->etags = json_array();
    if (chunks->etags && (own || !parts))
        chunks->hasher = peri_hasher_new(loop, own, hasher_changed, chunks, err);
    else
        peri_reader_free(own);
    if (!chunks->hasher) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        chunks->op.code = PERI_NOMEM; /* nothing is under way */
        peri_op_free(&chunks->op);
        return NULL;
    }
    peri_reader_on_resume(options->source, source_resumed, chunks);
    go_on(chunks);
    return &chunks->op;
}

const json_t *peri_cim__chunks_etags(const struct peri_op *op)
{
    const struct chunks *chunks = (const struct chunks *)op;
    return chunks->some_etag ? chunks->etags : NULL;
}

const char *peri_cim__chunks_sha256(const struct peri_op *op)
{
    return ((const struct chunks *)op)->sha256;
}
