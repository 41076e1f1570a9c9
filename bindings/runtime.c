/* SPDX-License-Identifier: MIT */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

#include "perilune/json.h"
#include "rt.h"

/* struct peri_runtime for Lua: versions by id, tasks by slot, and what the contract asks of them. */

#define RESPONSE_LIMIT (16u * 1024 * 1024)
#define FILE_LIMIT (16u * 1024 * 1024)

static struct rt_runtime *from_base(struct peri_runtime *base)
{
    return (struct rt_runtime *)base;
}

/* ---- versions ---- */

static struct rt_version **bucket(struct rt_runtime *rt, uint64_t id)
{
    return &rt->buckets[(id * UINT64_C(0x9E3779B97F4A7C15)) >> 32 & (rt->bucket_count - 1)];
}

static struct rt_version *find_version(struct rt_runtime *rt, uint64_t id)
{
    struct rt_version *version = *bucket(rt, id);
    while (version && version->id != id) {
        version = version->next;
    }
    return version;
}

/* When memory is out the chains stay long, which is only slow. */
static void grow_buckets(struct rt_runtime *rt)
{
    struct rt_version **before = rt->buckets;
    size_t count = rt->bucket_count;
    struct rt_version **buckets = calloc(count * 2, sizeof(struct rt_version *));
    if (!buckets) {
        return;
    }
    rt->buckets = buckets;
    rt->bucket_count = count * 2;
    for (size_t i = 0; i < count; i++) {
        for (struct rt_version *version = before[i], *next; version; version = next) {
            next = version->next;
            version->next = *bucket(rt, version->id);
            *bucket(rt, version->id) = version;
        }
    }
    free(before);
}

static void free_version(struct rt_version *version)
{
    if (version->state) {
        peri__state_retire(version->state);
    }
    free(version->package);
    free(version->entry);
    free(version->env);
    free(version);
}

static void unlink_from(struct rt_version **list, struct rt_version *version)
{
    while (*list && *list != version) {
        list = &(*list)->next;
    }
    if (*list) {
        *list = version->next;
    }
}

void peri__version_release(struct rt_version *version)
{
    version->tasks--;
    if (version->unloaded && version->tasks == 0) {
        unlink_from(&version->rt->unloaded, version);
        free_version(version);
    }
}

static char *copy(struct peri_str bytes)
{
    char *out = malloc(bytes.len + 1);
    if (out) {
        if (bytes.len) {
            memcpy(out, bytes.data, bytes.len);
        }
        out[bytes.len] = '\0';
    }
    return out;
}

static struct rt_version *new_version(struct rt_runtime *rt, const struct peri_load *load)
{
    struct rt_version *version = calloc(1, sizeof(*version));
    if (!version) {
        return NULL;
    }
    version->rt = rt;
    version->id = load->version_id;
    version->package = copy(load->package);
    version->package_len = load->package.len;
    version->entry = copy(load->entry);
    version->env = copy(load->env);
    version->env_len = load->env.len;
    version->timeout_ms = load->timeout_ms;
    version->memory_limit = load->memory_limit;
    if (!version->package || !version->entry || !version->env) {
        free_version(version);
        return NULL;
    }
    if (rt->version_count >= rt->bucket_count) {
        grow_buckets(rt);
    }
    version->next = *bucket(rt, version->id);
    *bucket(rt, version->id) = version;
    rt->version_count++;
    return version;
}

/* ---- tasks ---- */

static bool take_slot(struct rt_runtime *rt, struct rt_task *task)
{
    if (rt->free_slot_count == 0) {
        uint32_t count = rt->slot_count ? rt->slot_count * 2 : 64;
        void *slots = realloc(rt->slots, count * sizeof(*rt->slots));
        if (!slots) {
            return false;
        }
        rt->slots = slots;
        uint32_t *numbers = realloc(rt->free_slots, count * sizeof(*rt->free_slots));
        if (!numbers) {
            return false;
        }
        rt->free_slots = numbers;
        for (uint32_t i = count; i-- > rt->slot_count;) {
            rt->slots[i].task = NULL;
            rt->slots[i].generation = 1;
            rt->free_slots[rt->free_slot_count++] = i;
        }
        rt->slot_count = count;
    }
    task->slot = rt->free_slots[--rt->free_slot_count];
    task->generation = rt->slots[task->slot].generation;
    rt->slots[task->slot].task = task;
    return true;
}

void *peri__task_handle(const struct rt_task *task)
{
    return (void *)(uintptr_t)((uint64_t)task->generation << 32 | task->slot);
}

struct rt_task *peri__task_from_handle(struct rt_runtime *rt, void *handle)
{
    uint64_t number = (uintptr_t)handle;
    uint32_t slot = (uint32_t)number;
    if (slot >= rt->slot_count || rt->slots[slot].generation != number >> 32) {
        return NULL;
    }
    return rt->slots[slot].task;
}

struct rt_task *peri__task_new(struct rt_version *version, enum rt_kind kind, struct peri_str meta,
                               struct peri_str body)
{
    struct rt_runtime *rt = version->rt;
    struct rt_task *task = malloc(sizeof(*task) + meta.len + body.len);
    if (!task) {
        return NULL;
    }
    memset(task, 0, sizeof(*task));
    task->version = version;
    task->kind = kind;
    if (!take_slot(rt, task)) {
        free(task);
        return NULL;
    }
    if (meta.len) {
        memcpy(task->data, meta.data, meta.len);
    }
    if (body.len) {
        memcpy(task->data + meta.len, body.data, body.len);
    }
    task->meta = (struct peri_str){ task->data, meta.len };
    task->body = (struct peri_str){ task->data + meta.len, body.len };
    task->deadline_ns = task->wake_ns = RT_NEVER;
    peri_buf_init(&task->content_type, 1024);
    peri_buf_init(&task->headers, RT_TEXT_MAX);
    peri_buf_init(&task->message, RT_TEXT_MAX);
    peri_buf_init(&task->trace, RT_TEXT_MAX);
    version->tasks++;
    peri__count_task(rt, 1);
    return task;
}

void peri__task_free(struct rt_task *task)
{
    struct rt_runtime *rt = task->version->rt;
    peri__list_remove(task);
    rt->slots[task->slot].task = NULL;
    rt->slots[task->slot].generation++;
    rt->free_slots[rt->free_slot_count++] = task->slot;
    peri_buf_fini(&task->content_type);
    peri_buf_fini(&task->headers);
    peri_buf_fini(&task->message);
    peri_buf_fini(&task->trace);
    peri__count_task(rt, -1);
    free(task);
}

static void limit_task(struct rt_task *task, int64_t timeout_ms, uint64_t memory_limit)
{
    struct rt_runtime *rt = task->version->rt;
    task->timeout_ms = timeout_ms;
    task->memory_limit = memory_limit;
    if (timeout_ms > 0 && timeout_ms < RT_NEVER / 2000000) {
        task->deadline_ns = peri__now_ns() + timeout_ms * 1000000;
        peri__alarm(rt, task->deadline_ns);
    }
}

/* ---- loading ---- */

/* On failure err says why and nothing runs. */
static enum peri_code start_load(struct rt_version *version, struct peri_error *err)
{
    struct peri_str none = { NULL, 0 };
    struct rt_state *state = peri__state_new(version, err);
    if (!state) {
        return PERI_NOMEM;
    }
    struct rt_task *task = peri__task_new(version, RT_LOAD, none, none);
    if (!task) {
        peri__state_close(state);
        return peri_error_set(err, PERI_NOMEM, "no memory for a load");
    }
    task->state = state;
    task->call_id = version->parked.head ? version->parked.head->call_id : 0;
    state->tasks = 1;
    version->phase = RT_LOADING;
    limit_task(task, version->timeout_ms, version->memory_limit);
    peri__enqueue(task, RT_READY);
    return PERI_OK;
}

static void admit(struct rt_task *task)
{
    task->state = task->version->state;
    task->state->tasks++;
    peri__enqueue(task, RT_READY);
}

static struct rt_task *pop(struct rt_list *list)
{
    struct rt_task *task = list->head;
    if (task) {
        list->head = task->next;
        *(task->next ? &task->next->prev : &list->tail) = NULL;
        task->list = NULL;
        task->next = NULL;
    }
    return task;
}

static void fail_parked(struct rt_task *task, const struct rt_task *load)
{
    struct rt_version *version = task->version;
    peri__outcome_set(task, load->code, "%s", load->message.data ? load->message.data : "");
    peri_buf_append_str(&task->trace, peri_buf_str(&load->trace));
    peri__outcome_send(task);
    peri__task_free(task);
    peri__version_release(version);
}

static void send_loaded(struct rt_version *version, const struct rt_task *load)
{
    struct rt_runtime *rt = version->rt;
    struct peri_buf detail;
    peri_buf_init(&detail, 4 * RT_TEXT_MAX);
    if (load->code != PERI_OK) {
        peri_buf_append_text(&detail, "{\"message\":");
        peri_json_write_string(&detail, peri_buf_str(&load->message));
        peri_buf_append_text(&detail, ",\"trace\":");
        peri_json_write_string(&detail, peri_buf_str(&load->trace));
        peri_buf_append_text(&detail, "}");
    }
    if (rt->events.loaded) {
        rt->events.loaded(rt->events.data, version->id, load->code == PERI_OK ? PERI_OK : PERI_PACKAGE,
                          peri_buf_str(&detail));
    }
    peri_buf_fini(&detail);
}

void peri__version_loaded(struct rt_task *load)
{
    struct rt_version *version = load->version;
    struct rt_list parked = version->parked;
    version->parked = (struct rt_list){ NULL, NULL };
    for (struct rt_task *task = parked.head; task; task = task->next) {
        task->list = &parked;
    }
    if (load->code == PERI_OK) {
        version->state = load->state;
        version->phase = RT_LOADED;
        load->state->baseline = load->state->bytes;
    } else {
        version->phase = RT_COLD;
        peri__state_retire(load->state);
    }
    if (version->check) {
        version->check = false;
        send_loaded(version, load);
    }
    for (struct rt_task *task; (task = pop(&parked)) != NULL;) { /* events may cancel those that are left */
        if (load->code == PERI_OK) {
            admit(task);
        } else {
            fail_parked(task, load);
        }
    }
}

/* ---- the contract ---- */

static enum peri_code runtime_load(struct peri_runtime *base, const struct peri_load *load, struct peri_error *err)
{
    struct rt_runtime *rt = from_base(base);
    struct rt_version *version = find_version(rt, load->version_id);
    if (!version) {
        version = new_version(rt, load);
    }
    if (!version) {
        return peri_error_set(err, PERI_NOMEM, "no memory for a package of %zu bytes", load->package.len);
    }
    if (!load->check) {
        return PERI_OK;
    }
    if (version->phase == RT_LOADED) {
        if (rt->events.loaded) {
            rt->events.loaded(rt->events.data, version->id, PERI_OK, (struct peri_str){ NULL, 0 });
        }
        return PERI_OK;
    }
    version->check = true;
    return version->phase == RT_LOADING ? PERI_OK : start_load(version, err);
}

static void runtime_unload(struct peri_runtime *base, uint64_t version_id)
{
    struct rt_runtime *rt = from_base(base);
    struct rt_version *version = find_version(rt, version_id);
    if (!version) {
        return;
    }
    unlink_from(bucket(rt, version_id), version);
    rt->version_count--;
    version->unloaded = true;
    if (version->tasks == 0) {
        free_version(version);
        return;
    }
    version->next = rt->unloaded;
    rt->unloaded = version;
}

static enum peri_code runtime_call(struct peri_runtime *base, const struct peri_invocation *call,
                                   struct peri_error *err)
{
    struct rt_runtime *rt = from_base(base);
    struct rt_version *version = find_version(rt, call->version_id);
    if (!version) {
        return peri_error_set(err, PERI_NOT_FOUND, "version %llu is not loaded", (unsigned long long)call->version_id);
    }
    struct rt_task *task = peri__task_new(version, RT_CALL, call->meta, call->body);
    if (!task) {
        return peri_error_set(err, PERI_NOMEM, "no memory for a call with %zu bytes of input", call->body.len);
    }
    task->call_id = call->call_id;
    task->input = call->input;
    limit_task(task, call->timeout_ms, call->memory_limit);
    if (version->phase == RT_LOADED) {
        admit(task);
        return PERI_OK;
    }
    task->status = RT_PARKED;
    peri__list_push(&version->parked, task);
    if (version->phase == RT_COLD && start_load(version, err) != PERI_OK) {
        peri__task_free(task);
        peri__version_release(version);
        return PERI_NOMEM;
    }
    return PERI_OK;
}

static void runtime_cancel(struct peri_runtime *base, uint64_t call_id)
{
    struct rt_runtime *rt = from_base(base);
    for (uint32_t i = 0; i < rt->slot_count; i++) {
        struct rt_task *task = rt->slots[i].task;
        if (task && task->kind == RT_CALL && task->call_id == call_id) {
            peri__kill(task, PERI_CANCELLED);
            return;
        }
    }
}

static void runtime_free(struct peri_runtime *base)
{
    struct rt_runtime *rt = from_base(base);
    if (!rt) {
        return;
    }
    peri__preempt_fini(rt);
    while (rt->states) {
        struct rt_state *state = rt->states;
        if (state->version) {
            state->version->state = NULL;
        }
        peri__state_close(state);
    }
    for (uint32_t i = 0; i < rt->slot_count; i++) {
        if (rt->slots[i].task) {
            peri__task_free(rt->slots[i].task);
        }
    }
    for (size_t i = 0; i < rt->bucket_count; i++) {
        for (struct rt_version *version = rt->buckets[i], *next; version; version = next) {
            next = version->next;
            free_version(version);
        }
    }
    for (struct rt_version *version = rt->unloaded, *next; version; version = next) {
        next = version->next;
        free_version(version);
    }
    peri__scheduler_fini(rt);
    peri_buf_fini(&rt->out);
    peri__service_fini(rt);
    free(rt->buckets);
    free(rt->slots);
    free(rt->free_slots);
    free(rt->library);
    free(rt);
}

static const struct peri_runtime_kind kind = {
    .load = runtime_load,
    .unload = runtime_unload,
    .call = runtime_call,
    .cancel = runtime_cancel,
    .free = runtime_free,
};

enum peri_code peri_lua_runtime_new(struct peri_loop *loop, const struct peri_lua_runtime_options *options,
                                    const struct peri_runtime_events *events, struct peri_runtime **out,
                                    struct peri_error *err)
{
    static const struct peri_lua_runtime_options defaults;
    options = options ? options : &defaults;
    struct rt_runtime *rt = calloc(1, sizeof(*rt));
    if (!rt) {
        return peri_error_set(err, PERI_NOMEM, "no memory for a runtime");
    }
    rt->base.kind = &kind;
    rt->loop = loop;
    rt->events = *events;
    rt->modules = options->modules;
    rt->page = options->page ? options->page : &rt->own_page;
    rt->response_limit = options->response_limit ? options->response_limit : RESPONSE_LIMIT;
    rt->file_limit = options->package_limit ? options->package_limit : FILE_LIMIT;
    peri_buf_init(&rt->out, rt->response_limit);
    rt->bucket_count = 64;
    rt->buckets = calloc(rt->bucket_count, sizeof(struct rt_version *));
    rt->library = options->library ? copy(peri_str_from(options->library)) : NULL;
    enum peri_code code = PERI_NOMEM;
    if (!rt->buckets || (options->library && !rt->library)) {
        peri_error_set(err, code, "no memory for a runtime");
        goto fail;
    }
    code = peri__scheduler_init(rt, err);
    if (code == PERI_OK) {
        code = peri__preempt_init(rt, err);
    }
    if (code == PERI_OK) {
        *out = &rt->base;
        return PERI_OK;
    }
fail:
    peri__scheduler_fini(rt);
    free(rt->library);
    free(rt->buckets);
    free(rt);
    return code;
}

void peri_lua_runtime_stats(const struct peri_runtime *runtime, struct peri_lua_runtime_stats *stats)
{
    const struct rt_runtime *rt = (const struct rt_runtime *)runtime;
    *stats = (struct peri_lua_runtime_stats){
        .versions = rt->version_count,
        .states = rt->state_count,
        .tasks = rt->task_count,
        .slices = rt->slices,
        .preemptions = rt->preemptions,
        .hooks = rt->hooks,
        .lua_bytes = rt->bytes,
    };
}
