/* SPDX-License-Identifier: MIT */
/* part: client */
#include "support/fixture.h"

#include "perilune/client.h"

/* What one request leaves for the next: connections. */

static const struct peri_service plain = { .name = "plain", .retry = &peri_retry_none };

/* Many requests made in step: between two rounds none is under way, and yet no connection is given up. */
static void test_connections_between_rounds(void **state)
{
    (void)state;
    enum { MANY = 40, ROUNDS = 3 };
    struct fixture f;
    static const struct httpd_step answer = { "GET", "/", .status = 200, .times = MANY * ROUNDS };
    fixture_open(&f, &plain, NULL, &answer, 1);
    struct peri_transport_options few = { .max_connections = 1 };
    struct peri_transport *transport = peri_transport_new(f.loop, &few, &f.err);
    struct peri_client_options options = { .base_url = httpd_url(f.server), .transport = transport };
    struct peri_client *client = peri_client_new(f.loop, &options, &f.err);
    struct peri_op *ops[MANY];
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            ops[i] = peri_client_request(client, &(struct peri_http){ .url = "/" }, &f.err);
            assert_non_null(ops[i]);
        }
        for (unsigned i = 0; i < MANY; i++) {
            assert_int_equal(peri_op_wait(ops[i], &f.err), PERI_OK);
            peri_op_free(ops[i]);
        }
    }
    unsigned connections = 0;
    for (size_t i = 0; i < MANY * ROUNDS; i++) {
        unsigned number = httpd_request(f.server, i)->connection;
        connections = number > connections ? number : connections;
    }
    assert_int_equal(connections, MANY);
    peri_client_free(client);
    peri_transport_free(transport);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_between_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
