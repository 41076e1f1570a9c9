/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SUPPORT_GATEWAY_H
#define TESTS_SUPPORT_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <jansson.h>

#include "support/raw_http.h"

/* The real gateway program with a data folder of its own. */
struct gateway {
    pid_t pid;
    char data[64];
    unsigned port;
    char token[128];
};

/* options: more arguments, NULL at the end; may be NULL. Keeps the data folder of an earlier start. false: it did not
 * start. */
bool gateway_start(struct gateway *gateway, const char *build_dir, const char *const *options);
/* Ends it with SIGTERM and returns its exit status. */
int gateway_stop(struct gateway *gateway);
void gateway_remove(struct gateway *gateway); /* its data folder */
/* Runs it to its end: exit status; stdout and stderr together in out. */
int gateway_run(const char *build_dir, const char *const *options, char *out, size_t size);

/* A request with the token. body may be NULL; content_type may be NULL. */
struct raw_reply gateway_ask(const struct gateway *gateway, const char *method, const char *path,
                             const char *content_type, const char *body);
/* The same, for JSON in and out: fails the test on another status. Owned (json_decref); NULL for an empty answer. */
json_t *gateway_json(const struct gateway *gateway, int status, const char *method, const char *path, const char *body);

/* A zip of one stored file, owned (free). */
char *stored_zip(const char *name, const char *content, size_t *len);
/* Deploys one handler.lua through the host's own door and returns the function. */
json_t *gateway_deploy(const struct gateway *gateway, int status, const char *name, const char *code);

#endif
