/* SPDX-License-Identifier: MIT */
#include "perilune/headers.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

static void drop(struct peri_headers *headers, struct peri_header *item)
{
    headers->bytes -= strlen(item->name) + strlen(item->value);
    free(item->name); /* one block holds both strings */
}

/* Keeps the order of the others. */
static void remove_from(struct peri_headers *headers, const char *name, size_t first)
{
    size_t kept = first;
    for (size_t i = first; i < headers->count; i++) {
        if (strcasecmp(headers->items[i].name, name) == 0) {
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
    for (size_t i = 0; i < headers->count; i++) {
        free(headers->items[i].name);
    }
    headers->count = 0;
    headers->bytes = 0;
}

void peri_headers_fini(struct peri_headers *headers)
{
    peri_headers_clear(headers);
    free(headers->items);
    headers->items = NULL;
    headers->cap = 0;
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
    if (headers->count == headers->cap) {
        size_t cap = headers->cap ? headers->cap * 2 : 16;
        struct peri_header *items = realloc(headers->items, cap * sizeof(*items));
        if (!items) {
            return PERI_NOMEM;
        }
        headers->items = items;
        headers->cap = cap;
    }
    char *block = malloc(name.len + value.len + 2);
    if (!block) {
        return PERI_NOMEM;
    }
    memcpy(block, name.data, name.len);
    block[name.len] = '\0';
    if (value.len) {
        memcpy(block + name.len + 1, value.data, value.len);
    }
    block[name.len + 1 + value.len] = '\0';
    headers->items[headers->count++] = (struct peri_header){ block, block + name.len + 1 };
    headers->bytes += name.len + value.len;
    /* cppcheck-suppress memleak ; the item owns the block */
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
        if (strcasecmp(headers->items[i].name, added.name) == 0) {
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
        if (strcasecmp(headers->items[i].name, name) == 0) {
            return headers->items[i].value;
        }
    }
    return NULL;
}

enum peri_code peri_headers_copy(struct peri_headers *to, const struct peri_headers *from)
{
    struct peri_headers copy;
    peri_headers_init(&copy);
    copy.max_bytes = to->max_bytes;
    for (size_t i = 0; i < from->count; i++) {
        enum peri_code code =
            peri_headers_add(&copy, peri_str_from(from->items[i].name), peri_str_from(from->items[i].value));
        if (code != PERI_OK) {
            peri_headers_fini(&copy);
            return code;
        }
    }
    peri_headers_fini(to);
    *to = copy;
    return PERI_OK;
}
