/*
 * Rules as a front end reads them (GBNF, Lark), on their way to an expression
 * of a program.
 *
 * A front end reads its source through a gs_t: it makes nodes, gives rules
 * their bodies in any order, and calls gs_finish().  That names what is not
 * defined, turns every rule that is regular into one expression (re.h),
 * rules that only repeat themselves at one end among them, and the rest into
 * static rules (gr.h).  Everything is in an arena of the call; nesting is
 * bounded by the front ends (GS_MAX_DEPTH), so that nodes can be walked
 * recursively; rules are not nested, they are walked in a queue.
 *
 * Errors: -errno, and err says where: "line 3, column 7: ...".
 */

#ifndef LLM_GRAMMAR_GR_SYNTAX_H
#define LLM_GRAMMAR_GR_SYNTAX_H

#include "engine/grammar/gr.h"

#define GS_MAX_SOURCE (1u << 20)
#define GS_MAX_DEPTH  200
#define GS_MAX_RULES  20000
#define GS_MAX_COUNT  1000000
#define GS_MAX_NODE   1000 /* depth of nodes that gs_repeat() makes */

enum {
    GS_RE = 0, /* re */
    GS_NODE,   /* node: made by another front end */
    GS_RULE,   /* rule */
    GS_SEQ,    /* children */
    GS_ALT,    /* children */
    GS_REPEAT, /* first; min, max */
    GS_AND,    /* children, all of them regular */
    GS_NOT     /* first, regular: texts that are not in it */
};

typedef struct gs_node_s gs_node_t;

struct gs_node_s {
    int        kind;
    re_t       re;
    gr_node_t  node;
    uint32_t   rule, min, max;
    uint32_t   size;  /* symbols, with those of regular rules; 0: not regular */
    uint32_t   depth; /* of what is below */
    gs_node_t *first, *last, *next;
};

typedef struct {
    str_t      name;
    size_t     at;       /* where it was first seen */
    gs_node_t *body;     /* NULL: not defined */
    int        terminal; /* must be regular */
    int        regular;  /* is it; then re is it */
    re_t       re;
    uint32_t   size;
    uint32_t   pending, self; /* references to rules not known to be regular */
    uint32_t   users;         /* first of those that refer to this one */
    uint32_t   out;           /* the program's rule + 1 */
} gs_rule_t;

/* An entry of a list of users: a rule, and the next entry + 1. */
typedef struct {
    uint32_t rule, next;
} gs_user_t;

typedef struct {
    gr_t       *gr;
    re_set_t   *set;
    const char *s;
    size_t      len, at;
    uint32_t    depth;
    arena_t     arena;
    gs_rule_t  *rules;
    uint32_t    n_rules, cap_rules;
    uint32_t   *slots; /* by name: rule + 1 */
    uint32_t    n_slots;
    gs_user_t  *users;
    uint32_t    n_users, cap_users;
    uint32_t   *queue; /* of rules */
    uint32_t    head, tail;
    uint64_t    inlined;
    char       *err;
    size_t      err_size;
} gs_t;

/* text is borrowed until gs_free().  0, -E2BIG: too long. */
int  gs_open(gs_t *gs, gr_t *gr, const char *text, size_t len, char *err,
             size_t err_size);
void gs_free(gs_t *gs);

/* Writes where at is and what is wrong; returns rc. */
int gs_fail(gs_t *gs, int rc, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* 0, or what the program says of itself: out of time, a limit. */
int gs_check(gs_t *gs);

/* 0 or -E2BIG.  gs_leaf(): a node of an expression. */
int  gs_node(gs_t *gs, int kind, gs_node_t **node);
int  gs_leaf(gs_t *gs, re_t re, gs_node_t **node);
void gs_add(gs_node_t *to, gs_node_t *child);

/* The rule of that name, made if it is new.  0 or -E2BIG. */
int gs_rule(gs_t *gs, str_t name, size_t at, uint32_t *rule);

/* *node becomes min to max (RE_INF) times itself. */
int gs_repeat(gs_t *gs, gs_node_t **node, uint32_t min, uint32_t max);

/* The language of rule root as an expression of the program. */
int gs_finish(gs_t *gs, uint32_t root, gr_node_t *node);


/*
 * READING.  gs_peek(): a byte, -1 at the end.  gs_code_point(): decodes one
 * at gs->at and passes it; -EINVAL: not UTF-8.
 */
static inline int
gs_peek(const gs_t *gs, size_t ahead)
{
    return gs->len - gs->at > ahead ? (uint8_t) gs->s[gs->at + ahead] : -1;
}


int gs_looking_at(const gs_t *gs, const char *s);
int gs_code_point(gs_t *gs, uint32_t *cp);

/* A number of digits; 0, -EINVAL: there is none, -E2BIG: over GS_MAX_COUNT. */
int gs_count(gs_t *gs, uint32_t *count);

/* So many hex digits, a code point up to U+10FFFF. */
int gs_hex(gs_t *gs, int digits, uint32_t *cp);

#endif /* LLM_GRAMMAR_GR_SYNTAX_H */
