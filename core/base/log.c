/* SPDX-License-Identifier: MIT */
#include "perilune/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perilune/clock.h"
#include "perilune/error.h"

#define UNSET (-1)

static const char *const names[] = { "debug", "info", "warn", "error", "off" };

static _Atomic int threshold = UNSET;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the two below */
static peri_log_sink sink;
static void *sink_data;

static void write_stderr(enum peri_log_level level, const char *message)
{
    char now[PERI_TIME_TEXT];
    peri_time_format(peri_clock_wall_ms(peri_clock_system()), now);
    fprintf(stderr, "%s %s %s\n", now, peri_log_level_name(level), message);
}

void peri_log_set_sink(peri_log_sink new_sink, void *data)
{
    pthread_mutex_lock(&lock);
    sink = new_sink;
    sink_data = data;
    pthread_mutex_unlock(&lock);
}

void peri_log_set_level(enum peri_log_level level)
{
    threshold = (int)level;
}

enum peri_log_level peri_log_get_level(void)
{
    int level = threshold;
    if (level == UNSET) {
        int expected = UNSET;
        level = peri_log_level_parse(getenv("PERILUNE_LOG"));
        if (level < 0)
            level = PERI_LOG_WARN;
        if (!atomic_compare_exchange_strong(&threshold, &expected, level))
            level = expected; /* somebody set it meanwhile */
    }
    return (enum peri_log_level)level;
}

void peri_log(enum peri_log_level level, const char *format, ...)
{
    int saved_errno = errno;
    struct peri_error text;
    va_list args;
    if (level < peri_log_get_level() || level >= PERI_LOG_OFF)
        return;
    errno = saved_errno; /* for %m */
    va_start(args, format);
    peri_error_setv(&text, PERI_OK, format, args); /* cut at a character boundary */
    va_end(args);
    for (char *c = text.message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' '; /* a message stays one line, whatever a peer put into it */

    pthread_mutex_lock(&lock);
    peri_log_sink to = sink;
    void *data = sink_data;
    pthread_mutex_unlock(&lock);
    if (to) /* outside the lock: a sink may log or change the sink */
        to(data, level, text.message);
    else
        write_stderr(level, text.message);
    errno = saved_errno;
}

const char *peri_log_level_name(enum peri_log_level level)
{
    return (unsigned)level <= PERI_LOG_OFF ? names[level] : "unknown";
}

int peri_log_level_parse(const char *name)
{
    for (int i = 0; name && i <= PERI_LOG_OFF; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}
