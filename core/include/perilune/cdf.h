/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_CDF_H
#define PERILUNE_CDF_H

#include "perilune/service.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Cognite Data Fusion, Functions API. The client's base_url is the cluster's origin and project is required.
 * Operations (peri_service_call(client, &peri_cdf, "functions.list", args, NULL, err)):
 *   functions.create, functions.package, functions.upload (the first steps of create, alone), functions.list,
 *   functions.retrieve, functions.retrieve_multiple, functions.delete, functions.call, functions.limits,
 *   functions.status, functions.activate; functions.calls.list, .retrieve, .wait, .get_response, .get_logs;
 *   functions.schedules.create, .list, .retrieve, .delete, .get_input_data; iam.sessions.create, .list, .retrieve,
 *   .revoke.
 * Their options carry the names of the platform's Python SDK. A session that an operation creates for itself is revoked
 * when the platform refuses what it was for; not when that may have been accepted all the same. */
PERI_API extern const struct peri_service peri_cdf;

#ifdef __cplusplus
}
#endif

#endif
