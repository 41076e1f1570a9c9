/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_LIMITS_H
#define CORE_HOST_LIMITS_H

#include "perilune/buf.h"
#include "perilune/ratelimit.h"

/* A rate limit for each of many tokens. Holds at most `tokens` of them: those whose window is empty are forgotten, and
 * when none is, the one that has been silent longest. Time is an argument. */
struct peri__limits;

struct peri__limits_options {
    unsigned limit;
    int64_t window_ms;
    size_t tokens; /* 0: 65536 */
};
enum peri_code peri__limits_new(const struct peri__limits_options *options, struct peri__limits **out,
                                struct peri_error *err);
void peri__limits_free(struct peri__limits *limits);
/* Counts one request of the token. RATE_LIMITED, with err->retry_after_ms, when its window is full. */
enum peri_code peri__limits_take(struct peri__limits *limits, struct peri_str token, int64_t now_ms,
                                 struct peri_error *err);
size_t peri__limits_count(const struct peri__limits *limits); /* tokens held */

#endif
