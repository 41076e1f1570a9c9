/* SPDX-License-Identifier: MIT */
#include "object.h"

/* Many operations, waited for together: those that need attention queue up here, and Lua takes them. User value 1 holds,
 * by reference, what stands for each operation and keeps it alive while it is watched. */

static struct peri_lua_queue *check_queue(lua_State *L)
{
    struct peri_lua_queue *self = peri__check(L, 1, PERI_TYPE_QUEUE);
    luaL_argcheck(L, self->open, 1, "the queue is closed");
    return self;
}

static struct peri_lua_op *op_of_link(struct peri_link *link)
{
    return (struct peri_lua_op *)(void *)((char *)link - offsetof(struct peri_lua_op, of_queue));
}

static void forget_all(struct peri_link *head)
{
    while (head->next != head) {
        op_of_link(head->next)->queue = NULL;
        peri__link_remove(head->next);
    }
}

static int queue_close(lua_State *L)
{
    struct peri_lua_queue *self = peri__check(L, 1, PERI_TYPE_QUEUE);
    if (self->open) {
        self->open = false;
        forget_all(&self->pending);
        forget_all(&self->ready);
        peri__live_add(-1);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, 1);
    }
    return 0;
}

static int queue_tostring(lua_State *L)
{
    struct peri_lua_queue *self = peri__check(L, 1, PERI_TYPE_QUEUE);
    lua_pushfstring(L, PERI_LUA_QUEUE " (%s)", self->open ? "open" : "closed");
    return 1;
}

static void push_taken(lua_State *L, struct peri_lua_op *op)
{
    peri__link_remove(&op->of_queue);
    op->queue = NULL;
    if (op->queue_ref == LUA_NOREF) {
        lua_pushinteger(L, op->queue_number);
        return;
    }
    lua_getiuservalue(L, 1, 1);
    lua_rawgeti(L, -1, op->queue_ref);
    luaL_unref(L, -2, op->queue_ref);
}

/* queue:add(op[, value]): the value (default: the op itself) comes out of wait() once, when the op needs attention. A
 * value must keep the op alive; an integer, which is cheaper, leaves that to the caller. */
static int queue_add(lua_State *L)
{
    struct peri_lua_queue *self = check_queue(L);
    struct peri_lua_op *op = peri__check(L, 2, PERI_TYPE_OP);
    luaL_argcheck(L, !op->queue || op->queue == self, 2, "the operation is in another queue");
    lua_settop(L, 3);
    if (op->queue) {
        push_taken(L, op);
        lua_settop(L, 3);
    }
    op->queue_ref = LUA_NOREF;
    if (lua_isinteger(L, 3)) {
        op->queue_number = lua_tointeger(L, 3);
    } else {
        lua_getiuservalue(L, 1, 1);
        lua_pushvalue(L, lua_isnil(L, 3) ? 2 : 3);
        op->queue_ref = luaL_ref(L, -2);
    }
    peri__link_add(peri__op_needs_attention(op) ? &self->ready : &self->pending, &op->of_queue);
    op->queue = self;
    return 0;
}

/* queue:remove(op): it does not come out any more. */
static int queue_remove(lua_State *L)
{
    struct peri_lua_queue *self = check_queue(L);
    struct peri_lua_op *op = peri__check(L, 2, PERI_TYPE_OP);
    if (op->queue == self) {
        push_taken(L, op);
    }
    return 0;
}

static int wait_more(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    for (;;) {
        struct peri_lua_queue *self = check_queue(L);
        if (self->ready.next != &self->ready) {
            self->wait.active = false;
            push_taken(L, op_of_link(self->ready.next));
            return 1;
        }
        bool empty = self->pending.next == &self->pending;
        if ((empty && deadline < 0) || !peri__wait_round(L, &self->wait, (int64_t)deadline, wait_more)) {
            lua_pushnil(L);
            return 1;
        }
    }
}

/* queue:wait([seconds]): what stands for the next operation that needs attention; nil when the time is over, or would
 * never be since no operation is in the queue. */
static int queue_wait(lua_State *L)
{
    struct peri_lua_queue *self = check_queue(L);
    int64_t deadline = peri__wait_deadline(L, 2, self->wait.waiter);
    return wait_more(L, LUA_OK, (lua_KContext)deadline);
}

int peri__queue_new(lua_State *L)
{
    struct peri_lua_waiter *waiter = peri_lua_get_waiter(L);
    struct peri_lua_queue *self = peri__object(L, PERI_TYPE_QUEUE, sizeof *self, 1);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    peri__link_init(&self->pending);
    peri__link_init(&self->ready);
    self->wait.waiter = waiter;
    self->open = true;
    peri__live_add(1);
    return 1;
}

void peri__queue_define(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "add", queue_add }, { "remove", queue_remove }, { "wait", queue_wait }, { NULL, NULL }
    };
    peri__define(L, PERI_TYPE_QUEUE, methods, queue_close, queue_tostring);
}
