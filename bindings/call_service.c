/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "perilune/hash.h"
#include "perilune/json.h"
#include "rt.h"

/* ctx.service: the host's access service, with a token of the call's own. The token is made when a handler first asks,
 * and the client that was made for it is closed when the call ends. The key never is a Lua value. */

void peri_lua_runtime_start(struct peri_runtime *runtime, struct peri_str key, struct peri_str service_url)
{
    struct rt_runtime *rt = (struct rt_runtime *)runtime;
    char *url = malloc(service_url.len + 1);
    rt->have_key = url && service_url.len && key.len == sizeof(rt->key);
    free(rt->service_url);
    rt->service_url = url;
    if (!rt->have_key) {
        return;
    }
    memcpy(url, service_url.data, service_url.len);
    url[service_url.len] = '\0';
    memcpy(rt->key, key.data, key.len);
}

void peri__service_fini(struct rt_runtime *rt)
{
    peri_secure_zero(rt->key, sizeof(rt->key));
    free(rt->service_url);
}

/* Which attempt the host says this is. */
static unsigned attempt_of(const struct rt_task *task)
{
    json_t *meta = peri_json_parse(task->meta, NULL);
    json_int_t attempt = json_integer_value(json_object_get(json_object_get(meta, "call"), "attempt"));
    json_decref(meta);
    return attempt > 0 ? (unsigned)attempt : 1;
}

/* () -> url, token */
static int access_function(lua_State *L)
{
    struct rt_task *task = peri__running(L);
    char token[PERI_CALL_TOKEN_MAX];
    struct peri_error err;
    if (!task || !task->version->rt->have_key) {
        return luaL_error(L, "ctx.service: this host has no access service");
    }
    struct rt_runtime *rt = task->version->rt;
    if (peri_call_token(rt->key, task->call_id, attempt_of(task), token, &err) != PERI_OK) {
        return luaL_error(L, "ctx.service: %s", err.message);
    }
    task->token = true;
    lua_pushstring(L, rt->service_url);
    lua_pushstring(L, token);
    return 2;
}

/* Stack: ctx, key, service, what is to be closed with the call. */
static int service_made(lua_State *L, int status, lua_KContext context)
{
    struct rt_task *task = peri__running(L);
    (void)status;
    (void)context;
    lua_pushvalue(L, 2);
    if (lua_rawget(L, 1) != LUA_TNIL) {
        return 1; /* another coroutine of the call was quicker: this one is for the collector */
    }
    if (lua_isuserdata(L, 4)) {
        lua_pushvalue(L, 4);
        task->closed_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, 1);
    lua_settop(L, 3);
    return 1;
}

static int module_loaded(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    lua_pushvalue(L, 1);
    lua_pushcfunction(L, access_function);
    lua_callk(L, 2, 2, 0, service_made);
    return service_made(L, LUA_OK, 0);
}

int peri__service_push(lua_State *L)
{
    lua_settop(L, 2);
    peri__require(L, "perilune.service", 0, module_loaded);
    return module_loaded(L, LUA_OK, 0);
}

static int close_value(lua_State *L)
{
    const struct rt_task *task = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->closed_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, task->closed_ref);
    if (luaL_getmetafield(L, -1, "__close") != LUA_TNIL) {
        lua_insert(L, -2);
        lua_call(L, 1, 0);
    }
    return 0;
}

void peri__service_close(struct rt_task *task)
{
    lua_State *L = task->state->L;
    lua_pushcfunction(L, close_value);
    lua_pushlightuserdata(L, task);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
    }
    task->closed_ref = 0;
}
