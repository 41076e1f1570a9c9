/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_SEAL_H
#define PERILUNE_SEAL_H

#include "perilune/buf.h"
#include "perilune/error.h"
#include "perilune/random.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Authenticated encryption of small secrets: AES-256-GCM (NIST SP 800-38D). A sealed text is a nonce of 12 bytes, the
 * ciphertext, and a tag of 16 bytes. */
#define PERI_SEAL_KEY 32
#define PERI_SEAL_NONCE 12
#define PERI_SEAL_TAG 16
#define PERI_SEAL_EXTRA (PERI_SEAL_NONCE + PERI_SEAL_TAG) /* what a sealed text is longer by */

/* Appends plain, sealed under key, to out; context (may be empty) must be the same when it is opened. A nonce must never
 * come twice under one key: random is the system's, or key serves this text alone. */
PERI_API enum peri_code peri_seal(const unsigned char key[PERI_SEAL_KEY], struct peri_str context,
                                  struct peri_random random, struct peri_str plain, struct peri_buf *out,
                                  struct peri_error *err);
/* Appends what was sealed to out. PERI_FORBIDDEN: another key or context, or the text was changed; out is as before. */
PERI_API enum peri_code peri_unseal(const unsigned char key[PERI_SEAL_KEY], struct peri_str context,
                                    struct peri_str sealed, struct peri_buf *out, struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
