/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "host/store_sqlite.h"

/* Each function here runs inside the writer's transaction and returns an SQLite code; SQLITE_CONSTRAINT and
 * SQLITE_NOTFOUND mean that this write alone is refused, with *err set. */

static int store_lines(struct peri__conn *conn, const struct peri_write *write)
{
    if (!write->line_count)
        return SQLITE_OK;
    struct peri_buf blob;
    peri_buf_init(&blob, INT32_MAX);
    int rc = SQLITE_NOMEM;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_LOG_INSERT);
    if (stmt && peri__lines_encode(&blob, write->lines, write->line_count) == PERI_OK) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)(write->call ? write->call->id : write->id));
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)write->lines_first);
        sqlite3_bind_int64(stmt, 3, (sqlite3_int64)write->line_count);
        sqlite3_bind_blob64(stmt, 4, blob.data, blob.len, SQLITE_STATIC);
        rc = peri__conn_step(stmt);
    }
    peri_buf_fini(&blob);
    return rc;
}

static void bind_bytes(sqlite3_stmt *stmt, int at, const struct peri_buf *bytes, size_t most)
{
    if (bytes->len && bytes->len <= most)
        sqlite3_bind_blob64(stmt, at, bytes->data, bytes->len, SQLITE_STATIC);
}

static void bind_bodies(sqlite3_stmt *stmt, int at, const struct peri_call *call, size_t most)
{
    if (call->request_meta)
        peri__bind_text(stmt, at, call->request_meta);
    bind_bytes(stmt, at + 1, &call->request, most);
    bind_bytes(stmt, at + 2, &call->response, most);
}

/* Bodies of synchronous calls, written once and small, are in the call's row: one insertion less. Those of asynchronous
 * ones are beside it, so that changes of its state don't write them again. */
int peri__apply_call(struct peri__conn *conn, const struct peri_write *write)
{
    const struct peri_call *call = write->call;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_CALL_INSERT);
    if (!stmt || peri__bind_call(stmt, 1, call) != SQLITE_OK)
        return SQLITE_NOMEM;
    if (!call->async)
        bind_bodies(stmt, 23, call, PERI_SYNC_BODY_KEPT);
    int rc = peri__conn_step(stmt);
    if (rc == SQLITE_OK && call->async) {
        stmt = peri__conn_sql(conn, PERI__SQL_BODY_INSERT);
        if (!stmt)
            return SQLITE_NOMEM;
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)call->id);
        bind_bodies(stmt, 2, call, SIZE_MAX);
        sqlite3_bind_int64(stmt, 5, (sqlite3_int64)call->session_id);
        rc = peri__conn_step(stmt);
    }
    return rc == SQLITE_OK ? store_lines(conn, write) : rc;
}

static int apply_call(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    return peri__apply_call(conn, write);
}

static bool is_record(const struct peri_write *write)
{
    return write->kind == PERI_WRITE_CALL && !write->call->async;
}

/* PERI__CALLS_AT_ONCE records of synchronous calls from `first` on, as one statement: a third of the work of as many.
 * SQLITE_NOTFOUND: there are not so many in a row. */
static int apply_records(struct peri__conn *conn, struct peri_write *first, const struct peri_write *end,
                         struct peri_write **next)
{
    struct peri_write *write = first;
    int count = 0, rc = SQLITE_OK;
    for (; write != end && count < PERI__CALLS_AT_ONCE && is_record(write); write = write->next)
        count++;
    if (count < PERI__CALLS_AT_ONCE)
        return SQLITE_NOTFOUND;
    *next = write;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_CALLS_INSERT);
    if (!stmt)
        return SQLITE_NOMEM;
    int at = 1;
    for (write = first; write != *next && rc == SQLITE_OK; write = write->next, at += PERI__CALL_PARAMETERS) {
        rc = peri__bind_call(stmt, at, write->call);
        bind_bodies(stmt, at + PERI__CALL_PARAMETERS - 3, write->call, PERI_SYNC_BODY_KEPT);
    }
    if (rc == SQLITE_OK)
        rc = peri__conn_step(stmt);
    for (write = first; write != *next && rc == SQLITE_OK; write = write->next)
        rc = store_lines(conn, write);
    return rc;
}

static int apply_progress(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_CALL_PROGRESS);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, write->at_ms);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)write->id);
    int rc = peri__conn_step(stmt);
    return rc == SQLITE_OK ? store_lines(conn, write) : rc;
}

static int apply_requeue(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_CALL_REQUEUE);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)write->attempt);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)write->id);
    int rc = peri__conn_step(stmt);
    if (rc == SQLITE_OK && write->at_ms)
        rc = peri__apply_terms_again(conn, write->id, write->at_ms);
    return rc == SQLITE_OK ? store_lines(conn, write) : rc;
}

static int apply_end(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    const struct peri_call *call = write->call;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_CALL_END);
    if (!stmt || peri__bind_call(stmt, 1, call) != SQLITE_OK)
        return SQLITE_NOMEM;
    int rc = peri__conn_step(stmt);
    if (rc == SQLITE_OK && call->response.len) {
        stmt = peri__conn_sql(conn, PERI__SQL_BODY_RESPONSE);
        if (!stmt)
            return SQLITE_NOMEM;
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)call->id);
        bind_bytes(stmt, 2, &call->response, SIZE_MAX);
        rc = peri__conn_step(stmt);
    }
    if (rc == SQLITE_OK && call->dead)
        rc = peri__apply_dead(conn, call);
    return rc == SQLITE_OK ? store_lines(conn, write) : rc;
}

int peri__apply_name_taken(struct peri__conn *conn, enum peri__sql id, const char *name, uint64_t own, bool *taken)
{
    *taken = false;
    if (!name)
        return SQLITE_OK;
    sqlite3_stmt *stmt = peri__conn_sql(conn, id);
    if (!stmt)
        return SQLITE_NOMEM;
    peri__bind_text(stmt, 1, name);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)own);
    int rc = sqlite3_step(stmt);
    *taken = rc == SQLITE_ROW;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int put_function(struct peri__conn *conn, const struct peri_function *function, bool pending,
                        struct peri_error *err)
{
    bool taken = false;
    int rc = pending
                 ? SQLITE_OK
                 : peri__apply_name_taken(conn, PERI__SQL_FUNCTION_NAMED, function->external_id, function->id, &taken);
    if (rc != SQLITE_OK)
        return rc;
    if (taken) {
        peri_error_set(err, PERI_CONFLICT, "there is a function '%s' already", function->external_id);
        return SQLITE_CONSTRAINT;
    }
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_FUNCTION_PUT);
    if (!stmt || peri__bind_function(stmt, function, pending) != SQLITE_OK)
        return SQLITE_NOMEM;
    return peri__conn_step(stmt);
}

int peri__apply_with_id(struct peri__conn *conn, enum peri__sql id, uint64_t number)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, id);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
    return peri__conn_step(stmt);
}

static int apply_function(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    return put_function(conn, write->function, write->pending, err);
}

static int apply_version_failed(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    int rc = put_function(conn, write->function, false, err);
    return rc == SQLITE_OK ? peri__apply_with_id(conn, PERI__SQL_PENDING_DROP, write->function->id) : rc;
}

/* How many versions of a function are kept for calls to be repeated on. */
#define VERSIONS_KEPT 20

static int apply_version(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    const struct peri_function *function = write->function;
    int rc = apply_version_failed(conn, write, err);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_VERSION_PUT);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)function->version_id);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)function->id);
    sqlite3_bind_int64(stmt, 3, (sqlite3_int64)function->version);
    peri__bind_text(stmt, 4, function->code_hash);
    sqlite3_bind_int64(stmt, 5, function->code_size);
    peri__bind_text(stmt, 6, function->entry);
    peri__bind_text(stmt, 7, function->env);
    sqlite3_bind_int64(stmt, 8, function->timeout_ms);
    sqlite3_bind_int64(stmt, 9, (sqlite3_int64)function->memory_limit);
    sqlite3_bind_int64(stmt, 10, function->updated_ms);
    rc = peri__conn_step(stmt);
    if (rc != SQLITE_OK || function->version <= VERSIONS_KEPT)
        return rc;
    stmt = peri__conn_sql(conn, PERI__SQL_VERSION_PRUNE);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)function->id);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)function->version - VERSIONS_KEPT);
    return peri__conn_step(stmt);
}

static int apply_function_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    int rc = peri__apply_with_id(conn, PERI__SQL_FUNCTION_DELETE, write->id);
    if (rc == SQLITE_OK)
        rc = peri__apply_with_id(conn, PERI__SQL_VERSIONS_DELETE, write->id);
    if (rc == SQLITE_OK)
        rc = peri__apply_session_end(conn, PERI__SQL_SESSIONS_OF_FUNCTION, write);
    if (rc == SQLITE_OK)
        rc = peri__apply_with_id(conn, PERI__SQL_SCHEDULES_OF_DELETE, write->id);
    return rc == SQLITE_OK ? peri__apply_with_id(conn, PERI__SQL_DOOM, write->id) : rc;
}

static int apply_function_called(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_FUNCTION_CALLED);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, write->at_ms);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)write->id);
    return peri__conn_step(stmt);
}

static int apply_file(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    const struct peri_file *file = write->file;
    bool taken = false;
    int rc = peri__apply_name_taken(conn, PERI__SQL_FILE_NAMED, file->external_id, file->id, &taken);
    if (rc != SQLITE_OK)
        return rc;
    if (taken) {
        peri_error_set(err, PERI_CONFLICT, "there is a file with the external id '%s' already", file->external_id);
        return SQLITE_CONSTRAINT;
    }
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_FILE_PUT);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)file->id);
    peri__bind_text(stmt, 2, file->external_id);
    peri__bind_text(stmt, 3, file->name);
    peri__bind_text(stmt, 4, file->mime_type);
    sqlite3_bind_int(stmt, 5, file->uploaded);
    peri__bind_text(stmt, 6, file->hash);
    sqlite3_bind_int64(stmt, 7, file->size);
    sqlite3_bind_int64(stmt, 8, file->created_ms);
    sqlite3_bind_int64(stmt, 9, file->updated_ms);
    sqlite3_bind_int64(stmt, 10, file->uploaded_ms);
    return peri__conn_step(stmt);
}

static int apply_session(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    const struct peri_session *session = write->session;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_NONCE_EXPIRE);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, session->created_ms);
    int rc = peri__conn_step(stmt);
    stmt = rc == SQLITE_OK ? peri__conn_sql(conn, PERI__SQL_SESSION_PUT) : NULL;
    if (!stmt)
        return rc == SQLITE_OK ? SQLITE_NOMEM : rc;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)session->id);
    peri__bind_text(stmt, 2, session->type);
    peri__bind_text(stmt, 3, session->status);
    peri__bind_text(stmt, 4, session->nonce_hash);
    peri__bind_text(stmt, 5, session->client_id);
    sqlite3_bind_int64(stmt, 6, session->created_ms);
    sqlite3_bind_int64(stmt, 7, session->expires_ms);
    return peri__conn_step(stmt);
}

static int apply_nonce(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    struct peri_session *session = write->session;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_NONCE_USE);
    if (!stmt)
        return SQLITE_NOMEM;
    peri__bind_text(stmt, 1, session->nonce_hash);
    sqlite3_bind_int64(stmt, 2, session->created_ms);
    sqlite3_bind_int64(stmt, 3, session->expires_ms);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE) {
        peri_error_set(err, PERI_BAD_REQUEST, "the nonce is unknown, used already or expired");
        sqlite3_reset(stmt);
        return SQLITE_CONSTRAINT;
    }
    if (rc == SQLITE_ROW) {
        peri__row_session(stmt, session);
        rc = sqlite3_step(stmt); /* the change itself is complete only at the end of the rows */
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int apply_revoke(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    int rc = SQLITE_OK;
    for (size_t i = 0; i < write->id_count && rc == SQLITE_OK; i++) {
        sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_SESSION_REVOKE);
        if (!stmt)
            return SQLITE_NOMEM;
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)write->ids[i]);
        rc = peri__conn_step(stmt);
    }
    return rc;
}

static int apply_clean(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)write;
    (void)err;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_META_PUT);
    if (!stmt)
        return SQLITE_NOMEM;
    peri__bind_text(stmt, 1, "clean");
    sqlite3_bind_int(stmt, 2, 1);
    return peri__conn_step(stmt);
}

static const struct {
    int (*apply)(struct peri__conn *conn, struct peri_write *write, struct peri_error *err);
    bool may_refuse; /* gets a savepoint of its own */
    const char *what;
} kinds[PERI_WRITE_COUNT] = {
    [PERI_WRITE_CALL] = { apply_call, false, "can't store the call" },
    [PERI_WRITE_CALL_PROGRESS] = { apply_progress, false, "can't store the call's progress" },
    [PERI_WRITE_CALL_TERMS] = { peri__apply_call_terms, true, "can't store the call" },
    [PERI_WRITE_CALL_REVIVE] = { peri__apply_revive, true, "can't requeue the call" },
    [PERI_WRITE_CALL_DISMISS] = { peri__apply_dismiss, true, "can't dismiss the call" },
    [PERI_WRITE_CALL_REQUEUE] = { apply_requeue, false, "can't put the call back" },
    [PERI_WRITE_CALL_END] = { apply_end, false, "can't store the call's end" },
    [PERI_WRITE_FUNCTION] = { apply_function, true, "can't store the function" },
    [PERI_WRITE_VERSION] = { apply_version, true, "can't store the function's version" },
    [PERI_WRITE_VERSION_FAILED] = { apply_version_failed, true, "can't store the function" },
    [PERI_WRITE_FUNCTION_DELETE] = { apply_function_delete, false, "can't delete the function" },
    [PERI_WRITE_FUNCTION_CALLED] = { apply_function_called, false, "can't store when the function was called" },
    [PERI_WRITE_FILE] = { apply_file, true, "can't store the file's record" },
    [PERI_WRITE_SESSION] = { apply_session, true, "can't store the session" },
    [PERI_WRITE_NONCE] = { apply_nonce, true, "can't use the nonce" },
    [PERI_WRITE_NUMBERS] = { peri__apply_numbers, true, "can't store the generator" },
    [PERI_WRITE_GENERATOR] = { peri__apply_generator, true, "can't store the generator" },
    [PERI_WRITE_GENERATOR_DELETE] = { peri__apply_generator_delete, true, "can't delete the generator" },
    [PERI_WRITE_PARENT] = { peri__apply_parent, false, "can't store the parent" },
    [PERI_WRITE_PARENT_DELETE] = { peri__apply_parent_delete, true, "can't delete the parent" },
    [PERI_WRITE_OBJECT] = { peri__apply_object, true, "can't store the file's record" },
    [PERI_WRITE_OBJECT_CONTENT] = { peri__apply_object_content, true, "can't store the file's content" },
    [PERI_WRITE_OBJECT_DELETE] = { peri__apply_object_delete, true, "can't delete the file" },
    [PERI_WRITE_SESSIONS_REVOKE] = { apply_revoke, false, "can't revoke the sessions" },
    [PERI_WRITE_SCHEDULE] = { peri__apply_schedule, true, "can't store the schedule" },
    [PERI_WRITE_SCHEDULE_DELETE] = { peri__apply_schedule_delete, false, "can't delete the schedule" },
    [PERI_WRITE_TICK] = { peri__apply_tick, true, "can't store the schedule's tick" },
    [PERI_WRITE_CLEAN] = { apply_clean, false, "can't note the end" },
};

enum peri_code peri__apply(struct peri__conn *conn, struct peri_write *write, const struct peri_write *end,
                           struct peri_write **next, struct peri_error *err)
{
    int rc = is_record(write) ? apply_records(conn, write, end, next) : SQLITE_NOTFOUND;
    if (rc == SQLITE_OK)
        return PERI_OK;
    if (rc != SQLITE_NOTFOUND)
        return peri__conn_error(conn, err, kinds[PERI_WRITE_CALL].what);
    *next = write->next;
    bool guarded = kinds[write->kind].may_refuse;
    if (guarded && peri__conn_run(conn, PERI__SQL_SAVEPOINT) != SQLITE_OK)
        return peri__conn_error(conn, err, kinds[write->kind].what);
    rc = kinds[write->kind].apply(conn, write, err);
    if (rc == SQLITE_OK) {
        if (!guarded || peri__conn_run(conn, PERI__SQL_RELEASE) == SQLITE_OK)
            return PERI_OK;
        return peri__conn_error(conn, err, kinds[write->kind].what);
    }
    if (!guarded || rc != SQLITE_CONSTRAINT || err->code == PERI_OK)
        return peri__conn_error(conn, err, kinds[write->kind].what);
    if (peri__conn_run(conn, PERI__SQL_UNDO) != SQLITE_OK || peri__conn_run(conn, PERI__SQL_RELEASE) != SQLITE_OK)
        return peri__conn_error(conn, err, kinds[write->kind].what);
    return err->code;
}
