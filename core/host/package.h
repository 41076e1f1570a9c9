/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_PACKAGE_H
#define CORE_HOST_PACKAGE_H

#include <stddef.h>
#include <stdint.h>

#include "perilune/error.h"

struct peri__package_limits {
    size_t total;     /* unpacked bytes */
    unsigned entries; /* 0: 10,000 */
    unsigned ratio;   /* unpacked to packed bytes of an entry over 1 MiB; 0: 200 */
};

/* Whether the zip may be deployed: no entry leaves the folder, is a link, appears twice, is encrypted or damaged, or
 * unpacks to more than the limits; `entry` is there. PERI_PACKAGE names the entry and says why. Reads all of it, so
 * that what sizes claim does not matter. May run on any thread. */
enum peri_code peri__package_check(const char *path, const char *entry, const struct peri__package_limits *limits,
                                   struct peri_error *err);
/* Hex sha256 and size of a file. */
enum peri_code peri__package_hash(const char *path, char hash[65], int64_t *size, struct peri_error *err);

#endif
