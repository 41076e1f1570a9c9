/* SPDX-License-Identifier: MIT */
#include "host/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/idmap.h"
#include "perilune/hash.h"

/* Tokens are known by their digest alone, so that none lies in memory longer than its request. */
struct entry {
    uint64_t key;
    unsigned char digest[32];
    int64_t used_ms;
    struct peri_ratelimit *limiter;
    struct entry *older, *newer;
};

struct peri__limits {
    struct peri__limits_options options;
    struct peri__idmap entries;
    struct entry *oldest, *newest;
};

enum peri_code peri__limits_new(const struct peri__limits_options *options, struct peri__limits **out,
                                struct peri_error *err)
{
    struct peri_ratelimit *trial = peri_ratelimit_new(options->limit, options->window_ms, err);
    if (!trial)
        return err->code;
    peri_ratelimit_free(trial);
    struct peri__limits *limits = calloc(1, sizeof *limits);
    if (!limits)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    limits->options = *options;
    if (!limits->options.tokens)
        limits->options.tokens = 65536;
    *out = limits;
    return PERI_OK;
}

static void unlink_entry(struct peri__limits *limits, struct entry *entry)
{
    *(entry->older ? &entry->older->newer : &limits->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &limits->newest) = entry->older;
}

static void append(struct peri__limits *limits, struct entry *entry)
{
    entry->older = limits->newest;
    entry->newer = NULL;
    *(limits->newest ? &limits->newest->newer : &limits->oldest) = entry;
    limits->newest = entry;
}

static void forget(struct peri__limits *limits, struct entry *entry)
{
    unlink_entry(limits, entry);
    peri__idmap_remove(&limits->entries, entry->key);
    peri_ratelimit_free(entry->limiter);
    free(entry);
}

void peri__limits_free(struct peri__limits *limits)
{
    if (!limits)
        return;
    while (limits->oldest)
        forget(limits, limits->oldest);
    peri__idmap_fini(&limits->entries);
    free(limits);
}

/* A few at a time, so that no request pays for many. */
static void forget_idle(struct peri__limits *limits, int64_t now_ms)
{
    for (int i = 0; i < 4 && limits->oldest && now_ms - limits->oldest->used_ms >= limits->options.window_ms; i++)
        forget(limits, limits->oldest);
}

static struct entry *make(struct peri__limits *limits, uint64_t key, const unsigned char *digest,
                          struct peri_error *err)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (limits->entries.count >= limits->options.tokens)
        forget(limits, limits->oldest);
    if (entry)
        entry->limiter = peri_ratelimit_new(limits->options.limit, limits->options.window_ms, err);
    if (!entry || !entry->limiter || peri__idmap_put(&limits->entries, key, entry) != PERI_OK) {
        if (entry)
            peri_ratelimit_free(entry->limiter);
        free(entry);
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    entry->key = key;
    memcpy(entry->digest, digest, sizeof entry->digest);
    append(limits, entry);
    return entry;
}

/* "100 per 1 minute", as the platform's own text has it. */
static enum peri_code refuse(const struct peri__limits *limits, int64_t wait_ms, struct peri_error *err)
{
    int64_t seconds = limits->options.window_ms / 1000;
    char window[48] = "1 minute";
    if (seconds != 60)
        snprintf(window, sizeof window, "%" PRId64 " seconds", seconds);
    peri_error_set(err, PERI_RATE_LIMITED, "Rate limit exceeded: %u per %s", limits->options.limit, window);
    err->retry_after_ms = wait_ms;
    err->retryable = true;
    return PERI_RATE_LIMITED;
}

enum peri_code peri__limits_take(struct peri__limits *limits, struct peri_str token, int64_t now_ms,
                                 struct peri_error *err)
{
    unsigned char digest[PERI_HASH_MAX];
    uint64_t key = 0;
    enum peri_code code = peri_hash_once(PERI_SHA256, token, digest, err);
    if (code)
        return code;
    memcpy(&key, digest, sizeof key);
    key |= 1; /* never 0 */
    forget_idle(limits, now_ms);
    struct entry *entry = peri__idmap_get(&limits->entries, key);
    if (entry && memcmp(entry->digest, digest, sizeof entry->digest) != 0) {
        forget(limits, entry); /* two tokens of one key: as good as never */
        entry = NULL;
    }
    if (!entry)
        entry = make(limits, key, digest, err);
    if (!entry)
        return err->code;
    int64_t wait_ms = peri_ratelimit_take(entry->limiter, 1, now_ms);
    if (wait_ms > 0)
        return refuse(limits, wait_ms, err);
    entry->used_ms = now_ms;
    unlink_entry(limits, entry);
    append(limits, entry);
    return PERI_OK;
}

size_t peri__limits_count(const struct peri__limits *limits)
{
    return limits->entries.count;
}
