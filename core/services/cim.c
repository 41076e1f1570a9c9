/* SPDX-License-Identifier: MIT */
#include "perilune/cim.h"

#include "client/table.h"
#include "services/cim_private.h"

#define OF_GENERATOR PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_QUERY, true, "the generator's name")
#define OF_FILE                                                                                                        \
    PERI_FIELD("file_object_id", NULL, PERI_STRING, PERI_IN_PATH, true, "the file object's id, as create gave it")
#define OF_TEMP_FILE PERI_FIELD("temp_file_id", NULL, PERI_STRING, PERI_IN_PATH, true, "the temporary file's id")
#define PERSNO PERI_FIELD("persno", NULL, PERI_STRING, PERI_IN_BODY, true, "the user's id")
#define CHECK_ACCESS                                                                                                   \
    PERI_FIELD_INITIAL("check_access", NULL, PERI_BOOLEAN, PERI_IN_BODY, "whether the user must have the right", "true")
#define FILESIZE PERI_FIELD("filesize", NULL, PERI_INTEGER, PERI_IN_BODY, true, "bytes")
#define LOCK_ID PERI_FIELD("lock_id", NULL, PERI_STRING, PERI_IN_BODY, true, "of this upload")
#define PRESIGNED PERI_FIELD("presigned_write_urls", NULL, PERI_OBJECT, PERI_IN_BODY, true, "as they came")

/* What all uploads take. */
#define UPLOAD_FIELDS                                                                                                  \
    PERI_FIELD("stream", NULL, PERI_STREAM, PERI_IN_FLOW, true, "the content"),                                        \
        PERI_FIELD("persno", NULL, PERI_STRING, PERI_IN_FLOW, true, "the user's id"),                                  \
        PERI_FIELD("filesize", NULL, PERI_INTEGER, PERI_IN_FLOW, false, "bytes; needed when the stream can't seek"),   \
        PERI_FIELD("concurrency", NULL, PERI_INTEGER, PERI_IN_FLOW, false,                                             \
                   "chunks under way at once, 1 to 16, of a stream that can seek; default 1")

static const struct peri_field number_fields[] = { OF_GENERATOR };
static const struct peri_field numbers_fields[] = {
    OF_GENERATOR,
    PERI_FIELD("count", NULL, PERI_INTEGER, PERI_IN_QUERY, true, "how many, 1 to 100"),
};
static const struct peri_field new_file_fields[] = {
    PERI_FIELD("parent_object_id", NULL, PERI_STRING, PERI_IN_FLOW, true, "cdb_object_id of what the file belongs to"),
    PERI_FIELD("filename", NULL, PERI_STRING, PERI_IN_FLOW, true, "the file's name"),
    UPLOAD_FIELDS,
    PERI_FIELD("check_access", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false, "default true"),
};
static const struct peri_field content_fields[] = {
    PERI_FIELD("file_object_id", NULL, PERI_STRING, PERI_IN_FLOW, true, "the file object's id"),
    UPLOAD_FIELDS,
    PERI_FIELD("check_access", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false, "default true"),
    PERI_FIELD("delete_derived_files", NULL, PERI_BOOLEAN, PERI_IN_FLOW, false,
               "whether converted files are removed and made anew; default true"),
};
static const struct peri_field temp_fields[] = {
    PERI_FIELD("filename", NULL, PERI_STRING, PERI_IN_FLOW, true, "1 to 255 characters"),
    PERI_FIELD("mimetype", NULL, PERI_STRING, PERI_IN_FLOW, false, "default application/octet-stream"),
    UPLOAD_FIELDS,
};
static const struct peri_field file_fields[] = { OF_FILE };

static const struct peri_operation operations[] = {
    { .name = "generator.get_number",
      PERI_FIELDS(number_fields),
      .body = PERI_BODY_FLOW,
      .shape = PERI_SHAPE_RAW,
      .flow = &peri_cim__get_number,
      .help = "the next number of a generator" },
    { .name = "generator.get_numbers",
      PERI_FIELDS(numbers_fields),
      .body = PERI_BODY_FLOW,
      .shape = PERI_SHAPE_RAW,
      .flow = &peri_cim__get_numbers,
      .help = "the next numbers of a generator" },
    { .name = "file_upload.upload_new_file",
      PERI_FIELDS(new_file_fields),
      .body = PERI_BODY_FLOW,
      .shape = PERI_SHAPE_RAW,
      .flow = &peri_cim__upload,
      .help = "makes a file object with this content; its id" },
    { .name = "file_upload.upload_file_content",
      PERI_FIELDS(content_fields),
      .body = PERI_BODY_FLOW,
      .shape = PERI_SHAPE_NONE,
      .flow = &peri_cim__upload,
      .help = "gives a file object new content" },
    { .name = "temp_file.upload",
      PERI_FIELDS(temp_fields),
      .body = PERI_BODY_FLOW,
      .shape = PERI_SHAPE_RAW,
      .flow = &peri_cim__upload,
      .help = "makes a file that its user can fetch once; its id" },
    { .name = "files.retrieve",
      .method = "GET",
      .path = "/files/{file_object_id}",
      PERI_FIELDS(file_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_RAW,
      .help = "name, size, hash, parent and lock of a file" },
    { .name = "files.download",
      .method = "GET",
      .path = "/files/{file_object_id}/content",
      PERI_FIELDS(file_fields),
      .idempotent = true,
      .shape = PERI_SHAPE_BYTES,
      .help = "a file's content" },
};

static const struct peri_field numgen_fields[] = {
    OF_GENERATOR,
    PERI_FIELD("count", NULL, PERI_INTEGER, PERI_IN_QUERY, true, "how many"),
};
/* Asked again after its answer was lost, it would use up other numbers: not idempotent. */
const struct peri_operation peri_cim__numgen = {
    .name = "generator.numgen",
    .method = "GET",
    .path = "/numgen",
    PERI_FIELDS(numgen_fields),
    .shape = PERI_SHAPE_FIELD,
    .result_field = "numbers",
};

static const struct peri_field create_fields[] = {
    PERI_FIELD("parent_object_id", NULL, PERI_STRING, PERI_IN_BODY, true, "cdb_object_id"),
    PERI_FIELD("filename", NULL, PERI_STRING, PERI_IN_BODY, true, "the file's name"),
    PERSNO,
    CHECK_ACCESS,
};
const struct peri_operation peri_cim__create = {
    .name = "file_upload.create",
    .method = "POST",
    .path = "/file_upload/create",
    PERI_FIELDS(create_fields),
    .body = PERI_BODY_OBJECT,
    .shape = PERI_SHAPE_RAW,
};

static const struct peri_field presign_fields[] = { OF_FILE, FILESIZE, CHECK_ACCESS, PERSNO, LOCK_ID };
const struct peri_operation peri_cim__presign = {
    .name = "file_upload.generate_presigned_url",
    .method = "POST",
    .path = "/file_upload/{file_object_id}/generate_presigned_url",
    PERI_FIELDS(presign_fields),
    .body = PERI_BODY_OBJECT,
    .shape = PERI_SHAPE_RAW,
};

static const struct peri_field complete_fields[] = {
    OF_FILE,
    FILESIZE,
    CHECK_ACCESS,
    PERSNO,
    PRESIGNED,
    PERI_FIELD("sha256", NULL, PERI_STRING, PERI_IN_BODY, true, "of the content, hexadecimal"),
    LOCK_ID,
    PERI_FIELD("delete_derived_files", NULL, PERI_BOOLEAN, PERI_IN_BODY, true, "make converted files anew"),
};
const struct peri_operation peri_cim__complete = {
    .name = "file_upload.complete",
    .method = "POST",
    .path = "/file_upload/{file_object_id}/complete",
    PERI_FIELDS(complete_fields),
    .body = PERI_BODY_OBJECT,
};

static const struct peri_field abort_fields[] = { OF_FILE, PRESIGNED, LOCK_ID, PERSNO };
const struct peri_operation peri_cim__abort = {
    .name = "file_upload.abort",
    .method = "POST",
    .path = "/file_upload/{file_object_id}/abort",
    PERI_FIELDS(abort_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
};

static const struct peri_field temp_create_fields[] = {
    PERI_FIELD("filename", NULL, PERI_STRING, PERI_IN_BODY, true, "the file's name"),
    PERI_FIELD_INITIAL("mimetype", NULL, PERI_STRING, PERI_IN_BODY, "what it is", "\"application/octet-stream\""),
    FILESIZE,
    PERSNO,
};
const struct peri_operation peri_cim__temp_create = {
    .name = "temp_file.create",
    .method = "POST",
    .path = "/temp_file/create",
    PERI_FIELDS(temp_create_fields),
    .body = PERI_BODY_OBJECT,
    .shape = PERI_SHAPE_RAW,
};

static const struct peri_field temp_end_fields[] = { OF_TEMP_FILE, PRESIGNED, PERSNO };
const struct peri_operation peri_cim__temp_complete = {
    .name = "temp_file.complete",
    .method = "POST",
    .path = "/temp_file/{temp_file_id}/complete",
    PERI_FIELDS(temp_end_fields),
    .body = PERI_BODY_OBJECT,
};
const struct peri_operation peri_cim__temp_abort = {
    .name = "temp_file.abort",
    .method = "POST",
    .path = "/temp_file/{temp_file_id}/abort",
    PERI_FIELDS(temp_end_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
};

/* What the platform allows a token (sheet, section 3.10). */
static const struct peri_rate_limit rate_limit = { .requests = 100, .window_ms = 60000, .mode = PERI_LIMIT_WAIT };

const struct peri_service peri_cim = {
    .name = "cim",
    .operations = operations,
    .count = PERI_COUNT(operations),
    .retry = &peri_retry_default,
    .rate_limit = &rate_limit,
    .flags = PERI_SERVICE_FORM_QUERY | PERI_SERVICE_SPACED_JSON | PERI_SERVICE_ONLY_200 | PERI_SERVICE_NEEDS_TOKEN,
    .first_byte_ms = 10000,
    .stall_ms = 10000,
};
