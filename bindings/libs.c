/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "rt.h"

/* The standard library as handlers have it. What is missing could reach the machine, load bytecode, or run code where no
 * deadline and no quota reach: io, debug, os.execute and its like, dofile, loadfile, string.dump, finalizers in Lua. */

static const char env_key; /* its address is the registry key of the version's environment */

static void remove_fields(lua_State *L, const char *const *names)
{
    for (; *names; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
}

/* ---- base ---- */

/* load as the manual has it, but for text alone: bytecode can break the interpreter. Upvalue 1: the library's. */
static int load_text(lua_State *L)
{
    int top = lua_gettop(L);
    const char *mode = luaL_optstring(L, 3, "t");
    if (!strchr(mode, 't')) {
        lua_pushnil(L);
        lua_pushliteral(L, "binary chunks are not available in a handler");
        return 2;
    }
    lua_settop(L, top < 3 ? 3 : top);
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    if (lua_isnil(L, 1) && peri__is_fatal(L, LUA_ERRRUN)) {
        return peri__raise_kill(L);
    }
    return lua_gettop(L);
}

/* A finalizer runs at any moment, in any call, where no hook reaches it. */
static int set_metatable(lua_State *L)
{
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L, "setmetatable: __gc is not available in a handler (__close is)");
        }
        lua_pop(L, 1);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int collect_garbage(lua_State *L)
{
    static const char *const allowed[] = { "collect", "count", "step", NULL };
    const char *option = luaL_optstring(L, 1, "collect");
    for (const char *const *name = allowed; *name; name++) {
        if (strcmp(*name, option) == 0) {
            lua_pushvalue(L, lua_upvalueindex(1));
            lua_insert(L, 1);
            lua_call(L, lua_gettop(L) - 1, 1);
            return 1;
        }
    }
    return luaL_error(L, "collectgarbage: '%s' is not available in a handler", option);
}

static void wrap_global(lua_State *L, const char *name, lua_CFunction function)
{
    lua_getglobal(L, name);
    lua_pushcclosure(L, function, 1);
    lua_setglobal(L, name);
}

static void log_global(lua_State *L, const char *name, enum peri_log_level level)
{
    lua_pushinteger(L, level);
    lua_pushcclosure(L, peri__log_function, 1);
    lua_setglobal(L, name);
}

static void open_base(lua_State *L)
{
    static const char *const removed[] = { "dofile", "loadfile", NULL };
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    remove_fields(L, removed);
    lua_pop(L, 1);
    wrap_global(L, "load", load_text);
    wrap_global(L, "setmetatable", set_metatable);
    wrap_global(L, "collectgarbage", collect_garbage);
    log_global(L, "print", PERI_LOG_INFO);
    log_global(L, "warn", PERI_LOG_WARN);
}

/* ---- os, debug, string ---- */

static int get_env(lua_State *L)
{
    luaL_checkstring(L, 1);
    struct rt_state *state = peri__state_of(L);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &env_key) == LUA_TNIL) {
        struct rt_task *task = peri__running(L);
        struct rt_version *version = task ? task->version : state->version;
        struct peri_str env = { version->env, version->env_len };
        lua_pop(L, 1);
        if (env.len == 0 || peri_lua_json_decode(L, env, 0, &state->rt->err) != PERI_OK || !lua_istable(L, -1)) {
            lua_settop(L, 1);
            lua_createtable(L, 0, 0);
        }
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &env_key);
    }
    lua_pushvalue(L, 1);
    lua_rawget(L, -2);
    return 1;
}

static int set_locale(lua_State *L)
{
    return luaL_error(L, "os.setlocale is not available in a handler");
}

static void open_os(lua_State *L)
{
    static const char *const kept[] = { "clock", "date", "difftime", "time", NULL };
    lua_createtable(L, 0, 6);
    luaL_requiref(L, "os", luaopen_os, 0);
    for (const char *const *name = kept; *name; name++) {
        lua_getfield(L, -1, *name);
        lua_setfield(L, -3, *name);
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, get_env);
    lua_setfield(L, -2, "getenv");
    lua_pushcfunction(L, set_locale);
    lua_setfield(L, -2, "setlocale");
}

/* All that is left of debug. */
static int traceback(lua_State *L)
{
    lua_State *of = L;
    int message = 1;
    if (lua_isthread(L, 1)) {
        of = lua_tothread(L, 1);
        message = 2;
    }
    if (!lua_isnoneornil(L, message) && !lua_isstring(L, message)) {
        lua_settop(L, message);
        return 1;
    }
    luaL_traceback(L, of, luaL_optstring(L, message, NULL), of == L ? 1 : 0);
    return 1;
}

static void set_library(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
    lua_setglobal(L, name);
}

static void open_string(lua_State *L)
{
    static const char *const removed[] = { "dump", NULL };
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    remove_fields(L, removed);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 3);
}

void peri__open_libs(lua_State *L)
{
    open_base(L);
    luaL_requiref(L, LUA_COLIBNAME, peri__open_coroutine, 1);
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
    lua_pop(L, 4);
    open_string(L);
    open_os(L);
    set_library(L, LUA_OSLIBNAME);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, traceback);
    lua_setfield(L, -2, "traceback");
    set_library(L, LUA_DBLIBNAME);
    peri__open_package(L);
    peri__open_context(L);
}
