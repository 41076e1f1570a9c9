/* SPDX-License-Identifier: MIT */
#ifndef NET_LOOP_PRIVATE_H
#define NET_LOOP_PRIVATE_H

#include <uv.h>

#include "perilune/loop.h"
#include "perilune/transport.h"

/* What the files of net/ share of a loop. */

struct peri_loop {
    uv_loop_t own;
    uv_loop_t *uv; /* &own, or the embedding program's */
    uv_async_t wake;
    uv_timer_t limit; /* ends a waiting run_once */
    struct peri_clock clock;
    struct peri_transport *transport; /* the default one, made at first use */
    unsigned active;                  /* exchanges and running timers */
    unsigned closing;                 /* handles whose close callback is still to come */
    bool wrapped;
    bool running;  /* within run_once */
    bool unpolled; /* libuv registers what is to be watched only when it polls next */
    bool freed;    /* wrapped: memory goes with the last close callback */
};

/* Every handle of net/ is closed through these two: the first instead of uv_close, the second last in its callback. */
void peri__loop_close(struct peri_loop *loop, uv_handle_t *handle, uv_close_cb on_close);
void peri__loop_closed(struct peri_loop *loop);
/* Something that a caller may wait for has happened: a waiting run_once returns after this turn. */
void peri__loop_progress(struct peri_loop *loop);

#endif
