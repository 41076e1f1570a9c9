/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "perilune/cdf.h"
#include "perilune/host.h"
#include "support/alloc_fail.h"

/* Each allocation of an operation fails once: it ends with an error or well, sends nothing malformed, leaks nothing. */

/* libzip 1.7 itself loses one small block when a certain allocation of its own fails. */
SUPPORT_EXPORT const char *__lsan_default_suppressions(void);
SUPPORT_EXPORT const char *__lsan_default_suppressions(void)
{
    return "leak:libzip.so\n";
}

#define P "/api/v1/projects/demo"

static char folder[] = "/tmp/perilune-test-memory-XXXXXX";

static int make_folder(void **state)
{
    char path[256];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/handler.lua", folder);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs("return {}", file);
    return fclose(file);
}

static int remove_folder(void **state)
{
    char path[256];
    (void)state;
    snprintf(path, sizeof path, "%s/handler.lua", folder);
    unlink(path);
    return rmdir(folder);
}

/* libuv ends the process when its table of watchers can't grow: that has happened before. */
static void warm_up(struct fixture *f)
{
    httpd_add(f->server, &(struct httpd_step){ "GET", "/warm", .status = 200 });
    struct peri_op *op =
        peri_client_request(f->client, &(struct peri_http){ .url = "/warm", .timeout_ms = 60000 }, &f->err);
    assert_int_equal(peri_op_wait(op, &f->err), PERI_OK);
    peri_op_free(op);
}

/* Runs the operation with its n-th allocation failing, for n = 1, 2, ... until it needs fewer. */
static void exhaust(const struct peri_service *service, const char *operation, json_t *args, const char *result,
                    const struct httpd_step *steps, size_t count)
{
    if (!ALLOC_FAIL_WORKS)
        skip();
    /* without memory libcurl may lose an event: the deadline then ends the exchange */
    struct peri_client_options options = {
        .project = "demo", .token = "t", .retry = &peri_retry_none, .timeout_ms = 60
    };
    unsigned failures = 0;
    bool hit = true;
    for (unsigned n = 1; hit; n++) {
        struct fixture f;
        struct peri_error err = PERI_ERROR_INIT;
        fixture_open(&f, service, &options, steps, count);
        warm_up(&f);
        alloc_fail_at(n);
        struct peri_op *op = peri_service_call(f.client, service, operation, args, NULL, &err);
        enum peri_code code = op ? peri_op_wait(op, &err) : err.code;
        if (op && code == PERI_OK && result && !peri_op_json(op, &err))
            code = err.code;
        hit = alloc_fail_stop();
        if (code == PERI_OK && result)
            fixture_assert_json(op, result);
        else
            failures += code != PERI_OK;
        if (!op && code == PERI_OK)
            fail_msg("%s: no op and no error at allocation %u", operation, n);
        for (size_t i = 1; i < httpd_count(f.server); i++) { /* the script has no step for what is malformed */
            bool known = false;
            for (size_t s = 0; s < count; s++)
                known = known || strcmp(httpd_request(f.server, i)->path, steps[s].path) == 0;
            assert_true(known);
        }
        if (code == PERI_HTTP || err.status == 599)
            fail_msg("%s: a malformed request at allocation %u", operation, n);
        peri_op_free(op);
        fixture_close(&f);
    }
    assert_true(failures > 10);
}

static void test_list(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/list", "{\"filter\":{\"owner\":\"o\"},\"limit\":3}", .status = 200,
          .reply = "{\"items\":[{\"fileId\":1}]}" },
    };
    json_t *args = json_pack("{s:s, s:i}", "owner", "o", "limit", 3);
    exhaust(&peri_cdf, "functions.list", args, "[{\"file_id\":1}]", steps, 1);
    json_decref(args);
}

static void test_call(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/byids", "{\"items\":[{\"externalId\":\"e\"}]}", .status = 200,
          .reply = "{\"items\":[{\"id\":1}]}" },
        { "POST", P "/sessions", "{\"items\":[{\"tokenExchange\":true}]}", .status = 200,
          .reply = "{\"items\":[{\"nonce\":\"n\"}]}" },
        { "POST", P "/functions/1/call", "{\"data\":[1],\"nonce\":\"n\"}", .status = 201,
          .reply = "{\"id\":9,\"status\":\"Running\"}" },
        { "POST", P "/functions/1/calls/byids", "{\"items\":[{\"id\":9}]}", .status = 200,
          .reply = "{\"items\":[{\"id\":9,\"status\":\"Running\"}]}" },
        { "POST", P "/functions/1/calls/byids", "{\"items\":[{\"id\":9}]}", .status = 200,
          .reply = "{\"items\":[{\"id\":9,\"status\":\"Completed\"}]}" },
    };
    json_t *args = json_pack("{s:s, s:[i]}", "external_id", "e", "data", 1);
    exhaust(&peri_cdf, "functions.call", args, "{\"id\":9,\"status\":\"Completed\"}", steps, 5);
    json_decref(args);
}

static void test_create(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "POST", P "/files?overwrite=true", "{\"externalId\":\"e\",\"name\":\"f.zip\"}", .status = 201,
          .reply = "{\"id\":7,\"uploadUrl\":\"/up\"}" },
        { "PUT", "/up", .status = 200 },
        { "POST", P "/files/byids", "{\"items\":[{\"id\":7}]}", .status = 200,
          .reply = "{\"items\":[{\"uploaded\":true}]}" },
        { "POST", P "/functions",
          "{\"items\":[{\"name\":\"f\",\"externalId\":\"e\",\"fileId\":7,\"functionPath\":\"handler.lua\"}]}",
          .status = 201, .reply = "{\"items\":[{\"id\":1}]}" },
        /* without memory libcurl's URL parser may lose the query */
        { "POST", P "/files", "{\"externalId\":\"e\",\"name\":\"f.zip\"}", .status = 500 },
    };
    json_t *args = json_pack("{s:s, s:s, s:s}", "name", "f", "external_id", "e", "folder", folder);
    exhaust(&peri_cdf, "functions.create", args, "{\"id\":1}", steps, 5);
    json_decref(args);
}

static void test_many(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/byids", "{\"items\":[{\"id\":1},{\"externalId\":\"e\"}],\"ignoreUnknownIds\":false}",
          .status = 200, .reply = "{\"items\":[{\"id\":1}]}" },
    };
    json_t *args = json_pack("{s:[i], s:[s]}", "ids", 1, "external_ids", "e");
    exhaust(&peri_cdf, "functions.retrieve_multiple", args, "[{\"id\":1}]", steps, 1);
    json_decref(args);
}

static void test_schedule(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/byids", "{\"items\":[{\"externalId\":\"e\"}]}", .status = 200,
          .reply = "{\"items\":[{\"id\":1}]}" },
        { "POST", P "/sessions", "{\"items\":[{\"clientId\":\"i\",\"clientSecret\":\"s\"}]}", .status = 200,
          .reply = "{\"items\":[{\"id\":4,\"nonce\":\"n\"}]}" },
        { "POST", P "/functions/schedules",
          "{\"items\":[{\"name\":\"f\",\"functionId\":1,\"cronExpression\":\"* * * * *\",\"data\":{},"
          "\"nonce\":\"n\"}]}",
          .status = 201, .reply = "{\"items\":[{\"id\":9}]}" },
    };
    json_t *args =
        json_pack("{s:s, s:s, s:s, s:{}, s:{s:s, s:s}}", "name", "f", "cron_expression", "* * * * *",
                  "function_external_id", "e", "data", "client_credentials", "client_id", "i", "client_secret", "s");
    exhaust(&peri_cdf, "functions.schedules.create", args, "{\"id\":9}", steps, 3);
    json_decref(args);
}

/* A refused call revokes its session; the refusal is what is reported. */
static void test_revoke(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "POST", P "/sessions", "{\"items\":[{\"tokenExchange\":true}]}", .status = 200,
          .reply = "{\"items\":[{\"id\":4,\"nonce\":\"n\"}]}" },
        { "POST", P "/functions/1/call", "{\"data\":{},\"nonce\":\"n\"}", .status = 400,
          .reply = "{\"error\":{\"message\":\"m\"}}" },
        { "POST", P "/sessions/revoke", "{\"items\":[{\"id\":4}]}", .status = 200, .reply = "{\"items\":[]}" },
    };
    json_t *args = json_pack("{s:i}", "id", 1);
    exhaust(&peri_cdf, "functions.call", args, NULL, steps, 3);
    json_decref(args);
}

static void test_one_of_many(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/schedules/byids", "{\"items\":[{\"id\":3}],\"ignoreUnknownIds\":false}", .status = 200,
          .reply = "{\"items\":[{\"id\":3}]}" },
    };
    json_t *args = json_pack("{s:i}", "id", 3);
    exhaust(&peri_cdf, "functions.schedules.retrieve", args, "{\"id\":3}", steps, 1);
    json_decref(args);
}

/* Nothing is sent. The result is not compared: reading it back, jansson itself may lose bytes of a long string (json.h). */
static void test_package(void **state)
{
    (void)state;
    json_t *args = json_pack("{s:s, s:s, s:{s:s}}", "name", "f", "source", "return {}", "secrets", "a", "b");
    exhaust(&peri_cdf, "functions.package", args, NULL, NULL, 0);
    json_decref(args);
}

static void test_deploy(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "PUT", "/v1/functions/f?entry=handler.lua", .status = 200, .reply = "{\"id\":1}" },
        { "PUT", "/v1/functions/f", .status = 500 }, /* as above */
    };
    json_t *args =
        json_pack("{s:s, s:s, s:s, s:{s:s}}", "name", "f", "entry", "handler.lua", "folder", folder, "env", "K", "V");
    exhaust(&peri_host, "functions.deploy", args, "{\"id\":1}", steps, 2);
    json_decref(args);
}

static void test_failure(void **state)
{
    (void)state;
    static const struct httpd_step steps[] = {
        { "GET", "/v1/calls/5/result", .status = 409, .headers = "perilune-version: 1\r\n",
          .reply = "{\"error\":{\"code\":\"conflict\",\"message\":\"m\",\"missing\":[1]}}" },
    };
    json_t *args = json_pack("{s:i}", "id", 5);
    exhaust(&peri_host, "calls.result", args, NULL, steps, 1);
    json_decref(args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),     cmocka_unit_test(test_call),   cmocka_unit_test(test_create),
        cmocka_unit_test(test_deploy),   cmocka_unit_test(test_many),   cmocka_unit_test(test_failure),
        cmocka_unit_test(test_schedule), cmocka_unit_test(test_revoke), cmocka_unit_test(test_one_of_many),
        cmocka_unit_test(test_package),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
