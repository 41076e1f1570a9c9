/* SPDX-License-Identifier: MIT */
#include "host/functions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/idmap.h"

/* The registry: every function, by id, by external id and in order. */

struct record {
    struct peri_function *function;
    uint64_t name_hash;
    struct record *same_hash; /* the next one with this hash of its external id */
    bool called;              /* last_called_ms is newer than the store's */
};

struct peri__functions {
    struct peri__idmap by_id;   /* struct record */
    struct peri__idmap by_name; /* hash of the external id to the first record with it */
    struct record **sorted;     /* by id, ascending */
    size_t count, cap;
    struct peri__deploys deploys;
};

static uint64_t hash_name(struct peri_str name)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * UINT64_C(1099511628211);
    return hash ? hash : 1;
}

static struct record *record_of(const struct peri_engine *engine, uint64_t id)
{
    return peri__idmap_get(&engine->functions->by_id, id);
}

static size_t position(const struct peri__functions *all, uint64_t id)
{
    size_t low = 0, high = all->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (all->sorted[middle]->function->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_name(struct peri__functions *all, struct record *record)
{
    if (!record->function->external_id)
        return;
    record->name_hash = hash_name(peri_str_from(record->function->external_id));
    record->same_hash = peri__idmap_get(&all->by_name, record->name_hash);
    peri__idmap_put(&all->by_name, record->name_hash, record);
}

static void remove_name(struct peri__functions *all, struct record *record)
{
    if (!record->name_hash)
        return;
    struct record *first = peri__idmap_get(&all->by_name, record->name_hash);
    if (first == record) {
        if (record->same_hash)
            peri__idmap_put(&all->by_name, record->name_hash, record->same_hash);
        else
            peri__idmap_remove(&all->by_name, record->name_hash);
    }
    for (; first; first = first->same_hash)
        if (first->same_hash == record)
            first->same_hash = record->same_hash;
    record->name_hash = 0;
    record->same_hash = NULL;
}

struct peri_function *peri__functions_find(const struct peri_engine *engine, uint64_t id)
{
    struct record *record = record_of(engine, id);
    return record ? record->function : NULL;
}

struct peri_function *peri__functions_named(const struct peri_engine *engine, struct peri_str external_id)
{
    struct record *record = peri__idmap_get(&engine->functions->by_name, hash_name(external_id));
    while (record && !peri_str_equal(peri_str_from(record->function->external_id), external_id))
        record = record->same_hash;
    return record ? record->function : NULL;
}

static struct record *new_record(struct peri__functions *all, struct peri_function *function)
{
    if (all->count == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 16;
        struct record **bigger = realloc(all->sorted, cap * sizeof(struct record *));
        if (!bigger)
            return NULL;
        all->sorted = bigger;
        all->cap = cap;
    }
    struct record *record = calloc(1, sizeof *record);
    if (!record || peri__idmap_put(&all->by_id, function->id, record) != PERI_OK) {
        free(record);
        return NULL;
    }
    size_t at = position(all, function->id);
    memmove(all->sorted + at + 1, all->sorted + at, (all->count - at) * sizeof(struct record *));
    all->sorted[at] = record;
    record->function = function;
    all->count++;
    return record;
}

void peri__functions_insert(struct peri_engine *engine, struct peri_function *function)
{
    struct peri__functions *all = engine->functions;
    struct record *record = record_of(engine, function->id);
    if (record && engine->dispatch)
        peri__dispatch_limit(engine->dispatch, function->id, function->concurrency);
    if (record) {
        struct peri_function *old = record->function;
        if (function->last_called_ms < old->last_called_ms)
            function->last_called_ms = old->last_called_ms;
        remove_name(all, record);
        record->function = function;
        peri_function_unref(old);
    } else if (!(record = new_record(all, function))) {
        peri_function_unref(function);
        return;
    }
    add_name(all, record);
}

void peri__functions_remove(struct peri_engine *engine, uint64_t id)
{
    struct peri__functions *all = engine->functions;
    struct record *record = record_of(engine, id);
    if (!record)
        return;
    size_t at = position(all, id);
    memmove(all->sorted + at, all->sorted + at + 1, (all->count - at - 1) * sizeof(struct record *));
    all->count--;
    remove_name(all, record);
    peri__idmap_remove(&all->by_id, id);
    peri_function_unref(record->function);
    free(record);
}

size_t peri__functions_count(const struct peri_engine *engine)
{
    return engine->functions->count;
}

struct peri__deploys *peri__functions_deploys(const struct peri_engine *engine)
{
    return &engine->functions->deploys;
}

struct peri_function *peri_engine_function(struct peri_engine *engine, uint64_t id)
{
    struct peri_function *function = peri__functions_find(engine, id);
    return function ? peri_function_ref(function) : NULL;
}

struct peri_function *peri_engine_function_by_name(struct peri_engine *engine, struct peri_str external_id)
{
    struct peri_function *function = peri__functions_named(engine, external_id);
    return function ? peri_function_ref(function) : NULL;
}

void peri_engine_each_function(struct peri_engine *engine, bool (*fn)(void *data, struct peri_function *function),
                               void *data)
{
    for (size_t i = engine->functions->count; i-- > 0;)
        if (!fn(data, engine->functions->sorted[i]->function))
            return;
}

/* ---- when they were called ---- */

void peri__functions_called(struct peri_engine *engine, uint64_t function_id, int64_t at_ms)
{
    struct record *record = record_of(engine, function_id);
    if (!record)
        return;
    record->function->last_called_ms = at_ms;
    record->called = true;
}

static void ignore(void *data, struct peri_write *write, const struct peri_error *err)
{
    (void)data;
    (void)write;
    (void)err;
}

void peri__functions_tick(struct peri_engine *engine)
{
    struct peri__functions *all = engine->functions;
    for (size_t i = 0; i < all->count; i++) {
        struct record *record = all->sorted[i];
        if (!record->called)
            continue;
        record->called = false;
        struct peri_write write = { .kind = PERI_WRITE_FUNCTION_CALLED,
                                    .lazy = true,
                                    .id = record->function->id,
                                    .at_ms = record->function->last_called_ms,
                                    .done = ignore };
        peri__engine_write(engine, &write);
    }
}

/* ---- deleting ---- */

struct deletion {
    struct peri_engine *engine;
    struct peri_function *function; /* NULL: there was none */
    void (*done)(void *data, const struct peri_error *err);
    void *data;
    char (*hashes)[65];
    size_t count;
    struct peri_error err;
};

static void note_hash(void *data, const char *hash)
{
    struct deletion *deletion = data;
    char(*bigger)[65] = realloc(deletion->hashes, (deletion->count + 1) * sizeof *bigger);
    if (!bigger)
        return;
    deletion->hashes = bigger;
    memcpy(bigger[deletion->count++], hash, 65);
}

static void drop_hash(void *data, const char *hash)
{
    struct deletion *deletion = data;
    for (size_t i = 0; i < deletion->count; i++)
        if (!strcmp(deletion->hashes[i], hash))
            deletion->hashes[i][0] = '\0';
}

/* Removes the packages that only the deleted function needed. */
static void remove_packages(struct deletion *deletion)
{
    struct peri_engine *engine = deletion->engine;
    if (engine->store->kind->packages(engine->store, 0, drop_hash, deletion, NULL) != PERI_OK)
        return;
    for (size_t i = 0; i < deletion->count; i++) {
        const char *hash = deletion->hashes[i];
        if (!hash[0] || peri__deploy_uses(engine, hash))
            continue;
        char name[80];
        memcpy(name, hash, 64);
        memcpy(name + 64, ".zip", 5);
        char *path = peri__datadir_path(&engine->dir, "packages", name);
        if (path)
            remove(path);
        free(path);
    }
}

static void free_deletion(void *data)
{
    struct deletion *deletion = data;
    peri_function_unref(deletion->function);
    free(deletion->hashes);
    free(deletion);
}

static void finish_deletion(void *data)
{
    struct deletion *deletion = data;
    if (deletion->done)
        deletion->done(deletion->data, deletion->err.code ? &deletion->err : NULL);
    free_deletion(deletion);
}

static void on_deleted(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct deletion *deletion = data;
    struct peri_engine *engine = deletion->engine;
    (void)write;
    if (engine->closing) {
        free_deletion(deletion);
        return;
    }
    if (err) {
        deletion->err = *err;
        peri__functions_insert(engine, peri_function_ref(deletion->function));
    } else {
        peri__schedules_function_deleted(engine, deletion->function->id);
        peri__calls_function_deleted(engine, deletion->function->id);
        peri__dispatch_retire(engine->dispatch, deletion->function->version_id);
        remove_packages(deletion);
    }
    finish_deletion(deletion);
    peri__engine_settled(engine);
}

void peri_engine_delete(struct peri_engine *engine, uint64_t function_id,
                        void (*done)(void *data, const struct peri_error *err), void *data)
{
    struct deletion *deletion = calloc(1, sizeof *deletion);
    if (!deletion)
        return;
    *deletion = (struct deletion){ .engine = engine, .done = done, .data = data };
    deletion->function = peri_engine_function(engine, function_id);
    if (!deletion->function) {
        peri_error_set(&deletion->err, PERI_NOT_FOUND, "there is no function %llu", (unsigned long long)function_id);
        if (peri__turn_later(engine->turn, finish_deletion, free_deletion, deletion) != PERI_OK)
            free_deletion(deletion);
        return;
    }
    engine->store->kind->packages(engine->store, function_id, note_hash, deletion, NULL);
    peri__deploy_forget(engine, function_id);
    peri__functions_remove(engine, function_id); /* its name is free from now on; put back if the store fails */
    struct peri_write write = { .kind = PERI_WRITE_FUNCTION_DELETE,
                                .id = function_id,
                                .at_ms = peri__engine_now(engine),
                                .done = on_deleted,
                                .data = deletion };
    peri__engine_write(engine, &write);
}

/* ---- beginning and end ---- */

struct pending {
    struct peri_function **functions;
    size_t count;
    struct peri_engine *engine;
};

static void take_function(void *data, struct peri_function *function, bool pending)
{
    struct pending *all = data;
    bool again = pending || function->status == PERI_FN_QUEUED || function->status == PERI_FN_DEPLOYING;
    if (again) {
        struct peri_function **bigger = realloc(all->functions, (all->count + 1) * sizeof(struct peri_function *));
        if (bigger) {
            all->functions = bigger;
            all->functions[all->count++] = peri_function_ref(function);
        }
    }
    if (pending)
        peri_function_unref(function);
    else
        peri__functions_insert(all->engine, function);
}

enum peri_code peri__functions_new(struct peri_engine *engine, struct peri_error *err)
{
    engine->functions = calloc(1, sizeof *engine->functions);
    if (!engine->functions)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    struct pending all = { .engine = engine };
    enum peri_code code = engine->store->kind->functions(engine->store, take_function, &all, err);
    for (size_t i = 0; i < all.count; i++)
        peri__deploy_resume(engine, all.functions[i]);
    free(all.functions);
    return code;
}

void peri__functions_free(struct peri_engine *engine)
{
    struct peri__functions *all = engine->functions;
    if (!all)
        return;
    peri__deploys_free(&all->deploys);
    while (all->count)
        peri__functions_remove(engine, all->sorted[0]->function->id);
    free(all->sorted);
    peri__idmap_fini(&all->by_id);
    peri__idmap_fini(&all->by_name);
    free(all);
    engine->functions = NULL;
}
