/* SPDX-License-Identifier: MIT */
#include "host/store_sqlite.h"

/* Version n of the schema is made from version n - 1 by the n-th entry. Never change an entry that was released. */
static const char *const migrations[] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE functions (id INTEGER NOT NULL, pending INTEGER NOT NULL, external_id TEXT, name TEXT,"
    " description TEXT, owner TEXT, metadata TEXT, env TEXT, cpu REAL, memory_gb REAL, runtime TEXT, file_id INTEGER,"
    " entry TEXT, timeout_ms INTEGER, memory_limit INTEGER, created_ms INTEGER, updated_ms INTEGER,"
    " last_called_ms INTEGER, status INTEGER NOT NULL, error_message TEXT, error_trace TEXT, version_id INTEGER,"
    " version INTEGER, code_hash TEXT, code_size INTEGER, PRIMARY KEY (id, pending)) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX functions_external_id ON functions (external_id) WHERE pending = 0;"
    "CREATE TABLE versions (id INTEGER PRIMARY KEY, function_id INTEGER NOT NULL, number INTEGER NOT NULL,"
    " code_hash TEXT NOT NULL, code_size INTEGER, entry TEXT, env TEXT, timeout_ms INTEGER, memory_limit INTEGER,"
    " created_ms INTEGER);"
    "CREATE UNIQUE INDEX versions_function ON versions (function_id, number);"
    "CREATE TABLE calls (id INTEGER PRIMARY KEY, function_id INTEGER NOT NULL, version_id INTEGER, version INTEGER,"
    " schedule_id INTEGER, scheduled_ms INTEGER, timeout_ms INTEGER, async INTEGER NOT NULL, state INTEGER NOT NULL,"
    " attempt INTEGER, created_ms INTEGER, start_ms INTEGER, end_ms INTEGER, code TEXT, error_message TEXT,"
    " error_trace TEXT, input INTEGER, status INTEGER, content_type TEXT, headers TEXT, cpu_us INTEGER,"
    " memory_peak INTEGER, meta TEXT, request BLOB, response BLOB);" /* the last three of synchronous calls only */
    "CREATE INDEX calls_function ON calls (function_id, id);"
    "CREATE INDEX calls_open ON calls (id) WHERE state < 2;"
    "CREATE INDEX calls_schedule ON calls (schedule_id, id) WHERE schedule_id > 0;"
    "CREATE TABLE bodies (call_id INTEGER PRIMARY KEY, meta TEXT, request BLOB, response BLOB);"
    "CREATE TABLE logs (call_id INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, lines BLOB NOT NULL,"
    " PRIMARY KEY (call_id, first)) WITHOUT ROWID;"
    "CREATE TABLE doomed (function_id INTEGER PRIMARY KEY);"
    "CREATE TABLE files (id INTEGER PRIMARY KEY, external_id TEXT UNIQUE, name TEXT, mime_type TEXT,"
    " uploaded INTEGER NOT NULL, hash TEXT, size INTEGER, created_ms INTEGER, updated_ms INTEGER,"
    " uploaded_ms INTEGER);"
    "CREATE TABLE sessions (id INTEGER PRIMARY KEY, type TEXT, status TEXT, nonce_hash TEXT UNIQUE, client_id TEXT,"
    " created_ms INTEGER, expires_ms INTEGER);",
    "CREATE TABLE generators (name TEXT PRIMARY KEY, start INTEGER NOT NULL, step INTEGER NOT NULL,"
    " used INTEGER NOT NULL, last INTEGER NOT NULL, created_ms INTEGER, updated_ms INTEGER) WITHOUT ROWID;"
    "CREATE TABLE parents (id TEXT PRIMARY KEY, owner TEXT, readers TEXT, writers TEXT, created_ms INTEGER,"
    " updated_ms INTEGER) WITHOUT ROWID;"
    "CREATE TABLE file_objects (id INTEGER PRIMARY KEY, parent TEXT NOT NULL, filename TEXT, persno TEXT,"
    " lock_id TEXT, hash TEXT, size INTEGER, created_ms INTEGER, modified_ms INTEGER);"
    "CREATE INDEX file_objects_parent ON file_objects (parent, id);"
    "CREATE INDEX file_objects_hash ON file_objects (hash) WHERE hash <> '';",
    ("ALTER TABLE functions ADD COLUMN secrets TEXT; ALTER TABLE functions ADD COLUMN secret_names TEXT;"
     "CREATE INDEX sessions_expires ON sessions (expires_ms)"),
    "CREATE TABLE schedules (id INTEGER PRIMARY KEY, function_id INTEGER NOT NULL, external_id TEXT UNIQUE, name TEXT,"
    " description TEXT, cron TEXT NOT NULL, timezone TEXT NOT NULL, input INTEGER NOT NULL, body BLOB,"
    " session_id INTEGER, client_id TEXT, missed INTEGER NOT NULL, overlap INTEGER NOT NULL, paused INTEGER NOT NULL,"
    " created_ms INTEGER, updated_ms INTEGER, since_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX schedules_function ON schedules (function_id);"
    "CREATE TABLE ticks (id INTEGER PRIMARY KEY, schedule_id INTEGER NOT NULL, scheduled_ms INTEGER NOT NULL,"
    " outcome INTEGER NOT NULL, call_id INTEGER, at_ms INTEGER, reason TEXT);"
    "CREATE UNIQUE INDEX ticks_once ON ticks (schedule_id, scheduled_ms);",
    "ALTER TABLE bodies ADD COLUMN session_id INTEGER",
    "ALTER TABLE functions ADD COLUMN concurrency INTEGER; ALTER TABLE functions ADD COLUMN attempts INTEGER;"
    "CREATE TABLE terms (call_id INTEGER PRIMARY KEY, function_id INTEGER NOT NULL, start_ms INTEGER NOT NULL"
    " DEFAULT 0, expires_ms INTEGER, queue INTEGER, attempts INTEGER, retry INTEGER, base_ms INTEGER, cap_ms INTEGER, "
    "key TEXT,"
    " request_hash TEXT, dead INTEGER NOT NULL DEFAULT 0);"
    "CREATE UNIQUE INDEX terms_key ON terms (function_id, key) WHERE key IS NOT NULL;"
    "CREATE INDEX terms_dead ON terms (call_id) WHERE dead = 1",
};
#define NEWEST ((int)(sizeof migrations / sizeof *migrations))

static int pragma_version(sqlite3 *db)
{
    sqlite3_stmt *stmt = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
        version = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return version;
}

enum peri_code peri__schema_migrate(struct peri__conn *conn, const char *path, struct peri_error *err)
{
    int version = pragma_version(conn->db);
    if (version < 0)
        return peri__conn_error(conn, err, path);
    if (version > NEWEST)
        return peri_error_set(err, PERI_UNSUPPORTED,
                              "the store %s has version %d, made by a newer perilune; this one knows versions up to %d",
                              path, version, NEWEST);
    for (; version < NEWEST; version++) {
        char *sql =
            sqlite3_mprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", migrations[version], version + 1);
        if (!sql)
            return peri_error_set(err, PERI_NOMEM, "out of memory");
        int rc = sqlite3_exec(conn->db, sql, NULL, NULL, NULL);
        sqlite3_free(sql);
        if (rc != SQLITE_OK) {
            enum peri_code code = peri__conn_error(conn, err, path);
            sqlite3_exec(conn->db, "ROLLBACK", NULL, NULL, NULL);
            return code;
        }
    }
    return PERI_OK;
}
