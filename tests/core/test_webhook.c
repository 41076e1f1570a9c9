/* SPDX-License-Identifier: MIT */
/* part: auth */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/webhook.h"
#include "support/alloc_fail.h"
#include "support/vectors.h"

static json_t *vectors;
static struct peri_str secret;

static const char *text_of(const json_t *vector, const char *key)
{
    const char *text = json_string_value(json_object_get(vector, key));
    assert_non_null(text);
    return text;
}

static void signatures_are_the_platforms(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "signatures"), i, vector)
    {
        const char *timestamp = text_of(vector, "timestamp"), *signature = text_of(vector, "signature");
        struct peri_str body = peri_str_from(text_of(vector, "body"));
        int64_t now = strtoll(timestamp, NULL, 10);
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_buf out;
        char wrong[65];
        peri_buf_init(&out, 64);
        assert_int_equal(peri_webhook_sign(secret, timestamp, body, &out, &err), PERI_OK);
        assert_string_equal(out.data, signature);
        peri_buf_fini(&out);
        assert_int_equal(peri_webhook_verify(secret, timestamp, signature, body, now, &err), PERI_OK);
        for (size_t at = 0; at < 64; at++) {
            snprintf(wrong, sizeof wrong, "%s", signature);
            wrong[at] = wrong[at] == '0' ? '1' : '0';
            assert_int_equal(peri_webhook_verify(secret, timestamp, wrong, body, now, &err), PERI_UNAUTHORIZED);
        }
        assert_null(strstr(err.message, signature));
        assert_null(strstr(err.message, "my_secret"));
        struct peri_str other = peri_str_from("my_secret2");
        assert_int_equal(peri_webhook_verify(other, timestamp, signature, body, now, &err), PERI_UNAUTHORIZED);
        assert_int_equal(peri_webhook_verify(secret, timestamp, signature, peri_str_from("x"), now, &err),
                         PERI_UNAUTHORIZED);
    }
}

static void what_is_not_a_signature_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "00",
                                       "sha256=826f56fe64ee17c4f21a6a0108e728863c43a39be83a8cbf5d74dfd11a29573f",
                                       "826F56FE64EE17C4F21A6A0108E728863C43A39BE83A8CBF5D74DFD11A29573F",
                                       "826f56fe64ee17c4f21a6a0108e728863c43a39be83a8cbf5d74dfd11a29573f0",
                                       "826f56fe64ee17c4f21a6a0108e728863c43a39be83a8cbf5d74dfd11a29573\xC3\xA9" };
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_str none = { NULL, 0 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(peri_webhook_verify(secret, "1714564800", bad[i], none, 1714564800, &err), PERI_UNAUTHORIZED);
    assert_int_equal(peri_webhook_verify(secret, "1714564800", NULL, none, 1714564800, &err), PERI_UNAUTHORIZED);
    assert_string_equal(err.message, "the header X-CON-Signature-256 is missing");
    assert_int_equal(peri_webhook_verify(secret, NULL, bad[3], none, 1714564800, &err), PERI_UNAUTHORIZED);
    assert_string_equal(err.message, "the header X-CON-Timestamp is missing");
    /* the right signature under an empty secret */
    struct peri_buf out;
    peri_buf_init(&out, 64);
    assert_int_equal(peri_webhook_sign(none, "1714564800", none, &out, &err), PERI_OK);
    assert_int_equal(peri_webhook_verify(none, "1714564800", out.data, none, 1714564800, &err), PERI_UNAUTHORIZED);
    peri_buf_fini(&out);
}

static void timestamps_have_a_window(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "windows"), i, vector)
    {
        struct peri_error err = PERI_ERROR_INIT;
        const char *timestamp = text_of(vector, "timestamp");
        int64_t now = json_integer_value(json_object_get(vector, "now"));
        bool good = json_is_true(json_object_get(vector, "good"));
        assert_int_equal(peri_webhook_check(timestamp, "00", now, &err), good ? PERI_OK : PERI_UNAUTHORIZED);
        if (!good && !strstr(err.message, text_of(vector, "says")))
            fail_msg("'%s' does not say '%s'", err.message, text_of(vector, "says"));
        if (good)
            continue;
        struct peri_buf out;
        peri_buf_init(&out, 64);
        assert_int_equal(peri_webhook_sign(secret, timestamp, peri_str_from("b"), &out, &err), PERI_OK);
        assert_int_equal(peri_webhook_verify(secret, timestamp, out.data, peri_str_from("b"), now, &err),
                         PERI_UNAUTHORIZED);
        peri_buf_fini(&out);
    }
}

static void memory_may_be_out(void **state)
{
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    for (unsigned n = 1;; n++) {
        struct peri_buf out;
        peri_buf_init(&out, 64);
        alloc_fail_at(n);
        enum peri_code code = peri_webhook_sign(secret, "1", peri_str_from("b"), &out, NULL);
        bool failed = alloc_fail_stop();
        assert_true(failed || code == PERI_OK);
        assert_int_equal(out.len, code == PERI_OK ? 64 : 0);
        peri_buf_fini(&out);
        if (!failed)
            break;
        assert_true(n < 1000);
    }
}

int main(void)
{
    vectors = vectors_load("webhook");
    secret = peri_str_from(json_string_value(json_object_get(vectors, "secret")));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_the_platforms),
        cmocka_unit_test(what_is_not_a_signature_is_refused),
        cmocka_unit_test(timestamps_have_a_window),
        cmocka_unit_test(memory_may_be_out),
    };
    int rc = cmocka_run_group_tests_name("webhook", tests, NULL, NULL);
    json_decref(vectors);
    return rc;
}
