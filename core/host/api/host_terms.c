/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "host/api/host_private.h"
#include "host/size.h"

/* What a request asks for its call: read in one pass over the query, which mostly is empty. */

#define YEAR_MS (365 * UINT64_C(86400000))
#define WALL_MAX_MS UINT64_C(253402300799999) /* the end of the year 9999 */
#define BASE_MS 1000
#define CAP_MS 300000

enum { DELAY, START, EXPIRES, QUEUE, ATTEMPTS, BASE, CAP, RETRY, COUNT };
static const struct {
    const char *name;
    uint64_t min, max;
} numbers[RETRY] = {
    [DELAY] = { "delay_ms", 0, YEAR_MS },
    [START] = { "start_at", 1, WALL_MAX_MS },
    [EXPIRES] = { "expires_ms", 1, YEAR_MS },
    [QUEUE] = { "queue", 1, PERI_QUEUES },
    [ATTEMPTS] = { "attempts", 1, PERI_ATTEMPTS_MAX },
    [BASE] = { "retry_base_ms", 0, YEAR_MS },
    [CAP] = { "retry_cap_ms", 0, YEAR_MS },
};

struct reading {
    uint64_t values[COUNT];
    unsigned given; /* a bit each */
    struct peri_error err;
};

static bool has(const struct reading *r, unsigned what)
{
    return (r->given >> what & 1) != 0;
}

static void read_one(void *data, const char *name, const char *value)
{
    struct reading *r = data;
    if (strcmp(name, "retry") == 0) {
        r->given |= 1u << RETRY;
        r->values[RETRY] = strcmp(value, "true") == 0;
        if (!r->values[RETRY] && strcmp(value, "false") != 0)
            peri_error_set(&r->err, PERI_BAD_REQUEST, "retry must be true or false, not '%.40s'", value);
        return;
    }
    for (unsigned i = 0; i < RETRY; i++) {
        if (strcmp(name, numbers[i].name) != 0)
            continue;
        r->given |= 1u << i;
        if (!peri_number_parse(value, numbers[i].max, &r->values[i]) || r->values[i] < numbers[i].min)
            peri_error_set(&r->err, PERI_BAD_REQUEST,
                           "%s must be a number from %" PRIu64 " to %" PRIu64 ", not '%.40s'", name, numbers[i].min,
                           numbers[i].max, value);
        return;
    }
}

static void read_key(struct reading *r, const char *key, struct peri_terms *terms)
{
    size_t len = key == NULL ? 0 : strlen(key);
    if (key == NULL)
        return;
    bool good = len >= 1 && len <= PERI_KEY_MAX;
    for (size_t i = 0; good && i < len; i++)
        good = key[i] >= ' ' && key[i] <= '~';
    if (!good)
        peri_error_set(&r->err, PERI_BAD_REQUEST, "an idempotency key has 1 to %d printable ASCII characters",
                       PERI_KEY_MAX);
    terms->key = (char *)(uintptr_t)key;
}

static void fill(struct reading *r, int64_t now, struct peri_terms *terms)
{
    bool retry = has(r, RETRY) ? r->values[RETRY] != 0 : has(r, BASE) || has(r, CAP);
    if (has(r, DELAY) && has(r, START))
        peri_error_set(&r->err, PERI_BAD_REQUEST, "delay_ms and start_at exclude each other");
    if (r->values[DELAY] > 0)
        terms->start_ms = now + (int64_t)r->values[DELAY];
    if ((int64_t)r->values[START] > now)
        terms->start_ms = (int64_t)r->values[START];
    if (has(r, EXPIRES))
        terms->expires_ms = now + (int64_t)r->values[EXPIRES];
    if (terms->expires_ms > 0 && terms->start_ms >= terms->expires_ms)
        peri_error_set(&r->err, PERI_BAD_REQUEST, "the call would expire before it may start");
    terms->queue = (unsigned)r->values[QUEUE];
    terms->attempts = (unsigned)r->values[ATTEMPTS];
    terms->retry = retry;
    if (!retry)
        return;
    terms->base_ms = has(r, BASE) ? (int64_t)r->values[BASE] : BASE_MS;
    terms->cap_ms = has(r, CAP) ? (int64_t)r->values[CAP] : CAP_MS;
    if (terms->cap_ms < terms->base_ms)
        terms->cap_ms = terms->base_ms;
}

bool peri__host_terms(struct peri__host *host, struct peri_http_req *req, bool async, struct peri_terms *terms,
                      bool *any)
{
    struct reading r = { .given = 0, .err = PERI_ERROR_INIT };
    *any = false;
    peri_http_each_query(req, read_one, &r);
    if (async)
        read_key(&r, peri_http_header(req, "Idempotency-Key"), terms);
    if (r.given == 0 && terms->key == NULL)
        return true;
    if (r.err.code == PERI_OK)
        fill(&r, peri_clock_wall_ms(peri_loop_clock(peri_engine_loop(host->engine))), terms);
    if (r.err.code == PERI_OK) {
        *any = terms->start_ms || terms->expires_ms || terms->queue || terms->attempts || terms->retry || terms->key;
        return true;
    }
    peri_http_reply_error(req, 0, &r.err);
    return false;
}
