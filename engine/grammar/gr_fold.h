/*
 * Between gr_solve.c, which finds out what each node of an expression can be,
 * and gr_fold.c, which makes of it what runs.  All but the program belongs to
 * one call of gr_finish().
 */

#ifndef LLM_GRAMMAR_GR_FOLD_H
#define LLM_GRAMMAR_GR_FOLD_H

#include "engine/grammar/gr_priv.h"

typedef struct gr_fold_s gr_fold_t;

struct gr_fold_s {
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

/* 0, -ENOMEM or -E2BIG; gr_fold_end() in any case. */
int  gr_fold_begin(gr_fold_t *f);
void gr_fold_end(gr_fold_t *f);

/* Works out some[] and null[].  -ENOENT: start has no string. */
int gr_solve(gr_fold_t *f, gr_node_t start);

/* Children that are nodes: a rule's body is not one of its use's. */
uint32_t gr_child_count(const gr_nd_t *n);
uint32_t gr_child(const gr_fold_t *f, const gr_nd_t *n, uint32_t i);

#endif /* LLM_GRAMMAR_GR_FOLD_H */
