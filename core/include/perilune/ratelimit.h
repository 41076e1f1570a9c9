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
/* As peri_ratelimit_take, but the places stay taken until a window after the requests *end*: who sends knows only that
 * the peer counted a request somewhere between its start and its end. */
PERI_API int64_t peri_ratelimit_hold(struct peri_ratelimit *limiter, unsigned n, int64_t now_ms);
/* n held requests have ended at end_ms. */
PERI_API void peri_ratelimit_end(struct peri_ratelimit *limiter, unsigned n, int64_t end_ms);
/* n held places were not used. */
PERI_API void peri_ratelimit_drop(struct peri_ratelimit *limiter, unsigned n);
/* How long until n places are free, at the earliest; takes none. n may be over the limit: they need several windows. */
PERI_API int64_t peri_ratelimit_wait(struct peri_ratelimit *limiter, unsigned n, int64_t now_ms);
/* Gives the newest n places (or as many as are taken) back (requests that were reserved but not sent). */
PERI_API void peri_ratelimit_give_back(struct peri_ratelimit *limiter, unsigned n);
/* A server's 429: nothing may be taken before until_ms. */
PERI_API void peri_ratelimit_block(struct peri_ratelimit *limiter, int64_t until_ms);
PERI_API unsigned peri_ratelimit_remaining(struct peri_ratelimit *limiter, int64_t now_ms);
/* When a place is free next (now_ms when one is free). */
PERI_API int64_t peri_ratelimit_reset_at(struct peri_ratelimit *limiter, int64_t now_ms);
PERI_API unsigned peri_ratelimit_limit(const struct peri_ratelimit *limiter);
PERI_API int64_t peri_ratelimit_blocked_until(const struct peri_ratelimit *limiter);
/* Carries what was taken over to a fresh one with another limit or window; what is held is not carried. */
PERI_API void peri_ratelimit_copy(struct peri_ratelimit *to, const struct peri_ratelimit *from);

/* How long a server's 429 holds: as long as its Retry-After says; without one a 16th of the window, and twice as long
 * each time that a request sent after that is refused again, up to the whole window, after which a sliding window of
 * the server's is empty. Zeroed memory is a fresh one. */
struct peri_throttle {
    int64_t refused_ms, wait_ms;
    unsigned refusals;
};
#define PERI_THROTTLE_FIRST 16
/* Until when to send nothing. sent_ms: when the refused request began; retry_after_ms: -1 when not said. */
PERI_API int64_t peri_throttle_refused(struct peri_throttle *throttle, int64_t window_ms, int64_t sent_ms,
                                       int64_t retry_after_ms, int64_t now_ms);
/* A request that began at sent_ms was not refused. */
PERI_API void peri_throttle_accepted(struct peri_throttle *throttle, int64_t sent_ms);

#ifdef __cplusplus
}
#endif

#endif
