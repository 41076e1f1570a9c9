/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_API_DOORS_H
#define CORE_HOST_API_DOORS_H

#include "host/engine.h"
#include "host/http.h"

/* The doors of the host: each translates one wire to the engine and back, and knows neither the store nor the
 * sandboxes nor another door. A door must outlive the HTTP server that it is given to. */
struct peri_door_options {
    struct peri_engine *engine; /* borrowed */
    const char *token;          /* the host's; copied where a door needs it */
    const char *cim_secret;     /* with which events are signed; copied */
    const char *data_dir;       /* for the host's own description; copied */
    size_t body_limit;
    int64_t started_ms;    /* wall */
    unsigned cim_rate;     /* requests of a token to the access service ... */
    int64_t cim_window_ms; /* ... in such a time */
};

/* The host's own door: /healthz, /openapi.json and /v1. NULL with err. */
struct peri_door *peri_host_door_new(const struct peri_door_options *options, struct peri_error *err);
void peri_host_door_free(struct peri_door *door);
/* Where the host listens, for its description; copied. */
void peri_host_door_set_url(struct peri_door *door, const char *url);
/* /healthz says so from now on. */
void peri_host_door_set_draining(struct peri_door *door);

/* Cognite Data Fusion, Functions API: /api/v1/projects/{project} (any project name means the same one space of
 * functions), /api/v1/token/inspect and /oauth2/token. NULL with err. */
struct peri_door *peri_cdf_door_new(const struct peri_door_options *options, struct peri_error *err);
void peri_cdf_door_free(struct peri_door *door);

/* CIM Database Cloud, events: POST /cim/events/{name} calls that function. NULL with err. */
struct peri_door *peri_cim_event_door_new(const struct peri_door_options *options, struct peri_error *err);
void peri_cim_event_door_free(struct peri_door *door);

/* CIM Database Cloud's Functions Access Service: /cim. NULL with err. */
struct peri_door *peri_cim_door_new(const struct peri_door_options *options, struct peri_error *err);
void peri_cim_door_free(struct peri_door *door);
/* Where the host listens, for presigned URLs that a request without a Host header asks for; copied. */
void peri_cim_door_set_url(struct peri_door *door, const char *url);

/* The OpenAPI description of the host's own door. */
struct peri_str peri_openapi(void);

#endif
