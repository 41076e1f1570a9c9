/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_CRON_H
#define CORE_HOST_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "host/timezone.h"
#include "perilune/buf.h"
#include "perilune/error.h"

/* Cron expressions: `minute hour day month weekday`, or with a seconds field before them.
 *
 *   seconds  0-59   minutes  0-59   hours  0-23   days  1-31   months  1-12 or JAN-DEC   weekdays  0-7 or SUN-SAT
 *
 * A field is a list of items with commas: `*`, a value, a range `a-b`, each perhaps with a step (`a-b/n`, `a/n` is from a
 * to the end). Sunday is 0, and 7 at the end of a range. `?` is `*`, for days and weekdays. Days: `L` (the last one),
 * `L-3` (three before it), `15W` (the weekday, Monday to Friday, nearest to the 15th within the month), `LW` (the last
 * such day). Weekdays: `MON#2` (the second of the month), `5L` or `FRIL` (the last). Names in any case. @yearly,
 * @annually, @monthly, @weekly, @daily, @midnight, @hourly.
 *
 * When both days and weekdays are restricted, a day that either allows is meant; restricted is a field that does not
 * allow every day. What can't be run as written is refused, with the column of the fault; so is what never comes.
 *
 * Changes of clock. An expression that allows all 24 hours ("* * * * *", "0,30 * * * *") goes by intervals: it runs at
 * every moment whose local time matches. Any other one names times of day, and each runs once: one that is skipped at the
 * first moment after the gap (one run, if several fall there), one that is repeated the first time only. */

enum peri_cron_field {
    PERI_CRON_SECOND,
    PERI_CRON_MINUTE,
    PERI_CRON_HOUR,
    PERI_CRON_DAY,
    PERI_CRON_MONTH,
    PERI_CRON_WEEKDAY,
    PERI_CRON_FIELDS,
};

struct peri_cron {
    uint64_t sets[PERI_CRON_FIELDS]; /* bit n: the value n */
    bool has_seconds;
    uint32_t before_last; /* bit n: n days before the month's last one */
    uint32_t nearest;     /* bit n: the weekday nearest to n */
    bool last_weekday;    /* LW */
    uint8_t nth[7];       /* per weekday, bit n: the n-th of the month; bit 0: the last */
};

#define PERI_CRON_MAX 1024 /* bytes of an expression */

/* BAD_REQUEST: "column 3: ..." */
enum peri_code peri_cron_parse(struct peri_cron *cron, struct peri_str text, struct peri_error *err);
/* The first moment after `after_ms` (wall milliseconds; a whole second); -1: none before the year 10000. */
int64_t peri_cron_next(const struct peri_cron *cron, const struct peri_timezone *zone, int64_t after_ms);
/* The last one in (after_ms, until_ms]; -1: none. */
int64_t peri_cron_last(const struct peri_cron *cron, const struct peri_timezone *zone, int64_t after_ms,
                       int64_t until_ms);
/* It goes by intervals, see above. */
bool peri_cron_by_interval(const struct peri_cron *cron);

/* cron_text.c: an expression that peri_cron_parse takes, in words: "At 03:00 AM", "Every 5 minutes", "At 07:00 AM, only
 * on Monday"; in the manner of the widespread cron descriptors. */
enum peri_code peri_cron_text(struct peri_str text, struct peri_buf *out);
/* The expression that a name such as @daily stands for; text itself when it is none. */
struct peri_str peri__cron_expand(struct peri_str text);

#endif
