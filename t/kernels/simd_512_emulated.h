/*
 * kernels/cpu/simd_512.h in plain C (16 floats in a struct), so that the
 * text of simd_*.inc is tested at that width on a machine without AVX-512.
 * What is left untested there are the intrinsics of simd_512.h itself.
 */

#ifndef LLM_T_KERNELS_SIMD_512_EMULATED_H
#define LLM_T_KERNELS_SIMD_512_EMULATED_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/simd.h"

#define VF_W 16

typedef struct {
    float f[16];
} vf_t;

typedef uint16_t vm_t;

#define VF_EACH(expr)                                                          \
    vf_t r_;                                                                   \
    int  i;                                                                    \
    for (i = 0; i < 16; i++) {                                                 \
        r_.f[i] = (expr);                                                      \
    }                                                                          \
    return r_

#define VF_BITS(expr)                                                          \
    uint16_t r_ = 0;                                                           \
    int      i;                                                                \
    for (i = 0; i < 16; i++) {                                                 \
        r_ = (uint16_t) (r_ | ((expr) ? 1u << i : 0));                         \
    }                                                                          \
    return r_


static inline vf_t
vf_load(const float *p)
{
    VF_EACH(p[i]);
}


static inline void
vf_store(float *p, vf_t x)
{
    memcpy(p, &x, sizeof(x));
}


static inline vf_t
vf_set(float x)
{
    VF_EACH(x);
}


static inline vf_t
vf_fma(vf_t a, vf_t b, vf_t c)
{
    VF_EACH(fmaf(a.f[i], b.f[i], c.f[i]));
}


static inline vf_t
vf_fnma(vf_t a, vf_t b, vf_t c)
{
    VF_EACH(fmaf(-a.f[i], b.f[i], c.f[i]));
}


static inline vf_t
vf_add(vf_t a, vf_t b)
{
    VF_EACH(a.f[i] + b.f[i]);
}


static inline vf_t
vf_sub(vf_t a, vf_t b)
{
    VF_EACH(a.f[i] - b.f[i]);
}


static inline vf_t
vf_mul(vf_t a, vf_t b)
{
    VF_EACH(a.f[i] * b.f[i]);
}


static inline vf_t
vf_div(vf_t a, vf_t b)
{
    VF_EACH(a.f[i] / b.f[i]);
}


/* As the instructions: the second one where either is a NaN. */
static inline vf_t
vf_max(vf_t a, vf_t b)
{
    VF_EACH(a.f[i] > b.f[i] ? a.f[i] : b.f[i]);
}


static inline vf_t
vf_min(vf_t a, vf_t b)
{
    VF_EACH(a.f[i] < b.f[i] ? a.f[i] : b.f[i]);
}


static inline vm_t
vf_lt(vf_t a, vf_t b)
{
    VF_BITS(a.f[i] < b.f[i]);
}


static inline vm_t
vf_ge(vf_t a, vf_t b)
{
    VF_BITS(a.f[i] >= b.f[i]);
}


static inline vf_t
vf_pick(vm_t m, vf_t a, vf_t b)
{
    VF_EACH(m >> i & 1 ? a.f[i] : b.f[i]);
}


static inline vf_t
vf_pow2(vf_t x)
{
    int      i;
    uint32_t u;

    for (i = 0; i < 16; i++) {
        memcpy(&u, &x.f[i], 4);
        u <<= 23;
        memcpy(&x.f[i], &u, 4);
    }
    return x;
}


static inline vf_t
vf_half(const uint16_t *p)
{
    VF_EACH(k_float(p[i]));
}


static inline void
vf_put_half(uint16_t *p, vf_t x)
{
    int i;

    for (i = 0; i < 16; i++) {
        p[i] = k_half(x.f[i]);
    }
}


static inline vf_t
vf_swap(vf_t x)
{
    VF_EACH(x.f[i ^ 1]);
}


static inline vf_t
vf_iota(void)
{
    VF_EACH((float) i);
}


static inline float
vf_sum(vf_t x)
{
    int i, n;

    for (n = 8; n > 0; n /= 2) {
        for (i = 0; i < n; i++) {
            x.f[i] += x.f[i + n];
        }
    }
    return x.f[0];
}


static inline float
vf_top(vf_t x)
{
    int i, n;

    for (n = 8; n > 0; n /= 2) {
        for (i = 0; i < n; i++) {
            x.f[i] = x.f[i] > x.f[i + n] ? x.f[i] : x.f[i + n];
        }
    }
    return x.f[0];
}

#define vm_and(a, b)  ((vm_t) ((a) & (b)))
#define vm_bits(m)    ((uint32_t) (m))
#define vm_from(bits) ((vm_t) (bits))

#endif /* LLM_T_KERNELS_SIMD_512_EMULATED_H */
