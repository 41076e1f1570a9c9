/* SPDX-License-Identifier: MIT */
#include "host/schedules.h"

#include <stdlib.h>
#include <string.h>

#include "host/schedules_private.h"

#define SCHEDULES_MAX 100000

/* ---- the registry ---- */

struct peri__scheduled *peri__schedules_find(const struct peri_engine *engine, uint64_t id)
{
    return engine->schedules ? peri__idmap_get(&engine->schedules->by_id, id) : NULL;
}

static size_t position(const struct peri__schedules *all, uint64_t id)
{
    size_t low = 0, high = all->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (all->sorted[middle]->schedule->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct peri__scheduled *new_record(struct peri__schedules *all, struct peri_schedule *schedule)
{
    if (all->count == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 16;
        struct peri__scheduled **bigger = realloc(all->sorted, cap * sizeof(struct peri__scheduled *));
        if (!bigger)
            return NULL;
        all->sorted = bigger;
        all->cap = cap;
    }
    struct peri__scheduled *record = calloc(1, sizeof *record);
    if (!record || peri__idmap_put(&all->by_id, schedule->id, record) != PERI_OK) {
        free(record);
        return NULL;
    }
    size_t at = position(all, schedule->id);
    memmove(all->sorted + at + 1, all->sorted + at, (all->count - at) * sizeof(struct peri__scheduled *));
    all->sorted[at] = record;
    all->count++;
    record->plan.data = record;
    record->schedule = schedule;
    return record;
}

static void remove_record(struct peri_engine *engine, struct peri__scheduled *record)
{
    struct peri__schedules *all = engine->schedules;
    size_t at = position(all, record->schedule->id);
    memmove(all->sorted + at, all->sorted + at + 1, (all->count - at - 1) * sizeof(struct peri__scheduled *));
    all->count--;
    peri__scheduler_remove(&all->scheduler, &record->plan);
    peri__idmap_remove(&all->by_id, record->schedule->id);
    peri_schedule_unref(record->schedule);
    free(record);
}

static enum peri_code find_zone(struct peri__schedules *all, const char *name, const struct peri_timezone **out,
                                struct peri_error *err)
{
    struct peri__zone *known = all->zones;
    while (known && strcmp(peri_timezone_name(known->zone), name) != 0)
        known = known->next;
    if (!known) {
        known = calloc(1, sizeof *known);
        if (!known)
            return peri_error_set(err, PERI_NOMEM, "out of memory");
        enum peri_code code = peri_timezone_load(name, NULL, &known->zone, err);
        if (code) {
            free(known);
            return code == PERI_NOMEM ? code : peri_error_set(err, PERI_BAD_REQUEST, "%s", err->message);
        }
        known->next = all->zones;
        all->zones = known;
    }
    *out = known->zone;
    return PERI_OK;
}

/* Whether the schedule can run as it is written; fills what the plan needs. */
static enum peri_code make_plan(struct peri__schedules *all, const struct peri_schedule *schedule,
                                struct peri__plan *plan, struct peri_error *err)
{
    if (!schedule->cron)
        return peri_error_set(err, PERI_BAD_REQUEST, "a schedule needs a cron expression");
    enum peri_code code = peri_cron_parse(&plan->cron, peri_str_from(schedule->cron), err);
    if (code) {
        peri_error_prefix(err, "cron expression '%.80s'", schedule->cron);
        return code;
    }
    plan->missed = schedule->missed;
    plan->overlap = schedule->overlap;
    plan->since_ms = schedule->since_ms;
    return find_zone(all, schedule->timezone ? schedule->timezone : "UTC", &plan->zone, err);
}

/* ---- time ---- */

static void refresh(struct peri__scheduled *record)
{
    record->schedule->since_ms = record->plan.since_ms;
    record->schedule->next_ms = record->plan.at && record->plan.next_ms > 0 ? record->plan.next_ms : 0;
}

static void on_timer(uv_timer_t *timer)
{
    peri_engine_schedules_run(timer->data);
}

void peri__schedules_arm(struct peri_engine *engine)
{
    struct peri__schedules *all = engine->schedules;
    int64_t next = peri__scheduler_next(&all->scheduler), now = peri__engine_now(engine);
    uv_timer_stop(all->timer);
    if (!all->started || engine->draining || next < 0)
        return;
    uv_update_time(engine->uv);
    uv_timer_start(all->timer, on_timer, next > now ? (uint64_t)(next - now) : 0, 0);
}

int64_t peri_engine_schedules_run(struct peri_engine *engine)
{
    struct peri__schedules *all = engine->schedules;
    if (engine->draining || engine->closing || !all->started)
        return -1;
    peri__scheduler_run(&all->scheduler, peri__engine_now(engine));
    peri__schedules_arm(engine);
    return peri__scheduler_next(&all->scheduler);
}

static void start_plan(struct peri_engine *engine, struct peri__scheduled *record)
{
    struct peri__schedules *all = engine->schedules;
    if (!all->started || record->schedule->paused)
        return;
    if (peri__scheduler_add(&all->scheduler, &record->plan, peri__engine_now(engine)) != PERI_OK)
        peri_log(PERI_LOG_ERROR, "schedule %llu does not run: out of memory", (unsigned long long)record->schedule->id);
    refresh(record);
}

void peri__schedules_start(struct peri_engine *engine)
{
    struct peri__schedules *all = engine->schedules;
    all->started = true;
    for (size_t i = 0; i < all->count; i++)
        start_plan(engine, all->sorted[i]);
    peri__schedules_arm(engine);
}

void peri__schedules_tick(struct peri_engine *engine)
{
    /* Each second, since a timer doesn't hear of a clock that was set. */
    peri_engine_schedules_run(engine);
}

void peri__schedules_stop(struct peri_engine *engine)
{
    uv_timer_stop(engine->schedules->timer);
}

/* ---- asking ---- */

struct peri_schedule *peri_engine_schedule(struct peri_engine *engine, uint64_t id)
{
    struct peri__scheduled *record = peri__schedules_find(engine, id);
    if (!record)
        return NULL;
    refresh(record);
    return peri_schedule_ref(record->schedule);
}

static struct peri__scheduled *find_named(const struct peri_engine *engine, struct peri_str name)
{
    struct peri__schedules *all = engine->schedules;
    for (size_t i = 0; i < all->count; i++) {
        const char *own = all->sorted[i]->schedule->external_id;
        if (own && peri_str_equal(peri_str_from(own), name))
            return all->sorted[i];
    }
    return NULL;
}

struct peri_schedule *peri_engine_schedule_by_name(struct peri_engine *engine, struct peri_str external_id)
{
    struct peri__scheduled *record = find_named(engine, external_id);
    return record ? peri_engine_schedule(engine, record->schedule->id) : NULL;
}

void peri_engine_each_schedule(struct peri_engine *engine, bool (*fn)(void *data, struct peri_schedule *schedule),
                               void *data)
{
    for (size_t i = engine->schedules->count; i-- > 0;) {
        refresh(engine->schedules->sorted[i]);
        if (!fn(data, engine->schedules->sorted[i]->schedule))
            return;
    }
}

int64_t peri_engine_schedule_next(struct peri_engine *engine, uint64_t id, int64_t after_ms)
{
    const struct peri__scheduled *record = peri__schedules_find(engine, id);
    return record ? peri_cron_next(&record->plan.cron, record->plan.zone, after_ms) : -1;
}

enum peri_code peri_engine_ticks(struct peri_engine *engine, uint64_t schedule_id, int64_t before_ms, size_t limit,
                                 void (*fn)(void *data, const struct peri_tick *tick), void *data,
                                 struct peri_error *err)
{
    return engine->store->kind->ticks(engine->store, schedule_id, before_ms, limit, fn, data, err);
}

/* ---- changing ---- */

struct change {
    struct peri_engine *engine;
    struct peri_schedule *schedule; /* as it will be; of a deletion NULL */
    uint64_t id;
    peri_schedule_fn done;
    void (*deleted)(void *data, const struct peri_error *err);
    void *data;
    struct peri_error err;
};

static void free_change(void *data)
{
    struct change *change = data;
    peri_schedule_unref(change->schedule);
    free(change);
}

static void tell(void *data)
{
    struct change *change = data;
    const struct peri_error *err = change->err.code ? &change->err : NULL;
    struct peri_schedule *schedule = err ? NULL : peri_engine_schedule(change->engine, change->id);
    if (change->deleted)
        change->deleted(change->data, err);
    else if (change->done)
        change->done(change->data, schedule, err);
    peri_schedule_unref(schedule);
    free_change(change);
}

static void tell_later(struct change *change)
{
    if (peri__turn_later(change->engine->turn, tell, free_change, change) != PERI_OK)
        free_change(change);
}

/* The schedule takes the place of the one that had its id. */
static void take(struct peri_engine *engine, struct peri_schedule *schedule, struct peri_error *err)
{
    struct peri__schedules *all = engine->schedules;
    struct peri__scheduled *record = peri__schedules_find(engine, schedule->id);
    if (record) {
        peri__scheduler_remove(&all->scheduler, &record->plan);
        schedule->last_ms = record->schedule->last_ms;
        peri_schedule_unref(record->schedule);
        record->schedule = schedule;
    } else if (!(record = new_record(all, schedule))) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return;
    }
    peri_schedule_ref(schedule);
    struct peri__plan plan = { .open = record->plan.open, .data = record };
    if (make_plan(all, schedule, &plan, err) != PERI_OK)
        return;
    record->plan = plan;
    if (plan.overlap != PERI_OVERLAP_QUEUE)
        peri__ticks_release(engine, schedule->id);
    start_plan(engine, record);
    peri__schedules_arm(engine);
}

static void on_dropped(void *data, struct peri_write *write, const struct peri_error *err)
{
    (void)data;
    if (err)
        peri_log(PERI_LOG_ERROR, "schedule %llu of a deleted function is still stored: %s",
                 (unsigned long long)write->id, err->message);
}

static void on_stored(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct change *change = data;
    struct peri_engine *engine = change->engine;
    if (engine->closing) {
        free_change(change);
        return;
    }
    if (err) {
        change->err = *err;
    } else if (write->kind == PERI_WRITE_SCHEDULE_DELETE) {
        peri__schedules_deleted(engine, change->id);
    } else if (!peri__functions_find(engine, change->schedule->function_id)) {
        struct peri_write drop = {
            .kind = PERI_WRITE_SCHEDULE_DELETE, .id = change->id, .at_ms = peri__engine_now(engine), .done = on_dropped
        };
        peri__engine_write(engine, &drop);
        peri_error_set(&change->err, PERI_NOT_FOUND, "the function was deleted meanwhile");
    } else {
        take(engine, change->schedule, &change->err);
    }
    tell(change);
    peri__engine_settled(engine);
}

static struct change *new_change(struct peri_engine *engine, peri_schedule_fn done, void *data)
{
    struct change *change = calloc(1, sizeof *change);
    if (change)
        *change = (struct change){ .engine = engine, .done = done, .data = data };
    return change;
}

static void store(struct change *change)
{
    if (change->err.code) {
        tell_later(change);
        return;
    }
    struct peri_write write = { .kind = change->schedule ? PERI_WRITE_SCHEDULE : PERI_WRITE_SCHEDULE_DELETE,
                                .id = change->id,
                                .at_ms = peri__engine_now(change->engine),
                                .schedule = change->schedule,
                                .done = on_stored,
                                .data = change };
    peri__engine_write(change->engine, &write);
}

static enum peri_code check(struct peri_engine *engine, const struct peri_schedule *spec,
                            const struct peri__scheduled *known, bool replace, struct peri_error *err)
{
    struct peri__plan plan = { 0 };
    enum peri_code code = make_plan(engine->schedules, spec, &plan, err);
    if (code)
        return code;
    if (!peri__functions_find(engine, spec->function_id))
        return peri_error_set(err, PERI_NOT_FOUND, "there is no function %llu", (unsigned long long)spec->function_id);
    if (known && !replace)
        return peri_error_set(err, PERI_CONFLICT, "there is a schedule '%s' already", spec->external_id);
    if (!known && engine->schedules->count >= SCHEDULES_MAX)
        return peri_error_set(err, PERI_CONFLICT, "there are %d schedules already", SCHEDULES_MAX);
    return PERI_OK;
}

void peri_engine_schedule_put(struct peri_engine *engine, const struct peri_schedule *spec, bool replace,
                              peri_schedule_fn done, void *data)
{
    struct change *change = new_change(engine, done, data);
    if (!change)
        return;
    const struct peri__scheduled *known =
        spec->external_id ? find_named(engine, peri_str_from(spec->external_id)) : NULL;
    if (check(engine, spec, known, replace, &change->err) == PERI_OK) {
        struct peri_schedule *schedule = change->schedule = peri_schedule_copy(spec);
        if (!schedule) {
            peri_error_set(&change->err, PERI_NOMEM, "out of memory");
        } else {
            schedule->id = change->id = known ? known->schedule->id : peri__engine_next_id(engine);
            schedule->updated_ms = schedule->since_ms = peri__engine_now(engine);
            schedule->created_ms = known ? known->schedule->created_ms : schedule->updated_ms;
            schedule->last_ms = schedule->next_ms = 0;
        }
    }
    store(change);
}

void peri_engine_schedule_pause(struct peri_engine *engine, uint64_t id, bool paused, peri_schedule_fn done, void *data)
{
    struct change *change = new_change(engine, done, data);
    if (!change)
        return;
    const struct peri__scheduled *record = peri__schedules_find(engine, id);
    change->id = id;
    if (!record) {
        peri_error_set(&change->err, PERI_NOT_FOUND, "there is no schedule %llu", (unsigned long long)id);
    } else if (!(change->schedule = peri_schedule_copy(record->schedule))) {
        peri_error_set(&change->err, PERI_NOMEM, "out of memory");
    } else {
        int64_t now = peri__engine_now(engine);
        change->schedule->since_ms = record->schedule->paused ? now : record->plan.since_ms;
        change->schedule->paused = paused;
        change->schedule->updated_ms = now;
    }
    store(change);
}

void peri_engine_schedule_delete(struct peri_engine *engine, uint64_t id,
                                 void (*done)(void *data, const struct peri_error *err), void *data)
{
    struct change *change = new_change(engine, NULL, data);
    if (!change)
        return;
    change->deleted = done;
    change->id = id;
    if (!peri__schedules_find(engine, id))
        peri_error_set(&change->err, PERI_NOT_FOUND, "there is no schedule %llu", (unsigned long long)id);
    store(change);
}

/* ---- beginning and end ---- */

void peri__schedules_deleted(struct peri_engine *engine, uint64_t id)
{
    struct peri__scheduled *record = peri__schedules_find(engine, id);
    if (!record)
        return;
    peri__ticks_release(engine, id);
    remove_record(engine, record);
    peri__schedules_arm(engine);
}

void peri__schedules_function_deleted(struct peri_engine *engine, uint64_t function_id)
{
    struct peri__schedules *all = engine->schedules;
    for (size_t i = all->count; i-- > 0;)
        if (all->sorted[i]->schedule->function_id == function_id)
            peri__schedules_deleted(engine, all->sorted[i]->schedule->id);
}

static void load(void *data, struct peri_schedule *schedule)
{
    struct peri_engine *engine = data;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri__plan plan = { 0 };
    struct peri__scheduled *record = new_record(engine->schedules, schedule);
    if (!record) {
        peri_log(PERI_LOG_ERROR, "schedule %llu does not run: out of memory", (unsigned long long)schedule->id);
        peri_schedule_unref(schedule);
        return;
    }
    plan.data = record;
    if (make_plan(engine->schedules, schedule, &plan, &err) == PERI_OK) {
        record->plan = plan;
        return;
    }
    /* A zone that the system's data no longer have. */
    peri_log(PERI_LOG_ERROR, "schedule %llu is paused: %s", (unsigned long long)schedule->id, err.message);
    schedule->paused = true;
}

enum peri_code peri__schedules_new(struct peri_engine *engine, struct peri_error *err)
{
    struct peri__schedules *all = engine->schedules = calloc(1, sizeof *all);
    if (!all || !(all->timer = calloc(1, sizeof *all->timer)))
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    all->scheduler.tick = peri__tick;
    all->scheduler.data = engine;
    uv_timer_init(engine->uv, all->timer);
    all->timer->data = engine;
    return engine->store->kind->schedules(engine->store, load, engine, err);
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

void peri__schedules_free(struct peri_engine *engine)
{
    struct peri__schedules *all = engine->schedules;
    if (!all)
        return;
    while (all->count)
        remove_record(engine, all->sorted[all->count - 1]);
    for (struct peri__zone *zone = all->zones, *next; zone; zone = next) {
        next = zone->next;
        peri_timezone_free(zone->zone);
        free(zone);
    }
    if (all->timer)
        uv_close((uv_handle_t *)all->timer, free_handle);
    peri__scheduler_fini(&all->scheduler);
    peri__idmap_fini(&all->by_id);
    free(all->sorted);
    free(all);
    engine->schedules = NULL;
}
