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

/* What was read is written, and what was written reads back as the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_str text = { (const char *)data, size };
    struct peri_buf once, twice;
    json_t *value = peri_json_parse(text, &err);
    json_t *again = NULL;

    peri_buf_init(&once, SIZE_MAX);
    peri_buf_init(&twice, SIZE_MAX);
    if (!value) {
        check(err.code == PERI_JSON && err.message[0] != '\0');
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
    peri_buf_fini(&once);
    peri_buf_fini(&twice);
    return 0;
}
