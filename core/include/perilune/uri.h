/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_URI_H
#define PERILUNE_URI_H

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Views into the text that was parsed. */
struct peri_uri {
    struct peri_str scheme, userinfo, host, path, query, fragment;
    int port; /* as written, or the scheme's default (80, 443); -1 when unknown */
};

/* Absolute http and https URLs; refuses blanks, control characters, and user information that holds a password
 * (secrets do not belong in a URL). */
PERI_API enum peri_code peri_uri_parse(struct peri_str text, struct peri_uri *out, struct peri_error *err);
/* Same scheme, host (ASCII case ignored) and port. */
PERI_API bool peri_uri_same_origin(const struct peri_uri *a, const struct peri_uri *b);
/* Percent-encodes all but unreserved characters (RFC 3986 section 2.3) and those in `keep` (may be NULL). */
PERI_API enum peri_code peri_uri_encode(struct peri_buf *out, struct peri_str text, const char *keep);
/* Percent-decodes; with plus_is_blank also "+". PERI_INVALID on a bad escape. */
PERI_API enum peri_code peri_uri_decode(struct peri_buf *out, struct peri_str text, bool plus_is_blank);
/* Appends "?" or "&" (by what out holds already) and key=value, both encoded. */
PERI_API enum peri_code peri_uri_add_query(struct peri_buf *out, const char *key, struct peri_str value);
/* As peri_uri_add_query, in the style of forms: a blank becomes "+". */
PERI_API enum peri_code peri_uri_add_form(struct peri_buf *out, const char *key, struct peri_str value);
/* Appends base without its trailing slashes, then path with exactly one slash between. */
PERI_API enum peri_code peri_uri_join(struct peri_buf *out, struct peri_str base, struct peri_str path);

#ifdef __cplusplus
}
#endif

#endif
