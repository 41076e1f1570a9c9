/* SPDX-License-Identifier: MIT */
#include "host/queue.h"

void peri__queue_push(struct peri__queue *queue, struct peri__job *job)
{
    job->queued = true;
    job->next = NULL;
    job->prev = queue->last;
    if (queue->last)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
    queue->count++;
}

void peri__queue_remove(struct peri__queue *queue, struct peri__job *job)
{
    if (!job->queued)
        return;
    if (job->prev)
        job->prev->next = job->next;
    else
        queue->first = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        queue->last = job->prev;
    job->next = job->prev = NULL;
    job->queued = false;
    queue->count--;
}
