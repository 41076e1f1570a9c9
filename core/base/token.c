/* SPDX-License-Identifier: MIT */
#include "perilune/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "perilune/hash.h"

#define PREFIX "pc1."
#define MAC_LETTERS 43 /* 32 bytes in base64url */

enum peri_code peri_call_token(const unsigned char key[PERI_CALL_KEY_SIZE], uint64_t call_id, unsigned attempt,
                               char out[PERI_CALL_TOKEN_MAX], struct peri_error *err)
{
    char message[64];
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf text;
    int len = snprintf(message, sizeof message, "cim\n%" PRIu64 "\n%u", call_id, attempt);
    peri_buf_init(&text, PERI_CALL_TOKEN_MAX - 1);
    enum peri_code code = peri_hmac(PERI_SHA256, (struct peri_str){ (const char *)key, PERI_CALL_KEY_SIZE },
                                    (struct peri_str){ message, (size_t)len }, digest, err);
    if (code != PERI_OK)
        return code;
    if (peri_buf_append_text(&text, PREFIX) != PERI_OK || peri_buf_append_uint(&text, call_id) != PERI_OK ||
        peri_buf_append_byte(&text, '.') != PERI_OK || peri_base64url_append(&text, digest, 32) != PERI_OK)
        code = peri_error_set(err, PERI_NOMEM, "no memory for the token of a call");
    else
        memcpy(out, text.data, text.len + 1);
    if (text.data)
        peri_secure_zero(text.data, text.len);
    peri_buf_fini(&text);
    peri_secure_zero(digest, sizeof digest);
    return code;
}

bool peri_call_token_parse(struct peri_str token, uint64_t *call_id)
{
    size_t at = strlen(PREFIX);
    uint64_t id = 0;
    if (!peri_str_has_prefix(token, PREFIX))
        return false;
    size_t first = at;
    for (; at < token.len && token.data[at] >= '0' && token.data[at] <= '9'; at++) {
        uint64_t digit = (uint64_t)(token.data[at] - '0');
        if (id > (UINT64_MAX - digit) / 10)
            return false;
        id = id * 10 + digit;
    }
    if (at == first || token.data[first] == '0' || token.len - at != 1 + MAC_LETTERS || token.data[at] != '.')
        return false;
    *call_id = id;
    return true;
}
