/* SPDX-License-Identifier: MIT */
#include "perilune/seal.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#include "perilune/hash.h"

static enum peri_code unavailable(struct peri_error *err)
{
    return peri_error_set(err, PERI_UNSUPPORTED, "AES-256-GCM is not available in OpenSSL");
}

enum peri_code peri_seal(const unsigned char key[PERI_SEAL_KEY], struct peri_str context, struct peri_random random,
                         struct peri_str plain, struct peri_buf *out, struct peri_error *err)
{
    if (plain.len > INT_MAX - PERI_SEAL_EXTRA || context.len > INT_MAX)
        return peri_error_set(err, PERI_TOO_LARGE, "the text is too long to be sealed");
    enum peri_code code = peri_buf_reserve(out, plain.len + PERI_SEAL_EXTRA);
    if (code != PERI_OK)
        return peri_error_set(err, code, "no room for a sealed text of %zu bytes", plain.len + PERI_SEAL_EXTRA);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    if (!cipher)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    unsigned char *nonce = (unsigned char *)out->data + out->len;
    unsigned char *text = nonce + PERI_SEAL_NONCE;
    unsigned char *tag = text + plain.len;
    int written = 0, rest = 0;
    random.fill(random.state, nonce, PERI_SEAL_NONCE);
    bool ok = EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
              (context.len == 0 ||
               EVP_EncryptUpdate(cipher, NULL, &rest, (const unsigned char *)context.data, (int)context.len) == 1) &&
              (plain.len == 0 ||
               EVP_EncryptUpdate(cipher, text, &written, (const unsigned char *)plain.data, (int)plain.len) == 1) &&
              EVP_EncryptFinal_ex(cipher, text + written, &rest) == 1 &&
              EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, PERI_SEAL_TAG, tag) == 1;
    EVP_CIPHER_CTX_free(cipher);
    if (!ok)
        return unavailable(err);
    out->len += plain.len + PERI_SEAL_EXTRA;
    out->data[out->len] = '\0';
    return PERI_OK;
}

enum peri_code peri_unseal(const unsigned char key[PERI_SEAL_KEY], struct peri_str context, struct peri_str sealed,
                           struct peri_buf *out, struct peri_error *err)
{
    if (sealed.len < PERI_SEAL_EXTRA || sealed.len > INT_MAX || context.len > INT_MAX)
        return peri_error_set(err, PERI_FORBIDDEN, "the sealed text is cut short");
    size_t len = sealed.len - PERI_SEAL_EXTRA;
    enum peri_code code = peri_buf_reserve(out, len);
    if (code != PERI_OK)
        return peri_error_set(err, code, "no room for a text of %zu bytes", len);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    if (!cipher)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    const unsigned char *nonce = (const unsigned char *)sealed.data;
    unsigned char *to = (unsigned char *)out->data + out->len;
    unsigned char tag[PERI_SEAL_TAG];
    memcpy(tag, nonce + PERI_SEAL_NONCE + len, sizeof tag);
    int written = 0, rest = 0;
    bool ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
              (context.len == 0 ||
               EVP_DecryptUpdate(cipher, NULL, &rest, (const unsigned char *)context.data, (int)context.len) == 1) &&
              (len == 0 || EVP_DecryptUpdate(cipher, to, &written, nonce + PERI_SEAL_NONCE, (int)len) == 1) &&
              EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, PERI_SEAL_TAG, tag) == 1;
    bool genuine = ok && EVP_DecryptFinal_ex(cipher, to + written, &rest) == 1;
    EVP_CIPHER_CTX_free(cipher);
    if (genuine)
        out->len += len;
    else
        peri_secure_zero(to, len); /* not to be looked at before the tag has been found good */
    out->data[out->len] = '\0';
    if (!ok)
        return unavailable(err);
    return genuine ? PERI_OK
                   : peri_error_set(err, PERI_FORBIDDEN,
                                    "the sealed text was made with another key or for another place, or was changed");
}
