/* SPDX-License-Identifier: MIT */
#include "host/main/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perilune/json.h"
#include "perilune/random.h"

static enum peri_code read_file(const char *path, struct peri_buf *out, bool *absent, struct peri_error *err)
{
    char chunk[4096];
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *absent = fd < 0 && errno == ENOENT;
    if (*absent)
        return PERI_OK;
    if (fd < 0)
        return peri_error_set(err, PERI_IO, "can't read %s: %s", path, strerror(errno));
    while ((n = read(fd, chunk, sizeof chunk)) > 0) {
        if (peri_buf_append(out, chunk, (size_t)n) != PERI_OK)
            break;
    }
    close(fd);
    if (n != 0)
        return peri_error_set(err, PERI_IO, "can't read %s", path);
    return PERI_OK;
}

enum peri_code credentials_token(const char *path, char **token, struct peri_error *err)
{
    struct peri_buf text;
    bool absent = false;
    json_t *root = NULL;
    const char *kept = NULL;
    peri_buf_init(&text, 65536);
    enum peri_code code = read_file(path, &text, &absent, err);
    if (code != PERI_OK)
        goto out;
    if (absent) {
        *token = malloc(TOKEN_SIZE + 1);
        if (*token == NULL)
            code = peri_error_set(err, PERI_NOMEM, "out of memory");
        else
            peri_random_token(peri_random_system(), *token, TOKEN_SIZE);
        goto out;
    }
    root = peri_json_parse(peri_buf_str(&text), err);
    code = root == NULL ? err->code : peri_json_get_string(root, "token", true, &kept, err);
    if (code == PERI_OK && (kept == NULL || kept[0] == '\0'))
        code = peri_error_set(err, PERI_INVALID, "the token is empty");
    if (code != PERI_OK) {
        peri_error_prefix(err, "%s is damaged (remove it for a new token)", path);
        goto out;
    }
    *token = kept == NULL ? NULL : strdup(kept);
    if (*token == NULL)
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
out:
    json_decref(root);
    peri_buf_fini(&text);
    return code;
}

static enum peri_code store(const char *path, struct peri_str text, struct peri_error *err)
{
    unlink(path); /* what a crash may have left */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return peri_error_set(err, PERI_IO, "can't create %s: %s", path, strerror(errno));
    ssize_t n = write(fd, text.data, text.len);
    int rc = n == (ssize_t)text.len ? fsync(fd) : -1;
    int reason = n >= 0 && n != (ssize_t)text.len ? ENOSPC : errno;
    if (close(fd) == 0 && rc == 0)
        return PERI_OK;
    unlink(path);
    return peri_error_set(err, PERI_IO, "can't write %s: %s", path, strerror(reason));
}

enum peri_code credentials_write(const char *path, const char *url, const char *token, struct peri_error *err)
{
    struct peri_buf text;
    char *temporary = NULL;
    enum peri_code code = PERI_NOMEM;
    peri_buf_init(&text, 65536);
    if (asprintf(&temporary, "%s.new", path) < 0 || peri_buf_append_text(&text, "{\"url\":") != PERI_OK ||
        peri_json_write_string(&text, peri_str_from(url)) != PERI_OK ||
        peri_buf_append_text(&text, ",\"token\":") != PERI_OK ||
        peri_json_write_string(&text, peri_str_from(token)) != PERI_OK || peri_buf_append_text(&text, "}\n") != PERI_OK)
        peri_error_set(err, PERI_NOMEM, "out of memory");
    else
        code = store(temporary, peri_buf_str(&text), err);
    if (code == PERI_OK && rename(temporary, path) != 0) {
        code = peri_error_set(err, PERI_IO, "can't write %s: %s", path, strerror(errno));
        unlink(temporary);
    }
    free(temporary);
    peri_buf_fini(&text);
    return code;
}
