/*
 * ECMA-262 patterns as a tree: between the parser (re_ecma_parse.c), which
 * knows the syntax, and the compiler (re_ecma.c), which knows languages.
 *
 * Nodes are in an arena of the call that parses, children in order with
 * links both ways.  A node is PLAIN if no assertion is inside: its language
 * does not depend on what is around it.
 *
 * Other SPELLINGS of the same (ECMA_EXTRA): (?P<name>...), (?i), (?s), (?x),
 * (?a) from there to the group's end, (?#...), \A, \z and \Z for the text's
 * start and end, \a, \x{...}, \UXXXXXXXX, \pL.
 *
 * ECMA_PYTHON: a part of a text (a terminal of a grammar), as Python reads
 * it.  \d, \w and \s are Unicode's, "." is all but \n, "]" may come first in
 * a class, {,n} counts, \0, \012 and \101 are octal.  Of what is around the
 * part nothing is known: anchors outside of look-around are refused, and so
 * are lazy repeats if it matters that they are.
 * What Python and Rust read differently in classes ("&&", "[:") is refused.
 */

#ifndef LLM_GRAMMAR_RE_ECMA_H
#define LLM_GRAMMAR_RE_ECMA_H

#include "engine/grammar/re.h"

/* How a pattern is spelled, and flags of it. */
enum {
    ECMA_EXTRA = 1,
    ECMA_PYTHON = 2, /* and ECMA_EXTRA */
    ECMA_I = 4,      /* ignoring case */
    ECMA_S = 8,      /* "." is everything */
    ECMA_M = 16,     /* ^ and $ at lines: refused */
    ECMA_X = 32,     /* spaces and comments in between */
    ECMA_A = 64      /* \d, \w, \s of ASCII */
};

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
    int          plain, negative, lazy;
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
    unsigned    how;
    uint32_t    depth, nodes, looking; /* looking: within look-around */
    int         lazy;                  /* a lazy repeat was met */
    re_range_t *folds;                 /* see ecma_ranges_fold() */
    size_t      n_folds;
} ecma_parser_t;

/* As re_ecma_whole(), of a pattern that is spelled as `how` says. */
int re_ecma_as(re_set_t *set, const char *pattern, size_t len, unsigned how,
               re_t *re, char *err, size_t err_size);

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

/* \d, \s, \w by their letter; the latter as Unicode has them. */
void ecma_escape_class(char letter, const re_range_t **ranges, size_t *n);
void ecma_unicode_class(char letter, const re_range_t **ranges, size_t *n);

/* Adds what is the same but for case; tidy afterwards. */
int ecma_ranges_fold(ecma_parser_t *p, re_range_t **ranges, size_t *n);


/*
 * Of re_ecma_class.c: n becomes what is at p->at.  ecma_class() reads
 * "[...]", ecma_escape() what begins with "\" and is no assertion,
 * ecma_char() a character.
 */
int ecma_class(ecma_parser_t *p, ecma_node_t *n);
int ecma_escape(ecma_parser_t *p, ecma_node_t *n);
int ecma_char(ecma_parser_t *p, ecma_node_t *n);


/* The byte at so much ahead, -1: past the end. */
static inline int
ecma_peek(const ecma_parser_t *p, size_t ahead)
{
    return p->len - p->at > ahead ? (uint8_t) p->s[p->at + ahead] : -1;
}


static inline int
ecma_looking_at(const ecma_parser_t *p, const char *s)
{
    size_t n = strlen(s);

    return p->len - p->at >= n && memcmp(p->s + p->at, s, n) == 0;
}

#endif /* LLM_GRAMMAR_RE_ECMA_H */
