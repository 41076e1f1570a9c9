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
#define BLOCKS 4                   /* of a request at most; half of them are at work while the others fill */
#define AT_ONCE ((size_t)64 << 10) /* a body up to this size is not worth the thread pool */

enum { DIGEST, WRITE, JOBS }; /* the two halves of the work on a block; at the same time */

struct job {
    uv_work_t uv; /* first */
    struct peri__sink *sink;
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
    int64_t written;
    struct block ring[BLOCKS]; /* from first on: the batch at work, what waits, the one that fills */
    unsigned first, full, batch;
    struct job jobs[JOBS];
    unsigned jobs_running;
    int failure; /* errno of a write */
    bool now, wanted;
};

/* ---- the work on a batch ---- */

static struct block *block_at(struct peri__sink *sink, unsigned k)
{
    return &sink->ring[(sink->first + k) % BLOCKS];
}

static void digest(struct peri__sink *sink)
{
    for (unsigned i = 0; i < sink->batch; i++)
        peri_hash_update(sink->hash, block_at(sink, i)->data, block_at(sink, i)->len);
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

static void write_out(struct peri__sink *sink)
{
    int64_t from = sink->target.offset + sink->written;
    for (unsigned i = 0; i < sink->batch && sink->failure == 0; i++) {
        sink->failure = write_block(sink, block_at(sink, i));
        if (sink->target.running != NULL)
            peri_hash_update(sink->target.running, block_at(sink, i)->data, block_at(sink, i)->len);
    }
    /* Asks the kernel to begin: what makes it durable in the end then finds little left to do. */
    if (!sink->now && sink->batch > 0)
        sync_file_range(sink->target.fd, from, sink->target.offset + sink->written - from, SYNC_FILE_RANGE_WRITE);
}

static void clear_batch(struct peri__sink *sink)
{
    for (unsigned i = 0; i < sink->batch; i++)
        block_at(sink, i)->len = 0;
    sink->first = (sink->first + sink->batch) % BLOCKS;
    sink->full -= sink->batch;
    sink->batch = 0;
}

static void work_now(struct peri__sink *sink)
{
    sink->batch = sink->full;
    digest(sink);
    write_out(sink);
    clear_batch(sink);
}

static void on_digest(uv_work_t *work)
{
    struct job *job = (struct job *)work;
    digest(job->sink);
    job->worked = true;
}

static void on_write(uv_work_t *work)
{
    struct job *job = (struct job *)work;
    write_out(job->sink);
    job->worked = true;
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
    static void (*const fns[JOBS])(uv_work_t * work) = { on_digest, on_write };
    if (sink->jobs_running > 0 || sink->full == 0)
        return;
    sink->batch = sink->full < BLOCKS / 2 ? sink->full : BLOCKS / 2;
    for (unsigned i = 0; i < JOBS; i++) {
        sink->jobs[i].sink = sink;
        sink->jobs[i].running = true;
        sink->jobs[i].worked = false;
        sink->jobs_running++;
        uv_queue_work(peri_loop_uv(sink->http->loop), &sink->jobs[i].uv, fns[i], on_worked);
    }
}

static void on_worked(uv_work_t *work, int status)
{
    struct job *job = (struct job *)work;
    struct peri__sink *sink = job->sink;
    (void)status;
    job->running = false;
    if (--sink->jobs_running > 0)
        return;
    if (sink->http == NULL) {
        free(sink);
        return;
    }
    clear_batch(sink);
    if (sink->req == NULL) {
        end(sink);
        free(sink);
        return;
    }
    start(sink);
    if (sink->wanted) {
        sink->wanted = false;
        peri__http_resume(sink->req);
    }
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

enum peri_code peri__sink_put(struct peri__sink *sink, struct peri_str *bytes, struct peri_error *err)
{
    while (bytes->len > 0 && sink->full < BLOCKS) {
        struct block *block = block_at(sink, sink->full);
        if (block->data == NULL)
            block->data = malloc(BLOCK);
        if (block->data == NULL)
            return peri_error_set(err, PERI_NOMEM, "out of memory for the body");
        size_t room = BLOCK - block->len, n = bytes->len < room ? bytes->len : room;
        memcpy(block->data + block->len, bytes->data, n);
        block->len += n;
        bytes->data += n;
        bytes->len -= n;
        if (block->len < BLOCK)
            continue;
        sink->full++;
        if (sink->now)
            work_now(sink);
        else
            start(sink);
    }
    if (sink->jobs_running == 0 && sink->failure != 0)
        return failed(sink, err);
    sink->wanted = bytes->len > 0;
    return PERI_OK;
}

bool peri__sink_settled(struct peri__sink *sink)
{
    bool more = sink->full < BLOCKS && block_at(sink, sink->full)->len > 0;
    bool idle = sink->full == 0; /* else a thread may be changing `written` */
    if (more && (sink->now || (idle && sink->written == 0 && block_at(sink, 0)->len <= AT_ONCE))) {
        sink->full++;
        work_now(sink);
    } else if (more) {
        sink->full++;
    }
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
