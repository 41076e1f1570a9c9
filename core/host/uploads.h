/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_UPLOADS_H
#define CORE_HOST_UPLOADS_H

#include "host/access.h"

/* Uploads under way and with them the locks on file objects: in memory, their bytes in tmp/. Each ends by complete,
 * abort, silence (lock_timeout_ms after the last sign of life) or the host's end. */
struct peri__uploads;
enum peri_code peri__uploads_new(struct peri_engine *engine, struct peri_error *err);
/* Everything that writes into an upload must have ended. */
void peri__uploads_free(struct peri__uploads *uploads);
void peri__uploads_tick(struct peri__uploads *uploads); /* drops those that fell silent */
void peri__uploads_drop_object(struct peri__uploads *uploads, uint64_t object_id);

#endif
