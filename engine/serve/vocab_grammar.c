/*
 * A vocabulary as grammars see it: each token's bytes and kind, the tokens
 * that end the output, and the tokenizer for text that is forced.
 *
 * Made on a loader thread.  The tokenizer is called from any thread: each call
 * borrows a scratch of a small stock, or makes one.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "engine/serve/vocab.h"

#define VOCAB_SCRATCHES 8

struct vocab_text_s {
    const text_tokenizer_t *tokenizer;
    pthread_mutex_t         lock;
    text_scratch_t         *stock[VOCAB_SCRATCHES];
    uint32_t                n;
};

static int     vocab_kind(const text_tokenizer_t *tok, int32_t id);
static int     vocab_tokenize(void *data, const char *text, size_t len,
                              int32_t *tokens, uint32_t cap);
static ssize_t vocab_encode(vocab_text_t *t, const char *text, size_t len,
                            int32_t *tokens, uint32_t cap);


int
vocab_grammar(vocab_t *v, grammar_vocab_t **out)
{
    grammar_tokens_t        g = {0};
    const text_tokenizer_t *tok = v->tokenizer;
    uint8_t                *kinds;
    str_t                  *bytes;
    size_t                  i, n = text_vocab_size(tok);
    int                     rc = -ENOMEM;

    if (v->text == NULL) {
        v->text = calloc(1, sizeof(vocab_text_t));
        if (v->text == NULL) {
            return -ENOMEM;
        }

        v->text->tokenizer = tok;
        pthread_mutex_init(&v->text->lock, NULL);
    }

    bytes = calloc(n, sizeof(str_t));
    kinds = calloc(n, 1);

    if (bytes && kinds) {
        for (i = 0; i < n; i++) {
            bytes[i].s = text_token_bytes(tok, (int32_t) i, &bytes[i].len);
            kinds[i] = (uint8_t) vocab_kind(tok, (int32_t) i);
        }

        g.n_tokens = (uint32_t) n;
        g.bytes = bytes;
        g.kinds = kinds;
        g.eog = v->eog;
        g.n_eog = (uint32_t) v->n_eog;
        g.tokenize = vocab_tokenize;
        g.data = v->text;

        rc = grammar_vocab_new(&g, out);
    }

    free(bytes);
    free(kinds);

    return rc;
}


void
vocab_text_free(vocab_text_t *t)
{
    uint32_t i;

    if (t == NULL) {
        return;
    }

    for (i = 0; i < t->n; i++) {
        text_scratch_free(t->stock[i]);
    }

    pthread_mutex_destroy(&t->lock);
    free(t);
}


static int
vocab_kind(const text_tokenizer_t *tok, int32_t id)
{
    switch (text_token_type(tok, id)) {

    case TEXT_NORMAL:
    case TEXT_USER_DEFINED:
    case TEXT_BYTE:
        return GRAMMAR_TOKEN_TEXT;

    case TEXT_CONTROL:
        return GRAMMAR_TOKEN_CONTROL;

    default:
        return GRAMMAR_TOKEN_NONE;
    }
}


static int
vocab_tokenize(void *data, const char *text, size_t len, int32_t *tokens,
               uint32_t cap)
{
    ssize_t n;

    n = vocab_encode(data, text, len, tokens, cap);

    if (n < 0) {
        return (int) n;
    }

    return n > (ssize_t) cap ? -E2BIG : (int) n;
}


static ssize_t
vocab_encode(vocab_text_t *t, const char *text, size_t len, int32_t *tokens,
             uint32_t cap)
{
    text_scratch_t *scratch = NULL;
    ssize_t         n;

    pthread_mutex_lock(&t->lock);
    if (t->n) {
        scratch = t->stock[--t->n];
    }
    pthread_mutex_unlock(&t->lock);

    if (scratch == NULL) {
        scratch = text_scratch_new();
        if (scratch == NULL) {
            return -ENOMEM;
        }
    }

    n = text_encode(t->tokenizer, text, len, NULL, 0, tokens, cap, scratch);

    pthread_mutex_lock(&t->lock);
    if (t->n < VOCAB_SCRATCHES) {
        t->stock[t->n++] = scratch;
        scratch = NULL;
    }
    pthread_mutex_unlock(&t->lock);

    text_scratch_free(scratch);

    return n;
}
