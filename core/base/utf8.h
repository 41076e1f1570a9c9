/* SPDX-License-Identifier: MIT */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>

/* The bytes of the well-formed UTF-8 sequence at s (len is at least 1): 1 to 4; 0 when there is none: *bad, which may
 * be NULL, then says how many bytes to skip as one error (the maximal subpart, Unicode 15 section 3.9). */
int peri__utf8_length(const char *s, size_t len, int *bad);

#endif
