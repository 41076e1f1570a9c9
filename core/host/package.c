/* SPDX-License-Identifier: MIT */
#include "host/package.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "perilune/buf.h"
#include "perilune/hash.h"

#define NAME_MAX_BYTES 1024
#define RATIO_FROM (1024 * 1024) /* smaller entries may be as dense as they like */

struct check {
    zip_t *zip;
    const struct peri__package_limits *limits;
    unsigned max_ratio;
    const char **names; /* sorted once all are known */
    size_t count;
    size_t total;
    struct peri_error *err;
};

/* An entry's name for messages: what is not printable ASCII becomes "?". */
struct shown {
    char text[128];
};

static struct shown show(const char *name)
{
    struct shown shown;
    size_t len = strlen(name), room = sizeof shown.text - 1, i = 0;
    for (; i < len && i < room; i++)
        shown.text[i] = (char)((unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i]);
    shown.text[i] = '\0';
    if (len > room)
        memcpy(shown.text + room - 3, "...", 3);
    return shown;
}

static enum peri_code refuse(struct check *check, const char *name, const char *why)
{
    return peri_error_set(check->err, PERI_PACKAGE, "the package's entry '%s' %s", show(name).text, why);
}

static enum peri_code check_name(struct check *check, const char *name)
{
    size_t len = strlen(name);
    if (!len)
        return peri_error_set(check->err, PERI_PACKAGE, "the package has an entry without a name");
    if (!strcmp(name, "./"))
        return PERI_OK; /* the folder itself: Cognite's Python SDK writes it (functions-api.md, 7.3) */
    if (len > NAME_MAX_BYTES)
        return refuse(check, name, "has a name over 1024 bytes long");
    if (name[0] == '/')
        return refuse(check, name, "has an absolute name");
    if (strchr(name, '\\'))
        return refuse(check, name, "has a backslash in its name");
    if (len >= 2 && name[1] == ':')
        return refuse(check, name, "has an absolute name (a drive)");
    for (const char *at = name; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return refuse(check, name, "has a control character in its name");
    for (const char *part = name; *part;) {
        size_t n = strcspn(part, "/");
        if (n == 2 && !memcmp(part, "..", 2))
            return refuse(check, name, "points out of the package's folder");
        if (n == 0 || (n == 1 && part[0] == '.'))
            return refuse(check, name, "has an empty part or '.' in its name");
        part += n + (part[n] == '/');
    }
    return PERI_OK;
}

static enum peri_code check_type(struct check *check, zip_uint64_t index, const zip_stat_t *stat)
{
    zip_uint8_t system = 0;
    zip_uint32_t attributes = 0;
    if (zip_file_get_external_attributes(check->zip, index, 0, &system, &attributes) != 0)
        return refuse(check, stat->name, "has no readable attributes");
    if (system == ZIP_OPSYS_UNIX || system == ZIP_OPSYS_OS_X) {
        mode_t mode = (mode_t)(attributes >> 16);
        if (S_ISLNK(mode))
            return refuse(check, stat->name, "is a link");
        if ((mode & S_IFMT) != 0 && !S_ISREG(mode) && !S_ISDIR(mode))
            return refuse(check, stat->name, "is neither a file nor a folder");
    }
    if ((stat->valid & ZIP_STAT_ENCRYPTION_METHOD) && stat->encryption_method != ZIP_EM_NONE)
        return refuse(check, stat->name, "is encrypted");
    return PERI_OK;
}

/* Reads the entry through: what it claims about its size proves nothing. */
static enum peri_code check_content(struct check *check, zip_uint64_t index, const zip_stat_t *stat)
{
    zip_file_t *file = zip_fopen_index(check->zip, index, 0);
    if (!file)
        return refuse(check, stat->name, "can't be unpacked");
    char piece[16384];
    size_t size = 0;
    zip_int64_t n = 0;
    enum peri_code code = PERI_OK;
    while (!code && (n = zip_fread(file, piece, sizeof piece)) > 0) {
        size += (size_t)n;
        check->total += (size_t)n;
        if (check->total > check->limits->total)
            code = peri_error_set(check->err, PERI_PACKAGE,
                                  "the package unpacks to more than %zu bytes (reached in its entry '%s')",
                                  check->limits->total, show(stat->name).text);
        else if (size > RATIO_FROM && size / check->max_ratio > stat->comp_size)
            code = refuse(check, stat->name, "unpacks to far more than its packed size, as a zip bomb does");
    }
    if (!code && n < 0)
        code = refuse(check, stat->name, "is damaged");
    zip_fclose(file);
    return code;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool has_name(const struct check *check, const char *name)
{
    return bsearch(&name, check->names, check->count, sizeof *check->names, by_name) != NULL;
}

/* No name twice, and none both a file and a folder. */
static enum peri_code check_uniqueness(struct check *check)
{
    qsort(check->names, check->count, sizeof *check->names, by_name);
    for (size_t i = 0; i < check->count; i++) {
        const char *name = check->names[i];
        if (i > 0 && !strcmp(check->names[i - 1], name))
            return refuse(check, name, "appears twice");
        char folder[NAME_MAX_BYTES + 1];
        for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
            size_t len = (size_t)(slash - name);
            memcpy(folder, name, len);
            folder[len] = '\0';
            if (has_name(check, folder))
                return refuse(check, folder, "is both a file and a folder");
        }
    }
    return PERI_OK;
}

static enum peri_code check_entries(struct check *check, const char *entry)
{
    zip_int64_t count = zip_get_num_entries(check->zip, 0);
    unsigned most = check->limits->entries ? check->limits->entries : 10000;
    if (count > most)
        return peri_error_set(check->err, PERI_PACKAGE, "the package has %lld entries, more than %u", (long long)count,
                              most);
    check->names = calloc(count > 0 ? (size_t)count : 1, sizeof *check->names);
    if (!check->names)
        return peri_error_set(check->err, PERI_NOMEM, "out of memory");
    for (zip_int64_t i = 0; i < count; i++) {
        zip_stat_t stat;
        if (zip_stat_index(check->zip, (zip_uint64_t)i, 0, &stat) != 0 || !(stat.valid & ZIP_STAT_NAME))
            return peri_error_set(check->err, PERI_PACKAGE, "the package's entry number %lld can't be read",
                                  (long long)i + 1);
        enum peri_code code = check_name(check, stat.name);
        if (!code)
            code = check_type(check, (zip_uint64_t)i, &stat);
        if (!code)
            code = check_content(check, (zip_uint64_t)i, &stat);
        if (code)
            return code;
        check->names[check->count++] = stat.name;
    }
    enum peri_code code = check_uniqueness(check);
    if (!code && !has_name(check, entry))
        code = peri_error_set(check->err, PERI_PACKAGE, "the package has no '%s' at its top", show(entry).text);
    return code;
}

enum peri_code peri__package_check(const char *path, const char *entry, const struct peri__package_limits *limits,
                                   struct peri_error *err)
{
    int why = 0;
    struct check check = { .limits = limits, .max_ratio = limits->ratio ? limits->ratio : 200, .err = err };
    check.zip = zip_open(path, ZIP_RDONLY, &why);
    if (!check.zip) {
        zip_error_t error;
        zip_error_init_with_code(&error, why);
        enum peri_code code = peri_error_set(
            err, why == ZIP_ER_NOENT || why == ZIP_ER_OPEN || why == ZIP_ER_READ ? PERI_IO : PERI_PACKAGE,
            "the package is not a zip that can be read: %s", zip_error_strerror(&error));
        zip_error_fini(&error);
        return code;
    }
    enum peri_code code = check_entries(&check, entry);
    free(check.names);
    zip_discard(check.zip);
    return code;
}

enum peri_code peri__package_hash(const char *path, char hash[65], int64_t *size, struct peri_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct peri_hash *running = fd < 0 ? NULL : peri_hash_new(PERI_SHA256, err);
    char *piece = malloc(65536);
    enum peri_code code = PERI_OK;
    ssize_t n = 0;
    *size = 0;
    if (fd < 0)
        code = peri_error_set(err, PERI_IO, "can't open %s: %s", path, strerror(errno));
    else if (!running || !piece)
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    while (!code && (n = read(fd, piece, 65536)) > 0) {
        peri_hash_update(running, piece, (size_t)n);
        *size += n;
    }
    if (!code && n < 0)
        code = peri_error_set(err, PERI_IO, "can't read %s: %s", path, strerror(errno));
    if (!code) {
        unsigned char digest[PERI_HASH_MAX];
        struct peri_buf hex;
        peri_buf_init(&hex, 128);
        peri_hash_final(running, digest);
        code = peri_hex_append(&hex, digest, 32);
        if (!code)
            memcpy(hash, hex.data, 65);
        peri_buf_fini(&hex);
    }
    peri_hash_free(running);
    free(piece);
    if (fd >= 0)
        close(fd);
    return code;
}
