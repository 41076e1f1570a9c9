/* SPDX-License-Identifier: MIT */
#ifndef BINDINGS_JSON_DECODE_H
#define BINDINGS_JSON_DECODE_H

#include "json.h"

/* One decoding under way: shared by json_decode.c and json_string.c. */

#define KEYS 64        /* entries of the key cache */
#define KEY_MAX 24     /* longest key that is cached */
#define CACHE_FROM 512 /* size of a text that makes the cache worth its setup */
#define HINT_MAX 64    /* largest size that is remembered within a text */
#define HINT_KEPT 16   /* and from one text to the next */

struct peri_json_key {
    const char *text; /* of the string at stack index decoder.keys + i */
    size_t len;
};

struct peri_json_decoder {
    lua_State *L;
    const char *begin, *p, *end;
    struct peri_error *err;
    const char *what; /* of a failure; its place is p */
    unsigned convert;
    int depth;
    int array_mt; /* stack index */
    int scratch;  /* stack index of a userdata that grows; nil at first */
    char *scratch_data;
    size_t scratch_size;
    int keys; /* stack index of the key cache; 0: none */
    int slots;
    unsigned char hints[PERI_JSON_HINTS]; /* members of the last object at this depth; at first: of the last text */
    struct peri_json_key cache[KEYS];
};

/* Notes a failure at p; false. */
bool peri__json_fail_at(struct peri_json_decoder *d, const char *p, const char *what);
/* Makes the scratch hold `need` bytes, keeping the first `used`. */
void peri__json_scratch_reserve(struct peri_json_decoder *d, size_t used, size_t need);
/* The string whose opening quote d->p is at; out borrows from the text or from the scratch. */
bool peri__json_string(struct peri_json_decoder *d, struct peri_str *out);

#endif
