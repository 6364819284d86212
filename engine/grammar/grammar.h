/*
 * Grammars: the interface between compiled constraints and the step loop.
 *
 * A grammar_vocab_t is what a model's tokens look like from here: a trie of
 * their bytes, slices, and token masks that all grammars share.  Made once a
 * model, counted, any thread.
 *
 * A grammar_t is a finished program (gr.h) over a vocabulary.  It is counted
 * and shared by requests; a lock of its own lets one thread at a time work in
 * it.  A grammar_state_t is one sequence's place in it: it belongs to the
 * sequence, one thread at a time, and can be rebuilt from its tokens.
 *
 * The step loop's side, all on mask threads but for what is cheap:
 *
 *     after a token     grammar_state_accept()
 *     before sampling   grammar_state_mask()     during the forward pass; a
 *                       sequence whose mask is late is not sampled in that
 *                       step
 *     in free text      grammar_state_free_text(): draw without a mask, then
 *                       accept; on -EINVAL take the mask and draw again
 *     forced tokens     grammar_state_forced()   enter the next step as one
 *                       prefill chunk; draws are counted by position
 */

#ifndef LLM_GRAMMAR_GRAMMAR_H
#define LLM_GRAMMAR_GRAMMAR_H

#include <stddef.h>
#include <stdint.h>
#include "engine/base.h"

typedef struct gr_s            gr_t;
typedef struct grammar_s       grammar_t;
typedef struct grammar_state_s grammar_state_t;
typedef struct grammar_vocab_s grammar_vocab_t;

enum {
    GRAMMAR_TOKEN_TEXT = 0, /* bytes as they are, perhaps part of a character */
    GRAMMAR_TOKEN_CONTROL,  /* a control token: bytes are its name */
    GRAMMAR_TOKEN_NONE      /* cannot be generated under a grammar */
};

/* Borrowed during grammar_vocab_new(). */
typedef struct {
    uint32_t       n_tokens;
    const str_t   *bytes; /* of each token */
    const uint8_t *kinds;
    const int32_t *eog; /* tokens that end the output */
    uint32_t       n_eog;

    /*
     * Text to tokens as the model's tokenizer does it (no specials, nothing
     * added): forced text becomes the tokens that training saw.  Returns how
     * many, or -errno; may be NULL: the longest token first.  Must hold, with
     * its data, for the life of the vocabulary; any thread.
     */
    int (*tokenize)(void *data, const char *text, size_t len, int32_t *tokens,
                    uint32_t cap);
    void *data;
} grammar_tokens_t;

int  grammar_vocab_new(const grammar_tokens_t *tokens, grammar_vocab_t **vocab);
void grammar_vocab_hold(grammar_vocab_t *vocab);
void grammar_vocab_release(grammar_vocab_t *vocab);

/* Words of a mask: (n_tokens + 31) / 32. */
uint32_t grammar_vocab_words(const grammar_vocab_t *vocab);

/*
 * A grammar of a program that gr_finish() has finished; the program is taken
 * (freed on failure too).
 */
int  grammar_new(grammar_vocab_t *vocab, gr_t *program_take,
                 grammar_t **grammar);
void grammar_hold(grammar_t *grammar);
void grammar_release(grammar_t *grammar);

/*
 * Grammars by content: key is all that they were made of, in any form.  Any
 * thread.  _find() returns a counted grammar or NULL; _add() takes what is
 * found next time (least recently used and overgrown ones go).
 */
grammar_t *grammar_cache_find(grammar_vocab_t *vocab, const void *key,
                              size_t len);
void grammar_cache_add(grammar_vocab_t *vocab, const void *key, size_t len,
                       grammar_t *grammar);

int  grammar_state_new(grammar_t *grammar, grammar_state_t **state);
void grammar_state_free(grammar_state_t *state);

/* Back to the beginning, as new. */
void grammar_state_reset(grammar_state_t *state);

/*
 * Bit t of word t / 32: token t may come next.  0; -E2BIG, -ETIME: the state
 * can no longer be served within the limits of work: its sequence fails.
 */
int grammar_state_mask(grammar_state_t *state, uint32_t *mask);

/* 0; -EINVAL: the grammar does not allow this token here (state unchanged). */
int grammar_state_accept(grammar_state_t *state, int32_t token);

/* Takes back the last n tokens accepted (speculative decoding). */
int grammar_state_rollback(grammar_state_t *state, uint32_t n);

/*
 * Tokens that must come next whatever is sampled, <= cap; how many, or
 * -errno.  They are not accepted yet.  What a longer legal token could span
 * is left out, so that no token is forced that sampling could not have given.
 */
int grammar_state_forced(grammar_state_t *state, int32_t *tokens, uint32_t cap);

/* Free text: draw first, check then. */
int grammar_state_free_text(const grammar_state_t *state);

/* Within reasoning. */
int grammar_state_thinking(const grammar_state_t *state);

/* 1 if the output may end here; 2 if it must: nothing can come any more. */
int grammar_state_complete(const grammar_state_t *state);

#endif /* LLM_GRAMMAR_GRAMMAR_H */
