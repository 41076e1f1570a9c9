/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "host/idmap.h"
#include "host/model.h"
#include "perilune/random.h"

static void copies_are_independent(void **state)
{
    (void)state;
    struct peri_function *one = peri_function_new();
    one->external_id = strdup("a");
    one->env = strdup("{\"K\":\"V\"}");
    one->secrets = strdup("{\"S\":\"T\"}");
    one->error_trace = strdup("trace");
    one->version = 3;
    struct peri_function *two = peri_function_copy(one);
    assert_int_equal(two->refs, 1);
    assert_int_equal(two->version, 3);
    assert_ptr_not_equal(one->env, two->env);
    peri_function_ref(one);
    peri_function_unref(one);
    peri_function_unref(one);
    assert_string_equal(two->external_id, "a");
    assert_string_equal(two->secrets, "{\"S\":\"T\"}");
    assert_string_equal(two->error_trace, "trace");
    assert_null(two->name);
    peri_function_unref(two);
    peri_function_unref(NULL);
    peri_call_unref(NULL);
}

static void states_have_names(void **state)
{
    (void)state;
    assert_string_equal(peri_function_status_name(PERI_FN_QUEUED), "Queued");
    assert_string_equal(peri_function_status_name(PERI_FN_FAILED), "Failed");
    assert_string_equal(peri_call_state_name(PERI_CALL_QUEUED), "Queued");
    assert_string_equal(peri_call_state_name(PERI_CALL_CANCELLED), "Cancelled");
    assert_false(peri_call_state_final(PERI_CALL_QUEUED));
    assert_false(peri_call_state_final(PERI_CALL_RUNNING));
    for (int s = PERI_CALL_COMPLETED; s <= PERI_CALL_CANCELLED; s++)
        assert_true(peri_call_state_final((enum peri_call_state)s));
}

/* Against an array as the model. */
static void the_map_agrees_with_an_array(void **state)
{
    (void)state;
    enum { RANGE = 700 };
    static char values[RANGE + 1];
    bool there[RANGE + 1] = { false };
    struct peri__idmap map = { 0 };
    uint64_t seed = 42;
    struct peri_random random = peri_random_seeded(&seed);
    size_t count = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t n = peri_random_u64(random);
        uint64_t id = n % RANGE + 1;
        uint64_t key = id << 12; /* as ids of calls are */
        if ((n >> 32) % 2) {
            assert_int_equal(peri__idmap_put(&map, key, &values[id]), PERI_OK);
            count += !there[id];
            there[id] = true;
        } else {
            assert_ptr_equal(peri__idmap_remove(&map, key), there[id] ? &values[id] : NULL);
            count -= there[id];
            there[id] = false;
        }
        uint64_t other = (n >> 40) % RANGE + 1;
        assert_ptr_equal(peri__idmap_get(&map, other << 12), there[other] ? &values[other] : NULL);
        assert_int_equal(map.count, count);
    }
    size_t at = 0, seen = 0;
    for (const char *value; (value = peri__idmap_next(&map, &at)); seen++)
        assert_true(there[value - values]);
    assert_int_equal(seen, count);
    assert_null(peri__idmap_get(&map, 0));
    peri__idmap_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_independent),
        cmocka_unit_test(states_have_names),
        cmocka_unit_test(the_map_agrees_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
