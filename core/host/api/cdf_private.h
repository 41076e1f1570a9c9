/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_API_CDF_PRIVATE_H
#define CORE_HOST_API_CDF_PRIVATE_H

#include "host/api/doors.h"
#include "host/api/json_writer.h"
#include "host/api/signed_url.h"
#include "perilune/json.h"

/* Shared by the cdf_*.c files: the door of Cognite Data Fusion's Functions API. */

struct peri__cdf {
    struct peri_door door; /* first: the door is handed out as this member */
    struct peri_engine *engine;
    char *token;
    unsigned char upload_key[PERI_SIGNED_URL_KEY];
    uint64_t request_prefix, request_count;
};

/* Work under way for a request. req is NULL once its peer has gone: the work goes on. */
struct peri__cdf_job {
    struct peri__cdf *cdf;
    struct peri_http_req *req;
};

/* cdf_json.c */
/* Sends what was written (taken), or a 500 when it could not be; x-request-id is added. */
void peri__cdf_send(struct peri__cdf *cdf, struct peri_http_req *req, int status, struct peri_json_writer *w);
/* 200 and {}. */
void peri__cdf_send_empty(struct peri__cdf *cdf, struct peri_http_req *req);
/* what: "missing", "duplicated" or NULL; list: its JSON array. */
void peri__cdf_error(struct peri__cdf *cdf, struct peri_http_req *req, int status, const char *message,
                     const char *what, const json_t *list);
void peri__cdf_reply_error(void *data, struct peri_http_req *req, int status, const struct peri_error *err);
void peri__cdf_function(struct peri_json_writer *w, const struct peri_function *function);
void peri__cdf_call(struct peri_json_writer *w, const struct peri_call *call);
void peri__cdf_file(struct peri_json_writer *w, const struct peri_file *file, const char *upload_url);
/* {"items":[ is written; the caller writes the items, then closes with ] and }. */
void peri__cdf_open_items(struct peri_json_writer *w, struct peri_buf *out);

/* cdf_query.c */
/* The request's body as a JSON object (owned); NULL: the request has been answered with a 400. */
json_t *peri__cdf_body(struct peri_http_req *req);
/* body.items with 1 to max objects (borrowed); NULL: answered. */
json_t *peri__cdf_items(struct peri_http_req *req, const json_t *body, size_t max);
/* The same, of identifiers, each once. */
json_t *peri__cdf_ids(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *body, size_t max);
/* A list's limit, 1 to max: larger ones are taken for max. false: answered. */
bool peri__cdf_limit(struct peri_http_req *req, const json_t *body, size_t max, size_t *out);
/* The same of a query. */
bool peri__cdf_query_limit(struct peri_http_req *req, size_t max, size_t *out);
/* body.filter, NULL when there is none. false: answered. */
bool peri__cdf_filter(struct peri_http_req *req, const json_t *body, const json_t **out);
/* {"min": ms, "max": ms} of a filter, both inclusive; 0: open. */
enum peri_code peri__cdf_range(const json_t *filter, const char *key, int64_t *min, int64_t *max,
                               struct peri_error *err);
/* false: answered with a 400. */
bool peri__cdf_refuse(struct peri_http_req *req, const char *format, ...) PERI_PRINTF(2, 3);
/* The text of the value of a top-level key in a valid JSON object; empty when it is not there. */
struct peri_str peri__cdf_raw_field(struct peri_str object, const char *key);
/* The characters of a text, which is UTF-8. */
size_t peri__cdf_characters(const char *text);
/* The object's optional string (copied), NULL when there is none. false: answered. */
bool peri__cdf_take_text(struct peri_http_req *req, const json_t *item, const char *key, size_t max, char **out);
/* A path parameter as a number; 0: the request has been answered. */
uint64_t peri__cdf_id(struct peri_http_req *req, const char *name);

/* cdf_spec.c: reads an item of POST functions into spec (freed by the caller); false: answered with a 400. */
bool peri__cdf_read_spec(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *item,
                         struct peri_function *spec);

/* cdf_functions.c */
void peri__cdf_create(void *data, struct peri_http_req *req);
void peri__cdf_list(void *data, struct peri_http_req *req);
void peri__cdf_list_get(void *data, struct peri_http_req *req);
void peri__cdf_byids(void *data, struct peri_http_req *req);
void peri__cdf_delete(void *data, struct peri_http_req *req);
void peri__cdf_show(void *data, struct peri_http_req *req);
void peri__cdf_limits(void *data, struct peri_http_req *req);
void peri__cdf_status(void *data, struct peri_http_req *req);
/* The function of {functionId}, referenced; NULL: answered. */
struct peri_function *peri__cdf_find(struct peri__cdf *cdf, struct peri_http_req *req);

/* cdf_call.c */
void peri__cdf_call_start(void *data, struct peri_http_req *req);
/* cdf_records.c, cdf_result.c */
void peri__cdf_calls_list(void *data, struct peri_http_req *req);
void peri__cdf_calls_list_get(void *data, struct peri_http_req *req);
void peri__cdf_calls_byids(void *data, struct peri_http_req *req);
void peri__cdf_call_show(void *data, struct peri_http_req *req);
void peri__cdf_response(void *data, struct peri_http_req *req);
void peri__cdf_logs(void *data, struct peri_http_req *req);

/* cdf_schedules.c */
void peri__cdf_schedules_list(void *data, struct peri_http_req *req);
void peri__cdf_schedules_list_get(void *data, struct peri_http_req *req);
void peri__cdf_schedules_byids(void *data, struct peri_http_req *req);
void peri__cdf_schedules_delete(void *data, struct peri_http_req *req);
void peri__cdf_schedule_show(void *data, struct peri_http_req *req);
void peri__cdf_schedule_input(void *data, struct peri_http_req *req);
void peri__cdf_schedule(struct peri_json_writer *w, const struct peri_schedule *schedule);
/* cdf_schedule_create.c */
void peri__cdf_schedule_create(void *data, struct peri_http_req *req);

/* cdf_files.c */
void peri__cdf_file_create(void *data, struct peri_http_req *req);
void peri__cdf_file_content(void *data, struct peri_http_req *req);
void peri__cdf_file_byids(void *data, struct peri_http_req *req);
/* Whether the URL carries a signature of ours that is still good. */
enum peri_code peri__cdf_check_signature(struct peri__cdf *cdf, struct peri_http_req *req, struct peri_error *err);

/* cdf_sessions.c */
void peri__cdf_session_create(void *data, struct peri_http_req *req);
void peri__cdf_sessions_list(void *data, struct peri_http_req *req);
void peri__cdf_sessions_byids(void *data, struct peri_http_req *req);
void peri__cdf_sessions_revoke(void *data, struct peri_http_req *req);
/* cdf_oauth.c */
bool peri__cdf_is_token(const struct peri__cdf *cdf, struct peri_str secret);
void peri__cdf_token(void *data, struct peri_http_req *req);
void peri__cdf_inspect(void *data, struct peri_http_req *req);

#endif
