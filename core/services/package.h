/* SPDX-License-Identifier: MIT */
#ifndef CORE_SERVICES_PACKAGE_H
#define CORE_SERVICES_PACKAGE_H

#include <jansson.h>

#include "perilune/buf.h"

/* A folder as a zip that depends on nothing but the files' names and bytes: sorted, dated 1980-01-01, mode 0644. */

#define PERI_PACKAGE_MAX_BYTES (256LL * 1024 * 1024)
#define PERI_PACKAGE_MAX_FILES 20000

struct peri_package_options {
    const json_t *exclude; /* list of patterns as in .gitignore, after those of .periluneignore; NULL: none */
    const char *entry;     /* a file that must be there; NULL: not checked */
    bool python;           /* an entry that ends in .py must pass peri__python_check */
    int64_t max_bytes;     /* of all files together; 0: PERI_PACKAGE_MAX_BYTES */
};

/* Appends the zip. Left out: .git, __pycache__, .periluneignore, and what the patterns match. Refused, by name: links
 * out of the folder or to folders, and what is neither file nor folder. */
enum peri_code peri__package_folder(const char *folder, const struct peri_package_options *options,
                                    struct peri_buf *zip, struct peri_error *err);
/* Appends a zip that holds one file. */
enum peri_code peri__package_source(const char *name, struct peri_str text, struct peri_buf *zip,
                                    struct peri_error *err);
/* Whether the folder holds a regular file of that relative name. */
bool peri__package_has(const char *folder, const char *name);

/* ---- python.c ---- */

/* PERI_PACKAGE unless the text has a `handle` at its top level whose plain arguments the platform passes. path is for
 * the message, which also names the line. */
enum peri_code peri__python_check(const char *path, struct peri_str text, struct peri_error *err);

/* ---- ignore.c ---- */

struct peri_ignore; /* an ordered list of patterns in the manner of .gitignore */

struct peri_ignore *peri__ignore_new(void);
void peri__ignore_free(struct peri_ignore *ignore);
/* One line; comments and blank lines count for nothing. Copied. */
enum peri_code peri__ignore_add(struct peri_ignore *ignore, struct peri_str line);
/* Whether the last pattern that matches path ("sub/x.txt", no leading slash) leaves it out. */
bool peri__ignore_match(const struct peri_ignore *ignore, const char *path, bool is_folder);

#endif
