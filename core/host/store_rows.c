/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "host/store_sqlite.h"

/* Columns are described once and bound, read and listed from that. */
enum column_type { COL_U64, COL_I64, COL_UINT, COL_INT, COL_BOOL, COL_REAL, COL_TEXT, COL_HASH, COL_CODE };
struct column {
    enum column_type type;
    size_t offset;
};

#define F(type, field)                                                                                                 \
    {                                                                                                                  \
        type, offsetof(struct peri_function, field)                                                                    \
    }
/* In the order of PERI__SQL_FUNCTION_PUT, after `pending`. */
static const struct column function_columns[] = {
    F(COL_U64, id),
    F(COL_TEXT, external_id),
    F(COL_TEXT, name),
    F(COL_TEXT, description),
    F(COL_TEXT, owner),
    F(COL_TEXT, metadata),
    F(COL_TEXT, env),
    F(COL_REAL, cpu),
    F(COL_REAL, memory_gb),
    F(COL_TEXT, runtime),
    F(COL_U64, file_id),
    F(COL_TEXT, entry),
    F(COL_I64, timeout_ms),
    F(COL_U64, memory_limit),
    F(COL_I64, created_ms),
    F(COL_I64, updated_ms),
    F(COL_INT, status),
    F(COL_TEXT, error_message),
    F(COL_TEXT, error_trace),
    F(COL_U64, version_id),
    F(COL_UINT, version),
    F(COL_HASH, code_hash),
    F(COL_I64, code_size),
    F(COL_TEXT, secrets),
    F(COL_TEXT, secret_names),
    F(COL_UINT, concurrency),
    F(COL_UINT, attempts),
};
#undef F

#define C(type, field)                                                                                                 \
    {                                                                                                                  \
        type, offsetof(struct peri_call, field)                                                                        \
    }
/* In the order of PERI__CALL_COLUMNS. */
static const struct column call_columns[] = {
    C(COL_U64, id),          C(COL_U64, function_id),  C(COL_U64, version_id),     C(COL_UINT, version),
    C(COL_U64, schedule_id), C(COL_I64, scheduled_ms), C(COL_I64, timeout_ms),     C(COL_BOOL, async),
    C(COL_INT, state),       C(COL_UINT, attempt),     C(COL_I64, created_ms),     C(COL_I64, start_ms),
    C(COL_I64, end_ms),      C(COL_CODE, code),        C(COL_TEXT, error_message), C(COL_TEXT, error_trace),
    C(COL_INT, input),       C(COL_INT, status),       C(COL_TEXT, content_type),  C(COL_TEXT, headers),
    C(COL_U64, cpu_us),      C(COL_U64, memory_peak),
};
#undef C
#define G(type, field)                                                                                                 \
    {                                                                                                                  \
        type, offsetof(struct peri_generator, field)                                                                   \
    }
static const struct column generator_columns[] = {
    G(COL_TEXT, name), G(COL_I64, start),      G(COL_I64, step),       G(COL_BOOL, used),
    G(COL_I64, last),  G(COL_I64, created_ms), G(COL_I64, updated_ms),
};
#undef G

#define P(type, field)                                                                                                 \
    {                                                                                                                  \
        type, offsetof(struct peri_parent, field)                                                                      \
    }
static const struct column parent_columns[] = {
    P(COL_TEXT, id),      P(COL_TEXT, owner),     P(COL_TEXT, readers),
    P(COL_TEXT, writers), P(COL_I64, created_ms), P(COL_I64, updated_ms),
};
#undef P

#define O(type, field)                                                                                                 \
    {                                                                                                                  \
        type, offsetof(struct peri_file_object, field)                                                                 \
    }
static const struct column object_columns[] = {
    O(COL_U64, id),    O(COL_TEXT, parent), O(COL_TEXT, filename),  O(COL_TEXT, persno),     O(COL_TEXT, lock_id),
    O(COL_HASH, hash), O(COL_I64, size),    O(COL_I64, created_ms), O(COL_I64, modified_ms),
};
#undef O
#define COUNT(array) (sizeof(array) / sizeof *(array))

int peri__bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
    return text ? sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC) : sqlite3_bind_null(stmt, at);
}

char *peri__column_text(sqlite3_stmt *stmt, int at)
{
    const unsigned char *text = sqlite3_column_text(stmt, at);
    return text ? strdup((const char *)text) : NULL;
}

/* Without bindings before, so that NULL needs none. */
static int bind_column(sqlite3_stmt *stmt, int at, const struct column *column, const void *object)
{
    const char *field = (const char *)object + column->offset;
    switch (column->type) {
    case COL_U64:
        return sqlite3_bind_int64(stmt, at, (sqlite3_int64) * (const uint64_t *)(const void *)field);
    case COL_I64:
        return sqlite3_bind_int64(stmt, at, *(const int64_t *)(const void *)field);
    case COL_UINT:
    case COL_INT:
        return sqlite3_bind_int64(stmt, at, *(const int *)(const void *)field);
    case COL_BOOL:
        return sqlite3_bind_int(stmt, at, *(const bool *)field);
    case COL_REAL:
        return sqlite3_bind_double(stmt, at, *(const double *)(const void *)field);
    case COL_TEXT: {
        const char *text = *(char *const *)(const void *)field;
        return text ? peri__bind_text(stmt, at, text) : SQLITE_OK;
    }
    case COL_HASH:
        return peri__bind_text(stmt, at, field);
    case COL_CODE: {
        enum peri_code code = *(const enum peri_code *)(const void *)field;
        return code ? peri__bind_text(stmt, at, peri_code_name(code)) : SQLITE_OK;
    }
    }
    return SQLITE_ERROR;
}

static void read_column(sqlite3_stmt *stmt, int at, const struct column *column, void *object)
{
    char *field = (char *)object + column->offset;
    sqlite3_int64 number = sqlite3_column_int64(stmt, at);
    switch (column->type) {
    case COL_U64:
        *(uint64_t *)(void *)field = (uint64_t)number;
        break;
    case COL_I64:
        *(int64_t *)(void *)field = number;
        break;
    case COL_UINT:
    case COL_INT:
        *(int *)(void *)field = (int)number;
        break;
    case COL_BOOL:
        *(bool *)field = number != 0;
        break;
    case COL_REAL:
        *(double *)(void *)field = sqlite3_column_double(stmt, at);
        break;
    case COL_TEXT:
        *(char **)(void *)field = peri__column_text(stmt, at);
        break;
    case COL_HASH: {
        const unsigned char *text = sqlite3_column_text(stmt, at);
        if (text && strlen((const char *)text) == 64)
            memcpy(field, text, 65);
        break;
    }
    case COL_CODE: {
        const unsigned char *text = sqlite3_column_text(stmt, at);
        enum peri_code code = text ? peri_code_from_name((const char *)text) : PERI_OK;
        *(enum peri_code *)(void *)field = code == PERI_CODE_COUNT ? PERI_SERVER : code;
        break;
    }
    }
}

int peri__bind_function(sqlite3_stmt *stmt, const struct peri_function *function, bool pending)
{
    int rc = sqlite3_bind_int(stmt, 1, pending);
    for (size_t i = 0; i < COUNT(function_columns) && rc == SQLITE_OK; i++)
        rc = bind_column(stmt, (int)i + 2, &function_columns[i], function);
    return rc;
}

struct peri_function *peri__row_function(sqlite3_stmt *stmt, bool *pending)
{
    struct peri_function *function = peri_function_new();
    if (!function)
        return NULL;
    *pending = sqlite3_column_int(stmt, 0) != 0;
    for (size_t i = 0; i < COUNT(function_columns); i++)
        read_column(stmt, (int)i + 1, &function_columns[i], function);
    function->last_called_ms = sqlite3_column_int64(stmt, (int)COUNT(function_columns) + 1);
    return function;
}

int peri__bind_call(sqlite3_stmt *stmt, int at, const struct peri_call *call)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; i < COUNT(call_columns) && rc == SQLITE_OK; i++)
        rc = bind_column(stmt, at + (int)i, &call_columns[i], call);
    return rc;
}

struct peri_call *peri__row_call(sqlite3_stmt *stmt)
{
    struct peri_call *call = peri_call_new();
    for (size_t i = 0; call && i < COUNT(call_columns); i++)
        read_column(stmt, (int)i, &call_columns[i], call);
    return call;
}

static int bind_all(sqlite3_stmt *stmt, const struct column *columns, size_t count, const void *object)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; i < count && rc == SQLITE_OK; i++)
        rc = bind_column(stmt, (int)i + 1, &columns[i], object);
    return rc;
}

static void read_all(sqlite3_stmt *stmt, const struct column *columns, size_t count, void *object)
{
    for (size_t i = 0; i < count; i++)
        read_column(stmt, (int)i, &columns[i], object);
}

int peri__bind_generator(sqlite3_stmt *stmt, const struct peri_generator *generator)
{
    return bind_all(stmt, generator_columns, COUNT(generator_columns), generator);
}

bool peri__row_generator(sqlite3_stmt *stmt, struct peri_generator *out)
{
    memset(out, 0, sizeof *out);
    read_all(stmt, generator_columns, COUNT(generator_columns), out);
    return out->name != NULL;
}

int peri__bind_parent(sqlite3_stmt *stmt, const struct peri_parent *parent)
{
    return bind_all(stmt, parent_columns, COUNT(parent_columns), parent);
}

bool peri__row_parent(sqlite3_stmt *stmt, struct peri_parent *out)
{
    memset(out, 0, sizeof *out);
    read_all(stmt, parent_columns, COUNT(parent_columns), out);
    /* Without its memory a list would be an empty one, and the parent perhaps open to everyone. */
    return out->id && (out->owner || sqlite3_column_type(stmt, 1) == SQLITE_NULL) &&
           (out->readers || sqlite3_column_type(stmt, 2) == SQLITE_NULL) &&
           (out->writers || sqlite3_column_type(stmt, 3) == SQLITE_NULL);
}

int peri__bind_object(sqlite3_stmt *stmt, const struct peri_file_object *object)
{
    return bind_all(stmt, object_columns, COUNT(object_columns), object);
}

bool peri__row_object(sqlite3_stmt *stmt, struct peri_file_object *out)
{
    memset(out, 0, sizeof *out);
    read_all(stmt, object_columns, COUNT(object_columns), out);
    return out->parent != NULL;
}

bool peri__row_file(sqlite3_stmt *stmt, struct peri_file *file)
{
    memset(file, 0, sizeof *file);
    file->id = (uint64_t)sqlite3_column_int64(stmt, 0);
    file->external_id = peri__column_text(stmt, 1);
    file->name = peri__column_text(stmt, 2);
    file->mime_type = peri__column_text(stmt, 3);
    file->uploaded = sqlite3_column_int(stmt, 4) != 0;
    const unsigned char *hash = sqlite3_column_text(stmt, 5);
    if (hash && strlen((const char *)hash) == 64)
        memcpy(file->hash, hash, 65);
    file->size = sqlite3_column_int64(stmt, 6);
    file->created_ms = sqlite3_column_int64(stmt, 7);
    file->updated_ms = sqlite3_column_int64(stmt, 8);
    file->uploaded_ms = sqlite3_column_int64(stmt, 9);
    return file->name || sqlite3_column_type(stmt, 2) == SQLITE_NULL;
}

static void copy_column(sqlite3_stmt *stmt, int at, char *out, size_t cap)
{
    const char *text = (const char *)sqlite3_column_text(stmt, at);
    sqlite3_snprintf((int)cap, out, "%s", text ? text : "");
}

void peri__row_session(sqlite3_stmt *stmt, struct peri_session *session)
{
    session->id = (uint64_t)sqlite3_column_int64(stmt, 0);
    copy_column(stmt, 1, session->type, sizeof session->type);
    copy_column(stmt, 2, session->status, sizeof session->status);
    free(session->client_id);
    session->client_id = peri__column_text(stmt, 3);
    session->created_ms = sqlite3_column_int64(stmt, 4);
    session->expires_ms = sqlite3_column_int64(stmt, 5);
}

#define LINE_HEAD 13

enum peri_code peri__lines_encode(struct peri_buf *out, const struct peri_log_line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char head[LINE_HEAD];
        uint32_t len = (uint32_t)lines[i].len;
        memcpy(head, &lines[i].wall_ms, 8);
        head[8] = (unsigned char)lines[i].level;
        memcpy(head + 9, &len, 4);
        enum peri_code code = peri_buf_append(out, head, sizeof head);
        if (!code)
            code = peri_buf_append(out, lines[i].text, len);
        if (code)
            return code;
    }
    return PERI_OK;
}

void peri__lines_decode(struct peri_str blob, size_t index, size_t first,
                        void (*fn)(void *data, size_t index, const struct peri_log_line *line), void *data)
{
    while (blob.len >= LINE_HEAD) {
        struct peri_log_line line = { .level = (enum peri_log_level)(unsigned char)blob.data[8] };
        uint32_t len = 0;
        memcpy(&line.wall_ms, blob.data, 8);
        memcpy(&len, blob.data + 9, 4);
        if (len > blob.len - LINE_HEAD)
            return;
        char *text = malloc((size_t)len + 1);
        if (!text)
            return;
        memcpy(text, blob.data + LINE_HEAD, len);
        text[len] = '\0';
        line.text = text;
        line.len = len;
        if (index >= first)
            fn(data, index, &line);
        free(text);
        index++;
        blob.data += LINE_HEAD + len;
        blob.len -= LINE_HEAD + len;
    }
}
