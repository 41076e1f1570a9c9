/* SPDX-License-Identifier: MIT */
#include "perilune/dataflux.h"

#include "client/service_private.h"
#include "client/table.h"
#include "services/dataflux_private.h"

#define CREDENTIALS                                                                                                    \
    PERI_FIELD("credentials", NULL, PERI_OBJECT, PERI_IN_FLOW, false,                                                  \
               "of the sign-in: {auth_token}, {local_token}, or {ak_id, ak_secret}")
#define OF_ID(what) PERI_FIELD("id", NULL, PERI_STRING, PERI_IN_PATH, true, what)
#define NEW_ID PERI_FIELD("id", "id", PERI_STRING, PERI_IN_FLOW, false, "up to 64 characters; default: a random one")
/* "data" is what of all members becomes the body; callers may give further ones. */
#define DATA PERI_FIELD("data", NULL, PERI_OBJECT, PERI_IN_BODY, false, "further members, as the platform spells them")
#define MEMBER(name, wire, type, required, help) PERI_FIELD(name, wire, type, PERI_IN_FLOW, required, help)

#define CALL_FIELDS                                                                                                    \
    PERI_FIELD("id", NULL, PERI_STRING, PERI_IN_FLOW, true, "of the API; of a direct call: set__script.func"),         \
        PERI_FIELD("kwargs", NULL, PERI_OBJECT, PERI_IN_FLOW, false, "the function's arguments"),                      \
        PERI_FIELD("options", NULL, PERI_OBJECT, PERI_IN_FLOW, false,                                                  \
                   "the platform's: return_type, unbox, timeout, expires, queue, delay, eta"),                         \
        PERI_FIELD("trace_id", NULL, PERI_STRING, PERI_IN_FLOW, false, "to find the call again; default: a new one"),  \
        PERI_FIELD("headers", NULL, PERI_OBJECT, PERI_IN_FLOW, false, "further headers"),                              \
        PERI_FIELD("idempotent", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false,                                              \
                   "the function may run twice for this call; default false")
#define API_FIELDS                                                                                                     \
    CALL_FIELDS, PERI_FIELD("method", NULL, PERI_STRING, PERI_IN_FLOW, false, "GET or POST (default)"),                \
        PERI_FIELD("form", NULL, PERI_STRING, PERI_IN_FLOW, false,                                                     \
                   "bare, normal or simplified; default: the first that carries what is given"),                       \
        PERI_FIELD("tail", NULL, PERI_STRING, PERI_IN_FLOW, false, "of the path, which only the function reads"),      \
        PERI_FIELD("auth", NULL, PERI_OBJECT, PERI_IN_FLOW, false, "what the API asks for: {type, ...}"),              \
        PERI_FIELD("content_type", NULL, PERI_STRING, PERI_IN_FLOW, false,                                             \
                   "of a raw body; default application/octet-stream")

static const struct peri_field api_call_fields[] = { API_FIELDS };
static const struct peri_field func_call_fields[] = { CALL_FIELDS, CREDENTIALS };
static const struct peri_field result_fields[] = {
    PERI_FIELD("task_id", NULL, PERI_STRING, PERI_IN_FLOW, true, "as async.call gave it"),
    PERI_FIELD("wait", NULL, PERI_NUMBER, PERI_IN_FLOW, false, "seconds until it must have ended; default 0"),
    CREDENTIALS,
};

/* ---- management ---- */

#define PAGE_FIELDS                                                                                                    \
    CREDENTIALS, PERI_FIELD("page_size", "pageSize", PERI_INTEGER, PERI_IN_QUERY, false, "1 to 100; default 10"),      \
        PERI_FIELD("page_number", "pageNumber", PERI_INTEGER, PERI_IN_QUERY, false, "from 1; default 1"),              \
        PERI_FIELD("fuzzy_search", "_fuzzySearch", PERI_STRING, PERI_IN_QUERY, false, "what some text holds"),         \
        PERI_FIELD("id", NULL, PERI_STRING, PERI_IN_QUERY, false, "only this one")
#define RECORDED_FIELDS                                                                                                \
    MEMBER("func_call_kwargs_json", "funcCallKwargsJSON", PERI_OBJECT, false,                                          \
           "preset arguments; INPUT_BY_CALLER for what the caller gives"),                                             \
        MEMBER("tags_json", "tagsJSON", PERI_ARRAY, false, "texts"),                                                   \
        MEMBER("note", "note", PERI_STRING, false, "any text"),                                                        \
        MEMBER("is_disabled", "isDisabled", PERI_BOOLEAN, false, "default false"),                                     \
        MEMBER("task_record_limit", "taskRecordLimit", PERI_INTEGER, false,                                            \
               "records that are kept, to 10000; default none"),                                                       \
        CREDENTIALS, DATA
#define API_MEMBERS                                                                                                    \
    MEMBER("api_auth_id", "apiAuthId", PERI_STRING, false, "its authentication"),                                      \
        MEMBER("show_in_doc", "showInDoc", PERI_BOOLEAN, false, "in the public catalogue"), RECORDED_FIELDS
#define SYNC_MEMBERS                                                                                                   \
    MEMBER("expire_time", "expireTime", PERI_STRING, false, "ISO 8601; default never"),                                \
        MEMBER("throttling_json", "throttlingJSON", PERI_OBJECT, false, "{bySecond, byMinute, ... = most calls}"),     \
        API_MEMBERS
#define CRON_MEMBERS                                                                                                   \
    MEMBER("cron_expr", "cronExpr", PERI_STRING, false, "five fields"),                                                \
        MEMBER("expire_time", "expireTime", PERI_STRING, false, "ISO 8601; default never"), RECORDED_FIELDS
#define NEW_FUNC MEMBER("func_id", "funcId", PERI_STRING, true, "set__script.func")
#define FUNC MEMBER("func_id", "funcId", PERI_STRING, false, "set__script.func")
#define AUTH_MEMBERS(required)                                                                                         \
    MEMBER("name", "name", PERI_STRING, false, "any text"),                                                            \
        MEMBER("type", "type", PERI_STRING, required, "fixedField, httpBasic, httpDigest or func"),                    \
        MEMBER("config_json", "configJSON", PERI_OBJECT, required, "{fields}, {users} or {funcId}"),                   \
        MEMBER("note", "note", PERI_STRING, false, "any text"), CREDENTIALS, DATA
#define SCRIPT_MEMBERS                                                                                                 \
    MEMBER("code_draft", "codeDraft", PERI_STRING, false, "its text, not yet in service"),                             \
        MEMBER("prev_code_draft_md5", "prevCodeDraftMD5", PERI_STRING, false, "refuse when the draft is another one"), \
        CREDENTIALS, DATA

static const struct peri_field list_fields[] = { PAGE_FIELDS };
static const struct peri_field records_fields[] = {
    PAGE_FIELDS,
    PERI_FIELD("root_task_id", "rootTaskId", PERI_STRING, PERI_IN_QUERY, false, "of this task's sub-tasks; or ROOT"),
    PERI_FIELD("script_set_id", "scriptSetId", PERI_STRING, PERI_IN_QUERY, false, "of this set"),
    PERI_FIELD("script_id", "scriptId", PERI_STRING, PERI_IN_QUERY, false, "of this script"),
    PERI_FIELD("func_id", "funcId", PERI_STRING, PERI_IN_QUERY, false, "of this function"),
    PERI_FIELD("origin", NULL, PERI_STRING, PERI_IN_QUERY, false, "direct, syncAPI, asyncAPI, cronJob, ..."),
    PERI_FIELD("origin_id", "originId", PERI_STRING, PERI_IN_QUERY, false, "of this API or job"),
    PERI_FIELD("queue", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "0 to 9"),
    PERI_FIELD("status", NULL, PERI_STRING, PERI_IN_QUERY, false, "success, failure, timeout or skip"),
    PERI_FIELD("fields", NULL, PERI_STRING, PERI_IN_QUERY, false, "a,b: only these; -,a,b: all but these"),
};
static const struct peri_field of_fields[] = { OF_ID("which one"), CREDENTIALS };
static const struct peri_field sync_add_fields[] = { NEW_ID, NEW_FUNC, SYNC_MEMBERS };
static const struct peri_field sync_modify_fields[] = { OF_ID("of the API"), FUNC, SYNC_MEMBERS };
static const struct peri_field async_add_fields[] = { NEW_ID, NEW_FUNC, API_MEMBERS };
static const struct peri_field async_modify_fields[] = { OF_ID("of the API"), FUNC, API_MEMBERS };
static const struct peri_field cron_add_fields[] = { NEW_ID, NEW_FUNC, CRON_MEMBERS };
static const struct peri_field cron_modify_fields[] = { OF_ID("of the job"), FUNC, CRON_MEMBERS };
static const struct peri_field auth_add_fields[] = { NEW_ID, AUTH_MEMBERS(true) };
static const struct peri_field auth_modify_fields[] = { OF_ID("of the authentication"), AUTH_MEMBERS(false) };
static const struct peri_field script_add_fields[] = {
    MEMBER("id", "id", PERI_STRING, true, "set__name"),
    SCRIPT_MEMBERS,
};
static const struct peri_field script_modify_fields[] = { OF_ID("set__name"), SCRIPT_MEMBERS };
static const struct peri_field publish_fields[] = {
    OF_ID("set__name"),
    MEMBER("note", "note", PERI_STRING, false, "for the history"),
    CREDENTIALS,
    DATA,
};

#define CALL(text, list, about)                                                                                        \
    {                                                                                                                  \
        .name = (text), PERI_FIELDS(list), .body = PERI_BODY_FLOW, .shape = PERI_SHAPE_RAW,                            \
        .flow = &peri_dataflux__call, .help = (about)                                                                  \
    }
#define LIST(text, url, list, about)                                                                                   \
    {                                                                                                                  \
        .name = (text), .method = "GET", .path = (url), PERI_FIELDS(list), .idempotent = true,                         \
        .shape = PERI_SHAPE_RAW, .flow = &peri_dataflux__list, .help = (about)                                         \
    }
/* A lost answer to adding or changing is not asked for again: the second would fail, or count a version too many. */
#define WRITE(text, url, list, about)                                                                                  \
    {                                                                                                                  \
        .name = (text), .method = "POST", .path = (url), PERI_FIELDS(list), .body = PERI_BODY_OBJECT,                  \
        .shape = PERI_SHAPE_RAW, .flow = &peri_dataflux__manage, .help = (about)                                       \
    }
/* Deleting is a GET on this platform. */
#define DELETE(text, url)                                                                                              \
    {                                                                                                                  \
        .name = (text), .method = "GET", .path = (url), PERI_FIELDS(of_fields), .shape = PERI_SHAPE_RAW,               \
        .flow = &peri_dataflux__manage, .help = "deletes it"                                                           \
    }

static const struct peri_operation operations[] = {
    CALL("sync.call", api_call_fields, "calls a Sync API; the function's answer"),
    CALL("async.call", api_call_fields, "calls an Async API; the id of its task"),
    CALL("func.call", func_call_fields, "calls a published function directly; its answer"),
    { .name = "task.result",
      PERI_FIELDS(result_fields),
      .body = PERI_BODY_FLOW,
      .shape = PERI_SHAPE_RAW,
      .flow = &peri_dataflux__result,
      .help = "what an asynchronous call has answered" },
    LIST("sync_apis.list", "/api/v1/sync-apis/do/list", list_fields, "Sync APIs, a page"),
    WRITE("sync_apis.add", "/api/v1/sync-apis/do/add", sync_add_fields, "makes a Sync API of a function"),
    WRITE("sync_apis.modify", "/api/v1/sync-apis/{id}/do/modify", sync_modify_fields, "changes a Sync API"),
    DELETE("sync_apis.delete", "/api/v1/sync-apis/{id}/do/delete"),
    LIST("async_apis.list", "/api/v1/async-apis/do/list", list_fields, "Async APIs, a page"),
    WRITE("async_apis.add", "/api/v1/async-apis/do/add", async_add_fields, "makes an Async API of a function"),
    WRITE("async_apis.modify", "/api/v1/async-apis/{id}/do/modify", async_modify_fields, "changes an Async API"),
    DELETE("async_apis.delete", "/api/v1/async-apis/{id}/do/delete"),
    LIST("cron_jobs.list", "/api/v1/cron-jobs/do/list", list_fields, "Cron Jobs, a page"),
    WRITE("cron_jobs.add", "/api/v1/cron-jobs/do/add", cron_add_fields, "makes a Cron Job of a function"),
    WRITE("cron_jobs.modify", "/api/v1/cron-jobs/{id}/do/modify", cron_modify_fields, "changes a Cron Job"),
    DELETE("cron_jobs.delete", "/api/v1/cron-jobs/{id}/do/delete"),
    { .name = "cron_jobs.run",
      .method = "POST",
      .path = "/api/v1/cron/{id}",
      PERI_FIELDS(of_fields),
      .shape = PERI_SHAPE_RAW,
      .flow = &peri_dataflux__manage,
      .help = "runs a Cron Job now" },
    LIST("api_auth.list", "/api/v1/api-auth/do/list", list_fields, "authentications of APIs, a page"),
    WRITE("api_auth.add", "/api/v1/api-auth/do/add", auth_add_fields, "makes an authentication for APIs"),
    WRITE("api_auth.modify", "/api/v1/api-auth/{id}/do/modify", auth_modify_fields, "changes an authentication"),
    DELETE("api_auth.delete", "/api/v1/api-auth/{id}/do/delete"),
    WRITE("scripts.add", "/api/v1/scripts/do/add", script_add_fields, "makes a script"),
    WRITE("scripts.modify", "/api/v1/scripts/{id}/do/modify", script_modify_fields, "changes a script's draft"),
    WRITE("scripts.publish", "/api/v1/scripts/{id}/do/publish", publish_fields, "puts a draft into service"),
    DELETE("scripts.delete", "/api/v1/scripts/{id}/do/delete"),
    LIST("task_records.list", "/api/v1/task-records/func/do/list", records_fields, "what has run, newest first"),
};

static const struct peri_field task_result_fields[] = {
    PERI_FIELD("task_id", NULL, PERI_STRING, PERI_IN_PATH, true, "the task"),
    PERI_FIELD("wait", NULL, PERI_INTEGER, PERI_IN_QUERY, false, "seconds to hold the request"),
};
const struct peri_operation peri_dataflux__task_result = {
    .name = "task.result",
    .method = "GET",
    .path = "/api/v1/tasks/{task_id}/result",
    PERI_FIELDS(task_result_fields),
    .idempotent = true,
    .shape = PERI_SHAPE_ANSWER,
};
static const struct peri_field task_record_fields[] = {
    PERI_FIELD("id", NULL, PERI_STRING, PERI_IN_QUERY, true, "the task"),
    PERI_FIELD("page_size", "pageSize", PERI_INTEGER, PERI_IN_QUERY, true, "records"),
};
const struct peri_operation peri_dataflux__task_record = {
    .name = "task.result",
    .method = "GET",
    .path = "/api/v1/task-records/func/do/list",
    PERI_FIELDS(task_record_fields),
    .idempotent = true,
    .shape = PERI_SHAPE_RAW,
};

/* ---- objects within options ---- */

static const struct peri_field option_fields[] = {
    PERI_FIELD("return_type", "returnType", PERI_STRING, PERI_IN_FLOW, false, "raw or jsonDumps"),
    PERI_FIELD("unbox", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false,
               "the bare answer; default true, of direct calls false"),
    PERI_FIELD("timeout", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "seconds that the function may run, 1 to 3600"),
    PERI_FIELD("expires", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "seconds in the queue, 1 to 86400"),
    PERI_FIELD("queue", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "1 to 9"),
    PERI_FIELD("delay", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "seconds until it starts"),
    PERI_FIELD("eta", NULL, PERI_STRING, PERI_IN_FLOW, false, "when it starts, ISO 8601; wins over delay"),
    PERI_FIELD("async", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false, "of direct calls: only the task's id"),
};
const struct peri_operation peri_dataflux__options = { .name = "options", PERI_FIELDS(option_fields) };

static const struct peri_field auth_fields[] = {
    PERI_FIELD("type", NULL, PERI_STRING, PERI_IN_FLOW, true, "fixedField, httpBasic or httpDigest"),
    PERI_FIELD("location", NULL, PERI_STRING, PERI_IN_FLOW, false, "header, query or body"),
    PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_FLOW, false, "of the field"),
    PERI_FIELD("value", NULL, PERI_STRING, PERI_IN_FLOW, false, "of the field"),
    PERI_FIELD("username", NULL, PERI_STRING, PERI_IN_FLOW, false, "without a colon"),
    PERI_FIELD("password", NULL, PERI_STRING, PERI_IN_FLOW, false, "any"),
};
const struct peri_operation peri_dataflux__auth = { .name = "auth", PERI_FIELDS(auth_fields) };

static const struct peri_field credential_fields[] = {
    PERI_FIELD("auth_token", NULL, PERI_STRING, PERI_IN_FLOW, false, "of a sign-in; lives 24 hours after each use"),
    PERI_FIELD("local_token", NULL, PERI_STRING, PERI_IN_FLOW, false, "the content of localhost-auth-token"),
    PERI_FIELD("ak_id", NULL, PERI_STRING, PERI_IN_FLOW, false, "an access key"),
    PERI_FIELD("ak_secret", NULL, PERI_STRING, PERI_IN_FLOW, false, "its secret"),
};
const struct peri_operation peri_dataflux__credentials = {
    .name = "credentials",
    PERI_FIELDS(credential_fields),
    .one_of = { "auth_token", "local_token", "ak_id" },
};

enum peri_code peri_dataflux__check(const json_t *object, const struct peri_operation *table, struct peri_error *err)
{
    enum peri_code code = peri__service_check(table, object, false, err);
    if (code != PERI_OK)
        peri_error_prefix(err, "option '%s'", table->name);
    return code;
}

enum peri_code peri_dataflux__no_streams(struct peri_flow *flow, struct peri_error *err)
{
    const struct peri_call_streams *streams = peri_flow_streams(flow);
    if (streams->content || streams->files || streams->sink)
        return peri_error_set(err, PERI_INVALID, "the operation takes no content, no files and no sink");
    return PERI_OK;
}

/* ---- the service ---- */

static const int repeated[] = { 429, 502, 503, 504, 0 };
static const int refused[] = { 429, 0 }; /* the function has not run */
static const struct peri_retry_coded unanswered[] = { { 599, "EWorkerNoResponse" }, { 0, NULL } };

static const struct peri_retry_policy retry = {
    .max_attempts = 6,
    .backoff = PERI_BACKOFF_FULL_JITTER,
    .min_ms = 100,
    .base_ms = 500,
    .cap_ms = 10000,
    .obey_retry_after = true,
    .max_retry_after_ms = 60000,
    .statuses = repeated,
    .unsafe_statuses = refused,
    .coded = unanswered,
};

const struct peri_service peri_dataflux = {
    .name = "dataflux",
    .operations = operations,
    .count = PERI_COUNT(operations),
    .retry = &retry,
    .stall_ms = 60000,
};
