/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_PARTS_H
#define CORE_HOST_PARTS_H

#include <uv.h>

#include "host/datadir.h"
#include "host/dispatch.h"
#include "host/engine.h"
#include "host/secrets.h"
#include "host/store.h"
#include "host/tokens.h"
#include "host/turn.h"

/* What the engine is made of; its files see each other through this. */
struct peri__blobs;
struct peri__calls;
struct peri__functions;
struct peri__uploads;
struct peri__schedules;

struct peri_engine {
    struct peri_loop *loop;
    uv_loop_t *uv;
    struct peri_engine_options options; /* with defaults filled in; strings are the engine's own */
    char *sandbox_path;
    struct peri__datadir dir;
    struct peri_store *store;
    struct peri__secrets secrets;
    struct peri__turn *turn;
    struct peri__dispatch *dispatch;
    struct peri__functions *functions;
    struct peri__calls *calls;
    struct peri__tokens tokens;
    struct peri__blobs *blobs;
    struct peri__uploads *uploads;
    struct peri__schedules *schedules;
    uint64_t last_id;
    struct peri__task *tasks; /* on the thread pool */
    bool closing;             /* being freed: no callback any more */
    bool draining;
    void (*drained)(void *data);
    void *drained_data;
    uv_timer_t *grace;
    bool grace_over, clean_asked;
};

int64_t peri__engine_now(const struct peri_engine *engine); /* wall ms */
uint64_t peri__engine_next_id(struct peri_engine *engine);
/* Something that a drain may wait for has ended. */
void peri__engine_settled(struct peri_engine *engine);
/* Hands a write to the store. The write is copied; done gets the copy and must not free it. */
void peri__engine_write(struct peri_engine *engine, const struct peri_write *write);

/* Runs work on the thread pool, then done on the loop's thread, or drop when the engine was freed meanwhile. */
struct peri__task {
    uv_work_t uv;
    struct peri_engine *engine;
    void (*work)(struct peri__task *task);
    void (*done)(struct peri__task *task);
    void (*drop)(struct peri__task *task);
    bool running;
    _Atomic bool worked;
    struct peri__task *next, *prev;
};
void peri__task_start(struct peri_engine *engine, struct peri__task *task);

/* functions.c */
enum peri_code peri__functions_new(struct peri_engine *engine, struct peri_error *err);
void peri__functions_free(struct peri_engine *engine);
void peri__functions_resume(struct peri_engine *engine); /* deploys what an earlier run left half done */
void peri__functions_called(struct peri_engine *engine, uint64_t function_id, int64_t at_ms);
void peri__functions_tick(struct peri_engine *engine);
size_t peri__functions_count(const struct peri_engine *engine);
/* Borrowed. */
struct peri_function *peri__functions_find(const struct peri_engine *engine, uint64_t id);
void peri__functions_insert(struct peri_engine *engine, struct peri_function *function); /* taken; replaces */
void peri__functions_remove(struct peri_engine *engine, uint64_t id);

/* deploy.c */
bool peri__deploy_uses(const struct peri_engine *engine, const char *hash);
void peri__deploy_resume(struct peri_engine *engine, struct peri_function *successor);
void peri__deploy_forget(struct peri_engine *engine, uint64_t function_id); /* the function is being deleted */

/* calls.c */
enum peri_code peri__calls_new(struct peri_engine *engine, struct peri_error *err);
void peri__calls_free(struct peri_engine *engine);
void peri__calls_recovered(void *engine, struct peri_call *call);
void peri__calls_tick(struct peri_engine *engine);
void peri__calls_due(struct peri_engine *engine); /* those whose time has come */
size_t peri__calls_waiting(const struct peri_engine *engine);
void peri__calls_function_deleted(struct peri_engine *engine, uint64_t function_id);
/* Draining: asynchronous calls that wait stay in the store for the next run. */
void peri__calls_park(struct peri_engine *engine);
/* The grace is over: synchronous calls end, asynchronous ones are put back. */
void peri__calls_stop(struct peri_engine *engine);
bool peri__calls_busy(const struct peri_engine *engine);
void peri__calls_dispatch_options(struct peri_engine *engine, struct peri__dispatch_options *options);

/* schedules.c: loaded first, so that calls of an earlier run find theirs; started last. */
enum peri_code peri__schedules_new(struct peri_engine *engine, struct peri_error *err);
void peri__schedules_free(struct peri_engine *engine);
void peri__schedules_start(struct peri_engine *engine);
void peri__schedules_stop(struct peri_engine *engine); /* draining: what is due now is for the next run */
void peri__schedules_tick(struct peri_engine *engine);
void peri__schedules_deleted(struct peri_engine *engine, uint64_t id);
void peri__schedules_function_deleted(struct peri_engine *engine, uint64_t function_id);

/* ticks.c */
void peri__ticks_call_ended(struct peri_engine *engine, uint64_t schedule_id);
/* true: it waits for an earlier one of its schedule. */
bool peri__ticks_call_recovered(struct peri_engine *engine, uint64_t schedule_id);

#endif
