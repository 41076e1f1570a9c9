/* SPDX-License-Identifier: MIT */
#include "perilune/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client_private.h"
#include "client/flow.h"
#include "client/service_private.h"
#include "perilune/json.h"
#include "perilune/uri.h"

#define GZIP_FROM 1024

/* A request under construction from a table's line and a call's options. */
struct draft {
    struct peri_client *client;
    const struct peri_service *service;
    const struct peri_operation *operation;
    const json_t *args;
    struct peri_buf url;
    struct peri_headers headers;
    json_t *body;
    struct peri_reader *content;
    struct peri_multipart *files; /* that no table sends */
};

static const char *wire_name(const struct peri_field *field)
{
    return field->wire ? field->wire : field->name;
}

/* A value as text, for paths, queries and headers. */
static enum peri_code write_scalar(const json_t *value, struct peri_buf *out, struct peri_error *err)
{
    if (json_is_string(value))
        return peri_buf_append(out, json_string_value(value), json_string_length(value));
    if (json_is_boolean(value))
        return peri_buf_append_text(out, json_is_true(value) ? "true" : "false");
    if (!json_is_object(value) && !json_is_array(value))
        return peri_json_write(value, out, err);
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII);
    enum peri_code code = text ? peri_buf_append_text(out, text) : PERI_NOMEM;
    free(text);
    return code;
}

static enum peri_code fill_placeholder(struct draft *draft, struct peri_str name, struct peri_error *err)
{
    static const char project[] = "project";
    struct peri_buf text;
    peri_buf_init(&text, 4096);
    enum peri_code code = PERI_INVALID;
    const struct peri_operation *operation = draft->operation;
    for (size_t i = 0; i < operation->field_count; i++) {
        const struct peri_field *field = &operation->fields[i];
        if (field->place != PERI_IN_PATH || !peri_str_equal(peri_str_from(wire_name(field)), name))
            continue;
        const json_t *value = peri__service_given(field, draft->args);
        if (!value)
            code = peri_error_set(err, PERI_INVALID, "option '%s' is required", field->name);
        else if ((code = write_scalar(value, &text, err)) == PERI_OK && text.len == 0)
            code = peri_error_set(err, PERI_INVALID, "option '%s' must not be empty", field->name);
        break;
    }
    if (peri_str_equal(peri_str_from(project), name)) {
        const char *given = peri_client_project(draft->client);
        code = given && given[0] ? peri_buf_append_text(&text, given)
                                 : peri_error_set(err, PERI_INVALID, "the client needs a project");
    }
    if (code == PERI_OK && (peri_str_equal(peri_buf_str(&text), peri_str_from(".")) ||
                            peri_str_equal(peri_buf_str(&text), peri_str_from(".."))))
        code = peri_error_set(err, PERI_INVALID, "'%s' can't be a part of a path", text.data);
    if (code == PERI_OK)
        code = peri_uri_encode(&draft->url, peri_buf_str(&text), NULL);
    peri_buf_fini(&text);
    return code;
}

static enum peri_code expand_path(struct draft *draft, const char *path, struct peri_error *err)
{
    enum peri_code code = PERI_OK;
    while (path && *path && code == PERI_OK) {
        size_t plain = strcspn(path, "{");
        code = peri_buf_append(&draft->url, path, plain);
        path += plain;
        const char *end = *path ? strchr(path, '}') : NULL;
        if (code != PERI_OK || !end)
            break;
        code = fill_placeholder(draft, (struct peri_str){ path + 1, (size_t)(end - path - 1) }, err);
        path = end + 1;
    }
    return code;
}

/* The value to send for a field, new; NULL with PERI_OK in *code: nothing. */
static json_t *value_to_send(const struct peri_field *field, const json_t *args, enum peri_code *code,
                             struct peri_error *err)
{
    const json_t *given = peri__service_given(field, args);
    *code = PERI_OK;
    json_t *value = NULL;
    if (!given && field->initial) {
        value = peri_json_parse(peri_str_from(field->initial), err);
    } else if (!given) {
        return NULL;
    } else if (field->type == PERI_LIMIT) {
        json_int_t limit = json_integer_value(given); /* null: 0 */
        value = json_integer(limit < 1 || limit > field->maximum ? field->maximum : limit);
    } else if (field->type == PERI_NUMBER) {
        value = json_real(json_number_value(given));
    } else if (field->type == PERI_ARRAY && json_is_object(given)) {
        value = json_array();
    } else if (field->type == PERI_OBJECT && json_is_array(given)) {
        value = json_object();
    } else {
        value = json_incref((json_t *)given);
    }
    if (!value)
        *code = peri_error_set(err, PERI_NOMEM, "out of memory");
    return value;
}

static enum peri_code add_to_query(struct draft *draft, const struct peri_field *field, const json_t *value,
                                   struct peri_error *err)
{
    struct peri_buf text;
    peri_buf_init(&text, 64 * 1024);
    enum peri_code code = write_scalar(value, &text, err);
    if (code == PERI_OK)
        code = draft->service->flags & PERI_SERVICE_FORM_QUERY
                   ? peri_uri_add_form(&draft->url, wire_name(field), peri_buf_str(&text))
                   : peri_uri_add_query(&draft->url, wire_name(field), peri_buf_str(&text));
    peri_buf_fini(&text);
    return code;
}

static enum peri_code add_to_headers(struct draft *draft, const struct peri_field *field, const json_t *value,
                                     struct peri_error *err)
{
    struct peri_buf text;
    peri_buf_init(&text, PERI_HEADERS_MAX_BYTES);
    enum peri_code code = write_scalar(value, &text, err);
    if (code == PERI_OK && memchr(text.data ? text.data : "", '\0', text.len))
        code = PERI_INVALID;
    if (code == PERI_OK)
        code = peri_headers_set(&draft->headers, wire_name(field), text.data ? text.data : "");
    if (code == PERI_INVALID)
        peri_error_set(err, code, "option '%s' holds characters that a header can't carry", field->name);
    peri_buf_fini(&text);
    return code;
}

/* The object that members of the body go into. */
static json_t *body_members(struct draft *draft, bool filter)
{
    if (!draft->body)
        draft->body = draft->operation->body == PERI_BODY_ITEMS1 ? json_pack("{s:[{}]}", "items") : json_object();
    json_t *members = draft->body;
    if (draft->operation->body == PERI_BODY_ITEMS1)
        members = json_array_get(json_object_get(draft->body, "items"), 0);
    if (!filter)
        return members;
    json_t *inner = json_object_get(members, "filter");
    if (!inner && json_object_set_new(members, "filter", json_object()) == 0)
        inner = json_object_get(members, "filter");
    return inner;
}

static enum peri_code add_content(struct draft *draft, const struct peri_field *field, const json_t *value,
                                  struct peri_error *err)
{
    struct peri_buf text;
    const char *type = "application/octet-stream";
    if (draft->content)
        return peri_error_set(err, PERI_INVALID, "option '%s' is one source of the body too many", field->name);
    if (field->type == PERI_STREAM) {
        struct peri_str bytes = { json_string_value(value), json_string_length(value) };
        draft->content = peri_reader_memory(bytes, err);
    } else {
        peri_buf_init(&text, SIZE_MAX / 2);
        type = "application/json";
        if (peri_json_write(value, &text, err) == PERI_OK)
            draft->content = peri_reader_memory(peri_buf_str(&text), err);
        peri_buf_fini(&text);
    }
    if (!draft->content)
        return PERI_NOMEM;
    if (peri_headers_get(&draft->headers, "Content-Type"))
        return PERI_OK;
    return peri_headers_set(&draft->headers, "Content-Type", type);
}

static enum peri_code add_field(struct draft *draft, const struct peri_field *field, struct peri_error *err)
{
    enum peri_code code = PERI_OK;
    if (field->place == PERI_IN_PATH || field->place == PERI_IN_FLOW)
        return PERI_OK;
    json_t *value = value_to_send(field, draft->args, &code, err);
    if (!value)
        return code;
    switch (field->place) {
    case PERI_IN_QUERY:
        code = add_to_query(draft, field, value, err);
        break;
    case PERI_IN_HEADER:
        code = add_to_headers(draft, field, value, err);
        break;
    case PERI_IN_CONTENT:
        code = add_content(draft, field, value, err);
        break;
    default:
        if (json_object_set(body_members(draft, field->place == PERI_IN_FILTER), wire_name(field), value) != 0)
            code = peri_error_set(err, PERI_NOMEM, "out of memory");
        break;
    }
    json_decref(value);
    return code;
}

/* JSON text as the body, compressed where the platform takes it and it is worth it. */
static enum peri_code write_body(struct draft *draft, struct peri_error *err)
{
    struct peri_buf text;
    struct peri_buf packed;
    peri_buf_init(&text, SIZE_MAX / 2);
    peri_buf_init(&packed, SIZE_MAX / 2);
    struct peri_buf *body = &text;
    unsigned flags = draft->service->flags;
    enum peri_code code = flags & PERI_SERVICE_SPACED_JSON ? peri_json_write_spaced(draft->body, &text, err)
                                                           : peri_json_write(draft->body, &text, err);
    if (code == PERI_OK && draft->service->gzip && peri_client_gzip(draft->client) && text.len > GZIP_FROM) {
        body = &packed;
        code = peri__gzip(peri_buf_str(&text), &packed, err);
        if (code == PERI_OK)
            code = peri_headers_set(&draft->headers, "Content-Encoding", "gzip");
    }
    if (code == PERI_OK)
        code = peri_headers_set(&draft->headers, "Content-Type", "application/json");
    if (code == PERI_OK && !(draft->content = peri_reader_memory(peri_buf_str(body), err)))
        code = PERI_NOMEM;
    peri_buf_fini(&text);
    peri_buf_fini(&packed);
    return code;
}

static enum peri_code add_body(struct draft *draft, struct peri_error *err)
{
    enum peri_body kind = draft->operation->body;
    if (kind == PERI_BODY_CONTENT && draft->content && !peri_headers_get(&draft->headers, "Content-Type"))
        return peri_headers_set(&draft->headers, "Content-Type", "application/octet-stream");
    if (kind == PERI_BODY_NONE || kind == PERI_BODY_CONTENT)
        return PERI_OK;
    if (!body_members(draft, (draft->operation->flags & PERI_OP_FILTER_ALWAYS) != 0))
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    return write_body(draft, err);
}

static enum peri_code fill(struct draft *draft, struct peri_error *err)
{
    const struct peri_operation *operation = draft->operation;
    if (draft->files || (draft->content && operation->body != PERI_BODY_CONTENT))
        return peri_error_set(err, PERI_INVALID, "the operation takes no content");
    enum peri_code code = expand_path(draft, draft->service->prefix, err);
    if (code == PERI_OK)
        code = expand_path(draft, operation->path, err);
    for (const char *const *h = draft->service->headers; h && *h && code == PERI_OK; h += 2)
        code = peri_headers_set(&draft->headers, h[0], h[1]);
    /* The filter stands first in the platform's own requests; headers before content, whose type they may say. */
    static const enum peri_field_place order[] = { PERI_IN_FILTER, PERI_IN_QUERY, PERI_IN_HEADER, PERI_IN_BODY,
                                                   PERI_IN_CONTENT };
    if (code == PERI_OK && operation->flags & PERI_OP_FILTER_ALWAYS && !body_members(draft, true))
        code = PERI_NOMEM;
    for (size_t step = 0; step < sizeof order / sizeof *order; step++)
        for (size_t i = 0; i < operation->field_count && code == PERI_OK; i++)
            if (operation->fields[i].place == order[step])
                code = add_field(draft, &operation->fields[i], err);
    if (code == PERI_OK)
        code = add_body(draft, err);
    if (code != PERI_OK && err && err->code == PERI_OK)
        peri_error_set(err, code, "%s", peri_code_text(code));
    return code;
}

static int64_t timeout_of(const json_t *args, const struct peri_call_streams *streams)
{
    const json_t *timeout = json_object_get(args, "timeout");
    if (json_is_number(timeout)) {
        double ms = json_number_value(timeout) * 1000;
        return ms < 1 ? 1 : ms > 1e15 ? (int64_t)1e15 : (int64_t)ms;
    }
    return streams ? streams->timeout_ms : 0;
}

static void free_streams(const struct peri_call_streams *streams)
{
    if (streams) {
        peri_reader_free(streams->content);
        peri_writer_free(streams->sink);
        peri_multipart_free(streams->files);
    }
}

/* A mistake in the call itself is raised with its message alone: that names the operation. */
static void name_operation(struct peri_error *err, const struct peri_service *service, const char *operation)
{
    if (!err)
        return;
    snprintf(err->operation, sizeof err->operation, "%s.%s", service->name, operation);
    if (err->code == PERI_INVALID)
        peri_error_prefix(err, "%s.%s", service->name, operation);
}

struct peri_op *peri_service_send(struct peri_client *client, const struct peri_service *service,
                                  const struct peri_operation *operation, const json_t *args,
                                  const struct peri_call_streams *streams, struct peri_error *err)
{
    static const struct peri_call_streams no_streams;
    if (!streams)
        streams = &no_streams;
    struct peri_error failure = PERI_ERROR_INIT;
    struct draft draft = {
        .client = client,
        .service = service,
        .operation = operation,
        .args = args,
        .content = streams->content,
        .files = streams->files,
    };
    peri_buf_init(&draft.url, 64 * 1024);
    peri_headers_init(&draft.headers);
    struct peri_op *op = NULL;
    if (peri__client_serve(client, service, &failure) == PERI_OK && fill(&draft, &failure) == PERI_OK) {
        char name[64];
        snprintf(name, sizeof name, "%s.%s", service->name, operation->name);
        struct peri_http http = {
            .method = operation->method,
            .url = draft.url.data,
            .headers = &draft.headers,
            .body = draft.content,
            .sink = streams->sink,
            .idempotent = operation->idempotent ||
                          (operation->idempotent_with && json_object_get(args, operation->idempotent_with)),
            .timeout_ms = timeout_of(args, streams),
            .shape = operation->shape,
            .operation = name,
            .progress = streams->progress,
            .progress_data = streams->progress_data,
            .retry = service->retry,
            .result_field = operation->result_field,
            .first_byte_timeout_ms = operation->flags & PERI_OP_SLOW ? -1 : 0,
            .first_byte_default_ms = service->first_byte_ms,
            .stall_timeout_ms = service->stall_ms,
            .only_200 = (service->flags & PERI_SERVICE_ONLY_200) != 0,
            .places = streams->places,
            .signer = streams->signer,
            .missing_is_none = (operation->flags & PERI_OP_MISSING_IS_NONE) != 0,
        };
        op = peri_client_request(client, &http, &failure);
    } else {
        peri_reader_free(draft.content);
        peri_writer_free(streams->sink);
    }
    peri_multipart_free(streams->files);
    if (!op && err) {
        *err = failure;
        snprintf(err->operation, sizeof err->operation, "%s.%s", service->name, operation->name);
    }
    json_decref(draft.body);
    peri_headers_fini(&draft.headers);
    peri_buf_fini(&draft.url);
    return op;
}

struct peri_op *peri_service_call(struct peri_client *client, const struct peri_service *service, const char *operation,
                                  const json_t *args, const struct peri_call_streams *streams, struct peri_error *err)
{
    const struct peri_operation *found = peri_service_operation(service, operation);
    if (!found) {
        free_streams(streams);
        peri_error_set(err, PERI_INVALID, "%s has no operation '%s'", service->name, operation);
        return NULL;
    }
    if (peri__service_check(found, args, streams && streams->content, err) != PERI_OK) {
        free_streams(streams);
        name_operation(err, service, operation);
        return NULL;
    }
    if (service->flags & PERI_SERVICE_NEEDS_TOKEN && !peri_client_has_token(client)) {
        free_streams(streams);
        peri_error_set(err, PERI_INVALID, "no service token was given: the client needs a token");
        name_operation(err, service, operation);
        return NULL;
    }
    struct peri_op *op = NULL;
    if (found->flow) {
        struct peri_call_streams timed = streams ? *streams : (struct peri_call_streams){ 0 };
        timed.timeout_ms = timeout_of(args, streams);
        op = peri_flow_start(client, service, found, args, &timed, err);
    } else {
        op = peri_service_send(client, service, found, args, streams, err);
    }
    if (!op)
        name_operation(err, service, operation);
    return op;
}

const struct peri_operation *peri_service_operation(const struct peri_service *service, const char *name)
{
    for (size_t i = 0; i < service->count; i++)
        if (strcmp(service->operations[i].name, name) == 0)
            return &service->operations[i];
    return NULL;
}
