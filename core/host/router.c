/* SPDX-License-Identifier: MIT */
#include "host/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { METHOD_DELETE, METHOD_GET, METHOD_PATCH, METHOD_POST, METHOD_PUT, METHODS };
static const char *const method_names[METHODS] = { "DELETE", "GET", "PATCH", "POST", "PUT" };

struct target {
    const struct peri_route *route; /* NULL: no such method here */
    const struct peri_door *door;
    struct peri_str names[PERI_ROUTE_PARAMS];
    size_t name_count;
};

struct node {
    struct peri_str literal; /* a view into a pattern */
    struct node *next;       /* sibling */
    struct node *literals;   /* children of a literal segment */
    struct node *param;      /* child of any one segment */
    struct node *rest;       /* child of all that remains */
    bool answers;            /* has a target */
    char allow[48];
    struct target targets[METHODS];
};

struct peri_router {
    const struct peri_door *const *doors;
    struct node root;
};

static int method_index(const char *method)
{
    switch (method[0]) {
    case 'D':
        return strcmp(method, "DELETE") == 0 ? METHOD_DELETE : -1;
    case 'G':
        return strcmp(method, "GET") == 0 ? METHOD_GET : -1;
    case 'H':
        return strcmp(method, "HEAD") == 0 ? METHOD_GET : -1;
    case 'P':
        if (strcmp(method, "POST") == 0)
            return METHOD_POST;
        if (strcmp(method, "PUT") == 0)
            return METHOD_PUT;
        return strcmp(method, "PATCH") == 0 ? METHOD_PATCH : -1;
    default:
        return -1;
    }
}

static struct node *child_of(struct node **slot)
{
    if (*slot == NULL)
        *slot = calloc(1, sizeof **slot);
    return *slot;
}

static struct node *literal_child(struct node *node, struct peri_str literal)
{
    for (struct node *c = node->literals; c != NULL; c = c->next) {
        if (peri_str_equal(c->literal, literal))
            return c;
    }
    struct node *made = calloc(1, sizeof *made);
    if (made == NULL)
        return NULL;
    made->literal = literal;
    made->next = node->literals;
    node->literals = made;
    return made;
}

static void set_allow(struct node *node)
{
    int len = 0;
    for (int m = 0; m < METHODS; m++) {
        if (node->targets[m].route != NULL)
            len += snprintf(node->allow + len, sizeof node->allow - (size_t)len, "%s%s%s", len > 0 ? ", " : "",
                            method_names[m], m == METHOD_GET ? ", HEAD" : "");
    }
}

static enum peri_code add_route(struct peri_router *router, const struct peri_door *door,
                                const struct peri_route *route, struct peri_error *err)
{
    struct target target = { .route = route, .door = door };
    struct node *node = &router->root;
    const char *at = route->pattern;
    int method = method_index(route->method);
    if (method < 0 || *at != '/')
        return peri_error_set(err, PERI_INVALID, "route %s %s of door %s", route->method, route->pattern, door->name);
    while (*at == '/' && node != NULL) {
        const char *end = strchrnul(++at, '/');
        struct peri_str segment = { at, (size_t)(end - at) };
        at = end;
        if (segment.len < 3 || segment.data[0] != '{') {
            node = literal_child(node, segment);
            continue;
        }
        bool rest = segment.len > 5 && memcmp(segment.data + segment.len - 4, "...}", 4) == 0;
        if (target.name_count == PERI_ROUTE_PARAMS || (rest && *end != '\0'))
            return peri_error_set(err, PERI_INVALID, "pattern %s of door %s", route->pattern, door->name);
        target.names[target.name_count++] = (struct peri_str){ segment.data + 1, segment.len - (rest ? 5 : 2) };
        node = child_of(rest ? &node->rest : &node->param);
    }
    if (node == NULL)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    if (node->targets[method].route != NULL)
        return peri_error_set(err, PERI_INVALID, "two routes for %s %s", route->method, route->pattern);
    node->targets[method] = target;
    node->answers = true;
    set_allow(node);
    return PERI_OK;
}

static void free_children(struct node *node)
{
    while (node->literals != NULL) {
        struct node *c = node->literals;
        node->literals = c->next;
        free_children(c);
        free(c);
    }
    for (int i = 0; i < 2; i++) {
        struct node *c = i == 0 ? node->param : node->rest;
        if (c != NULL)
            free_children(c);
        free(c);
    }
}

enum peri_code peri_router_new(const struct peri_door *const *doors, struct peri_router **out, struct peri_error *err)
{
    struct peri_router *router = calloc(1, sizeof *router);
    if (router == NULL)
        return peri_error_set(err, PERI_NOMEM, "out of memory");
    router->doors = doors;
    for (size_t d = 0; doors[d] != NULL; d++) {
        for (size_t r = 0; r < doors[d]->count; r++) {
            enum peri_code code = add_route(router, doors[d], &doors[d]->routes[r], err);
            if (code != PERI_OK) {
                peri_router_free(router);
                return code;
            }
        }
    }
    *out = router;
    return PERI_OK;
}

void peri_router_free(struct peri_router *router)
{
    if (router == NULL)
        return;
    free_children(&router->root);
    free(router);
}

struct walk {
    struct peri_str segments[PERI_ROUTE_SEGMENTS];
    size_t count;
    const char *end;
    struct peri_str values[PERI_ROUTE_PARAMS];
    size_t value_count;
};

static const struct node *find(const struct node *node, struct walk *walk, size_t at)
{
    if (at == walk->count)
        return node->answers ? node : NULL;
    struct peri_str segment = walk->segments[at];
    for (const struct node *c = node->literals; c != NULL; c = c->next) {
        if (c->literal.len == segment.len && memcmp(c->literal.data, segment.data, segment.len) == 0) {
            const struct node *found = find(c, walk, at + 1);
            if (found != NULL)
                return found;
            break;
        }
    }
    if (node->param != NULL && segment.len > 0) {
        size_t kept = walk->value_count;
        walk->values[walk->value_count++] = segment;
        const struct node *found = find(node->param, walk, at + 1);
        if (found != NULL)
            return found;
        walk->value_count = kept;
    }
    if (node->rest != NULL && walk->end > segment.data) {
        walk->values[walk->value_count++] = (struct peri_str){ segment.data, (size_t)(walk->end - segment.data) };
        return node->rest;
    }
    return NULL;
}

static const struct peri_door *door_of(const struct peri_router *router, const char *path)
{
    const struct peri_door *best = NULL;
    size_t best_len = 0;
    for (size_t d = 0; router->doors[d] != NULL; d++) {
        const char *prefix = router->doors[d]->prefix;
        size_t len = prefix == NULL ? 0 : strlen(prefix);
        if (prefix != NULL && strncmp(path, prefix, len) == 0 && (best == NULL || len > best_len)) {
            best = router->doors[d];
            best_len = len;
        }
    }
    return best;
}

enum peri_route_result peri_router_match(const struct peri_router *router, const char *method, const char *path,
                                         struct peri_route_match *out)
{
    struct walk walk;
    const char *at = path;
    walk.count = 0;
    walk.value_count = 0;
    out->route = NULL;
    out->allow = NULL;
    out->param_count = 0;
    while (*at == '/' && walk.count < PERI_ROUTE_SEGMENTS) {
        const char *end = strchrnul(++at, '/');
        walk.segments[walk.count++] = (struct peri_str){ at, (size_t)(end - at) };
        at = end;
    }
    walk.end = at;
    const struct node *node = walk.count > 0 && *at == '\0' ? find(&router->root, &walk, 0) : NULL;
    if (node == NULL) {
        out->door = door_of(router, path);
        return PERI_ROUTE_NOT_FOUND;
    }
    int index = method_index(method);
    if (index < 0 || node->targets[index].route == NULL) {
        for (int m = 0; m < METHODS; m++) {
            if (node->targets[m].route != NULL)
                out->door = node->targets[m].door;
        }
        out->allow = node->allow;
        return PERI_ROUTE_BAD_METHOD;
    }
    const struct target *target = &node->targets[index];
    out->route = target->route;
    out->door = target->door;
    out->param_count = target->name_count;
    for (size_t i = 0; i < target->name_count; i++) {
        out->params[i].name = target->names[i];
        out->params[i].value = walk.values[i];
    }
    return PERI_ROUTE_FOUND;
}
