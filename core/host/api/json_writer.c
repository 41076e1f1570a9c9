/* SPDX-License-Identifier: MIT */
#include "host/api/json_writer.h"

#include <string.h>

#include "perilune/json.h"

/* The buffer's own append is the slow path: most of what is written is a few bytes into memory that is there. */
static void put(struct peri_json_writer *w, const char *data, size_t len)
{
    struct peri_buf *out = w->out;
    if (w->failed)
        return;
    if (out->cap - out->len > len && out->max - out->len >= len) {
        memcpy(out->data + out->len, data, len);
        out->len += len;
        out->data[out->len] = '\0';
    } else if (len > 0 && peri_buf_append(out, data, len) != PERI_OK) {
        w->failed = true;
    }
}

static void separate(struct peri_json_writer *w)
{
    if (w->comma)
        put(w, ",", 1);
    w->comma = true;
}

void peri_jw_open(struct peri_json_writer *w, char bracket)
{
    separate(w);
    put(w, &bracket, 1);
    w->comma = false;
}

void peri_jw_close(struct peri_json_writer *w, char bracket)
{
    put(w, &bracket, 1);
    w->comma = true;
}

void peri_jw_key(struct peri_json_writer *w, const char *key)
{
    char text[80];
    size_t len = strlen(key), at = 0;
    if (len > sizeof text - 4) { /* none is so long */
        w->failed = true;
        return;
    }
    if (w->comma)
        text[at++] = ',';
    text[at++] = '"';
    at = (size_t)((char *)mempcpy(text + at, key, len) - text);
    text[at++] = '"';
    text[at++] = ':';
    put(w, text, at);
    w->comma = false;
}

/* Eight bytes at a time: has one of them a zero in `x`? */
#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)
#define HAS_ZERO(x) (((x)-ONES) & ~(x)&HIGHS)

/* Printable ASCII without '"' and '\\', so that it stands for itself in JSON. */
static bool is_plain(struct peri_str text)
{
    size_t i = 0;
    for (; i + 8 <= text.len; i += 8) {
        uint64_t x;
        memcpy(&x, text.data + i, 8);
        uint64_t odd = (x & HIGHS) | ((x - ONES * 0x20) & ~x & HIGHS) | HAS_ZERO(x ^ (ONES * '"')) |
                       HAS_ZERO(x ^ (ONES * '\\')) | HAS_ZERO(x ^ (ONES * 0x7f));
        if (odd != 0)
            return false;
    }
    for (; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            return false;
    }
    return true;
}

void peri_jw_text(struct peri_json_writer *w, struct peri_str text)
{
    separate(w);
    struct peri_buf *out = w->out;
    if (!is_plain(text)) {
        if (!w->failed && peri_json_write_string(out, text) != PERI_OK)
            w->failed = true;
    } else if (!w->failed && out->cap - out->len > text.len + 2 && out->max - out->len >= text.len + 2) {
        out->data[out->len++] = '"';
        if (text.len > 0)
            memcpy(out->data + out->len, text.data, text.len);
        out->len += text.len;
        out->data[out->len++] = '"';
        out->data[out->len] = '\0';
    } else {
        put(w, "\"", 1);
        put(w, text.data, text.len);
        put(w, "\"", 1);
    }
}

void peri_jw_int(struct peri_json_writer *w, int64_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        digits[--at] = '-';
    separate(w);
    put(w, digits + at, sizeof digits - at);
}

void peri_jw_bool(struct peri_json_writer *w, bool value)
{
    separate(w);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

void peri_jw_real(struct peri_json_writer *w, double value)
{
    separate(w);
    if (!w->failed && peri_json_write_real(w->out, value) != PERI_OK)
        w->failed = true;
}

void peri_jw_raw(struct peri_json_writer *w, struct peri_str json)
{
    separate(w);
    put(w, json.data, json.len);
}

void peri_jw_key_text(struct peri_json_writer *w, const char *key, const char *text)
{
    peri_jw_key(w, key);
    peri_jw_text(w, peri_str_from(text));
}

void peri_jw_key_int(struct peri_json_writer *w, const char *key, int64_t value)
{
    peri_jw_key(w, key);
    peri_jw_int(w, value);
}

void peri_jw_key_bool(struct peri_json_writer *w, const char *key, bool value)
{
    peri_jw_key(w, key);
    peri_jw_bool(w, value);
}

void peri_jw_opt_text(struct peri_json_writer *w, const char *key, const char *text)
{
    if (text != NULL)
        peri_jw_key_text(w, key, text);
}

void peri_jw_opt_int(struct peri_json_writer *w, const char *key, int64_t value)
{
    if (value != 0)
        peri_jw_key_int(w, key, value);
}

void peri_jw_opt_raw(struct peri_json_writer *w, const char *key, const char *json)
{
    if (json == NULL)
        return;
    peri_jw_key(w, key);
    peri_jw_raw(w, peri_str_from(json));
}
