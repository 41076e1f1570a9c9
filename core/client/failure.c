/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client_private.h"
#include "perilune/json.h"

/* How an answer that is no 2xx becomes a typed error. The body shapes known:
 *   {"error": {"code", "message", "missing", "duplicated"}}   Cognite Data Fusion
 *   {"error": {"code": "not_found", "message", ...}}          a perilune host
 *   {"error": "text", "error_description"}                    OAuth and others
 *   {"ok": false, "reason", "message", "detail", "traceId"}   DataFlux Func
 *   {"detail": "text" | [{"msg"}]}, {"message"}, {"code"}     generic
 *   anything else                                             its text */

#define MAX_PARSED (1024 * 1024)
#define MAX_TEXT 600
#define MAX_WAIT_SECONDS 1e9

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && text[0] ? text : NULL;
}

static void copy(char *to, size_t size, const char *from)
{
    if (from)
        snprintf(to, size, "%s", from);
}

static void copy_code(struct peri_error *err, const json_t *code)
{
    if (json_is_string(code))
        copy(err->platform_code, sizeof err->platform_code, json_string_value(code));
    else if (json_is_integer(code))
        snprintf(err->platform_code, sizeof err->platform_code, "%" JSON_INTEGER_FORMAT, json_integer_value(code));
}

/* The message, keeping the other fields that are known by now. */
static void set_message(struct peri_error *err, const char *format, ...) PERI_PRINTF(2, 3);
static void set_message(struct peri_error *err, const char *format, ...)
{
    struct peri_error text;
    va_list args;
    va_start(args, format);
    peri_error_setv(&text, err->code, format, args);
    va_end(args);
    memcpy(err->message, text.message, sizeof err->message);
    size_t len = strlen(err->message);
    while (len > 0 && (err->message[len - 1] == '\n' || err->message[len - 1] == '\r' || err->message[len - 1] == ' '))
        err->message[--len] = '\0';
}

/* Appends " (missing: [...])": which of many identifiers it was is what the caller needs. */
static void append_list(struct peri_error *err, const char *label, const json_t *list)
{
    if (json_array_size(list) == 0)
        return;
    char *text = json_dumps(list, JSON_COMPACT);
    if (!text)
        return;
    struct peri_error old = *err;
    set_message(err, "%s (%s: %.*s%s)", old.message, label, MAX_TEXT, text, strlen(text) > MAX_TEXT ? " ..." : "");
    free(text);
}

static void read_error_object(struct peri_error *err, const json_t *error, bool own_host)
{
    const char *message = text_of(error, "message");
    copy_code(err, json_object_get(error, "code"));
    if (own_host) {
        enum peri_code code = peri_code_from_name(err->platform_code);
        if (code != PERI_CODE_COUNT && code != PERI_OK)
            err->code = code;
    }
    if (message)
        set_message(err, "%s", message);
    const json_t *missing = json_object_get(error, "missing");
    const json_t *duplicated = json_object_get(error, "duplicated");
    bool some_missing = json_array_size(missing) > 0;
    bool some_duplicated = json_array_size(duplicated) > 0;
    if (some_missing && !some_duplicated && (err->status == 400 || err->status == 404 || err->status == 422))
        err->code = PERI_NOT_FOUND;
    append_list(err, "missing", missing);
    append_list(err, "duplicated", duplicated);
    const json_t *wait = json_object_get(error, "retry_after_ms");
    if (json_is_integer(wait) && json_integer_value(wait) >= 0)
        err->retry_after_ms = json_integer_value(wait);
    if (!err->request_id[0])
        copy(err->request_id, sizeof err->request_id, text_of(error, "call_id"));
}

/* What the reason says more exactly than the status does; its part before a dot counts. */
static void read_reason(struct peri_error *err, const char *reason)
{
    static const struct {
        const char *reason;
        enum peri_code code;
    } reasons[] = {
        { "EFuncFailed", PERI_HANDLER_FAILED },
        { "EFuncTimeout", PERI_HANDLER_TIMEOUT },
        { "EFuncResultParsingFailed", PERI_HANDLER_FAILED },
        { "EWorkerNoResponse", PERI_UNAVAILABLE },
    };
    struct peri_str kind = { reason, strcspn(reason, ".") };
    peri_error_copy(err->platform_code, sizeof err->platform_code, reason, strlen(reason));
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (peri_str_equal(kind, peri_str_from(reasons[i].reason)))
            err->code = reasons[i].code;
}

/* "Func task failed" alone helps nobody: the detail says why. */
static bool read_envelope(struct peri_error *err, const json_t *body)
{
    const json_t *detail = json_object_get(body, "detail");
    const char *message = text_of(body, "message");
    const char *why = text_of(detail, "exception");
    const json_t *wait = json_object_get(detail, "waitSeconds");
    read_reason(err, text_of(body, "reason"));
    if (!why)
        why = text_of(detail, "message");
    if (!why)
        why = text_of(json_object_get(detail, "result"), "exception");
    if (message)
        set_message(err, "%s%s%.*s", message, why ? ": " : "", MAX_TEXT, why ? why : "");
    if (json_is_number(wait) && json_number_value(wait) >= 0 && json_number_value(wait) < MAX_WAIT_SECONDS)
        err->retry_after_ms = (int64_t)(json_number_value(wait) * 1000);
    const char *trace_id = text_of(body, "traceId");
    if (!err->request_id[0] && trace_id)
        peri_error_copy(err->request_id, sizeof err->request_id, trace_id, strlen(trace_id));
    return message != NULL;
}

static bool read_generic(struct peri_error *err, const json_t *body)
{
    const char *message = text_of(body, "error_description");
    const char *error = text_of(body, "error");
    const json_t *detail = json_object_get(body, "detail");
    if (message)
        copy(err->platform_code, sizeof err->platform_code, error);
    if (!message)
        message = text_of(body, "message");
    if (!message)
        message = text_of(body, "detail");
    if (!message && json_is_array(detail))
        message = text_of(json_array_get(detail, 0), "msg");
    if (!message)
        message = error;
    if (!message)
        message = text_of(body, "title");
    copy_code(err, json_object_get(body, "code"));
    if (message)
        set_message(err, "%s", message);
    return message != NULL;
}

static bool read_json(struct peri_error *err, struct peri_str body, bool own_host)
{
    if (body.len == 0 || body.len > MAX_PARSED || body.data[0] != '{')
        return false;
    json_t *parsed = peri_json_parse(body, NULL);
    json_t *error = json_object_get(parsed, "error");
    bool known = false;
    if (json_is_object(error)) {
        read_error_object(err, error, own_host);
        known = err->message[0] != '\0';
    } else if (json_is_false(json_object_get(parsed, "ok")) && text_of(parsed, "reason")) {
        known = read_envelope(err, parsed);
    } else if (json_is_object(parsed)) {
        known = read_generic(err, parsed);
    }
    if (!err->request_id[0]) {
        const char *id = text_of(parsed, "request_id");
        copy(err->request_id, sizeof err->request_id, id ? id : text_of(parsed, "requestId"));
    }
    json_decref(parsed);
    return known;
}

static void read_text(struct peri_error *err, struct peri_str body)
{
    bool html = body.len > 0 && body.data[0] == '<';
    if (body.len > 0 && !html)
        set_message(err, "%.*s", (int)(body.len < MAX_TEXT ? body.len : MAX_TEXT), body.data);
    if (!err->message[0])
        set_message(err, "the server answered with status %d", err->status);
}

void peri__failure_read(int status, const struct peri_headers *headers, struct peri_str body, int64_t now_wall_ms,
                        struct peri_error *err)
{
    static const char *const id_headers[] = { "x-request-id", "opc-request-id", "perilune-call-id", "x-trace-id" };
    enum peri_code code = peri_code_from_status(status);
    peri_error_set(err, code, "%s", "");
    err->status = status;
    for (size_t i = 0; i < sizeof id_headers / sizeof *id_headers && !err->request_id[0]; i++)
        copy(err->request_id, sizeof err->request_id, peri_headers_get(headers, id_headers[i]));
    bool own_host = peri_headers_get(headers, "perilune-version") != NULL;
    if (!read_json(err, body, own_host))
        read_text(err, body);
    const char *wait = peri_headers_get(headers, "retry-after");
    if (wait && err->retry_after_ms < 0)
        err->retry_after_ms = peri_retry_after_parse(wait, now_wall_ms);
    err->retryable = status == 429 || status == 502 || status == 503 || status == 504 ||
                     err->code == PERI_UNAVAILABLE || peri__failure_forced(headers);
}

bool peri__failure_forced(const struct peri_headers *headers)
{
    const char *value = peri_headers_get(headers, "cdf-is-auto-retryable");
    return value && peri_str_equal_nocase(peri_str_from(value), peri_str_from("true"));
}
