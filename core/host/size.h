/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_SIZE_H
#define CORE_HOST_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* "65536", "64K", "256M", "1G" (powers of 1024; small letters and a final B or iB are fine) as bytes. */
bool peri_size_parse(const char *text, uint64_t *out);
/* A decimal integer without sign or blanks, at most max. */
bool peri_number_parse(const char *text, uint64_t max, uint64_t *out);

#endif
