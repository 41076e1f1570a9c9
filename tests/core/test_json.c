/* SPDX-License-Identifier: MIT */
/* part: base */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/json.h"
#include "perilune/random.h"
#include "support/alloc_fail.h"
#include "support/vectors.h"

static json_t *vectors;

static struct peri_str string_of(const json_t *value)
{
    return (struct peri_str){ json_string_value(value), json_string_length(value) };
}

/* A copy on the heap without a NUL behind it, so that the address sanitizer sees a read past the end. */
static json_t *parse_exactly(struct peri_str text, struct peri_error *err)
{
    char *exact = malloc(text.len ? text.len : 1);
    assert_non_null(exact);
    if (text.len)
        memcpy(exact, text.data, text.len);
    json_t *value = peri_json_parse((struct peri_str){ exact, text.len }, err);
    free(exact);
    return value;
}

static void valid_texts_read_and_write(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "valid"), i, vector)
    {
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_buf out;
        struct peri_str text = string_of(json_object_get(vector, "text"));
        const json_t *other = json_object_get(vector, "out");
        peri_buf_init(&out, 1 << 20);
        json_t *value = parse_exactly(text, &err);
        if (json_is_true(json_object_get(vector, "c_error"))) {
            assert_null(value);
            assert_int_equal(err.code, PERI_JSON);
            peri_error_clear(&err);
            continue;
        }
        if (!value)
            fail_msg("%.*s: %s", (int)text.len, text.data, err.message);
        assert_int_equal(peri_json_write(value, &out, &err), PERI_OK);
        struct peri_str want = other ? string_of(other) : text;
        assert_int_equal(out.len, want.len);
        assert_memory_equal(out.data, want.data, want.len);
        json_decref(value);
        peri_buf_fini(&out);
    }
}

static void broken_texts_are_refused_where_they_break(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "refused"), i, vector)
    {
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_buf bytes;
        char where[64] = "the JSON text holds a NUL byte";
        const json_t *text = json_object_get(vector, "text"), *column = json_object_get(vector, "c_column");
        peri_buf_init(&bytes, 1 << 20);
        if (text)
            peri_buf_append_str(&bytes, string_of(text));
        else
            vectors_unhex(&bytes, json_string_value(json_object_get(vector, "hex")));
        json_t *value = parse_exactly(peri_buf_str(&bytes), &err);
        if (!column)
            column = json_object_get(vector, "column");
        if (!json_is_null(column))
            snprintf(where, sizeof where,
                     "line %lld column %lld: ", json_integer_value(json_object_get(vector, "line")),
                     json_integer_value(column));
        if (value || err.code != PERI_JSON || strncmp(err.message, where, strlen(where)) != 0)
            fail_msg("vector %zu: %s instead of %s", i, value ? "accepted" : err.message, where);
        peri_buf_fini(&bytes);
    }
}

static void errors_name_what_is_wrong_and_no_secrets(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "{\"a\": True}", "line 1 column 10: invalid token near 'True'" },
        { "[1,]", "line 1 column 4: unexpected token near ']'" },
        { "[1", "line 1 column 2: ']' expected near end of file" },
        { "{\"token\":\n hunter2}", "line 2 column 7: invalid token" },
        { "{\"token\":\"hunter2\\x\"}", "line 1 column 19: invalid escape" },
        { "[\"hunter2\n\"]", "line 1 column 9: unexpected newline" },
        { "[12 34567]", "line 1 column 9: ']' expected" },
        { "\"' near '\\x", "line 1 column 11: invalid escape" },
        { "\x1b", "line 1 column 1: invalid token" }, /* nothing that a terminal would obey */
        { "[9223372036854775808]", "line 1 column 20: too big integer" },
        { "[-9223372036854775809]", "line 1 column 21: too big negative integer" },
        { "[1e400]", "line 1 column 6: real number overflow" },
        { "{\"a\\u0000b\":1}", "line 1 column 11: NUL byte in object key not supported" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peri_error err = PERI_ERROR_INIT;
        assert_null(parse_exactly(peri_str_from(cases[i].text), &err));
        assert_int_equal(err.code, PERI_JSON);
        assert_string_equal(err.message, cases[i].message);
    }
    for (size_t at = 0; at <= 3; at++) { /* jansson alone would accept one behind the number */
        struct peri_error err = PERI_ERROR_INIT;
        char text[] = "[1]X";
        memmove(text + at + 1, text + at, 3 - at);
        text[at] = '\0';
        assert_null(parse_exactly((struct peri_str){ text, 4 }, &err));
        assert_int_equal(err.code, PERI_JSON);
        assert_string_equal(err.message, "the JSON text holds a NUL byte");
    }
}

static void depth_is_limited(void **state)
{
    const json_t *nested = json_object_get(vectors, "nested");
    size_t accepted = (size_t)json_integer_value(json_object_get(nested, "accepted"));
    const char *const refusal = "the JSON value is nested too deep (over 512 levels)";
    char text[6000];
    struct peri_error err;
    struct peri_buf out;
    (void)state;
    assert_int_equal(accepted, PERI_JSON_MAX_DEPTH);
    memset(text, '[', accepted);
    memset(text + accepted, ']', accepted);
    json_t *value = parse_exactly((struct peri_str){ text, 2 * accepted }, &err);
    assert_non_null(value);
    peri_buf_init(&out, 4096);
    assert_int_equal(peri_json_write(value, &out, &err), PERI_OK);
    assert_int_equal(out.len, 2 * accepted);

    json_t *deeper = json_array(); /* built by hand, it can be deeper; it can't be written */
    assert_int_equal(json_array_append_new(deeper, value), 0);
    assert_int_equal(peri_json_write(deeper, &out, &err), PERI_INVALID);
    assert_int_equal(out.len, 2 * accepted);
    json_decref(deeper);

    memset(text, '[', accepted + 1);
    memset(text + accepted + 1, ']', accepted + 1);
    assert_null(parse_exactly((struct peri_str){ text, 2 * accepted + 2 }, &err));
    assert_int_equal(err.code, PERI_JSON);
    assert_string_equal(err.message, refusal);
    memset(text, '[', sizeof text); /* beyond what jansson itself follows */
    assert_null(parse_exactly((struct peri_str){ text, sizeof text }, &err));
    assert_int_equal(err.code, PERI_JSON);
    assert_string_equal(err.message, refusal);
    for (int more = 0; more <= 1; more++) { /* objects count, too */
        peri_buf_clear(&out);
        for (size_t i = 0; i < accepted + (size_t)more; i++)
            peri_buf_append_text(&out, "{\"\":");
        peri_buf_append_byte(&out, '0');
        for (size_t i = 0; i < accepted + (size_t)more; i++)
            peri_buf_append_byte(&out, '}');
        value = parse_exactly(peri_buf_str(&out), &err);
        assert_int_equal(value == NULL, more);
        json_decref(value);
    }
    assert_string_equal(err.message, refusal);
    peri_buf_fini(&out);
    peri_buf_init(&out, 1 << 16); /* wide is not deep */
    peri_buf_append_byte(&out, '[');
    for (int i = 0; i < 2000; i++)
        peri_buf_append_text(&out, i ? ",[{}]" : "[{}]");
    peri_buf_append_byte(&out, ']');
    value = parse_exactly(peri_buf_str(&out), &err);
    assert_int_equal(json_array_size(value), 2000);
    json_decref(value);
    peri_buf_fini(&out);
}

static double double_of(const char *bits)
{
    uint64_t word = strtoull(bits, NULL, 16);
    double x;
    memcpy(&x, &word, sizeof x);
    return x;
}

static void reals_are_short_and_exact(void **state)
{
    struct peri_buf out;
    size_t i;
    json_t *vector;
    uint64_t seed = 7;
    struct peri_random random = peri_random_seeded(&seed);
    (void)state;
    peri_buf_init(&out, 100);
    json_array_foreach((json_t *)vectors_section(vectors, "reals"), i, vector)
    {
        peri_buf_clear(&out);
        double x = double_of(json_string_value(json_object_get(vector, "bits")));
        assert_int_equal(peri_json_write_real(&out, x), PERI_OK);
        assert_string_equal(out.data, json_string_value(json_object_get(vector, "text")));
    }
    for (i = 0; i < 200000; i++) { /* few decimals: the C library as the oracle */
        char want[40];
        uint64_t digits = peri_random_u64(random) >> (14 + i % 40);
        double scale = 1, x;
        for (size_t k = i % 11; k > 0; k--)
            scale *= 10;
        x = (double)digits / scale * (i % 2 ? -1 : 1);
        for (int precision = 15; precision <= 17; precision++) {
            snprintf(want, sizeof want - 2, "%.*g", precision, x);
            if (strtod(want, NULL) == x)
                break;
        }
        if (!strpbrk(want, ".e"))
            strncat(want, ".0", 3);
        peri_buf_clear(&out);
        assert_int_equal(peri_json_write_real(&out, x), PERI_OK);
        assert_string_equal(out.data, want);
    }
    for (i = 0; i < 200000; i++) { /* any bits: the text is a JSON real and reads back as the same bits */
        struct peri_error err;
        uint64_t bits = peri_random_u64(random), back;
        double x;
        if (i % 4 == 0)
            bits &= ~(UINT64_C(0x7FF) << 52); /* subnormal */
        memcpy(&x, &bits, sizeof x);
        peri_buf_clear(&out);
        if ((bits >> 52 & 0x7FF) == 0x7FF) {
            assert_int_equal(peri_json_write_real(&out, x), PERI_INVALID);
            assert_int_equal(out.len, 0);
            continue;
        }
        assert_int_equal(peri_json_write_real(&out, x), PERI_OK);
        assert_true(out.len <= 24);
        json_t *value = peri_json_parse(peri_buf_str(&out), &err);
        assert_true(json_is_real(value));
        x = json_real_value(value);
        memcpy(&back, &x, sizeof back);
        assert_int_equal(back, bits);
        json_decref(value);
    }
    peri_buf_fini(&out);
}

static void integers_keep_their_64_bits(void **state)
{
    uint64_t seed = 11;
    struct peri_random random = peri_random_seeded(&seed);
    struct peri_buf out;
    struct peri_error err;
    (void)state;
    peri_buf_init(&out, 100);
    for (int i = 0; i < 10000; i++) {
        json_int_t n = (json_int_t)(peri_random_u64(random) >> (i % 64));
        json_t *written = json_integer(i % 2 ? n : -n);
        peri_buf_clear(&out);
        assert_int_equal(peri_json_write(written, &out, &err), PERI_OK);
        json_t *read = peri_json_parse(peri_buf_str(&out), &err);
        assert_true(json_is_integer(read));
        assert_true(json_equal(read, written));
        json_decref(read);
        json_decref(written);
    }
    peri_buf_fini(&out);
}

static void strings_of_any_bytes_become_json(void **state)
{
    size_t i;
    json_t *vector;
    struct peri_error err;
    struct peri_buf bytes, out;
    (void)state;
    peri_buf_init(&bytes, 1000);
    peri_buf_init(&out, 1000);
    json_array_foreach((json_t *)vectors_section(vectors, "strings"), i, vector)
    {
        peri_buf_clear(&bytes);
        peri_buf_clear(&out);
        vectors_unhex(&bytes, json_string_value(json_object_get(vector, "hex")));
        assert_int_equal(peri_json_write_string(&out, peri_buf_str(&bytes)), PERI_OK);
        struct peri_str want = string_of(json_object_get(vector, "out"));
        assert_int_equal(out.len, want.len);
        assert_memory_equal(out.data, want.data, want.len);
        json_t *value = peri_json_parse(peri_buf_str(&out), &err);
        assert_true(json_is_string(value));
        json_decref(value);
    }
    peri_buf_fini(&bytes);
    peri_buf_fini(&out);
}

/* Locales with a decimal comma are not installed everywhere; the test then says that it was skipped. */
static void the_locale_does_not_matter(void **state)
{
    static const char *const commas[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", "nl_NL.UTF-8" };
    struct peri_error err;
    struct peri_buf out;
    char shown[16];
    bool found = false;
    (void)state;
    for (size_t i = 0; i < sizeof commas / sizeof commas[0] && !found; i++)
        found = setlocale(LC_ALL, commas[i]) != NULL;
    if (!found)
        skip();
    snprintf(shown, sizeof shown, "%.1f", 1.5);
    assert_string_equal(shown, "1,5");
    peri_buf_init(&out, 100);
    json_t *value = peri_json_parse(peri_str_from("[1.5,1e-3]"), &err);
    assert_non_null(value);
    assert_int_equal(peri_json_write(value, &out, &err), PERI_OK);
    assert_string_equal(out.data, "[1.5,0.001]");
    snprintf(shown, sizeof shown, "%.1f", 1.5); /* and it is left as it was */
    assert_string_equal(shown, "1,5");
    setlocale(LC_ALL, "C");
    json_decref(value);
    peri_buf_fini(&out);
}

static void fields_say_what_is_wrong(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *text = "before";
    json_int_t number = 7;
    bool flag = true;
    json_t *object = peri_json_parse(
        peri_str_from("{\"s\":\"x\",\"n\":5,\"r\":5.0,\"t\":true,\"f\":false,\"null\":null,\"nul\":\"a\\u0000b\"}"),
        &err);
    (void)state;
    assert_int_equal(peri_json_get_string(object, "s", true, &text, &err), PERI_OK);
    assert_string_equal(text, "x");
    assert_int_equal(peri_json_get_integer(object, "n", true, &number, &err), PERI_OK);
    assert_int_equal(number, 5);
    assert_int_equal(peri_json_get_bool(object, "f", true, &flag, &err), PERI_OK);
    assert_false(flag);
    assert_int_equal(peri_json_get_bool(object, "t", false, &flag, &err), PERI_OK);
    assert_true(flag);
    assert_int_equal(err.code, PERI_OK);

    static const char *const absent[] = { "null", "none" };
    for (int i = 0; i < 2; i++) { /* absent and null: the caller's default stands, and err is untouched */
        text = "before";
        number = 7;
        flag = true;
        assert_int_equal(peri_json_get_string(object, absent[i], false, &text, &err), PERI_OK);
        assert_null(text);
        assert_int_equal(peri_json_get_integer(object, absent[i], false, &number, &err), PERI_OK);
        assert_int_equal(number, 7);
        assert_int_equal(peri_json_get_bool(object, absent[i], false, &flag, &err), PERI_OK);
        assert_true(flag);
        assert_int_equal(err.code, PERI_OK);
        assert_int_equal(peri_json_get_string(object, absent[i], true, &text, NULL), PERI_INVALID);
        assert_int_equal(peri_json_get_bool(object, absent[i], true, &flag, NULL), PERI_INVALID);
    }
    assert_int_equal(peri_json_get_integer(object, "none", true, &number, &err), PERI_INVALID);
    assert_string_equal(err.message, "field 'none' is missing");
    assert_int_equal(peri_json_get_string(object, "n", false, &text, &err), PERI_INVALID);
    assert_string_equal(err.message, "field 'n' must be a string");
    assert_int_equal(peri_json_get_integer(object, "r", true, &number, &err), PERI_INVALID);
    assert_string_equal(err.message, "field 'r' must be an integer");
    assert_int_equal(peri_json_get_bool(object, "n", true, &flag, &err), PERI_INVALID);
    assert_string_equal(err.message, "field 'n' must be true or false");
    assert_int_equal(peri_json_get_string(object, "nul", true, &text, &err), PERI_INVALID);
    assert_int_equal(peri_json_get_string(NULL, "s", true, &text, &err), PERI_INVALID);
    json_decref(object);
}

static void a_full_buffer_stays_as_it_was(void **state)
{
    struct peri_error err;
    json_t *value = peri_json_parse(peri_str_from("{\"a\":[1,2.5,\"x\\n\\u00e9\",true,null]}"), &err);
    struct peri_buf out;
    (void)state;
    const size_t size = sizeof "{\"a\":[1,2.5,\"x\\n\xC3\xA9\",true,null]}" - 1;
    for (size_t max = 3; max <= 3 + size; max++) {
        peri_buf_init(&out, max);
        assert_int_equal(peri_buf_append_text(&out, "abc"), PERI_OK);
        enum peri_code want = max < 3 + size ? PERI_TOO_LARGE : PERI_OK;
        assert_int_equal(peri_json_write(value, &out, &err), want);
        assert_int_equal(out.len, want == PERI_OK ? max : 3);
        assert_int_equal(out.data[out.len], '\0');
        peri_buf_fini(&out);
    }
    peri_buf_init(&out, 5);
    assert_int_equal(peri_json_write_string(&out, peri_str_from("abcdef")), PERI_TOO_LARGE);
    assert_int_equal(peri_json_write_real(&out, 123456.0), PERI_TOO_LARGE);
    assert_int_equal(out.len, 0);
    assert_int_equal(peri_json_write(NULL, &out, &err), PERI_INVALID);
    peri_buf_fini(&out);
    json_decref(value);
}

static void survives_every_failing_allocation(void **state)
{
    /* Tokens of at most 15 bytes: for longer ones jansson's lexer allocates, and does not see that it failed. */
    static const char text[] = "{\"key \\n esc\":[1,-2.5,1e300,1234567890123,\"plain\",\"\\u00e9 \\n\",{},[],null],"
                               "\"b\":{\"c\":{\"d\":[[[true,false]]]}},\"dup\":1,\"dup\":2,"
                               "\"e\":1,\"f\":2,\"g\":3,\"h\":4,\"i\":5,\"j\":6,\"k\":7,\"l\":8,\"m\":9}";
    unsigned n;
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    for (n = 1;; n++) {
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_buf out;
        enum peri_code code = PERI_NOMEM;
        peri_buf_init(&out, 1 << 20);
        alloc_fail_at(n);
        json_t *value = peri_json_parse((struct peri_str){ text, sizeof text - 1 }, &err);
        if (value)
            code = peri_json_write(value, &out, &err);
        bool failed = alloc_fail_stop();
        json_decref(value);
        assert_int_equal(code, failed ? PERI_NOMEM : PERI_OK);
        assert_int_equal(err.code, code);
        assert_true(code == PERI_OK || out.len == 0);
        peri_buf_fini(&out);
        if (!failed)
            break;
    }
    assert_in_range(n, 30, 1000); /* fewer would mean that the harness counts no allocations */
}

static int setup(void **state)
{
    (void)state;
    vectors = vectors_load("json");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

/* As Python's json.dumps writes them. */
static void spaced_texts_are_ascii(void **state)
{
    static const char *const texts[][2] = {
        { "{\"b\":[1,-2,1.5,null],\"a\":{}}", "{\"b\": [1, -2, 1.5, null], \"a\": {}}" },
        { "[]", "[]" },
        { "\"t\xc3\xa4st \xf0\x9f\x98\x80 \xe2\x82\xac\"", "\"t\\u00e4st \\ud83d\\ude00 \\u20ac\"" },
        { "\"\x7f~ /\\\"\\\\\\n\\r\\t\\b\\f\\u0001\"", "\"\\u007f~ /\\\"\\\\\\n\\r\\t\\b\\f\\u0001\"" },
        { "{\"\xc3\xa4\":true}", "{\"\\u00e4\": true}" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct peri_error err;
        struct peri_buf out;
        peri_buf_init(&out, 1024);
        json_t *value = peri_json_parse(peri_str_from(texts[i][0]), &err);
        assert_non_null(value);
        assert_int_equal(peri_json_write_spaced(value, &out, &err), PERI_OK);
        assert_true(peri_str_equal(peri_buf_str(&out), peri_str_from(texts[i][1])));
        peri_buf_fini(&out);
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_texts_read_and_write),
        cmocka_unit_test(broken_texts_are_refused_where_they_break),
        cmocka_unit_test(errors_name_what_is_wrong_and_no_secrets),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(reals_are_short_and_exact),
        cmocka_unit_test(integers_keep_their_64_bits),
        cmocka_unit_test(strings_of_any_bytes_become_json),
        cmocka_unit_test(spaced_texts_are_ascii),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(fields_say_what_is_wrong),
        cmocka_unit_test(a_full_buffer_stays_as_it_was),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("json", tests, setup, teardown);
}
