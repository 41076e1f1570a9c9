/* SPDX-License-Identifier: MIT */
#include "client/limiter.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client/ratelimit_file.h"
#include "perilune/hash.h"

/* Who waits stands in one line for each limiter, whatever its thread, in the order of arrival. Whoever looks (a timer, a
 * request that ends) gives places to the head of the line, also for another thread: so a thread that does not run its
 * loop holds back nobody. Each loop with somebody in line has a lane: one timer, set for when the head's turn may come.
 * A loop's timers can't be touched from another thread; where others may make places free sooner than the timer knows
 * (threads, processes that share a file), it also looks every RECHECK_MS. */

#define RECHECK_MS 50

struct line {
    struct peri_places *first, *last;
};

struct peri__lane {
    struct peri__lane *next;
    struct peri_limiter *limiter; /* a reference */
    struct peri_loop *loop;
    struct peri_timer *timer;
    unsigned count; /* places in line or granted */
    bool running;   /* its functions are being called */
    struct line granted;
};

struct peri_limiter {
    struct peri_limiter *next; /* next, refs: the registry's */
    unsigned refs;
    unsigned char key[PERI_HASH_MAX];
    struct peri_rate_limit settings;
    pthread_mutex_t lock;              /* guards what follows */
    struct peri_ratelimit *ratelimit;  /* or */
    struct peri__ratelimit_file *file; /* of processes that share the limit */
    char *path;
    struct peri_throttle throttle;
    struct line line;
    unsigned queued; /* places wanted in line */
    uint64_t tickets;
    struct peri__lane *lanes;
};

const struct peri_rate_limit peri_rate_limit_none = { 0 };

/* ---- the registry: a limiter stays after its last client has gone, until no window can see its requests ---- */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct peri_limiter *registry;

static void destroy(struct peri_limiter *limiter)
{
    peri_ratelimit_free(limiter->ratelimit);
    peri__ratelimit_file_close(limiter->file);
    free(limiter->path);
    pthread_mutex_destroy(&limiter->lock);
    free(limiter);
}

static bool is_forgotten(struct peri_limiter *limiter, int64_t now_ms)
{
    if (limiter->refs == 0 && limiter->file)
        return true; /* the file remembers */
    return limiter->refs == 0 && peri_ratelimit_remaining(limiter->ratelimit, now_ms) == limiter->settings.requests;
}

/* With the registry's lock. */
static void sweep(int64_t now_ms)
{
    for (struct peri_limiter **at = &registry, *limiter; (limiter = *at);) {
        if (is_forgotten(limiter, now_ms)) {
            *at = limiter->next;
            destroy(limiter);
        } else {
            at = &limiter->next;
        }
    }
}

static struct peri_limiter *make(const unsigned char *key, const struct peri_rate_limit *limit, int64_t now_ms,
                                 struct peri_error *err)
{
    struct peri_limiter *limiter = calloc(1, sizeof *limiter);
    if (!limiter) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&limiter->lock, NULL);
    memcpy(limiter->key, key, sizeof limiter->key);
    limiter->settings.requests = limit->requests;
    limiter->settings.window_ms = limit->window_ms;
    if (limit->shared && !(limiter->path = strdup(limit->shared)))
        peri_error_set(err, PERI_NOMEM, "out of memory");
    else if (limit->shared)
        limiter->file = peri__ratelimit_file_open(limit->shared, limit->requests, limit->window_ms, now_ms, err);
    else
        limiter->ratelimit = peri_ratelimit_new(limit->requests, limit->window_ms, err);
    if (!limiter->ratelimit && !limiter->file) {
        destroy(limiter);
        return NULL;
    }
    return limiter;
}

static enum peri_code make_key(const struct peri_uri *origin, struct peri_str token, unsigned char key[PERI_HASH_MAX],
                               struct peri_error *err)
{
    struct peri_buf text;
    peri_buf_init(&text, SIZE_MAX / 2);
    memset(key, 0, PERI_HASH_MAX);
    enum peri_code code = peri_buf_printf(&text, "%.*s %.*s %d ", (int)origin->scheme.len, origin->scheme.data,
                                          (int)origin->host.len, origin->host.data, origin->port);
    for (size_t i = 0; i < text.len; i++)
        text.data[i] = (char)(text.data[i] >= 'A' && text.data[i] <= 'Z' ? text.data[i] + ('a' - 'A') : text.data[i]);
    if (code == PERI_OK)
        code = peri_buf_append_str(&text, token);
    if (code == PERI_OK)
        code = peri_hash_once(PERI_SHA256, peri_buf_str(&text), key, err);
    else
        peri_error_set(err, code, "%s", peri_code_text(code));
    if (text.data)
        peri_secure_zero(text.data, text.cap);
    peri_buf_fini(&text);
    return code;
}

static bool same_settings(const struct peri_limiter *limiter, const struct peri_rate_limit *limit)
{
    bool same_file =
        limiter->path && limit->shared ? strcmp(limiter->path, limit->shared) == 0 : !limiter->path && !limit->shared;
    return same_file && limiter->settings.requests == limit->requests &&
           limiter->settings.window_ms == limit->window_ms;
}

/* Of another limit than is wanted now: nobody uses it any more, so a new one takes its place and its memory. */
static struct peri_limiter *replace(struct peri_limiter **at, const struct peri_rate_limit *limit, int64_t now_ms,
                                    struct peri_error *err)
{
    struct peri_limiter *old = *at, *limiter = make(old->key, limit, now_ms, err);
    if (!limiter)
        return NULL;
    if (limiter->ratelimit)
        peri_ratelimit_copy(limiter->ratelimit, old->ratelimit);
    limiter->throttle = old->throttle;
    limiter->next = old->next;
    *at = limiter;
    destroy(old);
    return limiter;
}

static struct peri_limiter *find(const unsigned char *key, const struct peri_rate_limit *limit, int64_t now_ms,
                                 struct peri_error *err)
{
    for (struct peri_limiter **at = &registry; *at; at = &(*at)->next) {
        if (memcmp((*at)->key, key, sizeof(*at)->key) != 0)
            continue;
        if (same_settings(*at, limit))
            return *at;
        if ((*at)->refs == 0)
            return replace(at, limit, now_ms, err);
        peri_error_set(
            err, PERI_INVALID,
            "rate_limit: another client of this token has a limit of %u requests in %g s%s%s; give both the same",
            (*at)->settings.requests, (double)(*at)->settings.window_ms / 1000, (*at)->path ? ", shared in " : "",
            (*at)->path ? (*at)->path : "");
        return NULL;
    }
    struct peri_limiter *limiter = make(key, limit, now_ms, err);
    if (limiter) {
        limiter->next = registry;
        registry = limiter;
    }
    return limiter;
}

struct peri_limiter *peri__limiter_find(const struct peri_uri *origin, struct peri_str token,
                                        const struct peri_rate_limit *limit, int64_t now_ms, struct peri_error *err)
{
    unsigned char key[PERI_HASH_MAX];
    if (make_key(origin, token, key, err) != PERI_OK)
        return NULL;
    pthread_mutex_lock(&registry_lock);
    sweep(now_ms);
    struct peri_limiter *limiter = find(key, limit, now_ms, err);
    if (limiter)
        limiter->refs++;
    pthread_mutex_unlock(&registry_lock);
    return limiter;
}

struct peri_limiter *peri__limiter_ref(struct peri_limiter *limiter)
{
    pthread_mutex_lock(&registry_lock);
    limiter->refs++;
    pthread_mutex_unlock(&registry_lock);
    return limiter;
}

void peri_limiter_free(struct peri_limiter *limiter)
{
    if (!limiter)
        return;
    pthread_mutex_lock(&registry_lock);
    limiter->refs--;
    pthread_mutex_unlock(&registry_lock);
}

/* ---- the line ---- */

static int64_t now_of(struct peri_loop *loop)
{
    return peri_clock_monotonic_ms(peri_loop_clock(loop));
}

static void insert_after(struct line *line, struct peri_places *at, struct peri_places *places)
{
    places->prev = at;
    places->next = at ? at->next : line->first;
    *(places->next ? &places->next->prev : &line->last) = places;
    *(at ? &at->next : &line->first) = places;
}

static void take_out(struct line *line, struct peri_places *places)
{
    *(places->next ? &places->next->prev : &line->last) = places->prev;
    *(places->prev ? &places->prev->next : &line->first) = places->next;
    places->prev = places->next = NULL;
}

static enum peri_code hold(struct peri_limiter *limiter, unsigned n, int64_t now_ms, int64_t *wait_ms,
                           struct peri_error *err)
{
    if (limiter->file)
        return peri__ratelimit_file_hold(limiter->file, n, now_ms, wait_ms, err);
    *wait_ms = peri_ratelimit_hold(limiter->ratelimit, n, now_ms);
    return PERI_OK;
}

/* A file that can't be read says so to who tries to take a place. */
static int64_t wait_for(struct peri_limiter *limiter, unsigned n, int64_t now_ms)
{
    struct peri__ratelimit_view view = { 0 };
    if (limiter->file) {
        peri__ratelimit_file_look(limiter->file, n, now_ms, &view, NULL);
        return view.wait_ms;
    }
    return peri_ratelimit_wait(limiter->ratelimit, n, now_ms);
}

static struct peri__lane *lane_of(struct peri_limiter *limiter, const struct peri_loop *loop)
{
    struct peri__lane *lane = limiter->lanes;
    while (lane && lane->loop != loop)
        lane = lane->next;
    return lane;
}

/* Gives places to the head of the line while there are any. */
static void grant(struct peri_limiter *limiter, int64_t now_ms)
{
    struct peri_places *places = NULL;
    while ((places = limiter->line.first)) {
        int64_t wait = 0;
        enum peri_code code = hold(limiter, places->n, now_ms, &wait, NULL);
        if (code == PERI_OK && wait > 0)
            break;
        take_out(&limiter->line, places);
        limiter->queued -= places->n;
        places->state = code == PERI_OK ? PERI__GRANTED : PERI__FAILED;
        insert_after(&places->lane->granted, places->lane->granted.last, places);
    }
}

/* Sets the timer of this thread's lane. */
static void arm(struct peri_limiter *limiter, const struct peri_loop *loop)
{
    struct peri__lane *lane = lane_of(limiter, loop);
    if (!lane || lane->running || lane->count == 0)
        return;
    int64_t wait = 0;
    if (!lane->granted.first && limiter->line.first)
        wait = wait_for(limiter, limiter->line.first->n, now_of(lane->loop));
    if (wait > RECHECK_MS && (limiter->lanes->next || limiter->file))
        wait = RECHECK_MS;
    peri_timer_start(lane->timer, wait);
}

static void lane_free(struct peri__lane *lane)
{
    struct peri__lane **at = &lane->limiter->lanes;
    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
    peri_timer_free(lane->timer);
    free(lane);
}

/* True: the limiter's reference that the lane had is the caller's now. */
static bool lane_leave(struct peri__lane *lane)
{
    if (lane->count > 0 || lane->running)
        return false;
    lane_free(lane);
    return true;
}

static void lane_run(void *data)
{
    struct peri__lane *lane = data;
    struct peri_limiter *limiter = lane->limiter;
    struct peri_places *places = NULL;
    pthread_mutex_lock(&limiter->lock);
    grant(limiter, now_of(lane->loop));
    lane->running = true;
    while ((places = lane->granted.first)) {
        bool failed = places->state == PERI__FAILED;
        void (*ready)(void *) = places->ready;
        void *ready_data = places->data;
        take_out(&lane->granted, places);
        places->lane = NULL;
        lane->count--;
        places->state = failed ? PERI__IDLE : PERI__HELD;
        if (failed)
            places->limiter = NULL;
        pthread_mutex_unlock(&limiter->lock);
        if (failed)
            peri_limiter_free(limiter);
        ready(ready_data);
        pthread_mutex_lock(&limiter->lock);
    }
    lane->running = false;
    bool left = lane_leave(lane);
    if (!left)
        arm(limiter, lane->loop);
    pthread_mutex_unlock(&limiter->lock);
    if (left)
        peri_limiter_free(limiter);
}

static struct peri__lane *lane_enter(struct peri_limiter *limiter, struct peri_loop *loop, struct peri_error *err)
{
    struct peri__lane *lane = lane_of(limiter, loop);
    if (lane)
        return lane;
    lane = calloc(1, sizeof *lane);
    struct peri_timer *timer = lane ? peri_timer_new(loop, lane_run, lane, err) : NULL;
    if (!timer) {
        free(lane);
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    lane->limiter = peri__limiter_ref(limiter);
    lane->loop = loop;
    lane->timer = timer;
    lane->next = limiter->lanes;
    limiter->lanes = lane;
    return lane;
}

static enum peri_code refuse(const struct peri_limiter *limiter, int64_t wait_ms, const char *why,
                             struct peri_error *err)
{
    peri_error_set(err, PERI_RATE_LIMITED, "%u requests in %g s are the limit; the next may start in %lld ms%s",
                   limiter->settings.requests, (double)limiter->settings.window_ms / 1000, (long long)wait_ms, why);
    if (err) {
        err->retryable = true;
        err->retry_after_ms = wait_ms;
    }
    return PERI_RATE_LIMITED;
}

static enum peri_code stand_in_line(struct peri_limiter *limiter, struct peri_places *places,
                                    const struct peri__want *want, struct peri_error *err)
{
    struct peri__lane *lane = lane_enter(limiter, want->loop, err);
    if (!lane)
        return PERI_NOMEM;
    lane->count++;
    places->lane = lane;
    places->state = PERI__WAITING;
    places->ready = want->ready;
    places->data = want->data;
    struct peri_places *at = limiter->line.last;
    while (at && at->ticket > places->ticket)
        at = at->prev;
    insert_after(&limiter->line, at, places);
    limiter->queued += want->n;
    arm(limiter, want->loop);
    return PERI_BUSY;
}

/* With the limiter's lock. */
static enum peri_code take(struct peri_limiter *limiter, struct peri_places *places, const struct peri__want *want,
                           struct peri_error *err)
{
    int64_t now = now_of(want->loop), wait = 0;
    if (want->n > limiter->settings.requests)
        return peri_error_set(err, PERI_INVALID,
                              "%u requests are needed together, and the rate limit allows %u in %g s", want->n,
                              limiter->settings.requests, (double)limiter->settings.window_ms / 1000);
    if (places->ticket == 0 || places->ticket_of != limiter) {
        places->ticket = ++limiter->tickets;
        places->ticket_of = limiter;
    }
    bool first = !limiter->line.first || places->ticket < limiter->line.first->ticket;
    places->n = want->n;
    places->loop = want->loop;
    if (first) {
        enum peri_code code = hold(limiter, want->n, now, &wait, err);
        if (code != PERI_OK)
            return code;
        if (wait == 0) {
            places->state = PERI__HELD;
            return PERI_OK;
        }
    } else {
        wait = wait_for(limiter, limiter->queued + want->n, now);
    }
    if (want->mode == PERI_LIMIT_FAIL)
        return refuse(limiter, wait, "", err);
    if (want->deadline_ms && now + wait >= want->deadline_ms)
        return refuse(limiter, wait, ", after the deadline", err);
    return stand_in_line(limiter, places, want, err);
}

enum peri_code peri__places_take(struct peri_places *places, const struct peri__want *want, struct peri_error *err)
{
    struct peri_limiter *limiter = peri__limiter_ref(want->limiter);
    pthread_mutex_lock(&limiter->lock);
    enum peri_code code = take(limiter, places, want, err);
    pthread_mutex_unlock(&limiter->lock);
    places->limiter = limiter;
    if (code != PERI_OK && code != PERI_BUSY) {
        places->limiter = NULL;
        peri_limiter_free(limiter);
    }
    return code;
}

/* The end of a request is known only to the millisecond below it: counted as the one above. */
static void give(struct peri_limiter *limiter, unsigned n, bool used, int64_t now_ms)
{
    if (limiter->file && used)
        peri__ratelimit_file_end(limiter->file, n, now_ms + 1);
    else if (limiter->file)
        peri__ratelimit_file_drop(limiter->file, n);
    else if (used)
        peri_ratelimit_end(limiter->ratelimit, n, now_ms + 1);
    else
        peri_ratelimit_drop(limiter->ratelimit, n);
}

static void leave(struct peri_places *places, bool used, int64_t now_ms)
{
    struct peri_limiter *limiter = places->limiter;
    if (!limiter)
        return;
    bool lane_left = false;
    pthread_mutex_lock(&limiter->lock);
    if (places->state == PERI__WAITING) {
        take_out(&limiter->line, places);
        limiter->queued -= places->n;
    } else if (places->state == PERI__GRANTED || places->state == PERI__FAILED) {
        take_out(&places->lane->granted, places);
    }
    if (places->state == PERI__HELD || places->state == PERI__GRANTED)
        give(limiter, places->n, used, now_ms);
    if (places->lane) {
        places->lane->count--;
        lane_left = lane_leave(places->lane);
        places->lane = NULL;
    }
    places->state = PERI__IDLE;
    arm(limiter, places->loop);
    pthread_mutex_unlock(&limiter->lock);
    places->limiter = NULL;
    peri_limiter_free(limiter);
    if (lane_left)
        peri_limiter_free(limiter);
}

void peri__places_end(struct peri_places *places, int64_t now_ms)
{
    leave(places, true, now_ms);
}

void peri__places_drop(struct peri_places *places)
{
    leave(places, false, 0);
}

bool peri__places_move(struct peri_places *to, struct peri_places *from, const struct peri_limiter *limiter)
{
    if (from->state != PERI__HELD || from->limiter != limiter)
        return false;
    to->limiter = from->limiter;
    to->loop = from->loop;
    to->state = PERI__HELD;
    to->n = 1;
    if (--from->n > 0) {
        peri__limiter_ref(to->limiter);
    } else {
        from->state = PERI__IDLE;
        from->limiter = NULL;
    }
    return true;
}

/* ---- what servers say ---- */

void peri__limiter_refused(struct peri_limiter *limiter, int64_t sent_ms, int64_t retry_after_ms, int64_t now_ms)
{
    pthread_mutex_lock(&limiter->lock);
    int64_t until =
        peri_throttle_refused(&limiter->throttle, limiter->settings.window_ms, sent_ms, retry_after_ms, now_ms);
    if (limiter->file)
        peri__ratelimit_file_block(limiter->file, until);
    else
        peri_ratelimit_block(limiter->ratelimit, until);
    pthread_mutex_unlock(&limiter->lock);
}

void peri__limiter_accepted(struct peri_limiter *limiter, int64_t sent_ms)
{
    pthread_mutex_lock(&limiter->lock);
    peri_throttle_accepted(&limiter->throttle, sent_ms);
    pthread_mutex_unlock(&limiter->lock);
}

int64_t peri__limiter_blocked_ms(struct peri_limiter *limiter, int64_t now_ms)
{
    pthread_mutex_lock(&limiter->lock);
    struct peri__ratelimit_view view = { 0 };
    int64_t until = 0;
    if (!limiter->file)
        until = peri_ratelimit_blocked_until(limiter->ratelimit);
    else if (peri__ratelimit_file_look(limiter->file, 1, now_ms, &view, NULL) == PERI_OK)
        until = view.blocked_until_ms;
    pthread_mutex_unlock(&limiter->lock);
    return until > now_ms ? until - now_ms : 0;
}

unsigned peri_limiter_limit(const struct peri_limiter *limiter)
{
    return limiter->settings.requests;
}

int64_t peri_limiter_window_ms(const struct peri_limiter *limiter)
{
    return limiter->settings.window_ms;
}

enum peri_code peri_limiter_remaining(struct peri_limiter *limiter, int64_t now_ms, unsigned *remaining,
                                      struct peri_error *err)
{
    struct peri__ratelimit_view view = { 0 };
    enum peri_code code = PERI_OK;
    pthread_mutex_lock(&limiter->lock);
    if (limiter->file)
        code = peri__ratelimit_file_look(limiter->file, 1, now_ms, &view, err);
    else
        view.remaining = peri_ratelimit_remaining(limiter->ratelimit, now_ms);
    pthread_mutex_unlock(&limiter->lock);
    *remaining = view.remaining;
    return code;
}

enum peri_code peri_limiter_reset_at(struct peri_limiter *limiter, int64_t now_ms, int64_t *reset_ms,
                                     struct peri_error *err)
{
    struct peri__ratelimit_view view = { 0 };
    enum peri_code code = PERI_OK;
    pthread_mutex_lock(&limiter->lock);
    if (limiter->file)
        code = peri__ratelimit_file_look(limiter->file, limiter->queued + 1, now_ms, &view, err);
    else
        view.wait_ms = wait_for(limiter, limiter->queued + 1, now_ms);
    pthread_mutex_unlock(&limiter->lock);
    *reset_ms = now_ms + view.wait_ms;
    return code;
}
