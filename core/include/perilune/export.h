/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_EXPORT_H
#define PERILUNE_EXPORT_H

/* Marks what libperilune.so exports; all else is hidden. */
#if defined(__GNUC__)
#define PERI_API __attribute__((visibility("default")))
#define PERI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define PERI_API
#define PERI_PRINTF(fmt, args)
#endif

#endif
