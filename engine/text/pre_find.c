/*
 * Pre-tokenizers by the steps and patterns that a tokenizer.json has, see
 * text_pre_find() in tokenizer.h.
 *
 * A table of what is published, nothing else: a pattern that is not in it is
 * not known, however much it looks like one that is.  A line end in a pattern
 * may stand there itself or be written as \r or \n.  Pure functions.
 */

#include "engine/text/text_priv.h"


#define FIND_STEPS 4

#define SHORT  "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BLANKS "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define MARKS  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"

#define LLAMA3(DIGITS)                                                         \
    SHORT "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" DIGITS "|" MARKS BLANKS

#define QWEN35                                                                 \
    SHORT "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"                     \
          " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" BLANKS

#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(END, DIGITS)                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" END                           \
    "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" END "|" DIGITS               \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS

#define DEEPSEEK3                                                              \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                   \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"                             \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|" BLANKS

/* U+4E00 to 9FA5 and others, as they stand in the files. */
#define CJK                                                                    \
    "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-"         \
    "\xed\x9f\xbf]+"
#define KANA                                                                   \
    "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-"         \
    "\xe3\x83\xbf]+"


typedef struct {
    int         kind;
    const char *pattern;
} find_step_t;


/*
 * Models are named where the table has their files' steps; others share them.
 */
static const struct {
    const char *name;
    size_t      n;
    find_step_t steps[FIND_STEPS + 1];
} find_table[] = {
    /* GPT-2, OLMo, MPT, Phi-2 */
    {"gpt-2", 1, {{TEXT_STEP_BYTE_LEVEL, NULL}}},
    /* SmolLM and SmolLM2, StarCoder 2, Granite 3, Command R */
    {"smollm", 2, {{TEXT_STEP_DIGITS, NULL}, {TEXT_STEP_BYTE_LEVEL, NULL}}},
    /* Llama 3, SmolLM3; DBRX, Phi-4, Granite 4, OLMo 2 */
    {"llama-bpe", 1, {{TEXT_STEP_SPLIT, LLAMA3("\\p{N}{1,3}")}}},
    /* Qwen 1.5 to 3 */
    {"qwen2", 1, {{TEXT_STEP_SPLIT, LLAMA3("\\p{N}")}}},
    {"qwen35", 1, {{TEXT_STEP_SPLIT, QWEN35}}},
    /* o200k: gpt-oss, Phi-4 mini, Llama 4 */
    {"gpt-4o", 1, {{TEXT_STEP_SPLIT, CASED(SHORT "?", "\\p{N}{1,3}")}}},
    /* Mistral from Nemo on */
    {"tekken", 1, {{TEXT_STEP_SPLIT, CASED("", "\\p{N}")}}},
    {"falcon",
     4,
     {{TEXT_STEP_PUNCTUATION, NULL},
      {TEXT_STEP_BYTE_LEVEL, NULL},
      {TEXT_STEP_DIGIT_RUNS, NULL},
      {TEXT_STEP_SPLIT, "[0-9][0-9][0-9]"}}},
    {"falcon3",
     3,
     {{TEXT_STEP_PUNCTUATION, NULL},
      {TEXT_STEP_BYTE_LEVEL, NULL},
      {TEXT_STEP_DIGITS, NULL}}},
    {"deepseek-coder",
     5,
     {{TEXT_STEP_SPLIT, "[\\r\\n]"},
      {TEXT_STEP_SPLIT, "\\s?\\p{L}+"},
      {TEXT_STEP_SPLIT, "\\s?\\p{P}+"},
      {TEXT_STEP_SPLIT, CJK},
      {TEXT_STEP_DIGITS, NULL}}},
    {"deepseek-v3",
     3,
     {{TEXT_STEP_SPLIT, "\\p{N}{1,3}"},
      {TEXT_STEP_SPLIT, KANA},
      {TEXT_STEP_SPLIT, DEEPSEEK3}}},
};


static bool find_same(const find_step_t *known, const text_step_t *step);


const char *
text_pre_find(const text_step_t *steps, size_t n)
{
    size_t i, k;

    for (i = 0; i < sizeof(find_table) / sizeof(find_table[0]); i++) {
        if (find_table[i].n != n) {
            continue;
        }

        for (k = 0; k < n; k++) {
            if (!find_same(&find_table[i].steps[k], &steps[k])) {
                break;
            }
        }

        if (k == n) {
            return find_table[i].name;
        }
    }

    return NULL;
}


/* A line end in the pattern equals its escape. */
static bool
find_same(const find_step_t *known, const text_step_t *step)
{
    const char *p = known->pattern;
    size_t      i;
    char        c;

    if (known->kind != (int) step->kind) {
        return false;
    }

    if (p == NULL) {
        return true;
    }

    for (i = 0; i < step->pattern.len; i++) {
        c = step->pattern.data[i];

        if (c == '\r' || c == '\n') {
            if (*p++ != '\\') {
                return false;
            }

            c = c == '\r' ? 'r' : 'n';
        }

        if (c == '\0' || *p++ != c) {
            return false;
        }
    }

    return *p == '\0';
}
