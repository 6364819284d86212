/*
 * Types: what a branch of the walk knows already, see jt_priv.h.  A schema
 * that surely holds, or surely does not, needs no branch of its own: without
 * this, schemas that exclude each other multiply.
 */

#include "engine/grammar/jt_priv.h"

/* Schemas within schemas that are looked into. */
#define KNOWN_DEPTH 8

static int known_node(jt_t *jt, const jt_cell_t *cells, int kind,
                      const jt_atom_t *atom, int depth);
static int known_keyword(jt_t *jt, const jt_cell_t *cells, int kind,
                         const jt_atom_t *atom, const js_keyword_t *k,
                         int depth);
static int known_object(jt_t *jt, const jt_cell_t *cells, const jt_atom_t *atom,
                        const js_keyword_t *k);
static int known_list(jt_t *jt, const jt_cell_t *cells, int kind,
                      const jt_atom_t *atom, const js_keyword_t *k, int depth);
static int known_sub(jt_t *jt, const jt_cell_t *cells, int kind,
                     const jt_atom_t *atom, const js_node_t *node, int depth);


int
jt_known(jt_t *jt, const jt_cell_t *cells, int kind, uint32_t a)
{
    const jt_cell_t *c;

    for (c = cells; c; c = c->next) {
        if (c->kind == JT_CELL_GOAL && c->atom >> 1 == a) {
            return c->atom & 1 ? -1 : 1;
        }
    }

    return jt_known_node(jt, cells, kind, a);
}


int
jt_known_node(jt_t *jt, const jt_cell_t *cells, int kind, uint32_t a)
{
    if (jt->atoms[a]->kind != JT_ATOM_NODE) {
        return 0;
    }

    return known_node(jt, cells, kind, jt->atoms[a], KNOWN_DEPTH);
}


static int
known_sub(jt_t *jt, const jt_cell_t *cells, int kind, const jt_atom_t *atom,
          const js_node_t *node, int depth)
{
    uint32_t a = jt_atom_node(jt, atom->scope, node);

    if (depth == 0 || jt->rc) {
        return 0;
    }

    return known_node(jt, cells, kind, jt->atoms[a], depth - 1);
}


static int
known_node(jt_t *jt, const jt_cell_t *cells, int kind, const jt_atom_t *atom,
           int depth)
{
    const js_node_t *node = atom->node;
    uint32_t         i;
    int              rc, all = 1;

    if (node->boolean) {
        return node->truth ? 1 : -1;
    }

    for (i = 0; i < node->n; i++) {
        rc = known_keyword(jt, cells, kind, atom, &node->keywords[i], depth);

        if (rc < 0) {
            return -1;
        }

        all &= rc;
    }

    return all;
}


static int
known_keyword(jt_t *jt, const jt_cell_t *cells, int kind, const jt_atom_t *atom,
              const js_keyword_t *k, int depth)
{
    const js_keyword_t *branch;
    uint32_t            target;
    int                 rc;

    switch (k->kw) {
    case JS_KW_REF:
    case JS_KW_RECURSIVE_REF:
    case JS_KW_DYNAMIC_REF:
        if (k->node == NULL || depth == 0
            || jt_target(jt, atom, k, &target) < 0) {
            return 0;
        }

        return known_node(jt, cells, kind, jt->atoms[target], depth - 1);

    case JS_KW_TYPE:
        return k->count >> kind & 1 ? 1 : -1;

    case JS_KW_CONST:
        return k->value->type != kind ? -1 : 0;

    case JS_KW_ENUM:
        return 0;

    case JS_KW_ALL_OF:
    case JS_KW_ANY_OF:
    case JS_KW_ONE_OF:
        return known_list(jt, cells, kind, atom, k, depth);

    case JS_KW_NOT:
        return -known_sub(jt, cells, kind, atom, k->node, depth);

    case JS_KW_IF:
        rc = known_sub(jt, cells, kind, atom, k->node, depth);

        if (rc == 0) {
            return 0;
        }

        branch = js_node_get(atom->node, rc > 0 ? JS_KW_THEN : JS_KW_ELSE);

        return branch ? known_sub(jt, cells, kind, atom, branch->node, depth)
                      : 1;

    case JS_KW_MINIMUM:
    case JS_KW_MAXIMUM:
    case JS_KW_EXCLUSIVE_MINIMUM:
    case JS_KW_EXCLUSIVE_MAXIMUM:
    case JS_KW_MULTIPLE_OF:
    case JS_KW_MIN_LENGTH:
    case JS_KW_MAX_LENGTH:
    case JS_KW_PATTERN:
    case JS_KW_FORMAT:
    case JS_KW_THEN:
    case JS_KW_ELSE:
        return 1;

    case JS_KW_REQUIRED:
    case JS_KW_PROPERTIES:
        return kind == JS_OBJECT ? known_object(jt, cells, atom, k) : 1;

    case JS_KW_MIN_ITEMS:
    case JS_KW_MAX_ITEMS:
    case JS_KW_UNIQUE_ITEMS:
    case JS_KW_PREFIX_ITEMS:
    case JS_KW_ITEMS:
    case JS_KW_CONTAINS:
    case JS_KW_MIN_CONTAINS:
    case JS_KW_MAX_CONTAINS:
    case JS_KW_UNEVALUATED_ITEMS:
        return kind != JS_ARRAY;

    default:
        return kind != JS_OBJECT;
    }
}


static int
known_list(jt_t *jt, const jt_cell_t *cells, int kind, const jt_atom_t *atom,
           const js_keyword_t *k, int depth)
{
    uint32_t i, yes = 0, no = 0;
    int      rc;

    for (i = 0; i < k->n; i++) {
        rc = known_sub(jt, cells, kind, atom, k->nodes[i], depth);
        yes += rc > 0;
        no += rc < 0;

        if (k->kw == JS_KW_ALL_OF && rc < 0) {
            return -1;
        }

        if (k->kw == JS_KW_ANY_OF && rc > 0) {
            return 1;
        }
    }

    if (k->kw == JS_KW_ALL_OF) {
        return yes == k->n;
    }

    if (no == k->n || yes > 1) {
        return -1;
    }

    return k->kw == JS_KW_ONE_OF && yes == 1 && no == k->n - 1;
}


static int
known_object(jt_t *jt, const jt_cell_t *cells, const jt_atom_t *atom,
             const js_keyword_t *k)
{
    const js_value_t *v = k->value;
    jt_type_t         type, sub;
    str_t             name;
    uint32_t          i;
    int               known, all = 1;

    for (i = 0; i < v->n; i++) {
        if (k->kw == JS_KW_REQUIRED) {
            known = jt_cells_name(cells, js_str(&v->items[i]));

            if (known < 0) {
                return -1;
            }

            all &= known;
            continue;
        }

        name = (str_t){v->items[i].key, v->items[i].key_len};
        sub = jt_child(jt, atom, k->nodes[i]);

        if (sub == JT_ANY) {
            continue;
        }

        known = jt_cells_says(jt, cells, name, &type);

        if (known < 0) {
            continue;
        }

        if (known > 0 && jt_quick(jt, jt_and(jt, type, sub), JT_K_ALL, 1)) {
            return -1;
        }

        all &= type != JT_ANY
               && jt_quick(jt, jt_minus(jt, type, sub), JT_K_ALL, 1);
    }

    return all;
}
