/* SPDX-License-Identifier: MIT */
#include "host/sandbox_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "perilune/random.h"

#define OUT_MAX ((size_t)1 << 30)

static struct peri__sandbox *of(struct peri_runtime *runtime)
{
    return (struct peri__sandbox *)runtime;
}

static enum peri_code broken(struct peri_error *err)
{
    return peri_error_set(err, PERI_SANDBOX_LOST, "the sandbox is about to end");
}

/* Ends a frame, or takes its beginning back when not all of it fitted. */
static enum peri_code end_frame(struct peri__sandbox *sandbox, size_t mark, enum peri_code code, struct peri_error *err)
{
    if (code) {
        sandbox->out.len = mark;
        return peri_error_set(err, code, "can't hand that much over to a sandbox at once");
    }
    peri_frame_end(&sandbox->out, mark);
    return PERI_OK;
}

static enum peri_code sandbox_load(struct peri_runtime *runtime, const struct peri_load *load, struct peri_error *err)
{
    struct peri__sandbox *sandbox = of(runtime);
    if (sandbox->doomed)
        return broken(err);
    struct peri__loading *loading = load->check ? calloc(1, sizeof *loading) : NULL;
    if (load->check && !loading)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    size_t mark = 0;
    enum peri_code code = peri_frame_begin(&sandbox->out, PERI_FRAME_LOAD, load->version_id, &mark);
    if (!code)
        code = peri_frame_put_u8(&sandbox->out, load->check);
    if (!code)
        code = peri_frame_put_u64(&sandbox->out, (uint64_t)load->timeout_ms);
    if (!code)
        code = peri_frame_put_u64(&sandbox->out, load->memory_limit);
    if (!code)
        code = peri_frame_put_str(&sandbox->out, load->entry);
    if (!code)
        code = peri_frame_put_str(&sandbox->out, load->env);
    if (!code)
        code = peri_frame_put_str(&sandbox->out, load->package);
    code = end_frame(sandbox, mark, code, err);
    if (code) {
        free(loading);
        return code;
    }
    if (loading) {
        loading->version_id = load->version_id;
        loading->deadline = (int64_t)uv_now(sandbox->options.uv) + load->timeout_ms;
        loading->next = sandbox->loading;
        sandbox->loading = loading;
        peri__sandbox_watch(sandbox);
    }
    return PERI_OK;
}

static void simple_frame(struct peri__sandbox *sandbox, enum peri_frame_type type, uint64_t id)
{
    size_t mark = 0;
    if (!sandbox->doomed && peri_frame_begin(&sandbox->out, type, id, &mark) == PERI_OK)
        peri_frame_end(&sandbox->out, mark);
}

static void sandbox_unload(struct peri_runtime *runtime, uint64_t version_id)
{
    simple_frame(of(runtime), PERI_FRAME_UNLOAD, version_id);
}

static enum peri_code sandbox_call(struct peri_runtime *runtime, const struct peri_invocation *call,
                                   struct peri_error *err)
{
    struct peri__sandbox *sandbox = of(runtime);
    if (sandbox->doomed)
        return broken(err);
    struct peri__inflight *inflight = calloc(1, sizeof *inflight);
    size_t mark = 0;
    enum peri_code code = inflight ? peri__idmap_put(&sandbox->calls, call->call_id, inflight) : PERI_NOMEM;
    if (code) {
        free(inflight);
        return peri_error_set(err, code, "out of memory");
    }
    inflight->id = call->call_id;
    inflight->deadline = (int64_t)uv_now(sandbox->options.uv) + call->timeout_ms;
    peri_buf_init(&inflight->chunks, sandbox->options.response_limit);
    inflight->next = sandbox->first;
    if (sandbox->first)
        sandbox->first->prev = inflight;
    sandbox->first = inflight;
    code = peri_frame_begin(&sandbox->out, PERI_FRAME_CALL, call->call_id, &mark);
    if (!code)
        code = peri_frame_put_u64(&sandbox->out, call->version_id);
    if (!code)
        code = peri_frame_put_u64(&sandbox->out, (uint64_t)call->timeout_ms);
    if (!code)
        code = peri_frame_put_u64(&sandbox->out, call->memory_limit);
    if (!code)
        code = peri_frame_put_u8(&sandbox->out, (uint8_t)call->input);
    if (!code)
        code = peri_frame_put_str(&sandbox->out, call->meta);
    if (!code)
        code = peri_frame_put_str(&sandbox->out, call->body);
    code = end_frame(sandbox, mark, code, err);
    if (code)
        peri__sandbox_drop_call(sandbox, inflight);
    else
        peri__sandbox_watch(sandbox);
    return code;
}

static void sandbox_cancel(struct peri_runtime *runtime, uint64_t call_id)
{
    struct peri__sandbox *sandbox = of(runtime);
    struct peri__inflight *call = peri__idmap_get(&sandbox->calls, call_id);
    if (!call || call->cancelled || call->answered)
        return;
    call->cancelled = true;
    int64_t now = (int64_t)uv_now(sandbox->options.uv);
    if (call->deadline > now)
        call->deadline = now;
    simple_frame(sandbox, PERI_FRAME_CANCEL, call_id);
}

static void sandbox_free(struct peri_runtime *runtime)
{
    if (runtime)
        peri__sandbox_close(of(runtime));
}

static const struct peri_runtime_kind sandbox_kind = {
    .load = sandbox_load,
    .unload = sandbox_unload,
    .call = sandbox_call,
    .cancel = sandbox_cancel,
    .free = sandbox_free,
};

enum peri_code peri__sandbox_new(const struct peri__sandbox_options *options, struct peri__sandbox **out,
                                 struct peri_error *err)
{
    static unsigned number;
    struct peri__sandbox *sandbox = calloc(1, sizeof *sandbox);
    char tmp[4096];
    snprintf(tmp, sizeof tmp, "%s/sandbox-%d-%u", options->tmp_dir, (int)getpid(), ++number);
    *out = NULL;
    if (sandbox)
        sandbox->tmp = peri_str_dup(peri_str_from(tmp));
    if (!sandbox || !sandbox->tmp) {
        free(sandbox);
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    sandbox->runtime.kind = &sandbox_kind;
    sandbox->options = *options;
    sandbox->fd = sandbox->page_fd = -1;
    struct peri_random random = peri_random_system();
    random.fill(random.state, sandbox->key, sizeof sandbox->key);
    peri_buf_init(&sandbox->in, OUT_MAX);
    peri_buf_init(&sandbox->out, OUT_MAX);
    peri_buf_init(&sandbox->line, 65536);
    enum peri_code code = peri__sandbox_spawn(sandbox, err);
    if (code) {
        peri__sandbox_close(sandbox);
        return code;
    }
    *out = sandbox;
    return PERI_OK;
}

struct peri_runtime *peri__sandbox_runtime(struct peri__sandbox *sandbox)
{
    return &sandbox->runtime;
}

void peri__sandbox_start(struct peri__sandbox *sandbox, const char *service_url)
{
    size_t mark = 0;
    if (sandbox->doomed)
        return;
    enum peri_code code = peri_frame_begin(&sandbox->out, PERI_FRAME_START, 0, &mark);
    if (!code)
        code = peri_frame_put_str(&sandbox->out, (struct peri_str){ (const char *)sandbox->key, sizeof sandbox->key });
    if (!code)
        code = peri_frame_put_str(&sandbox->out, peri_str_from(service_url));
    if (end_frame(sandbox, mark, code, NULL) != PERI_OK)
        peri__sandbox_doom(sandbox, "the sandbox was stopped: no memory for its first frame");
}

const unsigned char *peri__sandbox_key(const struct peri__sandbox *sandbox)
{
    return sandbox->key;
}

void peri__sandbox_flush(struct peri__sandbox *sandbox)
{
    if (sandbox->doomed || sandbox->sent == sandbox->out.len)
        return;
    ssize_t n = write(sandbox->fd, sandbox->out.data + sandbox->sent, sandbox->out.len - sandbox->sent);
    if (n > 0)
        sandbox->sent += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        return; /* the reading side hears of the end, and of what was said before it */
    if (sandbox->sent == sandbox->out.len) {
        sandbox->sent = 0;
        if (sandbox->out.cap > 4 * 1024 * 1024)
            peri_buf_fini(&sandbox->out);
        else
            peri_buf_clear(&sandbox->out);
    } else if (sandbox->sent > 1024 * 1024 && sandbox->sent > sandbox->out.len / 2) {
        peri_buf_consume(&sandbox->out, sandbox->sent);
        sandbox->sent = 0;
    }
    peri__sandbox_want(sandbox, sandbox->sent < sandbox->out.len);
}

bool peri__sandbox_usable(const struct peri__sandbox *sandbox)
{
    return sandbox->hello && !sandbox->doomed;
}

int peri__sandbox_pid(const struct peri__sandbox *sandbox)
{
    return sandbox->pid;
}

size_t peri__sandbox_unsent(const struct peri__sandbox *sandbox)
{
    return sandbox->out.len - sandbox->sent;
}

uint64_t peri__sandbox_lua_bytes(const struct peri__sandbox *sandbox)
{
    return atomic_load(&sandbox->page->lua_bytes);
}
