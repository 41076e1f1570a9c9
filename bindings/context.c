/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "json.h"
#include "perilune/clock.h"
#include "perilune/hash.h"
#include "perilune/json.h"
#include "perilune/seal.h"
#include "rt.h"

/* ctx: what a handler gets. `data` is there from the start; `call`, `request` and `secrets` are decoded when one of them
 * is asked for first; `log` and `response` belong to the state;
 * `service` and `client` are made by call_service.c, `event` and `metadata` by lua/perilune/cim/event.lua. */

static const char context_key, response_key; /* their addresses are registry keys of metatables */

/* ---- logging ---- */

static void append_argument(lua_State *L, int index, luaL_Buffer *line)
{
    if (lua_type(L, index) == LUA_TSTRING) {
        lua_pushvalue(L, index);
    } else {
        luaL_tolstring(L, index, NULL);
    }
    luaL_addvalue(line);
}

void peri__log_arguments(lua_State *L, enum peri_log_level level, int first)
{
    static const char cut[] = " ... (cut)";
    struct rt_runtime *rt = peri__state_of(L)->rt;
    struct rt_task *task = peri__running(L);
    int top = lua_gettop(L);
    luaL_Buffer line;
    luaL_buffinit(L, &line);
    for (int i = first; i <= top; i++) {
        if (i > first) {
            luaL_addchar(&line, ' ');
        }
        append_argument(L, i, &line);
    }
    size_t len = luaL_bufflen(&line);
    if (len > RT_TEXT_MAX) {
        luaL_buffsub(&line, len - RT_TEXT_MAX + strlen(cut));
        luaL_addstring(&line, cut);
    }
    if (task && task->call_id && rt->events.log) {
        struct peri_str text = { luaL_buffaddr(&line), luaL_bufflen(&line) };
        atomic_store_explicit(&rt->output, true, memory_order_relaxed);
        rt->events.log(rt->events.data, task->call_id, peri_clock_wall_ms(peri_loop_clock(rt->loop)), level, text);
    }
    luaL_pushresult(&line);
    lua_pop(L, 1);
}

int peri__log_function(lua_State *L)
{
    peri__log_arguments(L, (enum peri_log_level)lua_tointeger(L, lua_upvalueindex(1)), 1);
    return 0;
}

static void push_log(lua_State *L)
{
    static const enum peri_log_level levels[] = { PERI_LOG_DEBUG, PERI_LOG_INFO, PERI_LOG_WARN, PERI_LOG_ERROR };
    lua_createtable(L, 0, 4);
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        lua_pushinteger(L, levels[i]);
        lua_pushcclosure(L, peri__log_function, 1);
        lua_setfield(L, -2, peri_log_level_name(levels[i]));
    }
}

/* ---- ctx.response: an answer of the handler's own shape ---- */

static bool is_token(const char *text)
{
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    return *text && text[strspn(text, allowed)] == '\0';
}

static bool is_field_value(struct peri_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static struct peri_str string_at(lua_State *L, int index)
{
    struct peri_str out;
    out.data = lua_tolstring(L, index, &out.len);
    return out;
}

static void check_headers(lua_State *L, int index)
{
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !is_token(lua_tostring(L, -2))) {
            luaL_error(L, "ctx.response: a name in `headers` is not one of an HTTP header");
        }
        if (lua_type(L, -1) != LUA_TSTRING || !is_field_value(string_at(L, -1))) {
            luaL_error(L, "ctx.response: header '%s' must be a string without line breaks", lua_tostring(L, -2));
        }
    }
}

static void check_option(lua_State *L, const char *name, int value)
{
    int type = lua_type(L, value);
    if (strcmp(name, "status") == 0) {
        int exact;
        lua_Integer status = lua_tointegerx(L, value, &exact);
        if (!exact || type != LUA_TNUMBER || status < 200 || status > 599) {
            luaL_error(L, "ctx.response: `status` must be an integer from 200 to 599");
        }
    } else if (strcmp(name, "content_type") == 0) {
        if (type != LUA_TSTRING || !is_field_value(string_at(L, value)) || lua_rawlen(L, value) > 255) {
            luaL_error(L, "ctx.response: `content_type` must be a string of one line");
        }
    } else if (strcmp(name, "headers") == 0) {
        if (type != LUA_TTABLE) {
            luaL_error(L, "ctx.response: `headers` must be a table of strings");
        }
        check_headers(L, value);
    } else if (strcmp(name, "body") != 0) {
        luaL_error(L, "ctx.response: unknown option '%s'", name);
    }
}

static int make_response(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_createtable(L, 0, 4);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            return luaL_error(L, "ctx.response: options have names");
        }
        check_option(L, lua_tostring(L, -2), lua_gettop(L));
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 2);
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &response_key);
    lua_setmetatable(L, 2);
    return 1;
}

bool peri__is_response(lua_State *L, int index)
{
    if (!lua_istable(L, index) || !lua_getmetatable(L, index)) {
        return false;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &response_key);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static int raw_field(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    return lua_rawget(L, index);
}

static void take_headers(lua_State *L, int index, struct rt_task *task)
{
    struct peri_buf *out = &task->headers;
    check_headers(L, index); /* it may have been changed since */
    enum peri_code code = peri_buf_append_byte(out, '{');
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (out->len > 1) {
            code |= peri_buf_append_byte(out, ',');
        }
        code |= peri_json_write_string(out, string_at(L, -2));
        code |= peri_buf_append_byte(out, ':');
        code |= peri_json_write_string(out, string_at(L, -1));
    }
    code |= peri_buf_append_byte(out, '}');
    if (code != PERI_OK) {
        peri_buf_clear(out);
        luaL_error(L, "the headers of the answer are over the limit of %d bytes", RT_TEXT_MAX);
    }
}

static void check_body(struct rt_task *task, enum peri_code code)
{
    struct rt_runtime *rt = task->version->rt;
    if (code == PERI_TOO_LARGE) {
        peri__outcome_set(task, PERI_HANDLER_FAILED, "the answer is over the limit of %zu bytes", rt->response_limit);
    } else if (code != PERI_OK) {
        peri__outcome_set(task, PERI_HANDLER_FAILED, "the body of the answer is what JSON can't hold: %s",
                          rt->err.message);
    }
}

int peri__response_take(lua_State *L, int index, struct rt_task *task)
{
    struct rt_runtime *rt = task->version->rt;
    index = lua_absindex(L, index);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        check_option(L, lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "", lua_gettop(L));
    }
    if (raw_field(L, index, "status") == LUA_TNUMBER) {
        task->http_status = (int)lua_tointeger(L, -1);
    }
    if (raw_field(L, index, "headers") == LUA_TTABLE) {
        take_headers(L, lua_gettop(L), task);
    }
    const char *type = raw_field(L, index, "content_type") == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    peri_buf_clear(&rt->out);
    int body = raw_field(L, index, "body");
    if (body == LUA_TSTRING || body == LUA_TNIL) {
        type = type ? type : (body == LUA_TNIL ? "" : "text/plain; charset=utf-8");
        task->kind_of_reply = PERI_REPLY_BYTES;
        check_body(task, body == LUA_TSTRING ? peri_buf_append_str(&rt->out, string_at(L, -1)) : PERI_OK);
    } else {
        task->kind_of_reply = type ? PERI_REPLY_BYTES : PERI_REPLY_JSON;
        check_body(task, peri_lua_json_encode(L, -1, &rt->out, &rt->err));
    }
    if (type) {
        peri_buf_append_text(&task->content_type, type);
    }
    return 0;
}

/* ---- ctx ---- */

static struct peri_str field_text(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    struct peri_str text = lua_type(L, -1) == LUA_TSTRING ? string_at(L, -1) : (struct peri_str){ NULL, 0 };
    lua_pop(L, 1); /* the table keeps it */
    return text;
}

/* The meta on top: "sealed" becomes "secrets". */
static void open_secrets(lua_State *L, struct rt_runtime *rt)
{
    if (lua_getfield(L, -1, "sealed") != LUA_TTABLE) {
        lua_pop(L, 1);
        return;
    }
    struct peri_buf *plain = peri__json_scratch(L);
    struct peri_buf key;
    struct peri_buf sealed;
    peri_buf_init(&key, 1024);
    peri_buf_init(&sealed, SIZE_MAX / 2);
    enum peri_code code = peri_base64_decode(&key, field_text(L, "key"), &rt->err);
    if (code == PERI_OK) {
        code = peri_base64_decode(&sealed, field_text(L, "text"), &rt->err);
    }
    if (code == PERI_OK && key.len != PERI_SEAL_KEY) {
        code = peri_error_set(&rt->err, PERI_INVALID, "the key has %zu bytes instead of %d", key.len, PERI_SEAL_KEY);
    }
    if (code == PERI_OK) {
        code = peri_unseal((const unsigned char *)key.data, (struct peri_str){ NULL, 0 }, peri_buf_str(&sealed), plain,
                           &rt->err);
    }
    if (key.data) {
        peri_secure_zero(key.data, key.cap);
    }
    peri_buf_fini(&key);
    peri_buf_fini(&sealed);
    if (code == PERI_OK) {
        code = peri_lua_json_decode(L, peri_buf_str(plain), 0, &rt->err);
        peri_secure_zero(plain->data, plain->len);
    }
    if (code != PERI_OK) {
        luaL_error(L, "the function's secrets can't be opened (deploy it again with them): %s", rt->err.message);
    }
    lua_setfield(L, -3, "secrets");
    lua_pop(L, 1);
}

/* Decodes what the host says about the call into the fields of ctx at index 1. */
static void resolve(lua_State *L, struct rt_task *task)
{
    struct rt_runtime *rt = task->version->rt;
    if (task->meta.len == 0) {
        lua_createtable(L, 0, 3);
    } else if (peri_lua_json_decode(L, task->meta, 0, &rt->err) != PERI_OK) {
        luaL_error(L, "the host's description of the call is broken: %s", rt->err.message);
    }
    open_secrets(L, rt);
    static const char *const names[] = { "call", "request", "secrets" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (lua_getfield(L, -1, names[i]) != LUA_TTABLE) {
            lua_pop(L, 1);
            lua_createtable(L, 0, 1);
        }
        if (strcmp(names[i], "request") == 0) {
            lua_pushlstring(L, task->body.data, task->body.len);
            lua_setfield(L, -2, "body");
        }
        lua_pushstring(L, names[i]);
        lua_insert(L, -2);
        lua_rawset(L, 1);
    }
    lua_pop(L, 1);
    task->resolved = true;
}

static bool is_own(lua_State *L, const struct rt_task *task)
{
    return task && task->ctx == lua_topointer(L, 1);
}

static void resolve_if_own(lua_State *L)
{
    struct rt_task *task = peri__running(L);
    if (is_own(L, task) && !task->resolved) {
        resolve(L, task);
    }
}

static int context_index(lua_State *L) /* upvalue 1: what belongs to the state */
{
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        return 1;
    }
    if (lua_type(L, 2) != LUA_TSTRING) {
        return 0;
    }
    const char *module = peri__service_module(lua_tostring(L, 2));
    if (module && is_own(L, peri__running(L))) {
        return peri__service_push(L, module);
    }
    resolve_if_own(L);
    lua_pushvalue(L, 2);
    lua_rawget(L, 1);
    return 1;
}

static int context_pairs(lua_State *L)
{
    resolve_if_own(L);
    lua_getglobal(L, "next");
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

bool peri__context_push(lua_State *L, struct rt_task *task)
{
    lua_createtable(L, 0, 4);
    task->ctx = lua_topointer(L, -1);
    if (task->input == PERI_INPUT_JSON) {
        if (task->body.len == 0) {
            lua_createtable(L, 0, 0);
        } else if (peri_lua_json_decode(L, task->body, 0, &task->version->rt->err) != PERI_OK) {
            return false;
        }
        lua_setfield(L, -2, "data");
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &context_key);
    lua_setmetatable(L, -2);
    return true;
}

void peri__open_context(lua_State *L)
{
    lua_createtable(L, 0, 4);
    lua_createtable(L, 0, 2);
    push_log(L);
    lua_setfield(L, -2, "log");
    lua_pushcfunction(L, make_response);
    lua_setfield(L, -2, "response");
    lua_pushcclosure(L, context_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, context_pairs);
    lua_setfield(L, -2, "__pairs");
    lua_pushliteral(L, "ctx");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &context_key);

    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "ctx.response");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &response_key);
}
