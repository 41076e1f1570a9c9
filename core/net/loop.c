/* SPDX-License-Identifier: MIT */
#include "net/loop_private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "perilune/log.h"

/* Turns of a run that does not wait, so that peri_loop_fd tells of what its first turn began to watch. */
#define UNPOLLED_TURNS 3

struct peri_timer {
    uv_timer_t uv;
    struct peri_loop *loop;
    peri_timer_fn fn;
    void *data;
    bool running;
};

static void release_memory(struct peri_loop *loop)
{
    if (loop->freed && loop->closing == 0) {
        free(loop);
    }
}

void peri__loop_close(struct peri_loop *loop, uv_handle_t *handle, uv_close_cb on_close)
{
    loop->closing++;
    uv_close(handle, on_close);
}

void peri__loop_closed(struct peri_loop *loop)
{
    loop->closing--;
    release_memory(loop);
}

void peri__loop_progress(struct peri_loop *loop)
{
    /* libuv runs due timers before it polls: without this, a turn whose timer did the work would then sleep. */
    if (loop->running) {
        uv_stop(loop->uv);
    }
}

static void on_own_handle_closed(uv_handle_t *handle)
{
    peri__loop_closed(handle->data);
}

static void on_wake(uv_async_t *async)
{
    (void)async; /* being here has ended the wait */
}

static void on_limit(uv_timer_t *timer)
{
    peri__loop_progress(timer->data);
}

static struct peri_loop *loop_start(struct uv_loop_s *borrowed, struct peri_error *err)
{
    struct peri_loop *loop = calloc(1, sizeof(*loop));
    if (!loop) {
        peri_error_set(err, PERI_NOMEM, "can't make an event loop: out of memory");
        return NULL;
    }
    int rc = 0;
    loop->wrapped = borrowed != NULL;
    loop->uv = borrowed ? borrowed : &loop->own;
    if (!borrowed) {
        rc = uv_loop_init(&loop->own);
        if (rc) {
            goto fail;
        }
    }
    rc = uv_async_init(loop->uv, &loop->wake, on_wake);
    if (rc) {
        if (!borrowed) {
            uv_loop_close(&loop->own);
        }
        goto fail;
    }
    loop->wake.data = loop;
    uv_unref((uv_handle_t *)&loop->wake); /* alone it keeps no uv_run going */
    uv_timer_init(loop->uv, &loop->limit);
    loop->limit.data = loop;
    loop->clock = peri_clock_system();
    loop->unpolled = true;
    return loop;
fail:
    peri_error_set(err, PERI_IO, "can't make an event loop: %s", uv_strerror(rc));
    free(loop);
    return NULL;
}

struct peri_loop *peri_loop_new(struct peri_error *err)
{
    signal(SIGPIPE, SIG_IGN);
    return loop_start(NULL, err);
}

struct peri_loop *peri_loop_wrap(struct uv_loop_s *uv, struct peri_error *err)
{
    if (!uv) {
        peri_error_set(err, PERI_INVALID, "no libuv loop to wrap was given");
        return NULL;
    }
    return loop_start(uv, err);
}

void peri_loop_free(struct peri_loop *loop)
{
    if (!loop) {
        return;
    }
    peri_transport_free(loop->transport);
    loop->transport = NULL;
    peri__loop_close(loop, (uv_handle_t *)&loop->wake, on_own_handle_closed);
    peri__loop_close(loop, (uv_handle_t *)&loop->limit, on_own_handle_closed);
    if (loop->wrapped) {
        loop->freed = true;
        return;
    }
    while (loop->closing > 0) {
        uv_run(loop->uv, UV_RUN_NOWAIT);
    }
    if (uv_loop_close(loop->uv) == UV_EBUSY) {
        /* Freeing memory that open handles point into would be worse than losing it. */
        peri_log(PERI_LOG_ERROR, "an event loop was freed while handles on it were open; its memory is lost");
        return;
    }
    free(loop);
}

struct uv_loop_s *peri_loop_uv(struct peri_loop *loop)
{
    return loop->uv;
}

int peri_loop_fd(struct peri_loop *loop)
{
    return uv_backend_fd(loop->uv);
}

int peri_loop_timeout_ms(struct peri_loop *loop)
{
    if (loop->unpolled) {
        return 0;
    }
    uv_update_time(loop->uv);
    uv_ref((uv_handle_t *)&loop->wake); /* without it libuv says 0 of a loop that has nothing to do */
    int timeout_ms = uv_backend_timeout(loop->uv);
    uv_unref((uv_handle_t *)&loop->wake);
    return timeout_ms;
}

enum peri_code peri_loop_run_once(struct peri_loop *loop, int timeout_ms, struct peri_error *err)
{
    if (loop->wrapped) {
        return peri_error_set(err, PERI_UNSUPPORTED, "this loop is driven by the program's own uv_run");
    }
    if (loop->running) {
        return peri_error_set(err, PERI_INVALID, "the loop is running already: don't wait within its callbacks");
    }
    loop->running = true;
    uv_ref((uv_handle_t *)&loop->wake); /* a loop with nothing else to do waits for a wake */
    if (timeout_ms == 0) {
        for (int turns = 0; turns == 0 || (loop->unpolled && turns < UNPOLLED_TURNS); turns++) {
            loop->unpolled = false;
            uv_run(loop->uv, UV_RUN_NOWAIT);
        }
    } else {
        if (timeout_ms > 0) {
            uv_update_time(loop->uv);
            uv_timer_start(&loop->limit, on_limit, (uint64_t)timeout_ms, 0);
        }
        loop->unpolled = false;
        uv_run(loop->uv, UV_RUN_ONCE);
        uv_timer_stop(&loop->limit);
    }
    uv_unref((uv_handle_t *)&loop->wake);
    loop->running = false;
    return PERI_OK;
}

void peri_loop_wake(struct peri_loop *loop)
{
    int saved = errno; /* signal handlers call this */
    uv_async_send(&loop->wake);
    errno = saved;
}

void peri_loop_set_clock(struct peri_loop *loop, struct peri_clock clock)
{
    loop->clock = clock;
}

struct peri_clock peri_loop_clock(struct peri_loop *loop)
{
    return loop->clock;
}

unsigned peri_loop_active(const struct peri_loop *loop)
{
    return loop->active;
}

struct peri_transport *peri_loop_transport(struct peri_loop *loop, struct peri_error *err)
{
    if (!loop->transport) {
        loop->transport = peri_transport_new(loop, NULL, err);
    }
    return loop->transport;
}

static void on_timer(uv_timer_t *uv)
{
    struct peri_timer *timer = uv->data;
    timer->running = false;
    timer->loop->active--;
    peri__loop_progress(timer->loop);
    timer->fn(timer->data);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct peri_timer *timer = handle->data;
    struct peri_loop *loop = timer->loop;
    free(timer);
    peri__loop_closed(loop);
}

struct peri_timer *peri_timer_new(struct peri_loop *loop, peri_timer_fn fn, void *data, struct peri_error *err)
{
    struct peri_timer *timer = calloc(1, sizeof(*timer));
    if (!timer) {
        peri_error_set(err, PERI_NOMEM, "can't make a timer: out of memory");
        return NULL;
    }
    timer->loop = loop;
    timer->fn = fn;
    timer->data = data;
    uv_timer_init(loop->uv, &timer->uv);
    timer->uv.data = timer;
    return timer;
}

void peri_timer_start(struct peri_timer *timer, int64_t delay_ms)
{
    uv_update_time(timer->loop->uv);
    uv_timer_start(&timer->uv, on_timer, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
    if (!timer->running) {
        timer->running = true;
        timer->loop->active++;
    }
}

void peri_timer_stop(struct peri_timer *timer)
{
    uv_timer_stop(&timer->uv);
    if (timer->running) {
        timer->running = false;
        timer->loop->active--;
    }
}

void peri_timer_free(struct peri_timer *timer)
{
    if (!timer) {
        return;
    }
    peri_timer_stop(timer);
    peri__loop_close(timer->loop, (uv_handle_t *)&timer->uv, on_timer_closed);
}
