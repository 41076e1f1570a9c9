/* SPDX-License-Identifier: MIT */
#ifndef BINDINGS_RUNTIME_H
#define BINDINGS_RUNTIME_H

#include <lauxlib.h>

#include "perilune/frame.h"
#include "perilune/loop.h"
#include "perilune/runtime.h"

/* Handlers written in Lua, run in this process: what perilune-sandbox is made of, and what a C program embeds to run
 * handlers without a network. One Lua state per loaded version; a call is a coroutine of it. Everything happens on the
 * loop's thread; the runtime takes turns in the loop, so run it (peri_loop_run_once, or uv_run of a wrapped loop).
 *
 * It uses one real-time signal (SIGRTMIN + 7) and a timer of the thread while handlers run. */

struct peri_lua_runtime_options {
    const char *library;            /* folder of perilune.lua and perilune/ for `require`; NULL: none; copied */
    const luaL_Reg *modules;        /* further C modules for `require`, ended by {NULL, NULL}; borrowed; may be NULL */
    struct peri_sandbox_page *page; /* written while calls run; NULL: none; borrowed */
    size_t response_limit;          /* 0: 16 MiB */
    size_t package_limit;           /* unpacked bytes of one file of a package; 0: 16 MiB */
};

/* free (runtime->kind->free) ends what still runs, without events. The loop must outlive the runtime and must turn once
 * more, or be freed, afterwards. */
enum peri_code peri_lua_runtime_new(struct peri_loop *loop, const struct peri_lua_runtime_options *options,
                                    const struct peri_runtime_events *events, struct peri_runtime **out,
                                    struct peri_error *err);
/* What a gateway says at the start (PERI_FRAME_START); both copied. Without it handlers have no ctx.service. */
void peri_lua_runtime_start(struct peri_runtime *runtime, struct peri_str key, struct peri_str service_url);

struct peri_lua_runtime_stats {
    unsigned versions;    /* loaded */
    unsigned states;      /* Lua states that exist */
    unsigned tasks;       /* calls and loads that have not ended */
    uint64_t slices;      /* turns given to calls */
    uint64_t preemptions; /* turns taken away */
    uint64_t hooks;       /* times that a hook was armed */
    size_t lua_bytes;     /* memory of all states */
};
void peri_lua_runtime_stats(const struct peri_runtime *runtime, struct peri_lua_runtime_stats *stats);

#endif
