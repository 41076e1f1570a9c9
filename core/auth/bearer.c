/* SPDX-License-Identifier: MIT */
#include "perilune/bearer.h"

#include <stdlib.h>
#include <string.h>

#include "perilune/hash.h"

#define SCHEME "Bearer"

static bool is_token_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~' || c == '+' || c == '/';
}

/* RFC 6750 section 2.1: b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" */
static bool is_b64token(struct peri_str token)
{
    size_t len = token.len;
    while (len > 0 && token.data[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++)
        if (!is_token_char(token.data[i]))
            return false;
    return len > 0;
}

/* What follows the scheme and its spaces, without trailing ones; data is NULL when the scheme is another one. */
static struct peri_str after_scheme(const char *authorization)
{
    size_t scheme = strlen(SCHEME);
    struct peri_str rest = peri_str_from(authorization);
    if (rest.len < scheme || !peri_str_equal_nocase((struct peri_str){ rest.data, scheme }, peri_str_from(SCHEME)))
        return (struct peri_str){ NULL, 0 };
    if (rest.len > scheme && rest.data[scheme] != ' ')
        return (struct peri_str){ NULL, 0 };
    rest.data += scheme;
    rest.len -= scheme;
    while (rest.len > 0 && rest.data[0] == ' ') {
        rest.data++;
        rest.len--;
    }
    while (rest.len > 0 && (rest.data[rest.len - 1] == ' ' || rest.data[rest.len - 1] == '\t'))
        rest.len--;
    return rest;
}

enum peri_code peri_bearer_sign(struct peri_headers *headers, struct peri_str token, struct peri_error *err)
{
    static const char prefix[] = SCHEME " ";
    size_t len = strlen(prefix) + token.len;
    if (!is_b64token(token))
        return peri_error_set(err, PERI_INVALID, "the token is empty or holds characters that no bearer token has");
    if (token.len > PERI_HEADERS_MAX_BYTES)
        return peri_error_set(err, PERI_TOO_LARGE, "the token is too long for a header");
    char *value = malloc(len + 1);
    if (!value)
        return peri_error_set(err, PERI_NOMEM, "no memory for the Authorization header");
    memcpy(value, prefix, strlen(prefix));
    memcpy(value + strlen(prefix), token.data, token.len);
    value[len] = '\0';
    enum peri_code code = peri_headers_set(headers, "Authorization", value);
    peri_secure_zero(value, len);
    free(value);
    if (code != PERI_OK)
        peri_error_set(err, code, "can't set the Authorization header: %s", peri_code_text(code));
    return code;
}

enum peri_code peri_bearer_verify(const char *authorization, struct peri_str expected, struct peri_error *err)
{
    if (!authorization || !*authorization)
        return peri_error_set(err, PERI_UNAUTHORIZED, "no credentials: send \"Authorization: Bearer TOKEN\"");
    struct peri_str token = after_scheme(authorization);
    if (!token.data)
        return peri_error_set(err, PERI_UNAUTHORIZED, "the Authorization header must use the scheme Bearer");
    if (!is_b64token(token))
        return peri_error_set(err, PERI_UNAUTHORIZED, "the Authorization header holds no well-formed bearer token");
    if (!peri_constant_time_equal(token, expected)) /* an empty expected token matches nothing: token is not empty */
        return peri_error_set(err, PERI_UNAUTHORIZED, "the bearer token is not the right one");
    return PERI_OK;
}

struct peri_str peri_bearer_token(const char *authorization)
{
    struct peri_str token = after_scheme(authorization);
    return is_b64token(token) ? token : (struct peri_str){ NULL, 0 };
}
