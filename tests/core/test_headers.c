/* SPDX-License-Identifier: MIT */
/* part: net */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "perilune/headers.h"

static enum peri_code add(struct peri_headers *headers, const char *name, const char *value)
{
    return peri_headers_add(headers, peri_str_from(name), peri_str_from(value));
}

static void test_add_get(void **state)
{
    (void)state;
    struct peri_headers headers;
    peri_headers_init(&headers);
    assert_null(peri_headers_get(&headers, "a"));
    assert_int_equal(add(&headers, "Content-Type", "text/plain"), PERI_OK);
    assert_int_equal(add(&headers, "Set-Cookie", "a=1"), PERI_OK);
    assert_int_equal(add(&headers, "set-cookie", "b=2"), PERI_OK);
    assert_int_equal(add(&headers, "X-Empty", ""), PERI_OK);
    assert_string_equal(peri_headers_get(&headers, "content-TYPE"), "text/plain");
    assert_string_equal(peri_headers_get(&headers, "SET-COOKIE"), "a=1");
    assert_string_equal(peri_headers_get(&headers, "x-empty"), "");
    assert_null(peri_headers_get(&headers, "content"));
    assert_int_equal(headers.count, 4);
    assert_string_equal(headers.items[2].name, "set-cookie"); /* as given */
    assert_int_equal(headers.bytes, 12 + 10 + 10 + 3 + 10 + 3 + 7);
    peri_headers_fini(&headers);
    assert_int_equal(headers.bytes, 0);
    peri_headers_fini(&headers); /* twice does no harm */
}

static void test_refused(void **state)
{
    (void)state;
    struct peri_headers headers;
    peri_headers_init(&headers);
    static const char *const names[] = { "", "a b", "a:", "a\n", "a\r", "(x)", "\xc3\xa4", "a\x7f", "a/b", "a\"" };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        assert_int_equal(add(&headers, names[i], "v"), PERI_INVALID);
    }
    assert_int_equal(add(&headers, "a", "v\r\nInjected: yes"), PERI_INVALID);
    assert_int_equal(add(&headers, "a", "v\n"), PERI_INVALID);
    assert_int_equal(peri_headers_add(&headers, peri_str_from("a"), (struct peri_str){ "v\0w", 3 }), PERI_INVALID);
    assert_int_equal(peri_headers_set(&headers, "a", "\r"), PERI_INVALID);
    assert_int_equal(headers.count, 0);
    peri_headers_fini(&headers);
}

static void test_set_remove(void **state)
{
    (void)state;
    struct peri_headers headers;
    peri_headers_init(&headers);
    add(&headers, "A", "1");
    add(&headers, "B", "2");
    add(&headers, "a", "3");
    add(&headers, "C", "4");
    assert_int_equal(peri_headers_set(&headers, "a", "5"), PERI_OK); /* one is left, in the first one's place */
    assert_int_equal(headers.count, 3);
    assert_string_equal(headers.items[0].value, "5");
    assert_string_equal(headers.items[1].name, "B");
    assert_string_equal(headers.items[2].name, "C");
    assert_int_equal(peri_headers_set(&headers, "b", peri_headers_get(&headers, "B")), PERI_OK);
    assert_string_equal(peri_headers_get(&headers, "B"), "2");
    assert_int_equal(peri_headers_set(&headers, "D", "6"), PERI_OK);
    assert_int_equal(headers.count, 4);
    peri_headers_remove(&headers, "c");
    peri_headers_remove(&headers, "none");
    assert_int_equal(headers.count, 3);
    assert_null(peri_headers_get(&headers, "C"));
    assert_string_equal(headers.items[2].name, "D");
    assert_int_equal(headers.bytes, 6);

    struct peri_headers copy;
    peri_headers_init(&copy);
    add(&copy, "Old", "x");
    assert_int_equal(peri_headers_copy(&copy, &headers), PERI_OK);
    assert_int_equal(copy.count, 3);
    assert_null(peri_headers_get(&copy, "Old"));
    assert_string_equal(peri_headers_get(&copy, "d"), "6");
    peri_headers_clear(&copy);
    assert_int_equal(copy.count, 0);
    assert_int_equal(copy.bytes, 0);
    assert_int_equal(add(&copy, "New", "y"), PERI_OK);
    const char *text = copy.text;
    assert_int_equal(peri_headers_copy(&copy, &headers), PERI_OK);
    assert_ptr_equal(copy.text, text); /* there was room */

    char name[16], value[64];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "X-%d", i);
        snprintf(value, sizeof value, "%050d", i);
        assert_int_equal(add(&headers, name, value), PERI_OK);
    }
    assert_int_equal(peri_headers_copy(&copy, &headers), PERI_OK);
    assert_int_equal(copy.count, headers.count);
    assert_int_equal(copy.bytes, headers.bytes);
    for (size_t i = 0; i < copy.count; i++) {
        assert_string_equal(copy.items[i].name, headers.items[i].name);
        assert_string_equal(copy.items[i].value, headers.items[i].value);
    }
    assert_int_equal(add(&copy, "Last", "z"), PERI_OK);
    assert_string_equal(peri_headers_get(&copy, "x-99"), value);
    peri_headers_fini(&copy);
    peri_headers_fini(&headers);
}

static void test_limit(void **state)
{
    (void)state;
    struct peri_headers headers, copy;
    peri_headers_init(&headers);
    assert_int_equal(headers.max_bytes, PERI_HEADERS_MAX_BYTES);
    headers.max_bytes = 10;
    assert_int_equal(add(&headers, "abc", "1234567"), PERI_OK);
    assert_int_equal(add(&headers, "d", ""), PERI_TOO_LARGE);
    assert_int_equal(add(&headers, "a-very-long-name", ""), PERI_TOO_LARGE);
    peri_headers_init(&copy);
    add(&copy, "Old", "x");
    copy.max_bytes = 9;
    assert_int_equal(peri_headers_copy(&copy, &headers), PERI_TOO_LARGE);
    assert_string_equal(peri_headers_get(&copy, "old"), "x"); /* unchanged */
    peri_headers_remove(&headers, "abc");
    assert_int_equal(add(&headers, "d", ""), PERI_OK);
    peri_headers_fini(&copy);
    peri_headers_fini(&headers);
}

/* Fields that are replaced again and again leave no growing memory; what is added may come from the list itself. */
static void test_one_block(void **state)
{
    (void)state;
    struct peri_headers headers;
    peri_headers_init(&headers);
    assert_int_equal(add(&headers, "Kept", "from the start"), PERI_OK);
    char value[32];
    for (int i = 0; i < 10000; i++) {
        snprintf(value, sizeof value, "%d", i);
        assert_int_equal(peri_headers_set(&headers, "Changed", value), PERI_OK);
        assert_string_equal(peri_headers_get(&headers, "changed"), value);
    }
    assert_true(headers.text_cap <= 1024);
    assert_int_equal(headers.count, 2);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(peri_headers_set(&headers, "Kept", peri_headers_get(&headers, "Kept")), PERI_OK);
        snprintf(value, sizeof value, "More-%d", i);
        assert_int_equal(add(&headers, value, peri_headers_get(&headers, "kept")), PERI_OK);
    }
    assert_int_equal(headers.count, 202);
    for (size_t i = 2; i < headers.count; i++) {
        assert_string_equal(headers.items[i].value, "from the start");
    }
    peri_headers_clear(&headers);
    assert_int_equal(add(&headers, "After", "all"), PERI_OK);
    assert_string_equal(headers.items[0].name, "After");
    peri_headers_fini(&headers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_get), cmocka_unit_test(test_refused),   cmocka_unit_test(test_set_remove),
        cmocka_unit_test(test_limit),   cmocka_unit_test(test_one_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
