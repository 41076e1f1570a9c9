/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_API_CIM_PRIVATE_H
#define CORE_HOST_API_CIM_PRIVATE_H

#include "host/access.h"
#include "host/api/doors.h"
#include "host/api/json_writer.h"
#include "host/api/signed_url.h"
#include "host/limits.h"
#include "perilune/json.h"

/* Shared by the cim*.c files: the door of the Functions Access Service. Only 200 is success to its clients, and every
 * success has a JSON body. */

struct peri__cim {
    struct peri_door door; /* first: the door is handed out as this member */
    struct peri_engine *engine;
    char *url;
    unsigned char key[PERI_SIGNED_URL_KEY];
    struct peri__limits *limits;
};

/* Work under way for a request. req is NULL once its peer has gone: the work goes on. */
struct peri__cim_job {
    struct peri__cim *cim;
    struct peri_http_req *req;
    unsigned count; /* of numbers asked for */
};

/* cim_json.c */
struct peri__cim_job *peri__cim_job_new(struct peri__cim *cim, struct peri_http_req *req); /* NULL: answered */
/* Ends the job: its request, NULL when nobody waits any more. A failure (err not NULL) has then been answered. */
struct peri_http_req *peri__cim_job_end(struct peri__cim_job *job, const struct peri_error *err);
void peri__cim_reply_error(void *data, struct peri_http_req *req, int status, const struct peri_error *err);
void peri__cim_send(struct peri_http_req *req, struct peri_json_writer *w); /* takes what was written */
void peri__cim_null(struct peri_http_req *req);                             /* 200 null */
bool peri__cim_refuse(struct peri_http_req *req, const char *format, ...) PERI_PRINTF(2, 3); /* 422; false */
/* The body as a JSON object (owned); NULL: answered. */
json_t *peri__cim_body(struct peri_http_req *req);
/* Fields of a body. What is not required may be absent or null: *out keeps what it held. false: answered. */
bool peri__cim_text(struct peri_http_req *req, const json_t *body, const char *key, bool required, const char **out);
bool peri__cim_int(struct peri_http_req *req, const json_t *body, const char *key, int64_t *out);
bool peri__cim_flag(struct peri_http_req *req, const json_t *body, const char *key, bool *out);
/* {file_object_id}; false: answered with 404. */
bool peri__cim_object_id(struct peri_http_req *req, uint64_t *id);

/* cim_files.c */
void peri__cim_create(void *data, struct peri_http_req *req);
void peri__cim_show(void *data, struct peri_http_req *req);
void peri__cim_content(void *data, struct peri_http_req *req);

/* cim_uploads.c */
void peri__cim_presign(void *data, struct peri_http_req *req);
void peri__cim_complete(void *data, struct peri_http_req *req);
void peri__cim_abort(void *data, struct peri_http_req *req);
enum peri_code peri__cim_target(void *data, struct peri_http_req *req, struct peri_http_target *out,
                                struct peri_error *err);
void peri__cim_put(void *data, struct peri_http_req *req);

#endif
