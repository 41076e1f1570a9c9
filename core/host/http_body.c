/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>

#include "host/http_private.h"

/* A request body on its way: decoder (if any), then the limit, then memory or a file. */
struct peri__inflate {
    z_stream z;
    bool gzip, started, ended;
};

static enum peri_code deliver(struct peri_http_req *req, const char *data, size_t len, struct peri_error *err)
{
    if (len > req->max_body || (size_t)req->body_size > req->max_body - len)
        return peri_error_set(err, PERI_PAYLOAD_TOO_LARGE, "the body is larger than %zu bytes", req->max_body);
    req->body_size += (int64_t)len;
    if (req->fd < 0) {
        enum peri_code code = peri_buf_append(&req->body, data, len);
        return code == PERI_OK ? PERI_OK : peri_error_set(err, PERI_NOMEM, "out of memory for the body");
    }
    peri_hash_update(req->hash, data, len);
    while (len > 0) {
        ssize_t n = write(req->fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return peri_error_set(err, PERI_IO, "can't store the body: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
    return PERI_OK;
}

static enum peri_code open_file(struct peri_http_req *req, struct peri_error *err)
{
    const char *dir = req->http->tmp_dir;
    size_t size = strlen(dir) + sizeof "/body-XXXXXX";
    req->file_path = malloc(size);
    req->hash = peri_hash_new(PERI_SHA256, err);
    if (req->file_path == NULL || req->hash == NULL)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    snprintf(req->file_path, size, "%s/body-XXXXXX", dir);
    req->fd = mkostemp(req->file_path, O_CLOEXEC);
    if (req->fd < 0) {
        int reason = errno;
        free(req->file_path);
        req->file_path = NULL;
        return peri_error_set(err, PERI_IO, "can't create a file in %s: %s", dir, strerror(reason));
    }
    return PERI_OK;
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

enum peri_code peri__body_begin(struct peri_http_req *req, struct peri_error *err)
{
    size_t max = req->match.route->max_body;
    req->max_body = max > 0 ? max : req->http->body_limit;
    enum peri_code code = open_decoder(req, err);
    if (code != PERI_OK)
        return code;
    unsigned long long length = req->content_length == NULL ? 0 : strtoull(req->content_length, NULL, 10);
    if (length > req->max_body)
        return peri_error_set(err, PERI_PAYLOAD_TOO_LARGE, "the body is larger than %zu bytes", req->max_body);
    if (req->match.route->body == PERI_HTTP_TO_FILE)
        return open_file(req, err);
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
        enum peri_code code = deliver(req, (const char *)out, made, err);
        if (code != PERI_OK)
            return code;
        in->ended = rc == Z_STREAM_END;
        if (rc == Z_BUF_ERROR && made == 0)
            break;
    }
    return PERI_OK;
}

enum peri_code peri__body_feed(struct peri_http_req *req, struct peri_str bytes, struct peri_error *err)
{
    if (bytes.len == 0)
        return PERI_OK;
    if (req->inflate != NULL)
        return feed_inflate(req, bytes, err);
    return deliver(req, bytes.data, bytes.len, err);
}

enum peri_code peri__body_finish(struct peri_http_req *req, struct peri_error *err)
{
    if (req->inflate != NULL && req->inflate->started && !req->inflate->ended)
        return peri_error_set(err, PERI_BAD_REQUEST, "the compressed body ends early");
    if (req->fd < 0)
        return PERI_OK;
    int rc = close(req->fd);
    req->fd = -1;
    if (rc != 0)
        return peri_error_set(err, PERI_IO, "can't store the body: %s", strerror(errno));
    unsigned char digest[PERI_HASH_MAX];
    static const char digits[] = "0123456789abcdef";
    peri_hash_final(req->hash, digest);
    for (size_t i = 0; i < 32; i++) {
        req->sha256[2 * i] = digits[digest[i] >> 4];
        req->sha256[2 * i + 1] = digits[digest[i] & 15];
    }
    req->sha256[64] = '\0';
    return PERI_OK;
}

void peri__body_fini(struct peri_http_req *req)
{
    if (req->inflate != NULL) {
        if (req->inflate->started)
            inflateEnd(&req->inflate->z);
        free(req->inflate);
        req->inflate = NULL;
    }
    if (req->fd >= 0)
        close(req->fd);
    req->fd = -1;
    peri_hash_free(req->hash);
    req->hash = NULL;
    if (req->file_path != NULL)
        unlink(req->file_path);
    free(req->file_path);
    req->file_path = NULL;
}
