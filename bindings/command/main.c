/* SPDX-License-Identifier: MIT */
/* The command `perilune`: a Lua state that finds this very tree's modules and runs perilune.cli. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

struct command {
    int argc;
    char **argv;
    char prefix[PATH_MAX]; /* <prefix>/bin/perilune is this program, in the build tree as in the installed one */
    int exit_code;
};

static void interrupted(int signo)
{
    static const char text[] = "perilune: interrupted\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    signal(signo, SIG_DFL);
    raise(signo);
}

/* A closed standard stream would be the next socket that is opened, and be written to. */
static void open_standard_streams(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static int find_prefix(struct command *command)
{
    ssize_t len = readlink("/proc/self/exe", command->prefix, sizeof command->prefix - 1);

    if (len < 0)
        return -1;
    command->prefix[len] = '\0';
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(command->prefix, '/');
        if (!slash)
            return -1;
        *slash = '\0';
    }
    return 0;
}

static void put_first(lua_State *L, const char *field, const char *addition)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, field);
    lua_pushfstring(L, "%s;%s", addition, lua_tostring(L, -1));
    lua_setfield(L, -3, field);
    lua_pop(L, 2);
}

/* In protected mode, because nearly everything here may raise. */
static int run(lua_State *L)
{
    struct command *command = lua_touserdata(L, 1);

    luaL_openlibs(L);
    put_first(
        L, "path",
        lua_pushfstring(L, "%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua", command->prefix, command->prefix));
    put_first(L, "cpath", lua_pushfstring(L, "%s/lib/lua/5.4/?.so", command->prefix));

    lua_getglobal(L, "require");
    lua_pushliteral(L, "perilune.cli");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_createtable(L, command->argc, 1);
    for (int i = 0; i < command->argc; i++) {
        lua_pushstring(L, command->argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    command->exit_code = (int)luaL_checkinteger(L, -1);
    return 0;
}

static int traceback(lua_State *L)
{
    const char *message = lua_tostring(L, 1);

    luaL_traceback(L, L, message ? message : luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

int main(int argc, char **argv)
{
    struct command command = { .argc = argc, .argv = argv, .exit_code = 1 };
    lua_State *L;

    open_standard_streams();
    if (find_prefix(&command) < 0) {
        fprintf(stderr, "perilune: can't tell where this program is: %s\n", strerror(errno));
        return 1;
    }
    signal(SIGPIPE, SIG_IGN); /* a reader that left shows up as EPIPE, on a socket too */
    signal(SIGINT, interrupted);
    L = luaL_newstate();
    if (!L) {
        fputs("perilune: out of memory\n", stderr);
        return 1;
    }
    lua_pushcfunction(L, traceback);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, &command);
    if (lua_pcall(L, 1, 0, 1) != LUA_OK) {
        const char *message = lua_tostring(L, -1);
        fprintf(stderr, "perilune: internal error: %s\n", message ? message : "(no message)");
        command.exit_code = 1;
    }
    lua_close(L);
    return command.exit_code;
}
