/* SPDX-License-Identifier: MIT */
#include "net/transport_private.h"

#include <stdio.h>
#include <string.h>

#include "perilune/uri.h"

struct place {
    char text[160]; /* "host:port", never user information or a query */
};

static struct place place_of(const struct peri_exchange *exchange)
{
    struct peri_uri uri;
    struct place place = { "the server" };
    if (peri_uri_parse(peri_str_from(exchange->text.data), &uri, NULL) == PERI_OK) {
        snprintf(place.text, sizeof(place.text), "%.*s:%d", (int)(uri.host.len < 128 ? uri.host.len : 128),
                 uri.host.data, uri.port);
    }
    return place;
}

static const struct failure {
    CURLcode rc;
    enum peri_code code;
    bool retryable;
    const char *what; /* goes before the place */
    const char *hint;
} failures[] = {
    { CURLE_COULDNT_RESOLVE_HOST, PERI_RESOLVE, true, "can't resolve the host of",
      "check the name and this machine's DNS" },
    { CURLE_COULDNT_RESOLVE_PROXY, PERI_RESOLVE, true, "can't resolve the proxy's name on the way to",
      "check http_proxy, https_proxy and no_proxy" },
    { CURLE_COULDNT_CONNECT, PERI_CONNECT, true, "can't connect to",
      "check that the service runs and that the port is right" },
    { CURLE_PROXY, PERI_CONNECT, true, "the proxy gives no connection to",
      "check http_proxy, https_proxy and no_proxy" },
    { CURLE_PEER_FAILED_VERIFICATION, PERI_TLS, false, "can't trust the certificate of",
      "give the authority's certificate with ca_file or SSL_CERT_FILE" },
    { CURLE_SSL_CACERT_BADFILE, PERI_TLS, false, "can't read the certificates to check",
      "check ca_file and SSL_CERT_FILE" },
    { CURLE_SSL_CONNECT_ERROR, PERI_TLS, true, "no TLS connection with",
      "check that this port speaks TLS and which versions it allows" },
    { CURLE_SSL_CIPHER, PERI_TLS, false, "no TLS connection with", "the two sides share no cipher" },
    { CURLE_SSL_CERTPROBLEM, PERI_TLS, false, "no TLS connection with", "check the client certificate" },
    { CURLE_OPERATION_TIMEDOUT, PERI_TIMEOUT, true, "no connection in time to", "connect timeout" },
    { CURLE_GOT_NOTHING, PERI_TRUNCATED, true, "the connection was closed without an answer by",
      "the service may be restarting; try again" },
    { CURLE_PARTIAL_FILE, PERI_TRUNCATED, true, "the answer was cut short by", "try again" },
    { CURLE_RECV_ERROR, PERI_TRUNCATED, true, "the connection was lost to", "try again" },
    { CURLE_SEND_ERROR, PERI_TRUNCATED, true, "the connection was lost while sending to", "try again" },
    { CURLE_HTTP2_STREAM, PERI_TRUNCATED, true, "the HTTP/2 stream was ended by", "try again" },
    /* Mostly a connection that the peer is giving up (GOAWAY), seldom nonsense on it. */
    { CURLE_HTTP2, PERI_TRUNCATED, true, "the HTTP/2 connection broke to", "try again" },
    { CURLE_WEIRD_SERVER_REPLY, PERI_PROTOCOL, false, "no valid HTTP answer from", "check that this port speaks HTTP" },
    { CURLE_UNSUPPORTED_PROTOCOL, PERI_PROTOCOL, false, "no valid HTTP answer from",
      "check that this port speaks HTTP" },
    { CURLE_BAD_CONTENT_ENCODING, PERI_PROTOCOL, false, "can't decode the compressed answer of",
      "the peer or a proxy before it damages compressed bodies" },
    { CURLE_SEND_FAIL_REWIND, PERI_UNSUPPORTED, false, "can't send the body again to",
      "its source can be read only once" },
    { CURLE_URL_MALFORMAT, PERI_INVALID, false, "malformed URL for", "check it" },
    { CURLE_OUT_OF_MEMORY, PERI_NOMEM, false, "out of memory for an exchange with", "free some" },
};

static const struct failure *find_failure(CURLcode rc)
{
    static const struct failure other = { CURLE_OK, PERI_IO, false, "the transfer failed with", "see the reason" };
    for (size_t i = 0; i < sizeof(failures) / sizeof(*failures); i++) {
        if (failures[i].rc == rc) {
            return &failures[i];
        }
    }
    return &other;
}

static const char *detail_of(const struct peri_exchange *exchange, CURLcode rc)
{
    long number = 0;
    if (rc == CURLE_COULDNT_CONNECT || rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR) {
        curl_easy_getinfo(exchange->easy, CURLINFO_OS_ERRNO, &number);
    }
    if (number && rc == CURLE_COULDNT_CONNECT) {
        return strerror((int)number);
    }
    return exchange->detail[0] ? exchange->detail : curl_easy_strerror(rc);
}

/* What libcurl's own limits on header bytes look like from outside. */
static bool is_header_limit(const struct peri_exchange *exchange, CURLcode rc)
{
    bool in_header = exchange->connected && !exchange->headers_done;
    return in_header && (rc == CURLE_OUT_OF_MEMORY || strstr(exchange->detail, "Too large response headers") != NULL);
}

void peri__failure_fill(struct peri_exchange *exchange, CURLcode rc)
{
    struct peri_error *err = &exchange->result.error;
    struct place place = place_of(exchange);
    if (err->code != PERI_OK) {
        if (!exchange->failed) {
            peri_error_prefix(err, "%s %s", exchange->method, place.text);
        }
    } else if (exchange->not_repeated) {
        peri_error_set(
            err, PERI_TRUNCATED,
            "%s %s: the kept connection was closed while the request was on its way; it may have been carried "
            "out, so it is not sent twice",
            exchange->method, place.text);
        err->retryable = true;
    } else if (is_header_limit(exchange, rc)) {
        peri_error_set(err, PERI_TOO_LARGE, "%s %s: the header of the answer is over the limit", exchange->method,
                       place.text);
    } else {
        const struct failure *failure = find_failure(rc);
        enum peri_code code = failure->code;
        bool before = !exchange->connected && code == PERI_TRUNCATED;
        peri_error_set(err, before ? PERI_CONNECT : code, "%s %s (%s); %s", before ? "no connection to" : failure->what,
                       place.text, detail_of(exchange, rc), failure->hint);
        err->retryable = failure->retryable;
    }
    exchange->result.code = err->code;
}

void peri__failure_timeout(struct peri_exchange *exchange, enum peri__deadline which)
{
    struct peri_error *err = &exchange->result.error;
    struct place place = place_of(exchange);
    switch (which) {
    case DEADLINE_CONNECT:
        peri_error_set(err, PERI_TIMEOUT,
                       "no connection to %s within %lld ms (connect deadline); check the address, or allow more time",
                       place.text, (long long)exchange->connect_timeout_ms);
        break;
    case DEADLINE_FIRST_BYTE:
        peri_error_set(err, PERI_TIMEOUT,
                       "%s did not begin to answer within %lld ms of the request (first-byte deadline); allow more "
                       "time if the service is slow",
                       place.text, (long long)exchange->first_byte_timeout_ms);
        break;
    case DEADLINE_STALL:
        peri_error_set(
            err, PERI_TIMEOUT,
            "nothing moved between here and %s for %lld ms (stall deadline); allow more time if the way is slow",
            place.text, (long long)exchange->stall_timeout_ms);
        break;
    case DEADLINE_TOTAL:
        peri_error_set(err, PERI_TIMEOUT, "the exchange with %s was not finished in time (total deadline)", place.text);
        break;
    }
    err->retryable = true;
    exchange->failed = true;
}
