/*
 * Strings of tool-call formats as regular languages over a vocabulary.
 */

#include <stdlib.h>
#include "engine/serve/front_grammar_priv.h"

static re_t   tag_make(fg_t *g, const char *s, size_t len, int *ended);
static size_t tag_control(fg_t *g, const char *s, size_t len, int *eog);
static re_t   tag_space(fg_t *g);
static int    tag_is_space(char c);


re_t
fg_tag(fg_t *g, const char *s, size_t len, int *ended)
{
    fg_tag_t *tag;
    uint32_t  i;

    for (i = 0; i < g->n_tags; i++) {
        if (g->tags[i].s == s && g->tags[i].len == len) {
            break;
        }
    }

    if (i == FG_TAGS_KNOWN) {
        return tag_make(g, s, len, ended);
    }

    tag = &g->tags[i];

    if (i == g->n_tags) {
        *tag = (fg_tag_t){.s = s, .len = len};
        tag->re = tag_make(g, s, len, &tag->ended);
        g->n_tags++;
    }

    /* Who does not ask wants all of it. */
    if (tag->ended && ended == NULL) {
        return tag_make(g, s, len, NULL);
    }

    if (tag->ended) {
        *ended = 1;
    }

    return tag->re;
}


static re_t
tag_make(fg_t *g, const char *s, size_t len, int *ended)
{
    re_t   out = RE_EMPTY, piece;
    size_t i = 0, n, text;
    int    eog;

    while (i < len) {
        n = tag_control(g, s + i, len - i, &eog);

        if (n && eog && ended) {
            *ended = 1;
            return out;
        }

        if (n) {
            piece = re_run(g->re, "\xff", 1, re_run(g->re, s + i, n, RE_EMPTY));
            out = re_concat(g->re, out, piece);
            i += n;
            continue;
        }

        for (text = i++; i < len && !tag_control(g, s + i, len - i, &eog);
             i++) {
            /* void */
        }

        out =
            re_concat(g->re, out, re_run(g->re, s + text, i - text, RE_EMPTY));
    }

    return out;
}


re_t
fg_tag_read(fg_t *g, const char *s, size_t len)
{
    re_t   out = RE_EMPTY, piece;
    size_t i, n;
    int    eog;

    while (len && tag_is_space(*s)) {
        s++;
        len--;
    }

    while (len && tag_is_space(s[len - 1])) {
        len--;
    }

    for (i = 0; i < len; i += n) {
        if (tag_is_space(s[i])) {
            for (n = 1; i + n < len && tag_is_space(s[i + n]); n++) {
                /* void */
            }

            out = re_concat(g->re, out, tag_space(g));
            continue;
        }

        n = tag_control(g, s + i, len - i, &eog);
        piece = re_run(g->re, s + i, n ? n : 1, RE_EMPTY);

        if (n) {
            piece = re_concat(
                g->re, re_repeat(g->re, re_byte_range(g->re, 0xff, 0xff), 0, 1),
                piece);
        }

        out = re_concat(g->re, out, piece);
        n = n ? n : 1;
    }

    return out;
}


re_t
fg_free(fg_t *g, const re_t *tags, size_t n, re_t start)
{
    re_t any = re_or_n(g->re, tags, n), none;

    none = re_concat(g->re, RE_ALL, re_concat(g->re, any, RE_ALL));

    if (start != RE_NONE) {
        none = re_or(g->re, none,
                     re_concat(g->re, tag_space(g),
                               re_concat(g->re, start, RE_ALL)));
    }

    return re_not(g->re, none);
}


re_t
fg_tag_at(fg_t *g, const char *s, int first, int *ended)
{
    const char *prime = first ? g->f->prime : NULL;
    size_t      n = prime ? strlen(prime) : 0;

    if (n && strncmp(s, prime, n) == 0) {
        s += n;
    }

    return fg_tag(g, s, strlen(s), ended);
}


/*
 * The length of the control token that is spelt at s, or 0.  Only what looks
 * like one is asked for: such names stand in brackets.
 */

static size_t
tag_control(fg_t *g, const char *s, size_t len, int *eog)
{
    const vocab_t *v = &g->r->version->vocab;
    uint8_t        trusted[TEXT_MAX_SPECIAL];
    int32_t        ids[8];
    const char    *name;
    size_t         i, n;

    *eog = 0;

    if (*s != '<' && *s != '[' && *s != ']') {
        return 0;
    }

    memset(trusted, 1, sizeof(trusted));

    for (i = 1; i < len && i < 64; i++) {
        if (s[i] != '>' && s[i] != ']' && s[i] != '[') {
            continue;
        }

        if (text_encode(v->tokenizer, s, i + 1, trusted, 0, ids,
                        llm_countof(ids), g->scratch)
                != 1
            || !text_token_is_control(v->tokenizer, ids[0])) {
            continue;
        }

        name = text_token_bytes(v->tokenizer, ids[0], &n);
        if (name && n == i + 1 && memcmp(name, s, n) == 0) {
            *eog = vocab_is_eog(v, ids[0]);
            return n;
        }
    }

    return 0;
}


static re_t
tag_space(fg_t *g)
{
    static const uint64_t space[4] = {1ull << ' ' | 1ull << '\t' | 1ull << '\n'
                                      | 1ull << '\r'};

    return re_repeat(g->re, re_class(g->re, space), 0, RE_INF);
}


static int
tag_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
