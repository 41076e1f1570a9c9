/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_FUNCTIONS_H
#define CORE_HOST_FUNCTIONS_H

#include "host/parts.h"

/* What the registry (functions.c) and the deploying of versions (deploy.c) share. */
struct peri__deploying;
struct peri__deploys {
    struct peri__deploying *first;
};
struct peri__deploys *peri__functions_deploys(const struct peri_engine *engine);
struct peri_function *peri__functions_named(const struct peri_engine *engine,
                                            struct peri_str external_id); /* borrowed */
void peri__deploys_free(struct peri__deploys *deploys);

#endif
