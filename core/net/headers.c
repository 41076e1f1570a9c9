/* SPDX-License-Identifier: MIT */
#include "perilune/headers.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TEXT_MIN 512

/* RFC 9110 section 5.6.2: what a field name may be made of. */
static const bool token_char[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static bool is_token(struct peri_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!token_char[(unsigned char)name.data[i]]) {
            return false;
        }
    }
    return name.len > 0;
}

static bool is_field_value(struct peri_str value)
{
    return value.len == 0 || (!memchr(value.data, '\r', value.len) && !memchr(value.data, '\n', value.len) &&
                              !memchr(value.data, '\0', value.len));
}

/* Most names differ in the first character already, which is looked at here; a letter's case is one bit. */
static bool same_name(const char *a, const char *b)
{
    return ((a[0] ^ b[0]) & ~0x20) == 0 && strcasecmp(a, b) == 0;
}

/* Its strings stay in the text until that is made anew. */
static void drop(struct peri_headers *headers, struct peri_header *item)
{
    headers->bytes -= strlen(item->name) + strlen(item->value);
}

/* Copies both strings, NUL-terminated, to where item then points; returns where they end. */
static char *put_item(struct peri_header *item, char *at, struct peri_str name, struct peri_str value)
{
    item->name = at;
    at = mempcpy(at, name.data, name.len);
    *at++ = '\0';
    item->value = at;
    if (value.len) {
        at = mempcpy(at, value.data, value.len);
    }
    *at++ = '\0';
    return at;
}

static enum peri_code grow_items(struct peri_headers *headers)
{
    size_t cap = headers->cap ? headers->cap * 2 : 16;
    struct peri_header *items = realloc(headers->items, cap * sizeof(*items));
    if (!items) {
        return PERI_NOMEM;
    }
    headers->items = items;
    headers->cap = cap;
    return PERI_OK;
}

/* A text without what was dropped, and with room for `more` bytes. The old one is the caller's to free. */
static enum peri_code renew_text(struct peri_headers *headers, size_t more)
{
    size_t used = headers->bytes + 2 * headers->count + more;
    size_t cap = 2 * used > TEXT_MIN ? 2 * used : TEXT_MIN;
    char *text = malloc(cap);
    if (!text) {
        return PERI_NOMEM;
    }
    char *at = text;
    for (size_t i = 0; i < headers->count; i++) {
        struct peri_header *item = &headers->items[i];
        at = put_item(item, at, peri_str_from(item->name), peri_str_from(item->value));
    }
    headers->text = text;
    headers->text_len = (size_t)(at - text);
    headers->text_cap = cap;
    return PERI_OK;
}

/* Keeps the order of the others. */
static void remove_from(struct peri_headers *headers, const char *name, size_t first)
{
    size_t kept = first;
    for (size_t i = first; i < headers->count; i++) {
        if (same_name(headers->items[i].name, name)) {
            drop(headers, &headers->items[i]);
        } else {
            headers->items[kept++] = headers->items[i];
        }
    }
    headers->count = kept;
}

void peri_headers_init(struct peri_headers *headers)
{
    memset(headers, 0, sizeof(*headers));
    headers->max_bytes = PERI_HEADERS_MAX_BYTES;
}

void peri_headers_clear(struct peri_headers *headers)
{
    headers->count = 0;
    headers->bytes = 0;
    headers->text_len = 0;
}

void peri_headers_fini(struct peri_headers *headers)
{
    peri_headers_clear(headers);
    free(headers->items);
    free(headers->text);
    headers->items = NULL;
    headers->text = NULL;
    headers->cap = headers->text_cap = 0;
}

enum peri_code peri_headers_add(struct peri_headers *headers, struct peri_str name, struct peri_str value)
{
    if (!is_token(name) || !is_field_value(value)) {
        return PERI_INVALID;
    }
    if (name.len > headers->max_bytes || value.len > headers->max_bytes - name.len ||
        headers->bytes > headers->max_bytes - name.len - value.len) {
        return PERI_TOO_LARGE;
    }
    if (headers->count == headers->cap && grow_items(headers) != PERI_OK) {
        return PERI_NOMEM;
    }
    size_t size = name.len + value.len + 2;
    char *old = NULL; /* name and value may be in there */
    if (!headers->text || size > headers->text_cap - headers->text_len) {
        old = headers->text;
        if (renew_text(headers, size) != PERI_OK) {
            return PERI_NOMEM;
        }
    }
    put_item(&headers->items[headers->count], headers->text + headers->text_len, name, value);
    headers->text_len += size;
    headers->count++;
    headers->bytes += name.len + value.len;
    free(old);
    return PERI_OK;
}

enum peri_code peri_headers_set(struct peri_headers *headers, const char *name, const char *value)
{
    /* Added first: a failure then changes nothing, and value may be the one that is replaced. */
    enum peri_code code = peri_headers_add(headers, peri_str_from(name), peri_str_from(value));
    if (code != PERI_OK) {
        return code;
    }
    struct peri_header added = headers->items[--headers->count];
    size_t place = headers->count;
    for (size_t i = 0; i < headers->count; i++) {
        if (same_name(headers->items[i].name, added.name)) {
            place = i;
            break;
        }
    }
    if (place < headers->count) {
        drop(headers, &headers->items[place]);
        headers->items[place] = added;
        remove_from(headers, added.name, place + 1);
    } else {
        headers->items[headers->count++] = added;
    }
    return PERI_OK;
}

void peri_headers_remove(struct peri_headers *headers, const char *name)
{
    remove_from(headers, name, 0);
}

const char *peri_headers_get(const struct peri_headers *headers, const char *name)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (same_name(headers->items[i].name, name)) {
            return headers->items[i].value;
        }
    }
    return NULL;
}

enum peri_code peri_headers_copy(struct peri_headers *to, const struct peri_headers *from)
{
    size_t size = from->bytes + 2 * from->count;
    if (from->bytes > to->max_bytes) {
        return PERI_TOO_LARGE;
    }
    while (to->cap < from->count) {
        if (grow_items(to) != PERI_OK) {
            return PERI_NOMEM;
        }
    }
    if (!to->text || to->text_cap < size) {
        char *text = malloc(size > TEXT_MIN ? size : TEXT_MIN);
        if (!text) {
            return PERI_NOMEM;
        }
        free(to->text);
        to->text = text;
        to->text_cap = size > TEXT_MIN ? size : TEXT_MIN;
    }
    char *at = to->text;
    for (size_t i = 0; i < from->count; i++) {
        const struct peri_header *item = &from->items[i];
        at = put_item(&to->items[i], at, peri_str_from(item->name), peri_str_from(item->value));
    }
    to->count = from->count;
    to->bytes = from->bytes;
    to->text_len = size;
    return PERI_OK;
}
