/* SPDX-License-Identifier: MIT */
#include "client/table.h"
#include "services/cdf_private.h"

/* Requests that only flows make: their options are put together there. */

static const struct peri_field items_fields[] = {
    PERI_FIELD("items", NULL, PERI_ARRAY, PERI_IN_BODY, true, "identifiers"),
    PERI_FIELD("ignore_unknown_ids", "ignoreUnknownIds", PERI_BOOLEAN, PERI_IN_BODY, false,
               "leave out what does not exist"),
};
static const struct peri_field file_fields[] = {
    PERI_FIELD("overwrite", NULL, PERI_BOOLEAN, PERI_IN_QUERY, true, "replace the file of that external id"),
    PERI_FIELD("external_id", "externalId", PERI_STRING, PERI_IN_BODY, false, "external id"),
    PERI_FIELD("name", NULL, PERI_STRING, PERI_IN_BODY, true, "file name"),
    PERI_FIELD("data_set_id", "dataSetId", PERI_INTEGER, PERI_IN_BODY, false, "data set"),
};
static const struct peri_field call_id_fields[] = {
    PERI_FIELD("function_id", "functionId", PERI_INTEGER, PERI_IN_PATH, true, "the function's id"),
    PERI_FIELD("call_id", "id", PERI_INTEGER, PERI_IN_BODY, true, "the call's id"),
};
static const struct peri_field file_id_fields[] = { PERI_FIELD("id", NULL, PERI_INTEGER, PERI_IN_BODY, true, "file") };

const struct peri_operation peri_cdf__functions_byids = {
    .name = "functions.byids",
    .method = "POST",
    .path = "/functions/byids",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
    .shape = PERI_SHAPE_RAW,
};
const struct peri_operation peri_cdf__functions_delete = {
    .name = "functions.delete",
    .method = "POST",
    .path = "/functions/delete",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .shape = PERI_SHAPE_NONE,
};
const struct peri_operation peri_cdf__sessions = {
    .name = "sessions.create",
    .method = "POST",
    .path = "/sessions",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
    .shape = PERI_SHAPE_ITEM,
};
const struct peri_operation peri_cdf__files_create = {
    .name = "files.create",
    .method = "POST",
    .path = "/files",
    PERI_FIELDS(file_fields),
    .body = PERI_BODY_OBJECT,
    .shape = PERI_SHAPE_OBJECT,
};
const struct peri_operation peri_cdf__files_byids = {
    .name = "files.byids",
    .method = "POST",
    .path = "/files/byids",
    PERI_FIELDS(file_id_fields),
    .body = PERI_BODY_ITEMS1,
    .idempotent = true,
    .shape = PERI_SHAPE_ITEM,
    .flags = PERI_OP_MISSING_IS_NONE,
};
const struct peri_operation peri_cdf__calls_byids = {
    .name = "functions.calls.byids",
    .method = "POST",
    .path = "/functions/{functionId}/calls/byids",
    PERI_FIELDS(call_id_fields),
    .body = PERI_BODY_ITEMS1,
    .idempotent = true,
    .shape = PERI_SHAPE_ITEM,
    .flags = PERI_OP_MISSING_IS_NONE,
};

const struct peri_operation peri_cdf__schedules_byids = {
    .name = "functions.schedules.byids",
    .method = "POST",
    .path = "/functions/schedules/byids",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
    .shape = PERI_SHAPE_RAW,
};
const struct peri_operation peri_cdf__schedules_delete = {
    .name = "functions.schedules.delete",
    .method = "POST",
    .path = "/functions/schedules/delete",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .shape = PERI_SHAPE_NONE,
};
const struct peri_operation peri_cdf__sessions_byids = {
    .name = "sessions.byids",
    .method = "POST",
    .path = "/sessions/byids",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
    .shape = PERI_SHAPE_RAW,
};
const struct peri_operation peri_cdf__sessions_revoke = {
    .name = "sessions.revoke",
    .method = "POST",
    .path = "/sessions/revoke",
    PERI_FIELDS(items_fields),
    .body = PERI_BODY_OBJECT,
    .idempotent = true,
    .shape = PERI_SHAPE_RAW,
};
