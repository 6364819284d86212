/*
 * gr_finish(): from a front end's expressions to what runs.
 *
 * Which nodes have a string at all, and which have the empty one, are least
 * solutions, found by a worklist that goes from children to parents.  Then
 * nodes are folded bottom-up, rules too: what is regular becomes one text,
 * also across rules, unless its derivatives would be deep; a rule that is
 * being folded when it is met again is recursive, and called.
 *
 * No recursion in C: grammars may be nested as deep as they like.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_priv.h"
#include "engine/grammar/re_priv.h"

/* How deep a derivative of a text made of several may walk. */
#define MAX_DEPTH 100

/* Children of a child that become one's own. */
#define MAX_SPLICE 32

typedef struct fold_s fold_t;

struct fold_s {
    gr_t      *gr;
    uint32_t   n;     /* nodes before folding */
    uint32_t  *first; /* per node: its parents, in parents[] */
    uint32_t  *parents;
    uint32_t  *body_of; /* per node: 1 + a rule it is the body of, a chain */
    uint32_t  *next_rule;
    uint32_t  *uses; /* per rule: first of its nodes, a chain by node */
    uint32_t  *next_use;
    uint8_t   *some; /* per node: has a string */
    uint8_t   *null; /* per node: has the empty one */
    uint32_t  *work;
    gr_node_t *to; /* per node: what it was folded to */
    uint8_t   *state;
    uint32_t  *list; /* scratch: children of one node */
    uint32_t   n_list, cap_list;
};

enum { NEW = 0, OPEN, DONE };

static int       fold_begin(fold_t *f);
static void      fold_end(fold_t *f);
static void      link_nodes(fold_t *f);
static uint32_t  child_count(const gr_nd_t *n);
static uint32_t  child(const fold_t *f, const gr_nd_t *n, uint32_t i);
static int       solve(fold_t *f, uint8_t *set,
                       int (*holds)(const fold_t *f, uint32_t node));
static int       leaf_some(fold_t *f);
static int       leaf_null(fold_t *f);
static int       is_some(const fold_t *f, uint32_t node);
static int       is_null(const fold_t *f, uint32_t node);
static int       fold_from(fold_t *f, gr_node_t start);
static int       fold_open(fold_t *f, uint32_t node, uint32_t *n_work);
static gr_node_t fold_node(fold_t *f, uint32_t node);
static gr_node_t fold_seq(fold_t *f, const gr_nd_t *n);
static gr_node_t fold_alt(fold_t *f, const gr_nd_t *n);
static gr_node_t fold_repeat(fold_t *f, const gr_nd_t *n);
static gr_node_t fold_optional(fold_t *f, gr_node_t c);
static gr_node_t fold_rule(fold_t *f, const gr_nd_t *n);
static void      fold_linear(fold_t *f, uint32_t node);
static int linear_part(fold_t *f, uint32_t rule, gr_node_t node, re_t parts[3]);
static gr_node_t text_node(gr_t *gr, re_t re);
static void      list_push(fold_t *f, gr_node_t node);
static int       is_text(const gr_t *gr, gr_node_t node, re_t *re);
static int       is_flat(const gr_t *gr, re_t re);


int
gr_finish(gr_t *gr, gr_node_t node)
{
    gr_node_t folded;
    uint32_t  i;

    LLM_TRY(gr_failed(gr, NULL));

    for (i = 0; i < gr->n_rules; i++) {
        if (gr->rules[i].node == GR_NO_NODE) {
            return gr_fail(gr, -EINVAL, "a rule of the grammar is not set");
        }
    }

    LLM_TRY(gr_fold(gr, node, &folded));
    gr->start = gr_rule_state(gr, folded);
    LLM_TRY(gr_failed(gr, NULL));
    gr->finished = 1;

    return 0;
}


int
gr_fold(gr_t *gr, gr_node_t node, gr_node_t *folded)
{
    fold_t f = {.gr = gr, .n = gr->n_nodes};
    int    rc;

    rc = fold_begin(&f);

    if (rc == 0) {
        link_nodes(&f);
        rc = leaf_some(&f);
    }

    if (rc == 0) {
        rc = solve(&f, f.some, is_some);
    }

    if (rc == 0 && !f.some[node]) {
        rc = gr_fail(gr, -ENOENT, "nothing can satisfy the grammar");
    }

    if (rc == 0) {
        rc = leaf_null(&f);
    }

    if (rc == 0) {
        rc = solve(&f, f.null, is_null);
    }

    if (rc == 0) {
        rc = fold_from(&f, node);
    }

    if (rc == 0) {
        *folded = f.to[node];
    }

    fold_end(&f);

    return rc;
}


static int
fold_begin(fold_t *f)
{
    gr_t    *gr = f->gr;
    uint64_t edges = 0;
    uint32_t i;

    for (i = 0; i < f->n; i++) {
        edges += child_count(&gr->nodes[i]);
    }

    if (edges > UINT32_MAX / 2) {
        return gr_fail(gr, -E2BIG, "the grammar takes too much memory");
    }

    f->first = calloc((size_t) f->n + 2, sizeof(uint32_t));
    f->parents = calloc(edges + 1, sizeof(uint32_t));
    f->body_of = calloc((size_t) f->n + 1, sizeof(uint32_t));
    f->next_rule = calloc((size_t) gr->n_rules + 1, sizeof(uint32_t));
    f->uses = calloc((size_t) gr->n_rules + 1, sizeof(uint32_t));
    f->next_use = calloc((size_t) f->n + 1, sizeof(uint32_t));
    f->some = calloc((size_t) f->n + 1, 1);
    f->null = calloc((size_t) f->n + 1, 1);
    f->state = calloc((size_t) f->n + 1, 1);
    f->to = calloc((size_t) f->n + 1, sizeof(gr_node_t));

    /* Of solve(): a node at most once; of fold_from(): once for each use. */

    f->work = calloc((size_t) f->n + edges + gr->n_rules + 2, sizeof(uint32_t));

    if (f->first == NULL || f->parents == NULL || f->body_of == NULL
        || f->next_rule == NULL || f->uses == NULL || f->next_use == NULL
        || f->some == NULL || f->null == NULL || f->state == NULL
        || f->to == NULL || f->work == NULL) {
        return gr_fail(gr, -ENOMEM, "no memory for the grammar");
    }

    return 0;
}


static void
fold_end(fold_t *f)
{
    free(f->first);
    free(f->parents);
    free(f->body_of);
    free(f->next_rule);
    free(f->uses);
    free(f->next_use);
    free(f->some);
    free(f->null);
    free(f->state);
    free(f->to);
    free(f->work);
    free(f->list);
}


/* Children that are nodes: a rule's body is not one of its use's. */
static uint32_t
child_count(const gr_nd_t *n)
{
    if (n->kind == GR_N_SEQ || n->kind == GR_N_ALT) {
        return n->n;
    }

    return n->kind == GR_N_REPEAT;
}


static uint32_t
child(const fold_t *f, const gr_nd_t *n, uint32_t i)
{
    return n->kind == GR_N_REPEAT ? n->a : f->gr->lists[n->a + i];
}


static void
link_nodes(fold_t *f)
{
    gr_t    *gr = f->gr;
    gr_nd_t *n;
    uint32_t i, k, sum, count;

    for (i = 0; i < f->n; i++) {
        n = &gr->nodes[i];

        for (k = 0; k < child_count(n); k++) {
            f->first[child(f, n, k) + 1]++;
        }

        if (n->kind == GR_N_RULE) {
            f->next_use[i] = f->uses[n->a];
            f->uses[n->a] = i;
        }
    }

    for (i = 0, sum = 0; i <= f->n; i++) {
        count = f->first[i];
        sum += count;
        f->first[i] = sum;
    }

    f->first[f->n + 1] = sum;

    /* Filled from the end of each node's part, then back in place. */

    for (i = f->n; i-- > 0;) {
        n = &gr->nodes[i];

        for (k = 0; k < child_count(n); k++) {
            f->parents[--f->first[child(f, n, k) + 1]] = i;
        }
    }

    for (i = 0; i < gr->n_rules; i++) {
        f->next_rule[i] = f->body_of[gr->rules[i].node];
        f->body_of[gr->rules[i].node] = i + 1;
    }
}


/* The least set of which `holds` is true, beginning with what is in it. */
static int
solve(fold_t *f, uint8_t *set, int (*holds)(const fold_t *f, uint32_t node))
{
    uint32_t i, k, n, node, rule, end;

    for (i = 0, n = 0; i < f->n; i++) {
        if (!set[i]) {
            set[i] = (uint8_t) holds(f, i);
        }

        if (set[i]) {
            f->work[n++] = i;
        }
    }

    while (n) {
        node = f->work[--n];
        end = f->first[node + 2];

        for (i = f->first[node + 1]; i < end; i++) {
            k = f->parents[i];

            if (!set[k] && holds(f, k)) {
                set[k] = 1;
                f->work[n++] = k;
            }
        }

        for (rule = f->body_of[node]; rule; rule = f->next_rule[rule - 1]) {
            for (k = f->uses[rule - 1]; k; k = f->next_use[k]) {
                if (!set[k]) {
                    set[k] = 1;
                    f->work[n++] = k;
                }
            }
        }
    }

    return gr_check_time(f->gr);
}


static int
leaf_some(fold_t *f)
{
    gr_t    *gr = f->gr;
    uint32_t i;
    int      none;

    for (i = 0; i < f->n; i++) {
        if (gr->nodes[i].kind != GR_N_TEXT) {
            continue;
        }

        none = re_is_none(gr->re, gr->nodes[i].a, GR_MAX_SEARCH);
        LLM_TRY(re_failed(gr->re, NULL));

        if (none == RE_UNKNOWN) {
            return gr_fail(gr, -E2BIG,
                           "whether a part of the grammar has any text was "
                           "not found out");
        }

        f->some[i] = none == RE_NO;
    }

    return gr_check_time(gr);
}


static int
leaf_null(fold_t *f)
{
    gr_t    *gr = f->gr;
    uint32_t i;
    int      rc;

    for (i = 0; i < f->n; i++) {
        if (gr->nodes[i].kind == GR_N_TEXT) {
            f->null[i] = (uint8_t) re_nullable(gr->re, gr->nodes[i].a);
        }

        if (gr->nodes[i].kind == GR_N_MACHINE) {
            rc = gr_nullable(gr, gr->nodes[i].a);
            LLM_TRY(rc);
            f->null[i] = (uint8_t) rc;
        }
    }

    return 0;
}


static int
is_some(const fold_t *f, uint32_t node)
{
    const gr_nd_t *n = &f->gr->nodes[node];
    uint32_t       i;

    switch (n->kind) {

    case GR_N_EMPTY:
    case GR_N_MACHINE:
        return 1;

    case GR_N_SEQ:

        for (i = 0; i < n->n; i++) {
            if (!f->some[child(f, n, i)]) {
                return 0;
            }
        }

        return 1;

    case GR_N_ALT:

        for (i = 0; i < n->n; i++) {
            if (f->some[child(f, n, i)]) {
                return 1;
            }
        }

        return 0;

    case GR_N_REPEAT:
        return n->min == 0 || f->some[n->a];

    case GR_N_RULE:
        return f->some[f->gr->rules[n->a].node];

    default:
        return 0;
    }
}


static int
is_null(const fold_t *f, uint32_t node)
{
    const gr_nd_t *n = &f->gr->nodes[node];
    uint32_t       i;

    switch (n->kind) {

    case GR_N_EMPTY:
        return 1;

    case GR_N_SEQ:

        for (i = 0; i < n->n; i++) {
            if (!f->null[child(f, n, i)]) {
                return 0;
            }
        }

        return 1;

    case GR_N_ALT:

        for (i = 0; i < n->n; i++) {
            if (f->null[child(f, n, i)]) {
                return 1;
            }
        }

        return 0;

    case GR_N_REPEAT:
        return n->min == 0 || f->null[n->a];

    case GR_N_RULE:
        return f->null[f->gr->rules[n->a].node];

    default:
        return 0;
    }
}


static int
fold_from(fold_t *f, gr_node_t start)
{
    gr_t    *gr = f->gr;
    uint32_t n, node;

    /* A use that is met again within itself is a call. */

    for (node = 0; node < f->n; node++) {
        f->to[node] = node;
    }

    n = 0;
    f->work[n++] = start;

    while (n) {
        node = f->work[n - 1];

        if (f->state[node] == NEW) {
            f->state[node] = OPEN;
            LLM_TRY(fold_open(f, node, &n));
            continue;
        }

        n--;

        if (f->state[node] == OPEN) {
            f->to[node] = fold_node(f, node);
            fold_linear(f, node);
            f->state[node] = DONE;
            LLM_TRY(gr_failed(gr, NULL));
            LLM_TRY(gr_check_time(gr));
        }
    }

    /* Uses were folded before the bodies of recursive rules. */

    for (n = 0; n < gr->n_rules; n++) {
        node = gr->rules[n].node;

        if (f->state[node] == DONE) {
            gr->rules[n].folded = f->to[node];
        }
    }

    return 0;
}


static int
fold_open(fold_t *f, uint32_t node, uint32_t *n_work)
{
    const gr_nd_t *n = &f->gr->nodes[node];
    uint32_t       i, c, count;

    if (!f->some[node]) {
        return 0;
    }

    if (n->kind == GR_N_RULE) {
        c = f->gr->rules[n->a].node;

        if (f->state[c] == NEW) {
            f->work[(*n_work)++] = c;
        }

        return 0;
    }

    count = child_count(n);

    for (i = 0; i < count; i++) {
        c = child(f, n, i);

        if (f->state[c] == NEW) {
            f->work[(*n_work)++] = c;
        }
    }

    return 0;
}


static gr_node_t
fold_node(fold_t *f, uint32_t node)
{
    gr_nd_t n = f->gr->nodes[node];

    if (!f->some[node]) {
        return GR_NONE;
    }

    switch (n.kind) {

    case GR_N_SEQ:
        return fold_seq(f, &n);

    case GR_N_ALT:
        return fold_alt(f, &n);

    case GR_N_REPEAT:
        return fold_repeat(f, &n);

    case GR_N_RULE:
        return fold_rule(f, &n);

    default:
        return node;
    }
}


/* Neighbours that are texts, from the right, as concatenations grow there. */
static gr_node_t
fold_seq(fold_t *f, const gr_nd_t *n)
{
    gr_t     *gr = f->gr;
    gr_nd_t   out = {.kind = GR_N_SEQ};
    gr_node_t c;
    uint32_t  i, k, lo, hi;
    re_t      a, b, r;

    f->n_list = 0;

    for (i = 0; i < n->n; i++) {
        c = f->to[gr->lists[n->a + i]];

        if (gr->nodes[c].kind == GR_N_SEQ && gr->nodes[c].n <= MAX_SPLICE) {
            for (k = 0; k < gr->nodes[c].n; k++) {
                list_push(f, gr->lists[gr->nodes[c].a + k]);
            }

        } else if (c != GR_EMPTY) {
            list_push(f, c);
        }
    }

    /* The list is packed to its end. */

    hi = f->n_list;
    lo = hi;

    for (i = hi; i-- > 0 && gr_failed(gr, NULL) == 0;) {
        c = f->list[i];

        if (lo < hi && is_text(gr, c, &a) && is_text(gr, f->list[lo], &b)) {
            r = re_concat(gr->re, a, b);

            if (is_flat(gr, r)) {
                f->list[lo] = text_node(gr, r);
                continue;
            }
        }

        f->list[--lo] = c;
    }

    if (gr_failed(gr, NULL) < 0) {
        return GR_NONE;
    }

    if (lo == hi) {
        return GR_EMPTY;
    }

    if (lo + 1 == hi) {
        return f->list[lo];
    }

    out.n = hi - lo;
    out.a = gr_list_add(gr, f->list + lo, out.n);

    return gr->rc ? GR_NONE : gr_node_add(gr, &out);
}


static gr_node_t
fold_alt(fold_t *f, const gr_nd_t *n)
{
    gr_t     *gr = f->gr;
    gr_nd_t   out = {.kind = GR_N_ALT};
    gr_node_t c;
    uint32_t  i, k, texts;
    re_t     *list, r;

    f->n_list = 0;

    for (i = 0; i < n->n; i++) {
        c = f->to[gr->lists[n->a + i]];

        if (gr->nodes[c].kind == GR_N_ALT && gr->nodes[c].n <= MAX_SPLICE) {
            for (k = 0; k < gr->nodes[c].n; k++) {
                list_push(f, gr->lists[gr->nodes[c].a + k]);
            }

        } else if (c != GR_NONE) {
            list_push(f, c);
        }
    }

    list = calloc((size_t) f->n_list + 1, sizeof(re_t));
    if (list == NULL) {
        gr_fail(gr, -ENOMEM, "no memory for the grammar");
        return GR_NONE;
    }

    for (i = 0, k = 0, texts = 0; i < f->n_list; i++) {
        if (is_text(gr, f->list[i], &r)) {
            list[texts++] = r;

        } else {
            f->list[k++] = f->list[i];
        }
    }

    f->n_list = k;
    r = texts ? re_or_n(gr->re, list, texts) : RE_NONE;

    if (texts && is_flat(gr, r)) {
        list_push(f, text_node(gr, r));

    } else {
        for (i = 0; i < texts; i++) {
            list_push(f, text_node(gr, list[i]));
        }
    }

    free(list);

    if (gr_failed(gr, NULL) < 0) {
        return GR_NONE;
    }

    if (f->n_list == 1) {
        return f->list[0];
    }

    out.n = f->n_list;
    out.a = gr_list_add(gr, f->list, out.n);

    return gr->rc ? GR_NONE : gr_node_add(gr, &out);
}


static gr_node_t
fold_repeat(fold_t *f, const gr_nd_t *n)
{
    gr_t     *gr = f->gr;
    gr_node_t c = f->to[n->a];
    gr_nd_t   out = *n;
    re_t      re;

    if (c == GR_NONE || c == GR_EMPTY) {
        return GR_EMPTY;
    }

    if (is_text(gr, c, &re)) {
        re = re_repeat(gr->re, re, n->min, n->max);

        if (is_flat(gr, re)) {
            return text_node(gr, re);
        }
    }

    /* What may be there or not is an alternative, of one level if it can. */

    if (n->min == 0 && n->max == 1) {
        return fold_optional(f, c);
    }

    out.a = c;
    out.flag = f->null[n->a];

    if (out.flag) {
        out.min = 0;
    }

    return gr_node_add(gr, &out);
}


static gr_node_t
fold_optional(fold_t *f, gr_node_t c)
{
    gr_t    *gr = f->gr;
    gr_nd_t  n = gr->nodes[c];
    gr_nd_t  out = {.kind = GR_N_ALT};
    uint32_t i;

    f->n_list = 0;
    list_push(f, GR_EMPTY);

    if (n.kind == GR_N_ALT && n.n <= MAX_SPLICE) {
        for (i = 0; i < n.n; i++) {
            list_push(f, gr->lists[n.a + i]);
        }

    } else {
        list_push(f, c);
    }

    if (gr_failed(gr, NULL) < 0) {
        return GR_NONE;
    }

    out.n = f->n_list;
    out.a = gr_list_add(gr, f->list, out.n);

    return gr->rc ? GR_NONE : gr_node_add(gr, &out);
}


static gr_node_t
fold_rule(fold_t *f, const gr_nd_t *n)
{
    gr_t     *gr = f->gr;
    uint32_t  body = gr->rules[n->a].node;
    gr_node_t c;
    re_t      re;

    if (f->state[body] == DONE) {
        c = f->to[body];

        /* Marked ones, references and machines stand for themselves too. */

        if (is_text(gr, c, &re) || gr->nodes[c].kind == GR_N_TEXT
            || gr->nodes[c].kind == GR_N_RULE
            || gr->nodes[c].kind == GR_N_MACHINE) {
            return c;
        }
    }

    return gr_node_add(gr, n);
}


/*
 * The body of a rule that refers to itself, at one end of an alternative
 * only: x ::= a x | x b | c is a* c b*.
 */
static void
fold_linear(fold_t *f, uint32_t node)
{
    gr_t    *gr = f->gr;
    gr_nd_t  body = gr->nodes[f->to[node]];
    re_t     parts[3] = {RE_NONE, RE_NONE, RE_NONE}, re;
    uint32_t i;

    if (f->body_of[node] == 0 || body.kind != GR_N_ALT) {
        return;
    }

    for (i = 0; i < body.n; i++) {
        if (!linear_part(f, f->body_of[node] - 1, gr->lists[body.a + i],
                         parts)) {
            return;
        }
    }

    re = re_concat(gr->re, re_repeat(gr->re, parts[0], 0, RE_INF),
                   re_concat(gr->re, parts[2],
                             re_repeat(gr->re, parts[1], 0, RE_INF)));

    if (re != RE_NONE && is_flat(gr, re)) {
        f->to[node] = text_node(gr, re);
    }
}


/* One alternative: parts are a, b and c. */
static int
linear_part(fold_t *f, uint32_t rule, gr_node_t node, re_t parts[3])
{
    gr_t     *gr = f->gr;
    gr_nd_t   n = gr->nodes[node];
    gr_node_t first, last;
    re_t      re;

    if (is_text(gr, node, &re)) {
        parts[2] = re_or(gr->re, parts[2], re);
        return 1;
    }

    if (n.kind != GR_N_SEQ || n.n != 2) {
        return 0;
    }

    first = gr->lists[n.a];
    last = gr->lists[n.a + 1];

    if (is_text(gr, first, &re) && gr->nodes[last].kind == GR_N_RULE
        && gr->nodes[last].a == rule) {
        parts[0] = re_or(gr->re, parts[0], re);
        return 1;
    }

    if (is_text(gr, last, &re) && gr->nodes[first].kind == GR_N_RULE
        && gr->nodes[first].a == rule) {
        parts[1] = re_or(gr->re, parts[1], re);
        return 1;
    }

    return 0;
}


static gr_node_t
text_node(gr_t *gr, re_t re)
{
    if (re == RE_EMPTY) {
        return GR_EMPTY;
    }

    return gr_node_add(gr, &(gr_nd_t){.kind = GR_N_TEXT, .a = re});
}


static void
list_push(fold_t *f, gr_node_t node)
{
    uint32_t cap = f->cap_list;
    void    *p;

    if (f->n_list == cap) {
        cap = cap ? cap * 2 : 64;
        p = realloc(f->list, cap * sizeof(uint32_t));

        if (p == NULL) {
            gr_fail(f->gr, -ENOMEM, "no memory for the grammar");
            return;
        }

        f->list = p;
        f->cap_list = cap;
    }

    f->list[f->n_list++] = node;
}


static int
is_text(const gr_t *gr, gr_node_t node, re_t *re)
{
    const gr_nd_t *n = &gr->nodes[node];

    *re = n->kind == GR_N_EMPTY ? RE_EMPTY : n->a;

    return n->kind == GR_N_EMPTY || (n->kind == GR_N_TEXT && n->marks == 0);
}


static int
is_flat(const gr_t *gr, re_t re)
{
    return gr->re->nodes[re].depth <= MAX_DEPTH;
}
