/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "object.h"

#define NAME_MAX_COMPARED 32

/* Number of single-character edits between two short words. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_COMPARED + 1];
    size_t n = strlen(b);
    if (strlen(a) > NAME_MAX_COMPARED || n > NAME_MAX_COMPARED) {
        return NAME_MAX_COMPARED;
    }
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j + 1] = best < diagonal + 1 ? best : diagonal + 1;
        }
    }
    return row[n];
}

static int refuse(lua_State *L, const char *what, const char *name, const struct peri_option *options, size_t count)
{
    const char *near = NULL;
    size_t best = 3;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(name, options[i].name);
        if (d < best) {
            best = d;
            near = options[i].name;
        }
    }
    if (near) {
        return luaL_error(L, "%s: unknown option '%s'; did you mean '%s'?", what, name, near);
    }
    return luaL_error(L, "%s: unknown option '%s'", what, name);
}

/* The option that the key below the top names. */
static size_t find(lua_State *L, const char *what, const struct peri_option *options, size_t count)
{
    if (lua_type(L, -2) != LUA_TSTRING) {
        luaL_error(L, "%s: options are named", what);
    }
    const char *name = lua_tostring(L, -2);
    for (size_t i = 0; i < count; i++) {
        if (name[0] == options[i].name[0] && strcmp(name, options[i].name) == 0) {
            return i;
        }
    }
    refuse(L, what, name, options, count);
    return count;
}

static int wrong_type(lua_State *L, const char *what, const struct peri_option *option, const char *expected)
{
    return luaL_error(L, "%s: option '%s' must be %s, not %s", what, option->name, expected, luaL_typename(L, -1));
}

/* The value is on top of the stack; its key, below it, ends up above it. */
static void store(lua_State *L, const char *what, const struct peri_option *option, char *to)
{
    int type = lua_type(L, -1);
    switch (option->type) {
    case PERI_OPT_STRING:
        if (type != LUA_TSTRING) {
            wrong_type(L, what, option, "a string");
        }
        *(const char **)(void *)to = lua_tostring(L, -1);
        break;
    case PERI_OPT_BOOLEAN:
        if (type != LUA_TBOOLEAN) {
            wrong_type(L, what, option, "a boolean");
        }
        *(bool *)(void *)to = lua_toboolean(L, -1);
        break;
    case PERI_OPT_SECONDS:
        if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1)) {
            *(int64_t *)(void *)to = -1;
        } else if (type != LUA_TNUMBER || !(lua_tonumber(L, -1) > 0 && lua_tonumber(L, -1) < 1e12)) {
            wrong_type(L, what, option, "seconds over 0, or false");
        } else {
            int64_t ms = (int64_t)(lua_tonumber(L, -1) * 1000);
            *(int64_t *)(void *)to = ms > 0 ? ms : 1;
        }
        break;
    case PERI_OPT_INTEGER:
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0) {
            wrong_type(L, what, option, "an integer from 0 on");
        }
        *(int64_t *)(void *)to = lua_tointeger(L, -1);
        break;
    case PERI_OPT_VALUE:
        *(int *)(void *)to = lua_gettop(L) - 1;
        break;
    }
    lua_insert(L, -2);
}

void peri__read_options(lua_State *L, int index, const char *what, const struct peri_option *options, size_t count,
                        void *out)
{
    index = lua_absindex(L, index);
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, (int)count + 4, what);
    uint32_t seen = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t i = find(L, what, options, count);
        seen |= UINT32_C(1) << i;
        store(L, what, &options[i], (char *)out + options[i].offset);
    }
    for (size_t i = 0; i < count; i++) {
        if (options[i].required && !(seen & UINT32_C(1) << i)) {
            luaL_error(L, "%s: option '%s' is required", what, options[i].name);
        }
    }
}
