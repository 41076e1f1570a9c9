/* SPDX-License-Identifier: MIT */
/* part: client, threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/hasher.h"

static void changed(void *data)
{
    ++*(unsigned *)data;
}

static char *make_bytes(size_t size)
{
    char *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 2654435761u >> 11);
    return bytes;
}

static void check_digest(struct peri_hasher *hasher, const char *bytes, size_t size)
{
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf hex;
    char got[65];
    peri_buf_init(&hex, 128);
    peri_hash_once(PERI_SHA256, (struct peri_str){ bytes, size }, digest, NULL);
    peri_hex_append(&hex, digest, 32);
    peri_hasher_digest(hasher, got);
    assert_memory_equal(got, hex.data, 64);
    assert_int_equal(got[64], 0);
    peri_buf_fini(&hex);
}

static void wait_for(struct peri_loop *loop, struct peri_hasher *hasher, enum peri_code expected,
                     struct peri_error *err)
{
    enum peri_code code;
    while ((code = peri_hasher_state(hasher, err)) == PERI_BUSY)
        assert_int_equal(peri_loop_run_once(loop, -1, err), PERI_OK);
    assert_int_equal(code, expected);
}

static const size_t sizes[] = { 0, 1, 1000, 256 * 1024, 256 * 1024 + 1, 4 << 20, (9 << 20) + 7 };

static void test_source(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    struct peri_loop *loop = peri_loop_new(&err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned changes = 0;
        char *bytes = make_bytes(sizes[i]);
        struct peri_reader *source = peri_reader_borrowed((struct peri_str){ bytes, sizes[i] }, &err);
        struct peri_hasher *hasher = peri_hasher_new(loop, source, changed, &changes, &err);
        assert_non_null(hasher);
        peri_hasher_reach(hasher, (int64_t)sizes[i] / 2);
        peri_hasher_reach(hasher, (int64_t)sizes[i] / 3); /* never back */
        peri_hasher_finish(hasher, (int64_t)sizes[i]);
        wait_for(loop, hasher, PERI_OK, &err);
        check_digest(hasher, bytes, sizes[i]);
        assert_int_equal(changes > 0, sizes[i] > 256 * 1024); /* what is small needs no thread */
        peri_hasher_free(hasher);
        free(bytes);
    }
    assert_int_equal(peri_loop_active(loop), 0);
    peri_loop_free(loop);
}

static void test_fed(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    struct peri_loop *loop = peri_loop_new(&err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned changes = 0;
        char *bytes = make_bytes(sizes[i]);
        struct peri_hasher *hasher = peri_hasher_new(loop, NULL, changed, &changes, &err);
        assert_non_null(hasher);
        for (size_t at = 0, n; at < sizes[i]; at += n) {
            n = 65521;
            while (peri_hasher_room(hasher) == 0)
                assert_int_equal(peri_loop_run_once(loop, -1, &err), PERI_OK);
            n = n < peri_hasher_room(hasher) ? n : peri_hasher_room(hasher);
            n = n < sizes[i] - at ? n : sizes[i] - at;
            peri_hasher_feed(hasher, (struct peri_str){ bytes + at, n });
        }
        peri_hasher_finish(hasher, (int64_t)sizes[i]);
        wait_for(loop, hasher, PERI_OK, &err);
        check_digest(hasher, bytes, sizes[i]);
        peri_hasher_free(hasher);
        free(bytes);
    }
    peri_loop_free(loop);
}

static void test_source_too_short(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    unsigned changes = 0;
    (void)state;
    struct peri_loop *loop = peri_loop_new(&err);
    struct peri_hasher *hasher =
        peri_hasher_new(loop, peri_reader_borrowed(peri_str_from("abc"), &err), changed, &changes, &err);
    peri_hasher_finish(hasher, 4 << 20);
    wait_for(loop, hasher, PERI_IO, &err);
    assert_string_equal(err.message, "the source ended while it was being hashed");
    peri_hasher_free(hasher);
    peri_loop_free(loop);
}

/* Freed while the thread hashes: the source may go at once. */
static void test_free_under_way(void **state)
{
    struct peri_error err = PERI_ERROR_INIT;
    unsigned changes = 0;
    (void)state;
    struct peri_loop *loop = peri_loop_new(&err);
    char *bytes = make_bytes(8 << 20);
    struct peri_reader *source = peri_reader_borrowed((struct peri_str){ bytes, 8 << 20 }, &err);
    struct peri_hasher *hasher = peri_hasher_new(loop, source, changed, &changes, &err);
    peri_hasher_reach(hasher, 8 << 20);
    peri_hasher_free(hasher);
    free(bytes);
    peri_loop_free(loop);
    assert_int_equal(changes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_fed),
        cmocka_unit_test(test_source_too_short),
        cmocka_unit_test(test_free_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
