/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_CDF_H
#define PERILUNE_CDF_H

#include "perilune/service.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Cognite Data Fusion, Functions API. The client's base_url is the cluster's origin and project is required.
 * Operations (peri_service_call(client, &peri_cdf, "functions.list", args, NULL, err)):
 *   functions.create, functions.list, functions.retrieve, functions.retrieve_multiple, functions.delete,
 *   functions.call, functions.calls.list, functions.calls.retrieve, functions.calls.wait,
 *   functions.calls.get_response, functions.calls.get_logs, iam.sessions.create, functions.limits, functions.status.
 * Their options carry the names of the platform's Python SDK. */
PERI_API extern const struct peri_service peri_cdf;

#ifdef __cplusplus
}
#endif

#endif
