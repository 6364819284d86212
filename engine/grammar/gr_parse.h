/*
 * The parser: which bytes may come next in a program's language.
 *
 * METHOD.  Earley's (CACM 13:2, 1970) over machines, with Leo's treatment of
 * right recursion (TCS 82, 1991); nullable calls as Aycock and Horspool (The
 * Computer Journal 45:6, 2002).  Terminals are lexemes that a lazy automaton
 * (re_dfa.h) reads byte by byte.
 *
 *     ITEM      (state, what was called, row where the call began)
 *     ROW       the items that are possible where some lexeme has ended, all
 *               that follow from them, and the lexer's state for the union of
 *               the lexemes that may begin here.  Tags of the lexer are
 *               lexemes' numbers.
 *     THREAD    (row, state of the lexer since then, byte where the lexeme
 *               began): one way to cut the text so far
 *     POSITION  the set of threads after some bytes.  Where several threads'
 *               lexemes end at one byte, what follows is ONE row: work is
 *               polynomial for every grammar, linear for those that need no
 *               looking ahead.
 *
 * A parse is a stack of positions, one for each push, down to the start: any
 * number of them can be popped.  Rows belong to the parse; those that only
 * popped positions used are used again.
 *
 * Belongs to whoever holds the program's lock.
 */

#ifndef LLM_GRAMMAR_GR_PARSE_H
#define LLM_GRAMMAR_GR_PARSE_H

#include "engine/grammar/gr.h"

typedef struct gr_parse_s gr_parse_t;

typedef struct {
    int32_t  lexer; /* a state of gr_dfa() */
    uint32_t row;
    uint64_t start; /* byte of the text where the lexeme began */
} gr_thread_t;

/* Limits of one parse; 0: the default. */
typedef struct {
    uint32_t max_items; /* of a row; 20,000 */
    uint64_t max_total; /* items of all rows; 20,000,000 */
} gr_parse_limits_t;

/* gr_finish() went before.  0, -ENOMEM, or a limit. */
int  gr_parse_new(gr_t *gr, const gr_parse_limits_t *limits, gr_parse_t **p);
void gr_parse_free(gr_parse_t *p);

/*
 * Reads a byte.  1: a new position; 0: the byte cannot come here, nothing
 * changed; -ETIME: out of gr_parse_fuel(); -E2BIG, -ENOMEM; nothing changed.
 */
int gr_parse_push(gr_parse_t *p, uint8_t byte);

/* Takes back the last n positions. */
void gr_parse_pop(gr_parse_t *p, uint32_t n);

/* How many positions there are above the start. */
uint64_t gr_parse_depth(const gr_parse_t *p);

/* 1: the text so far is one of the language. */
int gr_parse_complete(const gr_parse_t *p);

/* The threads of the last position; valid until the next call. */
uint32_t gr_parse_threads(const gr_parse_t *p, const gr_thread_t **threads);

/* Marks (gr.h) of all lexemes that a thread may be in. */
unsigned gr_parse_marks(const gr_parse_t *p);

/*
 * For walkers of a token trie who ran the lexer on their own: thread (of the
 * last position) has read bytes[n] >= 1 on top of it and stands at lexer state
 * `to`, where some lexemes end.  Makes ONE new position: what may come after
 * those lexemes; that the thread itself may go on is left out.
 * 1, 0: nothing may come, no position was made; -errno as gr_parse_push().
 */
int gr_parse_jump(gr_parse_t *p, uint32_t thread, int32_t to,
                  const uint8_t *bytes, size_t n);

/*
 * Work from now on, in items and lexer transitions made; UINT64_MAX: any.
 * Here, and only here, rows that no position needs are thrown away once they
 * are many, and the others get new numbers.
 */
void gr_parse_fuel(gr_parse_t *p, uint64_t steps);

/* The lexer of the program; its states hold for the program's life. */
re_dfa_t *gr_dfa(gr_t *gr);

/* Marks of any lexeme that is alive in a lexer's state. */
unsigned gr_lexer_marks(const gr_t *gr, int32_t lexer);

/* What a program and its lexer hold: to know when to begin anew. */
typedef struct {
    uint32_t states, lexemes, lexer_states;
    size_t   bytes;
} gr_stats_t;

void gr_stats(const gr_t *gr, gr_stats_t *stats);

#endif /* LLM_GRAMMAR_GR_PARSE_H */
