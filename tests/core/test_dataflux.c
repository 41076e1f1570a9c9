/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include <stdio.h>

#include "perilune/access_key.h"
#include "perilune/dataflux.h"
#include "perilune/hash.h"
#include "support/vectors.h"

/* The golden vectors of the function host's sheet, byte by byte; when a call is repeated; what is refused; servers that do
 * not keep to the sheet. */

#define BOUNDARY "$BOUNDARY"

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void add_exchange(struct httpd *server, const json_t *exchange)
{
    char headers[512];
    const char *name = NULL;
    json_t *value = NULL;
    int len =
        snprintf(headers, sizeof headers, "Content-Type: %s\r\n", text(exchange, "type") ? text(exchange, "type") : "");
    json_object_foreach(json_object_get(exchange, "reply_headers"), name, value) len +=
        snprintf(headers + len, sizeof headers - (size_t)len, "%s: %s\r\n", name, json_string_value(value));
    httpd_add(server, &(struct httpd_step){ .method = text(exchange, "method"),
                                            .path = text(exchange, "path"),
                                            .status = (int)json_integer_value(json_object_get(exchange, "status")),
                                            .headers = headers,
                                            .reply = text(exchange, "reply") });
}

/* The expected text with the boundary that the request has; freed by the caller. */
static char *with_boundary(const char *expected, const struct httpd_request *request)
{
    char type[256] = "";
    struct peri_buf out;
    const char *boundary = "";
    peri_buf_init(&out, 1024 * 1024);
    if (httpd_header(request, "Content-Type", type, sizeof type) && strstr(type, "boundary="))
        boundary = strstr(type, "boundary=") + strlen("boundary=");
    for (const char *at = expected; *at;) {
        const char *found = strstr(at, BOUNDARY);
        size_t plain = found ? (size_t)(found - at) : strlen(at);
        assert_int_equal(peri_buf_append(&out, at, plain), PERI_OK);
        at += plain;
        if (found) {
            assert_int_equal(peri_buf_append_text(&out, boundary), PERI_OK);
            at += strlen(BOUNDARY);
        }
    }
    assert_int_equal(peri_buf_append_byte(&out, '\0'), PERI_OK);
    return peri_buf_take(&out, NULL);
}

static void check_headers(const char *id, const json_t *exchange, const struct httpd_request *request)
{
    char value[512];
    const char *name = NULL;
    json_t *expected = NULL;
    size_t i = 0;
    json_object_foreach(json_object_get(exchange, "headers"), name, expected)
    {
        char *wanted = with_boundary(json_string_value(expected), request);
        if (!httpd_header(request, name, value, sizeof value))
            fail_msg("%s: no header %s", id, name);
        if (strcmp(wanted, "Digest ") == 0 ? strncmp(value, wanted, 7) != 0 : strcmp(value, wanted) != 0)
            fail_msg("%s: header %s is '%s', expected '%s'", id, name, value, wanted);
        free(wanted);
    }
    json_array_foreach(json_object_get(exchange, "absent"), i, expected)
    {
        if (httpd_header(request, json_string_value(expected), value, sizeof value))
            fail_msg("%s: header %s is there", id, json_string_value(expected));
    }
    assert_false(httpd_header(request, "Transfer-Encoding", value, sizeof value));
    assert_false(httpd_header(request, "Expect", value, sizeof value));
}

static void check_signature(const char *secret, const char *canonical, const struct httpd_request *request)
{
    char nonce[64], timestamp[32], given[64], expected[PERI_ACCESS_SIGN_SIZE];
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf md5;
    struct peri_error err;
    assert_true(httpd_header(request, "X-Dff-Ak-Nonce", nonce, sizeof nonce));
    assert_true(httpd_header(request, "X-Dff-Ak-Timestamp", timestamp, sizeof timestamp));
    assert_true(httpd_header(request, "X-Dff-Ak-Sign", given, sizeof given));
    peri_buf_init(&md5, 64);
    assert_int_equal(peri_hash_once(PERI_MD5, peri_str_from(canonical ? canonical : "{}"), digest, &err), PERI_OK);
    assert_int_equal(peri_hex_append(&md5, digest, 16), PERI_OK);
    assert_int_equal(peri_access_key_signature(secret, request->method, peri_str_from(request->path), atoll(timestamp),
                                               nonce, md5.data, expected, &err),
                     PERI_OK);
    assert_string_equal(given, expected);
    peri_buf_fini(&md5);
}

static void check_request(const json_t *vector, const json_t *exchange, const struct httpd_request *request)
{
    const char *id = text(vector, "id");
    if (!request) {
        fail_msg("%s: no request for %s", id, text(exchange, "path"));
        return; /* never: for the analyzer */
    }
    if (strcmp(request->method, text(exchange, "method")) != 0 || strcmp(request->path, text(exchange, "path")) != 0)
        fail_msg("%s: %s %s, expected %s %s", id, request->method, request->path, text(exchange, "method"),
                 text(exchange, "path"));
    check_headers(id, exchange, request);
    if (text(exchange, "body")) {
        char *body = with_boundary(text(exchange, "body"), request);
        if (strlen(body) != request->body_len || memcmp(body, request->body, request->body_len) != 0)
            fail_msg("%s: got %s\n expected %s", id, request->body, body);
        free(body);
    }
    if (text(vector, "signed"))
        check_signature(text(vector, "signed"), text(vector, "canonical"), request);
}

static void check_error(const char *id, const json_t *expected, enum peri_code code, const struct peri_error *err)
{
    const json_t *wait = json_object_get(expected, "retry_after_ms");
    const json_t *retryable = json_object_get(expected, "retryable");
    if (strcmp(peri_code_name(code), text(expected, "code")) != 0)
        fail_msg("%s: %s (%s), expected %s", id, peri_code_name(code), err->message, text(expected, "code"));
    assert_int_equal(err->status, json_integer_value(json_object_get(expected, "status")));
    if (text(expected, "platform_code"))
        assert_string_equal(err->platform_code, text(expected, "platform_code"));
    if (text(expected, "message"))
        assert_string_equal(err->message, text(expected, "message"));
    if (text(expected, "request_id"))
        assert_string_equal(err->request_id, text(expected, "request_id"));
    if (wait)
        assert_int_equal(err->retry_after_ms, json_integer_value(wait));
    if (retryable)
        assert_int_equal(err->retryable, json_is_true(retryable));
}

static void check_result(const json_t *vector, struct peri_op *op)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *id = text(vector, "id"), *bytes = text(vector, "bytes");
    const json_t *expected = json_object_get(vector, "result");
    if (bytes) {
        assert_int_equal(peri_op_shape(op), PERI_SHAPE_BYTES);
        if (!peri_str_equal(peri_op_body(op), peri_str_from(bytes)))
            fail_msg("%s: got %.*s", id, (int)peri_op_body(op).len, peri_op_body(op).data);
        return;
    }
    assert_int_equal(peri_op_shape(op), PERI_SHAPE_RAW);
    json_t *got = peri_op_json(op, &err);
    if (!got || !json_equal(got, (json_t *)expected))
        fail_msg("%s: got %.*s %s", id, (int)peri_op_body(op).len, peri_op_body(op).data, err.message);
}

static struct peri_multipart *make_files(const json_t *list)
{
    struct peri_error err;
    size_t i = 0;
    const json_t *file = NULL;
    if (!list)
        return NULL;
    struct peri_multipart *files = peri_multipart_new(&err);
    json_array_foreach((json_t *)list, i, file)
    {
        const char *name = text(file, "name") ? text(file, "name") : "files";
        struct peri_reader *source = peri_reader_memory(peri_str_from(text(file, "data")), &err);
        assert_int_equal(peri_multipart_add_file(files, peri_str_from(name), peri_str_from(text(file, "filename")),
                                                 text(file, "content_type"), source, &err),
                         PERI_OK);
    }
    return files;
}

static void run_vector(const json_t *vector)
{
    struct fixture f;
    const char *id = text(vector, "id");
    const json_t *exchanges = json_object_get(vector, "exchanges");
    const json_t *expected = json_object_get(vector, "error");
    struct peri_client_options options = { .retry = &peri_retry_none };
    fixture_open(&f, &peri_dataflux, &options, NULL, 0);
    for (size_t i = 0; i < json_array_size(exchanges); i++)
        add_exchange(f.server, json_array_get(exchanges, i));
    struct peri_call_streams streams = { .files = make_files(json_object_get(vector, "files")) };
    if (text(vector, "content"))
        streams.content = peri_reader_memory(peri_str_from(text(vector, "content")), &f.err);
    struct peri_op *op = peri_service_call(f.client, f.service, text(vector, "operation"),
                                           json_object_get(vector, "args"), &streams, &f.err);
    if (!op)
        fail_msg("%s: %s", id, f.err.message);
    enum peri_code code = peri_op_wait(op, &f.err);
    if (expected)
        check_error(id, expected, code, peri_op_error(op));
    else if (code != PERI_OK)
        fail_msg("%s: %s", id, f.err.message);
    else
        check_result(vector, op);
    if (httpd_count(f.server) != json_array_size(exchanges))
        fail_msg("%s: %zu requests", id, httpd_count(f.server));
    for (size_t i = 0; i < json_array_size(exchanges); i++)
        check_request(vector, json_array_get(exchanges, i), httpd_request(f.server, i));
    peri_op_free(op);
    fixture_close(&f);
}

static void test_vectors(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("dataflux");
    const json_t *list = vectors_section(vectors, "calls");
    assert_int_equal(json_array_size(list), 68);
    for (size_t i = 0; i < json_array_size(list); i++)
        run_vector(json_array_get(list, i));
    json_decref(vectors);
}

/* ---- what is repeated ---- */

#define THROTTLED "{\"ok\":false,\"error\":429.46,\"reason\":\"EClientRateLimit.APIThrottling\",\"message\":\"m\"}"
#define UNANSWERED "{\"ok\":false,\"error\":599.99,\"reason\":\"EWorkerNoResponse\",\"message\":\"m\"}"

static void test_repeats(void **state)
{
    static const struct {
        int status;
        const char *reply, *args;
        unsigned attempts;
        bool drop;
    } cases[] = {
        { 429, THROTTLED, "{\"id\":\"s\"}", 2, false },
        { 503, "", "{\"id\":\"s\"}", 1, false },
        { 599, UNANSWERED, "{\"id\":\"s\"}", 1, false },
        { 0, "", "{\"id\":\"s\"}", 1, true },
        { 503, "", "{\"id\":\"s\",\"idempotent\":true}", 2, false },
        { 599, UNANSWERED, "{\"id\":\"s\",\"idempotent\":true}", 2, false },
        { 0, "", "{\"id\":\"s\",\"idempotent\":true}", 2, true },
        { 500, "", "{\"id\":\"s\",\"idempotent\":true}", 1, false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        struct httpd_step steps[] = {
            { "POST", "/api/v1/sync/s", .status = cases[i].status, .reply = cases[i].reply, .drop = cases[i].drop },
            { "POST", "/api/v1/sync/s", .status = 200, .reply = "1" },
        };
        fixture_open(&f, &peri_dataflux, NULL, steps, 2);
        f.err.code = PERI_OK;
        struct peri_op *op = fixture_call(&f, "sync.call", cases[i].args);
        if (httpd_count(f.server) != cases[i].attempts || (peri_op_code(op) == PERI_OK) != (cases[i].attempts == 2))
            fail_msg("case %zu: %zu attempts, %s", i, httpd_count(f.server), f.err.message);
        peri_op_free(op);
        fixture_close(&f);
    }
}

/* The platform says how long the refusal lasts. */
static void test_waits_as_told(void **state)
{
    struct fixture f;
    static const char reply[] = "{\"ok\":false,\"error\":429.46,\"reason\":\"EClientRateLimit.APIThrottling\","
                                "\"message\":\"m\",\"detail\":{\"waitSeconds\":86400}}";
    static const struct httpd_step step = { "POST", "/api/v1/sync/s", .status = 429, .reply = reply };
    (void)state;
    fixture_open(&f, &peri_dataflux, NULL, &step, 1);
    struct peri_op *op = fixture_call(&f, "sync.call", "{\"id\":\"s\"}");
    assert_int_equal(f.err.code, PERI_RATE_LIMITED);
    assert_int_equal(f.err.retry_after_ms, 86400000);
    assert_int_equal(httpd_count(f.server), 1);
    peri_op_free(op);
    fixture_close(&f);
}

/* A nonce may be used only once: each attempt has its own. */
static void test_fresh_nonces(void **state)
{
    struct fixture f;
    char first[64], second[64];
    static const struct httpd_step steps[] = {
        { "GET", "/api/v1/sync-apis/do/list", .status = 503 },
        { "GET", "/api/v1/sync-apis/do/list", .status = 200, .reply = "{\"ok\":true,\"data\":[]}" },
    };
    (void)state;
    fixture_open(&f, &peri_dataflux, NULL, steps, 2);
    struct peri_op *op =
        fixture_call(&f, "sync_apis.list", "{\"credentials\":{\"ak_id\":\"a\",\"ak_secret\":\"secret\"}}");
    fixture_assert_json(op, "{\"items\":[],\"page_info\":{}}");
    assert_true(httpd_header(httpd_request(f.server, 0), "X-Dff-Ak-Nonce", first, sizeof first));
    assert_true(httpd_header(httpd_request(f.server, 1), "X-Dff-Ak-Nonce", second, sizeof second));
    assert_string_not_equal(first, second);
    check_signature("secret", NULL, httpd_request(f.server, 1));
    peri_op_free(op);
    fixture_close(&f);
}

/* ---- Digest with bodies and sinks ---- */

static enum peri_code read_once(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    const char **at = data;
    (void)err;
    *n = **at && cap ? 1 : 0;
    if (*n)
        *(char *)out = *(*at)++;
    return PERI_OK;
}

#define CHALLENGE                                                                                                      \
    "WWW-Authenticate: Basic realm=\"x\"\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n"
#define DIGEST "\"auth\":{\"type\":\"httpDigest\",\"username\":\"u\",\"password\":\"p\"}"

static void test_digest_sends_the_body_again(void **state)
{
    struct fixture f;
    char out[64] = "";
    struct peri_buf sink;
    static const struct httpd_step steps[] = {
        { "POST", "/api/v1/sync/s/simplified", .status = 401, .headers = CHALLENGE, .reply = "no" },
        { "POST", "/api/v1/sync/s/simplified", .status = 200, .reply = "yes" },
    };
    struct peri_client_options options = { .retry = &peri_retry_none };
    (void)state;
    fixture_open(&f, &peri_dataflux, &options, steps, 2);
    peri_buf_init(&sink, 1024);
    struct peri_call_streams streams = { .content = peri_reader_memory(peri_str_from("bytes"), &f.err),
                                         .sink = peri_writer_buf(&sink, &f.err) };
    struct peri_op *op = fixture_start(&f, "sync.call", "{\"id\":\"s\"," DIGEST "}", &streams);
    assert_non_null(op);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    assert_true(peri_str_equal(peri_buf_str(&sink), peri_str_from("yes")));
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(httpd_request(f.server, i)->body, "bytes");
    assert_true(httpd_header(httpd_request(f.server, 1), "Authorization", out, sizeof out));
    peri_op_free(op);
    peri_buf_fini(&sink);
    fixture_close(&f);
}

/* A body that can be read only once ends with the server's own refusal. */
static void test_digest_of_a_body_that_is_gone(void **state)
{
    struct fixture f;
    const char *body = "bytes";
    static const struct httpd_step step = { "POST", "/api/v1/sync/s/simplified", .status = 401, .headers = CHALLENGE };
    struct peri_client_options options = { .retry = &peri_retry_none };
    (void)state;
    fixture_open(&f, &peri_dataflux, &options, &step, 1);
    struct peri_call_streams streams = { .content = peri_reader_callback(read_once, NULL, 5, &body, NULL, &f.err) };
    struct peri_op *op = fixture_start(&f, "sync.call", "{\"id\":\"s\"," DIGEST "}", &streams);
    assert_non_null(op);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_UNAUTHORIZED);
    assert_int_equal(httpd_count(f.server), 1);
    peri_op_free(op);
    fixture_close(&f);
}

/* ---- what is refused before anything is sent ---- */

static void test_refused(void **state)
{
    static const char *const cases[][3] = {
        { "sync.call", "{}", "option 'id' is required" },
        { "sync.call", "{\"id\":\"..\"}", "option 'id': '..' can't be a part of a path" },
        { "sync.call", "{\"id\":\"s\",\"kwarg\":{}}", "unknown option 'kwarg'; did you mean 'kwargs'?" },
        { "sync.call", "{\"id\":\"s\",\"kwargs\":5}", "option 'kwargs' must be an object, not an integer" },
        { "sync.call", "{\"id\":\"s\",\"form\":\"normal-ish\"}",
          "option 'form' must be bare, normal or simplified, not 'normal-ish'" },
        { "sync.call", "{\"id\":\"s\",\"method\":\"PUT\"}", "option 'method' must be GET or POST, not 'PUT'" },
        { "sync.call", "{\"id\":\"s\",\"options\":{\"timout\":1}}",
          "option 'options': unknown option 'timout'; did you mean 'timeout'?" },
        { "sync.call", "{\"id\":\"s\",\"options\":{\"timeout\":0}}",
          "option 'options': 'timeout' must be from 1 to 3600, not 0" },
        { "sync.call", "{\"id\":\"s\",\"options\":{\"queue\":10}}",
          "option 'options': 'queue' must be from 1 to 9, not 10" },
        { "sync.call", "{\"id\":\"s\",\"options\":{\"return_type\":\"json\"}}",
          "option 'options': 'return_type' must be \"raw\" or \"jsonDumps\", not \"json\"" },
        { "sync.call", "{\"id\":\"s\",\"options\":{\"async\":true}}",
          "option 'options': only a direct call takes 'async'" },
        { "sync.call", "{\"id\":\"s\",\"form\":\"bare\",\"options\":{\"queue\":1}}",
          "the platform's option 'queue' needs form = \"normal\", not \"bare\"" },
        { "sync.call", "{\"id\":\"s\",\"form\":\"simplified\",\"options\":{\"queue\":1}}",
          "an option of the platform needs form = \"normal\", not \"simplified\"" },
        { "sync.call", "{\"id\":\"s\",\"form\":\"bare\",\"tail\":\"x\"}",
          "a tail of the path needs form = \"simplified\", not \"bare\"" },
        { "sync.call", "{\"id\":\"s\",\"content_type\":\"text/plain\"}",
          "option 'content_type' is of a raw body, and there is none" },
        { "sync.call", "{\"id\":\"s\",\"headers\":{\"a\":\"x\\ny\"}}",
          "option 'headers': 'a' must be a text that a header can carry" },
        { "sync.call", "{\"id\":\"s\",\"method\":\"GET\",\"form\":\"simplified\",\"kwargs\":{\"a\":null}}",
          "argument 'a': the simplified form can't carry null; use form = \"normal\"" },
        { "sync.call", "{\"id\":\"s\",\"method\":\"GET\",\"form\":\"simplified\",\"kwargs\":{\"a\":{\"b\":[]}}}",
          "argument 'a[b]': the simplified form can't carry an empty table; use form = \"normal\"" },
        { "sync.call",
          "{\"id\":\"s\",\"method\":\"GET\",\"form\":\"simplified\","
          "\"kwargs\":{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":1}}}}}}}}",
          "argument 'a[b][c][d][e][f]': the simplified form can't carry so many levels; use form = \"normal\"" },
        { "sync.call", "{\"id\":\"s\",\"auth\":{\"type\":\"basic\"}}",
          "option 'auth': 'type' must be fixedField, httpBasic or httpDigest" },
        { "sync.call", "{\"id\":\"s\",\"auth\":{\"type\":\"httpBasic\",\"username\":\"u\"}}",
          "option 'auth': 'username' and 'password' are required" },
        { "sync.call", "{\"id\":\"s\",\"auth\":{\"type\":\"fixedField\",\"location\":\"path\",\"name\":\"n\"}}",
          "option 'auth': a fixed field has 'location' (header, query or body), 'name' and 'value'" },
        { "func.call", "{\"id\":\"f\",\"options\":{\"timeout\":5}}",
          "option 'options': a direct call does not take 'timeout'" },
        { "func.call", "{\"id\":\"f\",\"credentials\":{\"ak_id\":\"a\"}}",
          "option 'credentials': an access key is both 'ak_id' and 'ak_secret'" },
        { "func.call", "{\"id\":\"f\",\"credentials\":{\"auth_token\":\"a\",\"local_token\":\"b\"}}",
          "option 'credentials': exactly one of the options 'auth_token', 'local_token' and 'ak_id' is required, not "
          "several" },
        { "task.result", "{\"task_id\":\"t\",\"wait\":-1}", "option 'wait' must be seconds from 0 on" },
        { "cron_jobs.add", "{}", "option 'func_id' is required" },
        { "sync_apis.add", "{\"func_id\":\"f\",\"cron_expr\":\"x\"}", "unknown option 'cron_expr'" },
    };
    struct fixture f;
    char message[512];
    struct peri_client_options options = { .retry = &peri_retry_none };
    (void)state;
    fixture_open(&f, &peri_dataflux, &options, NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peri_op *op = fixture_start(&f, cases[i][0], cases[i][1], NULL);
        snprintf(message, sizeof message, "dataflux.%s: %s", cases[i][0], cases[i][2]);
        if (op || f.err.code != PERI_INVALID || strcmp(f.err.message, message) != 0)
            fail_msg("%s %s: %s", cases[i][0], cases[i][1], f.err.message);
    }
    assert_int_equal(httpd_count(f.server), 0);
    fixture_close(&f);
}

static void refuse_streams(struct fixture *f, const char *operation, const char *args,
                           const struct peri_call_streams *streams, const char *message)
{
    assert_null(fixture_start(f, operation, args, streams));
    assert_int_equal(f->err.code, PERI_INVALID);
    if (!strstr(f->err.message, message))
        fail_msg("%s: %s", args, f->err.message);
}

static void test_refused_streams(void **state)
{
    struct fixture f;
    struct peri_buf sink;
    (void)state;
    fixture_open(&f, &peri_dataflux, NULL, NULL, 0);
    peri_buf_init(&sink, 10);
#define CONTENT .content = peri_reader_memory(peri_str_from("x"), &f.err)
#define FILES .files = peri_multipart_new(&f.err)
    refuse_streams(&f, "sync.call", "{\"id\":\"s\"}", &(struct peri_call_streams){ CONTENT, FILES },
                   "either a raw body");
    refuse_streams(&f, "sync.call", "{\"id\":\"s\",\"form\":\"bare\"}", &(struct peri_call_streams){ CONTENT },
                   "a raw body needs form = \"simplified\"");
    refuse_streams(&f, "sync.call", "{\"id\":\"s\",\"kwargs\":{\"a\":1}}", &(struct peri_call_streams){ CONTENT },
                   "takes the place of 'kwargs'");
    refuse_streams(&f, "sync.call", "{\"id\":\"s\",\"form\":\"bare\"}", &(struct peri_call_streams){ FILES },
                   "an upload needs form = \"normal\"");
    refuse_streams(&f, "sync.call", "{\"id\":\"s\",\"method\":\"GET\"}", &(struct peri_call_streams){ FILES },
                   "a GET request has no body");
    refuse_streams(&f, "func.call", "{\"id\":\"s\"}", &(struct peri_call_streams){ FILES }, "no other body");
    refuse_streams(&f, "sync_apis.list", "{}", &(struct peri_call_streams){ CONTENT }, "takes no content");
    refuse_streams(&f, "async.call", "{\"id\":\"s\"}",
                   &(struct peri_call_streams){ .sink = peri_writer_buf(&sink, &f.err) }, "needs unbox = true");
    refuse_streams(&f, "sync.call",
                   "{\"id\":\"s\",\"auth\":{\"type\":\"httpBasic\",\"username\":\"u\",\"password\":\"p\"}}", NULL,
                   "the client's token already takes the Authorization header");
    assert_int_equal(httpd_count(f.server), 0);
    fixture_close(&f);
}

/* ---- servers that don't keep to the sheet ---- */

static void test_hostile(void **state)
{
    static const struct { /* NOLINT(clang-analyzer-optin.performance.Padding): in the order in which a case reads */
        const char *operation, *args, *method, *path;
        int status;
        const char *reply;
        enum peri_code code;
        const char *message;
    } cases[] = {
        { "async.call", "{\"id\":\"a\"}", "POST", "/api/v1/async/a", 200, "", PERI_JSON, "JSON" },
        { "async.call", "{\"id\":\"a\"}", "POST", "/api/v1/async/a", 200, "[1]", PERI_PROTOCOL, "envelope" },
        { "async.call", "{\"id\":\"a\"}", "POST", "/api/v1/async/a", 200, "{\"ok\":false,\"data\":{\"id\":\"x\"}}",
          PERI_PROTOCOL, "envelope" },
        { "async.call", "{\"id\":\"a\"}", "POST", "/api/v1/async/a", 200, "{\"ok\":true,\"data\":{\"id\":7}}",
          PERI_PROTOCOL, "no task id" },
        { "async.call", "{\"id\":\"a\"}", "POST", "/api/v1/async/a", 200, "{\"ok\":true,\"data\":null}", PERI_PROTOCOL,
          "no task id" },
        { "sync_apis.list", "{}", "GET", "/api/v1/sync-apis/do/list", 200, "{\"ok\":true,\"data\":{}}", PERI_PROTOCOL,
          "no list" },
        { "sync_apis.list", "{}", "GET", "/api/v1/sync-apis/do/list", 200, "<html>", PERI_JSON, "JSON" },
        { "sync.call", "{\"id\":\"s\"}", "POST", "/api/v1/sync/s", 599, "{\"ok\":false,\"reason\":5}", PERI_SERVER,
          "\"reason\":5" },
        { "sync.call", "{\"id\":\"s\"}", "POST", "/api/v1/sync/s", 599, "{\"ok\":false,\"reason\":\"EFuncFailed\"}",
          PERI_HANDLER_FAILED, "EFuncFailed" },
        { "sync.call", "{\"id\":\"s\"}", "POST", "/api/v1/sync/s", 429,
          "{\"ok\":false,\"reason\":\"E\",\"message\":\"m\",\"detail\":{\"waitSeconds\":-1e300}}", PERI_RATE_LIMITED,
          "m" },
        { "sync.call", "{\"id\":\"s\"}", "POST", "/api/v1/sync/s", 401, "plain", PERI_UNAUTHORIZED, "plain" },
        { "sync.call", "{\"id\":\"s\",\"options\":{\"unbox\":false}}", "POST", "/api/v1/sync/s/normal", 200,
          "{\"ok\":true,\"data\":{\"result\":123456789012345678901}}", PERI_JSON, "too big" },
        { "task.result", "{\"task_id\":\"t\",\"credentials\":{\"auth_token\":\"a\"}}", "GET", "/api/v1/tasks/t/result",
          404, "<html>no</html>", PERI_NOT_FOUND, "404" },
    };
    struct peri_client_options options = { .retry = &peri_retry_none };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        struct httpd_step step = { cases[i].method, cases[i].path, .status = cases[i].status, .reply = cases[i].reply };
        fixture_open(&f, &peri_dataflux, &options, &step, 1);
        struct peri_op *op = fixture_call(&f, cases[i].operation, cases[i].args);
        if (f.err.code != cases[i].code || !strstr(f.err.message, cases[i].message))
            fail_msg("case %zu: %s, %s", i, peri_code_name(f.err.code), f.err.message);
        if (f.err.code == PERI_PROTOCOL)
            assert_int_equal(f.err.status, 200);
        peri_op_free(op);
        fixture_close(&f);
    }
}

/* Malformed challenges, and ones that ask for what we don't have, are the refusal that they came with. */
static void test_bad_challenges(void **state)
{
    static const char *const challenges[] = {
        "WWW-Authenticate: Digest\r\n",
        "WWW-Authenticate: Digest realm=\"r\r\n",
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256\r\n",
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"\r\n",
        "WWW-Authenticate: Basic realm=\"r\"\r\n",
        "",
    };
    (void)state;
    for (size_t i = 0; i < sizeof challenges / sizeof *challenges; i++) {
        struct fixture f;
        struct httpd_step step = { "POST", "/api/v1/sync/s", .status = 401, .headers = challenges[i] };
        struct peri_client_options options = { .retry = &peri_retry_none };
        fixture_open(&f, &peri_dataflux, &options, &step, 1);
        struct peri_op *op = fixture_call(&f, "sync.call", "{\"id\":\"s\"," DIGEST "}");
        assert_int_equal(f.err.code, PERI_UNAUTHORIZED);
        assert_int_equal(httpd_count(f.server), 1);
        peri_op_free(op);
        fixture_close(&f);
    }
}

/* Credentials go to the client's own origin with management only, never with a call. */
static void test_calls_carry_no_credentials(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, &peri_dataflux, NULL, NULL, 0);
    assert_null(fixture_start(&f, "sync.call", "{\"id\":\"s\",\"credentials\":{\"auth_token\":\"t\"}}", NULL));
    assert_non_null(strstr(f.err.message, "unknown option 'credentials'"));
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_waits_as_told),
        cmocka_unit_test(test_fresh_nonces),
        cmocka_unit_test(test_digest_sends_the_body_again),
        cmocka_unit_test(test_digest_of_a_body_that_is_gone),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_refused_streams),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_bad_challenges),
        cmocka_unit_test(test_calls_carry_no_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
