/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

/* Lua values to bytes. Runs no Lua code (all access is raw) and raises nothing. A table is written while it is
 * traversed; only one whose integer keys come out of order is gone through again. */

#define PATH_TEXT 200

struct encoder {
    lua_State *L;
    struct peri_buf *out;
    int depth;
    int cycle;    /* depth at which a table came back that is already being written; 0: none was found */
    int array_mt; /* stack index; the name of its mark follows */
    enum peri_code code;
    char what[160]; /* of a failure */
    char path[PATH_TEXT];
    size_t path_begin; /* the path grows to the front while the failure travels up */
};

static bool encode_value(struct encoder *e);

static bool fail(struct encoder *e, const char *what, const char *detail)
{
    e->code = PERI_INVALID;
    (void)snprintf(e->what, sizeof e->what, "%s%s", what, detail);
    return false;
}

/* Where at least n bytes may be written; NULL when there is no room. */
static inline char *room(struct encoder *e, size_t n)
{
    struct peri_buf *out = e->out;
    if (out->cap - out->len <= n) {
        enum peri_code code = peri_buf_reserve(out, n);
        if (code != PERI_OK) {
            e->code = code;
            (void)snprintf(e->what, sizeof e->what, "%s",
                           code == PERI_TOO_LARGE ? "the text is over its size limit" : "out of memory");
            return NULL;
        }
    }
    return out->data + out->len;
}

static inline bool put(struct encoder *e, const char *text, size_t len)
{
    char *to = room(e, len);
    if (!to) {
        return false;
    }
    memcpy(to, text, len);
    e->out->len += len;
    return true;
}

static size_t escape(char *to, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char letter = 0;
    switch (c) {
    case '"':
    case '\\':
        letter = (char)c;
        break;
    case '\b':
        letter = 'b';
        break;
    case '\f':
        letter = 'f';
        break;
    case '\n':
        letter = 'n';
        break;
    case '\r':
        letter = 'r';
        break;
    case '\t':
        letter = 't';
        break;
    default:
        memset(to, '0', 4);
        to[0] = '\\';
        to[1] = 'u';
        to[4] = hex[c >> 4];
        to[5] = hex[c & 15];
        return 6;
    }
    to[0] = '\\';
    to[1] = letter;
    return 2;
}

/* Writes the quoted string, then `after` when it is not 0. */
static bool encode_string(struct encoder *e, const char *s, size_t len, char after)
{
    size_t tail = after ? 2 : 1;
    char *to = room(e, 1 + len + tail);
    if (!to) {
        return false;
    }
    *to++ = '"';
    const char *end = s + len;
    for (;;) {
        size_t plain = peri__json_plain(s, (size_t)(end - s));
        memcpy(to, s, plain);
        to += plain;
        s += plain;
        if (s == end) {
            break;
        }
        unsigned char c = (unsigned char)*s;
        if (c >= 0x80) {
            size_t n = peri__utf8_sequence((const unsigned char *)s, (size_t)(end - s));
            if (n == 0) {
                return fail(e, "the string is not UTF-8", "");
            }
            memcpy(to, s, n);
            to += n;
            s += n;
            continue;
        }
        char escaped[8];
        size_t n = escape(escaped, c);
        s++;
        e->out->len = (size_t)(to - e->out->data);
        to = room(e, n + (size_t)(end - s) + tail);
        if (!to) {
            return false;
        }
        memcpy(to, escaped, n);
        to += n;
    }
    *to++ = '"';
    if (after) {
        *to++ = after;
    }
    e->out->len = (size_t)(to - e->out->data);
    return true;
}

static bool encode_number(struct encoder *e)
{
    char text[PERI_JSON_NUMBER_TEXT];
    if (lua_isinteger(e->L, -1)) {
        return put(e, text, (size_t)(peri__json_write_integer(text, lua_tointeger(e->L, -1)) - text));
    }
    double x = lua_tonumber(e->L, -1);
    if (!isfinite(x)) {
        return fail(e, "can't encode ", isnan(x) ? "NaN" : x > 0 ? "infinity" : "minus infinity");
    }
    return put(e, text, (size_t)(peri__json_write_real(text, x) - text));
}

/* ---- the path of a failure ---- */

static void path_prepend(struct encoder *e, const char *text, size_t len)
{
    if (len > e->path_begin) {
        return;
    }
    e->path_begin -= len;
    memcpy(e->path + e->path_begin, text, len);
}

static void path_prepend_index(struct encoder *e, lua_Integer index)
{
    char text[32];
    int n = snprintf(text, sizeof text, "[%lld]", (long long)index);
    path_prepend(e, text, (size_t)n);
}

/* The key is at stack index `at`. */
static void path_prepend_key(struct encoder *e, int at)
{
    size_t len;
    const char *key = lua_tolstring(e->L, at, &len);
    bool word = len > 0 && len < 64 && !(key[0] >= '0' && key[0] <= '9');
    for (size_t i = 0; word && i < len; i++) {
        unsigned char c = (unsigned char)key[i];
        word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    }
    if (word) {
        path_prepend(e, key, len);
        path_prepend(e, ".", 1);
        return;
    }
    path_prepend(e, "\"]", 2);
    for (size_t i = len < 64 ? len : 64; i > 0; i--) {
        unsigned char c = (unsigned char)key[i - 1];
        path_prepend(e, c >= 0x20 && c < 0x7f ? &key[i - 1] : "?", 1);
    }
    path_prepend(e, "[\"", 2);
}

/* ---- tables: all find the table at index `at`, and leave the stack as it was on success ---- */

/* A key of another kind than the table's first. The message does not depend on which came first. */
static bool bad_key(struct encoder *e, int at)
{
    if (lua_type(e->L, at) == LUA_TSTRING || lua_isinteger(e->L, at)) {
        return fail(e, "can't encode a table with both string and number keys", "");
    }
    const char *kind = lua_type(e->L, at) == LUA_TNUMBER ? "float" : luaL_typename(e->L, at);
    return fail(e, "can't encode a key that is a ", kind);
}

/* The first pair is on the stack. */
static bool encode_object(struct encoder *e, int at)
{
    lua_State *L = e->L;
    if (!put(e, "{", 1)) {
        return false;
    }
    do {
        if (lua_type(L, -2) != LUA_TSTRING) {
            return bad_key(e, -2);
        }
        size_t len;
        const char *key = lua_tolstring(L, -2, &len);
        if (!encode_string(e, key, len, ':') || !encode_value(e)) {
            path_prepend_key(e, at + 1);
            return false;
        }
        lua_pop(L, 1);
        if (!put(e, ",", 1)) {
            return false;
        }
    } while (lua_next(L, at));
    e->out->data[e->out->len - 1] = '}';
    return true;
}

/* An array whose keys come in another order than 1, 2, 3. */
static bool encode_shuffled_array(struct encoder *e, int at)
{
    lua_State *L = e->L;
    lua_Integer count = 0;
    lua_Integer largest = 0;
    lua_pushnil(L);
    while (lua_next(L, at)) {
        lua_pop(L, 1);
        if (!lua_isinteger(L, -1)) {
            return bad_key(e, -1);
        }
        if (lua_tointeger(L, -1) < 1) {
            return fail(e, "can't encode an array with an index below 1", "");
        }
        largest = lua_tointeger(L, -1) > largest ? lua_tointeger(L, -1) : largest;
        count++;
    }
    if (largest != count) {
        return fail(e, "can't encode a sparse array", "");
    }
    if (!put(e, "[", 1)) {
        return false;
    }
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, at, i);
        if (!encode_value(e)) {
            path_prepend_index(e, i);
            return false;
        }
        lua_pop(L, 1);
        if (!put(e, ",", 1)) {
            return false;
        }
    }
    e->out->data[e->out->len - 1] = ']';
    return true;
}

/* The first pair is on the stack; its key is no string. */
static bool encode_array(struct encoder *e, int at)
{
    lua_State *L = e->L;
    size_t mark = e->out->len;
    if (!put(e, "[", 1)) {
        return false;
    }
    lua_Integer expected = 1;
    do {
        if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != expected) {
            lua_settop(L, at);
            e->out->len = mark;
            return encode_shuffled_array(e, at);
        }
        if (!encode_value(e)) {
            path_prepend_index(e, expected);
            return false;
        }
        expected++;
        lua_pop(L, 1);
        if (!put(e, ",", 1)) {
            return false;
        }
    } while (lua_next(L, at));
    e->out->data[e->out->len - 1] = ']';
    return true;
}

/* Whether a metatable marks the table as an array: ours, or one with __array. */
static bool is_array(struct encoder *e, int at)
{
    if (!lua_getmetatable(e->L, at)) {
        return false;
    }
    bool marked = lua_rawequal(e->L, -1, e->array_mt);
    if (!marked) {
        lua_pushvalue(e->L, e->array_mt + 1);
        lua_rawget(e->L, -2);
        marked = lua_toboolean(e->L, -1);
        lua_pop(e->L, 1);
    }
    lua_pop(e->L, 1);
    return marked;
}

/* Too deep: mostly because of a cycle. The tables being written are on the stack, the outermost first; the first one
 * that stands there already is where the cycle closes. */
static bool fail_too_deep(struct encoder *e)
{
    lua_State *L = e->L;
    int first = e->array_mt + 2;
    int depth = 0;
    for (int i = first; i <= lua_gettop(L); i++) {
        if (!lua_istable(L, i)) {
            continue;
        }
        depth++;
        for (int outer = first; outer < i; outer++) {
            if (lua_rawequal(L, outer, i)) {
                e->cycle = depth;
                return fail(e, "can't encode a table that contains itself", "");
            }
        }
    }
    return fail(e, "nested too deeply", "");
}

static bool encode_table(struct encoder *e)
{
    lua_State *L = e->L;
    if (e->depth >= PERI_JSON_ENCODE_DEPTH || !lua_checkstack(L, 8)) {
        return fail_too_deep(e);
    }
    int at = lua_gettop(L);
    e->depth++;
    lua_pushnil(L);
    bool ok;
    if (!lua_next(L, at)) {
        ok = put(e, is_array(e, at) ? "[]" : "{}", 2);
    } else if (lua_type(L, -2) == LUA_TSTRING) {
        ok = is_array(e, at) ? fail(e, "can't encode an array with string keys", "") : encode_object(e, at);
    } else {
        ok = encode_array(e, at);
    }
    if (!ok && e->depth == e->cycle) {
        e->path_begin = PATH_TEXT; /* the rest of the path only goes round */
    }
    e->depth--;
    return ok;
}

/* Writes the value on top of the stack. */
static bool encode_value(struct encoder *e)
{
    lua_State *L = e->L;
    size_t len;
    const char *s;
    int type = lua_type(L, -1);
    switch (type) {
    case LUA_TSTRING:
        s = lua_tolstring(L, -1, &len);
        return encode_string(e, s, len, 0);
    case LUA_TNUMBER:
        return encode_number(e);
    case LUA_TBOOLEAN:
        return lua_toboolean(L, -1) ? put(e, "true", 4) : put(e, "false", 5);
    case LUA_TNIL:
        return put(e, "null", 4);
    case LUA_TTABLE:
        return encode_table(e);
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, -1)) {
            return put(e, "null", 4);
        }
        return fail(e, "can't encode a userdata", "");
    default:
        return fail(e, "can't encode a ", lua_typename(L, type));
    }
}

enum peri_code peri_lua_json_encode(lua_State *L, int index, struct peri_buf *out, struct peri_error *err)
{
    struct encoder e;
    e.L = L;
    e.out = out;
    e.depth = 0;
    e.cycle = 0;
    e.code = PERI_OK;
    e.path_begin = PATH_TEXT;
    size_t mark = out->len;
    int top = lua_gettop(L);
    index = lua_absindex(L, index);
    luaL_checkstack(L, 8, "JSON");
    peri_lua_array(L);
    e.array_mt = top + 1;
    lua_pushliteral(L, "__array");
    lua_pushvalue(L, index);
    bool ok = encode_value(&e);
    lua_settop(L, top);
    if (ok) {
        out->data[out->len] = 0;
        return PERI_OK;
    }
    out->len = mark;
    if (out->data) {
        out->data[mark] = 0;
    }
    const char *path = e.path + e.path_begin;
    size_t path_len = PATH_TEXT - e.path_begin;
    if (path_len > 0 && *path == '.') {
        path++;
        path_len--;
    }
    return peri_error_set(err, e.code, "%.*s%s%s", (int)path_len, path, path_len ? ": " : "", e.what);
}
