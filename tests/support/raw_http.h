/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SUPPORT_RAW_HTTP_H
#define TESTS_SUPPORT_RAW_HTTP_H

#include <stddef.h>

/* An HTTP client of bare sockets, for requests that no library would send. Everything fails the test after 20 s. */

struct raw_reply {
    int status;
    char *head; /* status line and headers, as received */
    char *body; /* decoded from its chunks; NUL-terminated */
    size_t len;
    int closed; /* the connection ended behind it */
};

int raw_connect(unsigned port);
/* 0 when all was taken, -1 when the peer closed. */
int raw_write(int fd, const void *data, size_t len);
int raw_puts(int fd, const char *text);
/* Reads one reply; the rest stays for the next call with the same fd. head_only: of a HEAD request. status 0: the
 * connection ended before a whole reply. */
struct raw_reply raw_read(int fd, int head_only);
void raw_reply_fini(struct raw_reply *reply);
void raw_close(int fd);
/* Value of a header, copied into out; NULL when absent. */
const char *raw_header(const struct raw_reply *reply, const char *name, char *out, size_t size);
/* One request on its own connection. headers: lines with CRLF, may be "". body may be NULL. */
struct raw_reply raw_request(unsigned port, const char *method, const char *path, const char *headers, const void *body,
                             size_t len);

#endif
