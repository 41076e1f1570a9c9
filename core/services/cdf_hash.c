/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "perilune/hash.h"
#include "perilune/json.h"
#include "services/cdf_private.h"

/* What tells whether a function is as it would be created again: a hash of its package and of the options that it is made
 * from. It is kept where others can read it, so nothing secret goes into it. */

#define MAX_DEPTH 32

/* Options that say where the package comes from, or how it is checked. */
static bool is_of_package(const char *option)
{
    static const char *const names[] = {
        "folder", "source", "file_id", "exclude", "function_path", "skip_folder_validation", "data_set_id", "timeout",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], option) == 0)
            return true;
    return false;
}

static bool holds_credentials(const json_t *urls)
{
    const char *text = json_string_value(urls);
    bool found = text && strchr(text, '@');
    for (size_t i = 0; i < json_array_size(urls) && !found; i++)
        found = holds_credentials(json_array_get(urls, i)); /* a list of strings: no deeper */
    return found;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of an object in order, owned (free); NULL: no memory. */
static const char **sorted_names(const json_t *object)
{
    const char **names = malloc((json_object_size(object) + 1) * sizeof *names);
    size_t count = 0;
    const char *name = NULL;
    json_t *value = NULL;
    if (!names)
        return NULL;
    json_object_foreach((json_t *)object, name, value) names[count++] = name;
    qsort(names, count, sizeof *names, by_name);
    return names;
}

static enum peri_code write_sorted(const json_t *value, struct peri_buf *out, unsigned depth);

static enum peri_code write_pair(const char *name, const json_t *value, struct peri_buf *out, unsigned depth)
{
    enum peri_code code = peri_json_write_string(out, peri_str_from(name));
    if (code == PERI_OK)
        code = peri_buf_append_byte(out, ':');
    return code == PERI_OK ? write_sorted(value, out, depth) : code;
}

/* As JSON, with the names of objects in order. Depth is bounded. */
static enum peri_code write_sorted(const json_t *value, struct peri_buf *out,
                                   unsigned depth) /* NOLINT(misc-no-recursion) */
{
    if (depth > MAX_DEPTH)
        return PERI_TOO_LARGE;
    if (!json_is_object(value) && !json_is_array(value))
        return peri_json_write(value, out, NULL);
    size_t count = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    const char **names = json_is_object(value) ? sorted_names(value) : NULL;
    enum peri_code code = json_is_object(value) && !names ? PERI_NOMEM : PERI_OK;
    for (size_t i = 0; i < count && code == PERI_OK; i++) {
        code = names ? write_pair(names[i], json_object_get(value, names[i]), out, depth + 1)
                     : write_sorted(json_array_get(value, i), out, depth + 1);
        if (code == PERI_OK)
            code = peri_buf_append_byte(out, ',');
    }
    free(names);
    return code == PERI_OK ? peri_buf_append_byte(out, json_is_object(value) ? '}' : ']') : code;
}

/* Of secrets only the names. */
static enum peri_code write_names(const json_t *object, struct peri_buf *out)
{
    const char **names = sorted_names(object);
    enum peri_code code = names ? PERI_OK : PERI_NOMEM;
    for (size_t i = 0; i < json_object_size(object) && code == PERI_OK; i++)
        code = peri_json_write_string(out, peri_str_from(names[i]));
    free(names);
    return code;
}

static enum peri_code write_options(const json_t *args, struct peri_buf *out, bool *hidden)
{
    const char **names = sorted_names(args);
    enum peri_code code = names ? PERI_OK : PERI_NOMEM;
    for (size_t i = 0; i < json_object_size(args) && code == PERI_OK; i++) {
        const json_t *value = json_object_get(args, names[i]);
        bool urls = strcmp(names[i], "index_url") == 0 || strcmp(names[i], "extra_index_urls") == 0;
        if (is_of_package(names[i]) || json_is_null(value))
            continue;
        if (urls && holds_credentials(value)) {
            *hidden = true;
        } else if (strcmp(names[i], "secrets") == 0) {
            *hidden = *hidden || json_object_size(value) > 0;
            code = write_names(value, out);
        } else {
            code = write_pair(names[i], value, out, 0);
        }
    }
    free(names);
    return code;
}

enum peri_code peri_cdf__content_hash(const json_t *args, const char *function_path, struct peri_str package,
                                      struct peri_buf *hex, bool *hidden, struct peri_error *err)
{
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf text;
    struct peri_hash *hash = NULL;
    *hidden = false;
    peri_buf_init(&text, SIZE_MAX / 2);
    enum peri_code code = write_options(args, &text, hidden);
    if (code == PERI_OK && function_path)
        code = peri_json_write_string(&text, peri_str_from(function_path));
    if (code == PERI_OK && !(hash = peri_hash_new(PERI_SHA256, NULL)))
        code = PERI_NOMEM;
    if (code == PERI_OK) {
        peri_hash_update(hash, text.data ? text.data : "", text.len);
        peri_hash_update(hash, "", 1);
        peri_hash_update(hash, package.data ? package.data : "", package.len);
        peri_hash_final(hash, digest);
        code = peri_hex_append(hex, digest, peri_hash_size(PERI_SHA256));
    }
    peri_hash_free(hash);
    peri_buf_fini(&text);
    return code == PERI_OK ? PERI_OK : peri_error_set(err, code, "the content's hash: %s", peri_code_text(code));
}
