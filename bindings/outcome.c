/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "perilune/json.h"
#include "rt.h"

/* How a task ended, in words, and the event that says so. */

#define OUT_KEEP (256 * 1024) /* a larger answer's buffer is given back */

void peri__text_set(struct peri_buf *buf, const char *text, size_t len)
{
    static const char cut[] = " ... (cut)";
    size_t max = RT_TEXT_MAX - sizeof(cut);
    peri_buf_clear(buf);
    peri_buf_append(buf, text, len < max ? len : max);
    if (len > max) {
        peri_buf_append_text(buf, cut);
    }
}

void peri__outcome_set(struct rt_task *task, enum peri_code code, const char *format, ...)
{
    char text[1200];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    task->code = code;
    peri__text_set(&task->message, text, len < (int)sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

static const char *size_text(char out[32], uint64_t bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < 3) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 32, "%.4g %s", value, units[unit]);
    return out;
}

void peri__outcome_killed(struct rt_task *task)
{
    char quota[32], peak[32], more[32];
    const char *what = task->kind == RT_LOAD ? "the package's top level" : "the handler";
    switch ((enum peri_code)atomic_load(&task->killed)) {
    case PERI_HANDLER_TIMEOUT:
        peri__outcome_set(task, PERI_HANDLER_TIMEOUT, "%s ran past its deadline of %g s", what,
                          (double)task->timeout_ms / 1000);
        break;
    case PERI_HANDLER_MEMORY:
        peri__outcome_set(task, PERI_HANDLER_MEMORY,
                          "%s went over its memory quota of %s: it held %s at its peak and asked for %s more", what,
                          size_text(quota, task->memory_limit), size_text(peak, (uint64_t)task->peak),
                          size_text(more, task->refused));
        break;
    default:
        peri__outcome_set(task, PERI_CANCELLED, "the call was cancelled");
        break;
    }
}

static void set_error_text(struct rt_task *task, lua_State *co)
{
    size_t len = 0;
    const char *text = lua_type(co, -1) == LUA_TSTRING ? lua_tolstring(co, -1, &len) : NULL;
    if (task->describing) {
        peri__outcome_set(task, PERI_HANDLER_FAILED, "the handler failed with an error whose __tostring failed: %s",
                          text ? text : luaL_typename(co, -1));
        return;
    }
    task->code = PERI_HANDLER_FAILED;
    peri__text_set(&task->message, text, len);
}

/* An error that is not a string may have a __tostring, which is the handler's code: it runs as a task does, on a
 * coroutine of its own, after the variables of the failed one are closed. */
static bool prepare_description(struct rt_task *task)
{
    lua_State *L = task->state->L;
    lua_xmove(task->co, L, 1);
    peri__state_thread_done(task, false);
    if (!peri__state_thread(task)) {
        lua_pop(L, 1);
        peri__outcome_set(task, PERI_HANDLER_FAILED, "the handler failed, and there is no memory to say how");
        return false;
    }
    lua_pushcfunction(task->co, peri__describe_main);
    lua_pushlightuserdata(task->co, task);
    lua_xmove(L, task->co, 1);
    task->arguments = 2;
    task->describing = true;
    return true;
}

bool peri__outcome(struct rt_task *task, int status)
{
    lua_State *co = task->co;
    bool failed = co && status != LUA_OK && status != LUA_YIELD && lua_status(co) != LUA_YIELD;
    if (co && status != LUA_OK && task->trace.len == 0) {
        peri__trace(co, &task->trace);
    }
    if (atomic_load(&task->killed) || (failed && peri__is_fatal(co, status))) {
        peri__outcome_killed(task);
    } else if (status == LUA_YIELD) {
        peri__outcome_set(task, PERI_HANDLER_FAILED, "handler yielded outside of a coroutine of its own");
    } else if (failed && !task->describing && lua_type(co, -1) != LUA_TSTRING) {
        return !prepare_description(task);
    } else if (failed) {
        set_error_text(task, co);
    }
    return true;
}

static void send_reply(struct rt_task *task)
{
    struct rt_runtime *rt = task->version->rt;
    struct peri_reply reply = {
        .kind = task->kind_of_reply,
        .code = task->code,
        .status = task->http_status,
        .content_type = peri_buf_str(&task->content_type),
        .headers = peri_buf_str(&task->headers),
        .token = task->token,
        .cpu_us = task->cpu_ns / 1000,
        .memory_peak = (uint64_t)task->peak,
    };
    struct peri_buf body;
    peri_buf_init(&body, 16 * RT_TEXT_MAX);
    if (task->code == PERI_OK) {
        reply.body = peri_buf_str(&rt->out);
    } else {
        peri_buf_append_text(&body, "{\"message\":");
        peri_json_write_string(&body, peri_buf_str(&task->message));
        peri_buf_append_text(&body, ",\"trace\":");
        peri_json_write_string(&body, peri_buf_str(&task->trace));
        peri_buf_append_text(&body, "}");
        reply.kind = PERI_REPLY_ERROR;
        reply.status = 0;
        reply.content_type = reply.headers = (struct peri_str){ NULL, 0 };
        reply.body = peri_buf_str(&body);
    }
    if (rt->events.reply) {
        rt->events.reply(rt->events.data, task->call_id, &reply);
    }
    peri_buf_fini(&body);
    if (rt->out.cap > OUT_KEEP) {
        peri_buf_fini(&rt->out);
    }
}

void peri__outcome_send(struct rt_task *task)
{
    atomic_store_explicit(&task->version->rt->output, true, memory_order_relaxed);
    if (task->kind == RT_LOAD) {
        peri__version_loaded(task);
    } else {
        send_reply(task);
    }
}
