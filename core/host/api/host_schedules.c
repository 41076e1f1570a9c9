/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/host_private.h"
#include "host/cron.h"
#include "host/size.h"
#include "perilune/json.h"

/* Schedules through the host's own door. */

static void write_data(struct peri_json_writer *w, const struct peri_schedule *s)
{
    if (s->body.len && s->input == PERI_INPUT_JSON) {
        peri_jw_key(w, "data");
        peri_jw_raw(w, peri_buf_str(&s->body));
    }
}

static void write_schedule(struct peri__host *host, struct peri_json_writer *w, const struct peri_schedule *s,
                           bool with_data)
{
    struct peri_function *function = peri_engine_function(host->engine, s->function_id);
    struct peri_buf when;
    char id[24];
    peri_buf_init(&when, 64 * 1024);
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "id", (int64_t)s->id);
    snprintf(id, sizeof id, "%" PRIu64, s->id);
    peri_jw_key_text(w, "name", s->external_id ? s->external_id : id);
    peri_jw_key_int(w, "function_id", (int64_t)s->function_id);
    snprintf(id, sizeof id, "%" PRIu64, s->function_id);
    peri_jw_key_text(w, "function", function && function->external_id ? function->external_id : id);
    peri_jw_opt_text(w, "description", s->description);
    peri_jw_key_text(w, "cron", s->cron);
    if (peri_cron_text(peri_str_from(s->cron), &when) == PERI_OK)
        peri_jw_opt_text(w, "when", when.data);
    peri_jw_key_text(w, "timezone", s->timezone);
    peri_jw_key_text(w, "missed", peri_missed_name(s->missed));
    peri_jw_key_text(w, "overlap", peri_overlap_name(s->overlap));
    peri_jw_key_bool(w, "paused", s->paused);
    if (with_data)
        write_data(w, s);
    peri_jw_key_int(w, "created_at", s->created_ms);
    peri_jw_key_int(w, "updated_at", s->updated_ms);
    peri_jw_opt_int(w, "last_at", s->last_ms);
    peri_jw_opt_int(w, "next_at", s->next_ms);
    peri_jw_close(w, '}');
    peri_buf_fini(&when);
    peri_function_unref(function);
}

static void reply_schedule(struct peri__host *host, struct peri_http_req *req, const struct peri_schedule *schedule,
                           int status)
{
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    peri_buf_init(&out, 256 * 1024 * 1024);
    write_schedule(host, &w, schedule, true);
    peri__host_send(req, status, &w);
}

/* The schedule that the path names; NULL: the request has been answered. */
static struct peri_schedule *find(struct peri__host *host, struct peri_http_req *req)
{
    struct peri_str name = peri_http_param(req, "name");
    char digits[24];
    uint64_t id = 0;
    snprintf(digits, sizeof digits, "%.*s", name.len < 24 ? (int)name.len : 0, name.data);
    struct peri_schedule *schedule = peri_number_parse(digits, (UINT64_C(1) << 53) - 1, &id) && id
                                         ? peri_engine_schedule(host->engine, id)
                                         : peri_engine_schedule_by_name(host->engine, name);
    if (!schedule) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOT_FOUND, "there is no schedule '%.*s'", name.len > 140 ? 140 : (int)name.len,
                       name.data);
        peri_http_reply_error(req, 0, &err);
    }
    return schedule;
}

/* ---- changing ---- */

/* A change under way. req is NULL once its peer has gone: the work goes on. */
struct job {
    struct peri__host *host;
    struct peri_http_req *req;
    int status;
};

static void on_gone(void *data)
{
    ((struct job *)data)->req = NULL;
}

static struct job *job_new(struct peri__host *host, struct peri_http_req *req, int status)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        return NULL;
    }
    *job = (struct job){ host, req, status };
    peri_http_on_close(req, on_gone, job);
    return job;
}

static void on_changed(void *data, struct peri_schedule *schedule, const struct peri_error *err)
{
    struct job *job = data;
    if (job->req && err)
        peri_http_reply_error(job->req, 0, err);
    else if (job->req)
        reply_schedule(job->host, job->req, schedule, job->status);
    free(job);
}

static bool check_name(struct peri_str name, struct peri_error *err)
{
    bool digits = true, good = name.len >= 1 && name.len <= 140;
    for (size_t i = 0; good && i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        bool digit = c >= '0' && c <= '9';
        digits = digits && digit;
        good = digit || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
    }
    if (!good)
        peri_error_set(err, PERI_BAD_REQUEST,
                       "a schedule's name has 1 to 140 characters, each a letter, a digit, '.', '_' or '-'");
    else if (digits)
        peri_error_set(err, PERI_BAD_REQUEST, "a schedule's name can't be all digits: that would be an id");
    return good && !digits;
}

static const char *const keys[] = {
    "function", "cron", "timezone", "data", "description", "missed", "overlap", "paused"
};

static bool check_keys(const json_t *body, struct peri_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, key, value)
    {
        bool known = false, text = strcmp(key, "data") != 0 && strcmp(key, "paused") != 0;
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            known = known || !strcmp(key, keys[i]);
        if (!known) {
            peri_error_set(err, PERI_BAD_REQUEST,
                           "a schedule has no '%.60s'; there are function, cron, timezone, data, description, missed,"
                           " overlap and paused",
                           key);
            return false;
        }
        if (text ? !json_is_string(value) : !strcmp(key, "paused") && !json_is_boolean(value)) {
            peri_error_set(err, PERI_BAD_REQUEST, "%s must be %s", key, text ? "a string" : "true or false");
            return false;
        }
    }
    return true;
}

static bool read_policies(const json_t *body, struct peri_schedule *spec, struct peri_error *err)
{
    const char *missed = json_string_value(json_object_get(body, "missed"));
    const char *overlap = json_string_value(json_object_get(body, "overlap"));
    if (missed && !peri_missed_parse(missed, &spec->missed)) {
        peri_error_set(err, PERI_BAD_REQUEST, "missed must be skip, once or all, not '%.40s'", missed);
        return false;
    }
    if (overlap && !peri_overlap_parse(overlap, &spec->overlap)) {
        peri_error_set(err, PERI_BAD_REQUEST, "overlap must be allow, skip or queue, not '%.40s'", overlap);
        return false;
    }
    spec->paused = json_is_true(json_object_get(body, "paused"));
    return true;
}

static bool read_function(struct peri__host *host, const json_t *body, struct peri_schedule *spec,
                          struct peri_error *err)
{
    const char *name = json_string_value(json_object_get(body, "function"));
    uint64_t id = 0;
    if (!name) {
        peri_error_set(err, PERI_BAD_REQUEST, "a schedule needs a function");
        return false;
    }
    struct peri_function *function = peri_number_parse(name, (UINT64_C(1) << 53) - 1, &id) && id
                                         ? peri_engine_function(host->engine, id)
                                         : peri_engine_function_by_name(host->engine, peri_str_from(name));
    if (!function) {
        peri_error_set(err, PERI_NOT_FOUND, "there is no function '%.140s'", name);
        return false;
    }
    spec->function_id = function->id;
    peri_function_unref(function);
    return true;
}

static bool set_text(char **field, const json_t *body, const char *key)
{
    const char *text = json_string_value(json_object_get(body, key));
    *field = text ? strdup(text) : NULL;
    return !text || *field;
}

static bool read_spec(struct peri__host *host, struct peri_http_req *req, struct peri_schedule *spec,
                      struct peri_error *err)
{
    struct peri_str name = peri_http_param(req, "name");
    json_t *body = check_name(name, err) ? peri_json_parse(peri_http_body(req), err) : NULL;
    bool good = body != NULL;
    if (body && !json_is_object(body)) {
        peri_error_set(err, PERI_BAD_REQUEST, "a schedule is a JSON object");
        good = false;
    }
    good = good && check_keys(body, err) && read_policies(body, spec, err) && read_function(host, body, spec, err);
    const char *description = json_string_value(json_object_get(body, "description"));
    if (good && description && strlen(description) > 500) {
        peri_error_set(err, PERI_BAD_REQUEST, "a description has at most 500 bytes");
        good = false;
    }
    if (good) {
        const json_t *data = json_object_get(body, "data");
        spec->external_id = peri_str_dup(name);
        spec->name = peri_str_dup(name);
        good = spec->external_id && spec->name && set_text(&spec->cron, body, "cron") &&
               set_text(&spec->timezone, body, "timezone") && set_text(&spec->description, body, "description") &&
               (!data || peri_json_write(data, &spec->body, err) == PERI_OK);
        if (!good && !err->code)
            peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    if (!good && err->code == PERI_JSON)
        err->code = PERI_BAD_REQUEST;
    json_decref(body);
    return good;
}

void peri__host_schedule_put(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_schedule *spec = peri_schedule_new(), *known = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    bool create = false;
    if (!spec)
        peri_error_set(&err, PERI_NOMEM, "out of memory");
    if (!spec || !read_spec(host, req, spec, &err)) {
        peri_http_reply_error(req, 0, &err);
    } else if (peri__host_flag(req, "create", &create)) {
        known = peri_engine_schedule_by_name(host->engine, peri_str_from(spec->external_id));
        struct job *job = job_new(host, req, known ? 200 : 201);
        if (job)
            peri_engine_schedule_put(host->engine, spec, !create, on_changed, job);
    }
    peri_schedule_unref(known);
    peri_schedule_unref(spec);
}

static void set_paused(struct peri__host *host, struct peri_http_req *req, bool paused)
{
    struct peri_schedule *schedule = find(host, req);
    struct job *job = schedule ? job_new(host, req, 200) : NULL;
    if (job)
        peri_engine_schedule_pause(host->engine, schedule->id, paused, on_changed, job);
    peri_schedule_unref(schedule);
}

void peri__host_schedule_pause(void *data, struct peri_http_req *req)
{
    set_paused(data, req, true);
}

void peri__host_schedule_resume(void *data, struct peri_http_req *req)
{
    set_paused(data, req, false);
}

static void on_deleted(void *data, const struct peri_error *err)
{
    struct job *job = data;
    if (job->req && err)
        peri_http_reply_error(job->req, 0, err);
    else if (job->req)
        peri_http_reply(job->req, 200, "application/json", peri_str_from("{}"));
    free(job);
}

void peri__host_schedule_delete(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_schedule *schedule = find(host, req);
    struct job *job = schedule ? job_new(host, req, 200) : NULL;
    if (job)
        peri_engine_schedule_delete(host->engine, schedule->id, on_deleted, job);
    peri_schedule_unref(schedule);
}

/* ---- reading ---- */

struct listing {
    struct peri__host *host;
    struct peri_json_writer w;
    uint64_t limit, before, function_id;
};

static bool list_one(void *data, struct peri_schedule *schedule)
{
    struct listing *list = data;
    if (list->limit == 0)
        return false;
    if ((list->before && schedule->id >= list->before) ||
        (list->function_id && schedule->function_id != list->function_id))
        return true;
    list->limit--;
    write_schedule(list->host, &list->w, schedule, false);
    return true;
}

static void begin_items(struct peri_json_writer *w, struct peri_buf *out)
{
    peri_buf_init(out, 256 * 1024 * 1024);
    peri_jw_open(w, '{');
    peri_jw_key(w, "items");
    peri_jw_open(w, '[');
}

static void send_items(struct peri_http_req *req, struct peri_json_writer *w)
{
    peri_jw_close(w, ']');
    peri_jw_close(w, '}');
    peri__host_send(req, 200, w);
}

void peri__host_schedules(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_buf out;
    struct listing list = { .host = host, .w = { .out = &out }, .limit = 100 };
    const char *name = peri_http_query(req, "function");
    uint64_t id = 0;
    if (!peri__host_number(req, "limit", 10000, &list.limit) ||
        !peri__host_number(req, "before_id", INT64_MAX, &list.before))
        return;
    if (name) {
        struct peri_function *function = peri_number_parse(name, (UINT64_C(1) << 53) - 1, &id) && id
                                             ? peri_engine_function(host->engine, id)
                                             : peri_engine_function_by_name(host->engine, peri_str_from(name));
        list.function_id = function ? function->id : UINT64_MAX;
        peri_function_unref(function);
    }
    begin_items(&list.w, &out);
    peri_engine_each_schedule(host->engine, list_one, &list);
    send_items(req, &list.w);
}

void peri__host_schedule_show(void *data, struct peri_http_req *req)
{
    struct peri_schedule *schedule = find(data, req);
    if (schedule)
        reply_schedule(data, req, schedule, 200);
    peri_schedule_unref(schedule);
}

void peri__host_schedule_next(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    uint64_t n = 10;
    uint64_t after = (uint64_t)peri_clock_wall_ms(peri_loop_clock(peri_engine_loop(host->engine)));
    if (!peri__host_number(req, "n", 1000, &n) || !peri__host_number(req, "after", INT64_C(253402300799999), &after))
        return;
    struct peri_schedule *schedule = find(host, req);
    if (!schedule)
        return;
    begin_items(&w, &out);
    int64_t at = (int64_t)after;
    for (; n > 0 && (at = peri_engine_schedule_next(host->engine, schedule->id, at)) >= 0; n--)
        peri_jw_int(&w, at);
    send_items(req, &w);
    peri_schedule_unref(schedule);
}

static void write_tick(void *data, const struct peri_tick *tick)
{
    struct peri_json_writer *w = data;
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "scheduled_at", tick->scheduled_ms);
    peri_jw_key_int(w, "ticked_at", tick->at_ms);
    peri_jw_key_text(w, "outcome", peri_tick_outcome_name(tick->outcome));
    peri_jw_opt_int(w, "call_id", (int64_t)tick->call_id);
    if (tick->reason[0])
        peri_jw_key_text(w, "reason", tick->reason);
    peri_jw_close(w, '}');
}

void peri__host_schedule_ticks(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    struct peri_error err = PERI_ERROR_INIT;
    uint64_t limit = 100, before = 0;
    if (!peri__host_number(req, "limit", 10000, &limit) ||
        !peri__host_number(req, "before", INT64_C(253402300799999), &before))
        return;
    struct peri_schedule *schedule = find(host, req);
    if (!schedule)
        return;
    begin_items(&w, &out);
    if (peri_engine_ticks(host->engine, schedule->id, (int64_t)before, (size_t)limit, write_tick, &w, &err) ==
        PERI_OK) {
        send_items(req, &w);
    } else {
        peri_buf_fini(&out);
        peri_http_reply_error(req, 0, &err);
    }
    peri_schedule_unref(schedule);
}
