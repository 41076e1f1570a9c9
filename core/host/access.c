/* SPDX-License-Identifier: MIT */
#include "host/access.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "host/access_private.h"
#include "host/blobs.h"
#include "host/uploads.h"
#include "perilune/json.h"

/* ---- the records ---- */

void peri_generator_fini(struct peri_generator *generator)
{
    free(generator->name);
    memset(generator, 0, sizeof *generator);
}

void peri_parent_fini(struct peri_parent *parent)
{
    free(parent->id);
    free(parent->owner);
    free(parent->readers);
    free(parent->writers);
    memset(parent, 0, sizeof *parent);
}

void peri_file_object_fini(struct peri_file_object *object)
{
    free(object->parent);
    free(object->filename);
    free(object->persno);
    free(object->lock_id);
    memset(object, 0, sizeof *object);
}

static bool lists(const char *list, const char *persno)
{
    json_t *names = list ? peri_json_parse(peri_str_from(list), NULL) : NULL;
    bool found = false;
    size_t index;
    json_t *name;
    json_array_foreach(names, index, name)
    {
        const char *text = json_string_value(name);
        found = found || (text && (strcmp(text, "*") == 0 || strcmp(text, persno) == 0));
    }
    json_decref(names);
    return found;
}

bool peri_parent_allows(const struct peri_parent *parent, const char *persno, enum peri_permission permission)
{
    if (!parent->owner && !parent->readers && !parent->writers)
        return true;
    if (parent->owner && strcmp(parent->owner, persno) == 0)
        return true;
    return lists(parent->writers, persno) || (permission == PERI_MAY_READ && lists(parent->readers, persno));
}

/* ---- writes ---- */

struct peri__access_op *peri__access_op_new(struct peri_engine *engine, peri_access_fn done, void *data)
{
    struct peri__access_op *op = calloc(1, sizeof *op);
    if (!op) {
        struct peri_error err;
        peri_error_set(&err, PERI_NOMEM, "out of memory");
        done(data, NULL, &err);
        return NULL;
    }
    op->engine = engine;
    op->done = done;
    op->data = data;
    return op;
}

void peri__access_op_free(void *data)
{
    struct peri__access_op *op = data;
    peri_generator_fini(&op->access.generator);
    peri_parent_fini(&op->access.parent);
    peri_file_object_fini(&op->access.object);
    free(op);
}

static void tell(void *data)
{
    struct peri__access_op *op = data;
    struct peri_access_result result = { .generator = &op->access.generator,
                                         .first = op->access.first,
                                         .parent = &op->access.parent,
                                         .object = &op->access.object,
                                         .created = op->access.created };
    if (op->written)
        op->written(op);
    op->done(op->data, op->err.code ? NULL : &result, op->err.code ? &op->err : NULL);
    peri__access_op_free(op);
}

static void drop(void *data)
{
    struct peri__access_op *op = data;
    if (op->dropped)
        op->dropped(op);
    peri__access_op_free(op);
}

static void on_stored(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct peri__access_op *op = data;
    struct peri_engine *engine = op->engine;
    (void)write;
    if (engine->closing) {
        drop(op);
        return;
    }
    if (err)
        op->err = *err;
    tell(op);
    peri__engine_settled(engine);
}

void peri__access_op_run(struct peri__access_op *op, enum peri_write_kind kind)
{
    if (op->err.code || kind == PERI_ACCESS_NOTHING) {
        if (peri__turn_later(op->engine->turn, tell, drop, op) != PERI_OK)
            tell(op);
        return;
    }
    struct peri_write write = {
        .kind = kind, .at_ms = peri__engine_now(op->engine), .access = &op->access, .done = on_stored, .data = op
    };
    peri__engine_write(op->engine, &write);
}

/* NULL stays NULL; a lack of memory is noted. */
static char *copy(struct peri__access_op *op, const char *text)
{
    char *made = text ? strdup(text) : NULL;
    if (text && !made)
        peri_error_set(&op->err, PERI_NOMEM, "out of memory");
    return made;
}

/* ---- number generators ---- */

void peri_engine_numbers(struct peri_engine *engine, const char *name, unsigned count, peri_access_fn done, void *data)
{
    struct peri__access_op *op = peri__access_op_new(engine, done, data);
    if (!op)
        return;
    op->access.generator.name = copy(op, name);
    op->access.count = count;
    op->access.create = !engine->options.generators_strict;
    peri__access_op_run(op, PERI_WRITE_NUMBERS);
}

void peri_engine_generator_create(struct peri_engine *engine, const struct peri_generator *spec, peri_access_fn done,
                                  void *data)
{
    struct peri__access_op *op = peri__access_op_new(engine, done, data);
    if (!op)
        return;
    op->access.generator.name = copy(op, spec->name);
    op->access.generator.start = spec->start;
    op->access.generator.step = spec->step;
    if (!spec->step)
        peri_error_set(&op->err, PERI_INVALID, "a number generator's step must not be 0");
    peri__access_op_run(op, PERI_WRITE_GENERATOR);
}

void peri_engine_generator_delete(struct peri_engine *engine, const char *name, peri_access_fn done, void *data)
{
    struct peri__access_op *op = peri__access_op_new(engine, done, data);
    if (!op)
        return;
    op->access.generator.name = copy(op, name);
    peri__access_op_run(op, PERI_WRITE_GENERATOR_DELETE);
}

enum peri_code peri_engine_generator(struct peri_engine *engine, const char *name, struct peri_generator *out,
                                     struct peri_error *err)
{
    return engine->store->kind->generator(engine->store, name, out, err);
}

enum peri_code peri_engine_generators(struct peri_engine *engine, const char *after, size_t limit,
                                      void (*fn)(void *data, const struct peri_generator *generator), void *data,
                                      struct peri_error *err)
{
    return engine->store->kind->generators(engine->store, after, limit, fn, data, err);
}

/* ---- parents ---- */

void peri_engine_parent_put(struct peri_engine *engine, const struct peri_parent *spec, peri_access_fn done, void *data)
{
    struct peri__access_op *op = peri__access_op_new(engine, done, data);
    if (!op)
        return;
    op->access.parent = (struct peri_parent){ .id = copy(op, spec->id),
                                              .owner = copy(op, spec->owner),
                                              .readers = copy(op, spec->readers),
                                              .writers = copy(op, spec->writers) };
    peri__access_op_run(op, PERI_WRITE_PARENT);
}

void peri_engine_parent_delete(struct peri_engine *engine, const char *id, peri_access_fn done, void *data)
{
    struct peri__access_op *op = peri__access_op_new(engine, done, data);
    if (!op)
        return;
    op->access.parent.id = copy(op, id);
    peri__access_op_run(op, PERI_WRITE_PARENT_DELETE);
}

enum peri_code peri_engine_parent(struct peri_engine *engine, const char *id, struct peri_parent *out,
                                  struct peri_error *err)
{
    return engine->store->kind->parent(engine->store, id, out, err);
}

enum peri_code peri_engine_parents(struct peri_engine *engine, const char *after, size_t limit,
                                   void (*fn)(void *data, const struct peri_parent *parent), void *data,
                                   struct peri_error *err)
{
    return engine->store->kind->parents(engine->store, after, limit, fn, data, err);
}

enum peri_code peri__access_check(struct peri_engine *engine, const char *parent, const char *persno,
                                  enum peri_permission permission, struct peri_error *err)
{
    struct peri_parent found = { 0 };
    enum peri_code code = peri_engine_parent(engine, parent, &found, err);
    if (!code && !peri_parent_allows(&found, persno, permission))
        code = peri_error_set(err, PERI_FORBIDDEN, "'%.100s' may not %s the files of '%.200s'", persno,
                              permission == PERI_MAY_READ ? "read" : "write", parent);
    peri_parent_fini(&found);
    return code;
}

/* ---- file objects ---- */

void peri_engine_object_create(struct peri_engine *engine, const struct peri_file_object *spec, bool check_access,
                               peri_access_fn done, void *data)
{
    struct peri__access_op *op = peri__access_op_new(engine, done, data);
    if (!op)
        return;
    int64_t now = peri__engine_now(engine);
    op->access.object = (struct peri_file_object){ .id = peri__engine_next_id(engine),
                                                   .parent = copy(op, spec->parent),
                                                   .filename = copy(op, spec->filename),
                                                   .persno = copy(op, spec->persno),
                                                   .created_ms = now,
                                                   .modified_ms = now };
    if (!op->err.code && check_access)
        peri__access_check(engine, spec->parent, spec->persno, PERI_MAY_WRITE, &op->err);
    peri__access_op_run(op, PERI_WRITE_OBJECT);
}

static void on_deleted(struct peri__access_op *op)
{
    struct peri_engine *engine = op->engine;
    if (op->err.code)
        return;
    peri__uploads_drop_object(engine->uploads, op->access.object.id);
    if (op->access.old_hash[0] && peri__blobs_pin(engine->blobs, op->access.old_hash, NULL) == PERI_OK)
        peri__blobs_unpin(engine->blobs, op->access.old_hash);
}

void peri_engine_object_delete(struct peri_engine *engine, uint64_t id, peri_access_fn done, void *data)
{
    struct peri__access_op *op = peri__access_op_new(engine, done, data);
    if (!op)
        return;
    op->access.object.id = id;
    op->written = on_deleted;
    peri__access_op_run(op, PERI_WRITE_OBJECT_DELETE);
}

enum peri_code peri_engine_object(struct peri_engine *engine, uint64_t id, struct peri_file_object *out,
                                  struct peri_error *err)
{
    return engine->store->kind->object(engine->store, id, out, err);
}

enum peri_code peri_engine_objects(struct peri_engine *engine, const struct peri_object_filter *filter, size_t limit,
                                   void (*fn)(void *data, const struct peri_file_object *object), void *data,
                                   struct peri_error *err)
{
    return engine->store->kind->objects(engine->store, filter, limit, fn, data, err);
}

enum peri_code peri_engine_object_access(struct peri_engine *engine, const struct peri_file_object *object,
                                         const char *persno, enum peri_permission permission, struct peri_error *err)
{
    return peri__access_check(engine, object->parent, persno, permission, err);
}

enum peri_code peri_engine_object_open(struct peri_engine *engine, const struct peri_file_object *object, int *fd,
                                       struct peri_error *err)
{
    *fd = -1;
    return object->hash[0] ? peri__blobs_open(engine->blobs, object->hash, fd, err) : PERI_OK;
}
