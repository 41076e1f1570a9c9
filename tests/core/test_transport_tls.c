/* SPDX-License-Identifier: MIT */
/* part: net */
/* TLS, HTTP/2 and compression against nginx. Skipped where nginx or openssl is not installed. */
#include "support/badpeer.h"
#include "support/exchange.h"

#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/perilune-nginx-XXXXXX";
static char origin[64], other_origin[64], ca_file[64];
static pid_t nginx;
static struct got got;

static bool run(char *const argv[], bool wait)
{
    pid_t pid = fork();
    if (pid == 0) {
        char log[80];
        snprintf(log, sizeof(log), "%s/log", folder);
        if (freopen(log, "a", stderr) && freopen(log, "a", stdout)) {
            execvp(argv[0], argv);
        }
        _exit(127);
    }
    if (!wait) {
        nginx = pid;
        return pid > 0;
    }
    int status = 1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool write_config(unsigned port)
{
    char path[80];
    snprintf(path, sizeof(path), "%s/nginx.conf", folder);
    FILE *file = fopen(path, "w");
    if (!file) {
        return false;
    }
    fprintf(file,
            "daemon off; master_process off; pid %1$s/pid; error_log %1$s/error.log;\n"
            "events {}\n"
            "http { access_log off; keepalive_requests 120; large_client_header_buffers 4 64k;\n"
            "client_body_temp_path %1$s/1; proxy_temp_path %1$s/2; fastcgi_temp_path %1$s/3;\n"
            "uwsgi_temp_path %1$s/4; scgi_temp_path %1$s/5; client_max_body_size 100m;\n"
            "gzip on; gzip_types text/plain; gzip_min_length 1; default_type text/plain;\n"
            "ssl_certificate %1$s/cert.pem; ssl_certificate_key %1$s/key.pem; root %1$s/files;\n"
            "server { listen 127.0.0.1:%2$u ssl http2;\n"
            "location = /hello { return 200 \"hello over TLS\"; } location / { }\n"
            "location = /put { dav_methods PUT; alias %1$s/files/put; } } }\n",
            folder, port);
    return fclose(file) == 0;
}

static bool answers(unsigned port)
{
    for (int i = 0; i < 500; i++) {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_port = htons((uint16_t)port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
        close(fd);
        if (rc == 0) {
            return true;
        }
        if (waitpid(nginx, NULL, WNOHANG) == nginx) {
            nginx = 0;
            return false; /* another program took the port in between */
        }
        poll(NULL, 0, 10);
    }
    return false;
}

static bool make_files(void)
{
    char path[80];
    snprintf(path, sizeof(path), "%s/files", folder);
    if (mkdir(path, 0755) != 0) {
        return false;
    }
    snprintf(path, sizeof(path), "%s/files/big", folder);
    FILE *file = fopen(path, "w");
    for (int i = 0; file && i < 200000; i++) {
        fputs("moonlight\n", file);
    }
    return file && fclose(file) == 0;
}

static int start_nginx(void **state)
{
    (void)state;
    char key[80], conf[80];
    if (!mkdtemp(folder) || !make_files()) {
        return -1;
    }
    snprintf(key, sizeof(key), "%s/key.pem", folder);
    snprintf(ca_file, sizeof(ca_file), "%s/cert.pem", folder);
    snprintf(conf, sizeof(conf), "%s/nginx.conf", folder);
    char *openssl[] = { (char[]){ "openssl" },
                        (char[]){ "req" },
                        (char[]){ "-x509" },
                        (char[]){ "-newkey" },
                        (char[]){ "rsa:2048" },
                        (char[]){ "-nodes" },
                        (char[]){ "-days" },
                        (char[]){ "2" },
                        (char[]){ "-subj" },
                        (char[]){ "/CN=127.0.0.1" },
                        (char[]){ "-addext" },
                        (char[]){ "subjectAltName=IP:127.0.0.1" },
                        (char[]){ "-keyout" },
                        key,
                        (char[]){ "-out" },
                        ca_file,
                        NULL };
    if (!run(openssl, true)) {
        return 0; /* tests are skipped */
    }
    for (int i = 0; i < 5; i++) {
        unsigned port = badpeer_closed_port();
        char *argv[] = { (char[]){ "nginx" }, (char[]){ "-p" }, folder, (char[]){ "-c" }, conf, NULL };
        snprintf(origin, sizeof(origin), "https://127.0.0.1:%u", port);
        snprintf(other_origin, sizeof(other_origin), "https://localhost:%u", port);
        if (write_config(port) && run(argv, false) && answers(port)) {
            return 0;
        }
    }
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int stop_nginx(void **state)
{
    (void)state;
    if (nginx > 0) {
        kill(nginx, SIGTERM);
        waitpid(nginx, NULL, 0);
    }
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *url_of(const char *path)
{
    static char url[128];
    snprintf(url, sizeof(url), "%s%s", origin, path);
    return url;
}

static struct net *trusting(bool http1_only)
{
    if (nginx <= 0) {
        skip();
    }
    return net_new(&(struct peri_transport_options){ .ca_file = ca_file, .http1_only = http1_only });
}

static void test_http2(void **state)
{
    (void)state;
    struct net *net = trusting(false);
    assert_int_equal(net_get(net, url_of("/hello"), &got), PERI_OK);
    assert_int_equal(got.result.status, 200);
    assert_int_equal(got.result.http_version, 20);
    assert_string_equal(got.result.body.data, "hello over TLS");
    assert_non_null(peri_headers_get(&got.result.headers, "Server"));
    assert_false(got.result.reused);
    assert_int_equal(net_get(net, url_of("/hello"), &got), PERI_OK);
    assert_true(got.result.reused);
    assert_int_equal(net_get(net, url_of("/none"), &got), PERI_OK);
    assert_int_equal(got.result.status, 404);
    got_fini(&got);
    net_free(net);

    net = trusting(true);
    assert_int_equal(net_get(net, url_of("/hello"), &got), PERI_OK);
    assert_int_equal(got.result.http_version, 11);
    got_fini(&got);
    net_free(net);
}

/* Many at once share one connection; nginx ends it after 120 requests, which no caller may notice. */
static void test_many_streams(void **state)
{
    (void)state;
    enum { MANY = 400 };
    struct net *net = trusting(false);
    struct got *many = calloc(MANY, sizeof(*many));
    unsigned finished = 0, fresh = 0;
    for (int i = 0; i < MANY; i++) {
        struct peri_request request = { .url = url_of("/hello") };
        assert_non_null(peri_exchange_start(net->transport, &request, got_done, &many[i], NULL));
    }
    while (finished < MANY) {
        peri_loop_run_once(net->loop, -1, NULL);
        finished = 0;
        for (int i = 0; i < MANY; i++) {
            finished += many[i].calls;
        }
    }
    for (int i = 0; i < MANY; i++) {
        if (many[i].result.code != PERI_OK) {
            fail_msg("%s", many[i].result.error.message);
        }
        assert_string_equal(many[i].result.body.data, "hello over TLS");
        fresh += !many[i].result.reused;
        got_fini(&many[i]);
    }
    assert_true(fresh < MANY);
    free(many);
    net_free(net);
}

struct paced {
    struct peri_timer *timer;
    struct peri_writer *writer;
    size_t bytes;
    unsigned turns;
};

static void resume_paced(void *data)
{
    peri_writer_resume(((struct paced *)data)->writer);
}

static enum peri_code write_paced(void *data, struct peri_str bytes, struct peri_error *err)
{
    (void)err;
    struct paced *paced = data;
    if (paced->turns++ % 2 == 0) {
        peri_timer_start(paced->timer, 0);
        return PERI_BUSY;
    }
    for (size_t i = 0; i < bytes.len; i++) {
        assert_int_equal(bytes.data[i], "moonlight\n"[(paced->bytes + i) % 10]);
    }
    paced->bytes += bytes.len;
    return PERI_OK;
}

/* Compressed on the wire, decoded here, and paused all the time. */
static void test_paced_download(void **state)
{
    (void)state;
    for (int http1_only = 0; http1_only < 2; http1_only++) {
        struct net *net = trusting(http1_only);
        struct paced paced = { 0 };
        paced.timer = peri_timer_new(net->loop, resume_paced, &paced, NULL);
        paced.writer = peri_writer_callback(write_paced, NULL, &paced, NULL, NULL);
        struct peri_request request = { .url = url_of("/big"), .sink = paced.writer };
        assert_int_equal(net_fetch(net, &request, &got), PERI_OK);
        assert_string_equal(peri_headers_get(&got.result.headers, "content-encoding"), "gzip");
        assert_int_equal(paced.bytes, 2000000);
        assert_int_equal(got.result.bytes_received, 2000000);
        assert_true(paced.turns > 4);
        got_fini(&got);
        peri_writer_free(paced.writer);
        peri_timer_free(paced.timer);
        net_free(net);
    }
}

static void test_upload(void **state)
{
    (void)state;
    for (int http1_only = 0; http1_only < 2; http1_only++) {
        struct net *net = trusting(http1_only);
        char path[80];
        snprintf(path, sizeof(path), "%s/files/big", folder);
        struct peri_reader *reader = peri_reader_file(path, NULL);
        struct peri_request request = { .method = "PUT", .url = url_of("/put"), .body = reader };
        assert_int_equal(net_fetch(net, &request, &got), PERI_OK);
        assert_int_equal(got.result.status, http1_only ? 204 : 201);
        assert_int_equal(got.result.bytes_sent, 2000000);
        snprintf(path, sizeof(path), "%s/files/put", folder);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, 2000000);
        got_fini(&got);
        peri_reader_free(reader);
        net_free(net);
    }
}

struct stream {
    struct peri_exchange *exchange;
};

static void on_stream_done(void *data, struct peri_result *result)
{
    assert_int_equal(result->code, PERI_OK);
    ((struct stream *)data)->exchange = NULL;
}

static void test_cancel_streams(void **state)
{
    (void)state;
    struct net *net = trusting(false);
    for (int round = 0; round < 5; round++) {
        struct stream streams[20];
        for (int i = 0; i < 20; i++) {
            struct peri_request request = { .url = url_of("/big") };
            streams[i].exchange = peri_exchange_start(net->transport, &request, on_stream_done, &streams[i], NULL);
            assert_non_null(streams[i].exchange);
        }
        for (int i = 0; i < round; i++) {
            peri_loop_run_once(net->loop, 5, NULL);
        }
        for (int i = 0; i < 20; i++) {
            peri_exchange_cancel(streams[i].exchange);
        }
        assert_int_equal(peri_loop_active(net->loop), 0);
    }
    if (net_get(net, url_of("/hello"), &got) != PERI_OK) {
        fail_msg("%s", got.result.error.message);
    }
    got_fini(&got);
    net_free(net);
}

static void test_trust(void **state)
{
    (void)state;
    struct net *net = trusting(false);
    char url[100];
    snprintf(url, sizeof(url), "%s/hello", other_origin); /* the certificate names 127.0.0.1 only */
    assert_int_equal(net_get(net, url, &got), PERI_TLS);
    assert_false(got.result.anything_sent);
    net_free(net);

    net = net_new(NULL);
    assert_int_equal(net_get(net, url_of("/hello?hush"), &got), PERI_TLS);
    assert_non_null(strstr(got.result.error.message, "SSL_CERT_FILE"));
    assert_false(got.result.error.retryable);
    net_free(net);

    setenv("SSL_CERT_FILE", ca_file, 1);
    net = net_new(NULL);
    unsetenv("SSL_CERT_FILE");
    assert_int_equal(net_get(net, url_of("/hello"), &got), PERI_OK);
    net_free(net);

    net = net_new(&(struct peri_transport_options){ .insecure = true });
    assert_int_equal(net_get(net, url_of("/hello"), &got), PERI_OK);
    net_free(net);

    net = net_new(&(struct peri_transport_options){ .ca_file = "/nonexistent.pem" });
    assert_int_equal(net_get(net, url_of("/hello"), &got), PERI_TLS);
    assert_non_null(strstr(got.result.error.message, "ca_file"));
    got_fini(&got);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http2),  cmocka_unit_test(test_many_streams),   cmocka_unit_test(test_paced_download),
        cmocka_unit_test(test_upload), cmocka_unit_test(test_cancel_streams), cmocka_unit_test(test_trust),
    };
    return cmocka_run_group_tests(tests, start_nginx, stop_nginx);
}
