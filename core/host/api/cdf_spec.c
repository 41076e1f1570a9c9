/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/api/cdf_private.h"

/* What a client says of a new function. */

/* Limits of the platform: sheet functions-api.md, section 14. Lengths count characters. */

static bool good_metadata(struct peri_http_req *req, const char *name, const char *value)
{
    return (peri__cdf_characters(name) <= 32 && peri__cdf_characters(value) <= 512) ||
           peri__cdf_refuse(req, "field 'metadata': '%.80s' or its value is too long (32 and 512 characters)", name);
}

static bool good_variable(struct peri_http_req *req, const char *name, const char *value)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    (void)value;
    return (name[0] != '\0' && name[strspn(name, letters)] == '\0') ||
           peri__cdf_refuse(req, "field 'envVars': the name '%.80s' must have letters, digits and _ only", name);
}

/* An object of strings, kept as its JSON text. */
static bool take_strings(struct peri_http_req *req, const json_t *item, const char *key, size_t max,
                         bool (*good)(struct peri_http_req *req, const char *name, const char *value), char **out)
{
    json_t *object = json_object_get(item, key);
    const char *name;
    json_t *value;
    if (object == NULL || json_is_null(object))
        return true;
    if (!json_is_object(object) || json_object_size(object) > max)
        return peri__cdf_refuse(req, "field '%s' must be an object of at most %zu strings", key, max);
    json_object_foreach(object, name, value)
    {
        if (!json_is_string(value))
            return peri__cdf_refuse(req, "field '%s': the value of '%.80s' must be a string", key, name);
        if (!good(req, name, json_string_value(value)))
            return false;
    }
    struct peri_buf text;
    peri_buf_init(&text, 4 * 1024 * 1024);
    if (peri_json_write(object, &text, NULL) == PERI_OK)
        *out = peri_buf_take(&text, NULL);
    peri_buf_fini(&text);
    return true;
}

static bool take_number(struct peri_http_req *req, const json_t *item, const char *key, double max, double *out)
{
    const json_t *value = json_object_get(item, key);
    if (value == NULL || json_is_null(value))
        return true;
    if (!json_is_number(value) || !(json_number_value(value) > 0) || json_number_value(value) > max)
        return peri__cdf_refuse(req, "field '%s' must be a number above 0 and at most %g", key, max);
    *out = json_number_value(value);
    return true;
}

/* Scripts written for the platform name a Python file: its Lua namesake is what runs here. The path as it was given is
 * kept behind the runtime, the one field that nobody but this door reads, and shown again. */
static bool take_entry(struct peri_http_req *req, const json_t *item, struct peri_function *spec)
{
    char *path = NULL, *runtime = NULL;
    if (!peri__cdf_take_text(req, item, "functionPath", 500, &path) ||
        !peri__cdf_take_text(req, item, "runtime", 32, &runtime))
        goto refused;
    if (runtime != NULL && strpbrk(runtime, " \t\r\n") != NULL) {
        peri__cdf_refuse(req, "field 'runtime' must hold no blanks");
        goto refused;
    }
    size_t len = path == NULL ? 0 : strlen(path);
    bool python = len > 3 && strcmp(path + len - 3, ".py") == 0;
    if (!python) {
        spec->entry = path == NULL ? strdup("handler.lua") : path;
        spec->runtime = runtime;
        return spec->entry != NULL || peri__cdf_refuse(req, "out of memory");
    }
    if (asprintf(&spec->entry, "%.*s.lua", (int)len - 3, path) < 0)
        spec->entry = NULL;
    if (asprintf(&spec->runtime, "%s %s", runtime == NULL ? "" : runtime, path) < 0)
        spec->runtime = NULL;
    free(path);
    free(runtime);
    return (spec->entry != NULL && spec->runtime != NULL) || peri__cdf_refuse(req, "out of memory");
refused:
    free(path);
    free(runtime);
    return false;
}

#define SECRETS_MAX 30 /* the platform's limits: sheet functions-api.md, section 14 */
#define SECRET_SIZE 25000
#define SECRET_NAME_MAX 64 /* 15 there, but its own examples have longer ones, and with other letters */

static bool good_secret(struct peri_http_req *req, const char *name, const json_t *value)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    static const char *const reserved[] = { "token", "indexUrl", "extraIndexUrls" };
    size_t len = strlen(name);
    if (len == 0 || len > SECRET_NAME_MAX || name[strspn(name, letters)] != '\0')
        return peri__cdf_refuse(req, "field 'secrets': the name '%.80s' must have 1 to %d letters, digits, - and _",
                                name, SECRET_NAME_MAX);
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcmp(name, reserved[i]) == 0)
            return peri__cdf_refuse(req, "field 'secrets': the name '%s' is reserved", name);
    }
    if (!json_is_string(value))
        return peri__cdf_refuse(req, "field 'secrets': the value of '%s' must be a string", name);
    if (len + json_string_length(value) > SECRET_SIZE)
        return peri__cdf_refuse(req, "field 'secrets': '%s' with its value is over %d bytes", name, SECRET_SIZE);
    return true;
}

static bool take_secrets(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *item,
                         struct peri_function *spec)
{
    json_t *secrets = json_object_get(item, "secrets");
    const char *name;
    json_t *value;
    struct peri_error err = PERI_ERROR_INIT;
    if (secrets == NULL || json_is_null(secrets) || (json_is_object(secrets) && json_object_size(secrets) == 0))
        return true;
    if (!json_is_object(secrets) || json_object_size(secrets) > SECRETS_MAX)
        return peri__cdf_refuse(req, "field 'secrets' must be an object of at most %d strings", SECRETS_MAX);
    json_object_foreach(secrets, name, value)
    {
        if (!good_secret(req, name, value))
            return false;
    }
    if (peri_engine_seal(cdf->engine, secrets, &spec->secrets, &spec->secret_names, &err) != PERI_OK)
        return peri__cdf_refuse(req, "the secrets can't be kept: %s", err.message);
    return true;
}

bool peri__cdf_read_spec(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *item,
                         struct peri_function *spec)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_int_t file_id = 0;
    if (!peri__cdf_take_text(req, item, "name", 140, &spec->name))
        return false;
    if (spec->name == NULL || spec->name[0] == '\0')
        return peri__cdf_refuse(req, "field 'name' must be a string of 1 to 140 characters");
    if (peri_json_get_integer(item, "fileId", true, &file_id, &err) != PERI_OK)
        return peri__cdf_refuse(req, "%s", err.message);
    spec->file_id = file_id > 0 ? (uint64_t)file_id : 0;
    if (!peri__cdf_take_text(req, item, "externalId", 255, &spec->external_id) ||
        !peri__cdf_take_text(req, item, "description", 500, &spec->description) ||
        !peri__cdf_take_text(req, item, "owner", 128, &spec->owner) || !take_entry(req, item, spec) ||
        !take_strings(req, item, "metadata", 16, good_metadata, &spec->metadata) ||
        !take_strings(req, item, "envVars", 100, good_variable, &spec->env) || !take_secrets(cdf, req, item, spec) ||
        !take_number(req, item, "cpu", 1024, &spec->cpu) || !take_number(req, item, "memory", 1024, &spec->memory_gb))
        return false;
    if (spec->external_id != NULL && spec->external_id[0] == '\0')
        return peri__cdf_refuse(req, "field 'externalId' must not be empty");
    spec->memory_limit = (uint64_t)(spec->memory_gb * 1024 * 1024 * 1024);
    return true;
}
