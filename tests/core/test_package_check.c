/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

#include "host/package.h"

/* Zips are made with libzip, and, where it would refuse to make them, patched afterwards. */

static char folder[512], path[600];

static void add(zip_t *zip, const char *name, const void *data, size_t len)
{
    zip_source_t *source = zip_source_buffer(zip, data, len, 0);
    assert_non_null(source);
    assert_true(zip_file_add(zip, name, source, 0) >= 0);
}

static zip_t *begin(void)
{
    int why = 0;
    unlink(path);
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_EXCL, &why);
    assert_non_null(zip);
    return zip;
}

static void finish(zip_t *zip)
{
    assert_int_equal(zip_close(zip), 0);
}

/* Replaces every occurrence in the file; both texts have the same length. */
static void patch(const char *from, const char *to)
{
    size_t len = strlen(from), count = 0;
    FILE *file = fopen(path, "r+b");
    char *bytes = malloc(1 << 20);
    size_t size = fread(bytes, 1, 1 << 20, file);
    assert_int_equal(len, strlen(to));
    for (size_t i = 0; i + len <= size; i++)
        if (!memcmp(bytes + i, from, len)) {
            memcpy(bytes + i, to, len);
            count++;
        }
    assert_true(count >= 2); /* local and central header */
    rewind(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    free(bytes);
}

static enum peri_code check(struct peri_error *err)
{
    struct peri__package_limits limits = { .total = 4 << 20 };
    return peri__package_check(path, "handler.lua", &limits, err);
}

static void assert_refused(const char *name, const char *why)
{
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(check(&err), PERI_PACKAGE);
    if (!strstr(err.message, name) || !strstr(err.message, why))
        fail_msg("'%s' does not name '%s' and '%s'", err.message, name, why);
}

static void good_packages_pass(void **state)
{
    (void)state;
    struct peri_error err = PERI_ERROR_INIT;
    zip_t *zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    add(zip, "lib/..name.lua", "x", 1);
    add(zip, "lib/gr\303\274n.lua", "x", 1);
    add(zip, "empty", "", 0);
    assert_true(zip_dir_add(zip, "./", 0) >= 0);
    assert_true(zip_dir_add(zip, "lib/", 0) >= 0);
    finish(zip);
    if (check(&err) != PERI_OK)
        fail_msg("%s", err.message);
    char hash[65];
    int64_t size = 0;
    assert_int_equal(peri__package_hash(path, hash, &size, &err), PERI_OK);
    assert_true(size > 100);
    assert_int_equal(strspn(hash, "0123456789abcdef"), 64);
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        { "../handler.lua", "points out of" },
        { "a/../../b", "points out of" },
        { "/etc/passwd", "absolute" },
        { "a\\b.lua", "backslash" },
        { "C:evil.lua", "drive" },
        { "./handler.lua", "'.'" },
        { "a//b", "empty part" },
        { "a\nb", "control" },
        { "..", "points out of" },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        zip_t *zip = begin();
        add(zip, "handler.lua", "return {}", 9);
        add(zip, names[i][0], "x", 1);
        finish(zip);
        assert_refused(strchr(names[i][0], '\n') ? "a?b" : names[i][0], names[i][1]);
    }
}

static void links_and_devices_are_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned mode;
        const char *why;
    } kinds[] = { { 0120777, "is a link" }, { 0020666, "neither a file nor a folder" }, { 0010666, "neither" } };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        zip_t *zip = begin();
        add(zip, "handler.lua", "return {}", 9);
        add(zip, "odd", "/etc/passwd", 11);
        zip_file_set_external_attributes(zip, 1, 0, ZIP_OPSYS_UNIX, kinds[i].mode << 16);
        finish(zip);
        assert_refused("odd", kinds[i].why);
    }
}

static void duplicates_are_refused(void **state)
{
    (void)state;
    zip_t *zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    add(zip, "one.lua", "x", 1);
    add(zip, "two.lua", "x", 1);
    finish(zip);
    patch("two.lua", "one.lua");
    assert_refused("one.lua", "twice");
    zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    add(zip, "lib", "x", 1);
    add(zip, "lib-a", "x", 1);
    add(zip, "lib/x.lua", "x", 1);
    finish(zip);
    assert_refused("lib", "both a file and a folder");
}

static void bombs_are_refused(void **state)
{
    (void)state;
    char *zeros = calloc(1, 8 << 20);
    zip_t *zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    add(zip, "dense", zeros, 3 << 20);
    finish(zip);
    assert_refused("dense", "bomb");
    unsigned seed = 1;
    for (size_t i = 0; i < 8 << 20; i++)
        zeros[i] = (char)((seed = seed * 1103515245 + 12345) >> 16);
    zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    add(zip, "a.bin", zeros, 3 << 20);
    add(zip, "b.bin", zeros, 3 << 20);
    finish(zip);
    assert_refused("b.bin", "more than 4194304 bytes");
    free(zeros);
    zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    for (int i = 0; i < 11; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        add(zip, name, "", 0);
    }
    finish(zip);
    struct peri__package_limits limits = { .total = 100, .entries = 11 };
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(peri__package_check(path, "handler.lua", &limits, &err), PERI_PACKAGE);
    assert_non_null(strstr(err.message, "12 entries"));
}

static void encrypted_and_damaged_entries_are_refused(void **state)
{
    (void)state;
    zip_t *zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    add(zip, "hidden.lua", "secret", 6);
    assert_int_equal(zip_file_set_encryption(zip, 1, ZIP_EM_AES_256, "password"), 0);
    finish(zip);
    assert_refused("hidden.lua", "is encrypted");
    zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    add(zip, "stored.lua", "original text", 13);
    zip_set_file_compression(zip, 1, ZIP_CM_STORE, 0);
    finish(zip);
    FILE *file = fopen(path, "r+b");
    char bytes[4096];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    char *at = memmem(bytes, size, "original", 8);
    assert_non_null(at);
    fseek(file, at - bytes, SEEK_SET);
    fputc('O', file);
    fclose(file);
    assert_refused("stored.lua", "is damaged");
}

static void missing_entry_and_no_zip(void **state)
{
    (void)state;
    struct peri_error err = PERI_ERROR_INIT;
    zip_t *zip = begin();
    add(zip, "main.lua", "return {}", 9);
    add(zip, "sub/handler.lua", "return {}", 9);
    finish(zip);
    assert_refused("handler.lua", "at its top");
    FILE *file = fopen(path, "w");
    fputs("this is not a zip, only text that is long enough to be looked at", file);
    fclose(file);
    assert_int_equal(check(&err), PERI_PACKAGE);
    assert_non_null(strstr(err.message, "not a zip"));
    file = fopen(path, "w");
    fclose(file);
    assert_int_equal(check(&err), PERI_PACKAGE);
    unlink(path);
    assert_int_equal(check(&err), PERI_IO);
}

/* Whatever single byte is wrong: never a crash, and a package that passes still has its entry. */
static void damaged_bytes_do_no_harm(void **state)
{
    (void)state;
    zip_t *zip = begin();
    add(zip, "handler.lua", "return {}", 9);
    add(zip, "a/b.lua", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 40);
    finish(zip);
    char bytes[4096];
    FILE *file = fopen(path, "rb");
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t i = 0; i < size; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            bytes[i] = (char)(bytes[i] ^ (1 << bit));
            file = fopen(path, "wb");
            fwrite(bytes, 1, size, file);
            fclose(file);
            struct peri_error err = PERI_ERROR_INIT;
            enum peri_code code = check(&err);
            assert_true(code == PERI_OK || err.message[0]);
            bytes[i] = (char)(bytes[i] ^ (1 << bit));
        }
}

static int make_folder(void **state)
{
    (void)state;
    fixture_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/p.zip", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    fixture_remove_folder(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_packages_pass),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(links_and_devices_are_refused),
        cmocka_unit_test(duplicates_are_refused),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(encrypted_and_damaged_entries_are_refused),
        cmocka_unit_test(missing_entry_and_no_zip),
        cmocka_unit_test(damaged_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
