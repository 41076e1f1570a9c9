/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "perilune/cdf.h"
#include "support/vectors.h"

/* The golden vectors of the platform's protocol sheet, and what it asks for beyond them. */

#define REQUEST_ID "x-request-id: req-0001\r\n"

static char folder[] = "/tmp/perilune-test-cdf-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
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
    static const char *const names[] = { "handler.py", "handler.lua", "requirements.txt" };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
    return 0;
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static bool is_skipped(const json_t *vector)
{
    const char *needs = text(vector, "needs");
    const char *name = text(vector, "name");
    if (needs)
        print_message("[  SKIPPED ] %s (needs %s)\n", name ? name : text(vector, "operation"), needs);
    return needs != NULL;
}

/* The options, with '@files' replaced by the folder; owned. */
static json_t *read_args(const json_t *vector)
{
    json_t *args = json_copy(json_object_get(vector, "args"));
    const char *name = NULL;
    json_t *content = NULL;
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

static void check_request(const json_t *exchange, const struct httpd_request *request)
{
    char value[256];
    assert_non_null(request);
    assert_string_equal(request->method, text(exchange, "method"));
    assert_string_equal(request->path, text(exchange, "path"));
    assert_true(httpd_header(request, "Authorization", value, sizeof value));
    assert_string_equal(value, "Bearer tok-1");
    assert_true(httpd_header(request, "User-Agent", value, sizeof value));
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

static void run_vector(const json_t *vector)
{
    struct fixture f;
    const char *name = text(vector, "name");
    const json_t *exchanges = json_object_get(vector, "exchanges");
    const json_t *expected_error = json_object_get(vector, "error");
    json_t *args = read_args(vector);
    fixture_open(&f, &peri_cdf, NULL, NULL, 0);
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
        check_request(json_array_get(exchanges, i), httpd_request(f.server, i));
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
        const json_t *vector = json_array_get(list, i);
        if (is_skipped(vector))
            continue;
        run_vector(vector);
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
        if (!is_skipped(json_array_get(list, i)))
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
        if (is_skipped(vector))
            continue;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retryable_table),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
