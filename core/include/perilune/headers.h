/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_HEADERS_H
#define PERILUNE_HEADERS_H

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* HTTP header fields in order; names compare without case; repeated names are kept. */
struct peri_header {
    char *name; /* as given */
    char *value;
};
struct peri_headers {
    struct peri_header *items; /* valid until the next change */
    size_t count, cap;
    size_t bytes, max_bytes; /* sum of names and values, and its maximum */
    char *text;              /* what items point into */
    size_t text_len, text_cap;
};

#define PERI_HEADERS_MAX_BYTES (256 * 1024)

PERI_API void peri_headers_init(struct peri_headers *headers); /* max_bytes is PERI_HEADERS_MAX_BYTES */
PERI_API void peri_headers_fini(struct peri_headers *headers);
PERI_API void peri_headers_clear(struct peri_headers *headers); /* empties; keeps the memory */
/* Copies. PERI_INVALID for a name that is no token or a value with CR, LF or NUL; PERI_TOO_LARGE over max_bytes. */
PERI_API enum peri_code peri_headers_add(struct peri_headers *headers, struct peri_str name, struct peri_str value);
PERI_API enum peri_code peri_headers_set(struct peri_headers *headers, const char *name, const char *value);
PERI_API void peri_headers_remove(struct peri_headers *headers, const char *name);
/* The first value, borrowed; NULL when absent. */
PERI_API const char *peri_headers_get(const struct peri_headers *headers, const char *name);
/* `to`, another one, then holds just what `from` does, in its memory if that is enough; on failure it is unchanged. */
PERI_API enum peri_code peri_headers_copy(struct peri_headers *to, const struct peri_headers *from);

#ifdef __cplusplus
}
#endif

#endif
