/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>

#include "json_decode.h"

/* Bytes to Lua values. Elements of an array gather on the Lua stack and go into a table of the right size in blocks;
 * an object's table is presized by what its predecessor at the same depth had, in this text or the last one; repeated
 * keys come from a small cache instead of being hashed again. Nothing here is owned by C, so running out of memory may
 * raise at any point. */

#define SLOTS 16384 /* array elements that may wait on the Lua stack, all depths together */
#define BLOCK_MIN 8 /* and how many each array may have in any case */
#define NUMBER_TEXT 128

static bool decode_value(struct peri_json_decoder *d);

static void skip_blanks(struct peri_json_decoder *d)
{
    const char *p = d->p;
    while (p < d->end && (unsigned char)*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    d->p = p;
}

/* ---- numbers ---- */

static bool decode_number_slow(struct peri_json_decoder *d, const char *start, size_t len)
{
    char text[NUMBER_TEXT];
    if (len < sizeof text) {
        memcpy(text, start, len);
        text[len] = 0;
        return lua_stringtonumber(d->L, text) == len + 1 || peri__json_fail_at(d, start, "invalid number");
    }
    peri__json_scratch_reserve(d, 0, len + 1);
    memcpy(d->scratch_data, start, len);
    d->scratch_data[len] = 0;
    return lua_stringtonumber(d->L, d->scratch_data) == len + 1 || peri__json_fail_at(d, start, "invalid number");
}

static bool is_digit(const struct peri_json_decoder *d, const char *p)
{
    return p < d->end && (unsigned char)(*p - '0') <= 9;
}

/* Reads digits into m as long as 19 of them fit; counts those that did not. */
static const char *read_digits(const struct peri_json_decoder *d, const char *p, uint64_t *m, int *significant,
                               int *dropped)
{
    for (; is_digit(d, p); p++) {
        if (*significant < 19) {
            *m = *m * 10 + (uint64_t)(*p - '0');
            *significant += *m != 0;
        } else {
            ++*dropped;
        }
    }
    return p;
}

static bool decode_number(struct peri_json_decoder *d)
{
    const char *start = d->p;
    bool negative = *start == '-';
    const char *p = start + negative;
    if (!is_digit(d, p)) {
        return peri__json_fail_at(d, start, negative ? "a minus sign needs a digit" : "unexpected character");
    }
    if (*p == '0' && is_digit(d, p + 1)) {
        return peri__json_fail_at(d, start, "a number can't begin with 0");
    }
    uint64_t m = 0;
    int significant = 0;
    int dropped = 0;
    int exponent = 0;
    bool real = false;
    p = read_digits(d, p, &m, &significant, &dropped);
    if (p < d->end && *p == '.') {
        real = true;
        const char *fraction = ++p;
        p = read_digits(d, p, &m, &significant, &dropped);
        if (p == fraction) {
            return peri__json_fail_at(d, start, "a point needs a digit behind it");
        }
        exponent = (int)(fraction - p < -100000 ? -100000 : fraction - p);
    }
    if (p < d->end && (*p == 'e' || *p == 'E')) {
        real = true;
        p++;
        bool minus = p < d->end && *p == '-';
        p += p < d->end && (*p == '-' || *p == '+');
        if (!is_digit(d, p)) {
            return peri__json_fail_at(d, start, "an exponent needs a digit");
        }
        int value = 0;
        for (; is_digit(d, p); p++) {
            value = value < 100000 ? value * 10 + (*p - '0') : value;
        }
        exponent += minus ? -value : value;
    }
    d->p = p;
    if (!real && dropped == 0 && (m < (UINT64_C(1) << 63) || (negative && m == (UINT64_C(1) << 63)))) {
        lua_pushinteger(d->L, (lua_Integer)(negative ? 0 - m : m));
        return true;
    }
    double x;
    if (real && dropped == 0 && peri__json_make_real(m, exponent, &x)) {
        lua_pushnumber(d->L, negative ? -x : x);
        return true;
    }
    if (!decode_number_slow(d, start, (size_t)(p - start))) {
        return false;
    }
    lua_Number value = lua_tonumber(d->L, -1);
    if (value - value != 0) {
        lua_pop(d->L, 1);
        return peri__json_fail_at(d, start, "number out of range");
    }
    return true;
}

/* ---- containers ---- */

/* "createdTime" to "created_time", as core does it for C programs. */
static void push_snake_case(struct peri_json_decoder *d, struct peri_str key)
{
    luaL_Buffer b;
    luaL_buffinit(d->L, &b);
    for (size_t i = 0; i < key.len; i++) {
        char c = key.data[i];
        if (c < 'A' || c > 'Z') {
            luaL_addchar(&b, c);
            continue;
        }
        if (i > 0) {
            luaL_addchar(&b, '_');
        }
        luaL_addchar(&b, (char)(c - 'A' + 'a'));
    }
    luaL_pushresult(&b);
}

static void push_key(struct peri_json_decoder *d, struct peri_str key)
{
    if (!d->keys || key.len == 0 || key.len > KEY_MAX) {
        lua_pushlstring(d->L, key.data, key.len);
        return;
    }
    unsigned hash = (unsigned)key.len * 31 + (unsigned char)key.data[0] * 7 +
                    (unsigned char)key.data[key.len - 1] * 13 + (unsigned char)key.data[key.len / 2];
    hash = (hash ^ (hash >> 6)) & (KEYS - 1);
    struct peri_json_key *entry = &d->cache[hash];
    int slot = d->keys + (int)hash;
    if (entry->len == key.len && memcmp(entry->text, key.data, key.len) == 0) {
        lua_pushvalue(d->L, slot);
        return;
    }
    entry->len = 0; /* in case pushing runs a collection that raises */
    lua_pushlstring(d->L, key.data, key.len);
    entry->text = lua_tostring(d->L, -1);
    entry->len = key.len;
    lua_copy(d->L, -1, slot);
}

static bool decode_key(struct peri_json_decoder *d)
{
    struct peri_str key;
    if (d->p == d->end || *d->p != '"') {
        return peri__json_fail_at(d, d->p, "a key in quotes is expected");
    }
    if (!peri__json_string(d, &key)) {
        return false;
    }
    if (d->depth <= 32 && (d->convert >> (d->depth - 1)) & 1) {
        push_snake_case(d, key);
    } else {
        push_key(d, key);
    }
    skip_blanks(d);
    if (d->p == d->end || *d->p != ':') {
        return peri__json_fail_at(d, d->p, "':' is expected after a key");
    }
    d->p++;
    return true;
}

/* The comma or the end after an element. Returns 1: another follows, 0: closed, -1: failed. */
static inline int next_element(struct peri_json_decoder *d, char close, const char *what)
{
    skip_blanks(d);
    if (d->p == d->end || (*d->p != ',' && *d->p != close)) {
        peri__json_fail_at(d, d->p, what);
        return -1;
    }
    return *d->p++ == ',';
}

static bool enter(struct peri_json_decoder *d)
{
    if (++d->depth > PERI_JSON_DECODE_DEPTH) {
        return peri__json_fail_at(d, d->p, "nested too deeply");
    }
    luaL_checkstack(d->L, BLOCK_MIN + 8, "JSON");
    d->p++;
    skip_blanks(d);
    return true;
}

static bool decode_object(struct peri_json_decoder *d)
{
    if (!enter(d)) {
        return false;
    }
    unsigned char *hint = &d->hints[d->depth < PERI_JSON_HINTS ? d->depth : PERI_JSON_HINTS - 1];
    int count = 0;
    if (d->p < d->end && *d->p == '}') {
        d->p++;
        lua_createtable(d->L, 0, 0);
        d->depth--;
        return true;
    }
    lua_createtable(d->L, 0, *hint);
    for (int more = 1; more;) {
        skip_blanks(d);
        if (!decode_key(d) || !decode_value(d)) {
            return false;
        }
        lua_rawset(d->L, -3);
        count++;
        more = next_element(d, '}', "',' or '}' is expected in an object");
        if (more < 0) {
            return false;
        }
    }
    *hint = (unsigned char)(count < HINT_MAX ? count : HINT_MAX);
    d->depth--;
    return true;
}

/* Moves `waiting` elements from the top of the stack behind the `stored` ones of the table at index `at`. */
static void store_block(struct peri_json_decoder *d, int at, lua_Integer stored, int waiting)
{
    for (int i = waiting; i > 0; i--) {
        lua_rawseti(d->L, at, stored + i);
    }
    d->slots -= waiting;
}

static void finish_array(struct peri_json_decoder *d, int at, lua_Integer stored, int waiting)
{
    lua_State *L = d->L;
    if (stored == 0) {
        lua_createtable(L, waiting, 0);
        lua_replace(L, at);
    }
    store_block(d, at, stored, waiting);
    lua_pushvalue(L, d->array_mt);
    lua_setmetatable(L, at);
    d->depth--;
}

static bool decode_array(struct peri_json_decoder *d)
{
    lua_State *L = d->L;
    if (!enter(d)) {
        return false;
    }
    lua_pushnil(L); /* the table's place */
    int at = lua_gettop(L);
    lua_Integer stored = 0;
    int waiting = 0;
    if (d->p < d->end && *d->p == ']') {
        d->p++;
        finish_array(d, at, 0, 0);
        return true;
    }
    for (int more = 1; more;) {
        if (waiting >= BLOCK_MIN && (d->slots >= SLOTS || !lua_checkstack(L, BLOCK_MIN + 8))) {
            if (stored == 0) {
                lua_createtable(L, waiting * 2, 0);
                lua_replace(L, at);
            }
            store_block(d, at, stored, waiting);
            stored += waiting;
            waiting = 0;
        }
        if (!decode_value(d)) {
            return false;
        }
        waiting++;
        d->slots++;
        more = next_element(d, ']', "',' or ']' is expected in an array");
        if (more < 0) {
            return false;
        }
    }
    finish_array(d, at, stored, waiting);
    return true;
}

static bool decode_word(struct peri_json_decoder *d, const char *word, size_t len)
{
    if ((size_t)(d->end - d->p) < len || memcmp(d->p, word, len) != 0) {
        return peri__json_fail_at(d, d->p, "unexpected word");
    }
    d->p += len;
    return true;
}

static bool decode_value(struct peri_json_decoder *d)
{
    struct peri_str s;
    skip_blanks(d);
    if (d->p == d->end) {
        return peri__json_fail_at(d, d->p, "unexpected end");
    }
    switch (*d->p) {
    case '"':
        if (!peri__json_string(d, &s)) {
            return false;
        }
        lua_pushlstring(d->L, s.data, s.len);
        return true;
    case '{':
        return decode_object(d);
    case '[':
        return decode_array(d);
    case 't':
        lua_pushboolean(d->L, 1);
        return decode_word(d, "true", 4);
    case 'f':
        lua_pushboolean(d->L, 0);
        return decode_word(d, "false", 5);
    case 'n':
        lua_pushlightuserdata(d->L, NULL);
        return decode_word(d, "null", 4);
    default:
        return decode_number(d);
    }
}

static enum peri_code report(const struct peri_json_decoder *d)
{
    size_t line = 1;
    const char *line_begin = d->begin;
    for (const char *p = d->begin; p < d->p; p++) {
        if (*p == '\n') {
            line++;
            line_begin = p + 1;
        }
    }
    return peri_error_set(d->err, PERI_JSON, "line %zu column %zu: %s", line, (size_t)(d->p - line_begin) + 1, d->what);
}

enum peri_code peri_lua_json_decode(lua_State *L, struct peri_str text, unsigned convert_depths, struct peri_error *err)
{
    struct peri_json_decoder d;
    memset(&d, 0, offsetof(struct peri_json_decoder, cache));
    d.L = L;
    d.begin = d.p = text.data ? text.data : "";
    d.end = d.p + text.len;
    d.err = err;
    d.convert = convert_depths;
    int top = lua_gettop(L);
    luaL_checkstack(L, KEYS + BLOCK_MIN + 8, "JSON");
    struct peri_json_kept *kept = peri__json_kept(L);
    memcpy(d.hints, kept->hints, sizeof d.hints);
    peri_lua_array(L);
    d.array_mt = top + 1;
    lua_pushnil(L);
    d.scratch = top + 2;
    if (text.len >= CACHE_FROM) {
        memset(d.cache, 0, sizeof d.cache);
        d.keys = top + 3;
        lua_settop(L, top + 2 + KEYS);
    }
    bool ok = decode_value(&d);
    if (ok) {
        skip_blanks(&d);
        ok = d.p == d.end || peri__json_fail_at(&d, d.p, "something follows the value");
    }
    if (!ok) {
        lua_settop(L, top);
        return report(&d);
    }
    for (int i = 0; i < PERI_JSON_HINTS; i++) {
        kept->hints[i] = d.hints[i] < HINT_KEPT ? d.hints[i] : HINT_KEPT;
    }
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return PERI_OK;
}
