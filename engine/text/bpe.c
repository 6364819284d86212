/*
 * Byte-level BPE: a word's bytes become tokens, the best merge first.
 *
 * The tables are built once with the tokenizer and immutable afterwards; any
 * thread may encode, with a scratch of its own.  A word that is a token, and
 * that its own merges lead to (checked when the tables are built), is one
 * look-up; others are merged, see merge.c.
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdlib.h>


static int bpe_bytes(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
                     size_t err_size);
static int bpe_slow(text_enc_t *e, const char *p, size_t len);
static int bpe_long(text_enc_t *e, const char *p, size_t len);
static int32_t bpe_byte_of(uint32_t cp);


int
text_bpe_build(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
               size_t err_size)
{
    int rc;

    rc = bpe_bytes(tok, v, err, err_size);

    if (rc == 0) {
        rc = text_special_build(tok, err, err_size);
    }

    if (rc == 0) {
        rc = text_words_build(tok, err, err_size);
    }

    if (rc == 0) {
        rc = text_merges_build(tok, v, text_bpe_decode, err, err_size);
    }

    if (rc == 0 && !tok->ignore_merges) {
        rc = text_words_check(tok, bpe_slow);
    }

    return rc;
}


/*
 * What each token stands for.  A normal token whose spelling is not in the
 * byte-to-unicode alphabet stands for its spelling, as in the original
 * decoder; no merge leads to it.
 */
static int
bpe_bytes(text_tokenizer_t *tok, const text_vocab_t *v, char *err,
          size_t err_size)
{
    const text_str_t *s;
    size_t            i, total, at;
    ssize_t           n;

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

    at = 0;

    for (i = 0; i < v->n_tokens; i++) {
        s = &v->tokens[i];
        n = -EINVAL;

        if (tok->types[i] == TEXT_NORMAL) {
            n = text_bpe_decode(s->data, s->len, tok->bytes + at);
        }

        if (n < 0) {
            n = (ssize_t) s->len;
            memcpy(tok->bytes + at, s->data, s->len);

            if (tok->types[i] == TEXT_NORMAL) {
                tok->types[i] |= TEXT_RAW;
            }
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


int
text_bpe_word(text_enc_t *e, const char *p, size_t len)
{
    const text_word_t *w;

    if (len <= e->tok->max_word) {
        w = text_word_find(e->tok, p, len);

        if (w != NULL && (w->id & TEXT_INDIRECT) == 0) {
            text_emit(e, w->id);
            return 0;
        }
    }

    return bpe_slow(e, p, len);
}


/* By merging; a byte without a token is left out. */
static int
bpe_slow(text_enc_t *e, const char *p, size_t len)
{
    int32_t ids[TEXT_SHORT], id;
    size_t  i, n;

    if (len > TEXT_SHORT) {
        return bpe_long(e, p, len);
    }

    n = 0;

    for (i = 0; i < len; i++) {
        id = e->tok->byte_id[(uint8_t) p[i]];

        if (id >= 0) {
            ids[n++] = id;
        }
    }

    text_merge_short(e, ids, n);
    return 0;
}


static int
bpe_long(text_enc_t *e, const char *p, size_t len)
{
    text_long_t l;
    size_t      i, n;
    int32_t     id;

    if (text_merge_room(e, &l, len) != 0) {
        return -ENOMEM;
    }

    n = 0;

    for (i = 0; i < len; i++) {
        id = e->tok->byte_id[(uint8_t) p[i]];

        if (id >= 0) {
            l.id[n++] = id;
        }
    }

    text_merge_long(e, &l, n);
    return 0;
}


/*
 * The alphabet: bytes that are printable in Latin-1 stand for themselves as
 * code points, the others for U+0100 and up in their order.
 */
static int32_t
bpe_byte_of(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac)
        || (cp >= 0xae && cp <= 0xff)) {
        return (int32_t) cp;
    }

    if (cp >= 0x100 && cp <= 0x120) {
        return (int32_t) (cp - 0x100);
    }

    if (cp >= 0x121 && cp <= 0x142) {
        return (int32_t) (cp - 0x121 + 0x7f);
    }

    return cp == 0x143 ? 0xad : -1;
}


ssize_t
text_bpe_decode(const char *s, size_t len, char *out)
{
    const uint8_t *p = (const uint8_t *) s;
    uint32_t       cp;
    int32_t        byte;
    size_t         i, n;

    n = 0;

    for (i = 0; i < len; i++) {
        cp = p[i];

        /* The alphabet has one- and two-byte code points only. */

        if (cp >= 0x80) {
            if (cp < 0xc2 || cp > 0xdf || i + 1 == len
                || (p[i + 1] & 0xc0) != 0x80) {
                return -EINVAL;
            }

            cp = (cp & 0x1f) << 6 | (p[++i] & 0x3f);
        }

        byte = bpe_byte_of(cp);
        if (byte < 0) {
            return -EINVAL;
        }

        out[n++] = (char) byte;
    }

    return (ssize_t) n;
}
