/*
 * Tokenizer: construction, look-ups and the encoder's outer loop, see
 * tokenizer.h; text_priv.h says what is where.
 *
 * A tokenizer is built on a loader thread and immutable then; text_encode()
 * runs on any thread, each with its own scratch.
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>


static int  text_build(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                       size_t err_size);
static int  text_check_vocab(const text_vocab_t *v, char *err, size_t err_size);
static int  text_types(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                       size_t err_size);
static bool text_is_pad(const text_str_t *s, size_t id);
static int  text_encode_parts(const text_tokenizer_t *tok, const char *text,
                              size_t len, const uint8_t *trusted, text_enc_t *e);


int
text_tokenizer_new(const text_vocab_t *v, text_tokenizer_t **out_new, char *err,
                   size_t err_size)
{
    text_tokenizer_t *tok;
    int               rc;

    rc = text_check_vocab(v, err, err_size);
    if (rc != 0) {
        return rc;
    }

    tok = calloc(1, sizeof(text_tokenizer_t));
    if (tok == NULL) {
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    rc = text_build(tok, v, err, err_size);
    if (rc != 0) {
        text_tokenizer_free(tok);
        return rc;
    }

    *out_new = tok;
    return 0;
}


static int
text_build(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
           size_t err_size)
{
    int rc;

    rc = text_pre_new(v->pre, &tok->pre, err, err_size);
    if (rc != 0) {
        return rc;
    }

    tok->n_tokens = v->n_tokens;
    tok->off = calloc(v->n_tokens + 1, sizeof(uint32_t));
    tok->types = calloc(v->n_tokens, 1);

    if (tok->off == NULL || tok->types == NULL) {
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    tok->add_bos = v->add_bos < 0 ? text_pre_adds_bos(tok->pre) : v->add_bos;
    tok->add_eos = v->add_eos;
    tok->bos = v->bos;
    tok->eos = v->eos;
    tok->eot = v->eot;
    tok->unk = v->unk;
    tok->pad = v->pad;

    rc = text_types(tok, v, err, err_size);
    if (rc != 0) {
        return rc;
    }

    return text_bpe_build(tok, v, err, err_size);
}


static int
text_check_vocab(const text_vocab_t *v, char *err, size_t err_size)
{
    const int32_t ids[] = {v->bos, v->eos, v->eot, v->unk, v->pad};
    size_t        i;

    if (v->model.len != 4 || memcmp(v->model.data, "gpt2", 4) != 0) {
        return text_fail(err, err_size, -ENOTSUP,
                         "tokenizer model '%.*s' is not supported",
                         (int) (v->model.len < 64 ? v->model.len : 64),
                         v->model.data);
    }

    if (v->n_tokens == 0 || v->n_tokens > TEXT_MAX_TOKENS
        || v->n_merges > 4 * (size_t) TEXT_MAX_TOKENS) {
        return text_fail(err, err_size, -EINVAL, "impossible vocabulary size");
    }

    if (v->add_space_prefix) {
        return text_fail(err, err_size, -ENOTSUP,
                         "byte-level BPE with a space prefix is not supported");
    }

    for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        if (ids[i] < -1 || ids[i] >= (int64_t) v->n_tokens) {
            return text_fail(err, err_size, -EINVAL,
                             "special token id %d is outside the vocabulary",
                             ids[i]);
        }
    }

    return 0;
}


static int
text_types(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
           size_t err_size)
{
    size_t  i;
    int32_t type;

    for (i = 0; i < v->n_tokens; i++) {
        type = v->types ? v->types[i] : TEXT_NORMAL;

        if (type < TEXT_NORMAL || type > TEXT_BYTE) {
            return text_fail(err, err_size, -EINVAL, "token %zu: type %d", i,
                             type);
        }

        if (type == TEXT_USER_DEFINED && text_is_pad(&v->tokens[i], i)) {
            type = TEXT_UNUSED;
        }

        tok->types[i] = (uint8_t) type;

        if (type == TEXT_CONTROL || type == TEXT_UNKNOWN
            || (type == TEXT_USER_DEFINED && v->protect && v->protect[i])) {
            tok->types[i] |= TEXT_GUARDED;
        }
    }

    return 0;
}


/*
 * "[PAD<id>]": what converters write where the embedding has more rows than
 * the tokenizer tokens.  The original knows no such token, nor must text.
 */
static bool
text_is_pad(const text_str_t *s, size_t id)
{
    char name[32];
    int  n;

    n = snprintf(name, sizeof(name), "[PAD%zu]", id);

    return s->len == (size_t) n && memcmp(s->data, name, s->len) == 0;
}


void
text_tokenizer_free(text_tokenizer_t *tok_take)
{
    if (tok_take == NULL) {
        return;
    }

    text_pre_free(tok_take->pre);
    free(tok_take->off);
    free(tok_take->bytes);
    free(tok_take->types);
    free(tok_take->words);
    free(tok_take->merges);
    free(tok_take->nodes);
    free(tok_take);
}


ssize_t
text_encode(const text_tokenizer_t *tok, const char *text, size_t len,
            const uint8_t *trusted, unsigned flags, int32_t *out, size_t cap,
            text_scratch_t *scratch)
{
    text_enc_t e = {tok, scratch, text_bpe_word, out, cap, 0};
    int        rc;

    if (len > TEXT_MAX_INPUT) {
        return -EFBIG;
    }

    if ((flags & TEXT_ADD_BOS) && tok->add_bos && tok->bos >= 0) {
        text_emit(&e, tok->bos);
    }

    rc = text_encode_parts(tok, text, len, trusted, &e);

    text_scratch_trim(scratch);

    if (rc != 0) {
        return rc;
    }

    if ((flags & TEXT_ADD_EOS) && tok->add_eos && tok->eos >= 0) {
        text_emit(&e, tok->eos);
    }

    return (ssize_t) e.n;
}


/* Special tokens, and the text between them. */
static int
text_encode_parts(const text_tokenizer_t *tok, const char *text, size_t len,
                  const uint8_t *trusted, text_enc_t *e)
{
    size_t  i, start, n;
    int32_t id;
    int     rc;

    start = 0;
    i = 0;

    if (trusted == NULL && !tok->unguarded) {
        i = len;
    }

    while (i < len) {
        if (tok->first[(uint8_t) text[i]] == 0) {
            i++;
            continue;
        }

        id = text_special_match(tok, text + i, len - i,
                                trusted ? trusted + i : NULL, &n);
        if (id < 0) {
            i++;
            continue;
        }

        rc = text_pre_split(tok->pre, text + start, i - start, e);
        if (rc != 0) {
            return rc;
        }

        text_emit(e, id);
        i += n;
        start = i;
    }

    return text_pre_split(tok->pre, text + start, len - start, e);
}


const text_word_t *
text_word_find(const text_tokenizer_t *tok, const char *p, size_t len)
{
    const text_word_t *w;
    uint32_t           h, i;

    h = text_hash(p, len);

    for (i = h;; i++) {
        w = &tok->words[i & tok->words_mask];

        if (w->len == 0) {
            return NULL;
        }

        if (w->hash == h && w->len == len
            && memcmp(tok->bytes + w->off, p, len) == 0) {
            return w;
        }
    }
}


const char *
text_token_bytes(const text_tokenizer_t *tok, int32_t id, size_t *len)
{
    if (id < 0 || (size_t) id >= tok->n_tokens) {
        *len = 0;
        return NULL;
    }

    *len = tok->off[id + 1] - tok->off[id];
    return tok->bytes + tok->off[id];
}


int
text_token_type(const text_tokenizer_t *tok, int32_t id)
{
    if (id < 0 || (size_t) id >= tok->n_tokens) {
        return 0;
    }

    return tok->types[id] & TEXT_TYPE;
}


bool
text_token_is_control(const text_tokenizer_t *tok, int32_t id)
{
    switch (text_token_type(tok, id)) {
    case TEXT_CONTROL:
    case TEXT_UNKNOWN:
    case TEXT_UNUSED:
        return true;

    default:
        return false;
    }
}


int32_t
text_token_find(const text_tokenizer_t *tok, const char *s, size_t len)
{
    return len > 0 ? text_special_find(tok, s, len) : -1;
}


int32_t
text_token_find_any(const text_tokenizer_t *tok, const char *s, size_t len)
{
    const text_word_t *w;
    int32_t            id;

    id = text_token_find(tok, s, len);
    w = len > 0 ? text_word_find(tok, s, len) : NULL;

    if (w != NULL && (id < 0 || (w->id & ~TEXT_INDIRECT) < id)) {
        id = w->id & ~TEXT_INDIRECT;
    }

    return id;
}


size_t
text_vocab_size(const text_tokenizer_t *tok)
{
    return tok->n_tokens;
}


size_t
text_token_max(const text_tokenizer_t *tok)
{
    return tok->max;
}


int32_t
text_bos(const text_tokenizer_t *tok)
{
    return tok->bos;
}


int32_t
text_eos(const text_tokenizer_t *tok)
{
    return tok->eos;
}


int32_t
text_eot(const text_tokenizer_t *tok)
{
    return tok->eot;
}


int32_t
text_unk(const text_tokenizer_t *tok)
{
    return tok->unk;
}


int32_t
text_pad(const text_tokenizer_t *tok)
{
    return tok->pad;
}


bool
text_adds_bos(const text_tokenizer_t *tok)
{
    return tok->add_bos;
}


int
text_fail(char *err, size_t err_size, int rc, const char *fmt, ...)
{
    va_list ap;

    if (err_size > 0) {
        va_start(ap, fmt);
        vsnprintf(err, err_size, fmt, ap);
        va_end(ap);
    }

    return rc;
}
