/* SPDX-License-Identifier: MIT */
#include "perilune/webhook.h"

#include <inttypes.h>
#include <string.h>

#include "perilune/hash.h"

#define DIGITS_MAX 15

enum peri_code peri_webhook_sign(struct peri_str secret, const char *timestamp, struct peri_str body,
                                 struct peri_buf *out, struct peri_error *err)
{
    struct peri_buf message;
    unsigned char digest[PERI_HASH_MAX];
    peri_buf_init(&message, SIZE_MAX / 2);
    enum peri_code code = peri_buf_append_text(&message, timestamp);
    if (code == PERI_OK)
        code = peri_buf_append_str(&message, body);
    if (code != PERI_OK)
        peri_error_set(err, code, "no memory for the message to sign");
    else
        code = peri_hmac(PERI_SHA256, secret, peri_buf_str(&message), digest, err);
    peri_buf_fini(&message);
    if (code == PERI_OK && peri_hex_append(out, digest, peri_hash_size(PERI_SHA256)) != PERI_OK)
        code = peri_error_set(err, PERI_NOMEM, "no memory for a signature");
    return code;
}

static enum peri_code read_timestamp(const char *text, int64_t *out, struct peri_error *err)
{
    size_t len = strspn(text, "0123456789");
    int64_t value = 0;
    if (len == 0 || text[len] != '\0' || len > DIGITS_MAX)
        return peri_error_set(err, PERI_UNAUTHORIZED, PERI_WEBHOOK_TIMESTAMP " must hold seconds since 1970");
    for (size_t i = 0; i < len; i++)
        value = value * 10 + (text[i] - '0');
    *out = value;
    return PERI_OK;
}

enum peri_code peri_webhook_check(const char *timestamp, const char *signature, int64_t now_s, struct peri_error *err)
{
    int64_t at = 0;
    if (signature == NULL || timestamp == NULL)
        return peri_error_set(err, PERI_UNAUTHORIZED, "the header %s is missing",
                              signature == NULL ? PERI_WEBHOOK_SIGNATURE : PERI_WEBHOOK_TIMESTAMP);
    enum peri_code code = read_timestamp(timestamp, &at, err);
    if (code != PERI_OK)
        return code;
    int64_t ahead = at - now_s;
    if (ahead < -PERI_WEBHOOK_WINDOW_S || ahead > PERI_WEBHOOK_WINDOW_S)
        return peri_error_set(err, PERI_UNAUTHORIZED, "the timestamp is %" PRId64 " s %s; at most %d s are taken",
                              ahead < 0 ? -ahead : ahead, ahead < 0 ? "old" : "ahead of this machine's clock",
                              PERI_WEBHOOK_WINDOW_S);
    return PERI_OK;
}

enum peri_code peri_webhook_verify(struct peri_str secret, const char *timestamp, const char *signature,
                                   struct peri_str body, int64_t now_s, struct peri_error *err)
{
    struct peri_buf good;
    enum peri_code code = peri_webhook_check(timestamp, signature, now_s, err);
    if (code != PERI_OK)
        return code;
    if (secret.len == 0)
        return peri_error_set(err, PERI_UNAUTHORIZED, "there is no secret to verify signatures with");
    peri_buf_init(&good, 2 * PERI_HASH_MAX);
    code = peri_webhook_sign(secret, timestamp, body, &good, err);
    if (code == PERI_OK && !peri_constant_time_equal(peri_buf_str(&good), peri_str_from(signature)))
        code =
            peri_error_set(err, PERI_UNAUTHORIZED, "the signature does not fit the timestamp, the body and the secret");
    peri_buf_fini(&good);
    return code;
}
