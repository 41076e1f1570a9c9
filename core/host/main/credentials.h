/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_MAIN_CREDENTIALS_H
#define CORE_HOST_MAIN_CREDENTIALS_H

#include "perilune/error.h"

#define TOKEN_SIZE 43

/* What is kept in DIR/credentials.json. Owned. */
struct credentials {
    char *token;      /* of the host */
    char *cim_secret; /* with which events are signed */
};
void credentials_fini(struct credentials *credentials);
/* What an earlier start has kept, and new ones for the rest. */
enum peri_code credentials_load(const char *path, struct credentials *out, struct peri_error *err);
/* Replaces the file at once, mode 0600: {"url", "token", "cim_secret"}. */
enum peri_code credentials_write(const char *path, const char *url, const struct credentials *credentials,
                                 struct peri_error *err);
/* A secret that the owner of the host chose, in a file of its own: its only line. Owned. */
enum peri_code credentials_read_secret(const char *path, char **secret, struct peri_error *err);

#endif
