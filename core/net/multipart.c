/* SPDX-License-Identifier: MIT */
#include "perilune/multipart.h"

#include <stdlib.h>
#include <string.h>

#define BOUNDARY_PREFIX "perilune-"
#define BOUNDARY_RANDOM 32
#define HEAD_MAX ((size_t)64 * 1024)

struct part {
    struct peri_buf head;       /* its header fields; then, of a field, its value */
    struct peri_reader *source; /* NULL: a field */
    char *filename;             /* for messages */
};

struct peri_multipart {
    struct part *parts;
    size_t count, cap;
    char boundary[sizeof BOUNDARY_PREFIX + BOUNDARY_RANDOM];
    struct peri_reader *reader; /* what is read, for resuming */
    /* Where the reading is: in `text`, then in the source of part `at`. */
    struct peri_buf text;
    size_t text_at;
    size_t at;
    int64_t given; /* by that source */
    bool in_source;
};

struct peri_multipart *peri_multipart_new(struct peri_error *err)
{
    struct peri_multipart *multipart = calloc(1, sizeof *multipart);
    if (!multipart) {
        peri_error_set(err, PERI_NOMEM, "no memory for an upload");
        return NULL;
    }
    peri_buf_init(&multipart->text, SIZE_MAX / 2);
    return multipart;
}

static void fini_part(struct part *part)
{
    peri_buf_fini(&part->head);
    peri_reader_free(part->source);
    free(part->filename);
}

void peri_multipart_free(struct peri_multipart *multipart)
{
    if (!multipart)
        return;
    for (size_t i = 0; i < multipart->count; i++)
        fini_part(&multipart->parts[i]);
    free(multipart->parts);
    peri_buf_fini(&multipart->text);
    free(multipart);
}

size_t peri_multipart_count(const struct peri_multipart *multipart)
{
    return multipart ? multipart->count : 0;
}

/* As the HTML standard says: a quote and line ends are escaped, nothing else. */
static enum peri_code append_quoted(struct peri_buf *out, struct peri_str text)
{
    enum peri_code code = peri_buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len && code == PERI_OK; i++) {
        char c = text.data[i];
        if (c == '"' || c == '\r' || c == '\n')
            code = peri_buf_printf(out, "%%%02X", (unsigned)c);
        else
            code = peri_buf_append_byte(out, c);
    }
    return code == PERI_OK ? peri_buf_append_byte(out, '"') : code;
}

static enum peri_code write_head(struct peri_buf *head, struct peri_str name, const struct peri_str *filename,
                                 const char *type)
{
    enum peri_code code = peri_buf_append_text(head, "Content-Disposition: form-data; name=");
    if (code == PERI_OK)
        code = append_quoted(head, name);
    if (code == PERI_OK && filename)
        code = peri_buf_append_text(head, "; filename=");
    if (code == PERI_OK && filename)
        code = append_quoted(head, *filename);
    if (code == PERI_OK && filename)
        code = peri_buf_printf(head, "\r\nContent-Type: %s", type);
    return code == PERI_OK ? peri_buf_append_text(head, "\r\n\r\n") : code;
}

static enum peri_code add(struct peri_multipart *multipart, const struct part *part)
{
    if (multipart->count == PERI_MULTIPART_PARTS)
        return PERI_TOO_LARGE;
    if (multipart->count == multipart->cap) {
        size_t cap = multipart->cap ? 2 * multipart->cap : 4;
        struct part *parts = realloc(multipart->parts, cap * sizeof *parts);
        if (!parts)
            return PERI_NOMEM;
        multipart->parts = parts;
        multipart->cap = cap;
    }
    multipart->parts[multipart->count++] = *part;
    return PERI_OK;
}

/* Takes part over; on failure it is freed. */
static enum peri_code finish_add(struct peri_multipart *multipart, struct part *part, enum peri_code code,
                                 struct peri_error *err)
{
    if (code == PERI_OK)
        code = add(multipart, part);
    if (code == PERI_OK)
        return PERI_OK;
    fini_part(part);
    if (code == PERI_TOO_LARGE)
        return peri_error_set(err, code, "an upload has at most %d parts, and names of up to %zu bytes",
                              PERI_MULTIPART_PARTS, HEAD_MAX);
    return peri_error_set(err, code, "an upload: %s", peri_code_text(code));
}

enum peri_code peri_multipart_add_field(struct peri_multipart *multipart, struct peri_str name, struct peri_str value,
                                        struct peri_error *err)
{
    struct part part = { .source = NULL };
    peri_buf_init(&part.head, HEAD_MAX);
    enum peri_code code = write_head(&part.head, name, NULL, NULL);
    part.head.max = SIZE_MAX / 2;
    if (code == PERI_OK)
        code = peri_buf_append_str(&part.head, value);
    return finish_add(multipart, &part, code, err);
}

static bool has_control(const char *type)
{
    for (; *type; type++)
        if ((unsigned char)*type < 0x20 || *type == 0x7f)
            return true;
    return false;
}

enum peri_code peri_multipart_add_file(struct peri_multipart *multipart, struct peri_str name, struct peri_str filename,
                                       const char *type, struct peri_reader *source, struct peri_error *err)
{
    struct part part = { .source = source };
    if (type && has_control(type)) {
        peri_reader_free(source);
        return peri_error_set(err, PERI_INVALID, "the content type of file '%.*s' holds control characters",
                              (int)(filename.len < 100 ? filename.len : 100), filename.data ? filename.data : "");
    }
    peri_buf_init(&part.head, HEAD_MAX);
    part.filename = peri_str_dup(filename);
    enum peri_code code =
        part.filename ? write_head(&part.head, name, &filename, type ? type : "application/octet-stream") : PERI_NOMEM;
    return finish_add(multipart, &part, code, err);
}

/* ---- reading ---- */

/* The text before part `at`: the end of the one before, the boundary, the header fields. */
static enum peri_code begin_part(struct peri_multipart *multipart)
{
    struct peri_buf *text = &multipart->text;
    bool last = multipart->at == multipart->count;
    peri_buf_clear(text);
    multipart->text_at = 0;
    multipart->given = 0;
    enum peri_code code =
        peri_buf_printf(text, "%s--%s%s\r\n", multipart->at ? "\r\n" : "", multipart->boundary, last ? "--" : "");
    if (code == PERI_OK && !last)
        code = peri_buf_append_str(text, peri_buf_str(&multipart->parts[multipart->at].head));
    return code;
}

static enum peri_code changed(const struct part *part, struct peri_error *err)
{
    return peri_error_set(err, PERI_IO, "file '%.100s' has changed its size while it was sent", part->filename);
}

/* *n 0: the source has ended. */
static enum peri_code read_source(struct peri_multipart *multipart, void *out, size_t cap, size_t *n,
                                  struct peri_error *err)
{
    const struct part *part = &multipart->parts[multipart->at];
    int64_t size = peri_reader_size(part->source);
    enum peri_code code = peri_reader_read(part->source, out, cap, n, err);
    if (code != PERI_OK)
        return code;
    multipart->given += (int64_t)*n;
    if (size >= 0 && (multipart->given > size || (*n == 0 && multipart->given < size)))
        return changed(part, err);
    return PERI_OK;
}

static enum peri_code read_multipart(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    struct peri_multipart *multipart = data;
    *n = 0;
    for (;;) {
        size_t left = multipart->text.len - multipart->text_at;
        if (left > 0) {
            *n = left < cap ? left : cap;
            memcpy(out, multipart->text.data + multipart->text_at, *n);
            multipart->text_at += *n;
            return PERI_OK;
        }
        if (multipart->at > multipart->count)
            return PERI_OK;
        if (multipart->in_source && multipart->at < multipart->count && multipart->parts[multipart->at].source) {
            enum peri_code code = read_source(multipart, out, cap, n, err);
            if (code != PERI_OK || *n > 0)
                return code;
        }
        if (multipart->in_source)
            multipart->at++;
        multipart->in_source = true;
        if (multipart->at <= multipart->count && begin_part(multipart) != PERI_OK)
            return peri_error_set(err, PERI_NOMEM, "no memory for an upload");
    }
}

static enum peri_code rewind_multipart(void *data, struct peri_error *err)
{
    struct peri_multipart *multipart = data;
    for (size_t i = 0; i < multipart->count; i++) {
        struct peri_reader *source = multipart->parts[i].source;
        enum peri_code code = source ? peri_reader_rewind(source, err) : PERI_OK;
        if (code != PERI_OK)
            return code;
    }
    peri_buf_clear(&multipart->text);
    multipart->text_at = 0;
    multipart->at = 0;
    multipart->in_source = false;
    return PERI_OK;
}

static void free_multipart(void *data)
{
    peri_multipart_free(data);
}

static void resume(void *data)
{
    const struct peri_multipart *multipart = data;
    if (multipart->reader)
        peri_reader_resume(multipart->reader);
}

/* -1: a source's is not known. */
static int64_t total_size(const struct peri_multipart *multipart)
{
    int64_t boundary = (int64_t)strlen(multipart->boundary), total = 0;
    for (size_t i = 0; i < multipart->count; i++) {
        const struct part *part = &multipart->parts[i];
        int64_t size = part->source ? peri_reader_size(part->source) : 0;
        if (size < 0)
            return -1;
        total += (i ? 2 : 0) + 2 + boundary + 2 + (int64_t)part->head.len + size;
    }
    return total + (multipart->count ? 2 : 0) + 2 + boundary + 2 + 2;
}

struct peri_reader *peri_multipart_reader(struct peri_multipart *multipart, struct peri_random random,
                                          char content_type[PERI_MULTIPART_TYPE_SIZE], struct peri_error *err)
{
    static const char prefix[] = BOUNDARY_PREFIX, type[] = "multipart/form-data; boundary=";
    bool can_rewind = true;
    memcpy(multipart->boundary, prefix, sizeof prefix);
    peri_random_token(random, multipart->boundary + sizeof prefix - 1, BOUNDARY_RANDOM);
    memcpy(content_type, type, sizeof type);
    memcpy(content_type + sizeof type - 1, multipart->boundary, strlen(multipart->boundary) + 1);
    for (size_t i = 0; i < multipart->count; i++) {
        struct peri_reader *source = multipart->parts[i].source;
        can_rewind = can_rewind && (!source || peri_reader_can_rewind(source));
        if (source)
            peri_reader_on_resume(source, resume, multipart);
    }
    struct peri_reader *reader = peri_reader_callback(read_multipart, can_rewind ? rewind_multipart : NULL,
                                                      total_size(multipart), multipart, free_multipart, err);
    if (reader) /* else multipart is gone */
        multipart->reader = reader;
    return reader;
}
