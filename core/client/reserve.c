/* SPDX-License-Identifier: MIT */
#include "client/client_private.h"
#include "client/op_kind.h"

/* An op that ends when places of the rate limit are held. */

struct reserve_op {
    struct peri_op op;
    struct peri_places *places;
    struct peri_limiter *limiter; /* a reference; NULL: no limit */
    struct peri__want want;
};

static void release(struct peri_op *op)
{
    struct reserve_op *reserve = (struct reserve_op *)op;
    if (op->code == PERI_BUSY)
        peri__places_drop(reserve->places);
    peri_limiter_free(reserve->limiter);
    reserve->limiter = NULL;
}

static const struct peri_op_kind reserve_kind = { .cancel = release, .fini = release };

static enum peri_code ask(struct reserve_op *reserve, struct peri_error *err)
{
    if (!reserve->limiter || reserve->want.n == 0 || reserve->places->state == PERI__HELD)
        return PERI_OK;
    return peri__places_take(reserve->places, &reserve->want, err);
}

static void ready(void *data)
{
    struct reserve_op *reserve = data;
    struct peri_error err = PERI_ERROR_INIT;
    enum peri_code code = ask(reserve, &err);
    if (code != PERI_BUSY)
        peri__op_finish(&reserve->op, code == PERI_OK ? NULL : &err);
}

struct peri_op *peri__op_reserve(struct peri_client *client, struct peri_places *places, unsigned n,
                                 int64_t deadline_ms, struct peri_error *err)
{
    struct reserve_op *reserve = peri__op_new(sizeof *reserve, &reserve_kind, client->loop, NULL, err);
    if (!reserve)
        return NULL;
    struct peri_error failure = PERI_ERROR_INIT;
    reserve->places = places;
    reserve->limiter = peri_client_limiter(client, &failure);
    reserve->want = (struct peri__want){ .limiter = reserve->limiter,
                                         .n = n,
                                         .mode = client->rate_limit.mode,
                                         .loop = client->loop,
                                         .deadline_ms = deadline_ms,
                                         .ready = ready,
                                         .data = reserve };
    enum peri_code code = failure.code != PERI_OK ? failure.code : ask(reserve, &failure);
    reserve->op.code = code; /* pending only when it stands in line */
    if (code == PERI_OK || code == PERI_BUSY)
        return &reserve->op;
    if (err)
        *err = failure;
    peri_op_free(&reserve->op);
    return NULL;
}
