/* SPDX-License-Identifier: MIT */
#include "perilune/clock.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/civil.h"

#define DAY_MS INT64_C(86400000)

static int64_t read_clock(clockid_t id)
{
    struct timespec now = { 0 };
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t system_monotonic(void *state)
{
    (void)state;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t system_wall(void *state)
{
    (void)state;
    return read_clock(CLOCK_REALTIME);
}

static int64_t manual_now(void *state)
{
    return *(int64_t *)state;
}

struct peri_clock peri_clock_system(void)
{
    return (struct peri_clock){ system_monotonic, system_wall, NULL };
}

struct peri_clock peri_clock_manual(int64_t *now_ms)
{
    return (struct peri_clock){ manual_now, manual_now, now_ms };
}

int64_t peri_clock_monotonic_ms(struct peri_clock clock)
{
    return clock.monotonic_ms(clock.state);
}

int64_t peri_clock_wall_ms(struct peri_clock clock)
{
    return clock.wall_ms(clock.state);
}

void peri_time_format(int64_t wall_ms, char out[PERI_TIME_TEXT])
{
    int64_t days = wall_ms / DAY_MS - (wall_ms % DAY_MS < 0);
    int in_day = (int)(wall_ms % DAY_MS + (wall_ms % DAY_MS < 0 ? DAY_MS : 0));
    int64_t year;
    int month, day;
    peri__civil_from_days(days, &year, &month, &day);
    snprintf(out, PERI_TIME_TEXT, "%04" PRId64 "-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, day, in_day / 3600000,
             in_day / 60000 % 60, in_day / 1000 % 60, in_day % 1000);
}

/* A reader of fixed forms: every step either consumes its piece or clears ok. */
struct scan {
    const char *at;
    bool ok;
};

static void skip_text(struct scan *s, const char *text)
{
    size_t len = strlen(text);
    s->ok = s->ok && strncmp(s->at, text, len) == 0;
    if (s->ok)
        s->at += len;
}

static int take_digits(struct scan *s, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        s->ok = s->ok && *s->at >= '0' && *s->at <= '9';
        if (!s->ok)
            return 0;
        value = value * 10 + (*s->at++ - '0');
    }
    return value;
}

/* The index of the name that comes next; names are matched exactly, as RFC 9110 wants. */
static int take_name(struct scan *s, const char *const *names, int count)
{
    for (int i = 0; s->ok && i < count; i++) {
        size_t len = strlen(names[i]);
        if (strncmp(s->at, names[i], len) == 0) {
            s->at += len;
            return i;
        }
    }
    s->ok = false;
    return 0;
}

struct date {
    int year, month, day, hour, minute, second;
};

static void take_time(struct scan *s, struct date *d)
{
    d->hour = take_digits(s, 2);
    skip_text(s, ":");
    d->minute = take_digits(s, 2);
    skip_text(s, ":");
    d->second = take_digits(s, 2);
}

static int64_t date_to_wall(const struct date *d)
{
    if (d->day < 1 || d->day > peri__days_in_month(d->year, d->month + 1))
        return -1;
    if (d->hour > 23 || d->minute > 59 || d->second > 60 || d->year < 1970)
        return -1;
    int64_t days = peri__days_from_civil(d->year, d->month + 1, d->day);
    return days * DAY_MS + ((int64_t)d->hour * 3600 + d->minute * 60 + d->second) * 1000;
}

static const char *const short_days[] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun" };
static const char *const long_days[] = { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" };
static const char *const months[] = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
};

static bool parse_imf(const char *text, struct date *d)
{
    struct scan s = { text, true };
    take_name(&s, short_days, 7);
    skip_text(&s, ", ");
    d->day = take_digits(&s, 2);
    skip_text(&s, " ");
    d->month = take_name(&s, months, 12);
    skip_text(&s, " ");
    d->year = take_digits(&s, 4);
    skip_text(&s, " ");
    take_time(&s, d);
    skip_text(&s, " GMT");
    return s.ok && *s.at == '\0';
}

static bool parse_rfc850(const char *text, struct date *d)
{
    struct scan s = { text, true };
    take_name(&s, long_days, 7);
    skip_text(&s, ", ");
    d->day = take_digits(&s, 2);
    skip_text(&s, "-");
    d->month = take_name(&s, months, 12);
    skip_text(&s, "-");
    d->year = take_digits(&s, 2);
    d->year += d->year < 70 ? 2000 : 1900; /* a fixed pivot: the answer must not depend on when it is asked */
    skip_text(&s, " ");
    take_time(&s, d);
    skip_text(&s, " GMT");
    return s.ok && *s.at == '\0';
}

static bool parse_asctime(const char *text, struct date *d)
{
    struct scan s = { text, true };
    take_name(&s, short_days, 7);
    skip_text(&s, " ");
    d->month = take_name(&s, months, 12);
    skip_text(&s, " ");
    if (s.ok && *s.at == ' ') {
        s.at++;
        d->day = take_digits(&s, 1);
    } else {
        d->day = take_digits(&s, 2);
    }
    skip_text(&s, " ");
    take_time(&s, d);
    skip_text(&s, " ");
    d->year = take_digits(&s, 4);
    return s.ok && *s.at == '\0';
}

int64_t peri_time_parse_http(const char *text)
{
    struct date d = { 0 };
    if (!text || !(parse_imf(text, &d) || parse_rfc850(text, &d) || parse_asctime(text, &d)))
        return -1;
    return date_to_wall(&d);
}
