/* SPDX-License-Identifier: MIT */
#include "host/api/request_meta.h"

#include <string.h>
#include <strings.h>

#include "host/api/json_writer.h"

struct scan {
    struct peri_json_writer w;
    const struct peri_http_req *req;
    uint64_t seen; /* a bit per (first letter, length): tells while writing that a name may be repeated */
    bool repeated;
    const char *name; /* the one looked for */
    size_t index, limit, hits;
    struct peri_buf joined;
};

static void note_name(struct scan *s, const char *name)
{
    uint64_t bit = UINT64_C(1) << (((unsigned)(name[0] | 0x20) * 7U + (unsigned)strlen(name)) & 63U);
    s->repeated = s->repeated || (s->seen & bit) != 0;
    s->seen |= bit;
}

static void write_name(struct scan *s, const char *name)
{
    char lower[128];
    size_t len = 0;
    for (; len < sizeof lower - 1 && name[len] != '\0'; len++)
        lower[len] = name[len] >= 'A' && name[len] <= 'Z' ? (char)(name[len] | 0x20) : name[len];
    peri_jw_text(&s->w, (struct peri_str){ lower, len });
    peri_buf_append_byte(s->w.out, ':');
    s->w.comma = false;
}

static void write_header(void *data, const char *name, const char *value)
{
    struct scan *s = data;
    note_name(s, name);
    if (s->repeated || strcasecmp(name, "authorization") == 0)
        return;
    write_name(s, name);
    peri_jw_text(&s->w, peri_str_from(value));
}

static void count_earlier(void *data, const char *name, const char *value)
{
    struct scan *s = data;
    (void)value;
    if (s->index++ < s->limit && strcasecmp(name, s->name) == 0)
        s->hits++;
}

static void join_value(void *data, const char *name, const char *value)
{
    struct scan *s = data;
    if (strcasecmp(name, s->name) != 0)
        return;
    if (s->hits++ > 0)
        peri_buf_append_text(&s->joined, ", ");
    peri_buf_append_text(&s->joined, value);
}

static void write_joined(void *data, const char *name, const char *value)
{
    struct scan *s = data;
    struct scan inner = { .name = name, .limit = s->index++ };
    (void)value;
    peri_http_each_header(s->req, count_earlier, &inner);
    if (inner.hits > 0 || strcasecmp(name, "authorization") == 0)
        return;
    peri_buf_init(&inner.joined, 64 * 1024);
    peri_http_each_header(s->req, join_value, &inner);
    write_name(s, name);
    peri_jw_text(&s->w, peri_buf_str(&inner.joined));
    peri_buf_fini(&inner.joined);
}

static void write_query(void *data, const char *name, const char *value)
{
    struct scan *s = data;
    peri_jw_text(&s->w, peri_str_from(name));
    peri_buf_append_byte(s->w.out, ':');
    s->w.comma = false;
    peri_jw_text(&s->w, peri_str_from(value));
}

enum peri_code peri_request_meta(const struct peri_http_req *req, struct peri_buf *out)
{
    struct scan s = { .w = { .out = out }, .req = req };
    peri_jw_open(&s.w, '{');
    peri_jw_key_text(&s.w, "method", peri_http_method(req));
    peri_jw_key_text(&s.w, "path", peri_http_path(req));
    peri_jw_key(&s.w, "query");
    peri_jw_open(&s.w, '{');
    peri_http_each_query(req, write_query, &s);
    peri_jw_close(&s.w, '}');
    peri_jw_key(&s.w, "headers");
    peri_jw_open(&s.w, '{');
    size_t mark = out->len;
    peri_http_each_header(req, write_header, &s);
    if (s.repeated) { /* once more, with the values of equal names joined */
        peri_buf_truncate(out, mark);
        s.w.comma = false;
        peri_http_each_header(req, write_joined, &s);
    }
    peri_jw_close(&s.w, '}');
    peri_jw_opt_text(&s.w, "content_type", peri_http_content_type(req));
    peri_jw_close(&s.w, '}');
    return s.w.failed ? PERI_NOMEM : PERI_OK;
}

enum peri_input peri_request_input(const struct peri_http_req *req)
{
    const char *type = peri_http_content_type(req);
    if (type == NULL || type[0] == '\0')
        return PERI_INPUT_JSON;
    size_t len = strcspn(type, "; \t");
    if (len == 16 && strncasecmp(type, "application/json", 16) == 0)
        return PERI_INPUT_JSON;
    return len > 5 && strncasecmp(type + len - 5, "+json", 5) == 0 ? PERI_INPUT_JSON : PERI_INPUT_BYTES;
}
