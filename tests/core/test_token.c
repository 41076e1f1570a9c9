/* SPDX-License-Identifier: MIT */
/* part: base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/token.h"
#include "support/alloc_fail.h"
#include "support/vectors.h"

static json_t *vectors;

static const char *text_of(const json_t *vector, const char *key)
{
    const char *text = json_string_value(json_object_get(vector, key));
    assert_non_null(text);
    return text;
}

static void tokens_are_the_documented_ones(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "tokens"), i, vector)
    {
        char token[PERI_CALL_TOKEN_MAX];
        uint64_t id = strtoull(text_of(vector, "call_id"), NULL, 10), parsed = 0;
        unsigned attempt = (unsigned)json_integer_value(json_object_get(vector, "attempt"));
        struct peri_buf key;
        peri_buf_init(&key, PERI_CALL_KEY_SIZE);
        vectors_unhex(&key, text_of(vector, "key_hex"));
        assert_int_equal(peri_call_token((const unsigned char *)key.data, id, attempt, token, NULL), PERI_OK);
        assert_string_equal(token, text_of(vector, "token"));
        assert_true(peri_call_token_parse(peri_str_from(token), &parsed));
        assert_int_equal(parsed, id);
        peri_buf_fini(&key);
    }
}

static void what_is_no_token_is_told_from_one(void **state)
{
    size_t i;
    json_t *text;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "garbage"), i, text)
    {
        uint64_t id = 77;
        if (peri_call_token_parse(peri_str_from(json_string_value(text)), &id))
            fail_msg("taken for a token: %s", json_string_value(text));
        assert_int_equal(id, 77);
    }
}

static void memory_may_be_out(void **state)
{
    static const unsigned char key[PERI_CALL_KEY_SIZE] = { 1 };
    char token[PERI_CALL_TOKEN_MAX];
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    for (unsigned n = 1;; n++) {
        alloc_fail_at(n);
        enum peri_code code = peri_call_token(key, 1, 1, token, NULL);
        bool failed = alloc_fail_stop();
        assert_true(failed || code == PERI_OK);
        if (!failed)
            break;
        assert_true(n < 1000);
    }
    assert_int_equal(strlen(token), 49);
}

int main(void)
{
    vectors = vectors_load("token");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_the_documented_ones),
        cmocka_unit_test(what_is_no_token_is_told_from_one),
        cmocka_unit_test(memory_may_be_out),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(vectors);
    return rc;
}
