/* SPDX-License-Identifier: MIT */
#ifndef BINDINGS_LPERI_H
#define BINDINGS_LPERI_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "perilune/buf.h"
#include "perilune/error.h"
#include "perilune/loop.h"
#include "perilune/op.h"

/* What the files of the Lua binding share. */

/* perilune.core's loader: everything that needs C. Visible, since Lua looks it up by name in the module. */
PERI_API int luaopen_perilune_core(lua_State *L);

/* ---- json.c: bytes <-> Lua values, without a tree between ---- */

/* Decodes a whole text and pushes the value: null is light userdata NULL (as cjson.null), integers stay integers,
 * arrays are tables with the metatable of peri_lua_array. convert_depth: object keys at that nesting depth (1 = the top)
 * go from camelCase to snake_case; bit mask, bit 0 = depth 1. Returns PERI_OK with one value pushed, else nothing is
 * pushed and err has line and column. May raise "not enough memory". */
enum peri_code peri_lua_json_decode(lua_State *L, struct peri_str text, unsigned convert_depths,
                                    struct peri_error *err);
/* Appends the value at index. Refuses, naming the path ("rows[3].callback: can't encode a function"): functions,
 * threads, other userdata, NaN, infinities, cycles (depth over 128), mixed or sparse tables, keys that are neither all
 * strings nor 1..n; bytes that are not UTF-8 in strings. An empty table is {}, unless it has the array metatable or one
 * with a true field __array. */
enum peri_code peri_lua_json_encode(lua_State *L, int index, struct peri_buf *out, struct peri_error *err);
/* Pushes the metatable that marks arrays. */
void peri_lua_array(lua_State *L);

/* ---- error.c ---- */

/* Pushes a table {code, message, status, ...} whose __tostring is readable; fields in error.c. */
void peri_lua_push_error(lua_State *L, const struct peri_error *err);
/* Pushes nil and the error: the two results of a failure. Returns 2. */
int peri_lua_fail(lua_State *L, const struct peri_error *err);

/* ---- loop.c: how a Lua state waits ---- */

/* A plain script blocks: waiting drives the loop. A handler in a sandbox yields: the sandbox installs these before it
 * opens perilune.core in a state. `block` is called from C code that waits for `ready(current)` or for timeout_ms (-1:
 * without end): either it returns once that may have happened (the caller looks again, so early is harmless), or it
 * yields with continuation k, which looks again. */
struct peri_lua_waiter {
    struct peri_loop *loop; /* the loop that all operations of this state use; borrowed */
    int (*block)(lua_State *L, struct peri_lua_waiter *waiter, int64_t timeout_ms, lua_KContext ctx, lua_KFunction k);
    /* An operation that is waited for needs attention. May come from within a libcurl callback: note it, run no Lua. */
    void (*ready)(struct peri_lua_waiter *waiter, void *waiting);
    /* Identity of who is waiting now (given back to ready); a sandbox answers with its running call. It may be given
     * back after that call has ended: something that can be looked up is better than a bare pointer. */
    void *(*current)(struct peri_lua_waiter *waiter, lua_State *L);
    void *data;
};
/* Stores the waiter (borrowed; outlives L) in L's registry. Without one, the first use makes a blocking one. */
void peri_lua_set_waiter(lua_State *L, struct peri_lua_waiter *waiter);
struct peri_lua_waiter *peri_lua_get_waiter(lua_State *L);

#endif
