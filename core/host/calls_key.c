/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "host/calls_private.h"
#include "perilune/hash.h"

/* Idempotency keys: one call for each function and key, as long as its record is kept. The store's index decides. */

enum peri_code peri__key_hash(const struct peri_submit *submit, char out[65])
{
    unsigned char digest[PERI_HASH_MAX], input = (unsigned char)submit->input;
    struct peri_hash *hash = peri_hash_new(PERI_SHA256, NULL);
    struct peri_buf text;
    if (!hash)
        return PERI_NOMEM;
    peri_hash_update(hash, &input, 1);
    peri_hash_update(hash, submit->body.data, submit->body.len);
    peri_hash_final(hash, digest);
    peri_hash_free(hash);
    peri_buf_init(&text, 128);
    enum peri_code code = peri_hex_append(&text, digest, peri_hash_size(PERI_SHA256));
    if (!code)
        memcpy(out, text.data, 65);
    peri_buf_fini(&text);
    return code;
}

bool peri__key_known(struct peri_engine *engine, uint64_t function_id, const char *key)
{
    uint64_t id = 0;
    char hash[65];
    if (engine->store->kind->key(engine->store, function_id, key, &id, hash, NULL) != PERI_OK)
        return false;
    const struct peri__entry *entry = peri__entry_find(engine, id);
    return !entry || entry->accepted; /* else its acceptance is about to be told, before that of a write now */
}

static struct peri_call *find(struct peri_engine *engine, const struct peri_call *own, struct peri_error *err)
{
    uint64_t id = 0;
    char hash[65];
    const char *key = own->terms->key;
    if (engine->store->kind->key(engine->store, own->function_id, key, &id, hash, err) != PERI_OK)
        return NULL;
    if (strcmp(hash, own->terms->request_hash) != 0) {
        peri_error_set(err, PERI_CONFLICT,
                       "the idempotency key '%s' belongs to call %" PRIu64 ", which has another input", key, id);
        return NULL;
    }
    return peri_engine_call(engine, id, false, err);
}

void peri__entry_replay(struct peri__entry *entry)
{
    struct peri_engine *engine = entry->engine;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_call_events events = entry->events;
    struct peri_call *own = peri_call_ref(entry->call);
    peri__entry_free(entry);
    struct peri_call *earlier = find(engine, own, &err);
    if (!earlier && events.refused)
        events.refused(events.data, own, &err);
    else if (earlier && events.replayed)
        events.replayed(events.data, earlier);
    peri_call_unref(earlier);
    peri_call_unref(own);
}

struct replay {
    struct peri_engine *engine;
    uint64_t call_id;
};

static void do_replay(void *data)
{
    struct replay *replay = data;
    struct peri__entry *entry = peri__entry_find(replay->engine, replay->call_id);
    if (entry)
        peri__entry_replay(entry);
    free(replay);
}

enum peri_code peri__entry_replay_later(struct peri__entry *entry)
{
    struct replay *replay = malloc(sizeof *replay);
    if (!replay)
        return PERI_NOMEM;
    *replay = (struct replay){ entry->engine, entry->job.call_id };
    enum peri_code code = peri__turn_later(entry->engine->turn, do_replay, free, replay);
    if (code)
        free(replay);
    return code;
}
