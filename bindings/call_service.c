/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "object.h"
#include "perilune/hash.h"
#include "perilune/json.h"
#include "rt.h"

#define LINGER_NS INT64_C(10000000000) /* as long as the host takes a token after its call */

/* ctx.service: the host's access service; ctx.client: its Functions API. Both with a token of the call's own, which is
 * made when a handler first asks; the client that was made for it is closed when the call ends. The key never is a Lua
 * value. */

static const struct {
    const char *field, *module;
} made[] = { { "service", "perilune.service" }, { "client", "perilune.session" } };

const char *peri__service_module(const char *field)
{
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        if (strcmp(field, made[i].field) == 0) {
            return made[i].module;
        }
    }
    return NULL;
}

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

/* () -> url, token; upvalue 1: the field of ctx that is made */
static int access_function(lua_State *L)
{
    struct rt_task *task = peri__running(L);
    char token[PERI_CALL_TOKEN_MAX];
    struct peri_error err;
    if (!task || !task->version->rt->have_key) {
        return luaL_error(L, "ctx.%s: this host has no access service", lua_tostring(L, lua_upvalueindex(1)));
    }
    struct rt_runtime *rt = task->version->rt;
    if (peri_call_token(rt->key, task->call_id, attempt_of(task), token, &err) != PERI_OK) {
        return luaL_error(L, "ctx.%s: %s", lua_tostring(L, lua_upvalueindex(1)), err.message);
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
        int ref = luaL_ref(L, LUA_REGISTRYINDEX);
        task->closed_refs[task->closed_refs[0] ? 1 : 0] = ref; /* each field is made once */
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
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, access_function, 1);
    lua_callk(L, 2, 2, 0, service_made);
    return service_made(L, LUA_OK, 0);
}

int peri__service_push(lua_State *L, const char *module)
{
    lua_settop(L, 2);
    peri__require(L, module, 0, module_loaded);
    return module_loaded(L, LUA_OK, 0);
}

/* ---- its end ---- */

struct rt_lingering {
    struct rt_lingering *next;
    int ref;
    int64_t until_ns;
};

/* (ref, whether it is late) -> whether it goes on */
static int close_client(lua_State *L)
{
    int ref = (int)lua_tointeger(L, 1);
    bool late = lua_toboolean(L, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    if (!late && peri__client_busy(L, -1)) {
        lua_pushboolean(L, true);
        return 1;
    }
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    if (luaL_getmetafield(L, -1, "__close") != LUA_TNIL) {
        lua_insert(L, -2);
        lua_call(L, 1, 0);
    }
    return 0;
}

static bool goes_on(lua_State *L, int ref, bool late)
{
    lua_pushcfunction(L, close_client);
    lua_pushinteger(L, ref);
    lua_pushboolean(L, late);
    bool yes = lua_pcall(L, 2, 1, 0) == LUA_OK && lua_toboolean(L, -1);
    lua_pop(L, 1);
    return yes;
}

/* An upload that the deadline has cut off still tells the host to forget it: its client goes on for a while. */
static void close_or_linger(struct rt_state *state, int ref)
{
    if (!goes_on(state->L, ref, false)) {
        return;
    }
    struct rt_lingering *one = malloc(sizeof(*one));
    if (!one) {
        goes_on(state->L, ref, true);
        return;
    }
    *one = (struct rt_lingering){ state->lingering, ref, peri__now_ns() + LINGER_NS };
    state->lingering = one;
}

void peri__service_close(struct rt_task *task)
{
    for (size_t i = 0; i < sizeof(task->closed_refs) / sizeof(task->closed_refs[0]); i++) {
        int ref = task->closed_refs[i];
        task->closed_refs[i] = 0;
        if (ref) {
            close_or_linger(task->state, ref);
        }
    }
}

bool peri__service_sweep(struct rt_state *state, int64_t now_ns)
{
    for (struct rt_lingering **at = &state->lingering; *at;) {
        struct rt_lingering *one = *at;
        if (goes_on(state->L, one->ref, now_ns >= one->until_ns)) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free(one);
    }
    return state->lingering != NULL;
}

void peri__service_drop(struct rt_state *state)
{
    while (state->lingering) {
        struct rt_lingering *one = state->lingering;
        state->lingering = one->next;
        free(one);
    }
}
