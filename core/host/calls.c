/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/calls_private.h"
#include "perilune/json.h"

/* ---- entries ---- */

struct peri__entry *peri__entry_find(const struct peri_engine *engine, uint64_t call_id)
{
    return peri__idmap_get(&engine->calls->entries, call_id);
}

/* New calls are the last ones; one that comes back is looked for from the nearer end. */
static void insert(struct peri__calls *calls, struct peri__entry *entry)
{
    uint64_t id = entry->call->id;
    struct peri__entry *before = calls->last;
    if (before && before->call->id > id && id - calls->first->call->id < before->call->id - id) {
        struct peri__entry *after = calls->first;
        while (after->call->id < id)
            after = after->next;
        before = after->prev;
    }
    while (before && before->call->id > id)
        before = before->prev;
    entry->prev = before;
    entry->next = before ? before->next : calls->first;
    if (entry->next)
        entry->next->prev = entry;
    else
        calls->last = entry;
    if (before)
        before->next = entry;
    else
        calls->first = entry;
}

struct peri__entry *peri__entry_new(struct peri_engine *engine, struct peri_call *call)
{
    struct peri__calls *calls = engine->calls;
    struct peri__entry *entry = calloc(1, sizeof *entry);
    if (!entry || peri__idmap_put(&calls->entries, call->id, entry) != PERI_OK) {
        free(entry);
        peri_call_unref(call);
        return NULL;
    }
    entry->engine = engine;
    entry->call = call;
    entry->job.call_id = call->id;
    insert(calls, entry);
    return entry;
}

void peri__entry_free(struct peri__entry *entry)
{
    struct peri__calls *calls = entry->engine->calls;
    peri__entry_drop_watches(entry);
    peri__entry_wait_no_more(entry);
    peri__idmap_remove(&calls->entries, entry->job.call_id);
    if (entry->prev)
        entry->prev->next = entry->next;
    else
        calls->first = entry->next;
    if (entry->next)
        entry->next->prev = entry->prev;
    else
        calls->last = entry->prev;
    calls->kept_bytes -= entry->kept_bytes;
    peri_call_unref(entry->call);
    peri_call_unref(entry->ending);
    peri_function_unref(entry->function);
    free(entry);
}

static struct peri__entry *entry_of(struct peri__job *job)
{
    return (struct peri__entry *)job;
}

/* ---- what the dispatcher asks and says ---- */

static struct peri__job *find_job(void *data, uint64_t call_id)
{
    struct peri__entry *entry = peri__entry_find(data, call_id);
    return entry ? &entry->job : NULL;
}

static const char *shown_name(const struct peri_function *function)
{
    return function->external_id ? function->external_id : function->name ? function->name : "";
}

static enum peri_code append_member(struct peri_buf *out, const char *key, uint64_t value)
{
    enum peri_code code = peri_buf_append_text(out, key);
    return code ? code : peri_buf_append_uint(out, value);
}

static enum peri_code write_meta(struct peri__entry *entry, const struct peri_function *function, struct peri_buf *out)
{
    const struct peri_call *call = entry->call;
    peri_buf_clear(out);
    enum peri_code code = append_member(out, "{\"call\":{\"id\":", call->id);
    if (!code)
        code = append_member(out, ",\"function_id\":", call->function_id);
    if (!code)
        code = append_member(out, ",\"attempt\":", call->attempt);
    if (!code)
        code = append_member(out, ",\"deadline\":", (uint64_t)(call->start_ms + call->timeout_ms));
    if (!code && call->schedule_id)
        code = append_member(out, ",\"schedule_id\":", call->schedule_id);
    if (!code && call->schedule_id)
        code = append_member(out, ",\"scheduled_time\":", (uint64_t)call->scheduled_ms);
    if (!code)
        code = peri_buf_append_text(out, ",\"function_name\":");
    if (!code)
        code = peri_json_write_string(out, peri_str_from(shown_name(function)));
    if (!code)
        code = peri_buf_append_text(out, "}");
    if (!code && call->request_meta)
        code = peri_buf_append_text(out, ",\"request\":");
    if (!code && call->request_meta)
        code = peri_buf_append_text(out, call->request_meta);
    if (!code && function->secrets)
        code = peri_buf_append_text(out, ",\"sealed\":");
    if (!code && function->secrets)
        code = peri__secrets_append(&entry->engine->secrets, function->secrets, out, NULL);
    return code ? code : peri_buf_append_text(out, "}");
}

static enum peri_code fetch_bodies(struct peri__entry *entry, struct peri_error *err)
{
    struct peri_store *store = entry->engine->store;
    struct peri_call *stored = NULL, *call = entry->call;
    enum peri_code code = store->kind->call(store, call->id, true, &stored, err);
    if (code)
        return code;
    free(call->request_meta);
    call->request_meta = stored->request_meta;
    stored->request_meta = NULL;
    call->session_id = stored->session_id;
    peri_buf_fini(&call->request);
    call->request = stored->request;
    peri_buf_init(&stored->request, 0);
    peri_call_unref(stored);
    entry->in_store = false;
    return PERI_OK;
}

static bool not_started(struct peri__entry *entry, enum peri_call_state state, enum peri_code code, const char *why)
{
    peri__dispatch_drop(entry->engine->dispatch, &entry->job);
    peri__entry_end_simply(entry, state, code, "%s", why);
    return false;
}

static bool start_job(void *data, struct peri__job *job, struct peri_invocation *invocation,
                      const struct peri_function **function)
{
    struct peri_engine *engine = data;
    struct peri__entry *entry = entry_of(job);
    struct peri_call *call = entry->call;
    struct peri_function *current = peri__functions_find(engine, call->function_id);
    struct peri_error err = PERI_ERROR_INIT;
    if (entry->due.place)
        peri__entry_wait_no_more(entry);
    if (!current || current->status != PERI_FN_READY)
        return not_started(entry, PERI_CALL_CANCELLED, PERI_CANCELLED, "the function was deleted");
    if (entry->in_store && fetch_bodies(entry, &err) != PERI_OK)
        return not_started(entry, PERI_CALL_FAILED, err.code, err.message);
    peri_function_unref(entry->function);
    entry->function = peri_function_ref(current);
    call->state = PERI_CALL_RUNNING;
    call->start_ms = peri__engine_now(engine);
    call->version_id = current->version_id;
    call->version = current->version;
    if (call->terms)
        call->terms->expires_ms = 0;
    if (write_meta(entry, current, &engine->calls->meta) != PERI_OK)
        return not_started(entry, PERI_CALL_FAILED, PERI_NOMEM, "out of memory");
    peri__functions_called(engine, current->id, call->start_ms);
    *function = current;
    *invocation = (struct peri_invocation){
        .call_id = call->id,
        .version_id = current->version_id,
        .timeout_ms = call->timeout_ms,
        .memory_limit = current->memory_limit ? current->memory_limit : engine->options.memory_limit,
        .input = call->input,
        .meta = peri_buf_str(&engine->calls->meta),
        .body = peri_buf_str(&call->request),
    };
    return true;
}

static void job_failed(void *data, struct peri__job *job, const struct peri_error *err)
{
    (void)data;
    peri__entry_end_simply(entry_of(job), PERI_CALL_FAILED, err->code, "%s", err->message);
}

static void job_log(void *data, struct peri__job *job, int64_t wall_ms, enum peri_log_level level, struct peri_str line)
{
    (void)data;
    peri__entry_log(entry_of(job), wall_ms, level, line);
}

static void job_reply(void *data, struct peri__job *job, const struct peri_reply *reply)
{
    (void)data;
    peri__entry_reply(entry_of(job), reply);
}

static void job_token(void *data, struct peri__job *job, const unsigned char *key)
{
    struct peri_engine *engine = data;
    char token[PERI_CALL_TOKEN_MAX];
    if (peri_call_token(key, job->call_id, entry_of(job)->call->attempt, token, NULL) == PERI_OK)
        peri__tokens_ended(&engine->tokens, job->call_id, token, (int64_t)uv_now(engine->uv));
}

static void job_blamed(void *data, struct peri__job *job)
{
    (void)data;
    entry_of(job)->blamed = true;
}

static void describe_call(void *data, uint64_t call_id, char *out, size_t cap)
{
    const struct peri__entry *entry = peri__entry_find(data, call_id);
    snprintf(out, cap, "%s", entry && entry->function ? shown_name(entry->function) : "");
}

void peri__calls_dispatch_options(struct peri_engine *engine, struct peri__dispatch_options *options)
{
    options->data = engine;
    options->find = find_job;
    options->start = start_job;
    options->failed = job_failed;
    options->log = job_log;
    options->reply = job_reply;
    options->token = job_token;
    options->blamed = job_blamed;
    options->describe = describe_call;
}

/* ---- submitting ---- */

static enum peri_code refuse_busy(struct peri_error *err, int64_t retry_after_ms, const char *why)
{
    peri_error_set(err, PERI_UNAVAILABLE, "%s", why);
    if (err) {
        err->retryable = true;
        err->retry_after_ms = retry_after_ms;
    }
    return PERI_UNAVAILABLE;
}

size_t peri__calls_waiting(const struct peri_engine *engine)
{
    return peri__dispatch_queue(engine->dispatch)->count + engine->calls->delayed;
}

enum peri_code peri_engine_admits(const struct peri_engine *engine, const struct peri_function *function,
                                  struct peri_error *err)
{
    if (function->status != PERI_FN_READY)
        return peri_error_set(err, PERI_CONFLICT, "function %s is not ready: its status is %s", shown_name(function),
                              peri_function_status_name(function->status));
    if (engine->draining)
        return refuse_busy(err, 5000, "the host is about to end");
    size_t waiting = peri__calls_waiting(engine);
    if (waiting >= engine->options.queue_limit &&
        waiting >= engine->options.queue_limit + peri__dispatch_room(engine->dispatch))
        return refuse_busy(err, 1000, "too many calls wait already");
    return PERI_OK;
}

static struct peri_terms *copy_terms(const struct peri_submit *submit)
{
    struct peri_terms *terms = peri_terms_copy(submit->terms);
    if (terms && terms->key && peri__key_hash(submit, terms->request_hash) != PERI_OK) {
        peri_terms_free(terms);
        return NULL;
    }
    return terms;
}

struct peri_call *peri__call_make(struct peri_engine *engine, const struct peri_submit *submit)
{
    const struct peri_function *function = submit->function;
    struct peri_call *call = peri_call_new();
    if (!call)
        return NULL;
    int64_t timeout = submit->timeout_ms > 0 ? submit->timeout_ms : function->timeout_ms;
    call->id = peri__engine_next_id(engine);
    call->function_id = function->id;
    call->version_id = function->version_id;
    call->version = function->version;
    call->schedule_id = submit->schedule_id;
    call->scheduled_ms = submit->scheduled_ms;
    call->session_id = submit->session_id;
    call->timeout_ms = timeout > 0 ? timeout : engine->options.timeout_ms;
    call->async = submit->async;
    call->attempt = 1;
    call->created_ms = peri__engine_now(engine);
    call->input = submit->input;
    if ((submit->terms && !(call->terms = copy_terms(submit))) ||
        peri_buf_append_str(&call->request, submit->body) != PERI_OK ||
        (submit->request_meta.len && !(call->request_meta = peri_str_dup(submit->request_meta)))) {
        peri_call_unref(call);
        return NULL;
    }
    return call;
}

void peri__entry_begin(struct peri__entry *entry)
{
    struct peri_engine *engine = entry->engine;
    entry->accepted = true;
    if (entry->cancel)
        peri__entry_end_simply(entry, PERI_CALL_CANCELLED, PERI_CANCELLED, "cancelled before it started");
    else if (engine->draining)
        entry->parked = true;
    else if (!entry->held)
        peri__entry_wait(entry);
}

static void on_accepted(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__entry *entry = data;
    (void)write;
    entry->writes--;
    struct peri_call_events events = entry->events;
    if (entry->engine->closing) {
        return;
    }
    if (err && err->code == PERI_CONFLICT && entry->call->terms) {
        peri__entry_replay(entry);
        return;
    }
    if (err) {
        struct peri_call *call = peri_call_ref(entry->call);
        peri__entry_free(entry);
        if (events.refused)
            events.refused(events.data, call, err);
        peri_call_unref(call);
        return;
    }
    entry->accepted = true;
    uint64_t id = entry->call->id;
    struct peri_engine *engine = entry->engine;
    if (events.accepted)
        events.accepted(events.data, entry->call);
    entry = peri__entry_find(engine, id);
    if (!entry)
        return;
    peri__entry_begin(entry);
    peri__engine_settled(engine);
}

enum peri_code peri_engine_submit(struct peri_engine *engine, const struct peri_submit *submit,
                                  const struct peri_call_events *events, struct peri_call **out, struct peri_error *err)
{
    const struct peri_terms *terms = submit->terms;
    if (terms && !submit->async && (terms->start_ms || terms->attempts || terms->retry || terms->key))
        return peri_error_set(err, PERI_BAD_REQUEST,
                              "only an asynchronous call can be delayed, tried again or have an idempotency key");
    bool known = terms && terms->key && peri__key_known(engine, submit->function->id, terms->key);
    enum peri_code code = known ? PERI_OK : peri_engine_admits(engine, submit->function, err);
    if (code)
        return code;
    struct peri_call *call = peri__call_make(engine, submit);
    struct peri__entry *entry = call ? peri__entry_new(engine, call) : NULL;
    if (!entry)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    entry->function = peri_function_ref(submit->function);
    if (events)
        entry->events = *events;
    if (known) {
        code = peri__entry_replay_later(entry);
    } else if (submit->async) {
        struct peri_write write = {
            .kind = terms ? PERI_WRITE_CALL_TERMS : PERI_WRITE_CALL, .call = call, .done = on_accepted, .data = entry
        };
        entry->writes++;
        peri__engine_write(engine, &write);
    } else {
        entry->accepted = true;
        if (terms)
            peri__entry_wait(entry);
        else
            peri__entry_submit(entry, submit->function);
    }
    if (code) {
        peri__entry_free(entry);
        return peri_error_set(err, code, "out of memory");
    }
    if (out)
        *out = call;
    return PERI_OK;
}

void peri_engine_forget(struct peri_engine *engine, uint64_t call_id, void *events_data)
{
    struct peri__entry *entry = peri__entry_find(engine, call_id);
    if (entry && entry->events.data == events_data)
        entry->events = (struct peri_call_events){ 0 };
}

bool peri__entry_waits(const struct peri__entry *entry)
{
    return entry->job.queued || entry->due.place || (entry->held && entry->accepted);
}

struct cancel {
    struct peri_engine *engine;
    uint64_t call_id;
};

static void do_cancel(void *data)
{
    struct cancel *cancel = data;
    struct peri__entry *entry = peri__entry_find(cancel->engine, cancel->call_id);
    if (entry && !entry->over) {
        entry->cancel = true;
        bool waits = peri__entry_waits(entry);
        peri__dispatch_cancel(cancel->engine->dispatch, &entry->job);
        if (waits)
            peri__entry_end_simply(entry, PERI_CALL_CANCELLED, PERI_CANCELLED, "cancelled before it started");
    }
    free(cancel);
}

void peri_engine_cancel(struct peri_engine *engine, uint64_t call_id)
{
    struct cancel *cancel = malloc(sizeof *cancel);
    if (!cancel)
        return;
    *cancel = (struct cancel){ engine, call_id };
    if (peri__turn_later(engine->turn, do_cancel, free, cancel) != PERI_OK)
        free(cancel);
}

/* ---- beginning, time, end ---- */

enum peri_code peri__calls_new(struct peri_engine *engine, struct peri_error *err)
{
    engine->calls = calloc(1, sizeof *engine->calls);
    if (!engine->calls)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    peri_buf_init(&engine->calls->meta, SIZE_MAX / 2);
    return peri__dues_init(engine) ? peri_error_set(err, PERI_NOMEM, "out of memory") : PERI_OK;
}

void peri__calls_free(struct peri_engine *engine)
{
    struct peri__calls *calls = engine->calls;
    if (!calls)
        return;
    for (struct peri__entry *entry = calls->first, *next; entry; entry = next) {
        next = entry->next;
        peri__entry_free(entry);
    }
    peri__dues_fini(engine);
    peri__idmap_fini(&calls->entries);
    peri__idmap_fini(&calls->watches);
    peri_buf_fini(&calls->meta);
    free(calls);
    engine->calls = NULL;
}

static void take_line(void *data, size_t index, const struct peri_log_line *line)
{
    struct peri__entry *entry = data;
    (void)index;
    peri__entry_log(entry, line->wall_ms, line->level, (struct peri_str){ line->text, line->len });
}

void peri__calls_recovered(void *data, struct peri_call *call)
{
    struct peri_engine *engine = data;
    struct peri__entry *entry = peri__entry_new(engine, call);
    if (!entry)
        return;
    entry->in_store = true;
    engine->store->kind->log(engine->store, call->id, 0, take_line, entry, NULL);
    entry->lines_handed = call->log_count;
    struct peri_function *function = peri__functions_find(engine, call->function_id);
    if (function)
        entry->function = peri_function_ref(function);
    entry->held = call->schedule_id && peri__ticks_call_recovered(engine, call->schedule_id);
    peri__entry_begin(entry);
}

static void expire(struct peri__entry *entry, int64_t now)
{
    int64_t waited = now - entry->job.queued_at;
    if (entry->call->async || waited < entry->call->timeout_ms)
        return;
    peri__dispatch_cancel(entry->engine->dispatch, &entry->job);
    peri__entry_end_simply(entry, PERI_CALL_FAILED, PERI_UNAVAILABLE,
                           "the call waited %" PRId64 " s for a free sandbox", waited / 1000);
}

void peri__calls_tick(struct peri_engine *engine)
{
    int64_t now = (int64_t)uv_now(engine->uv);
    peri__calls_due(engine);
    for (struct peri__entry *entry = engine->calls->first, *next; entry; entry = next) {
        next = entry->next;
        if (entry->over)
            continue;
        if (entry->job.queued)
            expire(entry, now);
        else if (entry->job.slot && entry->call->async)
            peri__entry_progress(entry);
    }
    if (engine->calls->dropped)
        peri_log(PERI_LOG_ERROR, "the records of %zu synchronous calls are lost: the store does not keep up",
                 engine->calls->dropped);
    engine->calls->dropped = 0;
}

void peri__calls_function_deleted(struct peri_engine *engine, uint64_t function_id)
{
    for (struct peri__entry *entry = engine->calls->first, *next; entry; entry = next) {
        next = entry->next;
        if (entry->call->function_id != function_id || entry->over || !peri__entry_waits(entry))
            continue;
        peri__dispatch_cancel(engine->dispatch, &entry->job);
        peri__entry_end_simply(entry, PERI_CALL_CANCELLED, PERI_CANCELLED, "the function was deleted");
    }
}

void peri__calls_park(struct peri_engine *engine)
{
    for (struct peri__entry *entry = engine->calls->first; entry; entry = entry->next)
        if ((entry->job.queued || entry->due.place) && entry->call->async) {
            peri__dispatch_cancel(engine->dispatch, &entry->job);
            peri__entry_wait_no_more(entry);
            entry->parked = true;
        }
}

void peri__calls_stop(struct peri_engine *engine)
{
    for (struct peri__entry *entry = engine->calls->first, *next; entry; entry = next) {
        next = entry->next;
        if (entry->over || (!entry->job.queued && !entry->job.slot))
            continue;
        peri__dispatch_abandon(engine->dispatch, &entry->job);
        if (entry->call->async && !entry->cancel) {
            peri__entry_requeue(entry, 0);
            continue;
        }
        peri__entry_end_simply(entry, PERI_CALL_CANCELLED, PERI_CANCELLED, "the host ended before the call did");
    }
}

bool peri__calls_busy(const struct peri_engine *engine)
{
    return peri__dispatch_running(engine->dispatch) || peri__dispatch_queue(engine->dispatch)->count ||
           engine->store->kind->backlog(engine->store);
}
