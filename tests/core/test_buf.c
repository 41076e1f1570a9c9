/* SPDX-License-Identifier: MIT */
/* part: base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/buf.h"
#include "support/alloc_fail.h"

static struct peri_str str(const char *data, size_t len)
{
    return (struct peri_str){ data, len };
}

static void strings_compare(void **state)
{
    (void)state;
    assert_int_equal(peri_str_from(NULL).len, 0);
    assert_int_equal(peri_str_from("abc").len, 3);
    assert_true(peri_str_equal(str(NULL, 0), peri_str_from("")));
    assert_true(peri_str_equal(str("a\0b", 3), str("a\0b", 3)));
    assert_false(peri_str_equal(str("a\0b", 3), str("a\0c", 3)));
    assert_false(peri_str_equal(peri_str_from("ab"), peri_str_from("abc")));
    assert_true(peri_str_equal_nocase(peri_str_from("Content-TYPE"), peri_str_from("content-type")));
    assert_false(peri_str_equal_nocase(peri_str_from("a["), peri_str_from("A{"))); /* 0x20 apart, but no letters */
    assert_false(peri_str_equal_nocase(peri_str_from("\xC3\xA9"), peri_str_from("\xC3\x89")));
    assert_false(peri_str_equal_nocase(peri_str_from("a"), peri_str_from("ab")));
    assert_true(peri_str_has_prefix(peri_str_from("abc"), "ab"));
    assert_true(peri_str_has_prefix(peri_str_from("abc"), ""));
    assert_true(peri_str_has_prefix(str(NULL, 0), ""));
    assert_false(peri_str_has_prefix(peri_str_from("ab"), "abc"));
    assert_false(peri_str_has_prefix(peri_str_from("abc"), "b"));
    char *copy = peri_str_dup(str("a\0b", 3));
    assert_memory_equal(copy, "a\0b", 4);
    free(copy);
    copy = peri_str_dup(str(NULL, 0));
    assert_string_equal(copy, "");
    free(copy);
}

static void grows_up_to_its_maximum_and_not_further(void **state)
{
    struct peri_buf buf;
    (void)state;
    peri_buf_init(&buf, 1000);
    assert_null(buf.data);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(peri_buf_append_byte(&buf, (char)('a' + i % 26)), PERI_OK);
        assert_int_equal(buf.data[buf.len], '\0');
        assert_true(buf.cap <= 1001);
    }
    assert_int_equal(peri_buf_append_byte(&buf, 'x'), PERI_TOO_LARGE);
    assert_int_equal(peri_buf_append(&buf, "", 0), PERI_OK);
    assert_int_equal(peri_buf_printf(&buf, "%s", "x"), PERI_TOO_LARGE);
    assert_int_equal(peri_buf_reserve(&buf, SIZE_MAX), PERI_TOO_LARGE);
    assert_int_equal(buf.len, 1000);
    assert_int_equal(buf.data[999], 'a' + 999 % 26);
    assert_int_equal(buf.data[1000], '\0');
    peri_buf_fini(&buf);
    assert_null(buf.data);
    assert_int_equal(peri_buf_append_text(&buf, "usable again"), PERI_OK);
    peri_buf_fini(&buf);
    peri_buf_fini(&buf);
}

static void a_maximum_of_everything_does_not_overflow(void **state)
{
    struct peri_buf buf;
    (void)state;
    peri_buf_init(&buf, SIZE_MAX);
    assert_int_equal(peri_buf_append_text(&buf, "abc"), PERI_OK);
    assert_int_equal(peri_buf_reserve(&buf, SIZE_MAX - 2), PERI_TOO_LARGE);
    assert_string_equal(buf.data, "abc");
    peri_buf_fini(&buf);
    peri_buf_init(&buf, 0);
    assert_int_equal(peri_buf_append(&buf, "a", 1), PERI_TOO_LARGE);
    assert_int_equal(peri_buf_append_text(&buf, ""), PERI_OK);
    assert_int_equal(peri_buf_str(&buf).len, 0);
    peri_buf_fini(&buf);
}

static void holds_nuls_and_prints(void **state)
{
    struct peri_buf buf;
    (void)state;
    peri_buf_init(&buf, 4096);
    assert_int_equal(peri_buf_append_str(&buf, str("a\0b", 3)), PERI_OK);
    assert_int_equal(peri_buf_printf(&buf, "[%d|%s]", -5, "x"), PERI_OK);
    assert_int_equal(buf.len, 9);
    assert_memory_equal(buf.data, "a\0b[-5|x]", 10);
    peri_buf_clear(&buf);
    assert_int_equal(buf.len, 0);
    assert_string_equal(buf.data, "");
    assert_int_equal(peri_buf_printf(&buf, "%0200d", 7), PERI_OK); /* more than the first allocation */
    assert_int_equal(buf.len, 200);
    assert_int_equal(buf.data[199], '7');
    assert_int_equal(peri_buf_reserve(&buf, buf.cap), PERI_OK);
    size_t exact = buf.cap - buf.len - 1;
    assert_int_equal(peri_buf_printf(&buf, "%0*d", (int)exact, 8), PERI_OK); /* fills it to the last byte */
    assert_int_equal(buf.len + 1, buf.cap);
    assert_int_equal(peri_buf_printf(&buf, "%s", ""), PERI_OK);
    assert_int_equal(peri_buf_printf(&buf, "%0*d", 4000, 8), PERI_TOO_LARGE);
    assert_int_equal(buf.data[buf.len], '\0');
    assert_int_equal(strlen(buf.data), buf.len);
    peri_buf_fini(&buf);
}

static void consumes_and_truncates(void **state)
{
    struct peri_buf buf;
    (void)state;
    peri_buf_init(&buf, 100);
    peri_buf_consume(&buf, 0);
    peri_buf_truncate(&buf, 0);
    assert_int_equal(peri_buf_append_text(&buf, "0123456789"), PERI_OK);
    peri_buf_consume(&buf, 3);
    assert_string_equal(buf.data, "3456789");
    peri_buf_truncate(&buf, 100);
    assert_string_equal(buf.data, "3456789");
    peri_buf_truncate(&buf, 2);
    assert_string_equal(buf.data, "34");
    peri_buf_consume(&buf, 2);
    assert_string_equal(buf.data, "");
    assert_int_equal(buf.len, 0);
    peri_buf_fini(&buf);
}

static void take_hands_over(void **state)
{
    struct peri_buf buf;
    size_t len = 99;
    (void)state;
    peri_buf_init(&buf, 100);
    char *empty = peri_buf_take(&buf, &len);
    assert_string_equal(empty, "");
    assert_int_equal(len, 0);
    free(empty);
    assert_int_equal(peri_buf_append_text(&buf, "abc"), PERI_OK);
    char *text = peri_buf_take(&buf, &len);
    assert_int_equal(len, 3);
    assert_string_equal(text, "abc");
    assert_null(buf.data);
    assert_int_equal(buf.max, 100);
    free(text);
    assert_int_equal(peri_buf_append_text(&buf, "abc"), PERI_OK);
    free(peri_buf_take(&buf, NULL));
    peri_buf_fini(&buf);
}

static enum peri_code fill(struct peri_buf *buf)
{
    enum peri_code code = PERI_OK;
    for (int i = 0; i < 20 && code == PERI_OK; i++) {
        size_t before = buf->len;
        code = i % 2 ? peri_buf_printf(buf, "%0100d", i) : peri_buf_append_text(buf, "some bytes that stay");
        if (code != PERI_OK) {
            assert_int_equal(buf->len, before);
            assert_true(before == 0 || strlen(buf->data) == before);
        }
    }
    return code;
}

static void survives_every_failing_allocation(void **state)
{
    unsigned n;
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    for (n = 1;; n++) {
        struct peri_buf buf;
        peri_buf_init(&buf, 1 << 20);
        alloc_fail_at(n);
        enum peri_code code = fill(&buf);
        bool failed = alloc_fail_stop();
        assert_int_equal(code, failed ? PERI_NOMEM : PERI_OK);
        peri_buf_fini(&buf);
        if (!failed)
            break;
    }
    assert_in_range(n, 4, 20); /* it doubles: not one allocation per append */

    struct peri_buf buf;
    peri_buf_init(&buf, 10);
    alloc_fail_at(1);
    char *copy = peri_str_dup(peri_str_from("x"));
    assert_true(alloc_fail_stop());
    assert_null(copy);
    alloc_fail_at(1);
    char *taken = peri_buf_take(&buf, NULL);
    assert_true(alloc_fail_stop());
    assert_null(taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_compare),
        cmocka_unit_test(grows_up_to_its_maximum_and_not_further),
        cmocka_unit_test(a_maximum_of_everything_does_not_overflow),
        cmocka_unit_test(holds_nuls_and_prints),
        cmocka_unit_test(consumes_and_truncates),
        cmocka_unit_test(take_hands_over),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
