/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_QUEUE_H
#define CORE_HOST_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Calls on their way to a sandbox, first in, first out. Jobs are embedded in what they stand for. */
struct peri__slot;
struct peri__job {
    uint64_t call_id;
    uint64_t version_id;     /* once started */
    struct peri__slot *slot; /* where it runs; NULL: nowhere */
    bool queued;
    bool token;        /* its call's token was used */
    int64_t queued_at; /* uv_now */
    struct peri__job *next, *prev;
};
struct peri__queue {
    struct peri__job *first, *last;
    size_t count;
};
void peri__queue_push(struct peri__queue *queue, struct peri__job *job);
void peri__queue_remove(struct peri__queue *queue, struct peri__job *job); /* a no-op when it is not queued */

#endif
