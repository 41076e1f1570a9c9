/* SPDX-License-Identifier: MIT */
#ifndef CORE_CLIENT_TABLE_H
#define CORE_CLIENT_TABLE_H

#include "perilune/service.h"

/* How the services write the lines of their tables. */

/* An option that is sent when it is given. */
#define PERI_FIELD(name, wire, type, place, required, help)                                                            \
    {                                                                                                                  \
        (name), (wire), (type), (place), (required), (help), NULL, 0                                                   \
    }
/* One that is always sent: initial (JSON text) when it is not given. */
#define PERI_FIELD_INITIAL(name, wire, type, place, help, initial)                                                     \
    {                                                                                                                  \
        (name), (wire), (type), (place), false, (help), (initial), 0                                                   \
    }
/* A limit: initial (JSON text) when it is not given, never more than maximum in one request. */
#define PERI_FIELD_LIMIT(name, help, initial, maximum)                                                                 \
    {                                                                                                                  \
        (name), NULL, PERI_LIMIT, PERI_IN_BODY, false, (help), (initial), (maximum)                                    \
    }
/* The same in the query. */
#define PERI_FIELD_QUERY_LIMIT(name, help, initial, maximum)                                                           \
    {                                                                                                                  \
        (name), NULL, PERI_LIMIT, PERI_IN_QUERY, false, (help), (initial), (maximum)                                   \
    }

#define PERI_COUNT(list) (sizeof(list) / sizeof *(list))
#define PERI_FIELDS(list) .fields = (list), .field_count = PERI_COUNT(list)

#endif
