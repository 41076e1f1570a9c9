/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "perilune/cdf.h"
#include "perilune/cim.h"
#include "perilune/dataflux.h"
#include "perilune/host.h"

const struct peri_service *peri_service_find(const char *name)
{
    static const struct peri_service *const services[] = { &peri_cdf, &peri_cim, &peri_dataflux, &peri_host, NULL };
    const struct peri_service *const *service = services;
    while (*service && strcmp((*service)->name, name) != 0)
        service++;
    return *service;
}
