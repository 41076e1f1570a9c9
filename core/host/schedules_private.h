/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_SCHEDULES_PRIVATE_H
#define CORE_HOST_SCHEDULES_PRIVATE_H

#include "host/idmap.h"
#include "host/parts.h"
#include "host/scheduler.h"

/* Schedules in memory: all of them. */
struct peri__scheduled {
    struct peri__plan plan; /* first: the scheduler's handle */
    struct peri_schedule *schedule;
    unsigned held; /* its calls that wait for an earlier one */
};

struct peri__zone {
    struct peri_timezone *zone;
    struct peri__zone *next;
};

struct peri__schedules {
    struct peri__scheduler scheduler;
    struct peri__idmap by_id;        /* struct peri__scheduled */
    struct peri__scheduled **sorted; /* by id, ascending */
    size_t count, cap;
    struct peri__zone *zones; /* loaded once each */
    uv_timer_t *timer;
    bool started;
};

struct peri__scheduled *peri__schedules_find(const struct peri_engine *engine, uint64_t id);
/* Sets the timer to what is due next. */
void peri__schedules_arm(struct peri_engine *engine);

/* ticks.c: the scheduler's function. */
bool peri__tick(void *engine, struct peri__plan *plan, int64_t scheduled_ms, enum peri__verdict verdict,
                const char *reason);
/* Calls that wait for an earlier one need not any more. */
void peri__ticks_release(struct peri_engine *engine, uint64_t schedule_id);

#endif
