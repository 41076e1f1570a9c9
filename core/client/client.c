/* SPDX-License-Identifier: MIT */
#include "perilune/client.h"

#include <stdlib.h>
#include <string.h>

#include "client/client_private.h"
#include "perilune/bearer.h"
#include "perilune/hash.h"

#define DEFAULT_MAX_BODY (64u * 1024 * 1024)

static enum peri_code copy_text(char **to, const char *from, struct peri_error *err)
{
    if (!from)
        return PERI_OK;
    *to = strdup(from);
    return *to ? PERI_OK : peri_error_set(err, PERI_NOMEM, "out of memory");
}

static int64_t or_default(int64_t given, int64_t fallback)
{
    if (given < 0)
        return 0;
    return given ? given : fallback;
}

/* A token that can't be sent is the program's mistake: said when the client is made, not at its first request. */
static enum peri_code check_token(const char *token, struct peri_error *err)
{
    struct peri_headers headers;
    peri_headers_init(&headers);
    enum peri_code code = token ? peri_bearer_sign(&headers, peri_str_from(token), err) : PERI_OK;
    peri_headers_fini(&headers);
    return code;
}

static enum peri_code read_options(struct peri_client *client, const struct peri_client_options *options,
                                   struct peri_error *err)
{
    enum peri_code code = PERI_OK;
    if (!options->base_url || !options->base_url[0])
        return peri_error_set(err, PERI_INVALID, "base_url is required");
    if ((code = copy_text(&client->base_url, options->base_url, err)) != PERI_OK ||
        (code = peri_uri_parse(peri_str_from(client->base_url), &client->origin, err)) != PERI_OK) {
        peri_error_prefix(err, "base_url");
        return code;
    }
    if (client->origin.query.len || client->origin.fragment.len)
        return peri_error_set(err, PERI_INVALID, "base_url: no query and no fragment, please");
    if (options->token && options->token_fn)
        return peri_error_set(err, PERI_INVALID, "either token or token_fn, not both");
    if (options->oauth && (options->token || options->token_fn))
        return peri_error_set(err, PERI_INVALID, "either a token or credentials, not both");
    if (options->oauth && !(client->oauth = peri_oauth_new(options->oauth, err)))
        return err ? err->code : PERI_NOMEM;
    if ((code = check_token(options->token, err)) != PERI_OK ||
        (code = copy_text(&client->token, options->token, err)) != PERI_OK ||
        (code = copy_text(&client->project, options->project, err)) != PERI_OK ||
        (code = copy_text(&client->user_agent, options->user_agent ? options->user_agent : "perilune/" PERI_VERSION,
                          err)) != PERI_OK)
        return code;
    client->token_fn = options->token_fn;
    client->token_data = options->token_data;
    if (options->headers && (code = peri_headers_copy(&client->headers, options->headers)) != PERI_OK)
        return peri_error_set(err, code, "headers: %s", peri_code_text(code));
    if (options->retry) {
        client->retry = *options->retry;
        client->has_retry = true;
    }
    client->limiter = options->limiter;
    client->limit_mode = options->limit_mode;
    client->connect_timeout_ms = or_default(options->connect_timeout_ms, 10000);
    client->first_byte_timeout_ms = or_default(options->first_byte_timeout_ms, 60000);
    client->timeout_ms = or_default(options->timeout_ms, 0);
    client->gzip = !options->no_gzip;
    client->max_body = options->max_body ? options->max_body : DEFAULT_MAX_BODY;
    client->random = options->random.fill ? options->random : peri_random_system();
    return PERI_OK;
}

struct peri_client *peri_client_new(struct peri_loop *loop, const struct peri_client_options *options,
                                    struct peri_error *err)
{
    struct peri_client *client = calloc(1, sizeof *client);
    if (!client) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    client->loop = loop;
    peri_headers_init(&client->headers);
    peri__token_init(client);
    if (read_options(client, options, err) != PERI_OK)
        goto fail;
    client->transport = options->transport ? options->transport : peri_loop_transport(loop, err);
    if (!client->transport)
        goto fail;
    return client;
fail:
    peri_client_free(client);
    return NULL;
}

void peri_client_free(struct peri_client *client)
{
    if (!client)
        return;
    if (client->token)
        peri_secure_zero(client->token, strlen(client->token));
    free(client->token);
    peri__token_fini(client);
    peri_oauth_free(client->oauth);
    free(client->base_url);
    free(client->project);
    free(client->user_agent);
    peri_headers_fini(&client->headers);
    free(client);
}

struct peri_loop *peri_client_loop(const struct peri_client *client)
{
    return client->loop;
}

const char *peri_client_project(const struct peri_client *client)
{
    return client->project;
}

int64_t peri_client_timeout_ms(const struct peri_client *client)
{
    return client->timeout_ms;
}

const struct peri_oauth *peri_client_oauth(const struct peri_client *client)
{
    return client->oauth;
}

bool peri_client_gzip(const struct peri_client *client)
{
    return client->gzip;
}
