/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/calls_private.h"
#include "host/schedules_private.h"

/* A tick becomes an asynchronous call and its own record in one transaction. */

struct ticking {
    struct peri_engine *engine;
    struct peri__entry *entry; /* NULL: it does not become a call */
    struct peri_tick tick;
};

static void on_recorded(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct ticking *ticking = data;
    struct peri_engine *engine = ticking->engine;
    struct peri__entry *entry = ticking->entry;
    (void)write;
    if (err && err->code != PERI_CONFLICT)
        peri_log(PERI_LOG_ERROR, "a tick of schedule %llu is not stored: %s",
                 (unsigned long long)ticking->tick.schedule_id, err->message);
    if (entry)
        entry->writes--;
    if (entry && !engine->closing) {
        if (err) {
            peri__entry_unhold(entry);
            peri__entry_free(entry);
            peri__ticks_call_ended(engine, ticking->tick.schedule_id);
        } else {
            peri__entry_begin(entry);
        }
    }
    free(ticking);
    if (!engine->closing)
        peri__engine_settled(engine);
}

static struct peri__entry *make_entry(struct peri_engine *engine, const struct peri__scheduled *record,
                                      struct peri_function *function, int64_t scheduled_ms)
{
    const struct peri_schedule *schedule = record->schedule;
    struct peri_submit submit = { .function = function,
                                  .async = true,
                                  .input = schedule->input,
                                  .body = peri_buf_str(&schedule->body),
                                  .schedule_id = schedule->id,
                                  .scheduled_ms = scheduled_ms,
                                  .session_id = schedule->session_id };
    struct peri_call *call = peri__call_make(engine, &submit);
    struct peri__entry *entry = call ? peri__entry_new(engine, call) : NULL;
    if (entry)
        entry->function = peri_function_ref(function);
    return entry;
}

static void write_tick(struct ticking *ticking)
{
    struct peri_write write = { .kind = PERI_WRITE_TICK,
                                .required = true,
                                .lazy = !ticking->entry,
                                .tick = &ticking->tick,
                                .call = ticking->entry ? ticking->entry->call : NULL,
                                .done = on_recorded,
                                .data = ticking };
    if (ticking->entry)
        ticking->entry->writes++;
    peri__engine_write(ticking->engine, &write);
}

static const char *status_text(const struct peri_function *function, char *out, size_t cap)
{
    snprintf(out, cap, "the function is not ready, its status is %s%s%.150s",
             peri_function_status_name(function->status), function->error_message ? ": " : "",
             function->error_message ? function->error_message : "");
    return out;
}

bool peri__tick(void *data, struct peri__plan *plan, int64_t scheduled_ms, enum peri__verdict verdict,
                const char *reason)
{
    static const enum peri_tick_outcome outcomes[] = { PERI_TICK_CALLED, PERI_TICK_CALLED, PERI_TICK_SKIPPED,
                                                       PERI_TICK_MISSED };
    struct peri_engine *engine = data;
    struct peri__scheduled *record = plan->data;
    char status[256];
    struct ticking *ticking = calloc(1, sizeof *ticking);
    if (!ticking) {
        peri_log(PERI_LOG_ERROR, "a tick of schedule %llu is lost: out of memory",
                 (unsigned long long)record->schedule->id);
        return false;
    }
    ticking->engine = engine;
    struct peri_tick *tick = &ticking->tick;
    *tick = (struct peri_tick){ .schedule_id = record->schedule->id,
                                .scheduled_ms = scheduled_ms,
                                .at_ms = peri__engine_now(engine),
                                .outcome = outcomes[verdict] };
    if (tick->outcome == PERI_TICK_CALLED) {
        struct peri_function *function = peri__functions_find(engine, record->schedule->function_id);
        if (!function)
            reason = "there is no such function any more";
        else if (function->status != PERI_FN_READY)
            reason = status_text(function, status, sizeof status);
        else if (!(ticking->entry = make_entry(engine, record, function, scheduled_ms)))
            reason = "out of memory";
        if (reason)
            tick->outcome = PERI_TICK_FAILED;
        else
            record->schedule->last_ms = scheduled_ms;
    }
    tick->id = peri__engine_next_id(engine);
    tick->call_id = ticking->entry ? ticking->entry->call->id : 0;
    snprintf(tick->reason, sizeof tick->reason, "%s", reason ? reason : "");
    if (ticking->entry && verdict == PERI__TICK_HOLD) {
        ticking->entry->held = true;
        record->held++;
    }
    bool called = ticking->entry != NULL;
    write_tick(ticking);
    return called;
}

/* ---- calls of schedules ---- */

void peri__entry_unhold(struct peri__entry *entry)
{
    if (!entry->held)
        return;
    struct peri__scheduled *record = peri__schedules_find(entry->engine, entry->call->schedule_id);
    entry->held = false;
    if (record && record->held)
        record->held--;
}

/* Lets go up to `most` calls that wait for an earlier one, the oldest first; those that are not durable yet begin when
 * they are. */
static void release(struct peri_engine *engine, struct peri__scheduled *record, unsigned most)
{
    for (struct peri__entry *entry = engine->calls->first, *next; entry && record->held && most; entry = next) {
        next = entry->next;
        if (!entry->held || entry->call->schedule_id != record->schedule->id)
            continue;
        peri__entry_unhold(entry);
        most--;
        if (entry->accepted)
            peri__entry_begin(entry);
    }
}

void peri__ticks_release(struct peri_engine *engine, uint64_t schedule_id)
{
    struct peri__scheduled *record = peri__schedules_find(engine, schedule_id);
    if (record)
        release(engine, record, UINT_MAX);
}

void peri__ticks_call_ended(struct peri_engine *engine, uint64_t schedule_id)
{
    struct peri__scheduled *record = peri__schedules_find(engine, schedule_id);
    if (!record)
        return;
    if (record->plan.open)
        record->plan.open--;
    if (record->plan.open <= record->held) /* none of those that went ahead is left */
        release(engine, record, 1);
}

bool peri__ticks_call_recovered(struct peri_engine *engine, uint64_t schedule_id)
{
    struct peri__scheduled *record = peri__schedules_find(engine, schedule_id);
    if (!record)
        return false;
    bool hold = record->plan.overlap == PERI_OVERLAP_QUEUE && record->plan.open;
    record->plan.open++;
    record->held += hold;
    return hold;
}
