/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include "client/table.h"
#include "perilune/cdf.h"
#include "perilune/host.h"

/* The interpreter of tables: options are checked, and go where the table says. */

static const struct peri_field all_fields[] = {
    PERI_FIELD("thing_id", "thingId", PERI_STRING, PERI_IN_PATH, true, ""),
    PERI_FIELD("dry_run", "dryRun", PERI_BOOLEAN, PERI_IN_QUERY, false, ""),
    PERI_FIELD("count", NULL, PERI_INTEGER, PERI_IN_QUERY, false, ""),
    PERI_FIELD("trace_id", "X-Trace", PERI_STRING, PERI_IN_HEADER, false, ""),
    PERI_FIELD("user_data", "userData", PERI_OBJECT, PERI_IN_BODY, false, ""),
    PERI_FIELD("weight", NULL, PERI_NUMBER, PERI_IN_BODY, false, ""),
    PERI_FIELD("some_tags", "someTags", PERI_ARRAY, PERI_IN_BODY, false, ""),
    PERI_FIELD("any", NULL, PERI_ANY, PERI_IN_BODY, false, ""),
    PERI_FIELD_INITIAL("mode", NULL, PERI_STRING, PERI_IN_BODY, "", "\"fast\""),
    PERI_FIELD("made_by", "madeBy", PERI_STRING, PERI_IN_FILTER, false, ""),
    PERI_FIELD_LIMIT("limit", "", "25", 100),
};
static const struct peri_field either_fields[] = {
    PERI_FIELD("id", NULL, PERI_INTEGER, PERI_IN_BODY, false, ""),
    PERI_FIELD("external_id", "externalId", PERI_STRING, PERI_IN_BODY, false, ""),
};
static const struct peri_field content_fields[] = {
    PERI_FIELD("data", NULL, PERI_ANY, PERI_IN_CONTENT, false, ""),
    PERI_FIELD("body", NULL, PERI_STREAM, PERI_IN_CONTENT, false, ""),
    PERI_FIELD("content_type", "Content-Type", PERI_STRING, PERI_IN_HEADER, false, ""),
};
static const struct peri_operation operations[] = {
    { .name = "things.all",
      .method = "POST",
      .path = "/things/{thingId}/all",
      PERI_FIELDS(all_fields),
      .body = PERI_BODY_OBJECT,
      .shape = PERI_SHAPE_RAW },
    { .name = "things.always",
      .method = "POST",
      .path = "/always",
      PERI_FIELDS(either_fields),
      .body = PERI_BODY_OBJECT,
      .flags = PERI_OP_FILTER_ALWAYS,
      .shape = PERI_SHAPE_RAW },
    { .name = "things.either",
      .method = "POST",
      .path = "/either",
      PERI_FIELDS(either_fields),
      .body = PERI_BODY_ITEMS1,
      .one_of = { "id", "external_id" },
      .shape = PERI_SHAPE_RAW },
    { .name = "things.send",
      .method = "POST",
      .path = "/send",
      PERI_FIELDS(content_fields),
      .body = PERI_BODY_CONTENT,
      .shape = PERI_SHAPE_ANSWER },
    { .name = "things.get", .method = "GET", .path = "/get", .shape = PERI_SHAPE_RAW },
};
static const char *const headers[] = { "X-Kind", "test", NULL };
static const struct peri_service service = {
    .name = "test",
    .operations = operations,
    .count = PERI_COUNT(operations),
    .retry = &peri_retry_none,
    .prefix = "/p/{project}",
    .headers = headers,
    .gzip = true,
};

static const struct httpd_step anything[] = {
    { "POST", "/p/demo/things/a%2Fb%20%C3%B8/all?dryRun=true&count=3", .status = 200, .reply = "{}", .times = 9 },
    { "POST", "/p/demo/things/x/all", .status = 200, .reply = "{}", .times = 9 },
    { "POST", "/p/demo/always", .status = 200, .reply = "{}", .times = 9 },
    { "POST", "/p/demo/either", .status = 200, .reply = "{}", .times = 9 },
    { "POST", "/p/demo/send", .status = 200, .reply = "{}", .times = 9 },
    { "GET", "/p/demo/get", .status = 200, .reply = "{}", .times = 9 },
};

static void open_fixture(struct fixture *f)
{
    fixture_open(f, &service, NULL, anything, sizeof anything / sizeof *anything);
}

static const struct httpd_request *last(struct fixture *f)
{
    return httpd_request(f->server, httpd_count(f->server) - 1);
}

static void assert_body(struct fixture *f, const char *operation, const char *args, const char *body)
{
    struct peri_op *op = fixture_call(f, operation, args);
    if (f->err.code != PERI_OK)
        fail_msg("%s %s: %s", operation, args, f->err.message);
    json_t *expected = json_loads(body, JSON_DECODE_ANY, NULL);
    json_t *sent = json_loadb(last(f)->body, last(f)->body_len, JSON_DECODE_ANY, NULL);
    if (!json_equal(sent, expected))
        fail_msg("%s: sent %s, expected %s", operation, last(f)->body, body);
    json_decref(sent);
    json_decref(expected);
    peri_op_free(op);
}

static void assert_header(struct fixture *f, const char *name, const char *expected)
{
    char value[256] = "";
    bool there = httpd_header(last(f), name, value, sizeof value);
    assert_int_equal(there, expected != NULL);
    if (expected)
        assert_string_equal(value, expected);
}

static void test_places(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    assert_body(
        &f, "things.all",
        "{\"thing_id\":\"a/b "
        "ø\",\"dry_run\":true,\"count\":3,\"trace_id\":\"t-1\",\"user_data\":{\"aKey\":{\"b_c\":1}},"
        "\"weight\":1,\"some_tags\":[\"x\"],\"any\":null,\"made_by\":\"me\",\"limit\":7}",
        "{\"filter\":{\"madeBy\":\"me\"},\"userData\":{\"aKey\":{\"b_c\":1}},\"weight\":1.0,\"someTags\":[\"x\"],"
        "\"any\":null,\"mode\":\"fast\",\"limit\":7}");
    assert_header(&f, "X-Trace", "t-1");
    assert_header(&f, "X-Kind", "test");
    assert_header(&f, "Content-Type", "application/json");
    assert_non_null(strstr(last(&f)->body, "1.0")); /* a number stays a number with a point */
    fixture_close(&f);
}

static void test_defaults_and_limits(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    assert_body(&f, "things.all", "{\"thing_id\":\"x\"}", "{\"mode\":\"fast\",\"limit\":25}");
    assert_body(&f, "things.all", "{\"thing_id\":\"x\",\"limit\":-1}", "{\"mode\":\"fast\",\"limit\":100}");
    assert_body(&f, "things.all", "{\"thing_id\":\"x\",\"limit\":null}", "{\"mode\":\"fast\",\"limit\":100}");
    assert_body(&f, "things.all", "{\"thing_id\":\"x\",\"limit\":101}", "{\"mode\":\"fast\",\"limit\":100}");
    assert_body(&f, "things.all", "{\"thing_id\":\"x\",\"mode\":null,\"weight\":null}",
                "{\"mode\":\"fast\",\"limit\":25}");
    /* an empty Lua table is either */
    assert_body(&f, "things.all", "{\"thing_id\":\"x\",\"some_tags\":{},\"user_data\":[]}",
                "{\"mode\":\"fast\",\"limit\":25,\"someTags\":[],\"userData\":{}}");
    assert_body(&f, "things.always", NULL, "{\"filter\":{}}");
    assert_body(&f, "things.either", "{\"id\":3}", "{\"items\":[{\"id\":3}]}");
    assert_body(&f, "things.either", "{\"external_id\":\"e\",\"id\":null}", "{\"items\":[{\"externalId\":\"e\"}]}");
    fixture_close(&f);
}

static void test_content(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    assert_body(&f, "things.send", "{\"data\":[1,{\"aB\":2}]}", "[1,{\"aB\":2}]");
    assert_header(&f, "Content-Type", "application/json");
    struct peri_op *op = fixture_call(&f, "things.send", "{\"body\":\"raw bytes\"}");
    assert_int_equal(f.err.code, PERI_OK);
    assert_string_equal(last(&f)->body, "raw bytes");
    assert_header(&f, "Content-Type", "application/octet-stream");
    peri_op_free(op);
    op = fixture_call(&f, "things.send", "{\"body\":\"a,b\",\"content_type\":\"text/csv\"}");
    assert_header(&f, "Content-Type", "text/csv");
    peri_op_free(op);
    struct peri_call_streams streams = { .content = peri_reader_borrowed(peri_str_from("streamed"), NULL) };
    op = fixture_start(&f, "things.send", NULL, &streams);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    assert_string_equal(last(&f)->body, "streamed");
    assert_header(&f, "Content-Type", "application/octet-stream");
    peri_op_free(op);
    op = fixture_call(&f, "things.send", NULL);
    assert_int_equal(last(&f)->body_len, 0);
    peri_op_free(op);
    fixture_close(&f);
}

static void test_gzip_of_large_bodies(void **state)
{
    (void)state;
    struct fixture f;
    char args[4096];
    char expected[4096];
    char filler[2001];
    memset(filler, 'x', sizeof filler - 1);
    filler[2000] = '\0';
    open_fixture(&f);
    snprintf(args, sizeof args, "{\"thing_id\":\"x\",\"any\":\"%s\"}", filler);
    snprintf(expected, sizeof expected, "{\"mode\":\"fast\",\"limit\":25,\"any\":\"%s\"}", filler);
    assert_body(&f, "things.all", args, expected);
    assert_true(last(&f)->gzipped);
    assert_body(&f, "things.all", "{\"thing_id\":\"x\"}", "{\"mode\":\"fast\",\"limit\":25}");
    assert_false(last(&f)->gzipped);
    fixture_close(&f);

    struct peri_client_options plain = { .project = "demo", .no_gzip = true };
    fixture_open(&f, &service, &plain, anything, sizeof anything / sizeof *anything);
    assert_body(&f, "things.all", args, expected);
    assert_false(last(&f)->gzipped);
    fixture_close(&f);
}

static void assert_refused(struct fixture *f, const char *operation, const char *args, const char *message)
{
    peri_error_clear(&f->err);
    struct peri_op *op = fixture_start(f, operation, args, NULL);
    if (op)
        fail_msg("%s took %s", operation, args);
    assert_int_equal(f->err.code, PERI_INVALID);
    assert_string_equal(f->err.message, message);
}

static void test_refusals(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    assert_refused(&f, "things.get", "{\"timout\":1}",
                   "test.things.get: unknown option 'timout'; did you mean 'timeout'?");
    assert_refused(&f, "things.all", "{\"thing_id\":\"x\",\"thingId\":1}",
                   "test.things.all: unknown option 'thingId'; did you mean 'thing_id'?");
    assert_refused(&f, "things.get", "{\"zzzzzzzzzzzz\":1}", "test.things.get: unknown option 'zzzzzzzzzzzz'");
    assert_refused(&f, "things.all", "{}", "test.things.all: option 'thing_id' is required");
    assert_refused(&f, "things.all", "{\"thing_id\":null}", "test.things.all: option 'thing_id' is required");
    assert_refused(&f, "things.all", "{\"thing_id\":\"\"}", "test.things.all: option 'thing_id' must not be empty");
    assert_refused(&f, "things.all", "{\"thing_id\":\"..\"}", "test.things.all: '..' can't be a part of a path");
    assert_refused(&f, "things.all", "{\"thing_id\":3}",
                   "test.things.all: option 'thing_id' must be a string, not an integer");
    assert_refused(&f, "things.all", "{\"thing_id\":\"x\",\"count\":1.5}",
                   "test.things.all: option 'count' must be an integer, not a number with a fraction");
    assert_refused(&f, "things.all", "{\"thing_id\":\"x\",\"some_tags\":\"t\"}",
                   "test.things.all: option 'some_tags' must be a list, not a string");
    assert_refused(&f, "things.all", "{\"thing_id\":\"x\",\"user_data\":[1]}",
                   "test.things.all: option 'user_data' must be an object, not a list");
    assert_refused(&f, "things.all", "{\"thing_id\":\"x\",\"dry_run\":1}",
                   "test.things.all: option 'dry_run' must be a boolean, not an integer");
    assert_refused(&f, "things.all", "{\"thing_id\":\"x\",\"limit\":0}",
                   "test.things.all: option 'limit' must be an integer from 1, or -1 for all, not less");
    assert_refused(&f, "things.all", "{\"thing_id\":\"x\",\"trace_id\":\"a\\r\\nb: c\"}",
                   "test.things.all: option 'trace_id' holds characters that a header can't carry");
    assert_refused(&f, "things.either", "{}",
                   "test.things.either: exactly one of the options 'id' and 'external_id' is required");
    assert_refused(&f, "things.either", "{\"id\":1,\"external_id\":\"e\"}",
                   "test.things.either: exactly one of the options 'id' and 'external_id' is required, not both");
    assert_refused(&f, "things.get", "{\"timeout\":0}",
                   "test.things.get: option 'timeout' must be a positive number of seconds");
    assert_refused(&f, "things.send", "{\"data\":1,\"body\":\"x\"}",
                   "test.things.send: option 'body' is one source of the body too many");
    assert_refused(&f, "things.nothing", NULL, "test has no operation 'things.nothing'");
    assert_int_equal(httpd_count(f.server), 0);
    fixture_close(&f);
}

static void test_streams_are_taken_on_failure(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_buf out;
    peri_buf_init(&out, 100);
    open_fixture(&f);
    static const char *const bad[][2] = { { "things.get", "{}" }, { "things.get", "{\"a\":1}" }, { "nothing", "{}" } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct peri_call_streams streams = { .content = peri_reader_memory(peri_str_from("x"), NULL),
                                             .sink = peri_writer_buf(&out, NULL) };
        assert_null(fixture_start(&f, bad[i][0], bad[i][1], &streams)); /* the leak check says the rest */
        assert_int_equal(f.err.code, PERI_INVALID);
    }
    fixture_close(&f);
}

static void test_project_is_required(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_client_options options = { .token = "t" };
    fixture_open(&f, &service, &options, NULL, 0);
    assert_refused(&f, "things.get", NULL, "test.things.get: the client needs a project");
    fixture_close(&f);
}

static void test_registry(void **state)
{
    (void)state;
    assert_ptr_equal(peri_service_find("cdf"), &peri_cdf);
    assert_ptr_equal(peri_service_find("host"), &peri_host);
    assert_null(peri_service_find("nothing"));
    for (size_t s = 0; s < 2; s++) {
        const struct peri_service *all[] = { &peri_cdf, &peri_host };
        for (size_t i = 0; i < all[s]->count; i++) {
            const struct peri_operation *operation = &all[s]->operations[i];
            assert_ptr_equal(peri_service_operation(all[s], operation->name), operation);
            assert_non_null(operation->help);
            for (size_t k = 0; k < operation->field_count; k++)
                assert_true(operation->fields[k].help[0] != '\0');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_defaults_and_limits),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_gzip_of_large_bodies),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_streams_are_taken_on_failure),
        cmocka_unit_test(test_project_is_required),
        cmocka_unit_test(test_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
