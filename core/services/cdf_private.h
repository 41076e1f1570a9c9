/* SPDX-License-Identifier: MIT */
#ifndef CORE_SERVICES_CDF_PRIVATE_H
#define CORE_SERVICES_CDF_PRIVATE_H

#include "client/flow.h"
#include "perilune/cdf.h"

/* The flows of cdf.c's tables, and the requests that only they make. */

extern const struct peri_flow_kind peri_cdf__create;        /* functions.create */
extern const struct peri_flow_kind peri_cdf__call;          /* functions.call */
extern const struct peri_flow_kind peri_cdf__wait;          /* functions.calls.wait */
extern const struct peri_flow_kind peri_cdf__of_function;   /* functions.calls.*: function_external_id to id, then */
extern const struct peri_flow_kind peri_cdf__retrieve_many; /* functions.retrieve_multiple */
extern const struct peri_flow_kind peri_cdf__delete;        /* functions.delete */
extern const struct peri_flow_kind peri_cdf__session;       /* iam.sessions.create */

extern const struct peri_operation peri_cdf__functions_byids;  /* items, ignore_unknown_ids */
extern const struct peri_operation peri_cdf__functions_delete; /* items */
extern const struct peri_operation peri_cdf__sessions;         /* items */
extern const struct peri_operation peri_cdf__files_create;     /* overwrite, name, external_id, data_set_id */
extern const struct peri_operation peri_cdf__files_byids;      /* id */
extern const struct peri_operation peri_cdf__calls_byids;      /* function_id, call_id */

/* The next step asks for a function's id by its external id. */
void peri_cdf__lookup(struct peri_flow *flow, const json_t *external_id);
/* The id that it found; PERI_NOT_FOUND names the external id. */
enum peri_code peri_cdf__found(struct peri_op *lookup, const json_t *external_id, json_int_t *id,
                               struct peri_error *err);

#endif
