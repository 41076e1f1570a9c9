/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/datadir.h"
#include "host/sandbox_private.h"
#include "perilune/hash.h"

#define LINE_MAX_BYTES 1024
#define ENV_MAX 64

/* What of the host's environment a sandbox sees: nothing that could be a secret. */
static const char *const inherited[] = {
    "PATH=",          "LANG=",
    "LC_ALL=",        "TZ=",
    "SSL_CERT_FILE=", "SSL_CERT_DIR=",
    "http_proxy=",    "https_proxy=",
    "no_proxy=",      "HTTP_PROXY=",
    "HTTPS_PROXY=",   "NO_PROXY=",
    "PERILUNE_LOG=",  "PERILUNE_SANDBOX_",
    "ASAN_OPTIONS=",  "LSAN_OPTIONS=",
    "TSAN_OPTIONS=",  "UBSAN_OPTIONS=",
};

extern char **environ;

static size_t make_env(const char **env, const char *tmp)
{
    size_t count = 0;
    for (char **at = environ; *at && count < ENV_MAX - 2; at++)
        for (size_t i = 0; i < sizeof inherited / sizeof *inherited; i++)
            if (!strncmp(*at, inherited[i], strlen(inherited[i]))) {
                env[count++] = *at;
                break;
            }
    env[count++] = tmp;
    env[count] = NULL;
    return count;
}

void peri__sandbox_doom(struct peri__sandbox *sandbox, const char *format, ...)
{
    if (sandbox->doomed)
        return;
    sandbox->doomed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(sandbox->why, sizeof sandbox->why, format, args);
    va_end(args);
    if (sandbox->why[0])
        peri_log(PERI_LOG_ERROR, "sandbox %d: %s", sandbox->pid, sandbox->why);
    uv_poll_stop(&sandbox->poll);
    uv_timer_stop(&sandbox->tick);
    if (!sandbox->exited)
        uv_process_kill(&sandbox->process, SIGKILL);
}

/* ---- the watchdog ---- */

static void overrun(struct peri__sandbox *sandbox, int64_t now)
{
    struct peri__inflight *next = NULL;
    for (struct peri__inflight *call = sandbox->first; call && !sandbox->doomed; call = next) {
        next = call->next;
        if (now < call->deadline + sandbox->options.watchdog_ms)
            continue;
        if (call->answered) {
            peri__sandbox_doom(sandbox, "the sandbox was stopped: it did not end call %llu when it was told to",
                               (unsigned long long)call->id);
            return;
        }
        call->answered = true;
        call->deadline = now;
        size_t mark = 0;
        if (peri_frame_begin(&sandbox->out, PERI_FRAME_CANCEL, call->id, &mark) == PERI_OK)
            peri_frame_end(&sandbox->out, mark);
        if (call->cancelled)
            peri__sandbox_answer_error(sandbox, call, PERI_CANCELLED, "cancelled");
        else
            peri__sandbox_answer_error(sandbox, call, PERI_HANDLER_TIMEOUT, "the handler ran past its deadline");
    }
    for (struct peri__loading *loading = sandbox->loading; loading && !sandbox->doomed; loading = loading->next)
        if (now >= loading->deadline + sandbox->options.watchdog_ms)
            peri__sandbox_doom(sandbox, "the sandbox was stopped: loading a package took too long");
}

static void bite(struct peri__sandbox *sandbox)
{
    uint64_t running = atomic_load(&sandbox->page->running_call);
    bool known = peri__idmap_get(&sandbox->calls, running) != NULL;
    sandbox->culprit = known ? running : 0;
    if (known)
        peri__sandbox_doom(sandbox, "the sandbox was stopped by the watchdog");
    else
        peri__sandbox_doom(sandbox, "the sandbox was stopped by the watchdog: it did not answer for %lld s",
                           (long long)((sandbox->options.watchdog_ms + 999) / 1000));
}

static void on_tick(uv_timer_t *timer)
{
    struct peri__sandbox *sandbox = timer->data;
    int64_t now = (int64_t)uv_now(timer->loop);
    /* When the gateway itself stood still (a stopped process, a suspended machine), silence proves nothing. */
    if (now - sandbox->last_tick > sandbox->options.watchdog_ms / 2 + 1000 && sandbox->ping_sent)
        sandbox->ping_sent = now;
    sandbox->last_tick = now;
    if (!sandbox->hello) {
        if (now >= sandbox->hello_until)
            peri__sandbox_doom(sandbox, "the sandbox was stopped: it said nothing after its start");
        return;
    }
    if (!sandbox->first && !sandbox->loading) {
        uv_timer_stop(&sandbox->tick);
        sandbox->ping_sent = 0;
        return;
    }
    if (sandbox->ping_sent && now - sandbox->ping_sent >= sandbox->options.watchdog_ms) {
        bite(sandbox);
        return;
    }
    overrun(sandbox, now);
    size_t mark = 0;
    if (!sandbox->doomed && !sandbox->ping_sent &&
        peri_frame_begin(&sandbox->out, PERI_FRAME_PING, ++sandbox->ping_id, &mark) == PERI_OK) {
        peri_frame_end(&sandbox->out, mark);
        sandbox->ping_sent = now;
    }
    peri__sandbox_flush(sandbox);
}

void peri__sandbox_watch(struct peri__sandbox *sandbox)
{
    if (sandbox->doomed || uv_is_active((uv_handle_t *)&sandbox->tick))
        return;
    int64_t interval = sandbox->options.watchdog_ms / 4;
    interval = interval > 500 ? 500 : interval < 10 ? 10 : interval;
    sandbox->last_tick = (int64_t)uv_now(sandbox->options.uv);
    uv_timer_start(&sandbox->tick, on_tick, (uint64_t)interval, (uint64_t)interval);
}

/* ---- its words on stdout and stderr ---- */

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct peri__sandbox *sandbox = handle->data;
    (void)size;
    *buf = uv_buf_init(NULL, 0);
    if (peri_buf_reserve(&sandbox->line, LINE_MAX_BYTES) == PERI_OK)
        *buf = uv_buf_init(sandbox->line.data + sandbox->line.len, LINE_MAX_BYTES);
}

static void say(struct peri__sandbox *sandbox, size_t len)
{
    if (len)
        peri_log(PERI_LOG_WARN, "sandbox %d: %.*s", sandbox->pid, (int)len, sandbox->line.data);
}

static void on_words(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct peri__sandbox *sandbox = stream->data;
    if (n < 0) {
        say(sandbox, sandbox->line.len);
        peri_buf_clear(&sandbox->line);
        uv_read_stop(stream);
        return;
    }
    sandbox->line.len += (size_t)n;
    const char *end = NULL;
    while (sandbox->line.len && (end = memchr(sandbox->line.data, '\n', sandbox->line.len))) {
        size_t len = (size_t)(end - sandbox->line.data);
        say(sandbox, len);
        peri_buf_consume(&sandbox->line, len + 1);
    }
    if (sandbox->line.len >= LINE_MAX_BYTES) {
        say(sandbox, sandbox->line.len);
        peri_buf_clear(&sandbox->line);
    }
}

/* ---- life and death ---- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct peri__sandbox *sandbox = poll->data;
    if (status < 0) {
        peri__sandbox_doom(sandbox, "%s", "");
        return;
    }
    if (events & UV_READABLE)
        peri__sandbox_read(sandbox);
    if ((events & UV_WRITABLE) && !sandbox->doomed && !sandbox->freed)
        peri__sandbox_flush(sandbox);
}

void peri__sandbox_want(struct peri__sandbox *sandbox, bool writable)
{
    if (sandbox->writing == writable)
        return;
    sandbox->writing = writable;
    uv_poll_start(&sandbox->poll, writable ? UV_READABLE | UV_WRITABLE : UV_READABLE, on_poll);
}

static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
    struct peri__sandbox *sandbox = process->data;
    bool by_itself = !sandbox->doomed || !sandbox->why[0];
    sandbox->exited = true;
    if (by_itself) {
        sandbox->doomed = false; /* what it said before it ended counts */
        peri__sandbox_read_rest(sandbox);
    }
    if (!sandbox->doomed || !sandbox->why[0]) {
        uint64_t running = atomic_load(&sandbox->page->running_call);
        sandbox->culprit = peri__idmap_get(&sandbox->calls, running) ? running : 0;
        if (signal)
            peri_log(PERI_LOG_ERROR, "sandbox %d: killed by signal %d", sandbox->pid, signal);
        else
            peri_log(PERI_LOG_ERROR, "sandbox %d: ended by itself with exit code %d", sandbox->pid, (int)status);
    }
    sandbox->doomed = true;
    uv_poll_stop(&sandbox->poll);
    uv_timer_stop(&sandbox->tick);
    peri__sandbox_fail_all(sandbox, status, signal);
    sandbox->options.ended(sandbox->options.owner);
}

static enum peri_code make_page(struct peri__sandbox *sandbox)
{
    sandbox->page_fd = memfd_create("perilune-sandbox", MFD_CLOEXEC);
    if (sandbox->page_fd < 0 || ftruncate(sandbox->page_fd, sizeof *sandbox->page) != 0)
        return PERI_IO;
    void *page = mmap(NULL, sizeof *sandbox->page, PROT_READ, MAP_SHARED, sandbox->page_fd, 0);
    if (page == MAP_FAILED)
        return PERI_IO;
    sandbox->page = page;
    return PERI_OK;
}

static void start_handles(struct peri__sandbox *sandbox, int words)
{
    uv_loop_t *uv = sandbox->options.uv;
    uv_timer_init(uv, &sandbox->tick);
    uv_pipe_init(uv, &sandbox->words, 0);
    uv_poll_init(uv, &sandbox->poll, sandbox->fd);
    sandbox->tick.data = sandbox->words.data = sandbox->poll.data = sandbox;
    sandbox->handles += 3;
    uv_pipe_open(&sandbox->words, words);
    uv_read_start((uv_stream_t *)&sandbox->words, on_alloc, on_words);
    uv_poll_start(&sandbox->poll, UV_READABLE, on_poll);
}

enum peri_code peri__sandbox_spawn(struct peri__sandbox *sandbox, struct peri_error *err)
{
    int pair[2] = { -1, -1 }, words[2] = { -1, -1 };
    char tmp_env[4200];
    snprintf(tmp_env, sizeof tmp_env, "TMPDIR=%s", sandbox->tmp);
    if (mkdir(sandbox->tmp, 0700) != 0 || make_page(sandbox) != PERI_OK ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0 ||
        pipe2(words, O_CLOEXEC | O_NONBLOCK) != 0) {
        enum peri_code code = peri_error_set(err, PERI_IO, "can't start a sandbox: %s", strerror(errno));
        for (int i = 0; i < 2; i++)
            if (pair[i] >= 0)
                close(pair[i]);
        return code;
    }
    sandbox->fd = pair[0];
    /* The sandbox reads its end as it likes; O_NONBLOCK belongs to each end alone. */
    fcntl(pair[1], F_SETFL, 0);
    fcntl(words[1], F_SETFL, O_WRONLY);
    const char *env[ENV_MAX];
    make_env(env, tmp_env);
    uv_stdio_container_t stdio[5] = { { .flags = UV_IGNORE } };
    int fds[5] = { -1, words[1], words[1], pair[1], sandbox->page_fd };
    for (int i = 1; i < 5; i++)
        stdio[i] = (uv_stdio_container_t){ .flags = UV_INHERIT_FD, .data = { .fd = fds[i] } };
    char *args[] = { (char *)(uintptr_t)sandbox->options.path, NULL };
    uv_process_options_t options = {
        .exit_cb = on_process_exit,
        .file = sandbox->options.path,
        .args = args,
        .env = (char **)(uintptr_t)env,
        .cwd = sandbox->tmp,
        .flags = UV_PROCESS_DETACHED, /* a Ctrl-C at the terminal is the gateway's alone to answer */
        .stdio_count = 5,
        .stdio = stdio,
    };
    int rc = uv_spawn(sandbox->options.uv, &sandbox->process, &options);
    sandbox->process.data = sandbox;
    sandbox->handles++;
    sandbox->spawned = true;
    close(pair[1]);
    close(words[1]);
    start_handles(sandbox, words[0]);
    if (rc != 0) {
        sandbox->exited = true;
        return peri_error_set(err, PERI_IO, "can't start the sandbox program %s: %s", sandbox->options.path,
                              uv_strerror(rc));
    }
    sandbox->pid = sandbox->process.pid;
    sandbox->started = (int64_t)uv_now(sandbox->options.uv);
    sandbox->hello_until = sandbox->started + sandbox->options.start_ms;
    peri__sandbox_watch(sandbox);
    return PERI_OK;
}

static void release(struct peri__sandbox *sandbox)
{
    if (sandbox->page)
        munmap(sandbox->page, sizeof *sandbox->page);
    if (sandbox->page_fd >= 0)
        close(sandbox->page_fd);
    if (sandbox->fd >= 0)
        close(sandbox->fd);
    peri__remove_tree(sandbox->tmp);
    peri_buf_fini(&sandbox->in);
    peri_buf_fini(&sandbox->out);
    peri_buf_fini(&sandbox->line);
    peri__idmap_fini(&sandbox->calls);
    free(sandbox->tmp);
    peri_secure_zero(sandbox->key, sizeof sandbox->key);
    free(sandbox);
}

static void on_closed(uv_handle_t *handle)
{
    struct peri__sandbox *sandbox = handle->data;
    if (--sandbox->handles == 0)
        release(sandbox);
}

/* libuv stops looking after the child when its handle is closed, so it is reaped here. */
static void reap(struct peri__sandbox *sandbox)
{
    if (sandbox->exited || sandbox->pid <= 0)
        return;
    kill(sandbox->pid, SIGKILL);
    while (waitpid(sandbox->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    sandbox->exited = true;
}

void peri__sandbox_close(struct peri__sandbox *sandbox)
{
    sandbox->freed = true;
    sandbox->doomed = true;
    while (sandbox->first)
        peri__sandbox_drop_call(sandbox, sandbox->first);
    while (sandbox->loading) {
        struct peri__loading *next = sandbox->loading->next;
        free(sandbox->loading);
        sandbox->loading = next;
    }
    if (!sandbox->spawned) {
        release(sandbox);
        return;
    }
    uv_close((uv_handle_t *)&sandbox->process, on_closed);
    uv_close((uv_handle_t *)&sandbox->poll, on_closed);
    uv_close((uv_handle_t *)&sandbox->words, on_closed);
    uv_close((uv_handle_t *)&sandbox->tick, on_closed);
    reap(sandbox);
}
