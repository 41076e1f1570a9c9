/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_LIMITER_H
#define CORE_CLIENT_LIMITER_H

#include "perilune/limiter.h"
#include "perilune/loop.h"
#include "perilune/uri.h"

/* The limiter of a token at an origin, made at its first use; a reference for the caller. NULL with PERI_INVALID: it is
 * in use with another limit. The token itself is not kept. */
struct peri_limiter *peri__limiter_find(const struct peri_uri *origin, struct peri_str token,
                                        const struct peri_rate_limit *limit, int64_t now_ms, struct peri_error *err);
struct peri_limiter *peri__limiter_ref(struct peri_limiter *limiter);

/* Places of a limiter: wanted or held. Part of what sends requests; zeroed memory holds none. They belong to one loop's
 * thread, and must be dropped or ended before their memory goes. */
struct peri_places {
    struct peri_limiter *limiter; /* a reference, while not idle */
    struct peri_loop *loop;
    enum { PERI__IDLE, PERI__WAITING, PERI__GRANTED, PERI__FAILED, PERI__HELD } state;
    unsigned n;
    uint64_t ticket; /* the turn in line of ticket_of; kept, so that who comes again is not last */
    const void *ticket_of;
    struct peri__lane *lane;
    struct peri_places *prev, *next;
    void (*ready)(void *data);
    void *data;
};

struct peri__want {
    struct peri_limiter *limiter;
    unsigned n;
    enum peri_limit_mode mode;
    struct peri_loop *loop;
    int64_t deadline_ms; /* 0: none */
    void (*ready)(void *data);
    void *data;
};

/* PERI_OK: the places are held. PERI_BUSY: in line; ready is called from the loop when it is worth asking again, with
 * the places held or after a failure. Else err: PERI_RATE_LIMITED with retry_after_ms, or PERI_INVALID when there are
 * never as many. Who asks again keeps its turn. */
enum peri_code peri__places_take(struct peri_places *places, const struct peri__want *want, struct peri_error *err);
/* The requests that the places were held for have ended, or may have been sent. */
void peri__places_end(struct peri_places *places, int64_t now_ms);
/* Not used, or not wanted any more: given back, or out of the line. */
void peri__places_drop(struct peri_places *places);
/* One of the held places of `from` goes to `to`, which is idle. False: there is none of this limiter. */
bool peri__places_move(struct peri_places *to, struct peri_places *from, const struct peri_limiter *limiter);

/* A server refused (429) a request of the limiter that began at sent_ms. retry_after_ms: -1 when not said. */
void peri__limiter_refused(struct peri_limiter *limiter, int64_t sent_ms, int64_t retry_after_ms, int64_t now_ms);
void peri__limiter_accepted(struct peri_limiter *limiter, int64_t sent_ms);
/* How long a 429 still holds; 0: none does. */
int64_t peri__limiter_blocked_ms(struct peri_limiter *limiter, int64_t now_ms);

#endif
