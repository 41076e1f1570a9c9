/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/cim_private.h"

/* file_upload.upload_new_file, upload_file_content and temp_file.upload: make the file, ask where its chunks go, send
 * them, say that they are there; and when anything fails after the second step, give the upload up. */

#define LOCK_ID_LENGTH 12
#define ABORT_WITHIN_MS 5000

enum phase { START, RESERVE, CREATE, PRESIGN, CHUNKS, COMPLETE, ABORT };

/* How the kinds of upload differ. */
static const struct variant {
    const char *operation;
    const struct peri_operation *create; /* NULL: the file is there already */
    const char *id;                      /* of what is uploaded to */
    const struct peri_operation *complete, *abort;
    unsigned requests;        /* that count in the rate limit, the abort among them */
    bool presigned_by_create; /* and without a lock */
    bool delete_derived;      /* by default */
} variants[] = {
    { "file_upload.upload_new_file", &peri_cim__create, "file_object_id", &peri_cim__complete, &peri_cim__abort, 4,
      false, false },
    { "file_upload.upload_file_content", NULL, "file_object_id", &peri_cim__complete, &peri_cim__abort, 3, false,
      true },
    { "temp_file.upload", &peri_cim__temp_create, "temp_file_id", &peri_cim__temp_complete, &peri_cim__temp_abort, 3,
      true, false },
};

struct upload {
    const struct variant *variant;
    enum phase phase;
    struct peri_reader *source;
    int64_t size;
    size_t concurrency;
    json_t *id;
    char lock_id[LOCK_ID_LENGTH + 1];
    struct peri_cim__presigned presigned;
    struct peri_error first; /* what the abort follows */
};

static json_t *option(const struct peri_flow *flow, const char *name)
{
    json_t *value = json_object_get(peri_flow_args(flow), name);
    return json_is_null(value) ? NULL : value;
}

static json_t *flag(const struct peri_flow *flow, const char *name, bool initial)
{
    json_t *value = option(flow, name);
    return value ? json_incref(value) : json_boolean(initial);
}

/* ---- before anything is sent ---- */

static enum peri_code check_size(struct peri_flow *flow, struct peri_error *err)
{
    struct upload *upload = peri_flow_state(flow);
    const json_t *filesize = option(flow, "filesize");
    upload->size = peri_reader_size(upload->source);
    if (!filesize)
        return upload->size >= 0
                   ? PERI_OK
                   : peri_error_set(err, PERI_INVALID,
                                    "the stream can't seek, so its size is not known: say it with filesize");
    json_int_t said = json_integer_value(filesize);
    if (said < 0)
        return peri_error_set(err, PERI_INVALID, "option 'filesize' must not be negative");
    if (upload->size >= 0 && upload->size != said)
        return peri_error_set(err, PERI_INVALID,
                              "option 'filesize' says %" JSON_INTEGER_FORMAT " bytes, but the stream has %lld", said,
                              (long long)upload->size);
    upload->size = said;
    return PERI_OK;
}

static enum peri_code read_options(struct peri_flow *flow, struct peri_error *err)
{
    struct upload *upload = peri_flow_state(flow);
    const json_t *concurrency = option(flow, "concurrency");
    const json_t *stream = option(flow, "stream");
    struct peri_call_streams *streams = peri_flow_streams(flow);
    upload->concurrency = 1;
    if (concurrency) {
        json_int_t given = json_integer_value(concurrency);
        if (given < 1 || given > PERI_CIM_CONCURRENCY_MAX)
            return peri_error_set(err, PERI_INVALID,
                                  "option 'concurrency' must be from 1 to %d, not %" JSON_INTEGER_FORMAT,
                                  PERI_CIM_CONCURRENCY_MAX, given);
        upload->concurrency = (size_t)given;
    }
    if (json_string_length(option(flow, "persno")) == 0)
        return peri_error_set(err, PERI_INVALID, "option 'persno' must not be empty");
    if (streams->content && stream)
        return peri_error_set(err, PERI_INVALID, "option 'stream' is one source of the content too many");
    upload->source = streams->content;
    streams->content = NULL;
    if (!upload->source)
        upload->source =
            peri_reader_borrowed((struct peri_str){ json_string_value(stream), json_string_length(stream) }, err);
    return upload->source ? check_size(flow, err) : PERI_NOMEM;
}

/* ---- the steps ---- */

static void send_step(struct peri_flow *flow, enum phase phase, const struct peri_operation *operation, json_t *args,
                      const struct peri_call_streams *streams)
{
    struct upload *upload = peri_flow_state(flow);
    upload->phase = phase;
    peri_flow_send(flow, operation, args, streams);
}

static void create(struct peri_flow *flow)
{
    struct upload *upload = peri_flow_state(flow);
    json_t *args = NULL;
    if (upload->variant->presigned_by_create)
        args =
            json_pack("{s:O, s:O*, s:I, s:O}", "filename", option(flow, "filename"), "mimetype",
                      option(flow, "mimetype"), "filesize", (json_int_t)upload->size, "persno", option(flow, "persno"));
    else
        args = json_pack("{s:O, s:O, s:O, s:o}", "parent_object_id", option(flow, "parent_object_id"), "filename",
                         option(flow, "filename"), "persno", option(flow, "persno"), "check_access",
                         flag(flow, "check_access", true));
    send_step(flow, CREATE, upload->variant->create, args, NULL);
}

static void presign(struct peri_flow *flow)
{
    struct upload *upload = peri_flow_state(flow);
    peri_random_letters(peri_client_random(peri_flow_client(flow)), upload->lock_id, LOCK_ID_LENGTH);
    send_step(flow, PRESIGN, &peri_cim__presign,
              json_pack("{s:O, s:I, s:o, s:O, s:s}", "file_object_id", upload->id, "filesize", (json_int_t)upload->size,
                        "check_access", flag(flow, "check_access", true), "persno", option(flow, "persno"), "lock_id",
                        upload->lock_id),
              NULL);
}

static void send_chunks(struct peri_flow *flow)
{
    struct upload *upload = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    char name[64];
    snprintf(name, sizeof name, "cim.%s", upload->variant->operation);
    struct peri_cim__chunks_options options = {
        .client = peri_flow_client(flow),
        .retry = peri_flow_service(flow)->retry,
        .presigned = &upload->presigned,
        .source = upload->source,
        .size = upload->size,
        .concurrency = upload->concurrency,
        .operation = name,
        .uploaded = peri_flow_streams(flow)->uploaded,
        .uploaded_data = peri_flow_streams(flow)->progress_data,
    };
    upload->phase = CHUNKS;
    peri_flow_then(flow, peri_cim__chunks_new(&options, &err), &err);
}

/* What complete and abort have in common; new. echo NULL: out of memory. */
static json_t *closing_args(struct peri_flow *flow, json_t *echo)
{
    struct upload *upload = peri_flow_state(flow);
    if (upload->variant->presigned_by_create)
        return json_pack("{s:O, s:o, s:O}", upload->variant->id, upload->id, "presigned_write_urls", echo, "persno",
                         option(flow, "persno"));
    return json_pack("{s:O, s:o, s:s, s:O}", upload->variant->id, upload->id, "presigned_write_urls", echo, "lock_id",
                     upload->lock_id, "persno", option(flow, "persno"));
}

static void complete(struct peri_flow *flow, const struct peri_op *chunks)
{
    struct upload *upload = peri_flow_state(flow);
    json_t *args = closing_args(flow, peri_cim__presigned_echo(&upload->presigned, peri_cim__chunks_etags(chunks)));
    if (args && !upload->variant->presigned_by_create &&
        (json_object_set_new(args, "filesize", json_integer(upload->size)) != 0 ||
         json_object_set_new(args, "check_access", flag(flow, "check_access", true)) != 0 ||
         json_object_set_new(args, "sha256", json_string(peri_cim__chunks_sha256(chunks))) != 0 ||
         json_object_set_new(args, "delete_derived_files",
                             flag(flow, "delete_derived_files", upload->variant->delete_derived)) != 0)) {
        json_decref(args);
        args = NULL;
    }
    send_step(flow, COMPLETE, upload->variant->complete, args, NULL);
}

static void succeed(struct peri_flow *flow)
{
    struct upload *upload = peri_flow_state(flow);
    if (upload->variant->create)
        peri_flow_finish_value(flow, upload->id);
    else
        peri_flow_finish_json(flow, peri_str_from("null"));
}

/* ---- giving up ---- */

static void add_note(struct peri_error *err, const char *format, const char *text)
{
    size_t len = strlen(err->message);
    snprintf(err->message + len, sizeof err->message - len, format, text);
}

/* The end. Nobody can remove an empty file object; at least its name is told. */
static void fail(struct peri_flow *flow, const struct peri_error *err)
{
    struct upload *upload = peri_flow_state(flow);
    struct peri_error failure = *err;
    if (upload->id && upload->variant->create == &peri_cim__create)
        add_note(&failure, "; the new file object %.100s stays behind, empty", json_string_value(upload->id));
    peri_flow_fail(flow, &failure);
}

static void give_up(struct peri_flow *flow, const struct peri_error *err)
{
    struct upload *upload = peri_flow_state(flow);
    static const struct peri_call_streams bounded = { .timeout_ms = ABORT_WITHIN_MS };
    if (!upload->presigned.echo) {
        fail(flow, err);
        return;
    }
    upload->first = *err;
    send_step(flow, ABORT, upload->variant->abort, closing_args(flow, json_incref(upload->presigned.echo)), &bounded);
}

static void given_up(struct peri_flow *flow, struct peri_op *child)
{
    struct upload *upload = peri_flow_state(flow);
    if (peri_op_code(child) != PERI_OK)
        add_note(&upload->first, "; the abort failed too: %s", peri_op_error(child)->message);
    fail(flow, &upload->first);
}

static void cancelled(struct peri_flow *flow)
{
    struct upload *upload = peri_flow_state(flow);
    static const struct peri_call_streams bounded = { .timeout_ms = ABORT_WITHIN_MS };
    if (!upload->presigned.echo || upload->phase == ABORT)
        return;
    json_t *args = closing_args(flow, json_incref(upload->presigned.echo));
    if (args)
        peri_flow_leave(flow, peri_service_send(peri_flow_client(flow), peri_flow_service(flow), upload->variant->abort,
                                                args, &bounded, NULL));
    json_decref(args);
}

/* ---- the answers ---- */

static void take_presigned(struct peri_flow *flow, const json_t *answer)
{
    struct upload *upload = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    if (peri_cim__presigned_read(&upload->presigned, answer, upload->size, &err) == PERI_OK)
        send_chunks(flow);
    else
        give_up(flow, &err);
}

static void created(struct peri_flow *flow, struct peri_op *child)
{
    struct upload *upload = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    json_t *answer = peri_op_json(child, &err);
    json_t *id = json_object_get(answer, upload->variant->id);
    if (json_string_length(id) == 0) {
        if (err.code == PERI_OK)
            peri_error_set(&err, PERI_PROTOCOL, "the answer to the new file has no '%s'", upload->variant->id);
        fail(flow, &err);
        return;
    }
    upload->id = json_incref(id);
    if (upload->variant->presigned_by_create)
        take_presigned(flow, json_object_get(answer, "presigned_write_urls"));
    else
        presign(flow);
}

static void presigned(struct peri_flow *flow, struct peri_op *child)
{
    struct peri_error err = PERI_ERROR_INIT;
    const json_t *answer = peri_op_json(child, &err);
    if (err.code == PERI_NOMEM)
        fail(flow, &err);
    else
        take_presigned(flow, answer);
}

static void start(struct peri_flow *flow)
{
    struct upload *upload = peri_flow_state(flow);
    struct peri_error err = PERI_ERROR_INIT;
    const char *name = peri_flow_operation(flow)->name;
    peri_flow_on_cancel(flow, cancelled);
    peri_cim__presigned_init(&upload->presigned);
    upload->variant = variants;
    while (strcmp(upload->variant->operation, name) != 0)
        upload->variant++;
    upload->phase = RESERVE;
    if (read_options(flow, &err) == PERI_OK)
        peri_flow_reserve(flow, upload->variant->requests);
    else
        peri_flow_fail(flow, &err);
}

static void begin(struct peri_flow *flow)
{
    struct upload *upload = peri_flow_state(flow);
    if (upload->variant->create) {
        create(flow);
    } else {
        upload->id = json_incref(option(flow, upload->variant->id));
        presign(flow);
    }
}

static void failed(struct peri_flow *flow, struct peri_op *child)
{
    static const char *const steps[] = {
        [CREATE] = "the new file",
        [PRESIGN] = "the presigned URLs",
        [COMPLETE] = "the end of the upload",
    };
    struct upload *upload = peri_flow_state(flow);
    struct peri_error err = *peri_op_error(child);
    if (steps[upload->phase])
        peri_error_prefix(&err, "%s", steps[upload->phase]);
    give_up(flow, &err);
}

static void step(struct peri_flow *flow, struct peri_op *child)
{
    struct upload *upload = peri_flow_state(flow);
    if (child && upload->phase != ABORT && peri_op_code(child) != PERI_OK) {
        failed(flow, child);
        return;
    }
    switch (upload->phase) {
    case START:
        start(flow);
        break;
    case RESERVE:
        begin(flow);
        break;
    case CREATE:
        created(flow, child);
        break;
    case PRESIGN:
        presigned(flow, child);
        break;
    case CHUNKS:
        complete(flow, child);
        break;
    case COMPLETE:
        succeed(flow); /* whatever the answer holds: its status says that the upload is finished */
        break;
    case ABORT:
        given_up(flow, child);
        break;
    }
}

static void timed_out(struct peri_flow *flow, struct peri_error *err)
{
    struct upload *upload = peri_flow_state(flow);
    if (upload->phase == ABORT)
        *err = upload->first;
    else if (upload->presigned.echo)
        give_up(flow, err);
}

static void fini(void *data)
{
    struct upload *upload = data;
    peri_reader_free(upload->source);
    json_decref(upload->id);
    peri_cim__presigned_fini(&upload->presigned);
}

const struct peri_flow_kind peri_cim__upload = { sizeof(struct upload), step, fini, timed_out };
