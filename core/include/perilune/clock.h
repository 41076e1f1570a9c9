/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_CLOCK_H
#define PERILUNE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "perilune/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A source of time, passed in so that tests need not sleep. */
struct peri_clock {
    int64_t (*monotonic_ms)(void *state); /* only differences mean something */
    int64_t (*wall_ms)(void *state);      /* milliseconds since 1970-01-01 UTC */
    void *state;
};

PERI_API struct peri_clock peri_clock_system(void);
/* A clock that stands still until *now_ms is changed; both kinds read *now_ms. */
PERI_API struct peri_clock peri_clock_manual(int64_t *now_ms);
PERI_API int64_t peri_clock_monotonic_ms(struct peri_clock clock);
PERI_API int64_t peri_clock_wall_ms(struct peri_clock clock);

#define PERI_TIME_TEXT 32
/* "2026-11-22T02:14:00.123Z" of a wall time. */
PERI_API void peri_time_format(int64_t wall_ms, char out[PERI_TIME_TEXT]);
/* An HTTP date (IMF-fixdate, RFC 850 or asctime; RFC 9110 section 5.6.7) as a wall time; -1 when it is none. */
PERI_API int64_t peri_time_parse_http(const char *text);

#ifdef __cplusplus
}
#endif

#endif
