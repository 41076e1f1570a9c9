/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_SERVICE_H
#define PERILUNE_SERVICE_H

#include "perilune/client.h"
#include "perilune/multipart.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A service is a table of operations, interpreted by one function. This is the door that C programs and the Lua
 * binding share. */

enum peri_field_place {
    PERI_IN_PATH, /* replaces {wire} in the path, percent-encoded */
    PERI_IN_QUERY,
    PERI_IN_BODY,   /* a member of the body, or of items[1] or filter (see enum peri_body) */
    PERI_IN_FILTER, /* a member of "filter" in the body */
    PERI_IN_HEADER,
    PERI_IN_CONTENT, /* the raw body: bytes, or with PERI_STREAM a struct peri_reader */
    PERI_IN_FLOW,    /* read by the flow's code, not sent as such */
};
enum peri_field_type {
    PERI_STRING,
    PERI_INTEGER,
    PERI_NUMBER,
    PERI_BOOLEAN,
    PERI_OBJECT, /* keys are user data */
    PERI_ARRAY,
    PERI_ANY,    /* any JSON value: user data */
    PERI_STREAM, /* a string of bytes here; a reader through struct peri_call_streams */
    PERI_LIMIT,  /* an integer from 1; -1 or null: as many as there are (the field's maximum) */
};
struct peri_field {
    const char *name; /* snake_case, as callers say it */
    const char *wire; /* as the platform says it; NULL: same */
    enum peri_field_type type;
    enum peri_field_place place;
    bool required;
    const char *help;    /* one line, with unit and default */
    const char *initial; /* JSON text that is sent when the option is absent; NULL: nothing is */
    int64_t maximum;     /* PERI_LIMIT: the most that is asked for at once */
};
enum peri_body {
    PERI_BODY_NONE,
    PERI_BODY_OBJECT,
    PERI_BODY_ITEMS1,
    PERI_BODY_FLOW,
    PERI_BODY_CONTENT, /* the one PERI_IN_CONTENT field that is given, or streams->content, as it is */
};
enum peri_operation_flags {
    PERI_OP_FILTER_ALWAYS = 1,   /* "filter" is sent even when it is empty */
    PERI_OP_MISSING_IS_NONE = 2, /* what is not found is no result rather than an error */
    PERI_OP_SLOW = 4,            /* the first byte of the answer may take as long as the work does */
    PERI_OP_OR_NONE_OF = 8,      /* one_of may also be none: at most one of the options */
};

struct peri_flow_kind; /* private: a flow's steps */

struct peri_operation {
    const char *name; /* "functions.list" */
    const char *method;
    const char *path; /* "/functions/{functionId}/call", below the client's base (and project) */
    const struct peri_field *fields;
    size_t field_count;
    enum peri_body body;
    enum peri_shape shape;
    unsigned flags; /* enum peri_operation_flags */
    bool idempotent;
    const char *idempotent_with;       /* a field with which a request may be repeated; NULL: none */
    const char *result_field;          /* PERI_SHAPE_FIELD */
    const struct peri_flow_kind *flow; /* NULL: one request */
    const char *help;
    const char *one_of[4]; /* exactly one of these options must be given; NULL-terminated */
};
/* The manners of one platform. */
enum peri_service_flags {
    PERI_SERVICE_FORM_QUERY = 1,  /* a blank in a query is "+" */
    PERI_SERVICE_SPACED_JSON = 2, /* bodies as peri_json_write_spaced has them */
    PERI_SERVICE_ONLY_200 = 4,    /* no other status is a success */
    PERI_SERVICE_NEEDS_TOKEN = 8, /* no request without one */
};
struct peri_service {
    const char *name; /* "cdf" */
    const struct peri_operation *operations;
    size_t count;
    const struct peri_retry_policy *retry;
    const char *prefix;                       /* before each path; {project} is the client's; NULL: none */
    const char *const *headers;               /* name, value, ..., NULL: sent with each request; NULL: none */
    bool gzip;                                /* the platform takes compressed JSON bodies */
    unsigned flags;                           /* enum peri_service_flags */
    int64_t first_byte_ms;                    /* default of that time-out; 0: the client's */
    int64_t stall_ms;                         /* the longest that no byte of a body moves; 0: none */
    const struct peri_rate_limit *rate_limit; /* of a client that has none of its own; NULL: none */
};

PERI_API const struct peri_service *peri_service_find(const char *name); /* NULL: none */
PERI_API const struct peri_operation *peri_service_operation(const struct peri_service *service, const char *name);

/* Byte streams that JSON can't carry. Readers, writers and files are taken, also on failure. All may be NULL. */
struct peri_call_streams {
    struct peri_reader *content;
    struct peri_writer *sink;
    struct peri_multipart *files; /* of an upload: only dataflux takes them */
    void (*progress)(void *data, int64_t sent, int64_t received);
    void (*uploaded)(void *data, int64_t sent, int64_t total); /* of an upload in chunks: of all of them */
    void *progress_data;                                       /* of both */
    int64_t timeout_ms;                                        /* of this operation; 0: the client's */
    struct peri_places *places;                                /* for flows: what peri_flow_places gives */
    const struct peri_signer *signer;                          /* for flows; borrowed */
};

/* Starts an operation. args: a JSON object in snake_case (borrowed; NULL: empty), whose nested values are shared until
 * the operation is done. Every operation also takes "timeout" (seconds, for all of it). Unknown names, wrong types and
 * missing required fields are PERI_INVALID at once ("cdf.functions.list: unknown option 'timout'; did you mean
 * 'timeout'?"), before anything is sent. */
PERI_API struct peri_op *peri_service_call(struct peri_client *client, const struct peri_service *service,
                                           const char *operation, const json_t *args,
                                           const struct peri_call_streams *streams, struct peri_error *err);

#ifdef __cplusplus
}
#endif

#endif
