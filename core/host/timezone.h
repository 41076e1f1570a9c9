/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_TIMEZONE_H
#define CORE_HOST_TIMEZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "perilune/error.h"

/* Time zones by IANA name, from the system's compiled files (TZif, RFC 8536; package tzdata). Read by own code, since
 * nothing fits: libc knows one zone per process (TZ), libical brings a calendar and a cache that threads share, ICU
 * tens of megabytes with data of its own. Immutable once loaded: any number, from any thread. */
struct peri_timezone;

#define PERI_ZONE_FOLDER "/usr/share/zoneinfo"

/* NOT_FOUND: there is no such zone. "UTC" needs no file. folder: NULL for the system's. */
enum peri_code peri_timezone_load(const char *name, const char *folder, struct peri_timezone **out,
                                  struct peri_error *err);
/* The same of a file's bytes (borrowed). INVALID: it is damaged. */
enum peri_code peri_timezone_parse(const char *name, const void *bytes, size_t len, struct peri_timezone **out,
                                   struct peri_error *err);
void peri_timezone_free(struct peri_timezone *zone);
const char *peri_timezone_name(const struct peri_timezone *zone);

/* A stretch of time with one offset from UTC; seconds since 1970 UTC. */
struct peri_tz_period {
    int64_t begin, end; /* INT64_MIN and INT64_MAX when open; end is the first second after */
    int64_t offset;     /* local time = UTC + offset */
};
void peri_timezone_period(const struct peri_timezone *zone, int64_t utc, struct peri_tz_period *out);
/* The first moment whose local time is `local` (seconds as if local time were UTC), or, when that local time is skipped,
 * the first moment after the gap. */
int64_t peri_timezone_to_utc(const struct peri_timezone *zone, int64_t local);

#endif
