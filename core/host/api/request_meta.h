/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_API_REQUEST_META_H
#define CORE_HOST_API_REQUEST_META_H

#include "host/http.h"
#include "host/model.h"

/* What a handler sees of the request as ctx.request, appended as a JSON object: method, path, query, headers
 * (lower-case names, repeated ones joined with ", ", without Authorization), content_type. */
enum peri_code peri_request_meta(const struct peri_http_req *req, struct peri_buf *out);
/* JSON for application/json, any +json, and no content type; bytes for the rest. */
enum peri_input peri_request_input(const struct peri_http_req *req);

#endif
