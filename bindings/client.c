/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "object.h"
#include "perilune/bearer.h"
#include "perilune/hash.h"
#include "perilune/service.h"

/* A configured connection to one platform. Closing it ends its operations. */

#define TOKEN_MAX ((size_t)64 * 1024)

struct retry_options {
    int64_t attempts, base_ms, cap_ms, max_elapsed_ms;
};
static const struct peri_option retry_options[] = {
    { "attempts", offsetof(struct retry_options, attempts), PERI_OPT_INTEGER, false },
    { "base", offsetof(struct retry_options, base_ms), PERI_OPT_SECONDS, false },
    { "cap", offsetof(struct retry_options, cap_ms), PERI_OPT_SECONDS, false },
    { "max_elapsed", offsetof(struct retry_options, max_elapsed_ms), PERI_OPT_SECONDS, false },
};

struct limit_options {
    int64_t requests, window_ms;
    bool fail;
    const char *shared;
};
static const struct peri_option limit_options[] = {
    { "requests", offsetof(struct limit_options, requests), PERI_OPT_INTEGER, false },
    { "seconds", offsetof(struct limit_options, window_ms), PERI_OPT_SECONDS, false },
    { "fail", offsetof(struct limit_options, fail), PERI_OPT_BOOLEAN, false },
    { "shared", offsetof(struct limit_options, shared), PERI_OPT_STRING, false },
};

struct client_options {
    const char *base_url, *project, *token, *user_agent, *ca_file, *proxy;
    int64_t connect_timeout_ms, first_byte_timeout_ms, timeout_ms, max_body;
    bool gzip, insecure, http1_only;
    int headers, retry, rate_limit, credentials;
};
static const struct peri_option client_options[] = {
    { "base_url", offsetof(struct client_options, base_url), PERI_OPT_STRING, true },
    { "project", offsetof(struct client_options, project), PERI_OPT_STRING, false },
    { "token", offsetof(struct client_options, token), PERI_OPT_STRING, false },
    { "credentials", offsetof(struct client_options, credentials), PERI_OPT_VALUE, false },
    { "headers", offsetof(struct client_options, headers), PERI_OPT_VALUE, false },
    { "user_agent", offsetof(struct client_options, user_agent), PERI_OPT_STRING, false },
    { "retry", offsetof(struct client_options, retry), PERI_OPT_VALUE, false },
    { "rate_limit", offsetof(struct client_options, rate_limit), PERI_OPT_VALUE, false },
    { "connect_timeout", offsetof(struct client_options, connect_timeout_ms), PERI_OPT_SECONDS, false },
    { "first_byte_timeout", offsetof(struct client_options, first_byte_timeout_ms), PERI_OPT_SECONDS, false },
    { "timeout", offsetof(struct client_options, timeout_ms), PERI_OPT_SECONDS, false },
    { "gzip", offsetof(struct client_options, gzip), PERI_OPT_BOOLEAN, false },
    { "max_body", offsetof(struct client_options, max_body), PERI_OPT_INTEGER, false },
    { "ca_file", offsetof(struct client_options, ca_file), PERI_OPT_STRING, false },
    { "proxy", offsetof(struct client_options, proxy), PERI_OPT_STRING, false },
    { "insecure", offsetof(struct client_options, insecure), PERI_OPT_BOOLEAN, false },
    { "http1_only", offsetof(struct client_options, http1_only), PERI_OPT_BOOLEAN, false },
};

struct peri_lua_client *peri__check_client(lua_State *L, int index)
{
    struct peri_lua_client *self = peri__check(L, index, PERI_TYPE_CLIENT);
    luaL_argcheck(L, self->client, index, "the client is closed");
    return self;
}

static struct peri_lua_op *op_of_link(struct peri_link *link)
{
    return (struct peri_lua_op *)(void *)((char *)link - offsetof(struct peri_lua_op, of_client));
}

static int client_close(lua_State *L)
{
    struct peri_lua_client *self = peri__check(L, 1, PERI_TYPE_CLIENT);
    while (self->ops.next && self->ops.next != &self->ops) {
        peri__op_close(op_of_link(self->ops.next), "its client was closed");
    }
    if (self->client) {
        peri_client_free(self->client);
        self->client = NULL;
        peri__live_add(-1);
    }
    peri_transport_free(self->transport);
    self->transport = NULL;
    peri_headers_fini(&self->headers);
    if (self->token.data) {
        peri_secure_zero(self->token.data, self->token.cap);
    }
    peri_buf_fini(&self->token);
    return 0;
}

bool peri__client_busy(lua_State *L, int index)
{
    const struct peri_lua_client *self = luaL_testudata(L, index, PERI_LUA_CLIENT);
    return self && self->client && peri_client_busy(self->client);
}

static int client_tostring(lua_State *L)
{
    struct peri_lua_client *self = peri__check(L, 1, PERI_TYPE_CLIENT);
    lua_pushfstring(L, PERI_LUA_CLIENT " (%s)", self->client ? "open" : "closed");
    return 1;
}

static enum peri_code give_token(void *data, struct peri_buf *token, struct peri_error *err)
{
    struct peri_lua_client *self = data;
    if (self->token.len == 0) {
        return peri_error_set(err, PERI_UNAUTHORIZED, "the client has no token yet");
    }
    return peri_buf_append_str(token, peri_buf_str(&self->token));
}

static void set_token(lua_State *L, struct peri_lua_client *self, const char *token)
{
    struct peri_error err;
    struct peri_str text = peri_str_from(token);
    if (text.len > 0) {
        struct peri_headers probe;
        peri_headers_init(&probe);
        enum peri_code code = peri_bearer_sign(&probe, text, &err);
        peri_headers_fini(&probe);
        if (code != PERI_OK) {
            luaL_error(L, "%s", err.message);
        }
    }
    if (self->token.data) {
        peri_secure_zero(self->token.data, self->token.cap);
    }
    peri_buf_clear(&self->token);
    if (peri_buf_append_str(&self->token, text) != PERI_OK) {
        luaL_error(L, "the token is too long");
    }
}

/* client:set_token(token): for the next request, and for the next attempt of those under way. A 401 is not retried. */
static int client_set_token(lua_State *L)
{
    struct peri_lua_client *self = peri__check_client(L, 1);
    if (self->oauth) {
        return luaL_error(L, "the client gets its tokens by its credentials");
    }
    set_token(L, self, luaL_checkstring(L, 2));
    return 0;
}

/* client:limiter() -> limit, window in seconds, remaining, reset_at in seconds since 1970 | nil: none | nil, err */
static int client_limiter(lua_State *L)
{
    struct peri_lua_client *self = peri__check_client(L, 1);
    struct peri_error err;
    struct peri_limiter *limiter = peri_client_limiter(self->client, &err);
    if (!limiter && err.code != PERI_OK) {
        return peri_lua_fail(L, &err);
    }
    if (!limiter) {
        lua_pushnil(L);
        return 1;
    }
    struct peri_clock clock = peri_loop_clock(self->waiter->loop);
    int64_t now = peri_clock_monotonic_ms(clock), reset = 0;
    unsigned remaining = 0, limit = peri_limiter_limit(limiter);
    int64_t window = peri_limiter_window_ms(limiter);
    enum peri_code code = peri_limiter_remaining(limiter, now, &remaining, &err);
    if (code == PERI_OK) {
        code = peri_limiter_reset_at(limiter, now, &reset, &err);
    }
    peri_limiter_free(limiter);
    if (code != PERI_OK) {
        return peri_lua_fail(L, &err);
    }
    lua_pushinteger(L, limit);
    lua_pushnumber(L, (lua_Number)window / 1000);
    lua_pushinteger(L, remaining);
    lua_pushnumber(L, (lua_Number)(peri_clock_wall_ms(clock) + reset - now) / 1000);
    return 4;
}

void peri__read_headers(lua_State *L, int index, struct peri_headers *headers)
{
    if (!lua_istable(L, index)) {
        luaL_error(L, "headers must be a table of strings, not %s", luaL_typename(L, index));
    }
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1)) {
            luaL_error(L, "headers must be a table of strings");
        }
        struct peri_str name;
        struct peri_str value;
        name.data = lua_tolstring(L, -2, &name.len);
        value.data = lua_tolstring(L, -1, &value.len);
        if (peri_headers_add(headers, name, value) != PERI_OK) {
            luaL_error(L, "header '%s' can't be sent", name.data);
        }
        lua_pop(L, 1);
    }
}

static bool read_retry(lua_State *L, int index, struct peri_retry_policy *policy)
{
    if (!index) {
        return false;
    }
    if (lua_isboolean(L, index) && !lua_toboolean(L, index)) {
        *policy = peri_retry_none;
        return true;
    }
    *policy = peri_retry_default;
    struct retry_options given = {
        .attempts = policy->max_attempts,
        .base_ms = policy->base_ms,
        .cap_ms = policy->cap_ms,
        .max_elapsed_ms = policy->max_elapsed_ms,
    };
    peri__read_options(L, index, "retry", retry_options, sizeof retry_options / sizeof *retry_options, &given);
    policy->max_attempts = given.attempts < 1 ? 1 : given.attempts > 1000 ? 1000 : (unsigned)given.attempts;
    policy->base_ms = given.base_ms < 0 ? 0 : given.base_ms;
    policy->cap_ms = given.cap_ms < policy->base_ms ? policy->base_ms : given.cap_ms;
    policy->min_ms = policy->min_ms < policy->base_ms ? policy->min_ms : policy->base_ms;
    policy->max_elapsed_ms = given.max_elapsed_ms < 0 ? 0 : given.max_elapsed_ms;
    return true;
}

/* What is not said is as in the service's own limit. False: nothing is said at all. */
static bool read_rate_limit(lua_State *L, int index, const struct peri_service *service, struct peri_rate_limit *limit)
{
    if (!index) {
        return false;
    }
    *limit = peri_rate_limit_none;
    if (lua_isboolean(L, index) && !lua_toboolean(L, index)) {
        return true;
    }
    const struct peri_rate_limit *own = service ? service->rate_limit : NULL;
    struct limit_options given = { 0 };
    if (own) {
        given = (struct limit_options){ .requests = own->requests, .window_ms = own->window_ms };
    }
    peri__read_options(L, index, "rate_limit", limit_options, sizeof limit_options / sizeof *limit_options, &given);
    if (!given.window_ms) {
        luaL_error(L, "rate_limit: option 'seconds' is required");
    }
    if (given.requests < 1 || given.requests > PERI_RATELIMIT_MAX || given.window_ms < 1) {
        luaL_error(L, "rate_limit: requests must be 1 to %d, in some seconds", PERI_RATELIMIT_MAX);
    }
    limit->requests = (unsigned)given.requests;
    limit->window_ms = given.window_ms;
    limit->mode = given.fail ? PERI_LIMIT_FAIL : PERI_LIMIT_WAIT;
    limit->shared = given.shared;
    return true;
}

/* ---- credentials = {token_url, client_id, client_secret, scopes, further fields of the form} ---- */

#define EXTRA_MAX 16

/* The scopes on top of the stack, a string or a list of them, as one string there. */
static const char *read_scopes(lua_State *L)
{
    if (!lua_istable(L, -1)) {
        return luaL_checkstring(L, -1);
    }
    luaL_Buffer b;
    int list = lua_gettop(L);
    lua_Integer count = luaL_len(L, list);
    luaL_buffinit(L, &b);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_geti(L, list, i) != LUA_TSTRING) {
            luaL_error(L, "credentials: 'scopes' must be a string or a list of strings");
        }
        luaL_addvalue(&b);
        if (i < count) {
            luaL_addchar(&b, ' ');
        }
    }
    luaL_pushresult(&b);
    lua_replace(L, list);
    return lua_tostring(L, list);
}

/* Fills the options with strings that stay on the stack. extra: room for EXTRA_MAX pairs and a NULL. */
static void read_credentials(lua_State *L, int index, struct peri_oauth_options *options, const char **extra)
{
    size_t count = 0;
    if (!lua_istable(L, index)) {
        luaL_error(L, "client: option 'credentials' must be a table, not %s", luaL_typename(L, index));
    }
    luaL_checkstack(L, 2 * EXTRA_MAX + 16, "credentials");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        bool scopes = strcmp(name, "scopes") == 0;
        if (!name[0] || (lua_type(L, -1) != LUA_TSTRING && !(scopes && lua_istable(L, -1)))) {
            luaL_error(L, "credentials: '%s' must be a string, not %s", name, luaL_typename(L, -1));
        }
        const char *value = scopes ? read_scopes(L) : lua_tostring(L, -1);
        if (scopes) {
            options->scopes = value;
        } else if (strcmp(name, "token_url") == 0) {
            options->token_url = value;
        } else if (strcmp(name, "client_id") == 0) {
            options->client_id = value;
        } else if (strcmp(name, "client_secret") == 0) {
            options->client_secret = value;
        } else if (count == EXTRA_MAX) {
            luaL_error(L, "credentials: more than %d further fields", EXTRA_MAX);
        } else {
            extra[2 * count] = name;
            extra[2 * count++ + 1] = value;
        }
        lua_insert(L, -2); /* the value stays, the key goes on */
    }
    options->extra = extra;
}

static bool make_transport(const struct client_options *given, struct peri_lua_client *self,
                           struct peri_client_options *to, struct peri_error *err)
{
    if (!given->ca_file && !given->proxy && !given->insecure && !given->http1_only) {
        return true;
    }
    struct peri_transport_options options = {
        .ca_file = given->ca_file,
        .proxy = given->proxy,
        .insecure = given->insecure,
        .http1_only = given->http1_only,
    };
    self->transport = peri_transport_new(self->waiter->loop, &options, err);
    to->transport = self->transport;
    return self->transport != NULL;
}

int peri__client_new(lua_State *L)
{
    struct client_options given = { .gzip = true };
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *name = luaL_optstring(L, 2, NULL);
    lua_settop(L, 1);
    struct peri_lua_waiter *waiter = peri_lua_get_waiter(L);
    struct peri_lua_client *self = peri__object(L, PERI_TYPE_CLIENT, sizeof *self, 1);
    lua_newtable(L);
    lua_setiuservalue(L, -2, PERI_CLIENT_SPARES);
    self->waiter = waiter;
    peri__link_init(&self->ops);
    peri_headers_init(&self->headers);
    peri_buf_init(&self->token, TOKEN_MAX);
    peri__read_options(L, 1, "client", client_options, sizeof client_options / sizeof *client_options, &given);
    struct peri_client_options options = {
        .base_url = given.base_url,
        .project = given.project,
        .user_agent = given.user_agent,
        .connect_timeout_ms = given.connect_timeout_ms,
        .first_byte_timeout_ms = given.first_byte_timeout_ms,
        .timeout_ms = given.timeout_ms,
        .no_gzip = !given.gzip,
        .max_body = (size_t)given.max_body,
        .service = name ? peri_service_find(name) : NULL,
    };
    struct peri_retry_policy policy;
    struct peri_rate_limit limit;
    struct peri_error err;
    options.retry = read_retry(L, given.retry, &policy) ? &policy : NULL;
    options.rate_limit = read_rate_limit(L, given.rate_limit, options.service, &limit) ? &limit : NULL;
    if (given.headers) {
        peri__read_headers(L, given.headers, &self->headers);
        options.headers = &self->headers;
    }
    if (given.token) {
        set_token(L, self, given.token);
        options.token_fn = give_token;
        options.token_data = self;
    }
    struct peri_oauth_options oauth = { 0 };
    const char *extra[2 * EXTRA_MAX + 1] = { NULL };
    if (given.credentials) {
        read_credentials(L, given.credentials, &oauth, extra);
        options.oauth = &oauth;
    }
    if (!make_transport(&given, self, &options, &err)) {
        return luaL_error(L, "client: %s", err.message);
    }
    self->client = peri_client_new(waiter->loop, &options, &err);
    peri_headers_fini(&self->headers);
    if (!self->client) {
        return luaL_error(L, "client: %s", err.message);
    }
    self->oauth = given.credentials != 0;
    peri__live_add(1);
    if (self->token.len > 0) { /* what is wrong with its limit is said now */
        peri_limiter_free(peri_client_limiter(self->client, &err));
        if (err.code != PERI_OK) {
            return luaL_error(L, "client: %s", err.message);
        }
    }
    lua_pushvalue(L, 2);
    return 1;
}

void peri__client_define(lua_State *L)
{
    static const luaL_Reg methods[] = { { "set_token", client_set_token },
                                        { "limiter", client_limiter },
                                        { NULL, NULL } };
    peri__define(L, PERI_TYPE_CLIENT, methods, client_close, client_tostring);
}
