/*
 * Attention as a whole on the CPU backend: windows, sinks and soft caps over
 * many pages and spans, in one chunk and token by token, by one thread and
 * by several (which split a tile's spans among them), against double
 * precision and bit for bit against each other.
 */

#include "t/lib/tap.h"
#include "t/kernels/toy.h"
#include "kernels/cpu/cpu.h"

#define TOKENS 700 /* more than two spans */
#define MOST   650 /* of them at once before single ones */
#define VOCAB  40
#define PAGES  ((TOKENS + 31) / 32)


typedef struct {
    uint32_t    window;
    int         sinks;
    double      mean; /* of sinks */
    float       cap;
    const char *what;
} case_t;


static void test_case(const case_t *c, k_isa_t isa);
static int run(const case_t *c, k_isa_t isa, k_act_mode_t act, uint32_t threads,
               uint32_t chunk, float *out, double **want);
static void run_steps(k_exec_t *exec, uint32_t chunk, float *out);


static int32_t tokens[TOKENS];

static const case_t cases[] = {
    {0, 0, 0, 0, "plain"},
    {0, 1, 0, 0, "sinks"},
    {0, 1, 60, 0, "sinks larger than any score"},
    {0, 1, -1e4, 0, "sinks that are nothing"},
    {0, 1, 1e30, 0, "sinks that take all"},
    {0, 1, -INFINITY, 0, "sinks of minus infinity"},
    {1, 0, 0, 0, "window 1"},
    {31, 1, 1, 0, "window 31, sinks"},
    {32, 0, 0, 3.0f, "window 32, soft cap"},
    {33, 1, 2, 4.0f, "window 33, sinks, soft cap"},
    {255, 0, 0, 0, "window 255"},
    {256, 1, 1, 0, "window 256, sinks"},
    {257, 0, 0, 0, "window 257"},
    {600, 1, 1, 0, "window 600, sinks"},
};


int
main(void)
{
    size_t   i;
    uint32_t isa, rng;

    rng = 31;
    for (i = 0; i < TOKENS; i++) {
        tokens[i] = (int32_t) (toy_rand(&rng) % VOCAB);
    }

    for (isa = K_ISA_SCALAR; isa <= (uint32_t) k_isa_detect(); isa++) {
        /* The scalar reference is slow: some of it will do. */
        for (i = 0; i < sizeof(cases) / sizeof(cases[0]);
             i += isa == K_ISA_SCALAR ? 4 : 1) {
            test_case(&cases[i], (k_isa_t) isa);
        }
    }

    return tap_done();
}


static void
test_case(const case_t *c, k_isa_t isa)
{
    int      same;
    float   *got, *other;
    size_t   size, i, j;
    double  *want, diff, norm, worst;
    uint32_t t;

    static const uint32_t ways[][2] = {{2, TOKENS}, {4, TOKENS}, {1, 1},
                                       {2, 1},      {4, 1},      {3, 37}};

    size = (size_t) TOKENS * VOCAB;
    got = malloc(size * sizeof(float));
    other = malloc(size * sizeof(float));

    if (!run(c, isa, K_ACT_F32, 1, TOKENS, got, &want)) {
        ok(0, "%s: does not run", c->what);
        return;
    }

    worst = 0;
    for (i = 0; i < TOKENS; i++) {
        diff = norm = 0;
        for (j = i * VOCAB; j < (i + 1) * VOCAB; j++) {
            diff += (got[j] - want[j]) * (got[j] - want[j]);
            norm += want[j] * want[j];
        }
        diff = sqrt(diff / norm);
        worst = diff > worst || diff != diff ? diff : worst;
    }
    free(want);
    ok(worst < 3e-5, "%s: %s: error %.1e", k_isa_name(isa), c->what, worst);

    run(c, isa, K_ACT_INT8, 1, TOKENS, got, NULL);
    same = 1;
    for (t = 0; t < sizeof(ways) / sizeof(ways[0]); t++) {
        if (isa == K_ISA_SCALAR && t % 4 != 0) {
            continue;
        }
        run(c, isa, K_ACT_INT8, ways[t][0], ways[t][1], other, NULL);
        if (memcmp(got, other, size * sizeof(float)) != 0) {
            printf("# %u threads, chunks of %u\n", ways[t][0], ways[t][1]);
            same = 0;
        }
    }
    ok(same, "%s: %s: the same bits by all ways", k_isa_name(isa), c->what);

    free(got);
    free(other);
}


static int
run(const case_t *c, k_isa_t isa, k_act_mode_t act, uint32_t threads,
    uint32_t chunk, float *out, double **want)
{
    int        rc;
    char       err[K_ERR_MAX];
    toy_t      toy;
    double    *f;
    k_kv_t    *kv;
    uint32_t   i, j;
    k_exec_t  *exec;
    k_config_t conf;
    k_limits_t limits = {TOKENS, 1, TOKENS};
    toy_conf_t model = {
        32,        2, 4, 2,         16, 32, VOCAB, 16, 0, K_F32, K_ROPE_HALVES,
        K_FN_SILU, 0, 0, .seed = 21};
    k_backend_t *be;

    memset(&conf, 0, sizeof(conf));
    conf.threads = threads;
    conf.isa = isa;
    conf.act = act;
    conf.memory = 64 << 20;

    if (k_backend_cpu.open(&conf, &be, err) != 0) {
        printf("Bail out! %s\n", err);
        exit(1);
    }
    model.attn_cap = c->cap;
    toy_make(&toy, &k_backend_cpu, be, &model);

    for (i = 0; i < toy.prog.n_ops; i++) {
        if (toy.op[i].kind != K_OP_ATTN) {
            continue;
        }
        toy.op[i].window = c->window;
        toy.op[i].scale = 1.0f; /* peaks, and many large scores */
        if (c->sinks) {
            f = malloc(4 * sizeof(double));
            for (j = 0; j < 4; j++) {
                f[j] = c->mean + (isinf(c->mean) ? 0 : j - 1.5);
            }
            toy.op[i].sinks = toy_values(&toy, K_ROLE_VECTOR, K_F32, 1, 4, f);
        }
    }

    rc = k_backend_cpu.kv_new(be, &toy.prog, PAGES, &kv, err);
    if (rc == 0) {
        rc = k_backend_cpu.program_prepare(be, &toy.prog, kv, &limits, &exec,
                                           err);
    }
    if (rc != 0) {
        printf("# %s\n", err);
        return 0;
    }

    memset(exec->mem, 0xff, exec->size);
    run_steps(exec, chunk, out);
    if (want != NULL) {
        *want = toy_reference(&toy, tokens, TOKENS, act != K_ACT_F32);
    }

    k_backend_cpu.program_free(exec);
    k_backend_cpu.kv_free(be, kv);
    toy_free(&toy);
    k_backend_cpu.close(be);

    return 1;
}


static void
run_steps(k_exec_t *exec, uint32_t chunk, float *out)
{
    int           rc;
    uint32_t      i, at, n, rows[TOKENS], pages[PAGES];
    k_batch_t     b;
    k_batch_seq_t seq;

    memset(&b, 0, sizeof(b));
    memset(&seq, 0, sizeof(seq));
    b.n_seqs = 1;
    b.seqs = &seq;
    b.logit_rows = rows;
    seq.pages = pages;
    for (i = 0; i < PAGES; i++) {
        pages[i] = PAGES - 1 - i;
    }
    for (i = 0; i < TOKENS; i++) {
        rows[i] = i;
    }

    for (at = 0; at < TOKENS; at += n) {
        n = TOKENS - at < chunk ? TOKENS - at : chunk;
        n = chunk == 1 && at == 0 ? MOST : n;
        b.n_rows = b.n_logits = seq.n = n;
        seq.pos = at;
        b.tokens = tokens + at;

        rc = k_backend_cpu.step_submit(exec, &b);
        rc = rc ? rc : k_backend_cpu.step_wait(exec);
        if (rc != 0) {
            printf("Bail out! step: %d\n", rc);
            exit(1);
        }
        for (i = 0; i < n; i++) {
            k_backend_cpu.logits(exec, i, out + (size_t) (at + i) * VOCAB);
        }
    }
}
