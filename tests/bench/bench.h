/* SPDX-License-Identifier: MIT */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

/* What the two client benches share: the cases, the clock and the line that is printed. */

#define BENCH_BODY "{\"items\":[{\"id\":1234567890123,\"name\":\"sensor\",\"value\":21.5,\"ok\":true}]}"

struct bench_case {
    bool post;
    unsigned concurrency, requests;
};

struct bench_clock {
    double wall, cpu;
};

static inline struct bench_clock bench_start(void)
{
    struct timespec now;
    struct rusage usage;
    clock_gettime(CLOCK_MONOTONIC, &now);
    getrusage(RUSAGE_SELF, &usage);
    return (struct bench_clock){ (double)now.tv_sec + (double)now.tv_nsec / 1e9,
                                 (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6 };
}

static inline void bench_report(const char *client, const struct bench_case *what, struct bench_clock start,
                                unsigned failed)
{
    struct bench_clock end = bench_start();
    printf("{\"client\":\"%s\",\"method\":\"%s\",\"concurrency\":%u,\"requests\":%u,\"failed\":%u,"
           "\"requests_per_s\":%.0f,\"cpu_us_per_request\":%.2f}\n",
           client, what->post ? "POST" : "GET", what->concurrency, what->requests, failed,
           what->requests / (end.wall - start.wall), (end.cpu - start.cpu) * 1e6 / what->requests);
    fflush(stdout);
}

/* usage: PROGRAM URL [REQUESTS [METHOD [CONCURRENCY]]] */
static inline int bench_main(int argc, char **argv, void (*measure)(const char *url, const struct bench_case *what))
{
    static const unsigned concurrencies[] = { 1, 10, 100 };
    if (argc < 2) {
        fprintf(stderr, "usage: %s URL [REQUESTS [GET|POST [CONCURRENCY]]]\n", argv[0]);
        return 2;
    }
    unsigned requests = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 20000;
    unsigned only = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    for (int post = 0; post < 2; post++) {
        if (argc > 3 && (argv[3][0] == 'P') != post) {
            continue;
        }
        for (unsigned i = 0; i < 3; i++) {
            if (!only || only == concurrencies[i]) {
                measure(argv[1], &(struct bench_case){ post, concurrencies[i], requests });
            }
        }
    }
    return 0;
}

#endif
