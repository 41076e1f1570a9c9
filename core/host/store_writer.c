/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <time.h>

#include "host/store_sqlite.h"

#define LAZY_WAIT_NS (50 * INT64_C(1000000)) /* how long a write that nobody waits for is held back */
#define LAZY_MAX 8192                        /* and how many at most */
#define RETRY_NS (500 * INT64_C(1000000))
#define IDLE_NS (1000 * INT64_C(1000000))

struct list {
    struct peri_write *first, *last;
};

static void list_add(struct list *list, struct peri_write *write)
{
    write->next = NULL;
    if (list->last)
        list->last->next = write;
    else
        list->first = write;
    list->last = write;
}

/* ---- on the writer's thread ---- */

/* Without memory for the reason the write fails with a general one. */
static struct peri_error no_memory = { .code = PERI_NOMEM, .retry_after_ms = -1, .message = "out of memory" };

static void forget_error(struct peri_write *write)
{
    if (write->error != &no_memory)
        free(write->error);
    write->error = NULL;
}

static void note_error(struct peri_write *write, const struct peri_error *err)
{
    forget_error(write);
    write->error = malloc(sizeof *write->error);
    if (write->error)
        *write->error = *err;
    else
        write->error = &no_memory;
}

static void note_durable(struct peri__sqlite *store, const struct peri_write *write)
{
    if (write->kind == PERI_WRITE_CALL || (write->kind == PERI_WRITE_TICK && write->call))
        store->keep.calls++;
    if (write->kind == PERI_WRITE_FUNCTION_DELETE)
        store->keep.doomed = true;
}

/* Applies the writes up to `end` in one transaction. Refused ones have their error set and don't hinder the others. */
static enum peri_code transact(struct peri__conn *conn, struct peri_write *first, const struct peri_write *end,
                               struct peri_error *err)
{
    if (peri__conn_run(conn, PERI__SQL_BEGIN) != SQLITE_OK)
        return peri__conn_error(conn, err, "can't write to the store");
    struct peri_error refused = PERI_ERROR_INIT;
    for (struct peri_write *write = first; write != end; write = write->next) {
        forget_error(write);
        enum peri_code code = peri__apply(conn, write, &refused);
        if (code == PERI_STORE) {
            *err = refused;
            peri__conn_run(conn, PERI__SQL_ROLLBACK);
            return PERI_STORE;
        }
        if (code) {
            note_error(write, &refused);
            peri_error_clear(&refused);
        }
    }
    if (peri__conn_run(conn, PERI__SQL_COMMIT) == SQLITE_OK)
        return PERI_OK;
    enum peri_code code = peri__conn_error(conn, err, "can't write to the store");
    peri__conn_run(conn, PERI__SQL_ROLLBACK);
    return code;
}

/* A group as a whole failed: each write stands for itself, so that only those that can't be stored fail. */
static void apply_singly(struct peri__sqlite *store, struct list *group, bool last_chance, struct list *done,
                         struct list *kept)
{
    struct peri_error err = PERI_ERROR_INIT;
    unsigned failures = 0;
    for (struct peri_write *write = group->first, *next; write; write = next) {
        next = write->next;
        enum peri_code code = failures < 3 ? transact(&store->writer, write, next, &err) : PERI_STORE;
        failures = code ? failures + 1 : 0;
        if (code && write->required && !last_chance) {
            list_add(kept, write);
            continue;
        }
        if (code)
            note_error(write, &err);
        else if (!write->error)
            note_durable(store, write);
        list_add(done, write);
    }
}

static void apply_group(struct peri__sqlite *store, struct list *group, bool last_chance, struct list *done,
                        struct list *kept)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (transact(&store->writer, group->first, NULL, &err) == PERI_OK) {
        for (struct peri_write *write = group->first; write; write = write->next)
            if (!write->error)
                note_durable(store, write);
        *done = *group;
        return;
    }
    apply_singly(store, group, last_chance, done, kept);
    if (kept->first)
        peri_log(PERI_LOG_ERROR, "the store does not work: %s; what must not be lost is tried again", err.message);
}

static void wait_until(struct peri__sqlite *store, int64_t ns)
{
    struct timespec until = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
    pthread_cond_timedwait(&store->wanted, &store->mutex, &until);
}

/* Under the mutex; returns with something to write, or with stop. */
static void wait_for_work(struct peri__sqlite *store)
{
    while (!store->stop) {
        if (store->urgent || store->waiting >= LAZY_MAX)
            return;
        if (store->first) {
            int64_t until = store->lazy_since + LAZY_WAIT_NS;
            if ((int64_t)uv_hrtime() >= until)
                return;
            wait_until(store, until);
            continue;
        }
        bool more = false;
        if (peri__keep_due(&store->keep)) {
            pthread_mutex_unlock(&store->mutex);
            more = peri__keep_step(&store->keep, &store->writer);
            pthread_mutex_lock(&store->mutex);
        }
        if (!more && !store->first && !store->stop)
            wait_until(store, (int64_t)uv_hrtime() + IDLE_NS);
    }
}

static void publish(struct peri__sqlite *store, const struct list *done)
{
    if (!done->first)
        return;
    if (store->done_last)
        store->done_last->next = done->first;
    else
        store->done_first = done->first;
    store->done_last = done->last;
    uv_async_send(store->finished);
}

/* Under the mutex: what has to be tried again goes before what came since. */
static void put_back(struct peri__sqlite *store, const struct list *kept)
{
    kept->last->next = store->first;
    if (!store->first)
        store->last = kept->last;
    store->first = kept->first;
    for (const struct peri_write *write = kept->first;; write = write->next) {
        store->waiting++;
        store->urgent++;
        if (write == kept->last)
            break;
    }
    int64_t until = (int64_t)uv_hrtime() + RETRY_NS;
    while (!store->stop && (int64_t)uv_hrtime() < until)
        wait_until(store, until);
}

static void *writer_main(void *data)
{
    struct peri__sqlite *store = data;
    pthread_mutex_lock(&store->mutex);
    for (;;) {
        wait_for_work(store);
        if (!store->first)
            break;
        struct list group = { store->first, store->last }, done = { NULL, NULL }, kept = { NULL, NULL };
        bool last_chance = store->stop;
        store->first = store->last = NULL;
        store->waiting = store->urgent = 0;
        pthread_mutex_unlock(&store->mutex);
        apply_group(store, &group, last_chance, &done, &kept);
        /* Never idle, yet too many records: keep up all the same. */
        if (store->keep.keep_calls && store->keep.calls > store->keep.keep_calls + 10000)
            peri__keep_step(&store->keep, &store->writer);
        pthread_mutex_lock(&store->mutex);
        publish(store, &done);
        if (kept.first)
            put_back(store, &kept);
    }
    pthread_mutex_unlock(&store->mutex);
    return NULL;
}

/* ---- on the loop's thread ---- */

static void deliver(struct peri__sqlite *store)
{
    pthread_mutex_lock(&store->mutex);
    struct peri_write *write = store->done_first;
    store->done_first = store->done_last = NULL;
    pthread_mutex_unlock(&store->mutex);
    while (write) {
        struct peri_write *next = write->next;
        if (--store->backlog == 0)
            uv_unref((uv_handle_t *)store->finished);
        struct peri_error *error = write->error;
        write->done(write->data, write, error);
        if (error != &no_memory)
            free(error);
        write = next;
    }
}

static void on_finished(uv_async_t *async)
{
    deliver(async->data);
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

void peri__writer_write(struct peri_store *base, struct peri_write *write)
{
    struct peri__sqlite *store = (struct peri__sqlite *)base;
    write->next = NULL;
    if (store->backlog++ == 0)
        uv_ref((uv_handle_t *)store->finished);
    pthread_mutex_lock(&store->mutex);
    bool was_empty = !store->first;
    if (store->last)
        store->last->next = write;
    else
        store->first = write;
    store->last = write;
    store->waiting++;
    if (was_empty)
        store->lazy_since = (int64_t)uv_hrtime();
    bool wake = was_empty || store->waiting == LAZY_MAX;
    if (!write->lazy)
        wake |= store->urgent++ == 0;
    pthread_mutex_unlock(&store->mutex);
    if (wake)
        pthread_cond_signal(&store->wanted);
}

size_t peri__writer_backlog(struct peri_store *base)
{
    return ((struct peri__sqlite *)base)->backlog;
}

enum peri_code peri__writer_start(struct peri__sqlite *store, struct uv_loop_s *uv, struct peri_error *err)
{
    store->finished = calloc(1, sizeof *store->finished);
    if (!store->finished || uv_async_init(uv, store->finished, on_finished) != 0) {
        free(store->finished);
        store->finished = NULL;
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    store->finished->data = store;
    uv_unref((uv_handle_t *)store->finished);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* uv_hrtime's */
    pthread_cond_init(&store->wanted, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&store->mutex, NULL);
    store->running = pthread_create(&store->thread, NULL, writer_main, store) == 0;
    if (store->running)
        return PERI_OK;
    pthread_mutex_destroy(&store->mutex);
    pthread_cond_destroy(&store->wanted);
    return peri_error_set(err, PERI_NOMEM, "can't start the store's thread");
}

void peri__writer_stop(struct peri__sqlite *store)
{
    if (store->running) {
        pthread_mutex_lock(&store->mutex);
        store->stop = true;
        pthread_mutex_unlock(&store->mutex);
        pthread_cond_signal(&store->wanted);
        pthread_join(store->thread, NULL);
        store->running = false;
        deliver(store);
        pthread_mutex_destroy(&store->mutex);
        pthread_cond_destroy(&store->wanted);
    }
    if (store->finished)
        uv_close((uv_handle_t *)store->finished, free_handle);
    store->finished = NULL;
}
