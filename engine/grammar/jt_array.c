/*
 * Types: arrays, see jt_priv.h.  What a branch of the walk knows becomes a
 * shape: types of the first items and of all others, and what is counted.
 */

#include <errno.h>
#include "engine/grammar/jt_priv.h"

/* Items whose types are told apart. */
#define ARRAY_PREFIX 65536

typedef struct {
    jt_t             *jt;
    arena_t          *tmp;
    const jt_cell_t **cells;
    uint32_t          n_cells;
    jt_type_t        *prefix;
    uint32_t          n_prefix;
    jt_type_t         rest;
    jt_contains_t    *contains;
    uint32_t          n_contains;
    uint32_t          min, max;
    int               unique;
} array_t;

static int  array_start(array_t *a, const jt_cell_t *cells);
static void array_add(array_t *a, uint32_t from, uint32_t to, jt_type_t type);
static int  array_scope(array_t *a, const jt_cell_t *cell);
static int  array_unseen(array_t *a, const jt_cell_t *cell);
static int  array_contains(array_t *a, const jt_contains_t *c);
static int  array_cell(array_t *a, const jt_cell_t *cell);
static int  array_unique(array_t *a, const jt_cell_t *cell);


int
jt_array_make(jt_t *jt, arena_t *tmp, const jt_cell_t *cells, jt_array_t *out)
{
    array_t          a = {.jt = jt, .tmp = tmp, .rest = JT_ANY, .max = RE_INF};
    const jt_cell_t *not_unique = NULL, *unique = NULL;
    uint32_t         i;
    int              rc;

    LLM_TRY(array_start(&a, cells));

    for (i = 0; i < a.n_cells; i++) {
        rc = array_cell(&a, a.cells[i]);

        if (rc != 1) {
            return rc;
        }

        if (a.cells[i]->kind == JT_CELL_UNIQUE) {
            *(a.cells[i]->negative ? &not_unique : &unique) = a.cells[i];
        }
    }

    if (a.min > a.max || jt->rc) {
        return jt->rc;
    }

    if (not_unique) {
        if (a.max < 2) {
            return 0;
        }

        return jt_fail(jt, -ENOTSUP, jt->atoms[not_unique->atom]->node,
                       not_unique->k, "its negation cannot be guaranteed");
    }

    if (a.max <= a.n_prefix) {
        a.n_prefix = a.max;
        a.rest = JT_NOTHING;
    }

    if (unique && a.max > 1) {
        LLM_TRY(array_unique(&a, unique));
    }

    *out = (jt_array_t){.prefix = a.prefix,
                        .n_prefix = a.n_prefix,
                        .rest = a.rest,
                        .min = a.min,
                        .max = a.max,
                        .unique = a.unique && a.max > 1,
                        .contains = a.contains,
                        .n_contains = a.n_contains};

    return 1;
}


/* All items have to be scalars: others cannot be told apart. */
static int
array_unique(array_t *a, const jt_cell_t *cell)
{
    static const unsigned kinds[] = {JT_K_ARRAY, JT_K_OBJECT};
    jt_t                 *jt = a->jt;
    jt_type_t             type;
    uint32_t              i, k;

    for (i = 0; i <= a->n_prefix; i++) {
        type = i < a->n_prefix ? a->prefix[i] : a->rest;

        for (k = 0; k < 2; k++) {
            if (jt_mask_type(jt, type) & kinds[k]
                && !jt_quick(jt, type, kinds[k], 3)) {
                return jt_fail(jt, -ENOTSUP, jt->atoms[cell->atom]->node,
                               cell->k, "items that may be arrays or objects");
            }
        }
    }

    return jt->rc;
}


static int
array_start(array_t *a, const jt_cell_t *cells)
{
    const jt_cell_t    *c;
    const js_keyword_t *k;
    uint32_t            i = 0, n;

    for (c = cells; c; c = c->next) {
        a->n_cells++;

        if (c->kind == JT_CELL_ITEM && c->min + 1 > a->n_prefix) {
            a->n_prefix = c->min + 1;
        }

        if (c->kind == JT_CELL_SCOPE) {
            k = js_node_get(a->jt->atoms[c->atom]->node, JS_KW_PREFIX_ITEMS);
            n = k ? k->n : 0;
            a->n_prefix = n > a->n_prefix ? n : a->n_prefix;
        }
    }

    if (a->n_prefix > ARRAY_PREFIX) {
        return jt_fail(a->jt, -E2BIG, NULL, NULL, "too many items");
    }

    a->cells = arena_get(a->tmp, a->n_cells * sizeof(*a->cells) + 1);
    a->prefix = jt_get(a->jt, a->n_prefix * sizeof(jt_type_t));
    a->contains = jt_get(a->jt, a->n_cells * sizeof(jt_contains_t));

    if (a->cells == NULL || a->prefix == NULL || a->contains == NULL) {
        return jt_fail(a->jt, -E2BIG, NULL, NULL,
                       "too many combinations of schemas");
    }

    for (c = cells; c; c = c->next) {
        a->cells[a->n_cells - ++i] = c;
    }

    for (i = 0; i < a->n_prefix; i++) {
        a->prefix[i] = JT_ANY;
    }

    return 0;
}


/* Items from `from` and before `to` (RE_INF: all others) are of type. */
static void
array_add(array_t *a, uint32_t from, uint32_t to, jt_type_t type)
{
    uint32_t i;

    for (i = from; i < to && i < a->n_prefix; i++) {
        a->prefix[i] = jt_and(a->jt, a->prefix[i], type);
    }

    if (to == RE_INF) {
        a->rest = jt_and(a->jt, a->rest, type);
    }
}


static int
array_cell(array_t *a, const jt_cell_t *c)
{
    jt_contains_t contains = {c->type, c->from, c->min, c->max};

    switch (c->kind) {
    case JT_CELL_SCOPE:
        return array_scope(a, c);

    case JT_CELL_COUNT:
        a->min = c->min > a->min ? c->min : a->min;
        a->max = c->max < a->max ? c->max : a->max;
        return 1;

    case JT_CELL_ITEM:
        array_add(a, c->min, c->min + 1, c->type);

        if (c->negative && c->min + 1 > a->min) {
            a->min = c->min + 1;
        }

        return 1;

    case JT_CELL_CONTAINS:
        return array_contains(a, &contains);

    case JT_CELL_UNIQUE:
        a->unique |= !c->negative;
        return 1;

    case JT_CELL_UNSEEN:
        return array_unseen(a, c);
    }

    return 1;
}


static int
array_scope(array_t *a, const jt_cell_t *cell)
{
    const jt_atom_t    *atom = a->jt->atoms[cell->atom];
    const js_keyword_t *prefix, *rest;
    uint32_t            i;

    prefix = js_node_get(atom->node, JS_KW_PREFIX_ITEMS);
    rest = js_node_get(atom->node, JS_KW_ITEMS);

    for (i = 0; prefix && i < prefix->n; i++) {
        array_add(a, i, i + 1, jt_child(a->jt, atom, prefix->nodes[i]));
    }

    if (rest) {
        array_add(a, prefix ? prefix->n : 0, RE_INF,
                  jt_child(a->jt, atom, rest->node));
    }

    return 1;
}


/* 0: cannot be. */
static int
array_contains(array_t *a, const jt_contains_t *c)
{
    if (c->type == JT_ANY && c->from == 0) {
        a->min = c->min > a->min ? c->min : a->min;
        a->max = c->max < a->max ? c->max : a->max;
        return 1;
    }

    if (c->type == JT_NOTHING) {
        return c->min == 0;
    }

    if (c->max == 0) {
        array_add(a, c->from, RE_INF, jt_not(a->jt, c->type));
        return 1;
    }

    if (c->min > 0 || c->max < RE_INF) {
        a->contains[a->n_contains++] = *c;
    }

    return 1;
}


/* Items that nothing below unevaluatedItems evaluates. */
static int
array_unseen(array_t *a, const jt_cell_t *cell)
{
    jt_t               *jt = a->jt;
    const jt_cell_t    *c;
    const jt_atom_t    *atom;
    const js_keyword_t *k;
    jt_contains_t       contains;
    jt_type_t           type, known = JT_NOTHING;
    uint32_t            i, from = 0;

    for (i = 0; i < a->n_cells; i++) {
        c = a->cells[i];

        if (c == cell || !jt_ctx_in(c->ctx, cell->ctx)) {
            continue;
        }

        atom = jt->atoms[c->atom];

        if (c->kind == JT_CELL_UNSEEN
            || (c->kind == JT_CELL_SCOPE
                && js_node_get(atom->node, JS_KW_ITEMS))) {
            return !cell->negative;
        }

        if (c->kind == JT_CELL_SCOPE) {
            k = js_node_get(atom->node, JS_KW_PREFIX_ITEMS);
            from = k && k->n > from ? k->n : from;
        }

        if (c->kind == JT_CELL_CONTAINS
            && atom->node->resource->draft != JS_DRAFT_2019) {
            known = jt_or(jt, known, c->type);
        }
    }

    atom = jt->atoms[cell->atom];
    type = jt_or(jt, known, jt_child(jt, atom, cell->k->node));

    if (!cell->negative) {
        array_add(a, from, RE_INF, type);
        return 1;
    }

    contains = (jt_contains_t){jt_not(jt, type), from, 1, RE_INF};

    return array_contains(a, &contains);
}


int
jt_array_trim(jt_t *jt, const jt_array_t *raw, jt_array_t *out)
{
    jt_array_so_far_t nothing = {0};
    jt_contains_t    *contains;
    uint32_t          i, *met;
    int               rc;

    *out = *raw;
    out->n_contains = 0;
    contains = jt_get(jt, raw->n_contains * sizeof(jt_contains_t));
    met = jt_get(jt, raw->n_contains * sizeof(uint32_t));

    if (contains == NULL || met == NULL) {
        return jt->rc;
    }

    for (i = 0; i < out->n_prefix; i++) {
        rc = jt_hollow(jt, raw->prefix[i]);
        LLM_TRY(rc);

        if (rc == 0) {
            continue;
        }

        if (i < out->min) {
            return 0;
        }

        out->n_prefix = i;
        out->rest = JT_NOTHING;
    }

    rc = jt_hollow(jt, out->rest);
    LLM_TRY(rc);

    if (rc) {
        out->rest = JT_NOTHING;
        out->max = out->max < out->n_prefix ? out->max : out->n_prefix;
    }

    if (out->min > out->max) {
        return 0;
    }

    for (i = 0; i < raw->n_contains; i++) {
        rc = jt_hollow(jt, raw->contains[i].type);
        LLM_TRY(rc);

        if (rc == 0) {
            contains[out->n_contains++] = raw->contains[i];

        } else if (raw->contains[i].min > 0) {
            return 0;
        }
    }

    out->contains = contains;
    out->unique = raw->unique && out->max > 1;
    nothing.met = met;

    return jt_array_feasible(jt, out, &nothing);
}
