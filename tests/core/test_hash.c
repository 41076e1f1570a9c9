/* SPDX-License-Identifier: MIT */
/* part: base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/hash.h"
#include "perilune/random.h"
#include "support/alloc_fail.h"
#include "support/vectors.h"

static json_t *vectors;

static const char *text_of(const json_t *vector, const char *key)
{
    const char *text = json_string_value(json_object_get(vector, key));
    assert_non_null(text);
    return text;
}

static enum peri_hash_kind kind_of(const json_t *vector)
{
    static const char *const names[] = {
        [PERI_SHA256] = "sha256", [PERI_SHA384] = "sha384", [PERI_SHA512] = "sha512", [PERI_MD5] = "md5"
    };
    for (int i = PERI_SHA256; i <= PERI_MD5; i++)
        if (strcmp(names[i], text_of(vector, "kind")) == 0)
            return (enum peri_hash_kind)i;
    fail_msg("unknown kind %s", text_of(vector, "kind"));
    return PERI_MD5;
}

static void check_digest(enum peri_hash_kind kind, const unsigned char *digest, const char *hex)
{
    struct peri_buf out;
    peri_buf_init(&out, 2 * PERI_HASH_MAX);
    assert_int_equal(peri_hex_append(&out, digest, peri_hash_size(kind)), PERI_OK);
    assert_string_equal(out.data, hex);
    peri_buf_fini(&out);
}

static void digests_are_right_however_they_are_fed(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "digests"), i, vector)
    {
        enum peri_hash_kind kind = kind_of(vector);
        const json_t *repeat = json_object_get(vector, "repeat");
        struct peri_str text = peri_str_from(text_of(vector, "text"));
        json_int_t times = repeat ? json_integer_value(repeat) : 1;
        const char *hex = text_of(vector, "hex");
        unsigned char digest[PERI_HASH_MAX];
        struct peri_error err;
        struct peri_buf whole;

        peri_buf_init(&whole, 1 << 20);
        for (json_int_t n = 0; n < times; n++)
            assert_int_equal(peri_buf_append_str(&whole, text), PERI_OK);
        assert_int_equal(peri_hash_once(kind, peri_buf_str(&whole), digest, &err), PERI_OK);
        check_digest(kind, digest, hex);

        struct peri_hash *hash = peri_hash_new(kind, &err);
        assert_non_null(hash);
        for (int round = 0; round < 2; round++) { /* after final it starts over */
            peri_hash_update(hash, NULL, 0);
            for (size_t at = 0, step = 1; at < whole.len; at += step, step = step % 4096 + 7) {
                size_t left = whole.len - at;
                peri_hash_update(hash, whole.data + at, step < left ? step : left);
            }
            memset(digest, 0, sizeof digest);
            peri_hash_final(hash, digest);
            check_digest(kind, digest, hex);
        }
        peri_hash_free(hash);
        peri_buf_fini(&whole);
    }
    peri_hash_free(NULL);
}

static void macs_are_right(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;
    json_array_foreach((json_t *)vectors_section(vectors, "macs"), i, vector)
    {
        struct peri_buf key, data;
        unsigned char digest[PERI_HASH_MAX];
        peri_buf_init(&key, 1000);
        peri_buf_init(&data, 1000);
        vectors_unhex(&key, text_of(vector, "key_hex"));
        vectors_unhex(&data, text_of(vector, "data_hex"));
        assert_int_equal(peri_hmac(kind_of(vector), peri_buf_str(&key), peri_buf_str(&data), digest, NULL), PERI_OK);
        check_digest(kind_of(vector), digest, text_of(vector, "hex"));
        peri_buf_fini(&key);
        peri_buf_fini(&data);
    }
}

static void base64_goes_both_ways(void **state)
{
    size_t i;
    json_t *vector;
    struct peri_buf bytes, out;
    (void)state;
    peri_buf_init(&bytes, 1000);
    peri_buf_init(&out, 1000);
    json_array_foreach((json_t *)vectors_section(vectors, "base64"), i, vector)
    {
        static const char *const fields[] = { "base64", "base64url" };
        peri_buf_clear(&bytes);
        vectors_unhex(&bytes, text_of(vector, "hex"));
        for (int url = 0; url < 2; url++) {
            const char *want = text_of(vector, fields[url]);
            peri_buf_clear(&out);
            assert_int_equal((url ? peri_base64url_append : peri_base64_append)(&out, bytes.data, bytes.len), PERI_OK);
            assert_int_equal(out.len, strlen(want));
            assert_string_equal(out.data, want);
            peri_buf_clear(&out);
            assert_int_equal(peri_base64_decode(&out, peri_str_from(want), NULL), PERI_OK);
            assert_true(peri_str_equal(peri_buf_str(&out), peri_buf_str(&bytes)));
        }
    }
    json_array_foreach((json_t *)vectors_section(vectors, "base64_also_decodes"), i, vector)
    {
        peri_buf_clear(&bytes);
        peri_buf_clear(&out);
        vectors_unhex(&bytes, text_of(vector, "hex"));
        assert_int_equal(peri_base64_decode(&out, peri_str_from(text_of(vector, "text")), NULL), PERI_OK);
        assert_true(peri_str_equal(peri_buf_str(&out), peri_buf_str(&bytes)));
    }
    peri_buf_fini(&bytes);
    peri_buf_fini(&out);
}

static void bad_base64_is_refused_and_leaves_nothing(void **state)
{
    size_t i;
    json_t *vector;
    struct peri_buf out;
    (void)state;
    peri_buf_init(&out, 1000);
    assert_int_equal(peri_buf_append_text(&out, "kept"), PERI_OK);
    json_array_foreach((json_t *)vectors_section(vectors, "base64_refused"), i, vector)
    {
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_str text = { json_string_value(vector), json_string_length(vector) };
        if (peri_base64_decode(&out, text, &err) != PERI_INVALID)
            fail_msg("accepted: %s", text.data);
        assert_int_equal(err.code, PERI_INVALID);
        assert_string_equal(out.data, "kept");
        assert_int_equal(out.len, 4);
    }
    peri_buf_fini(&out);
}

static void random_bytes_survive_and_limits_hold(void **state)
{
    uint64_t seed = 3;
    struct peri_random random = peri_random_seeded(&seed);
    char bytes[67];
    (void)state;
    for (size_t len = 0; len < sizeof bytes; len++) {
        struct peri_buf text, back;
        random.fill(random.state, bytes, len);
        peri_buf_init(&text, (len + 2) / 3 * 4); /* exactly enough */
        peri_buf_init(&back, len);
        assert_int_equal(peri_base64_append(&text, bytes, len), PERI_OK);
        assert_int_equal(peri_base64_decode(&back, peri_buf_str(&text), NULL), PERI_OK);
        assert_int_equal(back.len, len);
        assert_memory_equal(back.data, bytes, len);
        peri_buf_fini(&text);
        peri_buf_fini(&back);
        if (len == 0)
            continue;
        peri_buf_init(&text, 2 * len - 1);
        assert_int_equal(peri_hex_append(&text, bytes, len), PERI_TOO_LARGE);
        assert_int_equal(text.len, 0);
        peri_buf_init(&text, (len + 2) / 3 * 4 - 1);
        assert_int_equal(peri_base64_append(&text, bytes, len), PERI_TOO_LARGE);
        assert_int_equal(text.len, 0);
    }
}

static void secrets_are_compared_and_wiped(void **state)
{
    char secret[] = "secret";
    (void)state;
    assert_true(peri_constant_time_equal(peri_str_from("abc"), peri_str_from("abc")));
    assert_false(peri_constant_time_equal(peri_str_from("abc"), peri_str_from("abd")));
    assert_false(peri_constant_time_equal(peri_str_from("abc"), peri_str_from("ab")));
    assert_false(peri_constant_time_equal(peri_str_from("abc"), peri_str_from("")));
    assert_true(peri_constant_time_equal((struct peri_str){ NULL, 0 }, peri_str_from("")));
    peri_secure_zero(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++)
        assert_int_equal(secret[i], 0);
    peri_secure_zero(NULL, 0);
}

static void survives_every_failing_allocation(void **state)
{
    unsigned n;
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    for (n = 1;; n++) {
        unsigned char digest[PERI_HASH_MAX];
        struct peri_error err = PERI_ERROR_INIT;
        alloc_fail_at(n);
        struct peri_hash *hash = peri_hash_new(PERI_SHA256, &err);
        bool failed = alloc_fail_stop();
        if (hash) {
            peri_hash_update(hash, "abc", 3);
            peri_hash_final(hash, digest);
            check_digest(PERI_SHA256, digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        } else {
            assert_true(failed);
            assert_true(err.code == PERI_NOMEM || err.code == PERI_UNSUPPORTED); /* OpenSSL does not say which */
        }
        peri_hash_free(hash);
        if (!failed)
            break;
    }
    assert_true(n > 2);
}

static int setup(void **state)
{
    (void)state;
    vectors = vectors_load("hash");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_right_however_they_are_fed),
        cmocka_unit_test(macs_are_right),
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(bad_base64_is_refused_and_leaves_nothing),
        cmocka_unit_test(random_bytes_survive_and_limits_hold),
        cmocka_unit_test(secrets_are_compared_and_wiped),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("hash", tests, setup, teardown);
}
