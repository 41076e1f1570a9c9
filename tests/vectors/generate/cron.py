#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/vectors/cron.json: expressions, their next ten times, their texts.

usage: python3 tests/vectors/generate/cron.py > tests/vectors/cron.json
needs: pip install croniter==7.0.0 cron-descriptor==2.2.1, and Python's zoneinfo (with the system's tzdata)

Two implementations that know nothing of ours: local times come from croniter on naive times, and, for what croniter does
not know (W, L-3) or reads otherwise, from the plain search below; where both know an expression they must agree. Local
times become moments by Python's zoneinfo and the rule of core/host/cron.h, as croniter has none for changes of clock.
"""
import calendar
import functools
import json
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from zoneinfo import ZoneInfo

from croniter import croniter
from cron_descriptor import ExpressionDescriptor, Options

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
RANGES = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
NICKNAMES = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
             "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}

# zone: a moment shortly before the clock goes forward, and one before it goes back (UTC)
ZONES = {
    "UTC": [datetime(2028, 2, 28, 22, 0), datetime(2026, 12, 31, 20, 0)],
    "Europe/Berlin": [datetime(2026, 3, 29, 1, 0), datetime(2026, 10, 25, 1, 0)],
    "America/New_York": [datetime(2026, 3, 8, 7, 0), datetime(2026, 11, 1, 6, 0)],
    "Australia/Lord_Howe": [datetime(2026, 10, 3, 15, 30), datetime(2026, 4, 4, 15, 0)],
}

EXPRESSIONS = """
* * * * * | */2 * * * * | */5 * * * * | */7 * * * * | */10 * * * * | */15 * * * * | */20 * * * * | */30 * * * *
0 * * * * | 30 * * * * | 5,35 * * * * | 59 * * * * | 0-10 * * * * | 0,15,30,45 * * * * | 10-50/10 * * * * | 3/12 * * * *
7-59/13 * * * * | 0-4,55-59 * * * * | 1,2,4,8,16,32 * * * * | */59 * * * * | */1 * * * * | 15 0-23 * * *
0 0 * * * | 0 1 * * * | 0 2 * * * | 0 3 * * * | 30 1 * * * | 30 2 * * * | 15 2 * * * | 45 2 * * * | 59 1 * * * | 59 2 * * *
0 2,3 * * * | 0,30 1-3 * * * | */15 2 * * * | */10 1 * * * | */20 1,2 * * * | * 2 * * * | * 1 * * * | 0 */2 * * *
0 */3 * * * | 0 */4 * * * | 30 */6 * * * | 0 */12 * * * | 0 */5 * * * | 0 1-23/2 * * * | 0 9-17 * * * | 0 9-17/2 * * *
*/15 9-17 * * * | 0 0,12 * * * | 0 6,14,22 * * * | 5 4 * * * | 23 0-20/2 * * * | 30 23 * * * | 59 23 * * * | 1 0 * * *
0 0-22 * * * | 15 1-2 * * * | 0 22-23 * * * | 0 2-4 * * * | 10,40 2,3 * * * | 5/25 2 * * *
0 0 1 * * | 0 0 15 * * | 0 0 31 * * | 0 0 30 * * | 0 0 29 2 * | 0 12 29 * * | 0 0 1,15 * * | 0 0 1-7 * * | 0 0 */2 * *
0 0 */10 * * | 0 0 5/7 * * | 0 0 28-31 * * | 30 2 25 * * | 30 2 29 * * | 30 2 8 * * | 0 2 1 * * | 30 1 25 * *
15 14 1 * * | 0 4 8-14 * * | 0 3 10,20,30 * * | 0 0 1-31/3 * * | 0 0 2-30/2 * * | 45 23 31 12 * | 0 0 31 1,3,5,7,8,10,12 *
0 0 1 1 * | 0 0 1 */2 * | 0 0 1 */3 * | 0 0 1 1,4,7,10 * | 0 0 1 JAN * | 0 0 1 jan,Jul * | 0 0 1 MAR-MAY * | 0 0 1 2/5 *
0 0 * 6 * | 0 12 * JUN-AUG * | 0 12 4 7 * | 0 9 25 12 * | 0 0 31 10 * | 30 2 * 3,10 * | */30 2 * MAR,OCT,NOV *
0 0 * * 0 | 0 0 * * 7 | 0 0 * * SUN | 0 0 * * sun | 0 7 * * MON | 0 7 * * 1 | 0 22 * * 1-5 | 0 22 * * MON-FRI | 0 9 * * 6,0
0 9 * * SAT,SUN | 30 2 * * SUN | 30 1 * * 0 | 5 4 * * sun | 0 0 * * 1-5/2 | 0 0 * * */2 | 0 0 * * 2/2 | 0 0 * * 1,3,5
0 0 * * 5-7 | 0 0 * * FRI-SUN | 0 0 * * 0-6 | 0 0 * * 1-7 | 0 0 * * Tue,THU | */15 2 * * SUN | 0 8-18/2 * * MON-FRI
0 0 13 * 5 | 0 0 13 * FRI | 0 0 1,15 * 3 | 0 0 1 * MON | 0 0 1-7 * MON | 30 2 29 * SUN | 0 0 */2 * MON | 0 0 10 6 TUE
0 0 1 1 SUN | 0 12 1-3 * 6,0 | 0 0 31 * 1 | 0 0 ? * MON | 0 0 1 * ? | 0 0 ? * ? | 0 0 15 JAN,JUL MON
0 0 L * * | 0 0 L 2 * | 30 2 L * * | 0 0 1,L * * | 0 0 L * FRI | 0 0 l * * | 0 18 L */3 * | 0 0 L-1 * * | 0 0 L-3 * *
0 0 L-30 * * | 0 0 L-28 * * | 0 0 L,L-1 * * | 0 0 LW * * | 0 0 LW 2 * | 0 0 1W * * | 0 0 15W * * | 0 0 31W * * | 0 0 30W * *
0 0 1W,15W * * | 0 0 29W 2 * | 30 2 28W * * | 0 9 LW,15 * *
0 0 * * MON#1 | 0 0 * * MON#2 | 0 0 * * 1#2 | 0 0 * * FRI#5 | 0 0 * * sun#1 | 0 0 * * 7#2 | 30 2 * * SUN#2 | 30 2 * * SUN#5
0 0 * * MON#1,MON#3 | 0 0 * * 2#5 | 0 0 * 2 MON#5 | 0 10 * * THU#3 | 0 0 * * 5L | 0 0 * * FRIL | 0 0 * * 0L | 0 0 * * 7L
30 2 * * SUNL | 30 1 * * SUNL | 0 0 * * MONL,FRIL | 0 0 * * 1,5L | 0 0 1 * 5L | 0 0 * * MON#1,FRI | 0 0 * 3 SUNL
* * * * * * | */5 * * * * * | */10 * * * * * | */15 * * * * * | 30 * * * * * | 0 * * * * * | 0 0 * * * * | 59 59 * * * *
0 30 9 * * * | 15 30 2 * * * | 30 59 1 * * * | 0,30 0 * * * * | 10-20/5 */2 * * * * | */20 30 2 * * SUN | 5 5 5 5 5 *
0 0 0 L * * | 0 0 12 ? * MON#1 | 1,2,3 0 3 * * * | 58-59 59 23 31 12 * | * 30 2 * * * | */30 59 1 * * *
@yearly | @annually | @monthly | @weekly | @daily | @midnight | @hourly | @Daily | 05 04 * * * | 00 00 01 01 *
0  0\t*  *  * | 0-59 * * * * | 0-59/30 0-23 1-31 1-12 0-7 | */60 * * * * | 0 */24 * * * | 0 0 * * MON,MON
""".replace("\n", "|")

REFUSED = [
    # expression, column, what the message names
    ["", 1, "five fields"], ["* * * *", 8, "this one has 4"], ["* * * * * * *", 14, "this one has 7"],
    ["60 * * * *", 1, "a minute is from 0 to 59, not 60"], ["* 24 * * *", 3, "an hour is from 0 to 23, not 24"],
    ["* * 0 * *", 5, "a day is from 1 to 31, not 0"], ["* * 32 * *", 5, "not 32"], ["* * * 13 *", 7, "a month is from 1 to 12"],
    ["* * * 0 *", 7, "not 0"], ["* * * * 8", 9, "a weekday is from 0 to 7, not 8"], ["61 * * * * *", 1, "a second is from"],
    ["*/0 * * * *", 3, "a step is from 1"], ["*/61 * * * *", 3, "a step is from 1 to 60"], ["*/ * * * *", 3, "a step"],
    ["5- * * * *", 3, "expected a minute before the end"], ["5-x * * * *", 3, "'x' is not a minute"], ["a * * * *", 1, "'a' is not a minute"],
    ["10-5 * * * *", 4, "runs backwards"], ["0 22-2 * * *", 6, "runs backwards"], ["0 0 * * SAT-MON", 13, "runs backwards"],
    ["0 0 * FOO *", 7, "'FOO' is not a month; names are JAN to DEC"], ["0 0 * * FUN", 9, "'FUN' is not a weekday; names are SUN to SAT"],
    ["0 0 * * MON#6", 13, "from 1 to 5, not 6"], ["0 0 * * MON#0", 13, "from 1 to 5"], ["0 0 * * MON#", 13, "the number after '#'"],
    ["0 0 * * L", 9, "which weekday"], ["0 0 L-31 * *", 7, "from 1 to 30"], ["0 0 L-0 * *", 7, "from 1 to 30"], ["0 0 W * *", 5, "'W' is not a day"],
    ["0 0 1-15W * *", 9, "expected a comma or the end of the field"], ["0 0 30 2 *", 5, "never"], ["0 0 31 2,4,6,9,11 *", 5, "never"],
    ["0 0 30W 2 *", 5, "never"], ["0 0 L-30 2,4 *", 5, "never"], ["@reboot", 1, "@reboot is not supported"], ["@often", 1, "'@often' is none of"],
    ["1,,2 * * * *", 3, "expected a minute, not ','"], ["1, * * * *", 3, "expected a minute before the end"], [",1 * * * *", 1, "a minute"],
    ["? * * * *", 1, "expected a minute, not '?'"], ["* * * ? *", 7, "expected a month"], ["*5 * * * *", 2, "a comma or the end"],
    ["5.5 * * * *", 2, "not '.'"], ["-5 * * * *", 1, "expected a minute, not '-'"], ["1-2-3 * * * *", 4, "not '-'"], ["1/2/3 * * * *", 4, "not '/'"],
    ["999999999999999999999 * * * *", 1, "a minute is from"], ["0 0 * * MONDAY", 12, "a comma or the end"], ["0 0 1L * *", 6, "a comma or the end"],
    ["0 0 * 5L *", 8, "a comma or the end"], ["0 0 * * 5W", 10, "a comma or the end"], ["0 0 * * 1-5#2", 12, "a comma or the end"],
    ["\u00e9 * * * *", 1, "a minute"], ["* * * *\n* *", 8, "a comma or the end"],
]


@functools.lru_cache(None)
def expand_cached(expression):
    expression = NICKNAMES.get(expression.strip().lower(), expression)
    fields = expression.split()
    return fields if len(fields) == 6 else ["0"] + fields


def expand(expression):
    return list(expand_cached(expression))


def number(text, field):
    names = MONTHS if field == 4 else DAYS if field == 5 else []
    if text.upper() in names:
        return names.index(text.upper()) + (field == 4)
    return int(text)


@functools.lru_cache(None)
def values(text, field):
    """The plain values of a field; what depends on the month is left out."""
    low, high = RANGES[field]
    out = set()
    for item in text.upper().split(","):
        if field == 3 and ("L" in item or "W" in item) or field == 5 and ("#" in item or item.endswith("L")):
            continue
        head, _, step = item.partition("/")
        if head in ("*", "?"):
            first, last = low, 6 if field == 5 else high
        elif "-" in head:
            first, last = (number(part, field) for part in head.split("-"))
            if field == 5 and last == 0 < first:
                last = 7
        else:
            first = last = number(head, field)
            if step:
                last = 6 if field == 5 else high
        out.update(v % 7 if field == 5 else v for v in range(first, last + 1, int(step or 1)))
    return out


def day_matches(fields, when):
    length = calendar.monthrange(when.year, when.month)[1]
    weekday = (when.weekday() + 1) % 7

    def nearest(day):
        if day > length:
            return None
        return min((d for d in range(1, length + 1) if datetime(when.year, when.month, d).weekday() < 5),
                   key=lambda d: abs(d - day))

    by_day = when.day in values(fields[3], 3)
    for item in fields[3].upper().split(","):
        if item == "LW":
            by_day |= when.day == nearest_before(when, length)
        elif item.startswith("L"):
            by_day |= when.day == length - int(item[2:] or 0)
        elif item.endswith("W"):
            by_day |= when.day == nearest(int(item[:-1]))
    by_weekday = weekday in values(fields[5], 5)
    for item in fields[5].upper().split(","):
        if "#" in item:
            name, nth = item.split("#")
            by_weekday |= weekday == number(name, 5) % 7 and (when.day - 1) // 7 + 1 == int(nth)
        elif item.endswith("L"):
            by_weekday |= weekday == number(item[:-1], 5) % 7 and when.day + 7 > length
    every_day, every_weekday = len(values(fields[3], 3)) == 31, len(values(fields[5], 5)) == 7
    if every_day or every_weekday:
        return by_day and by_weekday
    return by_day or by_weekday


def nearest_before(when, length):
    return max(d for d in range(1, length + 1) if datetime(when.year, when.month, d).weekday() < 5)


def local_times(expression, after):
    """Naive local times after a naive one, by plain search through the days."""
    fields = expand(expression)
    times = [timedelta(hours=h, minutes=m, seconds=s) for h in sorted(values(fields[2], 2))
             for m in sorted(values(fields[1], 1)) for s in sorted(values(fields[0], 0))]
    months = values(fields[4], 4)
    day = datetime(after.year, after.month, after.day)
    while True:
        if day.month in months and day_matches(fields, day):
            yield from (day + t for t in times if day + t > after)
        day += timedelta(days=1)


def croniter_times(expression, after):
    """The same by croniter, or None when it does not know the expression."""
    fields = expand(expression)
    if any(c in fields[3].upper() for c in ("W", "L-")):
        return None
    fields[5] = ",".join("L" + str(number(item[:-1], 5) % 7) if item.upper().endswith("L") else
                         str(number(item.split("#")[0], 5) % 7) + "#" + item.split("#")[1] if "#" in item else item
                         for item in fields[5].replace("?", "*").upper().split(","))
    fields[3] = fields[3].replace("?", "*")
    special = "#" in fields[5] or "L" in fields[5]
    if special and any("#" not in i and not i.startswith("L") for i in fields[5].split(",")):
        return None  # croniter takes such lists for weekdays that must be both
    if special and fields[3] != "*" or any(int(f.split("/")[1]) > hi for f, (_, hi) in zip(fields, RANGES) if
                                           f.startswith("*/")):
        return None
    each = croniter(" ".join(fields), after, ret_type=datetime, second_at_beginning=True)
    return iter(lambda: each.get_next(), None)


def moment(local, fold, zone):
    return local.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)


def exists(local, fold, zone):
    return moment(local, fold, zone).astimezone(zone).replace(tzinfo=None) == local


def after_gap(local, zone):
    low, high = moment(local, 1, zone), moment(local, 0, zone)
    offset = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low).total_seconds() // 2)
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offset else (low, middle)
    return high


def next_times(expression, zone, after, count=10):
    by_interval = len(values(expand(expression)[2], 2)) == 24
    begin = after.astimezone(zone).replace(tzinfo=None) - timedelta(hours=4)
    found, enough = set(), begin
    ours = local_times(expression, begin)
    other = croniter_times(expression, begin)
    for _ in range(200000):
        local = next(ours)
        if other is not None:
            theirs = next(other)
            if theirs != local:
                sys.exit(f"{expression}: croniter says {theirs}, the search says {local}")
        if by_interval:
            found.update(moment(local, fold, zone) for fold in (0, 1) if exists(local, fold, zone))
        else:
            found.add(moment(local, 0, zone) if exists(local, 0, zone) else after_gap(local, zone))
        if len(found) < count or local < enough:
            continue
        due = sorted(t for t in found if t > after)[:count]
        enough = local + (local - begin) / 8
        if len(due) == count and moment(local, 0, zone) > due[-1] + timedelta(hours=3):
            return [int(t.timestamp()) for t in due]
    sys.exit(f"{expression}: no end")


def main():
    cases, texts, checked = [], [], 0
    expressions = [e.strip(" ").replace("\\t", "\t") for e in EXPRESSIONS.split("|")]
    expressions = [e for e in expressions if e]
    assert len(set(expressions)) == len(expressions) >= 200, len(expressions)
    for expression in expressions:
        fields = expand(expression)
        dense = len(values(fields[2], 2)) == 24 or len(values(fields[1], 1)) > 20
        checked += croniter_times(expression, datetime(2026, 1, 1)) is not None
        for name, changes in ZONES.items():
            for change in changes:
                wide = len(values(fields[1], 1)) == 60
                before = timedelta(minutes=4 if wide else 62) if dense else timedelta(hours=5)
                if len(values(fields[0], 0)) > 10:
                    before = timedelta(seconds=4)
                after = change.replace(tzinfo=timezone.utc) - before
                cases.append([expression, name, int(after.timestamp()),
                              next_times(expression, ZoneInfo(name), after)])
        plain = not any(c in fields[3].upper() for c in "LW,") and not any(c in fields[5].upper() for c in "L#")
        if (plain or fields[3] in ("L", "LW", "15W")) and not expression.startswith("@"):
            options = Options(locale_code="en_US", use_24hour_time_format=False)
            normal = " ".join(str(int(f)) if f.isdigit() else f for f in expression.split())
            texts.append([expression, ExpressionDescriptor(normal, options).get_description()])
    head = {
        "source": [f"croniter {version('croniter')} (agrees with the search on {checked} of {len(expressions)})",
                   f"cron-descriptor {version('cron-descriptor')}", "Python zoneinfo", "tests/vectors/generate/cron.py"],
        "note": "cases: expression, zone, after, the next ten times (seconds). texts: expression, its text. refused: "
                "expression, column, part of the message.",
    }
    print("{")
    for key, value in head.items():
        print(f" {json.dumps(key)}: {json.dumps(value)},")
    for key, rows in (("cases", cases), ("texts", texts), ("refused", REFUSED)):
        print(f' "{key}": [')
        print(",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in rows))
        print(" ]" if key == "refused" else " ],")
    print("}")


main()
