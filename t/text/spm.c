/*
 * SentencePiece BPE over a small vocabulary: merging, prefixes, special
 * tokens and their provenance, unknown characters, broken vocabularies.
 */

#include "t/lib/tap.h"
#include "t/text/small_spm.h"

#include <errno.h>
#include <math.h>
#include <time.h>


static void              test_merging(text_scratch_t *s);
static void              test_prefix(text_scratch_t *s);
static void              test_special(text_scratch_t *s);
static void              test_strips(text_scratch_t *s);
static void              test_unknown(text_scratch_t *s);
static void              test_whitespace(text_scratch_t *s);
static void              test_merges(text_scratch_t *s);
static void              test_tokens(text_scratch_t *s);
static void              test_broken(void);
static void              test_long(text_scratch_t *s);
static text_tokenizer_t *make(const text_vocab_t *v);
static void              check(const text_vocab_t *v, text_scratch_t *s,
                               const char *const (*cases)[3], size_t n, const char *what);
static ssize_t           encode(const text_tokenizer_t *tok, text_scratch_t *s,
                                const char *text, const char *trust, char *out);
static int               broken(const text_vocab_t *v, const char **err);


#define U    "\xe2\x96\x81"
#define N(a) (sizeof(a) / sizeof((a)[0]))


int
main(void)
{
    text_scratch_t *s;

    s = text_scratch_new();
    test_merging(s);
    test_prefix(s);
    test_special(s);
    test_strips(s);
    test_unknown(s);
    test_whitespace(s);
    test_merges(s);
    test_tokens(s);
    test_broken();
    test_long(s);
    text_scratch_free(s);

    return tap_done();
}


static text_tokenizer_t *
make(const text_vocab_t *v)
{
    text_tokenizer_t *tok;
    char              err[128];

    tok = NULL;

    if (text_tokenizer_new(v, &tok, err, sizeof(err)) != 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    return tok;
}


/*
 * Encodes, writes the ids as text.  trust: a character for each byte, '+' is
 * trusted; "+" alone: all are; NULL: none is.
 */
static ssize_t
encode(const text_tokenizer_t *tok, text_scratch_t *s, const char *text,
       const char *trust, char *out)
{
    uint8_t trusted[256];
    int32_t ids[256];
    size_t  i, len, at;
    ssize_t n;

    len = strlen(text);

    for (i = 0; trust && i < len; i++) {
        trusted[i] = trust[1] == '\0' || trust[i] == '+';
    }

    n = text_encode(tok, text, len, trust ? trusted : NULL, 0, ids, 256, s);
    at = 0;
    out[0] = '\0';

    for (i = 0; n > 0 && i < (size_t) n; i++) {
        at += (size_t) sprintf(out + at, "%s%d", i ? " " : "", ids[i]);
    }

    if (n > (ssize_t) text_encode_max(tok, len)) {
        strcat(out, " too many");
    }

    return n;
}


static void
check(const text_vocab_t *v, text_scratch_t *s, const char *const (*cases)[3],
      size_t n, const char *what)
{
    text_tokenizer_t *tok;
    size_t            i;
    char              out[2048];

    tok = make(v);

    for (i = 0; i < n; i++) {
        encode(tok, s, cases[i][0], cases[i][1], out);
        is_str(out, cases[i][2], "%s %zu", what, i);
    }

    text_tokenizer_free(tok);
}


static void
test_merging(text_scratch_t *s)
{
    static const char *const cases[][3] = {
        {"", NULL, ""},
        {"the", NULL, "259"},
        {"the the", NULL, "259 259"},
        {"he", NULL, "270 260"},
        {"t", NULL, "261"},
        {"a", NULL, "270 271"},
        {"abc", NULL, "270 266"},
        {"ab", NULL, "270 265"},
        {"aaa", NULL, "270 263 271"},
        {"aaaaa", NULL, "270 264 271"},
        {"aaaaaaa", NULL, "270 264 263 271"},
        {" the", NULL, "270 259"},
        {"  the", NULL, "262 259"},
        {"   the", NULL, "262 270 259"},
        {"a ", NULL, "270 271 270"},
        {"a  ", NULL, "270 271 262"},
        {" ", NULL, "262"},
        {"x y", NULL, "270 268"},
        {"x yy", NULL, "270 268 279"},
        {"x the", NULL, "270 278 259"},
        {"x x y", NULL, "270 269 268"},
        {"x a", NULL, "270 269 271"},
        {U "the", NULL, "270 259"},
        {"a" U "the", NULL, "270 271 259"},
        {U, NULL, "262"},
        {"\xc3\xa9", NULL, "270 280"},
    };
    text_vocab_t v;
    small_spm_t  small;

    small_spm(&small, &v);
    check(&v, s, cases, N(cases), "merging");
}


static void
test_prefix(text_scratch_t *s)
{
    static const char *const each[][3] = {
        {"a<s>a", "+", "270 271 1 270 271"},
        {"<s>a</s>", "+", "1 270 271 2"},
        {"<s> a", "+", "1 262 271"},
        {"<s><s>", "+", "1 1"},
        {"a<b>a", NULL, "270 271 286 270 271"},
        {"\na\n", NULL, "287 270 271 287"},
    };
    static const char *const first[][3] = {
        {"a<s>a", "+", "270 271 1 271"},
        {"<s>a", "+", "1 271"},
        {"<s> the", "+", "1 259"},
        {" the", NULL, "259"},
        {"the", NULL, "259"},
        {U "the", NULL, "259"},
        {"", NULL, ""},
    };
    static const char *const blank[][3] = {
        {"a<s>a", "+", "270 271 1 270 271"},
        {"<s> the", "+", "1 259"},
        {" the", NULL, "259"},
    };
    static const char *const none[][3] = {
        {"a<s>a", "+", "271 1 271"},
        {"the the", NULL, "277 260 259"},
        {" the", NULL, "259"},
        {"x y", NULL, "268"},
    };
    text_vocab_t v;
    small_spm_t  small;

    small_spm(&small, &v);
    check(&v, s, each, N(each), "prefix each");
    v.prefix = TEXT_PREFIX_FIRST;
    check(&v, s, first, N(first), "prefix first");
    v.prefix = TEXT_PREFIX_BLANK;
    check(&v, s, blank, N(blank), "prefix blank");
    v.add_space_prefix = false;
    check(&v, s, none, N(none), "no prefix");
}


static void
test_special(text_scratch_t *s)
{
    static const char *const cases[][3] = {
        {"<s>", "+++", "1"},
        {"<s>", "++-", "284 283"},
        {"<s>", "-++", "284 283"},
        {"<s>", NULL, "284 283"},
        {"</s", "+", "281 50 282"},
        {"<t>", "+++", "285"},
        {"<t>", "++-", "281 277 283"},
        {"<b>", NULL, "286"},
        {"<b>", "-+-", "286"},
        {"<unk>", "+", "0"},
        {"\n\n\n", NULL, "288 287"},
        {"[PAD289]", "+", "94 83 68 71 53 59 60 96"},
        {"<s>" U "<s>", "+++------", "1 270 284 283"},
        {U "<s>", "++++++", "270 1"},
        {U "<s>", "+++-++", "270 284 283"},
    };
    text_vocab_t v;
    small_spm_t  small;

    small_spm(&small, &v);
    v.add_space_prefix = false;
    check(&v, s, cases, N(cases), "special");
}


/* As `tokenizers` has it for added tokens with lstrip and rstrip. */
static void
test_strips(text_scratch_t *s)
{
    static const char *const cases[][3] = {
        {"<s> \n a", "+", "1 271"},
        {"a  <s>a", "+", "271 262 1 271"},
        {"a \n</s> a", "+", "271 270 287 2 270 271"},
        {"<s>\xc2\xa0\xe3\x80\x80\xe2\x80\x83 a", "+", "1 271"},
        {"a\xe2\x80\xa8\xc2\x85</s>", "+", "271 2"},
        {"<s>  ", "+", "1"},
        {"  </s>", "+", "2"},
        {"<s> a", NULL, "284 283 270 271"},
        {"<s> </s> <s>", "+", "1 2 270 1"},
        {"\xa0</s>", "+", "163 2"},
    };
    text_vocab_t v;
    small_spm_t  small;
    uint8_t      strips[SPM_N] = {0};

    small_spm(&small, &v);
    v.add_space_prefix = false;
    v.strips = strips;
    strips[SPM_BOS] = TEXT_RSTRIP;
    strips[SPM_EOS] = TEXT_LSTRIP;
    check(&v, s, cases, N(cases), "strips");
}


static void
test_unknown(text_scratch_t *s)
{
    static const char *const bytes[][3] = {
        {"z", NULL, "125"},
        {"azza", NULL, "271 125 125 271"},
        {"\xe4\xb8\xad", NULL, "231 187 176"},
        {"a\xff\xfe"
         "b",
         NULL, "271 258 257 272"},
        {"\xc3", NULL, "198"},
        {"\xc3\xa9\xc3", NULL, "280 198"},
        {"\t", NULL, "12"},
    };
    static const char *const none[][3] = {
        {"z", NULL, "0"},           {"azzza", NULL, "271 0 271"},
        {"z z", NULL, "0 270 0"},   {"\xe4\xb8\xad\xff\xffz", NULL, "0"},
        {"z<b>z", NULL, "0 286 0"},
    };
    text_vocab_t v;
    small_spm_t  small;
    size_t       i;

    small_spm(&small, &v);
    v.add_space_prefix = false;
    check(&v, s, bytes, N(bytes), "unknown, bytes");

    for (i = 0; i < 256; i++) {
        small.types[SPM_BYTE + i] = TEXT_UNUSED;
    }

    check(&v, s, none, N(none), "unknown");
    v.unk = -1;
    check(&v, s, none, N(none), "unknown by its type");
}


static void
test_whitespace(text_scratch_t *s)
{
    static const char *const cases[][3] = {
        {"  a   a ", NULL, "270 271 270 271"},
        {" ", NULL, ""},
        {"", NULL, ""},
        {"the", NULL, "259"},
        {" the<s>  the ", "+", "259 1 259"},
    };
    text_vocab_t v;
    small_spm_t  small;

    small_spm(&small, &v);
    v.remove_extra_whitespaces = true;
    check(&v, s, cases, N(cases), "extra whitespace");
}


/* With merges these lead, not the scores. */
static void
test_merges(text_scratch_t *s)
{
    static const char *const cases[][3] = {
        {"abc", NULL, "270 266"},
        {"the", NULL, "261 260"},
        {"aaaaa", NULL, "270 263 263 271"},
        {"  a", NULL, "262 270 271"},
        {"\n\n", NULL, "288"},
    };
    text_str_t   merges[] = {{"a b", 3}, {"ab c", 4},  {U " t", 5}, {"h e", 3},
                             {"a a", 3}, {U " " U, 7}, {"\n \n", 3}};
    text_vocab_t v;
    small_spm_t  small;
    const char  *err;

    small_spm(&small, &v);
    v.merges = merges;
    v.n_merges = N(merges);
    v.scores = NULL;
    check(&v, s, cases, N(cases), "merges");

    merges[1] = (text_str_t){"ab d", 4};
    is_int(broken(&v, &err), -EINVAL, "merge makes no token");
}


static void
test_tokens(text_scratch_t *s)
{
    static char       text[256], back[1024];
    text_tokenizer_t *tok;
    text_vocab_t      v;
    small_spm_t       small;
    int32_t           ids[1024];
    const char       *p;
    size_t            i, at, len;
    ssize_t           n;

    small_spm(&small, &v);
    tok = make(&v);
    p = text_token_bytes(tok, SPM_THE, &len);
    ok(len == 4 && memcmp(p, " the", 4) == 0, "a space in a token");
    p = text_token_bytes(tok, SPM_BYTE + 0xe4, &len);
    ok(len == 1 && p[0] == '\xe4', "a byte token");
    is_int(text_token_type(tok, SPM_BYTE), TEXT_BYTE, "its type");
    is_int(text_token_type(tok, SPM_PAD), TEXT_UNUSED, "a filler");
    is_int(text_token_find(tok, "<t>", 3), SPM_TURN, "find");
    is_int(text_token_find_any(tok, " the", 4), SPM_THE, "find any");
    is_int(text_prefix_len(tok, SPM_THE), 1, "a prefix");
    is_int(text_prefix_len(tok, SPM_HE), 0, "no prefix there");
    is_int(text_prefix_len(tok, SPM_BYTE + ' '), 0, "a byte is none");
    ok(text_adds_bos(tok), "adds a bos");
    is_int(text_encode(tok, "the", 3, NULL, TEXT_ADD_BOS, ids, 1024, s), 2,
           "bos");
    text_tokenizer_free(tok);

    v.add_space_prefix = false;
    tok = make(&v);
    is_int(text_prefix_len(tok, SPM_THE), 0, "no prefix");

    for (i = 0; i < 256; i++) {
        text[i] = (char) (i * 7);
    }

    n = text_encode(tok, text, 256, NULL, 0, ids, 1024, s);
    at = 0;

    for (i = 0; n > 0 && i < (size_t) n; i++) {
        p = text_token_bytes(tok, ids[i], &len);
        memcpy(back + at, p, len);
        at += len;
    }

    ok(at == 256 && memcmp(text, back, 256) == 0, "all bytes");
    text_tokenizer_free(tok);
}


static int
broken(const text_vocab_t *v, const char **err)
{
    static char       buf[256];
    text_tokenizer_t *tok;
    int               rc;

    buf[0] = '\0';
    rc = text_tokenizer_new(v, &tok, buf, sizeof(buf));
    *err = buf;

    if (rc == 0) {
        text_tokenizer_free(tok);
    }

    return rc;
}


static void
test_broken(void)
{
    static char  name[2048];
    text_vocab_t v;
    small_spm_t  s;
    const char  *err;

    small_spm(&s, &v);
    v.scores = NULL;
    is_int(broken(&v, &err), -EINVAL, "no scores");
    is_str(err, "no scores and no merges", "its message");

    small_spm(&s, &v);
    s.scores[SPM_HE] = NAN;
    is_int(broken(&v, &err), -EINVAL, "a score that is none");

    small_spm(&s, &v);
    s.types[SPM_SPACE] = TEXT_UNUSED;
    is_int(broken(&v, &err), -EINVAL, "no space");

    small_spm(&s, &v);
    s.tokens[SPM_BYTE + 3] = (text_str_t){"<0x0G>", 6};
    is_int(broken(&v, &err), -EINVAL, "a byte token that is none");
    is_str(err, "token 6 is broken", "its message");

    small_spm(&s, &v);
    s.tokens[SPM_BYTE + 3] = (text_str_t){"<0x03", 5};
    is_int(broken(&v, &err), -EINVAL, "a byte token cut short");

    small_spm(&s, &v);
    memset(name, 'a', sizeof(name));
    s.tokens[SPM_HE] = (text_str_t){name, sizeof(name)};
    is_int(broken(&v, &err), -EINVAL, "a token too long");

    small_spm(&s, &v);
    v.nfc = 1;
    is_int(broken(&v, &err), -ENOTSUP, "NFC");

    small_spm(&s, &v);
    v.ignore_merges = 1;
    is_int(broken(&v, &err), -ENOTSUP, "merges ignored");

    small_spm(&s, &v);
    v.prefix = 3;
    is_int(broken(&v, &err), -EINVAL, "an unknown prefix");

    small_spm(&s, &v);
    v.model = (text_str_t){"gemma4", 6};
    is_int(broken(&v, &err), -ENOTSUP, "gemma4");
    is_str(err, "tokenizer model 'gemma4' is not supported", "its message");

    small_spm(&s, &v);
    s.tokens[SPM_HE].len = 0;
    s.tokens[SPM_BR].len = 0;
    s.tokens[SPM_B] = s.tokens[SPM_A];
    s.tokens[SPM_D] = (text_str_t){"d d", 3};
    is_int(broken(&v, &err), 0, "empty, equal, impossible tokens");
}


/* A word of 1 MiB, of several kinds: exact, and not quadratic. */
static void
test_long(text_scratch_t *s)
{
    static const char *runs[] = {"a",        " ",  "ab",   "z", "x ",
                                 "\xc3\xa9", "\n", "\xff", U,   "aaaaaaaaaaz"};
    text_tokenizer_t  *tok;
    text_vocab_t       v;
    small_spm_t        small;
    clock_t            start, took, worst;
    size_t             i, n, len;
    ssize_t            got;
    int32_t           *ids;
    char              *text;

    small_spm(&small, &v);
    tok = make(&v);
    text = malloc(1 << 20);
    ids = malloc(((2 << 20) + 4) * sizeof(int32_t));
    worst = 0;

    for (i = 0; i < N(runs); i++) {
        len = strlen(runs[i]);

        for (n = 0; n + len <= 1 << 20; n += len) {
            memcpy(text + n, runs[i], len);
        }

        start = clock();
        got = text_encode(tok, text, n, NULL, 0, ids, (2 << 20) + 4, s);
        took = clock() - start;
        worst = took > worst ? took : worst;
        ok(got > 0 && got <= (ssize_t) text_encode_max(tok, n),
           "1 MiB, kind %zu: %zd tokens", i, got);

        if (i == 0) {
            ok(got == 1 + (1 << 20) / 4 && ids[0] == SPM_SPACE
                   && ids[1] == SPM_AAAA && ids[got - 1] == SPM_AAAA,
               "its tokens");
        }
    }

    diag("slowest 1 MiB: %.0f ms of processor time",
         (double) worst * 1e3 / CLOCKS_PER_SEC);

    text_tokenizer_free(tok);
    free(text);
    free(ids);
}
