/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_DATADIR_H
#define CORE_HOST_DATADIR_H

#include <stdbool.h>

#include "perilune/buf.h"
#include "perilune/error.h"

/* The data folder: perilune.db, packages/, files/, tmp/, host.lock. */
struct peri__datadir {
    char *root;
    int lock; /* -1: not held */
};
/* Creates what is missing (0700) and takes the lock. PERI_BUSY names the process that has it. */
enum peri_code peri__datadir_init(struct peri__datadir *dir, const char *root, struct peri_error *err);
void peri__datadir_fini(struct peri__datadir *dir);
/* root/folder/name (either may be NULL), owned by the caller. */
char *peri__datadir_path(const struct peri__datadir *dir, const char *folder, const char *name);
/* Removes what is in a folder and keep (may be NULL: nothing is kept) does not want. */
void peri__datadir_sweep(const struct peri__datadir *dir, const char *folder,
                         bool (*keep)(void *data, const char *name), void *data);
/* Puts a file into the folder under the name, durable when done: moved when it is below root, else copied. A file of
 * that name is replaced. Any thread. */
enum peri_code peri__datadir_place(const struct peri__datadir *dir, const char *from, const char *folder,
                                   const char *name, struct peri_error *err);
/* A whole file's bytes, owned by the caller. */
enum peri_code peri__read_file(const char *path, size_t max, struct peri_buf *out, struct peri_error *err);
/* Makes a file's bytes, or with O_DIRECTORY a folder's names, durable. Any thread. */
enum peri_code peri__sync_path(const char *path, int flags, struct peri_error *err);
void peri__remove_tree(const char *path);

#endif
