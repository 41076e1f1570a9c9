/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_CLIENT_H
#define PERILUNE_CLIENT_H

#include "perilune/limiter.h"
#include "perilune/oauth.h"
#include "perilune/op.h"
#include "perilune/retry.h"
#include "perilune/stream.h"
#include "perilune/transport.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A configured connection to one platform: base URL, credentials, policies. Borrowed by its operations. */
struct peri_client;

/* Where the token comes from. Called before each attempt, on the loop's thread; the answer is copied. */
typedef enum peri_code (*peri_token_fn)(void *data, struct peri_buf *token, struct peri_error *err);

struct peri_service; /* service.h */
struct peri_places;  /* reserved by a flow */

struct peri_client_options {
    const char *base_url;   /* required */
    const char *project;    /* cdf */
    const char *token;      /* NULL: none */
    peri_token_fn token_fn; /* instead of token */
    void *token_data;
    const struct peri_oauth_options *oauth; /* instead of either: tokens are asked for and renewed; copied */
    const struct peri_headers *headers;     /* added to every request; copied */
    const char *user_agent;                 /* default "perilune/VERSION" */
    const struct peri_retry_policy *retry;  /* NULL: the service's own; copied */
    /* NULL: the service's own; copied. Counts what is sent with the token; clients with one token share one limit. */
    const struct peri_rate_limit *rate_limit;
    const struct peri_service *service; /* whose rate limit that is; NULL: of the first that is called */
    int64_t connect_timeout_ms;         /* 0: 10,000 */
    int64_t first_byte_timeout_ms;      /* 0: 60,000; -1: none */
    int64_t timeout_ms;                 /* of a whole operation with its retries; 0: none */
    bool no_gzip;                       /* send JSON bodies plain (default: gzip for cdf bodies over 1 KiB) */
    size_t max_body;                    /* of an answer held in memory; 0: 64 MiB */
    struct peri_transport *transport;   /* NULL: the loop's shared one; borrowed */
    struct peri_random random;          /* zero: the system's */
};

PERI_API struct peri_client *peri_client_new(struct peri_loop *loop, const struct peri_client_options *options,
                                             struct peri_error *err);
PERI_API void peri_client_free(struct peri_client *client); /* its operations must have been freed */
PERI_API struct peri_loop *peri_client_loop(const struct peri_client *client);
PERI_API const char *peri_client_project(const struct peri_client *client); /* borrowed; NULL: none */
PERI_API int64_t peri_client_timeout_ms(const struct peri_client *client);  /* of an operation; 0: none */
PERI_API struct peri_random peri_client_random(const struct peri_client *client);
PERI_API bool peri_client_has_token(const struct peri_client *client);
PERI_API bool peri_client_busy(const struct peri_client *client); /* requests of cancelled operations go on */
PERI_API bool peri_client_gzip(const struct peri_client *client); /* JSON bodies may go out compressed */
PERI_API const struct peri_oauth *peri_client_oauth(const struct peri_client *client); /* borrowed; NULL: none */

/* The limiter of the token that the client uses now, a reference for the caller. NULL: none, with PERI_OK in err, or it
 * can't be had. */
PERI_API struct peri_limiter *peri_client_limiter(struct peri_client *client, struct peri_error *err);

/* Signs a request in a platform's own way. Called before each attempt, on the loop's thread. */
struct peri_signer {
    void *data;
    /* Sets fields of `headers`, which still hold those of the attempt before. url is absolute. */
    enum peri_code (*sign)(void *data, const char *method, const char *url, struct peri_headers *headers,
                           struct peri_error *err);
    /* The answer was 401. True: the next attempt can satisfy it, and follows at once. May be NULL. */
    bool (*challenged)(void *data, const struct peri_headers *answer);
};

/* Any HTTP request with the client's manners. url: absolute, or a path below base_url; the client's credentials go
 * only to base_url's origin. body and sink are taken: freed with the op. idempotent: may be repeated after it may
 * have been received. */
struct peri_http {
    const char *method;
    const char *url;
    const struct peri_headers *headers; /* copied */
    struct peri_reader *body;           /* taken, also on failure */
    struct peri_writer *sink;           /* taken, also on failure */
    bool idempotent;
    bool no_auth;       /* without the client's token and its headers */
    int64_t timeout_ms; /* 0: the client's */
    enum peri_shape shape;
    const char *operation; /* for errors; copied */
    void (*progress)(void *data, int64_t sent, int64_t received);
    void *progress_data;
    const struct peri_retry_policy *retry; /* when the client has none of its own; NULL: peri_retry_default; borrowed */
    const char *result_field;              /* for PERI_SHAPE_FIELD; static text */
    int64_t first_byte_timeout_ms;         /* 0: the client's; -1: none */
    int64_t first_byte_default_ms;         /* when the client was given none; 0: 60,000 */
    int64_t stall_timeout_ms; /* the longest that no byte of a body moves, as long as the client was given no first-byte
                                 time-out: that then goes for this too; 0: none */
    bool only_200;            /* a 2xx other than 200 is a failure */
    struct peri_places *places;       /* places that a flow has reserved (see client/flow.h); NULL: none */
    const struct peri_signer *signer; /* besides the client's token; only to base_url's origin; NULL: none; borrowed */
    bool any_type;                    /* the answer may be of any type: JSON is not asked for (Accept) */
    bool missing_is_none;             /* what ends as PERI_NOT_FOUND succeeds with an empty list of items */
};
PERI_API struct peri_op *peri_client_request(struct peri_client *client, const struct peri_http *http,
                                             struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
