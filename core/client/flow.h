/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_FLOW_H
#define CORE_CLIENT_FLOW_H

#include "perilune/service.h"

/* Several steps in a row that look like one operation: a small state machine that a service writes. */

struct peri_flow; /* the running flow: an op whose children are the steps */

struct peri_flow_kind {
    size_t state_size; /* zeroed memory, peri_flow_state */
    /* Called first with child NULL, then with each finished child. Starts the next child (peri_flow_then) or ends the
     * flow (peri_flow_finish, peri_flow_fail) before it returns. */
    void (*step)(struct peri_flow *flow, struct peri_op *child);
    void (*fini)(void *state); /* releases what the state holds; may be NULL */
};

void *peri_flow_state(struct peri_flow *flow);
const json_t *peri_flow_args(const struct peri_flow *flow);          /* borrowed */
struct peri_call_streams *peri_flow_streams(struct peri_flow *flow); /* set members that you take to NULL */
struct peri_client *peri_flow_client(const struct peri_flow *flow);
/* The next step: child is taken. NULL ends the flow with err. */
void peri_flow_then(struct peri_flow *flow, struct peri_op *child, const struct peri_error *err);
/* Ends well with the child's body, status and headers as the result (child must be the one given to step). */
void peri_flow_finish(struct peri_flow *flow, struct peri_op *child);
/* Ends well with a JSON text as the body. */
void peri_flow_finish_json(struct peri_flow *flow, struct peri_str json);
void peri_flow_fail(struct peri_flow *flow, const struct peri_error *err);

#endif
