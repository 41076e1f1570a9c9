/* SPDX-License-Identifier: MIT */
#ifndef PERILUNE_CIM_H
#define PERILUNE_CIM_H

#include "perilune/service.h"

#ifdef __cplusplus
extern "C" {
#endif

/* CONTACT CIM Database Cloud, Functions Access Service; and the door /cim of a perilune host. The client's base_url is the
 * service_url that a function is given, its token the service_token. Operations
 * (peri_service_call(client, &peri_cim, "generator.get_number", args, NULL, err)):
 *   generator.get_number, generator.get_numbers                     the number; the list of numbers
 *   file_upload.upload_new_file, file_upload.upload_file_content    the new file object's id; nothing
 *   temp_file.upload                                                the temporary file's id (not released upstream yet)
 *   files.retrieve, files.download                                  only a perilune host has them
 * Their options carry the names of the platform's Python SDK.
 *
 * Uploads. The content is streams->content, or the string `stream`. Its size must be known: of memory and files that can
 * seek it is, for others say `filesize`; what does not match is refused, before anything is sent or at least before the
 * upload is completed. Chunks of sources that can be read anywhere go out `concurrency` (1 to 16) at once and are tried
 * again when they fail; those of others go out one after the other, each only once, and nothing of them is kept. SHA-256
 * is taken on another thread. Presigned URLs get no credentials. Once they are there, every failure, the deadline and
 * cancelling are followed by one abort: by the deadline the operation may be late for it by 5 s; after a cancellation it
 * goes on by itself as long as the client lives and the loop runs. The error is the first one, with "; the abort failed
 * too: ..." if it did. streams->uploaded tells of progress.
 *
 * Without a rate limit of its own the client sends at most 100 requests in 60 s per token; an upload waits until it may
 * send all of its requests (2 or 3, and the abort; chunks do not count), then stops no more half-way.
 *
 * Only status 200 is a success; redirects are not followed. Without time-outs of the client's own, an answer begins
 * within 10 s (20 s after a chunk), and bytes never rest longer than that. */
PERI_API extern const struct peri_service peri_cim;

#ifdef __cplusplus
}
#endif

#endif
