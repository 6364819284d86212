/*
 * llm-bench: the engine's kernels with a whole model, without server or
 * tokenizer: how fast prompts are read and tokens made.
 *
 *     llm-bench --model FILE|FOLDER [--quant q8_0|q4_k] [--prefill 512]
 *               [--decode 64] [--batch 1,8] [--context 0] [--chunk 512]
 *               [--threads N] [--kernels NAME] [--act int8|f32] [--reps 3]
 *               [--backend cpu|cuda|auto] [--device 0] [--json]
 *               [--serve 128/128,1000/1000] [--requests 256]
 *               [--chart FILE.svg]
 *     llm-bench --synthetic llama-3.1-8b|llama-3.2-1b --dtype bf16|fp8|q4_k
 *               [--kv-type f8] [the same]
 *
 *     prefill   a prompt of N tokens of one sequence, cut into chunks, the
 *               logits of its last token wanted; N may be a list
 *     decode    N steps of B sequences (--batch, a list), one token each, that
 *               have --context tokens behind them
 *     serve     requests of so many tokens in and out, all there at once,
 *               through the scheduler, --batch's largest at a time
 *
 * Each but `serve` is run once before it counts; the median of `reps` is
 * shown, with the least and the most.  Tokens are pseudo-random and the same
 * in every run.  Progress goes to stderr.
 *
 * Where the backend can measure what its device can do at most, that comes
 * first (but for --no-roof), and results are shares of it: decode of the bandwidth (weights and KV
 * pages that its steps must read), prefill of the matrix rate.  A backend that
 * takes steps ahead does so here, with a greedy draw for each sequence; else
 * nothing is drawn.
 *
 * As `make gpu` builds it (LLM_BARE) it knows synthetic models only and needs
 * nothing but libc and CUDA.
 */

#include "util/bench_report.h"
#include "util/bench_serve.h"
#include "util/bench_synthetic.h"
#ifndef LLM_BARE
#include "util/tool_model.h"
#endif

#define LB_LIST  16
#define LB_REPS  64
#define LB_BATCH 1024
#define LB_KV    (8ull << 30) /* bytes that are reserved, not taken */

typedef struct {
    const char            *model;
    const char            *synthetic;
    const char            *dtype;
    const char            *chart;
    const k_backend_ops_t *ops; /* NULL: a GPU's, where there is one */
    int                    device;
    int                    kv_f8;
    quant_t                quant;
    k_isa_t                isa;
    k_act_mode_t           act;
    uint32_t               prefill[LB_LIST];
    uint32_t               n_prefill;
    uint32_t               batch[LB_LIST];
    uint32_t               n_batch;
    uint32_t               prompt[LB_LIST]; /* serving mixes: tokens in, */
    uint32_t               answer[LB_LIST]; /* and out */
    uint32_t               n_mixes;
    uint32_t               requests;
    uint32_t               decode;
    uint32_t               context;
    uint32_t               chunk;
    uint32_t               threads;
    uint32_t               reps;
    bool                   json;
    bool                   no_roof;
} lb_conf_t;

typedef struct {
    lb_conf_t       conf;
    tool_model_t    t;
    bs_model_t      synthetic;
    k_backend_ops_t timed;
    k_roof_t        roof;
    br_t            report;
    uint32_t        seqs;   /* most of a step */
    uint32_t        most;   /* tokens of the longest sequence */
    uint32_t        stride; /* pages of a sequence */
    uint32_t        n_pages;
    int32_t        *tokens;
    uint32_t       *pages; /* those of sequence i from i * stride on */
} lb_t;


static void        lb_options(lb_conf_t *conf, int argc, char **argv);
static void        lb_option(lb_conf_t *conf, int c);
static void        lb_usage(void) __attribute__((noreturn));
static void        lb_backend(lb_conf_t *conf, const char *name);
static void        lb_mixes(lb_conf_t *conf, const char *s);
static void        lb_sizes(lb_t *b);
static void        lb_load(lb_t *b);
static void        lb_open(lb_t *b);
static void        lb_tables(lb_t *b);
static void        lb_head(lb_t *b);
static const char *lb_quant(const lb_t *b);
static void        lb_prefill(lb_t *b, uint32_t n);
static void        lb_prompt(lb_t *b, uint32_t n);
static void        lb_decode(lb_t *b, uint32_t batch);
static void        lb_fill(lb_t *b, uint32_t batch);
static void        lb_steps(lb_t *b, uint32_t batch);
static void        lb_ahead(lb_t *b, const k_batch_t *batch, uint32_t step);
static void        lb_serve(lb_t *b, uint32_t prompt, uint32_t answer);
static void   lb_rate(br_line_t *l, double units, double *seconds, uint32_t n);
static double lb_idle(lb_t *b, double seconds);
static int    lb_less(const void *a, const void *b);
static uint32_t lb_most(const uint32_t *list, uint32_t n);


int
main(int argc, char **argv)
{
    int      rc;
    uint32_t i;
    char     title[256];

    static lb_t b;

    tool_name = "llm-bench";
    llm_log_level(LLM_LOG_WARN);

    lb_options(&b.conf, argc, argv);
    lb_sizes(&b);
    lb_load(&b);
    lb_tables(&b);
    lb_head(&b);

    for (i = 0; i < b.conf.n_prefill; i++) {
        lb_prefill(&b, b.conf.prefill[i]);
    }

    for (i = 0; i < b.conf.n_batch && b.conf.decode; i++) {
        lb_decode(&b, b.conf.batch[i]);
    }

    for (i = 0; i < b.conf.n_mixes; i++) {
        lb_serve(&b, b.conf.prompt[i], b.conf.answer[i]);
    }

    if (b.conf.json) {
        printf("]}\n");
    }

    if (b.conf.chart) {
        snprintf(title, sizeof(title), "%s %s, %s",
                 b.conf.model ? b.conf.model : b.conf.synthetic,
                 b.t.m->file_type, b.t.m->ops->describe(b.t.be));
        rc = br_chart(&b.report, b.conf.chart, title);
        if (rc < 0) {
            tool_die(1, "%s: %s", b.conf.chart, strerror(-rc));
        }
    }

    free(b.tokens);
    free(b.pages);

    if (b.conf.synthetic) {
        bench_synthetic_free(&b.synthetic);
        b.conf.ops->close(b.t.be);
#ifndef LLM_BARE
    } else {
        tool_free(&b.t);
#endif
    }

    return 0;
}


static void
lb_options(lb_conf_t *conf, int argc, char **argv)
{
    static const struct option list[] = {
        {"model", 1, NULL, 'm'},    {"quant", 1, NULL, 'q'},
        {"prefill", 1, NULL, 'p'},  {"decode", 1, NULL, 'd'},
        {"batch", 1, NULL, 'b'},    {"context", 1, NULL, 'c'},
        {"chunk", 1, NULL, 'u'},    {"threads", 1, NULL, 't'},
        {"kernels", 1, NULL, 'k'},  {"act", 1, NULL, 'a'},
        {"reps", 1, NULL, 'r'},     {"backend", 1, NULL, 'e'},
        {"device", 1, NULL, 'v'},   {"synthetic", 1, NULL, 's'},
        {"dtype", 1, NULL, 'y'},    {"serve", 1, NULL, 'x'},
        {"requests", 1, NULL, 'n'}, {"chart", 1, NULL, 'g'},
        {"kv-type", 1, NULL, 'w'},  {"json", 0, NULL, 'j'},
        {"no-roof", 0, NULL, 'o'},  {NULL, 0, NULL, 0}};
    int c;

    *conf = (lb_conf_t){.ops = &k_backend_cpu,
                        .dtype = "bf16",
                        .prefill = {512},
                        .n_prefill = 1,
                        .batch = {1, 8},
                        .n_batch = 2,
                        .decode = 64,
                        .chunk = 512,
                        .requests = 256,
                        .reps = 3};

    while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
        lb_option(conf, c);
    }

    if ((conf->model == NULL) == (conf->synthetic == NULL) || optind != argc) {
        lb_usage();
    }
}


static void
lb_option(lb_conf_t *conf, int c)
{
    switch (c) {
    case 'm':
        conf->model = optarg;
        return;
    case 's':
        conf->synthetic = optarg;
        return;
    case 'y':
        conf->dtype = optarg;
        return;
    case 'g':
        conf->chart = optarg;
        return;
#ifndef LLM_BARE
    case 'q':
        conf->quant = tool_quant(optarg);
        return;
#endif
    case 'p':
        conf->n_prefill =
            tool_numbers("prefill", optarg, 0, 1 << 20, conf->prefill, LB_LIST);
        return;
    case 'd':
        conf->decode = tool_number("decode", optarg, 0, 1 << 20);
        return;
    case 'b':
        conf->n_batch =
            tool_numbers("batch", optarg, 1, LB_BATCH, conf->batch, LB_LIST);
        return;
    case 'c':
        conf->context = tool_number("context", optarg, 0, 1 << 20);
        return;
    case 'u':
        conf->chunk = tool_number("chunk", optarg, 1, 65536);
        return;
    case 't':
        conf->threads = tool_number("threads", optarg, 1, 256);
        return;
    case 'k':
        conf->isa = tool_isa(optarg);
        return;
    case 'a':
        conf->act = tool_act(optarg);
        return;
    case 'r':
        conf->reps = tool_number("reps", optarg, 1, LB_REPS);
        return;
    case 'e':
        lb_backend(conf, optarg);
        return;
    case 'v':
        conf->device = (int) tool_number("device", optarg, 0, 1023);
        return;
    case 'x':
        lb_mixes(conf, optarg);
        return;
    case 'n':
        conf->requests = tool_number("requests", optarg, 1, 1 << 20);
        return;
    case 'w':
        conf->kv_f8 = strcmp(optarg, "f8") == 0;
        if (!conf->kv_f8 && strcmp(optarg, "auto") != 0) {
            tool_die(2, "--kv-type: \"%s\" is neither auto nor f8", optarg);
        }
        return;
    case 'j':
        conf->json = true;
        return;
    case 'o':
        conf->no_roof = true;
        return;
    default:
        lb_usage();
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
            "    [--serve IN/OUT,IN/OUT] [--requests N] "
            "[--backend auto|cuda|cpu]\n"
            "    [--device N] [--kv-type auto|f8] [--no-roof] [--json] "
            "[--chart FILE.svg]\n"
            "or: --synthetic llama-3.1-8b|llama-3.2-1b|tiny "
            "[--dtype bf16|f16|fp8|q8_0|q4_k|q4_0]\n",
            tool_name);
    exit(2);
}


static void
lb_backend(lb_conf_t *conf, const char *name)
{
    if (strcmp(name, "auto") == 0) {
        conf->ops = NULL;
    } else if (strcmp(name, "cpu") == 0) {
        conf->ops = &k_backend_cpu;
    } else if (strcmp(name, "cuda") == 0) {
        conf->ops = &k_backend_cuda;
    } else {
        tool_die(2, "--backend: \"%s\" is none of auto, cuda, cpu", name);
    }
}


/* "128/128,1000/1000" */

static void
lb_mixes(lb_conf_t *conf, const char *s)
{
    int n;

    for (conf->n_mixes = 0; conf->n_mixes < LB_LIST; s += n + 1) {
        if (sscanf(s, "%7u/%7u%n", &conf->prompt[conf->n_mixes],
                   &conf->answer[conf->n_mixes], &n)
                != 2
            || (s[n] != ',' && s[n] != '\0') || conf->prompt[conf->n_mixes] == 0
            || conf->answer[conf->n_mixes] == 0) {
            tool_die(2, "--serve: \"%s\" is not IN/OUT,IN/OUT", s);
        }

        conf->n_mixes++;

        if (s[n] == '\0') {
            return;
        }
    }

    tool_die(2, "--serve: more than %d mixes", LB_LIST);
}


/* What all runs together need. */

static void
lb_sizes(lb_t *b)
{
    lb_conf_t *c = &b->conf;
    uint32_t   i, n;

    b->seqs = c->decode || c->n_mixes ? lb_most(c->batch, c->n_batch) : 1;
    b->most = lb_most(c->prefill, c->n_prefill);

    if (c->decode && c->context + c->decode > b->most) {
        b->most = c->context + c->decode;
    }

    b->most = b->most ? b->most : 1;
    b->stride = (b->most + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS;
    b->n_pages =
        (c->decode ? b->seqs : 1)
        * ((c->context + c->decode + K_PAGE_TOKENS - 1) / K_PAGE_TOKENS);
    b->n_pages = b->n_pages > b->stride ? b->n_pages : b->stride;

    if (c->decode) {
        /* Only the first sequence is ever longer than this. */
        b->stride = b->n_pages / b->seqs;
    }

    for (i = 0; i < c->n_mixes; i++) {
        /* The scheduler keeps some in reserve. */
        n = (c->prompt[i] + c->answer[i]) / K_PAGE_TOKENS + 3;
        b->n_pages = b->n_pages > n * b->seqs ? b->n_pages : n * b->seqs;
    }
}


static void
lb_load(lb_t *b)
{
    lb_conf_t *c = &b->conf;
    k_limits_t limits;
#ifndef LLM_BARE
    k_config_t conf;
#endif
    double start = tool_now();

    limits =
        (k_limits_t){c->chunk > b->seqs ? c->chunk : b->seqs, b->seqs, b->seqs};
    lb_open(b);

    if (c->synthetic) {
        bench_synthetic(&b->synthetic, &b->timed, b->t.be, c->synthetic,
                        c->dtype, &limits,
                        (uint64_t) b->n_pages * K_PAGE_TOKENS);
        b->t.m = &b->synthetic.m;
        b->t.seconds = tool_now() - start;
        return;
    }

#ifdef LLM_BARE
    tool_die(2, "this build knows --synthetic only");
#else
    conf = (k_config_t){.threads = c->threads, .isa = c->isa, .act = c->act};
    tool_load(&b->t, c->model, &b->timed, &conf,
              &(model_params_t){.context = b->most,
                                .limits = limits,
                                .quant = c->quant,
                                .kv_bytes = LB_KV},
              LB_KV + LB_KV / 2);

    if (b->t.m->n_pages < b->n_pages) {
        tool_die(1, "%u sequences of %u tokens need %u KV pages, there are %u",
                 b->seqs, b->most, b->n_pages, b->t.m->n_pages);
    }
#endif
}


/* The backend; `auto`: a GPU where there is one.  The CPU's opens later. */

static void
lb_open(lb_t *b)
{
    lb_conf_t *c = &b->conf;
    k_config_t conf = {.device = c->device, .kv_f8 = c->kv_f8};
    char       err[K_ERR_MAX] = "";

    if (c->ops != &k_backend_cpu) {
        if (k_backend_cuda.open(&conf, &b->t.be, err) == 0) {
            c->ops = &k_backend_cuda;
            bench_timed(c->ops, &b->timed);

            if (c->ops->roof && !c->no_roof
                && c->ops->roof(b->t.be, &b->roof, err) < 0) {
                tool_die(1, "%s", err);
            }
            return;
        }

        if (c->ops) {
            tool_die(1, "%s", err);
        }

        fprintf(stderr, "%s: no GPU: %s\n", tool_name, err);
    }

    if (c->synthetic) {
        tool_die(1, "--synthetic needs a GPU: the CPU's weights come from "
                    "files");
    }

    c->ops = &k_backend_cpu;
    bench_timed(c->ops, &b->timed);
}


static void
lb_tables(lb_t *b)
{
    uint32_t i, n = b->most + LB_BATCH;

    b->tokens = malloc(n * sizeof(int32_t));
    b->pages = malloc(b->n_pages * sizeof(uint32_t));
    if (b->tokens == NULL || b->pages == NULL) {
        tool_die(1, "no memory");
    }

    for (i = 0; i < n; i++) {
        b->tokens[i] =
            (int32_t) ((i * 2654435761u >> 7) % b->t.m->prog.n_vocab);
    }

    for (i = 0; i < b->n_pages; i++) {
        b->pages[i] = i;
    }
}


static void
lb_head(lb_t *b)
{
    const model_t *m = b->t.m;
    const char    *what = m->ops->describe(b->t.be);
    const char    *name = b->conf.model ? b->conf.model : b->conf.synthetic;
    uint64_t       size, used;

    m->ops->memory(b->t.be, &size, &used);
    used -= (m->n_pages - b->n_pages) * m->page_bytes;
    b->report.json = b->conf.json;

    if (!b->conf.json) {
        printf("%s: %s, %s%s%s, %.1f M weights, %.1f MB\n%s\n"
               "loaded in %.2f s, %.1f MB of memory\n",
               name, m->arch, m->file_type, b->conf.quant ? " -> " : "",
               b->conf.quant ? lb_quant(b) : "", (double) m->n_params / 1e6,
               (double) m->weight_bytes / 1e6, what, b->t.seconds,
               (double) used / 1e6);

        if (b->roof.read > 0) {
            printf("roof: reads %.0f GB/s, bf16 %.0f TFLOP/s, E4M3 %.0f "
                   "TFLOP/s\n",
                   b->roof.read / 1e9, b->roof.bf16 / 1e12, b->roof.f8 / 1e12);
        }

        br_head(&b->report);
        return;
    }

    printf("{\"model\": ");
    tool_json_str(name);
    printf(", \"arch\": ");
    tool_json_str(m->arch);
    printf(", \"type\": ");
    tool_json_str(m->file_type);
    printf(", \"quant\": \"%s\", \"weights\": %llu, \"weight_bytes\": %llu, "
           "\"backend\": ",
           lb_quant(b), (unsigned long long) m->n_params,
           (unsigned long long) m->weight_bytes);
    tool_json_str(m->ops->name);
    printf(", \"describe\": ");
    tool_json_str(what);
    printf(", \"load_seconds\": %.3f, \"memory_bytes\": %llu, \"chunk\": %u, "
           "\"reps\": %u, \"roof\": {\"read\": %.4g, \"bf16\": %.4g, "
           "\"f8\": %.4g}, ",
           b->t.seconds, (unsigned long long) used, b->conf.chunk, b->conf.reps,
           b->roof.read, b->roof.bf16, b->roof.f8);
    br_head(&b->report);
}


/* As what the matrices are loaded; "" or "none": as they are. */

static const char *
lb_quant(const lb_t *b)
{
#ifdef LLM_BARE
    return "none";
#else
    return quant_name(b->conf.quant);
#endif
}


static void
lb_prefill(lb_t *b, uint32_t n)
{
    const k_program_t *p = &b->t.m->prog;
    double             seconds[LB_REPS], start, flops, roof;
    uint32_t           i;
    br_line_t          l = {.kind = "prefill",
                            .batch = 1,
                            .n = n,
                            .roof = -1,
                            .host_us = -1,
                            .idle = -1,
                            .first_ms = -1};

    if (n == 0) {
        return;
    }

    fprintf(stderr, "%s: prefill of %u\n", tool_name, n);
    lb_prompt(b, b->conf.ops->ahead_submit || n < 64 ? n : 64);

    for (i = 0; i < b->conf.reps; i++) {
        start = tool_now();
        lb_prompt(b, n);
        seconds[i] = tool_now() - start;
    }

    lb_rate(&l, n, seconds, b->conf.reps);

    if (b->roof.bf16 > 0 && b->synthetic.step_flops > 0) {
        /* Attention: q k and p v, half of the square. */
        flops = b->synthetic.step_flops
                + 2.0 * p->n_layer * p->n_head * p->head_dim * n;
        roof = b->synthetic.dtype->matrix == K_F8_E4M3 && b->roof.f8 > 0
                   ? b->roof.f8
                   : b->roof.bf16;
        l.roof = l.rate * flops / roof;
    }

    br_add(&b->report, &l);
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
    double    seconds[LB_REPS], start, bytes;
    uint32_t  i;
    br_line_t l = {.kind = "decode",
                   .batch = batch,
                   .n = b->conf.decode,
                   .context = b->conf.context,
                   .roof = -1,
                   .host_us = -1,
                   .idle = -1,
                   .first_ms = -1};

    fprintf(stderr, "%s: decode of %u, %u at once\n", tool_name, b->conf.decode,
            batch);
    lb_fill(b, batch);
    lb_steps(b, batch);
    lb_idle(b, 1);

    for (i = 0; i < b->conf.reps; i++) {
        bench_calls = (bench_calls_t){0};
        start = tool_now();
        lb_steps(b, batch);
        seconds[i] = tool_now() - start;
    }

    if (b->conf.ops->ahead_submit) {
        l.host_us = (seconds[i - 1] * 1e9 - (double) bench_calls.wait_ns) / 1e3
                    / (double) bench_calls.steps;
        for (i = 1, start = seconds[0]; i < b->conf.reps; i++) {
            start += seconds[i];
        }
        l.idle = lb_idle(b, start);
    }

    lb_rate(&l, (double) b->conf.decode * batch, seconds, b->conf.reps);

    if (b->roof.read > 0) {
        bytes = b->t.m->page_bytes / (double) K_PAGE_TOKENS
                * (b->conf.context + b->conf.decode / 2.0) * batch;
        bytes += (double) b->t.m->weight_bytes;
        l.roof = l.rate / batch * bytes / b->roof.read;
    }

    br_add(&b->report, &l);
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
    static k_batch_seq_t seqs[LB_BATCH];
    static uint32_t      rows[LB_BATCH];
    static int32_t       tokens[LB_BATCH];
    k_batch_t            batch;
    uint32_t             i, step;

    for (step = 0; step < b->conf.decode; step++) {
        for (i = 0; i < n; i++) {
            rows[i] = i;
            tokens[i] = b->conf.ops->ahead_submit && step ? K_TOKEN_OF(i)
                                                          : b->tokens[step + i];
            seqs[i] = (k_batch_seq_t){.row = i,
                                      .n = 1,
                                      .pos = b->conf.context + step,
                                      .pages = b->pages + i * b->stride};
        }

        batch = (k_batch_t){.n_rows = n,
                            .n_seqs = n,
                            .n_logits = n,
                            .tokens = tokens,
                            .seqs = seqs,
                            .logit_rows = rows};

        if (b->conf.ops->ahead_submit) {
            lb_ahead(b, &batch, step);
        } else {
            tool_step(&b->t, &batch);
        }
    }
}


/* Submits a step; collects the one before, and at the end itself. */

static void
lb_ahead(lb_t *b, const k_batch_t *batch, uint32_t step)
{
    static k_sample_t      req[LB_BATCH];
    static k_sampled_t     out[LB_BATCH];
    const k_backend_ops_t *ops = b->t.m->ops;
    uint32_t               i, n = batch->n_rows, last;
    int                    rc;

    for (i = 0; i < n; i++) {
        req[i] = (k_sample_t){.logit = i,
                              .top_p = 1,
                              .repetition = 1,
                              .position = batch->seqs[i].pos + 1};
    }

    rc = ops->ahead_submit(b->t.m->exec, batch, n, req);
    last = step + 1 == b->conf.decode;

    for (i = step > 0 ? 0 : 1; rc == 0 && i < 1 + last; i++) {
        rc = ops->ahead_collect(b->t.m->exec, n, out);
    }

    if (rc < 0) {
        tool_die(1, "a step failed: %s", strerror(-rc));
    }
}


static void
lb_serve(lb_t *b, uint32_t prompt, uint32_t answer)
{
    bench_mix_t mix;
    br_line_t   l = {.kind = "serve",
                     .batch = b->seqs,
                     .n = answer,
                     .context = prompt,
                     .roof = -1};

    fprintf(stderr, "%s: %u requests of %u tokens in, %u out\n", tool_name,
            b->conf.requests, prompt, answer);

    lb_idle(b, 1);
    mix = bench_mix(b->t.m, prompt, answer, b->conf.requests, b->conf.chunk);

    l.rate = l.least = l.most = mix.output;
    l.host_us = mix.host_us;
    l.first_ms = mix.first_ms;
    l.idle = lb_idle(b, mix.seconds);
    br_add(&b->report, &l);
}


static void
lb_rate(br_line_t *l, double units, double *seconds, uint32_t n)
{
    qsort(seconds, n, sizeof(double), lb_less);

    l->rate = units / seconds[n / 2];
    l->least = units / seconds[n - 1];
    l->most = units / seconds[0];
}


/* Share of the time since the last call that the device had nothing to do. */

static double
lb_idle(lb_t *b, double seconds)
{
    uint64_t ns = 0;

    if (b->conf.ops->busy == NULL || b->conf.ops->busy(b->t.m->exec, &ns) < 0) {
        return -1;
    }

    return (double) ns / 1e9 > seconds ? 0 : 1 - (double) ns / 1e9 / seconds;
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
