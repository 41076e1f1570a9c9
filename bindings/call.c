/* SPDX-License-Identifier: MIT */
#include "rt.h"

/* What a task's coroutine runs: the package's entry file, or its handler. */

/* Sets the failure that the value at index says: nil, err. */
static void set_failure(lua_State *L, int index, struct rt_task *task)
{
    index = lua_absindex(L, index);
    size_t len;
    if (lua_istable(L, index) && luaL_getmetafield(L, index, "__tostring") == LUA_TNIL) {
        if (lua_getfield(L, index, "message") != LUA_TSTRING) {
            lua_pushfstring(L, "the handler failed with an error that is a %s without `message`",
                            luaL_typename(L, index));
        }
    } else {
        luaL_tolstring(L, index, NULL);
    }
    const char *text = lua_tolstring(L, -1, &len);
    task->code = PERI_HANDLER_FAILED;
    peri__text_set(&task->message, text, len);
}

int peri__describe_main(lua_State *L)
{
    struct rt_task *task = lua_touserdata(L, 1);
    set_failure(L, 2, task);
    return 0;
}

/* ---- a call ---- */

int peri__call_finish(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct rt_task *task = (struct rt_task *)context;
    struct rt_runtime *rt = task->version->rt;
    if (lua_isnil(L, 1) && !lua_isnil(L, 2)) {
        set_failure(L, 2, task);
        return 0;
    }
    if (peri__is_response(L, 1)) {
        return peri__response_take(L, 1, task);
    }
    peri_buf_clear(&rt->out);
    enum peri_code code = peri_lua_json_encode(L, 1, &rt->out, &rt->err);
    if (code == PERI_TOO_LARGE) {
        peri__outcome_set(task, PERI_HANDLER_FAILED, "the answer is over the limit of %zu bytes", rt->response_limit);
    } else if (code != PERI_OK) {
        peri__outcome_set(task, PERI_HANDLER_FAILED, "the handler returned what JSON can't hold: %s", rt->err.message);
    }
    return 0;
}

int peri__call_main(lua_State *L)
{
    struct rt_task *task = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->state->handle_ref);
    if (!peri__context_push(L, task)) {
        peri__outcome_set(task, PERI_BAD_REQUEST, "the input is not JSON: %s", task->version->rt->err.message);
        return 0;
    }
    if (task->input == PERI_INPUT_EVENT) {
        return peri__event_main(L, task);
    }
    lua_callk(L, 1, 2, (lua_KContext)task, peri__call_finish);
    return peri__call_finish(L, LUA_OK, (lua_KContext)task);
}

/* ---- a load ---- */

static int finish_load(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct rt_task *task = (struct rt_task *)context;
    const char *entry = task->version->entry;
    if (!lua_istable(L, 1)) {
        lua_pushfstring(L, "%s returned %s; it must return a table with a function `handle`", entry,
                        luaL_typename(L, 1));
        return lua_error(L);
    }
    int type = lua_getfield(L, 1, "handle");
    if (type == LUA_TNIL) {
        lua_pushfstring(L, "%s returned a table without `handle`; it must return a table with a function `handle`",
                        entry);
        return lua_error(L);
    }
    if (type != LUA_TFUNCTION) {
        lua_pushfstring(L, "`handle` of %s is a %s; it must be a function", entry, lua_typename(L, type));
        return lua_error(L);
    }
    task->state->handle_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int peri__load_main(lua_State *L)
{
    struct rt_task *task = lua_touserdata(L, 1);
    struct rt_version *version = task->version;
    lua_settop(L, 0);
    if (version->check) {
        peri__package_check(L, version);
    }
    int status = peri__package_compile(L, version, version->entry);
    if (status == LUA_ERRFILE) {
        lua_pushfstring(L, "the package has no file %s", version->entry);
    }
    if (status != LUA_OK) {
        return lua_error(L);
    }
    lua_callk(L, 0, 1, (lua_KContext)task, finish_load);
    return finish_load(L, LUA_OK, (lua_KContext)task);
}
