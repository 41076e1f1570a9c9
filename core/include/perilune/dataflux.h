/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_DATAFLUX_H
#define PERILUNE_DATAFLUX_H

#include "perilune/service.h"

#ifdef __cplusplus
extern "C" {
#endif

/* DataFlux Func, and the door of a perilune host that answers like it. The client's base_url is the platform's address,
 * without /api. Operations (peri_service_call(client, &peri_dataflux, "sync.call", args, streams, err)):
 *   sync.call, async.call, func.call    call a Sync API, an Async API (the task's id), a function directly
 *   task.result                         what an asynchronous call has answered
 *   sync_apis.*, async_apis.*, cron_jobs.*, api_auth.*: list, add, modify, delete; cron_jobs.run
 *   scripts.add, modify, publish, delete; task_records.list
 *
 * Calls. `kwargs` are the arguments. `options` has the platform's own options in snake_case (return_type, unbox, timeout,
 * expires, queue, delay, eta), `timeout` beside it is this client's, for the whole operation. `form` is bare, normal or
 * simplified; by default the first that carries what is given. streams->content is a raw body (of `content_type`), which only
 * simplified knows; streams->files are uploaded, with kwargs and options in fields beside. streams->sink gets the answer.
 * `auth` is what the API asks for: {type: "fixedField", location, name, value}, or {type: "httpBasic" or "httpDigest",
 * username, password}; `headers` are further ones.
 *
 * The answer is JSON or bytes by its content type; an empty one is null, since the platform sends null so. With
 * return_type "jsonDumps" it is the JSON value, also when that is a number; with unbox = false it comes out of the
 * platform's envelope. A redirect by the function is an answer too: its status and headers say where to. A failure of the
 * function is PERI_HANDLER_FAILED or PERI_HANDLER_TIMEOUT, with the platform's reason as its code.
 *
 * A call is repeated only when the platform refused it (429; it says how long to wait), unless `idempotent` is true. An
 * answer begins within min(options.timeout, 180) + 20 s (the platform's own limit and some slack), or within the client's own
 * time-out for the first byte.
 *
 * Operations that need a sign-in take `credentials`: {auth_token}, {local_token}, or {ak_id, ak_secret}; calls never send
 * them, since a wrong one aborts a call that needs none. Names of fields are the platform's in snake_case
 * (func_call_kwargs_json); `data` has more of them as the platform spells them. Lists are {items, page_info}.
 *
 * task.result asks a host for GET /api/v1/tasks/ID/result?wait=SECONDS, which answers as the synchronous call would have, or
 * with 202; on a platform that has no such route it looks for the task's record, with `credentials`. Records appear up to
 * 20 s late, and only of APIs with a task_record_limit. PERI_TIMEOUT: not ended within `wait` seconds (0). */
PERI_API extern const struct peri_service peri_dataflux;

#ifdef __cplusplus
}
#endif

#endif
