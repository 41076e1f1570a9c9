/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_SANDBOX_H
#define CORE_HOST_SANDBOX_H

#include "perilune/runtime.h"

struct uv_loop_s;

/* One sandbox process, spoken to in frames (perilune/frame.h): an implementation of struct peri_runtime. Every call
 * that was taken gets exactly one reply, also when the process dies: then with PERI_SANDBOX_LOST and what happened.
 * Frames are gathered until peri__sandbox_flush. */
struct peri__sandbox;

struct peri__sandbox_options {
    struct uv_loop_s *uv;
    const char *path;    /* the program */
    const char *tmp_dir; /* its private temporary folder is made below */
    int64_t watchdog_ms; /* silent for so long while it has work: killed; a call may overrun its deadline as long */
    int64_t start_ms;    /* for the first frame to arrive */
    size_t response_limit;
    struct peri_runtime_events events;
    void *owner;
    void (*ready)(void *owner);
    /* The process is gone and all replies were given; the sandbox may be freed from within. */
    void (*ended)(void *owner);
    /* The watchdog found that this call held the sandbox; its lost reply follows. */
    void (*blamed)(void *owner, uint64_t call_id);
    /* The function's name of a call, for messages. */
    void (*describe)(void *owner, uint64_t call_id, char *out, size_t cap);
};

enum peri_code peri__sandbox_new(const struct peri__sandbox_options *options, struct peri__sandbox **out,
                                 struct peri_error *err);
struct peri_runtime *peri__sandbox_runtime(struct peri__sandbox *sandbox);
/* Tells it its key and where the access service is: first thing when it is ready, and again when that changed. */
void peri__sandbox_start(struct peri__sandbox *sandbox, const char *service_url);
/* The key of its calls' tokens (perilune/token.h). */
const unsigned char *peri__sandbox_key(const struct peri__sandbox *sandbox);
void peri__sandbox_flush(struct peri__sandbox *sandbox);
bool peri__sandbox_usable(const struct peri__sandbox *sandbox); /* said hello and is not about to end */
int peri__sandbox_pid(const struct peri__sandbox *sandbox);
size_t peri__sandbox_unsent(const struct peri__sandbox *sandbox);
uint64_t peri__sandbox_lua_bytes(const struct peri__sandbox *sandbox);

#endif
