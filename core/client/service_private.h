/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_SERVICE_PRIVATE_H
#define CORE_CLIENT_SERVICE_PRIVATE_H

#include "perilune/service.h"

/* What the files of the table's interpreter share. */

/* PERI_INVALID when the options are not what the operation's table says. */
enum peri_code peri__service_check(const struct peri_operation *operation, const json_t *args, bool has_content,
                                   struct peri_error *err);
/* The field of that name; NULL: none. */
const struct peri_field *peri__service_field(const struct peri_operation *operation, const char *name);
/* The option's value (borrowed); NULL when it is absent, or null where null means nothing. */
const json_t *peri__service_given(const struct peri_field *field, const json_t *args);

/* The content of a gzip stream of text, appended. */
enum peri_code peri__gzip(struct peri_str text, struct peri_buf *out, struct peri_error *err);

#endif
