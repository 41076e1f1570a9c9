/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_QUEUE_H
#define CORE_HOST_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/idmap.h"

/* Calls on their way to a sandbox. There are lines by priority, the lower first; within one, first in, first out. Each
 * eighth start is that of the call which has waited longest, so that none waits for ever.
 *
 * A function with a limit has a gate: as many of its calls as may run at a time have a pass, which they keep while they
 * wait in the lines and run; the others wait behind the gate, where they are in nobody's way. Every step takes the same
 * time, however many wait. Jobs are embedded in what they stand for. */
struct peri__slot;
struct peri__gate;
struct peri__job {
    uint64_t call_id;
    uint64_t version_id;     /* once started */
    struct peri__slot *slot; /* where it runs; NULL: nowhere */
    bool queued;
    bool token;              /* its call's token was used */
    bool pass;               /* of its gate */
    unsigned char priority;  /* from 0 */
    int64_t queued_at;       /* uv_now */
    struct peri__gate *gate; /* NULL: its function has none */
    struct peri__job *next, *prev;
};

#define PERI__PRIORITIES 9
struct peri__lines {
    struct peri__line {
        struct peri__job *first, *last;
    } lines[PERI__PRIORITIES];
    unsigned filled; /* a bit for each line that is not empty */
};

struct peri__gate {
    uint64_t function_id;
    unsigned limit, passes;
    struct peri__lines lines;
    size_t count; /* jobs that know it */
};

struct peri__queue {
    struct peri__lines lines;
    size_t count; /* of all that wait, behind gates too */
    unsigned starts;
    struct peri__idmap gates;
};
void peri__queue_fini(struct peri__queue *queue);
/* limit: how many calls of the function may run at a time, 0: any number. When memory is out, any number. */
void peri__queue_push(struct peri__queue *queue, struct peri__job *job, uint64_t function_id, unsigned limit);
/* Whether one may start, and which: out of the queue, with its pass, which peri__queue_done takes back. */
bool peri__queue_ready(const struct peri__queue *queue);
struct peri__job *peri__queue_take(struct peri__queue *queue);
/* Out of the queue; a no-op when it is not queued. */
void peri__queue_remove(struct peri__queue *queue, struct peri__job *job);
/* One that was taken runs no longer, or did not start. */
void peri__queue_done(struct peri__queue *queue, struct peri__job *job);
/* The function has another limit from now on. */
void peri__queue_limit(struct peri__queue *queue, uint64_t function_id, unsigned limit);

#endif
