/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <strings.h>
#include <zlib.h>

#include "host/http_private.h"
#include "host/http_sink.h"

/* A request body on its way: decoder (if any), then the limit, then memory or a file. */
struct peri__inflate {
    z_stream z;
    bool gzip, started, ended;
};

static enum peri_code check_size(struct peri_http_req *req, size_t len, struct peri_error *err)
{
    if (len > req->max_body || (size_t)req->body_size > req->max_body - len)
        return peri_error_set(err, PERI_PAYLOAD_TOO_LARGE, "the body is larger than %zu bytes", req->max_body);
    return PERI_OK;
}

static enum peri_code deliver(struct peri_http_req *req, struct peri_str *bytes, struct peri_error *err)
{
    size_t before = bytes->len;
    enum peri_code code = check_size(req, before, err);
    if (code != PERI_OK)
        return code;
    if (req->sink != NULL) {
        code = peri__sink_put(req->sink, bytes, err);
    } else if (peri_buf_append_str(&req->body, *bytes) == PERI_OK) {
        bytes->len = 0;
    } else {
        code = peri_error_set(err, PERI_NOMEM, "out of memory for the body");
    }
    req->body_size += (int64_t)(before - bytes->len);
    return code;
}

static enum peri_code open_decoder(struct peri_http_req *req, struct peri_error *err)
{
    const char *encoding = req->content_encoding;
    if (encoding == NULL || encoding[0] == '\0' || strcasecmp(encoding, "identity") == 0)
        return PERI_OK;
    bool gzip = strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0;
    if (!gzip && strcasecmp(encoding, "deflate") != 0)
        return peri_error_set(err, PERI_UNSUPPORTED,
                              "Content-Encoding %.40s is not supported: use gzip, deflate or none", encoding);
    req->inflate = calloc(1, sizeof *req->inflate);
    if (req->inflate == NULL)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    req->inflate->gzip = gzip;
    return PERI_OK;
}

static enum peri_code open_sink(struct peri_http_req *req, unsigned long long length, struct peri_error *err)
{
    const struct peri_door *door = req->match.door;
    struct peri_http_target target = { .fd = -1 };
    bool own = door->target == NULL;
    enum peri_code code = own ? PERI_OK : door->target(door->data, req, &target, err);
    if (code != PERI_OK)
        return code;
    if (!own && target.max < req->max_body)
        req->max_body = target.max;
    if (length > req->max_body) {
        if (target.ended != NULL)
            target.ended(target.data);
        return peri_error_set(err, PERI_PAYLOAD_TOO_LARGE, "the body is larger than %zu bytes", req->max_body);
    }
    /* What unpacks can't be asked to wait half-way through a piece. */
    return peri__sink_new(req, own ? NULL : &target, req->inflate != NULL, &req->sink, err);
}

enum peri_code peri__body_begin(struct peri_http_req *req, struct peri_error *err)
{
    const struct peri_route *route = req->match.route;
    req->max_body = route->max_body > 0 ? route->max_body : req->http->body_limit;
    enum peri_code code = open_decoder(req, err);
    if (code != PERI_OK)
        return code;
    unsigned long long length = req->content_length == NULL ? 0 : strtoull(req->content_length, NULL, 10);
    if (route->body == PERI_HTTP_TO_FILE)
        return open_sink(req, length, err);
    if (length > req->max_body)
        return peri_error_set(err, PERI_PAYLOAD_TOO_LARGE, "the body is larger than %zu bytes", req->max_body);
    req->body.max = req->max_body + 1;
    if (req->inflate == NULL && length > 0 && peri_buf_reserve(&req->body, (size_t)length) != PERI_OK)
        return peri_error_set(err, PERI_NOMEM, "out of memory for the body");
    return PERI_OK;
}

static enum peri_code start_inflate(struct peri__inflate *in, struct peri_str bytes, struct peri_error *err)
{
    /* "deflate" means the zlib format, but some send the bare one: a zlib header has method 8 in its low half byte. */
    int bits = in->gzip ? 15 + 16 : (bytes.data[0] & 0x0f) == 8 ? 15 : -15;
    in->started = true;
    return inflateInit2(&in->z, bits) == Z_OK ? PERI_OK : peri_error_set(err, PERI_NOMEM, "out of memory");
}

static enum peri_code feed_inflate(struct peri_http_req *req, struct peri_str bytes, struct peri_error *err)
{
    struct peri__inflate *in = req->inflate;
    unsigned char out[16384];
    if (!in->started && start_inflate(in, bytes, err) != PERI_OK)
        return err->code;
    in->z.next_in = (unsigned char *)(uintptr_t)bytes.data;
    in->z.avail_in = (unsigned)bytes.len;
    while (in->z.avail_in > 0 || in->z.avail_out == 0) {
        if (in->ended) {
            /* gzip allows further members; anything else behind the end is an error. */
            if (in->z.avail_in == 0)
                break;
            if (!in->gzip || inflateReset(&in->z) != Z_OK)
                return peri_error_set(err, PERI_BAD_REQUEST, "bytes behind the end of the compressed body");
            in->ended = false;
        }
        in->z.next_out = out;
        in->z.avail_out = sizeof out;
        int rc = inflate(&in->z, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return peri_error_set(err, PERI_BAD_REQUEST, "the body is not valid %s: %s", in->gzip ? "gzip" : "deflate",
                                  in->z.msg == NULL ? "damaged" : in->z.msg);
        size_t made = sizeof out - in->z.avail_out;
        struct peri_str piece = { (const char *)out, made };
        enum peri_code code = deliver(req, &piece, err);
        if (code != PERI_OK)
            return code;
        in->ended = rc == Z_STREAM_END;
        if (rc == Z_BUF_ERROR && made == 0)
            break;
    }
    return PERI_OK;
}

enum peri_code peri__body_feed(struct peri_http_req *req, struct peri_str *bytes, struct peri_error *err)
{
    if (bytes->len == 0)
        return PERI_OK;
    if (req->inflate == NULL)
        return deliver(req, bytes, err);
    enum peri_code code = feed_inflate(req, *bytes, err);
    bytes->len = 0;
    return code;
}

bool peri__body_settled(struct peri_http_req *req)
{
    return req->sink == NULL || peri__sink_settled(req->sink);
}

enum peri_code peri__body_finish(struct peri_http_req *req, struct peri_error *err)
{
    if (req->inflate != NULL && req->inflate->started && !req->inflate->ended)
        return peri_error_set(err, PERI_BAD_REQUEST, "the compressed body ends early");
    return req->sink == NULL ? PERI_OK : peri__sink_finish(req->sink, req->digest, sizeof req->digest, err);
}

void peri__body_fini(struct peri_http_req *req)
{
    if (req->inflate != NULL) {
        if (req->inflate->started)
            inflateEnd(&req->inflate->z);
        free(req->inflate);
        req->inflate = NULL;
    }
    peri__sink_release(req->sink);
    req->sink = NULL;
}
