/*
 * Pre-tokenizers: text to words by the regular expressions of model families.
 *
 * A pre-tokenizer is a row of patterns.  The first cuts the text into its
 * matches and what lies between them; each piece is cut by the next, seeing
 * nothing around it; what the last one leaves are the words.  Patterns are as
 * the families' original tokenizers have them, but that \s is written as
 * \p{White_Space}, and that none takes more than linear time on any text
 * (what scans a run of spaces and may fail is tried at the run's start only).
 *
 * Text that is not UTF-8 is cut first: each run of ill-formed bytes is a word.
 *
 * The falcons cut numbers last, in the byte-to-unicode spelling of GPT-2: there
 * the bytes B2, B3, B9, BC to BE are digits too, wherever they stand.
 *
 * NFC.  The tokenizer.json of these families has the normaliser: qwen2 (Qwen
 * 1.5 to 3; transformers' class for them, too), qwen35 (Qwen 3.5, the same),
 * deepseek-r1-qwen (DeepSeek's distilled Qwen 2.5, with that one's), command-r
 * (Cohere's class), mpt and olmo (GPT-NeoX's).  Those of llama-bpe, gpt-4o,
 * tekken, smollm, gpt-2 have none.
 *
 * Compiled patterns are immutable; any thread may split, with its scratch.
 */

#include "engine/text/text_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>


#define WS "\\p{White_Space}"
#define S  "[" WS "]"

#define GPT2                                                                   \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|"    \
    "" S "+(?!\\P{White_Space})|" S "+"

#define SHORT "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

/* Line ends with blanks before them, blanks but the last, blanks. */
#define BLANKS S "*[\\r\\n]+|" S "+(?!\\P{White_Space})|" S "+"

#define LLAMA3(DIGITS)                                                         \
    SHORT "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" DIGITS "| ?[^" WS                  \
          "\\p{L}\\p{N}]+[\\r\\n]*|" BLANKS

#define QWEN35                                                                 \
    SHORT "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS              \
          "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" BLANKS

/* Words by case: upper then lower, with and without English endings. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(END, DIGITS)                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" END                           \
    "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" END "|" DIGITS "| ?[^" WS    \
    "\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS

#define DEEPSEEK3                                                              \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                   \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"                             \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|" BLANKS

#define CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

/* Letters with case, as the DeepSeek LLM family lists them. */
#define DEEPSEEK_LETTERS                                                       \
    "A-Za-z"                                                                   \
    "\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-"           \
    "\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}"              \
    "\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}"       \
    "\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"              \
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-"          \
    "\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"       \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}"       \
    "-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-"               \
    "\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-"        \
    "\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-"       \
    "\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"       \
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}"       \
    "\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}"        \
    "\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}"        \
    "\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"        \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}"       \
    "\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"       \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}"       \
    "-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-"               \
    "\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-"           \
    "\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-"          \
    "\\x{118df}\\x{1e900}-\\x{1e943}"

#define DEEPSEEK_MARKS                                                         \
    "!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}"          \
    "\\x{3000}-\\x{3002}"


/* What several names mean. */
typedef struct {
    const char *stages[TEXT_MAX_STAGES];
    bool        ignores_merges;
    bool        adds_bos;
    int         numbers; /* PRE_*: how bytes are cut last */
} pre_family_t;


enum {
    PRE_RUNS = 1, /* each run of number bytes, in threes where it is ASCII */
    PRE_SINGLE,   /* each number byte */
};


static const pre_family_t pre_gpt2 = {{GPT2}, false, false, 0};

static const pre_family_t pre_smollm = {{"\\p{N}", GPT2}, false, false, 0};

/* Unicode 8's punctuation, which the falcons' original knows, and ASCII's. */
#define PUNCTUATION                                                            \
    "(?:(?!["                                                                  \
    "\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b7d}\\x{1b7e}"               \
    "\\x{2e43}-\\x{2e5d}\\x{10ead}\\x{10f55}-\\x{10f59}"                       \
    "\\x{10f86}-\\x{10f89}\\x{1144b}-\\x{1144f}\\x{1145a}-\\x{1145d}"          \
    "\\x{11660}-\\x{1166c}\\x{116b9}\\x{1183b}\\x{11944}-\\x{11946}"           \
    "\\x{119e2}\\x{11a3f}-\\x{11a46}\\x{11a9a}-\\x{11aa2}"                     \
    "\\x{11c41}-\\x{11c45}\\x{11c70}\\x{11c71}\\x{11ef7}\\x{11ef8}"            \
    "\\x{11fff}\\x{12ff1}\\x{12ff2}\\x{16e97}-\\x{16e9a}\\x{16fe2}"            \
    "\\x{1e95e}\\x{1e95f}])[\\p{P}$+<=>^~|`\\x{166d}\\x{111c9}])++"

static const pre_family_t pre_falcon = {
    {PUNCTUATION, GPT2}, false, false, PRE_RUNS};

static const pre_family_t pre_falcon3 = {
    {PUNCTUATION, GPT2}, true, true, PRE_SINGLE};

static const pre_family_t pre_falcon_h1 = {
    {PUNCTUATION, CASED("", "\\p{N}")}, true, true, 0};

static const pre_family_t pre_deepseek_coder = {
    {"[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+", CJK, "\\p{N}"}, false, false, 0};

static const pre_family_t pre_deepseek_llm = {
    {"[\\r\\n]", S "?[" DEEPSEEK_LETTERS "]+", S "?[" DEEPSEEK_MARKS "]+",
     "(?<!" S ")" S "+\\z", CJK, "\\p{N}"},
    false,
    false,
    0};

static const pre_family_t pre_deepseek3 = {
    {"\\p{N}{1,3}",
     "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+", DEEPSEEK3},
    false,
    false,
    0};

static const pre_family_t pre_llama3 = {{LLAMA3("\\p{N}{1,3}")}, true, true, 0};

static const pre_family_t pre_dbrx = {{LLAMA3("\\p{N}{1,3}")}, false, false, 0};

static const pre_family_t pre_qwen2 = {{LLAMA3("\\p{N}")}, false, false, 0};

static const pre_family_t pre_qwen35 = {{QWEN35}, false, false, 0};

static const pre_family_t pre_gpt4o = {
    {CASED(SHORT "?", "\\p{N}{1,3}")}, false, false, 0};

static const pre_family_t pre_tekken = {{CASED("", "\\p{N}")}, true, false, 0};


/* GGUF's tokenizer.ggml.pre to its family. */
typedef struct {
    const char         *name;
    const pre_family_t *family;
    bool                nfc;
} pre_name_t;


static const pre_name_t pre_names[] = {
    {"gpt-2", &pre_gpt2, false},
    {"phi-2", &pre_gpt2, false},
    {"mpt", &pre_gpt2, true},
    {"olmo", &pre_gpt2, true},
    {"exaone4", &pre_gpt2, false},
    {"granite-docling", &pre_gpt2, false},
    {"smollm", &pre_smollm, false},
    {"starcoder", &pre_smollm, false},
    {"refact", &pre_smollm, false},
    {"command-r", &pre_smollm, true},
    {"codeshell", &pre_smollm, false},
    {"exaone", &pre_smollm, false},
    {"minerva-7b", &pre_smollm, false},
    {"falcon", &pre_falcon, false},
    {"deepseek-coder", &pre_deepseek_coder, false},
    {"deepseek-llm", &pre_deepseek_llm, false},
    {"deepseek-v3", &pre_deepseek3, false},
    {"llama-bpe", &pre_llama3, false},
    {"llama3", &pre_llama3, false},
    {"llama-v3", &pre_llama3, false},
    {"falcon3", &pre_falcon3, false},
    {"falcon-h1", &pre_falcon_h1, false},
    {"lfm2", &pre_llama3, false},
    {"dbrx", &pre_dbrx, false},
    {"smaug-bpe", &pre_dbrx, false},
    {"qwen2", &pre_qwen2, true},
    {"deepseek-r1-qwen", &pre_qwen2, true},
    {"stablelm2", &pre_qwen2, false},
    {"megrez", &pre_qwen2, false},
    {"hunyuan", &pre_qwen2, false},
    {"qwen35", &pre_qwen35, true},
    {"gpt-4o", &pre_gpt4o, false},
    {"llama4", &pre_gpt4o, false},
    {"tekken", &pre_tekken, false},
};


struct text_pre_s {
    const pre_family_t *family;
    bool                nfc;
    size_t              n;
    pcre2_code         *code[TEXT_MAX_STAGES];
    bool                jit[TEXT_MAX_STAGES];
};


static const pre_name_t *pre_find(text_str_t name);
static int               pre_compile(text_pre_t *pre, const char *pattern);
static int    pre_stage(const text_pre_t *pre, size_t stage, const char *p,
                        size_t len, text_enc_t *e);
static int    pre_numbers(int how, const char *p, size_t len, text_enc_t *e);
static size_t pre_number(int how, const char *p, size_t len);
static int    pre_match(const text_pre_t *pre, size_t stage, const char *p,
                        size_t len, size_t at, text_enc_t *e);


int
text_pre_new(text_str_t name, text_pre_t **out_new, char *err, size_t err_size)
{
    const pre_family_t *family;
    const pre_name_t   *found;
    text_pre_t         *pre;
    size_t              i;

    found = pre_find(name);
    if (found == NULL) {
        return text_fail(err, err_size, -ENOTSUP,
                         "pre-tokenizer '%.*s' is not supported",
                         (int) (name.len < 64 ? name.len : 64), name.data);
    }

    pre = calloc(1, sizeof(text_pre_t));
    if (pre == NULL) {
        return text_fail(err, err_size, -ENOMEM, "no memory");
    }

    family = found->family;
    pre->family = family;
    pre->nfc = found->nfc;

    for (i = 0; i < TEXT_MAX_STAGES && family->stages[i] != NULL; i++) {
        if (pre_compile(pre, family->stages[i]) != 0) {
            text_pre_free(pre);
            return text_fail(err, err_size, -ENOMEM,
                             "pattern %zu of pre-tokenizer '%.*s' does not "
                             "compile",
                             i, (int) name.len, name.data);
        }
    }

    *out_new = pre;
    return 0;
}


void
text_pre_free(text_pre_t *pre_take)
{
    size_t i;

    if (pre_take == NULL) {
        return;
    }

    for (i = 0; i < pre_take->n; i++) {
        pcre2_code_free(pre_take->code[i]);
    }

    free(pre_take);
}


bool
text_pre_ignores_merges(const text_pre_t *pre)
{
    return pre->family->ignores_merges;
}


bool
text_pre_adds_bos(const text_pre_t *pre)
{
    return pre->family->adds_bos;
}


bool
text_pre_is_nfc(const text_pre_t *pre)
{
    return pre->nfc;
}


static const pre_name_t *
pre_find(text_str_t name)
{
    size_t i;

    for (i = 0; i < sizeof(pre_names) / sizeof(pre_names[0]); i++) {
        if (strlen(pre_names[i].name) == name.len
            && memcmp(pre_names[i].name, name.data, name.len) == 0) {
            return &pre_names[i];
        }
    }

    return NULL;
}


/* Without JIT (a system may forbid it) patterns are interpreted. */
static int
pre_compile(text_pre_t *pre, const char *pattern)
{
    pcre2_code *code;
    PCRE2_SIZE  at;
    int         rc;

    code = pcre2_compile((PCRE2_SPTR) pattern, PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &rc,
                         &at, NULL);
    if (code == NULL) {
        return -EINVAL;
    }

    pre->jit[pre->n] = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
    pre->code[pre->n] = code;
    pre->n++;

    return 0;
}


int
text_pre_split(const text_pre_t *pre, const char *text, size_t len,
               text_enc_t *e)
{
    size_t n, bad;
    int    rc;

    while (len > 0) {
        n = text_utf8_prefix(text, len);

        if (n > 0) {
            rc = pre_stage(pre, 0, text, n, e);
            if (rc != 0) {
                return rc;
            }
        }

        bad = n;

        while (bad < len && text_utf8_bad_at(text + bad, len - bad)) {
            bad++;
        }

        if (bad > n) {
            rc = e->word(e, text + n, bad - n);
            if (rc != 0) {
                return rc;
            }
        }

        text += bad;
        len -= bad;
    }

    return 0;
}


/* Cuts a piece by one pattern, its parts by the next ones. */
static int
pre_stage(const text_pre_t *pre, size_t stage, const char *p, size_t len,
          text_enc_t *e)
{
    const PCRE2_SIZE *ov;
    size_t            at, from, to;
    int               rc;

    if (stage == pre->n) {
        return pre->family->numbers
                   ? pre_numbers(pre->family->numbers, p, len, e)
                   : e->word(e, p, len);
    }

    at = 0;

    while (at < len) {
        rc = pre_match(pre, stage, p, len, at, e);

        if (rc == PCRE2_ERROR_NOMATCH) {
            break;
        }

        if (rc < 0) {
            return -ENOMEM;
        }

        /* No pattern matches the empty string. */

        ov = pcre2_get_ovector_pointer(e->scratch->match);
        from = ov[0];
        to = ov[1];

        rc = from > at ? pre_stage(pre, stage + 1, p + at, from - at, e) : 0;

        if (rc == 0) {
            rc = pre_stage(pre, stage + 1, p + from, to - from, e);
        }

        if (rc != 0) {
            return rc;
        }

        at = to;
    }

    return at < len ? pre_stage(pre, stage + 1, p + at, len - at, e) : 0;
}


static inline bool
pre_is_number(char c)
{
    uint8_t u = (uint8_t) c;

    return (u >= '0' && u <= '9') || u == 0xb2 || u == 0xb3 || u == 0xb9
           || (u >= 0xbc && u <= 0xbe);
}


/* Words of number bytes, and what lies between them. */
static int
pre_numbers(int how, const char *p, size_t len, text_enc_t *e)
{
    size_t i, n;
    int    rc;

    while (len > 0) {
        for (i = 0; i < len && !pre_is_number(p[i]); i++) {
            /* void */
        }

        n = i > 0 ? i : pre_number(how, p, len);

        rc = e->word(e, p, n);
        if (rc != 0) {
            return rc;
        }

        p += n;
        len -= n;
    }

    return 0;
}


/* Length of the next word, where p begins with a number byte. */
static size_t
pre_number(int how, const char *p, size_t len)
{
    size_t i, digits;

    if (how == PRE_SINGLE) {
        return 1;
    }

    digits = 0;

    for (i = 0; i < len && pre_is_number(p[i]); i++) {
        digits = p[i] >= '0' && p[i] <= '9' ? digits + 1 : 0;

        if (digits == 3) {
            return i > 2 ? i - 2 : 3;
        }
    }

    return i;
}


static int
pre_match(const text_pre_t *pre, size_t stage, const char *p, size_t len,
          size_t at, text_enc_t *e)
{
    text_scratch_t *s = e->scratch;

    if (pre->jit[stage]) {
        return pcre2_jit_match(pre->code[stage], (PCRE2_SPTR) p, len, at, 0,
                               s->match, s->mctx);
    }

    return pcre2_match(pre->code[stage], (PCRE2_SPTR) p, len, at,
                       PCRE2_NO_UTF_CHECK, s->match, s->mctx);
}
