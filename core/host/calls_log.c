/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/calls_private.h"

/* ---- watches ---- */

static void sweep(struct peri__entry *entry)
{
    if (entry->calling)
        return;
    for (struct peri__watch **at = &entry->watches; *at;) {
        struct peri__watch *watch = *at;
        if (!watch->dead) {
            at = &watch->next;
            continue;
        }
        *at = watch->next;
        free(watch);
    }
}

uint64_t peri_engine_watch(struct peri_engine *engine, uint64_t call_id, const struct peri_watch *fns)
{
    struct peri__entry *entry = peri__entry_find(engine, call_id);
    if (!entry || !entry->accepted || peri_call_state_final(entry->call->state))
        return 0;
    struct peri__watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return 0;
    watch->handle = engine->calls->last_watch + 1;
    if (peri__idmap_put(&engine->calls->watches, watch->handle, watch) != PERI_OK) {
        free(watch);
        return 0;
    }
    engine->calls->last_watch++;
    watch->entry = entry;
    watch->fns = *fns;
    struct peri__watch **at = &entry->watches;
    while (*at)
        at = &(*at)->next;
    *at = watch;
    return watch->handle;
}

void peri_engine_unwatch(struct peri_engine *engine, uint64_t handle)
{
    struct peri__watch *watch = peri__idmap_remove(&engine->calls->watches, handle);
    if (!watch)
        return;
    watch->dead = true;
    sweep(watch->entry);
}

void peri__entry_drop_watches(struct peri__entry *entry)
{
    for (struct peri__watch *watch = entry->watches; watch; watch = watch->next) {
        peri__idmap_remove(&entry->engine->calls->watches, watch->handle);
        watch->dead = true;
    }
    entry->calling = 0;
    sweep(entry);
}

void peri__entry_ended(struct peri__entry *entry)
{
    entry->calling++;
    for (struct peri__watch *watch = entry->watches; watch; watch = watch->next) {
        if (watch->dead)
            continue;
        peri__idmap_remove(&entry->engine->calls->watches, watch->handle);
        watch->dead = true;
        watch->fns.end(watch->fns.data, entry->call);
    }
    entry->calling--;
    sweep(entry);
}

/* ---- lines ---- */

static struct peri_log_line *add_line(struct peri_call *call, int64_t wall_ms, enum peri_log_level level,
                                      struct peri_str text)
{
    if (call->log_count == call->log_cap) {
        size_t cap = call->log_cap ? call->log_cap * 2 : 8;
        struct peri_log_line *bigger = realloc(call->log, cap * sizeof *bigger);
        if (!bigger)
            return NULL;
        call->log = bigger;
        call->log_cap = cap;
    }
    char *copy = malloc(text.len + 1);
    if (!copy)
        return NULL;
    if (text.len)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    struct peri_log_line *line = &call->log[call->log_count++];
    *line = (struct peri_log_line){ .wall_ms = wall_ms, .level = level, .text = copy, .len = text.len };
    call->log_bytes += text.len + 1;
    return line;
}

void peri__entry_log(struct peri__entry *entry, int64_t wall_ms, enum peri_log_level level, struct peri_str text)
{
    struct peri_call *call = entry->call;
    size_t limit = entry->engine->options.log_limit;
    char cut[96];
    if (entry->over || entry->log_full)
        return;
    if (call->log_bytes + text.len + 1 > limit) {
        entry->log_full = true;
        snprintf(cut, sizeof cut, "the log is cut here: it has reached %zu bytes", limit);
        text = peri_str_from(cut);
        level = PERI_LOG_WARN;
    }
    if (!add_line(call, wall_ms, level, text))
        return;
    size_t index = call->log_count - 1;
    entry->calling++;
    for (struct peri__watch *watch = entry->watches; watch; watch = watch->next)
        if (!watch->dead && watch->fns.line)
            watch->fns.line(watch->fns.data, index, &call->log[index]);
    entry->calling--;
    sweep(entry);
}

enum peri_code peri_engine_log(struct peri_engine *engine, uint64_t call_id, size_t first,
                               void (*fn)(void *data, size_t index, const struct peri_log_line *line), void *data,
                               struct peri_error *err)
{
    struct peri__entry *entry = peri__entry_find(engine, call_id);
    if (entry && entry->accepted) {
        for (size_t i = first; i < entry->call->log_count; i++)
            fn(data, i, &entry->call->log[i]);
        return PERI_OK;
    }
    struct peri_call *call = peri_engine_call(engine, call_id, false, err);
    if (!call)
        return PERI_NOT_FOUND;
    peri_call_unref(call);
    return engine->store->kind->log(engine->store, call_id, first, fn, data, err);
}
