/* SPDX-License-Identifier: MIT */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "perilune/frame.h"
#include "perilune/log.h"
#include "perilune/runtime.h"
#include "perilune/token.h"

/* A sandbox program without any language: a call's body is a command (see `commands`). The environment variable
 * PERILUNE_SANDBOX_FAKE makes it misbehave from its start: "die", "silent", "version", "early". */

extern char **environ;

struct call {
    uint64_t id;
    int64_t end_ms, deadline_ms;
    bool deaf; /* ends neither by itself nor when it is told to */
    struct call *next;
};

static struct peri_buf in, out;
static struct peri_sandbox_page *page;
static struct call *calls;
static uint64_t versions[4096];
static size_t version_count;
static bool stopping;
static unsigned char key[PERI_CALL_KEY_SIZE];
static uint8_t reply_flags;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void flush(void)
{
    size_t sent = 0;
    while (sent < out.len) {
        ssize_t n = write(PERI_FRAME_FD, out.data + sent, out.len - sent);
        if (n <= 0)
            _exit(0);
        sent += (size_t)n;
    }
    peri_buf_clear(&out);
}

static void reply(uint64_t id, enum peri_reply_kind kind, enum peri_code code, struct peri_str type,
                  struct peri_str body)
{
    size_t mark = 0;
    peri_frame_begin(&out, PERI_FRAME_REPLY, id, &mark);
    peri_frame_put_u8(&out, (uint8_t)kind);
    peri_frame_put_u8(&out, reply_flags);
    peri_frame_put_u16(&out, kind == PERI_REPLY_BYTES ? 201 : 0);
    peri_frame_put_u32(&out, (uint32_t)code);
    peri_frame_put_u64(&out, 17);
    peri_frame_put_u64(&out, 4096);
    peri_frame_put_str(&out, type);
    peri_frame_put_str(&out, peri_str_from(kind == PERI_REPLY_BYTES ? "{\"x-fake\":\"yes\"}" : ""));
    peri_frame_put_str(&out, body);
    peri_frame_end(&out, mark);
}

static void reply_json(uint64_t id, struct peri_str body)
{
    reply(id, PERI_REPLY_JSON, PERI_OK, peri_str_from(""), body);
}

static void reply_error(uint64_t id, enum peri_code code, const char *body)
{
    reply(id, PERI_REPLY_ERROR, code, peri_str_from(""), peri_str_from(body));
}

static void log_line(uint64_t id, enum peri_log_level level, const char *text)
{
    size_t mark = 0;
    peri_frame_begin(&out, PERI_FRAME_LOG, id, &mark);
    peri_frame_put_u64(&out, 1700000000123u);
    peri_frame_put_u8(&out, (uint8_t)level);
    peri_frame_put_str(&out, peri_str_from(text));
    peri_frame_end(&out, mark);
}

static void chunk(uint64_t id, const char *text)
{
    size_t mark = 0;
    peri_frame_begin(&out, PERI_FRAME_CHUNK, id, &mark);
    peri_frame_put_u16(&out, 202);
    peri_frame_put_str(&out, peri_str_from("text/plain"));
    peri_frame_put_str(&out, peri_str_from(""));
    peri_frame_put_str(&out, peri_str_from(text));
    peri_frame_end(&out, mark);
}

struct request {
    uint64_t id, version;
    int64_t timeout_ms;
    struct peri_str meta;
    const char *argument; /* what follows the command's name */
    struct peri_str body;
};

static void keep(const struct request *r, int64_t ms, bool deaf)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        abort();
    *call = (struct call){ r->id, now_ms() + ms, now_ms() + r->timeout_ms, deaf, calls };
    calls = call;
}

static void do_sleep(const struct request *r)
{
    keep(r, atoi(r->argument), false);
}

/* Is held until it is told to end, in its first attempt. */
static void do_once(const struct request *r)
{
    char meta[4096];
    snprintf(meta, sizeof meta, "%.*s", (int)(r->meta.len < 4000 ? r->meta.len : 4000), r->meta.data);
    log_line(r->id, PERI_LOG_INFO, "here");
    if (strstr(meta, "\"attempt\":1,") || strstr(meta, "\"attempt\":1}"))
        keep(r, INT32_MAX, false);
    else
        reply_json(r->id, peri_str_from("\"again\""));
}

static void do_ignore(const struct request *r)
{
    keep(r, INT32_MAX, true);
}

static void do_deaf(const struct request *r)
{
    log_line(r->id, PERI_LOG_INFO, "here");
    do_ignore(r);
}

static void do_log(const struct request *r)
{
    log_line(r->id, PERI_LOG_INFO, "one");
    log_line(r->id, PERI_LOG_WARN, "two");
    log_line(r->id, PERI_LOG_ERROR, "three");
    if (r->argument[0])
        keep(r, atoi(r->argument), false);
    else
        reply_json(r->id, peri_str_from("3"));
}

static void do_flood(const struct request *r)
{
    for (int i = 0; i < atoi(r->argument); i++)
        log_line(r->id, PERI_LOG_INFO, "0123456789012345678901234567890123456789");
    reply_json(r->id, peri_str_from("true"));
}

static void do_fail(const struct request *r)
{
    reply_error(r->id, PERI_HANDLER_FAILED,
                "{\"message\":\"handler.lua:7: no rows\",\"trace\":\"stack traceback:\\n handler.lua:7\"}");
}

static void do_crash(const struct request *r)
{
    flush();
    atomic_store(&page->running_call, r->id);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    _exit(99);
}

static void do_exit(const struct request *r)
{
    flush();
    _exit(atoi(r->argument));
}

static void do_hang(const struct request *r)
{
    flush();
    atomic_store(&page->running_call, r->id);
    for (;;)
        pause();
}

static void do_stall(const struct request *r)
{
    (void)r;
    flush();
    for (;;)
        pause();
}

static void do_garbage(const struct request *r)
{
    (void)r;
    peri_buf_append_text(&out, "this is no frame at all, whatever it may look like ................");
}

static void do_oversize(const struct request *r)
{
    unsigned char header[PERI_FRAME_HEADER] = { 0xff, 0xff, 0xff, 0x7f, PERI_FRAME_REPLY };
    (void)r;
    peri_buf_append(&out, header, sizeof header);
}

static void do_unknown(const struct request *r)
{
    reply_json(r->id + 1000000, peri_str_from("1"));
}

static void do_badreply(const struct request *r)
{
    reply(r->id, PERI_REPLY_BYTES, PERI_OK, peri_str_from("text/plain\r\nx-evil: 1"), peri_str_from("x"));
}

static void do_big(const struct request *r)
{
    size_t len = (size_t)atol(r->argument);
    char *body = malloc(len + 2);
    if (!body)
        abort();
    memset(body, 'x', len);
    reply(r->id, PERI_REPLY_BYTES, PERI_OK, peri_str_from("text/x"), (struct peri_str){ body, len });
    free(body);
}

static void do_chunks(const struct request *r)
{
    chunk(r->id, "ab");
    chunk(r->id, "cd");
    reply_json(r->id, peri_str_from(""));
}

static void do_env(const struct request *r)
{
    struct peri_buf text;
    peri_buf_init(&text, 1 << 20);
    for (char **at = environ; *at; at++) {
        peri_buf_append_text(&text, *at);
        peri_buf_append_byte(&text, '\n');
    }
    reply(r->id, PERI_REPLY_BYTES, PERI_OK, peri_str_from("text/plain"), peri_buf_str(&text));
    peri_buf_fini(&text);
}

static void do_meta(const struct request *r)
{
    reply_json(r->id, r->meta);
}

static void do_version(const struct request *r)
{
    char text[64];
    snprintf(text, sizeof text, "{\"version\":%llu,\"pid\":%d}", (unsigned long long)r->version, (int)getpid());
    reply_json(r->id, peri_str_from(text));
}

static void do_say(const struct request *r)
{
    fprintf(stderr, "%s\n", r->argument);
    reply_json(r->id, peri_str_from("null"));
}

/* Appends "ID\n" to a file: how often a call ran. */
static void do_count(const struct request *r)
{
    FILE *file = fopen(r->argument, "a");
    if (!file)
        abort();
    fprintf(file, "%llu\n", (unsigned long long)r->id);
    fclose(file);
    reply_json(r->id, peri_str_from("true"));
}

/* Says the call's token: as its answer, or in its log when it goes on for so many milliseconds. */
static void do_token(const struct request *r)
{
    char meta[4096], token[PERI_CALL_TOKEN_MAX], text[PERI_CALL_TOKEN_MAX + 2];
    unsigned attempt = 0;
    snprintf(meta, sizeof meta, "%.*s", (int)(r->meta.len < 4000 ? r->meta.len : 4000), r->meta.data);
    const char *at = strstr(meta, "\"attempt\":");
    if (!at || sscanf(at, "\"attempt\":%u", &attempt) != 1 ||
        peri_call_token(key, r->id, attempt, token, NULL) != PERI_OK)
        abort();
    if (r->argument[0]) {
        log_line(r->id, PERI_LOG_INFO, token);
        do_sleep(r);
        return;
    }
    snprintf(text, sizeof text, "\"%s\"", token);
    reply_flags = 1;
    reply_json(r->id, peri_str_from(text));
    reply_flags = 0;
}

static const struct {
    const char *name;
    void (*run)(const struct request *r);
} commands[] = {
    { "sleep", do_sleep },       { "ignore", do_ignore },   { "log", do_log },           { "flood", do_flood },
    { "fail", do_fail },         { "crash", do_crash },     { "exit", do_exit },         { "hang", do_hang },
    { "stall", do_stall },       { "garbage", do_garbage }, { "oversize", do_oversize }, { "unknown", do_unknown },
    { "badreply", do_badreply }, { "big", do_big },         { "chunks", do_chunks },     { "env", do_env },
    { "meta", do_meta },         { "version", do_version }, { "say", do_say },           { "count", do_count },
    { "once", do_once },         { "deaf", do_deaf },       { "token", do_token },
};

static bool has_version(uint64_t version)
{
    for (size_t i = 0; i < version_count; i++)
        if (versions[i] == version)
            return true;
    return false;
}

static void on_call(struct peri_frame *frame)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    struct request r = { .id = frame->id };
    char text[512];
    r.version = peri_frame_get_u64(&c);
    r.timeout_ms = (int64_t)peri_frame_get_u64(&c);
    peri_frame_get_u64(&c);
    peri_frame_get_u8(&c);
    r.meta = peri_frame_get_str(&c);
    r.body = peri_frame_get_str(&c);
    if (c.failed)
        abort();
    if (!has_version(r.version)) {
        reply_error(r.id, PERI_NOT_FOUND, "{\"message\":\"version not loaded\"}");
        return;
    }
    snprintf(text, sizeof text, "%.*s", (int)(r.body.len < 500 ? r.body.len : 500), r.body.data ? r.body.data : "");
    char *blank = strchr(text, ' ');
    if (blank)
        *blank = '\0';
    r.argument = blank ? blank + 1 : "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i].name, text)) {
            commands[i].run(&r);
            return;
        }
    reply_json(r.id, r.body);
}

static void on_load(struct peri_frame *frame)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    bool check = peri_frame_get_u8(&c) != 0;
    peri_frame_get_u64(&c);
    peri_frame_get_u64(&c);
    peri_frame_get_str(&c);
    struct peri_str env = peri_frame_get_str(&c), package = peri_frame_get_str(&c);
    char text[256];
    snprintf(text, sizeof text, "%.*s", (int)(env.len < 250 ? env.len : 250), env.data);
    if (c.failed || package.len < 22 || memcmp(package.data, "PK", 2) != 0)
        abort();
    if (strstr(text, "\"CRASH\""))
        raise(SIGKILL);
    bool broken = strstr(text, "\"BROKEN\"") != NULL;
    if (!broken && version_count < sizeof versions / sizeof *versions)
        versions[version_count++] = frame->id;
    if (!check)
        return;
    size_t mark = 0;
    peri_frame_begin(&out, PERI_FRAME_LOADED, frame->id, &mark);
    peri_frame_put_u32(&out, broken ? PERI_PACKAGE : PERI_OK);
    peri_frame_put_str(&out, peri_str_from(broken ? "{\"message\":\"handler.lua:3: unexpected symbol near 'end'\","
                                                    "\"trace\":\"handler.lua:3\"}"
                                                  : ""));
    peri_frame_end(&out, mark);
}

static void on_unload(uint64_t version)
{
    for (size_t i = 0; i < version_count; i++)
        if (versions[i] == version)
            versions[i] = versions[--version_count];
}

static void on_cancel(uint64_t id)
{
    for (struct call **at = &calls; *at; at = &(*at)->next) {
        struct call *call = *at;
        if (call->id != id || call->deaf)
            continue;
        *at = call->next;
        free(call);
        reply_error(id, PERI_CANCELLED, "{\"message\":\"cancelled\"}");
        return;
    }
}

static void on_start(struct peri_frame *frame)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    struct peri_str given = peri_frame_get_str(&c);
    peri_frame_get_str(&c);
    if (c.failed || given.len != sizeof key)
        abort();
    memcpy(key, given.data, sizeof key);
}

static void on_frame(struct peri_frame *frame)
{
    size_t mark = 0;
    switch ((int)frame->type) {
    case PERI_FRAME_LOAD:
        on_load(frame);
        break;
    case PERI_FRAME_UNLOAD:
        on_unload(frame->id);
        break;
    case PERI_FRAME_CALL:
        on_call(frame);
        break;
    case PERI_FRAME_CANCEL:
        on_cancel(frame->id);
        break;
    case PERI_FRAME_PING:
        peri_frame_begin(&out, PERI_FRAME_PONG, frame->id, &mark);
        peri_frame_end(&out, mark);
        break;
    case PERI_FRAME_SHUTDOWN:
        stopping = true;
        break;
    case PERI_FRAME_START:
        on_start(frame);
        break;
    default:
        abort();
    }
}

static int run_timers(void)
{
    int64_t now = now_ms(), next = 1000;
    for (struct call **at = &calls; *at;) {
        struct call *call = *at;
        int64_t due = call->end_ms < call->deadline_ms ? call->end_ms : call->deadline_ms;
        if (call->deaf || due > now) {
            if (!call->deaf && due - now < next)
                next = due - now;
            at = &call->next;
            continue;
        }
        *at = call->next;
        if (call->end_ms <= now)
            reply_json(call->id, peri_str_from("\"slept\""));
        else
            reply_error(call->id, PERI_HANDLER_TIMEOUT, "{\"message\":\"deadline exceeded\"}");
        free(call);
    }
    return (int)next;
}

static void read_frames(void)
{
    peri_buf_reserve(&in, 65536);
    ssize_t n = read(PERI_FRAME_FD, in.data + in.len, 65536);
    if (n <= 0)
        _exit(0);
    in.len += (size_t)n;
    struct peri_str rest = peri_buf_str(&in);
    struct peri_frame frame;
    size_t used = 0;
    while (peri_frame_next(rest, (size_t)1 << 30, &frame, &used) == PERI_OK) {
        on_frame(&frame);
        rest.data += used;
        rest.len -= used;
    }
    peri_buf_consume(&in, in.len - rest.len);
}

int main(void)
{
    const char *mode = getenv("PERILUNE_SANDBOX_FAKE");
    size_t mark = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* tests leave nothing behind, however they end */
    if (mode && !strcmp(mode, "die"))
        return 3;
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, PERI_FRAME_PAGE_FD, 0);
    if (page == MAP_FAILED)
        return 4;
    peri_buf_init(&in, (size_t)1 << 30);
    peri_buf_init(&out, (size_t)1 << 30);
    if (mode && !strcmp(mode, "early"))
        reply_json(1, peri_str_from("1"));
    if (!mode || strcmp(mode, "silent") != 0) {
        peri_frame_begin(&out, PERI_FRAME_HELLO, mode && !strcmp(mode, "version") ? 99 : PERI_FRAME_VERSION, &mark);
        peri_frame_put_str(&out, peri_str_from("fake 1.0"));
        peri_frame_end(&out, mark);
    }
    while (!stopping || calls) {
        int wait = run_timers();
        flush();
        struct pollfd fd = { .fd = PERI_FRAME_FD, .events = POLLIN };
        if (poll(&fd, 1, wait) > 0)
            read_frames();
    }
    flush();
    return 0;
}
