/*
 * A small SentencePiece vocabulary for tests: byte tokens, a few pieces with
 * scores, and special tokens; ids below.
 */

#ifndef LLM_T_TEXT_SMALL_SPM_H
#define LLM_T_TEXT_SMALL_SPM_H

#include "engine/text/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum {
    SPM_UNK, /* "<unk>" */
    SPM_BOS, /* "<s>": control */
    SPM_EOS, /* "</s>": control */
    SPM_BYTE,
    SPM_THE = SPM_BYTE + 256, /* U+2581 "the", and what leads to it */
    SPM_HE,
    SPM_T_,
    SPM_SPACES, /* two of U+2581 */
    SPM_AA,     /* a score with AAAA's: the leftmost first */
    SPM_AAAA,
    SPM_AB,
    SPM_ABC, /* by "bc", which is better than "ab" */
    SPM_BC,
    SPM_X_Y,   /* "x" U+2581 "y": goes across words */
    SPM_X_,    /* "x" U+2581 */
    SPM_SPACE, /* U+2581 */
    SPM_A,     /* a, b, c, d, e, h, t, x, y, and e with an acute accent */
    SPM_B,
    SPM_C,
    SPM_D,
    SPM_E,
    SPM_H,
    SPM_T,
    SPM_X,
    SPM_Y,
    SPM_E_ACUTE,
    SPM_LT, /* "<", "s", ">" */
    SPM_S,
    SPM_GT,
    SPM_LT_S, /* "<s": nothing leads on to the control token */
    SPM_TURN, /* "<t>": user-defined, protected */
    SPM_BR,   /* "<b>": user-defined */
    SPM_NL,   /* "\n": user-defined */
    SPM_NLNL,
    SPM_PAD, /* "[PAD289]": unknown, a filler */
    SPM_N
};

typedef struct {
    char       bytes[256][8];
    text_str_t tokens[SPM_N];
    int32_t    types[SPM_N];
    uint8_t    protect[SPM_N];
    float      scores[SPM_N];
} small_spm_t;


/* Fills v over s, whose addresses it keeps. */
__attribute__((unused)) static void
small_spm(small_spm_t *s, text_vocab_t *v)
{
    static const struct {
        const char *text;
        int         type;
        float       score;
    } more[] = {
        {"\xe2\x96\x81the", TEXT_NORMAL, -1},
        {"he", TEXT_NORMAL, -2},
        {"\xe2\x96\x81t", TEXT_NORMAL, -3},
        {"\xe2\x96\x81\xe2\x96\x81", TEXT_NORMAL, -1000000000.0f},
        {"aa", TEXT_NORMAL, -5},
        {"aaaa", TEXT_NORMAL, -5},
        {"ab", TEXT_NORMAL, -7},
        {"abc", TEXT_NORMAL, -8},
        {"bc", TEXT_NORMAL, -6},
        {"x\xe2\x96\x81y", TEXT_NORMAL, -9},
        {"x\xe2\x96\x81", TEXT_NORMAL, -10},
        {"\xe2\x96\x81", TEXT_NORMAL, -20},
        {"a", TEXT_NORMAL, -21},
        {"b", TEXT_NORMAL, -22},
        {"c", TEXT_NORMAL, -23},
        {"d", TEXT_NORMAL, -24},
        {"e", TEXT_NORMAL, -25},
        {"h", TEXT_NORMAL, -26},
        {"t", TEXT_NORMAL, -27},
        {"x", TEXT_NORMAL, -28},
        {"y", TEXT_NORMAL, -29},
        {"\xc3\xa9", TEXT_NORMAL, -30},
        {"<", TEXT_NORMAL, -31},
        {"s", TEXT_NORMAL, -32},
        {">", TEXT_NORMAL, -33},
        {"<s", TEXT_NORMAL, -11},
        {"<t>", TEXT_USER_DEFINED, 0},
        {"<b>", TEXT_USER_DEFINED, 0},
        {"\n", TEXT_USER_DEFINED, 0},
        {"\n\n", TEXT_USER_DEFINED, 0},
        {"[PAD289]", TEXT_UNKNOWN, 0},
    };
    static const char *first[] = {"<unk>", "<s>", "</s>"};
    size_t             i;

    memset(s, 0, sizeof(*s));
    memset(v, 0, sizeof(*v));

    for (i = 0; i < 3; i++) {
        s->tokens[i] = (text_str_t){first[i], strlen(first[i])};
        s->types[i] = i == 0 ? TEXT_UNKNOWN : TEXT_CONTROL;
    }

    for (i = 0; i < 256; i++) {
        snprintf(s->bytes[i], sizeof(s->bytes[i]), "<0x%02X>", (unsigned) i);
        s->tokens[SPM_BYTE + i] = (text_str_t){s->bytes[i], 6};
        s->types[SPM_BYTE + i] = TEXT_BYTE;
    }

    for (i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        s->tokens[SPM_THE + i] =
            (text_str_t){more[i].text, strlen(more[i].text)};
        s->types[SPM_THE + i] = more[i].type;
        s->scores[SPM_THE + i] = more[i].score;
    }

    s->protect[SPM_TURN] = 1;

    v->model = (text_str_t){"llama", 5};
    v->n_tokens = SPM_N;
    v->tokens = s->tokens;
    v->types = s->types;
    v->scores = s->scores;
    v->protect = s->protect;
    v->add_space_prefix = true;
    v->add_bos = v->nfc = v->ignore_merges = -1;
    v->bos = SPM_BOS;
    v->eos = SPM_EOS;
    v->unk = SPM_UNK;
    v->eot = v->pad = -1;
}


#endif /* LLM_T_TEXT_SMALL_SPM_H */
