/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/api/cdf_private.h"

static bool take_text(struct peri_http_req *req, const json_t *item, const char *key, size_t max, char **out)
{
    const char *text = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_json_get_string(item, key, false, &text, &err) != PERI_OK)
        return peri__cdf_refuse(req, "%s", err.message);
    if (text != NULL && strlen(text) > max * 4)
        return peri__cdf_refuse(req, "field '%s' is longer than %zu characters", key, max);
    *out = text == NULL ? NULL : strdup(text);
    return true;
}

/* An object of strings, kept as its JSON text. */
static bool take_strings(struct peri_http_req *req, const json_t *item, const char *key, size_t max, char **out)
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
    if (!take_text(req, item, "functionPath", 500, &path) || !take_text(req, item, "runtime", 32, &runtime))
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

static bool read_spec(struct peri__cdf *cdf, struct peri_http_req *req, const json_t *item, struct peri_function *spec)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_int_t file_id = 0;
    if (!take_text(req, item, "name", 140, &spec->name))
        return false;
    if (spec->name == NULL || spec->name[0] == '\0')
        return peri__cdf_refuse(req, "field 'name' must be a string of 1 to 140 characters");
    if (peri_json_get_integer(item, "fileId", true, &file_id, &err) != PERI_OK)
        return peri__cdf_refuse(req, "%s", err.message);
    spec->file_id = file_id > 0 ? (uint64_t)file_id : 0;
    if (!take_text(req, item, "externalId", 255, &spec->external_id) ||
        !take_text(req, item, "description", 500, &spec->description) ||
        !take_text(req, item, "owner", 128, &spec->owner) || !take_entry(req, item, spec) ||
        !take_strings(req, item, "metadata", 16, &spec->metadata) ||
        !take_strings(req, item, "envVars", 100, &spec->env) || !take_secrets(cdf, req, item, spec) ||
        !take_number(req, item, "cpu", 1024, &spec->cpu) || !take_number(req, item, "memory", 1024, &spec->memory_gb))
        return false;
    if (spec->external_id != NULL && spec->external_id[0] == '\0')
        return peri__cdf_refuse(req, "field 'externalId' must not be empty");
    spec->memory_limit = (uint64_t)(spec->memory_gb * 1024 * 1024 * 1024);
    return true;
}

struct creation {
    struct peri__cdf_job job;
    char *external_id;
    char *package; /* a second name of the file's content, which the engine may take for itself */
};

static void creation_free(struct creation *creation)
{
    if (creation->package != NULL)
        unlink(creation->package);
    free(creation->package);
    free(creation->external_id);
    free(creation);
}

static void on_gone(void *data)
{
    ((struct peri__cdf_job *)data)->req = NULL;
}

static void reply_duplicated(struct peri__cdf *cdf, struct peri_http_req *req, const char *external_id)
{
    struct peri_error err;
    json_t *list = json_pack("[{ss}]", "externalId", external_id);
    peri_error_set(&err, PERI_CONFLICT, "Function with externalId %s already exists", external_id);
    peri__cdf_error(cdf, req, 409, err.message, "duplicated", list);
    json_decref(list);
}

static void on_created(void *data, struct peri_function *function, const struct peri_error *err)
{
    struct creation *creation = data;
    struct peri__cdf *cdf = creation->job.cdf;
    struct peri_http_req *req = creation->job.req;
    struct peri_buf out;
    struct peri_json_writer w;
    if (req != NULL && function != NULL) {
        peri__cdf_open_items(&w, &out);
        peri__cdf_function(&w, function);
        peri_jw_close(&w, ']');
        peri_jw_close(&w, '}');
        peri__cdf_send(cdf, req, 201, &w);
    } else if (req != NULL && err->code == PERI_CONFLICT && creation->external_id != NULL) {
        reply_duplicated(cdf, req, creation->external_id);
    } else if (req != NULL) {
        peri_http_reply_error(req, err->code == PERI_PACKAGE ? 400 : 0, err);
    }
    creation_free(creation);
}

/* A deployment takes its package away, but a file can be used more than once. */
static char *second_name(struct peri__cdf *cdf, const struct peri_file *file)
{
    static unsigned count;
    char *path = peri_engine_file_path(cdf->engine, file), *name = NULL;
    if (path == NULL || asprintf(&name, "%s/tmp/deploy-%u", peri_engine_settings(cdf->engine)->data_dir, ++count) < 0)
        name = NULL;
    if (name != NULL && link(path, name) != 0) {
        free(name);
        name = NULL;
    }
    free(path);
    return name;
}

/* false: answered. */
static bool find_content(struct peri__cdf *cdf, struct peri_http_req *req, uint64_t file_id, struct peri_file *file)
{
    struct peri_error err = PERI_ERROR_INIT;
    const struct peri_str none = { NULL, 0 };
    if (file_id == 0 || peri_engine_file(cdf->engine, file_id, none, file, &err) != PERI_OK)
        return peri__cdf_refuse(req, "there is no file with id %llu", (unsigned long long)file_id);
    return file->uploaded || peri__cdf_refuse(req, "file %llu has no content yet", (unsigned long long)file_id);
}

static void deploy(struct peri__cdf *cdf, struct peri_http_req *req, const struct peri_function *spec,
                   const struct peri_file *file)
{
    struct creation *creation = calloc(1, sizeof *creation);
    struct peri_error err;
    if (creation == NULL) {
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        peri_http_reply_error(req, 0, &err);
        return;
    }
    creation->job = (struct peri__cdf_job){ .cdf = cdf, .req = req };
    creation->external_id = spec->external_id == NULL ? NULL : strdup(spec->external_id);
    creation->package = second_name(cdf, file);
    if (creation->package == NULL) {
        peri_error_set(&err, PERI_IO, "can't reach the content of file %" PRIu64, file->id);
        peri_http_reply_error(req, 0, &err);
        creation_free(creation);
        return;
    }
    peri_http_on_close(req, on_gone, &creation->job);
    struct peri_deploy order = { .spec = spec, .package_path = creation->package, .package_hash = file->hash };
    peri_engine_deploy(cdf->engine, &order, on_created, creation);
}

void peri__cdf_create(void *data, struct peri_http_req *req)
{
    struct peri__cdf *cdf = data;
    struct peri_file file = { 0 };
    struct peri_function *spec = peri_function_new(), *known = NULL;
    json_t *body = spec == NULL ? NULL : peri__cdf_body(req);
    json_t *items = body == NULL ? NULL : peri__cdf_items(req, body, 1);
    if (items == NULL || !read_spec(cdf, req, json_array_get(items, 0), spec))
        goto out;
    if (spec->external_id != NULL)
        known = peri_engine_function_by_name(cdf->engine, peri_str_from(spec->external_id));
    if (known != NULL)
        reply_duplicated(cdf, req, spec->external_id);
    else if (find_content(cdf, req, spec->file_id, &file))
        deploy(cdf, req, spec, &file);
out:
    peri_file_fini(&file);
    peri_function_unref(known);
    peri_function_unref(spec);
    json_decref(body);
}
