/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_BLOBS_H
#define CORE_HOST_BLOBS_H

#include "host/datadir.h"

/* Contents named by their sha256, in blobs/HH/SHA256 below the data folder; equal contents once. Who refers to a content
 * is the business of whoever keeps the records: a content goes when nobody does.
 * A content that is not recorded yet, or perhaps not any more, is pinned meanwhile. */
struct peri__blobs;

struct peri__blobs_options {
    const struct peri__datadir *dir; /* borrowed */
    /* Whether some record refers to the content; asked on the loop's thread. When in doubt: true. */
    bool (*referenced)(void *data, const char *hash);
    void *data;
};
/* Removes what nobody refers to. */
enum peri_code peri__blobs_new(const struct peri__blobs_options *options, struct peri__blobs **out,
                               struct peri_error *err);
void peri__blobs_free(struct peri__blobs *blobs);
/* Pins count. */
enum peri_code peri__blobs_pin(struct peri__blobs *blobs, const char *hash, struct peri_error *err);
/* The last one asks for references, and removes the content when there is none. */
void peri__blobs_unpin(struct peri__blobs *blobs, const char *hash);
/* Moves a file below the data folder in; durable when done. Pinned before; any thread. */
enum peri_code peri__blobs_place(const struct peri__blobs *blobs, const char *path, const char *hash,
                                 struct peri_error *err);
char *peri__blobs_path(const struct peri__blobs *blobs, const char *hash); /* owned by the caller; NULL: no memory */
/* Open for reading. */
enum peri_code peri__blobs_open(const struct peri__blobs *blobs, const char *hash, int *fd, struct peri_error *err);

#endif
