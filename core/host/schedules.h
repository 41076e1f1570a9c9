/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_SCHEDULES_H
#define CORE_HOST_SCHEDULES_H

#include "host/model.h"

/* Schedules: calls of a function at the times of a cron expression. What doors ask for; see engine.h for the manners. */
struct peri_engine;

/* What becomes of ticks that were missed, because the host was down or its clock was set forward. */
enum peri_missed { PERI_MISSED_SKIP, PERI_MISSED_ONCE, PERI_MISSED_ALL };
/* A tick while an earlier call of the schedule has not ended: beside it, not at all, or after it. */
enum peri_overlap { PERI_OVERLAP_ALLOW, PERI_OVERLAP_SKIP, PERI_OVERLAP_QUEUE };
const char *peri_missed_name(enum peri_missed missed);    /* "skip", "once", "all" */
const char *peri_overlap_name(enum peri_overlap overlap); /* "allow", "skip", "queue" */
/* false: there is no such name. */
bool peri_missed_parse(const char *name, enum peri_missed *out);
bool peri_overlap_parse(const char *name, enum peri_overlap *out);

/* Reference counted; doors read. */
struct peri_schedule {
    uint64_t id, function_id;
    char *external_id; /* unique: what the host's own door calls its name; NULL for those of other doors */
    char *name;        /* cdf: free text */
    char *description;
    char *cron;            /* see cron.h */
    char *timezone;        /* IANA name; NULL in a spec: UTC */
    enum peri_input input; /* of body */
    struct peri_buf body;  /* the input of each call; empty with JSON: none was given */
    uint64_t session_id;
    char *client_id;
    enum peri_missed missed;
    enum peri_overlap overlap;
    bool paused;
    int64_t created_ms, updated_ms;
    int64_t since_ms; /* what was due up to here has been dealt with */
    int64_t last_ms;  /* scheduled time of the last tick that became a call */
    int64_t next_ms;  /* 0: none, or paused */
    unsigned refs;
};
struct peri_schedule *peri_schedule_new(void);
struct peri_schedule *peri_schedule_copy(const struct peri_schedule *schedule);
struct peri_schedule *peri_schedule_ref(struct peri_schedule *schedule);
void peri_schedule_unref(struct peri_schedule *schedule); /* NULL is a no-op */

/* What became of one scheduled time. There is one record of it, ever: it can't run twice. */
enum peri_tick_outcome {
    PERI_TICK_CALLED,  /* call_id */
    PERI_TICK_SKIPPED, /* for the overlap policy */
    PERI_TICK_MISSED,  /* stands for all that were missed up to this one */
    PERI_TICK_FAILED,  /* the function could not be called */
};
const char *peri_tick_outcome_name(enum peri_tick_outcome outcome); /* "Called", ... */
struct peri_tick {
    uint64_t id, schedule_id, call_id;
    int64_t scheduled_ms, at_ms;
    enum peri_tick_outcome outcome;
    char reason[256];
};

/* ---- engine: from memory, at once; results are referenced (unref) ---- */
struct peri_schedule *peri_engine_schedule(struct peri_engine *engine, uint64_t id);
struct peri_schedule *peri_engine_schedule_by_name(struct peri_engine *engine, struct peri_str external_id);
/* All, newest first, until fn returns false; borrowed. */
void peri_engine_each_schedule(struct peri_engine *engine, bool (*fn)(void *data, struct peri_schedule *schedule),
                               void *data);
/* The first time after `after_ms`, paused or not; -1: none. */
int64_t peri_engine_schedule_next(struct peri_engine *engine, uint64_t id, int64_t after_ms);
/* Newest first, below before_ms (0: all). */
enum peri_code peri_engine_ticks(struct peri_engine *engine, uint64_t schedule_id, int64_t before_ms, size_t limit,
                                 void (*fn)(void *data, const struct peri_tick *tick), void *data,
                                 struct peri_error *err);

/* schedule: NULL on failure (err says why), else referenced for the time of the callback; durable then. */
typedef void (*peri_schedule_fn)(void *data, struct peri_schedule *schedule, const struct peri_error *err);
/* spec: copied; function_id and cron at least. With an external_id that is known the schedule is changed and keeps its
 * id, or, without replace, PERI_CONFLICT. BAD_REQUEST says what is wrong with cron or timezone; NOT_FOUND: no such
 * function. The first tick is one after now. */
void peri_engine_schedule_put(struct peri_engine *engine, const struct peri_schedule *spec, bool replace,
                              peri_schedule_fn done, void *data);
/* Resuming: the first tick is one after now. */
void peri_engine_schedule_pause(struct peri_engine *engine, uint64_t id, bool paused, peri_schedule_fn done,
                                void *data);
/* Calls that were made go on. A function's deletion deletes its schedules. */
void peri_engine_schedule_delete(struct peri_engine *engine, uint64_t id,
                                 void (*done)(void *data, const struct peri_error *err), void *data);
/* Does what is due by the loop's clock; by itself the engine does so in time. The time of what is due next, or -1: with
 * a clock of their own, tests and simulations go from one to the next. */
int64_t peri_engine_schedules_run(struct peri_engine *engine);

#endif
