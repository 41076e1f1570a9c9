/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

/* Uploaded files and sessions. */

struct filed {
    bool done;
    uint64_t id;
    enum peri_code code;
};

static void on_file(void *data, const struct peri_file *file, const struct peri_error *err)
{
    struct filed *filed = data;
    filed->done = true;
    filed->id = file ? file->id : 0;
    filed->code = err ? err->code : PERI_OK;
}

static void files_are_kept(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_file spec = { .external_id = (char *)(uintptr_t) "x", .name = (char *)(uintptr_t) "x.zip" };
    struct filed one = { 0 }, two = { 0 }, three = { 0 };
    peri_engine_file_create(f.engine, &spec, false, on_file, &one);
    fixture_wait(&f, &one.done);
    assert_int_equal(one.code, PERI_OK);
    peri_engine_file_create(f.engine, &spec, false, on_file, &two);
    fixture_wait(&f, &two.done);
    assert_int_equal(two.code, PERI_CONFLICT);
    peri_engine_file_create(f.engine, &spec, true, on_file, &three);
    fixture_wait(&f, &three.done);
    assert_int_equal(three.id, one.id);
    for (int i = 0; i < 2; i++) {
        char path[600], hash[65];
        memset(hash, 'a' + i, 64);
        hash[64] = '\0';
        snprintf(path, sizeof path, "%s/tmp/upload", f.dir);
        FILE *file = fopen(path, "w");
        fprintf(file, "content %d", i);
        fclose(file);
        struct filed content = { 0 };
        peri_engine_file_content(f.engine, one.id, path, hash, 9, on_file, &content);
        fixture_wait(&f, &content.done);
        assert_int_equal(content.code, PERI_OK);
    }
    fixture_close(&f);
    fixture_open(&f);
    struct peri_file file;
    assert_int_equal(peri_engine_file(f.engine, 0, peri_str_from("x"), &file, NULL), PERI_OK);
    assert_true(file.uploaded && file.size == 9 && file.hash[0] == 'b');
    char *path = peri_engine_file_path(f.engine, &file);
    char text[32] = "";
    FILE *content = fopen(path, "r");
    assert_non_null(content);
    assert_non_null(fgets(text, sizeof text, content));
    assert_string_equal(text, "content 1");
    fclose(content);
    free(path);
    file.hash[0] = 0;
    memset(file.hash, 'a', 64);
    path = peri_engine_file_path(f.engine, &file);
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
    peri_file_fini(&file);
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(peri_engine_file(f.engine, 12, (struct peri_str){ 0 }, &file, &err), PERI_NOT_FOUND);
    fixture_end(&f);
}

struct session {
    bool done;
    uint64_t id;
    char nonce[64], type[32], status[16];
    enum peri_code code;
};

static void on_created(void *data, const struct peri_session *session, const char *nonce, const struct peri_error *err)
{
    struct session *s = data;
    assert_null(err);
    s->done = true;
    s->id = session->id;
    snprintf(s->nonce, sizeof s->nonce, "%s", nonce);
}

static void on_used(void *data, const struct peri_session *session, const struct peri_error *err)
{
    struct session *s = data;
    s->done = true;
    s->code = err ? err->code : PERI_OK;
    s->id = session ? session->id : 0;
    if (session)
        snprintf(s->type, sizeof s->type, "%s", session->type);
}

static void a_nonce_is_used_once(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_session spec = { .type = "TOKEN_EXCHANGE" }, expired = { .type = "X", .expires_ms = 1000 };
    struct session made = { 0 }, old = { 0 };
    peri_engine_session_create(f.engine, &spec, on_created, &made);
    peri_engine_session_create(f.engine, &expired, on_created, &old);
    fixture_wait(&f, &made.done);
    fixture_wait(&f, &old.done);
    const struct {
        const char *nonce;
        enum peri_code code;
    } uses[] = { { "unknown", PERI_BAD_REQUEST },
                 { old.nonce, PERI_BAD_REQUEST },
                 { made.nonce, PERI_OK },
                 { made.nonce, PERI_BAD_REQUEST } };
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        struct session used = { 0 };
        peri_engine_nonce_use(f.engine, peri_str_from(uses[i].nonce), on_used, &used);
        fixture_wait(&f, &used.done);
        assert_int_equal(used.code, uses[i].code);
        assert_true(used.code != PERI_OK || (used.id == made.id && !strcmp(used.type, "TOKEN_EXCHANGE")));
    }
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_kept),
        cmocka_unit_test(a_nonce_is_used_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
