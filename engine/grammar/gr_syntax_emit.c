/*
 * From rules to an expression of a program (gr_syntax.h).
 *
 * A rule is REGULAR if its body is made of regular languages and of regular
 * rules, or refers to itself at one end only: with A ::= p A | q it is p* q.
 * Such rules are found in order (Kahn's, CACM 5:11, 1962), so that a chain of
 * rules costs no recursion, and put where they are used as long as they are
 * small: the fewer and the larger the lexemes, the less is left to the
 * parser.  All others become static rules.
 *
 * Whoever compiles is the only thread here; memory is the gs_t's arena.
 */

#include <errno.h>
#include "engine/grammar/gr_syntax.h"

/*
 * Symbols of a regular rule that is put where it is used; of all that are;
 * and of a terminal, which has no other way.
 */
#define MAX_INLINE   1000
#define MAX_INLINED  400000
#define MAX_TERMINAL 100000

/* At which end a rule refers to itself. */
enum { RIGHT = 0, LEFT };

/* A language: texts of loop, then (left: before) the rule; or exit. */
typedef struct {
    re_t     loop, exit;
    uint32_t size;
} linear_t;

static int  check_defined(gs_t *gs);
static int  find_regular(gs_t *gs);
static int  check_terminals(gs_t *gs);
static int  count_references(gs_t *gs, uint32_t rule, const gs_node_t *n);
static void resolve(gs_t *gs, uint32_t rule);
static int  linear(gs_t *gs, const gs_node_t *n, uint32_t self, int side,
                   linear_t *l);
static int  linear_seq(gs_t *gs, const gs_node_t *n, uint32_t self, int side,
                       linear_t *l);
static uint32_t measure(gs_t *gs, gs_node_t *n);
static re_t     regular(gs_t *gs, const gs_node_t *n);
static re_t     regular_list(gs_t *gs, const gs_node_t *n);
static int      emit(gs_t *gs, gs_node_t *n, gr_node_t *node);
static int      emit_list(gs_t *gs, const gs_node_t *n, gr_node_t *node);
static int      emit_rule(gs_t *gs, uint32_t rule, gr_node_t *node);


int
gs_finish(gs_t *gs, uint32_t root, gr_node_t *node)
{
    gs_rule_t *rule;
    gr_node_t  body;
    uint32_t   r;

    LLM_TRY(check_defined(gs));
    LLM_TRY(find_regular(gs));

    gs->head = gs->tail = 0;
    LLM_TRY(emit_rule(gs, root, node));

    while (gs->head < gs->tail) {
        r = gs->queue[gs->head++];
        rule = &gs->rules[r];

        if (rule->regular) {
            body = gr_text(gs->gr, rule->re);

        } else {
            (void) measure(gs, rule->body);
            LLM_TRY(emit(gs, rule->body, &body));
        }

        gr_rule_set(gs->gr, rule->out - 1, body);
        LLM_TRY(gs_check(gs));
    }

    return gs_check(gs);
}


static int
check_defined(gs_t *gs)
{
    uint32_t r;

    for (r = 0; r < gs->n_rules; r++) {
        if (gs->rules[r].body == NULL) {
            return gs_fail(gs, -EINVAL, gs->rules[r].at,
                           "\"%.*s\" is not defined",
                           (int) (gs->rules[r].name.len & 0xff),
                           gs->rules[r].name.s);
        }
    }

    return 0;
}


/* Rules whose references are all known to be regular, first come first. */
static int
find_regular(gs_t *gs)
{
    gs_rule_t *rule;
    gs_user_t *u;
    uint32_t   r, k;

    gs->queue = arena_get(&gs->arena, (gs->n_rules + 1) * sizeof(uint32_t));
    if (gs->queue == NULL) {
        return gs_fail(gs, -E2BIG, 0, "the grammar is too large");
    }

    for (r = 0; r < gs->n_rules; r++) {
        LLM_TRY(count_references(gs, r, gs->rules[r].body));
    }

    for (r = 0; r < gs->n_rules; r++) {
        if (gs->rules[r].pending == gs->rules[r].self) {
            gs->queue[gs->tail++] = r;
        }
    }

    while (gs->head < gs->tail) {
        r = gs->queue[gs->head++];
        rule = &gs->rules[r];
        resolve(gs, r);
        LLM_TRY(gs_check(gs));

        if (!rule->regular) {
            continue;
        }

        for (k = rule->users; k; k = u->next) {
            u = &gs->users[k - 1];

            if (u->rule != r
                && --gs->rules[u->rule].pending == gs->rules[u->rule].self) {
                gs->queue[gs->tail++] = u->rule;
            }
        }
    }

    return check_terminals(gs);
}


/* Those that are too large keep others from being regular: they come first. */
static int
check_terminals(gs_t *gs)
{
    const gs_rule_t *rule, *worst = NULL;
    uint32_t         r;

    for (r = 0; r < gs->n_rules; r++) {
        rule = &gs->rules[r];

        if (rule->terminal && !rule->regular
            && (worst == NULL || rule->size > worst->size)) {
            worst = rule;
        }
    }

    if (worst == NULL) {
        return 0;
    }

    return gs_fail(gs, worst->size ? -E2BIG : -EINVAL, worst->at,
                   "terminal %.*s %s", (int) (worst->name.len & 0xff),
                   worst->name.s,
                   worst->size ? "is too large"
                               : "refers to itself, or to one that does");
}


static int
count_references(gs_t *gs, uint32_t rule, const gs_node_t *n)
{
    gs_user_t *users;
    uint32_t   cap;

    if (n->kind != GS_RULE) {
        for (n = n->first; n; n = n->next) {
            LLM_TRY(count_references(gs, rule, n));
        }

        return 0;
    }

    if (gs->n_users == gs->cap_users) {
        cap = gs->cap_users ? gs->cap_users * 2 : 256;
        users = arena_get(&gs->arena, cap * sizeof(gs_user_t));

        if (users == NULL) {
            return gs_fail(gs, -E2BIG, 0, "the grammar is too large");
        }

        if (gs->n_users) {
            memcpy(users, gs->users, gs->n_users * sizeof(gs_user_t));
        }

        gs->users = users;
        gs->cap_users = cap;
    }

    gs->users[gs->n_users] = (gs_user_t){rule, gs->rules[n->rule].users};
    gs->rules[n->rule].users = ++gs->n_users;
    gs->rules[rule].pending++;
    gs->rules[rule].self += n->rule == rule;

    return 0;
}


/* All that the rule refers to is regular, but itself: so it may be. */
static void
resolve(gs_t *gs, uint32_t rule)
{
    gs_rule_t *r = &gs->rules[rule];
    linear_t   l;
    int        side;

    r->size = measure(gs, r->body);

    if (r->self == 0) {
        r->regular =
            r->size > 0 && r->size <= (r->terminal ? MAX_TERMINAL : MAX_INLINE);
        r->re = r->regular ? regular(gs, r->body) : RE_NONE;
        return;
    }

    if (r->terminal) {
        r->size = 0;
        return;
    }

    for (side = RIGHT; side <= LEFT; side++) {
        if (linear(gs, r->body, rule, side, &l) && l.size <= MAX_INLINE) {
            l.loop = re_repeat(gs->set, l.loop, 0, RE_INF);
            r->re = side == RIGHT ? re_concat(gs->set, l.loop, l.exit)
                                  : re_concat(gs->set, l.exit, l.loop);
            r->size = l.size;
            r->regular = 1;
            return;
        }
    }
}


/* 1, or 0: n refers to the rule anywhere else than at that end. */
static int
linear(gs_t *gs, const gs_node_t *n, uint32_t self, int side, linear_t *l)
{
    const gs_node_t *c;
    linear_t         one;

    if (n->size) {
        *l = (linear_t){RE_NONE, regular(gs, n), n->size};
        return 1;
    }

    switch (n->kind) {
    case GS_RULE:
        *l = (linear_t){RE_EMPTY, RE_NONE, 1};
        return n->rule == self;

    case GS_SEQ:
        return linear_seq(gs, n, self, side, l);

    case GS_ALT:
        *l = (linear_t){RE_NONE, RE_NONE, 0};

        for (c = n->first; c; c = c->next) {
            if (!linear(gs, c, self, side, &one)
                || l->size + one.size > MAX_INLINE) {
                return 0;
            }

            l->loop = re_or(gs->set, l->loop, one.loop);
            l->exit = re_or(gs->set, l->exit, one.exit);
            l->size += one.size;
        }

        return 1;

    case GS_REPEAT:
        if (n->min > 0 || n->max != 1 || !linear(gs, n->first, self, side, l)) {
            return 0;
        }

        l->exit = re_or(gs->set, l->exit, RE_EMPTY);
        l->size++;
        return 1;

    default:
        return 0;
    }
}


static int
linear_seq(gs_t *gs, const gs_node_t *n, uint32_t self, int side, linear_t *l)
{
    const gs_node_t *c, *end = side == RIGHT ? n->last : n->first;
    uint32_t         size;
    re_t             rest = RE_EMPTY;

    for (c = n->first, size = 0; c; c = c->next) {
        if (c == end) {
            continue;
        }

        if (c->size == 0 || size + c->size > MAX_INLINE) {
            return 0;
        }

        rest = re_concat(gs->set, rest, regular(gs, c));
        size += c->size;
    }

    if (!linear(gs, end, self, side, l)) {
        return 0;
    }

    if (side == RIGHT) {
        l->loop = re_concat(gs->set, rest, l->loop);
        l->exit = re_concat(gs->set, rest, l->exit);

    } else {
        l->loop = re_concat(gs->set, l->loop, rest);
        l->exit = re_concat(gs->set, l->exit, rest);
    }

    l->size += size;

    return 1;
}


/* Works out sizes, from below. */
static uint32_t
measure(gs_t *gs, gs_node_t *n)
{
    gs_node_t *c;
    uint32_t   size = 1, all = 1;

    if (n->kind == GS_NODE) {
        return 0;
    }

    if (n->kind == GS_RULE) {
        n->size = gs->rules[n->rule].regular ? gs->rules[n->rule].size : 0;
        return n->size;
    }

    for (c = n->first; c; c = c->next) {
        all &= measure(gs, c) > 0;
        size += size > MAX_TERMINAL ? 0 : c->size;
    }

    n->size = all ? size : 0;

    return n->size;
}


/* The language of a node that is regular. */
static re_t
regular(gs_t *gs, const gs_node_t *n)
{
    if (gr_check_time(gs->gr) != 0) {
        return RE_NONE;
    }

    switch (n->kind) {
    case GS_RE:
        return n->re;

    case GS_RULE:
        return gs->rules[n->rule].re;

    case GS_REPEAT:
        return re_repeat(gs->set, regular(gs, n->first), n->min, n->max);

    case GS_NOT:
        return re_minus(gs->set, RE_TEXT, regular(gs, n->first));

    default:
        return regular_list(gs, n);
    }
}


static re_t
regular_list(gs_t *gs, const gs_node_t *n)
{
    const gs_node_t *c;
    size_t           k;
    re_t            *list, re;

    for (c = n->first, k = 0; c; c = c->next) {
        k++;
    }

    list = arena_get(&gs->arena, (k + 1) * sizeof(re_t));
    if (list == NULL) {
        (void) gr_fail(gs->gr, -E2BIG, "the grammar is too large");
        return RE_NONE;
    }

    for (c = n->first, k = 0; c; c = c->next) {
        list[k++] = regular(gs, c);
    }

    switch (n->kind) {
    case GS_ALT:
        return re_or_n(gs->set, list, k);

    case GS_AND:
        return re_and_n(gs->set, list, k);

    default:
        for (re = RE_EMPTY; k > 0; k--) {
            re = re_concat(gs->set, list[k - 1], re);
        }

        return re;
    }
}


/* A measured node; what is regular in it stays in one piece. */
static int
emit(gs_t *gs, gs_node_t *n, gr_node_t *node)
{
    LLM_TRY(gs_check(gs));

    if (n->size && gs->inlined + n->size <= MAX_INLINED) {
        gs->inlined += n->size;
        *node = gr_text(gs->gr, regular(gs, n));
        return 0;
    }

    switch (n->kind) {
    case GS_RE:
        *node = gr_text(gs->gr, n->re);
        return 0;

    case GS_NODE:
        *node = n->node;
        return 0;

    case GS_RULE:
        return emit_rule(gs, n->rule, node);

    case GS_REPEAT:
        LLM_TRY(emit(gs, n->first, node));
        *node = gr_repeat(gs->gr, *node, n->min, n->max);
        return 0;

    case GS_AND:
    case GS_NOT:
        *node = gr_text(gs->gr, regular(gs, n));
        return 0;

    default:
        return emit_list(gs, n, node);
    }
}


static int
emit_list(gs_t *gs, const gs_node_t *n, gr_node_t *node)
{
    gs_node_t *c;
    gr_node_t *list;
    size_t     k;

    for (c = n->first, k = 0; c; c = c->next) {
        k++;
    }

    list = arena_get(&gs->arena, (k + 1) * sizeof(gr_node_t));
    if (list == NULL) {
        return gs_fail(gs, -E2BIG, 0, "the grammar is too large");
    }

    for (c = n->first, k = 0; c; c = c->next) {
        LLM_TRY(emit(gs, c, &list[k++]));
    }

    *node =
        n->kind == GS_ALT ? gr_alt(gs->gr, list, k) : gr_seq(gs->gr, list, k);

    return 0;
}


/* A static rule of its own, whose body is due. */
static int
emit_rule(gs_t *gs, uint32_t rule, gr_node_t *node)
{
    gs_rule_t *r = &gs->rules[rule];

    if (r->out == 0) {
        r->out = gr_rule_new(gs->gr) + 1;
        gs->queue[gs->tail++] = rule;
    }

    *node = gr_rule(gs->gr, r->out - 1);

    return gs_check(gs);
}
