/*
 * Whole step programs on the CPU backend against the same model in double
 * precision (toy.h): all kinds of operations, odd shapes, each ISA that this
 * machine has, F32 and int8 activations.  With F32 activations only rounding
 * differs; with int8 the tolerance is that of the quantisation.
 */

#include "t/lib/tap.h"
#include "t/kernels/toy.h"

#define TOKENS 75


static void model_run(const toy_conf_t *c, k_isa_t isa, k_act_mode_t act,
                      double limit);


static const toy_conf_t confs[] = {
    /* embd, layers, heads, kv, dim, ff, vocab, rot, window, type ... */
    {64, 2, 9, 3, 64, 96, 131, 64, 0, K_F32, K_ROPE_PAIRS, K_FN_SILU, 0, 0, 0,
     0, 0, 1, .seed = 1},
    {96, 2, 4, 2, 80, 160, 77, 20, 0, K_F16, K_ROPE_HALVES, K_FN_GELU_TANH, 0,
     0, 1, 1, 0, 0, .seed = 2},
    {128, 2, 2, 2, 128, 64, 200, 128, 20, K_Q8_0, K_ROPE_HALVES, K_FN_GELU_ERF,
     5.0f, 8.0f, 0, 0, 1, 0, .seed = 3},
    {64, 3, 7, 1, 32, 96, 99, 24, 33, K_Q4_1, K_ROPE_PAIRS, K_FN_SILU, 0, 0, 1,
     1, 1, 1, .seed = 4},
    {64, 2, 6, 1, 16, 96, 64, 0, 1, K_Q4_0, K_ROPE_NONE, K_FN_SILU, 30.0f, 0, 0,
     1, 0, 1, .seed = 5},
    {64, 1, 50, 1, 32, 96, 64, 32, 0, K_Q8_0, K_ROPE_PAIRS, K_FN_SILU, 0, 0, 0,
     0, 0, 1, .seed = 6},
    {60, 2, 5, 5, 26, 50, 67, 26, 40, K_BF16, K_ROPE_PAIRS, K_FN_SILU, 0, 0, 0,
     0, 0, 0, .seed = 7},
    {64, 2, 8, 2, 64, 96, 131, 64, 16, K_F32, K_ROPE_HALVES, K_FN_SWIGLU_OAI, 0,
     0, .bias = 1, .sinks = 1, .seed = 8, .n_expert = 32, .n_used = 4},
    /* clang-format off */
    {128, 3, 4, 1, 256, 32, 77, 256, 25, K_BF16, K_ROPE_PAIRS, K_FN_SILU, 0, 0,
     .qk_norm = 1, .post_norm = 1, .tied = 1, .seed = 9, .n_expert = 5,
     .n_used = 2, .gate = K_GATE_SOFTMAX, .dense = 1, .nope = 1,
     .residual = 0.22f},
    {96, 2, 2, 1, 96, 64, 50, 48, 0, K_Q8_0, K_ROPE_HALVES, K_FN_SILU, 0, 0,
     .seed = 10, .sinks = 1, .nope = 1, .residual = 0.3f},
    {64, 1, 4, 2, 80, 64, 50, 40, 9, K_Q8_0, K_ROPE_HALVES, K_FN_GELU_TANH, 0,
     9.0f, .bias = 1, .qk_norm = 1, .seed = 11, .n_expert = 9, .n_used = 8,
     .sinks = 1},
    /* clang-format on */
};


int
main(void)
{
    size_t   i;
    uint32_t isa;

    for (i = 0; i < sizeof(confs) / sizeof(confs[0]); i++) {
        for (isa = K_ISA_SCALAR; isa <= K_ISA_AVX512; isa++) {
            model_run(&confs[i], (k_isa_t) isa, K_ACT_F32, 1e-5);
            model_run(&confs[i], (k_isa_t) isa, K_ACT_INT8, 4e-2);
        }
    }

    return tap_done();
}


static void
model_run(const toy_conf_t *c, k_isa_t isa, k_act_mode_t act, double limit)
{
    int           rc;
    char          err[K_ERR_MAX];
    toy_t         toy;
    float        *got;
    double       *want, diff, norm, worst;
    k_kv_t       *kv;
    int32_t       tokens[TOKENS];
    uint32_t      i, j, rng, rows[TOKENS], pages[4] = {3, 0, 2, 1};
    k_exec_t     *exec;
    k_batch_t     b;
    k_config_t    conf;
    k_limits_t    limits = {TOKENS, 1, TOKENS};
    k_backend_t  *be;
    k_batch_seq_t seq;

    static const char *names[] = {"auto", "scalar", "avx2", "avx512"};

    memset(&conf, 0, sizeof(conf));
    conf.threads = 2;
    conf.isa = isa;
    conf.act = act;
    conf.memory = 64 << 20;

    if (k_backend_cpu.open(&conf, &be, err) != 0) {
        printf("ok %d - # SKIP %s\n", ++tap_count_, err);
        return;
    }

    toy_make(&toy, &k_backend_cpu, be, c);

    rng = 77;
    for (i = 0; i < TOKENS; i++) {
        tokens[i] = (int32_t) (toy_rand(&rng) % c->n_vocab);
        rows[i] = i;
    }
    want = toy_reference(&toy, tokens, TOKENS, act == K_ACT_INT8);

    rc = k_backend_cpu.kv_new(be, &toy.prog, 4, &kv, err);
    if (rc == 0) {
        rc = k_backend_cpu.program_prepare(be, &toy.prog, kv, &limits, &exec,
                                           err);
    }
    if (rc != 0) {
        ok(0, "prepare: %s", err);
        return;
    }

    memset(&seq, 0, sizeof(seq));
    seq.n = TOKENS;
    seq.pages = pages;
    b.n_rows = TOKENS;
    b.n_seqs = 1;
    b.n_logits = TOKENS;
    b.tokens = tokens;
    b.seqs = &seq;
    b.logit_rows = rows;

    rc = k_backend_cpu.step_submit(exec, &b);
    rc = rc ? rc : k_backend_cpu.step_wait(exec);
    is_int(rc, 0, "step");

    worst = 0;
    got = malloc(c->n_vocab * sizeof(float));
    for (i = 0; i < TOKENS; i++) {
        k_backend_cpu.logits(exec, i, got);
        diff = norm = 0;
        for (j = 0; j < c->n_vocab; j++) {
            double w = want[(size_t) i * c->n_vocab + j];

            diff += (got[j] - w) * (got[j] - w);
            norm += w * w;
        }
        diff = sqrt(diff / norm);
        worst = diff > worst || diff != diff ? diff : worst;
    }

    ok(worst < limit, "model %u, %s, %s: worst relative error %.1e", c->seed,
       names[isa], act == K_ACT_F32 ? "f32" : "int8", worst);

    free(got);
    free(want);
    k_backend_cpu.program_free(exec);
    k_backend_cpu.kv_free(be, kv);
    toy_free(&toy);

    {
        uint64_t size, used;

        k_backend_cpu.memory(be, &size, &used);
        is_int(used, 0, "everything is given back");
    }
    k_backend_cpu.close(be);
}
