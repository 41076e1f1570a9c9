/* SPDX-License-Identifier: MIT */
#include "perilune/client.h"

#include <stdlib.h>
#include <string.h>

#include "client/client_private.h"
#include "perilune/bearer.h"
#include "perilune/hash.h"
#include "perilune/service.h"

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

static enum peri_code set_rate_limit(struct peri_client *client, const struct peri_rate_limit *limit,
                                     struct peri_error *err)
{
    if (!limit)
        return PERI_OK;
    if (limit->requests > 0 && limit->window_ms <= 0)
        return peri_error_set(err, PERI_INVALID, "rate_limit: the window must be above 0 ms");
    client->rate_limit = *limit;
    client->has_rate_limit = true;
    enum peri_code code = copy_text(&client->shared, limit->shared, err);
    client->rate_limit.shared = client->shared;
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
    if (strpbrk(client->base_url, "?#"))
        return peri_error_set(err, PERI_INVALID, "base_url: no query and no fragment, please");
    if (client->origin.userinfo.len)
        return peri_error_set(err, PERI_INVALID, "base_url: no user name, please: credentials are options");
    if (options->token && options->token_fn)
        return peri_error_set(err, PERI_INVALID, "either token or token_fn, not both");
    if (options->oauth && (options->token || options->token_fn))
        return peri_error_set(err, PERI_INVALID, "either a token or credentials, not both");
    if (options->oauth && !(client->oauth = peri_oauth_new(options->oauth, err)))
        return err ? err->code : PERI_NOMEM;
    if ((code = check_token(options->token, err)) != PERI_OK ||
        (code = copy_text(&client->token, options->token, err)) != PERI_OK ||
        (code = copy_text(&client->project, options->project, err)) != PERI_OK)
        return code;
    const char *user_agent = options->user_agent ? options->user_agent : "perilune/" PERI_VERSION;
    if ((code = peri_headers_set(&client->common, "User-Agent", user_agent)) != PERI_OK ||
        (code = peri_headers_copy(&client->common_json, &client->common)) != PERI_OK ||
        (code = peri_headers_set(&client->common_json, "Accept", "application/json")) != PERI_OK)
        return peri_error_set(err, code, "user_agent: %s", peri_code_text(code));
    client->token_fn = options->token_fn;
    client->token_data = options->token_data;
    if (options->headers && (code = peri_headers_copy(&client->headers, options->headers)) != PERI_OK)
        return peri_error_set(err, code, "headers: %s", peri_code_text(code));
    if (options->retry) {
        client->retry = *options->retry;
        client->has_retry = true;
    }
    if ((code = set_rate_limit(client, options->rate_limit, err)) != PERI_OK ||
        (code = peri__client_serve(client, options->service, err)) != PERI_OK)
        return code;
    client->connect_timeout_ms = or_default(options->connect_timeout_ms, 10000);
    client->has_first_byte_timeout = options->first_byte_timeout_ms != 0;
    client->first_byte_timeout_ms = or_default(options->first_byte_timeout_ms, 60000);
    client->timeout_ms = or_default(options->timeout_ms, 0);
    client->gzip = !options->no_gzip;
    client->max_body = options->max_body ? options->max_body : DEFAULT_MAX_BODY;
    client->random = options->random.fill ? options->random : peri_random_system();
    return PERI_OK;
}

/* What the limit belongs to: the token; of tokens that are renewed, who gets them. */
static struct peri_str limit_key(const struct peri_client *client)
{
    if (client->oauth)
        return peri_str_from(peri_oauth_client_id(client->oauth));
    return peri_str_from(client->token ? client->token : "");
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
    peri_headers_init(&client->common);
    peri_headers_init(&client->common_json);
    peri_buf_init(&client->full_url, PERI_URL_MAX);
    peri_buf_init(&client->limited_token, SIZE_MAX / 2);
    if (read_options(client, options, err) != PERI_OK)
        goto fail;
    client->transport = options->transport ? options->transport : peri_loop_transport(loop, err);
    if (!client->transport)
        goto fail;
    /* What is wrong with the limit of a known token is said now. */
    struct peri_limiter *limiter = NULL;
    if (!client->token_fn && peri__client_limiter(client, limit_key(client), &limiter, err) != PERI_OK)
        goto fail;
    return client;
fail:
    peri_client_free(client);
    return NULL;
}

/* An operation that goes on by itself. */
struct peri__left {
    struct peri__left *next;
    struct peri_client *client;
    struct peri_op *op;
};

static void left_done(void *data, struct peri_op *op)
{
    struct peri__left *left = data;
    struct peri__left **at = &left->client->left;
    while (*at != left)
        at = &(*at)->next;
    *at = left->next;
    peri_op_free(op);
    free(left);
}

void peri__client_leave(struct peri_client *client, struct peri_op *op)
{
    struct peri__left *left = op ? malloc(sizeof *left) : NULL;
    if (!left) {
        peri_op_free(op);
        return;
    }
    *left = (struct peri__left){ client->left, client, op };
    client->left = left;
    peri_op_on_done(op, left_done, left);
}

void peri_client_free(struct peri_client *client)
{
    if (!client)
        return;
    while (client->left) {
        struct peri__left *left = client->left;
        client->left = left->next;
        peri_op_free(left->op);
        free(left);
    }
    if (client->token)
        peri_secure_zero(client->token, strlen(client->token));
    free(client->token);
    peri__token_fini(client);
    peri_oauth_free(client->oauth);
    peri_limiter_free(client->limiter);
    if (client->limited_token.data)
        peri_secure_zero(client->limited_token.data, client->limited_token.cap);
    peri_buf_fini(&client->limited_token);
    free(client->shared);
    free(client->base_url);
    free(client->project);
    peri_headers_fini(&client->common);
    peri_headers_fini(&client->common_json);
    peri_headers_fini(&client->headers);
    free(client->given_url);
    peri_buf_fini(&client->full_url);
    peri__requests_free(client->spare);
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

struct peri_random peri_client_random(const struct peri_client *client)
{
    return client->random;
}

bool peri_client_has_token(const struct peri_client *client)
{
    return client->oauth || client->token_fn || (client->token && client->token[0]);
}

bool peri_client_busy(const struct peri_client *client)
{
    return client->left != NULL;
}

bool peri_client_gzip(const struct peri_client *client)
{
    return client->gzip;
}

enum peri_code peri__client_serve(struct peri_client *client, const struct peri_service *service,
                                  struct peri_error *err)
{
    if (client->has_rate_limit || !service)
        return PERI_OK;
    return set_rate_limit(client, service->rate_limit, err);
}

enum peri_code peri__client_limiter(struct peri_client *client, struct peri_str token, struct peri_limiter **limiter,
                                    struct peri_error *err)
{
    *limiter = NULL;
    if (client->rate_limit.requests == 0)
        return PERI_OK;
    if (!client->limiter || !peri_str_equal(token, peri_buf_str(&client->limited_token))) {
        int64_t now = peri_clock_monotonic_ms(peri_loop_clock(client->loop));
        peri_limiter_free(client->limiter);
        client->limiter = NULL;
        if (client->limited_token.data)
            peri_secure_zero(client->limited_token.data, client->limited_token.cap);
        peri_buf_clear(&client->limited_token);
        enum peri_code code = peri_buf_append_str(&client->limited_token, token);
        if (code != PERI_OK)
            return peri_error_set(err, code, "%s", peri_code_text(code));
        struct peri_error failure = PERI_ERROR_INIT;
        client->limiter = peri__limiter_find(&client->origin, token, &client->rate_limit, now, &failure);
        if (!client->limiter) {
            if (err)
                *err = failure;
            return failure.code;
        }
    }
    *limiter = client->limiter;
    return PERI_OK;
}

struct peri_limiter *peri_client_limiter(struct peri_client *client, struct peri_error *err)
{
    struct peri_limiter *limiter = NULL;
    struct peri_buf token;
    peri_buf_init(&token, (size_t)64 * 1024);
    peri_error_clear(err);
    enum peri_code code = PERI_OK;
    if (client->token_fn)
        code = client->token_fn(client->token_data, &token, err);
    else
        code = peri_buf_append_str(&token, limit_key(client));
    if (code == PERI_OK)
        code = peri__client_limiter(client, peri_buf_str(&token), &limiter, err);
    if (code != PERI_OK && err && err->code == PERI_OK)
        peri_error_set(err, code, "no token: %s", peri_code_text(code));
    if (token.data)
        peri_secure_zero(token.data, token.cap);
    peri_buf_fini(&token);
    return limiter ? peri__limiter_ref(limiter) : NULL;
}
