/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_HEAP_H
#define CORE_HOST_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "perilune/error.h"

/* What is due when: the earliest first, by a binary heap. Items are embedded in what they stand for. Zeroed memory is
 * an empty heap. */
struct peri__due {
    int64_t at_ms;
    size_t place; /* from 1; 0: not in the heap */
};
struct peri__heap {
    struct peri__due **items;
    size_t count, cap;
};
void peri__heap_fini(struct peri__heap *heap);
/* Puts the item in, or moves it. PERI_NOMEM. */
enum peri_code peri__heap_set(struct peri__heap *heap, struct peri__due *due, int64_t at_ms);
void peri__heap_remove(struct peri__heap *heap, struct peri__due *due); /* a no-op when it is not there */
struct peri__due *peri__heap_first(const struct peri__heap *heap);      /* NULL: empty */

#endif
