/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/engine.h"
#include "host/store_sqlite.h"

static enum peri_code read_failed(struct peri__sqlite *store, struct peri_error *err)
{
    return peri__conn_error(&store->reader, err, "can't read the store");
}

/* Every row of a statement without parameters but perhaps one number. */
static sqlite3_stmt *select_by(struct peri__sqlite *store, enum peri__sql id, uint64_t number)
{
    sqlite3_stmt *stmt = peri__conn_sql(&store->reader, id);
    if (stmt && sqlite3_bind_parameter_count(stmt) > 0)
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
    return stmt;
}

static enum peri_code read_functions(struct peri_store *base,
                                     void (*fn)(void *data, struct peri_function *function, bool pending), void *data,
                                     struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = select_by(store, PERI__SQL_FUNCTIONS, 0);
    int rc = SQLITE_NOMEM;
    while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        bool pending = false;
        struct peri_function *function = peri__row_function(stmt, &pending);
        if (!function)
            break;
        fn(data, function, pending);
    }
    enum peri_code code = rc == SQLITE_DONE ? PERI_OK : read_failed(store, err);
    sqlite3_reset(stmt);
    return code;
}

static enum peri_code read_packages(struct peri_store *base, uint64_t function_id,
                                    void (*fn)(void *data, const char *hash), void *data, struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = select_by(store, function_id ? PERI__SQL_PACKAGES_OF : PERI__SQL_PACKAGES, function_id);
    int rc = SQLITE_NOMEM;
    while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *hash = (const char *)sqlite3_column_text(stmt, 0);
        if (hash)
            fn(data, hash);
    }
    enum peri_code code = rc == SQLITE_DONE ? PERI_OK : read_failed(store, err);
    sqlite3_reset(stmt);
    return code;
}

static bool append_blob(sqlite3_stmt *stmt, int at, struct peri_buf *out)
{
    int len = sqlite3_column_bytes(stmt, at);
    return len <= 0 || peri_buf_append(out, sqlite3_column_blob(stmt, at), (size_t)len) == PERI_OK;
}

static enum peri_code read_bodies(struct peri__sqlite *store, struct peri_call *call, struct peri_error *err)
{
    sqlite3_stmt *stmt = select_by(store, PERI__SQL_BODY_GET, call->id);
    int rc = stmt ? sqlite3_step(stmt) : SQLITE_NOMEM;
    bool ok = true;
    if (rc == SQLITE_ROW) {
        call->request_meta = peri__column_text(stmt, 0);
        call->session_id = (uint64_t)sqlite3_column_int64(stmt, 3);
        ok = append_blob(stmt, 1, &call->request) && append_blob(stmt, 2, &call->response);
    }
    enum peri_code code = rc != SQLITE_ROW && rc != SQLITE_DONE ? read_failed(store, err)
                          : ok                                  ? PERI_OK
                                                                : peri_error_set(err, PERI_NOMEM, "out of memory");
    sqlite3_reset(stmt);
    return code;
}

static enum peri_code read_call(struct peri_store *base, uint64_t id, bool with_body, struct peri_call **out,
                                struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = select_by(store, PERI__SQL_CALL_GET, id);
    int rc = stmt ? sqlite3_step(stmt) : SQLITE_NOMEM;
    struct peri_call *call = rc == SQLITE_ROW ? peri__row_call(stmt) : NULL;
    enum peri_code code = call ? PERI_OK
                          : rc == SQLITE_DONE
                              ? peri_error_set(err, PERI_NOT_FOUND, "there is no call %llu", (unsigned long long)id)
                              : read_failed(store, err);
    sqlite3_reset(stmt);
    if (call && peri__read_terms(&store->reader, call) != SQLITE_OK)
        code = read_failed(store, err);
    if (call && !code && with_body)
        code = read_bodies(store, call, err);
    if (code) {
        peri_call_unref(call);
        return code;
    }
    *out = call;
    return PERI_OK;
}

struct condition {
    const char *sql;
    int64_t value;
    bool set;
};

static enum peri_code prepare_calls(struct peri__sqlite *store, const struct peri_call_filter *f, size_t limit,
                                    sqlite3_stmt **out, struct peri_error *err)
{
    const struct condition conditions[] = {
        { " AND function_id = ?", (int64_t)f->function_id, f->function_id != 0 },
        { " AND id < ?", (int64_t)f->before_id, f->before_id != 0 },
        { " AND state = ?", f->state, f->state >= 0 },
        { " AND id IN (SELECT call_id FROM terms WHERE dead = ?)", 1, f->dead },
        { " AND schedule_id > 0 AND schedule_id = ?", (int64_t)f->schedule_id, f->schedule_id != 0 },
        { " AND created_ms >= ?", f->created_min, f->created_min != 0 },
        { " AND created_ms <= ?", f->created_max, f->created_max != 0 },
        { " AND end_ms >= ?", f->end_min, f->end_min != 0 },
        { " AND end_ms > 0 AND end_ms <= ?", f->end_max, f->end_max != 0 },
    };
    struct peri_buf sql;
    peri_buf_init(&sql, 8192);
    enum peri_code code = peri_buf_append_text(&sql, "SELECT " PERI__CALL_COLUMNS " FROM calls WHERE function_id"
                                                     " NOT IN (SELECT function_id FROM doomed)");
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions && !code; i++)
        if (conditions[i].set)
            code = peri_buf_append_text(&sql, conditions[i].sql);
    if (!code)
        code = peri_buf_append_text(&sql, " ORDER BY id DESC LIMIT ?");
    if (code || sqlite3_prepare_v2(store->reader.db, sql.data, -1, out, NULL) != SQLITE_OK) {
        peri_buf_fini(&sql);
        return read_failed(store, err);
    }
    peri_buf_fini(&sql);
    int at = 1;
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++)
        if (conditions[i].set)
            sqlite3_bind_int64(*out, at++, conditions[i].value);
    sqlite3_bind_int64(*out, at, limit > INT32_MAX ? -1 : (sqlite3_int64)limit);
    return PERI_OK;
}

static enum peri_code read_calls(struct peri_store *base, const struct peri_call_filter *filter, size_t limit,
                                 bool (*fn)(void *data, struct peri_call *call), void *data, struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = NULL;
    enum peri_code code = prepare_calls(store, filter, limit, &stmt, err);
    if (code)
        return code;
    int rc = SQLITE_ROW;
    bool more = true;
    while (more && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct peri_call *call = peri__row_call(stmt);
        if (!call || peri__read_terms(&store->reader, call) != SQLITE_OK) {
            peri_call_unref(call);
            rc = SQLITE_NOMEM;
            break;
        }
        more = fn(data, call);
        peri_call_unref(call);
    }
    code = rc == SQLITE_DONE || rc == SQLITE_ROW ? PERI_OK : read_failed(store, err);
    sqlite3_finalize(stmt);
    return code;
}

static enum peri_code read_log(struct peri_store *base, uint64_t call_id, size_t first,
                               void (*fn)(void *data, size_t index, const struct peri_log_line *line), void *data,
                               struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = select_by(store, PERI__SQL_LOG_GET, call_id);
    if (stmt)
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)first);
    int rc = SQLITE_NOMEM;
    while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct peri_str blob = { sqlite3_column_blob(stmt, 1), (size_t)sqlite3_column_bytes(stmt, 1) };
        peri__lines_decode(blob, (size_t)sqlite3_column_int64(stmt, 0), first, fn, data);
    }
    enum peri_code code = rc == SQLITE_DONE ? PERI_OK : read_failed(store, err);
    sqlite3_reset(stmt);
    return code;
}

static enum peri_code read_file(struct peri_store *base, uint64_t id, struct peri_str external_id,
                                struct peri_file *out, struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = select_by(store, PERI__SQL_FILE_GET, id);
    if (stmt && !id && external_id.data)
        sqlite3_bind_text64(stmt, 2, external_id.data, external_id.len, SQLITE_TRANSIENT, SQLITE_UTF8);
    int rc = stmt ? sqlite3_step(stmt) : SQLITE_NOMEM;
    enum peri_code code = PERI_OK;
    if (rc == SQLITE_DONE)
        code = peri_error_set(err, PERI_NOT_FOUND, "there is no such file");
    else if (rc != SQLITE_ROW)
        code = read_failed(store, err);
    else if (!peri__row_file(stmt, out))
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    sqlite3_reset(stmt);
    return code;
}

static enum peri_code read_files(struct peri_store *base, void (*fn)(void *data, const struct peri_file *file),
                                 void *data, struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = select_by(store, PERI__SQL_FILES, 0);
    int rc = SQLITE_NOMEM;
    while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct peri_file file;
        if (peri__row_file(stmt, &file))
            fn(data, &file);
        peri_file_fini(&file);
    }
    enum peri_code code = rc == SQLITE_DONE ? PERI_OK : read_failed(store, err);
    sqlite3_reset(stmt);
    return code;
}

static enum peri_code read_session(struct peri_store *base, uint64_t id, struct peri_session *out,
                                   struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = select_by(store, PERI__SQL_SESSION_GET, id);
    int rc = stmt ? sqlite3_step(stmt) : SQLITE_NOMEM;
    enum peri_code code = PERI_OK;
    if (rc == SQLITE_ROW)
        peri__row_session(stmt, out);
    else
        code = rc == SQLITE_DONE ? peri_error_set(err, PERI_NOT_FOUND, "there is no such session")
                                 : read_failed(store, err);
    sqlite3_reset(stmt);
    return code;
}

static enum peri_code read_sessions(struct peri_store *base, uint64_t before_id,
                                    bool (*fn)(void *data, const struct peri_session *session), void *data,
                                    struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt =
        select_by(store, PERI__SQL_SESSIONS, before_id && before_id < INT64_MAX ? before_id : INT64_MAX);
    struct peri_session session = { 0 };
    bool more = true;
    int rc = SQLITE_NOMEM;
    while (stmt && more && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        peri__row_session(stmt, &session);
        more = fn(data, &session);
    }
    peri_session_fini(&session);
    enum peri_code code = rc == SQLITE_DONE || rc == SQLITE_ROW ? PERI_OK : read_failed(store, err);
    sqlite3_reset(stmt);
    return code;
}

static int64_t scalar(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    int64_t value = 0;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
        value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return value;
}

/* How many attempts a call has, from the most specific place that says so. */
#define ATTEMPTS                                                                                                       \
    "coalesce((SELECT nullif(t.attempts, 0) FROM terms t WHERE t.call_id = calls.id), (SELECT nullif(f.attempts, 0)"   \
    " FROM functions f WHERE f.id = calls.function_id AND f.pending = 0), %u)"

/* Ends the calls that used up their attempts and lets the others wait again. Those that run by the store have started;
 * others may have, unless their time had not come. */
static enum peri_code settle(struct peri__sqlite *store, struct peri_recovery *recovery, struct peri_error *err)
{
    sqlite3 *db = store->reader.db;
    bool clean = scalar(db, "SELECT value FROM meta WHERE key = 'clean'") != 0;
    char *lost = sqlite3_mprintf(
        "INSERT INTO terms (call_id, function_id, dead) SELECT id, function_id, 1 FROM calls WHERE state = 1"
        " AND attempt >= " ATTEMPTS " ON CONFLICT (call_id) DO UPDATE SET dead = 1;"
        "UPDATE calls SET state = %d, code = 'sandbox_lost', error_message = replace(%Q, '%%u', attempt),"
        " end_ms = %lld WHERE state = 1 AND attempt >= " ATTEMPTS,
        recovery->max_attempts, PERI_CALL_FAILED, recovery->lost_message, (long long)recovery->now_ms,
        recovery->max_attempts);
    char *again = sqlite3_mprintf("UPDATE calls SET attempt = attempt + 1 WHERE state < 2 AND NOT EXISTS (SELECT 1"
                                  " FROM terms t WHERE t.call_id = calls.id AND calls.state = 0 AND t.start_ms > %lld)",
                                  (long long)recovery->now_ms);
    int rc = lost && again ? sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) : SQLITE_NOMEM;
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, lost, NULL, NULL, NULL);
    recovery->failed = (unsigned)sqlite3_changes(db);
    if (rc == SQLITE_OK && !clean)
        rc = sqlite3_exec(db, again, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db,
                          "UPDATE terms SET expires_ms = 0 WHERE call_id IN (SELECT id FROM calls WHERE state < 2"
                          " AND state = 1);"
                          "UPDATE calls SET state = 0, start_ms = 0 WHERE state = 1;"
                          "DELETE FROM meta WHERE key = 'clean'; COMMIT",
                          NULL, NULL, NULL);
    sqlite3_free(lost);
    sqlite3_free(again);
    if (rc == SQLITE_OK)
        return PERI_OK;
    enum peri_code code = read_failed(store, err);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

struct collect {
    struct peri_call **calls;
    size_t count, cap;
    bool failed;
};

static bool collect_call(void *data, struct peri_call *call)
{
    struct collect *all = data;
    if (all->count == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 64;
        struct peri_call **bigger = realloc(all->calls, cap * sizeof(struct peri_call *));
        if (!bigger) {
            all->failed = true;
            return false;
        }
        all->calls = bigger;
        all->cap = cap;
    }
    all->calls[all->count++] = peri_call_ref(call);
    return true;
}

static enum peri_code recover(struct peri_store *base, struct peri_recovery *recovery, struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    enum peri_code code = settle(store, recovery, err);
    if (code)
        return code;
    recovery->max_id = (uint64_t)scalar(
        store->reader.db, "SELECT max(coalesce((SELECT max(id) FROM functions), 0), coalesce((SELECT max(version_id)"
                          " FROM functions), 0), coalesce((SELECT max(id) FROM versions), 0), coalesce((SELECT max(id)"
                          " FROM calls), 0), coalesce((SELECT max(id) FROM files), 0), coalesce((SELECT max(id)"
                          " FROM sessions), 0), coalesce((SELECT max(id) FROM file_objects), 0),"
                          " coalesce((SELECT max(id) FROM schedules), 0), coalesce((SELECT max(id) FROM ticks), 0))");
    struct collect all = { 0 };
    struct peri_call_filter filter = { .state = PERI_CALL_QUEUED };
    code = read_calls(base, &filter, SIZE_MAX, collect_call, &all, err);
    if (!code && all.failed)
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    while (all.count > 0) {
        struct peri_call *call = all.calls[--all.count];
        if (code)
            peri_call_unref(call);
        else
            recovery->waiting(recovery->data, call);
    }
    free(all.calls);
    return code;
}

static void sqlite_free(struct peri_store *base)
{
    if (!base)
        return;
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    peri__writer_stop(store);
    peri__conn_close(&store->reader);
    peri__conn_close(&store->writer);
    free(store->path);
    free(store);
}

static const struct peri_store_kind sqlite_kind = {
    .free = sqlite_free,
    .write = peri__writer_write,
    .backlog = peri__writer_backlog,
    .recover = recover,
    .functions = read_functions,
    .packages = read_packages,
    .call = read_call,
    .calls = read_calls,
    .log = read_log,
    .file = read_file,
    .files = read_files,
    .generators = peri__read_generators,
    .generator = peri__read_generator,
    .parents = peri__read_parents,
    .parent = peri__read_parent,
    .objects = peri__read_objects,
    .object = peri__read_object,
    .content_used = peri__read_content_used,
    .session = read_session,
    .sessions = read_sessions,
    .schedules = peri__read_schedules,
    .ticks = peri__read_ticks,
    .key = peri__read_key,
};

enum peri_code peri_store_sqlite_new(const struct peri_store_options *options, struct peri_store **out,
                                     struct peri_error *err)
{
    *out = NULL;
    /* Its count of bytes costs a lock at every allocation; refused, without harm, when SQLite is in use already. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    struct peri__sqlite *store = calloc(1, sizeof *store);
    if (!store)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    store->base.kind = &sqlite_kind;
    store->keep.keep_ms = options->keep_ms;
    store->keep.keep_calls = options->keep_calls;
    store->keep.clock = options->clock;
    store->path = strdup(options->path);
    enum peri_code code = store->path ? PERI_OK : peri_error_set(err, PERI_NOMEM, "out of memory");
    if (!code)
        code = peri__conn_open(&store->writer, options->path, err);
    if (!code)
        code = peri__schema_migrate(&store->writer, options->path, err);
    if (!code)
        code = peri__conn_open(&store->reader, options->path, err);
    if (!code)
        code = peri__keep_init(&store->keep, &store->writer, err);
    if (!code)
        code = peri__writer_start(store, options->uv, err);
    if (code) {
        sqlite_free(&store->base);
        return code;
    }
    *out = &store->base;
    return PERI_OK;
}
