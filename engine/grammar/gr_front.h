/*
 * Front ends: sources of grammars, each to an expression of a program.
 *
 * All return 0 and *node; -EINVAL: the source is wrong, err says what and
 * where; -ENOTSUP: a part that cannot be guaranteed, by name and place;
 * -ENOENT: nothing can satisfy it; -E2BIG: a limit, by name; -ENOMEM.
 * Nothing of the source is kept.
 */

#ifndef LLM_GRAMMAR_GR_FRONT_H
#define LLM_GRAMMAR_GR_FRONT_H

#include "engine/grammar/gr.h"
#include "engine/grammar/js_schema.h"

enum { GR_ORDER_DECLARED = 0, GR_ORDER_FREE };

/* Between the parts of JSON that a grammar writes. */
enum {
    GR_SPACE_COMPACT = 0, /* {"a":1,"b":[2,3]} */
    GR_SPACE_SINGLE,      /* {"a": 1, "b": [2, 3]} */
    GR_SPACE_ANY          /* up to 20 of space, tab, newline, return */
};

/* Spellings that are left out, where several mean the same. */
enum {
    GR_PLAIN_NAMES = 1,   /* of names and strings that the schema lists: those
                           * with escapes that need not be */
    GR_PLAIN_INTEGERS = 2 /* of integers: all but digits */
};

typedef struct {
    int order;
    int space;
    int formats_off; /* 1: format is no assertion */

    uint32_t draft; /* JS_DRAFT_*, where the schema does not say; 0: any */

    int plain;  /* GR_PLAIN_* */
    int closed; /* 1: an object whose schema names members, and says nothing of
                 * others, gets no others */

    const js_remote_t *remotes; /* other documents that it may refer to */
    uint32_t           n_remotes;
} gr_json_options_t;

/*
 * The JSON values that a JSON Schema (drafts 4 to 2020-12) allows.  Every
 * legal spelling of strings and numbers; no member's name twice.  err names
 * keyword and path ("#/properties/a/not: ...").  options may be NULL.
 */
int gr_json_schema(gr_t *gr, const char *text, size_t len,
                   const gr_json_options_t *options, gr_node_t *node, char *err,
                   size_t err_size);

/* Any JSON object (json_object). */
int gr_json_object(gr_t *gr, const gr_json_options_t *options, gr_node_t *node,
                   char *err, size_t err_size);

/* A text that matches an ECMA-262 pattern as a whole. */
int gr_regex(gr_t *gr, const char *text, size_t len, gr_node_t *node, char *err,
             size_t err_size);

/* llama.cpp's GBNF, rule `root`. */
int gr_gbnf(gr_t *gr, const char *text, size_t len, gr_node_t *node, char *err,
            size_t err_size);

/* The subset of Lark that OpenAI's custom tools take, rule `start`. */
int gr_lark(gr_t *gr, const char *text, size_t len, gr_node_t *node, char *err,
            size_t err_size);

/* One of list[n]. */
int gr_choice(gr_t *gr, const str_t *list, size_t n, gr_node_t *node, char *err,
              size_t err_size);

#endif /* LLM_GRAMMAR_GR_FRONT_H */
