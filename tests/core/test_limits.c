/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "host/limits.h"

/* Many tokens, each with its own window. */

static struct peri__limits *make(unsigned limit, int64_t window_ms, size_t tokens)
{
    struct peri__limits_options options = { .limit = limit, .window_ms = window_ms, .tokens = tokens };
    struct peri__limits *limits = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(peri__limits_new(&options, &limits, &err), PERI_OK);
    return limits;
}

static enum peri_code take(struct peri__limits *limits, const char *token, int64_t now_ms, struct peri_error *err)
{
    return peri__limits_take(limits, peri_str_from(token), now_ms, err);
}

static void test_each_token_has_its_own_window(void **state)
{
    struct peri__limits *limits = make(100, 60000, 0);
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(take(limits, "one", 1000 + i, &err), PERI_OK);
    assert_int_equal(take(limits, "one", 1200, &err), PERI_RATE_LIMITED);
    assert_string_equal(err.message, "Rate limit exceeded: 100 per 1 minute");
    assert_int_equal(err.retry_after_ms, 61000 - 1200);
    assert_int_equal(take(limits, "two", 1200, &err), PERI_OK);
    /* a refused request does not count: the first place is free again exactly then */
    assert_int_equal(take(limits, "one", 60999, &err), PERI_RATE_LIMITED);
    assert_int_equal(take(limits, "one", 61000, &err), PERI_OK);
    assert_int_equal(take(limits, "one", 61000, &err), PERI_RATE_LIMITED);
    peri__limits_free(limits);
}

static void test_another_window_is_told(void **state)
{
    struct peri__limits *limits = make(1, 5000, 0);
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    assert_int_equal(take(limits, "one", 0, &err), PERI_OK);
    assert_int_equal(take(limits, "one", 0, &err), PERI_RATE_LIMITED);
    assert_string_equal(err.message, "Rate limit exceeded: 1 per 5 seconds");
    peri__limits_free(limits);
}

static void test_idle_tokens_are_forgotten(void **state)
{
    struct peri__limits *limits = make(2, 1000, 0);
    struct peri_error err = PERI_ERROR_INIT;
    char token[16];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(token, sizeof token, "t%d", i);
        assert_int_equal(take(limits, token, i, &err), PERI_OK);
    }
    assert_int_equal(peri__limits_count(limits), 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(take(limits, "busy", 5000 + i * 1000, &err), PERI_OK);
    assert_int_equal(peri__limits_count(limits), 1);
    peri__limits_free(limits);
}

static void test_the_table_is_bounded(void **state)
{
    struct peri__limits *limits = make(1, 60000, 8);
    struct peri_error err = PERI_ERROR_INIT;
    char token[16];
    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(token, sizeof token, "t%d", i);
        assert_int_equal(take(limits, token, i, &err), PERI_OK);
        assert_true(peri__limits_count(limits) <= 8);
    }
    assert_int_equal(take(limits, "t99", 100, &err), PERI_RATE_LIMITED);
    assert_int_equal(take(limits, "t92", 100, &err), PERI_RATE_LIMITED);
    assert_int_equal(take(limits, "t91", 100, &err), PERI_OK); /* the one silent longest went */
    peri__limits_free(limits);
}

static void test_a_limit_that_is_none(void **state)
{
    struct peri__limits_options options = { .limit = 0, .window_ms = 1000 };
    struct peri__limits *limits = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    assert_int_equal(peri__limits_new(&options, &limits, &err), PERI_INVALID);
    assert_null(limits);
    peri__limits_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_token_has_its_own_window), cmocka_unit_test(test_another_window_is_told),
        cmocka_unit_test(test_idle_tokens_are_forgotten),     cmocka_unit_test(test_the_table_is_bounded),
        cmocka_unit_test(test_a_limit_that_is_none),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
