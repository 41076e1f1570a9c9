/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_API_OBJECT_REPLY_H
#define CORE_HOST_API_OBJECT_REPLY_H

#include "host/access.h"
#include "host/http.h"

/* Answers with a file object's content, for any door. */
void peri_reply_object(struct peri_engine *engine, struct peri_http_req *req, const struct peri_file_object *object);

#endif
