/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perilune/hash.h"
#include "services/cdf_private.h"
#include "services/package.h"

/* functions.create: package the folder, upload it, wait until the platform has it, create the function. Its first steps
 * alone are functions.package and functions.upload. */

#define FIRST_PAUSE_MS 20
#define MAX_PAUSE_MS 5000
#define UPLOADED_WITHIN_MS 31000 /* as long as the platform's own package waits */

enum phase { START, FILE_ENTRY, UPLOAD, CHECK, PAUSE, CREATE };
enum goal { PACKAGED, UPLOADED, CREATED };

struct create_state {
    enum goal goal;
    enum phase phase;
    struct peri_buf zip;
    json_int_t file_id;
    const char *function_path; /* borrowed from the options, or static; NULL: the table's default */
    int64_t pause_ms, waited_ms;
};

static const char *option(struct peri_flow *flow, const char *name)
{
    return json_string_value(json_object_get(peri_flow_args(flow), name));
}

static enum peri_code package(struct peri_flow *flow, struct peri_error *err)
{
    struct create_state *state = peri_flow_state(flow);
    const char *folder = option(flow, "folder");
    const json_t *skip = json_object_get(peri_flow_args(flow), "skip_folder_validation");
    const json_t *source = json_object_get(peri_flow_args(flow), "source");
    state->function_path = option(flow, "function_path");
    if (!state->function_path)
        state->function_path = source || peri__package_has(folder, "handler.lua") ? "handler.lua" : "handler.py";
    if (source) {
        struct peri_str text = { json_string_value(source), json_string_length(source) };
        size_t len = strlen(state->function_path);
        bool python = len > 3 && strcmp(state->function_path + len - 3, ".py") == 0;
        if (python && !json_is_true(skip) && peri__python_check(state->function_path, text, err) != PERI_OK)
            return err->code;
        return peri__package_source(state->function_path, text, &state->zip, err);
    }
    struct peri_package_options options = {
        .exclude = json_object_get(peri_flow_args(flow), "exclude"),
        .entry = json_is_true(skip) ? NULL : state->function_path,
        .python = true,
    };
    return peri__package_folder(folder, &options, &state->zip, err);
}

/* The result of functions.package and functions.upload. An uploaded file is known by its id alone. */
static void finish_early(struct peri_flow *flow)
{
    struct create_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buf hex;
    bool hidden = false;
    json_t *result = NULL;
    struct peri_str content = peri_buf_str(&state->zip);
    peri_buf_init(&hex, 2 * PERI_HASH_MAX + 1);
    if (content.len == 0)
        content = (struct peri_str){ (const char *)&state->file_id, sizeof state->file_id };
    if (peri_cdf__content_hash(peri_flow_args(flow), state->function_path, content, &hex, &hidden, &err) == PERI_OK)
        result = json_pack("{s:s, s:b, s:I}", "hash", hex.data, "hidden", hidden, "size", (json_int_t)state->zip.len);
    if (result &&
        (!state->function_path ||
         json_object_set_new(result, "function_path", json_string(state->function_path)) == 0) &&
        (!state->file_id || json_object_set_new(result, "file_id", json_integer(state->file_id)) == 0))
        peri_flow_finish_value(flow, result);
    else
        peri_flow_fail(flow, &err);
    json_decref(result);
    peri_buf_fini(&hex);
}

/* "a/b" as "a-b.zip": a file's name is no path; the function keeps its own. */
static json_t *file_name(const char *name)
{
    json_t *text = NULL;
    char *copy = NULL;
    if (asprintf(&copy, "%s.zip", name) < 0)
        return NULL;
    for (char *p = copy; *p; p++)
        if (*p == '/')
            *p = '-';
    text = json_string(copy);
    free(copy);
    return text;
}

static void create_file_entry(struct peri_flow *flow)
{
    struct create_state *state = peri_flow_state(flow);
    json_t *external_id = json_object_get(peri_flow_args(flow), "external_id");
    json_t *data_set = json_object_get(peri_flow_args(flow), "data_set_id");
    json_t *name = file_name(option(flow, "name"));
    state->phase = FILE_ENTRY;
    peri_flow_send(flow, &peri_cdf__files_create,
                   json_pack("{s:b, s:o, s:O*, s:O*}", "overwrite", json_is_string(external_id), "name", name,
                             "external_id", external_id, "data_set_id", data_set),
                   NULL);
}

static void upload(struct peri_flow *flow, struct peri_op *child)
{
    struct create_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    json_t *entry = peri_op_json(child, &err);
    const json_t *id = json_object_get(entry, "id");
    const char *url = json_string_value(json_object_get(entry, "upload_url"));
    if (!json_is_integer(id) || !url) {
        if (err.code == PERI_OK)
            peri_error_set(&err, PERI_PROTOCOL, "the answer to the new file has no id or no uploadUrl");
        peri_flow_fail(flow, &err);
        return;
    }
    state->file_id = json_integer_value(id);
    state->phase = UPLOAD;
    struct peri_headers headers;
    peri_headers_init(&headers);
    const char *type = json_string_value(json_object_get(entry, "mime_type"));
    struct peri_reader *body = peri_reader_borrowed(peri_buf_str(&state->zip), &err);
    struct peri_op *op = NULL;
    if (body && type && peri_headers_set(&headers, "Content-Type", type) != PERI_OK)
        peri_error_set(&err, PERI_PROTOCOL, "the file's mimeType can't be sent");
    if (body && err.code == PERI_OK) {
        const struct peri_call_streams *streams = peri_flow_streams(flow);
        struct peri_http http = {
            .method = "PUT",
            .url = url,
            .headers = &headers,
            .body = body,
            .idempotent = true,
            .shape = PERI_SHAPE_BYTES,
            .operation = "cdf.functions.upload",
            .retry = peri_flow_service(flow)->retry,
            .progress = streams->progress,
            .progress_data = streams->progress_data,
        };
        op = peri_client_request(peri_flow_client(flow), &http, &err);
    } else {
        peri_reader_free(body);
    }
    peri_headers_fini(&headers);
    peri_flow_then(flow, op, &err);
}

static void check(struct peri_flow *flow)
{
    struct create_state *state = peri_flow_state(flow);
    state->phase = CHECK;
    peri_flow_send(flow, &peri_cdf__files_byids, json_pack("{s:I}", "id", state->file_id), NULL);
}

static void create(struct peri_flow *flow)
{
    struct create_state *state = peri_flow_state(flow);
    json_t *args = peri_flow_copy_args(flow);
    if (json_object_set_new(args, "file_id", json_integer(state->file_id)) != 0 ||
        (state->function_path && json_object_set_new(args, "function_path", json_string(state->function_path)) != 0)) {
        json_decref(args);
        args = NULL;
    }
    state->phase = CREATE;
    peri_flow_send(flow, peri_flow_operation(flow), args, NULL);
}

static void checked(struct peri_flow *flow, struct peri_op *child)
{
    struct create_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    const json_t *file = peri_op_json(child, &err);
    if (err.code != PERI_OK) {
        peri_flow_fail(flow, &err);
    } else if (json_is_true(json_object_get(file, "uploaded"))) {
        if (state->goal == UPLOADED)
            finish_early(flow);
        else
            create(flow);
    } else if (state->waited_ms >= UPLOADED_WITHIN_MS) {
        peri_error_set(&err, PERI_TIMEOUT, "file %" JSON_INTEGER_FORMAT " %s after %d s", state->file_id,
                       file ? "is not marked as uploaded" : "does not exist", UPLOADED_WITHIN_MS / 1000);
        peri_flow_fail(flow, &err);
    } else {
        state->pause_ms = state->pause_ms ? state->pause_ms * 2 : FIRST_PAUSE_MS;
        if (state->pause_ms > MAX_PAUSE_MS)
            state->pause_ms = MAX_PAUSE_MS;
        state->waited_ms += state->pause_ms;
        state->phase = PAUSE;
        peri_flow_then(flow, peri_op_sleep(peri_op_loop(child), state->pause_ms, &err), &err);
    }
}

static void start(struct peri_flow *flow)
{
    struct create_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    peri_buf_init(&state->zip, SIZE_MAX / 2);
    const json_t *file_id = json_object_get(peri_flow_args(flow), "file_id");
    enum peri_code code = peri_cdf__check_function(peri_flow_args(flow), &err);
    if (json_is_integer(file_id)) {
        state->file_id = json_integer_value(file_id);
        state->function_path = option(flow, "function_path");
    } else if (code == PERI_OK) {
        code = package(flow, &err);
    }
    if (code != PERI_OK)
        peri_flow_fail(flow, &err);
    else if (state->goal == PACKAGED)
        finish_early(flow);
    else if (json_is_integer(file_id))
        check(flow);
    else
        create_file_entry(flow);
}

static void step(struct peri_flow *flow, struct peri_op *child, enum goal goal)
{
    struct create_state *state = peri_flow_state(flow);
    state->goal = goal;
    if (child && peri_op_code(child) != PERI_OK) {
        struct peri_error err = *peri_op_error(child);
        if (state->phase == UPLOAD)
            peri_error_prefix(&err, "the upload of the package");
        peri_flow_fail(flow, &err);
        return;
    }
    switch (state->phase) {
    case START:
        start(flow);
        break;
    case FILE_ENTRY:
        upload(flow, child);
        break;
    case CHECK:
        checked(flow, child);
        break;
    case CREATE:
        peri_flow_finish(flow, child);
        break;
    default:
        check(flow);
        break;
    }
}

static void fini(void *data)
{
    struct create_state *state = data;
    peri_buf_fini(&state->zip);
}

static void step_create(struct peri_flow *flow, struct peri_op *child)
{
    step(flow, child, CREATED);
}

static void step_upload(struct peri_flow *flow, struct peri_op *child)
{
    step(flow, child, UPLOADED);
}

static void step_package(struct peri_flow *flow, struct peri_op *child)
{
    step(flow, child, PACKAGED);
}

const struct peri_flow_kind peri_cdf__create = { sizeof(struct create_state), step_create, fini, NULL };
const struct peri_flow_kind peri_cdf__upload = { sizeof(struct create_state), step_upload, fini, NULL };
const struct peri_flow_kind peri_cdf__package = { sizeof(struct create_state), step_package, fini, NULL };
