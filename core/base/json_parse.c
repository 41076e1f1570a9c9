/* SPDX-License-Identifier: MIT */
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_locale.h"
#include "base/utf8.h"
#include "perilune/json.h"

/* Text to json_t. jansson's own reader is not used: a failed allocation inside a token makes 2.14 lose bytes or run
 * past its buffer, and it refuses integers beyond 64 bits. */
struct parser {
    const char *text;
    size_t len, at;
    unsigned depth;
    struct peri_buf scratch; /* a decoded string or a number */
    struct peri_error *err;
};

static json_t *parse_value(struct parser *p);

static void *fail(struct parser *p, size_t at, const char *what)
{
    size_t line = 1, column = at + 1;
    for (size_t i = 0; i < at; i++) {
        if (p->text[i] == '\n') {
            line++;
            column = at - i;
        }
    }
    peri_error_set(p->err, PERI_JSON, "line %zu column %zu: %s", line, column, what);
    return NULL;
}

static void *fail_memory(struct parser *p)
{
    peri_error_set(p->err, PERI_NOMEM, "no memory to parse JSON");
    return NULL;
}

static void *fail_here(struct parser *p, const char *what)
{
    return fail(p, p->at, p->at < p->len ? what : "unexpected end of the text");
}

/* The next byte that is no white space; '\0' at the end. */
static char next(struct parser *p)
{
    while (p->at < p->len) {
        char c = p->text[p->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
            return c;
        p->at++;
    }
    return '\0';
}

/* The four hexadecimal digits at `at`; -1 when they are not all there. */
static int32_t hex4(const struct parser *p, size_t at)
{
    int32_t value = 0;
    if (p->len - at < 4)
        return -1;
    for (size_t i = at; i < at + 4; i++) {
        char c = p->text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static enum peri_code append_utf8(struct peri_buf *out, uint32_t c)
{
    char bytes[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3F));
    bytes[0] = (char)(lead[n] | c);
    return peri_buf_append(out, bytes, n);
}

/* After "\u": appends the character, both halves of a surrogate pair included. */
static bool parse_unicode_escape(struct parser *p, size_t start)
{
    int32_t c = hex4(p, p->at), second;
    if (c < 0)
        return fail(p, start, "invalid escape");
    p->at += 4;
    if (c >= 0xDC00 && c <= 0xDFFF)
        return fail(p, start, "half of a surrogate pair");
    if (c >= 0xD800 && c <= 0xDBFF) {
        bool escaped = p->len - p->at >= 6 && p->text[p->at] == '\\' && p->text[p->at + 1] == 'u';
        second = escaped ? hex4(p, p->at + 2) : -1;
        if (second < 0xDC00 || second > 0xDFFF)
            return fail(p, start, "half of a surrogate pair");
        p->at += 6;
        c = 0x10000 + ((c - 0xD800) << 10) + (second - 0xDC00);
    }
    return append_utf8(&p->scratch, (uint32_t)c) == PERI_OK || fail_memory(p);
}

/* After a backslash. */
static bool parse_escape(struct parser *p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    size_t start = p->at - 1;
    char c = p->at < p->len ? p->text[p->at] : '\0';
    const char *found = c ? strchr(from, c) : NULL;
    if (c != 'u' && !found)
        return p->at < p->len ? fail(p, start, "invalid escape") : fail_here(p, "");
    p->at++;
    if (c == 'u')
        return parse_unicode_escape(p, start);
    return peri_buf_append_byte(&p->scratch, to[found - from]) == PERI_OK || fail_memory(p);
}

/* Moves over bytes that stand for themselves. */
static bool skip_plain(struct parser *p)
{
    while (p->at < p->len) {
        unsigned char c = (unsigned char)p->text[p->at];
        int n = 1;
        if (c == '"' || c == '\\')
            return true;
        if (c < 0x20)
            return fail(p, p->at, c == '\n' ? "newline in a string" : "control character in a string");
        if (c >= 0x80)
            n = peri__utf8_length(p->text + p->at, p->len - p->at, NULL);
        if (n == 0)
            return fail(p, p->at, "invalid UTF-8");
        p->at += (size_t)n;
    }
    return fail_here(p, "");
}

/* At a quote. *out points into the text or, when there were escapes, into scratch. */
static bool parse_string(struct parser *p, struct peri_str *out)
{
    bool escapes = false;
    peri_buf_clear(&p->scratch);
    p->at++;
    for (;;) {
        size_t start = p->at;
        if (!skip_plain(p))
            return false;
        struct peri_str plain = { p->text + start, p->at - start };
        bool closed = p->text[p->at++] == '"';
        if (closed && !escapes) {
            *out = plain;
            return true;
        }
        escapes = true;
        if (peri_buf_append_str(&p->scratch, plain) != PERI_OK)
            return fail_memory(p);
        if (closed) {
            *out = peri_buf_str(&p->scratch);
            return true;
        }
        if (!parse_escape(p))
            return false;
    }
}

static size_t skip_digits(struct parser *p)
{
    size_t start = p->at;
    while (p->at < p->len && p->text[p->at] >= '0' && p->text[p->at] <= '9')
        p->at++;
    return p->at - start;
}

static json_t *parse_real(struct parser *p, size_t start)
{
    peri_buf_clear(&p->scratch);
    if (peri_buf_append(&p->scratch, p->text + start, p->at - start) != PERI_OK)
        return fail_memory(p);
    double x = strtod_l(p->scratch.data, NULL, peri__json_locale());
    if (!isfinite(x))
        return fail(p, start, "number out of range");
    json_t *value = json_real(x);
    return value ? value : fail_memory(p);
}

static json_t *parse_number(struct parser *p)
{
    size_t start = p->at;
    bool negative = p->text[p->at] == '-', whole = true;
    p->at += negative;
    size_t first = p->at, digits = skip_digits(p);
    if (digits == 0 || (digits > 1 && p->text[first] == '0'))
        return fail(p, start, "invalid number");
    size_t end = p->at;
    if (p->at < p->len && p->text[p->at] == '.') {
        whole = false;
        p->at++;
        if (skip_digits(p) == 0)
            return fail(p, start, "invalid number");
    }
    if (p->at < p->len && (p->text[p->at] == 'e' || p->text[p->at] == 'E')) {
        whole = false;
        p->at++;
        if (p->at < p->len && (p->text[p->at] == '+' || p->text[p->at] == '-'))
            p->at++;
        if (skip_digits(p) == 0)
            return fail(p, start, "invalid number");
    }
    json_int_t n = 0;
    for (size_t i = first; i < end && whole; i++) {
        int digit = p->text[i] - '0'; /* counted downwards: the smallest integer has no positive twin */
        whole = !__builtin_mul_overflow(n, 10, &n) && !__builtin_sub_overflow(n, digit, &n);
    }
    if (!whole || (!negative && n == INT64_MIN))
        return parse_real(p, start);
    json_t *value = json_integer(negative ? n : -n);
    return value ? value : fail_memory(p);
}

static json_t *parse_array(struct parser *p)
{
    json_t *array = json_array();
    if (!array)
        return fail_memory(p);
    p->at++;
    if (next(p) == ']') {
        p->at++;
        return array;
    }
    for (;;) {
        json_t *value = parse_value(p);
        if (!value)
            goto out;
        if (json_array_append_new(array, value) != 0) {
            fail_memory(p);
            goto out;
        }
        char c = next(p);
        if (c != ',' && c != ']') {
            fail_here(p, "',' or ']' expected");
            goto out;
        }
        p->at++;
        if (c == ']')
            return array;
    }
out:
    json_decref(array);
    return NULL;
}

/* "key": value */
static bool parse_member(struct parser *p, json_t *object)
{
    struct peri_str key;
    char *kept = NULL;
    bool ok = false;
    if (next(p) != '"')
        return fail_here(p, "string expected as a key");
    size_t start = p->at;
    if (!parse_string(p, &key))
        return false;
    if (memchr(key.data, '\0', key.len))
        return fail(p, start, "NUL in a key");
    if (key.data == p->scratch.data) { /* the value's strings will use it, too */
        kept = peri_str_dup(key);
        if (!kept)
            return fail_memory(p);
        key.data = kept;
    }
    json_t *value = NULL;
    if (next(p) != ':') {
        fail_here(p, "':' expected");
        goto out;
    }
    p->at++;
    value = parse_value(p);
    if (!value)
        goto out;
    ok = json_object_setn_new_nocheck(object, key.data, key.len, value) == 0 || fail_memory(p);
out:
    free(kept);
    return ok;
}

static json_t *parse_object(struct parser *p)
{
    json_t *object = json_object();
    if (!object)
        return fail_memory(p);
    p->at++;
    if (next(p) == '}') {
        p->at++;
        return object;
    }
    for (;;) {
        if (!parse_member(p, object))
            goto out;
        char c = next(p);
        if (c != ',' && c != '}') {
            fail_here(p, "',' or '}' expected");
            goto out;
        }
        p->at++;
        if (c == '}')
            return object;
    }
out:
    json_decref(object);
    return NULL;
}

static json_t *parse_literal(struct parser *p, const char *name, json_t *value)
{
    size_t len = strlen(name);
    if (p->len - p->at < len || memcmp(p->text + p->at, name, len) != 0)
        return fail(p, p->at, "value expected");
    p->at += len;
    return value;
}

static json_t *parse_value(struct parser *p)
{
    struct peri_str s;
    json_t *value;
    char c = next(p);
    switch (c) {
    case '"':
        if (!parse_string(p, &s))
            return NULL;
        value = json_stringn_nocheck(s.len ? s.data : "", s.len);
        return value ? value : fail_memory(p);
    case '{':
    case '[':
        if (p->depth == PERI_JSON_MAX_DEPTH)
            return fail(p, p->at, "nested too deep");
        p->depth++;
        value = c == '{' ? parse_object(p) : parse_array(p);
        p->depth--;
        return value;
    case 't':
        return parse_literal(p, "true", json_true());
    case 'f':
        return parse_literal(p, "false", json_false());
    case 'n':
        return parse_literal(p, "null", json_null());
    default:
        if (c == '-' || (c >= '0' && c <= '9'))
            return parse_number(p);
        return fail_here(p, "value expected");
    }
}

json_t *peri_json_parse(struct peri_str text, struct peri_error *err)
{
    struct parser p = { .text = text.data, .len = text.len, .err = err };
    peri_buf_init(&p.scratch, SIZE_MAX);
    json_t *value = parse_value(&p);
    if (value) {
        next(&p);
        if (p.at < p.len) {
            fail(&p, p.at, "end of the text expected");
            json_decref(value);
            value = NULL;
        }
    }
    peri_buf_fini(&p.scratch);
    return value;
}
