/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_SCHEDULER_H
#define CORE_HOST_SCHEDULER_H

#include "host/cron.h"
#include "host/schedules.h"

/* When which schedule ticks, and what becomes of the tick: time is an argument, nothing here knows of calls, stores or
 * timers. A heap holds what comes next.
 *
 * Late by up to a minute, a tick runs all the same; later than that it was missed, and so are all at the beginning.
 * A clock that was set back by up to three hours makes nothing run again or sooner; one that was set back further is
 * believed, and what has run at a scheduled time is kept from running again by its record. */

#define PERI__LATE_MS (60 * INT64_C(1000))
#define PERI__BACK_MS (3 * 3600 * INT64_C(1000))
#define PERI__MISSED_MAX 1000 /* of missed ticks run at once, the latest; one record stands for the others */
#define PERI__OPEN_MAX 1000   /* calls of one schedule that have not ended */

enum peri__verdict { PERI__TICK_RUN, PERI__TICK_HOLD, PERI__TICK_SKIP, PERI__TICK_MISSED };

struct peri__plan {
    struct peri_cron cron;
    const struct peri_timezone *zone; /* borrowed */
    enum peri_missed missed;
    enum peri_overlap overlap;
    int64_t since_ms; /* in and out */
    int64_t next_ms;  /* out; -1: none */
    unsigned open;    /* its calls that have not ended */
    size_t at;        /* in the heap, from 1; 0: not in it */
    void *data;
};

struct peri__scheduler {
    struct peri__plan **heap;
    size_t count, cap;
    int64_t seen_ms;
    /* RUN, HOLD (until an earlier call ends): true when it became a call, which counts as open until
     * peri__plan_ended. The others are for the record, with a reason. */
    bool (*tick)(void *data, struct peri__plan *plan, int64_t scheduled_ms, enum peri__verdict verdict,
                 const char *reason);
    void *data;
};

void peri__scheduler_fini(struct peri__scheduler *scheduler);
/* From since_ms on; what was due by now is dealt with as missed. PERI_NOMEM. */
enum peri_code peri__scheduler_add(struct peri__scheduler *scheduler, struct peri__plan *plan, int64_t now_ms);
void peri__scheduler_remove(struct peri__scheduler *scheduler, struct peri__plan *plan);
/* Ticks all that is due. */
void peri__scheduler_run(struct peri__scheduler *scheduler, int64_t now_ms);
/* When something is due; -1: never. */
int64_t peri__scheduler_next(const struct peri__scheduler *scheduler);

#endif
