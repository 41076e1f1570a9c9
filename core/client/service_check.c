/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "client/service_private.h"

/* Whether a call's options are what its operation's table says. */

#define MAX_NAME 40

static const char *const type_names[] = {
    [PERI_STRING] = "a string",   [PERI_INTEGER] = "an integer", [PERI_NUMBER] = "a number",
    [PERI_BOOLEAN] = "a boolean", [PERI_OBJECT] = "an object",   [PERI_ARRAY] = "a list",
    [PERI_ANY] = "any value",     [PERI_STREAM] = "bytes",       [PERI_LIMIT] = "an integer from 1, or -1 for all",
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many edits (insert, delete, replace) turn a into b. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[MAX_NAME + 1];
    size_t len_a = strlen(a);
    size_t len_b = strlen(b);
    if (len_a > MAX_NAME || len_b > MAX_NAME)
        return MAX_NAME;
    for (size_t j = 0; j <= len_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= len_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            size_t above = row[j];
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = smaller(replaced, smaller(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[len_b];
}

static void consider(const char *given, const char *candidate, const char **best, size_t *best_distance)
{
    size_t distance = edit_distance(given, candidate);
    if (distance < *best_distance) {
        *best_distance = distance;
        *best = candidate;
    }
}

static enum peri_code unknown_option(const struct peri_operation *operation, const char *given, struct peri_error *err)
{
    const char *best = NULL;
    size_t distance = strlen(given) / 3 + 2;
    for (size_t i = 0; i < operation->field_count; i++)
        consider(given, operation->fields[i].name, &best, &distance);
    consider(given, "timeout", &best, &distance);
    if (best)
        return peri_error_set(err, PERI_INVALID, "unknown option '%.60s'; did you mean '%s'?", given, best);
    return peri_error_set(err, PERI_INVALID, "unknown option '%.60s'", given);
}

static const char *given_type(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_NULL:
        return "null";
    default:
        return "a boolean";
    }
}

/* An empty Lua table may be either an object or a list. */
static bool is_empty(const json_t *value)
{
    return (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static bool has_type(const struct peri_field *field, const json_t *value)
{
    switch (field->type) {
    case PERI_STRING:
    case PERI_STREAM:
        return json_is_string(value);
    case PERI_INTEGER:
        return json_is_integer(value);
    case PERI_NUMBER:
        return json_is_number(value);
    case PERI_BOOLEAN:
        return json_is_boolean(value);
    case PERI_OBJECT:
        return json_is_object(value) || is_empty(value);
    case PERI_ARRAY:
        return json_is_array(value) || is_empty(value);
    case PERI_LIMIT:
        return json_is_integer(value) && (json_integer_value(value) >= 1 || json_integer_value(value) == -1);
    case PERI_ANY:
        break;
    }
    return true;
}

const struct peri_field *peri__service_field(const struct peri_operation *operation, const char *name)
{
    for (size_t i = 0; i < operation->field_count; i++)
        if (strcmp(operation->fields[i].name, name) == 0)
            return &operation->fields[i];
    return NULL;
}

const json_t *peri__service_given(const struct peri_field *field, const json_t *args)
{
    const json_t *value = json_object_get(args, field->name);
    return json_is_null(value) && field->type != PERI_ANY && field->type != PERI_LIMIT ? NULL : value;
}

static enum peri_code check_timeout(const json_t *value, struct peri_error *err)
{
    if (json_is_null(value) || (json_is_number(value) && json_number_value(value) > 0))
        return PERI_OK;
    return peri_error_set(err, PERI_INVALID, "option 'timeout' must be a positive number of seconds");
}

static enum peri_code check_one_of(const struct peri_operation *operation, const json_t *args, struct peri_error *err)
{
    const char *const *names = operation->one_of;
    unsigned given = 0;
    bool or_none = (operation->flags & PERI_OP_OR_NONE_OF) != 0;
    for (size_t i = 0; names[i]; i++)
        given += json_object_get(args, names[i]) && !json_is_null(json_object_get(args, names[i]));
    if (!names[0] || given == 1 || (given == 0 && or_none))
        return PERI_OK;
    const char *how = or_none ? "at most one" : "exactly one";
    const char *end = or_none ? "may be given" : given > 1 ? "is required, not both" : "is required";
    if (names[2])
        return peri_error_set(err, PERI_INVALID, "%s of the options '%s', '%s' and '%s' %s", how, names[0], names[1],
                              names[2], given > 1 ? "is required, not several" : end);
    return peri_error_set(err, PERI_INVALID, "%s of the options '%s' and '%s' %s", how, names[0], names[1], end);
}

enum peri_code peri__service_check(const struct peri_operation *operation, const json_t *args, bool has_content,
                                   struct peri_error *err)
{
    const char *name = NULL;
    json_t *value = NULL;
    if (args && !json_is_object(args))
        return peri_error_set(err, PERI_INVALID, "the options must be an object, not %s", given_type(args));
    json_object_foreach((json_t *)args, name, value)
    {
        const struct peri_field *field = peri__service_field(operation, name);
        if (!field && strcmp(name, "timeout") == 0) {
            if (check_timeout(value, err) != PERI_OK)
                return PERI_INVALID;
        } else if (!field) {
            return unknown_option(operation, name, err);
        } else if (!json_is_null(value) && !has_type(field, value)) {
            return peri_error_set(err, PERI_INVALID, "option '%s' must be %s, not %s", name, type_names[field->type],
                                  field->type == PERI_LIMIT && json_is_integer(value) ? "less" : given_type(value));
        }
    }
    for (size_t i = 0; i < operation->field_count; i++) {
        const struct peri_field *field = &operation->fields[i];
        bool streamed = has_content && (field->place == PERI_IN_CONTENT || field->type == PERI_STREAM);
        if (field->required && !streamed && !peri__service_given(field, args))
            return peri_error_set(err, PERI_INVALID, "option '%s' is required", field->name);
    }
    return check_one_of(operation, args, err);
}
