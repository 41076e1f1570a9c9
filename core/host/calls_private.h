/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_CALLS_PRIVATE_H
#define CORE_HOST_CALLS_PRIVATE_H

#include "host/heap.h"
#include "host/idmap.h"
#include "host/parts.h"

/* Calls in memory: those that wait or run, and finished ones until they are durable. */

struct peri__watch {
    uint64_t handle;
    struct peri__entry *entry;
    struct peri_watch fns;
    bool dead;
    struct peri__watch *next;
};

struct peri__entry {
    struct peri__job job; /* first: the dispatcher's handle */
    struct peri_engine *engine;
    struct peri_call *call;
    struct peri_function *function; /* as it was when the call came, later the one that runs it */
    struct peri_call_events events;
    struct peri__watch *watches;
    unsigned calling;         /* watches are being called */
    struct peri_call *ending; /* asynchronous: what the call will be once that is durable */
    size_t lines_handed;      /* log lines that the store has or is about to have */
    unsigned writes;          /* of this entry, in the store's hands */
    bool accepted;            /* durable, or synchronous: others may see it */
    bool over;                /* has its end, perhaps not yet durable */
    bool cancel;              /* asked for before it could be acted on */
    bool held;                /* waits for an earlier call of its schedule */
    bool parked;              /* stays for the next run */
    bool in_store;            /* its bodies are there, not here */
    bool marked;              /* the store knows that it runs */
    bool log_full;
    bool blamed;                     /* it held its sandbox: not tried again */
    bool delayed;                    /* its time has not come */
    struct peri__due due;            /* when it may start, or expires */
    size_t kept_bytes;               /* of its bodies, until its record is written */
    struct peri_write record;        /* of a synchronous call, once it has ended */
    struct peri__entry *next, *prev; /* by id, ascending */
};

struct peri__calls {
    struct peri__idmap entries;
    struct peri__idmap watches;
    uint64_t last_watch;
    struct peri__entry *first, *last;
    size_t kept_bytes; /* of records that wait to be written */
    struct peri_buf meta;
    struct peri__heap dues; /* of entries */
    size_t delayed;
    uv_timer_t *timer;
    int64_t timer_at; /* for which the timer is set */
    size_t dropped;   /* records of synchronous calls that the store could not take */
};

struct peri__entry *peri__entry_find(const struct peri_engine *engine, uint64_t call_id);
struct peri__entry *peri__entry_new(struct peri_engine *engine, struct peri_call *call); /* call taken */
void peri__entry_free(struct peri__entry *entry);
struct peri_call *peri__call_make(struct peri_engine *engine, const struct peri_submit *submit);
/* It is durable: it goes into the queue, unless it is held, or something came between. */
void peri__entry_begin(struct peri__entry *entry);
/* It is nowhere but in the queue, or waits for its time or for an earlier call. */
bool peri__entry_waits(const struct peri__entry *entry);

/* calls_wait.c */
void peri__entry_submit(struct peri__entry *entry, const struct peri_function *function); /* to the dispatcher */
void peri__entry_wait(struct peri__entry *entry); /* for its time, then for a sandbox */
void peri__entry_wait_no_more(struct peri__entry *entry);
/* After a failure: whether there is another attempt, and how long to wait first. */
bool peri__entry_tries_again(struct peri__entry *entry, enum peri_code code, int64_t *wait_ms);
enum peri_code peri__dues_init(struct peri_engine *engine);
void peri__dues_fini(struct peri_engine *engine);

/* calls_key.c */
enum peri_code peri__key_hash(const struct peri_submit *submit, char out[65]);
bool peri__key_known(struct peri_engine *engine, uint64_t function_id, const char *key);
/* The earlier call with its key answers for it, now or in the next turn; the entry goes. */
void peri__entry_replay(struct peri__entry *entry);
enum peri_code peri__entry_replay_later(struct peri__entry *entry);

/* ticks.c: it waits no longer. */
void peri__entry_unhold(struct peri__entry *entry);

/* calls_end.c */
struct peri__end {
    enum peri_call_state state;
    enum peri_code code;
    const char *message, *trace;
    const struct peri_reply *reply; /* NULL: it did not get that far */
    bool dead;                      /* its attempts are used up */
};
/* The call ends: the submitter and watchers hear of it when it is so (asynchronous: durable). */
void peri__entry_end(struct peri__entry *entry, const struct peri__end *end);
void peri__entry_end_simply(struct peri__entry *entry, enum peri_call_state state, enum peri_code code,
                            const char *format, ...) PERI_PRINTF(4, 5);
void peri__entry_reply(struct peri__entry *entry, const struct peri_reply *reply);
/* Back into the queue with the next attempt, durable first. */
void peri__entry_requeue(struct peri__entry *entry, int64_t wait_ms);
void peri__entry_progress(struct peri__entry *entry);

/* calls_log.c */
void peri__entry_log(struct peri__entry *entry, int64_t wall_ms, enum peri_log_level level, struct peri_str text);
void peri__entry_ended(struct peri__entry *entry); /* calls the watches' end */
void peri__entry_drop_watches(struct peri__entry *entry);

#endif
