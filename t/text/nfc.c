/*
 * NFC: against what Python's unicodedata says, where text is taken from, and
 * that no run of marks makes it slow.  Whole texts are in ids.c.
 */

#include "engine/text/text_priv.h"
#include "t/lib/tap.h"
#include "t/text/small.h"

#include <errno.h>
#include <time.h>


#define N(a) (sizeof(a) / sizeof((a)[0]))

/* unicodedata.normalize('NFC', ...) of Python. */
static const struct {
    const char *in;
    const char *out;
} cases[] = {
    {"", ""},
    {"plain text, longer than 8 bytes", NULL},
    {"na\xc3\xafve caf\xc3\xa9 \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x98\x80",
     NULL},
    {"e\xcc\x81", "\xc3\xa9"},
    {"xe\xcc\x81y", "x\xc3\xa9y"},
    {"cafe\xcc\x81 e\xcc\x81 et cetera", "caf\xc3\xa9 \xc3\xa9 et cetera"},
    {"\xcc\x81", NULL},
    {"\xcc\x81x", NULL},
    {"q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"},
    {"q\xcc\xa3\xcc\x87", NULL},
    {"d\xcc\x87\xcc\xa3", "\xe1\xb8\x8d\xcc\x87"},
    {"\xe1\xb8\x8b\xcc\xa3", "\xe1\xb8\x8d\xcc\x87"},
    {"a\xcc\x81\xcc\xa7", "\xc3\xa1\xcc\xa7"},
    {"\xe2\x84\xab", "\xc3\x85"},
    {"\xe2\x84\xa6x", "\xce\xa9x"},
    {"\xe2\x8c\xa9\xe2\x8c\xaa", "\xe3\x80\x88\xe3\x80\x89"},
    {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"},
    {"\xef\xac\x9d", "\xd7\x99\xd6\xb4"},
    {"\xe2\xab\x9c", "\xe2\xab\x9d\xcc\xb8"},
    {"\xcd\x84", "\xcc\x88\xcc\x81"},
    {"\xef\xa4\x80", "\xe8\xb1\x88"},
    {"\xef\xa8\x8e", NULL},
    {"\xf0\xaf\xa0\x80", "\xe4\xb8\xbd"},
    {"\xf0\x9d\x85\xa0", "\xf0\x9d\x85\x98\xf0\x9d\x85\xa5\xf0\x9d\x85\xae"},
    {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c"},
    {"\xed\x95\x98\xe1\x86\xab", "\xed\x95\x9c"},
    {"\xe1\x85\xa1\xe1\x86\xab", NULL},
    {"\xe3\x81\x8b\xe3\x82\x99", "\xe3\x81\x8c"},
    {"\xe0\xb3\x86\xe0\xb3\x82\xe0\xb3\x95", "\xe0\xb3\x8b"},
    {"\xf0\x91\x84\xb1\xf0\x91\x84\xa7", "\xf0\x91\x84\xae"},
    {"e\xff\xcc\x81", NULL},
    {"e\xcc\x81\xff"
     "e\xcc\x81\xcc",
     "\xc3\xa9\xff\xc3\xa9\xcc"},
    {"\xc3\xcc\x81", NULL},
};


static text_tokenizer_t *make(const char *pre, int nfc);
static void test_cases(const text_tokenizer_t *tok, text_scratch_t *s);
static void test_marks(const text_tokenizer_t *tok, text_scratch_t *s);
static void test_tokens(text_scratch_t *s);
static void test_runs(const text_tokenizer_t *tok, text_scratch_t *s);


int
main(void)
{
    text_tokenizer_t *tok;
    text_scratch_t   *s;

    s = text_scratch_new();
    tok = make("gpt-2", 1);
    test_cases(tok, s);
    test_marks(tok, s);
    test_runs(tok, s);
    text_tokenizer_free(tok);
    test_tokens(s);
    text_scratch_free(s);

    return tap_done();
}


static text_tokenizer_t *
make(const char *pre, int nfc)
{
    text_tokenizer_t *tok;
    text_vocab_t      v;
    small_t           small;
    char              err[128];

    small_vocab(&small, &v);
    small.tokens[SMALL_END] = (text_str_t){"<\xc3\xa9>", 4};
    v.pre = (text_str_t){pre, strlen(pre)};
    v.nfc = nfc;
    tok = NULL;

    if (text_tokenizer_new(&v, &tok, err, sizeof(err)) != 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    return tok;
}


static void
test_cases(const text_tokenizer_t *tok, text_scratch_t *s)
{
    const char *p, *want;
    size_t      i, len;
    int         rc;

    for (i = 0; i < N(cases); i++) {
        p = cases[i].in;
        len = strlen(p);
        want = cases[i].out ? cases[i].out : p;
        rc = text_nfc(tok, s, &p, &len);
        ok(rc == 0 && len == strlen(want) && memcmp(p, want, len) == 0,
           "case %zu", i);
        ok(i > 2 || p == cases[i].in, "case %zu is where it was", i);
    }
}


/* Many marks in all orders: the result has them sorted, stably. */
static void
test_marks(const text_tokenizer_t *tok, text_scratch_t *s)
{
    static const size_t sizes[] = {2, 15, 16, 17, 31, 32, 33, 64, 1000};
    static char         text[4096];
    const char         *p;
    size_t              i, k, len, below;
    unsigned            seed;

    seed = 1;

    for (i = 0; i < N(sizes); i++) {
        text[0] = 'q';
        below = 0;

        for (k = 0; k < sizes[i]; k++) {
            seed = seed * 1103515245 + 12345;

            /* U+0316 is below (220), U+030D above (230). */

            memcpy(text + 1 + 2 * k, seed >> 16 & 1 ? "\xcc\x96" : "\xcc\x8d",
                   2);
            below += seed >> 16 & 1;
        }

        p = text;
        len = 1 + 2 * sizes[i];
        text_nfc(tok, s, &p, &len);

        for (k = 0; k < sizes[i]; k++) {
            if (memcmp(p + 1 + 2 * k, k < below ? "\xcc\x96" : "\xcc\x8d", 2)
                != 0) {
                break;
            }
        }

        ok(len == 1 + 2 * sizes[i] && k == sizes[i], "%zu marks in order",
           sizes[i]);
    }
}


/* Through the tokenizer: which names normalise, and what is trusted. */
static void
test_tokens(text_scratch_t *s)
{
    static const struct {
        const char *pre;
        int         nfc;
        ssize_t     n;
    } cases_n[] = {
        {"gpt-2", -1, 3},     {"gpt-2", 1, 2},
        {"qwen2", -1, 2},     {"qwen2", 0, 3},
        {"qwen35", -1, 2},    {"llama-bpe", -1, 3},
        {"command-r", -1, 2}, {"deepseek-r1-qwen", -1, 2},
    };
    text_tokenizer_t *tok;
    uint8_t           trusted[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    int32_t           ids[16];
    size_t            i;

    for (i = 0; i < N(cases_n); i++) {
        tok = make(cases_n[i].pre, cases_n[i].nfc);
        is_int(text_encode(tok, "e\xcc\x81", 3, NULL, 0, ids, 16, s),
               cases_n[i].n, "%s, nfc %d", cases_n[i].pre, cases_n[i].nfc);
        text_tokenizer_free(tok);
    }

    tok = make("qwen2", -1);
    is_int(text_encode(tok, "<\xc3\xa9>", 4, trusted, 0, ids, 16, s), 1,
           "a control token");
    is_int(text_encode(tok, "<\xc3\xa9>", 4, NULL, 0, ids, 16, s), 4,
           "not where it is not trusted");
    is_int(text_encode(tok, "<e\xcc\x81>", 5, trusted, 0, ids, 16, s), 4,
           "nor where normalisation makes it");
    ok(text_encode_max(tok, 100) >= 300, "room for what grows");
    text_tokenizer_free(tok);
}


static void
test_runs(const text_tokenizer_t *tok, text_scratch_t *s)
{
    static const char *runs[] = {"\xcc\x8d\xcc\x96", "\xf0\x9d\x85\xa0",
                                 "e\xcc\x81",        "\xe1\x85\xa1",
                                 "\xcc\x81\xff",     "\xcd\x84"};
    const char        *p;
    clock_t            start, took, worst;
    size_t             i, n, len;
    char              *text;
    int                bad;

    text = malloc(1 << 20);
    worst = 0;
    bad = 0;

    for (i = 0; i < N(runs); i++) {
        len = strlen(runs[i]);

        for (n = 0; n + len <= 1 << 20; n += len) {
            memcpy(text + n, runs[i], len);
        }

        p = text;
        start = clock();
        bad += text_nfc(tok, s, &p, &n) != 0;
        took = clock() - start;
        worst = took > worst ? took : worst;
        text_scratch_trim(s);
    }

    is_int(bad, 0, "long runs");
    diag("slowest 1 MiB: %.0f ms of processor time",
         (double) worst * 1e3 / CLOCKS_PER_SEC);
    free(text);
}
