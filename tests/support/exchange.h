/* SPDX-License-Identifier: MIT */
#ifndef SUPPORT_EXCHANGE_H
#define SUPPORT_EXCHANGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "perilune/transport.h"

/* One loop, one transport, and exchanges that are waited for: what the transport's tests share. */

struct net {
    struct peri_loop *loop;
    struct peri_transport *transport;
};

struct got {
    unsigned calls; /* of done */
    struct peri_result result;
};

static inline struct net *net_new(const struct peri_transport_options *options)
{
    struct net *net = calloc(1, sizeof(*net));
    assert_non_null(net);
    net->loop = peri_loop_new(NULL);
    assert_non_null(net->loop);
    net->transport = peri_transport_new(net->loop, options, NULL);
    assert_non_null(net->transport);
    return net;
}

static inline void net_free(struct net *net)
{
    assert_int_equal(peri_loop_active(net->loop), 0);
    peri_transport_free(net->transport); /* NULL when the test has done it */
    peri_loop_free(net->loop);
    free(net);
}

static inline void got_done(void *data, struct peri_result *result)
{
    struct got *got = data;
    got->calls++;
    got->result = *result;
    peri_headers_init(&result->headers); /* moved out */
    peri_buf_init(&result->body, result->body.max);
}

static inline void got_fini(struct got *got)
{
    if (got->calls) {
        peri_result_fini(&got->result);
    }
    got->calls = 0;
}

static inline void net_wait(struct net *net, const unsigned *count, unsigned wanted)
{
    while (*count < wanted) {
        assert_int_equal(peri_loop_run_once(net->loop, 30000, NULL), PERI_OK);
    }
}

static inline enum peri_code net_fetch(struct net *net, const struct peri_request *request, struct got *got)
{
    struct peri_error err = PERI_ERROR_INIT;
    got_fini(got);
    struct peri_exchange *exchange = peri_exchange_start(net->transport, request, got_done, got, &err);
    if (!exchange) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(got->calls, 0); /* never from within start */
    net_wait(net, &got->calls, 1);
    assert_int_equal(got->calls, 1);
    assert_int_equal(got->result.code, got->result.error.code);
    if (got->result.code != PERI_OK) {
        assert_int_equal(got->result.status, 0);
        assert_int_equal(got->result.error.status, 0);
        assert_true(got->result.error.message[0] != '\0');
        assert_null(strstr(got->result.error.message, "hush")); /* what tests put into query strings */
    }
    return got->result.code;
}

static inline enum peri_code net_get(struct net *net, const char *url, struct got *got)
{
    return net_fetch(net, &(struct peri_request){ .url = url }, got);
}

#endif
