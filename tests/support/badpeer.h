/* SPDX-License-Identifier: MIT */
#ifndef SUPPORT_BADPEER_H
#define SUPPORT_BADPEER_H

#include <stdbool.h>
#include <stddef.h>

/* A scripted TCP server on 127.0.0.1 that plays the bad peer. It runs in a thread, takes one connection after another and
 * plays one script on each: the first connection gets scripts[0], and so on; the last script serves all that follow. */

enum badpeer_action {
    BADPEER_END,    /* of a script: close in order */
    BADPEER_EXPECT, /* read until the text has come (what comes after it stays unread); fails on an early end */
    BADPEER_SEND,
    BADPEER_DRIP,   /* send byte by byte, `number` milliseconds apart */
    BADPEER_REPEAT, /* send the text `number` times, or until the peer is gone */
    BADPEER_SLEEP,  /* `number` milliseconds */
    BADPEER_RESET,  /* RST instead of an orderly end */
    BADPEER_HANG,   /* say nothing until the peer closes or badpeer_free */
};

struct badpeer_step {
    enum badpeer_action action;
    unsigned number;
    const char *text;
    size_t length; /* 0: strlen(text) */
};

/* The shape of most scripts. */
#define BADPEER_REQUEST                                                                                                \
    {                                                                                                                  \
        .action = BADPEER_EXPECT, .text = "\r\n\r\n"                                                                   \
    }
#define BADPEER_SAYS(string)                                                                                           \
    {                                                                                                                  \
        .action = BADPEER_SEND, .text = (string)                                                                       \
    }

struct badpeer;

/* scripts: `count` arrays of steps, each ending with BADPEER_END (or RESET, HANG); all borrowed. Listens when it
 * returns. Aborts the test program when the machine gives no socket or thread. */
struct badpeer *badpeer_new(const struct badpeer_step *const *scripts, size_t count);
struct badpeer *badpeer_one(const struct badpeer_step *script);
unsigned badpeer_port(const struct badpeer *peer);
/* "http://127.0.0.1:PORT" and path. The text is the peer's: the next call overwrites it. */
const char *badpeer_url(struct badpeer *peer, const char *path);
/* Ends the thread and frees. Returns how many connections were taken. */
unsigned badpeer_free(struct badpeer *peer);
/* Everything that has come in so far, over all connections; a copy that the caller frees. */
char *badpeer_seen(struct badpeer *peer, size_t *length);
/* A port of 127.0.0.1 on which nobody listens. */
unsigned badpeer_closed_port(void);

#endif
