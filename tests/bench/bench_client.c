/* SPDX-License-Identifier: MIT */
/* The transport's speed: GET and POST of a small JSON at several concurrencies.
 * usage: bench_client URL [REQUESTS]; one JSON line per measurement. */
#include "bench/bench.h"

#include <stdlib.h>

#include "perilune/transport.h"

struct run {
    struct peri_transport *transport;
    struct peri_headers headers;
    const struct bench_case *what;
    const char *url;
    unsigned started, finished, failed;
};

struct slot {
    struct run *run;
    struct peri_reader *body;
};

static void start_next(struct slot *slot);

static void on_done(void *data, struct peri_result *result)
{
    struct slot *slot = data;
    if (result->code != PERI_OK || result->status != 200) {
        if (!slot->run->failed++) {
            fprintf(stderr, "status %d %s\n", result->status, result->error.message);
        }
    }
    slot->run->finished++;
    start_next(slot);
}

static void start_next(struct slot *slot)
{
    struct run *run = slot->run;
    if (run->started == run->what->requests) {
        return;
    }
    run->started++;
    struct peri_error err;
    struct peri_request request = { .method = run->what->post ? "POST" : "GET", .url = run->url };
    if (run->what->post) {
        peri_reader_rewind(slot->body, NULL);
        request.body = slot->body;
        request.headers = &run->headers;
    }
    if (!peri_exchange_start(run->transport, &request, on_done, slot, &err)) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
}

static void measure(const char *url, const struct bench_case *what)
{
    struct peri_error err;
    struct peri_loop *loop = peri_loop_new(&err);
    struct run run = { .what = what, .url = url };
    struct slot *slots = calloc(what->concurrency, sizeof(*slots));
    run.transport = loop ? peri_transport_new(loop, NULL, &err) : NULL;
    if (!run.transport || !slots) {
        fprintf(stderr, "can't start\n");
        exit(1);
    }
    peri_headers_init(&run.headers);
    peri_headers_set(&run.headers, "Content-Type", "application/json");
    struct bench_clock clock = bench_start();
    for (unsigned i = 0; i < what->concurrency; i++) {
        slots[i].run = &run;
        slots[i].body = peri_reader_borrowed(peri_str_from(BENCH_BODY), &err);
        start_next(&slots[i]);
    }
    while (run.finished < what->requests) {
        peri_loop_run_once(loop, -1, &err);
    }
    bench_report("perilune", what, clock, run.failed);
    for (unsigned i = 0; i < what->concurrency; i++) {
        peri_reader_free(slots[i].body);
    }
    free(slots);
    peri_headers_fini(&run.headers);
    peri_transport_free(run.transport);
    peri_loop_free(loop);
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, measure);
}
