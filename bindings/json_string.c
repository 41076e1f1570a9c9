/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "json_decode.h"

/* Strings of JSON: most are a run of plain bytes and are borrowed; those with escapes are put together in the scratch. */

bool peri__json_fail_at(struct peri_json_decoder *d, const char *p, const char *what)
{
    d->p = p;
    d->what = what;
    return false;
}

void peri__json_scratch_reserve(struct peri_json_decoder *d, size_t used, size_t need)
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
static const char *unicode_escape(struct peri_json_decoder *d, const char *p, char *out, size_t *written)
{
    int high = hex4(p, d->end);
    if (high < 0) {
        peri__json_fail_at(d, p - 2, "\\u needs four hexadecimal digits");
        return NULL;
    }
    unsigned c = (unsigned)high;
    const char *next = p + 4;
    if (c >= 0xd800 && c <= 0xdfff) {
        int low = c < 0xdc00 && d->end - next >= 6 && next[0] == '\\' && next[1] == 'u' ? hex4(next + 2, d->end) : -1;
        if (low < 0xdc00 || low > 0xdfff) {
            peri__json_fail_at(d, p - 2, "lone surrogate");
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
static bool string_with_escapes(struct peri_json_decoder *d, const char *start, struct peri_str *out)
{
    size_t used = (size_t)(d->p - start);
    const char *p = d->p;
    peri__json_scratch_reserve(d, 0, used + 32);
    memcpy(d->scratch_data, start, used);
    while (p < d->end) {
        size_t plain = peri__json_plain(p, (size_t)(d->end - p));
        peri__json_scratch_reserve(d, used, used + plain + 8);
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
                return peri__json_fail_at(d, p, "unknown escape");
            }
            d->scratch_data[used++] = plain_char;
            p += 2;
            continue;
        }
        size_t n = c >= 0x80 ? peri__utf8_sequence((const unsigned char *)p, (size_t)(d->end - p)) : 0;
        if (n == 0) {
            return peri__json_fail_at(d, p, c >= 0x80 ? "invalid UTF-8" : "control character in a string");
        }
        memcpy(d->scratch_data + used, p, n);
        used += n;
        p += n;
    }
    return peri__json_fail_at(d, d->end, "unexpected end in a string");
}

bool peri__json_string(struct peri_json_decoder *d, struct peri_str *out)
{
    const char *start = d->p + 1;
    const char *p = start;
    for (;;) {
        p += peri__json_plain(p, (size_t)(d->end - p));
        if (p == d->end) {
            return peri__json_fail_at(d, p, "unexpected end in a string");
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
            return peri__json_fail_at(d, p, c >= 0x80 ? "invalid UTF-8" : "control character in a string");
        }
        p += n;
    }
}
