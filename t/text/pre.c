/*
 * Pre-tokenizers against the words that the `tokenizers` package makes, and
 * that no text makes them slow: the work on long runs is linear.
 */

#include "engine/text/text_priv.h"
#include "t/text/goldens.h"

#include <errno.h>
#include <time.h>


#define RUN (1 << 18)


static const char *names[] = {
    "gpt-2", "smollm", "falcon", "deepseek-coder", "deepseek-v3", "llama-bpe",
    "qwen2", "qwen35", "gpt-4o", "tekken",         "falcon3",     "falcon-h1",
};

static const char *runs[] = {
    "a",    "A",  " ",         "  \n",     "\n",           "\r",
    "1",    "!",  " x",        "'",        "'s",           "\xe3\x80\x80",
    " a\n", "aA", "A\xcc\x81", "\xcc\x81", "\xe4\xb8\xad", "\t\xc2\xa0",
    "\xff",
};

static const char digits[] =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/* What take_word() writes: as the goldens have it. */
static char   words[1 << 16];
static size_t n_words, n_chars, n_bytes;


static int         take_word(text_enc_t *e, const char *p, size_t len);
static int         count_word(text_enc_t *e, const char *p, size_t len);
static void        test_goldens(const char *name, text_scratch_t *s);
static void        test_runs(const char *name, text_scratch_t *s);
static void        test_invalid(text_scratch_t *s);
static void        test_names(void);
static void        test_find(void);
static text_pre_t *make(const char *name);


int
main(void)
{
    text_scratch_t *s;
    size_t          i;

    s = text_scratch_new();
    test_names();
    test_find();
    test_invalid(s);

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        test_goldens(names[i], s);
        test_runs(names[i], s);
    }

    test_runs("deepseek-llm", s);
    text_scratch_free(s);

    return tap_done();
}


static int
take_word(text_enc_t *e, const char *p, size_t len)
{
    n_bytes += len;

    if (len < sizeof(digits) - 1) {
        words[n_chars++] = digits[len];

    } else {
        n_chars += (size_t) sprintf(words + n_chars, "<%zu>", len);
    }

    words[n_chars] = '\0';
    return 0;
}


static int
count_word(text_enc_t *e, const char *p, size_t len)
{
    n_words++;
    n_bytes += len;

    return 0;
}


static text_pre_t *
make(const char *name)
{
    text_str_t  s = {name, strlen(name)};
    text_pre_t *pre;
    char        err[128];

    pre = NULL;
    is_int(text_pre_new(s, &pre, err, sizeof(err)), 0, "%s: made", name);

    return pre;
}


static void
test_goldens(const char *name, text_scratch_t *s)
{
    text_enc_t  e = {.scratch = s, .word = take_word};
    text_pre_t *pre;
    size_t      len;
    char       *texts, *want, *t, *w, *text, *line, path[128];
    int         n, bad;

    pre = make(name);
    texts = golden_read(GOLDENS "texts.txt", &len);
    snprintf(path, sizeof(path), GOLDENS "pre-%s.txt", name);
    want = golden_read(path, &len);
    t = texts;
    w = want;
    n = 0;
    bad = 0;

    while ((text = golden_line(&t)) && (line = golden_line(&w))) {
        len = golden_text(text);
        n_chars = n_bytes = 0;

        if (text_pre_split(pre, text, len, &e) != 0 || strcmp(words, line) != 0
            || n_bytes != len) {
            diag("text %d: got %s, want %s: %.*s", n, words, line, (int) len,
                 text);
            bad++;
        }

        n++;
    }

    is_int(bad, 0, "%s: words of %d texts", name, n);

    text_pre_free(pre);
    free(texts);
    free(want);
}


/* Quadratic work would take minutes; the limit is far from both. */
static void
test_runs(const char *name, text_scratch_t *s)
{
    text_enc_t  e = {.scratch = s, .word = count_word};
    text_pre_t *pre;
    clock_t     start, took, worst;
    size_t      i, k, len, n;
    char       *buf;
    int         tail, bad;

    pre = make(name);
    buf = malloc(RUN + 8);
    bad = 0;
    worst = 0;

    for (i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        len = strlen(runs[i]);

        for (n = 0; n + len <= RUN; n += len) {
            memcpy(buf + n, runs[i], len);
        }

        for (tail = 0; tail < 2; tail++) {
            k = n;

            if (tail) {
                buf[k++] = 'x';
            }

            n_bytes = 0;
            start = clock();
            bad += text_pre_split(pre, buf, k, &e) != 0 || n_bytes != k;
            took = clock() - start;
            worst = took > worst ? took : worst;
        }
    }

    is_int(bad, 0, "%s: long runs", name);
    diag("%s: slowest run of %d KiB: %.1f ms of processor time", name,
         RUN / 1024, (double) worst * 1e3 / CLOCKS_PER_SEC);

    text_pre_free(pre);
    free(buf);
}


/* Ill-formed bytes are words of their own. */
static void
test_invalid(text_scratch_t *s)
{
    static const struct {
        const char *text;
        size_t      len;
        const char *words;
    } cases[] = {
        {"ab\xff\xfe"
         "cd",
         6, "222"},
        {"\xc3", 1, "1"},
        {"a\xe4\xb8", 3, "12"},
        {"\xed\xa0\x80 x", 5, "32"},
        {"\xc0\x80"
         "a\x80",
         4, "211"},
        {"a\0b", 3, "111"},
        {"", 0, ""},
    };
    text_enc_t  e = {.scratch = s, .word = take_word};
    text_pre_t *pre;
    size_t      i;

    pre = make("gpt-2");

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        n_chars = 0;
        words[0] = '\0';
        text_pre_split(pre, cases[i].text, cases[i].len, &e);
        is_str(words, cases[i].words, "ill-formed text %zu", i);
    }

    text_pre_free(pre);
}


static void
test_names(void)
{
    text_pre_t *pre;
    char        err[128];
    text_str_t  no = {"no-such-pre", 11}, empty = {"", 0};

    is_int(text_pre_new(no, &pre, err, sizeof(err)), -ENOTSUP, "unknown name");
    is_str(err, "pre-tokenizer 'no-such-pre' is not supported", "its message");
    is_int(text_pre_new(empty, &pre, err, sizeof(err)), -ENOTSUP, "no name");
}


/* As published tokenizer.json files have them. */
static void
test_find(void)
{
    static const struct {
        const char *name;
        size_t      n;
        struct {
            int         kind;
            const char *pattern;
        } steps[5];
    } cases[] = {
        {"gpt-2", 1, {{TEXT_STEP_BYTE_LEVEL, ""}}},
        {"smollm", 2, {{TEXT_STEP_DIGITS, ""}, {TEXT_STEP_BYTE_LEVEL, ""}}},
        {NULL, 2, {{TEXT_STEP_DIGIT_RUNS, ""}, {TEXT_STEP_BYTE_LEVEL, ""}}},
        {NULL, 1, {{TEXT_STEP_DIGITS, ""}}},
        {NULL, 0, {{0, ""}}},
        {"llama-bpe",
         1,
         {{TEXT_STEP_SPLIT,
           "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
           "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
           "\\s+(?!\\S)|\\s+"}}},
        {"llama-bpe",
         1,
         {{TEXT_STEP_SPLIT,
           "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|"
           "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\r\n]*|\\s*[\r\n]+|"
           "\\s+(?!\\S)|\\s+"}}},
        {NULL,
         1,
         {{TEXT_STEP_SPLIT,
           "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
           "\\p{N}{1,4}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
           "\\s+(?!\\S)|\\s+"}}},
        {"qwen2",
         1,
         {{TEXT_STEP_SPLIT,
           "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
           " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}}},
        {"qwen35",
         1,
         {{TEXT_STEP_SPLIT,
           "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|"
           "\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
           "\\s+(?!\\S)|\\s+"}}},
        {"gpt-4o",
         1,
         {{TEXT_STEP_SPLIT,
           "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"
           "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
           "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"
           "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
           "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|"
           "\\s+(?!\\S)|\\s+"}}},
        {"tekken",
         1,
         {{TEXT_STEP_SPLIT,
           "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"
           "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?"
           "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"
           "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}|"
           " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|"
           "\\s+(?!\\S)|\\s+"}}},
        {"deepseek-v3",
         3,
         {{TEXT_STEP_SPLIT, "\\p{N}{1,3}"},
          {TEXT_STEP_SPLIT,
           "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-"
           "\xe3\x83\xbf]+"},
          {TEXT_STEP_SPLIT,
           "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
           "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
           " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"}}},
        {NULL,
         2,
         {{TEXT_STEP_SPLIT, "\\p{N}{1,3}"}, {TEXT_STEP_SPLIT, "[a-z]+"}}},
        {"falcon",
         4,
         {{TEXT_STEP_PUNCTUATION, ""},
          {TEXT_STEP_BYTE_LEVEL, ""},
          {TEXT_STEP_DIGIT_RUNS, ""},
          {TEXT_STEP_SPLIT, "[0-9][0-9][0-9]"}}},
        {"falcon3",
         3,
         {{TEXT_STEP_PUNCTUATION, ""},
          {TEXT_STEP_BYTE_LEVEL, ""},
          {TEXT_STEP_DIGITS, ""}}},
        {"deepseek-coder",
         5,
         {{TEXT_STEP_SPLIT, "[\r\n]"},
          {TEXT_STEP_SPLIT, "\\s?\\p{L}+"},
          {TEXT_STEP_SPLIT, "\\s?\\p{P}+"},
          {TEXT_STEP_SPLIT,
           "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-"
           "\xed\x9f\xbf]+"},
          {TEXT_STEP_DIGITS, ""}}},
    };
    text_step_t steps[5];
    text_pre_t *pre;
    const char *got;
    char        err[128];
    size_t      i, k;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (k = 0; k < cases[i].n; k++) {
            steps[k].kind = cases[i].steps[k].kind;
            steps[k].pattern = (text_str_t){cases[i].steps[k].pattern,
                                            strlen(cases[i].steps[k].pattern)};
        }

        got = text_pre_find(steps, cases[i].n);
        is_str(got ? got : "none", cases[i].name ? cases[i].name : "none",
               "find %zu", i);

        if (got != NULL) {
            is_int(text_pre_new((text_str_t){got, strlen(got)}, &pre, err,
                                sizeof(err)),
                   0, "%s is a name", got);
            text_pre_free(pre);
        }
    }
}
