/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "perilune/webhook.h"
#include "support/gateway.h"
#include "support/vectors.h"

/* Events of CIM Database Cloud, signed, through the real programs; shapes as in the protocol sheet. */

static struct gateway gw;
static json_t *vectors;
static char secret[128];

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

/* A signed request; late: seconds that are taken off the clock. */
static struct raw_reply post(const char *path, const char *body, size_t len, int late, const char *with)
{
    char url[512], timestamp[32], headers[512];
    struct peri_buf signature;
    peri_buf_init(&signature, 64);
    snprintf(url, sizeof url, "/cim/events%s", path);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)time(NULL) - late);
    assert_int_equal(
        peri_webhook_sign(peri_str_from(with), timestamp, (struct peri_str){ body, len }, &signature, NULL), PERI_OK);
    snprintf(headers, sizeof headers,
             "X-CON-Timestamp: %s\r\nX-CON-Signature-256: %s\r\nContent-Type: application/json\r\n", timestamp,
             signature.data);
    peri_buf_fini(&signature);
    return raw_request(gw.port, "POST", url, headers, body, len);
}

static void assert_json(const struct raw_reply *reply, const json_t *wanted, const char *what)
{
    json_t *got = json_loads(reply->body, 0, NULL);
    if (!json_equal(got, wanted))
        fail_msg("%s: %s", what, reply->body);
    json_decref(got);
}

static void assert_error(const struct raw_reply *reply, const char *event_id, const char *type, const char *says)
{
    json_t *got = json_loads(reply->body, 0, NULL);
    if (strcmp(text_of(got, "response_type"), "error") != 0 || strcmp(text_of(got, "event_id"), event_id) != 0 ||
        strcmp(text_of(got, "error_type"), type) != 0 || strstr(text_of(got, "message"), says) == NULL)
        fail_msg("not event '%s', type '%s', '%s': %s", event_id, type, says, reply->body);
    assert_true(json_is_string(json_object_get(got, "trace")));
    assert_int_equal(json_object_size(got), 5);
    assert_memory_equal(reply->body, "{\"response_type\":\"error\",\"event_id\":\"", 36);
    json_decref(got);
}

static void assert_type(const struct raw_reply *reply, const char *wanted)
{
    char type[128];
    assert_non_null(raw_header(reply, "Content-Type", type, sizeof type));
    assert_string_equal(type, wanted);
}

static void deploy(const char *name, const char *code)
{
    char encoded[128];
    size_t len = 0;
    for (; *name != '\0' && len < sizeof encoded - 4; name++)
        len += (size_t)sprintf(encoded + len, *name == '/' ? "%%2F" : "%c", *name);
    json_decref(gateway_deploy(&gw, 201, encoded, code));
}

static int setup(void **state)
{
    char path[128];
    const char *name;
    json_t *code;
    (void)state;
    vectors = vectors_load("cim_event");
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, NULL));
    snprintf(path, sizeof path, "%s/credentials.json", gw.data);
    json_t *credentials = json_load_file(path, 0, NULL);
    snprintf(secret, sizeof secret, "%s", text_of(credentials, "cim_secret"));
    assert_int_equal(strlen(secret), 43);
    json_decref(credentials);
    json_object_foreach(json_object_get(vectors, "functions"), name, code) deploy(name, json_string_value(code));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(gateway_stop(&gw), 0);
    gateway_remove(&gw);
    json_decref(vectors);
    return 0;
}

static void test_what_functions_answer(void **state)
{
    size_t i;
    json_t *vector;
    const char *request = text_of(vectors, "request");
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "calls"), i, vector)
    {
        const json_t *error = json_object_get(vector, "error"), *shape = json_object_get(vector, "json");
        int status = (int)json_integer_value(json_object_get(vector, "status"));
        struct raw_reply reply = post(text_of(vector, "path"), request, strlen(request), 0, secret);
        if (reply.status != status)
            fail_msg("%s: status %d: %s", text_of(vector, "path"), reply.status, reply.body);
        assert_type(&reply, status == 202 ? "text/plain" : "application/json");
        if (error != NULL)
            assert_error(&reply, text_of(error, "event_id"), text_of(error, "error_type"), text_of(error, "message"));
        else if (shape != NULL)
            assert_json(&reply, shape, text_of(vector, "path"));
        else if (strcmp(reply.body == NULL ? "" : reply.body, text_of(vector, "body")) != 0)
            fail_msg("%s: %s", text_of(vector, "path"), reply.body);
        raw_reply_fini(&reply);
    }
}

static void test_failures_have_a_trace_and_a_record(void **state)
{
    const char *request = text_of(vectors, "request");
    char id[64], path[128];
    (void)state;
    struct raw_reply reply = post("/boom", request, strlen(request), 0, secret);
    json_t *error = json_loads(reply.body, 0, NULL);
    assert_non_null(strstr(text_of(error, "trace"), "handler.lua"));
    assert_non_null(raw_header(&reply, "perilune-call-id", id, sizeof id));
    json_decref(error);
    raw_reply_fini(&reply);
    snprintf(path, sizeof path, "/v1/calls/%s", id);
    json_t *record = gateway_json(&gw, 200, "GET", path, NULL);
    assert_string_equal(text_of(record, "function"), "boom");
    assert_string_equal(text_of(record, "status"), "Failed");
    json_decref(record);
}

static void test_bad_requests_name_what_is_wrong(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "bad"), i, vector)
    {
        const char *request = text_of(vector, "request");
        struct raw_reply reply = post("/echo", request, strlen(request), 0, secret);
        assert_int_equal(reply.status, 500);
        assert_error(&reply, text_of(vector, "event_id"), text_of(vector, "error_type"), text_of(vector, "says"));
        raw_reply_fini(&reply);
    }
    struct raw_reply reply = post("/echo", "{\"a\":\"\xFF\"}", 9, 0, secret);
    assert_error(&reply, "", "JSONDecodeError", "the request is not JSON");
    raw_reply_fini(&reply);
}

static void test_events_arrive_as_they_are(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "good"), i, vector)
    {
        const char *request = text_of(vector, "request");
        struct raw_reply reply = post("/echo", request, strlen(request), 0, secret);
        json_t *got = json_loads(reply.body, 0, NULL);
        if (reply.status != 200 || !json_equal(json_object_get(got, "data"), json_object_get(vector, "data")))
            fail_msg("%s became %s", request, reply.body);
        json_decref(got);
        raw_reply_fini(&reply);
    }
}

static void refused(struct raw_reply reply, const char *text)
{
    assert_int_equal(reply.status, 401);
    assert_type(&reply, "text/plain; charset=utf-8");
    if (strstr(reply.body, text) != reply.body)
        fail_msg("'%s' does not begin with '%s'", reply.body, text);
    assert_null(strstr(reply.body, secret));
    raw_reply_fini(&reply);
}

static void test_who_may_send_events(void **state)
{
    const char *r = text_of(vectors, "request");
    char headers[256];
    (void)state;
    refused(raw_request(gw.port, "POST", "/cim/events/nothing", "", r, strlen(r)), "no credentials: sign with");
    refused(raw_request(gw.port, "POST", "/cim/events/missing", "", r, strlen(r)), "no credentials");
    refused(post("/nothing", r, strlen(r), 0, "my_secret"), "Invalid signature");
    refused(post("/nothing", r, strlen(r), 0, ""), "Invalid signature");
    refused(post("/nothing", r, strlen(r), 0, gw.token), "Invalid signature");
    refused(post("/nothing", r, strlen(r), 70, secret), "Invalid signature");
    refused(post("/nothing", r, strlen(r), -70, secret), "Invalid signature");
    snprintf(headers, sizeof headers, "X-CON-Timestamp: %lld\r\nX-CON-Signature-256: 00\r\n", (long long)time(NULL));
    refused(raw_request(gw.port, "POST", "/cim/events/nothing", headers, r, strlen(r)), "Invalid signature");
    snprintf(headers, sizeof headers, "X-CON-Timestamp: soon\r\nX-CON-Signature-256: 00\r\n");
    refused(raw_request(gw.port, "POST", "/cim/events/nothing", headers, r, strlen(r)), "Invalid signature");
    refused(raw_request(gw.port, "POST", "/cim/events/nothing", "X-CON-Signature-256: 00\r\n", r, strlen(r)),
            "Invalid signature");
    refused(raw_request(gw.port, "POST", "/cim/events/nothing", "Authorization: Bearer wrong\r\n", r, strlen(r)),
            "the bearer token is not the right one");
    struct raw_reply reply = gateway_ask(&gw, "POST", "/cim/events/nothing", "application/json", r);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.len, 0);
    raw_reply_fini(&reply);
    reply = post("/nothing", r, strlen(r), 50, secret);
    assert_int_equal(reply.status, 200);
    raw_reply_fini(&reply);
}

static void test_paths_and_methods(void **state)
{
    static const char *const nameless[] = { "/cim/events", "/cim/events/", "/cim/events//", "/cim/events/%2F" };
    (void)state;
    struct raw_reply reply = gateway_ask(&gw, "POST", nameless[3], NULL, "{}");
    assert_int_equal(reply.status, 400);
    raw_reply_fini(&reply);
    for (size_t i = 0; i < sizeof nameless / sizeof nameless[0]; i++) { /* D7: before any credentials */
        reply = raw_request(gw.port, "POST", nameless[i], "Authorization: Bearer x\r\n", "{}", 2);
        assert_int_equal(reply.status, i < 3 ? 400 : 401);
        if (i < 3)
            assert_string_equal(reply.body, "No function name provided");
        raw_reply_fini(&reply);
    }
    reply = raw_request(gw.port, "GET", "/cim/events/nothing", "", NULL, 0);
    assert_int_equal(reply.status, 405);
    assert_error(&reply, "", "ValidationError", "GET is not a method of /cim/events/nothing");
    raw_reply_fini(&reply);
    reply = gateway_ask(&gw, "POST", "/cim/events/%ZZ", NULL, "{}");
    assert_int_equal(reply.status, 400);
    assert_error(&reply, "", "ValidationError", "bad percent-encoding in the path");
    raw_reply_fini(&reply);
}

static void restart(const char *const *options)
{
    assert_int_equal(gateway_stop(&gw), 0);
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, options));
}

static int answers_to(const char *with)
{
    const char *r = text_of(vectors, "request");
    struct raw_reply reply = post("/nothing", r, strlen(r), 0, with);
    int status = reply.status;
    raw_reply_fini(&reply);
    return status;
}

static void test_the_secret_is_kept_or_given(void **state)
{
    char path[128], said[8192];
    (void)state;
    restart(NULL);
    assert_int_equal(answers_to(secret), 200);
    snprintf(path, sizeof path, "%s/secret", gw.data);
    FILE *file = fopen(path, "w");
    fputs("chosen by hand\n", file);
    fclose(file);
    const char *const options[] = { "--cim-secret-file", path, NULL };
    restart(options);
    assert_int_equal(answers_to("chosen by hand"), 200);
    assert_int_equal(answers_to(secret), 401);
    setenv("PERILUNE_CIM_SECRET", "from-the-environment", 1);
    restart(options);
    assert_int_equal(answers_to("chosen by hand"), 200); /* the option wins */
    restart(NULL);
    assert_int_equal(answers_to("from-the-environment"), 200);
    snprintf(path, sizeof path, "/proc/%d/environ", (int)gw.pid);
    file = fopen(path, "r");
    size_t len = fread(said, 1, sizeof said, file);
    fclose(file);
    assert_null(memmem(said, len, "from-the-environment", 20));
    setenv("PERILUNE_CIM_SECRET", "", 1); /* nothing given: the kept one, never none */
    restart(NULL);
    assert_int_equal(answers_to(secret), 200);
    assert_int_equal(answers_to(""), 401);
    unsetenv("PERILUNE_CIM_SECRET");

    static const char *const bad[] = { "", "\n", "two\nlines\n" };
    char data[] = "/tmp/perilune-secret-XXXXXX", in[64];
    assert_non_null(mkdtemp(data));
    snprintf(in, sizeof in, "%s/s", data);
    const char *const start[] = { "--port", "0", "--data", data, "--cim-secret-file", in, NULL };
    assert_int_equal(gateway_run(PERI_BINARY_DIR, start, said, sizeof said), 1);
    assert_non_null(strstr(said, "there is no file"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        file = fopen(in, "w");
        fputs(bad[i], file);
        fclose(file);
        assert_int_equal(gateway_run(PERI_BINARY_DIR, start, said, sizeof said), 1);
        assert_non_null(strstr(said, "must hold the secret as its only line"));
    }
    struct gateway other = { 0 };
    snprintf(other.data, sizeof other.data, "%s", data);
    gateway_remove(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_functions_answer),
        cmocka_unit_test(test_failures_have_a_trace_and_a_record),
        cmocka_unit_test(test_bad_requests_name_what_is_wrong),
        cmocka_unit_test(test_events_arrive_as_they_are),
        cmocka_unit_test(test_who_may_send_events),
        cmocka_unit_test(test_paths_and_methods),
        cmocka_unit_test(test_the_secret_is_kept_or_given),
    };
    return cmocka_run_group_tests_name("api_cim_event", tests, setup, teardown);
}
