/* SPDX-License-Identifier: MIT */
#include "net/transport_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_IDLE 64
#define LEAST_ROOM 16
#define CALM_MS 1000 /* without many at once before fewer connections are kept */

/* One file descriptor that libcurl waits for. Between the requests on a kept connection libcurl drops its interest and
 * takes it up again; the descriptor stays registered meanwhile, which saves two system calls a request. */
struct peri__socket {
    uv_poll_t poll;
    struct peri_transport *transport;
    int want;  /* uv events libcurl asks for; 0: none now */
    int armed; /* uv events registered */
    bool ours; /* made and closed through peri__socket_open and _close, so its end is known */
};

static void run_curl(struct peri_transport *transport, curl_socket_t fd, int flags)
{
    int running;
    peri__transport_enter(transport);
    curl_multi_socket_action(transport->multi, fd, flags, &running);
    peri__transport_leave(transport);
}

static struct peri__socket *socket_of(const struct peri_transport *transport, curl_socket_t fd)
{
    return (size_t)fd < transport->socket_cap ? transport->sockets[fd] : NULL;
}

static void on_socket_closed(uv_handle_t *handle)
{
    struct peri__socket *sock = handle->data;
    struct peri_transport *transport = sock->transport;
    free(sock);
    peri__transport_closed(transport);
}

static void socket_forget(struct peri_transport *transport, curl_socket_t fd)
{
    struct peri__socket *sock = socket_of(transport, fd);
    if (sock) {
        transport->sockets[fd] = NULL;
        peri__transport_close(transport, (uv_handle_t *)&sock->poll, on_socket_closed);
    }
}

static struct peri__socket *socket_register(struct peri_transport *transport, curl_socket_t fd, bool ours)
{
    if ((size_t)fd >= transport->socket_cap) {
        size_t cap = transport->socket_cap ? transport->socket_cap : 64;
        while (cap <= (size_t)fd) {
            cap *= 2;
        }
        struct peri__socket **sockets = realloc(transport->sockets, cap * sizeof(struct peri__socket *));
        if (!sockets) {
            return NULL;
        }
        memset(sockets + transport->socket_cap, 0, (cap - transport->socket_cap) * sizeof(struct peri__socket *));
        transport->sockets = sockets;
        transport->socket_cap = cap;
    }
    struct peri__socket *sock = calloc(1, sizeof(*sock));
    if (!sock) {
        return NULL;
    }
    if (uv_poll_init_socket(transport->loop->uv, &sock->poll, fd) != 0) {
        free(sock);
        return NULL;
    }
    sock->poll.data = sock;
    sock->transport = transport;
    sock->ours = ours;
    transport->sockets[fd] = sock;
    transport->open_handles++;
    return sock;
}

curl_socket_t peri__socket_open(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    struct peri_exchange *exchange = data;
    struct peri_transport *transport = exchange->transport;
    peri__exchange_connecting(exchange);
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    if (fd < 0) {
        return CURL_SOCKET_BAD;
    }
    socket_forget(transport, fd);
    if (!socket_register(transport, fd, true)) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

int peri__socket_close(void *data, curl_socket_t fd)
{
    socket_forget(data, fd);
    return close(fd);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void socket_arm(struct peri__socket *sock)
{
    if (sock->armed != sock->want) {
        sock->transport->loop->unpolled = true;
        sock->armed = uv_poll_start(&sock->poll, sock->want, on_poll) == 0 ? sock->want : 0;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct peri__socket *sock = poll->data;
    struct peri_transport *transport = sock->transport;
    uv_os_fd_t fd;
    uv_fileno((uv_handle_t *)poll, &fd);
    if (status < 0) {
        sock->armed = 0; /* libuv has stopped it; libcurl is to read the error from the socket */
        events = UV_READABLE | UV_WRITABLE;
    }
    if (sock->want == 0) {
        /* A kept connection that says something has most likely ended: libcurl looks before it uses it again. */
        uv_poll_stop(poll);
        sock->armed = 0;
        return;
    }
    int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0) |
                (status < 0 ? CURL_CSELECT_ERR : 0);
    run_curl(transport, fd, flags);
    if (status < 0 && !uv_is_closing((uv_handle_t *)poll) && sock->want) {
        socket_arm(sock); /* memory of closed handles goes at a later turn, so sock is still there */
    }
}

/* libcurl (7.88) closes a socket that it was still connecting by itself, without peri__socket_close. libuv must not be
 * left with it: it ends the program when it finds that a descriptor it is to watch is closed. */
static bool is_connected(CURL *easy)
{
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    return private && ((const struct peri_exchange *)(void *)private)->connected;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
    (void)socket_data;
    struct peri_transport *transport = data;
    struct peri__socket *sock = socket_of(transport, fd);
    if (what == CURL_POLL_REMOVE) {
        if (sock && sock->ours) {
            sock->want = 0;
            if (!is_connected(easy)) {
                uv_poll_stop(&sock->poll);
                sock->armed = 0;
            }
            uv_unref((uv_handle_t *)&sock->poll); /* an idle connection keeps no program running */
        } else {
            socket_forget(transport, fd);
        }
        return 0;
    }
    if (!sock) {
        sock = socket_register(transport, fd, false);
        if (!sock) {
            return -1;
        }
    }
    sock->want = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    uv_ref((uv_handle_t *)&sock->poll);
    socket_arm(sock);
    return 0;
}

static void on_curl_timeout(uv_timer_t *timer)
{
    run_curl(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *data)
{
    (void)multi;
    struct peri_transport *transport = data;
    if (timeout_ms < 0) {
        uv_timer_stop(&transport->curl_timer);
    } else {
        uv_timer_start(&transport->curl_timer, on_curl_timeout, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

static void destroy(struct peri_transport *transport);

/* Nothing here is called by libcurl: callers' functions may do what they like. */
static void settle(struct peri_transport *transport)
{
    struct peri_exchange *exchange;
    CURLMsg *message;
    int left;
    transport->settling = true;
    do {
        while ((exchange = TAILQ_FIRST(&transport->deferred)) != NULL) {
            TAILQ_REMOVE(&transport->deferred, exchange, deferred_link);
            exchange->is_deferred = false;
            peri__exchange_settle(exchange);
        }
        message = curl_multi_info_read(transport->multi, &left);
        if (message && message->msg == CURLMSG_DONE) {
            CURLcode rc = message->data.result;
            char *private = NULL;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
            peri__exchange_finish((struct peri_exchange *)(void *)private, rc);
        }
    } while (message || !TAILQ_EMPTY(&transport->deferred));
    transport->settling = false;
    if (transport->dead) {
        destroy(transport);
    }
}

static void on_deferred(uv_timer_t *timer)
{
    settle(timer->data);
}

void peri__transport_enter(struct peri_transport *transport)
{
    transport->in_curl++;
}

void peri__transport_leave(struct peri_transport *transport)
{
    if (--transport->in_curl == 0 && !transport->settling) {
        settle(transport);
    }
}

void peri__transport_defer(struct peri_exchange *exchange)
{
    struct peri_transport *transport = exchange->transport;
    if (exchange->is_deferred) {
        return;
    }
    exchange->is_deferred = true;
    TAILQ_INSERT_TAIL(&transport->deferred, exchange, deferred_link);
    if (!transport->in_curl && !transport->settling) {
        uv_timer_start(&transport->deferred_timer, on_deferred, 0, 0);
    }
}

void peri__transport_close(struct peri_transport *transport, uv_handle_t *handle, uv_close_cb on_close)
{
    peri__loop_close(transport->loop, handle, on_close);
}

static void release_memory(struct peri_transport *transport)
{
    free(transport->sockets);
    free(transport->ca_file);
    free(transport->ca_dir);
    free(transport->proxy);
    free(transport);
}

void peri__transport_closed(struct peri_transport *transport)
{
    struct peri_loop *loop = transport->loop;
    if (--transport->open_handles == 0) {
        release_memory(transport);
    }
    peri__loop_closed(loop);
}

void peri__transport_count(struct peri_transport *transport, int change)
{
    transport->live_count += (unsigned)change;
    transport->loop->active += (unsigned)change;
    /* libcurl's limit counts connections in use too. Moved in steps, for this runs twice a request, and down only after a
     * while: of many requests made in step (tasks) none is under way for a moment. */
    unsigned live = transport->live_count;
    uint64_t now = uv_now(transport->loop->uv);
    if (live >= transport->room / 8) {
        transport->crowded_at = now;
    }
    bool calm = transport->room > LEAST_ROOM && now - transport->crowded_at >= CALM_MS;
    if (live > transport->room || calm) {
        transport->room = live * 2 > LEAST_ROOM ? live * 2 : LEAST_ROOM;
        curl_multi_setopt(transport->multi, CURLMOPT_MAXCONNECTS, transport->max_idle + (long)transport->room);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    peri__transport_closed(handle->data);
}

static void destroy(struct peri_transport *transport)
{
    struct peri_exchange *exchange;
    while ((exchange = TAILQ_FIRST(&transport->pool)) != NULL) {
        TAILQ_REMOVE(&transport->pool, exchange, link);
        peri__exchange_discard(exchange);
    }
    curl_multi_cleanup(transport->multi);
    curl_share_cleanup(transport->share);
    for (size_t fd = 0; fd < transport->socket_cap; fd++) {
        socket_forget(transport, (curl_socket_t)fd);
    }
    peri__transport_close(transport, (uv_handle_t *)&transport->curl_timer, on_timer_closed);
    peri__transport_close(transport, (uv_handle_t *)&transport->deferred_timer, on_timer_closed);
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* libcurl reads the proxy variables before each request; where there are none at all it need not look. */
static bool environment_has_proxy(void)
{
    static const char *const names[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value) {
            return true;
        }
    }
    return false;
}

/* The header that libcurl would write itself, more slowly: it formats it anew, twice, for each request. Without deflate,
 * which means two things; each byte costs. */
static void list_encodings(char *out, size_t size)
{
    static const struct {
        int feature;
        const char *names;
    } known[] = { { CURL_VERSION_LIBZ, " gzip" }, { CURL_VERSION_BROTLI, " br" }, { CURL_VERSION_ZSTD, " zstd" } };
    int features = curl_version_info(CURLVERSION_NOW)->features;
    size_t used = 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (features & known[i].feature) {
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? "," : "", known[i].names);
        }
    }
    if (!used) {
        snprintf(out, size, " identity");
    }
}

static enum peri_code take_options(struct peri_transport *transport, const struct peri_transport_options *options)
{
    const char *ca_file = options->ca_file;
    const char *ca_dir = NULL;
    if (!ca_file) {
        ca_file = getenv("SSL_CERT_FILE");
        ca_dir = getenv("SSL_CERT_DIR");
    }
    const char *proxy = options->proxy;
    if (!proxy && !environment_has_proxy()) {
        proxy = "";
    }
    const char *const from[] = { ca_file, ca_dir, proxy };
    char **const to[] = { &transport->ca_file, &transport->ca_dir, &transport->proxy };
    for (size_t i = 0; i < 3; i++) {
        bool given = from[i] && (*from[i] || i == 2); /* an empty variable means that it is unset */
        if (given && !(*to[i] = strdup(from[i]))) {
            return PERI_NOMEM;
        }
    }
    list_encodings(transport->encodings, sizeof(transport->encodings));
    transport->insecure = options->insecure;
    transport->http1_only = options->http1_only;
    transport->max_idle = options->max_connections ? (long)options->max_connections : DEFAULT_IDLE;
    transport->max_host = (long)options->max_host_connections;
    return PERI_OK;
}

static bool init_multi(struct peri_transport *transport)
{
    transport->multi = curl_multi_init();
    transport->share = curl_share_init();
    if (!transport->multi || !transport->share) {
        return false;
    }
    CURLM *multi = transport->multi;
    curl_share_setopt(transport->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, transport);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, transport);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, transport->max_idle);
    curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, transport->max_host);
    return true;
}

struct peri_transport *peri_transport_new(struct peri_loop *loop, const struct peri_transport_options *options,
                                          struct peri_error *err)
{
    static uv_once_t once = UV_ONCE_INIT;
    static const struct peri_transport_options defaults;
    uv_once(&once, init_curl);
    struct peri_transport *transport = calloc(1, sizeof(*transport));
    if (!transport) {
        goto fail;
    }
    transport->loop = loop;
    TAILQ_INIT(&transport->live);
    TAILQ_INIT(&transport->deferred);
    TAILQ_INIT(&transport->pool);
    if (take_options(transport, options ? options : &defaults) != PERI_OK || !init_multi(transport)) {
        goto fail;
    }
    uv_timer_init(loop->uv, &transport->curl_timer);
    uv_timer_init(loop->uv, &transport->deferred_timer);
    transport->curl_timer.data = transport->deferred_timer.data = transport;
    transport->open_handles = 2;
    return transport;
fail:
    peri_error_set(err, PERI_NOMEM, "can't make an HTTP transport: out of memory");
    if (transport) {
        curl_multi_cleanup(transport->multi);
        curl_share_cleanup(transport->share);
        release_memory(transport);
    }
    return NULL;
}

void peri_transport_free(struct peri_transport *transport)
{
    if (!transport || transport->dead) {
        return;
    }
    transport->dead = true;
    if (transport->loop->transport == transport) {
        transport->loop->transport = NULL;
    }
    struct peri_exchange *exchange, *next;
    for (exchange = TAILQ_FIRST(&transport->live); exchange; exchange = next) {
        next = TAILQ_NEXT(exchange, link);
        peri_exchange_cancel(exchange);
    }
    if (!transport->in_curl && !transport->settling) {
        destroy(transport);
    }
}
