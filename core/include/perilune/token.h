/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_TOKEN_H
#define PERILUNE_TOKEN_H

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The bearer token of one call's attempt: what a handler shows to the host's access service. It is
 *   "pc1." + call id in decimal + "." + base64url(HMAC-SHA256(key, "cim\n" + call id + "\n" + attempt))
 * where the key is random and known to the gateway and one sandbox process alone. Nobody stores tokens: each side
 * derives one when it needs it. */
#define PERI_CALL_KEY_SIZE 32
#define PERI_CALL_TOKEN_MAX 69 /* with its NUL */

PERI_API enum peri_code peri_call_token(const unsigned char key[PERI_CALL_KEY_SIZE], uint64_t call_id, unsigned attempt,
                                        char out[PERI_CALL_TOKEN_MAX], struct peri_error *err);
/* The call that a token says it is of. False: it does not look like a token of a call. Proves nothing. */
PERI_API bool peri_call_token_parse(struct peri_str token, uint64_t *call_id);

#ifdef __cplusplus
}
#endif

#endif
