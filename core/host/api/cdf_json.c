/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "host/size.h"

#define ANSWER_MAX ((size_t)256 * 1024 * 1024)

/* ---- answers ---- */

static void set_request_id(struct peri__cdf *cdf, struct peri_http_req *req)
{
    char id[48];
    snprintf(id, sizeof id, "%016" PRIx64 "-%" PRIu64, cdf->request_prefix, ++cdf->request_count);
    peri_http_set_header(req, "x-request-id", id);
}

void peri__cdf_send(struct peri__cdf *cdf, struct peri_http_req *req, int status, struct peri_json_writer *w)
{
    set_request_id(cdf, req);
    if (w->failed) {
        peri_buf_fini(w->out);
        peri_http_reply(req, 500, "application/json",
                        peri_str_from("{\"error\":{\"code\":500,\"message\":\"out of memory\"}}"));
        return;
    }
    peri_http_reply_take(req, status, "application/json", w->out);
}

void peri__cdf_error(struct peri__cdf *cdf, struct peri_http_req *req, int status, const char *message,
                     const char *what, const json_t *list)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, ANSWER_MAX);
    peri_jw_open(&w, '{');
    peri_jw_key(&w, "error");
    peri_jw_open(&w, '{');
    peri_jw_key_int(&w, "code", status);
    peri_jw_key_text(&w, "message", message);
    if (what != NULL) {
        peri_jw_key(&w, what);
        if (peri_json_write(list, &out, NULL) != PERI_OK)
            w.failed = true;
        w.comma = true;
    }
    peri_jw_close(&w, '}');
    peri_jw_close(&w, '}');
    peri__cdf_send(cdf, req, status, &w);
}

void peri__cdf_reply_error(void *data, struct peri_http_req *req, int status, const struct peri_error *err)
{
    peri__cdf_error(data, req, status, err->message, NULL, NULL);
}

bool peri__cdf_refuse(struct peri_http_req *req, const char *format, ...)
{
    struct peri_error err;
    va_list args;
    va_start(args, format);
    peri_error_setv(&err, PERI_BAD_REQUEST, format, args);
    va_end(args);
    peri_http_reply_error(req, 400, &err);
    return false;
}

void peri__cdf_open_items(struct peri_json_writer *w, struct peri_buf *out)
{
    *w = (struct peri_json_writer){ .out = out };
    peri_buf_init(out, ANSWER_MAX);
    peri_jw_open(w, '{');
    peri_jw_key(w, "items");
    peri_jw_open(w, '[');
}

/* ---- what is asked ---- */

json_t *peri__cdf_body(struct peri_http_req *req)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_t *body = peri_json_parse(peri_http_body(req), &err);
    if (json_is_object(body))
        return body;
    if (body == NULL)
        peri__cdf_refuse(req, "the body is not JSON: %s", err.message);
    else
        peri__cdf_refuse(req, "the body must be a JSON object");
    json_decref(body);
    return NULL;
}

json_t *peri__cdf_items(struct peri_http_req *req, const json_t *body, size_t max)
{
    json_t *items = json_object_get(body, "items");
    size_t index;
    json_t *item;
    if (!json_is_array(items) || json_array_size(items) < 1 || json_array_size(items) > max) {
        peri__cdf_refuse(req, "field 'items' must be an array of 1 to %zu", max);
        return NULL;
    }
    json_array_foreach(items, index, item)
    {
        if (json_is_object(item))
            continue;
        peri__cdf_refuse(req, "items[%zu] must be an object", index);
        return NULL;
    }
    return items;
}

uint64_t peri__cdf_id(struct peri_http_req *req, const char *name)
{
    struct peri_str text = peri_http_param(req, name);
    char digits[24] = "";
    uint64_t id = 0;
    if (text.len > 0 && text.len < sizeof digits)
        memcpy(digits, text.data, text.len);
    if (!peri_number_parse(digits, (UINT64_C(1) << 53) - 1, &id) || id == 0) {
        peri__cdf_refuse(req, "'%.*s' in the path is not an id", text.len > 40 ? 40 : (int)text.len, text.data);
        return 0;
    }
    return id;
}

/* Past a string or a number, or a whole object or array. The text is known to be valid. */
static const char *skip_value(const char *at, const char *end)
{
    int depth = 0;
    bool string = false;
    for (; at < end; at++) {
        if (string) {
            if (*at == '\\') {
                at++;
                continue;
            }
            string = *at != '"';
            if (!string && depth == 0)
                return at + 1;
            continue;
        }
        if (depth == 0 && (*at == ',' || *at == '}' || *at == ']'))
            return at;
        string = *at == '"';
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        if (depth == 0 && (*at == '}' || *at == ']'))
            return at + 1;
    }
    return end;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

struct peri_str peri__cdf_raw_field(struct peri_str object, const char *key)
{
    const char *end = object.data + object.len;
    const char *at = skip_blanks(object.data, end);
    struct peri_str found = { "", 0 };
    size_t len = strlen(key);
    while (at < end && *at != '}') {
        const char *name = skip_blanks(at + 1, end); /* behind { or , */
        if (name == end || *name != '"')
            break;
        const char *colon = skip_value(name, end);
        bool same = (size_t)(colon - name) == len + 2 && memcmp(name + 1, key, len) == 0;
        const char *value = skip_blanks(skip_blanks(colon, end) + 1, end);
        at = skip_value(value, end);
        const char *last = at;
        while (last > value && strchr(" \t\r\n", last[-1]) != NULL)
            last--;
        if (same)
            found = (struct peri_str){ value, (size_t)(last - value) };
        at = skip_blanks(at, end);
    }
    return found;
}

/* ---- objects ---- */

static void write_error(struct peri_json_writer *w, const char *message, const char *trace)
{
    peri_jw_key(w, "error");
    peri_jw_open(w, '{');
    peri_jw_key_text(w, "message", message);
    if (trace != NULL && trace[0] != '\0')
        peri_jw_key_text(w, "trace", trace);
    peri_jw_close(w, '}');
}

void peri__cdf_function(struct peri_json_writer *w, const struct peri_function *f)
{
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)f->id);
    peri_jw_key_int(w, "createdTime", f->created_ms);
    peri_jw_key_text(w, "name", f->name == NULL ? "" : f->name);
    peri_jw_key_text(w, "status", peri_function_status_name(f->status));
    peri_jw_key_int(w, "fileId", (int64_t)f->file_id);
    peri_jw_opt_text(w, "externalId", f->external_id);
    peri_jw_opt_text(w, "description", f->description);
    peri_jw_opt_text(w, "owner", f->owner);
    const char *runtime = f->runtime == NULL ? "" : f->runtime;
    size_t runtime_len = strcspn(runtime, " ");
    bool kept = runtime[runtime_len] == ' '; /* the path as given is behind it */
    peri_jw_opt_text(w, "functionPath", kept ? runtime + runtime_len + 1 : f->entry);
    peri_jw_opt_raw(w, "secrets", f->secret_names);
    peri_jw_opt_raw(w, "envVars", f->env);
    peri_jw_opt_raw(w, "metadata", f->metadata);
    if (f->cpu > 0) {
        peri_jw_key(w, "cpu");
        peri_jw_real(w, f->cpu);
    }
    if (f->memory_gb > 0) {
        peri_jw_key(w, "memory");
        peri_jw_real(w, f->memory_gb);
    }
    if (runtime_len > 0) {
        peri_jw_key(w, "runtime");
        peri_jw_text(w, (struct peri_str){ runtime, runtime_len });
    }
    peri_jw_key_text(w, "runtimeVersion", "Lua 5.4");
    if (f->error_message != NULL)
        write_error(w, f->error_message, f->error_trace);
    peri_jw_opt_int(w, "lastCalled", f->last_called_ms);
    peri_jw_close(w, '}');
}

static const char *call_status(enum peri_call_state state)
{
    switch (state) {
    case PERI_CALL_COMPLETED:
        return "Completed";
    case PERI_CALL_FAILED:
    case PERI_CALL_CANCELLED:
        return "Failed";
    case PERI_CALL_TIMEOUT:
        return "Timeout";
    default:
        return "Running"; /* a queued call too: the platform has no other word */
    }
}

void peri__cdf_call(struct peri_json_writer *w, const struct peri_call *call)
{
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)call->id);
    peri_jw_key_text(w, "status", call_status(call->state));
    peri_jw_key_int(w, "startTime", call->created_ms); /* the same from the first answer on, also while it waits */
    peri_jw_opt_int(w, "endTime", call->end_ms);
    peri_jw_opt_int(w, "scheduledTime", call->scheduled_ms);
    peri_jw_opt_int(w, "scheduleId", (int64_t)call->schedule_id);
    peri_jw_key_int(w, "functionId", (int64_t)call->function_id);
    if (call->error_message != NULL)
        write_error(w, call->error_message, call->error_trace);
    peri_jw_close(w, '}');
}

void peri__cdf_file(struct peri_json_writer *w, const struct peri_file *file, const char *upload_url)
{
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)file->id);
    peri_jw_opt_text(w, "externalId", file->external_id);
    peri_jw_key_text(w, "name", file->name == NULL ? "" : file->name);
    peri_jw_opt_text(w, "mimeType", file->mime_type);
    peri_jw_key_bool(w, "uploaded", file->uploaded);
    peri_jw_key_int(w, "createdTime", file->created_ms);
    peri_jw_key_int(w, "lastUpdatedTime", file->updated_ms);
    peri_jw_opt_int(w, "uploadedTime", file->uploaded_ms);
    peri_jw_opt_text(w, "uploadUrl", upload_url);
    peri_jw_close(w, '}');
}
