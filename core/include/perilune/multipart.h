/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_MULTIPART_H
#define PERILUNE_MULTIPART_H

#include "perilune/random.h"
#include "perilune/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A body of type multipart/form-data (RFC 7578): fields and files, each read from its own source while the body is sent, so
 * that nothing of a file is gathered. */
struct peri_multipart;

#define PERI_MULTIPART_PARTS 1000   /* the most */
#define PERI_MULTIPART_TYPE_SIZE 96 /* of peri_multipart_type's text */

PERI_API struct peri_multipart *peri_multipart_new(struct peri_error *err);
PERI_API void peri_multipart_free(struct peri_multipart *multipart);          /* NULL: no-op */
PERI_API size_t peri_multipart_count(const struct peri_multipart *multipart); /* of parts; NULL: 0 */

/* Texts are copied. In names, a quote and line ends are percent-encoded, as browsers do. PERI_TOO_LARGE over
 * PERI_MULTIPART_PARTS. */
PERI_API enum peri_code peri_multipart_add_field(struct peri_multipart *multipart, struct peri_str name,
                                                 struct peri_str value, struct peri_error *err);
/* source: taken, also on failure. type: a media type; NULL: application/octet-stream. */
PERI_API enum peri_code peri_multipart_add_file(struct peri_multipart *multipart, struct peri_str name,
                                                struct peri_str filename, const char *type, struct peri_reader *source,
                                                struct peri_error *err);

/* The body, its boundary chosen by random; nothing can be added any more. multipart: taken by the reader, on failure too.
 * Its size is known when all sources' are, and it can rewind when they all can. content_type: the header's value. A source
 * that gives more or less than its size ends the transfer with PERI_IO. */
PERI_API struct peri_reader *peri_multipart_reader(struct peri_multipart *multipart, struct peri_random random,
                                                   char content_type[PERI_MULTIPART_TYPE_SIZE], struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
