/* SPDX-License-Identifier: MIT */
/* part: client */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "services/package.h"

/* The rules for a Python entry file (sheet, section 7.2). */

/* The text ends at the end of its allocation, so that a sanitizer sees a read beyond. */
static enum peri_code check(const char *text, struct peri_error *err)
{
    size_t len = strlen(text);
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len); /* NOLINT(bugprone-not-null-terminated-result) */
    peri_error_clear(err);
    enum peri_code code = peri__python_check("f/handler.py", (struct peri_str){ copy, len }, err);
    free(copy);
    return code;
}

static void test_accepted(void **state)
{
    (void)state;
    static const char *const good[] = {
        "def handle(data):\n    return data\n",
        "def handle(): pass",
        "def handle(client, data, secrets, function_call_info): pass",
        "\xEF\xBB\xBF\ndef handle(data): pass",
        "\xEF\xBB\xBFhandle = 1",
        "import os\r\n\r\ndef handle(data):\r\n    pass\r\n",
        "def  handle ( data: dict[str, int] = {'a,b': (1, 2)}, client=None ) -> dict :\n    pass\n",
        "def handle(\n    client,  # the client, of course\n    data=f(x, y),\n):\n    pass\n",
        "def handle[T](data: T): pass\n",
        "def \\\n  handle(data): pass\n",
        "def handle(*args, **kwargs): pass\n",
        "def handle(data, *, mine=1): pass\n",
        "def handle(mine, /, data): pass\n",
        "@decorated\ndef handle(data): pass\n",
        "handle = make(1)\n",
        "handle: Callable = make(1)\n",
        "x = 1; handle = x\n",
        "def handle(foo): pass\ndef handle(data): pass\n", /* the last one counts */
        "s = 'it''s'\nt = \"\"\"\ndef other(\n\"\"\"\ndef handle(data): pass\n",
        "x = (\n1,\n# )\n)\ndef handle(data): pass\n",
        "s = 'a\\'b'\ndef handle(data): pass\n",
        "if x:\n    pass\nelse:\n    pass\n\ndef handle(data): pass\n",
        "def handle(data=lambda x, y=(1, 2): 1, client=mylambda): pass\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct peri_error err;
        if (check(good[i], &err) != PERI_OK)
            fail_msg("%s\n%s", good[i], err.message);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char none[] = "f/handler.py: no function 'handle' at the top level";
    static const struct {
        const char *text, *message;
    } bad[] = {
        { "", none },
        { "\n", none },
        { "def handler(data): pass\n", none },
        { "def handles(data): pass\n", none },
        { "def main(): pass\nx = handle\n", none },
        { "class A:\n    def handle(self, data): pass\n", none },
        { "if True:\n    def handle(data): pass\n", none },
        { "if True:\n\tdef handle(data): pass\n", none },
        { "if True:\n    x = 1; handle = 2\n", none },
        { "'''\ndef handle(data): pass\n'''\n", none },
        { "x = (\ndef handle(data): pass\n", none },
        { "# def handle(data): pass\n", none },
        { "x = \\\ndef handle(data)\n", none },
        { "handle == 1\n", none },
        { "handle(1)\n", none },
        { "handle", none },
        { "def", none },
        { "def handle", "" },
        { "import handle\n", none },
        { "x = 1\n\nasync def handle(data): pass\n",
          "f/handler.py:3: the platform does not see 'async def handle'; write 'def handle'" },
        { "def handle(ctx): pass\n", "f/handler.py:1: handle has an argument 'ctx'; the platform passes only" },
        { "\n\ndef handle(\n    data,\n    dta=1,\n    more=2):\n    pass\n",
          "f/handler.py:5: handle has an argument 'dta'" },
        { "def handle(data, client_, **kw): pass\n", "f/handler.py:1: handle has an argument 'client_'" },
        { "def handle(data): pass\ndef handle(d): pass\n", "f/handler.py:2: handle has an argument 'd'" },
        { "def handle(data=lambda a, b: {1: 2}, c=1): pass\n", "f/handler.py:1: handle has an argument 'c'" },
        { "def handle(x=')', data=1): pass\n", "f/handler.py:1: handle has an argument 'x'" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct peri_error err;
        enum peri_code code = check(bad[i].text, &err);
        if (!bad[i].message[0]) /* Python will complain; here it only must not be read past its end */
            continue;
        if (code != PERI_PACKAGE || strncmp(err.message, bad[i].message, strlen(bad[i].message)) != 0)
            fail_msg("%s\n%d '%s'", bad[i].text, code, err.message);
    }
}

/* Cut anywhere, a text is read to its end and no further. */
static void test_cut(void **state)
{
    (void)state;
    static const char text[] = "\xEF\xBB\xBF# c\nx = '''a\\'b''' + \"\\\"\" \\\n + (1, [2], {3: '4'})\n"
                               "async def handle(a): pass\nhandle: T = 1; handle = 2\n"
                               "def handle[T](data: T = {'x': (1,)}, /, *, client=None): pass\n";
    char part[sizeof text];
    for (size_t len = 0; len < sizeof text; len++) {
        struct peri_error err;
        memcpy(part, text, len);
        part[len] = '\0';
        check(part, &err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
