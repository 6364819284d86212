/*
 * Tokens of whole vocabularies against what `tokenizers` and `sentencepiece`
 * make of the same texts, see make_vocabs.py: published ones where they are
 * (../shared, the cache of models), a small one under each pre-tokenizer, and
 * cut ones.  IDS_MORE=folder names a folder with more, NAME.gguf and
 * ids-NAME.txt.
 */

#include "engine/model/gguf.h"
#include "t/text/goldens.h"
#include "engine/text/tokenizer.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>


#define SHARED    "../shared/data/tokenizers/ggml-vocab-"
#define MAX_TEXTS 4096
#define MAX_IDS   (1 << 16)


/* Where the file is: in the goldens, in ../shared, or in the cache. */
enum { HERE, THERE, CACHE };

static const struct {
    const char *name; /* of ids-NAME.txt */
    int         where;
    const char *file;
    const char *pre; /* instead of the file's */
    int         prefix;
} cases[] = {
    {"small-gpt-2", HERE, "small", "gpt-2", 0},
    {"small-smollm", HERE, "small", "smollm", 0},
    {"small-falcon", HERE, "small", "falcon", 0},
    {"small-falcon3", HERE, "small", "falcon3", 0},
    {"small-falcon-h1", HERE, "small", "falcon-h1", 0},
    {"small-deepseek-coder", HERE, "small", "deepseek-coder", 0},
    {"small-deepseek-v3", HERE, "small", "deepseek-v3", 0},
    {"small-llama-bpe", HERE, "small", "llama-bpe", 0},
    {"small-qwen2", HERE, "small", "qwen2", 0},
    {"small-qwen2", HERE, "small", "deepseek-r1-qwen", 0},
    {"small-qwen35", HERE, "small", "qwen35", 0},
    {"small-gpt-4o", HERE, "small", "gpt-4o", 0},
    {"small-tekken", HERE, "small", "tekken", 0},
    {"mistral", HERE, "mistral", NULL, TEXT_PREFIX_EACH},
    {"mistral-first", HERE, "mistral", NULL, TEXT_PREFIX_FIRST},
    {"tekken", HERE, "tekken", NULL, 0},
    {"gpt-2", THERE, "gpt-2", NULL, 0},
    {"mpt", THERE, "mpt", NULL, 0},
    {"refact", THERE, "refact", NULL, 0},
    {"starcoder", THERE, "starcoder", NULL, 0},
    {"deepseek-coder", THERE, "deepseek-coder", NULL, 0},
    {"falcon", THERE, "falcon", NULL, 0},
    {"llama-spm", THERE, "llama-spm", NULL, 0},
    {"phi-3", THERE, "phi-3", NULL, 0},
    {"smollm2", CACHE, "SmolLM2-135M-Instruct.Q4_1", NULL, 0},
    {"gemma3", CACHE, "gemma-3-270m-q4_k_m", NULL, 0},
};

static char   *texts[MAX_TEXTS];
static size_t  lens[MAX_TEXTS];
static size_t  n_texts, n_bytes;
static int32_t ids[MAX_IDS];
static uint8_t trusted[MAX_IDS];


static void read_texts(const char *path);
static void test_more(const char *folder, text_scratch_t *s);
static void test_case(const char *name, const char *file, const char *want,
                      const char *pre, int prefix, text_scratch_t *s);
static text_tokenizer_t *make(const gguf_t *g, const char *name,
                              const char *pre, int prefix);
static void              read_flags(const gguf_t *g, text_vocab_t *v);
static bool              is_protected(const text_str_t *s);
static void              compare(const char *name, const char *want,
                                 const text_tokenizer_t *tok, text_scratch_t *s);
static uint32_t encode(const text_tokenizer_t *tok, text_scratch_t *s, size_t i,
                       const uint8_t *trust);


int
main(void)
{
    text_scratch_t *s;
    const char     *cache, *home;
    char            file[1024], want[256];
    size_t          i;

    read_texts(GOLDENS "texts.txt");
    read_texts(GOLDENS "texts-more.txt");
    memset(trusted, 1, sizeof(trusted));

    cache = getenv("NGX_LLM_CACHE");
    home = getenv("HOME");
    s = text_scratch_new();

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (cases[i].where == CACHE) {
            snprintf(file, sizeof(file), "%s%s/%s.gguf",
                     cache  ? cache
                     : home ? home
                            : "",
                     cache ? "" : "/.cache/ngx-llm", cases[i].file);

        } else {
            snprintf(file, sizeof(file), "%s%s.gguf",
                     cases[i].where == HERE ? GOLDENS : SHARED, cases[i].file);
        }

        snprintf(want, sizeof(want), GOLDENS "ids-%s.txt", cases[i].name);
        test_case(cases[i].pre ? cases[i].pre : cases[i].name, file, want,
                  cases[i].pre, cases[i].prefix, s);
    }

    if (getenv("IDS_MORE")) {
        test_more(getenv("IDS_MORE"), s);
    }

    text_scratch_free(s);

    return tap_done();
}


static void
read_texts(const char *path)
{
    char  *p, *line;
    size_t len;

    p = golden_read(path, &len);

    while ((line = golden_line(&p)) != NULL && n_texts < MAX_TEXTS) {
        lens[n_texts] = golden_text(line);
        n_bytes += lens[n_texts];
        texts[n_texts++] = line;
    }
}


static void
test_more(const char *folder, text_scratch_t *s)
{
    struct dirent *e;
    char           name[256], file[1024], want[1024];
    DIR           *d;

    d = opendir(folder);

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (sscanf(e->d_name, "ids-%255[^.].txt", name) == 1) {
            snprintf(file, sizeof(file), "%s/%s.gguf", folder, name);
            snprintf(want, sizeof(want), "%s/ids-%s.txt", folder, name);
            test_case(name, file, want, NULL, 0, s);
        }
    }

    if (d != NULL) {
        closedir(d);
    }
}


static void
test_case(const char *name, const char *file, const char *want, const char *pre,
          int prefix, text_scratch_t *s)
{
    text_tokenizer_t *tok;
    gguf_t           *g;
    clock_t           start;
    char              err[256];

    if (access(file, R_OK) != 0) {
        ok(1, "%s # SKIP no vocabulary", name);
        return;
    }

    if (gguf_open(file, &g, err, sizeof(err)) != 0) {
        ok(0, "%s: %s", name, err);
        return;
    }

    start = clock();
    tok = make(g, name, pre, prefix);
    start = clock() - start;
    gguf_close(g);

    if (tok != NULL) {
        diag("%s: %zu tokens, made in %.0f ms of processor time", name,
             text_vocab_size(tok), (double) start * 1e3 / CLOCKS_PER_SEC);
        compare(name, want, tok, s);
    }

    text_tokenizer_free(tok);
}


static text_tokenizer_t *
make(const gguf_t *g, const char *name, const char *pre, int prefix)
{
    text_tokenizer_t *tok;
    text_vocab_t      v;
    gguf_str_t       *tokens, *merges, model, own;
    int32_t          *types;
    uint8_t          *protect;
    float            *scores;
    ssize_t           n, m, i;
    char              err[256];

    memset(&v, 0, sizeof(v));
    n = gguf_get_arr_str(g, "tokenizer.ggml.tokens", NULL, 0);
    m = gguf_get_arr_str(g, "tokenizer.ggml.merges", NULL, 0);
    n = n < 0 ? 0 : n;
    m = m < 0 ? 0 : m;

    tokens = calloc((size_t) n + 1, sizeof(gguf_str_t));
    merges = calloc((size_t) m + 1, sizeof(gguf_str_t));
    types = calloc((size_t) n + 1, sizeof(int32_t));
    scores = calloc((size_t) n + 1, sizeof(float));
    protect = calloc((size_t) n + 1, 1);

    gguf_get_arr_str(g, "tokenizer.ggml.tokens", tokens, (size_t) n);
    gguf_get_arr_str(g, "tokenizer.ggml.merges", merges, (size_t) m);
    gguf_get_arr_i32(g, "tokenizer.ggml.token_type", types, (size_t) n);

    if (gguf_get_arr_f32(g, "tokenizer.ggml.scores", scores, (size_t) n) == n) {
        v.scores = scores;
    }

    for (i = 0; i < n; i++) {
        protect[i] = is_protected((const text_str_t *) &tokens[i]);
    }

    if (gguf_get_str(g, "tokenizer.ggml.model", &model) == 0) {
        v.model = (text_str_t){model.data, model.len};
    }

    if (pre != NULL) {
        v.pre = (text_str_t){pre, strlen(pre)};

    } else if (gguf_get_str(g, "tokenizer.ggml.pre", &own) == 0) {
        v.pre = (text_str_t){own.data, own.len};
    }

    v.n_tokens = (size_t) n;
    v.tokens = (const text_str_t *) tokens;
    v.types = types;
    v.n_merges = (size_t) m;
    v.merges = (const text_str_t *) merges;
    v.protect = protect;
    v.prefix = prefix;
    v.nfc = v.ignore_merges = v.add_bos = -1;
    read_flags(g, &v);
    tok = NULL;

    if (text_tokenizer_new(&v, &tok, err, sizeof(err)) != 0) {
        ok(0, "%s: %s", name, err);
    }

    free(tokens);
    free(merges);
    free(types);
    free(scores);
    free(protect);

    return tok;
}


static void
read_flags(const gguf_t *g, text_vocab_t *v)
{
    v->bos = v->eos = v->eot = v->unk = v->pad = -1;
    v->add_space_prefix = v->model.len == 5;

    gguf_get_i32(g, "tokenizer.ggml.bos_token_id", &v->bos);
    gguf_get_i32(g, "tokenizer.ggml.unknown_token_id", &v->unk);
    gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &v->add_space_prefix);
}


/* As make_vocabs.py has it. */
static bool
is_protected(const text_str_t *s)
{
    static const char *names[] = {"</s>", "<tool_call>", "</tool_call>",
                                  "<think>", "</think>"};
    size_t             i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (s->len == strlen(names[i])
            && memcmp(s->data, names[i], s->len) == 0) {
            return true;
        }
    }

    return s->len > 1 && memcmp(s->data, "<|", 2) == 0;
}


static void
compare(const char *name, const char *want, const text_tokenizer_t *tok,
        text_scratch_t *s)
{
    char    *all, *p, *line, *end;
    uint32_t plain, trust;
    size_t   i, len;
    int      bad, bad_trusted;

    all = p = golden_read(want, &len);
    bad = 0;
    bad_trusted = 0;

    for (i = 0; i < n_texts && (line = golden_line(&p)) != NULL; i++) {
        plain = (uint32_t) strtoul(line, &end, 16);
        trust = *end == ' ' ? (uint32_t) strtoul(end, NULL, 16) : plain;

        if (encode(tok, s, i, NULL) != plain) {
            diag("%s, text %zu: %.*s", name, i,
                 (int) (lens[i] < 70 ? lens[i] : 70), texts[i]);
            bad++;
        }

        if (encode(tok, s, i, trusted) != trust) {
            if (bad == 0) {
                diag("%s, trusted text %zu: %.*s", name, i,
                     (int) (lens[i] < 70 ? lens[i] : 70), texts[i]);
            }
            bad_trusted++;
        }
    }

    is_int(bad, 0, "%s: tokens of %zu texts", name, i);
    is_int(bad_trusted, 0, "%s: tokens of %zu texts, trusted", name, i);
    free(all);
}


static uint32_t
encode(const text_tokenizer_t *tok, text_scratch_t *s, size_t i,
       const uint8_t *trust)
{
    uint32_t       h;
    const uint8_t *p;
    ssize_t        n;
    size_t         k;

    n = text_encode(tok, texts[i], lens[i], trust, 0, ids, MAX_IDS, s);
    h = 0x811c9dc5;
    p = (const uint8_t *) ids;

    if (n < 0 || (size_t) n > text_encode_max(tok, lens[i])) {
        return 0;
    }

    for (k = 0; k < (size_t) n * 4; k++) {
        h = (h ^ p[k]) * 0x01000193;
    }

    return h;
}
