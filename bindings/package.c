/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "rt.h"

/* Modules of handlers: files of the package's zip, which stays compressed in memory, perilune's own Lua files, and the
 * C modules that the runtime was given. */

#define NAME_MAX_LEN 200

static const char loading_key; /* its address is the registry key of the table module name -> task that loads it */

/* ---- files ---- */

static zip_t *open_zip(const struct rt_version *version)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(version->package, version->package_len, 0, &error);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : NULL;
    if (source && !zip) {
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return zip;
}

enum read_result { READ_OK, READ_ABSENT, READ_TOO_LARGE, READ_BROKEN };

static enum read_result read_entry(zip_t *zip, const char *name, size_t limit, struct peri_buf *out)
{
    zip_stat_t stat;
    if (zip_stat(zip, name, 0, &stat) != 0) {
        return READ_ABSENT;
    }
    if (!(stat.valid & ZIP_STAT_SIZE) || stat.size > limit) {
        return READ_TOO_LARGE;
    }
    zip_file_t *file = zip_fopen_index(zip, stat.index, 0);
    if (!file) {
        return READ_BROKEN;
    }
    enum read_result result = READ_BROKEN;
    if (peri_buf_reserve(out, stat.size + 1) == PERI_OK) {
        zip_int64_t count = zip_fread(file, out->data, stat.size + 1); /* one more: reads on to the checksum */
        if (count >= 0 && (zip_uint64_t)count == stat.size) {
            out->len = stat.size;
            out->data[out->len] = '\0';
            result = READ_OK;
        }
    }
    zip_fclose(file);
    return result;
}

/* Leaves out a byte order mark, and a first line with #!, as lua does. */
static struct peri_str source_text(const struct peri_buf *file)
{
    struct peri_str text = peri_buf_str(file);
    if (peri_str_has_prefix(text, "\xEF\xBB\xBF")) {
        text.data += 3;
        text.len -= 3;
    }
    if (text.len && text.data[0] == '#') {
        const char *end = memchr(text.data, '\n', text.len);
        size_t skip = end ? (size_t)(end - text.data) : text.len;
        text.data += skip;
        text.len -= skip;
    }
    return text;
}

static int compile_entry(lua_State *L, zip_t *zip, const char *name, size_t limit)
{
    char chunk_name[NAME_MAX_LEN + 2];
    struct peri_buf file;
    peri_buf_init(&file, limit + 1);
    int status = LUA_ERRSYNTAX;
    enum read_result result = read_entry(zip, name, limit, &file);
    if (result == READ_OK) {
        struct peri_str text = source_text(&file);
        snprintf(chunk_name, sizeof(chunk_name), "@%s", name);
        status = luaL_loadbufferx(L, text.len ? text.data : "", text.len, chunk_name, "t");
    }
    peri_buf_fini(&file);
    if (result == READ_ABSENT) {
        return LUA_ERRFILE;
    }
    if (result != READ_OK) {
        lua_pushfstring(L, "%s: %s", name,
                        result == READ_TOO_LARGE ? "larger than a source file may be"
                                                 : "can't be read from the package");
    }
    return status;
}

int peri__package_compile(lua_State *L, struct rt_version *version, const char *name)
{
    if (strlen(name) > NAME_MAX_LEN) {
        return LUA_ERRFILE;
    }
    zip_t *zip = open_zip(version);
    if (!zip) {
        lua_pushliteral(L, "the package is not a readable zip file");
        return LUA_ERRSYNTAX;
    }
    int status = compile_entry(L, zip, name, version->rt->file_limit);
    zip_discard(zip);
    return status;
}

void peri__package_check(lua_State *L, struct rt_version *version)
{
    zip_t *zip = open_zip(version);
    if (!zip) {
        luaL_error(L, "the package is not a readable zip file");
        return;
    }
    int status = LUA_OK;
    zip_int64_t count = zip_get_num_entries(zip, 0);
    for (zip_int64_t i = 0; i < count && status == LUA_OK; i++) {
        const char *name = zip_get_name(zip, (zip_uint64_t)i, 0);
        size_t len = name ? strlen(name) : 0;
        if (len > 4 && len <= NAME_MAX_LEN && strcmp(name + len - 4, ".lua") == 0) {
            status = compile_entry(L, zip, name, version->rt->file_limit);
            lua_settop(L, status == LUA_OK ? 0 : -1);
        }
    }
    zip_discard(zip);
    if (status != LUA_OK) {
        lua_error(L);
    }
}

static int compile_library(lua_State *L, const struct rt_runtime *rt, const char *name)
{
    char path[4096], chunk_name[NAME_MAX_LEN + 2];
    snprintf(path, sizeof(path), "%s/%s", rt->library, name);
    snprintf(chunk_name, sizeof(chunk_name), "@%s", name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        return LUA_ERRFILE;
    }
    struct peri_buf text;
    peri_buf_init(&text, rt->file_limit);
    char block[16384];
    size_t count;
    enum peri_code code = PERI_OK;
    while (code == PERI_OK && (count = fread(block, 1, sizeof(block), file)) > 0) {
        code = peri_buf_append(&text, block, count);
    }
    fclose(file);
    struct peri_str source = source_text(&text);
    int status = luaL_loadbufferx(L, source.len ? source.data : "", source.len, chunk_name, "t");
    peri_buf_fini(&text);
    return status;
}

/* ---- require ---- */

/* "a.b" with the pattern "%s/init.lua" is "a/b/init.lua". */
static void module_file(char out[NAME_MAX_LEN + 16], const char *module, const char *suffix)
{
    size_t len = strlen(module);
    for (size_t i = 0; i < len; i++) {
        out[i] = module[i] == '.' ? '/' : module[i];
    }
    memcpy(out + len, suffix, strlen(suffix) + 1);
}

/* perilune.core without what reaches the machine: it is the command's, not a handler's. */
static int open_core(lua_State *L)
{
    static const char *const removed[] = { "exec",   "host_credentials", "host_data_dir",
                                           "isatty", "self_dir",         "terminal_width" };
    lua_pushcfunction(L, luaopen_perilune_core);
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    for (size_t i = 0; i < sizeof(removed) / sizeof(removed[0]); i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, removed[i]);
    }
    return 1;
}

static const luaL_Reg *find_c_module(const struct rt_runtime *rt, const char *name)
{
    for (const luaL_Reg *module = rt->modules; module && module->name; module++) {
        if (strcmp(module->name, name) == 0) {
            return module;
        }
    }
    return NULL;
}

static bool is_library(const char *name)
{
    return strcmp(name, "perilune") == 0 || strncmp(name, "perilune.", strlen("perilune.")) == 0;
}

static bool push_c_loader(lua_State *L, struct rt_state *state, const char *name)
{
    const luaL_Reg *module = find_c_module(state->rt, name);
    if (module) {
        lua_pushcfunction(L, module->func);
        return true;
    }
    if (strcmp(name, "perilune.core") == 0) {
        peri_lua_set_waiter(L, &state->waiter);
        lua_pushcfunction(L, open_core);
        return true;
    }
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    if (lua_getfield(L, -1, name) == LUA_TFUNCTION) {
        lua_remove(L, -2);
        return true;
    }
    lua_pop(L, 2);
    return false;
}

/* Pushes the function that makes the module, or raises. */
static void push_loader(lua_State *L, const char *name)
{
    static const char *const suffixes[] = { ".lua", "/init.lua" };
    struct rt_state *state = peri__state_of(L);
    struct rt_version *version = peri__running(L)->version;
    char file[2][NAME_MAX_LEN + 16];
    if (push_c_loader(L, state, name)) {
        return;
    }
    bool library = is_library(name) && state->rt->library;
    int status = LUA_ERRFILE;
    for (int i = 0; i < 2 && status == LUA_ERRFILE; i++) {
        module_file(file[i], name, suffixes[i]);
        status = library ? compile_library(L, state->rt, file[i]) : peri__package_compile(L, version, file[i]);
    }
    if (status == LUA_ERRFILE) {
        luaL_error(L, "module '%s' not found:\n\tno C module of that name\n\tno file '%s' in %s\n\tno file '%s' in %s",
                   name, file[0], library ? "perilune" : "the package", file[1], library ? "perilune" : "the package");
    } else if (status != LUA_OK) {
        lua_error(L);
    }
}

static void set_loading(lua_State *L, bool on)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &loading_key);
    lua_pushvalue(L, 1);
    if (on) {
        lua_pushlightuserdata(L, peri__task_handle(peri__running(L)));
    } else {
        lua_pushnil(L);
    }
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static int finish_require(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    set_loading(L, false);
    if (status != LUA_OK && status != LUA_YIELD) {
        return peri__is_fatal(L, status) ? peri__raise_kill(L) : lua_error(L);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_insert(L, -2); /* name, loaded, value */
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushvalue(L, 1);
        if (lua_rawget(L, -2) == LUA_TNIL) { /* the module may have set it itself */
            lua_pop(L, 1);
            lua_pushboolean(L, 1);
        }
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
    return 1;
}

static int try_require(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct rt_state *state = peri__state_of(L);
    const char *name = lua_tostring(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        return 1;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &loading_key);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        struct rt_task *loader = peri__task_from_handle(state->rt, lua_touserdata(L, -1));
        if (loader == peri__running(L)) {
            return luaL_error(L, "module '%s' requires itself, directly or through others", name);
        }
        if (loader) { /* another call loads it just now and waits for something */
            return state->waiter.block(L, &state->waiter, 1, 0, try_require);
        }
    }
    lua_settop(L, 1);
    push_loader(L, name);
    set_loading(L, true);
    lua_pushvalue(L, 1);
    return finish_require(L, lua_pcallk(L, 1, 1, 0, 0, finish_require), 0);
}

static int require(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len > 0 && len <= NAME_MAX_LEN && strlen(name) == len, 1, "not a module's name");
    if (!peri__running(L)) {
        return luaL_error(L, "require outside of a call");
    }
    return try_require(L, LUA_OK, 0);
}

void peri__require(lua_State *L, const char *name, lua_KContext context, lua_KFunction k)
{
    lua_pushcfunction(L, require);
    lua_pushstring(L, name);
    lua_callk(L, 1, 1, context, k);
}

void peri__open_package(lua_State *L)
{
    lua_createtable(L, 0, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &loading_key);
    lua_createtable(L, 0, 2);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_setfield(L, -2, "loaded");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_setfield(L, -2, "preload");
    lua_setglobal(L, "package");
    lua_pushcfunction(L, require);
    lua_setglobal(L, "require");
}
