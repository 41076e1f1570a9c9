/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "perilune/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

/* True where the contract lets peri_json_parse differ from jansson's reader. */
static int may_differ(const json_error_t *jansson, const struct peri_error *ours)
{
    enum json_error_code code = json_error_code(jansson);
    return strstr(ours->message, "nested too deep") != NULL || code == json_error_numeric_overflow ||
           code == json_error_stack_overflow;
}

/* jansson's reader is the oracle: both accept, with equal values, or both refuse. What was read is written, and what
 * was written reads back as the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peri_error err = PERI_ERROR_INIT;
    json_error_t oracle_error = { 0 };
    struct peri_str text = { (const char *)data, size };
    struct peri_buf once, twice;
    json_t *value = peri_json_parse(text, &err);
    json_t *oracle = json_loadb(size ? text.data : "", size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &oracle_error);
    json_t *again = NULL;

    peri_buf_init(&once, SIZE_MAX);
    peri_buf_init(&twice, SIZE_MAX);
    if (memchr(text.data, '\0', size)) /* never JSON; jansson takes it for the end of the text */
        check(!value);
    else if (value && oracle)
        check(json_equal(value, oracle));
    else
        check(!value == !oracle || may_differ(&oracle_error, &err));
    if (!value) {
        check(err.code == PERI_JSON && strncmp(err.message, "line ", 5) == 0);
    } else {
        check(peri_json_write(value, &once, &err) == PERI_OK);
        again = peri_json_parse(peri_buf_str(&once), &err);
        check(again && json_equal(value, again));
        check(peri_json_write(again, &twice, &err) == PERI_OK);
        check(peri_str_equal(peri_buf_str(&once), peri_buf_str(&twice)));
    }
    peri_buf_clear(&once); /* any bytes make a JSON string */
    check(peri_json_write_string(&once, text) == PERI_OK);
    json_decref(again);
    again = peri_json_parse(peri_buf_str(&once), &err);
    check(json_is_string(again));

    json_decref(again);
    json_decref(value);
    json_decref(oracle);
    peri_buf_fini(&once);
    peri_buf_fini(&twice);
    return 0;
}
