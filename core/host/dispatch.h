/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_DISPATCH_H
#define CORE_HOST_DISPATCH_H

#include <jansson.h>

#include "host/datadir.h"
#include "host/model.h"
#include "host/queue.h"
#include "host/turn.h"

/* The sandboxes of a host, and which of them runs what. Keeps them alive. Jobs wait in a queue and start in the loop's
 * next turn (peri__dispatch_work). */
struct peri__dispatch;

struct peri__dispatch_options {
    struct uv_loop_s *uv;
    struct peri__turn *turn;
    const struct peri__datadir *dir;
    const char *sandbox_path;
    unsigned sandboxes;
    int64_t watchdog_ms;
    size_t response_limit;
    uint64_t memory_limit; /* of a package's top level, when its function has none */
    void *data;
    struct peri__job *(*find)(void *data, uint64_t call_id);
    /* A sandbox is free for the job. Fills the invocation and the function whose version runs it (borrowed for the
     * moment). False: it ended otherwise, peri__dispatch_drop was called, and it is not the dispatcher's any more. */
    bool (*start)(void *data, struct peri__job *job, struct peri_invocation *invocation,
                  const struct peri_function **function);
    /* It could not be started after all. */
    void (*failed)(void *data, struct peri__job *job, const struct peri_error *err);
    void (*log)(void *data, struct peri__job *job, int64_t wall_ms, enum peri_log_level level, struct peri_str line);
    void (*reply)(void *data, struct peri__job *job, const struct peri_reply *reply);
    /* It has a reply, and its token was made or used: the key is that of its sandbox. The reply follows. */
    void (*token)(void *data, struct peri__job *job, const unsigned char *key);
    void (*blamed)(void *data, struct peri__job *job); /* the watchdog's culprit; its reply follows */
    void (*describe)(void *data, uint64_t call_id, char *out, size_t cap);
};

/* PERI_IO: the sandbox program can't be started. */
enum peri_code peri__dispatch_new(const struct peri__dispatch_options *options, struct peri__dispatch **out,
                                  struct peri_error *err);
void peri__dispatch_free(struct peri__dispatch *dispatch); /* kills the sandboxes; no reply any more */

/* concurrency: how many calls of the function may run at a time, 0: any number. */
void peri__dispatch_submit(struct peri__dispatch *dispatch, struct peri__job *job, uint64_t function_id,
                           unsigned concurrency);
/* The function has another limit from now on. */
void peri__dispatch_limit(struct peri__dispatch *dispatch, uint64_t function_id, unsigned concurrency);
/* A job that was to start is not the dispatcher's any more. */
void peri__dispatch_drop(struct peri__dispatch *dispatch, struct peri__job *job);
/* Out of the queue, or asks the sandbox to end it (then its reply comes). */
void peri__dispatch_cancel(struct peri__dispatch *dispatch, struct peri__job *job);
/* As cancel, but nothing more is heard of the job. */
void peri__dispatch_abandon(struct peri__dispatch *dispatch, struct peri__job *job);
/* Loads the function's version into some sandbox and runs its top level. detail: {"message","trace"} or plain text. */
void peri__dispatch_check(struct peri__dispatch *dispatch, struct peri_function *function,
                          void (*done)(void *data, enum peri_code code, struct peri_str detail), void *data);
/* The version gets no more calls. */
void peri__dispatch_retire(struct peri__dispatch *dispatch, uint64_t version_id);
/* Where the access service listens, for the sandboxes; copied. */
enum peri_code peri__dispatch_set_service(struct peri__dispatch *dispatch, const char *url);
/* The key of the tokens in the sandbox that runs the job; NULL: none does. */
const unsigned char *peri__dispatch_key(const struct peri__job *job);
void peri__dispatch_work(struct peri__dispatch *dispatch);
const struct peri__queue *peri__dispatch_queue(const struct peri__dispatch *dispatch);
size_t peri__dispatch_running(const struct peri__dispatch *dispatch);
/* How many more calls could start at once. */
size_t peri__dispatch_room(const struct peri__dispatch *dispatch);
json_t *peri__dispatch_info(const struct peri__dispatch *dispatch); /* an array, owned by the caller */

#endif
