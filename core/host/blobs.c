/* SPDX-License-Identifier: MIT */
#include "host/blobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct pin {
    char hash[65];
    unsigned count;
    struct pin *next;
};

struct peri__blobs {
    struct peri__blobs_options options;
    struct pin *pins; /* as many as there are uploads being completed */
};

static enum peri_code failed(struct peri_error *err, const char *what, const char *path)
{
    return peri_error_set(err, PERI_IO, "can't %s %s: %s", what, path, strerror(errno));
}

static bool is_hash(const char *name)
{
    return strlen(name) == 64 && strspn(name, "0123456789abcdef") == 64;
}

char *peri__blobs_path(const struct peri__blobs *blobs, const char *hash)
{
    char *path = NULL;
    return asprintf(&path, "%s/blobs/%.2s/%s", blobs->options.dir->root, hash, hash) < 0 ? NULL : path;
}

/* ---- what a crash left ---- */

static void sweep_folder(struct peri__blobs *blobs, const char *folder)
{
    DIR *open_folder = opendir(folder);
    if (!open_folder)
        return;
    for (const struct dirent *entry; (entry = readdir(open_folder));) {
        const char *name = entry->d_name;
        if (is_hash(name) && !blobs->options.referenced(blobs->options.data, name))
            unlinkat(dirfd(open_folder), name, 0);
    }
    closedir(open_folder);
}

static void sweep(struct peri__blobs *blobs)
{
    for (unsigned i = 0; i < 256; i++) {
        char name[16], *path = NULL;
        snprintf(name, sizeof name, "%02x", i);
        if (asprintf(&path, "%s/blobs/%s", blobs->options.dir->root, name) < 0)
            return;
        sweep_folder(blobs, path);
        free(path);
    }
}

enum peri_code peri__blobs_new(const struct peri__blobs_options *options, struct peri__blobs **out,
                               struct peri_error *err)
{
    struct peri__blobs *blobs = calloc(1, sizeof *blobs);
    char *path = blobs ? peri__datadir_path(options->dir, "blobs", NULL) : NULL;
    if (!path) {
        free(blobs);
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    blobs->options = *options;
    enum peri_code code = PERI_OK;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        code = failed(err, "create the folder", path);
    free(path);
    if (code) {
        free(blobs);
        return code;
    }
    sweep(blobs);
    *out = blobs;
    return PERI_OK;
}

void peri__blobs_free(struct peri__blobs *blobs)
{
    if (!blobs)
        return;
    while (blobs->pins) {
        struct pin *next = blobs->pins->next;
        free(blobs->pins);
        blobs->pins = next;
    }
    free(blobs);
}

/* ---- pins ---- */

static struct pin **find_pin(struct peri__blobs *blobs, const char *hash)
{
    struct pin **at = &blobs->pins;
    while (*at && strcmp((*at)->hash, hash) != 0)
        at = &(*at)->next;
    return at;
}

enum peri_code peri__blobs_pin(struct peri__blobs *blobs, const char *hash, struct peri_error *err)
{
    struct pin **at = find_pin(blobs, hash);
    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (!*at)
            return peri_error_set(err, PERI_NOMEM, "out of memory");
        snprintf((*at)->hash, sizeof(*at)->hash, "%s", hash);
    }
    (*at)->count++;
    return PERI_OK;
}

void peri__blobs_unpin(struct peri__blobs *blobs, const char *hash)
{
    struct pin **at = find_pin(blobs, hash), *pin = *at;
    if (!pin || --pin->count > 0)
        return;
    *at = pin->next;
    if (!blobs->options.referenced(blobs->options.data, pin->hash)) {
        char *path = peri__blobs_path(blobs, pin->hash);
        if (path)
            unlink(path);
        free(path);
    }
    free(pin);
}

/* ---- contents ---- */

/* The folder of the content's first two digits. */
static enum peri_code make_folder(const struct peri__blobs *blobs, const char *folder, struct peri_error *err)
{
    if (mkdir(folder, 0700) != 0)
        return errno == EEXIST ? PERI_OK : failed(err, "create the folder", folder);
    char *parent = peri__datadir_path(blobs->options.dir, "blobs", NULL);
    enum peri_code code = parent ? peri__sync_path(parent, O_RDONLY | O_DIRECTORY, err)
                                 : peri_error_set(err, PERI_NOMEM, "out of memory");
    free(parent);
    return code;
}

enum peri_code peri__blobs_place(const struct peri__blobs *blobs, const char *path, const char *hash,
                                 struct peri_error *err)
{
    char *target = peri__blobs_path(blobs, hash), *folder = target ? strdup(target) : NULL;
    if (!folder) {
        free(target);
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    }
    *strrchr(folder, '/') = '\0';
    enum peri_code code = make_folder(blobs, folder, err);
    bool known = !code && access(target, F_OK) == 0; /* durable since it was placed */
    if (known)
        unlink(path);
    else if (!code)
        code = peri__sync_path(path, O_RDONLY, err);
    if (!code && !known && rename(path, target) != 0)
        code = failed(err, "move a content to", target);
    if (!code)
        code = peri__sync_path(folder, O_RDONLY | O_DIRECTORY, err);
    free(target);
    free(folder);
    return code;
}

enum peri_code peri__blobs_open(const struct peri__blobs *blobs, const char *hash, int *fd, struct peri_error *err)
{
    char *path = peri__blobs_path(blobs, hash);
    if (!path)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    enum peri_code code = *fd < 0 ? failed(err, "open the content", path) : PERI_OK;
    free(path);
    return code;
}
