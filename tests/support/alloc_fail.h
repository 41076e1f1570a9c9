/* SPDX-License-Identifier: MIT */
#ifndef SUPPORT_ALLOC_FAIL_H
#define SUPPORT_ALLOC_FAIL_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* Makes the n-th allocation of the calling thread fail, in every library of the process:
 *
 *     for (unsigned n = 1;; n++) {
 *         alloc_fail_at(n);
 *         ... one attempt; it must end in PERI_NOMEM or succeed ...
 *         if (!alloc_fail_stop())
 *             break; // it needed fewer than n allocations, and has succeeded
 *     }
 *
 * Include this in one source file of a test program: it defines malloc, calloc and realloc. (In a library, the linker
 * would pull these definitions into every test.) */

#if defined(__has_feature)
#define SUPPORT_HAS_FEATURE(x) __has_feature(x)
#else
#define SUPPORT_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || SUPPORT_HAS_FEATURE(address_sanitizer)
#define SUPPORT_REAL(name) __interceptor_##name
#else
#define SUPPORT_REAL(name) __libc_##name
#endif

/* The thread sanitizer allocates before its own malloc can be found: there, nothing is interposed and nothing fails.
 * Begin a test with `if (!ALLOC_FAIL_WORKS) skip();` */
#if defined(__SANITIZE_THREAD__) || SUPPORT_HAS_FEATURE(thread_sanitizer)
#define ALLOC_FAIL_WORKS 0
#else
#define ALLOC_FAIL_WORKS 1
#endif

/* The build hides symbols; these must be seen by the shared libraries. */
#define SUPPORT_EXPORT __attribute__((visibility("default")))

void *SUPPORT_REAL(malloc)(size_t size);
void *SUPPORT_REAL(calloc)(size_t count, size_t size);
void *SUPPORT_REAL(realloc)(void *old, size_t size);

static _Thread_local unsigned alloc_fail_left; /* 0: not armed */
static _Thread_local bool alloc_fail_hit;

static inline void alloc_fail_at(unsigned n)
{
    alloc_fail_hit = false;
    alloc_fail_left = n;
}

/* Disarms; true when an allocation was refused. */
static inline bool alloc_fail_stop(void)
{
    alloc_fail_left = 0;
    return alloc_fail_hit;
}

#if ALLOC_FAIL_WORKS
static bool alloc_fail_now(void)
{
    if (alloc_fail_left == 0 || --alloc_fail_left > 0)
        return false;
    alloc_fail_hit = true;
    errno = ENOMEM;
    return true;
}

SUPPORT_EXPORT void *malloc(size_t size)
{
    return alloc_fail_now() ? NULL : SUPPORT_REAL(malloc)(size);
}

SUPPORT_EXPORT void *calloc(size_t count, size_t size)
{
    return alloc_fail_now() ? NULL : SUPPORT_REAL(calloc)(count, size);
}

SUPPORT_EXPORT void *realloc(void *old, size_t size)
{
    return alloc_fail_now() ? NULL : SUPPORT_REAL(realloc)(old, size);
}

#endif

#endif
