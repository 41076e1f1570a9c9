/* SPDX-License-Identifier: MIT */
#include "perilune/oauth.h"

#include <stdlib.h>
#include <string.h>

#include "perilune/bearer.h"
#include "perilune/hash.h"
#include "perilune/json.h"
#include "perilune/uri.h"

#define LIFETIME_UNSAID_S 300
#define LIFETIME_MAX_S (365 * 24 * 3600)

struct peri_oauth {
    char *token_url, *client_id, *client_secret, *scopes;
    char **extra; /* name, value, ..., NULL */
    char *token;
    int64_t renew_at_ms;
};

static void free_secret(char *text)
{
    if (text)
        peri_secure_zero(text, strlen(text));
    free(text);
}

/* Copies from; NULL stays NULL. */
static bool copy(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return *to || !from;
}

static bool copy_list(char ***to, const char *const *from)
{
    size_t count = 0;
    while (from && from[count])
        count++;
    *to = calloc(count + 1, sizeof **to);
    bool whole = *to != NULL;
    for (size_t i = 0; i < count && whole; i++)
        whole = copy(&(*to)[i], from[i]);
    return whole;
}

static enum peri_code check(const struct peri_oauth_options *options, struct peri_error *err)
{
    const char *const required[][2] = {
        { "token_url", options->token_url },
        { "client_id", options->client_id },
        { "client_secret", options->client_secret },
    };
    struct peri_uri url;
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        if (!required[i][1] || !required[i][1][0])
            return peri_error_set(err, PERI_INVALID, "credentials: '%s' is required", required[i][0]);
    enum peri_code code = peri_uri_parse(peri_str_from(options->token_url), &url, err);
    if (code != PERI_OK)
        peri_error_prefix(err, "credentials: token_url");
    return code;
}

struct peri_oauth *peri_oauth_new(const struct peri_oauth_options *options, struct peri_error *err)
{
    if (check(options, err) != PERI_OK)
        return NULL;
    struct peri_oauth *oauth = calloc(1, sizeof *oauth);
    if (oauth && copy(&oauth->token_url, options->token_url) && copy(&oauth->client_id, options->client_id) &&
        copy(&oauth->client_secret, options->client_secret) && copy(&oauth->scopes, options->scopes) &&
        copy_list(&oauth->extra, options->extra))
        return oauth;
    peri_oauth_free(oauth);
    peri_error_set(err, PERI_NOMEM, "out of memory");
    return NULL;
}

void peri_oauth_free(struct peri_oauth *oauth)
{
    if (!oauth)
        return;
    free(oauth->token_url);
    free(oauth->client_id);
    free_secret(oauth->client_secret);
    free(oauth->scopes);
    for (char **text = oauth->extra; text && *text; text++)
        free_secret(*text);
    free(oauth->extra);
    free_secret(oauth->token);
    free(oauth);
}

const char *peri_oauth_token_url(const struct peri_oauth *oauth)
{
    return oauth->token_url;
}

const char *peri_oauth_client_id(const struct peri_oauth *oauth)
{
    return oauth->client_id;
}

const char *peri_oauth_client_secret(const struct peri_oauth *oauth)
{
    return oauth->client_secret;
}

/* A form's own encoding: as in URLs, but a blank is "+". */
static enum peri_code encode(struct peri_buf *out, const char *text)
{
    enum peri_code code = PERI_OK;
    while (*text && code == PERI_OK) {
        size_t plain = strcspn(text, " ");
        code = peri_uri_encode(out, (struct peri_str){ text, plain }, NULL);
        text += plain;
        if (*text && code == PERI_OK) {
            code = peri_buf_append_byte(out, '+');
            text++;
        }
    }
    return code;
}

static enum peri_code add_field(struct peri_buf *out, const char *name, const char *value)
{
    enum peri_code code = PERI_OK;
    if (!value)
        return PERI_OK;
    if (out->len > 0)
        code = peri_buf_append_byte(out, '&');
    if (code == PERI_OK)
        code = encode(out, name);
    if (code == PERI_OK)
        code = peri_buf_append_byte(out, '=');
    return code == PERI_OK ? encode(out, value) : code;
}

enum peri_code peri_oauth_form(const struct peri_oauth *oauth, struct peri_buf *out, struct peri_error *err)
{
    enum peri_code code = add_field(out, "grant_type", "client_credentials");
    if (code == PERI_OK)
        code = add_field(out, "client_secret", oauth->client_secret);
    for (char **pair = oauth->extra; *pair && pair[1] && code == PERI_OK; pair += 2)
        code = add_field(out, pair[0], pair[1]);
    if (code == PERI_OK)
        code = add_field(out, "scope", oauth->scopes);
    if (code == PERI_OK)
        code = add_field(out, "client_id", oauth->client_id);
    return code == PERI_OK ? PERI_OK : peri_error_set(err, code, "the token request: %s", peri_code_text(code));
}

/* Seconds that the token lives: a number, or (some servers) its digits in a string; -1: neither. */
static int64_t lifetime(const json_t *value)
{
    if (!value || json_is_null(value))
        return LIFETIME_UNSAID_S;
    double seconds = json_is_number(value) ? json_number_value(value) : -1;
    const char *text = json_string_value(value);
    char *end = NULL;
    if (text && text[0] >= '0' && text[0] <= '9') {
        seconds = (double)strtoll(text, &end, 10);
        if (*end)
            return -1;
    }
    if (!(seconds >= 0))
        return -1;
    return seconds > LIFETIME_MAX_S ? LIFETIME_MAX_S : (int64_t)seconds;
}

static bool can_be_sent(const char *token, struct peri_error *err)
{
    struct peri_headers headers;
    peri_headers_init(&headers);
    enum peri_code code = peri_bearer_sign(&headers, peri_str_from(token), err);
    peri_headers_fini(&headers);
    return code == PERI_OK;
}

enum peri_code peri_oauth_take(struct peri_oauth *oauth, struct peri_str answer, int64_t now_ms, struct peri_error *err)
{
    json_t *parsed = peri_json_parse(answer, NULL);
    const char *token = json_string_value(json_object_get(parsed, "access_token"));
    int64_t seconds = lifetime(json_object_get(parsed, "expires_in"));
    struct peri_error unsendable;
    char *kept = NULL;
    enum peri_code code = PERI_OK;
    if (!parsed)
        code = peri_error_set(err, PERI_PROTOCOL, "the token server's answer is not JSON");
    else if (!token || !token[0])
        code = peri_error_set(err, PERI_PROTOCOL, "the token server's answer has no access_token");
    else if (!can_be_sent(token, &unsendable))
        code = peri_error_set(err, unsendable.code == PERI_NOMEM ? PERI_NOMEM : PERI_PROTOCOL,
                              "the token server's access_token is no bearer token");
    else if (seconds < 0)
        code = peri_error_set(err, PERI_PROTOCOL, "the token server's expires_in is no number of seconds");
    else if (!(kept = strdup(token)))
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    json_decref(parsed);
    if (code != PERI_OK)
        return code;
    int64_t life = seconds * 1000;
    int64_t early = life > 2 * (int64_t)PERI_OAUTH_LEEWAY_MS ? PERI_OAUTH_LEEWAY_MS : life / 2;
    free_secret(oauth->token);
    oauth->token = kept;
    oauth->renew_at_ms = now_ms + life - early;
    return PERI_OK;
}

bool peri_oauth_is_fresh(const struct peri_oauth *oauth, int64_t now_ms)
{
    return oauth->token && now_ms < oauth->renew_at_ms;
}

struct peri_str peri_oauth_token(const struct peri_oauth *oauth)
{
    return peri_str_from(oauth->token);
}
