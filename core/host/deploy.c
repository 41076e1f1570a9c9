/* SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/functions.h"
#include "host/package.h"
#include "perilune/json.h"

/* One deployment: the package is checked and stored on the thread pool, its record is made durable, a sandbox compiles
 * and runs it, the outcome is made durable, and only then the registry changes. Deployments of one name follow each
 * other. */
struct peri__deploying {
    struct peri__task task; /* first */
    struct peri__deploying *next;
    struct peri_function *successor;   /* what the function is to be */
    char *source;                      /* the zip; NULL when it is in packages/ already */
    bool replace, wait, told, waiting; /* waiting: for an earlier one of the same name */
    bool beside;                       /* a version is in service meanwhile */
    bool deleted;                      /* the function was deleted on the way */
    peri_function_fn done;
    void *data;
    struct peri_error err;
    char *trace;
};

static struct peri_engine *engine_of(const struct peri__deploying *deploying)
{
    return deploying->task.engine;
}

static void free_deploying(struct peri__deploying *deploying)
{
    peri_function_unref(deploying->successor);
    free(deploying->source);
    free(deploying->trace);
    free(deploying);
}

static void begin(struct peri__deploying *deploying);

static bool same_name(const struct peri_function *a, const struct peri_function *b)
{
    return a->external_id && b->external_id && !strcmp(a->external_id, b->external_id);
}

static void tell(struct peri__deploying *deploying, struct peri_function *function, const struct peri_error *err)
{
    if (deploying->told)
        return;
    deploying->told = true;
    if (deploying->done)
        deploying->done(deploying->data, function, err);
}

/* Tells the outcome, goes, and lets the next one of the same name begin. */
static void finish(struct peri__deploying *deploying, struct peri_function *function)
{
    struct peri_engine *engine = engine_of(deploying);
    struct peri__deploying **at = &peri__functions_deploys(engine)->first;
    while (*at != deploying)
        at = &(*at)->next;
    *at = deploying->next;
    tell(deploying, function, function ? NULL : &deploying->err);
    for (struct peri__deploying *other = *at; other; other = other->next)
        if (other->waiting && same_name(other->successor, deploying->successor)) {
            other->waiting = false;
            begin(other);
            break;
        }
    free_deploying(deploying);
    peri__engine_settled(engine);
}

static void fail(struct peri__deploying *deploying, const struct peri_error *err)
{
    if (err)
        deploying->err = *err;
    finish(deploying, NULL);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : !a && !b;
}

static bool unchanged(const struct peri_function *a, const struct peri_function *b)
{
    return a->status == PERI_FN_READY && !a->error_message && !strcmp(a->code_hash, b->code_hash) &&
           same_text(a->external_id, b->external_id) && same_text(a->name, b->name) &&
           same_text(a->description, b->description) && same_text(a->owner, b->owner) &&
           same_text(a->metadata, b->metadata) && same_text(a->env, b->env) && same_text(a->secrets, b->secrets) &&
           same_text(a->runtime, b->runtime) && same_text(a->entry, b->entry) && a->timeout_ms == b->timeout_ms &&
           a->memory_limit == b->memory_limit && a->concurrency == b->concurrency && a->attempts == b->attempts &&
           (int64_t)(a->cpu * 1000) == (int64_t)(b->cpu * 1000) &&
           (int64_t)(a->memory_gb * 1000) == (int64_t)(b->memory_gb * 1000);
}

/* ---- the outcome ---- */

static void set_status(struct peri__deploying *deploying, enum peri_function_status status)
{
    struct peri_function *copy = peri_function_copy(deploying->successor);
    if (!copy)
        return;
    copy->status = status;
    copy->updated_ms = peri__engine_now(engine_of(deploying));
    peri_function_unref(deploying->successor);
    deploying->successor = copy;
}

static void on_version_stored(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__deploying *deploying = data;
    struct peri_engine *engine = engine_of(deploying);
    (void)write;
    if (engine->closing)
        return;
    if (err || deploying->deleted) {
        if (!err)
            peri_error_set(&deploying->err, PERI_CONFLICT, "the function was deleted while it was deployed");
        fail(deploying, err);
        return;
    }
    struct peri_function *old = peri__functions_find(engine, deploying->successor->id);
    uint64_t old_version = old && deploying->beside ? old->version_id : 0;
    peri__functions_insert(engine, peri_function_ref(deploying->successor));
    if (old_version)
        peri__dispatch_retire(engine->dispatch, old_version);
    finish(deploying, deploying->successor);
}

static void on_failure_stored(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__deploying *deploying = data;
    struct peri_engine *engine = engine_of(deploying);
    struct peri_function *shown = (struct peri_function *)(uintptr_t)write->function;
    if (err)
        peri_log(PERI_LOG_ERROR, "the failure of a deployment is not stored: %s", err->message);
    if (engine->closing || deploying->deleted)
        peri_function_unref(shown);
    else
        peri__functions_insert(engine, shown);
    if (!engine->closing)
        fail(deploying, NULL);
}

/* The function as it looks after its version failed: in service with a note, or Failed. */
static void store_failure(struct peri__deploying *deploying)
{
    struct peri_engine *engine = engine_of(deploying);
    const struct peri_function *now =
        deploying->beside ? peri__functions_find(engine, deploying->successor->id) : deploying->successor;
    struct peri_function *shown = now && !deploying->deleted ? peri_function_copy(now) : NULL;
    if (!shown) {
        fail(deploying, NULL);
        return;
    }
    if (!deploying->beside)
        shown->status = PERI_FN_FAILED;
    shown->updated_ms = peri__engine_now(engine);
    free(shown->error_message);
    free(shown->error_trace);
    shown->error_message = strdup(deploying->err.message);
    shown->error_trace = deploying->trace ? strdup(deploying->trace) : NULL;
    struct peri_write write = {
        .kind = PERI_WRITE_VERSION_FAILED, .function = shown, .done = on_failure_stored, .data = deploying
    };
    peri__engine_write(engine, &write);
}

static void on_checked(void *data, enum peri_code code, struct peri_str detail)
{
    struct peri__deploying *deploying = data;
    if (deploying->deleted) {
        peri_error_set(&deploying->err, PERI_CONFLICT, "the function was deleted while it was deployed");
        fail(deploying, NULL);
        return;
    }
    if (code == PERI_OK) {
        set_status(deploying, PERI_FN_READY);
        struct peri_write write = {
            .kind = PERI_WRITE_VERSION, .function = deploying->successor, .done = on_version_stored, .data = deploying
        };
        peri__engine_write(engine_of(deploying), &write);
        return;
    }
    json_t *told = peri_json_parse(detail, NULL);
    const char *message = json_string_value(json_object_get(told, "message"));
    const char *trace = json_string_value(json_object_get(told, "trace"));
    peri_error_set(&deploying->err, code == PERI_SANDBOX_LOST ? PERI_PACKAGE : code, "%.*s",
                   message ? (int)strlen(message) : (int)detail.len, message ? message : detail.data);
    deploying->trace = trace ? strdup(trace) : NULL;
    json_decref(told);
    store_failure(deploying);
}

/* ---- on the way ---- */

static void on_stored(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__deploying *deploying = data;
    struct peri_engine *engine = engine_of(deploying);
    (void)write;
    if (engine->closing)
        return;
    if (err || deploying->deleted) {
        fail(deploying, err);
        return;
    }
    if (!deploying->beside)
        peri__functions_insert(engine, peri_function_ref(deploying->successor));
    if (!deploying->wait)
        tell(deploying, deploying->successor, NULL);
    set_status(deploying, PERI_FN_DEPLOYING);
    if (!deploying->beside)
        peri__functions_insert(engine, peri_function_ref(deploying->successor));
    if (deploying->err.code)
        store_failure(deploying);
    else
        peri__dispatch_check(engine->dispatch, deploying->successor, on_checked, deploying);
}

static void store_successor(struct peri__deploying *deploying, struct peri_function *current)
{
    struct peri_engine *engine = engine_of(deploying);
    struct peri_function *successor = deploying->successor;
    int64_t now = peri__engine_now(engine);
    successor->id = current ? current->id : peri__engine_next_id(engine);
    successor->created_ms = current ? current->created_ms : now;
    successor->updated_ms = now;
    successor->last_called_ms = current ? current->last_called_ms : 0;
    successor->version = current ? current->version + 1 : 1;
    successor->version_id = peri__engine_next_id(engine);
    successor->status = PERI_FN_QUEUED;
    deploying->beside = current && current->status == PERI_FN_READY;
    struct peri_write write = { .kind = PERI_WRITE_FUNCTION,
                                .function = successor,
                                .pending = deploying->beside,
                                .done = on_stored,
                                .data = deploying };
    peri__engine_write(engine, &write);
}

static enum peri_code name_is_free(struct peri__deploying *deploying, struct peri_function **current)
{
    const char *name = deploying->successor->external_id;
    *current = name ? peri__functions_named(engine_of(deploying), peri_str_from(name)) : NULL;
    if (*current && !deploying->replace)
        return peri_error_set(&deploying->err, PERI_CONFLICT, "there is a function '%s' already", name);
    return PERI_OK;
}

static void packaged(struct peri__task *task)
{
    struct peri__deploying *deploying = (struct peri__deploying *)task;
    struct peri_function *current = NULL;
    /* Who does not wait for the outcome gets a function that says why it failed. */
    bool told_later = deploying->err.code == PERI_PACKAGE && !deploying->wait;
    if ((deploying->err.code && !told_later) || name_is_free(deploying, &current) != PERI_OK ||
        (told_later && current)) {
        fail(deploying, NULL);
    } else if (current && unchanged(current, deploying->successor)) {
        peri_function_ref(current);
        finish(deploying, current);
        peri_function_unref(current);
    } else {
        store_successor(deploying, current);
    }
}

/* On the thread pool. */
static void package(struct peri__task *task)
{
    struct peri__deploying *deploying = (struct peri__deploying *)task;
    struct peri_function *successor = deploying->successor;
    struct peri__package_limits limits = { .total = task->engine->options.package_limit };
    if (deploying->err.code)
        return;
    /* The hash first: a version that fails for its package is stored too, and every stored version has one. */
    enum peri_code code = PERI_OK;
    if (!successor->code_hash[0])
        code = peri__package_hash(deploying->source, successor->code_hash, &successor->code_size, &deploying->err);
    if (!code)
        code = peri__package_check(deploying->source, successor->entry, &limits, &deploying->err);
    if (code)
        return;
    char name[80];
    memcpy(name, successor->code_hash, 64);
    memcpy(name + 64, ".zip", 5);
    peri__datadir_place(&task->engine->dir, deploying->source, "packages", name, &deploying->err);
}

static void drop(struct peri__task *task)
{
    free_deploying((struct peri__deploying *)task);
}

static void begin(struct peri__deploying *deploying)
{
    struct peri_function *current = NULL;
    name_is_free(deploying, &current);
    deploying->task.work = package;
    deploying->task.done = packaged;
    deploying->task.drop = drop;
    peri__task_start(engine_of(deploying), &deploying->task);
}

static struct peri__deploying *add(struct peri_engine *engine, struct peri_function *successor)
{
    struct peri__deploying *deploying = calloc(1, sizeof *deploying);
    if (!deploying) {
        peri_function_unref(successor);
        return NULL;
    }
    deploying->task.engine = engine;
    deploying->successor = successor;
    struct peri__deploying **at = &peri__functions_deploys(engine)->first;
    for (; *at; at = &(*at)->next)
        if (same_name((*at)->successor, successor))
            deploying->waiting = true;
    *at = deploying;
    return deploying;
}

void peri_engine_deploy(struct peri_engine *engine, const struct peri_deploy *deploy, peri_function_fn done, void *data)
{
    struct peri_function *successor = peri_function_copy(deploy->spec);
    struct peri__deploying *deploying = successor ? add(engine, successor) : NULL;
    if (!deploying)
        return;
    deploying->source = strdup(deploy->package_path);
    deploying->replace = deploy->replace;
    deploying->wait = deploy->wait;
    deploying->done = done;
    deploying->data = data;
    free(successor->error_message);
    free(successor->error_trace);
    successor->error_message = successor->error_trace = NULL;
    successor->code_hash[0] = '\0';
    if (!successor->entry)
        successor->entry = strdup("handler.lua");
    if (engine->draining)
        peri_error_set(&deploying->err, PERI_UNAVAILABLE, "the host is about to end");
    else if (!deploying->source || !successor->entry)
        peri_error_set(&deploying->err, PERI_NOMEM, "out of memory");
    if (!deploying->waiting)
        begin(deploying);
}

void peri__deploy_resume(struct peri_engine *engine, struct peri_function *successor)
{
    struct peri__deploying *deploying = add(engine, successor);
    if (!deploying)
        return;
    deploying->waiting = true; /* until peri__functions_resume */
    deploying->replace = deploying->told = true;
}

void peri__functions_resume(struct peri_engine *engine)
{
    for (struct peri__deploying *one = peri__functions_deploys(engine)->first; one; one = one->next) {
        const struct peri_function *current = peri__functions_find(engine, one->successor->id);
        one->waiting = false;
        one->beside = current && current->status == PERI_FN_READY;
        peri__dispatch_check(engine->dispatch, one->successor, on_checked, one);
    }
}

bool peri__deploy_uses(const struct peri_engine *engine, const char *hash)
{
    for (const struct peri__deploying *one = peri__functions_deploys(engine)->first; one; one = one->next)
        if (one->task.running || !strcmp(one->successor->code_hash, hash))
            return true; /* which package one on the thread pool is about is not known yet */
    return false;
}

void peri__deploy_forget(struct peri_engine *engine, uint64_t function_id)
{
    for (struct peri__deploying *one = peri__functions_deploys(engine)->first; one; one = one->next)
        if (one->successor->id == function_id)
            one->deleted = true;
}

void peri__deploys_free(struct peri__deploys *deploys)
{
    for (struct peri__deploying *one = deploys->first, *next; one; one = next) {
        next = one->next;
        /* One on the thread pool goes when it comes back. */
        if (!one->task.running)
            free_deploying(one);
    }
    deploys->first = NULL;
}
