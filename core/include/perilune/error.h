/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_ERROR_H
#define PERILUNE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "perilune/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every error code: enumerator, name (the string in Lua's `err.code` and in the command's JSON), text.
 * The first group arises here, the second maps HTTP statuses, the third is a handler's end. */
#define PERI_CODES(X)                                                                                                  \
    X(OK, ok, "success")                                                                                               \
    X(INVALID, invalid, "invalid argument")                                                                            \
    X(NOMEM, nomem, "out of memory")                                                                                   \
    X(IO, io, "input/output error")                                                                                    \
    X(CLOSED, closed, "object is closed")                                                                              \
    X(CANCELLED, cancelled, "cancelled")                                                                               \
    X(TIMEOUT, timeout, "deadline exceeded")                                                                           \
    X(RESOLVE, resolve, "host name not resolved")                                                                      \
    X(CONNECT, connect, "connection failed")                                                                           \
    X(TLS, tls, "TLS failure")                                                                                         \
    X(PROTOCOL, protocol, "protocol violation by the peer")                                                            \
    X(TRUNCATED, truncated, "transfer ended early")                                                                    \
    X(TOO_LARGE, too_large, "over a size limit")                                                                       \
    X(JSON, json, "invalid JSON")                                                                                      \
    X(UNSUPPORTED, unsupported, "not supported")                                                                       \
    X(BUSY, busy, "in use")                                                                                            \
    X(STORE, store, "store failure")                                                                                   \
    X(PACKAGE, package, "invalid function package")                                                                    \
    X(BAD_REQUEST, bad_request, "bad request")                                                                         \
    X(UNAUTHORIZED, unauthorized, "unauthorized")                                                                      \
    X(FORBIDDEN, forbidden, "forbidden")                                                                               \
    X(NOT_FOUND, not_found, "not found")                                                                               \
    X(NOT_ACCEPTABLE, not_acceptable, "not acceptable")                                                                \
    X(CONFLICT, conflict, "conflict")                                                                                  \
    X(GONE, gone, "gone")                                                                                              \
    X(PAYLOAD_TOO_LARGE, payload_too_large, "payload too large")                                                       \
    X(UNPROCESSABLE, unprocessable, "unprocessable")                                                                   \
    X(RATE_LIMITED, rate_limited, "rate limited")                                                                      \
    X(SERVER, server, "server error")                                                                                  \
    X(UNAVAILABLE, unavailable, "service unavailable")                                                                 \
    X(HTTP, http, "unexpected HTTP status")                                                                            \
    X(HANDLER_FAILED, handler_failed, "the handler failed")                                                            \
    X(HANDLER_TIMEOUT, handler_timeout, "the handler ran past its deadline")                                           \
    X(HANDLER_MEMORY, handler_memory, "the handler went over its memory quota")                                        \
    X(SANDBOX_LOST, sandbox_lost, "the sandbox that ran the call ended")                                               \
    X(EXPIRED, expired, "the call did not start in time")

enum peri_code {
#define PERI_CODE_ENUM(upper, lower, text) PERI_##upper,
    PERI_CODES(PERI_CODE_ENUM)
#undef PERI_CODE_ENUM
        PERI_CODE_COUNT
};

/* A failure, held by value: never allocates, needs no cleanup, may be copied with `=`.
 * Strings are NUL-terminated UTF-8, cut at a character boundary when too long; absent ones are "". */
struct peri_error {
    enum peri_code code;
    int status;             /* HTTP status; 0 when no response arrived */
    bool retryable;         /* trying the same again later may succeed */
    int64_t retry_after_ms; /* what the server or the limiter asks to wait; -1 when unknown */
    char operation[64];     /* for example "cdf.functions.create"; "" outside an operation */
    char platform_code[64]; /* the platform's own error code */
    char request_id[128];   /* the platform's request id */
    char message[1024];     /* one readable sentence without a final full stop */
};

#define PERI_ERROR_INIT                                                                                                \
    {                                                                                                                  \
        PERI_OK, 0, false, -1, "", "", "", ""                                                                          \
    }

/* The code's name, for example "not_found". Never NULL. */
PERI_API const char *peri_code_name(enum peri_code code);
/* The code's text, for example "not found". Never NULL. */
PERI_API const char *peri_code_text(enum peri_code code);
/* The code of a name, PERI_CODE_COUNT when there is none. */
PERI_API enum peri_code peri_code_from_name(const char *name);
/* The code for an HTTP status: PERI_OK for 2xx, else the typed code (400 bad_request, 401 unauthorized, 403, 404, 406,
 * 409, 410, 413, 422, 429, 503 unavailable, other 5xx server, anything else http). */
PERI_API enum peri_code peri_code_from_status(int status);

/* Resets all fields, then sets code and message. Returns `code`, so that a failure is one statement:
 * `return peri_error_set(err, PERI_IO, "can't open %s: %s", path, strerror(errno));` err may be NULL. */
PERI_API enum peri_code peri_error_set(struct peri_error *err, enum peri_code code, const char *format, ...)
    PERI_PRINTF(3, 4);
PERI_API enum peri_code peri_error_setv(struct peri_error *err, enum peri_code code, const char *format, va_list args);
/* Puts "prefix: " before the message, keeping everything else. */
PERI_API void peri_error_prefix(struct peri_error *err, const char *format, ...) PERI_PRINTF(2, 3);
PERI_API void peri_error_clear(struct peri_error *err);
/* Fills a text field of an error (or any array of `size` chars) from foreign bytes: ends at len or at a NUL, is cut at
 * a character boundary, and a byte that is not UTF-8 becomes '?'. */
PERI_API void peri_error_copy(char *field, size_t size, const char *text, size_t len);

#ifdef __cplusplus
}
#endif

#endif
