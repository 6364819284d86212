/*
 * Embedding, norms and logits (kernels/cuda/elem.cu) against references in
 * double precision.
 */

#include <errno.h>

#include "t/cuda/elem_ref.h"

#define OUT_T  1
#define OUT_Q  2
#define OUT_F8 4

typedef struct {
    uint32_t cols;
    uint32_t rows;
    uint32_t n_rows;
    int      u; /* 1: there is one; 2: with scales and a bias */
    int      post;
    int      norm; /* 0: none; 1: weights; 2: without weights */
    int      gather;
    int      outs;
    double   mul; /* of x */
} norm_case_t;

static void norm_check(cu_type_t t, const norm_case_t *c);
static void norm_all(void);
static void norm_not_finite(void);
static void norm_refused(void);
static void embed_check(cu_type_t t, uint32_t cols, double scale, int scales);
static void embed_blocks(cu_form_t form, uint32_t cols);
static void embed_drawn(void);
static void cap_check(uint32_t n, uint32_t ld, int what);

static const char *const type_name[] = {
    [CU_F32] = "F32", [CU_F16] = "F16", [CU_BF16] = "BF16", [CU_F8] = "E4M3"};
static uint32_t seed = 7;


int
main(void)
{
    norm_all();
    norm_not_finite();
    norm_refused();

    embed_check(CU_F32, 64, 1, 0);
    embed_check(CU_F32, 31, 2.5, 0);
    embed_check(CU_F16, 1032, 1, 0);
    embed_check(CU_F16, 1031, 1, 0);
    embed_check(CU_BF16, 2048, 45.25, 0);
    embed_check(CU_BF16, 18, 1, 0);
    embed_check(CU_F8, 1096, 3, 1);
    embed_check(CU_F8, 77, 1, 0);
    embed_blocks(CU_W_Q8_0, 96);
    embed_blocks(CU_W_Q4_1, 1056);
    embed_blocks(CU_W_Q4_K, 512);
    embed_blocks(CU_W_Q6_K, 256);
    embed_blocks(CU_W_MXFP4, 64);
    embed_drawn();

    cap_check(1000, 1000, 0);
    cap_check(4100, 4104, 1);
    cap_check(1001, 1003, 2);
    cap_check(257, 260, 3);

    return tap_done();
}


static void
norm_all(void)
{
    static const norm_case_t cases[] = {
        /* the ways through the operation, in one size */
        {64, 3, 2, 0, 0, 1, 0, OUT_T, 1},
        {64, 3, 3, 0, 0, 2, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {96, 3, 2, 1, 0, 1, 0, OUT_T | OUT_Q, 1},
        {96, 3, 2, 2, 0, 1, 0, OUT_F8, 3},
        {128, 3, 2, 1, 1, 1, 0, OUT_Q, 1},
        {128, 3, 2, 2, 1, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {128, 4, 3, 2, 1, 0, 0, OUT_T | OUT_F8, 1},
        {160, 4, 3, 0, 0, 0, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {160, 4, 3, 2, 1, 1, 0, 0, 1},
        {160, 4, 3, 1, 0, 1, 0, 0, 1},
        {64, 4, 6, 0, 0, 1, 1, OUT_T | OUT_Q | OUT_F8, 1},
        {64, 3, 3, 0, 0, 0, 0, OUT_T | OUT_F8, 1e5},
        {64, 3, 3, 0, 0, 1, 0, OUT_T | OUT_Q | OUT_F8, 0},
        {64, 3, 3, 0, 0, 0, 0, OUT_T | OUT_Q | OUT_F8, 1e-33},
        /* elements a thread, and threads */
        {4, 2, 2, 2, 1, 1, 0, OUT_T | OUT_F8, 1},
        {132, 2, 2, 2, 1, 1, 0, OUT_T | OUT_F8, 1},
        {2048, 3, 2, 2, 1, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {2052, 2, 2, 2, 0, 1, 0, OUT_T | OUT_F8, 1},
        {4096, 3, 2, 1, 0, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {4096, 3, 3, 0, 0, 1, 1, OUT_T, 1},
        {5120, 2, 2, 2, 1, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {8192, 2, 2, 2, 1, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {8224, 2, 2, 2, 1, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {16384, 2, 2, 2, 0, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {16416, 2, 2, 2, 1, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {32768, 2, 1, 2, 0, 1, 0, OUT_T | OUT_Q | OUT_F8, 1},
        {16416, 2, 3, 0, 0, 2, 1, OUT_T | OUT_Q, 1},
        /* odd rows */
        {2, 3, 2, 2, 1, 1, 0, OUT_T | OUT_F8, 1},
        {66, 3, 2, 2, 1, 1, 0, OUT_T | OUT_F8, 1},
        {66, 3, 3, 0, 0, 0, 1, OUT_T | OUT_F8, 1},
        {4098, 2, 2, 1, 0, 1, 0, OUT_T | OUT_F8, 1},
    };
    uint32_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        norm_check(CU_BF16, &cases[i]);
        if (i % 2 == 0 || cases[i].mul != 1) {
            norm_check(CU_F16, &cases[i]);
        }
    }
}


/*
 * Row r of out is of row from[r]; rows of out at and beyond n are poison.
 * Where the step has more rows than the bucket (gather), n counts logits.
 */
static void
norm_check(cu_type_t t, const norm_case_t *c)
{
    int        good = 1, x_good = 1, q_good = 1, f_good = 1, rest = 1;
    float      scale = 0.75f;
    double    *x, *u, *sr, *sc, *bias, *post, *w, *v, *got, *d, *x0;
    int8_t    *q;
    uint32_t   i, r, n, n_x, from, *rows;
    cu_norm_t  p;
    cu_step_t *step;

    n = c->gather ? c->rows - 1 : c->n_rows;
    n_x = c->gather ? c->n_rows : c->rows;

    x = ref_random((size_t) n_x * c->cols, c->mul, &seed);
    u = ref_random((size_t) n_x * c->cols, 1, &seed);
    sr = ref_random(c->rows, 1, &seed);
    sc = ref_random(c->cols, 1, &seed);
    bias = ref_random(c->cols, 1, &seed);
    post = ref_random(c->cols, 1, &seed);
    w = ref_random(c->cols, 1, &seed);
    v = malloc(c->cols * sizeof(double));
    x0 = malloc(c->cols * sizeof(double));
    got = malloc((size_t) c->cols * sizeof(double));
    d = malloc(((size_t) c->cols / 16 + 1) * sizeof(double));
    q = malloc(c->cols);
    rows = malloc(c->rows * sizeof(*rows));
    for (i = 0; i < c->rows; i++) {
        rows[i] = (i * 2 + 1) % n_x;
    }

    memset(&p, 0, sizeof(p));
    p.x = dev_typed(CU_F32, x, (size_t) n_x * c->cols);
    p.u = c->u ? dev_typed(CU_F32, u, (size_t) n_x * c->cols) : NULL;
    p.u_scale_row = c->u == 2 ? dev_typed(CU_F32, sr, c->rows) : NULL;
    p.u_scale_col = c->u == 2 ? dev_typed(CU_F32, sc, c->cols) : NULL;
    p.bias = c->u == 2 ? dev_typed(CU_F32, bias, c->cols) : NULL;
    p.post_norm = c->post ? dev_typed(CU_F32, post, c->cols) : NULL;
    p.eps_post = 1e-3f;
    p.scale = scale;
    p.no_norm = c->norm == 0;
    p.norm = c->norm == 1 ? dev_typed(CU_F32, w, c->cols) : NULL;
    p.eps = 1e-5f;
    p.gather = c->gather ? dev_of(rows, c->rows * sizeof(*rows)) : NULL;
    p.rows = c->rows;
    p.cols = c->cols;
    if (c->outs & OUT_T) {
        p.out = dev_new((size_t) c->rows * c->cols * 2);
    }
    if (c->outs & OUT_Q) {
        p.q = dev_new((size_t) c->rows * c->cols);
        p.q_d = dev_new((size_t) c->rows * c->cols / 16 * sizeof(float));
    }
    if (c->outs & OUT_F8) {
        p.f8 = dev_new((size_t) c->rows * c->cols);
        p.f8_scale = dev_new(c->rows * sizeof(float));
    }

    step = dev_step(&(dev_step_conf_t){.n_rows = c->gather ? n_x : n,
                                       .n_logits = c->gather ? n : 0});
    is_int(cu_norm(t, &p, step, NULL), 0,
           "norm %s %u x %u: u %d, post %d, norm %d, gather %d, out %d, x %g",
           type_name[t], c->rows, c->cols, c->u, c->post, c->norm, c->gather,
           c->outs, c->mul);

    for (r = 0; r < n; r++) {
        from = c->gather ? rows[r] : r;
        memcpy(x0, x + (size_t) from * c->cols, c->cols * sizeof(double));

        if (c->u) {
            for (i = 0; i < c->cols; i++) {
                v[i] = u[(size_t) r * c->cols + i];
                if (c->u == 2) {
                    v[i] = v[i] * sr[r] * sc[i] + bias[i];
                }
            }
            if (c->post) {
                ref_rmsnorm(v, v, post, c->cols, p.eps_post);
            }
            for (i = 0; i < c->cols; i++) {
                x0[i] += scale * v[i];
            }
        }

        dev_read(CU_F32, got, p.x + (size_t) from * c->cols, c->cols);
        for (i = 0; i < c->cols; i++) {
            x_good &= c->u ? ref_near(CU_F32, got[i], x0[i], 4)
                           : got[i] == x[(size_t) from * c->cols + i];
        }

        if (c->norm) {
            ref_rmsnorm(x0, x0, c->norm == 1 ? w : NULL, c->cols, p.eps);
        }
        if (p.out != NULL) {
            dev_read(t, got, (uint16_t *) p.out + (size_t) r * c->cols,
                     c->cols);
            for (i = 0; i < c->cols; i++) {
                good &= ref_near(t, got[i], x0[i], c->mul > 1 ? 0 : c->mul);
            }
        }
        if (p.q != NULL) {
            dev_get(q, p.q + (size_t) r * c->cols, c->cols);
            dev_read(CU_F32, d, p.q_d + (size_t) r * c->cols / 16,
                     c->cols / 16);
            if (c->mul < 1e-30) {
                for (i = 0; i < c->cols; i++) {
                    q_good &= q[i] == 0 && d[i / 16] == 0;
                }
            } else {
                q_good &= ref_q8(q, d, x0, c->cols);
            }
        }
        if (p.f8 != NULL) {
            dev_read(CU_F8, got, p.f8 + (size_t) r * c->cols, c->cols);
            dev_read(CU_F32, d, p.f8_scale + r, 1);
            f_good &= ref_f8(got, d[0], x0, c->cols);
        }
    }

    /* Rows beyond the step's. */
    for (r = n; r < c->rows; r++) {
        if (p.out != NULL) {
            rest &= ref_untouched(p.out, (size_t) r * c->cols * 2, c->cols * 2);
        }
        if (p.q != NULL) {
            rest &= ref_untouched(p.q, (size_t) r * c->cols, c->cols);
        }
        if (p.f8 != NULL) {
            rest &= ref_untouched(p.f8_scale, r * sizeof(float), 4);
        }
    }

    ok(x_good, "the residual stream");
    if (p.out != NULL) {
        ok(good, "in %s", type_name[t]);
    }
    if (p.q != NULL) {
        ok(q_good, "in int8 blocks");
    }
    if (p.f8 != NULL) {
        ok(f_good, "in E4M3");
    }
    ok(rest, "rows beyond the step's are left alone");

    dev_free(p.x);
    dev_free((void *) p.u);
    dev_free((void *) p.u_scale_row);
    dev_free((void *) p.u_scale_col);
    dev_free((void *) p.bias);
    dev_free((void *) p.post_norm);
    dev_free((void *) p.norm);
    dev_free((void *) p.gather);
    dev_free(p.out);
    dev_free(p.q);
    dev_free(p.q_d);
    dev_free(p.f8);
    dev_free(p.f8_scale);
    dev_step_free(step);
    free(x);
    free(u);
    free(sr);
    free(sc);
    free(bias);
    free(post);
    free(w);
    free(v);
    free(x0);
    free(got);
    free(d);
    free(q);
    free(rows);
}


/* Rows 1 and 2 of 4 are not finite: 0 and 3 do not notice. */
static void
norm_not_finite(void)
{
    int        i, r, same = 1;
    int8_t     q[2][4 * 64];
    double    *x = ref_random(4 * 64, 1, &seed), d[2][16], f[2][4];
    uint8_t    f8[2][4 * 64], out[2][4 * 128];
    cu_norm_t  p = {.no_norm = 1, .rows = 4, .cols = 64, .scale = 1};
    cu_step_t *step = dev_step(&(dev_step_conf_t){.n_rows = 4});

    for (r = 0; r < 2; r++) {
        if (r == 1) {
            x[64 + 5] = NAN;
            x[128 + 40] = -INFINITY;
        }
        p.x = dev_typed(CU_F32, x, 4 * 64);
        p.out = dev_new(4 * 64 * 2);
        p.q = dev_new(4 * 64);
        p.q_d = dev_new(4 * 4 * sizeof(float));
        p.f8 = dev_new(4 * 64);
        p.f8_scale = dev_new(4 * sizeof(float));
        is_int(cu_norm(CU_BF16, &p, step, NULL), 0, "norm of odd numbers %d",
               r);
        dev_get(out[r], p.out, 4 * 128);
        dev_get(q[r], p.q, 4 * 64);
        dev_get(f8[r], p.f8, 4 * 64);
        dev_read(CU_F32, d[r], p.q_d, 16);
        dev_read(CU_F32, f[r], p.f8_scale, 4);
        dev_free(p.x);
        dev_free(p.out);
        dev_free(p.q);
        dev_free(p.q_d);
        dev_free(p.f8);
        dev_free(p.f8_scale);
    }

    for (i = 0; i < 4; i += 3) {
        same &= memcmp(out[0] + i * 128, out[1] + i * 128, 128) == 0
                && memcmp(q[0] + i * 64, q[1] + i * 64, 64) == 0
                && memcmp(f8[0] + i * 64, f8[1] + i * 64, 64) == 0
                && memcmp(&d[0][i * 4], &d[1][i * 4], 4 * sizeof(double)) == 0
                && f[0][i] == f[1][i];
    }
    ok(same, "a row does not notice others that are not finite");
    ok(isnan(d[1][4]) && d[1][5] == 0 && isnan(d[1][8 + 2]),
       "a block with a NaN or an infinity has d = NaN");
    ok(d[1][6] == d[0][6] && d[1][8] == d[0][8], "its neighbours have theirs");
    for (i = 0, same = 1; i < 32; i++) {
        same &= q[1][64 + i] == 0 && q[1][128 + 32 + i] == 0;
    }
    ok(same, "and zeros");
    is_int(f8[1][64 + 5] & 0x7f, 0x7f, "a NaN is one in E4M3");

    dev_step_free(step);
    free(x);
}


static void
norm_refused(void)
{
    float     x = 0;
    cu_norm_t p = {.x = &x, .rows = 1, .cols = 64};

    p.cols = 63;
    is_int(cu_norm(CU_BF16, &p, NULL, NULL), -EINVAL, "odd columns");
    p.cols = 32770;
    is_int(cu_norm(CU_BF16, &p, NULL, NULL), -EINVAL, "too many columns");
    p.cols = 68;
    p.q = (int8_t *) &x;
    p.q_d = &x;
    is_int(cu_norm(CU_BF16, &p, NULL, NULL), -EINVAL, "blocks of a 68th");
    p.cols = 64;
    is_int(cu_norm(CU_F32, &p, NULL, NULL), -EINVAL, "activations in F32");
}


static void
embed_check(cu_type_t t, uint32_t cols, double scale, int scales)
{
    enum { VOCAB = 37, ROWS = 5, N = 4 };
    static const int32_t tokens[N] = {0, VOCAB - 1, 17, 17};

    int         good = 1;
    float      *x = dev_new(ROWS * cols * sizeof(float));
    double     *table = ref_random(VOCAB * cols, 1, &seed);
    double     *sc = ref_random(VOCAB, 1, &seed);
    double     *got = malloc(ROWS * cols * sizeof(double)), want;
    uint32_t    i, r;
    cu_step_t  *step;
    cu_matrix_t m = {.form = CU_W_PLAIN,
                     .type = t,
                     .rows = VOCAB,
                     .cols = cols,
                     .experts = 1};

    m.data = dev_typed(t, table, VOCAB * cols);
    m.scales = scales ? dev_typed(CU_F32, sc, VOCAB) : NULL;
    step = dev_step(&(dev_step_conf_t){.n_rows = N, .tokens = tokens});

    is_int(cu_embed(&m, step, x, ROWS, (float) scale, NULL), 0,
           "embed %s, %u columns", type_name[t], cols);
    dev_read(CU_F32, got, x, N * cols);
    for (r = 0; r < N; r++) {
        for (i = 0; i < cols; i++) {
            want = table[(uint32_t) tokens[r] * cols + i] * (float) scale
                   * (scales ? sc[tokens[r]] : 1);
            good &= ref_near(CU_F32, got[r * cols + i], want, 0);
        }
    }
    ok(good, "rows of the table");
    ok(ref_untouched(x, N * cols * sizeof(float), cols * sizeof(float)),
       "rows beyond the step's are left alone");

    dev_free(x);
    dev_free((void *) m.data);
    dev_free((void *) m.scales);
    dev_step_free(step);
    free(table);
    free(sc);
    free(got);
}


/* Rows of GGUF's blocks are those that cu_dequant() makes. */
static void
embed_blocks(cu_form_t form, uint32_t cols)
{
    enum { VOCAB = 9, N = 3 };
    static const int32_t tokens[N] = {8, 0, 5};

    int         good = 1;
    void       *mem, *plain = dev_new(VOCAB * cols * 2);
    float      *x = dev_new(N * cols * sizeof(float));
    double     *table = malloc(VOCAB * cols * sizeof(double));
    double     *got = malloc(N * cols * sizeof(double)), size = 0;
    uint32_t    i, r;
    cu_step_t  *step;
    cu_matrix_t m = {.form = form, .rows = VOCAB, .cols = cols, .experts = 1};

    mem = dev_new(cu_quant_layout(&m, NULL));
    cu_quant_layout(&m, mem);
    m.data = m.plane[0];
    is_int(cu_synthetic(&m, 3, 0.5f, NULL), 0, "blocks of form %d", form);
    is_int(cu_dequant(CU_BF16, &m, 0, VOCAB, plain, NULL), 0, "as BF16");
    dev_read(CU_BF16, table, plain, VOCAB * cols);

    step = dev_step(&(dev_step_conf_t){.n_rows = N, .tokens = tokens});
    is_int(cu_embed(&m, step, x, N, 1, NULL), 0, "embed them");
    dev_read(CU_F32, got, x, N * cols);
    for (r = 0; r < N; r++) {
        for (i = 0; i < cols; i++) {
            good &= ref_near(CU_BF16, table[(uint32_t) tokens[r] * cols + i],
                             got[r * cols + i], 0);
            size = fmax(size, fabs(got[r * cols + i]));
        }
    }
    ok(good && size > 0.1, "rows of the table");

    dev_free(mem);
    dev_free(plain);
    dev_free(x);
    dev_step_free(step);
    free(table);
    free(got);
}


/* Tokens that the step before has drawn. */
static void
embed_drawn(void)
{
    static const int32_t tokens[] = {-1, 2, -3, -2};
    static const int32_t drawn[] = {5, -1, 3};
    static const int     want[] = {5, 2, 3, 0};

    int         i;
    float      *x = dev_new(4 * 8 * sizeof(float));
    double      table[6 * 8], got[4 * 8];
    cu_step_t  *step;
    cu_matrix_t m = {.form = CU_W_PLAIN, .type = CU_BF16, .rows = 6, .cols = 8};

    for (i = 0; i < 6 * 8; i++) {
        table[i] = i;
    }
    m.data = dev_typed(CU_BF16, table, 6 * 8);
    step = dev_step(
        &(dev_step_conf_t){.n_rows = 4, .tokens = tokens, .drawn = drawn});

    is_int(cu_embed(&m, step, x, 4, 1, NULL), 0, "embed what was drawn");
    dev_read(CU_F32, got, x, 4 * 8);
    for (i = 0; i < 4; i++) {
        is_int(got[i * 8 + 7], want[i] * 8 + 7, "row %d is token %d", i,
               want[i]);
    }

    dev_free(x);
    dev_free((void *) m.data);
    dev_step_free(step);
}


/* what: 1 scales, 2 bias and cap, 3 all */
static void
cap_check(uint32_t n, uint32_t ld, int what)
{
    enum { ROWS = 4, N = 3 };

    int        good = 1, rest = 1;
    double    *l = ref_random(ROWS * ld, 20, &seed);
    double    *sr = ref_random(ROWS, 1, &seed), *sc = ref_random(n, 1, &seed);
    double    *bias = ref_random(n, 1, &seed), want;
    double    *got = malloc(ROWS * ld * sizeof(double));
    uint32_t   i, r;
    cu_cap_t   p = {.rows = ROWS, .n = n, .ld = ld, .scale = 0.5f};
    cu_step_t *step = dev_step(&(dev_step_conf_t){.n_rows = 9, .n_logits = N});

    p.l = dev_typed(CU_F32, l, ROWS * ld);
    p.scale_row = what & 1 ? dev_typed(CU_F32, sr, ROWS) : NULL;
    p.scale_col = what & 1 ? dev_typed(CU_F32, sc, n) : NULL;
    p.bias = what & 2 ? dev_typed(CU_F32, bias, n) : NULL;
    p.soft_cap = what & 2 ? 30 : 0;

    is_int(cu_cap(&p, step, NULL), 0, "cap %u of %u, %d", n, ld, what);
    dev_read(CU_F32, got, p.l, ROWS * ld);
    for (r = 0; r < ROWS; r++) {
        for (i = 0; i < ld; i++) {
            if (r >= N || i >= n) {
                rest &= got[r * ld + i] == l[r * ld + i];
                continue;
            }
            want = l[r * ld + i] * 0.5;
            if (what & 1) {
                want *= sr[r] * sc[i];
            }
            if (what & 2) {
                want = 30 * tanh((want + bias[i]) / 30);
            }
            good &= ref_near(CU_F32, got[r * ld + i], want, 2);
        }
    }
    ok(good, "logits");
    ok(rest, "what is beyond them is left alone");

    dev_free(p.l);
    dev_free((void *) p.scale_row);
    dev_free((void *) p.scale_col);
    dev_free((void *) p.bias);
    dev_step_free(step);
    free(l);
    free(sr);
    free(sc);
    free(bias);
    free(got);
}
