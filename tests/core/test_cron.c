/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/cron.h"
#include "support/vectors.h"

static const char *text_at(const json_t *row, size_t i)
{
    return json_string_value(json_array_get(row, i));
}

static struct peri_timezone *zone_of(const char *name)
{
    struct peri_timezone *zone = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_timezone_load(name, NULL, &zone, &err) != PERI_OK)
        fail_msg("%s", err.message);
    return zone;
}

static void parse(struct peri_cron *cron, const char *text)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_cron_parse(cron, peri_str_from(text), &err) != PERI_OK)
        fail_msg("%s: %s", text, err.message);
}

static void every_expression_comes_when_recorded(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("cron"), *row;
    size_t i;
    char last[65] = "";
    struct peri_timezone *zone = NULL;
    json_array_foreach((json_t *)vectors_section(vectors, "cases"), i, row)
    {
        struct peri_cron cron;
        const char *text = text_at(row, 0), *name = text_at(row, 1);
        const json_t *times = json_array_get(row, 3);
        int64_t at = json_integer_value(json_array_get(row, 2)) * 1000, after = at, tenth = 0;
        if (strcmp(last, name) != 0) {
            peri_timezone_free(zone);
            zone = zone_of(name);
            snprintf(last, sizeof last, "%s", name);
        }
        parse(&cron, text);
        assert_int_equal(json_array_size(times), 10);
        for (size_t k = 0; k < 10; k++) {
            int64_t want = json_integer_value(json_array_get(times, k)) * 1000;
            at = peri_cron_next(&cron, zone, at);
            if (at != want)
                fail_msg("%s in %s, number %zu: %lld instead of %lld", text, name, k + 1, (long long)at,
                         (long long)want);
            tenth = at;
        }
        /* From the middle of the second, and backwards. */
        int64_t first = json_integer_value(json_array_get(times, 0)) * 1000;
        assert_int_equal(peri_cron_next(&cron, zone, first - 1), first);
        assert_int_equal(peri_cron_last(&cron, zone, after, tenth), tenth);
        assert_int_equal(peri_cron_last(&cron, zone, after, first), first);
        assert_int_equal(peri_cron_last(&cron, zone, after, first - 1), -1);
        assert_int_equal(peri_cron_last(&cron, zone, after, tenth - 1),
                         json_integer_value(json_array_get(times, 8)) * 1000);
    }
    assert_true(i >= 1600);
    peri_timezone_free(zone);
    json_decref(vectors);
}

static void texts_are_as_the_descriptor_has_them(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("cron"), *row;
    size_t i;
    struct peri_buf out;
    peri_buf_init(&out, 4096);
    json_array_foreach((json_t *)vectors_section(vectors, "texts"), i, row)
    {
        peri_buf_clear(&out);
        assert_int_equal(peri_cron_text(peri_str_from(text_at(row, 0)), &out), PERI_OK);
        if (strcmp(out.data, text_at(row, 1)) != 0)
            fail_msg("%s: \"%s\" instead of \"%s\"", text_at(row, 0), out.data, text_at(row, 1));
    }
    static const struct {
        const char *cron, *text;
    } own[] = {
        /* the sheet's V17, and what the descriptors get wrong or don't know */
        { "0 3 * * *", "At 03:00 AM" },
        { "@daily", "At 12:00 AM" },
        { "@hourly", "Every hour" },
        { "* * * * * *", "Every second" },
        { "0 0 * * MON#2", "At 12:00 AM, on the second Monday of the month" },
        { "0 0 * * MON#1,FRIL", "At 12:00 AM, on the first Monday and the last Friday of the month" },
        { "0 0 L-1 * *", "At 12:00 AM, 1 day before the last day of the month" },
        { "0 0 1,LW * *", "At 12:00 AM, on day 1 and the last weekday of the month" },
        { "0 0 1 * MON#2", "At 12:00 AM, on day 1 of the month, or on the second Monday of the month" },
    };
    for (i = 0; i < sizeof own / sizeof *own; i++) {
        peri_buf_clear(&out);
        assert_int_equal(peri_cron_text(peri_str_from(own[i].cron), &out), PERI_OK);
        assert_string_equal(out.data, own[i].text);
    }
    peri_buf_fini(&out);
    json_decref(vectors);
}

static void what_can_not_run_is_refused_with_its_column(void **state)
{
    (void)state;
    json_t *vectors = vectors_load("cron"), *row;
    size_t i;
    json_array_foreach((json_t *)vectors_section(vectors, "refused"), i, row)
    {
        struct peri_cron cron;
        struct peri_error err = PERI_ERROR_INIT;
        char column[32];
        if (peri_cron_parse(&cron, peri_str_from(text_at(row, 0)), &err) != PERI_BAD_REQUEST)
            fail_msg("'%s' is taken", text_at(row, 0));
        int n = snprintf(column, sizeof column, "column %lld: ", (long long)json_integer_value(json_array_get(row, 1)));
        if (strncmp(err.message, column, (size_t)n) != 0 || !strstr(err.message, text_at(row, 2)))
            fail_msg("'%s': \"%s\", not \"%s... %s\"", text_at(row, 0), err.message, column, text_at(row, 2));
        assert_int_equal(peri_cron_parse(&cron, peri_str_from(text_at(row, 0)), NULL), PERI_BAD_REQUEST);
    }
    json_decref(vectors);
}

static void long_expressions_have_a_limit(void **state)
{
    (void)state;
    static char text[2 * PERI_CRON_MAX];
    struct peri_cron cron;
    struct peri_error err = PERI_ERROR_INIT;
    memset(text, '0', sizeof text);
    for (size_t i = 1; i < sizeof text; i += 2)
        text[i] = ',';
    memcpy(text + 1000, "0 * * * *", 10);
    parse(&cron, text);
    struct peri_buf out;
    peri_buf_init(&out, 65536);
    assert_int_equal(peri_cron_text(peri_str_from(text), &out), PERI_OK);
    peri_buf_fini(&out);
    memset(text + 1000, ' ', 100);
    memcpy(text + 1100, "* * * *", 8);
    assert_int_equal(peri_cron_parse(&cron, peri_str_from(text), &err), PERI_BAD_REQUEST);
    assert_non_null(strstr(err.message, "at most 1024"));
}

static void rare_days_come_and_the_end_of_time_is_clean(void **state)
{
    (void)state;
    struct peri_timezone *utc = zone_of("UTC"), *apia = zone_of("Pacific/Apia");
    struct peri_cron cron;
    parse(&cron, "0 0 29 2 *");
    assert_int_equal(peri_cron_next(&cron, utc, INT64_C(4107542400000)), INT64_C(4233686400000)); /* 2100 has none */
    parse(&cron, "0 0 * 2 MON#5");
    assert_int_equal(peri_cron_next(&cron, utc, INT64_C(3865363200000)), INT64_C(4486147200000)); /* 2092 to 2112 */
    parse(&cron, "* * * * * *");
    assert_int_equal(peri_cron_next(&cron, utc, INT64_C(253402300799000)), -1); /* 9999-12-31T23:59:59 */
    /* A day that Samoa left out, 2011-12-30: what was due then runs as it ends. */
    parse(&cron, "0 12 30 12 *");
    assert_int_equal(peri_cron_next(&cron, apia, INT64_C(1325000000000)), INT64_C(1325239200000));
    peri_timezone_free(utc);
    peri_timezone_free(apia);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_expression_comes_when_recorded),
        cmocka_unit_test(texts_are_as_the_descriptor_has_them),
        cmocka_unit_test(what_can_not_run_is_refused_with_its_column),
        cmocka_unit_test(long_expressions_have_a_limit),
        cmocka_unit_test(rare_days_come_and_the_end_of_time_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
