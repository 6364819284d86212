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
static int  text_build_bpe(text_tokenizer_t *tok, const text_vocab_t *v,
                           char *err, size_t err_size);
static int  text_piece(text_enc_t *e, const char *p, size_t len, bool first);
static size_t text_blanks_at(const char *p, size_t len);
static size_t text_blanks_before(const char *p, size_t len);
static size_t text_blank(const char *p, size_t len);
static int    text_encode_parts(const text_tokenizer_t *tok, const char *text,
                                size_t len, const uint8_t *trusted, text_enc_t *e);


static inline bool
text_kind_is(const text_vocab_t *v, const char *kind)
{
    return v->model.len == strlen(kind)
           && memcmp(v->model.data, kind, v->model.len) == 0;
}


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

    tok->n_tokens = v->n_tokens;
    tok->off = calloc(v->n_tokens + 1, sizeof(uint32_t));
    tok->types = calloc(v->n_tokens, 1);
    tok->strips = v->strips ? malloc(v->n_tokens) : NULL;

    if (tok->off == NULL || tok->types == NULL
        || (v->strips && tok->strips == NULL)) {
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    if (v->strips) {
        memcpy(tok->strips, v->strips, v->n_tokens);
    }

    tok->add_bos = v->add_bos != 0;
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

    if (text_kind_is(v, "llama")) {
        return text_spm_build(tok, v, err, err_size);
    }

    return text_build_bpe(tok, v, err, err_size);
}


static int
text_build_bpe(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
               size_t err_size)
{
    int rc;

    if (v->add_space_prefix || v->remove_extra_whitespaces) {
        return text_fail(err, err_size, -ENOTSUP,
                         "byte-level BPE with %s is not supported",
                         v->add_space_prefix ? "a space prefix"
                                             : "whitespace removed");
    }

    rc = text_pre_new(v->pre, &tok->pre, err, err_size);
    if (rc != 0) {
        return rc;
    }

    if (v->add_bos < 0) {
        tok->add_bos = text_pre_adds_bos(tok->pre);
    }

    tok->ignore_merges = v->ignore_merges < 0
                             ? text_pre_ignores_merges(tok->pre)
                             : v->ignore_merges;

    if (v->nfc < 0 ? text_pre_is_nfc(tok->pre) : v->nfc) {
        rc = text_nfc_build(tok, err, err_size);
    }

    return rc != 0 ? rc : text_bpe_build(tok, v, err, err_size);
}


static int
text_check_vocab(const text_vocab_t *v, char *err, size_t err_size)
{
    const int32_t ids[] = {v->bos, v->eos, v->eot, v->unk, v->pad};
    size_t        i;

    if (!text_kind_is(v, "gpt2") && !text_kind_is(v, "llama")) {
        return text_fail(err, err_size, -ENOTSUP,
                         "tokenizer model '%.*s' is not supported",
                         (int) (v->model.len < 64 ? v->model.len : 64),
                         v->model.data);
    }

    if (v->n_tokens == 0 || v->n_tokens > TEXT_MAX_TOKENS
        || v->n_merges > 4 * (size_t) TEXT_MAX_TOKENS) {
        return text_fail(err, err_size, -EINVAL, "impossible vocabulary size");
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

        if ((type == TEXT_USER_DEFINED || type == TEXT_UNKNOWN)
            && text_is_pad(&v->tokens[i], i)) {
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
    free(tok_take->strips);
    free(tok_take->active);
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
    text_enc_t e = {tok, scratch, text_bpe_word, out, cap, 0, SIZE_MAX};
    int        rc;

    if (len > TEXT_MAX_INPUT) {
        return -EFBIG;
    }

    if ((flags & TEXT_ADD_BOS) && tok->add_bos && tok->bos >= 0) {
        text_emit(&e, tok->bos);
    }

    rc = tok->spm ? text_spm_spaces(scratch, &text, &len, &trusted) : 0;

    if (rc == 0) {
        rc = text_encode_parts(tok, text, len, trusted, &e);
    }

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
    size_t  i, start, end, n;
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

        end = i;

        if (tok->strips && (tok->strips[id] & TEXT_LSTRIP)) {
            end -= text_blanks_before(text + start, i - start);
        }

        rc = text_piece(e, text + start, end - start, start == 0);
        if (rc != 0) {
            return rc;
        }

        text_emit(e, id);
        i += n;

        if (tok->strips && (tok->strips[id] & TEXT_RSTRIP)) {
            i += text_blanks_at(text + i, len - i);
        }

        start = i;
    }

    return text_piece(e, text + start, len - start, start == 0);
}


/* Text without special tokens; first: it is at the beginning of all. */
static int
text_piece(text_enc_t *e, const char *p, size_t len, bool first)
{
    const text_tokenizer_t *tok = e->tok;
    int                     rc;

    if (tok->spm) {
        return text_spm_piece(e, p, len, first);
    }

    if (tok->active) {
        rc = text_nfc(tok, e->scratch, &p, &len);
        if (rc != 0) {
            return rc;
        }
    }

    return text_pre_split(tok->pre, p, len, e);
}


/* Bytes of the blanks (White_Space) that p begins with. */
static size_t
text_blanks_at(const char *p, size_t len)
{
    size_t i, n;

    for (i = 0; i < len; i += n) {
        n = text_blank(p + i, len - i);

        if (n == 0) {
            break;
        }
    }

    return i;
}


/* Bytes of the blanks that it ends with. */
static size_t
text_blanks_before(const char *p, size_t len)
{
    size_t i, n;

    i = len;

    while (i > 0) {
        for (n = 1; n <= 3 && n <= i; n++) {
            if (text_blank(p + i - n, n) == n) {
                break;
            }
        }

        if (n > 3 || n > i) {
            break;
        }

        i -= n;
    }

    return len - i;
}


/* Length of the blank that is at p, or 0. */
static size_t
text_blank(const char *p, size_t len)
{
    const uint8_t *u = (const uint8_t *) p;

    if (len > 0 && (u[0] == ' ' || (u[0] >= 9 && u[0] <= 13))) {
        return 1;
    }

    if (len > 1 && u[0] == 0xc2 && (u[1] == 0x85 || u[1] == 0xa0)) {
        return 2;
    }

    if (len < 3) {
        return 0;
    }

    switch (u[0] << 16 | u[1] << 8 | u[2]) {
    case 0xe19a80: /* U+1680 */
    case 0xe280a8: /* U+2028 */
    case 0xe280a9:
    case 0xe280af: /* U+202F */
    case 0xe2819f: /* U+205F */
    case 0xe38080: /* U+3000 */
        return 3;

    default:
        /* U+2000 to U+200A */
        return u[0] == 0xe2 && u[1] == 0x80 && u[2] >= 0x80 && u[2] <= 0x8a ? 3
                                                                            : 0;
    }
}


size_t
text_encode_max(const text_tokenizer_t *tok, size_t len)
{
    /* A prefix for each piece, of which special tokens are between. */

    if (tok->spm) {
        return tok->space_prefix ? 2 * len + 4 : len + 2;
    }

    return tok->active ? 3 * len + 2 : len + 2;
}


size_t
text_prefix_len(const text_tokenizer_t *tok, int32_t first)
{
    const char *p;
    size_t      len;

    if (!tok->space_prefix || (text_token_type(tok, first) != TEXT_NORMAL)) {
        return 0;
    }

    p = text_token_bytes(tok, first, &len);

    return len > 0 && p[0] == ' ';
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
