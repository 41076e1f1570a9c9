/* SPDX-License-Identifier: MIT */
#include "perilune/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perilune/random.h"

#define MAX_HASHES 2
#define NAME_TRIES 8

struct peri_writer {
    peri_write_fn write;
    peri_finish_fn finish;                                         /* may be NULL */
    enum peri_code (*restart)(void *data, struct peri_error *err); /* NULL: not once bytes have left */
    void *data;
    void (*free_data)(void *data);
    struct peri_hash *hashes[MAX_HASHES];
    size_t hash_count;
    void (*on_resume)(void *data);
    void *resume_data;
    bool written, finished;
};

struct buf_sink {
    struct peri_buf *buf;
    size_t start;
};

struct file_sink {
    int fd;
    char *path;
    char *part; /* the temporary name beside it */
};

static enum peri_code write_buf(void *data, struct peri_str bytes, struct peri_error *err)
{
    struct buf_sink *sink = data;
    enum peri_code code = peri_buf_append_str(sink->buf, bytes);
    if (code == PERI_TOO_LARGE) {
        return peri_error_set(err, code, "more than the %zu bytes that the caller takes", sink->buf->max);
    }
    return code == PERI_OK ? code : peri_error_set(err, code, "can't keep %zu more bytes: out of memory", bytes.len);
}

static enum peri_code restart_buf(void *data, struct peri_error *err)
{
    (void)err;
    struct buf_sink *sink = data;
    if (sink->buf->len > sink->start) {
        sink->buf->len = sink->start;
        sink->buf->data[sink->start] = '\0';
    }
    return PERI_OK;
}

static enum peri_code write_all(int fd, struct peri_str bytes, const char *what, struct peri_error *err)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.data, bytes.len);
        if (n >= 0) {
            bytes.data += n;
            bytes.len -= (size_t)n;
        } else if (errno == EAGAIN) {
            /* Part may be out already, so the transfer can't be asked to offer the same bytes again. */
            poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
        } else if (errno != EINTR) {
            return peri_error_set(err, PERI_IO, "can't write to %s: %s", what, strerror(errno));
        }
    }
    return PERI_OK;
}

static enum peri_code write_fd(void *data, struct peri_str bytes, struct peri_error *err)
{
    return write_all(*(int *)data, bytes, "the file descriptor", err);
}

static enum peri_code write_file(void *data, struct peri_str bytes, struct peri_error *err)
{
    struct file_sink *sink = data;
    return write_all(sink->fd, bytes, sink->part, err);
}

static enum peri_code restart_file(void *data, struct peri_error *err)
{
    struct file_sink *sink = data;
    if (ftruncate(sink->fd, 0) != 0 || lseek(sink->fd, 0, SEEK_SET) != 0) {
        return peri_error_set(err, PERI_IO, "can't empty %s: %s", sink->part, strerror(errno));
    }
    return PERI_OK;
}

/* Makes the rename itself survive a power cut. Not every file system can: no failure. */
static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

static enum peri_code finish_file(void *data, enum peri_code result, struct peri_error *err)
{
    struct file_sink *sink = data;
    enum peri_code code = PERI_OK;
    if (result == PERI_OK && fsync(sink->fd) != 0) {
        code = peri_error_set(err, PERI_IO, "can't write %s to disk: %s", sink->part, strerror(errno));
    }
    if (close(sink->fd) != 0 && code == PERI_OK && result == PERI_OK) {
        code = peri_error_set(err, PERI_IO, "can't close %s: %s", sink->part, strerror(errno));
    }
    sink->fd = -1;
    if (result == PERI_OK && code == PERI_OK) {
        if (rename(sink->part, sink->path) == 0) {
            sync_folder_of(sink->path);
            return PERI_OK;
        }
        code = peri_error_set(err, PERI_IO, "can't rename %s to %s: %s", sink->part, sink->path, strerror(errno));
    }
    unlink(sink->part);
    return code;
}

static void free_file(void *data)
{
    struct file_sink *sink = data;
    if (sink->fd >= 0) {
        finish_file(sink, PERI_CANCELLED, NULL);
    }
    free(sink->path);
    free(sink->part);
    free(sink);
}

static struct peri_writer *writer_new(peri_write_fn write_fn, peri_finish_fn finish_fn, void *data,
                                      void (*free_data)(void *data), struct peri_error *err)
{
    struct peri_writer *writer = data ? calloc(1, sizeof(*writer)) : NULL;
    if (!writer) {
        if (data) {
            free_data(data);
        }
        peri_error_set(err, PERI_NOMEM, "can't make a writer: out of memory");
        return NULL;
    }
    writer->write = write_fn;
    writer->finish = finish_fn;
    writer->data = data;
    writer->free_data = free_data;
    return writer;
}

struct peri_writer *peri_writer_buf(struct peri_buf *buf, struct peri_error *err)
{
    struct buf_sink *sink = malloc(sizeof(*sink));
    if (sink) {
        *sink = (struct buf_sink){ buf, buf->len };
    }
    struct peri_writer *writer = writer_new(write_buf, NULL, sink, free, err);
    if (writer) {
        writer->restart = restart_buf;
    }
    return writer;
}

static int open_part(struct file_sink *sink, const char *path, unsigned mode)
{
    size_t size = strlen(path) + 32;
    sink->path = strdup(path);
    sink->part = malloc(size);
    if (!sink->path || !sink->part) {
        errno = ENOMEM;
        return -1;
    }
    for (int i = 0; i < NAME_TRIES; i++) {
        char token[13];
        peri_random_token(peri_random_system(), token, sizeof(token) - 1);
        snprintf(sink->part, size, "%s.%s.part", path, token);
        int fd = open(sink->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

struct peri_writer *peri_writer_file(const char *path, unsigned mode, struct peri_error *err)
{
    struct file_sink *sink = calloc(1, sizeof(*sink));
    if (sink) {
        sink->fd = open_part(sink, path, mode);
        if (sink->fd < 0) {
            peri_error_set(err, errno == ENOMEM ? PERI_NOMEM : PERI_IO, "can't create a file beside %s: %s", path,
                           strerror(errno));
            free_file(sink);
            return NULL;
        }
    }
    struct peri_writer *writer = writer_new(write_file, finish_file, sink, free_file, err);
    if (writer) {
        writer->restart = restart_file;
    }
    return writer;
}

struct peri_writer *peri_writer_fd(int fd, struct peri_error *err)
{
    int *data = malloc(sizeof(*data));
    if (data) {
        *data = fd;
    }
    return writer_new(write_fd, NULL, data, free, err);
}

struct peri_writer *peri_writer_callback(peri_write_fn write_fn, peri_finish_fn finish_fn, void *data,
                                         void (*free_data)(void *data), struct peri_error *err)
{
    struct peri_writer *writer = calloc(1, sizeof(*writer));
    if (!writer) {
        if (free_data) {
            free_data(data);
        }
        peri_error_set(err, PERI_NOMEM, "can't make a writer: out of memory");
        return NULL;
    }
    *writer = (struct peri_writer){ .write = write_fn, .finish = finish_fn, .data = data, .free_data = free_data };
    return writer;
}

void peri_writer_free(struct peri_writer *writer)
{
    if (!writer) {
        return;
    }
    if (!writer->finished) {
        peri_writer_finish(writer, PERI_CANCELLED, NULL);
    }
    if (writer->free_data) {
        writer->free_data(writer->data);
    }
    free(writer);
}

enum peri_code peri_writer_write(struct peri_writer *writer, struct peri_str bytes, struct peri_error *err)
{
    if (writer->finished) {
        return peri_error_set(err, PERI_CLOSED, "the writer is finished already");
    }
    if (bytes.len == 0) {
        return PERI_OK;
    }
    enum peri_code code = writer->write(writer->data, bytes, err);
    if (code == PERI_BUSY) {
        return code;
    }
    writer->written = true; /* a failed write may have let bytes out */
    for (size_t i = 0; code == PERI_OK && i < writer->hash_count; i++) {
        peri_hash_update(writer->hashes[i], bytes.data, bytes.len);
    }
    return code;
}

enum peri_code peri_writer_finish(struct peri_writer *writer, enum peri_code result, struct peri_error *err)
{
    if (writer->finished) {
        return peri_error_set(err, PERI_CLOSED, "the writer is finished already");
    }
    writer->finished = true;
    return writer->finish ? writer->finish(writer->data, result, err) : PERI_OK;
}

enum peri_code peri_writer_add_hash(struct peri_writer *writer, struct peri_hash *hash)
{
    if (writer->hash_count == MAX_HASHES) {
        return PERI_TOO_LARGE;
    }
    writer->hashes[writer->hash_count++] = hash;
    return PERI_OK;
}

enum peri_code peri_writer_restart(struct peri_writer *writer, struct peri_error *err)
{
    if (writer->finished) {
        return peri_error_set(err, PERI_CLOSED, "the writer is finished already");
    }
    if (writer->written && !writer->restart) {
        return peri_error_set(err, PERI_UNSUPPORTED,
                              "part of the answer has been handed on already, so it can't be fetched again");
    }
    enum peri_code code = writer->written ? writer->restart(writer->data, err) : PERI_OK;
    if (code != PERI_OK) {
        return code;
    }
    unsigned char unused[PERI_HASH_MAX];
    for (size_t i = 0; i < writer->hash_count; i++) {
        peri_hash_final(writer->hashes[i], unused); /* starts over */
    }
    writer->written = false;
    return PERI_OK;
}

void peri_writer_resume(struct peri_writer *writer)
{
    if (writer->on_resume) {
        writer->on_resume(writer->resume_data);
    }
}

void peri_writer_on_resume(struct peri_writer *writer, void (*fn)(void *data), void *data)
{
    writer->on_resume = fn;
    writer->resume_data = data;
}
