/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_ENGINE_H
#define CORE_HOST_ENGINE_H

#include <jansson.h>

#include "host/model.h"
#include "host/schedules.h"
#include "perilune/loop.h"

/* What doors ask of the host: functions, calls, files, sessions. Doors translate between these and their wire; they
 * never see the store, the sandboxes or each other. Everything happens on the loop's thread; answers that need the disk
 * or a sandbox come through callbacks, once each, never from within the call that asked. */
struct peri_engine;

struct peri_engine_options {
    const char *data_dir;     /* created with mode 0700 */
    const char *sandbox_path; /* the program; NULL: libexec */
    unsigned sandboxes;       /* 0: one per core */
    int64_t timeout_ms;       /* default of a call: 600,000 */
    uint64_t memory_limit;    /* default of a call: 256 MiB */
    int64_t watchdog_ms;      /* a sandbox silent for so long is killed: 5,000 */
    unsigned queue_limit;     /* waiting calls: 100,000; over it: PERI_UNAVAILABLE */
    unsigned max_attempts;    /* of an asynchronous call that a crash interrupted: 3 */
    size_t package_limit;     /* unpacked bytes of a package: 256 MiB */
    size_t response_limit;    /* 16 MiB */
    size_t log_limit;         /* bytes of log a call may write: 4 MiB; then one line says that it was cut */
    int64_t keep_ms;          /* how long finished calls are kept: 90 days */
    uint64_t keep_calls;      /* and how many at most: 1,000,000 */
    bool generators_strict;   /* number generators must have been created */
    int64_t chunk_size;       /* of uploads to the access service: 64 MiB */
    int64_t lock_timeout_ms;  /* an upload without a sign of life for so long is dropped: 900,000 */
};

/* PERI_BUSY: another host uses the folder (its pid is said). PERI_UNSUPPORTED: a store of a newer version.
 * Starts the sandboxes and takes up what an earlier run left unfinished. */
enum peri_code peri_engine_new(struct peri_loop *loop, const struct peri_engine_options *options,
                               struct peri_engine **out, struct peri_error *err);
/* No new calls from now on (PERI_UNAVAILABLE); done is called when none runs any more and all is committed, or after
 * grace_ms, when the rest is cancelled. */
void peri_engine_drain(struct peri_engine *engine, int64_t grace_ms, void (*done)(void *data), void *data);
void peri_engine_free(struct peri_engine *engine);
/* {"sandboxes": [{"pid", "ready", "calls", "lua_bytes", "started"}], "calls_running", "calls_waiting", "functions", ...};
 * owned by the caller. */
char *peri_engine_info(struct peri_engine *engine);
struct peri_loop *peri_engine_loop(struct peri_engine *engine);
const struct peri_engine_options *peri_engine_settings(const struct peri_engine *engine);

/* ---- functions: from memory, at once; results are referenced (unref) ---- */
struct peri_function *peri_engine_function(struct peri_engine *engine, uint64_t id);
struct peri_function *peri_engine_function_by_name(struct peri_engine *engine, struct peri_str external_id);
/* All, newest first, until fn returns false. */
void peri_engine_each_function(struct peri_engine *engine, bool (*fn)(void *data, struct peri_function *function),
                               void *data);

/* function: NULL on failure (err says why), else referenced for the time of the callback. */
typedef void (*peri_function_fn)(void *data, struct peri_function *function, const struct peri_error *err);

struct peri_deploy {
    const struct peri_function *spec; /* external_id, name, entry, limits, env, secrets ...; copied */
    const char *package_path;         /* the zip; moved into the data folder when under it, else copied */
    const char *package_hash;         /* hex sha256 if known, else NULL */
    bool replace;                     /* a function of that external_id gets a new version; false: PERI_CONFLICT */
    bool wait;                        /* callback when Ready or Failed; false: as soon as it is stored as Queued */
};
/* The package is checked (PERI_PACKAGE says which entry and why), stored, compiled and run once in a sandbox. A version
 * that fails leaves the earlier one in service and, with wait, is reported as PERI_PACKAGE with file, line and reason. */
void peri_engine_deploy(struct peri_engine *engine, const struct peri_deploy *deploy, peri_function_fn done,
                        void *data);
/* Calls that run finish; its records go. done: err NULL on success. */
void peri_engine_delete(struct peri_engine *engine, uint64_t function_id,
                        void (*done)(void *data, const struct peri_error *err), void *data);

/* Seals an object of strings for struct peri_function: secrets and secret_names, owned by the caller. */
enum peri_code peri_engine_seal(struct peri_engine *engine, const json_t *object, char **secrets, char **names,
                                struct peri_error *err);

/* ---- calls ---- */
struct peri_submit {
    struct peri_function *function; /* borrowed */
    bool async;                     /* accepted() when durable; false: only the reply counts */
    enum peri_input input;
    struct peri_str body;
    struct peri_str request_meta; /* JSON of ctx.request */
    int64_t timeout_ms;           /* 0: the function's */
    uint64_t schedule_id;
    int64_t scheduled_ms;
    const struct peri_terms *terms; /* NULL: none; copied */
    uint64_t session_id;            /* of an asynchronous call: whose credentials it has; 0: none */
};
/* Callbacks get the call (borrowed; ref to keep). accepted: durable (async only). finished: final and, for async,
 * committed; log lines are still in memory then. Either may be NULL. On PERI_OK *out is the call, borrowed. Failures:
 * CONFLICT (not Ready), UNAVAILABLE (queue full, draining; err->retry_after_ms is set), BAD_REQUEST (terms that only
 * asynchronous calls may have). With an idempotency key that an earlier call has, replayed gets that call (refused, when
 * it had another input: CONFLICT) instead of all else, and *out never comes to be. */
struct peri_call_events {
    void (*accepted)(void *data, struct peri_call *call);
    void (*refused)(void *data, struct peri_call *call, const struct peri_error *err); /* the store failed */
    void (*finished)(void *data, struct peri_call *call);
    void *data;
    void (*replayed)(void *data, struct peri_call *earlier);
};
enum peri_code peri_engine_submit(struct peri_engine *engine, const struct peri_submit *submit,
                                  const struct peri_call_events *events, struct peri_call **out,
                                  struct peri_error *err);
/* Whether a call would be taken now: PERI_OK, or what peri_engine_submit would say. */
enum peri_code peri_engine_admits(const struct peri_engine *engine, const struct peri_function *function,
                                  struct peri_error *err);
/* The submitter goes away: its events are not called any more. The call goes on. */
void peri_engine_forget(struct peri_engine *engine, uint64_t call_id, void *events_data);
void peri_engine_cancel(struct peri_engine *engine, uint64_t call_id);
/* A dead call waits again with all its attempts, or is not among the dead ones any more. call: NULL on failure. On
 * PERI_OK done comes later; NOT_FOUND, CONFLICT (not dead), UNAVAILABLE as at submit. err: not NULL. */
typedef void (*peri_call_fn)(void *data, struct peri_call *call, const struct peri_error *err);
enum peri_code peri_engine_requeue(struct peri_engine *engine, uint64_t call_id, peri_call_fn done, void *data,
                                   struct peri_error *err);
enum peri_code peri_engine_dismiss(struct peri_engine *engine, uint64_t call_id, peri_call_fn done, void *data,
                                   struct peri_error *err);

/* From memory, else from the store; referenced. with_body: request and response too. NULL with NOT_FOUND. */
struct peri_call *peri_engine_call(struct peri_engine *engine, uint64_t id, bool with_body, struct peri_error *err);
struct peri_call_filter {
    uint64_t function_id; /* 0: any */
    uint64_t before_id;   /* newest first, below this id; 0: from the newest */
    int state;            /* -1: any */
    bool dead;            /* only those that were given up */
    uint64_t schedule_id;
    int64_t created_min, created_max, end_min, end_max; /* 0: open */
};
enum peri_code peri_engine_calls(struct peri_engine *engine, const struct peri_call_filter *filter, size_t limit,
                                 void (*fn)(void *data, const struct peri_call *call), void *data,
                                 struct peri_error *err);
/* Lines from `first` (0-based) on, of a running or finished call. */
enum peri_code peri_engine_log(struct peri_engine *engine, uint64_t call_id, size_t first,
                               void (*fn)(void *data, size_t index, const struct peri_log_line *line), void *data,
                               struct peri_error *err);
/* Watches a running call: line for each new log line, end once. Returns 0 when the call is final already (nothing will
 * be called), else a handle for peri_engine_unwatch. */
struct peri_watch {
    void (*line)(void *data, size_t index, const struct peri_log_line *line); /* may be NULL */
    void (*end)(void *data, struct peri_call *call);
    void *data;
};
uint64_t peri_engine_watch(struct peri_engine *engine, uint64_t call_id, const struct peri_watch *watch);
void peri_engine_unwatch(struct peri_engine *engine, uint64_t handle);

/* ---- tokens of calls (perilune/token.h) ---- */
/* Where the host's access service listens, for ctx.service of handlers; copied. */
enum peri_code peri_engine_set_service(struct peri_engine *engine, const char *url, struct peri_error *err);
/* PERI_OK: the token is that of a call's attempt which runs, or which ended at most 10 s ago. Else PERI_UNAUTHORIZED,
 * and err says why, without the token. */
enum peri_code peri_engine_call_token(struct peri_engine *engine, struct peri_str token, uint64_t *call_id,
                                      struct peri_error *err);
/* The same, and the call's session, if it has one, is neither revoked nor expired. */
enum peri_code peri_engine_session_token(struct peri_engine *engine, struct peri_str token, struct peri_error *err);

/* ---- files and sessions (cdf) ---- */
typedef void (*peri_file_fn)(void *data, const struct peri_file *file, const struct peri_error *err);
/* spec: external_id, name, mime_type. overwrite: a known external_id keeps its id. */
void peri_engine_file_create(struct peri_engine *engine, const struct peri_file *spec, bool overwrite,
                             peri_file_fn done, void *data);
/* Moves the content (a finished temporary file) in; durable when done. */
void peri_engine_file_content(struct peri_engine *engine, uint64_t id, const char *path, const char *sha256,
                              int64_t size, peri_file_fn done, void *data);
enum peri_code peri_engine_file(struct peri_engine *engine, uint64_t id, struct peri_str external_id,
                                struct peri_file *out, struct peri_error *err);
/* Path of a file's content, owned by the caller. */
char *peri_engine_file_path(struct peri_engine *engine, const struct peri_file *file);

typedef void (*peri_session_fn)(void *data, const struct peri_session *session, const struct peri_error *err);
/* Fills id, nonce (plain, shown once) and times. */
void peri_engine_session_create(struct peri_engine *engine, const struct peri_session *spec,
                                void (*done)(void *data, const struct peri_session *session, const char *nonce,
                                             const struct peri_error *err),
                                void *data);
/* Uses a nonce up: BAD_REQUEST when unknown, used or expired. */
void peri_engine_nonce_use(struct peri_engine *engine, struct peri_str nonce, peri_session_fn done, void *data);
/* One session; NOT_FOUND. out must be zeroed or hold one (fini). */
enum peri_code peri_engine_session(struct peri_engine *engine, uint64_t id, struct peri_session *out,
                                   struct peri_error *err);
/* Newest first below before_id (0: from the newest); status: NULL, or READY, ACTIVE, REVOKED, EXPIRED in any case. */
enum peri_code peri_engine_sessions(struct peri_engine *engine, const char *status, uint64_t before_id, size_t limit,
                                    void (*fn)(void *data, const struct peri_session *session), void *data,
                                    struct peri_error *err);
/* Those that are READY or ACTIVE; others are left as they are. On PERI_OK done comes later. */
enum peri_code peri_engine_sessions_revoke(struct peri_engine *engine, const uint64_t *ids, size_t count,
                                           void (*done)(void *data, const struct peri_error *err), void *data,
                                           struct peri_error *err);

#endif
