/* SPDX-License-Identifier: MIT */
#include "rt.h"

/* A call whose input is a CIM Database Cloud event: lua/perilune/cim/event.lua reads the request, calls the handler
 * and makes the response. */

/* Results: false and a sentence when the request is bad, else as a handler's. */
static int event_done(lua_State *L, int status, lua_KContext context)
{
    struct rt_task *task = (struct rt_task *)context;
    (void)status;
    if (lua_isboolean(L, 1)) {
        peri__outcome_set(task, PERI_BAD_REQUEST, "%s", lua_tostring(L, 2));
        return 0;
    }
    return peri__call_finish(L, LUA_OK, context);
}

/* Stack: handler, ctx, the module's function. */
static int module_loaded(lua_State *L, int status, lua_KContext context)
{
    const struct rt_task *task = (struct rt_task *)context;
    (void)status;
    lua_insert(L, 1);
    lua_pushlstring(L, task->body.data, task->body.len);
    lua_callk(L, 3, 2, context, event_done);
    return event_done(L, LUA_OK, context);
}

int peri__event_main(lua_State *L, struct rt_task *task)
{
    peri__require(L, "perilune.cim.event", (lua_KContext)task, module_loaded);
    return module_loaded(L, LUA_OK, (lua_KContext)task);
}
