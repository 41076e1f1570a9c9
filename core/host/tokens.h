/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_TOKENS_H
#define CORE_HOST_TOKENS_H

#include "perilune/token.h"

/* Tokens of calls that have ended: good for a little longer, since what a handler sent last may arrive after its reply.
 * Only calls whose token was made are noted, the last PERI__TOKENS_MAX of them. A running call's token is nowhere. */
#define PERI__TOKENS_MAX 4096
#define PERI__TOKEN_GRACE_MS 10000

struct peri__ended_token {
    uint64_t call_id; /* 0: free */
    int64_t ended_ms;
    char text[PERI_CALL_TOKEN_MAX];
};
struct peri__tokens { /* all zero at first */
    struct peri__ended_token *ring;
    size_t next;
};

void peri__tokens_fini(struct peri__tokens *tokens);
/* The call ended. When memory is out it has no grace. */
void peri__tokens_ended(struct peri__tokens *tokens, uint64_t call_id, const char *token, int64_t now_ms);
/* PERI_UNAUTHORIZED, and err says why, unless the token is of a call that ended at most the grace ago. */
enum peri_code peri__tokens_check(const struct peri__tokens *tokens, uint64_t call_id, struct peri_str token,
                                  int64_t now_ms, struct peri_error *err);

#endif
