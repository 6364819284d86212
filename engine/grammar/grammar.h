/*
 * Grammars: the interface between compiled constraints and the step loop.
 * (The compilers follow in an issue of their own; until then requests that
 * need one are refused by the dialect.)
 *
 * A grammar_t is compiled from a JSON Schema, a regex, EBNF, a choice list or
 * a tool format by a worker thread, is immutable, counted, and shared by
 * requests.  A grammar_state_t is one sequence's place in it: it belongs to
 * the sequence, is advanced by its tokens only, and can be rebuilt from them.
 *
 * The step loop's side:
 *
 *     after a token     grammar_state_accept()      on a mask thread
 *     before sampling   grammar_state_mask()        on a mask thread, during
 *                       the forward pass; a sequence whose mask is late skips
 *                       sampling in that step and keeps its logits
 *     forced tokens     grammar_state_forced()      enter the next step as one
 *                       prefill chunk; draws are counted by position
 */

#ifndef LLM_GRAMMAR_GRAMMAR_H
#define LLM_GRAMMAR_GRAMMAR_H

#include <stddef.h>
#include <stdint.h>

typedef struct grammar_s       grammar_t;
typedef struct grammar_state_s grammar_state_t;

enum {
    GRAMMAR_JSON_SCHEMA = 1,
    GRAMMAR_JSON_OBJECT,
    GRAMMAR_REGEX,
    GRAMMAR_GBNF,
    GRAMMAR_LARK,
    GRAMMAR_CHOICE
};

/* What a vocabulary looks like from here: bytes of each token, or none. */
typedef struct {
    uint32_t n_tokens;
    const char *(*bytes)(const void *vocab, uint32_t id, size_t *len);
    const void    *vocab;
    const int32_t *eog; /* tokens that end the output */
    uint32_t       n_eog;
} grammar_vocab_t;

/* Limits of one compilation; exceeding one is -E2BIG, naming it in err. */
typedef struct {
    uint64_t max_ns;
    uint64_t max_bytes;
    uint32_t max_states;
    uint32_t max_depth;
} grammar_limits_t;

/*
 * Compiles source[len].  0 and a counted grammar; -EINVAL: not of this kind,
 * err says where; -ENOTSUP: a keyword that cannot be guaranteed, by name and
 * path; -E2BIG: a limit; -ENOENT: nothing can satisfy it.
 */
int  grammar_compile(int kind, const char *source, size_t len,
                     const grammar_vocab_t  *vocab,
                     const grammar_limits_t *limits, grammar_t **grammar,
                     char *err, size_t err_size);
void grammar_hold(grammar_t *grammar);
void grammar_release(grammar_t *grammar);

int  grammar_state_new(grammar_t *grammar, grammar_state_t **state);
void grammar_state_free(grammar_state_t *state);

/* Bit t of word t/32: token t may come next.  Words: (n_tokens + 31) / 32. */
int grammar_state_mask(grammar_state_t *state, uint32_t *mask);

/* 0; -EINVAL: the grammar does not allow this token here (state unchanged). */
int grammar_state_accept(grammar_state_t *state, int32_t token);

/* Takes back the last n tokens accepted (speculative decoding). */
int grammar_state_rollback(grammar_state_t *state, uint32_t n);

/* Tokens that must come next whatever is sampled; returns how many, <= cap. */
int grammar_state_forced(grammar_state_t *state, int32_t *tokens, uint32_t cap);

/* 1 if the output may end here. */
int grammar_state_complete(const grammar_state_t *state);

#endif /* LLM_GRAMMAR_GRAMMAR_H */
