/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "perilune/uri.h"
#include "services/cim_private.h"

/* The platform's PresignedWriteUrls: checked when they come, sent back with each step that follows. */

enum kind { TEXT, TEXTS, TEXT_MAP, WHOLE };

static const struct key {
    const char *name;
    enum kind kind;
    bool required;
} keys[] = {
    { "blob_id", TEXT, true },      { "urls", TEXTS, true },         { "chunksize", WHOLE, true },
    { "upload_id", TEXT, false },   { "etags", TEXTS, false },       { "block_ids", TEXTS, false },
    { "headers", TEXT_MAP, false }, { "metadata", TEXT_MAP, false }, { "signature", TEXT, false },
};

static const char *const kind_names[] = {
    [TEXT] = "a string",
    [TEXTS] = "a list of strings",
    [TEXT_MAP] = "an object of strings",
    [WHOLE] = "a whole number",
};

static bool all_texts(const json_t *list)
{
    size_t i = 0;
    const json_t *item = NULL;
    json_array_foreach((json_t *)list, i, item)
    {
        if (!json_is_string(item))
            return false;
    }
    return true;
}

static bool all_text_members(const json_t *object)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)object, name, value)
    {
        if (!json_is_string(value))
            return false;
    }
    return true;
}

static bool is_whole(const json_t *value)
{
    double real = json_real_value(value); /* 0 of anything else */
    return json_is_integer(value) ||
           (json_is_real(value) && real > -1e15 && real < 1e15 && real == (double)(int64_t)real);
}

static bool has_kind(const json_t *value, enum kind kind)
{
    switch (kind) {
    case TEXT:
        return json_is_string(value);
    case TEXTS:
        return json_is_array(value) && all_texts(value);
    case TEXT_MAP:
        return json_is_object(value) && all_text_members(value);
    case WHOLE:
        return is_whole(value);
    }
    return false;
}

static enum peri_code check_keys(const json_t *answer, struct peri_error *err)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(answer, keys[i].name);
        if (!value || json_is_null(value)) {
            if (keys[i].required)
                return peri_error_set(err, PERI_PROTOCOL, "the answer with the presigned URLs has no '%s'",
                                      keys[i].name);
        } else if (!has_kind(value, keys[i].kind)) {
            return peri_error_set(err, PERI_PROTOCOL, "the answer with the presigned URLs: '%s' is not %s",
                                  keys[i].name, kind_names[keys[i].kind]);
        }
    }
    return PERI_OK;
}

/* Relative ones would become requests to the access service itself. The URL is a secret: it is not repeated. */
static enum peri_code check_urls(const json_t *urls, struct peri_error *err)
{
    for (size_t i = 0; i < json_array_size(urls); i++) {
        struct peri_uri uri;
        const json_t *url = json_array_get(urls, i);
        struct peri_str text = { json_string_value(url), json_string_length(url) };
        if (peri_uri_parse(text, &uri, err) != PERI_OK) {
            if (err) {
                err->code = PERI_PROTOCOL;
                peri_error_prefix(err, "presigned URL %zu of %zu", i + 1, json_array_size(urls));
            }
            return PERI_PROTOCOL;
        }
    }
    return PERI_OK;
}

static enum peri_code check_sizes(const struct peri_cim__presigned *presigned, int64_t size, struct peri_error *err)
{
    if (size == 0 && presigned->count <= 1)
        return PERI_OK;
    if (presigned->chunksize < 1)
        return peri_error_set(err, PERI_PROTOCOL, "the answer with the presigned URLs: chunks of %lld bytes",
                              (long long)presigned->chunksize);
    uint64_t needed = (uint64_t)size / (uint64_t)presigned->chunksize + (size % presigned->chunksize != 0);
    if (size == 0)
        needed = 1;
    if (needed != presigned->count)
        return peri_error_set(
            err, PERI_PROTOCOL, "%zu presigned URLs for chunks of %lld bytes, where a file of %lld bytes needs %llu",
            presigned->count, (long long)presigned->chunksize, (long long)size, (unsigned long long)needed);
    return PERI_OK;
}

static enum peri_code read_headers(struct peri_cim__presigned *presigned, const json_t *headers, struct peri_error *err)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)headers, name, value)
    {
        struct peri_str text = { json_string_value(value), json_string_length(value) };
        enum peri_code code = peri_headers_add(&presigned->headers, peri_str_from(name), text);
        if (code == PERI_NOMEM)
            return peri_error_set(err, code, "out of memory");
        if (code != PERI_OK)
            return peri_error_set(err, PERI_PROTOCOL,
                                  "the answer with the presigned URLs: header '%.60s' can't be sent", name);
    }
    return PERI_OK;
}

static json_t *make_echo(const json_t *answer)
{
    json_t *echo = json_object();
    for (size_t i = 0; echo && i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(answer, keys[i].name);
        json_t *mine = !value                ? json_null()
                       : json_is_real(value) ? json_integer((json_int_t)json_real_value(value))
                                             : json_incref(value);
        if (!mine || json_object_set_new(echo, keys[i].name, mine) != 0) {
            json_decref(echo);
            echo = NULL;
        }
    }
    return echo;
}

void peri_cim__presigned_init(struct peri_cim__presigned *presigned)
{
    memset(presigned, 0, sizeof *presigned);
    peri_headers_init(&presigned->headers);
}

void peri_cim__presigned_fini(struct peri_cim__presigned *presigned)
{
    json_decref(presigned->echo);
    presigned->echo = NULL;
    peri_headers_fini(&presigned->headers);
}

enum peri_code peri_cim__presigned_read(struct peri_cim__presigned *presigned, const json_t *answer, int64_t size,
                                        struct peri_error *err)
{
    if (!json_is_object(answer))
        return peri_error_set(err, PERI_PROTOCOL, "the answer with the presigned URLs is no JSON object");
    presigned->echo = make_echo(answer);
    if (!presigned->echo)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    const json_t *urls = json_object_get(answer, "urls");
    enum peri_code code = check_keys(answer, err);
    if (code == PERI_OK)
        code = check_urls(urls, err);
    if (code != PERI_OK)
        return code;
    presigned->count = json_array_size(urls);
    presigned->chunksize = json_integer_value(json_object_get(presigned->echo, "chunksize"));
    code = check_sizes(presigned, size, err);
    return code == PERI_OK ? read_headers(presigned, json_object_get(answer, "headers"), err) : code;
}

json_t *peri_cim__presigned_echo(const struct peri_cim__presigned *presigned, const json_t *etags)
{
    json_t *echo = make_echo(presigned->echo);
    if (echo && etags && json_object_set(echo, "etags", (json_t *)etags) != 0) {
        json_decref(echo);
        return NULL;
    }
    return echo;
}

const char *peri_cim__presigned_url(const struct peri_cim__presigned *presigned, size_t i)
{
    return json_string_value(json_array_get(json_object_get(presigned->echo, "urls"), i));
}
