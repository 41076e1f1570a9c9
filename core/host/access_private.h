/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_ACCESS_PRIVATE_H
#define CORE_HOST_ACCESS_PRIVATE_H

#include "host/parts.h"

/* A write of the access service under way, for access.c and uploads.c. */
struct peri__access_op {
    struct peri_engine *engine;
    struct peri_access_write access;
    peri_access_fn done;
    void *data;
    void (*written)(struct peri__access_op *op); /* before done, whatever came of it; may be NULL */
    void (*dropped)(struct peri__access_op *op); /* instead of written and done when the engine ends; may be NULL */
    void *owner;                                 /* theirs */
    struct peri_error err;
};
/* NULL: done was called with PERI_NOMEM. */
struct peri__access_op *peri__access_op_new(struct peri_engine *engine, peri_access_fn done, void *data);
/* Hands the write to the store, or, with op->err set or PERI_ACCESS_NOTHING, only tells; later in either case. Takes op. */
#define PERI_ACCESS_NOTHING PERI_WRITE_COUNT
void peri__access_op_run(struct peri__access_op *op, enum peri_write_kind kind);
void peri__access_op_free(void *op);
/* Whether persno may do that with the parent's files; the parent's absence is an error too. */
enum peri_code peri__access_check(struct peri_engine *engine, const char *parent, const char *persno,
                                  enum peri_permission permission, struct peri_error *err);

#endif
