/* SPDX-License-Identifier: MIT */
/* part: client, threads */
#include "support/fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "perilune/cim.h"
#include "perilune/hash.h"
#include "support/badpeer.h"

/* Uploads against a scripted server that is a bad one: what is sent, what is not, and which error is told. */

#define F "/file_upload/f-9/"
#define PRESIGN F "generate_presigned_url"
#define ABORT F "abort"
#define COMPLETE F "complete"
#define ARGS "{\"file_object_id\":\"f-9\",\"persno\":\"p\"}"

struct upload {
    struct fixture f;
    struct peri_client_options options;
    struct peri_retry_policy retry;
};

/* presigned: %U is the server. An abort is always answered. */
static void open_upload(struct upload *u, const struct peri_retry_policy *retry, const char *presigned)
{
    u->retry = fixture_impatient(retry);
    u->options = (struct peri_client_options){ .token = "tok-1", .retry = &u->retry };
    fixture_open(&u->f, &peri_cim, &u->options, NULL, 0);
    struct peri_buf text;
    peri_buf_init(&text, 65536);
    for (const char *at = presigned; *at; at++) {
        if (at[0] == '%' && at[1] == 'U') {
            peri_buf_append_text(&text, httpd_url(u->f.server));
            at++;
        } else {
            peri_buf_append_byte(&text, *at);
        }
    }
    peri_buf_append_byte(&text, '\0');
    httpd_add(u->f.server, &(struct httpd_step){ "POST", PRESIGN, .status = 200, .reply = text.data });
    peri_buf_fini(&text);
}

static void answer(struct upload *u, const char *method, const char *path, int status, const char *reply,
                   const char *headers)
{
    httpd_add(u->f.server, &(struct httpd_step){ method, path, .status = status, .reply = reply, .headers = headers });
}

static unsigned count_of(struct upload *u, const char *path)
{
    unsigned count = 0;
    for (size_t i = 0; i < httpd_count(u->f.server); i++)
        count += strcmp(httpd_request(u->f.server, i)->path, path) == 0;
    return count;
}

static const struct httpd_request *request_to(struct upload *u, const char *path)
{
    for (size_t i = 0; i < httpd_count(u->f.server); i++)
        if (strcmp(httpd_request(u->f.server, i)->path, path) == 0)
            return httpd_request(u->f.server, i);
    fail_msg("no request to %s", path);
    return NULL;
}

static struct peri_reader *text_reader(const char *text)
{
    struct peri_error err;
    struct peri_reader *reader = peri_reader_memory(peri_str_from(text), &err);
    assert_non_null(reader);
    return reader;
}

/* A source that is read from its beginning to its end: a function of the caller. */
struct trickle {
    const char *bytes;
    size_t left, at_once;
    bool busy;  /* "nothing yet" before each piece */
    bool asked; /* and it was said already */
    struct peri_reader *reader;
    struct peri_timer *timer;
};

static enum peri_code trickle_read(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    struct trickle *source = data;
    (void)err;
    if (source->busy && !source->asked) {
        source->asked = true;
        peri_timer_start(source->timer, 0);
        return PERI_BUSY;
    }
    source->asked = false;
    *n = source->left < source->at_once ? source->left : source->at_once;
    *n = *n < cap ? *n : cap;
    memcpy(out, source->bytes, *n);
    source->bytes += *n;
    source->left -= *n;
    return PERI_OK;
}

static void trickle_more(void *data)
{
    peri_reader_resume(((struct trickle *)data)->reader);
}

static struct peri_reader *trickle_reader(struct trickle *source, struct peri_loop *loop)
{
    struct peri_error err;
    source->timer = peri_timer_new(loop, trickle_more, source, &err);
    source->reader = peri_reader_callback(trickle_read, NULL, -1, source, NULL, &err);
    return source->reader;
}

static enum peri_code run(struct upload *u, const char *operation, const char *args, struct peri_reader *content,
                          struct peri_op **kept)
{
    struct peri_call_streams streams = { .content = content };
    peri_error_clear(&u->f.err);
    struct peri_op *op = fixture_start(&u->f, operation, args, &streams);
    if (!op)
        return u->f.err.code;
    enum peri_code code = peri_op_wait(op, &u->f.err);
    if (kept)
        *kept = op;
    else
        peri_op_free(op);
    return code;
}

static void assert_message(struct upload *u, const char *message)
{
    if (strcmp(u->f.err.message, message) != 0)
        fail_msg("got      %s\n expected %s", u->f.err.message, message);
}

static void assert_etags(struct upload *u, const char *expected)
{
    json_t *body = json_loads(request_to(u, COMPLETE)->body, 0, NULL);
    json_t *etags = json_object_get(json_object_get(body, "presigned_write_urls"), "etags");
    char *text = json_dumps(etags, JSON_ENCODE_ANY | JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(body);
}

#define THREE "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",\"%U/2\",\"%U/3\"],\"chunksize\":4}"
#define TWO "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",\"%U/2\"],\"chunksize\":4}"

/* ---- ETags ---- */

static void test_etags_keep_their_places(void **state)
{
    struct upload u;
    (void)state;
    open_upload(&u, &peri_retry_none, THREE);
    answer(&u, "PUT", "/1", 200, "", "ETag: \"a\"\r\n");
    answer(&u, "PUT", "/2", 201, "", NULL);
    answer(&u, "PUT", "/3", 204, "", "etag: c\r\n");
    answer(&u, "POST", COMPLETE, 200, "{}", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabbbbcc"), NULL), PERI_OK);
    assert_etags(&u, "[\"\\\"a\\\"\",\"\",\"c\"]");
    fixture_close(&u.f);
}

static void test_etags_of_the_platform_stay(void **state)
{
    struct upload u;
    (void)state;
    open_upload(&u, &peri_retry_none,
                "{\"blob_id\":\"b\",\"urls\":[\"%U/1\"],\"chunksize\":4,\"etags\":[\"x\"],\"new\":1}");
    answer(&u, "PUT", "/1", 200, "", NULL);
    answer(&u, "POST", COMPLETE, 200, "", NULL); /* no JSON: the upload is finished all the same */
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("abc"), NULL), PERI_OK);
    assert_etags(&u, "[\"x\"]");
    assert_null(strstr(request_to(&u, COMPLETE)->body, "new")); /* unknown keys are not sent back */
    assert_int_equal(count_of(&u, ABORT), 0);
    fixture_close(&u.f);
}

/* ---- a chunk that fails ---- */

static void test_chunk_is_tried_again(void **state)
{
    struct upload u;
    (void)state;
    open_upload(&u, &peri_retry_default, THREE);
    answer(&u, "PUT", "/1", 200, "", "ETag: 1\r\n");
    httpd_add(u.f.server, &(struct httpd_step){ "PUT", "/2", .drop = true });
    answer(&u, "PUT", "/2", 503, "", NULL);
    answer(&u, "PUT", "/2", 429, "", NULL);
    answer(&u, "PUT", "/2", 200, "", "ETag: 2\r\n");
    answer(&u, "PUT", "/3", 200, "", "ETag: 3\r\n");
    answer(&u, "POST", COMPLETE, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabbbbcc"), NULL), PERI_OK);
    assert_etags(&u, "[\"1\",\"2\",\"3\"]");
    assert_int_equal(count_of(&u, "/2"), 4);
    for (size_t i = 0; i < httpd_count(u.f.server); i++)
        if (strcmp(httpd_request(u.f.server, i)->path, "/2") == 0)
            assert_string_equal(httpd_request(u.f.server, i)->body, "bbbb");
    fixture_close(&u.f);
}

static void test_chunk_fails(void **state)
{
    struct upload u;
    (void)state;
    open_upload(&u, &peri_retry_none, THREE);
    answer(&u, "PUT", "/1", 200, "", NULL);
    answer(&u, "PUT", "/2", 403, "<Error>expired</Error>", NULL);
    answer(&u, "POST", ABORT, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabbbbcc"), NULL), PERI_FORBIDDEN);
    assert_message(&u, "chunk 2 of 3: the server answered with status 403");
    assert_int_equal(count_of(&u, ABORT), 1);
    assert_int_equal(count_of(&u, "/3"), 0);
    fixture_close(&u.f);
}

/* A source that is read only once: its chunk is not sent again. */
static void test_chunk_read_once_fails(void **state)
{
    struct upload u;
    struct trickle source = { .bytes = "aaaabb", .left = 6, .at_once = 3 };
    (void)state;
    open_upload(&u, &peri_retry_default, TWO);
    answer(&u, "PUT", "/1", 503, "busy", NULL);
    answer(&u, "POST", ABORT, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content",
                         "{\"file_object_id\":\"f-9\",\"persno\":\"p\",\"filesize\":6}",
                         trickle_reader(&source, u.f.loop), NULL),
                     PERI_UNAVAILABLE);
    assert_message(&u, "chunk 1 of 2: busy; not tried again, because the body's source can't rewind");
    peri_timer_free(source.timer);
    fixture_close(&u.f);
}

static void test_connection_cut_in_a_chunk(void **state)
{
    static const struct badpeer_step script[] = { { .action = BADPEER_EXPECT, .text = "aaaa" },
                                                  { .action = BADPEER_RESET } };
    struct badpeer *peer = badpeer_one(script);
    struct upload u;
    char presigned[256];
    (void)state;
    snprintf(presigned, sizeof presigned, "{\"blob_id\":\"b\",\"urls\":[\"%s\"],\"chunksize\":100}",
             badpeer_url(peer, "/1"));
    open_upload(&u, &peri_retry_none, presigned);
    answer(&u, "POST", ABORT, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabbbb"), NULL), PERI_TRUNCATED);
    assert_int_equal(count_of(&u, ABORT), 1);
    assert_null(strstr(u.f.err.message, "/1")); /* the URL is a secret */
    fixture_close(&u.f);
    badpeer_free(peer);
}

/* No answer to a chunk, and one that comes byte by byte. */
static void test_slow_chunks(void **state)
{
    static const struct badpeer_step silent[] = { BADPEER_REQUEST, { .action = BADPEER_HANG } };
    struct badpeer *peer = badpeer_one(silent);
    struct upload u;
    char presigned[256];
    (void)state;
    snprintf(presigned, sizeof presigned, "{\"blob_id\":\"b\",\"urls\":[\"%s\"],\"chunksize\":100}",
             badpeer_url(peer, "/1"));
    open_upload(&u, &peri_retry_none, presigned);
    peri_client_free(u.f.client);
    u.options.base_url = httpd_url(u.f.server);
    u.options.first_byte_timeout_ms = 50;
    u.f.client = peri_client_new(u.f.loop, &u.options, &u.f.err);
    answer(&u, "POST", ABORT, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabbbb"), NULL), PERI_TIMEOUT);
    assert_int_equal(count_of(&u, ABORT), 1);
    fixture_close(&u.f);
    badpeer_free(peer);

    static const struct badpeer_step slow[] = {
        BADPEER_REQUEST,
        { .action = BADPEER_DRIP, .number = 1, .text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" },
        { .action = BADPEER_END }
    };
    peer = badpeer_one(slow);
    snprintf(presigned, sizeof presigned, "{\"blob_id\":\"b\",\"urls\":[\"%s\"],\"chunksize\":100}",
             badpeer_url(peer, "/1"));
    open_upload(&u, &peri_retry_none, presigned);
    answer(&u, "POST", COMPLETE, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabbbb"), NULL), PERI_OK);
    fixture_close(&u.f);
    badpeer_free(peer);
}

/* ---- the abort ---- */

static void test_abort_fails_too(void **state)
{
    struct upload u;
    (void)state;
    open_upload(&u, &peri_retry_none, TWO);
    answer(&u, "PUT", "/1", 500, "disk full", NULL);
    answer(&u, "POST", ABORT, 429, "{\"detail\":\"slow down\"}", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabb"), NULL), PERI_SERVER);
    assert_message(&u, "chunk 1 of 2: disk full; the abort failed too: slow down");
    assert_int_equal(u.f.err.status, 500);
    assert_int_equal(count_of(&u, ABORT), 1);
    fixture_close(&u.f);
}

static void test_complete_fails(void **state)
{
    static const struct {
        int status;
        enum peri_code code;
        const char *reply, *message;
    } cases[] = {
        { 409, PERI_CONFLICT, "", "the end of the upload: the server answered with status 409" },
        { 422, PERI_UNPROCESSABLE, "{\"detail\":\"sha256 differs\"}", "the end of the upload: sha256 differs" },
        { 204, PERI_HTTP, "",
          "the end of the upload: the server answered with status 204, where only 200 is a success" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct upload u;
        open_upload(&u, &peri_retry_none, TWO);
        answer(&u, "PUT", "/1", 200, "", NULL);
        answer(&u, "PUT", "/2", 200, "", NULL);
        answer(&u, "POST", COMPLETE, cases[i].status, cases[i].reply, NULL);
        answer(&u, "POST", ABORT, 200, "null", NULL);
        assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabb"), NULL), cases[i].code);
        assert_message(&u, cases[i].message);
        assert_int_equal(count_of(&u, ABORT), 1);
        fixture_close(&u.f);
    }
}

/* 429 in the middle: waited for and tried again, where the policy says so. */
static void test_429_at_complete(void **state)
{
    struct upload u;
    (void)state;
    open_upload(&u, &peri_retry_default, TWO);
    answer(&u, "PUT", "/1", 200, "", NULL);
    answer(&u, "PUT", "/2", 200, "", NULL);
    answer(&u, "POST", COMPLETE, 429, "", "Retry-After: 0\r\n");
    answer(&u, "POST", COMPLETE, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabb"), NULL), PERI_OK);
    assert_int_equal(count_of(&u, ABORT), 0);
    fixture_close(&u.f);
}

/* ---- answers that make no sense ---- */

static void test_presigned_garbage(void **state)
{
    static const struct {
        const char *reply, *message;
        unsigned aborts;
    } cases[] = {
        { "", "the answer with the presigned URLs is no JSON object", 0 },
        { "[]", "the answer with the presigned URLs is no JSON object", 0 },
        { "{}", "the answer with the presigned URLs has no 'blob_id'", 1 },
        { "{\"blob_id\":\"b\",\"urls\":null,\"chunksize\":4}", "the answer with the presigned URLs has no 'urls'", 1 },
        { "{\"blob_id\":7,\"urls\":[],\"chunksize\":4}",
          "the answer with the presigned URLs: 'blob_id' is not a string", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",2],\"chunksize\":4}",
          "the answer with the presigned URLs: 'urls' is not a list of strings", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",\"%U/2\"],\"chunksize\":4.5}",
          "the answer with the presigned URLs: 'chunksize' is not a whole number", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",\"%U/2\"],\"chunksize\":0}",
          "the answer with the presigned URLs: chunks of 0 bytes", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",\"%U/2\"],\"chunksize\":4,\"headers\":{\"a\":1}}",
          "the answer with the presigned URLs: 'headers' is not an object of strings", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",\"%U/2\"],\"chunksize\":4,\"headers\":{\"a b\":\"c\"}}",
          "the answer with the presigned URLs: header 'a b' can't be sent", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"/1\",\"%U/2\"],\"chunksize\":4}",
          "presigned URL 1 of 2: the URL is not absolute: it must begin with http:// or https://", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",\"ftp://h/2\"],\"chunksize\":4}",
          "presigned URL 2 of 2: the URL's scheme must be http or https", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"%U/1\"],\"chunksize\":4}",
          "1 presigned URLs for chunks of 4 bytes, where a file of 6 bytes needs 2", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[\"%U/1\",\"%U/2\",\"%U/3\"],\"chunksize\":4}",
          "3 presigned URLs for chunks of 4 bytes, where a file of 6 bytes needs 2", 1 },
        { "{\"blob_id\":\"b\",\"urls\":[],\"chunksize\":4}",
          "0 presigned URLs for chunks of 4 bytes, where a file of 6 bytes needs 2", 1 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct upload u;
        open_upload(&u, &peri_retry_none, cases[i].reply);
        if (cases[i].aborts)
            answer(&u, "POST", ABORT, 200, "null", NULL);
        assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabb"), NULL), PERI_PROTOCOL);
        assert_message(&u, cases[i].message);
        assert_int_equal(count_of(&u, ABORT), cases[i].aborts);
        assert_int_equal(httpd_count(u.f.server), 1 + cases[i].aborts);
        fixture_close(&u.f);
    }
}

static void test_create_without_id(void **state)
{
    static const char *const replies[] = { "{}", "null", "{\"file_object_id\":7}", "{\"file_object_id\":\"\"}" };
    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        struct upload u;
        open_upload(&u, &peri_retry_none, "{}");
        answer(&u, "POST", "/file_upload/create", 200, replies[i], NULL);
        assert_int_equal(run(&u, "file_upload.upload_new_file",
                             "{\"parent_object_id\":\"d\",\"filename\":\"f\",\"persno\":\"p\"}", text_reader("x"),
                             NULL),
                         PERI_PROTOCOL);
        assert_message(&u, "the answer to the new file has no 'file_object_id'");
        assert_int_equal(httpd_count(u.f.server), 1);
        fixture_close(&u.f);
    }
}

/* Nobody can delete it: the error says at least which one it is. */
static void test_empty_file_is_named(void **state)
{
    struct upload u;
    (void)state;
    open_upload(&u, &peri_retry_none, TWO);
    answer(&u, "POST", "/file_upload/create", 200, "{\"file_object_id\":\"f-9\"}", NULL);
    answer(&u, "PUT", "/1", 404, "gone", NULL);
    answer(&u, "POST", ABORT, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_new_file",
                         "{\"parent_object_id\":\"d\",\"filename\":\"f\",\"persno\":\"p\"}", text_reader("aaaabb"),
                         NULL),
                     PERI_NOT_FOUND);
    assert_message(&u, "chunk 1 of 2: gone; the new file object f-9 stays behind, empty");
    fixture_close(&u.f);
}

/* ---- sizes ---- */

static void test_refused_before_anything_is_sent(void **state)
{
#define NEW "\"parent_object_id\":\"d\",\"filename\":\"f\",\"persno\":\"p\""
    static const struct {
        const char *args, *message;
        bool once;
    } cases[] = {
        { "{" NEW "}", "the stream can't seek, so its size is not known: say it with filesize", true },
        { "{" NEW ",\"filesize\":-1}", "option 'filesize' must not be negative", true },
        { "{" NEW ",\"filesize\":7}", "option 'filesize' says 7 bytes, but the stream has 6", false },
        { "{" NEW ",\"concurrency\":0}", "option 'concurrency' must be from 1 to 16, not 0", false },
        { "{" NEW ",\"concurrency\":17}", "option 'concurrency' must be from 1 to 16, not 17", false },
        { "{\"parent_object_id\":\"d\",\"filename\":\"f\",\"persno\":\"\"}", "option 'persno' must not be empty",
          false },
        { "{\"parent_object_id\":\"d\",\"filename\":\"f\"}", "option 'persno' is required", false },
        { "{" NEW ",\"file_size\":6}", "unknown option 'file_size'; did you mean 'filesize'?", false },
        { "{" NEW ",\"stream\":\"x\"}", "option 'stream' is one source of the content too many", false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct upload u;
        struct trickle source = { .bytes = "aaaabb", .left = 6, .at_once = 3 };
        char expected[256];
        open_upload(&u, &peri_retry_none, "{}");
        struct peri_reader *reader = cases[i].once ? trickle_reader(&source, u.f.loop) : text_reader("aaaabb");
        assert_int_equal(run(&u, "file_upload.upload_new_file", cases[i].args, reader, NULL), PERI_INVALID);
        snprintf(expected, sizeof expected, "cim.file_upload.upload_new_file: %s", cases[i].message);
        assert_message(&u, expected);
        assert_int_equal(httpd_count(u.f.server), 0);
        peri_timer_free(source.timer);
        fixture_close(&u.f);
    }
}

static void run_trickle(size_t bytes, bool busy, enum peri_code code, const char *message)
{
    struct upload u;
    struct trickle source = { .bytes = "aaaabbbb", .left = bytes, .at_once = 3, .busy = busy };
    open_upload(&u, &peri_retry_none, TWO);
    answer(&u, "PUT", "/1", 200, "", NULL);
    answer(&u, "PUT", "/2", 200, "", NULL);
    answer(&u, "POST", COMPLETE, 200, "null", NULL);
    answer(&u, "POST", ABORT, 200, "null", NULL);
    enum peri_code got = run(&u, "file_upload.upload_file_content",
                             "{\"file_object_id\":\"f-9\",\"persno\":\"p\",\"filesize\":6,\"concurrency\":4}",
                             trickle_reader(&source, u.f.loop), NULL);
    if (got != code)
        fail_msg("%s: %s", peri_code_name(got), u.f.err.message);
    assert_int_equal(count_of(&u, COMPLETE), code == PERI_OK);
    assert_int_equal(count_of(&u, ABORT), code != PERI_OK);
    if (code == PERI_OK) {
        assert_string_equal(request_to(&u, "/1")->body, "aaaa"); /* filled whole from reads of three */
        assert_string_equal(request_to(&u, "/2")->body, "bb");
    } else if (!strstr(u.f.err.message, message)) {
        fail_msg("%s", u.f.err.message);
    }
    peri_timer_free(source.timer);
    fixture_close(&u.f);
}

static void test_sizes_that_do_not_match(void **state)
{
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        run_trickle(6, busy, PERI_OK, NULL);
        run_trickle(5, busy, PERI_INVALID, "the stream ended 1 bytes before the 6 that filesize says");
        run_trickle(0, busy, PERI_INVALID, "the stream ended 6 bytes before the 6 that filesize says");
        run_trickle(7, busy, PERI_INVALID, "the stream goes on after the 6 bytes that filesize says");
    }
}

/* ---- large, several at once, from a file's position on ---- */

static unsigned uploads_told;
static int64_t last_told;

static void told(void *data, int64_t sent, int64_t total)
{
    int64_t *expected_total = data;
    assert_int_equal(total, *expected_total);
    assert_true(sent > last_told); /* only forward */
    last_told = sent;
    uploads_told++;
}

static void check_large(struct peri_reader *(*open)(int fd, void *data, struct peri_loop *loop), void *data,
                        size_t skip, unsigned concurrency)
{
    enum { CHUNK = 700 * 1000, COUNT = 5, SIZE = CHUNK * (COUNT - 1) + 12345 };
    struct upload u;
    char presigned[512] = "{\"blob_id\":\"b\",\"chunksize\":700000,\"urls\":[";
    char args[256];
    int64_t total = SIZE;
    char *bytes = malloc(skip + SIZE);
    for (size_t i = 0; i < skip + SIZE; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    char path[] = "/tmp/perilune-test-cim-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, bytes, skip + SIZE), skip + SIZE);
    for (int i = 0; i < COUNT; i++)
        snprintf(presigned + strlen(presigned), sizeof presigned - strlen(presigned), "%s\"%%U/%d\"", i ? "," : "", i);
    snprintf(presigned + strlen(presigned), sizeof presigned - strlen(presigned), "]}");
    open_upload(&u, &peri_retry_default, presigned);
    for (int i = 0; i < COUNT; i++) {
        char name[8];
        char etag[32];
        snprintf(name, sizeof name, "/%d", i);
        snprintf(etag, sizeof etag, "ETag: e%d\r\n", i);
        answer(&u, "PUT", name, 200, "", etag);
    }
    answer(&u, "POST", COMPLETE, 200, "null", NULL);
    snprintf(args, sizeof args, "{\"file_object_id\":\"f-9\",\"persno\":\"p\",\"filesize\":%d,\"concurrency\":%u}",
             SIZE, concurrency);
    uploads_told = 0;
    last_told = 0;
    if (data)
        *(struct trickle *)data = (struct trickle){ .bytes = bytes, .left = SIZE, .at_once = 99991, .busy = true };
    struct peri_call_streams streams = { .content = open(fd, data, u.f.loop),
                                         .uploaded = told,
                                         .progress_data = &total };
    assert_non_null(streams.content);
    struct peri_op *op = fixture_start(&u.f, "file_upload.upload_file_content", args, &streams);
    if (!op || peri_op_wait(op, &u.f.err) != PERI_OK)
        fail_msg("%s", u.f.err.message);
    for (int i = 0; i < COUNT; i++) {
        char name[8];
        snprintf(name, sizeof name, "/%d", i);
        const struct httpd_request *request = request_to(&u, name);
        assert_int_equal(request->body_len, i < COUNT - 1 ? CHUNK : 12345);
        assert_memory_equal(request->body, bytes + skip + (size_t)i * CHUNK, request->body_len);
    }
    assert_etags(&u, "[\"e0\",\"e1\",\"e2\",\"e3\",\"e4\"]");
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf hex;
    peri_buf_init(&hex, 128);
    peri_hash_once(PERI_SHA256, (struct peri_str){ bytes + skip, SIZE }, digest, NULL);
    peri_hex_append(&hex, digest, 32);
    peri_buf_append_byte(&hex, '\0');
    assert_non_null(strstr(request_to(&u, COMPLETE)->body, hex.data));
    assert_true(uploads_told > COUNT);
    assert_int_equal(last_told, SIZE);
    peri_buf_fini(&hex);
    peri_op_free(op);
    if (data)
        peri_timer_free(((struct trickle *)data)->timer);
    fixture_close(&u.f);
    close(fd);
    free(bytes);
}

static struct peri_reader *open_at_17(int fd, void *data, struct peri_loop *loop)
{
    struct peri_error err;
    (void)data;
    (void)loop;
    return peri_reader_fd(fd, 17, -1, &err);
}

static struct peri_reader *open_trickle(int fd, void *data, struct peri_loop *loop)
{
    (void)fd;
    return trickle_reader(data, loop);
}

static void test_large(void **state)
{
    struct trickle source;
    (void)state;
    check_large(open_at_17, NULL, 17, 1);
    check_large(open_at_17, NULL, 17, 4);
    check_large(open_trickle, &source, 0, 1);
}

/* ---- the rate limit ---- */

/* What can't be sent as a whole is not begun; chunks take no place. */
static void test_reserves_its_requests(void **state)
{
    static const struct peri_rate_limit limit = { .requests = 4, .window_ms = 3600000, .mode = PERI_LIMIT_FAIL };
    struct upload u;
    (void)state;
    open_upload(&u, &peri_retry_none, THREE);
    peri_client_free(u.f.client);
    u.options.base_url = httpd_url(u.f.server);
    u.options.rate_limit = &limit;
    u.f.client = peri_client_new(u.f.loop, &u.options, &u.f.err);
    answer(&u, "PUT", "/1", 200, "", NULL);
    answer(&u, "PUT", "/2", 200, "", NULL);
    answer(&u, "PUT", "/3", 200, "", NULL);
    answer(&u, "POST", COMPLETE, 200, "null", NULL);
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabbbbcc"), NULL), PERI_OK);
    size_t before = httpd_count(u.f.server); /* two places are used, the one for an abort was given back */
    assert_int_equal(run(&u, "file_upload.upload_file_content", ARGS, text_reader("aaaabbbbcc"), NULL),
                     PERI_RATE_LIMITED);
    assert_true(u.f.err.retry_after_ms > 0);
    assert_int_equal(httpd_count(u.f.server), before);
    fixture_close(&u.f);
}

/* ---- the end before the end ---- */

static void hang_on_first_chunk(struct upload *u, struct badpeer **peer)
{
    static const struct badpeer_step silent[] = { BADPEER_REQUEST, { .action = BADPEER_HANG } };
    char presigned[256];
    *peer = badpeer_one(silent);
    snprintf(presigned, sizeof presigned, "{\"blob_id\":\"b\",\"urls\":[\"%s\"],\"chunksize\":100}",
             badpeer_url(*peer, "/1"));
    open_upload(u, &peri_retry_none, presigned);
    answer(u, "POST", ABORT, 200, "null", NULL);
}

static void test_deadline(void **state)
{
    struct upload u;
    struct badpeer *peer = NULL;
    (void)state;
    hang_on_first_chunk(&u, &peer);
    assert_int_equal(run(&u, "file_upload.upload_file_content",
                         "{\"file_object_id\":\"f-9\",\"persno\":\"p\",\"timeout\":0.1}", text_reader("abc"), NULL),
                     PERI_TIMEOUT);
    assert_message(&u, "not done within 100 ms");
    assert_int_equal(count_of(&u, ABORT), 1);
    fixture_close(&u.f);
    badpeer_free(peer);
}

static void stop_at_first_byte(void *data, int64_t sent, int64_t total)
{
    (void)sent;
    (void)total;
    *(bool *)data = true;
}

/* Cancelled while a chunk is under way: the abort goes out by itself, as long as the loop runs. */
static void test_cancel(void **state)
{
    struct upload u;
    struct badpeer *peer = NULL;
    bool under_way = false;
    (void)state;
    hang_on_first_chunk(&u, &peer);
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    struct peri_call_streams streams = { .content = peri_reader_fd(fd, 0, 64, &u.f.err),
                                         .uploaded = stop_at_first_byte,
                                         .progress_data = &under_way };
    struct peri_op *op = fixture_start(&u.f, "file_upload.upload_file_content", ARGS, &streams);
    while (!under_way)
        peri_loop_run_once(u.f.loop, -1, &u.f.err);
    peri_op_cancel(op);
    assert_int_equal(peri_op_code(op), PERI_CANCELLED);
    peri_op_free(op);
    while (peri_loop_active(u.f.loop) > 0)
        peri_loop_run_once(u.f.loop, -1, &u.f.err);
    assert_int_equal(count_of(&u, ABORT), 1);
    fixture_close(&u.f);
    badpeer_free(peer);

    /* With the client gone at once nothing is sent, and nothing is left. */
    hang_on_first_chunk(&u, &peer);
    under_way = false;
    streams.content = peri_reader_fd(fd, 0, 64, &u.f.err);
    op = fixture_start(&u.f, "file_upload.upload_file_content", ARGS, &streams);
    while (!under_way)
        peri_loop_run_once(u.f.loop, -1, &u.f.err);
    peri_op_free(op);
    fixture_close(&u.f);
    badpeer_free(peer);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_etags_keep_their_places),
        cmocka_unit_test(test_etags_of_the_platform_stay),
        cmocka_unit_test(test_chunk_is_tried_again),
        cmocka_unit_test(test_chunk_fails),
        cmocka_unit_test(test_chunk_read_once_fails),
        cmocka_unit_test(test_connection_cut_in_a_chunk),
        cmocka_unit_test(test_slow_chunks),
        cmocka_unit_test(test_abort_fails_too),
        cmocka_unit_test(test_complete_fails),
        cmocka_unit_test(test_429_at_complete),
        cmocka_unit_test(test_presigned_garbage),
        cmocka_unit_test(test_create_without_id),
        cmocka_unit_test(test_empty_file_is_named),
        cmocka_unit_test(test_refused_before_anything_is_sent),
        cmocka_unit_test(test_sizes_that_do_not_match),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_reserves_its_requests),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
