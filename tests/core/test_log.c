/* SPDX-License-Identifier: MIT */
/* part: base, threads */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "perilune/log.h"

struct heard {
    int count;
    enum peri_log_level level;
    char message[2048];
};

static void hear(void *data, enum peri_log_level level, const char *message)
{
    struct heard *heard = data;
    heard->count++;
    heard->level = level;
    snprintf(heard->message, sizeof heard->message, "%s", message);
}

static void levels_have_names(void **state)
{
    (void)state;
    assert_string_equal(peri_log_level_name(PERI_LOG_DEBUG), "debug");
    assert_string_equal(peri_log_level_name((enum peri_log_level)9), "unknown");
    for (int level = PERI_LOG_DEBUG; level <= PERI_LOG_OFF; level++)
        assert_int_equal(peri_log_level_parse(peri_log_level_name((enum peri_log_level)level)), level);
    assert_int_equal(peri_log_level_parse("WARN"), -1);
    assert_int_equal(peri_log_level_parse(""), -1);
    assert_int_equal(peri_log_level_parse(NULL), -1);
}

static void the_level_is_a_threshold(void **state)
{
    struct heard heard = { 0 };
    (void)state;
    peri_log_set_sink(hear, &heard);
    for (int threshold = PERI_LOG_DEBUG; threshold <= PERI_LOG_OFF; threshold++) {
        peri_log_set_level((enum peri_log_level)threshold);
        assert_int_equal(peri_log_get_level(), threshold);
        for (int level = PERI_LOG_DEBUG; level <= PERI_LOG_OFF; level++) {
            heard.count = 0;
            peri_log((enum peri_log_level)level, "n %d", level);
            assert_int_equal(heard.count, level >= threshold && level < PERI_LOG_OFF);
            if (heard.count)
                assert_int_equal(heard.level, level);
        }
    }
    peri_log_set_sink(NULL, NULL);
}

static void messages_are_one_line_and_bounded(void **state)
{
    struct heard heard = { 0 };
    char big[5000];
    (void)state;
    peri_log_set_sink(hear, &heard);
    peri_log_set_level(PERI_LOG_INFO);
    peri_log(PERI_LOG_WARN, "a\r\nforged line\x1b[31m %s", "caf\xC3\xA9");
    assert_string_equal(heard.message, "a  forged line [31m caf\xC3\xA9");
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    errno = ENOENT;
    peri_log(PERI_LOG_WARN, "%s", big);
    assert_int_equal(errno, ENOENT);
    assert_in_range(strlen(heard.message), 1000, 1100);
    peri_log_set_sink(NULL, NULL);
}

static void relog(void *data, enum peri_log_level level, const char *message)
{
    (void)level;
    peri_log_set_sink(hear, data); /* a sink may change the sink and log again */
    peri_log(PERI_LOG_ERROR, "again: %s", message);
}

static void a_sink_may_log(void **state)
{
    struct heard heard = { 0 };
    (void)state;
    peri_log_set_level(PERI_LOG_INFO);
    peri_log_set_sink(relog, &heard);
    peri_log(PERI_LOG_WARN, "x");
    assert_string_equal(heard.message, "again: x");
    peri_log_set_sink(NULL, NULL);
}

/* What a fresh process with PERILUNE_LOG (NULL: unset) writes to stderr. */
static void run_fresh(const char *level, char *out, size_t size)
{
    int ends[2], status;
    size_t len = 0;
    ssize_t n;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (level)
            setenv("PERILUNE_LOG", level, 1);
        else
            unsetenv("PERILUNE_LOG");
        execl("/proc/self/exe", "test_log", "--speak", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    while ((n = read(ends[0], out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int speak(void)
{
    for (int level = PERI_LOG_DEBUG; level <= PERI_LOG_ERROR; level++)
        peri_log((enum peri_log_level)level, "this is %d", level);
    return 0;
}

static void the_environment_sets_the_level_of_stderr(void **state)
{
    static const struct {
        const char *value;
        int first;
    } cases[] = { { NULL, PERI_LOG_WARN },     { "", PERI_LOG_WARN },     { "loud", PERI_LOG_WARN },
                  { "debug", PERI_LOG_DEBUG }, { "info", PERI_LOG_INFO }, { "warn", PERI_LOG_WARN },
                  { "error", PERI_LOG_ERROR }, { "off", PERI_LOG_OFF } };
    char out[1024];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run_fresh(cases[i].value, out, sizeof out);
        char *line = out;
        for (int level = cases[i].first; level < PERI_LOG_OFF; level++) {
            char want[64];
            int year, used = 0;
            snprintf(want, sizeof want, " %s this is %d\n", peri_log_level_name((enum peri_log_level)level), level);
            assert_int_equal(sscanf(line, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ%n", &year, &used), 1);
            assert_int_equal(used, 24);
            assert_memory_equal(line + used, want, strlen(want));
            line += used + strlen(want);
        }
        assert_string_equal(line, "");
    }
}

static _Atomic int concurrent;

static void count(void *data, enum peri_log_level level, const char *message)
{
    (void)data;
    (void)level;
    if (strcmp(message, "one line") == 0)
        concurrent++;
}

static void *log_much(void *data)
{
    for (int i = 0; i < 1000; i++) {
        peri_log_set_sink(count, data);
        peri_log(PERI_LOG_WARN, "one %s", "line");
        peri_log_set_level(i % 2 ? PERI_LOG_INFO : PERI_LOG_WARN);
    }
    return NULL;
}

static void threads_may_log(void **state)
{
    pthread_t threads[4];
    (void)state;
    peri_log_set_level(PERI_LOG_WARN);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(concurrent, 4000);
    peri_log_set_sink(NULL, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test(the_level_is_a_threshold),
        cmocka_unit_test(messages_are_one_line_and_bounded),
        cmocka_unit_test(a_sink_may_log),
        cmocka_unit_test(the_environment_sets_the_level_of_stderr),
        cmocka_unit_test(threads_may_log),
    };
    if (argc > 1 && strcmp(argv[1], "--speak") == 0)
        return speak();
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
