/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "services/host_private.h"
#include "services/package.h"

/* What a request holds open at most: well below the patience of what may stand between. */
#define HOLD_SECONDS 25

struct deploy_state {
    struct peri_buf zip;
};

static const char *option(struct peri_flow *flow, const char *name)
{
    return json_string_value(json_object_get(peri_flow_args(flow), name));
}

/* The package's bytes, from whichever source is given. */
static struct peri_reader *open_package(struct peri_flow *flow, struct peri_error *err)
{
    struct deploy_state *state = peri_flow_state(flow);
    struct peri_call_streams *streams = peri_flow_streams(flow);
    const char *folder = option(flow, "folder");
    const char *path = option(flow, "package");
    if ((folder != NULL) + (path != NULL) + (streams->content != NULL) != 1) {
        peri_error_set(err, PERI_INVALID, "exactly one of the options 'folder' and 'package' is required");
        return NULL;
    }
    if (path)
        return peri_reader_file(path, err);
    if (!folder) {
        struct peri_reader *content = streams->content;
        streams->content = NULL;
        return content;
    }
    const char *entry = option(flow, "entry");
    struct peri_package_options options = {
        .exclude = json_object_get(peri_flow_args(flow), "exclude"),
        .entry = entry ? entry : "handler.lua",
    };
    peri_buf_init(&state->zip, SIZE_MAX / 2);
    if (peri__package_folder(folder, &options, &state->zip, err) != PERI_OK)
        return NULL;
    return peri_reader_borrowed(peri_buf_str(&state->zip), err);
}

static void finish_or_fail(struct peri_flow *flow, struct peri_op *child)
{
    if (peri_op_code(child) == PERI_OK)
        peri_flow_finish(flow, child);
    else
        peri_flow_fail(flow, peri_op_error(child));
}

static void step_deploy(struct peri_flow *flow, struct peri_op *child)
{
    if (child) {
        finish_or_fail(flow, child);
        return;
    }
    struct peri_error err = PERI_ERROR_INIT;
    const struct peri_call_streams *given = peri_flow_streams(flow);
    struct peri_call_streams streams = { .progress = given->progress, .progress_data = given->progress_data };
    streams.content = open_package(flow, &err);
    if (streams.content)
        peri_flow_send(flow, peri_flow_operation(flow), json_incref((json_t *)peri_flow_args(flow)), &streams);
    else
        peri_flow_fail(flow, &err);
}

static void fini_deploy(void *data)
{
    struct deploy_state *state = data;
    peri_buf_fini(&state->zip);
}

static void step_list_calls(struct peri_flow *flow, struct peri_op *child)
{
    if (child) {
        finish_or_fail(flow, child);
        return;
    }
    const struct peri_operation *operation =
        option(flow, "name") ? &peri_host__calls_of_function : peri_flow_operation(flow);
    peri_flow_send(flow, operation, json_incref((json_t *)peri_flow_args(flow)), NULL);
}

static bool is_final(const json_t *call)
{
    const char *status = json_string_value(json_object_get(call, "status"));
    return status && strcmp(status, "Queued") != 0 && strcmp(status, "Running") != 0;
}

/* The host holds each request open until the call ends: asking again at once is no busy loop. */
static void step_wait(struct peri_flow *flow, struct peri_op *child)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (child && peri_op_code(child) != PERI_OK) {
        peri_flow_fail(flow, peri_op_error(child));
        return;
    }
    const json_t *call = child ? peri_op_json(child, &err) : NULL;
    if (err.code != PERI_OK) {
        peri_flow_fail(flow, &err);
        return;
    }
    if (is_final(call)) {
        peri_flow_finish(flow, child);
        return;
    }
    const json_t *id = json_object_get(peri_flow_args(flow), "id");
    peri_flow_send(flow, &peri_host__calls_get, json_pack("{s:O, s:i}", "id", id, "wait", HOLD_SECONDS), NULL);
}

static void say_still_running(struct peri_flow *flow, struct peri_error *err)
{
    peri_error_prefix(err, "call %" JSON_INTEGER_FORMAT " has not ended, and goes on",
                      json_integer_value(json_object_get(peri_flow_args(flow), "id")));
}

const struct peri_flow_kind peri_host__deploy = { sizeof(struct deploy_state), step_deploy, fini_deploy, NULL };
const struct peri_flow_kind peri_host__list_calls = { 0, step_list_calls, NULL, NULL };
const struct peri_flow_kind peri_host__wait = { 0, step_wait, NULL, say_still_running };
