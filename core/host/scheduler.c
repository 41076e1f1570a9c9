/* SPDX-License-Identifier: MIT */
#include "host/scheduler.h"

#include <stdlib.h>

/* ---- the heap ---- */

static bool before(const struct peri__plan *a, const struct peri__plan *b)
{
    return a->next_ms < b->next_ms;
}

static void place(struct peri__scheduler *s, size_t at, struct peri__plan *plan)
{
    s->heap[at - 1] = plan;
    plan->at = at;
}

static void sift(struct peri__scheduler *s, struct peri__plan *plan)
{
    size_t at = plan->at;
    for (; at > 1 && before(plan, s->heap[at / 2 - 1]); at /= 2)
        place(s, at, s->heap[at / 2 - 1]);
    for (;;) {
        size_t child = at * 2;
        if (child < s->count && before(s->heap[child], s->heap[child - 1]))
            child++;
        if (child > s->count || !before(s->heap[child - 1], plan))
            break;
        place(s, at, s->heap[child - 1]);
        at = child;
    }
    place(s, at, plan);
}

static enum peri_code reserve(struct peri__scheduler *s)
{
    if (s->count < s->cap)
        return PERI_OK;
    size_t cap = s->cap ? s->cap * 2 : 16;
    struct peri__plan **bigger = realloc(s->heap, cap * sizeof(struct peri__plan *));
    if (!bigger)
        return PERI_NOMEM;
    s->heap = bigger;
    s->cap = cap;
    return PERI_OK;
}

void peri__scheduler_remove(struct peri__scheduler *s, struct peri__plan *plan)
{
    if (!plan->at)
        return;
    struct peri__plan *last = s->heap[--s->count];
    if (last != plan) {
        place(s, plan->at, last);
        sift(s, last);
    }
    plan->at = 0;
}

void peri__scheduler_fini(struct peri__scheduler *s)
{
    free(s->heap);
    s->heap = NULL;
    s->count = s->cap = 0;
}

/* ---- ticks ---- */

static void tick(struct peri__scheduler *s, struct peri__plan *plan, int64_t scheduled)
{
    enum peri__verdict verdict = PERI__TICK_RUN;
    const char *reason = NULL;
    if (plan->overlap == PERI_OVERLAP_SKIP && plan->open) {
        verdict = PERI__TICK_SKIP;
        reason = "the call of an earlier tick has not ended";
    } else if (plan->open >= PERI__OPEN_MAX) {
        verdict = PERI__TICK_SKIP;
        reason = "1000 calls of the schedule have not ended";
    } else if (plan->overlap == PERI_OVERLAP_QUEUE && plan->open) {
        verdict = PERI__TICK_HOLD;
    }
    plan->since_ms = scheduled;
    if (s->tick(s->data, plan, scheduled, verdict, reason))
        plan->open++;
}

static void note_missed(struct peri__scheduler *s, struct peri__plan *plan, int64_t scheduled, const char *reason)
{
    plan->since_ms = scheduled;
    s->tick(s->data, plan, scheduled, PERI__TICK_MISSED, reason);
}

/* All of (since, now], the latest ones up to the maximum. */
static void run_missed(struct peri__scheduler *s, struct peri__plan *plan, int64_t last)
{
    int64_t times[PERI__MISSED_MAX];
    size_t count = 0;
    while (last >= 0 && count < PERI__MISSED_MAX) {
        times[count++] = last;
        last = peri_cron_last(&plan->cron, plan->zone, plan->since_ms, last - 1);
    }
    if (last >= 0)
        note_missed(s, plan, last, "missed, and more than 1000 were: the latest ones run");
    while (count > 0)
        tick(s, plan, times[--count]);
}

static void catch_up(struct peri__scheduler *s, struct peri__plan *plan, int64_t now)
{
    int64_t last = peri_cron_last(&plan->cron, plan->zone, plan->since_ms, now);
    if (last < 0)
        return;
    switch (plan->missed) {
    case PERI_MISSED_ALL:
        run_missed(s, plan, last);
        break;
    case PERI_MISSED_ONCE:
        tick(s, plan, last);
        break;
    case PERI_MISSED_SKIP:
        note_missed(s, plan, last, "missed, as the host was down or its clock was set forward");
        break;
    }
}

static void look_ahead(struct peri__plan *plan)
{
    plan->next_ms = peri_cron_next(&plan->cron, plan->zone, plan->since_ms);
}

enum peri_code peri__scheduler_add(struct peri__scheduler *s, struct peri__plan *plan, int64_t now)
{
    if (reserve(s) != PERI_OK)
        return PERI_NOMEM;
    if (plan->since_ms > now + PERI__BACK_MS)
        plan->since_ms = now;
    look_ahead(plan);
    if (plan->next_ms >= 0 && plan->next_ms <= now) {
        catch_up(s, plan, now);
        look_ahead(plan);
    }
    if (plan->next_ms < 0)
        return PERI_OK;
    s->count++;
    place(s, s->count, plan);
    sift(s, plan);
    return PERI_OK;
}

static void believe(struct peri__scheduler *s, int64_t now)
{
    size_t count = s->count;
    s->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct peri__plan *plan = s->heap[i];
        if (plan->since_ms > now)
            plan->since_ms = now;
        look_ahead(plan);
        place(s, ++s->count, plan);
        sift(s, plan);
    }
}

void peri__scheduler_run(struct peri__scheduler *s, int64_t now)
{
    if (now < s->seen_ms - PERI__BACK_MS)
        believe(s, now);
    s->seen_ms = now;
    while (s->count && s->heap[0]->next_ms <= now) {
        struct peri__plan *plan = s->heap[0];
        if (now - plan->next_ms > PERI__LATE_MS)
            catch_up(s, plan, now);
        else
            tick(s, plan, plan->next_ms);
        look_ahead(plan);
        if (plan->next_ms < 0)
            peri__scheduler_remove(s, plan);
        else
            sift(s, plan);
    }
}

int64_t peri__scheduler_next(const struct peri__scheduler *s)
{
    return s->count ? s->heap[0]->next_ms : -1;
}
