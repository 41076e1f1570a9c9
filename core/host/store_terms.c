/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "host/store_sqlite.h"

/* What calls asked for, in a table beside theirs: most ask for nothing, and have no row. */

static int insert_terms(struct peri__conn *conn, const struct peri_call *call)
{
    const struct peri_terms *terms = call->terms;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_TERMS_INSERT);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)call->id);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)call->function_id);
    sqlite3_bind_int64(stmt, 3, terms->start_ms);
    sqlite3_bind_int64(stmt, 4, terms->expires_ms);
    sqlite3_bind_int64(stmt, 5, (sqlite3_int64)terms->queue);
    sqlite3_bind_int64(stmt, 6, (sqlite3_int64)terms->attempts);
    sqlite3_bind_int(stmt, 7, terms->retry);
    sqlite3_bind_int64(stmt, 8, terms->base_ms);
    sqlite3_bind_int64(stmt, 9, terms->cap_ms);
    peri__bind_text(stmt, 10, terms->key);
    if (terms->key)
        peri__bind_text(stmt, 11, terms->request_hash);
    return peri__conn_step(stmt);
}

int peri__apply_call_terms(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    const struct peri_call *call = write->call;
    int rc = insert_terms(conn, call);
    if (rc == SQLITE_OK)
        return peri__apply_call(conn, write);
    if ((rc & 0xff) != SQLITE_CONSTRAINT || !call->terms->key)
        return rc;
    peri_error_set(err, PERI_CONFLICT, "another call has the idempotency key '%s'", call->terms->key);
    return SQLITE_CONSTRAINT;
}

int peri__apply_terms_again(struct peri__conn *conn, uint64_t call_id, int64_t start_ms)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_TERMS_AGAIN);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)call_id);
    sqlite3_bind_int64(stmt, 2, start_ms);
    return peri__conn_step(stmt);
}

int peri__apply_dead(struct peri__conn *conn, const struct peri_call *call)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_TERMS_DEAD);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)call->id);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)call->function_id);
    return peri__conn_step(stmt);
}

static int no_dead_call(const struct peri_write *write, enum peri_code code, struct peri_error *err)
{
    peri_error_set(err, code, "call %llu is not among the dead ones", (unsigned long long)write->id);
    return SQLITE_CONSTRAINT;
}

int peri__apply_revive(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    int rc = peri__apply_with_id(conn, PERI__SQL_CALL_REVIVE, write->id);
    if (rc == SQLITE_OK && !sqlite3_changes(conn->db))
        return no_dead_call(write, PERI_CONFLICT, err);
    if (rc == SQLITE_OK)
        rc = peri__apply_with_id(conn, PERI__SQL_TERMS_REVIVE, write->id);
    return rc == SQLITE_OK ? peri__apply_with_id(conn, PERI__SQL_RESPONSE_DROP, write->id) : rc;
}

int peri__apply_dismiss(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    int rc = peri__apply_with_id(conn, PERI__SQL_TERMS_DISMISS, write->id);
    return rc == SQLITE_OK && !sqlite3_changes(conn->db) ? no_dead_call(write, PERI_NOT_FOUND, err) : rc;
}

/* ---- reading ---- */

static void read_row(sqlite3_stmt *stmt, struct peri_terms *terms, bool *dead)
{
    terms->start_ms = sqlite3_column_int64(stmt, 0);
    terms->expires_ms = sqlite3_column_int64(stmt, 1);
    terms->queue = (unsigned)sqlite3_column_int(stmt, 2);
    terms->attempts = (unsigned)sqlite3_column_int(stmt, 3);
    terms->retry = sqlite3_column_int(stmt, 4) != 0;
    terms->base_ms = sqlite3_column_int64(stmt, 5);
    terms->cap_ms = sqlite3_column_int64(stmt, 6);
    terms->key = (char *)(uintptr_t)sqlite3_column_text(stmt, 7);
    const char *hash = (const char *)sqlite3_column_text(stmt, 8);
    if (hash && strlen(hash) == 64)
        memcpy(terms->request_hash, hash, 65);
    *dead = sqlite3_column_int(stmt, 9) != 0;
}

static bool asks_for_something(const struct peri_terms *terms)
{
    return terms->start_ms || terms->expires_ms || terms->queue || terms->attempts || terms->retry || terms->key;
}

int peri__read_terms(struct peri__conn *conn, struct peri_call *call)
{
    if (!call->async)
        return SQLITE_OK;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_TERMS_GET);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)call->id);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        struct peri_terms terms = { 0 };
        read_row(stmt, &terms, &call->dead);
        if (asks_for_something(&terms) && !(call->terms = peri_terms_copy(&terms)))
            rc = SQLITE_NOMEM;
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

enum peri_code peri__read_key(struct peri_store *base, uint64_t function_id, const char *key, uint64_t *call_id,
                              char request_hash[65], struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = peri__conn_sql(&store->reader, PERI__SQL_KEY_GET);
    if (!stmt)
        return peri__conn_error(&store->reader, err, "can't read the store");
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)function_id);
    peri__bind_text(stmt, 2, key);
    int rc = sqlite3_step(stmt);
    enum peri_code code = PERI_OK;
    if (rc == SQLITE_ROW) {
        const char *hash = (const char *)sqlite3_column_text(stmt, 1);
        *call_id = (uint64_t)sqlite3_column_int64(stmt, 0);
        sqlite3_snprintf(65, request_hash, "%s", hash ? hash : "");
    } else if (rc == SQLITE_DONE) {
        code = peri_error_set(err, PERI_NOT_FOUND, "no call has the idempotency key '%s'", key);
    } else {
        code = peri__conn_error(&store->reader, err, "can't read the store");
    }
    sqlite3_reset(stmt);
    return code;
}
