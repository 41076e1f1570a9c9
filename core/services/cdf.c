/* SPDX-License-Identifier: MIT */
#include "perilune/cdf.h"

#include "client/table.h"
#include "services/cdf_private.h"

/* Functions of a project answer in one piece; the platform's own packages ask for this many when asked for all. */
#define LIST_ALL 10000
#define CALLS_PAGE 1000

static const struct peri_field create_fields[] = {
    PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_BODY, true, "the function's name"),
    PERI_FIELD("folder", NULL, PERI_STRING, PERI_IN_FLOW, false, "the folder to package and upload"),
    PERI_FIELD("file_id", "fileId", PERI_INTEGER, PERI_IN_BODY, false, "an uploaded package, instead of folder"),
    PERI_FIELD("external_id", "externalId", PERI_STRING, PERI_IN_BODY, false, "your own id for it"),
    PERI_FIELD("description", NULL, PERI_STRING, PERI_IN_BODY, false, "what it does"),
    PERI_FIELD("owner", NULL, PERI_STRING, PERI_IN_BODY, false, "who answers for it"),
    PERI_FIELD_INITIAL("function_path", "functionPath", PERI_STRING, PERI_IN_BODY,
                       "the entry file in the package; default handler.lua if the folder has one, else handler.py",
                       "\"handler.py\""),
    PERI_FIELD("secrets", NULL, PERI_OBJECT, PERI_IN_BODY, false, "names and secret texts for the handler"),
    PERI_FIELD("env_vars", "envVars", PERI_OBJECT, PERI_IN_BODY, false, "environment variables"),
    PERI_FIELD("cpu", NULL, PERI_NUMBER, PERI_IN_BODY, false, "cores"),
    PERI_FIELD("memory", NULL, PERI_NUMBER, PERI_IN_BODY, false, "memory in GB"),
    PERI_FIELD("runtime", NULL, PERI_STRING, PERI_IN_BODY, false, "the runtime, for example py313"),
    PERI_FIELD("metadata", NULL, PERI_OBJECT, PERI_IN_BODY, false, "texts under names of your own"),
    PERI_FIELD("index_url", "indexUrl", PERI_STRING, PERI_IN_BODY, false, "package index"),
    PERI_FIELD("extra_index_urls", "extraIndexUrls", PERI_ARRAY, PERI_IN_BODY, false, "further package indexes"),
    PERI_FIELD("skip_folder_validation", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false,
               "don't check that the entry file exists"),
    PERI_FIELD("data_set_id", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "data set of the uploaded package"),
    PERI_FIELD("exclude", NULL, PERI_ARRAY, PERI_IN_FLOW, false,
               "patterns, as in .gitignore, of what stays out of the package"),
};

static const struct peri_field list_fields[] = {
    PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_FILTER, false, "exact name"),
    PERI_FIELD("owner", NULL, PERI_STRING, PERI_IN_FILTER, false, "exact owner"),
    PERI_FIELD("file_id", "fileId", PERI_INTEGER, PERI_IN_FILTER, false, "its package"),
    PERI_FIELD("status", NULL, PERI_STRING, PERI_IN_FILTER, false, "Queued, Deploying, Ready or Failed"),
    PERI_FIELD("external_id_prefix", "externalIdPrefix", PERI_STRING, PERI_IN_FILTER, false,
               "what the external id begins with"),
    PERI_FIELD("created_time", "createdTime", PERI_OBJECT, PERI_IN_FILTER, false,
               "{min, max}: milliseconds since 1970"),
    PERI_FIELD("metadata", NULL, PERI_OBJECT, PERI_IN_FILTER, false, "pairs that its metadata holds"),
    PERI_FIELD_LIMIT("limit", "at most so many; default 25, -1: all", "25", LIST_ALL),
};

static const struct peri_field retrieve_fields[] = {
    PERI_FIELD("id", NULL, PERI_INTEGER, PERI_IN_BODY, false, "the function's id"),
    PERI_FIELD("external_id", "externalId", PERI_STRING, PERI_IN_BODY, false, "or its external id"),
};

static const struct peri_field retrieve_multiple_fields[] = {
    PERI_FIELD("ids", NULL, PERI_ARRAY, PERI_IN_FLOW, false, "ids"),
    PERI_FIELD("external_ids", NULL, PERI_ARRAY, PERI_IN_FLOW, false, "external ids"),
    PERI_FIELD("ignore_unknown_ids", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false,
               "leave out what does not exist; default false"),
};

static const struct peri_field delete_fields[] = {
    PERI_FIELD("id", NULL, PERI_ANY, PERI_IN_FLOW, false, "an id or a list of ids"),
    PERI_FIELD("external_id", NULL, PERI_ANY, PERI_IN_FLOW, false, "an external id or a list of them"),
};

static const struct peri_field call_fields[] = {
    PERI_FIELD("id", "functionId", PERI_INTEGER, PERI_IN_PATH, false, "the function's id"),
    PERI_FIELD("external_id", NULL, PERI_STRING, PERI_IN_FLOW, false, "or its external id"),
    PERI_FIELD_INITIAL("data", NULL, PERI_ANY, PERI_IN_BODY, "the handler's input; default {}", "{}"),
    PERI_FIELD("nonce", NULL, PERI_STRING, PERI_IN_BODY, false, "of a session; default: a session is created"),
    PERI_FIELD("wait", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false, "until the call has ended; default true"),
};

/* Which function a call belongs to. */
#define OF_FUNCTION                                                                                                    \
    PERI_FIELD("function_id", "functionId", PERI_INTEGER, PERI_IN_PATH, false, "the function's id"),                   \
        PERI_FIELD("function_external_id", NULL, PERI_STRING, PERI_IN_FLOW, false, "or its external id")
#define OF_FUNCTION_RULE .one_of = { "function_id", "function_external_id" }

static const struct peri_field calls_list_fields[] = {
    OF_FUNCTION,
    PERI_FIELD("status", NULL, PERI_STRING, PERI_IN_FILTER, false, "Running, Completed, Failed or Timeout"),
    PERI_FIELD("schedule_id", "scheduleId", PERI_INTEGER, PERI_IN_FILTER, false, "started by this schedule"),
    PERI_FIELD("start_time", "startTime", PERI_OBJECT, PERI_IN_FILTER, false, "{min, max}: milliseconds since 1970"),
    PERI_FIELD("end_time", "endTime", PERI_OBJECT, PERI_IN_FILTER, false, "{min, max}: milliseconds since 1970"),
    PERI_FIELD_LIMIT("limit", "at most so many, 1000 in a page; default 25", "25", CALLS_PAGE),
    PERI_FIELD("cursor", NULL, PERI_STRING, PERI_IN_BODY, false, "next_cursor of the page before"),
};
static const struct peri_field calls_byids_fields[] = {
    OF_FUNCTION,
    PERI_FIELD("call_id", "id", PERI_INTEGER, PERI_IN_BODY, true, "the call's id"),
};
static const struct peri_field calls_get_fields[] = {
    OF_FUNCTION,
    PERI_FIELD("call_id", "callId", PERI_INTEGER, PERI_IN_PATH, true, "the call's id"),
};
static const struct peri_field session_fields[] = {
    PERI_FIELD("client_credentials", NULL, PERI_OBJECT, PERI_IN_FLOW, false, "{client_id, client_secret}"),
    PERI_FIELD("session_type", NULL, PERI_STRING, PERI_IN_FLOW, false,
               "DEFAULT, CLIENT_CREDENTIALS, TOKEN_EXCHANGE or ONESHOT_TOKEN_EXCHANGE"),
};

static const struct peri_operation operations[] = {
    { .name = "functions.create",
      .method = "POST",
      .path = "/functions",
      PERI_FIELDS(create_fields),
      .body = PERI_BODY_ITEMS1,
      .shape = PERI_SHAPE_ITEM,
      .flow = &peri_cdf__create,
      .one_of = { "folder", "file_id" },
      .help = "creates a function from a folder or an uploaded package" },
    { .name = "functions.list",
      .method = "POST",
      .path = "/functions/list",
      PERI_FIELDS(list_fields),
      .body = PERI_BODY_OBJECT,
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .flags = PERI_OP_FILTER_ALWAYS,
      .help = "functions that match all filters" },
    { .name = "functions.retrieve",
      .method = "POST",
      .path = "/functions/byids",
      PERI_FIELDS(retrieve_fields),
      .body = PERI_BODY_ITEMS1,
      .idempotent = true,
      .shape = PERI_SHAPE_ITEM,
      .flags = PERI_OP_MISSING_IS_NONE,
      .one_of = { "id", "external_id" },
      .help = "one function; no result when there is none" },
    { .name = "functions.retrieve_multiple",
      .method = "POST",
      .path = "/functions/byids",
      PERI_FIELDS(retrieve_multiple_fields),
      .body = PERI_BODY_FLOW,
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .flow = &peri_cdf__retrieve_many,
      .help = "several functions" },
    { .name = "functions.delete",
      .method = "POST",
      .path = "/functions/delete",
      PERI_FIELDS(delete_fields),
      .body = PERI_BODY_FLOW,
      .shape = PERI_SHAPE_NONE,
      .flow = &peri_cdf__delete,
      .help = "deletes functions" },
    { .name = "functions.call",
      .method = "POST",
      .path = "/functions/{functionId}/call",
      PERI_FIELDS(call_fields),
      .body = PERI_BODY_OBJECT,
      .shape = PERI_SHAPE_OBJECT,
      .flow = &peri_cdf__call,
      .one_of = { "id", "external_id" },
      .help = "calls a function, and waits until the call has ended" },
    { .name = "functions.limits",
      .method = "GET",
      .path = "/functions/limits",
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "what a function may use" },
    { .name = "functions.status",
      .method = "GET",
      .path = "/functions/status",
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "whether the project has functions" },
    { .name = "functions.activate",
      .method = "POST",
      .path = "/functions/status",
      .idempotent = true,
      .shape = PERI_SHAPE_OBJECT,
      .help = "asks for functions in the project" },
    { .name = "functions.calls.list",
      .method = "POST",
      .path = "/functions/{functionId}/calls/list",
      PERI_FIELDS(calls_list_fields),
      .body = PERI_BODY_OBJECT,
      .idempotent = true,
      .shape = PERI_SHAPE_PAGE,
      .flow = &peri_cdf__of_function,
      OF_FUNCTION_RULE,
      .help = "a page of calls" },
    { .name = "functions.calls.retrieve",
      .method = "POST",
      .path = "/functions/{functionId}/calls/byids",
      PERI_FIELDS(calls_byids_fields),
      .body = PERI_BODY_ITEMS1,
      .idempotent = true,
      .shape = PERI_SHAPE_ITEM,
      .flags = PERI_OP_MISSING_IS_NONE,
      .flow = &peri_cdf__of_function,
      OF_FUNCTION_RULE,
      .help = "one call; no result when there is none" },
    { .name = "functions.calls.wait",
      .method = "POST",
      .path = "/functions/{functionId}/calls/byids",
      PERI_FIELDS(calls_byids_fields),
      .body = PERI_BODY_ITEMS1,
      .idempotent = true,
      .shape = PERI_SHAPE_ITEM,
      .flow = &peri_cdf__wait,
      OF_FUNCTION_RULE,
      .help = "a call once it has ended" },
    { .name = "functions.calls.get_response",
      .method = "GET",
      .path = "/functions/{functionId}/calls/{callId}/response",
      PERI_FIELDS(calls_get_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_FIELD,
      .result_field = "response",
      .flow = &peri_cdf__of_function,
      OF_FUNCTION_RULE,
      .help = "what the handler returned" },
    { .name = "functions.calls.get_logs",
      .method = "GET",
      .path = "/functions/{functionId}/calls/{callId}/logs",
      PERI_FIELDS(calls_get_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_ITEMS,
      .flow = &peri_cdf__of_function,
      OF_FUNCTION_RULE,
      .help = "a call's log: {timestamp, message} each" },
    { .name = "iam.sessions.create",
      .method = "POST",
      .path = "/sessions",
      PERI_FIELDS(session_fields),
      .body = PERI_BODY_FLOW,
      .idempotent = true,
      .shape = PERI_SHAPE_ITEM,
      .flow = &peri_cdf__session,
      .help = "a session; its nonce lets a function act for it" },
};

static const struct peri_field items_fields[] = {
    PERI_FIELD("items", NULL, PERI_ARRAY, PERI_IN_BODY, true, "identifiers"),
    PERI_FIELD("ignore_unknown_ids", "ignoreUnknownIds", PERI_BOOLEAN, PERI_IN_BODY, false,
               "leave out what does not exist"),
};
static const struct peri_field file_fields[] = {
    PERI_FIELD("overwrite", NULL, PERI_BOOLEAN, PERI_IN_QUERY, true, "replace the file of that external id"),
    PERI_FIELD("external_id", "externalId", PERI_STRING, PERI_IN_BODY, false, "external id"),
    PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_BODY, true, "file name"),
    PERI_FIELD("data_set_id", "dataSetId", PERI_INTEGER, PERI_IN_BODY, false, "data set"),
};
static const struct peri_field file_id_fields[] = { PERI_FIELD("id", NULL, PERI_INTEGER, PERI_IN_BODY, true, "file") };

const struct peri_operation peri_cdf__functions_byids = {
    .name = "functions.byids",
    .method = "POST",
    .path = "/functions/byids",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
    .shape = PERI_SHAPE_RAW,
};
const struct peri_operation peri_cdf__functions_delete = {
    .name = "functions.delete",
    .method = "POST",
    .path = "/functions/delete",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .shape = PERI_SHAPE_NONE,
};
const struct peri_operation peri_cdf__sessions = {
    .name = "sessions.create",
    .method = "POST",
    .path = "/sessions",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
    .shape = PERI_SHAPE_ITEM,
};
const struct peri_operation peri_cdf__files_create = {
    .name = "files.create",
    .method = "POST",
    .path = "/files",
    PERI_FIELDS(file_fields),
    .body = PERI_BODY_OBJECT,
    .shape = PERI_SHAPE_OBJECT,
};
const struct peri_operation peri_cdf__files_byids = {
    .name = "files.byids",
    .method = "POST",
    .path = "/files/byids",
    PERI_FIELDS(file_id_fields),
    .body = PERI_BODY_ITEMS1,
    .idempotent = true,
    .shape = PERI_SHAPE_ITEM,
    .flags = PERI_OP_MISSING_IS_NONE,
};
const struct peri_operation peri_cdf__calls_byids = {
    .name = "functions.calls.byids",
    .method = "POST",
    .path = "/functions/{functionId}/calls/byids",
    PERI_FIELDS(calls_byids_fields),
    .body = PERI_BODY_ITEMS1,
    .idempotent = true,
    .shape = PERI_SHAPE_ITEM,
    .flags = PERI_OP_MISSING_IS_NONE,
};

/* As the platform's own package waits and counts (sheet, section 10), but obeying Retry-After. */
static const int statuses[] = { 429, 502, 503, 504, 0 };
static const int unsafe_statuses[] = { 429, 0 };
static const struct peri_retry_policy retry = {
    .max_attempts = 11,
    .max_connect_attempts = 4,
    .backoff = PERI_BACKOFF_FULL_JITTER,
    .min_ms = 100,
    .base_ms = 500,
    .cap_ms = 60000,
    .obey_retry_after = true,
    .max_retry_after_ms = 60000,
    .statuses = statuses,
    .unsafe_statuses = unsafe_statuses,
};

static const char agent[] = "perilune:" PERI_VERSION;
static const char *const headers[] = {
    "cdf-version", "20230101", "x-cdp-sdk", agent, "x-cdp-app", "perilune", NULL,
};

const struct peri_service peri_cdf = {
    .name = "cdf",
    .operations = operations,
    .count = PERI_COUNT(operations),
    .retry = &retry,
    .prefix = "/api/v1/projects/{project}",
    .headers = headers,
    .gzip = true,
};
