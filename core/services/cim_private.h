/* SPDX-License-Identifier: MIT */
#ifndef CORE_SERVICES_CIM_PRIVATE_H
#define CORE_SERVICES_CIM_PRIVATE_H

#include "client/flow.h"
#include "perilune/cim.h"

extern const struct peri_flow_kind peri_cim__get_number;  /* generator.get_number */
extern const struct peri_flow_kind peri_cim__get_numbers; /* generator.get_numbers */
extern const struct peri_flow_kind peri_cim__upload;      /* file_upload.*, temp_file.upload */

/* The requests that only flows make. */
extern const struct peri_operation peri_cim__numgen;        /* name, count */
extern const struct peri_operation peri_cim__create;        /* parent_object_id, filename, persno, check_access */
extern const struct peri_operation peri_cim__presign;       /* file_object_id, filesize, ..., lock_id */
extern const struct peri_operation peri_cim__complete;      /* file_object_id, ..., presigned_write_urls, sha256 */
extern const struct peri_operation peri_cim__abort;         /* file_object_id, presigned_write_urls, lock_id, persno */
extern const struct peri_operation peri_cim__temp_create;   /* filename, mimetype, filesize, persno */
extern const struct peri_operation peri_cim__temp_complete; /* temp_file_id, presigned_write_urls, persno */
extern const struct peri_operation peri_cim__temp_abort;    /* the same */

/* ---- cim_presigned.c: where the chunks go ---- */
struct peri_cim__presigned {
    json_t *echo; /* what goes back to the platform: its nine keys, absent ones null; NULL: nothing to send back */
    size_t count; /* of URLs */
    int64_t chunksize;
    struct peri_headers headers; /* for every chunk */
};
void peri_cim__presigned_init(struct peri_cim__presigned *presigned);
void peri_cim__presigned_fini(struct peri_cim__presigned *presigned);
/* Reads the platform's answer (NULL: it was no JSON) for so many bytes. PERI_PROTOCOL says what is wrong with it; echo
 * is then set all the same if the answer was an object at all. */
enum peri_code peri_cim__presigned_read(struct peri_cim__presigned *presigned, const json_t *answer, int64_t size,
                                        struct peri_error *err);
/* What goes back at the end, new: with these ETags, or the platform's own if there are none (NULL). NULL: no memory. */
json_t *peri_cim__presigned_echo(const struct peri_cim__presigned *presigned, const json_t *etags);
const char *peri_cim__presigned_url(const struct peri_cim__presigned *presigned, size_t i);

/* ---- cim_chunks.c: sends them ---- */
#define PERI_CIM_CONCURRENCY_MAX 16

struct peri_cim__chunks_options {
    struct peri_client *client;
    const struct peri_retry_policy *retry;
    const struct peri_cim__presigned *presigned; /* borrowed, as the following */
    struct peri_reader *source;
    int64_t size;
    size_t concurrency;
    const char *operation;
    void (*uploaded)(void *data, int64_t sent, int64_t total);
    void *uploaded_data;
};
struct peri_op *peri_cim__chunks_new(const struct peri_cim__chunks_options *options, struct peri_error *err);
/* Of one that ended well: the ETags in the order of the chunks, "" where one had none; NULL when none had one. */
const json_t *peri_cim__chunks_etags(const struct peri_op *op);
const char *peri_cim__chunks_sha256(const struct peri_op *op); /* hexadecimal */

#endif
