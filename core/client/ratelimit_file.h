/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_RATELIMIT_FILE_H
#define CORE_CLIENT_RATELIMIT_FILE_H

#include <stdint.h>

#include "perilune/error.h"

/* As struct peri_ratelimit, in a file that processes of one machine share. Not thread safe; never waits for longer than
 * a few milliseconds. now_ms is CLOCK_MONOTONIC, which all processes of a machine share and nobody can set; it stands
 * still while the machine sleeps, which only makes waits longer. After a restart of the machine (another boot id) its
 * times mean nothing, and whatever the file holds counts as if it were taken at that moment. */
struct peri__ratelimit_file;

#define PERI__RATELIMIT_FILE_MAX 10000 /* the highest limit: every look reads all of it */

/* Makes the file (mode 0600) when it is missing. PERI_INVALID: it is of another limit. PERI_IO: it can't be used, or is
 * damaged; the message says how to mend it. */
struct peri__ratelimit_file *peri__ratelimit_file_open(const char *path, unsigned limit, int64_t window_ms,
                                                       int64_t now_ms, struct peri_error *err);
void peri__ratelimit_file_close(struct peri__ratelimit_file *file);
/* As peri_ratelimit_hold; n is 1 to limit. */
enum peri_code peri__ratelimit_file_hold(struct peri__ratelimit_file *file, unsigned n, int64_t now_ms,
                                         int64_t *wait_ms, struct peri_error *err);
void peri__ratelimit_file_end(struct peri__ratelimit_file *file, unsigned n, int64_t end_ms);
void peri__ratelimit_file_drop(struct peri__ratelimit_file *file, unsigned n);
void peri__ratelimit_file_block(struct peri__ratelimit_file *file, int64_t until_ms);

struct peri__ratelimit_view {
    unsigned remaining;
    int64_t wait_ms;          /* until n places are free, at the earliest */
    int64_t blocked_until_ms; /* 0: never was */
};
/* n: from 1; over the limit: it takes several windows. */
enum peri_code peri__ratelimit_file_look(struct peri__ratelimit_file *file, unsigned n, int64_t now_ms,
                                         struct peri__ratelimit_view *view, struct peri_error *err);

#endif
