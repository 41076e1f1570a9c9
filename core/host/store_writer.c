/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "host/store_sqlite.h"

#define LAZY_WAIT_NS (50 * INT64_C(1000000)) /* how long a write that nobody waits for is held back */
#define LAZY_MAX 8192                        /* and how many at most */
#define LAZY_GROUP 512                       /* of them in a transaction: an urgent write waits for one */
#define LAZY_NICE 15
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

/* Two threads write, one at a time and in the order in which writes came. The prompt one works as soon as somebody waits
 * for a write, or too many are held back. Otherwise the lazy one works, at a low priority: records that nobody waits for
 * must not take a processor from calls. */

/* ---- on the writing threads ---- */

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
    if (write->kind == PERI_WRITE_CALL || write->kind == PERI_WRITE_CALL_TERMS ||
        (write->kind == PERI_WRITE_TICK && write->call))
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
    for (struct peri_write *write = first, *next = NULL; write != end; write = next) {
        enum peri_code code = peri__apply(conn, write, end, &next, &refused);
        for (struct peri_write *applied = write; applied != next; applied = applied->next)
            forget_error(applied);
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

static void wait_until(struct peri__sqlite *store, pthread_cond_t *cond, int64_t ns)
{
    struct timespec until = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
    pthread_cond_timedwait(cond, &store->mutex, &until);
}

static bool is_pressing(const struct peri__sqlite *store)
{
    return store->stop || store->urgent || store->waiting >= LAZY_MAX;
}

/* Under the mutex: to write, and then not to write any more. */
static void begin_writing(struct peri__sqlite *store)
{
    store->writing = true;
    pthread_mutex_unlock(&store->mutex);
}

static void end_writing(struct peri__sqlite *store)
{
    store->writing = false;
    pthread_cond_signal(is_pressing(store) ? &store->wanted : &store->lazily);
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
        wait_until(store, &store->wanted, until);
}

/* Under the mutex, which it gives up meanwhile: stores a group that was taken off. */
static void store_group(struct peri__sqlite *store, struct list *group)
{
    struct list done = { NULL, NULL }, kept = { NULL, NULL };
    bool last_chance = store->stop;
    begin_writing(store);
    apply_group(store, group, last_chance, &done, &kept);
    /* Never idle, yet too many records: keep up all the same. */
    if (store->keep.keep_calls && store->keep.calls > store->keep.keep_calls + 10000)
        peri__keep_step(&store->keep, &store->writer);
    pthread_mutex_lock(&store->mutex);
    publish(store, &done);
    if (kept.first)
        put_back(store, &kept);
    end_writing(store);
}

static void *prompt_main(void *data)
{
    struct peri__sqlite *store = data;
    pthread_mutex_lock(&store->mutex);
    for (;;) {
        while (store->writing || !is_pressing(store))
            pthread_cond_wait(&store->wanted, &store->mutex);
        if (!store->first)
            break;
        struct list group = { store->first, store->last };
        store->first = store->last = NULL;
        store->waiting = store->urgent = 0;
        store_group(store, &group);
    }
    pthread_mutex_unlock(&store->mutex);
    return NULL;
}

/* Takes the first writes, all of them lazy. What remains waits anew, unless it makes a group already. */
static struct list take_lazy(struct peri__sqlite *store)
{
    struct list group = { store->first, store->first };
    size_t count = 1;
    for (; count < LAZY_GROUP && group.last->next; count++)
        group.last = group.last->next;
    store->first = group.last->next;
    if (!store->first)
        store->last = NULL;
    group.last->next = NULL;
    store->waiting -= count;
    if (store->waiting < LAZY_GROUP)
        store->lazy_since = (int64_t)uv_hrtime();
    return group;
}

/* When the lazy thread has to look again. */
static int64_t lazy_due(const struct peri__sqlite *store)
{
    return store->first ? store->lazy_since + LAZY_WAIT_NS : (int64_t)uv_hrtime() + IDLE_NS;
}

/* False: nothing is left to do, or it can't be done. */
static bool keep_step(struct peri__sqlite *store)
{
    if (!peri__keep_due(&store->keep))
        return false;
    begin_writing(store);
    bool more = peri__keep_step(&store->keep, &store->writer);
    pthread_mutex_lock(&store->mutex);
    end_writing(store);
    return more;
}

static void *lazy_main(void *data)
{
    struct peri__sqlite *store = data;
    setpriority(PRIO_PROCESS, (id_t)gettid(), LAZY_NICE);
    pthread_mutex_lock(&store->mutex);
    while (!store->stop) {
        if (store->writing || is_pressing(store)) {
            pthread_cond_wait(&store->lazily, &store->mutex);
        } else if (store->first && lazy_due(store) <= (int64_t)uv_hrtime()) {
            struct list group = take_lazy(store);
            store_group(store, &group);
        } else if (!keep_step(store) && !store->stop) {
            wait_until(store, &store->lazily, lazy_due(store));
        }
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
    bool pressing = store->waiting == LAZY_MAX;
    if (!write->lazy)
        pressing |= store->urgent++ == 0;
    pthread_mutex_unlock(&store->mutex);
    if (pressing)
        pthread_cond_signal(&store->wanted);
    else if (was_empty)
        pthread_cond_signal(&store->lazily);
}

size_t peri__writer_backlog(struct peri_store *base)
{
    return ((struct peri__sqlite *)base)->backlog;
}

static void ask_to_stop(struct peri__sqlite *store)
{
    pthread_mutex_lock(&store->mutex);
    store->stop = true;
    pthread_mutex_unlock(&store->mutex);
    pthread_cond_broadcast(&store->wanted);
    pthread_cond_broadcast(&store->lazily);
}

static void forget_locks(struct peri__sqlite *store)
{
    pthread_mutex_destroy(&store->mutex);
    pthread_cond_destroy(&store->wanted);
    pthread_cond_destroy(&store->lazily);
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
    pthread_cond_init(&store->lazily, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&store->mutex, NULL);
    bool prompt = pthread_create(&store->prompt, NULL, prompt_main, store) == 0;
    store->running = prompt && pthread_create(&store->lazy, NULL, lazy_main, store) == 0;
    if (store->running)
        return PERI_OK;
    if (prompt) {
        ask_to_stop(store);
        pthread_join(store->prompt, NULL);
    }
    forget_locks(store);
    return peri_error_set(err, PERI_NOMEM, "can't start the store's threads");
}

void peri__writer_stop(struct peri__sqlite *store)
{
    if (store->running) {
        ask_to_stop(store);
        pthread_join(store->lazy, NULL);
        pthread_join(store->prompt, NULL);
        store->running = false;
        deliver(store);
        forget_locks(store);
    }
    if (store->finished)
        uv_close((uv_handle_t *)store->finished, free_handle);
    store->finished = NULL;
}
