/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_SANDBOX_PRIVATE_H
#define CORE_HOST_SANDBOX_PRIVATE_H

#include <stdatomic.h>
#include <sys/types.h>
#include <uv.h>

#include "host/idmap.h"
#include "host/sandbox.h"
#include "perilune/frame.h"
#include "perilune/token.h"

/* What the files of the sandbox's host side share. */

struct peri__inflight {
    uint64_t id;
    struct peri__inflight *next, *prev;
    int64_t deadline; /* uv_now; the sandbox should have ended it by then */
    bool cancelled;
    bool answered; /* the engine has had its reply already: the sandbox's own is swallowed */
    /* A streamed answer, gathered. */
    struct peri_buf chunks;
    char *content_type, *headers;
    int status;
};

struct peri__loading {
    uint64_t version_id;
    int64_t deadline;
    struct peri__loading *next;
};

struct peri__sandbox {
    struct peri_runtime runtime;
    struct peri__sandbox_options options;
    char *tmp;
    unsigned char key[PERI_CALL_KEY_SIZE];
    int fd, page_fd;
    struct peri_sandbox_page *page;
    uv_process_t process;
    uv_poll_t poll;
    uv_pipe_t words; /* its stdout and stderr */
    uv_timer_t tick;
    unsigned handles; /* open or closing */
    int pid;
    bool hello, spawned, exited, writing, freed;
    bool doomed; /* nothing it says counts any more, or it is being killed */
    int64_t started, hello_until;
    int64_t ping_sent; /* uv_now of the oldest unanswered ping; 0: none */
    int64_t last_tick;
    uint64_t ping_id;
    uint64_t culprit; /* the call that held it when the watchdog struck */
    char why[256];    /* why it was killed; "" when it ended by itself */
    struct peri_buf in, out, line;
    size_t sent; /* bytes of out that are gone already */
    struct peri__idmap calls;
    struct peri__inflight *first;
    struct peri__loading *loading;
};

/* sandbox_process.c */
enum peri_code peri__sandbox_spawn(struct peri__sandbox *sandbox, struct peri_error *err);
void peri__sandbox_close(struct peri__sandbox *sandbox);
/* Kills it; the calls end when the process is gone. */
void peri__sandbox_doom(struct peri__sandbox *sandbox, const char *format, ...) PERI_PRINTF(2, 3);
void peri__sandbox_watch(struct peri__sandbox *sandbox); /* starts the tick when there is work */

/* Whether to hear of room in the socket. */
void peri__sandbox_want(struct peri__sandbox *sandbox, bool writable);

/* sandbox_frames.c */
void peri__sandbox_read(struct peri__sandbox *sandbox);
void peri__sandbox_read_rest(struct peri__sandbox *sandbox);
void peri__sandbox_answer_error(struct peri__sandbox *sandbox, struct peri__inflight *call, enum peri_code code,
                                const char *message);
void peri__sandbox_drop_call(struct peri__sandbox *sandbox, struct peri__inflight *call);
/* Every call and load that is open ends as lost; status and signal are the process's end. */
void peri__sandbox_fail_all(struct peri__sandbox *sandbox, int64_t status, int signal);

#endif
