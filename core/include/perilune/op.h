/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_OP_H
#define PERILUNE_OP_H

#include <jansson.h>

#include "perilune/error.h"
#include "perilune/headers.h"
#include "perilune/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A pending result: one request with its retries, a flow of several, or a timer. Made by service calls, owned by the
 * caller. All functions are for the loop's thread. */
struct peri_op;

/* Drives the loop until op is done. Returns the op's code; err gets its error. With a wrapped loop: PERI_UNSUPPORTED
 * unless op is already done. */
PERI_API enum peri_code peri_op_wait(struct peri_op *op, struct peri_error *err);
/* As peri_op_wait, but gives up after timeout_ms with PERI_TIMEOUT; op goes on. */
PERI_API enum peri_code peri_op_wait_for(struct peri_op *op, int64_t timeout_ms, struct peri_error *err);
PERI_API bool peri_op_done(const struct peri_op *op);
/* Frees all that it holds at once and ends it with PERI_CANCELLED; the function of peri_op_on_done is called at the
 * next turn of the loop. No-op when done. */
PERI_API void peri_op_cancel(struct peri_op *op);
PERI_API void
peri_op_free(struct peri_op *op); /* cancels first, calling nobody; NULL: no-op; allowed in its callback */

/* Called once on the loop when op is done; at the next turn of the loop when it is done already. */
typedef void (*peri_op_fn)(void *data, struct peri_op *op);
PERI_API void peri_op_on_done(struct peri_op *op, peri_op_fn fn, void *data);

/* How it ended; PERI_BUSY while it is pending. */
PERI_API enum peri_code peri_op_code(const struct peri_op *op);
PERI_API const struct peri_error *peri_op_error(const struct peri_op *op);     /* borrowed; code PERI_OK on success */
PERI_API int peri_op_status(const struct peri_op *op);                         /* of the last response; 0: none */
PERI_API struct peri_str peri_op_body(const struct peri_op *op);               /* of the last response, borrowed */
PERI_API const struct peri_headers *peri_op_headers(const struct peri_op *op); /* borrowed, never NULL */
PERI_API unsigned peri_op_attempts(const struct peri_op *op);
PERI_API struct peri_loop *peri_op_loop(const struct peri_op *op);

/* What of the body is the result, and where platform keys (camelCase) become snake_case. */
enum peri_shape {
    PERI_SHAPE_NONE,   /* no result: true in Lua */
    PERI_SHAPE_RAW,    /* the JSON as it is: user data, no key is touched */
    PERI_SHAPE_BYTES,  /* the body's bytes */
    PERI_SHAPE_OBJECT, /* one object, keys of its top level converted */
    PERI_SHAPE_ITEM,   /* the first of "items" (absent: no result), its keys converted */
    PERI_SHAPE_ITEMS,  /* the list "items", each one's keys converted */
    PERI_SHAPE_PAGE,   /* the whole reply {items, nextCursor}, keys of the items and of the reply converted */
    PERI_SHAPE_FIELD,  /* the value of one field (peri_op_result_field), untouched; absent or null: no result */
    PERI_SHAPE_ANSWER, /* in tables: a handler's own answer; peri_op_shape says RAW or BYTES by its content type */
};
PERI_API enum peri_shape peri_op_shape(const struct peri_op *op);
PERI_API const char *peri_op_result_field(const struct peri_op *op); /* for PERI_SHAPE_FIELD */
/* The result as JSON, parsed at the first call: borrowed, lives as long as op. NULL with err when op failed, when the
 * body is not JSON, or (err code PERI_OK) when there is no result. */
PERI_API json_t *peri_op_json(struct peri_op *op, struct peri_error *err);

/* An op that is done after delay_ms. */
PERI_API struct peri_op *peri_op_sleep(struct peri_loop *loop, int64_t delay_ms, struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
