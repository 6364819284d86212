/*
 * Vectors of 16 floats over AVX-512 (F, BW, VL, DQ), for simd_*.inc.
 *
 * vf_min and vf_max give their second argument where either is a NaN.
 */

#ifndef LLM_KERNELS_CPU_SIMD_512_H
#define LLM_KERNELS_CPU_SIMD_512_H

#include <immintrin.h>
#include <stdint.h>

#define VF_W 16

typedef __m512    vf_t;
typedef __mmask16 vm_t;

#define vf_load(p)       _mm512_loadu_ps(p)
#define vf_store(p, x)   _mm512_storeu_ps(p, x)
#define vf_set(x)        _mm512_set1_ps(x)
#define vf_fma(a, b, c)  _mm512_fmadd_ps(a, b, c)
#define vf_fnma(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define vf_add(a, b)     _mm512_add_ps(a, b)
#define vf_sub(a, b)     _mm512_sub_ps(a, b)
#define vf_mul(a, b)     _mm512_mul_ps(a, b)
#define vf_div(a, b)     _mm512_div_ps(a, b)
#define vf_max(a, b)     _mm512_max_ps(a, b)
#define vf_min(a, b)     _mm512_min_ps(a, b)
#define vf_lt(a, b)      _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define vf_ge(a, b)      _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ)
#define vf_pick(m, a, b) _mm512_mask_blend_ps(m, b, a)
#define vm_and(a, b)     ((__mmask16) ((a) & (b)))
#define vm_bits(m)       ((uint32_t) (m))
#define vm_from(bits)    ((__mmask16) (bits))
#define vf_half(p)                                                             \
    _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (const void *) (p)))
#define vf_put_half(p, x)                                                      \
    _mm256_storeu_si256((__m256i *) (void *) (p), _mm512_cvtps_ph(x, 0))

/* (x0, x1, x2, x3, ...) to (x1, x0, x3, x2, ...) */
#define vf_swap(x) _mm512_permute_ps(x, 0xb1)

#define vf_iota()                                                              \
    _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)


/* The low 8 bits of each lane become the exponent of a power of two. */
static inline vf_t
vf_pow2(vf_t x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 23));
}


static inline __m256
vf_upper(vf_t x)
{
    return _mm512_extractf32x8_ps(x, 1);
}


static inline float
vf_sum(vf_t x)
{
    __m128 v;
    __m256 h;

    h = _mm256_add_ps(_mm512_castps512_ps256(x), vf_upper(x));
    v = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    v = _mm_add_ss(v, _mm_movehdup_ps(v));
    return _mm_cvtss_f32(v);
}


static inline float
vf_top(vf_t x)
{
    __m128 v;
    __m256 h;

    h = _mm256_max_ps(_mm512_castps512_ps256(x), vf_upper(x));
    v = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    v = _mm_max_ss(v, _mm_movehdup_ps(v));
    return _mm_cvtss_f32(v);
}

#endif /* LLM_KERNELS_CPU_SIMD_512_H */
