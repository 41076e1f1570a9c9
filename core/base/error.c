/* SPDX-License-Identifier: MIT */
#include "perilune/error.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static const struct {
    const char *name;
    const char *text;
} codes[] = {
#define PERI_CODE_ENTRY(upper, lower, text) { #lower, text },
    PERI_CODES(PERI_CODE_ENTRY)
#undef PERI_CODE_ENTRY
};

const char *peri_code_name(enum peri_code code)
{
    return (unsigned)code < PERI_CODE_COUNT ? codes[code].name : "unknown";
}

const char *peri_code_text(enum peri_code code)
{
    return (unsigned)code < PERI_CODE_COUNT ? codes[code].text : "unknown error";
}

enum peri_code peri_code_from_name(const char *name)
{
    for (int i = 0; name && i < PERI_CODE_COUNT; i++)
        if (strcmp(codes[i].name, name) == 0)
            return (enum peri_code)i;
    return PERI_CODE_COUNT;
}

enum peri_code peri_code_from_status(int status)
{
    static const struct {
        int status;
        enum peri_code code;
    } typed[] = {
        { 400, PERI_BAD_REQUEST },  { 401, PERI_UNAUTHORIZED },      { 403, PERI_FORBIDDEN },
        { 404, PERI_NOT_FOUND },    { 406, PERI_NOT_ACCEPTABLE },    { 409, PERI_CONFLICT },
        { 410, PERI_GONE },         { 413, PERI_PAYLOAD_TOO_LARGE }, { 422, PERI_UNPROCESSABLE },
        { 429, PERI_RATE_LIMITED }, { 503, PERI_UNAVAILABLE },
    };
    if (status >= 200 && status <= 299)
        return PERI_OK;
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++)
        if (typed[i].status == status)
            return typed[i].code;
    return status >= 500 && status <= 599 ? PERI_SERVER : PERI_HTTP;
}

void peri_error_copy(char *field, size_t size, const char *text, size_t len)
{
    size_t out = 0, in = 0;
    while (in < len && text[in] != '\0' && out + 1 < size) {
        int n = peri__utf8_length(text + in, len - in, NULL);
        if (n > 0) {
            if (out + (size_t)n >= size)
                break;
            memcpy(field + out, text + in, (size_t)n);
        } else {
            field[out] = '?';
            n = 1;
        }
        in += (size_t)n;
        out += (size_t)n;
    }
    if (size > 0)
        field[out] = '\0';
}

enum peri_code peri_error_setv(struct peri_error *err, enum peri_code code, const char *format, va_list args)
{
    if (err) {
        char text[sizeof err->message + 8]; /* cut only beyond what is kept; and the arguments may point into *err */
        int len = vsnprintf(text, sizeof text, format, args);
        peri_error_clear(err);
        err->code = code;
        peri_error_copy(err->message, sizeof err->message, text, len < 0 ? 0 : sizeof text);
    }
    return code;
}

enum peri_code peri_error_set(struct peri_error *err, enum peri_code code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    peri_error_setv(err, code, format, args);
    va_end(args);
    return code;
}

void peri_error_prefix(struct peri_error *err, const char *format, ...)
{
    char prefix[sizeof err->message + 8], joined[sizeof err->message * 2 + 16]; /* cut only beyond what is kept */
    va_list args;
    if (!err)
        return;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    int len = snprintf(joined, sizeof joined, "%s: %s", prefix, err->message);
    peri_error_copy(err->message, sizeof err->message, joined, (size_t)len);
}

void peri_error_clear(struct peri_error *err)
{
    if (!err)
        return;
    err->code = PERI_OK;
    err->status = 0;
    err->retryable = false;
    err->retry_after_ms = -1;
    err->operation[0] = err->platform_code[0] = err->request_id[0] = err->message[0] = '\0';
}
