/*
 * Types: negated schemas in the walk, see jt_walk.h.  What a schema says by
 * its keywords together, its negation says by one of them that fails.
 */

#include <errno.h>
#include "engine/grammar/jt_walk.h"

static int walk_not_node(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int walk_not_required(walk_t *w, walk_branch_t *b,
                             const js_keyword_t *k);
static int walk_not_properties(walk_t *w, walk_branch_t *b,
                               const walk_fork_t *f, const js_keyword_t *k);
static int walk_not_keyword(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                            const js_keyword_t *k);
static int walk_not_schemas(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                            const js_keyword_t *k);
static int walk_not_one(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                        const js_keyword_t *k);
static int walk_keys(walk_t *w, const walk_fork_t *f, int patterns, re_t *re);
static int walk_not_object(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                           const js_keyword_t *k);
static int walk_not_array(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                          const js_keyword_t *k);
static int walk_not_value(walk_t *w, walk_branch_t *b, const js_value_t *v);


int
jt_walk_not(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    jt_t            *jt = w->jt;
    const jt_atom_t *atom = jt->atoms[f->atom];
    const jt_def_t  *def;
    uint32_t         i;

    switch (atom->kind) {
    case JT_ATOM_VALUE:
        return walk_not_value(w, b, atom->value);

    case JT_ATOM_TYPE:
        def = jt->types[atom->scope];

        for (i = def->n; i > 0; i--) {
            LLM_TRY(jt_walk_way_goal(w, b, def->lits[i - 1] ^ 1, f));
        }

        return 0;

    default:
        return walk_not_node(w, b, f);
    }
}


/*
 * A way for each keyword that may fail.  What is said of single members comes
 * first, and each way after it has it hold: ways that exclude each other
 * leave less to do where several such schemas are negated.
 */
static int
walk_not_node(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    const js_node_t    *node = w->jt->atoms[f->atom]->node;
    const js_keyword_t *k;
    walk_branch_t       base = *b;
    uint32_t            i;
    int                 rc = 1;

    if (w->kind == JS_OBJECT) {
        k = js_node_get(node, JS_KW_REQUIRED);
        rc = k ? walk_not_required(w, &base, k) : 1;
        k = js_node_get(node, JS_KW_PROPERTIES);

        if (k && rc == 1) {
            rc = walk_not_properties(w, &base, f, k);
        }
    }

    for (i = node->n; i > 0 && rc == 1; i--) {
        k = &node->keywords[i - 1];

        if (k->kw == JS_KW_REQUIRED || k->kw == JS_KW_PROPERTIES) {
            continue;
        }

        LLM_TRY(walk_not_keyword(w, &base, f, k));
    }

    return rc < 0 ? rc : 0;
}


/* 1: b goes on with all of them there; 0: that cannot be. */
static int
walk_not_required(walk_t *w, walk_branch_t *b, const js_keyword_t *k)
{
    jt_cell_t cell;
    uint32_t  i;
    int       rc;

    for (i = 0; i < k->value->n; i++) {
        cell = (jt_cell_t){.kind = JT_CELL_FORBIDDEN,
                           .name = js_str(&k->value->items[i])};
        LLM_TRY(jt_walk_way_cell(w, b, &cell));
        cell.kind = JT_CELL_REQUIRED;

        if (jt_cells_name(b->cells, cell.name) > 0) {
            continue;
        }

        rc = jt_walk_add_cell(w, b, &cell);

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


static int
walk_not_properties(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                    const js_keyword_t *k)
{
    jt_t            *jt = w->jt;
    const jt_atom_t *atom = jt->atoms[f->atom];
    jt_cell_t        cell;
    jt_type_t        sub, type;
    uint32_t         i;
    int              known, rc;

    for (i = 0; i < k->n; i++) {
        cell = (jt_cell_t){.kind = JT_CELL_MEMBER};
        cell.name = (str_t){k->value->items[i].key, k->value->items[i].key_len};
        sub = jt_child(jt, atom, k->nodes[i]);
        known = jt_cells_says(jt, b->cells, cell.name, &type);

        if (sub == JT_ANY || known < 0) {
            continue;
        }

        cell.type = jt_not(jt, sub);

        if (!jt_quick(jt, jt_and(jt, type, cell.type), JT_K_ALL, 1)) {
            LLM_TRY(jt_walk_way_cell(w, b, &cell));

        } else {

            /* What is known of it makes it hold. */

            continue;
        }

        cell.kind = known > 0 ? JT_CELL_MEMBER : JT_CELL_OPTION;
        cell.type = sub;

        if (sub == JT_NOTHING
            || jt_quick(jt, jt_and(jt, type, sub), JT_K_ALL, 1)) {
            cell.kind = JT_CELL_FORBIDDEN;
        }

        rc = jt_walk_add_cell(w, b, &cell);

        if (rc != 1) {
            return rc;
        }
    }

    return jt->rc ? jt->rc : 1;
}


/* Branches in which the keyword does not hold. */
static int
walk_not_keyword(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                 const js_keyword_t *k)
{
    jt_t              *jt = w->jt;
    const jt_atom_t   *atom = jt->atoms[f->atom];
    const walk_goal_t *up;
    walk_branch_t     *way;
    walk_goal_t       *g;
    uint32_t           target, unseen;

    unseen = w->kind == JS_OBJECT ? JS_KW_UNEVALUATED_PROPERTIES
                                  : JS_KW_UNEVALUATED_ITEMS;

    if (k->kw == unseen) {

        /* All else holds, and something that is not evaluated fails. */

        way = jt_walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        LLM_TRY(jt_walk_add_goal(w, way, f->atom * 2, NULL, f->up));
        g = (walk_goal_t *) way->goals;
        g->unseen = 1;
        return 0;
    }

    switch (k->kw) {
    case JS_KW_REF:
    case JS_KW_RECURSIVE_REF:
    case JS_KW_DYNAMIC_REF:
        LLM_TRY(jt_target(jt, atom, k, &target));

        for (up = f->up; up; up = up->up) {
            if (up->lit == target * 2 + 1) {
                return jt_fail(jt, -ELOOP, atom->node, k,
                               "a reference leads to itself");
            }
        }

        return jt_walk_way_goal(w, b, target * 2 + 1, f);

    case JS_KW_CONST:
    case JS_KW_ENUM:
    case JS_KW_ALL_OF:
    case JS_KW_ANY_OF:
    case JS_KW_ONE_OF:
    case JS_KW_NOT:
    case JS_KW_IF:
        return walk_not_schemas(w, b, f, k);
    }

    return w->kind == JS_OBJECT ? walk_not_object(w, b, f, k)
                                : walk_not_array(w, b, f, k);
}


static int
walk_not_schemas(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                 const js_keyword_t *k)
{
    jt_t               *jt = w->jt;
    const jt_atom_t    *atom = jt->atoms[f->atom];
    const js_keyword_t *branch;
    walk_branch_t      *way;
    uint32_t            i, n, a;
    int                 holds;

    switch (k->kw) {
    case JS_KW_ALL_OF:
        for (i = k->n; i > 0; i--) {
            a = jt_atom_node(jt, atom->scope, k->nodes[i - 1]);
            LLM_TRY(jt->rc);

            if (k->nodes[i - 1]->boolean && k->nodes[i - 1]->truth) {
                continue;
            }

            LLM_TRY(jt_walk_way_goal(w, b, a * 2 + 1, f));
        }

        return 0;

    case JS_KW_NOT:
        a = jt_atom_node(jt, atom->scope, k->node);
        LLM_TRY(jt->rc);

        return jt_walk_way_goal(w, b, a * 2, f);

    case JS_KW_ONE_OF:
        LLM_TRY(walk_not_one(w, b, f, k));

        /* fall through */

    case JS_KW_CONST:
    case JS_KW_ENUM:
    case JS_KW_ANY_OF:
        way = jt_walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        n = k->kw == JS_KW_ENUM ? k->value->n : k->kw == JS_KW_CONST ? 1 : k->n;

        for (i = n; i > 0; i--) {
            a = k->kw == JS_KW_ENUM ? jt_atom_value(jt, &k->value->items[i - 1])
                : k->kw == JS_KW_CONST
                    ? jt_atom_value(jt, k->value)
                    : jt_atom_node(jt, atom->scope, k->nodes[i - 1]);
            LLM_TRY(jt->rc);
            LLM_TRY(jt_walk_add_goal(w, way, a * 2 + 1, NULL, f->up));
        }

        return 0;
    }

    /* if: one of its two ways, and what is said of it fails. */

    for (holds = 0; holds < 2; holds++) {
        branch = js_node_get(atom->node, holds ? JS_KW_THEN : JS_KW_ELSE);

        if (branch == NULL) {
            continue;
        }

        way = jt_walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        a = jt_atom_node(jt, atom->scope, branch->node);
        LLM_TRY(jt_walk_add_goal(w, way, a * 2 + 1, NULL, f->up));
        a = jt_atom_node(jt, atom->scope, k->node);
        LLM_TRY(jt_walk_add_goal(w, way, a * 2 + !holds, NULL, f->up));
    }

    return 0;
}


/* Two of oneOf hold. */
static int
walk_not_one(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
             const js_keyword_t *k)
{
    jt_t            *jt = w->jt;
    const jt_atom_t *atom = jt->atoms[f->atom];
    walk_branch_t   *way;
    uint32_t         i, j, x, y;
    int              apart;

    for (i = 0; i < k->n; i++) {
        x = jt_atom_node(jt, atom->scope, k->nodes[i]);
        LLM_TRY(jt->rc);

        if ((jt_mask(jt, x) & w->bit) == 0) {
            continue;
        }

        for (j = i + 1; j < k->n; j++) {
            y = jt_atom_node(jt, atom->scope, k->nodes[j]);
            LLM_TRY(jt->rc);

            if ((jt_mask(jt, y) & w->bit) == 0) {
                continue;
            }

            LLM_TRY(jt_walk_apart(w, x, y, &apart));

            if (apart) {
                continue;
            }

            way = jt_walk_copy(w, b);
            if (way == NULL) {
                return jt->rc;
            }

            LLM_TRY(jt_walk_add_goal(w, way, y * 2, NULL, f->up));
            LLM_TRY(jt_walk_add_goal(w, way, x * 2, NULL, f->up));
        }
    }

    return 0;
}


/* Names that no property beside (and no pattern) declares. */
static int
walk_keys(walk_t *w, const walk_fork_t *f, int patterns, re_t *re)
{
    jt_t               *jt = w->jt;
    jt_atom_t          *atom = jt->atoms[f->atom];
    const js_keyword_t *k;
    re_t               *list, pattern;
    uint32_t            i;

    *re = RE_TEXT;
    k = js_node_get(atom->node, JS_KW_PROPERTIES);

    if (k && k->n) {
        list = arena_get(&w->arena, k->n * sizeof(re_t));
        if (list == NULL) {
            return jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
        }

        for (i = 0; i < k->n; i++) {
            list[i] = re_run(jt->re, k->value->items[i].key,
                             k->value->items[i].key_len, RE_EMPTY);
        }

        *re = re_minus(jt->re, RE_TEXT, re_or_n(jt->re, list, k->n));
    }

    k = js_node_get(atom->node, JS_KW_PATTERN_PROPERTIES);

    for (i = 0; k && i < k->n; i++) {
        LLM_TRY(jt_pattern(jt, atom, k, i, &pattern));
        *re = re_minus(jt->re, *re, pattern);
    }

    return 0;
}


static int
walk_not_object(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                const js_keyword_t *k)
{
    jt_t             *jt = w->jt;
    jt_atom_t        *atom = jt->atoms[f->atom];
    const js_value_t *v;
    walk_branch_t    *way;
    jt_cell_t         cell = {0};
    uint32_t          i, j, a;
    int               rc;

    switch (k->kw) {
    case JS_KW_MIN_PROPERTIES:
        return k->count ? jt_walk_way_count(w, b, 0, k->count - 1) : 0;

    case JS_KW_MAX_PROPERTIES:
        return k->count < RE_INF
                   ? jt_walk_way_count(w, b, k->count + 1, UINT64_MAX)
                   : 0;

    case JS_KW_PATTERN_PROPERTIES:
        for (i = k->n; i > 0; i--) {
            cell.kind = JT_CELL_SOME;
            LLM_TRY(jt_pattern(jt, atom, k, i - 1, &cell.keys));
            cell.type = jt_not(jt, jt_child(jt, atom, k->nodes[i - 1]));

            if (cell.type != JT_NOTHING) {
                LLM_TRY(jt_walk_way_cell(w, b, &cell));
            }
        }

        return 0;

    case JS_KW_ADDITIONAL_PROPERTIES:
        cell.kind = JT_CELL_SOME;
        LLM_TRY(walk_keys(w, f, 1, &cell.keys));
        cell.type = jt_not(jt, jt_child(jt, atom, k->node));

        return cell.type == JT_NOTHING ? 0 : jt_walk_way_cell(w, b, &cell);

    case JS_KW_PROPERTY_NAMES:
        cell.kind = JT_CELL_SOME;
        a = jt_atom_node(jt, atom->scope, k->node);
        LLM_TRY(jt->rc);
        LLM_TRY(jt_names(jt, a, 1, &cell.keys));
        cell.keys = re_minus(jt->re, RE_TEXT, cell.keys);
        cell.type = JT_ANY;

        return jt_re_void(jt, cell.keys) ? 0 : jt_walk_way_cell(w, b, &cell);

    case JS_KW_DEPENDENT_REQUIRED:
    case JS_KW_DEPENDENCIES:
    case JS_KW_DEPENDENT_SCHEMAS:
        for (i = 0; i < k->value->n; i++) {
            v = &k->value->items[i];

            if (k->nodes && k->nodes[i]) {
                a = jt_atom_node(jt, atom->scope, k->nodes[i]);
                LLM_TRY(jt->rc);
                way = jt_walk_copy(w, b);
                if (way == NULL) {
                    return jt->rc;
                }

                cell = (jt_cell_t){.kind = JT_CELL_REQUIRED,
                                   .name = {v->key, v->key_len}};
                rc = jt_walk_add_cell(w, way, &cell);
                LLM_TRY(rc);

                if (rc == 0) {
                    w->stack = way->next;
                    continue;
                }

                LLM_TRY(jt_walk_add_goal(w, way, a * 2 + 1, NULL, f->up));
                continue;
            }

            for (j = 0; j < v->n; j++) {
                way = jt_walk_copy(w, b);
                if (way == NULL) {
                    return jt->rc;
                }

                cell = (jt_cell_t){.kind = JT_CELL_REQUIRED,
                                   .name = {v->key, v->key_len}};
                rc = jt_walk_add_cell(w, way, &cell);
                LLM_TRY(rc);

                if (rc) {
                    cell = (jt_cell_t){.kind = JT_CELL_FORBIDDEN,
                                       .name = js_str(&v->items[j])};
                    rc = jt_walk_add_cell(w, way, &cell);
                    LLM_TRY(rc);
                }

                if (rc == 0) {
                    w->stack = way->next;
                }
            }
        }
    }

    return 0;
}


static int
walk_not_array(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
               const js_keyword_t *k)
{
    jt_t               *jt = w->jt;
    jt_atom_t          *atom = jt->atoms[f->atom];
    const js_keyword_t *least, *most;
    jt_cell_t           cell = {.atom = f->atom, .k = k, .max = RE_INF};
    uint64_t            n;
    uint32_t            i;

    switch (k->kw) {
    case JS_KW_MIN_ITEMS:
        return k->count ? jt_walk_way_count(w, b, 0, k->count - 1) : 0;

    case JS_KW_MAX_ITEMS:
        return k->count < RE_INF
                   ? jt_walk_way_count(w, b, k->count + 1, UINT64_MAX)
                   : 0;

    case JS_KW_UNIQUE_ITEMS:
        cell.kind = JT_CELL_UNIQUE;
        cell.negative = 1;
        return jt_walk_way_cell(w, b, &cell);

    case JS_KW_PREFIX_ITEMS:
        for (i = k->n; i > 0; i--) {
            cell.kind = JT_CELL_ITEM;
            cell.negative = 1;
            cell.min = i - 1;
            cell.type = jt_not(jt, jt_child(jt, atom, k->nodes[i - 1]));

            if (cell.type != JT_NOTHING) {
                LLM_TRY(jt_walk_way_cell(w, b, &cell));
            }
        }

        return 0;

    case JS_KW_ITEMS:
        least = js_node_get(atom->node, JS_KW_PREFIX_ITEMS);
        cell.kind = JT_CELL_CONTAINS;
        cell.from = least ? least->n : 0;
        cell.min = 1;
        cell.type = jt_not(jt, jt_child(jt, atom, k->node));

        return cell.type == JT_NOTHING ? 0 : jt_walk_way_cell(w, b, &cell);

    case JS_KW_CONTAINS:
        least = js_node_get(atom->node, JS_KW_MIN_CONTAINS);
        most = js_node_get(atom->node, JS_KW_MAX_CONTAINS);
        n = least ? least->count : 1;
        cell.kind = JT_CELL_CONTAINS;
        cell.type = jt_child(jt, atom, k->node);

        if (n > 0) {
            cell.max = n < RE_INF ? (uint32_t) n - 1 : RE_INF;
            LLM_TRY(jt_walk_way_cell(w, b, &cell));
        }

        if (most && most->count < RE_INF - 1) {
            cell.max = RE_INF;
            cell.min = (uint32_t) most->count + 1;
            return jt_walk_way_cell(w, b, &cell);
        }
    }

    return 0;
}


/* Any array (object) but this one. */
static int
walk_not_value(walk_t *w, walk_branch_t *b, const js_value_t *v)
{
    jt_t     *jt = w->jt;
    jt_cell_t cell = {0};
    jt_type_t type;
    str_t     name;
    uint32_t  i;

    LLM_TRY(jt_walk_way_count(w, b, (uint64_t) v->n + 1, UINT64_MAX));

    if (w->kind == JS_ARRAY && v->n > 0) {
        LLM_TRY(jt_walk_way_count(w, b, 0, v->n - 1));
    }

    for (i = 0; i < v->n; i++) {
        type = jt_not(jt, jt_of_value(jt, &v->items[i]));
        LLM_TRY(jt->rc);

        if (w->kind == JS_OBJECT) {
            name = (str_t){v->items[i].key, v->items[i].key_len};
            LLM_TRY(jt_walk_way_member(w, b, name, type));
            cell = (jt_cell_t){.kind = JT_CELL_FORBIDDEN, .name = name};

        } else {
            cell = (jt_cell_t){
                .kind = JT_CELL_ITEM, .negative = 1, .min = i, .type = type};
        }

        LLM_TRY(jt_walk_way_cell(w, b, &cell));
    }

    return 0;
}
