/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_WEBHOOK_H
#define PERILUNE_WEBHOOK_H

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How CIM Database Cloud signs the webhooks that it calls: X-CON-Timestamp holds seconds since 1970, X-CON-Signature-256
 * the hexadecimal (lower case) HMAC-SHA256, under the secret that both know, of the timestamp's text and the body. */
#define PERI_WEBHOOK_TIMESTAMP "X-CON-Timestamp"
#define PERI_WEBHOOK_SIGNATURE "X-CON-Signature-256"
/* A timestamp may be so far from now, in either direction. The platform's own development server takes any that lies
 * ahead; a bound keeps a request that leaked from being good for ever. */
#define PERI_WEBHOOK_WINDOW_S 60

/* Appends the signature. */
PERI_API enum peri_code peri_webhook_sign(struct peri_str secret, const char *timestamp, struct peri_str body,
                                          struct peri_buf *out, struct peri_error *err);
/* What can be told before the body is there; NULL for a header that is absent. PERI_UNAUTHORIZED. */
PERI_API enum peri_code peri_webhook_check(const char *timestamp, const char *signature, int64_t now_s,
                                           struct peri_error *err);
/* All of it, the signature in constant time. An empty secret verifies nothing. PERI_UNAUTHORIZED. */
PERI_API enum peri_code peri_webhook_verify(struct peri_str secret, const char *timestamp, const char *signature,
                                            struct peri_str body, int64_t now_s, struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
