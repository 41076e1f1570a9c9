/* SPDX-License-Identifier: MIT */
/* part: net, threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <uv.h>

#include "perilune/loop.h"
#include "perilune/transport.h"

struct fixture {
    struct peri_loop *loop;
    struct peri_timer *timer;
    struct peri_timer *other;
    int fired;
};

static void on_fire(void *data)
{
    ((struct fixture *)data)->fired++;
}

static int make_loop(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){ .loop = peri_loop_new(NULL) };
    *state = &fixture;
    return fixture.loop ? 0 : -1;
}

static int free_loop(void **state)
{
    struct fixture *f = *state;
    int left = (int)peri_loop_active(f->loop);
    peri_loop_free(f->loop);
    return left;
}

static void test_timer(void **state)
{
    struct fixture *f = *state;
    f->timer = peri_timer_new(f->loop, on_fire, f, NULL);
    assert_int_equal(peri_loop_active(f->loop), 0);
    peri_loop_run_once(f->loop, 0, NULL);
    assert_int_equal(peri_loop_timeout_ms(f->loop), -1); /* nothing to wait for but a wake */
    peri_timer_start(f->timer, 5);
    peri_timer_start(f->timer, 10);
    assert_int_equal(peri_loop_active(f->loop), 1);
    assert_in_range(peri_loop_timeout_ms(f->loop), 0, 10);
    uint64_t begin = uv_hrtime();
    while (!f->fired) {
        assert_int_equal(peri_loop_run_once(f->loop, -1, NULL), PERI_OK);
    }
    assert_true(uv_hrtime() - begin >= 8000000);
    assert_int_equal(f->fired, 1);
    assert_int_equal(peri_loop_active(f->loop), 0);
    peri_timer_start(f->timer, 0);
    peri_timer_stop(f->timer);
    peri_timer_stop(f->timer);
    assert_int_equal(peri_loop_run_once(f->loop, 1, NULL), PERI_OK);
    assert_int_equal(f->fired, 1);
    peri_timer_start(f->timer, -5); /* at once, but not from within */
    assert_int_equal(f->fired, 1);
    assert_int_equal(peri_loop_run_once(f->loop, -1, NULL), PERI_OK);
    assert_int_equal(f->fired, 2);
    peri_timer_start(f->timer, 100000);
    peri_timer_free(f->timer); /* while it runs */
    assert_int_equal(peri_loop_active(f->loop), 0);
    peri_timer_free(NULL);
}

/* libuv runs due timers before it polls. A wait must end there, although nothing else will ever happen. */
static void test_wait_ends_with_due_timer(void **state)
{
    struct fixture *f = *state;
    f->timer = peri_timer_new(f->loop, on_fire, f, NULL);
    f->other = peri_timer_new(f->loop, on_fire, f, NULL);
    peri_timer_start(f->other, 3600 * 1000);
    peri_timer_start(f->timer, 0);
    assert_int_equal(peri_loop_run_once(f->loop, -1, NULL), PERI_OK);
    assert_int_equal(f->fired, 1);
    peri_timer_free(f->timer);
    peri_timer_free(f->other);
}

static void test_timeout(void **state)
{
    struct fixture *f = *state;
    f->timer = peri_timer_new(f->loop, on_fire, f, NULL);
    peri_timer_start(f->timer, 3600 * 1000);
    uint64_t begin = uv_hrtime();
    assert_int_equal(peri_loop_run_once(f->loop, 20, NULL), PERI_OK);
    assert_true(uv_hrtime() - begin >= 15000000);
    assert_int_equal(peri_loop_run_once(f->loop, 0, NULL), PERI_OK); /* does not wait */
    assert_int_equal(f->fired, 0);
    peri_timer_free(f->timer);
}

static void *wake_later(void *loop)
{
    poll(NULL, 0, 20);
    peri_loop_wake(loop);
    return NULL;
}

static void test_wake(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_later, f->loop), 0);
    assert_int_equal(peri_loop_run_once(f->loop, -1, NULL), PERI_OK); /* with nothing else on the loop */
    pthread_join(thread, NULL);
    peri_loop_wake(f->loop); /* before the wait: not lost */
    assert_int_equal(peri_loop_run_once(f->loop, -1, NULL), PERI_OK);
}

static struct peri_loop *signalled;
static void on_signal(int number)
{
    (void)number;
    peri_loop_wake(signalled);
}

static void test_wake_from_signal(void **state)
{
    struct fixture *f = *state;
    struct sigaction action = { .sa_handler = on_signal }, old;
    signalled = f->loop;
    assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
    struct itimerval soon = { .it_value = { 0, 20000 } };
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_int_equal(peri_loop_run_once(f->loop, -1, NULL), PERI_OK);
    sigaction(SIGALRM, &old, NULL);
}

static void test_fd(void **state)
{
    struct fixture *f = *state;
    struct pollfd p = { .fd = peri_loop_fd(f->loop), .events = POLLIN };
    peri_loop_run_once(f->loop, 0, NULL); /* registers what is new */
    assert_int_equal(poll(&p, 1, 0), 0);
    peri_loop_wake(f->loop);
    assert_int_equal(poll(&p, 1, 10000), 1);
    peri_loop_run_once(f->loop, 0, NULL);
    assert_int_equal(poll(&p, 1, 0), 0);
}

static void run_again(void *data)
{
    struct fixture *f = data;
    struct peri_error err;
    f->fired++;
    assert_int_equal(peri_loop_run_once(f->loop, 0, &err), PERI_INVALID);
    peri_timer_free(f->timer); /* in its own callback */
    f->timer = NULL;
}

static void test_not_reentrant(void **state)
{
    struct fixture *f = *state;
    f->timer = peri_timer_new(f->loop, run_again, f, NULL);
    peri_timer_start(f->timer, 0);
    assert_int_equal(peri_loop_run_once(f->loop, -1, NULL), PERI_OK);
    assert_int_equal(f->fired, 1);
    assert_null(f->timer);
}

static int64_t now_of(struct peri_loop *loop)
{
    return peri_clock_monotonic_ms(peri_loop_clock(loop));
}

static void test_clock(void **state)
{
    struct fixture *f = *state;
    int64_t now = 12345;
    assert_true(now_of(f->loop) > 0);
    peri_loop_set_clock(f->loop, peri_clock_manual(&now));
    assert_int_equal(now_of(f->loop), 12345);
}

static void test_default_transport(void **state)
{
    struct fixture *f = *state;
    struct peri_transport *transport = peri_loop_transport(f->loop, NULL);
    assert_non_null(transport);
    assert_ptr_equal(peri_loop_transport(f->loop, NULL), transport);
    peri_transport_free(transport); /* allowed: the next use makes another */
    assert_non_null(peri_loop_transport(f->loop, NULL));
}

static void test_wrap(void **state)
{
    (void)state;
    uv_loop_t uv;
    struct fixture f = { 0 };
    struct peri_error err;
    assert_int_equal(uv_loop_init(&uv), 0);
    f.loop = peri_loop_wrap(&uv, &err);
    assert_non_null(f.loop);
    assert_ptr_equal(peri_loop_uv(f.loop), &uv);
    assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0); /* an idle wrapper keeps no program running */
    f.timer = peri_timer_new(f.loop, on_fire, &f, NULL);
    peri_timer_start(f.timer, 1);
    assert_int_equal(peri_loop_run_once(f.loop, -1, &err), PERI_UNSUPPORTED);
    uv_run(&uv, UV_RUN_DEFAULT);
    assert_int_equal(f.fired, 1);
    assert_non_null(peri_loop_transport(f.loop, &err));
    peri_timer_free(f.timer);
    peri_loop_free(f.loop);
    uv_run(&uv, UV_RUN_DEFAULT); /* the close callbacks */
    assert_int_equal(uv_loop_close(&uv), 0);
    assert_null(peri_loop_wrap(NULL, &err));
    peri_loop_free(NULL);
}

int main(void)
{
#define ON_A_LOOP(name) cmocka_unit_test_setup_teardown(name, make_loop, free_loop)
    const struct CMUnitTest tests[] = {
        ON_A_LOOP(test_timer),
        ON_A_LOOP(test_wait_ends_with_due_timer),
        ON_A_LOOP(test_timeout),
        ON_A_LOOP(test_wake),
        ON_A_LOOP(test_wake_from_signal),
        ON_A_LOOP(test_fd),
        ON_A_LOOP(test_not_reentrant),
        ON_A_LOOP(test_clock),
        ON_A_LOOP(test_default_transport),
        cmocka_unit_test(test_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
