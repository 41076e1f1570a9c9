/* SPDX-License-Identifier: MIT */
#ifndef BINDINGS_OBJECT_H
#define BINDINGS_OBJECT_H

#include "lperi.h"
#include "perilune/client.h"
#include "perilune/multipart.h"

/* What the userdata of perilune.core share. Each is made closed first: a zeroed block with its metatable, into which the
 * C object then goes, so that a raise in between leaves nothing behind. */

#define PERI_LUA_CLIENT "perilune.client"
#define PERI_LUA_OP "perilune.op"
#define PERI_LUA_QUEUE "perilune.queue"

enum peri_lua_type { PERI_TYPE_CLIENT, PERI_TYPE_OP, PERI_TYPE_QUEUE, PERI_TYPE_COUNT };

/* The one recipe: __name, __index, __gc = __close = methods.close (`close`, idempotent), __metatable, __tostring. */
void peri__define(lua_State *L, enum peri_lua_type type, const luaL_Reg *methods, lua_CFunction close,
                  lua_CFunction tostring);
/* What the block of each begins with: its type, which is quicker to look at than the metatable. */
struct peri_lua_object {
    const void *type;
};
/* Pushes a userdata of the type with `values` user values, zeroed after its peri_lua_object. */
void *peri__object(lua_State *L, enum peri_lua_type type, size_t size, int values);
/* As luaL_checkudata. */
void *peri__check(lua_State *L, int index, enum peri_lua_type type);

/* C objects alive behind userdata, in all states of the process: core.live(). */
void peri__live_add(int n);
int peri__live(void);

/* ---- intrusive lists: a head links to itself when empty ---- */
struct peri_link {
    struct peri_link *prev, *next;
};
static inline void peri__link_init(struct peri_link *head)
{
    head->prev = head->next = head;
}
static inline void peri__link_add(struct peri_link *head, struct peri_link *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}
static inline void peri__link_remove(struct peri_link *link)
{
    if (link->next) {
        link->prev->next = link->next;
        link->next->prev = link->prev;
        link->prev = link->next = NULL;
    }
}

/* ---- who waits: part of everything that can be waited for ---- */
struct peri_lua_wait {
    struct peri_lua_waiter *waiter;
    void *waiting; /* from waiter->current */
    bool active;
};
void peri__wait_ready(struct peri_lua_wait *wait);
/* One round of waiting until deadline (monotonic ms; -1: none). Returns false when it is over; else look again. May
 * yield with k, which gets deadline as its context. */
bool peri__wait_round(lua_State *L, struct peri_lua_wait *wait, int64_t deadline, lua_KFunction k);
/* The deadline that an optional number of seconds at index stands for. */
int64_t peri__wait_deadline(lua_State *L, int index, struct peri_lua_waiter *waiter);

/* ---- client.c ---- */
#define PERI_LUA_SPARES 128
enum peri_lua_client_value { PERI_CLIENT_SPARES = 1 }; /* user value: concluded ops, to be used again */
struct peri_lua_client {
    struct peri_lua_object object;
    struct peri_client *client; /* NULL: closed */
    unsigned spares;            /* ops in the user value */
    struct peri_lua_waiter *waiter;
    struct peri_transport *transport;
    bool oauth;                  /* tokens come by credentials */
    struct peri_buf token;       /* what the next attempt sends */
    struct peri_headers headers; /* while the client is made */
    struct peri_link ops;
};
struct peri_lua_client *peri__check_client(lua_State *L, int index); /* raises when it is closed */
int peri__client_new(lua_State *L);                                  /* core.client */
void peri__client_define(lua_State *L);
/* Whether the value at index is a client that still has something to say to its platform. */
bool peri__client_busy(lua_State *L, int index);
/* Reads {name = value} at index into headers; raises on another shape. */
void peri__read_headers(lua_State *L, int index, struct peri_headers *headers);

/* ---- op.c ---- */
#define PERI_SOURCE_WHY 200
/* A body that Lua makes piece by piece: libcurl's side asks, and Lua feeds between turns of the loop. */
struct peri_lua_source {
    struct peri_reader *reader; /* owned by the operation; NULL: none, or gone */
    struct peri_buf bytes;
    size_t offset;
    bool wanted, ended, failed;
    char why[PERI_SOURCE_WHY];
};
/* An answer that Lua takes piece by piece. */
struct peri_lua_sink {
    struct peri_writer *writer; /* owned by the operation; NULL: none, or gone */
    struct peri_buf bytes;
    bool blocked;
};
enum peri_lua_op_value { PERI_OP_PARENT = 1, PERI_OP_ANCHORS = 2 }; /* user values: client; what it reads and writes */
struct peri_lua_op {
    struct peri_lua_object object;
    struct peri_op *op; /* NULL: closed */
    const char *closed; /* why, once it is closed */
    struct peri_link of_client;
    struct peri_link of_queue;
    struct peri_lua_queue *queue;
    int queue_ref; /* of what stands for it there; LUA_NOREF: the number does */
    lua_Integer queue_number;
    struct peri_lua_wait wait;
    struct peri_lua_source source;
    struct peri_lua_sink sink;
    int64_t sent, received;
    int64_t total, told; /* of an upload: its size; what Lua was told of */
    bool tells;          /* progress of an upload is to be told */
    /* What is made for the start of the operation, here so that a raise before it frees them. */
    struct peri_reader *content;
    struct peri_writer *out;
    struct peri_multipart *files;
    struct peri_headers request_headers;
};
struct peri_lua_op *peri__op_push(lua_State *L, struct peri_lua_waiter *waiter);
/* As peri__op_push, for an op of the client at index 1: a concluded one of it when there is one. */
struct peri_lua_op *peri__op_push_of(lua_State *L, struct peri_lua_client *client);
/* Takes op into the userdata: watched, counted, and closed with the client (NULL: none). */
void peri__op_start(struct peri_lua_op *self, struct peri_op *op, struct peri_lua_client *client);
void peri__op_close(struct peri_lua_op *self, const char *why);
bool peri__op_needs_attention(const struct peri_lua_op *self);
void peri__op_notify(struct peri_lua_op *self);
void peri__op_progress(void *self, int64_t sent, int64_t received);
void peri__op_uploaded(void *self, int64_t sent, int64_t total);
int peri__op_sleep(lua_State *L); /* core.sleep */
void peri__op_define(lua_State *L);

/* ---- stream.c ---- */
/* The value at index (string, {path=}, open file, function) as a reader or writer of the op; anchors what it borrows in
 * the op's user value (the op is at op_index). NULL with err: it can't be opened. Raises on a wrong type. */
struct peri_reader *peri__stream_reader(lua_State *L, int index, int op_index, struct peri_error *err);
struct peri_writer *peri__stream_writer(lua_State *L, int index, int op_index, struct peri_error *err);
/* The list at index of files to upload ({path=} or {data=} or {file=}, with filename, content_type, name; or an open file)
 * into the op's own place. False with err: one can't be opened. */
bool peri__stream_files(lua_State *L, int index, int op_index, struct peri_error *err);
int peri__op_feed(lua_State *L); /* methods of an op */
int peri__op_take(lua_State *L);

/* ---- queue.c ---- */
struct peri_lua_queue {
    struct peri_lua_object object;
    bool open;
    struct peri_link pending, ready;
    struct peri_lua_wait wait;
};
int peri__queue_new(lua_State *L); /* core.queue */
void peri__queue_define(lua_State *L);

/* ---- request.c ---- */
int peri__call(lua_State *L);    /* core.call */
int peri__request(lua_State *L); /* core.request */

/* ---- result.c ---- */
int peri__op_result(lua_State *L); /* methods of an op */
int peri__op_headers(lua_State *L);
int peri__op_reply(lua_State *L);
/* Pushes the reply of an open op. */
void peri__push_reply(lua_State *L, const struct peri_lua_op *self);
int peri__headers(lua_State *L); /* core.headers */

/* ---- options.c ---- */
enum peri_option_type {
    PERI_OPT_STRING,  /* const char * */
    PERI_OPT_BOOLEAN, /* bool */
    PERI_OPT_SECONDS, /* int64_t milliseconds; false: -1 */
    PERI_OPT_INTEGER, /* int64_t */
    PERI_OPT_VALUE,   /* left on the stack: int, its index; 0 when absent */
};
struct peri_option {
    const char *name;
    size_t offset;
    enum peri_option_type type;
    bool required;
};
/* Reads the table at index into `out`, which holds zeros or other defaults; at most 32 options. Values stay on the stack, so strings live as long as the
 * caller's frame. Raises, naming `what`, on an unknown key ("did you mean"), a wrong type or a missing required one. */
void peri__read_options(lua_State *L, int index, const char *what, const struct peri_option *options, size_t count,
                        void *out);

/* ---- system.c ---- */
extern const luaL_Reg peri__system[];

#endif
