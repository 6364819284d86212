/*
 * Inside of grammar.h: what grammar*.c share.
 *
 * A vocabulary's handle has the list of its grammars; what grammars hold is
 * its core, so that the list goes with the last handle.
 */

#ifndef LLM_GRAMMAR_PRIV_H
#define LLM_GRAMMAR_PRIV_H

#include "engine/grammar/mask_priv.h"

typedef struct grammar_list_s grammar_list_t;

struct grammar_vocab_s {
    atomic_uint  refs;
    mask_core_t *core;

    pthread_mutex_t lock; /* of the list */
    grammar_list_t *list;
};

struct grammar_s {
    atomic_uint  refs;
    mask_core_t *core;

    pthread_mutex_t lock; /* of all that follows, and of states' parses */
    gr_t           *gr;
    mask_lexer_t    lexer;

    atomic_size_t bytes; /* as of the last call */
};

struct grammar_state_s {
    grammar_t  *grammar;
    gr_parse_t *parse;

    /* Bytes of each token; what ended the output has none. */
    uint16_t *pushed;
    uint32_t  n, cap;
    int       ended;

    /* Of the last position: read without the lock. */
    int complete, free_text, thinking;
};

/* Fuel of one call. */
#define GRAMMAR_FUEL 2000000

/* A scratch with the grammar locked, its limits of work new; or NULL. */
mask_scratch_t *grammar_enter(grammar_t *grammar, gr_parse_t *parse);
void            grammar_leave(grammar_t *grammar, mask_scratch_t *s);

/* The bytes that may come next; 0 or -errno.  Locked. */
int grammar_next(grammar_state_t *state, uint64_t bytes[4]);

grammar_list_t *grammar_list_new(void);
void            grammar_list_free(grammar_list_t *list);

#endif /* LLM_GRAMMAR_PRIV_H */
