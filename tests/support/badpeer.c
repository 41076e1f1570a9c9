/* SPDX-License-Identifier: MIT */
#include "support/badpeer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEEN_MAX (64u * 1024 * 1024)

struct badpeer {
    const struct badpeer_step *const *scripts;
    const struct badpeer_step *only; /* badpeer_one's */
    size_t count;
    int listener, stop[2]; /* closing stop[1] ends every wait */
    unsigned port, connections;
    pthread_t thread;
    pthread_mutex_t lock;
    char *seen;
    size_t seen_len, seen_cap;
    char url[512];
};

static void need(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

static int listen_on_any_port(unsigned *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(fd >= 0, "socket");
    need(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    need(listen(fd, 64) == 0, "listen");
    need(getsockname(fd, (struct sockaddr *)&address, &length) == 0, "getsockname");
    *port = ntohs(address.sin_port);
    return fd;
}

/* False: the test is over. */
static bool wait_for(struct badpeer *peer, int fd, short events, int timeout_ms)
{
    struct pollfd fds[] = { { .fd = peer->stop[0], .events = POLLIN }, { .fd = fd, .events = events } };
    poll(fds, fd >= 0 ? 2 : 1, timeout_ms);
    return fds[0].revents == 0;
}

static void remember(struct badpeer *peer, const char *bytes, size_t length)
{
    pthread_mutex_lock(&peer->lock);
    if (peer->seen_len + length <= SEEN_MAX) {
        if (peer->seen_len + length > peer->seen_cap) {
            peer->seen_cap = (peer->seen_len + length) * 2;
            peer->seen = realloc(peer->seen, peer->seen_cap);
            need(peer->seen != NULL, "realloc");
        }
        memcpy(peer->seen + peer->seen_len, bytes, length);
        peer->seen_len += length;
    }
    pthread_mutex_unlock(&peer->lock);
}

/* Looks before it takes, so that nothing beyond the text is taken. */
static bool expect(struct badpeer *peer, int fd, const char *text, size_t length)
{
    char bytes[16384];
    size_t matched = 0;
    while (matched < length) {
        ssize_t there = wait_for(peer, fd, POLLIN, -1) ? recv(fd, bytes, sizeof(bytes), MSG_PEEK) : 0;
        if (there <= 0) {
            return false;
        }
        size_t taken = 0;
        while (taken < (size_t)there && matched < length) {
            char c = bytes[taken++];
            matched = c == text[matched] ? matched + 1 : (size_t)(c == text[0]);
        }
        if (recv(fd, bytes, taken, 0) != (ssize_t)taken) {
            return false;
        }
        remember(peer, bytes, taken);
    }
    return true;
}

static bool send_all(struct badpeer *peer, int fd, const char *text, size_t length)
{
    while (length) {
        if (!wait_for(peer, fd, POLLOUT, -1)) {
            return false;
        }
        ssize_t n = send(fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            return false;
        }
        text += n;
        length -= (size_t)n;
    }
    return true;
}

static void hang(struct badpeer *peer, int fd)
{
    char bytes[4096];
    ssize_t n;
    while (wait_for(peer, fd, POLLIN, -1) && (n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        remember(peer, bytes, (size_t)n);
    }
}

static bool play_step(struct badpeer *peer, int fd, const struct badpeer_step *step)
{
    size_t length = step->length || !step->text ? step->length : strlen(step->text);
    switch (step->action) {
    case BADPEER_EXPECT:
        return expect(peer, fd, step->text, length);
    case BADPEER_SEND:
        return send_all(peer, fd, step->text, length);
    case BADPEER_DRIP:
        for (size_t i = 0; i < length; i++) {
            if (!send_all(peer, fd, step->text + i, 1) || !wait_for(peer, -1, 0, (int)step->number)) {
                return false;
            }
        }
        return true;
    case BADPEER_REPEAT:
        for (unsigned i = 0; i < step->number; i++) {
            if (!send_all(peer, fd, step->text, length)) {
                return false;
            }
        }
        return true;
    case BADPEER_SLEEP:
        return wait_for(peer, -1, 0, (int)step->number);
    case BADPEER_HANG:
        hang(peer, fd);
        return false;
    case BADPEER_RESET:
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
        return false;
    case BADPEER_END:
        break;
    }
    return false;
}

/* Unread bytes would turn the end into a reset: an orderly end reads them first. */
static void close_in_order(struct badpeer *peer, int fd, bool reset)
{
    if (!reset) {
        shutdown(fd, SHUT_WR);
        hang(peer, fd);
    }
    close(fd);
}

static void *serve(void *data)
{
    struct badpeer *peer = data;
    for (;;) {
        if (!wait_for(peer, peer->listener, POLLIN, -1)) {
            return NULL;
        }
        int fd = accept(peer->listener, NULL, NULL);
        if (fd < 0) {
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        pthread_mutex_lock(&peer->lock);
        unsigned number = peer->connections++;
        pthread_mutex_unlock(&peer->lock);
        const struct badpeer_step *step = peer->scripts[number < peer->count ? number : peer->count - 1];
        while (play_step(peer, fd, step)) {
            step++;
        }
        close_in_order(peer, fd, step->action == BADPEER_RESET);
    }
}

static struct badpeer *start(const struct badpeer_step *const *scripts, size_t count, const struct badpeer_step *only)
{
    struct badpeer *peer = calloc(1, sizeof(*peer));
    need(peer != NULL, "calloc");
    peer->only = only;
    peer->scripts = only ? &peer->only : scripts;
    peer->count = count;
    peer->listener = listen_on_any_port(&peer->port);
    need(pipe(peer->stop) == 0, "pipe");
    pthread_mutex_init(&peer->lock, NULL);
    need(pthread_create(&peer->thread, NULL, serve, peer) == 0, "pthread_create");
    return peer;
}

struct badpeer *badpeer_new(const struct badpeer_step *const *scripts, size_t count)
{
    return start(scripts, count, NULL);
}

struct badpeer *badpeer_one(const struct badpeer_step *script)
{
    return start(NULL, 1, script);
}

unsigned badpeer_port(const struct badpeer *peer)
{
    return peer->port;
}

const char *badpeer_url(struct badpeer *peer, const char *path)
{
    snprintf(peer->url, sizeof(peer->url), "http://127.0.0.1:%u%s", peer->port, path);
    return peer->url;
}

unsigned badpeer_free(struct badpeer *peer)
{
    close(peer->stop[1]);
    pthread_join(peer->thread, NULL);
    unsigned connections = peer->connections;
    close(peer->stop[0]);
    close(peer->listener);
    pthread_mutex_destroy(&peer->lock);
    free(peer->seen);
    free(peer);
    return connections;
}

char *badpeer_seen(struct badpeer *peer, size_t *length)
{
    pthread_mutex_lock(&peer->lock);
    char *copy = malloc(peer->seen_len + 1);
    need(copy != NULL, "malloc");
    if (peer->seen_len) {
        memcpy(copy, peer->seen, peer->seen_len);
    }
    copy[peer->seen_len] = '\0';
    if (length) {
        *length = peer->seen_len;
    }
    pthread_mutex_unlock(&peer->lock);
    return copy;
}

unsigned badpeer_closed_port(void)
{
    unsigned port;
    close(listen_on_any_port(&port));
    return port;
}
