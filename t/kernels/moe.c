/*
 * The operation MOE of the CPU backend: against double precision (toy.h) over
 * odd shapes, against the dense operations where there is one expert, and bit
 * for bit whatever the batch, the threads and what stood in the scratch
 * before; what the router may say that is not a number; programs that lie.
 */

#include <errno.h>

#include "t/lib/tap.h"
#include "t/kernels/toy.h"
#include "kernels/cpu/cpu.h"

#define ROWS  150 /* more than a block of one expert */
#define VOCAB 160


typedef struct {
    toy_t        toy;
    k_backend_t *be;
    k_exec_t    *exec;
    char         err[K_ERR_MAX];
} run_t;

typedef enum {
    R_AS_IS = 0,
    R_EQUAL, /* the router says the same of all experts */
    R_ONE,   /* all rows choose the last expert first */
    R_NAN,   /* of one expert it says NaN */
    R_INF,   /* of two infinity, of others minus infinity */
    R_LOW    /* minus infinity of all */
} router_t;


static void   test_reference(const toy_conf_t *c, k_isa_t isa);
static double error(const toy_conf_t *c, k_isa_t isa, k_act_mode_t act,
                    router_t router);
static void   test_dense(k_isa_t isa, k_type_t type);
static void   test_bits(const toy_conf_t *c, k_isa_t isa);
static void   test_not_finite(k_isa_t isa);
static void   test_lies(void);
static int    run_open(run_t *r, const toy_conf_t *c, k_isa_t isa,
                       k_act_mode_t act, uint32_t threads, router_t router);
static void   run_close(run_t *r);
static void   run_step(run_t *r, const int32_t *tokens, uint32_t n, float *out);
static void   set_router(toy_t *t, router_t router);
static uint32_t n_finite(const float *x, uint32_t n);


static int32_t all[ROWS];

/* embd, layers, heads, kv, dim, ff, vocab ... */
#define BARE(d, f, type, fn)                                                   \
    d, 1, 1, 1, 2, f, VOCAB, 0, 0, type, K_ROPE_NONE, fn, 0, 0, .bare = 1
#define EXPERTS(n, u, g) .n_expert = n, .n_used = u, .gate = g

static const toy_conf_t confs[] = {
    {BARE(64, 96, K_Q8_0, K_FN_SILU), EXPERTS(8, 2, K_GATE_TOP_SOFTMAX),
     .seed = 1},
    {BARE(96, 32, K_Q4_1, K_FN_SWIGLU_OAI), EXPERTS(32, 4, K_GATE_TOP_SOFTMAX),
     .bias = 1, .seed = 2},
    {BARE(128, 64, K_Q4_0, K_FN_SILU), EXPERTS(128, 8, K_GATE_SOFTMAX),
     .post_norm = 1, .seed = 3},
    {BARE(60, 37, K_F32, K_FN_GELU_TANH), EXPERTS(3, 3, K_GATE_SOFTMAX),
     .bias = 1, .residual = 0.5f, .seed = 4},
    {BARE(33, 1, K_F16, K_FN_SILU), EXPERTS(1, 1, K_GATE_TOP_SOFTMAX),
     .seed = 5},
    {BARE(7, 130, K_BF16, K_FN_GELU_ERF), EXPERTS(5, 1, K_GATE_TOP_SOFTMAX),
     .bias = 1, .post_norm = 1, .seed = 6},
    {BARE(32, 32, K_Q8_0, K_FN_SILU), EXPERTS(70, 5, K_GATE_TOP_SOFTMAX),
     .seed = 7},
    {BARE(2080, 32, K_Q8_0, K_FN_SILU), EXPERTS(9, 8, K_GATE_TOP_SOFTMAX),
     .seed = 8},
};


int
main(void)
{
    size_t   i;
    uint32_t isa;

    for (i = 0; i < ROWS; i++) {
        all[i] = (int32_t) (i * 7 % VOCAB);
    }

    for (isa = K_ISA_SCALAR; isa <= (uint32_t) k_isa_detect(); isa++) {
        for (i = 0; i < sizeof(confs) / sizeof(confs[0]); i++) {
            /* The scalar reference is slow: small ones will do. */
            if (isa == K_ISA_SCALAR && confs[i].n_embd > 100) {
                continue;
            }
            test_reference(&confs[i], (k_isa_t) isa);
            test_bits(&confs[i], (k_isa_t) isa);
        }
        test_dense((k_isa_t) isa, K_Q8_0);
        test_dense((k_isa_t) isa, K_BF16);
        test_not_finite((k_isa_t) isa);
    }
    test_lies();

    return tap_done();
}


static int
run_open(run_t *r, const toy_conf_t *c, k_isa_t isa, k_act_mode_t act,
         uint32_t threads, router_t router)
{
    k_config_t conf;
    k_limits_t limits = {ROWS, 1, ROWS};

    memset(&conf, 0, sizeof(conf));
    conf.threads = threads;
    conf.isa = isa;
    conf.act = act;
    conf.memory = 128 << 20;

    if (k_backend_cpu.open(&conf, &r->be, r->err) != 0) {
        printf("Bail out! %s\n", r->err);
        exit(1);
    }
    toy_make(&r->toy, &k_backend_cpu, r->be, c);
    if (router != R_AS_IS) {
        set_router(&r->toy, router);
    }

    return k_backend_cpu.program_prepare(r->be, &r->toy.prog, NULL, &limits,
                                         &r->exec, r->err);
}


static void
run_close(run_t *r)
{
    k_backend_cpu.program_free(r->exec);
    toy_free(&r->toy);
    k_backend_cpu.close(r->be);
}


/* A sequence of n tokens; logits of all. */
static void
run_step(run_t *r, const int32_t *tokens, uint32_t n, float *out)
{
    int           rc;
    uint32_t      i, rows[ROWS];
    k_batch_t     b;
    k_batch_seq_t seq;

    memset(&b, 0, sizeof(b));
    memset(&seq, 0, sizeof(seq));
    seq.n = n;
    b.n_rows = b.n_logits = n;
    b.n_seqs = 1;
    b.tokens = tokens;
    b.seqs = &seq;
    b.logit_rows = rows;
    for (i = 0; i < n; i++) {
        rows[i] = i;
    }

    rc = k_backend_cpu.step_submit(r->exec, &b);
    rc = rc ? rc : k_backend_cpu.step_wait(r->exec);
    if (rc != 0) {
        printf("Bail out! step: %d\n", rc);
        exit(1);
    }
    for (i = 0; i < n; i++) {
        k_backend_cpu.logits(r->exec, i, out + i * VOCAB);
    }
}


static void
set_router(toy_t *t, router_t router)
{
    double  *w, *b;
    k_op_t  *op;
    uint32_t i, n, d;

    op = &t->op[1];
    n = op->n_expert;
    d = t->conf.n_embd;
    w = calloc((size_t) n * d, sizeof(double));
    b = calloc(n, sizeof(double));

    for (i = 0; i < n; i++) {
        b[i] = router == R_ONE && i == n - 1       ? 50
               : router == R_NAN && i == n / 2     ? NAN
               : router == R_LOW                   ? -INFINITY
               : router == R_INF && i / 2 == n / 4 ? INFINITY
               : router == R_INF                   ? -INFINITY
                                                   : 0;
    }
    if (router != R_EQUAL) {
        for (i = 0; i < n * d; i++) {
            w[i] = toy_normal(&t->rng) / sqrt(d);
        }
    }

    op->w[0] = toy_values(t, K_ROLE_MATRIX, K_F32, n, d, w);
    op->bias[0] = toy_values(t, K_ROLE_VECTOR, K_F32, 1, n, b);
}


static double
error(const toy_conf_t *c, k_isa_t isa, k_act_mode_t act, router_t router)
{
    float   *got;
    run_t    r;
    double  *want, diff, norm, worst, x;
    uint32_t i, j;

    if (run_open(&r, c, isa, act, 2, router) != 0) {
        printf("# %s\n", r.err);
        return NAN;
    }

    got = malloc(ROWS * VOCAB * sizeof(float));
    run_step(&r, all, ROWS, got);
    want = toy_reference(&r.toy, all, ROWS, 0);

    worst = 0;
    for (i = 0; i < ROWS; i++) {
        diff = norm = 0;
        for (j = 0; j < VOCAB; j++) {
            x = want[i * VOCAB + j];
            diff += (got[i * VOCAB + j] - x) * (got[i * VOCAB + j] - x);
            norm += x * x;
        }
        diff = sqrt(diff / norm);
        worst = diff > worst || diff != diff ? diff : worst;
    }

    free(got);
    free(want);
    run_close(&r);

    return worst;
}


static void
test_reference(const toy_conf_t *c, k_isa_t isa)
{
    double             f, q;
    const char        *name;
    router_t           i;
    static const char *routers[] = {"", ", equal experts",
                                    ", one expert has all"};

    name = k_isa_name(isa);

    for (i = R_AS_IS; i <= R_ONE; i++) {
        f = error(c, isa, K_ACT_F32, i);
        q = error(c, isa, K_ACT_INT8, i);
        ok(f < 1e-7 * sqrt(c->n_embd) + 2e-6 && q < 2e-2,
           "%s, %u wide, %u of %u experts of %u%s: error %.1e, int8 %.1e", name,
           c->n_embd, c->n_used, c->n_expert, c->n_ff, routers[i], f, q);
    }
}


/* One expert is a dense layer, to the bit. */
static void
test_dense(k_isa_t isa, k_type_t type)
{
    float     *a, *b;
    run_t      moe, dense;
    k_op_t    *to;
    uint32_t   i;
    toy_conf_t c = {BARE(96, 64, K_Q8_0, K_FN_SILU),
                    EXPERTS(1, 1, K_GATE_TOP_SOFTMAX), .bias = 1, .seed = 9};

    c.type = type;
    a = malloc(ROWS * VOCAB * sizeof(float));
    b = malloc(ROWS * VOCAB * sizeof(float));

    run_open(&moe, &c, isa, K_ACT_INT8, 2, R_AS_IS);
    run_step(&moe, all, ROWS, a);

    c.dense = 1;
    run_open(&dense, &c, isa, K_ACT_INT8, 2, R_AS_IS);
    k_backend_cpu.program_free(dense.exec);

    /* The same values, out of the other's memory. */
    to = dense.toy.op;
    for (i = 0; i < 3; i++) {
        const k_op_t *op = &moe.toy.op[1];
        uint32_t      d = i < 2 ? 64 : 96, n = 96 * 64 / d;
        double       *w = malloc(96 * 64 * 8), *v = malloc(96 * 8);

        memcpy(w, toy_f(&moe.toy, op->w[i + 1]), 96 * 64 * 8);
        memcpy(v, toy_f(&moe.toy, op->bias[i + 1]), d * 8);
        to[1 + i / 2].w[i % 2] =
            toy_values(&dense.toy, K_ROLE_MATRIX, type, d, n, w);
        to[1 + i / 2].bias[i % 2] =
            toy_values(&dense.toy, K_ROLE_VECTOR, K_F32, 1, d, v);
    }
    to[0].w[0] = moe.toy.op[0].w[0];
    to[1].norm = moe.toy.op[1].norm;
    to[3].norm = moe.toy.op[2].norm;
    to[3].w[0] = moe.toy.op[2].w[0];

    k_backend_cpu.program_prepare(dense.be, &dense.toy.prog, NULL,
                                  &(k_limits_t){ROWS, 1, ROWS}, &dense.exec,
                                  dense.err);
    run_step(&dense, all, ROWS, b);
    ok(memcmp(a, b, ROWS * VOCAB * sizeof(float)) == 0,
       "%s, type %d: one expert is a dense layer", k_isa_name(isa), (int) type);

    free(a);
    free(b);
    run_close(&dense);
    run_close(&moe);
}


/* Each row's bits: alone, in parts, with other threads, in foul scratch. */
static void
test_bits(const toy_conf_t *c, k_isa_t isa)
{
    int      alone, parts, threads, foul, turned;
    run_t    r;
    float   *want, *got;
    int32_t  back[ROWS];
    uint32_t i, n, t;
    size_t   row = VOCAB * sizeof(float);

    want = malloc(ROWS * row);
    got = malloc(ROWS * row);
    alone = parts = threads = foul = turned = 1;

    run_open(&r, c, isa, K_ACT_INT8, 1, R_AS_IS);
    run_step(&r, all, ROWS, want);

    memset(r.exec->mem, 0xff, r.exec->size);
    run_step(&r, all, ROWS, got);
    foul &= memcmp(want, got, ROWS * row) == 0;
    run_close(&r);

    for (t = 2; t <= 4; t += 2) {
        run_open(&r, c, isa, K_ACT_INT8, t, R_AS_IS);
        run_step(&r, all, ROWS, got);
        threads &= memcmp(want, got, ROWS * row) == 0;

        for (i = 0; i < ROWS; i += 5) {
            run_step(&r, all + i, 1, got);
            alone &= memcmp(want + i * VOCAB, got, row) == 0;
        }

        for (i = 0, n = 2; i < ROWS; i += n, n = n % 23 + 3) {
            n = n < ROWS - i ? n : ROWS - i;
            memset(r.exec->mem, 0xff, r.exec->size);
            run_step(&r, all + i, n, got);
            parts &= memcmp(want + i * VOCAB, got, n * row) == 0;
        }

        for (i = 0; i < ROWS; i++) {
            back[i] = all[ROWS - 1 - i];
        }
        run_step(&r, back, ROWS, got);
        for (i = 0; i < ROWS; i++) {
            turned &=
                memcmp(want + i * VOCAB, got + (ROWS - 1 - i) * VOCAB, row)
                == 0;
        }
        run_close(&r);
    }

    ok(alone && parts && threads && foul && turned,
       "%s, %u wide, %u of %u experts: the same bits alone (%d), in parts "
       "(%d), by 2 and 4 threads (%d), in foul memory (%d), backwards (%d)",
       k_isa_name(isa), c->n_embd, c->n_used, c->n_expert, alone, parts,
       threads, foul, turned);

    free(want);
    free(got);
}


static uint32_t
n_finite(const float *x, uint32_t n)
{
    uint32_t i, k;

    for (i = k = 0; i < n; i++) {
        k += isfinite(x[i]) != 0;
    }
    return k;
}


static void
test_not_finite(k_isa_t isa)
{
    float     *want, *got;
    run_t      r;
    double    *f;
    size_t     row = VOCAB * sizeof(float);
    uint32_t   i, bad;
    router_t   k;
    toy_conf_t c = {BARE(64, 32, K_Q8_0, K_FN_SILU),
                    EXPERTS(16, 4, K_GATE_TOP_SOFTMAX), .seed = 10};

    want = malloc(ROWS * row);
    got = malloc(ROWS * row);

    for (k = R_NAN; k <= R_LOW; k++) {
        c.gate = k == R_INF ? K_GATE_SOFTMAX : K_GATE_TOP_SOFTMAX;
        run_open(&r, &c, isa, K_ACT_INT8, 2, k);
        run_step(&r, all, ROWS, got);
        bad = n_finite(got, ROWS * VOCAB);
        run_step(&r, all, 1, got);
        bad += n_finite(got, VOCAB);
        is_int(bad, 0, "%s: not a number out of the router, %d: so is the row",
               k_isa_name(isa), (int) k);
        run_close(&r);
    }

    /* Rows of two tokens are NaN and infinite; others do not notice. */
    run_open(&r, &c, isa, K_ACT_INT8, 2, R_AS_IS);
    f = malloc(VOCAB * 64 * sizeof(double));
    memcpy(f, toy_f(&r.toy, r.toy.op[0].w[0]), VOCAB * 64 * sizeof(double));
    r.toy.op[0].w[0] = toy_values(&r.toy, K_ROLE_EMBED, K_F32, VOCAB, 64, f);
    run_step(&r, all, ROWS, want);
    f = malloc(VOCAB * 64 * sizeof(double));
    memcpy(f, toy_f(&r.toy, r.toy.op[0].w[0]), VOCAB * 64 * sizeof(double));
    f[all[3] * 64 + 9] = NAN;
    f[all[80] * 64 + 63] = INFINITY;
    r.toy.op[0].w[0] = toy_values(&r.toy, K_ROLE_EMBED, K_F32, VOCAB, 64, f);
    run_step(&r, all, ROWS, got);

    for (i = bad = 0; i < ROWS; i++) {
        if (all[i] == all[3] || all[i] == all[80]) {
            bad += n_finite(got + i * VOCAB, VOCAB);
        } else {
            bad += memcmp(want + i * VOCAB, got + i * VOCAB, row) != 0;
        }
    }
    is_int(bad, 0, "%s: a NaN stays in its row", k_isa_name(isa));
    run_close(&r);

    free(want);
    free(got);
}


static void
test_lies(void)
{
    int               rc, w;
    run_t             r;
    k_op_t           *op;
    uint32_t          i, k;
    toy_conf_t        c = {BARE(64, 32, K_Q8_0, K_FN_SILU),
                           EXPERTS(6, 2, K_GATE_TOP_SOFTMAX), .bias = 1, .seed = 11};
    const k_weight_t *good, **at;

    run_open(&r, &c, K_ISA_AUTO, K_ACT_INT8, 1, R_AS_IS);
    op = &r.toy.op[1];

#define LIE(what, set, unset)                                                  \
    do {                                                                       \
        k_exec_t *e = NULL;                                                    \
        set;                                                                   \
        memset(r.err, 0, sizeof(r.err));                                       \
        rc = k_backend_cpu.program_prepare(r.be, &r.toy.prog, NULL,            \
                                           &(k_limits_t){ROWS, 1, ROWS}, &e,   \
                                           r.err);                             \
        ok(rc == -EINVAL && r.err[0] != '\0', "%s: %s", what, r.err);          \
        k_backend_cpu.program_free(rc == 0 ? e : NULL);                        \
        unset;                                                                 \
    } while (0)

    LIE("no experts", op->n_expert = 0, op->n_expert = 6);
    LIE("too many experts", op->n_expert = 7, op->n_expert = 6);
    LIE("none used", op->n_used = 0, op->n_used = 2);
    LIE("more used than there are", op->n_used = 7, op->n_used = 2);
    LIE("not so wide", op->n_ff = 33, op->n_ff = 32);
    LIE("of no width", op->n_ff = 0, op->n_ff = 32);
    LIE("an unknown function", op->fn = (k_fn_t) 9, op->fn = K_FN_SILU);
    LIE("an unknown gate", op->gate = (k_gate_t) 9,
        op->gate = K_GATE_TOP_SOFTMAX);

    LIE("gates times nothing", op->w_scale = 0, op->w_scale = 1);
    LIE("gates times NaN", op->w_scale = NAN, op->w_scale = 1);
    LIE("nothing is added", op->scale = 0, op->scale = 1);
    LIE("infinity is added", op->scale = INFINITY, op->scale = 1);

    /* Every weight in the place of every other that has another shape. */
    for (w = 0; w < 8; w++) {
        at = w < 4 ? &op->w[w] : &op->bias[w - 4];
        good = *at;
        if (w < 4) {
            LIE("a weight is missing", *at = NULL, *at = good);
        }
        for (i = k = 0; i < r.toy.n_weights; i++) {
            k_exec_t         *e;
            const k_weight_t *x = r.toy.weights[i].w;

            if (x->role == good->role && x->rows == good->rows
                && x->cols == good->cols && x->n_experts == good->n_experts) {
                continue;
            }
            *at = x;
            rc = k_backend_cpu.program_prepare(r.be, &r.toy.prog, NULL,
                                               &(k_limits_t){ROWS, 1, ROWS}, &e,
                                               r.err);
            k += rc != -EINVAL;
            k_backend_cpu.program_free(rc == 0 ? e : NULL);
        }
        *at = good;
        is_int(k, 0, "weight %d replaced by others: %s", w, r.err);
    }

    run_close(&r);
}
