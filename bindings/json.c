/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "json.h"

/* The codec's Lua face, and what marks arrays. */

#define TEXT_MAX ((size_t)1 << 30)
#define SCRATCH_KEEP ((size_t)1 << 20)
#define FIRST_HINT 4

static const char array_key; /* its address is the registry key */
static const char kept_key;

void peri_lua_array(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key) == LUA_TTABLE) {
        return;
    }
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "perilune.array");
    lua_setfield(L, -2, "__name");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
}

static int kept_gc(lua_State *L)
{
    struct peri_json_kept *kept = lua_touserdata(L, 1);
    peri_buf_fini(&kept->text);
    return 0;
}

struct peri_json_kept *peri__json_kept(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &kept_key);
    struct peri_json_kept *kept = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (kept) {
        return kept;
    }
    kept = lua_newuserdatauv(L, sizeof *kept, 0);
    peri_buf_init(&kept->text, TEXT_MAX);
    memset(kept->hints, FIRST_HINT, sizeof kept->hints);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, kept_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &kept_key);
    return kept;
}

struct peri_buf *peri__json_scratch(lua_State *L)
{
    struct peri_buf *buf = &peri__json_kept(L)->text;
    if (buf->cap > SCRATCH_KEEP) {
        peri_buf_fini(buf);
    }
    peri_buf_clear(buf);
    return buf;
}

int peri__json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    struct peri_error err;
    struct peri_buf *buf = peri__json_scratch(L);
    if (peri_lua_json_encode(L, 1, buf, &err) != PERI_OK) {
        return peri_lua_fail(L, &err);
    }
    lua_pushlstring(L, buf->data, buf->len);
    if (buf->cap > SCRATCH_KEEP) {
        peri_buf_fini(buf);
    }
    return 1;
}

int peri__json_decode(lua_State *L)
{
    struct peri_str text;
    text.data = luaL_checklstring(L, 1, &text.len);
    struct peri_error err;
    if (peri_lua_json_decode(L, text, 0, &err) != PERI_OK) {
        return peri_lua_fail(L, &err);
    }
    return 1;
}
