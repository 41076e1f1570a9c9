/* SPDX-License-Identifier: MIT */
#include "host/idmap.h"

#include <stdlib.h>

static size_t slot_of(const struct peri__idmap *map, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (map->cap - 1);
}

static void place(struct peri__idmap *map, uint64_t id, void *value)
{
    size_t i = slot_of(map, id);
    while (map->slots[i].id && map->slots[i].id != id)
        i = (i + 1) & (map->cap - 1);
    if (!map->slots[i].id)
        map->count++;
    map->slots[i] = (struct peri__idmap_slot){ id, value };
}

static enum peri_code grow(struct peri__idmap *map)
{
    struct peri__idmap bigger = { .cap = map->cap ? map->cap * 2 : 64 };
    bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots)
        return PERI_NOMEM;
    for (size_t i = 0; i < map->cap; i++)
        if (map->slots[i].id)
            place(&bigger, map->slots[i].id, map->slots[i].value);
    free(map->slots);
    *map = bigger;
    return PERI_OK;
}

void peri__idmap_fini(struct peri__idmap *map)
{
    free(map->slots);
    *map = (struct peri__idmap){ 0 };
}

enum peri_code peri__idmap_put(struct peri__idmap *map, uint64_t id, void *value)
{
    if ((map->count + 1) * 4 > map->cap * 3) {
        enum peri_code code = grow(map);
        if (code)
            return code;
    }
    place(map, id, value);
    return PERI_OK;
}

void *peri__idmap_get(const struct peri__idmap *map, uint64_t id)
{
    if (!map->count || !id)
        return NULL;
    for (size_t i = slot_of(map, id); map->slots[i].id; i = (i + 1) & (map->cap - 1))
        if (map->slots[i].id == id)
            return map->slots[i].value;
    return NULL;
}

void *peri__idmap_remove(struct peri__idmap *map, uint64_t id)
{
    if (!map->count || !id)
        return NULL;
    size_t mask = map->cap - 1, i = slot_of(map, id);
    while (map->slots[i].id != id) {
        if (!map->slots[i].id)
            return NULL;
        i = (i + 1) & mask;
    }
    void *value = map->slots[i].value;
    /* Close the gap: whatever probed past it moves up. */
    for (size_t j = (i + 1) & mask; map->slots[j].id; j = (j + 1) & mask) {
        size_t home = slot_of(map, map->slots[j].id);
        if (((j - home) & mask) >= ((j - i) & mask)) {
            map->slots[i] = map->slots[j];
            i = j;
        }
    }
    map->slots[i] = (struct peri__idmap_slot){ 0 };
    map->count--;
    return value;
}

void *peri__idmap_next(const struct peri__idmap *map, size_t *at)
{
    while (*at < map->cap) {
        const struct peri__idmap_slot *slot = &map->slots[(*at)++];
        if (slot->id)
            return slot->value;
    }
    return NULL;
}
