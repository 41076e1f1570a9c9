/* SPDX-License-Identifier: MIT */
/* part: base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/error.h"

static void every_code_has_a_name_and_a_text(void **state)
{
    (void)state;
    assert_string_equal(peri_code_name(PERI_OK), "ok");
    assert_string_equal(peri_code_name(PERI_SANDBOX_LOST), "sandbox_lost");
    assert_string_equal(peri_code_text(PERI_NOT_FOUND), "not found");
    for (int i = 0; i < PERI_CODE_COUNT; i++) {
        enum peri_code code = (enum peri_code)i;
        assert_true(strlen(peri_code_name(code)) > 0);
        assert_true(strlen(peri_code_text(code)) > 0);
        assert_int_equal(peri_code_from_name(peri_code_name(code)), code);
    }
    assert_int_equal(peri_code_from_name("NOT_FOUND"), PERI_CODE_COUNT);
    assert_int_equal(peri_code_from_name(""), PERI_CODE_COUNT);
    assert_int_equal(peri_code_from_name(NULL), PERI_CODE_COUNT);
    assert_string_equal(peri_code_name(PERI_CODE_COUNT), "unknown");
    assert_string_equal(peri_code_text((enum peri_code) - 1), "unknown error");
}

static void statuses_become_codes(void **state)
{
    static const struct {
        int status;
        enum peri_code code;
    } cases[] = {
        { 200, PERI_OK },
        { 204, PERI_OK },
        { 299, PERI_OK },
        { 400, PERI_BAD_REQUEST },
        { 401, PERI_UNAUTHORIZED },
        { 403, PERI_FORBIDDEN },
        { 404, PERI_NOT_FOUND },
        { 406, PERI_NOT_ACCEPTABLE },
        { 409, PERI_CONFLICT },
        { 410, PERI_GONE },
        { 413, PERI_PAYLOAD_TOO_LARGE },
        { 422, PERI_UNPROCESSABLE },
        { 429, PERI_RATE_LIMITED },
        { 500, PERI_SERVER },
        { 501, PERI_SERVER },
        { 502, PERI_SERVER },
        { 503, PERI_UNAVAILABLE },
        { 504, PERI_SERVER },
        { 599, PERI_SERVER },
        { 600, PERI_HTTP },
        { 0, PERI_HTTP },
        { 100, PERI_HTTP },
        { 199, PERI_HTTP },
        { 300, PERI_HTTP },
        { 302, PERI_HTTP },
        { 402, PERI_HTTP },
        { 418, PERI_HTTP },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(peri_code_from_status(cases[i].status), cases[i].code);
}

static void set_resets_everything(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    err.status = 503;
    err.retryable = true;
    err.retry_after_ms = 5;
    peri_error_copy(err.operation, sizeof err.operation, "op", sizeof "op" - 1);
    peri_error_copy(err.platform_code, sizeof err.platform_code, "pc", sizeof "pc" - 1);
    peri_error_copy(err.request_id, sizeof err.request_id, "id", sizeof "id" - 1);
    assert_int_equal(peri_error_set(&err, PERI_IO, "can't open %s: %d", "x", 7), PERI_IO);
    assert_int_equal(err.code, PERI_IO);
    assert_string_equal(err.message, "can't open x: 7");
    assert_int_equal(err.status, 0);
    assert_false(err.retryable);
    assert_int_equal(err.retry_after_ms, -1);
    assert_string_equal(err.operation, "");
    assert_string_equal(err.platform_code, "");
    assert_string_equal(err.request_id, "");
    peri_error_clear(&err);
    assert_int_equal(err.code, PERI_OK);
    assert_string_equal(err.message, "");
}

static void null_is_allowed_everywhere(void **state)
{
    (void)state;
    assert_int_equal(peri_error_set(NULL, PERI_BUSY, "%s", "x"), PERI_BUSY);
    peri_error_prefix(NULL, "%s", "x");
    peri_error_clear(NULL);
}

static void the_arguments_may_be_the_error_itself(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    peri_error_set(&err, PERI_IO, "disk full");
    peri_error_set(&err, PERI_STORE, "can't commit: %s (%s)", err.message, peri_code_name(err.code));
    assert_string_equal(err.message, "can't commit: disk full (io)");
    peri_error_prefix(&err, "%s", err.message);
    assert_string_equal(err.message, "can't commit: disk full (io): can't commit: disk full (io)");
}

static void prefix_keeps_the_rest(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    peri_error_set(&err, PERI_NOT_FOUND, "no such function");
    err.status = 404;
    peri_error_copy(err.request_id, sizeof err.request_id, "r-1", sizeof "r-1" - 1);
    peri_error_prefix(&err, "call %d", 12);
    assert_string_equal(err.message, "call 12: no such function");
    assert_int_equal(err.code, PERI_NOT_FOUND);
    assert_int_equal(err.status, 404);
    assert_string_equal(err.request_id, "r-1");
}

/* A message of `fill` times 'a' and then the text, which must be cut so that whole characters are left. */
static void check_cut(size_t fill, const char *text, size_t expected_len)
{
    struct peri_error err;
    char long_text[2048];
    memset(long_text, 'a', fill);
    snprintf(long_text + fill, sizeof long_text - fill, "%s", text);
    peri_error_set(&err, PERI_IO, "%s", long_text);
    assert_int_equal(strlen(err.message), expected_len);
    assert_memory_equal(err.message, long_text, expected_len);
}

static void long_messages_are_cut_between_characters(void **state)
{
    const size_t room = sizeof((struct peri_error *)0)->message - 1;
    (void)state;
    check_cut(room, "", room);
    check_cut(room, "bcd", room);
    check_cut(room - 1, "\xC3\xA9", room - 1); /* two bytes, one fits */
    check_cut(room - 2, "\xC3\xA9", room);
    check_cut(room - 2, "\xE2\x82\xAC!", room - 2); /* three bytes, two fit */
    check_cut(room - 3, "\xE2\x82\xAC!", room);
    check_cut(room - 3, "\xF0\x9F\x98\x80", room - 3); /* four bytes, three fit */
    check_cut(room - 4, "\xF0\x9F\x98\x80", room);

    struct peri_error err;
    char prefix[1100];
    memset(prefix, 'p', sizeof prefix - 1);
    prefix[sizeof prefix - 1] = '\0';
    peri_error_set(&err, PERI_IO, "message");
    peri_error_prefix(&err, "%s", prefix);
    assert_int_equal(strlen(err.message), room);
}

static void copy_makes_utf8_of_anything(void **state)
{
    char field[8];
    (void)state;
    peri_error_copy(field, sizeof field, "abc", 3);
    assert_string_equal(field, "abc");
    peri_error_copy(field, sizeof field, "abc", 2);
    assert_string_equal(field, "ab");
    peri_error_copy(field, sizeof field, "a\0b", 3);
    assert_string_equal(field, "a");
    peri_error_copy(field, sizeof field, "", 0);
    assert_string_equal(field, "");
    peri_error_copy(field, sizeof field, NULL, 0);
    assert_string_equal(field, "");
    peri_error_copy(field, sizeof field, "caf\xE9!", 5); /* Latin-1 */
    assert_string_equal(field, "caf?!");
    peri_error_copy(field, sizeof field, "\xED\xA0\x80", 3); /* a surrogate */
    assert_string_equal(field, "???");
    peri_error_copy(field, sizeof field, "123456\xC3\xA9", 8); /* two bytes, one fits */
    assert_string_equal(field, "123456");
    peri_error_copy(field, sizeof field, "12345\xC3\xA9", 7);
    assert_string_equal(field, "12345\xC3\xA9");
    peri_error_copy(field, 1, "abc", 3);
    assert_string_equal(field, "");
    field[0] = 'x';
    peri_error_copy(field, 0, "abc", 3);
    assert_int_equal(field[0], 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_and_a_text),
        cmocka_unit_test(statuses_become_codes),
        cmocka_unit_test(set_resets_everything),
        cmocka_unit_test(null_is_allowed_everywhere),
        cmocka_unit_test(the_arguments_may_be_the_error_itself),
        cmocka_unit_test(prefix_keeps_the_rest),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(copy_makes_utf8_of_anything),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
