/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/blobs.h"
#include "host/parts.h"
#include "host/uploads.h"
#include "perilune/json.h"

#define ID_EPOCH_MS INT64_C(1735689600000) /* 2025-01-01 */

/* ---- what the parts share ---- */

int64_t peri__engine_now(const struct peri_engine *engine)
{
    return peri_clock_wall_ms(peri_loop_clock(engine->loop));
}

uint64_t peri__engine_next_id(struct peri_engine *engine)
{
    int64_t since = peri__engine_now(engine) - ID_EPOCH_MS;
    uint64_t id = since > 0 ? (uint64_t)since << 12 : 1;
    engine->last_id = id > engine->last_id ? id : engine->last_id + 1;
    return engine->last_id;
}

struct owned_write {
    struct peri_write write; /* first */
    void (*done)(void *data, struct peri_write *write, const struct peri_error *err);
    void *data;
};

static void on_written(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct owned_write *owned = data;
    owned->done(owned->data, write, err);
    free(owned);
}

static void out_of_memory(struct peri_engine *engine, const struct peri_write *write)
{
    (void)engine;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_write copy = *write;
    peri_error_set(&err, PERI_NOMEM, "out of memory");
    copy.done(copy.data, &copy, &err);
}

void peri__engine_write(struct peri_engine *engine, const struct peri_write *write)
{
    struct owned_write *owned = malloc(sizeof *owned);
    if (!owned) {
        out_of_memory(engine, write);
        return;
    }
    owned->write = *write;
    owned->done = write->done;
    owned->data = write->data;
    owned->write.done = on_written;
    owned->write.data = owned;
    engine->store->kind->write(engine->store, &owned->write);
}

static void on_work(uv_work_t *work)
{
    struct peri__task *task = (struct peri__task *)work;
    task->work(task);
    task->worked = true;
}

static void on_worked(uv_work_t *work, int status)
{
    struct peri__task *task = (struct peri__task *)work;
    struct peri_engine *engine = task->engine;
    (void)status;
    task->running = false;
    if (!engine) {
        task->drop(task);
        return;
    }
    if (task->prev)
        task->prev->next = task->next;
    else
        engine->tasks = task->next;
    if (task->next)
        task->next->prev = task->prev;
    task->done(task);
}

void peri__task_start(struct peri_engine *engine, struct peri__task *task)
{
    task->engine = engine;
    task->running = true;
    task->worked = false;
    task->prev = NULL;
    task->next = engine->tasks;
    if (engine->tasks)
        engine->tasks->prev = task;
    engine->tasks = task;
    uv_queue_work(engine->uv, &task->uv, on_work, on_worked);
}

/* Tasks that did not begin never will; the others are waited for, since they use the engine. */
static void abandon_tasks(struct peri_engine *engine)
{
    for (struct peri__task *task = engine->tasks; task; task = task->next) {
        if (uv_cancel((uv_req_t *)&task->uv) != 0)
            while (!task->worked)
                usleep(1000);
        task->engine = NULL;
    }
    engine->tasks = NULL;
}

/* ---- drain ---- */

static void on_drained(void *data)
{
    struct peri_engine *engine = data;
    void (*done)(void *) = engine->drained;
    engine->drained = NULL;
    if (done)
        done(engine->drained_data);
}

static void on_clean(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri_engine *engine = data;
    (void)write;
    if (err)
        peri_log(PERI_LOG_ERROR, "the store does not know that the host ended in order: %s", err->message);
    if (!engine->closing)
        peri__turn_later(engine->turn, on_drained, NULL, engine);
}

void peri__engine_settled(struct peri_engine *engine)
{
    if (!engine->draining || engine->clean_asked || !engine->drained || peri__calls_busy(engine) || engine->tasks)
        return;
    engine->clean_asked = true;
    struct peri_write write = { .kind = PERI_WRITE_CLEAN, .done = on_clean, .data = engine };
    peri__engine_write(engine, &write);
}

static void look_settled(void *data)
{
    peri__engine_settled(data);
}

static void on_grace(uv_timer_t *timer)
{
    struct peri_engine *engine = timer->data;
    engine->grace_over = true;
    peri__calls_stop(engine);
    peri__engine_settled(engine);
}

void peri_engine_drain(struct peri_engine *engine, int64_t grace_ms, void (*done)(void *data), void *data)
{
    if (engine->draining)
        return;
    engine->draining = true;
    engine->drained = done;
    engine->drained_data = data;
    peri__schedules_stop(engine);
    peri__calls_park(engine);
    uv_timer_start(engine->grace, on_grace, grace_ms > 0 ? (uint64_t)grace_ms : 0, 0);
    peri__turn_later(engine->turn, look_settled, NULL, engine);
}

/* ---- beginning ---- */

static void work(void *data)
{
    struct peri_engine *engine = data;
    peri__calls_due(engine);
    peri__dispatch_work(engine->dispatch);
    peri__engine_settled(engine);
}

static void tick(void *data)
{
    struct peri_engine *engine = data;
    peri__calls_tick(engine);
    peri__functions_tick(engine);
    peri__uploads_tick(engine->uploads);
    peri__schedules_tick(engine);
    peri__engine_settled(engine);
}

static void set_defaults(struct peri_engine_options *o)
{
    if (!o->sandboxes)
        o->sandboxes = uv_available_parallelism();
    if (o->timeout_ms <= 0)
        o->timeout_ms = 600000;
    if (!o->memory_limit)
        o->memory_limit = (uint64_t)256 << 20;
    if (o->watchdog_ms <= 0)
        o->watchdog_ms = 5000;
    if (!o->queue_limit)
        o->queue_limit = 100000;
    if (!o->max_attempts)
        o->max_attempts = 3;
    if (!o->package_limit)
        o->package_limit = (size_t)256 << 20;
    if (!o->response_limit)
        o->response_limit = (size_t)16 << 20;
    if (!o->log_limit)
        o->log_limit = (size_t)4 << 20;
    if (!o->keep_ms)
        o->keep_ms = INT64_C(90) * 24 * 3600 * 1000;
    if (!o->keep_calls)
        o->keep_calls = 1000000;
    if (o->chunk_size <= 0)
        o->chunk_size = INT64_C(64) << 20;
    if (o->lock_timeout_ms <= 0)
        o->lock_timeout_ms = 900000;
}

/* The program beside this one. */
static char *default_sandbox(void)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *path = NULL;
    if (n <= 0)
        return NULL;
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    return asprintf(&path, "%s/perilune-sandbox", self) < 0 ? NULL : path;
}

static enum peri_code open_store(struct peri_engine *engine, struct peri_error *err)
{
    char *path = peri__datadir_path(&engine->dir, NULL, "perilune.db");
    if (!path)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    struct peri_store_options options = {
        .uv = engine->uv,
        .path = path,
        .keep_ms = engine->options.keep_ms,
        .keep_calls = engine->options.keep_calls,
        .clock = peri_loop_clock(engine->loop),
    };
    enum peri_code code = peri_store_sqlite_new(&options, &engine->store, err);
    free(path);
    return code;
}

static enum peri_code open_secrets(struct peri_engine *engine, struct peri_error *err)
{
    char *path = peri__datadir_path(&engine->dir, NULL, "secrets.key");
    enum peri_code code =
        path ? peri__secrets_init(&engine->secrets, path, err) : peri_error_set(err, PERI_NOMEM, "out of memory");
    if (!code) /* before anything is sealed with it */
        code = peri__sync_path(engine->dir.root, O_RDONLY | O_DIRECTORY, err);
    free(path);
    return code;
}

enum peri_code peri_engine_seal(struct peri_engine *engine, const json_t *object, char **secrets, char **names,
                                struct peri_error *err)
{
    const char *name;
    json_t *value;
    json_t *masked = json_object();
    *names = NULL;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        json_object_set_new(masked, name, json_string("***"));
    }
    enum peri_code code = peri__secrets_seal(&engine->secrets, object, secrets, err);
    if (!code && !(*names = json_dumps(masked, JSON_COMPACT))) {
        free(*secrets);
        *secrets = NULL;
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    json_decref(masked);
    return code;
}

static enum peri_code start_dispatch(struct peri_engine *engine, struct peri_error *err)
{
    struct peri__dispatch_options options = {
        .uv = engine->uv,
        .turn = engine->turn,
        .dir = &engine->dir,
        .sandbox_path = engine->sandbox_path,
        .sandboxes = engine->options.sandboxes,
        .watchdog_ms = engine->options.watchdog_ms,
        .response_limit = engine->options.response_limit,
        .memory_limit = engine->options.memory_limit,
    };
    peri__calls_dispatch_options(engine, &options);
    return peri__dispatch_new(&options, &engine->dispatch, err);
}

struct kept {
    char (*names)[80];
    size_t count;
    bool failed;
};

static void keep_package(void *data, const char *hash)
{
    struct kept *kept = data;
    char(*bigger)[80] = realloc(kept->names, (kept->count + 1) * sizeof *bigger);
    if (!bigger) {
        kept->failed = true;
        return;
    }
    kept->names = bigger;
    snprintf(bigger[kept->count++], sizeof *bigger, "%s.zip", hash);
}

static void keep_file(void *data, const struct peri_file *file)
{
    struct kept *kept = data;
    char(*bigger)[80] = realloc(kept->names, (kept->count + 1) * sizeof *bigger);
    if (!bigger) {
        kept->failed = true;
        return;
    }
    kept->names = bigger;
    snprintf(bigger[kept->count++], sizeof *bigger, "%" PRIu64 "-%.16s", file->id, file->hash);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_kept(void *data, const char *name)
{
    const struct kept *kept = data;
    char key[80];
    snprintf(key, sizeof key, "%s", name);
    return bsearch(key, kept->names, kept->count, sizeof *kept->names, by_name) != NULL;
}

static void sweep(struct peri_engine *engine, const char *folder, struct kept *kept)
{
    if (kept->count)
        qsort(kept->names, kept->count, sizeof *kept->names, by_name);
    if (!kept->failed)
        peri__datadir_sweep(&engine->dir, folder, kept->count ? is_kept : NULL, kept);
    free(kept->names);
}

/* What crashes left lying about. */
static void remove_orphans(struct peri_engine *engine)
{
    struct kept packages = { 0 }, files = { 0 };
    const struct peri_store_kind *kind = engine->store->kind;
    packages.failed = kind->packages(engine->store, 0, keep_package, &packages, NULL) != PERI_OK;
    files.failed = kind->files(engine->store, keep_file, &files, NULL) != PERI_OK;
    sweep(engine, "packages", &packages);
    sweep(engine, "files", &files);
    peri__datadir_sweep(&engine->dir, "tmp", NULL, NULL);
}

static bool content_used(void *data, const char *hash)
{
    const struct peri_engine *engine = data;
    return engine->store->kind->content_used(engine->store, hash);
}

static enum peri_code start_access(struct peri_engine *engine, struct peri_error *err)
{
    struct peri__blobs_options options = { .dir = &engine->dir, .referenced = content_used, .data = engine };
    enum peri_code code = peri__blobs_new(&options, &engine->blobs, err);
    return code ? code : peri__uploads_new(engine, err);
}

static enum peri_code recover(struct peri_engine *engine, struct peri_error *err)
{
    struct peri_recovery recovery = {
        .max_attempts = engine->options.max_attempts,
        .lost_message = "the host ended while the call ran; given up after %u attempts",
        .now_ms = peri__engine_now(engine),
        .waiting = peri__calls_recovered,
        .data = engine,
    };
    enum peri_code code = engine->store->kind->recover(engine->store, &recovery, err);
    engine->last_id = recovery.max_id;
    if (recovery.failed)
        peri_log(PERI_LOG_WARN, "%u calls were given up: they ran whenever the host ended", recovery.failed);
    return code;
}

static enum peri_code build(struct peri_engine *engine, struct peri_error *err)
{
    enum peri_code code = peri__datadir_init(&engine->dir, engine->options.data_dir, err);
    if (code)
        return code;
    engine->options.data_dir = engine->dir.root;
    engine->sandbox_path = engine->options.sandbox_path ? strdup(engine->options.sandbox_path) : default_sandbox();
    engine->options.sandbox_path = engine->sandbox_path;
    engine->grace = calloc(1, sizeof *engine->grace);
    if (!engine->sandbox_path || !engine->grace)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    uv_timer_init(engine->uv, engine->grace);
    engine->grace->data = engine;
    code = open_store(engine, err);
    if (!code)
        code = open_secrets(engine, err);
    if (!code)
        code = peri__turn_new(engine->uv, work, tick, engine, &engine->turn, err);
    if (!code)
        remove_orphans(engine);
    if (!code)
        code = start_access(engine, err);
    if (!code)
        code = peri__calls_new(engine, err);
    if (!code)
        code = peri__functions_new(engine, err);
    if (!code)
        code = peri__schedules_new(engine, err);
    if (!code)
        code = start_dispatch(engine, err);
    if (!code)
        code = recover(engine, err);
    if (!code) {
        peri__functions_resume(engine);
        peri__schedules_start(engine);
    }
    return code;
}

enum peri_code peri_engine_new(struct peri_loop *loop, const struct peri_engine_options *options,
                               struct peri_engine **out, struct peri_error *err)
{
    *out = NULL;
    if (!options->data_dir || !options->data_dir[0])
        return peri_error_set(err, PERI_INVALID, "no data folder was given");
    struct peri_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    engine->loop = loop;
    engine->uv = peri_loop_uv(loop);
    engine->options = *options;
    engine->dir.lock = -1;
    set_defaults(&engine->options);
    enum peri_code code = build(engine, err);
    if (code) {
        peri_engine_free(engine);
        return code;
    }
    *out = engine;
    return PERI_OK;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

void peri_engine_free(struct peri_engine *engine)
{
    if (!engine)
        return;
    engine->closing = true;
    abandon_tasks(engine);
    peri__dispatch_free(engine->dispatch);
    if (engine->store)
        engine->store->kind->free(engine->store);
    peri__uploads_free(engine->uploads);
    peri__blobs_free(engine->blobs);
    if (engine->functions)
        peri__functions_free(engine);
    peri__schedules_free(engine);
    peri__calls_free(engine);
    peri__tokens_fini(&engine->tokens);
    peri__turn_free(engine->turn);
    if (engine->grace && engine->grace->data)
        uv_close((uv_handle_t *)engine->grace, free_handle);
    else
        free(engine->grace);
    peri__datadir_fini(&engine->dir);
    peri__secrets_fini(&engine->secrets);
    free(engine->sandbox_path);
    free(engine);
}

/* ---- information ---- */

char *peri_engine_info(struct peri_engine *engine)
{
    json_t *info = json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "sandboxes", peri__dispatch_info(engine->dispatch),
                             "calls_running", (json_int_t)peri__dispatch_running(engine->dispatch), "calls_waiting",
                             (json_int_t)peri__dispatch_queue(engine->dispatch)->count, "calls_delayed",
                             (json_int_t)(peri__calls_waiting(engine) - peri__dispatch_queue(engine->dispatch)->count),
                             "functions", (json_int_t)peri__functions_count(engine), "writes_waiting",
                             (json_int_t)engine->store->kind->backlog(engine->store));
    char *text = info ? json_dumps(info, JSON_COMPACT) : NULL;
    json_decref(info);
    return text;
}

enum peri_code peri_engine_set_service(struct peri_engine *engine, const char *url, struct peri_error *err)
{
    enum peri_code code = peri__dispatch_set_service(engine->dispatch, url);
    return code ? peri_error_set(err, code, "out of memory") : PERI_OK;
}

struct peri_loop *peri_engine_loop(struct peri_engine *engine)
{
    return engine->loop;
}

const struct peri_engine_options *peri_engine_settings(const struct peri_engine *engine)
{
    return &engine->options;
}
