/* SPDX-License-Identifier: MIT */
#include "perilune/ratelimit.h"

#include <stdlib.h>

/* A ring of the times of the last `limit` requests that a window can still see, oldest first; beside it, how many places
 * are held by requests that have not ended. */
struct peri_ratelimit {
    int64_t window_ms;
    int64_t blocked_until_ms;
    int64_t newest_ms; /* the latest now that was seen with a request */
    unsigned limit, oldest, count, held;
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
    unsigned unused = l->limit - l->count - l->held;
    int64_t at = now_ms;
    if (n > unused)
        at = (n - unused <= l->count ? *slot(l, n - unused - 1) : now_ms) + l->window_ms;
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

/* 0: n places are free at *now, which no longer steps back. */
static int64_t wait_for(struct peri_ratelimit *l, unsigned n, int64_t *now)
{
    int64_t asked = *now;
    *now = advance(l, asked);
    int64_t at = free_at(l, n, *now);
    if (at > *now)
        return at - asked;
    l->newest_ms = *now;
    return 0;
}

int64_t peri_ratelimit_take(struct peri_ratelimit *limiter, unsigned n, int64_t now_ms)
{
    int64_t wait = peri_ratelimit_hold(limiter, n, now_ms);
    if (wait == 0)
        peri_ratelimit_end(limiter, n, now_ms);
    return wait;
}

void peri_ratelimit_give_back(struct peri_ratelimit *limiter, unsigned n)
{
    limiter->count -= n < limiter->count ? n : limiter->count;
}

int64_t peri_ratelimit_hold(struct peri_ratelimit *limiter, unsigned n, int64_t now_ms)
{
    if (n == 0)
        return 0;
    if (n > limiter->limit)
        return -1;
    int64_t wait = wait_for(limiter, n, &now_ms);
    if (wait == 0)
        limiter->held += n;
    return wait;
}

void peri_ratelimit_end(struct peri_ratelimit *limiter, unsigned n, int64_t end_ms)
{
    int64_t last = limiter->count > 0 ? *slot(limiter, limiter->count - 1) : limiter->newest_ms;
    if (last < limiter->newest_ms)
        last = limiter->newest_ms;
    for (; n > 0 && limiter->held > 0; n--, limiter->held--)
        *slot(limiter, limiter->count++) = end_ms > last ? end_ms : last;
}

void peri_ratelimit_drop(struct peri_ratelimit *limiter, unsigned n)
{
    limiter->held -= n < limiter->held ? n : limiter->held;
}

int64_t peri_ratelimit_wait(struct peri_ratelimit *limiter, unsigned n, int64_t now_ms)
{
    if (n == 0)
        return 0;
    int64_t now = advance(limiter, now_ms), rounds = (n - 1) / limiter->limit;
    int64_t at = free_at(limiter, (n - 1) % limiter->limit + 1, now) + rounds * limiter->window_ms;
    return at > now ? at - now_ms : 0;
}

void peri_ratelimit_block(struct peri_ratelimit *limiter, int64_t until_ms)
{
    if (until_ms > limiter->blocked_until_ms)
        limiter->blocked_until_ms = until_ms;
}

unsigned peri_ratelimit_remaining(struct peri_ratelimit *limiter, int64_t now_ms)
{
    int64_t now = advance(limiter, now_ms);
    return now < limiter->blocked_until_ms ? 0 : limiter->limit - limiter->count - limiter->held;
}

int64_t peri_ratelimit_reset_at(struct peri_ratelimit *limiter, int64_t now_ms)
{
    int64_t now = advance(limiter, now_ms), at = free_at(limiter, 1, now);
    return at > now ? at : now_ms;
}

int64_t peri_ratelimit_blocked_until(const struct peri_ratelimit *limiter)
{
    return limiter->blocked_until_ms;
}

unsigned peri_ratelimit_limit(const struct peri_ratelimit *limiter)
{
    return limiter->limit;
}

void peri_ratelimit_copy(struct peri_ratelimit *to, const struct peri_ratelimit *from)
{
    unsigned n = from->count < to->limit ? from->count : to->limit;
    for (unsigned i = 0; i < n; i++) {
        to->held++;
        peri_ratelimit_end(to, 1, *slot((struct peri_ratelimit *)from, from->count - n + i));
    }
    to->newest_ms = from->newest_ms;
    to->blocked_until_ms = from->blocked_until_ms;
}

int64_t peri_throttle_refused(struct peri_throttle *throttle, int64_t window_ms, int64_t sent_ms,
                              int64_t retry_after_ms, int64_t now_ms)
{
    if (retry_after_ms >= 0) {
        throttle->refused_ms = now_ms;
        return now_ms + retry_after_ms;
    }
    if (throttle->refusals == 0 || sent_ms >= throttle->refused_ms + throttle->wait_ms) {
        int64_t wait = window_ms / PERI_THROTTLE_FIRST;
        for (unsigned i = 0; i < throttle->refusals && wait < window_ms; i++)
            wait *= 2;
        throttle->wait_ms = wait < 1 ? 1 : wait > window_ms ? window_ms : wait;
        throttle->refused_ms = now_ms;
        throttle->refusals++;
    }
    return throttle->refused_ms + throttle->wait_ms;
}

void peri_throttle_accepted(struct peri_throttle *throttle, int64_t sent_ms)
{
    if (sent_ms >= throttle->refused_ms)
        *throttle = (struct peri_throttle){ 0 };
}
