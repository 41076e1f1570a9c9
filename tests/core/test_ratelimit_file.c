/* SPDX-License-Identifier: MIT */
/* part: client */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/ratelimit_file.h"
#include "perilune/clock.h"
#include "support/alloc_fail.h"

/* The rate limit that processes share in a file. */

static char path[] = "/tmp/perilune-rate-XXXXXX";
static struct peri_error err;

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    close(fd);
    return unlink(path);
}

static int remove_file(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static struct peri__ratelimit_file *open_file(unsigned limit, int64_t now)
{
    struct peri__ratelimit_file *file = peri__ratelimit_file_open(path, limit, 1000, now, &err);
    if (!file)
        fail_msg("%s", err.message);
    return file;
}

static int64_t hold(struct peri__ratelimit_file *file, unsigned n, int64_t now)
{
    int64_t wait = -1;
    if (peri__ratelimit_file_hold(file, n, now, &wait, &err) != PERI_OK)
        fail_msg("%s", err.message);
    return wait;
}

static unsigned remaining(struct peri__ratelimit_file *file, int64_t now)
{
    struct peri__ratelimit_view view;
    assert_int_equal(peri__ratelimit_file_look(file, 1, now, &view, &err), PERI_OK);
    return view.remaining;
}

static void test_two_count_together(void **state)
{
    (void)state;
    struct stat info;
    struct peri__ratelimit_file *a = open_file(3, 5000), *b = open_file(3, 5000);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(hold(a, 2, 5000), 0);
    assert_int_equal(remaining(b, 5000), 1);
    assert_int_equal(hold(b, 2, 5000), 1000); /* both of a run: a window from now at the earliest */
    peri__ratelimit_file_end(a, 1, 5100);
    assert_int_equal(hold(b, 2, 5200), 900);
    peri__ratelimit_file_drop(a, 1);
    assert_int_equal(hold(b, 2, 5200), 0);
    peri__ratelimit_file_end(b, 2, 5300);
    assert_int_equal(hold(a, 1, 6099), 1);
    assert_int_equal(hold(a, 1, 6100), 0);
    peri__ratelimit_file_block(b, 9000);
    assert_int_equal(remaining(a, 7000), 0);
    assert_int_equal(hold(a, 1, 7000), 2000);
    assert_int_equal(hold(a, 1, 9000), 0);
    peri__ratelimit_file_close(a);
    peri__ratelimit_file_close(b);
}

/* Places of who closes (or dies) while requests run count as ended when that is seen. */
static void test_the_dead(void **state)
{
    (void)state;
    struct peri__ratelimit_file *a = open_file(2, 5000), *b = open_file(2, 5000);
    assert_int_equal(hold(a, 2, 5000), 0);
    peri__ratelimit_file_close(a);
    assert_int_equal(hold(b, 1, 9000), 1001);
    a = open_file(2, 9500); /* may well have the dead one's number */
    assert_int_equal(hold(a, 1, 9500), 501);
    assert_int_equal(hold(a, 2, 10001), 0);
    peri__ratelimit_file_close(a);
    peri__ratelimit_file_close(b);
}

static void patch(off_t offset, int64_t word)
{
    int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, &word, sizeof word, offset), sizeof word);
    close(fd);
}

static void assert_refused(unsigned limit, enum peri_code code, const char *part)
{
    assert_null(peri__ratelimit_file_open(path, limit, 1000, 5000, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part))
        fail_msg("%s", err.message);
}

static void test_what_is_wrong_is_said(void **state)
{
    (void)state;
    struct peri__ratelimit_file *a = open_file(3, 5000);
    int64_t wait = 0;
    assert_refused(4, PERI_INVALID, "is of 3 requests in 1 s, not of 4 in 1 s; give all scripts");
    assert_refused(0, PERI_INVALID, "1 to 10000");
    assert_refused(10001, PERI_INVALID, "1 to 10000");
    patch(64, 1000000); /* a time to come */
    assert_int_equal(peri__ratelimit_file_hold(a, 1, 5000, &wait, &err), PERI_IO);
    assert_non_null(strstr(err.message, "is damaged; end all scripts that share it, remove it, and wait 1 s"));
    assert_refused(3, PERI_IO, "is damaged");
    patch(64, -1000); /* no such owner */
    assert_refused(3, PERI_IO, "is damaged");
    patch(64, 0);
    assert_int_equal(hold(a, 3, 5000), 0);
    peri__ratelimit_file_end(a, 3, 5000);
    assert_int_equal(truncate(path, 80), 0);
    assert_int_equal(peri__ratelimit_file_hold(a, 1, 5000, &wait, &err), PERI_IO);
    assert_refused(3, PERI_IO, "is damaged");
    assert_int_equal(unlink(path), 0);
    struct peri__ratelimit_file *b = open_file(3, 5000);
    assert_int_equal(peri__ratelimit_file_hold(a, 1, 5000, &wait, &err), PERI_IO);
    assert_non_null(strstr(err.message, "was removed while it was in use"));
    peri__ratelimit_file_close(a);
    peri__ratelimit_file_close(b);
    patch(0, 42);
    assert_refused(3, PERI_IO, "no file of a rate limit");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(3, PERI_IO, "can't open");
    assert_int_equal(rmdir(path), 0);
}

/* Killed while it made the file: the magic is not there yet. After a restart times mean nothing. */
static void test_half_made_and_restarted(void **state)
{
    (void)state;
    peri__ratelimit_file_close(open_file(3, 5000));
    patch(0, 0);
    struct peri__ratelimit_file *a = open_file(3, 5000);
    assert_int_equal(hold(a, 3, 5000), 0);
    peri__ratelimit_file_end(a, 3, 5000);
    peri__ratelimit_file_block(a, 90000);
    peri__ratelimit_file_close(a);
    patch(24, 1); /* another boot */
    a = open_file(3, 100);
    assert_int_equal(hold(a, 1, 100), 1001);
    assert_int_equal(hold(a, 3, 1101), 0);
    peri__ratelimit_file_close(a);
}

static void test_memory_is_out(void **state)
{
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    bool hit = true;
    for (unsigned n = 1; hit; n++) {
        alloc_fail_at(n);
        struct peri__ratelimit_file *file = peri__ratelimit_file_open(path, 5, 1000, 5000, &err);
        hit = alloc_fail_stop();
        assert_true(hit == !file);
        if (!file)
            assert_int_equal(err.code, PERI_NOMEM);
        peri__ratelimit_file_close(file);
    }
}

enum { LIMIT = 20, WINDOW = 200 };
struct request_time {
    int64_t start, end;
    int who;
};

/* What a script does: takes a place, sends (here: writes when it did), ends. Until it is killed or the pipe is closed. */
static void run_child(int who, int out)
{
    struct peri_clock clock = peri_clock_system();
    struct peri__ratelimit_file *file =
        peri__ratelimit_file_open(path, LIMIT, WINDOW, peri_clock_monotonic_ms(clock), &err);
    signal(SIGPIPE, SIG_DFL);
    while (file) {
        int64_t wait = 0;
        if (peri__ratelimit_file_hold(file, 1, peri_clock_monotonic_ms(clock), &wait, &err) != PERI_OK)
            break;
        if (wait > 0) {
            usleep((useconds_t)(wait > 2 ? 2 : wait) * 1000);
            continue;
        }
        struct request_time time = { .start = peri_clock_monotonic_ms(clock), .who = who };
        time.end = time.start;
        if (write(out, &time, sizeof time) != sizeof time)
            break;
        peri__ratelimit_file_end(file, 1, peri_clock_monotonic_ms(clock) + 1);
    }
    _exit(1);
}

/* Two processes; one is killed in the middle: no window is over, and the other goes on at the full rate. */
static void test_two_processes_and_a_kill(void **state)
{
    (void)state;
    enum { COUNT = 8 * LIMIT };
    static struct request_time times[COUNT];
    pid_t pids[2];
    int ends[2], status = 0, of_second = 0;
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(ends[0]);
            run_child(i, ends[1]);
        }
    }
    close(ends[1]);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(read(ends[0], &times[i], sizeof times[i]), sizeof times[i]);
        of_second += times[i].who;
        if (i == COUNT / 2)
            assert_int_equal(kill(pids[0], SIGKILL), 0);
    }
    close(ends[0]);
    for (int i = 0; i < 2; i++)
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
    assert_true(of_second >= COUNT / 4);
    for (int i = LIMIT; i < COUNT; i++) /* two starts may be written in another order than they were made */
        for (int k = 0; k <= i - LIMIT; k++)
            if (k + LIMIT <= i && times[i].start - times[k].start < WINDOW)
                fail_msg("%d and %d: %lld ms", k, i, (long long)(times[i].start - times[k].start));
    print_message("%d requests took %lld ms; at the limit it is %d\n", COUNT,
                  (long long)(times[COUNT - 1].start - times[0].start), (COUNT / LIMIT - 1) * WINDOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_two_count_together, remove_file),
        cmocka_unit_test_teardown(test_the_dead, remove_file),
        cmocka_unit_test_teardown(test_what_is_wrong_is_said, remove_file),
        cmocka_unit_test_teardown(test_half_made_and_restarted, remove_file),
        cmocka_unit_test_teardown(test_memory_is_out, remove_file),
        cmocka_unit_test_teardown(test_two_processes_and_a_kill, remove_file),
    };
    return cmocka_run_group_tests(tests, make_path, NULL);
}
