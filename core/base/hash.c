/* SPDX-License-Identifier: MIT */
#include "perilune/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

struct peri_hash {
    EVP_MD_CTX *context;
};

static const EVP_MD *digest_of(enum peri_hash_kind kind)
{
    switch (kind) {
    case PERI_SHA256:
        return EVP_sha256();
    case PERI_SHA384:
        return EVP_sha384();
    case PERI_SHA512:
        return EVP_sha512();
    case PERI_MD5:
        return EVP_md5();
    case PERI_SHA1:
        return EVP_sha1();
    }
    return NULL;
}

size_t peri_hash_size(enum peri_hash_kind kind)
{
    static const size_t sizes[] = {
        [PERI_SHA256] = 32, [PERI_SHA384] = 48, [PERI_SHA512] = 64, [PERI_MD5] = 16, [PERI_SHA1] = 20,
    };
    return sizes[kind];
}

struct peri_hash *peri_hash_new(enum peri_hash_kind kind, struct peri_error *err)
{
    struct peri_hash *hash = calloc(1, sizeof *hash);
    if (!hash) {
        peri_error_set(err, PERI_NOMEM, "no memory for a digest");
        return NULL;
    }
    hash->context = EVP_MD_CTX_new();
    if (!hash->context || !EVP_DigestInit_ex(hash->context, digest_of(kind), NULL)) {
        if (hash->context)
            peri_error_set(err, PERI_UNSUPPORTED, "this digest is not available in OpenSSL");
        else
            peri_error_set(err, PERI_NOMEM, "no memory for a digest");
        peri_hash_free(hash);
        return NULL;
    }
    return hash;
}

struct peri_hash *peri_hash_copy(const struct peri_hash *hash, struct peri_error *err)
{
    struct peri_hash *copy = calloc(1, sizeof *copy);
    if (copy)
        copy->context = EVP_MD_CTX_new();
    if (!copy || !copy->context || !EVP_MD_CTX_copy_ex(copy->context, hash->context)) {
        peri_error_set(err, PERI_NOMEM, "no memory for a digest");
        peri_hash_free(copy);
        return NULL;
    }
    return copy;
}

void peri_hash_free(struct peri_hash *hash)
{
    if (!hash)
        return;
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

void peri_hash_update(struct peri_hash *hash, const void *data, size_t len)
{
    EVP_DigestUpdate(hash->context, data, len);
}

void peri_hash_final(struct peri_hash *hash, unsigned char digest[PERI_HASH_MAX])
{
    EVP_DigestFinal_ex(hash->context, digest, NULL);
    EVP_DigestInit_ex(hash->context, NULL, NULL);
}

enum peri_code peri_hash_once(enum peri_hash_kind kind, struct peri_str data, unsigned char digest[PERI_HASH_MAX],
                              struct peri_error *err)
{
    if (!EVP_Digest(data.data, data.len, digest, NULL, digest_of(kind), NULL))
        return peri_error_set(err, PERI_UNSUPPORTED, "this digest is not available in OpenSSL");
    return PERI_OK;
}

enum peri_code peri_hmac(enum peri_hash_kind kind, struct peri_str key, struct peri_str data,
                         unsigned char digest[PERI_HASH_MAX], struct peri_error *err)
{
    if (key.len > INT32_MAX)
        return peri_error_set(err, PERI_TOO_LARGE, "the key is too long");
    /* An absent key would mean "the one before" to HMAC: give an empty one. */
    const void *bytes = key.len > 0 ? key.data : "";
    if (!HMAC(digest_of(kind), bytes, (int)key.len, (const unsigned char *)data.data, data.len, digest, NULL))
        return peri_error_set(err, PERI_UNSUPPORTED, "this digest is not available in OpenSSL");
    return PERI_OK;
}

bool peri_constant_time_equal(struct peri_str a, struct peri_str b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}

void peri_secure_zero(void *data, size_t len)
{
    if (len > 0)
        OPENSSL_cleanse(data, len);
}

enum peri_code peri_hex_append(struct peri_buf *out, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *in = data;
    if (len > SIZE_MAX / 2)
        return PERI_TOO_LARGE;
    enum peri_code code = peri_buf_reserve(out, len * 2);
    if (code != PERI_OK)
        return code;
    char *at = out->data + out->len;
    for (size_t i = 0; i < len; i++) {
        *at++ = digits[in[i] >> 4];
        *at++ = digits[in[i] & 15];
    }
    *at = '\0';
    out->len += len * 2;
    return PERI_OK;
}

static enum peri_code encode(struct peri_buf *out, const unsigned char *in, size_t len, const char *alphabet, bool pad)
{
    if (len > SIZE_MAX / 4 * 3 - 3)
        return PERI_TOO_LARGE;
    size_t size = pad ? (len + 2) / 3 * 4 : len / 3 * 4 + (len % 3 ? len % 3 + 1 : 0);
    enum peri_code code = peri_buf_reserve(out, size);
    if (code != PERI_OK)
        return code;
    char *at = out->data + out->len;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        unsigned bits = (unsigned)in[i] << 16 | (left > 1 ? (unsigned)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
        size_t n = left > 2 ? 4 : left + 1;
        for (size_t k = 0; k < n; k++)
            *at++ = alphabet[bits >> (18 - 6 * k) & 63];
        for (size_t k = n; pad && k < 4; k++)
            *at++ = '=';
    }
    *at = '\0';
    out->len += size;
    return PERI_OK;
}

enum peri_code peri_base64_append(struct peri_buf *out, const void *data, size_t len)
{
    return encode(out, data, len, LETTERS "+/", true);
}

enum peri_code peri_base64url_append(struct peri_buf *out, const void *data, size_t len)
{
    return encode(out, data, len, LETTERS "-_", false);
}

static int letter_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

enum peri_code peri_base64_decode(struct peri_buf *out, struct peri_str text, struct peri_error *err)
{
    size_t len = text.len, mark = out->len;
    bool standard = false, url = false;
    while (len > 0 && text.len - len < 2 && text.data[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        char c = text.data[i];
        standard = standard || c == '+' || c == '/';
        url = url || c == '-' || c == '_';
        if (letter_value(c) < 0)
            return peri_error_set(err, PERI_INVALID, "invalid base64 at byte %zu", i + 1);
    }
    if (standard && url)
        return peri_error_set(err, PERI_INVALID, "invalid base64: two alphabets are mixed");
    bool padded = text.len > len;
    if (len % 4 == 1 || (padded ? text.len % 4 != 0 : standard && len % 4 != 0))
        return peri_error_set(err, PERI_INVALID, "invalid base64: wrong length or padding");

    enum peri_code code = peri_buf_reserve(out, len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0));
    if (code != PERI_OK)
        return peri_error_set(err, code, "no room for the decoded base64");
    uint32_t bits = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 6 | (uint32_t)letter_value(text.data[i]);
        if (i % 4 > 0)
            out->data[out->len++] = (char)(bits >> (6 - 2 * (i % 4)) & 0xFF);
    }
    out->data[out->len] = '\0';
    if (len % 4 && (bits & (len % 4 == 2 ? 15 : 3)) != 0) {
        peri_buf_truncate(out, mark);
        return peri_error_set(err, PERI_INVALID, "invalid base64: stray bits at the end");
    }
    return PERI_OK;
}
