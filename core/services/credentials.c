/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/data_dir.h"
#include "perilune/hash.h"
#include "perilune/host.h"
#include "perilune/json.h"

#define MAX_FILE (64 * 1024)

char *peri_host_data_dir(void)
{
    return peri__data_dir();
}

/* The file's text, if nobody else may read it. */
static enum peri_code read_private(const char *path, struct peri_buf *text, struct peri_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return peri_error_set(err, PERI_NOT_FOUND,
                              "no credentials at %s: has a host been started with this data folder?", path);
    if (fd < 0)
        return peri_error_set(err, PERI_IO, "can't open %s: %s", path, strerror(errno));
    enum peri_code code = PERI_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        code = peri_error_set(err, PERI_IO, "%s is not a file", path);
    else if (st.st_mode & 077)
        code = peri_error_set(err, PERI_FORBIDDEN, "%s can be read by others; make it yours alone: chmod 600", path);
    ssize_t n = 0;
    if (code == PERI_OK && peri_buf_reserve(text, MAX_FILE) != PERI_OK)
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    while (code == PERI_OK && text->len < MAX_FILE && (n = read(fd, text->data + text->len, MAX_FILE - text->len)) > 0)
        text->len += (size_t)n;
    if (code == PERI_OK && n < 0)
        code = peri_error_set(err, PERI_IO, "can't read %s: %s", path, strerror(errno));
    close(fd);
    return code;
}

enum peri_code peri_host_credentials_load(const char *data_dir, char **url, char **token, struct peri_error *err)
{
    struct peri_buf text;
    peri_buf_init(&text, MAX_FILE + 1);
    char *dir = data_dir ? strdup(data_dir) : peri_host_data_dir();
    char *path = NULL;
    json_t *parsed = NULL;
    const char *found_url = NULL;
    const char *found_token = NULL;
    *url = NULL;
    *token = NULL;
    enum peri_code code = PERI_OK;
    if (!dir || asprintf(&path, "%s/credentials.json", dir) < 0) {
        path = NULL;
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
        goto out;
    }
    if ((code = read_private(path, &text, err)) != PERI_OK)
        goto out;
    parsed = peri_json_parse(peri_buf_str(&text), err);
    code = parsed ? peri_json_get_string(parsed, "url", true, &found_url, err) : PERI_JSON;
    if (code == PERI_OK)
        code = peri_json_get_string(parsed, "token", true, &found_token, err);
    if (code != PERI_OK) {
        peri_error_prefix(err, "%s", path);
        goto out;
    }
    *url = strdup(found_url);
    *token = strdup(found_token);
    if (!*url || !*token) {
        free(*url);
        free(*token);
        *url = NULL;
        *token = NULL;
        code = peri_error_set(err, PERI_NOMEM, "out of memory");
    }
out:
    json_decref(parsed);
    if (text.data)
        peri_secure_zero(text.data, text.cap);
    peri_buf_fini(&text);
    free(path);
    free(dir);
    return code;
}
