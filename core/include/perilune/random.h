/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_RANDOM_H
#define PERILUNE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "perilune/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A source of randomness, passed in so that jitter and ids can be tested. */
struct peri_random {
    void (*fill)(void *state, void *out, size_t len);
    void *state;
};

/* The system's cryptographic source. Aborts if the system has none. */
PERI_API struct peri_random peri_random_system(void);
/* A repeatable source for tests; *state is the seed and is advanced. Not for secrets. */
PERI_API struct peri_random peri_random_seeded(uint64_t *state);
PERI_API uint64_t peri_random_u64(struct peri_random random);
PERI_API double peri_random_unit(struct peri_random random); /* uniform in [0, 1) */
/* Writes len characters of [0-9A-Za-z] and a NUL (unbiased). */
PERI_API void peri_random_token(struct peri_random random, char *out, size_t len);
PERI_API void peri_random_letters(struct peri_random random, char *out, size_t len); /* the same of [A-Za-z] */

#ifdef __cplusplus
}
#endif

#endif
