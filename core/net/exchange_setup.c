/* SPDX-License-Identifier: MIT */
#include "net/transport_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "perilune/uri.h"

#define TEXT_MAX (1024 * 1024)
/* Bodies in memory up to this size go out in one system call with the header. */
#define INLINE_MAX (16 * 1024)
#define STREAM_BUFFER (128L * 1024)
#define PLAIN_BUFFER (16L * 1024)

static CURLcode set_security(CURL *easy, const struct peri_transport *transport)
{
    CURLcode rc = CURLE_OK;
    if (transport->insecure) {
        rc |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        rc |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
        rc |= curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYPEER, 0L);
        rc |= curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYHOST, 0L);
    }
    if (transport->ca_file) {
        rc |= curl_easy_setopt(easy, CURLOPT_CAINFO, transport->ca_file);
        rc |= curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, transport->ca_file);
    }
    if (transport->ca_dir) {
        rc |= curl_easy_setopt(easy, CURLOPT_CAPATH, transport->ca_dir);
        rc |= curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, transport->ca_dir);
    }
    if (transport->proxy) {
        rc |= curl_easy_setopt(easy, CURLOPT_PROXY, transport->proxy);
        if (!*transport->proxy) {
            rc |= curl_easy_setopt(easy, CURLOPT_NOPROXY, ""); /* else it looks in the environment all the same */
        }
    }
    rc |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    rc |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    rc |= curl_easy_setopt(easy, CURLOPT_SHARE, transport->share);
    return rc;
}

static CURLcode set_callbacks(CURL *easy, struct peri_exchange *exchange)
{
    CURLcode rc = CURLE_OK;
    rc |= curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->detail);
    rc |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, peri__on_header);
    rc |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, peri__on_body);
    rc |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_READFUNCTION, peri__on_read);
    rc |= curl_easy_setopt(easy, CURLOPT_READDATA, exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, peri__on_seek);
    rc |= curl_easy_setopt(easy, CURLOPT_SEEKDATA, exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, peri__on_request);
    rc |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, peri__on_resolve);
    rc |= curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, peri__socket_open);
    rc |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, peri__socket_close);
    rc |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, exchange->transport);
    return rc;
}

enum peri_code peri__easy_init(struct peri_exchange *exchange, struct peri_error *err)
{
    CURL *easy = curl_easy_init();
    CURLU *url = curl_url();
    CURLcode rc = easy && url ? CURLE_OK : CURLE_OUT_OF_MEMORY;
    if (rc == CURLE_OK) {
        rc |= set_callbacks(easy, exchange);
        rc |= set_security(easy, exchange->transport);
        rc |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        rc |= curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
        rc |= curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
        rc |= curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        rc |= curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
        rc |= curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
        rc |= curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        /* A cancelled exchange doesn't wait for the thread that looks its host name up. */
        rc |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
        rc |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                               exchange->transport->http1_only ? (long)CURL_HTTP_VERSION_1_1
                                                               : (long)CURL_HTTP_VERSION_2TLS);
    }
    if (rc != CURLE_OK) {
        curl_easy_cleanup(easy);
        curl_url_cleanup(url);
        return peri_error_set(err, PERI_NOMEM, "can't make an HTTP exchange: libcurl refuses its options");
    }
    exchange->easy = easy;
    exchange->url = url;
    peri_buf_init(&exchange->text, TEXT_MAX);
    peri_buf_init(&exchange->bytes, INLINE_MAX);
    return PERI_OK;
}

/* Fields that frame the message are libcurl's: a caller's own would contradict what is sent. */
static bool is_transports_own(const char *name)
{
    static const char *const names[] = { "accept-encoding", "expect", "content-length", "transfer-encoding" };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if ((name[0] | 0x20) == names[i][0] && strcasecmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum peri_code put_line(struct peri_buf *text, const char *name, const char *separator, const char *value)
{
    size_t name_len = strlen(name), separator_len = strlen(separator), value_len = strlen(value);
    enum peri_code code = peri_buf_reserve(text, name_len + separator_len + value_len + 1);
    if (code == PERI_OK) {
        char *at = mempcpy(text->data + text->len, name, name_len);
        at = mempcpy(at, separator, separator_len);
        at = mempcpy(at, value, value_len);
        at[0] = '\0'; /* ends the line */
        at[1] = '\0';
        text->len += name_len + separator_len + value_len + 1;
    }
    return code;
}

/* URL and header lines, in one block that the exchange keeps. "Name;" sends an empty value, "Name:" suppresses one of
 * libcurl's own. */
static enum peri_code write_text(struct peri_exchange *exchange, const struct peri_request *request, size_t *lines)
{
    struct peri_buf *text = &exchange->text;
    bool has_type = false;
    peri_buf_clear(text);
    *lines = 0;
    enum peri_code code = put_line(text, request->url, "", "");
    for (size_t i = 0; request->headers && code == PERI_OK && i < request->headers->count; i++) {
        const struct peri_header *header = &request->headers->items[i];
        if (!is_transports_own(header->name)) {
            has_type = has_type || (exchange->send == SEND_BYTES && strcasecmp(header->name, "Content-Type") == 0);
            code = put_line(text, header->name, *header->value ? ": " : ";", header->value);
            ++*lines;
        }
    }
    const char *const own[][2] = {
        { "Accept-Encoding", exchange->transport->encodings },
        { "Content-Type", exchange->send == SEND_BYTES && !has_type ? "" : NULL },
        { "Expect", exchange->send == SEND_STREAM ? "" : NULL },
    };
    for (size_t i = 0; i < sizeof(own) / sizeof(*own) && code == PERI_OK; i++) {
        if (own[i][1]) {
            code = put_line(text, own[i][0], ":", own[i][1]);
            ++*lines;
        }
    }
    return code;
}

static enum peri_code link_lines(struct peri_exchange *exchange, size_t lines)
{
    if (lines > exchange->node_cap) {
        struct curl_slist *nodes = realloc(exchange->nodes, lines * sizeof(*nodes));
        if (!nodes) {
            return PERI_NOMEM;
        }
        exchange->nodes = nodes;
        exchange->node_cap = lines;
    }
    char *line = exchange->text.data;
    for (size_t i = 0; i < lines; i++) {
        line += strlen(line) + 1;
        exchange->nodes[i] = (struct curl_slist){ line, i + 1 < lines ? &exchange->nodes[i + 1] : NULL };
    }
    return PERI_OK;
}

static enum peri_code choose_method(struct peri_exchange *exchange, const char *method, struct peri_error *err)
{
    method = method ? method : "GET";
    if (*method && strcmp(method, exchange->method) == 0) {
        return PERI_OK;
    }
    size_t length = strlen(method);
    if (length == 0 || length >= METHOD_SIZE || strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != length) {
        return peri_error_set(err, PERI_INVALID, "the HTTP method must be 1 to %d capital letters", METHOD_SIZE - 1);
    }
    memcpy(exchange->method, method, length + 1);
    return PERI_OK;
}

/* How the body goes out. Small ones from memory are copied here, so that one send takes header and body. */
static enum peri_code choose_body(struct peri_exchange *exchange, struct peri_error *err)
{
    static const char *const with_body[] = { "POST", "PUT", "PATCH" };
    exchange->source_size = exchange->source ? peri_reader_size(exchange->source) : 0;
    peri_buf_clear(&exchange->bytes);
    if (!exchange->source) {
        exchange->send = SEND_NONE;
        for (size_t i = 0; i < 3; i++) {
            if (strcmp(exchange->method, with_body[i]) == 0) {
                exchange->send = SEND_BYTES; /* "Content-Length: 0" */
            }
        }
        return PERI_OK;
    }
    if (strcmp(exchange->method, "HEAD") == 0) {
        return peri_error_set(err, PERI_INVALID, "a HEAD request can't have a body");
    }
    exchange->send = SEND_STREAM;
    if (!peri_reader_is_memory(exchange->source) || exchange->source_size > INLINE_MAX) {
        return PERI_OK;
    }
    size_t n;
    if (peri_buf_reserve(&exchange->bytes, (size_t)exchange->source_size) != PERI_OK) {
        return peri_error_set(err, PERI_NOMEM, "can't start an HTTP exchange: out of memory");
    }
    enum peri_code code =
        peri_reader_read_full(exchange->source, exchange->bytes.data, (size_t)exchange->source_size, &n, err);
    exchange->bytes.len = n;
    exchange->handed = (int64_t)n;
    exchange->send = SEND_BYTES;
    return code;
}

static CURLcode set_method(struct peri_exchange *exchange)
{
    CURL *easy = exchange->easy;
    const char *natural = "GET";
    CURLcode rc;
    if (exchange->send == SEND_STREAM) {
        natural = "PUT";
        rc = curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        rc |= curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)exchange->source_size);
    } else if (exchange->send == SEND_BYTES) {
        natural = "POST";
        rc = curl_easy_setopt(easy, CURLOPT_POST, 1L);
        rc |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, exchange->bytes.data ? exchange->bytes.data : "");
        rc |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->bytes.len);
    } else if (strcmp(exchange->method, "HEAD") == 0) {
        natural = "HEAD";
        rc = curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else {
        rc = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    const char *custom = strcmp(exchange->method, natural) == 0 ? "" : exchange->method;
    if (strcmp(custom, exchange->custom) != 0) {
        rc |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, *custom ? custom : NULL);
        memcpy(exchange->custom, custom, strlen(custom) + 1);
    }
    return rc;
}

enum peri_code peri__easy_setup(struct peri_exchange *exchange, const struct peri_request *request,
                                struct peri_error *err)
{
    struct peri_uri uri = { 0 };
    size_t lines;
    bool url_changed = !exchange->text.data || strcmp(exchange->text.data, request->url) != 0;
    enum peri_code code = url_changed ? peri_uri_parse(peri_str_from(request->url), &uri, err) : PERI_OK;
    if (code != PERI_OK) {
        return code;
    }
    code = choose_method(exchange, request->method, err);
    if (code != PERI_OK) {
        return code;
    }
    code = choose_body(exchange, err);
    if (code != PERI_OK) {
        return code;
    }
    code = write_text(exchange, request, &lines);
    if (code == PERI_OK) {
        code = link_lines(exchange, lines);
    }
    if (code != PERI_OK) {
        return peri_error_set(err, code,
                              code == PERI_TOO_LARGE ? "URL and header fields of a request are over 1 MiB"
                                                     : "can't start an HTTP exchange: out of memory");
    }
    CURL *easy = exchange->easy;
    CURLcode rc = set_method(exchange);
    rc |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, lines ? exchange->nodes : NULL);
    if (url_changed) {
        /* Over TLS it pays to wait whether the first connection turns out to carry all of them (HTTP/2). */
        bool may_multiplex = uri.scheme.len == 5 && !exchange->transport->http1_only;
        CURLUcode refused = curl_url_set(exchange->url, CURLUPART_URL, exchange->text.data, CURLU_PATH_AS_IS);
        if (refused != CURLUE_OK) {
            peri_buf_fini(&exchange->text);
            return peri_error_set(err, refused == CURLUE_OUT_OF_MEMORY ? PERI_NOMEM : PERI_INVALID, "malformed URL: %s",
                                  curl_url_strerror(refused));
        }
        rc |= curl_easy_setopt(easy, CURLOPT_URL, exchange->text.data);
        rc |= curl_easy_setopt(easy, CURLOPT_CURLU, exchange->url);
        rc |= curl_easy_setopt(easy, CURLOPT_PIPEWAIT, may_multiplex ? 1L : 0L);
    }
    long buffer = exchange->send == SEND_STREAM || exchange->sink ? STREAM_BUFFER : PLAIN_BUFFER;
    if (buffer != exchange->buffer_size) {
        exchange->buffer_size = buffer;
        rc |= curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, buffer);
        rc |= curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, buffer);
    }
    if (rc != CURLE_OK) {
        peri_buf_fini(&exchange->text); /* what the handle is set to is not known any more */
        exchange->buffer_size = 0;
        return peri_error_set(err, PERI_NOMEM, "can't start an HTTP exchange: out of memory");
    }
    return PERI_OK;
}
