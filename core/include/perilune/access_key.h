/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_ACCESS_KEY_H
#define PERILUNE_ACCESS_KEY_H

#include <jansson.h>

#include "perilune/headers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Access keys of DataFlux Func: four headers X-Dff-Ak-*, of which the last is a hexadecimal HMAC-SHA1 of
 * METHOD&PATH-WITH-QUERY&timestamp&nonce&bodyMD5. */

struct peri_access_key {
    const char *id, *secret;
};

#define PERI_BODY_MD5_SIZE 33 /* 32 hexadecimal digits and a NUL */
#define PERI_ACCESS_SIGN_SIZE 41

/* The MD5 of a JSON body (NULL: none, which counts as {}) as the platform writes it anew: keys sorted, no blanks, strings in
 * quotes but not escaped, numbers as JavaScript has them. */
PERI_API enum peri_code peri_access_key_body_md5(const json_t *body, char out[PERI_BODY_MD5_SIZE],
                                                 struct peri_error *err);
/* target: path and query, as in the request line. */
PERI_API enum peri_code peri_access_key_signature(const char *secret, const char *method, struct peri_str target,
                                                  int64_t timestamp_s, const char *nonce, const char *body_md5,
                                                  char out[PERI_ACCESS_SIGN_SIZE], struct peri_error *err);
/* Sets the four headers. The nonce may be used once in 24 hours. */
PERI_API enum peri_code peri_access_key_sign(struct peri_headers *headers, const struct peri_access_key *key,
                                             const char *method, struct peri_str target, int64_t timestamp_s,
                                             const char *nonce, const char *body_md5, struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
