/* SPDX-License-Identifier: MIT */
#include "client/hasher.h"

#include <stdlib.h>
#include <string.h>

#include "perilune/work.h"

#define BLOCK ((size_t)256 * 1024)       /* read at once: stays in the processor's cache */
#define PIECE ((int64_t)4 * 1024 * 1024) /* of a source, in one run of the thread: some milliseconds */
#define FEED ((size_t)1024 * 1024)       /* bytes of one of the two buffers */
#define INLINE_MAX ((int64_t)256 * 1024) /* what is not worth a thread */

struct peri_hasher {
    struct peri_hash *hash;
    struct peri_work *work;
    struct peri_reader *source;
    void (*changed)(void *data);
    void *data;
    int64_t reach, hashed, end; /* end -1: not known yet */
    /* What the thread works on, from peri_work_start to its end. */
    int64_t piece;
    char *block;
    struct {
        char *bytes;
        size_t len;
    } feed[2]; /* [0] is being filled; [1] is hashed */
    enum peri_code code;
    struct peri_error error;
};

static void hash_source(struct peri_hasher *hasher)
{
    while (hasher->piece > 0 && hasher->code == PERI_OK) {
        size_t want = hasher->piece < (int64_t)BLOCK ? (size_t)hasher->piece : BLOCK;
        size_t n = 0;
        hasher->code = peri_reader_read_full(hasher->source, hasher->block, want, &n, &hasher->error);
        if (hasher->code == PERI_OK && n < want)
            hasher->code = peri_error_set(&hasher->error, PERI_IO, "the source ended while it was being hashed");
        peri_hash_update(hasher->hash, hasher->block, n);
        hasher->hashed += (int64_t)n;
        hasher->piece -= (int64_t)n;
    }
}

static void hash_piece(void *data)
{
    struct peri_hasher *hasher = data;
    if (hasher->source) {
        hash_source(hasher);
        return;
    }
    peri_hash_update(hasher->hash, hasher->feed[1].bytes, hasher->feed[1].len);
    hasher->hashed += (int64_t)hasher->feed[1].len;
    hasher->feed[1].len = 0;
}

/* Whether there is a piece to hash, which is then set up. */
static bool next_piece(struct peri_hasher *hasher)
{
    if (hasher->source) {
        int64_t left = hasher->reach - hasher->hashed;
        hasher->piece = left < PIECE ? left : PIECE;
        return hasher->piece > 0 && (hasher->piece == PIECE || hasher->end >= 0);
    }
    if (hasher->feed[0].len == 0 || (hasher->feed[0].len < FEED && hasher->end < 0))
        return false;
    char *bytes = hasher->feed[1].bytes;
    hasher->feed[1] = hasher->feed[0];
    hasher->feed[0].bytes = bytes;
    hasher->feed[0].len = 0;
    return true;
}

static void advance(struct peri_hasher *hasher)
{
    if (peri_work_running(hasher->work) || hasher->code != PERI_OK || !next_piece(hasher))
        return;
    if (hasher->end >= 0 && hasher->end <= INLINE_MAX)
        hash_piece(hasher);
    else
        peri_work_start(hasher->work);
}

static void piece_done(void *data)
{
    struct peri_hasher *hasher = data;
    advance(hasher);
    hasher->changed(hasher->data);
}

struct peri_hasher *peri_hasher_new(struct peri_loop *loop, struct peri_reader *source, void (*changed)(void *data),
                                    void *data, struct peri_error *err)
{
    struct peri_hasher *hasher = calloc(1, sizeof *hasher);
    if (!hasher) {
        peri_reader_free(source);
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    hasher->source = source;
    hasher->changed = changed;
    hasher->data = data;
    hasher->end = -1;
    hasher->hash = peri_hash_new(PERI_SHA256, err);
    hasher->work = hasher->hash ? peri_work_new(loop, hash_piece, piece_done, hasher, err) : NULL;
    if (!hasher->work)
        goto fail;
    if (source) {
        hasher->block = malloc(BLOCK);
    } else {
        hasher->feed[0].bytes = malloc(FEED);
        hasher->feed[1].bytes = malloc(FEED);
    }
    if (source ? !hasher->block : !hasher->feed[0].bytes || !hasher->feed[1].bytes) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        goto fail;
    }
    return hasher;
fail:
    peri_hasher_free(hasher);
    return NULL;
}

void peri_hasher_free(struct peri_hasher *hasher)
{
    if (!hasher)
        return;
    peri_work_free(hasher->work);
    peri_hash_free(hasher->hash);
    peri_reader_free(hasher->source);
    free(hasher->block);
    free(hasher->feed[0].bytes);
    free(hasher->feed[1].bytes);
    free(hasher);
}

void peri_hasher_reach(struct peri_hasher *hasher, int64_t end)
{
    if (end > hasher->reach)
        hasher->reach = end;
    advance(hasher);
}

size_t peri_hasher_room(const struct peri_hasher *hasher)
{
    return FEED - hasher->feed[0].len;
}

void peri_hasher_feed(struct peri_hasher *hasher, struct peri_str bytes)
{
    memcpy(hasher->feed[0].bytes + hasher->feed[0].len, bytes.data, bytes.len);
    hasher->feed[0].len += bytes.len;
    advance(hasher);
}

void peri_hasher_finish(struct peri_hasher *hasher, int64_t end)
{
    hasher->end = end;
    hasher->reach = end;
    advance(hasher);
}

enum peri_code peri_hasher_state(const struct peri_hasher *hasher, struct peri_error *err)
{
    if (peri_work_running(hasher->work))
        return PERI_BUSY;
    if (hasher->code != PERI_OK && err)
        *err = hasher->error;
    if (hasher->code != PERI_OK)
        return hasher->code;
    return hasher->end >= 0 && hasher->hashed >= hasher->end ? PERI_OK : PERI_BUSY;
}

void peri_hasher_digest(struct peri_hasher *hasher, char hex[65])
{
    unsigned char digest[PERI_HASH_MAX];
    static const char digits[] = "0123456789abcdef";
    peri_hash_final(hasher->hash, digest);
    for (size_t i = 0; i < 32; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[64] = '\0';
}
