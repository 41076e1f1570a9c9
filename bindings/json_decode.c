/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>

#include "json.h"

/* Bytes to Lua values. Elements of an array gather on the Lua stack and go into a table of the right size in blocks;
 * an object's table is presized by what its predecessor at the same depth had; repeated keys come from a small cache
 * instead of being hashed again. Nothing here is owned by C, so running out of memory may raise at any point. */

#define KEYS 64        /* entries of the key cache */
#define KEY_MAX 24     /* longest key that is cached */
#define CACHE_FROM 512 /* size of a text that makes the cache worth its setup */
#define HINTS 16       /* depths whose object sizes are remembered */
#define SLOTS 16384    /* array elements that may wait on the Lua stack, all depths together */
#define BLOCK_MIN 8    /* and how many each array may have in any case */
#define NUMBER_TEXT 128

struct key {
    const char *text; /* of the string at stack index decoder.keys + i */
    size_t len;
};

struct decoder {
    lua_State *L;
    const char *begin, *p, *end;
    struct peri_error *err;
    const char *what; /* of a failure; its place is p */
    unsigned convert;
    int depth;
    int array_mt; /* stack index */
    int scratch;  /* stack index of a userdata that grows; nil at first */
    char *scratch_data;
    size_t scratch_size;
    int keys; /* stack index of the key cache; 0: none */
    int slots;
    unsigned char hints[HINTS];
    struct key cache[KEYS];
};

static bool decode_value(struct decoder *d);

static bool fail_at(struct decoder *d, const char *p, const char *what)
{
    d->p = p;
    d->what = what;
    return false;
}

static void skip_blanks(struct decoder *d)
{
    const char *p = d->p;
    while (p < d->end && (unsigned char)*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    d->p = p;
}

/* ---- strings ---- */

static void scratch_reserve(struct decoder *d, size_t used, size_t need)
{
    if (need <= d->scratch_size) {
        return;
    }
    size_t size = need < 256 ? 256 : need * 2;
    char *data = lua_newuserdatauv(d->L, size, 0);
    if (used > 0) {
        memcpy(data, d->scratch_data, used);
    }
    lua_replace(d->L, d->scratch);
    d->scratch_data = data;
    d->scratch_size = size;
}

static int hex4(const char *p, const char *end)
{
    if (end - p < 4) {
        return -1;
    }
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = (unsigned char)p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

static size_t utf8_put(char *out, unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | (c >> 6));
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | (c >> 12));
        out[1] = (char)(0x80 | ((c >> 6) & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (c >> 18));
    out[1] = (char)(0x80 | ((c >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((c >> 6) & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* p is behind "\u". Writes at most 4 bytes to out; returns what is behind the escape, NULL on failure. */
static const char *unicode_escape(struct decoder *d, const char *p, char *out, size_t *written)
{
    int high = hex4(p, d->end);
    if (high < 0) {
        fail_at(d, p - 2, "\\u needs four hexadecimal digits");
        return NULL;
    }
    unsigned c = (unsigned)high;
    const char *next = p + 4;
    if (c >= 0xd800 && c <= 0xdfff) {
        int low = c < 0xdc00 && d->end - next >= 6 && next[0] == '\\' && next[1] == 'u' ? hex4(next + 2, d->end) : -1;
        if (low < 0xdc00 || low > 0xdfff) {
            fail_at(d, p - 2, "lone surrogate");
            return NULL;
        }
        c = 0x10000 + ((c - 0xd800) << 10) + ((unsigned)low - 0xdc00);
        next += 6;
    }
    *written = utf8_put(out, c);
    return next;
}

static char simple_escape(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

/* From the first backslash on: the text so far and the rest go to the scratch. start is behind the opening quote,
 * d->p at the backslash. On success d->p is behind the closing quote. */
static bool string_with_escapes(struct decoder *d, const char *start, struct peri_str *out)
{
    size_t used = (size_t)(d->p - start);
    const char *p = d->p;
    scratch_reserve(d, 0, used + 32);
    memcpy(d->scratch_data, start, used);
    while (p < d->end) {
        size_t plain = peri__json_plain(p, (size_t)(d->end - p));
        scratch_reserve(d, used, used + plain + 8);
        memcpy(d->scratch_data + used, p, plain);
        used += plain;
        p += plain;
        if (p == d->end) {
            break;
        }
        unsigned char c = (unsigned char)*p;
        if (c == '"') {
            d->p = p + 1;
            *out = (struct peri_str){ d->scratch_data, used };
            return true;
        }
        if (c == '\\') {
            if (d->end - p > 1 && p[1] == 'u') {
                size_t written = 0;
                p = unicode_escape(d, p + 2, d->scratch_data + used, &written);
                if (!p) {
                    return false;
                }
                used += written;
                continue;
            }
            if (p + 1 == d->end) {
                break;
            }
            char plain_char = simple_escape(p[1]);
            if (!plain_char) {
                return fail_at(d, p, "unknown escape");
            }
            d->scratch_data[used++] = plain_char;
            p += 2;
            continue;
        }
        size_t n = c >= 0x80 ? peri__utf8_sequence((const unsigned char *)p, (size_t)(d->end - p)) : 0;
        if (n == 0) {
            return fail_at(d, p, c >= 0x80 ? "invalid UTF-8" : "control character in a string");
        }
        memcpy(d->scratch_data + used, p, n);
        used += n;
        p += n;
    }
    return fail_at(d, d->end, "unexpected end in a string");
}

/* d->p is at the opening quote. out borrows from the text or from the scratch. */
static inline bool decode_string(struct decoder *d, struct peri_str *out)
{
    const char *start = d->p + 1;
    const char *p = start;
    for (;;) {
        p += peri__json_plain(p, (size_t)(d->end - p));
        if (p == d->end) {
            return fail_at(d, p, "unexpected end in a string");
        }
        unsigned char c = (unsigned char)*p;
        if (c == '"') {
            *out = (struct peri_str){ start, (size_t)(p - start) };
            d->p = p + 1;
            return true;
        }
        if (c == '\\') {
            d->p = p;
            return string_with_escapes(d, start, out);
        }
        size_t n = c >= 0x80 ? peri__utf8_sequence((const unsigned char *)p, (size_t)(d->end - p)) : 0;
        if (n == 0) {
            return fail_at(d, p, c >= 0x80 ? "invalid UTF-8" : "control character in a string");
        }
        p += n;
    }
}

/* ---- numbers ---- */

static bool decode_number_slow(struct decoder *d, const char *start, size_t len)
{
    char text[NUMBER_TEXT];
    if (len < sizeof text) {
        memcpy(text, start, len);
        text[len] = 0;
        return lua_stringtonumber(d->L, text) == len + 1 || fail_at(d, start, "invalid number");
    }
    scratch_reserve(d, 0, len + 1);
    memcpy(d->scratch_data, start, len);
    d->scratch_data[len] = 0;
    return lua_stringtonumber(d->L, d->scratch_data) == len + 1 || fail_at(d, start, "invalid number");
}

static bool is_digit(const struct decoder *d, const char *p)
{
    return p < d->end && (unsigned char)(*p - '0') <= 9;
}

/* Reads digits into m as long as 19 of them fit; counts those that did not. */
static const char *read_digits(const struct decoder *d, const char *p, uint64_t *m, int *significant, int *dropped)
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

static bool decode_number(struct decoder *d)
{
    const char *start = d->p;
    bool negative = *start == '-';
    const char *p = start + negative;
    if (!is_digit(d, p)) {
        return fail_at(d, start, negative ? "a minus sign needs a digit" : "unexpected character");
    }
    if (*p == '0' && is_digit(d, p + 1)) {
        return fail_at(d, start, "a number can't begin with 0");
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
            return fail_at(d, start, "a point needs a digit behind it");
        }
        exponent = (int)(fraction - p < -100000 ? -100000 : fraction - p);
    }
    if (p < d->end && (*p == 'e' || *p == 'E')) {
        real = true;
        p++;
        bool minus = p < d->end && *p == '-';
        p += p < d->end && (*p == '-' || *p == '+');
        if (!is_digit(d, p)) {
            return fail_at(d, start, "an exponent needs a digit");
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
        return fail_at(d, start, "number out of range");
    }
    return true;
}

/* ---- containers ---- */

/* "createdTime" to "created_time", as core does it for C programs. */
static void push_snake_case(struct decoder *d, struct peri_str key)
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

static void push_key(struct decoder *d, struct peri_str key)
{
    if (!d->keys || key.len == 0 || key.len > KEY_MAX) {
        lua_pushlstring(d->L, key.data, key.len);
        return;
    }
    unsigned hash = (unsigned)key.len * 31 + (unsigned char)key.data[0] * 7 +
                    (unsigned char)key.data[key.len - 1] * 13 + (unsigned char)key.data[key.len / 2];
    hash = (hash ^ (hash >> 6)) & (KEYS - 1);
    struct key *entry = &d->cache[hash];
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

static bool decode_key(struct decoder *d)
{
    struct peri_str key;
    if (d->p == d->end || *d->p != '"') {
        return fail_at(d, d->p, "a key in quotes is expected");
    }
    if (!decode_string(d, &key)) {
        return false;
    }
    if (d->depth <= 32 && (d->convert >> (d->depth - 1)) & 1) {
        push_snake_case(d, key);
    } else {
        push_key(d, key);
    }
    skip_blanks(d);
    if (d->p == d->end || *d->p != ':') {
        return fail_at(d, d->p, "':' is expected after a key");
    }
    d->p++;
    return true;
}

/* The comma or the end after an element. Returns 1: another follows, 0: closed, -1: failed. */
static inline int next_element(struct decoder *d, char close, const char *what)
{
    skip_blanks(d);
    if (d->p == d->end || (*d->p != ',' && *d->p != close)) {
        fail_at(d, d->p, what);
        return -1;
    }
    return *d->p++ == ',';
}

static bool enter(struct decoder *d)
{
    if (++d->depth > PERI_JSON_DECODE_DEPTH) {
        return fail_at(d, d->p, "nested too deeply");
    }
    luaL_checkstack(d->L, BLOCK_MIN + 8, "JSON");
    d->p++;
    skip_blanks(d);
    return true;
}

static bool decode_object(struct decoder *d)
{
    if (!enter(d)) {
        return false;
    }
    unsigned char *hint = &d->hints[d->depth < HINTS ? d->depth : HINTS - 1];
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
    *hint = (unsigned char)(count < 64 ? count : 64);
    d->depth--;
    return true;
}

/* Moves `waiting` elements from the top of the stack behind the `stored` ones of the table at index `at`. */
static void store_block(struct decoder *d, int at, lua_Integer stored, int waiting)
{
    for (int i = waiting; i > 0; i--) {
        lua_rawseti(d->L, at, stored + i);
    }
    d->slots -= waiting;
}

static void finish_array(struct decoder *d, int at, lua_Integer stored, int waiting)
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

static bool decode_array(struct decoder *d)
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

static bool decode_word(struct decoder *d, const char *word, size_t len)
{
    if ((size_t)(d->end - d->p) < len || memcmp(d->p, word, len) != 0) {
        return fail_at(d, d->p, "unexpected word");
    }
    d->p += len;
    return true;
}

static bool decode_value(struct decoder *d)
{
    struct peri_str s;
    skip_blanks(d);
    if (d->p == d->end) {
        return fail_at(d, d->p, "unexpected end");
    }
    switch (*d->p) {
    case '"':
        if (!decode_string(d, &s)) {
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

static enum peri_code report(const struct decoder *d)
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
    struct decoder d;
    memset(&d, 0, offsetof(struct decoder, cache));
    d.L = L;
    d.begin = d.p = text.data ? text.data : "";
    d.end = d.p + text.len;
    d.err = err;
    d.convert = convert_depths;
    int top = lua_gettop(L);
    luaL_checkstack(L, KEYS + BLOCK_MIN + 8, "JSON");
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
        ok = d.p == d.end || fail_at(&d, d.p, "something follows the value");
    }
    if (!ok) {
        lua_settop(L, top);
        return report(&d);
    }
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return PERI_OK;
}
