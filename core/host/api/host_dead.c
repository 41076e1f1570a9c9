/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "host/api/host_private.h"

/* Calls that were given up: into the queue again, or off the list. req is NULL once its peer has gone. */
struct change {
    struct peri__host *host;
    struct peri_http_req *req;
    int status;
};

static void on_gone(void *data)
{
    ((struct change *)data)->req = NULL;
}

static void on_changed(void *data, struct peri_call *call, const struct peri_error *err)
{
    struct change *change = data;
    if (change->req != NULL && call != NULL)
        peri__host_reply_call(change->host, change->req, call, change->status);
    else if (change->req != NULL)
        peri_http_reply_error(change->req, 0, err);
    free(change);
}

static void change_call(struct peri__host *host, struct peri_http_req *req, int status,
                        enum peri_code (*ask)(struct peri_engine *engine, uint64_t call_id, peri_call_fn done,
                                              void *data, struct peri_error *err))
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_call *call = peri__host_find_call(host, req, false);
    if (call == NULL)
        return;
    struct change *change = malloc(sizeof *change);
    if (change == NULL) {
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    } else {
        *change = (struct change){ host, req, status };
        ask(host->engine, call->id, on_changed, change, &err);
    }
    peri_call_unref(call);
    if (err.code == PERI_OK) {
        peri_http_on_close(req, on_gone, change);
        return;
    }
    free(change);
    peri_http_reply_error(req, 0, &err);
}

void peri__host_requeue(void *data, struct peri_http_req *req)
{
    change_call(data, req, 202, peri_engine_requeue);
}

void peri__host_dismiss(void *data, struct peri_http_req *req)
{
    change_call(data, req, 200, peri_engine_dismiss);
}
