/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_API_JSON_WRITER_H
#define CORE_HOST_API_JSON_WRITER_H

#include "perilune/buf.h"

/* Writes JSON straight into a buffer. Commas are its own business; the caller opens and closes in order. After a
 * failure (memory, the buffer's maximum) nothing more is written and failed is set. */
struct peri_json_writer {
    struct peri_buf *out;
    bool comma, failed;
};

void peri_jw_open(struct peri_json_writer *w, char bracket);   /* '{' or '[' */
void peri_jw_close(struct peri_json_writer *w, char bracket);  /* '}' or ']' */
void peri_jw_key(struct peri_json_writer *w, const char *key); /* plain ASCII */
void peri_jw_text(struct peri_json_writer *w, struct peri_str text);
void peri_jw_int(struct peri_json_writer *w, int64_t value);
void peri_jw_bool(struct peri_json_writer *w, bool value);
void peri_jw_real(struct peri_json_writer *w, double value);
void peri_jw_raw(struct peri_json_writer *w, struct peri_str json); /* a JSON value as its text */

/* Key and value; the optional ones write nothing for NULL or 0. */
void peri_jw_key_text(struct peri_json_writer *w, const char *key, const char *text);
void peri_jw_key_int(struct peri_json_writer *w, const char *key, int64_t value);
void peri_jw_key_bool(struct peri_json_writer *w, const char *key, bool value);
void peri_jw_opt_text(struct peri_json_writer *w, const char *key, const char *text);
void peri_jw_opt_int(struct peri_json_writer *w, const char *key, int64_t value);
void peri_jw_opt_raw(struct peri_json_writer *w, const char *key, const char *json);

#endif
