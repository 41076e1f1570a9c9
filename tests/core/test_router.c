/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/router.h"

static void nothing(void *data, struct peri_http_req *req)
{
    (void)data;
    (void)req;
}

#define ROUTE(method, pattern)                                                                                         \
    {                                                                                                                  \
        method, pattern, PERI_HTTP_NO_BODY, 0, false, nothing, ""                                                      \
    }

static const struct peri_route own_routes[] = {
    ROUTE("GET", "/v1/functions"),
    ROUTE("GET", "/v1/functions/{name}"),
    ROUTE("PUT", "/v1/functions/{name}"),
    ROUTE("DELETE", "/v1/functions/{name}"),
    ROUTE("POST", "/v1/functions/{name}/call"),
    ROUTE("GET", "/v1/functions/{name}/calls/{id}/log"),
    ROUTE("GET", "/files/{path...}"),
};
static const struct peri_route api_routes[] = {
    ROUTE("POST", "/api/{p}/functions/list"),
    ROUTE("GET", "/api/{p}/functions/{id}"),
    ROUTE("GET", "/api/{p}/functions/list/deep"),
    ROUTE("GET", "/api/{p}/functions/{id}/calls"),
};
static const struct peri_door own = { .name = "own", .routes = own_routes, .count = 7, .prefix = "" };
static const struct peri_door api = { .name = "api", .routes = api_routes, .count = 4, .prefix = "/api/" };
static const struct peri_door *const doors[] = { &own, &api, NULL };

static struct peri_router *router;

static int setup(void **state)
{
    struct peri_error err;
    (void)state;
    return peri_router_new(doors, &router, &err) == PERI_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    peri_router_free(router);
    return 0;
}

static void assert_found(const char *method, const char *path, const struct peri_route *route)
{
    struct peri_route_match match;
    assert_int_equal(peri_router_match(router, method, path, &match), PERI_ROUTE_FOUND);
    assert_ptr_equal(match.route, route);
}

static void assert_param(const struct peri_route_match *match, size_t at, const char *name, const char *value)
{
    assert_true(at < match->param_count);
    assert_true(peri_str_equal(match->params[at].name, peri_str_from(name)));
    assert_true(peri_str_equal(match->params[at].value, peri_str_from(value)));
}

static void test_literals_and_parameters(void **state)
{
    struct peri_route_match match;
    (void)state;
    assert_found("GET", "/v1/functions", &own_routes[0]);
    assert_found("GET", "/v1/functions/a", &own_routes[1]);
    assert_found("HEAD", "/v1/functions/a", &own_routes[1]);
    assert_found("PUT", "/v1/functions/a", &own_routes[2]);
    assert_int_equal(peri_router_match(router, "GET", "/v1/functions/a%20b/calls/17/log", &match), PERI_ROUTE_FOUND);
    assert_param(&match, 0, "name", "a%20b");
    assert_param(&match, 1, "id", "17");
    assert_ptr_equal(match.door, &own);
}

static void test_literal_wins_and_backtracks(void **state)
{
    struct peri_route_match match;
    (void)state;
    assert_found("POST", "/api/demo/functions/list", &api_routes[0]);
    assert_found("GET", "/api/demo/functions/17", &api_routes[1]);
    assert_found("GET", "/api/demo/functions/list/deep", &api_routes[2]);
    /* "list" leads nowhere with "calls" behind it: the parameter takes it */
    assert_int_equal(peri_router_match(router, "GET", "/api/demo/functions/list/calls", &match), PERI_ROUTE_FOUND);
    assert_ptr_equal(match.route, &api_routes[3]);
    assert_int_equal(match.param_count, 2);
    assert_param(&match, 1, "id", "list");
}

static void test_rest(void **state)
{
    struct peri_route_match match;
    (void)state;
    assert_int_equal(peri_router_match(router, "GET", "/files/a/b/c", &match), PERI_ROUTE_FOUND);
    assert_param(&match, 0, "path", "a/b/c");
    assert_int_equal(peri_router_match(router, "GET", "/files/", &match), PERI_ROUTE_NOT_FOUND);
}

static void test_not_found_belongs_to_a_door(void **state)
{
    static const char *const own_paths[] = { "/", "", "/v1", "/v1/functions/", "/v1/functions//call", "x", "*" };
    struct peri_route_match match;
    (void)state;
    for (size_t i = 0; i < sizeof own_paths / sizeof own_paths[0]; i++) {
        assert_int_equal(peri_router_match(router, "GET", own_paths[i], &match), PERI_ROUTE_NOT_FOUND);
        assert_ptr_equal(match.door, &own);
    }
    assert_int_equal(peri_router_match(router, "GET", "/api/demo/nothing", &match), PERI_ROUTE_NOT_FOUND);
    assert_ptr_equal(match.door, &api);
}

static void test_bad_method_says_which(void **state)
{
    struct peri_route_match match;
    (void)state;
    assert_int_equal(peri_router_match(router, "POST", "/v1/functions/a", &match), PERI_ROUTE_BAD_METHOD);
    assert_string_equal(match.allow, "DELETE, GET, HEAD, PUT");
    assert_ptr_equal(match.door, &own);
    assert_int_equal(peri_router_match(router, "BREW", "/api/x/functions/list", &match), PERI_ROUTE_BAD_METHOD);
    assert_string_equal(match.allow, "POST");
    assert_ptr_equal(match.door, &api);
    assert_int_equal(peri_router_match(router, "get", "/v1/functions", &match), PERI_ROUTE_BAD_METHOD);
}

static void test_depth_is_bounded(void **state)
{
    char path[4096];
    struct peri_route_match match;
    (void)state;
    for (size_t i = 0; i + 1 < sizeof path; i += 2)
        memcpy(path + i, "/a", 2);
    path[sizeof path - 2] = '\0';
    assert_int_equal(peri_router_match(router, "GET", path, &match), PERI_ROUTE_NOT_FOUND);
}

static void assert_refused(const struct peri_route *routes, size_t count, const char *word)
{
    const struct peri_door door = { .name = "bad", .routes = routes, .count = count, .prefix = "" };
    const struct peri_door *const list[] = { &door, NULL };
    struct peri_router *made = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(peri_router_new(list, &made, &err), PERI_INVALID);
    assert_null(made);
    assert_non_null(strstr(err.message, word));
}

static void test_bad_tables_are_refused(void **state)
{
    static const struct peri_route twice[] = { ROUTE("GET", "/a/{x}"), ROUTE("GET", "/a/{y}") };
    static const struct peri_route method[] = { ROUTE("BREW", "/a") };
    static const struct peri_route relative[] = { ROUTE("GET", "a") };
    static const struct peri_route rest[] = { ROUTE("GET", "/a/{x...}/b") };
    (void)state;
    assert_refused(twice, 2, "/a/{y}");
    assert_refused(method, 1, "BREW");
    assert_refused(relative, 1, "GET a");
    assert_refused(rest, 1, "/a/{x...}/b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals_and_parameters),
        cmocka_unit_test(test_literal_wins_and_backtracks),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_not_found_belongs_to_a_door),
        cmocka_unit_test(test_bad_method_says_which),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_bad_tables_are_refused),
    };
    return cmocka_run_group_tests_name("router", tests, setup, teardown);
}
