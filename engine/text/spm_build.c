/*
 * SentencePiece BPE: its tables, out of a vocabulary's scores or its merges;
 * spm.c is what uses them.
 *
 * Built on a loader thread, immutable afterwards.  Scores become the ranks of
 * merges: each token can be made of any two others whose bytes are its own.
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdlib.h>


/* Longest normal token, in bytes: bounds what its splits cost. */
#define SPM_MAX_TOKEN 1024

#define SPM_SPACE "\xe2\x96\x81"


/* The merges that scores mean, while they are collected. */
typedef struct {
    text_merge_t *list;
    size_t        n;
    size_t        cap;
} spm_merges_t;


static int spm_check(const text_vocab_t *v, char *err, size_t err_size);
static int spm_bytes(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                     size_t err_size);
static ssize_t spm_token(text_tokenizer_t *tok, const text_str_t *s, size_t i,
                         char *out);
static ssize_t spm_decode(const char *s, size_t len, char *out);
static int     spm_byte(const text_str_t *s);
static void    spm_flags(text_tokenizer_t *tok);
static int spm_merges(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                      size_t err_size);
static int spm_splits(const text_tokenizer_t *tok, const text_word_t *w,
                      uint32_t rank, spm_merges_t *m);
static uint32_t spm_rank(float score);


int
text_spm_build(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
               size_t err_size)
{
    int rc;

    tok->spm = true;
    tok->space_prefix = v->add_space_prefix;
    tok->prefix = v->prefix;
    tok->remove_ws = v->remove_extra_whitespaces;

    rc = spm_check(v, err, err_size);

    if (rc == 0) {
        rc = spm_bytes(tok, v, err, err_size);
    }

    if (rc == 0) {
        rc = text_special_build(tok, err, err_size);
    }

    if (rc == 0) {
        rc = text_words_build(tok, err, err_size);
    }

    if (rc == 0 && text_word_find(tok, " ", 1) == NULL) {
        rc = text_fail(err, err_size, -EINVAL, "no token for a space");
    }

    if (rc != 0) {
        return rc;
    }

    spm_flags(tok);

    rc = v->n_merges > 0 ? text_merges_build(tok, v, spm_decode, err, err_size)
                         : spm_merges(tok, v, err, err_size);

    return rc != 0 ? rc : text_words_check(tok, text_spm_slow);
}


static int
spm_check(const text_vocab_t *v, char *err, size_t err_size)
{
    if (v->n_merges == 0 && v->scores == NULL) {
        return text_fail(err, err_size, -EINVAL, "no scores and no merges");
    }

    if (v->nfc > 0 || v->ignore_merges > 0) {
        return text_fail(err, err_size, -ENOTSUP,
                         "SentencePiece with %s is not supported",
                         v->nfc > 0 ? "NFC" : "merges ignored");
    }

    if (v->prefix < TEXT_PREFIX_EACH || v->prefix > TEXT_PREFIX_BLANK) {
        return text_fail(err, err_size, -EINVAL, "space prefix %d", v->prefix);
    }

    return 0;
}


static int
spm_bytes(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
          size_t err_size)
{
    size_t  i, total, at;
    ssize_t n;

    total = 0;

    for (i = 0; i < v->n_tokens; i++) {
        total += v->tokens[i].len;

        if (v->tokens[i].len > UINT32_MAX / 2 || total > UINT32_MAX / 2) {
            return text_fail(err, err_size, -EINVAL, "tokens are too long");
        }
    }

    tok->bytes = malloc(total + 1);
    if (tok->bytes == NULL) {
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    memset(tok->fallback, 0xff, sizeof(tok->fallback));
    at = 0;

    for (i = 0; i < v->n_tokens; i++) {
        n = spm_token(tok, &v->tokens[i], i, tok->bytes + at);
        if (n < 0) {
            return text_fail(err, err_size, -EINVAL, "token %zu is broken", i);
        }

        tok->off[i] = (uint32_t) at;
        at += (size_t) n;

        if ((size_t) n > tok->max) {
            tok->max = (size_t) n;
        }
    }

    tok->off[i] = (uint32_t) at;
    return 0;
}


/* A token's bytes, their number; -EINVAL. */
static ssize_t
spm_token(text_tokenizer_t *tok, const text_str_t *s, size_t i, char *out)
{
    ssize_t n;
    int     byte;

    if (tok->types[i] == TEXT_BYTE) {
        byte = spm_byte(s);

        if (byte < 0) {
            return -EINVAL;
        }

        if (tok->fallback[byte] < 0) {
            tok->fallback[byte] = (int32_t) i;
        }

        out[0] = (char) byte;
        return 1;
    }

    n = spm_decode(s->data, s->len, out);

    if (tok->types[i] == TEXT_NORMAL) {

        /* The original's text has no space: nothing becomes such a token. */

        if (s->len > 0 && memchr(s->data, ' ', s->len) != NULL) {
            tok->types[i] |= TEXT_RAW;

        } else if (n > SPM_MAX_TOKEN) {
            return -EINVAL;
        }
    }

    return n;
}


static ssize_t
spm_decode(const char *s, size_t len, char *out)
{
    size_t i, n;

    n = 0;

    for (i = 0; i < len; i++) {
        if (len - i >= 3 && memcmp(s + i, SPM_SPACE, 3) == 0) {
            out[n++] = ' ';
            i += 2;

        } else {
            out[n++] = s[i];
        }
    }

    return (ssize_t) n;
}


/* The byte of "<0xHH>", or -1. */
static int
spm_byte(const text_str_t *s)
{
    static const char hex[] = "0123456789abcdef0123456789ABCDEF";
    const char       *a, *b;

    if (s->len != 6 || memcmp(s->data, "<0x", 3) != 0 || s->data[5] != '>') {
        return -1;
    }

    a = memchr(hex, s->data[3], 32);
    b = memchr(hex, s->data[4], 32);

    if (a == NULL || b == NULL) {
        return -1;
    }

    return (int) (((a - hex) & 15) << 4 | ((b - hex) & 15));
}


/* What follows from the tokens: glued, and the unknown token. */
static void
spm_flags(text_tokenizer_t *tok)
{
    const char *p;
    size_t      i, k, len;

    for (i = 0; i < tok->n_tokens; i++) {
        if (tok->types[i] == (TEXT_UNKNOWN | TEXT_GUARDED) && tok->unk < 0) {
            tok->unk = (int32_t) i;
        }

        if (tok->types[i] != TEXT_NORMAL) {
            continue;
        }

        p = tok->bytes + tok->off[i];
        len = tok->off[i + 1] - tok->off[i];

        for (k = 1; k < len; k++) {
            if (p[k] == ' ' && p[k - 1] != ' ') {
                tok->glued[(uint8_t) p[k - 1]] = true;
            }
        }
    }
}


static int
spm_merges(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
           size_t err_size)
{
    spm_merges_t       m = {0};
    const text_word_t *w;
    uint32_t           k;
    size_t             i;
    int                rc;

    rc = 0;

    for (k = 0; k <= tok->words_mask && rc == 0; k++) {
        w = &tok->words[k];

        if (w->len == 0) {
            continue;
        }

        rc = v->scores[w->id] == v->scores[w->id] ? 0 : -EDOM;

        if (rc == 0) {
            rc = spm_splits(tok, w, spm_rank(v->scores[w->id]), &m);
        }
    }

    if (rc == 0) {
        rc = text_merges_room(tok, m.n);
    }

    for (i = 0; i < m.n && rc == 0; i++) {
        rc = text_merges_add(tok, (int32_t) (m.list[i].key >> 32),
                             (int32_t) (uint32_t) m.list[i].key, m.list[i].rank,
                             m.list[i].id);
    }

    free(m.list);

    switch (rc) {
    case 0:
        return 0;

    case -EDOM:
        return text_fail(err, err_size, -EINVAL, "a score is not a number");

    case -EINVAL:
        return text_fail(err, err_size, rc, "merges collide");

    default:
        return text_fail(err, err_size, rc, "no memory");
    }
}


/* All pairs of tokens that make a token. */
static int
spm_splits(const text_tokenizer_t *tok, const text_word_t *w, uint32_t rank,
           spm_merges_t *m)
{
    const text_word_t *left, *right;
    const char        *p;
    void              *list;
    size_t             i, cap;

    p = tok->bytes + w->off;

    for (i = 1; i < w->len; i++) {
        if ((p[i] & 0xc0) == 0x80) {
            continue;
        }

        left = text_word_find(tok, p, i);
        right = left ? text_word_find(tok, p + i, w->len - i) : NULL;

        if (right == NULL) {
            continue;
        }

        if (m->n == m->cap) {
            cap = m->cap ? 2 * m->cap : 4096;
            list = realloc(m->list, cap * sizeof(text_merge_t));
            if (list == NULL) {
                return -ENOMEM;
            }

            m->list = list;
            m->cap = cap;
        }

        m->list[m->n++] = (text_merge_t){(uint64_t) (uint32_t) left->id << 32
                                             | (uint32_t) right->id,
                                         rank, w->id};
    }

    return 0;
}


/* Higher scores have lower ranks, equal ones equal ranks. */
static uint32_t
spm_rank(float score)
{
    uint32_t u;

    score += 0.0f; /* -0 is 0 */
    memcpy(&u, &score, 4);

    return u & 0x80000000 ? u : 0x7fffffff - u;
}
