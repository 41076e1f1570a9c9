/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "host/timezone.h"

static struct peri_timezone *load(const char *name)
{
    struct peri_timezone *zone = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_timezone_load(name, NULL, &zone, &err) != PERI_OK)
        fail_msg("%s", err.message);
    assert_string_equal(peri_timezone_name(zone), name);
    return zone;
}

static int64_t offset_at(const struct peri_timezone *zone, int64_t utc)
{
    struct peri_tz_period period;
    peri_timezone_period(zone, utc, &period);
    assert_true(period.begin <= utc && utc < period.end);
    return period.offset;
}

static void offsets_are_those_of_libc(void **state)
{
    (void)state;
    static const char *const names[] = { "UTC",          "Europe/Berlin",     "America/New_York", "Australia/Lord_Howe",
                                         "Asia/Kolkata", "Africa/Casablanca", "Europe/Dublin",    "America/Sao_Paulo",
                                         "Pacific/Apia", "Asia/Tehran",       "America/Nuuk",     "Antarctica/Troll",
                                         "Africa/Cairo", "Asia/Gaza",         "Etc/GMT-14" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct peri_timezone *zone = load(names[i]);
        setenv("TZ", names[i], 1);
        tzset();
        for (int64_t at = 0; at < INT64_C(4102444800); at += 86400 * 3 + 5417) { /* to 2100 */
            time_t t = at;
            struct tm tm;
            localtime_r(&t, &tm);
            if (offset_at(zone, at) != tm.tm_gmtoff)
                fail_msg("%s at %lld: %lld instead of %ld", names[i], (long long)at, (long long)offset_at(zone, at),
                         tm.tm_gmtoff);
        }
        peri_timezone_free(zone);
    }
    unsetenv("TZ");
}

static void local_times_become_moments(void **state)
{
    (void)state;
    struct peri_timezone *zone = load("Europe/Berlin");
    static const struct {
        int64_t local, utc;
    } cases[] = {
        { 1774749599, 1774745999 },                             /* 2026-03-29 01:59:59 */
        { 1774749600, 1774746000 },                             /* 02:00:00, skipped: 03:00:00 */
        { 1774751400, 1774746000 },                             /* 02:30:00, skipped */
        { 1774753200, 1774746000 },                             /* 03:00:00 */
        { 1774753201, 1774746001 }, { 1792895400, 1792888200 }, /* 2026-10-25 02:30:00, the first time */
        { 1792897199, 1792889999 }, { 1792897200, 1792893600 }, /* 03:00:00 */
        { 4088296800, 4088289600 },                             /* summer of 2099: by the rule after the table */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(peri_timezone_to_utc(zone, cases[i].local), cases[i].utc);
    peri_timezone_free(zone);
}

static void unknown_zones_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",           "Europe/Berln",   "../../../etc/passwd", "/etc/localtime", "Europe",
        "zone.tab",   "Europe//Berlin", "Europe/Berlin/",      "europe/berlin",  "tzdata.zi",
        "leapseconds"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct peri_timezone *zone = NULL;
        struct peri_error err = PERI_ERROR_INIT;
        assert_int_equal(peri_timezone_load(names[i], NULL, &zone, &err), PERI_NOT_FOUND);
        assert_null(zone);
        assert_non_null(strstr(err.message, "Europe/Berlin"));
    }
}

/* Every cut and many a flipped byte of a real file: an error or a zone, never more. */
static void damaged_files_are_refused(void **state)
{
    (void)state;
    static unsigned char bytes[16384];
    FILE *file = fopen(PERI_ZONE_FOLDER "/Europe/Berlin", "rb");
    assert_non_null(file);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    struct peri_timezone *zone = NULL;
    assert_int_equal(peri_timezone_parse("x", bytes, len, &zone, NULL), PERI_OK);
    peri_timezone_free(zone);
    for (size_t cut = 0; cut < len; cut++) {
        unsigned char *copy = malloc(cut ? cut : 1);
        assert_non_null(copy);
        memcpy(copy, bytes, cut);
        assert_int_equal(peri_timezone_parse("x", copy, cut, &zone, NULL), PERI_INVALID);
        free(copy);
    }
    for (size_t at = 0; at < len; at++) {
        unsigned char old = bytes[at];
        bytes[at] = (unsigned char)(old ^ (1u << (at * 7 % 8)) ^ (at % 3 ? 0 : 0xff));
        if (peri_timezone_parse("x", bytes, len, &zone, NULL) == PERI_OK) {
            offset_at(zone, INT64_C(1774746000));
            peri_timezone_to_utc(zone, INT64_C(4774746000));
        }
        peri_timezone_free(zone);
        bytes[at] = old;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_are_those_of_libc),
        cmocka_unit_test(local_times_become_moments),
        cmocka_unit_test(unknown_zones_are_refused),
        cmocka_unit_test(damaged_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
