/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_JSON_H
#define PERILUNE_JSON_H

#include <jansson.h>

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* JSON in C is jansson's: exact 64-bit integers, depth limit, line and column of errors. */

/* Parses a whole text of any JSON type. Duplicate keys: the last wins. On failure NULL, and err is PERI_JSON with
 * "line L column C: what" (columns count bytes from 1). Integers beyond 64 bits become reals.
 * The result is owned by the caller (json_decref). */
PERI_API json_t *peri_json_parse(struct peri_str text, struct peri_error *err);

/* Appends the compact text of a value. Reals are written in the shortest form that reads back equal, and always with
 * a point or an exponent (1.0). NaN and infinities can't occur in a json_t. */
PERI_API enum peri_code peri_json_write(const json_t *value, struct peri_buf *out, struct peri_error *err);

/* Appends text as a quoted JSON string. Bytes that are not UTF-8 become U+FFFD. */
PERI_API enum peri_code peri_json_write_string(struct peri_buf *out, struct peri_str text);

/* Appends the shortest decimal that strtod reads back as x ("1.0", "0.1", "1e+22"); x must be finite. */
PERI_API enum peri_code peri_json_write_real(struct peri_buf *out, double x);

/* Field access that reports what is missing or of a wrong type: "field 'name' must be a string". The result is
 * borrowed from object. With required false, an absent or null field returns NULL and leaves err untouched;
 * tell the cases apart by the returned code. */
PERI_API enum peri_code peri_json_get_string(const json_t *object, const char *key, bool required, const char **out,
                                             struct peri_error *err);
PERI_API enum peri_code peri_json_get_integer(const json_t *object, const char *key, bool required, json_int_t *out,
                                              struct peri_error *err);
PERI_API enum peri_code peri_json_get_bool(const json_t *object, const char *key, bool required, bool *out,
                                           struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
