/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "host/http_private.h"
#include "host/size.h"

/* A file as the answer, by sendfile. */

struct span {
    int64_t first, end; /* end: behind the last byte */
};

enum wish { WHOLE, PART, NOTHING };

/* One range of bytes (RFC 9110 section 14.2). Several, another unit, or nonsense: the whole, as the RFC allows. */
static enum wish parse_range(const char *text, int64_t size, struct span *out)
{
    char first[24], last[24];
    uint64_t from = 0, to = 0;
    if (text == NULL || strncasecmp(text, "bytes=", 6) != 0)
        return WHOLE;
    text += 6;
    size_t left = strspn(text, "0123456789"), right = text[left] == '-' ? strspn(text + left + 1, "0123456789") : 0;
    if (text[left] != '-' || text[left + 1 + right] != '\0' || left + right == 0 || left >= sizeof first ||
        right >= sizeof last)
        return WHOLE;
    snprintf(first, sizeof first, "%.*s", (int)left, text);
    snprintf(last, sizeof last, "%s", text + left + 1);
    if ((left > 0 && !peri_number_parse(first, INT64_MAX - 1, &from)) ||
        (right > 0 && !peri_number_parse(last, INT64_MAX - 1, &to)) || (left > 0 && right > 0 && to < from))
        return WHOLE;
    if (left == 0) {
        *out = (struct span){ (int64_t)to < size ? size - (int64_t)to : 0, size };
        return to == 0 || size == 0 ? NOTHING : PART;
    }
    *out = (struct span){ (int64_t)from, right > 0 && (int64_t)to < size ? (int64_t)to + 1 : size };
    return (int64_t)from < size ? PART : NOTHING;
}

/* Whether a list of entity tags has this one (or is *). */
static bool names(const char *list, const char *etag)
{
    size_t len = strlen(etag);
    if (list == NULL)
        return false;
    if (strcmp(list, "*") == 0)
        return true;
    for (const char *at = strstr(list, etag); at != NULL; at = strstr(at + 1, etag)) {
        if (at[len] == '\0' || strchr(", \t", at[len]) != NULL)
            return true;
    }
    return false;
}

static void reply_empty(struct peri_http_req *req, int fd, int status)
{
    if (fd >= 0)
        close(fd);
    peri_http_reply(req, status, NULL, (struct peri_str){ "", 0 });
}

void peri_http_reply_file(struct peri_http_req *req, int fd, int64_t size, const char *content_type, const char *etag)
{
    struct span span = { 0, size };
    char text[80];
    const char *wanted = peri_http_header(req, "If-Range");
    peri_http_set_header(req, "ETag", etag);
    peri_http_set_header(req, "Accept-Ranges", "bytes");
    if (names(peri_http_header(req, "If-None-Match"), etag)) {
        reply_empty(req, fd, 304);
        return;
    }
    enum wish wish =
        wanted != NULL && strcmp(wanted, etag) != 0 ? WHOLE : parse_range(peri_http_header(req, "Range"), size, &span);
    if (wish == NOTHING) {
        snprintf(text, sizeof text, "bytes */%" PRId64, size);
        peri_http_set_header(req, "Content-Range", text);
        reply_empty(req, fd, 416);
        return;
    }
    if (wish == PART) {
        snprintf(text, sizeof text, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, span.first, span.end - 1, size);
        peri_http_set_header(req, "Content-Range", text);
    }
    if (span.end == span.first || req->state == PERI__REQ_DEAD || req->response != NULL) {
        reply_empty(req, fd, 200);
        return;
    }
    struct MHD_Response *response =
        MHD_create_response_from_fd_at_offset64((uint64_t)(span.end - span.first), fd, (uint64_t)span.first);
    if (response == NULL) {
        reply_empty(req, fd, 500);
        return;
    }
    peri__http_finish(req, wish == PART ? 206 : 200, content_type, response);
}
