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
    "gpt-2",     "smollm", "falcon", "deepseek-coder", "deepseek-v3",
    "llama-bpe", "qwen2",  "qwen35", "gpt-4o",         "tekken",
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
static text_pre_t *make(const char *name);


int
main(void)
{
    text_scratch_t *s;
    size_t          i;

    s = text_scratch_new();
    test_names();
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
