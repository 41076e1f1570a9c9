/* SPDX-License-Identifier: MIT */
#include "perilune/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 64

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

struct peri_str peri_str_from(const char *text)
{
    return (struct peri_str){ text, text ? strlen(text) : 0 };
}

bool peri_str_equal(struct peri_str a, struct peri_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool peri_str_equal_nocase(struct peri_str a, struct peri_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

bool peri_str_has_prefix(struct peri_str s, const char *prefix)
{
    size_t len = strlen(prefix);
    return len == 0 || (s.len >= len && memcmp(s.data, prefix, len) == 0);
}

char *peri_str_dup(struct peri_str s)
{
    char *copy = s.len < SIZE_MAX ? malloc(s.len + 1) : NULL;
    if (!copy)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.data, s.len);
    copy[s.len] = '\0';
    return copy;
}

void peri_buf_init(struct peri_buf *buf, size_t max)
{
    *buf = (struct peri_buf){ .max = max < SIZE_MAX ? max : SIZE_MAX - 1 };
}

void peri_buf_fini(struct peri_buf *buf)
{
    free(buf->data);
    peri_buf_init(buf, buf->max);
}

void peri_buf_clear(struct peri_buf *buf)
{
    peri_buf_truncate(buf, 0);
}

void peri_buf_truncate(struct peri_buf *buf, size_t len)
{
    if (len >= buf->len)
        return;
    buf->len = len;
    buf->data[len] = '\0';
}

struct peri_str peri_buf_str(const struct peri_buf *buf)
{
    return (struct peri_str){ buf->data, buf->len };
}

enum peri_code peri_buf_reserve(struct peri_buf *buf, size_t extra)
{
    if (extra > buf->max - buf->len)
        return PERI_TOO_LARGE;
    size_t need = buf->len + extra + 1; /* the NUL */
    if (need <= buf->cap)
        return PERI_OK;
    size_t cap = buf->cap <= SIZE_MAX / 2 ? buf->cap * 2 : need;
    if (cap < SMALLEST)
        cap = SMALLEST;
    if (cap > buf->max + 1)
        cap = buf->max + 1;
    if (cap < need)
        cap = need;
    char *data = realloc(buf->data, cap);
    if (!data)
        return PERI_NOMEM;
    data[buf->len] = '\0';
    buf->data = data;
    buf->cap = cap;
    return PERI_OK;
}

enum peri_code peri_buf_append(struct peri_buf *buf, const void *data, size_t len)
{
    if (len == 0)
        return PERI_OK;
    if (buf->cap - buf->len <= len || buf->max - buf->len < len) {
        enum peri_code code = peri_buf_reserve(buf, len);
        if (code != PERI_OK)
            return code;
    }
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return PERI_OK;
}

enum peri_code peri_buf_append_str(struct peri_buf *buf, struct peri_str s)
{
    return peri_buf_append(buf, s.data, s.len);
}

enum peri_code peri_buf_append_text(struct peri_buf *buf, const char *text)
{
    return peri_buf_append(buf, text, strlen(text));
}

enum peri_code peri_buf_append_byte(struct peri_buf *buf, char byte)
{
    return peri_buf_append(buf, &byte, 1);
}

enum peri_code peri_buf_append_uint(struct peri_buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return peri_buf_append(buf, digits + at, sizeof digits - at);
}

enum peri_code peri_buf_printf(struct peri_buf *buf, const char *format, ...)
{
    size_t room = buf->cap - buf->len;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(buf->data ? buf->data + buf->len : NULL, room, format, args);
    va_end(args);
    if (len >= 0 && (size_t)len < room) {
        buf->len += (size_t)len;
        return PERI_OK;
    }
    if (buf->data)
        buf->data[buf->len] = '\0';
    if (len < 0)
        return PERI_INVALID;
    enum peri_code code = peri_buf_reserve(buf, (size_t)len);
    if (code != PERI_OK)
        return code;
    va_start(args, format);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
    return PERI_OK;
}

void peri_buf_consume(struct peri_buf *buf, size_t n)
{
    if (n == 0)
        return;
    if (n > buf->len)
        n = buf->len;
    memmove(buf->data, buf->data + n, buf->len - n);
    peri_buf_truncate(buf, buf->len - n);
}

char *peri_buf_take(struct peri_buf *buf, size_t *len)
{
    char *data = buf->data ? buf->data : peri_str_dup((struct peri_str){ NULL, 0 });
    if (len)
        *len = buf->len;
    peri_buf_init(buf, buf->max);
    return data;
}
