/* SPDX-License-Identifier: MIT */
#include "perilune/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_HASHES 2

struct peri_reader {
    peri_read_fn read;
    peri_rewind_fn rewind; /* NULL: only once */
    void *data;
    void (*free_data)(void *data);
    int64_t size;
    struct peri_hash *hashes[MAX_HASHES];
    size_t hash_count;
    void (*on_resume)(void *data);
    void *resume_data;
    bool ended;
};

struct memory_source {
    struct peri_str bytes;
    size_t at;
};

struct file_source {
    int fd;
    bool owned;
    bool seekable;
    int64_t start, at, end; /* end -1: to the end of the file */
};

static enum peri_code read_memory(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    (void)err;
    struct memory_source *source = data;
    size_t left = source->bytes.len - source->at;
    *n = left < cap ? left : cap;
    if (*n) {
        memcpy(out, source->bytes.data + source->at, *n);
    }
    source->at += *n;
    return PERI_OK;
}

static enum peri_code rewind_memory(void *data, struct peri_error *err)
{
    (void)err;
    ((struct memory_source *)data)->at = 0;
    return PERI_OK;
}

static enum peri_code read_file(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    struct file_source *source = data;
    if (source->end >= 0 && (int64_t)cap > source->end - source->at) {
        cap = (size_t)(source->end - source->at);
    }
    ssize_t got;
    do {
        got = source->seekable ? pread(source->fd, out, cap, source->at) : read(source->fd, out, cap);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return peri_error_set(err, PERI_IO, "can't read the source file: %s", strerror(errno));
    }
    source->at += got;
    *n = (size_t)got;
    return PERI_OK;
}

static enum peri_code rewind_file(void *data, struct peri_error *err)
{
    (void)err;
    struct file_source *source = data;
    source->at = source->start;
    return PERI_OK;
}

static void free_file(void *data)
{
    struct file_source *source = data;
    if (source->owned) {
        close(source->fd);
    }
    free(source);
}

static struct peri_reader *memory_reader(struct peri_str data, bool copy, struct peri_error *err)
{
    struct memory_source *source = malloc(sizeof(*source) + (copy ? data.len : 0));
    if (!source) {
        peri_error_set(err, PERI_NOMEM, "can't keep %zu bytes to send: out of memory", data.len);
        return NULL;
    }
    source->bytes = data;
    source->at = 0;
    if (copy && data.len) {
        source->bytes.data = memcpy(source + 1, data.data, data.len);
    }
    return peri_reader_callback(read_memory, rewind_memory, (int64_t)data.len, source, free, err);
}

struct peri_reader *peri_reader_memory(struct peri_str data, struct peri_error *err)
{
    return memory_reader(data, true, err);
}

struct peri_reader *peri_reader_borrowed(struct peri_str data, struct peri_error *err)
{
    return memory_reader(data, false, err);
}

static struct peri_reader *file_reader(const struct file_source *template, struct peri_error *err)
{
    struct file_source *source = malloc(sizeof(*source));
    if (!source) {
        if (template->owned) {
            close(template->fd);
        }
        peri_error_set(err, PERI_NOMEM, "can't open a source file: out of memory");
        return NULL;
    }
    *source = *template;
    int64_t size = source->end >= 0 ? source->end - source->start : -1;
    return peri_reader_callback(read_file, source->seekable ? rewind_file : NULL, size, source, free_file, err);
}

/* Files of /proc are regular, say that they are empty, and hold something: their size is unknown. */
static int64_t end_of(int fd, int64_t stated)
{
    char byte;
    return stated == 0 && pread(fd, &byte, 1, 0) == 1 ? -1 : stated;
}

struct peri_reader *peri_reader_file(const char *path, struct peri_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        peri_error_set(err, PERI_IO, "can't open %s: %s", path, strerror(errno));
        goto fail;
    }
    if (S_ISDIR(st.st_mode)) {
        peri_error_set(err, PERI_IO, "can't read %s: it is a directory", path);
        goto fail;
    }
    bool regular = S_ISREG(st.st_mode);
    return file_reader(
        &(struct file_source){
            .fd = fd, .owned = true, .seekable = regular, .end = regular ? end_of(fd, st.st_size) : -1 },
        err);
fail:
    if (fd >= 0) {
        close(fd);
    }
    return NULL;
}

struct peri_reader *peri_reader_fd(int fd, int64_t offset, int64_t length, struct peri_error *err)
{
    struct stat st;
    if (offset < 0 || length < -1) {
        peri_error_set(err, PERI_INVALID, "offset and length of a source file must not be negative");
        return NULL;
    }
    if (fstat(fd, &st) != 0) {
        peri_error_set(err, PERI_IO, "can't read file descriptor %d: %s", fd, strerror(errno));
        return NULL;
    }
    int64_t end = length >= 0 ? offset + length : -1;
    if (length < 0 && S_ISREG(st.st_mode)) {
        end = end_of(fd, st.st_size);
        end = end >= 0 && end < offset ? offset : end;
    }
    return file_reader(&(struct file_source){ .fd = fd, .seekable = true, .start = offset, .at = offset, .end = end },
                       err);
}

struct peri_reader *peri_reader_callback(peri_read_fn read_fn, peri_rewind_fn rewind_fn, int64_t size, void *data,
                                         void (*free_data)(void *data), struct peri_error *err)
{
    struct peri_reader *reader = calloc(1, sizeof(*reader));
    if (!reader) {
        if (free_data) {
            free_data(data);
        }
        peri_error_set(err, PERI_NOMEM, "can't make a reader: out of memory");
        return NULL;
    }
    reader->read = read_fn;
    reader->rewind = rewind_fn;
    reader->size = size;
    reader->data = data;
    reader->free_data = free_data;
    return reader;
}

void peri_reader_free(struct peri_reader *reader)
{
    if (!reader) {
        return;
    }
    if (reader->free_data) {
        reader->free_data(reader->data);
    }
    free(reader);
}

enum peri_code peri_reader_read(struct peri_reader *reader, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    *n = 0;
    if (reader->ended || cap == 0) {
        return PERI_OK;
    }
    enum peri_code code = reader->read(reader->data, out, cap, n, err);
    if (code != PERI_OK) {
        *n = 0;
        return code;
    }
    if (*n > cap) {
        *n = 0;
        return peri_error_set(err, PERI_INVALID, "a source said that it gave more bytes than it was asked for");
    }
    reader->ended = *n == 0;
    for (size_t i = 0; i < reader->hash_count; i++) {
        peri_hash_update(reader->hashes[i], out, *n);
    }
    return PERI_OK;
}

enum peri_code peri_reader_read_full(struct peri_reader *reader, void *out, size_t cap, size_t *n,
                                     struct peri_error *err)
{
    *n = 0;
    while (*n < cap) {
        size_t got;
        enum peri_code code = peri_reader_read(reader, (char *)out + *n, cap - *n, &got, err);
        if (code != PERI_OK) {
            return code;
        }
        if (got == 0) {
            break;
        }
        *n += got;
    }
    return PERI_OK;
}

enum peri_code peri_reader_rewind(struct peri_reader *reader, struct peri_error *err)
{
    if (!reader->rewind) {
        return peri_error_set(err, PERI_UNSUPPORTED,
                              "the body comes from a source that can be read only once, so it can't be sent again");
    }
    enum peri_code code = reader->rewind(reader->data, err);
    if (code != PERI_OK) {
        return code;
    }
    unsigned char unused[PERI_HASH_MAX];
    for (size_t i = 0; i < reader->hash_count; i++) {
        peri_hash_final(reader->hashes[i], unused); /* starts over */
    }
    reader->ended = false;
    return PERI_OK;
}

bool peri_reader_has_parts(const struct peri_reader *reader)
{
    return reader->read == read_memory ||
           (reader->read == read_file && ((const struct file_source *)reader->data)->seekable);
}

struct peri_reader *peri_reader_part(const struct peri_reader *whole, int64_t offset, int64_t length,
                                     struct peri_error *err)
{
    if (!peri_reader_has_parts(whole)) {
        peri_error_set(err, PERI_UNSUPPORTED, "this source can be read only from its beginning to its end");
        return NULL;
    }
    if (offset < 0 || length < 0 || (whole->size >= 0 && (offset > whole->size || length > whole->size - offset))) {
        peri_error_set(err, PERI_INVALID, "a part of a source must lie within it");
        return NULL;
    }
    if (whole->read == read_memory) {
        const struct memory_source *source = whole->data;
        return peri_reader_borrowed((struct peri_str){ source->bytes.data + offset, (size_t)length }, err);
    }
    const struct file_source *source = whole->data;
    return peri_reader_fd(source->fd, source->start + offset, length, err);
}

bool peri_reader_is_memory(const struct peri_reader *reader)
{
    return reader->read == read_memory;
}

bool peri_reader_can_rewind(const struct peri_reader *reader)
{
    return reader->rewind != NULL;
}

int64_t peri_reader_size(const struct peri_reader *reader)
{
    return reader->size;
}

enum peri_code peri_reader_add_hash(struct peri_reader *reader, struct peri_hash *hash)
{
    if (reader->hash_count == MAX_HASHES) {
        return PERI_TOO_LARGE;
    }
    reader->hashes[reader->hash_count++] = hash;
    return PERI_OK;
}

void peri_reader_resume(struct peri_reader *reader)
{
    if (reader->on_resume) {
        reader->on_resume(reader->resume_data);
    }
}

void peri_reader_on_resume(struct peri_reader *reader, void (*fn)(void *data), void *data)
{
    reader->on_resume = fn;
    reader->resume_data = data;
}
