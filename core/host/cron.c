/* SPDX-License-Identifier: MIT */
#include "host/cron.h"

#include <string.h>

#include "base/civil.h"

/* ---- reading ---- */

static const char *const month_names[] = { "JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                           "JUL", "AUG", "SEP", "OCT", "NOV", "DEC" };
static const char *const weekday_names[] = { "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT" };

static const struct field {
    const char *one, *many;
    int min, max;
    const char *const *names; /* of min and on */
    int name_count;
} fields[PERI_CRON_FIELDS] = {
    { "a second", "seconds", 0, 59, NULL, 0 },       { "a minute", "minutes", 0, 59, NULL, 0 },
    { "an hour", "hours", 0, 23, NULL, 0 },          { "a day", "days", 1, 31, NULL, 0 },
    { "a month", "months", 1, 12, month_names, 12 }, { "a weekday", "weekdays", 0, 7, weekday_names, 7 },
};

struct reader {
    struct peri_cron *cron;
    const char *start, *at, *end;
    enum peri_cron_field field;
    struct peri_error *err;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool refuse(struct reader *r, const char *at, const char *format, ...) PERI_PRINTF(3, 4);
static bool refuse(struct reader *r, const char *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    peri_error_setv(r->err, PERI_BAD_REQUEST, format, args);
    va_end(args);
    peri_error_prefix(r->err, "column %d", (int)(at - r->start) + 1);
    return false;
}

static char peek(const struct reader *r)
{
    return r->at < r->end ? *r->at : '\0';
}

static bool ends(const struct reader *r)
{
    return r->at == r->end || is_space(*r->at);
}

static bool take(struct reader *r, char c)
{
    bool is = r->at < r->end && (*r->at == c || (c >= 'A' && c <= 'Z' && *r->at == c + 32));
    r->at += is;
    return is;
}

static bool expected(struct reader *r, const char *what)
{
    if (ends(r))
        return refuse(r, r->at, "expected %s before the end of the field", what);
    return refuse(r, r->at, "expected %s, not '%c'", what, *r->at >= 0x20 && *r->at < 0x7f ? *r->at : '?');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool take_name(struct reader *r, int *value)
{
    const struct field *f = &fields[r->field];
    for (int i = 0; i < f->name_count; i++) {
        size_t left = (size_t)(r->end - r->at);
        if (left >= 3 && peri_str_equal_nocase((struct peri_str){ r->at, 3 }, peri_str_from(f->names[i]))) {
            r->at += 3;
            *value = f->min + i;
            return true;
        }
    }
    return false;
}

static bool take_number(struct reader *r, const char *what, int min, int max, int *value)
{
    const char *first = r->at;
    *value = 0;
    while (r->at < r->end && is_digit(*r->at) && *value < 100000)
        *value = *value * 10 + (*r->at++ - '0');
    if (r->at == first)
        return expected(r, what);
    if (*value < min || *value > max)
        return refuse(r, first, "%s is from %d to %d, not %d", what, min, max, *value);
    return true;
}

static bool take_value(struct reader *r, int *value)
{
    const struct field *f = &fields[r->field];
    const char *first = r->at;
    if (is_letter(peek(r))) {
        if (take_name(r, value))
            return true;
        while (is_letter(peek(r)))
            r->at++;
        return refuse(r, first, "'%.*s' is not %s%s%s%s%s", (int)(r->at - first > 20 ? 20 : r->at - first), first,
                      f->one, f->names ? "; names are " : "", f->names ? f->names[0] : "", f->names ? " to " : "",
                      f->names ? f->names[f->name_count - 1] : "");
    }
    return take_number(r, f->one, f->min, f->max, value);
}

static void add(struct reader *r, int value)
{
    r->cron->sets[r->field] |= UINT64_C(1) << (r->field == PERI_CRON_WEEKDAY ? value % 7 : value);
}

static bool add_range(struct reader *r, int from, int to)
{
    const struct field *f = &fields[r->field];
    int step = 1, count = f->max - f->min + (r->field != PERI_CRON_WEEKDAY);
    if (take(r, '/') && !take_number(r, "a step", 1, count, &step))
        return false;
    for (int value = from; value <= to; value += step)
        add(r, value);
    return true;
}

/* The last value of `*` and `a/n`: weekdays end with Saturday, since 7 would be Sunday again. */
static int last_of(const struct reader *r)
{
    return r->field == PERI_CRON_WEEKDAY ? 6 : fields[r->field].max;
}

static bool take_last_day(struct reader *r)
{
    int before = 0;
    if (take(r, 'W')) {
        r->cron->last_weekday = true;
        return true;
    }
    if (take(r, '-') && !take_number(r, "the days before the last one", 1, 30, &before))
        return false;
    r->cron->before_last |= UINT32_C(1) << before;
    return true;
}

static bool take_nth(struct reader *r, int weekday)
{
    int n = 0;
    if (take(r, '#') && !take_number(r, "the number after '#'", 1, 5, &n))
        return false;
    r->cron->nth[weekday % 7] |= (uint8_t)(1 << n);
    return true;
}

static bool take_item(struct reader *r)
{
    const char *first = r->at;
    int from, to;
    bool is_day = r->field == PERI_CRON_DAY, is_weekday = r->field == PERI_CRON_WEEKDAY;
    if (take(r, '*') || ((is_day || is_weekday) && take(r, '?')))
        return add_range(r, fields[r->field].min, last_of(r));
    if (is_day && take(r, 'L'))
        return take_last_day(r);
    if (is_weekday && take(r, 'L'))
        return refuse(r, first, "which weekday's last one is meant? For example 5L or FRIL; SAT for every Saturday");
    if (!take_value(r, &from))
        return false;
    if (is_day && take(r, 'W')) {
        r->cron->nearest |= UINT32_C(1) << from;
        return true;
    }
    if (is_weekday && (peek(r) == '#' || peek(r) == 'L' || peek(r) == 'l'))
        return take(r, 'L') ? (r->cron->nth[from % 7] |= 1, true) : take_nth(r, from);
    if (!take(r, '-')) {
        if (peek(r) == '/')
            return add_range(r, from, last_of(r));
        add(r, from);
        return true;
    }
    const char *second = r->at;
    if (!take_value(r, &to))
        return false;
    if (is_weekday && to == 0 && from > 0)
        to = 7; /* FRI-SUN */
    if (to < from)
        return refuse(r, second, "the range %.*s runs backwards; write it as two ranges", (int)(r->at - first), first);
    return add_range(r, from, to);
}

static bool take_field(struct reader *r)
{
    do {
        if (!take_item(r))
            return false;
    } while (take(r, ','));
    return ends(r) || expected(r, "a comma or the end of the field");
}

static const struct {
    const char *name, *means;
} nicknames[] = {
    { "@yearly", "0 0 1 1 *" }, { "@annually", "0 0 1 1 *" }, { "@monthly", "0 0 1 * *" }, { "@weekly", "0 0 * * 0" },
    { "@daily", "0 0 * * *" },  { "@midnight", "0 0 * * *" }, { "@hourly", "0 * * * *" },
};

static struct peri_str trim(struct peri_str text)
{
    while (text.len && is_space(text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len && is_space(text.data[text.len - 1]))
        text.len--;
    return text;
}

struct peri_str peri__cron_expand(struct peri_str text)
{
    text = trim(text);
    for (size_t i = 0; i < sizeof nicknames / sizeof *nicknames; i++)
        if (peri_str_equal_nocase(text, peri_str_from(nicknames[i].name)))
            return peri_str_from(nicknames[i].means);
    return text;
}

static bool refuse_nickname(struct reader *r, struct peri_str name)
{
    if (peri_str_equal_nocase(name, peri_str_from("@reboot")))
        return refuse(r, name.data, "@reboot is not supported: the host has no moment of that kind");
    return refuse(r, name.data, "'%.*s' is none of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly",
                  name.len > 20 ? 20 : (int)name.len, name.data);
}

static void skip_spaces(struct reader *r)
{
    while (r->at < r->end && is_space(*r->at))
        r->at++;
}

static int count_fields(struct reader r)
{
    int count = 0;
    for (skip_spaces(&r); r.at < r.end; skip_spaces(&r), count++)
        while (!ends(&r))
            r.at++;
    return count;
}

static bool never(const struct peri_cron *cron);

static bool read_fields(struct reader *r)
{
    int count = count_fields(*r);
    if (count != 5 && count != 6)
        return refuse(r, r->end,
                      "an expression has five fields (minute hour day month weekday), or six with the seconds"
                      " first; this one has %d",
                      count);
    r->cron->has_seconds = count == 6;
    if (count == 5)
        r->cron->sets[PERI_CRON_SECOND] = 1;
    const char *days = NULL;
    for (int field = 6 - count; field < PERI_CRON_FIELDS; field++) {
        skip_spaces(r);
        r->field = (enum peri_cron_field)field;
        if (field == PERI_CRON_DAY)
            days = r->at;
        if (!take_field(r))
            return false;
    }
    return !never(r->cron) || refuse(r, days, "no month that is meant has such a day: it would never run");
}

enum peri_code peri_cron_parse(struct peri_cron *cron, struct peri_str text, struct peri_error *err)
{
    struct peri_error own;
    struct reader r = { cron, text.data, text.data, text.data + text.len, PERI_CRON_SECOND, err ? err : &own };
    struct peri_str expanded = peri__cron_expand(text), plain = trim(text);
    memset(cron, 0, sizeof *cron);
    if (text.len > PERI_CRON_MAX)
        return peri_error_set(err, PERI_BAD_REQUEST, "an expression has at most %d characters", PERI_CRON_MAX);
    if (expanded.len && expanded.data[0] == '@') {
        refuse_nickname(&r, expanded);
        return PERI_BAD_REQUEST;
    }
    if (!plain.len || plain.data[0] == '@') {
        r.start = r.at = plain.len ? expanded.data : "";
        r.end = r.start + expanded.len;
    }
    return read_fields(&r) ? PERI_OK : PERI_BAD_REQUEST;
}

/* ---- days ---- */

#define ALL_DAYS UINT64_C(0xfffffffe)
#define ALL_WEEKDAYS UINT64_C(0x7f)
#define ALL_HOURS UINT64_C(0xffffff)
#define DAY INT64_C(86400)
#define LAST_YEAR 9999

/* The Monday to Friday nearest to a day, within the month. */
static int nearest_weekday(int day, int length, int weekday_of_first)
{
    int weekday = (weekday_of_first + day - 1) % 7;
    if (weekday == 6)
        return day > 1 ? day - 1 : day + 2;
    if (weekday == 0)
        return day < length ? day + 1 : day - 2;
    return day;
}

static uint64_t month_days(const struct peri_cron *cron, int length, int first)
{
    uint64_t days = cron->sets[PERI_CRON_DAY];
    for (int before = 0; before < length; before++)
        if (cron->before_last >> before & 1)
            days |= UINT64_C(1) << (length - before);
    for (int day = 1; day <= length; day++)
        if (cron->nearest >> day & 1)
            days |= UINT64_C(1) << ((unsigned)nearest_weekday(day, length, first) & 31);
    if (cron->last_weekday) {
        int weekday = (first + length - 1) % 7;
        days |= UINT64_C(1) << ((unsigned)(length - (weekday == 6 ? 1 : weekday == 0 ? 2 : 0)) & 31);
    }
    return days;
}

static uint64_t month_weekdays(const struct peri_cron *cron, int length, int first)
{
    uint64_t days = 0;
    for (int day = 1; day <= length; day++) {
        int weekday = (first + day - 1) % 7;
        unsigned nth = cron->nth[weekday];
        if ((cron->sets[PERI_CRON_WEEKDAY] >> weekday & 1) || (nth >> ((day - 1) / 7 + 1) & 1) ||
            ((nth & 1) && day + 7 > length))
            days |= UINT64_C(1) << day;
    }
    return days;
}

/* Bit n: the n-th of that month is meant. */
static uint64_t days_of(const struct peri_cron *cron, int64_t year, int month)
{
    int length = peri__days_in_month(year, month);
    int first = peri__weekday(peri__days_from_civil(year, month, 1));
    uint64_t in_month = (UINT64_C(1) << (length + 1)) - 2;
    bool every_day = (cron->sets[PERI_CRON_DAY] & ALL_DAYS) == ALL_DAYS;
    bool every_weekday = (cron->sets[PERI_CRON_WEEKDAY] & ALL_WEEKDAYS) == ALL_WEEKDAYS;
    uint64_t days = month_days(cron, length, first), weekdays = month_weekdays(cron, length, first);
    if (!every_day && !every_weekday)
        return (days | weekdays) & in_month;
    return days & weekdays & in_month;
}

/* The calendar repeats after 400 years: whatever has not come by then never does. */
static bool never(const struct peri_cron *cron)
{
    for (int64_t year = 2000; year < 2400; year++)
        for (int month = 1; month <= 12; month++)
            if ((cron->sets[PERI_CRON_MONTH] >> month & 1) && days_of(cron, year, month))
                return false;
    return true;
}

/* ---- the next local time ---- */

/* The lowest value in the set from `from` on; -1 when there is none. */
static int at_least(uint64_t set, int from)
{
    uint64_t rest = from >= 0 && from < 64 ? set & (UINT64_MAX << from) : 0;
    return rest ? __builtin_ctzll(rest) : -1;
}

/* The first matching second of day from `second` on; -1: none on that day. */
static int64_t next_in_day(const struct peri_cron *cron, int64_t second)
{
    const uint64_t *sets = cron->sets;
    int hour = (int)(second / 3600), minute = (int)(second / 60 % 60);
    int h = at_least(sets[PERI_CRON_HOUR], hour);
    if (h == hour) {
        int m = at_least(sets[PERI_CRON_MINUTE], minute);
        int s = m == minute ? at_least(sets[PERI_CRON_SECOND], (int)(second % 60)) : -1;
        if (s >= 0)
            return h * 3600 + m * 60 + s;
        m = at_least(sets[PERI_CRON_MINUTE], minute + 1);
        if (m >= 0)
            return h * 3600 + m * 60 + at_least(sets[PERI_CRON_SECOND], 0);
        h = at_least(sets[PERI_CRON_HOUR], hour + 1);
    }
    return h < 0 ? -1 : h * 3600 + at_least(sets[PERI_CRON_MINUTE], 0) * 60 + at_least(sets[PERI_CRON_SECOND], 0);
}

/* The first matching local second from `from` on (as if local time were UTC); INT64_MAX: none. */
static int64_t next_local(const struct peri_cron *cron, int64_t from)
{
    int64_t day_number = from / DAY - (from % DAY < 0), second = from - day_number * DAY, year;
    int month, day;
    peri__civil_from_days(day_number, &year, &month, &day);
    while (year <= LAST_YEAR) {
        int next_month = at_least(cron->sets[PERI_CRON_MONTH], month);
        if (next_month != month) {
            year += next_month < 0;
            month = next_month < 0 ? at_least(cron->sets[PERI_CRON_MONTH], 1) : next_month;
            day = 1;
            second = 0;
            continue;
        }
        uint64_t days = days_of(cron, year, month);
        int next_day = at_least(days, day);
        if (next_day > day)
            second = 0;
        int64_t at = next_day < 0 ? -1 : next_in_day(cron, second);
        if (at >= 0)
            return peri__days_from_civil(year, month, next_day) * DAY + at;
        second = 0;
        if (next_day >= 0 && next_day < 31) {
            day = next_day + 1;
            continue;
        }
        day = 1;
        month++;
        if (month > 12) {
            month = 1;
            year++;
        }
    }
    return INT64_MAX;
}

/* ---- the next moment ---- */

bool peri_cron_by_interval(const struct peri_cron *cron)
{
    return cron->sets[PERI_CRON_HOUR] == ALL_HOURS;
}

static int64_t next_interval(const struct peri_cron *cron, const struct peri_timezone *zone, int64_t from)
{
    for (;;) {
        struct peri_tz_period period;
        peri_timezone_period(zone, from, &period);
        int64_t local = next_local(cron, from + period.offset);
        if (local == INT64_MAX)
            return INT64_MAX;
        if (local - period.offset < period.end)
            return local - period.offset;
        from = period.end;
    }
}

static int64_t next_fixed(const struct peri_cron *cron, const struct peri_timezone *zone, int64_t from)
{
    struct peri_tz_period period;
    peri_timezone_period(zone, from, &period);
    int64_t local = from + period.offset;
    if (period.begin != INT64_MIN) {
        struct peri_tz_period before;
        peri_timezone_period(zone, period.begin - 1, &before);
        if (from == period.begin && before.offset < period.offset)
            local = from + before.offset; /* the skipped times run now */
        else if (local < period.begin + before.offset)
            local = period.begin + before.offset; /* all before that ran the first time */
    }
    for (;; local++) {
        local = next_local(cron, local);
        int64_t at = local == INT64_MAX ? INT64_MAX : peri_timezone_to_utc(zone, local);
        if (at >= from)
            return at;
    }
}

int64_t peri_cron_next(const struct peri_cron *cron, const struct peri_timezone *zone, int64_t after_ms)
{
    int64_t from = after_ms / 1000 - (after_ms % 1000 < 0) + 1;
    int64_t at = peri_cron_by_interval(cron) ? next_interval(cron, zone, from) : next_fixed(cron, zone, from);
    return at == INT64_MAX ? -1 : at * 1000;
}

int64_t peri_cron_last(const struct peri_cron *cron, const struct peri_timezone *zone, int64_t after_ms,
                       int64_t until_ms)
{
    int64_t low = after_ms, high = until_ms; /* after `low` comes one that is in time */
    int64_t found = peri_cron_next(cron, zone, low);
    if (found < 0 || found > until_ms)
        return -1;
    while (low + 1 < high) {
        int64_t middle = low + (high - low) / 2, next = peri_cron_next(cron, zone, middle);
        if (next >= 0 && next <= until_ms) {
            low = next > middle ? next - 1 : middle;
            found = next;
        } else {
            high = middle;
        }
    }
    return found;
}
