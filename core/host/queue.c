/* SPDX-License-Identifier: MIT */
#include "host/queue.h"

#include <limits.h>
#include <stdlib.h>

#define FAIR_EACH 8

static void append(struct peri__lines *lines, struct peri__job *job)
{
    struct peri__line *line = &lines->lines[job->priority];
    job->next = NULL;
    job->prev = line->last;
    if (line->last)
        line->last->next = job;
    else
        line->first = job;
    line->last = job;
    lines->filled |= 1u << job->priority;
}

static void unlink_job(struct peri__lines *lines, struct peri__job *job)
{
    struct peri__line *line = &lines->lines[job->priority];
    if (job->prev)
        job->prev->next = job->next;
    else
        line->first = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        line->last = job->prev;
    if (!line->first)
        lines->filled &= ~(1u << job->priority);
    job->next = job->prev = NULL;
}

static struct peri__job *most_urgent(const struct peri__lines *lines)
{
    return lines->filled ? lines->lines[__builtin_ctz(lines->filled)].first : NULL;
}

static struct peri__job *oldest(const struct peri__lines *lines)
{
    struct peri__job *found = NULL;
    for (unsigned left = lines->filled; left; left &= left - 1) {
        struct peri__job *job = lines->lines[__builtin_ctz(left)].first;
        if (!found || job->queued_at < found->queued_at)
            found = job;
    }
    return found;
}

/* ---- gates ---- */

static unsigned limit_of(unsigned limit)
{
    return limit ? limit : UINT_MAX;
}

/* Those behind the gate get the passes that are free. */
static void open_gate(struct peri__queue *queue, struct peri__gate *gate)
{
    for (struct peri__job *job; gate->passes < gate->limit && (job = most_urgent(&gate->lines));) {
        unlink_job(&gate->lines, job);
        gate->passes++;
        job->pass = true;
        append(&queue->lines, job);
    }
}

static struct peri__gate *find_gate(struct peri__queue *queue, uint64_t function_id, unsigned limit)
{
    struct peri__gate *gate = queue->gates.count ? peri__idmap_get(&queue->gates, function_id) : NULL;
    if (gate) {
        gate->limit = limit_of(limit);
        open_gate(queue, gate);
        return gate;
    }
    gate = limit ? calloc(1, sizeof *gate) : NULL;
    if (!gate)
        return NULL;
    gate->function_id = function_id;
    gate->limit = limit;
    if (peri__idmap_put(&queue->gates, function_id, gate) != PERI_OK) {
        free(gate);
        return NULL;
    }
    return gate;
}

/* The job leaves its gate, which lets the next one through, or goes with the last one. */
static void leave_gate(struct peri__queue *queue, struct peri__job *job)
{
    struct peri__gate *gate = job->gate;
    if (!gate)
        return;
    gate->passes -= job->pass;
    job->pass = false;
    job->gate = NULL;
    if (--gate->count) {
        open_gate(queue, gate);
        return;
    }
    peri__idmap_remove(&queue->gates, gate->function_id);
    free(gate);
}

/* ---- the queue ---- */

void peri__queue_fini(struct peri__queue *queue)
{
    size_t at = 0;
    for (struct peri__gate *gate; (gate = peri__idmap_next(&queue->gates, &at));)
        free(gate);
    peri__idmap_fini(&queue->gates);
}

void peri__queue_push(struct peri__queue *queue, struct peri__job *job, uint64_t function_id, unsigned limit)
{
    struct peri__gate *gate = limit || queue->gates.count ? find_gate(queue, function_id, limit) : NULL;
    job->queued = true;
    queue->count++;
    job->gate = gate;
    if (!gate) {
        append(&queue->lines, job);
        return;
    }
    gate->count++;
    append(&gate->lines, job);
    open_gate(queue, gate);
}

bool peri__queue_ready(const struct peri__queue *queue)
{
    return queue->lines.filled != 0;
}

struct peri__job *peri__queue_take(struct peri__queue *queue)
{
    bool fair = ++queue->starts % FAIR_EACH == 0;
    struct peri__job *job = fair ? oldest(&queue->lines) : most_urgent(&queue->lines);
    if (!job)
        return NULL;
    unlink_job(&queue->lines, job);
    job->queued = false;
    queue->count--;
    return job;
}

void peri__queue_remove(struct peri__queue *queue, struct peri__job *job)
{
    if (!job->queued)
        return;
    unlink_job(job->gate && !job->pass ? &job->gate->lines : &queue->lines, job);
    job->queued = false;
    queue->count--;
    leave_gate(queue, job);
}

void peri__queue_done(struct peri__queue *queue, struct peri__job *job)
{
    leave_gate(queue, job);
}

void peri__queue_limit(struct peri__queue *queue, uint64_t function_id, unsigned limit)
{
    struct peri__gate *gate = queue->gates.count ? peri__idmap_get(&queue->gates, function_id) : NULL;
    if (!gate)
        return;
    gate->limit = limit_of(limit);
    open_gate(queue, gate);
}
