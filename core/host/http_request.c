/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "host/http_private.h"
#include "host/http_sink.h"
#include "perilune/bearer.h"
#include "perilune/uri.h"

#define POOL_MAX 256
#define HEADERS_MAX (PERI_HTTP_INLINE_HEADERS * 16)
#define QUERY_MAX 64

/* ---- life ---- */

static void note_header(struct peri_http_req *req, const char *name, const char *value)
{
    switch (name[0] | 0x20) {
    case 'a':
        if (strcasecmp(name, "authorization") == 0)
            req->authorization = value;
        break;
    case 'c':
        if (strcasecmp(name, "content-type") == 0) {
            req->content_type = value;
        } else if (strcasecmp(name, "content-length") == 0) {
            req->repeated_length = req->content_length != NULL;
            req->content_length = value;
        } else if (strcasecmp(name, "content-encoding") == 0) {
            req->content_encoding = value;
        }
        break;
    case 't':
        if (strcasecmp(name, "transfer-encoding") == 0)
            req->transfer_encoding = value;
        break;
    default:
        break;
    }
}

static enum MHD_Result take_header(void *data, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct peri_http_req *req = data;
    (void)kind;
    if (req->header_count == req->header_cap) {
        size_t cap = req->header_cap * 2;
        struct peri__pair *grown = cap > HEADERS_MAX ? NULL : malloc(cap * sizeof *grown);
        req->too_many_headers = grown == NULL;
        if (grown == NULL)
            return MHD_NO;
        memcpy(grown, req->headers, req->header_count * sizeof *grown);
        if (req->headers != req->inline_headers)
            free(req->headers);
        req->headers = grown;
        req->header_cap = cap;
    }
    req->headers[req->header_count].name = name;
    req->headers[req->header_count++].value = value == NULL ? "" : value;
    note_header(req, name, value == NULL ? "" : value);
    return MHD_YES;
}

struct peri_http_req *peri__req_new(struct peri_http *http, struct MHD_Connection *connection, const char *path,
                                    const char *method)
{
    struct peri_http_req *req = http->pool;
    if (req != NULL) {
        http->pool = req->next;
        http->pooled--;
        struct peri_buf body = req->body, out_headers = req->out_headers;
        memset(req, 0, sizeof *req);
        req->body = body;
        req->out_headers = out_headers;
    } else {
        req = calloc(1, sizeof *req);
        if (req == NULL)
            return NULL;
        peri_buf_init(&req->out_headers, 64 * 1024);
    }
    peri_buf_init(&req->stream, PERI_HTTP_STREAM_MAX);
    req->http = http;
    req->connection = connection;
    req->path = path;
    req->method = method;
    req->headers = req->inline_headers;
    req->header_cap = PERI_HTTP_INLINE_HEADERS;
    req->started_us = (int64_t)(uv_hrtime() / 1000);
    MHD_get_connection_values(connection, MHD_HEADER_KIND, take_header, req);
    req->has_body = req->transfer_encoding != NULL ||
                    (req->content_length != NULL && strspn(req->content_length, "0") != strlen(req->content_length));
    http->pending++;
    return req;
}

void peri__req_free(struct peri_http_req *req)
{
    struct peri_http *http = req->http;
    peri__body_fini(req);
    for (size_t i = 0; i < PERI_ROUTE_PARAMS; i++)
        free(req->decoded[i]);
    free(req->query);
    free(req->query_text);
    free(req->fail);
    if (req->headers != req->inline_headers)
        free(req->headers);
    peri_buf_fini(&req->stream);
    http->pending--;
    if (http->pooled == POOL_MAX || http->closing || req->body.cap > PERI_HTTP_KEEP_BODY ||
        req->out_headers.cap > PERI_HTTP_KEEP_BODY) {
        peri_buf_fini(&req->body);
        peri_buf_fini(&req->out_headers);
        free(req);
        return;
    }
    peri_buf_clear(&req->body);
    peri_buf_clear(&req->out_headers);
    req->next = http->pool;
    http->pool = req;
    http->pooled++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum peri_code peri__req_decode_params(struct peri_http_req *req, struct peri_error *err)
{
    for (size_t i = 0; i < req->match.param_count; i++) {
        struct peri_str raw = req->match.params[i].value;
        if (memchr(raw.data, '%', raw.len) == NULL)
            continue;
        char *out = malloc(raw.len + 1);
        size_t len = 0;
        if (out == NULL)
            return peri_error_set(err, PERI_NOMEM, "out of memory");
        req->decoded[i] = out;
        for (size_t at = 0; at < raw.len; at++) {
            if (raw.data[at] != '%') {
                out[len++] = raw.data[at];
                continue;
            }
            int high = at + 2 < raw.len ? hex_digit(raw.data[at + 1]) : -1;
            int low = at + 2 < raw.len ? hex_digit(raw.data[at + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return peri_error_set(err, PERI_BAD_REQUEST, "bad percent-encoding in the path");
            out[len++] = (char)(high * 16 + low);
            at += 2;
        }
        out[len] = '\0';
        req->match.params[i].value = (struct peri_str){ out, len };
    }
    return PERI_OK;
}

/* ---- what doors read ---- */

const char *peri_http_method(const struct peri_http_req *req)
{
    return req->method;
}

const char *peri_http_path(const struct peri_http_req *req)
{
    return req->path;
}

struct peri_str peri_http_param(const struct peri_http_req *req, const char *name)
{
    for (size_t i = 0; i < req->match.param_count; i++) {
        struct peri_str known = req->match.params[i].name;
        if (strncmp(known.data, name, known.len) == 0 && name[known.len] == '\0')
            return req->match.params[i].value;
    }
    return (struct peri_str){ NULL, 0 };
}

struct query_scan {
    struct peri_http_req *req;
    struct peri_buf text; /* name NUL value NUL ... */
    size_t count;
};

/* A bad escape stays as it is written; so does %00, as values are C strings. */
static void decode_query_part(struct peri_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        int high = *text == '%' ? hex_digit(text[1]) : -1;
        int low = high >= 0 ? hex_digit(text[2]) : -1;
        if (low >= 0 && high + low > 0) {
            peri_buf_append_byte(out, (char)(high * 16 + low));
            text += 2;
        } else {
            peri_buf_append_byte(out, *text);
        }
    }
    peri_buf_append_byte(out, '\0');
}

static enum MHD_Result take_query(void *data, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct query_scan *scan = data;
    (void)kind;
    if (scan->count == QUERY_MAX)
        return MHD_NO;
    scan->count++;
    decode_query_part(&scan->text, name);
    decode_query_part(&scan->text, value == NULL ? "" : value);
    return MHD_YES;
}

static void read_query(struct peri_http_req *req)
{
    struct query_scan scan = { .req = req };
    if (req->query_read)
        return;
    req->query_read = true;
    peri_buf_init(&scan.text, 128 * 1024);
    MHD_get_connection_values(req->connection, MHD_GET_ARGUMENT_KIND, take_query, &scan);
    if (scan.count == 0)
        return;
    req->query = calloc(scan.count, sizeof *req->query);
    size_t len = 0;
    req->query_text = peri_buf_take(&scan.text, &len);
    if (req->query == NULL || req->query_text == NULL)
        return;
    const char *at = req->query_text, *end = at + len;
    while (at < end && req->query_count < scan.count) {
        struct peri__pair *pair = &req->query[req->query_count++];
        pair->name = at;
        pair->value = pair->name + strlen(pair->name) + 1;
        at = pair->value + strlen(pair->value) + 1;
    }
}

const char *peri_http_query(const struct peri_http_req *req, const char *name)
{
    read_query((struct peri_http_req *)req);
    for (size_t i = 0; i < req->query_count; i++) {
        if (strcmp(req->query[i].name, name) == 0)
            return req->query[i].value;
    }
    return NULL;
}

void peri_http_each_query(const struct peri_http_req *req, void (*fn)(void *data, const char *name, const char *value),
                          void *data)
{
    read_query((struct peri_http_req *)req);
    for (size_t i = 0; i < req->query_count; i++)
        fn(data, req->query[i].name, req->query[i].value);
}

const char *peri_http_header(const struct peri_http_req *req, const char *name)
{
    for (size_t i = 0; i < req->header_count; i++) {
        if (strcasecmp(req->headers[i].name, name) == 0)
            return req->headers[i].value;
    }
    return NULL;
}

void peri_http_each_header(const struct peri_http_req *req, void (*fn)(void *data, const char *name, const char *value),
                           void *data)
{
    for (size_t i = 0; i < req->header_count; i++)
        fn(data, req->headers[i].name, req->headers[i].value);
}

const char *peri_http_content_type(const struct peri_http_req *req)
{
    return req->content_type;
}

struct peri_str peri_http_body(const struct peri_http_req *req)
{
    return peri_buf_str(&req->body);
}

const char *peri_http_file(const struct peri_http_req *req, int64_t *size, const char **digest)
{
    if (size != NULL)
        *size = req->body_size;
    if (digest != NULL)
        *digest = req->digest;
    return peri__sink_path(req->sink);
}

void *peri_http_target_data(const struct peri_http_req *req)
{
    return peri__sink_data(req->sink);
}

int64_t peri_http_started_us(const struct peri_http_req *req)
{
    return req->started_us;
}

enum peri_code peri_http_bearer(const struct peri_http_req *req, struct peri_error *err)
{
    return peri_bearer_verify(req->authorization, peri_str_from(req->http->token), err);
}

const struct peri_route *peri_http_route(const struct peri_http_req *req)
{
    return req->match.route;
}
