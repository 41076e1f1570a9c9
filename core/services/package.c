/* SPDX-License-Identifier: MIT */
#include "services/package.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#define IGNORE_FILE ".periluneignore"
#define MAX_DEPTH 64

struct package {
    char *root; /* resolved */
    struct peri_ignore *ignore;
    char **names;           /* of files, relative to root */
    char **contents;        /* as read; kept here until the zip is closed, since libzip's failures free them or not */
    struct peri_str source; /* the content of the one file, when there is no folder */
    size_t count, cap;
    int64_t bytes, max_bytes;
};

static enum peri_code no_memory(struct peri_error *err)
{
    return peri_error_set(err, PERI_NOMEM, "out of memory");
}

static char *join(const char *folder, const char *name)
{
    char *path = NULL;
    if (!folder[0])
        return strdup(name);
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

bool peri__package_has(const char *folder, const char *name)
{
    struct stat st;
    char *path = join(folder, name);
    bool found = path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    free(path);
    return found;
}

static enum peri_code add_name(struct package *package, const char *name, int64_t size, struct peri_error *err)
{
    if (package->count >= PERI_PACKAGE_MAX_FILES)
        return peri_error_set(err, PERI_TOO_LARGE, "the folder holds more than %d files", PERI_PACKAGE_MAX_FILES);
    if (size > package->max_bytes - package->bytes)
        return peri_error_set(err, PERI_TOO_LARGE, "the folder's files are larger than %lld bytes (at %s)",
                              (long long)package->max_bytes, name);
    package->bytes += size;
    if (package->count == package->cap) {
        size_t cap = package->cap ? package->cap * 2 : 64;
        char **names = realloc(package->names, cap * sizeof *names);
        if (!names)
            return no_memory(err);
        package->names = names;
        package->cap = cap;
    }
    package->names[package->count] = strdup(name);
    if (!package->names[package->count])
        return no_memory(err);
    package->count++;
    return PERI_OK;
}

/* A link may only lead to a file within the folder: its content is packaged under the link's name. */
static enum peri_code check_link(const struct package *package, const char *path, const char *name, struct stat *st,
                                 struct peri_error *err)
{
    char target[PATH_MAX];
    size_t root = strlen(package->root);
    if (!realpath(path, target))
        return peri_error_set(err, PERI_PACKAGE, "%s: the link leads nowhere: %s", name, strerror(errno));
    if (strncmp(target, package->root, root) != 0 || (target[root] != '/' && root > 1))
        return peri_error_set(err, PERI_PACKAGE, "%s: the link leaves the folder (to %s)", name, target);
    if (stat(target, st) != 0)
        return peri_error_set(err, PERI_PACKAGE, "%s: %s", name, strerror(errno));
    if (S_ISDIR(st->st_mode))
        return peri_error_set(err, PERI_PACKAGE, "%s: links to folders can't be packaged", name);
    return PERI_OK;
}

static enum peri_code scan(struct package *package, const char *folder, unsigned depth, struct peri_error *err);

static enum peri_code scan_entry(struct package *package, const char *name, unsigned depth, struct peri_error *err)
{
    struct stat st;
    char *path = join(package->root, name);
    if (!path)
        return no_memory(err);
    enum peri_code code = PERI_OK;
    if (lstat(path, &st) != 0)
        code = peri_error_set(err, PERI_PACKAGE, "%s: %s", name, strerror(errno));
    else if (peri__ignore_match(package->ignore, name, S_ISDIR(st.st_mode)))
        goto out;
    else if (S_ISLNK(st.st_mode))
        code = check_link(package, path, name, &st, err);
    if (code != PERI_OK)
        goto out;
    if (S_ISDIR(st.st_mode))
        code = scan(package, name, depth + 1, err);
    else if (S_ISREG(st.st_mode))
        code = add_name(package, name, (int64_t)st.st_size, err);
    else
        code = peri_error_set(err, PERI_PACKAGE, "%s: neither a file nor a folder", name);
out:
    free(path);
    return code;
}

/* Collects the files below folder (relative; "" is the root). */
static enum peri_code scan(struct package *package, const char *folder, unsigned depth, struct peri_error *err)
{
    if (depth > MAX_DEPTH)
        return peri_error_set(err, PERI_PACKAGE, "%s: folders are nested too deep", folder);
    char *path = folder[0] ? join(package->root, folder) : strdup(package->root);
    DIR *dir = path ? opendir(path) : NULL;
    free(path);
    if (!dir)
        return peri_error_set(err, PERI_PACKAGE, "can't read %s: %s", folder[0] ? folder : package->root,
                              strerror(errno));
    enum peri_code code = PERI_OK;
    struct dirent *entry = NULL;
    while (code == PERI_OK && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *name = join(folder, entry->d_name);
        code = name ? scan_entry(package, name, depth, err) : no_memory(err);
        free(name);
    }
    closedir(dir);
    return code;
}

/* The whole file; owned by the caller. */
static char *read_file(const char *path, const char *name, int64_t max, size_t *len, struct peri_error *err)
{
    struct peri_buf content;
    char block[65536];
    peri_buf_init(&content, (size_t)max + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    enum peri_code code = PERI_OK;
    while (fd >= 0 && code == PERI_OK && (n = read(fd, block, sizeof block)) > 0)
        code = peri_buf_append(&content, block, (size_t)n);
    char *data = NULL;
    if (n < 0)
        peri_error_set(err, PERI_PACKAGE, "can't read %s: %s", name, strerror(errno));
    else if (code != PERI_OK)
        peri_error_set(err, code, "%s: %s", name, peri_code_text(code));
    else
        data = peri_buf_take(&content, len);
    if (fd >= 0)
        close(fd);
    peri_buf_fini(&content);
    return data;
}

static enum peri_code zip_failed(zip_t *zip, const char *name, struct peri_error *err)
{
    return peri_error_set(err, PERI_PACKAGE, "%s: %s", name, zip_strerror(zip));
}

static enum peri_code add_file(struct package *package, zip_t *zip, size_t i, struct peri_error *err)
{
    size_t len = 0;
    const char *name = package->names[i];
    if (package->root) {
        char *path = join(package->root, name);
        package->contents[i] = path ? read_file(path, name, package->max_bytes, &len, err) : NULL;
        free(path);
    } else {
        len = package->source.len;
        package->contents[i] = peri_str_dup(package->source);
    }
    if (!package->contents[i])
        return err->code != PERI_OK ? err->code : no_memory(err);
    zip_source_t *source = zip_source_buffer(zip, package->contents[i], len, 0);
    if (!source)
        return zip_failed(zip, name, err);
    zip_int64_t index = zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        return zip_failed(zip, name, err);
    }
    const zip_uint16_t first_of_1980 = 0x0021;
    if (zip_file_set_dostime(zip, (zip_uint64_t)index, 0, first_of_1980, 0) != 0 ||
        zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_DEFLATE, 6) != 0 ||
        zip_file_set_external_attributes(zip, (zip_uint64_t)index, 0, ZIP_OPSYS_UNIX,
                                         (zip_uint32_t)(S_IFREG | 0644) << 16) != 0)
        return zip_failed(zip, name, err);
    return PERI_OK;
}

static enum peri_code copy_out(zip_source_t *archive, struct peri_buf *out, struct peri_error *err)
{
    zip_stat_t st;
    zip_int64_t n = -1;
    if (zip_source_stat(archive, &st) != 0 || zip_source_open(archive) != 0)
        return peri_error_set(err, PERI_PACKAGE, "%s", zip_error_strerror(zip_source_error(archive)));
    enum peri_code code = peri_buf_reserve(out, (size_t)st.size);
    while (code == PERI_OK && (n = zip_source_read(archive, out->data + out->len, out->cap - out->len - 1)) > 0)
        out->len += (size_t)n;
    zip_source_close(archive);
    if (code == PERI_OK && n < 0)
        code = PERI_PACKAGE;
    if (code != PERI_OK)
        return peri_error_set(err, code, "can't build the package: %s", peri_code_text(code));
    out->data[out->len] = '\0';
    return PERI_OK;
}

static enum peri_code write_zip(struct package *package, struct peri_buf *out, struct peri_error *err)
{
    zip_error_t failure;
    zip_error_init(&failure);
    enum peri_code code = PERI_OK;
    zip_t *zip = NULL;
    zip_source_t *archive = zip_source_buffer_create(NULL, 0, 0, &failure);
    if (archive)
        zip = zip_open_from_source(archive, ZIP_TRUNCATE, &failure);
    if (!zip) {
        zip_source_free(archive);
        code = peri_error_set(err, PERI_PACKAGE, "%s", zip_error_strerror(&failure));
        zip_error_fini(&failure);
        return code;
    }
    zip_source_keep(archive);
    package->contents = calloc(package->count + 1, sizeof *package->contents);
    if (!package->contents)
        code = no_memory(err);
    for (size_t i = 0; package->contents && i < package->count && code == PERI_OK; i++)
        code = add_file(package, zip, i, err);
    if (code == PERI_OK && zip_close(zip) != 0)
        code = zip_failed(zip, "the package", err);
    else if (code == PERI_OK)
        zip = NULL;
    if (zip)
        zip_discard(zip);
    if (code == PERI_OK)
        code = copy_out(archive, out, err);
    zip_source_free(archive);
    zip_error_fini(&failure);
    return code;
}

static enum peri_code read_patterns(struct package *package, const json_t *exclude, struct peri_error *err)
{
    static const char *const always[] = { ".git", "__pycache__/", IGNORE_FILE };
    enum peri_code code = PERI_OK;
    size_t len = 0;
    char *text = NULL;
    if (peri__package_has(package->root, IGNORE_FILE)) {
        char *path = join(package->root, IGNORE_FILE);
        text = path ? read_file(path, IGNORE_FILE, 1024 * 1024, &len, err) : NULL;
        free(path);
        if (!text)
            return PERI_PACKAGE;
    }
    for (char *line = text; line && code == PERI_OK;) {
        size_t end = strcspn(line, "\n");
        code = peri__ignore_add(package->ignore, (struct peri_str){ line, end });
        line = line[end] ? line + end + 1 : NULL;
    }
    free(text);
    for (size_t i = 0; i < json_array_size(exclude) && code == PERI_OK; i++) {
        const char *line = json_string_value(json_array_get(exclude, i));
        if (!line)
            return peri_error_set(err, PERI_INVALID, "option 'exclude' must hold strings");
        code = peri__ignore_add(package->ignore, peri_str_from(line));
    }
    for (size_t i = 0; i < sizeof always / sizeof *always && code == PERI_OK; i++)
        code = peri__ignore_add(package->ignore, peri_str_from(always[i]));
    return code == PERI_OK ? PERI_OK : no_memory(err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_python(const char *name)
{
    size_t len = strlen(name);
    return len > 3 && strcmp(name + len - 3, ".py") == 0;
}

static enum peri_code check_python(const struct package *package, const char *folder, const char *entry,
                                   struct peri_error *err)
{
    size_t len = 0;
    char *shown = join(folder, entry);
    char *path = join(package->root, entry);
    char *text = path && shown ? read_file(path, entry, package->max_bytes, &len, err) : NULL;
    enum peri_code code = err->code;
    if (text)
        code = peri__python_check(shown, (struct peri_str){ text, len }, err);
    else if (code == PERI_OK)
        code = no_memory(err);
    free(text);
    free(path);
    free(shown);
    return code;
}

static enum peri_code check_entry(const struct package *package, const char *folder,
                                  const struct peri_package_options *options, struct peri_error *err)
{
    const char *entry = options->entry;
    if (!entry)
        return PERI_OK;
    if (package->count > 0 && bsearch(&entry, package->names, package->count, sizeof *package->names, by_name))
        return options->python && is_python(entry) ? check_python(package, folder, entry, err) : PERI_OK;
    bool there = peri__package_has(package->root, entry);
    return peri_error_set(err, PERI_PACKAGE, "%s: the entry file %s %s", folder, entry,
                          there ? "is left out by a pattern" : "does not exist");
}

static void free_contents(struct package *package)
{
    for (size_t i = 0; package->names && i < package->count; i++)
        free(package->names[i]);
    for (size_t i = 0; package->contents && i < package->count; i++)
        free(package->contents[i]);
    free(package->contents);
    free(package->names);
}

enum peri_code peri__package_source(const char *name, struct peri_str text, struct peri_buf *zip,
                                    struct peri_error *err)
{
    struct peri_error unused = PERI_ERROR_INIT;
    struct package package = { .max_bytes = PERI_PACKAGE_MAX_BYTES, .source = text };
    err = err ? err : &unused;
    peri_error_clear(err);
    enum peri_code code = add_name(&package, name, (int64_t)text.len, err);
    if (code == PERI_OK)
        code = write_zip(&package, zip, err);
    free_contents(&package);
    return code;
}

enum peri_code peri__package_folder(const char *folder, const struct peri_package_options *options,
                                    struct peri_buf *zip, struct peri_error *err)
{
    struct peri_error unused = PERI_ERROR_INIT;
    struct package package = { .max_bytes = options->max_bytes ? options->max_bytes : PERI_PACKAGE_MAX_BYTES };
    struct stat st;
    enum peri_code code = PERI_OK;
    err = err ? err : &unused;
    peri_error_clear(err);
    package.root = realpath(folder, NULL);
    package.ignore = peri__ignore_new();
    if (!package.root || stat(package.root, &st) != 0) {
        code = peri_error_set(err, PERI_PACKAGE, "can't read the folder %s: %s", folder, strerror(errno));
        goto out;
    }
    if (!S_ISDIR(st.st_mode)) {
        code = peri_error_set(err, PERI_PACKAGE, "%s is not a folder", folder);
        goto out;
    }
    code = package.ignore ? read_patterns(&package, options->exclude, err) : no_memory(err);
    if (code == PERI_OK)
        code = scan(&package, "", 0, err);
    if (code == PERI_OK && !package.names)
        code = peri_error_set(err, PERI_PACKAGE, "%s: the folder is empty", folder);
    if (code == PERI_OK && package.names) {
        qsort(package.names, package.count, sizeof *package.names, by_name);
        code = check_entry(&package, folder, options, err);
    }
    if (code == PERI_OK)
        code = write_zip(&package, zip, err);
out:
    free_contents(&package);
    peri__ignore_free(package.ignore);
    free(package.root);
    return code;
}
