/*
 * cu_quant_gemv(): block weights times int8 activations against the same
 * arithmetic in double; and against the CPU backend, which does the same in
 * F32.
 */

#include "t/cuda/quant_ref.h"

#include "kernels/cpu/gemm.h"

static const k_type_t forms[] = {K_Q8_0,  K_Q4_0,   K_Q4_1,   K_Q5_0,
                                 K_Q5_1,  K_Q4_K,   K_Q5_K,   K_Q6_K,
                                 K_MXFP4, K_IQ4_NL, K_IQ4_XS, K_Q3_K};

#define N_FORMS (sizeof(forms) / sizeof(forms[0]))

typedef struct {
    cu_type_t t;
    cu_type_t y;
    uint32_t  rows; /* of the bucket */
    uint32_t  live; /* the step's */
    int       add;
    int       bias;
    int       logits;
    uint32_t  gap; /* y_ld - n */
} conf_t;

/* X: rows of int8 blocks. */
typedef struct {
    uint32_t rows;
    uint32_t cols;
    int8_t  *q;
    float   *d; /* [rows][cols / 32][2] */
    int8_t  *dev_q;
    float   *dev_d;
} x_t;

typedef struct {
    uint32_t  experts;
    uint32_t  n; /* outputs of each */
    uint32_t  rows;
    uint32_t  n_used;
    uint32_t  x_div;
    uint32_t  missing; /* rows that are not routed */
    cu_type_t y;
    int       bias;
} moe_t;

static uint32_t rng = 7;


static void   x_new(x_t *x, uint32_t rows, uint32_t cols);
static void   x_free(x_t *x);
static double product(const quant_t *w, uint32_t o, const x_t *x, uint32_t row,
                      double *size);
static double tolerance(double size, double want, cu_type_t y);
static void   test_gemv(const quant_t *w, const conf_t *c);
static void   test_forms(void);
static void   test_long(void);
static void   test_cpu(void);
static void   test_moe(k_type_t type, const moe_t *c);
static void   test_refused(void);


int
main(void)
{
    size_t i, j;

    static const moe_t moe[] = {
        {5, 13, 3, 2, 2, 0, CU_F32, 1},  /* gate or up: X by row */
        {5, 13, 3, 2, 1, 0, CU_BF16, 0}, /* down: X by slot */
        {6, 8, 1, 4, 4, 0, CU_BF16, 1},  /* one row */
        {3, 33, 8, 2, 1, 3, CU_F32, 1},  /* crowded; slots left out */
        {40, 4, 7, 1, 1, 0, CU_F32, 0},
    };

    test_forms();
    test_long();
    test_cpu();

    for (i = 0; i < sizeof(moe) / sizeof(moe[0]); i++) {
        for (j = 0; j < N_FORMS; j++) {
            if (i < 2 || j == i || forms[j] == K_MXFP4) {
                test_moe(forms[j], &moe[i]);
            }
        }
    }

    test_refused();

    return tap_done();
}


static void
x_new(x_t *x, uint32_t rows, uint32_t cols)
{
    int      sum;
    size_t   i, j, n = (size_t) rows * cols;
    uint32_t r;

    x->rows = rows;
    x->cols = cols;
    x->q = malloc(n);
    x->d = malloc(n / 16 * sizeof(float));

    for (i = 0; i < n / 32; i++) {
        sum = 0;

        for (j = 0; j < 32; j++) {
            /* all ends, or anything, or nothing */
            r = test_rand(&rng);
            x->q[i * 32 + j] = (int8_t) (i % 7 == 1   ? (r & 1 ? 127 : -127)
                                         : i % 7 == 2 ? 127
                                         : i % 7 == 3 ? 0
                                                      : (int) (r % 255) - 127);
            sum += x->q[i * 32 + j];
        }

        x->d[2 * i] = (float) (test_rand(&rng) % 1000 + 1) / 4096.0f;
        x->d[2 * i + 1] = x->d[2 * i] * (float) sum;
    }

    x->dev_q = dev_of(x->q, n);
    x->dev_d = dev_of(x->d, n / 16 * sizeof(float));
}


static void
x_free(x_t *x)
{
    free(x->q);
    free(x->d);
    dev_free(x->dev_q);
    dev_free(x->dev_d);
}


/* *size: the sum of what is added, without signs. */

static double
product(const quant_t *w, uint32_t o, const x_t *x, uint32_t row, double *size)
{
    double   sum, v;
    size_t   at;
    uint32_t k;

    sum = 0;
    *size = 0;
    at = (size_t) row * x->cols;

    for (k = 0; k < x->cols; k++) {
        v = w->w[(size_t) o * w->cols + k] * x->q[at + k]
            * x->d[(at + k) / 32 * 2];
        sum += v;
        *size += fabs(v);
    }

    return sum;
}


/* Of sums in F32, and of y's rounding. */

static double
tolerance(double size, double want, cu_type_t y)
{
    static const double unit[] = {0, 0x1p-11, 0x1p-8, 0};

    return 2e-6 * size + unit[y] * fabs(want) + 1e-7;
}


static void
test_gemv(const quant_t *w, const conf_t *c)
{
    x_t             x;
    void           *dev_y, *dev_b;
    double         *y, *b, *got, want, size;
    size_t          i, n, bad;
    uint32_t        m, o, ld;
    cu_mul_t        p;
    cu_step_t      *step;
    dev_step_conf_t sc;

    x_new(&x, c->rows, w->cols);
    ld = w->rows + c->gap;
    n = (size_t) c->rows * ld;
    y = malloc(n * sizeof(double));
    got = malloc(n * sizeof(double));
    b = malloc(w->rows * sizeof(double));

    for (i = 0; i < n; i++) {
        y[i] = test_normal(&rng) * 10;
    }

    for (i = 0; i < w->rows; i++) {
        b[i] = c->bias ? test_normal(&rng) * 10 : 0;
    }

    dev_y = c->add ? dev_typed(c->y, y, n) : dev_new(n * dev_type_size(c->y));
    dev_b = dev_typed(CU_F32, b, w->rows);
    memset(&sc, 0, sizeof(sc));
    sc.n_rows = c->logits ? 0 : c->live;
    sc.n_logits = c->logits ? c->live : 0;
    step = dev_step(&sc);

    memset(&p, 0, sizeof(p));
    p.w = &w->m;
    p.q = x.dev_q;
    p.q_d = x.dev_d;
    p.bias = c->bias ? dev_b : NULL;
    p.y = dev_y;
    p.y_type = c->y;
    p.add = c->add;
    p.y_ld = ld;
    p.rows = c->rows;
    p.logits = c->logits;
    is_int(cu_quant_gemv(c->t, &p, step, NULL), 0, "cu_quant_gemv()");
    dev_read(c->y, got, dev_y, n);
    bad = 0;

    for (m = 0; m < c->rows; m++) {
        for (o = 0; o < ld; o++) {
            i = (size_t) m * ld + o;

            if (o >= w->rows || m >= c->live) {
                /* not touched; rows beyond the step's may hold anything */
                bad +=
                    o >= w->rows && (c->add ? got[i] != y[i] : !isnan(got[i]));
                continue;
            }

            want = product(w, o, &x, m, &size) + b[o] + (c->add ? y[i] : 0);

            if (!(fabs(got[i] - want) <= tolerance(size, want, c->y))) {
                if (bad++ == 0) {
                    diag("row %u, output %u: %.9g, want %.9g +- %g", m, o,
                         got[i], want, tolerance(size, want, c->y));
                }
            }
        }
    }

    is_int(bad, 0, "%s [%u][%u], %u of %u rows, y %d%s%s%s", w->type->name,
           w->rows, w->cols, c->live, c->rows, (int) c->y,
           c->add ? ", added" : "", c->bias ? ", bias" : "",
           c->logits ? ", logits" : "");

    dev_step_free(step);
    dev_free(dev_y);
    dev_free(dev_b);
    free(y);
    free(got);
    free(b);
    x_free(&x);
}


/* Every form at every number of rows, shapes and what is done with y. */

static void
test_forms(void)
{
    size_t   i;
    conf_t   c;
    quant_t  w;
    uint32_t rows, k;

    static const uint32_t outputs[] = {1, 3, 64, 67, 30, 5, 12, 130};
    static const uint32_t cols[] = {256, 512, 2304, 768, 1280, 1024, 256, 512};

    for (i = 0; i < N_FORMS; i++) {
        for (rows = 1; rows <= 8; rows++) {
            k = (rows - 1 + (uint32_t) i) % 8;
            quant_new(&w, forms[i], outputs[k], cols[k], 0);

            memset(&c, 0, sizeof(c));
            c.rows = rows;
            c.live = rows;
            c.t = rows % 2 ? CU_BF16 : CU_F16;
            c.y = CU_F32;
            c.add = 1;
            c.bias = (int) rows % 2;
            c.gap = rows % 3;
            test_gemv(&w, &c);

            c.y = c.t;
            c.add = 0;
            c.bias = !c.bias;
            test_gemv(&w, &c);

            if (i == rows) {
                /* fewer logits than the bucket has; none at all */
                c.y = CU_F32;
                c.logits = 1;
                c.live = rows - 1;
                test_gemv(&w, &c);
                c.live = 0;
                test_gemv(&w, &c);
            }

            quant_free(&w);
        }
    }
}


/* More tasks than are at work at once; columns by one block of 32. */

static void
test_long(void)
{
    conf_t  c;
    quant_t w;

    memset(&c, 0, sizeof(c));
    c.t = CU_BF16;
    c.y = CU_F32;
    c.rows = 1;
    c.live = 1;
    quant_new(&w, K_Q4_0, 11003, 32, 0);
    test_gemv(&w, &c);
    quant_free(&w);

    c.rows = 2;
    c.live = 2;
    quant_new(&w, K_Q8_0, 9000, 64, 0);
    test_gemv(&w, &c);
    quant_free(&w);

    quant_new(&w, K_Q5_1, 2, 32 * 33, 0);
    test_gemv(&w, &c);
    quant_free(&w);

    /* long rows: many runs of a warp, and an odd number of them */
    c.rows = 1;
    c.live = 1;
    quant_new(&w, K_Q6_K, 6, 256 * 57, 0);
    test_gemv(&w, &c);
    quant_free(&w);
}


/* The same activations into the CPU backend: F32 against F32. */

static void
test_cpu(void)
{
    void      *mem, *act, *dev_y;
    float     *x, *y, *got, worst, d;
    x_t        dx;
    quant_t    w;
    size_t     i, j, k;
    cu_mul_t   p;
    k_act_t    a;
    k_q8_t    *q;
    cu_step_t *step;
    k_matrix_t m;

    const uint32_t  rows = 4, cols = 1024, n = 40;
    dev_step_conf_t sc;

    memset(&sc, 0, sizeof(sc));
    sc.n_rows = rows;
    step = dev_step(&sc);
    x = malloc((size_t) rows * cols * sizeof(float));
    y = malloc((size_t) rows * n * sizeof(float));
    got = malloc((size_t) rows * n * sizeof(float));
    act = t_alloc(k_act_size(rows, cols));

    for (i = 0; i < N_FORMS; i++) {
        quant_new(&w, forms[i], n, cols, 0);
        x_new(&dx, rows, cols);

        for (j = 0; j < (size_t) rows * cols; j++) {
            x[j] = (float) test_normal(&rng);
        }

        mem = t_alloc((size_t) k_matrix_size(forms[i], K_ISA_SCALAR, n, cols));
        k_matrix_init(&m, forms[i], K_ISA_SCALAR, n, cols, mem);
        k_matrix_pack(&m, w.src, 0, n);
        k_act_init(&a, K_ACT_INT8, act, rows, cols, x, cols);
        k_act_quantize(&a, K_ISA_SCALAR, 0, rows);
        k_gemm(&m, &a, 0, rows, 0, n, y, n, NULL, 0);

        for (j = 0; j < rows; j++) {
            for (k = 0; k < cols / 32; k++) {
                q = k_act_at(&a, (uint32_t) j, (uint32_t) k);
                memcpy(dx.q + j * cols + k * 32, q->q, 32);
                dx.d[(j * cols / 32 + k) * 2] = q->d;
                dx.d[(j * cols / 32 + k) * 2 + 1] = q->dsum;
            }
        }

        dev_put(dx.dev_q, dx.q, (size_t) rows * cols);
        dev_put(dx.dev_d, dx.d, (size_t) rows * cols / 16 * sizeof(float));
        dev_y = dev_new((size_t) rows * n * sizeof(float));

        memset(&p, 0, sizeof(p));
        p.w = &w.m;
        p.q = dx.dev_q;
        p.q_d = dx.dev_d;
        p.y = dev_y;
        p.y_type = CU_F32;
        p.y_ld = n;
        p.rows = rows;
        cu_quant_gemv(CU_BF16, &p, step, NULL);
        dev_get(got, dev_y, (size_t) rows * n * sizeof(float));

        worst = 0;
        d = 0;
        for (j = 0; j < (size_t) rows * n; j++) {
            d = fabsf(y[j]) > d ? fabsf(y[j]) : d;
            worst = fabsf(y[j] - got[j]) > worst ? fabsf(y[j] - got[j]) : worst;
        }

        ok(worst <= d * 2e-6f, "%s: as on the CPU: %g apart of %g",
           w.type->name, worst, d);
        dev_free(dev_y);
        x_free(&dx);
        quant_free(&w);
        free(mem);
    }

    free(x);
    free(y);
    free(got);
    free(act);
    dev_step_free(step);
}


static void
test_moe(k_type_t type, const moe_t *c)
{
    x_t             x;
    void           *dev_y, *dev_b, *dev_s, *dev_f;
    double         *b, *got, want, size;
    size_t          bad;
    quant_t         w;
    uint32_t        i, j, e, n_slots, at, slot, o, cols;
    uint32_t        ids[64], slots[64], first[65];
    cu_mul_t        p;
    cu_step_t      *step;
    dev_step_conf_t sc;

    cols = 512;
    n_slots = c->rows * c->n_used;
    quant_new(&w, type, c->experts * c->n, cols, c->experts);
    x_new(&x, n_slots / c->x_div, cols);
    b = malloc(w.rows * sizeof(double));
    got = malloc((size_t) n_slots * (c->n + 1) * sizeof(double));

    for (i = 0; i < w.rows; i++) {
        b[i] = c->bias ? test_normal(&rng) * 10 : 0;
    }

    /* different experts of a row; sorted by expert, rows rising */
    for (i = 0; i < c->rows; i++) {
        at = test_rand(&rng) % c->experts;
        for (j = 0; j < c->n_used; j++) {
            ids[i * c->n_used + j] = (at + j) % c->experts;
        }
    }

    memset(slots, 0xff, sizeof(slots));
    at = 0;
    for (e = 0; e < c->experts; e++) {
        first[e] = at;
        for (i = 0; i < n_slots - c->missing * c->n_used; i++) {
            if (ids[i] == e) {
                slots[at++] = i;
            }
        }
    }
    first[e] = at;

    dev_s = dev_of(slots, n_slots * sizeof(*slots));
    dev_f = dev_of(first, (c->experts + 1) * sizeof(*first));
    dev_b = dev_typed(CU_F32, b, w.rows);
    dev_y = dev_new((size_t) n_slots * (c->n + 1) * dev_type_size(c->y));
    memset(&sc, 0, sizeof(sc));
    sc.n_rows = c->rows - c->missing;
    step = dev_step(&sc);

    memset(&p, 0, sizeof(p));
    p.w = &w.m;
    p.q = x.dev_q;
    p.q_d = x.dev_d;
    p.bias = c->bias ? dev_b : NULL;
    p.y = dev_y;
    p.y_type = c->y;
    p.y_ld = c->n + 1;
    p.rows = c->rows;
    p.slots = dev_s;
    p.first = dev_f;
    p.n_slots = n_slots;
    p.x_div = c->x_div;
    is_int(cu_quant_gemv(CU_BF16, &p, step, NULL), 0, "experts");
    dev_read(c->y, got, dev_y, (size_t) n_slots * (c->n + 1));
    bad = 0;

    for (slot = 0; slot < n_slots; slot++) {
        for (o = 0; o <= c->n; o++) {
            at = slot * (c->n + 1) + o;

            if (o == c->n || slot / c->n_used >= c->rows - c->missing) {
                bad += !isnan(got[at]);
                continue;
            }

            i = ids[slot] * c->n + o;
            want = product(&w, i, &x, slot / c->x_div, &size) + b[i];

            if (!(fabs(got[at] - want) <= tolerance(size, want, c->y))) {
                if (bad++ == 0) {
                    diag("slot %u, output %u: %.9g, want %.9g", slot, o,
                         got[at], want);
                }
            }
        }
    }

    is_int(bad, 0, "%s: %u experts of %u, %u rows of %u, x_div %u",
           w.type->name, c->experts, c->n, c->rows, c->n_used, c->x_div);

    dev_step_free(step);
    dev_free(dev_y);
    dev_free(dev_b);
    dev_free(dev_s);
    dev_free(dev_f);
    free(got);
    free(b);
    x_free(&x);
    quant_free(&w);
}


static void
test_refused(void)
{
    x_t       x;
    float    *y;
    quant_t   w;
    cu_mul_t  p, bad;
    uint32_t *slots;

    quant_new(&w, K_Q4_K, 8, 256, 0);
    x_new(&x, 8, 256);
    y = dev_new(8 * 8 * 4);
    slots = dev_new(64);
    memset(&p, 0, sizeof(p));
    p.w = &w.m;
    p.q = x.dev_q;
    p.q_d = x.dev_d;
    p.y = y;
    p.y_type = CU_F32;
    p.y_ld = 8;
    p.rows = 8;

#define REFUSED(what, change)                                                  \
    do {                                                                       \
        bad = p;                                                               \
        change;                                                                \
        is_int(cu_quant_gemv(CU_BF16, &bad, NULL, NULL), -EINVAL, what);       \
    } while (0)

    REFUSED("nine rows", bad.rows = 9);
    REFUSED("no rows", bad.rows = 0);
    REFUSED("no int8", bad.q = NULL);
    REFUSED("no scales", bad.q_d = NULL);
    REFUSED("not aligned", bad.q = x.dev_q + 8);
    REFUSED("y of another type", bad.y_type = CU_F16);
    REFUSED("added to BF16", bad.y_type = CU_BF16; bad.add = 1);
    REFUSED("slots without experts", bad.slots = slots; bad.first = slots;
            bad.n_slots = 1; bad.x_div = 1);
    w.m.form = CU_W_PLAIN;
    REFUSED("plain weights", bad.w = &w.m);
    w.m.form = CU_W_Q4_K;

    dev_free(y);
    dev_free(slots);
    x_free(&x);
    quant_free(&w);
}
