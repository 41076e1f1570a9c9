/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "rt.h"

/* Tracebacks of handlers: their own files only, without what called them and without the library's own Lua files. */

#define TRACE_HEAD 12
#define TRACE_TAIL 10
#define TRACE_DEEP 60

static bool is_own(const lua_Debug *ar)
{
    return strcmp(ar->what, "C") != 0 && strncmp(ar->source, "@perilune/", strlen("@perilune/")) != 0 &&
           strcmp(ar->source, "@perilune.lua") != 0;
}

static void append_frame(lua_Debug *ar, struct peri_buf *out)
{
    peri_buf_printf(out, "\n\t%s:", ar->short_src);
    if (ar->currentline > 0) {
        peri_buf_printf(out, "%d:", ar->currentline);
    }
    if (strcmp(ar->what, "main") == 0) {
        peri_buf_append_text(out, " in main chunk");
    } else if (ar->namewhat[0]) {
        peri_buf_printf(out, " in %s '%s'", ar->namewhat, ar->name);
    } else {
        peri_buf_printf(out, " in function <%s:%d>", ar->short_src, ar->linedefined);
    }
    if (ar->istailcall) {
        peri_buf_append_text(out, "\n\t(...tail calls...)");
    }
}

/* lua_getstack walks the list of frames: a search, so that a deep recursion costs no quadratic time. */
static int last_level(lua_State *L)
{
    lua_Debug ar;
    int low = 1, high = 1;
    while (lua_getstack(L, high, &ar)) {
        low = high;
        high *= 2;
    }
    while (low < high) {
        int middle = (low + high) / 2;
        if (lua_getstack(L, middle, &ar)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return high - 1;
}

static bool append_level(lua_State *L, int level, struct peri_buf *out)
{
    lua_Debug ar;
    if (!lua_getstack(L, level, &ar)) {
        return false;
    }
    lua_getinfo(L, "S", &ar);
    if (!is_own(&ar)) {
        return false;
    }
    if (out->len == 0) {
        peri_buf_append_text(out, "stack traceback:");
    }
    lua_getinfo(L, "Slnt", &ar);
    append_frame(&ar, out);
    return true;
}

void peri__trace(lua_State *L, struct peri_buf *out)
{
    int last = last_level(L);
    int level = 0;
    bool deep = last > TRACE_DEEP;
    for (int shown = 0; level <= last && (!deep || shown < TRACE_HEAD); level++) {
        shown += append_level(L, level, out);
    }
    if (level < last - TRACE_TAIL) {
        peri_buf_printf(out, "\n\t...\t(%d levels left out)", last - TRACE_TAIL - level + 1);
        level = last - TRACE_TAIL + 1;
    }
    for (; level <= last; level++) {
        append_level(L, level, out);
    }
}
