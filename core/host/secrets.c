/* SPDX-License-Identifier: MIT */
#include "host/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "perilune/hash.h"
#include "perilune/json.h"

#define SALT 16
#define FORM "s1."
#define SEALED_MAX (4U << 20)

/* ---- the master key ---- */

static enum peri_code make_key(struct peri__secrets *secrets, const char *path, struct peri_error *err)
{
    struct peri_random random = peri_random_system();
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return peri_error_set(err, PERI_IO, "can't create %s: %s", path, strerror(errno));
    random.fill(random.state, secrets->master, sizeof secrets->master);
    ssize_t n = write(fd, secrets->master, sizeof secrets->master);
    int rc = n == (ssize_t)sizeof secrets->master ? fsync(fd) : -1;
    int reason = n >= 0 && rc != 0 && n != (ssize_t)sizeof secrets->master ? ENOSPC : errno;
    if (close(fd) == 0 && rc == 0)
        return PERI_OK;
    unlink(path); /* nothing was sealed with it */
    return peri_error_set(err, PERI_IO, "can't write %s: %s", path, strerror(reason));
}

enum peri_code peri__secrets_init(struct peri__secrets *secrets, const char *path, struct peri_error *err)
{
    unsigned char bytes[PERI_SEAL_KEY + 1];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return make_key(secrets, path, err);
    if (fd < 0)
        return peri_error_set(err, PERI_IO, "can't open %s: %s", path, strerror(errno));
    ssize_t n = fstat(fd, &st) == 0 ? read(fd, bytes, sizeof bytes) : -1;
    close(fd);
    enum peri_code code = PERI_OK;
    if (n < 0)
        code = peri_error_set(err, PERI_IO, "can't read %s", path);
    else if (st.st_mode & 077)
        code = peri_error_set(err, PERI_FORBIDDEN, "%s can be read by others; make it yours alone: chmod 600", path);
    else if (n != PERI_SEAL_KEY)
        code =
            peri_error_set(err, PERI_INVALID,
                           "%s is damaged: %d bytes are expected (restore it from a backup; without it the functions' "
                           "secrets must be set again, after it has been removed)",
                           path, PERI_SEAL_KEY);
    else
        memcpy(secrets->master, bytes, sizeof secrets->master);
    peri_secure_zero(bytes, sizeof bytes);
    return code;
}

void peri__secrets_fini(struct peri__secrets *secrets)
{
    peri_secure_zero(secrets->master, sizeof secrets->master);
}

/* ---- keys of single texts ---- */

static enum peri_code derive(const struct peri__secrets *secrets, const char *purpose, struct peri_str from,
                             unsigned char out[PERI_HASH_MAX], struct peri_error *err)
{
    struct peri_buf text;
    peri_buf_init(&text, SEALED_MAX);
    enum peri_code code = peri_buf_append_text(&text, purpose);
    if (!code)
        code = peri_buf_append_str(&text, from);
    if (code)
        peri_error_set(err, code, "the secrets are over the limit of %u bytes", SEALED_MAX);
    else
        code = peri_hmac(PERI_SHA256, (struct peri_str){ (const char *)secrets->master, sizeof secrets->master },
                         peri_buf_str(&text), out, err);
    if (text.data)
        peri_secure_zero(text.data, text.cap);
    peri_buf_fini(&text);
    return code;
}

static enum peri_code key_of(const struct peri__secrets *secrets, struct peri_str salt,
                             unsigned char out[PERI_HASH_MAX], struct peri_error *err)
{
    return derive(secrets, "perilune: key of a text\n", salt, out, err);
}

/* A key serves one text alone, so the nonce may be the same in all. */
static void fill_zero(void *state, void *out, size_t len)
{
    (void)state;
    memset(out, 0, len);
}

static enum peri_code seal_text(const struct peri__secrets *secrets, struct peri_str plain, struct peri_buf *out,
                                struct peri_error *err)
{
    unsigned char salt[PERI_HASH_MAX], key[PERI_HASH_MAX];
    struct peri_buf box;
    peri_buf_init(&box, SEALED_MAX);
    enum peri_code code = derive(secrets, "perilune: salt of a text\n", plain, salt, err);
    if (!code)
        code = key_of(secrets, (struct peri_str){ (const char *)salt, SALT }, key, err);
    if (!code)
        code = peri_seal(key, (struct peri_str){ 0 }, (struct peri_random){ fill_zero, NULL }, plain, &box, err);
    peri_secure_zero(key, sizeof key);
    if (!code) {
        code = peri_buf_append_text(out, FORM);
        code = code ? code : peri_base64url_append(out, salt, SALT);
        code = code ? code : peri_buf_append_byte(out, '.');
        code = code ? code : peri_base64url_append(out, box.data, box.len);
        if (code)
            peri_error_set(err, code, "the secrets are over the limit of %u bytes", SEALED_MAX);
    }
    peri_buf_fini(&box);
    return code;
}

enum peri_code peri__secrets_seal(const struct peri__secrets *secrets, const json_t *object, char **sealed,
                                  struct peri_error *err)
{
    struct peri_buf out;
    char *plain = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    if (!plain)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    peri_buf_init(&out, SEALED_MAX * 2);
    enum peri_code code = seal_text(secrets, peri_str_from(plain), &out, err);
    peri_secure_zero(plain, strlen(plain));
    free(plain);
    *sealed = code ? NULL : peri_buf_take(&out, NULL);
    peri_buf_fini(&out);
    return code;
}

enum peri_code peri__secrets_append(const struct peri__secrets *secrets, const char *sealed, struct peri_buf *out,
                                    struct peri_error *err)
{
    unsigned char key[PERI_HASH_MAX];
    struct peri_buf salt;
    const char *dot = strncmp(sealed, FORM, strlen(FORM)) == 0 ? strchr(sealed + strlen(FORM), '.') : NULL;
    if (!dot)
        return peri_error_set(err, PERI_STORE, "the function's secrets are damaged in the store");
    peri_buf_init(&salt, 64);
    const char *text = sealed + strlen(FORM);
    enum peri_code code = peri_base64_decode(&salt, (struct peri_str){ text, (size_t)(dot - text) }, err);
    if (!code)
        code = key_of(secrets, peri_buf_str(&salt), key, err);
    peri_buf_fini(&salt);
    if (code)
        return code;
    size_t mark = out->len;
    code = peri_buf_append_text(out, "{\"key\":\"");
    code = code ? code : peri_base64url_append(out, key, PERI_SEAL_KEY);
    code = code ? code : peri_buf_append_text(out, "\",\"text\":\"");
    code = code ? code : peri_buf_append_text(out, dot + 1);
    code = code ? code : peri_buf_append_text(out, "\"}");
    peri_secure_zero(key, sizeof key);
    if (code) {
        peri_buf_truncate(out, mark);
        return peri_error_set(err, code, "no room for the function's secrets");
    }
    return PERI_OK;
}
