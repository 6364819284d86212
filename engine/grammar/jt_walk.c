/*
 * Types: arrays and objects, see jt_priv.h.  The signed schemas of a type
 * are walked to a disjunction of conjunctions: each branch holds goals,
 * schemas still to be looked at; forks, disjunctions still to be made; and
 * cells, what is known.  When nothing is left the cells become a shape.
 *
 * Branches, goals and forks are lists that share their tails, in an arena
 * that goes with the walk; forks wait until all goals are done, so that as
 * much as can be is known when a branch is copied.
 */

#include <errno.h>
#include "engine/grammar/jt_walk.h"

/* Goals looked at in one walk; in one that only looks for emptiness. */
#define WALK_STEPS 20000
#define WALK_QUICK 500

static int walk_run(walk_t *w);
static int walk_branch(walk_t *w, walk_branch_t *b);
static int walk_done(walk_t *w, walk_branch_t *b);
static int walk_shape(walk_t *w, const void *shape, uint32_t *n, size_t size);
static int walk_add_fork(walk_t *w, walk_branch_t *b, const walk_fork_t *fork);
static int walk_seen(const walk_branch_t *b, uint32_t lit, int record);
static int walk_goal(walk_t *w, walk_branch_t *b, const walk_goal_t *g);
static int walk_node(walk_t *w, walk_branch_t *b, const walk_goal_t *g);
static int walk_keyword(walk_t *w, walk_branch_t *b, const walk_goal_t *g,
                        const js_keyword_t *k, const jt_ctx_t *ctx);
static int walk_sub(walk_t *w, walk_branch_t *b, const walk_goal_t *g,
                    const js_keyword_t *k, const jt_ctx_t *ctx);
static int walk_value(walk_t *w, walk_branch_t *b, const js_value_t *v);
static int walk_count(walk_t *w, walk_branch_t *b, uint64_t min, uint64_t max);


int
jt_walk(jt_t *jt, jt_type_t type, int kind, jt_raw_t *raw)
{
    walk_t          w = {.jt = jt, .type = type, .kind = kind, .raw = raw};
    const jt_def_t *def = jt->types[type];
    walk_branch_t  *b;
    uint32_t        i;
    int             rc = 0;

    w.bit = 1u << kind;
    arena_init(&w.arena, 64u << 20);
    b = jt_walk_copy(&w, NULL);

    for (i = def->n; b && i > 0 && rc == 0; i--) {
        rc = jt_walk_add_goal(&w, b, def->lits[i - 1], NULL, NULL);
    }

    if (b && rc == 0) {
        rc = walk_run(&w);
    }

    arena_free(&w.arena);

    return rc < 0 ? rc : jt->rc;
}


/* Says where, as far as a type has a place. */
int
jt_walk_big(walk_t *w)
{
    return jt_fail(w->jt, -E2BIG, jt_place(w->jt, w->type), NULL,
                   "too many combinations of schemas");
}


static int
walk_run(walk_t *w)
{
    walk_branch_t *b;
    int            rc;

    while (w->stack) {
        b = w->stack;
        w->stack = b->next;
        rc = walk_branch(w, b);

        if (rc == 1) {
            rc = walk_done(w, b);
        }

        LLM_TRY(rc);
        LLM_TRY(w->jt->rc);
    }

    return 0;
}


/* 1: all is known; 0: it came to nothing, or went into others. */
static int
walk_branch(walk_t *w, walk_branch_t *b)
{
    const walk_goal_t *g;
    const walk_fork_t *f;
    int                rc;

    for (;;) {
        while (b->goals) {
            g = b->goals;
            b->goals = g->next;

            w->jt->looked += w->jt->quick != 0;

            if (++w->steps > (w->jt->quick ? WALK_QUICK : WALK_STEPS)) {
                return jt_walk_big(w);
            }

            rc = walk_goal(w, b, g);

            if (rc != 1) {
                return rc;
            }
        }

        if (b->forks == NULL) {
            return 1;
        }

        f = jt_walk_choose(w, b);
        LLM_TRY(w->jt->rc);

        if (f == NULL) {
            continue;
        }

        rc = jt_walk_fork(w, b, f);

        /* 1: it was no fork after all. */

        if (rc != 1) {
            return rc;
        }
    }
}


static int
walk_done(walk_t *w, walk_branch_t *b)
{
    jt_raw_object_t object;
    jt_array_t      array;
    int             rc;

    if (w->kind == JS_OBJECT) {
        if (b->forked) {
            rc = jt_object_make(w->jt, &w->arena, b->cells, 1, &object);

            if (rc != 1 || jt_quick_object(w->jt, &object, 2)) {
                return rc < 0 ? rc : 0;
            }
        }

        rc = jt_object_make(w->jt, &w->arena, b->cells, 0, &object);

        return rc == 1
                   ? walk_shape(w, &object, &w->raw->n_objects, sizeof(object))
                   : rc;
    }

    rc = jt_array_make(w->jt, &w->arena, b->cells, &array);

    if (rc == 1 && b->forked && jt_quick_array(w->jt, &array, 2)) {
        rc = 0;
    }

    return rc == 1 ? walk_shape(w, &array, &w->raw->n_arrays, sizeof(array))
                   : rc;
}


static int
walk_shape(walk_t *w, const void *shape, uint32_t *n, size_t size)
{
    char    *list = w->kind == JS_OBJECT ? (char *) w->raw->objects
                                         : (char *) w->raw->arrays;
    char    *more;
    uint32_t cap;

    if (*n >= w->jt->options.max_shapes) {
        return jt_walk_big(w);
    }

    if (*n == w->cap || w->cap == 0) {
        cap = w->cap ? w->cap * 2 : 1;
        more = jt_get(w->jt, cap * size);

        if (more == NULL) {
            return w->jt->rc;
        }

        if (*n > 0) {
            memcpy(more, list, *n * size);
        }

        w->cap = cap;
        list = more;

        if (w->kind == JS_OBJECT) {
            w->raw->objects = (jt_raw_object_t *) (void *) list;

        } else {
            w->raw->arrays = (jt_array_t *) (void *) list;
        }
    }

    memcpy(list + *n * size, shape, size);
    (*n)++;

    return 0;
}


/* The new branch is on the stack.  b NULL: an empty one. */
walk_branch_t *
jt_walk_copy(walk_t *w, const walk_branch_t *b)
{
    walk_branch_t *copy = arena_get(&w->arena, sizeof(walk_branch_t));

    if (copy == NULL || ++w->ways > WALK_STEPS) {
        (void) jt_walk_big(w);
        return NULL;
    }

    if (b) {
        *copy = *b;
        copy->forked++;
    }

    copy->next = w->stack;
    w->stack = copy;

    return copy;
}


int
jt_walk_add_goal(walk_t *w, walk_branch_t *b, uint32_t lit, const jt_ctx_t *ctx,
                 const walk_goal_t *up)
{
    walk_goal_t *g;

    LLM_TRY(w->jt->rc);

    g = arena_get(&w->arena, sizeof(walk_goal_t));
    if (g == NULL) {
        return jt_walk_big(w);
    }

    *g = (walk_goal_t){.lit = lit,
                       .depth = up ? up->depth + 1 : 0,
                       .ctx = ctx,
                       .up = up,
                       .next = b->goals};
    b->goals = g;

    if (g->depth > JT_NESTING) {
        return jt_fail(w->jt, -E2BIG, NULL, NULL,
                       "schemas are nested too deeply");
    }

    return 0;
}


static int
walk_add_fork(walk_t *w, walk_branch_t *b, const walk_fork_t *fork)
{
    walk_fork_t *f = arena_get(&w->arena, sizeof(walk_fork_t));

    if (f == NULL) {
        return jt_walk_big(w);
    }

    *f = *fork;
    f->next = b->forks;
    b->forks = f;

    return 1;
}


/* 1; 0: it contradicts what is known. */
int
jt_walk_add_cell(walk_t *w, walk_branch_t *b, const jt_cell_t *cell)
{
    jt_cell_t *c;
    uint32_t   i;
    int        known;

    if (cell->kind == JT_CELL_REQUIRED || cell->kind == JT_CELL_MEMBER) {
        if (cell->value) {
            for (i = 0; i < cell->value->n; i++) {
                if (b->cells
                    && jt_cells_name(b->cells, js_str(&cell->value->items[i]))
                           < 0) {
                    return 0;
                }
            }

        } else if (jt_cells_name(b->cells, cell->name) < 0) {
            return 0;
        }
    }

    if (cell->kind == JT_CELL_FORBIDDEN) {
        known = jt_cells_name(b->cells, cell->name);

        if (known > 0) {
            return 0;
        }

        if (known < 0) {
            return 1;
        }
    }

    if (cell->kind == JT_CELL_MEMBER && cell->type == JT_NOTHING) {
        return 0;
    }

    c = arena_get(&w->arena, sizeof(jt_cell_t));
    if (c == NULL) {
        return jt_walk_big(w);
    }

    *c = *cell;
    c->next = b->cells;
    b->cells = c;

    return 1;
}


int
jt_cells_name(const jt_cell_t *c, str_t name)
{
    uint32_t i;

    for (; c; c = c->next) {
        switch (c->kind) {
        case JT_CELL_FORBIDDEN:
            if (str_eq(c->name, name)) {
                return -1;
            }

            break;

        case JT_CELL_CLOSED:
            if (js_member(c->value, name.s, name.len) == NULL) {
                return -1;
            }

            return 1;

        case JT_CELL_REQUIRED:
        case JT_CELL_MEMBER:
            for (i = 0; c->value && i < c->value->n; i++) {
                if (str_eq(js_str(&c->value->items[i]), name)) {
                    return 1;
                }
            }

            if (c->value == NULL && str_eq(c->name, name)) {
                return 1;
            }
        }
    }

    return 0;
}


int
jt_ctx_in(const jt_ctx_t *ctx, const jt_ctx_t *top)
{
    for (; ctx; ctx = ctx->up) {
        if (ctx == top) {
            return 1;
        }
    }

    return 0;
}


/* 1: known already; 0: not; -1: its contrary is. */
static int
walk_seen(const walk_branch_t *b, uint32_t lit, int record)
{
    const jt_cell_t *c;

    for (c = b->cells; c; c = c->next) {
        if (c->kind == JT_CELL_GOAL && (c->atom | 1) == (lit | 1)) {
            return c->atom == lit ? 1 : -1;
        }
    }

    return 0;
}


/* 1: go on; 0: the branch has come to nothing. */
static int
walk_goal(walk_t *w, walk_branch_t *b, const walk_goal_t *g)
{
    jt_t            *jt = w->jt;
    const jt_atom_t *atom = jt->atoms[g->lit >> 1];
    walk_fork_t      fork = {.negative = 1, .atom = g->lit >> 1};
    const jt_def_t  *def;
    uint32_t         i;
    int              seen;

    if (g->lit & 1) {
        if ((jt_mask(jt, g->lit >> 1) & w->bit) == 0) {
            return 1;
        }

        if (atom->kind == JT_ATOM_NODE && atom->node->boolean) {
            return !atom->node->truth;
        }

        seen = walk_seen(b, g->lit, 0);

        if (seen) {
            return seen > 0;
        }

        fork.up = g;
        LLM_TRY(jt_walk_add_cell(
            w, b, &(jt_cell_t){.kind = JT_CELL_GOAL, .atom = g->lit}));

        return walk_add_fork(w, b, &fork);
    }

    if ((jt_mask(jt, g->lit >> 1) & w->bit) == 0) {
        return 0;
    }

    switch (atom->kind) {
    case JT_ATOM_VALUE:
        return walk_value(w, b, atom->value);

    case JT_ATOM_TYPE:
        def = jt->types[atom->scope];

        for (i = def->n; i > 0; i--) {
            LLM_TRY(jt_walk_add_goal(w, b, def->lits[i - 1], g->ctx, g));
        }

        return 1;

    default:
        return walk_node(w, b, g);
    }
}


static int
walk_node(walk_t *w, walk_branch_t *b, const walk_goal_t *g)
{
    const js_node_t    *node = w->jt->atoms[g->lit >> 1]->node;
    const jt_ctx_t     *ctx = g->ctx;
    jt_ctx_t           *own;
    jt_cell_t           cell = {.atom = g->lit >> 1};
    const js_keyword_t *k;
    uint32_t            i, unseen;
    int                 rc;

    if (node->boolean) {
        return node->truth;
    }

    unseen = w->kind == JS_OBJECT ? JS_KW_UNEVALUATED_PROPERTIES
                                  : JS_KW_UNEVALUATED_ITEMS;

    if (!g->unseen
        && (node->has & (KW(JS_KW_ANY_OF) | KW(JS_KW_ONE_OF) | KW(JS_KW_IF)))) {
        rc = walk_seen(b, g->lit, 0);

        if (rc < 0 || (rc > 0 && ctx == NULL)) {
            return rc > 0;
        }

        cell.kind = JT_CELL_GOAL;
        cell.atom = g->lit;
        LLM_TRY(jt_walk_add_cell(w, b, &cell));
        cell.atom = g->lit >> 1;
    }

    if (node->has & KW(unseen)) {
        own = arena_get(&w->arena, sizeof(jt_ctx_t));
        if (own == NULL) {
            return jt_fail(w->jt, -ENOMEM, NULL, NULL, "no memory");
        }

        own->up = ctx;
        ctx = own;
        cell.kind = JT_CELL_UNSEEN;
        cell.negative = g->unseen;
        cell.k = js_node_get(node, unseen);
        cell.ctx = ctx;
        rc = jt_walk_add_cell(w, b, &cell);

        if (rc != 1) {
            return rc;
        }
    }

    if (node->has & (w->kind == JS_OBJECT ? OBJECT_SCOPE : ARRAY_SCOPE)) {
        cell.kind = JT_CELL_SCOPE;
        cell.negative = 0;
        cell.ctx = ctx;
        rc = jt_walk_add_cell(w, b, &cell);

        if (rc != 1) {
            return rc;
        }
    }

    for (i = 0; i < node->n; i++) {
        rc = walk_keyword(w, b, g, &node->keywords[i], ctx);

        if (rc != 1) {
            return rc;
        }
    }

    /* Last in, first out: references come first. */

    for (i = node->n; i > 0; i--) {
        k = &node->keywords[i - 1];
        rc = walk_sub(w, b, g, k, ctx);

        if (rc != 1) {
            return rc;
        }
    }

    return 1;
}


/* What a keyword says without other schemas on the same value. */
static int
walk_keyword(walk_t *w, walk_branch_t *b, const walk_goal_t *g,
             const js_keyword_t *k, const jt_ctx_t *ctx)
{
    jt_t               *jt = w->jt;
    const jt_atom_t    *atom = jt->atoms[g->lit >> 1];
    const js_keyword_t *least, *most;
    jt_cell_t cell = {.atom = g->lit >> 1, .k = k, .ctx = ctx, .max = RE_INF};

    if (w->kind == JS_OBJECT) {
        switch (k->kw) {
        case JS_KW_MIN_PROPERTIES:
            return walk_count(w, b, k->count, UINT64_MAX);

        case JS_KW_MAX_PROPERTIES:
            return walk_count(w, b, 0, k->count);

        case JS_KW_REQUIRED:
            cell.kind = JT_CELL_REQUIRED;
            cell.value = k->value;
            return jt_walk_add_cell(w, b, &cell);

        case JS_KW_PROPERTY_NAMES:
            cell.kind = JT_CELL_NAMES;
            cell.atom = jt_atom_node(jt, atom->scope, k->node);
            return jt_walk_add_cell(w, b, &cell);
        }

        return 1;
    }

    switch (k->kw) {
    case JS_KW_MIN_ITEMS:
        return walk_count(w, b, k->count, UINT64_MAX);

    case JS_KW_MAX_ITEMS:
        return walk_count(w, b, 0, k->count);

    case JS_KW_UNIQUE_ITEMS:
        cell.kind = JT_CELL_UNIQUE;
        return jt_walk_add_cell(w, b, &cell);

    case JS_KW_CONTAINS:
        least = js_node_get(atom->node, JS_KW_MIN_CONTAINS);
        most = js_node_get(atom->node, JS_KW_MAX_CONTAINS);
        cell.kind = JT_CELL_CONTAINS;
        cell.type = jt_child(jt, atom, k->node);
        cell.min = 1;

        if (least) {
            cell.min =
                least->count < RE_INF ? (uint32_t) least->count : RE_INF - 1;
        }

        if (most && most->count < RE_INF) {
            cell.max = (uint32_t) most->count;
        }

        return cell.min > cell.max ? 0 : jt_walk_add_cell(w, b, &cell);
    }

    return 1;
}


/* Other schemas on the same value: goals and forks. */
static int
walk_sub(walk_t *w, walk_branch_t *b, const walk_goal_t *g,
         const js_keyword_t *k, const jt_ctx_t *ctx)
{
    jt_t              *jt = w->jt;
    const jt_atom_t   *atom = jt->atoms[g->lit >> 1];
    const walk_goal_t *up;
    walk_fork_t fork = {.atom = g->lit >> 1, .k = k, .ctx = ctx, .up = g};
    uint32_t    i, target;

    switch (k->kw) {
    case JS_KW_REF:
    case JS_KW_RECURSIVE_REF:
    case JS_KW_DYNAMIC_REF:
        LLM_TRY(jt_target(jt, atom, k, &target));

        for (up = g; up; up = up->up) {
            if (up->lit == target * 2) {
                return jt_fail(jt, -ELOOP, atom->node, k,
                               "a reference leads to itself");
            }
        }

        LLM_TRY(jt_walk_add_goal(w, b, target * 2, ctx, g));
        return 1;

    case JS_KW_ALL_OF:
        for (i = k->n; i > 0; i--) {
            target = jt_atom_node(jt, atom->scope, k->nodes[i - 1]);
            LLM_TRY(jt_walk_add_goal(w, b, target * 2, ctx, g));
        }

        return 1;

    case JS_KW_NOT:
        target = jt_atom_node(jt, atom->scope, k->node);
        LLM_TRY(jt_walk_add_goal(w, b, target * 2 + 1, NULL, g));
        return 1;

    case JS_KW_IF:
        if ((atom->node->has & (KW(JS_KW_THEN) | KW(JS_KW_ELSE))) == 0
            && ctx == NULL) {
            return 1;
        }

        return walk_add_fork(w, b, &fork);

    case JS_KW_CONST:
    case JS_KW_ENUM:
    case JS_KW_ANY_OF:
    case JS_KW_ONE_OF:
        return walk_add_fork(w, b, &fork);

    case JS_KW_DEPENDENT_REQUIRED:
    case JS_KW_DEPENDENCIES:
    case JS_KW_DEPENDENT_SCHEMAS:
        for (i = k->value->n; w->kind == JS_OBJECT && i > 0; i--) {
            fork.i = i - 1;
            LLM_TRY(walk_add_fork(w, b, &fork));
        }
    }

    return 1;
}


/* Exactly this array or object. */
static int
walk_value(walk_t *w, walk_branch_t *b, const js_value_t *v)
{
    jt_cell_t cell = {.value = v, .max = RE_INF};
    uint32_t  i;
    int       rc;

    if (w->kind == JS_OBJECT) {
        for (i = 0; i < v->n; i++) {
            cell = (jt_cell_t){.kind = JT_CELL_MEMBER};
            cell.name = (str_t){v->items[i].key, v->items[i].key_len};
            cell.type = jt_of_value(w->jt, &v->items[i]);
            rc = jt_walk_add_cell(w, b, &cell);

            if (rc != 1) {
                return rc;
            }
        }

        cell = (jt_cell_t){.kind = JT_CELL_CLOSED, .value = v};
        return jt_walk_add_cell(w, b, &cell);
    }

    for (i = 0; i < v->n; i++) {
        cell = (jt_cell_t){.kind = JT_CELL_ITEM, .min = i};
        cell.type = jt_of_value(w->jt, &v->items[i]);
        rc = jt_walk_add_cell(w, b, &cell);

        if (rc != 1) {
            return rc;
        }
    }

    return walk_count(w, b, v->n, v->n);
}


static int
walk_count(walk_t *w, walk_branch_t *b, uint64_t min, uint64_t max)
{
    jt_cell_t cell = {.kind = JT_CELL_COUNT};

    if (min > max) {
        return 0;
    }

    cell.min = min < RE_INF ? (uint32_t) min : RE_INF - 1;
    cell.max = max < RE_INF ? (uint32_t) max : RE_INF;

    return jt_walk_add_cell(w, b, &cell);
}
