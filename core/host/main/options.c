/* SPDX-License-Identifier: MIT */
#include "host/main/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "host/size.h"
#include "perilune/log.h"
#include "perilune/ratelimit.h"

enum kind { TEXT, NUMBER, SIZE, FLAG };

static const struct {
    const char *name;
    enum kind kind;
    size_t offset;
    uint64_t min, max;
    const char *value, *help;
} table[] = {
#define AT(field) offsetof(struct gateway_options, field)
    { "host", TEXT, AT(host), 0, 0, "ADDRESS", "listen there (default 127.0.0.1)" },
    { "port", NUMBER, AT(port), 0, 65535, "N", "listen on this port (default 8700; 0: any free one)" },
    { "data", TEXT, AT(data), 0, 0, "DIR", "data folder (default PERILUNE_DATA, or ~/.local/share/perilune)" },
    { "sandboxes", NUMBER, AT(sandboxes), 0, 256, "N", "sandbox processes (default 0: one per core)" },
    { "token", TEXT, AT(token), 0, 0, "T", "bearer token (default: made at the first start, then kept)" },
    { "cim-secret-file", TEXT, AT(cim_secret_file), 0, 0, "FILE",
      "secret of signed events (default: made at the first start, then kept)" },
    { "timeout", NUMBER, AT(timeout_s), 1, 31536000, "SECONDS", "deadline of a call (default 600)" },
    { "memory", SIZE, AT(memory), 1 << 20, UINT64_C(1) << 40, "SIZE", "memory quota of a call (default 256M)" },
    { "watchdog", NUMBER, AT(watchdog_s), 1, 86400, "SECONDS", "end a sandbox silent for so long (default 5)" },
    { "body-limit", SIZE, AT(body_limit), 1024, UINT64_C(1) << 40, "SIZE", "largest body of a call (default 64M)" },
    { "queue-limit", NUMBER, AT(queue_limit), 1, 100000000, "N", "calls that may wait (default 100000)" },
    { "max-connections", NUMBER, AT(max_connections), 1, 1000000, "N", "connections at once (default 4096)" },
    { "grace", NUMBER, AT(grace_s), 0, 86400, "SECONDS", "time for running calls at the end (default 10)" },
    { "keep-days", NUMBER, AT(keep_days), 1, 36500, "N", "keep finished calls so long (default 90)" },
    { "keep-calls", NUMBER, AT(keep_calls), 1, UINT64_C(1) << 40, "N", "and at most so many (default 1000000)" },
    { "cim-rate", TEXT, AT(cim_rate), 0, 0, "N/SECONDS", "requests of a token to /cim (default 100/60)" },
    { "cim-generators", TEXT, AT(cim_generators), 0, 0, "MODE",
      "unknown number generators: create (default) or strict" },
    { "cim-chunk-size", SIZE, AT(cim_chunk_size), 1, UINT64_C(1) << 40, "SIZE", "chunk of an upload (default 64M)" },
    { "cim-lock-timeout", NUMBER, AT(cim_lock_timeout_s), 1, 31536000, "SECONDS",
      "drop an upload silent for so long (default 900)" },
    { "log-level", TEXT, AT(log_level), 0, 0, "LEVEL", "debug, info, warn, error or off (default warn)" },
    { "json", FLAG, AT(json), 0, 0, "", "say where it listens as one line of JSON" },
    { "version", FLAG, AT(version), 0, 0, "", "print the version" },
    { "help", FLAG, AT(help), 0, 0, "", "print this" },
#undef AT
};
enum { COUNT = sizeof table / sizeof table[0] };

static enum peri_code set_number(uint64_t *field, size_t index, const char *text, struct peri_error *err)
{
    uint64_t value = 0;
    if (!peri_number_parse(text, table[index].max, &value) || value < table[index].min)
        return peri_error_set(err, PERI_INVALID, "--%s must be a number from %" PRIu64 " to %" PRIu64 ", not '%.60s'",
                              table[index].name, table[index].min, table[index].max, text);
    *field = value;
    return PERI_OK;
}

static enum peri_code set_size(uint64_t *field, size_t index, const char *text, struct peri_error *err)
{
    uint64_t value = 0;
    if (!peri_size_parse(text, &value))
        return peri_error_set(err, PERI_INVALID, "--%s must be a size such as 65536, 64K, 256M or 1G, not '%.60s'",
                              table[index].name, text);
    if (value < table[index].min || value > table[index].max)
        return peri_error_set(err, PERI_INVALID, "--%s must be from %" PRIu64 " to %" PRIu64 " bytes, not %" PRIu64,
                              table[index].name, table[index].min, table[index].max, value);
    *field = value;
    return PERI_OK;
}

static enum peri_code set_option(struct gateway_options *out, size_t index, const char *text, struct peri_error *err)
{
    char *field = (char *)out + table[index].offset;
    switch (table[index].kind) {
    case NUMBER:
        return set_number((uint64_t *)(void *)field, index, text, err);
    case SIZE:
        return set_size((uint64_t *)(void *)field, index, text, err);
    case FLAG:
        *(bool *)field = true;
        return PERI_OK;
    case TEXT:
        if (text[0] == '\0')
            return peri_error_set(err, PERI_INVALID, "--%s must not be empty", table[index].name);
        *(const char **)(void *)field = text;
        return PERI_OK;
    }
    return PERI_OK;
}

/* "100/60" */
static bool parse_rate(const char *text, uint64_t *requests, uint64_t *window_s)
{
    char first[16];
    size_t len = strcspn(text, "/");
    if (text[len] == '\0' || len >= sizeof first)
        return false;
    snprintf(first, sizeof first, "%.*s", (int)len, text);
    return peri_number_parse(first, PERI_RATELIMIT_MAX, requests) && *requests > 0 &&
           peri_number_parse(text + len + 1, 86400, window_s) && *window_s > 0;
}

/* RFC 6750's b64token: what can stand behind "Bearer ". */
static bool good_token(const char *token)
{
    size_t len = strspn(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/");
    return len > 0 && token[len + strspn(token + len, "=")] == '\0';
}

enum peri_code gateway_options_parse(int argc, char **argv, struct gateway_options *out, struct peri_error *err)
{
    struct option longs[COUNT + 1] = { 0 };
    *out = (struct gateway_options){ .host = "127.0.0.1",
                                     .port = 8700,
                                     .timeout_s = 600,
                                     .watchdog_s = 5,
                                     .queue_limit = 100000,
                                     .max_connections = 4096,
                                     .grace_s = 10,
                                     .keep_days = 90,
                                     .keep_calls = 1000000,
                                     .cim_rate = "100/60",
                                     .cim_generators = "create",
                                     .cim_chunk_size = UINT64_C(64) << 20,
                                     .cim_lock_timeout_s = 900,
                                     .memory = UINT64_C(256) << 20,
                                     .body_limit = UINT64_C(64) << 20 };
    for (size_t i = 0; i < COUNT; i++) {
        longs[i].name = table[i].name;
        longs[i].has_arg = table[i].kind == FLAG ? no_argument : required_argument;
        longs[i].val = 1000 + (int)i;
    }
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":", longs, NULL)) != -1;) {
        if (c == ':')
            return peri_error_set(err, PERI_INVALID, "option %.60s needs a value", argv[optind - 1]);
        if (c < 1000)
            return peri_error_set(err, PERI_INVALID, "unknown option '%.60s' (--help lists them)", argv[optind - 1]);
        if (set_option(out, (size_t)(c - 1000), optarg, err) != PERI_OK)
            return PERI_INVALID;
    }
    if (optind < argc)
        return peri_error_set(err, PERI_INVALID, "unexpected argument '%.60s' (--help lists the options)",
                              argv[optind]);
    if (out->token != NULL && !good_token(out->token))
        return peri_error_set(err, PERI_INVALID, "--token may hold letters, digits and -._~+/ with = at its end");
    if (!parse_rate(out->cim_rate, &out->cim_requests, &out->cim_window_s))
        return peri_error_set(err, PERI_INVALID,
                              "--cim-rate must be REQUESTS/SECONDS such as 100/60, up to %d/86400, not '%.60s'",
                              PERI_RATELIMIT_MAX, out->cim_rate);
    if (strcmp(out->cim_generators, "create") != 0 && strcmp(out->cim_generators, "strict") != 0)
        return peri_error_set(err, PERI_INVALID, "--cim-generators must be create or strict, not '%.60s'",
                              out->cim_generators);
    if (out->log_level != NULL && peri_log_level_parse(out->log_level) < 0)
        return peri_error_set(err, PERI_INVALID, "--log-level must be debug, info, warn, error or off, not '%.60s'",
                              out->log_level);
    return PERI_OK;
}

void gateway_options_help(void)
{
    printf("usage: perilune host [options]\n\nRuns Lua functions on this machine and answers over HTTP.\n\n");
    for (size_t i = 0; i < COUNT; i++) {
        char left[48];
        snprintf(left, sizeof left, "--%s %s", table[i].name, table[i].value);
        printf("  %-24s %s\n", left, table[i].help);
    }
}
