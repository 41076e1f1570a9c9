/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_API_HOST_PRIVATE_H
#define CORE_HOST_API_HOST_PRIVATE_H

#include "host/api/doors.h"
#include "host/api/json_writer.h"

/* Shared by the host_*.c files: the host's own door. */

struct peri__host {
    struct peri_door door; /* first: the door is handed out as this member */
    struct peri_engine *engine;
    char *url, *data_dir;
    size_t body_limit;
    int64_t started_ms;
    bool draining;
    struct peri_buf meta; /* scratch, kept between requests */
};

/* host_json.c */
void peri__host_function(struct peri__host *host, struct peri_json_writer *w, const struct peri_function *function);
/* Sends the call's record. */
void peri__host_reply_call(struct peri__host *host, struct peri_http_req *req, const struct peri_call *call,
                           int status);
void peri__host_call(struct peri__host *host, struct peri_json_writer *w, const struct peri_call *call);
void peri__host_line(struct peri_json_writer *w, const struct peri_log_line *line);
/* trace, call_id: may be NULL, 0. */
void peri__host_error(struct peri_http_req *req, int status, const struct peri_error *err, const char *trace,
                      uint64_t call_id);
void peri__host_reply_error(void *data, struct peri_http_req *req, int status, const struct peri_error *err);
/* Sends what was written (taken), or a 500 when it could not be. */
void peri__host_send(struct peri_http_req *req, int status, struct peri_json_writer *w);

/* host_query.c. false: the request has been answered with a 400. */
bool peri__host_number(struct peri_http_req *req, const char *name, uint64_t max, uint64_t *value);
bool peri__host_size(struct peri_http_req *req, const char *name, uint64_t *value);
bool peri__host_flag(struct peri_http_req *req, const char *name, bool *value);
/* The function or call that the path names; NULL: the request has been answered. */
struct peri_function *peri__host_find(struct peri__host *host, struct peri_http_req *req);
struct peri_call *peri__host_find_call(struct peri__host *host, struct peri_http_req *req, bool with_body);

/* host_functions.c */
void peri__host_deploy(void *data, struct peri_http_req *req);
void peri__host_list(void *data, struct peri_http_req *req);
void peri__host_show(void *data, struct peri_http_req *req);
void peri__host_delete(void *data, struct peri_http_req *req);

/* host_schedules.c */
void peri__host_schedule_put(void *data, struct peri_http_req *req);
void peri__host_schedules(void *data, struct peri_http_req *req);
void peri__host_schedule_show(void *data, struct peri_http_req *req);
void peri__host_schedule_delete(void *data, struct peri_http_req *req);
void peri__host_schedule_pause(void *data, struct peri_http_req *req);
void peri__host_schedule_resume(void *data, struct peri_http_req *req);
void peri__host_schedule_next(void *data, struct peri_http_req *req);
void peri__host_schedule_ticks(void *data, struct peri_http_req *req);

/* host_calls.c */
void peri__host_call_sync(void *data, struct peri_http_req *req);
void peri__host_call_async(void *data, struct peri_http_req *req);
void peri__host_result(void *data, struct peri_http_req *req);

/* host_terms.c. What the request asks for its call, if anything; the key is borrowed. false: it has been answered. */
bool peri__host_terms(struct peri__host *host, struct peri_http_req *req, bool async, struct peri_terms *terms,
                      bool *any);

/* host_dead.c */
void peri__host_requeue(void *data, struct peri_http_req *req);
void peri__host_dismiss(void *data, struct peri_http_req *req);

/* host_records.c */
void peri__host_dead(void *data, struct peri_http_req *req);
void peri__host_calls(void *data, struct peri_http_req *req);
void peri__host_function_calls(void *data, struct peri_http_req *req);
void peri__host_call_show(void *data, struct peri_http_req *req);
void peri__host_cancel(void *data, struct peri_http_req *req);

/* host_access.c */
void peri__host_generators(void *data, struct peri_http_req *req);
void peri__host_generator_show(void *data, struct peri_http_req *req);
void peri__host_generator_put(void *data, struct peri_http_req *req);
void peri__host_generator_delete(void *data, struct peri_http_req *req);
void peri__host_parents(void *data, struct peri_http_req *req);
void peri__host_parent_show(void *data, struct peri_http_req *req);
void peri__host_parent_put(void *data, struct peri_http_req *req);
void peri__host_parent_delete(void *data, struct peri_http_req *req);
void peri__host_files(void *data, struct peri_http_req *req);
void peri__host_file_show(void *data, struct peri_http_req *req);
void peri__host_file_content(void *data, struct peri_http_req *req);
void peri__host_file_delete(void *data, struct peri_http_req *req);

/* host_log.c */
void peri__host_log(void *data, struct peri_http_req *req);

#endif
