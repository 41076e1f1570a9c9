/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_HASH_H
#define PERILUNE_HASH_H

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum peri_hash_kind { PERI_SHA256, PERI_SHA384, PERI_SHA512, PERI_MD5, PERI_SHA1 };

#define PERI_HASH_MAX 64

struct peri_hash; /* a running digest */

PERI_API size_t peri_hash_size(enum peri_hash_kind kind); /* bytes of the digest */
PERI_API struct peri_hash *peri_hash_new(enum peri_hash_kind kind, struct peri_error *err);
/* Another running digest that has seen the same bytes. */
PERI_API struct peri_hash *peri_hash_copy(const struct peri_hash *hash, struct peri_error *err);
PERI_API void peri_hash_free(struct peri_hash *hash);
PERI_API void peri_hash_update(struct peri_hash *hash, const void *data, size_t len);
/* Writes peri_hash_size bytes and starts over. */
PERI_API void peri_hash_final(struct peri_hash *hash, unsigned char digest[PERI_HASH_MAX]);

PERI_API enum peri_code peri_hash_once(enum peri_hash_kind kind, struct peri_str data,
                                       unsigned char digest[PERI_HASH_MAX], struct peri_error *err);
PERI_API enum peri_code peri_hmac(enum peri_hash_kind kind, struct peri_str key, struct peri_str data,
                                  unsigned char digest[PERI_HASH_MAX], struct peri_error *err);
/* True when equal; takes the same time wherever they differ. */
PERI_API bool peri_constant_time_equal(struct peri_str a, struct peri_str b);
/* Overwrites memory in a way that the compiler keeps. */
PERI_API void peri_secure_zero(void *data, size_t len);

PERI_API enum peri_code peri_hex_append(struct peri_buf *out, const void *data, size_t len); /* lower case */
PERI_API enum peri_code peri_base64_append(struct peri_buf *out, const void *data, size_t len);
PERI_API enum peri_code peri_base64url_append(struct peri_buf *out, const void *data, size_t len); /* no padding */
/* Strict: alphabet of either kind, padding optional for the url kind. */
PERI_API enum peri_code peri_base64_decode(struct peri_buf *out, struct peri_str text, struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
