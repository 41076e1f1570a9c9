/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

/* Bounds of the second byte: no overlong forms, no surrogates, nothing above U+10FFFF. */
static int valid_second(unsigned char first, unsigned char second)
{
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high;
}

int peri__utf8_length(const char *s, size_t len, int *bad)
{
    unsigned char first = (unsigned char)s[0];
    int need = 1, have = 1;
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xF4)
        need = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (need > 1 && len > 1 && valid_second(first, (unsigned char)s[1]))
        for (have = 2; have < need && (size_t)have < len && ((unsigned char)s[have] & 0xC0) == 0x80; have++)
            ;
    if (need > 1 && have == need)
        return need;
    if (bad)
        *bad = have;
    return 0;
}
