/* SPDX-License-Identifier: MIT */
/* part: base */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/random.h"

static void the_seed_decides(void **state)
{
    uint64_t seed = 1234567, again = 1234567, other = 1234568;
    struct peri_random random = peri_random_seeded(&seed);
    char a[21], b[21];
    (void)state;
    /* The reference values of splitmix64 for this seed (Vigna's splitmix64.c; also Rosetta Code). */
    assert_int_equal(peri_random_u64(random), UINT64_C(6457827717110365317));
    assert_int_equal(peri_random_u64(random), UINT64_C(3203168211198807973));
    assert_int_equal(peri_random_u64(random), UINT64_C(9817491932198370423));
    assert_int_equal(peri_random_u64(random), UINT64_C(4593380528125082431));
    assert_int_equal(peri_random_u64(random), UINT64_C(16408922859458223821));
    seed = 1234567;
    peri_random_token(random, a, 20);
    peri_random_token(peri_random_seeded(&again), b, 20);
    assert_string_equal(a, b);
    assert_int_equal(seed, again);
    peri_random_token(peri_random_seeded(&other), b, 20);
    assert_string_not_equal(a, b);
}

static void fill_constant(void *state, void *out, size_t len)
{
    memset(out, *(int *)state, len);
}

static void unit_stays_below_one(void **state)
{
    uint64_t seed = 5;
    int zeros = 0x00, ones = 0xFF;
    double sum = 0;
    (void)state;
    assert_true(peri_random_unit((struct peri_random){ fill_constant, &zeros }) == 0.0);
    assert_true(peri_random_unit((struct peri_random){ fill_constant, &ones }) == 1 - 0x1p-53);
    for (int i = 0; i < 10000; i++)
        sum += peri_random_unit(peri_random_seeded(&seed));
    assert_true(sum > 4800 && sum < 5200); /* the seed is fixed: this can't flicker */
}

static void tokens_use_all_letters_evenly(void **state)
{
    uint64_t seed = 6;
    unsigned seen[256] = { 0 };
    char token[6201];
    (void)state;
    memset(token, '!', sizeof token);
    peri_random_token(peri_random_seeded(&seed), token, 0);
    assert_int_equal(token[0], '\0');
    assert_int_equal(token[1], '!');
    for (int round = 0; round < 10; round++) {
        peri_random_token(peri_random_seeded(&seed), token, 6200);
        assert_int_equal(strlen(token), 6200);
        for (int i = 0; i < 6200; i++)
            seen[(unsigned char)token[i]]++;
    }
    for (int c = 0; c < 256; c++) {
        if (c < 128 && isalnum(c))
            assert_in_range(seen[c], 850, 1150); /* 1000 expected; byte % 62 alone would give '0' to '7' 1211 */
        else
            assert_int_equal(seen[c], 0);
    }
}

static void the_system_does_not_repeat_itself(void **state)
{
    struct peri_random random = peri_random_system();
    unsigned char big[1000] = { 0 };
    char a[33], b[33];
    size_t zeros = 0;
    (void)state;
    assert_true(peri_random_u64(random) != peri_random_u64(random));
    peri_random_token(random, a, 32);
    peri_random_token(random, b, 32);
    assert_string_not_equal(a, b);
    random.fill(random.state, big, sizeof big); /* over the 256 bytes that one getrandom promises */
    for (size_t i = 500; i < sizeof big; i++)
        zeros += big[i] == 0;
    assert_true(zeros < 100);
    random.fill(random.state, big, 0);
}

static void letters_are_letters(void **state)
{
    uint64_t seed = 7;
    bool seen[256] = { false };
    char text[4097];
    (void)state;
    peri_random_letters(peri_random_seeded(&seed), text, 4096);
    assert_int_equal(strlen(text), 4096);
    for (size_t i = 0; i < 4096; i++)
        seen[(unsigned char)text[i]] = true;
    for (int c = 0; c < 256; c++)
        assert_int_equal(seen[c], (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(unit_stays_below_one),
        cmocka_unit_test(tokens_use_all_letters_evenly),
        cmocka_unit_test(letters_are_letters),
        cmocka_unit_test(the_system_does_not_repeat_itself),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
