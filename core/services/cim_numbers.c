/* SPDX-License-Identifier: MIT */
#include "services/cim_private.h"

/* generator.get_number and get_numbers: one request, whose answer is checked before anybody builds on it. */

#define MAX_COUNT 100 /* that the platform gives in one request */

static json_int_t wanted(const struct peri_flow *flow)
{
    const json_t *count = json_object_get(peri_flow_args(flow), "count");
    return json_is_integer(count) ? json_integer_value(count) : 1;
}

static void ask(struct peri_flow *flow)
{
    json_int_t count = wanted(flow);
    if (count < 1 || count > MAX_COUNT) {
        struct peri_error err;
        peri_error_set(&err, PERI_INVALID, "option 'count' must be from 1 to %d, not %" JSON_INTEGER_FORMAT, MAX_COUNT,
                       count);
        peri_flow_fail(flow, &err);
        return;
    }
    json_t *name = json_object_get(peri_flow_args(flow), "name");
    peri_flow_send(flow, &peri_cim__numgen, json_pack("{s:O, s:I}", "name", name, "count", count), NULL);
}

static bool all_integers(const json_t *list)
{
    size_t i = 0;
    const json_t *item = NULL;
    json_array_foreach((json_t *)list, i, item)
    {
        if (!json_is_integer(item))
            return false;
    }
    return true;
}

/* The list; NULL when the step has failed. */
static const json_t *answered(struct peri_flow *flow, struct peri_op *child)
{
    struct peri_error err = *peri_op_error(child);
    const json_t *numbers = NULL;
    if (err.code == PERI_OK)
        numbers = peri_op_json(child, &err);
    if (err.code == PERI_OK && (!json_is_array(numbers) || !all_integers(numbers)))
        peri_error_set(&err, PERI_PROTOCOL, "the answer has no list 'numbers' of integers");
    else if (err.code == PERI_OK && json_array_size(numbers) != (size_t)wanted(flow))
        peri_error_set(&err, PERI_PROTOCOL, "asked for %d numbers, got %zu", (int)wanted(flow),
                       json_array_size(numbers));
    if (err.code == PERI_OK)
        return numbers;
    peri_flow_fail(flow, &err);
    return NULL;
}

static void step_one(struct peri_flow *flow, struct peri_op *child)
{
    const json_t *numbers = child ? answered(flow, child) : NULL;
    if (!child)
        ask(flow);
    else if (numbers)
        peri_flow_finish_value(flow, json_array_get(numbers, 0));
}

static void step_many(struct peri_flow *flow, struct peri_op *child)
{
    const json_t *numbers = child ? answered(flow, child) : NULL;
    if (!child)
        ask(flow);
    else if (numbers)
        peri_flow_finish_value(flow, numbers);
}

const struct peri_flow_kind peri_cim__get_number = { .step = step_one };
const struct peri_flow_kind peri_cim__get_numbers = { .step = step_many };
