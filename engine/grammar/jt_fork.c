/*
 * Types: the disjunctions of the walk, see jt_walk.h.  Of what waits the one
 * with the fewest ways is made first; ways that cannot be are left out.
 */

#include <errno.h>
#include "engine/grammar/jt_walk.h"

/* Of a fork: what is known makes it hold. */
#define WALK_SETTLED UINT32_MAX

static uint32_t walk_weigh(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static uint32_t walk_weigh_list(walk_t *w, walk_branch_t *b,
                                const walk_fork_t *f);
static int      walk_values(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int      walk_any(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int      walk_one(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int      walk_if(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static walk_fork_t *fork_keep(walk_t *w, const walk_fork_t *f,
                              const walk_fork_t *next);
static int walk_dependent(walk_t *w, walk_branch_t *b, const walk_fork_t *f);
static int walk_evaluates(walk_t *w, uint32_t a);


/*
 * Takes the fork with the fewest ways off the branch; those that are settled
 * by what is known go.  NULL: none was left.
 */
const walk_fork_t *
jt_walk_choose(walk_t *w, walk_branch_t *b)
{
    const walk_fork_t *f, *best = NULL, *kept = NULL;
    walk_fork_t       *copy;
    uint32_t           n, least = UINT32_MAX;

    for (f = b->forks; f && w->jt->rc == 0; f = f->next) {
        w->steps++;

        if (gr_check_time(w->jt->gr) < 0) {
            (void) jt_fail(w->jt, -E2BIG, jt_place(w->jt, w->type), NULL,
                           "the schema takes too long to compile");
            return NULL;
        }

        n = f->next || kept || best || b->forked ? walk_weigh(w, b, f) : 2;

        if (n == WALK_SETTLED) {
            continue;
        }

        if (n < least && best == NULL) {
            least = n;
            best = f;
            continue;
        }

        if (n >= least) {
            copy = fork_keep(w, f, kept);

        } else {
            copy = fork_keep(w, best, kept);
            least = n;
            best = f;
        }

        if (copy == NULL) {
            return NULL;
        }

        kept = copy;
    }

    b->forks = kept;

    return best;
}


/* A copy of it before those; NULL: no room, and the walk has failed. */
static walk_fork_t *
fork_keep(walk_t *w, const walk_fork_t *f, const walk_fork_t *next)
{
    walk_fork_t *copy = arena_get(&w->arena, sizeof(*copy));

    if (copy == NULL) {
        (void) jt_walk_big(w);
        return NULL;
    }

    *copy = *f;
    copy->next = next;

    return copy;
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


int
jt_walk_fork(walk_t *w, walk_branch_t *b, const walk_fork_t *f)
{
    jt_raw_object_t object;
    jt_array_t      array;
    int             rc;

    /* Products grow out of branches that have no value: look first. */

    if (b->forked > 1 && w->ways > 50) {
        rc = w->kind == JS_OBJECT
                 ? jt_object_make(w->jt, &w->arena, b->cells, 1, &object)
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
        return jt_walk_not(w, b, f);
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
        LLM_TRY(jt_walk_way_goal(w, b, value * 2, f));
    }

    return 0;
}


/* One more branch, with a goal, unless it is plainly none. */
int
jt_walk_way_goal(walk_t *w, const walk_branch_t *b, uint32_t lit,
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

    way = jt_walk_copy(w, b);
    if (way == NULL) {
        return w->jt->rc;
    }

    return jt_walk_add_goal(w, way, lit, lit & 1 ? NULL : f->ctx, f->up);
}


int
jt_walk_way_cell(walk_t *w, const walk_branch_t *b, const jt_cell_t *cell)
{
    walk_branch_t *way = jt_walk_copy(w, b);
    int            rc;

    if (way == NULL) {
        return w->jt->rc;
    }

    rc = jt_walk_add_cell(w, way, cell);

    if (rc == 0) {
        w->stack = way->next;
    }

    return rc < 0 ? rc : 0;
}


int
jt_walk_way_member(walk_t *w, const walk_branch_t *b, str_t name,
                   jt_type_t type)
{
    jt_cell_t cell = {.kind = JT_CELL_MEMBER, .name = name, .type = type};

    return type == JT_NOTHING ? 0 : jt_walk_way_cell(w, b, &cell);
}


int
jt_walk_way_count(walk_t *w, const walk_branch_t *b, uint64_t min, uint64_t max)
{
    jt_cell_t cell = {.kind = JT_CELL_COUNT};

    if (min > max) {
        return 0;
    }

    cell.min = min < RE_INF ? (uint32_t) min : RE_INF - 1;
    cell.max = max < RE_INF ? (uint32_t) max : RE_INF;

    return jt_walk_way_cell(w, b, &cell);
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
        LLM_TRY(jt_walk_add_goal(w, &base, asked[i] * 2 + 1, NULL, f->up));
    }

    for (i = f->k->n; i > 0; i--) {
        a = jt_atom_node(jt, atom->scope, f->k->nodes[i - 1]);
        LLM_TRY(jt->rc);

        if (f->ctx == NULL || !walk_evaluates(w, a)) {
            LLM_TRY(jt_walk_way_goal(w, &base, a * 2, f));
        }
    }

    for (set = 1; set < 1u << n; set++) {
        way = jt_walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        for (i = n; i > 0; i--) {
            LLM_TRY(jt_walk_add_goal(w, way,
                                     asked[i - 1] * 2 + !(set >> (i - 1) & 1),
                                     set >> (i - 1) & 1 ? f->ctx : NULL,
                                     f->up));
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
        way = jt_walk_copy(w, b);
        if (way == NULL) {
            return jt->rc;
        }

        for (j = 0; j < n; j++) {
            if (j == i - 1) {
                continue;
            }

            LLM_TRY(jt_walk_apart(w, list[i - 1], list[j], &apart));

            if (!apart) {
                LLM_TRY(jt_walk_add_goal(w, way, list[j] * 2 + 1, NULL, f->up));
            }
        }

        LLM_TRY(jt_walk_add_goal(w, way, list[i - 1] * 2, f->ctx, f->up));
    }

    return 0;
}


/* Surely no array (object) is of both. */
int
jt_walk_apart(walk_t *w, uint32_t a, uint32_t b, int *apart)
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
        way = jt_walk_copy(w, b);

        if (way == NULL) {
            return jt->rc;
        }

        if (branch) {
            a = jt_atom_node(jt, atom->scope, branch->node);
            LLM_TRY(jt_walk_add_goal(w, way, a * 2, f->ctx, f->up));
        }

        LLM_TRY(jt_walk_add_goal(w, way, test * 2 + !holds,
                                 holds ? f->ctx : NULL, f->up));
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
        way = jt_walk_copy(w, b);

        if (way == NULL) {
            return jt->rc;
        }

        rc = jt_walk_add_cell(w, way, &cell);
        LLM_TRY(rc);
    }

    if (f->k->nodes == NULL || f->k->nodes[f->i] == NULL) {
        cell = (jt_cell_t){.kind = JT_CELL_REQUIRED, .value = v};
        rc = jt_walk_add_cell(w, way, &cell);
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
        LLM_TRY(jt_walk_add_goal(w, way, a * 2, f->ctx, f->up));
    }

    if (known) {
        return 1;
    }

    cell = (jt_cell_t){.kind = JT_CELL_FORBIDDEN, .name = name};

    return jt_walk_way_cell(w, b, &cell);
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
