/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"
#include "host/size.h"

/* What is asked: bodies, lists of identifiers, filters, limits. */

#define LIMIT_DEFAULT 100

bool peri__cdf_refuse(struct peri_http_req *req, const char *format, ...)
{
    struct peri_error err;
    va_list args;
    va_start(args, format);
    peri_error_setv(&err, PERI_BAD_REQUEST, format, args);
    va_end(args);
    peri_http_reply_error(req, 400, &err);
    return false;
}

json_t *peri__cdf_body(struct peri_http_req *req)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_t *body = peri_json_parse(peri_http_body(req), &err);
    if (json_is_object(body))
        return body;
    if (body == NULL)
        peri__cdf_refuse(req, "the body is not JSON: %s", err.message);
    else
        peri__cdf_refuse(req, "the body must be a JSON object");
    json_decref(body);
    return NULL;
}

json_t *peri__cdf_items(struct peri_http_req *req, const json_t *body, size_t max)
{
    json_t *items = json_object_get(body, "items");
    size_t index;
    json_t *item;
    if (!json_is_array(items) || json_array_size(items) < 1 || json_array_size(items) > max) {
        peri__cdf_refuse(req, "field 'items' must be an array of 1 to %zu", max);
        return NULL;
    }
    json_array_foreach(items, index, item)
    {
        if (json_is_object(item))
            continue;
        peri__cdf_refuse(req, "items[%zu] must be an object", index);
        return NULL;
    }
    return items;
}

/* What makes two identifiers the same. */
static bool add_identifier(json_t *seen, const json_t *item, bool *again)
{
    const json_t *external = json_object_get(item, "externalId");
    const json_t *key = external == NULL ? json_object_get(item, "id") : external;
    char *text = json_dumps(key, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text == NULL)
        return key == NULL; /* it is refused where it is looked at */
    *again = json_object_get(seen, text) != NULL;
    bool ok = json_object_set_new(seen, text, json_true()) == 0;
    free(text);
    return ok;
}

json_t *peri__cdf_ids(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *body, size_t max)
{
    json_t *items = peri__cdf_items(req, body, max);
    json_t *seen = json_object(), *duplicated = json_array();
    bool ok = seen != NULL && duplicated != NULL;
    size_t index;
    json_t *item;
    json_array_foreach(items, index, item)
    {
        bool again = false;
        ok = ok && add_identifier(seen, item, &again);
        if (ok && again)
            json_array_append(duplicated, item);
    }
    if (items != NULL && !ok) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        items = NULL;
    } else if (json_array_size(duplicated) > 0) {
        peri__cdf_error(cdf, req, 400, "Some items are given more than once", "duplicated", duplicated);
        items = NULL;
    }
    json_decref(seen);
    json_decref(duplicated);
    return items;
}

bool peri__cdf_filter(struct peri_http_req *req, const json_t *body, const json_t **out)
{
    const json_t *filter = json_object_get(body, "filter");
    *out = json_is_object(filter) ? filter : NULL;
    return filter == NULL || json_is_null(filter) || *out != NULL ||
           peri__cdf_refuse(req, "field 'filter' must be an object");
}

bool peri__cdf_limit(struct peri_http_req *req, const json_t *body, size_t max, size_t *out)
{
    json_int_t limit = LIMIT_DEFAULT;
    if (peri_json_get_integer(body, "limit", false, &limit, NULL) != PERI_OK || limit < 1)
        return peri__cdf_refuse(req, "field 'limit' must be an integer from 1");
    *out = (uint64_t)limit > max ? max : (size_t)limit;
    return true;
}

bool peri__cdf_query_limit(struct peri_http_req *req, size_t max, size_t *out)
{
    const char *text = peri_http_query(req, "limit");
    uint64_t limit = LIMIT_DEFAULT;
    if (text != NULL && (!peri_number_parse(text, INT64_MAX, &limit) || limit == 0))
        return peri__cdf_refuse(req, "limit must be an integer from 1");
    *out = limit > max ? max : (size_t)limit;
    return true;
}

enum peri_code peri__cdf_range(const json_t *filter, const char *key, int64_t *min, int64_t *max,
                               struct peri_error *err)
{
    json_int_t low = 0, high = 0;
    const json_t *range = json_object_get(filter, key);
    if (range == NULL || json_is_null(range))
        return PERI_OK;
    if (!json_is_object(range))
        return peri_error_set(err, PERI_BAD_REQUEST, "field '%s' must be an object with min and max", key);
    enum peri_code code = peri_json_get_integer(range, "min", false, &low, err);
    if (code == PERI_OK)
        code = peri_json_get_integer(range, "max", false, &high, err);
    *min = low;
    *max = high;
    return code;
}

size_t peri__cdf_characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xC0) != 0x80;
    return count;
}

bool peri__cdf_take_text(struct peri_http_req *req, const json_t *item, const char *key, size_t max, char **out)
{
    const char *text = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_json_get_string(item, key, false, &text, &err) != PERI_OK)
        return peri__cdf_refuse(req, "%s", err.message);
    if (text != NULL && peri__cdf_characters(text) > max)
        return peri__cdf_refuse(req, "field '%s' is longer than %zu characters", key, max);
    *out = text == NULL ? NULL : strdup(text);
    return true;
}

uint64_t peri__cdf_id(struct peri_http_req *req, const char *name)
{
    struct peri_str text = peri_http_param(req, name);
    char digits[24] = "";
    uint64_t id = 0;
    if (text.len > 0 && text.len < sizeof digits)
        memcpy(digits, text.data, text.len);
    if (!peri_number_parse(digits, (UINT64_C(1) << 53) - 1, &id) || id == 0) {
        peri__cdf_refuse(req, "'%.*s' in the path is not an id", text.len > 40 ? 40 : (int)text.len, text.data);
        return 0;
    }
    return id;
}

/* Past a string or a number, or a whole object or array. The text is known to be valid. */
static const char *skip_value(const char *at, const char *end)
{
    int depth = 0;
    bool string = false;
    for (; at < end; at++) {
        if (string) {
            if (*at == '\\') {
                at++;
                continue;
            }
            string = *at != '"';
            if (!string && depth == 0)
                return at + 1;
            continue;
        }
        if (depth == 0 && (*at == ',' || *at == '}' || *at == ']'))
            return at;
        string = *at == '"';
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        if (depth == 0 && (*at == '}' || *at == ']'))
            return at + 1;
    }
    return end;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

struct peri_str peri__cdf_raw_field(struct peri_str object, const char *key)
{
    const char *end = object.data + object.len;
    const char *at = skip_blanks(object.data, end);
    struct peri_str found = { "", 0 };
    size_t len = strlen(key);
    while (at < end && *at != '}') {
        const char *name = skip_blanks(at + 1, end); /* behind { or , */
        if (name == end || *name != '"')
            break;
        const char *colon = skip_value(name, end);
        bool same = (size_t)(colon - name) == len + 2 && memcmp(name + 1, key, len) == 0;
        const char *value = skip_blanks(skip_blanks(colon, end) + 1, end);
        at = skip_value(value, end);
        const char *last = at;
        while (last > value && strchr(" \t\r\n", last[-1]) != NULL)
            last--;
        if (same)
            found = (struct peri_str){ value, (size_t)(last - value) };
        at = skip_blanks(at, end);
    }
    return found;
}
