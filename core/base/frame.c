/* SPDX-License-Identifier: MIT */
#include "perilune/frame.h"

static void store_le(unsigned char *out, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t load_le(const unsigned char *in, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)in[i] << (8 * i);
    return v;
}

static enum peri_code put_le(struct peri_buf *out, uint64_t v, int bytes)
{
    unsigned char le[8];
    store_le(le, v, bytes);
    return peri_buf_append(out, le, (size_t)bytes);
}

static bool known_type(unsigned type)
{
    return (type >= PERI_FRAME_HELLO && type <= PERI_FRAME_CHUNK) ||
           (type >= PERI_FRAME_LOAD && type <= PERI_FRAME_START);
}

enum peri_code peri_frame_begin(struct peri_buf *out, enum peri_frame_type type, uint64_t id, size_t *mark)
{
    unsigned char header[PERI_FRAME_HEADER] = { 0 };
    header[4] = (unsigned char)type;
    store_le(header + 8, id, 8);
    *mark = out->len;
    return peri_buf_append(out, header, sizeof header);
}

void peri_frame_end(struct peri_buf *out, size_t mark)
{
    store_le((unsigned char *)out->data + mark, out->len - mark - PERI_FRAME_HEADER, 4);
}

enum peri_code peri_frame_put_u8(struct peri_buf *out, uint8_t v)
{
    return put_le(out, v, 1);
}

enum peri_code peri_frame_put_u16(struct peri_buf *out, uint16_t v)
{
    return put_le(out, v, 2);
}

enum peri_code peri_frame_put_u32(struct peri_buf *out, uint32_t v)
{
    return put_le(out, v, 4);
}

enum peri_code peri_frame_put_u64(struct peri_buf *out, uint64_t v)
{
    return put_le(out, v, 8);
}

enum peri_code peri_frame_put_str(struct peri_buf *out, struct peri_str s)
{
    if (s.len > UINT32_MAX - 4)
        return PERI_TOO_LARGE;
    enum peri_code code = peri_buf_reserve(out, s.len + 4); /* both or neither */
    if (code == PERI_OK)
        code = put_le(out, s.len, 4);
    if (code == PERI_OK)
        code = peri_buf_append_str(out, s);
    return code;
}

enum peri_code peri_frame_next(struct peri_str in, size_t max_payload, struct peri_frame *frame, size_t *used)
{
    const unsigned char *header = (const unsigned char *)in.data;
    *used = 0;
    if (in.len < PERI_FRAME_HEADER)
        return PERI_BUSY;
    if (!known_type(header[4]) || load_le(header + 5, 3) != 0)
        return PERI_PROTOCOL;
    uint64_t length = load_le(header, 4);
    if (length > max_payload)
        return PERI_TOO_LARGE;
    *used = PERI_FRAME_HEADER + (size_t)length;
    if (in.len < *used)
        return PERI_BUSY;
    frame->type = (enum peri_frame_type)header[4];
    frame->id = load_le(header + 8, 8);
    frame->payload = (struct peri_str){ in.data + PERI_FRAME_HEADER, (size_t)length };
    return PERI_OK;
}

struct peri_frame_cursor peri_frame_cursor(const struct peri_frame *frame)
{
    return (struct peri_frame_cursor){ frame->payload, false };
}

/* The next len bytes; empty, with failed set, when the payload is shorter. */
static struct peri_str take(struct peri_frame_cursor *c, size_t len)
{
    if (c->failed || c->rest.len < len) {
        c->failed = true;
        return (struct peri_str){ NULL, 0 };
    }
    struct peri_str taken = { c->rest.data, len };
    c->rest.data += len;
    c->rest.len -= len;
    return taken;
}

static uint64_t get_le(struct peri_frame_cursor *c, int bytes)
{
    struct peri_str taken = take(c, (size_t)bytes);
    return c->failed ? 0 : load_le((const unsigned char *)taken.data, bytes);
}

uint8_t peri_frame_get_u8(struct peri_frame_cursor *c)
{
    return (uint8_t)get_le(c, 1);
}

uint16_t peri_frame_get_u16(struct peri_frame_cursor *c)
{
    return (uint16_t)get_le(c, 2);
}

uint32_t peri_frame_get_u32(struct peri_frame_cursor *c)
{
    return (uint32_t)get_le(c, 4);
}

uint64_t peri_frame_get_u64(struct peri_frame_cursor *c)
{
    return get_le(c, 8);
}

struct peri_str peri_frame_get_str(struct peri_frame_cursor *c)
{
    size_t len = peri_frame_get_u32(c);
    return take(c, len);
}
