/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>

#include "host/api/host_private.h"

static void write_failure(struct peri_json_writer *w, const char *code, const char *message, const char *trace)
{
    peri_jw_open(w, '{');
    peri_jw_opt_text(w, "code", code);
    peri_jw_key_text(w, "message", message == NULL ? "" : message);
    if (trace != NULL && trace[0] != '\0')
        peri_jw_key_text(w, "trace", trace);
}

static void write_name(struct peri_json_writer *w, const char *key, const char *external_id, uint64_t id)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, id);
    peri_jw_key_text(w, key, external_id == NULL ? digits : external_id);
}

void peri__host_function(struct peri__host *host, struct peri_json_writer *w, const struct peri_function *f)
{
    const struct peri_engine_options *settings = peri_engine_settings(host->engine);
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)f->id);
    write_name(w, "name", f->external_id, f->id);
    peri_jw_opt_text(w, "description", f->description);
    peri_jw_key_text(w, "status", peri_function_status_name(f->status));
    peri_jw_key_int(w, "version", f->version);
    peri_jw_opt_text(w, "entry", f->entry);
    peri_jw_key_text(w, "code_hash", f->code_hash);
    peri_jw_key_int(w, "code_size", f->code_size);
    peri_jw_key_int(w, "timeout_ms", f->timeout_ms > 0 ? f->timeout_ms : settings->timeout_ms);
    peri_jw_opt_int(w, "concurrency", f->concurrency);
    peri_jw_key_int(w, "attempts", f->attempts > 0 ? f->attempts : settings->max_attempts);
    peri_jw_key_int(w, "memory_limit", (int64_t)(f->memory_limit > 0 ? f->memory_limit : settings->memory_limit));
    peri_jw_key_int(w, "created_at", f->created_ms);
    peri_jw_key_int(w, "updated_at", f->updated_ms);
    peri_jw_opt_int(w, "last_called_at", f->last_called_ms);
    if (f->error_message != NULL) {
        peri_jw_key(w, "error");
        write_failure(w, NULL, f->error_message, f->error_trace);
        peri_jw_close(w, '}');
    }
    peri_jw_close(w, '}');
}

static void write_terms(struct peri_json_writer *w, const struct peri_terms *terms)
{
    peri_jw_opt_int(w, "start_at", terms->start_ms);
    peri_jw_opt_int(w, "expires_at", terms->expires_ms);
    peri_jw_opt_int(w, "queue", terms->queue);
    peri_jw_opt_int(w, "attempts", terms->attempts);
    peri_jw_opt_text(w, "idempotency_key", terms->key);
    if (!terms->retry)
        return;
    peri_jw_key(w, "retry");
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "base_ms", terms->base_ms);
    peri_jw_key_int(w, "cap_ms", terms->cap_ms);
    peri_jw_close(w, '}');
}

void peri__host_call(struct peri__host *host, struct peri_json_writer *w, const struct peri_call *call)
{
    struct peri_function *function = peri_engine_function(host->engine, call->function_id);
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)call->id);
    peri_jw_key_int(w, "function_id", (int64_t)call->function_id);
    write_name(w, "function", function == NULL ? NULL : function->external_id, call->function_id);
    peri_function_unref(function);
    peri_jw_key_int(w, "version", call->version);
    peri_jw_key_text(w, "status", peri_call_state_name(call->state));
    peri_jw_key_bool(w, "async", call->async);
    peri_jw_key_int(w, "attempt", call->attempt);
    peri_jw_opt_int(w, "schedule_id", (int64_t)call->schedule_id);
    peri_jw_key_int(w, "created_at", call->created_ms);
    peri_jw_opt_int(w, "started_at", call->start_ms);
    peri_jw_opt_int(w, "ended_at", call->end_ms);
    if (call->terms != NULL)
        write_terms(w, call->terms);
    if (call->dead)
        peri_jw_key_bool(w, "dead", true);
    if (call->end_ms > 0 && call->start_ms > 0)
        peri_jw_key_int(w, "duration_ms", call->end_ms - call->start_ms);
    if (peri_call_state_final(call->state)) {
        peri_jw_key_int(w, "cpu_us", (int64_t)call->cpu_us);
        peri_jw_key_int(w, "memory_peak", (int64_t)call->memory_peak);
    }
    if (call->error_message != NULL) {
        peri_jw_key(w, "error");
        write_failure(w, peri_code_name(call->code), call->error_message, call->error_trace);
        peri_jw_close(w, '}');
    }
    peri_jw_close(w, '}');
}

void peri__host_reply_call(struct peri__host *host, struct peri_http_req *req, const struct peri_call *call, int status)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 16 * 1024 * 1024);
    peri__host_call(host, &w, call);
    peri__host_send(req, status, &w);
}

void peri__host_line(struct peri_json_writer *w, const struct peri_log_line *line)
{
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "timestamp", line->wall_ms);
    peri_jw_key_text(w, "level", peri_log_level_name(line->level));
    peri_jw_key(w, "message");
    peri_jw_text(w, (struct peri_str){ line->text, line->len });
    peri_jw_close(w, '}');
}

void peri__host_send(struct peri_http_req *req, int status, struct peri_json_writer *w)
{
    if (w->failed) {
        peri_buf_fini(w->out);
        peri_http_reply(req, 500, "application/json",
                        peri_str_from("{\"error\":{\"code\":\"nomem\",\"message\":\"out of memory\"}}"));
        return;
    }
    peri_http_reply_take(req, status, "application/json", w->out);
}

void peri__host_error(struct peri_http_req *req, int status, const struct peri_error *err, const char *trace,
                      uint64_t call_id)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 16 * 1024 * 1024);
    peri_jw_open(&w, '{');
    peri_jw_key(&w, "error");
    write_failure(&w, peri_code_name(err->code), err->message, trace);
    peri_jw_opt_int(&w, "call_id", (int64_t)call_id);
    if (err->retry_after_ms >= 0)
        peri_jw_key_int(&w, "retry_after_ms", err->retry_after_ms);
    peri_jw_close(&w, '}');
    peri_jw_close(&w, '}');
    peri__host_send(req, status, &w);
}

void peri__host_reply_error(void *data, struct peri_http_req *req, int status, const struct peri_error *err)
{
    (void)data;
    peri__host_error(req, status, err, NULL, 0);
}
