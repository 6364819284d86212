/*
 * ECMA-262 patterns as a tree: between the parser (re_ecma_parse.c), which
 * knows the syntax, and the compiler (re_ecma.c), which knows languages.
 *
 * Nodes are in an arena of the call that parses, children in order with
 * links both ways.  A node is PLAIN if no assertion is inside: its language
 * does not depend on what is around it.
 */

#ifndef LLM_GRAMMAR_RE_ECMA_H
#define LLM_GRAMMAR_RE_ECMA_H

#include "engine/grammar/re.h"

enum {
    ECMA_EMPTY = 0,
    ECMA_CHAR,   /* min: the code point */
    ECMA_CLASS,  /* ranges[n_ranges] */
    ECMA_SEQ,    /* children */
    ECMA_ALT,    /* children */
    ECMA_REPEAT, /* first: what; min, max */
    ECMA_START,
    ECMA_END,
    ECMA_WORD_EDGE,     /* \b */
    ECMA_NOT_WORD_EDGE, /* \B */
    ECMA_AHEAD,         /* first: what; negative */
    ECMA_BEHIND
};

typedef struct ecma_node_s ecma_node_t;

struct ecma_node_s {
    int          kind;
    int          plain, negative;
    uint32_t     min, max;
    size_t       at; /* byte of the pattern */
    re_range_t  *ranges;
    size_t       n_ranges;
    ecma_node_t *first, *last, *next, *prev;
};

typedef struct {
    const char *s;
    size_t      len, at;
    arena_t    *arena;
    char       *err;
    size_t      err_size;
    uint32_t    depth, nodes;
} ecma_parser_t;

/* 0 and the tree; -EINVAL, -ENOTSUP, -E2BIG, -ENOMEM and p->err. */
int ecma_parse(ecma_parser_t *p, ecma_node_t **node);

/* Writes "msg at byte N" and returns rc. */
int ecma_fail(ecma_parser_t *p, int rc, size_t at, const char *msg);

/*
 * Ranges of a \p{name}; 0, -EINVAL: no such property, -ENOTSUP: not here.
 */
int ecma_property(ecma_parser_t *p, str_t name, re_range_t **ranges, size_t *n);

/* Sorts, merges, and takes what is not in them if negative. */
int ecma_ranges_tidy(arena_t *arena, re_range_t **ranges, size_t *n,
                     int negative);

/* \d, \s, \w by their letter. */
void ecma_escape_class(char letter, const re_range_t **ranges, size_t *n);

#endif /* LLM_GRAMMAR_RE_ECMA_H */
