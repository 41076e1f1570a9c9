/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "host/store.h"

#define ID_EPOCH_MS INT64_C(1735689600000)

struct stored {
    char dir[512], path[600];
    struct peri_loop *loop;
    struct peri_store *store;
    struct peri_store_options options;
};

static void store_open(struct stored *s)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (!s->dir[0])
        fixture_folder(s->dir, sizeof s->dir);
    snprintf(s->path, sizeof s->path, "%s/perilune.db", s->dir);
    s->loop = peri_loop_new(&err);
    s->options.uv = peri_loop_uv(s->loop);
    s->options.path = s->path;
    s->options.clock = peri_clock_system();
    if (peri_store_sqlite_new(&s->options, &s->store, &err) != PERI_OK)
        fail_msg("%s", err.message);
}

static void store_close(struct stored *s)
{
    s->store->kind->free(s->store);
    peri_loop_free(s->loop);
}

static void store_end(struct stored *s)
{
    store_close(s);
    fixture_remove_folder(s->dir);
}

struct written {
    struct peri_write write;
    bool done;
    struct peri_error err;
};

static void on_done(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct written *w = data;
    assert_ptr_equal(write, &w->write);
    assert_false(w->done);
    w->done = true;
    if (err)
        w->err = *err;
}

static void put(struct stored *s, struct written *w)
{
    w->write.done = on_done;
    w->write.data = w;
    s->store->kind->write(s->store, &w->write);
}

static void wait_store(struct stored *s, const bool *flag)
{
    uint64_t until = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (!*flag) {
        peri_loop_run_once(s->loop, 100, NULL);
        if (uv_hrtime() > until)
            fail_msg("the store does not answer");
    }
}

static enum peri_code put_wait(struct stored *s, struct peri_write write, struct peri_error *err)
{
    struct written w = { .write = write };
    put(s, &w);
    wait_store(s, &w.done);
    if (err)
        *err = w.err;
    return w.err.code;
}

static struct peri_call *make_call(uint64_t id, bool async)
{
    struct peri_call *call = peri_call_new();
    call->id = id;
    call->function_id = 1;
    call->version_id = 2;
    call->version = 1;
    call->async = async;
    call->attempt = 1;
    call->created_ms = 1000;
    call->timeout_ms = 60000;
    call->state = async ? PERI_CALL_QUEUED : PERI_CALL_COMPLETED;
    peri_buf_append_text(&call->request, "in");
    return call;
}

static uint64_t read_number(struct stored *s, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    uint64_t value = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return value;
}

static void calls_come_back_as_they_were(void **state)
{
    (void)state;
    struct stored s = { 0 };
    store_open(&s);
    struct peri_call *call = make_call(INT64_C(1) << 52, false), *back = NULL;
    struct peri_log_line lines[2] = { { 5, PERI_LOG_WARN, (char *)(uintptr_t) "one", 3 },
                                      { 6, PERI_LOG_INFO, (char *)(uintptr_t) "t\0o", 3 } };
    call->schedule_id = 9;
    call->state = PERI_CALL_FAILED;
    call->code = PERI_HANDLER_MEMORY;
    call->error_message = strdup("no \"memory\"");
    call->status = 418;
    call->content_type = strdup("text/plain");
    call->headers = strdup("{}");
    call->request_meta = strdup("{\"m\":1}");
    call->cpu_us = 77;
    call->memory_peak = UINT64_C(1) << 40;
    call->start_ms = 1500;
    call->end_ms = 2000;
    peri_buf_append(&call->response, "a\0b", 3);
    struct peri_write write = { .kind = PERI_WRITE_CALL, .call = call, .lines = lines, .line_count = 2 };
    assert_int_equal(put_wait(&s, write, NULL), PERI_OK);
    assert_int_equal(s.store->kind->call(s.store, call->id, true, &back, NULL), PERI_OK);
    assert_int_equal(back->code, PERI_HANDLER_MEMORY);
    assert_string_equal(back->error_message, "no \"memory\"");
    assert_null(back->error_trace);
    assert_int_equal(back->status, 418);
    assert_string_equal(back->request_meta, "{\"m\":1}");
    assert_true(back->memory_peak == call->memory_peak && back->cpu_us == 77 && back->schedule_id == 9);
    assert_true(back->start_ms == 1500 && back->end_ms == 2000 && back->created_ms == 1000 && !back->async);
    assert_int_equal(back->response.len, 3);
    assert_memory_equal(back->response.data, "a\0b", 3);
    peri_call_unref(back);
    peri_call_unref(call);
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(s.store->kind->call(s.store, 5, true, &back, &err), PERI_NOT_FOUND);
    store_end(&s);
}

/* More records than go into one statement, with an asynchronous call among them. The one numbered `twice` has an id that
 * is taken. */
static void put_many(uint64_t twice)
{
    enum { COUNT = 75, ODD = 20 };
    struct stored s = { 0 };
    store_open(&s);
    struct written w[COUNT] = { 0 };
    struct peri_call *calls[COUNT], *back = NULL;
    struct peri_log_line line = { 5, PERI_LOG_WARN, (char *)(uintptr_t) "one", 3 };
    for (uint64_t i = 0; i < COUNT; i++) {
        calls[i] = make_call(i == twice ? 1 : i + 1, i == ODD);
        calls[i]->cpu_us = i;
        calls[i]->content_type = i % 2 ? strdup("text/plain") : NULL;
        peri_buf_append_uint(&calls[i]->response, i);
        w[i].write =
            (struct peri_write){ .kind = PERI_WRITE_CALL, .call = calls[i], .lines = &line, .line_count = i % 2 };
        w[i].write.lazy = i + 1 < COUNT; /* all in one group */
        put(&s, &w[i]);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        wait_store(&s, &w[i].done);
        assert_int_equal(w[i].err.code, i == twice ? PERI_STORE : PERI_OK);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        char response[24];
        snprintf(response, sizeof response, "%d", (int)i);
        if (i != twice) {
            assert_int_equal(s.store->kind->call(s.store, i + 1, true, &back, NULL), PERI_OK);
            assert_true(back->cpu_us == i && back->async == (i == ODD) && !back->request_meta && !back->error_message);
            assert_int_equal(back->content_type != NULL, i % 2);
            assert_string_equal(back->request.data, "in");
            assert_string_equal(back->response.data, response);
            peri_call_unref(back);
        }
        peri_call_unref(calls[i]);
    }
    assert_int_equal(read_number(&s, "SELECT count(*) FROM calls"), twice < COUNT ? COUNT - 1 : COUNT);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM logs"), COUNT / 2);
    store_end(&s);
}

static void many_records_are_stored_at_once(void **state)
{
    (void)state;
    put_many(UINT64_MAX);
}

static void one_bad_record_leaves_the_others_alone(void **state)
{
    (void)state;
    put_many(40);
}

/* Lazy writes alone, in more than one group; an urgent one behind others; and the last ones as the store is freed. */
static void lazy_writes_are_stored_in_order(void **state)
{
    (void)state;
    enum { COUNT = 1300, URGENT = 1200, LATE = 1250 };
    struct stored s = { 0 };
    store_open(&s);
    struct written *w = calloc(COUNT, sizeof *w);
    struct peri_call *calls[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        calls[i] = make_call(i + 1, false);
        w[i].write = (struct peri_write){ .kind = PERI_WRITE_CALL, .call = calls[i], .lazy = i != URGENT };
    }
    for (int i = 0; i < URGENT; i++)
        put(&s, &w[i]);
    wait_store(&s, &w[URGENT - 1].done);
    for (int i = 0; i < URGENT; i++)
        assert_true(w[i].done);
    for (int i = URGENT; i < LATE; i++)
        put(&s, &w[i]);
    wait_store(&s, &w[URGENT].done);
    assert_true(read_number(&s, "SELECT count(*) FROM calls") > URGENT);
    for (int i = LATE; i < COUNT; i++)
        put(&s, &w[i]);
    s.store->kind->free(s.store);
    for (int i = 0; i < COUNT; i++) {
        assert_true(w[i].done);
        assert_int_equal(w[i].err.code, PERI_OK);
        peri_call_unref(calls[i]);
    }
    assert_int_equal(read_number(&s, "SELECT count(*) FROM calls"), COUNT);
    peri_loop_free(s.loop);
    fixture_remove_folder(s.dir);
    free(w);
}

static void names_are_unique_and_others_unharmed(void **state)
{
    (void)state;
    struct stored s = { 0 };
    store_open(&s);
    /* In one group: the refused write leaves its neighbours alone. */
    struct peri_function *functions[3];
    struct written w[5] = { 0 };
    for (int i = 0; i < 3; i++) {
        functions[i] = peri_function_new();
        functions[i]->id = (uint64_t)i + 1;
        functions[i]->external_id = strdup(i == 2 ? "b" : "a");
        w[i].write = (struct peri_write){ .kind = PERI_WRITE_FUNCTION, .function = functions[i], .lazy = true };
    }
    struct peri_call *calls[2] = { make_call(10, true), make_call(11, true) };
    w[3].write = (struct peri_write){ .kind = PERI_WRITE_CALL, .call = calls[0] };
    w[4].write = (struct peri_write){ .kind = PERI_WRITE_CALL, .call = calls[1] };
    for (int i = 0; i < 5; i++)
        put(&s, &w[i]);
    for (int i = 0; i < 5; i++)
        wait_store(&s, &w[i].done);
    assert_int_equal(w[0].err.code, PERI_OK);
    assert_int_equal(w[1].err.code, PERI_CONFLICT);
    assert_int_equal(w[2].err.code + w[3].err.code + w[4].err.code, PERI_OK);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM functions"), 2);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM calls"), 2);
    for (int i = 0; i < 3; i++)
        peri_function_unref(functions[i]);
    peri_call_unref(calls[0]);
    peri_call_unref(calls[1]);
    store_end(&s);
}

static void a_newer_store_is_refused(void **state)
{
    (void)state;
    struct stored s = { 0 };
    store_open(&s);
    store_close(&s);
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    char newest[32];
    sqlite3_open(s.path, &db);
    sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    snprintf(newest, sizeof newest, "up to %d", sqlite3_column_int(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_exec(db, "PRAGMA user_version = 77", NULL, NULL, NULL);
    sqlite3_close(db);
    struct peri_error err = PERI_ERROR_INIT;
    s.loop = peri_loop_new(NULL);
    s.options.uv = peri_loop_uv(s.loop);
    assert_int_equal(peri_store_sqlite_new(&s.options, &s.store, &err), PERI_UNSUPPORTED);
    assert_non_null(strstr(err.message, "77"));
    assert_non_null(strstr(err.message, newest));
    FILE *file = fopen(s.path, "w");
    for (int i = 0; i < 500; i++)
        fputs("this is not a database at all. ", file);
    fclose(file);
    assert_int_equal(peri_store_sqlite_new(&s.options, &s.store, &err), PERI_STORE);
    assert_non_null(strstr(err.message, "not a database"));
    peri_loop_free(s.loop);
    fixture_remove_folder(s.dir);
}

/* ---- older versions ---- */

static char *schema_of(const char *path)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_master ORDER BY name)", -1,
                           &stmt, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    char *schema = strdup((const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return schema;
}

static void make_version_1(const char *path)
{
    static char sql[16384];
    FILE *file = fopen(PERI_SOURCE_DIR "/tests/vectors/store_1.sql", "r");
    assert_non_null(file);
    size_t len = fread(sql, 1, sizeof sql - 1, file);
    assert_true(len > 0 && len < sizeof sql - 1);
    sql[len] = '\0';
    fclose(file);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void take_function(void *data, struct peri_function *function, bool pending)
{
    struct peri_function **out = data;
    assert_null(*out);
    assert_false(pending);
    *out = function;
}

static void a_store_of_version_1_is_brought_up_to_date(void **state)
{
    (void)state;
    struct stored fresh = { 0 }, s = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    fixture_folder(s.dir, sizeof s.dir);
    snprintf(s.path, sizeof s.path, "%s/perilune.db", s.dir);
    make_version_1(s.path);
    store_open(&s);

    struct peri_function *function = NULL;
    assert_int_equal(s.store->kind->functions(s.store, take_function, &function, &err), PERI_OK);
    assert_non_null(function);
    assert_int_equal(function->id, 11);
    assert_string_equal(function->external_id, "greet");
    assert_string_equal(function->env, "{\"E\":\"1\"}");
    assert_int_equal(function->status, PERI_FN_READY);
    assert_int_equal(function->version, 3);
    assert_null(function->secrets);
    struct peri_call *call = NULL, *waiting = NULL;
    assert_int_equal(s.store->kind->call(s.store, 21, true, &call, &err), PERI_OK);
    assert_int_equal(call->state, PERI_CALL_COMPLETED);
    assert_int_equal(call->status, 201);
    assert_memory_equal(call->request.data, "in", 2);
    assert_memory_equal(call->response.data, "out", 3);
    assert_int_equal(s.store->kind->call(s.store, 22, true, &waiting, &err), PERI_OK);
    assert_int_equal(waiting->state, PERI_CALL_QUEUED);
    assert_memory_equal(waiting->request.data, "later", 5);
    struct peri_session session = { 0 };
    assert_int_equal(s.store->kind->session(s.store, 31, &session, &err), PERI_OK);
    assert_string_equal(session.status, "READY");
    assert_string_equal(session.client_id, "me");
    assert_int_equal(session.expires_ms, 7000);
    peri_session_fini(&session);

    struct peri_session used = { .nonce_hash = "abcd", .created_ms = 6500, .expires_ms = 1000 };
    struct peri_write write = { .kind = PERI_WRITE_NONCE, .session = &used };
    assert_int_equal(put_wait(&s, write, &err), PERI_OK);
    assert_int_equal(used.id, 31);
    peri_session_fini(&used);

    /* What came later works in it too. */
    function->secrets = strdup("sealed");
    write = (struct peri_write){ .kind = PERI_WRITE_FUNCTION, .function = function };
    assert_int_equal(put_wait(&s, write, &err), PERI_OK);
    struct peri_access_write numbers = { .generator = { .name = strdup("g") }, .count = 2, .create = true };
    write = (struct peri_write){ .kind = PERI_WRITE_NUMBERS, .access = &numbers };
    assert_int_equal(put_wait(&s, write, &err), PERI_OK);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM functions WHERE secrets = 'sealed'"), 1);
    peri_generator_fini(&numbers.generator);
    peri_function_unref(function);
    peri_call_unref(call);
    peri_call_unref(waiting);

    store_open(&fresh);
    char *old = schema_of(s.path), *new = schema_of(fresh.path);
    assert_string_equal(old, new);
    assert_int_equal(read_number(&s, "PRAGMA user_version"), read_number(&fresh, "PRAGMA user_version"));
    free(old);
    free(new);
    store_end(&fresh);
    store_end(&s);
}

static void a_store_that_can_not_grow_works_again_later(void **state)
{
    (void)state;
    struct stored s = { 0 };
    store_open(&s);
    peri_log_set_level(PERI_LOG_OFF);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit unlimited, tight;
    getrlimit(RLIMIT_FSIZE, &unlimited);
    struct peri_call *first = make_call(1, true), *large = make_call(2, true), *last = make_call(3, true);
    struct peri_call *kept = make_call(4, false);
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(put_wait(&s, (struct peri_write){ .kind = PERI_WRITE_CALL, .call = first }, NULL), PERI_OK);
    for (int i = 0; i < 200000; i++)
        peri_buf_append_text(&large->request, "0123456789");
    tight = unlimited;
    char log[700];
    struct stat grown;
    snprintf(log, sizeof log, "%s-wal", s.path);
    assert_int_equal(stat(log, &grown), 0);
    tight.rlim_cur = (rlim_t)grown.st_size + 20000; /* the write-ahead log may not grow beyond */
    setrlimit(RLIMIT_FSIZE, &tight);
    struct written required = { .write = { .kind = PERI_WRITE_CALL, .call = kept, .required = true } };
    peri_buf_append_str(&kept->response, (struct peri_str){ large->request.data, 60000 });
    int codes = put_wait(&s, (struct peri_write){ .kind = PERI_WRITE_CALL, .call = large }, &err);
    put(&s, &required);
    for (int i = 0; i < 20; i++)
        peri_loop_run_once(s.loop, 20, NULL);
    bool early = required.done;
    setrlimit(RLIMIT_FSIZE, &unlimited);
    assert_int_equal(codes, PERI_STORE);
    assert_true(err.message[0] != '\0');
    assert_false(early);
    wait_store(&s, &required.done);
    assert_int_equal(required.err.code, PERI_OK);
    assert_int_equal(put_wait(&s, (struct peri_write){ .kind = PERI_WRITE_CALL, .call = last }, NULL), PERI_OK);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM calls WHERE id IN (1, 3, 4)"), 3);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM calls WHERE id = 2"), 0);
    peri_call_unref(first);
    peri_call_unref(large);
    peri_call_unref(last);
    peri_call_unref(kept);
    peri_log_set_level(PERI_LOG_WARN);
    store_end(&s);
}

static void old_records_go(void **state)
{
    (void)state;
    struct stored s = { .options = { .keep_ms = 3600 * 1000, .keep_calls = 30 } };
    store_open(&s);
    uint64_t now = (uint64_t)(peri_clock_wall_ms(peri_clock_system()) - ID_EPOCH_MS) << 12;
    struct written w[100] = { 0 };
    struct peri_call *calls[100];
    struct peri_log_line line = { 5, PERI_LOG_WARN, (char *)(uintptr_t) "one", 3 };
    for (uint64_t i = 0; i < 100; i++) {
        calls[i] = make_call(now + i, i == 0); /* the oldest one waits still */
        calls[i]->async = i < 10;
        w[i].write = (struct peri_write){ .kind = PERI_WRITE_CALL, .call = calls[i], .lines = &line, .line_count = 1 };
        put(&s, &w[i]);
    }
    for (int i = 0; i < 100; i++) {
        wait_store(&s, &w[i].done);
        peri_call_unref(calls[i]);
    }
    while (read_number(&s, "SELECT count(*) FROM calls") > 30)
        peri_loop_run_once(s.loop, 20, NULL);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM bodies"), 1);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM logs"), 30);
    assert_int_equal(read_number(&s, "SELECT count(*) FROM calls WHERE state = 0"), 1);
    assert_int_equal(read_number(&s, "SELECT max(id) FROM calls"), now + 99);
    store_close(&s);
    /* By age: with an hour to be kept, calls of two hours ago. */
    sqlite3 *db = NULL;
    sqlite3_open(s.path, &db);
    char sql[200];
    snprintf(sql, sizeof sql, "UPDATE calls SET id = id - %lld WHERE state > 1 AND id < %llu", 7200LL * 1000 * 4096,
             (unsigned long long)now + 90);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    store_open(&s);
    while (read_number(&s, "SELECT count(*) FROM calls") > 11)
        peri_loop_run_once(s.loop, 20, NULL);
    store_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_come_back_as_they_were),
        cmocka_unit_test(many_records_are_stored_at_once),
        cmocka_unit_test(one_bad_record_leaves_the_others_alone),
        cmocka_unit_test(lazy_writes_are_stored_in_order),
        cmocka_unit_test(names_are_unique_and_others_unharmed),
        cmocka_unit_test(a_newer_store_is_refused),
        cmocka_unit_test(a_store_of_version_1_is_brought_up_to_date),
        cmocka_unit_test(a_store_that_can_not_grow_works_again_later),
        cmocka_unit_test(old_records_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
