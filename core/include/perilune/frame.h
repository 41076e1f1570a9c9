/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_FRAME_H
#define PERILUNE_FRAME_H

#include "perilune/buf.h"
#include "perilune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What gateway and sandbox say to each other over a Unix stream socket pair. A sandbox is any program that speaks
 * this. Every frame: a header of 16 bytes, then `length` bytes of payload. All integers are little-endian.
 *
 *   u32 length    of the payload
 *   u8  type      enum peri_frame_type
 *   u8  flags     0
 *   u16 reserved  0
 *   u64 id        call id, version id, or a number that the answer repeats
 *
 * "str" is a u32 length and that many bytes. The gateway starts the sandbox with the socket as file descriptor 3 and
 * one shared page (struct peri_sandbox_page, a memfd) as file descriptor 4. */
#define PERI_FRAME_HEADER 16
#define PERI_FRAME_VERSION 2
#define PERI_FRAME_FD 3
#define PERI_FRAME_PAGE_FD 4

enum peri_frame_type {
    /* sandbox to gateway */
    PERI_FRAME_HELLO = 1,  /* id: PERI_FRAME_VERSION; payload: str program name and version. The first frame. */
    PERI_FRAME_LOADED = 2, /* id: version; u32 code, str detail */
    PERI_FRAME_LOG = 3,    /* id: call; i64 wall ms, u8 level, str line */
    PERI_FRAME_REPLY = 4,  /* id: call; u8 kind, u8 1 when the call's token was made, else 0, u16 status, u32 code,
                              u64 cpu us, u64 memory peak, str content type, str headers, str body */
    PERI_FRAME_PONG = 5,   /* id: as in PING */
    PERI_FRAME_CHUNK = 6,  /* id: call; u16 status, str content type, str headers, str bytes: part of a streamed answer
                              (status and headers count in the first); ended by a REPLY with an empty body */
    /* gateway to sandbox */
    PERI_FRAME_LOAD = 16,   /* id: version; u8 check, i64 timeout ms, u64 memory limit, str entry, str env,
                                 str package */
    PERI_FRAME_UNLOAD = 17, /* id: version */
    PERI_FRAME_CALL = 18,   /* id: call; u64 version, i64 timeout ms, u64 memory limit, u8 input, str meta, str body */
    PERI_FRAME_CANCEL = 19, /* id: call */
    PERI_FRAME_PING = 20,   /* id: any */
    PERI_FRAME_SHUTDOWN = 21, /* finish what runs, then exit with 0 */
    PERI_FRAME_START = 22,    /* id: 0; str key, str service URL: the answer to HELLO, and again when the URL changed.
                                 The key (32 random bytes, of this process alone) makes the tokens of its calls
                                 (perilune/token.h): no handler's code may see it. URL: of the access service */
};

#ifndef __cplusplus
/* Written by the sandbox, read by the gateway: what it was doing when it stopped answering or died. */
struct peri_sandbox_page {
    _Atomic uint64_t running_call; /* the call whose Lua code is executing now; 0: none */
    _Atomic uint64_t lua_bytes;    /* memory of all its Lua states */
};
#endif

struct peri_frame {
    enum peri_frame_type type;
    uint64_t id;
    struct peri_str payload; /* borrowed from the input */
};

/* Appends a header whose length is filled in by peri_frame_end; *mark tells it where. When a put in between fails,
 * peri_buf_truncate(out, mark) takes the frame back. A payload stays below 4 GiB: give `out` such a maximum. */
PERI_API enum peri_code peri_frame_begin(struct peri_buf *out, enum peri_frame_type type, uint64_t id, size_t *mark);
PERI_API void peri_frame_end(struct peri_buf *out, size_t mark);
PERI_API enum peri_code peri_frame_put_u8(struct peri_buf *out, uint8_t v);
PERI_API enum peri_code peri_frame_put_u16(struct peri_buf *out, uint16_t v);
PERI_API enum peri_code peri_frame_put_u32(struct peri_buf *out, uint32_t v);
PERI_API enum peri_code peri_frame_put_u64(struct peri_buf *out, uint64_t v);
PERI_API enum peri_code peri_frame_put_str(struct peri_buf *out, struct peri_str s);

/* Takes the first frame of `in`. PERI_OK: *used bytes were the frame. PERI_BUSY: incomplete (*used is how many bytes it
 * needs in all, 0 when not even the header is there). PERI_TOO_LARGE: payload over max_payload. PERI_PROTOCOL: garbage. */
PERI_API enum peri_code peri_frame_next(struct peri_str in, size_t max_payload, struct peri_frame *frame, size_t *used);

/* Reads fields of a payload in order. A short payload sets failed and yields zeros: check once at the end. */
struct peri_frame_cursor {
    struct peri_str rest;
    bool failed;
};
PERI_API struct peri_frame_cursor peri_frame_cursor(const struct peri_frame *frame);
PERI_API uint8_t peri_frame_get_u8(struct peri_frame_cursor *c);
PERI_API uint16_t peri_frame_get_u16(struct peri_frame_cursor *c);
PERI_API uint32_t peri_frame_get_u32(struct peri_frame_cursor *c);
PERI_API uint64_t peri_frame_get_u64(struct peri_frame_cursor *c);
PERI_API struct peri_str peri_frame_get_str(struct peri_frame_cursor *c);

#ifdef __cplusplus
}
#endif

#endif
