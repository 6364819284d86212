/*
 * Vocabularies, grammars and states of sequences: grammar.h.  The list of
 * grammars is in grammar_cache.c, forced tokens in grammar_forced.c, masks
 * in mask_*.c.
 *
 * Each call locks its grammar.  What the step loop asks all the time
 * (complete, free text, thinking) is kept in the state when it moves.
 */

#include <errno.h>
#include <stdlib.h>
#include "engine/grammar/grammar_priv.h"

static int  state_moved(grammar_state_t *state);
static int  state_room(grammar_state_t *state);
static int  push_token(grammar_state_t *state, uint32_t token);
static void pop_tokens(grammar_state_t *state, uint32_t n);


int
grammar_vocab_new(const grammar_tokens_t *tokens, grammar_vocab_t **out)
{
    grammar_vocab_t *vocab = calloc(1, sizeof(grammar_vocab_t));
    int              rc;

    if (vocab == NULL) {
        return -ENOMEM;
    }

    rc = mask_core_new(tokens, &vocab->core);
    if (rc != 0) {
        free(vocab);
        return rc;
    }

    vocab->list = grammar_list_new();
    if (vocab->list == NULL) {
        mask_core_release(vocab->core);
        free(vocab);
        return -ENOMEM;
    }

    atomic_init(&vocab->refs, 1);
    pthread_mutex_init(&vocab->lock, NULL);
    *out = vocab;

    return 0;
}


void
grammar_vocab_hold(grammar_vocab_t *vocab)
{
    atomic_fetch_add_explicit(&vocab->refs, 1, memory_order_relaxed);
}


void
grammar_vocab_release(grammar_vocab_t *vocab)
{
    if (vocab == NULL
        || atomic_fetch_sub_explicit(&vocab->refs, 1, memory_order_acq_rel)
               != 1) {
        return;
    }

    grammar_list_free(vocab->list);
    mask_core_release(vocab->core);
    pthread_mutex_destroy(&vocab->lock);
    free(vocab);
}


uint32_t
grammar_vocab_words(const grammar_vocab_t *vocab)
{
    return vocab->core->words;
}


int
grammar_new(grammar_vocab_t *vocab, gr_t *program_take, grammar_t **out)
{
    grammar_t *grammar;
    int        rc;

    grammar = calloc(1, sizeof(grammar_t));
    rc = grammar ? mask_lexer_init(&grammar->lexer, vocab->core, program_take)
                 : -ENOMEM;

    if (rc != 0) {
        free(grammar);
        gr_free(program_take);
        return rc;
    }

    grammar->gr = program_take;
    grammar->core = vocab->core;
    mask_core_hold(grammar->core);
    atomic_init(&grammar->refs, 1);
    atomic_init(&grammar->bytes, 0);
    pthread_mutex_init(&grammar->lock, NULL);
    *out = grammar;

    return 0;
}


void
grammar_hold(grammar_t *grammar)
{
    atomic_fetch_add_explicit(&grammar->refs, 1, memory_order_relaxed);
}


void
grammar_release(grammar_t *grammar)
{
    if (grammar == NULL
        || atomic_fetch_sub_explicit(&grammar->refs, 1, memory_order_acq_rel)
               != 1) {
        return;
    }

    mask_lexer_free(&grammar->lexer);
    gr_free(grammar->gr);
    mask_core_release(grammar->core);
    pthread_mutex_destroy(&grammar->lock);
    free(grammar);
}


int
grammar_state_new(grammar_t *grammar, grammar_state_t **out)
{
    grammar_state_t *state = calloc(1, sizeof(grammar_state_t));
    mask_scratch_t  *s;
    int              rc;

    if (state == NULL) {
        return -ENOMEM;
    }

    state->grammar = grammar;
    s = grammar_enter(grammar, NULL);
    rc = s ? gr_parse_new(grammar->gr, NULL, &state->parse) : -ENOMEM;

    if (rc == 0) {
        gr_parse_fuel(state->parse, GRAMMAR_FUEL);
        rc = state_moved(state);
    }

    if (rc != 0) {
        gr_parse_free(state->parse);
        grammar_leave(grammar, s);
        free(state);
        return rc;
    }

    grammar_leave(grammar, s);
    grammar_hold(grammar);
    *out = state;

    return 0;
}


void
grammar_state_free(grammar_state_t *state)
{
    if (state == NULL) {
        return;
    }

    pthread_mutex_lock(&state->grammar->lock);
    gr_parse_free(state->parse);
    pthread_mutex_unlock(&state->grammar->lock);

    grammar_release(state->grammar);
    free(state->pushed);
    free(state);
}


void
grammar_state_reset(grammar_state_t *state)
{
    grammar_state_rollback(state, state->n);
}


int
grammar_state_mask(grammar_state_t *state, uint32_t *mask)
{
    grammar_t      *grammar = state->grammar;
    mask_core_t    *core = grammar->core;
    mask_scratch_t *s;
    uint32_t        i;
    int             rc;

    if (state->ended) {
        memset(mask, 0, core->words * sizeof(uint32_t));
        return 0;
    }

    s = grammar_enter(grammar, state->parse);
    if (s == NULL) {
        return -ENOMEM;
    }

    rc = mask_position(&grammar->lexer, state->parse, s, mask);
    grammar_leave(grammar, s);

    for (i = 0; rc == 0 && state->complete && i < core->n_eog; i++) {
        mask_bit(mask, (uint32_t) core->eog_list[i]);
    }

    return rc;
}


int
grammar_state_accept(grammar_state_t *state, int32_t token)
{
    grammar_t      *grammar = state->grammar;
    mask_core_t    *core = grammar->core;
    mask_scratch_t *s;
    int             rc;

    if (token < 0 || (uint32_t) token >= core->n_tokens || state->ended) {
        return -EINVAL;
    }

    LLM_TRY(state_room(state));

    /* What may end the output here does so, whatever else it could mean. */

    if (core->eog[token] && state->complete) {
        state->pushed[state->n++] = 0;
        state->ended = 1;
        state->complete = 2;
        return 0;
    }

    s = grammar_enter(grammar, state->parse);
    if (s == NULL) {
        return -ENOMEM;
    }

    rc = push_token(state, (uint32_t) token);

    if (rc == 0) {
        rc = state_moved(state);

        if (rc != 0) {
            pop_tokens(state, 1);
        }
    }

    grammar_leave(grammar, s);

    return rc;
}


int
grammar_state_rollback(grammar_state_t *state, uint32_t n)
{
    mask_scratch_t *s;
    int             rc;

    if (n > state->n) {
        return -EINVAL;
    }

    if (n == 0) {
        return 0;
    }

    s = grammar_enter(state->grammar, state->parse);
    if (s == NULL) {
        return -ENOMEM;
    }

    pop_tokens(state, n);
    rc = state_moved(state);
    grammar_leave(state->grammar, s);

    return rc;
}


int
grammar_state_free_text(const grammar_state_t *state)
{
    return state->free_text;
}


int
grammar_state_thinking(const grammar_state_t *state)
{
    return state->thinking;
}


int
grammar_state_complete(const grammar_state_t *state)
{
    return state->complete;
}


mask_scratch_t *
grammar_enter(grammar_t *grammar, gr_parse_t *parse)
{
    mask_scratch_t *s = mask_scratch_get(grammar->core);

    if (s == NULL) {
        return NULL;
    }

    pthread_mutex_lock(&grammar->lock);
    re_fuel(gr_re(grammar->gr), GRAMMAR_FUEL);

    if (parse) {
        gr_parse_fuel(parse, GRAMMAR_FUEL);
    }

    return s;
}


void
grammar_leave(grammar_t *grammar, mask_scratch_t *s)
{
    gr_stats_t stats;

    if (s == NULL) {
        return;
    }

    gr_stats(grammar->gr, &stats);
    atomic_store_explicit(&grammar->bytes, stats.bytes + grammar->lexer.bytes,
                          memory_order_relaxed);
    pthread_mutex_unlock(&grammar->lock);
    mask_scratch_put(grammar->core, s);
}


int
grammar_next(grammar_state_t *state, uint64_t bytes[4])
{
    re_dfa_t          *dfa = state->grammar->lexer.dfa;
    const gr_thread_t *threads;
    uint32_t           n, i;
    unsigned           b;
    int32_t            to;

    memset(bytes, 0, 4 * sizeof(uint64_t));
    n = gr_parse_threads(state->parse, &threads);

    for (i = 0; i < n; i++) {
        for (b = 0; b < 256; b++) {
            to = re_dfa_next(dfa, threads[i].lexer, (uint8_t) b);
            LLM_TRY(to);

            if (to != RE_DFA_DEAD) {
                bytes[b / 64] |= (uint64_t) 1 << (b % 64);
            }
        }
    }

    return 0;
}


/* What is known of a position without asking. */
static int
state_moved(grammar_state_t *state)
{
    uint64_t bytes[4];
    unsigned marks = gr_parse_marks(state->parse);

    state->free_text = (marks & GR_MARK_FREE) != 0;
    state->thinking = (marks & GR_MARK_THINK) != 0;
    state->complete = gr_parse_complete(state->parse);

    if (state->complete) {
        LLM_TRY(grammar_next(state, bytes));
        state->complete += !(bytes[0] | bytes[1] | bytes[2] | bytes[3]);
    }

    return 0;
}


static int
state_room(grammar_state_t *state)
{
    return state->n < state->cap ? 0
                                 : mask_grow(&state->pushed, &state->cap,
                                             state->n, sizeof(uint16_t));
}


/* 0; -EINVAL or another -errno, and nothing changed. */
static int
push_token(grammar_state_t *state, uint32_t token)
{
    const uint8_t *bytes;
    uint32_t       len, i;
    int            rc;

    bytes = mask_token_bytes(state->grammar->core, token, &len);

    if (len == 0) {
        return -EINVAL;
    }

    for (i = 0; i < len; i++) {
        rc = gr_parse_push(state->parse, bytes[i]);

        if (rc != 1) {
            gr_parse_pop(state->parse, i);
            return rc < 0 ? rc : -EINVAL;
        }
    }

    state->pushed[state->n++] = (uint16_t) len;

    return 0;
}


static void
pop_tokens(grammar_state_t *state, uint32_t n)
{
    uint32_t bytes = 0;

    for (; n > 0; n--) {
        bytes += state->pushed[--state->n];
        state->ended = 0;
    }

    gr_parse_pop(state->parse, bytes);
}
