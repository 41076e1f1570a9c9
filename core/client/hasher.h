/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_HASHER_H
#define CORE_CLIENT_HASHER_H

#include "perilune/hash.h"
#include "perilune/loop.h"
#include "perilune/stream.h"

/* The SHA-256 of what goes out, taken on another thread: inline it would cost the loop a third of its throughput. Of a
 * source that can be read anywhere it reads for itself, behind the transfer, so that the pages are still in memory; from
 * any other one it is fed, through two buffers. Little is hashed at once, on the loop. */
struct peri_hasher;

/* source: a reader of its own, taken, also on failure; NULL: to be fed. changed is called on the loop when a piece is
 * done: look at peri_hasher_room and peri_hasher_state again. */
struct peri_hasher *peri_hasher_new(struct peri_loop *loop, struct peri_reader *source, void (*changed)(void *data),
                                    void *data, struct peri_error *err);
void peri_hasher_free(struct peri_hasher *hasher); /* waits for the piece under way: some milliseconds */

/* With a source: all up to this byte may be hashed. */
void peri_hasher_reach(struct peri_hasher *hasher, int64_t end);
/* Without one: how many bytes it takes now; then the bytes themselves. */
size_t peri_hasher_room(const struct peri_hasher *hasher);
void peri_hasher_feed(struct peri_hasher *hasher, struct peri_str bytes);

/* No more comes: end is the number of all bytes. */
void peri_hasher_finish(struct peri_hasher *hasher, int64_t end);
/* PERI_OK once all is hashed after finish; PERI_BUSY before; else why the source could not be read. */
enum peri_code peri_hasher_state(const struct peri_hasher *hasher, struct peri_error *err);
/* Once, when the state is PERI_OK: 64 lower-case hexadecimal digits and a NUL. */
void peri_hasher_digest(struct peri_hasher *hasher, char hex[65]);

#endif
