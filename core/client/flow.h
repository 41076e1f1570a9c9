/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_FLOW_H
#define CORE_CLIENT_FLOW_H

#include "perilune/service.h"

/* Several steps in a row that look like one operation: a small state machine that a service writes. */

struct peri_flow; /* the running flow: an op whose children are the steps */

struct peri_flow_kind {
    size_t state_size; /* zeroed memory, peri_flow_state */
    /* Called first with child NULL, then with each finished child. Starts the next child (peri_flow_then) or ends the
     * flow (peri_flow_finish, peri_flow_fail) before it returns. The child is freed after it returns. */
    void (*step)(struct peri_flow *flow, struct peri_op *child);
    void (*fini)(void *state); /* releases what the state holds; may be NULL */
    /* The deadline has passed, and the running step was cancelled: may say in err what was being waited for. It may
     * also start a last step, bounded by itself: the flow then goes on. May be NULL. */
    void (*timed_out)(struct peri_flow *flow, struct peri_error *err);
};

void *peri_flow_state(struct peri_flow *flow);
const json_t *peri_flow_args(const struct peri_flow *flow); /* borrowed */
/* A copy of the options to add to, without "timeout" (the flow's own deadline covers its steps); NULL: no memory. */
json_t *peri_flow_copy_args(const struct peri_flow *flow);
struct peri_call_streams *peri_flow_streams(struct peri_flow *flow); /* set members that you take to NULL */
struct peri_client *peri_flow_client(const struct peri_flow *flow);
const struct peri_service *peri_flow_service(const struct peri_flow *flow);
const struct peri_operation *peri_flow_operation(const struct peri_flow *flow);
/* The next step: child is taken. NULL ends the flow with err. */
void peri_flow_then(struct peri_flow *flow, struct peri_op *child, const struct peri_error *err);
/* The next step is a request (peri_service_send) with these options: taken; NULL means that memory is out. */
void peri_flow_send(struct peri_flow *flow, const struct peri_operation *operation, json_t *args,
                    const struct peri_call_streams *streams);
/* The next step comes when n places of the client's rate limit are held, so that a sequence of requests does not stop
 * half-way: it waits, or the flow fails with PERI_RATE_LIMITED, as the client's mode says; more than the limit is
 * PERI_INVALID. Once in a flow, before its first request. Requests of peri_flow_send then use these places, and so do
 * those that are made otherwise with .places = peri_flow_places(flow) (in struct peri_call_streams or peri_http); one more
 * than was reserved stands in line as any other. What is left is given back at the flow's end. Only requests with the
 * client's token count; a client without a limit goes on at once. */
void peri_flow_reserve(struct peri_flow *flow, unsigned n);
struct peri_places *peri_flow_places(struct peri_flow *flow); /* borrowed until the flow's end */
/* Ends well with the child's body, status, headers and shape as the result (child: the one given to step). */
void peri_flow_finish(struct peri_flow *flow, struct peri_op *child);
/* Ends well with a JSON text as the body. */
void peri_flow_finish_json(struct peri_flow *flow, struct peri_str json);
/* As peri_flow_finish_json, with a value (borrowed). */
void peri_flow_finish_value(struct peri_flow *flow, const json_t *value);
/* The flow goes on although child failed, and will fail: child's answer is what the failure shows then. */
void peri_flow_keep_answer(struct peri_flow *flow, struct peri_op *child);
/* Another shape of the result than the operation's, after one of the three above. */
void peri_flow_set_shape(struct peri_flow *flow, enum peri_shape shape);
void peri_flow_fail(struct peri_flow *flow, const struct peri_error *err);

/* When the flow is cancelled (and its running step with it), fn is called: it may leave a last request behind. */
void peri_flow_on_cancel(struct peri_flow *flow, void (*fn)(struct peri_flow *flow));
/* Op (taken) goes on when the flow is gone; nobody learns how it ends. NULL: no-op. */
void peri_flow_leave(struct peri_flow *flow, struct peri_op *op);

/* For service.c: starts operation->flow. args: borrowed and copied; streams: taken, also on failure. */
struct peri_op *peri_flow_start(struct peri_client *client, const struct peri_service *service,
                                const struct peri_operation *operation, const json_t *args,
                                const struct peri_call_streams *streams, struct peri_error *err);

/* One request of an operation, whatever its flow: a step. args: borrowed, as for peri_service_call but unchecked
 * where the operation does not name them. The reply comes as the operation's shape. */
struct peri_op *peri_service_send(struct peri_client *client, const struct peri_service *service,
                                  const struct peri_operation *operation, const json_t *args,
                                  const struct peri_call_streams *streams, struct peri_error *err);

#endif
