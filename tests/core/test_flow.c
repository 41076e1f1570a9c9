/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include "client/flow.h"
#include "client/table.h"

/* The machinery of flows, with flows made for the purpose. */

struct counter_state {
    unsigned steps;
    char *memory; /* the leak check sees whether fini ran */
};

static unsigned finis;

static void fini(void *data)
{
    struct counter_state *state = data;
    free(state->memory);
    finis++;
}

static json_int_t option(struct peri_flow *flow, const char *name)
{
    return json_integer_value(json_object_get(peri_flow_args(flow), name));
}

/* Sleeps `sleeps` times, then ends as `end` says. */
static void step(struct peri_flow *flow, struct peri_op *child)
{
    struct counter_state *state = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    if (!state->memory)
        state->memory = strdup("state");
    if (child && peri_op_code(child) != PERI_OK) {
        peri_flow_fail(flow, peri_op_error(child));
        return;
    }
    if (state->steps++ < option(flow, "sleeps")) {
        peri_flow_then(flow, peri_op_sleep(peri_client_loop(peri_flow_client(flow)), 0, &err), &err);
        return;
    }
    switch (option(flow, "end")) {
    case 0:
        peri_flow_finish_json(flow, peri_str_from("{\"aB\":1}"));
        break;
    case 1:
        peri_error_set(&err, PERI_CONFLICT, "as asked");
        peri_flow_fail(flow, &err);
        break;
    case 2:
        break; /* says nothing */
    case 3:
        peri_error_set(&err, PERI_NOMEM, "no child");
        peri_flow_then(flow, NULL, &err);
        break;
    case 4:
        peri_error_set(&err, PERI_INVALID, "no such thing");
        peri_flow_fail(flow, &err);
        break;
    default:
        peri_flow_then(flow, peri_op_sleep(peri_client_loop(peri_flow_client(flow)), 3600 * 1000, &err), &err);
        break;
    }
}

static void timed_out(struct peri_flow *flow, struct peri_error *err)
{
    struct counter_state *state = peri_flow_state(flow);
    peri_error_prefix(err, "after %u steps", state->steps);
}

/* One request, whose answer is the result. */
static void step_request(struct peri_flow *flow, struct peri_op *child)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (child && peri_op_code(child) != PERI_OK)
        peri_flow_fail(flow, peri_op_error(child));
    else if (child)
        peri_flow_finish(flow, child);
    else
        peri_flow_then(flow,
                       peri_service_send(peri_flow_client(flow), peri_flow_service(flow), peri_flow_operation(flow),
                                         peri_flow_args(flow), NULL, &err),
                       &err);
}

static const struct peri_flow_kind counting = { sizeof(struct counter_state), step, fini, timed_out };
static const struct peri_flow_kind requesting = { 0, step_request, NULL, NULL };
static const struct peri_field fields[] = {
    PERI_FIELD("sleeps", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "how often"),
    PERI_FIELD("end", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "how it ends"),
};
static const struct peri_operation operations[] = {
    { .name = "count", PERI_FIELDS(fields), .shape = PERI_SHAPE_OBJECT, .flow = &counting },
    { .name = "ask",
      .method = "GET",
      .path = "/ask",
      .shape = PERI_SHAPE_OBJECT,
      .idempotent = true,
      .flow = &requesting },
};
static const struct peri_service service = {
    .name = "flows", .operations = operations, .count = PERI_COUNT(operations), .retry = &peri_retry_default
};

static void open_fixture(struct fixture *f)
{
    finis = 0;
    fixture_open(f, &service, NULL, NULL, 0);
}

static void test_finish(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    for (unsigned sleeps = 0; sleeps < 4; sleeps++) {
        char args[64];
        snprintf(args, sizeof args, "{\"sleeps\":%u}", sleeps);
        struct peri_op *op = fixture_call(&f, "count", args);
        assert_int_equal(peri_op_code(op), PERI_OK);
        fixture_assert_json(op, "{\"a_b\":1}");
        assert_int_equal(finis, sleeps + 1); /* state goes with the end, not with the op */
        peri_op_free(op);
        assert_int_equal(finis, sleeps + 1);
    }
    fixture_close(&f);
}

static void test_failures(void **state)
{
    (void)state;
    struct fixture f;
    static const struct {
        const char *args;
        enum peri_code code;
        const char *message;
    } cases[] = {
        { "{\"end\":1}", PERI_CONFLICT, "as asked" },
        { "{\"end\":1,\"sleeps\":2}", PERI_CONFLICT, "as asked" },
        { "{\"end\":2}", PERI_INVALID, "flows.count: the flow stopped without a result" },
        { "{\"end\":2,\"sleeps\":1}", PERI_INVALID, "the flow stopped without a result" },
        { "{\"end\":3,\"sleeps\":1}", PERI_NOMEM, "no child" },
        { "{\"end\":4}", PERI_INVALID, "flows.count: no such thing" }, /* at once: raised, not returned */
        { "{\"end\":4,\"sleeps\":1}", PERI_INVALID, "no such thing" },
    };
    open_fixture(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        peri_error_clear(&f.err);
        struct peri_op *op = fixture_start(&f, "count", cases[i].args, NULL);
        bool at_once = cases[i].code == PERI_INVALID && !strstr(cases[i].args, "sleeps");
        assert_int_equal(op == NULL, at_once);
        if (op)
            peri_op_wait(op, &f.err);
        assert_int_equal(f.err.code, cases[i].code);
        assert_string_equal(f.err.message, cases[i].message);
        assert_string_equal(f.err.operation, "flows.count");
        assert_int_equal(finis, i + 1);
        peri_op_free(op);
    }
    fixture_close(&f);
}

static void test_deadline(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct peri_op *op = fixture_call(&f, "count", "{\"end\":9,\"sleeps\":1,\"timeout\":0.02}");
    assert_int_equal(f.err.code, PERI_TIMEOUT);
    assert_string_equal(f.err.message, "after 2 steps: not done within 20 ms");
    assert_int_equal(peri_loop_active(f.loop), 0);
    peri_op_free(op);
    fixture_close(&f);
}

static void test_cancel_and_free(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct peri_op *op = fixture_start(&f, "count", "{\"end\":9}", NULL);
    assert_non_null(op);
    peri_op_cancel(op);
    assert_int_equal(peri_op_code(op), PERI_CANCELLED);
    assert_int_equal(finis, 1);
    assert_int_equal(peri_loop_active(f.loop), 0);
    peri_op_free(op);
    peri_op_free(fixture_start(&f, "count", "{\"end\":9}", NULL));
    assert_int_equal(finis, 2);
    fixture_close(&f);
}

static void free_op(void *data, struct peri_op *op)
{
    *(bool *)data = true;
    peri_op_free(op);
}

static void test_free_in_own_callback(void **state)
{
    (void)state;
    struct fixture f;
    bool done = false;
    open_fixture(&f);
    peri_op_on_done(fixture_start(&f, "count", "{\"sleeps\":2}", NULL), free_op, &done);
    while (!done)
        peri_loop_run_once(f.loop, 100, NULL);
    fixture_close(&f);
}

/* A child's answer, with status, headers and attempts, becomes the flow's; so does that of a child that failed. */
static void test_answer_is_the_childs(void **state)
{
    (void)state;
    struct fixture f;
    static const struct httpd_step steps[] = {
        { "GET", "/ask", .status = 503 },
        { "GET", "/ask", .status = 203, .headers = "X-There: yes\r\n", .reply = "{\"aB\":1}" },
        { "GET", "/ask", .status = 404, .reply = "{\"message\":\"nothing\"}" },
    };
    fixture_open(&f, &service, NULL, steps, 3);
    struct peri_op *op = fixture_call(&f, "ask", NULL);
    assert_int_equal(peri_op_status(op), 203);
    assert_int_equal(peri_op_attempts(op), 2);
    assert_string_equal(peri_headers_get(peri_op_headers(op), "X-There"), "yes");
    fixture_assert_json(op, "{\"a_b\":1}");
    peri_op_free(op);
    op = fixture_call(&f, "ask", NULL);
    assert_int_equal(peri_op_code(op), PERI_NOT_FOUND);
    assert_int_equal(peri_op_status(op), 404);
    assert_true(peri_str_equal(peri_op_body(op), peri_str_from("{\"message\":\"nothing\"}")));
    peri_op_free(op);
    fixture_close(&f);
}

static void test_streams_are_freed(void **state)
{
    (void)state;
    struct fixture f;
    struct peri_buf out;
    peri_buf_init(&out, 10);
    open_fixture(&f);
    struct peri_call_streams streams = { .content = peri_reader_memory(peri_str_from("x"), NULL),
                                         .sink = peri_writer_buf(&out, NULL) };
    struct peri_op *op = fixture_start(&f, "count", "{\"sleeps\":1}", &streams);
    assert_int_equal(peri_op_wait(op, &f.err), PERI_OK);
    assert_int_equal(peri_op_shape(op), PERI_SHAPE_NONE);
    peri_op_free(op);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel_and_free),
        cmocka_unit_test(test_free_in_own_callback),
        cmocka_unit_test(test_answer_is_the_childs),
        cmocka_unit_test(test_streams_are_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
