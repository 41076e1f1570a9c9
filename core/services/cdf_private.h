/* SPDX-License-Identifier: MIT */
#ifndef CORE_SERVICES_CDF_PRIVATE_H
#define CORE_SERVICES_CDF_PRIVATE_H

#include "client/flow.h"
#include "perilune/cdf.h"

/* The flows of cdf.c's tables, and the requests that only they make. */

extern const struct peri_flow_kind peri_cdf__create;        /* functions.create */
extern const struct peri_flow_kind peri_cdf__package;       /* functions.package */
extern const struct peri_flow_kind peri_cdf__upload;        /* functions.upload */
extern const struct peri_flow_kind peri_cdf__call;          /* functions.call */
extern const struct peri_flow_kind peri_cdf__wait;          /* functions.calls.wait */
extern const struct peri_flow_kind peri_cdf__of_function;   /* functions.calls.*: function_external_id to id, then */
extern const struct peri_flow_kind peri_cdf__retrieve_many; /* functions.retrieve_multiple */
extern const struct peri_flow_kind peri_cdf__delete;        /* functions.delete */
extern const struct peri_flow_kind peri_cdf__session;       /* iam.sessions.create */
extern const struct peri_flow_kind peri_cdf__sessions_list; /* iam.sessions.list */
extern const struct peri_flow_kind peri_cdf__sessions_retrieve;
extern const struct peri_flow_kind peri_cdf__sessions_revoke_all;
extern const struct peri_flow_kind peri_cdf__schedule_create;
extern const struct peri_flow_kind peri_cdf__schedules_retrieve;
extern const struct peri_flow_kind peri_cdf__schedules_delete_all;

extern const struct peri_operation peri_cdf__functions_byids;  /* items, ignore_unknown_ids */
extern const struct peri_operation peri_cdf__functions_delete; /* items */
extern const struct peri_operation peri_cdf__schedules_byids;  /* items, ignore_unknown_ids */
extern const struct peri_operation peri_cdf__schedules_delete; /* items */
extern const struct peri_operation peri_cdf__sessions;         /* items */
extern const struct peri_operation peri_cdf__sessions_byids;   /* items */
extern const struct peri_operation peri_cdf__sessions_revoke;  /* items */
extern const struct peri_operation peri_cdf__files_create;     /* overwrite, name, external_id, data_set_id */
extern const struct peri_operation peri_cdf__files_byids;      /* id */
extern const struct peri_operation peri_cdf__calls_byids;      /* function_id, call_id */

/* The next step asks for a function's id by its external id. */
void peri_cdf__lookup(struct peri_flow *flow, const json_t *external_id);
/* The id that it found; PERI_NOT_FOUND names the external id. */
enum peri_code peri_cdf__found(struct peri_op *lookup, const json_t *external_id, json_int_t *id,
                               struct peri_error *err);

/* ---- cdf_session.c ---- */

/* The item of POST /sessions, new: of the option client_credentials, else as the client itself signs in. NULL with
 * err. */
json_t *peri_cdf__session_item(const struct peri_flow *flow, const char *type, struct peri_error *err);
/* A session that a flow creates for a request of its own, and revokes when that is refused. */
struct peri_cdf__own_session {
    json_t *nonce;
    json_int_t id;           /* 0: none was created */
    struct peri_error cause; /* why it is being revoked */
};
void peri_cdf__session_create(struct peri_flow *flow); /* the next step */
/* Reads the answer; on failure the flow was failed. */
bool peri_cdf__session_created(struct peri_flow *flow, struct peri_cdf__own_session *session, struct peri_op *child);
/* The request failed. True: the next step revokes the session; false: there is none, or the request may have been
 * accepted all the same. */
bool peri_cdf__session_revoke(struct peri_flow *flow, struct peri_cdf__own_session *session, struct peri_op *failed);

/* ---- cdf_check.c: the limits of the service, before anything is sent ---- */

enum peri_code peri_cdf__check_function(const json_t *args, struct peri_error *err);
enum peri_code peri_cdf__check_schedule(const json_t *args, struct peri_error *err);

/* ---- cdf_hash.c ---- */

/* Appends the hash, in hex, of a package and the options of functions.create. *hidden: there are options whose values it
 * leaves out (secrets, URLs with credentials), so that it can't tell when these have changed. */
enum peri_code peri_cdf__content_hash(const json_t *args, const char *function_path, struct peri_str package,
                                      struct peri_buf *hex, bool *hidden, struct peri_error *err);

#endif
