/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_CLIENT_PRIVATE_H
#define CORE_CLIENT_CLIENT_PRIVATE_H

#include "perilune/client.h"
#include "perilune/uri.h"

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
    struct peri_headers headers; /* the program's own; to the origin only, since they may hold credentials */
    char *user_agent;
    struct peri_retry_policy retry;
    bool has_retry;
    struct peri_ratelimit *limiter;
    enum peri_limit_mode limit_mode;
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms;
    bool has_first_byte_timeout; /* given, not the default */
    int64_t timeout_ms;
    bool gzip;
    size_t max_body;
    struct peri_random random;
    struct peri__left *left; /* operations that nobody waits for */
};

/* The client owns op from now on, until it is done or the client is freed: for what is still to be said to the platform
 * when whoever asked for it is gone. NULL: no-op. */
void peri__client_leave(struct peri_client *client, struct peri_op *op);

/* Fills err from an answer that is no 2xx: typed code, the platform's code, message and request id, retry hints. */
void peri__failure_read(int status, const struct peri_headers *headers, struct peri_str body, int64_t now_wall_ms,
                        struct peri_error *err);
/* The server's own word on whether to repeat: header cdf-is-auto-retryable. */
bool peri__failure_forced(const struct peri_headers *headers);

#endif
