/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "host/store_sqlite.h"

/* ---- writes: inside the writer's transaction, as in store_apply.c ---- */

/* The one row that a text names: SQLITE_ROW, SQLITE_DONE, or a failure. The statement stays open. */
static int find_named(struct peri__conn *conn, enum peri__sql id, const char *name, sqlite3_stmt **out)
{
    *out = peri__conn_sql(conn, id);
    if (!*out)
        return SQLITE_NOMEM;
    peri__bind_text(*out, 1, name);
    return sqlite3_step(*out);
}

/* SQLITE_OK: found or *known false. */
static int load_generator(struct peri__conn *conn, const char *name, struct peri_generator *out, bool *known)
{
    sqlite3_stmt *stmt = NULL;
    int rc = find_named(conn, PERI__SQL_GENERATOR_GET, name, &stmt);
    *known = rc == SQLITE_ROW;
    bool ok = !*known || peri__row_generator(stmt, out);
    sqlite3_reset(stmt);
    return !ok ? SQLITE_NOMEM : rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int put_generator(struct peri__conn *conn, const struct peri_generator *generator)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_GENERATOR_PUT);
    if (!stmt || peri__bind_generator(stmt, generator) != SQLITE_OK)
        return SQLITE_NOMEM;
    return peri__conn_step(stmt);
}

/* The next count numbers; false: they would leave the 64 bits. */
static bool advance(struct peri_generator *generator, unsigned count, int64_t *first)
{
    int64_t way = 0;
    if (!generator->used)
        *first = generator->start;
    else if (__builtin_add_overflow(generator->last, generator->step, first))
        return false;
    if (__builtin_mul_overflow(generator->step, (int64_t)count - 1, &way) ||
        __builtin_add_overflow(*first, way, &generator->last))
        return false;
    generator->used = true;
    return true;
}

int peri__apply_numbers(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    struct peri_access_write *access = write->access;
    struct peri_generator found = { 0 };
    bool known = false;
    int rc = load_generator(conn, access->generator.name, &found, &known);
    if (rc == SQLITE_OK && !known) {
        found = (struct peri_generator){
            .name = strdup(access->generator.name), .start = 1, .step = 1, .created_ms = write->at_ms
        };
        rc = found.name ? SQLITE_OK : SQLITE_NOMEM;
    }
    if (rc == SQLITE_OK && !known && !access->create) {
        peri_error_set(err, PERI_NOT_FOUND, "there is no number generator '%.200s'", found.name);
        rc = SQLITE_CONSTRAINT;
    } else if (rc == SQLITE_OK && !advance(&found, access->count, &access->first)) {
        peri_error_set(err, PERI_UNPROCESSABLE, "the number generator '%.200s' has not so many numbers left",
                       found.name);
        rc = SQLITE_CONSTRAINT;
    }
    if (rc == SQLITE_OK) {
        found.updated_ms = write->at_ms;
        access->created = !known;
        rc = put_generator(conn, &found);
    }
    if (rc != SQLITE_OK) {
        peri_generator_fini(&found);
        return rc;
    }
    peri_generator_fini(&access->generator);
    access->generator = found;
    return SQLITE_OK;
}

int peri__apply_generator(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    struct peri_access_write *access = write->access;
    struct peri_generator found = { 0 }, *wanted = &access->generator;
    bool known = false;
    int rc = load_generator(conn, wanted->name, &found, &known);
    if (rc == SQLITE_OK && known && (found.start != wanted->start || found.step != wanted->step)) {
        peri_error_set(err, PERI_CONFLICT,
                       "there is a number generator '%.200s' already, with start %" PRId64 " and step %" PRId64,
                       found.name, found.start, found.step);
        rc = SQLITE_CONSTRAINT;
    } else if (rc == SQLITE_OK && !known) {
        wanted->created_ms = wanted->updated_ms = write->at_ms;
        rc = put_generator(conn, wanted);
    }
    access->created = rc == SQLITE_OK && !known;
    if (rc == SQLITE_OK && known) {
        peri_generator_fini(wanted);
        *wanted = found;
    } else {
        peri_generator_fini(&found);
    }
    return rc;
}

int peri__apply_generator_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_GENERATOR_DELETE);
    if (!stmt)
        return SQLITE_NOMEM;
    peri__bind_text(stmt, 1, write->access->generator.name);
    int rc = peri__conn_step(stmt);
    if (rc != SQLITE_OK || sqlite3_changes(conn->db) > 0)
        return rc;
    peri_error_set(err, PERI_NOT_FOUND, "there is no number generator '%.200s'", write->access->generator.name);
    return SQLITE_CONSTRAINT;
}

static int parent_known(struct peri__conn *conn, const char *id, bool *known)
{
    sqlite3_stmt *stmt = NULL;
    int rc = find_named(conn, PERI__SQL_PARENT_GET, id, &stmt);
    *known = rc == SQLITE_ROW;
    if (*known)
        rc = SQLITE_DONE;
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int peri__apply_parent(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    struct peri_access_write *access = write->access;
    bool known = false;
    (void)err;
    int rc = parent_known(conn, access->parent.id, &known);
    access->created = !known;
    access->parent.created_ms = access->parent.updated_ms = write->at_ms;
    sqlite3_stmt *stmt = rc == SQLITE_OK ? peri__conn_sql(conn, PERI__SQL_PARENT_PUT) : NULL;
    if (!stmt || peri__bind_parent(stmt, &access->parent) != SQLITE_OK)
        return rc == SQLITE_OK ? SQLITE_NOMEM : rc;
    return peri__conn_step(stmt);
}

static int no_parent(struct peri_error *err, const char *id)
{
    peri_error_set(err, PERI_NOT_FOUND, "there is no parent '%.200s'", id);
    return SQLITE_CONSTRAINT;
}

int peri__apply_parent_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    const char *id = write->access->parent.id;
    bool known = false;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_PARENT_DELETE);
    if (!stmt)
        return SQLITE_NOMEM;
    peri__bind_text(stmt, 1, id);
    int rc = peri__conn_step(stmt);
    if (rc != SQLITE_OK || sqlite3_changes(conn->db) > 0)
        return rc;
    rc = parent_known(conn, id, &known);
    if (rc != SQLITE_OK)
        return rc;
    if (!known)
        return no_parent(err, id);
    peri_error_set(err, PERI_CONFLICT, "the parent '%.200s' has files: delete them first", id);
    return SQLITE_CONSTRAINT;
}

int peri__apply_object(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    const struct peri_file_object *object = &write->access->object;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_OBJECT_INSERT);
    if (!stmt || peri__bind_object(stmt, object) != SQLITE_OK)
        return SQLITE_NOMEM;
    int rc = peri__conn_step(stmt);
    return rc != SQLITE_OK || sqlite3_changes(conn->db) > 0 ? rc : no_parent(err, object->parent);
}

/* Notes the content that the object has now. SQLITE_CONSTRAINT: there is no such object. */
static int note_old(struct peri__conn *conn, struct peri_access_write *access, struct peri_error *err)
{
    struct peri_file_object old = { 0 };
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_OBJECT_GET);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)access->object.id);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW && peri__row_object(stmt, &old))
        memcpy(access->old_hash, old.hash, sizeof access->old_hash);
    else if (rc == SQLITE_ROW)
        rc = SQLITE_NOMEM;
    sqlite3_reset(stmt);
    peri_file_object_fini(&old);
    if (rc != SQLITE_DONE)
        return rc == SQLITE_ROW ? SQLITE_OK : rc;
    peri_error_set(err, PERI_NOT_FOUND, "there is no file %" PRIu64, access->object.id);
    return SQLITE_CONSTRAINT;
}

int peri__apply_object_content(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    const struct peri_file_object *object = &write->access->object;
    int rc = note_old(conn, write->access, err);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_OBJECT_CONTENT);
    if (!stmt)
        return SQLITE_NOMEM;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)object->id);
    peri__bind_text(stmt, 2, object->lock_id);
    peri__bind_text(stmt, 3, object->hash);
    sqlite3_bind_int64(stmt, 4, object->size);
    sqlite3_bind_int64(stmt, 5, object->modified_ms);
    return peri__conn_step(stmt);
}

int peri__apply_object_delete(struct peri__conn *conn, struct peri_write *write, struct peri_error *err)
{
    int rc = note_old(conn, write->access, err);
    sqlite3_stmt *stmt = rc == SQLITE_OK ? peri__conn_sql(conn, PERI__SQL_OBJECT_DELETE) : NULL;
    if (!stmt)
        return rc == SQLITE_OK ? SQLITE_NOMEM : rc;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)write->access->object.id);
    return peri__conn_step(stmt);
}

/* ---- reads ---- */

static struct peri__conn *reader(struct peri_store *base)
{
    return &((struct peri__sqlite *)base)->reader;
}

/* How a read ended: rc is the last step's. */
static enum peri_code ended(struct peri__conn *conn, int rc, bool memory, struct peri_error *err)
{
    if (!memory)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? PERI_OK : peri__conn_error(conn, err, "can't read the store");
}

static sqlite3_int64 bound(size_t limit)
{
    return limit > INT32_MAX ? -1 : (sqlite3_int64)limit;
}

static sqlite3_stmt *select_page(struct peri__conn *conn, enum peri__sql id, const char *after, size_t limit)
{
    sqlite3_stmt *stmt = peri__conn_sql(conn, id);
    if (stmt) {
        peri__bind_text(stmt, 1, after ? after : "");
        sqlite3_bind_int64(stmt, 2, bound(limit));
    }
    return stmt;
}

enum peri_code peri__read_generators(struct peri_store *base, const char *after, size_t limit,
                                     void (*fn)(void *data, const struct peri_generator *generator), void *data,
                                     struct peri_error *err)
{
    struct peri__conn *conn = reader(base);
    sqlite3_stmt *stmt = select_page(conn, PERI__SQL_GENERATORS, after, limit);
    int rc = SQLITE_NOMEM;
    bool memory = true;
    while (stmt && memory && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct peri_generator generator;
        memory = peri__row_generator(stmt, &generator);
        if (memory)
            fn(data, &generator);
        peri_generator_fini(&generator);
    }
    enum peri_code code = ended(conn, rc, memory, err);
    sqlite3_reset(stmt);
    return code;
}

enum peri_code peri__read_generator(struct peri_store *base, const char *name, struct peri_generator *out,
                                    struct peri_error *err)
{
    struct peri__conn *conn = reader(base);
    sqlite3_stmt *stmt = NULL;
    int rc = find_named(conn, PERI__SQL_GENERATOR_GET, name, &stmt);
    enum peri_code code = rc == SQLITE_DONE
                              ? peri_error_set(err, PERI_NOT_FOUND, "there is no number generator '%.200s'", name)
                              : ended(conn, rc, rc != SQLITE_ROW || peri__row_generator(stmt, out), err);
    sqlite3_reset(stmt);
    return code;
}

enum peri_code peri__read_parents(struct peri_store *base, const char *after, size_t limit,
                                  void (*fn)(void *data, const struct peri_parent *parent), void *data,
                                  struct peri_error *err)
{
    struct peri__conn *conn = reader(base);
    sqlite3_stmt *stmt = select_page(conn, PERI__SQL_PARENTS, after, limit);
    int rc = SQLITE_NOMEM;
    bool memory = true;
    while (stmt && memory && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct peri_parent parent;
        memory = peri__row_parent(stmt, &parent);
        if (memory)
            fn(data, &parent);
        peri_parent_fini(&parent);
    }
    enum peri_code code = ended(conn, rc, memory, err);
    sqlite3_reset(stmt);
    return code;
}

enum peri_code peri__read_parent(struct peri_store *base, const char *id, struct peri_parent *out,
                                 struct peri_error *err)
{
    struct peri__conn *conn = reader(base);
    sqlite3_stmt *stmt = NULL;
    int rc = find_named(conn, PERI__SQL_PARENT_GET, id, &stmt);
    bool memory = rc != SQLITE_ROW || peri__row_parent(stmt, out);
    if (!memory)
        peri_parent_fini(out);
    enum peri_code code = rc == SQLITE_DONE ? peri_error_set(err, PERI_NOT_FOUND, "there is no parent '%.200s'", id)
                                            : ended(conn, rc, memory, err);
    sqlite3_reset(stmt);
    return code;
}

enum peri_code peri__read_objects(struct peri_store *base, const struct peri_object_filter *filter, size_t limit,
                                  void (*fn)(void *data, const struct peri_file_object *object), void *data,
                                  struct peri_error *err)
{
    struct peri__conn *conn = reader(base);
    sqlite3_stmt *stmt = peri__conn_sql(conn, filter->parent ? PERI__SQL_OBJECTS_OF : PERI__SQL_OBJECTS);
    int rc = SQLITE_NOMEM;
    bool memory = true;
    if (stmt) {
        sqlite3_bind_int64(stmt, 1, filter->before_id ? (sqlite3_int64)filter->before_id : INT64_MAX);
        sqlite3_bind_int64(stmt, 2, bound(limit));
        if (filter->parent)
            peri__bind_text(stmt, 3, filter->parent);
    }
    while (stmt && memory && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct peri_file_object object;
        memory = peri__row_object(stmt, &object);
        if (memory)
            fn(data, &object);
        peri_file_object_fini(&object);
    }
    enum peri_code code = ended(conn, rc, memory, err);
    sqlite3_reset(stmt);
    return code;
}

enum peri_code peri__read_object(struct peri_store *base, uint64_t id, struct peri_file_object *out,
                                 struct peri_error *err)
{
    struct peri__conn *conn = reader(base);
    sqlite3_stmt *stmt = peri__conn_sql(conn, PERI__SQL_OBJECT_GET);
    int rc = SQLITE_NOMEM;
    if (stmt) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)id);
        rc = sqlite3_step(stmt);
    }
    bool memory = rc != SQLITE_ROW || peri__row_object(stmt, out);
    if (!memory)
        peri_file_object_fini(out);
    enum peri_code code = rc == SQLITE_DONE ? peri_error_set(err, PERI_NOT_FOUND, "there is no file %" PRIu64, id)
                                            : ended(conn, rc, memory, err);
    sqlite3_reset(stmt);
    return code;
}

bool peri__read_content_used(struct peri_store *base, const char *hash)
{
    sqlite3_stmt *stmt = NULL;
    int rc = find_named(reader(base), PERI__SQL_CONTENT_USED, hash, &stmt);
    sqlite3_reset(stmt);
    return rc != SQLITE_DONE;
}
