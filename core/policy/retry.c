/* SPDX-License-Identifier: MIT */
#include "perilune/retry.h"

#include <stddef.h>
#include <string.h>

#include "perilune/clock.h"

static const int default_statuses[] = { 429, 502, 503, 504, 0 };
static const int default_unsafe_statuses[] = { 429, 0 };
static const enum peri_code default_codes[] = { PERI_IO,      PERI_TIMEOUT,   PERI_RESOLVE,
                                                PERI_CONNECT, PERI_TRUNCATED, PERI_OK };

const struct peri_retry_policy peri_retry_default = {
    .max_attempts = 6,
    .backoff = PERI_BACKOFF_FULL_JITTER,
    .min_ms = 100,
    .base_ms = 500,
    .cap_ms = 10000,
    .obey_retry_after = true,
    .max_retry_after_ms = 60000,
    .statuses = default_statuses,
    .unsafe_statuses = default_unsafe_statuses,
};

const struct peri_retry_policy peri_retry_none = { .max_attempts = 1 };

static bool has_status(const int *list, int status)
{
    for (; list && *list; list++)
        if (*list == status)
            return true;
    return false;
}

static bool has_code(const enum peri_code *list, enum peri_code code)
{
    for (; list && *list != PERI_OK; list++)
        if (*list == code)
            return true;
    return false;
}

static bool has_coded(const struct peri_retry_coded *list, int status, const char *platform_code)
{
    for (; list && list->status; list++)
        if (list->status == status && platform_code && strcmp(list->platform_code, platform_code) == 0)
            return true;
    return false;
}

/* NULL when the failure is of a kind that is retried; else why not. */
static const char *refuse_status(const struct peri_retry_policy *policy, const struct peri_attempt *attempt)
{
    int status = attempt->status;
    bool server = policy->any_5xx && status >= 500 && status <= 599 && !has_status(policy->never_statuses, status);
    if (attempt->forced || has_status(policy->unsafe_statuses, status))
        return NULL;
    if (!server && !has_status(policy->statuses, status) && !has_coded(policy->coded, status, attempt->platform_code))
        return "this status is not retried";
    return attempt->idempotent ? NULL : "the request may not be repeated";
}

static const char *refuse_failure(const struct peri_retry_policy *policy, const struct peri_attempt *attempt)
{
    if (attempt->forced || has_code(policy->unsafe_codes, attempt->code))
        return NULL;
    if (!has_code(policy->codes ? policy->codes : default_codes, attempt->code))
        return "this failure is not retried";
    return attempt->idempotent || !attempt->anything_sent ? NULL : "the request may not be repeated";
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double uniform(struct peri_random random, double from, double to)
{
    return to > from ? from + peri_random_unit(random) * (to - from) : from;
}

/* base * growth^n; at the cap the loop ends, so that a high n costs nothing and can't overflow. */
static double grown(const struct peri_retry_policy *policy, unsigned n)
{
    double growth = policy->growth > 0 ? policy->growth : 2, wait = (double)policy->base_ms;
    for (unsigned i = 0; i < n && i < 1000 && wait < (double)policy->cap_ms; i++)
        wait *= growth;
    return wait;
}

static double backoff_ms(const struct peri_retry_policy *policy, const struct peri_attempt *attempt,
                         struct peri_random random)
{
    unsigned n = attempt->number > 0 ? attempt->number - 1 : 0;
    double base = (double)policy->base_ms, cap = (double)policy->cap_ms, previous;
    enum peri_backoff kind = policy->backoff;
    if (kind == PERI_BACKOFF_FULL_EQUAL_ON_THROTTLE)
        kind = attempt->status == 429 ? PERI_BACKOFF_EQUAL_JITTER : PERI_BACKOFF_FULL_JITTER;
    switch (kind) {
    case PERI_BACKOFF_NONE:
    case PERI_BACKOFF_FULL_EQUAL_ON_THROTTLE: /* resolved above */
        return 0;
    case PERI_BACKOFF_FULL_JITTER:
        return uniform(random, (double)policy->min_ms, least(grown(policy, n), cap));
    case PERI_BACKOFF_EQUAL_JITTER:
        cap = least(grown(policy, n), cap);
        return cap / 2 + uniform(random, 0, cap / 2);
    case PERI_BACKOFF_DECORRELATED:
        previous = attempt->previous_wait_ms > policy->base_ms ? (double)attempt->previous_wait_ms : base;
        return uniform(random, base, least(cap, 3 * previous));
    case PERI_BACKOFF_EXPONENTIAL:
        return least(grown(policy, n), cap);
    case PERI_BACKOFF_EXPONENTIAL_PLUS:
        return least(grown(policy, n) + uniform(random, 0, (double)policy->jitter_ms), cap);
    case PERI_BACKOFF_EXPONENTIAL_SPREAD:
        return least(grown(policy, n) * uniform(random, 1 - policy->spread, 1 + policy->spread), cap);
    case PERI_BACKOFF_QUADRATIC:
        return least(base * ((double)n + 1) * ((double)n + 1), cap);
    }
    return 0;
}

/* NULL: *wait_ms is set; else why to give up. */
static const char *decide(const struct peri_retry_policy *policy, const struct peri_attempt *attempt,
                          struct peri_random random, int64_t *wait_ms)
{
    if (attempt->number >= policy->max_attempts)
        return "no attempts are left";
    if (policy->max_connect_attempts > 0 && attempt->connect_failures >= policy->max_connect_attempts)
        return "no attempts to connect are left";
    const char *refusal = attempt->status != 0 ? refuse_status(policy, attempt) : refuse_failure(policy, attempt);
    if (refusal)
        return refusal;

    int64_t wait = (int64_t)(backoff_ms(policy, attempt, random) + 0.5);
    if (policy->obey_retry_after && attempt->retry_after_ms > policy->max_retry_after_ms)
        return "the server asks to wait too long";
    if (policy->obey_retry_after && attempt->retry_after_ms > wait)
        wait = attempt->retry_after_ms;
    bool late = policy->elapsed_excludes_wait ? attempt->elapsed_ms >= policy->max_elapsed_ms
                                              : wait > policy->max_elapsed_ms - attempt->elapsed_ms;
    if (policy->max_elapsed_ms > 0 && late)
        return "no time is left";
    *wait_ms = wait;
    return NULL;
}

bool peri_retry_decide(const struct peri_retry_policy *policy, const struct peri_attempt *attempt,
                       struct peri_random random, int64_t *wait_ms, const char **reason)
{
    *wait_ms = 0;
    const char *refusal = decide(policy, attempt, random, wait_ms);
    if (reason)
        *reason = refusal;
    return !refusal;
}

int64_t peri_retry_after_parse(const char *value, int64_t now_wall_ms)
{
    const char *at = value;
    int64_t seconds = 0;
    if (!value || !*value)
        return -1;
    for (; *at >= '0' && *at <= '9'; at++)
        if (seconds < INT64_MAX / 1000 / 10 - 1) /* beyond that it is for ever anyway */
            seconds = seconds * 10 + (*at - '0');
    if (*at == '\0')
        return seconds * 1000;
    int64_t date = peri_time_parse_http(value);
    if (date < 0)
        return -1;
    return date > now_wall_ms ? date - now_wall_ms : 0;
}
