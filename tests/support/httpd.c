/* SPDX-License-Identifier: MIT */
#include "support/httpd.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define MAX_HEAD 65536
#define MAX_CONNECTIONS 64

struct step {
    struct httpd_step spec;
    json_t *body;
    unsigned left;
};

struct httpd {
    int listener, stop_pipe[2];
    unsigned port;
    char url[64];
    pthread_t thread;
    pthread_mutex_t lock;
    struct step *steps;
    size_t step_count;
    struct httpd_request **requests;
    size_t request_count;
    unsigned connections;
};

struct connection {
    int fd;
    unsigned number;
    char *in;
    size_t len, cap;
};

static void die(const char *what)
{
    perror(what);
    abort();
}

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

void httpd_add(struct httpd *server, const struct httpd_step *spec)
{
    pthread_mutex_lock(&server->lock);
    server->steps = realloc(server->steps, (server->step_count + 1) * sizeof *server->steps);
    struct step *step = &server->steps[server->step_count++];
    memset(step, 0, sizeof *step);
    step->spec = *spec;
    step->spec.method = copy_text(spec->method);
    step->spec.path = copy_text(spec->path);
    step->spec.headers = copy_text(spec->headers);
    step->spec.reply_len = spec->reply_len ? spec->reply_len : spec->reply ? strlen(spec->reply) : 0;
    char *reply = malloc(step->spec.reply_len + 1);
    if (spec->reply)
        memcpy(reply, spec->reply, step->spec.reply_len);
    step->spec.reply = reply;
    if (spec->body) {
        step->body = json_loads(spec->body, JSON_DECODE_ANY, NULL);
        if (!step->body)
            die("httpd: a step's body is no JSON");
    }
    step->left = spec->times ? spec->times : 1;
    pthread_mutex_unlock(&server->lock);
}

/* The step that answers; NULL: none does. */
static struct step *choose(struct httpd *server, const struct httpd_request *request)
{
    json_t *body = json_loadb(request->body, request->body_len, JSON_DECODE_ANY, NULL);
    struct step *found = NULL;
    for (size_t i = 0; i < server->step_count && !found; i++) {
        struct step *step = &server->steps[i];
        if (step->left > 0 && strcmp(step->spec.method, request->method) == 0 &&
            strcmp(step->spec.path, request->path) == 0 && (!step->body || json_equal(step->body, body)))
            found = step;
    }
    json_decref(body);
    if (found)
        found->left--;
    return found;
}

static bool send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void gunzip(struct httpd_request *request)
{
    size_t cap = 64 * 1024 * 1024;
    char *out = malloc(cap);
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    stream.next_in = (unsigned char *)request->body;
    stream.avail_in = (unsigned)request->body_len;
    stream.next_out = (unsigned char *)out;
    stream.avail_out = (unsigned)cap - 1;
    bool fine = inflateInit2(&stream, 15 + 16) == Z_OK && inflate(&stream, Z_FINISH) == Z_STREAM_END;
    size_t len = stream.total_out;
    inflateEnd(&stream);
    if (!fine)
        die("httpd: a gzip body is broken");
    free(request->body);
    out = realloc(out, len + 1);
    out[len] = '\0';
    request->body = out;
    request->body_len = len;
    request->gzipped = true;
}

bool httpd_header(const struct httpd_request *request, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    for (const char *line = request->headers; line && *line;
         line = strstr(line, "\r\n") ? strstr(line, "\r\n") + 2 : NULL) {
        if (strncasecmp(line, name, len) != 0 || line[len] != ':')
            continue;
        const char *value = line + len + 1;
        value += strspn(value, " ");
        snprintf(out, size, "%.*s", (int)strcspn(value, "\r"), value);
        return true;
    }
    return false;
}

/* Takes one whole request out of a connection's input; NULL: more is needed. */
static struct httpd_request *parse(struct connection *connection)
{
    char value[64];
    char *end = connection->len ? memmem(connection->in, connection->len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return NULL;
    size_t head = (size_t)(end - connection->in) + 4;
    struct httpd_request *request = calloc(1, sizeof *request);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    request->at_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    request->connection = connection->number;
    char *line_end = memmem(connection->in, head, "\r\n", 2);
    if (sscanf(connection->in, "%15s %1023s", request->method, request->path) != 2)
        die("httpd: bad request line");
    request->headers = strndup(line_end + 2, head - (size_t)(line_end + 2 - connection->in) - 2);
    size_t used = head;
    bool whole = true;
    if (httpd_header(request, "Transfer-Encoding", value, sizeof value)) {
        request->body = calloc(1, connection->len + 1);
        whole = false;
        for (;;) {
            char *size_end = memmem(connection->in + used, connection->len - used, "\r\n", 2);
            if (!size_end)
                break;
            size_t size = strtoul(connection->in + used, NULL, 16);
            size_t data = (size_t)(size_end - connection->in) + 2;
            if (data + size + 2 > connection->len)
                break;
            memcpy(request->body + request->body_len, connection->in + data, size);
            request->body_len += size;
            used = data + size + 2;
            if (size == 0) {
                whole = true;
                break;
            }
        }
    } else {
        request->body_len = httpd_header(request, "Content-Length", value, sizeof value) ? strtoul(value, NULL, 10) : 0;
        whole = connection->len >= head + request->body_len;
        request->body = calloc(1, request->body_len + 1);
        if (whole)
            memcpy(request->body, connection->in + head, request->body_len);
        used = head + request->body_len;
    }
    if (!whole) {
        free(request->headers);
        free(request->body);
        free(request);
        return NULL;
    }
    memmove(connection->in, connection->in + used, connection->len - used);
    connection->len -= used;
    if (httpd_header(request, "Content-Encoding", value, sizeof value) && strcasecmp(value, "gzip") == 0)
        gunzip(request);
    return request;
}

/* False: the connection is over. */
static bool answer(struct httpd *server, struct connection *connection, struct httpd_request *request)
{
    pthread_mutex_lock(&server->lock);
    server->requests = realloc(server->requests, (server->request_count + 1) * sizeof(struct httpd_request *));
    server->requests[server->request_count++] = request;
    struct step *step = choose(server, request);
    struct httpd_step spec = step ? step->spec : (struct httpd_step){ .status = 599, .reply = "" };
    pthread_mutex_unlock(&server->lock);
    if (!step)
        fprintf(stderr, "httpd: no step for %s %s %.300s\n", request->method, request->path, request->body);
    if (spec.delay_ms) {
        struct pollfd stop = { server->stop_pipe[0], POLLIN, 0 };
        poll(&stop, 1, (int)spec.delay_ms);
    }
    if (spec.drop)
        return false;
    char head[MAX_HEAD];
    bool typed = spec.headers && strcasestr(spec.headers, "content-type:");
    int len =
        snprintf(head, sizeof head, "HTTP/1.1 %d X\r\n%s%sContent-Length: %zu\r\n\r\n", spec.status,
                 typed ? "" : "Content-Type: application/json\r\n", spec.headers ? spec.headers : "", spec.reply_len);
    size_t body = spec.cut ? spec.reply_len / 2 : spec.reply_len;
    return send_all(connection->fd, head, (size_t)len) && send_all(connection->fd, spec.reply, body) && !spec.cut;
}

static bool serve(struct httpd *server, struct connection *connection)
{
    if (connection->cap - connection->len < MAX_HEAD) {
        connection->cap = connection->cap * 2 + 2 * MAX_HEAD;
        connection->in = realloc(connection->in, connection->cap);
    }
    ssize_t n = recv(connection->fd, connection->in + connection->len, connection->cap - connection->len, 0);
    if (n <= 0)
        return false;
    connection->len += (size_t)n;
    struct httpd_request *request = NULL;
    while ((request = parse(connection)) != NULL)
        if (!answer(server, connection, request))
            return false;
    return true;
}

static void *run(void *data)
{
    struct httpd *server = data;
    struct connection connections[MAX_CONNECTIONS] = { 0 };
    struct pollfd fds[MAX_CONNECTIONS + 2];
    size_t count = 0;
    for (;;) {
        fds[0] = (struct pollfd){ server->stop_pipe[0], POLLIN, 0 };
        fds[1] = (struct pollfd){ server->listener, count < MAX_CONNECTIONS ? POLLIN : 0, 0 };
        for (size_t i = 0; i < count; i++)
            fds[i + 2] = (struct pollfd){ connections[i].fd, POLLIN, 0 };
        if (poll(fds, count + 2, -1) < 0)
            continue;
        if (fds[0].revents)
            break;
        for (size_t i = count; i > 0; i--) {
            if (!fds[i + 1].revents || serve(server, &connections[i - 1]))
                continue;
            close(connections[i - 1].fd);
            free(connections[i - 1].in);
            connections[i - 1] = connections[--count];
        }
        if (fds[1].revents && count < MAX_CONNECTIONS) {
            int fd = accept(server->listener, NULL, NULL);
            if (fd >= 0)
                connections[count++] = (struct connection){ .fd = fd, .number = ++server->connections };
        }
    }
    for (size_t i = 0; i < count; i++) {
        close(connections[i].fd);
        free(connections[i].in);
    }
    return NULL;
}

struct httpd *httpd_start(const struct httpd_step *steps, size_t count)
{
    struct httpd *server = calloc(1, sizeof *server);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    pthread_mutex_init(&server->lock, NULL);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(server->listener, 64) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &size) != 0 || pipe(server->stop_pipe) != 0)
        die("httpd");
    server->port = ntohs(address.sin_port);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%u", server->port);
    for (size_t i = 0; i < count; i++)
        httpd_add(server, &steps[i]);
    if (pthread_create(&server->thread, NULL, run, server) != 0)
        die("httpd");
    return server;
}

unsigned httpd_port(const struct httpd *server)
{
    return server->port;
}

const char *httpd_url(const struct httpd *server)
{
    return server->url;
}

size_t httpd_count(struct httpd *server)
{
    pthread_mutex_lock(&server->lock);
    size_t count = server->request_count;
    pthread_mutex_unlock(&server->lock);
    return count;
}

const struct httpd_request *httpd_request(struct httpd *server, size_t i)
{
    pthread_mutex_lock(&server->lock);
    const struct httpd_request *request = i < server->request_count ? server->requests[i] : NULL;
    pthread_mutex_unlock(&server->lock);
    return request;
}

size_t httpd_unused(struct httpd *server)
{
    size_t unused = 0;
    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < server->step_count; i++)
        unused += server->steps[i].left;
    pthread_mutex_unlock(&server->lock);
    return unused;
}

void httpd_stop(struct httpd *server)
{
    if (write(server->stop_pipe[1], "x", 1) != 1)
        die("httpd");
    pthread_join(server->thread, NULL);
    close(server->listener);
    close(server->stop_pipe[0]);
    close(server->stop_pipe[1]);
    for (size_t i = 0; i < server->step_count; i++) {
        struct step *step = &server->steps[i];
        free((char *)step->spec.method);
        free((char *)step->spec.path);
        free((char *)step->spec.headers);
        free((char *)step->spec.reply);
        json_decref(step->body);
    }
    for (size_t i = 0; i < server->request_count; i++) {
        free(server->requests[i]->headers);
        free(server->requests[i]->body);
        free(server->requests[i]);
    }
    free(server->steps);
    free(server->requests);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
