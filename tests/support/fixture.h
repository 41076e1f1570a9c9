/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SUPPORT_FIXTURE_H
#define TESTS_SUPPORT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/service.h"
#include "support/httpd.h"

/* A client of one service on a loop, talking to a scripted server: for the tests of the client part. A header, since
 * only those tests link it. */
struct fixture {
    struct peri_loop *loop;
    struct httpd *server;
    struct peri_client *client;
    const struct peri_service *service;
    struct peri_retry_policy retry; /* the service's, without waiting */
    struct peri_error err;
};

static inline struct peri_retry_policy fixture_impatient(const struct peri_retry_policy *policy)
{
    struct peri_retry_policy impatient = *policy;
    impatient.backoff = PERI_BACKOFF_NONE;
    return impatient;
}

/* options NULL: project demo, token tok-1, the service's retries without waiting. Its base_url is the server's. */
static inline void fixture_open(struct fixture *f, const struct peri_service *service,
                                const struct peri_client_options *options, const struct httpd_step *steps, size_t count)
{
    struct peri_client_options mine = { .project = "demo", .token = "tok-1", .retry = &f->retry };
    memset(f, 0, sizeof *f);
    f->service = service;
    f->retry = fixture_impatient(service->retry);
    f->loop = peri_loop_new(&f->err);
    assert_non_null(f->loop);
    f->server = httpd_start(steps, count);
    if (options)
        mine = *options;
    if (!mine.base_url)
        mine.base_url = httpd_url(f->server);
    f->client = peri_client_new(f->loop, &mine, &f->err);
    if (!f->client)
        fail_msg("no client: %s", f->err.message);
}

/* Nothing may be left under way. */
static inline void fixture_close(struct fixture *f)
{
    peri_client_free(f->client);
    assert_int_equal(peri_loop_active(f->loop), 0);
    peri_loop_free(f->loop);
    httpd_stop(f->server);
}

/* Starts an operation with options in JSON text (NULL: none); NULL with f->err. */
static inline struct peri_op *fixture_start(struct fixture *f, const char *operation, const char *args,
                                            const struct peri_call_streams *streams)
{
    json_t *options = args ? json_loads(args, 0, NULL) : NULL;
    if (args)
        assert_non_null(options);
    struct peri_op *op = peri_service_call(f->client, f->service, operation, options, streams, &f->err);
    json_decref(options);
    return op;
}

/* Runs an operation to its end; f->err has its error. Owned by the caller. */
static inline struct peri_op *fixture_call(struct fixture *f, const char *operation, const char *args)
{
    peri_error_clear(&f->err);
    struct peri_op *op = fixture_start(f, operation, args, NULL);
    if (!op)
        fail_msg("%s: %s", operation, f->err.message);
    peri_op_wait(op, &f->err);
    return op;
}

/* The result equals the JSON text. */
static inline void fixture_assert_json(struct peri_op *op, const char *text)
{
    struct peri_error err;
    json_t *expected = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(expected);
    json_t *result = peri_op_json(op, &err);
    if (!result)
        fail_msg("no result: %s", err.message);
    if (!json_equal(result, expected)) {
        char *got = json_dumps(result, JSON_ENCODE_ANY);
        fail_msg("got %s, expected %s", got, text);
    }
    json_decref(expected);
}

#endif
