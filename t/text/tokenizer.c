/*
 * Tokenizer: provenance, merging, broken vocabularies, over a small
 * vocabulary; and the default model's, if it is there, against tokens made by
 * the `tokenizers` package.
 */

#include "engine/serve/vocab.h"
#include "t/text/goldens.h"
#include "t/text/small.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>


#define MODEL "SmolLM2-135M-Instruct.Q4_1.gguf"

static char model_path[1024];


static void    test_merging(const text_tokenizer_t *tok, text_scratch_t *s);
static void    test_special(const text_tokenizer_t *tok, text_scratch_t *s);
static void    test_getters(const text_tokenizer_t *tok);
static void    test_bos_eos(text_scratch_t *s);
static void    test_broken(void);
static int     make_broken(const text_vocab_t *v, const char **err);
static void    test_bytes(const text_tokenizer_t *tok, text_scratch_t *s);
static void    test_long(const text_tokenizer_t *tok, text_scratch_t *s);
static void    test_model(text_scratch_t *s);
static void    test_goldens(const text_tokenizer_t *tok, text_scratch_t *s);
static int     compare(const text_tokenizer_t *tok, text_scratch_t *s,
                       const char *text, size_t len, const uint8_t *trusted,
                       const char *want);
static void    test_round_trip(const text_tokenizer_t *tok, text_scratch_t *s);
static void    test_threads(const text_tokenizer_t *tok);
static void   *thread_main(void *data);
static void    measure(const text_tokenizer_t *tok, text_scratch_t *s);
static ssize_t encode(const text_tokenizer_t *tok, text_scratch_t *s,
                      const char *text, const char *trust, char *out);


int
main(void)
{
    text_tokenizer_t *tok;
    text_scratch_t   *s;
    text_vocab_t      v;
    small_t           small;
    char              err[128];

    s = text_scratch_new();
    small_vocab(&small, &v);

    is_int(text_tokenizer_new(&v, &tok, err, sizeof(err)), 0, "made");
    memset(&small, 0xff, sizeof(small));

    test_merging(tok, s);
    test_special(tok, s);
    test_getters(tok);
    test_bytes(tok, s);
    test_long(tok, s);
    text_tokenizer_free(tok);
    text_tokenizer_free(NULL);

    test_bos_eos(s);
    test_broken();
    test_model(s);
    text_scratch_free(s);

    return tap_done();
}


/*
 * Encodes, writes the ids as text.  trust: a character for each byte, '+' is
 * trusted; NULL: none is.
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
        trusted[i] = trust[i] == '+';
    }

    n = text_encode(tok, text, len, trust ? trusted : NULL, 0, ids, 256, s);
    at = 0;
    out[0] = '\0';

    for (i = 0; n > 0 && i < (size_t) n; i++) {
        at += (size_t) sprintf(out + at, "%s%d", i ? " " : "", ids[i]);
    }

    return n;
}


static void
test_merging(const text_tokenizer_t *tok, text_scratch_t *s)
{
    static const char *cases[][2] = {
        {"", ""},
        {"a", "97"},
        {"hello", "259"},
        {"hell", "258"},
        {"hel", "256 108"},
        {"abc", "97 261"},
        {"ab", "260"},
        {"abd", "260 100"},
        {" x", "263"},
        {"aaa", "264 97"},
        {"aaaaa", "265 97"},
        {"aaaaaaa", "265 264 97"},
        {"hellohello", "259 259"},
        {"<!>", "266 62"},
        {"\n", "10"},
        {"\xc3\xa9", "195 169"},
    };
    size_t  i;
    char    out[1024];
    int32_t id;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        encode(tok, s, cases[i][0], NULL, out);
        is_str(out, cases[i][1], "merges: '%s'",
               cases[i][0][0] == '\n' ? "\\n" : cases[i][0]);
    }

    id = -7;
    is_int(text_encode(tok, "hello hello", 11, NULL, 0, &id, 1, s), 3,
           "counts what does not fit");
    is_int(id, SMALL_HELLO, "writes what fits");
    is_int(text_encode(tok, "hello", 5, NULL, 0, NULL, 0, s), 1, "counts");
    is_int(text_encode(tok, NULL, 0, NULL, 0, NULL, 0, s), 0, "no text");
    is_int(text_encode(tok, "", (size_t) TEXT_MAX_INPUT + 1, NULL, 0, NULL, 0,
                       s),
           -EFBIG, "too long");
}


static void
test_special(const text_tokenizer_t *tok, text_scratch_t *s)
{
    static const char *cases[][3] = {
        {"<!>", "+++", "267"},
        {"<!>", "++-", "266 62"},
        {"<!>", "-++", "266 62"},
        {"<!>", NULL, "266 62"},
        {"a<!>b", "-+++-", "97 267 98"},
        {"<|end|>", "+++++++", "268"},
        {"<|end|>x", "++++++++", "269"},
        {"<|end|>x", "+++++++-", "268 120"},
        {"<|end|><|end|>", "+++++++-------", "268 60 124 101 110 100 124 62"},
        {"<|<|end|>", "+++++++++", "60 124 268"},
        {"<<!>", "++++", "60 267"},
        {"<think>", "+++++++", "270"},
        {"<think>", "++++++-", "60 116 104 105 110 107 62"},
        {"<think>", NULL, "60 116 104 105 110 107 62"},
        {"<br>", NULL, "271"},
        {"<br>", "-+-+", "271"},
        {"<br><br>", NULL, "272"},
        {"<br><br><br>", NULL, "272 271"},
        {"a <br> x", NULL, "97 32 271 263"},
        {"<!", "++", "266"},
        {"<|end|", "++++++", "60 124 101 110 100 124"},
    };
    static const char *never[] = {"[PAD273]", "<unused>"};
    size_t             i;
    char               out[1024];

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        encode(tok, s, cases[i][0], cases[i][1], out);
        is_str(out, cases[i][2], "special: %s %s", cases[i][0],
               cases[i][1] ? cases[i][1] : "untrusted");
    }

    for (i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        is_int(encode(tok, s, never[i], "++++++++", out), 8, "never: %s",
               never[i]);
    }
}


static void
test_getters(const text_tokenizer_t *tok)
{
    const char *p;
    size_t      len;

    is_int(text_vocab_size(tok), SMALL_N, "size");
    is_int(text_token_max(tok), 8, "longest token");

    p = text_token_bytes(tok, SMALL_SPACE_X, &len);
    ok(len == 2 && memcmp(p, " x", 2) == 0, "bytes of a normal token");
    p = text_token_bytes(tok, SMALL_END, &len);
    ok(len == 7 && memcmp(p, "<|end|>", 7) == 0, "bytes of a control token");
    ok(text_token_bytes(tok, -1, &len) == NULL && len == 0, "id -1");
    ok(text_token_bytes(tok, SMALL_N, &len) == NULL && len == 0,
       "id too large");

    is_int(text_token_type(tok, SMALL_HE), TEXT_NORMAL, "type normal");
    is_int(text_token_type(tok, SMALL_END), TEXT_CONTROL, "type control");
    is_int(text_token_type(tok, SMALL_THINK), TEXT_USER_DEFINED, "type user");
    is_int(text_token_type(tok, SMALL_PAD), TEXT_UNUSED, "type of a filler");
    is_int(text_token_type(tok, SMALL_N), 0, "type of none");

    ok(text_token_is_control(tok, SMALL_END)
           && text_token_is_control(tok, SMALL_UNUSED)
           && !text_token_is_control(tok, SMALL_THINK)
           && !text_token_is_control(tok, SMALL_HE),
       "is control");

    is_int(text_token_find(tok, "<|end|>", 7), SMALL_END, "find");
    is_int(text_token_find(tok, "<br>", 4), SMALL_BR, "find user-defined");
    is_int(text_token_find(tok, "<|en", 4), -1, "find a part");
    is_int(text_token_find(tok, "he", 2), -1, "find no normal one");
    is_int(text_token_find(tok, "", 0), -1, "find nothing");
    is_int(text_token_find_any(tok, "he", 2), SMALL_HE, "find any");
    is_int(text_token_find_any(tok, "abc", 3), SMALL_ABC, "find any, indirect");
    is_int(text_token_find_any(tok, " x", 2), SMALL_SPACE_X, "find any, bytes");
    is_int(text_token_find_any(tok, "zz", 2), -1, "find none");

    is_int(text_bos(tok), SMALL_LT_S_GT, "bos");
    is_int(text_eos(tok), SMALL_END, "eos");
    is_int(text_eot(tok), -1, "eot");
    is_int(text_unk(tok), -1, "unk");
    is_int(text_pad(tok), -1, "pad");
}


static void
test_bos_eos(text_scratch_t *s)
{
    static const struct {
        int      add_bos;
        bool     add_eos;
        unsigned flags;
        ssize_t  n;
    } cases[] = {
        {0, false, TEXT_ADD_BOS | TEXT_ADD_EOS, 1},
        {1, true, TEXT_ADD_BOS | TEXT_ADD_EOS, 3},
        {1, true, TEXT_ADD_BOS, 2},
        {1, true, TEXT_ADD_EOS, 2},
        {1, true, 0, 1},
        {-1, false, TEXT_ADD_BOS, 1},
    };
    text_tokenizer_t *tok;
    text_vocab_t      v;
    small_t           small;
    int32_t           ids[8];
    char              err[128];
    size_t            i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        small_vocab(&small, &v);
        v.add_bos = cases[i].add_bos;
        v.add_eos = cases[i].add_eos;

        if (text_tokenizer_new(&v, &tok, err, sizeof(err)) != 0) {
            ok(0, "bos and eos %zu: %s", i, err);
            continue;
        }

        is_int(text_encode(tok, "a", 1, NULL, cases[i].flags, ids, 8, s),
               cases[i].n, "bos and eos %zu", i);
        text_tokenizer_free(tok);
    }

    small_vocab(&small, &v);
    v.add_bos = -1;
    v.pre = (text_str_t){"llama-bpe", 9};
    is_int(text_tokenizer_new(&v, &tok, err, sizeof(err)), 0, "llama-bpe");
    is_int(text_encode(tok, "abc", 3, NULL, TEXT_ADD_BOS, ids, 8, s), 2,
           "llama-bpe adds a bos, and ignores merges for a whole word");
    ok(ids[0] == SMALL_LT_S_GT && ids[1] == SMALL_ABC, "its tokens");
    text_tokenizer_free(tok);
}


static int
make_broken(const text_vocab_t *v, const char **err)
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
    text_vocab_t v;
    small_t      s;
    const char  *err;
    char         name[TEXT_MAX_SPECIAL + 2];

    small_vocab(&s, &v);
    v.model = (text_str_t){"plamo9", 6};
    is_int(make_broken(&v, &err), -ENOTSUP, "unknown model");
    is_str(err, "tokenizer model 'plamo9' is not supported", "its message");

    small_vocab(&s, &v);
    v.pre = (text_str_t){"(none)", 6};
    is_int(make_broken(&v, &err), -ENOTSUP, "unknown pre-tokenizer");
    is_str(err, "pre-tokenizer '(none)' is not supported", "its message");

    small_vocab(&s, &v);
    v.n_tokens = 0;
    is_int(make_broken(&v, &err), -EINVAL, "no tokens");

    small_vocab(&s, &v);
    v.n_tokens = TEXT_MAX_TOKENS + 1;
    is_int(make_broken(&v, &err), -EINVAL, "too many tokens");

    small_vocab(&s, &v);
    v.eos = SMALL_N;
    is_int(make_broken(&v, &err), -EINVAL, "eos outside");

    small_vocab(&s, &v);
    v.bos = -2;
    is_int(make_broken(&v, &err), -EINVAL, "bos outside");

    small_vocab(&s, &v);
    v.add_space_prefix = true;
    is_int(make_broken(&v, &err), -ENOTSUP, "space prefix");

    small_vocab(&s, &v);
    s.types[5] = 7;
    is_int(make_broken(&v, &err), -EINVAL, "unknown token type");

    small_vocab(&s, &v);
    s.merges[3].len = 1;
    is_int(make_broken(&v, &err), -EINVAL, "merge too short");

    small_vocab(&s, &v);
    s.merges[3] = (text_str_t){"hello", 5};
    is_int(make_broken(&v, &err), -EINVAL, "merge without a space");
    is_str(err, "merge 3 is broken or makes no token", "its message");

    small_vocab(&s, &v);
    s.merges[3] = (text_str_t){"he he", 5};
    is_int(make_broken(&v, &err), -EINVAL, "merge makes no token");

    small_vocab(&s, &v);
    s.merges[3] = (text_str_t){"\xff h", 3};
    is_int(make_broken(&v, &err), -EINVAL, "merge outside the alphabet");

    small_vocab(&s, &v);
    memset(name, '<', sizeof(name));
    s.tokens[SMALL_END] = (text_str_t){name, TEXT_MAX_SPECIAL + 1};
    is_int(make_broken(&v, &err), -EINVAL, "special token too long");

    small_vocab(&s, &v);
    s.tokens[SMALL_END] = (text_str_t){name, TEXT_MAX_SPECIAL};
    is_int(make_broken(&v, &err), 0, "special token just short enough");

    small_vocab(&s, &v);
    s.tokens[SMALL_END].len = 0;
    s.tokens[7].len = 0;
    v.types = NULL;
    v.n_merges = 0;
    is_int(make_broken(&v, &err), 0, "empty tokens, no types, no merges");
}


/* All bytes, alone and in ill-formed company, come back. */
static void
test_bytes(const text_tokenizer_t *tok, text_scratch_t *s)
{
    char        text[768], back[1024];
    const char *p;
    int32_t     ids[1024];
    size_t      i, at, len;
    ssize_t     n;

    for (i = 0; i < 256; i++) {
        text[3 * i] = (char) i;
        text[3 * i + 1] = (char) (i * 7);
        text[3 * i + 2] = (char) (255 - i);
    }

    n = text_encode(tok, text, sizeof(text), NULL, 0, ids, 1024, s);
    at = 0;

    for (i = 0; n > 0 && i < (size_t) n; i++) {
        p = text_token_bytes(tok, ids[i], &len);
        memcpy(back + at, p, len);
        at += len;
    }

    ok(at == sizeof(text) && memcmp(back, text, at) == 0, "all bytes");
}


/* One word of 1 MiB: exact, and not quadratic. */
static void
test_long(const text_tokenizer_t *tok, text_scratch_t *s)
{
    static const size_t sizes[] = {47, 48, 49, 50, 51, 1000, 1 << 20};
    clock_t             start;
    size_t              i, k, len, want, bad;
    ssize_t             n;
    int32_t            *ids;
    char               *text;

    text = malloc(1 << 20);
    ids = malloc((1 << 20) * sizeof(int32_t));
    memset(text, 'a', 1 << 20);

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        len = sizes[i];
        start = clock();
        n = text_encode(tok, text, len, NULL, 0, ids, len, s);
        start = clock() - start;

        want = len / 4 + (len % 4 + 1) / 2;
        bad = 0;

        for (k = 0; k < len / 4 && (ssize_t) k < n; k++) {
            bad += ids[k] != SMALL_AAAA;
        }

        ok(n == (ssize_t) want && bad == 0, "word of %zu bytes", len);
    }

    diag("word of 1 MiB: %.0f ms of processor time",
         (double) start * 1e3 / CLOCKS_PER_SEC);

    free(text);
    free(ids);
}


static void
test_model(text_scratch_t *s)
{
    const char *cache, *home;
    vocab_t     v;
    gguf_t     *g;
    char        err[256];

    cache = getenv("NGX_LLM_CACHE");
    home = getenv("HOME");
    snprintf(model_path, sizeof(model_path), "%s%s/" MODEL,
             cache  ? cache
             : home ? home
                    : "",
             cache ? "" : "/.cache/ngx-llm");

    if (gguf_open(model_path, &g, err, sizeof(err)) != 0) {
        ok(1, "default model # SKIP %s", err);
        return;
    }

    is_int(vocab_open(g, &v, err, sizeof(err)), 0, "default model");
    gguf_close(g);

    ok(vocab_is_eog(&v, 2) && vocab_is_eog(&v, 0) && !vocab_is_eog(&v, 1),
       "its end of generation");
    ok(!text_adds_bos(v.tokenizer), "it adds no bos");

    test_goldens(v.tokenizer, s);
    test_round_trip(v.tokenizer, s);
    test_threads(v.tokenizer);
    measure(v.tokenizer, s);

    vocab_close(&v);
}


static void
test_goldens(const text_tokenizer_t *tok, text_scratch_t *s)
{
    char    *texts, *want, *special, *t, *w, *sp, *text, *line, *next, *ids;
    uint8_t *trusted;
    size_t   len;
    int      n, bad, bad_special;

    texts = golden_read(GOLDENS "texts.txt", &len);
    trusted = malloc(len);
    memset(trusted, 1, len);
    want = golden_read(GOLDENS "smollm2.txt", &len);
    special = golden_read(GOLDENS "smollm2-special.txt", &len);
    t = texts;
    w = want;
    sp = special;
    next = golden_line(&sp);
    n = 0;
    bad = 0;
    bad_special = 0;

    while ((text = golden_line(&t)) && (line = golden_line(&w))) {
        len = golden_text(text);
        ids = line;

        if (next && atoi(next) == n) {
            ids = strchr(next, ':') + 1;
            next = golden_line(&sp);
        }

        bad += compare(tok, s, text, len, NULL, line);
        bad_special += compare(tok, s, text, len, trusted, ids);
        n++;
    }

    is_int(bad, 0, "tokens of %d texts", n);
    is_int(bad_special, 0, "tokens of %d texts, trusted", n);

    free(texts);
    free(trusted);
    free(want);
    free(special);
}


static int
compare(const text_tokenizer_t *tok, text_scratch_t *s, const char *text,
        size_t len, const uint8_t *trusted, const char *want)
{
    int32_t ids[1024];
    ssize_t n, i;
    long    id;
    char   *end;

    n = text_encode(tok, text, len, trusted, 0, ids, 1024, s);

    for (i = 0;; i++) {
        id = strtol(want, &end, 10);

        if (end == want) {
            break;
        }

        want = end;

        if (i >= n || ids[i] != id) {
            diag("token %zd of '%.*s': want %ld", i, (int) len, text, id);
            return 1;
        }
    }

    return i != n;
}


/* The tokens' bytes are the text, but for bytes that have no token. */
static void
test_round_trip(const text_tokenizer_t *tok, text_scratch_t *s)
{
    const char *p;
    int32_t     ids[256];
    size_t      i, k, n, len, at;
    ssize_t     count;
    unsigned    seed;
    char        text[64], c;
    int         bad;

    seed = 1;
    bad = 0;

    for (k = 0; k < 20000; k++) {
        n = 0;

        for (i = 0; i < k % 64; i++) {
            seed = seed * 1103515245 + 12345;
            c = (char) (seed >> 16);
            c = k % 3 ? c & 0x7f : c;

            if (text_token_find_any(tok, &c, 1) >= 0) {
                text[n++] = c;
            }
        }

        count = text_encode(tok, text, n, NULL, 0, ids, 256, s);
        at = 0;

        for (i = 0; count >= 0 && i < (size_t) count; i++) {
            p = text_token_bytes(tok, ids[i], &len);

            if (at + len > n || memcmp(text + at, p, len) != 0) {
                break;
            }

            at += len;
        }

        bad += at != n || text_token_is_control(tok, count ? ids[0] : 99);
    }

    is_int(bad, 0, "round trip of random bytes");
}


static void *
thread_main(void *data)
{
    const text_tokenizer_t *tok = data;
    text_scratch_t         *s;
    int32_t                 ids[64];
    uintptr_t               sum;
    size_t                  i;
    char                    text[64];
    ssize_t                 n;

    s = text_scratch_new();
    sum = 0;

    for (i = 0; i < 2000; i++) {
        n = snprintf(text, sizeof(text), "Thread's text %zu, encoded.", i);
        n = text_encode(tok, text, (size_t) n, NULL, 0, ids, 64, s);
        sum = sum * 31 + (uintptr_t) (n + ids[n / 2]);
    }

    text_scratch_free(s);
    return (void *) sum;
}


static void
test_threads(const text_tokenizer_t *tok)
{
    pthread_t threads[4];
    void     *sum[4];
    size_t    i;

    for (i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, thread_main, (void *) tok);
    }

    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], &sum[i]);
    }

    ok(sum[0] == sum[1] && sum[0] == sum[2] && sum[0] == sum[3],
       "four threads at once");
}


/* Figures only: English, and code, each some 100 KiB. */
static void
measure(const text_tokenizer_t *tok, text_scratch_t *s)
{
    static const char *files[] = {"/usr/share/common-licenses/GPL-3",
                                  "engine/text/bpe.c"};
    clock_t            start;
    int32_t           *ids;
    size_t             i, k, len, total;
    ssize_t            n;
    char              *text;

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (access(files[i], R_OK) != 0) {
            continue;
        }

        text = golden_read(files[i], &len);
        ids = malloc((len + 2) * sizeof(int32_t));
        total = 0;
        n = 0;
        start = clock();

        for (k = 0; k < 1 + 400000 / (len + 1); k++) {
            n = text_encode(tok, text, len, NULL, 0, ids, len + 2, s);
            total += (size_t) n;
        }

        start = clock() - start;

        diag("%s: %zu bytes, %zd tokens, %.2f million tokens/s", files[i], len,
             n, (double) total / ((double) start / CLOCKS_PER_SEC) / 1e6);

        free(text);
        free(ids);
    }
}
