/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SUPPORT_PACKAGE_H
#define TESTS_SUPPORT_PACKAGE_H

#include <stdlib.h>
#include <string.h>
#include <zip.h>

/* files: name, content, name, content, ..., NULL. The zip's bytes, owned by the caller (free). */
static inline char *zip_of(const char *const *files, size_t *len)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, &error);
    zip_source_keep(source);
    zip_t *zip = zip_open_from_source(source, ZIP_TRUNCATE, &error);
    for (; *files; files += 2) {
        zip_source_t *file = zip_source_buffer(zip, files[1], strlen(files[1]), 0);
        if (!file || zip_file_add(zip, files[0], file, ZIP_FL_ENC_UTF_8) < 0) {
            abort();
        }
    }
    if (!zip || zip_close(zip) != 0 || zip_source_open(source) != 0) {
        abort();
    }
    zip_source_seek(source, 0, SEEK_END);
    zip_int64_t size = zip_source_tell(source);
    char *bytes = malloc((size_t)size + 1);
    zip_source_seek(source, 0, SEEK_SET);
    if (!bytes || zip_source_read(source, bytes, (zip_uint64_t)size) != size) {
        abort();
    }
    zip_source_close(source);
    zip_source_free(source);
    *len = (size_t)size;
    return bytes;
}

/* A package of one file. */
static inline char *zip_of_handler(const char *code, size_t *len)
{
    const char *files[] = { "handler.lua", code, NULL };
    return zip_of(files, len);
}

#endif
