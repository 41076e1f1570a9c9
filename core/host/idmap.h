/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_IDMAP_H
#define CORE_HOST_IDMAP_H

#include <stddef.h>
#include <stdint.h>

#include "perilune/error.h"

/* Ids (never 0) to pointers: open addressing, linear probing. Zeroed memory is an empty map. */
struct peri__idmap_slot {
    uint64_t id;
    void *value;
};
struct peri__idmap {
    struct peri__idmap_slot *slots;
    size_t cap, count;
};
void peri__idmap_fini(struct peri__idmap *map);
/* Replaces an earlier value. PERI_NOMEM leaves the map as it was. */
enum peri_code peri__idmap_put(struct peri__idmap *map, uint64_t id, void *value);
void *peri__idmap_get(const struct peri__idmap *map, uint64_t id);
/* The value that was there, or NULL. */
void *peri__idmap_remove(struct peri__idmap *map, uint64_t id);
/* Walks in no order: start with *at 0; NULL at the end. The map must not change on the way. */
void *peri__idmap_next(const struct peri__idmap *map, size_t *at);

#endif
