/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_OP_KIND_H
#define CORE_CLIENT_OP_KIND_H

#include "perilune/op.h"

/* For the makers of operations (request.c, flow.c, op.c): what every op holds, and how a kind of op plugs in. */

struct peri_op_kind {
    void (*cancel)(struct peri_op *op); /* stops what is under way and frees it at once */
    void (*fini)(struct peri_op *op);   /* frees what is left; the op is not pending */
    bool (*keep)(struct peri_op *op);   /* last: true when it keeps the memory, also of headers and body; may be NULL */
};

/* The first member of each kind's own struct. */
struct peri_op {
    const struct peri_op_kind *kind;
    struct peri_loop *loop;
    enum peri_code code; /* PERI_BUSY while pending */
    int status;
    unsigned attempts;
    enum peri_shape shape;
    const char *result_field;
    struct peri_headers headers;
    struct peri_buf body;
    json_t *json; /* the result, once asked for */
    bool json_known;
    peri_op_fn fn;
    void *fn_data;
    struct peri_timer *notify; /* calls fn at the next turn */
    struct peri_error error;   /* its operation field is set from the start */
};

/* Zeroed memory of `size` bytes that begins with a pending op; freed by peri_op_free. operation: copied; may be NULL. */
void *peri__op_new(size_t size, const struct peri_op_kind *kind, struct peri_loop *loop, const char *operation,
                   struct peri_error *err);
/* The same for memory that is there already. headers and body are set anew: save them before, if they are kept. */
void peri__op_init(struct peri_op *op, size_t size, const struct peri_op_kind *kind, struct peri_loop *loop,
                   const char *operation);
/* Ends a pending op; err NULL: well. The caller's last act: the op may be gone when it returns. */
void peri__op_finish(struct peri_op *op, const struct peri_error *err);
/* Gives the status, headers and body of one op to another. */
void peri__op_move_answer(struct peri_op *to, struct peri_op *from);
/* "externalId" to "external_id", appended. */
enum peri_code peri__snake_case(struct peri_buf *out, const char *wire);

#endif
