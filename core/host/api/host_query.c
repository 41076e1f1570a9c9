/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "host/api/host_private.h"
#include "host/size.h"

#define ID_MAX ((UINT64_C(1) << 53) - 1)

static bool refuse(struct peri_http_req *req, const struct peri_error *err)
{
    peri_http_reply_error(req, 0, err);
    return false;
}

bool peri__host_number(struct peri_http_req *req, const char *name, uint64_t max, uint64_t *value)
{
    const char *text = peri_http_query(req, name);
    struct peri_error err;
    if (text == NULL || peri_number_parse(text, max, value))
        return true;
    peri_error_set(&err, PERI_BAD_REQUEST, "%s must be a number from 0 to %" PRIu64 ", not '%.40s'", name, max, text);
    return refuse(req, &err);
}

bool peri__host_size(struct peri_http_req *req, const char *name, uint64_t *value)
{
    const char *text = peri_http_query(req, name);
    struct peri_error err;
    if (text == NULL || peri_size_parse(text, value))
        return true;
    peri_error_set(&err, PERI_BAD_REQUEST, "%s must be a size such as 65536, 64K, 256M or 1G, not '%.40s'", name, text);
    return refuse(req, &err);
}

bool peri__host_flag(struct peri_http_req *req, const char *name, bool *value)
{
    const char *text = peri_http_query(req, name);
    struct peri_error err;
    if (text == NULL)
        return true;
    *value = strcmp(text, "true") == 0;
    if (*value || strcmp(text, "false") == 0)
        return true;
    peri_error_set(&err, PERI_BAD_REQUEST, "%s must be true or false, not '%.40s'", name, text);
    return refuse(req, &err);
}

/* A path parameter as a number; 0 when it is none. */
static uint64_t id_of(struct peri_str text)
{
    char digits[24];
    uint64_t id = 0;
    if (text.len == 0 || text.len >= sizeof digits)
        return 0;
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    return peri_number_parse(digits, ID_MAX, &id) ? id : 0;
}

struct peri_function *peri__host_find(struct peri__host *host, struct peri_http_req *req)
{
    struct peri_str name = peri_http_param(req, "name");
    uint64_t id = id_of(name);
    struct peri_function *function =
        id > 0 ? peri_engine_function(host->engine, id) : peri_engine_function_by_name(host->engine, name);
    struct peri_error err;
    if (function == NULL) {
        peri_error_set(&err, PERI_NOT_FOUND, "there is no function '%.*s'", name.len > 140 ? 140 : (int)name.len,
                       name.data);
        refuse(req, &err);
    }
    return function;
}

struct peri_call *peri__host_find_call(struct peri__host *host, struct peri_http_req *req, bool with_body)
{
    struct peri_str text = peri_http_param(req, "id");
    uint64_t id = id_of(text);
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_call *call = id == 0 ? NULL : peri_engine_call(host->engine, id, with_body, &err);
    if (call != NULL)
        return call;
    if (id == 0 || err.code == PERI_NOT_FOUND)
        peri_error_set(&err, PERI_NOT_FOUND, "there is no call '%.*s'", text.len > 40 ? 40 : (int)text.len, text.data);
    refuse(req, &err);
    return NULL;
}
