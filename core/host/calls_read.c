/* SPDX-License-Identifier: MIT */
#include "host/calls_private.h"

struct peri_call *peri_engine_call(struct peri_engine *engine, uint64_t id, bool with_body, struct peri_error *err)
{
    struct peri__entry *entry = peri__entry_find(engine, id);
    struct peri_call *call = NULL;
    if (entry && entry->accepted && !(with_body && entry->in_store))
        return peri_call_ref(entry->call);
    if (entry && !entry->accepted) {
        peri_error_set(err, PERI_NOT_FOUND, "there is no call %llu", (unsigned long long)id);
        return NULL;
    }
    return engine->store->kind->call(engine->store, id, with_body, &call, err) == PERI_OK ? call : NULL;
}

static bool within(int64_t value, int64_t min, int64_t max)
{
    return (!min || value >= min) && (!max || (value > 0 && value <= max));
}

static bool wanted(const struct peri__entry *entry, const struct peri_call_filter *filter)
{
    const struct peri_call *call = entry->call;
    return entry->accepted && (!filter->function_id || call->function_id == filter->function_id) &&
           (!filter->before_id || call->id < filter->before_id) &&
           (filter->state < 0 || (int)call->state == filter->state) && (!filter->dead || call->dead) &&
           (!filter->schedule_id || call->schedule_id == filter->schedule_id) &&
           within(call->created_ms, filter->created_min, filter->created_max) &&
           within(call->end_ms, filter->end_min, filter->end_max);
}

/* Two descending lists become one: what is in memory counts more than what the store has of the same call. */
struct merge {
    struct peri_engine *engine;
    const struct peri_call_filter *filter;
    const struct peri__entry *at; /* the newest in memory that was not given yet */
    size_t left;
    void (*fn)(void *data, const struct peri_call *call);
    void *data;
};

static void give_memory(struct merge *merge, uint64_t above)
{
    for (; merge->at && merge->at->call->id > above && merge->left; merge->at = merge->at->prev)
        if (wanted(merge->at, merge->filter)) {
            merge->fn(merge->data, merge->at->call);
            merge->left--;
        }
}

static bool give_stored(void *data, struct peri_call *call)
{
    struct merge *merge = data;
    give_memory(merge, call->id);
    const struct peri__entry *entry = peri__entry_find(merge->engine, call->id);
    if (merge->left && !(entry && entry->accepted) && peri__functions_find(merge->engine, call->function_id)) {
        merge->fn(merge->data, call);
        merge->left--;
    }
    return merge->left > 0;
}

enum peri_code peri_engine_calls(struct peri_engine *engine, const struct peri_call_filter *filter, size_t limit,
                                 void (*fn)(void *data, const struct peri_call *call), void *data,
                                 struct peri_error *err)
{
    struct merge merge = { engine, filter, engine->calls->last, limit, fn, data };
    if (!limit)
        return PERI_OK;
    /* Without a limit for the store: rows that memory stands for don't count. */
    enum peri_code code = engine->store->kind->calls(engine->store, filter, SIZE_MAX, give_stored, &merge, err);
    if (!code)
        give_memory(&merge, 0);
    return code;
}
