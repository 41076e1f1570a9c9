/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "host/size.h"

#define PAGE_MAX 1000
#define BYIDS_MAX 10000
#define HOLD_MS 1000 /* how long an answer about one running call is held back: the client's polling gets few */

/* ---- list ---- */

struct page {
    struct peri_call *calls[2 * (PAGE_MAX + 1)];
    size_t count;
};

static void take_call(void *data, const struct peri_call *call)
{
    struct page *page = data;
    struct peri_call *copy = peri_call_new();
    if (copy == NULL || page->count == sizeof page->calls / sizeof page->calls[0]) {
        peri_call_unref(copy);
        return;
    }
    copy->id = call->id;
    copy->function_id = call->function_id;
    copy->schedule_id = call->schedule_id;
    copy->scheduled_ms = call->scheduled_ms;
    copy->state = call->state;
    copy->created_ms = call->created_ms;
    copy->end_ms = call->end_ms;
    copy->error_message = call->error_message == NULL ? NULL : strdup(call->error_message);
    copy->error_trace = call->error_trace == NULL ? NULL : strdup(call->error_trace);
    page->calls[page->count++] = copy;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t left = (*(struct peri_call *const *)a)->id, right = (*(struct peri_call *const *)b)->id;
    return left < right ? 1 : left > right ? -1 : 0;
}

/* The platform's status as our states, of which it may be two. */
static size_t states_of(const char *status, int states[2])
{
    states[0] = -1;
    if (status == NULL)
        return 1;
    if (strcmp(status, "Running") == 0) {
        states[0] = PERI_CALL_RUNNING;
        states[1] = PERI_CALL_QUEUED;
        return 2;
    }
    if (strcmp(status, "Failed") == 0) {
        states[0] = PERI_CALL_FAILED;
        states[1] = PERI_CALL_CANCELLED;
        return 2;
    }
    states[0] = strcmp(status, "Completed") == 0 ? PERI_CALL_COMPLETED : PERI_CALL_TIMEOUT;
    return strcmp(status, "Completed") == 0 || strcmp(status, "Timeout") == 0 ? 1 : 0;
}

static void reply_page(struct peri__cdf *cdf, struct peri_http_req *req, const struct page *page, size_t limit)
{
    struct peri_buf out;
    struct peri_json_writer w;
    peri__cdf_open_items(&w, &out);
    for (size_t i = 0; i < page->count && i < limit; i++)
        peri__cdf_call(&w, page->calls[i]);
    peri_jw_close(&w, ']');
    if (page->count > limit) {
        char cursor[24];
        snprintf(cursor, sizeof cursor, "%" PRIu64, page->calls[limit - 1]->id);
        peri_jw_key_text(&w, "nextCursor", cursor);
    }
    peri_jw_close(&w, '}');
    peri__cdf_send(cdf, req, 200, &w);
}

static void list_calls(struct peri__cdf *cdf, struct peri_http_req *req, struct peri_call_filter *filter,
                       const char *status, size_t limit)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct page *page = calloc(1, sizeof *page);
    enum peri_code code = PERI_OK;
    int states[2];
    size_t state_count = states_of(status, states);
    if (page == NULL) {
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        return;
    }
    for (size_t i = 0; i < state_count && code == PERI_OK; i++) {
        filter->state = states[i];
        code = peri_engine_calls(cdf->engine, filter, limit + 1, take_call, page, &err);
    }
    if (code == PERI_OK) {
        qsort(page->calls, page->count, sizeof(void *), newest_first);
        reply_page(cdf, req, page, limit);
    } else {
        peri_http_reply_error(req, 0, &err);
    }
    for (size_t i = 0; i < page->count; i++)
        peri_call_unref(page->calls[i]);
    free(page);
}

static bool read_query(struct peri_http_req *req, const json_t *body, struct peri_call_filter *filter,
                       const char **status, size_t *limit)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_int_t schedule = 0;
    const char *cursor = NULL;
    const json_t *given = NULL;
    if (!peri__cdf_filter(req, body, &given) || !peri__cdf_limit(req, body, PAGE_MAX, limit))
        return false;
    if (peri_json_get_string(body, "cursor", false, &cursor, &err) != PERI_OK ||
        (cursor != NULL && !peri_number_parse(cursor, INT64_MAX, &filter->before_id)))
        return peri__cdf_refuse(req, "field 'cursor' must be the nextCursor of an earlier answer");
    if (given == NULL)
        return true;
    if (peri_json_get_string(given, "status", false, status, &err) != PERI_OK ||
        peri_json_get_integer(given, "scheduleId", false, &schedule, &err) != PERI_OK ||
        peri__cdf_range(given, "startTime", &filter->created_min, &filter->created_max, &err) != PERI_OK ||
        peri__cdf_range(given, "endTime", &filter->end_min, &filter->end_max, &err) != PERI_OK)
        return peri__cdf_refuse(req, "filter: %s", err.message);
    filter->schedule_id = schedule > 0 ? (uint64_t)schedule : 0;
    return true;
}

void peri__cdf_calls_list(void *data, struct peri_http_req *req)
{
    struct peri_function *function = peri__cdf_find(data, req);
    struct peri_call_filter filter = { .function_id = function == NULL ? 0 : function->id };
    const char *status = NULL;
    size_t limit = 0;
    json_t *body = function == NULL ? NULL : peri__cdf_body(req);
    if (body != NULL && read_query(req, body, &filter, &status, &limit))
        list_calls(data, req, &filter, status, limit);
    json_decref(body);
    peri_function_unref(function);
}

void peri__cdf_calls_list_get(void *data, struct peri_http_req *req)
{
    struct peri_function *function = peri__cdf_find(data, req);
    struct peri_call_filter filter = { .function_id = function == NULL ? 0 : function->id };
    const char *cursor = peri_http_query(req, "cursor");
    size_t limit = 0;
    if (function == NULL)
        return;
    if (!peri__cdf_query_limit(req, PAGE_MAX, &limit))
        goto out;
    if (cursor != NULL && !peri_number_parse(cursor, INT64_MAX, &filter.before_id))
        peri__cdf_refuse(req, "cursor must be the nextCursor of an earlier answer");
    else
        list_calls(data, req, &filter, NULL, limit);
out:
    peri_function_unref(function);
}

/* ---- by id ---- */

/* The call, if it is one of the function's. */
static struct peri_call *call_of(struct peri__cdf *cdf, uint64_t function_id, uint64_t id, bool with_body)
{
    struct peri_call *call = id == 0 ? NULL : peri_engine_call(cdf->engine, id, with_body, NULL);
    if (call == NULL || call->function_id == function_id)
        return call;
    peri_call_unref(call);
    return NULL;
}

static void reply_one(struct peri__cdf *cdf, struct peri_http_req *req, const struct peri_call *call)
{
    struct peri_buf out;
    struct peri_json_writer w;
    peri__cdf_open_items(&w, &out);
    peri__cdf_call(&w, call);
    peri_jw_close(&w, ']');
    peri_jw_close(&w, '}');
    peri__cdf_send(cdf, req, 200, &w);
}

struct holding {
    struct peri__cdf *cdf;
    struct peri_http_req *req;
    struct peri_call *call;
    uint64_t handle;
    struct peri_timer *timer;
};

static void holding_free(struct holding *h)
{
    peri_timer_free(h->timer);
    peri_call_unref(h->call);
    free(h);
}

static void on_end(void *data, struct peri_call *call)
{
    struct holding *h = data;
    reply_one(h->cdf, h->req, call);
    holding_free(h);
}

static void on_held(void *data)
{
    struct holding *h = data;
    peri_engine_unwatch(h->cdf->engine, h->handle);
    struct peri_call *now = peri_engine_call(h->cdf->engine, h->call->id, false, NULL);
    reply_one(h->cdf, h->req, now == NULL ? h->call : now);
    peri_call_unref(now);
    holding_free(h);
}

static void on_gone(void *data)
{
    struct holding *h = data;
    peri_engine_unwatch(h->cdf->engine, h->handle);
    holding_free(h);
}

/* true: the answer comes with the call's end, or soon. */
static bool hold(struct peri__cdf *cdf, struct peri_http_req *req, struct peri_call *call)
{
    struct holding *h = calloc(1, sizeof *h);
    if (h == NULL)
        return false;
    *h = (struct holding){ .cdf = cdf, .req = req, .call = peri_call_ref(call) };
    h->timer = peri_timer_new(peri_engine_loop(cdf->engine), on_held, h, NULL);
    struct peri_watch watch = { .end = on_end, .data = h };
    h->handle = h->timer == NULL ? 0 : peri_engine_watch(cdf->engine, call->id, &watch);
    if (h->handle == 0) {
        holding_free(h);
        return false;
    }
    peri_timer_start(h->timer, HOLD_MS);
    peri_http_on_close(req, on_gone, h);
    return true;
}

static void reply_single(struct peri__cdf *cdf, struct peri_http_req *req, uint64_t id)
{
    struct peri_call *call = peri_engine_call(cdf->engine, id, false, NULL);
    if (call != NULL && !peri_call_state_final(call->state) && hold(cdf, req, call)) {
        peri_call_unref(call);
        return;
    }
    if (call == NULL)
        peri__cdf_refuse(req, "the call's record is gone");
    else
        reply_one(cdf, req, call);
    peri_call_unref(call);
}

/* Writes the calls that are there and notes the rest. false: answered. */
static bool write_calls(struct peri__cdf *cdf, struct peri_http_req *req, uint64_t function_id, json_t *items,
                        struct peri_json_writer *w, json_t *missing)
{
    size_t index;
    json_t *item;
    json_array_foreach(items, index, item)
    {
        const json_t *id = json_object_get(item, "id");
        if (!json_is_integer(id))
            return peri__cdf_refuse(req, "items[%zu]: field 'id' must be an integer", index);
        json_int_t number = json_integer_value(id);
        struct peri_call *call = call_of(cdf, function_id, number > 0 ? (uint64_t)number : 0, false);
        if (call != NULL)
            peri__cdf_call(w, call);
        else
            json_array_append_new(missing, json_pack("{sI}", "id", number));
        peri_call_unref(call);
    }
    return true;
}

void peri__cdf_calls_byids(void *data, struct peri_http_req *req)
{
    struct peri_function *function = peri__cdf_find(data, req);
    json_t *body = function == NULL ? NULL : peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_ids(data, req, body, BYIDS_MAX);
    json_t *missing = json_array();
    struct peri_buf out;
    struct peri_json_writer w;
    peri__cdf_open_items(&w, &out);
    if (items == NULL || !write_calls(data, req, function->id, items, &w, missing)) {
        peri_buf_fini(&out);
    } else if (json_array_size(missing) > 0 && !json_is_true(json_object_get(body, "ignoreUnknownIds"))) {
        peri_buf_fini(&out);
        peri__cdf_error(data, req, 400, "Function call ids not found", "missing", missing);
    } else if (json_array_size(items) == 1 && json_array_size(missing) == 0) {
        peri_buf_fini(&out);
        reply_single(data, req, (uint64_t)json_integer_value(json_object_get(json_array_get(items, 0), "id")));
    } else {
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(data, req, 200, &w);
    }
    json_decref(missing);
    json_decref(body);
    peri_function_unref(function);
}
