/* SPDX-License-Identifier: MIT */
/* part: host */
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/gateway.h"

/* The gateway as a program: options, credentials, start and end. */

static void assert_says(const char *const *options, int status, const char *part)
{
    char out[8192];
    int got = gateway_run(PERI_BINARY_DIR, options, out, sizeof out);
    if (got != status || strstr(out, part) == NULL)
        fail_msg("exit %d, not %d; '%s' in: %s", got, status, part, out);
}

#define SAYS(status, part, ...)                                                                                        \
    do {                                                                                                               \
        const char *const options[] = { __VA_ARGS__, NULL };                                                           \
        assert_says(options, status, part);                                                                            \
    } while (0)

static void test_options_are_checked(void **state)
{
    (void)state;
    SAYS(2, "perilune: unknown option '--prot' (--help lists them)\n", "--prot", "1");
    SAYS(2, "--port must be a number from 0 to 65535, not '65536'", "--port", "65536");
    SAYS(2, "--port must be a number from 0 to 65535, not 'eighty'", "--port", "eighty");
    SAYS(2, "--port must be a number from 0 to 65535, not '-1'", "--port=-1");
    SAYS(2, "option --port needs a value", "--port");
    SAYS(2, "unexpected argument 'x'", "x");
    SAYS(2, "--memory must be a size such as 65536, 64K, 256M or 1G, not '1T'", "--memory", "1T");
    SAYS(2, "--memory must be from 1048576 to", "--memory", "1K");
    SAYS(2, "--log-level must be debug, info, warn, error or off, not 'loud'", "--log-level", "loud");
    SAYS(2, "--token may hold letters", "--token", "two words");
    SAYS(2, "--data must not be empty", "--data", "");
    SAYS(0, "perilune " PERI_VERSION "\n", "--version");
    SAYS(0, "--watchdog SECONDS", "--help");
}

static void test_start_up_failures(void **state)
{
    struct gateway gw = { 0 };
    char port[16], said[128];
    (void)state;
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, NULL));
    snprintf(port, sizeof port, "%u", gw.port);
    snprintf(said, sizeof said, "port %u is in use (start with --port 0 for any free one)", gw.port);
    char other[] = "/tmp/perilune-other-XXXXXX";
    assert_non_null(mkdtemp(other));
    SAYS(1, said, "--port", port, "--data", other);
    snprintf(said, sizeof said, "%d", (int)gw.pid);
    SAYS(1, said, "--port", "0", "--data", gw.data); /* who has the folder is said */
    SAYS(1, "perilune: can't create ", "--port", "0", "--data", "/proc/nothing/here");
    char path[128];
    snprintf(path, sizeof path, "%s/credentials.json", other);
    FILE *file = fopen(path, "w");
    fputs("{\"token\":", file);
    fclose(file);
    SAYS(1, "is damaged (remove it for a new token)", "--port", "0", "--data", other);
    assert_int_equal(gateway_stop(&gw), 0);
    gateway_remove(&gw);
    snprintf(gw.data, sizeof gw.data, "%s", other);
    gateway_remove(&gw);
}

static void test_credentials_are_kept(void **state)
{
    struct gateway gw = { 0 };
    struct stat stat_of;
    char path[128], token[128], said[8192];
    (void)state;
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, NULL));
    snprintf(path, sizeof path, "%s/credentials.json", gw.data);
    assert_int_equal(stat(path, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0600);
    assert_int_equal(strlen(gw.token), 43);
    snprintf(token, sizeof token, "%s", gw.token);
    json_decref(gateway_deploy(&gw, 201, "kept", "return { handle = function() return 1 end }"));
    assert_int_equal(gateway_stop(&gw), 0);
    /* the next start has the same token and the same functions */
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, NULL));
    assert_string_equal(gw.token, token);
    json_decref(gateway_json(&gw, 200, "POST", "/v1/functions/kept/call", "{}"));
    assert_int_equal(gateway_stop(&gw), 0);
    /* a given token replaces it, and is not to be seen in the list of processes */
    const char *const given[] = { "--token", "a-token-of-ours", NULL };
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, given));
    assert_string_equal(gw.token, "a-token-of-ours");
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)gw.pid);
    FILE *file = fopen(path, "r");
    size_t len = fread(said, 1, sizeof said, file);
    fclose(file);
    assert_null(memmem(said, len, "a-token-of-ours", 15));
    assert_int_equal(gateway_stop(&gw), 0);
    gateway_remove(&gw);
}

static void test_the_end_lets_calls_finish(void **state)
{
    struct gateway gw = { 0 };
    int status = 0;
    char head[512];
    static const char body[] = "{}";
    (void)state;
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, NULL));
    json_decref(gateway_deploy(&gw, 201, "slow",
                               "local p = require 'perilune'\n"
                               "return { handle = function() print('in') p.sleep(1) return 'done' end }"));
    int fd = raw_connect(gw.port);
    snprintf(
        head, sizeof head,
        "POST /v1/functions/slow/call HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\n%s",
        gw.token, body);
    raw_puts(fd, head);
    /* until it runs */
    for (int i = 0; i < 2000; i++) {
        json_t *host = gateway_json(&gw, 200, "GET", "/v1/host", NULL);
        json_int_t running = json_integer_value(json_object_get(host, "calls_running"));
        json_decref(host);
        if (running == 1)
            break;
        usleep(1000);
    }
    kill(gw.pid, SIGTERM);
    struct raw_reply reply = raw_read(fd, 0);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "\"done\"");
    raw_reply_fini(&reply);
    raw_close(fd);
    waitpid(gw.pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    gateway_remove(&gw);
}

static void test_a_second_signal_ends_at_once(void **state)
{
    struct gateway gw = { 0 };
    int status = 0;
    (void)state;
    const char *const options[] = { "--grace", "1000", NULL };
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, options));
    json_decref(gateway_deploy(&gw, 201, "slow",
                               "local p = require 'perilune'\n"
                               "return { handle = function() p.sleep(1000) end }"));
    json_decref(gateway_json(&gw, 202, "POST", "/v1/functions/slow/calls", "{}"));
    kill(gw.pid, SIGTERM);
    /* the first signal has been seen when nothing listens any more */
    for (int i = 0; i < 5000; i++) {
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)gw.port) };
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int rc = connect(fd, (struct sockaddr *)&at, sizeof at);
        close(fd);
        if (rc != 0)
            break;
        usleep(1000);
    }
    kill(gw.pid, SIGTERM);
    waitpid(gw.pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    gateway_remove(&gw);
}

static void test_ready_lines_for_people(void **state)
{
    char data[] = "/tmp/perilune-ready-XXXXXX", line[3][512], program[4096], wanted[512];
    int pipes[2], status = 0;
    struct gateway gw = { 0 };
    (void)state;
    assert_non_null(mkdtemp(data));
    assert_int_equal(pipe(pipes), 0);
    snprintf(program, sizeof program, "%s/libexec/perilune/perilune-gateway", PERI_BINARY_DIR);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pipes[1], 1);
        close(pipes[0]);
        close(pipes[1]);
        execl(program, program, "--port", "0", "--data", data, "--sandboxes", "1", (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    FILE *out = fdopen(pipes[0], "r");
    for (int i = 0; i < 3; i++)
        assert_non_null(fgets(line[i], sizeof line[i], out));
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    fclose(out);
    assert_int_equal(strncmp(line[0], "perilune host " PERI_VERSION " listens on http://127.0.0.1:", 40), 0);
    snprintf(wanted, sizeof wanted, "data         %s\n", data);
    assert_string_equal(line[1], wanted);
    snprintf(wanted, sizeof wanted, "credentials  %s/credentials.json\n", data);
    assert_string_equal(line[2], wanted);
    snprintf(gw.data, sizeof gw.data, "%s", data);
    gateway_remove(&gw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_are_checked),          cmocka_unit_test(test_start_up_failures),
        cmocka_unit_test(test_credentials_are_kept),         cmocka_unit_test(test_the_end_lets_calls_finish),
        cmocka_unit_test(test_a_second_signal_ends_at_once), cmocka_unit_test(test_ready_lines_for_people),
    };
    return cmocka_run_group_tests_name("gateway", tests, NULL, NULL);
}
