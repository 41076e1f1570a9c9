/* SPDX-License-Identifier: MIT */
/* part: net */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/multipart.h"
#include "support/alloc_fail.h"

/* Bodies of type multipart/form-data: their bytes, sizes, rewinding, sources that lie or wait. */

static struct peri_random seeded(uint64_t *seed)
{
    *seed = 42;
    return peri_random_seeded(seed);
}

/* All that a reader gives, in pieces of at most `cap` bytes. */
static enum peri_code drain(struct peri_reader *reader, size_t cap, struct peri_buf *out, struct peri_error *err)
{
    char piece[64];
    size_t n = 0;
    do {
        enum peri_code code = peri_reader_read(reader, piece, cap, &n, err);
        if (code != PERI_OK)
            return code;
        assert_int_equal(peri_buf_append(out, piece, n), PERI_OK);
    } while (n > 0);
    return PERI_OK;
}

static struct peri_multipart *make(void)
{
    struct peri_error err;
    struct peri_multipart *multipart = peri_multipart_new(&err);
    assert_int_equal(
        peri_multipart_add_field(multipart, peri_str_from("a\"\r\n"), (struct peri_str){ "x\0y", 3 }, &err), PERI_OK);
    assert_int_equal(peri_multipart_add_file(multipart, peri_str_from("f"), peri_str_from("n.txt"), "text/plain",
                                             peri_reader_memory(peri_str_from("hello"), &err), &err),
                     PERI_OK);
    assert_int_equal(peri_multipart_add_file(multipart, peri_str_from("f"), peri_str_from(""), NULL,
                                             peri_reader_memory(peri_str_from(""), &err), &err),
                     PERI_OK);
    assert_int_equal(peri_multipart_count(multipart), 3);
    return multipart;
}

static void test_bytes(void **state)
{
    static const size_t caps[] = { 1, 2, 7, 64 };
    (void)state;
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        uint64_t seed;
        char type[PERI_MULTIPART_TYPE_SIZE], expected[1024];
        struct peri_error err;
        struct peri_buf out;
        struct peri_reader *reader = peri_multipart_reader(make(), seeded(&seed), type, &err);
        const char *b = strstr(type, "boundary=") + strlen("boundary=");
        assert_memory_equal(type, "multipart/form-data; boundary=perilune-", 39);
        assert_int_equal(strlen(b), 9 + 32);
        int len = snprintf(expected, sizeof expected,
                           "--%s\r\nContent-Disposition: form-data; name=\"a%%22%%0D%%0A\"\r\n\r\nx%cy\r\n"
                           "--%s\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n.txt\"\r\n"
                           "Content-Type: text/plain\r\n\r\nhello\r\n"
                           "--%s\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\n"
                           "Content-Type: application/octet-stream\r\n\r\n\r\n--%s--\r\n",
                           b, 0, b, b, b);
        assert_int_equal(peri_reader_size(reader), len);
        for (int again = 0; again < 2; again++) { /* the second time after a rewind, half-way */
            peri_buf_init(&out, 4096);
            assert_int_equal(drain(reader, caps[i], &out, &err), PERI_OK);
            assert_int_equal(out.len, len);
            assert_memory_equal(out.data, expected, (size_t)len);
            peri_buf_fini(&out);
            size_t n;
            char piece[200];
            assert_int_equal(peri_reader_rewind(reader, &err), PERI_OK);
            assert_int_equal(peri_reader_read_full(reader, piece, sizeof piece, &n, &err), PERI_OK);
            assert_int_equal(peri_reader_rewind(reader, &err), PERI_OK);
        }
        peri_reader_free(reader);
    }
}

static void test_nothing(void **state)
{
    uint64_t seed;
    char type[PERI_MULTIPART_TYPE_SIZE];
    struct peri_error err;
    struct peri_buf out;
    (void)state;
    struct peri_reader *reader = peri_multipart_reader(peri_multipart_new(&err), seeded(&seed), type, &err);
    peri_buf_init(&out, 4096);
    assert_int_equal(drain(reader, 64, &out, &err), PERI_OK);
    assert_int_equal(out.len, peri_reader_size(reader));
    peri_buf_fini(&out);
    peri_reader_free(reader);
}

/* ---- sources ---- */

struct source {
    int64_t left;
    bool busy; /* once */
};

static enum peri_code read_source(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    struct source *source = data;
    (void)err;
    if (source->busy) {
        source->busy = false;
        return PERI_BUSY;
    }
    *n = (size_t)(source->left < (int64_t)cap ? source->left : (int64_t)cap);
    memset(out, 'z', *n);
    source->left -= (int64_t)*n;
    return PERI_OK;
}

static struct peri_reader *of_source(struct source *source, int64_t size)
{
    uint64_t seed;
    char type[PERI_MULTIPART_TYPE_SIZE];
    struct peri_error err;
    struct peri_multipart *multipart = peri_multipart_new(&err);
    struct peri_reader *reader = peri_reader_callback(read_source, NULL, size, source, NULL, &err);
    assert_int_equal(peri_multipart_add_file(multipart, peri_str_from("f"), peri_str_from("big"), NULL, reader, &err),
                     PERI_OK);
    return peri_multipart_reader(multipart, seeded(&seed), type, &err);
}

static void test_liars(void **state)
{
    static const int64_t given[] = { 99, 101, 0, 1000 };
    (void)state;
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        struct source source = { .left = given[i] };
        struct peri_error err;
        struct peri_buf out;
        struct peri_reader *reader = of_source(&source, 100);
        peri_buf_init(&out, 4096);
        assert_int_equal(drain(reader, 64, &out, &err), PERI_IO);
        assert_string_equal(err.message, "file 'big' has changed its size while it was sent");
        peri_buf_fini(&out);
        peri_reader_free(reader);
    }
}

static void count_resume(void *data)
{
    ++*(int *)data;
}

/* A source of unknown size that has nothing yet. */
static void test_waiting(void **state)
{
    struct source source = { .left = 3, .busy = true };
    uint64_t seed;
    int resumed = 0;
    char type[PERI_MULTIPART_TYPE_SIZE];
    struct peri_error err;
    struct peri_buf out;
    (void)state;
    struct peri_multipart *multipart = peri_multipart_new(&err);
    struct peri_reader *inner = peri_reader_callback(read_source, NULL, -1, &source, NULL, &err);
    assert_int_equal(peri_multipart_add_file(multipart, peri_str_from("f"), peri_str_from("p"), NULL, inner, &err),
                     PERI_OK);
    struct peri_reader *reader = peri_multipart_reader(multipart, seeded(&seed), type, &err);
    assert_int_equal(peri_reader_size(reader), -1);
    assert_false(peri_reader_can_rewind(reader));
    peri_reader_on_resume(reader, count_resume, &resumed);
    peri_buf_init(&out, 4096);
    assert_int_equal(drain(reader, 64, &out, &err), PERI_BUSY);
    peri_reader_resume(inner);
    assert_int_equal(resumed, 1);
    assert_int_equal(drain(reader, 64, &out, &err), PERI_OK);
    assert_non_null(memmem(out.data, out.len, "\r\n\r\nzzz\r\n--", 11));
    peri_buf_fini(&out);
    peri_reader_free(reader);
}

static void test_refused(void **state)
{
    struct peri_error err;
    (void)state;
    struct peri_multipart *multipart = peri_multipart_new(&err);
    assert_int_equal(peri_multipart_add_file(multipart, peri_str_from("f"), peri_str_from("n"), "text/plain\r\nX: y",
                                             peri_reader_memory(peri_str_from("x"), &err), &err),
                     PERI_INVALID);
    char *name = malloc(70000);
    memset(name, 'n', 70000);
    assert_int_equal(peri_multipart_add_field(multipart, (struct peri_str){ name, 70000 }, peri_str_from(""), &err),
                     PERI_TOO_LARGE);
    free(name);
    for (int i = 0; i < PERI_MULTIPART_PARTS; i++)
        assert_int_equal(peri_multipart_add_field(multipart, peri_str_from("a"), peri_str_from(""), &err), PERI_OK);
    assert_int_equal(peri_multipart_add_field(multipart, peri_str_from("a"), peri_str_from(""), &err), PERI_TOO_LARGE);
    peri_multipart_free(multipart);
    peri_multipart_free(NULL);
    assert_int_equal(peri_multipart_count(NULL), 0);
}

static enum peri_code whole(struct peri_buf *out, struct peri_error *err)
{
    uint64_t seed;
    char type[PERI_MULTIPART_TYPE_SIZE];
    struct peri_multipart *multipart = peri_multipart_new(err);
    if (!multipart)
        return err->code;
    enum peri_code code = peri_multipart_add_field(multipart, peri_str_from("a"), peri_str_from("1"), err);
    for (int i = 0; i < 5 && code == PERI_OK; i++) {
        struct peri_reader *source = peri_reader_memory(peri_str_from("data"), err);
        code = source ? peri_multipart_add_file(multipart, peri_str_from("f"), peri_str_from("n"), NULL, source, err)
                      : err->code;
    }
    if (code != PERI_OK) {
        peri_multipart_free(multipart);
        return code;
    }
    struct peri_reader *reader = peri_multipart_reader(multipart, seeded(&seed), type, err);
    if (!reader)
        return err->code;
    char piece[64];
    size_t n = 1;
    while (code == PERI_OK && n > 0) {
        code = peri_reader_read(reader, piece, sizeof piece, &n, err);
        out->len += n;
    }
    peri_reader_free(reader);
    return code;
}

static void test_memory(void **state)
{
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_buf out = { .len = 0 };
        alloc_fail_at(n);
        enum peri_code code = whole(&out, &err);
        bool hit = alloc_fail_stop();
        assert_int_equal(code, hit ? PERI_NOMEM : PERI_OK);
        failures += code != PERI_OK;
        if (!hit)
            break;
    }
    assert_true(failures > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),   cmocka_unit_test(test_nothing), cmocka_unit_test(test_liars),
        cmocka_unit_test(test_waiting), cmocka_unit_test(test_refused), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
