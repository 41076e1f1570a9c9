/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "perilune/bearer.h"
#include "perilune/hash.h"
#include "perilune/random.h"
#include "perilune/token.h"

#define P "/api/v1/projects/{project}"
#define FN P "/functions/{functionId}"
#define SCHEDULES P "/functions/schedules"
#define JSON_MAX (4U * 1024 * 1024)       /* of bodies that hold no user data */
#define CONTENT_MAX (1024U * 1024 * 1024) /* of an uploaded file */

static const struct peri_route routes[] = {
    { "POST", P "/functions", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_create, "functions.create" },
    { "GET", P "/functions", PERI_HTTP_NO_BODY, 0, false, peri__cdf_list_get, "functions.list" },
    { "POST", P "/functions/list", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_list, "functions.list" },
    { "POST", P "/functions/byids", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_byids, "functions.retrieve" },
    { "POST", P "/functions/delete", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_delete, "functions.delete" },
    { "GET", P "/functions/limits", PERI_HTTP_NO_BODY, 0, false, peri__cdf_limits, "functions.limits" },
    { "GET", P "/functions/status", PERI_HTTP_NO_BODY, 0, false, peri__cdf_status, "functions.status" },
    { "POST", P "/functions/status", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_status, "functions.activate" },
    { "GET", FN, PERI_HTTP_NO_BODY, 0, false, peri__cdf_show, "functions.retrieve" },
    { "POST", FN "/call", PERI_HTTP_BUFFERED, 0, false, peri__cdf_call_start, "functions.call" },
    { "GET", FN "/calls", PERI_HTTP_NO_BODY, 0, false, peri__cdf_calls_list_get, "functions.calls.list" },
    { "POST", FN "/calls/list", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_calls_list, "functions.calls.list" },
    { "POST", FN "/calls/byids", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_calls_byids,
      "functions.calls.retrieve" },
    { "GET", FN "/calls/{callId}", PERI_HTTP_NO_BODY, 0, false, peri__cdf_call_show, "functions.calls.retrieve" },
    { "GET", FN "/calls/{callId}/response", PERI_HTTP_NO_BODY, 0, false, peri__cdf_response,
      "functions.calls.get_response" },
    { "GET", FN "/calls/{callId}/logs", PERI_HTTP_NO_BODY, 0, false, peri__cdf_logs, "functions.calls.get_logs" },
    { "POST", SCHEDULES, PERI_HTTP_BUFFERED, 0, false, peri__cdf_schedule_create, "functions.schedules.create" },
    { "GET", SCHEDULES, PERI_HTTP_NO_BODY, 0, false, peri__cdf_schedules_list_get, "functions.schedules.list" },
    { "POST", SCHEDULES "/list", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_schedules_list,
      "functions.schedules.list" },
    { "POST", SCHEDULES "/byids", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_schedules_byids,
      "functions.schedules.retrieve" },
    { "POST", SCHEDULES "/delete", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_schedules_delete,
      "functions.schedules.delete" },
    { "GET", SCHEDULES "/{scheduleId}", PERI_HTTP_NO_BODY, 0, false, peri__cdf_schedule_show,
      "functions.schedules.retrieve" },
    { "GET", SCHEDULES "/{scheduleId}/input_data", PERI_HTTP_NO_BODY, 0, false, peri__cdf_schedule_input,
      "functions.schedules.get_input_data" },
    { "POST", P "/sessions", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_session_create, "iam.sessions.create" },
    { "GET", P "/sessions", PERI_HTTP_NO_BODY, 0, false, peri__cdf_sessions_list, "iam.sessions.list" },
    { "POST", P "/sessions/byids", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_sessions_byids,
      "iam.sessions.retrieve" },
    { "POST", P "/sessions/revoke", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_sessions_revoke,
      "iam.sessions.revoke" },
    { "POST", P "/files", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_file_create, "files.create" },
    { "POST", P "/files/byids", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cdf_file_byids, "files.retrieve" },
    { "PUT", P "/files/{fileId}/content", PERI_HTTP_TO_FILE, CONTENT_MAX, true, peri__cdf_file_content, "uploadUrl" },
    { "GET", "/api/v1/token/inspect", PERI_HTTP_NO_BODY, 0, false, peri__cdf_inspect, "iam.token.inspect" },
    { "POST", "/oauth2/token", PERI_HTTP_BUFFERED, 65536, true, peri__cdf_token, "OAuth client credentials" },
};

/* The host's own token, or that of a call: it may do what the host's may as long as its session lives, which had that
 * token behind it. The token itself can't be had with it. */
static enum peri_code check_token(const struct peri__cdf *cdf, const struct peri_http_req *req, struct peri_error *err)
{
    struct peri_str token = peri_bearer_token(peri_http_header(req, "Authorization"));
    uint64_t call_id = 0;
    enum peri_code code = peri_http_bearer(req, err);
    if (code == PERI_OK || !peri_call_token_parse(token, &call_id))
        return code;
    return peri_engine_session_token(cdf->engine, token, err);
}

/* Everything needs a token, but for the token's own endpoint and an upload URL that we signed. The genuine client
 * sends its token with the upload too, and any other client need not. */
static enum peri_code authenticate(void *data, struct peri_http_req *req, struct peri_error *err)
{
    const struct peri_route *route = peri_http_route(req);
    if (route == NULL || !route->open)
        return check_token(data, req, err);
    if (route->handle == peri__cdf_token)
        return PERI_OK;
    enum peri_code code = check_token(data, req, err);
    if (code == PERI_OK || peri_http_query(req, "signature") == NULL)
        return code;
    return peri__cdf_check_signature(data, req, err);
}

struct peri_door *peri_cdf_door_new(const struct peri_door_options *options, struct peri_error *err)
{
    struct peri__cdf *cdf = calloc(1, sizeof *cdf);
    if (cdf != NULL)
        cdf->token = strdup(options->token == NULL ? "" : options->token);
    if (cdf == NULL || cdf->token == NULL) {
        free(cdf);
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    if (peri_signed_url_key(cdf->token, "perilune upload urls", cdf->upload_key, err) != PERI_OK) {
        peri_cdf_door_free(&cdf->door);
        return NULL;
    }
    cdf->engine = options->engine;
    cdf->request_prefix = peri_random_u64(peri_random_system());
    cdf->door = (struct peri_door){ .name = "cdf",
                                    .routes = routes,
                                    .count = sizeof routes / sizeof routes[0],
                                    .data = cdf,
                                    .authenticate = authenticate,
                                    .reply_error = peri__cdf_reply_error,
                                    .prefix = "/api/" };
    return &cdf->door;
}

void peri_cdf_door_free(struct peri_door *door)
{
    struct peri__cdf *cdf = (struct peri__cdf *)door;
    if (cdf == NULL)
        return;
    peri_secure_zero(cdf->token, strlen(cdf->token));
    peri_secure_zero(cdf->upload_key, sizeof cdf->upload_key);
    free(cdf->token);
    free(cdf);
}
