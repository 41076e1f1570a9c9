/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_JSON_H
#define PERILUNE_JSON_H

#include <jansson.h>

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* JSON values in C are jansson's, with exact 64-bit integers, and jansson reads the text; it is written here, with the
 * shortest reals. */

#define PERI_JSON_MAX_DEPTH 512

/* Parses a whole text of any JSON type. Duplicate keys: the last wins. On failure NULL, and err is PERI_JSON with
 * "line L column C: what", or PERI_NOMEM. Lines and columns are jansson's: it counts characters, and names the last one
 * that it had read when it saw what is wrong (column 0: none in this line). `what` repeats at most four bytes of the
 * text.
 * Refused: integers beyond 64 bits ("too big integer"), numbers beyond a double, a NUL in a key (a string may hold one
 * as \u0000), text that is not UTF-8; and, without line and column, a NUL byte and more than PERI_JSON_MAX_DEPTH levels.
 * PERI_NOMEM is not certain: jansson 2.14 does not see that the buffer of a token of over 15 bytes failed to grow. The
 * token then lacks bytes, and a string that lacks its closing quote is read and written past its end.
 * The result is owned by the caller (json_decref). */
PERI_API json_t *peri_json_parse(struct peri_str text, struct peri_error *err);

/* Appends the compact text of a value. Reals are written in the shortest form that reads back equal, and always with
 * a point or an exponent (1.0). NaN and infinities can't occur in a json_t. On failure out is as before. */
PERI_API enum peri_code peri_json_write(const json_t *value, struct peri_buf *out, struct peri_error *err);

/* As peri_json_write, in the style of Python's json.dumps: ", " and ": " between, and nothing but printable ASCII
 * (\u00e4, \ud83d\ude00, \u007f). */
PERI_API enum peri_code peri_json_write_spaced(const json_t *value, struct peri_buf *out, struct peri_error *err);

/* Appends text as a quoted JSON string. Bytes that are not UTF-8 become U+FFFD. */
PERI_API enum peri_code peri_json_write_string(struct peri_buf *out, struct peri_str text);

/* Appends the shortest decimal that strtod reads back as x ("1.0", "0.1", "1e+22"); x must be finite. */
PERI_API enum peri_code peri_json_write_real(struct peri_buf *out, double x);

/* Field access that reports what is missing or of a wrong type as PERI_INVALID: "field 'name' must be a string". The
 * result is borrowed from object. With required false, an absent or null field is PERI_OK: *out becomes NULL for a
 * string, and keeps what it held (the caller's default) for an integer or a bool. A string that holds a NUL is
 * refused. */
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
