/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "services/package.h"

/* The platform's rules for a Python entry file, as far as they can be told without Python: statements that begin in the
 * first column are found by skipping strings, comments and what is in brackets; nothing is parsed beyond that. */

struct scan {
    const char *p, *end;
    unsigned line;
    unsigned depth; /* of brackets */
};

struct handle {
    unsigned line;       /* 0: none was found */
    unsigned async_line; /* of an `async def handle`, which the platform does not see */
    char bad[64];        /* an argument that it does not pass; empty: all are known */
    unsigned bad_line;
};

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           ((unsigned char)c & 0x80);
}

static bool has(const struct scan *s, const char *text)
{
    size_t len = strlen(text);
    return (size_t)(s->end - s->p) >= len && memcmp(s->p, text, len) == 0;
}

static void step(struct scan *s)
{
    s->line += *s->p == '\n';
    s->p++;
}

static void skip_string(struct scan *s)
{
    const char *quote = has(s, "\"\"\"") ? "\"\"\"" : has(s, "'''") ? "'''" : *s->p == '"' ? "\"" : "'";
    size_t len = strlen(quote);
    s->p += len;
    while (s->p < s->end) {
        if (has(s, quote)) {
            s->p += len;
            return;
        }
        if (len == 1 && *s->p == '\n') /* not closed: Python will complain */
            return;
        if (*s->p == '\\' && s->p + 1 < s->end)
            s->p++;
        step(s);
    }
}

/* Over one string, comment, continued line, or character. */
static void skip(struct scan *s)
{
    char c = *s->p;
    if (c == '"' || c == '\'') {
        skip_string(s);
    } else if (c == '#') {
        while (s->p < s->end && *s->p != '\n')
            s->p++;
    } else if (c == '\\' && s->p + 1 < s->end) {
        s->p++;
        if (*s->p == '\r' && s->p + 1 < s->end && s->p[1] == '\n')
            s->p++;
        step(s);
    } else {
        s->depth += c == '(' || c == '[' || c == '{';
        s->depth -= (c == ')' || c == ']' || c == '}') && s->depth > 0;
        step(s);
    }
}

/* Over blanks, and in brackets over lines and comments too. */
static void skip_blanks(struct scan *s)
{
    while (s->p < s->end) {
        bool blank = *s->p == ' ' || *s->p == '\t' || (s->depth > 0 && (*s->p == '\n' || *s->p == '\r'));
        bool other = *s->p == '\\' || (s->depth > 0 && *s->p == '#');
        if (!blank && !other)
            return;
        skip(s);
    }
}

/* The word at the position, with the blanks behind it; false: another one stands there. */
static bool take_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);
    if (!has(s, word) || (s->p + len < s->end && is_name(s->p[len])))
        return false;
    s->p += len;
    skip_blanks(s);
    return true;
}

static bool is_passed(const char *name, size_t len)
{
    static const char *const passed[] = { "client", "data", "secrets", "function_call_info" };
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (strlen(passed[i]) == len && memcmp(passed[i], name, len) == 0)
            return true;
    return false;
}

/* Over an argument's annotation and default, to the comma or the bracket behind it. */
static void skip_value(struct scan *s, unsigned depth)
{
    bool in_lambda = false; /* its own arguments have commas too */
    while (s->p < s->end && s->depth >= depth && (in_lambda || s->depth > depth || *s->p != ',')) {
        const char *word = s->p;
        if (take_word(s, "lambda"))
            in_lambda = in_lambda || s->depth == depth;
        if (s->p > word)
            continue;
        in_lambda = in_lambda && !(s->depth == depth && *s->p == ':');
        if (is_name(*s->p))
            while (s->p < s->end && is_name(*s->p))
                s->p++;
        else
            skip(s);
    }
}

/* After "def handle": notes the first plain argument that the platform does not pass. Those behind a star, and those
 * before a slash, are not looked at, as the platform's own package does. */
static void read_arguments(struct scan *s, struct handle *found)
{
    while (s->p < s->end && *s->p != '(' && *s->p != '\n')
        skip(s); /* type parameters */
    if (s->p == s->end || *s->p != '(')
        return;
    unsigned outside = s->depth;
    skip(s);
    while (s->p < s->end && s->depth > outside) {
        skip_blanks(s);
        if (s->p == s->end || *s->p == '*')
            return;
        if (*s->p == '/')
            found->bad[0] = '\0';
        const char *name = s->p;
        while (s->p < s->end && is_name(*s->p))
            s->p++;
        size_t len = (size_t)(s->p - name);
        if (len > 0 && !found->bad[0] && !is_passed(name, len)) {
            size_t kept = len < sizeof found->bad ? len : sizeof found->bad - 1;
            memcpy(found->bad, name, kept);
            found->bad[kept] = '\0';
            found->bad_line = s->line;
        }
        skip_value(s, outside + 1);
        if (s->p < s->end && *s->p == ',')
            skip(s);
    }
}

/* A statement that begins here, at the top level. */
static void read_statement(struct scan *s, struct handle *found)
{
    unsigned line = s->line;
    bool is_async = take_word(s, "async");
    if (take_word(s, "def")) {
        if (!take_word(s, "handle"))
            return;
        if (is_async) {
            found->async_line = line;
            return;
        }
        *found = (struct handle){ .line = line };
        read_arguments(s, found);
    } else if (take_word(s, "handle") && s->p < s->end &&
               (*s->p == ':' || (*s->p == '=' && !(s->p + 1 < s->end && s->p[1] == '=')))) {
        *found = (struct handle){ .line = line };
    }
}

static struct handle find_handle(struct peri_str text)
{
    struct handle found = { 0 };
    struct scan s = { .p = text.data, .end = text.data + text.len, .line = 1 };
    if (has(&s, "\xEF\xBB\xBF"))
        s.p += 3;
    bool begins = true; /* a statement of the top level may begin here */
    bool top = true;    /* the line does not belong to a block */
    while (s.p < s.end) {
        if (begins && is_name(*s.p))
            read_statement(&s, &found);
        if (s.p == s.end)
            break;
        char c = *s.p;
        bool inside = s.depth > 0;
        skip(&s);
        if (inside)
            begins = false;
        else if (c == '\n')
            begins = top = true;
        else if (begins && top && (c == ' ' || c == '\t'))
            begins = top = false;
        else
            begins = top && (c == ';' || (begins && c == '\f'));
        if (c == ';' && begins)
            skip_blanks(&s);
    }
    return found;
}

enum peri_code peri__python_check(const char *path, struct peri_str text, struct peri_error *err)
{
    struct handle found = find_handle(text);
    if (found.line == 0 && found.async_line > 0)
        return peri_error_set(err, PERI_PACKAGE,
                              "%s:%u: the platform does not see 'async def handle'; write 'def handle'", path,
                              found.async_line);
    if (found.line == 0)
        return peri_error_set(
            err, PERI_PACKAGE,
            "%s: no function 'handle' at the top level, for example: def handle(client, data):", path);
    if (found.bad[0])
        return peri_error_set(err, PERI_PACKAGE,
                              "%s:%u: handle has an argument '%s'; the platform passes only client, data, secrets and "
                              "function_call_info, by these names",
                              path, found.bad_line, found.bad);
    return PERI_OK;
}
