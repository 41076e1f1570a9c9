/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "host/heap.h"
#include "host/queue.h"
#include "perilune/random.h"

#define MANY 100000

/* Job i is number i. */
static size_t number(const struct peri__job *jobs, const struct peri__job *job)
{
    assert_non_null(job);
    return (size_t)(job - jobs);
}

static void the_queue_keeps_order(void **state)
{
    (void)state;
    struct peri__queue queue = { 0 };
    struct peri__job jobs[5] = { 0 };
    for (int i = 0; i < 5; i++)
        peri__queue_push(&queue, &jobs[i], 1, 0);
    peri__queue_remove(&queue, &jobs[2]);
    peri__queue_remove(&queue, &jobs[2]);
    peri__queue_remove(&queue, &jobs[0]);
    peri__queue_remove(&queue, &jobs[4]);
    assert_int_equal(queue.count, 2);
    peri__queue_push(&queue, &jobs[0], 1, 0);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 1);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 3);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 0);
    assert_null(peri__queue_take(&queue));
    assert_false(peri__queue_ready(&queue));
    assert_int_equal(queue.count, 0);
    peri__queue_fini(&queue);
}

static void lower_queues_start_first_and_none_waits_for_ever(void **state)
{
    (void)state;
    struct peri__queue queue = { 0 };
    struct peri__job *jobs = calloc(1001, sizeof *jobs);
    jobs[1000].priority = 8;
    jobs[1000].queued_at = 1;
    peri__queue_push(&queue, &jobs[1000], 1, 0);
    for (int i = 0; i < 1000; i++) {
        jobs[i].priority = i % 2 ? 0 : 4;
        jobs[i].queued_at = 2 + i;
        peri__queue_push(&queue, &jobs[i], 1, 0);
    }
    for (int i = 0; i < 7; i++)
        assert_int_equal(number(jobs, peri__queue_take(&queue)), 2 * i + 1);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 1000); /* the eighth */
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 15);
    while (peri__queue_take(&queue))
        continue;
    assert_int_equal(queue.count, 0);
    peri__queue_fini(&queue);
    free(jobs);
}

static void a_gate_lets_as_many_through_as_may_run(void **state)
{
    (void)state;
    struct peri__queue queue = { 0 };
    struct peri__job jobs[10] = { 0 };
    for (int i = 0; i < 8; i++)
        peri__queue_push(&queue, &jobs[i], 7, 2);
    peri__queue_push(&queue, &jobs[8], 9, 0); /* of another function: goes past those behind the gate */
    assert_int_equal(queue.count, 9);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 0);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 1);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 8);
    assert_false(peri__queue_ready(&queue));
    assert_int_equal(queue.count, 6);
    peri__queue_done(&queue, &jobs[8]);
    assert_false(peri__queue_ready(&queue));
    peri__queue_done(&queue, &jobs[1]);
    peri__queue_remove(&queue, &jobs[2]); /* it had the pass: the next one gets it */
    peri__queue_remove(&queue, &jobs[4]); /* it had none */
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 3);
    assert_false(peri__queue_ready(&queue));
    peri__queue_limit(&queue, 7, 3);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 5);
    assert_false(peri__queue_ready(&queue));
    peri__queue_limit(&queue, 7, 1); /* lower than what runs: nothing until enough have ended */
    peri__queue_done(&queue, &jobs[0]);
    peri__queue_done(&queue, &jobs[3]);
    assert_false(peri__queue_ready(&queue));
    peri__queue_done(&queue, &jobs[5]);
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 6);
    peri__queue_limit(&queue, 7, 0); /* no limit any more */
    assert_int_equal(number(jobs, peri__queue_take(&queue)), 7);
    peri__queue_done(&queue, &jobs[6]);
    peri__queue_done(&queue, &jobs[7]);
    assert_int_equal(queue.gates.count, 0);
    assert_int_equal(queue.count, 0);
    peri__queue_fini(&queue);
}

/* Would take hours if a step looked at all that wait. */
static void many_that_wait_are_no_burden(void **state)
{
    (void)state;
    struct peri__queue queue = { 0 };
    struct peri__job *jobs = calloc(3 * MANY, sizeof *jobs);
    for (int i = 0; i < 2 * MANY; i++)
        peri__queue_push(&queue, &jobs[i], 1 + (uint64_t)i % 2, 1);
    for (int i = 2 * MANY; i < 3 * MANY; i++) {
        peri__queue_push(&queue, &jobs[i], 3, 0);
        struct peri__job *job = peri__queue_take(&queue);
        assert_true(i < 2 * MANY + 2 ? job < jobs + 2 : job >= jobs + 2 * MANY);
        if (job >= jobs + 2 * MANY)
            peri__queue_done(&queue, job);
    }
    size_t started = 2;
    peri__queue_done(&queue, &jobs[0]);
    for (struct peri__job *job; (job = peri__queue_take(&queue)); started++)
        peri__queue_done(&queue, job);
    peri__queue_done(&queue, &jobs[1]);
    for (struct peri__job *job; (job = peri__queue_take(&queue)); started++)
        peri__queue_done(&queue, job);
    assert_int_equal(started, 2 * MANY + 2);
    assert_int_equal(queue.count, 0);
    assert_int_equal(queue.gates.count, 0);
    peri__queue_fini(&queue);
    free(jobs);
}

static void a_heap_gives_the_earliest(void **state)
{
    (void)state;
    struct peri__heap heap = { 0 };
    struct peri__due *dues = calloc(MANY, sizeof *dues);
    uint64_t seed = 7;
    struct peri_random random = peri_random_seeded(&seed);
    assert_null(peri__heap_first(&heap));
    for (int i = 0; i < MANY; i++)
        assert_int_equal(peri__heap_set(&heap, &dues[i], (int64_t)(peri_random_u64(random) % 1000)), PERI_OK);
    for (int i = 0; i < MANY; i += 2) /* half go, a quarter moves */
        if (i % 4)
            peri__heap_set(&heap, &dues[i], (int64_t)(peri_random_u64(random) % 1000));
        else
            peri__heap_remove(&heap, &dues[i]);
    peri__heap_remove(&heap, &dues[0]);
    assert_int_equal(heap.count, MANY * 3 / 4);
    int64_t last = -1;
    for (struct peri__due *due; (due = peri__heap_first(&heap));) {
        assert_true(due->at_ms >= last && (due - dues) % 4 != 0);
        last = due->at_ms;
        peri__heap_remove(&heap, due);
        assert_int_equal(due->place, 0);
    }
    assert_int_equal(heap.count, 0);
    peri__heap_fini(&heap);
    free(dues);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_queue_keeps_order),
        cmocka_unit_test(lower_queues_start_first_and_none_waits_for_ever),
        cmocka_unit_test(a_gate_lets_as_many_through_as_may_run),
        cmocka_unit_test(many_that_wait_are_no_burden),
        cmocka_unit_test(a_heap_gives_the_earliest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
