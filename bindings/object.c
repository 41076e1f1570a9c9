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

static const char *const type_names[PERI_TYPE_COUNT] = { PERI_LUA_CLIENT, PERI_LUA_OP, PERI_LUA_QUEUE };
static const char type_keys[PERI_TYPE_COUNT]; /* their addresses are the registry keys of the metatables */

void peri__define(lua_State *L, enum peri_lua_type type, const luaL_Reg *methods, lua_CFunction close,
                  lua_CFunction tostring)
{
    if (!luaL_newmetatable(L, type_names[type])) {
        lua_pop(L, 1);
        return;
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &type_keys[type]);
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
    lua_pushstring(L, type_names[type]);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void *peri__object(lua_State *L, enum peri_lua_type type, size_t size, int values)
{
    void *self = lua_newuserdatauv(L, size, values);
    memset(self, 0, size);
    ((struct peri_lua_object *)self)->type = &type_keys[type];
    lua_rawgetp(L, LUA_REGISTRYINDEX, &type_keys[type]);
    lua_setmetatable(L, -2);
    return self;
}

void *peri__check(lua_State *L, int index, enum peri_lua_type type)
{
    if (lua_type(L, index) == LUA_TUSERDATA && lua_rawlen(L, index) >= sizeof(struct peri_lua_object)) {
        struct peri_lua_object *object = lua_touserdata(L, index);
        if (object->type == &type_keys[type]) {
            return object;
        }
    }
    return luaL_checkudata(L, index, type_names[type]); /* raises */
}
