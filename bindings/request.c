/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "json.h"
#include "object.h"
#include "perilune/json.h"
#include "perilune/service.h"

/* Starting operations: a service's, from its table, or any HTTP request. */

struct stream_options {
    int content, sink, files;
    bool progress;
    int64_t timeout_ms;
};
static const struct peri_option stream_options[] = {
    { "content", offsetof(struct stream_options, content), PERI_OPT_VALUE, false },
    { "sink", offsetof(struct stream_options, sink), PERI_OPT_VALUE, false },
    { "files", offsetof(struct stream_options, files), PERI_OPT_VALUE, false },
    { "progress", offsetof(struct stream_options, progress), PERI_OPT_BOOLEAN, false },
    { "timeout", offsetof(struct stream_options, timeout_ms), PERI_OPT_SECONDS, false },
};

/* Opens what the options name into the op's own places. False with err: can't be opened. */
static bool open_streams(lua_State *L, struct peri_lua_op *self, int op_index, int content, int sink,
                         struct peri_error *err)
{
    if (content) {
        self->content = peri__stream_reader(L, content, op_index, err);
        if (!self->content) {
            return false;
        }
    }
    if (sink) {
        self->out = peri__stream_writer(L, sink, op_index, err);
        if (!self->out) {
            return false;
        }
    }
    return true;
}

/* The last step: op (NULL: failed with err) goes into the userdata at op_index. */
static int finish_start(lua_State *L, struct peri_lua_op *self, int op_index, struct peri_op *op,
                        struct peri_lua_client *client, const struct peri_error *err)
{
    peri_headers_fini(&self->request_headers);
    if (!op) {
        return peri_lua_fail(L, err);
    }
    peri__op_start(self, op, client);
    lua_pushvalue(L, op_index);
    return 1;
}

/* The table at index as jansson's value, by way of its text: one codec, one set of rules. NULL: none given. */
static json_t *read_args(lua_State *L, int index, const char *what)
{
    if (lua_isnoneornil(L, index)) {
        return NULL;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    struct peri_error err;
    struct peri_buf *text = peri__json_scratch(L);
    json_t *args = NULL;
    if (peri_lua_json_encode(L, index, text, &err) == PERI_OK) {
        args = peri_json_parse(peri_buf_str(text), &err);
    }
    if (!args) {
        luaL_error(L, "%s: %s", what, err.message);
    }
    return args;
}

/* core.call(client, service, operation, args, streams) -> op | nil, err */
int peri__call(lua_State *L)
{
    struct peri_lua_client *client = peri__check_client(L, 1);
    const char *service_name = luaL_checkstring(L, 2);
    const char *name = luaL_checkstring(L, 3);
    const struct peri_service *service = peri_service_find(service_name);
    luaL_argcheck(L, service, 2, "no such service");
    lua_settop(L, 5);
    struct stream_options given = { 0 };
    if (!lua_isnil(L, 5)) {
        peri__read_options(L, 5, name, stream_options, sizeof stream_options / sizeof *stream_options, &given);
    }
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_lua_op *self = peri__op_push_of(L, client);
    int op_index = lua_gettop(L);
    if (!open_streams(L, self, op_index, given.content, given.sink, &err) ||
        (given.files && !peri__stream_files(L, given.files, op_index, &err))) {
        return peri_lua_fail(L, &err);
    }
    json_t *args = read_args(L, 4, name);
    struct peri_call_streams streams = {
        .content = self->content,
        .sink = self->out,
        .files = self->files,
        .progress = peri__op_progress,
        .uploaded = peri__op_uploaded,
        .progress_data = self,
        .timeout_ms = given.timeout_ms > 0 ? given.timeout_ms : 0,
    };
    self->tells = given.progress;
    self->content = NULL;
    self->out = NULL;
    self->files = NULL;
    struct peri_op *op = peri_service_call(client->client, service, name, args, &streams, &err);
    json_decref(args);
    if (!op && err.code == PERI_INVALID) {
        return luaL_error(L, "%s", err.message);
    }
    return finish_start(L, self, op_index, op, client, &err);
}

struct request_options {
    const char *method, *url, *shape, *operation;
    int headers, body, json, sink;
    bool idempotent, no_auth;
    int64_t timeout_ms;
};
static const struct peri_option request_options[] = {
    { "method", offsetof(struct request_options, method), PERI_OPT_STRING, false },
    { "url", offsetof(struct request_options, url), PERI_OPT_STRING, true },
    { "headers", offsetof(struct request_options, headers), PERI_OPT_VALUE, false },
    { "body", offsetof(struct request_options, body), PERI_OPT_VALUE, false },
    { "json", offsetof(struct request_options, json), PERI_OPT_VALUE, false },
    { "sink", offsetof(struct request_options, sink), PERI_OPT_VALUE, false },
    { "idempotent", offsetof(struct request_options, idempotent), PERI_OPT_BOOLEAN, false },
    { "no_auth", offsetof(struct request_options, no_auth), PERI_OPT_BOOLEAN, false },
    { "timeout", offsetof(struct request_options, timeout_ms), PERI_OPT_SECONDS, false },
    { "shape", offsetof(struct request_options, shape), PERI_OPT_STRING, false },
    { "operation", offsetof(struct request_options, operation), PERI_OPT_STRING, false },
};

static enum peri_shape shape_of(lua_State *L, const char *name)
{
    static const struct {
        const char *name;
        enum peri_shape shape;
    } shapes[] = {
        { "none", PERI_SHAPE_NONE }, { "json", PERI_SHAPE_RAW },      { "bytes", PERI_SHAPE_BYTES },
        { "page", PERI_SHAPE_PAGE }, { "answer", PERI_SHAPE_ANSWER },
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(name, shapes[i].name) == 0) {
            return shapes[i].shape;
        }
    }
    luaL_error(L, "request: unknown shape '%s'", name);
    return PERI_SHAPE_NONE;
}

static bool safe_method(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "DELETE") == 0 || strcmp(method, "OPTIONS") == 0;
}

/* The header of a JSON body whose caller gave none: most requests that have one. */
static char content_type[] = "Content-Type", json_media[] = "application/json";
static struct peri_header json_field = { content_type, json_media };
static const struct peri_headers json_header = {
    .items = &json_field,
    .count = 1,
    .cap = 1,
    .bytes = sizeof content_type + sizeof json_media - 2,
    .max_bytes = PERI_HEADERS_MAX_BYTES,
};

/* The value at index as the body, instead of any other, and its type unless the caller named one. */
static bool open_json(lua_State *L, struct peri_lua_op *self, int index, struct peri_error *err)
{
    struct peri_buf *text = peri__json_scratch(L);
    if (peri_lua_json_encode(L, index, text, err) != PERI_OK) {
        luaL_error(L, "request: %s", err->message);
    }
    if (self->request_headers.count > 0 && !peri_headers_get(&self->request_headers, content_type) &&
        peri_headers_set(&self->request_headers, content_type, json_media) != PERI_OK) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return false;
    }
    self->content = peri_reader_memory(peri_buf_str(text), err);
    return self->content != NULL;
}

/* The value at index (0: none) when it is a function, which whoever waits for the op calls; else nil. */
static void push_pumped(lua_State *L, int index)
{
    if (index && lua_isfunction(L, index)) {
        lua_pushvalue(L, index);
    } else {
        lua_pushnil(L);
    }
}

/* core.request(client, options, shape) -> op, source, sink | nil, err; shape goes before the one in options. source and
 * sink: the functions that are the body and take it, nil where there are none. */
int peri__request(lua_State *L)
{
    struct peri_lua_client *client = peri__check_client(L, 1);
    lua_settop(L, 3);
    struct request_options given = { .shape = "answer", .operation = "request" };
    given.idempotent = false;
    peri__read_options(L, 2, "request", request_options, sizeof request_options / sizeof *request_options, &given);
    enum peri_shape shape = shape_of(L, luaL_optstring(L, 3, given.shape));
    if (!given.method) {
        given.method = given.body || given.json ? "POST" : "GET";
    }
    struct peri_error err;
    peri_error_clear(&err);
    struct peri_lua_op *self = peri__op_push_of(L, client);
    int op_index = lua_gettop(L);
    if (given.headers) {
        peri__read_headers(L, given.headers, &self->request_headers);
    }
    if ((given.json && !open_json(L, self, given.json, &err)) ||
        !open_streams(L, self, op_index, given.json ? 0 : given.body, given.sink, &err)) {
        return peri_lua_fail(L, &err);
    }
    struct peri_http http = {
        .method = given.method,
        .url = given.url,
        .headers = given.json && self->request_headers.count == 0 ? &json_header : &self->request_headers,
        .body = self->content,
        .sink = self->out,
        .idempotent = given.idempotent || safe_method(given.method),
        .no_auth = given.no_auth,
        .timeout_ms = given.timeout_ms > 0 ? given.timeout_ms : 0,
        .shape = shape,
        .any_type = shape == PERI_SHAPE_NONE,
        .operation = given.operation,
        .progress = peri__op_progress,
        .progress_data = self,
    };
    self->content = NULL;
    self->out = NULL;
    struct peri_op *op = peri_client_request(client->client, &http, &err);
    if (!op && err.code == PERI_INVALID) {
        return luaL_error(L, "request: %s", err.message);
    }
    int results = finish_start(L, self, op_index, op, client, &err);
    if (results == 1) {
        push_pumped(L, given.body);
        push_pumped(L, given.sink);
        results = 3;
    }
    return results;
}
