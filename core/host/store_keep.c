/* SPDX-License-Identifier: MIT */
#include "host/store_sqlite.h"

#define STEP 500                                    /* records in one transaction */
#define AGE_INTERVAL_MS (60 * 1000)                 /* between looks for records that grew too old */
#define SESSION_KEEP_MS (24 * 3600 * INT64_C(1000)) /* after its end */
#define TICKS_STEP 5000 /* more than come in the time between two looks, with a schedule of each second */
#define ID_EPOCH_MS INT64_C(1735689600000)

enum peri_code peri__keep_init(struct peri__keep *keep, struct peri__conn *conn, struct peri_error *err)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_CALL_COUNT);
    if (!stmt || sqlite3_step(stmt) != SQLITE_ROW)
        return peri__conn_error(conn, err, "can't read the store");
    keep->calls = (uint64_t)sqlite3_column_int64(stmt, 0);
    keep->doomed = sqlite3_column_int64(stmt, 1) > 0;
    sqlite3_reset(stmt);
    return PERI_OK;
}

static bool delete_call(struct peri__conn *conn, sqlite3_int64 id)
{
    static const enum peri__sql tables[] = { PERI__SQL_LOG_DELETE, PERI__SQL_BODY_DELETE, PERI__SQL_TERMS_DELETE,
                                             PERI__SQL_CALL_DELETE };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        sqlite3_stmt *stmt = peri__conn_sql(conn, tables[i]);
        if (!stmt)
            return false;
        sqlite3_bind_int64(stmt, 1, id);
        if (peri__conn_step(stmt) != SQLITE_OK)
            return false;
    }
    return true;
}

/* Deletes the calls that a prepared SELECT of ids names; how many, -1 on failure. */
static int delete_selected(struct peri__conn *conn, sqlite3_stmt *select)
{
    sqlite3_int64 ids[STEP];
    int count = 0, rc = SQLITE_NOMEM;
    while (select && count < STEP && (rc = sqlite3_step(select)) == SQLITE_ROW)
        ids[count++] = sqlite3_column_int64(select, 0);
    sqlite3_reset(select);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        return -1;
    if (!count)
        return 0;
    if (peri__conn_run(conn, PERI__SQL_BEGIN) != SQLITE_OK)
        return -1;
    bool ok = true;
    for (int i = 0; i < count && ok; i++)
        ok = delete_call(conn, ids[i]);
    if (ok && peri__conn_run(conn, PERI__SQL_COMMIT) == SQLITE_OK)
        return count;
    peri__conn_run(conn, PERI__SQL_ROLLBACK);
    return -1;
}

static int step_doomed(struct peri__conn *conn, bool *doomed)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_DOOMED);
    int rc = stmt ? sqlite3_step(stmt) : SQLITE_NOMEM;
    sqlite3_int64 id = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    if (rc == SQLITE_DONE)
        *doomed = false;
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? 0 : -1;
    stmt = peri__conn_sql(conn, PERI__SQL_DOOMED_CALLS);
    if (stmt) {
        sqlite3_bind_int64(stmt, 1, id);
        sqlite3_bind_int(stmt, 2, STEP);
    }
    int count = delete_selected(conn, stmt);
    if (count != 0)
        return count;
    stmt = peri__conn_sql(conn, PERI__SQL_DOOMED_DONE);
    if (!stmt)
        return -1;
    sqlite3_bind_int64(stmt, 1, id);
    return peri__conn_step(stmt) == SQLITE_OK ? 1 : -1;
}

static int step_age(struct peri__keep *keep, struct peri__conn *conn)
{
    int64_t oldest = peri_clock_wall_ms(keep->clock) - keep->keep_ms - ID_EPOCH_MS;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_KEEP_AGE);
    if (stmt) {
        sqlite3_bind_int64(stmt, 1, oldest > 0 ? oldest * 4096 : 0);
        sqlite3_bind_int(stmt, 2, STEP);
    }
    return delete_selected(conn, stmt);
}

/* Records of ticks go as calls do: whether a tick runs again does not hang on them, as schedules move on. */
static void drop_ticks(struct peri__keep *keep, struct peri__conn *conn)
{
    int64_t oldest = peri_clock_wall_ms(keep->clock) - keep->keep_ms - ID_EPOCH_MS;
    sqlite3_stmt *stmt = keep->keep_ms && oldest > 0 ? peri__conn_sql(conn, PERI__SQL_TICKS_AGED) : NULL;
    if (stmt) {
        sqlite3_bind_int64(stmt, 1, oldest * 4096);
        sqlite3_bind_int(stmt, 2, TICKS_STEP);
        peri__conn_step(stmt);
    }
    stmt = keep->keep_calls ? peri__conn_sql(conn, PERI__SQL_TICKS_EXCESS) : NULL;
    if (stmt) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)keep->keep_calls);
        sqlite3_bind_int(stmt, 2, TICKS_STEP);
        peri__conn_step(stmt);
    }
}

static int step_number(struct peri__keep *keep, struct peri__conn *conn)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_KEEP_NUMBER);
    uint64_t excess = keep->calls - keep->keep_calls;
    if (stmt)
        sqlite3_bind_int64(stmt, 1, excess < STEP ? (sqlite3_int64)excess : STEP);
    return delete_selected(conn, stmt);
}

/* Sessions that have ended stay to be looked at for a while. A bounded number at a time: more go with the next looks. */
static void drop_sessions(const struct peri__keep *keep, struct peri__conn *conn)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_KEEP_SESSIONS);
    if (!stmt)
        return;
    sqlite3_bind_int64(stmt, 1, peri_clock_wall_ms(keep->clock) - SESSION_KEEP_MS);
    sqlite3_bind_int(stmt, 2, STEP * 10);
    peri__conn_step(stmt);
}

static bool too_many(const struct peri__keep *keep)
{
    return keep->keep_calls && keep->calls > keep->keep_calls;
}

static bool look_for_age(const struct peri__keep *keep)
{
    return keep->keep_ms && peri_clock_monotonic_ms(keep->clock) >= keep->next_age;
}

bool peri__keep_due(const struct peri__keep *keep)
{
    return keep->doomed || too_many(keep) || look_for_age(keep);
}

bool peri__keep_step(struct peri__keep *keep, struct peri__conn *conn)
{
    int deleted = 0;
    if (keep->doomed)
        deleted = step_doomed(conn, &keep->doomed);
    else if (too_many(keep))
        deleted = step_number(keep, conn);
    else if (look_for_age(keep)) {
        deleted = step_age(keep, conn);
        if (deleted < STEP) {
            drop_sessions(keep, conn);
            drop_ticks(keep, conn);
            keep->next_age = peri_clock_monotonic_ms(keep->clock) + AGE_INTERVAL_MS;
        }
    }
    if (deleted > 0)
        keep->calls -= (uint64_t)deleted < keep->calls ? (uint64_t)deleted : keep->calls;
    return deleted > 0;
}
