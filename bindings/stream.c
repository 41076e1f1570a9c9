/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "object.h"

/* Bodies of Lua: a string, {path = "..."}, an open file, or a function. No callback of libcurl reaches Lua: it takes
 * what Lua fed before, or gives what Lua will take, and pauses the transfer otherwise. */

#define FEED_MAX ((size_t)256 * 1024 * 1024)
#define SINK_FULL ((size_t)256 * 1024)

/* Keeps the value at index for as long as the op; the first alone, a source and a sink in a table. */
static void anchor(lua_State *L, int index, int op_index)
{
    if (lua_getiuservalue(L, op_index, PERI_OP_ANCHORS) == LUA_TNIL) {
        lua_pushvalue(L, index);
        lua_setiuservalue(L, op_index, PERI_OP_ANCHORS);
        lua_pop(L, 1);
        return;
    }
    lua_createtable(L, 2, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, 2);
    lua_setiuservalue(L, op_index, PERI_OP_ANCHORS);
}

/* ---- a function that makes the body ---- */

static enum peri_code source_read(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    struct peri_lua_op *self = data;
    struct peri_lua_source *source = &self->source;
    size_t left = source->bytes.len - source->offset;
    if (left > 0) {
        *n = left < cap ? left : cap;
        memcpy(out, source->bytes.data + source->offset, *n);
        source->offset += *n;
        return PERI_OK;
    }
    if (source->failed) {
        return peri_error_set(err, PERI_IO, "the body's function failed: %s", source->why);
    }
    if (source->ended) {
        *n = 0;
        return PERI_OK;
    }
    source->wanted = true;
    peri__op_notify(self);
    return PERI_BUSY;
}

static void source_gone(void *data)
{
    struct peri_lua_op *self = data;
    self->source.reader = NULL;
}

/* op:feed(chunk): the next piece; op:feed(nil): the end; op:feed(nil, message): a failure, which ends the operation.
 * Answers whether the operation still wants it. */
int peri__op_feed(lua_State *L)
{
    struct peri_lua_op *self = peri__check(L, 1, PERI_TYPE_OP);
    struct peri_lua_source *source = &self->source;
    size_t len = 0;
    const char *chunk = lua_isnoneornil(L, 2) ? NULL : luaL_checklstring(L, 2, &len);
    const char *why = chunk ? NULL : luaL_optstring(L, 3, NULL);
    if (!source->reader) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (source->offset == source->bytes.len) {
        peri_buf_clear(&source->bytes);
        source->offset = 0;
    }
    if (chunk && peri_buf_append(&source->bytes, chunk, len) != PERI_OK) {
        why = "a piece is too large";
    }
    source->ended = source->ended || !chunk;
    if (why) {
        source->failed = true;
        (void)snprintf(source->why, sizeof source->why, "%s", why);
    }
    if (len > 0 || source->ended || source->failed) {
        source->wanted = false;
        peri_reader_resume(source->reader);
    }
    lua_pushboolean(L, !source->ended);
    return 1;
}

/* ---- a function that gets the answer ---- */

static enum peri_code sink_write(void *data, struct peri_str bytes, struct peri_error *err)
{
    struct peri_lua_op *self = data;
    struct peri_lua_sink *sink = &self->sink;
    if (sink->bytes.len > 0 && sink->bytes.len + bytes.len > SINK_FULL) {
        sink->blocked = true;
        return PERI_BUSY;
    }
    enum peri_code code = peri_buf_append(&sink->bytes, bytes.data, bytes.len);
    if (code != PERI_OK) {
        return peri_error_set(err, code, "%s", peri_code_text(code));
    }
    peri__op_notify(self);
    return PERI_OK;
}

static void sink_gone(void *data)
{
    struct peri_lua_op *self = data;
    self->sink.writer = NULL;
}

/* op:take(): what has arrived since; nil when nothing has. */
int peri__op_take(lua_State *L)
{
    struct peri_lua_op *self = peri__check(L, 1, PERI_TYPE_OP);
    struct peri_lua_sink *sink = &self->sink;
    if (sink->bytes.len == 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushlstring(L, sink->bytes.data, sink->bytes.len);
    peri_buf_clear(&sink->bytes);
    if (sink->blocked && sink->writer) {
        sink->blocked = false;
        peri_writer_resume(sink->writer);
    }
    return 1;
}

/* ---- an open file that can't seek: a pipe, a terminal ---- */

/* Through the FILE, whose buffer may hold what comes next. A closed one has no function to close it. */
static enum peri_code file_read(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    luaL_Stream *file = data;
    if (!file->closef) {
        return peri_error_set(err, PERI_IO, "the file was closed before all of it was sent");
    }
    do {
        clearerr(file->f);
        *n = fread(out, 1, cap, file->f);
    } while (*n == 0 && ferror(file->f) && errno == EINTR);
    if (*n == 0 && ferror(file->f)) {
        return peri_error_set(err, PERI_IO, "can't read the source file: %s", strerror(errno));
    }
    return PERI_OK;
}

static struct peri_reader *file_reader(luaL_Stream *file, struct peri_error *err)
{
    off_t offset = ftello(file->f);
    if (offset >= 0) {
        return peri_reader_fd(fileno(file->f), offset, -1, err);
    }
    if (errno == ESPIPE) {
        return peri_reader_callback(file_read, NULL, -1, file, NULL, err);
    }
    peri_error_set(err, PERI_IO, "the file can't be read at its position: %s", strerror(errno));
    return NULL;
}

/* ---- what a Lua value stands for ---- */

static luaL_Stream *open_file(lua_State *L, int index)
{
    luaL_Stream *file = luaL_testudata(L, index, LUA_FILEHANDLE);
    luaL_argcheck(L, !file || file->closef, index, "the file is closed");
    return file;
}

/* The path in {path = "..."}, on the stack; NULL when the value is no such table. */
static const char *path_of(lua_State *L, int index)
{
    if (!lua_istable(L, index)) {
        return NULL;
    }
    lua_getfield(L, index, "path");
    return lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
}

static struct peri_reader *function_reader(lua_State *L, int op_index, struct peri_error *err)
{
    struct peri_lua_op *self = lua_touserdata(L, op_index);
    peri_buf_init(&self->source.bytes, FEED_MAX);
    self->source.reader = peri_reader_callback(source_read, NULL, -1, self, source_gone, err);
    return self->source.reader;
}

struct peri_reader *peri__stream_reader(lua_State *L, int index, int op_index, struct peri_error *err)
{
    index = lua_absindex(L, index);
    op_index = lua_absindex(L, op_index);
    if (lua_type(L, index) == LUA_TSTRING) {
        struct peri_str text;
        text.data = lua_tolstring(L, index, &text.len);
        anchor(L, index, op_index);
        return peri_reader_borrowed(text, err);
    }
    if (lua_isfunction(L, index)) {
        return function_reader(L, op_index, err);
    }
    luaL_Stream *file = open_file(L, index);
    if (file) {
        anchor(L, index, op_index);
        return file_reader(file, err);
    }
    const char *path = path_of(L, index);
    if (!path) {
        luaL_typeerror(L, index, "string, {path=}, open file or function");
    }
    return peri_reader_file(path, err);
}

struct peri_writer *peri__stream_writer(lua_State *L, int index, int op_index, struct peri_error *err)
{
    index = lua_absindex(L, index);
    op_index = lua_absindex(L, op_index);
    if (lua_isfunction(L, index)) {
        struct peri_lua_op *self = lua_touserdata(L, op_index);
        peri_buf_init(&self->sink.bytes, FEED_MAX);
        self->sink.writer = peri_writer_callback(sink_write, NULL, self, sink_gone, err);
        return self->sink.writer;
    }
    luaL_Stream *file = open_file(L, index);
    if (file) {
        if (fflush(file->f) != 0) {
            peri_error_set(err, PERI_IO, "the file can't be written: %s", strerror(errno));
            return NULL;
        }
        anchor(L, index, op_index);
        return peri_writer_fd(fileno(file->f), err);
    }
    const char *path = path_of(L, index);
    if (!path) {
        luaL_typeerror(L, index, "{path=}, open file or function");
    }
    return peri_writer_file(path, 0644, err);
}

/* ---- files to upload ---- */

struct file_options {
    const char *path, *filename, *content_type, *name;
    int data, file;
};
static const struct peri_option file_options[] = {
    { "path", offsetof(struct file_options, path), PERI_OPT_STRING, false },
    { "data", offsetof(struct file_options, data), PERI_OPT_VALUE, false },
    { "file", offsetof(struct file_options, file), PERI_OPT_VALUE, false },
    { "filename", offsetof(struct file_options, filename), PERI_OPT_STRING, false },
    { "content_type", offsetof(struct file_options, content_type), PERI_OPT_STRING, false },
    { "name", offsetof(struct file_options, name), PERI_OPT_STRING, false },
};

static struct peri_reader *open_source(lua_State *L, const struct file_options *given, int op_index,
                                       struct peri_error *err)
{
    if ((given->path != NULL) + (given->data != 0) + (given->file != 0) != 1) {
        luaL_error(L, "files: a file has exactly one of 'path', 'data' and 'file'");
    }
    if (given->path) {
        return peri_reader_file(given->path, err);
    }
    if (given->data && lua_type(L, given->data) != LUA_TSTRING) {
        luaL_error(L, "files: option 'data' must be a string, not %s", luaL_typename(L, given->data));
    }
    if (given->file && !luaL_testudata(L, given->file, LUA_FILEHANDLE)) {
        luaL_error(L, "files: option 'file' must be an open file, not %s", luaL_typename(L, given->file));
    }
    return peri__stream_reader(L, given->data ? given->data : given->file, op_index, err);
}

static const char *default_name(const struct file_options *given)
{
    const char *slash = given->path ? strrchr(given->path, '/') : NULL;
    const char *name = slash ? slash + 1 : given->path;
    return name && *name ? name : "file";
}

/* The item on top of the stack. */
static bool add_file(lua_State *L, struct peri_lua_op *self, int op_index, struct peri_error *err)
{
    struct file_options given = { 0 };
    int item = lua_gettop(L);
    if (luaL_testudata(L, item, LUA_FILEHANDLE)) {
        given.file = item;
    } else if (lua_istable(L, item)) {
        peri__read_options(L, item, "files", file_options, sizeof file_options / sizeof *file_options, &given);
    } else {
        luaL_error(L, "files: a list of {path=}, {data=} or open files expected, not of %s", luaL_typename(L, item));
    }
    struct peri_reader *source = open_source(L, &given, op_index, err);
    const char *filename = given.filename ? given.filename : default_name(&given);
    bool added = source && peri_multipart_add_file(self->files, peri_str_from(given.name ? given.name : "files"),
                                                   peri_str_from(filename), given.content_type, source, err) == PERI_OK;
    lua_settop(L, item - 1);
    return added;
}

bool peri__stream_files(lua_State *L, int index, int op_index, struct peri_error *err)
{
    struct peri_lua_op *self = lua_touserdata(L, op_index);
    luaL_checktype(L, index, LUA_TTABLE);
    lua_Integer count = luaL_len(L, index);
    self->files = peri_multipart_new(err);
    for (lua_Integer i = 1; self->files && i <= count; i++) {
        lua_geti(L, index, i);
        if (!add_file(L, self, op_index, err)) {
            return false;
        }
    }
    return self->files != NULL;
}
