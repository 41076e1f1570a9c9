/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "perilune/hash.h"
#include "perilune/json.h"
#include "runtime.h"

/* perilune-sandbox: turns the gateway's frames into calls of the runtime, and its events into frames. */

#define MAX_PAYLOAD (512u * 1024 * 1024)
#define READ_SIZE (256u * 1024)
#define OUTPUT_HIGH (1024u * 1024) /* a handler that writes more than the loop can send waits here */
#define MAX_FILES 1024

struct sandbox {
    struct peri_loop *loop;
    struct peri_runtime *runtime;
    struct peri_sandbox_page *page;
    uv_poll_t socket;
    uv_prepare_t flush;
    int events; /* that the socket is watched for */
    struct peri_buf in, out;
    unsigned calls;
    bool shutdown;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "perilune-sandbox: %s\n", what);
    _exit(1);
}

static void check(enum peri_code code)
{
    if (code != PERI_OK) {
        fail("out of memory for frames");
    }
}

/* ---- output: gathered, and written once per turn of the loop ---- */

static void on_socket(uv_poll_t *socket, int status, int events);

static void watch(struct sandbox *sandbox, int events)
{
    if (sandbox->events != events) {
        sandbox->events = events;
        uv_poll_start(&sandbox->socket, events, on_socket);
    }
}

/* False: the socket is full. The gateway's end being gone ends the process. */
static bool write_out(struct sandbox *sandbox)
{
    size_t done = 0;
    while (done < sandbox->out.len) {
        ssize_t count = write(PERI_FRAME_FD, sandbox->out.data + done, sandbox->out.len - done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && errno != EAGAIN) {
            _exit(0);
        }
        if (count < 0) {
            break;
        }
        done += (size_t)count;
    }
    peri_buf_consume(&sandbox->out, done);
    if (sandbox->out.len == 0 && sandbox->out.cap > OUTPUT_HIGH) {
        peri_buf_fini(&sandbox->out);
    }
    return sandbox->out.len == 0;
}

static void on_flush(uv_prepare_t *prepare)
{
    struct sandbox *sandbox = prepare->data;
    bool empty = write_out(sandbox);
    watch(sandbox, empty ? UV_READABLE : UV_READABLE | UV_WRITABLE);
    if (empty && sandbox->shutdown && sandbox->calls == 0) {
        _exit(0);
    }
}

static size_t begin(struct sandbox *sandbox, enum peri_frame_type type, uint64_t id)
{
    size_t mark;
    while (sandbox->out.len > OUTPUT_HIGH && !write_out(sandbox)) {
        struct pollfd writable = { PERI_FRAME_FD, POLLOUT, 0 };
        poll(&writable, 1, -1);
    }
    check(peri_frame_begin(&sandbox->out, type, id, &mark));
    return mark;
}

static void send_empty(struct sandbox *sandbox, enum peri_frame_type type, uint64_t id)
{
    peri_frame_end(&sandbox->out, begin(sandbox, type, id));
}

/* ---- events of the runtime ---- */

static void on_loaded(void *data, uint64_t version_id, enum peri_code code, struct peri_str detail)
{
    struct sandbox *sandbox = data;
    size_t mark = begin(sandbox, PERI_FRAME_LOADED, version_id);
    check(peri_frame_put_u32(&sandbox->out, (uint32_t)code));
    check(peri_frame_put_str(&sandbox->out, detail));
    peri_frame_end(&sandbox->out, mark);
}

static void on_log(void *data, uint64_t call_id, int64_t wall_ms, enum peri_log_level level, struct peri_str line)
{
    struct sandbox *sandbox = data;
    size_t mark = begin(sandbox, PERI_FRAME_LOG, call_id);
    check(peri_frame_put_u64(&sandbox->out, (uint64_t)wall_ms));
    check(peri_frame_put_u8(&sandbox->out, (uint8_t)level));
    check(peri_frame_put_str(&sandbox->out, line));
    peri_frame_end(&sandbox->out, mark);
}

static void put_reply(struct sandbox *sandbox, uint64_t call_id, const struct peri_reply *reply)
{
    struct peri_buf *out = &sandbox->out;
    size_t mark = begin(sandbox, PERI_FRAME_REPLY, call_id);
    check(peri_frame_put_u8(out, (uint8_t)reply->kind));
    check(peri_frame_put_u8(out, reply->token));
    check(peri_frame_put_u16(out, (uint16_t)reply->status));
    check(peri_frame_put_u32(out, (uint32_t)reply->code));
    check(peri_frame_put_u64(out, reply->cpu_us));
    check(peri_frame_put_u64(out, reply->memory_peak));
    check(peri_frame_put_str(out, reply->content_type));
    check(peri_frame_put_str(out, reply->headers));
    check(peri_frame_put_str(out, reply->body));
    peri_frame_end(out, mark);
}

static void on_reply(void *data, uint64_t call_id, const struct peri_reply *reply)
{
    struct sandbox *sandbox = data;
    put_reply(sandbox, call_id, reply);
    sandbox->calls--;
}

/* {"message": ..., "trace": ""} of a failure that arose here. */
static void put_failure(struct peri_buf *out, const struct peri_error *err)
{
    check(peri_buf_append_text(out, "{\"message\":"));
    check(peri_json_write_string(out, peri_str_from(err->message)));
    check(peri_buf_append_text(out, ",\"trace\":\"\"}"));
}

/* ---- frames of the gateway ---- */

static void load(struct sandbox *sandbox, const struct peri_frame *frame, struct peri_frame_cursor *c)
{
    struct peri_load load = { .version_id = frame->id };
    load.check = peri_frame_get_u8(c) != 0;
    load.timeout_ms = (int64_t)peri_frame_get_u64(c);
    load.memory_limit = peri_frame_get_u64(c);
    load.entry = peri_frame_get_str(c);
    load.env = peri_frame_get_str(c);
    load.package = peri_frame_get_str(c);
    struct peri_error err = PERI_ERROR_INIT;
    if (c->failed) {
        return;
    }
    enum peri_code code = sandbox->runtime->kind->load(sandbox->runtime, &load, &err);
    if (code != PERI_OK && load.check) {
        struct peri_buf detail;
        peri_buf_init(&detail, 64 * 1024);
        put_failure(&detail, &err);
        on_loaded(sandbox, load.version_id, code, peri_buf_str(&detail));
        peri_buf_fini(&detail);
    }
}

static void call(struct sandbox *sandbox, const struct peri_frame *frame, struct peri_frame_cursor *c)
{
    struct peri_invocation call = { .call_id = frame->id };
    call.version_id = peri_frame_get_u64(c);
    call.timeout_ms = (int64_t)peri_frame_get_u64(c);
    call.memory_limit = peri_frame_get_u64(c);
    uint8_t input = peri_frame_get_u8(c);
    call.input = input <= PERI_INPUT_EVENT ? (enum peri_input)input : PERI_INPUT_BYTES;
    call.meta = peri_frame_get_str(c);
    call.body = peri_frame_get_str(c);
    struct peri_error err; /* set when used: a call should not pay for clearing it */
    if (c->failed) {
        return;
    }
    enum peri_code code = PERI_CANCELLED;
    if (sandbox->shutdown) {
        peri_error_set(&err, code, "the sandbox is shutting down");
    } else {
        code = sandbox->runtime->kind->call(sandbox->runtime, &call, &err);
    }
    if (code == PERI_OK) {
        sandbox->calls++;
        return;
    }
    struct peri_buf body;
    peri_buf_init(&body, 64 * 1024);
    put_failure(&body, &err);
    struct peri_reply reply = { .kind = PERI_REPLY_ERROR, .code = code, .body = peri_buf_str(&body) };
    put_reply(sandbox, call.call_id, &reply);
    peri_buf_fini(&body);
}

/* What is read of the key is overwritten: from here on only the runtime has it. */
static void begin_service(struct sandbox *sandbox, struct peri_frame_cursor *c)
{
    struct peri_str key = peri_frame_get_str(c), url = peri_frame_get_str(c);
    if (!c->failed) {
        peri_lua_runtime_start(sandbox->runtime, key, url);
        peri_secure_zero((char *)(uintptr_t)key.data, key.len);
    }
}

static void handle(struct sandbox *sandbox, const struct peri_frame *frame)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    switch (frame->type) {
    case PERI_FRAME_LOAD:
        load(sandbox, frame, &c);
        break;
    case PERI_FRAME_UNLOAD:
        sandbox->runtime->kind->unload(sandbox->runtime, frame->id);
        break;
    case PERI_FRAME_CALL:
        call(sandbox, frame, &c);
        break;
    case PERI_FRAME_CANCEL:
        sandbox->runtime->kind->cancel(sandbox->runtime, frame->id);
        break;
    case PERI_FRAME_PING:
        send_empty(sandbox, PERI_FRAME_PONG, frame->id);
        write_out(sandbox); /* the handler's next slice may come before the loop's next turn */
        break;
    case PERI_FRAME_SHUTDOWN:
        sandbox->shutdown = true;
        break;
    case PERI_FRAME_START:
        begin_service(sandbox, &c);
        break;
    default:
        fail("a frame of a type that no gateway sends");
    }
    if (c.failed) {
        fail("a frame whose payload is too short");
    }
}

/* Handles all whole frames. */
static void parse(struct sandbox *sandbox)
{
    struct peri_str rest = peri_buf_str(&sandbox->in);
    for (;;) {
        struct peri_frame frame;
        size_t used;
        enum peri_code code = peri_frame_next(rest, MAX_PAYLOAD, &frame, &used);
        if (code == PERI_BUSY) {
            break;
        }
        if (code != PERI_OK) {
            fail("what came is not a frame");
        }
        handle(sandbox, &frame);
        rest.data += used;
        rest.len -= used;
    }
    peri_buf_consume(&sandbox->in, sandbox->in.len - rest.len);
    if (sandbox->in.len == 0 && sandbox->in.cap > 4 * READ_SIZE) {
        peri_buf_fini(&sandbox->in);
    }
}

static void on_socket(uv_poll_t *socket, int status, int events)
{
    struct sandbox *sandbox = socket->data;
    if (status < 0) {
        _exit(0);
    }
    if (!(events & UV_READABLE)) {
        return; /* the flush before the next poll writes */
    }
    check(peri_buf_reserve(&sandbox->in, READ_SIZE));
    ssize_t count = read(PERI_FRAME_FD, sandbox->in.data + sandbox->in.len, READ_SIZE);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (count <= 0) {
        _exit(0); /* the gateway is gone, and nobody waits for what runs */
    }
    sandbox->in.len += (size_t)count;
    parse(sandbox);
}

/* ---- start ---- */

static void limit(int resource, rlim_t value)
{
    struct rlimit limits;
    if (getrlimit(resource, &limits) == 0) {
        limits.rlim_cur = value < limits.rlim_max ? value : limits.rlim_max;
        limits.rlim_max = limits.rlim_cur;
        setrlimit(resource, &limits);
    }
}

#define READ_FILES LANDLOCK_ACCESS_FS_READ_FILE
#define READ_FOLDERS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ALL_ACCESS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

/* Access to what is below path, or to the file; paths that don't exist need no rule. */
static void allow(int rules, const char *path, uint64_t access)
{
    struct stat info;
    struct landlock_path_beneath_attr rule = { .parent_fd = path ? open(path, O_PATH | O_CLOEXEC) : -1 };
    if (rule.parent_fd < 0) {
        return;
    }
    rule.allowed_access = fstat(rule.parent_fd, &info) == 0 && S_ISDIR(info.st_mode) ? access : access & READ_FILES;
    syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

/* Operations of perilune take paths (bodies from files, folders to deploy). A handler's reach its private folder, and
 * what names, certificates and time need: not the host's data. A kernel without Landlock leaves the process to the
 * rights of its user. */
static void confine_files(const char *library)
{
    static const char *const readable[] = { "/usr/lib",
                                            "/usr/share",
                                            "/lib",
                                            "/lib64",
                                            "/etc/ssl",
                                            "/etc/hosts",
                                            "/etc/services",
                                            "/etc/resolv.conf",
                                            "/etc/host.conf",
                                            "/etc/gai.conf",
                                            "/etc/localtime",
                                            "/etc/nsswitch.conf",
                                            "/run/systemd/resolve",
                                            "/dev/urandom",
                                            "/dev/null" };
    struct landlock_ruleset_attr attributes = { .handled_access_fs = ALL_ACCESS };
    char path[4096 + 64];
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
    if (rules < 0) {
        return;
    }
    for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]); i++) {
        allow(rules, readable[i], READ_FOLDERS);
    }
    allow(rules, getenv("SSL_CERT_FILE"), READ_FILES);
    allow(rules, getenv("CURL_CA_BUNDLE"), READ_FILES);
    allow(rules, getenv("SSL_CERT_DIR"), READ_FOLDERS);
    allow(rules, getenv("TMPDIR"), ALL_ACCESS & ~LANDLOCK_ACCESS_FS_EXECUTE);
    if (library) { /* links in a build tree: the rule is for what they point to */
        snprintf(path, sizeof(path), "%s/perilune", library);
        allow(rules, path, READ_FOLDERS);
        snprintf(path, sizeof(path), "%s/perilune.lua", library);
        allow(rules, path, READ_FILES);
    }
    syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}

/* After this the process can't gain privileges, leave a core, or outlive the gateway. */
static void drop_privileges(void)
{
    pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(0);
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, MAX_FILES);
    close_range(PERI_FRAME_PAGE_FD + 1, ~0U, 0);
    signal(SIGINT, SIG_IGN); /* a terminal's Ctrl-C is for the gateway, which drains */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    const char *folder = getenv("TMPDIR");
    if (chdir(folder ? folder : "/") != 0) {
        fail("can't enter the private temporary folder");
    }
}

static struct peri_sandbox_page *map_page(void)
{
    struct stat info;
    if (fstat(PERI_FRAME_PAGE_FD, &info) != 0 || info.st_size < (off_t)sizeof(struct peri_sandbox_page)) {
        return NULL;
    }
    void *page =
        mmap(NULL, sizeof(struct peri_sandbox_page), PROT_READ | PROT_WRITE, MAP_SHARED, PERI_FRAME_PAGE_FD, 0);
    return page == MAP_FAILED ? NULL : page;
}

/* Debian's lua-cjson, when it is there: scripts and handlers know it. */
static const luaL_Reg *find_cjson(void)
{
    static luaL_Reg modules[] = { { "cjson", NULL }, { "cjson.safe", NULL }, { NULL, NULL } };
    void *library = dlopen("liblua5.4-cjson.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return NULL;
    }
    *(void **)&modules[0].func = dlsym(library, "luaopen_cjson");
    *(void **)&modules[1].func = dlsym(library, "luaopen_cjson_safe");
    return modules[0].func && modules[1].func ? modules : NULL;
}

/* PREFIX/libexec/perilune/perilune-sandbox finds PREFIX/share/lua/5.4. */
static const char *find_library(char path[4096])
{
    static const char below[] = "/share/lua/5.4";
    ssize_t len = readlink("/proc/self/exe", path, 4000);
    if (len < 0) {
        return NULL;
    }
    path[len] = '\0';
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(path, '/');
        if (!slash) {
            return NULL;
        }
        *slash = '\0';
    }
    memcpy(path + strlen(path), below, sizeof(below));
    return path;
}

/* jansson 2.14's lexer goes on with freed memory when an allocation fails in it: memory that is out ends the process. */
static void *allocate_or_abort(size_t size)
{
    void *memory = malloc(size);
    if (!memory && size > 0) {
        fprintf(stderr, "perilune-sandbox: out of memory for JSON\n");
        abort();
    }
    return memory;
}

static void start(struct sandbox *sandbox)
{
    char library[4096 + 32];
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_lua_runtime_options options = { .library = find_library(library), .modules = find_cjson() };
    struct peri_runtime_events events = { sandbox, on_loaded, on_log, on_reply };
    drop_privileges();
    confine_files(options.library);
    options.page = sandbox->page = map_page();
    if (fcntl(PERI_FRAME_FD, F_SETFL, O_NONBLOCK) != 0) {
        fail("file descriptor 3 is not the gateway's socket: this program is started by perilune-gateway");
    }
    sandbox->loop = peri_loop_new(&err);
    if (!sandbox->loop || peri_lua_runtime_new(sandbox->loop, &options, &events, &sandbox->runtime, &err) != PERI_OK) {
        fail(err.message);
    }
    uv_loop_t *uv = peri_loop_uv(sandbox->loop);
    if (uv_poll_init(uv, &sandbox->socket, PERI_FRAME_FD) != 0) {
        fail("file descriptor 3 can't be watched");
    }
    uv_prepare_init(uv, &sandbox->flush);
    sandbox->socket.data = sandbox->flush.data = sandbox;
    uv_prepare_start(&sandbox->flush, on_flush);
    size_t mark = begin(sandbox, PERI_FRAME_HELLO, PERI_FRAME_VERSION);
    check(peri_frame_put_str(&sandbox->out, peri_str_from("perilune-sandbox " PERI_VERSION)));
    peri_frame_end(&sandbox->out, mark);
}

int main(int argc, char **argv)
{
    static struct sandbox sandbox;
    if (argc > 1) {
        bool version = strcmp(argv[1], "--version") == 0;
        fprintf(version ? stdout : stderr, version
                                               ? "perilune-sandbox " PERI_VERSION "\n"
                                               : "perilune-sandbox takes no arguments; perilune-gateway starts it\n");
        return version ? 0 : 2;
    }
    json_set_alloc_funcs(allocate_or_abort, free);
    peri_buf_init(&sandbox.in, MAX_PAYLOAD + PERI_FRAME_HEADER + READ_SIZE);
    peri_buf_init(&sandbox.out, SIZE_MAX / 2);
    start(&sandbox);
    uv_run(peri_loop_uv(sandbox.loop), UV_RUN_DEFAULT);
    return 0;
}
