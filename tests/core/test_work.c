/* SPDX-License-Identifier: MIT */
/* part: net, threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <cmocka.h>

#include "perilune/work.h"

struct job {
    uv_thread_t loop_thread;
    uv_sem_t go; /* run waits for it when `waits` */
    bool waits;
    int ran, done;
    bool on_other_thread;
    struct peri_work *work;
};

static void run(void *data)
{
    struct job *job = data;
    uv_thread_t me = uv_thread_self();
    job->on_other_thread = !uv_thread_equal(&me, &job->loop_thread);
    if (job->waits)
        uv_sem_wait(&job->go);
    job->ran++;
}

static void done(void *data)
{
    struct job *job = data;
    assert_false(peri_work_running(job->work));
    job->done++;
    if (job->done < 3)
        peri_work_start(job->work);
}

static struct peri_loop *open_job(struct job *job)
{
    struct peri_error err;
    struct peri_loop *loop = peri_loop_new(&err);
    assert_non_null(loop);
    *job = (struct job){ .loop_thread = uv_thread_self() };
    assert_int_equal(uv_sem_init(&job->go, 0), 0);
    job->work = peri_work_new(loop, run, done, job, &err);
    assert_non_null(job->work);
    return loop;
}

static void close_job(struct job *job, struct peri_loop *loop)
{
    assert_int_equal(peri_loop_active(loop), 0);
    peri_loop_free(loop);
    uv_sem_destroy(&job->go);
}

static void test_runs_again_and_again(void **state)
{
    struct job job;
    struct peri_error err;
    (void)state;
    struct peri_loop *loop = open_job(&job);
    peri_work_start(job.work);
    assert_true(peri_work_running(job.work));
    while (job.done < 3)
        assert_int_equal(peri_loop_run_once(loop, -1, &err), PERI_OK);
    assert_int_equal(job.ran, 3);
    assert_true(job.on_other_thread);
    peri_work_free(job.work);
    close_job(&job, loop);
}

static void post(void *data)
{
    uv_sem_post(&((struct job *)data)->go);
}

/* Freed while it runs: it is waited for, and the loop is told nothing. */
static void test_free_while_running(void **state)
{
    struct job job;
    uv_thread_t helper;
    (void)state;
    struct peri_loop *loop = open_job(&job);
    job.waits = true;
    peri_work_start(job.work);
    assert_int_equal(uv_thread_create(&helper, post, &job), 0);
    peri_work_free(job.work);
    int ran = job.ran; /* 0: it had not begun, and was taken out of the queue */
    assert_int_equal(peri_loop_active(loop), 0);
    uv_thread_join(&helper);
    close_job(&job, loop);
    assert_int_equal(job.ran, ran);
    assert_int_equal(job.done, 0);
}

static void test_free_unused(void **state)
{
    struct job job;
    (void)state;
    struct peri_loop *loop = open_job(&job);
    peri_work_free(job.work);
    peri_work_free(NULL);
    close_job(&job, loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_again_and_again),
        cmocka_unit_test(test_free_while_running),
        cmocka_unit_test(test_free_unused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
