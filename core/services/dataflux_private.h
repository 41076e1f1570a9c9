/* SPDX-License-Identifier: MIT */
#ifndef CORE_SERVICES_DATAFLUX_PRIVATE_H
#define CORE_SERVICES_DATAFLUX_PRIVATE_H

#include "client/flow.h"
#include "perilune/access_key.h"
#include "perilune/dataflux.h"
#include "perilune/password.h"

extern const struct peri_flow_kind peri_dataflux__call;   /* sync.call, async.call, func.call */
extern const struct peri_flow_kind peri_dataflux__result; /* task.result */
extern const struct peri_flow_kind peri_dataflux__list;   /* *.list */
extern const struct peri_flow_kind peri_dataflux__manage; /* all others */

/* The requests that only flows make. */
extern const struct peri_operation peri_dataflux__task_result; /* task_id, wait */
extern const struct peri_operation peri_dataflux__task_record; /* id, page_size */

/* ---- dataflux_request.c: the wire of a call ---- */

struct peri_dataflux__request {
    const char *method; /* static */
    struct peri_buf url;
    struct peri_headers headers;
    struct peri_reader *body; /* NULL: none */
    json_t *json;             /* what the body is; NULL: it is no JSON */
    bool unboxed, dumped;     /* what was asked for: how the answer comes */
    bool deferred;            /* only a task's id comes */
    int64_t first_byte_ms;
};
void peri_dataflux__request_init(struct peri_dataflux__request *request);
void peri_dataflux__request_fini(struct peri_dataflux__request *request);
/* Fills it from the flow's options; takes its streams' content and files. */
enum peri_code peri_dataflux__request_build(struct peri_dataflux__request *request, struct peri_flow *flow,
                                            struct peri_error *err);

/* ---- dataflux_form.c: arguments as text ---- */

typedef enum peri_code (*peri_dataflux__put_fn)(void *data, const char *name, struct peri_str value,
                                                struct peri_error *err);
/* Calls put for each name and value that the object comes to in bracket notation: a=1, l[]=x, o[k]=v. PERI_INVALID for
 * what it can't say: null, empty lists and objects, more than `levels` levels. */
enum peri_code peri_dataflux__flatten(const json_t *object, unsigned levels, peri_dataflux__put_fn put, void *data,
                                      struct peri_error *err);

/* ---- dataflux_sign.c: who asks ---- */

/* What an operation signs with; lives as long as its requests. */
struct peri_dataflux__signer {
    struct peri_signer signer; /* for peri_http and streams */
    struct peri_client *client;
    const char *token_header, *token; /* NULL: none */
    struct peri_access_key key;       /* id NULL: none */
    char body_md5[PERI_BODY_MD5_SIZE];
    struct peri_password user; /* of HTTP Digest; username NULL: none */
    struct peri_digest digest;
    unsigned digest_count; /* 0: no challenge yet */
};
/* Reads the options `credentials` and `auth`, whose texts are borrowed. body: what is signed; NULL: none. */
enum peri_code peri_dataflux__signer_init(struct peri_dataflux__signer *signer, struct peri_client *client,
                                          const json_t *args, const json_t *body, struct peri_error *err);
bool peri_dataflux__signer_is_needed(const struct peri_dataflux__signer *signer);

/* ---- dataflux_answer.c ---- */

/* Ends the flow with a finished call's answer. */
void peri_dataflux__answer(struct peri_flow *flow, struct peri_op *child, bool unboxed, bool dumped);
/* The member "data" of an envelope (borrowed); NULL: the flow has failed. */
json_t *peri_dataflux__data(struct peri_flow *flow, struct peri_op *child);
/* "funcCallKwargsJSON" to "func_call_kwargs_json": a copy of the object whose own keys are so; new; NULL: no memory. Other
 * values are shared. */
json_t *peri_dataflux__snake(const json_t *object);

/* ---- dataflux.c ---- */

/* PERI_INVALID, beginning with "option 'WHAT':", when the object has other members than the table's fields. */
enum peri_code peri_dataflux__check(const json_t *object, const struct peri_operation *table, struct peri_error *err);
extern const struct peri_operation peri_dataflux__options;     /* the platform's own */
extern const struct peri_operation peri_dataflux__auth;        /* an API's authentication */
extern const struct peri_operation peri_dataflux__credentials; /* of a sign-in */

/* PERI_INVALID when there are streams. */
enum peri_code peri_dataflux__no_streams(struct peri_flow *flow, struct peri_error *err);

/* An option's text; NULL: absent. */
static inline const char *peri_dataflux__text(const json_t *args, const char *name)
{
    return json_string_value(json_object_get(args, name));
}

#endif
