/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_TURN_H
#define CORE_HOST_TURN_H

#include <stdint.h>

#include "perilune/error.h"

struct uv_loop_s;

/* Once a turn of the loop, before it waits and after it has waited: functions put off for later, then `work` when
 * somebody asked for it. This is where waiting calls start and frames leave, so that nothing happens within the call
 * that asked for it. And one tick a second. */
struct peri__turn;
enum peri_code peri__turn_new(struct uv_loop_s *uv, void (*work)(void *data), void (*tick)(void *data), void *data,
                              struct peri__turn **out, struct peri_error *err);
void peri__turn_free(struct peri__turn *turn); /* what was put off is dropped */
void peri__turn_ask(struct peri__turn *turn);
/* Calls fn, or drop (may be NULL) when the turn is freed before. */
enum peri_code peri__turn_later(struct peri__turn *turn, void (*fn)(void *data), void (*drop)(void *data), void *data);

#endif
