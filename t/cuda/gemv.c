/*
 * cu_gemv() against sums in double: all types of weights and activations, 1 to
 * 8 rows, odd shapes, each form of Y; and that a row's numbers do not depend
 * on the other rows.
 */

#include <errno.h>

#include "t/cuda/mul_ref.h"

#define T(w)                                                                   \
    {CU_BF16, w},                                                              \
    {                                                                          \
        CU_F16, w                                                              \
    }

static void test_shape(const mul_conf_t *c);
static void test_shapes(void);
static void test_types(void);
static void test_alone(cu_type_t t, cu_type_t w, uint32_t n, uint32_t cols);
static void test_none(void);
static void test_refused(void);


int
main(void)
{
    test_types();
    test_shapes();
    test_alone(CU_BF16, CU_BF16, 70, 512);
    test_alone(CU_F16, CU_F16, 33, 1024);
    test_alone(CU_F16, CU_F32, 16, 640);
    test_alone(CU_BF16, CU_F8, 21, 1024);
    test_none();
    test_refused();

    return tap_done();
}


static void
test_shape(const mul_conf_t *c)
{
    int    rc;
    mul_t  m;
    double e = 1e30;

    mul_new(&m, c, c->n * 31 + c->cols * 7 + c->rows, NULL, NULL);
    rc = cu_gemv(c->t, &m.p, m.step, NULL);
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


/* Each pair of types, each number of rows, each form of Y. */
static void
test_types(void)
{
    size_t     i;
    uint32_t   rows;
    mul_conf_t c;

    static const cu_type_t types[][2] = {T(CU_F32), T(CU_F16), T(CU_BF16),
                                         T(CU_F8)};

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        for (rows = 1; rows <= CU_GEMV_ROWS; rows++) {
            memset(&c, 0, sizeof(c));
            c.t = types[i][0];
            c.w = types[i][1];
            c.n = 19;
            c.cols = rows % 2 ? 544 : 160;
            c.rows = rows;
            c.live = rows;
            c.y = CU_F32;
            c.scales = c.w == CU_F8 && rows != 4;
            c.add = rows % 3 == 0;
            c.bias = rows % 2;
            c.gap = rows % 3;
            test_shape(&c);

            c.y = c.t;
            c.add = 0;
            c.bias = !c.bias;
            test_shape(&c);
        }
    }
}


static void
test_shapes(void)
{
    size_t i;

    static const mul_conf_t confs[] = {
        /* One output, one column; columns that are no 16 bytes. */
        {CU_BF16, CU_BF16, 1, 1, 1, 1, 0, CU_F32, 0, 0, 0, 0, 0},
        {CU_BF16, CU_BF16, 1, 8, 1, 1, 0, CU_F32, 0, 0, 0, 0, 0},
        {CU_F16, CU_F16, 5, 37, 3, 3, 0, CU_F16, 0, 1, 0, 2, 0},
        {CU_BF16, CU_F8, 9, 24, 2, 2, 0, CU_F32, 1, 0, 1, 0, 0},
        {CU_F16, CU_F32, 3, 6, 8, 8, 0, CU_F32, 0, 1, 0, 0, 0},
        {CU_BF16, CU_BF16, 17, 301, 8, 8, 0, CU_BF16, 0, 1, 0, 0, 0},
        /* Not on 16 bytes. */
        {CU_BF16, CU_BF16, 11, 64, 4, 4, 0, CU_F32, 0, 0, 0, 0, 3},
        {CU_F16, CU_F8, 11, 64, 5, 5, 0, CU_F32, 0, 0, 1, 0, 1},
        /* Warps that share: by 2, 4 and 8, with and without a rest. */
        {CU_BF16, CU_BF16, 40, 2048, 1, 1, 0, CU_F32, 1, 1, 0, 0, 0},
        {CU_BF16, CU_BF16, 38, 4096, 2, 2, 0, CU_F32, 0, 0, 0, 0, 0},
        {CU_BF16, CU_BF16, 37, 8200, 1, 1, 0, CU_BF16, 0, 1, 0, 0, 0},
        {CU_F16, CU_F16, 35, 9224, 3, 3, 0, CU_F32, 1, 0, 0, 1, 0},
        {CU_F16, CU_F8, 34, 16400, 1, 1, 0, CU_F32, 1, 0, 1, 0, 0},
        {CU_BF16, CU_F32, 32, 2880, 7, 7, 0, CU_F32, 0, 1, 0, 0, 0},
        /* More outputs than the warps do at once. */
        {CU_BF16, CU_BF16, 9000, 64, 1, 1, 0, CU_F32, 0, 0, 0, 0, 0},
        {CU_BF16, CU_F8, 20001, 16, 1, 1, 0, CU_BF16, 0, 1, 1, 1, 0},
        {CU_F16, CU_F16, 8999, 24, 4, 4, 0, CU_F16, 0, 0, 0, 0, 0},
        /* Fewer rows in the step than in the bucket. */
        {CU_BF16, CU_BF16, 50, 256, 4, 1, 0, CU_F32, 1, 0, 0, 0, 0},
        {CU_BF16, CU_BF16, 50, 256, 8, 3, 1, CU_F32, 0, 0, 0, 6, 0},
    };

    for (i = 0; i < sizeof(confs) / sizeof(confs[0]); i++) {
        test_shape(&confs[i]);
    }
}


/* A row's bits, alone and with others. */
static void
test_alone(cu_type_t t, cu_type_t w, uint32_t n, uint32_t cols)
{
    int        same = 1;
    char      *x;
    float     *want, *got;
    mul_t      m;
    uint32_t   r, rows, most = w == CU_F8 ? 2 : 4;
    mul_conf_t c = {t, w, n, cols, most, most, 0, CU_F32, 0, 0, 0, 0, 0};

    mul_new(&m, &c, n, NULL, NULL);
    want = malloc(4 * n * sizeof(float));
    got = malloc(4 * n * sizeof(float));
    cu_gemv(t, &m.p, m.step, NULL);
    dev_get(want, m.p.y, most * n * sizeof(float));

    x = (char *) m.p.x;
    for (rows = 1; rows < most; rows++) {
        for (r = 0; r + rows <= most; r++) {
            m.p.x = x + r * cols * dev_type_size(t);
            m.p.rows = rows;
            cu_gemv(t, &m.p, m.step, NULL);
            dev_get(got, m.p.y, rows * n * sizeof(float));
            same &= memcmp(got, want + r * n, rows * n * sizeof(float)) == 0;
        }
    }
    ok(same, "%s x %s: the same bits alone and with others", mul_name(t),
       mul_name(w));

    free(want);
    free(got);
    mul_free(&m);
}


/* A step without rows touches nothing. */
static void
test_none(void)
{
    int        rc, clean = 1;
    float      y[40];
    mul_t      m;
    uint32_t   i;
    mul_conf_t c = {CU_BF16, CU_BF16, 40, 64, 1, 0, 1, CU_F32, 0, 1, 0, 0, 0};

    mul_new(&m, &c, 1, NULL, NULL);
    rc = cu_gemv(CU_BF16, &m.p, m.step, NULL);
    dev_get(y, m.p.y, sizeof(y));
    for (i = 0; i < 40; i++) {
        clean &= isnan(y[i]);
    }
    ok(rc == 0 && clean, "no logits are wanted: none are written");
    mul_free(&m);
}


static void
test_refused(void)
{
    mul_t      m;
    cu_mul_t   p;
    mul_conf_t c = {CU_BF16, CU_BF16, 8, 64, 8, 8, 0, CU_F32, 0, 0, 0, 0, 0};

    mul_new(&m, &c, 1, NULL, NULL);

    p = m.p;
    p.rows = CU_GEMV_ROWS + 1;
    is_int(cu_gemv(CU_BF16, &p, m.step, NULL), -EINVAL, "too many rows");
    p.rows = 0;
    is_int(cu_gemv(CU_BF16, &p, m.step, NULL), -EINVAL, "no rows");
    p = m.p;
    p.y_type = CU_F16;
    is_int(cu_gemv(CU_BF16, &p, m.step, NULL), -EINVAL, "Y of the other type");
    p.y_type = CU_BF16;
    p.add = 1;
    is_int(cu_gemv(CU_BF16, &p, m.step, NULL), -EINVAL, "adding to BF16");
    p = m.p;
    is_int(cu_gemv(CU_F32, &p, m.step, NULL), -EINVAL, "X of F32");
    m.m.form = CU_W_Q8_0;
    is_int(cu_gemv(CU_BF16, &p, m.step, NULL), -EINVAL, "weights in blocks");

    mul_free(&m);
}
