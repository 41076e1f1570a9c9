/* SPDX-License-Identifier: MIT */
/* part: net */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "perilune/stream.h"

static char folder[] = "/tmp/perilune-stream-XXXXXX";
static char path[128];

static int make_folder(void **state)
{
    (void)state;
    memset(folder + sizeof(folder) - 7, 'X', 6);
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/file", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails when a temporary file was left */
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
}

static void assert_file(const char *text)
{
    char got[256] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(got, 1, sizeof(got) - 1, file);
    fclose(file);
    assert_int_equal(n, strlen(text));
    assert_string_equal(got, text);
}

static void assert_reads(struct peri_reader *reader, const char *text)
{
    char got[256] = "";
    size_t n;
    assert_int_equal(peri_reader_read_full(reader, got, sizeof(got) - 1, &n, NULL), PERI_OK);
    assert_int_equal(n, strlen(text));
    assert_string_equal(got, text);
    assert_int_equal(peri_reader_read(reader, got, 1, &n, NULL), PERI_OK);
    assert_int_equal(n, 0); /* the end stays the end */
}

static void assert_digest(struct peri_hash *hash, const char *text)
{
    unsigned char got[PERI_HASH_MAX], wanted[PERI_HASH_MAX];
    peri_hash_final(hash, got);
    assert_int_equal(peri_hash_once(PERI_SHA256, peri_str_from(text), wanted, NULL), PERI_OK);
    assert_memory_equal(got, wanted, peri_hash_size(PERI_SHA256));
}

static void test_memory_reader(void **state)
{
    (void)state;
    char text[] = "hello, moon";
    struct peri_reader *copied = peri_reader_memory(peri_str_from(text), NULL);
    struct peri_reader *borrowed = peri_reader_borrowed(peri_str_from(text), NULL);
    struct peri_reader *empty = peri_reader_memory((struct peri_str){ NULL, 0 }, NULL);
    text[0] = 'j';
    assert_int_equal(peri_reader_size(copied), 11);
    assert_true(peri_reader_can_rewind(copied));
    char part[5];
    size_t n;
    assert_int_equal(peri_reader_read(copied, part, 5, &n, NULL), PERI_OK);
    assert_int_equal(n, 5);
    assert_reads(copied, ", moon");
    assert_int_equal(peri_reader_rewind(copied, NULL), PERI_OK);
    assert_reads(copied, "hello, moon");
    assert_reads(borrowed, "jello, moon");
    assert_reads(empty, "");
    assert_int_equal(peri_reader_size(empty), 0);
    peri_reader_free(copied);
    peri_reader_free(borrowed);
    peri_reader_free(empty);
    peri_reader_free(NULL);
}

static void test_file_reader(void **state)
{
    (void)state;
    struct peri_error err;
    assert_null(peri_reader_file(path, &err));
    assert_int_equal(err.code, PERI_IO);
    assert_non_null(strstr(err.message, path));
    assert_null(peri_reader_file(folder, &err));
    assert_non_null(strstr(err.message, "directory"));
    write_file("0123456789");
    struct peri_reader *reader = peri_reader_file(path, &err);
    assert_int_equal(peri_reader_size(reader), 10);
    assert_reads(reader, "0123456789");
    assert_int_equal(peri_reader_rewind(reader, &err), PERI_OK);
    assert_reads(reader, "0123456789");
    peri_reader_free(reader);

    int fd = open(path, O_RDONLY);
    struct peri_reader *part = peri_reader_fd(fd, 2, 3, &err);
    struct peri_reader *rest = peri_reader_fd(fd, 7, -1, &err);
    struct peri_reader *beyond = peri_reader_fd(fd, 20, -1, &err);
    assert_null(peri_reader_fd(fd, -1, 3, &err));
    assert_null(peri_reader_fd(-1, 0, 3, &err));
    assert_int_equal(peri_reader_size(part), 3);
    assert_int_equal(peri_reader_size(rest), 3);
    assert_reads(part, "234");
    assert_reads(rest, "789");
    assert_reads(beyond, "");
    assert_int_equal(peri_reader_rewind(part, &err), PERI_OK);
    assert_reads(part, "234");
    peri_reader_free(part);
    peri_reader_free(rest);
    peri_reader_free(beyond);
    assert_int_equal(close(fd), 0); /* was borrowed */

    reader = peri_reader_file("/proc/self/comm", &err); /* says that it has 0 bytes */
    assert_non_null(reader);
    assert_int_equal(peri_reader_size(reader), -1);
    char got[64];
    size_t n;
    assert_int_equal(peri_reader_read_full(reader, got, sizeof(got), &n, &err), PERI_OK);
    assert_true(n > 0);
    peri_reader_free(reader);
}

struct source {
    int left, freed;
};

static enum peri_code read_source(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    struct source *source = data;
    (void)cap;
    if (source->left == 3) {
        source->left--;
        return PERI_BUSY;
    }
    if (source->left == -1) {
        return peri_error_set(err, PERI_STORE, "the source is broken");
    }
    *n = source->left > 0;
    *(char *)out = 'x';
    source->left -= source->left > 0;
    return PERI_OK;
}

static void free_source(void *data)
{
    ((struct source *)data)->freed++;
}

static void on_resume(void *data)
{
    ++*(int *)data;
}

static void test_callback_reader(void **state)
{
    (void)state;
    struct source source = { 4, 0 };
    struct peri_error err;
    char out[8];
    size_t n;
    int resumed = 0;
    struct peri_reader *reader = peri_reader_callback(read_source, NULL, -1, &source, free_source, &err);
    peri_reader_resume(reader); /* nobody listens: no harm */
    peri_reader_on_resume(reader, on_resume, &resumed);
    peri_reader_resume(reader);
    assert_int_equal(resumed, 1);
    assert_int_equal(peri_reader_size(reader), -1);
    assert_false(peri_reader_can_rewind(reader));
    assert_int_equal(peri_reader_rewind(reader, &err), PERI_UNSUPPORTED);
    assert_int_equal(peri_reader_read_full(reader, out, 1, &n, &err), PERI_OK);
    assert_int_equal(peri_reader_read(reader, out, 8, &n, &err), PERI_BUSY);
    assert_int_equal(peri_reader_read_full(reader, out, 8, &n, &err), PERI_OK);
    assert_int_equal(n, 2);
    peri_reader_free(reader);
    assert_int_equal(source.freed, 1);

    source.left = -1;
    reader = peri_reader_callback(read_source, NULL, -1, &source, NULL, &err);
    assert_int_equal(peri_reader_read(reader, out, 8, &n, &err), PERI_STORE);
    assert_string_equal(err.message, "the source is broken");
    peri_reader_free(reader);
    assert_int_equal(source.freed, 1);
}

static void test_reader_hash(void **state)
{
    (void)state;
    struct peri_hash *hash = peri_hash_new(PERI_SHA256, NULL), *second = peri_hash_new(PERI_SHA256, NULL);
    struct peri_reader *reader = peri_reader_borrowed(peri_str_from("some bytes"), NULL);
    assert_int_equal(peri_reader_add_hash(reader, hash), PERI_OK);
    assert_int_equal(peri_reader_add_hash(reader, second), PERI_OK);
    assert_int_not_equal(peri_reader_add_hash(reader, hash), PERI_OK); /* at most two */
    char out[4];
    size_t n;
    assert_int_equal(peri_reader_read(reader, out, 4, &n, NULL), PERI_OK);
    assert_int_equal(peri_reader_rewind(reader, NULL), PERI_OK); /* what was digested does not count */
    assert_reads(reader, "some bytes");
    assert_digest(hash, "some bytes");
    assert_digest(second, "some bytes");
    peri_reader_free(reader);
    peri_hash_free(hash);
    peri_hash_free(second);
}

static void test_buf_writer(void **state)
{
    (void)state;
    struct peri_buf buf;
    struct peri_error err;
    struct peri_hash *hash = peri_hash_new(PERI_SHA256, NULL);
    peri_buf_init(&buf, 10);
    peri_buf_append_text(&buf, "ab");
    struct peri_writer *writer = peri_writer_buf(&buf, &err);
    assert_int_equal(peri_writer_add_hash(writer, hash), PERI_OK);
    assert_int_equal(peri_writer_write(writer, peri_str_from("1234"), &err), PERI_OK);
    assert_int_equal(peri_writer_restart(writer, &err), PERI_OK);
    assert_string_equal(buf.data, "ab"); /* what was there before stays */
    assert_int_equal(peri_writer_write(writer, peri_str_from("123"), &err), PERI_OK);
    assert_int_equal(peri_writer_write(writer, peri_str_from("123456"), &err), PERI_TOO_LARGE);
    assert_int_equal(peri_writer_write(writer, peri_str_from("45678"), &err), PERI_OK);
    assert_string_equal(buf.data, "ab12345678");
    assert_int_equal(peri_writer_finish(writer, PERI_OK, &err), PERI_OK);
    assert_digest(hash, "12345678");
    assert_int_equal(peri_writer_write(writer, peri_str_from("x"), &err), PERI_CLOSED);
    assert_int_equal(peri_writer_finish(writer, PERI_OK, &err), PERI_CLOSED);
    assert_int_equal(peri_writer_restart(writer, &err), PERI_CLOSED);
    peri_writer_free(writer);
    peri_writer_free(NULL);
    peri_buf_fini(&buf);
    peri_hash_free(hash);
}

static size_t files_in_folder(void)
{
    char pattern[160];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/*", folder);
    size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static void test_file_writer(void **state)
{
    (void)state;
    struct peri_error err;
    struct stat st;
    write_file("old");
    struct peri_writer *writer = peri_writer_file(path, 0640, &err);
    assert_int_equal(peri_writer_write(writer, peri_str_from("half"), &err), PERI_OK);
    assert_file("old"); /* never half a transfer */
    assert_int_equal(files_in_folder(), 2);
    assert_int_equal(peri_writer_restart(writer, &err), PERI_OK);
    assert_int_equal(peri_writer_write(writer, peri_str_from("new"), &err), PERI_OK);
    assert_int_equal(peri_writer_finish(writer, PERI_OK, &err), PERI_OK);
    peri_writer_free(writer);
    assert_file("new");
    assert_int_equal(files_in_folder(), 1);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640 & ~mask);

    writer = peri_writer_file(path, 0600, &err);
    assert_int_equal(peri_writer_write(writer, peri_str_from("x"), &err), PERI_OK);
    assert_int_equal(peri_writer_finish(writer, PERI_TRUNCATED, &err), PERI_OK);
    assert_int_equal(files_in_folder(), 1);
    peri_writer_free(writer);
    writer = peri_writer_file(path, 0600, &err);
    assert_int_equal(peri_writer_write(writer, peri_str_from("x"), &err), PERI_OK);
    peri_writer_free(writer); /* unfinished */
    assert_int_equal(files_in_folder(), 1);
    assert_file("new");

    char nowhere[160];
    snprintf(nowhere, sizeof(nowhere), "%s/none/file", folder);
    assert_null(peri_writer_file(nowhere, 0600, &err));
    assert_int_equal(err.code, PERI_IO);
    writer = peri_writer_file(path, 0600, &err);
    unlink(path);
    mkdir(path, 0700); /* the rename fails */
    assert_int_equal(peri_writer_finish(writer, PERI_OK, &err), PERI_IO);
    peri_writer_free(writer);
    rmdir(path);
    assert_int_equal(files_in_folder(), 0);
}

static void test_fd_writer(void **state)
{
    (void)state;
    struct peri_error err;
    int ends[2];
    char got[16] = "";
    assert_int_equal(pipe(ends), 0);
    struct peri_writer *writer = peri_writer_fd(ends[1], &err);
    assert_int_equal(peri_writer_restart(writer, &err), PERI_OK); /* nothing has left yet */
    assert_int_equal(peri_writer_write(writer, peri_str_from("bytes"), &err), PERI_OK);
    assert_int_equal(read(ends[0], got, sizeof(got) - 1), 5);
    assert_string_equal(got, "bytes");
    assert_int_equal(peri_writer_restart(writer, &err), PERI_UNSUPPORTED);
    assert_int_equal(peri_writer_finish(writer, PERI_OK, &err), PERI_OK);
    peri_writer_free(writer);
    assert_int_equal(close(ends[1]), 0);
    close(ends[0]);
    int full = open("/dev/full", O_WRONLY);
    writer = peri_writer_fd(full, &err);
    assert_int_equal(peri_writer_write(writer, peri_str_from("x"), &err), PERI_IO);
    assert_non_null(strstr(err.message, "No space"));
    peri_writer_free(writer);
    close(full);
}

struct sink {
    bool busy;
    int writes, finishes, freed;
    enum peri_code result;
};

static enum peri_code write_sink(void *data, struct peri_str bytes, struct peri_error *err)
{
    struct sink *sink = data;
    (void)bytes;
    (void)err;
    sink->writes++;
    return sink->busy ? PERI_BUSY : PERI_OK;
}

static enum peri_code finish_sink(void *data, enum peri_code result, struct peri_error *err)
{
    struct sink *sink = data;
    (void)err;
    sink->finishes++;
    sink->result = result;
    return PERI_OK;
}

static void free_sink(void *data)
{
    ((struct sink *)data)->freed++;
}

static void test_callback_writer(void **state)
{
    (void)state;
    struct sink sink = { .busy = true };
    int resumed = 0;
    struct peri_hash *hash = peri_hash_new(PERI_SHA256, NULL);
    struct peri_writer *writer = peri_writer_callback(write_sink, finish_sink, &sink, free_sink, NULL);
    peri_writer_add_hash(writer, hash);
    peri_writer_resume(writer);
    peri_writer_on_resume(writer, on_resume, &resumed);
    peri_writer_resume(writer);
    assert_int_equal(resumed, 1);
    assert_int_equal(peri_writer_write(writer, peri_str_from("x"), NULL), PERI_BUSY);
    assert_int_equal(peri_writer_restart(writer, NULL), PERI_OK); /* nothing was taken */
    sink.busy = false;
    assert_int_equal(peri_writer_write(writer, peri_str_from("x"), NULL), PERI_OK);
    assert_int_equal(peri_writer_restart(writer, NULL), PERI_UNSUPPORTED);
    assert_digest(hash, "x"); /* digested once */
    peri_writer_free(writer);
    assert_int_equal(sink.finishes, 1);
    assert_int_equal(sink.result, PERI_CANCELLED);
    assert_int_equal(sink.freed, 1);
    peri_hash_free(hash);
}

static void check_part(struct peri_reader *whole, int64_t offset, int64_t length, const char *expected)
{
    struct peri_error err;
    char bytes[64];
    size_t n = 0;
    struct peri_reader *part = peri_reader_part(whole, offset, length, &err);
    assert_non_null(part);
    for (int round = 0; round < 2; round++) { /* each time from its beginning, whatever others read */
        assert_int_equal(peri_reader_read_full(part, bytes, sizeof bytes, &n, &err), PERI_OK);
        assert_int_equal(n, strlen(expected));
        assert_memory_equal(bytes, expected, n);
        assert_int_equal(peri_reader_rewind(part, &err), PERI_OK);
    }
    peri_reader_free(part);
}

static enum peri_code read_nothing(void *data, void *out, size_t cap, size_t *n, struct peri_error *err)
{
    (void)data;
    (void)out;
    (void)cap;
    (void)err;
    *n = 0;
    return PERI_OK;
}

static void test_parts(void **state)
{
    struct peri_error err;
    char name[] = "/tmp/perilune-test-parts-XXXXXX";
    (void)state;
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    struct peri_reader *readers[] = { peri_reader_memory(peri_str_from("23456789"), &err),
                                      peri_reader_fd(fd, 2, -1, &err) };
    for (size_t i = 0; i < 2; i++) {
        assert_true(peri_reader_has_parts(readers[i]));
        check_part(readers[i], 0, 8, "23456789");
        check_part(readers[i], 3, 2, "56");
        check_part(readers[i], 8, 0, "");
        assert_null(peri_reader_part(readers[i], 7, 2, &err));
        assert_null(peri_reader_part(readers[i], -1, 2, &err));
        assert_int_equal(err.code, PERI_INVALID);
        peri_reader_free(readers[i]);
    }
    struct peri_reader *once = peri_reader_callback(read_nothing, NULL, -1, NULL, NULL, &err);
    assert_false(peri_reader_has_parts(once));
    assert_null(peri_reader_part(once, 0, 0, &err));
    assert_int_equal(err.code, PERI_UNSUPPORTED);
    peri_reader_free(once);
    close(fd);
}

int main(void)
{
#define WITH_FOLDER(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_reader), WITH_FOLDER(test_file_reader),     cmocka_unit_test(test_callback_reader),
        cmocka_unit_test(test_reader_hash),   cmocka_unit_test(test_buf_writer), WITH_FOLDER(test_file_writer),
        cmocka_unit_test(test_parts),         cmocka_unit_test(test_fd_writer),  cmocka_unit_test(test_callback_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
