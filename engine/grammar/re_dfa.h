/*
 * A lazy deterministic automaton over expressions, for lexers.
 *
 * A STATE is a set of (tag, expression), at most one expression a tag: which
 * lexemes may still be going on after the bytes read.  States are numbered
 * as they are met, RE_DFA_DEAD is 0 and no lexeme; numbers stay until
 * re_dfa_free().  A transition is worked out when it is first asked for, for
 * all bytes of its class at once; expressions found to be RE_NONE leave the
 * state, so that a state other than DEAD can be completed (unless the search
 * for a string gave up: re_dfa_state_t.unsure).
 *
 * Belongs to the thread that owns its re_set_t, and must go before it does.
 * Past max_states or a limit of the set, re_dfa_next() returns its -errno and
 * the automaton is as it was: after re_fuel() the call can be repeated.
 */

#ifndef LLM_GRAMMAR_RE_DFA_H
#define LLM_GRAMMAR_RE_DFA_H

#include "engine/grammar/re.h"

typedef struct re_dfa_s re_dfa_t;

#define RE_DFA_DEAD    0
#define RE_DFA_UNKNOWN (-1)

typedef struct {
    uint32_t tag;
    re_t     re;
} re_dfa_item_t;

/* Pointers hold as long as the automaton. */
typedef struct {
    const re_dfa_item_t *items; /* by tag */
    uint32_t             n;
    const uint32_t      *accepts; /* tags complete here, ascending */
    uint32_t             n_accepts;
    const uint8_t       *map;     /* byte -> class */
    int32_t             *next;    /* class -> state or RE_DFA_UNKNOWN */
    uint32_t             classes; /* how many */
    uint32_t             unsure;  /* an item's emptiness is not known */
} re_dfa_state_t;

/* max_states 0: 100,000; max_search as in re_is_none().  NULL: no memory. */
re_dfa_t *re_dfa_new(re_set_t *set, uint32_t max_states, uint32_t max_search);
void      re_dfa_free(re_dfa_t *dfa);

/* The state of items[n] (any order, tags distinct), or -errno. */
int32_t re_dfa_state(re_dfa_t *dfa, const re_dfa_item_t *items, size_t n);

/* What re_dfa_next() does when the transition is not known yet. */
int32_t re_dfa_make(re_dfa_t *dfa, int32_t state, uint8_t byte);

const re_dfa_state_t *re_dfa_get(const re_dfa_t *dfa, int32_t state);
uint32_t              re_dfa_count(const re_dfa_t *dfa);
size_t                re_dfa_bytes(const re_dfa_t *dfa);

/* The bytes that do not lead to DEAD; works all transitions out. */
int re_dfa_allowed(re_dfa_t *dfa, int32_t state, uint64_t bytes[4]);

/* The only byte that can come next; 256: none or several; or -errno. */
int re_dfa_forced(re_dfa_t *dfa, int32_t state);

/* The table of states; it may move when a state is added. */
const re_dfa_state_t *const *re_dfa_table(const re_dfa_t *dfa);


/* The state after byte; RE_DFA_DEAD: none; below: -errno. */
static inline int32_t
re_dfa_next(re_dfa_t *dfa, int32_t state, uint8_t byte)
{
    const re_dfa_state_t *s = re_dfa_table(dfa)[state];
    int32_t               to = s->next[s->map[byte]];

    return to >= 0 ? to : re_dfa_make(dfa, state, byte);
}

#endif /* LLM_GRAMMAR_RE_DFA_H */
