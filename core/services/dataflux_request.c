/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "perilune/json.h"
#include "perilune/uri.h"
#include "services/dataflux_private.h"

/* What a call looks like on the wire: which of the three forms of URL, and where arguments, options and the API's
 * authentication go. */

#define URL_MAX ((size_t)60 * 1024)
#define QUERY_LEVELS 6 /* that the platform's query has: a name and five brackets */
#define BODY_LEVELS 64
#define WAIT_MAX_S 180  /* that the platform waits for a function at most */
#define WAIT_EXTRA_S 20 /* its own 10 s, and as much again for the way */

enum form { BARE, NORMAL, SIMPLIFIED };
static const char *const form_names[] = { [BARE] = "bare", [NORMAL] = "normal", [SIMPLIFIED] = "simplified" };
static const char *const form_paths[] = { [BARE] = "", [NORMAL] = "/normal", [SIMPLIFIED] = "/simplified" };

enum target { SYNC, ASYNC, DIRECT };
static const struct {
    const char *operation, *path;
    const char *options[8]; /* that its strict form knows; NULL-terminated */
} targets[] = {
    [SYNC] = { "sync.call", "/api/v1/sync/", { "return_type" } },
    [ASYNC] = { "async.call", "/api/v1/async/", { NULL } },
    [DIRECT] = { "func.call", "/api/v1/func/", { "return_type", "unbox", "eta", "delay", "async" } },
};

/* A call being put together. */
struct draft {
    struct peri_dataflux__request *request;
    struct peri_flow *flow;
    const json_t *args, *kwargs, *auth; /* NULL: none given */
    json_t *options;                    /* as the platform spells them; NULL: none given */
    struct peri_call_streams *streams;
    enum target target;
    enum form form;
    bool get;
};

void peri_dataflux__request_init(struct peri_dataflux__request *request)
{
    memset(request, 0, sizeof *request);
    peri_buf_init(&request->url, URL_MAX);
    peri_headers_init(&request->headers);
}

void peri_dataflux__request_fini(struct peri_dataflux__request *request)
{
    peri_buf_fini(&request->url);
    peri_headers_fini(&request->headers);
    peri_reader_free(request->body);
    request->body = NULL;
    json_decref(request->json);
    request->json = NULL;
}

static const json_t *object_option(const json_t *args, const char *name)
{
    const json_t *value = json_object_get(args, name);
    return json_object_size(value) > 0 ? value : NULL;
}

static enum peri_code nomem(struct peri_error *err)
{
    return peri_error_set(err, PERI_NOMEM, "out of memory");
}

/* ---- the platform's options ---- */

static enum peri_code check_range(const json_t *options, const char *name, json_int_t min, json_int_t max,
                                  struct peri_error *err)
{
    const json_t *value = json_object_get(options, name);
    if (!json_is_integer(value) || (json_integer_value(value) >= min && json_integer_value(value) <= max))
        return PERI_OK;
    return peri_error_set(err, PERI_INVALID,
                          "option 'options': '%s' must be from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT
                          ", not %" JSON_INTEGER_FORMAT,
                          name, min, max, json_integer_value(value));
}

static enum peri_code check_options(const json_t *options, struct peri_error *err)
{
    static const struct {
        const char *name;
        json_int_t min, max;
    } ranges[] = {
        { "timeout", 1, 3600 },
        { "expires", 1, 86400 },
        { "queue", 1, 9 },
        { "delay", 1, INT32_MAX },
    };
    enum peri_code code = peri_dataflux__check(options, &peri_dataflux__options, err);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && code == PERI_OK; i++)
        code = check_range(options, ranges[i].name, ranges[i].min, ranges[i].max, err);
    const char *type = peri_dataflux__text(options, "return_type");
    if (code == PERI_OK && type && strcmp(type, "raw") != 0 && strcmp(type, "jsonDumps") != 0)
        code = peri_error_set(err, PERI_INVALID,
                              "option 'options': 'return_type' must be \"raw\" or \"jsonDumps\", not \"%.40s\"", type);
    return code;
}

/* Whether the strict form of the URL takes all the options that are given. */
static bool is_strict(const struct draft *draft, const char **other)
{
    const char *name = NULL;
    json_t *value = NULL;
    const char *const *known = targets[draft->target].options;
    json_object_foreach((json_t *)object_option(draft->args, "options"), name, value)
    {
        size_t i = 0;
        while (known[i] && strcmp(known[i], name) != 0)
            i++;
        if (!known[i] && !json_is_null(value)) {
            *other = name;
            return false;
        }
    }
    return true;
}

/* Under the platform's names, and what they mean for the answer. */
static enum peri_code read_options(struct draft *draft, struct peri_error *err)
{
    const json_t *given = object_option(draft->args, "options");
    const char *type = peri_dataflux__text(given, "return_type");
    const json_t *unbox = json_object_get(given, "unbox"), *timeout = json_object_get(given, "timeout");
    struct peri_dataflux__request *request = draft->request;
    enum peri_code code = given ? check_options(given, err) : PERI_OK;
    if (code != PERI_OK)
        return code;
    request->dumped = type && strcmp(type, "jsonDumps") == 0;
    request->unboxed = json_is_boolean(unbox) ? json_is_true(unbox) : draft->target == SYNC;
    request->deferred = draft->target == ASYNC || json_is_true(json_object_get(given, "async"));
    json_int_t wait = json_is_integer(timeout) ? json_integer_value(timeout) : WAIT_MAX_S;
    request->first_byte_ms = ((wait < WAIT_MAX_S ? wait : WAIT_MAX_S) + WAIT_EXTRA_S) * 1000;
    for (size_t i = 0; given && i < peri_dataflux__options.field_count; i++) {
        const struct peri_field *field = &peri_dataflux__options.fields[i];
        json_t *value = json_object_get(given, field->name);
        if (!value || json_is_null(value))
            continue;
        if (!draft->options)
            draft->options = json_object();
        if (json_object_set(draft->options, field->wire ? field->wire : field->name, value) != 0)
            return nomem(err);
    }
    if (draft->streams->sink && (!request->unboxed || request->deferred))
        return peri_error_set(err, PERI_INVALID, "a sink takes what the function answers: it needs unbox = true");
    return PERI_OK;
}

/* ---- the API's authentication ---- */

static bool auth_is(const struct draft *draft, const char *type, const char *location)
{
    const char *given = peri_dataflux__text(draft->auth, "type"), *place = peri_dataflux__text(draft->auth, "location");
    return given && strcmp(given, type) == 0 && (!location || (place && strcmp(place, location) == 0));
}

static enum peri_code read_auth(struct draft *draft, struct peri_error *err)
{
    draft->auth = object_option(draft->args, "auth");
    if (!draft->auth)
        return PERI_OK;
    enum peri_code code = peri_dataflux__check(draft->auth, &peri_dataflux__auth, err);
    if (code != PERI_OK)
        return code;
    const char *username = peri_dataflux__text(draft->auth, "username");
    const char *password = peri_dataflux__text(draft->auth, "password");
    if (auth_is(draft, "fixedField", NULL)) {
        const char *name = peri_dataflux__text(draft->auth, "name");
        bool placed = auth_is(draft, "fixedField", "header") || auth_is(draft, "fixedField", "query") ||
                      auth_is(draft, "fixedField", "body");
        return placed && name && *name && peri_dataflux__text(draft->auth, "value")
                   ? PERI_OK
                   : peri_error_set(err, PERI_INVALID,
                                    "option 'auth': a fixed field has 'location' (header, query or body), 'name' and "
                                    "'value'");
    }
    if (!auth_is(draft, "httpBasic", NULL) && !auth_is(draft, "httpDigest", NULL))
        return peri_error_set(err, PERI_INVALID, "option 'auth': 'type' must be fixedField, httpBasic or httpDigest");
    if (!username || !password)
        return peri_error_set(err, PERI_INVALID, "option 'auth': 'username' and 'password' are required");
    if (peri_client_has_token(peri_flow_client(draft->flow)))
        return peri_error_set(err, PERI_INVALID,
                              "option 'auth': the client's token already takes the Authorization header");
    const struct peri_password user = { username, password };
    if (auth_is(draft, "httpBasic", NULL))
        return peri_basic_sign(&draft->request->headers, &user, err);
    return PERI_OK; /* Digest: see dataflux_sign.c */
}

static enum peri_code add_headers(struct draft *draft, struct peri_error *err)
{
    const char *name = NULL;
    json_t *value = NULL;
    const char *trace_id = peri_dataflux__text(draft->args, "trace_id");
    struct peri_headers *headers = &draft->request->headers;
    enum peri_code code = trace_id ? peri_headers_set(headers, "X-Trace-Id", trace_id) : PERI_OK;
    if (code != PERI_OK)
        return peri_error_set(err, code, "option 'trace_id' can't be sent in a header: %s", peri_code_text(code));
    if (auth_is(draft, "fixedField", "header"))
        code = peri_headers_set(headers, peri_dataflux__text(draft->auth, "name"),
                                peri_dataflux__text(draft->auth, "value"));
    if (code != PERI_OK)
        return peri_error_set(err, code, "option 'auth' can't be sent in a header: %s", peri_code_text(code));
    json_object_foreach((json_t *)object_option(draft->args, "headers"), name, value)
    {
        code = json_is_string(value) ? peri_headers_set(headers, name, json_string_value(value)) : PERI_INVALID;
        if (code != PERI_OK)
            return peri_error_set(err, code, "option 'headers': '%.60s' must be a text that a header can carry", name);
    }
    return PERI_OK;
}

/* ---- the form ---- */

static enum peri_code need_other_form(const struct draft *draft, const char *what, const char *form,
                                      struct peri_error *err)
{
    return peri_error_set(err, PERI_INVALID, "%s needs form = \"%s\", not \"%s\"", what, form, form_names[draft->form]);
}

static enum peri_code check_form(const struct draft *draft, struct peri_error *err)
{
    const char *other = "";
    char what[64];
    bool field = auth_is(draft, "fixedField", "query") || auth_is(draft, "fixedField", "body");
    if (draft->streams->content && draft->form != SIMPLIFIED)
        return need_other_form(draft, "a raw body", "simplified", err);
    if (draft->streams->content && draft->kwargs)
        return peri_error_set(err, PERI_INVALID, "a raw body takes the place of 'kwargs'");
    if (draft->streams->content && auth_is(draft, "fixedField", "body"))
        return peri_error_set(err, PERI_INVALID, "option 'auth': a raw body has no place for a fixed field");
    if (draft->streams->files && draft->form == BARE)
        return need_other_form(draft, "an upload", "normal", err);
    if (field && draft->form == BARE)
        return need_other_form(draft, "a fixed field in query or body", "normal", err);
    if (draft->form == BARE && !is_strict(draft, &other)) {
        snprintf(what, sizeof what, "the platform's option '%.30s'", other);
        return need_other_form(draft, what, "normal", err);
    }
    if (draft->form == SIMPLIFIED && draft->options)
        return need_other_form(draft, "an option of the platform", "normal", err);
    if (draft->form == BARE && peri_dataflux__text(draft->args, "tail"))
        return need_other_form(draft, "a tail of the path", "simplified", err);
    if (draft->get && (draft->streams->content || draft->streams->files || auth_is(draft, "fixedField", "body")))
        return peri_error_set(err, PERI_INVALID, "a GET request has no body");
    return PERI_OK;
}

static enum peri_code choose_form(struct draft *draft, struct peri_error *err)
{
    const char *given = peri_dataflux__text(draft->args, "form"), *other = NULL;
    bool field = auth_is(draft, "fixedField", "query") || auth_is(draft, "fixedField", "body");
    if (draft->target == DIRECT) {
        if (draft->streams->content || draft->streams->files || field)
            return peri_error_set(err, PERI_INVALID, "a direct call has no other body than its 'kwargs'");
        if (!is_strict(draft, &other))
            return peri_error_set(err, PERI_INVALID, "option 'options': a direct call does not take '%.30s'", other);
        return PERI_OK;
    }
    if (json_is_true(json_object_get(json_object_get(draft->args, "options"), "async")))
        return peri_error_set(err, PERI_INVALID, "option 'options': only a direct call takes 'async'");
    if (given) {
        while (draft->form <= SIMPLIFIED && strcmp(given, form_names[draft->form]) != 0)
            draft->form++;
        if (draft->form > SIMPLIFIED)
            return peri_error_set(err, PERI_INVALID, "option 'form' must be bare, normal or simplified, not '%.40s'",
                                  given);
    } else if (draft->streams->content) {
        draft->form = SIMPLIFIED;
    } else if (draft->streams->files || field || !is_strict(draft, &other) ||
               peri_dataflux__text(draft->args, "tail")) {
        draft->form = NORMAL;
    }
    return check_form(draft, err);
}

static enum peri_code read_method(struct draft *draft, struct peri_error *err)
{
    const char *method = peri_dataflux__text(draft->args, "method");
    if (method && strcmp(method, "GET") != 0 && strcmp(method, "POST") != 0)
        return peri_error_set(err, PERI_INVALID, "option 'method' must be GET or POST, not '%.40s'", method);
    draft->get = method && strcmp(method, "GET") == 0;
    draft->request->method = draft->get ? "GET" : "POST";
    return PERI_OK;
}

/* ---- the URL ---- */

static enum peri_code put_query(void *data, const char *name, struct peri_str value, struct peri_error *err)
{
    struct peri_buf *url = data;
    enum peri_code code = peri_uri_add_query(url, name, value);
    return code == PERI_OK ? PERI_OK
                           : peri_error_set(err, code, "the arguments in the query: %s", peri_code_text(code));
}

static enum peri_code put_json(const char *name, const json_t *value, peri_dataflux__put_fn put, void *data,
                               struct peri_error *err)
{
    struct peri_buf text;
    peri_buf_init(&text, SIZE_MAX / 2);
    enum peri_code code = value ? peri_json_write(value, &text, err) : PERI_OK;
    if (value && code == PERI_OK)
        code = put(data, name, peri_buf_str(&text), err);
    peri_buf_fini(&text);
    return code;
}

/* Arguments, options and a fixed field one by one, as queries and uploads have them. */
static enum peri_code put_all(struct draft *draft, const char *place, unsigned levels, peri_dataflux__put_fn put,
                              void *data, struct peri_error *err)
{
    enum peri_code code = PERI_OK;
    if (draft->form == SIMPLIFIED && draft->kwargs)
        code = peri_dataflux__flatten(draft->kwargs, levels, put, data, err);
    else if (draft->form != SIMPLIFIED)
        code = put_json("kwargs", draft->kwargs, put, data, err);
    if (code == PERI_OK && draft->form != SIMPLIFIED)
        code = put_json("options", draft->options, put, data, err);
    if (code == PERI_OK && auth_is(draft, "fixedField", place))
        code = put(data, peri_dataflux__text(draft->auth, "name"),
                   peri_str_from(peri_dataflux__text(draft->auth, "value")), err);
    return code;
}

static enum peri_code write_url(struct draft *draft, struct peri_error *err)
{
    struct peri_buf *url = &draft->request->url;
    const char *id = peri_dataflux__text(draft->args, "id"), *tail = peri_dataflux__text(draft->args, "tail");
    if (strcmp(id, "") == 0 || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
        return peri_error_set(err, PERI_INVALID, "option 'id': '%s' can't be a part of a path", id);
    enum peri_code code = peri_buf_append_text(url, targets[draft->target].path);
    if (code == PERI_OK)
        code = peri_uri_encode(url, peri_str_from(id), NULL);
    if (code == PERI_OK)
        code = peri_buf_append_text(url, form_paths[draft->form]);
    if (code == PERI_OK && tail)
        code = peri_buf_append_text(url, "/");
    if (code == PERI_OK && tail)
        code = peri_uri_encode(url, peri_str_from(tail + strspn(tail, "/")), "/");
    if (code != PERI_OK)
        return peri_error_set(err, code, "the URL: %s", peri_code_text(code));
    if (draft->get)
        return put_all(draft, "query", QUERY_LEVELS, put_query, url, err);
    if (auth_is(draft, "fixedField", "query"))
        return put_query(url, peri_dataflux__text(draft->auth, "name"),
                         peri_str_from(peri_dataflux__text(draft->auth, "value")), err);
    return PERI_OK;
}

/* ---- the body ---- */

static enum peri_code put_field(void *data, const char *name, struct peri_str value, struct peri_error *err)
{
    return peri_multipart_add_field(data, peri_str_from(name), value, err);
}

static enum peri_code write_upload(struct draft *draft, struct peri_error *err)
{
    char type[PERI_MULTIPART_TYPE_SIZE];
    struct peri_call_streams *streams = draft->streams;
    enum peri_code code = put_all(draft, "body", BODY_LEVELS, put_field, streams->files, err);
    if (code != PERI_OK)
        return code;
    struct peri_multipart *files = streams->files;
    streams->files = NULL;
    draft->request->body = peri_multipart_reader(files, peri_client_random(peri_flow_client(draft->flow)), type, err);
    if (!draft->request->body)
        return PERI_NOMEM;
    code = peri_headers_set(&draft->request->headers, "Content-Type", type);
    return code == PERI_OK ? PERI_OK : nomem(err);
}

static enum peri_code write_raw(struct draft *draft, struct peri_error *err)
{
    const char *type = peri_dataflux__text(draft->args, "content_type");
    enum peri_code code =
        peri_headers_set(&draft->request->headers, "Content-Type", type ? type : "application/octet-stream");
    if (code != PERI_OK)
        return peri_error_set(err, code, "option 'content_type' can't be sent in a header: %s", peri_code_text(code));
    draft->request->body = draft->streams->content;
    draft->streams->content = NULL;
    return PERI_OK;
}

/* A copy, since a fixed field may be added. */
static json_t *json_body(const struct draft *draft)
{
    json_t *body = json_object();
    bool fits = body != NULL;
    if (draft->form == SIMPLIFIED) {
        fits = fits && (!draft->kwargs || json_object_update(body, (json_t *)draft->kwargs) == 0);
    } else {
        json_t *kwargs = draft->kwargs ? json_incref((json_t *)draft->kwargs) : json_object();
        fits = fits && json_object_set_new(body, "kwargs", kwargs) == 0;
        fits = fits && (!draft->options || json_object_set(body, "options", draft->options) == 0);
    }
    if (fits && auth_is(draft, "fixedField", "body"))
        fits =
            json_object_set(body, peri_dataflux__text(draft->auth, "name"), json_object_get(draft->auth, "value")) == 0;
    if (fits)
        return body;
    json_decref(body);
    return NULL;
}

static enum peri_code write_json(struct draft *draft, struct peri_error *err)
{
    struct peri_buf text;
    peri_buf_init(&text, SIZE_MAX / 2);
    draft->request->json = json_body(draft);
    enum peri_code code = draft->request->json ? peri_json_write(draft->request->json, &text, err) : nomem(err);
    if (code == PERI_OK && !(draft->request->body = peri_reader_memory(peri_buf_str(&text), err)))
        code = PERI_NOMEM;
    peri_buf_fini(&text);
    if (code != PERI_OK)
        return code;
    code = peri_headers_set(&draft->request->headers, "Content-Type", "application/json");
    return code == PERI_OK ? PERI_OK : nomem(err);
}

static enum peri_code write_body(struct draft *draft, struct peri_error *err)
{
    if (peri_dataflux__text(draft->args, "content_type") && !draft->streams->content)
        return peri_error_set(err, PERI_INVALID, "option 'content_type' is of a raw body, and there is none");
    if (draft->get)
        return PERI_OK;
    if (draft->streams->content)
        return write_raw(draft, err);
    return draft->streams->files ? write_upload(draft, err) : write_json(draft, err);
}

enum peri_code peri_dataflux__request_build(struct peri_dataflux__request *request, struct peri_flow *flow,
                                            struct peri_error *err)
{
    const json_t *args = peri_flow_args(flow);
    struct draft draft = {
        .request = request,
        .flow = flow,
        .args = args,
        .kwargs = object_option(args, "kwargs"),
        .streams = peri_flow_streams(flow),
    };
    while (strcmp(targets[draft.target].operation, peri_flow_operation(flow)->name) != 0)
        draft.target++;
    static enum peri_code (*const steps[])(struct draft *, struct peri_error *) = {
        read_method, read_options, read_auth, choose_form, add_headers, write_url, write_body,
    };
    enum peri_code code = PERI_OK;
    if (draft.streams->content && draft.streams->files)
        code = peri_error_set(err, PERI_INVALID, "a request has either a raw body or files");
    for (size_t i = 0; i < sizeof steps / sizeof *steps && code == PERI_OK; i++)
        code = steps[i](&draft, err);
    json_decref(draft.options);
    return code;
}
