/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include "client/flow.h"
#include "client/table.h"

/* The rate limit of a token: who shares it, who waits for it and in which order, what a flow reserves, what a 429 does. */

struct trip {
    unsigned sent;
};

/* Reserves `reserve` places, then sends `send` requests. */
static void step(struct peri_flow *flow, struct peri_op *child)
{
    static const struct peri_operation get = { .name = "get", .method = "GET", .path = "/", .idempotent = true };
    struct trip *trip = peri_flow_state(flow);
    json_t *args = (json_t *)peri_flow_args(flow);
    if (!child)
        peri_flow_reserve(flow, (unsigned)json_integer_value(json_object_get(args, "reserve")));
    else if (peri_op_code(child) != PERI_OK)
        peri_flow_fail(flow, peri_op_error(child));
    else if (trip->sent++ < json_integer_value(json_object_get(args, "send")))
        peri_flow_send(flow, &get, peri_flow_copy_args(flow), NULL);
    else
        peri_flow_finish_json(flow, peri_str_from("{}"));
}

static const struct peri_flow_kind travelling = { sizeof(struct trip), step, NULL, NULL };
static const struct peri_field fields[] = {
    PERI_FIELD("reserve", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "how many places"),
    PERI_FIELD("send", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "how many requests"),
};
static const struct peri_operation operations[] = {
    { .name = "trip", PERI_FIELDS(fields), .shape = PERI_SHAPE_OBJECT, .flow = &travelling },
    { .name = "get", .method = "GET", .path = "/", .shape = PERI_SHAPE_NONE, .idempotent = true },
};
static const struct peri_rate_limit three_or_fail = { .requests = 3, .window_ms = 60000, .mode = PERI_LIMIT_FAIL };
static const struct peri_service service = {
    .name = "t", .operations = operations, .count = PERI_COUNT(operations), .retry = &peri_retry_default
};
static const struct peri_service limited = {
    .name = "t", .operations = operations, .count = PERI_COUNT(operations), .retry = &peri_retry_default,
    .rate_limit = &three_or_fail,
};
static const struct httpd_step fine[] = { { "GET", "/", .status = 200, .times = 1000 } };

static void open_with(struct fixture *f, const char *token, const struct peri_rate_limit *limit)
{
    struct peri_client_options options = { .token = token, .rate_limit = limit };
    fixture_open(f, &service, &options, fine, 1);
}

static unsigned remaining(struct peri_client *client)
{
    struct peri_error err = PERI_ERROR_INIT;
    unsigned n = 99;
    struct peri_limiter *limiter = peri_client_limiter(client, &err);
    assert_non_null(limiter);
    int64_t now = peri_clock_monotonic_ms(peri_loop_clock(peri_client_loop(client)));
    assert_int_equal(peri_limiter_remaining(limiter, now, &n, &err), PERI_OK);
    peri_limiter_free(limiter);
    return n;
}

static enum peri_code get(struct fixture *f)
{
    struct peri_op *op = fixture_call(f, "get", NULL);
    enum peri_code code = peri_op_code(op);
    peri_op_free(op);
    return code;
}

static void test_a_flow_reserves(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, "flow-1", &three_or_fail);
    struct peri_op *op = fixture_call(&f, "trip", "{\"reserve\":3,\"send\":2}");
    assert_int_equal(peri_op_code(op), PERI_OK);
    peri_op_free(op);
    assert_int_equal(httpd_count(f.server), 2);
    assert_int_equal(remaining(f.client), 1); /* what is left was given back */
    op = fixture_call(&f, "trip", "{\"reserve\":2,\"send\":2}");
    assert_int_equal(peri_op_code(op), PERI_RATE_LIMITED);
    assert_in_range(f.err.retry_after_ms, 1, 60001);
    peri_op_free(op);
    assert_int_equal(httpd_count(f.server), 2); /* none rather than half */
    op = fixture_call(&f, "trip", "{\"reserve\":0,\"send\":1}");
    assert_int_equal(peri_op_code(op), PERI_OK);
    peri_op_free(op);
    assert_int_equal(remaining(f.client), 0);
    peri_error_clear(&f.err);
    assert_null(fixture_start(&f, "trip", "{\"reserve\":4}", NULL));
    assert_int_equal(f.err.code, PERI_INVALID);
    assert_string_equal(f.err.message, "t.trip: 4 requests are needed together, and the rate limit allows 3 in 60 s");
    fixture_close(&f);
}

/* While it holds its places nobody else gets them; one more than was reserved counts as any other. */
static void test_reserved_places_are_kept(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, "flow-2", &three_or_fail);
    struct peri_op *trip = fixture_start(&f, "trip", "{\"reserve\":3,\"send\":3}", NULL);
    assert_non_null(trip);
    assert_int_equal(get(&f), PERI_RATE_LIMITED);
    assert_int_equal(peri_op_wait(trip, &f.err), PERI_OK);
    peri_op_free(trip);
    assert_int_equal(httpd_count(f.server), 3);
    fixture_close(&f);

    open_with(&f, "flow-3", &three_or_fail);
    trip = fixture_call(&f, "trip", "{\"reserve\":2,\"send\":4}");
    assert_int_equal(peri_op_code(trip), PERI_RATE_LIMITED);
    peri_op_free(trip);
    assert_int_equal(httpd_count(f.server), 3);
    trip = fixture_start(&f, "trip", "{\"reserve\":1}", NULL); /* ends in a reservation that fails */
    assert_int_equal(peri_op_wait(trip, &f.err), PERI_RATE_LIMITED);
    peri_op_free(trip);
    fixture_close(&f);
}

static void test_without_a_limit_a_reservation_is_nothing(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, "flow-4", NULL);
    struct peri_op *op = fixture_call(&f, "trip", "{\"reserve\":1000,\"send\":5}");
    assert_int_equal(peri_op_code(op), PERI_OK);
    peri_op_free(op);
    assert_int_equal(httpd_count(f.server), 5);
    assert_null(peri_client_limiter(f.client, &f.err));
    assert_int_equal(f.err.code, PERI_OK);
    fixture_close(&f);
}

static void test_the_services_own_limit(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_client_options options = { .token = "own-1" };
    fixture_open(&f, &limited, &options, fine, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(get(&f), PERI_OK);
    assert_int_equal(get(&f), PERI_RATE_LIMITED);
    fixture_close(&f);
    options = (struct peri_client_options){ .token = "own-2", .service = &limited };
    fixture_open(&f, &limited, &options, fine, 1);
    assert_int_equal(remaining(f.client), 3); /* known before the first call */
    fixture_close(&f);
    options = (struct peri_client_options){ .token = "own-3", .rate_limit = &peri_rate_limit_none, .service = &limited };
    fixture_open(&f, &limited, &options, fine, 1);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(get(&f), PERI_OK);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flow_reserves),
        cmocka_unit_test(test_reserved_places_are_kept),
        cmocka_unit_test(test_without_a_limit_a_reservation_is_nothing),
        cmocka_unit_test(test_the_services_own_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
