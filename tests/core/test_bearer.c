/* SPDX-License-Identifier: MIT */
/* part: auth */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/bearer.h"
#include "support/alloc_fail.h"

static void signs_and_verifies(void **state)
{
    /* the first is the example of RFC 6750 section 2.1 */
    static const char *const tokens[] = { "mF_9.B5f-4.1JqM", "a", "AZaz09-._~+/", "dG9rZW4=", "dG9rZW4==" };
    struct peri_headers headers;
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    peri_headers_init(&headers);
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        struct peri_str token = peri_str_from(tokens[i]);
        assert_int_equal(peri_bearer_sign(&headers, token, &err), PERI_OK);
        const char *value = peri_headers_get(&headers, "authorization");
        assert_non_null(value);
        assert_memory_equal(value, "Bearer ", 7);
        assert_string_equal(value + 7, tokens[i]);
        assert_int_equal(headers.count, 1); /* the one before was replaced */
        assert_true(peri_str_equal(peri_bearer_token(value), token));
        assert_int_equal(peri_bearer_verify(value, token, &err), PERI_OK);
        assert_int_equal(peri_bearer_verify(value, peri_str_from("other"), &err), PERI_UNAUTHORIZED);
    }
    peri_headers_fini(&headers);
}

static void tokens_that_no_header_may_hold_are_refused(void **state)
{
    static const struct {
        const char *data;
        size_t len;
    } bad[] = { { NULL, 0 },        { "", 0 },      { "=", 1 },    { "a b", 3 },
                { "a\r\nX: y", 7 }, { "a\0b", 3 },  { "a=b", 3 },  { "caf\xC3\xA9", 5 },
                { "a,b", 3 },       { "\"a\"", 3 }, { "a\x7F", 2 } };
    struct peri_headers headers;
    (void)state;
    peri_headers_init(&headers);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_str token = { bad[i].data, bad[i].len };
        assert_int_equal(peri_bearer_sign(&headers, token, &err), PERI_INVALID);
        assert_int_equal(err.code, PERI_INVALID);
        assert_int_equal(headers.count, 0);
    }
    peri_headers_fini(&headers);
}

static void only_the_right_token_gets_in(void **state)
{
    const struct peri_str expected = peri_str_from("s3cret-Token");
    static const char *const good[] = { "Bearer s3cret-Token", "bearer s3cret-Token", "BEARER   s3cret-Token",
                                        "Bearer s3cret-Token  " };
    static const struct {
        const char *value, *says;
    } bad[] = {
        { NULL, "no credentials" },
        { "", "no credentials" },
        { "Basic czNjcmV0LVRva2Vu", "scheme Bearer" },
        { "Bearers3cret-Token", "scheme Bearer" },
        { "s3cret-Token", "scheme Bearer" },
        { "Bear", "scheme Bearer" },
        { " Bearer s3cret-Token", "scheme Bearer" },
        { "Bearer", "no well-formed" },
        { "Bearer  ", "no well-formed" },
        { "Bearer s3cret Token", "no well-formed" },
        { "Bearer s3cret-Token, Bearer x", "no well-formed" },
        { "Bearer s3cret-Toke", "not the right one" },
        { "Bearer s3cret-Token=", "not the right one" },
        { "Bearer S3cret-Token", "not the right one" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(peri_bearer_verify(good[i], expected, NULL), PERI_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct peri_error err = PERI_ERROR_INIT;
        assert_int_equal(peri_bearer_verify(bad[i].value, expected, &err), PERI_UNAUTHORIZED);
        assert_int_equal(err.code, PERI_UNAUTHORIZED);
        if (!strstr(err.message, bad[i].says))
            fail_msg("%s: %s", bad[i].value ? bad[i].value : "(absent)", err.message);
        assert_null(strstr(err.message, "3cret")); /* neither what came nor what was expected */
        assert_null(strstr(err.message, "czNj"));
    }
}

static void a_host_without_a_token_lets_nobody_in(void **state)
{
    (void)state;
    assert_int_equal(peri_bearer_verify("Bearer x", peri_str_from(""), NULL), PERI_UNAUTHORIZED);
    assert_int_equal(peri_bearer_verify("Bearer ", peri_str_from(""), NULL), PERI_UNAUTHORIZED);
    assert_int_equal(peri_bearer_verify(NULL, peri_str_from(""), NULL), PERI_UNAUTHORIZED);
}

static void survives_every_failing_allocation(void **state)
{
    unsigned n;
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    for (n = 1;; n++) {
        struct peri_headers headers;
        struct peri_error err = PERI_ERROR_INIT;
        peri_headers_init(&headers);
        alloc_fail_at(n);
        enum peri_code code = peri_bearer_sign(&headers, peri_str_from("token"), &err);
        bool failed = alloc_fail_stop();
        assert_int_equal(code, failed ? PERI_NOMEM : PERI_OK);
        assert_int_equal(err.code, code);
        assert_int_equal(headers.count, failed ? 0 : 1);
        peri_headers_fini(&headers);
        if (!failed)
            break;
    }
    assert_in_range(n, 3, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_and_verifies),
        cmocka_unit_test(tokens_that_no_header_may_hold_are_refused),
        cmocka_unit_test(only_the_right_token_gets_in),
        cmocka_unit_test(a_host_without_a_token_lets_nobody_in),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("bearer", tests, NULL, NULL);
}
