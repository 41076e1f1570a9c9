/* SPDX-License-Identifier: MIT */
/* part: net */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "perilune/uri.h"

static void assert_str(struct peri_str s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.data, text, s.len);
}

static void test_parse(void **state)
{
    (void)state;
    struct peri_uri uri;
    struct peri_error err;
    assert_int_equal(peri_uri_parse(peri_str_from("HTTPS://me@Example.org:8443/a/b%20c?x=1&y=/#frag?"), &uri, &err),
                     PERI_OK);
    assert_str(uri.scheme, "HTTPS");
    assert_str(uri.userinfo, "me");
    assert_str(uri.host, "Example.org");
    assert_int_equal(uri.port, 8443);
    assert_str(uri.path, "/a/b%20c");
    assert_str(uri.query, "x=1&y=/");
    assert_str(uri.fragment, "frag?");

    static const struct {
        const char *url, *host, *path, *query;
        int port;
    } cases[] = {
        { "http://h", "h", "", "", 80 },
        { "https://h", "h", "", "", 443 },
        { "http://h:/x", "h", "/x", "", 80 },
        { "http://h?q", "h", "", "q", 80 },
        { "http://h#f", "h", "", "", 80 },
        { "http://[::1]:81/", "[::1]", "/", "", 81 },
        { "http://[fe80::1]", "[fe80::1]", "", "", 80 },
        { "http://10.0.0.1:65535/p?", "10.0.0.1", "/p", "", 65535 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_int_equal(peri_uri_parse(peri_str_from(cases[i].url), &uri, &err), PERI_OK);
        assert_str(uri.host, cases[i].host);
        assert_str(uri.path, cases[i].path);
        assert_str(uri.query, cases[i].query);
        assert_int_equal(uri.port, cases[i].port);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "h",
        "/path",
        "http:/h",
        "http//h",
        "ftp://h/",
        "file:///x",
        "http://",
        "http:///p",
        "http://:80/",
        "http://h:0/",
        "http://h:65536/",
        "http://h:x",
        "http://h:99999999999999999999",
        "http://h:-1",
        "http://a b/",
        "http://h/a b",
        "http://h/\n",
        "http://h/\x7f",
        "http://me:secret@h/",
        "http://good\\@evil/",
        "http://a@b@c/",
        "http://[::1",
        "http://[::1]x/",
        "http://h%00/",
        "http://[]/",
        "http://[g::]/",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct peri_uri uri;
        struct peri_error err = PERI_ERROR_INIT;
        if (peri_uri_parse(peri_str_from(bad[i]), &uri, &err) != PERI_INVALID) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_true(strlen(err.message) > 10);
        assert_null(strstr(err.message, "secret"));
    }
    struct peri_uri uri;
    assert_int_equal(peri_uri_parse((struct peri_str){ "http://h/\0x", 11 }, &uri, NULL), PERI_INVALID);
    assert_int_equal(peri_uri_parse((struct peri_str){ NULL, 0 }, &uri, NULL), PERI_INVALID);
}

static void test_same_origin(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        { "http://H/x", "HTTP://h:80/y?z", true },  { "https://h", "https://h:443/", true },
        { "http://h", "https://h", false },         { "http://h", "http://h:81", false },
        { "http://h", "http://h.evil.org", false }, { "http://h@evil.org", "http://h", false },
        { "https://h:80", "http://h:80", false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct peri_uri a, b;
        assert_int_equal(peri_uri_parse(peri_str_from(cases[i].a), &a, NULL), PERI_OK);
        assert_int_equal(peri_uri_parse(peri_str_from(cases[i].b), &b, NULL), PERI_OK);
        assert_int_equal(peri_uri_same_origin(&a, &b), cases[i].same);
    }
}

static void test_escapes(void **state)
{
    (void)state;
    struct peri_buf buf;
    peri_buf_init(&buf, 1024);
    assert_int_equal(peri_uri_encode(&buf, (struct peri_str){ "a-._~Z9 /?&=%+\xc3\xa4\0!", 18 }, "/"), PERI_OK);
    assert_string_equal(buf.data, "a-._~Z9%20/%3F%26%3D%25%2B%C3%A4%00%21");
    struct peri_buf back;
    peri_buf_init(&back, 1024);
    assert_int_equal(peri_uri_decode(&back, peri_buf_str(&buf), false), PERI_OK);
    assert_int_equal(back.len, 18);
    assert_memory_equal(back.data, "a-._~Z9 /?&=%+\xc3\xa4\0!", 18);

    peri_buf_clear(&back);
    assert_int_equal(peri_uri_decode(&back, peri_str_from("a+b%2B%2b"), true), PERI_OK);
    assert_string_equal(back.data, "a b++");
    static const char *const bad[] = { "%", "x%2", "%2", "%zz", "%2g", "ok%" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(peri_uri_decode(&back, peri_str_from(bad[i]), false), PERI_INVALID);
        assert_int_equal(back.len, 5); /* unchanged */
    }
    peri_buf_fini(&back);
    peri_buf_fini(&buf);

    peri_buf_init(&buf, 4);
    assert_int_equal(peri_uri_encode(&buf, peri_str_from("ab  "), NULL), PERI_TOO_LARGE);
    assert_int_equal(buf.len, 0);
    peri_buf_fini(&buf);
}

static void test_building(void **state)
{
    (void)state;
    struct peri_buf buf;
    peri_buf_init(&buf, 1024);
    static const char *const parts[][3] = {
        { "http://h", "/a", "http://h/a" },
        { "http://h/", "a", "http://h/a" },
        { "http://h//", "//a/", "http://h/a/" },
        { "http://h/p", "a?x=1", "http://h/p/a?x=1" },
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        peri_buf_clear(&buf);
        assert_int_equal(peri_uri_join(&buf, peri_str_from(parts[i][0]), peri_str_from(parts[i][1])), PERI_OK);
        assert_string_equal(buf.data, parts[i][2]);
    }
    peri_buf_clear(&buf);
    assert_int_equal(peri_buf_append_text(&buf, "http://h/p"), PERI_OK);
    assert_int_equal(peri_uri_add_query(&buf, "a b", peri_str_from("1&2")), PERI_OK);
    assert_int_equal(peri_uri_add_query(&buf, "c", peri_str_from("")), PERI_OK);
    assert_string_equal(buf.data, "http://h/p?a%20b=1%262&c=");
    peri_buf_fini(&buf);
}

static void test_form(void **state)
{
    struct peri_buf out;
    (void)state;
    peri_buf_init(&out, 256);
    assert_int_equal(peri_uri_add_form(&out, "a b", peri_str_from("1 + 2")), PERI_OK);
    assert_int_equal(peri_uri_add_form(&out, "c", peri_str_from("~*%\xc3\xa4")), PERI_OK);
    assert_true(peri_str_equal(peri_buf_str(&out), peri_str_from("?a+b=1+%2B+2&c=~%2A%25%C3%A4")));
    peri_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),   cmocka_unit_test(test_refused),  cmocka_unit_test(test_same_origin),
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_building), cmocka_unit_test(test_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
