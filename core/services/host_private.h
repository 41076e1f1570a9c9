/* SPDX-License-Identifier: MIT */
#ifndef CORE_SERVICES_HOST_PRIVATE_H
#define CORE_SERVICES_HOST_PRIVATE_H

#include "client/flow.h"

/* The flows of host.c's table, and the requests that only they make. */

extern const struct peri_flow_kind peri_host__deploy;     /* functions.deploy */
extern const struct peri_flow_kind peri_host__list_calls; /* calls.list */
extern const struct peri_flow_kind peri_host__wait;       /* calls.wait */

extern const struct peri_operation peri_host__calls_of_function; /* name, and as calls.list */
extern const struct peri_operation peri_host__calls_get;         /* id, wait */

#endif
