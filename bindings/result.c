/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "object.h"

/* How an operation ended, as Lua values decoded straight from the answer's bytes. */

/* Depths of a reply whose keys are the platform's: 1 is the reply, 3 the objects in its list. */
#define KEYS_TOP 1u
#define KEYS_ITEMS 4u
/* {"error": {"missing": [{"externalId": ...}]}} */
#define KEYS_ERROR (2u | 8u)
/* {"detail": {"waitSeconds": ...}} */
#define KEYS_DETAIL 2u

static unsigned converted_depths(enum peri_shape shape)
{
    switch (shape) {
    case PERI_SHAPE_OBJECT:
        return KEYS_TOP;
    case PERI_SHAPE_ITEM:
    case PERI_SHAPE_ITEMS:
        return KEYS_ITEMS;
    case PERI_SHAPE_PAGE:
        return KEYS_TOP | KEYS_ITEMS;
    default:
        return 0;
    }
}

static void copy_field(lua_State *L, int from, int to, const char *field)
{
    if (lua_getfield(L, from, field) != LUA_TNIL && !lua_islightuserdata(L, -1)) {
        lua_setfield(L, to, field);
    } else {
        lua_pop(L, 1);
    }
}

/* The platform's detail, with its own keys converted, and the traceback in it; of DataFlux Func's envelope on top. */
static void add_detail(lua_State *L, int error, struct peri_str body)
{
    struct peri_error ignored;
    if (lua_getfield(L, -1, "ok") != LUA_TBOOLEAN || lua_toboolean(L, -1) ||
        peri_lua_json_decode(L, body, KEYS_DETAIL, &ignored) != PERI_OK) {
        return;
    }
    copy_field(L, lua_gettop(L), error, "detail");
    if (lua_getfield(L, -1, "detail") == LUA_TTABLE && lua_getfield(L, -1, "traceback") == LUA_TSTRING) {
        lua_setfield(L, error, "trace");
    }
}

/* Adds to the error on top what a platform says beyond the common fields. */
static void add_details(lua_State *L, const struct peri_lua_op *self)
{
    int error = lua_gettop(L);
    struct peri_str body = peri_op_body(self->op);
    if (body.len == 0) {
        return;
    }
    lua_pushlstring(L, body.data, body.len);
    lua_setfield(L, error, "body");
    struct peri_error ignored;
    if (peri_lua_json_decode(L, body, KEYS_ERROR, &ignored) != PERI_OK) {
        return;
    }
    if (lua_istable(L, -1) && lua_getfield(L, -1, "error") == LUA_TTABLE) {
        copy_field(L, lua_gettop(L), error, "missing");
        copy_field(L, lua_gettop(L), error, "duplicated");
        copy_field(L, lua_gettop(L), error, "trace");
        copy_field(L, lua_gettop(L), error, "call_id");
    } else {
        lua_settop(L, error + 1);
        if (lua_istable(L, -1)) {
            add_detail(L, error, body);
        }
    }
    lua_settop(L, error);
}

static int push_failure(lua_State *L, const struct peri_lua_op *self, const struct peri_error *err)
{
    lua_pushnil(L);
    peri_lua_push_error(L, err);
    add_details(L, self);
    return 2;
}

static int fail_with(lua_State *L, const struct peri_lua_op *self, enum peri_code code, const char *message)
{
    struct peri_error err;
    peri_error_set(&err, code, "%s", message);
    err.status = peri_op_status(self->op);
    memcpy(err.operation, peri_op_error(self->op)->operation, sizeof err.operation);
    return push_failure(L, self, &err);
}

/* Replaces the decoded reply on top by the part that the shape names. */
static int select_part(lua_State *L, const struct peri_lua_op *self, enum peri_shape shape)
{
    if (shape == PERI_SHAPE_RAW) {
        return 1;
    }
    if (!lua_istable(L, -1)) {
        return fail_with(L, self, PERI_PROTOCOL, "the answer is not a JSON object");
    }
    if (shape == PERI_SHAPE_OBJECT) {
        return 1;
    }
    if (shape == PERI_SHAPE_FIELD) {
        lua_getfield(L, -1, peri_op_result_field(self->op));
        if (lua_islightuserdata(L, -1)) {
            lua_pushnil(L);
        }
        return 1;
    }
    if (lua_getfield(L, -1, "items") != LUA_TTABLE) {
        return fail_with(L, self, PERI_PROTOCOL, "the answer has no list of items");
    }
    if (shape == PERI_SHAPE_PAGE) {
        lua_pop(L, 1);
    } else if (shape == PERI_SHAPE_ITEM) {
        lua_rawgeti(L, -1, 1);
    }
    return 1;
}

/* op:result(): the value (nil alone: none), or nil and the error. */
int peri__op_result(lua_State *L)
{
    struct peri_lua_op *self = peri__check(L, 1, PERI_TYPE_OP);
    struct peri_error err;
    if (!self->op) {
        peri_error_set(&err, PERI_CLOSED, "%s", self->closed);
        return peri_lua_fail(L, &err);
    }
    enum peri_code code = peri_op_code(self->op);
    if (code == PERI_BUSY) {
        return luaL_error(L, "the operation is pending");
    }
    if (code != PERI_OK) {
        return push_failure(L, self, peri_op_error(self->op));
    }
    enum peri_shape shape = peri_op_shape(self->op);
    struct peri_str body = peri_op_body(self->op);
    if (shape == PERI_SHAPE_NONE) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (shape == PERI_SHAPE_BYTES) {
        lua_pushlstring(L, body.len ? body.data : "", body.len);
        return 1;
    }
    if (peri_lua_json_decode(L, body, converted_depths(shape), &err) != PERI_OK) {
        peri_error_prefix(&err, "the answer is not JSON");
        err.status = peri_op_status(self->op);
        memcpy(err.operation, peri_op_error(self->op)->operation, sizeof err.operation);
        return push_failure(L, self, &err);
    }
    return select_part(L, self, shape);
}

/* ---- headers: kept as text, which is one string, and made a table when somebody looks ---- */

/* Adds a field to the table on top; a repeated one's values are joined by ", ". */
static void add_field(lua_State *L, struct peri_str name, struct peri_str value)
{
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, name.len);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    luaL_pushresultsize(&b, name.len);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TSTRING) {
        lua_pushliteral(L, ", ");
        lua_pushlstring(L, value.data, value.len);
        lua_concat(L, 3);
    } else {
        lua_pop(L, 1);
        lua_pushlstring(L, value.data, value.len);
    }
    lua_rawset(L, -3);
}

/* op:headers(): of the last answer, names in lower case, repeated ones joined by ", ". */
int peri__op_headers(lua_State *L)
{
    struct peri_lua_op *self = peri__check(L, 1, PERI_TYPE_OP);
    lua_newtable(L);
    const struct peri_headers *headers = self->op ? peri_op_headers(self->op) : NULL;
    for (size_t i = 0; headers && i < headers->count; i++) {
        add_field(L, peri_str_from(headers->items[i].name), peri_str_from(headers->items[i].value));
    }
    return 1;
}

static void push_header_text(lua_State *L, const struct peri_headers *headers)
{
    luaL_Buffer b;
    size_t size = headers->bytes + 3 * headers->count;
    char *at = luaL_buffinitsize(L, &b, size);
    for (size_t i = 0; i < headers->count; i++) {
        at = stpcpy(at, headers->items[i].name);
        at = stpcpy(at, ": ");
        at = stpcpy(at, headers->items[i].value);
        *at++ = '\n';
    }
    luaL_pushresultsize(&b, size);
}

/* core.headers(text): header_text of a reply as op:headers() gives it. */
int peri__headers(lua_State *L)
{
    struct peri_str left;
    left.data = luaL_checklstring(L, 1, &left.len);
    lua_newtable(L);
    const char *end = left.data + left.len;
    for (const char *at = left.data; at < end;) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end ? line_end : end;
        const char *colon = memchr(at, ':', (size_t)(line_end - at));
        if (colon) {
            const char *value = colon + 1;
            value += value < line_end && *value == ' ';
            add_field(L, (struct peri_str){ at, (size_t)(colon - at) },
                      (struct peri_str){ value, (size_t)(line_end - value) });
        }
        at = line_end + 1;
    }
    return 1;
}

void peri__push_reply(lua_State *L, const struct peri_lua_op *self)
{
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, peri_op_status(self->op));
    lua_setfield(L, -2, "status");
    struct peri_str body = peri_op_body(self->op);
    lua_pushlstring(L, body.len ? body.data : "", body.len);
    lua_setfield(L, -2, "body");
    push_header_text(L, peri_op_headers(self->op));
    lua_setfield(L, -2, "header_text");
    lua_pushinteger(L, (lua_Integer)peri_op_attempts(self->op));
    lua_setfield(L, -2, "attempts");
}

/* op:reply(): a table of the answer's status, body and header_text, and the attempts it took. */
int peri__op_reply(lua_State *L)
{
    struct peri_lua_op *self = peri__check(L, 1, PERI_TYPE_OP);
    if (!self->op) {
        return luaL_error(L, "the operation is closed");
    }
    peri__push_reply(L, self);
    return 1;
}
