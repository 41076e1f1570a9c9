/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/parts.h"

/* Uploaded files: a record in the store, the content in files/ID-HASH. */

struct filing {
    struct peri__task task; /* first; of a content that is being moved in */
    struct peri_file file;
    char old_hash[65];
    char *source;
    peri_file_fn done;
    void *data;
    struct peri_error err;
};

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void free_filing(void *data)
{
    struct filing *filing = data;
    peri_file_fini(&filing->file);
    free(filing->source);
    free(filing);
}

static void finish(void *data)
{
    struct filing *filing = data;
    if (filing->done)
        filing->done(filing->data, filing->err.code ? NULL : &filing->file, filing->err.code ? &filing->err : NULL);
    free_filing(filing);
}

static void finish_later(struct filing *filing)
{
    if (peri__turn_later(filing->task.engine->turn, finish, free_filing, filing) != PERI_OK)
        free_filing(filing);
}

static void content_name(char out[64], uint64_t id, const char *hash)
{
    snprintf(out, 64, "%" PRIu64 "-%.16s", id, hash);
}

static void on_stored(void *data, struct peri_write *write, const struct peri_error *err)
{
    struct filing *filing = data;
    struct peri_engine *engine = filing->task.engine;
    (void)write;
    if (engine->closing) {
        free_filing(filing);
        return;
    }
    if (err) {
        filing->err = *err;
    } else if (filing->old_hash[0] && strcmp(filing->old_hash, filing->file.hash) != 0) {
        char name[64];
        content_name(name, filing->file.id, filing->old_hash);
        char *path = peri__datadir_path(&engine->dir, "files", name);
        if (path)
            unlink(path);
        free(path);
    }
    finish(filing);
    peri__engine_settled(engine);
}

static void store(struct filing *filing)
{
    struct peri_write write = { .kind = PERI_WRITE_FILE, .file = &filing->file, .done = on_stored, .data = filing };
    peri__engine_write(filing->task.engine, &write);
}

void peri_engine_file_create(struct peri_engine *engine, const struct peri_file *spec, bool overwrite,
                             peri_file_fn done, void *data)
{
    struct filing *filing = calloc(1, sizeof *filing);
    if (!filing)
        return;
    filing->task.engine = engine;
    filing->done = done;
    filing->data = data;
    struct peri_file *file = &filing->file;
    int64_t now = peri__engine_now(engine);
    enum peri_code code = PERI_NOT_FOUND;
    if (spec->external_id)
        code = peri_engine_file(engine, 0, peri_str_from(spec->external_id), file, &filing->err);
    if (code == PERI_OK && !overwrite) {
        peri_error_set(&filing->err, PERI_CONFLICT, "there is a file with the external id '%s' already",
                       spec->external_id);
        finish_later(filing);
        return;
    }
    if (code != PERI_OK && code != PERI_NOT_FOUND) {
        finish_later(filing);
        return;
    }
    peri_error_clear(&filing->err);
    if (code == PERI_NOT_FOUND) {
        file->id = peri__engine_next_id(engine);
        file->created_ms = now;
        file->external_id = copy_text(spec->external_id);
    }
    free(file->name);
    free(file->mime_type);
    file->name = copy_text(spec->name);
    file->mime_type = copy_text(spec->mime_type);
    file->updated_ms = now;
    store(filing);
}

/* On the thread pool. */
static void move_content(struct peri__task *task)
{
    struct filing *filing = (struct filing *)task;
    char name[64];
    content_name(name, filing->file.id, filing->file.hash);
    peri__datadir_place(&task->engine->dir, filing->source, "files", name, &filing->err);
}

static void content_moved(struct peri__task *task)
{
    struct filing *filing = (struct filing *)task;
    if (filing->err.code)
        finish(filing);
    else
        store(filing);
}

static void drop(struct peri__task *task)
{
    free_filing((struct filing *)task);
}

void peri_engine_file_content(struct peri_engine *engine, uint64_t id, const char *path, const char *sha256,
                              int64_t size, peri_file_fn done, void *data)
{
    struct filing *filing = calloc(1, sizeof *filing);
    if (!filing)
        return;
    filing->task.engine = engine;
    filing->done = done;
    filing->data = data;
    filing->source = strdup(path);
    struct peri_file *file = &filing->file;
    if (strlen(sha256) != 64)
        peri_error_set(&filing->err, PERI_INVALID, "the content's hash is not a sha256 in hexadecimal digits");
    else if (!filing->source)
        peri_error_set(&filing->err, PERI_NOMEM, "out of memory");
    else
        peri_engine_file(engine, id, (struct peri_str){ 0 }, file, &filing->err);
    if (filing->err.code) {
        finish_later(filing);
        return;
    }
    memcpy(filing->old_hash, file->hash, sizeof file->hash);
    memcpy(file->hash, sha256, 65);
    file->size = size;
    file->uploaded = true;
    file->uploaded_ms = file->updated_ms = peri__engine_now(engine);
    filing->task.work = move_content;
    filing->task.done = content_moved;
    filing->task.drop = drop;
    peri__task_start(engine, &filing->task);
}

enum peri_code peri_engine_file(struct peri_engine *engine, uint64_t id, struct peri_str external_id,
                                struct peri_file *out, struct peri_error *err)
{
    return engine->store->kind->file(engine->store, id, external_id, out, err);
}

char *peri_engine_file_path(struct peri_engine *engine, const struct peri_file *file)
{
    char name[64];
    content_name(name, file->id, file->hash);
    return peri__datadir_path(&engine->dir, "files", name);
}
