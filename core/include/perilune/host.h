/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_HOST_H
#define PERILUNE_HOST_H

#include "perilune/service.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The perilune host's own API (core/host/api/openapi.json describes the wire).
 * Operations: info, functions.deploy, functions.list, functions.get, functions.delete, functions.call,
 * functions.call_async, calls.get, calls.list, calls.wait, calls.result, calls.log, calls.follow, calls.cancel, generators.create,
 * generators.list, generators.get, generators.delete, parents.create, parents.list, parents.get, parents.delete,
 * files.list, files.get, files.download, files.delete. */
PERI_API extern const struct peri_service peri_host;

/* Where a host's credentials are: {"url": "...", "token": "..."}, mode 0600. path NULL: $PERILUNE_DATA or the default
 * data folder ($XDG_DATA_HOME/perilune, else ~/.local/share/perilune). Refuses a file that others can read. The
 * strings are owned by the caller (free; the token with peri_secure_zero first). */
PERI_API enum peri_code peri_host_credentials_load(const char *data_dir, char **url, char **token,
                                                   struct peri_error *err);
/* The default data folder, owned by the caller. */
PERI_API char *peri_host_data_dir(void);

#ifdef __cplusplus
}
#endif

#endif
