/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_CLIENT_PRIVATE_H
#define CORE_CLIENT_CLIENT_PRIVATE_H

#include "perilune/client.h"
#include "perilune/uri.h"

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
    char *user_agent;
    struct peri_retry_policy retry;
    bool has_retry;
    struct peri_ratelimit *limiter;
    enum peri_limit_mode limit_mode;
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms;
    int64_t timeout_ms;
    bool gzip;
    size_t max_body;
    struct peri_random random;
};

/* ---- token.c: tokens by OAuth, one request for all that wait ---- */

void peri__token_init(struct peri_client *client);
void peri__token_fini(struct peri_client *client); /* nobody may wait any more */
/* Whether a request must wait for a token before it can be signed. */
bool peri__token_is_due(const struct peri_client *client);
/* Waits with the others; the first one starts the request. On failure nothing waits. */
enum peri_code peri__token_wait_for(struct peri_client *client, struct peri__token_wait *wait, struct peri_error *err);
void peri__token_leave(struct peri__token_wait *wait); /* no-op when it does not wait */

/* Fills err from an answer that is no 2xx: typed code, the platform's code, message and request id, retry hints. */
void peri__failure_read(int status, const struct peri_headers *headers, struct peri_str body, int64_t now_wall_ms,
                        struct peri_error *err);
/* The server's own word on whether to repeat: header cdf-is-auto-retryable. */
bool peri__failure_forced(const struct peri_headers *headers);

#endif
