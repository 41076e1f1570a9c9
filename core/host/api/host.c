/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/api/host_private.h"
#include "perilune/json.h"

static void handle_health(void *data, struct peri_http_req *req)
{
    const struct peri__host *host = data;
    peri_http_reply(req, host->draining ? 503 : 200, "application/json",
                    peri_str_from(host->draining ? "{\"status\":\"draining\"}" : "{\"status\":\"ok\"}"));
}

static void handle_openapi(void *data, struct peri_http_req *req)
{
    (void)data;
    peri_http_reply(req, 200, "application/json", peri_openapi());
}

static void write_doors(struct peri__host *host, struct peri_json_writer *w)
{
    peri_jw_key(w, "doors");
    peri_jw_open(w, '{');
    peri_jw_key_text(w, "host", host->url);
    peri_jw_key_text(w, "cdf", host->url);
    peri_jw_key(w, "cim");
    if (peri_buf_printf(&host->meta, "%s/cim", host->url) != PERI_OK)
        w->failed = true;
    peri_jw_text(w, peri_buf_str(&host->meta));
    peri_buf_clear(&host->meta);
    peri_jw_close(w, '}');
    peri_jw_key(w, "limits");
    const struct peri_engine_options *settings = peri_engine_settings(host->engine);
    peri_jw_open(w, '{');
    peri_jw_key_int(w, "timeout_ms", settings->timeout_ms);
    peri_jw_key_int(w, "memory_limit", (int64_t)settings->memory_limit);
    peri_jw_key_int(w, "body_limit", (int64_t)host->body_limit);
    peri_jw_key_int(w, "package_limit", (int64_t)settings->package_limit);
    peri_jw_key_int(w, "response_limit", (int64_t)settings->response_limit);
    peri_jw_key_int(w, "log_limit", (int64_t)settings->log_limit);
    peri_jw_key_int(w, "queue_limit", settings->queue_limit);
    peri_jw_key_int(w, "watchdog_ms", settings->watchdog_ms);
    peri_jw_key_int(w, "max_attempts", settings->max_attempts);
    peri_jw_close(w, '}');
}

/* The engine's own object with the door's fields before its own. */
static void handle_info(void *data, struct peri_http_req *req)
{
    struct peri__host *host = data;
    struct peri_buf out;
    struct peri_json_writer w = { .out = &out };
    char *info = peri_engine_info(host->engine);
    peri_buf_init(&out, 16 * 1024 * 1024);
    peri_jw_open(&w, '{');
    peri_jw_key_text(&w, "version", PERI_VERSION);
    peri_jw_key_int(&w, "pid", getpid());
    peri_jw_key_text(&w, "data", host->data_dir);
    peri_jw_key_int(&w, "started_at", host->started_ms);
    peri_jw_key_bool(&w, "draining", host->draining);
    write_doors(host, &w);
    if (info != NULL && info[0] == '{' && info[1] != '}')
        peri_jw_raw(&w, (struct peri_str){ info + 1, strlen(info) - 2 });
    peri_jw_close(&w, '}');
    free(info);
    peri__host_send(req, 200, &w);
}

#define PACKAGE_MAX (256U * 1024 * 1024) /* no larger zip can unpack to less than the package limit */

static const struct peri_route routes[] = {
    { "GET", "/healthz", PERI_HTTP_NO_BODY, 0, false, handle_health, "Whether the host takes calls" },
    { "GET", "/openapi.json", PERI_HTTP_NO_BODY, 0, false, handle_openapi, "This description" },
    { "GET", "/v1/host", PERI_HTTP_NO_BODY, 0, false, handle_info, "The host: version, limits, sandboxes" },
    { "PUT", "/v1/functions/{name}", PERI_HTTP_TO_FILE, PACKAGE_MAX, false, peri__host_deploy, "Deploy a zip" },
    { "GET", "/v1/functions", PERI_HTTP_NO_BODY, 0, false, peri__host_list, "List functions, newest first" },
    { "GET", "/v1/functions/{name}", PERI_HTTP_NO_BODY, 0, false, peri__host_show, "Show a function" },
    { "DELETE", "/v1/functions/{name}", PERI_HTTP_NO_BODY, 0, false, peri__host_delete, "Delete a function" },
    { "POST", "/v1/functions/{name}/call", PERI_HTTP_BUFFERED, 0, false, peri__host_call_sync,
      "Call and wait for the answer" },
    { "POST", "/v1/functions/{name}/calls", PERI_HTTP_BUFFERED, 0, false, peri__host_call_async,
      "Call and get an id at once" },
    { "GET", "/v1/functions/{name}/calls", PERI_HTTP_NO_BODY, 0, false, peri__host_function_calls,
      "List a function's calls, newest first" },
    { "GET", "/v1/calls", PERI_HTTP_NO_BODY, 0, false, peri__host_calls, "List calls, newest first" },
    { "GET", "/v1/calls/{id}", PERI_HTTP_NO_BODY, 0, false, peri__host_call_show, "Show a call, or wait for its end" },
    { "GET", "/v1/calls/{id}/result", PERI_HTTP_NO_BODY, 0, false, peri__host_result, "A completed call's answer" },
    { "GET", "/v1/calls/{id}/log", PERI_HTTP_NO_BODY, 0, false, peri__host_log, "A call's log, or its events" },
    { "PUT", "/v1/schedules/{name}", PERI_HTTP_BUFFERED, 0, false, peri__host_schedule_put,
      "Create or change a schedule" },
    { "GET", "/v1/schedules", PERI_HTTP_NO_BODY, 0, false, peri__host_schedules, "List schedules, newest first" },
    { "GET", "/v1/schedules/{name}", PERI_HTTP_NO_BODY, 0, false, peri__host_schedule_show, "Show a schedule" },
    { "DELETE", "/v1/schedules/{name}", PERI_HTTP_NO_BODY, 0, false, peri__host_schedule_delete, "Delete a schedule" },
    { "POST", "/v1/schedules/{name}/pause", PERI_HTTP_BUFFERED, 4096, false, peri__host_schedule_pause,
      "Pause a schedule" },
    { "POST", "/v1/schedules/{name}/resume", PERI_HTTP_BUFFERED, 4096, false, peri__host_schedule_resume,
      "Let a paused schedule go on" },
    { "GET", "/v1/schedules/{name}/next", PERI_HTTP_NO_BODY, 0, false, peri__host_schedule_next,
      "When a schedule is due next" },
    { "GET", "/v1/schedules/{name}/ticks", PERI_HTTP_NO_BODY, 0, false, peri__host_schedule_ticks,
      "What became of a schedule's ticks, newest first" },
    { "POST", "/v1/calls/{id}/cancel", PERI_HTTP_BUFFERED, 4096, false, peri__host_cancel, "Cancel a call" },
    { "POST", "/v1/calls/{id}/requeue", PERI_HTTP_BUFFERED, 4096, false, peri__host_requeue,
      "Put a dead call back into the queue" },
    { "GET", "/v1/dead", PERI_HTTP_NO_BODY, 0, false, peri__host_dead, "List dead calls, newest first" },
    { "DELETE", "/v1/dead/{id}", PERI_HTTP_NO_BODY, 0, false, peri__host_dismiss,
      "Take a call off the list of dead ones" },
    { "GET", "/v1/generators", PERI_HTTP_NO_BODY, 0, false, peri__host_generators, "List number generators by name" },
    { "PUT", "/v1/generators/{name}", PERI_HTTP_BUFFERED, 65536, false, peri__host_generator_put,
      "Create a number generator" },
    { "GET", "/v1/generators/{name}", PERI_HTTP_NO_BODY, 0, false, peri__host_generator_show,
      "Show a number generator" },
    { "DELETE", "/v1/generators/{name}", PERI_HTTP_NO_BODY, 0, false, peri__host_generator_delete,
      "Delete a number generator" },
    { "GET", "/v1/parents", PERI_HTTP_NO_BODY, 0, false, peri__host_parents, "List parents of files by id" },
    { "PUT", "/v1/parents/{id}", PERI_HTTP_BUFFERED, 1024U * 1024, false, peri__host_parent_put,
      "Create a parent of files, or change who may do what" },
    { "GET", "/v1/parents/{id}", PERI_HTTP_NO_BODY, 0, false, peri__host_parent_show, "Show a parent of files" },
    { "DELETE", "/v1/parents/{id}", PERI_HTTP_NO_BODY, 0, false, peri__host_parent_delete,
      "Delete a parent without files" },
    { "GET", "/v1/files", PERI_HTTP_NO_BODY, 0, false, peri__host_files, "List files, newest first" },
    { "GET", "/v1/files/{id}", PERI_HTTP_NO_BODY, 0, false, peri__host_file_show, "Show a file" },
    { "GET", "/v1/files/{id}/content", PERI_HTTP_NO_BODY, 0, false, peri__host_file_content, "A file's content" },
    { "DELETE", "/v1/files/{id}", PERI_HTTP_NO_BODY, 0, false, peri__host_file_delete, "Delete a file" },
};

struct peri_door *peri_host_door_new(const struct peri_door_options *options, struct peri_error *err)
{
    struct peri__host *host = calloc(1, sizeof *host);
    if (host != NULL) {
        host->url = strdup("");
        host->data_dir = strdup(options->data_dir == NULL ? "" : options->data_dir);
        peri_buf_init(&host->meta, 1024 * 1024);
    }
    if (host == NULL || host->url == NULL || host->data_dir == NULL) {
        peri_host_door_free(host == NULL ? NULL : &host->door);
        peri_error_set(err, PERI_NOMEM, "out of memory");
        return NULL;
    }
    host->engine = options->engine;
    host->body_limit = options->body_limit;
    host->started_ms = options->started_ms;
    host->door = (struct peri_door){ .name = "host",
                                     .routes = routes,
                                     .count = sizeof routes / sizeof routes[0],
                                     .data = host,
                                     .reply_error = peri__host_reply_error,
                                     .prefix = "" };
    return &host->door;
}

void peri_host_door_free(struct peri_door *door)
{
    struct peri__host *host = (struct peri__host *)door;
    if (host == NULL)
        return;
    peri_buf_fini(&host->meta);
    free(host->url);
    free(host->data_dir);
    free(host);
}

void peri_host_door_set_url(struct peri_door *door, const char *url)
{
    struct peri__host *host = (struct peri__host *)door;
    char *copy = strdup(url);
    if (copy == NULL)
        return;
    free(host->url);
    host->url = copy;
}

void peri_host_door_set_draining(struct peri_door *door)
{
    ((struct peri__host *)door)->draining = true;
}
