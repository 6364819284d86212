/*
 * A small vocabulary for tests: all 256 bytes, a few merges, and special
 * tokens of each kind; ids below.
 */

#ifndef LLM_T_TEXT_SMALL_H
#define LLM_T_TEXT_SMALL_H

#include "engine/text/tokenizer.h"

#include <string.h>

enum {
    SMALL_HE = 256,
    SMALL_LL,
    SMALL_HELL,
    SMALL_HELLO,
    SMALL_AB,
    SMALL_BC,
    SMALL_ABC, /* by "ab c", but "bc" is better: "abc" is a bc */
    SMALL_SPACE_X,
    SMALL_AA,
    SMALL_AAAA,
    SMALL_LT_S,    /* "<!" */
    SMALL_LT_S_GT, /* "<!>": control, and a merge leads to it */
    SMALL_END,     /* "<|end|>": control */
    SMALL_ENDX,    /* "<|end|>x": control, longer */
    SMALL_THINK,   /* "<think>": user-defined, protected */
    SMALL_BR,      /* "<br>": user-defined */
    SMALL_BRBR,    /* "<br><br>": user-defined */
    SMALL_PAD,     /* "[PAD273]": user-defined, a filler */
    SMALL_UNUSED,  /* "<unused>": unused */
    SMALL_N
};

typedef struct {
    char       spelled[256][3];
    text_str_t tokens[SMALL_N];
    int32_t    types[SMALL_N];
    uint8_t    protect[SMALL_N];
    text_str_t merges[16];
} small_t;


/* Fills v over s, whose addresses it keeps. */
__attribute__((unused)) static void
small_vocab(small_t *s, text_vocab_t *v)
{
    static const struct {
        const char *text;
        int         type;
    } more[] = {
        {"he", TEXT_NORMAL},
        {"ll", TEXT_NORMAL},
        {"hell", TEXT_NORMAL},
        {"hello", TEXT_NORMAL},
        {"ab", TEXT_NORMAL},
        {"bc", TEXT_NORMAL},
        {"abc", TEXT_NORMAL},
        {"\xc4\xa0x", TEXT_NORMAL},
        {"aa", TEXT_NORMAL},
        {"aaaa", TEXT_NORMAL},
        {"<!", TEXT_NORMAL},
        {"<!>", TEXT_CONTROL},
        {"<|end|>", TEXT_CONTROL},
        {"<|end|>x", TEXT_CONTROL},
        {"<think>", TEXT_USER_DEFINED},
        {"<br>", TEXT_USER_DEFINED},
        {"<br><br>", TEXT_USER_DEFINED},
        {"[PAD273]", TEXT_USER_DEFINED},
        {"<unused>", TEXT_UNUSED},
    };
    static const char *merges[] = {
        "h e",  "l l",        "he ll", "hell o", "b c", "a b",
        "ab c", "\xc4\xa0 x", "a a",   "aa aa",  "< !", "<! >",
    };
    unsigned b, c, next;
    size_t   i;

    memset(s, 0, sizeof(*s));
    memset(v, 0, sizeof(*v));
    next = 256;

    for (b = 0; b < 256; b++) {
        c = b;

        if (b < 0x21 || (b > 0x7e && b < 0xa1) || b == 0xad) {
            c = next++;
        }

        if (c < 0x80) {
            s->spelled[b][0] = (char) c;

        } else {
            s->spelled[b][0] = (char) (0xc0 | c >> 6);
            s->spelled[b][1] = (char) (0x80 | (c & 0x3f));
        }

        s->tokens[b].data = s->spelled[b];
        s->tokens[b].len = c < 0x80 ? 1 : 2;
        s->types[b] = TEXT_NORMAL;
    }

    for (i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        s->tokens[256 + i].data = more[i].text;
        s->tokens[256 + i].len = strlen(more[i].text);
        s->types[256 + i] = more[i].type;
    }

    for (i = 0; i < sizeof(merges) / sizeof(merges[0]); i++) {
        s->merges[i].data = merges[i];
        s->merges[i].len = strlen(merges[i]);
    }

    s->protect[SMALL_THINK] = 1;

    v->model = (text_str_t){"gpt2", 4};
    v->pre = (text_str_t){"gpt-2", 5};
    v->n_tokens = SMALL_N;
    v->tokens = s->tokens;
    v->types = s->types;
    v->n_merges = sizeof(merges) / sizeof(merges[0]);
    v->merges = s->merges;
    v->protect = s->protect;
    v->bos = SMALL_LT_S_GT;
    v->eos = SMALL_END;
    v->eot = v->unk = v->pad = -1;
    v->nfc = v->ignore_merges = -1;
}


#endif /* LLM_T_TEXT_SMALL_H */
