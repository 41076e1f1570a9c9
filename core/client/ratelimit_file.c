/* SPDX-License-Identifier: MIT */
#include "client/ratelimit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file: a head of words, then one cell for each place of the limit. A word is 8 bytes, aligned, written by one
 * pwrite: a process that is killed leaves it old or new, never half. A cell is 0 (free), above 0 (when the request that
 * had it ended), or -1 - owner (a request that runs). There is no count and no order that could disagree with the
 * cells: more than the limit can't be written down. All that a kill between two writes can do is leave cells taken.
 *
 * Locks (of the open file, so the kernel lets go of them when their process ends in whatever way) are on bytes beyond
 * the content: one to take places, held for microseconds, and one for each owner, held as long as it lives. The cells of
 * an owner that lives no more count as ended when somebody sees that. Who ends or drops a request writes its own cell,
 * which nobody else does: that needs no lock. Files are read and written, not mapped: a map of a file that somebody
 * truncates kills the process. */

enum { MAGIC, LIMIT, WINDOW, BOOT, BLOCKED, HEAD = 8 };
enum { OWNERS = 256, LOCK_TRIES = 40, BUSY_MS = 2, SKEW_MS = 1000 };

#define LOCK_BYTE (INT64_C(1) << 40)
#define OWNER_BYTE (LOCK_BYTE + 1)
#define WORD ((off_t)sizeof(int64_t))

struct peri__ratelimit_file {
    char *path;
    int fd;
    unsigned limit;
    int64_t window_ms;
    int owner;
    unsigned held;    /* cells of this owner */
    uint32_t *mine;   /* which */
    int64_t *words;   /* the file as it was read */
    int64_t *expires; /* for sorting */
};

static enum peri_code fail(const struct peri__ratelimit_file *file, const char *what, struct peri_error *err)
{
    return peri_error_set(err, PERI_IO, "rate_limit: can't %s %s: %s", what, file->path, strerror(errno));
}

static enum peri_code damaged(const struct peri__ratelimit_file *file, const char *how, struct peri_error *err)
{
    return peri_error_set(err, PERI_IO,
                          "rate_limit: %s %s; end all scripts that share it, remove it, and wait %g s before they run "
                          "again",
                          file->path, how, (double)file->window_ms / 1000);
}

static bool lock_byte(int fd, off_t byte, short type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Whoever has the lock is done in microseconds, unless it was stopped just then: then others try again later. */
static bool lock(const struct peri__ratelimit_file *file)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (lock_byte(file->fd, LOCK_BYTE, F_WRLCK))
            return true;
        if (i < LOCK_TRIES / 2)
            sched_yield();
        else
            usleep(50);
    }
    return false;
}

static void unlock(const struct peri__ratelimit_file *file)
{
    lock_byte(file->fd, LOCK_BYTE, F_UNLCK);
}

static bool owner_lives(const struct peri__ratelimit_file *file, int owner)
{
    struct flock probe = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = OWNER_BYTE + owner, .l_len = 1 };
    if (owner == file->owner)
        return true;
    return fcntl(file->fd, F_OFD_GETLK, &probe) != 0 || probe.l_type != F_UNLCK;
}

static bool write_word(const struct peri__ratelimit_file *file, size_t i, int64_t value)
{
    return pwrite(file->fd, &value, sizeof value, (off_t)i * WORD) == (ssize_t)sizeof value;
}

/* Times in cells are above 0. */
static int64_t stamp(int64_t ms)
{
    return ms > 0 ? ms : 1;
}

/* Another number in each boot; 0: not known, and then the same in all. */
static int64_t boot_id(void)
{
    char text[64] = "";
    int64_t id = 0;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) > 0)
        for (const char *p = text; *p && *p != '\n'; p++)
            id = (int64_t)((uint64_t)id * 1099511628211u ^ (unsigned char)*p);
    close(fd);
    return id;
}

static int64_t magic(void)
{
    int64_t word = 0;
    memcpy(&word, "perirate", sizeof word);
    return word;
}

static size_t size_of(const struct peri__ratelimit_file *file)
{
    return (HEAD + (size_t)file->limit) * sizeof(int64_t);
}

/* Words as they are now, checked. Cells of dead owners end now. */
static enum peri_code read_words(struct peri__ratelimit_file *file, int64_t now_ms, struct peri_error *err)
{
    struct stat info;
    ssize_t n = pread(file->fd, file->words, size_of(file), 0);
    if (n < 0 || fstat(file->fd, &info) != 0)
        return fail(file, "read", err);
    if (info.st_nlink == 0)
        return damaged(file, "was removed while it was in use", err);
    if ((size_t)n != size_of(file) || file->words[MAGIC] != magic() || file->words[LIMIT] != file->limit ||
        file->words[WINDOW] != file->window_ms)
        return damaged(file, "is damaged", err);
    for (size_t i = HEAD; i < HEAD + (size_t)file->limit; i++) {
        int64_t cell = file->words[i];
        if (cell < -OWNERS || cell > now_ms + SKEW_MS)
            return damaged(file, "is damaged", err);
        if (cell >= 0 || owner_lives(file, (int)(-1 - cell)))
            continue;
        file->words[i] = stamp(now_ms + 1);
        if (!write_word(file, i, file->words[i]))
            return fail(file, "write to", err);
    }
    return PERI_OK;
}

static bool is_free(const struct peri__ratelimit_file *file, int64_t cell, int64_t now_ms)
{
    return cell == 0 || (cell > 0 && now_ms - cell >= file->window_ms);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* What read_words has read. */
static void look(struct peri__ratelimit_file *file, unsigned n, int64_t now_ms, struct peri__ratelimit_view *view)
{
    unsigned ended = 0, unused = 0;
    for (size_t i = HEAD; i < HEAD + (size_t)file->limit; i++) {
        if (is_free(file, file->words[i], now_ms))
            unused++;
        else if (file->words[i] > 0)
            file->expires[ended++] = file->words[i] + file->window_ms;
    }
    if (file->limit == 0)
        return; /* never: peri__ratelimit_file_open refuses it */
    int64_t rounds = (n - 1) / file->limit, at = now_ms;
    n = (n - 1) % file->limit + 1;
    if (n > unused && n - unused > ended) {
        at = now_ms + file->window_ms;
    } else if (n > unused) {
        qsort(file->expires, ended, sizeof *file->expires, by_time);
        at = file->expires[n - unused - 1];
    }
    if (at < file->words[BLOCKED])
        at = file->words[BLOCKED];
    view->remaining = now_ms < file->words[BLOCKED] ? 0 : unused;
    view->wait_ms = at + rounds * file->window_ms - now_ms;
    view->blocked_until_ms = file->words[BLOCKED];
}

/* ---- opening ---- */

/* With the lock. A file without its last word, the magic, was never used. */
static enum peri_code create(struct peri__ratelimit_file *file, struct peri_error *err)
{
    int failure = posix_fallocate(file->fd, 0, (off_t)size_of(file));
    if (failure) {
        errno = failure;
        return fail(file, "make", err);
    }
    if (!write_word(file, LIMIT, file->limit) || !write_word(file, WINDOW, file->window_ms) ||
        !write_word(file, BOOT, boot_id()) || !write_word(file, MAGIC, magic()))
        return fail(file, "write to", err);
    return PERI_OK;
}

static enum peri_code check_head(struct peri__ratelimit_file *file, struct peri_error *err)
{
    int64_t head[HEAD] = { 0 };
    ssize_t n = pread(file->fd, head, sizeof head, 0);
    if (n < 0)
        return fail(file, "read", err);
    if (n == 0 || (n == sizeof head && head[MAGIC] == 0 && head[BLOCKED] == 0 && head[HEAD - 1] == 0))
        return create(file, err);
    if (head[MAGIC] != magic())
        return damaged(file, "is damaged, or no file of a rate limit", err);
    if (head[LIMIT] != file->limit || head[WINDOW] != file->window_ms)
        return peri_error_set(err, PERI_INVALID,
                              "rate_limit: %s is of %lld requests in %g s, not of %u in %g s; give all scripts that "
                              "share it the same limit, or another file",
                              file->path, (long long)head[LIMIT], (double)head[WINDOW] / 1000, file->limit,
                              (double)file->window_ms / 1000);
    return PERI_OK;
}

/* Times of an earlier boot mean nothing; the boot id goes last, so that a kill in between repeats this. */
static enum peri_code renew(struct peri__ratelimit_file *file, int64_t now_ms, struct peri_error *err)
{
    int64_t boot = boot_id();
    if (pread(file->fd, file->words, size_of(file), 0) != (ssize_t)size_of(file))
        return damaged(file, "is damaged", err);
    if (file->words[BOOT] == boot)
        return PERI_OK;
    bool ok = write_word(file, BLOCKED, 0);
    for (size_t i = HEAD; i < HEAD + (size_t)file->limit && ok; i++)
        ok = file->words[i] == 0 || write_word(file, i, stamp(now_ms + 1));
    if (!ok || !write_word(file, BOOT, boot))
        return fail(file, "write to", err);
    return PERI_OK;
}

/* A number that no living process has. Cells that carry it are those of a dead one; read_words ends them, since a lock
 * of this very file does not count there. */
static enum peri_code become_owner(struct peri__ratelimit_file *file, int64_t now_ms, struct peri_error *err)
{
    int owner = 0;
    while (owner < OWNERS && !lock_byte(file->fd, OWNER_BYTE + owner, F_WRLCK))
        owner++;
    if (owner == OWNERS)
        return peri_error_set(err, PERI_BUSY, "rate_limit: %d processes share %s already", OWNERS, file->path);
    enum peri_code code = read_words(file, now_ms, err);
    file->owner = owner;
    return code;
}

struct peri__ratelimit_file *peri__ratelimit_file_open(const char *path, unsigned limit, int64_t window_ms,
                                                       int64_t now_ms, struct peri_error *err)
{
    if (limit == 0 || limit > PERI__RATELIMIT_FILE_MAX || window_ms <= 0) {
        peri_error_set(err, PERI_INVALID, "rate_limit: a shared limit is 1 to %d requests in a window above 0 ms",
                       PERI__RATELIMIT_FILE_MAX);
        return NULL;
    }
    struct peri__ratelimit_file *file = calloc(1, sizeof *file);
    if (!file) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    file->fd = file->owner = -1;
    file->limit = limit;
    file->window_ms = window_ms;
    file->path = strdup(path);
    file->words = calloc(HEAD + (size_t)limit, sizeof *file->words);
    file->expires = calloc(limit, sizeof *file->expires);
    file->mine = calloc(limit, sizeof *file->mine);
    if (!file->path || !file->words || !file->expires || !file->mine) {
        peri_error_set(err, PERI_NOMEM, "out of memory");
        goto fail;
    }
    file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file->fd < 0) {
        fail(file, "open", err);
        goto fail;
    }
    if (!lock(file)) {
        peri_error_set(err, PERI_BUSY, "rate_limit: a stopped process holds the lock of %s", path);
        goto fail;
    }
    enum peri_code code = check_head(file, err);
    if (code == PERI_OK)
        code = renew(file, now_ms, err);
    if (code == PERI_OK)
        code = become_owner(file, now_ms, err);
    unlock(file);
    if (code == PERI_OK)
        return file;
fail:
    peri__ratelimit_file_close(file);
    return NULL;
}

void peri__ratelimit_file_close(struct peri__ratelimit_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file->words);
    free(file->expires);
    free(file->mine);
    free(file);
}

/* ---- places ---- */

enum peri_code peri__ratelimit_file_hold(struct peri__ratelimit_file *file, unsigned n, int64_t now_ms,
                                         int64_t *wait_ms, struct peri_error *err)
{
    struct peri__ratelimit_view view = { 0 };
    unsigned taken = 0;
    *wait_ms = BUSY_MS;
    if (!lock(file))
        return PERI_OK;
    enum peri_code code = read_words(file, now_ms, err);
    if (code == PERI_OK) {
        look(file, n, now_ms, &view);
        *wait_ms = view.wait_ms;
    }
    for (size_t i = HEAD; code == PERI_OK && *wait_ms <= 0 && taken < n && i < HEAD + (size_t)file->limit; i++) {
        if (!is_free(file, file->words[i], now_ms))
            continue;
        if (!write_word(file, i, -1 - file->owner))
            code = fail(file, "write to", err);
        else
            file->mine[file->held + taken++] = (uint32_t)i;
    }
    unlock(file);
    file->held += taken;
    if (code != PERI_OK)
        peri__ratelimit_file_drop(file, taken);
    return code;
}

/* A word that can't be written stays taken while this process lives: rather too few than too many. */
static void give(struct peri__ratelimit_file *file, unsigned n, int64_t value)
{
    for (; n > 0 && file->held > 0; n--)
        write_word(file, file->mine[--file->held], value);
}

void peri__ratelimit_file_end(struct peri__ratelimit_file *file, unsigned n, int64_t end_ms)
{
    give(file, n, stamp(end_ms));
}

void peri__ratelimit_file_drop(struct peri__ratelimit_file *file, unsigned n)
{
    give(file, n, 0);
}

void peri__ratelimit_file_block(struct peri__ratelimit_file *file, int64_t until_ms)
{
    int64_t old = 0;
    bool locked = lock(file);
    if (pread(file->fd, &old, sizeof old, BLOCKED * WORD) == (ssize_t)sizeof old && old < until_ms)
        write_word(file, BLOCKED, until_ms);
    if (locked)
        unlock(file);
}

enum peri_code peri__ratelimit_file_look(struct peri__ratelimit_file *file, unsigned n, int64_t now_ms,
                                         struct peri__ratelimit_view *view, struct peri_error *err)
{
    enum peri_code code = read_words(file, now_ms, err);
    if (code == PERI_OK)
        look(file, n, now_ms, view);
    if (view->wait_ms < 0)
        view->wait_ms = 0;
    return code;
}
