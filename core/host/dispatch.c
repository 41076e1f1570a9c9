/* SPDX-License-Identifier: MIT */
#include "host/dispatch.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "host/idmap.h"
#include "host/sandbox.h"

#define CALLS_A_SANDBOX 512
#define VERSIONS_A_SANDBOX 512
#define UNSENT_MAX ((size_t)32 << 20) /* bytes that wait for a sandbox to read: no further calls for it */
#define PACKAGE_MAX ((size_t)512 << 20)
#define CHECK_MS 30000 /* for a package's top level */
#define START_MS 20000
#define STABLE_MS 2000 /* a sandbox that lived shorter counts as failed at start */
#define BACKOFF_MAX_MS 5000

struct loaded {
    uint64_t version_id;
    unsigned calls;
    bool retired;
    uint64_t used; /* when last, by the dispatcher's count of starts */
};

struct peri__slot {
    struct peri__dispatch *dispatch;
    struct peri__sandbox *sandbox; /* NULL: about to be started again */
    struct peri__idmap versions;   /* loaded */
    unsigned calls;
    unsigned failures; /* starts in a row that went wrong */
    bool greeted;      /* the one that runs now has said hello */
    int64_t started, started_wall;
    uv_timer_t *again;
};

struct check {
    struct peri_function *function;
    struct peri__slot *slot; /* NULL: waits for one */
    unsigned attempts;
    void (*done)(void *data, enum peri_code code, struct peri_str detail);
    void *data;
    struct check *next;
};

struct peri__dispatch {
    struct peri__dispatch_options options;
    struct peri__slot *slots;
    unsigned count, turn;
    struct peri__queue queue;
    struct check *checks;
    size_t running;
    uint64_t starts;
    bool closing;
    char *service_url;
};

static enum peri_code start_sandbox(struct peri__slot *slot, struct peri_error *err);

/* ---- versions in a sandbox ---- */

static struct loaded *loaded_in(const struct peri__slot *slot, uint64_t version_id)
{
    return peri__idmap_get(&slot->versions, version_id);
}

static void forget_version(struct peri__slot *slot, uint64_t version_id)
{
    free(peri__idmap_remove(&slot->versions, version_id));
}

static void unload(struct peri__slot *slot, uint64_t version_id)
{
    if (slot->sandbox) {
        struct peri_runtime *runtime = peri__sandbox_runtime(slot->sandbox);
        runtime->kind->unload(runtime, version_id);
    }
    forget_version(slot, version_id);
}

static void unload_oldest(struct peri__slot *slot)
{
    const struct loaded *oldest = NULL;
    size_t at = 0;
    for (const struct loaded *one; (one = peri__idmap_next(&slot->versions, &at));)
        if (!one->calls && (!oldest || one->used < oldest->used))
            oldest = one;
    if (oldest)
        unload(slot, oldest->version_id);
}

static enum peri_code load(struct peri__slot *slot, const struct peri_function *function, bool check,
                           struct peri_error *err)
{
    char name[80];
    memcpy(name, function->code_hash, 64);
    memcpy(name + 64, ".zip", 5);
    char *path = peri__datadir_path(slot->dispatch->options.dir, "packages", name);
    struct peri_buf package;
    enum peri_code code =
        path ? peri__read_file(path, PACKAGE_MAX, &package, err) : peri_error_set(err, PERI_NOMEM, "out of memory");
    free(path);
    if (code)
        return code;
    if (slot->versions.count >= VERSIONS_A_SANDBOX)
        unload_oldest(slot);
    struct loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded || peri__idmap_put(&slot->versions, function->version_id, loaded) != PERI_OK) {
        free(loaded);
        peri_buf_fini(&package);
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    loaded->version_id = function->version_id;
    loaded->used = slot->dispatch->starts;
    struct peri_load load = {
        .version_id = function->version_id,
        .package = peri_buf_str(&package),
        .entry = peri_str_from(function->entry),
        .env = peri_str_from(function->env ? function->env : "{}"),
        .check = check,
        .timeout_ms = CHECK_MS,
        .memory_limit = function->memory_limit ? function->memory_limit : slot->dispatch->options.memory_limit,
    };
    struct peri_runtime *runtime = peri__sandbox_runtime(slot->sandbox);
    code = runtime->kind->load(runtime, &load, err);
    if (code)
        forget_version(slot, function->version_id);
    peri_buf_fini(&package);
    return code;
}

/* ---- what sandboxes say ---- */

static void release(struct peri__slot *slot, struct peri__job *job)
{
    struct loaded *loaded = loaded_in(slot, job->version_id);
    if (loaded && --loaded->calls == 0 && loaded->retired)
        unload(slot, job->version_id);
    slot->calls--;
    slot->dispatch->running--;
    job->slot = NULL;
    peri__queue_done(&slot->dispatch->queue, job);
    if (slot->dispatch->queue.count || slot->dispatch->checks)
        peri__turn_ask(slot->dispatch->options.turn);
}

static void on_loaded(void *data, uint64_t version_id, enum peri_code code, struct peri_str detail)
{
    struct peri__slot *slot = data;
    struct peri__dispatch *dispatch = slot->dispatch;
    if (code)
        forget_version(slot, version_id);
    for (struct check **at = &dispatch->checks; *at; at = &(*at)->next) {
        struct check *check = *at;
        if (check->slot != slot || check->function->version_id != version_id)
            continue;
        check->slot = NULL;
        if (code == PERI_SANDBOX_LOST && check->attempts < 2) {
            peri__turn_ask(dispatch->options.turn);
            return;
        }
        *at = check->next;
        check->done(check->data, code, detail);
        peri_function_unref(check->function);
        free(check);
        return;
    }
}

static void on_log(void *data, uint64_t call_id, int64_t wall_ms, enum peri_log_level level, struct peri_str line)
{
    struct peri__dispatch *dispatch = ((struct peri__slot *)data)->dispatch;
    struct peri__job *job = dispatch->options.find(dispatch->options.data, call_id);
    if (job && job->slot == data)
        dispatch->options.log(dispatch->options.data, job, wall_ms, level, line);
}

static void on_reply(void *data, uint64_t call_id, const struct peri_reply *reply)
{
    struct peri__slot *slot = data;
    struct peri__dispatch *dispatch = slot->dispatch;
    struct peri__job *job = dispatch->options.find(dispatch->options.data, call_id);
    if (!job || job->slot != slot)
        return;
    if (reply->code == PERI_NOT_FOUND)
        forget_version(slot, job->version_id); /* the sandbox does not have it: the next call brings it again */
    /* With its sandbox a handler is gone, and whatever it might still send. */
    if ((reply->token || job->token) && reply->code != PERI_SANDBOX_LOST)
        dispatch->options.token(dispatch->options.data, job, peri__sandbox_key(slot->sandbox));
    job->token = false;
    release(slot, job);
    dispatch->options.reply(dispatch->options.data, job, reply);
}

static void on_ready(void *owner)
{
    struct peri__slot *slot = owner;
    slot->greeted = true;
    peri__sandbox_start(slot->sandbox, slot->dispatch->service_url ? slot->dispatch->service_url : "");
    peri__turn_ask(slot->dispatch->options.turn);
}

static void on_blamed(void *owner, uint64_t call_id)
{
    struct peri__dispatch *dispatch = ((struct peri__slot *)owner)->dispatch;
    struct peri__job *job = dispatch->options.find(dispatch->options.data, call_id);
    if (job && job->slot == owner)
        dispatch->options.blamed(dispatch->options.data, job);
}

static void describe(void *owner, uint64_t call_id, char *out, size_t cap)
{
    struct peri__dispatch *dispatch = ((struct peri__slot *)owner)->dispatch;
    dispatch->options.describe(dispatch->options.data, call_id, out, cap);
}

static void drop_versions(struct peri__slot *slot)
{
    size_t at = 0;
    for (struct loaded *one; (one = peri__idmap_next(&slot->versions, &at));)
        free(one);
    peri__idmap_fini(&slot->versions);
}

static void start_or_wait(struct peri__slot *slot);

static void on_again(uv_timer_t *timer)
{
    start_or_wait(timer->data);
}

/* Starts a sandbox, at once unless the last ones failed at their start. */
static void start_or_wait(struct peri__slot *slot)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (slot->dispatch->closing || slot->sandbox || start_sandbox(slot, &err) == PERI_OK)
        return;
    peri_log(PERI_LOG_ERROR, "%s", err.message);
    slot->failures++;
    uv_timer_start(slot->again, on_again, BACKOFF_MAX_MS, 0);
}

static void on_ended(void *owner)
{
    struct peri__slot *slot = owner;
    struct peri_runtime *runtime = peri__sandbox_runtime(slot->sandbox);
    int64_t now = (int64_t)uv_now(slot->dispatch->options.uv);
    slot->failures = now - slot->started < STABLE_MS && !slot->greeted ? slot->failures + 1 : 0;
    slot->sandbox = NULL;
    drop_versions(slot);
    runtime->kind->free(runtime);
    if (slot->dispatch->closing)
        return;
    if (slot->failures < 2) {
        start_or_wait(slot);
        return;
    }
    unsigned shift = slot->failures < 8 ? slot->failures : 8;
    int64_t delay = INT64_C(50) << shift;
    uv_timer_start(slot->again, on_again, (uint64_t)(delay < BACKOFF_MAX_MS ? delay : BACKOFF_MAX_MS), 0);
}

static enum peri_code start_sandbox(struct peri__slot *slot, struct peri_error *err)
{
    const struct peri__dispatch_options *options = &slot->dispatch->options;
    char *tmp = peri__datadir_path(options->dir, "tmp", NULL);
    if (!tmp)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    struct peri__sandbox_options sandbox = {
        .uv = options->uv,
        .path = options->sandbox_path,
        .tmp_dir = tmp,
        .watchdog_ms = options->watchdog_ms,
        .start_ms = START_MS,
        .response_limit = options->response_limit,
        .events = { .data = slot, .loaded = on_loaded, .log = on_log, .reply = on_reply },
        .owner = slot,
        .ready = on_ready,
        .ended = on_ended,
        .blamed = on_blamed,
        .describe = describe,
    };
    enum peri_code code = peri__sandbox_new(&sandbox, &slot->sandbox, err);
    free(tmp);
    uv_timeval64_t wall;
    uv_gettimeofday(&wall);
    slot->greeted = false;
    slot->started = (int64_t)uv_now(options->uv);
    slot->started_wall = wall.tv_sec * 1000 + wall.tv_usec / 1000;
    return code;
}

/* ---- choosing ---- */

static bool has_room(const struct peri__slot *slot)
{
    return slot->sandbox && slot->calls < CALLS_A_SANDBOX && peri__sandbox_usable(slot->sandbox) &&
           peri__sandbox_unsent(slot->sandbox) < UNSENT_MAX;
}

/* The fewest calls; then the one that has the version; then the next in turn. */
static struct peri__slot *choose(struct peri__dispatch *dispatch, uint64_t version_id)
{
    struct peri__slot *best = NULL;
    bool best_loaded = false;
    for (unsigned i = 0; i < dispatch->count; i++) {
        struct peri__slot *slot = &dispatch->slots[(dispatch->turn + i) % dispatch->count];
        if (!has_room(slot) || (best && slot->calls > best->calls))
            continue;
        bool here = version_id && loaded_in(slot, version_id);
        if (!best || slot->calls < best->calls || (here && !best_loaded)) {
            best = slot;
            best_loaded = here;
        }
    }
    return best;
}

static void start_checks(struct peri__dispatch *dispatch)
{
    for (struct check *check = dispatch->checks, *next; check; check = next) {
        next = check->next;
        struct peri__slot *slot = check->slot ? NULL : choose(dispatch, 0);
        if (!slot)
            continue;
        struct peri_error err = PERI_ERROR_INIT;
        check->slot = slot;
        check->attempts++;
        enum peri_code code = load(slot, check->function, true, &err);
        if (code)
            on_loaded(slot, check->function->version_id, code, peri_str_from(err.message));
    }
}

/* The pass goes first: the owner may free the job. */
static void fail_job(struct peri__dispatch *dispatch, struct peri__job *job, const struct peri_error *err)
{
    peri__queue_done(&dispatch->queue, job);
    dispatch->options.failed(dispatch->options.data, job, err);
}

static void start_job(struct peri__dispatch *dispatch, struct peri__job *job)
{
    struct peri_invocation invocation = { 0 };
    const struct peri_function *function = NULL;
    if (!dispatch->options.start(dispatch->options.data, job, &invocation, &function))
        return;
    struct peri__slot *slot = choose(dispatch, function->version_id);
    struct peri_error err = PERI_ERROR_INIT;
    enum peri_code code = PERI_OK;
    struct loaded *loaded = slot ? loaded_in(slot, function->version_id) : NULL;
    if (!slot) {
        peri_error_set(&err, PERI_UNAVAILABLE, "no sandbox is free");
        fail_job(dispatch, job, &err);
        return;
    }
    if (!loaded) {
        code = load(slot, function, false, &err);
        loaded = loaded_in(slot, function->version_id);
    }
    struct peri_runtime *runtime = peri__sandbox_runtime(slot->sandbox);
    if (!code)
        code = runtime->kind->call(runtime, &invocation, &err);
    if (code) {
        fail_job(dispatch, job, &err);
        return;
    }
    loaded->calls++;
    loaded->used = ++dispatch->starts;
    job->version_id = function->version_id;
    job->slot = slot;
    slot->calls++;
    dispatch->running++;
    dispatch->turn = (unsigned)(slot - dispatch->slots) + 1;
}

void peri__dispatch_work(struct peri__dispatch *dispatch)
{
    start_checks(dispatch);
    while (peri__queue_ready(&dispatch->queue) && choose(dispatch, 0))
        start_job(dispatch, peri__queue_take(&dispatch->queue));
    for (unsigned i = 0; i < dispatch->count; i++)
        if (dispatch->slots[i].sandbox)
            peri__sandbox_flush(dispatch->slots[i].sandbox);
}

void peri__dispatch_submit(struct peri__dispatch *dispatch, struct peri__job *job, uint64_t function_id,
                           unsigned concurrency)
{
    job->queued_at = (int64_t)uv_now(dispatch->options.uv);
    peri__queue_push(&dispatch->queue, job, function_id, concurrency);
    peri__turn_ask(dispatch->options.turn);
}

void peri__dispatch_limit(struct peri__dispatch *dispatch, uint64_t function_id, unsigned concurrency)
{
    peri__queue_limit(&dispatch->queue, function_id, concurrency);
    peri__turn_ask(dispatch->options.turn);
}

void peri__dispatch_drop(struct peri__dispatch *dispatch, struct peri__job *job)
{
    peri__queue_done(&dispatch->queue, job);
}

void peri__dispatch_cancel(struct peri__dispatch *dispatch, struct peri__job *job)
{
    peri__queue_remove(&dispatch->queue, job);
    if (!job->slot || !job->slot->sandbox)
        return;
    struct peri_runtime *runtime = peri__sandbox_runtime(job->slot->sandbox);
    runtime->kind->cancel(runtime, job->call_id);
    peri__turn_ask(dispatch->options.turn);
}

void peri__dispatch_abandon(struct peri__dispatch *dispatch, struct peri__job *job)
{
    peri__dispatch_cancel(dispatch, job);
    if (job->slot)
        release(job->slot, job);
}

void peri__dispatch_check(struct peri__dispatch *dispatch, struct peri_function *function,
                          void (*done)(void *data, enum peri_code code, struct peri_str detail), void *data)
{
    struct check *check = calloc(1, sizeof *check);
    if (!check) {
        done(data, PERI_NOMEM, peri_str_from("out of memory"));
        return;
    }
    check->function = peri_function_ref(function);
    check->done = done;
    check->data = data;
    struct check **at = &dispatch->checks;
    while (*at)
        at = &(*at)->next;
    *at = check;
    peri__turn_ask(dispatch->options.turn);
}

void peri__dispatch_retire(struct peri__dispatch *dispatch, uint64_t version_id)
{
    for (unsigned i = 0; i < dispatch->count; i++) {
        struct loaded *loaded = loaded_in(&dispatch->slots[i], version_id);
        if (loaded && loaded->calls)
            loaded->retired = true;
        else if (loaded)
            unload(&dispatch->slots[i], version_id);
    }
    peri__turn_ask(dispatch->options.turn);
}

enum peri_code peri__dispatch_set_service(struct peri__dispatch *dispatch, const char *url)
{
    char *copy = strdup(url);
    if (!copy)
        return PERI_NOMEM;
    free(dispatch->service_url);
    dispatch->service_url = copy;
    for (unsigned i = 0; i < dispatch->count; i++)
        if (dispatch->slots[i].sandbox && peri__sandbox_usable(dispatch->slots[i].sandbox))
            peri__sandbox_start(dispatch->slots[i].sandbox, url);
    peri__turn_ask(dispatch->options.turn);
    return PERI_OK;
}

const unsigned char *peri__dispatch_key(const struct peri__job *job)
{
    return job->slot && job->slot->sandbox ? peri__sandbox_key(job->slot->sandbox) : NULL;
}

const struct peri__queue *peri__dispatch_queue(const struct peri__dispatch *dispatch)
{
    return &dispatch->queue;
}

size_t peri__dispatch_running(const struct peri__dispatch *dispatch)
{
    return dispatch->running;
}

size_t peri__dispatch_room(const struct peri__dispatch *dispatch)
{
    size_t room = 0;
    for (unsigned i = 0; i < dispatch->count; i++)
        if (has_room(&dispatch->slots[i]))
            room += CALLS_A_SANDBOX - dispatch->slots[i].calls;
    return room;
}

json_t *peri__dispatch_info(const struct peri__dispatch *dispatch)
{
    json_t *all = json_array();
    for (unsigned i = 0; i < dispatch->count; i++) {
        const struct peri__slot *slot = &dispatch->slots[i];
        if (slot->sandbox)
            json_array_append_new(all,
                                  json_pack("{s:i, s:b, s:i, s:I, s:I}", "pid", peri__sandbox_pid(slot->sandbox),
                                            "ready", peri__sandbox_usable(slot->sandbox), "calls", (int)slot->calls,
                                            "lua_bytes", (json_int_t)peri__sandbox_lua_bytes(slot->sandbox), "started",
                                            (json_int_t)slot->started_wall));
    }
    return all;
}

enum peri_code peri__dispatch_new(const struct peri__dispatch_options *options, struct peri__dispatch **out,
                                  struct peri_error *err)
{
    struct peri__dispatch *dispatch = calloc(1, sizeof *dispatch);
    *out = NULL;
    if (dispatch)
        dispatch->slots = calloc(options->sandboxes, sizeof *dispatch->slots);
    if (!dispatch || !dispatch->slots) {
        free(dispatch);
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    dispatch->options = *options;
    enum peri_code code = PERI_OK;
    for (; dispatch->count < options->sandboxes && !code; dispatch->count++) {
        struct peri__slot *slot = &dispatch->slots[dispatch->count];
        slot->dispatch = dispatch;
        slot->again = calloc(1, sizeof *slot->again);
        if (!slot->again) {
            code = peri_error_set(err, PERI_NOMEM, "out of memory");
            break;
        }
        uv_timer_init(options->uv, slot->again);
        slot->again->data = slot;
        code = start_sandbox(slot, err);
    }
    if (code) {
        peri__dispatch_free(dispatch);
        return code;
    }
    *out = dispatch;
    return PERI_OK;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

void peri__dispatch_free(struct peri__dispatch *dispatch)
{
    if (!dispatch)
        return;
    dispatch->closing = true;
    for (unsigned i = 0; i < dispatch->count; i++) {
        struct peri__slot *slot = &dispatch->slots[i];
        if (slot->sandbox) {
            struct peri_runtime *runtime = peri__sandbox_runtime(slot->sandbox);
            runtime->kind->free(runtime);
        }
        drop_versions(slot);
        uv_close((uv_handle_t *)slot->again, free_handle);
    }
    while (dispatch->checks) {
        struct check *next = dispatch->checks->next;
        peri_function_unref(dispatch->checks->function);
        free(dispatch->checks);
        dispatch->checks = next;
    }
    peri__queue_fini(&dispatch->queue);
    free(dispatch->slots);
    free(dispatch->service_url);
    free(dispatch);
}
