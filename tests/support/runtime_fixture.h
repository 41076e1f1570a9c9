/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SUPPORT_RUNTIME_FIXTURE_H
#define TESTS_SUPPORT_RUNTIME_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime.h"
#include "support/package.h"

/* A runtime with what came out of it, for its tests. */

#define MIB (UINT64_C(1024) * 1024)

struct answer {
    uint64_t call_id;
    enum peri_reply_kind kind;
    enum peri_code code;
    int status;
    char content_type[64], headers[256], body[8192];
    size_t body_len;
    uint64_t memory_peak;
    bool token;
};

struct line {
    uint64_t call_id;
    int64_t wall_ms;
    enum peri_log_level level;
    char text[256];
    size_t len;
};

struct bench {
    struct peri_loop *loop;
    struct peri_runtime *runtime;
    struct answer answers[256];
    size_t answer_count;
    struct line lines[64];
    size_t line_count;
    unsigned loaded_count;
    enum peri_code loaded_code;
    char detail[4096];
    uint64_t cancel_at_log; /* a call that is cancelled from within the log event */
};

static inline void on_loaded(void *data, uint64_t version_id, enum peri_code code, struct peri_str detail)
{
    struct bench *b = data;
    (void)version_id;
    b->loaded_count++;
    b->loaded_code = code;
    snprintf(b->detail, sizeof(b->detail), "%.*s", (int)detail.len, detail.data ? detail.data : "");
}

static inline void on_log(void *data, uint64_t call_id, int64_t wall_ms, enum peri_log_level level,
                          struct peri_str text)
{
    struct bench *b = data;
    if (b->line_count < sizeof(b->lines) / sizeof(b->lines[0])) {
        struct line *line = &b->lines[b->line_count++];
        *line = (struct line){ .call_id = call_id, .wall_ms = wall_ms, .level = level, .len = text.len };
        snprintf(line->text, sizeof(line->text), "%.*s", (int)text.len, text.data);
    }
    if (b->cancel_at_log) {
        b->runtime->kind->cancel(b->runtime, b->cancel_at_log);
    }
}

static inline void on_reply(void *data, uint64_t call_id, const struct peri_reply *reply)
{
    struct bench *b = data;
    assert_true(b->answer_count < sizeof(b->answers) / sizeof(b->answers[0]));
    struct answer *a = &b->answers[b->answer_count++];
    *a = (struct answer){ .call_id = call_id, .kind = reply->kind, .code = reply->code, .status = reply->status };
    a->body_len = reply->body.len;
    a->memory_peak = reply->memory_peak;
    a->token = reply->token;
    snprintf(a->content_type, sizeof(a->content_type), "%.*s", (int)reply->content_type.len,
             reply->content_type.data ? reply->content_type.data : "");
    snprintf(a->headers, sizeof(a->headers), "%.*s", (int)reply->headers.len,
             reply->headers.data ? reply->headers.data : "");
    snprintf(a->body, sizeof(a->body), "%.*s", (int)reply->body.len, reply->body.data ? reply->body.data : "");
}

static inline int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_runtime_events events = { b, on_loaded, on_log, on_reply };
    struct peri_lua_runtime_options options = { .response_limit = 100000, .library = PERI_SOURCE_DIR "/lua" };
    b->loop = peri_loop_new(&err);
    assert_non_null(b->loop);
    assert_int_equal(peri_lua_runtime_new(b->loop, &options, &events, &b->runtime, &err), PERI_OK);
    *state = b;
    return 0;
}

/* Nothing is left: no task, no thing of the loop. */
static inline int teardown(void **state)
{
    struct bench *b = *state;
    struct peri_lua_runtime_stats stats;
    peri_lua_runtime_stats(b->runtime, &stats);
    assert_int_equal(stats.tasks, 0);
    b->runtime->kind->free(b->runtime);
    assert_int_equal(peri_loop_active(b->loop), 0);
    peri_loop_free(b->loop);
    free(b);
    return 0;
}

static inline void load_package(struct bench *b, uint64_t id, const char *const *files, bool check)
{
    struct peri_error err = PERI_ERROR_INIT;
    size_t len;
    char *zip = zip_of(files, &len);
    struct peri_load load = {
        .version_id = id,
        .package = { zip, len },
        .entry = peri_str_from("handler.lua"),
        .env = peri_str_from("{\"PLACE\":\"here\"}"),
        .check = check,
        .timeout_ms = 5000,
        .memory_limit = 64 * MIB,
    };
    assert_int_equal(b->runtime->kind->load(b->runtime, &load, &err), PERI_OK);
    free(zip);
}

static inline void load_code(struct bench *b, uint64_t id, const char *code)
{
    const char *files[] = { "handler.lua", code, NULL };
    load_package(b, id, files, false);
}

static inline void run_until(struct bench *b, size_t answers)
{
    struct peri_error err = PERI_ERROR_INIT;
    while (b->answer_count < answers) {
        assert_int_equal(peri_loop_run_once(b->loop, 20000, &err), PERI_OK);
    }
}

struct call {
    uint64_t id, version;
    const char *body, *meta;
    int64_t timeout_ms;
    uint64_t memory;
    enum peri_input input;
};

static inline void start(struct bench *b, struct call c)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_invocation call = {
        .call_id = c.id ? c.id : 1,
        .version_id = c.version ? c.version : 1,
        .timeout_ms = c.timeout_ms ? c.timeout_ms : 60000,
        .memory_limit = c.memory ? c.memory : 64 * MIB,
        .input = c.input,
        .meta = peri_str_from(c.meta),
        .body = peri_str_from(c.body),
    };
    assert_int_equal(b->runtime->kind->call(b->runtime, &call, &err), PERI_OK);
}

static inline struct answer *call(struct bench *b, struct call c)
{
    size_t before = b->answer_count;
    start(b, c);
    run_until(b, before + 1);
    return &b->answers[before];
}

/* One call of a handler with this code; its answer. */
static inline struct answer *run_code(struct bench *b, const char *code, struct call c)
{
    static uint64_t version = 1000;
    load_code(b, ++version, code);
    c.version = version;
    struct answer *answer = call(b, c);
    b->runtime->kind->unload(b->runtime, version);
    return answer;
}

#define HANDLER(body) "return { handle = function(ctx)\n" body "\nend }"

static inline void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("\"%s\" is not in: %s", part, text);
    }
}

static inline void answers(struct bench *b, const char *code, const char *json)
{
    struct answer *a = run_code(b, code, (struct call){ 0 });
    assert_string_equal(a->body, json);
    assert_int_equal(a->code, PERI_OK);
    assert_int_equal(a->kind, PERI_REPLY_JSON);
}

static inline struct answer *fails(struct bench *b, const char *code, const char *part)
{
    struct answer *a = run_code(b, code, (struct call){ 0 });
    assert_contains(a->body, part);
    assert_int_equal(a->kind, PERI_REPLY_ERROR);
    assert_int_equal(a->code, PERI_HANDLER_FAILED);
    return a;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
