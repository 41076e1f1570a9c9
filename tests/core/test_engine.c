/* SPDX-License-Identifier: MIT */
/* part: host */
#include "support/engine_fixture.h"

#include <jansson.h>
#include <sys/stat.h>

#include "perilune/hash.h"
#include "perilune/seal.h"

/* ---- deploying ---- */

static void deploys_and_calls(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "report");
    assert_int_equal(function->status, PERI_FN_READY);
    assert_int_equal(function->version, 1);
    assert_string_equal(function->external_id, "report");
    assert_int_equal(strlen(function->code_hash), 64);
    struct peri_call *call = fixture_call(&f, function, "{\"n\":1}", false);
    assert_int_equal(call->state, PERI_CALL_COMPLETED);
    assert_int_equal(call->code, PERI_OK);
    assert_body(call, "{\"n\":1}");
    assert_string_equal(call->content_type, "application/json");
    assert_int_equal(call->cpu_us, 17);
    assert_int_equal(call->memory_peak, 4096);
    assert_int_equal(call->version, 1);
    assert_true(call->end_ms >= call->start_ms && call->start_ms >= call->created_ms);
    peri_call_unref(call);
    peri_function_unref(function);
    fixture_end(&f);
}

static void unchanged_deployments_make_no_version(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    fixture_start(&f);
    struct peri_function *one = fixture_try_deploy(&f, "f", "return 1", NULL, true, &err);
    struct peri_function *two = fixture_try_deploy(&f, "f", "return 1", NULL, true, &err);
    struct peri_function *three = fixture_try_deploy(&f, "f", "return 1", "{\"A\":\"b\"}", true, &err);
    struct peri_function *four = fixture_try_deploy(&f, "f", "return 2", "{\"A\":\"b\"}", true, &err);
    assert_int_equal(one->version, 1);
    assert_int_equal(two->version, 1);
    assert_int_equal(two->version_id, one->version_id);
    assert_int_equal(three->version, 2);
    assert_int_equal(four->version, 3);
    assert_true(four->id == one->id && four->version_id != one->version_id);
    assert_string_not_equal(four->code_hash, one->code_hash);
    assert_null(fixture_try_deploy(&f, "f", "return 3", NULL, false, &err));
    assert_int_equal(err.code, PERI_CONFLICT);
    peri_function_unref(one);
    peri_function_unref(two);
    peri_function_unref(three);
    peri_function_unref(four);
    fixture_end(&f);
}

static void a_broken_version_leaves_the_earlier_one_in_service(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    fixture_start(&f);
    assert_null(fixture_try_deploy(&f, "new", "return 1", "{\"X\":\"BROKEN\"}", true, &err));
    assert_int_equal(err.code, PERI_PACKAGE);
    assert_string_equal(err.message, "handler.lua:3: unexpected symbol near 'end'");
    struct peri_function *failed = peri_engine_function_by_name(f.engine, peri_str_from("new"));
    assert_non_null(failed);
    assert_int_equal(failed->status, PERI_FN_FAILED);
    assert_string_equal(failed->error_trace, "handler.lua:3");
    struct called c = { 0 };
    assert_int_equal(fixture_submit(&f, failed, "1", false, 0, &c), PERI_CONFLICT);
    peri_function_unref(failed);

    struct peri_function *good = fixture_deploy(&f, "old");
    assert_null(fixture_try_deploy(&f, "old", "return 2", "{\"X\":\"BROKEN\"}", true, &err));
    assert_int_equal(err.code, PERI_PACKAGE);
    struct peri_function *still = peri_engine_function_by_name(f.engine, peri_str_from("old"));
    assert_int_equal(still->status, PERI_FN_READY);
    assert_int_equal(still->version_id, good->version_id);
    assert_non_null(strstr(still->error_message, "handler.lua:3"));
    struct peri_call *call = fixture_call(&f, still, "1", false);
    assert_int_equal(call->state, PERI_CALL_COMPLETED);
    peri_call_unref(call);
    peri_function_unref(still);
    peri_function_unref(good);

    /* And one whose top level kills the sandbox. */
    assert_null(fixture_try_deploy(&f, "killer", "return 2", "{\"X\":\"CRASH\"}", true, &err));
    assert_int_equal(err.code, PERI_PACKAGE);
    assert_non_null(strstr(err.message, "signal 9"));
    fixture_end(&f);
}

static void a_package_is_checked_first(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    char path[600];
    snprintf(path, sizeof path, "%s/elsewhere.zip", f.dir);
    fixture_zip(path, "../evil.lua", "x");
    struct peri_function spec = { .external_id = (char *)(uintptr_t) "evil", .entry = NULL };
    struct peri_deploy deploy = { .spec = &spec, .package_path = path, .replace = true, .wait = true };
    struct deployed d = { 0 };
    peri_engine_deploy(f.engine, &deploy, fixture__deployed, &d);
    fixture_wait(&f, &d.done);
    assert_null(d.function);
    assert_int_equal(d.err.code, PERI_PACKAGE);
    assert_non_null(strstr(d.err.message, "../evil.lua"));
    assert_null(peri_engine_function_by_name(f.engine, peri_str_from("evil")));
    fixture_end(&f);
}

static void deployments_of_one_name_follow_each_other(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct deployed d[5] = { 0 };
    for (int i = 0; i < 5; i++) {
        char path[600], code[32];
        snprintf(path, sizeof path, "%s/tmp/n%d.zip", f.dir, i);
        snprintf(code, sizeof code, "return %d", i);
        fixture_zip(path, "handler.lua", code);
        struct peri_function spec = { .external_id = (char *)(uintptr_t) "one" };
        struct peri_deploy deploy = { .spec = &spec, .package_path = path, .replace = true, .wait = i % 2 == 0 };
        peri_engine_deploy(f.engine, &deploy, fixture__deployed, &d[i]);
    }
    uint64_t id = 0;
    for (int i = 0; i < 5; i++) {
        fixture_wait(&f, &d[i].done);
        assert_non_null(d[i].function);
        assert_int_equal(d[i].function->version, i + 1);
        assert_true(!id || d[i].function->id == id);
        id = d[i].function->id;
        peri_function_unref(d[i].function);
    }
    fixture_end(&f);
}

static void running_calls_finish_on_the_old_version(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_function *one = fixture_try_deploy(&f, "f", "return 1", NULL, true, NULL);
    struct called slow = { 0 };
    assert_int_equal(fixture_submit(&f, one, "sleep 700", false, 0, &slow), PERI_OK);
    peri_loop_run_once(f.loop, 0, NULL);
    struct peri_function *two = fixture_try_deploy(&f, "f", "return 2", NULL, true, NULL);
    struct peri_call *call = fixture_call(&f, one, "version", false);
    assert_int_equal(call->version_id, two->version_id);
    peri_call_unref(call);
    fixture_wait(&f, &slow.finished);
    assert_int_equal(slow.call->state, PERI_CALL_COMPLETED);
    assert_int_equal(slow.call->version_id, one->version_id);
    peri_call_unref(slow.call);
    peri_function_unref(one);
    peri_function_unref(two);
    fixture_end(&f);
}

/* ---- calls ---- */

static void failures_have_message_and_trace(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct peri_call *call = fixture_call(&f, function, "fail", false);
    assert_int_equal(call->state, PERI_CALL_FAILED);
    assert_int_equal(call->code, PERI_HANDLER_FAILED);
    assert_string_equal(call->error_message, "handler.lua:7: no rows");
    assert_non_null(strstr(call->error_trace, "traceback"));
    peri_call_unref(call);
    struct called c = { 0 };
    assert_int_equal(fixture_submit(&f, function, "sleep 60000", true, 50, &c), PERI_OK);
    fixture_wait(&f, &c.finished);
    assert_int_equal(c.call->state, PERI_CALL_TIMEOUT);
    assert_int_equal(c.call->code, PERI_HANDLER_TIMEOUT);
    peri_call_unref(c.call);
    peri_function_unref(function);
    fixture_end(&f);
}

static void answers_of_other_shapes(void **state)
{
    (void)state;
    struct fixture f = { .options.response_limit = 100000 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct peri_call *call = fixture_call(&f, function, "big 100000", false);
    assert_int_equal(call->status, 201);
    assert_string_equal(call->content_type, "text/x");
    assert_string_equal(call->headers, "{\"x-fake\":\"yes\"}");
    assert_int_equal(call->response.len, 100000);
    peri_call_unref(call);
    call = fixture_call(&f, function, "big 100001", false);
    assert_int_equal(call->state, PERI_CALL_FAILED);
    assert_non_null(strstr(call->error_message, "100001"));
    peri_call_unref(call);
    call = fixture_call(&f, function, "chunks", false);
    assert_body(call, "abcd");
    assert_int_equal(call->status, 202);
    assert_string_equal(call->content_type, "text/plain");
    peri_call_unref(call);
    peri_function_unref(function);
    fixture_end(&f);
}

static void seal(struct fixture *f, struct peri_function *spec, const char *value)
{
    json_t *object = json_pack("{s:s}", "key", value);
    assert_int_equal(peri_engine_seal(f->engine, object, &spec->secrets, &spec->secret_names, NULL), PERI_OK);
    json_decref(object);
}

/* As a sandbox opens it. */
static void assert_opens(const json_t *sealed, const char *expected)
{
    struct peri_buf key, text, plain;
    peri_buf_init(&key, 1024);
    peri_buf_init(&text, 1024);
    peri_buf_init(&plain, 1024);
    assert_int_equal(peri_base64_decode(&key, peri_str_from(json_string_value(json_object_get(sealed, "key"))), NULL),
                     PERI_OK);
    assert_int_equal(peri_base64_decode(&text, peri_str_from(json_string_value(json_object_get(sealed, "text"))), NULL),
                     PERI_OK);
    assert_int_equal(key.len, PERI_SEAL_KEY);
    assert_int_equal(
        peri_unseal((const unsigned char *)key.data, (struct peri_str){ NULL, 0 }, peri_buf_str(&text), &plain, NULL),
        PERI_OK);
    assert_string_equal(plain.data, expected);
    peri_buf_fini(&key);
    peri_buf_fini(&text);
    peri_buf_fini(&plain);
}

static void the_invocation_tells_the_call(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    char path[600];
    snprintf(path, sizeof path, "%s/s.zip", f.dir);
    fixture_zip(path, "handler.lua", "return {}");
    struct peri_function spec = { .external_id = (char *)(uintptr_t) "with \"secrets\"" };
    seal(&f, &spec, "s3cret");
    struct peri_deploy deploy = { .spec = &spec, .package_path = path, .replace = true, .wait = true };
    struct deployed d = { 0 };
    peri_engine_deploy(f.engine, &deploy, fixture__deployed, &d);
    free(spec.secrets);
    free(spec.secret_names);
    fixture_wait(&f, &d.done);
    assert_non_null(d.function);
    struct peri_call *call = fixture_call(&f, d.function, "meta", false);
    json_t *meta = json_loadb(call->response.data, call->response.len, 0, NULL);
    json_t *inner = json_object_get(meta, "call");
    assert_int_equal(json_integer_value(json_object_get(inner, "id")), call->id);
    assert_int_equal(json_integer_value(json_object_get(inner, "function_id")), d.function->id);
    assert_int_equal(json_integer_value(json_object_get(inner, "attempt")), 1);
    assert_int_equal(json_integer_value(json_object_get(inner, "deadline")), call->start_ms + 600000);
    assert_string_equal(json_string_value(json_object_get(inner, "function_name")), "with \"secrets\"");
    assert_string_equal(json_string_value(json_object_get(json_object_get(meta, "request"), "method")), "POST");
    assert_null(json_object_get(meta, "secrets"));
    assert_opens(json_object_get(meta, "sealed"), "{\"key\":\"s3cret\"}");
    json_decref(meta);
    peri_call_unref(call);
    peri_function_unref(d.function);
    fixture_end(&f);
}

static void deploy_sealed(struct fixture *f, const char *value)
{
    char path[600];
    snprintf(path, sizeof path, "%s/s.zip", f->dir);
    fixture_zip(path, "handler.lua", "return {}");
    struct peri_function spec = { .external_id = (char *)(uintptr_t) "f" };
    seal(f, &spec, value);
    struct peri_deploy deploy = { .spec = &spec, .package_path = path, .replace = true, .wait = true };
    struct deployed d = { 0 };
    peri_engine_deploy(f->engine, &deploy, fixture__deployed, &d);
    free(spec.secrets);
    free(spec.secret_names);
    fixture_wait(f, &d.done);
    assert_non_null(d.function);
    peri_function_unref(d.function);
}

static unsigned version_of(struct fixture *f)
{
    struct peri_function *function = peri_engine_function_by_name(f->engine, peri_str_from("f"));
    assert_non_null(function);
    assert_string_equal(function->secret_names, "{\"key\":\"***\"}");
    unsigned version = function->version;
    peri_function_unref(function);
    return version;
}

static void assert_secret(struct fixture *f, const char *expected)
{
    struct peri_function *function = peri_engine_function_by_name(f->engine, peri_str_from("f"));
    struct peri_call *call = fixture_call(f, function, "meta", false);
    json_t *meta = json_loadb(call->response.data, call->response.len, 0, NULL);
    assert_opens(json_object_get(meta, "sealed"), expected);
    json_decref(meta);
    peri_call_unref(call);
    peri_function_unref(function);
}

static void secrets_are_kept_sealed_and_survive_a_restart(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    char command[700], key[600];
    struct stat st;
    fixture_start(&f);
    deploy_sealed(&f, "s3cret");
    deploy_sealed(&f, "s3cret"); /* nothing changed: no new version */
    assert_int_equal(version_of(&f), 1);
    fixture_close(&f);
    snprintf(command, sizeof command, "grep -r s3cret '%s' >/dev/null", f.dir);
    assert_int_not_equal(system(command), 0);
    snprintf(key, sizeof key, "%s/secrets.key", f.dir);
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, PERI_SEAL_KEY);
    fixture_open(&f);
    assert_secret(&f, "{\"key\":\"s3cret\"}");
    deploy_sealed(&f, "other");
    assert_int_equal(version_of(&f), 2);
    assert_secret(&f, "{\"key\":\"other\"}");
    fixture_end(&f);
}

static void the_sandbox_sees_no_secrets_of_the_host(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    setenv("PERILUNE_TOKEN", "t0ken", 1);
    setenv("AWS_SECRET", "t0ken", 1);
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct peri_call *call = fixture_call(&f, function, "env", false);
    struct peri_str text = peri_buf_str(&call->response);
    assert_null(memmem(text.data, text.len, "t0ken", 5));
    assert_non_null(memmem(text.data, text.len, "PATH=", 5));
    assert_non_null(memmem(text.data, text.len, "TMPDIR=", 7));
    peri_call_unref(call);
    peri_function_unref(function);
    fixture_end(&f);
    unsetenv("PERILUNE_TOKEN");
    unsetenv("AWS_SECRET");
}

struct lines {
    size_t count;
    char last[128];
    enum peri_log_level level;
    bool ended;
    enum peri_call_state state;
};

static void take_line(void *data, size_t index, const struct peri_log_line *line)
{
    struct lines *lines = data;
    (void)index;
    lines->count++;
    lines->level = line->level;
    snprintf(lines->last, sizeof lines->last, "%s", line->text);
}

static void take_end(void *data, struct peri_call *call)
{
    struct lines *lines = data;
    assert_false(lines->ended);
    lines->ended = true;
    lines->state = call->state;
}

static void logs_are_kept_and_followed(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    for (int async = 0; async < 2; async++) {
        struct called c = { 0 };
        assert_int_equal(fixture_submit(&f, function, "log 200", async, 0, &c), PERI_OK);
        if (async)
            fixture_wait(&f, &c.accepted);
        struct lines seen = { 0 }, read = { 0 }, stored = { 0 }, gone = { 0 };
        struct peri_watch watch = { take_line, take_end, &seen };
        assert_int_not_equal(peri_engine_watch(f.engine, c.id, &watch), 0);
        watch.data = &gone;
        peri_engine_unwatch(f.engine, peri_engine_watch(f.engine, c.id, &watch));
        fixture_wait(&f, &c.finished);
        fixture_wait(&f, &seen.ended);
        assert_int_equal(seen.count, 3);
        assert_int_equal(seen.state, PERI_CALL_COMPLETED);
        assert_string_equal(seen.last, "three");
        assert_int_equal(seen.level, PERI_LOG_ERROR);
        assert_int_equal(gone.count + gone.ended, 0);
        assert_int_equal(peri_engine_watch(f.engine, c.id, &watch), 0);
        assert_int_equal(peri_engine_log(f.engine, c.id, 1, take_line, &read, NULL), PERI_OK);
        assert_int_equal(read.count, 2);
        peri_call_unref(c.call);
        fixture_close(&f);
        fixture_open(&f);
        assert_int_equal(peri_engine_log(f.engine, c.id, 2, take_line, &stored, NULL), PERI_OK);
        assert_int_equal(stored.count, 1);
        assert_string_equal(stored.last, "three");
        peri_function_unref(function);
        function = peri_engine_function_by_name(f.engine, peri_str_from("f"));
    }
    struct peri_error err = PERI_ERROR_INIT;
    struct lines none = { 0 };
    assert_int_equal(peri_engine_log(f.engine, 7, 0, take_line, &none, &err), PERI_NOT_FOUND);
    peri_function_unref(function);
    fixture_end(&f);
}

static void a_log_has_a_limit(void **state)
{
    (void)state;
    struct fixture f = { .options.log_limit = 1000 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct peri_call *call = fixture_call(&f, function, "flood 1000", false);
    struct lines lines = { 0 };
    peri_engine_log(f.engine, call->id, 0, take_line, &lines, NULL);
    assert_int_equal(lines.count, 1000 / 41 + 1);
    assert_non_null(strstr(lines.last, "cut"));
    peri_call_unref(call);
    peri_function_unref(function);
    fixture_end(&f);
}

static void calls_can_be_cancelled(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1, .options.watchdog_ms = 2000 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    for (int async = 0; async < 2; async++) {
        struct called c = { 0 }, early = { 0 }, deaf = { 0 };
        fixture_submit(&f, function, "sleep 100000", async, 0, &early);
        peri_engine_cancel(f.engine, early.id); /* before it started */
        assert_false(early.finished);
        fixture_wait(&f, &early.finished);
        assert_int_equal(early.call->state, PERI_CALL_CANCELLED);
        fixture_submit(&f, function, "log 100000", async, 0, &c);
        fixture_submit(&f, function, "ignore", async, 0, &deaf);
        struct lines lines = { 0 };
        while (!lines.count) {
            peri_loop_run_once(f.loop, 10, NULL);
            peri_engine_log(f.engine, c.id, 0, take_line, &lines, NULL);
        }
        peri_engine_cancel(f.engine, c.id);
        peri_engine_cancel(f.engine, deaf.id);
        fixture_wait(&f, &c.finished);
        assert_int_equal(c.call->state, PERI_CALL_CANCELLED);
        assert_int_equal(c.call->code, PERI_CANCELLED);
        fixture_wait(&f, &deaf.finished); /* the backstop */
        assert_int_equal(deaf.call->state, PERI_CALL_CANCELLED);
        peri_call_unref(c.call);
        peri_call_unref(early.call);
        peri_call_unref(deaf.call);
    }
    peri_function_unref(function);
    fixture_end(&f);
}

static void a_deadline_that_the_sandbox_forgets(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1, .options.watchdog_ms = 2000 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct called c = { 0 }, after = { 0 };
    fixture_submit(&f, function, "ignore", false, 100, &c);
    fixture_submit(&f, function, "sleep 200000", false, 0, &after);
    fixture_wait(&f, &c.finished);
    assert_int_equal(c.call->state, PERI_CALL_TIMEOUT);
    /* It does not even listen to the cancel: the sandbox goes, and its other calls are told why. */
    fixture_wait(&f, &after.finished);
    assert_int_equal(after.call->code, PERI_SANDBOX_LOST);
    assert_non_null(strstr(after.call->error_message, "did not end call"));
    peri_call_unref(c.call);
    peri_call_unref(after.call);
    peri_function_unref(function);
    fixture_end(&f);
}

static void forgotten_submitters_hear_nothing(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 }; /* so that the second call ends last */
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct called c = { 0 };
    fixture_submit(&f, function, "1", false, 0, &c);
    peri_engine_forget(f.engine, c.id, &c);
    struct peri_call *other = fixture_call(&f, function, "2", false);
    assert_false(c.finished);
    struct peri_call *call = peri_engine_call(f.engine, c.id, true, NULL);
    assert_int_equal(call->state, PERI_CALL_COMPLETED);
    peri_call_unref(call);
    peri_call_unref(other);
    peri_function_unref(function);
    fixture_end(&f);
}

/* ---- reading records ---- */

struct ids {
    uint64_t ids[256];
    size_t count;
};

static void take_id(void *data, const struct peri_call *call)
{
    struct ids *ids = data;
    assert_true(!ids->count || ids->ids[ids->count - 1] > call->id);
    ids->ids[ids->count++] = call->id;
}

static void every_call_leaves_a_record(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_function *a = fixture_deploy(&f, "a"), *b = fixture_deploy(&f, "b");
    uint64_t last = 0;
    for (int i = 0; i < 40; i++) {
        struct peri_call *call = fixture_call(&f, i % 4 ? a : b, i % 8 == 1 ? "fail" : "1", i % 2);
        assert_true(call->id > last);
        last = call->id;
        peri_call_unref(call);
    }
    for (int round = 0; round < 2; round++) { /* partly from memory, then from the store alone */
        struct ids all = { 0 }, of_b = { 0 }, failed = { 0 }, page = { 0 };
        struct peri_call_filter filter = { .state = -1 };
        assert_int_equal(peri_engine_calls(f.engine, &filter, 100, take_id, &all, NULL), PERI_OK);
        assert_int_equal(all.count, 40);
        assert_int_equal(all.ids[0], last);
        filter.function_id = b->id;
        peri_engine_calls(f.engine, &filter, 100, take_id, &of_b, NULL);
        assert_int_equal(of_b.count, 10);
        filter = (struct peri_call_filter){ .state = PERI_CALL_FAILED };
        peri_engine_calls(f.engine, &filter, 100, take_id, &failed, NULL);
        assert_int_equal(failed.count, 5);
        filter = (struct peri_call_filter){ .state = -1, .before_id = all.ids[9] };
        peri_engine_calls(f.engine, &filter, 10, take_id, &page, NULL);
        assert_int_equal(page.count, 10);
        assert_memory_equal(page.ids, all.ids + 10, 10 * sizeof *page.ids);
        fixture_close(&f);
        fixture_open(&f);
    }
    struct peri_call *call = peri_engine_call(f.engine, last, true, NULL);
    assert_body(call, "1");
    assert_memory_equal(call->request.data, "1", 1);
    assert_string_equal(call->request_meta, "{\"method\":\"POST\"}");
    peri_call_unref(call);
    peri_function_unref(a);
    peri_function_unref(b);
    fixture_end(&f);
}

static void large_bodies(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    size_t len = 3000000;
    char *body = malloc(len + 1);
    memset(body, 'a', len);
    body[len] = '\0';
    for (int async = 0; async < 2; async++) {
        struct peri_call *call = fixture_call(&f, function, body, async);
        assert_int_equal(call->response.len, len);
        uint64_t id = call->id;
        peri_call_unref(call);
        fixture_close(&f);
        fixture_open(&f);
        call = peri_engine_call(f.engine, id, true, NULL);
        assert_int_equal(call->response.len, async ? len : 0);
        assert_int_equal(call->request.len, async ? len : 0);
        peri_call_unref(call);
    }
    free(body);
    peri_function_unref(function);
    fixture_end(&f);
}

static void the_queue_has_a_limit(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1, .options.queue_limit = 10 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    static struct called calls[600];
    memset(calls, 0, sizeof calls);
    int taken = 0;
    while (taken < 600 && fixture_submit(&f, function, "sleep 300", false, 0, &calls[taken]) == PERI_OK)
        taken++;
    assert_int_equal(taken, 512 + 10);
    assert_int_equal(calls[taken].err.code, PERI_UNAVAILABLE);
    assert_true(calls[taken].err.retry_after_ms > 0);
    for (int i = 0; i < taken; i++) {
        fixture_wait(&f, &calls[i].finished);
        assert_int_equal(calls[i].call->state, PERI_CALL_COMPLETED);
        peri_call_unref(calls[i].call);
    }
    peri_function_unref(function);
    fixture_end(&f);
}

/* ---- the folder ---- */

static void one_host_per_folder(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_engine *second = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    char pid[32];
    assert_int_equal(peri_engine_new(f.loop, &f.options, &second, &err), PERI_BUSY);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    assert_non_null(strstr(err.message, pid));
    assert_null(second);
    fixture_end(&f);
    struct fixture g = { 0 };
    fixture_folder(g.dir, sizeof g.dir);
    g.loop = peri_loop_new(NULL);
    struct peri_engine_options options = { .data_dir = g.dir, .sandbox_path = "/nonexistent/sandbox" };
    assert_int_equal(peri_engine_new(g.loop, &options, &second, &err), PERI_IO);
    assert_non_null(strstr(err.message, "/nonexistent/sandbox"));
    options.data_dir = "/proc/nowhere";
    assert_int_equal(peri_engine_new(g.loop, &options, &second, &err), PERI_IO);
    peri_loop_free(g.loop);
    fixture_remove_folder(g.dir);
}

static void on_deleted(void *data, const struct peri_error *err)
{
    int *code = data;
    *code = err ? (int)err->code : -1;
}

static void deleting_takes_everything_along(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    fixture_start(&f);
    struct peri_function *a = fixture_deploy(&f, "a");
    struct peri_call *call = fixture_call(&f, a, "1", true);
    struct called running = { 0 };
    fixture_submit(&f, a, "sleep 300", false, 0, &running);
    peri_loop_run_once(f.loop, 0, NULL);
    int code = 0;
    peri_engine_delete(f.engine, a->id, on_deleted, &code);
    assert_int_equal(code, 0);
    while (!code)
        peri_loop_run_once(f.loop, 100, NULL);
    assert_int_equal(code, -1);
    assert_null(peri_engine_function(f.engine, a->id));
    fixture_wait(&f, &running.finished);
    assert_int_equal(running.call->state, PERI_CALL_COMPLETED);
    struct peri_error err = PERI_ERROR_INIT;
    assert_null(peri_engine_call(f.engine, call->id, false, &err));
    assert_int_equal(err.code, PERI_NOT_FOUND);
    char path[700];
    snprintf(path, sizeof path, "%s/packages/%s.zip", f.dir, a->code_hash);
    assert_int_not_equal(access(path, F_OK), 0);
    code = 0;
    peri_engine_delete(f.engine, a->id, on_deleted, &code);
    while (!code)
        peri_loop_run_once(f.loop, 100, NULL);
    assert_int_equal(code, PERI_NOT_FOUND);
    struct peri_function *again = fixture_deploy(&f, "a"); /* the name is free */
    assert_int_not_equal(again->id, a->id);
    peri_function_unref(again);
    peri_call_unref(call);
    peri_call_unref(running.call);
    peri_function_unref(a);
    fixture_end(&f);
}

static void on_drained(void *data)
{
    *(bool *)data = true;
}

static void draining_lets_calls_finish(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 1 };
    fixture_start(&f);
    struct peri_function *function = fixture_deploy(&f, "f");
    struct called quick = { 0 }, slow = { 0 }, kept = { 0 }, late = { 0 };
    fixture_submit(&f, function, "sleep 200", false, 0, &quick);
    fixture_submit(&f, function, "sleep 100000", false, 0, &slow);
    fixture_submit(&f, function, "sleep 1500", true, 0, &kept);
    fixture_wait(&f, &kept.accepted);
    peri_loop_run_once(f.loop, 0, NULL);
    peri_loop_run_once(f.loop, 0, NULL);
    bool drained = false;
    peri_engine_drain(f.engine, 600, on_drained, &drained);
    assert_int_equal(fixture_submit(&f, function, "1", false, 0, &late), PERI_UNAVAILABLE);
    fixture_wait(&f, &drained);
    assert_int_equal(quick.call->state, PERI_CALL_COMPLETED);
    assert_int_equal(slow.call->state, PERI_CALL_CANCELLED);
    assert_false(kept.finished);
    peri_call_unref(quick.call);
    peri_call_unref(slow.call);
    peri_function_unref(function);
    fixture_close(&f);
    fixture_open(&f);
    struct lines end = { 0 };
    struct peri_watch watch = { NULL, take_end, &end };
    assert_int_not_equal(peri_engine_watch(f.engine, kept.id, &watch), 0);
    fixture_wait(&f, &end.ended);
    struct peri_call *call = peri_engine_call(f.engine, kept.id, true, NULL);
    assert_int_equal(call->state, PERI_CALL_COMPLETED);
    assert_int_equal(call->attempt, 2);
    peri_call_unref(call);
    fixture_end(&f);
}

static void ignore_file(void *data, const struct peri_file *file, const struct peri_error *err)
{
    (void)file;
    (void)err;
    fail_msg("%s was called after the engine was freed", (const char *)data);
}

static void ignore_function(void *data, struct peri_function *function, const struct peri_error *err)
{
    (void)function;
    ignore_file(data, NULL, err);
}

static void ignore_error(void *data, const struct peri_error *err)
{
    ignore_file(data, NULL, err);
}

static void ignore_session(void *data, const struct peri_session *session, const char *nonce,
                           const struct peri_error *err)
{
    (void)session;
    (void)nonce;
    ignore_file(data, NULL, err);
}

/* Nothing leaks and nobody hears of anything, whatever was under way. */
static void an_engine_may_be_freed_at_any_moment(void **state)
{
    (void)state;
    char who[] = "a callback";
    for (int turns = 0; turns < 6; turns++) {
        struct fixture f = { 0 };
        fixture_start(&f);
        struct peri_function *function = fixture_deploy(&f, "f");
        char path[600];
        snprintf(path, sizeof path, "%s/more.zip", f.dir);
        fixture_zip(path, "handler.lua", "return 5");
        struct called calls[4] = { 0 };
        fixture_submit(&f, function, "sleep 5000", true, 0, &calls[0]);
        fixture_submit(&f, function, "sleep 5000", false, 0, &calls[1]);
        fixture_submit(&f, function, "log 5000", false, 0, &calls[2]);
        fixture_submit(&f, function, "log 5000", true, 0, &calls[3]);
        for (int i = 0; i < turns; i++)
            peri_loop_run_once(f.loop, 5, NULL);
        struct peri_function spec = { .external_id = (char *)(uintptr_t) "g" };
        struct peri_deploy deploy = { .spec = &spec, .package_path = path, .replace = true, .wait = true };
        struct peri_file file = { .name = (char *)(uintptr_t) "x" };
        struct peri_session session = { .type = "X" };
        peri_engine_deploy(f.engine, &deploy, ignore_function, who);
        peri_engine_deploy(f.engine, &deploy, ignore_function, who);
        peri_engine_file_create(f.engine, &file, true, ignore_file, who);
        peri_engine_file_content(f.engine, 12345, path, function->code_hash, 1, ignore_file, who);
        peri_engine_session_create(f.engine, &session, ignore_session, who);
        peri_engine_delete(f.engine, turns % 2 ? function->id : 1, ignore_error, who);
        peri_engine_cancel(f.engine, calls[1].id);
        peri_function_unref(function);
        fixture_end(&f);
    }
}

static void information_is_json(void **state)
{
    (void)state;
    struct fixture f = { .options.sandboxes = 3 };
    fixture_start(&f);
    peri_function_unref(fixture_deploy(&f, "f"));
    char *text = peri_engine_info(f.engine);
    json_t *info = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(info, "sandboxes")), 3);
    assert_int_equal(json_integer_value(json_object_get(info, "functions")), 1);
    json_decref(info);
    free(text);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deploys_and_calls),
        cmocka_unit_test(unchanged_deployments_make_no_version),
        cmocka_unit_test(a_broken_version_leaves_the_earlier_one_in_service),
        cmocka_unit_test(a_package_is_checked_first),
        cmocka_unit_test(deployments_of_one_name_follow_each_other),
        cmocka_unit_test(running_calls_finish_on_the_old_version),
        cmocka_unit_test(failures_have_message_and_trace),
        cmocka_unit_test(answers_of_other_shapes),
        cmocka_unit_test(the_invocation_tells_the_call),
        cmocka_unit_test(secrets_are_kept_sealed_and_survive_a_restart),
        cmocka_unit_test(the_sandbox_sees_no_secrets_of_the_host),
        cmocka_unit_test(logs_are_kept_and_followed),
        cmocka_unit_test(a_log_has_a_limit),
        cmocka_unit_test(calls_can_be_cancelled),
        cmocka_unit_test(a_deadline_that_the_sandbox_forgets),
        cmocka_unit_test(forgotten_submitters_hear_nothing),
        cmocka_unit_test(every_call_leaves_a_record),
        cmocka_unit_test(large_bodies),
        cmocka_unit_test(the_queue_has_a_limit),
        cmocka_unit_test(one_host_per_folder),
        cmocka_unit_test(deleting_takes_everything_along),
        cmocka_unit_test(draining_lets_calls_finish),
        cmocka_unit_test(an_engine_may_be_freed_at_any_moment),
        cmocka_unit_test(information_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
