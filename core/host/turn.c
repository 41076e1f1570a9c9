/* SPDX-License-Identifier: MIT */
#include "host/turn.h"

#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

#define TICK_MS 1000

struct later {
    void (*fn)(void *data);
    void (*drop)(void *data);
    void *data;
    struct later *next;
};

struct peri__turn {
    uv_prepare_t before;
    uv_check_t after;
    uv_idle_t restless; /* keeps the loop from waiting while there is something to do */
    uv_timer_t tick;
    void (*work)(void *data);
    void (*on_tick)(void *data);
    void *data;
    struct later *first, **last;
    bool asked, freed;
    unsigned handles;
};

static void run(struct peri__turn *turn)
{
    if (turn->freed || (!turn->asked && !turn->first))
        return;
    turn->asked = false;
    struct later *later = turn->first;
    turn->first = NULL;
    turn->last = &turn->first;
    while (later) {
        struct later *next = later->next;
        if (!turn->freed)
            later->fn(later->data);
        else if (later->drop)
            later->drop(later->data);
        free(later);
        later = next;
    }
    if (!turn->freed)
        turn->work(turn->data);
    if (!turn->freed && !turn->asked && !turn->first)
        uv_idle_stop(&turn->restless);
}

static void on_before(uv_prepare_t *handle)
{
    run(handle->data);
}

static void on_after(uv_check_t *handle)
{
    run(handle->data);
}

static void on_restless(uv_idle_t *handle)
{
    (void)handle; /* being active is all it is for */
}

static void on_timer(uv_timer_t *handle)
{
    struct peri__turn *turn = handle->data;
    turn->on_tick(turn->data);
}

static void on_closed(uv_handle_t *handle)
{
    struct peri__turn *turn = handle->data;
    if (--turn->handles == 0)
        free(turn);
}

enum peri_code peri__turn_new(struct uv_loop_s *uv, void (*work)(void *data), void (*tick)(void *data), void *data,
                              struct peri__turn **out, struct peri_error *err)
{
    struct peri__turn *turn = calloc(1, sizeof *turn);
    if (!turn)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    turn->work = work;
    turn->on_tick = tick;
    turn->data = data;
    turn->last = &turn->first;
    turn->handles = 4;
    uv_prepare_init(uv, &turn->before);
    uv_check_init(uv, &turn->after);
    uv_idle_init(uv, &turn->restless);
    uv_timer_init(uv, &turn->tick);
    turn->before.data = turn->after.data = turn->restless.data = turn->tick.data = turn;
    uv_prepare_start(&turn->before, on_before);
    uv_check_start(&turn->after, on_after);
    uv_timer_start(&turn->tick, on_timer, TICK_MS, TICK_MS);
    uv_unref((uv_handle_t *)&turn->before);
    uv_unref((uv_handle_t *)&turn->after);
    uv_unref((uv_handle_t *)&turn->tick);
    *out = turn;
    return PERI_OK;
}

void peri__turn_free(struct peri__turn *turn)
{
    if (!turn)
        return;
    turn->freed = true;
    while (turn->first) {
        struct later *next = turn->first->next;
        if (turn->first->drop)
            turn->first->drop(turn->first->data);
        free(turn->first);
        turn->first = next;
    }
    uv_close((uv_handle_t *)&turn->before, on_closed);
    uv_close((uv_handle_t *)&turn->after, on_closed);
    uv_close((uv_handle_t *)&turn->restless, on_closed);
    uv_close((uv_handle_t *)&turn->tick, on_closed);
}

void peri__turn_ask(struct peri__turn *turn)
{
    if (turn->asked)
        return;
    turn->asked = true;
    uv_idle_start(&turn->restless, on_restless);
}

enum peri_code peri__turn_later(struct peri__turn *turn, void (*fn)(void *data), void (*drop)(void *data), void *data)
{
    struct later *later = malloc(sizeof *later);
    if (!later)
        return PERI_NOMEM;
    *later = (struct later){ fn, drop, data, NULL };
    *turn->last = later;
    turn->last = &later->next;
    peri__turn_ask(turn);
    return PERI_OK;
}
