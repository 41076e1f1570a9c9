/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "host/store_sqlite.h"

#define FUNCTION_COLUMNS                                                                                               \
    "pending, id, external_id, name, description, owner, metadata, env, cpu, memory_gb, runtime, file_id, entry,"      \
    " timeout_ms, memory_limit, created_ms, updated_ms, status, error_message, error_trace, version_id, version,"      \
    " code_hash, code_size, secrets, secret_names, concurrency, attempts"
#define TERMS_COLUMNS "start_ms, expires_ms, queue, attempts, retry, base_ms, cap_ms, key, request_hash"
#define FILE_COLUMNS "id, external_id, name, mime_type, uploaded, hash, size, created_ms, updated_ms, uploaded_ms"
#define GENERATOR_COLUMNS "name, start, step, used, last, created_ms, updated_ms"
#define PARENT_COLUMNS "id, owner, readers, writers, created_ms, updated_ms"
#define OBJECT_COLUMNS "id, parent, filename, persno, lock_id, hash, size, created_ms, modified_ms"
#define SESSION_COLUMNS "id, type, status, client_id, created_ms, expires_ms"
#define SESSION_END                                                                                                    \
    "UPDATE sessions SET status = iif(status = 'ACTIVE', 'REVOKED', status), expires_ms = min(expires_ms, ?2)"         \
    " WHERE id IN "
#define SCHEDULE_COLUMNS                                                                                               \
    "id, function_id, external_id, name, description, cron, timezone, input, body, session_id, client_id, missed,"     \
    " overlap, paused, created_ms, updated_ms, since_ms"
#define NOT_DOOMED "function_id NOT IN (SELECT function_id FROM doomed)"

#define CALL_INSERT "INSERT INTO calls (" PERI__CALL_COLUMNS ", meta, request, response) VALUES "
#define CALL_ROW "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
#define CALL_4_ROWS CALL_ROW "," CALL_ROW "," CALL_ROW "," CALL_ROW

static const char *const texts[PERI__SQL_COUNT] = {
    [PERI__SQL_BEGIN] = "BEGIN IMMEDIATE",
    [PERI__SQL_COMMIT] = "COMMIT",
    [PERI__SQL_ROLLBACK] = "ROLLBACK",
    [PERI__SQL_SAVEPOINT] = "SAVEPOINT one",
    [PERI__SQL_RELEASE] = "RELEASE one",
    [PERI__SQL_UNDO] = "ROLLBACK TO one",
    [PERI__SQL_CALL_INSERT] = CALL_INSERT CALL_ROW,
    [PERI__SQL_CALLS_INSERT] = CALL_INSERT CALL_4_ROWS "," CALL_4_ROWS "," CALL_4_ROWS "," CALL_4_ROWS,
    [PERI__SQL_CALL_PROGRESS] = "UPDATE calls SET state = 1, start_ms = ?1 WHERE id = ?2 AND state < 2",
    [PERI__SQL_CALL_REQUEUE] = "UPDATE calls SET state = 0, start_ms = 0, attempt = ?1 WHERE id = ?2 AND state < 2",
    [PERI__SQL_CALL_END] = "UPDATE calls SET function_id = ?2, version_id = ?3, version = ?4, schedule_id = ?5,"
                           " scheduled_ms = ?6, timeout_ms = ?7, async = ?8, state = ?9, attempt = ?10,"
                           " created_ms = ?11, start_ms = ?12, end_ms = ?13, code = ?14, error_message = ?15,"
                           " error_trace = ?16, input = ?17, status = ?18, content_type = ?19, headers = ?20,"
                           " cpu_us = ?21, memory_peak = ?22 WHERE id = ?1 AND state < 2",
    [PERI__SQL_CALL_REVIVE] =
        "UPDATE calls SET state = 0, attempt = 1, start_ms = 0, end_ms = 0, code = NULL, error_message = NULL,"
        " error_trace = NULL, status = 0, content_type = NULL, headers = NULL, cpu_us = 0, memory_peak = 0"
        " WHERE id = ?1 AND state > 1 AND EXISTS (SELECT 1 FROM terms WHERE call_id = ?1 AND dead = 1)"
        " AND " NOT_DOOMED,
    [PERI__SQL_RESPONSE_DROP] = "UPDATE bodies SET response = NULL WHERE call_id = ?",
    [PERI__SQL_TERMS_INSERT] =
        "INSERT INTO terms (call_id, function_id, " TERMS_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PERI__SQL_TERMS_AGAIN] = "UPDATE terms SET start_ms = ?2, expires_ms = 0 WHERE call_id = ?1",
    [PERI__SQL_TERMS_DEAD] = "INSERT INTO terms (call_id, function_id, dead) SELECT ?1, ?2, 1 WHERE EXISTS"
                             " (SELECT 1 FROM calls WHERE id = ?1) ON CONFLICT (call_id) DO UPDATE SET dead = 1",
    [PERI__SQL_TERMS_REVIVE] = "UPDATE terms SET dead = 0, start_ms = 0, expires_ms = 0 WHERE call_id = ?",
    [PERI__SQL_TERMS_DISMISS] = "UPDATE terms SET dead = 0 WHERE call_id = ? AND dead = 1",
    [PERI__SQL_TERMS_DELETE] = "DELETE FROM terms WHERE call_id = ?",
    [PERI__SQL_TERMS_GET] = "SELECT " TERMS_COLUMNS ", dead FROM terms WHERE call_id = ?",
    [PERI__SQL_KEY_GET] = "SELECT call_id, request_hash FROM terms WHERE function_id = ? AND key = ?",
    [PERI__SQL_BODY_INSERT] = "INSERT INTO bodies (call_id, meta, request, response, session_id)"
                              " VALUES (?, ?, ?, ?, ?)",
    [PERI__SQL_BODY_RESPONSE] = "INSERT INTO bodies (call_id, response) SELECT ?1, ?2 WHERE EXISTS"
                                " (SELECT 1 FROM calls WHERE id = ?1)"
                                " ON CONFLICT (call_id) DO UPDATE SET response = excluded.response",
    [PERI__SQL_LOG_INSERT] = "INSERT OR REPLACE INTO logs (call_id, first, count, lines) SELECT ?1, ?2, ?3, ?4"
                             " WHERE EXISTS (SELECT 1 FROM calls WHERE id = ?1)",
    [PERI__SQL_FUNCTION_PUT] =
        "INSERT INTO functions (" FUNCTION_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
        " ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28) ON CONFLICT (id, pending) DO "
        "UPDATE SET"
        " external_id = ?3, name = ?4, description = ?5, owner = ?6, metadata = ?7, env = ?8, cpu = ?9,"
        " memory_gb = ?10, runtime = ?11, file_id = ?12, entry = ?13, timeout_ms = ?14, memory_limit = ?15,"
        " created_ms = ?16, updated_ms = ?17, status = ?18, error_message = ?19, error_trace = ?20,"
        " version_id = ?21, version = ?22, code_hash = ?23, code_size = ?24, secrets = ?25,"
        " secret_names = ?26, concurrency = ?27, attempts = ?28",
    [PERI__SQL_FUNCTION_NAMED] = "SELECT 1 FROM functions WHERE external_id = ? AND pending = 0 AND id <> ?",
    [PERI__SQL_PENDING_DROP] = "DELETE FROM functions WHERE id = ? AND pending = 1",
    [PERI__SQL_VERSION_PUT] = "INSERT OR REPLACE INTO versions (id, function_id, number, code_hash, code_size, entry,"
                              " env, timeout_ms, memory_limit, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PERI__SQL_VERSION_PRUNE] = "DELETE FROM versions WHERE function_id = ? AND number <= ?",
    [PERI__SQL_FUNCTION_DELETE] = "DELETE FROM functions WHERE id = ?",
    [PERI__SQL_VERSIONS_DELETE] = "DELETE FROM versions WHERE function_id = ?",
    [PERI__SQL_DOOM] = "INSERT OR IGNORE INTO doomed (function_id) VALUES (?)",
    [PERI__SQL_FUNCTION_CALLED] = "UPDATE functions SET last_called_ms = ? WHERE id = ? AND pending = 0",
    [PERI__SQL_FILE_NAMED] = "SELECT 1 FROM files WHERE external_id = ? AND id <> ?",
    [PERI__SQL_FILE_PUT] = "INSERT OR REPLACE INTO files (" FILE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PERI__SQL_SESSION_PUT] = "INSERT INTO sessions (id, type, status, nonce_hash, client_id, created_ms, expires_ms)"
                              " VALUES (?, ?, ?, ?, ?, ?, ?)",
    [PERI__SQL_NONCE_USE] = "UPDATE sessions SET nonce_hash = NULL, status = 'ACTIVE', expires_ms = ?3"
                            " WHERE nonce_hash = ?1 AND expires_ms > ?2 RETURNING " SESSION_COLUMNS,
    [PERI__SQL_NONCE_EXPIRE] = "DELETE FROM sessions WHERE nonce_hash IS NOT NULL AND expires_ms <= ?",
    [PERI__SQL_SESSION_REVOKE] = "UPDATE sessions SET status = 'REVOKED', nonce_hash = NULL WHERE id = ?"
                                 " AND status IN ('READY', 'ACTIVE')",
    [PERI__SQL_SESSION_KEEP] = "UPDATE sessions SET expires_ms = ?2 WHERE id = ?1 AND status = 'ACTIVE'",
    [PERI__SQL_SESSION_OF_SCHEDULE] = SESSION_END "(SELECT session_id FROM schedules WHERE id = ?1)",
    [PERI__SQL_SESSIONS_OF_FUNCTION] = SESSION_END "(SELECT session_id FROM schedules WHERE function_id = ?1)",
    [PERI__SQL_KEEP_SESSIONS] = "DELETE FROM sessions WHERE id IN"
                                " (SELECT id FROM sessions WHERE expires_ms < ? LIMIT ?)",
    [PERI__SQL_SCHEDULE_NAMED] = "SELECT 1 FROM schedules WHERE external_id = ? AND id <> ?",
    [PERI__SQL_SCHEDULE_PUT] =
        "INSERT INTO schedules (" SCHEDULE_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
        " ?14, ?15, ?16, ?17) ON CONFLICT (id) DO UPDATE SET function_id = ?2, external_id = ?3, name = ?4,"
        " description = ?5, cron = ?6, timezone = ?7, input = ?8, body = ?9, session_id = ?10, client_id = ?11,"
        " missed = ?12, overlap = ?13, paused = ?14, created_ms = ?15, updated_ms = ?16, since_ms = ?17",
    [PERI__SQL_SCHEDULE_DELETE] = "DELETE FROM schedules WHERE id = ?",
    [PERI__SQL_SCHEDULES_OF_DELETE] = "DELETE FROM schedules WHERE function_id = ?",
    [PERI__SQL_SCHEDULE_TICKED] = "UPDATE schedules SET since_ms = ?2, last_ms = iif(?3, ?2, last_ms) WHERE id = ?1",
    [PERI__SQL_SCHEDULES] = "SELECT " SCHEDULE_COLUMNS ", last_ms FROM schedules ORDER BY id",
    [PERI__SQL_TICK_INSERT] = "INSERT INTO ticks (id, schedule_id, scheduled_ms, outcome, call_id, at_ms, reason)"
                              " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (schedule_id, scheduled_ms) DO NOTHING",
    [PERI__SQL_TICKS] = "SELECT id, schedule_id, scheduled_ms, outcome, call_id, at_ms, reason FROM ticks"
                        " WHERE schedule_id = ?1 AND scheduled_ms < ?2 ORDER BY scheduled_ms DESC LIMIT ?3",
    [PERI__SQL_TICKS_AGED] = "DELETE FROM ticks WHERE id IN (SELECT id FROM ticks WHERE id < ? ORDER BY id LIMIT ?)",
    [PERI__SQL_TICKS_EXCESS] = "DELETE FROM ticks WHERE id IN (SELECT id FROM ticks WHERE id <= (SELECT id FROM ticks"
                               " ORDER BY id DESC LIMIT 1 OFFSET ?) ORDER BY id LIMIT ?)",
    [PERI__SQL_META_PUT] = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
    [PERI__SQL_META_GET] = "SELECT value FROM meta WHERE key = ?",
    [PERI__SQL_CALL_COUNT] = "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM doomed)",
    [PERI__SQL_KEEP_AGE] = "SELECT id FROM calls WHERE id < ? AND state > 1 ORDER BY id LIMIT ?",
    [PERI__SQL_KEEP_NUMBER] = "SELECT id FROM calls WHERE state > 1 ORDER BY id LIMIT ?",
    [PERI__SQL_DOOMED] = "SELECT function_id FROM doomed LIMIT 1",
    [PERI__SQL_DOOMED_CALLS] = "SELECT id FROM calls WHERE function_id = ? LIMIT ?",
    [PERI__SQL_DOOMED_DONE] = "DELETE FROM doomed WHERE function_id = ?",
    [PERI__SQL_CALL_DELETE] = "DELETE FROM calls WHERE id = ?",
    [PERI__SQL_BODY_DELETE] = "DELETE FROM bodies WHERE call_id = ?",
    [PERI__SQL_LOG_DELETE] = "DELETE FROM logs WHERE call_id = ?",
    [PERI__SQL_CALL_GET] = "SELECT " PERI__CALL_COLUMNS " FROM calls WHERE id = ? AND " NOT_DOOMED,
    [PERI__SQL_BODY_GET] = "SELECT meta, request, response, session_id FROM bodies WHERE call_id = ?1 UNION ALL"
                           " SELECT meta, request, response, 0 FROM calls WHERE id = ?1 AND async = 0",
    [PERI__SQL_LOG_GET] = "SELECT first, lines FROM logs WHERE call_id = ?1 AND first + count > ?2 ORDER BY first",
    [PERI__SQL_FILE_GET] = "SELECT " FILE_COLUMNS " FROM files WHERE id = ?1 OR external_id = ?2",
    [PERI__SQL_FILES] = "SELECT " FILE_COLUMNS " FROM files",
    [PERI__SQL_SESSION_GET] = "SELECT " SESSION_COLUMNS " FROM sessions WHERE id = ?",
    [PERI__SQL_SESSIONS] = "SELECT " SESSION_COLUMNS " FROM sessions WHERE id < ?1 ORDER BY id DESC",
    [PERI__SQL_FUNCTIONS] = "SELECT " FUNCTION_COLUMNS ", last_called_ms FROM functions ORDER BY id, pending",
    [PERI__SQL_PACKAGES] = "SELECT code_hash FROM versions UNION SELECT code_hash FROM functions"
                           " WHERE code_hash IS NOT NULL",
    [PERI__SQL_PACKAGES_OF] = "SELECT code_hash FROM versions WHERE function_id = ?1 UNION SELECT code_hash"
                              " FROM functions WHERE id = ?1 AND code_hash IS NOT NULL",
    [PERI__SQL_GENERATOR_GET] = "SELECT " GENERATOR_COLUMNS " FROM generators WHERE name = ?",
    [PERI__SQL_GENERATORS] = "SELECT " GENERATOR_COLUMNS " FROM generators WHERE name > ? ORDER BY name LIMIT ?",
    [PERI__SQL_GENERATOR_PUT] =
        "INSERT OR REPLACE INTO generators (" GENERATOR_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?)",
    [PERI__SQL_GENERATOR_DELETE] = "DELETE FROM generators WHERE name = ?",
    [PERI__SQL_PARENT_GET] = "SELECT " PARENT_COLUMNS " FROM parents WHERE id = ?",
    [PERI__SQL_PARENTS] = "SELECT " PARENT_COLUMNS " FROM parents WHERE id > ? ORDER BY id LIMIT ?",
    [PERI__SQL_PARENT_PUT] = "INSERT INTO parents (" PARENT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
                             " ON CONFLICT (id) DO UPDATE SET owner = ?2, readers = ?3, writers = ?4, updated_ms = ?6",
    [PERI__SQL_PARENT_DELETE] = "DELETE FROM parents WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM file_objects"
                                " WHERE parent = ?1)",
    [PERI__SQL_OBJECT_GET] = "SELECT " OBJECT_COLUMNS " FROM file_objects WHERE id = ?",
    [PERI__SQL_OBJECTS] = "SELECT " OBJECT_COLUMNS " FROM file_objects WHERE id < ? ORDER BY id DESC LIMIT ?",
    [PERI__SQL_OBJECTS_OF] = "SELECT " OBJECT_COLUMNS " FROM file_objects WHERE id < ? AND parent = ?3"
                             " ORDER BY id DESC LIMIT ?2",
    [PERI__SQL_OBJECT_INSERT] =
        "INSERT INTO file_objects (" OBJECT_COLUMNS ") SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9"
        " WHERE EXISTS (SELECT 1 FROM parents WHERE id = ?2)",
    [PERI__SQL_OBJECT_CONTENT] = "UPDATE file_objects SET lock_id = ?2, hash = ?3, size = ?4, modified_ms = ?5"
                                 " WHERE id = ?1",
    [PERI__SQL_OBJECT_DELETE] = "DELETE FROM file_objects WHERE id = ?",
    [PERI__SQL_CONTENT_USED] = "SELECT 1 FROM file_objects WHERE hash = ? AND hash <> '' LIMIT 1",
};

enum peri_code peri__conn_error(struct peri__conn *conn, struct peri_error *err, const char *what)
{
    int rc = conn->db ? sqlite3_extended_errcode(conn->db) : SQLITE_NOMEM;
    const char *why = conn->db ? sqlite3_errmsg(conn->db) : "out of memory";
    if ((rc & 0xff) == SQLITE_FULL)
        why = "the disk is full";
    enum peri_code code = peri_error_set(err, PERI_STORE, "%s: %s (SQLite code %d)", what, why, rc);
    if (err)
        err->retryable = (rc & 0xff) == SQLITE_FULL || (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_BUSY;
    return code;
}

enum peri_code peri__conn_open(struct peri__conn *conn, const char *path, struct peri_error *err)
{
    /* One thread at a time uses a connection, so SQLite need not lock it. */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &conn->db, flags, NULL) != SQLITE_OK)
        return peri__conn_error(conn, err, path);
    sqlite3_busy_timeout(conn->db, 10000);
    static const char setup[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4000;"
                                "PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY";
    if (sqlite3_exec(conn->db, setup, NULL, NULL, NULL) != SQLITE_OK)
        return peri__conn_error(conn, err, path);
    return PERI_OK;
}

void peri__conn_close(struct peri__conn *conn)
{
    for (size_t i = 0; i < PERI__SQL_COUNT; i++)
        sqlite3_finalize(conn->stmts[i]);
    sqlite3_close(conn->db);
    memset(conn, 0, sizeof *conn);
}

sqlite3_stmt *peri__conn_sql(struct peri__conn *conn, enum peri__sql id)
{
    sqlite3_stmt **stmt = &conn->stmts[id];
    if (!*stmt && sqlite3_prepare_v3(conn->db, texts[id], -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL) != SQLITE_OK)
        return NULL;
    sqlite3_reset(*stmt);
    sqlite3_clear_bindings(*stmt);
    return *stmt;
}

int peri__conn_step(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        rc = SQLITE_DONE;
    int reset = sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : reset != SQLITE_OK ? reset : rc;
}

int peri__conn_run(struct peri__conn *conn, enum peri__sql id)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, id);
    return stmt ? peri__conn_step(stmt) : SQLITE_ERROR;
}
