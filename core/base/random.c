/* SPDX-License-Identifier: MIT */
#include "perilune/random.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void fill_system(void *state, void *out, size_t len)
{
    unsigned char *at = out;
    (void)state;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno != EINTR)
            abort();
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t seeded_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void fill_seeded(void *state, void *out, size_t len)
{
    unsigned char *at = out;
    while (len > 0) {
        uint64_t word = seeded_next(state);
        size_t n = len < sizeof word ? len : sizeof word;
        memcpy(at, &word, n);
        at += n;
        len -= n;
    }
}

struct peri_random peri_random_system(void)
{
    return (struct peri_random){ fill_system, NULL };
}

struct peri_random peri_random_seeded(uint64_t *state)
{
    return (struct peri_random){ fill_seeded, state };
}

uint64_t peri_random_u64(struct peri_random random)
{
    uint64_t word;
    random.fill(random.state, &word, sizeof word);
    return word;
}

double peri_random_unit(struct peri_random random)
{
    return (double)(peri_random_u64(random) >> 11) * 0x1p-53;
}

/* Digits stand first, so that the letters alone are the alphabet's end. */
static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static void fill_text(struct peri_random random, const char *characters, unsigned count, char *out, size_t len)
{
    unsigned fair = 256 - 256 % count;
    unsigned char bytes[64];
    size_t at = 0;
    while (at < len) {
        random.fill(random.state, bytes, sizeof bytes);
        for (size_t i = 0; i < sizeof bytes && at < len; i++)
            if (bytes[i] < fair) /* the rest would favour the first characters */
                out[at++] = characters[bytes[i] % count];
    }
    explicit_bzero(bytes, sizeof bytes);
    out[len] = '\0';
}

void peri_random_token(struct peri_random random, char *out, size_t len)
{
    fill_text(random, alphabet, sizeof alphabet - 1, out, len);
}

void peri_random_letters(struct peri_random random, char *out, size_t len)
{
    fill_text(random, alphabet + 10, sizeof alphabet - 1 - 10, out, len);
}
