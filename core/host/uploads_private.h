/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_UPLOADS_PRIVATE_H
#define CORE_HOST_UPLOADS_PRIVATE_H

#include "host/idmap.h"
#include "host/uploads.h"

/* Shared by uploads.c and upload_complete.c. */

struct peri__part_state {
    bool writing, present;
    int64_t size;
    char md5[33];
};

struct peri__upload {
    struct peri__uploads *uploads;
    uint64_t id, object_id;
    int64_t filesize, chunksize;
    char *lock_id;
    int fd;
    char *path; /* in tmp/; NULL once it was moved */
    struct peri__part_state *parts;
    unsigned part_count;
    struct peri_hash *running;   /* of the first `hashed` chunks */
    unsigned hashed, generation; /* which changes when it starts over */
    int64_t expires_ms;          /* monotonic */
    unsigned refs;               /* the maps' one, and one of each chunk that comes in and of the completion */
    bool dropped, completing, committing;
};

struct peri__uploads {
    struct peri_engine *engine;
    struct peri__idmap by_id, by_object;
};

struct peri_part {
    struct peri__upload *upload;
    unsigned index, generation;
    struct peri_hash *running;
    bool stored;
};

struct peri__upload *peri__upload_of(struct peri__uploads *uploads, uint64_t object_id); /* NULL: not locked */
void peri__upload_touch(struct peri__upload *upload);
void peri__upload_drop(struct peri__upload *upload);
void peri__upload_unref(struct peri__upload *upload);
/* upload_complete.c: the object is there and persno may write it; the object is copied to found (may be NULL). */
enum peri_code peri__upload_permitted(struct peri_engine *engine, const struct peri_upload_spec *spec,
                                      struct peri_file_object *found, struct peri_error *err);

#endif
