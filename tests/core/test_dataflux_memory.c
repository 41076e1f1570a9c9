/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include "perilune/dataflux.h"
#include "perilune/hash.h"
#include "support/alloc_fail.h"

/* Each allocation of an operation fails once: it ends with an error or well, sends nothing malformed, leaks nothing. */

/* libuv ends the process when its tables or its threads can't be made, and OpenSSL never finds a digest that it could not
 * load at first: that has happened before. */
static void warm_up(struct fixture *f)
{
    unsigned char digest[PERI_HASH_MAX];
    struct peri_str x = { "x", 1 };
    assert_int_equal(peri_hash_once(PERI_MD5, x, digest, &f->err), PERI_OK);
    assert_int_equal(peri_hmac(PERI_SHA1, x, x, digest, &f->err), PERI_OK);
    httpd_add(f->server, &(struct httpd_step){ "POST", "/api/v1/sync/w", .status = 200, .reply = "1" });
    struct peri_op *op = fixture_call(f, "sync.call", "{\"id\":\"w\"}");
    assert_int_equal(peri_op_code(op), PERI_OK);
    peri_op_free(op);
}

struct attempt {
    const char *operation, *args, *method, *path, *reply, *result;
    bool upload, challenged;
};

static struct peri_multipart *make_files(struct peri_error *err)
{
    struct peri_multipart *files = peri_multipart_new(err);
    assert_int_equal(peri_multipart_add_file(files, peri_str_from("f"), peri_str_from("n"), NULL,
                                             peri_reader_memory(peri_str_from("bytes"), err), err),
                     PERI_OK);
    return files;
}

/* Whether the n-th allocation was reached. 0: none fails. */
static bool run(const struct attempt *attempt, unsigned n, unsigned *failures)
{
    struct fixture f;
    struct peri_error err = PERI_ERROR_INIT;
    /* without memory libcurl may lose an event: the deadline then ends the exchange */
    struct peri_client_options options = { .retry = &peri_retry_none, .timeout_ms = n ? 60 : 0 };
    fixture_open(&f, &peri_dataflux, &options, NULL, 0);
    warm_up(&f);
    if (attempt->challenged)
        httpd_add(f.server, &(struct httpd_step){
                                attempt->method, attempt->path, .status = 401,
                                .headers = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n" });
    httpd_add(f.server, &(struct httpd_step){ attempt->method, attempt->path, .status = 200, .reply = attempt->reply });
    json_t *args = json_loads(attempt->args, 0, NULL);
    struct peri_call_streams streams = { .files = attempt->upload ? make_files(&err) : NULL };
    alloc_fail_at(n);
    struct peri_op *op = peri_service_call(f.client, &peri_dataflux, attempt->operation, args, &streams, &err);
    enum peri_code code = op ? peri_op_wait(op, &err) : err.code;
    bool hit = alloc_fail_stop();
    if (code == PERI_OK && peri_op_shape(op) == PERI_SHAPE_RAW)
        fixture_assert_json(op, attempt->result);
    if (n == 0)
        assert_int_equal(code, PERI_OK);
    if (err.status == 599 && !strchr(attempt->path, '?')) /* libcurl 7.88 drops a query that it can't copy */
        fail_msg("a malformed request at allocation %u: %s", n, err.message);
    *failures += code != PERI_OK;
    json_decref(args);
    peri_op_free(op);
    fixture_close(&f);
    return hit;
}

/* jansson's lexer ends the program when memory is out for a token of over 15 bytes (see core/README.md): its own
 * allocations don't fail here. */
static void test_calls(void **state)
{
    static const struct attempt attempts[] = {
        { "sync.call", "{\"id\":\"s\",\"kwargs\":{\"a\":1},\"options\":{\"unbox\":false},\"headers\":{\"x\":\"y\"}}",
          "POST", "/api/v1/sync/s/normal", "{\"ok\":true,\"data\":{\"result\":[1]}}", "[1]", false, false },
        { "sync.call", "{\"id\":\"s\",\"kwargs\":{\"a\":[1,2]},\"method\":\"GET\",\"form\":\"simplified\"}", "GET",
          "/api/v1/sync/s/simplified?a%5B%5D=1&a%5B%5D=2", "[2]", "[2]", false, false },
        { "async.call", "{\"id\":\"a\",\"kwargs\":{\"a\":1}}", "POST", "/api/v1/async/a/normal",
          "{\"ok\":true,\"data\":{\"id\":\"task-1\"}}", "\"task-1\"", true, false },
        { "sync.call", "{\"id\":\"s\",\"auth\":{\"type\":\"httpDigest\",\"username\":\"u\",\"password\":\"p\"}}",
          "POST", "/api/v1/sync/s", "[3]", "[3]", false, true },
        { "cron_jobs.add",
          "{\"func_id\":\"f\",\"cron_expr\":\"x\",\"credentials\":{\"ak_id\":\"a\",\"ak_secret\":\"s\"}}", "POST",
          "/api/v1/cron-jobs/do/add", "{\"ok\":true,\"data\":{\"someId\":1}}", "{\"some_id\":1}", false, false },
        { "sync_apis.list", "{\"credentials\":{\"auth_token\":\"t\"}}", "GET", "/api/v1/sync-apis/do/list",
          "{\"ok\":true,\"data\":[{\"funcId\":\"f\"}],\"pageInfo\":{\"pageSize\":1}}",
          "{\"items\":[{\"func_id\":\"f\"}],\"page_info\":{\"page_size\":1}}", false, false },
        { "task.result", "{\"task_id\":\"t\"}", "GET", "/api/v1/tasks/t/result", "[4]", "[4]", false, false },
    };
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    json_set_alloc_funcs(SUPPORT_REAL(malloc), free);
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        unsigned failures = 0;
        for (unsigned n = 1; run(&attempts[i], n, &failures);)
            n++;
        assert_true(failures > 5);
        (void)run(&attempts[i], 0, &failures);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_calls) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
