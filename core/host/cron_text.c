/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/cron.h"

/* Words, sentences and their order are those of the cron descriptors of C# and Python (CronExpressionDescriptor,
 * cron-descriptor), which the platforms' "when" texts come from. Fields are taken apart as text again: how something was
 * written matters here, not only what it means. */

#define FIELD_MAX PERI_CRON_MAX

struct item {
    char from[8], to[8], step[8]; /* "" when absent; from may be "*" */
};

/* How a field speaks; %s is a value. */
struct manner {
    const char *all, *every, *between, *at;
    void (*name)(const char *value, char out[40]);
};

struct speech {
    char fields[PERI_CRON_FIELDS][FIELD_MAX + 2];
    struct peri_buf *out;
    enum peri_code code;
};

static void say(struct speech *s, const char *text)
{
    if (!s->code)
        s->code = peri_buf_append_text(s->out, text);
}

/* A format with one or two %s, which is data here. */
static void say_with(struct speech *s, const char *format, const char *one, const char *two)
{
    for (; *format; format++) {
        if (format[0] == '%' && format[1] == 's') {
            say(s, one);
            one = two;
            format++;
        } else if (!s->code) {
            s->code = peri_buf_append_byte(s->out, *format);
        }
    }
}

/* ---- values ---- */

static const char *const weekdays[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
static const char *const months[] = { "January", "February", "March",     "April",   "May",      "June",
                                      "July",    "August",   "September", "October", "November", "December" };
static const char *const ordinals[] = { "", "first", "second", "third", "fourth", "fifth" };

static void as_is(const char *value, char out[40])
{
    snprintf(out, 40, "%.30s", value);
}

static void as_weekday(const char *value, char out[40])
{
    snprintf(out, 40, "%s", weekdays[(unsigned)atoi(value) % 7]);
}

static void as_month(const char *value, char out[40])
{
    int month = atoi(value);
    snprintf(out, 40, "%s", months[month >= 1 && month <= 12 ? month - 1 : 0]);
}

static void as_time(const char *hour, const char *minute, const char *second, char out[40])
{
    int h = atoi(hour) % 24, m = atoi(minute) % 60;
    int n = snprintf(out, 40, "%02d:%02d", h % 12 ? h % 12 : 12, m);
    if (second && second[0])
        n += snprintf(out + n, 40 - (size_t)n, ":%02d", atoi(second) % 60);
    snprintf(out + n, 40 - (size_t)n, " %s", h >= 12 ? "PM" : "AM");
}

static void as_hour(const char *value, char out[40])
{
    as_time(value, "0", NULL, out);
}

/* ---- fields as text ---- */

static bool has(const char *field, const char *any)
{
    return strpbrk(field, any) != NULL;
}

static void put_part(char out[8], const char *from, size_t len)
{
    if (len > 7)
        len = 7;
    memcpy(out, from, len);
    out[len] = '\0';
}

/* One item of a list: a, a-b, a/n, a-b/n. */
static const char *next_item(const char *at, struct item *item)
{
    size_t len = strcspn(at, ",");
    size_t head = strcspn(at, ",/"), from = strcspn(at, ",/-");
    memset(item, 0, sizeof *item);
    put_part(item->from, at, from < head ? from : head);
    if (from < head)
        put_part(item->to, at + from + 1, head - from - 1);
    if (head < len)
        put_part(item->step, at + head + 1, len - head - 1);
    return at[len] ? at + len + 1 : NULL;
}

/* An upper end of an hour's range is shown with its last minute. */
static void say_between(struct speech *s, const struct manner *m, const char *format, const struct item *item)
{
    char one[40], two[40];
    m->name(item->from, one);
    m->name(item->to, two);
    char *minutes = strstr(two, ":00");
    if (minutes)
        memcpy(minutes, ":59", 3);
    say_with(s, format, one, two);
}

static void say_item(struct speech *s, const struct manner *m, const struct item *item)
{
    char one[40];
    m->name(item->from, one);
    if (item->step[0]) {
        const char *every = m->every + (strncmp(m->every, ", ", 2) ? 0 : 2);
        say_with(s, every, item->step, NULL);
        if (item->to[0]) {
            say(s, ", ");
            say_between(s, m, "%s through %s", item);
        } else if (item->from[0] != '*') {
            say_with(s, ", starting %s", one, NULL);
        }
    } else if (item->to[0]) {
        say_between(s, m, "%s through %s", item);
    } else {
        say(s, one);
    }
}

static void say_list(struct speech *s, const struct manner *m, const char *field)
{
    struct item item;
    int count = 1, i = 0;
    for (const char *at = field; *at; at++)
        count += *at == ',';
    const char *rest = strstr(m->at, "%s");
    struct peri_buf *out = s->out;
    if (!s->code)
        s->code = peri_buf_append(out, m->at, (size_t)(rest - m->at));
    for (const char *at = field; at; i++) {
        at = next_item(at, &item);
        if (i > 0 && count > 2)
            say(s, i < count - 1 ? ", " : ",");
        if (i > 0 && i == count - 1)
            say(s, " and ");
        say_item(s, m, &item);
    }
    say(s, rest + 2);
}

static void say_step(struct speech *s, const struct manner *m, const struct item *item)
{
    say_with(s, m->every, item->step, NULL);
    if (item->to[0]) {
        if (strncmp(m->between, ", ", 2) != 0)
            say(s, ", ");
        say_between(s, m, m->between, item);
    } else if (item->from[0] != '*') {
        char one[40];
        m->name(item->from, one);
        say(s, ", starting ");
        say_with(s, m->at + (strncmp(m->at, ", ", 2) ? 0 : 2), one, NULL);
    }
}

static void say_field(struct speech *s, const struct manner *m, const char *field)
{
    struct item item;
    char one[40];
    if (!strcmp(field, "*")) {
        say(s, m->all);
    } else if (has(field, ",")) {
        say_list(s, m, field);
    } else if (next_item(field, &item), item.step[0]) {
        say_step(s, m, &item);
    } else if (item.to[0]) {
        say_between(s, m, m->between, &item);
    } else if (field[0]) {
        m->name(field, one);
        say_with(s, m->at, one, NULL);
    }
}

/* ---- time of day ---- */

static const struct manner second_manner = { "every second", "every %s seconds",
                                             "seconds %s through %s past the minute", "at %s seconds past the minute",
                                             as_is };
static const struct manner minute_manner = { "every minute", "every %s minutes", "minutes %s through %s past the hour",
                                             "at %s minutes past the hour", as_is };
static const struct manner hour_manner = { "every hour", "every %s hours", "between %s and %s", "at %s", as_hour };

static bool plain(const char *field)
{
    return !has(field, "/-,*");
}

static void say_part(struct speech *s, const struct manner *m, const char *field)
{
    size_t before = s->out->len;
    say_field(s, m, field);
    if (s->out->len > before)
        say(s, ", ");
}

/* "30 6,14,16": the times one by one. */
static void say_times(struct speech *s, const char *hours, const char *minute)
{
    struct item item;
    char one[40];
    int count = 1, i = 0;
    for (const char *at = hours; *at; at++)
        count += *at == ',';
    say(s, "At");
    for (const char *at = hours; at; i++) {
        at = next_item(at, &item);
        as_time(item.from, minute, NULL, one);
        say_with(s, " %s", one, NULL);
        say(s, i < count - 2 ? "," : i == count - 2 ? " and" : "");
    }
}

static void say_time_of_day(struct speech *s)
{
    const char *second = s->fields[PERI_CRON_SECOND], *minute = s->fields[PERI_CRON_MINUTE];
    const char *hour = s->fields[PERI_CRON_HOUR];
    char one[40], two[40];
    struct item item;
    if (plain(second) && plain(minute) && plain(hour)) {
        as_time(hour, minute, second, one);
        say_with(s, "At %s", one, NULL);
    } else if (!second[0] && has(minute, "-") && !has(minute, ",/") && plain(hour)) {
        next_item(minute, &item);
        as_time(hour, item.from, NULL, one);
        as_time(hour, item.to, NULL, two);
        say_with(s, "Every minute between %s and %s", one, two);
    } else if (!second[0] && has(hour, ",") && !has(hour, "-/*") && plain(minute)) {
        say_times(s, hour, minute);
    } else {
        bool full_hours = !strcmp(minute, "0") && !second[0] && !(has(hour, "-") && !has(hour, "/,"));
        say_part(s, &second_manner, strcmp(second, "0") ? second : "");
        if (!full_hours)
            say_part(s, &minute_manner, minute);
        say_part(s, &hour_manner, hour);
        peri_buf_truncate(s->out, s->out->len - 2); /* the last ", " */
    }
}

/* ---- days and months ---- */

static const struct manner day_manner = { ", every day", ", every %s days", ", between day %s and %s of the month",
                                          ", on day %s of the month", as_is };
static const struct manner month_manner = { "", ", every %s months", ", %s through %s", ", only in %s", as_month };
static const struct manner weekday_manner = { ", every day", ", every %s days of the week", ", %s through %s",
                                              ", only on %s", as_weekday };
static const struct manner either_manner = { ", every day", ", every %s days of the week", ", %s through %s",
                                             ", or on %s", as_weekday };

/* L, LW, L-3, 15W. */
static void say_day_item(struct speech *s, const char *at, size_t len)
{
    char number[8];
    if (len == 1 && at[0] == 'L') {
        say(s, "the last day");
    } else if (len == 2 && at[0] == 'L') {
        say(s, "the last weekday");
    } else if (at[0] == 'L') {
        put_part(number, at + 2, len - 2);
        say_with(s, atoi(number) == 1 ? "%s day before the last day" : "%s days before the last day", number, NULL);
    } else if (at[len - 1] == 'W') {
        put_part(number, at, len - 1);
        say_with(s, atoi(number) == 1 ? "the first weekday" : "the weekday nearest day %s", number, NULL);
    } else {
        struct item item;
        next_item(at, &item);
        say(s, "day ");
        say_item(s, &day_manner, &item);
    }
}

static void say_weekday_item(struct speech *s, const char *at, size_t len)
{
    char value[8], name[40];
    const char *hash = memchr(at, '#', len);
    put_part(value, at, hash ? (size_t)(hash - at) : len);
    as_weekday(value, name);
    if (hash) {
        say_with(s, "the %s %s", ordinals[(unsigned)(hash[1] - '0') % 6], name);
    } else if (at[len - 1] == 'L') {
        say_with(s, "the last %s", name, NULL);
    } else {
        struct item item;
        next_item(at, &item);
        say(s, "each ");
        say_item(s, &weekday_manner, &item);
    }
}

/* A list with items that a plain field doesn't know. */
static void say_special(struct speech *s, const char *field, void (*one)(struct speech *, const char *, size_t))
{
    for (const char *at = field, *next; at; at = next) {
        size_t len = strcspn(at, ",");
        next = at[len] ? at + len + 1 : NULL;
        if (at > field)
            say(s, next ? ", " : " and ");
        one(s, at, len);
    }
    say(s, " of the month");
}

static void say_days(struct speech *s)
{
    const char *day = s->fields[PERI_CRON_DAY], *weekday = s->fields[PERI_CRON_WEEKDAY];
    bool any_day = !strcmp(day, "*"), any_weekday = !strcmp(weekday, "*");
    if (has(day, "LW")) {
        say(s, day[0] == 'L' && day[1] == '-' ? ", " : ", on ");
        say_special(s, day, say_day_item);
    } else if (!any_day || any_weekday) {
        say_field(s, &day_manner, day);
    }
    if (any_weekday)
        return;
    if (has(weekday, "L#")) {
        say(s, any_day ? ", on " : ", or on ");
        say_special(s, weekday, say_weekday_item);
    } else {
        say_field(s, any_day ? &weekday_manner : &either_manner, weekday);
    }
}

/* ---- from the expression ---- */

/* Names become numbers and letters capitals; "?" becomes "*", a full set's step of one goes. */
static void normalize(char field[FIELD_MAX + 2], enum peri_cron_field which, struct peri_str text)
{
    static const char *const names[] = { "SUN0", "MON1", "TUE2", "WED3", "THU4", "FRI5", "SAT6" };
    static const char *const month_names[] = { "JAN1", "FEB2", "MAR3", "APR4",  "MAY5",  "JUN6",
                                               "JUL7", "AUG8", "SEP9", "OCT10", "NOV11", "DEC12" };
    const char *const *known = which == PERI_CRON_WEEKDAY ? names : month_names;
    int count = which == PERI_CRON_WEEKDAY ? 7 : which == PERI_CRON_MONTH ? 12 : 0;
    size_t n = 0;
    for (size_t i = 0; i < text.len && n < FIELD_MAX - 2;) {
        int found = -1;
        for (int k = 0; k < count && found < 0; k++)
            if (text.len - i >= 3 &&
                peri_str_equal_nocase((struct peri_str){ text.data + i, 3 }, (struct peri_str){ known[k], 3 }))
                found = k;
        if (found >= 0) {
            n += (size_t)snprintf(field + n, 4, "%s", known[found] + 3);
            i += 3;
            continue;
        }
        char c = text.data[i++];
        bool first_of_number = n == 0 || field[n - 1] < '0' || field[n - 1] > '9';
        if (c == '0' && first_of_number && i < text.len && text.data[i] >= '0' && text.data[i] <= '9')
            continue; /* 05 */
        field[n++] = c == '?' ? '*' : c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
    }
    field[n] = '\0';
}

/* What means the same is said in one way: 0/5 of minutes as a step of all. */
static void simplify(struct speech *s)
{
    static const char first[] = "000110";
    for (int i = 0; i < PERI_CRON_FIELDS; i++) {
        char *field = s->fields[i];
        if (field[0] == first[i] && field[1] == '/')
            field[0] = '*';
        if (!strcmp(field, "*/1"))
            field[1] = '\0';
    }
    char *weekday = s->fields[PERI_CRON_WEEKDAY];
    for (char *at = weekday; *at; at++)
        if (*at == '7' && (at == weekday || at[-1] == ',' || at[-1] == '-'))
            *at = '0';
    char *second = s->fields[PERI_CRON_SECOND], *hour = s->fields[PERI_CRON_HOUR];
    if (!strcmp(second, "0"))
        second[0] = '\0';
    /* Something that recurs within one hour is said to be between its beginning and its end. */
    if (plain(hour) && (has(second, "*/") || has(s->fields[PERI_CRON_MINUTE], "*/"))) {
        size_t len = strlen(hour);
        hour[len] = '-';
        memmove(hour + len + 1, hour, len);
        hour[2 * len + 1] = '\0';
    }
    /* A step of months or weekdays ends where they end. */
    for (int i = PERI_CRON_MONTH; i < PERI_CRON_FIELDS; i++) {
        char *field = s->fields[i], *slash = strchr(field, '/');
        const char *end = i == PERI_CRON_MONTH ? "-12" : "-6";
        if (!slash || has(field, "*-,"))
            continue;
        memmove(slash + strlen(end), slash, strlen(slash) + 1);
        for (; *end; end++)
            *slash++ = *end;
    }
}

static void drop(struct peri_buf *out, size_t from, const char *what)
{
    size_t len = strlen(what);
    for (size_t i = from; i + len <= out->len;) {
        if (memcmp(out->data + i, what, len) != 0) {
            i++;
            continue;
        }
        memmove(out->data + i, out->data + i + len, out->len - i - len);
        peri_buf_truncate(out, out->len - len);
    }
}

enum peri_code peri_cron_text(struct peri_str text, struct peri_buf *out)
{
    struct speech *s = calloc(1, sizeof *s);
    size_t begin = out->len;
    if (!s)
        return PERI_NOMEM;
    struct peri_str rest = peri__cron_expand(text), parts[PERI_CRON_FIELDS];
    int count = 0;
    for (size_t i = 0; i < rest.len && count < PERI_CRON_FIELDS;) {
        size_t len = 0;
        while (i + len < rest.len && rest.data[i + len] != ' ' && rest.data[i + len] != '\t')
            len++;
        if (len)
            parts[count++] = (struct peri_str){ rest.data + i, len };
        i += len + 1;
    }
    for (int i = 0; i < count; i++) {
        enum peri_cron_field field = (enum peri_cron_field)(PERI_CRON_FIELDS - count + i);
        normalize(s->fields[field], field, parts[i]);
    }
    s->out = out;
    simplify(s);
    say_time_of_day(s);
    say_days(s);
    say_field(s, &month_manner, s->fields[PERI_CRON_MONTH]);
    if (!s->code) {
        drop(out, begin, ", every minute");
        drop(out, begin, ", every hour");
        drop(out, begin, ", every day");
        if (out->data[begin] >= 'a' && out->data[begin] <= 'z')
            out->data[begin] = (char)(out->data[begin] - 32);
    }
    enum peri_code code = s->code;
    free(s);
    return code;
}
