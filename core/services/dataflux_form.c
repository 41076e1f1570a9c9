/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "perilune/json.h"
#include "services/dataflux_private.h"

/* Arguments in the notation of forms, where everything is text. */

#define NAME_MAX_BYTES ((size_t)4096)

struct walk {
    peri_dataflux__put_fn put;
    void *data;
    unsigned levels;
    struct peri_buf name; /* of the value that the walk is at */
};

static enum peri_code walk_value(struct walk *walk, const json_t *value, unsigned level, struct peri_error *err);

static enum peri_code name_failure(enum peri_code code, struct peri_error *err)
{
    return peri_error_set(err, code, "a name of the arguments: %s", peri_code_text(code));
}

/* Goes into a member: its part of the name is taken off afterwards. index -1: "[]", when key is NULL. */
static enum peri_code walk_into(struct walk *walk, const char *key, long index, const json_t *value, unsigned level,
                                struct peri_error *err)
{
    size_t len = walk->name.len;
    enum peri_code code;
    if (key)
        code = level == 1 ? peri_buf_append_text(&walk->name, key) : peri_buf_printf(&walk->name, "[%s]", key);
    else
        code = index < 0 ? peri_buf_append_text(&walk->name, "[]") : peri_buf_printf(&walk->name, "[%ld]", index);
    code = code == PERI_OK ? walk_value(walk, value, level, err) : name_failure(code, err);
    peri_buf_truncate(&walk->name, len);
    return code;
}

static bool is_container(const json_t *value)
{
    return json_is_object(value) || json_is_array(value);
}

static enum peri_code walk_list(struct walk *walk, const json_t *list, unsigned level, struct peri_error *err)
{
    bool nested = false;
    enum peri_code code = PERI_OK;
    for (size_t i = 0; i < json_array_size(list); i++)
        nested = nested || is_container(json_array_get(list, i));
    for (size_t i = 0; i < json_array_size(list) && code == PERI_OK; i++)
        code = walk_into(walk, NULL, nested ? (long)i : -1, json_array_get(list, i), level + 1, err);
    return code;
}

static enum peri_code walk_object(struct walk *walk, const json_t *object, unsigned level, struct peri_error *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    enum peri_code code = PERI_OK;
    json_object_foreach((json_t *)object, key, value)
    {
        if (code == PERI_OK)
            code = walk_into(walk, key, 0, value, level + 1, err);
    }
    return code;
}

static enum peri_code put_scalar(struct walk *walk, const json_t *value, struct peri_error *err)
{
    struct peri_buf text;
    enum peri_code code = PERI_OK;
    struct peri_str plain = { json_string_value(value), json_string_length(value) };
    if (json_is_string(value))
        return walk->put(walk->data, walk->name.data, plain, err);
    peri_buf_init(&text, 64);
    if (json_is_boolean(value))
        code = peri_buf_append_text(&text, json_is_true(value) ? "true" : "false");
    else
        code = peri_json_write(value, &text, err);
    if (code == PERI_OK)
        code = walk->put(walk->data, walk->name.data, peri_buf_str(&text), err);
    peri_buf_fini(&text);
    return code;
}

static enum peri_code walk_value(struct walk *walk, const json_t *value, unsigned level, struct peri_error *err)
{
    const char *what = NULL;
    if (json_is_null(value))
        what = "null";
    else if (is_container(value) && level >= walk->levels)
        what = "so many levels";
    else if ((json_is_object(value) && json_object_size(value) == 0) ||
             (json_is_array(value) && json_array_size(value) == 0))
        what = "an empty table";
    if (what)
        return peri_error_set(err, PERI_INVALID,
                              "argument '%.100s': the simplified form can't carry %s; use form = \"normal\"",
                              walk->name.data, what);
    if (json_is_object(value))
        return walk_object(walk, value, level, err);
    return json_is_array(value) ? walk_list(walk, value, level, err) : put_scalar(walk, value, err);
}

enum peri_code peri_dataflux__flatten(const json_t *object, unsigned levels, peri_dataflux__put_fn put, void *data,
                                      struct peri_error *err)
{
    struct walk walk = { .put = put, .data = data, .levels = levels };
    peri_buf_init(&walk.name, NAME_MAX_BYTES);
    enum peri_code code = walk_object(&walk, object, 0, err);
    peri_buf_fini(&walk.name);
    return code;
}
