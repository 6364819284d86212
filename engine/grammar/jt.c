/*
 * Types: atoms, types, forms; see js_type.h and jt_priv.h.  One thread at a
 * time, the program's.  Everything is in the program's arena but the tables
 * that grow, which are of the heap and go with jt_free().
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/grammar/jt_priv.h"

/* References that lead straight to another one. */
#define JT_CHAIN 64

static int      jt_start(jt_t *jt);
static int      jt_grow(void *list, uint32_t n, uint32_t *cap, size_t size);
static uint32_t jt_atom(jt_t *jt, int kind, uint32_t scope, const void *what);
static int      jt_atoms_rehash(jt_t *jt);
static int      jt_types_rehash(jt_t *jt);
static uint32_t jt_scope_enter(jt_t *jt, uint32_t scope,
                               const js_resource_t *resource);
static const js_node_t *jt_dynamic(const jt_t *jt, uint32_t scope,
                                   const js_keyword_t *k);
static int              jt_gather(jt_t *jt, uint32_t lit, int chain);
static int jt_gather_node(jt_t *jt, uint32_t lit, const jt_atom_t *atom,
                          int chain);
static int jt_gather_list(jt_t *jt, const jt_atom_t *atom,
                          const js_keyword_t *k, int negative, int chain);
static int jt_gather_type(jt_t *jt, jt_type_t type, int negative, int chain);
static jt_type_t jt_intern(jt_t *jt, uint32_t *lits, uint32_t n);
static int       jt_order(const void *a, const void *b);


int
jt_new(gr_t *gr, js_schema_t *schema_take, const jt_options_t *options,
       jt_t **out)
{
    jt_t *jt = calloc(1, sizeof(jt_t));

    if (jt == NULL) {
        js_schema_close(schema_take);
        return -ENOMEM;
    }

    jt->gr = gr;
    jt->re = gr_re(gr);
    jt->arena = gr_arena(gr);
    jt->schema = schema_take;

    if (options) {
        jt->options = *options;
    }

    if (jt->options.max_types == 0) {
        jt->options.max_types = 200000;
    }

    if (jt->options.max_shapes == 0) {
        jt->options.max_shapes = 512;
    }

    if (jt_start(jt) < 0) {
        jt_free(jt);
        return -ENOMEM;
    }

    *out = jt;

    return 0;
}


/* Tables, the empty scope, and the types that have names. */
static int
jt_start(jt_t *jt)
{
    jt_def_t *nothing;

    jt->n_atom_slots = 256;
    jt->atom_slots = calloc(jt->n_atom_slots, sizeof(uint32_t));
    jt->n_type_slots = 256;
    jt->type_slots = calloc(jt->n_type_slots, sizeof(uint32_t));
    nothing = jt_get(jt, sizeof(jt_def_t));

    if (jt->atom_slots == NULL || jt->type_slots == NULL || nothing == NULL
        || jt_grow(&jt->scopes, 0, &jt->cap_scopes, sizeof(jt_scope_t)) < 0
        || jt_grow(&jt->types, 0, &jt->cap_types, sizeof(jt_def_t *)) < 0) {
        return -ENOMEM;
    }

    jt->scopes[0] = (jt_scope_t){0};
    jt->n_scopes = 1;

    nothing->raw = jt_get(jt, sizeof(jt_raw_t));
    nothing->empty = JT_IS_EMPTY;
    jt->types[0] = nothing;
    jt->n_types = 1;

    if (nothing->raw == NULL || jt_intern(jt, NULL, 0) != JT_ANY) {
        return -ENOMEM;
    }

    jt->types[JT_ANY]->empty = JT_HAS_VALUE;

    return 0;
}


void
jt_free(jt_t *jt)
{
    if (jt == NULL) {
        return;
    }

    js_schema_close(jt->schema);
    free(jt->atoms);
    free(jt->atom_slots);
    free(jt->types);
    free(jt->type_slots);
    free(jt->scopes);
    buf_free(&jt->scratch);
    free(jt);
}


const char *
jt_error(const jt_t *jt)
{
    return jt->err;
}


int
jt_fail(jt_t *jt, int rc, const js_node_t *node, const js_keyword_t *k,
        const char *fmt, ...)
{
    buf_t   path = {0};
    va_list ap;
    int     n = 0;

    if (jt->rc) {
        return jt->rc;
    }

    if (node == NULL) {
        node = jt->at;
    }

    if (node) {
        js_node_path(&path, node, k ? k->value : node->value);
        n = (int) path.len;

        if (n > 300) {
            n = 300;
        }

        n = snprintf(jt->err, sizeof(jt->err), "%.*s: ", n, path.data);
        buf_free(&path);
    }

    va_start(ap, fmt);
    vsnprintf(jt->err + n, sizeof(jt->err) - (size_t) n, fmt, ap);
    va_end(ap);
    jt->rc = rc;

    return rc;
}


const js_node_t *
jt_place(const jt_t *jt, jt_type_t type)
{
    const jt_def_t  *def = jt->types[type];
    const jt_atom_t *atom;
    uint32_t         i;

    for (i = 0; i < def->n; i++) {
        atom = jt->atoms[def->lits[i] >> 1];

        if (atom->kind == JT_ATOM_NODE) {
            return atom->node;
        }
    }

    return NULL;
}


void *
jt_get(jt_t *jt, size_t size)
{
    void *p = arena_get(jt->arena, size ? size : 1);

    if (p == NULL) {
        (void) jt_fail(jt, -E2BIG, NULL, NULL,
                       "the schema takes too much memory");
    }

    return p;
}


/* Room for one more than n. */
static int
jt_grow(void *list, uint32_t n, uint32_t *cap, size_t size)
{
    void    *p, **at = list;
    uint32_t more;

    if (n < *cap) {
        return 0;
    }

    more = *cap ? *cap * 2 : 64;
    p = realloc(*at, more * size);
    if (p == NULL) {
        return -ENOMEM;
    }

    *at = p;
    *cap = more;

    return 0;
}


static uint32_t
jt_hash(const void *data, size_t len, uint32_t h)
{
    const uint32_t *p = data;
    size_t          i;

    for (i = 0; i < len / 4; i++) {
        h = (h ^ p[i]) * 0x9e3779b1u;
        h ^= h >> 15;
    }

    return h;
}


/* scope has the number of a type where kind is JT_ATOM_TYPE. */
static uint32_t
jt_atom(jt_t *jt, int kind, uint32_t scope, const void *what)
{
    uintptr_t  key[2] = {(uintptr_t) what, scope * 4u + (unsigned) kind};
    uint32_t   h, slot, a;
    jt_atom_t *atom;

    h = jt_hash(key, sizeof(key), 7);

    for (slot = h & (jt->n_atom_slots - 1); jt->atom_slots[slot];
         slot = (slot + 1) & (jt->n_atom_slots - 1)) {
        a = jt->atom_slots[slot] - 1;
        atom = jt->atoms[a];

        if (atom->kind == kind && atom->scope == scope && atom->node == what) {
            return a;
        }
    }

    atom = jt_get(jt, sizeof(jt_atom_t));

    if (atom == NULL
        || jt_grow(&jt->atoms, jt->n_atoms, &jt->cap_atoms, sizeof(atom)) < 0) {
        (void) jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
        return UINT32_MAX;
    }

    if (jt->n_atoms >= jt->options.max_types * 4) {
        (void) jt_fail(jt, -E2BIG, NULL, NULL,
                       "the schema unfolds to too many types");
        return UINT32_MAX;
    }

    atom->kind = (uint8_t) kind;
    atom->scope = scope;
    atom->node = what;
    atom->type = UINT32_MAX;
    jt->atoms[jt->n_atoms++] = atom;
    jt->atom_slots[slot] = jt->n_atoms;

    if (jt->n_atoms * 2 > jt->n_atom_slots && jt_atoms_rehash(jt) < 0) {
        (void) jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
        return UINT32_MAX;
    }

    return jt->n_atoms - 1;
}


static int
jt_atoms_rehash(jt_t *jt)
{
    uint32_t  n = jt->n_atom_slots * 4, i, slot, *slots;
    uintptr_t key[2];

    slots = calloc(n, sizeof(uint32_t));
    if (slots == NULL) {
        return -ENOMEM;
    }

    for (i = 0; i < jt->n_atoms; i++) {
        key[0] = (uintptr_t) jt->atoms[i]->node;
        key[1] = jt->atoms[i]->scope * 4u + jt->atoms[i]->kind;
        slot = jt_hash(key, sizeof(key), 7) & (n - 1);

        while (slots[slot]) {
            slot = (slot + 1) & (n - 1);
        }

        slots[slot] = i + 1;
    }

    free(jt->atom_slots);
    jt->atom_slots = slots;
    jt->n_atom_slots = n;

    return 0;
}


uint32_t
jt_atom_node(jt_t *jt, uint32_t scope, const js_node_t *node)
{
    return jt_atom(jt, JT_ATOM_NODE, jt_scope_enter(jt, scope, node->resource),
                   node);
}


uint32_t
jt_atom_value(jt_t *jt, const js_value_t *value)
{
    return jt_atom(jt, JT_ATOM_VALUE, 0, value);
}


uint32_t
jt_atom_type(jt_t *jt, jt_type_t type)
{
    return jt_atom(jt, JT_ATOM_TYPE, type, NULL);
}


/*
 * The schemas that dynamic references can see: resources in the order in
 * which they were entered, only those that have something to be seen.
 */
static uint32_t
jt_scope_enter(jt_t *jt, uint32_t scope, const js_resource_t *resource)
{
    uint32_t s;

    if (resource->dynamic == NULL && !resource->recursive) {
        return scope;
    }

    for (s = scope; s; s = jt->scopes[s].up) {
        if (jt->scopes[s].resource == resource) {
            return scope;
        }
    }

    for (s = 1; s < jt->n_scopes; s++) {
        if (jt->scopes[s].up == scope && jt->scopes[s].resource == resource) {
            return s;
        }
    }

    if (jt->n_scopes > 1000
        || jt_grow(&jt->scopes, jt->n_scopes, &jt->cap_scopes,
                   sizeof(jt_scope_t))
               < 0) {
        (void) jt_fail(jt, -E2BIG, resource->node, NULL,
                       "too many dynamic scopes");
        return scope;
    }

    jt->scopes[s] = (jt_scope_t){scope, resource};
    jt->n_scopes++;

    return s;
}


/* What the outermost schema that was entered has under that name. */
static const js_node_t *
jt_dynamic(const jt_t *jt, uint32_t scope, const js_keyword_t *k)
{
    const js_node_t    *node = k->node;
    const js_dynamic_t *d;

    if (k->kw == JS_KW_RECURSIVE_REF) {
        if (!node->resource->recursive || node->resource->node != node) {
            return node;
        }

        for (; scope; scope = jt->scopes[scope].up) {
            if (jt->scopes[scope].resource->recursive) {
                node = jt->scopes[scope].resource->node;
            }
        }

        return node;
    }

    if (k->anchor.len == 0) {
        return node;
    }

    for (; scope; scope = jt->scopes[scope].up) {
        for (d = jt->scopes[scope].resource->dynamic; d; d = d->next) {
            if (str_eq(d->name, k->anchor)) {
                node = d->node;
                break;
            }
        }
    }

    return node;
}


int
jt_target(jt_t *jt, const jt_atom_t *atom, const js_keyword_t *k,
          uint32_t *target)
{
    if (k->node == NULL) {
        return jt_fail(jt, -EINVAL, atom->node, k, "%s",
                       k->missing ? k->missing : "leads nowhere");
    }

    *target = jt_atom_node(jt, atom->scope, jt_dynamic(jt, atom->scope, k));

    return jt->rc;
}


static int
jt_order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return (x > y) - (x < y);
}


jt_type_t
jt_type_make(jt_t *jt, uint32_t *lits, uint32_t n)
{
    uint32_t *list, i, m;

    buf_reset(&jt->scratch);

    for (i = 0; i < n; i++) {
        if (jt_gather(jt, lits[i], 0) == 0) {
            return JT_NOTHING;
        }
    }

    if (jt->scratch.failed) {
        (void) jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
    }

    if (jt->rc) {
        return JT_NOTHING;
    }

    list = (uint32_t *) (void *) jt->scratch.data;
    n = (uint32_t) (jt->scratch.len / sizeof(uint32_t));

    if (n > 1) {
        qsort(list, n, sizeof(uint32_t), jt_order);
    }

    for (i = 0, m = 0; i < n; i++) {
        if (m > 0 && list[m - 1] == list[i]) {
            continue;
        }

        if (m > 0 && (list[m - 1] ^ 1) == list[i]) {
            return JT_NOTHING;
        }

        list[m++] = list[i];
    }

    return jt_intern(jt, list, m);
}


/* Adds a literal in its simplest form: 1; 0: nothing satisfies it. */
static int
jt_gather(jt_t *jt, uint32_t lit, int chain)
{
    const jt_atom_t *atom;

    if (jt->rc) {
        return 0;
    }

    atom = jt->atoms[lit >> 1];

    if (atom->kind == JT_ATOM_TYPE) {
        return jt_gather_type(jt, atom->scope, lit & 1, chain);
    }

    if (atom->kind == JT_ATOM_NODE && chain < JT_CHAIN) {
        return jt_gather_node(jt, lit, atom, chain + 1);
    }

    buf_add(&jt->scratch, &lit, sizeof(lit));

    return 1;
}


static int
jt_gather_node(jt_t *jt, uint32_t lit, const jt_atom_t *atom, int chain)
{
    const js_node_t    *node = atom->node;
    const js_keyword_t *k = node->keywords;
    uint32_t            target;
    int                 negative = lit & 1;

    if (node->boolean || node->n == 0) {
        return negative ^ (node->boolean ? node->truth : 1);
    }

    if (node->n == 1) {
        switch (k->kw) {
        case JS_KW_REF:
        case JS_KW_RECURSIVE_REF:
        case JS_KW_DYNAMIC_REF:
            if (k->node == NULL || jt_target(jt, atom, k, &target) < 0) {
                break;
            }

            return jt_gather(jt, target * 2 + (uint32_t) negative, chain);

        case JS_KW_NOT:
            target = jt_atom_node(jt, atom->scope, k->node);

            return jt_gather(jt, target * 2 + !negative, chain);

        case JS_KW_ALL_OF:
            if (negative && k->n != 1) {
                break;
            }

            return jt_gather_list(jt, atom, k, negative, chain);

        case JS_KW_ANY_OF:
            if (!negative && k->n != 1) {
                break;
            }

            return jt_gather_list(jt, atom, k, negative, chain);

        case JS_KW_ONE_OF:
            if (k->n != 1) {
                break;
            }

            return jt_gather_list(jt, atom, k, negative, chain);
        }
    }

    buf_add(&jt->scratch, &lit, sizeof(lit));

    return 1;
}


static int
jt_gather_list(jt_t *jt, const jt_atom_t *atom, const js_keyword_t *k,
               int negative, int chain)
{
    uint32_t i, a;

    for (i = 0; i < k->n; i++) {
        a = jt_atom_node(jt, atom->scope, k->nodes[i]);

        if (jt->rc || jt_gather(jt, a * 2 + (uint32_t) negative, chain) == 0) {
            return 0;
        }
    }

    return 1;
}


static int
jt_gather_type(jt_t *jt, jt_type_t type, int negative, int chain)
{
    const jt_def_t *def = jt->types[type];
    uint32_t        i, lit;

    if (type == JT_NOTHING || def->n == 0) {
        return negative ^ (type != JT_NOTHING);
    }

    if (negative && def->n > 1) {
        lit = jt_atom_type(jt, type) * 2 + 1;
        buf_add(&jt->scratch, &lit, sizeof(lit));

        return 1;
    }

    for (i = 0; i < def->n; i++) {
        if (jt_gather(jt, def->lits[i] ^ (uint32_t) negative, chain) == 0) {
            return 0;
        }
    }

    return 1;
}


/* lits in order. */
static jt_type_t
jt_intern(jt_t *jt, uint32_t *lits, uint32_t n)
{
    uint32_t  h, slot, t, *copy;
    jt_def_t *def;

    h = jt_hash(lits, n * sizeof(uint32_t), n + 1);

    for (slot = h & (jt->n_type_slots - 1); jt->type_slots[slot];
         slot = (slot + 1) & (jt->n_type_slots - 1)) {
        t = jt->type_slots[slot];
        def = jt->types[t];

        if (def->hash == h && def->n == n
            && (n == 0 || memcmp(def->lits, lits, n * sizeof(*lits)) == 0)) {
            return t;
        }
    }

    if (jt->n_types >= jt->options.max_types) {
        (void) jt_fail(jt, -E2BIG, NULL, NULL,
                       "the schema unfolds to too many types");
        return JT_NOTHING;
    }

    def = jt_get(jt, sizeof(jt_def_t));
    copy = jt_get(jt, n * sizeof(uint32_t));

    if (def == NULL || copy == NULL
        || jt_grow(&jt->types, jt->n_types, &jt->cap_types, sizeof(def)) < 0) {
        (void) jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
        return JT_NOTHING;
    }

    if (n > 0) {
        memcpy(copy, lits, n * sizeof(uint32_t));
    }

    def->lits = copy;
    def->n = n;
    def->hash = h;
    t = jt->n_types++;
    jt->types[t] = def;
    jt->type_slots[slot] = t;

    if (jt->n_types * 2 > jt->n_type_slots && jt_types_rehash(jt) < 0) {
        (void) jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
    }

    return t;
}


static int
jt_types_rehash(jt_t *jt)
{
    uint32_t n = jt->n_type_slots * 4, i, slot, *slots;

    slots = calloc(n, sizeof(uint32_t));
    if (slots == NULL) {
        return -ENOMEM;
    }

    for (i = 1; i < jt->n_types; i++) {
        slot = jt->types[i]->hash & (n - 1);

        while (slots[slot]) {
            slot = (slot + 1) & (n - 1);
        }

        slots[slot] = i;
    }

    free(jt->type_slots);
    jt->type_slots = slots;
    jt->n_type_slots = n;

    return 0;
}


static jt_type_t
jt_of_atom(jt_t *jt, uint32_t a)
{
    uint32_t lit = a * 2;

    if (a == UINT32_MAX) {
        return JT_NOTHING;
    }

    if (jt->atoms[a]->type == UINT32_MAX) {
        jt->atoms[a]->type = jt_type_make(jt, &lit, 1);
    }

    return jt->atoms[a]->type;
}


jt_type_t
jt_of_node(jt_t *jt, const js_node_t *node)
{
    return jt_of_atom(jt, jt_atom_node(jt, 0, node));
}


jt_type_t
jt_child(jt_t *jt, const jt_atom_t *atom, const js_node_t *node)
{
    return jt_of_atom(jt, jt_atom_node(jt, atom->scope, node));
}


jt_type_t
jt_of_value(jt_t *jt, const js_value_t *value)
{
    return jt_of_atom(jt, jt_atom_value(jt, value));
}


jt_type_t
jt_and(jt_t *jt, jt_type_t a, jt_type_t b)
{
    uint32_t lits[2];

    if (a == b || b == JT_ANY || a == JT_NOTHING) {
        return a;
    }

    if (a == JT_ANY || b == JT_NOTHING) {
        return b;
    }

    lits[0] = jt_atom_type(jt, a) * 2;
    lits[1] = jt_atom_type(jt, b) * 2;

    return jt->rc ? JT_NOTHING : jt_type_make(jt, lits, 2);
}


jt_type_t
jt_minus(jt_t *jt, jt_type_t a, jt_type_t b)
{
    return jt_and(jt, a, jt_not(jt, b));
}


jt_type_t
jt_not(jt_t *jt, jt_type_t type)
{
    uint32_t lit = jt_atom_type(jt, type) * 2 + 1;

    return jt->rc ? JT_NOTHING : jt_type_make(jt, &lit, 1);
}


jt_type_t
jt_or(jt_t *jt, jt_type_t a, jt_type_t b)
{
    if (a == b || b == JT_NOTHING || a == JT_ANY) {
        return a;
    }

    if (a == JT_NOTHING || b == JT_ANY) {
        return b;
    }

    return jt_not(jt, jt_and(jt, jt_not(jt, a), jt_not(jt, b)));
}
