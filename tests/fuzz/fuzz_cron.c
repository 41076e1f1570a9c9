/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "host/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

/* What is taken has a text and a next time, and the times ascend; what is refused says where. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct peri_timezone *zone;
    struct peri_str text = { (const char *)data, size };
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_cron cron;
    if (!zone && peri_timezone_load("UTC", NULL, &zone, NULL) != PERI_OK)
        abort();
    if (peri_cron_parse(&cron, text, &err) != PERI_OK) {
        check(err.code == PERI_BAD_REQUEST);
        check(size > PERI_CRON_MAX || !strncmp(err.message, "column ", 7));
        return 0;
    }
    int64_t at = INT64_C(1772323200000);
    for (int i = 0; i < 5; i++) {
        int64_t next = peri_cron_next(&cron, zone, at);
        check(next > at);
        check(peri_cron_last(&cron, zone, at, next) == next);
        at = next;
    }
    struct peri_buf out;
    peri_buf_init(&out, 65536);
    check(peri_cron_text(text, &out) == PERI_OK && out.len > 0);
    peri_buf_fini(&out);
    return 0;
}
