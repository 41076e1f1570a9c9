/* SPDX-License-Identifier: MIT */
#include "host/heap.h"

#include <stdlib.h>

void peri__heap_fini(struct peri__heap *heap)
{
    free(heap->items);
    *heap = (struct peri__heap){ 0 };
}

static void put(struct peri__heap *heap, size_t place, struct peri__due *due)
{
    heap->items[place - 1] = due;
    due->place = place;
}

static struct peri__due *get(const struct peri__heap *heap, size_t place)
{
    return heap->items[place - 1];
}

static void sift(struct peri__heap *heap, struct peri__due *due)
{
    size_t place = due->place;
    for (; place > 1 && get(heap, place / 2)->at_ms > due->at_ms; place /= 2)
        put(heap, place, get(heap, place / 2));
    for (size_t child; (child = place * 2) <= heap->count; place = child) {
        if (child < heap->count && get(heap, child + 1)->at_ms < get(heap, child)->at_ms)
            child++;
        if (get(heap, child)->at_ms >= due->at_ms)
            break;
        put(heap, place, get(heap, child));
    }
    put(heap, place, due);
}

enum peri_code peri__heap_set(struct peri__heap *heap, struct peri__due *due, int64_t at_ms)
{
    if (!due->place && heap->count == heap->cap) {
        size_t cap = heap->cap ? heap->cap * 2 : 64;
        struct peri__due **bigger = realloc(heap->items, cap * sizeof(struct peri__due *));
        if (!bigger)
            return PERI_NOMEM;
        heap->items = bigger;
        heap->cap = cap;
    }
    due->at_ms = at_ms;
    if (!due->place)
        put(heap, ++heap->count, due);
    sift(heap, due);
    return PERI_OK;
}

void peri__heap_remove(struct peri__heap *heap, struct peri__due *due)
{
    if (!due->place)
        return;
    struct peri__due *last = get(heap, heap->count--);
    if (last != due) {
        put(heap, due->place, last);
        sift(heap, last);
    }
    due->place = 0;
}

struct peri__due *peri__heap_first(const struct peri__heap *heap)
{
    return heap->count ? heap->items[0] : NULL;
}
