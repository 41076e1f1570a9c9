/* SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "json.h"

/* The text level of the JSON codec: numbers and runs of plain bytes. */

static const char two_digits[] = "0001020304050607080910111213141516171819"
                                 "2021222324252627282930313233343536373839"
                                 "4041424344454647484950515253545556575859"
                                 "6061626364656667686970717273747576777879"
                                 "8081828384858687888990919293949596979899";

/* Writes the decimal digits of value so that they end before `end`; returns their begin. */
static char *digits_before(char *end, uint64_t value)
{
    while (value >= 100) {
        end -= 2;
        memcpy(end, two_digits + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        end -= 2;
        memcpy(end, two_digits + 2 * value, 2);
    } else {
        *--end = (char)('0' + value);
    }
    return end;
}

char *peri__json_write_integer(char *out, lua_Integer value)
{
    char digits[24];
    char *end = digits + sizeof digits;
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char *begin = digits_before(end, magnitude);
    if (value < 0) {
        *out++ = '-';
    }
    memcpy(out, begin, (size_t)(end - begin));
    return out + (end - begin);
}

#define POWERS 28
/* Exact in a long double of 64 bits of mantissa (5^27 < 2^63); the first 23 also in a double. */
static const long double powers[POWERS] = {
    1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,  1e10L, 1e11L, 1e12L, 1e13L,
    1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L,
};
static const double double_powers[23] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                          1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

bool peri__json_make_real(uint64_t m, int exponent, double *out)
{
    if (m <= (UINT64_C(1) << 53) && exponent >= -22 && exponent <= 22) {
        /* Both operands are exact, so one rounding gives the right answer. */
        *out = exponent < 0 ? (double)m / double_powers[-exponent] : (double)m * double_powers[exponent];
        return true;
    }
#if LDBL_MANT_DIG == 64
    if (exponent > -POWERS && exponent < POWERS) {
        /* One rounding to 64 bits, a second to 53. The second goes wrong only when the first landed exactly halfway
         * between two doubles, which the last 11 bits tell. */
        long double wide = exponent < 0 ? (long double)m / powers[-exponent] : (long double)m * powers[exponent];
        uint64_t mantissa;
        memcpy(&mantissa, &wide, sizeof mantissa);
        if ((mantissa & 0x7ff) != 0x400) {
            *out = (double)wide;
            return true;
        }
    }
#endif
    return false;
}

/* Lays out the digits of m * 10^exponent as core does: "%.15g", or with as many digits as it takes, and a point. */
static char *layout(char *out, uint64_t m, int exponent)
{
    char digits[24];
    char *end = digits + sizeof digits;
    char *begin = digits_before(end, m);
    while (end - begin > 1 && end[-1] == '0') {
        end--;
        exponent++;
    }
    int count = (int)(end - begin);
    int magnitude = count + exponent - 1; /* of the first digit */
    if (magnitude < -4 || magnitude >= (count > 15 ? count : 15)) {
        *out++ = *begin++;
        if (count > 1) {
            *out++ = '.';
            memcpy(out, begin, (size_t)(count - 1));
            out += count - 1;
        }
        return out + snprintf(out, 8, "e%+03d", magnitude);
    }
    if (magnitude < 0) {
        memset(out, '0', 6);
        out[1] = '.';
        out += 1 - magnitude;
        memcpy(out, begin, (size_t)count);
        return out + count;
    }
    int whole = magnitude + 1;
    if (count <= whole) {
        memcpy(out, begin, (size_t)count);
        memset(out + count, '0', (size_t)(whole - count));
        out[whole] = '.';
        out[whole + 1] = '0';
        return out + whole + 2;
    }
    memcpy(out, begin, (size_t)whole);
    out[whole] = '.';
    memcpy(out + whole + 1, begin + whole, (size_t)(count - whole));
    return out + count + 1;
}

/* Finds few decimals: x = m / 10^k with m small enough that reading it back is exact. */
static bool few_decimals(double x, uint64_t *m, int *exponent)
{
    if (x >= 1e15 || x < 1e-5) {
        return false;
    }
    for (int k = 0; k <= 9; k++) {
        double scaled = x * double_powers[k];
        if (scaled >= 1e15) {
            return false; /* with 16 digits a neighbour may read back equal too */
        }
        double rounded = nearbyint(scaled);
        if (rounded / double_powers[k] == x) {
            *m = (uint64_t)rounded;
            *exponent = -k;
            return true;
        }
    }
    return false;
}

#if LDBL_MANT_DIG == 64
/* Tries 15, 16 and 17 digits in extended precision; what it finds reads back equal by peri__json_make_real. */
static bool many_digits(double x, uint64_t *m, int *exponent)
{
    int magnitude = (int)floor(log10(x));
    for (int digits = 15; digits <= 17; digits++) {
        int k = digits - 1 - magnitude;
        if (k <= -POWERS || k >= POWERS) {
            return false;
        }
        long double scaled = k < 0 ? (long double)x / powers[-k] : (long double)x * powers[k];
        uint64_t candidate = (uint64_t)scaled;
        long double fraction = scaled - (long double)candidate;
        candidate += fraction > 0.5L;
        double back;
        if (candidate < (UINT64_C(1) << 63) && peri__json_make_real(candidate, -k, &back) && back == x) {
            *m = candidate;
            *exponent = -k;
            /* In the middle between two that read back equal, which is nearer takes more precision. */
            return fraction < 0.48L || fraction > 0.52L;
        }
    }
    return false;
}
#endif

/* The slow way, for what is very large, very small or at the edge: asks the C library. */
static char *write_by_printf(char *out, double x)
{
    char text[32];
    /* 15 digits hold every shorter form but that of a subnormal, which has fewer bits. */
    for (int precision = x < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, x);
        if (strtod(text, NULL) == x) {
            break;
        }
    }
    /* d<point>ddd...e[+-]dd: read back as digits and exponent, so that no locale shows. */
    uint64_t m = 0;
    int decimals = 0;
    const char *p = text;
    for (bool point = false; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') {
            m = m * 10 + (uint64_t)(*p - '0');
            decimals += point;
        } else {
            point = true;
        }
    }
    return layout(out, m, (int)strtol(p + 1, NULL, 10) - decimals);
}

char *peri__json_write_real(char *out, double x)
{
    if (signbit(x)) {
        *out++ = '-';
        x = -x;
    }
    uint64_t m = 0;
    int exponent = 0;
    if (x == 0) {
        return layout(out, 0, 0);
    }
    if (few_decimals(x, &m, &exponent)) {
        return layout(out, m, exponent);
    }
#if LDBL_MANT_DIG == 64
    if (x > 1e-10 && x < 1e40 && many_digits(x, &m, &exponent)) {
        return layout(out, m, exponent);
    }
#endif
    return write_by_printf(out, x);
}

static const bool plain_char[256] = { [' ' ... '!'] = true, ['#' ... '['] = true, [']' ... 0x7f] = true };

size_t peri__json_plain(const char *p, size_t len)
{
    size_t n = 0;
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i blank = _mm_set1_epi8(' ');
    for (; n + 16 <= len; n += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + n));
        /* The signed comparison finds control characters and bytes from 0x80 on at once. */
        __m128i special = _mm_or_si128(_mm_cmplt_epi8(bytes, blank),
                                       _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
        int mask = _mm_movemask_epi8(special);
        if (mask) {
            return n + (size_t)__builtin_ctz((unsigned)mask);
        }
    }
#endif
    while (n < len && plain_char[(unsigned char)p[n]]) {
        n++;
    }
    return n;
}

static bool continues(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

size_t peri__utf8_sequence(const unsigned char *p, size_t len)
{
    unsigned char lead = p[0];
    if (lead < 0xc2 || lead > 0xf4 || len < 2) {
        return 0;
    }
    unsigned char second = p[1];
    if (lead < 0xe0) {
        return continues(second) ? 2 : 0;
    }
    /* The second byte excludes overlong forms, surrogates and what lies beyond U+10FFFF. */
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (second < low || second > high || len < 3 || !continues(p[2])) {
        return 0;
    }
    if (lead < 0xf0) {
        return 3;
    }
    return len >= 4 && continues(p[3]) ? 4 : 0;
}
