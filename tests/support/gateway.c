/* SPDX-License-Identifier: MIT */
#include "support/gateway.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS 32

static pid_t spawn(const char *build_dir, const char *const *fixed, const char *const *options, bool errors, int *out)
{
    char program[4096];
    char *args[ARGS] = { NULL };
    size_t count = 0;
    int pipes[2];
    snprintf(program, sizeof program, "%s/libexec/perilune/perilune-gateway", build_dir);
    args[count++] = program;
    for (; fixed != NULL && *fixed != NULL; fixed++)
        args[count++] = (char *)(uintptr_t)*fixed;
    for (; options != NULL && *options != NULL && count < ARGS - 1; options++)
        args[count++] = (char *)(uintptr_t)*options;
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pipes[1], 1);
        if (errors)
            dup2(pipes[1], 2);
        close(pipes[0]);
        close(pipes[1]);
        execv(program, args);
        _exit(127);
    }
    close(pipes[1]);
    *out = pipes[0];
    return pid;
}

static size_t read_until(int fd, char *out, size_t size, char stop)
{
    size_t len = 0;
    while (len < size - 1 && read(fd, out + len, 1) == 1) {
        if (out[len++] == stop)
            break;
    }
    out[len] = '\0';
    return len;
}

bool gateway_start(struct gateway *gateway, const char *build_dir, const char *const *options)
{
    char line[4096];
    int out = -1;
    if (gateway->data[0] == '\0') {
        snprintf(gateway->data, sizeof gateway->data, "/tmp/perilune-gateway-XXXXXX");
        assert_non_null(mkdtemp(gateway->data));
    }
    const char *const fixed[] = { "--port", "0", "--data", gateway->data, "--sandboxes", "2", "--json", NULL };
    gateway->pid = spawn(build_dir, fixed, options, false, &out);
    read_until(out, line, sizeof line, '\n');
    close(out);
    json_t *ready = json_loads(line, 0, NULL);
    if (ready == NULL) {
        waitpid(gateway->pid, NULL, 0);
        return false;
    }
    json_t *credentials = json_load_file(json_string_value(json_object_get(ready, "credentials")), 0, NULL);
    const char *url = json_string_value(json_object_get(ready, "url"));
    gateway->port = (unsigned)strtoul(strrchr(url, ':') + 1, NULL, 10);
    snprintf(gateway->token, sizeof gateway->token, "%s", json_string_value(json_object_get(credentials, "token")));
    json_decref(credentials);
    json_decref(ready);
    return true;
}

int gateway_stop(struct gateway *gateway)
{
    int status = 0;
    kill(gateway->pid, SIGTERM);
    waitpid(gateway->pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void gateway_remove(struct gateway *gateway)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", gateway->data);
    assert_int_equal(system(command), 0); /* NOLINT(bugprone-command-processor): a name of our own making */
    gateway->data[0] = '\0';
}

int gateway_run(const char *build_dir, const char *const *options, char *out, size_t size)
{
    int fd = -1, status = 0;
    pid_t pid = spawn(build_dir, NULL, options, true, &fd);
    read_until(fd, out, size, '\0');
    close(fd);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct raw_reply gateway_ask(const struct gateway *gateway, const char *method, const char *path,
                             const char *content_type, const char *body)
{
    char headers[512];
    int len = snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", gateway->token);
    if (content_type != NULL)
        snprintf(headers + len, sizeof headers - (size_t)len, "Content-Type: %s\r\n", content_type);
    return raw_request(gateway->port, method, path, headers, body, body == NULL ? 0 : strlen(body));
}

json_t *gateway_json(const struct gateway *gateway, int status, const char *method, const char *path, const char *body)
{
    struct raw_reply reply = gateway_ask(gateway, method, path, "application/json", body);
    if (reply.status != status)
        fail_msg("%s %s: status %d, not %d: %s", method, path, reply.status, status,
                 reply.body == NULL ? "" : reply.body);
    json_t *answer = reply.body == NULL ? NULL : json_loads(reply.body, JSON_DECODE_ANY, NULL);
    raw_reply_fini(&reply);
    return answer;
}

/* ---- packages ---- */

static uint32_t crc32_of(const char *data, size_t len)
{
    uint32_t crc = 0xffffffffU;
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320U & (0U - (crc & 1U)));
    }
    return ~crc;
}

static char *put(char *at, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *at++ = (char)(value >> (8 * i));
    return at;
}

/* The fields that a local header and a directory entry share, from "version needed" to "extra length". */
static char *put_common(char *at, uint32_t crc, uint32_t size, uint32_t name_len)
{
    at = put(at, 20, 2);
    at = put(at, 0, 4);           /* flags, method: stored */
    at = put(at, 0x5b160000U, 4); /* time and date */
    at = put(at, crc, 4);
    at = put(at, size, 4);
    at = put(at, size, 4);
    at = put(at, name_len, 2);
    return put(at, 0, 2);
}

char *stored_zip(const char *name, const char *content, size_t *len)
{
    uint32_t name_len = (uint32_t)strlen(name), size = (uint32_t)strlen(content), crc = crc32_of(content, size);
    char *zip = malloc(30 + 46 + 22 + 2 * (size_t)name_len + size), *at = zip;
    assert_non_null(zip);
    at = put_common(put(at, 0x04034b50U, 4), crc, size, name_len);
    memcpy(at, name, name_len);
    at += name_len;
    memcpy(at, content, size);
    at += size;
    uint32_t directory = (uint32_t)(at - zip);
    at = put(put(at, 0x02014b50U, 4), 20, 2);
    at = put_common(at, crc, size, name_len);
    at = put(at, 0, 2); /* comment */
    at = put(at, 0, 4); /* disk, internal attributes */
    at = put(at, 0, 4); /* external attributes */
    at = put(at, 0, 4); /* offset of the local header */
    memcpy(at, name, name_len);
    at += name_len;
    uint32_t directory_size = (uint32_t)(at - zip) - directory;
    at = put(put(at, 0x06054b50U, 4), 0, 4);
    at = put(put(at, 1, 2), 1, 2);
    at = put(put(at, directory_size, 4), directory, 4);
    at = put(at, 0, 2);
    *len = (size_t)(at - zip);
    return zip;
}

json_t *gateway_deploy(const struct gateway *gateway, int status, const char *name, const char *code)
{
    char path[512], headers[256];
    size_t len = 0;
    char *zip = stored_zip("handler.lua", code, &len);
    snprintf(path, sizeof path, "/v1/functions/%s", name);
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\nContent-Type: application/zip\r\n", gateway->token);
    struct raw_reply reply = raw_request(gateway->port, "PUT", path, headers, zip, len);
    free(zip);
    if (reply.status != status)
        fail_msg("PUT %s: status %d, not %d: %s", path, reply.status, status, reply.body == NULL ? "" : reply.body);
    json_t *answer = json_loads(reply.body, 0, NULL);
    raw_reply_fini(&reply);
    return answer;
}
