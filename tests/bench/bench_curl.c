/* SPDX-License-Identifier: MIT */
/* The measure for bench_client: a bare libcurl-multi loop with kept connections and reused easy handles. */
#include "bench/bench.h"

#include <curl/curl.h>
#include <stdlib.h>

struct answer {
    char bytes[4096];
    size_t len;
};

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct answer *answer = user;
    for (size_t i = 0; i < size * count && answer->len < sizeof(answer->bytes); i++) {
        answer->bytes[answer->len++] = data[i];
    }
    return size * count;
}

static void configure(CURL *easy, struct answer *answer, const char *url, const struct bench_case *what,
                      struct curl_slist *headers)
{
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, answer);
    if (what->post) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, BENCH_BODY);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    }
}

static void measure(const char *url, const struct bench_case *what)
{
    CURLM *multi = curl_multi_init();
    CURL **easies = calloc(what->concurrency, sizeof(*easies));
    struct answer *answers = calloc(what->concurrency, sizeof(*answers));
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    unsigned started = 0, finished = 0, failed = 0;
    if (!multi || !easies || !answers) {
        fprintf(stderr, "can't start\n");
        exit(1);
    }
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)what->concurrency + 64);
    struct bench_clock clock = bench_start();
    for (unsigned i = 0; i < what->concurrency && started < what->requests; i++, started++) {
        easies[i] = curl_easy_init();
        configure(easies[i], &answers[i], url, what, headers);
        curl_multi_add_handle(multi, easies[i]);
    }
    while (finished < what->requests) {
        int running, left;
        curl_multi_perform(multi, &running);
        CURLMsg *message;
        while ((message = curl_multi_info_read(multi, &left)) != NULL) {
            CURL *easy = message->easy_handle;
            long status = 0;
            char *private = NULL;
            curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
            curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
            failed += message->data.result != CURLE_OK || status != 200;
            finished++;
            ((struct answer *)(void *)private)->len = 0;
            curl_multi_remove_handle(multi, easy);
            if (started < what->requests) {
                started++;
                curl_multi_add_handle(multi, easy);
                running = 1;
            }
        }
        if (finished < what->requests) {
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
        }
    }
    bench_report("libcurl", what, clock, failed);
    for (unsigned i = 0; i < what->concurrency; i++) {
        curl_easy_cleanup(easies[i]);
    }
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    free(answers);
    free(easies);
}

int main(int argc, char **argv)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return bench_main(argc, argv, measure);
}
