/* SPDX-License-Identifier: MIT */
/* part: auth */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "perilune/oauth.h"
#include "support/alloc_fail.h"

/* The form that asks for a token (sheet, section 9 and vector V11), the answer, and how long the token is used. */

static const struct peri_oauth_options plain = { .token_url = "https://login.example/oauth2/token",
                                                 .client_id = "cid",
                                                 .client_secret = "sec" };

static struct peri_oauth *make(const struct peri_oauth_options *options)
{
    struct peri_error err;
    struct peri_oauth *oauth = peri_oauth_new(options, &err);
    if (!oauth)
        fail_msg("%s", err.message);
    return oauth;
}

static void assert_form(const struct peri_oauth_options *options, const char *expected)
{
    struct peri_buf form;
    struct peri_oauth *oauth = make(options);
    peri_buf_init(&form, 4096);
    assert_int_equal(peri_oauth_form(oauth, &form, NULL), PERI_OK);
    assert_string_equal(form.data, expected);
    peri_buf_fini(&form);
    peri_oauth_free(oauth);
}

static void test_form(void **state)
{
    (void)state;
    struct peri_oauth_options options = plain;
    assert_form(&options, "grant_type=client_credentials&client_secret=sec&client_id=cid");
    options.scopes = "https://api/.default";
    assert_form(&options, "grant_type=client_credentials&client_secret=sec&scope=https%3A%2F%2Fapi%2F.default"
                          "&client_id=cid");
    options.scopes = "a b";
    options.client_secret = "s&=+ \xC3\xB8%";
    options.extra = (const char *const[]){ "audience", "x y", "resource", "https://r", NULL };
    assert_form(&options, "grant_type=client_credentials&client_secret=s%26%3D%2B+%C3%B8%25&audience=x+y"
                          "&resource=https%3A%2F%2Fr&scope=a+b&client_id=cid");
}

static void test_options(void **state)
{
    (void)state;
    static const struct {
        struct peri_oauth_options options;
        const char *message;
    } bad[] = {
        { { NULL, "i", "s", NULL, NULL }, "credentials: 'token_url' is required" },
        { { "https://x", "", "s", NULL, NULL }, "credentials: 'client_id' is required" },
        { { "https://x", "i", NULL, NULL, NULL }, "credentials: 'client_secret' is required" },
        { { "ftp://x", "i", "s", NULL, NULL }, "credentials: token_url: " },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct peri_error err;
        assert_null(peri_oauth_new(&bad[i].options, &err));
        assert_int_equal(err.code, PERI_INVALID);
        assert_memory_equal(err.message, bad[i].message, strlen(bad[i].message));
    }
    peri_oauth_free(NULL);
}

/* When a token taken at 1,000,000 is renewed. */
static void assert_renewed_after(const char *answer, int64_t ms)
{
    struct peri_oauth *oauth = make(&plain);
    struct peri_error err = PERI_ERROR_INIT;
    assert_false(peri_oauth_is_fresh(oauth, 1000000));
    assert_int_equal(peri_oauth_token(oauth).len, 0);
    if (peri_oauth_take(oauth, peri_str_from(answer), 1000000, &err) != PERI_OK)
        fail_msg("%s: %s", answer, err.message);
    assert_string_equal(peri_oauth_token(oauth).data, "AT");
    assert_true(peri_oauth_is_fresh(oauth, 1000000 + ms - 1));
    assert_false(peri_oauth_is_fresh(oauth, 1000000 + ms));
    peri_oauth_free(oauth);
}

static void test_lifetime(void **state)
{
    (void)state;
    assert_renewed_after("{\"access_token\":\"AT\",\"expires_in\":3599,\"token_type\":\"Bearer\"}", 3569000);
    assert_renewed_after("{\"access_token\":\"AT\",\"expires_in\":\"3599\"}", 3569000);
    assert_renewed_after("{\"access_token\":\"AT\",\"expires_in\":61}", 31000);
    assert_renewed_after("{\"access_token\":\"AT\",\"expires_in\":60}", 30000);
    assert_renewed_after("{\"access_token\":\"AT\",\"expires_in\":10}", 5000);
    assert_renewed_after("{\"access_token\":\"AT\",\"expires_in\":0}", 0);
    assert_renewed_after("{\"access_token\":\"AT\"}", 270000);
    assert_renewed_after("{\"access_token\":\"AT\",\"expires_in\":1e300}", 365LL * 24 * 3600 * 1000 - 30000);
}

/* A bad answer leaves the token before it, and the message repeats nothing of what came. */
static void test_bad_answers(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "SECRETTOKEN",
        "[]",
        "{}",
        "{\"access_token\":\"\",\"expires_in\":1}",
        "{\"access_token\":7,\"expires_in\":1}",
        "{\"access_token\":\"SECRET TOKEN\",\"expires_in\":1}",
        "{\"access_token\":\"SECRET\\r\\nX: 1\",\"expires_in\":1}",
        "{\"access_token\":\"SECRETTOKEN\",\"expires_in\":-1}",
        "{\"access_token\":\"SECRETTOKEN\",\"expires_in\":\"soon\"}",
        "{\"access_token\":\"SECRETTOKEN\",\"expires_in\":{}}",
    };
    struct peri_oauth *oauth = make(&plain);
    assert_int_equal(peri_oauth_take(oauth, peri_str_from("{\"access_token\":\"AT\"}"), 0, NULL), PERI_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct peri_error err;
        assert_int_equal(peri_oauth_take(oauth, peri_str_from(bad[i]), 0, &err), PERI_PROTOCOL);
        assert_null(strstr(err.message, "SECRET"));
        assert_string_equal(peri_oauth_token(oauth).data, "AT");
    }
    peri_oauth_free(oauth);
}

static void test_memory(void **state)
{
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    struct peri_oauth_options options = plain;
    options.extra = (const char *const[]){ "a", "b", NULL };
    options.scopes = "s";
    bool hit = true;
    for (unsigned n = 1; hit; n++) {
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_buf form;
        peri_buf_init(&form, 4096);
        alloc_fail_at(n);
        struct peri_oauth *oauth = peri_oauth_new(&options, &err);
        enum peri_code code = oauth ? peri_oauth_form(oauth, &form, &err) : err.code;
        if (code == PERI_OK)
            code = peri_oauth_take(oauth, peri_str_from("{\"access_token\":\"AT\"}"), 0, &err);
        hit = alloc_fail_stop();
        if (code != PERI_OK && code != PERI_PROTOCOL) /* jansson does not say why it failed */
            assert_int_equal(code, PERI_NOMEM);
        assert_int_equal(code != PERI_OK, hit);
        peri_buf_fini(&form);
        peri_oauth_free(oauth);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),        cmocka_unit_test(test_options), cmocka_unit_test(test_lifetime),
        cmocka_unit_test(test_bad_answers), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
