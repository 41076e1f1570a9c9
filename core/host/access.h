/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_ACCESS_H
#define CORE_HOST_ACCESS_H

#include "host/model.h"
#include "perilune/hash.h"

struct peri_engine;

/* What doors ask of the host's access service: number generators, parents with their permissions, file objects, uploads.
 * As in engine.h: on the loop's thread; callbacks come once, never from within the call that asked. */

struct peri_generator {
    char *name;
    int64_t start, step;
    bool used;
    int64_t last; /* the number given last, once used */
    int64_t created_ms, updated_ms;
};
void peri_generator_fini(struct peri_generator *generator);

/* What file objects belong to. Without owner, readers and writers it is open to everyone. */
struct peri_parent {
    char *id, *owner;
    char *readers, *writers; /* JSON arrays of strings, "*" is everyone; NULL: nobody */
    int64_t created_ms, updated_ms;
};
void peri_parent_fini(struct peri_parent *parent);
enum peri_permission { PERI_MAY_READ, PERI_MAY_WRITE };
/* The owner and the writers may do both, readers may read. */
bool peri_parent_allows(const struct peri_parent *parent, const char *persno, enum peri_permission permission);

struct peri_file_object {
    uint64_t id;
    char *parent, *filename, *persno;
    char *lock_id; /* under which its content came */
    char hash[65]; /* sha256 of the content; "" before the first */
    int64_t size;
    int64_t created_ms, modified_ms;
};
void peri_file_object_fini(struct peri_file_object *object);

/* What came of a request; borrowed, and only what it is about is set. */
struct peri_access_result {
    const struct peri_generator *generator;
    int64_t first; /* the first of the numbers asked for */
    const struct peri_parent *parent;
    const struct peri_file_object *object;
    bool created; /* it was not there before */
};
typedef void (*peri_access_fn)(void *data, const struct peri_access_result *result, const struct peri_error *err);

/* ---- number generators ---- */
/* The next count numbers: first, first + step, ...; durable when done, so that none is given twice. An unknown name
 * begins at 1 with step 1, or is NOT_FOUND when the host is strict. UNPROCESSABLE: it would run past 64 bits. */
void peri_engine_numbers(struct peri_engine *engine, const char *name, unsigned count, peri_access_fn done, void *data);
/* spec: name, start, step. The same again is no change; CONFLICT with other settings. */
void peri_engine_generator_create(struct peri_engine *engine, const struct peri_generator *spec, peri_access_fn done,
                                  void *data);
void peri_engine_generator_delete(struct peri_engine *engine, const char *name, peri_access_fn done, void *data);
enum peri_code peri_engine_generator(struct peri_engine *engine, const char *name, struct peri_generator *out,
                                     struct peri_error *err);
/* By name, those behind `after` (may be NULL). */
enum peri_code peri_engine_generators(struct peri_engine *engine, const char *after, size_t limit,
                                      void (*fn)(void *data, const struct peri_generator *generator), void *data,
                                      struct peri_error *err);

/* ---- parents ---- */
/* spec: all but the times; replaces an earlier one. */
void peri_engine_parent_put(struct peri_engine *engine, const struct peri_parent *spec, peri_access_fn done,
                            void *data);
/* CONFLICT while it has files. */
void peri_engine_parent_delete(struct peri_engine *engine, const char *id, peri_access_fn done, void *data);
enum peri_code peri_engine_parent(struct peri_engine *engine, const char *id, struct peri_parent *out,
                                  struct peri_error *err);
enum peri_code peri_engine_parents(struct peri_engine *engine, const char *after, size_t limit,
                                   void (*fn)(void *data, const struct peri_parent *parent), void *data,
                                   struct peri_error *err);

/* ---- file objects ---- */
/* spec: parent, filename, persno. NOT_FOUND: no such parent; FORBIDDEN: check_access, and persno may not write. */
void peri_engine_object_create(struct peri_engine *engine, const struct peri_file_object *spec, bool check_access,
                               peri_access_fn done, void *data);
/* An upload under way ends. */
void peri_engine_object_delete(struct peri_engine *engine, uint64_t id, peri_access_fn done, void *data);
enum peri_code peri_engine_object(struct peri_engine *engine, uint64_t id, struct peri_file_object *out,
                                  struct peri_error *err);
struct peri_object_filter {
    uint64_t before_id; /* newest first, below this id; 0: from the newest */
    const char *parent; /* NULL: of any */
};
enum peri_code peri_engine_objects(struct peri_engine *engine, const struct peri_object_filter *filter, size_t limit,
                                   void (*fn)(void *data, const struct peri_file_object *object), void *data,
                                   struct peri_error *err);
/* FORBIDDEN unless persno may. */
enum peri_code peri_engine_object_access(struct peri_engine *engine, const struct peri_file_object *object,
                                         const char *persno, enum peri_permission permission, struct peri_error *err);
/* The content, open for reading; *fd is the caller's, -1 while there is none. */
enum peri_code peri_engine_object_open(struct peri_engine *engine, const struct peri_file_object *object, int *fd,
                                       struct peri_error *err);
bool peri_engine_object_locked(const struct peri_engine *engine, uint64_t id);

/* ---- uploads: they live in memory; one that the host did not see to its end leaves the object as it was ---- */
struct peri_upload {
    uint64_t id; /* random */
    uint64_t object_id;
    int64_t filesize, chunksize;
    unsigned parts;
    const char *lock_id;
};
struct peri_upload_spec {
    uint64_t object_id;
    int64_t filesize;
    const char *persno, *lock_id;
    bool check_access;
};
/* Locks the object. NOT_FOUND, FORBIDDEN, CONFLICT (locked under another id), UNPROCESSABLE, UNAVAILABLE (too many).
 * Under the same lock_id it begins anew. out is borrowed until the next call. */
enum peri_code peri_engine_upload_begin(struct peri_engine *engine, const struct peri_upload_spec *spec,
                                        struct peri_upload *out, struct peri_error *err);
/* By the lock on an object; NULL lock_id: by the upload's own id. NOT_FOUND. */
enum peri_code peri_engine_upload(struct peri_engine *engine, uint64_t id, struct peri_upload *out,
                                  struct peri_error *err);

/* A chunk that is being received. */
struct peri_part;
struct peri_part_place {
    int fd;
    int64_t offset, max;
    struct peri_hash *running; /* must get the chunk's bytes, in order; NULL: need not */
};
/* NOT_FOUND; CONFLICT while another request sends the same chunk, or when the upload is being completed. */
enum peri_code peri_engine_part_open(struct peri_engine *engine, uint64_t upload_id, unsigned index,
                                     struct peri_part **out, struct peri_part_place *place, struct peri_error *err);
/* The chunk has come whole: its size and the hexadecimal md5. */
void peri_engine_part_stored(struct peri_part *part, int64_t size, const char *md5);
/* Always, when nothing is written any more: a chunk that was not stored is missing. */
void peri_engine_part_close(struct peri_part *part);

struct peri_upload_claim {
    struct peri_upload_spec spec;
    bool ours;          /* what the client echoes is what it was given */
    uint64_t upload_id; /* as echoed */
    const char *sha256; /* NULL: not to be compared */
    const char *const *etags;
    size_t etag_count;
};
/* Compares and swaps the content in: durable, and old or new whatever happens. The same claim again is PERI_OK. */
void peri_engine_upload_complete(struct peri_engine *engine, const struct peri_upload_claim *claim, peri_access_fn done,
                                 void *data);
/* Drops the upload under that lock, if there is one. CONFLICT: its content is being committed. */
enum peri_code peri_engine_upload_abort(struct peri_engine *engine, uint64_t object_id, const char *lock_id,
                                        struct peri_error *err);

#endif
