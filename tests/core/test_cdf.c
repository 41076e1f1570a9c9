/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "perilune/cdf.h"
#include "services/cdf_private.h"
#include "support/badpeer.h"
#include "support/vectors.h"

/* The golden vectors of the platform's protocol sheet, and what it asks for beyond them. */

#define REQUEST_ID "x-request-id: req-0001\r\n"

static char folder[] = "/tmp/perilune-test-cdf-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    mkdir(path, 0755);
    *slash = '/';
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    write_file("handler.py", "def handle(data):\n    return data\n");
    return 0;
}

static int remove_folder(void **state)
{
    char path[256];
    static const char *const names[] = { "handler.py", "handler.lua", "requirements.txt", "sub/x.txt", "sub", "" };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    return 0;
}

/* A vector's folder holds its files only. */
static void empty_folder(void)
{
    remove_folder(NULL);
    assert_int_equal(mkdir(folder, 0755), 0);
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* The options, with '@files' replaced by the folder; owned. */
static json_t *read_args(const json_t *vector)
{
    json_t *args = json_copy(json_object_get(vector, "args"));
    const char *name = NULL;
    json_t *content = NULL;
    if (json_object_get(vector, "files"))
        empty_folder();
    json_object_foreach(json_object_get(vector, "files"), name, content) write_file(name, json_string_value(content));
    if (text(args, "folder"))
        json_object_set_new(args, "folder", json_string(folder));
    return args;
}

static void add_exchange(struct httpd *server, const json_t *exchange, const char *headers, unsigned times)
{
    const json_t *body = json_object_get(exchange, "body");
    const json_t *reply = json_object_get(exchange, "reply");
    const char *plain = text(exchange, "text");
    char *body_text = body ? json_dumps(body, 0) : NULL;
    char *reply_text = reply ? json_dumps(reply, 0) : strdup(plain ? plain : "");
    httpd_add(server, &(struct httpd_step){ .method = text(exchange, "method"),
                                            .path = text(exchange, "path"),
                                            .body = body_text,
                                            .status = (int)json_integer_value(json_object_get(exchange, "status")),
                                            .headers = headers,
                                            .reply = reply_text,
                                            .times = times });
    free(body_text);
    free(reply_text);
}

static void check_error(const char *name, const json_t *expected, const struct peri_error *err)
{
    const char *message = text(expected, "message");
    const char *request_id = text(expected, "request_id");
    const char *platform_code = text(expected, "platform_code");
    if (strcmp(peri_code_name(err->code), text(expected, "code")) != 0)
        fail_msg("%s: got %s (%s), expected %s", name, peri_code_name(err->code), err->message, text(expected, "code"));
    if (json_object_get(expected, "status"))
        assert_int_equal(err->status, json_integer_value(json_object_get(expected, "status")));
    if (message && strncmp(err->message, message, strlen(message)) != 0)
        fail_msg("%s: message '%s', expected '%s'", name, err->message, message);
    if (request_id)
        assert_string_equal(err->request_id, request_id);
    if (platform_code)
        assert_string_equal(err->platform_code, platform_code);
    assert_string_equal(strtok(strdupa(err->operation), "."), "cdf");
}

static void check_result(const char *name, const json_t *vector, struct peri_op *op)
{
    struct peri_error err;
    const json_t *expected = json_object_get(vector, "result");
    json_t *result = peri_op_json(op, &err);
    if (json_is_null(expected)) {
        assert_null(result);
        assert_int_equal(err.code, PERI_OK);
        return;
    }
    if (!result)
        fail_msg("%s: no result: %s", name, err.message);
    if (!json_equal(result, expected)) {
        char *got = json_dumps(result, JSON_ENCODE_ANY);
        char *want = json_dumps(expected, JSON_ENCODE_ANY);
        fail_msg("%s:\n got      %s\n expected %s", name, got, want);
    }
}

/* The uploaded zip holds exactly the vector's entries. */
static void check_zip(const json_t *names, const struct httpd_request *request)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(request->body, request->body_len, 0, &error);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : NULL;
    assert_non_null(zip);
    assert_int_equal(zip_get_num_entries(zip, 0), json_array_size(names));
    for (size_t i = 0; i < json_array_size(names); i++)
        assert_string_equal(zip_get_name(zip, i, 0), json_string_value(json_array_get(names, i)));
    zip_discard(zip);
    zip_error_fini(&error);
}

static void check_request(const json_t *exchange, const struct httpd_request *request, const char *bearer)
{
    char value[256];
    assert_non_null(request);
    assert_string_equal(request->method, text(exchange, "method"));
    assert_string_equal(request->path, text(exchange, "path"));
    const char *raw = text(exchange, "raw");
    bool signed_in = httpd_header(request, "Authorization", value, sizeof value);
    assert_int_equal(signed_in, raw == NULL);
    if (signed_in)
        assert_string_equal(value, bearer);
    assert_true(httpd_header(request, "User-Agent", value, sizeof value));
    if (raw) {
        assert_string_equal(request->body, raw);
        assert_true(httpd_header(request, "Content-Type", value, sizeof value));
        assert_string_equal(value, "application/x-www-form-urlencoded;charset=UTF-8");
        assert_true(httpd_header(request, "Accept", value, sizeof value));
        assert_string_equal(value, "application/json");
        return;
    }
    if (json_object_get(exchange, "zip")) {
        check_zip(json_object_get(exchange, "zip"), request);
        return;
    }
    assert_true(httpd_header(request, "cdf-version", value, sizeof value));
    if (json_object_get(exchange, "body")) {
        assert_true(httpd_header(request, "Content-Type", value, sizeof value));
        assert_string_equal(value, "application/json");
    } else {
        assert_int_equal(request->body_len, 0);
    }
}

/* The fixture's client, or one that signs in with the vector's credentials. */
static void open_for(struct fixture *f, const json_t *vector)
{
    const json_t *credentials = json_object_get(vector, "credentials");
    fixture_open(f, &peri_cdf, NULL, NULL, 0);
    if (!credentials)
        return;
    char token_url[256];
    snprintf(token_url, sizeof token_url, "%s%s", httpd_url(f->server), text(credentials, "token_url"));
    struct peri_oauth_options oauth = { .token_url = token_url,
                                        .client_id = text(credentials, "client_id"),
                                        .client_secret = text(credentials, "client_secret"),
                                        .scopes = text(credentials, "scopes") };
    struct peri_client_options options = { .base_url = httpd_url(f->server), .project = "demo", .oauth = &oauth };
    peri_client_free(f->client);
    f->client = peri_client_new(f->loop, &options, &f->err);
    assert_non_null(f->client);
}

static void run_vector(const json_t *vector)
{
    struct fixture f;
    const char *name = text(vector, "name");
    const json_t *exchanges = json_object_get(vector, "exchanges");
    const json_t *expected_error = json_object_get(vector, "error");
    json_t *args = read_args(vector);
    open_for(&f, vector);
    for (size_t i = 0; i < json_array_size(exchanges); i++)
        add_exchange(f.server, json_array_get(exchanges, i), REQUEST_ID, 1);
    struct peri_op *op = peri_service_call(f.client, f.service, text(vector, "operation"), args, NULL, &f.err);
    if (!op)
        fail_msg("%s: %s", name, f.err.message);
    enum peri_code code = peri_op_wait(op, &f.err);
    if (code == PERI_OK && !expected_error) {
        check_result(name, vector, op);
    } else if (code == PERI_OK) {
        assert_null(peri_op_json(op, &f.err)); /* the answer was fine, its body is not */
        check_error(name, expected_error, &f.err);
    } else if (expected_error) {
        check_error(name, expected_error, &f.err);
    } else {
        fail_msg("%s: %s", name, f.err.message);
    }
    assert_int_equal(httpd_count(f.server), json_array_size(exchanges));
    for (size_t i = 0; i < json_array_size(exchanges); i++)
        check_request(json_array_get(exchanges, i), httpd_request(f.server, i),
                      json_object_get(vector, "credentials") ? "Bearer AT" : "Bearer tok-1");
    peri_op_free(op);
    json_decref(args);
    fixture_close(&f);
}

static void run_section(const char *section)
{
    json_t *vectors = vectors_load("cdf");
    const json_t *list = vectors_section(vectors, section);
    unsigned ran = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        run_vector(json_array_get(list, i));
        ran++;
    }
    assert_true(ran > 10);
    json_decref(vectors);
}

static void test_cases(void **state)
{
    (void)state;
    run_section("cases");
}

static void test_errors(void **state)
{
    (void)state;
    run_section("errors");
}

/* The answers that let every operation of the retry vectors go as far as the one that fails. */
static void add_good_answers(struct httpd *server)
{
    static const struct httpd_step good[] = {
        { "POST", "/api/v1/projects/demo/files?overwrite=false", .status = 201,
          .reply = "{\"id\":77,\"uploadUrl\":\"/upload/77\"}" },
        { "POST", "/api/v1/projects/demo/files/byids", .status = 200,
          .reply = "{\"items\":[{\"id\":7,\"uploaded\":true}]}" },
        { "POST", "/api/v1/projects/demo/sessions", .status = 200, .reply = "{\"items\":[{\"nonce\":\"n\"}]}" },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        httpd_add(server, &good[i]);
}

static void run_retry(const json_t *vector)
{
    struct fixture f;
    char headers[256];
    const char *name = text(vector, "name");
    const char *extra = text(vector, "header");
    const char *method = text(vector, "method");
    const char *path = text(vector, "path");
    json_t *args = read_args(vector);
    fixture_open(&f, &peri_cdf, NULL, NULL, 0);
    snprintf(headers, sizeof headers, "%s%s%s", REQUEST_ID, extra ? extra : "", extra ? "\r\n" : "");
    httpd_add(f.server, &(struct httpd_step){ .method = method ? method : "POST",
                                              .path = path,
                                              .status = (int)json_integer_value(json_object_get(vector, "status")),
                                              .headers = headers,
                                              .reply = "{\"error\":{\"code\":1,\"message\":\"again\"}}",
                                              .times = 1000 });
    add_good_answers(f.server);
    struct peri_op *op = peri_service_call(f.client, f.service, text(vector, "operation"), args, NULL, &f.err);
    if (!op)
        fail_msg("%s: %s", name, f.err.message);
    enum peri_code code = peri_op_wait(op, &f.err);
    if (strcmp(peri_code_name(code), text(vector, "error")) != 0)
        fail_msg("%s: %s: %s", name, peri_code_name(code), f.err.message);
    json_int_t attempts = 0;
    for (size_t i = 0; i < httpd_count(f.server); i++)
        attempts += strcmp(httpd_request(f.server, i)->path, path) == 0;
    if (attempts != json_integer_value(json_object_get(vector, "attempts")))
        fail_msg("%s: %d attempts", name, (int)attempts);
    peri_op_free(op);
    json_decref(args);
    fixture_close(&f);
}

static void test_retry(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("cdf");
    const json_t *list = vectors_section(vectors, "retry");
    for (size_t i = 0; i < json_array_size(list); i++)
        run_retry(json_array_get(list, i));
    json_decref(vectors);
}

static void test_retryable_table(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("cdf");
    const json_t *list = vectors_section(vectors, "retryable");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *vector = json_array_get(list, i);
        const struct peri_operation *operation = peri_service_operation(&peri_cdf, text(vector, "operation"));
        assert_non_null(operation);
        assert_string_equal(operation->method, text(vector, "method"));
        if (text(vector, "path")) {
            char path[256];
            snprintf(path, sizeof path, "%s%s", "/api/v1/projects/demo", operation->path);
            assert_string_equal(path, text(vector, "path"));
        }
        if (operation->idempotent != json_is_true(json_object_get(vector, "retryable")))
            fail_msg("%s", operation->name);
    }
    json_decref(vectors);
}

/* The rest of section 17.2: requests that only flows make. */
static void test_retryable_requests(void **state)
{
    (void)state;
    static const struct {
        const struct peri_operation *request;
        const char *path;
        bool retryable;
    } requests[] = {
        { &peri_cdf__functions_byids, "/functions/byids", true },
        { &peri_cdf__calls_byids, "/functions/{functionId}/calls/byids", true },
        { &peri_cdf__schedules_byids, "/functions/schedules/byids", true },
        { &peri_cdf__files_byids, "/files/byids", true },
        { &peri_cdf__sessions, "/sessions", true },
        { &peri_cdf__sessions_byids, "/sessions/byids", true },
        { &peri_cdf__sessions_revoke, "/sessions/revoke", true },
        { &peri_cdf__functions_delete, "/functions/delete", false },
        { &peri_cdf__schedules_delete, "/functions/schedules/delete", false },
        { &peri_cdf__files_create, "/files", false },
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        assert_string_equal(requests[i].request->path, requests[i].path);
        assert_string_equal(requests[i].request->method, "POST");
        assert_int_equal(requests[i].request->idempotent, requests[i].retryable);
    }
    for (size_t i = 0; i < peri_cdf.count; i++) /* GET anything */
        if (strcmp(peri_cdf.operations[i].method, "GET") == 0)
            assert_true(peri_cdf.operations[i].idempotent);
}

/* ---- beyond the sheet's vectors ---- */

#define P "/api/v1/projects/demo"
#define RUNNING "{\"id\":9,\"status\":\"Running\",\"functionId\":1}"
#define DONE "{\"id\":9,\"status\":\"Completed\",\"functionId\":1}"

/* Our polling goes on until the call has ended, by external id too. */
static void test_wait_polls(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/byids", "{\"items\":[{\"externalId\":\"e\"}]}", .status = 200,
          .reply = "{\"items\":[{\"id\":1}]}" },
        { "POST", P "/functions/1/calls/byids", "{\"items\":[{\"id\":9}]}", .status = 200,
          .reply = "{\"items\":[" RUNNING "]}", .times = 4 },
        { "POST", P "/functions/1/calls/byids", "{\"items\":[{\"id\":9}]}", .status = 200,
          .reply = "{\"items\":[" DONE "]}" },
    };
    fixture_open(&f, &peri_cdf, NULL, steps, 3);
    struct peri_op *op = fixture_call(&f, "functions.calls.wait", "{\"function_external_id\":\"e\",\"call_id\":9}");
    fixture_assert_json(op, "{\"id\":9,\"status\":\"Completed\",\"function_id\":1}");
    assert_int_equal(httpd_count(f.server), 6);
    assert_int_equal(peri_op_attempts(op), 6); /* pauses are no attempts */
    peri_op_free(op);
    fixture_close(&f);
}

static void test_wait_ends(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/1/call", .status = 201, .reply = RUNNING, .times = 3 },
        { "POST", P "/functions/1/calls/byids", .status = 200, .reply = "{\"items\":[" RUNNING "]}", .times = 1000 },
    };
    static const struct httpd_step vanished = { "POST", P "/functions/1/calls/byids", .status = 400,
                                                .reply = "{\"error\":{\"message\":\"m\",\"missing\":[{\"id\":9}]}}" };
    fixture_open(&f, &peri_cdf, NULL, steps, 2);
    peri_op_free(fixture_call(&f, "functions.call", "{\"id\":1,\"nonce\":\"n\",\"timeout\":0.1}"));
    assert_int_equal(f.err.code, PERI_TIMEOUT);
    assert_string_equal(f.err.message, "call 9 is still running, and goes on: not done within 100 ms");
    assert_string_equal(f.err.operation, "cdf.functions.call");
    struct peri_op *op = fixture_start(&f, "functions.call", "{\"id\":1,\"nonce\":\"n\"}", NULL);
    size_t before = httpd_count(f.server);
    while (httpd_count(f.server) < before + 3)
        peri_loop_run_once(f.loop, 10, NULL);
    peri_op_cancel(op); /* in the middle of its polling */
    assert_int_equal(peri_op_code(op), PERI_CANCELLED);
    peri_op_free(op);
    fixture_close(&f);
    fixture_open(&f, &peri_cdf, NULL, steps, 1);
    httpd_add(f.server, &vanished);
    peri_op_free(fixture_call(&f, "functions.call", "{\"id\":1,\"nonce\":\"n\"}"));
    assert_int_equal(f.err.code, PERI_NOT_FOUND);
    assert_string_equal(f.err.message, "call 9 does not exist");
    fixture_close(&f);
}

/* Every operation on calls takes the function's external id instead. */
static void test_function_external_id(void **state)
{
    (void)state;
    static const char *const operations[] = { "functions.calls.retrieve", "functions.calls.get_response",
                                              "functions.calls.get_logs", "functions.calls.wait",
                                              "functions.calls.list" };
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/byids", .status = 200, .reply = "{\"items\":[]}", .times = 2 },
        { "POST", P "/functions/byids", .status = 400, .reply = "{\"error\":{\"message\":\"m\",\"missing\":[1]}}",
          .times = 9 },
    };
    fixture_open(&f, &peri_cdf, NULL, steps, 2);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        bool list = strcmp(operations[i], "functions.calls.list") == 0;
        peri_op_free(
            fixture_call(&f, operations[i],
                         list ? "{\"function_external_id\":\"e\"}" : "{\"function_external_id\":\"e\",\"call_id\":9}"));
        assert_int_equal(f.err.code, PERI_NOT_FOUND);
        assert_non_null(strstr(f.err.message, "no function has the external id 'e'"));
        assert_null(fixture_start(&f, operations[i], list ? "{}" : "{\"call_id\":9}", NULL));
        assert_int_equal(f.err.code, PERI_INVALID);
    }
    fixture_close(&f);
}

/* The package goes to a foreign storage host without our token; the platform is asked until it has the file. */
static void test_create_through_foreign_storage(void **state)
{
    (void)state;
    struct fixture f;
    char reply[256];
    char args[256];
    char value[64];
    static const struct httpd_step put = { "PUT", "/bucket/x?sig=1", .status = 200 };
    static const struct httpd_step steps[] = {
        { "POST", P "/files/byids", .status = 200, .reply = "{\"items\":[]}" },
        { "POST", P "/files/byids", .status = 200, .reply = "{\"items\":[{\"id\":77,\"uploaded\":false}]}",
          .times = 2 },
        { "POST", P "/files/byids", .status = 200, .reply = "{\"items\":[{\"id\":77,\"uploaded\":true}]}" },
        { "POST", P "/functions", "{\"items\":[{\"name\":\"f\",\"fileId\":77,\"functionPath\":\"handler.lua\"}]}",
          .status = 201, .reply = "{\"items\":[{\"id\":1}]}" },
    };
    struct httpd *storage = httpd_start(&put, 1);
    fixture_open(&f, &peri_cdf, NULL, steps, 4);
    snprintf(reply, sizeof reply, "{\"id\":77,\"mimeType\":\"application/zip\",\"uploadUrl\":\"%s/bucket/x?sig=1\"}",
             httpd_url(storage));
    httpd_add(f.server, &(struct httpd_step){ "POST", P "/files?overwrite=false", "{\"name\":\"f.zip\"}", .status = 201,
                                              .reply = reply });
    write_file("handler.lua", "return {}");
    snprintf(args, sizeof args, "{\"name\":\"f\",\"folder\":\"%s\"}", folder);
    struct peri_op *op = fixture_call(&f, "functions.create", args);
    if (f.err.code != PERI_OK)
        fail_msg("%s", f.err.message);
    fixture_assert_json(op, "{\"id\":1}");
    assert_int_equal(httpd_unused(f.server), 0);
    assert_false(httpd_header(httpd_request(storage, 0), "Authorization", value, sizeof value));
    assert_true(httpd_header(httpd_request(storage, 0), "Content-Type", value, sizeof value));
    assert_string_equal(value, "application/zip");
    assert_memory_equal(httpd_request(storage, 0)->body, "PK", 2);
    peri_op_free(op);
    fixture_close(&f);
    httpd_stop(storage);
}

static void test_create_refusals(void **state)
{
    (void)state;
    struct fixture f;
    char args[256];
    fixture_open(&f, &peri_cdf, NULL, NULL, 0);
    assert_null(fixture_start(&f, "functions.create", "{\"name\":\"f\"}", NULL));
    assert_int_equal(f.err.code, PERI_INVALID);
    snprintf(args, sizeof args, "{\"name\":\"f\",\"folder\":\"%s\",\"function_path\":\"main.py\"}", folder);
    peri_op_free(fixture_call(&f, "functions.create", args));
    assert_int_equal(f.err.code, PERI_PACKAGE);
    assert_non_null(strstr(f.err.message, "the entry file main.py does not exist"));
    static const char *const bad[] = {
        "{\"name\":\"f\",\"file_id\":7,\"cpu\":\"1\"}",
        "{\"name\":\"f\",\"file_id\":\"7\"}",
        "{\"file_id\":7}",
        "{\"name\":\"f\",\"file_id\":7,\"exclude\":\"x\"}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(fixture_start(&f, "functions.create", bad[i], NULL));
        assert_int_equal(f.err.code, PERI_INVALID);
    }
    assert_int_equal(httpd_count(f.server), 0);
    fixture_close(&f);
}

static void test_many_identifiers(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "POST", P "/functions/byids",
          "{\"items\":[{\"id\":1},{\"id\":2},{\"id\":3},{\"id\":4},{\"id\":5},{\"id\":6},{\"id\":7},{\"id\":8},{\"id\":"
          "9},"
          "{\"id\":10}],\"ignoreUnknownIds\":true}",
          .status = 200, .reply = "{\"items\":[{\"id\":1,\"fileId\":4503599627370497}]}" },
        { "POST", P "/functions/byids", "{\"items\":[{\"externalId\":\"e\"}],\"ignoreUnknownIds\":true}", .status = 200,
          .reply = "{\"items\":[{\"id\":11}]}" },
    };
    fixture_open(&f, &peri_cdf, NULL, steps, 2);
    struct peri_op *op =
        fixture_call(&f, "functions.retrieve_multiple",
                     "{\"ids\":[1,2,3,4,5,6,7,8,9,10],\"external_ids\":[\"e\"],\"ignore_unknown_ids\":true}");
    fixture_assert_json(op, "[{\"id\":1,\"file_id\":4503599627370497},{\"id\":11}]");
    peri_op_free(op);
    op = fixture_call(&f, "functions.retrieve_multiple", "{}");
    fixture_assert_json(op, "[]");
    peri_op_free(op);
    op = fixture_call(&f, "functions.delete", "{\"id\":[]}");
    assert_int_equal(peri_op_code(op), PERI_OK);
    peri_op_free(op);
    assert_int_equal(httpd_count(f.server), 2);
    assert_null(fixture_start(&f, "functions.delete", "{\"id\":\"7\"}", NULL));
    assert_int_equal(f.err.code, PERI_INVALID);
    assert_null(fixture_start(&f, "functions.delete", "{\"external_id\":[1]}", NULL));
    assert_string_equal(f.err.message, "cdf.functions.delete: option 'external_id' must hold external ids (strings)");
    fixture_close(&f);
}

static void test_sessions(void **state)
{
    (void)state;
    struct fixture f;
    static const char *const good[][2] = {
        { "{}", "{\"items\":[{\"tokenExchange\":true}]}" },
        { "{\"session_type\":\"token_exchange\"}", "{\"items\":[{\"tokenExchange\":true}]}" },
        { "{\"client_credentials\":{\"client_id\":\"A\",\"client_secret\":\"B\"}}",
          "{\"items\":[{\"clientId\":\"A\",\"clientSecret\":\"B\"}]}" },
    };
    static const char *const bad[] = { "{\"session_type\":\"X\"}", "{\"session_type\":\"CLIENT_CREDENTIALS\"}",
                                       "{\"client_credentials\":{\"client_id\":\"A\"}}" };
    fixture_open(&f, &peri_cdf, NULL, NULL, 0);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        httpd_add(f.server, &(struct httpd_step){ "POST", P "/sessions", good[i][1], .status = 200,
                                                  .reply = "{\"items\":[{\"id\":1,\"nonce\":\"n\"}]}" });
        struct peri_op *op = fixture_call(&f, "iam.sessions.create", good[i][0]);
        fixture_assert_json(op, "{\"id\":1,\"nonce\":\"n\"}");
        peri_op_free(op);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(fixture_start(&f, "iam.sessions.create", bad[i], NULL));
        assert_int_equal(f.err.code, PERI_INVALID);
    }
    httpd_add(f.server, &(struct httpd_step){ "POST", P "/sessions", .status = 200, .reply = "{\"items\":[]}" });
    peri_op_free(fixture_call(&f, "functions.call", "{\"id\":1}"));
    assert_int_equal(f.err.code, PERI_PROTOCOL);
    fixture_close(&f);
}

/* ---- transport failures of the sheet's table ---- */

static const struct badpeer_step silent[] = { BADPEER_REQUEST, { .action = BADPEER_HANG } };
static const struct badpeer_step file_there[] = {
    { .action = BADPEER_EXPECT, .text = "/files/byids" },
    BADPEER_REQUEST,
    BADPEER_SAYS("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 39\r\n\r\n"
                 "{\"items\":[{\"id\":7,\"uploaded\":true   }]}"),
    { .action = BADPEER_END },
};

static void run_transport(const json_t *vector)
{
    static const struct badpeer_step *const create_scripts[] = { file_there, silent };
    struct peri_error err = PERI_ERROR_INIT;
    char url[64];
    bool create = strcmp(text(vector, "operation"), "functions.create") == 0;
    struct badpeer *peer = NULL;
    if (strcmp(text(vector, "peer"), "silent") == 0)
        peer = create ? badpeer_new(create_scripts, 2) : badpeer_one(silent);
    struct peri_retry_policy policy = fixture_impatient(peri_cdf.retry);
    json_int_t max_attempts = json_integer_value(json_object_get(vector, "max_attempts"));
    if (max_attempts)
        policy.max_attempts = (unsigned)max_attempts;
    snprintf(url, sizeof url, "http://127.0.0.1:%u", peer ? badpeer_port(peer) : badpeer_closed_port());
    struct peri_client_options options = {
        .base_url = url, .project = "demo", .retry = &policy, .first_byte_timeout_ms = peer ? 200 : 0
    };
    struct peri_loop *loop = peri_loop_new(&err);
    struct peri_client *client = peri_client_new(loop, &options, &err);
    struct peri_op *op =
        peri_service_call(client, &peri_cdf, text(vector, "operation"), json_object_get(vector, "args"), NULL, &err);
    assert_non_null(op);
    peri_op_wait(op, &err);
    unsigned attempts = peri_op_attempts(op) - (create ? 1 : 0); /* but for the look at the file */
    if (strcmp(peri_code_name(err.code), text(vector, "error")) != 0 ||
        attempts != json_integer_value(json_object_get(vector, "attempts")))
        fail_msg("%s: %s after %u: %s", text(vector, "name"), peri_code_name(err.code), attempts, err.message);
    peri_op_free(op);
    peri_client_free(client);
    assert_int_equal(peri_loop_active(loop), 0);
    peri_loop_free(loop);
    if (peer)
        badpeer_free(peer);
}

static void test_transport(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("cdf");
    const json_t *list = vectors_section(vectors, "transport");
    for (size_t i = 0; i < json_array_size(list); i++)
        run_transport(json_array_get(list, i));
    json_decref(vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retryable_table),
        cmocka_unit_test(test_retryable_requests),
        cmocka_unit_test(test_wait_polls),
        cmocka_unit_test(test_wait_ends),
        cmocka_unit_test(test_function_external_id),
        cmocka_unit_test(test_create_through_foreign_storage),
        cmocka_unit_test(test_create_refusals),
        cmocka_unit_test(test_many_identifiers),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_transport),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
