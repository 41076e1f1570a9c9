/* SPDX-License-Identifier: MIT */
#include "client/flow.h"

#include <stdlib.h>
#include <string.h>

#include "client/client_private.h"
#include "client/op_kind.h"
#include "perilune/json.h"

enum outcome { NOTHING, NEXT, FINISHED, FAILED };

struct peri_flow {
    struct peri_op op;
    struct peri_client *client;
    const struct peri_service *service;
    const struct peri_operation *operation;
    json_t *args;
    struct peri_call_streams streams;
    void *state;
    void (*on_cancel)(struct peri_flow *flow);
    struct peri_op *child;       /* the running step */
    struct peri_timer *deadline; /* NULL: none */
    int64_t timeout_ms, deadline_ms;
    struct peri_places places; /* reserved */
    enum outcome outcome;      /* what the step said */
    bool has_answer;           /* of the step that failed, kept while others clean up */
    struct peri_error failure;
};

static void advance(struct peri_flow *flow, struct peri_op *child);

static void free_streams(struct peri_call_streams *streams)
{
    peri_reader_free(streams->content);
    streams->content = NULL;
    peri_writer_free(streams->sink);
    streams->sink = NULL;
    peri_multipart_free(streams->files);
    streams->files = NULL;
}

static void release(struct peri_op *op)
{
    struct peri_flow *flow = (struct peri_flow *)op;
    peri_op_free(flow->child);
    flow->child = NULL;
    peri_timer_free(flow->deadline);
    flow->deadline = NULL;
    if (flow->state && flow->operation->flow->fini)
        flow->operation->flow->fini(flow->state);
    free(flow->state);
    flow->state = NULL;
    peri__places_drop(&flow->places);
    free_streams(&flow->streams);
    json_decref(flow->args);
    flow->args = NULL;
}

/* Members are shared. Unlike json_copy it says when memory was out, instead of leaving members out. */
static json_t *copy_members(const json_t *object)
{
    json_t *copy = json_object();
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)object, key, value)
    {
        if (json_object_set_nocheck(copy, key, value) != 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

static void cancel(struct peri_op *op)
{
    struct peri_flow *flow = (struct peri_flow *)op;
    peri_op_free(flow->child);
    flow->child = NULL;
    if (flow->on_cancel)
        flow->on_cancel(flow);
    release(op);
}

static const struct peri_op_kind flow_kind = { .cancel = cancel, .fini = release };

static void end(struct peri_flow *flow, const struct peri_error *err)
{
    release(&flow->op);
    peri__op_finish(&flow->op, err);
}

static void child_done(void *data, struct peri_op *child)
{
    struct peri_flow *flow = data;
    flow->child = NULL;
    flow->op.attempts += peri_op_attempts(child);
    advance(flow, child);
}

/* Runs one step and does what it said. The flow may be gone when it returns. */
static void advance(struct peri_flow *flow, struct peri_op *child)
{
    flow->outcome = NOTHING;
    flow->operation->flow->step(flow, child);
    if (flow->outcome == FAILED && !flow->has_answer && child && peri_op_code(child) != PERI_OK)
        peri__op_move_answer(&flow->op, child);
    peri_op_free(child);
    switch (flow->outcome) {
    case NEXT:
        peri_op_on_done(flow->child, child_done, flow);
        break;
    case FINISHED:
        end(flow, NULL);
        break;
    case NOTHING:
        peri_error_set(&flow->failure, PERI_INVALID, "the flow stopped without a result");
        /* fall through */
    case FAILED: {
        struct peri_error err = flow->failure;
        end(flow, &err);
        break;
    }
    }
}

static void deadline_passed(void *data)
{
    struct peri_flow *flow = data;
    struct peri_error err;
    peri_error_set(&err, PERI_TIMEOUT, "not done within %lld ms", (long long)flow->timeout_ms);
    err.retryable = true;
    peri_op_free(flow->child);
    flow->child = NULL;
    flow->outcome = NOTHING;
    if (flow->operation->flow->timed_out)
        flow->operation->flow->timed_out(flow, &err);
    if (flow->outcome == NEXT)
        peri_op_on_done(flow->child, child_done, flow);
    else
        end(flow, &err);
}

void *peri_flow_state(struct peri_flow *flow)
{
    return flow->state;
}

const json_t *peri_flow_args(const struct peri_flow *flow)
{
    return flow->args;
}

json_t *peri_flow_copy_args(const struct peri_flow *flow)
{
    json_t *copy = copy_members(flow->args);
    json_object_del(copy, "timeout");
    return copy;
}

struct peri_call_streams *peri_flow_streams(struct peri_flow *flow)
{
    return &flow->streams;
}

struct peri_client *peri_flow_client(const struct peri_flow *flow)
{
    return flow->client;
}

const struct peri_service *peri_flow_service(const struct peri_flow *flow)
{
    return flow->service;
}

const struct peri_operation *peri_flow_operation(const struct peri_flow *flow)
{
    return flow->operation;
}

void peri_flow_then(struct peri_flow *flow, struct peri_op *child, const struct peri_error *err)
{
    if (!child) {
        peri_flow_fail(flow, err);
        return;
    }
    flow->child = child;
    flow->outcome = NEXT;
}

void peri_flow_send(struct peri_flow *flow, const struct peri_operation *operation, json_t *args,
                    const struct peri_call_streams *streams)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_op *child = NULL;
    if (args) {
        struct peri_call_streams with_places = streams ? *streams : (struct peri_call_streams){ 0 };
        with_places.places = &flow->places;
        child = peri_service_send(flow->client, flow->service, operation, args, &with_places, &err);
    } else {
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        if (streams) {
            struct peri_call_streams unused = *streams;
            free_streams(&unused);
        }
    }
    json_decref(args);
    peri_flow_then(flow, child, &err);
}

void peri_flow_reserve(struct peri_flow *flow, unsigned n)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_op *child = NULL;
    if (peri__client_serve(flow->client, flow->service, &err) == PERI_OK)
        child = peri__op_reserve(flow->client, &flow->places, n, flow->deadline_ms, &err);
    peri_flow_then(flow, child, &err);
}

struct peri_places *peri_flow_places(struct peri_flow *flow)
{
    return &flow->places;
}

void peri_flow_finish(struct peri_flow *flow, struct peri_op *child)
{
    peri__op_move_answer(&flow->op, child);
    flow->op.shape = child->shape;
    flow->op.result_field = child->result_field;
    flow->outcome = FINISHED;
}

void peri_flow_finish_json(struct peri_flow *flow, struct peri_str json)
{
    if (flow->op.status == 0)
        flow->op.status = 200;
    peri_buf_clear(&flow->op.body);
    enum peri_code code = peri_buf_append_str(&flow->op.body, json);
    flow->outcome = FINISHED;
    if (code != PERI_OK) {
        peri_error_set(&flow->failure, code, "%s", peri_code_text(code));
        flow->outcome = FAILED;
    }
}

void peri_flow_finish_value(struct peri_flow *flow, const json_t *value)
{
    struct peri_buf text;
    peri_buf_init(&text, SIZE_MAX / 2);
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_json_write(value, &text, &err) == PERI_OK)
        peri_flow_finish_json(flow, peri_buf_str(&text));
    else
        peri_flow_fail(flow, &err);
    peri_buf_fini(&text);
}

void peri_flow_keep_answer(struct peri_flow *flow, struct peri_op *child)
{
    peri__op_move_answer(&flow->op, child);
    flow->has_answer = true;
}

void peri_flow_set_shape(struct peri_flow *flow, enum peri_shape shape)
{
    flow->op.shape = shape;
}

void peri_flow_fail(struct peri_flow *flow, const struct peri_error *err)
{
    flow->failure = *err;
    if (err->code == PERI_OK) /* what failed said nothing: only memory does */
        peri_error_set(&flow->failure, PERI_NOMEM, "out of memory");
    flow->outcome = FAILED;
}

void peri_flow_on_cancel(struct peri_flow *flow, void (*fn)(struct peri_flow *flow))
{
    flow->on_cancel = fn;
}

void peri_flow_leave(struct peri_flow *flow, struct peri_op *op)
{
    peri__client_leave(flow->client, op);
}

struct peri_op *peri_flow_start(struct peri_client *client, const struct peri_service *service,
                                const struct peri_operation *operation, const json_t *args,
                                const struct peri_call_streams *streams, struct peri_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", service->name, operation->name);
    struct peri_flow *flow = peri__op_new(sizeof *flow, &flow_kind, peri_client_loop(client), name, err);
    if (!flow) {
        struct peri_call_streams unused = streams ? *streams : (struct peri_call_streams){ 0 };
        free_streams(&unused);
        return NULL;
    }
    flow->client = client;
    flow->service = service;
    flow->operation = operation;
    flow->op.shape = operation->shape;
    flow->op.result_field = operation->result_field;
    if (streams)
        flow->streams = *streams;
    if (flow->streams.sink)
        flow->op.shape = PERI_SHAPE_NONE;
    flow->timeout_ms = flow->streams.timeout_ms ? flow->streams.timeout_ms : peri_client_timeout_ms(client);
    flow->args = copy_members(args);
    flow->state = calloc(1, operation->flow->state_size ? operation->flow->state_size : 1);
    if (flow->timeout_ms > 0)
        flow->deadline = peri_timer_new(flow->op.loop, deadline_passed, flow, err);
    if (!flow->args || !flow->state || (flow->timeout_ms > 0 && !flow->deadline)) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        flow->op.code = PERI_NOMEM; /* nothing is under way */
        peri_op_free(&flow->op);
        return NULL;
    }
    if (flow->deadline) {
        flow->deadline_ms = peri_clock_monotonic_ms(peri_loop_clock(flow->op.loop)) + flow->timeout_ms;
        peri_timer_start(flow->deadline, flow->timeout_ms);
    }
    advance(flow, NULL);
    if (flow->op.code == PERI_INVALID) { /* the caller's mistake is said at once */
        if (err)
            *err = flow->op.error;
        peri_op_free(&flow->op);
        return NULL;
    }
    return &flow->op;
}
