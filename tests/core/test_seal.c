/* SPDX-License-Identifier: MIT */
/* part: base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/seal.h"
#include "support/alloc_fail.h"
#include "support/vectors.h"

static void fill_fixed(void *state, void *out, size_t len)
{
    memcpy(out, state, len);
}

/* Test case 16 of "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega, 2005. */
static const char key_hex[] = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
static const char plain_hex[] =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a"
    "6b525b16aedf5aa0de657ba637b39";
static const char context_hex[] = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
static const char sealed_hex[] =
    "cafebabefacedbaddecaf888"
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056"
    "828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b";

struct sample {
    struct peri_buf key, plain, context, sealed;
};

static void load(struct sample *s)
{
    struct {
        struct peri_buf *to;
        const char *hex;
    } parts[] = {
        { &s->key, key_hex }, { &s->plain, plain_hex }, { &s->context, context_hex }, { &s->sealed, sealed_hex }
    };
    for (size_t i = 0; i < 4; i++) {
        peri_buf_init(parts[i].to, 4096);
        vectors_unhex(parts[i].to, parts[i].hex);
    }
}

static void unload(struct sample *s)
{
    peri_buf_fini(&s->key);
    peri_buf_fini(&s->plain);
    peri_buf_fini(&s->context);
    peri_buf_fini(&s->sealed);
}

static enum peri_code open_sample(const struct sample *s, struct peri_buf *out, struct peri_error *err)
{
    return peri_unseal((const unsigned char *)s->key.data, peri_buf_str(&s->context), peri_buf_str(&s->sealed), out,
                       err);
}

static void the_published_case(void **state)
{
    (void)state;
    struct sample s;
    struct peri_buf out;
    struct peri_error err = PERI_ERROR_INIT;
    load(&s);
    peri_buf_init(&out, 4096);
    struct peri_random fixed = { fill_fixed, s.sealed.data };
    assert_int_equal(peri_seal((const unsigned char *)s.key.data, peri_buf_str(&s.context), fixed,
                               peri_buf_str(&s.plain), &out, &err),
                     PERI_OK);
    assert_true(peri_str_equal(peri_buf_str(&out), peri_buf_str(&s.sealed)));
    peri_buf_clear(&out);
    assert_int_equal(open_sample(&s, &out, &err), PERI_OK);
    assert_true(peri_str_equal(peri_buf_str(&out), peri_buf_str(&s.plain)));
    peri_buf_fini(&out);
    unload(&s);
}

static void any_changed_bit_is_noticed(void **state)
{
    (void)state;
    struct sample s;
    struct peri_buf out;
    struct peri_error err = PERI_ERROR_INIT;
    load(&s);
    peri_buf_init(&out, 4096);
    struct peri_buf *parts[] = { &s.key, &s.context, &s.sealed };
    for (size_t part = 0; part < 3; part++) {
        for (size_t i = 0; i < parts[part]->len; i++) {
            parts[part]->data[i] ^= 1;
            assert_int_equal(open_sample(&s, &out, &err), PERI_FORBIDDEN);
            assert_int_equal(out.len, 0);
            parts[part]->data[i] ^= 1;
        }
    }
    while (s.sealed.len > 0) {
        s.sealed.len--;
        assert_int_equal(open_sample(&s, &out, &err), PERI_FORBIDDEN);
    }
    peri_buf_fini(&out);
    unload(&s);
}

static void nonces_differ_and_empty_texts_pass(void **state)
{
    (void)state;
    static const unsigned char key[PERI_SEAL_KEY] = { 1, 2, 3 };
    struct peri_buf a, b, out;
    peri_buf_init(&a, 4096);
    peri_buf_init(&b, 4096);
    peri_buf_init(&out, 4096);
    struct peri_str none = { NULL, 0 };
    assert_int_equal(peri_seal(key, none, peri_random_system(), none, &a, NULL), PERI_OK);
    assert_int_equal(peri_seal(key, none, peri_random_system(), none, &b, NULL), PERI_OK);
    assert_int_equal(a.len, PERI_SEAL_EXTRA);
    assert_false(peri_str_equal(peri_buf_str(&a), peri_buf_str(&b)));
    assert_int_equal(peri_unseal(key, none, peri_buf_str(&a), &out, NULL), PERI_OK);
    assert_int_equal(out.len, 0);
    peri_buf_fini(&a);
    peri_buf_fini(&b);
    peri_buf_fini(&out);
}

static void limits_of_the_buffer_hold(void **state)
{
    (void)state;
    static const unsigned char key[PERI_SEAL_KEY] = { 0 };
    struct peri_buf out;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_str none = { NULL, 0 };
    peri_buf_init(&out, PERI_SEAL_EXTRA + 3);
    assert_int_equal(peri_seal(key, none, peri_random_system(), peri_str_from("four"), &out, &err), PERI_TOO_LARGE);
    assert_int_equal(out.len, 0);
    peri_buf_fini(&out);
}

static bool seal_once(void)
{
    static const unsigned char key[PERI_SEAL_KEY] = { 0 };
    struct peri_buf out;
    struct peri_error err = PERI_ERROR_INIT;
    peri_buf_init(&out, 4096);
    enum peri_code code =
        peri_seal(key, (struct peri_str){ NULL, 0 }, peri_random_system(), peri_str_from("text"), &out, &err);
    peri_buf_fini(&out);
    return code == PERI_OK;
}

static void survives_each_failing_allocation(void **state)
{
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    assert_true(seal_once()); /* what OpenSSL makes once */
    unsigned n = 1;
    for (;; n++) {
        alloc_fail_at(n);
        bool done = seal_once();
        bool failed = alloc_fail_stop();
        assert_true(done || failed);
        if (!failed)
            break;
    }
    assert_true(n > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_case),
        cmocka_unit_test(any_changed_bit_is_noticed),
        cmocka_unit_test(nonces_differ_and_empty_texts_pass),
        cmocka_unit_test(limits_of_the_buffer_hold),
        cmocka_unit_test(survives_each_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
