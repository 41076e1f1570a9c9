/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "perilune/frame.h"
#include "support/package.h"

/* What a call costs in the sandbox program, without the gateway: CPU time of the process per trivial JSON call at 64 in
 * flight, the time to a first answer of functions that never ran, and memory per idle function. Prints one JSON line. */

#define CALLS 200000
#define FUNCTIONS 1000
#define IN_FLIGHT 64
#define HANDLER "return { handle = function(ctx) return { sum = ctx.data.a + ctx.data.b, name = ctx.data.name } end }"
#define INPUT "{\"a\":1,\"b\":2,\"name\":\"something of about a hundred bytes, as the measure asks for it, .....\"}"
#define META                                                                                                           \
    "{\"call\":{\"id\":123456789,\"function_id\":5,\"function_name\":\"bench\",\"attempt\":1,\"deadline\":1},"         \
    "\"request\":{\"method\":\"POST\",\"path\":\"/v1/functions/bench/"                                                 \
    "call\",\"query\":{},\"headers\":{\"host\":\"x\"}},"                                                               \
    "\"secrets\":{}}"

static int frames;
static pid_t sandbox;
static struct peri_sandbox_page *page;
static struct peri_buf in, out;

static double now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void start(const char *program)
{
    int ends[2], memory = memfd_create("page", 0);
    if (memory < 0 || ftruncate(memory, 4096) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) {
        exit(1);
    }
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    sandbox = fork();
    if (sandbox == 0) {
        int theirs = fcntl(ends[1], F_DUPFD, 20), shared = fcntl(memory, F_DUPFD, 20);
        dup2(theirs, PERI_FRAME_FD);
        dup2(shared, PERI_FRAME_PAGE_FD);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    frames = ends[0];
}

static void flush_out(void)
{
    for (size_t done = 0; done < out.len;) {
        ssize_t count = write(frames, out.data + done, out.len - done);
        if (count <= 0) {
            exit(1);
        }
        done += (size_t)count;
    }
    peri_buf_clear(&out);
}

static void put_load(uint64_t version)
{
    size_t len, mark;
    char *zip = zip_of_handler(HANDLER, &len);
    peri_frame_begin(&out, PERI_FRAME_LOAD, version, &mark);
    peri_frame_put_u8(&out, 0);
    peri_frame_put_u64(&out, 5000);
    peri_frame_put_u64(&out, 1 << 26);
    peri_frame_put_str(&out, peri_str_from("handler.lua"));
    peri_frame_put_str(&out, peri_str_from("{}"));
    peri_frame_put_str(&out, (struct peri_str){ zip, len });
    peri_frame_end(&out, mark);
    free(zip);
}

static void put_call(uint64_t id, uint64_t version)
{
    size_t mark;
    peri_frame_begin(&out, PERI_FRAME_CALL, id, &mark);
    peri_frame_put_u64(&out, version);
    peri_frame_put_u64(&out, 600000);
    peri_frame_put_u64(&out, 1 << 28);
    peri_frame_put_u8(&out, 0);
    peri_frame_put_str(&out, peri_str_from(META));
    peri_frame_put_str(&out, peri_str_from(INPUT));
    peri_frame_end(&out, mark);
}

/* Reads at least one reply; returns how many. */
static unsigned replies(void)
{
    for (unsigned count = 0;;) {
        struct peri_frame frame;
        size_t used;
        while (peri_frame_next(peri_buf_str(&in), 1 << 20, &frame, &used) == PERI_OK) {
            struct peri_frame_cursor c = peri_frame_cursor(&frame);
            if (frame.type == PERI_FRAME_REPLY) {
                count++;
                if (peri_frame_get_u8(&c) != 0) {
                    fprintf(stderr, "a call failed: %.*s\n", (int)frame.payload.len, frame.payload.data);
                    exit(1);
                }
            }
            peri_buf_consume(&in, used);
        }
        if (count) {
            return count;
        }
        peri_buf_reserve(&in, 65536);
        ssize_t got = read(frames, in.data + in.len, 65536);
        if (got <= 0) {
            exit(1);
        }
        in.len += (size_t)got;
    }
}

static double measure_calls(clockid_t cpu)
{
    double before = 0;
    unsigned sent = 0, done = 0, warm = CALLS / 10;
    while (done < CALLS + warm) {
        while (sent < CALLS + warm && sent - done < IN_FLIGHT) {
            put_call(++sent, 1);
        }
        flush_out();
        done += replies();
        if (before == 0 && done >= warm) {
            before = now_us(cpu);
            warm = done;
        }
    }
    return (now_us(cpu) - before) / (done - warm);
}

static long resident_kb(void)
{
    char path[64];
    long size = 0, pages = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)sandbox);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2) {
        exit(1);
    }
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv)
{
    clockid_t cpu;
    start(argc > 1 ? argv[1] : PERI_BINARY_DIR "/libexec/perilune/perilune-sandbox");
    peri_buf_init(&in, 1 << 24);
    peri_buf_init(&out, 1 << 24);
    put_load(1);
    put_call(1, 1);
    flush_out();
    replies();
    if (clock_getcpuclockid(sandbox, &cpu)) {
        return 1;
    }
    double call_us = measure_calls(cpu);
    poll(NULL, 0, 2500);
    long resident = resident_kb();
    uint64_t bytes = atomic_load(&page->lua_bytes);
    double cold_us = 0, cold_cpu = now_us(cpu);
    for (uint64_t version = 2; version < 2 + FUNCTIONS; version++) {
        put_load(version);
        flush_out();
        put_call(version, version);
        double before = now_us(CLOCK_MONOTONIC);
        flush_out();
        replies();
        cold_us += now_us(CLOCK_MONOTONIC) - before;
    }
    cold_cpu = now_us(cpu) - cold_cpu;
    poll(NULL, 0, 2500); /* idle states are swept after a second */
    put_call(1, 1);
    flush_out();
    replies();
    printf("{\"bench\":\"sandbox\",\"calls\":%d,\"cpu_us_per_call\":%.2f,\"first_call_us\":%.0f,\"first_call_cpu_us\":%"
           ".0f,"
           "\"lua_kb_per_idle_function\":%.1f,\"resident_kb_per_idle_function\":%.1f}\n",
           CALLS, call_us, cold_us / FUNCTIONS, cold_cpu / FUNCTIONS,
           (double)(atomic_load(&page->lua_bytes) - bytes) / 1024 / FUNCTIONS,
           (double)(resident_kb() - resident) / FUNCTIONS);
    kill(sandbox, SIGKILL);
    waitpid(sandbox, NULL, 0);
    return 0;
}
