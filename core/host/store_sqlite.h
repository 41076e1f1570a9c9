/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_STORE_SQLITE_H
#define CORE_HOST_STORE_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>
#include <uv.h>

#include "host/store.h"

/* What the files of the SQLite store share. */

enum peri__sql {
    PERI__SQL_BEGIN,
    PERI__SQL_COMMIT,
    PERI__SQL_ROLLBACK,
    PERI__SQL_SAVEPOINT,
    PERI__SQL_RELEASE,
    PERI__SQL_UNDO,
    PERI__SQL_CALL_INSERT,
    PERI__SQL_CALLS_INSERT, /* PERI__CALLS_AT_ONCE of them */
    PERI__SQL_CALL_PROGRESS,
    PERI__SQL_CALL_REQUEUE,
    PERI__SQL_CALL_END,
    PERI__SQL_CALL_REVIVE,
    PERI__SQL_RESPONSE_DROP,
    PERI__SQL_TERMS_INSERT,
    PERI__SQL_TERMS_AGAIN,
    PERI__SQL_TERMS_DEAD,
    PERI__SQL_TERMS_REVIVE,
    PERI__SQL_TERMS_DISMISS,
    PERI__SQL_TERMS_DELETE,
    PERI__SQL_TERMS_GET,
    PERI__SQL_KEY_GET,
    PERI__SQL_BODY_INSERT,
    PERI__SQL_BODY_RESPONSE,
    PERI__SQL_LOG_INSERT,
    PERI__SQL_FUNCTION_PUT,
    PERI__SQL_FUNCTION_NAMED,
    PERI__SQL_PENDING_DROP,
    PERI__SQL_VERSION_PUT,
    PERI__SQL_VERSION_PRUNE,
    PERI__SQL_FUNCTION_DELETE,
    PERI__SQL_VERSIONS_DELETE,
    PERI__SQL_DOOM,
    PERI__SQL_FUNCTION_CALLED,
    PERI__SQL_FILE_NAMED,
    PERI__SQL_FILE_PUT,
    PERI__SQL_SESSION_PUT,
    PERI__SQL_NONCE_USE,
    PERI__SQL_NONCE_EXPIRE,
    PERI__SQL_SESSION_REVOKE,
    PERI__SQL_SESSION_KEEP,
    PERI__SQL_SESSION_OF_SCHEDULE,
    PERI__SQL_SESSIONS_OF_FUNCTION,
    PERI__SQL_KEEP_SESSIONS,
    PERI__SQL_SCHEDULE_NAMED,
    PERI__SQL_SCHEDULE_PUT,
    PERI__SQL_SCHEDULE_DELETE,
    PERI__SQL_SCHEDULES_OF_DELETE,
    PERI__SQL_SCHEDULE_TICKED,
    PERI__SQL_SCHEDULES,
    PERI__SQL_TICK_INSERT,
    PERI__SQL_TICKS,
    PERI__SQL_TICKS_AGED,
    PERI__SQL_TICKS_EXCESS,
    PERI__SQL_META_PUT,
    PERI__SQL_META_GET,
    PERI__SQL_CALL_COUNT,
    PERI__SQL_KEEP_AGE,
    PERI__SQL_KEEP_NUMBER,
    PERI__SQL_DOOMED,
    PERI__SQL_DOOMED_CALLS,
    PERI__SQL_DOOMED_DONE,
    PERI__SQL_CALL_DELETE,
    PERI__SQL_BODY_DELETE,
    PERI__SQL_LOG_DELETE,
    PERI__SQL_CALL_GET,
    PERI__SQL_BODY_GET,
    PERI__SQL_LOG_GET,
    PERI__SQL_FILE_GET,
    PERI__SQL_FILES,
    PERI__SQL_SESSION_GET,
    PERI__SQL_SESSIONS,
    PERI__SQL_FUNCTIONS,
    PERI__SQL_PACKAGES,
    PERI__SQL_PACKAGES_OF,
    PERI__SQL_GENERATOR_GET,
    PERI__SQL_GENERATORS,
    PERI__SQL_GENERATOR_PUT,
    PERI__SQL_GENERATOR_DELETE,
    PERI__SQL_PARENT_GET,
    PERI__SQL_PARENTS,
    PERI__SQL_PARENT_PUT,
    PERI__SQL_PARENT_DELETE,
    PERI__SQL_OBJECT_GET,
    PERI__SQL_OBJECTS,
    PERI__SQL_OBJECTS_OF,
    PERI__SQL_OBJECT_INSERT,
    PERI__SQL_OBJECT_CONTENT,
    PERI__SQL_OBJECT_DELETE,
    PERI__SQL_CONTENT_USED,
    PERI__SQL_COUNT,
};

/* A connection and its prepared statements; used by one thread at a time. */
struct peri__conn {
    sqlite3 *db;
    sqlite3_stmt *stmts[PERI__SQL_COUNT];
};

enum peri_code peri__conn_open(struct peri__conn *conn, const char *path, struct peri_error *err);
void peri__conn_close(struct peri__conn *conn);
/* The prepared statement, reset and without bindings; NULL on failure (sqlite3_errmsg says why). */
sqlite3_stmt *peri__conn_sql(struct peri__conn *conn, enum peri__sql id);
/* Runs a statement that yields no rows and resets it; an SQLite result code, SQLITE_OK on success. */
int peri__conn_step(sqlite3_stmt *stmt);
int peri__conn_run(struct peri__conn *conn, enum peri__sql id);
/* PERI_STORE with what failed and SQLite's words. */
enum peri_code peri__conn_error(struct peri__conn *conn, struct peri_error *err, const char *what);

/* store_schema.c: brings the schema up to date. */
enum peri_code peri__schema_migrate(struct peri__conn *conn, const char *path, struct peri_error *err);

/* store_rows.c: rows to structs and back. */
#define PERI__CALL_COLUMNS                                                                                             \
    "id, function_id, version_id, version, schedule_id, scheduled_ms, timeout_ms, async, state, attempt, created_ms,"  \
    " start_ms, end_ms, code, error_message, error_trace, input, status, content_type, headers, cpu_us, memory_peak"
#define PERI__CALL_PARAMETERS 25 /* of an insertion: the columns above, meta, request, response */
#define PERI__CALLS_AT_ONCE 16
int peri__bind_text(sqlite3_stmt *stmt, int at, const char *text); /* static: must outlive the step */
int peri__bind_function(sqlite3_stmt *stmt, const struct peri_function *function, bool pending);
struct peri_function *peri__row_function(sqlite3_stmt *stmt, bool *pending);
int peri__bind_call(sqlite3_stmt *stmt, int at, const struct peri_call *call); /* from parameter `at` on */
struct peri_call *peri__row_call(sqlite3_stmt *stmt);
/* The columns of their tables in order; false when memory is out. */
int peri__bind_generator(sqlite3_stmt *stmt, const struct peri_generator *generator);
bool peri__row_generator(sqlite3_stmt *stmt, struct peri_generator *out);
int peri__bind_parent(sqlite3_stmt *stmt, const struct peri_parent *parent);
bool peri__row_parent(sqlite3_stmt *stmt, struct peri_parent *out);
int peri__bind_object(sqlite3_stmt *stmt, const struct peri_file_object *object);
bool peri__row_object(sqlite3_stmt *stmt, struct peri_file_object *out);
bool peri__row_file(sqlite3_stmt *stmt, struct peri_file *file);
void peri__row_session(sqlite3_stmt *stmt, struct peri_session *session); /* SESSION_COLUMNS of store_conn.c */
char *peri__column_text(sqlite3_stmt *stmt, int at);                      /* a copy; NULL for NULL */
/* Lines of a call in one blob: per line i64 wall ms, u8 level, u32 length, text. */
enum peri_code peri__lines_encode(struct peri_buf *out, const struct peri_log_line *lines, size_t count);
void peri__lines_decode(struct peri_str blob, size_t index, size_t first,
                        void (*fn)(void *data, size_t index, const struct peri_log_line *line), void *data);

/* store_apply.c: the next write, or several records of calls at once, inside the open transaction. PERI_OK; PERI_STORE: the
 * transaction is broken; anything else: this write is refused and has left no trace. *next is the write that follows
 * what was applied, at most `end`. */
enum peri_code peri__apply(struct peri__conn *conn, struct peri_write *write, const struct peri_write *end,
                           struct peri_write **next, struct peri_error *err);

/* store_access.c: the same for the access service's, and what it reads. */
int peri__apply_numbers(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_generator(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_generator_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_parent(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_parent_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_object(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_object_content(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_object_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
enum peri_code peri__read_generators(struct peri_store *base, const char *after, size_t limit,
                                     void (*fn)(void *data, const struct peri_generator *generator), void *data,
                                     struct peri_error *err);
enum peri_code peri__read_generator(struct peri_store *base, const char *name, struct peri_generator *out,
                                    struct peri_error *err);
enum peri_code peri__read_parents(struct peri_store *base, const char *after, size_t limit,
                                  void (*fn)(void *data, const struct peri_parent *parent), void *data,
                                  struct peri_error *err);
enum peri_code peri__read_parent(struct peri_store *base, const char *id, struct peri_parent *out,
                                 struct peri_error *err);
enum peri_code peri__read_objects(struct peri_store *base, const struct peri_object_filter *filter, size_t limit,
                                  void (*fn)(void *data, const struct peri_file_object *object), void *data,
                                  struct peri_error *err);
enum peri_code peri__read_object(struct peri_store *base, uint64_t id, struct peri_file_object *out,
                                 struct peri_error *err);
bool peri__read_content_used(struct peri_store *base, const char *hash);

int peri__apply_call(struct peri__conn *conn, const struct peri_write *write);
/* Whether another row than `own` has the name; id: a statement that asks so. */
int peri__apply_name_taken(struct peri__conn *conn, enum peri__sql id, const char *name, uint64_t own, bool *taken);
int peri__apply_with_id(struct peri__conn *conn, enum peri__sql id, uint64_t number);

/* store_schedules.c */
int peri__apply_schedule(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
/* The session of a schedule, or those of a function's: id and at_ms of the write. */
int peri__apply_session_end(struct peri__conn *conn, enum peri__sql sql, const struct peri_write *write);
int peri__apply_schedule_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_tick(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
enum peri_code peri__read_schedules(struct peri_store *base, void (*fn)(void *data, struct peri_schedule *schedule),
                                    void *data, struct peri_error *err);
enum peri_code peri__read_ticks(struct peri_store *base, uint64_t schedule_id, int64_t before_ms, size_t limit,
                                void (*fn)(void *data, const struct peri_tick *tick), void *data,
                                struct peri_error *err);

/* store_terms.c */
int peri__apply_call_terms(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_terms_again(struct peri__conn *conn, uint64_t call_id, int64_t start_ms); /* it has started once */
int peri__apply_dead(struct peri__conn *conn, const struct peri_call *call);
int peri__apply_revive(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__apply_dismiss(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
int peri__read_terms(struct peri__conn *conn, struct peri_call *call); /* fills terms and dead */
enum peri_code peri__read_key(struct peri_store *base, uint64_t function_id, const char *key, uint64_t *call_id,
                              char request_hash[65], struct peri_error *err);

/* store_keep.c: retention. */
struct peri__keep {
    int64_t keep_ms;
    uint64_t keep_calls;
    struct peri_clock clock;
    uint64_t calls;   /* records of calls there are */
    bool doomed;      /* some deleted function may have records left */
    int64_t next_age; /* monotonic: when to look for old calls again */
};
enum peri_code peri__keep_init(struct peri__keep *keep, struct peri__conn *conn, struct peri_error *err);
/* One small transaction of deletions; false when nothing is left to do. */
bool peri__keep_step(struct peri__keep *keep, struct peri__conn *conn);
bool peri__keep_due(const struct peri__keep *keep);

struct peri__sqlite {
    struct peri_store base;
    char *path;
    struct peri__conn reader;
    /* Of the thread that set `writing`: */
    struct peri__conn writer;
    struct peri__keep keep;
    /* Shared under the mutex: */
    pthread_mutex_t mutex;
    pthread_cond_t wanted, lazily;   /* what the prompt thread waits for, and the lazy one */
    bool writing;                    /* one of the two is at it */
    struct peri_write *first, *last; /* handed over */
    struct peri_write *done_first, *done_last;
    size_t waiting, urgent;
    int64_t lazy_since; /* uv_hrtime since when lazy writes wait */
    bool stop;
    /* The loop's: */
    size_t backlog;
    pthread_t prompt, lazy;
    bool running;
    uv_async_t *finished;
};

/* store_writer.c */
enum peri_code peri__writer_start(struct peri__sqlite *store, struct uv_loop_s *uv, struct peri_error *err);
void peri__writer_stop(struct peri__sqlite *store);
void peri__writer_write(struct peri_store *store, struct peri_write *write);
size_t peri__writer_backlog(struct peri_store *store);

#endif
