/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SUPPORT_HTTPD_H
#define TESTS_SUPPORT_HTTPD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A scripted HTTP server on 127.0.0.1, in a thread of its own: keep-alive, gzip bodies decoded, every request recorded.
 * It answers each request with the first unused step of its script that matches, else with status 599. */
struct httpd;

struct httpd_step {
    const char *method;
    const char *path;    /* with its query */
    const char *body;    /* expected JSON, compared by value; NULL: anything */
    const char *headers; /* further lines, each with "\r\n"; NULL: none */
    const char *reply;   /* NULL: empty */
    size_t reply_len;    /* 0: strlen(reply) */
    int status;
    unsigned times;    /* how often it answers; 0: once */
    unsigned delay_ms; /* before the answer */
    bool drop;         /* close the connection instead of an answer */
    bool cut;          /* announce the whole reply, send half of it, close */
};

struct httpd_request {
    char method[16];
    char path[1024];
    char *headers; /* the lines as they came */
    char *body;    /* decoded */
    size_t body_len;
    bool gzipped;
    int64_t at_us;       /* when it was whole here, by the monotonic clock */
    unsigned connection; /* counts from 1 */
};

/* Steps are copied (their texts too). Fails the test when it can't start. */
struct httpd *httpd_start(const struct httpd_step *steps, size_t count);
void httpd_add(struct httpd *server, const struct httpd_step *step);
unsigned httpd_port(const struct httpd *server);
const char *httpd_url(const struct httpd *server); /* "http://127.0.0.1:PORT" */
/* How many requests came; the i-th (from 0). Valid until httpd_stop. */
size_t httpd_count(struct httpd *server);
const struct httpd_request *httpd_request(struct httpd *server, size_t i);
/* A header's value, copied into out; false when absent. */
bool httpd_header(const struct httpd_request *request, const char *name, char *out, size_t size);
/* Steps that were never used. */
size_t httpd_unused(struct httpd *server);
void httpd_stop(struct httpd *server);

#endif
