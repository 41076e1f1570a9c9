/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_HTTP_H
#define CORE_HOST_HTTP_H

#include "perilune/buf.h"
#include "perilune/error.h"
#include "perilune/hash.h"
#include "perilune/headers.h"
#include "perilune/loop.h"

/* The HTTP server: libmicrohttpd inside the libuv loop. Knows nothing of doors; doors know nothing of libmicrohttpd. */

struct peri_http;     /* the server */
struct peri_http_req; /* one request; lives until its reply has been sent or its connection is gone */

enum peri_http_body {
    PERI_HTTP_NO_BODY,  /* a body is refused with 413 */
    PERI_HTTP_BUFFERED, /* gathered up to max_body (default: the server's), gzip and deflate decoded under the same
                              maximum; then handle() is called */
    PERI_HTTP_TO_FILE,  /* streamed to a temporary file in the server's tmp folder, sha256 computed on the way; or to
                              where the door's target function says */
};

struct peri_route { /* NOLINT(clang-analyzer-optin.performance.Padding): in the order of the tables */
    const char *method;
    /* "/v1/functions/{name}/call": {x} matches one segment, percent-decoded; a last {x...} matches the rest. */
    const char *pattern;
    enum peri_http_body body;
    size_t max_body; /* 0: the server's --body-limit */
    bool open;       /* no credentials asked: only for URLs that carry their own signature */
    void (*handle)(void *door, struct peri_http_req *req);
    const char *summary; /* for the OpenAPI test */
};

/* Where the body of a PERI_HTTP_TO_FILE route goes instead of into a new file. Written on the thread pool. */
struct peri_http_target {
    int fd;                    /* borrowed until ended() */
    int64_t offset;            /* where the body begins in it */
    size_t max;                /* most bytes of the body */
    enum peri_hash_kind hash;  /* what peri_http_file gives */
    struct peri_hash *running; /* gets the same bytes, in order; borrowed until ended(); may be NULL */
    /* Nothing is written any more: the request has ended, or could not begin. Once; may be NULL. */
    void (*ended)(void *data);
    void *data;
};

/* A door: a set of routes, how it checks credentials and how its errors look. */
struct peri_door {
    const char *name;
    const struct peri_route *routes;
    size_t count;
    void *data; /* given to handle and the rest */
    /* PERI_OK lets the request through; asked for open routes too, before the body is read. NULL: the server's bearer
     * token is asked for, but by open routes. */
    enum peri_code (*authenticate)(void *data, struct peri_http_req *req, struct peri_error *err);
    /* Writes the door's own error body (all failures, also 404, 405, 401, 413 found by the server below its prefix). */
    void (*reply_error)(void *data, struct peri_http_req *req, int status, const struct peri_error *err);
    const char *prefix; /* unmatched paths below it get this door's 404 */
    /* Asked for PERI_HTTP_TO_FILE routes before the body is read, also when it is empty. On failure nothing is kept.
     * NULL: temporary files, and no body is an error. */
    enum peri_code (*target)(void *data, struct peri_http_req *req, struct peri_http_target *out,
                             struct peri_error *err);
};

struct peri_http_options {
    const char *host; /* default 127.0.0.1 */
    unsigned port;    /* 0: any free one */
    struct peri_str token;
    size_t body_limit;
    unsigned max_connections;
    unsigned idle_timeout_s;
    const char *tmp_dir;
};

/* doors is borrowed and ends with a NULL. PERI_BUSY: the port is in use, said with its number. */
enum peri_code peri_http_new(struct peri_loop *loop, const struct peri_http_options *options,
                             const struct peri_door *const *doors, struct peri_http **out, struct peri_error *err);
unsigned peri_http_port(const struct peri_http *http);
/* Stops accepting; requests under way go on. */
void peri_http_quiesce(struct peri_http *http);
unsigned peri_http_pending(const struct peri_http *http); /* requests without a finished reply */
void peri_http_free(struct peri_http *http);

/* What doors read. All borrowed for the life of the request. */
const char *peri_http_method(const struct peri_http_req *req);
const char *peri_http_path(const struct peri_http_req *req); /* as received, undecoded, without the query */
struct peri_str peri_http_param(const struct peri_http_req *req, const char *name); /* of the pattern; decoded */
const char *peri_http_query(const struct peri_http_req *req, const char *name);     /* decoded; NULL: absent */
void peri_http_each_query(const struct peri_http_req *req, void (*fn)(void *data, const char *name, const char *value),
                          void *data);
const char *peri_http_header(const struct peri_http_req *req, const char *name); /* NULL: absent */
void peri_http_each_header(const struct peri_http_req *req, void (*fn)(void *data, const char *name, const char *value),
                           void *data);
const char *peri_http_content_type(const struct peri_http_req *req); /* the header, found already; NULL: absent */
/* The route that was chosen; NULL before one was, or without one. */
const struct peri_route *peri_http_route(const struct peri_http_req *req);
/* The server's own check, for doors that have an authenticate function: PERI_UNAUTHORIZED without its token. */
enum peri_code peri_http_bearer(const struct peri_http_req *req, struct peri_error *err);
struct peri_str peri_http_body(const struct peri_http_req *req);
/* TO_FILE: path of the temporary file (removed with the request unless renamed; NULL with a target), size, digest (of
 * sha256, or as the target says) in hexadecimal digits. */
const char *peri_http_file(const struct peri_http_req *req, int64_t *size, const char **digest);
void *peri_http_target_data(const struct peri_http_req *req);  /* of the target that the door gave */
int64_t peri_http_started_us(const struct peri_http_req *req); /* uv_hrtime based */

/* One reply a request, now or later (the connection is suspended meanwhile). After a reply call (or after the
 * on_close function ran) req must not be touched. */
void peri_http_on_close(struct peri_http_req *req, void (*fn)(void *data), void *data); /* the peer went away first */
void peri_http_set_header(struct peri_http_req *req, const char *name, const char *value); /* before the reply */
/* The answer is a handler's own: it goes out without the header perilune-version, which marks what the host itself says
 * (clients tell the errors of the two apart by it). */
void peri_http_unmark(struct peri_http_req *req);
void peri_http_reply(struct peri_http_req *req, int status, const char *content_type,
                     struct peri_str body); /* copied */
void peri_http_reply_take(struct peri_http_req *req, int status, const char *content_type,
                          struct peri_buf *body); /* taken */
/* A file as the answer: 200, or what If-None-Match and Range make of it (304, 206, 416). fd is taken, -1 for an empty
 * one. etag: with its quotes. */
void peri_http_reply_file(struct peri_http_req *req, int fd, int64_t size, const char *content_type, const char *etag);
/* The door's way; status 0: peri_http_status(err->code). */
void peri_http_reply_error(struct peri_http_req *req, int status, const struct peri_error *err);
int peri_http_status(enum peri_code code); /* the status that says such a failure; 500 for the rest */
/* A reply in pieces (server-sent events): begin, write any number of times, end. write returns PERI_TOO_LARGE when the
 * peer reads so slowly that over 4 MiB wait: end it then. */
void peri_http_stream_begin(struct peri_http_req *req, int status, const char *content_type);
enum peri_code peri_http_stream_write(struct peri_http_req *req, struct peri_str bytes);
void peri_http_stream_end(struct peri_http_req *req);

#endif
