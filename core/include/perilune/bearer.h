/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_BEARER_H
#define PERILUNE_BEARER_H

#include "perilune/headers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Signs: sets "Authorization: Bearer <token>". PERI_INVALID for a token with characters outside RFC 6750 b64token. */
PERI_API enum peri_code peri_bearer_sign(struct peri_headers *headers, struct peri_str token, struct peri_error *err);
/* Verifies an Authorization value (NULL: absent) against the expected token in constant time. PERI_UNAUTHORIZED with a
 * message that helps and never repeats the credential. */
PERI_API enum peri_code peri_bearer_verify(const char *authorization, struct peri_str expected, struct peri_error *err);
/* The token in an Authorization value; empty when there is none of this scheme. */
PERI_API struct peri_str peri_bearer_token(const char *authorization);

#ifdef __cplusplus
}
#endif

#endif
