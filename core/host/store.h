/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_STORE_H
#define CORE_HOST_STORE_H

#include "host/access.h"
#include "host/model.h"
#include "host/schedules.h"
#include "perilune/clock.h"

struct uv_loop_s;

/* Where the host's records live. The engine knows only this; SQLite (store_sqlite.c) is one implementation.
 * Reads happen at once, on the loop's thread. Writes are handed over and come back through `done` on the loop's thread
 * when they are durable; they are applied in the order in which they were handed over. */

enum peri_write_kind {
    PERI_WRITE_CALL,             /* call, whole: Queued (asynchronous) or final (synchronous), with lines */
    PERI_WRITE_CALL_PROGRESS,    /* id, at_ms: Running since; lines added */
    PERI_WRITE_CALL_TERMS,       /* call, asynchronous, with terms; CONFLICT when another one has its key */
    PERI_WRITE_CALL_REQUEUE,     /* id, attempt: back to Queued, with terms from at_ms on; lines added */
    PERI_WRITE_CALL_END,         /* call: everything about its end and its response; lines added */
    PERI_WRITE_CALL_REVIVE,      /* id, of a dead call: Queued, as if new; CONFLICT */
    PERI_WRITE_CALL_DISMISS,     /* id, of a dead call: not dead any more; NOT_FOUND */
    PERI_WRITE_FUNCTION,         /* function as it is; with pending: beside the version in service */
    PERI_WRITE_VERSION,          /* function in service: its row, its version; the pending one goes */
    PERI_WRITE_VERSION_FAILED,   /* function (the one in service, or the failed one): its row; the pending one goes */
    PERI_WRITE_FUNCTION_DELETE,  /* id, at_ms: it, its versions, its schedules with their sessions and, in steps, its
                                    calls */
    PERI_WRITE_FUNCTION_CALLED,  /* id, at_ms: last_called_ms */
    PERI_WRITE_FILE,             /* file; CONFLICT when another one has its external id */
    PERI_WRITE_SESSION,          /* session */
    PERI_WRITE_NONCE,            /* session: nonce_hash, created_ms (now) and its expires_ms from now on in, the whole
                                    session out; BAD_REQUEST */
    PERI_WRITE_SESSIONS_REVOKE,  /* ids: those that are READY or ACTIVE */
    PERI_WRITE_NUMBERS,          /* access: generator's name, count and create in; the generator and first out */
    PERI_WRITE_GENERATOR,        /* access: generator in and out; CONFLICT when there is one with other settings */
    PERI_WRITE_GENERATOR_DELETE, /* access: generator's name; NOT_FOUND */
    PERI_WRITE_PARENT,           /* access: parent, whole */
    PERI_WRITE_PARENT_DELETE,    /* access: parent's id; NOT_FOUND, CONFLICT while objects belong to it */
    PERI_WRITE_OBJECT,           /* access: object, new; NOT_FOUND without its parent */
    PERI_WRITE_OBJECT_CONTENT,   /* access: object's id, content and lock; old_hash out; NOT_FOUND */
    PERI_WRITE_OBJECT_DELETE,    /* access: object's id; old_hash out; NOT_FOUND */
    PERI_WRITE_SCHEDULE,         /* schedule, whole but for last_ms; CONFLICT when another one has its external id */
    PERI_WRITE_SCHEDULE_DELETE,  /* id, at_ms: its session ends with it */
    PERI_WRITE_TICK,             /* tick, and call, which it became, as PERI_WRITE_CALL; CONFLICT when there is one */
    PERI_WRITE_CLEAN,            /* the host ends in order: nothing runs any more */
    PERI_WRITE_COUNT,
};

/* Bodies of synchronous calls are kept with their record up to this size. */
#define PERI_SYNC_BODY_KEPT ((size_t)64 << 10)

/* Of the access service. */
struct peri_access_write {
    struct peri_generator generator;
    unsigned count;
    bool create; /* an unknown generator begins at 1 */
    int64_t first;
    struct peri_parent parent;
    struct peri_file_object object;
    char old_hash[65];
    bool created; /* out: it was not there before */
};

/* One write. Allocated by whoever hands it over, who gets it back in done; what it points at must stay alive and
 * unchanged until then. */
struct peri_write {
    enum peri_write_kind kind;
    bool lazy;     /* nobody waits: may be gathered for a while */
    bool required; /* tried again until the store works; done hears of a failure only when the store is freed */
    bool pending;
    uint64_t id;
    int64_t at_ms;
    unsigned attempt;
    const struct peri_call *call;
    const struct peri_log_line *lines; /* to be stored as those from number lines_first on */
    size_t lines_first, line_count;
    const struct peri_function *function;
    const struct peri_file *file;
    struct peri_session *session;
    struct peri_access_write *access;
    const uint64_t *ids;
    size_t id_count;
    const struct peri_schedule *schedule;
    const struct peri_tick *tick;
    void (*done)(void *data, struct peri_write *write, const struct peri_error *err); /* err NULL: durable */
    void *data;
    struct peri_error *error; /* the store's own: NULL while all is well (on the heap, as it is large) */
    struct peri_write *next;  /* the store's own */
};

struct peri_store_options {
    struct uv_loop_s *uv;
    const char *path;
    int64_t keep_ms;     /* finished calls: how long, 0: for ever */
    uint64_t keep_calls; /* and how many at most, 0: any number */
    struct peri_clock clock;
};

/* What an earlier run left. */
struct peri_recovery {
    unsigned max_attempts;
    const char *lost_message; /* of calls that used up their attempts; "%u" stands for how many */
    int64_t now_ms;
    /* An asynchronous call that waits, oldest first, without its bodies; owned by fn. */
    void (*waiting)(void *data, struct peri_call *call);
    void *data;
    uint64_t max_id; /* out: the largest id in use */
    unsigned failed; /* out: calls that ended for want of attempts */
};

struct peri_call_filter;
struct peri_store;
struct peri_store_kind {
    /* Commits what was handed over (one attempt), calls all outstanding done functions. */
    void (*free)(struct peri_store *store);
    void (*write)(struct peri_store *store, struct peri_write *write);
    size_t (*backlog)(struct peri_store *store); /* writes that are not durable yet */
    /* Once, before any write: asynchronous calls that were waiting or running wait again, with the next attempt unless
     * the earlier run ended in order. */
    enum peri_code (*recover)(struct peri_store *store, struct peri_recovery *recovery, struct peri_error *err);
    /* All of them, owned by fn. pending: the successor of a version in service. */
    enum peri_code (*functions)(struct peri_store *store,
                                void (*fn)(void *data, struct peri_function *function, bool pending), void *data,
                                struct peri_error *err);
    /* Hashes of all packages that some version needs; function_id 0: of any function. */
    enum peri_code (*packages)(struct peri_store *store, uint64_t function_id, void (*fn)(void *data, const char *hash),
                               void *data, struct peri_error *err);
    enum peri_code (*call)(struct peri_store *store, uint64_t id, bool with_body, struct peri_call **out,
                           struct peri_error *err);
    /* Newest first until fn returns false; the call is borrowed. */
    enum peri_code (*calls)(struct peri_store *store, const struct peri_call_filter *filter, size_t limit,
                            bool (*fn)(void *data, struct peri_call *call), void *data, struct peri_error *err);
    /* The call of an idempotency key, and what was asked under it; NOT_FOUND. */
    enum peri_code (*key)(struct peri_store *store, uint64_t function_id, const char *key, uint64_t *call_id,
                          char request_hash[65], struct peri_error *err);
    enum peri_code (*log)(struct peri_store *store, uint64_t call_id, size_t first,
                          void (*fn)(void *data, size_t index, const struct peri_log_line *line), void *data,
                          struct peri_error *err);
    /* By id, or by external_id when id is 0. */
    enum peri_code (*file)(struct peri_store *store, uint64_t id, struct peri_str external_id, struct peri_file *out,
                           struct peri_error *err);
    enum peri_code (*session)(struct peri_store *store, uint64_t id, struct peri_session *out, struct peri_error *err);
    /* Newest first below before_id, until fn returns false; the session is borrowed. */
    enum peri_code (*sessions)(struct peri_store *store, uint64_t before_id,
                               bool (*fn)(void *data, const struct peri_session *session), void *data,
                               struct peri_error *err);
    enum peri_code (*files)(struct peri_store *store, void (*fn)(void *data, const struct peri_file *file), void *data,
                            struct peri_error *err);
    /* Generators and parents are listed by name, objects newest first. One record: NOT_FOUND. */
    enum peri_code (*generators)(struct peri_store *store, const char *after, size_t limit,
                                 void (*fn)(void *data, const struct peri_generator *generator), void *data,
                                 struct peri_error *err);
    enum peri_code (*generator)(struct peri_store *store, const char *name, struct peri_generator *out,
                                struct peri_error *err);
    enum peri_code (*parents)(struct peri_store *store, const char *after, size_t limit,
                              void (*fn)(void *data, const struct peri_parent *parent), void *data,
                              struct peri_error *err);
    enum peri_code (*parent)(struct peri_store *store, const char *id, struct peri_parent *out, struct peri_error *err);
    enum peri_code (*objects)(struct peri_store *store, const struct peri_object_filter *filter, size_t limit,
                              void (*fn)(void *data, const struct peri_file_object *object), void *data,
                              struct peri_error *err);
    enum peri_code (*object)(struct peri_store *store, uint64_t id, struct peri_file_object *out,
                             struct peri_error *err);
    /* Whether some record refers to the content; true also when that can't be told. */
    bool (*content_used)(struct peri_store *store, const char *hash);
    /* All of them, owned by fn. */
    enum peri_code (*schedules)(struct peri_store *store, void (*fn)(void *data, struct peri_schedule *schedule),
                                void *data, struct peri_error *err);
    /* Newest first, below before_ms (0: all). */
    enum peri_code (*ticks)(struct peri_store *store, uint64_t schedule_id, int64_t before_ms, size_t limit,
                            void (*fn)(void *data, const struct peri_tick *tick), void *data, struct peri_error *err);
};
/* First member of every implementation. */
struct peri_store {
    const struct peri_store_kind *kind;
};

/* Opens or creates, and brings an older version up to date. PERI_UNSUPPORTED: made by a newer program. */
enum peri_code peri_store_sqlite_new(const struct peri_store_options *options, struct peri_store **out,
                                     struct peri_error *err);

#endif
