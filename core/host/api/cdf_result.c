/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <strings.h>

#include "host/api/cdf_private.h"

/* The call of {functionId} and {callId}, referenced; NULL: the request has been answered. */
static struct peri_call *find_call(struct peri__cdf *cdf, struct peri_http_req *req, bool with_body)
{
    struct peri_function *function = peri__cdf_find(cdf, req);
    uint64_t id = function == NULL ? 0 : peri__cdf_id(req, "callId");
    struct peri_call *call = id == 0 ? NULL : peri_engine_call(cdf->engine, id, with_body, NULL);
    if (call != NULL && call->function_id != function->id) {
        peri_call_unref(call);
        call = NULL;
    }
    if (id != 0 && call == NULL) {
        json_t *missing = json_pack("[{sI}]", "id", (json_int_t)id);
        peri__cdf_error(cdf, req, 400, "Function call ids not found", "missing", missing);
        json_decref(missing);
    }
    peri_function_unref(function);
    return call;
}

void peri__cdf_call_show(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_call *call = find_call(data, req, false);
    if (call == NULL)
        return;
    peri_buf_init(&out, 1024 * 1024);
    peri__cdf_call(&w, call);
    peri__cdf_send(data, req, 200, &w);
    peri_call_unref(call);
}

/* A handler may have shaped an answer that is not JSON: this wire can only carry it as a string. */
static bool is_json(const struct peri_call *call)
{
    const char *type = call->content_type;
    if (type == NULL || type[0] == '\0')
        return true;
    if (strncasecmp(type, "application/json", 16) != 0)
        return false;
    json_t *value = peri_json_parse(peri_buf_str(&call->response), NULL);
    json_decref(value);
    return value != NULL;
}

void peri__cdf_response(void *data, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_call *call = find_call(data, req, true);
    if (call == NULL)
        return;
    peri_buf_init(&out, (size_t)256 * 1024 * 1024);
    peri_jw_open(&w, '{');
    peri_jw_key_int(&w, "callId", (int64_t)call->id);
    peri_jw_key_int(&w, "functionId", (int64_t)call->function_id);
    if (call->state == PERI_CALL_COMPLETED && call->response.len > 0) {
        peri_jw_key(&w, "response");
        if (is_json(call))
            peri_jw_raw(&w, peri_buf_str(&call->response));
        else
            peri_jw_text(&w, peri_buf_str(&call->response));
    }
    peri_jw_close(&w, '}');
    peri__cdf_send(data, req, 200, &w);
    peri_call_unref(call);
}

static void write_line(void *data, size_t index, const struct peri_log_line *line)
{
    struct peri_json_writer *w = data;
    (void)index;
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "timestamp", line->wall_ms);
    peri_jw_key(w, "message");
    peri_jw_text(w, (struct peri_str){ line->text, line->len });
    peri_jw_close(w, '}');
}

void peri__cdf_logs(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buf out;
    struct peri_json_writer w;
    struct peri_call *call = find_call(cdf, req, false);
    if (call == NULL)
        return;
    peri__cdf_open_items(&w, &out);
    if (peri_engine_log(cdf->engine, call->id, 0, write_line, &w, &err) == PERI_OK) {
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(cdf, req, 200, &w);
    } else {
        peri_buf_fini(&out);
        peri_http_reply_error(req, 0, &err);
    }
    peri_call_unref(call);
}
