/* SPDX-License-Identifier: MIT */
#include "host/model.h"

#include <stdlib.h>
#include <string.h>

#include "perilune/hash.h"

static void free_secret(char *text)
{
    if (text)
        peri_secure_zero(text, strlen(text));
    free(text);
}

static bool copy_text(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

struct peri_function *peri_function_new(void)
{
    struct peri_function *function = calloc(1, sizeof *function);
    if (function)
        function->refs = 1;
    return function;
}

struct peri_function *peri_function_copy(const struct peri_function *function)
{
    struct peri_function *copy = peri_function_new();
    if (!copy)
        return NULL;
    *copy = *function;
    copy->refs = 1;
    bool ok = copy_text(&copy->external_id, function->external_id);
    ok &= copy_text(&copy->name, function->name);
    ok &= copy_text(&copy->description, function->description);
    ok &= copy_text(&copy->owner, function->owner);
    ok &= copy_text(&copy->metadata, function->metadata);
    ok &= copy_text(&copy->env, function->env);
    ok &= copy_text(&copy->secrets, function->secrets);
    ok &= copy_text(&copy->secret_names, function->secret_names);
    ok &= copy_text(&copy->runtime, function->runtime);
    ok &= copy_text(&copy->entry, function->entry);
    ok &= copy_text(&copy->error_message, function->error_message);
    ok &= copy_text(&copy->error_trace, function->error_trace);
    if (!ok) {
        peri_function_unref(copy);
        return NULL;
    }
    return copy;
}

struct peri_function *peri_function_ref(struct peri_function *function)
{
    function->refs++;
    return function;
}

void peri_function_unref(struct peri_function *function)
{
    if (!function || --function->refs > 0)
        return;
    free(function->external_id);
    free(function->name);
    free(function->description);
    free(function->owner);
    free(function->metadata);
    free_secret(function->env);
    free(function->secrets);
    free(function->secret_names);
    free(function->runtime);
    free(function->entry);
    free(function->error_message);
    free(function->error_trace);
    free(function);
}

const char *peri_function_status_name(enum peri_function_status status)
{
    static const char *const names[] = { "Queued", "Deploying", "Ready", "Failed" };
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "Failed";
}

const char *peri_call_state_name(enum peri_call_state state)
{
    static const char *const names[] = { "Queued", "Running", "Completed", "Failed", "Timeout", "Cancelled" };
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "Failed";
}

bool peri_call_state_final(enum peri_call_state state)
{
    return state != PERI_CALL_QUEUED && state != PERI_CALL_RUNNING;
}

struct peri_call *peri_call_new(void)
{
    struct peri_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->refs = 1;
    peri_buf_init(&call->request, SIZE_MAX / 2);
    peri_buf_init(&call->response, SIZE_MAX / 2);
    return call;
}

struct peri_call *peri_call_ref(struct peri_call *call)
{
    call->refs++;
    return call;
}

struct peri_terms *peri_terms_copy(const struct peri_terms *terms)
{
    struct peri_terms *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *terms;
    if (!copy_text(&copy->key, terms->key)) {
        free(copy);
        return NULL;
    }
    return copy;
}

void peri_terms_free(struct peri_terms *terms)
{
    if (terms)
        free(terms->key);
    free(terms);
}

void peri_call_unref(struct peri_call *call)
{
    if (!call || --call->refs > 0)
        return;
    peri_terms_free(call->terms);
    free(call->error_message);
    free(call->error_trace);
    free(call->request_meta);
    peri_buf_fini(&call->request);
    free(call->content_type);
    free(call->headers);
    peri_buf_fini(&call->response);
    for (size_t i = 0; i < call->log_count; i++)
        free(call->log[i].text);
    free(call->log);
    free(call);
}

void peri_file_fini(struct peri_file *file)
{
    free(file->external_id);
    free(file->name);
    free(file->mime_type);
    memset(file, 0, sizeof *file);
}

void peri_session_fini(struct peri_session *session)
{
    free(session->client_id);
    memset(session, 0, sizeof *session);
}
