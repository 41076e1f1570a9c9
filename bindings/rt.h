/* SPDX-License-Identifier: MIT */
#ifndef BINDINGS_RT_H
#define BINDINGS_RT_H

#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <uv.h>

#include "lperi.h"
#include "perilune/token.h"
#include "runtime.h"

/* What the files of the handler runtime share: runtime.c (versions, the contract), state.c (one Lua state), scheduler.c
 * (who runs when), preempt.c (timer, hook, kill), call.c (a call's coroutine), outcome.c (how it ended), trace.c,
 * coroutine.c, libs.c (standard library), package.c (modules), context.c (ctx), call_service.c, event.c. */

#define RT_SLICE_NS INT64_C(2000000) /* a slice that others may end */
#define RT_POOL 16                   /* idle coroutines kept per state */
#define RT_TEXT_MAX (64 * 1024)      /* bytes of an error message, a trace, a log line */
#define RT_NEVER INT64_MAX

struct rt_runtime;
struct rt_version;
struct rt_state;
struct rt_task;

struct rt_list {
    struct rt_task *head, *tail;
};

enum rt_kind { RT_LOAD, RT_CALL };
enum rt_status {
    RT_PARKED,  /* waits for its version to be loaded */
    RT_READY,   /* in the ready queue: new, or what it waited for has happened */
    RT_SPENT,   /* in the second queue: was preempted */
    RT_RUNNING, /* its Lua code is on the C stack */
    RT_WAITING, /* for I/O */
};
enum rt_yield { RT_YIELD_USER, RT_YIELD_WAIT, RT_YIELD_PREEMPT };

/* One call, or one load: a coroutine with limits. */
struct rt_task {
    struct rt_task *prev, *next; /* in the list that `list` names */
    struct rt_list *list;
    struct rt_version *version;
    struct rt_state *state; /* NULL while parked */
    lua_State *co;          /* NULL before the first slice */
    int co_ref;
    int arguments; /* for the next resumption; their function is below them */
    uint32_t slot, generation;
    enum rt_kind kind;
    enum rt_status status;
    bool describing;    /* runs outcome.c's second step, not the handler */
    bool wakeup;        /* made ready while it was running */
    _Atomic int killed; /* enum peri_code that ends it; PERI_OK: none. The timer's signal handler writes it too. */

    uint64_t call_id;
    int64_t timeout_ms;
    int64_t deadline_ns, wake_ns; /* monotonic; RT_NEVER */
    uint64_t cpu_ns;
    uint64_t memory_limit;
    int64_t charge, peak; /* net growth of the state while it ran */
    size_t refused;       /* what the allocator last refused; 0: nothing */

    enum peri_input input;
    struct peri_str meta, body; /* point into data */
    const void *ctx;            /* identity of its ctx table */
    bool resolved;              /* the fields of its ctx are made */
    bool token;                 /* its token was made */
    int closed_refs[2];         /* what is closed with the call: the clients of ctx.service and ctx.client; 0: none */

    enum peri_reply_kind kind_of_reply;
    enum peri_code code;
    int http_status;
    struct peri_buf content_type, headers, message, trace;
    char data[];
};

/* One Lua state. The extra space of each of its threads (peri__thread_child) says whom a blocked thread waits for. */
struct rt_state {
    struct rt_runtime *rt;
    struct rt_version *version;
    struct rt_state *prev, *next; /* all states */
    lua_State *L;
    size_t bytes, baseline;
    unsigned tasks;
    bool retired; /* no new calls; closed when the last one ends */
    bool dirty;   /* ran since the last collection, which left it at `collected` bytes */
    size_t collected;
    int handle_ref;
    struct {
        lua_State *co;
        int ref;
    } pool[RT_POOL];
    unsigned pooled;
    struct rt_lingering *lingering; /* clients of calls that have ended */
    struct peri_lua_waiter waiter;
};

enum rt_phase { RT_COLD, RT_LOADING, RT_LOADED };

/* One loaded package; its zip stays compressed. */
struct rt_version {
    struct rt_version *next; /* in its bucket; in the list of unloaded ones when `unloaded` */
    struct rt_runtime *rt;
    uint64_t id;
    char *package, *entry, *env;
    size_t package_len, env_len;
    int64_t timeout_ms;
    uint64_t memory_limit;
    enum rt_phase phase;
    bool unloaded;
    bool check;             /* the load that runs answers with loaded */
    struct rt_state *state; /* that new calls use; NULL when cold */
    struct rt_list parked;
    unsigned tasks;
};

/* Resumptions under way on the C stack: innermost first. */
struct rt_link {
    struct rt_link *prev;
    bool yieldable; /* all that is outside can yield */
};

struct rt_handles; /* the libuv handles: outlive the runtime until they are closed */

struct rt_runtime {
    struct peri_runtime base;
    struct peri_loop *loop;
    struct peri_runtime_events events;
    char *library;
    const luaL_Reg *modules;
    struct peri_sandbox_page *page;
    struct peri_sandbox_page own_page;
    size_t response_limit, file_limit;
    char *service_url;
    unsigned char key[PERI_CALL_KEY_SIZE]; /* of the tokens of calls */

    struct rt_version **buckets;
    size_t bucket_count;
    unsigned version_count, state_count, task_count;
    struct rt_version *unloaded;
    struct rt_state *states;
    size_t bytes;
    struct {
        struct rt_task *task;
        uint32_t generation;
    } * slots;
    uint32_t slot_count, *free_slots, free_slot_count;
    struct rt_list ready, spent, waiting;

    struct rt_handles *handles;
    int64_t armed_ns; /* when the loop's timer is due */
    bool postponed;   /* the last turn left the spent queue alone */
    int64_t sweep_ns; /* when idle states are to be collected */

    timer_t timer;
    bool have_timer, have_key;
    /* Shared with the signal handler, on the same thread. */
    _Atomic(lua_State *) current;
    _Atomic(struct rt_task *) running;
    atomic_bool ticking;
    atomic_bool preempt;
    atomic_bool output;          /* events were sent since the loop last polled */
    _Atomic unsigned queued;     /* in ready and spent */
    _Atomic int64_t slice_ns;    /* when the slice began */
    _Atomic int64_t loop_due_ns; /* the loop's next timer */
    _Atomic uint64_t slices;
    uint64_t ticked_slices;

    lua_State *raised;   /* the thread in which the hook has raised a kill that no protected call has passed on */
    enum rt_yield yield; /* what the yield that is on its way out means */
    struct rt_link *link;
    uint64_t preemptions;
    _Atomic uint64_t hooks;
    struct peri_buf out; /* the answer of the task that runs */
    struct peri_error err;
};

/* ---- scheduler.c ---- */
int64_t peri__now_ns(void);
void peri__list_push(struct rt_list *list, struct rt_task *task);
void peri__list_remove(struct rt_task *task);
enum peri_code peri__scheduler_init(struct rt_runtime *rt, struct peri_error *err);
void peri__scheduler_fini(struct rt_runtime *rt);
/* Makes the task run at the loop's next turn. */
void peri__enqueue(struct rt_task *task, enum rt_status status);
/* Makes the loop's timer fire no later than at_ns. */
void peri__alarm(struct rt_runtime *rt, int64_t at_ns);
/* Ends a task with this code: at once, or (when it is the running one) as soon as its code can be stopped. */
void peri__kill(struct rt_task *task, enum peri_code code);
void peri__count_task(struct rt_runtime *rt, int change);
/* Waiting, for lperi.h. */
void peri__waiter_init(struct rt_state *state);

/* ---- preempt.c ---- */
enum peri_code peri__preempt_init(struct rt_runtime *rt, struct peri_error *err);
void peri__preempt_fini(struct rt_runtime *rt);
void peri__slice_begin(struct rt_runtime *rt, struct rt_task *task, lua_State *L, int64_t now_ns);
void peri__slice_end(struct rt_runtime *rt);
/* Stops L's code before its next instruction with an error that nothing catches. */
void peri__arm_kill(lua_State *L);
void peri__disarm(lua_State *L);
/* Ends a suspended or failed thread: its variables are closed, within the limits of the task that runs. Those of a
 * thread that the hook has ended stay for the collector: Lua then has hooks off in it, so nothing could stop them. */
void peri__reset_thread(lua_State *L);
/* May L, and all coroutines between it and its call, yield? Not from within a C function that calls back. */
bool peri__can_yield(lua_State *L);
/* Raises that error. */
int peri__raise_kill(lua_State *L);
/* After a protected call ended with status, the error on top: must it go on outwards? Marks a memory failure. */
bool peri__is_fatal(lua_State *L, int status);

/* ---- state.c ---- */
struct rt_state *peri__state_of(lua_State *L);
/* The task whose slice this is; NULL outside of slices. */
struct rt_task *peri__running(lua_State *L);
struct rt_state *peri__state_new(struct rt_version *version, struct peri_error *err);
/* No new calls; closes now if nothing runs on it. */
void peri__state_retire(struct rt_state *state);
void peri__state_release(struct rt_state *state); /* one task less */
void peri__state_close(struct rt_state *state);
/* Gives the task a coroutine. False: out of memory. */
bool peri__state_thread(struct rt_task *task);
void peri__state_thread_done(struct rt_task *task, bool clean);
void peri__state_collect(struct rt_state *state);
/* The thread that L, blocked, has resumed; RT_BLOCKED when L itself waits; NULL when L is not blocked. */
#define RT_BLOCKED ((lua_State *)1)
lua_State **peri__thread_child(lua_State *L);

/* ---- runtime.c ---- */
struct rt_task *peri__task_new(struct rt_version *version, enum rt_kind kind, struct peri_str meta,
                               struct peri_str body);
void peri__task_free(struct rt_task *task);
struct rt_task *peri__task_from_handle(struct rt_runtime *rt, void *handle);
void *peri__task_handle(const struct rt_task *task);
/* The load of a version has ended; parked calls go on or fail. */
void peri__version_loaded(struct rt_task *load);
void peri__version_release(struct rt_version *version); /* one task less */

/* ---- call.c ---- */
int peri__call_main(lua_State *L); /* the body of a call's coroutine; argument: the task */
int peri__load_main(lua_State *L);
int peri__call_finish(lua_State *L, int status, lua_KContext task); /* what the handler returned is at 1 and 2 */

/* ---- event.c ---- */
/* Runs the handler at 1 with the ctx at 2 for an event. */
int peri__event_main(lua_State *L, struct rt_task *task);

/* ---- call_service.c ---- */
void peri__service_fini(struct rt_runtime *rt);
/* The module that makes this field of ctx; NULL: it is none of those. */
const char *peri__service_module(const char *field);
int peri__service_push(lua_State *L, const char *module); /* makes the field; ctx and its name are at 1 and 2 */
void peri__service_close(struct rt_task *task);
/* Closes clients that are done, or late. True: some go on. */
bool peri__service_sweep(struct rt_state *state, int64_t now_ns);
void peri__service_drop(struct rt_state *state); /* before the state closes */

/* ---- outcome.c ---- */
int peri__describe_main(lua_State *L); /* turns an error value into text; arguments: the task, the value */
/* A task's coroutine has ended with this status, its results or error on its stack. True: it is over; false: it has
 * a second step and is to be resumed. */
bool peri__outcome(struct rt_task *task, int status);
void peri__outcome_set(struct rt_task *task, enum peri_code code, const char *format, ...) PERI_PRINTF(3, 4);
/* Sets the sentence of a kill, unless a failure is set. */
void peri__outcome_killed(struct rt_task *task);
/* Sends the event that ends the task. */
void peri__outcome_send(struct rt_task *task);
void peri__text_set(struct peri_buf *buf, const char *text, size_t len); /* cut at RT_TEXT_MAX */

/* ---- trace.c ---- */
/* Appends a traceback of L with the handler's own frames. Allocates nothing in Lua, never raises. */
void peri__trace(lua_State *L, struct peri_buf *out);

/* ---- coroutine.c, libs.c, package.c, context.c ---- */
int peri__open_coroutine(lua_State *L);
void peri__open_libs(lua_State *L);    /* may raise */
void peri__open_package(lua_State *L); /* may raise */
void peri__open_context(lua_State *L); /* may raise */
/* Sends the arguments from first on as one line of the running call's log. */
void peri__log_arguments(lua_State *L, enum peri_log_level level, int first);
int peri__log_function(lua_State *L); /* upvalue 1: level */
/* Compiles a file of the version's package: LUA_OK with the chunk pushed, else with the message pushed.
 * LUA_ERRFILE: there is no such file. */
int peri__package_compile(lua_State *L, struct rt_version *version, const char *name);
/* Compiles every .lua file. Raises at the first that fails. */
void peri__package_check(lua_State *L, struct rt_version *version);
/* Pushes a module, loading it if need be; goes on in k when that yields. */
void peri__require(lua_State *L, const char *name, lua_KContext context, lua_KFunction k);
/* Pushes ctx of the task. False: its input is bad, which rt->err says. */
bool peri__context_push(lua_State *L, struct rt_task *task);
bool peri__is_response(lua_State *L, int index);
/* Fills the task's answer from what ctx.response made. */
int peri__response_take(lua_State *L, int index, struct rt_task *task);

#endif
