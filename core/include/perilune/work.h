/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_WORK_H
#define PERILUNE_WORK_H

#include "perilune/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A function that runs on another thread (of libuv's pool), one run at a time, and whose end the loop is told. */
struct peri_work;
typedef void (*peri_work_fn)(void *data);
PERI_API struct peri_work *peri_work_new(struct peri_loop *loop, peri_work_fn run, peri_work_fn done, void *data,
                                         struct peri_error *err);
/* Not while it runs. run is called on another thread, then done on the loop. */
PERI_API void peri_work_start(struct peri_work *work);
PERI_API bool peri_work_running(const struct peri_work *work); /* until done is called */
/* Waits for a run that is under way: runs should be short. No more of it is called. NULL: no-op. */
PERI_API void peri_work_free(struct peri_work *work);

#ifdef __cplusplus
}
#endif

#endif
