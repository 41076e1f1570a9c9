/* SPDX-License-Identifier: MIT */
#include "object.h"

/* How a Lua state waits. The state's waiter is in the registry: the one that a sandbox installed, or one that blocks and
 * is made at the first use, together with its loop. */

#define SLICE_MS 200 /* how often a blocked script looks for an interrupt */

static const char waiter_key; /* its address is the registry key */

struct blocking {
    struct peri_lua_waiter waiter;
};

static int nothing(lua_State *L)
{
    (void)L;
    return 0;
}

static int block(lua_State *L, struct peri_lua_waiter *waiter, int64_t timeout_ms, lua_KContext ctx, lua_KFunction k)
{
    (void)ctx;
    (void)k;
    struct peri_error err;
    int slice = timeout_ms < 0 || timeout_ms > SLICE_MS ? SLICE_MS : (int)timeout_ms;
    if (peri_loop_run_once(waiter->loop, slice, &err) != PERI_OK) {
        return luaL_error(L, "the event loop failed: %s", err.message);
    }
    if (lua_gethook(L)) {
        /* A call lets a pending hook run: this is how the stand-alone interpreter interrupts a script. */
        lua_pushcfunction(L, nothing);
        lua_call(L, 0, 0);
    }
    return 0;
}

static void ready(struct peri_lua_waiter *waiter, void *waiting)
{
    (void)waiter;
    (void)waiting; /* running the loop returns after every event */
}

static void *current(struct peri_lua_waiter *waiter, lua_State *L)
{
    (void)waiter;
    return L;
}

static int blocking_gc(lua_State *L)
{
    struct blocking *self = lua_touserdata(L, 1);
    peri_loop_free(self->waiter.loop);
    self->waiter.loop = NULL;
    return 0;
}

static struct peri_lua_waiter *make_blocking(lua_State *L)
{
    struct blocking *self = lua_newuserdatauv(L, sizeof *self, 0);
    *self = (struct blocking){ .waiter = { .block = block, .ready = ready, .current = current } };
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, blocking_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    struct peri_error err;
    self->waiter.loop = peri_loop_new(&err);
    if (!self->waiter.loop) {
        luaL_error(L, "no event loop: %s", err.message);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &waiter_key);
    return &self->waiter;
}

void peri_lua_set_waiter(lua_State *L, struct peri_lua_waiter *waiter)
{
    lua_pushlightuserdata(L, waiter);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &waiter_key);
}

struct peri_lua_waiter *peri_lua_get_waiter(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &waiter_key);
    struct peri_lua_waiter *waiter = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return waiter ? waiter : make_blocking(L);
}

void peri__wait_ready(struct peri_lua_wait *wait)
{
    if (wait->active) {
        wait->active = false;
        wait->waiter->ready(wait->waiter, wait->waiting);
    }
}

static int64_t now_ms(const struct peri_lua_waiter *waiter)
{
    return peri_clock_monotonic_ms(peri_loop_clock(waiter->loop));
}

int64_t peri__wait_deadline(lua_State *L, int index, struct peri_lua_waiter *waiter)
{
    if (lua_isnoneornil(L, index)) {
        return -1;
    }
    lua_Number seconds = luaL_checknumber(L, index);
    luaL_argcheck(L, seconds >= 0 && seconds < 1e12, index, "seconds from 0 on expected");
    return now_ms(waiter) + (int64_t)(seconds * 1000);
}

bool peri__wait_round(lua_State *L, struct peri_lua_wait *wait, int64_t deadline, lua_KFunction k)
{
    int64_t left = deadline < 0 ? -1 : deadline - now_ms(wait->waiter);
    if (deadline >= 0 && left <= 0) {
        wait->active = false;
        return false;
    }
    wait->waiting = wait->waiter->current(wait->waiter, L);
    wait->active = true;
    wait->waiter->block(L, wait->waiter, left, (lua_KContext)deadline, k);
    return true;
}
