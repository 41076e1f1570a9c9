/* SPDX-License-Identifier: MIT */
#include "object.h"

#include <stdatomic.h>
#include <string.h>

static atomic_int live;

void peri__live_add(int n)
{
    atomic_fetch_add(&live, n);
}

int peri__live(void)
{
    return atomic_load(&live);
}

void peri__define(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction close, lua_CFunction tostring)
{
    if (!luaL_newmetatable(L, type)) {
        lua_pop(L, 1);
        return;
    }
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "close");
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushstring(L, type);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void *peri__object(lua_State *L, const char *type, size_t size, int values)
{
    void *self = lua_newuserdatauv(L, size, values);
    memset(self, 0, size);
    luaL_setmetatable(L, type);
    return self;
}
