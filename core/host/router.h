/* SPDX-License-Identifier: MIT */
#ifndef CORE_HOST_ROUTER_H
#define CORE_HOST_ROUTER_H

#include "host/http.h"

/* Which route of which door answers a method and a path. Built once; a look-up walks the path's segments and allocates
 * nothing. A literal segment wins over a parameter; where the literal leads nowhere, the parameter is tried. */
struct peri_router;

#define PERI_ROUTE_PARAMS 6
#define PERI_ROUTE_SEGMENTS 24 /* a longer path is not found */

struct peri_route_param {
    struct peri_str name;
    struct peri_str value; /* a view into the path, still percent-encoded */
};

enum peri_route_result { PERI_ROUTE_FOUND, PERI_ROUTE_NOT_FOUND, PERI_ROUTE_BAD_METHOD };

struct peri_route_match {
    const struct peri_route *route;
    const struct peri_door *door; /* not found: the door with the longest prefix of the path; NULL without any */
    const char *allow;            /* bad method: the value of Allow, "DELETE, GET, HEAD" */
    struct peri_route_param params[PERI_ROUTE_PARAMS];
    size_t param_count;
};

/* doors is borrowed and ends with a NULL. PERI_INVALID: two routes of one method and pattern, or a bad pattern. */
enum peri_code peri_router_new(const struct peri_door *const *doors, struct peri_router **out, struct peri_error *err);
void peri_router_free(struct peri_router *router);
/* HEAD is answered by GET. path is without the query. */
enum peri_route_result peri_router_match(const struct peri_router *router, const char *method, const char *path,
                                         struct peri_route_match *out);

#endif
