/*
 * References of the element-wise kernels in double precision, and how near a
 * result must be to them.  Pure functions; rows are the caller's.
 */

#ifndef LLM_CU_ELEM_REF_H
#define LLM_CU_ELEM_REF_H

#include "t/cuda/cu_test.h"

/*
 * 1: got is want rounded to t, give or take what F32 arithmetic before that
 * loses (`slack` in units of want, and of `size`: what was added up to it).
 */
DEV_UNUSED int
ref_near(cu_type_t t, double got, double want, double size)
{
    static const double ulp[] = {
        [CU_F32] = 0, [CU_F16] = 0x1p-11, [CU_BF16] = 0x1p-8, [CU_F8] = 0x1p-4};
    double tiny = t == CU_F16 ? 0x1p-24 : 1e-37;

    if (t == CU_F16 && fabs(want) > 65504) {
        want = want > 0 ? 65504 : -65504;
    }
    if (t == CU_F8) {
        tiny = 0x1p-10;
        if (fabs(want) > 448) {
            want = want > 0 ? 448 : -448;
        }
    }

    return fabs(got - want)
           <= fabs(want) * (ulp[t] * 1.001 + 3e-6) + size * 1e-6 + tiny;
}


DEV_UNUSED double
ref_act(int fn, double g, double u)
{
    switch (fn) {
    case K_FN_SILU:
        return g / (1 + exp(-g)) * u;
    case K_FN_GELU_TANH:
        return 0.5 * g
               * (1
                  + tanh(sqrt(2 / 3.14159265358979323846)
                         * (g + 0.044715 * g * g * g)))
               * u;
    case K_FN_GELU_ERF:
        return 0.5 * g * (1 + erf(g / sqrt(2))) * u;
    default:
        g = g > 7 ? 7 : g;
        u = u > 7 ? 7 : u < -7 ? -7 : u;
        return g / (1 + exp(-1.702 * g)) * (u + 1);
    }
}


/* h = x / sqrt(mean(x^2) + eps) * w; w may be NULL; h may be x. */
DEV_UNUSED void
ref_rmsnorm(double *h, const double *x, const double *w, uint32_t n, double eps)
{
    double   sum = 0;
    uint32_t i;

    for (i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    for (i = 0; i < n; i++) {
        h[i] = x[i] / sqrt(sum / n + eps) * (w != NULL ? w[i] : 1);
    }
}


/* 1: q, d are int8 blocks of h, d[2b + 1] = d times the sum of q. */
DEV_UNUSED int
ref_q8(const int8_t *q, const double *d, const double *h, uint32_t n)
{
    int      sum;
    double   amax;
    uint32_t b, i;

    for (b = 0; b < n / 32; b++, q += 32, h += 32, d += 2) {
        amax = 0;
        sum = 0;
        for (i = 0; i < 32; i++) {
            amax = fmax(amax, fabs(h[i]));
            sum += q[i];
        }
        if (!(fabs(d[0] - amax / 127) <= amax * 1e-7 + amax * 1e-5 / 127)
            || d[1] != (float) d[0] * (float) sum) {
            return 0;
        }
        for (i = 0; i < 32; i++) {
            if (!(fabs(q[i] * d[0] - h[i]) <= d[0] * 0.502)) {
                return 0;
            }
        }
    }

    return 1;
}


/* 1: f are E4M3 of h / scale, where scale is amax / 448. */
DEV_UNUSED int
ref_f8(const double *f, double scale, const double *h, uint32_t n)
{
    double   amax = 0;
    uint32_t i;

    for (i = 0; i < n; i++) {
        amax = fmax(amax, fabs(h[i]));
    }
    amax = fmax(amax, 1e-30);
    if (!(fabs(scale - amax / 448) <= amax / 448 * 1e-5)) {
        return 0;
    }
    for (i = 0; i < n; i++) {
        if (!(fabs(f[i] * scale - h[i])
              <= fabs(h[i]) * 0x1.01p-4 + scale * 0x1.01p-10)) {
            return 0;
        }
    }

    return 1;
}


/* 1: the n bytes at dev are all 0xff, as dev_new() left them. */
DEV_UNUSED int
ref_untouched(const void *dev, size_t from, size_t n)
{
    size_t   i;
    uint8_t *b = malloc(n + 1);

    dev_get(b, (const uint8_t *) dev + from, n);
    for (i = 0; i < n && b[i] == 0xff; i++) {
    }
    free(b);

    return i == n;
}


DEV_UNUSED double *
ref_random(size_t n, double mul, uint32_t *seed)
{
    size_t  i;
    double *v = malloc(n * sizeof(double) + 1);

    for (i = 0; i < n; i++) {
        v[i] = test_normal(seed) * mul;
    }

    return v;
}

#endif /* LLM_CU_ELEM_REF_H */
