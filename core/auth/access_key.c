/* SPDX-License-Identifier: MIT */
#include "perilune/access_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perilune/hash.h"
#include "perilune/json.h"

/* JavaScript writes numbers from 1e21 on, and below 1e-6, with an exponent. */
#define PLAIN_DIGITS 21
#define PLAIN_ZEROS 6

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum peri_code pad_zeros(struct peri_buf *out, int n)
{
    enum peri_code code = PERI_OK;
    for (; n > 0 && code == PERI_OK; n--)
        code = peri_buf_append_byte(out, '0');
    return code;
}

/* digits without a point, the first of which stands at 10^exponent. */
static enum peri_code place_point(struct peri_buf *out, struct peri_str digits, int exponent)
{
    enum peri_code code;
    int count = (int)digits.len;
    if (exponent >= PLAIN_DIGITS || exponent < -PLAIN_ZEROS) {
        code = peri_buf_append(out, digits.data, 1);
        if (code == PERI_OK && count > 1)
            code = peri_buf_printf(out, ".%.*s", count - 1, digits.data + 1);
        return code == PERI_OK ? peri_buf_printf(out, "e%+d", exponent) : code;
    }
    if (exponent < 0) {
        code = peri_buf_append_text(out, "0.");
        if (code == PERI_OK)
            code = pad_zeros(out, -exponent - 1);
        return code == PERI_OK ? peri_buf_append_str(out, digits) : code;
    }
    int whole = exponent + 1;
    code = peri_buf_append(out, digits.data, (size_t)(count < whole ? count : whole));
    if (code == PERI_OK)
        code = pad_zeros(out, whole - count);
    if (code == PERI_OK && count > whole)
        code = peri_buf_printf(out, ".%.*s", count - whole, digits.data + whole);
    return code;
}

/* The shortest digits that read back equal are the same in C and in JavaScript; only their layout differs. */
static enum peri_code write_number(struct peri_buf *out, double x)
{
    struct peri_buf text;
    char digits[32];
    size_t count = 0;
    int exponent = 0, point = -1, seen = 0;
    if (x == 0)
        return peri_buf_append_byte(out, '0');
    peri_buf_init(&text, 64);
    enum peri_code code = peri_json_write_real(&text, x);
    const char *at = code == PERI_OK ? text.data : "";
    if (*at == '-') {
        code = peri_buf_append_byte(out, '-');
        at++;
    }
    for (; *at && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.')
            point = seen;
        else if (count < sizeof digits) {
            seen++;
            if (count > 0 || *at != '0')
                digits[count++] = *at;
            else
                exponent--; /* a leading zero */
        }
    }
    exponent += (point < 0 ? seen : point) - 1;
    if (*at)
        exponent += (int)strtol(at + 1, NULL, 10);
    while (count > 1 && digits[count - 1] == '0')
        count--;
    peri_buf_fini(&text);
    return code == PERI_OK ? place_point(out, (struct peri_str){ digits, count }, exponent) : code;
}

static enum peri_code write_value(struct peri_buf *out, const json_t *value);

static enum peri_code write_text(struct peri_buf *out, const char *text, size_t len)
{
    enum peri_code code = peri_buf_append_byte(out, '"');
    if (code == PERI_OK)
        code = peri_buf_append(out, text, len);
    return code == PERI_OK ? peri_buf_append_byte(out, '"') : code;
}

static enum peri_code write_list(struct peri_buf *out, const json_t *list)
{
    enum peri_code code = peri_buf_append_byte(out, '[');
    for (size_t i = 0; i < json_array_size(list) && code == PERI_OK; i++) {
        if (i > 0)
            code = peri_buf_append_byte(out, ',');
        if (code == PERI_OK)
            code = write_value(out, json_array_get(list, i));
    }
    return code == PERI_OK ? peri_buf_append_byte(out, ']') : code;
}

static enum peri_code write_object(struct peri_buf *out, const json_t *object)
{
    size_t count = 0;
    const char *key = NULL;
    json_t *value = NULL;
    const char **keys = malloc((json_object_size(object) + 1) * sizeof *keys);
    if (!keys)
        return PERI_NOMEM;
    json_object_foreach((json_t *)object, key, value) keys[count++] = key;
    qsort(keys, count, sizeof *keys, compare_keys);
    enum peri_code code = peri_buf_append_byte(out, '{');
    for (size_t i = 0; i < count && code == PERI_OK; i++) {
        if (i > 0)
            code = peri_buf_append_byte(out, ',');
        if (code == PERI_OK)
            code = write_text(out, keys[i], strlen(keys[i]));
        if (code == PERI_OK)
            code = peri_buf_append_byte(out, ':');
        if (code == PERI_OK)
            code = write_value(out, json_object_get(object, keys[i]));
    }
    free(keys);
    return code == PERI_OK ? peri_buf_append_byte(out, '}') : code;
}

static enum peri_code write_value(struct peri_buf *out, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return write_object(out, value);
    case JSON_ARRAY:
        return write_list(out, value);
    case JSON_STRING:
        return write_text(out, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
    case JSON_REAL:
        return write_number(out, json_number_value(value));
    case JSON_NULL:
        return peri_buf_append_text(out, "null");
    default:
        return peri_buf_append_text(out, json_is_true(value) ? "true" : "false");
    }
}

static void to_hex(char *out, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

enum peri_code peri_access_key_body_md5(const json_t *body, char out[PERI_BODY_MD5_SIZE], struct peri_error *err)
{
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf text;
    peri_buf_init(&text, SIZE_MAX / 2);
    enum peri_code code = body ? write_value(&text, body) : peri_buf_append_text(&text, "{}");
    if (code != PERI_OK)
        peri_error_set(err, code, "the body's digest: %s", peri_code_text(code));
    else
        code = peri_hash_once(PERI_MD5, peri_buf_str(&text), digest, err);
    if (code == PERI_OK)
        to_hex(out, digest, peri_hash_size(PERI_MD5));
    peri_buf_fini(&text);
    return code;
}

enum peri_code peri_access_key_signature(const char *secret, const char *method, struct peri_str target,
                                         int64_t timestamp_s, const char *nonce, const char *body_md5,
                                         char out[PERI_ACCESS_SIGN_SIZE], struct peri_error *err)
{
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf text;
    peri_buf_init(&text, SIZE_MAX / 2);
    enum peri_code code = peri_buf_printf(&text, "%s&", method);
    if (code == PERI_OK)
        code = peri_buf_append_str(&text, target);
    if (code == PERI_OK)
        code = peri_buf_printf(&text, "&%lld&%s&%s", (long long)timestamp_s, nonce, body_md5);
    if (code != PERI_OK)
        peri_error_set(err, code, "the access key's signature: %s", peri_code_text(code));
    else
        code = peri_hmac(PERI_SHA1, peri_str_from(secret), peri_buf_str(&text), digest, err);
    if (code == PERI_OK)
        to_hex(out, digest, peri_hash_size(PERI_SHA1));
    peri_buf_fini(&text);
    return code;
}

enum peri_code peri_access_key_sign(struct peri_headers *headers, const struct peri_access_key *key, const char *method,
                                    struct peri_str target, int64_t timestamp_s, const char *nonce,
                                    const char *body_md5, struct peri_error *err)
{
    char signature[PERI_ACCESS_SIGN_SIZE];
    char timestamp[32];
    enum peri_code code =
        peri_access_key_signature(key->secret, method, target, timestamp_s, nonce, body_md5, signature, err);
    if (code != PERI_OK)
        return code;
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)timestamp_s);
    const char *const fields[][2] = {
        { "X-Dff-Ak-Id", key->id },
        { "X-Dff-Ak-Timestamp", timestamp },
        { "X-Dff-Ak-Nonce", nonce },
        { "X-Dff-Ak-Sign", signature },
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields && code == PERI_OK; i++)
        code = peri_headers_set(headers, fields[i][0], fields[i][1]);
    return code == PERI_OK
               ? PERI_OK
               : peri_error_set(err, code, "the access key can't be sent in a header: %s", peri_code_text(code));
}
