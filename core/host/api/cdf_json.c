/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/api/cdf_private.h"

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

void peri__cdf_send_empty(struct peri__cdf *cdf, struct peri_http_req *req)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 64);
    peri_jw_open(&w, '{');
    peri_jw_close(&w, '}');
    peri__cdf_send(cdf, req, 200, &w);
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

void peri__cdf_open_items(struct peri_json_writer *w, struct peri_buf *out)
{
    *w = (struct peri_json_writer){ .out = out };
    peri_buf_init(out, ANSWER_MAX);
    peri_jw_open(w, '{');
    peri_jw_key(w, "items");
    peri_jw_open(w, '[');
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
