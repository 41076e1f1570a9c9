/* SPDX-License-Identifier: MIT */
#include "support/raw_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#define LEFT_MAX 1024

/* Bytes read beyond a reply, per descriptor. */
static struct {
    char *data;
    size_t len;
} left[LEFT_MAX];

int raw_connect(unsigned port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct timeval patience = { .tv_sec = 20 };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && fd < LEFT_MAX);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

int raw_write(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return -1;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int raw_puts(int fd, const char *text)
{
    return raw_write(fd, text, strlen(text));
}

/* Appends what comes; 0 at the end of the connection. */
static int more(int fd, char **data, size_t *len)
{
    char chunk[65536];
    ssize_t n = recv(fd, chunk, sizeof chunk, 0);
    if (n <= 0)
        return 0;
    char *grown = realloc(*data, *len + (size_t)n + 1);
    assert_non_null(grown);
    memcpy(grown + *len, chunk, (size_t)n);
    *len += (size_t)n;
    grown[*len] = '\0';
    *data = grown;
    return 1;
}

const char *raw_header(const struct raw_reply *reply, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    for (const char *at = reply->head; at != NULL; at = strstr(at, "\r\n")) {
        at += strncmp(at, "\r\n", 2) == 0 ? 2 : 0;
        if (strncasecmp(at, name, len) == 0 && at[len] == ':') {
            const char *value = at + len + 1 + strspn(at + len + 1, " ");
            snprintf(out, size, "%.*s", (int)strcspn(value, "\r"), value);
            return out;
        }
    }
    return NULL;
}

/* Decodes chunks from data; returns the bytes used, 0 when more must come. */
static size_t dechunk(const char *data, size_t len, char **body, size_t *body_len)
{
    size_t at = 0;
    *body = calloc(len + 1, 1);
    *body_len = 0;
    for (;;) {
        const char *line = memmem(data + at, len - at, "\r\n", 2);
        if (line == NULL)
            break;
        size_t size = strtoul(data + at, NULL, 16), from = (size_t)(line - data) + 2;
        if (from + size + 2 > len)
            break;
        memcpy(*body + *body_len, data + from, size);
        *body_len += size;
        at = from + size + 2;
        if (size == 0)
            return at;
    }
    free(*body);
    *body = NULL;
    return 0;
}

static void keep(int fd, const char *data, size_t len)
{
    left[fd].data = malloc(len + 1);
    memcpy(left[fd].data, data, len);
    left[fd].data[len] = '\0';
    left[fd].len = len;
}

struct raw_reply raw_read(int fd, int head_only)
{
    struct raw_reply reply = { 0 };
    char *data = left[fd].data, value[64];
    size_t len = left[fd].len, used = 0;
    char *end = NULL;
    left[fd].data = NULL;
    left[fd].len = 0;
    while (data == NULL || (end = strstr(data, "\r\n\r\n")) == NULL) {
        if (!more(fd, &data, &len)) {
            free(data);
            reply.closed = 1;
            return reply;
        }
    }
    size_t head = (size_t)(end - data) + 4;
    reply.head = strndup(data, head);
    reply.status = atoi(data + 9);
    if (head_only) {
        used = head;
    } else if (raw_header(&reply, "transfer-encoding", value, sizeof value) != NULL) {
        while ((used = dechunk(data + head, len - head, &reply.body, &reply.len)) == 0 && !reply.closed)
            reply.closed = !more(fd, &data, &len);
        used += head;
    } else {
        size_t size = SIZE_MAX / 2;
        if (raw_header(&reply, "content-length", value, sizeof value) != NULL)
            size = strtoul(value, NULL, 10);
        while (len - head < size && !reply.closed)
            reply.closed = !more(fd, &data, &len);
        reply.len = len - head < size ? len - head : size;
        reply.body = malloc(reply.len + 1);
        assert_non_null(reply.body);
        memcpy(reply.body, data + head, reply.len);
        reply.body[reply.len] = '\0';
        used = head + reply.len;
    }
    if (used < len)
        keep(fd, data + used, len - used);
    free(data);
    return reply;
}

void raw_reply_fini(struct raw_reply *reply)
{
    free(reply->head);
    free(reply->body);
    memset(reply, 0, sizeof *reply);
}

void raw_close(int fd)
{
    free(left[fd].data);
    left[fd].data = NULL;
    left[fd].len = 0;
    close(fd);
}

struct raw_reply raw_request(unsigned port, const char *method, const char *path, const char *headers, const void *body,
                             size_t len)
{
    char *head = NULL;
    char length[64] = "";
    int fd = raw_connect(port);
    if (body != NULL)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", len);
    assert_true(asprintf(&head, "%s %s HTTP/1.1\r\nHost: x\r\n%s%s\r\n", method, path, headers, length) > 0);
    raw_puts(fd, head);
    if (body != NULL)
        raw_write(fd, body, len);
    free(head);
    struct raw_reply reply = raw_read(fd, strcmp(method, "HEAD") == 0);
    raw_close(fd);
    return reply;
}
