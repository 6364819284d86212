/*
 * Vectors of 8 floats over AVX2, FMA and F16C, for simd_*.inc.
 *
 * vf_min and vf_max give their second argument where either is a NaN.
 */

#ifndef LLM_KERNELS_CPU_SIMD_256_H
#define LLM_KERNELS_CPU_SIMD_256_H

#include <immintrin.h>
#include <stdint.h>

#define VF_W 8

typedef __m256 vf_t;
typedef __m256 vm_t; /* a mask: all bits of a lane */

#define vf_load(p)       _mm256_loadu_ps(p)
#define vf_store(p, x)   _mm256_storeu_ps(p, x)
#define vf_set(x)        _mm256_set1_ps(x)
#define vf_fma(a, b, c)  _mm256_fmadd_ps(a, b, c)
#define vf_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define vf_add(a, b)     _mm256_add_ps(a, b)
#define vf_sub(a, b)     _mm256_sub_ps(a, b)
#define vf_mul(a, b)     _mm256_mul_ps(a, b)
#define vf_div(a, b)     _mm256_div_ps(a, b)
#define vf_max(a, b)     _mm256_max_ps(a, b)
#define vf_min(a, b)     _mm256_min_ps(a, b)
#define vf_lt(a, b)      _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define vf_ge(a, b)      _mm256_cmp_ps(a, b, _CMP_GE_OQ)
#define vf_pick(m, a, b) _mm256_blendv_ps(b, a, m)
#define vm_and(a, b)     _mm256_and_ps(a, b)
#define vm_bits(m)       ((uint32_t) _mm256_movemask_ps(m))
#define vf_half(p)                                                             \
    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (const void *) (p)))
#define vf_put_half(p, x)                                                      \
    _mm_storeu_si128((__m128i *) (void *) (p), _mm256_cvtps_ph(x, 0))

/* (x0, x1, x2, x3, ...) to (x1, x0, x3, x2, ...) */
#define vf_swap(x) _mm256_permute_ps(x, 0xb1)

#define vf_iota() _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7)


/* The low 8 bits of each lane become the exponent of a power of two. */
static inline vf_t
vf_pow2(vf_t x)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x), 23));
}


/* Lanes whose bit is set in the low 8. */
static inline vm_t
vm_from(uint32_t bits)
{
    __m256i b, m;

    m = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    b = _mm256_and_si256(_mm256_set1_epi32((int) bits), m);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(b, m));
}


static inline float
vf_sum(vf_t x)
{
    __m128 v;

    v = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    v = _mm_add_ss(v, _mm_movehdup_ps(v));
    return _mm_cvtss_f32(v);
}


static inline float
vf_top(vf_t x)
{
    __m128 v;

    v = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    v = _mm_max_ss(v, _mm_movehdup_ps(v));
    return _mm_cvtss_f32(v);
}

#endif /* LLM_KERNELS_CPU_SIMD_256_H */
