/* SPDX-License-Identifier: MIT */
#include "perilune/ratelimit.h"

#include <stdlib.h>

/* A ring of the times of the last `limit` requests that a window can still see. */
struct peri_ratelimit {
    int64_t window_ms;
    int64_t blocked_until_ms;
    int64_t newest_ms; /* the latest now that was seen with a request */
    unsigned limit, oldest, count;
    int64_t taken_at[];
};

/* The time of the k-th oldest request in the ring. */
static int64_t *slot(struct peri_ratelimit *l, unsigned k)
{
    unsigned i = l->oldest + k;
    return &l->taken_at[i < l->limit ? i : i - l->limit];
}

static int64_t advance(struct peri_ratelimit *l, int64_t now_ms)
{
    if (now_ms < l->newest_ms)
        now_ms = l->newest_ms;
    while (l->count > 0 && now_ms - *slot(l, 0) >= l->window_ms) {
        l->oldest = l->oldest + 1 < l->limit ? l->oldest + 1 : 0;
        l->count--;
    }
    return now_ms;
}

/* When n places are free together; n is 1 to limit, and advance has been called. */
static int64_t free_at(struct peri_ratelimit *l, unsigned n, int64_t now_ms)
{
    unsigned unused = l->limit - l->count;
    int64_t at = n <= unused ? now_ms : *slot(l, n - unused - 1) + l->window_ms;
    return at > l->blocked_until_ms ? at : l->blocked_until_ms;
}

struct peri_ratelimit *peri_ratelimit_new(unsigned limit, int64_t window_ms, struct peri_error *err)
{
    if (limit == 0 || limit > PERI_RATELIMIT_MAX || window_ms <= 0) {
        peri_error_set(err, PERI_INVALID, "a rate limit needs 1 to %d requests and a window above 0 ms",
                       PERI_RATELIMIT_MAX);
        return NULL;
    }
    struct peri_ratelimit *l = calloc(1, sizeof *l + limit * sizeof l->taken_at[0]);
    if (!l) {
        peri_error_set(err, PERI_NOMEM, "no memory for a rate limit of %u requests", limit);
        return NULL;
    }
    l->window_ms = window_ms;
    l->limit = limit;
    l->blocked_until_ms = INT64_MIN;
    l->newest_ms = INT64_MIN;
    return l;
}

void peri_ratelimit_free(struct peri_ratelimit *limiter)
{
    free(limiter);
}

int64_t peri_ratelimit_take(struct peri_ratelimit *limiter, unsigned n, int64_t now_ms)
{
    if (n == 0)
        return 0;
    if (n > limiter->limit)
        return -1;
    int64_t now = advance(limiter, now_ms), at = free_at(limiter, n, now);
    if (at > now)
        return at - now_ms;
    for (unsigned i = 0; i < n; i++)
        *slot(limiter, limiter->count++) = now;
    limiter->newest_ms = now;
    return 0;
}

void peri_ratelimit_give_back(struct peri_ratelimit *limiter, unsigned n)
{
    limiter->count -= n < limiter->count ? n : limiter->count;
}

void peri_ratelimit_block(struct peri_ratelimit *limiter, int64_t until_ms)
{
    if (until_ms > limiter->blocked_until_ms)
        limiter->blocked_until_ms = until_ms;
}

unsigned peri_ratelimit_remaining(struct peri_ratelimit *limiter, int64_t now_ms)
{
    int64_t now = advance(limiter, now_ms);
    return now < limiter->blocked_until_ms ? 0 : limiter->limit - limiter->count;
}

int64_t peri_ratelimit_reset_at(struct peri_ratelimit *limiter, int64_t now_ms)
{
    int64_t now = advance(limiter, now_ms), at = free_at(limiter, 1, now);
    return at > now ? at : now_ms;
}

unsigned peri_ratelimit_limit(const struct peri_ratelimit *limiter)
{
    return limiter->limit;
}
