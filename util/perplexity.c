/*
 * llm-perplexity: how well a model foretells a text, and how far it is from
 * another one.
 *
 *     llm-perplexity --model FILE|FOLDER --file TEXT [--base FILE|FOLDER]
 *                    [--quant q8_0|q4_k] [--ctx 512] [--chunks N]
 *                    [--threads N] [--kernels NAME] [--act int8|f32] [--json]
 *
 * The text's tokens are cut into windows of `ctx`, each computed by itself,
 * its first token made the vocabulary's bos where that asks for one; of each,
 * the tokens of the second half count.  That is what llama-perplexity does:
 * the figures can be compared.
 *
 * With --base, the distributions of that model, over F32 activations, are the
 * measure: the mean of KL(base || model) in nats, its 99th percentile, how
 * often both hold the same token the most likely.
 *
 * One thread beside the backends'.
 */

#include <math.h>

#include "engine/serve/vocab.h"
#include "util/tool_model.h"

#define PPL_STEP 128 /* rows of a step */
#define PPL_CTX  32768

typedef struct {
    const char  *model;
    const char  *base;
    const char  *text;
    quant_t      quant;
    k_isa_t      isa;
    k_act_mode_t act;
    uint32_t     threads;
    uint32_t     ctx;
    uint32_t     chunks;
    int          json;
} ppl_conf_t;

typedef struct {
    ppl_conf_t   conf;
    tool_model_t model;
    tool_model_t base;
    int32_t     *tokens;
    uint32_t     n_tokens;
    uint32_t     n_chunks;
    uint32_t     pages[PPL_CTX / K_PAGE_TOKENS];
    int32_t      bos; /* -1: windows begin as they are */

    float   *logits; /* of one row */
    float   *other;
    float   *kl; /* of each position */
    uint32_t n;
    uint32_t same;
    double   nll;
    double   nll2;
    double   base_nll;
    double   seconds;
} ppl_t;


static void   ppl_options(ppl_conf_t *conf, int argc, char **argv);
static void   ppl_load(ppl_t *p);
static void   ppl_text(ppl_t *p);
static char  *ppl_read(const char *path, size_t *len);
static void   ppl_chunk(ppl_t *p, uint32_t chunk);
static void   ppl_run(ppl_t *p, tool_model_t *t, const int32_t *tokens,
                      uint32_t at, uint32_t n, const uint32_t *wanted,
                      uint32_t n_wanted);
static void   ppl_row(ppl_t *p, uint32_t row, int32_t next);
static double ppl_norm(const float *logits, uint32_t n, uint32_t *best);
static int    ppl_less(const void *a, const void *b);
static void   ppl_report(ppl_t *p);


int
main(int argc, char **argv)
{
    uint32_t i;
    double   start;

    static ppl_t p;

    tool_name = "llm-perplexity";
    llm_log_level(LLM_LOG_WARN);

    ppl_options(&p.conf, argc, argv);
    ppl_load(&p);
    ppl_text(&p);

    start = tool_now();

    for (i = 0; i < p.n_chunks; i++) {
        ppl_chunk(&p, i);
        fprintf(stderr, "\r%s: %u of %u, %.4f ", tool_name, i + 1, p.n_chunks,
                exp(p.nll / p.n));
    }

    fputc('\n', stderr);
    p.seconds = tool_now() - start;

    ppl_report(&p);

    tool_free(&p.model);
    if (p.conf.base) {
        tool_free(&p.base);
    }

    free(p.tokens);
    free(p.logits);
    free(p.other);
    free(p.kl);

    return 0;
}


static void
ppl_options(ppl_conf_t *conf, int argc, char **argv)
{
    static const struct option list[] = {
        {"model", 1, NULL, 'm'},   {"file", 1, NULL, 'f'},
        {"base", 1, NULL, 'b'},    {"quant", 1, NULL, 'q'},
        {"ctx", 1, NULL, 'c'},     {"chunks", 1, NULL, 'n'},
        {"threads", 1, NULL, 't'}, {"kernels", 1, NULL, 'k'},
        {"act", 1, NULL, 'a'},     {"json", 0, NULL, 'j'},
        {NULL, 0, NULL, 0}};
    int c;

    conf->ctx = 512;
    conf->chunks = UINT32_MAX;

    while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
        switch (c) {
        case 'm':
            conf->model = optarg;
            break;
        case 'f':
            conf->text = optarg;
            break;
        case 'b':
            conf->base = optarg;
            break;
        case 'q':
            conf->quant = tool_quant(optarg);
            break;
        case 'c':
            conf->ctx = tool_number("ctx", optarg, 8, PPL_CTX);
            break;
        case 'n':
            conf->chunks = tool_number("chunks", optarg, 1, UINT32_MAX);
            break;
        case 't':
            conf->threads = tool_number("threads", optarg, 1, 256);
            break;
        case 'k':
            conf->isa = tool_isa(optarg);
            break;
        case 'a':
            conf->act = tool_act(optarg);
            break;
        case 'j':
            conf->json = 1;
            break;
        default:
            exit(2);
        }
    }

    if (conf->model == NULL || conf->text == NULL || optind != argc) {
        fprintf(stderr,
                "usage: %s --model FILE|FOLDER --file TEXT "
                "[--base FILE|FOLDER]\n"
                "    [--quant q8_0|q4_k] [--ctx 512] [--chunks N] "
                "[--threads N]\n"
                "    [--kernels auto|scalar|avx2|avx512] [--act int8|f32] "
                "[--json]\n",
                tool_name);
        exit(2);
    }
}


static void
ppl_load(ppl_t *p)
{
    k_config_t     conf;
    model_params_t params;
    uint32_t       i, step;

    step = p->conf.ctx < PPL_STEP ? p->conf.ctx : PPL_STEP;

    conf = (k_config_t){.threads = p->conf.threads,
                        .isa = p->conf.isa,
                        .act = p->conf.act};
    params = (model_params_t){.context = p->conf.ctx,
                              .limits = {step, 1, step},
                              .quant = p->conf.quant};

    tool_load(&p->model, p->conf.model, &k_backend_cpu, &conf, &params,
              4ull << 30);

    if (p->conf.base) {
        conf.act = K_ACT_F32;
        params.quant = QUANT_NONE;
        tool_load(&p->base, p->conf.base, &k_backend_cpu, &conf, &params,
                  4ull << 30);

        if (p->base.m->prog.n_vocab != p->model.m->prog.n_vocab) {
            tool_die(1, "the two models have vocabularies of %u and %u tokens",
                     p->model.m->prog.n_vocab, p->base.m->prog.n_vocab);
        }
    }

    if (p->model.m->n_pages * K_PAGE_TOKENS < p->conf.ctx
        || (p->conf.base && p->base.m->n_pages * K_PAGE_TOKENS < p->conf.ctx)) {
        tool_die(1, "no memory for a context of %u", p->conf.ctx);
    }

    for (i = 0; i < PPL_CTX / K_PAGE_TOKENS; i++) {
        p->pages[i] = i;
    }

    p->logits = malloc(p->model.m->prog.n_vocab * sizeof(float));
    p->other = malloc(p->model.m->prog.n_vocab * sizeof(float));

    if (p->logits == NULL || p->other == NULL) {
        tool_die(1, "no memory");
    }
}


static void
ppl_text(ppl_t *p)
{
    text_scratch_t *scratch;
    vocab_t         vocab;
    ssize_t         n;
    size_t          len;
    char           *text, err[K_ERR_MAX];

    if (vocab_open(p->model.file, &vocab, err, sizeof(err)) < 0) {
        tool_die(1, "%s: %s", p->conf.model, err);
    }

    text = ppl_read(p->conf.text, &len);
    scratch = text_scratch_new();
    p->tokens = malloc((len + 2) * sizeof(int32_t));

    if (scratch == NULL || p->tokens == NULL) {
        tool_die(1, "no memory");
    }

    n = text_encode(vocab.tokenizer, text, len, NULL, TEXT_ADD_BOS, p->tokens,
                    len + 2, scratch);
    if (n < 0) {
        tool_die(1, "%s: %s", p->conf.text, strerror((int) -n));
    }

    p->n_tokens = (uint32_t) n;
    p->n_chunks = p->n_tokens / p->conf.ctx;
    p->bos = text_adds_bos(vocab.tokenizer) ? text_bos(vocab.tokenizer) : -1;

    if (p->n_chunks == 0) {
        tool_die(1, "%s has %u tokens only: less than a window of %u",
                 p->conf.text, p->n_tokens, p->conf.ctx);
    }

    p->n_chunks = p->n_chunks > p->conf.chunks ? p->conf.chunks : p->n_chunks;
    p->kl = malloc((size_t) p->n_chunks * p->conf.ctx * sizeof(float));
    if (p->kl == NULL) {
        tool_die(1, "no memory");
    }

    text_scratch_free(scratch);
    vocab_close(&vocab);
    free(text);
}


static char *
ppl_read(const char *path, size_t *len)
{
    FILE *f;
    char *text;
    long  size;

    f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0) {
        tool_die(1, "%s: %s", path, strerror(errno));
    }

    rewind(f);
    size = size > (long) TEXT_MAX_INPUT ? (long) TEXT_MAX_INPUT : size;
    text = malloc((size_t) size + 1);

    if (text == NULL || fread(text, 1, (size_t) size, f) != (size_t) size) {
        tool_die(1, "%s cannot be read", path);
    }

    fclose(f);
    *len = (size_t) size;

    return text;
}


static void
ppl_chunk(ppl_t *p, uint32_t chunk)
{
    int32_t *tokens = p->tokens + (size_t) chunk * p->conf.ctx, first;
    uint32_t at, i, n, n_wanted, wanted[PPL_STEP];

    first = tokens[0];
    tokens[0] = p->bos >= 0 ? p->bos : first;

    for (at = 0; at < p->conf.ctx; at += n) {
        n = p->conf.ctx - at < PPL_STEP ? p->conf.ctx - at : PPL_STEP;

        for (i = n_wanted = 0; i < n; i++) {
            if (at + i >= p->conf.ctx / 2 && at + i + 1 < p->conf.ctx) {
                wanted[n_wanted++] = i;
            }
        }

        ppl_run(p, &p->model, tokens, at, n, wanted, n_wanted);
        if (p->conf.base) {
            ppl_run(p, &p->base, tokens, at, n, wanted, n_wanted);
        }

        for (i = 0; i < n_wanted; i++) {
            ppl_row(p, i, tokens[at + wanted[i] + 1]);
        }
    }

    tokens[0] = first;
}


static void
ppl_run(ppl_t *p, tool_model_t *t, const int32_t *tokens, uint32_t at,
        uint32_t n, const uint32_t *wanted, uint32_t n_wanted)
{
    k_batch_seq_t seq;
    k_batch_t     batch;

    seq = (k_batch_seq_t){.row = 0, .n = n, .pos = at, .pages = p->pages};
    batch = (k_batch_t){.n_rows = n,
                        .n_seqs = 1,
                        .n_logits = n_wanted,
                        .tokens = tokens + at,
                        .seqs = &seq,
                        .logit_rows = wanted};

    tool_step(t, &batch);
}


static void
ppl_row(ppl_t *p, uint32_t row, int32_t next)
{
    model_t *m = p->model.m;
    uint32_t i, best, base_best;
    double   norm, base_norm, one, kl = 0;

    m->ops->logits(m->exec, row, p->logits);
    norm = ppl_norm(p->logits, m->prog.n_vocab, &best);
    one = norm - (double) p->logits[next];
    p->nll += one;
    p->nll2 += one * one;

    if (p->conf.base) {
        m = p->base.m;
        m->ops->logits(m->exec, row, p->other);
        base_norm = ppl_norm(p->other, m->prog.n_vocab, &base_best);
        p->base_nll += base_norm - (double) p->other[next];
        p->same += best == base_best;

        for (i = 0; i < m->prog.n_vocab; i++) {
            one = (double) p->other[i] - base_norm;
            if (one > -30) {
                kl += exp(one) * (one - ((double) p->logits[i] - norm));
            }
        }

        p->kl[p->n] = (float) kl;
    }

    p->n++;
}


/* log of the sum of exp; the largest, the lowest among equals. */

static double
ppl_norm(const float *logits, uint32_t n, uint32_t *best)
{
    uint32_t i;
    double   sum = 0;

    *best = 0;

    for (i = 0; i < n; i++) {
        *best = logits[i] > logits[*best] ? i : *best;
    }

    for (i = 0; i < n; i++) {
        sum += (double) expf(logits[i] - logits[*best]);
    }

    return (double) logits[*best] + log(sum);
}


static int
ppl_less(const void *a, const void *b)
{
    float x = *(const float *) a, y = *(const float *) b;

    return x < y ? -1 : x > y;
}


static void
ppl_report(ppl_t *p)
{
    double   mean, var, ppl, ppl_base, kl = 0, kl2 = 0, n = p->n;
    uint32_t i;

    mean = p->nll / n;
    var = n > 1 ? (p->nll2 / n - mean * mean) / (n - 1) : 0;
    ppl = exp(mean);
    ppl_base = exp(p->base_nll / n);

    if (p->conf.json) {
        printf("{\"model\": ");
        tool_json_str(p->conf.model);
        printf(", \"type\": \"%s\", \"quant\": \"%s\", \"text\": ",
               p->model.m->file_type, quant_name(p->conf.quant));
        tool_json_str(p->conf.text);
        printf(", \"ctx\": %u, \"chunks\": %u, \"tokens\": %u, "
               "\"perplexity\": %.5f, \"error\": %.5f, \"seconds\": %.1f",
               p->conf.ctx, p->n_chunks, p->n, ppl, ppl * sqrt(var),
               p->seconds);

    } else {
        printf("perplexity %.4f +/- %.4f (%u tokens, %u windows of %u)\n", ppl,
               ppl * sqrt(var), p->n, p->n_chunks, p->conf.ctx);
    }

    if (p->conf.base) {
        for (i = 0; i < p->n; i++) {
            kl += (double) p->kl[i];
            kl2 += (double) p->kl[i] * (double) p->kl[i];
        }

        kl /= n;
        kl2 = n > 1 ? sqrt((kl2 / n - kl * kl) / (n - 1)) : 0;
        qsort(p->kl, p->n, sizeof(float), ppl_less);

        if (p->conf.json) {
            printf(", \"base\": ");
            tool_json_str(p->conf.base);
            printf(", \"base_perplexity\": %.5f, \"kl\": %.6f, "
                   "\"kl_error\": %.6f, \"kl_p99\": %.6f, \"top1\": %.5f",
                   ppl_base, kl, kl2, (double) p->kl[p->n * 99ull / 100],
                   p->same / n);

        } else {
            printf("of the base %.4f; mean KL %.6f +/- %.6f, 99 %% below %.4f; "
                   "the same most likely token in %.2f %%\n",
                   ppl_base, kl, kl2, (double) p->kl[p->n * 99ull / 100],
                   100 * p->same / n);
        }
    }

    if (p->conf.json) {
        printf("}\n");
    }
}
