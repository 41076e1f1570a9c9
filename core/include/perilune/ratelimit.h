/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_RATELIMIT_H
#define PERILUNE_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An exact sliding window: in no window of window_ms are there more than `limit` requests. A pure state machine: now
 * is an argument (milliseconds of one monotonic clock), and nothing here waits. Not thread safe.
 * A window is half open: what was taken at t is free again at t + window_ms. A clock that steps back counts as standing
 * still. */
struct peri_ratelimit;

#define PERI_RATELIMIT_MAX 1000000 /* the highest limit; each place costs 8 bytes */

PERI_API struct peri_ratelimit *peri_ratelimit_new(unsigned limit, int64_t window_ms, struct peri_error *err);
PERI_API void peri_ratelimit_free(struct peri_ratelimit *limiter);
/* Takes n places now and returns 0, or takes none and returns how many milliseconds until all n are free.
 * n over the limit: -1, never. */
PERI_API int64_t peri_ratelimit_take(struct peri_ratelimit *limiter, unsigned n, int64_t now_ms);
/* Gives the newest n places (or as many as are taken) back (requests that were reserved but not sent). */
PERI_API void peri_ratelimit_give_back(struct peri_ratelimit *limiter, unsigned n);
/* A server's 429: nothing may be taken before until_ms. */
PERI_API void peri_ratelimit_block(struct peri_ratelimit *limiter, int64_t until_ms);
PERI_API unsigned peri_ratelimit_remaining(struct peri_ratelimit *limiter, int64_t now_ms);
/* When a place is free next (now_ms when one is free). */
PERI_API int64_t peri_ratelimit_reset_at(struct peri_ratelimit *limiter, int64_t now_ms);
PERI_API unsigned peri_ratelimit_limit(const struct peri_ratelimit *limiter);

#ifdef __cplusplus
}
#endif

#endif
