/*
 * The tokenizer against the expected tokens of published vocabularies
 * (../shared/data/tokenizers), written by the models' original tokenizers.
 */

#include "engine/serve/vocab.h"
#include "t/lib/tap.h"

#include <errno.h>
#include <unistd.h>


#define DATA "../shared/data/tokenizers/ggml-vocab-"
#define MARK "\n__ggml_vocab_test__\n"


static const char *names[] = {
    "deepseek-coder", "deepseek-llm", "falcon",    "gpt-2", "mpt",
    "refact",         "starcoder",    "llama-spm", "phi-3",
};

static const char *others[] = {"bert-bge"};


static char *read_file(const char *path, size_t *len);
static void  test_vocab(const char *name);
static bool  test_text(const vocab_t *v, text_scratch_t *s, const char *text,
                       size_t len, char **want, int n);
static void  test_refused(const char *name);


int
main(void)
{
    size_t i;

    if (access(DATA "gpt-2.gguf", R_OK) != 0) {
        skip_all("no ../shared/data/tokenizers");
    }

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        test_vocab(names[i]);
    }

    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        test_refused(others[i]);
    }

    return tap_done();
}


static char *
read_file(const char *path, size_t *len)
{
    FILE *f;
    char *p;
    long  n;

    f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (n = ftell(f)) < 0) {
        printf("Bail out! %s\n", path);
        exit(1);
    }

    rewind(f);
    p = malloc((size_t) n + 1);
    *len = fread(p, 1, (size_t) n, f);
    p[*len] = '\0';
    fclose(f);

    return p;
}


static void
test_vocab(const char *name)
{
    text_scratch_t *s;
    vocab_t         v;
    gguf_t         *g;
    size_t          len, out_len;
    char            path[256], err[256], *inp, *out, *p, *next, *line;
    int             n, bad;

    err[0] = '\0';

    snprintf(path, sizeof(path), DATA "%s.gguf", name);
    is_int(gguf_open(path, &g, err, sizeof(err)), 0, "%s: opens %s", name, err);
    is_int(vocab_open(g, &v, err, sizeof(err)), 0, "%s: tokenizer %s", name,
           err);
    gguf_close(g);

    snprintf(path, sizeof(path), DATA "%s.gguf.inp", name);
    inp = read_file(path, &len);
    snprintf(path, sizeof(path), DATA "%s.gguf.out", name);
    out = read_file(path, &out_len);

    s = text_scratch_new();
    line = out;
    n = 0;
    bad = 0;

    for (p = inp; p != NULL && v.tokenizer; p = next) {
        next = strstr(p, MARK);
        len = next ? (size_t) (next - p) : strlen(p);
        next = next ? next + strlen(MARK) : NULL;

        /* A mark at the end of the file begins no text. */
        if (next == NULL && len == 0 && *line == '\0') {
            break;
        }

        bad += !test_text(&v, s, p, len, &line, n);
        n++;
    }

    is_int(bad, 0, "%s: %d texts as expected", name, n);
    ok(*line == '\0', "%s: all lines used", name);

    text_scratch_free(s);
    vocab_close(&v);
    free(inp);
    free(out);
}


static bool
test_text(const vocab_t *v, text_scratch_t *s, const char *text, size_t len,
          char **want, int n)
{
    int32_t *ids, id;
    ssize_t  count, i;
    char    *end;
    bool     same;

    ids = malloc((len + 2) * sizeof(int32_t));
    count = text_encode(v->tokenizer, text, len, NULL, 0, ids, len + 2, s);
    same = count >= 0;

    for (i = 0; **want != '\n' && **want != '\0'; i++) {
        id = (int32_t) strtol(*want, &end, 10);
        if (end == *want) {
            break;
        }
        if (i >= count || ids[i] != id) {
            if (same) {
                diag("text %d, token %zd: got %d of %zd, want %d", n, i,
                     i < count ? ids[i] : -1, count, id);
            }
            same = false;
        }
        *want = end + strspn(end, " ");
    }

    *want += strspn(*want, " ");
    *want += **want == '\n';

    if (same && i != count) {
        diag("text %d: got %zd tokens, want %zd", n, count, i);
    }

    free(ids);
    return same && i == count;
}


/* Kinds that are not built yet are refused by name. */
static void
test_refused(const char *name)
{
    vocab_t v;
    gguf_t *g;
    char    path[256], err[256];

    snprintf(path, sizeof(path), DATA "%s.gguf", name);
    is_int(gguf_open(path, &g, err, sizeof(err)), 0, "%s: opens", name);
    is_int(vocab_open(g, &v, err, sizeof(err)), -ENOTSUP, "%s: refused", name);
    ok(strstr(err, "tokenizer model '") != NULL, "%s: %s", name, err);
    gguf_close(g);
}
