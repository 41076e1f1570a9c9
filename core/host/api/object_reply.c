/* SPDX-License-Identifier: MIT */
#include "host/api/object_reply.h"

#include <stdio.h>

#define ETAG_OF_NOTHING "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""

void peri_reply_object(struct peri_engine *engine, struct peri_http_req *req, const struct peri_file_object *object)
{
    struct peri_error err = PERI_ERROR_INIT;
    char etag[72];
    int fd = -1;
    if (peri_engine_object_open(engine, object, &fd, &err) != PERI_OK) {
        peri_http_reply_error(req, 0, &err);
        return;
    }
    snprintf(etag, sizeof etag, "\"%s\"", object->hash);
    peri_http_reply_file(req, fd, object->size, "application/octet-stream", fd < 0 ? ETAG_OF_NOTHING : etag);
}
