/*
 * Grammar programs: what every front end (JSON Schema, regex, GBNF, Lark,
 * choices, tool formats) is compiled to, and what the parser runs.
 *
 * A program defines a language of byte strings.  Its alphabet are LEXEMES,
 * regular languages (re.h); its rules are MACHINES over them: nondeterministic
 * automata whose edges read a lexeme or call another machine and come back.
 * The language is exactly that of the grammar in the mathematical sense:
 * lexemes are not "longest match", every way of cutting the text counts.
 *
 *     STATE   a number for (machine, key); key is bytes that mean something
 *             to the machine only.  Equal keys are the same state.
 *     EDGE    GR_LEXEME: reads a string of the lexeme, goes on at `to`;
 *             GR_CALL:   runs the state `what` to an accepting one, goes on at
 *                        `to`.
 *             An edge that captures goes on at a state that the machine
 *             works out from the text which the lexeme matched, when
 *             something comes after it; `to` is an argument for that.
 *     ACCEPT  the machine that was called may return here.
 *
 * States are expanded when they are first needed: an object of 500 optional
 * properties has 2^500 states and visits a few.  NO DEAD ENDS: a machine
 * gives only edges from which an accepting state can be reached, and never a
 * lexeme without a string.  For static rules gr_finish() sees to it.
 *
 * One thread at a time uses a program and everything that hangs on it (its
 * re_set_t, its lexer, its parses): grammar.c holds a lock.
 *
 * Failure is sticky, as in re.h: after it gr_failed() says why.
 */

#ifndef LLM_GRAMMAR_GR_H
#define LLM_GRAMMAR_GR_H

#include "engine/grammar/re.h"
#include "engine/grammar/re_dfa.h"

typedef struct gr_s gr_t;

/* A limit of 0 takes the default. */
typedef struct {
    re_limits_t re;
    uint32_t    max_states; /* of machines; 500,000 */
    uint32_t    max_lexer;  /* states of the lexer; 200,000 */
    size_t      max_bytes;  /* of the program without its re_set_t; 256 MiB */
    uint64_t    max_ns;     /* of compilation (gr_check_time()); 5 s */
} gr_limits_t;

/* 0 or -ENOMEM. */
int  gr_new(const gr_limits_t *limits, gr_t **gr);
void gr_free(gr_t *gr);

/*
 * 0, or -errno of the first failure (also of the re_set_t); msg may be NULL,
 * else *msg is why, or NULL.  With 0 it may tell the last limit that a parse
 * (gr_parse.h) met, and which leaves the program as it is.
 */
int gr_failed(const gr_t *gr, const char **msg);
int gr_fail(gr_t *gr, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* 0, or -E2BIG: compilation has taken more than max_ns.  Cheap. */
int gr_check_time(gr_t *gr);

re_set_t *gr_re(gr_t *gr);
arena_t  *gr_arena(gr_t *gr); /* lives as long as the program */


/*
 * STATIC RULES, as expressions.  Neighbouring regular parts become one
 * lexeme, so a front end need not care where lexemes end.
 */

typedef uint32_t gr_node_t;

#define GR_NONE  0u /* no string */
#define GR_EMPTY 1u /* the empty one */

/*
 * Marks of a lexeme: what the sequence is doing while it is read.  A marked
 * text stays a lexeme of its own.
 */
enum {
    GR_MARK_FREE = 1, /* nearly everything is allowed: sample, then check */
    GR_MARK_THINK = 2 /* reasoning: counted against the budget */
};

gr_node_t gr_text(gr_t *gr, re_t re);
gr_node_t gr_text_marked(gr_t *gr, re_t re, unsigned marks);
gr_node_t gr_literal(gr_t *gr, const char *s, size_t len);

/*
 * The control token of that name ("<|python_tag|>").  In the alphabet it is
 * the byte 0xff and then its name: no text can spell it.
 */
gr_node_t gr_special(gr_t *gr, const char *name, size_t len);

gr_node_t gr_seq(gr_t *gr, const gr_node_t *list, size_t n);
gr_node_t gr_alt(gr_t *gr, const gr_node_t *list, size_t n);
gr_node_t gr_repeat(gr_t *gr, gr_node_t node, uint32_t min, uint32_t max);

/*
 * While it is on, texts are spelt as in JSON strings (re_quoted()): a grammar
 * whose every string stands within one.  A machine in it is -ENOTSUP.
 */
void gr_quoting(gr_t *gr, int on);

/* Rules may be used before they are set, and recursive in any way. */
uint32_t  gr_rule_new(gr_t *gr);
void      gr_rule_set(gr_t *gr, uint32_t rule, gr_node_t node);
gr_node_t gr_rule(gr_t *gr, uint32_t rule);

/* A machine's start state as a part of an expression. */
typedef uint32_t gr_state_t;
gr_node_t        gr_machine_node(gr_t *gr, gr_state_t start);

/*
 * Makes node the program's start.  0; -ENOENT: its language is empty;
 * -EINVAL: a rule was never set; -E2BIG and so on.  Nothing is added to
 * static rules afterwards; machines go on expanding.
 */
int gr_finish(gr_t *gr, gr_node_t node);


/*
 * MACHINES
 */

enum { GR_LEXEME = 0, GR_CALL };

typedef struct gr_edges_s gr_edges_t;

typedef struct {
    /*
     * Tells the state's edges with gr_edge_*(), and gr_accept() if it may
     * return.  0 or -errno (a limit).  Where the re_set_t ran out of steps
     * nothing of this is kept, and it is called again when there are more:
     * it must remember nothing that it made of RE_NONE.
     */
    int (*expand)(gr_t *gr, void *data, const void *key, size_t len,
                  gr_edges_t *out);

    /*
     * Where an edge of state `key` that captures goes on, its `to` being arg,
     * having read text[n] (of the lexeme's language, so there is a way).
     */
    int (*capture)(gr_t *gr, void *data, const void *key, size_t len,
                   uint32_t arg, const uint8_t *text, size_t n, gr_state_t *to);

    void (*free)(void *data); /* may be NULL */
} gr_machine_t;

/* The machine's number; ops is borrowed for ever, data taken. */
uint32_t gr_machine_add(gr_t *gr, const gr_machine_t *ops, void *data_take);

/* Equal lists of bytes, equal number.  Never 0. */
gr_state_t gr_state(gr_t *gr, uint32_t machine, const void *key, size_t len);

/* The lexeme of a language; equal handles, equal number. */
uint32_t gr_lexeme(gr_t *gr, re_t re, unsigned marks);

void gr_edge_lexeme(gr_edges_t *out, uint32_t lexeme, gr_state_t to);
void gr_edge_capture(gr_edges_t *out, uint32_t lexeme, uint32_t arg);
void gr_edge_call(gr_edges_t *out, gr_state_t what, gr_state_t to);
void gr_accept(gr_edges_t *out);

#endif /* LLM_GRAMMAR_GR_H */
