/* SPDX-License-Identifier: MIT */
#include "rt.h"

/* pcall, xpcall and the coroutine library as the manual describes them, with two differences that a handler does not
 * see: a coroutine that must wait for I/O, or is preempted, takes those that resumed it along, out to the scheduler and
 * back; and the error that ends a call passes through them. */

/* ---- protected calls ---- */

static int finish_pcall(lua_State *L, int status, lua_KContext extra)
{
    if (status == LUA_OK || status == LUA_YIELD) {
        return lua_gettop(L) - (int)extra;
    }
    if (peri__is_fatal(L, status)) {
        peri__state_of(L)->rt->raised = NULL; /* Lua has hooks on again */
        return peri__raise_kill(L);
    }
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

static int protected_call(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall);
    return finish_pcall(L, status, 0);
}

/* Errors of a kill arise within the hook, where no other hook can stop a handler of the user's. */
static int message_handler(lua_State *L)
{
    if (peri__is_fatal(L, LUA_ERRRUN)) {
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int protected_call_with_handler(lua_State *L)
{
    int top = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, message_handler, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* f, handler, true, f, arguments */
    int status = lua_pcallk(L, top - 2, LUA_MULTRET, 2, 2, finish_pcall);
    return finish_pcall(L, status, 2);
}

/* ---- coroutines ---- */

enum co_state { CO_RUNNING, CO_DEAD, CO_SUSPENDED, CO_NORMAL };
static const char *const state_names[] = { "running", "dead", "suspended", "normal" };

static lua_State *check_thread(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

static enum co_state state_of(lua_State *L, lua_State *co)
{
    if (L == co) {
        return CO_RUNNING;
    }
    if (*peri__thread_child(co)) {
        return CO_NORMAL; /* blocked, or it has resumed another */
    }
    switch (lua_status(co)) {
    case LUA_YIELD:
        return CO_SUSPENDED;
    case LUA_OK: {
        lua_Debug ar;
        if (lua_getstack(co, 0, &ar)) {
            return CO_NORMAL;
        }
        return lua_gettop(co) == 0 ? CO_DEAD : CO_SUSPENDED;
    }
    default:
        return CO_DEAD;
    }
}

/* Runs co with `count` arguments on its stack until it ends, yields, or the whole call is to yield (*outwards). */
static int run(lua_State *L, lua_State *co, int count, int *results, bool *outwards)
{
    struct rt_runtime *rt = peri__state_of(L)->rt;
    struct rt_link link = { rt->link, false };
    link.yieldable = peri__can_yield(L);
    *peri__thread_child(co) = NULL;
    *peri__thread_child(L) = co;
    rt->link = &link;
    rt->yield = RT_YIELD_USER;
    atomic_store(&rt->current, co);
    struct rt_task *task = peri__running(L);
    if (task && atomic_load(&task->killed)) {
        peri__arm_kill(co);
    }
    int status = lua_resume(co, L, count, results);
    atomic_store(&rt->current, L);
    rt->link = link.prev;
    *outwards = status == LUA_YIELD && rt->yield != RT_YIELD_USER;
    if (!*outwards) {
        *peri__thread_child(L) = NULL;
    }
    return status;
}

/* The end of a resumption: the results of co, or its error, move to L. Returns their number, -1 for an error. */
static int take_results(lua_State *L, lua_State *co, int status, int results)
{
    if (status == LUA_OK || status == LUA_YIELD) {
        if (!lua_checkstack(L, results + 1)) {
            lua_pop(co, results);
            lua_pushliteral(L, "too many results to resume");
            return -1;
        }
        lua_xmove(co, L, results);
        return results;
    }
    lua_xmove(co, L, 1);
    if (peri__is_fatal(L, status)) {
        peri__reset_thread(co);
        atomic_store(&peri__state_of(L)->rt->current, L);
        peri__raise_kill(L);
    }
    return -1;
}

static int resumed(lua_State *L, lua_State *co, int count, lua_KContext context, lua_KFunction k,
                   int (*finish)(lua_State *L, lua_State *co, int results))
{
    int results = 0;
    bool outwards;
    int status = run(L, co, count, &results, &outwards);
    if (outwards) {
        return lua_yieldk(L, 0, context, k);
    }
    return finish(L, co, take_results(L, co, status, results));
}

/* Moves the arguments over and checks that co can be resumed. False: the message is on top of L. */
static bool prepare(lua_State *L, lua_State *co, int count)
{
    enum co_state state = state_of(L, co);
    if (state != CO_SUSPENDED) {
        lua_pushfstring(L, "cannot resume %s coroutine", state == CO_DEAD ? "dead" : "non-suspended");
        return false;
    }
    if (!lua_checkstack(co, count)) {
        lua_pushliteral(L, "too many arguments to resume");
        return false;
    }
    lua_xmove(L, co, count);
    return true;
}

static int finish_resume(lua_State *L, lua_State *co, int results)
{
    (void)co;
    if (results < 0) {
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushboolean(L, 1);
    lua_insert(L, -(results + 1));
    return results + 1;
}

static int continue_resume(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    return resumed(L, lua_tothread(L, 1), 0, context, continue_resume, finish_resume);
}

static int co_resume(lua_State *L)
{
    lua_State *co = check_thread(L);
    int count = lua_gettop(L) - 1;
    if (!prepare(L, co, count)) {
        return finish_resume(L, co, -1);
    }
    return resumed(L, co, count, 0, continue_resume, finish_resume);
}

static int finish_wrap(lua_State *L, lua_State *co, int results)
{
    if (results >= 0) {
        return results;
    }
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) { /* an error of co: its variables are to be closed */
        lua_pop(L, 1);
        peri__reset_thread(co);
        atomic_store(&peri__state_of(L)->rt->current, L);
        lua_xmove(co, L, 1);
        if (peri__is_fatal(L, LUA_ERRRUN)) {
            return peri__raise_kill(L);
        }
    }
    if (lua_type(L, -1) == LUA_TSTRING) { /* where wrap was called, as the library has it */
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int continue_wrap(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    return resumed(L, lua_tothread(L, lua_upvalueindex(1)), 0, context, continue_wrap, finish_wrap);
}

static int call_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int count = lua_gettop(L);
    if (!prepare(L, co, count)) {
        return finish_wrap(L, co, -1);
    }
    return resumed(L, co, count, 0, continue_wrap, finish_wrap);
}

static int co_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    *peri__thread_child(co) = NULL;
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

static int co_wrap(lua_State *L)
{
    co_create(L);
    lua_pushcclosure(L, call_wrapped, 1);
    return 1;
}

static bool is_call(lua_State *L)
{
    struct rt_task *task = peri__running(L);
    return !task || task->co == L;
}

static int co_yield (lua_State *L)
{
    if (is_call(L)) {
        return luaL_error(L, "handler yielded outside of a coroutine of its own");
    }
    return lua_yield(L, lua_gettop(L));
}

static int co_status(lua_State *L)
{
    lua_pushstring(L, state_names[state_of(L, check_thread(L))]);
    return 1;
}

static int co_isyieldable(lua_State *L)
{
    lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
    lua_pushboolean(L, !is_call(co) && lua_isyieldable(co));
    return 1;
}

static int co_running(lua_State *L)
{
    lua_pushthread(L);
    lua_pushboolean(L, is_call(L));
    return 2;
}

static int co_close(lua_State *L)
{
    lua_State *co = check_thread(L);
    enum co_state state = state_of(L, co);
    if (state != CO_DEAD && state != CO_SUSPENDED) {
        return luaL_error(L, "cannot close a %s coroutine", state_names[state]);
    }
    struct rt_runtime *rt = peri__state_of(L)->rt;
    atomic_store(&rt->current, co);
    int status = lua_resetthread(co);
    atomic_store(&rt->current, L);
    if (status == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    if (peri__is_fatal(L, status)) {
        return peri__raise_kill(L);
    }
    return 2;
}

static const luaL_Reg functions[] = {
    { "create", co_create }, { "resume", co_resume }, { "running", co_running }, { "status", co_status },
    { "wrap", co_wrap },     { "yield", co_yield },   { "close", co_close },     { "isyieldable", co_isyieldable },
    { NULL, NULL },
};

int peri__open_coroutine(lua_State *L)
{
    lua_pushcfunction(L, protected_call);
    lua_setglobal(L, "pcall");
    lua_pushcfunction(L, protected_call_with_handler);
    lua_setglobal(L, "xpcall");
    luaL_newlib(L, functions);
    return 1;
}
