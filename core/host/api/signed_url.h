/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_API_SIGNED_URL_H
#define CORE_HOST_API_SIGNED_URL_H

#include "host/http.h"

/* URLs that may be PUT to without a token: over the method and the path without the query, so that one opens one thing
 * and nothing else, until it expires. */

#define PERI_SIGNED_URL_KEY 32
#define PERI_SIGNATURE_SIZE 64 /* of the text, with its NUL */

/* From the host's token, so that a URL survives a restart and ends with the token. */
enum peri_code peri_signed_url_key(const char *token, const char *purpose, unsigned char key[PERI_SIGNED_URL_KEY],
                                   struct peri_error *err);
/* The path with its query; owned by the caller, NULL: out of memory. */
char *peri_signed_url(const unsigned char key[PERI_SIGNED_URL_KEY], const char *path, int64_t expires_ms);
enum peri_code peri_signed_url_check(const unsigned char key[PERI_SIGNED_URL_KEY], const struct peri_http_req *req,
                                     int64_t now_ms, struct peri_error *err);
/* base64url of an HMAC-SHA256 of any text. */
enum peri_code peri_signature(const unsigned char key[PERI_SIGNED_URL_KEY], struct peri_str text,
                              char out[PERI_SIGNATURE_SIZE]);

#endif
