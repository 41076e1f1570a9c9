/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/calls_private.h"
#include "perilune/json.h"

/* Records of synchronous calls that may wait for the store: more, and some are given up (never a reply). */
#define BACKLOG_MAX 200000
#define BACKLOG_BYTES_MAX ((size_t)256 << 20)

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

static char *copy_str(struct peri_str text)
{
    return text.len ? peri_str_dup(text) : NULL;
}

static void fill_end(struct peri_call *call, const struct peri__end *end, int64_t now)
{
    call->state = end->state;
    call->code = end->code;
    call->end_ms = now;
    call->error_message = copy_text(end->message);
    call->error_trace = copy_text(end->trace);
    const struct peri_reply *reply = end->reply;
    if (!reply)
        return;
    call->cpu_us = reply->cpu_us;
    call->memory_peak = reply->memory_peak;
    if (reply->kind == PERI_REPLY_ERROR)
        return;
    call->status = reply->status;
    call->headers = copy_str(reply->headers);
    if (reply->kind == PERI_REPLY_JSON)
        call->content_type = strdup("application/json");
    else
        call->content_type =
            reply->content_type.len ? peri_str_dup(reply->content_type) : strdup("application/octet-stream");
    if (peri_buf_append_str(&call->response, reply->body) != PERI_OK) {
        call->state = PERI_CALL_FAILED;
        call->code = PERI_NOMEM;
        call->error_message = strdup("out of memory");
    }
}

static void maybe_free(struct peri__entry *entry)
{
    if (!entry->writes && !entry->calling)
        peri__entry_free(entry);
}

/* ---- writes of a call ---- */

static void on_lines_stored(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__entry *entry = data;
    free((void *)(uintptr_t)write->lines);
    entry->writes--;
    if (err)
        peri_log(PERI_LOG_ERROR, "the progress of call %llu is not stored: %s", (unsigned long long)entry->job.call_id,
                 err->message);
}

/* The lines that the store does not have yet, copied (not their texts, which stay), since the array may move. */
static void hand_lines(struct peri__entry *entry, struct peri_write *write)
{
    struct peri_call *call = entry->call;
    size_t count = call->log_count - entry->lines_handed;
    struct peri_log_line *lines = count ? malloc(count * sizeof *lines) : NULL;
    if (!lines)
        return;
    memcpy(lines, call->log + entry->lines_handed, count * sizeof *lines);
    write->lines = lines;
    write->lines_first = entry->lines_handed;
    write->line_count = count;
    entry->lines_handed = call->log_count;
}

void peri__entry_progress(struct peri__entry *entry)
{
    struct peri_call *call = entry->call;
    if (entry->marked && entry->lines_handed == call->log_count)
        return;
    struct peri_write write = { .kind = PERI_WRITE_CALL_PROGRESS,
                                .lazy = true,
                                .required = true,
                                .id = call->id,
                                .at_ms = call->start_ms,
                                .done = on_lines_stored,
                                .data = entry };
    hand_lines(entry, &write);
    entry->marked = true;
    entry->writes++;
    peri__engine_write(entry->engine, &write);
}

static void on_recorded(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__entry *entry = data;
    free((void *)(uintptr_t)write->lines);
    entry->writes--;
    if (err)
        entry->engine->calls->dropped++;
    if (entry->engine->closing)
        return;
    struct peri_engine *engine = entry->engine;
    maybe_free(entry);
    peri__engine_settled(engine);
}

static void tell(struct peri__entry *entry)
{
    struct peri_call_events events = entry->events;
    entry->events = (struct peri_call_events){ 0 };
    if (events.finished)
        events.finished(events.data, entry->call);
    peri__entry_ended(entry);
    if (entry->call->schedule_id)
        peri__ticks_call_ended(entry->engine, entry->call->schedule_id);
}

static void record_sync(struct peri__entry *entry)
{
    struct peri_engine *engine = entry->engine;
    struct peri_call *call = entry->call;
    size_t bytes = call->request.len + call->response.len;
    bool full = engine->store->kind->backlog(engine->store) >= BACKLOG_MAX ||
                engine->calls->kept_bytes + bytes > BACKLOG_BYTES_MAX;
    if (full || !peri__functions_find(engine, call->function_id)) {
        engine->calls->dropped += full;
        maybe_free(entry);
        peri__engine_settled(engine);
        return;
    }
    entry->kept_bytes = bytes;
    engine->calls->kept_bytes += bytes;
    entry->record = (struct peri_write){
        .kind = PERI_WRITE_CALL, .lazy = true, .required = true, .call = call, .done = on_recorded, .data = entry
    };
    hand_lines(entry, &entry->record);
    entry->writes++;
    engine->store->kind->write(engine->store, &entry->record);
}

static void take_ending(struct peri_call *call, struct peri_call *ending)
{
    call->state = ending->state;
    call->dead = ending->dead;
    call->code = ending->code;
    call->end_ms = ending->end_ms;
    call->cpu_us = ending->cpu_us;
    call->memory_peak = ending->memory_peak;
    call->status = ending->status;
    call->error_message = ending->error_message;
    call->error_trace = ending->error_trace;
    call->headers = ending->headers;
    call->content_type = ending->content_type;
    call->response = ending->response;
    ending->error_message = ending->error_trace = ending->headers = ending->content_type = NULL;
    peri_buf_init(&ending->response, 0);
}

static void on_end_durable(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__entry *entry = data;
    free((void *)(uintptr_t)write->lines);
    entry->writes--;
    if (err)
        peri_log(PERI_LOG_ERROR, "the end of call %llu is not stored, it will run again: %s",
                 (unsigned long long)entry->job.call_id, err->message);
    if (entry->engine->closing || err)
        return;
    struct peri_engine *engine = entry->engine;
    take_ending(entry->call, entry->ending);
    entry->writes++; /* keeps the entry while others are told */
    tell(entry);
    entry->writes--;
    maybe_free(entry);
    peri__engine_settled(engine);
}

static void end_async(struct peri__entry *entry, const struct peri__end *end, int64_t now)
{
    const struct peri_call *call = entry->call;
    struct peri_call *ending = peri_call_new();
    if (!ending)
        return; /* stays as it is; the next run takes it up again */
    ending->id = call->id;
    ending->function_id = call->function_id;
    ending->version_id = call->version_id;
    ending->version = call->version;
    ending->schedule_id = call->schedule_id;
    ending->scheduled_ms = call->scheduled_ms;
    ending->timeout_ms = call->timeout_ms;
    ending->async = true;
    ending->attempt = call->attempt;
    ending->created_ms = call->created_ms;
    ending->start_ms = call->start_ms;
    ending->input = call->input;
    ending->dead = end->dead;
    fill_end(ending, end, now);
    entry->ending = ending;
    struct peri_write write = {
        .kind = PERI_WRITE_CALL_END, .required = true, .call = ending, .done = on_end_durable, .data = entry
    };
    hand_lines(entry, &write);
    entry->writes++;
    peri__engine_write(entry->engine, &write);
}

void peri__entry_end(struct peri__entry *entry, const struct peri__end *end)
{
    if (entry->over)
        return;
    entry->over = true;
    peri__entry_unhold(entry);
    peri__entry_wait_no_more(entry);
    int64_t now = peri__engine_now(entry->engine);
    if (entry->call->async) {
        end_async(entry, end, now);
        return;
    }
    fill_end(entry->call, end, now);
    entry->writes++; /* keeps the entry while others are told */
    tell(entry);
    entry->writes--;
    record_sync(entry);
}

void peri__entry_end_simply(struct peri__entry *entry, enum peri_call_state state, enum peri_code code,
                            const char *format, ...)
{
    char message[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    peri__entry_end(entry, &(struct peri__end){ .state = state, .code = code, .message = message });
}

/* ---- replies ---- */

/* Whether it is of a kind that gets several attempts. */
static bool may_try_again(const struct peri__entry *entry, const struct peri_reply *reply)
{
    const struct peri_call *call = entry->call;
    if (reply->kind != PERI_REPLY_ERROR || !call->async || entry->cancel || reply->code == PERI_CANCELLED)
        return false;
    return reply->code == PERI_SANDBOX_LOST || (call->terms && call->terms->retry);
}

static void log_failure(struct peri__entry *entry, const char *message, int64_t wait_ms)
{
    char line[1200];
    int len = snprintf(line, sizeof line, "attempt %u failed: %.1000s; the next one in %" PRId64 ".%03d s",
                       entry->call->attempt, message, wait_ms / 1000, (int)(wait_ms % 1000));
    peri__entry_log(entry, peri__engine_now(entry->engine), PERI_LOG_WARN, (struct peri_str){ line, (size_t)len });
}

static enum peri_call_state state_of(enum peri_code code)
{
    switch ((int)code) {
    case PERI_OK:
        return PERI_CALL_COMPLETED;
    case PERI_HANDLER_TIMEOUT:
        return PERI_CALL_TIMEOUT;
    case PERI_CANCELLED:
        return PERI_CALL_CANCELLED;
    default:
        return PERI_CALL_FAILED;
    }
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

void peri__entry_reply(struct peri__entry *entry, const struct peri_reply *reply)
{
    if (entry->over)
        return;
    int64_t wait_ms = 0;
    bool several = may_try_again(entry, reply),
         again = several && peri__entry_tries_again(entry, reply->code, &wait_ms);
    struct peri__end end = {
        .state = state_of(reply->code), .code = reply->code, .reply = reply, .dead = several && !again
    };
    json_t *body = reply->kind == PERI_REPLY_ERROR ? peri_json_parse(reply->body, NULL) : NULL;
    char attempts[1100];
    if (reply->kind == PERI_REPLY_ERROR) {
        end.message = text_of(body, "message");
        end.trace = text_of(body, "trace");
        if (!end.message)
            end.message = peri_code_text(reply->code);
        if (end.dead && entry->call->attempt > 1) {
            snprintf(attempts, sizeof attempts, "%.1000s; given up after %u attempts", end.message,
                     entry->call->attempt);
            end.message = attempts;
        }
    }
    if (!again)
        peri__entry_end(entry, &end);
    else if (entry->call->terms && entry->call->terms->retry)
        log_failure(entry, end.message, wait_ms);
    if (again)
        peri__entry_requeue(entry, wait_ms);
    json_decref(body);
}

/* ---- another attempt ---- */

static void on_requeued(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__entry *entry = data;
    free((void *)(uintptr_t)write->lines);
    entry->writes--;
    struct peri_engine *engine = entry->engine;
    if (engine->closing || err)
        return;
    if (entry->cancel)
        peri__entry_end_simply(entry, PERI_CALL_CANCELLED, PERI_CANCELLED, "cancelled between two attempts");
    else if (engine->draining)
        entry->parked = true;
    else
        peri__entry_wait(entry);
    peri__engine_settled(engine);
}

void peri__entry_requeue(struct peri__entry *entry, int64_t wait_ms)
{
    struct peri_call *call = entry->call;
    if (call->terms)
        call->terms->start_ms = peri__engine_now(entry->engine) + wait_ms;
    call->attempt++;
    call->state = PERI_CALL_QUEUED;
    call->start_ms = 0;
    entry->marked = false;
    struct peri_write write = { .kind = PERI_WRITE_CALL_REQUEUE,
                                .required = true,
                                .id = call->id,
                                .attempt = call->attempt,
                                .at_ms = call->terms ? call->terms->start_ms : 0,
                                .done = on_requeued,
                                .data = entry };
    hand_lines(entry, &write);
    entry->writes++;
    peri__engine_write(entry->engine, &write);
}
