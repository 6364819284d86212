/*
 * llm-bench: the engine's kernels with a whole model, without server or
 * tokenizer: how fast prompts are read and tokens made.
 *
 *     llm-bench --model FILE|FOLDER [--quant q8_0|q4_k] [--prefill 512]
 *               [--decode 64] [--batch 1,8] [--context 0] [--chunk 512]
 *               [--threads N] [--kernels NAME] [--act int8|f32] [--reps 3]
 *               [--backend cpu] [--json]
 *
 *     prefill   a prompt of N tokens of one sequence, cut into chunks, the
 *               logits of its last token wanted; N may be a list
 *     decode    N steps of B sequences (--batch, a list), one token each, that
 *               have --context tokens behind them
 *
 * Each is run once before it counts; the median of `reps` is shown, with the
 * least and the most.  Tokens are pseudo-random and the same in every run;
 * nothing is sampled.  Progress goes to stderr.
 */

#include <stdbool.h>

#include "util/tool.h"

#define LB_LIST  16
#define LB_REPS  64
#define LB_BATCH 256
#define LB_KV    (8ull << 30) /* bytes that are reserved, not taken */

typedef struct {
    const char  *model;
    const char  *backend;
    quant_t      quant;
    k_isa_t      isa;
    k_act_mode_t act;
    uint32_t     prefill[LB_LIST];
    uint32_t     n_prefill;
    uint32_t     batch[LB_LIST];
    uint32_t     n_batch;
    uint32_t     decode;
    uint32_t     context;
    uint32_t     chunk;
    uint32_t     threads;
    uint32_t     reps;
    bool         json;
} lb_conf_t;

typedef struct {
    lb_conf_t    conf;
    tool_model_t t;
    uint32_t     most;   /* tokens of the longest sequence */
    uint32_t     stride; /* pages of a sequence */
    uint32_t     n_pages;
    int32_t     *tokens;
    uint32_t    *pages; /* those of sequence i from i * stride on */
    bool         first; /* of a JSON list */
} lb_t;

typedef struct {
    double median;
    double least;
    double most;
} lb_rate_t;


static void      lb_options(lb_conf_t *conf, int argc, char **argv);
static void      lb_usage(void) __attribute__((noreturn));
static void      lb_load(lb_t *b);
static void      lb_head(lb_t *b);
static void      lb_prefill(lb_t *b, uint32_t n);
static void      lb_prompt(lb_t *b, uint32_t n);
static void      lb_decode(lb_t *b, uint32_t batch);
static void      lb_fill(lb_t *b, uint32_t batch);
static void      lb_steps(lb_t *b, uint32_t batch);
static void      lb_line(lb_t *b, const char *kind, uint32_t batch, uint32_t n,
                         uint32_t context, const lb_rate_t *rate);
static lb_rate_t lb_rate(double units, double *seconds, uint32_t n);
static int       lb_less(const void *a, const void *b);
static uint32_t  lb_most(const uint32_t *list, uint32_t n);


int
main(int argc, char **argv)
{
    uint32_t i;

    static lb_t b;

    tool_name = "llm-bench";
    llm_log_level(LLM_LOG_WARN);

    lb_options(&b.conf, argc, argv);
    lb_load(&b);
    lb_head(&b);

    for (i = 0; i < b.conf.n_prefill; i++) {
        lb_prefill(&b, b.conf.prefill[i]);
    }

    for (i = 0; i < b.conf.n_batch && b.conf.decode; i++) {
        lb_decode(&b, b.conf.batch[i]);
    }

    if (b.conf.json) {
        printf("]}\n");
    }

    free(b.tokens);
    free(b.pages);
    tool_free(&b.t);

    return 0;
}


static void
lb_options(lb_conf_t *conf, int argc, char **argv)
{
    static const struct option list[] = {
        {"model", 1, NULL, 'm'},   {"quant", 1, NULL, 'q'},
        {"prefill", 1, NULL, 'p'}, {"decode", 1, NULL, 'd'},
        {"batch", 1, NULL, 'b'},   {"context", 1, NULL, 'c'},
        {"chunk", 1, NULL, 'u'},   {"threads", 1, NULL, 't'},
        {"kernels", 1, NULL, 'k'}, {"act", 1, NULL, 'a'},
        {"reps", 1, NULL, 'r'},    {"backend", 1, NULL, 'e'},
        {"json", 0, NULL, 'j'},    {NULL, 0, NULL, 0}};
    int c;

    *conf = (lb_conf_t){.backend = "cpu",
                        .prefill = {512},
                        .n_prefill = 1,
                        .batch = {1, 8},
                        .n_batch = 2,
                        .decode = 64,
                        .chunk = 512,
                        .reps = 3};

    while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
        switch (c) {
        case 'm':
            conf->model = optarg;
            break;
        case 'q':
            conf->quant = tool_quant(optarg);
            break;
        case 'p':
            conf->n_prefill = tool_numbers("prefill", optarg, 0, 1 << 20,
                                           conf->prefill, LB_LIST);
            break;
        case 'd':
            conf->decode = tool_number("decode", optarg, 0, 1 << 20);
            break;
        case 'b':
            conf->n_batch = tool_numbers("batch", optarg, 1, LB_BATCH,
                                         conf->batch, LB_LIST);
            break;
        case 'c':
            conf->context = tool_number("context", optarg, 0, 1 << 20);
            break;
        case 'u':
            conf->chunk = tool_number("chunk", optarg, 1, 8192);
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
        case 'r':
            conf->reps = tool_number("reps", optarg, 1, LB_REPS);
            break;
        case 'e':
            conf->backend = optarg;
            break;
        case 'j':
            conf->json = true;
            break;
        default:
            lb_usage();
        }
    }

    if (conf->model == NULL || optind != argc) {
        lb_usage();
    }

    if (strcmp(conf->backend, "cpu") != 0) {
        tool_die(2, "--backend: there is no \"%s\" in this build, only cpu",
                 conf->backend);
    }
}


static void
lb_usage(void)
{
    fprintf(stderr,
            "usage: %s --model FILE|FOLDER [--quant q8_0|q4_k] "
            "[--prefill N,N]\n"
            "    [--decode N] [--batch N,N] [--context N] [--chunk N] "
            "[--threads N]\n"
            "    [--kernels auto|scalar|avx2|avx512] [--act int8|f32] "
            "[--reps N]\n"
            "    [--backend cpu] [--json]\n",
            tool_name);
    exit(2);
}


static void
lb_load(lb_t *b)
{
    lb_conf_t     *c = &b->conf;
    k_config_t     conf;
    model_params_t params;
    uint32_t       i, batch, rows, n;

    batch = c->decode ? lb_most(c->batch, c->n_batch) : 1;
    b->most = lb_most(c->prefill, c->n_prefill);

    if (c->decode && c->context + c->decode > b->most) {
        b->most = c->context + c->decode;
    }

    b->most = b->most ? b->most : 1;
    b->stride = (b->most + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS;
    rows = c->chunk > batch ? c->chunk : batch;
    n = b->n_pages = batch * b->stride;

    conf = (k_config_t){.threads = c->threads, .isa = c->isa, .act = c->act};
    params = (model_params_t){.context = b->most,
                              .limits = {rows, batch, batch},
                              .quant = c->quant,
                              .kv_bytes = LB_KV};

    tool_load(&b->t, c->model, &conf, &params, LB_KV + LB_KV / 2);

    if (b->t.m->n_pages < n) {
        tool_die(1, "%u sequences of %u tokens need %u KV pages, there are %u",
                 batch, b->most, n, b->t.m->n_pages);
    }

    b->tokens = malloc((b->most + LB_BATCH) * sizeof(int32_t));
    b->pages = malloc(n * sizeof(uint32_t));
    if (b->tokens == NULL || b->pages == NULL) {
        tool_die(1, "no memory");
    }

    for (i = 0; i < b->most + LB_BATCH; i++) {
        b->tokens[i] =
            (int32_t) ((i * 2654435761u >> 7) % b->t.m->prog.n_vocab);
    }

    for (i = 0; i < n; i++) {
        b->pages[i] = i;
    }
}


static void
lb_head(lb_t *b)
{
    const model_t *m = b->t.m;
    const char    *what = m->ops->describe(b->t.be);
    uint64_t       size, used;

    m->ops->memory(b->t.be, &size, &used);
    used -= (m->n_pages - b->n_pages) * m->page_bytes;

    if (!b->conf.json) {
        printf("%s: %s, %s%s%s, %.1f M weights, %.1f MB\n%s\n"
               "loaded in %.2f s, %.1f MB of memory\n",
               b->conf.model, m->arch, m->file_type,
               b->conf.quant ? " -> " : "",
               b->conf.quant ? quant_name(b->conf.quant) : "",
               (double) m->n_params / 1e6, (double) m->weight_bytes / 1e6, what,
               b->t.seconds, (double) used / 1e6);
        printf("%-8s %6s %8s %8s %12s %10s %10s\n", "", "batch", "tokens",
               "context", "tokens/s", "least", "most");
        return;
    }

    printf("{\"model\": ");
    tool_json_str(b->conf.model);
    printf(", \"arch\": ");
    tool_json_str(m->arch);
    printf(", \"type\": ");
    tool_json_str(m->file_type);
    printf(", \"quant\": \"%s\", \"weights\": %llu, \"weight_bytes\": %llu, "
           "\"backend\": ",
           quant_name(b->conf.quant), (unsigned long long) m->n_params,
           (unsigned long long) m->weight_bytes);
    tool_json_str(m->ops->name);
    printf(", \"describe\": ");
    tool_json_str(what);
    printf(", \"load_seconds\": %.3f, \"memory_bytes\": %llu, \"chunk\": %u, "
           "\"reps\": %u, \"results\": [",
           b->t.seconds, (unsigned long long) used, b->conf.chunk,
           b->conf.reps);
    b->first = true;
}


static void
lb_prefill(lb_t *b, uint32_t n)
{
    double    seconds[LB_REPS], start;
    uint32_t  i;
    lb_rate_t rate;

    if (n == 0) {
        return;
    }

    fprintf(stderr, "%s: prefill of %u\n", tool_name, n);
    lb_prompt(b, n < 64 ? n : 64);

    for (i = 0; i < b->conf.reps; i++) {
        start = tool_now();
        lb_prompt(b, n);
        seconds[i] = tool_now() - start;
    }

    rate = lb_rate(n, seconds, b->conf.reps);
    lb_line(b, "prefill", 1, n, 0, &rate);
}


/* n tokens of sequence 0, from its beginning. */

static void
lb_prompt(lb_t *b, uint32_t n)
{
    k_batch_seq_t seq;
    k_batch_t     batch;
    uint32_t      at, k, last;

    for (at = 0; at < n; at += k) {
        k = n - at < b->conf.chunk ? n - at : b->conf.chunk;
        last = k - 1;
        seq = (k_batch_seq_t){.n = k, .pos = at, .pages = b->pages};
        batch = (k_batch_t){.n_rows = k,
                            .n_seqs = 1,
                            .n_logits = at + k == n,
                            .tokens = b->tokens + at,
                            .seqs = &seq,
                            .logit_rows = &last};
        tool_step(&b->t, &batch);
    }
}


static void
lb_decode(lb_t *b, uint32_t batch)
{
    double    seconds[LB_REPS], start;
    uint32_t  i;
    lb_rate_t rate;

    fprintf(stderr, "%s: decode of %u, %u at once\n", tool_name, b->conf.decode,
            batch);
    lb_fill(b, batch);

    for (i = 0; i < b->conf.reps; i++) {
        start = tool_now();
        lb_steps(b, batch);
        seconds[i] = tool_now() - start;
    }

    rate = lb_rate((double) b->conf.decode * batch, seconds, b->conf.reps);
    lb_line(b, "decode", batch, b->conf.decode, b->conf.context, &rate);
}


/* The context of all: computed once, then copied, to pages of their own. */

static void
lb_fill(lb_t *b, uint32_t batch)
{
    uint32_t at, i, n;

    lb_prompt(b, b->conf.context);

    for (i = 1; i < batch; i++) {
        for (at = 0; at < b->conf.context; at += n) {
            n = b->conf.context - at;
            n = n < K_PAGE_TOKENS ? n : K_PAGE_TOKENS;
            b->t.m->ops->kv_copy(b->t.be, b->t.m->kv,
                                 i * b->stride + at / K_PAGE_TOKENS,
                                 at / K_PAGE_TOKENS, n);
        }
    }
}


static void
lb_steps(lb_t *b, uint32_t n)
{
    k_batch_seq_t seqs[LB_BATCH];
    k_batch_t     batch;
    uint32_t      i, step, rows[LB_BATCH];

    for (step = 0; step < b->conf.decode; step++) {
        for (i = 0; i < n; i++) {
            rows[i] = i;
            seqs[i] = (k_batch_seq_t){.row = i,
                                      .n = 1,
                                      .pos = b->conf.context + step,
                                      .pages = b->pages + i * b->stride};
        }

        batch = (k_batch_t){.n_rows = n,
                            .n_seqs = n,
                            .n_logits = n,
                            .tokens = b->tokens + step,
                            .seqs = seqs,
                            .logit_rows = rows};
        tool_step(&b->t, &batch);
    }
}


static void
lb_line(lb_t *b, const char *kind, uint32_t batch, uint32_t n, uint32_t context,
        const lb_rate_t *rate)
{
    if (!b->conf.json) {
        printf("%-8s %6u %8u %8u %12.1f %10.1f %10.1f\n", kind, batch, n,
               context, rate->median, rate->least, rate->most);
        fflush(stdout);
        return;
    }

    printf("%s{\"kind\": \"%s\", \"batch\": %u, \"tokens\": %u, "
           "\"context\": %u, \"tokens_per_s\": %.2f, \"least\": %.2f, "
           "\"most\": %.2f}",
           b->first ? "" : ", ", kind, batch, n, context, rate->median,
           rate->least, rate->most);
    b->first = false;
}


static lb_rate_t
lb_rate(double units, double *seconds, uint32_t n)
{
    qsort(seconds, n, sizeof(double), lb_less);

    return (lb_rate_t){.median = units / seconds[n / 2],
                       .least = units / seconds[n - 1],
                       .most = units / seconds[0]};
}


static int
lb_less(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}


static uint32_t
lb_most(const uint32_t *list, uint32_t n)
{
    uint32_t i, most = 0;

    for (i = 0; i < n; i++) {
        most = list[i] > most ? list[i] : most;
    }

    return most;
}
