/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include "client/op_kind.h"

/* Operations as such: waiting, being told, cancelling, freeing, and what of a body is the result. */

struct seen {
    unsigned calls;
    enum peri_code code;
    bool free_it;
};

static void on_done(void *data, struct peri_op *op)
{
    struct seen *seen = data;
    seen->calls++;
    seen->code = peri_op_code(op);
    if (seen->free_it)
        peri_op_free(op);
}

static struct peri_loop *new_loop(void)
{
    struct peri_error err;
    struct peri_loop *loop = peri_loop_new(&err);
    assert_non_null(loop);
    return loop;
}

static void turn(struct peri_loop *loop)
{
    assert_int_equal(peri_loop_run_once(loop, 0, NULL), PERI_OK);
}

static void end_loop(struct peri_loop *loop)
{
    assert_int_equal(peri_loop_active(loop), 0);
    peri_loop_free(loop);
}

static void test_wait(void **state)
{
    (void)state;
    struct peri_error err;
    struct peri_loop *loop = new_loop();
    struct peri_op *op = peri_op_sleep(loop, 1, &err);
    assert_non_null(op);
    assert_false(peri_op_done(op));
    assert_int_equal(peri_op_code(op), PERI_BUSY);
    assert_null(peri_op_json(op, &err));
    assert_int_equal(err.code, PERI_BUSY);
    assert_int_equal(peri_op_wait(op, &err), PERI_OK);
    assert_true(peri_op_done(op));
    assert_ptr_equal(peri_op_loop(op), loop);
    assert_null(peri_op_json(op, &err));
    assert_int_equal(err.code, PERI_OK);
    peri_op_free(op);
    end_loop(loop);
}

static void test_wait_for_gives_up(void **state)
{
    (void)state;
    struct peri_error err;
    struct peri_loop *loop = new_loop();
    struct peri_op *op = peri_op_sleep(loop, 3600 * 1000, &err);
    assert_int_equal(peri_op_wait_for(op, 1, &err), PERI_TIMEOUT);
    assert_int_equal(err.code, PERI_TIMEOUT);
    assert_false(peri_op_done(op));
    peri_op_free(op);
    op = peri_op_sleep(loop, 0, &err);
    assert_int_equal(peri_op_wait_for(op, 60000, &err), PERI_OK);
    peri_op_free(op);
    end_loop(loop);
}

static void test_on_done(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    struct peri_loop *loop = new_loop();
    struct peri_op *op = peri_op_sleep(loop, 0, NULL);
    peri_op_on_done(op, on_done, &seen);
    peri_op_wait(op, NULL);
    assert_int_equal(seen.calls, 1);
    /* done already: not from within, but at the next turn */
    peri_op_on_done(op, on_done, &seen);
    assert_int_equal(seen.calls, 1);
    while (seen.calls < 2)
        peri_loop_run_once(loop, 100, NULL);
    turn(loop);
    assert_int_equal(seen.calls, 2);
    peri_op_free(op);
    end_loop(loop);
}

static void test_free_in_own_callback(void **state)
{
    (void)state;
    struct seen seen = { .free_it = true };
    struct peri_loop *loop = new_loop();
    peri_op_on_done(peri_op_sleep(loop, 0, NULL), on_done, &seen);
    while (seen.calls < 1)
        peri_loop_run_once(loop, 100, NULL);
    /* and when the callback comes late */
    struct peri_op *op = peri_op_sleep(loop, 0, NULL);
    peri_op_wait(op, NULL);
    peri_op_on_done(op, on_done, &seen);
    while (seen.calls < 2)
        peri_loop_run_once(loop, 100, NULL);
    end_loop(loop);
}

static void test_cancel(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    struct peri_loop *loop = new_loop();
    struct peri_op *op = peri_op_sleep(loop, 3600 * 1000, NULL);
    peri_op_on_done(op, on_done, &seen);
    peri_op_cancel(op);
    assert_int_equal(peri_op_code(op), PERI_CANCELLED);
    assert_string_equal(peri_op_error(op)->operation, "sleep");
    assert_int_equal(seen.calls, 0);
    while (seen.calls < 1)
        peri_loop_run_once(loop, 100, NULL);
    assert_int_equal(seen.code, PERI_CANCELLED);
    assert_int_equal(peri_loop_active(loop), 0);
    peri_op_cancel(op);
    peri_op_free(op);
    peri_op_free(NULL);
    end_loop(loop);
}

static void test_free_calls_nobody(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    struct peri_loop *loop = new_loop();
    struct peri_op *op = peri_op_sleep(loop, 3600 * 1000, NULL);
    peri_op_on_done(op, on_done, &seen);
    peri_op_free(op);
    turn(loop);
    assert_int_equal(seen.calls, 0);
    end_loop(loop);
}

static void test_snake_case(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "id", "id" },
        { "externalId", "external_id" },
        { "extraIndexUrls", "extra_index_urls" },
        { "", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peri_buf out;
        peri_buf_init(&out, 100);
        assert_int_equal(peri__snake_case(&out, cases[i][0]), PERI_OK);
        assert_string_equal(out.data ? out.data : "", cases[i][1]);
        peri_buf_fini(&out);
    }
}

static void no_cancel(struct peri_op *op)
{
    (void)op;
}

static const struct peri_op_kind plain = { .cancel = no_cancel };

struct shape_case {
    const char *field, *body;
    const char *result; /* NULL: none */
    enum peri_shape shape;
    enum peri_code code;
};

static void check_shape(struct peri_loop *loop, const struct shape_case *c)
{
    struct peri_error err;
    struct peri_op *op = peri__op_new(sizeof *op, &plain, loop, "test.shape", &err);
    op->shape = c->shape;
    op->result_field = c->field;
    assert_int_equal(peri_buf_append_text(&op->body, c->body), PERI_OK);
    peri__op_finish(op, NULL);
    json_t *result = peri_op_json(op, &err);
    if (err.code != c->code)
        fail_msg("shape %d of %s: %s", (int)c->shape, c->body, err.message);
    if (c->result) {
        fixture_assert_json(op, c->result);
        assert_ptr_equal(peri_op_json(op, &err), result); /* parsed once */
    } else {
        assert_null(result);
    }
    if (c->code != PERI_OK)
        assert_string_equal(err.operation, "test.shape");
    peri_op_free(op);
}

static void test_shapes(void **state)
{
    (void)state;
    static const struct shape_case cases[] = {
        { NULL, "not json", NULL, PERI_SHAPE_NONE, PERI_OK },
        { NULL, "{\"aB\":1}", "{\"aB\":1}", PERI_SHAPE_RAW, PERI_OK },
        { NULL, "9007199254740993", "9007199254740993", PERI_SHAPE_RAW, PERI_OK },
        { NULL, "<p>", NULL, PERI_SHAPE_RAW, PERI_JSON },
        { NULL, "1", NULL, PERI_SHAPE_BYTES, PERI_UNSUPPORTED },
        { NULL, "{\"aB\":{\"cD\":1}}", "{\"a_b\":{\"cD\":1}}", PERI_SHAPE_OBJECT, PERI_OK },
        { NULL, "[1]", NULL, PERI_SHAPE_OBJECT, PERI_PROTOCOL },
        { NULL, "", NULL, PERI_SHAPE_OBJECT, PERI_JSON },
        { NULL, "{\"items\":[{\"aB\":[{\"cD\":1}]},{}]}", "{\"a_b\":[{\"cD\":1}]}", PERI_SHAPE_ITEM, PERI_OK },
        { NULL, "{\"items\":[]}", NULL, PERI_SHAPE_ITEM, PERI_OK },
        { NULL, "{}", NULL, PERI_SHAPE_ITEM, PERI_PROTOCOL },
        { NULL, "{\"items\":[{\"aB\":1},2]}", "[{\"a_b\":1},2]", PERI_SHAPE_ITEMS, PERI_OK },
        { NULL, "{\"items\":[]}", "[]", PERI_SHAPE_ITEMS, PERI_OK },
        { NULL, "{\"items\":1}", NULL, PERI_SHAPE_ITEMS, PERI_PROTOCOL },
        { NULL, "{\"items\":[{\"aB\":1}],\"nextCursor\":\"c\"}", "{\"items\":[{\"a_b\":1}],\"next_cursor\":\"c\"}",
          PERI_SHAPE_PAGE, PERI_OK },
        { "response", "{\"response\":{\"aB\":1}}", "{\"aB\":1}", PERI_SHAPE_FIELD, PERI_OK },
        { "response", "{\"response\":false}", "false", PERI_SHAPE_FIELD, PERI_OK },
        { "response", "{\"response\":null}", NULL, PERI_SHAPE_FIELD, PERI_OK },
        { "response", "{}", NULL, PERI_SHAPE_FIELD, PERI_OK },
    };
    struct peri_loop *loop = new_loop();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_shape(loop, &cases[i]);
    end_loop(loop);
}

static void test_answer_shape(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum peri_shape shape;
    } cases[] = {
        { "application/json", PERI_SHAPE_RAW },           { "Application/JSON; charset=utf-8", PERI_SHAPE_RAW },
        { "application/problem+json", PERI_SHAPE_RAW },   { "application/jsonx", PERI_SHAPE_BYTES },
        { "application/octet-stream", PERI_SHAPE_BYTES }, { NULL, PERI_SHAPE_BYTES },
    };
    struct peri_loop *loop = new_loop();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peri_op *op = peri__op_new(sizeof *op, &plain, loop, NULL, NULL);
        op->shape = PERI_SHAPE_ANSWER;
        if (cases[i].type)
            peri_headers_set(&op->headers, "Content-Type", cases[i].type);
        peri__op_finish(op, NULL);
        assert_int_equal(peri_op_shape(op), cases[i].shape);
        peri_op_free(op);
    }
    end_loop(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait),         cmocka_unit_test(test_wait_for_gives_up),
        cmocka_unit_test(test_on_done),      cmocka_unit_test(test_free_in_own_callback),
        cmocka_unit_test(test_cancel),       cmocka_unit_test(test_free_calls_nobody),
        cmocka_unit_test(test_snake_case),   cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_answer_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
