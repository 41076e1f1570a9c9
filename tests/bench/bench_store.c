/* SPDX-License-Identifier: MIT */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "host/store.h"
#include "perilune/loop.h"

/* Durable enqueue of asynchronous calls through the store, and the same insert (same schema, synchronous=FULL) into
 * SQLite directly with transactions of 1 and of 100. Prints one JSON line a measurement.
 * usage: bench_store [FOLDER [SECONDS]] */

#define BODY "{\"day\":\"2026-11-22\",\"rows\":[1,2,3,4,5,6,7,8,9,10],\"note\":\"a body of about a hundred bytes\"}"
#define META                                                                                                           \
    "{\"method\":\"POST\",\"path\":\"/v1/functions/report/calls\",\"query\":{},\"headers\":{\"host\":\"127.0.0.1\"}}"

static char path[1024];
static double seconds = 2;

static void report(const char *what, unsigned outstanding, unsigned long long done, double took)
{
    printf("{\"bench\":\"store\",\"what\":\"%s\",\"at_once\":%u,\"calls\":%llu,\"calls_per_s\":%.0f}\n", what,
           outstanding, done, (double)done / took);
    fflush(stdout);
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void remove_store(void)
{
    static const char *const ends[] = { "", "-wal", "-shm" };
    char name[1100];
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static struct peri_store *open_store(struct peri_loop *loop)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_store *store = NULL;
    struct peri_store_options options = { .uv = peri_loop_uv(loop), .path = path, .clock = peri_clock_system() };
    if (peri_store_sqlite_new(&options, &store, &err) != PERI_OK)
        die("the store", err.message);
    return store;
}

/* ---- through the store ---- */

struct enqueue {
    struct peri_store *store;
    double until;
    unsigned long long done, next_id;
    unsigned pending;
};

struct one {
    struct peri_write write;
    struct peri_call *call;
    struct enqueue *enqueue;
};

static void submit(struct one *one);

static void on_durable(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct one *one = data;
    (void)write;
    if (err)
        die("enqueue", err->message);
    peri_call_unref(one->call);
    one->call = NULL;
    one->enqueue->done++;
    one->enqueue->pending--;
    if (bench_start().wall < one->enqueue->until)
        submit(one);
}

static void submit(struct one *one)
{
    struct peri_call *call = peri_call_new();
    if (!call || peri_buf_append_text(&call->request, BODY) != PERI_OK || !(call->request_meta = strdup(META)))
        die("enqueue", "out of memory");
    call->id = ++one->enqueue->next_id;
    call->function_id = 1 + call->id % 7;
    call->async = true;
    call->attempt = 1;
    call->created_ms = 1700000000000;
    one->call = call;
    one->write = (struct peri_write){ .kind = PERI_WRITE_CALL, .call = call, .done = on_durable, .data = one };
    one->enqueue->pending++;
    one->enqueue->store->kind->write(one->enqueue->store, &one->write);
}

static void through_store(unsigned outstanding)
{
    remove_store();
    struct peri_loop *loop = peri_loop_new(NULL);
    struct one *all = calloc(outstanding, sizeof *all);
    if (!loop || !all)
        die("bench", "out of memory");
    struct bench_clock start = bench_start();
    struct enqueue enqueue = { .store = open_store(loop), .until = start.wall + seconds };
    for (unsigned i = 0; i < outstanding; i++) {
        all[i].enqueue = &enqueue;
        submit(&all[i]);
    }
    while (enqueue.pending)
        peri_loop_run_once(loop, 100, NULL);
    report("through the store", outstanding, enqueue.done, bench_start().wall - start.wall);
    enqueue.store->kind->free(enqueue.store);
    peri_loop_free(loop);
    free(all);
}

/* ---- SQLite directly ---- */

static void step(sqlite3 *db, sqlite3_stmt *stmt)
{
    if (sqlite3_step(stmt) != SQLITE_DONE)
        die("sqlite", sqlite3_errmsg(db));
    sqlite3_reset(stmt);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        die("sqlite", sqlite3_errmsg(db));
    return stmt;
}

static void directly(unsigned batch)
{
    remove_store();
    struct peri_loop *loop = peri_loop_new(NULL);
    struct peri_store *store = loop ? open_store(loop) : NULL; /* makes the schema */
    if (!store)
        die("bench", "out of memory");
    store->kind->free(store);
    peri_loop_free(loop);
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000", NULL,
                     NULL, NULL) != SQLITE_OK)
        die("sqlite", sqlite3_errmsg(db));
    sqlite3_stmt *begin = prepare(db, "BEGIN IMMEDIATE"), *commit = prepare(db, "COMMIT");
    sqlite3_stmt *call = prepare(db, "INSERT INTO calls (id, function_id, version_id, version, schedule_id,"
                                     " scheduled_ms, timeout_ms, async, state, attempt, created_ms, start_ms, end_ms,"
                                     " input, status, cpu_us, memory_peak) VALUES (?, ?, 0, 0, 0, 0, 0, 1, 0, 1,"
                                     " 1700000000000, 0, 0, 0, 0, 0, 0)");
    sqlite3_stmt *body = prepare(db, "INSERT INTO bodies (call_id, meta, request) VALUES (?, ?, ?)");
    struct bench_clock start = bench_start();
    unsigned long long done = 0;
    while (bench_start().wall < start.wall + seconds) {
        step(db, begin);
        for (unsigned i = 0; i < batch; i++) {
            sqlite3_int64 id = (sqlite3_int64)++done;
            sqlite3_bind_int64(call, 1, id);
            sqlite3_bind_int64(call, 2, 1 + id % 7);
            step(db, call);
            sqlite3_bind_int64(body, 1, id);
            sqlite3_bind_text(body, 2, META, -1, SQLITE_STATIC);
            sqlite3_bind_blob(body, 3, BODY, (int)strlen(BODY), SQLITE_STATIC);
            step(db, body);
        }
        step(db, commit);
    }
    report("sqlite directly", batch, done, bench_start().wall - start.wall);
    sqlite3_finalize(begin);
    sqlite3_finalize(commit);
    sqlite3_finalize(call);
    sqlite3_finalize(body);
    sqlite3_close(db);
}

int main(int argc, char **argv)
{
    snprintf(path, sizeof path, "%s/bench-store-%d.db", argc > 1 ? argv[1] : "/tmp", (int)getpid());
    if (argc > 2)
        seconds = strtod(argv[2], NULL);
    directly(1);
    directly(100);
    through_store(1);
    through_store(64);
    through_store(1000);
    remove_store();
    return 0;
}
