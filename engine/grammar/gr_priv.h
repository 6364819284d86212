/*
 * Inside of grammar programs (gr.h): what gr.c, gr_state.c, gr_node.c,
 * gr_fold.c, gr_rule.c and the parser share.  Whoever holds the program's lock is the
 * only thread here; all memory is the program's.
 *
 * NODES are expressions as the front end made them; children have smaller
 * numbers than their parents, rules apart.  gr_finish() appends folded ones,
 * in which regular parts are single texts, and only those are run.
 *
 * Machine 0 runs them.  A key of it is the number of a CELL, a list of what
 * is still to come (partial derivatives in the sense of Antimirov, TCS 155,
 * 1996): a node, how far it has come, and the rest of the list.  Cell 0 is
 * the empty list.
 */

#ifndef LLM_GRAMMAR_GR_PRIV_H
#define LLM_GRAMMAR_GR_PRIV_H

#include "engine/grammar/gr.h"

/* How many expressions a search for a string may visit. */
#define GR_MAX_SEARCH 20000

/* Edges of our own, beside GR_LEXEME and GR_CALL. */
enum {
    GR_CAPTURE = 2, /* `to` is the argument */
    GR_EPSILON,     /* goes on at `to` at once */
    GR_CALL_SOME    /* a call that need not be tried with the empty string */
};

typedef struct {
    uint32_t kind;
    uint32_t what; /* lexeme, or state that is called */
    uint32_t to;
} gr_edge_t;

enum { GR_NULL_UNKNOWN = 0, GR_NULL_NO, GR_NULL_YES, GR_NULL_OPEN };

typedef struct {
    const uint8_t *key;
    gr_edge_t     *edges;
    uint32_t       n_edges;
    uint32_t       len;
    uint32_t       machine;
    uint32_t       hash;
    uint8_t        expanded;
    uint8_t        accepts;
    uint8_t        null; /* GR_NULL_* */
} gr_st_t;

typedef struct {
    re_t     re;
    unsigned marks;
    uint8_t  nullable;
    uint8_t  some; /* a string other than the empty one is in it */
} gr_lex_t;

typedef struct {
    const gr_machine_t *ops;
    void               *data;
} gr_mach_t;

/* Open addressing; value 0: free. */
typedef struct {
    uint32_t hash, value;
} gr_slot_t;

typedef struct {
    gr_slot_t *slots;
    uint32_t   cap, used;
} gr_table_t;

enum {
    GR_N_NONE = 0,
    GR_N_EMPTY,
    GR_N_TEXT,   /* a: re_t; b: lexeme, once it has a number; marks */
    GR_N_SEQ,    /* list a, n */
    GR_N_ALT,    /* list a, n */
    GR_N_REPEAT, /* a, min to max times; flag: a is nullable */
    GR_N_RULE,   /* a */
    GR_N_MACHINE /* a: state */
};

typedef struct {
    uint8_t  kind;
    uint8_t  flag;
    uint16_t marks;
    uint32_t a, b, n;
    uint32_t min, max;
} gr_nd_t;

typedef struct {
    gr_node_t node;   /* as it was set; GR_NO_NODE before */
    gr_node_t folded; /* what runs */
} gr_ru_t;

#define GR_NO_NODE UINT32_MAX

typedef struct {
    uint32_t node, rest;
    uint32_t min, max; /* of a repetition; min: which child of a sequence */
    uint32_t seen;     /* by which expansion */
} gr_cell_t;

struct gr_s {
    gr_limits_t limits;
    int         rc;
    int         finished;
    int         quoting; /* gr_quoting() */
    char        msg[512];
    uint64_t    began;
    size_t      bytes; /* of arrays */

    re_set_t *re;
    re_dfa_t *dfa;
    arena_t   arena;

    gr_mach_t *machines;
    uint32_t   n_machines, cap_machines;

    gr_st_t  **states; /* 0 is none */
    uint32_t   n_states, cap_states;
    gr_table_t by_key;

    gr_lex_t  *lexemes; /* 0 is none */
    uint32_t   n_lexemes, cap_lexemes;
    gr_table_t by_re;
    unsigned   marks; /* of any lexeme */

    gr_nd_t  *nodes;
    uint32_t  n_nodes, cap_nodes;
    uint32_t *lists; /* children */
    uint32_t  n_lists, cap_lists;
    gr_ru_t  *rules;
    uint32_t  n_rules, cap_rules;

    gr_cell_t *cells;
    uint32_t   n_cells, cap_cells;
    gr_table_t by_cell;
    uint32_t   expansion;
    uint32_t  *work; /* scratch of one expansion */
    uint32_t   n_work, cap_work;

    gr_edge_t *edges; /* scratch */
    uint32_t   n_edges, cap_edges;
    uint32_t  *nulls; /* scratch of gr_nullable() */
    uint32_t   n_nulls, cap_nulls;

    gr_state_t start;
};

struct gr_edges_s {
    gr_t    *gr;
    uint32_t state;
    int      accepts;
    int      rc;
};

/* Room for need elements of size in *p; 0, -ENOMEM or -E2BIG (sticky). */
int gr_grow(gr_t *gr, void *p, uint32_t *cap, uint64_t need, size_t size);

/* A limit of one parse, not of the program: rc, and why for gr_failed(). */
int gr_note(gr_t *gr, int rc, const char *msg);

/* Memory of the arena, within max_bytes; NULL after gr_fail(). */
void *gr_get(gr_t *gr, size_t size);

/* Room for one more. */
int  gr_table_room(gr_t *gr, gr_table_t *table);
void gr_table_put(gr_table_t *table, uint32_t hash, uint32_t value);

uint32_t gr_hash(const void *data, size_t size);

/* Edges of a state are there afterwards.  0 or -errno, nothing kept. */
int gr_expand(gr_t *gr, gr_state_t state);

/* 1: the empty string leads from state to an accepting one; 0; -errno. */
int gr_nullable(gr_t *gr, gr_state_t state);

/* The edge alone: nothing of what gr_edge_lexeme() does beside. */
void gr_edge_add(gr_edges_t *out, uint32_t kind, uint32_t what, uint32_t to);

/* Where a capturing edge leads to. */
int gr_capture(gr_t *gr, gr_state_t state, uint32_t arg, const uint8_t *text,
               size_t n, gr_state_t *to);

/* gr_node.c */
gr_node_t gr_node_add(gr_t *gr, const gr_nd_t *node);
uint32_t  gr_list_add(gr_t *gr, const uint32_t *list, uint32_t n);

/* gr_fold.c, gr_solve.c: the node that runs in place of node; -ENOENT: none can. */
int gr_fold(gr_t *gr, gr_node_t node, gr_node_t *folded);

/* gr_rule.c: machine 0, and its state for a folded node. */
extern const gr_machine_t gr_rule_machine;

gr_state_t gr_rule_state(gr_t *gr, gr_node_t folded);

#endif /* LLM_GRAMMAR_GR_PRIV_H */
