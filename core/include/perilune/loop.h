/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_LOOP_H
#define PERILUNE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "perilune/clock.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
struct peri_loop; /* all I/O of one thread; not thread safe, but for peri_loop_wake */

/* A loop of its own. The process ignores SIGPIPE from then on. */
PERI_API struct peri_loop *peri_loop_new(struct peri_error *err);
/* Uses a libuv loop that the embedding program runs (borrowed; must outlive the result). Nothing here then blocks:
 * the program's own uv_run drives everything. */
PERI_API struct peri_loop *peri_loop_wrap(struct uv_loop_s *uv, struct peri_error *err);
/* All operations made on the loop must have been freed before. Closes what the loop opened; with a wrapped loop the
 * program must still run it once for the close callbacks. NULL is a no-op. */
PERI_API void peri_loop_free(struct peri_loop *loop);
PERI_API struct uv_loop_s *peri_loop_uv(struct peri_loop *loop);
/* Becomes readable when the loop has work: for programs with a select, poll or epoll loop of another kind. */
PERI_API int peri_loop_fd(struct peri_loop *loop);
/* How long such a program may wait, in milliseconds; -1: for ever. */
PERI_API int peri_loop_timeout_ms(struct peri_loop *loop);
/* Handles what is ready, waiting at most timeout_ms (0: not at all, -1: until something happens). */
PERI_API enum peri_code peri_loop_run_once(struct peri_loop *loop, int timeout_ms, struct peri_error *err);
/* Makes a waiting peri_loop_run_once return; the one function that any thread and any signal handler may call. */
PERI_API void peri_loop_wake(struct peri_loop *loop);
/* Default: the system's clock. */
PERI_API void peri_loop_set_clock(struct peri_loop *loop, struct peri_clock clock);
PERI_API struct peri_clock peri_loop_clock(struct peri_loop *loop);
/* How many things (transfers, timers) are under way: zero at the end of every test. */
PERI_API unsigned peri_loop_active(const struct peri_loop *loop);

/* A one-shot timer. */
struct peri_timer;
typedef void (*peri_timer_fn)(void *data);
PERI_API struct peri_timer *peri_timer_new(struct peri_loop *loop, peri_timer_fn fn, void *data,
                                           struct peri_error *err);
PERI_API void peri_timer_start(struct peri_timer *timer, int64_t delay_ms); /* restarts when already running */
PERI_API void peri_timer_stop(struct peri_timer *timer);
PERI_API void peri_timer_free(struct peri_timer *timer); /* its function is not called any more */

#ifdef __cplusplus
}
#endif

#endif
