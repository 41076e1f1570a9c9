/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

#include <jansson.h>
#include <signal.h>

#include "host/tokens.h"

/* Who may show which token: calls that run, those that ended a moment ago, and nobody else. */

#define SAYS(err, text)                                                                                                \
    do {                                                                                                               \
        if (!strstr((err).message, text))                                                                              \
            fail_msg("'%s' does not say '%s'", (err).message, text);                                                   \
    } while (0)

/* ---- the ring ---- */

static void make(char out[PERI_CALL_TOKEN_MAX], uint64_t call_id)
{
    static const unsigned char key[PERI_CALL_KEY_SIZE] = { 7 };
    assert_int_equal(peri_call_token(key, call_id, 1, out, NULL), PERI_OK);
}

static void an_ended_call_has_its_grace(void **state)
{
    (void)state;
    struct peri__tokens tokens = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    char one[PERI_CALL_TOKEN_MAX], two[PERI_CALL_TOKEN_MAX];
    make(one, 1);
    make(two, 2);
    assert_int_equal(peri__tokens_check(&tokens, 1, peri_str_from(one), 1000, &err), PERI_UNAUTHORIZED);
    SAYS(err, "call 1 does not run here any more");
    peri__tokens_ended(&tokens, 1, one, 1000);
    assert_int_equal(peri__tokens_check(&tokens, 1, peri_str_from(one), 1000, &err), PERI_OK);
    assert_int_equal(peri__tokens_check(&tokens, 1, peri_str_from(one), 11000, &err), PERI_OK);
    assert_int_equal(peri__tokens_check(&tokens, 1, peri_str_from(one), 11001, &err), PERI_UNAUTHORIZED);
    SAYS(err, "expired");
    assert_int_equal(peri__tokens_check(&tokens, 1, peri_str_from(two), 1000, &err), PERI_UNAUTHORIZED);
    SAYS(err, "not the one of call 1");
    assert_null(strstr(err.message, two));
    assert_int_equal(peri__tokens_check(&tokens, 2, peri_str_from(two), 1000, &err), PERI_UNAUTHORIZED);
    peri__tokens_fini(&tokens);
}

static void the_ring_keeps_the_last_ones(void **state)
{
    (void)state;
    struct peri__tokens tokens = { 0 };
    char token[PERI_CALL_TOKEN_MAX];
    for (uint64_t id = 1; id <= PERI__TOKENS_MAX + 1; id++) {
        make(token, id);
        peri__tokens_ended(&tokens, id, token, 5);
    }
    for (uint64_t id = 1; id <= PERI__TOKENS_MAX + 1; id++) {
        make(token, id);
        enum peri_code code = peri__tokens_check(&tokens, id, peri_str_from(token), 6, NULL);
        assert_int_equal(code, id == 1 ? PERI_UNAUTHORIZED : PERI_OK);
    }
    peri__tokens_fini(&tokens);
}

/* ---- calls ---- */

struct told {
    char token[PERI_CALL_TOKEN_MAX];
    bool done;
};

static void take_token(void *data, size_t index, const struct peri_log_line *line)
{
    struct told *told = data;
    (void)index;
    snprintf(told->token, sizeof told->token, "%s", line->text);
    told->done = true;
}

static void wait_token(struct fixture *f, uint64_t call_id, struct told *told)
{
    struct peri_watch watch = { .line = take_token, .data = told };
    uint64_t handle = peri_engine_watch(f->engine, call_id, &watch);
    assert_int_not_equal(handle, 0);
    fixture_wait(f, &told->done);
    peri_engine_unwatch(f->engine, handle);
}

static enum peri_code check(struct fixture *f, const char *token, uint64_t expected, struct peri_error *err)
{
    uint64_t id = 0;
    enum peri_code code = peri_engine_call_token(f->engine, peri_str_from(token), &id, err);
    assert_int_equal(id, code == PERI_OK ? expected : 0);
    assert_true(code == PERI_OK || code == PERI_UNAUTHORIZED);
    assert_true(code == PERI_OK || strlen(token) < 20 || !strstr(err->message, token));
    return code;
}

static void end_call(struct fixture *f, struct called *c)
{
    peri_engine_cancel(f->engine, c->id);
    fixture_wait(f, &c->finished);
    peri_call_unref(c->call);
}

static void a_running_call_has_its_own_token(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 2 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct called a = { 0 }, b = { 0 };
    struct told at = { 0 }, bt = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    char changed[PERI_CALL_TOKEN_MAX];
    assert_int_equal(fixture_submit(&f, function, "token 1000000", false, 0, &a), PERI_OK);
    wait_token(&f, a.id, &at);
    assert_int_equal(fixture_submit(&f, function, "token 1000000", false, 0, &b), PERI_OK); /* the other sandbox */
    wait_token(&f, b.id, &bt);
    assert_string_not_equal(at.token, bt.token);
    assert_int_equal(check(&f, at.token, a.id, &err), PERI_OK);
    assert_int_equal(check(&f, bt.token, b.id, &err), PERI_OK);

    snprintf(changed, sizeof changed, "pc1.%llu%s", (unsigned long long)b.id, strrchr(at.token, '.'));
    assert_int_equal(check(&f, changed, 0, &err), PERI_UNAUTHORIZED); /* a's, said to be b's */
    SAYS(err, "not the one of call");
    snprintf(changed, sizeof changed, "%s", at.token);
    changed[strlen(changed) - 3] ^= 1;
    assert_int_equal(check(&f, changed, 0, &err), PERI_UNAUTHORIZED);
    assert_int_equal(check(&f, "", 0, &err), PERI_UNAUTHORIZED);
    assert_int_equal(check(&f, "the host's own", 0, &err), PERI_UNAUTHORIZED);
    SAYS(err, "not one of this host's");
    snprintf(changed, sizeof changed, "pc1.1%s", strrchr(at.token, '.'));
    assert_int_equal(check(&f, changed, 0, &err), PERI_UNAUTHORIZED);
    SAYS(err, "call 1 does not run here any more");

    end_call(&f, &a);
    assert_int_equal(check(&f, at.token, a.id, &err), PERI_OK); /* was used: has its grace */
    assert_int_equal(check(&f, bt.token, b.id, &err), PERI_OK);
    end_call(&f, &b);
    peri_function_unref(function);
    fixture_end(&f);
}

static void only_tokens_that_were_made_have_a_grace(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_call *call = fixture_call(&f, function, "token", true); /* made, never used, and said so at its end */
    char token[PERI_CALL_TOKEN_MAX];
    snprintf(token, sizeof token, "%.*s", (int)call->response.len - 2, call->response.data + 1);
    assert_int_equal(check(&f, token, call->id, &err), PERI_OK);
    peri_call_unref(call);

    struct called c = { 0 };
    struct told told = { 0 };
    assert_int_equal(fixture_submit(&f, function, "token 1000000", false, 0, &c), PERI_OK);
    wait_token(&f, c.id, &told);
    end_call(&f, &c); /* its sandbox says nothing of a token, and none was used */
    assert_int_equal(check(&f, told.token, 0, &err), PERI_UNAUTHORIZED);
    SAYS(err, "does not run here any more");
    peri_function_unref(function);
    fixture_end(&f);
}

static int sandbox_pid(struct fixture *f)
{
    char *info = peri_engine_info(f->engine);
    json_t *root = json_loads(info, 0, NULL);
    int pid = (int)json_integer_value(json_object_get(json_array_get(json_object_get(root, "sandboxes"), 0), "pid"));
    json_decref(root);
    free(info);
    return pid;
}

static void each_attempt_has_its_own(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct called c = { 0 };
    struct told first = { 0 }, second = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(fixture_submit(&f, function, "token 1000000", true, 0, &c), PERI_OK);
    fixture_wait(&f, &c.accepted);
    wait_token(&f, c.id, &first);
    assert_int_equal(check(&f, first.token, c.id, &err), PERI_OK);
    kill(sandbox_pid(&f), SIGKILL);
    wait_token(&f, c.id, &second);
    assert_string_not_equal(first.token, second.token);
    assert_int_equal(check(&f, first.token, 0, &err), PERI_UNAUTHORIZED);
    SAYS(err, "or of another attempt");
    assert_int_equal(check(&f, second.token, c.id, &err), PERI_OK);
    end_call(&f, &c);
    assert_int_equal(check(&f, first.token, 0, &err), PERI_UNAUTHORIZED);
    assert_int_equal(check(&f, second.token, c.id, &err), PERI_OK);
    peri_function_unref(function);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ended_call_has_its_grace),      cmocka_unit_test(the_ring_keeps_the_last_ones),
        cmocka_unit_test(a_running_call_has_its_own_token), cmocka_unit_test(only_tokens_that_were_made_have_a_grace),
        cmocka_unit_test(each_attempt_has_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
