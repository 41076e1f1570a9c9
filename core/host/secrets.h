/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_SECRETS_H
#define CORE_HOST_SECRETS_H

#include <jansson.h>

#include "perilune/buf.h"
#include "perilune/error.h"
#include "perilune/seal.h"

/* Secrets of functions at rest: sealed under a key that is kept outside the store, in the data folder's secrets.key
 * (mode 0600). Each text has a key of its own, made from the master key and from the text itself: the same secrets give
 * the same sealed text, so that a deployment which changes nothing is seen as such. The gateway opens none: a call's
 * sandbox gets the sealed text with its key, and opens it when the handler asks. */
struct peri__secrets {
    unsigned char master[PERI_SEAL_KEY];
};

/* Reads the key, or makes one at the first start. */
enum peri_code peri__secrets_init(struct peri__secrets *secrets, const char *path, struct peri_error *err);
void peri__secrets_fini(struct peri__secrets *secrets);
/* object: names and strings (borrowed). *sealed (owned) is "s1.SALT.TEXT", base64url. */
enum peri_code peri__secrets_seal(const struct peri__secrets *secrets, const json_t *object, char **sealed,
                                  struct peri_error *err);
/* Appends {"key":"...","text":"..."} (base64url): what a sandbox needs to open it (struct peri_invocation, meta). */
enum peri_code peri__secrets_append(const struct peri__secrets *secrets, const char *sealed, struct peri_buf *out,
                                    struct peri_error *err);

#endif
