/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_BUF_H
#define PERILUNE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Borrowed bytes; may hold NULs; data may be NULL when len is 0. */
struct peri_str {
    const char *data;
    size_t len;
};

/* Owned, growing bytes with a maximum. data is NUL-terminated whenever it is not NULL (the NUL is not counted). */
struct peri_buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max;
};

PERI_API struct peri_str peri_str_from(const char *text); /* NULL gives the empty string */
PERI_API bool peri_str_equal(struct peri_str a, struct peri_str b);
PERI_API bool peri_str_equal_nocase(struct peri_str a, struct peri_str b); /* ASCII */
PERI_API bool peri_str_has_prefix(struct peri_str s, const char *prefix);
/* A NUL-terminated copy, owned by the caller (free); NULL when out of memory. */
PERI_API char *peri_str_dup(struct peri_str s);

/* max: the most bytes it may ever hold. Allocates nothing. */
PERI_API void peri_buf_init(struct peri_buf *buf, size_t max);
PERI_API void peri_buf_fini(struct peri_buf *buf);  /* leaves it empty and usable */
PERI_API void peri_buf_clear(struct peri_buf *buf); /* keeps the memory */
/* Cuts to len bytes; no effect when it holds fewer. For taking back what was appended since. */
PERI_API void peri_buf_truncate(struct peri_buf *buf, size_t len);
PERI_API struct peri_str peri_buf_str(const struct peri_buf *buf);
/* The functions that grow return PERI_OK, PERI_NOMEM, or PERI_TOO_LARGE (max); on failure the content is unchanged. */
PERI_API enum peri_code peri_buf_reserve(struct peri_buf *buf, size_t extra);
PERI_API enum peri_code peri_buf_append(struct peri_buf *buf, const void *data, size_t len);
PERI_API enum peri_code peri_buf_append_str(struct peri_buf *buf, struct peri_str s);
PERI_API enum peri_code peri_buf_append_text(struct peri_buf *buf, const char *text);
PERI_API enum peri_code peri_buf_append_byte(struct peri_buf *buf, char byte);
PERI_API enum peri_code peri_buf_append_uint(struct peri_buf *buf, uint64_t value); /* in decimal */
PERI_API enum peri_code peri_buf_printf(struct peri_buf *buf, const char *format, ...) PERI_PRINTF(2, 3);
/* Removes the first n bytes (n <= len). */
PERI_API void peri_buf_consume(struct peri_buf *buf, size_t n);
/* The bytes, owned by the caller (free); the buffer is empty afterwards. NULL only when it holds nothing and
 * memory is out. */
PERI_API char *peri_buf_take(struct peri_buf *buf, size_t *len);

#ifdef __cplusplus
}
#endif

#endif
