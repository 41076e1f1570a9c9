/* SPDX-License-Identifier: MIT */
#include "lperi.h"

/* The loadable module `perilune.core` is the binding's static library: naming its loader here links it in. */
static const lua_CFunction loader __attribute__((used)) = luaopen_perilune_core;
