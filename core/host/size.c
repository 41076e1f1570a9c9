/* SPDX-License-Identifier: MIT */
#include "host/size.h"

#include <stddef.h>
#include <strings.h>

static bool take_digits(const char **text, uint64_t max, uint64_t *out)
{
    const char *at = *text;
    uint64_t value = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (at == *text)
        return false;
    *text = at;
    *out = value;
    return true;
}

bool peri_number_parse(const char *text, uint64_t max, uint64_t *out)
{
    return text != NULL && take_digits(&text, max, out) && *text == '\0';
}

bool peri_size_parse(const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = { { "", 0 },    { "B", 0 },    { "K", 10 }, { "KB", 10 }, { "KiB", 10 }, { "M", 20 },
                  { "MB", 20 }, { "MiB", 20 }, { "G", 30 }, { "GB", 30 }, { "GiB", 30 } };
    uint64_t value = 0;
    if (text == NULL || !take_digits(&text, UINT64_C(1) << 62, &value))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcasecmp(text, units[i].unit) != 0)
            continue;
        if (value > (UINT64_C(1) << 62) >> units[i].shift)
            return false;
        *out = value << units[i].shift;
        return true;
    }
    return false;
}
