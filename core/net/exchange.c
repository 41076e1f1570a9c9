/* SPDX-License-Identifier: MIT */
#include "net/transport_private.h"

#include <stdlib.h>
#include <string.h>

#define POOL_MAX 128
#define KEEP_BODY_MAX (64 * 1024)
#define DEFAULT_MAX_BODY (64u * 1024 * 1024)
#define DEFAULT_CONNECT_MS 10000

/* ---- deadlines: one timer each, armed for the earliest, never moved to a later one before it has fired. It goes on when
 * the exchange is over, for the next one in the same memory: most requests then neither start nor stop it. ---- */

static void on_deadline(uv_timer_t *timer);

static uint64_t stall_due(const struct peri_exchange *exchange)
{
    return exchange->moved_at ? exchange->moved_at + (uint64_t)exchange->stall_timeout_ms : 0;
}

static void deadline_arm(struct peri_exchange *exchange)
{
    uint64_t due = exchange->deadline_due;
    uint64_t others[] = { exchange->connected ? 0 : exchange->connect_due,
                          exchange->answered ? 0 : exchange->first_byte_due, stall_due(exchange) };
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        if (others[i] && (!due || others[i] < due)) {
            due = others[i];
        }
    }
    if (due && (!exchange->armed || due < exchange->armed)) {
        uint64_t now = uv_now(exchange->transport->loop->uv);
        exchange->armed = due;
        uv_timer_start(&exchange->timer, on_deadline, due > now ? due - now : 0, 0);
    }
}

static void on_deadline(uv_timer_t *timer)
{
    struct peri_exchange *exchange = timer->data;
    uint64_t now = uv_now(exchange->transport->loop->uv);
    exchange->armed = 0;
    if (!exchange->live) {
        return;
    }
    enum peri__deadline which;
    if (exchange->deadline_due && now >= exchange->deadline_due) {
        which = DEADLINE_TOTAL;
    } else if (!exchange->connected && exchange->connect_due && now >= exchange->connect_due) {
        which = DEADLINE_CONNECT;
    } else if (!exchange->answered && exchange->first_byte_due && now >= exchange->first_byte_due) {
        which = DEADLINE_FIRST_BYTE;
    } else if (stall_due(exchange) && now >= stall_due(exchange)) {
        which = DEADLINE_STALL;
    } else {
        deadline_arm(exchange);
        return;
    }
    struct peri_transport *transport = exchange->transport;
    peri__transport_enter(transport);
    peri__failure_timeout(exchange, which);
    peri__transport_defer(exchange);
    peri__transport_leave(transport); /* reports it */
}

void peri__exchange_sent(struct peri_exchange *exchange)
{
    if (exchange->first_byte_timeout_ms > 0 && !exchange->first_byte_due) {
        exchange->first_byte_due = uv_now(exchange->transport->loop->uv) + (uint64_t)exchange->first_byte_timeout_ms;
        deadline_arm(exchange);
    }
}

void peri__exchange_moved(struct peri_exchange *exchange, bool moving)
{
    if (exchange->stall_timeout_ms > 0) {
        exchange->moved_at = moving ? uv_now(exchange->transport->loop->uv) : 0;
        deadline_arm(exchange);
    }
}

void peri__exchange_connecting(struct peri_exchange *exchange)
{
    if (!exchange->connected && !exchange->connect_due) {
        exchange->connect_due = uv_now(exchange->transport->loop->uv) + (uint64_t)exchange->connect_timeout_ms;
        deadline_arm(exchange);
    }
}

/* ---- one exchange's life ---- */

static void on_resume(void *data)
{
    struct peri_exchange *exchange = data;
    exchange->resume = true;
    peri__transport_defer(exchange);
}

static void detach(struct peri_exchange *exchange)
{
    if (exchange->source) {
        peri_reader_on_resume(exchange->source, NULL, NULL);
    }
    if (exchange->sink) {
        peri_writer_on_resume(exchange->sink, NULL, NULL);
    }
    exchange->source = NULL;
    exchange->sink = NULL;
    exchange->progress = NULL;
    exchange->done = NULL;
}

/* Out of libcurl and off all lists; the result is still there. */
static void stop(struct peri_exchange *exchange)
{
    struct peri_transport *transport = exchange->transport;
    if (exchange->added) {
        exchange->added = false;
        curl_multi_remove_handle(transport->multi, exchange->easy);
    }
    uv_unref((uv_handle_t *)&exchange->timer);
    exchange->live = false;
    if (exchange->is_deferred) {
        exchange->is_deferred = false;
        TAILQ_REMOVE(&transport->deferred, exchange, deferred_link);
    }
    TAILQ_REMOVE(&transport->live, exchange, link);
    peri__transport_count(transport, -1);
}

static void recycle(struct peri_exchange *exchange)
{
    struct peri_transport *transport = exchange->transport;
    peri_headers_clear(&exchange->result.headers);
    if (exchange->result.body.cap > KEEP_BODY_MAX) {
        peri_buf_fini(&exchange->result.body);
    } else {
        peri_buf_clear(&exchange->result.body);
    }
    if (transport->pool_count < POOL_MAX) {
        transport->pool_count++;
        TAILQ_INSERT_HEAD(&transport->pool, exchange, link);
    } else {
        peri__exchange_discard(exchange);
    }
}

static void on_exchange_closed(uv_handle_t *handle)
{
    struct peri_exchange *exchange = handle->data;
    struct peri_transport *transport = exchange->transport;
    free(exchange);
    peri__transport_closed(transport);
}

void peri__exchange_discard(struct peri_exchange *exchange)
{
    curl_easy_cleanup(exchange->easy);
    curl_url_cleanup(exchange->url);
    peri_result_fini(&exchange->result);
    peri_buf_fini(&exchange->text);
    peri_buf_fini(&exchange->bytes);
    free(exchange->nodes);
    peri__transport_close(exchange->transport, (uv_handle_t *)&exchange->timer, on_exchange_closed);
}

static struct peri_exchange *take(struct peri_transport *transport, struct peri_error *err)
{
    struct peri_exchange *exchange = TAILQ_FIRST(&transport->pool);
    if (exchange) {
        TAILQ_REMOVE(&transport->pool, exchange, link);
        transport->pool_count--;
        return exchange;
    }
    exchange = calloc(1, sizeof(*exchange));
    if (!exchange) {
        peri_error_set(err, PERI_NOMEM, "can't start an HTTP exchange: out of memory");
        return NULL;
    }
    exchange->transport = transport;
    if (peri__easy_init(exchange, err) != PERI_OK) {
        free(exchange);
        return NULL;
    }
    uv_timer_init(transport->loop->uv, &exchange->timer);
    exchange->timer.data = exchange;
    transport->open_handles++;
    peri_headers_init(&exchange->result.headers);
    return exchange;
}

static void reset(struct peri_exchange *exchange, const struct peri_request *request)
{
    struct peri_result *result = &exchange->result;
    peri_error_clear(&result->error);
    result->code = PERI_OK;
    result->status = 0;
    result->bytes_sent = result->bytes_received = 0;
    result->anything_sent = result->reused = false;
    result->http_version = 0;
    result->connect_us = result->first_byte_us = result->total_us = 0;
    result->headers.max_bytes = PERI_HEADERS_MAX_BYTES;
    result->body.max = request->max_body ? request->max_body : DEFAULT_MAX_BODY;
    exchange->source = request->body;
    exchange->sink = request->sink;
    exchange->progress = request->progress;
    exchange->progress_data = request->progress_data;
    exchange->handed = 0;
    exchange->status = 0;
    exchange->sent_before = 0;
    exchange->cancelled = exchange->resume = exchange->connected = false;
    exchange->answered = exchange->headers_done = exchange->not_repeated = exchange->failed = false;
    exchange->detail[0] = '\0';
}

static void set_deadlines(struct peri_exchange *exchange, const struct peri_request *request)
{
    struct peri_transport *transport = exchange->transport;
    uv_update_time(transport->loop->uv);
    uint64_t now = uv_now(transport->loop->uv);
    exchange->connect_timeout_ms = request->connect_timeout_ms > 0 ? request->connect_timeout_ms : DEFAULT_CONNECT_MS;
    exchange->first_byte_timeout_ms = request->first_byte_timeout_ms;
    exchange->stall_timeout_ms = request->stall_timeout_ms;
    exchange->first_byte_due = exchange->deadline_due = exchange->moved_at = 0;
    /* Where connections to a host are limited, waiting for a turn is not connecting: see peri__exchange_connecting. */
    exchange->connect_due = transport->max_host ? 0 : now + (uint64_t)exchange->connect_timeout_ms;
    if (request->deadline_ms) {
        int64_t left = request->deadline_ms - peri_clock_monotonic_ms(transport->loop->clock);
        exchange->deadline_due = now + (left > 0 ? (uint64_t)left : 0);
    }
    deadline_arm(exchange);
}

static void add(struct peri_exchange *exchange)
{
    CURLMcode rc = curl_multi_add_handle(exchange->transport->multi, exchange->easy);
    if (rc == CURLM_OK) {
        exchange->added = true;
    } else {
        peri_error_set(&exchange->result.error, rc == CURLM_OUT_OF_MEMORY ? PERI_NOMEM : PERI_IO,
                       "can't start an HTTP exchange: %s", curl_multi_strerror(rc));
        exchange->failed = true;
        peri__transport_defer(exchange); /* reported like any other failure */
    }
}

struct peri_exchange *peri_exchange_start(struct peri_transport *transport, const struct peri_request *request,
                                          peri_exchange_fn done, void *data, struct peri_error *err)
{
    if (transport->dead) {
        peri_error_set(err, PERI_CLOSED, "the transport is closed");
        return NULL;
    }
    struct peri_exchange *exchange = take(transport, err);
    if (!exchange) {
        return NULL;
    }
    reset(exchange, request);
    if (peri__easy_setup(exchange, request, err) != PERI_OK) {
        detach(exchange);
        recycle(exchange);
        return NULL;
    }
    exchange->done = done;
    exchange->data = data;
    if (exchange->source) {
        peri_reader_on_resume(exchange->source, on_resume, exchange);
    }
    if (exchange->sink) {
        peri_writer_on_resume(exchange->sink, on_resume, exchange);
    }
    TAILQ_INSERT_TAIL(&transport->live, exchange, link);
    peri__transport_count(transport, 1);
    uv_ref((uv_handle_t *)&exchange->timer);
    exchange->live = true;
    set_deadlines(exchange, request);
    if (exchange->deadline_due && exchange->deadline_due <= uv_now(transport->loop->uv)) {
        peri__failure_timeout(exchange, DEADLINE_TOTAL);
        peri__transport_defer(exchange);
    } else if (transport->in_curl) {
        peri__transport_defer(exchange);
    } else {
        add(exchange);
    }
    return exchange;
}

void peri_exchange_cancel(struct peri_exchange *exchange)
{
    if (!exchange || !exchange->done) {
        return; /* cancelled already, or within its own done */
    }
    detach(exchange);
    if (exchange->transport->in_curl) {
        exchange->cancelled = true;
        peri__transport_defer(exchange);
    } else {
        stop(exchange);
        recycle(exchange);
    }
}

void peri__exchange_settle(struct peri_exchange *exchange)
{
    struct peri_transport *transport = exchange->transport;
    if (exchange->cancelled) {
        stop(exchange);
        recycle(exchange);
    } else if (exchange->failed) {
        peri__exchange_finish(exchange, CURLE_OK);
    } else if (!exchange->added) {
        add(exchange);
    } else if (exchange->resume) {
        exchange->resume = false;
        peri__exchange_moved(exchange, true);
        peri__transport_enter(transport);
        curl_easy_pause(exchange->easy, CURLPAUSE_CONT);
        transport->in_curl--; /* settling already */
    }
}

static void fill_result(struct peri_exchange *exchange, CURLcode rc)
{
    struct peri_result *result = &exchange->result;
    curl_off_t connect_us = 0, first_byte_us = 0, total_us = 0, body_bytes = 0;
    long connects = 0;
    curl_easy_getinfo(exchange->easy, CURLINFO_PRETRANSFER_TIME_T, &connect_us);
    curl_easy_getinfo(exchange->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte_us);
    curl_easy_getinfo(exchange->easy, CURLINFO_TOTAL_TIME_T, &total_us);
    curl_easy_getinfo(exchange->easy, CURLINFO_NUM_CONNECTS, &connects);
    if (exchange->send >= SEND_BYTES) {
        curl_easy_getinfo(exchange->easy, CURLINFO_SIZE_UPLOAD_T, &body_bytes);
    }
    result->connect_us = connect_us;
    result->first_byte_us = first_byte_us;
    result->total_us = total_us;
    result->bytes_sent = body_bytes;
    result->reused = exchange->connected && connects == 0;
    result->anything_sent = exchange->connected && peri__exchange_bytes_out(exchange) > exchange->sent_before;
    if (rc == CURLE_OK && !exchange->headers_done) {
        rc = CURLE_PARTIAL_FILE; /* libcurl takes the end of the connection for the end of the header */
    }
    if (rc == CURLE_OK && result->error.code == PERI_OK) {
        result->code = PERI_OK;
        result->status = exchange->status;
    } else {
        peri__failure_fill(exchange, rc);
        peri_headers_clear(&result->headers);
        peri_buf_clear(&result->body);
        result->http_version = 0;
    }
}

void peri__exchange_finish(struct peri_exchange *exchange, CURLcode rc)
{
    if (exchange->added) {
        fill_result(exchange, rc);
    } else {
        exchange->result.code = exchange->result.error.code; /* libcurl knows nothing of it */
    }
    peri_exchange_fn done = exchange->done;
    detach(exchange);
    stop(exchange);
    peri__loop_progress(exchange->transport->loop);
    done(exchange->data, &exchange->result);
    recycle(exchange);
}

void peri_result_fini(struct peri_result *result)
{
    peri_headers_fini(&result->headers);
    peri_buf_fini(&result->body);
}
