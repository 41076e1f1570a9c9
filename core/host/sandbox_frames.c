/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/sandbox_private.h"
#include "perilune/json.h"

#define READ_SIZE (256 * 1024)
#define READS_A_TURN 8
#define FRAME_EXTRA (1024 * 1024) /* of a reply besides its body */

static void violation(struct peri__sandbox *sandbox, const char *what)
{
    peri__sandbox_doom(sandbox, "the sandbox was stopped: it broke the frame protocol (%s)", what);
}

void peri__sandbox_drop_call(struct peri__sandbox *sandbox, struct peri__inflight *call)
{
    peri__idmap_remove(&sandbox->calls, call->id);
    if (call->prev)
        call->prev->next = call->next;
    else
        sandbox->first = call->next;
    if (call->next)
        call->next->prev = call->prev;
    peri_buf_fini(&call->chunks);
    free(call->content_type);
    free(call->headers);
    free(call);
}

void peri__sandbox_answer_error(struct peri__sandbox *sandbox, struct peri__inflight *call, enum peri_code code,
                                const char *message)
{
    struct peri_buf body;
    peri_buf_init(&body, 16384);
    peri_buf_append_text(&body, "{\"message\":");
    peri_json_write_string(&body, peri_str_from(message));
    peri_buf_append_text(&body, "}");
    struct peri_reply reply = { .kind = PERI_REPLY_ERROR, .code = code, .body = peri_buf_str(&body) };
    sandbox->options.events.reply(sandbox->options.events.data, call->id, &reply);
    peri_buf_fini(&body);
}

static void on_hello(struct peri__sandbox *sandbox, const struct peri_frame *frame)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    peri_frame_get_str(&c);
    if (c.failed || sandbox->hello) {
        violation(sandbox, "a hello out of place");
    } else if (frame->id != PERI_FRAME_VERSION) {
        peri__sandbox_doom(sandbox, "the sandbox program speaks version %llu of the frames, not %d",
                           (unsigned long long)frame->id, PERI_FRAME_VERSION);
    } else {
        sandbox->hello = true;
        sandbox->options.ready(sandbox->options.owner);
    }
}

static void on_loaded(struct peri__sandbox *sandbox, const struct peri_frame *frame)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    uint32_t code = peri_frame_get_u32(&c);
    struct peri_str detail = peri_frame_get_str(&c);
    if (c.failed || code >= PERI_CODE_COUNT) {
        violation(sandbox, "a malformed answer to a load");
        return;
    }
    for (struct peri__loading **at = &sandbox->loading; *at; at = &(*at)->next) {
        struct peri__loading *loading = *at;
        if (loading->version_id != frame->id)
            continue;
        *at = loading->next;
        free(loading);
        sandbox->options.events.loaded(sandbox->options.events.data, frame->id, (enum peri_code)code, detail);
        return;
    }
    /* A load without a check is answered, if at all, for its failure. */
    if (code != PERI_OK)
        sandbox->options.events.loaded(sandbox->options.events.data, frame->id, (enum peri_code)code, detail);
}

static void on_log(struct peri__sandbox *sandbox, const struct peri_frame *frame, struct peri__inflight *call)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    int64_t wall_ms = (int64_t)peri_frame_get_u64(&c);
    uint8_t level = peri_frame_get_u8(&c);
    struct peri_str line = peri_frame_get_str(&c);
    if (c.failed || level > PERI_LOG_ERROR)
        violation(sandbox, "a malformed log line");
    else if (!call->answered)
        sandbox->options.events.log(sandbox->options.events.data, frame->id, wall_ms, (enum peri_log_level)level, line);
}

static bool known_end(uint32_t code)
{
    static const enum peri_code ends[] = {
        PERI_OK,        PERI_HANDLER_FAILED, PERI_HANDLER_TIMEOUT, PERI_HANDLER_MEMORY,
        PERI_CANCELLED, PERI_SANDBOX_LOST,   PERI_BAD_REQUEST,     PERI_NOT_FOUND
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (code == (uint32_t)ends[i])
            return true;
    return false;
}

/* Content types and headers end up in an HTTP reply. */
static bool clean_text(struct peri_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return true;
}

static bool known_status(unsigned status)
{
    return status == 0 || (status >= 200 && status <= 599);
}

static void on_chunk(struct peri__sandbox *sandbox, const struct peri_frame *frame, struct peri__inflight *call)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    unsigned status = peri_frame_get_u16(&c);
    struct peri_str type = peri_frame_get_str(&c), headers = peri_frame_get_str(&c), bytes = peri_frame_get_str(&c);
    if (c.failed || !known_status(status) || !clean_text(type)) {
        violation(sandbox, "a malformed piece of an answer");
        return;
    }
    if (!call->content_type) {
        call->status = (int)status;
        call->content_type = peri_str_dup(type);
        call->headers = peri_str_dup(headers);
    }
    if (call->answered || peri_buf_append_str(&call->chunks, bytes) == PERI_OK)
        return;
    call->answered = true;
    char message[128];
    snprintf(message, sizeof message, "the answer is larger than %zu bytes", sandbox->options.response_limit);
    peri__sandbox_answer_error(sandbox, call, PERI_HANDLER_FAILED, message);
}

static void on_reply(struct peri__sandbox *sandbox, const struct peri_frame *frame, struct peri__inflight *call)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    uint8_t kind = peri_frame_get_u8(&c);
    uint8_t flags = peri_frame_get_u8(&c);
    struct peri_reply reply = { .kind = (enum peri_reply_kind)kind, .status = peri_frame_get_u16(&c) };
    uint32_t code = peri_frame_get_u32(&c);
    reply.code = (enum peri_code)code;
    reply.token = (flags & 1) != 0;
    reply.cpu_us = peri_frame_get_u64(&c);
    reply.memory_peak = peri_frame_get_u64(&c);
    reply.content_type = peri_frame_get_str(&c);
    reply.headers = peri_frame_get_str(&c);
    reply.body = peri_frame_get_str(&c);
    if (c.failed || kind > PERI_REPLY_ERROR || !known_end(code) || !known_status((unsigned)reply.status) ||
        !clean_text(reply.content_type) || (kind == PERI_REPLY_ERROR) != (code != PERI_OK)) {
        violation(sandbox, "a malformed reply");
        return;
    }
    if (call->content_type && !reply.body.len && code == PERI_OK) {
        reply.kind = PERI_REPLY_BYTES;
        reply.status = call->status;
        reply.content_type = peri_str_from(call->content_type);
        reply.headers = peri_str_from(call->headers);
        reply.body = peri_buf_str(&call->chunks);
    }
    if (!call->answered && reply.body.len > sandbox->options.response_limit) {
        char message[128];
        snprintf(message, sizeof message, "the answer has %zu bytes, more than %zu", reply.body.len,
                 sandbox->options.response_limit);
        peri__sandbox_answer_error(sandbox, call, PERI_HANDLER_FAILED, message);
    } else if (!call->answered) {
        sandbox->options.events.reply(sandbox->options.events.data, frame->id, &reply);
    }
    peri__sandbox_drop_call(sandbox, call);
}

static void on_call_frame(struct peri__sandbox *sandbox, const struct peri_frame *frame)
{
    struct peri__inflight *call = peri__idmap_get(&sandbox->calls, frame->id);
    if (!call)
        violation(sandbox, "a frame about a call that does not run there");
    else if (frame->type == PERI_FRAME_LOG)
        on_log(sandbox, frame, call);
    else if (frame->type == PERI_FRAME_CHUNK)
        on_chunk(sandbox, frame, call);
    else
        on_reply(sandbox, frame, call);
}

static void on_frame(struct peri__sandbox *sandbox, const struct peri_frame *frame)
{
    if (!sandbox->hello && frame->type != PERI_FRAME_HELLO) {
        violation(sandbox, "something before the hello");
        return;
    }
    switch ((int)frame->type) {
    case PERI_FRAME_HELLO:
        on_hello(sandbox, frame);
        break;
    case PERI_FRAME_LOADED:
        on_loaded(sandbox, frame);
        break;
    case PERI_FRAME_LOG:
    case PERI_FRAME_REPLY:
    case PERI_FRAME_CHUNK:
        on_call_frame(sandbox, frame);
        break;
    case PERI_FRAME_PONG:
        if (frame->id == sandbox->ping_id)
            sandbox->ping_sent = 0;
        break;
    default:
        violation(sandbox, "a frame that only the gateway may send");
    }
}

static void take_frames(struct peri__sandbox *sandbox)
{
    struct peri_str rest = peri_buf_str(&sandbox->in);
    size_t used = 0;
    while (!sandbox->doomed && !sandbox->freed) {
        struct peri_frame frame;
        enum peri_code code = peri_frame_next(rest, sandbox->options.response_limit + FRAME_EXTRA, &frame, &used);
        if (code == PERI_BUSY)
            break;
        if (code != PERI_OK) {
            violation(sandbox, code == PERI_TOO_LARGE ? "an oversized frame" : "garbage instead of a frame");
            break;
        }
        on_frame(sandbox, &frame);
        rest.data += used;
        rest.len -= used;
    }
    peri_buf_consume(&sandbox->in, sandbox->in.len - rest.len);
    if (sandbox->in.len == 0 && sandbox->in.cap > 4 * READ_SIZE)
        peri_buf_fini(&sandbox->in);
}

/* False: no whole frame is left. */
static bool read_piece(struct peri__sandbox *sandbox, bool *end)
{
    if (peri_buf_reserve(&sandbox->in, READ_SIZE) != PERI_OK) {
        violation(sandbox, "more than memory holds");
        return false;
    }
    ssize_t n = read(sandbox->fd, sandbox->in.data + sandbox->in.len, READ_SIZE);
    if (n > 0) {
        sandbox->in.len += (size_t)n;
        take_frames(sandbox);
        return n == READ_SIZE;
    }
    *end = n == 0 || (errno != EAGAIN && errno != EINTR);
    return n < 0 && errno == EINTR;
}

void peri__sandbox_read(struct peri__sandbox *sandbox)
{
    bool end = false;
    for (int i = 0; i < READS_A_TURN && !sandbox->doomed && !sandbox->freed; i++)
        if (!read_piece(sandbox, &end))
            break;
    if (end && !sandbox->doomed)
        peri__sandbox_doom(sandbox, "%s", "");
}

void peri__sandbox_read_rest(struct peri__sandbox *sandbox)
{
    bool end = false;
    while (!end && !sandbox->freed && read_piece(sandbox, &end))
        continue;
}

static void lost_message(const struct peri__sandbox *sandbox, uint64_t call, int64_t status, int signal, char *out,
                         size_t cap)
{
    char name[160] = "";
    if (sandbox->culprit && sandbox->culprit != call)
        sandbox->options.describe(sandbox->options.owner, sandbox->culprit, name, sizeof name);
    char end[300];
    if (sandbox->why[0])
        snprintf(end, sizeof end, "%s", sandbox->why);
    else if (signal)
        snprintf(end, sizeof end, "the sandbox was killed by signal %d (%s)", signal, strsignal(signal));
    else
        snprintf(end, sizeof end, "the sandbox ended by itself with exit code %d", (int)status);
    bool watchdog = sandbox->why[0] != '\0';
    if (sandbox->culprit && sandbox->culprit == call && watchdog)
        snprintf(out, cap,
                 "%s: this call did not give control back for %lld s (it was in C code that can't be interrupted)", end,
                 (long long)((sandbox->options.watchdog_ms + 999) / 1000));
    else if (sandbox->culprit && sandbox->culprit == call)
        snprintf(out, cap, "%s while this call's code ran", end);
    else if (sandbox->culprit)
        snprintf(out, cap, "%s while call %llu of function %s %s", end, (unsigned long long)sandbox->culprit, name,
                 watchdog ? "held it" : "ran in it");
    else
        snprintf(out, cap, "%s", end);
}

void peri__sandbox_fail_all(struct peri__sandbox *sandbox, int64_t status, int signal)
{
    char message[800];
    /* Messages name the call that held the sandbox, so all are told before any is forgotten. */
    struct peri__inflight *next = NULL;
    for (struct peri__inflight *call = sandbox->first; call && !sandbox->freed; call = next) {
        next = call->next;
        if (!call->answered) {
            lost_message(sandbox, call->id, status, signal, message, sizeof message);
            call->answered = true;
            if (sandbox->why[0] && sandbox->culprit == call->id)
                sandbox->options.blamed(sandbox->options.owner, call->id);
            if (call->cancelled) /* who asked for its end has it, whatever brought it */
                peri__sandbox_answer_error(sandbox, call, PERI_CANCELLED, "cancelled");
            else
                peri__sandbox_answer_error(sandbox, call, PERI_SANDBOX_LOST, message);
        }
    }
    while (sandbox->first)
        peri__sandbox_drop_call(sandbox, sandbox->first);
    lost_message(sandbox, 0, status, signal, message, sizeof message);
    while (sandbox->loading && !sandbox->freed) {
        struct peri__loading *loading = sandbox->loading;
        sandbox->loading = loading->next;
        sandbox->options.events.loaded(sandbox->options.events.data, loading->version_id, PERI_SANDBOX_LOST,
                                       peri_str_from(message));
        free(loading);
    }
}
