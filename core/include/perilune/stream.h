/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_STREAM_H
#define PERILUNE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "perilune/buf.h"
#include "perilune/error.h"
#include "perilune/hash.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A source of bytes. Reads may be short; *n == 0 with PERI_OK means the end. */
struct peri_reader;
/* A callback source. Returns PERI_OK with *n set (0: the end), or a failure that ends the transfer with err.
 * PERI_BUSY means "nothing yet": the transfer pauses until peri_reader_resume. */
typedef enum peri_code (*peri_read_fn)(void *data, void *out, size_t cap, size_t *n, struct peri_error *err);
typedef enum peri_code (*peri_rewind_fn)(void *data, struct peri_error *err);

/* All return NULL with err set on failure. The size of a callback source is -1 when unknown; rewind may be NULL: the
 * source can then be sent only once, and a retry that would need it again fails with a message saying so. */
PERI_API struct peri_reader *peri_reader_memory(struct peri_str data, struct peri_error *err);   /* data is copied */
PERI_API struct peri_reader *peri_reader_borrowed(struct peri_str data, struct peri_error *err); /* data is borrowed */
PERI_API struct peri_reader *peri_reader_file(const char *path, struct peri_error *err);
/* offset and length of an open file (borrowed; read with pread); length -1: to its end. */
PERI_API struct peri_reader *peri_reader_fd(int fd, int64_t offset, int64_t length, struct peri_error *err);
PERI_API struct peri_reader *peri_reader_callback(peri_read_fn read, peri_rewind_fn rewind, int64_t size, void *data,
                                                  void (*free_data)(void *data), struct peri_error *err);
PERI_API void peri_reader_free(struct peri_reader *reader);
PERI_API enum peri_code peri_reader_read(struct peri_reader *reader, void *out, size_t cap, size_t *n,
                                         struct peri_error *err);
/* Fills out whole from short reads; less only at the end. */
PERI_API enum peri_code peri_reader_read_full(struct peri_reader *reader, void *out, size_t cap, size_t *n,
                                              struct peri_error *err);
PERI_API enum peri_code peri_reader_rewind(struct peri_reader *reader, struct peri_error *err);
PERI_API bool peri_reader_can_rewind(const struct peri_reader *reader);
PERI_API bool peri_reader_is_memory(const struct peri_reader *reader); /* reading never waits for anything */
PERI_API int64_t peri_reader_size(const struct peri_reader *reader);   /* total bytes; -1 when unknown */
/* A reader of its own for `length` bytes from offset on, of a source that can be read anywhere: memory, or a file that can
 * seek. It may be read on another thread, beside others; the whole must outlive it. PERI_UNSUPPORTED for others. */
PERI_API struct peri_reader *peri_reader_part(const struct peri_reader *whole, int64_t offset, int64_t length,
                                              struct peri_error *err);
PERI_API bool peri_reader_has_parts(const struct peri_reader *reader);
/* Digests what is read from then on, starting over at a rewind. hash is borrowed. At most two hashes. */
PERI_API enum peri_code peri_reader_add_hash(struct peri_reader *reader, struct peri_hash *hash);
/* After PERI_BUSY: there is more now. */
PERI_API void peri_reader_resume(struct peri_reader *reader);
/* For the transport: what peri_reader_resume calls. */
PERI_API void peri_reader_on_resume(struct peri_reader *reader, void (*fn)(void *data), void *data);

/* A sink of bytes. */
struct peri_writer;
/* A callback sink takes all of data or fails. PERI_BUSY means "not yet": nothing was taken, and the transfer pauses
 * until peri_writer_resume, then offers the same bytes again. */
typedef enum peri_code (*peri_write_fn)(void *data, struct peri_str bytes, struct peri_error *err);
/* finish is told how the transfer ended (PERI_OK or its failure), once. May be NULL. */
typedef enum peri_code (*peri_finish_fn)(void *data, enum peri_code result, struct peri_error *err);

PERI_API struct peri_writer *peri_writer_buf(struct peri_buf *buf, struct peri_error *err); /* buf is borrowed */
/* Writes beside path under a temporary name; finish with PERI_OK syncs and renames it to path, anything else removes
 * it: path never holds half a transfer. */
PERI_API struct peri_writer *peri_writer_file(const char *path, unsigned mode, struct peri_error *err);
PERI_API struct peri_writer *peri_writer_fd(int fd, struct peri_error *err); /* borrowed */
PERI_API struct peri_writer *peri_writer_callback(peri_write_fn write, peri_finish_fn finish, void *data,
                                                  void (*free_data)(void *data), struct peri_error *err);
PERI_API void peri_writer_free(struct peri_writer *writer); /* unfinished: as finish with PERI_CANCELLED */
PERI_API enum peri_code peri_writer_write(struct peri_writer *writer, struct peri_str bytes, struct peri_error *err);
PERI_API enum peri_code peri_writer_finish(struct peri_writer *writer, enum peri_code result, struct peri_error *err);
PERI_API enum peri_code peri_writer_add_hash(struct peri_writer *writer, struct peri_hash *hash); /* borrowed */
/* Back to empty, for another attempt. PERI_UNSUPPORTED when bytes already left (a callback, an fd). */
PERI_API enum peri_code peri_writer_restart(struct peri_writer *writer, struct peri_error *err);
PERI_API void peri_writer_resume(struct peri_writer *writer);
PERI_API void peri_writer_on_resume(struct peri_writer *writer, void (*fn)(void *data), void *data);

#ifdef __cplusplus
}
#endif

#endif
