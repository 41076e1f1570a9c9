/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include <stdio.h>

#include "perilune/cim.h"
#include "support/alloc_fail.h"

/* Each allocation of an operation fails once: it ends with an error or well, sends nothing malformed, leaks nothing. */

/* libuv ends the process when its tables or its threads can't be made: that has happened before. */
static void warm_up(struct fixture *f)
{
    httpd_add(f->server,
              &(struct httpd_step){ "GET", "/numgen?name=w&count=1", .status = 200, .reply = "{\"numbers\":[1]}" });
    struct peri_op *op = fixture_call(f, "generator.get_number", "{\"name\":\"w\"}");
    assert_int_equal(peri_op_code(op), PERI_OK);
    peri_op_free(op);
}

/* jansson's lexer ends the program when memory is out for a token of over 15 bytes (see core/README.md), which every
 * URL is: its own allocations don't fail here. */
static void spare_jansson(void)
{
    json_set_alloc_funcs(SUPPORT_REAL(malloc), free);
}

static void add_steps(struct fixture *f)
{
    char presigned[256];
    snprintf(presigned, sizeof presigned,
             "{\"blob_id\":\"b\",\"urls\":[\"%s/1\",\"%s/2\"],\"chunksize\":4,\"headers\":{\"a\":\"b\"}}",
             httpd_url(f->server), httpd_url(f->server));
    const struct httpd_step steps[] = {
        { "POST", "/file_upload/create", .status = 200, .reply = "{\"file_object_id\":\"f\"}" },
        { "POST", "/file_upload/f/generate_presigned_url", .status = 200, .reply = presigned },
        { "PUT", "/1", .status = 200, .headers = "ETag: 1\r\n" },
        { "PUT", "/2", .status = 200, .headers = "ETag: 2\r\n" },
        { "POST", "/file_upload/f/complete", .status = 200, .reply = "null" },
        { "POST", "/file_upload/f/abort", .status = 200, .reply = "null" },
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        httpd_add(f->server, &steps[i]);
}

static void test_upload(void **state)
{
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    spare_jansson();
    /* without memory libcurl may lose an event: the deadline then ends the exchange */
    struct peri_client_options options = {
        .token = "t", .retry = &peri_retry_none, .timeout_ms = 60, .rate_limit = &peri_rate_limit_none
    };
    json_t *args = json_pack("{s:s, s:s, s:s}", "parent_object_id", "d", "filename", "n", "persno", "p");
    unsigned failures = 0;
    bool hit = true;
    for (unsigned n = 1; hit; n++) {
        struct fixture f;
        struct peri_error err = PERI_ERROR_INIT;
        fixture_open(&f, &peri_cim, &options, NULL, 0);
        warm_up(&f);
        add_steps(&f);
        struct peri_call_streams streams = { .content = peri_reader_memory(peri_str_from("aaaabb"), &err) };
        alloc_fail_at(n);
        struct peri_op *op =
            peri_service_call(f.client, &peri_cim, "file_upload.upload_new_file", args, &streams, &err);
        enum peri_code code = op ? peri_op_wait(op, &err) : err.code;
        hit = alloc_fail_stop();
        if (code == PERI_OK)
            fixture_assert_json(op, "\"f\"");
        failures += code != PERI_OK;
        if (err.status == 599)
            fail_msg("a malformed request at allocation %u: %s", n, err.message);
        unsigned completes = 0;
        unsigned aborts = 0;
        for (size_t i = 0; i < httpd_count(f.server); i++) {
            completes += strcmp(httpd_request(f.server, i)->path, "/file_upload/f/complete") == 0;
            aborts += strcmp(httpd_request(f.server, i)->path, "/file_upload/f/abort") == 0;
        }
        assert_true(code != PERI_OK || (completes == 1 && aborts == 0));
        assert_true(aborts <= 1);
        peri_op_free(op);
        fixture_close(&f);
    }
    assert_true(failures > 10);
    json_decref(args);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_upload) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
