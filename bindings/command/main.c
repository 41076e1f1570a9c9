/* SPDX-License-Identifier: MIT */
/* The command `perilune`: a Lua state that finds this very tree's modules and runs perilune.cli. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

/* exec(path, arguments): becomes another program; returns only on failure: nil, message. */
static int command_exec(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lua_Integer count;
    const char **argv;

    luaL_checktype(L, 2, LUA_TTABLE);
    count = luaL_len(L, 2);
    luaL_argcheck(L, count < 10000, 2, "too many arguments");
    luaL_checkstack(L, (int)count, "too many arguments");
    argv = lua_newuserdatauv(L, ((size_t)count + 2) * sizeof *argv, 0);
    argv[0] = path;
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, 2, i);
        argv[i] = luaL_checkstring(L, -1);
    }
    argv[count + 1] = NULL;
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    execv(path, (char *const *)argv);
    lua_pushnil(L);
    lua_pushfstring(L, "can't start %s: %s", path, strerror(errno));
    return 2;
}

/* terminal(): {stdin =, stdout =, stderr = whether each is a terminal, columns = its width}. */
static int command_terminal(lua_State *L)
{
    struct winsize size = { 0 };

    lua_createtable(L, 0, 4);
    lua_pushboolean(L, isatty(STDIN_FILENO));
    lua_setfield(L, -2, "stdin");
    lua_pushboolean(L, isatty(STDOUT_FILENO));
    lua_setfield(L, -2, "stdout");
    lua_pushboolean(L, isatty(STDERR_FILENO));
    lua_setfield(L, -2, "stderr");
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        lua_pushinteger(L, size.ws_col);
        lua_setfield(L, -2, "columns");
    }
    return 1;
}

static const luaL_Reg functions[] = {
    { "exec", command_exec },
    { "terminal", command_terminal },
    { NULL, NULL },
};

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
    luaL_newlib(L, functions);
    lua_pushstring(L, command->prefix);
    lua_setfield(L, -2, "prefix");
    lua_call(L, 2, 1);
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
