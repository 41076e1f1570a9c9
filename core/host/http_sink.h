/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_HTTP_SINK_H
#define CORE_HOST_HTTP_SINK_H

#include "host/http.h"

/* Where a body that goes to a file is written and hashed: in blocks, by two jobs of the thread pool that each go from block
 * to block by themselves, while the next ones come in.
 * A small body is dealt with at once. */
struct peri__sink;

/* target NULL: a new temporary file in the server's folder, removed at the end unless it was renamed; else copied.
 * whole_blocks_now: nothing goes to the thread pool (for what can't be asked to wait). */
enum peri_code peri__sink_new(struct peri_http_req *req, const struct peri_http_target *target, bool whole_blocks_now,
                              struct peri__sink **out, struct peri_error *err);
/* Takes what there is room for away from the front of bytes. When something is left, peri__http_resume is called once
 * there is room again. PERI_IO: the file could not be written. */
enum peri_code peri__sink_put(struct peri__sink *sink, struct peri_str *bytes, struct peri_error *err);
/* All was given: whether all is written. false: peri__http_resume is called when it is. */
bool peri__sink_settled(struct peri__sink *sink);
/* Once it is settled: the digest in hexadecimal digits. */
enum peri_code peri__sink_finish(struct peri__sink *sink, char *hex, size_t size, struct peri_error *err);
const char *peri__sink_path(const struct peri__sink *sink); /* of the temporary file; NULL with a target */
void *peri__sink_data(const struct peri__sink *sink);       /* of its target */
/* The request has ended; what is at work ends first. NULL is a no-op. */
void peri__sink_release(struct peri__sink *sink);
void peri__sink_room(struct peri_http *http);        /* a job has made room, and said so from its thread */
void peri__sink_sweep(struct peri_http *http);       /* closes connections whose body broke off */
void peri__sink_abandon_all(struct peri_http *http); /* the server ends: waits for what is at work */

#endif
