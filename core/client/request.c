/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client_private.h"
#include "client/op_kind.h"
#include "perilune/bearer.h"
#include "perilune/hash.h"

#define SPARES_MAX 16
#define SPARE_BODY_MAX ((size_t)64 * 1024)

/* One request's life: limiter, token, attempt, and again as the policy says. */
struct request {
    struct peri_op op;
    struct peri_client *client;
    struct peri_exchange *exchange;
    struct peri_timer *timer; /* waits for the next attempt; in line for token or limiter: for the deadline */
    struct peri__token_wait token;
    struct peri_places place;     /* of the attempt that waits or runs */
    struct peri_places *reserved; /* a flow's; NULL: none */
    struct request *next_spare;
    struct peri_buf url;
    char method[16];
    struct peri_headers headers;
    struct peri_reader *body;
    struct peri_writer *sink;
    const struct peri_retry_policy *policy;
    const struct peri_signer *signer; /* NULL: none */
    bool authorize, has_token, idempotent, missing_is_none, only_200;
    bool token_waited; /* for the token that it is about to send, however short that lives */
    bool body_used, sink_used;
    unsigned connect_failures;
    int64_t started_ms, sent_ms, deadline_ms, previous_wait_ms, first_byte_timeout_ms, stall_timeout_ms;
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
    if (req->exchange) {
        peri_exchange_cancel(req->exchange);
        peri__places_end(&req->place, now_ms(req));
    }
    req->exchange = NULL;
    peri__token_leave(&req->token);
    peri__places_drop(&req->place);
    peri_timer_free(req->timer);
    req->timer = NULL;
    peri_reader_free(req->body);
    req->body = NULL;
    peri_writer_free(req->sink);
    req->sink = NULL;
    peri_headers_clear(&req->headers);
    peri_buf_clear(&req->url);
}

static bool keep(struct peri_op *op)
{
    struct request *req = (struct request *)op;
    struct peri_client *client = req->client;
    if (client->spares == SPARES_MAX) {
        peri_headers_fini(&req->headers);
        peri_buf_fini(&req->url);
        return false;
    }
    peri_headers_clear(&op->headers);
    if (op->body.cap > SPARE_BODY_MAX)
        peri_buf_fini(&op->body);
    else
        peri_buf_clear(&op->body);
    req->next_spare = client->spare;
    client->spare = req;
    client->spares++;
    return true;
}

void peri__requests_free(struct request *spare)
{
    while (spare) {
        struct request *next = spare->next_spare;
        peri_headers_fini(&spare->op.headers);
        peri_buf_fini(&spare->op.body);
        peri_headers_fini(&spare->headers);
        peri_buf_fini(&spare->url);
        free(spare);
        spare = next;
    }
}

static const struct peri_op_kind request_kind = { .cancel = release, .fini = release, .keep = keep };

/* A new one, in memory of an earlier one when there is some. */
static struct request *make(struct peri_client *client, const char *operation, struct peri_error *err)
{
    struct request *req = client->spare;
    if (!req) {
        req = peri__op_new(sizeof *req, &request_kind, client->loop, operation, err);
        if (req) {
            peri_headers_init(&req->headers);
            peri_buf_init(&req->url, PERI_URL_MAX);
        }
        return req;
    }
    client->spare = req->next_spare;
    client->spares--;
    struct peri_headers answered = req->op.headers, headers = req->headers;
    struct peri_buf body = req->op.body, url = req->url;
    peri__op_init(&req->op, sizeof *req, &request_kind, client->loop, operation);
    req->op.headers = answered;
    req->op.body = body;
    req->headers = headers;
    req->url = url;
    return req;
}

static void finish(struct request *req, const struct peri_error *err)
{
    struct peri_error sink_error;
    peri_error_clear(&sink_error);
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
    req->token_waited = true;
    attempt(req);
}

/* True: the token is there, or none is needed. False: the attempt was put off, or the op has ended. */
static bool pass_token(struct request *req)
{
    struct peri_error err = PERI_ERROR_INIT;
    peri__token_leave(&req->token); /* the deadline came first */
    if (!req->authorize || req->token_waited || !peri__token_is_due(req->client))
        return true;
    req->token.done = token_done;
    if (peri__token_wait_for(req->client, &req->token, &err) != PERI_OK)
        finish(req, &err);
    else if (req->deadline_ms)
        attempt_later(req, req->deadline_ms - now_ms(req));
    return false;
}

static void ready(void *data)
{
    struct request *req = data;
    if (req->timer)
        peri_timer_stop(req->timer);
    attempt(req);
}

/* A place held (reserved by a flow, or since before a 429) may not be used while the server's 429 holds. True: it may. */
static bool pass_block(struct request *req, struct peri_limiter *limiter)
{
    struct peri_error err;
    int64_t wait = peri__limiter_blocked_ms(limiter, now_ms(req));
    if (wait == 0)
        return true;
    if (req->client->rate_limit.mode == PERI_LIMIT_WAIT && !past_deadline(req, wait)) {
        attempt_later(req, wait);
        return false;
    }
    peri_error_set(&err, PERI_RATE_LIMITED, "the server refuses requests for another %lld ms", (long long)wait);
    err.retryable = true;
    err.retry_after_ms = wait;
    finish(req, &err);
    return false;
}

/* True: a place is held. False: the attempt was put off, or the op has ended. */
static bool pass_limiter(struct request *req, struct peri_limiter *limiter)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (req->place.limiter != limiter)
        peri__places_drop(&req->place); /* the token has changed while it waited */
    if (!limiter)
        return true;
    if (req->place.state == PERI__HELD || (req->reserved && peri__places_move(&req->place, req->reserved, limiter)))
        return pass_block(req, limiter);
    struct peri__want want = {
        .limiter = limiter,
        .n = 1,
        .mode = req->client->rate_limit.mode,
        .loop = req->op.loop,
        .deadline_ms = req->deadline_ms,
        .ready = ready,
        .data = req,
    };
    enum peri_code code = peri__places_take(&req->place, &want, &err);
    if (code == PERI_BUSY) {
        if (req->deadline_ms)
            attempt_later(req, req->deadline_ms - now_ms(req));
        return false;
    }
    if (code != PERI_OK)
        finish(req, &err);
    return code == PERI_OK;
}

/* Puts the token in, and says whose limit counts (*limiter, borrowed; NULL: none). */
static enum peri_code sign(struct request *req, struct peri_limiter **limiter, struct peri_error *err)
{
    struct peri_client *client = req->client;
    *limiter = NULL;
    if (!req->authorize)
        return PERI_OK;
    if (req->signer) {
        enum peri_code code = req->signer->sign(req->signer->data, req->method, req->url.data, &req->headers, err);
        if (code != PERI_OK)
            return code;
    }
    if (client->oauth) { /* the limit outlives the token */
        req->token_waited = false;
        enum peri_code code = peri_bearer_sign(&req->headers, peri_oauth_token(client->oauth), err);
        return code == PERI_OK
                   ? peri__client_limiter(client, peri_str_from(peri_oauth_client_id(client->oauth)), limiter, err)
                   : code;
    }
    if (!client->token_fn) {
        struct peri_str own = peri_str_from(client->token ? client->token : "");
        enum peri_code code = peri__client_limiter(client, own, limiter, err);
        if (code == PERI_OK && client->token && !req->has_token)
            code = peri_bearer_sign(&req->headers, own, err);
        req->has_token = code == PERI_OK;
        return code;
    }
    struct peri_buf token;
    peri_buf_init(&token, 64 * 1024);
    peri_error_clear(err);
    enum peri_code code = client->token_fn(client->token_data, &token, err);
    if (code == PERI_OK)
        code = peri_bearer_sign(&req->headers, peri_buf_str(&token), err);
    else if (err->code == PERI_OK)
        peri_error_set(err, code, "no token: %s", peri_code_text(code));
    if (code == PERI_OK)
        code = peri__client_limiter(client, peri_buf_str(&token), limiter, err);
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

/* blocked_ms: how long the limiter holds everything back after a 429; -1: it does not. */
static void fail_or_retry(struct request *req, struct peri_error *err, bool anything_sent, int64_t blocked_ms)
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
    if (blocked_ms >= 0) { /* the limiter does the waiting, for all */
        again = again && req->client->rate_limit.mode == PERI_LIMIT_WAIT;
        wait = blocked_ms;
        if (err->retry_after_ms < 0)
            err->retry_after_ms = blocked_ms;
    }
    if (again) {
        reason = why_not_again(req);
        if (reason)
            add_note(err, reason);
        else if (past_deadline(req, wait))
            add_note(err, "the deadline leaves no time to try again");
        else {
            req->previous_wait_ms = wait;
            if (blocked_ms >= 0)
                attempt(req); /* in line again, at its old turn */
            else
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

static bool is_success(const struct request *req, int status)
{
    return req->only_200 ? status == 200 : status >= 200 && status < 300;
}

static void refuse_2xx(struct peri_error *err, int status)
{
    peri_error_set(err, PERI_HTTP, "the server answered with status %d, where only 200 is a success", status);
    err->status = status;
}

/* Whether the request, sent again at once, has what the server's 401 asks for. */
static bool satisfies(struct request *req)
{
    return req->op.status == 401 && req->authorize && req->signer && req->signer->challenged && !why_not_again(req) &&
           !past_deadline(req, 0) && req->signer->challenged(req->signer->data, &req->op.headers);
}

/* The attempt's place has served. Returns how long a 429 holds the limiter; -1: it does not. */
static int64_t settle_place(struct request *req, const struct peri_result *result, int64_t retry_after_ms)
{
    int64_t now = now_ms(req), blocked = -1;
    struct peri_limiter *limiter = req->place.limiter;
    if (!limiter)
        return -1;
    if (result->code == PERI_OK && result->status == 429) {
        peri__limiter_refused(limiter, req->sent_ms, retry_after_ms, now);
        blocked = peri__limiter_blocked_ms(limiter, now);
    } else if (result->code == PERI_OK) {
        peri__limiter_accepted(limiter, req->sent_ms);
    }
    if (result->code == PERI_OK || result->anything_sent)
        peri__places_end(&req->place, now);
    else
        peri__places_drop(&req->place);
    return blocked;
}

static void exchange_done(void *data, struct peri_result *result)
{
    struct request *req = data;
    struct peri_op *op = &req->op;
    req->exchange = NULL;
    op->attempts++;
    op->status = result->status;
    struct peri_headers headers = op->headers;
    op->headers = result->headers;
    result->headers = headers; /* for its memory */
    struct peri_buf body = op->body;
    op->body = result->body;
    result->body = body;
    req->body_used = req->body_used || result->anything_sent || result->bytes_sent > 0;
    req->sink_used = req->sink_used || result->bytes_received > 0;

    bool answered = result->code == PERI_OK;
    if (answered && is_success(req, result->status)) {
        settle_place(req, result, -1);
        finish(req, NULL);
        return;
    }
    if (answered && satisfies(req)) {
        settle_place(req, result, -1);
        attempt_later(req, 0);
        return;
    }
    struct peri_error err;
    int64_t blocked = -1;
    if (answered) {
        int64_t wall = peri_clock_wall_ms(peri_loop_clock(op->loop));
        peri__failure_read(result->status, &op->headers, peri_buf_str(&op->body), wall, &err);
        if (result->status < 300)
            refuse_2xx(&err, result->status);
        else if (result->status < 400)
            add_note(&err, "redirects are not followed");
        blocked = settle_place(req, result, err.retry_after_ms);
        if (req->missing_is_none && err.code == PERI_NOT_FOUND) {
            succeed_with_nothing(req);
            return;
        }
    } else {
        settle_place(req, result, -1);
        err = result->error;
        err.code = result->code;
        err.status = 0; /* whatever arrived was not a whole answer */
        err.retryable = true;
    }
    fail_or_retry(req, &err, result->anything_sent, blocked);
}

static void attempt(void *data)
{
    struct request *req = data;
    struct peri_error err;
    peri_error_clear(&err);
    if (past_deadline(req, 0)) {
        peri_error_set(&err, PERI_TIMEOUT, "the operation's deadline has passed%s",
                       req->place.state == PERI__WAITING ? " while it waited for the rate limit" : "");
        err.retryable = true;
        finish(req, &err);
        return;
    }
    if (req->place.state == PERI__WAITING || req->place.state == PERI__GRANTED) { /* the timer was early */
        attempt_later(req, req->deadline_ms - now_ms(req));
        return;
    }
    if (!pass_token(req))
        return;
    struct peri_limiter *limiter = NULL;
    enum peri_code code = sign(req, &limiter, &err);
    if (code == PERI_OK && !pass_limiter(req, limiter))
        return;
    if (code != PERI_OK || restart_streams(req, &err) != PERI_OK) {
        finish(req, &err);
        return;
    }
    req->sent_ms = now_ms(req);
    struct peri_request request = {
        .method = req->method,
        .url = req->url.data,
        .headers = &req->headers,
        .body = req->body,
        .sink = req->sink,
        .max_body = req->client->max_body,
        .connect_timeout_ms = req->client->connect_timeout_ms,
        .first_byte_timeout_ms = req->first_byte_timeout_ms,
        .stall_timeout_ms = req->stall_timeout_ms,
        .deadline_ms = req->deadline_ms,
        .progress = req->progress,
        .progress_data = req->progress_data,
    };
    req->exchange = peri_exchange_start(req->client->transport, &request, exchange_done, req, &err);
    if (!req->exchange)
        finish(req, &err);
}

/* The absolute URL in client->full_url, and whether it is of the client's own origin. */
static enum peri_code read_url(struct peri_client *client, const char *url, struct peri_error *err)
{
    struct peri_uri parsed;
    struct peri_buf *full = &client->full_url;
    bool absolute = strstr(url, "://") != NULL && url[0] != '/';
    free(client->given_url);
    client->given_url = NULL;
    peri_buf_clear(full);
    enum peri_code code = absolute ? peri_buf_append_text(full, url)
                                   : peri_uri_join(full, peri_str_from(client->base_url), peri_str_from(url));
    if (code != PERI_OK)
        return peri_error_set(err, code, "the URL: %s", peri_code_text(code));
    code = peri_uri_parse(peri_buf_str(full), &parsed, err);
    if (code != PERI_OK)
        return code;
    client->own_origin = peri_uri_same_origin(&parsed, &client->origin);
    client->given_url = strdup(url);
    return client->given_url ? PERI_OK : peri_error_set(err, PERI_NOMEM, "out of memory");
}

static enum peri_code resolve_url(struct request *req, const char *url, bool *own_origin, struct peri_error *err)
{
    struct peri_client *client = req->client;
    bool again = client->given_url && strcmp(client->given_url, url) == 0;
    enum peri_code code = again ? PERI_OK : read_url(client, url, err);
    if (code != PERI_OK)
        return code;
    *own_origin = client->own_origin;
    code = peri_buf_append_str(&req->url, peri_buf_str(&client->full_url));
    return code == PERI_OK ? PERI_OK : peri_error_set(err, code, "the URL: %s", peri_code_text(code));
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
    bool json = http->shape != PERI_SHAPE_BYTES && http->shape != PERI_SHAPE_ANSWER && !http->sink && !http->any_type;
    enum peri_code code = peri_headers_copy(&req->headers, json ? &client->common_json : &client->common);
    if (code == PERI_OK)
        code = merge_headers(&req->headers, http->headers);
    if (code == PERI_OK && own_origin && !http->no_auth)
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
    req->signer = http->signer;
    req->token_waited = false;
    req->only_200 = http->only_200;
    req->stall_timeout_ms = http->stall_timeout_ms;
    if (http->stall_timeout_ms && client->has_first_byte_timeout)
        req->stall_timeout_ms = client->first_byte_timeout_ms;
    req->policy = http->retry ? http->retry : &peri_retry_default;
    if (client->has_retry)
        req->policy = &client->retry;
    req->op.shape = http->sink ? PERI_SHAPE_NONE : http->shape;
    req->op.result_field = http->result_field;
    req->first_byte_timeout_ms = client->first_byte_timeout_ms;
    if (http->first_byte_default_ms && !client->has_first_byte_timeout)
        req->first_byte_timeout_ms = http->first_byte_default_ms;
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
    struct request *req = make(client, http->operation, err);
    if (!req) {
        peri_reader_free(http->body);
        peri_writer_free(http->sink);
        return NULL;
    }
    req->client = client;
    req->body = http->body;
    req->sink = http->sink;
    req->reserved = http->places;
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
