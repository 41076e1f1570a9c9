/* SPDX-License-Identifier: MIT */
/* part: auth */
#include <stdlib.h>
#include <string.h>

#include "perilune/access_key.h"
#include "perilune/password.h"
#include "support/vectors.h"

/* Access keys, HTTP Basic and HTTP Digest against vectors of the sheet, of RFC 2617, and of JavaScript's own numbers. */

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void test_access_keys(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("dataflux");
    const json_t *list = vectors_section(vectors, "access_key");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        char md5[PERI_BODY_MD5_SIZE];
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_headers headers;
        struct peri_access_key key = { "ak-1", text(v, "secret") };
        assert_int_equal(peri_access_key_body_md5(json_object_get(v, "body"), md5, &err), PERI_OK);
        assert_string_equal(md5, text(v, "md5"));
        peri_headers_init(&headers);
        assert_int_equal(peri_access_key_sign(&headers, &key, text(v, "method"), peri_str_from(text(v, "target")),
                                              json_integer_value(json_object_get(v, "timestamp")), text(v, "nonce"),
                                              md5, &err),
                         PERI_OK);
        assert_string_equal(peri_headers_get(&headers, "X-Dff-Ak-Sign"), text(v, "signature"));
        assert_string_equal(peri_headers_get(&headers, "X-Dff-Ak-Id"), "ak-1");
        assert_string_equal(peri_headers_get(&headers, "X-Dff-Ak-Timestamp"), "1700000000");
        assert_string_equal(peri_headers_get(&headers, "X-Dff-Ak-Nonce"), "abc");
        peri_headers_fini(&headers);
    }
    json_decref(vectors);
}

static void test_body_digests(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("dataflux");
    const json_t *list = vectors_section(vectors, "body_md5");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        char md5[PERI_BODY_MD5_SIZE];
        struct peri_error err;
        json_t *body = json_loads(text(v, "text"), 0, NULL);
        assert_non_null(body);
        assert_int_equal(peri_access_key_body_md5(body, md5, &err), PERI_OK);
        if (strcmp(md5, text(v, "md5")) != 0)
            fail_msg("the digest of %s is not that of %s", text(v, "text"), text(v, "canonical"));
        json_decref(body);
    }
    json_decref(vectors);
}

static void test_bad_keys(void **state)
{
    struct peri_headers headers;
    struct peri_error err;
    (void)state;
    peri_headers_init(&headers);
    assert_int_equal(peri_access_key_sign(&headers, &(struct peri_access_key){ "a\nb", "secret" }, "GET",
                                          peri_str_from("/"), 1, "n", "m", &err),
                     PERI_INVALID);
    assert_null(strstr(err.message, "secret"));
    peri_headers_fini(&headers);
}

static void test_digests(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("dataflux");
    const json_t *list = vectors_section(vectors, "digest");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        struct peri_digest digest;
        struct peri_headers headers;
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_password user = { text(v, "username"), text(v, "password") };
        peri_headers_init(&headers);
        assert_int_equal(peri_digest_read(&digest, text(v, "challenge"), &err), PERI_OK);
        assert_int_equal(peri_digest_sign(&headers, &digest, &user, text(v, "method"), peri_str_from(text(v, "target")),
                                          text(v, "cnonce"), 1, &err),
                         PERI_OK);
        assert_string_equal(peri_headers_get(&headers, "Authorization"), text(v, "header"));
        peri_headers_fini(&headers);
    }
    json_decref(vectors);
}

/* RFC 2069's form, and what may surround it. */
static void test_challenges(void **state)
{
    char longest[PERI_DIGEST_TEXT + 64];
    struct peri_digest digest;
    struct peri_error err;
    (void)state;
    assert_int_equal(peri_digest_read(&digest, "dIgEsT  realm = \"a \\\"b\" ,nonce=n1,, algorithm=md5", &err), PERI_OK);
    assert_string_equal(digest.realm, "a \\\"b");
    assert_string_equal(digest.nonce, "n1");
    assert_false(digest.qop_auth || digest.has_opaque);
    static const struct {
        const char *challenge;
        enum peri_code code;
    } bad[] = {
        { "", PERI_UNSUPPORTED },
        { "Basic realm=\"r\"", PERI_UNSUPPORTED },
        { "Digest", PERI_PROTOCOL },
        { "Digest realm=\"r\"", PERI_PROTOCOL },
        { "Digest nonce=\"n\"", PERI_PROTOCOL },
        { "Digest realm=\"r\", nonce=\"\"", PERI_PROTOCOL },
        { "Digest realm=\"r\", nonce=\"n", PERI_PROTOCOL },
        { "Digest realm=\"r\\", PERI_PROTOCOL },
        { "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256", PERI_UNSUPPORTED },
        { "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"", PERI_UNSUPPORTED },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (peri_digest_read(&digest, bad[i].challenge, &err) != bad[i].code)
            fail_msg("%s: %s", bad[i].challenge, err.message);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memcpy(longest, "Digest nonce=", strlen("Digest nonce="));
    assert_int_equal(peri_digest_read(&digest, longest, &err), PERI_PROTOCOL);
}

static void test_basic(void **state)
{
    struct peri_headers headers;
    struct peri_error err;
    (void)state;
    peri_headers_init(&headers);
    /* RFC 7617 section 2.1 */
    assert_int_equal(peri_basic_sign(&headers, &(struct peri_password){ "test", "123\xc2\xa3" }, &err), PERI_OK);
    assert_string_equal(peri_headers_get(&headers, "Authorization"), "Basic dGVzdDoxMjPCow==");
    assert_int_equal(peri_basic_sign(&headers, &(struct peri_password){ "a:b", "c" }, &err), PERI_INVALID);
    assert_int_equal(peri_basic_sign(&headers, &(struct peri_password){ "a", "c\n" }, &err), PERI_INVALID);
    peri_headers_fini(&headers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access_keys), cmocka_unit_test(test_body_digests), cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_digests),     cmocka_unit_test(test_challenges),   cmocka_unit_test(test_basic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
