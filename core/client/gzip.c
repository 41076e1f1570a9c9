/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <zlib.h>

#include "client/service_private.h"

enum peri_code peri__gzip(struct peri_str text, struct peri_buf *out, struct peri_error *err)
{
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    /* 16: a gzip wrapper. Level 1: requests are small, and time counts more than the last bytes. */
    if (text.len > UINT32_MAX || deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return peri_error_set(err, PERI_NOMEM, "can't compress the body");
    size_t bound = deflateBound(&stream, text.len);
    enum peri_code code = peri_buf_reserve(out, bound);
    if (code == PERI_OK) {
        stream.next_in = (unsigned char *)text.data;
        stream.avail_in = (unsigned)text.len;
        stream.next_out = (unsigned char *)out->data + out->len;
        stream.avail_out = (unsigned)bound;
        if (deflate(&stream, Z_FINISH) == Z_STREAM_END)
            out->len += bound - stream.avail_out;
        else
            code = PERI_IO;
    }
    deflateEnd(&stream);
    if (code != PERI_OK)
        return peri_error_set(err, code, "can't compress the body: %s", peri_code_text(code));
    return PERI_OK;
}
