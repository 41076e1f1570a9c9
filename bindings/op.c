/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "object.h"

/* A pending result. It needs attention when it is done, or when a body made or taken piece by piece waits for Lua; then
 * whoever waits for it, or for the queue it is in, is woken. */

static struct peri_lua_op *check_op(lua_State *L)
{
    return peri__check(L, 1, PERI_TYPE_OP);
}

static const char *attention(const struct peri_lua_op *self)
{
    if (self->sink.bytes.len > 0) {
        return "data";
    }
    if (self->tells && self->total > 0 && self->sent > self->told) {
        return "progress";
    }
    if (self->source.wanted && self->source.reader) {
        return "more";
    }
    return !self->op || peri_op_done(self->op) ? "done" : NULL;
}

bool peri__op_needs_attention(const struct peri_lua_op *self)
{
    return attention(self) != NULL;
}

void peri__op_notify(struct peri_lua_op *self)
{
    if (self->queue) {
        peri__link_remove(&self->of_queue);
        peri__link_add(&self->queue->ready, &self->of_queue);
        peri__wait_ready(&self->queue->wait);
    }
    peri__wait_ready(&self->wait);
}

static void on_done(void *data, struct peri_op *op)
{
    (void)op;
    peri__op_notify(data);
}

void peri__op_progress(void *data, int64_t sent, int64_t received)
{
    struct peri_lua_op *self = data;
    self->sent = sent;
    self->received = received;
}

/* A thousand steps are enough to see it move; the last one is always told. */
void peri__op_uploaded(void *data, int64_t sent, int64_t total)
{
    struct peri_lua_op *self = data;
    int64_t step = total / 1000;
    if (sent - self->sent < step && sent < total) {
        return;
    }
    self->sent = sent;
    self->total = total;
    if (self->tells) {
        peri__op_notify(self);
    }
}

static void make_empty(struct peri_lua_op *self, struct peri_lua_waiter *waiter)
{
    self->wait.waiter = waiter;
    self->closed = "the operation was not started";
    peri_headers_init(&self->request_headers);
}

struct peri_lua_op *peri__op_push(lua_State *L, struct peri_lua_waiter *waiter)
{
    struct peri_lua_op *self = peri__object(L, PERI_TYPE_OP, sizeof *self, 2);
    make_empty(self, waiter);
    return self;
}

struct peri_lua_op *peri__op_push_of(lua_State *L, struct peri_lua_client *client)
{
    if (client->spares > 0) {
        lua_getiuservalue(L, 1, PERI_CLIENT_SPARES);
        lua_rawgeti(L, -1, client->spares);
        lua_pushnil(L);
        lua_rawseti(L, -3, client->spares--);
        lua_replace(L, -2);
        return lua_touserdata(L, -1);
    }
    struct peri_lua_op *self = peri__op_push(L, client->waiter);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, PERI_OP_PARENT);
    return self;
}

/* Gives the closed op at index 1 back to its client, empty, as peri__op_push makes it. */
static void spare(lua_State *L, struct peri_lua_op *self)
{
    lua_getiuservalue(L, 1, PERI_OP_PARENT);
    struct peri_lua_client *client = lua_touserdata(L, -1);
    if (client && client->client && client->spares < PERI_LUA_SPARES && !self->queue) {
        lua_pushnil(L);
        lua_setiuservalue(L, 1, PERI_OP_ANCHORS);
        struct peri_lua_object object = self->object;
        memset(self, 0, sizeof *self);
        self->object = object;
        make_empty(self, client->waiter);
        lua_getiuservalue(L, -1, PERI_CLIENT_SPARES);
        lua_pushvalue(L, 1);
        lua_rawseti(L, -2, client->spares + 1);
        client->spares++;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void peri__op_start(struct peri_lua_op *self, struct peri_op *op, struct peri_lua_client *client)
{
    self->op = op;
    self->closed = NULL;
    peri__live_add(1);
    peri_op_on_done(op, on_done, self);
    if (client) {
        peri__link_add(&client->ops, &self->of_client);
    }
}

void peri__op_close(struct peri_lua_op *self, const char *why)
{
    struct peri_op *op = self->op;
    if (!op) {
        return;
    }
    self->op = NULL;
    self->closed = why;
    peri_op_free(op);
    peri__live_add(-1);
    peri__link_remove(&self->of_client);
    peri__op_notify(self);
}

static void close_all(struct peri_lua_op *self)
{
    peri__op_close(self, "the operation was closed");
    peri_reader_free(self->content);
    self->content = NULL;
    peri_writer_free(self->out);
    self->out = NULL;
    peri_multipart_free(self->files);
    self->files = NULL;
    peri_headers_fini(&self->request_headers);
    peri_buf_fini(&self->source.bytes);
    peri_buf_fini(&self->sink.bytes);
}

static int op_close(lua_State *L)
{
    close_all(check_op(L));
    return 0;
}

/* op:conclude([metatable]): what op:result() gives, and, when that is no failure and a metatable is given, op:reply() with
 * it. Closes the op, whose place its client uses again: it must not be looked at any more. */
static int op_conclude(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    lua_settop(L, 2);
    bool with_reply = lua_istable(L, 2);
    bool was_open = self->op != NULL;
    int results = peri__op_result(L);
    if (results == 1 && with_reply) {
        peri__push_reply(L, self);
        lua_pushvalue(L, 2);
        lua_setmetatable(L, -2);
        results = 2;
    }
    close_all(self);
    if (was_open) {
        spare(L, self);
    }
    return results;
}

/* A queue that watches a closed op still gives it out; one that is collected with it must not. */
static int op_gc(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    peri__link_remove(&self->of_queue);
    self->queue = NULL;
    return op_close(L);
}

static int op_tostring(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    const char *name = self->op ? peri_op_error(self->op)->operation : "";
    const char *state = !self->op ? "closed" : peri_op_done(self->op) ? "done" : "pending";
    lua_pushfstring(L, PERI_LUA_OP " %s%s(%s)", name, *name ? " " : "", state);
    return 1;
}

static int wait_more(lua_State *L, int status, lua_KContext deadline)
{
    (void)status;
    struct peri_lua_op *self = check_op(L);
    for (;;) {
        const char *what = attention(self);
        if (what) {
            self->wait.active = false;
            lua_pushstring(L, what);
            return 1;
        }
        if (!peri__wait_round(L, &self->wait, (int64_t)deadline, wait_more)) {
            lua_pushnil(L);
            return 1;
        }
    }
}

/* op:wait([seconds]): "done", "more" (feed it), "data" (take it), or nil when the time is over. */
static int op_wait(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    return wait_more(L, LUA_OK, (lua_KContext)peri__wait_deadline(L, 2, self->wait.waiter));
}

/* op:attention(): what wait would return now; nil while it is pending. */
static int op_attention(lua_State *L)
{
    lua_pushstring(L, attention(check_op(L)));
    return 1;
}

static int op_done(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    lua_pushboolean(L, !self->op || peri_op_done(self->op));
    return 1;
}

static int op_cancel(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    if (self->op) {
        peri_op_cancel(self->op);
        peri__op_notify(self);
    }
    return 0;
}

static int op_status(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    lua_pushinteger(L, self->op ? peri_op_status(self->op) : 0);
    return 1;
}

static int op_attempts(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    lua_pushinteger(L, self->op ? (lua_Integer)peri_op_attempts(self->op) : 0);
    return 1;
}

static int op_body(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    struct peri_str body = self->op ? peri_op_body(self->op) : (struct peri_str){ "", 0 };
    lua_pushlstring(L, body.len ? body.data : "", body.len);
    return 1;
}

static int op_progress(lua_State *L)
{
    struct peri_lua_op *self = check_op(L);
    if (self->total > 0) {
        self->told = self->sent;
        lua_pushinteger(L, (lua_Integer)self->sent);
        lua_pushinteger(L, (lua_Integer)self->total);
        return 2;
    }
    lua_pushinteger(L, (lua_Integer)self->sent);
    lua_pushinteger(L, (lua_Integer)self->received);
    return 2;
}

int peri__op_sleep(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds < 1e12, 1, "seconds from 0 on expected");
    struct peri_lua_waiter *waiter = peri_lua_get_waiter(L);
    struct peri_lua_op *self = peri__op_push(L, waiter);
    struct peri_error err;
    struct peri_op *op = peri_op_sleep(waiter->loop, (int64_t)(seconds * 1000), &err);
    if (!op) {
        return peri_lua_fail(L, &err);
    }
    peri__op_start(self, op, NULL);
    return 1;
}

void peri__op_define(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "wait", op_wait },         { "attention", op_attention },   { "done", op_done },
        { "cancel", op_cancel },     { "result", peri__op_result },   { "status", op_status },
        { "attempts", op_attempts }, { "headers", peri__op_headers }, { "body", op_body },
        { "reply", peri__op_reply }, { "progress", op_progress },     { "feed", peri__op_feed },
        { "take", peri__op_take },   { "conclude", op_conclude },     { NULL, NULL },
    };
    peri__define(L, PERI_TYPE_OP, methods, op_close, op_tostring);
    luaL_getmetatable(L, PERI_LUA_OP);
    lua_pushcfunction(L, op_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
