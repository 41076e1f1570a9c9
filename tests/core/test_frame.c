/* SPDX-License-Identifier: MIT */
/* part: base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/frame.h"
#include "perilune/random.h"
#include "support/alloc_fail.h"

static void write_log(struct peri_buf *out)
{
    size_t mark;
    assert_int_equal(peri_frame_begin(out, PERI_FRAME_LOG, UINT64_C(0x1122334455667788), &mark), PERI_OK);
    assert_int_equal(peri_frame_put_u64(out, UINT64_C(0xFFFFFFFFFFFFFFFE)), PERI_OK);
    assert_int_equal(peri_frame_put_u8(out, 0x7F), PERI_OK);
    assert_int_equal(peri_frame_put_u16(out, 0xABCD), PERI_OK);
    assert_int_equal(peri_frame_put_u32(out, 0x01020304), PERI_OK);
    assert_int_equal(peri_frame_put_str(out, (struct peri_str){ "a\0b", 3 }), PERI_OK);
    peri_frame_end(out, mark);
}

/* The contract with sandboxes that others write: the bytes, one by one. */
static const unsigned char log_bytes[] = {
    22,   0,    0,    0,    3,    0,    0,    0,    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xFE, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0xCD, 0xAB, 0x04, 0x03, 0x02, 0x01, 3,    0,    0,    0,    'a',  0,    'b',
};

static void the_bytes_are_the_documented_ones(void **state)
{
    struct peri_buf out;
    (void)state;
    peri_buf_init(&out, 1000);
    write_log(&out);
    assert_int_equal(out.len, sizeof log_bytes);
    assert_memory_equal(out.data, log_bytes, sizeof log_bytes);
    peri_buf_fini(&out);
}

static void fields_come_back(void **state)
{
    struct peri_frame frame;
    size_t used;
    struct peri_str in = { (const char *)log_bytes, sizeof log_bytes };
    (void)state;
    assert_int_equal(peri_frame_next(in, 22, &frame, &used), PERI_OK);
    assert_int_equal(used, sizeof log_bytes);
    assert_int_equal(frame.type, PERI_FRAME_LOG);
    assert_int_equal(frame.id, UINT64_C(0x1122334455667788));
    struct peri_frame_cursor c = peri_frame_cursor(&frame);
    assert_int_equal(peri_frame_get_u64(&c), UINT64_C(0xFFFFFFFFFFFFFFFE));
    assert_int_equal(peri_frame_get_u8(&c), 0x7F);
    assert_int_equal(peri_frame_get_u16(&c), 0xABCD);
    assert_int_equal(peri_frame_get_u32(&c), 0x01020304);
    struct peri_str s = peri_frame_get_str(&c);
    assert_int_equal(s.len, 3);
    assert_memory_equal(s.data, "a\0b", 3);
    assert_false(c.failed);
    assert_int_equal(c.rest.len, 0);
    assert_int_equal(peri_frame_get_u8(&c), 0);
    assert_true(c.failed);
}

static void a_short_payload_fails_once_and_for_all(void **state)
{
    struct peri_frame frame = { PERI_FRAME_LOG, 1, { "\x05\0\0\0abcd", 8 } };
    struct peri_frame_cursor c = peri_frame_cursor(&frame);
    (void)state;
    struct peri_str s = peri_frame_get_str(&c); /* says five, has four */
    assert_true(c.failed);
    assert_int_equal(s.len, 0);
    assert_int_equal(peri_frame_get_u8(&c), 0); /* though a byte would be there */
    assert_int_equal(peri_frame_get_u16(&c), 0);
    assert_int_equal(peri_frame_get_u32(&c), 0);
    assert_int_equal(peri_frame_get_u64(&c), 0);
    assert_int_equal(peri_frame_get_str(&c).len, 0);
    frame.payload = (struct peri_str){ "\xFF\xFF\xFF\xFF", 4 };
    c = peri_frame_cursor(&frame);
    assert_int_equal(peri_frame_get_str(&c).len, 0);
    assert_true(c.failed);
    frame.payload = (struct peri_str){ NULL, 0 };
    c = peri_frame_cursor(&frame);
    assert_false(c.failed);
    assert_int_equal(peri_frame_get_u64(&c), 0);
    assert_true(c.failed);
}

static void every_prefix_is_incomplete(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof log_bytes; len++) {
        struct peri_frame frame;
        size_t used = 99;
        char *exact = malloc(len ? len : 1); /* so that the sanitizer sees a read past the end */
        assert_non_null(exact);
        memcpy(exact, log_bytes, len);
        assert_int_equal(peri_frame_next((struct peri_str){ exact, len }, 1000, &frame, &used), PERI_BUSY);
        assert_int_equal(used, len < PERI_FRAME_HEADER ? 0 : sizeof log_bytes);
        free(exact);
    }
}

static void garbage_and_giants_are_refused(void **state)
{
    unsigned char header[PERI_FRAME_HEADER];
    struct peri_str in = { (const char *)header, sizeof header };
    struct peri_frame frame;
    size_t used;
    (void)state;
    for (int type = 0; type < 256; type++) {
        memset(header, 0, sizeof header);
        header[4] = (unsigned char)type;
        bool known = (type >= 1 && type <= 6) || (type >= 16 && type <= 22);
        assert_int_equal(peri_frame_next(in, 0, &frame, &used), known ? PERI_OK : PERI_PROTOCOL);
        assert_int_equal(used, known ? PERI_FRAME_HEADER : 0);
    }
    for (int i = 5; i < 8; i++) { /* flags and reserved */
        memset(header, 0, sizeof header);
        header[4] = PERI_FRAME_PING;
        header[i] = 1;
        assert_int_equal(peri_frame_next(in, 0, &frame, &used), PERI_PROTOCOL);
    }
    memset(header, 0, sizeof header);
    header[4] = PERI_FRAME_CALL;
    header[0] = 101;
    assert_int_equal(peri_frame_next(in, 100, &frame, &used), PERI_TOO_LARGE);
    assert_int_equal(peri_frame_next(in, 101, &frame, &used), PERI_BUSY);
    assert_int_equal(used, PERI_FRAME_HEADER + 101);
    memset(header, 0xFF, 4);
    assert_int_equal(peri_frame_next(in, 0xFFFFFFFE, &frame, &used), PERI_TOO_LARGE);
    assert_int_equal(peri_frame_next(in, SIZE_MAX, &frame, &used), PERI_BUSY);
    assert_int_equal(used, (size_t)PERI_FRAME_HEADER + UINT32_MAX);
}

static void a_stream_of_frames_in_random_pieces(void **state)
{
    uint64_t seed = 4;
    struct peri_random random = peri_random_seeded(&seed);
    struct peri_buf all, in;
    uint64_t next = 0;
    (void)state;
    peri_buf_init(&all, 1 << 24);
    peri_buf_init(&in, 1 << 24);
    for (uint64_t id = 0; id < 2000; id++) {
        static const char filler[300] = { 'x' };
        size_t mark;
        assert_int_equal(peri_frame_begin(&all, PERI_FRAME_CHUNK, id, &mark), PERI_OK);
        assert_int_equal(peri_frame_put_str(&all, (struct peri_str){ filler, peri_random_u64(random) % 300 }), PERI_OK);
        assert_int_equal(peri_frame_put_u64(&all, id * 3), PERI_OK);
        peri_frame_end(&all, mark);
    }
    for (size_t at = 0; at < all.len;) {
        size_t piece = peri_random_u64(random) % 700 + 1;
        struct peri_frame frame;
        size_t used;
        enum peri_code code;
        piece = piece < all.len - at ? piece : all.len - at;
        assert_int_equal(peri_buf_append(&in, all.data + at, piece), PERI_OK);
        at += piece;
        while ((code = peri_frame_next(peri_buf_str(&in), 1000, &frame, &used)) == PERI_OK) {
            struct peri_frame_cursor c = peri_frame_cursor(&frame);
            peri_frame_get_str(&c);
            assert_int_equal(frame.id, next);
            assert_int_equal(peri_frame_get_u64(&c), next * 3);
            assert_false(c.failed);
            peri_buf_consume(&in, used);
            next++;
        }
        assert_int_equal(code, PERI_BUSY);
    }
    assert_int_equal(next, 2000);
    assert_int_equal(in.len, 0);
    peri_buf_fini(&all);
    peri_buf_fini(&in);
}

static void a_failed_frame_can_be_taken_back(void **state)
{
    struct peri_buf out;
    size_t mark;
    (void)state;
    peri_buf_init(&out, 60);
    write_log(&out);
    assert_int_equal(peri_frame_begin(&out, PERI_FRAME_PING, 1, &mark), PERI_OK);
    assert_int_equal(peri_frame_put_str(&out, (struct peri_str){ "abc", 3 }), PERI_TOO_LARGE);
    assert_int_equal(out.len, sizeof log_bytes + PERI_FRAME_HEADER); /* not even the length of the string */
    peri_buf_truncate(&out, mark);
    assert_int_equal(out.len, sizeof log_bytes);
    assert_memory_equal(out.data, log_bytes, sizeof log_bytes);
    peri_buf_fini(&out);
    assert_int_equal(peri_frame_put_str(&out, (struct peri_str){ "", UINT32_MAX }), PERI_TOO_LARGE);
}

static void survives_a_failing_allocation(void **state)
{
    struct peri_buf out;
    size_t mark;
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    peri_buf_init(&out, 1000);
    alloc_fail_at(1);
    enum peri_code code = peri_frame_begin(&out, PERI_FRAME_PING, 1, &mark);
    assert_true(alloc_fail_stop());
    assert_int_equal(code, PERI_NOMEM);
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_the_documented_ones),      cmocka_unit_test(fields_come_back),
        cmocka_unit_test(a_short_payload_fails_once_and_for_all), cmocka_unit_test(every_prefix_is_incomplete),
        cmocka_unit_test(garbage_and_giants_are_refused),         cmocka_unit_test(a_stream_of_frames_in_random_pieces),
        cmocka_unit_test(a_failed_frame_can_be_taken_back),       cmocka_unit_test(survives_a_failing_allocation),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
