/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "perilune/json.h"
#include "services/dataflux_private.h"

/* What came back: a function's answer, or the platform's envelope. */

static void fail(struct peri_flow *flow, enum peri_code code, int status, const char *message)
{
    struct peri_error err;
    peri_error_set(&err, code, "%s", message);
    err.status = status;
    peri_flow_fail(flow, &err);
}

/* The answer's status and headers stay; its body becomes this value. */
static void finish_value(struct peri_flow *flow, struct peri_op *child, const json_t *value)
{
    peri_flow_finish(flow, child);
    peri_flow_finish_value(flow, value);
    peri_flow_set_shape(flow, PERI_SHAPE_RAW);
}

/* The JSON value that a text is; the text itself when it is none. New; NULL with err: no memory, or an integer that no
 * json_t can hold. */
static json_t *undumped(const json_t *text, struct peri_error *err)
{
    struct peri_str bytes = { json_string_value(text), json_string_length(text) };
    json_t *value = peri_json_parse(bytes, err);
    if (!value && err->code == PERI_JSON && !strstr(err->message, "too big")) {
        peri_error_clear(err);
        value = json_incref((json_t *)text);
    }
    return value;
}

/* Out of {"ok": true, "data": {"result": VALUE}}. False: the function has set the content type, which unboxes anyway. */
static bool finish_boxed(struct peri_flow *flow, struct peri_op *child, bool dumped)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_t *envelope = peri_json_parse(peri_op_body(child), &err);
    const json_t *result = json_object_get(json_object_get(envelope, "data"), "result");
    bool boxed = json_is_true(json_object_get(envelope, "ok")) && result;
    if (boxed && dumped && json_is_string(result)) {
        json_t *value = undumped(result, &err);
        if (value)
            finish_value(flow, child, value);
        else
            peri_flow_fail(flow, &err);
        json_decref(value);
    } else if (boxed) {
        finish_value(flow, child, result);
    }
    json_decref(envelope);
    if (!boxed && (err.code == PERI_NOMEM || (err.code == PERI_JSON && strstr(err.message, "too big")))) {
        peri_flow_fail(flow, &err);
        return true;
    }
    return boxed;
}

static bool is_json(struct peri_str text)
{
    json_t *value = peri_json_parse(text, NULL);
    json_decref(value);
    return value != NULL;
}

void peri_dataflux__answer(struct peri_flow *flow, struct peri_op *child, bool unboxed, bool dumped)
{
    struct peri_str body = peri_op_body(child);
    int status = peri_op_status(child);
    if (peri_op_code(child) != PERI_OK && !(status >= 300 && status < 400)) {
        peri_flow_fail(flow, peri_op_error(child));
    } else if (peri_op_code(child) == PERI_OK && peri_op_shape(child) == PERI_SHAPE_NONE) {
        peri_flow_finish(flow, child); /* a sink has it */
    } else if (body.len == 0) {
        peri_flow_finish(flow, child);
        peri_flow_finish_json(flow, peri_str_from("null"));
        peri_flow_set_shape(flow, PERI_SHAPE_RAW);
    } else if (unboxed || !finish_boxed(flow, child, dumped)) {
        bool value = unboxed && dumped && is_json(body);
        peri_flow_finish(flow, child);
        peri_flow_set_shape(flow, value ? PERI_SHAPE_RAW : PERI_SHAPE_ANSWER);
    }
}

json_t *peri_dataflux__data(struct peri_flow *flow, struct peri_op *child)
{
    struct peri_error err = *peri_op_error(child);
    json_t *data = NULL;
    if (err.code == PERI_OK) {
        const json_t *envelope = peri_op_json(child, &err);
        data = json_object_get(envelope, "data");
        if (err.code == PERI_OK && !json_is_true(json_object_get(envelope, "ok")))
            data = NULL;
    }
    if (err.code != PERI_OK)
        peri_flow_fail(flow, &err);
    else if (!data)
        fail(flow, PERI_PROTOCOL, peri_op_status(child), "the answer is not the platform's envelope");
    return data;
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/* A word begins at a capital after a small letter, and at the last of several capitals before a small letter. */
static enum peri_code snake_key(struct peri_buf *out, const char *key)
{
    enum peri_code code = PERI_OK;
    for (const char *p = key; *p && code == PERI_OK; p++) {
        bool begins = is_upper(*p) && p > key && p[-1] != '_' && (!is_upper(p[-1]) || is_lower(p[1]));
        if (begins)
            code = peri_buf_append_byte(out, '_');
        if (code == PERI_OK)
            code = peri_buf_append_byte(out, is_upper(*p) ? (char)(*p - 'A' + 'a') : *p);
    }
    return code;
}

json_t *peri_dataflux__snake(const json_t *object)
{
    const char *key = NULL;
    json_t *value = NULL, *copy = NULL;
    struct peri_buf name;
    bool fits = true;
    if (!json_is_object(object))
        return json_incref((json_t *)object);
    copy = json_object();
    peri_buf_init(&name, SIZE_MAX / 2);
    json_object_foreach((json_t *)object, key, value)
    {
        peri_buf_clear(&name);
        fits = fits && snake_key(&name, key) == PERI_OK && json_object_set(copy, name.len ? name.data : "", value) == 0;
    }
    peri_buf_fini(&name);
    if (!fits) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}
