/* SPDX-License-Identifier: MIT */
/* part: host */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "perilune/hash.h"
#include "support/gateway.h"

/* The access service's door, through the real program; numbers of the vectors (V1 ...) are the protocol sheet's. */

static struct gateway gw;

static int setup(void **state)
{
    static const char *const options[] = { "--cim-chunk-size", "4", "--cim-rate", "100000/60", NULL };
    (void)state;
    return gateway_start(&gw, PERI_BINARY_DIR, options) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    int status = gateway_stop(&gw);
    gateway_remove(&gw);
    return status;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static void refused(int status, const char *method, const char *path, const char *body, const char *part)
{
    json_t *answer = gateway_json(&gw, status, method, path, body);
    if (strstr(text_of(answer, "detail"), part) == NULL)
        fail_msg("%s %s: '%s' is not in '%s'", method, path, part, text_of(answer, "detail"));
    json_decref(answer);
}

static void numbers(const char *query, const char *expected)
{
    char path[256];
    snprintf(path, sizeof path, "/cim/numgen?%s", query);
    struct raw_reply reply = gateway_ask(&gw, "GET", path, NULL, NULL);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, expected);
    raw_reply_fini(&reply);
}

static void test_numbers(void **state)
{
    (void)state;
    numbers("name=external_part_number&count=1", "{\"numbers\":[1]}");                         /* V1 */
    numbers("name=external_part_number&count=5", "{\"numbers\":[2,3,4,5,6]}");                 /* V2 */
    numbers("name=Teil+nr%2F%C3%A4%26%3D%2B~%2A%25%F0%9F%98%80&count=1", "{\"numbers\":[1]}"); /* V3 */
    numbers("count=2&name=Teil%20nr/%C3%A4%26=%2B~*%25%F0%9F%98%80&other=x", "{\"numbers\":[2,3]}");
    refused(422, "GET", "/cim/numgen?name=external_part_number&count=101", NULL,
            "count must be between 1 and 100"); /* V4 */
    static const char *const bad[] = { "name=n",
                                       "name=n&count=",
                                       "name=n&count=0",
                                       "name=n&count=-1",
                                       "name=n&count=True",
                                       "name=n&count=5.0",
                                       "name=n&count=+1",
                                       "name=n&count=99999999999999999999999" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "/cim/numgen?%s", bad[i]);
        refused(422, "GET", path, NULL, "count must be");
    }
    refused(422, "GET", "/cim/numgen?count=1", NULL, "name must be");
    refused(422, "GET", "/cim/numgen?count=1&name=", NULL, "name must be");
    json_decref(gateway_json(&gw, 201, "PUT", "/v1/generators/big", "{\"start\":9223372036854775806,\"step\":1}"));
    numbers("name=big&count=2", "{\"numbers\":[9223372036854775806,9223372036854775807]}");
    refused(422, "GET", "/cim/numgen?name=big&count=1", NULL, "not so many numbers left");
}

static void test_order_of_checks(void **state)
{
    (void)state;
    struct raw_reply reply = raw_request(gw.port, "GET", "/cim/unknown", "", NULL, 0);
    assert_int_equal(reply.status, 404); /* before the token */
    raw_reply_fini(&reply);
    reply = raw_request(gw.port, "GET", "/cim/numgen?count=0", "Authorization: Bearer wrong\r\n", NULL, 0);
    assert_int_equal(reply.status, 401); /* V6, before the query */
    assert_non_null(strstr(reply.body, "\"detail\":"));
    raw_reply_fini(&reply);
    reply = raw_request(gw.port, "POST", "/cim/file_upload/create", "", "{}", 2);
    assert_int_equal(reply.status, 401);
    raw_reply_fini(&reply);
    reply = raw_request(gw.port, "POST", "/cim/file_upload/1/complete", "Authorization: Bearer\r\n", "{}", 2);
    assert_int_equal(reply.status, 401);
    raw_reply_fini(&reply);
    refused(405, "DELETE", "/cim/files/1", NULL, "not a method");
}

static void open_parent(void)
{
    struct raw_reply reply = gateway_ask(&gw, "PUT", "/v1/parents/doc-1", "application/json", "{\"owner\":\"caddok\"}");
    assert_true(reply.status == 200 || reply.status == 201);
    raw_reply_fini(&reply);
}

static void create(char id[32])
{
    open_parent();
    json_t *made = gateway_json(&gw, 200, "POST", "/cim/file_upload/create",
                                "{\"parent_object_id\": \"doc-1\", \"filename\": \"t\\u00e4st \\ud83d\\ude00.txt\","
                                " \"persno\": \"caddok\", \"check_access\": true}");
    snprintf(id, 32, "%s", text_of(made, "file_object_id"));
    json_decref(made);
}

static json_t *step(int status, const char *id, const char *what, const char *body)
{
    char path[128];
    snprintf(path, sizeof path, "/cim/file_upload/%s/%s", id, what);
    return gateway_json(&gw, status, "POST", path, body);
}

static const char *path_of(const char *url)
{
    const char *at = strstr(url, "/cim/blobs/");
    assert_non_null(at);
    return at;
}

static struct raw_reply put(const json_t *urls, size_t index, const void *bytes, size_t len)
{
    const char *url = json_string_value(json_array_get(json_object_get(urls, "urls"), index));
    return raw_request(gw.port, "PUT", path_of(url), "", bytes, len);
}

static void put_ok(json_t *urls, size_t index, const void *bytes, size_t len)
{
    char etag[64];
    struct raw_reply reply = put(urls, index, bytes, len);
    assert_int_equal(reply.status, 200);
    assert_non_null(raw_header(&reply, "ETag", etag, sizeof etag));
    if (!json_is_array(json_object_get(urls, "etags")))
        json_object_set_new(urls, "etags", json_array());
    json_array_append_new(json_object_get(urls, "etags"), json_string(etag));
    raw_reply_fini(&reply);
}

static char *completion(const json_t *urls, int size, const char *sha256, const char *lock)
{
    json_t *body =
        json_pack("{si sb ss sO ss* ss sb}", "filesize", size, "check_access", 1, "persno", "caddok",
                  "presigned_write_urls", urls, "sha256", sha256, "lock_id", lock, "delete_derived_files", 0);
    char *text = json_dumps(body, 0);
    json_decref(body);
    return text;
}

static void complete(int status, const char *id, const json_t *urls, int size, const char *sha256, const char *part)
{
    char path[128], *body = completion(urls, size, sha256, "AbCdEfGhIjKl");
    snprintf(path, sizeof path, "/cim/file_upload/%s/complete", id);
    if (status == 200) {
        struct raw_reply reply = gateway_ask(&gw, "POST", path, "application/json", body);
        assert_int_equal(reply.status, 200);
        assert_string_equal(reply.body, "null");
        raw_reply_fini(&reply);
    } else {
        refused(status, "POST", path, body, part);
    }
    free(body);
}

#define SEVEN "7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a"
#define PRESIGN "{\"filesize\": 7, \"check_access\": true, \"persno\": \"caddok\", \"lock_id\": \"AbCdEfGhIjKl\"}"

static void test_two_parts(void **state) /* V7 */
{
    char id[32], path[128];
    (void)state;
    create(id);
    json_t *urls = step(200, id, "generate_presigned_url", PRESIGN);
    assert_int_equal(json_array_size(json_object_get(urls, "urls")), 2);
    assert_int_equal(json_integer_value(json_object_get(urls, "chunksize")), 4);
    const char *url = json_string_value(json_array_get(json_object_get(urls, "urls"), 0));
    assert_int_equal(strncmp(url, "http://x/cim/blobs/", 19), 0); /* the host as the client named it */
    put_ok(urls, 0, "abcd", 4);
    put_ok(urls, 1, "efg", 3);
    assert_string_equal(json_string_value(json_array_get(json_object_get(urls, "etags"), 0)),
                        "\"e2fc714c4727ee9395f324cd2e7f331f\"");
    assert_string_equal(json_string_value(json_array_get(json_object_get(urls, "etags"), 1)),
                        "\"7d09898e18511cf7c0c1815d07728d23\"");
    complete(200, id, urls, 7, SEVEN, NULL);
    complete(200, id, urls, 7, SEVEN, NULL); /* again */
    struct raw_reply gone = put(urls, 0, "wxyz", 4);
    assert_int_equal(gone.status, 404); /* a URL is good for one upload */
    raw_reply_fini(&gone);
    snprintf(path, sizeof path, "/cim/files/%s", id);
    json_t *file = gateway_json(&gw, 200, "GET", path, NULL);
    assert_string_equal(text_of(file, "file_object_id"), id);
    assert_string_equal(text_of(file, "sha256"), SEVEN);
    assert_int_equal(json_integer_value(json_object_get(file, "filesize")), 7);
    assert_true(json_is_false(json_object_get(file, "locked")));
    json_decref(file);
    json_decref(urls);
}

static void test_what_is_echoed_must_be_ours(void **state)
{
    static const struct {
        const char *key, *value;
    } changes[] = { { "blob_id", "b-0" }, { "upload_id", "0000000000000000" }, { "signature", "c2ln" } };
    char id[32];
    (void)state;
    create(id);
    json_t *urls = step(200, id, "generate_presigned_url", PRESIGN);
    put_ok(urls, 0, "abcd", 4);
    put_ok(urls, 1, "efg", 3);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        json_t *copy = json_copy(urls);
        json_object_set_new(copy, changes[i].key, json_string(changes[i].value));
        complete(422, id, copy, 7, SEVEN, "not what the upload was given");
        json_object_del(copy, changes[i].key);
        complete(422, id, copy, 7, SEVEN, i == 0 ? "blob_id" : "not what the upload was given");
        json_decref(copy);
    }
    json_t *copy = json_copy(urls);
    json_object_set_new(copy, "etags", json_null());
    complete(422, id, copy, 7, SEVEN, "has 0 entries");
    json_decref(copy);
    json_object_set_new(urls, "something_else", json_integer(1)); /* unknown keys don't matter */
    complete(422, id, urls, 8, SEVEN, "filesize is 8");
    complete(422, id, urls, 7, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "sha256");
    complete(200, id, urls, 7, SEVEN, NULL);
    json_decref(urls);
}

static void test_chunks_that_are_refused(void **state)
{
    char id[32];
    (void)state;
    create(id);
    json_t *urls = step(200, id, "generate_presigned_url", PRESIGN);
    const char *url = path_of(json_string_value(json_array_get(json_object_get(urls, "urls"), 0)));
    struct raw_reply reply = raw_request(gw.port, "PUT", url, "", "abcde", 5);
    assert_int_equal(reply.status, 413);
    raw_reply_fini(&reply);
    int fd = raw_connect(gw.port);
    char head[512];
    snprintf(head, sizeof head,
             "PUT %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", url);
    assert_int_equal(raw_puts(fd, head), 0);
    reply = raw_read(fd, 0);
    assert_int_equal(reply.status, 413); /* found out while it comes */
    raw_reply_fini(&reply);
    raw_close(fd);
    char other[512], *at;
    snprintf(other, sizeof other, "%s", url);
    at = strstr(other, "/1?");
    at[1] = '2'; /* the other chunk, with the first one's signature */
    reply = raw_request(gw.port, "PUT", other, "", "efg", 3);
    assert_int_equal(reply.status, 403);
    raw_reply_fini(&reply);
    snprintf(other, sizeof other, "%s", url);
    at = strstr(other, "expires=") + 8;
    *at = *at == '9' ? '8' : '9';
    reply = raw_request(gw.port, "PUT", other, "", "abcd", 4);
    assert_int_equal(reply.status, 403);
    raw_reply_fini(&reply);
    *strchr(other, '?') = '\0';
    reply = raw_request(gw.port, "PUT", other, "", "abcd", 4);
    assert_int_equal(reply.status, 403);
    raw_reply_fini(&reply);
    /* a token does not replace the signature */
    reply = gateway_ask(&gw, "PUT", other, NULL, "abcd");
    assert_int_equal(reply.status, 403);
    raw_reply_fini(&reply);
    put_ok(urls, 0, "abcd", 4); /* none of that used the chunk up */
    complete(422, id, urls, 7, SEVEN, "chunk 2 of 2 was not uploaded");
    json_decref(step(409, id, "generate_presigned_url",
                     "{\"filesize\": 1, \"persno\": \"caddok\", \"lock_id\": \"other\"}")); /* V13 */
    json_decref(step(200, id, "abort", "{\"lock_id\": \"AbCdEfGhIjKl\"}"));
    json_decref(urls);
}

static void test_empty_file(void **state) /* V9 */
{
    char id[32], path[128], etag[80];
    (void)state;
    create(id);
    json_t *urls =
        step(200, id, "generate_presigned_url",
             "{\"filesize\": 0, \"check_access\": true, \"persno\": \"caddok\", \"lock_id\": \"AbCdEfGhIjKl\"}");
    assert_int_equal(json_array_size(json_object_get(urls, "urls")), 1);
    put_ok(urls, 0, NULL, 0);
    assert_string_equal(json_string_value(json_array_get(json_object_get(urls, "etags"), 0)),
                        "\"d41d8cd98f00b204e9800998ecf8427e\"");
    complete(200, id, urls, 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", NULL);
    snprintf(path, sizeof path, "/cim/files/%s/content", id);
    struct raw_reply reply = gateway_ask(&gw, "GET", path, NULL, NULL);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.len, 0);
    assert_string_equal(raw_header(&reply, "ETag", etag, sizeof etag),
                        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"");
    raw_reply_fini(&reply);
    json_decref(urls);
}

static void test_bad_bodies(void **state)
{
    static const struct {
        const char *what, *body, *part;
    } bad[] = {
        { "create", "", "not JSON" },
        { "create", "{", "line 1" },
        { "create", "[1]", "must be a JSON object" },
        { "create", "{\"filename\":\"a\",\"persno\":\"p\"}", "'parent_object_id'" },
        { "create", "{\"parent_object_id\":7,\"filename\":\"a\"}", "'parent_object_id' must be a string" },
        { "create", "{\"parent_object_id\":\"doc-1\",\"filename\":null}", "'filename'" },
        { "create", "{\"parent_object_id\":\"doc-1\",\"filename\":\"a\",\"check_access\":\"no\"}", "'check_access'" },
        { "create", "{\"parent_object_id\":\"doc-1\",\"filename\":\"a\",\"persno\":[]}", "'persno'" },
        { "1/generate_presigned_url", "{\"lock_id\":\"x\"}", "'filesize'" },
        { "1/generate_presigned_url", "{\"filesize\":\"3\",\"lock_id\":\"x\"}", "'filesize' must be an integer" },
        { "1/generate_presigned_url", "{\"filesize\":3.5,\"lock_id\":\"x\"}", "'filesize'" },
        { "1/generate_presigned_url", "{\"filesize\":true,\"lock_id\":\"x\"}", "'filesize'" },
        { "1/generate_presigned_url", "{\"filesize\":-1,\"lock_id\":\"x\"}", "'filesize'" },
        { "1/generate_presigned_url", "{\"filesize\":1}", "'lock_id'" },
        { "1/generate_presigned_url", "{\"filesize\":1,\"lock_id\":\"\"}", "'lock_id'" },
        { "1/complete", "{\"filesize\":1,\"lock_id\":\"x\",\"sha256\":\"ABC\"}", "'sha256'" },
        { "1/complete", "{\"filesize\":1,\"lock_id\":\"x\"}", "'presigned_write_urls'" },
        { "1/complete", "{\"filesize\":1,\"lock_id\":\"x\",\"presigned_write_urls\":{\"blob_id\":\"b\",\"etags\":[1]}}",
          "etags[0]" },
        { "1/complete", "{\"filesize\":1,\"lock_id\":\"x\",\"presigned_write_urls\":{\"blob_id\":\"b\",\"etags\":{}}}",
          "etags' must be an array" },
        { "1/abort", "{}", "'lock_id'" },
        { "1/abort", "null", "must be a JSON object" },
    };
    (void)state;
    open_parent();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "/cim/file_upload/%s", bad[i].what);
        refused(422, "POST", path, bad[i].body, bad[i].part);
    }
    refused(404, "POST", "/cim/file_upload/create", /* V14 */
            "{\"parent_object_id\": \"nope\", \"filename\": \"a.txt\", \"persno\": \"caddok\", \"check_access\": true}",
            "nope");
    refused(403, "POST", "/cim/file_upload/create", /* V15 */
            "{\"parent_object_id\": \"doc-1\", \"filename\": \"a.txt\", \"persno\": \"x\", \"check_access\": true}",
            "may not");
    static const char *const ids[] = { "0", "nope", "18446744073709551616", "1", "-1", "%ff" };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        json_decref(step(404, ids[i], "generate_presigned_url", PRESIGN));
        json_decref(step(404, ids[i], "abort", "{\"lock_id\":\"x\"}"));
    }
}

/* Larger than all blocks that a request may have in memory, so that it waits for the thread pool; through a host with
 * its usual chunk size. */
static void test_a_large_chunk_and_parts_of_it(void **state)
{
    static const char *const none[] = { NULL };
    struct gateway small = gw;
    char id[32], path[128], text[128];
    size_t size = 9 * 1024 * 1024 + 5;
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf hex;
    (void)state;
    char *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 2654435761U >> 13);
    assert_int_equal(peri_hash_once(PERI_SHA256, (struct peri_str){ bytes, size }, digest, NULL), PERI_OK);
    peri_buf_init(&hex, 128);
    peri_hex_append(&hex, digest, 32);
    memset(&gw, 0, sizeof gw);
    assert_true(gateway_start(&gw, PERI_BINARY_DIR, none));
    create(id);
    snprintf(text, sizeof text, "{\"filesize\":%zu,\"persno\":\"caddok\",\"lock_id\":\"AbCdEfGhIjKl\"}", size);
    json_t *urls = step(200, id, "generate_presigned_url", text);
    put_ok(urls, 0, bytes, size);
    complete(200, id, urls, (int)size, hex.data, NULL);
    json_decref(urls);
    snprintf(path, sizeof path, "/cim/files/%s/content", id);
    struct raw_reply reply = gateway_ask(&gw, "GET", path, NULL, NULL);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.len, size);
    assert_memory_equal(reply.body, bytes, size);
    raw_reply_fini(&reply);
    static const struct {
        const char *range;
        int status;
        size_t first, len;
    } ranges[] = {
        { "bytes=0-0", 206, 0, 1 },
        { "bytes=5000000-5000099", 206, 5000000, 100 },
        { "bytes=9437180-", 206, 9437180, 9 },
        { "bytes=-3", 206, 9437186, 3 },
        { "bytes=9437188-99999999", 206, 9437188, 1 },
        { "bytes=9437189-", 416, 0, 0 },
        { "bytes=-0", 416, 0, 0 },
        { "bytes=5-2", 200, 0, 9437189 },
        { "bytes=0-1,5-6", 200, 0, 9437189 },
        { "lines=1-2", 200, 0, 9437189 },
    };
    char headers[512];
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\nRange: %s\r\n", gw.token, ranges[i].range);
        reply = raw_request(gw.port, "GET", path, headers, NULL, 0);
        assert_int_equal(reply.status, ranges[i].status);
        assert_int_equal(reply.len, ranges[i].len);
        if (reply.len > 0)
            assert_memory_equal(reply.body, bytes + ranges[i].first, reply.len);
        raw_reply_fini(&reply);
    }
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\nIf-None-Match: \"x\", \"%s\"\r\n", gw.token,
             hex.data);
    reply = raw_request(gw.port, "GET", path, headers, NULL, 0);
    assert_int_equal(reply.status, 304);
    raw_reply_fini(&reply);
    peri_buf_fini(&hex);
    free(bytes);
    assert_int_equal(gateway_stop(&gw), 0);
    gateway_remove(&gw);
    gw = small;
}

/* A peer that goes away in the middle of a chunk leaves it to be sent again. */
static void test_a_chunk_that_breaks_off(void **state)
{
    char id[32], head[512];
    (void)state;
    create(id);
    json_t *urls = step(200, id, "generate_presigned_url", PRESIGN);
    const char *url = path_of(json_string_value(json_array_get(json_object_get(urls, "urls"), 0)));
    int fd = raw_connect(gw.port);
    snprintf(head, sizeof head, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab", url);
    assert_int_equal(raw_puts(fd, head), 0);
    raw_close(fd);
    int status = 409;
    for (int i = 0; i < 200000 && status == 409; i++) { /* until the host has seen it */
        struct raw_reply reply = put(urls, 0, "abcd", 4);
        status = reply.status;
        raw_reply_fini(&reply);
    }
    assert_int_equal(status, 200);
    put_ok(urls, 0, "abcd", 4);
    put_ok(urls, 1, "efg", 3);
    complete(200, id, urls, 7, SEVEN, NULL);
    json_decref(urls);
}

static void test_the_limit(void **state)
{
    static const char *const options[] = { "--cim-rate", "3/60", NULL };
    struct gateway own = { 0 };
    char text[32];
    (void)state;
    assert_true(gateway_start(&own, PERI_BINARY_DIR, options));
    for (int i = 0; i < 3; i++) {
        struct raw_reply reply = gateway_ask(&own, "GET", "/cim/numgen?name=n&count=1", NULL, NULL);
        assert_int_equal(reply.status, 200);
        raw_reply_fini(&reply);
    }
    struct raw_reply reply = gateway_ask(&own, "GET", "/cim/numgen?name=n&count=1", NULL, NULL); /* V5 */
    assert_int_equal(reply.status, 429);
    assert_string_equal(reply.body, "{\"detail\":\"Rate limit exceeded: 3 per 1 minute\"}");
    assert_non_null(raw_header(&reply, "Retry-After", text, sizeof text));
    assert_in_range(atoi(text), 1, 60);
    raw_reply_fini(&reply);
    reply = raw_request(own.port, "GET", "/cim/numgen", "Authorization: Bearer wrong\r\n", NULL, 0);
    assert_int_equal(reply.status, 401); /* the token comes first */
    raw_reply_fini(&reply);
    json_t *generator = gateway_json(&own, 200, "GET", "/v1/generators/n", NULL);
    assert_int_equal(json_integer_value(json_object_get(generator, "last")), 3);
    json_decref(generator);
    assert_int_equal(gateway_stop(&own), 0);
    gateway_remove(&own);
}

static void test_options_of_the_program(void **state)
{
    static const struct {
        const char *name, *value, *part;
    } bad[] = {
        { "--cim-rate", "100", "--cim-rate must be REQUESTS/SECONDS" },
        { "--cim-rate", "0/60", "--cim-rate" },
        { "--cim-rate", "5/x", "--cim-rate" },
        { "--cim-generators", "maybe", "create or strict" },
        { "--cim-chunk-size", "0", "--cim-chunk-size" },
        { "--cim-lock-timeout", "0", "--cim-lock-timeout" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *const options[] = { bad[i].name, bad[i].value, NULL };
        char out[1024];
        assert_int_equal(gateway_run(PERI_BINARY_DIR, options, out, sizeof out), 2);
        assert_non_null(strstr(out, bad[i].part));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_order_of_checks),
        cmocka_unit_test(test_two_parts),
        cmocka_unit_test(test_what_is_echoed_must_be_ours),
        cmocka_unit_test(test_chunks_that_are_refused),
        cmocka_unit_test(test_empty_file),
        cmocka_unit_test(test_bad_bodies),
        cmocka_unit_test(test_a_large_chunk_and_parts_of_it),
        cmocka_unit_test(test_a_chunk_that_breaks_off),
        cmocka_unit_test(test_the_limit),
        cmocka_unit_test(test_options_of_the_program),
    };
    return cmocka_run_group_tests_name("api_cim", tests, setup, teardown);
}
