/*
 * Between the readers of Lark's statements (gr_lark.c), of the expressions in
 * them (gr_lark_expr.c) and of the values in those (gr_lark_value.c).
 */

#ifndef LLM_GRAMMAR_GR_LARK_H
#define LLM_GRAMMAR_GR_LARK_H

#include "engine/grammar/gr_syntax.h"

typedef struct {
    gs_t       gs;
    int        terminal; /* a terminal's body is being read */
    uint32_t   ignore;   /* the rule of what is ignored, any number of times */
    gs_node_t *ignored;  /* its alternatives; NULL: none */
} lark_t;

/* Alternatives; nested: lines' ends are spaces. */
int lark_alts(lark_t *lark, int nested, gs_node_t **node);

/*
 * A name, empty if there is none: [_]a... or [_]A..., letters of one case,
 * digits, "_", and "-" within.
 */
str_t lark_name(lark_t *lark);
int   lark_name_byte(const gs_t *gs, size_t ahead, int upper);
int   lark_is_terminal(str_t name);

/*
 * 1: a literal, a regular expression, a range, a special token, %json or
 * whatever else is no name, was read; 0: something else is here.
 */
int lark_value(lark_t *lark, gs_node_t **node);

/* The pattern of a terminal of Lark's library, NULL: there is none. */
const char *lark_common(str_t name);

/* A regular expression as Lark's; at is for messages. */
int lark_pattern(lark_t *lark, size_t at, const char *s, size_t len,
                 unsigned how, re_t *re);

/* Spaces and comments, with lines: also lines' ends. */
void lark_space(lark_t *lark, int lines);

#endif /* LLM_GRAMMAR_GR_LARK_H */
