/* SPDX-License-Identifier: MIT */
#include "lperi.h"

/* The error table: {code, message, status, operation, platform_code, request_id, retry_after, retryable}. What is
 * unknown is absent; retry_after is in seconds. perilune adds {missing, duplicated, trace, call_id, body} where the
 * answer has them. */

static const char error_key; /* its address is the registry key of the metatable */

/* The text of a field, kept alive by the stack; "" when it has none. */
static const char *field_text(lua_State *L, const char *field)
{
    return lua_getfield(L, 1, field) == LUA_TSTRING ? lua_tostring(L, -1) : "";
}

/* "cdf.functions.create: conflict (409): the name is taken [request id]" */
static int error_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "status");
    lua_Integer status = lua_tointeger(L, -1);
    const char *operation = field_text(L, "operation");
    const char *code = field_text(L, "code");
    const char *message = field_text(L, "message");
    const char *request_id = field_text(L, "request_id");
    const char *trace = field_text(L, "trace");
    const char *number = status > 0 ? lua_pushfstring(L, " (%I)", (LUAI_UACINT)status) : "";
    lua_pushfstring(L, "%s%s%s%s%s%s%s%s%s%s%s", operation, *operation ? ": " : "", code, number, *message ? ": " : "",
                    message, *request_id ? " [" : "", request_id, *request_id ? "]" : "", *trace ? "\n" : "", trace);
    return 1;
}

static void push_metatable(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key) == LUA_TTABLE) {
        return;
    }
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "perilune.error");
    lua_setfield(L, -2, "__name");
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
}

static void set_text(lua_State *L, const char *field, const char *text)
{
    if (*text) {
        lua_pushstring(L, text);
        lua_setfield(L, -2, field);
    }
}

void peri_lua_push_error(lua_State *L, const struct peri_error *err)
{
    lua_createtable(L, 0, 8);
    set_text(L, "code", peri_code_name(err->code));
    set_text(L, "message", err->message[0] ? err->message : peri_code_text(err->code));
    set_text(L, "operation", err->operation);
    set_text(L, "platform_code", err->platform_code);
    set_text(L, "request_id", err->request_id);
    lua_pushinteger(L, err->status);
    lua_setfield(L, -2, "status");
    lua_pushboolean(L, err->retryable);
    lua_setfield(L, -2, "retryable");
    if (err->retry_after_ms >= 0) {
        lua_pushnumber(L, (lua_Number)err->retry_after_ms / 1000);
        lua_setfield(L, -2, "retry_after");
    }
    push_metatable(L);
    lua_setmetatable(L, -2);
}

int peri_lua_fail(lua_State *L, const struct peri_error *err)
{
    lua_pushnil(L);
    peri_lua_push_error(L, err);
    return 2;
}
