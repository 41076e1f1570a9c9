/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "host/schedules.h"

/* One schedule as a value; schedules.c keeps them all. */

static const char *const missed_names[] = { "skip", "once", "all" };
static const char *const overlap_names[] = { "allow", "skip", "queue" };
static const char *const outcome_names[] = { "Called", "Skipped", "Missed", "Failed" };

const char *peri_missed_name(enum peri_missed missed)
{
    return missed_names[(unsigned)missed < 3 ? missed : PERI_MISSED_SKIP];
}

const char *peri_overlap_name(enum peri_overlap overlap)
{
    return overlap_names[(unsigned)overlap < 3 ? overlap : PERI_OVERLAP_ALLOW];
}

const char *peri_tick_outcome_name(enum peri_tick_outcome outcome)
{
    return outcome_names[(unsigned)outcome < 4 ? outcome : PERI_TICK_FAILED];
}

static int find_name(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

bool peri_missed_parse(const char *name, enum peri_missed *out)
{
    int found = find_name(missed_names, 3, name);
    if (found >= 0)
        *out = (enum peri_missed)found;
    return found >= 0;
}

bool peri_overlap_parse(const char *name, enum peri_overlap *out)
{
    int found = find_name(overlap_names, 3, name);
    if (found >= 0)
        *out = (enum peri_overlap)found;
    return found >= 0;
}

struct peri_schedule *peri_schedule_new(void)
{
    struct peri_schedule *schedule = calloc(1, sizeof *schedule);
    if (!schedule)
        return NULL;
    schedule->refs = 1;
    peri_buf_init(&schedule->body, SIZE_MAX / 2);
    return schedule;
}

static bool copy_text(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

struct peri_schedule *peri_schedule_copy(const struct peri_schedule *schedule)
{
    struct peri_schedule *copy = peri_schedule_new();
    if (!copy)
        return NULL;
    *copy = *schedule;
    copy->refs = 1;
    peri_buf_init(&copy->body, SIZE_MAX / 2);
    bool ok = copy_text(&copy->external_id, schedule->external_id);
    ok &= copy_text(&copy->name, schedule->name);
    ok &= copy_text(&copy->description, schedule->description);
    ok &= copy_text(&copy->cron, schedule->cron);
    ok &= copy_text(&copy->timezone, schedule->timezone ? schedule->timezone : "UTC");
    ok &= copy_text(&copy->client_id, schedule->client_id);
    ok &= peri_buf_append_str(&copy->body, peri_buf_str(&schedule->body)) == PERI_OK;
    if (!ok) {
        peri_schedule_unref(copy);
        return NULL;
    }
    return copy;
}

struct peri_schedule *peri_schedule_ref(struct peri_schedule *schedule)
{
    schedule->refs++;
    return schedule;
}

void peri_schedule_unref(struct peri_schedule *schedule)
{
    if (!schedule || --schedule->refs > 0)
        return;
    free(schedule->external_id);
    free(schedule->name);
    free(schedule->description);
    free(schedule->cron);
    free(schedule->timezone);
    free(schedule->client_id);
    peri_buf_fini(&schedule->body);
    free(schedule);
}
