/* SPDX-License-Identifier: MIT */
#include "perilune/uri.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_unreserved(char c)
{
    return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

static struct peri_str slice(const char *from, const char *to)
{
    return (struct peri_str){ from, (size_t)(to - from) };
}

static const char *find(const char *from, const char *end, const char *set)
{
    while (from < end && !strchr(set, *from)) {
        from++;
    }
    return from;
}

/* Narrow on purpose: whatever another parser might split differently, such as a backslash, is refused, because
 * credentials go by the host that is found here. */
static bool host_is_valid(struct peri_str host)
{
    if (host.len == 0) {
        return false;
    }
    if (host.data[0] == '[') {
        for (size_t i = 1; i + 1 < host.len; i++) {
            if (hex_value(host.data[i]) < 0 && host.data[i] != ':' && host.data[i] != '.') {
                return false;
            }
        }
        return host.len > 3 && host.data[host.len - 1] == ']';
    }
    for (size_t i = 0; i < host.len; i++) {
        if (!is_unreserved(host.data[i]) && !((unsigned char)host.data[i] & 0x80)) {
            return false;
        }
    }
    return true;
}

static enum peri_code parse_userinfo(struct peri_str userinfo, struct peri_error *err)
{
    for (size_t i = 0; i < userinfo.len; i++) {
        char c = userinfo.data[i];
        if (c == ':') {
            return peri_error_set(err, PERI_INVALID,
                                  "the URL holds a password: pass credentials as options, not in the URL");
        }
        if (!is_unreserved(c) && !strchr("%!$&'()*+,;=", c)) {
            return peri_error_set(err, PERI_INVALID,
                                  "the URL's user information holds a character that is not allowed");
        }
    }
    return PERI_OK;
}

static enum peri_code parse_port(struct peri_str text, int *port, struct peri_error *err)
{
    if (text.len == 0) {
        return PERI_OK; /* "host:" means the default port */
    }
    int value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.data[i]) || value > 65535) {
            value = 0;
            break;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    if (value < 1 || value > 65535) {
        return peri_error_set(err, PERI_INVALID, "the URL's port is not a number from 1 to 65535");
    }
    *port = value;
    return PERI_OK;
}

static enum peri_code parse_authority(struct peri_str authority, struct peri_uri *out, struct peri_error *err)
{
    const char *p = authority.data, *end = p + authority.len;
    const char *at = memchr(p, '@', authority.len);
    if (at) {
        out->userinfo = slice(p, at);
        enum peri_code code = parse_userinfo(out->userinfo, err);
        if (code != PERI_OK) {
            return code;
        }
        p = at + 1;
    }
    const char *host_end = p < end && *p == '[' ? find(p, end, "]") : find(p, end, ":");
    if (host_end < end && *host_end == ']') {
        host_end++;
    }
    out->host = slice(p, host_end);
    if (!host_is_valid(out->host) || (host_end < end && *host_end != ':')) {
        return peri_error_set(err, PERI_INVALID, "the URL has no valid host name after \"%.*s://\"",
                              (int)out->scheme.len, out->scheme.data);
    }
    return host_end < end ? parse_port(slice(host_end + 1, end), &out->port, err) : PERI_OK;
}

enum peri_code peri_uri_parse(struct peri_str text, struct peri_uri *out, struct peri_error *err)
{
    memset(out, 0, sizeof(*out));
    out->port = -1;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= 0x20 || c == 0x7f) {
            return peri_error_set(err, PERI_INVALID, "the URL holds a blank or control character (at byte %zu)", i + 1);
        }
    }
    const char *p = text.data, *end = p + text.len;
    const char *colon = text.len ? memchr(p, ':', text.len) : NULL;
    if (!colon || end - colon < 3 || colon[1] != '/' || colon[2] != '/') {
        return peri_error_set(err, PERI_INVALID, "the URL is not absolute: it must begin with http:// or https://");
    }
    out->scheme = slice(p, colon);
    if (peri_str_equal_nocase(out->scheme, peri_str_from("http"))) {
        out->port = 80;
    } else if (peri_str_equal_nocase(out->scheme, peri_str_from("https"))) {
        out->port = 443;
    } else {
        return peri_error_set(err, PERI_INVALID, "the URL's scheme must be http or https");
    }
    const char *authority = colon + 3;
    const char *path = find(authority, end, "/?#");
    enum peri_code code = parse_authority(slice(authority, path), out, err);
    if (code != PERI_OK) {
        return code;
    }
    const char *query = find(path, end, "?#");
    out->path = slice(path, query);
    const char *fragment = query;
    if (query < end && *query == '?') {
        fragment = find(query, end, "#");
        out->query = slice(query + 1, fragment);
    }
    if (fragment < end) {
        out->fragment = slice(fragment + 1, end);
    }
    return PERI_OK;
}

bool peri_uri_same_origin(const struct peri_uri *a, const struct peri_uri *b)
{
    return a->port == b->port && peri_str_equal_nocase(a->scheme, b->scheme) && peri_str_equal_nocase(a->host, b->host);
}

enum peri_code peri_uri_encode(struct peri_buf *out, struct peri_str text, const char *keep)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t before = out->len;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        enum peri_code code = PERI_OK;
        if (is_unreserved(c) || (c && keep && strchr(keep, c))) {
            code = peri_buf_append_byte(out, c);
        } else {
            unsigned char u = (unsigned char)c;
            code = peri_buf_append(out, (char[]){ '%', digits[u >> 4], digits[u & 15] }, 3);
        }
        if (code != PERI_OK) {
            out->len = before;
            return code;
        }
    }
    return PERI_OK;
}

enum peri_code peri_uri_decode(struct peri_buf *out, struct peri_str text, bool plus_is_blank)
{
    size_t before = out->len;
    enum peri_code code = PERI_OK;
    for (size_t i = 0; i < text.len && code == PERI_OK; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_value(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                code = PERI_INVALID;
                break;
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        code = peri_buf_append_byte(out, c);
    }
    if (code != PERI_OK) {
        out->len = before;
    }
    return code;
}

static enum peri_code add_pair(struct peri_buf *out, const char *key, struct peri_str value, const char *keep)
{
    size_t before = out->len;
    enum peri_code code = PERI_OK;
    bool has_query = out->len && memchr(out->data, '?', out->len);
    char last = out->len ? out->data[out->len - 1] : '\0';
    if (!has_query) {
        code = peri_buf_append_byte(out, '?');
    } else if (last != '?' && last != '&') {
        code = peri_buf_append_byte(out, '&');
    }
    if (code == PERI_OK) {
        code = peri_uri_encode(out, peri_str_from(key), keep);
    }
    if (code == PERI_OK) {
        code = peri_buf_append_byte(out, '=');
    }
    if (code == PERI_OK) {
        code = peri_uri_encode(out, value, keep);
    }
    if (code != PERI_OK) {
        out->len = before;
    }
    return code;
}

enum peri_code peri_uri_add_query(struct peri_buf *out, const char *key, struct peri_str value)
{
    return add_pair(out, key, value, NULL);
}

enum peri_code peri_uri_add_form(struct peri_buf *out, const char *key, struct peri_str value)
{
    size_t before = out->len;
    enum peri_code code = add_pair(out, key, value, " ");
    for (size_t i = before; i < out->len; i++) {
        if (out->data[i] == ' ') {
            out->data[i] = '+';
        }
    }
    return code;
}

enum peri_code peri_uri_join(struct peri_buf *out, struct peri_str base, struct peri_str path)
{
    while (base.len && base.data[base.len - 1] == '/') {
        base.len--;
    }
    while (path.len && path.data[0] == '/') {
        path.data++;
        path.len--;
    }
    enum peri_code code = peri_buf_reserve(out, base.len + 1 + path.len);
    if (code != PERI_OK) {
        return code;
    }
    code = peri_buf_append_str(out, base);
    if (code == PERI_OK) {
        code = peri_buf_append_byte(out, '/');
    }
    return code == PERI_OK ? peri_buf_append_str(out, path) : code;
}
