/* SPDX-License-Identifier: MIT */
#include "host/timezone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/civil.h"

#define NAME_MAX_LEN 64
#define FILE_MAX ((size_t)256 << 10) /* the largest of tzdata has 4 KiB */
#define DAY INT64_C(86400)

/* A day of each year at which the clock changes, as POSIX's TZ writes it. */
struct rule {
    char kind; /* 'M': month, week, weekday; 'J': day 1 to 365, never 29 February; 'D': day 0 to 365 */
    int month, week, day;
    int64_t time; /* seconds of local time; may be below 0 or above a day */
};

struct tail { /* of what is after the last transition in the file */
    bool has_dst;
    int64_t std_offset, dst_offset;
    struct rule begin, end; /* of daylight-saving time */
};

struct peri_timezone {
    char name[NAME_MAX_LEN + 1];
    size_t count;
    int64_t *times;   /* ascending */
    int64_t *offsets; /* offsets[0]: before times[0]; offsets[i + 1]: from times[i] on */
    bool has_tail;
    struct tail tail;
};

/* ---- the rule after the last transition ---- */

struct scan {
    const char *at, *end;
    bool ok;
};

static bool next_is(const struct scan *s, char c)
{
    return s->at < s->end && *s->at == c;
}

static bool take(struct scan *s, char c)
{
    bool is = next_is(s, c);
    s->at += is;
    return is;
}

static int take_number(struct scan *s, int max)
{
    int value = 0;
    const char *first = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9' && value <= max)
        value = value * 10 + (*s->at++ - '0');
    s->ok = s->ok && s->at > first && value <= max;
    return value;
}

static void take_abbreviation(struct scan *s)
{
    const char *first = s->at;
    if (take(s, '<')) {
        while (s->at < s->end && *s->at != '>')
            s->at++;
        s->ok = s->ok && take(s, '>');
        return;
    }
    while (s->at < s->end && ((*s->at >= 'a' && *s->at <= 'z') || (*s->at >= 'A' && *s->at <= 'Z')))
        s->at++;
    s->ok = s->ok && s->at - first >= 3;
}

static int64_t take_time(struct scan *s, int max_hours)
{
    bool negative = take(s, '-');
    if (!negative)
        take(s, '+');
    int64_t seconds = INT64_C(3600) * take_number(s, max_hours);
    if (take(s, ':'))
        seconds += INT64_C(60) * take_number(s, 59);
    if (take(s, ':'))
        seconds += take_number(s, 59);
    return negative ? -seconds : seconds;
}

static void take_rule(struct scan *s, struct rule *rule)
{
    s->ok = s->ok && take(s, ',');
    if (take(s, 'M')) {
        rule->kind = 'M';
        rule->month = take_number(s, 12);
        s->ok = s->ok && rule->month >= 1 && take(s, '.');
        rule->week = take_number(s, 5);
        s->ok = s->ok && rule->week >= 1 && take(s, '.');
        rule->day = take_number(s, 6);
    } else if (take(s, 'J')) {
        rule->kind = 'J';
        rule->day = take_number(s, 365);
        s->ok = s->ok && rule->day >= 1;
    } else {
        rule->kind = 'D';
        rule->day = take_number(s, 365);
    }
    rule->time = take(s, '/') ? take_time(s, 167) : 2 * 3600;
}

static bool parse_tail(const char *text, size_t len, struct tail *tail)
{
    struct scan s = { text, text + len, true };
    take_abbreviation(&s);
    tail->std_offset = -take_time(&s, 24);
    if (s.ok && s.at == s.end)
        return true;
    tail->has_dst = true;
    tail->dst_offset = tail->std_offset + 3600;
    take_abbreviation(&s);
    if (!next_is(&s, ','))
        tail->dst_offset = -take_time(&s, 24);
    take_rule(&s, &tail->begin);
    take_rule(&s, &tail->end);
    return s.ok && s.at == s.end;
}

static int64_t rule_day(const struct rule *rule, int64_t year)
{
    int64_t first = peri__days_from_civil(year, 1, 1);
    if (rule->kind == 'D')
        return first + rule->day;
    if (rule->kind == 'J')
        return first + rule->day - 1 + (rule->day >= 60 && peri__days_in_month(year, 2) == 29);
    int64_t day = peri__days_from_civil(year, rule->month, 1);
    day += (rule->day - peri__weekday(day) + 7) % 7 + 7 * (rule->week - 1);
    int64_t length = peri__days_in_month(year, rule->month);
    return day < peri__days_from_civil(year, rule->month, 1) + length ? day : day - 7;
}

struct change {
    int64_t at, offset;
};

/* The changes of three years around `utc`, in order; their number. */
static int tail_changes(const struct tail *tail, int64_t utc, struct change out[6])
{
    int64_t days = utc / DAY - (utc % DAY < 0), year;
    int month, day, count = 0;
    peri__civil_from_days(days, &year, &month, &day);
    for (int64_t y = year - 1; y <= year + 1; y++) {
        struct change begin = { rule_day(&tail->begin, y) * DAY + tail->begin.time - tail->std_offset,
                                tail->dst_offset };
        struct change end = { rule_day(&tail->end, y) * DAY + tail->end.time - tail->dst_offset, tail->std_offset };
        out[count++] = begin.at < end.at ? begin : end;
        out[count++] = begin.at < end.at ? end : begin;
    }
    return count;
}

static void tail_period(const struct tail *tail, int64_t utc, struct peri_tz_period *out)
{
    if (!tail->has_dst) {
        *out = (struct peri_tz_period){ INT64_MIN, INT64_MAX, tail->std_offset };
        return;
    }
    struct change changes[6];
    int count = tail_changes(tail, utc, changes), i = 0;
    while (i + 1 < count && changes[i + 1].at <= utc)
        i++;
    *out = (struct peri_tz_period){ changes[i].at, i + 1 < count ? changes[i + 1].at : INT64_MAX, changes[i].offset };
}

/* ---- the file ---- */

struct header {
    uint32_t isutcnt, isstdcnt, leapcnt, timecnt, typecnt, charcnt;
};

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t get_time(const unsigned char *p, size_t width)
{
    if (width == 4)
        return (int32_t)get_u32(p);
    return (int64_t)((uint64_t)get_u32(p) << 32 | get_u32(p + 4));
}

#define HEADER 44

static bool read_header(const unsigned char *p, size_t len, struct header *h, int *version)
{
    if (len < HEADER || memcmp(p, "TZif", 4) != 0)
        return false;
    *version = p[4] ? p[4] - '0' : 1;
    *h = (struct header){ get_u32(p + 20), get_u32(p + 24), get_u32(p + 28),
                          get_u32(p + 32), get_u32(p + 36), get_u32(p + 40) };
    const uint32_t most = 65536;
    return h->typecnt >= 1 && h->typecnt <= 256 && h->timecnt <= most && h->leapcnt <= most && h->charcnt <= most &&
           h->isutcnt <= most && h->isstdcnt <= most;
}

static size_t block_size(const struct header *h, size_t width)
{
    return h->timecnt * (width + 1) + h->typecnt * (size_t)6 + h->charcnt + h->leapcnt * (width + 4) + h->isstdcnt +
           h->isutcnt;
}

static bool read_block(struct peri_timezone *zone, const struct header *h, const unsigned char *p, size_t width)
{
    const unsigned char *indexes = p + h->timecnt * width, *types = indexes + h->timecnt;
    zone->times = calloc(h->timecnt + 1, sizeof *zone->times);
    zone->offsets = calloc(h->timecnt + 1, sizeof *zone->offsets);
    if (!zone->times || !zone->offsets)
        return false;
    zone->count = h->timecnt;
    zone->offsets[0] = (int32_t)get_u32(types);
    for (uint32_t i = 0; i < h->timecnt; i++) {
        zone->times[i] = get_time(p + i * width, width);
        if (indexes[i] >= h->typecnt || (i && zone->times[i] <= zone->times[i - 1]))
            return false;
        zone->offsets[i + 1] = (int32_t)get_u32(types + indexes[i] * (size_t)6);
    }
    for (uint32_t i = 0; i <= h->timecnt; i++)
        if (zone->offsets[i] < -26 * 3600 || zone->offsets[i] > 26 * 3600)
            return false;
    return true;
}

static bool read_file(struct peri_timezone *zone, const unsigned char *p, size_t len)
{
    struct header h;
    int version;
    size_t width = 4;
    if (!read_header(p, len, &h, &version))
        return false;
    if (version >= 2) {
        size_t skip = HEADER + block_size(&h, 4);
        width = 8;
        if (len < skip || !read_header(p + skip, len - skip, &h, &version))
            return false;
        p += skip;
        len -= skip;
    }
    size_t size = HEADER + block_size(&h, width);
    if (len < size || h.leapcnt > 0 || !read_block(zone, &h, p + HEADER, width))
        return false; /* files with leap seconds ("right/") count other seconds than POSIX */
    const char *footer = (const char *)p + size;
    size_t left = len - size;
    if (version < 2 || left < 2 || footer[0] != '\n' || footer[left - 1] != '\n')
        return version < 2;
    zone->has_tail = left > 2;
    return left == 2 || parse_tail(footer + 1, left - 2, &zone->tail);
}

static struct peri_timezone *zone_new(const char *name)
{
    struct peri_timezone *zone = calloc(1, sizeof *zone);
    if (zone)
        snprintf(zone->name, sizeof zone->name, "%s", name);
    return zone;
}

enum peri_code peri_timezone_parse(const char *name, const void *bytes, size_t len, struct peri_timezone **out,
                                   struct peri_error *err)
{
    struct peri_timezone *zone = zone_new(name);
    *out = NULL;
    if (!zone)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    if (!read_file(zone, bytes, len)) {
        peri_timezone_free(zone);
        return peri_error_set(err, PERI_INVALID, "the data of time zone '%.64s' are no TZif file, or damaged", name);
    }
    *out = zone;
    return PERI_OK;
}

/* Letters, digits and _ + - in parts between slashes: no name leaves the folder. */
static bool good_name(const char *name)
{
    size_t len = strlen(name);
    if (len < 1 || len > NAME_MAX_LEN || name[0] == '/' || name[len - 1] == '/' || strstr(name, "//"))
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") == len;
}

enum peri_code peri_timezone_load(const char *name, const char *folder, struct peri_timezone **out,
                                  struct peri_error *err)
{
    char path[512];
    enum peri_code code = PERI_OK;
    *out = NULL;
    if (!strcmp(name, "UTC")) {
        *out = zone_new(name);
        if (!*out || !((*out)->offsets = calloc(1, sizeof(int64_t)))) {
            peri_timezone_free(*out);
            *out = NULL;
            return peri_error_set(err, PERI_NOMEM, "out of memory");
        }
        return PERI_OK;
    }
    if (!folder)
        folder = PERI_ZONE_FOLDER;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = good_name(name) && n > 0 && (size_t)n < sizeof path ? fopen(path, "rbe") : NULL;
    if (!file)
        return peri_error_set(err, PERI_NOT_FOUND,
                              "there is no time zone '%.64s'; names are such as UTC or Europe/Berlin, as in %s", name,
                              folder);
    char *bytes = malloc(FILE_MAX);
    size_t len = bytes ? fread(bytes, 1, FILE_MAX, file) : 0;
    fclose(file);
    if (!bytes)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    if (len < HEADER || len == FILE_MAX || memcmp(bytes, "TZif", 4) != 0)
        code = peri_error_set(err, PERI_NOT_FOUND, "'%.64s' is no time zone; names are such as UTC or Europe/Berlin",
                              name);
    else
        code = peri_timezone_parse(name, bytes, len, out, err);
    free(bytes);
    return code;
}

void peri_timezone_free(struct peri_timezone *zone)
{
    if (!zone)
        return;
    free(zone->times);
    free(zone->offsets);
    free(zone);
}

const char *peri_timezone_name(const struct peri_timezone *zone)
{
    return zone->name;
}

/* ---- asking ---- */

void peri_timezone_period(const struct peri_timezone *zone, int64_t utc, struct peri_tz_period *out)
{
    size_t low = 0, high = zone->count; /* the number of transitions at or before utc */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (zone->times[middle] <= utc)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == zone->count && zone->has_tail) {
        tail_period(&zone->tail, utc, out);
        if (low && out->begin < zone->times[low - 1])
            out->begin = zone->times[low - 1];
        return;
    }
    out->begin = low ? zone->times[low - 1] : INT64_MIN;
    out->end = low < zone->count ? zone->times[low] : INT64_MAX;
    out->offset = zone->offsets[low];
}

int64_t peri_timezone_to_utc(const struct peri_timezone *zone, int64_t local)
{
    struct peri_tz_period period;
    peri_timezone_period(zone, local - 2 * DAY, &period); /* no offset is larger */
    while (period.end != INT64_MAX && local - period.offset >= period.end)
        peri_timezone_period(zone, period.end, &period);
    int64_t utc = local - period.offset;
    return utc > period.begin ? utc : period.begin;
}
