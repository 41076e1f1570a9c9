/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_OAUTH_H
#define PERILUNE_OAUTH_H

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* OAuth 2.0 client credentials (RFC 6749 section 4.4): the form that asks for a token, the answer, and how long the token
 * is used. Sends nothing; time is an argument. A client given one (peri_client_options) does the asking. */
struct peri_oauth;

struct peri_oauth_options {
    const char *token_url; /* all three are required */
    const char *client_id;
    const char *client_secret;
    const char *scopes;       /* separated by blanks; NULL: none are asked for */
    const char *const *extra; /* name, value, ..., NULL: further fields of the form; NULL: none */
};

/* A token is renewed so long before its end; one that lives less than twice as long, at half its life. */
#define PERI_OAUTH_LEEWAY_MS 30000

PERI_API struct peri_oauth *peri_oauth_new(const struct peri_oauth_options *options,
                                           struct peri_error *err);        /* copied */
PERI_API void peri_oauth_free(struct peri_oauth *oauth);                   /* overwrites secret and token */
PERI_API const char *peri_oauth_token_url(const struct peri_oauth *oauth); /* borrowed, as those below */
PERI_API const char *peri_oauth_client_id(const struct peri_oauth *oauth);
PERI_API const char *peri_oauth_client_secret(const struct peri_oauth *oauth);

/* Appends the body of the token request (application/x-www-form-urlencoded). */
PERI_API enum peri_code peri_oauth_form(const struct peri_oauth *oauth, struct peri_buf *out, struct peri_error *err);
/* Reads a 2xx answer that arrived at now_ms. PERI_PROTOCOL when it holds no token that can be sent; the message repeats
 * nothing of the answer. An answer that does not say how long the token lives: five minutes. */
PERI_API enum peri_code peri_oauth_take(struct peri_oauth *oauth, struct peri_str answer, int64_t now_ms,
                                        struct peri_error *err);
/* Whether the token may be used at now_ms, on the same clock. */
PERI_API bool peri_oauth_is_fresh(const struct peri_oauth *oauth, int64_t now_ms);
/* The last token taken, fresh or not; empty: none yet. Valid until the next peri_oauth_take. */
PERI_API struct peri_str peri_oauth_token(const struct peri_oauth *oauth);

#ifdef __cplusplus
}
#endif

#endif
