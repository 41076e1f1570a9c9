/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_LIMITER_H
#define PERILUNE_LIMITER_H

#include "perilune/ratelimit.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The rate limit of one token at one origin, shared by all clients of the process that use both. Thread safe.
 * The guarantee: in no window, by the server's clock, do more than `requests` arrive there, however long the network
 * delays some of them. A sender can't know when a request arrived, only that it did between its start and the end of
 * its answer; so its place counts from its start until a window after its end. What that costs in throughput is the
 * time that requests take, once a window. */
struct peri_limiter;

enum peri_limit_mode { PERI_LIMIT_WAIT, PERI_LIMIT_FAIL }; /* when the window is full */

struct peri_rate_limit {
    unsigned requests; /* at most so many, 1 to 1,000,000 (10,000 with a file); 0: no limit */
    int64_t window_ms; /* in any window of so long */
    enum peri_limit_mode mode;
    const char *shared; /* a file through which processes share the limit; NULL: this process alone */
};
PERI_API extern const struct peri_rate_limit peri_rate_limit_none; /* no limit, whatever the service's table says */

PERI_API void peri_limiter_free(struct peri_limiter *limiter); /* gives a reference back; NULL is a no-op */
PERI_API unsigned peri_limiter_limit(const struct peri_limiter *limiter);
PERI_API int64_t peri_limiter_window_ms(const struct peri_limiter *limiter);
/* How many requests may start at once; now_ms: monotonic. */
PERI_API enum peri_code peri_limiter_remaining(struct peri_limiter *limiter, int64_t now_ms, unsigned *remaining,
                                               struct peri_error *err);
/* When one may start next, on the same clock (now_ms when one may start now). */
PERI_API enum peri_code peri_limiter_reset_at(struct peri_limiter *limiter, int64_t now_ms, int64_t *reset_ms,
                                              struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
