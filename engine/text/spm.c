/*
 * SentencePiece BPE: text to tokens, see tokenizer.h; spm_build.c makes the
 * tables.
 *
 * They are immutable; any thread may encode, with a scratch of its own.
 * U+2581 and the space are one character here, spelled as the space: in tokens
 * when they are read, in text where it occurs.  So ordinary text is not changed
 * before it is merged.
 *
 * The original merges a whole text at once.  Here it is cut before each run of
 * spaces first, unless a token goes across such a place (glued): no merge does
 * then, and what is best inside of a word does not depend on other words.
 *
 * A character without a token becomes its byte tokens, if there are all; or
 * one unknown token for all such characters in a row.
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdlib.h>


#define SPM_SPACE "\xe2\x96\x81"


static size_t  spm_collapse(const char *p, size_t len, char *out);
static int     spm_words(text_enc_t *e, const char *p, size_t len);
static int     spm_word(text_enc_t *e, const char *p, size_t len);
static int     spm_long(text_enc_t *e, const char *p, size_t len, size_t *used);
static int32_t spm_char(const text_tokenizer_t *tok, const char *p, size_t len,
                        size_t *n);
static void    spm_unknown(text_enc_t *e, const char *p, size_t len);


int
text_spm_spaces(text_scratch_t *scratch, const char **text, size_t *len,
                const uint8_t **trusted)
{
    const char *p = *text;
    uint8_t    *trust;
    size_t      i, n;
    char       *out;

    if (*len == 0 || memmem(p, *len, SPM_SPACE, 3) == NULL) {
        return 0;
    }

    out = text_scratch_get(scratch, TEXT_ROOM_TEXT, *trusted ? 2 * *len : *len);
    if (out == NULL) {
        return -ENOMEM;
    }

    trust = (uint8_t *) out + *len;
    n = 0;

    for (i = 0; i < *len; i++) {
        if (*len - i >= 3 && memcmp(p + i, SPM_SPACE, 3) == 0) {
            if (*trusted) {
                trust[n] =
                    (*trusted)[i] && (*trusted)[i + 1] && (*trusted)[i + 2];
            }

            out[n++] = ' ';
            i += 2;
            continue;
        }

        if (*trusted) {
            trust[n] = (*trusted)[i];
        }

        out[n++] = p[i];
    }

    *text = out;
    *len = n;
    *trusted = *trusted ? trust : NULL;

    return 0;
}


int
text_spm_piece(text_enc_t *e, const char *p, size_t len, bool first)
{
    const text_tokenizer_t *tok = e->tok;
    bool                    lead;
    char                   *out;
    size_t                  n;

    if (len == 0) {
        return 0;
    }

    lead = tok->space_prefix
           && (tok->prefix == TEXT_PREFIX_EACH
               || (p[0] != ' ' && (tok->prefix == TEXT_PREFIX_BLANK || first)));

    if (!lead && !tok->remove_ws) {
        return spm_words(e, p, len);
    }

    out = text_scratch_get(e->scratch, TEXT_ROOM_SEGMENT, len + 1);
    if (out == NULL) {
        return -ENOMEM;
    }

    out[0] = ' ';
    n = len;

    if (tok->remove_ws) {
        n = spm_collapse(p, len, out + 1);

    } else {
        memcpy(out + 1, p, len);
    }

    if (n == 0) {
        return 0;
    }

    return spm_words(e, lead ? out : out + 1, lead ? n + 1 : n);
}


static size_t
spm_collapse(const char *p, size_t len, char *out)
{
    size_t i, n;

    n = 0;

    for (i = 0; i < len; i++) {
        if (p[i] != ' ' || (n > 0 && out[n - 1] != ' ')) {
            out[n++] = p[i];
        }
    }

    return n > 0 && out[n - 1] == ' ' ? n - 1 : n;
}


static int
spm_words(text_enc_t *e, const char *p, size_t len)
{
    const char *space;
    size_t      start, i;
    int         rc;

    start = 0;
    i = 1;

    while (i < len) {
        space = memchr(p + i, ' ', len - i);
        if (space == NULL) {
            break;
        }

        i = (size_t) (space - p);

        if (p[i - 1] != ' ' && !e->tok->glued[(uint8_t) p[i - 1]]) {
            rc = spm_word(e, p + start, i - start);
            if (rc != 0) {
                return rc;
            }

            start = i;
        }

        i++;
    }

    return spm_word(e, p + start, len - start);
}


static int
spm_word(text_enc_t *e, const char *p, size_t len)
{
    const text_word_t *w;

    if (len <= e->tok->max_word) {
        w = text_word_find(e->tok, p, len);

        if (w != NULL && (w->id & TEXT_INDIRECT) == 0) {
            text_emit(e, w->id);
            return 0;
        }
    }

    return text_spm_slow(e, p, len);
}


int
text_spm_slow(text_enc_t *e, const char *p, size_t len)
{
    int32_t ids[TEXT_SHORT], id;
    size_t  i, n, c;
    int     rc;

    while (len > 0) {
        n = 0;
        id = 0;
        c = 0;

        for (i = 0; i < len; i += c) {
            id = spm_char(e->tok, p + i, len - i, &c);

            if (id < 0 || n == TEXT_SHORT) {
                break;
            }

            ids[n++] = id;
        }

        if (i < len && id >= 0) {
            rc = spm_long(e, p, len, &i);
            if (rc != 0) {
                return rc;
            }

        } else {
            text_merge_short(e, ids, n);
        }

        p += i;
        len -= i;

        if (len > 0) {
            spm_char(e->tok, p, len, &c);
            spm_unknown(e, p, c);
            p += c;
            len -= c;
        }
    }

    return 0;
}


/* Up to the first character without a token. */
static int
spm_long(text_enc_t *e, const char *p, size_t len, size_t *used)
{
    text_long_t l;
    int32_t     id;
    size_t      i, n, c;

    if (text_merge_room(e, &l, len) != 0) {
        return -ENOMEM;
    }

    n = 0;

    for (i = 0; i < len; i += c) {
        id = spm_char(e->tok, p + i, len - i, &c);

        if (id < 0) {
            break;
        }

        l.id[n++] = id;
    }

    text_merge_long(e, &l, n);
    *used = i;

    return 0;
}


/* The token of the character at p, or -1; its length in bytes. */
static int32_t
spm_char(const text_tokenizer_t *tok, const char *p, size_t len, size_t *n)
{
    const text_word_t *w;
    uint8_t            c = (uint8_t) p[0];

    *n = 1;

    if (c < 0x80) {
        return tok->byte_id[c];
    }

    *n = text_utf8_char(p, len);

    if (*n == 0) {
        *n = 1;
        return -1;
    }

    w = text_word_find(tok, p, *n);

    return w ? w->id & ~TEXT_INDIRECT : -1;
}


static void
spm_unknown(text_enc_t *e, const char *p, size_t len)
{
    const text_tokenizer_t *tok = e->tok;
    size_t                  i;

    for (i = 0; i < len && tok->fallback[(uint8_t) p[i]] >= 0; i++) {
        /* void */
    }

    if (i == len) {
        for (i = 0; i < len; i++) {
            text_emit(e, tok->fallback[(uint8_t) p[i]]);
        }

        return;
    }

    if (tok->unk >= 0 && e->unknown != e->n) {
        text_emit(e, tok->unk);
        e->unknown = e->n;
    }
}
