/* SPDX-License-Identifier: MIT */
#ifndef SUPPORT_VECTORS_H
#define SUPPORT_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "perilune/json.h"

/* The golden vectors of tests/vectors/NAME.json; owned (json_decref). Fails the test when they can't be read. A header,
 * because only the test itself is compiled with PERI_SOURCE_DIR. */
static inline json_t *vectors_load(const char *name)
{
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s/tests/vectors/%s.json", PERI_SOURCE_DIR, name);
    json_t *vectors = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!vectors)
        fail_msg("%s line %d: %s", path, error.line, error.text);
    assert_non_null(json_object_get(vectors, "source"));
    return vectors;
}

/* A section, which must not be empty: a renamed one would otherwise pass without a test. */
static inline const json_t *vectors_section(const json_t *vectors, const char *section)
{
    const json_t *list = json_object_get(vectors, section);
    if (json_array_size(list) == 0)
        fail_msg("no vectors in section %s", section);
    return list;
}

/* Appends the bytes of a hexadecimal string. */
static inline void vectors_unhex(struct peri_buf *out, const char *hex)
{
    unsigned byte;
    for (; hex[0] && hex[1]; hex += 2) {
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        assert_int_equal(peri_buf_append_byte(out, (char)byte), PERI_OK);
    }
}

#endif
