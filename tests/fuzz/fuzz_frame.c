/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "perilune/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_PAYLOAD = 1000 };

static void check(int ok)
{
    if (!ok)
        abort();
}

/* Reads fields in an order that the frame's own bytes choose. */
static void read_fields(const struct peri_frame *frame)
{
    struct peri_frame_cursor c = peri_frame_cursor(frame);
    for (unsigned i = 0; i < 64 && !c.failed; i++) {
        struct peri_str s;
        switch ((frame->id >> (i % 60)) & 7) {
        case 0:
            peri_frame_get_u8(&c);
            break;
        case 1:
            peri_frame_get_u16(&c);
            break;
        case 2:
            peri_frame_get_u32(&c);
            break;
        case 3:
            peri_frame_get_u64(&c);
            break;
        default:
            s = peri_frame_get_str(&c);
            check(s.len <= frame->payload.len);
            check(s.len == 0 ||
                  (s.data >= frame->payload.data && s.data + s.len <= frame->payload.data + frame->payload.len));
        }
        check(c.rest.len <= frame->payload.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peri_str in = { (const char *)data, size };
    struct peri_buf out;
    enum peri_code code;
    struct peri_frame frame;
    size_t used, mark;
    peri_buf_init(&out, SIZE_MAX);
    while ((code = peri_frame_next(in, MAX_PAYLOAD, &frame, &used)) == PERI_OK) {
        check(used >= PERI_FRAME_HEADER && used <= in.len && frame.payload.len == used - PERI_FRAME_HEADER);
        read_fields(&frame);
        /* written again, it is the same bytes */
        peri_buf_clear(&out);
        check(peri_frame_begin(&out, frame.type, frame.id, &mark) == PERI_OK);
        check(peri_buf_append_str(&out, frame.payload) == PERI_OK);
        peri_frame_end(&out, mark);
        check(peri_str_equal(peri_buf_str(&out), (struct peri_str){ in.data, used }));
        in.data += used;
        in.len -= used;
    }
    if (code == PERI_BUSY)
        check(used == 0 ? in.len < PERI_FRAME_HEADER : used > in.len && used <= PERI_FRAME_HEADER + MAX_PAYLOAD);
    else
        check(code == PERI_PROTOCOL || code == PERI_TOO_LARGE);
    peri_buf_fini(&out);
    return 0;
}
