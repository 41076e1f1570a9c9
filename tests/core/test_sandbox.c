/* SPDX-License-Identifier: MIT */
/* part: lua */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "perilune/frame.h"
#include "perilune/token.h"
#include "support/runtime_fixture.h"

/* The program perilune-sandbox, started as the gateway starts it: frames on 3, the shared page on 4. */

struct sandbox {
    pid_t pid;
    int socket, page_fd;
    struct peri_sandbox_page *page;
    struct peri_buf in, out;
    char folder[64];
};

struct got {
    struct peri_frame frame;
    uint8_t kind, token;
    uint16_t status;
    uint32_t code;
    char text[4096]; /* a reply's body, a line, a detail */
    size_t text_len;
};

static void exec_sandbox(const struct sandbox *s, int theirs)
{
    int page = fcntl(s->page_fd, F_DUPFD, 20), frames = fcntl(theirs, F_DUPFD, 20);
    dup2(frames, PERI_FRAME_FD);
    dup2(page, PERI_FRAME_PAGE_FD);
    setenv("TMPDIR", s->folder, 1);
    setenv("SECRET_OF_THE_HOST", "not for handlers", 1);
    execl(PERI_BINARY_DIR "/libexec/perilune/perilune-sandbox", "perilune-sandbox", (char *)NULL);
    _exit(127);
}

static int setup_sandbox(void **state)
{
    struct sandbox *s = calloc(1, sizeof(*s));
    int ends[2];
    peri_buf_init(&s->in, 64 * MIB);
    peri_buf_init(&s->out, 64 * MIB);
    strcpy(s->folder, "/tmp/test_sandbox.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    s->page_fd = memfd_create("page", MFD_CLOEXEC);
    assert_int_equal(ftruncate(s->page_fd, 4096), 0);
    s->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s->page_fd, 0);
    assert_true(s->page != MAP_FAILED);
    s->pid = fork();
    if (s->pid == 0) {
        exec_sandbox(s, ends[1]);
    }
    close(ends[1]);
    s->socket = ends[0];
    *state = s;
    return 0;
}

static int ended(struct sandbox *s)
{
    int status = 0;
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    s->pid = 0;
    return status;
}

static int teardown_sandbox(void **state)
{
    struct sandbox *s = *state;
    close(s->socket);
    if (s->pid) {
        kill(s->pid, SIGKILL);
        ended(s);
    }
    munmap(s->page, 4096);
    close(s->page_fd);
    rmdir(s->folder);
    peri_buf_fini(&s->in);
    peri_buf_fini(&s->out);
    free(s);
    return 0;
}

/* ---- frames ---- */

static void flush_out(struct sandbox *s)
{
    size_t done = 0;
    while (done < s->out.len) {
        ssize_t count = send(s->socket, s->out.data + done, s->out.len - done, MSG_NOSIGNAL);
        assert_true(count > 0);
        done += (size_t)count;
    }
    peri_buf_clear(&s->out);
}

static void send_plain(struct sandbox *s, enum peri_frame_type type, uint64_t id)
{
    size_t mark;
    peri_frame_begin(&s->out, type, id, &mark);
    peri_frame_end(&s->out, mark);
    flush_out(s);
}

static void send_load(struct sandbox *s, uint64_t version, const char *code, bool check)
{
    size_t len, mark;
    char *zip = zip_of_handler(code, &len);
    peri_frame_begin(&s->out, PERI_FRAME_LOAD, version, &mark);
    peri_frame_put_u8(&s->out, check);
    peri_frame_put_u64(&s->out, 5000);
    peri_frame_put_u64(&s->out, 64 * MIB);
    peri_frame_put_str(&s->out, peri_str_from("handler.lua"));
    peri_frame_put_str(&s->out, peri_str_from("{}"));
    peri_frame_put_str(&s->out, (struct peri_str){ zip, len });
    peri_frame_end(&s->out, mark);
    free(zip);
    flush_out(s);
}

static void send_call(struct sandbox *s, uint64_t id, uint64_t version, const char *body, int64_t timeout_ms)
{
    size_t mark;
    peri_frame_begin(&s->out, PERI_FRAME_CALL, id, &mark);
    peri_frame_put_u64(&s->out, version);
    peri_frame_put_u64(&s->out, (uint64_t)timeout_ms);
    peri_frame_put_u64(&s->out, 64 * MIB);
    peri_frame_put_u8(&s->out, PERI_INPUT_JSON);
    peri_frame_put_str(&s->out, peri_str_from("{\"call\":{\"id\":1}}"));
    peri_frame_put_str(&s->out, peri_str_from(body));
    peri_frame_end(&s->out, mark);
    flush_out(s);
}

/* 1: bytes came; 0: the sandbox has closed; -1: nothing within timeout_ms. */
static int receive(struct sandbox *s, int timeout_ms)
{
    struct pollfd readable = { s->socket, POLLIN, 0 };
    if (poll(&readable, 1, timeout_ms) <= 0) {
        return -1;
    }
    assert_int_equal(peri_buf_reserve(&s->in, 65536), PERI_OK);
    ssize_t count = read(s->socket, s->in.data + s->in.len, 65536);
    if (count <= 0) {
        return 0;
    }
    s->in.len += (size_t)count;
    return 1;
}

static void decode(struct got *got)
{
    struct peri_frame_cursor c = peri_frame_cursor(&got->frame);
    struct peri_str text = { NULL, 0 };
    switch (got->frame.type) {
    case PERI_FRAME_HELLO:
        text = peri_frame_get_str(&c);
        break;
    case PERI_FRAME_LOADED:
        got->code = peri_frame_get_u32(&c);
        text = peri_frame_get_str(&c);
        break;
    case PERI_FRAME_LOG:
        assert_true(peri_frame_get_u64(&c) > 1700000000000u);
        got->kind = peri_frame_get_u8(&c);
        text = peri_frame_get_str(&c);
        break;
    case PERI_FRAME_REPLY:
        got->kind = peri_frame_get_u8(&c);
        got->token = peri_frame_get_u8(&c);
        got->status = peri_frame_get_u16(&c);
        got->code = peri_frame_get_u32(&c);
        peri_frame_get_u64(&c);
        peri_frame_get_u64(&c);
        peri_frame_get_str(&c);
        peri_frame_get_str(&c);
        text = peri_frame_get_str(&c);
        break;
    default:
        break;
    }
    assert_false(c.failed);
    assert_int_equal(c.rest.len, 0);
    got->text_len = text.len;
    snprintf(got->text, sizeof(got->text), "%.*s", (int)text.len, text.data ? text.data : "");
}

/* The next frame; false when there is none within timeout_ms. */
static bool next_frame(struct sandbox *s, struct got *got, int timeout_ms)
{
    for (;;) {
        size_t used;
        memset(got, 0, sizeof(*got));
        enum peri_code code = peri_frame_next(peri_buf_str(&s->in), 64 * MIB, &got->frame, &used);
        if (code == PERI_OK) {
            decode(got);
            got->frame.payload = (struct peri_str){ NULL, 0 };
            peri_buf_consume(&s->in, used);
            return true;
        }
        assert_int_equal(code, PERI_BUSY);
        if (receive(s, timeout_ms) != 1) {
            return false;
        }
    }
}

static struct got expect_frame(struct sandbox *s, enum peri_frame_type type)
{
    struct got got;
    assert_true(next_frame(s, &got, 20000));
    assert_int_equal(got.frame.type, type);
    return got;
}

/* ---- tests ---- */

static void assert_not_in(pid_t pid, const char *file, struct peri_str secret)
{
    char path[64], text[65536];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t len = fread(text, 1, sizeof text, in);
    fclose(in);
    assert_null(memmem(text, len, secret.data, secret.len));
}

static void test_a_key_makes_tokens_of_calls(void **state)
{
    struct sandbox *s = *state;
    static const char url[] = "http://127.0.0.1:9/cim";
    const struct peri_str key = { "the key of this sandbox and none", PERI_CALL_KEY_SIZE };
    char token[PERI_CALL_TOKEN_MAX], wanted[128];
    size_t mark;
    expect_frame(s, PERI_FRAME_HELLO);
    peri_frame_begin(&s->out, PERI_FRAME_START, 0, &mark);
    peri_frame_put_str(&s->out, key);
    peri_frame_put_str(&s->out, peri_str_from(url));
    peri_frame_end(&s->out, mark);
    send_load(s, 5, HANDLER("return ctx.data.ask and ctx.service.service_token or 'none'"), true);
    assert_int_equal(expect_frame(s, PERI_FRAME_LOADED).code, PERI_OK);
    send_call(s, 77, 5, "{}", 5000);
    struct got got = expect_frame(s, PERI_FRAME_REPLY);
    assert_string_equal(got.text, "\"none\"");
    assert_int_equal(got.token, 0);
    send_call(s, 78, 5, "{\"ask\":true}", 5000);
    got = expect_frame(s, PERI_FRAME_REPLY);
    assert_int_equal(peri_call_token((const unsigned char *)key.data, 78, 1, token, NULL), PERI_OK);
    snprintf(wanted, sizeof wanted, "\"%s\"", token);
    assert_string_equal(got.text, wanted);
    assert_int_equal(got.token, 1);
    assert_not_in(s->pid, "cmdline", key);
    assert_not_in(s->pid, "environ", key);
}

static void test_hello_load_call(void **state)
{
    struct sandbox *s = *state;
    struct got got = expect_frame(s, PERI_FRAME_HELLO);
    assert_int_equal(got.frame.id, PERI_FRAME_VERSION);
    assert_string_equal(got.text, "perilune-sandbox " PERI_VERSION);
    send_load(s, 3, HANDLER("print('hi', ctx.data.n) return { n = ctx.data.n, id = ctx.call.id }"), true);
    got = expect_frame(s, PERI_FRAME_LOADED);
    assert_int_equal(got.frame.id, 3);
    assert_int_equal(got.code, PERI_OK);
    send_call(s, 9, 3, "{\"n\":5}", 1000);
    got = expect_frame(s, PERI_FRAME_LOG);
    assert_int_equal(got.frame.id, 9);
    assert_int_equal(got.kind, PERI_LOG_INFO);
    assert_string_equal(got.text, "hi 5");
    got = expect_frame(s, PERI_FRAME_REPLY);
    assert_int_equal(got.frame.id, 9);
    assert_int_equal(got.code, PERI_OK);
    assert_contains(got.text, "\"n\":5");
    assert_contains(got.text, "\"id\":1");
    send_plain(s, PERI_FRAME_PING, 77);
    assert_int_equal(expect_frame(s, PERI_FRAME_PONG).frame.id, 77);
    assert_true(atomic_load(&s->page->lua_bytes) > 0);
    assert_true(atomic_load(&s->page->lua_bytes) < 100 * 1024);
    assert_int_equal(atomic_load(&s->page->running_call), 0);
    send_plain(s, PERI_FRAME_UNLOAD, 3);
    send_call(s, 10, 3, "{}", 1000);
    got = expect_frame(s, PERI_FRAME_REPLY);
    assert_int_equal(got.code, PERI_NOT_FOUND);
    assert_contains(got.text, "version 3 is not loaded");
}

static void test_failures_as_frames(void **state)
{
    struct sandbox *s = *state;
    expect_frame(s, PERI_FRAME_HELLO);
    send_load(s, 1, "return {\n handle = ", true);
    struct got got = expect_frame(s, PERI_FRAME_LOADED);
    assert_int_equal(got.code, PERI_PACKAGE);
    assert_contains(got.text, "{\"message\":\"handler.lua:2: ");
    send_load(s, 2, HANDLER("if ctx.data.spin then while true do end end error('no')"), false);
    send_call(s, 1, 2, "{}", 1000);
    got = expect_frame(s, PERI_FRAME_REPLY);
    assert_int_equal(got.kind, PERI_REPLY_ERROR);
    assert_int_equal(got.code, PERI_HANDLER_FAILED);
    send_call(s, 2, 2, "{", 1000);
    assert_int_equal(expect_frame(s, PERI_FRAME_REPLY).code, PERI_BAD_REQUEST);
    send_call(s, 3, 2, "{\"spin\":true}", 60000);
    send_plain(s, PERI_FRAME_PING, 1);
    expect_frame(s, PERI_FRAME_PONG);
    send_plain(s, PERI_FRAME_CANCEL, 3);
    assert_int_equal(expect_frame(s, PERI_FRAME_REPLY).code, PERI_CANCELLED);
    send_call(s, 4, 2, "{\"spin\":true}", 100);
    assert_int_equal(expect_frame(s, PERI_FRAME_REPLY).code, PERI_HANDLER_TIMEOUT);
}

/* A handler that computes is preempted when a frame comes: a thousand calls pass a spinning one. */
static void test_spinning_handler(void **state)
{
    struct sandbox *s = *state;
    expect_frame(s, PERI_FRAME_HELLO);
    send_load(s, 1, HANDLER("while true do end"), false);
    send_load(s, 2, HANDLER("return ctx.data"), false);
    send_call(s, 5000, 1, "{}", 60000);
    for (uint64_t id = 1; id <= 1000; id++) {
        send_call(s, id, 2, "[1]", 60000);
        struct got got = expect_frame(s, PERI_FRAME_REPLY);
        assert_int_equal(got.frame.id, id);
        assert_string_equal(got.text, "[1]");
    }
}

/* A pattern that backtracks without end is C code: no hook stops it. The page says which call it was. */
static void test_stuck_in_c(void **state)
{
    struct sandbox *s = *state;
    struct got got;
    expect_frame(s, PERI_FRAME_HELLO);
    send_load(s, 1, HANDLER("local s = ('a'):rep(60) return s:find(('a-'):rep(30) .. 'b')"), false);
    send_call(s, 42, 1, "{}", 200);
    while (atomic_load(&s->page->running_call) == 0) {
        poll(NULL, 0, 1);
    }
    /* The package's top level ran first, under the call's id: a ping may come between that and the pattern. */
    unsigned pongs = 0;
    do {
        send_plain(s, PERI_FRAME_PING, ++pongs);
    } while (pongs < 10 && next_frame(s, &got, 1500) && got.frame.type == PERI_FRAME_PONG);
    assert_in_range(pongs, 1, 9);
    assert_int_equal(atomic_load(&s->page->running_call), 42);
    kill(s->pid, SIGKILL);
    int status = ended(s);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(atomic_load(&s->page->running_call), 42);
}

static void test_shutdown(void **state)
{
    struct sandbox *s = *state;
    expect_frame(s, PERI_FRAME_HELLO);
    send_load(s, 1, HANDLER("local x = 0 for i = 1, 2e7 do x = x + 1 end return x"), false);
    send_call(s, 1, 1, "{}", 60000);
    send_plain(s, PERI_FRAME_SHUTDOWN, 0);
    send_call(s, 2, 1, "{}", 60000);
    struct got got = expect_frame(s, PERI_FRAME_REPLY);
    assert_int_equal(got.frame.id, 2);
    assert_int_equal(got.code, PERI_CANCELLED);
    got = expect_frame(s, PERI_FRAME_REPLY);
    assert_int_equal(got.frame.id, 1);
    assert_int_equal(got.code, PERI_OK);
    assert_int_equal(ended(s), 0);
}

static void test_end_of_gateway(void **state)
{
    struct sandbox *s = *state;
    expect_frame(s, PERI_FRAME_HELLO);
    send_load(s, 1, HANDLER("while true do end"), false);
    send_call(s, 1, 1, "{}", 60000);
    kill(s->pid, SIGINT); /* of a terminal: for the gateway alone */
    kill(s->pid, SIGTERM);
    send_plain(s, PERI_FRAME_PING, 1);
    expect_frame(s, PERI_FRAME_PONG);
    shutdown(s->socket, SHUT_RDWR);
    assert_int_equal(ended(s), 0);
}

/* A handler that only prints fills no memory: it waits until the gateway reads. */
static void test_flood_of_lines(void **state)
{
    struct sandbox *s = *state;
    expect_frame(s, PERI_FRAME_HELLO);
    send_load(s, 1, HANDLER("for i = 1, 200000 do print(i, ('x'):rep(100)) end return 'done'"), false);
    send_call(s, 1, 1, "{}", 60000);
    struct got got;
    unsigned lines = 0;
    for (;;) {
        assert_true(next_frame(s, &got, 20000));
        if (got.frame.type != PERI_FRAME_LOG) {
            break;
        }
        lines++;
        assert_int_equal(atoi(got.text), (int)lines);
    }
    assert_int_equal(lines, 200000);
    assert_string_equal(got.text, "\"done\"");
}

static void test_large_bodies(void **state)
{
    struct sandbox *s = *state;
    expect_frame(s, PERI_FRAME_HELLO);
    send_load(s, 1, HANDLER("return #ctx.data"), false);
    size_t len = 8 * MIB;
    char *body = malloc(len + 3);
    memset(body, 'x', len + 2);
    body[0] = body[len + 1] = '"';
    body[len + 2] = '\0';
    send_call(s, 1, 1, body, 60000);
    free(body);
    assert_string_equal(expect_frame(s, PERI_FRAME_REPLY).text, "8388608");
}

static void ends_with_failure(struct sandbox *s, const void *bytes, size_t len)
{
    expect_frame(s, PERI_FRAME_HELLO);
    peri_buf_append(&s->out, bytes, len);
    flush_out(s);
    struct got got;
    while (next_frame(s, &got, 20000)) {
        continue;
    }
    int status = ended(s);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

static void test_garbage(void **state)
{
    char noise[4096];
    memset(noise, 0xA5, sizeof(noise));
    ends_with_failure(*state, noise, sizeof(noise));
}

static void test_unknown_type(void **state)
{
    struct sandbox *s = *state;
    struct peri_buf frame;
    size_t mark;
    peri_buf_init(&frame, 4096);
    peri_frame_begin(&frame, PERI_FRAME_REPLY, 1, &mark);
    peri_frame_end(&frame, mark);
    ends_with_failure(s, frame.data, frame.len);
    peri_buf_fini(&frame);
}

static void test_short_payload(void **state)
{
    struct sandbox *s = *state;
    struct peri_buf frame;
    size_t mark;
    peri_buf_init(&frame, 4096);
    peri_frame_begin(&frame, PERI_FRAME_CALL, 1, &mark);
    peri_frame_put_u64(&frame, 1);
    peri_frame_end(&frame, mark);
    ends_with_failure(s, frame.data, frame.len);
    peri_buf_fini(&frame);
}

static void read_proc(pid_t pid, const char *file, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t len = fread(out, 1, size - 1, f);
    out[len] = '\0';
    fclose(f);
}

static void test_privileges(void **state)
{
    struct sandbox *s = *state;
    char text[8192], path[64], target[256];
    expect_frame(s, PERI_FRAME_HELLO);
    read_proc(s->pid, "status", text, sizeof(text));
    assert_contains(text, "NoNewPrivs:\t1");
    read_proc(s->pid, "limits", text, sizeof(text));
    assert_contains(text, "Max core file size        0                    0");
    assert_contains(text, "Max open files            1024                 1024");
    snprintf(path, sizeof(path), "/proc/%d/cwd", (int)s->pid);
    ssize_t len = readlink(path, target, sizeof(target) - 1);
    if (len > 0) { /* readable by root alone: the process can't be inspected by its own user */
        target[len] = '\0';
        assert_string_equal(target, s->folder);
    }
    /* Descriptors that were open here, and that exec passed on, are closed: 20 and 21 among them. */
    for (int fd = 5; fd < 64; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)s->pid, fd);
        len = readlink(path, target, sizeof(target) - 1);
        if (len > 0) {
            target[len] = '\0';
            assert_null(strstr(target, "memfd:page"));
            assert_null(strstr(target, "socket:"));
        }
    }
    send_load(s, 1, HANDLER("return os.getenv 'SECRET_OF_THE_HOST' == nil"), false);
    send_call(s, 1, 1, "{}", 1000);
    assert_string_equal(expect_frame(s, PERI_FRAME_REPLY).text, "true");
}

static void test_modules(void **state)
{
    struct sandbox *s = *state;
    expect_frame(s, PERI_FRAME_HELLO);
    send_load(
        s, 1,
        HANDLER(
            "local cjson, safe = require 'cjson', require 'cjson.safe'\n"
            "local core = require 'perilune.core'\n"
            "return { cjson.decode('[7]')[1], safe.decode('{') == nil, type(core), pcall(require, 'luv') == false }"),
        false);
    send_call(s, 1, 1, "{}", 1000);
    struct got got = expect_frame(s, PERI_FRAME_REPLY);
    assert_string_equal(got.text, "[7.0,true,\"table\",true]");
}

/* A path in an operation of perilune reaches the private folder, not the host's files. */
static void test_files(void **state)
{
    struct sandbox *s = *state;
    expect_frame(s, PERI_FRAME_HELLO);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0) {
        print_message("this kernel has no Landlock\n");
        skip();
    }
    send_load(s, 1,
              HANDLER("local core = require 'perilune.core'\n"
                      "local client = core.client { base_url = 'http://127.0.0.1:9', token = '' }\n"
                      "local function try(path) local _, err = core.request(client, { url = 'http://127.0.0.1:9/',\n"
                      " method = 'PUT', body = { path = path } }) return err and err.message or 'opened' end\n"
                      "return try('/etc/passwd') .. '|' .. try('absent') .. '|' .. try('/etc/hosts')"),
              false);
    send_call(s, 1, 1, "{}", 10000);
    struct got got = expect_frame(s, PERI_FRAME_REPLY);
    assert_contains(got.text, "Permission denied|");
    assert_contains(got.text, "No such file or directory|opened");
}

static void test_usage(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(system(PERI_BINARY_DIR "/libexec/perilune/perilune-sandbox --nonsense 2>/dev/null")),
                     2);
    assert_int_equal(WEXITSTATUS(system(PERI_BINARY_DIR "/libexec/perilune/perilune-sandbox --version >/dev/null")), 0);
    assert_int_equal(
        WEXITSTATUS(system(PERI_BINARY_DIR "/libexec/perilune/perilune-sandbox 3</dev/null 4</dev/null 2>/dev/null")),
        1);
}

#define SANDBOX(name) cmocka_unit_test_setup_teardown(name, setup_sandbox, teardown_sandbox)

static const struct CMUnitTest tests[] = {
    SANDBOX(test_hello_load_call),
    SANDBOX(test_a_key_makes_tokens_of_calls),
    SANDBOX(test_failures_as_frames),
    SANDBOX(test_spinning_handler),
    SANDBOX(test_stuck_in_c),
    SANDBOX(test_shutdown),
    SANDBOX(test_end_of_gateway),
    SANDBOX(test_flood_of_lines),
    SANDBOX(test_large_bodies),
    SANDBOX(test_garbage),
    SANDBOX(test_unknown_type),
    SANDBOX(test_short_payload),
    SANDBOX(test_privileges),
    SANDBOX(test_modules),
    SANDBOX(test_files),
    cmocka_unit_test(test_usage),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
