/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_RUNTIME_H
#define PERILUNE_RUNTIME_H

#include "perilune/buf.h"
#include "perilune/error.h"
#include "perilune/log.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a host reaches handlers, in whatever language and process they run. The host implements the events, a runtime
 * the functions. All on one thread (the loop's); every event may come from within any runtime function but free. */

enum peri_reply_kind {
    PERI_REPLY_JSON,  /* body: the handler's value as JSON ("null" for nothing) */
    PERI_REPLY_BYTES, /* body: bytes of content_type, an answer the handler shaped itself */
    PERI_REPLY_ERROR, /* body: {"message": "...", "trace": "..."}; code says what kind of end it was */
};

/* One call's end. Strings are borrowed for the time of the event. */
struct peri_reply {
    enum peri_reply_kind kind;
    enum peri_code code;          /* PERI_OK, HANDLER_FAILED, HANDLER_TIMEOUT, HANDLER_MEMORY, CANCELLED, SANDBOX_LOST,
                            BAD_REQUEST (the input is not JSON, or no event), NOT_FOUND (version not loaded) */
    int status;                   /* HTTP status that the handler chose; 0: none */
    struct peri_str content_type; /* "" unless kind is BYTES */
    struct peri_str headers;      /* a JSON object of strings; "" for none */
    struct peri_str body;
    bool token;           /* the call's token was made */
    uint64_t cpu_us;      /* time in the handler's own code */
    uint64_t memory_peak; /* bytes charged to the call at most */
};

enum peri_input {
    PERI_INPUT_JSON,  /* body is JSON: ctx.data; empty body: an empty table */
    PERI_INPUT_BYTES, /* body is bytes: ctx.request.body; ctx.data is nil */
    PERI_INPUT_EVENT, /* body is an event's request of CIM Database Cloud: ctx.event and ctx.metadata; the answer has the
                         shape that the platform asks for */
};

/* One call. Strings are borrowed: the runtime copies what it keeps. */
struct peri_invocation {
    uint64_t call_id;
    uint64_t version_id;
    int64_t timeout_ms;    /* from now */
    uint64_t memory_limit; /* bytes */
    enum peri_input input;
    struct peri_str meta; /* JSON: {"call": {id, function_id, function_name, schedule_id?, attempt, deadline (wall ms)},
                             "request": {method, path, query, headers, content_type}, "secrets": {...}} */
    struct peri_str body;
};

struct peri_load {
    uint64_t version_id;
    struct peri_str package; /* the zip's bytes */
    struct peri_str entry;   /* "handler.lua" */
    struct peri_str env;     /* JSON object of strings: os.getenv */
    bool check;              /* compile every .lua file and run the entry's top level; answer with loaded */
    int64_t timeout_ms;      /* for the top level */
    uint64_t memory_limit;
};

struct peri_runtime_events {
    void *data;
    /* The outcome of a load with check: code PERI_OK, or PERI_PACKAGE with {"message","trace"} JSON in detail. */
    void (*loaded)(void *data, uint64_t version_id, enum peri_code code, struct peri_str detail);
    void (*log)(void *data, uint64_t call_id, int64_t wall_ms, enum peri_log_level level, struct peri_str line);
    void (*reply)(void *data, uint64_t call_id, const struct peri_reply *reply);
};

struct peri_runtime;
struct peri_runtime_kind {
    enum peri_code (*load)(struct peri_runtime *runtime, const struct peri_load *load, struct peri_error *err);
    void (*unload)(struct peri_runtime *runtime, uint64_t version_id); /* calls that run on it finish first */
    enum peri_code (*call)(struct peri_runtime *runtime, const struct peri_invocation *call, struct peri_error *err);
    void (*cancel)(struct peri_runtime *runtime, uint64_t call_id); /* ends with a CANCELLED reply */
    void (*free)(struct peri_runtime *runtime);                     /* no event from then on */
};
/* First member of every implementation. */
struct peri_runtime {
    const struct peri_runtime_kind *kind;
};

#ifdef __cplusplus
}
#endif

#endif
