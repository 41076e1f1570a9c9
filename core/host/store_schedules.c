/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/store_sqlite.h"

/* Schedules and their ticks in SQLite. A schedule's session lives as long as the schedule. */

#define SESSION_KEPT_MS INT64_C(4102444799000) /* the end of 2099, the last year that the platform's client can show */

int peri__apply_schedule(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    const struct peri_schedule *s = write->schedule;
    bool taken = false;
    int rc = peri__apply_name_taken(conn, PERI__SQL_SCHEDULE_NAMED, s->external_id, s->id, &taken);
    if (rc != SQLITE_OK)
        return rc;
    if (taken) {
        peri_error_set(err, PERI_CONFLICT, "there is a schedule '%s' already", s->external_id);
        return SQLITE_CONSTRAINT;
    }
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_SCHEDULE_PUT);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)s->id);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)s->function_id);
    peri__bind_text(stmt, 3, s->external_id);
    peri__bind_text(stmt, 4, s->name);
    peri__bind_text(stmt, 5, s->description);
    peri__bind_text(stmt, 6, s->cron);
    peri__bind_text(stmt, 7, s->timezone);
    sqlite3_bind_int(stmt, 8, s->input);
    if (s->body.len)
        sqlite3_bind_blob64(stmt, 9, s->body.data, s->body.len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 10, (sqlite3_int64)s->session_id);
    peri__bind_text(stmt, 11, s->client_id);
    sqlite3_bind_int(stmt, 12, s->missed);
    sqlite3_bind_int(stmt, 13, s->overlap);
    sqlite3_bind_int(stmt, 14, s->paused);
    sqlite3_bind_int64(stmt, 15, s->created_ms);
    sqlite3_bind_int64(stmt, 16, s->updated_ms);
    sqlite3_bind_int64(stmt, 17, s->since_ms);
    rc = peri__conn_step(stmt);
    if (rc != SQLITE_OK || !s->session_id)
        return rc;
    stmt = peri__conn_sql(conn, PERI__SQL_SESSION_KEEP);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)s->session_id);
    sqlite3_bind_int64(stmt, 2, SESSION_KEPT_MS);
    return peri__conn_step(stmt);
}

int peri__apply_session_end(struct peri__conn *conn, enum peri__sql sql, const struct peri_write *write)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, sql);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)write->id);
    sqlite3_bind_int64(stmt, 2, write->at_ms);
    return peri__conn_step(stmt);
}

/* Records of its ticks go with age: their number has no bound that one transaction should bear. */
int peri__apply_schedule_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    (void)err;
    int rc = peri__apply_session_end(conn, PERI__SQL_SESSION_OF_SCHEDULE, write);
    return rc == SQLITE_OK ? peri__apply_with_id(conn, PERI__SQL_SCHEDULE_DELETE, write->id) : rc;
}

int peri__apply_tick(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    const struct peri_tick *tick = write->tick;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_TICK_INSERT);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)tick->id);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)tick->schedule_id);
    sqlite3_bind_int64(stmt, 3, tick->scheduled_ms);
    sqlite3_bind_int(stmt, 4, tick->outcome);
    sqlite3_bind_int64(stmt, 5, (sqlite3_int64)tick->call_id);
    sqlite3_bind_int64(stmt, 6, tick->at_ms);
    peri__bind_text(stmt, 7, tick->reason[0] ? tick->reason : NULL);
    int rc = peri__conn_step(stmt);
    if (rc != SQLITE_OK)
        return rc;
    if (!sqlite3_changes(conn->db)) {
        peri_error_set(err, PERI_CONFLICT, "this tick of the schedule has been dealt with already");
        return SQLITE_CONSTRAINT;
    }
    stmt = peri__conn_sql(conn, PERI__SQL_SCHEDULE_TICKED);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)tick->schedule_id);
    sqlite3_bind_int64(stmt, 2, tick->scheduled_ms);
    sqlite3_bind_int(stmt, 3, tick->outcome == PERI_TICK_CALLED);
    rc = peri__conn_step(stmt);
    return rc == SQLITE_OK && write->call ? peri__apply_call(conn, write) : rc;
}

static struct peri_schedule *row_schedule(sqlite3_stmt *stmt)
{
    struct peri_schedule *s = peri_schedule_new();
    if (!s)
        return NULL;
    s->id = (uint64_t)sqlite3_column_int64(stmt, 0);
    s->function_id = (uint64_t)sqlite3_column_int64(stmt, 1);
    s->external_id = peri__column_text(stmt, 2);
    s->name = peri__column_text(stmt, 3);
    s->description = peri__column_text(stmt, 4);
    s->cron = peri__column_text(stmt, 5);
    s->timezone = peri__column_text(stmt, 6);
    s->input = (enum peri_input)sqlite3_column_int(stmt, 7);
    int len = sqlite3_column_bytes(stmt, 8);
    enum peri_code code = len > 0 ? peri_buf_append(&s->body, sqlite3_column_blob(stmt, 8), (size_t)len) : PERI_OK;
    s->session_id = (uint64_t)sqlite3_column_int64(stmt, 9);
    s->client_id = peri__column_text(stmt, 10);
    s->missed = (enum peri_missed)sqlite3_column_int(stmt, 11);
    s->overlap = (enum peri_overlap)sqlite3_column_int(stmt, 12);
    s->paused = sqlite3_column_int(stmt, 13) != 0;
    s->created_ms = sqlite3_column_int64(stmt, 14);
    s->updated_ms = sqlite3_column_int64(stmt, 15);
    s->since_ms = sqlite3_column_int64(stmt, 16);
    s->last_ms = sqlite3_column_int64(stmt, 17);
    if (code || !s->cron || !s->timezone) {
        peri_schedule_unref(s);
        return NULL;
    }
    return s;
}

static enum peri_code finish(struct peri__sqlite *store, sqlite3_stmt *stmt, int rc, struct peri_error *err)
{
    enum peri_code code =
        rc == SQLITE_DONE ? PERI_OK : peri__conn_error(&store->reader, err, "can't read the store's schedules");
    sqlite3_reset(stmt);
    return code;
}

enum peri_code peri__read_schedules(struct peri_store *base, void (*fn)(void *data, struct peri_schedule *schedule),
                                    void *data, struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = peri__conn_sql(&store->reader, PERI__SQL_SCHEDULES);
    int rc = SQLITE_NOMEM;
    while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct peri_schedule *schedule = row_schedule(stmt);
        if (!schedule) {
            sqlite3_reset(stmt);
            return peri_error_set(err, PERI_NOMEM, "out of memory");
        }
        fn(data, schedule);
    }
    return finish(store, stmt, rc, err);
}

enum peri_code peri__read_ticks(struct peri_store *base, uint64_t schedule_id, int64_t before_ms, size_t limit,
                                void (*fn)(void *data, const struct peri_tick *tick), void *data,
                                struct peri_error *err)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    sqlite3_stmt *stmt = peri__conn_sql(&store->reader, PERI__SQL_TICKS);
    int rc = SQLITE_NOMEM;
    if (stmt) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)schedule_id);
        sqlite3_bind_int64(stmt, 2, before_ms ? before_ms : INT64_MAX);
        sqlite3_bind_int64(stmt, 3, limit > INT32_MAX ? -1 : (sqlite3_int64)limit);
    }
    while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct peri_tick tick = { .id = (uint64_t)sqlite3_column_int64(stmt, 0),
                                  .schedule_id = (uint64_t)sqlite3_column_int64(stmt, 1),
                                  .scheduled_ms = sqlite3_column_int64(stmt, 2),
                                  .outcome = (enum peri_tick_outcome)sqlite3_column_int(stmt, 3),
                                  .call_id = (uint64_t)sqlite3_column_int64(stmt, 4),
                                  .at_ms = sqlite3_column_int64(stmt, 5) };
        const char *reason = (const char *)sqlite3_column_text(stmt, 6);
        sqlite3_snprintf(sizeof tick.reason, tick.reason, "%s", reason ? reason : "");
        fn(data, &tick);
    }
    return finish(store, stmt, rc, err);
}
