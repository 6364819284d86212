/*
 * cu_mma() against sums in double: each form of weights, any number of rows,
 * odd shapes, experts with no slots, some, and all of them.
 */

#include "t/cuda/quant_ref.h"

#include "t/cuda/mul_ref.h"

typedef struct {
    k_type_t  type; /* K_F8_E4M3 too */
    uint32_t  experts;
    uint32_t  n; /* outputs of each */
    uint32_t  cols;
    uint32_t  rows;
    uint32_t  live;
    uint32_t  used;
    int       gate; /* X by rows, else by slots */
    int       one;  /* all slots in the last expert but one */
    int       bias;
    cu_type_t y;
} experts_t;

static const k_type_t blocks[] = {K_Q8_0,  K_Q4_0,   K_Q4_1,   K_Q5_0,
                                  K_Q5_1,  K_Q4_K,   K_Q5_K,   K_Q6_K,
                                  K_MXFP4, K_IQ4_NL, K_IQ4_XS, K_Q3_K};

#define N_BLOCKS (sizeof(blocks) / sizeof(blocks[0]))

static void test_plain(const mul_conf_t *c);
static void test_types(void);
static void test_shapes(void);
static void test_block(k_type_t type, const mul_conf_t *c);
static void test_blocks(void);
static void test_experts(cu_type_t t, const experts_t *c);
static void test_refused(void);


int
main(void)
{
    size_t i;

    static const experts_t experts[] = {
        {K_BF16, 5, 24, 72, 7, 7, 2, 1, 0, 1, CU_BF16},
        {K_F16, 4, 16, 40, 3, 2, 3, 0, 0, 0, CU_F32},
        {K_F8_E4M3, 3, 33, 64, 20, 20, 2, 0, 1, 1, CU_F32},
        {K_F32, 70, 9, 36, 9, 9, 5, 1, 0, 0, CU_F32},
        {K_BF16, 2, 7, 31, 40, 33, 2, 1, 0, 1, CU_F32},
        {K_Q4_K, 6, 40, 256, 1, 1, 4, 1, 0, 0, CU_F32},
        {K_MXFP4, 8, 32, 96, 50, 50, 4, 0, 0, 1, CU_F32},
        {K_Q8_0, 3, 18, 32, 90, 71, 2, 1, 1, 1, CU_F32},
        {K_Q6_K, 300, 2, 256, 11, 11, 4, 0, 0, 0, CU_F32},
        {K_Q5_1, 4, 150, 320, 2, 0, 2, 1, 0, 0, CU_F32},
    };

    test_types();
    test_shapes();
    test_blocks();
    for (i = 0; i < sizeof(experts) / sizeof(experts[0]); i++) {
        test_experts(i % 2 ? CU_F16 : CU_BF16, &experts[i]);
    }
    test_refused();

    return tap_done();
}


static void
test_plain(const mul_conf_t *c)
{
    int    rc;
    mul_t  m;
    double e = 1e30;

    mul_new(&m, c, c->n * 31 + c->cols * 7 + c->rows, NULL, NULL);
    rc = cu_mma(c->t, &m.p, m.step, NULL);
    if (rc == 0) {
        e = mul_check(&m);
    }
    ok(rc == 0 && e <= 1,
       "%s x %s, %u x %u, %u of %u rows to %s%s%s%s: error %.2g",
       mul_name(c->t), mul_name(c->w), c->n, c->cols, c->live, c->rows,
       mul_name(c->y), c->add ? ", added" : "", c->bias ? ", bias" : "",
       c->scales ? ", scales" : "", e);
    mul_free(&m);
}


static void
test_types(void)
{
    size_t     i;
    cu_type_t  w;
    mul_conf_t c;

    static const uint32_t rows[] = {1, 8, 9, 16, 17, 40, 64, 65, 130};

    for (w = CU_F32; w <= CU_F8; w++) {
        for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            memset(&c, 0, sizeof(c));
            c.t = (i + w) % 2 ? CU_F16 : CU_BF16;
            c.w = w;
            c.n = 19 + (i % 3) * 16;
            c.cols = i % 2 ? 304 : 48;
            c.rows = c.live = rows[i];
            c.y = CU_F32;
            c.scales = c.w == CU_F8 && i != 4;
            c.add = i % 3 == 0;
            c.bias = i % 2;
            c.gap = i % 3;
            test_plain(&c);

            c.t = c.t == CU_F16 ? CU_BF16 : CU_F16;
            c.y = c.t;
            c.add = 0;
            c.rows = c.live = rows[i] > 64 ? 5 : rows[i];
            test_plain(&c);
        }
    }
}


static void
test_shapes(void)
{
    size_t i;

    static const mul_conf_t confs[] = {
        {CU_BF16, CU_BF16, 1, 1, 1, 1, 0, CU_F32, 0, 0, 0, 0, 0},
        {CU_F16, CU_F16, 3, 31, 9, 9, 0, CU_F16, 0, 1, 0, 1, 0},
        {CU_F16, CU_F8, 17, 100, 3, 3, 0, CU_F32, 1, 0, 1, 0, 0},
        {CU_BF16, CU_F8, 17, 48, 20, 20, 0, CU_F32, 1, 0, 1, 0, 0},
        {CU_BF16, CU_F32, 9, 44, 17, 17, 0, CU_F32, 0, 1, 0, 0, 0},
        {CU_BF16, CU_F32, 9, 43, 17, 17, 0, CU_F32, 0, 1, 0, 0, 0},
        {CU_BF16, CU_BF16, 11, 64, 4, 4, 0, CU_F32, 0, 0, 0, 0, 3},
        /* Each number of warps that share outputs. */
        {CU_BF16, CU_BF16, 2500, 40, 2, 2, 0, CU_F32, 0, 0, 0, 0, 0},
        {CU_BF16, CU_BF16, 5000, 16, 2, 2, 0, CU_BF16, 0, 1, 0, 0, 0},
        {CU_F16, CU_F16, 14900, 8, 12, 12, 0, CU_F32, 0, 0, 0, 0, 0},
        {CU_BF16, CU_F8, 15000, 16, 17, 17, 0, CU_BF16, 0, 1, 1, 0, 0},
        {CU_BF16, CU_F8, 29500, 16, 17, 17, 0, CU_F32, 0, 0, 1, 0, 0},
        /* More steps than stages. */
        {CU_BF16, CU_BF16, 20, 4096, 7, 7, 0, CU_F32, 1, 0, 0, 0, 0},
        {CU_F16, CU_F8, 40, 3000, 33, 33, 0, CU_F32, 0, 0, 1, 0, 0},
        {CU_F16, CU_F8, 40, 3008, 33, 33, 0, CU_F32, 0, 0, 1, 0, 0},
        /* Fewer rows in the step than in the bucket. */
        {CU_BF16, CU_BF16, 50, 256, 16, 1, 0, CU_F32, 1, 0, 0, 0, 0},
        {CU_BF16, CU_BF16, 50, 256, 200, 70, 1, CU_F32, 0, 0, 0, 6, 0},
        {CU_F16, CU_F16, 50, 256, 200, 0, 1, CU_F32, 0, 0, 0, 6, 0},
    };

    for (i = 0; i < sizeof(confs) / sizeof(confs[0]); i++) {
        test_plain(&confs[i]);
    }
}


static void
test_block(k_type_t type, const mul_conf_t *c)
{
    int     rc;
    mul_t   m;
    double  e = 1e30;
    quant_t q;

    quant_new(&q, type, c->n, c->cols, 0);
    mul_new(&m, c, c->n * 31 + c->cols * 7 + c->rows, &q.m, q.w);
    rc = cu_mma(c->t, &m.p, m.step, NULL);
    if (rc == 0) {
        e = mul_check(&m);
    }
    ok(rc == 0 && e <= 1, "%s x %s, %u x %u, %u of %u rows to %s: error %.2g",
       mul_name(c->t), q.type->name, c->n, c->cols, c->live, c->rows,
       mul_name(c->y), e);
    mul_free(&m);
    quant_free(&q);
}


static void
test_blocks(void)
{
    size_t     i, j;
    mul_conf_t c;

    static const uint32_t rows[] = {1, 11, 16, 17, 64, 70};

    for (i = 0; i < N_BLOCKS; i++) {
        for (j = 0; j < sizeof(rows) / sizeof(rows[0]); j++) {
            memset(&c, 0, sizeof(c));
            c.t = (i + j) % 2 ? CU_F16 : CU_BF16;
            c.n = j % 2 ? 40 : 21;
            c.cols = quant_type(blocks[i])->block == 256 ? 512 : 352;
            c.rows = c.live = rows[j];
            c.y = j % 3 ? CU_F32 : c.t;
            c.add = j == 1;
            c.bias = j % 2;
            test_block(blocks[i], &c);
        }

        /* Many steps; many outputs. */
        c.n = 9;
        c.cols = 2304 + (blocks[i] == K_MXFP4) * 32;
        c.rows = c.live = 13;
        c.y = CU_F32;
        test_block(blocks[i], &c);
    }

    c.n = 4700;
    c.cols = 256;
    c.rows = c.live = 2;
    test_block(K_Q4_K, &c);
    test_block(K_MXFP4, &c);
}


static void
test_experts(cu_type_t t, const experts_t *c)
{
    int             rc;
    size_t          i, k, all = (size_t) c->experts * c->n;
    double         *x, *w, *got, *b, *s = NULL, want, abs, e, worst = 0;
    quant_t         q;
    uint32_t        slots = c->rows * c->used, r, o, *ids, *sorted, *first, at;
    uint32_t        rng = c->n, x_rows = c->gate ? c->rows : slots;
    cu_mul_t        p;
    cu_step_t      *step;
    cu_matrix_t     m;
    dev_step_conf_t conf;
    cu_type_t       types[] = {
              [K_F32] = CU_F32, [K_F16] = CU_F16, [K_BF16] = CU_BF16};

    memset(&m, 0, sizeof(m));
    memset(&q, 0, sizeof(q));
    memset(&p, 0, sizeof(p));

    if (c->type == K_F8_E4M3 || c->type < K_Q4_0 || c->type == K_BF16) {
        m.form = CU_W_PLAIN;
        m.type = c->type == K_F8_E4M3 ? CU_F8 : types[c->type];
        m.rows = (uint32_t) all;
        m.cols = c->cols;
        m.experts = c->experts;
        m.data = mul_random(m.type, &w, all * c->cols, 0, 1, &rng);
        if (m.type == CU_F8) {
            m.scales = mul_random(CU_F32, &s, all, 0, 1, &rng);
        }
    } else {
        quant_new(&q, c->type, (uint32_t) all, c->cols, c->experts);
        m = q.m;
        w = q.w;
    }

    /* Slots of live rows, as cu_moe_route() leaves them. */
    ids = malloc(slots * sizeof(uint32_t));
    sorted = malloc(slots * sizeof(uint32_t));
    first = malloc((c->experts + 1) * sizeof(uint32_t));
    memset(sorted, 0xff, slots * sizeof(uint32_t));
    for (i = 0; i < slots; i++) {
        ids[i] = c->one ? c->experts - 2 : test_rand(&rng) % c->experts;
    }
    at = 0;
    for (r = 0; r < c->experts; r++) {
        first[r] = at;
        for (i = 0; i < (size_t) c->live * c->used; i++) {
            if (ids[i] == r) {
                sorted[at++] = (uint32_t) i;
            }
        }
    }
    first[c->experts] = at;

    p.w = &m;
    p.x = mul_random(t, &x, (size_t) x_rows * c->cols, 0, 1, &rng);
    b = calloc(all, sizeof(double));
    if (c->bias) {
        free(b);
        p.bias = mul_random(CU_F32, &b, all, 0, 1, &rng);
    }
    p.y_type = c->y == CU_F32 ? CU_F32 : t;
    p.y_ld = c->n;
    p.y = dev_new((size_t) slots * c->n * dev_type_size(p.y_type));
    p.rows = slots;
    p.n_slots = slots;
    p.slots = dev_of(sorted, slots * sizeof(uint32_t));
    p.first = dev_of(first, (c->experts + 1) * sizeof(uint32_t));
    p.x_div = c->gate ? c->used : 1;
    memset(&conf, 0, sizeof(conf));
    conf.n_rows = c->live;
    step = dev_step(&conf);

    rc = cu_mma(t, &p, step, NULL);

    got = t_alloc((size_t) slots * c->n * sizeof(double));
    dev_read(p.y_type, got, p.y, (size_t) slots * c->n);
    for (i = 0; i < (size_t) slots * c->n; i++) {
        r = (uint32_t) (i / c->n);
        if (r >= c->live * c->used) {
            worst = isnan(got[i]) ? worst : 1e30;
            continue;
        }
        o = ids[r] * c->n + (uint32_t) (i % c->n);
        want = abs = 0;
        for (k = 0; k < c->cols; k++) {
            e = w[o * c->cols + k] * x[r / p.x_div * c->cols + k];
            want += e;
            abs += fabs(e);
        }
        if (s != NULL) {
            want *= s[o];
            abs *= fabs(s[o]);
        }
        e = mul_error(p.y_type, got[i], want + b[o], abs + fabs(b[o]));
        worst = e > worst ? e : worst;
    }
    ok(rc == 0 && worst <= 1,
       "%s x type %d, %u experts of %u x %u, %u of %u rows by %u%s: error %.2g",
       mul_name(t), (int) c->type, c->experts, c->n, c->cols, c->live, c->rows,
       c->used, c->one ? ", all in one" : "", worst);

    if (q.mem != NULL) {
        quant_free(&q);
    } else {
        dev_free((void *) m.data);
        dev_free((void *) m.scales);
        free(w);
    }
    dev_free((void *) p.x);
    dev_free((void *) p.bias);
    dev_free(p.y);
    dev_free((void *) p.slots);
    dev_free((void *) p.first);
    dev_step_free(step);
    free(x);
    free(b);
    free(s);
    free(ids);
    free(sorted);
    free(first);
    free(got);
}


static void
test_refused(void)
{
    mul_t      m;
    cu_mul_t   p;
    uint32_t   words[4] = {0};
    mul_conf_t c = {CU_BF16, CU_BF16, 8, 64, 8, 8, 0, CU_F32, 0, 0, 0, 0, 0};

    mul_new(&m, &c, 1, NULL, NULL);

    p = m.p;
    p.rows = 0;
    is_int(cu_mma(CU_BF16, &p, m.step, NULL), -EINVAL, "no rows");
    p = m.p;
    p.y_type = CU_F16;
    is_int(cu_mma(CU_BF16, &p, m.step, NULL), -EINVAL, "Y of the other type");
    p = m.p;
    p.slots = words;
    p.n_slots = 1;
    p.x_div = 1;
    is_int(cu_mma(CU_BF16, &p, m.step, NULL), -EINVAL, "slots, no experts");
    p = m.p;
    m.m.form = CU_W_Q4_K;
    is_int(cu_mma(CU_BF16, &p, m.step, NULL), -EINVAL, "columns of no block");

    mul_free(&m);
}
