/*
 * What the nodes of an expression can be: whether any string, whether the
 * empty one.  Both are least solutions, found by a worklist that goes from
 * children to parents and from bodies to the uses of their rules.  Runs in
 * gr_finish(); memory is of that call.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/gr_fold.h"

static void link_nodes(gr_fold_t *f);
static int  solve(gr_fold_t *f, uint8_t *set,
                  int (*holds)(const gr_fold_t *f, uint32_t node));
static int  leaf_some(gr_fold_t *f);
static int  leaf_null(gr_fold_t *f);
static int  is_some(const gr_fold_t *f, uint32_t node);
static int  is_null(const gr_fold_t *f, uint32_t node);


int
gr_fold_begin(gr_fold_t *f)
{
    gr_t    *gr = f->gr;
    uint64_t edges = 0;
    uint32_t i;

    for (i = 0; i < f->n; i++) {
        edges += gr_child_count(&gr->nodes[i]);
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


void
gr_fold_end(gr_fold_t *f)
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


int
gr_solve(gr_fold_t *f, gr_node_t start)
{
    link_nodes(f);
    LLM_TRY(leaf_some(f));
    LLM_TRY(solve(f, f->some, is_some));

    if (!f->some[start]) {
        return gr_fail(f->gr, -ENOENT, "nothing can satisfy the grammar");
    }

    LLM_TRY(leaf_null(f));

    return solve(f, f->null, is_null);
}


uint32_t
gr_child_count(const gr_nd_t *n)
{
    if (n->kind == GR_N_SEQ || n->kind == GR_N_ALT) {
        return n->n;
    }

    return n->kind == GR_N_REPEAT;
}


uint32_t
gr_child(const gr_fold_t *f, const gr_nd_t *n, uint32_t i)
{
    return n->kind == GR_N_REPEAT ? n->a : f->gr->lists[n->a + i];
}


static void
link_nodes(gr_fold_t *f)
{
    gr_t    *gr = f->gr;
    gr_nd_t *n;
    uint32_t i, k, sum, count;

    for (i = 0; i < f->n; i++) {
        n = &gr->nodes[i];

        for (k = 0; k < gr_child_count(n); k++) {
            f->first[gr_child(f, n, k) + 1]++;
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

        for (k = 0; k < gr_child_count(n); k++) {
            f->parents[--f->first[gr_child(f, n, k) + 1]] = i;
        }
    }

    for (i = 0; i < gr->n_rules; i++) {
        f->next_rule[i] = f->body_of[gr->rules[i].node];
        f->body_of[gr->rules[i].node] = i + 1;
    }
}


/* The least set of which `holds` is true, beginning with what is in it. */
static int
solve(gr_fold_t *f, uint8_t *set,
      int (*holds)(const gr_fold_t *f, uint32_t node))
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
leaf_some(gr_fold_t *f)
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
leaf_null(gr_fold_t *f)
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
is_some(const gr_fold_t *f, uint32_t node)
{
    const gr_nd_t *n = &f->gr->nodes[node];
    uint32_t       i;

    switch (n->kind) {

    case GR_N_EMPTY:
    case GR_N_MACHINE:
        return 1;

    case GR_N_SEQ:

        for (i = 0; i < n->n; i++) {
            if (!f->some[gr_child(f, n, i)]) {
                return 0;
            }
        }

        return 1;

    case GR_N_ALT:

        for (i = 0; i < n->n; i++) {
            if (f->some[gr_child(f, n, i)]) {
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
is_null(const gr_fold_t *f, uint32_t node)
{
    const gr_nd_t *n = &f->gr->nodes[node];
    uint32_t       i;

    switch (n->kind) {

    case GR_N_EMPTY:
        return 1;

    case GR_N_SEQ:

        for (i = 0; i < n->n; i++) {
            if (!f->null[gr_child(f, n, i)]) {
                return 0;
            }
        }

        return 1;

    case GR_N_ALT:

        for (i = 0; i < n->n; i++) {
            if (f->null[gr_child(f, n, i)]) {
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
