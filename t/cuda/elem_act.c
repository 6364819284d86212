/*
 * act(gate) * up and its forms (kernels/cuda/elem_act.cu) against references
 * in double precision.
 */

#include <errno.h>

#include "t/cuda/elem_ref.h"

#define OUT_T  1
#define OUT_Q  2
#define OUT_F8 4

#define ROWS 3
#define N    2 /* of the step */

static void check(cu_type_t t, int fn, uint32_t n, int what, int outs);
static void extremes(void);

static uint32_t seed = 11;


/* what: 1 scales by row, 2 by column, 4 and 8 the biases, 16 large numbers */
int
main(void)
{
    int       fn;
    float     x = 0;
    cu_act_t  p = {.fn = -1, .in = &x, .rows = 1, .n = 33, .out = &x};
    cu_type_t t;

    for (t = CU_F16; t <= CU_BF16; t++) {
        for (fn = -1; fn <= K_FN_SWIGLU_OAI; fn++) {
            check(t, fn, 96, 0, OUT_T);
            check(t, fn, 1056, 15, OUT_T | OUT_Q);
            check(t, fn, 128, 16, OUT_T | OUT_Q);
            check(t, fn, 160, 7, OUT_T | OUT_Q | OUT_F8);
            check(t, fn, 77, 15, OUT_T);
            check(t, fn, 33, 12, OUT_T | OUT_F8);
        }
    }

    /* elements a thread, and threads */
    check(CU_BF16, K_FN_SILU, 4096, 3, OUT_T | OUT_Q | OUT_F8);
    check(CU_BF16, K_FN_SILU, 4104, 0, OUT_T | OUT_F8);
    check(CU_F16, K_FN_SILU, 14336, 3, OUT_Q | OUT_F8);
    check(CU_BF16, K_FN_GELU_TANH, 16416, 0, OUT_Q | OUT_F8);
    check(CU_BF16, -1, 32768, 0, OUT_F8);
    check(CU_BF16, K_FN_SILU, 32800, 0, OUT_T | OUT_Q | OUT_F8);
    check(CU_BF16, K_FN_SILU, 14336, 0, OUT_T);
    check(CU_BF16, -1, 8, 0, OUT_T | OUT_F8);
    check(CU_BF16, -1, 1, 0, OUT_T | OUT_F8);

    extremes();

    p.q = (int8_t *) &x;
    p.q_d = &x;
    is_int(cu_act(CU_BF16, &p, NULL, NULL), -EINVAL, "blocks of 33");
    p.n = 64;
    is_int(cu_act(CU_F32, &p, NULL, NULL), -EINVAL, "activations in F32");
    p.fn = 9;
    is_int(cu_act(CU_BF16, &p, NULL, NULL), -EINVAL, "no such function");
    p.fn = -1;
    p.out = NULL;
    p.q = NULL;
    p.q_d = NULL;
    is_int(cu_act(CU_BF16, &p, NULL, NULL), -EINVAL, "nothing comes out");

    return tap_done();
}


static void
check(cu_type_t t, int fn, uint32_t n, int what, int outs)
{
    int        good = 1, q_good = 1, f_good = 1, rest = 1;
    int8_t    *q = malloc(n);
    double    *in, *sr, *sc, *bg, *bu, *h, *got, *d, g, u;
    uint32_t   i, r, width = fn < 0 ? n : 2 * n;
    cu_act_t   p = {.fn = fn, .rows = ROWS, .n = n};
    cu_step_t *step = dev_step(&(dev_step_conf_t){.n_rows = N});

    in = ref_random(ROWS * width, what & 16 ? 40 : 2, &seed);
    sr = ref_random(ROWS, 1, &seed);
    sc = ref_random(width, 1, &seed);
    bg = ref_random(n, 1, &seed);
    bu = ref_random(n, 1, &seed);
    h = malloc(n * sizeof(double));
    got = malloc(n * sizeof(double));
    d = malloc(n / 16 * sizeof(double) + sizeof(double));

    p.in = dev_typed(t, in, ROWS * width);
    p.in_scale_row = what & 1 ? dev_typed(CU_F32, sr, ROWS) : NULL;
    p.in_scale_col = what & 2 ? dev_typed(CU_F32, sc, width) : NULL;
    p.bias_g = what & 4 ? dev_typed(CU_F32, bg, n) : NULL;
    p.bias_u = what & 8 ? dev_typed(CU_F32, bu, n) : NULL;
    if (outs & OUT_T) {
        p.out = dev_new(ROWS * n * 2);
    }
    if (outs & OUT_Q) {
        p.q = dev_new(ROWS * n);
        p.q_d = dev_new(ROWS * n / 16 * sizeof(float));
    }
    if (outs & OUT_F8) {
        p.f8 = dev_new(ROWS * n);
        p.f8_scale = dev_new(ROWS * sizeof(float));
    }

    is_int(cu_act(t, &p, step, NULL), 0, "act %d of %u, %s, %d, out %d", fn, n,
           t == CU_F16 ? "F16" : "BF16", what, outs);

    for (r = 0; r < N; r++) {
        for (i = 0; i < n; i++) {
            g = in[r * width + i] * (what & 1 ? sr[r] : 1)
                * (what & 2 ? sc[i] : 1);
            if (fn < 0) {
                h[i] = g;
                continue;
            }
            u = in[r * width + n + i] * (what & 1 ? sr[r] : 1)
                * (what & 2 ? sc[n + i] : 1);
            h[i] = ref_act(fn, g + (what & 4 ? bg[i] : 0),
                           u + (what & 8 ? bu[i] : 0));
        }
        if (p.out != NULL) {
            dev_read(t, got, (uint16_t *) p.out + r * n, n);
            for (i = 0; i < n; i++) {
                good &= ref_near(t, got[i], h[i], 2);
            }
        }
        if (p.q != NULL) {
            dev_get(q, p.q + r * n, n);
            dev_read(CU_F32, d, p.q_d + r * n / 16, n / 16);
            q_good &= ref_q8(q, d, h, n);
        }
        if (p.f8 != NULL) {
            dev_read(CU_F8, got, p.f8 + r * n, n);
            dev_read(CU_F32, d, p.f8_scale + r, 1);
            f_good &= ref_f8(got, d[0], h, n);
        }
    }

    if (p.out != NULL) {
        rest &= ref_untouched(p.out, N * n * 2, (ROWS - N) * n * 2);
        ok(good, "in T");
    }
    if (p.q != NULL) {
        rest &= ref_untouched(p.q, N * n, (ROWS - N) * n);
        ok(q_good, "in int8 blocks");
    }
    if (p.f8 != NULL) {
        rest &= ref_untouched(p.f8, N * n, (ROWS - N) * n);
        ok(f_good, "in E4M3");
    }
    ok(rest, "rows beyond the step's are left alone");

    dev_free((void *) p.in);
    dev_free((void *) p.in_scale_row);
    dev_free((void *) p.in_scale_col);
    dev_free((void *) p.bias_g);
    dev_free((void *) p.bias_u);
    dev_free(p.out);
    dev_free(p.q);
    dev_free(p.q_d);
    dev_free(p.f8);
    dev_free(p.f8_scale);
    dev_step_free(step);
    free(q);
    free(in);
    free(sr);
    free(sc);
    free(bg);
    free(bu);
    free(h);
    free(got);
    free(d);
}


/* Very large gates, NaN: each stays in its own element. */
static void
extremes(void)
{
    static const double gates[8] = {200, -200, 1e30, -1e30, NAN, 1, 0, -0.0};

    int        fn, i, good;
    double     in[16], got[8];
    cu_act_t   p = {.rows = 1, .n = 8};
    cu_step_t *step = dev_step(&(dev_step_conf_t){.n_rows = 1});

    for (fn = 0; fn <= K_FN_SWIGLU_OAI; fn++) {
        for (i = 0; i < 8; i++) {
            in[i] = gates[i];
            in[8 + i] = 1;
        }
        p.fn = fn;
        p.in = dev_typed(CU_BF16, in, 16);
        p.out = dev_new(16);
        is_int(cu_act(CU_BF16, &p, step, NULL), 0, "act %d of extremes", fn);
        dev_read(CU_BF16, got, p.out, 8);
        for (i = 0, good = isnan(got[4]); i < 8; i++) {
            good &=
                i == 4 || ref_near(CU_BF16, got[i], ref_act(fn, in[i], 1), 1);
        }
        ok(good, "each in its element");
        dev_free((void *) p.in);
        dev_free(p.out);
    }

    dev_step_free(step);
}
