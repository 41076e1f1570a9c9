/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_TRANSPORT_H
#define PERILUNE_TRANSPORT_H

#include "perilune/headers.h"
#include "perilune/loop.h"
#include "perilune/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/* HTTP exchanges on libcurl's multi interface, driven by a loop. Knows nothing of services, retries or credentials.
 * Connections are kept and reused; HTTP/2 where a TLS peer offers it; gzip, deflate and brotli answers are decoded;
 * proxies come from the environment (http_proxy, https_proxy, no_proxy); redirects are not followed. */
struct peri_transport;

struct peri_transport_options {
    const char *ca_file;           /* NULL: SSL_CERT_FILE, then the system's store */
    const char *proxy;             /* NULL: from the environment; "": none */
    bool insecure;                 /* don't verify TLS peers: for tests */
    bool http1_only;               /* never negotiate HTTP/2 */
    unsigned max_connections;      /* idle connections kept, default 64 */
    unsigned max_host_connections; /* at once to one host, default 0: no limit */
};

PERI_API struct peri_transport *peri_transport_new(struct peri_loop *loop, const struct peri_transport_options *options,
                                                   struct peri_error *err); /* options NULL: defaults */
PERI_API void peri_transport_free(struct peri_transport *transport);        /* cancels what is under way */
/* The loop's default transport: made at first use, freed with the loop. */
PERI_API struct peri_transport *peri_loop_transport(struct peri_loop *loop, struct peri_error *err);

/* What to send. Everything is copied but `body` and `sink`, which are borrowed until the exchange ends. */
struct peri_request {
    const char *method; /* default GET */
    const char *url;
    const struct peri_headers *headers; /* NULL: none; "Accept-Encoding" and "Expect" are the transport's own */
    struct peri_reader *body;           /* NULL: none; a source of unknown size goes out chunked */
    struct peri_writer *sink;           /* where a 2xx body goes; NULL: into result.body. Other bodies: result.body */
    size_t max_body;                    /* most bytes gathered into result.body, default 64 MiB */
    int64_t connect_timeout_ms;         /* 0: 10 s */
    int64_t first_byte_timeout_ms;      /* from the request being sent to the status line; 0: none */
    int64_t stall_timeout_ms;           /* the longest without a byte of a body moving, but for a paused one; 0: none */
    int64_t deadline_ms;                /* absolute, by the loop's monotonic clock; 0: none */
    void (*progress)(void *data, int64_t sent, int64_t received); /* may be NULL */
    void *progress_data;
};

struct peri_result {
    enum peri_code code; /* PERI_OK: a response arrived whole, whatever its status; else why not */
    struct peri_error error;
    int status; /* 0: none */
    struct peri_headers headers;
    struct peri_buf body;
    int64_t bytes_sent, bytes_received; /* of bodies */
    bool anything_sent; /* the peer may have seen (part of) the request: matters to retries that are not idempotent */
    int http_version;   /* 10, 11, 20 */
    int64_t connect_us, first_byte_us, total_us;
    bool reused; /* came over a kept connection */
};
PERI_API void peri_result_fini(struct peri_result *result);

/* Called once on the loop, never from within peri_exchange_start. result is owned by the exchange: move fields out
 * (and re-init them) to keep them. The exchange is freed after the callback returns. */
typedef void (*peri_exchange_fn)(void *data, struct peri_result *result);
struct peri_exchange;
PERI_API struct peri_exchange *peri_exchange_start(struct peri_transport *transport, const struct peri_request *request,
                                                   peri_exchange_fn done, void *data, struct peri_error *err);
/* Ends it and frees everything at once; `done` is not called. */
PERI_API void peri_exchange_cancel(struct peri_exchange *exchange);

#ifdef __cplusplus
}
#endif

#endif
