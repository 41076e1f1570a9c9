/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "client/client_private.h"

/* Tokens by OAuth: one request for however many wait, before the last token's end. */

#define FORM_MAX ((size_t)1024 * 1024)
#define TIMEOUT_MS 60000

void peri__token_init(struct peri_client *client)
{
    client->token_waiters.prev = client->token_waiters.next = &client->token_waiters;
}

void peri__token_fini(struct peri_client *client)
{
    peri_op_free(client->token_op);
    client->token_op = NULL;
}

static int64_t now_ms(const struct peri_client *client)
{
    return peri_clock_wall_ms(peri_loop_clock(client->loop)); /* goes on while the machine sleeps, as tokens do */
}

bool peri__token_is_due(const struct peri_client *client)
{
    return client->oauth && !peri_oauth_is_fresh(client->oauth, now_ms(client));
}

void peri__token_leave(struct peri__token_wait *wait)
{
    if (!wait->next)
        return;
    wait->prev->next = wait->next;
    wait->next->prev = wait->prev;
    wait->prev = wait->next = NULL;
}

static void join(struct peri__token_wait *head, struct peri__token_wait *wait)
{
    wait->prev = head->prev;
    wait->next = head;
    head->prev->next = wait;
    head->prev = wait;
}

/* What a waiting request ends with: the server's refusal concerns the credentials, not what was asked of the platform. */
static void explain(const struct peri_client *client, struct peri_error *err)
{
    if (err->status >= 400 && err->status < 500 && err->status != 429)
        err->code = PERI_UNAUTHORIZED;
    peri_error_prefix(err, "no token from %s", peri_oauth_token_url(client->oauth));
}

static void answered(void *data, struct peri_op *op)
{
    struct peri_client *client = data;
    struct peri_error err = *peri_op_error(op);
    if (err.code == PERI_OK)
        peri_oauth_take(client->oauth, peri_op_body(op), now_ms(client), &err);
    if (err.code != PERI_OK)
        explain(client, &err);
    client->token_op = NULL;
    peri_op_free(op);
    /* Whoever comes now waits for another request, in a list of its own. The client may be gone after the last one. */
    struct peri__token_wait waiting = client->token_waiters;
    if (waiting.next == &client->token_waiters)
        return;
    waiting.prev->next = waiting.next->prev = &waiting;
    peri__token_init(client);
    while (waiting.next != &waiting) {
        struct peri__token_wait *wait = waiting.next;
        peri__token_leave(wait);
        wait->done(wait, err.code == PERI_OK ? NULL : &err);
    }
}

static struct peri_op *ask(struct peri_client *client, struct peri_error *err)
{
    struct peri_buf form;
    struct peri_headers headers;
    struct peri_reader *body = NULL;
    struct peri_op *op = NULL;
    peri_buf_init(&form, FORM_MAX);
    peri_headers_init(&headers);
    enum peri_code code = peri_oauth_form(client->oauth, &form, err);
    if (code == PERI_OK) {
        code = peri_headers_set(&headers, "Content-Type", "application/x-www-form-urlencoded;charset=UTF-8");
        if (code != PERI_OK)
            peri_error_set(err, code, "out of memory");
    }
    if (code == PERI_OK)
        body = peri_reader_memory(peri_buf_str(&form), err);
    if (body) {
        struct peri_http http = {
            .method = "POST",
            .url = peri_oauth_token_url(client->oauth),
            .headers = &headers,
            .body = body,
            .idempotent = true,
            .no_auth = true,
            .timeout_ms = client->timeout_ms > 0 ? client->timeout_ms : TIMEOUT_MS,
            .shape = PERI_SHAPE_OBJECT,
            .operation = "oauth.token",
        };
        op = peri_client_request(client, &http, err);
    }
    peri_headers_fini(&headers);
    if (form.data)
        peri_secure_zero(form.data, form.cap);
    peri_buf_fini(&form);
    return op;
}

enum peri_code peri__token_wait_for(struct peri_client *client, struct peri__token_wait *wait, struct peri_error *err)
{
    if (!client->token_op) {
        client->token_op = ask(client, err);
        if (!client->token_op)
            return err->code;
        peri_op_on_done(client->token_op, answered, client);
    }
    join(&client->token_waiters, wait);
    return PERI_OK;
}
