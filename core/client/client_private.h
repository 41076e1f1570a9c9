/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_CLIENT_PRIVATE_H
#define CORE_CLIENT_CLIENT_PRIVATE_H

#include "client/limiter.h"
#include "perilune/client.h"
#include "perilune/uri.h"

#define PERI_URL_MAX ((size_t)64 * 1024)
/* A request that waits for a token, in its client's list while it does. */
struct peri__token_wait {
    struct peri__token_wait *prev, *next; /* NULL: it does not wait */
    /* The token is there (err NULL), or there will be none. Called on the loop, once, when it is out of the list. */
    void (*done)(struct peri__token_wait *wait, const struct peri_error *err);
};

/* What client.c holds and request.c reads. */
struct peri_client {
    struct peri_loop *loop;
    struct peri_transport *transport;
    char *base_url;
    struct peri_uri origin; /* views into base_url */
    char *project;
    char *token;
    peri_token_fn token_fn;
    void *token_data;
    struct peri_oauth *oauth;
    struct peri_op *token_op;              /* asks for a token; NULL: nothing is under way */
    struct peri__token_wait token_waiters; /* head of the list */
    struct peri_headers headers;           /* the program's own; to the origin only, since they may hold credentials */
    struct peri_headers common, common_json; /* what every request begins with; with "Accept" of JSON */
    struct peri_retry_policy retry;
    struct peri_rate_limit rate_limit; /* requests 0: none */
    char *shared;                      /* rate_limit.shared */
    struct peri_limiter *limiter;      /* of limited_token */
    struct peri_buf limited_token;
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms;
    int64_t timeout_ms;
    size_t max_body;
    bool has_retry;
    bool has_rate_limit;         /* its own, or none by its own will */
    bool has_first_byte_timeout; /* given, not the default */
    bool gzip;
    struct peri_random random;
    /* What the last request was about: a URL used again need not be read again. */
    char *given_url;          /* NULL: none */
    struct peri_buf full_url; /* what it stands for */
    bool own_origin;
    unsigned spares;
    struct request *spare;   /* memory of requests that were freed, for the next ones */
    struct peri__left *left; /* operations that nobody waits for */
};

/* ---- oauth.c: tokens by OAuth, one request for all that wait ---- */

void peri__token_init(struct peri_client *client);
void peri__token_fini(struct peri_client *client); /* nobody may wait any more */
/* Whether a request must wait for a token before it can be signed. */
bool peri__token_is_due(const struct peri_client *client);
/* Waits with the others; the first one starts the request. On failure nothing waits. */
enum peri_code peri__token_wait_for(struct peri_client *client, struct peri__token_wait *wait, struct peri_error *err);
void peri__token_leave(struct peri__token_wait *wait); /* no-op when it does not wait */

/* Frees spare ones. */
void peri__requests_free(struct request *spare);
/* The client owns op from now on, until it is done or the client is freed: for what is still to be said to the platform
 * when whoever asked for it is gone. NULL: no-op. */
void peri__client_leave(struct peri_client *client, struct peri_op *op);
/* A service is used: its rate limit is the client's, unless that has one. */
enum peri_code peri__client_serve(struct peri_client *client, const struct peri_service *service,
                                  struct peri_error *err);
/* *limiter: of the token, borrowed until the next call; NULL: there is no limit. */
enum peri_code peri__client_limiter(struct peri_client *client, struct peri_str token, struct peri_limiter **limiter,
                                    struct peri_error *err);
/* An op that ends when n of the client's places are held in `places` (idle until then; outlives the op), at once without
 * a limit. NULL with err: they can't be had. */
struct peri_op *peri__op_reserve(struct peri_client *client, struct peri_places *places, unsigned n,
                                 int64_t deadline_ms, struct peri_error *err);

/* Fills err from an answer that is no 2xx: typed code, the platform's code, message and request id, retry hints. */
void peri__failure_read(int status, const struct peri_headers *headers, struct peri_str body, int64_t now_wall_ms,
                        struct peri_error *err);
/* The server's own word on whether to repeat: header cdf-is-auto-retryable. */
bool peri__failure_forced(const struct peri_headers *headers);

#endif
