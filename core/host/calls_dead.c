/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>

#include "host/calls_private.h"

/* Calls that were given up after their attempts: back into the queue, or off the list. */

struct change {
    struct peri_engine *engine;
    uint64_t call_id;
    peri_call_fn done;
    void *data;
};

static enum peri_code hand(struct peri_engine *engine, enum peri_write_kind kind, const struct change *change,
                           void (*done)(void *data, struct peri_write *write, const struct peri_error *err),
                           struct peri_error *err)
{
    struct change *copy = malloc(sizeof *copy);
    if (!copy)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    *copy = *change;
    struct peri_write write = { .kind = kind, .id = change->call_id, .done = done, .data = copy };
    peri__engine_write(engine, &write);
    return PERI_OK;
}

static struct peri_call *find_dead(struct peri_engine *engine, uint64_t id, struct peri_error *err)
{
    struct peri_call *call = peri_engine_call(engine, id, false, err);
    if (!call)
        return NULL;
    if (call->dead && !peri__entry_find(engine, id))
        return call;
    peri_error_set(err, PERI_CONFLICT, "call %" PRIu64 " is not among the dead ones: it is %s", id,
                   peri_call_state_name(call->state));
    peri_call_unref(call);
    return NULL;
}

static void tell(struct change *change, struct peri_error *err)
{
    struct peri_engine *engine = change->engine;
    struct peri_call *call = err->code ? NULL : peri_engine_call(engine, change->call_id, false, err);
    change->done(change->data, call, call ? NULL : err);
    peri_call_unref(call);
    free(change);
    peri__engine_settled(engine);
}

static void on_revived(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct change *change = data;
    struct peri_engine *engine = change->engine;
    struct peri_error failed = PERI_ERROR_INIT;
    struct peri_call *call = NULL;
    (void)write;
    if (engine->closing) {
        free(change);
        return;
    }
    if (err)
        failed = *err;
    else if (engine->store->kind->call(engine->store, change->call_id, false, &call, &failed) == PERI_OK)
        peri__calls_recovered(engine, call);
    tell(change, &failed);
}

enum peri_code peri_engine_requeue(struct peri_engine *engine, uint64_t call_id, peri_call_fn done, void *data,
                                   struct peri_error *err)
{
    struct peri_call *call = find_dead(engine, call_id, err);
    if (!call)
        return err->code;
    const struct peri_function *function = peri__functions_find(engine, call->function_id);
    peri_call_unref(call);
    if (!function)
        return peri_error_set(err, PERI_CONFLICT, "the function of call %" PRIu64 " was deleted", call_id);
    enum peri_code code = peri_engine_admits(engine, function, err);
    struct change change = { engine, call_id, done, data };
    return code ? code : hand(engine, PERI_WRITE_CALL_REVIVE, &change, on_revived, err);
}

static void on_dismissed(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct change *change = data;
    struct peri_error failed = PERI_ERROR_INIT;
    (void)write;
    if (change->engine->closing) {
        free(change);
        return;
    }
    if (err)
        failed = *err;
    tell(change, &failed);
}

enum peri_code peri_engine_dismiss(struct peri_engine *engine, uint64_t call_id, peri_call_fn done, void *data,
                                   struct peri_error *err)
{
    struct peri_call *call = find_dead(engine, call_id, err);
    if (!call)
        return err->code;
    peri_call_unref(call);
    struct change change = { engine, call_id, done, data };
    return hand(engine, PERI_WRITE_CALL_DISMISS, &change, on_dismissed, err);
}
