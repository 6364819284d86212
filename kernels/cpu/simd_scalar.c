/*
 * The operations of simd.h in plain C: the reference that the vector forms
 * are tested against, and what runs on a CPU without them.  Any compute
 * thread calls them, on memory of its own.  Nothing here is clever: sums run
 * upwards, exp() and its like are the C library's.
 */

#include <math.h>
#include <string.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"


static float s_cap(float x, float cap);
static float s_act(k_fn_t fn, float g, float u);


const k_simd_t *
k_simd_table(k_isa_t isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case K_ISA_AVX2:
        return &k_simd_avx2;
    case K_ISA_AVX512:
        return &k_simd_avx512;
#endif
    default:
        return &k_simd_scalar;
    }
}


/* Nearest even; what is beyond F16's range becomes its largest, NaN stays. */
uint16_t
k_half(float x)
{
    float    y;
    uint32_t u, sign, man, rest, half;
    int32_t  e;

    memcpy(&u, &x, sizeof(u));
    sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;

    if (u > 0x7f800000) {
        return (uint16_t) (sign | 0x7e00);
    }

    e = (int32_t) (u >> 23) - 112;

    if (e <= 0) {
        /* Subnormal: steps of 2^-24, rounded by the FPU. */
        memcpy(&y, &u, sizeof(y));
        return (uint16_t) (sign | (uint32_t) lrintf(y * 16777216.0f));
    }

    if (u >= 0x477ff000) {
        return (uint16_t) (sign | 0x7bff);
    }

    man = u & 0x7fffff;
    half = (uint32_t) e << 10 | man >> 13;
    rest = man & 0x1fff;
    half += rest > 0x1000 || (rest == 0x1000 && (half & 1));

    return (uint16_t) (sign | half);
}


float
k_float(uint16_t h)
{
    float    x;
    uint32_t u, e, man;

    e = h >> 10 & 31;
    man = h & 0x3ff;

    if (e == 0) {
        x = (float) man * 0x1p-24f;
        return h & 0x8000 ? -x : x;
    }

    u = (uint32_t) (h & 0x8000) << 16 | man << 13;
    u |= e == 31 ? 0x7f800000 : (e + 112) << 23;
    memcpy(&x, &u, sizeof(x));

    return x;
}


static void
s_norm(float *out, const float *x, const float *w, uint32_t n, float eps)
{
    float    sum, mul;
    uint32_t i;

    sum = 0;
    for (i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }

    mul = 1.0f / sqrtf(sum / (float) n + eps);

    for (i = 0; i < n; i++) {
        out[i] = x[i] * mul;
        if (w != NULL) {
            out[i] *= w[i];
        }
    }
}


static void
s_mad(float *out, const float *x, float mul, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        out[i] += x[i] * mul;
    }
}


static float
s_act(k_fn_t fn, float g, float u)
{
    switch (fn) {
    case K_FN_SILU:
        return g / (1.0f + expf(-g)) * u;
    case K_FN_GELU_TANH:
        return 0.5f * g
               * (1.0f + tanhf(0.7978845608f * (g + 0.044715f * g * g * g)))
               * u;
    case K_FN_GELU_ERF:
        return 0.5f * g * (1.0f + erff(g * 0.70710678f)) * u;
    case K_FN_SWIGLU_OAI:
        g = g > 7.0f ? 7.0f : g;
        u = u > 7.0f ? 7.0f : u < -7.0f ? -7.0f : u;
        return g / (1.0f + expf(-1.702f * g)) * (u + 1.0f);
    }

    return 0;
}


static void
s_act_mul(k_fn_t fn, float *h, const float *u, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        h[i] = s_act(fn, h[i], u[i]);
    }
}


static float
s_cap(float x, float cap)
{
    return cap != 0 ? cap * tanhf(x / cap) : x;
}


static void
s_scale(float *x, uint32_t n, float scale, float cap)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        x[i] = s_cap(x[i] * scale, cap);
    }
}


static void
s_rope(float *x, uint32_t n_rot, k_rope_t mode, const float *cs)
{
    float        a, b;
    uint32_t     i, j, k, c;
    const float *sn;

    sn = cs + n_rot;

    for (i = 0; i < n_rot / 2; i++) {
        j = mode == K_ROPE_PAIRS ? 2 * i : i;
        k = mode == K_ROPE_PAIRS ? 2 * i + 1 : i + n_rot / 2;
        c = mode == K_ROPE_PAIRS ? k : i; /* there the sine is positive */

        a = x[j];
        b = x[k];
        x[j] = a * cs[c] - b * sn[c];
        x[k] = b * cs[c] + a * sn[c];
    }
}


static void
s_half(uint16_t *out, const float *x, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        out[i] = k_half(x[i]);
    }
}


static float
s_page(const k_attn_t *a, const void *tile, size_t i)
{
    return a->f32 ? ((const float *) tile)[i]
                  : k_float(((const uint16_t *) tile)[i]);
}


static void
s_attn_page(const k_attn_t *a, const void *k, const void *v, uint32_t base)
{
    float       *s, *o, m, p, alpha;
    uint32_t     i, t, d, pos, lo, hi;
    const float *q;

    for (i = 0; i < a->pairs; i++) {
        q = a->q + (size_t) i * a->head_dim;
        o = a->o + (size_t) i * a->hd_pad;
        s = a->s + (size_t) i * K_PAGE_TOKENS;

        pos = a->pos + i / a->group;
        hi = pos < base ? 0 : pos - base + 1;
        hi = hi < K_PAGE_TOKENS ? hi : K_PAGE_TOKENS;
        lo = 0;
        if (a->window != 0 && pos >= a->window && pos - a->window + 1 > base) {
            lo = pos - a->window + 1 - base;
        }
        if (lo >= hi) {
            continue;
        }

        m = a->m[i];
        for (t = lo; t < hi; t++) {
            s[t] = 0;
            for (d = 0; d < a->head_dim; d++) {
                s[t] += q[d] * s_page(a, k, d * K_PAGE_TOKENS + t);
            }
            s[t] = s_cap(s[t], a->cap);
            m = s[t] > m || s[t] != s[t] ? s[t] : m;
        }

        alpha = a->m[i] == m ? 1.0f : expf(a->m[i] - m);
        a->m[i] = m;
        a->l[i] *= alpha;
        for (d = 0; d < a->head_dim; d++) {
            o[d] *= alpha;
        }

        for (t = lo; t < hi; t++) {
            p = expf(s[t] - m);
            a->l[i] += p;
            for (d = 0; d < a->head_dim; d++) {
                o[d] += p * s_page(a, v, t * a->hd_pad + d);
            }
        }
    }
}


static void
s_attn_merge(float *m, float *l, float *o, float m2, float l2, const float *o2,
             uint32_t n)
{
    float    top, a, b;
    uint32_t i;

    if (l2 == 0) {
        return;
    }

    if (*l == 0) {
        *m = m2;
        *l = l2;
        memcpy(o, o2, n * sizeof(float));
        return;
    }

    top = *m > m2 ? *m : m2;
    a = expf(*m - top);
    b = expf(m2 - top);

    *m = top;
    *l = *l * a + l2 * b;
    for (i = 0; i < n; i++) {
        o[i] = o[i] * a + o2[i] * b;
    }
}


static int
s_blocks(const float *x, uint32_t n, float *max)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        if (!(x[i] < INFINITY)) {
            return 0;
        }
        if (i % K_SLAB == 0 || x[i] > max[i / K_SLAB]) {
            max[i / K_SLAB] = x[i];
        }
    }

    return 1;
}


static void
s_mask(float *x, uint32_t n, const uint32_t *mask)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        if (!(mask[i / 32] >> (i % 32) & 1)) {
            x[i] = -INFINITY;
        }
    }
}


static void
s_exps(float *out, const float *x, uint32_t n, float max, float t, float *sum)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        if (i % K_SLAB == 0) {
            sum[i / K_SLAB] = 0;
        }
        out[i] = expf((x[i] - max) * t);
        sum[i / K_SLAB] += out[i];
    }
}


static uint32_t
s_collect(const float *x, uint32_t n, float least, uint32_t *ids)
{
    uint32_t i, k;

    k = 0;
    for (i = 0; i < n; i++) {
        if (x[i] >= least) {
            ids[k++] = i;
        }
    }

    return k;
}


static double
s_above(const float *x, uint32_t n, float least)
{
    double   sum;
    uint32_t i;

    sum = 0;
    for (i = 0; i < n; i++) {
        sum += x[i] >= least ? (double) x[i] : 0;
    }

    return sum;
}


const k_simd_t k_simd_scalar = {
    .norm = s_norm,
    .mad = s_mad,
    .act = s_act_mul,
    .scale = s_scale,
    .rope = s_rope,
    .half = s_half,
    .attn_page = s_attn_page,
    .attn_merge = s_attn_merge,
    .blocks = s_blocks,
    .mask = s_mask,
    .exps = s_exps,
    .collect = s_collect,
    .above = s_above,
};
