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
#include "engine/grammar/jt_priv.h"

/* Goals looked at in one walk; in one that only looks for emptiness. */
#define WALK_STEPS 20000
#define WALK_QUICK 2000

/* Of a fork: what is known makes it hold. */
#define WALK_SETTLED UINT32_MAX

typedef struct walk_goal_s walk_goal_t;

struct walk_goal_s {
    uint32_t           lit;
    uint32_t           depth;
    uint8_t            unseen; /* 1: as positive, but unevaluated* negated */
    const jt_ctx_t    *ctx;
    const walk_goal_t *up; /* what it came from, of the same value */
    const walk_goal_t *next;
};

typedef struct walk_fork_s walk_fork_t;

struct walk_fork_s {
    uint8_t             negative; /* of the whole literal, k NULL */
    uint32_t            atom;
    const js_keyword_t *k;
    uint32_t            i; /* of dependencies: which */
    const jt_ctx_t     *ctx;
    const walk_goal_t  *up;
    const walk_fork_t  *next;
};

typedef struct walk_branch_s walk_branch_t;

struct walk_branch_s {
    const walk_goal_t *goals;
    const walk_fork_t *forks;
    const jt_cell_t   *cells;
    uint32_t           forked;
    walk_branch_t     *next;
};

typedef struct {
    jt_t          *jt;
    jt_type_t      type;
    arena_t        arena;
    int            kind;
    unsigned       bit; /* of kind */
    walk_branch_t *stack;
    uint32_t       steps, ways;
    jt_raw_t      *raw;
    uint32_t       cap;
} walk_t;

static int walk_big(walk_t *w);
static int walk_run(walk_t *w);
static int walk_branch(walk_t *w, walk_branch_t *b);
static int walk_done(walk_t *w, walk_branch_t *b);
static int walk_shape(walk_t *w, const void *shape, uint32_t *n, size_t size);
static int walk_goal(walk_t *w, walk_branch_t *b, const walk_goal_t *g);
static int walk_node(walk_t *w, walk_branch_t *b, const walk_goal_t *g);
static int walk_seen(const walk_branch_t *b, uint32_t lit, int record);
static int walk_keyword(walk_t *w, walk_branch_t *b, const walk_goal_t *g,
                        const js_keyword_t *k, const jt_ctx_t *ctx);
static int walk_sub(walk_t *w, walk_branch_t *b, const walk_goal_t *g,
                    const js_keyword_t *k, const jt_ctx_t *ctx);
static int walk_value(walk_t *w, walk_branch_t *b, const js_value_t *v);
static const walk_fork_t *walk_choose(walk_t *w, walk_branch_t *b);
static uint32_t walk_weigh(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static uint32_t walk_weigh_list(walk_t *w, walk_branch_t *b,
                                const walk_fork_t *f);
static int      walk_fork(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int      walk_any(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int      walk_one(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int      walk_if(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int      walk_values(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int walk_dependent(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int walk_not(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int walk_not_node(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int walk_not_required(walk_t *w, walk_branch_t *b,
                             const js_keyword_t *k);
static int walk_not_properties(walk_t *w, walk_branch_t *b,
                               const walk_fork_t *f, const js_keyword_t *k);
static int walk_not_keyword(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                            const js_keyword_t *k);
static int walk_not_object(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                           const js_keyword_t *k);
static int walk_not_array(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                          const js_keyword_t *k);
static int walk_not_schemas(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                            const js_keyword_t *k);
static int walk_not_one(walk_t *w, walk_branch_t *b, const walk_fork_t *f,
                        const js_keyword_t *k);
static int walk_not_value(walk_t *w, walk_branch_t *b, const js_value_t *v);
static int walk_keys(walk_t *w, const walk_fork_t *f, int patterns, re_t *re);
static int walk_apart(walk_t *w, uint32_t a, uint32_t b, int *apart);
static int walk_evaluates(walk_t *w, uint32_t a);
static walk_branch_t *walk_copy(walk_t *w, const walk_branch_t *b);
static int            walk_add_goal(walk_t *w, walk_branch_t *b, uint32_t lit,
                                    const jt_ctx_t *ctx, const walk_goal_t *up);
static int walk_add_fork(walk_t *w, walk_branch_t *b, const walk_fork_t *fork);
static int walk_add_cell(walk_t *w, walk_branch_t *b, const jt_cell_t *cell);
static int walk_way_goal(walk_t *w, const walk_branch_t *b, uint32_t lit,
                         const walk_fork_t *f);
static int walk_way_cell(walk_t *w, const walk_branch_t *b,
                         const jt_cell_t *cell);
static int walk_way_member(walk_t *w, const walk_branch_t *b, str_t name,
                           jt_type_t type);
static int walk_way_count(walk_t *w, const walk_branch_t *b, uint64_t min,
                          uint64_t max);
static int walk_count(walk_t *w, walk_branch_t *b, uint64_t min, uint64_t max);

#define KW(kw) (1ull << (kw))

#define OBJECT_SCOPE                                                           \
    (KW(JS_KW_PROPERTIES) | KW(JS_KW_PATTERN_PROPERTIES)                       \
     | KW(JS_KW_ADDITIONAL_PROPERTIES))
#define ARRAY_SCOPE (KW(JS_KW_PREFIX_ITEMS) | KW(JS_KW_ITEMS))


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
    b = walk_copy(&w, NULL);

    for (i = def->n; b && i > 0 && rc == 0; i--) {
        rc = walk_add_goal(&w, b, def->lits[i - 1], NULL, NULL);
    }

    if (b && rc == 0) {
        rc = walk_run(&w);
    }

    arena_free(&w.arena);

    return rc < 0 ? rc : jt->rc;
}


/* Says where, as far as a type has a place. */
static int
walk_big(walk_t *w)
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

            if (++w->steps > (w->jt->quick ? WALK_QUICK : WALK_STEPS)) {
                return walk_big(w);
            }

            rc = walk_goal(w, b, g);

            if (rc != 1) {
                return rc;
            }
        }

        if (b->forks == NULL) {
            return 1;
        }

        f = walk_choose(w, b);
        LLM_TRY(w->jt->rc);

        if (f == NULL) {
            continue;
        }

        rc = walk_fork(w, b, f);

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
        rc = jt_object_make(w->jt, &w->arena, b->cells, &object);

        if (rc == 1 && b->forked && jt_quick_object(w->jt, &object, 2)) {
            rc = 0;
        }

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
        return walk_big(w);
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
static walk_branch_t *
walk_copy(walk_t *w, const walk_branch_t *b)
{
    walk_branch_t *copy = arena_get(&w->arena, sizeof(walk_branch_t));

    if (copy == NULL || ++w->ways > WALK_STEPS) {
        (void) walk_big(w);
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


static int
walk_add_goal(walk_t *w, walk_branch_t *b, uint32_t lit, const jt_ctx_t *ctx,
              const walk_goal_t *up)
{
    walk_goal_t *g;

    LLM_TRY(w->jt->rc);

    g = arena_get(&w->arena, sizeof(walk_goal_t));
    if (g == NULL) {
        return walk_big(w);
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
        return walk_big(w);
    }

    *f = *fork;
    f->next = b->forks;
    b->forks = f;

    return 1;
}


/* 1; 0: it contradicts what is known. */
static int
walk_add_cell(walk_t *w, walk_branch_t *b, const jt_cell_t *cell)
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
        return walk_big(w);
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
        LLM_TRY(walk_add_cell(
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
            LLM_TRY(walk_add_goal(w, b, def->lits[i - 1], g->ctx, g));
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
        LLM_TRY(walk_add_cell(w, b, &cell));
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
        rc = walk_add_cell(w, b, &cell);

        if (rc != 1) {
            return rc;
        }
    }

    if (node->has & (w->kind == JS_OBJECT ? OBJECT_SCOPE : ARRAY_SCOPE)) {
        cell.kind = JT_CELL_SCOPE;
        cell.negative = 0;
        cell.ctx = ctx;
        rc = walk_add_cell(w, b, &cell);

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
            return walk_add_cell(w, b, &cell);

        case JS_KW_PROPERTY_NAMES:
            cell.kind = JT_CELL_NAMES;
            cell.atom = jt_atom_node(jt, atom->scope, k->node);
            return walk_add_cell(w, b, &cell);
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
        return walk_add_cell(w, b, &cell);

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

        return cell.min > cell.max ? 0 : walk_add_cell(w, b, &cell);
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

        LLM_TRY(walk_add_goal(w, b, target * 2, ctx, g));
        return 1;

    case JS_KW_ALL_OF:
        for (i = k->n; i > 0; i--) {
            target = jt_atom_node(jt, atom->scope, k->nodes[i - 1]);
            LLM_TRY(walk_add_goal(w, b, target * 2, ctx, g));
        }

        return 1;

    case JS_KW_NOT:
        target = jt_atom_node(jt, atom->scope, k->node);
        LLM_TRY(walk_add_goal(w, b, target * 2 + 1, NULL, g));
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
            rc = walk_add_cell(w, b, &cell);

            if (rc != 1) {
                return rc;
            }
        }

        cell = (jt_cell_t){.kind = JT_CELL_CLOSED, .value = v};
        return walk_add_cell(w, b, &cell);
    }

    for (i = 0; i < v->n; i++) {
        cell = (jt_cell_t){.kind = JT_CELL_ITEM, .min = i};
        cell.type = jt_of_value(w->jt, &v->items[i]);
        rc = walk_add_cell(w, b, &cell);

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

    return walk_add_cell(w, b, &cell);
}


/*
 * Takes the fork with the fewest ways off the branch; those that are settled
 * by what is known go.  NULL: none was left.
 */
static const walk_fork_t *
walk_choose(walk_t *w, walk_branch_t *b)
{
    const walk_fork_t *f, *best = NULL, *kept = NULL;
    walk_fork_t       *copy;
    uint32_t           n, least = UINT32_MAX;

    for (f = b->forks; f; f = f->next) {
        n = f->next || kept || best || b->forked ? walk_weigh(w, b, f) : 2;

        if (n == WALK_SETTLED) {
            continue;
        }

        if (n < least) {
            least = n;

            if (best == NULL) {
                best = f;
                continue;
            }

        } else {
            copy = arena_get(&w->arena, sizeof(*copy));

            if (copy) {
                *copy = *f;
                copy->next = kept;
                kept = copy;
            }

            continue;
        }

        copy = arena_get(&w->arena, sizeof(*copy));

        if (copy) {
            *copy = *best;
            copy->next = kept;
            kept = copy;
        }

        best = f;
    }

    b->forks = kept;

    return best;
}


/* How many ways a fork has that are not plainly none; or that it is done. */
static uint32_t
walk_weigh(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    const js_value_t *v;
    int               known;

    if (f->negative) {

        /* The literal itself was recorded when it became a fork. */

        known = jt_known_node(w->jt, b->cells, w->kind, f->atom);

        return known < 0 ? WALK_SETTLED : known > 0 ? 0 : 20;
    }

    switch (f->k->kw) {
    case JS_KW_ANY_OF:
    case JS_KW_ONE_OF:
        return walk_weigh_list(w, b, f);

    case JS_KW_DEPENDENT_REQUIRED:
    case JS_KW_DEPENDENCIES:
    case JS_KW_DEPENDENT_SCHEMAS:
        v = &f->k->value->items[f->i];
        known = jt_cells_name(b->cells, (str_t){v->key, v->key_len});

        return known < 0 ? WALK_SETTLED : known > 0 ? 1 : 2;

    case JS_KW_ENUM:
        return f->k->value->n;
    }

    return 2;
}


static uint32_t
walk_weigh_list(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    jt_t            *jt = w->jt;
    const jt_atom_t *atom = jt->atoms[f->atom];
    uint32_t         i, a, n = 0;
    int              known;

    for (i = 0; i < f->k->n && jt->rc == 0; i++) {
        a = jt_atom_node(jt, atom->scope, f->k->nodes[i]);

        if (jt->rc || (jt_mask(jt, a) & w->bit) == 0) {
            continue;
        }

        known = jt_known(jt, b->cells, w->kind, a);

        if (known > 0 && f->ctx == NULL && f->k->kw == JS_KW_ANY_OF) {
            return WALK_SETTLED;
        }

        n += known >= 0;
    }

    return n;
}


static int
walk_fork(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    jt_raw_object_t object;
    jt_array_t      array;
    int             rc;

    /* Products grow out of branches that have no value: look first. */

    if (b->forked > 1 && w->ways > 50) {
        rc = w->kind == JS_OBJECT
                 ? jt_object_make(w->jt, &w->arena, b->cells, &object)
                 : jt_array_make(w->jt, &w->arena, b->cells, &array);

        if (rc == 1) {
            rc = w->kind == JS_OBJECT ? !jt_quick_object(w->jt, &object, 2)
                                      : !jt_quick_array(w->jt, &array, 2);
        }

        if (rc != 1) {
            return rc;
        }
    }

    if (f->negative) {
        return walk_not(w, b, f);
    }

    switch (f->k->kw) {
    case JS_KW_CONST:
    case JS_KW_ENUM:
        return walk_values(w, b, f);

    case JS_KW_ANY_OF:
        return walk_any(w, b, f);

    case JS_KW_ONE_OF:
        return walk_one(w, b, f);

    case JS_KW_IF:
        return walk_if(w, b, f);

    default:
        return walk_dependent(w, b, f);
    }
}


static int
walk_values(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    const js_value_t *v = f->k->value;
    uint32_t          i, n, value;

    n = f->k->kw == JS_KW_ENUM ? v->n : 1;

    for (i = n; i > 0; i--) {
        value =
            jt_atom_value(w->jt, f->k->kw == JS_KW_ENUM ? &v->items[i - 1] : v);
        LLM_TRY(walk_way_goal(w, b, value * 2, f));
    }

    return 0;
}


/* One more branch, with a goal, unless it is plainly none. */
static int
walk_way_goal(walk_t *w, const walk_branch_t *b, uint32_t lit,
              const walk_fork_t *f)
{
    walk_branch_t *way;

    LLM_TRY(w->jt->rc);

    if ((lit & 1) == 0 && (jt_mask(w->jt, lit >> 1) & w->bit) == 0) {
        return 0;
    }

    if (b->cells
        && jt_known(w->jt, b->cells, w->kind, lit >> 1) == (lit & 1 ? 1 : -1)) {
        return 0;
    }

    way = walk_copy(w, b);
    if (way == NULL) {
        return w->jt->rc;
    }

    return walk_add_goal(w, way, lit, lit & 1 ? NULL : f->ctx, f->up);
}


static int
walk_way_cell(walk_t *w, const walk_branch_t *b, const jt_cell_t *cell)
{
    walk_branch_t *way = walk_copy(w, b);
    int            rc;

    if (way == NULL) {
        return w->jt->rc;
    }

    rc = walk_add_cell(w, way, cell);

    if (rc == 0) {
        w->stack = way->next;
    }

    return rc < 0 ? rc : 0;
}


static int
walk_way_member(walk_t *w, const walk_branch_t *b, str_t name, jt_type_t type)
{
    jt_cell_t cell = {.kind = JT_CELL_MEMBER, .name = name, .type = type};

    return type == JT_NOTHING ? 0 : walk_way_cell(w, b, &cell);
}


static int
walk_way_count(walk_t *w, const walk_branch_t *b, uint64_t min, uint64_t max)
{
    jt_cell_t cell = {.kind = JT_CELL_COUNT};

    if (min > max) {
        return 0;
    }

    cell.min = min < RE_INF ? (uint32_t) min : RE_INF - 1;
    cell.max = max < RE_INF ? (uint32_t) max : RE_INF;

    return walk_way_cell(w, b, &cell);
}


/*
 * Where somebody asks what was evaluated, every schema that evaluates
 * anything is decided; of the others one has to hold if none of those does.
 */
static int
walk_any(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    jt_t            *jt = w->jt;
    const jt_atom_t *atom = jt->atoms[f->atom];
    uint32_t        *asked, i, n = 0, a, set;
    walk_branch_t   *way, base;

    asked = arena_get(&w->arena, (f->k->n + 1) * sizeof(uint32_t));
    if (asked == NULL) {
        return jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
    }

    for (i = 0; f->ctx && i < f->k->n; i++) {
        a = jt_atom_node(jt, atom->scope, f->k->nodes[i]);
        LLM_TRY(jt->rc);

        if ((jt_mask(jt, a) & w->bit) && walk_evaluates(w, a)) {
            asked[n++] = a;
        }
    }

    if (n > 10) {
        return jt_fail(jt, -E2BIG, atom->node, f->k,
                       "too many schemas beside unevaluated members");
    }

    base = *b;

    for (i = 0; i < n; i++) {
        LLM_TRY(walk_add_goal(w, &base, asked[i] * 2 + 1, NULL, f->up));
    }

    for (i = f->k->n; i > 0; i--) {
        a = jt_atom_node(jt, atom->scope, f->k->nodes[i - 1]);
        LLM_TRY(jt->rc);

        if (f->ctx == NULL || !walk_evaluates(w, a)) {
            LLM_TRY(walk_way_goal(w, &base, a * 2, f));
        }
    }

    for (set = 1; set < 1u << n; set++) {
        way = walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        for (i = n; i > 0; i--) {
            LLM_TRY(walk_add_goal(w, way,
                                  asked[i - 1] * 2 + !(set >> (i - 1) & 1),
                                  set >> (i - 1) & 1 ? f->ctx : NULL, f->up));
        }
    }

    return 0;
}


static int
walk_one(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    jt_t            *jt = w->jt;
    const jt_atom_t *atom = jt->atoms[f->atom];
    uint32_t        *list, i, j, n = 0, a;
    walk_branch_t   *way;
    int              apart;

    list = arena_get(&w->arena, (f->k->n + 1) * sizeof(uint32_t));
    if (list == NULL) {
        return jt_fail(jt, -ENOMEM, NULL, NULL, "no memory");
    }

    for (i = 0; i < f->k->n; i++) {
        a = jt_atom_node(jt, atom->scope, f->k->nodes[i]);
        LLM_TRY(jt->rc);

        if (jt_mask(jt, a) & w->bit
            && (b->cells == NULL || jt_known(jt, b->cells, w->kind, a) >= 0)) {
            list[n++] = a;
        }
    }

    for (i = n; i > 0; i--) {
        way = walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        for (j = 0; j < n; j++) {
            if (j == i - 1) {
                continue;
            }

            LLM_TRY(walk_apart(w, list[i - 1], list[j], &apart));

            if (!apart) {
                LLM_TRY(walk_add_goal(w, way, list[j] * 2 + 1, NULL, f->up));
            }
        }

        LLM_TRY(walk_add_goal(w, way, list[i - 1] * 2, f->ctx, f->up));
    }

    return 0;
}


/* Surely no array (object) is of both. */
static int
walk_apart(walk_t *w, uint32_t a, uint32_t b, int *apart)
{
    uint32_t  lits[2] = {a * 2, b * 2};
    jt_type_t type;

    *apart = 0;
    type = jt_type_make(w->jt, lits, 2);
    LLM_TRY(w->jt->rc);
    *apart = jt_quick(w->jt, type, w->bit, 3);

    return w->jt->rc;
}


static int
walk_if(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    jt_t               *jt = w->jt;
    const jt_atom_t    *atom = jt->atoms[f->atom];
    const js_keyword_t *branch;
    walk_branch_t      *way;
    uint32_t            test, a;
    int                 holds, known;

    test = jt_atom_node(jt, atom->scope, f->k->node);
    LLM_TRY(jt->rc);

    known = b->cells ? jt_known(jt, b->cells, w->kind, test) : 0;

    for (holds = 0; holds < 2; holds++) {
        if ((holds && (jt_mask(jt, test) & w->bit) == 0)
            || known == (holds ? -1 : 1)) {
            continue;
        }

        branch = js_node_get(atom->node, holds ? JS_KW_THEN : JS_KW_ELSE);
        way = walk_copy(w, b);

        if (way == NULL) {
            return jt->rc;
        }

        if (branch) {
            a = jt_atom_node(jt, atom->scope, branch->node);
            LLM_TRY(walk_add_goal(w, way, a * 2, f->ctx, f->up));
        }

        LLM_TRY(walk_add_goal(w, way, test * 2 + !holds, holds ? f->ctx : NULL,
                              f->up));
    }

    return 0;
}


/* If there is a member of the name, then what depends on it. */
static int
walk_dependent(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    jt_t             *jt = w->jt;
    const jt_atom_t  *atom = jt->atoms[f->atom];
    const js_value_t *v = &f->k->value->items[f->i];
    walk_branch_t    *way = b;
    jt_cell_t         cell = {.kind = JT_CELL_REQUIRED};
    str_t             name = {v->key, v->key_len};
    uint32_t          a;
    int               known, rc;

    known = jt_cells_name(b->cells, name);

    if (known < 0) {
        return 1;
    }

    if (known == 0) {
        cell.name = name;
        way = walk_copy(w, b);

        if (way == NULL) {
            return jt->rc;
        }

        rc = walk_add_cell(w, way, &cell);
        LLM_TRY(rc);
    }

    if (f->k->nodes == NULL || f->k->nodes[f->i] == NULL) {
        cell = (jt_cell_t){.kind = JT_CELL_REQUIRED, .value = v};
        rc = walk_add_cell(w, way, &cell);
        LLM_TRY(rc);

        if (rc == 0) {
            if (known) {
                return 0;
            }

            w->stack = way->next;
        }

    } else {
        a = jt_atom_node(jt, atom->scope, f->k->nodes[f->i]);
        LLM_TRY(jt->rc);
        LLM_TRY(walk_add_goal(w, way, a * 2, f->ctx, f->up));
    }

    if (known) {
        return 1;
    }

    cell = (jt_cell_t){.kind = JT_CELL_FORBIDDEN, .name = name};

    return walk_way_cell(w, b, &cell);
}


static int
walk_not(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
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
            LLM_TRY(walk_way_goal(w, b, def->lits[i - 1] ^ 1, f));
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
        LLM_TRY(walk_way_cell(w, b, &cell));
        cell.kind = JT_CELL_REQUIRED;

        if (jt_cells_name(b->cells, cell.name) > 0) {
            continue;
        }

        rc = walk_add_cell(w, b, &cell);

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
            LLM_TRY(walk_way_cell(w, b, &cell));

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

        rc = walk_add_cell(w, b, &cell);

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

        way = walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        LLM_TRY(walk_add_goal(w, way, f->atom * 2, NULL, f->up));
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

        return walk_way_goal(w, b, target * 2 + 1, f);

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

            LLM_TRY(walk_way_goal(w, b, a * 2 + 1, f));
        }

        return 0;

    case JS_KW_NOT:
        a = jt_atom_node(jt, atom->scope, k->node);
        LLM_TRY(jt->rc);

        return walk_way_goal(w, b, a * 2, f);

    case JS_KW_ONE_OF:
        LLM_TRY(walk_not_one(w, b, f, k));

        /* fall through */

    case JS_KW_CONST:
    case JS_KW_ENUM:
    case JS_KW_ANY_OF:
        way = walk_copy(w, b);
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
            LLM_TRY(walk_add_goal(w, way, a * 2 + 1, NULL, f->up));
        }

        return 0;
    }

    /* if: one of its two ways, and what is said of it fails. */

    for (holds = 0; holds < 2; holds++) {
        branch = js_node_get(atom->node, holds ? JS_KW_THEN : JS_KW_ELSE);

        if (branch == NULL) {
            continue;
        }

        way = walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        a = jt_atom_node(jt, atom->scope, branch->node);
        LLM_TRY(walk_add_goal(w, way, a * 2 + 1, NULL, f->up));
        a = jt_atom_node(jt, atom->scope, k->node);
        LLM_TRY(walk_add_goal(w, way, a * 2 + !holds, NULL, f->up));
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

            LLM_TRY(walk_apart(w, x, y, &apart));

            if (apart) {
                continue;
            }

            way = walk_copy(w, b);
            if (way == NULL) {
                return jt->rc;
            }

            LLM_TRY(walk_add_goal(w, way, y * 2, NULL, f->up));
            LLM_TRY(walk_add_goal(w, way, x * 2, NULL, f->up));
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
        return k->count ? walk_way_count(w, b, 0, k->count - 1) : 0;

    case JS_KW_MAX_PROPERTIES:
        return k->count < RE_INF
                   ? walk_way_count(w, b, k->count + 1, UINT64_MAX)
                   : 0;

    case JS_KW_PATTERN_PROPERTIES:
        for (i = k->n; i > 0; i--) {
            cell.kind = JT_CELL_SOME;
            LLM_TRY(jt_pattern(jt, atom, k, i - 1, &cell.keys));
            cell.type = jt_not(jt, jt_child(jt, atom, k->nodes[i - 1]));

            if (cell.type != JT_NOTHING) {
                LLM_TRY(walk_way_cell(w, b, &cell));
            }
        }

        return 0;

    case JS_KW_ADDITIONAL_PROPERTIES:
        cell.kind = JT_CELL_SOME;
        LLM_TRY(walk_keys(w, f, 1, &cell.keys));
        cell.type = jt_not(jt, jt_child(jt, atom, k->node));

        return cell.type == JT_NOTHING ? 0 : walk_way_cell(w, b, &cell);

    case JS_KW_PROPERTY_NAMES:
        cell.kind = JT_CELL_SOME;
        a = jt_atom_node(jt, atom->scope, k->node);
        LLM_TRY(jt->rc);
        LLM_TRY(jt_names(jt, a, &cell.keys));
        cell.keys = re_minus(jt->re, RE_TEXT, cell.keys);
        cell.type = JT_ANY;

        return jt_re_void(jt, cell.keys) ? 0 : walk_way_cell(w, b, &cell);

    case JS_KW_DEPENDENT_REQUIRED:
    case JS_KW_DEPENDENCIES:
    case JS_KW_DEPENDENT_SCHEMAS:
        for (i = 0; i < k->value->n; i++) {
            v = &k->value->items[i];

            if (k->nodes && k->nodes[i]) {
                a = jt_atom_node(jt, atom->scope, k->nodes[i]);
                LLM_TRY(jt->rc);
                way = walk_copy(w, b);
                if (way == NULL) {
                    return jt->rc;
                }

                cell = (jt_cell_t){.kind = JT_CELL_REQUIRED,
                                   .name = {v->key, v->key_len}};
                rc = walk_add_cell(w, way, &cell);
                LLM_TRY(rc);

                if (rc == 0) {
                    w->stack = way->next;
                    continue;
                }

                LLM_TRY(walk_add_goal(w, way, a * 2 + 1, NULL, f->up));
                continue;
            }

            for (j = 0; j < v->n; j++) {
                way = walk_copy(w, b);
                if (way == NULL) {
                    return jt->rc;
                }

                cell = (jt_cell_t){.kind = JT_CELL_REQUIRED,
                                   .name = {v->key, v->key_len}};
                rc = walk_add_cell(w, way, &cell);
                LLM_TRY(rc);

                if (rc) {
                    cell = (jt_cell_t){.kind = JT_CELL_FORBIDDEN,
                                       .name = js_str(&v->items[j])};
                    rc = walk_add_cell(w, way, &cell);
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
        return k->count ? walk_way_count(w, b, 0, k->count - 1) : 0;

    case JS_KW_MAX_ITEMS:
        return k->count < RE_INF
                   ? walk_way_count(w, b, k->count + 1, UINT64_MAX)
                   : 0;

    case JS_KW_UNIQUE_ITEMS:
        cell.kind = JT_CELL_UNIQUE;
        cell.negative = 1;
        return walk_way_cell(w, b, &cell);

    case JS_KW_PREFIX_ITEMS:
        for (i = k->n; i > 0; i--) {
            cell.kind = JT_CELL_ITEM;
            cell.negative = 1;
            cell.min = i - 1;
            cell.type = jt_not(jt, jt_child(jt, atom, k->nodes[i - 1]));

            if (cell.type != JT_NOTHING) {
                LLM_TRY(walk_way_cell(w, b, &cell));
            }
        }

        return 0;

    case JS_KW_ITEMS:
        least = js_node_get(atom->node, JS_KW_PREFIX_ITEMS);
        cell.kind = JT_CELL_CONTAINS;
        cell.from = least ? least->n : 0;
        cell.min = 1;
        cell.type = jt_not(jt, jt_child(jt, atom, k->node));

        return cell.type == JT_NOTHING ? 0 : walk_way_cell(w, b, &cell);

    case JS_KW_CONTAINS:
        least = js_node_get(atom->node, JS_KW_MIN_CONTAINS);
        most = js_node_get(atom->node, JS_KW_MAX_CONTAINS);
        n = least ? least->count : 1;
        cell.kind = JT_CELL_CONTAINS;
        cell.type = jt_child(jt, atom, k->node);

        if (n > 0) {
            cell.max = n < RE_INF ? (uint32_t) n - 1 : RE_INF;
            LLM_TRY(walk_way_cell(w, b, &cell));
        }

        if (most && most->count < RE_INF - 1) {
            cell.max = RE_INF;
            cell.min = (uint32_t) most->count + 1;
            return walk_way_cell(w, b, &cell);
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

    LLM_TRY(walk_way_count(w, b, (uint64_t) v->n + 1, UINT64_MAX));

    if (w->kind == JS_ARRAY && v->n > 0) {
        LLM_TRY(walk_way_count(w, b, 0, v->n - 1));
    }

    for (i = 0; i < v->n; i++) {
        type = jt_not(jt, jt_of_value(jt, &v->items[i]));
        LLM_TRY(jt->rc);

        if (w->kind == JS_OBJECT) {
            name = (str_t){v->items[i].key, v->items[i].key_len};
            LLM_TRY(walk_way_member(w, b, name, type));
            cell = (jt_cell_t){.kind = JT_CELL_FORBIDDEN, .name = name};

        } else {
            cell = (jt_cell_t){
                .kind = JT_CELL_ITEM, .negative = 1, .min = i, .type = type};
        }

        LLM_TRY(walk_way_cell(w, b, &cell));
    }

    return 0;
}


/* May the schema evaluate members (items)?  Rather yes. */
static int
walk_evaluates(walk_t *w, uint32_t a)
{
    jt_t               *jt = w->jt;
    jt_atom_t          *atom = jt->atoms[a];
    const js_node_t    *node = atom->node;
    const js_keyword_t *k;
    uint32_t            i, j, target;
    int                 yes = 0, shift = w->kind == JS_OBJECT ? 0 : 2;

    if (node->boolean) {
        return 0;
    }

    if (atom->evaluates >> shift & 3) {
        return (atom->evaluates >> shift & 3) != 1;
    }

    atom->evaluates |= (uint8_t) (3 << shift);

    if (w->kind == JS_OBJECT) {
        yes = (node->has & (OBJECT_SCOPE | KW(JS_KW_UNEVALUATED_PROPERTIES)))
              != 0;

    } else {
        yes =
            (node->has
             & (ARRAY_SCOPE | KW(JS_KW_UNEVALUATED_ITEMS) | KW(JS_KW_CONTAINS)))
            != 0;
    }

    for (i = 0; i < node->n && !yes && jt->rc == 0; i++) {
        k = &node->keywords[i];

        switch (k->kw) {
        case JS_KW_REF:
        case JS_KW_RECURSIVE_REF:
        case JS_KW_DYNAMIC_REF:
            yes = k->node == NULL || jt_target(jt, atom, k, &target) < 0
                  || walk_evaluates(w, target);
            break;

        case JS_KW_IF:
        case JS_KW_THEN:
        case JS_KW_ELSE:
            yes = walk_evaluates(w, jt_atom_node(jt, atom->scope, k->node));
            break;

        case JS_KW_ALL_OF:
        case JS_KW_ANY_OF:
        case JS_KW_ONE_OF:
        case JS_KW_DEPENDENT_SCHEMAS:
        case JS_KW_DEPENDENCIES:
            for (j = 0; j < k->n && !yes; j++) {
                yes = k->nodes[j]
                      && walk_evaluates(w, jt_atom_node(jt, atom->scope,
                                                        k->nodes[j]));
            }

            break;
        }
    }

    atom->evaluates &= (uint8_t) ~(3 << shift);
    atom->evaluates |= (uint8_t) ((yes ? 2 : 1) << shift);

    return yes;
}
