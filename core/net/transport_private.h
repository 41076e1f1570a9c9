/* SPDX-License-Identifier: MIT */
#ifndef NET_TRANSPORT_PRIVATE_H
#define NET_TRANSPORT_PRIVATE_H

#include <curl/curl.h>
#include <sys/queue.h>

#include "net/loop_private.h"
#include "perilune/transport.h"

/* transport.c drives libcurl from the loop, exchange.c is one exchange's life, exchange_events.c what
 * libcurl tells of it, exchange_setup.c says to libcurl what to
 * send, transport_failure.c turns its failures into ours.
 *
 * libcurl forbids most calls from within its callbacks. Whatever a caller's code asks for there (it runs in readers,
 * writers and progress functions) is deferred until libcurl has returned: see peri__transport_enter and _leave. */

#define METHOD_SIZE 24

enum peri__send { SEND_NONE, SEND_BYTES, SEND_STREAM };

TAILQ_HEAD(peri__exchange_list, peri_exchange);

struct peri_transport {
    struct peri_loop *loop;
    CURLM *multi;
    CURLSH *share; /* TLS sessions: a new connection to a known host resumes */
    uv_timer_t curl_timer;
    uv_timer_t deferred_timer;
    struct peri__socket **sockets; /* by file descriptor */
    size_t socket_cap;
    struct peri__exchange_list live;
    struct peri__exchange_list deferred;
    struct peri__exchange_list pool; /* finished ones, with their configured easy handles */
    unsigned live_count, pool_count;
    unsigned room;       /* connections in use that libcurl's limit allows for */
    uint64_t crowded_at; /* when that many were last in use, or not far fewer; loop time */
    unsigned open_handles;
    unsigned in_curl; /* depth of calls into libcurl that may call back */
    bool settling;
    bool dead;
    bool http1_only, insecure;
    long max_idle, max_host;
    char *ca_file, *ca_dir, *proxy;
    char encodings[64]; /* " gzip, br": of what this libcurl decodes */
};

struct peri_exchange {
    TAILQ_ENTRY(peri_exchange) link, deferred_link;
    struct peri_transport *transport;
    CURL *easy;
    CURLU *url; /* what text begins with, parsed: libcurl copies it for each request, which is quicker than parsing */
    uv_timer_t timer;
    /* What is sent. text: the URL, then header lines, each NUL-terminated; nodes point into it. */
    struct peri_buf text, bytes;
    struct curl_slist *nodes;
    size_t node_cap;
    enum peri__send send;
    char method[METHOD_SIZE];
    char custom[METHOD_SIZE]; /* what CURLOPT_CUSTOMREQUEST is set to; "": unset */
    long buffer_size;
    struct peri_reader *source;
    int64_t source_size;
    struct peri_writer *sink;
    void (*progress)(void *data, int64_t sent, int64_t received);
    void *progress_data;
    int64_t handed; /* bytes of the source given to libcurl */
    /* Deadlines in the loop's time (uv_now); 0: none. */
    int64_t connect_timeout_ms, first_byte_timeout_ms, stall_timeout_ms;
    uint64_t moved_at; /* when a byte of a body last moved, or the exchange was resumed; 0: none has to move now */
    uint64_t connect_due, first_byte_due, deadline_due, armed;
    int status;
    long sent_before; /* bytes that a proxy got before the request */
    bool live, added, is_deferred, cancelled, resume;
    bool failed;       /* not by libcurl: result.error says why, what remains is to report it */
    bool connected;    /* the request is going out, or has */
    bool answered;     /* a final status line is there */
    bool headers_done; /* ... and all its fields: what follows are trailers */
    bool not_repeated; /* the connection died under a request that must not go out twice */
    peri_exchange_fn done;
    void *data;
    struct peri_result result;
    char detail[CURL_ERROR_SIZE];
};

/* Around every libcurl call that may call back. leave carries out what was deferred and reports what has finished. */
void peri__transport_enter(struct peri_transport *transport);
void peri__transport_leave(struct peri_transport *transport);
void peri__transport_defer(struct peri_exchange *exchange);
void peri__transport_close(struct peri_transport *transport, uv_handle_t *handle, uv_close_cb on_close);
void peri__transport_closed(struct peri_transport *transport);
/* Keeps at most max_idle connections beside those in use. */
void peri__transport_count(struct peri_transport *transport, int change);
curl_socket_t peri__socket_open(void *exchange, curlsocktype purpose, struct curl_sockaddr *address);
int peri__socket_close(void *transport, curl_socket_t fd);

/* Carries out what was deferred for one exchange. */
void peri__exchange_settle(struct peri_exchange *exchange);
/* Ends it: libcurl's result, or PERI_TIMEOUT and the like already in result.error. Calls done. */
void peri__exchange_finish(struct peri_exchange *exchange, CURLcode rc);
void peri__exchange_discard(struct peri_exchange *exchange); /* of the pool */
/* Where the connect and the first-byte deadline begin. */
void peri__exchange_connecting(struct peri_exchange *exchange);
void peri__exchange_sent(struct peri_exchange *exchange);
/* Bytes of a body move, or are to from now on: where the stall deadline begins; with moving false it rests. */
void peri__exchange_moved(struct peri_exchange *exchange, bool moving);
long peri__exchange_bytes_out(const struct peri_exchange *exchange); /* of requests and CONNECT, so far */

/* Options that never change, once per easy handle. */
enum peri_code peri__easy_init(struct peri_exchange *exchange, struct peri_error *err);
enum peri_code peri__easy_setup(struct peri_exchange *exchange, const struct peri_request *request,
                                struct peri_error *err);
/* libcurl's view of one exchange: exchange_events.c. */
size_t peri__on_header(char *line, size_t size, size_t count, void *exchange);
size_t peri__on_body(char *bytes, size_t size, size_t count, void *exchange);
size_t peri__on_read(char *out, size_t size, size_t count, void *exchange);
int peri__on_seek(void *exchange, curl_off_t offset, int origin);
int peri__on_request(void *exchange, char *peer_ip, char *own_ip, int peer_port, int own_port);
int peri__on_resolve(void *resolver, void *reserved, void *exchange);

/* Fills result.error and result.code, unless a callback has done so. */
void peri__failure_fill(struct peri_exchange *exchange, CURLcode rc);
enum peri__deadline { DEADLINE_CONNECT, DEADLINE_FIRST_BYTE, DEADLINE_STALL, DEADLINE_TOTAL };
void peri__failure_timeout(struct peri_exchange *exchange, enum peri__deadline which);

#endif
