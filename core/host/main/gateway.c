/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/data_dir.h"
#include "host/api/doors.h"
#include "host/main/credentials.h"
#include "host/main/options.h"
#include "perilune/hash.h"
#include "perilune/json.h"
#include "perilune/log.h"

#define FLUSH_MS 10
#define FLUSH_TURNS 100 /* answers that were made get a second to leave */

struct gateway {
    struct gateway_options options;
    struct peri_loop *loop;
    struct peri_engine *engine;
    struct peri_door *host_door, *cdf_door, *cim_door, *event_door;
    const struct peri_door *doors[5];
    struct peri_http *http;
    char *data, *tmp, *sandbox, *credentials, *url, *service_url;
    struct credentials secrets; /* as they are kept */
    char *cim_secret;           /* the one to use */
    uv_signal_t signals[3];
    unsigned signal_count;
    uv_timer_t flush;
    unsigned flush_turns;
    bool ending;
};

/* ---- the end ---- */

static void on_flush(uv_timer_t *timer)
{
    struct gateway *g = timer->data;
    if (peri_http_pending(g->http) == 0 || ++g->flush_turns == FLUSH_TURNS)
        uv_stop(timer->loop);
}

static void on_drained(void *data)
{
    struct gateway *g = data;
    uv_timer_start(&g->flush, on_flush, 0, FLUSH_MS);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct gateway *g = handle->data;
    if (g->ending)
        _exit(1); /* at once; what was acknowledged is on the disk, and the sandboxes end with their sockets */
    g->ending = true;
    peri_log(PERI_LOG_INFO, "%s: no new calls; those that run have %llu s", strsignal(number),
             (unsigned long long)g->options.grace_s);
    peri_host_door_set_draining(g->host_door);
    peri_http_quiesce(g->http);
    peri_engine_drain(g->engine, (int64_t)g->options.grace_s * 1000, on_drained, g);
}

/* ---- the start ---- */

static char *path_in(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* Takes the path over. */
static char *absolute(char *path, struct peri_error *err)
{
    if (path == NULL || path[0] == '/')
        return path;
    char *cwd = getcwd(NULL, 0);
    if (cwd == NULL)
        peri_error_set(err, PERI_IO, "can't tell the current folder: %s", strerror(errno));
    char *whole = cwd == NULL ? NULL : path_in(cwd, path);
    free(cwd);
    free(path);
    return whole;
}

static enum peri_code find_data(struct gateway *g, struct peri_error *err)
{
    g->data = absolute(g->options.data == NULL ? peri__data_dir() : strdup(g->options.data), err);
    if (g->data == NULL && err->code != PERI_OK)
        return err->code;
    g->tmp = g->data == NULL ? NULL : path_in(g->data, "tmp");
    g->credentials = g->data == NULL ? NULL : path_in(g->data, "credentials.json");
    if (g->tmp == NULL || g->credentials == NULL)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    return PERI_OK;
}

/* The folders above the data folder, as a first start finds none. */
static enum peri_code make_parents(const char *path, struct peri_error *err)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            peri_error_set(err, PERI_IO, "can't create %s: %s", copy, strerror(errno));
            free(copy);
            return PERI_IO;
        }
        *slash = '/';
    }
    free(copy);
    return PERI_OK;
}

static enum peri_code find_sandbox(struct gateway *g, struct peri_error *err)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return peri_error_set(err, PERI_IO, "can't tell where this program is: %s", strerror(errno));
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    if (asprintf(&g->sandbox, "%s/perilune-sandbox", self) < 0)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    if (access(g->sandbox, X_OK) != 0)
        return peri_error_set(err, PERI_IO, "can't run the sandbox program %s: %s", g->sandbox, strerror(errno));
    return PERI_OK;
}

/* Before anything secret is in memory or on the disk. */
static void harden(void)
{
    struct rlimit files;
    umask(077);
    prctl(PR_SET_DUMPABLE, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static enum peri_code start_engine(struct gateway *g, struct peri_error *err)
{
    const struct gateway_options *o = &g->options;
    struct peri_engine_options options = { .data_dir = g->data,
                                           .sandbox_path = g->sandbox,
                                           .sandboxes = (unsigned)o->sandboxes,
                                           .timeout_ms = (int64_t)o->timeout_s * 1000,
                                           .memory_limit = o->memory,
                                           .watchdog_ms = (int64_t)o->watchdog_s * 1000,
                                           .queue_limit = (unsigned)o->queue_limit,
                                           .max_attempts = 3,
                                           .package_limit = (size_t)256 << 20,
                                           .response_limit = (size_t)16 << 20,
                                           .log_limit = (size_t)4 << 20,
                                           .keep_ms = (int64_t)o->keep_days * 86400000,
                                           .keep_calls = o->keep_calls,
                                           .generators_strict = strcmp(o->cim_generators, "strict") == 0,
                                           .chunk_size = (int64_t)o->cim_chunk_size,
                                           .lock_timeout_ms = (int64_t)o->cim_lock_timeout_s * 1000 };
    return peri_engine_new(g->loop, &options, &g->engine, err);
}

static enum peri_code start_http(struct gateway *g, struct peri_error *err)
{
    const struct gateway_options *o = &g->options;
    struct peri_door_options doors = { .engine = g->engine,
                                       .token = g->secrets.token,
                                       .cim_secret = g->cim_secret,
                                       .data_dir = g->data,
                                       .body_limit = (size_t)o->body_limit,
                                       .started_ms = peri_clock_wall_ms(peri_clock_system()),
                                       .cim_rate = (unsigned)o->cim_requests,
                                       .cim_window_ms = (int64_t)o->cim_window_s * 1000 };
    struct peri_http_options http = { .host = o->host,
                                      .port = (unsigned)o->port,
                                      .token = peri_str_from(g->secrets.token),
                                      .body_limit = (size_t)o->body_limit,
                                      .max_connections = (unsigned)o->max_connections,
                                      .idle_timeout_s = 75,
                                      .tmp_dir = g->tmp };
    g->host_door = peri_host_door_new(&doors, err);
    g->cdf_door = g->host_door == NULL ? NULL : peri_cdf_door_new(&doors, err);
    g->cim_door = g->cdf_door == NULL ? NULL : peri_cim_door_new(&doors, err);
    g->event_door = g->cim_door == NULL ? NULL : peri_cim_event_door_new(&doors, err);
    if (g->event_door == NULL)
        return err->code;
    g->doors[0] = g->host_door;
    g->doors[1] = g->cdf_door;
    g->doors[2] = g->cim_door;
    g->doors[3] = g->event_door;
    return peri_http_new(g->loop, &http, g->doors, &g->http, err);
}

static enum peri_code set_url(struct gateway *g, struct peri_error *err)
{
    const char *host = g->options.host;
    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    if (strcmp(host, "::") == 0)
        host = "::1";
    bool ipv6 = strchr(host, ':') != NULL;
    if (asprintf(&g->url, "http://%s%s%s:%u", ipv6 ? "[" : "", host, ipv6 ? "]" : "", peri_http_port(g->http)) < 0 ||
        asprintf(&g->service_url, "%s/cim", g->url) < 0)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    peri_host_door_set_url(g->host_door, g->url);
    peri_cim_door_set_url(g->cim_door, g->url);
    enum peri_code code = peri_engine_set_service(g->engine, g->service_url, err);
    return code == PERI_OK ? credentials_write(g->credentials, g->url, &g->secrets, err) : code;
}

/* Not for all to read in the list of processes. */
static void hide(const char *text)
{
    memset((char *)(uintptr_t)text, 'x', strlen(text));
}

static enum peri_code find_secrets(struct gateway *g, struct peri_error *err)
{
    const char *given = getenv("PERILUNE_CIM_SECRET");
    enum peri_code code = credentials_load(g->credentials, &g->secrets, err);
    if (code == PERI_OK && g->options.token != NULL) {
        free(g->secrets.token);
        g->secrets.token = strdup(g->options.token);
        hide(g->options.token);
    }
    if (code != PERI_OK || g->secrets.token == NULL)
        return code != PERI_OK ? code : peri_error_set(err, PERI_NOMEM, "out of memory");
    if (g->options.cim_secret_file != NULL)
        return credentials_read_secret(g->options.cim_secret_file, &g->cim_secret, err);
    if (given != NULL && given[0] != '\0') {
        g->cim_secret = strdup(given);
        hide(given);
    } else {
        g->cim_secret = strdup(g->secrets.cim_secret);
    }
    return g->cim_secret == NULL ? peri_error_set(err, PERI_NOMEM, "out of memory") : PERI_OK;
}

static enum peri_code start(struct gateway *g, struct peri_error *err)
{
    enum peri_code code = find_sandbox(g, err);
    harden();
    if (code == PERI_OK)
        code = find_data(g, err);
    if (code == PERI_OK)
        code = make_parents(g->data, err);
    if (code == PERI_OK) {
        g->loop = peri_loop_new(err);
        code = g->loop == NULL ? err->code : start_engine(g, err);
    }
    if (code == PERI_OK)
        code = find_secrets(g, err);
    if (code == PERI_OK)
        code = start_http(g, err);
    return code == PERI_OK ? set_url(g, err) : code;
}

static void listen_to_signals(struct gateway *g)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
    uv_loop_t *uv = peri_loop_uv(g->loop);
    for (size_t i = 0; i < 3; i++) {
        uv_signal_init(uv, &g->signals[i]);
        g->signals[i].data = g;
        uv_signal_start(&g->signals[i], on_signal, numbers[i]);
    }
    g->signal_count = 3;
    uv_timer_init(uv, &g->flush);
    g->flush.data = g;
}

static void say_ready(const struct gateway *g)
{
    if (!g->options.json) {
        printf("perilune host %s listens on %s\ndata         %s\ncredentials  %s\nwebhook      %s/events/FUNCTION\n",
               PERI_VERSION, g->url, g->data, g->credentials, g->service_url);
    } else {
        json_t *ready = json_pack("{ss ss ss ss si ss}", "url", g->url, "data", g->data, "credentials", g->credentials,
                                  "service_url", g->service_url, "pid", (int)getpid(), "version", PERI_VERSION);
        char *text = ready == NULL ? NULL : json_dumps(ready, JSON_COMPACT);
        puts(text == NULL ? "{}" : text);
        free(text);
        json_decref(ready);
    }
    fflush(stdout);
}

static void stop(struct gateway *g)
{
    peri_http_free(g->http);
    peri_engine_free(g->engine);
    peri_host_door_free(g->host_door);
    peri_cdf_door_free(g->cdf_door);
    peri_cim_event_door_free(g->event_door);
    peri_cim_door_free(g->cim_door);
    for (unsigned i = 0; i < g->signal_count; i++)
        uv_close((uv_handle_t *)&g->signals[i], NULL);
    if (g->signal_count > 0) {
        uv_close((uv_handle_t *)&g->flush, NULL);
        uv_run(peri_loop_uv(g->loop), UV_RUN_NOWAIT);
    }
    peri_loop_free(g->loop);
    free(g->data);
    free(g->tmp);
    free(g->sandbox);
    free(g->credentials);
    credentials_fini(&g->secrets);
    if (g->cim_secret != NULL)
        peri_secure_zero(g->cim_secret, strlen(g->cim_secret));
    free(g->cim_secret);
    free(g->url);
    free(g->service_url);
}

/* jansson 2.14's lexer goes on with freed memory when an allocation fails in it. What was acknowledged is on the disk. */
static void *allocate_or_abort(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL && size > 0) {
        peri_log(PERI_LOG_ERROR, "out of memory for JSON: the host ends; what it acknowledged is kept");
        abort();
    }
    return memory;
}

int main(int argc, char **argv)
{
    struct gateway g = { 0 };
    struct peri_error err = PERI_ERROR_INIT;
    int status = 0;
    json_set_alloc_funcs(allocate_or_abort, free);
    if (gateway_options_parse(argc, argv, &g.options, &err) != PERI_OK) {
        fprintf(stderr, "perilune: %s\n", err.message);
        return 2;
    }
    if (g.options.help) {
        gateway_options_help();
        return 0;
    }
    if (g.options.version) {
        printf("perilune %s\n", PERI_VERSION);
        return 0;
    }
    if (g.options.log_level != NULL)
        peri_log_set_level((enum peri_log_level)peri_log_level_parse(g.options.log_level));
    if (start(&g, &err) == PERI_OK) {
        listen_to_signals(&g);
        say_ready(&g);
        uv_run(peri_loop_uv(g.loop), UV_RUN_DEFAULT);
    } else {
        fprintf(stderr, "perilune: %s\n", err.message);
        status = 1;
    }
    stop(&g);
    return status;
}
