/* SPDX-License-Identifier: MIT */
/* part: client */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zip.h>

#include "services/package.h"

/* Folders as deterministic zips. */

static char root[64];

static void path_of(char out[256], const char *name)
{
    snprintf(out, 256, "%s/%s", root, name);
}

static void write_file(const char *name, const char *text)
{
    char path[256];
    path_of(path, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void make_dir(const char *name)
{
    char path[256];
    path_of(path, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/perilune-test-package-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static enum peri_code package(const char *exclude, const char *entry, struct peri_buf *zip, struct peri_error *err)
{
    json_t *patterns = exclude ? json_loads(exclude, 0, NULL) : NULL;
    peri_buf_init(zip, SIZE_MAX / 2);
    enum peri_code code =
        peri__package_folder(root, &(struct peri_package_options){ .exclude = patterns, .entry = entry }, zip, err);
    json_decref(patterns);
    return code;
}

/* The names in the zip, each with a blank behind it. */
static void list(struct peri_buf *zip, char *out, size_t size)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(zip->data, zip->len, 0, &error);
    zip_t *archive = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
    if (!archive)
        fail_msg("%s", zip_error_strerror(&error));
    out[0] = '\0';
    for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); i++) {
        zip_stat_t st;
        zip_uint8_t system = 0;
        zip_uint32_t attributes = 0;
        assert_int_equal(zip_stat_index(archive, (zip_uint64_t)i, 0, &st), 0);
        zip_file_get_external_attributes(archive, (zip_uint64_t)i, 0, &system, &attributes);
        assert_int_equal(attributes >> 16, S_IFREG | 0644);
        struct tm date;
        localtime_r(&st.mtime, &date);
        assert_int_equal(date.tm_year, 80);
        assert_int_equal(date.tm_mon, 0);
        assert_int_equal(date.tm_mday, 1);
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s ", st.name);
    }
    zip_discard(archive);
    zip_error_fini(&error);
}

static void assert_names(const char *exclude, const char *expected)
{
    struct peri_buf zip;
    struct peri_error err = PERI_ERROR_INIT;
    char names[2048];
    if (package(exclude, NULL, &zip, &err) != PERI_OK)
        fail_msg("%s", err.message);
    list(&zip, names, sizeof names);
    assert_string_equal(names, expected);
    peri_buf_fini(&zip);
}

static void assert_refused(const char *exclude, const char *entry, enum peri_code code, const char *part)
{
    struct peri_buf zip;
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(package(exclude, entry, &zip, &err), code);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part))
        fail_msg("'%s' does not say '%s'", err.message, part);
    assert_int_equal(zip.len, 0);
    peri_buf_fini(&zip);
}

static void test_sorted_and_whole(void **state)
{
    (void)state;
    write_file("b.lua", "b");
    write_file("handler.lua", "return {}");
    make_dir("sub");
    write_file("sub/x.txt", "");
    write_file("Z.txt", "z");
    make_dir("empty");
    make_dir(".git");
    write_file(".git/config", "x");
    make_dir("sub/__pycache__");
    write_file("sub/__pycache__/a.pyc", "x");
    write_file(".hidden", "h");
    assert_names(NULL, ".hidden Z.txt b.lua handler.lua sub/x.txt ");
    assert_true(peri__package_has(root, "handler.lua"));
    assert_false(peri__package_has(root, "sub"));
}

/* Neither dates nor modes nor the order of creation show. */
static void test_same_files_same_bytes(void **state)
{
    struct peri_buf first;
    struct peri_buf second;
    struct peri_error err;
    char path[256];
    write_file("a", "one");
    write_file("b", "two two two two two two two two");
    assert_int_equal(package(NULL, NULL, &first, &err), PERI_OK);
    assert_int_equal(teardown(state), 0);
    setup(state);
    write_file("b", "two two two two two two two two");
    write_file("a", "one");
    path_of(path, "a");
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){ { .tv_sec = 5 }, { .tv_sec = 1e9 } }, 0), 0);
    setenv("TZ", "Asia/Tokyo", 1);
    tzset();
    assert_int_equal(package(NULL, NULL, &second, &err), PERI_OK);
    unsetenv("TZ");
    tzset();
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    peri_buf_fini(&first);
    peri_buf_fini(&second);
}

static void test_exclude(void **state)
{
    (void)state;
    write_file("handler.lua", "");
    write_file("a.log", "");
    write_file("keep.log", "");
    make_dir("build");
    write_file("build/x", "");
    make_dir("src");
    write_file("src/build", "");
    write_file("src/a.log", "");
    write_file(".periluneignore", "# what is made\r\n*.log\n!keep.log\n\nbuild/\n");
    assert_names(NULL, "handler.lua keep.log src/build ");
    assert_names("[\"/src\"]", "handler.lua keep.log ");
    assert_names("[\"keep.log\",\"src/**\"]", "handler.lua ");
    assert_names("[\"!*.log\"]", "a.log handler.lua keep.log src/a.log src/build ");
    assert_refused("[\"*\"]", NULL, PERI_PACKAGE, "the folder is empty");
    assert_refused("[1]", NULL, PERI_INVALID, "'exclude' must hold strings");
    assert_refused("[\"handler.lua\"]", "handler.lua", PERI_PACKAGE, "is left out by a pattern");
}

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool folder, matches;
    } cases[] = {
        { "*.c", "a.c", false, true },        { "*.c", "x/y/a.c", false, true },
        { "/*.c", "x/a.c", false, false },    { "/*.c", "a.c", false, true },
        { "x/*.c", "x/a.c", false, true },    { "x/*.c", "x/y/a.c", false, false },
        { "x/**/a.c", "x/a.c", false, true }, { "x/**/a.c", "x/y/z/a.c", false, true },
        { "**/b", "b", false, true },         { "**/b", "a/b", false, true },
        { "b/**", "b", true, false },         { "b/**", "b/c/d", false, true },
        { "b/", "b", false, false },          { "b/", "a/b", true, true },
        { "[ab].txt", "b.txt", false, true }, { "a?c", "abc", false, true },
        { "a?c", "a/c", false, false },       { "\\#x", "#x", false, true },
        { "#x", "#x", false, false },         { "", "x", false, false },
        { "!x", "x", false, false },          { "x ", "x", false, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peri_ignore *ignore = peri__ignore_new();
        assert_int_equal(peri__ignore_add(ignore, peri_str_from(cases[i].pattern)), PERI_OK);
        if (peri__ignore_match(ignore, cases[i].path, cases[i].folder) != cases[i].matches)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].path);
        peri__ignore_free(ignore);
    }
    peri__ignore_free(NULL);
}

static void make_link(const char *target, const char *name)
{
    char path[256];
    path_of(path, name);
    assert_int_equal(symlink(target, path), 0);
}

static void drop(const char *name)
{
    char path[256];
    path_of(path, name);
    assert_int_equal(unlink(path), 0);
}

static void test_links(void **state)
{
    char path[256];
    (void)state;
    write_file("handler.lua", "x");
    make_dir("sub");
    write_file("sub/y", "");
    make_link("handler.lua", "alias.lua");
    assert_names(NULL, "alias.lua handler.lua sub/y ");
    make_link("/etc/hostname", "out");
    assert_refused(NULL, NULL, PERI_PACKAGE, "out: the link leaves the folder (to /etc/hostname)");
    assert_names("[\"out\"]", "alias.lua handler.lua sub/y ");
    drop("out");
    make_link("nowhere", "broken");
    assert_refused(NULL, NULL, PERI_PACKAGE, "broken: the link leads nowhere");
    drop("broken");
    make_link(".", "sub/loop");
    assert_refused(NULL, NULL, PERI_PACKAGE, "sub/loop: links to folders can't be packaged");
    drop("sub/loop");
    /* a folder beside it whose name begins alike is outside */
    snprintf(path, sizeof path, "%s-beside", root);
    FILE *beside = fopen(path, "we");
    fclose(beside);
    make_link(path, "near");
    assert_refused(NULL, NULL, PERI_PACKAGE, "near: the link leaves the folder");
    drop("near");
    unlink(path);
    path_of(path, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(NULL, NULL, PERI_PACKAGE, "pipe: neither a file nor a folder");
}

static void test_refusals(void **state)
{
    (void)state;
    struct peri_buf zip;
    struct peri_error err;
    peri_buf_init(&zip, 1000);
    assert_refused(NULL, NULL, PERI_PACKAGE, "the folder is empty");
    write_file("a", "12345");
    assert_refused(NULL, "handler.lua", PERI_PACKAGE, "the entry file handler.lua does not exist");
    struct peri_package_options small = { .max_bytes = 4 };
    assert_int_equal(peri__package_folder(root, &small, &zip, &err), PERI_TOO_LARGE);
    assert_non_null(strstr(err.message, "larger than 4 bytes (at a)"));
    small.max_bytes = 5;
    assert_int_equal(peri__package_folder(root, &small, &zip, &err), PERI_OK);
    peri_buf_fini(&zip);
    struct peri_package_options none = { 0 };
    assert_int_equal(peri__package_folder("/nonexistent/x", &none, &zip, &err), PERI_PACKAGE);
    assert_non_null(strstr(err.message, "can't read the folder /nonexistent/x"));
    char path[256];
    path_of(path, "a");
    assert_int_equal(peri__package_folder(path, &none, &zip, &err), PERI_PACKAGE);
    assert_non_null(strstr(err.message, "is not a folder"));
    assert_int_equal(peri__package_folder("/nonexistent/x", &none, &zip, NULL), PERI_PACKAGE);
    peri_buf_fini(&zip);
}

/* One file from memory is what a folder with that file alone is. */
static void test_source(void **state)
{
    (void)state;
    static const char text[] = "return {}\n";
    struct peri_buf zip;
    struct peri_buf from_folder;
    struct peri_error err;
    peri_buf_init(&zip, 4096);
    write_file("handler.lua", text);
    assert_int_equal(package(NULL, "handler.lua", &from_folder, &err), PERI_OK);
    assert_int_equal(peri__package_source("handler.lua", peri_str_from(text), &zip, &err), PERI_OK);
    assert_true(peri_str_equal(peri_buf_str(&zip), peri_buf_str(&from_folder)));
    peri_buf_clear(&zip);
    assert_int_equal(peri__package_source("a.lua", peri_str_from(""), &zip, NULL), PERI_OK);
    peri_buf_fini(&zip);
    peri_buf_fini(&from_folder);
}

/* The entry of a folder must be what the platform takes, when it is a Python file. */
static void test_python_entry(void **state)
{
    (void)state;
    struct peri_buf zip;
    struct peri_error err;
    struct peri_package_options options = { .entry = "handler.py", .python = true };
    peri_buf_init(&zip, 4096);
    write_file("handler.py", "x = 1\ndef handle(date): pass\n");
    assert_int_equal(peri__package_folder(root, &options, &zip, &err), PERI_PACKAGE);
    assert_non_null(strstr(err.message, "/handler.py:2: handle has an argument 'date'"));
    options.python = false;
    assert_int_equal(peri__package_folder(root, &options, &zip, &err), PERI_OK);
    peri_buf_fini(&zip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sorted_and_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_files_same_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exclude, setup, teardown),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test_setup_teardown(test_links, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_source, setup, teardown),
        cmocka_unit_test_setup_teardown(test_python_entry, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
