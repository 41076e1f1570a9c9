/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* What is there after a host was killed. */

static uint64_t read_number(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    uint64_t value = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return value;
}

/* Hosts that get killed are programs of their own: this one again, as "test_recovery KIND DIR ID". They write ids to
 * their standard output. A thread or two of this process make a mere fork unfit. */
static pid_t start_victim(const char *kind, const char *dir, uint64_t id, int *from)
{
    int report[2];
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)id);
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(report[1], STDOUT_FILENO);
        execl("/proc/self/exe", "test_recovery", kind, dir, number, (char *)NULL);
        _exit(127);
    }
    close(report[1]);
    *from = report[0];
    return pid;
}

/* Takes asynchronous calls until it is killed; tells each acknowledged id. */
static void be_counted(const char *dir)
{
    int report = STDOUT_FILENO;
    struct fixture f = { 0 };
    snprintf(f.dir, sizeof f.dir, "%s", dir);
    fixture_open(&f);
    struct peri_function *function = peri_engine_function_by_name(f.engine, peri_str_from("counter"));
    char body[700];
    snprintf(body, sizeof body, "count %s/count", dir);
    enum { ALL = 100000, UNTOLD = 1000 };
    static struct called calls[ALL];
    for (int i = 0, told = 0;;) {
        bool more = i < ALL && i - told < UNTOLD;
        if (more)
            fixture_submit(&f, function, body, true, 0, &calls[i++]);
        peri_loop_run_once(f.loop, more ? 0 : 100, NULL);
        for (; told < i && (calls[told].accepted || calls[told].refused); told++)
            if (calls[told].accepted && write(report, &calls[told].id, sizeof calls[told].id) < 0)
                _exit(1);
    }
}

static void every_acknowledged_call_ends_once(void **state)
{
    (void)state;
    struct fixture f = { .options.max_attempts = 100 };
    fixture_start(&f);
    peri_function_unref(fixture_deploy(&f, "counter"));
    fixture_close(&f);
    char count_file[600];
    snprintf(count_file, sizeof count_file, "%s/count", f.dir);
    size_t acknowledged = 0;
    static uint64_t ids[1000000];
    for (int round = 0; round < 6; round++) {
        int report = -1;
        pid_t victim = start_victim("counted", f.dir, 0, &report);
        /* Kill it after a number of acknowledgements that differs each time. */
        size_t enough = acknowledged + 50 + (size_t)round * 333;
        uint64_t id = 0;
        while (acknowledged < enough && read(report, &id, sizeof id) == sizeof id)
            ids[acknowledged++] = id;
        kill(victim, SIGKILL);
        while (read(report, &id, sizeof id) == sizeof id)
            ids[acknowledged++] = id;
        close(report);
        waitpid(victim, NULL, 0);
    }
    assert_true(acknowledged > 300);
    peri_log_set_level(PERI_LOG_OFF);
    fixture_open(&f);
    bool drained = false;
    while (!drained) { /* until nothing waits any more */
        char *info = peri_engine_info(f.engine);
        drained = strstr(info, "\"calls_running\":0,\"calls_waiting\":0") && strstr(info, "\"writes_waiting\":0");
        free(info);
        peri_loop_run_once(f.loop, 50, NULL);
    }
    for (size_t i = 0; i < acknowledged; i++) {
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_call *call = peri_engine_call(f.engine, ids[i], true, &err);
        if (!call)
            fail_msg("call %llu was acknowledged and is lost: %s", (unsigned long long)ids[i], err.message);
        assert_int_equal(call->state, PERI_CALL_COMPLETED);
        assert_body(call, "true");
        peri_call_unref(call);
    }
    /* Each ran at least once; and none is left over. */
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_call_filter filter = { .state = PERI_CALL_QUEUED };
    assert_int_equal(peri_engine_calls(f.engine, &filter, 1, NULL, NULL, &err), PERI_OK);
    FILE *file = fopen(count_file, "r");
    assert_non_null(file);
    size_t runs = 0;
    for (unsigned long long id; fscanf(file, "%llu", &id) == 1;)
        runs++;
    fclose(file);
    assert_true(runs >= acknowledged);
    peri_log_set_level(PERI_LOG_WARN);
    fixture_end(&f);
}

/* Submits a call that does not end (or finds it), tells its id once the store says that it runs. */
static void be_interrupted(const char *dir, uint64_t id)
{
    struct fixture v = { .options.max_attempts = 2 };
    char path[600];
    snprintf(v.dir, sizeof v.dir, "%s", dir);
    snprintf(path, sizeof path, "%s/perilune.db", dir);
    fixture_open(&v);
    struct peri_function *function = peri_engine_function_by_name(v.engine, peri_str_from("f"));
    struct called c = { .id = id };
    if (!id) {
        fixture_submit(&v, function, "log 1000000", true, 0, &c);
        fixture_wait(&v, &c.accepted);
    }
    while (!read_number(path, "SELECT count(*) FROM calls WHERE state = 1"))
        peri_loop_run_once(v.loop, 100, NULL);
    if (write(STDOUT_FILENO, &c.id, sizeof c.id) < 0)
        _exit(1);
    for (;;)
        pause();
}

static void interrupted_calls_get_another_attempt(void **state)
{
    (void)state;
    struct fixture f = { .options.max_attempts = 2 };
    fixture_start(&f);
    peri_function_unref(fixture_deploy(&f, "f"));
    fixture_close(&f);
    uint64_t id = 0;
    for (int round = 0; round < 2; round++) {
        int report = -1;
        pid_t victim = start_victim("interrupted", f.dir, id, &report);
        assert_int_equal(read(report, &id, sizeof id), sizeof id);
        kill(victim, SIGKILL);
        waitpid(victim, NULL, 0);
        close(report);
    }
    peri_log_set_level(PERI_LOG_OFF);
    fixture_open(&f);
    struct peri_call *call = peri_engine_call(f.engine, id, true, NULL);
    assert_int_equal(call->state, PERI_CALL_FAILED);
    assert_int_equal(call->code, PERI_SANDBOX_LOST);
    assert_int_equal(call->attempt, 2);
    assert_non_null(strstr(call->error_message, "after 2 attempts"));
    peri_call_unref(call);
    peri_log_set_level(PERI_LOG_WARN);
    fixture_end(&f);
}

static void orphans_are_removed(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    fixture_close(&f);
    char package[700], orphan[700], tmp[700];
    snprintf(package, sizeof package, "%s/packages/%s.zip", f.dir, function->code_hash);
    snprintf(orphan, sizeof orphan, "%s/packages/0000.zip", f.dir);
    snprintf(tmp, sizeof tmp, "%s/tmp/left", f.dir);
    fclose(fopen(orphan, "w"));
    fclose(fopen(tmp, "w"));
    fixture_open(&f);
    assert_int_equal(access(package, F_OK), 0);
    assert_int_not_equal(access(orphan, F_OK), 0);
    assert_int_not_equal(access(tmp, F_OK), 0);
    peri_function_unref(function);
    fixture_end(&f);
}

int main(int argc, char **argv)
{
    if (argc == 4) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!strcmp(argv[1], "counted"))
            be_counted(argv[2]);
        else
            be_interrupted(argv[2], strtoull(argv[3], NULL, 10));
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_acknowledged_call_ends_once),
        cmocka_unit_test(interrupted_calls_get_another_attempt),
        cmocka_unit_test(orphans_are_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
