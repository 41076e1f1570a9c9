/* SPDX-License-Identifier: MIT */
#ifndef BINDINGS_JSON_H
#define BINDINGS_JSON_H

#include "lperi.h"

/* What the halves of the JSON codec share. */

#define PERI_JSON_DECODE_DEPTH 512
#define PERI_JSON_ENCODE_DEPTH 128

/* Room that any number written by peri__json_write_integer or peri__json_write_real needs. */
#define PERI_JSON_NUMBER_TEXT 40

/* Write decimal text without a NUL and return its end. A real gets the shortest digits that read back equal, and
 * always a point or an exponent; x must be finite. */
char *peri__json_write_integer(char *out, lua_Integer value);
char *peri__json_write_real(char *out, double x);

/* m * 10^exponent, correctly rounded. False: not decided here, use strtod. */
bool peri__json_make_real(uint64_t m, int exponent, double *out);

/* Length of the longest prefix that needs no attention in a JSON string: printable ASCII but '"' and '\'. */
size_t peri__json_plain(const char *p, size_t len);
/* Length of the UTF-8 sequence at p (lead byte >= 0x80); 0 when it is none. */
size_t peri__utf8_sequence(const unsigned char *p, size_t len);

/* What a Lua state keeps for its next encoding and decoding. */
#define PERI_JSON_HINTS 16 /* depths whose object sizes are remembered */
struct peri_json_kept {
    struct peri_buf text;                 /* one is enough, since encoding runs no Lua code */
    unsigned char hints[PERI_JSON_HINTS]; /* members of the last object at this depth, as far as it is worth it */
};
struct peri_json_kept *peri__json_kept(lua_State *L);
/* The state's own output buffer, emptied. */
struct peri_buf *peri__json_scratch(lua_State *L);

/* core.json_encode, core.json_decode. */
int peri__json_encode(lua_State *L);
int peri__json_decode(lua_State *L);

#endif
