/* SPDX-License-Identifier: MIT */
#include "json.h"
#include "object.h"

/* perilune.core: what of the library Lua sees. Names, defaults and tasks are perilune's, in Lua. */

/* core.error{code=, message=, ...}: the table becomes an error as those of C are. */
static int core_error(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct peri_error err = PERI_ERROR_INIT;
    peri_lua_push_error(L, &err);
    lua_getmetatable(L, -1);
    lua_setmetatable(L, 1);
    lua_settop(L, 1);
    return 1;
}

static void push_codes(lua_State *L)
{
    lua_createtable(L, 0, PERI_CODE_COUNT);
    for (int code = 0; code < PERI_CODE_COUNT; code++) {
        lua_pushstring(L, peri_code_text((enum peri_code)code));
        lua_setfield(L, -2, peri_code_name((enum peri_code)code));
    }
}

static const luaL_Reg functions[] = {
    { "json_encode", peri__json_encode },
    { "json_decode", peri__json_decode },
    { "error", core_error },
    { "client", peri__client_new },
    { "call", peri__call },
    { "request", peri__request },
    { "headers", peri__headers },
    { "sleep", peri__op_sleep },
    { "queue", peri__queue_new },
    { NULL, NULL },
};

int luaopen_perilune_core(lua_State *L)
{
    peri__client_define(L);
    peri__op_define(L);
    peri__queue_define(L);
    luaL_newlib(L, functions);
    luaL_setfuncs(L, peri__system, 0);
    lua_pushliteral(L, PERI_VERSION);
    lua_setfield(L, -2, "version");
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    peri_lua_array(L);
    lua_setfield(L, -2, "array_metatable");
    push_codes(L);
    lua_setfield(L, -2, "codes");
    return 1;
}
