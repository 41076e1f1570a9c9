/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/calls_private.h"
#include "host/parts.h"
#include "perilune/hash.h"
#include "perilune/random.h"

/* Sessions of the cdf door. The nonce leaves once; the store knows its hash alone. */

#define NONCE_LEN 40
#define NONCE_MS (60 * 1000)
#define SESSION_MS (24 * 3600 * INT64_C(1000)) /* once its nonce was used */

struct opening {
    struct peri_engine *engine;
    struct peri_session session;
    char nonce[NONCE_LEN + 1];
    void (*created)(void *data, const struct peri_session *session, const char *nonce, const struct peri_error *err);
    peri_session_fn used;
    void *data;
    struct peri_error err;
};

static void free_opening(void *data)
{
    struct opening *opening = data;
    peri_session_fini(&opening->session);
    peri_secure_zero(opening->nonce, sizeof opening->nonce);
    free(opening);
}

static enum peri_code hash_nonce(struct peri_str nonce, char out[65], struct peri_error *err)
{
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf hex;
    enum peri_code code = peri_hash_once(PERI_SHA256, nonce, digest, err);
    if (code)
        return code;
    peri_buf_init(&hex, 128);
    code = peri_hex_append(&hex, digest, 32);
    if (!code)
        memcpy(out, hex.data, 65);
    peri_buf_fini(&hex);
    return code;
}

static void tell(void *data)
{
    struct opening *opening = data;
    const struct peri_error *err = opening->err.code ? &opening->err : NULL;
    const struct peri_session *session = err ? NULL : &opening->session;
    if (opening->created)
        opening->created(opening->data, session, err ? NULL : opening->nonce, err);
    else if (opening->used)
        opening->used(opening->data, session, err);
    free_opening(opening);
}

static void on_stored(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct opening *opening = data;
    struct peri_engine *engine = opening->engine;
    (void)write;
    if (engine->closing) {
        free_opening(opening);
        return;
    }
    if (err)
        opening->err = *err;
    tell(opening);
    peri__engine_settled(engine);
}

static void store(struct opening *opening, enum peri_write_kind kind)
{
    if (opening->err.code) {
        if (peri__turn_later(opening->engine->turn, tell, free_opening, opening) != PERI_OK)
            free_opening(opening);
        return;
    }
    struct peri_write write = { .kind = kind, .session = &opening->session, .done = on_stored, .data = opening };
    peri__engine_write(opening->engine, &write);
}

void peri_engine_session_create(struct peri_engine *engine, const struct peri_session *spec,
                                void (*done)(void *data, const struct peri_session *session, const char *nonce,
                                             const struct peri_error *err),
                                void *data)
{
    struct opening *opening = calloc(1, sizeof *opening);
    if (!opening)
        return;
    opening->engine = engine;
    opening->created = done;
    opening->data = data;
    struct peri_session *session = &opening->session;
    session->id = peri__engine_next_id(engine);
    snprintf(session->type, sizeof session->type, "%s", spec->type);
    snprintf(session->status, sizeof session->status, "READY");
    session->client_id = spec->client_id ? strdup(spec->client_id) : NULL;
    session->created_ms = peri__engine_now(engine);
    session->expires_ms = spec->expires_ms ? spec->expires_ms : session->created_ms + NONCE_MS;
    peri_random_token(peri_random_system(), opening->nonce, NONCE_LEN);
    hash_nonce(peri_str_from(opening->nonce), session->nonce_hash, &opening->err);
    store(opening, PERI_WRITE_SESSION);
}

void peri_engine_nonce_use(struct peri_engine *engine, struct peri_str nonce, peri_session_fn done, void *data)
{
    struct opening *opening = calloc(1, sizeof *opening);
    if (!opening)
        return;
    opening->engine = engine;
    opening->used = done;
    opening->data = data;
    opening->session.created_ms = peri__engine_now(engine);
    opening->session.expires_ms = opening->session.created_ms + SESSION_MS;
    hash_nonce(nonce, opening->session.nonce_hash, &opening->err);
    store(opening, PERI_WRITE_NONCE);
}

/* ---- reading ---- */

/* What the store can't know: that time has passed. */
static void set_expired(const struct peri_engine *engine, struct peri_session *session)
{
    bool open = strcmp(session->status, "READY") == 0 || strcmp(session->status, "ACTIVE") == 0;
    if (open && session->expires_ms <= peri__engine_now(engine))
        snprintf(session->status, sizeof session->status, "EXPIRED");
}

enum peri_code peri_engine_session(struct peri_engine *engine, uint64_t id, struct peri_session *out,
                                   struct peri_error *err)
{
    enum peri_code code = engine->store->kind->session(engine->store, id, out, err);
    if (!code)
        set_expired(engine, out);
    return code;
}

struct selection {
    const struct peri_engine *engine;
    const char *status;
    size_t left;
    void (*fn)(void *data, const struct peri_session *session);
    void *data;
};

static bool select_session(void *data, const struct peri_session *session)
{
    struct selection *selection = data;
    struct peri_session shown = *session;
    set_expired(selection->engine, &shown);
    if (selection->status && strcasecmp(selection->status, shown.status) != 0)
        return true;
    selection->fn(selection->data, &shown);
    return --selection->left > 0;
}

enum peri_code peri_engine_sessions(struct peri_engine *engine, const char *status, uint64_t before_id, size_t limit,
                                    void (*fn)(void *data, const struct peri_session *session), void *data,
                                    struct peri_error *err)
{
    struct selection selection = { engine, status, limit, fn, data };
    return limit ? engine->store->kind->sessions(engine->store, before_id, select_session, &selection, err) : PERI_OK;
}

/* ---- revoking ---- */

struct revocation {
    struct peri_engine *engine;
    void (*done)(void *data, const struct peri_error *err);
    void *data;
    uint64_t ids[];
};

static void on_revoked(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct revocation *revocation = data;
    struct peri_engine *engine = revocation->engine;
    (void)write;
    if (!engine->closing) {
        revocation->done(revocation->data, err);
        peri__engine_settled(engine);
    }
    free(revocation);
}

enum peri_code peri_engine_sessions_revoke(struct peri_engine *engine, const uint64_t *ids, size_t count,
                                           void (*done)(void *data, const struct peri_error *err), void *data,
                                           struct peri_error *err)
{
    struct revocation *revocation = malloc(sizeof *revocation + count * sizeof *ids);
    if (!revocation)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    *revocation = (struct revocation){ engine, done, data };
    memcpy(revocation->ids, ids, count * sizeof *ids);
    struct peri_write write = { .kind = PERI_WRITE_SESSIONS_REVOKE,
                                .ids = revocation->ids,
                                .id_count = count,
                                .done = on_revoked,
                                .data = revocation };
    peri__engine_write(engine, &write);
    return PERI_OK;
}

/* ---- calls ---- */

static uint64_t session_of(struct peri_engine *engine, uint64_t call_id)
{
    const struct peri__entry *entry = peri__entry_find(engine, call_id);
    struct peri_call *stored = entry ? NULL : peri_engine_call(engine, call_id, true, NULL);
    uint64_t id = entry ? entry->call->session_id : stored ? stored->session_id : 0;
    peri_call_unref(stored);
    return id;
}

enum peri_code peri_engine_session_token(struct peri_engine *engine, struct peri_str token, struct peri_error *err)
{
    struct peri_session session = { 0 };
    uint64_t call_id = 0;
    enum peri_code code = peri_engine_call_token(engine, token, &call_id, err);
    uint64_t id = code ? 0 : session_of(engine, call_id);
    if (!id)
        return code;
    code = peri_engine_session(engine, id, &session, err);
    if (code == PERI_NOT_FOUND)
        code = peri_error_set(err, PERI_UNAUTHORIZED, "the session of call %llu is gone", (unsigned long long)call_id);
    else if (!code && strcmp(session.status, "ACTIVE") != 0)
        code = peri_error_set(err, PERI_UNAUTHORIZED, "the session of call %llu is %s", (unsigned long long)call_id,
                              session.status);
    peri_session_fini(&session);
    return code;
}
