/* SPDX-License-Identifier: MIT */
#include "host/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum peri_code failed(struct peri_error *err, const char *what, const char *path)
{
    return peri_error_set(err, PERI_IO, "can't %s %s: %s", what, path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *at)
{
    (void)stat;
    (void)type;
    (void)at;
    remove(path);
    return 0;
}

void peri__remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Like mkdir -p, with mode 0700 for what is new. */
static enum peri_code make_folders(const char *path, struct peri_error *err)
{
    char *copy = strdup(path);
    if (!copy)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    enum peri_code code = PERI_OK;
    for (char *at = copy + 1; !code; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char kept = *at;
        *at = '\0';
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            code = failed(err, "create the folder", copy);
        *at = kept;
        if (!kept)
            break;
    }
    free(copy);
    return code;
}

static enum peri_code take_lock(struct peri__datadir *dir, struct peri_error *err)
{
    char *path = peri__datadir_path(dir, NULL, "host.lock");
    dir->lock = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    enum peri_code code = PERI_OK;
    char pid[32] = "";
    if (dir->lock < 0) {
        code = failed(err, "write to the data folder", dir->root);
    } else if (flock(dir->lock, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(dir->lock, pid, sizeof pid - 1, 0);
        pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
        code = peri_error_set(err, PERI_BUSY, "the data folder %s is in use by another host (process %s)", dir->root,
                              pid[0] ? pid : "unknown");
        close(dir->lock);
        dir->lock = -1;
    } else {
        int len = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
        if (ftruncate(dir->lock, 0) != 0 || pwrite(dir->lock, pid, (size_t)len, 0) != len)
            code = failed(err, "write to", path);
    }
    free(path);
    return code;
}

enum peri_code peri__datadir_init(struct peri__datadir *dir, const char *root, struct peri_error *err)
{
    static const char *const folders[] = { "packages", "files", "tmp" };
    dir->lock = -1;
    enum peri_code code = make_folders(root, err);
    dir->root = code ? NULL : realpath(root, NULL);
    if (!code && !dir->root)
        code = failed(err, "find the data folder", root);
    if (!code)
        code = take_lock(dir, err);
    for (size_t i = 0; i < sizeof folders / sizeof *folders && !code; i++) {
        char *path = peri__datadir_path(dir, folders[i], NULL);
        if (!path || (mkdir(path, 0700) != 0 && errno != EEXIST))
            code = failed(err, "create the folder", path ? path : folders[i]);
        free(path);
    }
    if (code)
        peri__datadir_fini(dir);
    return code;
}

void peri__datadir_fini(struct peri__datadir *dir)
{
    if (dir->lock >= 0)
        close(dir->lock);
    dir->lock = -1;
    free(dir->root);
    dir->root = NULL;
}

char *peri__datadir_path(const struct peri__datadir *dir, const char *folder, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s%s%s%s%s", dir->root, folder ? "/" : "", folder ? folder : "", name ? "/" : "",
                 name ? name : "") < 0)
        return NULL;
    return path;
}

void peri__datadir_sweep(const struct peri__datadir *dir, const char *folder,
                         bool (*keep)(void *data, const char *name), void *data)
{
    char *path = peri__datadir_path(dir, folder, NULL);
    DIR *open_folder = path ? opendir(path) : NULL;
    free(path);
    if (!open_folder)
        return;
    for (const struct dirent *entry; (entry = readdir(open_folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || (keep && keep(data, entry->d_name)))
            continue;
        char *inner = peri__datadir_path(dir, folder, entry->d_name);
        if (inner)
            peri__remove_tree(inner);
        free(inner);
    }
    closedir(open_folder);
}

static enum peri_code copy_bytes(int from, int to, struct peri_error *err, const char *path)
{
    char *piece = malloc(65536);
    if (!piece)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    enum peri_code code = PERI_OK;
    for (ssize_t n; !code && (n = read(from, piece, 65536)) != 0;) {
        if (n < 0)
            code = failed(err, "read", path);
        for (ssize_t done = 0, m; !code && done < n; done += m)
            if ((m = write(to, piece + done, (size_t)(n - done))) < 0) {
                code = failed(err, "copy", path);
                m = 0;
            }
    }
    free(piece);
    return code;
}

static enum peri_code copy_file(const char *from, const char *to, struct peri_error *err)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    enum peri_code code = in < 0 ? failed(err, "open", from) : out < 0 ? failed(err, "create", to) : PERI_OK;
    if (!code)
        code = copy_bytes(in, out, err, from);
    if (in >= 0)
        close(in);
    if (out >= 0 && close(out) != 0 && !code)
        code = failed(err, "write", to);
    return code;
}

enum peri_code peri__sync_path(const char *path, int flags, struct peri_error *err)
{
    int fd = open(path, flags | O_CLOEXEC);
    enum peri_code code = fd < 0 || fsync(fd) != 0 ? failed(err, "make durable", path) : PERI_OK;
    if (fd >= 0)
        close(fd);
    return code;
}

static bool below(const struct peri__datadir *dir, const char *path)
{
    char *real = realpath(path, NULL);
    size_t len = strlen(dir->root);
    bool is = real && !strncmp(real, dir->root, len) && real[len] == '/';
    free(real);
    return is;
}

enum peri_code peri__datadir_place(const struct peri__datadir *dir, const char *from, const char *folder,
                                   const char *name, struct peri_error *err)
{
    char *target = peri__datadir_path(dir, folder, name), *parent = peri__datadir_path(dir, folder, NULL);
    char *temporary = NULL;
    enum peri_code code = PERI_OK;
    bool move = below(dir, from);
    static _Atomic unsigned number;
    if (!move && asprintf(&temporary, "%s/tmp/place-%d-%u", dir->root, (int)getpid(), ++number) < 0)
        temporary = NULL;
    const char *source = move ? from : temporary;
    if (!target || !parent || !source) {
        free(target);
        free(parent);
        free(temporary);
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    if (!move)
        code = copy_file(from, source, err);
    if (!code)
        code = peri__sync_path(source, O_RDONLY, err);
    if (!code && rename(source, target) != 0)
        code = failed(err, "move a file to", target);
    if (!code)
        code = peri__sync_path(parent, O_RDONLY | O_DIRECTORY, err);
    if (code && temporary)
        unlink(temporary);
    free(target);
    free(parent);
    free(temporary);
    return code;
}

enum peri_code peri__read_file(const char *path, size_t max, struct peri_buf *out, struct peri_error *err)
{
    peri_buf_init(out, max);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0) {
        enum peri_code code = failed(err, "open", path);
        if (fd >= 0)
            close(fd);
        return code;
    }
    enum peri_code code = peri_buf_reserve(out, (size_t)stat.st_size + 1);
    if (code)
        peri_error_set(err, code, "%s is too large to be read", path);
    ssize_t n = 0;
    while (!code && (n = read(fd, out->data + out->len, (size_t)stat.st_size - out->len)) > 0)
        out->len += (size_t)n;
    if (!code && n < 0)
        code = failed(err, "read", path);
    close(fd);
    if (code)
        peri_buf_fini(out);
    return code;
}
