/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_RETRY_H
#define PERILUNE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "perilune/error.h"
#include "perilune/random.h"

#ifdef __cplusplus
extern "C" {
#endif

/* When to try again, and how long to wait first: a pure decision. Time, randomness and history are arguments.
 * Below, n is 0 before the first retry, and grow(n) is min(base * growth^n, cap). */
enum peri_backoff {
    PERI_BACKOFF_NONE,               /* at once */
    PERI_BACKOFF_FULL_JITTER,        /* uniform(min, max(min, grow(n))) */
    PERI_BACKOFF_EQUAL_JITTER,       /* grow(n)/2 + uniform(0, grow(n)/2) */
    PERI_BACKOFF_DECORRELATED,       /* uniform(base, min(cap, 3 * previous)); previous is base at first */
    PERI_BACKOFF_EXPONENTIAL,        /* grow(n) */
    PERI_BACKOFF_EXPONENTIAL_PLUS,   /* min(base * growth^n + uniform(0, jitter), cap): OCI's default */
    PERI_BACKOFF_EXPONENTIAL_SPREAD, /* min(base * growth^n * uniform(1 - spread, 1 + spread), cap): Taskcluster's */
    PERI_BACKOFF_FULL_EQUAL_ON_THROTTLE, /* EQUAL_JITTER after a 429, else FULL_JITTER: one of OCI's */
    PERI_BACKOFF_QUADRATIC,              /* min(base * (n + 1)^2, cap): Taskcluster's makeHttpRequest */
};

/* A status that is retried only with the platform's own error code. */
struct peri_retry_coded {
    int status;
    const char *platform_code;
};

struct peri_retry_policy {
    unsigned max_attempts;         /* all attempts together; 0 and 1: never retry */
    unsigned max_connect_attempts; /* attempts that may end in connection failures; 0: as max_attempts */
    enum peri_backoff backoff;
    int64_t min_ms, base_ms, cap_ms;
    int64_t max_elapsed_ms;     /* no attempt starts later than this after the first; 0: no limit */
    bool obey_retry_after;      /* wait at least as long as the server says */
    int64_t max_retry_after_ms; /* a longer Retry-After ends the retries */
    const int *statuses;        /* retried for a request that may be repeated; zero-terminated; NULL: none */
    const int *unsafe_statuses; /* retried even for one that may not (429); zero-terminated; NULL: none */

    double growth;                        /* 0: 2 */
    int64_t jitter_ms;                    /* of EXPONENTIAL_PLUS */
    double spread;                        /* of EXPONENTIAL_SPREAD, 0 to 1 */
    bool any_5xx;                         /* as if all of 500 to 599 were in statuses */
    const int *never_statuses;            /* wins over any_5xx; zero-terminated; NULL: none */
    const struct peri_retry_coded *coded; /* as statuses, with a code; ends with status 0; NULL: none */
    /* Failures without a response, each ended by PERI_OK. Retried when the request may be repeated or nothing of it
     * was sent; NULL: io, timeout, resolve, connect, truncated. */
    const enum peri_code *codes;
    const enum peri_code *unsafe_codes; /* retried in any case; NULL: none */
    bool elapsed_excludes_wait;         /* max_elapsed_ms is held against the time before the wait only (OCI) */
};

/* 6 attempts, full jitter 100 ms to 0.5 s * 2^n capped at 10 s, 429/502/503/504, unsafe 429, Retry-After to 60 s. */
PERI_API extern const struct peri_retry_policy peri_retry_default;
PERI_API extern const struct peri_retry_policy peri_retry_none;

/* One finished attempt. */
struct peri_attempt {
    unsigned number;           /* of attempts so far, this one included */
    unsigned connect_failures; /* of them, this one included */
    int status;                /* 0: no response */
    enum peri_code code;       /* the transport's, when status is 0 */
    bool idempotent;           /* the operation may be repeated */
    bool anything_sent;
    bool forced;               /* the server says that this may be retried */
    int64_t retry_after_ms;    /* -1: not said */
    int64_t elapsed_ms;        /* since the first attempt began */
    int64_t previous_wait_ms;  /* 0 before the first retry */
    const char *platform_code; /* the platform's own error code; NULL: none */
};

/* True: wait *wait_ms, then try again. False: give up; *reason (static text, may be NULL as an argument) says why. */
PERI_API bool peri_retry_decide(const struct peri_retry_policy *policy, const struct peri_attempt *attempt,
                                struct peri_random random, int64_t *wait_ms, const char **reason);

/* A Retry-After value, seconds or HTTP date, as milliseconds from now (0 for a date gone by); -1 when it is neither
 * (RFC 9110 section 10.2.3). */
PERI_API int64_t peri_retry_after_parse(const char *value, int64_t now_wall_ms);

#ifdef __cplusplus
}
#endif

#endif
