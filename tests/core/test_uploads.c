/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

#include <dirent.h>
#include <sys/stat.h>

#include "host/access.h"
#include "perilune/clock.h"

/* Generators, parents, uploads and contents, without HTTP; time is the test's. */

static struct fixture fx;
static int64_t now_ms;

struct outcome {
    bool done, created;
    int64_t first, step;
    uint64_t id;
    struct peri_error err;
};

static void on_done(void *data, const struct peri_access_result *result, const struct peri_error *err)
{
    struct outcome *o = data;
    assert_false(o->done);
    o->done = true;
    if (err)
        o->err = *err;
    if (!result)
        return;
    o->created = result->created;
    o->first = result->first;
    if (result->generator)
        o->step = result->generator->step;
    if (result->object)
        o->id = result->object->id;
}

static void begin_engine(void)
{
    peri_loop_set_clock(fx.loop, peri_clock_manual(&now_ms));
}

static int setup(void **state)
{
    (void)state;
    memset(&fx, 0, sizeof fx);
    fx.options.sandboxes = 1;
    fx.options.chunk_size = 4;
    fx.options.lock_timeout_ms = 10000;
    now_ms = INT64_C(1800000000000);
    fixture_start(&fx);
    begin_engine();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_end(&fx);
    return 0;
}

static void restart(void)
{
    fixture_close(&fx);
    fixture_open(&fx);
    begin_engine();
}

static struct outcome numbers(const char *name, unsigned count)
{
    struct outcome o = { 0 };
    peri_engine_numbers(fx.engine, name, count, on_done, &o);
    assert_false(o.done);
    fixture_wait(&fx, &o.done);
    return o;
}

static struct outcome generator(const char *name, int64_t start, int64_t step)
{
    struct outcome o = { 0 };
    struct peri_generator spec = { .name = (char *)(uintptr_t)name, .start = start, .step = step };
    peri_engine_generator_create(fx.engine, &spec, on_done, &o);
    fixture_wait(&fx, &o.done);
    return o;
}

static struct outcome parent(const char *id, const char *owner, const char *readers, const char *writers)
{
    struct outcome o = { 0 };
    struct peri_parent spec = { .id = (char *)(uintptr_t)id,
                                .owner = (char *)(uintptr_t)owner,
                                .readers = (char *)(uintptr_t)readers,
                                .writers = (char *)(uintptr_t)writers };
    peri_engine_parent_put(fx.engine, &spec, on_done, &o);
    fixture_wait(&fx, &o.done);
    return o;
}

static struct outcome create(const char *in, const char *persno, bool check)
{
    struct outcome o = { 0 };
    struct peri_file_object spec = { .parent = (char *)(uintptr_t)in,
                                     .filename = (char *)(uintptr_t) "a.bin",
                                     .persno = (char *)(uintptr_t)persno };
    peri_engine_object_create(fx.engine, &spec, check, on_done, &o);
    fixture_wait(&fx, &o.done);
    return o;
}

static uint64_t new_file(void)
{
    assert_int_equal(parent("doc", NULL, NULL, NULL).err.code, PERI_OK);
    struct outcome o = create("doc", "me", true);
    assert_int_equal(o.err.code, PERI_OK);
    return o.id;
}

static enum peri_code begin(uint64_t id, const char *lock, int64_t size, struct peri_upload *out,
                            struct peri_error *err)
{
    struct peri_upload_spec spec = {
        .object_id = id, .filesize = size, .persno = "me", .lock_id = lock, .check_access = true
    };
    return peri_engine_upload_begin(fx.engine, &spec, out, err);
}

static void hex(enum peri_hash_kind kind, struct peri_str bytes, char out[65])
{
    unsigned char digest[PERI_HASH_MAX];
    struct peri_buf text;
    assert_int_equal(peri_hash_once(kind, bytes, digest, NULL), PERI_OK);
    peri_buf_init(&text, 256);
    assert_int_equal(peri_hex_append(&text, digest, peri_hash_size(kind)), PERI_OK);
    memcpy(out, text.data, text.len + 1);
    peri_buf_fini(&text);
}

/* A chunk as the HTTP server would write it. */
static void put(const struct peri_upload *upload, unsigned index, const char *bytes)
{
    struct peri_part *part = NULL;
    struct peri_part_place place;
    struct peri_error err = PERI_ERROR_INIT;
    char md5[65];
    if (peri_engine_part_open(fx.engine, upload->id, index, &part, &place, &err) != PERI_OK)
        fail_msg("%s", err.message);
    assert_int_equal(pwrite(place.fd, bytes, strlen(bytes), place.offset), (ssize_t)strlen(bytes));
    if (place.running)
        peri_hash_update(place.running, bytes, strlen(bytes));
    hex(PERI_MD5, peri_str_from(bytes), md5);
    peri_engine_part_stored(part, (int64_t)strlen(bytes), md5);
    peri_engine_part_close(part);
}

static struct outcome complete_with(const struct peri_upload *upload, const char *lock, int64_t size,
                                    const char *sha256, const char *const *etags, size_t count)
{
    struct outcome o = { 0 };
    struct peri_upload_claim claim = { .spec = { .object_id = upload->object_id,
                                                 .filesize = size,
                                                 .persno = "me",
                                                 .lock_id = lock,
                                                 .check_access = true },
                                       .ours = true,
                                       .upload_id = upload->id,
                                       .sha256 = sha256,
                                       .etags = etags,
                                       .etag_count = count };
    peri_engine_upload_complete(fx.engine, &claim, on_done, &o);
    assert_false(o.done);
    fixture_wait(&fx, &o.done);
    return o;
}

/* With everything right for a content of these chunks. */
static struct outcome complete(const struct peri_upload *upload, const char *lock, const char *const *chunks,
                               size_t count)
{
    char etags[8][40], sha256[65], whole[256] = "", md5[65];
    const char *list[8];
    for (size_t i = 0; i < count; i++) {
        hex(PERI_MD5, peri_str_from(chunks[i]), md5);
        snprintf(etags[i], sizeof etags[i], "\"%.32s\"", md5);
        list[i] = etags[i];
        strcat(whole, chunks[i]);
    }
    hex(PERI_SHA256, peri_str_from(whole), sha256);
    return complete_with(upload, lock, (int64_t)strlen(whole), sha256, list, count);
}

static void assert_content(uint64_t id, const char *text)
{
    struct peri_file_object object = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    char bytes[256] = "";
    int fd = -1;
    assert_int_equal(peri_engine_object(fx.engine, id, &object, &err), PERI_OK);
    assert_int_equal(object.size, strlen(text));
    assert_int_equal(peri_engine_object_open(fx.engine, &object, &fd, &err), PERI_OK);
    if (fd >= 0) {
        assert_int_equal(read(fd, bytes, sizeof bytes - 1), (ssize_t)strlen(text));
        close(fd);
    }
    assert_string_equal(bytes, text);
    peri_file_object_fini(&object);
}

static void upload_chunks(uint64_t id, const char *lock, const char *const *chunks, size_t count)
{
    struct peri_upload upload;
    struct peri_error err = PERI_ERROR_INIT;
    int64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += (int64_t)strlen(chunks[i]);
    if (begin(id, lock, size, &upload, &err) != PERI_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < count; i++)
        put(&upload, (unsigned)i, chunks[i]);
    struct outcome o = complete(&upload, lock, chunks, count);
    if (o.err.code)
        fail_msg("%s", o.err.message);
}

static int count_in(const char *folder)
{
    char path[640];
    int count = 0;
    snprintf(path, sizeof path, "%s/%s", fx.dir, folder);
    DIR *open_folder = opendir(path);
    if (!open_folder)
        return 0;
    for (const struct dirent *entry; (entry = readdir(open_folder));)
        count += entry->d_name[0] != '.' && strncmp(entry->d_name, "sandbox", 7) != 0;
    closedir(open_folder);
    return count;
}

static int blob_count(void)
{
    int count = 0;
    for (unsigned i = 0; i < 256; i++) {
        char folder[32];
        snprintf(folder, sizeof folder, "blobs/%02x", i);
        count += count_in(folder);
    }
    return count;
}

/* ---- generators ---- */

static void test_numbers(void **state)
{
    (void)state;
    struct outcome o = numbers("a", 3);
    assert_int_equal(o.first, 1);
    assert_true(o.created);
    assert_int_equal(numbers("a", 1).first, 4);
    assert_int_equal(numbers("b", 100).first, 1);
    restart();
    assert_int_equal(numbers("a", 1).first, 5);
    assert_int_equal(numbers("b", 1).first, 101);
}

static void test_start_and_step(void **state)
{
    (void)state;
    assert_true(generator("far", INT64_MAX - 2, 1).created);
    assert_false(generator("far", INT64_MAX - 2, 1).created);
    assert_int_equal(generator("far", 1, 1).err.code, PERI_CONFLICT);
    assert_int_equal(generator("none", 1, 0).err.code, PERI_INVALID);
    assert_int_equal(numbers("far", 4).err.code, PERI_UNPROCESSABLE); /* and nothing is used up by that */
    assert_int_equal(numbers("far", 3).first, INT64_MAX - 2);
    assert_int_equal(numbers("far", 1).err.code, PERI_UNPROCESSABLE);
    assert_true(generator("down", -5, INT64_MIN).created);
    assert_int_equal(numbers("down", 1).first, -5);
    assert_int_equal(numbers("down", 1).err.code, PERI_UNPROCESSABLE);
}

static void test_strict_generators(void **state)
{
    (void)state;
    fx.options.generators_strict = true;
    restart();
    assert_int_equal(numbers("a", 1).err.code, PERI_NOT_FOUND);
    assert_true(generator("a", 10, 5).created);
    assert_int_equal(numbers("a", 2).first, 10);
    assert_int_equal(numbers("a", 1).first, 20);
}

static void test_many_requests_at_once_share_nothing(void **state)
{
    struct outcome all[500] = { 0 };
    bool seen[1501] = { 0 };
    (void)state;
    for (int i = 0; i < 500; i++)
        peri_engine_numbers(fx.engine, "busy", 1 + i % 5, on_done, &all[i]);
    for (int i = 0; i < 500; i++) {
        fixture_wait(&fx, &all[i].done);
        for (int64_t n = all[i].first; n <= all[i].first + i % 5; n++) {
            assert_in_range(n, 1, 1500);
            assert_false(seen[n]);
            seen[n] = true;
        }
    }
    for (int n = 1; n <= 1500; n++)
        assert_true(seen[n]);
}

/* ---- permissions ---- */

static void test_who_may_what(void **state)
{
    (void)state;
    assert_true(parent("doc", "boss", "[\"r\"]", "[\"w\"]").created);
    assert_int_equal(create("doc", "boss", true).err.code, PERI_OK);
    assert_int_equal(create("doc", "w", true).err.code, PERI_OK);
    assert_int_equal(create("doc", "r", true).err.code, PERI_FORBIDDEN);
    assert_int_equal(create("doc", "", true).err.code, PERI_FORBIDDEN);
    assert_int_equal(create("doc", "r", false).err.code, PERI_OK);
    assert_int_equal(create("other", "boss", true).err.code, PERI_NOT_FOUND);
    assert_int_equal(create("other", "boss", false).err.code, PERI_NOT_FOUND);
    assert_false(parent("doc", "boss", NULL, "[\"*\"]").created);
    assert_int_equal(create("doc", "anyone", true).err.code, PERI_OK);
    assert_false(parent("doc", NULL, "[\"*\"]", NULL).created);
    assert_int_equal(create("doc", "anyone", true).err.code, PERI_FORBIDDEN);
}

/* ---- uploads ---- */

static void test_chunks_in_any_order(void **state)
{
    static const char *const chunks[] = { "abcd", "efgh", "ij" };
    struct peri_upload upload;
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    uint64_t id = new_file();
    upload_chunks(id, "one", chunks, 3);
    assert_content(id, "abcdefghij");
    assert_int_equal(begin(id, "two", 10, &upload, &err), PERI_OK);
    assert_int_equal(upload.parts, 3);
    put(&upload, 2, "ij");
    put(&upload, 0, "xxxx");
    put(&upload, 1, "efgh");
    put(&upload, 0, "abcd"); /* the same chunk again replaces it */
    assert_int_equal(complete(&upload, "two", chunks, 3).err.code, PERI_OK);
    assert_content(id, "abcdefghij");
    assert_int_equal(blob_count(), 1); /* equal contents once */
    assert_int_equal(count_in("tmp"), 0);
}

static void test_what_complete_compares(void **state)
{
    static const char *const right[] = { "abcd", "ef" }, *const wrong[] = { "abcd", "xx" };
    struct peri_upload upload;
    struct peri_error err = PERI_ERROR_INIT;
    char md5[65];
    (void)state;
    uint64_t id = new_file();
    assert_int_equal(begin(id, "lock", 6, &upload, &err), PERI_OK);
    put(&upload, 0, "abcd");
    struct outcome o = complete(&upload, "lock", right, 2);
    assert_int_equal(o.err.code, PERI_UNPROCESSABLE);
    assert_string_equal(o.err.message, "chunk 2 of 2 was not uploaded");
    put(&upload, 1, "e");
    assert_int_equal(complete(&upload, "lock", right, 2).err.code, PERI_UNPROCESSABLE); /* short */
    put(&upload, 1, "ef");
    assert_int_equal(complete(&upload, "lock", wrong, 2).err.code, PERI_UNPROCESSABLE); /* ETag */
    assert_int_equal(complete(&upload, "lock", right, 1).err.code, PERI_UNPROCESSABLE); /* size and number */
    assert_int_equal(complete(&upload, "other", right, 2).err.code, PERI_CONFLICT);
    hex(PERI_MD5, peri_str_from("abcd"), md5);
    char first[40], second[40];
    snprintf(first, sizeof first, "\"%.32s\"", md5);
    hex(PERI_MD5, peri_str_from("ef"), md5);
    snprintf(second, sizeof second, "\"%.32s\"", md5);
    const char *etags[] = { first, second };
    char zeros[65];
    memset(zeros, '0', 64);
    zeros[64] = '\0';
    o = complete_with(&upload, "lock", 6, zeros, etags, 2);
    assert_int_equal(o.err.code, PERI_UNPROCESSABLE);
    assert_non_null(strstr(o.err.message, "sha256"));
    assert_content(id, "");
    assert_true(peri_engine_object_locked(fx.engine, id));
    /* nothing of that spoils it, and a client need not know the hash */
    assert_int_equal(complete_with(&upload, "lock", 6, NULL, etags, 2).err.code, PERI_OK);
    assert_content(id, "abcdef");
    assert_false(peri_engine_object_locked(fx.engine, id));
    /* the same claim again is answered alike, another is not */
    assert_int_equal(complete(&upload, "lock", right, 2).err.code, PERI_OK);
    assert_int_equal(complete(&upload, "lock", wrong, 2).err.code, PERI_CONFLICT);
    restart();
    assert_int_equal(complete(&upload, "lock", right, 2).err.code, PERI_OK);
}

static void test_locks(void **state)
{
    struct peri_upload upload, again;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_part *part = NULL;
    struct peri_part_place place;
    (void)state;
    uint64_t id = new_file();
    assert_int_equal(begin(id + 1, "one", 4, &upload, &err), PERI_NOT_FOUND);
    assert_int_equal(begin(id, "one", 4, &upload, &err), PERI_OK);
    assert_int_equal(begin(id, "two", 4, &again, &err), PERI_CONFLICT);
    assert_int_equal(peri_engine_upload_abort(fx.engine, id, "two", &err), PERI_OK); /* not its own: no effect */
    assert_true(peri_engine_object_locked(fx.engine, id));
    assert_int_equal(begin(id, "one", 4, &again, &err), PERI_OK); /* its own answer may have been lost */
    assert_int_equal(peri_engine_part_open(fx.engine, upload.id, 0, &part, &place, &err), PERI_NOT_FOUND);
    assert_int_equal(peri_engine_part_open(fx.engine, again.id, 1, &part, &place, &err), PERI_NOT_FOUND);
    assert_int_equal(peri_engine_part_open(fx.engine, again.id, 0, &part, &place, &err), PERI_OK);
    struct peri_part *second = NULL;
    assert_int_equal(peri_engine_part_open(fx.engine, again.id, 0, &second, &place, &err), PERI_CONFLICT);
    assert_int_equal(peri_engine_upload_abort(fx.engine, id, "one", &err), PERI_OK);
    assert_int_equal(peri_engine_upload_abort(fx.engine, id, "one", &err), PERI_OK);
    assert_false(peri_engine_object_locked(fx.engine, id));
    peri_engine_part_close(part); /* what was still being written ends after the upload */
    assert_int_equal(count_in("tmp"), 0);
    assert_int_equal(begin(id, "two", 4, &again, &err), PERI_OK);
}

static void test_silence_ends_an_upload(void **state)
{
    struct peri_upload upload, other;
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    uint64_t id = new_file();
    assert_int_equal(begin(id, "one", 8, &upload, &err), PERI_OK);
    now_ms += 9999;
    put(&upload, 0, "abcd"); /* a sign of life */
    now_ms += 9999;
    assert_int_equal(begin(id, "two", 4, &other, &err), PERI_CONFLICT);
    assert_int_equal(count_in("tmp"), 1);
    now_ms += 1;
    assert_int_equal(begin(id, "two", 4, &other, &err), PERI_OK);
    assert_int_equal(count_in("tmp"), 1);
    now_ms += 10000;
    assert_false(peri_engine_object_locked(fx.engine, id));
    assert_int_equal(count_in("tmp"), 0);
}

static void test_a_new_start_forgets_uploads(void **state)
{
    static const char *const chunks[] = { "abcd" };
    struct peri_upload upload;
    struct peri_error err = PERI_ERROR_INIT;
    (void)state;
    uint64_t id = new_file();
    upload_chunks(id, "one", chunks, 1);
    assert_int_equal(begin(id, "two", 4, &upload, &err), PERI_OK);
    put(&upload, 0, "wxyz");
    restart();
    assert_content(id, "abcd");
    assert_false(peri_engine_object_locked(fx.engine, id));
    assert_int_equal(count_in("tmp"), 0);
    assert_int_equal(complete(&upload, "two", chunks, 1).err.code, PERI_CONFLICT);
}

static void test_contents_go_when_nobody_has_them(void **state)
{
    static const char *const one[] = { "abcd" }, *const two[] = { "efgh" };
    struct outcome o = { 0 };
    char path[640];
    (void)state;
    uint64_t first = new_file(), second = new_file();
    upload_chunks(first, "1", one, 1);
    upload_chunks(second, "2", one, 1);
    assert_int_equal(blob_count(), 1);
    upload_chunks(first, "3", two, 1);
    assert_int_equal(blob_count(), 2);
    assert_content(second, "abcd");
    peri_engine_object_delete(fx.engine, second, on_done, &o);
    fixture_wait(&fx, &o.done);
    assert_int_equal(o.err.code, PERI_OK);
    assert_int_equal(blob_count(), 1);
    assert_content(first, "efgh");
    /* what a crash between the file and its record leaves */
    snprintf(path, sizeof path, "%s/blobs/00", fx.dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/blobs/00/%064d", fx.dir, 0);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(blob_count(), 2);
    restart();
    assert_int_equal(blob_count(), 1);
    assert_content(first, "efgh");
}

static void test_ends_of_an_engine_under_way(void **state)
{
    static const char *const chunks[] = { "abcd" };
    struct peri_upload upload;
    struct peri_error err = PERI_ERROR_INIT;
    struct outcome o = { 0 };
    char md5[65], etag[40];
    (void)state;
    uint64_t id = new_file();
    assert_int_equal(begin(id, "one", 4, &upload, &err), PERI_OK);
    put(&upload, 0, "abcd");
    hex(PERI_MD5, peri_str_from("abcd"), md5);
    snprintf(etag, sizeof etag, "\"%.32s\"", md5);
    const char *etags[] = { etag };
    struct peri_upload_claim claim = {
        .spec = { .object_id = id, .filesize = 4, .persno = "me", .lock_id = "one", .check_access = true },
        .ours = true,
        .upload_id = upload.id,
        .etags = etags,
        .etag_count = 1
    };
    peri_engine_upload_complete(fx.engine, &claim, on_done, &o);
    struct peri_upload_claim twice = claim;
    struct outcome second = { 0 };
    peri_engine_upload_complete(fx.engine, &twice, on_done, &second);
    restart(); /* neither is answered, nothing is lost or leaks */
    assert_false(o.done);
    upload_chunks(id, "two", chunks, 1);
    assert_content(id, "abcd");
}

static void test_sizes(void **state)
{
    struct peri_upload upload;
    struct peri_error err = PERI_ERROR_INIT;
    static const char *const nothing[] = { "" };
    (void)state;
    uint64_t id = new_file();
    assert_int_equal(begin(id, "one", -1, &upload, &err), PERI_UNPROCESSABLE);
    assert_int_equal(begin(id, "one", INT64_MAX, &upload, &err), PERI_UNPROCESSABLE);
    assert_int_equal(begin(id, "one", 400000, &upload, &err), PERI_OK); /* the chunks grow, rather than their number */
    assert_int_equal(upload.chunksize, 40);
    assert_int_equal(upload.parts, 10000);
    assert_int_equal(peri_engine_upload_abort(fx.engine, id, "one", &err), PERI_OK);
    upload_chunks(id, "two", nothing, 1);
    assert_content(id, "");
}

#define WITH_ENGINE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ENGINE(test_numbers),
        WITH_ENGINE(test_start_and_step),
        WITH_ENGINE(test_strict_generators),
        WITH_ENGINE(test_many_requests_at_once_share_nothing),
        WITH_ENGINE(test_who_may_what),
        WITH_ENGINE(test_chunks_in_any_order),
        WITH_ENGINE(test_what_complete_compares),
        WITH_ENGINE(test_locks),
        WITH_ENGINE(test_silence_ends_an_upload),
        WITH_ENGINE(test_a_new_start_forgets_uploads),
        WITH_ENGINE(test_contents_go_when_nobody_has_them),
        WITH_ENGINE(test_ends_of_an_engine_under_way),
        WITH_ENGINE(test_sizes),
    };
    return cmocka_run_group_tests_name("uploads", tests, NULL, NULL);
}
