/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_MODEL_H
#define CORE_HOST_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "perilune/buf.h"
#include "perilune/error.h"
#include "perilune/log.h"
#include "perilune/runtime.h"

/* What all doors share. Ids are integers from 1 to 2^53 - 1. Times are wall milliseconds, 0 when unset. Optional
 * strings are NULL when unset; JSON values are held as their text. */

enum peri_function_status { PERI_FN_QUEUED, PERI_FN_DEPLOYING, PERI_FN_READY, PERI_FN_FAILED };

/* A function and its current version. Reference counted, immutable once published in the registry. */
struct peri_function {
    uint64_t id;
    char *external_id; /* unique; what the host's own door and the command call its name */
    char *name;        /* cdf: free text */
    char *description, *owner;
    char *metadata;        /* JSON object of strings */
    char *env;             /* JSON object of strings */
    char *secrets;         /* sealed (secrets.h): opened in the sandbox of a call, never here */
    char *secret_names;    /* JSON object: the names, each with "***"; NULL: none */
    double cpu, memory_gb; /* as asked by cdf; 0: unset */
    char *runtime;
    uint64_t file_id;
    char *entry;           /* path of the entry file as given, "handler.lua" or "handler.py" */
    int64_t timeout_ms;    /* of a call; 0: the host's default */
    uint64_t memory_limit; /* bytes; 0: the host's default */
    unsigned concurrency;  /* of its calls that run at a time; 0: any number */
    unsigned attempts;     /* of an asynchronous call that a crash interrupts; 0: the host's default */
    int64_t created_ms, updated_ms, last_called_ms;
    enum peri_function_status status;
    char *error_message, *error_trace;
    uint64_t version_id; /* unique over all functions; 0 before the first deployment */
    unsigned version;    /* 1, 2, ... within the function */
    char code_hash[65];  /* sha256 of the zip */
    int64_t code_size;
    unsigned refs;
};
struct peri_function *peri_function_new(void);
struct peri_function *peri_function_copy(const struct peri_function *function); /* for a changed successor */
struct peri_function *peri_function_ref(struct peri_function *function);
void peri_function_unref(struct peri_function *function);                /* NULL is a no-op */
const char *peri_function_status_name(enum peri_function_status status); /* "Queued" ... */

enum peri_call_state {
    PERI_CALL_QUEUED,
    PERI_CALL_RUNNING,
    PERI_CALL_COMPLETED,
    PERI_CALL_FAILED,
    PERI_CALL_TIMEOUT,
    PERI_CALL_CANCELLED,
};
const char *peri_call_state_name(enum peri_call_state state); /* "Queued", "Running", "Completed", ... */
bool peri_call_state_final(enum peri_call_state state);

struct peri_log_line {
    int64_t wall_ms;
    enum peri_log_level level;
    char *text;
    size_t len;
};

#define PERI_QUEUES 9
#define PERI_QUEUE_DEFAULT 5
#define PERI_ATTEMPTS_MAX 1000
#define PERI_KEY_MAX 255

/* What a call asks for beyond running as soon as it can. All may be unset: 0, NULL. */
struct peri_terms {
    int64_t start_ms;        /* no attempt starts before; asynchronous calls only, as are those below but expires_ms */
    int64_t expires_ms;      /* it starts before that, or never; 0 from its first start on */
    int64_t base_ms, cap_ms; /* of the wait before the n-th retry: base * 2^n with jitter, at most cap */
    char *key;               /* one call for each function and key */
    unsigned queue;          /* 1 to PERI_QUEUES, lower ones start first; 0: PERI_QUEUE_DEFAULT */
    unsigned attempts;       /* in all; 0: the function's, else the host's */
    bool retry;              /* tried again also when the handler fails */
    char request_hash[65];   /* of what was asked under the key */
};

/* One call and its record. */
struct peri_call {
    uint64_t id;
    uint64_t function_id, version_id;
    unsigned version; /* its number within the function; that of the version which runs, or would run, the call */
    uint64_t schedule_id;
    uint64_t session_id; /* behind it; of asynchronous calls, known with their bodies; 0: none */
    int64_t scheduled_ms;
    int64_t timeout_ms;
    bool async; /* durable before it is acknowledged, retried after a crash */
    enum peri_call_state state;
    unsigned attempt; /* 1 for the first */
    int64_t created_ms, start_ms, end_ms;
    enum peri_code code; /* how it ended */
    char *error_message, *error_trace;
    enum peri_input input;
    char *request_meta; /* JSON: what ctx.request shows */
    struct peri_buf request;
    struct peri_terms *terms; /* NULL: none */
    bool dead;                /* given up after its attempts, and neither requeued nor dismissed since */
    int status;               /* HTTP status that the handler chose; 0: none */
    char *content_type;
    char *headers; /* JSON object */
    struct peri_buf response;
    uint64_t cpu_us, memory_peak;
    struct peri_log_line *log; /* lines so far; those of a finished call are in the store */
    size_t log_count, log_cap, log_bytes;
    unsigned refs;
};
struct peri_call *peri_call_new(void);
struct peri_call *peri_call_ref(struct peri_call *call);
void peri_call_unref(struct peri_call *call); /* NULL is a no-op */

/* A copy, NULL when memory is out. */
struct peri_terms *peri_terms_copy(const struct peri_terms *terms);
void peri_terms_free(struct peri_terms *terms); /* NULL is a no-op */

/* An uploaded file (source packages of the cdf door). */
struct peri_file {
    uint64_t id;
    char *external_id, *name, *mime_type;
    bool uploaded;
    char hash[65];
    int64_t size;
    int64_t created_ms, updated_ms, uploaded_ms;
};
void peri_file_fini(struct peri_file *file);

struct peri_session {
    uint64_t id;
    char type[32], status[16];
    char nonce_hash[65];
    char *client_id;
    int64_t created_ms, expires_ms;
};
void peri_session_fini(struct peri_session *session);

#endif
