/*
 * Block weights on the device: geometry, repacking and back. What comes out of
 * the planes must be what GGUF's definitions say, bit for bit.
 */

#include "t/cuda/quant_ref.h"

static const k_type_t forms[] = {K_Q8_0,  K_Q4_0,   K_Q4_1,   K_Q5_0,
                                 K_Q5_1,  K_Q4_K,   K_Q5_K,   K_Q6_K,
                                 K_MXFP4, K_IQ4_NL, K_IQ4_XS, K_Q3_K};

#define N_FORMS (sizeof(forms) / sizeof(forms[0]))


static void test_geometry(void);
static void test_rows(k_type_t type, uint32_t rows, uint32_t cols);
static void test_dequant(const quant_t *q, cu_type_t t, uint32_t row,
                         uint32_t n);
static void test_cpu(const quant_t *q);
static void test_embed(const quant_t *q);
static void test_synthetic(k_type_t type);
static void test_refused(void);


int
main(void)
{
    size_t   i;
    uint32_t block;

    test_geometry();

    for (i = 0; i < N_FORMS; i++) {
        block = quant_type(forms[i])->block;
        test_rows(forms[i], 1, block);
        test_rows(forms[i], 3, block * 3);
        test_rows(forms[i], 67, block == 32 ? 416 : 512);
        test_rows(forms[i], 5, 2304);
        test_rows(forms[i], 2, 8192 + block);
        test_synthetic(forms[i]);
    }

    test_refused();

    return tap_done();
}


static void
test_geometry(void)
{
    size_t           i, j;
    uint32_t         cols;
    uint64_t         end;
    cu_form_t        form;
    cu_matrix_t      m;
    const t_type_t  *t;
    cu_quant_view_t  v;
    static const int bits[] = {17, 9, 10, 11, 12, 0, 0, 0, 0, 9, 0, 0};

    for (i = 0; i < N_FORMS; i++) {
        t = quant_type(forms[i]);
        is_int(cu_quant_form(forms[i], &form), 0, "%s has a form", t->name);
        is_int(cu_quant_source_row(form, t->block * 3), t->bytes * 3,
               "%s: a row in the file", t->name);
        is_int(cu_quant_source_row(form, t->block * 3 + 1), 0,
               "%s: no such row", t->name);

        cols = 4096;
        memset(&m, 0, sizeof(m));
        m.form = form;
        m.rows = 7;
        m.cols = cols;
        is_int(cu_quant_view(form, cols, NULL, &v), 0, "%s: view", t->name);
        is_int(v.stride % 32, 0, "%s: rows are aligned", t->name);
        is_int(cu_quant_layout(&m, NULL), 7 * (uint64_t) v.stride,
               "%s: as large as its rows", t->name);
        ok(m.plane[0] == NULL, "%s: no planes without memory", t->name);
        is_int(cu_quant_row(form, cols), v.stride, "%s: row", t->name);

        /* as dense as the file, but for K scales' bytes (1/8 bit a weight);
           Q3_K has a bit more */
        end = (uint64_t) cols / t->block * t->bytes;
        ok(v.stride >= end
               && (v.stride <= end + end / 32 + 64 || forms[i] == K_Q3_K),
           "%s: %u bytes for %llu", t->name, v.stride,
           (unsigned long long) end);

        if (bits[i]) {
            is_int(v.stride, cols / 16 * (uint32_t) bits[i],
                   "%s: %g bits a weight", t->name, bits[i] / 2.0);
        }

        cu_quant_layout(&m, (void *) 4096);
        for (j = 0; j < CU_PLANES; j++) {
            is_int((uintptr_t) m.plane[j] % 16, 0, "%s: plane %zu aligned",
                   t->name, j);
        }
    }

    is_int(cu_quant_form(K_Q2_K, &form), -ENOTSUP, "Q2_K has none");
    is_int(cu_quant_form(K_F16, &form), -ENOTSUP, "F16 has none");
}


static void
test_rows(k_type_t type, uint32_t rows, uint32_t cols)
{
    quant_t q;

    quant_new(&q, type, rows, cols, 0);
    test_dequant(&q, CU_F32, 0, rows);
    test_dequant(&q, CU_F16, rows / 2, rows - rows / 2);
    test_dequant(&q, CU_BF16, rows / 3, 1);
    test_cpu(&q);
    test_embed(&q);
    quant_free(&q);
}


static void
test_dequant(const quant_t *q, cu_type_t t, uint32_t row, uint32_t n)
{
    float   want;
    void   *out;
    size_t  i, bad;
    double *got;

    out = dev_new((size_t) n * q->cols * dev_type_size(t));
    got = malloc((size_t) n * q->cols * sizeof(double));

    is_int(cu_dequant(t, &q->m, row, n, out, NULL), 0, "cu_dequant()");
    dev_read(t, got, out, (size_t) n * q->cols);
    bad = 0;

    for (i = 0; i < (size_t) n * q->cols; i++) {
        want = (float) q->w[(size_t) row * q->cols + i];
        want = t == CU_F16    ? half_of(to_half(want))
               : t == CU_BF16 ? bf16_of(to_bf16(want))
                              : want;

        if (!(got[i] == want)) {
            if (bad++ == 0) {
                diag("row %zu, column %zu: %.9g, want %.9g", row + i / q->cols,
                     i % q->cols, got[i], want);
            }
        }
    }

    is_int(bad, 0, "%s [%u][%u] from row %u as type %d", q->type->name, n,
           q->cols, row, (int) t);
    free(got);
    dev_free(out);
}


/* The CPU backend's own rows. */

static void
test_cpu(const quant_t *q)
{
    void      *mem, *out;
    float     *want, *got;
    size_t     n;
    uint32_t   i, bad;
    k_matrix_t m;

    n = (size_t) q->rows * q->cols;
    mem = t_alloc(
        (size_t) k_matrix_size(q->type->type, K_ISA_SCALAR, q->rows, q->cols));
    k_matrix_init(&m, q->type->type, K_ISA_SCALAR, q->rows, q->cols, mem);
    k_matrix_pack(&m, q->src, 0, q->rows);
    want = malloc(q->cols * sizeof(float));
    got = malloc(n * sizeof(float));
    out = dev_new(n * sizeof(float));
    cu_dequant(CU_F32, &q->m, 0, q->rows, out, NULL);
    dev_get(got, out, n * sizeof(float));
    bad = 0;

    for (i = 0; i < q->rows; i++) {
        k_matrix_row(&m, i, want);
        bad += memcmp(want, got + (size_t) i * q->cols, q->cols * 4) != 0;
    }

    is_int(bad, 0, "%s [%u][%u] has the CPU backend's bits", q->type->name,
           q->rows, q->cols);
    dev_free(out);
    free(want);
    free(got);
    free(mem);
}


/* A table of this form: single values. */

static void
test_embed(const quant_t *q)
{
    float          *x;
    double         *got;
    int32_t         tokens[3];
    uint32_t        i, k, bad;
    cu_step_t      *step;
    dev_step_conf_t conf;

    tokens[0] = (int32_t) q->rows - 1;
    tokens[1] = 0;
    tokens[2] = (int32_t) q->rows / 2;
    memset(&conf, 0, sizeof(conf));
    conf.n_rows = 3;
    conf.tokens = tokens;
    step = dev_step(&conf);
    x = dev_new((size_t) 3 * q->cols * 4);
    got = malloc((size_t) 3 * q->cols * sizeof(double));

    is_int(cu_embed(&q->m, step, x, 3, 1.0f, NULL), 0, "%s: embed",
           q->type->name);
    dev_read(CU_F32, got, x, (size_t) 3 * q->cols);
    bad = 0;

    for (i = 0; i < 3; i++) {
        for (k = 0; k < q->cols; k++) {
            bad += !(got[(size_t) i * q->cols + k]
                     == (float) q->w[(size_t) tokens[i] * q->cols + k]);
        }
    }

    is_int(bad, 0, "%s [%u][%u] as a table", q->type->name, q->rows, q->cols);
    free(got);
    dev_free(x);
    dev_step_free(step);
}


static void
test_synthetic(k_type_t type)
{
    void           *out;
    size_t          i, n;
    double         *v, sum, sq, max;
    cu_matrix_t     m;
    const float     limit = 0.05f;
    const t_type_t *t = quant_type(type);
    const uint32_t  rows = 9, cols = 768;

    memset(&m, 0, sizeof(m));
    cu_quant_form(type, &m.form);
    m.rows = rows;
    m.cols = cols;
    m.data = dev_new(cu_quant_layout(&m, NULL));
    cu_quant_layout(&m, (void *) m.data);
    is_int(cu_synthetic(&m, 42, limit, NULL), 0, "%s: cu_synthetic()", t->name);
    CU_OK(cudaDeviceSynchronize());

    n = (size_t) rows * cols;
    out = dev_new(n * 4);
    v = malloc(n * sizeof(double));
    cu_dequant(CU_F32, &m, 0, rows, out, NULL);
    dev_read(CU_F32, v, out, n);
    sum = sq = max = 0;

    for (i = 0; i < n; i++) {
        sum += v[i];
        sq += v[i] * v[i];
        max = fabs(v[i]) > max ? fabs(v[i]) : max;
    }

    ok(max <= limit * 1.01 && max > limit / 2, "%s: up to %g", t->name, max);
    ok(sqrt(sq / (double) n) > limit / 6, "%s: deviation %g", t->name,
       sqrt(sq / (double) n));
    ok(fabs(sum / (double) n) < limit / 10, "%s: mean %g", t->name,
       sum / (double) n);
    free(v);
    dev_free(out);
    dev_free((void *) m.plane[0]);
}


static void
test_refused(void)
{
    quant_t     q;
    cu_matrix_t m;

    quant_new(&q, K_Q4_K, 4, 256, 0);
    is_int(cu_dequant(CU_F16, &q.m, 3, 2, q.mem, NULL), -EINVAL,
           "rows beyond the matrix");
    is_int(cu_dequant(CU_F8, &q.m, 0, 1, q.mem, NULL), -EINVAL, "into E4M3");
    is_int(cu_repack(&q.m, 5, 0, q.mem, NULL), -EINVAL, "a row too many");
    is_int(cu_repack(&q.m, 4, 0, q.mem, NULL), 0, "no rows");

    m = q.m;
    m.cols = 128;
    is_int(cu_dequant(CU_F16, &m, 0, 1, q.mem, NULL), -EINVAL,
           "half a block of columns");
    is_int(cu_quant_layout(&m, q.mem), 0, "no layout either");
    m = q.m;
    m.form = CU_W_PLAIN;
    is_int(cu_dequant(CU_F16, &m, 0, 1, q.mem, NULL), -EINVAL,
           "a plain matrix");
    quant_free(&q);
}
