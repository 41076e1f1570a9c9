/* SPDX-License-Identifier: MIT */
/* part: lua */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lperi.h"
#include "perilune/json.h"
#include "perilune/random.h"

/* The direct codec of the Lua binding, with jansson as its oracle: random documents there and back, damaged ones
 * accepted or refused alike, and every allocation failing once. */

static uint64_t seed;

static uint64_t below(uint64_t n)
{
    return peri_random_u64(peri_random_seeded(&seed)) % n;
}

static json_t *random_string(void)
{
    static const char *const pieces[] = { "a",    "key", "\"", "\\", "\n", "\x01",
                                          "\x7f", "é",   "€",  "😀",  "/",  "0123456789abcdef" };
    char text[256] = "";
    size_t len = 0;
    for (uint64_t i = below(8); i > 0; i--) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s", pieces[below(sizeof pieces / sizeof *pieces)]);
    }
    return json_string(text);
}

static json_t *random_real(void)
{
    double x;
    switch (below(3)) {
    case 0:
        return json_real((double)below(2000000) / 1000 - 1000);
    case 1:
        return json_real(ldexp((double)below(UINT64_C(1) << 53), (int)below(200) - 150));
    default:
        do {
            uint64_t bits = below(UINT64_MAX);
            memcpy(&x, &bits, sizeof x);
        } while (!isfinite(x));
        return json_real(x);
    }
}

static json_t *random_value(int depth)
{
    json_t *value;
    switch (below(depth > 5 ? 6 : 8)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(below(2));
    case 2:
        return json_integer((json_int_t)below(UINT64_MAX));
    case 3:
        return json_integer((json_int_t)below(1000) - 500);
    case 4:
        return random_real();
    case 5:
        return random_string();
    case 6:
        value = json_array();
        for (uint64_t i = below(12); i > 0; i--) {
            json_array_append_new(value, random_value(depth + 1));
        }
        return value;
    default:
        value = json_object();
        for (uint64_t i = below(12); i > 0; i--) {
            json_t *key = random_string();
            json_object_set_new(value, json_string_value(key), random_value(depth + 1));
            json_decref(key);
        }
        return value;
    }
}

static struct peri_str text_of(const char *text)
{
    return peri_str_from(text);
}

static void test_random_documents_come_back_equal(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    static const size_t flags[] = { 0, JSON_COMPACT, JSON_INDENT(2), JSON_ENSURE_ASCII };
    struct peri_error err;
    seed = 11;
    for (int round = 0; round < 4000; round++) {
        json_t *document = random_value(0);
        char *text = json_dumps(document, JSON_ENCODE_ANY | flags[below(4)]);
        struct peri_buf out;
        peri_buf_init(&out, SIZE_MAX / 2);
        if (peri_lua_json_decode(L, text_of(text), 0, &err) != PERI_OK) {
            fail_msg("%s: %s", text, err.message);
        }
        assert_int_equal(lua_gettop(L), 1);
        if (peri_lua_json_encode(L, -1, &out, &err) != PERI_OK) {
            fail_msg("%s: %s", text, err.message);
        }
        assert_int_equal(strlen(out.data), out.len);
        json_t *back = peri_json_parse(peri_buf_str(&out), &err);
        if (!json_equal(document, back)) {
            fail_msg("%s\n came back as %s", text, out.data);
        }
        json_decref(back);
        json_decref(document);
        free(text);
        peri_buf_fini(&out);
        lua_settop(L, 0);
    }
    lua_close(L);
}

/* What Lua can hold and jansson can't: integers beyond 64 bits, as floats, and a NUL in a key. */
static bool only_lua_holds_it(const struct peri_error *err)
{
    return strstr(err->message, "too big") || strstr(err->message, "NUL byte in object key");
}

static void test_damaged_documents_are_judged_alike(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    static const char bytes[] = "{}[]\",:.e-+0123456789tfn\\u \n\x80\xc3\xed";
    int refused = 0;
    seed = 12;
    for (int round = 0; round < 30000; round++) {
        json_t *document = random_value(3);
        char *text = json_dumps(document, JSON_ENCODE_ANY);
        size_t len = strlen(text);
        for (uint64_t i = below(3); i > 0 && len > 0; i--) {
            text[below(len)] = bytes[below(sizeof bytes - 1)];
        }
        struct peri_error ours;
        struct peri_error theirs;
        enum peri_code code = peri_lua_json_decode(L, (struct peri_str){ text, len }, 0, &ours);
        json_t *parsed = peri_json_parse((struct peri_str){ text, len }, &theirs);
        if (!parsed && code == PERI_OK && only_lua_holds_it(&theirs)) {
            assert_int_equal(lua_gettop(L), 1);
        } else if ((code == PERI_OK) != (parsed != NULL)) {
            fail_msg("%s\n ours: %s\n core: %s", text, code == PERI_OK ? "good" : ours.message,
                     parsed ? "good" : theirs.message);
        } else if (!parsed) {
            refused++;
            assert_int_equal(lua_gettop(L), 0);
            assert_non_null(strstr(ours.message, "line "));
        }
        json_decref(parsed);
        json_decref(document);
        free(text);
        lua_settop(L, 0);
    }
    assert_true(refused > 1000);
    lua_close(L);
}

static void test_numbers_are_written_as_core_writes_them(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    seed = 13;
    for (int round = 0; round < 50000; round++) {
        struct peri_error err;
        struct peri_buf ours;
        struct peri_buf theirs;
        peri_buf_init(&ours, 64);
        peri_buf_init(&theirs, 64);
        json_t *real = random_real();
        lua_pushnumber(L, json_real_value(real));
        assert_int_equal(peri_lua_json_encode(L, -1, &ours, &err), PERI_OK);
        assert_int_equal(peri_json_write_real(&theirs, json_real_value(real)), PERI_OK);
        assert_string_equal(ours.data, theirs.data);
        json_decref(real);
        lua_settop(L, 0);
        peri_buf_fini(&ours);
        peri_buf_fini(&theirs);
    }
    lua_close(L);
}

static void test_keys_are_converted_at_the_chosen_depths(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    struct peri_error err;
    struct peri_str text =
        text_of("{\"nextCursor\":1,\"items\":[{\"externalId\":\"x\",\"metaData\":{\"keepThis\":1}}],\"A\":2}");
    assert_int_equal(peri_lua_json_decode(L, text, 1u | 4u, &err), PERI_OK);
    assert_int_equal(lua_getfield(L, 1, "next_cursor"), LUA_TNUMBER);
    assert_int_equal(lua_getfield(L, 1, "a"), LUA_TNUMBER);
    lua_getfield(L, 1, "items");
    lua_rawgeti(L, -1, 1);
    assert_int_equal(lua_getfield(L, -1, "external_id"), LUA_TSTRING);
    assert_int_equal(lua_getfield(L, -2, "meta_data"), LUA_TTABLE);
    assert_int_equal(lua_getfield(L, -1, "keepThis"), LUA_TNUMBER);
    lua_close(L);
}

static void test_a_text_over_the_maximum_is_refused_whole(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    struct peri_error err;
    struct peri_buf out;
    peri_buf_init(&out, 16);
    assert_int_equal(peri_buf_append_text(&out, "before"), PERI_OK);
    lua_pushliteral(L, "0123456789");
    assert_int_equal(peri_lua_json_encode(L, 1, &out, &err), PERI_TOO_LARGE);
    assert_string_equal(out.data, "before");
    lua_pushliteral(L, "01234567");
    assert_int_equal(peri_lua_json_encode(L, 2, &out, &err), PERI_OK);
    assert_string_equal(out.data, "before\"01234567\"");
    peri_buf_fini(&out);
    lua_close(L);
}

/* ---- an allocator that fails at the n-th allocation ---- */

struct quota {
    long left;
};

static void *allocate(void *data, void *block, size_t old_size, size_t size)
{
    struct quota *quota = data;
    if (size == 0) {
        free(block);
        return NULL;
    }
    if ((!block || size > old_size) && quota->left-- == 0) {
        quota->left = 0;
        return NULL;
    }
    return realloc(block, size);
}

static int decode(lua_State *L)
{
    struct peri_error err;
    const struct peri_str *text = lua_touserdata(L, 1);
    assert_int_equal(peri_lua_json_decode(L, *text, 0, &err), PERI_OK);
    return 1;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    struct quota quota = { -1 };
    lua_State *L = lua_newstate(allocate, &quota);
    char text[8192] = "[";
    size_t len = 1;
    for (int i = 0; i < 40; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "{\"key%d\":\"text \\u00e9 %d, longer than what is interned\",\"list\":[1,2,3]},",
                                i % 7, i);
    }
    snprintf(text + len, sizeof text - len, "null]");
    struct peri_str view = text_of(text);
    lua_gc(L, LUA_GCSTOP);
    int failures = 0;
    for (long n = 0;; n++) {
        lua_pushcfunction(L, decode);
        lua_pushlightuserdata(L, &view);
        quota.left = n;
        int status = lua_pcall(L, 1, 1, 0);
        quota.left = -1;
        if (status == LUA_OK) {
            break;
        }
        assert_int_equal(status, LUA_ERRMEM);
        failures++;
        lua_settop(L, 0);
        lua_gc(L, LUA_GCCOLLECT);
    }
    assert_true(failures > 50);
    assert_int_equal(lua_rawlen(L, 1), 41);
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_documents_come_back_equal),
        cmocka_unit_test(test_damaged_documents_are_judged_alike),
        cmocka_unit_test(test_numbers_are_written_as_core_writes_them),
        cmocka_unit_test(test_keys_are_converted_at_the_chosen_depths),
        cmocka_unit_test(test_a_text_over_the_maximum_is_refused_whole),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
