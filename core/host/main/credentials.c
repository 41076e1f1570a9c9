/* SPDX-License-Identifier: MIT */
#include "host/main/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perilune/hash.h"
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

void credentials_fini(struct credentials *credentials)
{
    char *const secrets[] = { credentials->token, credentials->cim_secret };
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        if (secrets[i] != NULL)
            peri_secure_zero(secrets[i], strlen(secrets[i]));
        free(secrets[i]);
    }
    *credentials = (struct credentials){ NULL, NULL };
}

static enum peri_code make(char **out, struct peri_error *err)
{
    *out = malloc(TOKEN_SIZE + 1);
    if (*out == NULL)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    peri_random_token(peri_random_system(), *out, TOKEN_SIZE);
    return PERI_OK;
}

/* The member of a file that an earlier start has written, or a new one when it may be absent. */
static enum peri_code keep(const json_t *root, const char *key, bool required, char **out, struct peri_error *err)
{
    const char *kept = NULL;
    enum peri_code code = peri_json_get_string(root, key, required, &kept, err);
    if (code != PERI_OK)
        return code;
    if (kept == NULL)
        return make(out, err);
    if (kept[0] == '\0')
        return peri_error_set(err, PERI_INVALID, "'%s' is empty", key);
    *out = strdup(kept);
    return *out == NULL ? peri_error_set(err, PERI_NOMEM, "out of memory") : PERI_OK;
}

enum peri_code credentials_load(const char *path, struct credentials *out, struct peri_error *err)
{
    struct peri_buf text;
    bool absent = false;
    json_t *root = NULL;
    *out = (struct credentials){ NULL, NULL };
    peri_buf_init(&text, 65536);
    enum peri_code code = read_file(path, &text, &absent, err);
    if (code != PERI_OK)
        goto out;
    if (absent) {
        code = make(&out->token, err);
        code = code == PERI_OK ? make(&out->cim_secret, err) : code;
        goto out;
    }
    root = peri_json_parse(peri_buf_str(&text), err);
    code = root == NULL ? err->code : keep(root, "token", true, &out->token, err);
    if (code == PERI_OK)
        code = keep(root, "cim_secret", false, &out->cim_secret, err); /* earlier versions had none */
    if (code != PERI_OK)
        peri_error_prefix(err, "%s is damaged (remove it for a new token)", path);
out:
    json_decref(root);
    peri_buf_fini(&text);
    return code;
}

enum peri_code credentials_read_secret(const char *path, char **secret, struct peri_error *err)
{
    struct peri_buf text;
    bool absent = false;
    peri_buf_init(&text, 4096);
    enum peri_code code = read_file(path, &text, &absent, err);
    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
        peri_buf_truncate(&text, text.len - 1);
    struct peri_str line = peri_buf_str(&text);
    if (code != PERI_OK)
        ;
    else if (absent)
        code = peri_error_set(err, PERI_IO, "there is no file %s", path);
    else if (line.len == 0 || memchr(line.data, '\n', line.len) != NULL || memchr(line.data, '\0', line.len) != NULL)
        code = peri_error_set(err, PERI_INVALID, "%s must hold the secret as its only line", path);
    else if ((*secret = peri_str_dup(line)) == NULL)
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    if (text.data != NULL)
        peri_secure_zero(text.data, text.cap);
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

enum peri_code credentials_write(const char *path, const char *url, const struct credentials *credentials,
                                 struct peri_error *err)
{
    struct peri_buf text;
    char *temporary = NULL;
    enum peri_code code = PERI_NOMEM;
    peri_buf_init(&text, 65536);
    if (asprintf(&temporary, "%s.new", path) < 0 || peri_buf_append_text(&text, "{\"url\":") != PERI_OK ||
        peri_json_write_string(&text, peri_str_from(url)) != PERI_OK ||
        peri_buf_append_text(&text, ",\"token\":") != PERI_OK ||
        peri_json_write_string(&text, peri_str_from(credentials->token)) != PERI_OK ||
        peri_buf_append_text(&text, ",\"cim_secret\":") != PERI_OK ||
        peri_json_write_string(&text, peri_str_from(credentials->cim_secret)) != PERI_OK ||
        peri_buf_append_text(&text, "}\n") != PERI_OK)
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
