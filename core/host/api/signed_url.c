/* SPDX-License-Identifier: MIT */
#include "host/api/signed_url.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/size.h"

enum peri_code peri_signed_url_key(const char *token, const char *purpose, unsigned char key[PERI_SIGNED_URL_KEY],
                                   struct peri_error *err)
{
    unsigned char digest[PERI_HASH_MAX];
    enum peri_code code = peri_hmac(PERI_SHA256, peri_str_from(token), peri_str_from(purpose), digest, err);
    if (code == PERI_OK)
        memcpy(key, digest, PERI_SIGNED_URL_KEY);
    return code;
}

enum peri_code peri_signature(const unsigned char key[PERI_SIGNED_URL_KEY], struct peri_str text,
                              char out[PERI_SIGNATURE_SIZE])
{
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf encoded;
    struct peri_str secret = { (const char *)key, PERI_SIGNED_URL_KEY };
    peri_buf_init(&encoded, PERI_SIGNATURE_SIZE);
    enum peri_code code = peri_hmac(PERI_SHA256, secret, text, digest, NULL);
    if (code == PERI_OK)
        code = peri_base64url_append(&encoded, digest, 32);
    if (code == PERI_OK)
        snprintf(out, PERI_SIGNATURE_SIZE, "%s", encoded.data);
    peri_buf_fini(&encoded);
    return code;
}

static enum peri_code sign(const unsigned char *key, const char *path, uint64_t expires, char out[PERI_SIGNATURE_SIZE])
{
    struct peri_buf text;
    peri_buf_init(&text, 65536);
    enum peri_code code = peri_buf_printf(&text, "PUT\n%s\n%" PRIu64, path, expires);
    if (code == PERI_OK)
        code = peri_signature(key, peri_buf_str(&text), out);
    peri_buf_fini(&text);
    return code;
}

char *peri_signed_url(const unsigned char key[PERI_SIGNED_URL_KEY], const char *path, int64_t expires_ms)
{
    char signature[PERI_SIGNATURE_SIZE], *url = NULL;
    uint64_t expires = (uint64_t)(expires_ms / 1000);
    if (sign(key, path, expires, signature) != PERI_OK ||
        asprintf(&url, "%s?signature=%s&expires=%" PRIu64, path, signature, expires) < 0)
        return NULL;
    return url;
}

enum peri_code peri_signed_url_check(const unsigned char key[PERI_SIGNED_URL_KEY], const struct peri_http_req *req,
                                     int64_t now_ms, struct peri_error *err)
{
    const char *given = peri_http_query(req, "signature");
    char wanted[PERI_SIGNATURE_SIZE];
    uint64_t expires = 0;
    if (given == NULL || !peri_number_parse(peri_http_query(req, "expires"), INT64_MAX, &expires) ||
        sign(key, peri_http_path(req), expires, wanted) != PERI_OK ||
        !peri_constant_time_equal(peri_str_from(given), peri_str_from(wanted)))
        return peri_error_set(err, PERI_UNAUTHORIZED, "the upload URL's signature is not this host's");
    if ((int64_t)expires < now_ms / 1000)
        return peri_error_set(err, PERI_UNAUTHORIZED, "the upload URL has expired");
    return PERI_OK;
}
