/*
 * Vocabulary of a weight file: GGUF metadata to a tokenizer, and the list of
 * the tokens that end a generation.
 *
 * The only place that knows both the file's format and the tokenizer.  Runs
 * on a loader thread.
 */

#ifndef LLM_VOCAB_H
#define LLM_VOCAB_H

#include "engine/grammar/grammar.h"
#include "engine/model/gguf.h"
#include "engine/text/tokenizer.h"


#define VOCAB_MAX_EOG 64


typedef struct vocab_text_s vocab_text_t;

typedef struct {
    text_tokenizer_t *tokenizer; /* owned */
    vocab_text_t     *text;      /* owned; vocab_grammar()'s, or NULL */

    /*
     * End of generation: the file's eos (all of eos_token_ids), eot and eom,
     * and control tokens that by their spelling end a turn in the known model
     * families.  Ascending.
     */
    int32_t eog[VOCAB_MAX_EOG];
    size_t  n_eog;
} vocab_t;


/*
 * Builds a tokenizer from the file's metadata.  User-defined tokens that the
 * known reasoning and tool formats name (<think>, <tool_call>, ...) are
 * protected: they match in trusted text only.
 * Fills *out, vocab_close() it; or -errno and a message of one line in err,
 * *out then is all zero.  The file may be closed afterwards.
 */
int vocab_open(const gguf_t *g, vocab_t *out, char *err, size_t err_size);

/* Frees what vocab_open() made; allowed on an all-zero struct. */
void vocab_close(vocab_t *v);

/*
 * The vocabulary as grammars see it (vocab_grammar.c): a new reference.  It
 * calls the tokenizer, so it must be gone before vocab_close().  0 or -ENOMEM.
 */
int  vocab_grammar(vocab_t *v, grammar_vocab_t **out);
void vocab_text_free(vocab_text_t *text);

/* Whether the token ends a generation. */
bool vocab_is_eog(const vocab_t *v, int32_t id);


/* What a tokenizer.ggml.pre means; -1: what the name's family does. */
typedef struct {
    gguf_str_t name; /* borrowed, or static */
    int        nfc;
    int        ignore_merges;
} vocab_pre_t;

/*
 * A name is itself; "json:..." (of a Hugging Face folder) becomes one.  0, or
 * -ENOTSUP (nothing that we know), -EINVAL, with a line in err.
 */
int vocab_pre_read(gguf_str_t pre, vocab_pre_t *out, char *err,
                   size_t err_size);


#endif /* LLM_VOCAB_H */
