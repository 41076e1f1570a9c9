/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SUPPORT_ENGINE_FIXTURE_H
#define TESTS_SUPPORT_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <zip.h>

#include "host/engine.h"

/* An engine with the fake sandbox in a folder of its own; waiting without sleeping. */

#define UNUSED_OK __attribute__((unused))
#define PATIENCE_MS 60000 /* generous: a test that needs it has failed */

struct fixture {
    char dir[512];
    struct peri_loop *loop;
    struct peri_engine *engine;
    struct peri_engine_options options;
    _Atomic int64_t now_ms; /* set: the clock, which stands still until it is changed; the store's threads read it */
};

static UNUSED_OK int fixture__remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static UNUSED_OK void fixture_folder(char *out, size_t cap)
{
    snprintf(out, cap, "%s/tests/engine-XXXXXX", PERI_BINARY_DIR);
    assert_non_null(mkdtemp(out));
}

static UNUSED_OK void fixture_remove_folder(const char *path)
{
    nftw(path, fixture__remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* A zip with one file. */
static UNUSED_OK void fixture_zip(const char *path, const char *name, const char *content)
{
    int why = 0;
    unlink(path);
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_EXCL, &why);
    assert_non_null(zip);
    zip_source_t *source = zip_source_buffer(zip, content, strlen(content), 0);
    zip_int64_t index = zip_file_add(zip, name, source, 0);
    assert_true(index >= 0);
    /* Not the time of the clock: the same content must be the same package. */
    assert_int_equal(zip_file_set_mtime(zip, (zip_uint64_t)index, 1700000000, 0), 0);
    assert_int_equal(zip_close(zip), 0);
}

static UNUSED_OK int64_t fixture__now(void *state)
{
    return *(_Atomic int64_t *)state;
}

static UNUSED_OK void fixture_open(struct fixture *f)
{
    struct peri_error err = PERI_ERROR_INIT;
    f->loop = peri_loop_new(&err);
    assert_non_null(f->loop);
    if (f->now_ms)
        peri_loop_set_clock(f->loop, (struct peri_clock){ fixture__now, fixture__now, &f->now_ms });
    f->options.data_dir = f->dir;
    if (!f->options.sandbox_path)
        f->options.sandbox_path = PERI_BINARY_DIR "/tests/fake_sandbox";
    if (!f->options.sandboxes)
        f->options.sandboxes = 2;
    if (peri_engine_new(f->loop, &f->options, &f->engine, &err) != PERI_OK)
        fail_msg("%s", err.message);
}

static UNUSED_OK void fixture_close(struct fixture *f)
{
    peri_engine_free(f->engine);
    f->engine = NULL;
    peri_loop_free(f->loop);
    f->loop = NULL;
}

static UNUSED_OK void fixture_start(struct fixture *f)
{
    fixture_folder(f->dir, sizeof f->dir);
    fixture_open(f);
}

static UNUSED_OK void fixture_end(struct fixture *f)
{
    fixture_close(f);
    fixture_remove_folder(f->dir);
}

static UNUSED_OK void fixture_wait(struct fixture *f, const bool *flag)
{
    uint64_t until = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (!*flag) {
        peri_loop_run_once(f->loop, 100, NULL);
        if (uv_hrtime() > until)
            fail_msg("waited %d s for nothing", PATIENCE_MS / 1000);
    }
}

struct deployed {
    bool done;
    struct peri_function *function;
    struct peri_error err;
};

static UNUSED_OK void fixture__deployed(void *data, struct peri_function *function, const struct peri_error *err)
{
    struct deployed *d = data;
    assert_false(d->done);
    d->done = true;
    d->function = function ? peri_function_ref(function) : NULL;
    if (err)
        d->err = *err;
}

/* Deploys a zip whose handler.lua is `code`; env may be NULL. The function, or NULL with d->err. */
static UNUSED_OK struct peri_function *fixture_try_deploy(struct fixture *f, const char *name, const char *code,
                                                          const char *env, bool replace, struct peri_error *err)
{
    char path[600];
    snprintf(path, sizeof path, "%s/tmp/deploy.zip", f->dir);
    fixture_zip(path, "handler.lua", code);
    struct peri_function spec = { .external_id = (char *)(uintptr_t)name,
                                  .name = (char *)(uintptr_t)name,
                                  .env = (char *)(uintptr_t)env,
                                  .entry = (char *)(uintptr_t) "handler.lua" };
    struct peri_deploy deploy = { .spec = &spec, .package_path = path, .replace = replace, .wait = true };
    struct deployed d = { 0 };
    peri_engine_deploy(f->engine, &deploy, fixture__deployed, &d);
    assert_false(d.done); /* never from within */
    fixture_wait(f, &d.done);
    if (err)
        *err = d.err;
    return d.function;
}

static UNUSED_OK struct peri_function *fixture_deploy(struct fixture *f, const char *name)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_function *function = fixture_try_deploy(f, name, "return {}", NULL, true, &err);
    if (!function)
        fail_msg("%s", err.message);
    return function;
}

struct called {
    bool accepted, refused, finished, replayed;
    uint64_t id;
    struct peri_call *call;
    struct peri_error err;
};

static UNUSED_OK void fixture__accepted(void *data, struct peri_call *call)
{
    struct called *c = data;
    assert_false(c->accepted);
    assert_false(c->finished);
    c->accepted = true;
    c->id = call->id;
}

static UNUSED_OK void fixture__refused(void *data, struct peri_call *call, const struct peri_error *err)
{
    struct called *c = data;
    (void)call;
    c->refused = true;
    c->err = *err;
}

static UNUSED_OK void fixture__finished(void *data, struct peri_call *call)
{
    struct called *c = data;
    assert_false(c->finished);
    c->finished = true;
    c->call = peri_call_ref(call);
}

static UNUSED_OK void fixture__replayed(void *data, struct peri_call *earlier)
{
    struct called *c = data;
    assert_false(c->accepted || c->refused || c->finished || c->replayed);
    c->replayed = true;
    c->id = earlier->id;
}

/* Submits what is given, but for the events. */
static UNUSED_OK enum peri_code fixture_submit_as(struct fixture *f, const struct peri_submit *submit, struct called *c)
{
    struct peri_call_events events = { fixture__accepted, fixture__refused, fixture__finished, c, fixture__replayed };
    struct peri_call *call = NULL;
    enum peri_code code = peri_engine_submit(f->engine, submit, &events, &call, &c->err);
    if (!code) {
        assert_non_null(call);
        c->id = call->id;
        assert_false(c->finished);
    }
    return code;
}

static UNUSED_OK enum peri_code fixture_submit(struct fixture *f, struct peri_function *function, const char *body,
                                               bool async, int64_t timeout_ms, struct called *c)
{
    struct peri_submit submit = { .function = function,
                                  .async = async,
                                  .input = PERI_INPUT_BYTES,
                                  .body = peri_str_from(body),
                                  .request_meta = peri_str_from("{\"method\":\"POST\"}"),
                                  .timeout_ms = timeout_ms };
    return fixture_submit_as(f, &submit, c);
}

/* Runs a call to its end; the result is the caller's (unref). */
static UNUSED_OK struct peri_call *fixture_call(struct fixture *f, struct peri_function *function, const char *body,
                                                bool async)
{
    struct called c = { 0 };
    if (fixture_submit(f, function, body, async, 0, &c) != PERI_OK)
        fail_msg("%s", c.err.message);
    fixture_wait(f, &c.finished);
    assert_int_equal(c.accepted, async);
    assert_int_equal(c.call->id, c.id);
    return c.call;
}

static UNUSED_OK void assert_body(const struct peri_call *call, const char *text)
{
    assert_int_equal(call->response.len, strlen(text));
    assert_memory_equal(call->response.data, text, strlen(text));
}

#endif
