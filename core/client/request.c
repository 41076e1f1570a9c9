/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client_private.h"
#include "client/op_kind.h"
#include "perilune/bearer.h"
#include "perilune/hash.h"

/* One request's life: limiter, token, attempt, and again as the policy says. */
struct request {
    struct peri_op op;
    struct peri_client *client;
    struct peri_exchange *exchange;
    struct peri_timer *timer; /* waits for the limiter, for the next attempt, or for the end of waiting for a token */
    struct peri__token_wait token;
    char *url;
    char method[16];
    struct peri_headers headers;
    struct peri_reader *body;
    struct peri_writer *sink;
    const struct peri_retry_policy *policy;
    bool authorize, idempotent, missing_is_none, no_limit;
    bool has_token; /* it has waited for the token that it is about to send, however short that lives */
    bool body_used, sink_used;
    unsigned connect_failures;
    int64_t started_ms, deadline_ms, previous_wait_ms, first_byte_timeout_ms;
    void (*progress)(void *data, int64_t sent, int64_t received);
    void *progress_data;
};

static void attempt(void *data);

static int64_t now_ms(const struct request *req)
{
    return peri_clock_monotonic_ms(peri_loop_clock(req->op.loop));
}

static void release(struct peri_op *op)
{
    struct request *req = (struct request *)op;
    if (req->exchange)
        peri_exchange_cancel(req->exchange);
    req->exchange = NULL;
    peri__token_leave(&req->token);
    peri_timer_free(req->timer);
    req->timer = NULL;
    peri_reader_free(req->body);
    req->body = NULL;
    peri_writer_free(req->sink);
    req->sink = NULL;
    peri_headers_fini(&req->headers);
    free(req->url);
    req->url = NULL;
}

static const struct peri_op_kind request_kind = { release, release };

static void finish(struct request *req, const struct peri_error *err)
{
    struct peri_error sink_error = PERI_ERROR_INIT;
    if (req->sink) {
        enum peri_code code = peri_writer_finish(req->sink, err ? err->code : PERI_OK, &sink_error);
        if (!err && code != PERI_OK)
            err = &sink_error;
    }
    release(&req->op);
    peri__op_finish(&req->op, err);
}

/* Waits, then tries (again). Without a timer there is no next attempt, and err is how it ends. */
static void attempt_later(struct request *req, int64_t wait_ms)
{
    struct peri_error err;
    if (!req->timer)
        req->timer = peri_timer_new(req->op.loop, attempt, req, &err);
    if (req->timer)
        peri_timer_start(req->timer, wait_ms);
    else
        finish(req, &err);
}

static bool past_deadline(const struct request *req, int64_t wait_ms)
{
    return req->deadline_ms && now_ms(req) + wait_ms >= req->deadline_ms;
}

static void token_done(struct peri__token_wait *wait, const struct peri_error *err)
{
    struct request *req = (struct request *)(void *)((char *)wait - offsetof(struct request, token));
    if (err) {
        finish(req, err);
        return;
    }
    if (req->timer)
        peri_timer_stop(req->timer);
    req->has_token = true;
    attempt(req);
}

/* True: the token is there, or none is needed. False: the attempt was put off, or the op has ended. */
static bool pass_token(struct request *req)
{
    struct peri_error err = PERI_ERROR_INIT;
    peri__token_leave(&req->token); /* the deadline came first */
    if (!req->authorize || req->has_token || !peri__token_is_due(req->client))
        return true;
    req->token.done = token_done;
    if (peri__token_wait_for(req->client, &req->token, &err) != PERI_OK)
        finish(req, &err);
    else if (req->deadline_ms)
        attempt_later(req, req->deadline_ms - now_ms(req));
    return false;
}

/* True: a place is taken. False: the attempt was put off, or the op has ended. */
static bool pass_limiter(struct request *req)
{
    struct peri_client *client = req->client;
    if (!client->limiter || req->no_limit)
        return true;
    int64_t wait = peri_ratelimit_take(client->limiter, 1, now_ms(req));
    if (wait == 0)
        return true;
    if (client->limit_mode == PERI_LIMIT_WAIT && wait > 0 && !past_deadline(req, wait)) {
        attempt_later(req, wait);
        return false;
    }
    struct peri_error err;
    peri_error_set(&err, PERI_RATE_LIMITED, "%u requests are the limit; the next may start in %lld ms%s",
                   peri_ratelimit_limit(client->limiter), (long long)wait,
                   client->limit_mode == PERI_LIMIT_WAIT ? ", after the deadline" : "");
    err.retryable = true;
    err.retry_after_ms = wait;
    finish(req, &err);
    return false;
}

static enum peri_code sign(struct request *req, struct peri_error *err)
{
    struct peri_client *client = req->client;
    if (!req->authorize)
        return PERI_OK;
    req->has_token = false;
    if (client->oauth)
        return peri_bearer_sign(&req->headers, peri_oauth_token(client->oauth), err);
    if (!client->token_fn) {
        if (!client->token || req->op.attempts > 0)
            return PERI_OK;
        return peri_bearer_sign(&req->headers, peri_str_from(client->token), err);
    }
    struct peri_buf token;
    peri_buf_init(&token, 64 * 1024);
    peri_error_clear(err);
    enum peri_code code = client->token_fn(client->token_data, &token, err);
    if (code == PERI_OK)
        code = peri_bearer_sign(&req->headers, peri_buf_str(&token), err);
    else if (err->code == PERI_OK)
        peri_error_set(err, code, "no token: %s", peri_code_text(code));
    if (token.data)
        peri_secure_zero(token.data, token.cap);
    peri_buf_fini(&token);
    return code;
}

/* Body and sink back to their beginnings, for another attempt. */
static enum peri_code restart_streams(struct request *req, struct peri_error *err)
{
    if (req->body && req->body_used) {
        enum peri_code code = peri_reader_rewind(req->body, err);
        if (code != PERI_OK)
            return code;
        req->body_used = false;
    }
    if (req->sink && req->sink_used) {
        enum peri_code code = peri_writer_restart(req->sink, err);
        if (code != PERI_OK)
            return code;
        req->sink_used = false;
    }
    return PERI_OK;
}

static bool is_connect_failure(enum peri_code code)
{
    return code == PERI_CONNECT || code == PERI_RESOLVE;
}

static void add_note(struct peri_error *err, const char *note)
{
    size_t len = strlen(err->message);
    snprintf(err->message + len, sizeof err->message - len, "; %s", note);
}

/* A body or a sink that can't start over ends the retries: better the first failure than an empty resend. */
static const char *why_not_again(const struct request *req)
{
    if (req->body && req->body_used && !peri_reader_can_rewind(req->body))
        return "not tried again, because the body's source can't rewind";
    return NULL;
}

static void fail_or_retry(struct request *req, struct peri_error *err, bool anything_sent)
{
    int64_t now = now_ms(req);
    if (err->status == 0 && is_connect_failure(err->code))
        req->connect_failures++;
    struct peri_attempt history = {
        .number = req->op.attempts,
        .connect_failures = req->connect_failures,
        .status = err->status,
        .code = err->status ? PERI_OK : err->code,
        .idempotent = req->idempotent,
        .anything_sent = anything_sent,
        .forced = peri__failure_forced(&req->op.headers),
        .retry_after_ms = err->retry_after_ms,
        .platform_code = err->platform_code,
        .elapsed_ms = now - req->started_ms,
        .previous_wait_ms = req->previous_wait_ms,
    };
    int64_t wait = 0;
    const char *reason = NULL;
    bool again = peri_retry_decide(req->policy, &history, req->client->random, &wait, &reason);
    if (again) {
        reason = why_not_again(req);
        if (reason)
            add_note(err, reason);
        else if (past_deadline(req, wait))
            add_note(err, "the deadline leaves no time to try again");
        else {
            req->previous_wait_ms = wait;
            attempt_later(req, wait);
            return;
        }
    } else if (req->op.attempts > 1) {
        char note[64];
        snprintf(note, sizeof note, "tried %u times", req->op.attempts);
        add_note(err, note);
    }
    finish(req, err);
}

static void succeed_with_nothing(struct request *req)
{
    static const char empty[] = "{\"items\":[]}";
    peri_buf_fini(&req->op.body);
    peri_buf_init(&req->op.body, sizeof empty);
    if (peri_buf_append(&req->op.body, empty, sizeof empty - 1) == PERI_OK) {
        finish(req, NULL);
        return;
    }
    struct peri_error err;
    peri_error_set(&err, PERI_NOMEM, "out of memory");
    finish(req, &err);
}

static void exchange_done(void *data, struct peri_result *result)
{
    struct request *req = data;
    struct peri_op *op = &req->op;
    req->exchange = NULL;
    op->attempts++;
    op->status = result->status;
    peri_headers_fini(&op->headers);
    op->headers = result->headers;
    peri_headers_init(&result->headers);
    peri_buf_fini(&op->body);
    op->body = result->body;
    peri_buf_init(&result->body, 0);
    req->body_used = req->body_used || result->anything_sent || result->bytes_sent > 0;
    req->sink_used = req->sink_used || result->bytes_received > 0;

    bool answered = result->code == PERI_OK;
    if (answered && result->status >= 200 && result->status < 300) {
        finish(req, NULL);
        return;
    }
    struct peri_error err;
    if (answered) {
        int64_t wall = peri_clock_wall_ms(peri_loop_clock(op->loop));
        peri__failure_read(result->status, &op->headers, peri_buf_str(&op->body), wall, &err);
        if (result->status == 429 && req->client->limiter)
            peri_ratelimit_block(req->client->limiter,
                                 now_ms(req) + (err.retry_after_ms >= 0 ? err.retry_after_ms : 1000));
        if (req->missing_is_none && err.code == PERI_NOT_FOUND) {
            succeed_with_nothing(req);
            return;
        }
    } else {
        err = result->error;
        err.code = result->code;
        err.status = 0; /* whatever arrived was not a whole answer */
        err.retryable = true;
    }
    fail_or_retry(req, &err, result->anything_sent);
}

static void attempt(void *data)
{
    struct request *req = data;
    struct peri_error err = PERI_ERROR_INIT;
    if (past_deadline(req, 0)) {
        peri_error_set(&err, PERI_TIMEOUT, "the operation's deadline has passed");
        err.retryable = true;
        finish(req, &err);
        return;
    }
    if (!pass_token(req) || !pass_limiter(req))
        return;
    if (sign(req, &err) != PERI_OK || restart_streams(req, &err) != PERI_OK) {
        finish(req, &err);
        return;
    }
    struct peri_request request = {
        .method = req->method,
        .url = req->url,
        .headers = &req->headers,
        .body = req->body,
        .sink = req->sink,
        .max_body = req->client->max_body,
        .connect_timeout_ms = req->client->connect_timeout_ms,
        .first_byte_timeout_ms = req->first_byte_timeout_ms,
        .deadline_ms = req->deadline_ms,
        .progress = req->progress,
        .progress_data = req->progress_data,
    };
    req->exchange = peri_exchange_start(req->client->transport, &request, exchange_done, req, &err);
    if (!req->exchange)
        finish(req, &err);
}

/* The absolute URL, and whether it is of the client's own origin. */
static enum peri_code resolve_url(struct request *req, const char *url, bool *own_origin, struct peri_error *err)
{
    struct peri_buf full;
    struct peri_uri parsed;
    peri_buf_init(&full, 64 * 1024);
    bool absolute = strstr(url, "://") != NULL && url[0] != '/';
    enum peri_code code = absolute ? peri_buf_append_text(&full, url)
                                   : peri_uri_join(&full, peri_str_from(req->client->base_url), peri_str_from(url));
    if (code != PERI_OK)
        peri_error_set(err, code, "the URL: %s", peri_code_text(code));
    else if ((code = peri_uri_parse(peri_buf_str(&full), &parsed, err)) == PERI_OK)
        *own_origin = peri_uri_same_origin(&parsed, &req->client->origin);
    if (code == PERI_OK && !(req->url = peri_buf_take(&full, NULL)))
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    peri_buf_fini(&full);
    return code;
}

static enum peri_code merge_headers(struct peri_headers *to, const struct peri_headers *from)
{
    enum peri_code code = PERI_OK;
    for (size_t i = 0; from && i < from->count && code == PERI_OK; i++)
        code = peri_headers_set(to, from->items[i].name, from->items[i].value);
    return code;
}

static enum peri_code collect_headers(struct request *req, const struct peri_http *http, bool own_origin,
                                      struct peri_error *err)
{
    struct peri_client *client = req->client;
    enum peri_code code = peri_headers_set(&req->headers, "User-Agent", client->user_agent);
    if (code == PERI_OK && http->shape != PERI_SHAPE_BYTES && http->shape != PERI_SHAPE_ANSWER && !http->sink)
        code = peri_headers_set(&req->headers, "Accept", "application/json");
    if (code == PERI_OK)
        code = merge_headers(&req->headers, http->headers);
    if (code == PERI_OK && own_origin)
        code = merge_headers(&req->headers, &client->headers);
    if (code != PERI_OK)
        return peri_error_set(err, code, "a header: %s", peri_code_text(code));
    return PERI_OK;
}

static enum peri_code prepare(struct request *req, const struct peri_http *http, struct peri_error *err)
{
    struct peri_client *client = req->client;
    bool own_origin = false;
    const char *method = http->method ? http->method : "GET";
    if (strlen(method) >= sizeof req->method)
        return peri_error_set(err, PERI_INVALID, "the method '%.20s...' is too long", method);
    memcpy(req->method, method, strlen(method) + 1);
    enum peri_code code = resolve_url(req, http->url, &own_origin, err);
    if (code == PERI_OK)
        code = collect_headers(req, http, own_origin, err);
    if (code != PERI_OK)
        return code;
    req->authorize = own_origin && !http->no_auth;
    req->idempotent = http->idempotent;
    req->missing_is_none = http->missing_is_none;
    req->no_limit = http->no_limit;
    req->policy = http->retry ? http->retry : &peri_retry_default;
    if (client->has_retry)
        req->policy = &client->retry;
    req->op.shape = http->sink ? PERI_SHAPE_NONE : http->shape;
    req->op.result_field = http->result_field;
    req->first_byte_timeout_ms = client->first_byte_timeout_ms;
    if (http->first_byte_timeout_ms)
        req->first_byte_timeout_ms = http->first_byte_timeout_ms > 0 ? http->first_byte_timeout_ms : 0;
    int64_t timeout = http->timeout_ms ? http->timeout_ms : client->timeout_ms;
    req->started_ms = now_ms(req);
    req->deadline_ms = timeout > 0 ? req->started_ms + timeout : 0;
    req->progress = http->progress;
    req->progress_data = http->progress_data;
    return PERI_OK;
}

struct peri_op *peri_client_request(struct peri_client *client, const struct peri_http *http, struct peri_error *err)
{
    struct request *req = peri__op_new(sizeof *req, &request_kind, client->loop, http->operation, err);
    if (!req) {
        peri_reader_free(http->body);
        peri_writer_free(http->sink);
        return NULL;
    }
    req->client = client;
    req->body = http->body;
    req->sink = http->sink;
    peri_headers_init(&req->headers);
    enum peri_code code = prepare(req, http, err);
    if (code != PERI_OK) {
        if (err)
            memcpy(err->operation, req->op.error.operation, sizeof err->operation);
        req->op.code = code; /* nothing is under way */
        peri_op_free(&req->op);
        return NULL;
    }
    attempt(req);
    return &req->op;
}
