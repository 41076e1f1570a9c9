/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_LOG_H
#define PERILUNE_LOG_H

#include "perilune/export.h"

#ifdef __cplusplus
extern "C" {
#endif

enum peri_log_level { PERI_LOG_DEBUG, PERI_LOG_INFO, PERI_LOG_WARN, PERI_LOG_ERROR, PERI_LOG_OFF };

/* Diagnostics of the library itself (not of handlers). Never given secrets: callers log names, not values. */
typedef void (*peri_log_sink)(void *data, enum peri_log_level level, const char *message);

/* NULL restores the default sink: one line "time level message" on stderr. The sink may be called from any thread. */
PERI_API void peri_log_set_sink(peri_log_sink sink, void *data);
/* Default PERI_LOG_WARN, or what the environment variable PERILUNE_LOG (debug, info, warn, error, off) says. */
PERI_API void peri_log_set_level(enum peri_log_level level);
PERI_API enum peri_log_level peri_log_get_level(void);
PERI_API void peri_log(enum peri_log_level level, const char *format, ...) PERI_PRINTF(2, 3);
/* "debug" ... "off"; parse returns -1 for an unknown name. */
PERI_API const char *peri_log_level_name(enum peri_log_level level);
PERI_API int peri_log_level_parse(const char *name);

#ifdef __cplusplus
}
#endif

#endif
