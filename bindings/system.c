/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "object.h"
#include "perilune/hash.h"
#include "perilune/host.h"
#include "perilune/uri.h"

/* What the command and the Lua layer need of the system, beyond Lua's own libraries. */

#define ARGUMENTS_MAX 256
#define PATH_TEXT 4096

static int core_now(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)peri_clock_wall_ms(peri_clock_system()));
    return 1;
}

static int core_monotonic(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)peri_clock_monotonic_ms(peri_clock_system()) / 1000);
    return 1;
}

static int core_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* core.terminal_width([fd]): columns; nil when it is no terminal. */
static int core_terminal_width(lua_State *L)
{
    struct winsize size;
    if (ioctl((int)luaL_optinteger(L, 1, STDOUT_FILENO), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        lua_pushinteger(L, size.ws_col);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* core.self_dir(): the folder of the running program. */
static int core_self_dir(lua_State *L)
{
    char path[PATH_TEXT];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    struct peri_error err;
    if (n <= 0) {
        peri_error_set(&err, PERI_IO, "the program's path is unknown: %s", strerror(errno));
        return peri_lua_fail(L, &err);
    }
    path[n] = 0;
    char *slash = strrchr(path, '/');
    lua_pushlstring(L, path, slash > path ? (size_t)(slash - path) : 1);
    return 1;
}

/* core.exec(path, {argument, ...}): becomes the program; returns only nil and the error. */
static int core_exec(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    const char *argv[ARGUMENTS_MAX + 2] = { path };
    lua_Unsigned count = lua_rawlen(L, 2);
    luaL_argcheck(L, count <= ARGUMENTS_MAX, 2, "too many arguments");
    luaL_checkstack(L, (int)count, "arguments");
    for (lua_Unsigned i = 1; i <= count; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i);
        argv[i] = luaL_checkstring(L, -1);
    }
    struct peri_error err;
    execv(path, (char *const *)(void *)argv);
    peri_error_set(&err, PERI_IO, "can't run %s: %s", path, strerror(errno));
    return peri_lua_fail(L, &err);
}

static int core_live(lua_State *L)
{
    lua_pushinteger(L, peri__live());
    return 1;
}

/* core.host_credentials([data_dir]) -> url, token | nil, err */
static int core_host_credentials(lua_State *L)
{
    char *url = NULL;
    char *token = NULL;
    struct peri_error err;
    const char *data_dir = luaL_optstring(L, 1, NULL);
    if (peri_host_credentials_load(data_dir, &url, &token, &err) != PERI_OK) {
        return peri_lua_fail(L, &err);
    }
    /* Two copies into the state; out of memory between them would leak these few bytes, but not lose the token. */
    lua_pushstring(L, url);
    lua_pushstring(L, token);
    free(url);
    peri_secure_zero(token, strlen(token));
    free(token);
    return 2;
}

/* core.same_origin(a, b): whether two URLs have the same scheme, host and port -> boolean | nil, err */
static int core_same_origin(lua_State *L)
{
    struct peri_str text[2];
    struct peri_uri uri[2];
    struct peri_error err;
    for (int i = 0; i < 2; i++) {
        text[i].data = luaL_checklstring(L, i + 1, &text[i].len);
        if (peri_uri_parse(text[i], &uri[i], &err) != PERI_OK) {
            return peri_lua_fail(L, &err);
        }
    }
    lua_pushboolean(L, peri_uri_same_origin(&uri[0], &uri[1]));
    return 1;
}

static int core_host_data_dir(lua_State *L)
{
    char *path = peri_host_data_dir();
    lua_pushstring(L, path);
    free(path);
    return 1;
}

/* core.user_name(): who runs this program, whatever the environment says; nil when the system has no name for them. */
static int core_user_name(lua_State *L)
{
    struct passwd entry, *found = NULL;
    char text[PATH_TEXT];
    if (getpwuid_r(getuid(), &entry, text, sizeof text, &found) != 0 || !found) {
        return 0;
    }
    lua_pushstring(L, found->pw_name);
    return 1;
}

const luaL_Reg peri__system[] = {
    { "now", core_now },
    { "monotonic", core_monotonic },
    { "isatty", core_isatty },
    { "terminal_width", core_terminal_width },
    { "self_dir", core_self_dir },
    { "exec", core_exec },
    { "live", core_live },
    { "host_credentials", core_host_credentials },
    { "host_data_dir", core_host_data_dir },
    { "same_origin", core_same_origin },
    { "user_name", core_user_name },
    { NULL, NULL },
};
