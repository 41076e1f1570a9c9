/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "host/api/cdf_private.h"
#include "perilune/hash.h"
#include "perilune/uri.h"

/* ---- OAuth client credentials: the client's secret is the host's token, and so is the access token ---- */

bool peri__cdf_is_token(const struct peri__cdf *cdf, struct peri_str secret)
{
    return peri_constant_time_equal(secret, peri_str_from(cdf->token));
}

static void reply_oauth_error(struct peri__cdf *cdf, struct peri_http_req *req, int status, const char *code,
                              const char *description)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 4096);
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "error", code);
    peri_jw_key_text(&w, "error_description", description);
    peri_jw_close(&w, '}');
    peri_http_set_header(req, "Cache-Control", "no-store");
    peri__cdf_send(cdf, req, status, &w);
}

/* A field of a form, decoded into out; false when it is absent or badly encoded. */
static bool form_field(struct peri_str form, const char *name, struct peri_buf *out)
{
    size_t len = strlen(name);
    const char *at = form.data, *end = form.data + form.len;
    peri_buf_clear(out);
    while (at < end) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        const char *stop = next == NULL ? end : next;
        if ((size_t)(stop - at) > len && memcmp(at, name, len) == 0 && at[len] == '=')
            return peri_uri_decode(out, (struct peri_str){ at + len + 1, (size_t)(stop - at) - len - 1 }, true) ==
                   PERI_OK;
        at = next == NULL ? end : next + 1;
    }
    return false;
}

static void reply_token(struct peri__cdf *cdf, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 65536);
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "access_token", cdf->token);
    peri_jw_key_int(&w, "expires_in", 3600);
    peri_jw_key_text(&w, "token_type", "Bearer");
    peri_jw_close(&w, '}');
    peri_http_set_header(req, "Cache-Control", "no-store");
    peri__cdf_send(cdf, req, 200, &w);
}

void peri__cdf_token(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_str form = peri_http_body(req);
    struct peri_buf value;
    peri_buf_init(&value, 65536);
    if (!form_field(form, "grant_type", &value) ||
        !peri_str_equal(peri_buf_str(&value), peri_str_from("client_credentials")))
        reply_oauth_error(cdf, req, 400, "unsupported_grant_type", "grant_type must be client_credentials");
    else if (!form_field(form, "client_secret", &value) || !peri__cdf_is_token(cdf, peri_buf_str(&value)))
        reply_oauth_error(cdf, req, 401, "invalid_client", "client_secret must be this host's token");
    else
        reply_token(cdf, req);
    if (value.data != NULL)
        peri_secure_zero(value.data, value.cap);
    peri_buf_fini(&value);
}

/* There is one space of functions, whatever a client calls its project. */
void peri__cdf_inspect(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 4096);
    peri_jw_raw(&w, peri_str_from("{\"subject\":\"perilune\",\"projects\":[{\"projectUrlName\":\"default\",\"groups\":"
                                  "[]}],\"capabilities\":[]}"));
    peri__cdf_send(data, req, 200, &w);
}
