/* SPDX-License-Identifier: MIT */
#include "client/op_kind.h"

#include <stdlib.h>
#include <string.h>

#include "perilune/json.h"

void peri__op_init(struct peri_op *op, size_t size, const struct peri_op_kind *kind, struct peri_loop *loop,
                   const char *operation)
{
    /* Not all of the error, which is most of it: its texts are empty. */
    memset(op, 0, offsetof(struct peri_op, error));
    memset((char *)op + sizeof *op, 0, size - sizeof *op);
    peri_error_clear(&op->error);
    op->kind = kind;
    op->loop = loop;
    op->code = PERI_BUSY;
    op->shape = PERI_SHAPE_NONE;
    if (operation) {
        size_t len = strnlen(operation, sizeof op->error.operation - 1);
        memcpy(op->error.operation, operation, len);
        op->error.operation[len] = '\0';
    }
    peri_headers_init(&op->headers);
    peri_buf_init(&op->body, SIZE_MAX / 2);
}

void *peri__op_new(size_t size, const struct peri_op_kind *kind, struct peri_loop *loop, const char *operation,
                   struct peri_error *err)
{
    struct peri_op *op = malloc(size);
    if (!op) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    peri__op_init(op, size, kind, loop, operation);
    return op;
}

void peri__op_finish(struct peri_op *op, const struct peri_error *err)
{
    if (err) {
        char operation[sizeof op->error.operation];
        memcpy(operation, op->error.operation, sizeof operation);
        op->error = *err;
        if (operation[0])
            memcpy(op->error.operation, operation, sizeof operation);
    }
    op->code = op->error.code;
    peri_op_fn fn = op->fn;
    op->fn = NULL;
    if (fn)
        fn(op->fn_data, op);
}

void peri__op_move_answer(struct peri_op *to, struct peri_op *from)
{
    to->status = from->status;
    peri_headers_fini(&to->headers);
    to->headers = from->headers;
    peri_headers_init(&from->headers);
    peri_buf_fini(&to->body);
    to->body = from->body;
    peri_buf_init(&from->body, 0);
}

enum peri_code peri_op_wait(struct peri_op *op, struct peri_error *err)
{
    while (op->code == PERI_BUSY) {
        enum peri_code code = peri_loop_run_once(op->loop, -1, err);
        if (code != PERI_OK)
            return code;
    }
    if (op->code != PERI_OK && err)
        *err = op->error;
    return op->code;
}

static void set_flag(void *data)
{
    *(bool *)data = true;
}

enum peri_code peri_op_wait_for(struct peri_op *op, int64_t timeout_ms, struct peri_error *err)
{
    bool over = false;
    struct peri_timer *timer = NULL;
    enum peri_code code = PERI_OK;
    if (op->code == PERI_BUSY) {
        timer = peri_timer_new(op->loop, set_flag, &over, err);
        if (!timer)
            return PERI_NOMEM;
        peri_timer_start(timer, timeout_ms > 0 ? timeout_ms : 0);
    }
    while (op->code == PERI_BUSY && !over && code == PERI_OK)
        code = peri_loop_run_once(op->loop, -1, err);
    peri_timer_free(timer);
    if (code != PERI_OK)
        return code;
    if (op->code == PERI_BUSY)
        return peri_error_set(err, PERI_TIMEOUT, "not done within %lld ms; it goes on", (long long)timeout_ms);
    if (op->code != PERI_OK && err)
        *err = op->error;
    return op->code;
}

bool peri_op_done(const struct peri_op *op)
{
    return op->code != PERI_BUSY;
}

static void run_notify(void *data)
{
    struct peri_op *op = data;
    peri_op_fn fn = op->fn;
    op->fn = NULL;
    if (fn)
        fn(op->fn_data, op);
}

/* Calls fn at the next turn of the loop; without memory for a timer at once, since a lost call would hang its waiter. */
static void notify_later(struct peri_op *op)
{
    if (!op->notify)
        op->notify = peri_timer_new(op->loop, run_notify, op, NULL);
    if (op->notify)
        peri_timer_start(op->notify, 0);
    else
        run_notify(op);
}

void peri_op_on_done(struct peri_op *op, peri_op_fn fn, void *data)
{
    op->fn = fn;
    op->fn_data = data;
    if (fn && op->code != PERI_BUSY)
        notify_later(op);
}

void peri_op_cancel(struct peri_op *op)
{
    if (op->code != PERI_BUSY)
        return;
    op->kind->cancel(op);
    struct peri_error err;
    peri_error_set(&err, PERI_CANCELLED, "cancelled");
    peri_op_fn fn = op->fn;
    op->fn = NULL;
    peri__op_finish(op, &err);
    op->fn = fn;
    if (fn)
        notify_later(op);
}

void peri_op_free(struct peri_op *op)
{
    if (!op)
        return;
    op->fn = NULL;
    peri_op_cancel(op);
    if (op->kind->fini)
        op->kind->fini(op);
    peri_timer_free(op->notify);
    json_decref(op->json);
    if (op->kind->keep && op->kind->keep(op))
        return;
    peri_headers_fini(&op->headers);
    peri_buf_fini(&op->body);
    free(op);
}

enum peri_code peri_op_code(const struct peri_op *op)
{
    return op->code;
}

const struct peri_error *peri_op_error(const struct peri_op *op)
{
    return &op->error;
}

int peri_op_status(const struct peri_op *op)
{
    return op->status;
}

struct peri_str peri_op_body(const struct peri_op *op)
{
    return peri_buf_str(&op->body);
}

const struct peri_headers *peri_op_headers(const struct peri_op *op)
{
    return &op->headers;
}

unsigned peri_op_attempts(const struct peri_op *op)
{
    return op->attempts;
}

struct peri_loop *peri_op_loop(const struct peri_op *op)
{
    return op->loop;
}

static bool is_json_type(const char *type)
{
    if (!type)
        return false;
    size_t len = strcspn(type, "; \t");
    struct peri_str media = { type, len };
    if (peri_str_equal_nocase(media, peri_str_from("application/json")))
        return true;
    return len > 5 && peri_str_equal_nocase((struct peri_str){ type + len - 5, 5 }, peri_str_from("+json"));
}

enum peri_shape peri_op_shape(const struct peri_op *op)
{
    if (op->shape != PERI_SHAPE_ANSWER)
        return op->shape;
    return is_json_type(peri_headers_get(&op->headers, "content-type")) ? PERI_SHAPE_RAW : PERI_SHAPE_BYTES;
}

const char *peri_op_result_field(const struct peri_op *op)
{
    return op->result_field;
}

enum peri_code peri__snake_case(struct peri_buf *out, const char *wire)
{
    enum peri_code code = PERI_OK;
    for (const char *p = wire; *p && code == PERI_OK; p++) {
        bool upper = *p >= 'A' && *p <= 'Z';
        if (upper && p != wire)
            code = peri_buf_append_byte(out, '_');
        if (code == PERI_OK)
            code = peri_buf_append_byte(out, upper ? (char)(*p - 'A' + 'a') : *p);
    }
    return code;
}

/* A new object with the same values under snake_case keys; anything but an object is returned as it is. */
static json_t *convert_keys(json_t *value)
{
    if (!json_is_object(value))
        return json_incref(value);
    json_t *converted = json_object();
    struct peri_buf key;
    peri_buf_init(&key, 1024 * 1024);
    const char *wire = NULL;
    json_t *member = NULL;
    json_object_foreach(value, wire, member)
    {
        peri_buf_clear(&key);
        if (peri__snake_case(&key, wire) != PERI_OK ||
            json_object_set_nocheck(converted, key.data ? key.data : "", member) != 0) {
            json_decref(converted);
            converted = NULL;
            break;
        }
    }
    peri_buf_fini(&key);
    return converted;
}

static json_t *convert_list(json_t *items)
{
    json_t *list = json_array();
    size_t i = 0;
    json_t *item = NULL;
    json_array_foreach(items, i, item)
    {
        if (json_array_append_new(list, convert_keys(item)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *convert_page(json_t *reply)
{
    json_t *page = convert_keys(reply);
    json_t *items = json_object_get(page, "items");
    if (items && json_object_set_new(page, "items", convert_list(items)) != 0) {
        json_decref(page);
        return NULL;
    }
    return page;
}

/* The part of a reply that is the result (owned); NULL with code PERI_OK in err when there is none. */
static json_t *select_result(enum peri_shape shape, const char *field, json_t *reply, struct peri_error *err)
{
    if (shape == PERI_SHAPE_RAW)
        return json_incref(reply);
    if (!json_is_object(reply)) {
        peri_error_set(err, PERI_PROTOCOL, "the answer is not a JSON object");
        return NULL;
    }
    json_t *items = json_object_get(reply, "items");
    bool listed = shape == PERI_SHAPE_ITEM || shape == PERI_SHAPE_ITEMS || shape == PERI_SHAPE_PAGE;
    if (listed && !json_is_array(items)) {
        peri_error_set(err, PERI_PROTOCOL, "the answer has no list of items");
        return NULL;
    }
    json_t *result = NULL;
    switch (shape) {
    case PERI_SHAPE_FIELD:
        result = json_object_get(reply, field);
        return json_is_null(result) ? NULL : json_incref(result);
    case PERI_SHAPE_ITEM:
        if (json_array_size(items) == 0)
            return NULL;
        result = convert_keys(json_array_get(items, 0));
        break;
    case PERI_SHAPE_ITEMS:
        result = convert_list(items);
        break;
    case PERI_SHAPE_PAGE:
        result = convert_page(reply);
        break;
    default:
        result = convert_keys(reply);
        break;
    }
    if (!result)
        peri_error_set(err, PERI_NOMEM, "out of memory");
    return result;
}

json_t *peri_op_json(struct peri_op *op, struct peri_error *err)
{
    peri_error_clear(err);
    if (op->code != PERI_OK) {
        if (op->code == PERI_BUSY)
            peri_error_set(err, PERI_BUSY, "not done yet");
        else if (err)
            *err = op->error;
        return NULL;
    }
    enum peri_shape shape = peri_op_shape(op);
    if (shape == PERI_SHAPE_NONE || op->json_known)
        return op->json;
    struct peri_error failure = PERI_ERROR_INIT;
    if (shape == PERI_SHAPE_BYTES) {
        peri_error_set(&failure, PERI_UNSUPPORTED, "the result is bytes, not JSON");
    } else {
        json_t *reply = peri_json_parse(peri_buf_str(&op->body), &failure);
        if (reply)
            op->json = select_result(shape, op->result_field, reply, &failure);
        else
            peri_error_prefix(&failure, "the answer is not JSON");
        json_decref(reply);
    }
    if (failure.code == PERI_OK) {
        op->json_known = true;
    } else if (err) {
        *err = failure;
        err->status = op->status;
        memcpy(err->operation, op->error.operation, sizeof err->operation);
    }
    return op->json;
}

struct sleep_op {
    struct peri_op op;
    struct peri_timer *timer;
};

static void sleep_over(void *data)
{
    peri__op_finish(data, NULL);
}

static void sleep_stop(struct peri_op *op)
{
    struct sleep_op *sleep = (struct sleep_op *)op;
    peri_timer_free(sleep->timer);
    sleep->timer = NULL;
}

static const struct peri_op_kind sleep_kind = { .cancel = sleep_stop, .fini = sleep_stop };

struct peri_op *peri_op_sleep(struct peri_loop *loop, int64_t delay_ms, struct peri_error *err)
{
    struct sleep_op *sleep = peri__op_new(sizeof *sleep, &sleep_kind, loop, "sleep", err);
    if (!sleep)
        return NULL;
    sleep->timer = peri_timer_new(loop, sleep_over, sleep, err);
    if (!sleep->timer) {
        sleep->op.code = PERI_NOMEM;
        peri_op_free(&sleep->op);
        return NULL;
    }
    peri_timer_start(sleep->timer, delay_ms > 0 ? delay_ms : 0);
    return &sleep->op;
}
