/*
 * Inside the walk of types (see jt_priv.h): jt_walk.c (branches, goals,
 * cells), jt_fork.c (disjunctions that schemas say), jt_not.c (those that
 * their negations are).
 *
 * All return 0 (or 1 and 0 where it says so), or a failure.
 */

#ifndef LLM_GRAMMAR_JT_WALK_H
#define LLM_GRAMMAR_JT_WALK_H

#include "engine/grammar/jt_priv.h"

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

#define KW(kw) (1ull << (kw))

#define OBJECT_SCOPE                                                           \
    (KW(JS_KW_PROPERTIES) | KW(JS_KW_PATTERN_PROPERTIES)                       \
     | KW(JS_KW_ADDITIONAL_PROPERTIES))
#define ARRAY_SCOPE (KW(JS_KW_PREFIX_ITEMS) | KW(JS_KW_ITEMS))

/* Says where, as far as a type has a place. */
int jt_walk_big(walk_t *w);

/* The new branch is on the stack.  b NULL: an empty one.  NULL: a failure. */
walk_branch_t *jt_walk_copy(walk_t *w, const walk_branch_t *b);

int jt_walk_add_goal(walk_t *w, walk_branch_t *b, uint32_t lit,
                     const jt_ctx_t *ctx, const walk_goal_t *up);

/* 1; 0: it contradicts what is known. */
int jt_walk_add_cell(walk_t *w, walk_branch_t *b, const jt_cell_t *cell);

/*
 * Takes the fork with the fewest ways off the branch; those that are settled
 * by what is known go.  NULL: none was left.
 */
const walk_fork_t *jt_walk_choose(walk_t *w, walk_branch_t *b);

/* Makes its branches: 0; 1: it was none, b goes on. */
int jt_walk_fork(walk_t *w, walk_branch_t *b, const walk_fork_t *f);

/* The same of a negative literal. */
int jt_walk_not(walk_t *w, walk_branch_t *b, const walk_fork_t *f);

/* One more branch, with a goal (a cell), unless it is plainly none. */
int jt_walk_way_goal(walk_t *w, const walk_branch_t *b, uint32_t lit,
                     const walk_fork_t *f);
int jt_walk_way_cell(walk_t *w, const walk_branch_t *b, const jt_cell_t *cell);
int jt_walk_way_member(walk_t *w, const walk_branch_t *b, str_t name,
                       jt_type_t type);
int jt_walk_way_count(walk_t *w, const walk_branch_t *b, uint64_t min,
                      uint64_t max);

/* Surely no array (object) is of both: *apart. */
int jt_walk_apart(walk_t *w, uint32_t a, uint32_t b, int *apart);

#endif /* LLM_GRAMMAR_JT_WALK_H */
