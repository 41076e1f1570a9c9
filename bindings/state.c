/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "rt.h"

/* One Lua state per version: its allocator, which counts and refuses, and its pool of coroutines. */

#define MAX_CHAIN 256 /* more than Lua's limit of nested C calls, and so of coroutines within coroutines */

struct rt_state *peri__state_of(lua_State *L)
{
    void *state;
    lua_getallocf(L, &state);
    return state;
}

struct rt_task *peri__running(lua_State *L)
{
    return atomic_load_explicit(&peri__state_of(L)->rt->running, memory_order_relaxed);
}

lua_State **peri__thread_child(lua_State *L)
{
    return lua_getextraspace(L);
}

/* A call is refused memory when it and the state as a whole have grown by more than its quota: garbage that others
 * left is not held against it, and neither is what it takes over from them. */
static bool over_quota(const struct rt_state *state, const struct rt_task *task, size_t grow)
{
    int64_t own = task->charge + (int64_t)grow;
    int64_t all = (int64_t)(state->bytes + grow) - (int64_t)state->baseline;
    return own > (int64_t)task->memory_limit && all > (int64_t)task->memory_limit;
}

static void *allocate(void *data, void *block, size_t old_size, size_t new_size)
{
    struct rt_state *state = data;
    struct rt_runtime *rt = state->rt;
    struct rt_task *task = atomic_load_explicit(&rt->running, memory_order_relaxed);
    size_t old = block ? old_size : 0;
    void *fresh = NULL;
    if (task && task->state != state) {
        task = NULL;
    }
    if (new_size > old && task && over_quota(state, task, new_size - old)) {
        task->refused = new_size - old;
        return NULL;
    }
    if (new_size == 0) {
        free(block);
    } else {
        fresh = realloc(block, new_size);
        if (!fresh) {
            if (task) {
                task->refused = new_size - old;
            }
            return NULL;
        }
    }
    state->bytes += new_size - old;
    rt->bytes += new_size - old;
    if (task) {
        task->charge += (int64_t)new_size - (int64_t)old;
        if (task->charge > task->peak) {
            task->peak = task->charge;
        }
    }
    return fresh;
}

static int open_state(lua_State *L)
{
    peri__open_libs(L);
    return 0;
}

struct rt_state *peri__state_new(struct rt_version *version, struct peri_error *err)
{
    struct rt_runtime *rt = version->rt;
    struct rt_state *state = calloc(1, sizeof(*state));
    if (!state) {
        peri_error_set(err, PERI_NOMEM, "no memory for a Lua state");
        return NULL;
    }
    state->rt = rt;
    state->version = version;
    state->handle_ref = LUA_NOREF;
    state->L = lua_newstate(allocate, state);
    if (!state->L) {
        free(state);
        peri_error_set(err, PERI_NOMEM, "no memory for a Lua state");
        return NULL;
    }
    *peri__thread_child(state->L) = NULL;
    peri__waiter_init(state);
    lua_gc(state->L, LUA_GCSTOP); /* nothing is garbage yet */
    lua_pushcfunction(state->L, open_state);
    if (lua_pcall(state->L, 0, 0, 0) != LUA_OK) {
        peri_error_set(err, PERI_NOMEM, "can't open a Lua state: %s",
                       lua_type(state->L, -1) == LUA_TSTRING ? lua_tostring(state->L, -1) : "unknown error");
        lua_close(state->L);
        free(state);
        return NULL;
    }
    lua_gc(state->L, LUA_GCRESTART);
    state->baseline = state->bytes;
    state->next = rt->states;
    if (state->next) {
        state->next->prev = state;
    }
    rt->states = state;
    rt->state_count++;
    return state;
}

void peri__state_close(struct rt_state *state)
{
    struct rt_runtime *rt = state->rt;
    if (state->prev) {
        state->prev->next = state->next;
    } else {
        rt->states = state->next;
    }
    if (state->next) {
        state->next->prev = state->prev;
    }
    rt->state_count--;
    peri__service_drop(state);
    lua_close(state->L);
    free(state);
}

void peri__state_retire(struct rt_state *state)
{
    struct rt_version *version = state->version;
    state->retired = true;
    if (version && version->state == state) {
        version->state = NULL;
        version->phase = RT_COLD;
    }
    state->version = NULL;
    if (state->tasks == 0) {
        peri__state_close(state);
    }
}

void peri__state_release(struct rt_state *state)
{
    state->tasks--;
    state->dirty = true;
    if (state->tasks == 0 && state->retired) {
        peri__state_close(state);
    }
}

static int make_thread(lua_State *L)
{
    lua_State **out = lua_touserdata(L, 1);
    int *ref = lua_touserdata(L, 2);
    lua_State *co = lua_newthread(L);
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    *out = co;
    return 0;
}

bool peri__state_thread(struct rt_task *task)
{
    struct rt_state *state = task->state;
    if (state->pooled) {
        state->pooled--;
        task->co = state->pool[state->pooled].co;
        task->co_ref = state->pool[state->pooled].ref;
        return true;
    }
    lua_State *L = state->L;
    lua_pushcfunction(L, make_thread);
    lua_pushlightuserdata(L, &task->co);
    lua_pushlightuserdata(L, &task->co_ref);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        task->co = NULL;
        return false;
    }
    *peri__thread_child(task->co) = NULL;
    return true;
}

/* Blocked threads inside out: each may have variables to close, which must not run long. */
static void reset_threads(lua_State *L)
{
    lua_State *chain[MAX_CHAIN];
    unsigned count = 0;
    for (lua_State *co = L; co && co != RT_BLOCKED && count < MAX_CHAIN; count++) {
        chain[count] = co;
        co = *peri__thread_child(co);
    }
    struct rt_runtime *rt = peri__state_of(L)->rt;
    while (count--) {
        peri__reset_thread(chain[count]);
    }
    atomic_store_explicit(&rt->current, NULL, memory_order_relaxed);
}

void peri__state_thread_done(struct rt_task *task, bool clean)
{
    struct rt_state *state = task->state;
    lua_State *co = task->co;
    task->co = NULL;
    if (!co) {
        return;
    }
    if (!clean) {
        reset_threads(co);
        luaL_unref(state->L, LUA_REGISTRYINDEX, task->co_ref);
        return;
    }
    lua_settop(co, 0);
    if (state->pooled == RT_POOL) {
        luaL_unref(state->L, LUA_REGISTRYINDEX, task->co_ref);
        return;
    }
    state->pool[state->pooled].co = co;
    state->pool[state->pooled].ref = task->co_ref;
    state->pooled++;
}

void peri__state_collect(struct rt_state *state)
{
    while (state->pooled > 1) {
        state->pooled--;
        luaL_unref(state->L, LUA_REGISTRYINDEX, state->pool[state->pooled].ref);
    }
    lua_gc(state->L, LUA_GCCOLLECT);
    state->dirty = false;
}
