/* SPDX-License-Identifier: MIT */
#include "perilune/password.h"

#include <stdio.h>
#include <string.h>

#include "perilune/hash.h"

#define VALUE_MAX ((size_t)64 * 1024)
#define HEX_MD5_SIZE 33

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

static enum peri_code check(const struct peri_password *user, struct peri_error *err)
{
    if (strchr(user->username, ':'))
        return peri_error_set(err, PERI_INVALID, "a user name must not hold a colon");
    if (has_control(user->username) || has_control(user->password))
        return peri_error_set(err, PERI_INVALID, "a user name or password must not hold control characters");
    return PERI_OK;
}

static enum peri_code set_authorization(struct peri_headers *headers, enum peri_code code, struct peri_buf *value,
                                        struct peri_error *err)
{
    if (code == PERI_OK)
        code = peri_headers_set(headers, "Authorization", value->data);
    if (code != PERI_OK)
        peri_error_set(err, code, "can't set the Authorization header: %s", peri_code_text(code));
    if (value->data)
        peri_secure_zero(value->data, value->cap);
    peri_buf_fini(value);
    return code;
}

enum peri_code peri_basic_sign(struct peri_headers *headers, const struct peri_password *user, struct peri_error *err)
{
    struct peri_buf plain, value;
    enum peri_code code = check(user, err);
    if (code != PERI_OK)
        return code;
    peri_buf_init(&plain, VALUE_MAX);
    peri_buf_init(&value, VALUE_MAX * 2);
    code = peri_buf_printf(&plain, "%s:%s", user->username, user->password);
    if (code == PERI_OK)
        code = peri_buf_append_text(&value, "Basic ");
    if (code == PERI_OK)
        code = peri_base64_append(&value, plain.data, plain.len);
    if (plain.data)
        peri_secure_zero(plain.data, plain.cap);
    peri_buf_fini(&plain);
    return set_authorization(headers, code, &value, err);
}

/* ---- the challenge ---- */

/* The next name = value or name = "value" of a list; at is moved behind it. False: there is none. A value that has no room
 * counts as malformed: *fits is false. The backslashes of a quoted value stay: it is sent back as it came. */
static bool next_pair(const char **at, struct peri_str *name, char value[PERI_DIGEST_TEXT], bool *fits)
{
    const char *p = *at + strspn(*at, " \t,");
    size_t name_len = strcspn(p, "= \t,");
    *name = (struct peri_str){ p, name_len };
    p += name_len;
    p += strspn(p, " \t");
    if (name_len == 0 || *p != '=')
        return false;
    p++;
    p += strspn(p, " \t");
    bool quoted = *p == '"';
    size_t len = 0;
    p += quoted;
    const char *start = p;
    while (*p && (quoted ? *p != '"' : !strchr(", \t", *p)))
        p += *p == '\\' && p[1] ? 2 : 1;
    len = (size_t)(p - start);
    *fits = (!quoted || *p == '"') && len < PERI_DIGEST_TEXT;
    if (*fits) {
        memcpy(value, start, len);
        value[len] = '\0';
    }
    *at = p + (quoted && *p == '"');
    return true;
}

static bool lists_auth(const char *qop)
{
    while (*qop) {
        qop += strspn(qop, " \t,");
        size_t len = strcspn(qop, " \t,");
        if (peri_str_equal_nocase((struct peri_str){ qop, len }, peri_str_from("auth")))
            return true;
        qop += len;
    }
    return false;
}

static bool is_named(struct peri_str name, const char *expected)
{
    return peri_str_equal_nocase(name, peri_str_from(expected));
}

enum peri_code peri_digest_read(struct peri_digest *digest, const char *challenge, struct peri_error *err)
{
    struct peri_str name, scheme = { challenge, strcspn(challenge, " \t") };
    char value[PERI_DIGEST_TEXT];
    bool fits = true, has_nonce = false, has_realm = false;
    memset(digest, 0, sizeof *digest);
    if (!is_named(scheme, "Digest"))
        return peri_error_set(err, PERI_UNSUPPORTED, "the server does not ask for HTTP Digest");
    for (const char *at = challenge + scheme.len; next_pair(&at, &name, value, &fits);) {
        if (!fits)
            return peri_error_set(err, PERI_PROTOCOL, "the server's Digest challenge is malformed");
        if (is_named(name, "realm")) {
            memcpy(digest->realm, value, sizeof value);
            has_realm = true;
        } else if (is_named(name, "nonce")) {
            memcpy(digest->nonce, value, sizeof value);
            has_nonce = value[0] != '\0';
        } else if (is_named(name, "opaque")) {
            memcpy(digest->opaque, value, sizeof value);
            digest->has_opaque = true;
        } else if (is_named(name, "algorithm") && !is_named(peri_str_from(value), "MD5")) {
            return peri_error_set(err, PERI_UNSUPPORTED,
                                  "the server asks for HTTP Digest with another algorithm than MD5");
        } else if (is_named(name, "qop")) {
            digest->qop_auth = lists_auth(value);
            if (!digest->qop_auth)
                return peri_error_set(err, PERI_UNSUPPORTED, "the server asks for HTTP Digest without qop \"auth\"");
        }
    }
    return has_nonce && has_realm
               ? PERI_OK
               : peri_error_set(err, PERI_PROTOCOL, "the server's Digest challenge lacks a realm or a nonce");
}

/* ---- the answer ---- */

/* The MD5 in hexadecimal of "a:b:c..." (NULL ends the list). */
static enum peri_code hash_joined(char out[HEX_MD5_SIZE], const struct peri_str *parts, size_t count,
                                  struct peri_error *err)
{
    unsigned char bytes[PERI_HASH_MAX];
    struct peri_hash *hash = peri_hash_new(PERI_MD5, err);
    if (!hash)
        return PERI_NOMEM;
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            peri_hash_update(hash, ":", 1);
        peri_hash_update(hash, parts[i].data, parts[i].len);
    }
    peri_hash_final(hash, bytes);
    peri_hash_free(hash);
    for (size_t i = 0; i < peri_hash_size(PERI_MD5); i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return PERI_OK;
}

/* A text in quotes, with what they need escaped. */
static enum peri_code append_quoted(struct peri_buf *out, const char *name, const char *text)
{
    enum peri_code code = peri_buf_printf(out, "%s=\"", name);
    for (; *text && code == PERI_OK; text++) {
        if (*text == '"' || *text == '\\')
            code = peri_buf_append_byte(out, '\\');
        if (code == PERI_OK)
            code = peri_buf_append_byte(out, *text);
    }
    return code == PERI_OK ? peri_buf_append_text(out, "\"") : code;
}

/* The response of RFC 2617 section 3.2.2; cnonce and nc count with qop "auth" only. */
static enum peri_code respond(char out[HEX_MD5_SIZE], const struct peri_digest *digest,
                              const struct peri_password *user, const char *method, struct peri_str target,
                              const char *cnonce, const char *nc, struct peri_error *err)
{
    char a1[HEX_MD5_SIZE], a2[HEX_MD5_SIZE];
    const struct peri_str secret[] = { peri_str_from(user->username), peri_str_from(digest->realm),
                                       peri_str_from(user->password) };
    const struct peri_str request[] = { peri_str_from(method), target };
    enum peri_code code = hash_joined(a1, secret, 3, err);
    if (code == PERI_OK)
        code = hash_joined(a2, request, 2, err);
    if (code != PERI_OK)
        return code;
    const struct peri_str with_qop[] = {
        { a1, 32 }, peri_str_from(digest->nonce), peri_str_from(nc), peri_str_from(cnonce), peri_str_from("auth"),
        { a2, 32 }
    };
    const struct peri_str without[] = { { a1, 32 }, peri_str_from(digest->nonce), { a2, 32 } };
    code = digest->qop_auth ? hash_joined(out, with_qop, 6, err) : hash_joined(out, without, 3, err);
    peri_secure_zero(a1, sizeof a1);
    return code;
}

enum peri_code peri_digest_sign(struct peri_headers *headers, const struct peri_digest *digest,
                                const struct peri_password *user, const char *method, struct peri_str target,
                                const char *cnonce, unsigned count, struct peri_error *err)
{
    char nc[16], response[HEX_MD5_SIZE];
    struct peri_buf value;
    enum peri_code code = check(user, err);
    if (code != PERI_OK)
        return code;
    snprintf(nc, sizeof nc, "%08x", count);
    code = respond(response, digest, user, method, target, cnonce, nc, err);
    if (code != PERI_OK)
        return code;
    peri_buf_init(&value, VALUE_MAX * 2);
    code = peri_buf_append_text(&value, "Digest ");
    if (code == PERI_OK)
        code = append_quoted(&value, "username", user->username);
    if (code == PERI_OK)
        code = peri_buf_printf(&value, ", realm=\"%s\", nonce=\"%s\", uri=\"%.*s\", response=\"%s\", algorithm=MD5",
                               digest->realm, digest->nonce, (int)target.len, target.data, response);
    if (code == PERI_OK && digest->has_opaque)
        code = peri_buf_printf(&value, ", opaque=\"%s\"", digest->opaque);
    if (code == PERI_OK && digest->qop_auth)
        code = peri_buf_printf(&value, ", qop=auth, nc=%s, cnonce=\"%s\"", nc, cnonce);
    return set_authorization(headers, code, &value, err);
}
