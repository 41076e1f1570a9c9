/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_MAIN_CREDENTIALS_H
#define CORE_HOST_MAIN_CREDENTIALS_H

#include "perilune/error.h"

#define TOKEN_SIZE 43

/* The token of an earlier start from DIR/credentials.json, or a new one when there is no such file. Owned (free). */
enum peri_code credentials_token(const char *path, char **token, struct peri_error *err);
/* Replaces the file at once, mode 0600: {"url", "token"}. */
enum peri_code credentials_write(const char *path, const char *url, const char *token, struct peri_error *err);

#endif
