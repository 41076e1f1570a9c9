/* SPDX-License-Identifier: MIT */
#include "perilune/work.h"

#include <stdlib.h>

#include "net/loop_private.h"

struct peri_work {
    uv_work_t uv;
    uv_sem_t ran; /* up when run has returned */
    struct peri_loop *loop;
    peri_work_fn run, done;
    void *data;
    bool running, freed;
};

static void on_work(uv_work_t *uv)
{
    struct peri_work *work = uv->data;
    work->run(work->data);
    uv_sem_post(&work->ran);
}

static void release_memory(struct peri_work *work)
{
    struct peri_loop *loop = work->loop;
    uv_sem_destroy(&work->ran);
    free(work);
    peri__loop_closed(loop);
}

static void after_work(uv_work_t *uv, int status)
{
    struct peri_work *work = uv->data;
    (void)status; /* it is cancelled only when it is freed */
    if (work->freed) {
        release_memory(work);
        return;
    }
    uv_sem_wait(&work->ran);
    work->running = false;
    work->loop->active--;
    peri__loop_progress(work->loop);
    work->done(work->data);
}

struct peri_work *peri_work_new(struct peri_loop *loop, peri_work_fn run, peri_work_fn done, void *data,
                                struct peri_error *err)
{
    struct peri_work *work = calloc(1, sizeof(*work));
    if (!work || uv_sem_init(&work->ran, 0) != 0) {
        free(work);
        peri_error_set(err, PERI_NOMEM, "no memory for work on another thread");
        return NULL;
    }
    work->loop = loop;
    work->run = run;
    work->done = done;
    work->data = data;
    work->uv.data = work;
    return work;
}

void peri_work_start(struct peri_work *work)
{
    work->running = true;
    work->loop->active++;
    uv_queue_work(work->loop->uv, &work->uv, on_work, after_work);
}

bool peri_work_running(const struct peri_work *work)
{
    return work->running;
}

void peri_work_free(struct peri_work *work)
{
    if (!work) {
        return;
    }
    work->loop->closing++;
    if (!work->running) {
        release_memory(work);
        return;
    }
    work->freed = true;
    work->loop->active--;
    if (uv_cancel((uv_req_t *)&work->uv) != 0) {
        uv_sem_wait(&work->ran); /* what it works on may go when this returns */
    }
}
