/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/api/cim_private.h"
#include "host/size.h"
#include "perilune/bearer.h"
#include "perilune/token.h"

#define FILE_UPLOAD "/cim/file_upload/{file_object_id}"
#define NUMBERS_MAX 100
#define NAME_MAX_BYTES 1000

/* ---- numbers ---- */

static void on_numbers(void *data, const struct peri_access_result *result, const struct peri_error *err)
{
    struct peri__cim_job *job = data;
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    unsigned count = job->count;
    struct peri_http_req *req = peri__cim_job_end(job, err);
    if (req == NULL || err != NULL)
        return;
    peri_buf_init(&out, 65536);
    peri_jw_open(&w, '{');
    peri_jw_key(&w, "numbers");
    peri_jw_open(&w, '[');
    int64_t number = result->first;
    for (unsigned i = 0; i < count; i++) {
        peri_jw_int(&w, number);
        if (i + 1 < count)
            number += result->generator->step;
    }
    peri_jw_close(&w, ']');
    peri_jw_close(&w, '}');
    peri__cim_send(req, &w);
}

static void handle_numgen(void *data, struct peri_http_req *req)
{
    struct peri__cim *cim = data;
    const char *name = peri_http_query(req, "name"), *text = peri_http_query(req, "count");
    uint64_t count = 0;
    if (name == NULL || name[0] == '\0' || strlen(name) > NAME_MAX_BYTES) {
        peri__cim_refuse(req, "name must be the name of a number generator, 1 to %d bytes", NAME_MAX_BYTES);
        return;
    }
    if (!peri_number_parse(text, NUMBERS_MAX, &count) || count == 0) {
        peri__cim_refuse(req, "count must be between 1 and %d", NUMBERS_MAX);
        return;
    }
    struct peri__cim_job *job = peri__cim_job_new(cim, req);
    if (job == NULL)
        return;
    job->count = (unsigned)count;
    peri_engine_numbers(cim->engine, name, (unsigned)count, on_numbers, job);
}

/* ---- the door ---- */

#define JSON_MAX (8U * 1024 * 1024) /* ten thousand URLs come back with complete */
#define CHUNK_MAX ((size_t)1 << 44) /* the upload's own chunk size is the limit */

static const struct peri_route routes[] = {
    { "GET", "/cim/numgen", PERI_HTTP_NO_BODY, 0, false, handle_numgen, "numgen" },
    { "POST", "/cim/file_upload/create", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cim_create, "create" },
    { "POST", FILE_UPLOAD "/generate_presigned_url", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cim_presign,
      "generate_presigned_url" },
    { "POST", FILE_UPLOAD "/complete", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cim_complete, "complete" },
    { "POST", FILE_UPLOAD "/abort", PERI_HTTP_BUFFERED, JSON_MAX, false, peri__cim_abort, "abort" },
    { "PUT", "/cim/blobs/{upload}/{part}", PERI_HTTP_TO_FILE, CHUNK_MAX, true, peri__cim_put, "presigned URL" },
    { "GET", "/cim/files/{file_object_id}", PERI_HTTP_NO_BODY, 0, false, peri__cim_show, "file" },
    { "GET", "/cim/files/{file_object_id}/content", PERI_HTTP_NO_BODY, 0, false, peri__cim_content, "content" },
};

/* The host's own token, or that of a call which runs or has just ended. */
static enum peri_code check_token(const struct peri__cim *cim, const struct peri_http_req *req, struct peri_error *err)
{
    struct peri_str token = peri_bearer_token(peri_http_header(req, "Authorization"));
    uint64_t call_id = 0;
    enum peri_code code = peri_http_bearer(req, err);
    if (code == PERI_OK || !peri_call_token_parse(token, &call_id))
        return code;
    return peri_engine_call_token(cim->engine, token, &call_id, err);
}

/* In the order that the protocol sheet recommends: route, token, rate. */
static enum peri_code authenticate(void *data, struct peri_http_req *req, struct peri_error *err)
{
    struct peri__cim *cim = data;
    const struct peri_route *route = peri_http_route(req);
    struct peri_clock clock = peri_loop_clock(peri_engine_loop(cim->engine));
    if (route == NULL)
        return PERI_OK; /* the server has a 404 or 405 for it */
    if (route->open) {
        if (peri_signed_url_check(cim->key, req, peri_clock_wall_ms(clock), err) == PERI_OK)
            return PERI_OK;
        err->code = PERI_FORBIDDEN; /* no token would help */
        return PERI_FORBIDDEN;
    }
    enum peri_code code = check_token(cim, req, err);
    if (code != PERI_OK)
        return code;
    struct peri_str token = peri_bearer_token(peri_http_header(req, "Authorization"));
    return peri__limits_take(cim->limits, token, peri_clock_monotonic_ms(clock), err);
}

struct peri_door *peri_cim_door_new(const struct peri_door_options *options, struct peri_error *err)
{
    struct peri__cim *cim = calloc(1, sizeof *cim);
    struct peri__limits_options limits = { .limit = options->cim_rate == 0 ? 100 : options->cim_rate,
                                           .window_ms = options->cim_window_ms == 0 ? 60000 : options->cim_window_ms };
    const char *token = options->token == NULL ? "" : options->token;
    if (cim == NULL) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    cim->engine = options->engine;
    cim->door = (struct peri_door){ .name = "cim",
                                    .routes = routes,
                                    .count = sizeof routes / sizeof routes[0],
                                    .data = cim,
                                    .authenticate = authenticate,
                                    .reply_error = peri__cim_reply_error,
                                    .target = peri__cim_target,
                                    .prefix = "/cim/" };
    if (peri_signed_url_key(token, "perilune access service", cim->key, err) != PERI_OK ||
        peri__limits_new(&limits, &cim->limits, err) != PERI_OK) {
        peri_cim_door_free(&cim->door);
        return NULL;
    }
    return &cim->door;
}

void peri_cim_door_free(struct peri_door *door)
{
    struct peri__cim *cim = (struct peri__cim *)door;
    if (cim == NULL)
        return;
    peri_secure_zero(cim->key, sizeof cim->key);
    peri__limits_free(cim->limits);
    free(cim->url);
    free(cim);
}

void peri_cim_door_set_url(struct peri_door *door, const char *url)
{
    struct peri__cim *cim = (struct peri__cim *)door;
    free(cim->url);
    cim->url = strdup(url);
}
