/* SPDX-License-Identifier: MIT */
#include "perilune/host.h"

#include "client/table.h"
#include "services/host_private.h"

#define OF_NAME PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_PATH, true, "the function's name, or its id in decimal")
#define OF_ID PERI_FIELD("id", NULL, PERI_INTEGER, PERI_IN_PATH, true, "the call's id")
#define PAGE_FIELDS                                                                                                    \
    PERI_FIELD("limit", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "at most so many; default 100"),                     \
        PERI_FIELD("before_id", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "older than this id: the page after it")

static const struct peri_field deploy_fields[] = {
    OF_NAME,
    PERI_FIELD("folder", NULL, PERI_STRING, PERI_IN_FLOW, false, "the folder to package"),
    PERI_FIELD("package", NULL, PERI_STRING, PERI_IN_FLOW, false, "the path of a zip, instead of folder"),
    PERI_FIELD("exclude", NULL, PERI_ARRAY, PERI_IN_FLOW, false, "patterns, as in .gitignore, of what stays out"),
    PERI_FIELD("entry", NULL, PERI_STRING, PERI_IN_QUERY, false, "the entry file; default handler.lua"),
    PERI_FIELD("timeout_ms", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "deadline of each call, in milliseconds"),
    PERI_FIELD("memory", NULL, PERI_ANY, PERI_IN_QUERY, false, "quota of each call: bytes, or 64K, 256M, 1G"),
    PERI_FIELD("description", NULL, PERI_STRING, PERI_IN_QUERY, false, "what it does"),
    PERI_FIELD("create", NULL, PERI_BOOLEAN, PERI_IN_QUERY, false, "fail when the name is taken; default false"),
    PERI_FIELD("env", "perilune-env", PERI_OBJECT, PERI_IN_HEADER, false, "environment variables of the handler"),
};
static const struct peri_field list_fields[] = {
    PAGE_FIELDS,
    PERI_FIELD("prefix", NULL, PERI_STRING, PERI_IN_QUERY, false, "what the name begins with"),
};
static const struct peri_field name_fields[] = { OF_NAME };
static const struct peri_field call_fields[] = {
    OF_NAME,
    PERI_FIELD("data", NULL, PERI_ANY, PERI_IN_CONTENT, false, "the input as JSON"),
    PERI_FIELD("body", NULL, PERI_STREAM, PERI_IN_CONTENT, false, "the input as bytes, instead of data"),
    PERI_FIELD("content_type", "Content-Type", PERI_STRING, PERI_IN_HEADER, false,
               "of the body; default application/octet-stream"),
    PERI_FIELD("timeout_ms", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "deadline of the call, in milliseconds"),
};
static const struct peri_field calls_list_fields[] = {
    PAGE_FIELDS,
    PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_FLOW, false, "of this function; default of all"),
    PERI_FIELD("state", NULL, PERI_STRING, PERI_IN_QUERY, false,
               "Queued, Running, Completed, Failed, Timeout or Cancelled"),
};
static const struct peri_field calls_of_function_fields[] = {
    OF_NAME,
    PAGE_FIELDS,
    PERI_FIELD("state", NULL, PERI_STRING, PERI_IN_QUERY, false, "as above"),
};
static const struct peri_field calls_get_fields[] = {
    OF_ID,
    PERI_FIELD("wait", NULL, PERI_INTEGER, PERI_IN_QUERY, false,
               "answer once it has ended, within so many seconds (60)"),
};
static const struct peri_field id_fields[] = { OF_ID };
static const struct peri_field log_fields[] = {
    OF_ID,
    PERI_FIELD("first", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "lines to leave out at the beginning"),
};
static const struct peri_field follow_fields[] = {
    OF_ID,
    PERI_FIELD("first", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "lines to leave out at the beginning"),
    PERI_FIELD_INITIAL("follow", NULL, PERI_BOOLEAN, PERI_IN_QUERY, "always true", "true"),
    PERI_FIELD("last_event_id", "Last-Event-ID", PERI_STRING, PERI_IN_HEADER, false, "resume after this event"),
};

#define OF_SCHEDULE                                                                                                    \
    PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_PATH, true, "the schedule's name, or its id in decimal")
static const struct peri_field schedule_put_fields[] = {
    OF_SCHEDULE,
    PERI_FIELD("fn", "function", PERI_STRING, PERI_IN_BODY, true, "the function's name, or its id in decimal"),
    PERI_FIELD("cron", NULL, PERI_STRING, PERI_IN_BODY, true, "minute hour day month weekday, or @daily and the like"),
    PERI_FIELD("timezone", NULL, PERI_STRING, PERI_IN_BODY, false, "such as Europe/Berlin; default UTC"),
    PERI_FIELD("data", NULL, PERI_ANY, PERI_IN_BODY, false, "the input of each call"),
    PERI_FIELD("description", NULL, PERI_STRING, PERI_IN_BODY, false, "what it is for"),
    PERI_FIELD("missed", NULL, PERI_STRING, PERI_IN_BODY, false,
               "ticks that were missed while the host was down: skip, once or all; default skip"),
    PERI_FIELD("overlap", NULL, PERI_STRING, PERI_IN_BODY, false,
               "a tick while an earlier call has not ended: allow, skip or queue; default allow"),
    PERI_FIELD("paused", NULL, PERI_BOOLEAN, PERI_IN_BODY, false, "default false"),
    PERI_FIELD("create", NULL, PERI_BOOLEAN, PERI_IN_QUERY, false, "fail when the name is taken; default false"),
};
static const struct peri_field schedule_list_fields[] = {
    PAGE_FIELDS,
    PERI_FIELD("fn", "function", PERI_STRING, PERI_IN_QUERY, false, "of this function; default of all"),
};
static const struct peri_field schedule_fields[] = { OF_SCHEDULE };
static const struct peri_field schedule_next_fields[] = {
    OF_SCHEDULE,
    PERI_FIELD("n", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "how many times; default 10"),
    PERI_FIELD("after", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "milliseconds since 1970; default now"),
};
static const struct peri_field schedule_ticks_fields[] = {
    OF_SCHEDULE,
    PERI_FIELD("limit", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "at most so many; default 100"),
    PERI_FIELD("before", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "scheduled before, in milliseconds since 1970"),
};

static const struct peri_operation operations[] = {
    { .name = "info",
      .method = "GET",
      .path = "/v1/host",
      .idempotent = true,
      .shape = PERI_SHAPE_RAW,
      .help = "the host itself: version, doors, limits, sandboxes" },
    { .name = "functions.deploy",
      .method = "PUT",
      .path = "/v1/functions/{name}",
      PERI_FIELDS(deploy_fields),
      .body = PERI_BODY_CONTENT,
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .flow = &peri_host__deploy,
      .flags = PERI_OP_SLOW,
      .help = "deploys a folder or a package; done once the function is ready" },
    { .name = "functions.list",
      .method = "GET",
      .path = "/v1/functions",
      PERI_FIELDS(list_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .help = "functions, newest first" },
    { .name = "functions.get",
      .method = "GET",
      .path = "/v1/functions/{name}",
      PERI_FIELDS(name_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "one function" },
    { .name = "functions.delete",
      .method = "DELETE",
      .path = "/v1/functions/{name}",
      PERI_FIELDS(name_fields),
      .shape = PERI_SHAPE_NONE,
      .help = "deletes a function" },
    { .name = "functions.call",
      .method = "POST",
      .path = "/v1/functions/{name}/call",
      PERI_FIELDS(call_fields),
      .body = PERI_BODY_CONTENT,
      .shape = PERI_SHAPE_ANSWER,
      .flags = PERI_OP_SLOW,
      .help = "calls a function; the result is the handler's answer" },
    { .name = "functions.call_async",
      .method = "POST",
      .path = "/v1/functions/{name}/calls",
      PERI_FIELDS(call_fields),
      .body = PERI_BODY_CONTENT,
      .shape = PERI_SHAPE_OBJECT,
      .help = "starts a call; the result is the call's record" },
    { .name = "calls.get",
      .method = "GET",
      .path = "/v1/calls/{id}",
      PERI_FIELDS(calls_get_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .flags = PERI_OP_SLOW,
      .help = "a call's record" },
    { .name = "calls.list",
      .method = "GET",
      .path = "/v1/calls",
      PERI_FIELDS(calls_list_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .flow = &peri_host__list_calls,
      .help = "calls, newest first" },
    { .name = "calls.wait",
      .method = "GET",
      .path = "/v1/calls/{id}",
      PERI_FIELDS(id_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .flow = &peri_host__wait,
      .help = "a call's record once the call has ended" },
    { .name = "calls.result",
      .method = "GET",
      .path = "/v1/calls/{id}/result",
      PERI_FIELDS(id_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_ANSWER,
      .help = "what the handler answered" },
    { .name = "calls.log",
      .method = "GET",
      .path = "/v1/calls/{id}/log",
      PERI_FIELDS(log_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .help = "a call's log lines: {timestamp, level, message}" },
    { .name = "calls.follow",
      .method = "GET",
      .path = "/v1/calls/{id}/log",
      PERI_FIELDS(follow_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_BYTES,
      .flags = PERI_OP_SLOW,
      .help = "a call's log as server-sent events while it runs; give a sink" },
    { .name = "calls.cancel",
      .method = "POST",
      .path = "/v1/calls/{id}/cancel",
      PERI_FIELDS(id_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "cancels a call" },
    { .name = "schedules.put",
      .method = "PUT",
      .path = "/v1/schedules/{name}",
      PERI_FIELDS(schedule_put_fields),
      .body = PERI_BODY_OBJECT,
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "creates a schedule, or changes it" },
    { .name = "schedules.list",
      .method = "GET",
      .path = "/v1/schedules",
      PERI_FIELDS(schedule_list_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .help = "schedules, newest first" },
    { .name = "schedules.get",
      .method = "GET",
      .path = "/v1/schedules/{name}",
      PERI_FIELDS(schedule_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "one schedule" },
    { .name = "schedules.delete",
      .method = "DELETE",
      .path = "/v1/schedules/{name}",
      PERI_FIELDS(schedule_fields),
      .shape = PERI_SHAPE_NONE,
      .help = "deletes a schedule" },
    { .name = "schedules.pause",
      .method = "POST",
      .path = "/v1/schedules/{name}/pause",
      PERI_FIELDS(schedule_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "pauses a schedule" },
    { .name = "schedules.resume",
      .method = "POST",
      .path = "/v1/schedules/{name}/resume",
      PERI_FIELDS(schedule_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "lets a paused schedule go on" },
    { .name = "schedules.next",
      .method = "GET",
      .path = "/v1/schedules/{name}/next",
      PERI_FIELDS(schedule_next_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .help = "when a schedule is due next, in milliseconds since 1970" },
    { .name = "schedules.ticks",
      .method = "GET",
      .path = "/v1/schedules/{name}/ticks",
      PERI_FIELDS(schedule_ticks_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .help = "what became of a schedule's ticks, newest first" },
};

const struct peri_operation peri_host__calls_of_function = {
    .name = "calls.list",
    .method = "GET",
    .path = "/v1/functions/{name}/calls",
    PERI_FIELDS(calls_of_function_fields),
    .idempotent = true,
    .shape = PERI_SHAPE_ITEMS,
};
const struct peri_operation peri_host__calls_get = {
    .name = "calls.get",
    .method = "GET",
    .path = "/v1/calls/{id}",
    PERI_FIELDS(calls_get_fields),
    .idempotent = true,
    .shape = PERI_SHAPE_OBJECT,
    .flags = PERI_OP_SLOW,
};

static const int statuses[] = { 429, 502, 503, 504, 0 };
static const int unsafe_statuses[] = { 429, 0 };

/* Mostly a host on this machine, and mostly one that isn't running when it can't be connected to: whoever waits is told
 * within the second. */
static const struct peri_retry_policy retry = {
    .max_attempts = 6,
    .max_connect_attempts = 3,
    .backoff = PERI_BACKOFF_FULL_JITTER,
    .min_ms = 100,
    .base_ms = 200,
    .cap_ms = 10000,
    .obey_retry_after = true,
    .max_retry_after_ms = 60000,
    .statuses = statuses,
    .unsafe_statuses = unsafe_statuses,
};

const struct peri_service peri_host = {
    .name = "host",
    .operations = operations,
    .count = PERI_COUNT(operations),
    .retry = &retry,
};
