/* SPDX-License-Identifier: MIT */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "services/package.h"

struct pattern {
    char *text; /* without the marks that the flags stand for */
    bool negated, folders_only, anchored;
};

struct peri_ignore {
    struct pattern *patterns;
    size_t count, cap;
};

struct peri_ignore *peri__ignore_new(void)
{
    return calloc(1, sizeof(struct peri_ignore));
}

void peri__ignore_free(struct peri_ignore *ignore)
{
    if (!ignore)
        return;
    for (size_t i = 0; i < ignore->count; i++)
        free(ignore->patterns[i].text);
    free(ignore->patterns);
    free(ignore);
}

static bool grow(struct peri_ignore *ignore)
{
    if (ignore->count < ignore->cap)
        return true;
    size_t cap = ignore->cap ? ignore->cap * 2 : 16;
    struct pattern *patterns = realloc(ignore->patterns, cap * sizeof *patterns);
    if (!patterns)
        return false;
    ignore->patterns = patterns;
    ignore->cap = cap;
    return true;
}

enum peri_code peri__ignore_add(struct peri_ignore *ignore, struct peri_str line)
{
    struct pattern pattern = { 0 };
    while (line.len > 0 && (line.data[line.len - 1] == '\r' || line.data[line.len - 1] == '\n'))
        line.len--;
    while (line.len > 0 && line.data[line.len - 1] == ' ' && (line.len < 2 || line.data[line.len - 2] != '\\'))
        line.len--;
    if (line.len == 0 || line.data[0] == '#')
        return PERI_OK;
    if (line.data[0] == '!') {
        pattern.negated = true;
        line.data++;
        line.len--;
    }
    if (line.len > 0 && line.data[line.len - 1] == '/') {
        pattern.folders_only = true;
        line.len--;
    }
    pattern.anchored = line.len > 0 && memchr(line.data, '/', line.len) != NULL;
    if (line.len > 0 && line.data[0] == '/') {
        line.data++;
        line.len--;
    }
    if (line.len == 0)
        return PERI_OK;
    pattern.text = peri_str_dup(line);
    if (!pattern.text || !grow(ignore)) {
        free(pattern.text);
        return PERI_NOMEM;
    }
    ignore->patterns[ignore->count++] = pattern;
    return PERI_OK;
}

/* One step of a path against one step of a pattern, both ending at '/' or NUL. */
static bool step_matches(const char *pattern, size_t pattern_len, const char *path, size_t path_len)
{
    char p[512];
    char s[512];
    if (pattern_len >= sizeof p || path_len >= sizeof s)
        return false;
    memcpy(p, pattern, pattern_len);
    p[pattern_len] = '\0';
    memcpy(s, path, path_len);
    s[path_len] = '\0';
    return fnmatch(p, s, 0) == 0;
}

/* Step by step; a step of two asterisks stands for any number of steps. Depth is bounded by the pattern's steps. */
static bool path_matches(const char *pattern, const char *path) /* NOLINT(misc-no-recursion) */
{
    while (*pattern) {
        size_t pattern_len = strcspn(pattern, "/");
        const char *rest = pattern + pattern_len + (pattern[pattern_len] == '/');
        if (pattern_len == 2 && pattern[0] == '*' && pattern[1] == '*') {
            if (!*rest)
                return *path != '\0';
            for (const char *at = path; at && *at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
                if (path_matches(rest, at))
                    return true;
            return false;
        }
        size_t path_len = strcspn(path, "/");
        if (path_len == 0 || !step_matches(pattern, pattern_len, path, path_len))
            return false;
        pattern = rest;
        path += path_len + (path[path_len] == '/');
    }
    return *path == '\0';
}

bool peri__ignore_match(const struct peri_ignore *ignore, const char *path, bool is_folder)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    for (size_t i = ignore->count; i > 0; i--) {
        const struct pattern *pattern = &ignore->patterns[i - 1];
        if (pattern->folders_only && !is_folder)
            continue;
        if (path_matches(pattern->text, pattern->anchored ? path : base))
            return !pattern->negated;
    }
    return false;
}
