/* SPDX-License-Identifier: MIT */
/* part: client, threads */
#include "support/fixture.h"

#include "client/flow.h"
#include <pthread.h>

#include "client/limiter.h"
#include "client/table.h"
#include "support/alloc_fail.h"

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
    .name = "t",
    .operations = operations,
    .count = PERI_COUNT(operations),
    .retry = &peri_retry_default,
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
    options =
        (struct peri_client_options){ .token = "own-3", .rate_limit = &peri_rate_limit_none, .service = &limited };
    fixture_open(&f, &limited, &options, fine, 1);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(get(&f), PERI_OK);
    fixture_close(&f);
}

static void test_who_shares_it(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_error err = PERI_ERROR_INIT;
    open_with(&f, "share-1", &three_or_fail);
    struct peri_client_options options = { .base_url = httpd_url(f.server),
                                           .token = "share-1",
                                           .rate_limit = &three_or_fail };
    struct peri_client *same = peri_client_new(f.loop, &options, &err);
    assert_non_null(same);
    options.token = "share-2";
    struct peri_client *other = peri_client_new(f.loop, &options, &err);
    assert_non_null(other);
    assert_int_equal(get(&f), PERI_OK);
    assert_int_equal(remaining(same), 2);
    assert_int_equal(remaining(other), 3);
    struct peri_rate_limit four = { .requests = 4, .window_ms = 60000 };
    options.rate_limit = &four;
    options.token = "share-1";
    assert_null(peri_client_new(f.loop, &options, &err));
    assert_int_equal(err.code, PERI_INVALID);
    assert_string_equal(err.message, "rate_limit: another client of this token has a limit of 3 requests in 60 s; give "
                                     "both the same");
    peri_client_free(same);
    peri_client_free(other);
    peri_client_free(f.client);
    f.client = peri_client_new(f.loop, &options, &err); /* nobody uses it: the limit may change, what was sent stays */
    assert_non_null(f.client);
    assert_int_equal(remaining(f.client), 3);
    fixture_close(&f);
}

static enum peri_code changing_token(void *data, struct peri_buf *token, struct peri_error *err)
{
    (void)err;
    return peri_buf_append_text(token, *(const char **)data);
}

/* A token function's token counts by its value. */
static void test_the_token_changes(void **state)
{
    (void)state;
    struct fixture f;
    const char *token = "change-1";
    struct peri_client_options options = { .token_fn = changing_token,
                                           .token_data = &token,
                                           .rate_limit = &three_or_fail };
    fixture_open(&f, &service, &options, fine, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(get(&f), PERI_OK);
    assert_int_equal(get(&f), PERI_RATE_LIMITED);
    token = "change-2";
    assert_int_equal(get(&f), PERI_OK);
    assert_int_equal(remaining(f.client), 2);
    token = "change-1";
    assert_int_equal(get(&f), PERI_RATE_LIMITED);
    fixture_close(&f);
}

static char order[32];

static void note_end(void *data, struct peri_op *op)
{
    if (peri_op_code(op) == PERI_OK)
        strncat(order, data, sizeof order - strlen(order) - 1);
}

/* First come, first served; who leaves gives its turn to the next. */
static void test_the_line(void **state)
{
    (void)state;
    static const char *const names[] = { "a", "b", "c", "d", "e", "f" };
    static const struct peri_rate_limit one = { .requests = 1, .window_ms = 20 };
    struct fixture f;
    struct peri_op *ops[6];
    order[0] = '\0';
    open_with(&f, "line-1", &one);
    for (int i = 0; i < 6; i++) {
        ops[i] = fixture_start(&f, "get", NULL, NULL);
        assert_non_null(ops[i]);
        peri_op_on_done(ops[i], note_end, (void *)names[i]);
    }
    peri_op_cancel(ops[2]);
    peri_op_free(ops[3]);
    assert_int_equal(peri_op_wait(ops[5], &f.err), PERI_OK);
    assert_string_equal(order, "abef");
    assert_int_equal(httpd_count(f.server), 4);
    for (int i = 0; i < 6; i++)
        if (i != 3)
            peri_op_free(ops[i]);
    fixture_close(&f);
}

/* Who wants many waits for all of them, and is not passed by who wants few. */
static void test_many_are_not_starved(void **state)
{
    (void)state;
    static const struct peri_rate_limit limit = { .requests = 3, .window_ms = 30 };
    struct fixture f;
    struct peri_op *ops[4];
    order[0] = '\0';
    open_with(&f, "line-2", &limit);
    assert_int_equal(get(&f), PERI_OK);
    ops[0] = fixture_start(&f, "trip", "{\"reserve\":3,\"send\":3}", NULL);
    assert_non_null(ops[0]);
    peri_op_on_done(ops[0], note_end, (void *)"T");
    for (int i = 1; i < 4; i++) {
        ops[i] = fixture_start(&f, "get", NULL, NULL);
        peri_op_on_done(ops[i], note_end, (void *)"x");
    }
    for (int i = 1; i < 4; i++)
        assert_int_equal(peri_op_wait(ops[i], &f.err), PERI_OK);
    assert_string_equal(order, "Txxx");
    for (int i = 0; i < 4; i++)
        peri_op_free(ops[i]);
    fixture_close(&f);
}

static void test_the_deadline_in_line(void **state)
{
    (void)state;
    static const struct peri_rate_limit one = { .requests = 1, .window_ms = 20 };
    static const struct httpd_step slow[] = { { "GET", "/", .status = 200, .delay_ms = 300 } };
    struct fixture f;
    struct peri_client_options options = { .token = "line-3", .rate_limit = &one };
    fixture_open(&f, &service, &options, slow, 1);
    struct peri_op *first = fixture_start(&f, "get", NULL, NULL);
    struct peri_op *second = fixture_call(&f, "get", "{\"timeout\":0.05}"); /* longer than the window: it hopes */
    assert_int_equal(peri_op_code(second), PERI_TIMEOUT);
    assert_non_null(strstr(f.err.message, "while it waited for the rate limit"));
    peri_op_free(first);
    peri_op_free(second);
    fixture_close(&f);
}

/* A refused request was not processed: it waits as long as the server says, or a part of the window, and goes again, even
 * when it must not be repeated otherwise. */
static void test_429_is_tried_again(void **state)
{
    (void)state;
    static const struct peri_rate_limit limit = { .requests = 50, .window_ms = 160 };
    static const struct httpd_step steps[] = {
        { "POST", "/", .status = 429 },
        { "POST", "/", .status = 429, .headers = "Retry-After: 0\r\n" },
        { "POST", "/", .status = 429, .headers = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n" },
        { "POST", "/", .status = 200 },
    };
    struct fixture f;
    struct peri_client_options options = { .token = "again-1", .rate_limit = &limit };
    fixture_open(&f, &service, &options, steps, 4);
    struct peri_op *op = peri_client_request(f.client, &(struct peri_http){ .method = "POST", .url = "/" }, &f.err);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    assert_int_equal(peri_op_attempts(op), 4);
    peri_op_free(op);
    assert_true(httpd_request(f.server, 1)->at_us - httpd_request(f.server, 0)->at_us >= 9000); /* 160 / 16, less 1 */
    fixture_close(&f);
    static const struct httpd_step refuse[] = { { "POST", "/", .status = 429 } };
    options = (struct peri_client_options){ .token = "again-2", .rate_limit = &three_or_fail };
    fixture_open(&f, &service, &options, refuse, 1);
    op = peri_client_request(f.client, &(struct peri_http){ .method = "POST", .url = "/" }, &f.err);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_RATE_LIMITED);
    assert_int_equal(f.err.status, 429);
    assert_in_range(f.err.retry_after_ms, 3700, 3750);
    peri_op_free(op);
    fixture_close(&f);
}

/* 175 requests at 50 in 0.5 s: by the server's clock no window is over. */
static void test_the_server_sees_no_window_over_the_limit(void **state)
{
    (void)state;
    enum { COUNT = 175, LIMIT = 50, WINDOW_US = 500000 };
    static const struct peri_rate_limit limit = { .requests = LIMIT, .window_ms = WINDOW_US / 1000 };
    struct fixture f;
    struct peri_op *ops[COUNT];
    open_with(&f, "real-1", &limit);
    for (int i = 0; i < COUNT; i++)
        assert_non_null(ops[i] = fixture_start(&f, "get", NULL, NULL));
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(peri_op_wait(ops[i], &f.err), PERI_OK);
        peri_op_free(ops[i]);
    }
    assert_int_equal(httpd_count(f.server), COUNT);
    for (size_t i = LIMIT; i < COUNT; i++)
        assert_true(httpd_request(f.server, i)->at_us - httpd_request(f.server, i - LIMIT)->at_us >= WINDOW_US);
    int64_t all = httpd_request(f.server, COUNT - 1)->at_us - httpd_request(f.server, 0)->at_us;
    print_message("%d requests took %lld ms; at the limit it is 1500\n", COUNT, (long long)all / 1000);
    fixture_close(&f);
}

struct worker {
    const char *url;
    int done;
};

/* A thread with a loop and a client of its own. */
static void *work(void *data)
{
    static const struct peri_rate_limit limit = { .requests = 5, .window_ms = 20 };
    struct worker *worker = data;
    struct peri_error err;
    struct peri_loop *loop = peri_loop_new(&err);
    struct peri_client *client = peri_client_new(
        loop, &(struct peri_client_options){ .base_url = worker->url, .token = "threads", .rate_limit = &limit }, &err);
    struct peri_op *ops[15];
    for (int i = 0; i < 15; i++)
        ops[i] = peri_client_request(client, &(struct peri_http){ .url = "/" }, &err);
    for (int i = 0; i < 15; i++) {
        worker->done += peri_op_wait(ops[i], &err) == PERI_OK;
        peri_op_free(ops[i]);
    }
    peri_client_free(client);
    peri_loop_free(loop);
    return NULL;
}

static void test_threads_share_it(void **state)
{
    (void)state;
    struct httpd *server = httpd_start(fine, 1);
    struct worker workers[2] = { { httpd_url(server), 0 }, { httpd_url(server), 0 } };
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(workers[0].done + workers[1].done, 30);
    for (size_t i = 5; i < 30; i++)
        assert_true(httpd_request(server, i)->at_us - httpd_request(server, i - 5)->at_us >= 20000);
    httpd_stop(server);
}

static void set_flag(void *data)
{
    *(bool *)data = true;
}

/* A limiter is found, one place taken, another waited for: whatever allocation fails, it is said and nothing is left. */
static void test_memory_is_out(void **state)
{
    (void)state;
    if (!ALLOC_FAIL_WORKS)
        skip();
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_loop *loop = peri_loop_new(&err);
    struct peri_uri origin;
    assert_int_equal(peri_uri_parse(peri_str_from("http://127.0.0.1:9"), &origin, &err), PERI_OK);
    bool hit = true;
    unsigned failures = 0;
    for (unsigned n = 1; hit; n++) {
        static const struct peri_rate_limit one = { .requests = 1, .window_ms = 5 };
        char token[32];
        bool ready = false;
        struct peri_places places[2] = { 0 };
        snprintf(token, sizeof token, "memory-%u", n);
        alloc_fail_at(n);
        struct peri_limiter *limiter = peri__limiter_find(&origin, peri_str_from(token), &one, 0, &err);
        struct peri__want want = { .limiter = limiter, .n = 1, .loop = loop, .ready = set_flag, .data = &ready };
        enum peri_code first = limiter ? peri__places_take(&places[0], &want, &err) : err.code;
        enum peri_code second = limiter ? peri__places_take(&places[1], &want, &err) : err.code;
        hit = alloc_fail_stop();
        failures += second == PERI_NOMEM;
        assert_true(second == PERI_BUSY || (hit && second != PERI_OK));
        assert_true(first == PERI_OK || hit);
        peri__places_end(&places[0], 0);
        while (second == PERI_BUSY && !ready)
            assert_int_equal(peri_loop_run_once(loop, -1, &err), PERI_OK);
        peri__places_drop(&places[1]);
        peri_limiter_free(limiter);
    }
    assert_true(failures >= 4);
    assert_int_equal(peri_loop_active(loop), 0);
    peri_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flow_reserves),
        cmocka_unit_test(test_reserved_places_are_kept),
        cmocka_unit_test(test_without_a_limit_a_reservation_is_nothing),
        cmocka_unit_test(test_the_services_own_limit),
        cmocka_unit_test(test_who_shares_it),
        cmocka_unit_test(test_the_token_changes),
        cmocka_unit_test(test_the_line),
        cmocka_unit_test(test_many_are_not_starved),
        cmocka_unit_test(test_the_deadline_in_line),
        cmocka_unit_test(test_429_is_tried_again),
        cmocka_unit_test(test_the_server_sees_no_window_over_the_limit),
        cmocka_unit_test(test_threads_share_it),
        cmocka_unit_test(test_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
