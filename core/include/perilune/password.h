/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_PASSWORD_H
#define PERILUNE_PASSWORD_H

#include "perilune/headers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A user's name and password in an Authorization header: RFC 7617 (Basic) and RFC 2617 (Digest with MD5). */

struct peri_password {
    const char *username, *password;
};

/* PERI_INVALID for a name with a colon, or with control characters in either. */
PERI_API enum peri_code peri_basic_sign(struct peri_headers *headers, const struct peri_password *user,
                                        struct peri_error *err);

#define PERI_DIGEST_TEXT 256
/* A server's challenge. */
struct peri_digest {
    char realm[PERI_DIGEST_TEXT], nonce[PERI_DIGEST_TEXT], opaque[PERI_DIGEST_TEXT]; /* as quoted strings have them */
    bool has_opaque;
    bool qop_auth; /* else as in RFC 2069 */
};

/* Reads a WWW-Authenticate value. PERI_UNSUPPORTED: another scheme, another algorithm than MD5, no qop "auth" among those
 * offered. PERI_PROTOCOL: malformed. */
PERI_API enum peri_code peri_digest_read(struct peri_digest *digest, const char *challenge, struct peri_error *err);
/* Answers it. target: path and query, as in the request line. count: how often the nonce is used, from 1. */
PERI_API enum peri_code peri_digest_sign(struct peri_headers *headers, const struct peri_digest *digest,
                                         const struct peri_password *user, const char *method, struct peri_str target,
                                         const char *cnonce, unsigned count, struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
