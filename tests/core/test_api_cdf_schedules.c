/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/gateway.h"

/* Schedules of the Functions API door and what handlers do with ctx.client, through the real programs. */

#define P "/api/v1/projects/demo"
#define SCHEDULES P "/functions/schedules"

static struct gateway gw;
static json_int_t function_id;

static const char code[] =
    "local perilune = require 'perilune'\n"
    "local modes = {}\n"
    "function modes.other(ctx)\n"
    "  local f = assert(ctx.client.functions:retrieve { external_id = 'ticker' })\n"
    "  local call = assert(f:call { data = { mode = 'info', n = 7 } })\n"
    "  return { same = f.id == ctx.call.function_id, status = call.status, answer = assert(call:get_response()),\n"
    "    sessions = #assert(ctx.client.iam.sessions:list { limit = 100 }) > 0, again = ctx.client == ctx.client }\n"
    "end\n"
    "function modes.until_refused(ctx)\n"
    "  ctx.log.info('begun')\n"
    "  while true do\n"
    "    local ok, err = ctx.client.functions:status()\n"
    "    if not ok then return { code = err.code, message = err.message } end\n"
    "    perilune.sleep(0.01)\n"
    "  end\n"
    "end\n"
    "function modes.large() return ('x'):rep(17 * 1024 * 1024) end\n"
    "function modes.exchange(ctx)\n"
    "  local session, err = ctx.client.iam.sessions:create { client_credentials = { client_id = 'x',\n"
    "    client_secret = ctx.service.service_token } }\n"
    "  return { made = session ~= nil, message = err and err.message }\n"
    "end\n"
    "function modes.info(ctx)\n"
    "  return { call = ctx.call, data = ctx.data, region = os.getenv 'REGION' or 'none' }\n"
    "end\n"
    "return { handle = function(ctx) return modes[ctx.data.mode or 'info'](ctx) end }\n";

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static json_int_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static json_t *item(const json_t *answer, size_t index)
{
    return json_array_get(json_object_get(answer, "items"), index);
}

static size_t count_of(const json_t *answer)
{
    return json_array_size(json_object_get(answer, "items"));
}

static json_t *ask(int status, const char *method, const char *path, const char *body)
{
    return gateway_json(&gw, status, method, path, body);
}

static json_t *askf(int status, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
static json_t *askf(int status, const char *path, const char *format, ...)
{
    char body[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(body, sizeof body, format, args); /* NOLINT(clang-analyzer-valist.Uninitialized): it is not */
    va_end(args);
    return gateway_json(&gw, status, "POST", path, body);
}

/* A POST that is refused with this in its message; the error is owned. */
static json_t *refused(int status, const char *path, const char *body, const char *part)
{
    json_t *answer = ask(status, "POST", path, body);
    json_t *error = json_incref(json_object_get(answer, "error"));
    assert_int_equal(int_of(error, "code"), status);
    if (strstr(text_of(error, "message"), part) == NULL)
        fail_msg("POST %s: '%s' is not in '%s'", path, part, text_of(error, "message"));
    json_decref(answer);
    return error;
}

struct session {
    json_int_t id;
    char nonce[128];
};

static struct session new_session(void)
{
    struct session session;
    json_t *answer = ask(200, "POST", P "/sessions", "{\"items\":[{\"tokenExchange\":true}]}");
    session.id = int_of(item(answer, 0), "id");
    snprintf(session.nonce, sizeof session.nonce, "%s", text_of(item(answer, 0), "nonce"));
    json_decref(answer);
    return session;
}

/* Its status and when it ends. */
static json_t *session_now(json_int_t id)
{
    json_t *answer = askf(200, P "/sessions/byids", "{\"items\":[{\"id\":%lld}]}", (long long)id);
    json_t *session = json_incref(item(answer, 0));
    json_decref(answer);
    return session;
}

static void expect_session(json_int_t id, const char *status, bool far)
{
    json_t *session = session_now(id);
    assert_string_equal(text_of(session, "status"), status);
    bool is_far = int_of(session, "expirationTime") - int_of(session, "creationTime") > INT64_C(1000) * 86400 * 365;
    assert_int_equal(is_far, far);
    json_decref(session);
}

/* more: further fields, each with a comma behind it. */
static json_t *create(const char *name, const char *cron, const char *more, struct session *session)
{
    struct session own;
    struct session *used = session == NULL ? &own : session;
    *used = new_session();
    json_t *answer = askf(201, SCHEDULES,
                          "{\"items\":[{\"name\":\"%s\",\"functionId\":%lld,\"cronExpression\":\"%s\",%s"
                          "\"nonce\":\"%s\"}]}",
                          name, (long long)function_id, cron, more, used->nonce);
    json_t *schedule = json_incref(item(answer, 0));
    assert_int_equal(count_of(answer), 1);
    json_decref(answer);
    return schedule;
}

static void delete_schedule(const json_t *schedule)
{
    json_t *answer = askf(200, SCHEDULES "/delete", "{\"items\":[{\"id\":%lld}]}", (long long)int_of(schedule, "id"));
    assert_int_equal(json_object_size(answer), 0);
    json_decref(answer);
}

static json_t *show(json_int_t id, const char *suffix, int status)
{
    char path[160];
    snprintf(path, sizeof path, SCHEDULES "/%lld%s", (long long)id, suffix);
    return ask(status, "GET", path, NULL);
}

static int setup(void **state)
{
    (void)state;
    if (!gateway_start(&gw, PERI_BINARY_DIR, (const char *const[]){ "--body-limit", "200000", NULL }))
        return -1;
    json_t *made = gateway_deploy(&gw, 201, "ticker", code);
    function_id = int_of(made, "id");
    json_decref(made);
    return function_id > 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    int status = gateway_stop(&gw);
    gateway_remove(&gw);
    return status;
}

/* ---- schedules ---- */

static void test_a_schedule_shows_what_was_given(void **state)
{
    (void)state;
    struct session session;
    json_t *schedule =
        create("nightly", "0 3 * * *",
               "\"description\":\"d\",\"unknown\":1,\"data\":{\"k\":[1,null,1.0,9007199254740993]},", &session);
    assert_string_equal(text_of(schedule, "name"), "nightly");
    assert_string_equal(text_of(schedule, "description"), "d");
    assert_string_equal(text_of(schedule, "cronExpression"), "0 3 * * *");
    assert_string_equal(text_of(schedule, "when"), "At 03:00 AM");
    assert_int_equal(int_of(schedule, "functionId"), function_id);
    assert_int_equal(int_of(schedule, "sessionId"), session.id);
    assert_true(int_of(schedule, "createdTime") > 0);
    assert_null(json_object_get(schedule, "nonce"));
    assert_null(json_object_get(schedule, "data"));
    json_t *one = show(int_of(schedule, "id"), "", 200);
    assert_true(json_equal(one, schedule));
    json_decref(one);
    struct raw_reply reply;
    char path[160];
    snprintf(path, sizeof path, SCHEDULES "/%lld/input_data", (long long)int_of(schedule, "id"));
    reply = gateway_ask(&gw, "GET", path, NULL, NULL);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body, "\"data\":{\"k\":[1,null,1.0,9007199254740993]}")); /* as it came */
    raw_reply_fini(&reply);
    delete_schedule(schedule);
    json_decref(schedule);
    schedule = create("bare", "*/5 * * * MON", "\"data\":null,\"description\":null,", NULL);
    json_t *input = show(int_of(schedule, "id"), "/input_data", 200);
    assert_int_equal(int_of(input, "id"), int_of(schedule, "id"));
    assert_int_equal(json_object_size(input), 1);
    json_decref(input);
    delete_schedule(schedule);
    json_decref(schedule);
}

static void test_its_session_lives_as_long(void **state)
{
    (void)state;
    struct session session, second;
    json_t *schedule = create("keeps", "0 3 * * *", "", &session);
    expect_session(session.id, "ACTIVE", true);
    delete_schedule(schedule);
    expect_session(session.id, "REVOKED", false);
    json_decref(show(int_of(schedule, "id"), "", 400));
    json_decref(schedule);
    schedule = create("revoked", "0 3 * * *", "", &session);
    json_decref(askf(200, P "/sessions/revoke", "{\"items\":[{\"id\":%lld}]}", (long long)session.id));
    expect_session(session.id, "REVOKED", true);
    delete_schedule(schedule); /* revoked already: its record may go now */
    expect_session(session.id, "REVOKED", false);
    json_decref(schedule);
    /* a deleted function takes its schedules with it */
    json_t *made = gateway_deploy(&gw, 201, "short-lived", code);
    second = new_session();
    json_t *answer = askf(201, SCHEDULES,
                          "{\"items\":[{\"name\":\"x\",\"functionExternalId\":\"short-lived\",\"cronExpression\":"
                          "\"0 3 * * *\",\"nonce\":\"%s\"}]}",
                          second.nonce);
    assert_int_equal(int_of(item(answer, 0), "functionId"), int_of(made, "id"));
    expect_session(second.id, "ACTIVE", true);
    json_decref(askf(200, P "/functions/delete", "{\"items\":[{\"externalId\":\"short-lived\"}]}"));
    expect_session(second.id, "REVOKED", false);
    json_decref(show(int_of(item(answer, 0), "id"), "", 400));
    json_decref(answer);
    json_decref(made);
}

static void test_create_is_checked(void **state)
{
    static const struct {
        const char *fields, *says;
    } cases[] = {
        { "\"functionId\":$,\"cronExpression\":\"0 3 * * *\"", "'name'" },
        { "\"name\":\"\",\"functionId\":$,\"cronExpression\":\"0 3 * * *\"", "1 to 140" },
        { "\"name\":7,\"functionId\":$,\"cronExpression\":\"0 3 * * *\"", "'name' must be a string" },
        { "\"name\":\"n\",\"functionId\":$", "'cronExpression' is missing" },
        { "\"name\":\"n\",\"functionId\":$,\"cronExpression\":\"61 3 * * *\"", "'cronExpression'" },
        { "\"name\":\"n\",\"functionId\":$,\"cronExpression\":\"* * * * * *\"", "five parts" },
        { "\"name\":\"n\",\"functionId\":$,\"cronExpression\":\"@daily\"", "five parts" },
        { "\"name\":\"n\",\"cronExpression\":\"0 3 * * *\"", "functionId or functionExternalId" },
        { "\"name\":\"n\",\"functionId\":$,\"functionExternalId\":\"ticker\",\"cronExpression\":\"0 3 * * *\"",
          "not both" },
        { "\"name\":\"n\",\"functionId\":\"x\",\"cronExpression\":\"0 3 * * *\"", "'functionId' must be an integer" },
        { "\"name\":\"n\",\"functionId\":4242,\"cronExpression\":\"0 3 * * *\"", "Function ids not found" },
        { "\"name\":\"n\",\"functionExternalId\":\"nope\",\"cronExpression\":\"0 3 * * *\"", "Function ids not found" },
    };
    (void)state;
    struct session session = new_session();
    char body[1024], id[32];
    snprintf(id, sizeof id, "%lld", (long long)function_id);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *mark = strchr(cases[i].fields, '$');
        int before = mark == NULL ? (int)strlen(cases[i].fields) : (int)(mark - cases[i].fields);
        snprintf(body, sizeof body, "{\"items\":[{%.*s%s%s,\"nonce\":\"%s\"}]}", before, cases[i].fields,
                 mark == NULL ? "" : id, mark == NULL ? "" : mark + 1, session.nonce);
        json_decref(refused(400, SCHEDULES, body, cases[i].says));
    }
    json_t *error = refused(400, SCHEDULES,
                            "{\"items\":[{\"name\":\"n\",\"functionExternalId\":\"nope\",\"cronExpression\":"
                            "\"0 3 * * *\",\"nonce\":\"x\"}]}",
                            "not found");
    const json_t *missing = json_array_get(json_object_get(error, "missing"), 0);
    assert_string_equal(text_of(missing, "externalId"), "nope");
    assert_string_equal(text_of(missing, "external_id"), "nope");
    json_decref(error);
    json_decref(refused(400, SCHEDULES, "{\"items\":[]}", "'items'"));
    json_decref(refused(400, SCHEDULES, "{\"items\":[{},{}]}", "'items'"));
    /* none of these has used the nonce; it can be used once */
    snprintf(body, sizeof body,
             "{\"items\":[{\"name\":\"n\",\"functionId\":%s,\"cronExpression\":\"0 3 * * *\",\"nonce\":\"%s\"}]}", id,
             session.nonce);
    json_t *made = ask(201, "POST", SCHEDULES, body);
    json_decref(refused(400, SCHEDULES, body, "nonce"));
    delete_schedule(item(made, 0));
    json_decref(made);
    snprintf(body, sizeof body, "{\"items\":[{\"name\":\"n\",\"functionId\":%s,\"cronExpression\":\"0 3 * * *\"}]}",
             id);
    json_decref(refused(400, SCHEDULES, body, "'nonce'"));
}

static void test_lengths(void **state)
{
    (void)state;
    struct session session;
    char *body = malloc(8192), *text = malloc(2048);
    static const struct {
        const char *field, *letter;
        size_t max;
    } limits[] = { { "name", "\xc3\xb8", 140 }, { "description", "d", 500 }, { "cronExpression", " ", 1024 - 9 } };
    for (size_t i = 0; i < 3; i++) {
        for (size_t over = 2; over-- > 0;) {
            size_t len = 0;
            for (size_t n = 0; n < limits[i].max + over; n++, len += strlen(limits[i].letter))
                memcpy(text + len, limits[i].letter, strlen(limits[i].letter));
            text[len] = '\0';
            session = new_session();
            snprintf(body, 8192,
                     "{\"items\":[{\"name\":\"%s\",\"description\":\"%s\",\"cronExpression\":\"0 3 * * *%s\","
                     "\"functionId\":%lld,\"nonce\":\"%s\"}]}",
                     i == 0 ? text : "n", i == 1 ? text : "d", i == 2 ? text : "", (long long)function_id,
                     session.nonce);
            json_t *answer = ask(over ? 400 : 201, "POST", SCHEDULES, body);
            if (!over)
                delete_schedule(item(answer, 0));
            json_decref(answer);
        }
    }
    free(text);
    free(body);
}

static void expect_list(const char *filter, const char *names)
{
    json_t *answer = askf(200, SCHEDULES "/list", "{%s}", filter);
    char found[256] = "";
    for (size_t i = 0; i < count_of(answer); i++) {
        size_t len = strlen(found);
        snprintf(found + len, sizeof found - len, "%s ", text_of(item(answer, i), "name"));
    }
    if (strcmp(found, names) != 0)
        fail_msg("%s: '%s' instead of '%s'", filter, found, names);
    json_decref(answer);
}

static void test_list(void **state)
{
    (void)state;
    char filter[256];
    json_t *other = gateway_deploy(&gw, 201, "other", code);
    json_t *a = create("a", "0 3 * * *", "", NULL), *b = create("b", "5 4 * * *", "", NULL);
    struct session session = new_session();
    json_t *c = askf(201, SCHEDULES,
                     "{\"items\":[{\"name\":\"a\",\"functionExternalId\":\"other\",\"cronExpression\":"
                     "\"5 4 * * *\",\"nonce\":\"%s\"}]}",
                     session.nonce);
    expect_list("", "a b a "); /* newest first */
    expect_list("\"filter\":{},\"limit\":25", "a b a ");
    expect_list("\"filter\":null,\"limit\":2", "a b ");
    expect_list("\"filter\":{\"name\":\"a\"}", "a a ");
    expect_list("\"filter\":{\"cronExpression\":\"5 4 * * *\"}", "a b ");
    expect_list("\"filter\":{\"name\":\"a\",\"cronExpression\":\"0 3 * * *\"},\"limit\":10000", "a ");
    static const char *const spellings[] = { "functionId", "FunctionId" };
    static const char *const externals[] = { "functionExternalId", "FunctionExternalId" };
    for (int i = 0; i < 2; i++) {
        snprintf(filter, sizeof filter, "\"filter\":{\"%s\":%lld}", spellings[i], (long long)function_id);
        expect_list(filter, "b a ");
        snprintf(filter, sizeof filter, "\"filter\":{\"%s\":\"other\"}", externals[i]);
        expect_list(filter, "a ");
        snprintf(filter, sizeof filter, "\"filter\":{\"%s\":\"nope\"}", externals[i]);
        expect_list(filter, "");
    }
    json_int_t made = int_of(b, "createdTime");
    snprintf(filter, sizeof filter, "\"filter\":{\"name\":\"b\",\"createdTime\":{\"min\":%lld,\"max\":%lld}}",
             (long long)made, (long long)made);
    expect_list(filter, "b ");
    snprintf(filter, sizeof filter, "\"filter\":{\"name\":\"b\",\"createdTime\":{\"min\":%lld}}", (long long)made + 1);
    expect_list(filter, "");
    json_t *answer = ask(200, "GET", SCHEDULES "?limit=1", NULL);
    assert_int_equal(count_of(answer), 1);
    assert_int_equal(int_of(item(answer, 0), "id"), int_of(item(c, 0), "id"));
    json_decref(answer);
    json_decref(ask(400, "GET", SCHEDULES "?limit=0", NULL));
    json_decref(ask(400, "GET", SCHEDULES "?limit=1x", NULL));
    json_decref(refused(400, SCHEDULES "/list", "{\"limit\":0}", "'limit'"));
    json_decref(refused(400, SCHEDULES "/list", "{\"filter\":[]}", "'filter'"));
    json_decref(refused(400, SCHEDULES "/list", "{\"filter\":{\"name\":1}}", "'name'"));
    json_decref(refused(400, SCHEDULES "/list", "{\"filter\":{\"createdTime\":1}}", "'createdTime'"));
    json_decref(
        refused(400, SCHEDULES "/list", "{\"filter\":{\"functionId\":1,\"functionExternalId\":\"x\"}}", "not both"));
    answer = askf(200, SCHEDULES "/delete", "{\"items\":[{\"id\":%lld},{\"id\":%lld}]}", (long long)int_of(a, "id"),
                  (long long)int_of(b, "id"));
    json_decref(answer);
    delete_schedule(item(c, 0));
    expect_list("", "");
    json_decref(a);
    json_decref(b);
    json_decref(c);
    json_decref(other);
}

static void test_byids_and_delete(void **state)
{
    (void)state;
    json_t *one = create("one", "0 3 * * *", "", NULL);
    long long id = (long long)int_of(one, "id");
    json_t *answer = askf(200, SCHEDULES "/byids", "{\"items\":[{\"id\":%lld}],\"ignoreUnknownIds\":false}", id);
    assert_true(json_equal(item(answer, 0), one));
    json_decref(answer);
    answer = askf(200, SCHEDULES "/byids", "{\"items\":[{\"id\":4},{\"id\":%lld}],\"ignoreUnknownIds\":true}", id);
    assert_int_equal(count_of(answer), 1);
    json_decref(answer);
    static const char *const paths[] = { SCHEDULES "/byids", SCHEDULES "/delete" };
    for (int i = 0; i < 2; i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"items\":[{\"id\":%lld},{\"id\":4},{\"id\":-1}]}", id);
        json_t *error = refused(400, paths[i], body, "Schedules not found");
        assert_int_equal(json_array_size(json_object_get(error, "missing")), 2);
        assert_int_equal(int_of(json_array_get(json_object_get(error, "missing"), 0), "id"), 4);
        json_decref(error);
        snprintf(body, sizeof body, "{\"items\":[{\"id\":%lld},{\"id\":%lld}]}", id, id);
        error = refused(400, paths[i], body, "more than once");
        assert_int_equal(int_of(json_array_get(json_object_get(error, "duplicated"), 0), "id"), id);
        json_decref(error);
        json_decref(refused(400, paths[i], "{\"items\":[{\"externalId\":\"x\"}]}", "items[0]"));
        json_decref(refused(400, paths[i], "{\"items\":[]}", "'items'"));
        json_decref(refused(400, paths[i], "[]", "object"));
    }
    json_decref(show(4, "", 400));
    json_decref(show(4, "/input_data", 400));
    json_decref(ask(400, "GET", SCHEDULES "/xyz", NULL));
    answer = askf(200, SCHEDULES "/delete", "{\"items\":[{\"id\":4},{\"id\":%lld}],\"ignoreUnknownIds\":true}", id);
    json_decref(answer);
    json_decref(show(id, "", 400));
    json_decref(one);
}

/* ---- calls ---- */

static json_t *call(const char *data, const char *nonce)
{
    char path[128];
    snprintf(path, sizeof path, P "/functions/%lld/call", (long long)function_id);
    return askf(201, path, "{\"data\":%s,\"nonce\":\"%s\"}", data, nonce);
}

/* Waits for its end; the answer of the handler is owned. */
static json_t *response(json_int_t call_id, const char *status)
{
    char path[160];
    for (int i = 0; i < 60; i++) {
        snprintf(path, sizeof path, P "/functions/%lld/calls/byids", (long long)function_id);
        json_t *answer = askf(200, path, "{\"items\":[{\"id\":%lld}]}", (long long)call_id);
        bool over = strcmp(text_of(item(answer, 0), "status"), "Running") != 0;
        if (over && strcmp(text_of(item(answer, 0), "status"), status) != 0)
            fail_msg("%s: %s", text_of(item(answer, 0), "status"),
                     text_of(json_object_get(item(answer, 0), "error"), "message"));
        json_decref(answer);
        if (over)
            break;
    }
    snprintf(path, sizeof path, P "/functions/%lld/calls/%lld/response", (long long)function_id, (long long)call_id);
    json_t *answer = ask(200, "GET", path, NULL);
    json_t *value = json_incref(json_object_get(answer, "response"));
    json_decref(answer);
    return value;
}

static void test_a_tick_tells_its_schedule(void **state)
{
    (void)state;
    json_t *schedule = ask(201, "PUT", "/v1/schedules/each-second",
                           "{\"function\":\"ticker\",\"cron\":\"* * * * * *\",\"data\":{\"n\":5}}");
    json_int_t id = int_of(schedule, "id");
    char path[128];
    snprintf(path, sizeof path, P "/functions/%lld/calls/list", (long long)function_id);
    json_t *listed = NULL;
    for (int i = 0; i < 3000 && count_of(listed) == 0; i++) {
        json_decref(listed);
        usleep(10000);
        listed = askf(200, path, "{\"filter\":{\"scheduleId\":%lld},\"limit\":10}", (long long)id);
    }
    const json_t *made = item(listed, 0);
    assert_int_equal(int_of(made, "scheduleId"), id);
    assert_int_equal(int_of(made, "scheduledTime") % 1000, 0);
    assert_true(int_of(made, "scheduledTime") <= int_of(made, "startTime"));
    json_t *answer = response(int_of(made, "id"), "Completed");
    assert_int_equal(int_of(json_object_get(answer, "call"), "schedule_id"), id);
    assert_int_equal(int_of(json_object_get(answer, "call"), "scheduled_time"), int_of(made, "scheduledTime"));
    assert_int_equal(int_of(json_object_get(answer, "data"), "n"), 5);
    json_decref(answer);
    json_decref(listed);
    answer = show(id, "", 200); /* this door shows it too */
    assert_string_equal(text_of(answer, "name"), "each-second");
    assert_int_equal(int_of(answer, "sessionId"), 0);
    assert_true(strlen(text_of(answer, "when")) > 0);
    json_decref(answer);
    json_decref(ask(200, "DELETE", "/v1/schedules/each-second", NULL));
    json_decref(schedule);
}

static void test_a_handler_has_a_client_of_its_session(void **state)
{
    (void)state;
    json_t *made = call("{\"mode\":\"other\"}", new_session().nonce);
    json_t *answer = response(int_of(made, "id"), "Completed");
    assert_true(json_is_true(json_object_get(answer, "same")));
    assert_true(json_is_true(json_object_get(answer, "sessions")));
    assert_true(json_is_true(json_object_get(answer, "again")));
    assert_string_equal(text_of(answer, "status"), "Completed");
    assert_int_equal(int_of(json_object_get(json_object_get(answer, "answer"), "data"), "n"), 7);
    json_decref(answer);
    json_decref(made);
    /* a call of another door has no session, and its own token is as good */
    answer = ask(200, "POST", "/v1/functions/ticker/call", "{\"mode\":\"other\"}");
    assert_string_equal(text_of(answer, "status"), "Completed");
    json_decref(answer);
}

static void test_a_revoked_session_ends_it(void **state)
{
    (void)state;
    struct session session = new_session();
    json_t *made = call("{\"mode\":\"until_refused\"}", session.nonce);
    char path[160];
    snprintf(path, sizeof path, P "/functions/%lld/calls/%lld/logs", (long long)function_id,
             (long long)int_of(made, "id"));
    json_t *log = NULL;
    for (int i = 0; i < 1000 && count_of(log) == 0; i++) {
        json_decref(log);
        usleep(5000);
        log = ask(200, "GET", path, NULL);
    }
    assert_string_equal(text_of(item(log, 0), "message"), "begun");
    json_decref(log);
    json_decref(askf(200, P "/sessions/revoke", "{\"items\":[{\"id\":%lld}]}", (long long)session.id));
    json_t *answer = response(int_of(made, "id"), "Completed");
    assert_string_equal(text_of(answer, "code"), "unauthorized");
    assert_non_null(strstr(text_of(answer, "message"), "REVOKED"));
    json_decref(answer);
    json_decref(made);
}

static void test_a_call_token_is_not_the_hosts(void **state)
{
    (void)state;
    json_t *answer = ask(200, "POST", "/v1/functions/ticker/call", "{\"mode\":\"exchange\"}");
    assert_true(json_is_false(json_object_get(answer, "made")));
    assert_non_null(strstr(text_of(answer, "message"), "the secret is its token"));
    json_decref(answer);
    /* of no call that runs */
    struct raw_reply reply = raw_request(
        gw.port, "GET", P "/functions/limits",
        "Authorization: Bearer pc1-42-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n", NULL, 0);
    assert_int_equal(reply.status, 401);
    raw_reply_fini(&reply);
}

static void test_too_much_data(void **state)
{
    static const char head[] = "{\"data\":{},\"nonce\":\"x\"";
    (void)state;
    char path[128], headers[256];
    size_t len = 300000;
    char *body = malloc(len + 1);
    memset(body, ' ', len);
    memcpy(body, head, sizeof head - 1);
    body[len - 1] = '}';
    snprintf(path, sizeof path, P "/functions/%lld/call", (long long)function_id);
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\nContent-Type: application/json\r\n", gw.token);
    struct raw_reply reply = raw_request(gw.port, "POST", path, headers, body, len);
    assert_int_equal(reply.status, 413);
    assert_non_null(
        strstr(reply.body, "{\"error\":{\"code\":413,\"message\":\"the body is larger than 200000 bytes\"}}"));
    raw_reply_fini(&reply);
    free(body);
}

static void test_too_large_a_response(void **state)
{
    (void)state;
    char path[160];
    json_t *limits = ask(200, "GET", P "/functions/limits", NULL);
    assert_int_equal(int_of(limits, "responseSizeMb"), 16);
    json_decref(limits);
    json_t *made = call("{\"mode\":\"large\"}", new_session().nonce);
    assert_null(response(int_of(made, "id"), "Failed"));
    snprintf(path, sizeof path, P "/functions/%lld/calls/%lld", (long long)function_id, (long long)int_of(made, "id"));
    json_t *one = ask(200, "GET", path, NULL);
    assert_string_equal(text_of(one, "status"), "Failed");
    const char *message = text_of(json_object_get(one, "error"), "message");
    if (strstr(message, "16777216 bytes") == NULL)
        fail_msg("%s", message);
    json_decref(one);
    json_decref(made);
}

static void test_identifiers_once_each(void **state)
{
    static const struct {
        const char *path, *items;
        const char *key;
    } cases[] = {
        { P "/functions/byids", "{\"externalId\":\"ticker\"},{\"externalId\":\"ticker\"}", "externalId" },
        { P "/functions/delete", "{\"id\":5},{\"id\":6},{\"id\":5}", "id" },
        { P "/sessions/byids", "{\"id\":5},{\"id\":5}", "id" },
        { P "/sessions/revoke", "{\"id\":5},{\"id\":5}", "id" },
    };
    (void)state;
    char body[256];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(body, sizeof body, "{\"items\":[%s]}", cases[i].items);
        json_t *error = refused(400, cases[i].path, body, "more than once");
        const json_t *list = json_object_get(error, "duplicated");
        assert_int_equal(json_array_size(list), 1);
        assert_non_null(json_object_get(json_array_get(list, 0), cases[i].key));
        json_decref(error);
    }
    char path[128];
    snprintf(path, sizeof path, P "/functions/%lld/calls/byids", (long long)function_id);
    json_decref(refused(400, path, "{\"items\":[{\"id\":5},{\"id\":5}]}", "more than once"));
    json_decref(ask(400, "GET", P "/functions?limit=2x", NULL));
    json_decref(ask(200, "GET", P "/functions?limit=99999999", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_schedule_shows_what_was_given),
        cmocka_unit_test(test_its_session_lives_as_long),
        cmocka_unit_test(test_create_is_checked),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_byids_and_delete),
        cmocka_unit_test(test_a_tick_tells_its_schedule),
        cmocka_unit_test(test_a_handler_has_a_client_of_its_session),
        cmocka_unit_test(test_a_revoked_session_ends_it),
        cmocka_unit_test(test_a_call_token_is_not_the_hosts),
        cmocka_unit_test(test_too_much_data),
        cmocka_unit_test(test_too_large_a_response),
        cmocka_unit_test(test_identifiers_once_each),
    };
    return cmocka_run_group_tests_name("api_cdf_schedules", tests, setup, teardown);
}
