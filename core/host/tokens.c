/* SPDX-License-Identifier: MIT */
#include "host/tokens.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "host/calls_private.h"
#include "perilune/hash.h"

/* ---- of calls that have ended ---- */

void peri__tokens_fini(struct peri__tokens *tokens)
{
    if (tokens->ring)
        peri_secure_zero(tokens->ring, PERI__TOKENS_MAX * sizeof *tokens->ring);
    free(tokens->ring);
    *tokens = (struct peri__tokens){ 0 };
}

void peri__tokens_ended(struct peri__tokens *tokens, uint64_t call_id, const char *token, int64_t now_ms)
{
    if (!tokens->ring)
        tokens->ring = calloc(PERI__TOKENS_MAX, sizeof *tokens->ring);
    if (!tokens->ring)
        return;
    struct peri__ended_token *ended = &tokens->ring[tokens->next++ % PERI__TOKENS_MAX];
    ended->call_id = call_id;
    ended->ended_ms = now_ms;
    memcpy(ended->text, token, strlen(token) + 1);
}

static enum peri_code refuse(struct peri_error *err, uint64_t call_id)
{
    return peri_error_set(err, PERI_UNAUTHORIZED, "the token is not the one of call %" PRIu64 ", or of another attempt",
                          call_id);
}

enum peri_code peri__tokens_check(const struct peri__tokens *tokens, uint64_t call_id, struct peri_str token,
                                  int64_t now_ms, struct peri_error *err)
{
    for (size_t i = 0; tokens->ring && i < PERI__TOKENS_MAX; i++) {
        const struct peri__ended_token *ended = &tokens->ring[i];
        if (ended->call_id != call_id)
            continue;
        if (!peri_constant_time_equal(token, peri_str_from(ended->text)))
            return refuse(err, call_id);
        if (now_ms - ended->ended_ms <= PERI__TOKEN_GRACE_MS)
            return PERI_OK;
        break;
    }
    return peri_error_set(err, PERI_UNAUTHORIZED, "the token has expired: call %" PRIu64 " does not run here any more",
                          call_id);
}

/* ---- of those that run ---- */

enum peri_code peri_engine_call_token(struct peri_engine *engine, struct peri_str token, uint64_t *call_id,
                                      struct peri_error *err)
{
    char good[PERI_CALL_TOKEN_MAX];
    uint64_t id = 0;
    if (!peri_call_token_parse(token, &id))
        return peri_error_set(err, PERI_UNAUTHORIZED, "the token is not one of this host's");
    struct peri__entry *entry = peri__entry_find(engine, id);
    const unsigned char *key = entry && !entry->over ? peri__dispatch_key(&entry->job) : NULL;
    enum peri_code code = PERI_OK;
    if (!key) {
        code = peri__tokens_check(&engine->tokens, id, token, (int64_t)uv_now(engine->uv), err);
    } else {
        code = peri_call_token(key, id, entry->call->attempt, good, err);
        if (code == PERI_OK && !peri_constant_time_equal(token, peri_str_from(good)))
            code = refuse(err, id);
        peri_secure_zero(good, sizeof good);
        entry->job.token = entry->job.token || code == PERI_OK;
    }
    if (code == PERI_OK)
        *call_id = id;
    return code;
}
