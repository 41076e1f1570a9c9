/* SPDX-License-Identifier: MIT */
/* part: lua */
#include "perilune/token.h"
#include "support/runtime_fixture.h"
#include "support/vectors.h"

/* ctx.service within the runtime: whose token a call gets, and when. */

#define URL "http://127.0.0.1:9/cim"
#define META(attempt) "{\"call\":{\"id\":1,\"attempt\":" #attempt "}}"
#define SHOW HANDLER("return ctx.service.service_url .. ' ' .. ctx.service.service_token")

static const unsigned char key[PERI_CALL_KEY_SIZE] = "0123456789abcdef0123456789abcde";

static void begin(struct bench *b)
{
    peri_lua_runtime_start(b->runtime, (struct peri_str){ (const char *)key, sizeof key }, peri_str_from(URL));
}

static void assert_token(const struct answer *answer, uint64_t call_id, unsigned attempt)
{
    char token[PERI_CALL_TOKEN_MAX], wanted[256];
    assert_int_equal(peri_call_token(key, call_id, attempt, token, NULL), PERI_OK);
    snprintf(wanted, sizeof wanted, "\"" URL " %s\"", token);
    if (strcmp(answer->body, wanted) != 0) {
        fail_msg("%s is not %s", answer->body, wanted);
    }
    assert_true(answer->token);
}

static void a_call_gets_its_own_token(void **state)
{
    struct bench *b = *state;
    begin(b);
    assert_token(run_code(b, SHOW, (struct call){ .id = 7, .meta = META(1) }), 7, 1);
    assert_token(run_code(b, SHOW, (struct call){ .id = 7, .meta = META(3) }), 7, 3);
    assert_token(run_code(b, SHOW, (struct call){ .id = UINT64_C(9007199254740991), .meta = META(1) }),
                 UINT64_C(9007199254740991), 1);
    /* what the handler makes of ctx.call changes nothing */
    assert_token(run_code(b,
                          HANDLER("ctx.call.attempt, ctx.call.id = 9, 9 return ctx.service.service_url .. ' ' .. "
                                  "ctx.service.service_token"),
                          (struct call){ .id = 8, .meta = META(2) }),
                 8, 2);
    /* once made it stays; in a coroutine of the handler's own too */
    struct answer *answer = run_code(
        b,
        HANDLER("local inner = coroutine.wrap(function() return ctx.service end)()\n"
                "return { inner == ctx.service, rawequal(ctx.service, ctx.service), rawget(ctx, 'service') ~= nil }"),
        (struct call){ .id = 9, .meta = META(1) });
    assert_string_equal(answer->body, "[true,true,true]");
}

static void a_call_that_does_not_ask_has_none(void **state)
{
    struct bench *b = *state;
    begin(b);
    const struct answer *answer = run_code(b, HANDLER("return ctx.call.attempt"), (struct call){ .meta = META(1) });
    assert_string_equal(answer->body, "1");
    assert_false(answer->token);
}

static void two_calls_at_once_have_two(void **state)
{
    struct bench *b = *state;
    begin(b);
    load_code(b, 1,
              HANDLER("local perilune = require 'perilune'\n"
                      "local first = ctx.service.service_token\n"
                      "perilune.sleep(0.01)\n"
                      "local again = ctx.service.service_token\n"
                      "return first == again and ctx.service.service_url .. ' ' .. first"));
    start(b, (struct call){ .id = 21, .meta = META(1) });
    start(b, (struct call){ .id = 22, .meta = META(1) });
    run_until(b, 2);
    for (int i = 0; i < 2; i++) {
        assert_token(&b->answers[i], b->answers[i].call_id, 1);
    }
    assert_int_not_equal(b->answers[0].call_id, b->answers[1].call_id);
}

static void the_ctx_of_another_call_gives_none(void **state)
{
    struct bench *b = *state;
    begin(b);
    load_code(b, 1,
              "local kept\n" HANDLER("if not kept then kept = ctx return 'kept' end\n"
                                     "return { mine = ctx.service ~= nil, theirs = kept.service ~= nil }"));
    assert_string_equal(call(b, (struct call){ .id = 31, .meta = META(1) })->body, "\"kept\"");
    struct answer *answer = call(b, (struct call){ .id = 32, .meta = META(1) });
    assert_contains(answer->body, "\"mine\":true");
    assert_contains(answer->body, "\"theirs\":false");
}

static void its_client_is_closed_with_the_call(void **state)
{
    struct bench *b = *state;
    begin(b);
    load_code(b, 1,
              "local kept\n" HANDLER("if not kept then kept = ctx.service return 'kept' end\n"
                                     "return kept.generator:get_number('n')"));
    assert_string_equal(call(b, (struct call){ .id = 41, .meta = META(1) })->body, "\"kept\"");
    struct answer *answer = call(b, (struct call){ .id = 42, .meta = META(1) });
    assert_int_equal(answer->code, PERI_HANDLER_FAILED);
    assert_contains(answer->body, "the client is closed");
}

static void a_host_without_the_service_says_so(void **state)
{
    struct bench *b = *state;
    struct answer *answer = run_code(b, HANDLER("return ctx.service"), (struct call){ .meta = META(1) });
    assert_int_equal(answer->code, PERI_HANDLER_FAILED);
    assert_contains(answer->body, "ctx.service: this host has no access service");
    assert_false(answer->token);
    peri_lua_runtime_start(b->runtime, peri_str_from("short"), peri_str_from(URL));
    answer = run_code(b, HANDLER("return ctx.service"), (struct call){ .meta = META(1) });
    assert_contains(answer->body, "this host has no access service");
    begin(b);
    assert_token(run_code(b, SHOW, (struct call){ .id = 51, .meta = META(1) }), 51, 1);
}

static void an_event_may_bring_the_platforms_own(void **state)
{
    struct bench *b = *state;
    json_t *vectors = vectors_load("cim_event");
    json_t *request = json_loads(json_string_value(json_object_get(vectors, "request")), 0, NULL);
    json_t *metadata = json_object_get(request, "metadata");
    begin(b);
    load_code(
        b, 1,
        HANDLER("return { url = ctx.service.service_url, ours = ctx.service.service_token:find('^pc1') ~= nil }"));
    for (int i = 0; i < 2; i++) {
        char *body = json_dumps(request, 0);
        struct answer *answer =
            call(b, (struct call){ .id = 61, .meta = META(1), .body = body, .input = PERI_INPUT_EVENT });
        assert_contains(answer->body, i == 0 ? "\"url\":\"" URL "\"" : "\"url\":\"http://127.0.0.1:8/their\"");
        assert_contains(answer->body, i == 0 ? "\"ours\":true" : "\"ours\":false");
        assert_int_equal(answer->token, i == 0);
        free(body);
        json_object_set_new(metadata, "service_url", json_string("http://127.0.0.1:8/their"));
        json_object_set_new(metadata, "service_token", json_string("theirs"));
    }
    json_decref(request);
    json_decref(vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_call_gets_its_own_token, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_that_does_not_ask_has_none, setup, teardown),
        cmocka_unit_test_setup_teardown(two_calls_at_once_have_two, setup, teardown),
        cmocka_unit_test_setup_teardown(the_ctx_of_another_call_gives_none, setup, teardown),
        cmocka_unit_test_setup_teardown(its_client_is_closed_with_the_call, setup, teardown),
        cmocka_unit_test_setup_teardown(a_host_without_the_service_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(an_event_may_bring_the_platforms_own, setup, teardown),
    };
    return cmocka_run_group_tests_name("call_service", tests, NULL, NULL);
}
