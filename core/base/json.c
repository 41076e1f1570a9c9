/* SPDX-License-Identifier: MIT */
#include "perilune/json.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define NEAR_MAX 4                 /* bytes of the text that an error may repeat: "True", but hardly a secret */

static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale)
        abort(); /* built into the C library: it is always there */
}

/* JSON has a point whatever the process's language is. */
static locale_t json_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_locale);
    return c_locale;
}

static enum peri_code fail_too_deep(enum peri_code code, struct peri_error *err)
{
    return peri_error_set(err, code, "the JSON value is nested too deep (over %d levels)", PERI_JSON_MAX_DEPTH);
}

static bool deeper_than(json_t *value, unsigned levels)
{
    bool deeper = false;
    if ((json_is_array(value) || json_is_object(value)) && levels == 0)
        return true;
    for (size_t i = 0; i < json_array_size(value) && !deeper; i++)
        deeper = deeper_than(json_array_get(value, i), levels - 1);
    for (void *i = json_object_iter(value); i && !deeper; i = json_object_iter_next(value, i))
        deeper = deeper_than(json_object_iter_value(i), levels - 1);
    return deeper;
}

/* jansson ends a message with the text it was at: "invalid token near 'True'". It stays when it is short and
 * printable; more of the text could be a secret. */
static void cut_near(char *message)
{
    char *near = strstr(message, " near '");
    size_t len = 0;
    if (!near)
        return;
    for (const char *at = near + strlen(" near '"); *at >= ' ' && *at <= '~'; at++)
        len++;
    if (near[strlen(" near '") + len] != '\0' || len > NEAR_MAX + 1) /* 1: the closing quote */
        *near = '\0';
}

json_t *peri_json_parse(struct peri_str text, struct peri_error *err)
{
    json_error_t problem = { 0 };
    if (text.len > 0 && memchr(text.data, '\0', text.len)) { /* jansson skips one behind a number */
        peri_error_set(err, PERI_JSON, "the JSON text holds a NUL byte");
        return NULL;
    }
    locale_t before = uselocale(json_locale());
    errno = 0;
    json_t *value = json_loadb(text.len > 0 ? text.data : "", text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    bool no_memory = errno == ENOMEM; /* jansson calls some of it a syntax error */
    uselocale(before);
    if (value && !no_memory && !deeper_than(value, PERI_JSON_MAX_DEPTH))
        return value;
    if (no_memory) {
        peri_error_set(err, PERI_NOMEM, "no memory to parse JSON");
    } else if (value || json_error_code(&problem) == json_error_stack_overflow) {
        fail_too_deep(PERI_JSON, err);
    } else {
        cut_near(problem.text);
        peri_error_set(err, PERI_JSON, "line %d column %d: %s", problem.line, problem.column, problem.text);
    }
    json_decref(value);
    return NULL;
}

static enum peri_code write_integer(struct peri_buf *out, json_int_t n)
{
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (n < 0)
        *--at = '-';
    return peri_buf_append(out, at, (size_t)(digits + sizeof digits - at));
}

/* How a text is laid out. */
struct style {
    struct peri_str comma, colon;
    enum peri_code (*string)(struct peri_buf *out, struct peri_str text);
};

static enum peri_code write_value(const json_t *value, unsigned depth, const struct style *style, struct peri_buf *out);

static enum peri_code write_array(const json_t *array, unsigned depth, const struct style *style, struct peri_buf *out)
{
    enum peri_code code = peri_buf_append_byte(out, '[');
    size_t size = json_array_size(array);
    for (size_t i = 0; i < size && code == PERI_OK; i++) {
        if (i > 0)
            code = peri_buf_append_str(out, style->comma);
        if (code == PERI_OK)
            code = write_value(json_array_get(array, i), depth, style, out);
    }
    return code == PERI_OK ? peri_buf_append_byte(out, ']') : code;
}

static enum peri_code write_object(const json_t *value, unsigned depth, const struct style *style, struct peri_buf *out)
{
    json_t *object = (json_t *)value; /* jansson's iterators take no const, and change nothing */
    enum peri_code code = peri_buf_append_byte(out, '{');
    bool first = true;
    for (void *i = json_object_iter(object); i && code == PERI_OK; i = json_object_iter_next(object, i)) {
        struct peri_str key = { json_object_iter_key(i), json_object_iter_key_len(i) };
        if (!first)
            code = peri_buf_append_str(out, style->comma);
        first = false;
        if (code == PERI_OK)
            code = style->string(out, key);
        if (code == PERI_OK)
            code = peri_buf_append_str(out, style->colon);
        if (code == PERI_OK)
            code = write_value(json_object_iter_value(i), depth, style, out);
    }
    return code == PERI_OK ? peri_buf_append_byte(out, '}') : code;
}

static enum peri_code write_value(const json_t *value, unsigned depth, const struct style *style, struct peri_buf *out)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return depth < PERI_JSON_MAX_DEPTH ? write_object(value, depth + 1, style, out) : PERI_INVALID;
    case JSON_ARRAY:
        return depth < PERI_JSON_MAX_DEPTH ? write_array(value, depth + 1, style, out) : PERI_INVALID;
    case JSON_STRING:
        return style->string(out, (struct peri_str){ json_string_value(value), json_string_length(value) });
    case JSON_INTEGER:
        return write_integer(out, json_integer_value(value));
    case JSON_REAL:
        return peri_json_write_real(out, json_real_value(value));
    case JSON_TRUE:
        return peri_buf_append(out, "true", 4);
    case JSON_FALSE:
        return peri_buf_append(out, "false", 5);
    case JSON_NULL:
        return peri_buf_append(out, "null", 4);
    }
    return PERI_INVALID;
}

static enum peri_code write_styled(const json_t *value, const struct style *style, struct peri_buf *out,
                                   struct peri_error *err)
{
    size_t mark = out->len;
    if (!value)
        return peri_error_set(err, PERI_INVALID, "no JSON value to write");
    enum peri_code code = write_value(value, 0, style, out);
    if (code == PERI_OK)
        return PERI_OK;
    peri_buf_truncate(out, mark);
    if (code == PERI_INVALID)
        return fail_too_deep(code, err);
    if (code == PERI_TOO_LARGE)
        return peri_error_set(err, code, "the JSON text is over the limit of %zu bytes", out->max);
    return peri_error_set(err, code, "no memory to write JSON");
}

enum peri_code peri_json_write(const json_t *value, struct peri_buf *out, struct peri_error *err)
{
    static const struct style compact = { { ",", 1 }, { ":", 1 }, peri_json_write_string };
    return write_styled(value, &compact, out, err);
}

static enum peri_code append_escape(struct peri_buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
    const char *shorts = "\"\\\b\f\n\r\t", *letters = "\"\\bfnrt";
    const char *found = c ? strchr(shorts, c) : NULL;
    if (found) {
        text[1] = letters[found - shorts];
        return peri_buf_append(out, text, 2);
    }
    return peri_buf_append(out, text, sizeof text);
}

enum peri_code peri_json_write_string(struct peri_buf *out, struct peri_str text)
{
    size_t mark = out->len, at = 0;
    enum peri_code code = peri_buf_append_byte(out, '"');
    while (at < text.len && code == PERI_OK) {
        size_t start = at;
        int n = 1, bad = 0;
        while (at < text.len) {
            unsigned char c = (unsigned char)text.data[at];
            n = 1;
            if (c < 0x20 || c == '"' || c == '\\')
                break;
            if (c >= 0x80 && (n = peri__utf8_length(text.data + at, text.len - at, &bad)) == 0)
                break;
            at += (size_t)n;
        }
        code = peri_buf_append(out, text.data + start, at - start);
        if (code != PERI_OK || at == text.len)
            break;
        if (n == 0) {
            code = peri_buf_append_text(out, REPLACEMENT);
            at += (size_t)bad;
        } else {
            code = append_escape(out, (unsigned char)text.data[at++]);
        }
    }
    if (code == PERI_OK)
        code = peri_buf_append_byte(out, '"');
    if (code != PERI_OK)
        peri_buf_truncate(out, mark);
    return code;
}

static enum peri_code append_unit(struct peri_buf *out, unsigned unit)
{
    char text[7];
    snprintf(text, sizeof text, "\\u%04x", unit & 0xffff);
    return peri_buf_append(out, text, 6);
}

/* text, a valid JSON string in quotes, with all that is no printable ASCII escaped. */
static enum peri_code append_ascii(struct peri_buf *out, struct peri_str text)
{
    enum peri_code code = PERI_OK;
    for (size_t at = 0, n = 1; at < text.len && code == PERI_OK; at += n) {
        unsigned char c = (unsigned char)text.data[at];
        n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (c < 0x7f) {
            code = peri_buf_append_byte(out, (char)c);
            continue;
        }
        unsigned point = n == 1 ? c : c & (0x7fu >> n);
        for (size_t i = 1; i < n; i++)
            point = point << 6 | ((unsigned char)text.data[at + i] & 0x3f);
        if (point > 0xffff) {
            code = append_unit(out, 0xd800 + ((point - 0x10000) >> 10));
            point = 0xdc00 + ((point - 0x10000) & 0x3ff);
        }
        if (code == PERI_OK)
            code = append_unit(out, point);
    }
    return code;
}

static enum peri_code write_ascii_string(struct peri_buf *out, struct peri_str text)
{
    struct peri_buf quoted;
    peri_buf_init(&quoted, out->max);
    enum peri_code code = peri_json_write_string(&quoted, text);
    if (code == PERI_OK)
        code = append_ascii(out, peri_buf_str(&quoted));
    peri_buf_fini(&quoted);
    return code;
}

enum peri_code peri_json_write_spaced(const json_t *value, struct peri_buf *out, struct peri_error *err)
{
    static const struct style spaced = { { ", ", 2 }, { ": ", 2 }, write_ascii_string };
    return write_styled(value, &spaced, out, err);
}

/* Few decimals, as most reals that people write have: up to six are found by division alone, ten times as fast as by
 * printing. Both operands are exact, so that the quotient is what strtod makes of the text. */
static int write_few_decimals(char *text, size_t size, double x)
{
    double magnitude = fabs(x), scale = 10;
    if (magnitude < 1e-4 || magnitude >= 1e9)
        return 0;
    for (int decimals = 1; decimals <= 6; decimals++, scale *= 10) {
        uint64_t all = (uint64_t)(magnitude * scale + 0.5), unit = (uint64_t)scale;
        if ((double)all / scale == magnitude) {
            char *at = text + size;
            uint64_t rest = all % unit;
            for (int i = 0; i < decimals; i++, rest /= 10)
                *--at = (char)('0' + rest % 10);
            *--at = '.';
            rest = all / unit;
            do
                *--at = (char)('0' + rest % 10);
            while ((rest /= 10) > 0);
            if (x < 0)
                *--at = '-';
            return (int)(text + size - at);
        }
    }
    return 0;
}

enum peri_code peri_json_write_real(struct peri_buf *out, double x)
{
    char text[40];
    if (!isfinite(x))
        return PERI_INVALID;
    if (fabs(x) < 1e15 && x == (double)(json_int_t)x && (x != 0 || !signbit(x))) {
        size_t mark = out->len;
        enum peri_code code = write_integer(out, (json_int_t)x);
        if (code == PERI_OK)
            code = peri_buf_append(out, ".0", 2);
        if (code != PERI_OK)
            peri_buf_truncate(out, mark);
        return code;
    }
    int len = write_few_decimals(text, sizeof text, x);
    if (len > 0)
        return peri_buf_append(out, text + sizeof text - len, (size_t)len);
    locale_t before = uselocale(json_locale());
    /* 15 digits survive the way through a double; a subnormal holds fewer, so that less may be enough. */
    int precision = fabs(x) < DBL_MIN ? 1 : 15;
    do
        len = snprintf(text, sizeof text - 2, "%.*g", precision++, x);
    while (precision <= 17 && strtod(text, NULL) != x);
    uselocale(before);
    if (!strpbrk(text, ".e")) {
        text[len++] = '.';
        text[len++] = '0';
    }
    return peri_buf_append(out, text, (size_t)len);
}

/* The field; NULL with *code set when there is nothing to convert. */
static const json_t *field(const json_t *object, const char *key, bool required, enum peri_code *code,
                           struct peri_error *err)
{
    const json_t *value = json_object_get(object, key);
    *code = PERI_OK;
    if (value && !json_is_null(value))
        return value;
    if (required)
        *code = peri_error_set(err, PERI_INVALID, "field '%s' is missing", key);
    return NULL;
}

enum peri_code peri_json_get_string(const json_t *object, const char *key, bool required, const char **out,
                                    struct peri_error *err)
{
    enum peri_code code;
    const json_t *value = field(object, key, required, &code, err);
    *out = NULL;
    if (!value)
        return code;
    if (!json_is_string(value))
        return peri_error_set(err, PERI_INVALID, "field '%s' must be a string", key);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return peri_error_set(err, PERI_INVALID, "field '%s' must not hold a NUL character", key);
    *out = json_string_value(value);
    return PERI_OK;
}

enum peri_code peri_json_get_integer(const json_t *object, const char *key, bool required, json_int_t *out,
                                     struct peri_error *err)
{
    enum peri_code code;
    const json_t *value = field(object, key, required, &code, err);
    if (!value)
        return code;
    if (!json_is_integer(value))
        return peri_error_set(err, PERI_INVALID, "field '%s' must be an integer", key);
    *out = json_integer_value(value);
    return PERI_OK;
}

enum peri_code peri_json_get_bool(const json_t *object, const char *key, bool required, bool *out,
                                  struct peri_error *err)
{
    enum peri_code code;
    const json_t *value = field(object, key, required, &code, err);
    if (!value)
        return code;
    if (!json_is_boolean(value))
        return peri_error_set(err, PERI_INVALID, "field '%s' must be true or false", key);
    *out = json_is_true(value);
    return PERI_OK;
}
