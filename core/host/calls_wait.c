/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "host/calls_private.h"
#include "perilune/retry.h"

/* Calls that wait for a time: to start, or to be told that it is too late. Times are the loop's clock's; the timer is
 * only a nudge, and each second somebody looks, since a timer does not hear of a clock that was set. */

#define TIMER_MAX_MS (3600 * INT64_C(1000))

static struct peri__entry *entry_of(struct peri__due *due)
{
    return (struct peri__entry *)(void *)((char *)due - offsetof(struct peri__entry, due));
}

static void on_timer(uv_timer_t *timer)
{
    struct peri_engine *engine = timer->data;
    peri__turn_ask(engine->turn);
}

static void set_timer(struct peri_engine *engine)
{
    struct peri__calls *calls = engine->calls;
    const struct peri__due *first = peri__heap_first(&calls->dues);
    if (!first || first->at_ms == calls->timer_at)
        return;
    int64_t wait = first->at_ms - peri__engine_now(engine);
    wait = wait < 0 ? 0 : wait > TIMER_MAX_MS ? TIMER_MAX_MS : wait;
    calls->timer_at = wait == TIMER_MAX_MS ? 0 : first->at_ms;
    uv_timer_start(calls->timer, on_timer, (uint64_t)wait, 0);
}

void peri__entry_submit(struct peri__entry *entry, const struct peri_function *function)
{
    const struct peri_terms *terms = entry->call->terms;
    unsigned queue = terms && terms->queue ? terms->queue : PERI_QUEUE_DEFAULT;
    entry->job.priority = (unsigned char)(queue - 1);
    peri__dispatch_submit(entry->engine->dispatch, &entry->job, entry->call->function_id,
                          function ? function->concurrency : 0);
}

static void enqueue(struct peri__entry *entry)
{
    peri__entry_submit(entry, peri__functions_find(entry->engine, entry->call->function_id));
}

void peri__entry_wait(struct peri__entry *entry)
{
    struct peri__calls *calls = entry->engine->calls;
    const struct peri_terms *terms = entry->call->terms;
    int64_t due = terms ? terms->expires_ms : 0;
    bool delayed = terms && terms->start_ms > peri__engine_now(entry->engine);
    if (delayed && (!due || terms->start_ms < due))
        due = terms->start_ms;
    bool set = !due || peri__heap_set(&calls->dues, &entry->due, due) == PERI_OK;
    if (!set)
        peri_log(PERI_LOG_ERROR, "call %" PRIu64 " %s: out of memory", entry->job.call_id,
                 delayed ? "waits for the next run" : "does not expire");
    if (!set && delayed) {
        entry->parked = true;
        return;
    }
    if (due)
        set_timer(entry->engine);
    entry->delayed = delayed;
    calls->delayed += delayed;
    if (!delayed)
        enqueue(entry);
}

void peri__entry_wait_no_more(struct peri__entry *entry)
{
    struct peri__calls *calls = entry->engine->calls;
    peri__heap_remove(&calls->dues, &entry->due);
    calls->delayed -= entry->delayed;
    entry->delayed = false;
}

static void expire(struct peri__entry *entry)
{
    const struct peri_call *call = entry->call;
    int64_t waited = call->terms->expires_ms - call->created_ms;
    peri__dispatch_cancel(entry->engine->dispatch, &entry->job);
    peri__entry_end_simply(entry, PERI_CALL_TIMEOUT, PERI_EXPIRED,
                           "the call expired: it did not start within %" PRId64 ".%03d s", waited / 1000,
                           (int)(waited % 1000));
}

void peri__calls_due(struct peri_engine *engine)
{
    struct peri__calls *calls = engine->calls;
    if (!calls->dues.count)
        return;
    int64_t now = peri__engine_now(engine);
    for (struct peri__due *due; (due = peri__heap_first(&calls->dues)) && due->at_ms <= now;) {
        struct peri__entry *entry = entry_of(due);
        const struct peri_terms *terms = entry->call->terms;
        peri__entry_wait_no_more(entry);
        if (terms->expires_ms && terms->expires_ms <= now)
            expire(entry);
        else
            peri__entry_wait(entry);
    }
    set_timer(engine);
}

/* ---- another attempt ---- */

static unsigned attempts_of(const struct peri__entry *entry, const struct peri_function *function)
{
    const struct peri_terms *terms = entry->call->terms;
    if (terms && terms->attempts)
        return terms->attempts;
    return function->attempts ? function->attempts : entry->engine->options.max_attempts;
}

bool peri__entry_tries_again(struct peri__entry *entry, enum peri_code code, int64_t *wait_ms)
{
    const struct peri_terms *terms = entry->call->terms;
    const struct peri_function *function = peri__functions_find(entry->engine, entry->call->function_id);
    *wait_ms = 0;
    if (!function || entry->blamed)
        return false;
    struct peri_retry_policy policy = { .max_attempts = attempts_of(entry, function) };
    if (terms && terms->retry) {
        policy.backoff = PERI_BACKOFF_EQUAL_JITTER;
        policy.base_ms = terms->base_ms;
        policy.cap_ms = terms->cap_ms;
    }
    struct peri_attempt attempt = {
        .number = entry->call->attempt, .code = code, .forced = true, .retry_after_ms = -1
    };
    return peri_retry_decide(&policy, &attempt, peri_random_system(), wait_ms, NULL);
}

/* ---- beginning and end ---- */

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

enum peri_code peri__dues_init(struct peri_engine *engine)
{
    struct peri__calls *calls = engine->calls;
    calls->timer = calloc(1, sizeof *calls->timer);
    if (!calls->timer)
        return PERI_NOMEM;
    uv_timer_init(engine->uv, calls->timer);
    uv_unref((uv_handle_t *)calls->timer);
    calls->timer->data = engine;
    return PERI_OK;
}

void peri__dues_fini(struct peri_engine *engine)
{
    struct peri__calls *calls = engine->calls;
    peri__heap_fini(&calls->dues);
    if (calls->timer)
        uv_close((uv_handle_t *)calls->timer, free_timer);
}
