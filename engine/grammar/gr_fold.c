/*
 * gr_finish(): from a front end's expressions to what runs.  Memory is of the
 * call, but for the nodes that are added.
 *
 * Nodes are folded bottom-up, rules too: what is regular becomes one text,
 * also across rules, unless its derivatives would be deep; a rule that is
 * being folded when it is met again is recursive, and called.
 *
 * No recursion in C: grammars may be nested as deep as they like.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_fold.h"
#include "engine/grammar/re_priv.h"

/* How deep a derivative of a text made of several may walk. */
#define MAX_DEPTH 100

/* Children of a child that become one's own. */
#define MAX_SPLICE 32

enum { NEW = 0, OPEN, DONE };

static int       fold_from(gr_fold_t *f, gr_node_t start);
static int       fold_open(gr_fold_t *f, uint32_t node, uint32_t *n_work);
static gr_node_t fold_node(gr_fold_t *f, uint32_t node);
static gr_node_t fold_seq(gr_fold_t *f, const gr_nd_t *n);
static gr_node_t fold_alt(gr_fold_t *f, const gr_nd_t *n);
static gr_node_t fold_repeat(gr_fold_t *f, const gr_nd_t *n);
static gr_node_t fold_optional(gr_fold_t *f, gr_node_t c);
static gr_node_t fold_rule(gr_fold_t *f, const gr_nd_t *n);
static void      fold_linear(gr_fold_t *f, uint32_t node);
static int       linear_part(gr_fold_t *f, uint32_t rule, gr_node_t node,
                             re_t parts[3]);
static gr_node_t text_node(gr_t *gr, re_t re);
static void      list_push(gr_fold_t *f, gr_node_t node);
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

    /* What is worked out from now on is bounded by the parse's fuel. */
    gr->limits.max_ns = UINT64_MAX;

    return 0;
}


int
gr_fold(gr_t *gr, gr_node_t node, gr_node_t *folded)
{
    gr_fold_t f = {.gr = gr, .n = gr->n_nodes};
    int       rc;

    rc = gr_fold_begin(&f);

    if (rc == 0) {
        rc = gr_solve(&f, node);
    }

    if (rc == 0) {
        rc = fold_from(&f, node);
    }

    if (rc == 0) {
        *folded = f.to[node];
    }

    gr_fold_end(&f);

    return rc;
}


static int
fold_from(gr_fold_t *f, gr_node_t start)
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
fold_open(gr_fold_t *f, uint32_t node, uint32_t *n_work)
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

    count = gr_child_count(n);

    for (i = 0; i < count; i++) {
        c = gr_child(f, n, i);

        if (f->state[c] == NEW) {
            f->work[(*n_work)++] = c;
        }
    }

    return 0;
}


static gr_node_t
fold_node(gr_fold_t *f, uint32_t node)
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
fold_seq(gr_fold_t *f, const gr_nd_t *n)
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
fold_alt(gr_fold_t *f, const gr_nd_t *n)
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
fold_repeat(gr_fold_t *f, const gr_nd_t *n)
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
fold_optional(gr_fold_t *f, gr_node_t c)
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
fold_rule(gr_fold_t *f, const gr_nd_t *n)
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
fold_linear(gr_fold_t *f, uint32_t node)
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
linear_part(gr_fold_t *f, uint32_t rule, gr_node_t node, re_t parts[3])
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
list_push(gr_fold_t *f, gr_node_t node)
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
