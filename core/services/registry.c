/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "perilune/cdf.h"
#include "perilune/host.h"

const struct peri_service *peri_service_find(const char *name)
{
    static const struct peri_service *const services[] = { &peri_cdf, &peri_host };
    for (size_t i = 0; i < sizeof services / sizeof *services; i++)
        if (strcmp(services[i]->name, name) == 0)
            return services[i];
    return NULL;
}
