/* SPDX-License-Identifier: MIT */
/* part: base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "perilune/clock.h"
#include "perilune/random.h"

static void the_manual_clock_moves_by_hand(void **state)
{
    int64_t now = 5;
    struct peri_clock clock = peri_clock_manual(&now);
    (void)state;
    assert_int_equal(peri_clock_monotonic_ms(clock), 5);
    assert_int_equal(peri_clock_wall_ms(clock), 5);
    now = 99;
    assert_int_equal(peri_clock_monotonic_ms(clock), 99);
    assert_int_equal(peri_clock_wall_ms(clock), 99);
}

static void the_system_clock_agrees_with_the_c_library(void **state)
{
    struct peri_clock clock = peri_clock_system();
    (void)state;
    int64_t before = (int64_t)time(NULL) * 1000;
    int64_t wall = peri_clock_wall_ms(clock);
    int64_t after = ((int64_t)time(NULL) + 1) * 1000;
    assert_true(wall >= before - 1000 && wall <= after + 1000);
    int64_t first = peri_clock_monotonic_ms(clock);
    assert_true(peri_clock_monotonic_ms(clock) >= first);
}

static void times_are_written(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        { 0, "1970-01-01T00:00:00.000Z" },
        { 999, "1970-01-01T00:00:00.999Z" },
        { -1, "1969-12-31T23:59:59.999Z" },
        { -86400000, "1969-12-31T00:00:00.000Z" },
        { INT64_C(951782400000), "2000-02-29T00:00:00.000Z" },
        { INT64_C(1795313640123), "2026-11-22T02:14:00.123Z" },
        { INT64_C(4107542399999), "2100-02-28T23:59:59.999Z" },
        { INT64_C(253402300799999), "9999-12-31T23:59:59.999Z" },
        { INT64_C(-62167219200000), "0000-01-01T00:00:00.000Z" },
        { INT64_MAX, "292278994-08-17T07:12:55.807Z" },
        { INT64_MIN, "-292275055-05-16T16:47:04.192Z" },
    };
    char text[PERI_TIME_TEXT];
    uint64_t seed = 1;
    struct peri_random random = peri_random_seeded(&seed);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        peri_time_format(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
    for (int i = 0; i < 10000; i++) { /* the C library as the oracle */
        char want[64];
        struct tm tm;
        time_t seconds = (time_t)(peri_random_u64(random) % UINT64_C(253402300800));
        gmtime_r(&seconds, &tm);
        strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
        peri_time_format((int64_t)seconds * 1000, text);
        assert_string_equal(text, want);
    }
}

static void http_dates_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        /* RFC 9110 section 5.6.7: one moment in three forms */
        { "Sun, 06 Nov 1994 08:49:37 GMT", INT64_C(784111777000) },
        { "Sunday, 06-Nov-94 08:49:37 GMT", INT64_C(784111777000) },
        { "Sun Nov  6 08:49:37 1994", INT64_C(784111777000) },
        { "Wed Nov 16 08:49:37 1994", INT64_C(784975777000) },
        { "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
        { "Tue, 29 Feb 2000 12:00:00 GMT", INT64_C(951825600000) },
        { "Sat, 31 Dec 2016 23:59:60 GMT", INT64_C(1483228800000) },  /* a leap second is the next midnight */
        { "Friday, 01-Jan-69 00:00:00 GMT", INT64_C(3124224000000) }, /* 2069 */
        { "Thursday, 01-Jan-70 00:00:00 GMT", 0 },
        { NULL, -1 },
        { "", -1 },
        { "Sun", -1 },
        { "Sun, 06 Nov 1994 08:49:37", -1 },
        { "Sun, 06 Nov 1994 08:49:37 GMT ", -1 },
        { " Sun, 06 Nov 1994 08:49:37 GMT", -1 },
        { "Sun, 06 Nov 1994 08:49:37 UTC", -1 },
        { "Sun, 6 Nov 1994 08:49:37 GMT", -1 },
        { "Sun, 06 nov 1994 08:49:37 GMT", -1 },
        { "Xyz, 06 Nov 1994 08:49:37 GMT", -1 },
        { "Sun, 06 Nov 94 08:49:37 GMT", -1 },
        { "Sun, 06 Nov 1994 24:00:00 GMT", -1 },
        { "Sun, 06 Nov 1994 08:60:00 GMT", -1 },
        { "Sun, 06 Nov 1994 08:00:61 GMT", -1 },
        { "Sun, 00 Nov 1994 08:49:37 GMT", -1 },
        { "Sun, 31 Nov 1994 08:49:37 GMT", -1 },
        { "Sun, 29 Feb 1900 08:49:37 GMT", -1 },
        { "Mon, 29 Feb 2100 08:49:37 GMT", -1 },
        { "Wed, 31 Dec 1969 23:59:59 GMT", -1 },
        { "1994-11-06T08:49:37Z", -1 },
    };
    uint64_t seed = 2;
    struct peri_random random = peri_random_seeded(&seed);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (peri_time_parse_http(cases[i].text) != cases[i].ms)
            fail_msg("%s gives %lld", cases[i].text, (long long)peri_time_parse_http(cases[i].text));
    for (int i = 0; i < 10000; i++) {
        char text[64];
        struct tm tm;
        time_t seconds = (time_t)(peri_random_u64(random) % UINT64_C(253402300800));
        gmtime_r(&seconds, &tm);
        strftime(text, sizeof text, i % 2 ? "%a, %d %b %Y %H:%M:%S GMT" : "%a %b %e %H:%M:%S %Y", &tm);
        assert_int_equal(peri_time_parse_http(text), (int64_t)seconds * 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manual_clock_moves_by_hand),
        cmocka_unit_test(the_system_clock_agrees_with_the_c_library),
        cmocka_unit_test(times_are_written),
        cmocka_unit_test(http_dates_are_read),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
