/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_HTTP_PRIVATE_H
#define CORE_HOST_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <uv.h>

#include "host/http.h"
#include "host/router.h"
#include "perilune/hash.h"

/* Shared by the http_*.c files only. */

#define PERI_HTTP_INLINE_HEADERS 24
#define PERI_HTTP_KEEP_BODY 16384 /* a body buffer up to this size stays with a pooled request */
#define PERI_HTTP_STREAM_MAX (4 * 1024 * 1024)

struct peri__pair {
    const char *name, *value;
};

enum peri__req_state {
    PERI__REQ_READING,   /* headers or body */
    PERI__REQ_HANDLING,  /* inside handle() */
    PERI__REQ_WAITING,   /* lingering or suspended: the door answers later */
    PERI__REQ_REPLIED,   /* a response is made or on its way */
    PERI__REQ_STREAMING, /* a response in pieces is on its way */
    PERI__REQ_DEAD,      /* the peer is gone: the connection is closed when it is resumed */
};

struct peri__inflate; /* http_body.c */
struct peri__sink;    /* http_sink.c */

struct peri_http_req {
    struct peri_http *http;
    struct MHD_Connection *connection;
    const char *method, *path;
    struct peri_route_match match;
    int64_t started_us;
    enum peri__req_state state;
    bool suspended;
    bool listed; /* in the list of suspended requests */
    bool lingering;
    unsigned linger_tick; /* when that began */
    struct peri_http_req *prev, *next;

    /* headers as received; the common ones are found in the one pass over them */
    struct peri__pair inline_headers[PERI_HTTP_INLINE_HEADERS];
    struct peri__pair *headers;
    size_t header_count, header_cap;
    const char *authorization, *content_type, *content_length, *transfer_encoding, *content_encoding;
    bool repeated_length, too_many_headers;
    bool has_body;

    struct peri__pair *query; /* decoded when first asked for */
    size_t query_count;
    bool query_read;
    char *decoded[PERI_ROUTE_PARAMS]; /* parameters that held a % */
    char *query_text;

    /* the body */
    struct peri_buf body;
    int64_t body_size; /* after decoding */
    size_t max_body;
    struct peri__inflate *inflate;
    struct peri__sink *sink; /* TO_FILE */
    char digest[2 * PERI_HASH_MAX + 1];
    int fail_status; /* the request is answered with this and fail, once its body is past */
    struct peri_error *fail;
    int64_t discarded;

    /* the reply */
    struct peri_buf out_headers; /* name NUL value NUL ... */
    struct MHD_Response *response;
    int status;
    bool raw; /* the body still comes and there is no way to wait for its end: written to the socket, then closed */
    bool unmarked;
    bool stream_ended, stream_paused;
    struct peri_buf stream;
    void (*on_close)(void *data);
    void *on_close_data;
};

struct peri_http {
    struct peri_loop *loop;
    struct peri_router *router;
    struct MHD_Daemon *daemon;
    int listen_fd;
    unsigned port, pending;
    size_t body_limit;
    char *token, *tmp_dir;
    uv_poll_t poll;
    uv_check_t check;
    uv_timer_t timer, sweep, linger;
    uv_idle_t idle;        /* active: the loop must not sleep before libmicrohttpd has run */
    uv_async_t room;       /* from the thread pool: a body that waits may go on */
    unsigned open_handles; /* of the seven above */
    bool dirty, closing;
    bool progress; /* a request went a step further in this run of libmicrohttpd */
    unsigned lingering, linger_tick;
    uint64_t timer_due;            /* uv_now; 0: not running */
    struct peri_http_req *waiting; /* suspended requests */
    struct peri_http_req *pool;    /* linked by next */
    unsigned pooled;
    struct pollfd *sweep_fds;
    struct peri_http_req **sweep_reqs;
    size_t sweep_cap;
    struct peri__sink *sinks;
};

/* http_request.c */
struct peri_http_req *peri__req_new(struct peri_http *http, struct MHD_Connection *connection, const char *path,
                                    const char *method);
void peri__req_free(struct peri_http_req *req);
/* Decodes the path parameters. PERI_BAD_REQUEST on a bad escape or a NUL. */
enum peri_code peri__req_decode_params(struct peri_http_req *req, struct peri_error *err);

/* http_body.c. An error's status is peri_http_status(err.code). */
enum peri_code peri__body_begin(struct peri_http_req *req, struct peri_error *err);
/* Takes what there is room for away from the front of bytes; when something is left, the request is resumed later. */
enum peri_code peri__body_feed(struct peri_http_req *req, struct peri_str *bytes, struct peri_error *err);
/* All has come: whether all is written; if not, the request is resumed when it is. */
bool peri__body_settled(struct peri_http_req *req);
enum peri_code peri__body_finish(struct peri_http_req *req, struct peri_error *err);
void peri__body_fini(struct peri_http_req *req);

/* http_suspend.c */
void peri__http_suspend(struct peri_http_req *req);
void peri__http_sweep_arm(struct peri_http *http); /* looks for peers that went away, from time to time */
/* The request waits for its answer: it lingers for a moment, then is suspended. Called again at every run of
 * libmicrohttpd while it lingers; both only from within on_request. */
void peri__http_wait(struct peri_http_req *req);
void peri__http_linger_on(struct peri_http_req *req);
void peri__http_linger_end(struct peri_http_req *req);
void peri__http_linger_arm(struct peri_http *http);
void peri__http_again(struct peri_http *http); /* libmicrohttpd runs in the loop's next turn, without sleeping first */
void peri__http_resume(struct peri_http_req *req);
void peri__http_finish(struct peri_http_req *req, int status, const char *content_type, struct MHD_Response *response);
/* The peer is gone: the door hears of it, the connection closes when it is resumed. */
void peri__http_abandon(struct peri_http_req *req);
void peri__http_unlist(struct peri_http_req *req); /* it ends: no sweep looks at it any more */

#endif
