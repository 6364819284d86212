/*
 * Products as cu_mul_t says, for tests of the kernels that make them: random
 * inputs rounded to their types, the result in double, and what error may be.
 */

#ifndef LLM_CU_MUL_REF_H
#define LLM_CU_MUL_REF_H

#include "t/cuda/cu_test.h"

typedef struct {
    cu_type_t t; /* of X */
    cu_type_t w; /* of the weights, plain */
    uint32_t  n; /* outputs; experts: of each */
    uint32_t  cols;
    uint32_t  rows; /* of the bucket */
    uint32_t  live; /* the step's; the other count is 0 */
    int       logits;
    cu_type_t y;
    int       add;
    int       bias;
    int       scales;
    uint32_t  gap; /* y_ld - n */
    uint32_t  off; /* elements by which X and W are off 16 bytes */
} mul_conf_t;

typedef struct {
    mul_conf_t  conf;
    cu_matrix_t m;
    cu_mul_t    p;
    cu_step_t  *step;
    void       *wmem;
    void       *xmem;
    double     *w; /* [n][cols], scales in it */
    double     *x; /* [rows][cols] */
    double     *b; /* [n], zeros without bias */
    double     *y; /* [rows][y_ld]: before; NaN where not `add` */
} mul_t;

DEV_UNUSED const char *
mul_name(cu_type_t t)
{
    static const char *const names[] = {"F32", "F16", "BF16", "F8"};

    return names[t];
}


/* n normal numbers times f, after `off` others, in device memory. */
DEV_UNUSED void *
mul_random(cu_type_t t, double **v, size_t n, size_t off, double f,
           uint32_t *rng)
{
    size_t  i;
    double *all = malloc((off + n) * sizeof(double));
    void   *dev;

    for (i = 0; i < off + n; i++) {
        all[i] = test_normal(rng) * f;
    }
    dev = dev_typed(t, all, off + n);
    *v = malloc((n + 1) * sizeof(double));
    memcpy(*v, all + off, n * sizeof(double));
    free(all);

    return dev;
}


/* With weights of some other form, worth w, or NULL: plain ones as in c. */
DEV_UNUSED void
mul_new(mul_t *m, const mul_conf_t *c, uint32_t seed, const cu_matrix_t *form,
        const double *w)
{
    float          *f;
    size_t          i, j, ld = c->n + c->gap;
    double         *s;
    dev_step_conf_t step;

    memset(m, 0, sizeof(*m));
    m->conf = *c;
    m->m.form = CU_W_PLAIN;
    m->m.type = c->w;
    m->m.rows = c->n;
    m->m.cols = c->cols;

    if (form != NULL) {
        m->m = *form;
        m->w = malloc((size_t) c->n * c->cols * sizeof(double));
        memcpy(m->w, w, (size_t) c->n * c->cols * sizeof(double));
    } else {
        m->wmem = mul_random(c->w, &m->w, (size_t) c->n * c->cols, c->off,
                             c->w == CU_F8 ? 8 : 1, &seed);
        m->m.data = (char *) m->wmem + c->off * dev_type_size(c->w);
    }
    m->xmem =
        mul_random(c->t, &m->x, (size_t) c->rows * c->cols, c->off, 1, &seed);
    m->p.x = (char *) m->xmem + c->off * dev_type_size(c->t);
    m->p.w = &m->m;

    m->b = calloc(c->n, sizeof(double));
    if (c->bias) {
        free(m->b);
        m->p.bias = mul_random(CU_F32, &m->b, c->n, 0, 4, &seed);
    }

    if (c->scales) {
        m->m.scales = mul_random(CU_F32, &s, c->n, 0, 0.1, &seed);
        for (i = 0; i < c->n; i++) {
            for (j = 0; j < c->cols; j++) {
                m->w[i * c->cols + j] *= s[i];
            }
        }
        free(s);
    }

    m->p.y_type = c->y;
    m->p.y_ld = (uint32_t) ld;
    m->p.add = c->add;
    m->p.rows = c->rows;
    m->p.logits = c->logits;

    m->y = malloc(c->rows * ld * sizeof(double));
    for (i = 0; i < c->rows * ld; i++) {
        m->y[i] = NAN;
    }
    m->p.y = dev_new(c->rows * ld * dev_type_size(c->y));
    if (c->add) {
        f = malloc(c->rows * ld * sizeof(float));
        memset(f, 0xff, c->rows * ld * sizeof(float));
        for (i = 0; i < c->rows; i++) {
            for (j = 0; j < c->n; j++) {
                f[i * ld + j] = (float) test_normal(&seed) * 8;
                m->y[i * ld + j] = f[i * ld + j];
            }
        }
        dev_put(m->p.y, f, c->rows * ld * sizeof(float));
        free(f);
    }

    memset(&step, 0, sizeof(step));
    *(c->logits ? &step.n_logits : &step.n_rows) = c->live;
    m->step = dev_step(&step);
}


DEV_UNUSED void
mul_free(mul_t *m)
{
    dev_free(m->wmem);
    dev_free(m->xmem);
    dev_free((void *) m->p.bias);
    dev_free((void *) m->m.scales);
    dev_free(m->p.y);
    dev_step_free(m->step);
    free(m->w);
    free(m->x);
    free(m->b);
    free(m->y);
}


/*
 * What is wrong with `got` for a sum of `n` products whose absolute values
 * add up to `abs`, in units of what is allowed; NaN counts as much.
 */
DEV_UNUSED double
mul_error(cu_type_t y, double got, double want, double abs)
{
    double e = y == CU_BF16 ? 0x1p-8 : y == CU_F16 ? 0x1p-11 : 0x1p-23;

    e = fabs(got - want) / (fabs(want) * e * 1.01 + abs * 2e-6 + 1e-30);

    return isnan(e) ? 1e30 : e;
}


/*
 * The largest error of the live rows, in units of what is allowed; 1e30 also
 * where what lies between the rows was written.
 */
DEV_UNUSED double
mul_check(mul_t *m)
{
    double            e, worst = 0, want, abs, *got;
    size_t            r, i, k, ld = m->p.y_ld, cols = m->conf.cols;
    const mul_conf_t *c = &m->conf;

    got = malloc(c->rows * ld * sizeof(double));
    dev_read(c->y, got, m->p.y, c->rows * ld);

    for (r = 0; r < c->rows; r++) {
        for (i = 0; i < ld; i++) {
            if (i >= c->n) {
                worst = isnan(got[r * ld + i]) ? worst : 1e30;
                continue;
            }
            if (r >= c->live) {
                continue;
            }

            abs = fabs(m->b[i]);
            want = m->b[i];
            if (c->add) {
                want += m->y[r * ld + i];
                abs += fabs(m->y[r * ld + i]);
            }
            for (k = 0; k < cols; k++) {
                e = m->w[i * cols + k] * m->x[r * cols + k];
                want += e;
                abs += fabs(e);
            }
            e = mul_error(c->y, got[r * ld + i], want, abs);
            worst = e > worst ? e : worst;
        }
    }

    free(got);
    return worst;
}

#endif /* LLM_CU_MUL_REF_H */
