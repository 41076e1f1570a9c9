/* SPDX-License-Identifier: MIT */
#include "net/transport_private.h"

#include <string.h>

#define RESERVE_MAX (1024 * 1024)

static bool may_repeat(const char *method)
{
    static const char *const methods[] = { "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE" };
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        if (strcmp(method, methods[i]) == 0) {
            return true;
        }
    }
    return false;
}

long peri__exchange_bytes_out(const struct peri_exchange *exchange)
{
    long bytes = 0;
    curl_easy_getinfo(exchange->easy, CURLINFO_REQUEST_SIZE, &bytes);
    return bytes;
}

int peri__on_resolve(void *resolver, void *reserved, void *data)
{
    (void)resolver;
    (void)reserved;
    peri__exchange_connecting(data);
    return 0;
}

/* A connection is there and the request goes out next. libcurl by itself repeats a request whose kept connection died
 * without an answer; bytes of it may have been acted upon, so only methods that allow it are repeated. */
int peri__on_request(void *data, char *peer_ip, char *own_ip, int peer_port, int own_port)
{
    (void)peer_ip;
    (void)own_ip;
    (void)peer_port;
    (void)own_port;
    struct peri_exchange *exchange = data;
    if (exchange->cancelled) {
        return CURL_PREREQFUNC_ABORT;
    }
    if (!exchange->connected) {
        exchange->connected = true;
        exchange->sent_before = peri__exchange_bytes_out(exchange);
    } else if (peri__exchange_bytes_out(exchange) > exchange->sent_before && !may_repeat(exchange->method)) {
        exchange->not_repeated = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (exchange->send != SEND_STREAM) {
        peri__exchange_sent(exchange);
    }
    return CURL_PREREQFUNC_OK;
}

static enum peri_code fail(struct peri_exchange *exchange, enum peri_code code, const char *message)
{
    return peri_error_set(&exchange->result.error, code, "%s", message);
}

static void on_status_line(struct peri_exchange *exchange, struct peri_str line)
{
    struct peri_result *result = &exchange->result;
    peri_headers_clear(&result->headers); /* of an interim answer */
    result->http_version = line.len > 7 && line.data[5] == '1' ? (line.data[7] == '0' ? 10 : 11) : 20;
    const char *blank = memchr(line.data, ' ', line.len);
    int status = 0;
    for (size_t i = blank ? (size_t)(blank - line.data) + 1 : line.len; i < line.len; i++) {
        if (line.data[i] < '0' || line.data[i] > '9' || status > 99) {
            break;
        }
        status = status * 10 + (line.data[i] - '0');
    }
    exchange->status = status;
    exchange->answered = status >= 200 || status == 101;
    if (exchange->answered) {
        peri__exchange_moved(exchange, true);
    }
}

static enum peri_code on_field(struct peri_exchange *exchange, struct peri_str line)
{
    struct peri_headers *headers = &exchange->result.headers;
    struct peri_str name = line, value = { "", 0 };
    const char *colon = memchr(line.data, ':', line.len);
    if (colon) {
        name.len = (size_t)(colon - line.data);
        value = (struct peri_str){ colon + 1, line.len - name.len - 1 };
        while (value.len && (value.data[0] == ' ' || value.data[0] == '\t')) {
            value.data++;
            value.len--;
        }
        while (value.len && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t')) {
            value.len--;
        }
    }
    enum peri_code code = colon ? peri_headers_add(headers, name, value) : PERI_INVALID;
    if (code == PERI_INVALID) {
        return fail(exchange, PERI_PROTOCOL, "the answer has a malformed header field");
    }
    if (code == PERI_TOO_LARGE) {
        return fail(exchange, code, "the header of the answer is over the limit of 256 KiB");
    }
    return code == PERI_OK ? code : fail(exchange, code, "out of memory for the header of the answer");
}

size_t peri__on_header(char *data, size_t size, size_t count, void *user)
{
    struct peri_exchange *exchange = user;
    struct peri_str line = { data, size * count };
    if (exchange->cancelled) {
        return CURL_WRITEFUNC_ERROR;
    }
    while (line.len && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == '\r')) {
        line.len--;
    }
    if (exchange->headers_done) {
        return count; /* a trailer */
    }
    if (line.len == 0) {
        exchange->headers_done = exchange->answered;
    } else if (!exchange->answered && peri_str_has_prefix(line, "HTTP/")) {
        on_status_line(exchange, line);
    } else if (on_field(exchange, line) != PERI_OK) {
        return CURL_WRITEFUNC_ERROR;
    }
    return count;
}

static enum peri_code gather(struct peri_exchange *exchange, struct peri_str bytes)
{
    struct peri_buf *body = &exchange->result.body;
    if (body->len == 0) {
        curl_off_t length = -1;
        curl_easy_getinfo(exchange->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        if (length > (curl_off_t)bytes.len && length <= RESERVE_MAX && (size_t)length <= body->max) {
            peri_buf_reserve(body, (size_t)length);
        }
    }
    enum peri_code code = peri_buf_append_str(body, bytes);
    if (code == PERI_TOO_LARGE) {
        return peri_error_set(&exchange->result.error, code,
                              "the answer is larger than the %zu bytes allowed; raise max_body or stream it to a sink",
                              body->max);
    }
    return code == PERI_OK ? code : fail(exchange, code, "out of memory for the body of the answer");
}

static void report_progress(const struct peri_exchange *exchange)
{
    if (exchange->progress) {
        exchange->progress(exchange->progress_data, exchange->handed, exchange->result.bytes_received);
    }
}

size_t peri__on_body(char *data, size_t size, size_t count, void *user)
{
    struct peri_exchange *exchange = user;
    struct peri_str bytes = { data, size * count };
    if (exchange->cancelled) {
        return CURL_WRITEFUNC_ERROR;
    }
    enum peri_code code;
    if (exchange->sink && exchange->status >= 200 && exchange->status < 300) {
        struct peri_error err = PERI_ERROR_INIT;
        code = peri_writer_write(exchange->sink, bytes, &err);
        if (code == PERI_BUSY) {
            peri__exchange_moved(exchange, false);
            return exchange->cancelled ? CURL_WRITEFUNC_ERROR : CURL_WRITEFUNC_PAUSE;
        }
        if (code != PERI_OK && !exchange->cancelled) {
            err.code = code;
            exchange->result.error = err;
        }
    } else {
        code = gather(exchange, bytes);
    }
    if (code != PERI_OK || exchange->cancelled) {
        return CURL_WRITEFUNC_ERROR;
    }
    exchange->result.bytes_received += (int64_t)bytes.len;
    peri__exchange_moved(exchange, true);
    report_progress(exchange);
    return exchange->cancelled ? CURL_WRITEFUNC_ERROR : count;
}

size_t peri__on_read(char *out, size_t size, size_t count, void *user)
{
    struct peri_exchange *exchange = user;
    size_t cap = size * count, n = 0;
    if (exchange->cancelled || !exchange->source) {
        return CURL_READFUNC_ABORT;
    }
    int64_t left = exchange->source_size - exchange->handed;
    if (exchange->source_size >= 0 && (int64_t)cap > left) {
        cap = (size_t)left;
    }
    struct peri_error err = PERI_ERROR_INIT;
    enum peri_code code = cap ? peri_reader_read(exchange->source, out, cap, &n, &err) : PERI_OK;
    if (exchange->cancelled) {
        return CURL_READFUNC_ABORT;
    }
    if (code == PERI_BUSY) {
        peri__exchange_moved(exchange, false);
        return CURL_READFUNC_PAUSE;
    }
    if (code == PERI_OK && n == 0 && cap && exchange->source_size >= 0) {
        code = peri_error_set(&err, PERI_IO, "the source of the body ended after %lld of %lld bytes",
                              (long long)exchange->handed, (long long)exchange->source_size);
    }
    if (code != PERI_OK) {
        err.code = code;
        exchange->result.error = err;
        return CURL_READFUNC_ABORT;
    }
    exchange->handed += (int64_t)n;
    bool sent = n == 0 || exchange->handed == exchange->source_size;
    peri__exchange_moved(exchange, !sent);
    if (sent) {
        peri__exchange_sent(exchange);
    }
    report_progress(exchange);
    return exchange->cancelled ? CURL_READFUNC_ABORT : n;
}

int peri__on_seek(void *user, curl_off_t offset, int origin)
{
    struct peri_exchange *exchange = user;
    if (exchange->cancelled || !exchange->source || offset != 0 || origin != SEEK_SET) {
        return CURL_SEEKFUNC_FAIL;
    }
    if (peri_reader_rewind(exchange->source, &exchange->result.error) != PERI_OK) {
        return CURL_SEEKFUNC_FAIL;
    }
    exchange->handed = 0;
    exchange->first_byte_due = 0;
    return CURL_SEEKFUNC_OK;
}
