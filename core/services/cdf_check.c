/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "services/cdf_private.h"

/* The limits that the service documents for functions and schedules: said here, by name, before anything is sent. */

struct text_limit {
    const char *option;
    size_t min, max; /* characters */
};
static const struct text_limit function_texts[] = {
    { "name", 1, 140 },        { "external_id", 1, 255 },   { "owner", 0, 128 },
    { "description", 0, 500 }, { "function_path", 1, 500 },
};
static const struct text_limit schedule_texts[] = {
    { "name", 1, 140 },
    { "description", 0, 500 },
    { "cron_expression", 1, 1024 },
};

/* An option that holds strings under names. */
struct map_limit {
    const char *option;
    size_t max_pairs;
    size_t max_key, max_value; /* characters; 0: see max_pair */
    size_t max_pair;           /* bytes of a name and its value; 0: no limit */
    size_t max_bytes;          /* of all; 0: no limit */
    const char *key_extra;     /* characters in a name besides letters and digits; NULL: any */
    const char *key_words;     /* what is said of them */
};
static const struct map_limit function_maps[] = {
    { "metadata", 16, 32, 512, 0, 4096, NULL, NULL },
    { "secrets", 30, 15, 0, 25 * 1000, 0, "-_", "letters, digits, '-' and '_'" },
    { "env_vars", 100, 0, 0, 0, 0, "_", "letters, digits and '_'" },
};

static size_t characters(const char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

static enum peri_code check_texts(const struct text_limit *limits, size_t count, const json_t *args,
                                  struct peri_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(args, limits[i].option);
        if (!json_is_string(value))
            continue;
        size_t length = characters(json_string_value(value), json_string_length(value));
        if (length < limits[i].min)
            return peri_error_set(err, PERI_INVALID, "option '%s' must not be empty", limits[i].option);
        if (length > limits[i].max)
            return peri_error_set(err, PERI_INVALID, "option '%s' must have at most %zu characters, not %zu",
                                  limits[i].option, limits[i].max, length);
    }
    return PERI_OK;
}

static bool has_only(const char *key, const char *extra)
{
    for (const char *p = key; *p; p++) {
        bool alphanumeric = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (!alphanumeric && !strchr(extra, *p))
            return false;
    }
    return key[0] != '\0';
}

/* What may be wrong with a pair, never with the value shown: it may be a secret. */
static enum peri_code check_pair(const struct map_limit *limit, const char *key, const json_t *value,
                                 struct peri_error *err)
{
    size_t key_length = characters(key, strlen(key));
    if (!json_is_string(value))
        return peri_error_set(err, PERI_INVALID, "option '%s': the value of '%.80s' must be a string", limit->option,
                              key);
    size_t value_length = characters(json_string_value(value), json_string_length(value));
    if (limit->key_extra && !has_only(key, limit->key_extra))
        return peri_error_set(err, PERI_INVALID, "option '%s': the name '%.80s' may only have %s", limit->option, key,
                              limit->key_words);
    if (limit->max_key && key_length > limit->max_key)
        return peri_error_set(err, PERI_INVALID, "option '%s': the name '%.80s' must have at most %zu characters",
                              limit->option, key, limit->max_key);
    if (limit->max_value && value_length > limit->max_value)
        return peri_error_set(err, PERI_INVALID,
                              "option '%s': the value of '%.80s' must have at most %zu characters, not %zu",
                              limit->option, key, limit->max_value, value_length);
    if (limit->max_pair && strlen(key) + json_string_length(value) > limit->max_pair)
        return peri_error_set(err, PERI_INVALID, "option '%s': '%.80s' with its value is larger than %zu bytes",
                              limit->option, key, limit->max_pair);
    return PERI_OK;
}

static enum peri_code check_map(const struct map_limit *limit, const json_t *map, struct peri_error *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    size_t bytes = 0;
    if (json_object_size(map) > limit->max_pairs)
        return peri_error_set(err, PERI_INVALID, "option '%s' must hold at most %zu pairs, not %zu", limit->option,
                              limit->max_pairs, json_object_size(map));
    json_object_foreach((json_t *)map, key, value)
    {
        if (check_pair(limit, key, value, err) != PERI_OK)
            return PERI_INVALID;
        bytes += strlen(key) + json_string_length(value);
    }
    if (limit->max_bytes && bytes > limit->max_bytes)
        return peri_error_set(err, PERI_INVALID, "option '%s' must hold at most %zu bytes, not %zu", limit->option,
                              limit->max_bytes, bytes);
    return PERI_OK;
}

/* Names that the service keeps for itself. */
static enum peri_code check_secret_names(const json_t *secrets, struct peri_error *err)
{
    static const char *const reserved[] = { "token", "indexUrl", "extraIndexUrls" };
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (json_object_get(secrets, reserved[i]))
            return peri_error_set(err, PERI_INVALID, "option 'secrets': the name '%s' is the service's own",
                                  reserved[i]);
    return PERI_OK;
}

static enum peri_code check_path(const char *path, struct peri_error *err)
{
    size_t len = strlen(path);
    bool python = len > 3 && strcmp(path + len - 3, ".py") == 0;
    bool lua = len > 4 && strcmp(path + len - 4, ".lua") == 0;
    if (path[0] == '/' || strchr(path, '\\'))
        return peri_error_set(
            err, PERI_INVALID,
            "option 'function_path' must be relative to the package, with '/' between folders: %.200s", path);
    for (const char *step = path; step; step = strchr(step, '/') ? strchr(step, '/') + 1 : NULL)
        if (strncmp(step, "..", 2) == 0 && (step[2] == '/' || step[2] == '\0'))
            return peri_error_set(err, PERI_INVALID, "option 'function_path' must not leave the package: %.200s", path);
    if (!python && !lua)
        return peri_error_set(err, PERI_INVALID, "option 'function_path' must end in .lua or .py: %.200s", path);
    return PERI_OK;
}

static enum peri_code check_strings(const json_t *list, const char *option, struct peri_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return peri_error_set(err, PERI_INVALID, "option '%s' must hold strings", option);
    return PERI_OK;
}

static enum peri_code check_positive(const json_t *args, const char *option, struct peri_error *err)
{
    const json_t *value = json_object_get(args, option);
    if (!json_is_number(value) || json_number_value(value) > 0)
        return PERI_OK;
    return peri_error_set(err, PERI_INVALID, "option '%s' must be above 0", option);
}

enum peri_code peri_cdf__check_function(const json_t *args, struct peri_error *err)
{
    const char *path = json_string_value(json_object_get(args, "function_path"));
    enum peri_code code = check_texts(function_texts, sizeof function_texts / sizeof *function_texts, args, err);
    for (size_t i = 0; i < sizeof function_maps / sizeof *function_maps && code == PERI_OK; i++)
        code = check_map(&function_maps[i], json_object_get(args, function_maps[i].option), err);
    if (code == PERI_OK)
        code = check_secret_names(json_object_get(args, "secrets"), err);
    if (code == PERI_OK)
        code = check_strings(json_object_get(args, "extra_index_urls"), "extra_index_urls", err);
    if (code == PERI_OK)
        code = check_strings(json_object_get(args, "exclude"), "exclude", err);
    if (code == PERI_OK)
        code = check_positive(args, "cpu", err);
    if (code == PERI_OK)
        code = check_positive(args, "memory", err);
    if (code == PERI_OK && path && !json_is_true(json_object_get(args, "skip_folder_validation")))
        code = check_path(path, err);
    return code;
}

enum peri_code peri_cdf__check_schedule(const json_t *args, struct peri_error *err)
{
    const char *cron = json_string_value(json_object_get(args, "cron_expression"));
    enum peri_code code = check_texts(schedule_texts, sizeof schedule_texts / sizeof *schedule_texts, args, err);
    unsigned fields = 0;
    for (const char *p = cron; p && *p; p += strcspn(p, " \t")) {
        p += strspn(p, " \t");
        fields += *p != '\0';
    }
    if (code == PERI_OK && fields != 5 && cron && cron[0] != '@')
        code = peri_error_set(err, PERI_INVALID,
                              "option 'cron_expression' must have five fields (minute, hour, day, month, weekday), "
                              "not %u: %.100s",
                              fields, cron);
    return code;
}
