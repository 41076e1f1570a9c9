/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_MAIN_OPTIONS_H
#define CORE_HOST_MAIN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "perilune/error.h"

/* The command line of the gateway. Texts are borrowed from argv. */
struct gateway_options {
    const char *host, *data, *token, *cim_secret_file, *log_level;
    uint64_t port, sandboxes, timeout_s, watchdog_s, queue_limit, max_connections, grace_s, keep_days, keep_calls;
    uint64_t memory, body_limit, cim_chunk_size, cim_lock_timeout_s;
    const char *cim_generators, *cim_rate;
    uint64_t cim_requests, cim_window_s; /* what cim_rate says */
    bool json, version, help;
};

/* PERI_INVALID with one sentence. */
enum peri_code gateway_options_parse(int argc, char **argv, struct gateway_options *out, struct peri_error *err);
void gateway_options_help(void); /* on stdout */

#endif
