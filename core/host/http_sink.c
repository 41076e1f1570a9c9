/* SPDX-License-Identifier: MIT */
#include "host/http_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/http_private.h"

#define BLOCK ((size_t)256 << 10)
#define BLOCKS 8                     /* of a request at most; room is told of when half of them are free */
#define RUN (2 * BLOCKS)             /* of a job at a time: others wait for the pool's threads too */
#define AT_ONCE ((size_t)64 << 10)   /* a body up to this size is not worth the thread pool */
#define SYNC_STEP ((int64_t)8 << 20) /* the kernel is asked to begin with so much at a time */

enum { DIGEST, WRITE, JOBS }; /* the two halves of the work on a block; at the same time */

/* Runs through the blocks as long as there are full ones; the loop starts it again when there are new ones. */
struct job {
    uv_work_t uv; /* first */
    struct peri__sink *sink;
    unsigned kind;
    _Atomic unsigned blocks; /* so many are done, ever */
    bool running;
    _Atomic bool worked;
};

struct block {
    char *data;
    size_t len;
};

struct peri__sink {
    struct peri_http *http;    /* NULL: the server has ended */
    struct peri_http_req *req; /* NULL: the request has ended */
    struct peri__sink *prev, *next;
    struct peri_http_target target;
    struct peri_hash *hash;
    char *path;
    int64_t written, synced;
    struct block ring[BLOCKS];
    _Atomic unsigned full; /* so many are, ever; modulo BLOCKS the one that fills */
    struct job jobs[JOBS];
    unsigned jobs_running;
    _Atomic int failure; /* errno of a write */
    _Atomic bool wanted; /* the request waits, for room or for the end */
    bool now, all;       /* all: nothing comes any more */
};

/* ---- the work on a block ---- */

static struct block *block_at(struct peri__sink *sink, unsigned number)
{
    return &sink->ring[number % BLOCKS];
}

static void digest(struct peri__sink *sink, const struct block *block)
{
    peri_hash_update(sink->hash, block->data, block->len);
}

static int write_block(struct peri__sink *sink, const struct block *block)
{
    for (size_t done = 0; done < block->len;) {
        ssize_t n = pwrite(sink->target.fd, block->data + done, block->len - done, sink->target.offset + sink->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        done += (size_t)n;
        sink->written += n;
    }
    return 0;
}

static void write_out(struct peri__sink *sink, const struct block *block)
{
    if (sink->failure == 0)
        sink->failure = write_block(sink, block);
    if (sink->target.running != NULL)
        peri_hash_update(sink->target.running, block->data, block->len);
    /* Asks the kernel to begin: what makes it durable in the end then finds little left to do. */
    if (sink->now || sink->written - sink->synced < SYNC_STEP)
        return;
    sync_file_range(sink->target.fd, sink->target.offset + sink->synced, sink->written - sink->synced,
                    SYNC_FILE_RANGE_WRITE);
    sink->synced = sink->written;
}

static void (*const work_on[JOBS])(struct peri__sink *sink, const struct block *block) = { digest, write_out };

/* Of the loop's and of the jobs' threads. */
static unsigned room(const struct peri__sink *sink)
{
    unsigned behind = 0;
    for (unsigned i = 0; i < JOBS; i++) {
        unsigned left = sink->full - sink->jobs[i].blocks;
        behind = left > behind ? left : behind;
    }
    return BLOCKS - behind;
}

static void on_job(uv_work_t *work)
{
    struct job *job = (struct job *)work;
    struct peri__sink *sink = job->sink;
    for (unsigned n = 0; n < RUN && job->blocks != sink->full; n++) {
        work_on[job->kind](sink, block_at(sink, job->blocks));
        job->blocks++;
        if (sink->wanted && room(sink) == BLOCKS / 2)
            uv_async_send(&sink->http->room);
    }
    job->worked = true;
}

static void work_now(struct peri__sink *sink)
{
    for (unsigned i = 0; i < JOBS; i++) {
        work_on[i](sink, block_at(sink, sink->full));
        sink->jobs[i].blocks++;
    }
    block_at(sink, sink->full)->len = 0;
    sink->full++;
}

/* ---- life ---- */

/* Nothing is at work any more. */
static void end(struct peri__sink *sink)
{
    if (sink->prev != NULL)
        sink->prev->next = sink->next;
    else
        sink->http->sinks = sink->next;
    if (sink->next != NULL)
        sink->next->prev = sink->prev;
    for (unsigned i = 0; i < BLOCKS; i++)
        free(sink->ring[i].data);
    peri_hash_free(sink->hash);
    if (sink->path != NULL) {
        if (sink->target.fd >= 0)
            close(sink->target.fd);
        unlink(sink->path);
        free(sink->path);
    }
    if (sink->target.ended != NULL)
        sink->target.ended(sink->target.data);
    sink->http = NULL;
}

static void on_worked(uv_work_t *work, int status);

static void start(struct peri__sink *sink)
{
    for (unsigned i = 0; i < JOBS; i++) {
        struct job *job = &sink->jobs[i];
        if (job->running || job->blocks == sink->full)
            continue;
        job->running = true;
        job->worked = false;
        sink->jobs_running++;
        uv_queue_work(peri_loop_uv(sink->http->loop), &job->uv, on_job, on_worked);
    }
}

static void wake(struct peri__sink *sink)
{
    if (!sink->wanted || (sink->all ? sink->jobs_running > 0 : room(sink) < BLOCKS / 2))
        return;
    sink->wanted = false;
    peri__http_resume(sink->req);
}

static void on_worked(uv_work_t *work, int status)
{
    struct job *job = (struct job *)work;
    struct peri__sink *sink = job->sink;
    (void)status;
    job->running = false;
    sink->jobs_running--;
    if (sink->http != NULL && sink->req != NULL) {
        start(sink);
        wake(sink);
        return;
    }
    if (sink->jobs_running > 0)
        return;
    if (sink->http != NULL)
        end(sink);
    free(sink);
}

void peri__sink_room(struct peri_http *http)
{
    for (struct peri__sink *sink = http->sinks; sink != NULL; sink = sink->next)
        wake(sink);
}

static enum peri_code open_temporary(struct peri__sink *sink, struct peri_error *err)
{
    const char *dir = sink->http->tmp_dir;
    sink->target = (struct peri_http_target){ .fd = -1, .hash = PERI_SHA256 };
    if (asprintf(&sink->path, "%s/body-XXXXXX", dir) < 0) {
        sink->path = NULL;
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    sink->target.fd = mkostemp(sink->path, O_CLOEXEC);
    if (sink->target.fd >= 0)
        return PERI_OK;
    int reason = errno;
    free(sink->path);
    sink->path = NULL;
    return peri_error_set(err, PERI_IO, "can't create a file in %s: %s", dir, strerror(reason));
}

enum peri_code peri__sink_new(struct peri_http_req *req, const struct peri_http_target *target, bool whole_blocks_now,
                              struct peri__sink **out, struct peri_error *err)
{
    struct peri__sink *sink = calloc(1, sizeof *sink);
    if (sink == NULL) {
        if (target != NULL && target->ended != NULL)
            target->ended(target->data);
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    sink->http = req->http;
    sink->req = req;
    sink->now = whole_blocks_now;
    for (unsigned i = 0; i < JOBS; i++) {
        sink->jobs[i].sink = sink;
        sink->jobs[i].kind = i;
    }
    sink->next = req->http->sinks;
    if (sink->next != NULL)
        sink->next->prev = sink;
    req->http->sinks = sink;
    enum peri_code code = PERI_OK;
    if (target != NULL)
        sink->target = *target;
    else
        code = open_temporary(sink, err);
    if (code == PERI_OK) {
        sink->hash = peri_hash_new(sink->target.hash, err);
        code = sink->hash == NULL ? err->code : PERI_OK;
    }
    if (code != PERI_OK) {
        end(sink);
        free(sink);
        return code;
    }
    *out = sink;
    peri__http_sweep_arm(req->http);
    return PERI_OK;
}

/* libmicrohttpd overlooks the end of a connection that comes together with the last bytes, until its idle time-out. A
 * body that nothing more will come for is not worth the wait: somebody may be waiting to send it again. */
static void check_peer(const struct peri_http_req *req)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(req->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct pollfd peer = { .fd = info->connect_fd, .events = POLLRDHUP };
    int unread = 0;
    if (poll(&peer, 1, 0) > 0 && (peer.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0 &&
        ioctl(peer.fd, FIONREAD, &unread) == 0 && unread == 0)
        shutdown(peer.fd, SHUT_RDWR);
}

void peri__sink_sweep(struct peri_http *http)
{
    for (const struct peri__sink *sink = http->sinks; sink != NULL; sink = sink->next) {
        if (sink->req != NULL && !sink->req->suspended && sink->req->state == PERI__REQ_READING)
            check_peer(sink->req);
    }
}

/* ---- from the request ---- */

static enum peri_code failed(const struct peri__sink *sink, struct peri_error *err)
{
    return peri_error_set(err, PERI_IO, "can't store the body: %s", strerror(sink->failure));
}

static bool fill(struct peri__sink *sink, struct peri_str *bytes)
{
    struct block *block = block_at(sink, sink->full);
    if (block->data == NULL)
        block->data = malloc(BLOCK);
    if (block->data == NULL)
        return false;
    if (block->len == BLOCK)
        block->len = 0; /* both jobs have been past it */
    size_t left = BLOCK - block->len, n = bytes->len < left ? bytes->len : left;
    memcpy(block->data + block->len, bytes->data, n);
    block->len += n;
    bytes->data += n;
    bytes->len -= n;
    if (block->len < BLOCK)
        return true;
    if (sink->now) {
        work_now(sink);
        return true;
    }
    sink->full++;
    start(sink);
    return true;
}

enum peri_code peri__sink_put(struct peri__sink *sink, struct peri_str *bytes, struct peri_error *err)
{
    while (bytes->len > 0 && room(sink) > 0) {
        if (!fill(sink, bytes))
            return peri_error_set(err, PERI_NOMEM, "out of memory for the body");
    }
    if (sink->failure != 0)
        return failed(sink, err);
    sink->wanted = bytes->len > 0; /* should there be room by now: a job's end comes in any case */
    return PERI_OK;
}

bool peri__sink_settled(struct peri__sink *sink)
{
    const struct block *last = block_at(sink, sink->full);
    if (!sink->all && last->len > 0 && last->len < BLOCK) {
        if (sink->now || (sink->full == 0 && last->len <= AT_ONCE))
            work_now(sink);
        else
            sink->full++;
    }
    sink->all = true;
    start(sink);
    sink->wanted = sink->jobs_running > 0;
    return !sink->wanted;
}

enum peri_code peri__sink_finish(struct peri__sink *sink, char *hex, size_t size, struct peri_error *err)
{
    unsigned char bytes[PERI_HASH_MAX];
    struct peri_buf text;
    if (sink->failure != 0)
        return failed(sink, err);
    if (sink->path != NULL) {
        int rc = close(sink->target.fd);
        sink->target.fd = -1;
        sink->failure = rc == 0 ? 0 : errno;
        if (rc != 0)
            return failed(sink, err);
    }
    peri_hash_final(sink->hash, bytes);
    peri_buf_init(&text, size);
    enum peri_code code = peri_hex_append(&text, bytes, peri_hash_size(sink->target.hash));
    if (code == PERI_OK)
        memcpy(hex, text.data, text.len + 1);
    peri_buf_fini(&text);
    return code == PERI_OK ? PERI_OK : peri_error_set(err, code, "out of memory");
}

const char *peri__sink_path(const struct peri__sink *sink)
{
    return sink->path;
}

void *peri__sink_data(const struct peri__sink *sink)
{
    return sink->target.data;
}

void peri__sink_release(struct peri__sink *sink)
{
    if (sink == NULL)
        return;
    sink->req = NULL;
    sink->wanted = false;
    if (sink->jobs_running > 0)
        return;
    end(sink);
    free(sink);
}

void peri__sink_abandon_all(struct peri_http *http)
{
    for (struct peri__sink *sink = http->sinks, *next; sink != NULL; sink = next) {
        next = sink->next;
        for (unsigned i = 0; i < JOBS; i++) {
            if (sink->jobs[i].running && uv_cancel((uv_req_t *)&sink->jobs[i].uv) != 0) {
                while (!sink->jobs[i].worked)
                    usleep(1000);
            }
        }
        end(sink);
        if (sink->jobs_running == 0)
            free(sink);
    }
}
