/*
 * The 512-bit operations that gemm_avx512.c is written in, twice: as
 * AVX-512 intrinsics, and (K_VEC512_EMULATE) in plain C, so that the same
 * kernel source can be tested on a machine without AVX-512.  Each function
 * does what its instruction does, rounding included; v5i is sixteen 32-bit
 * lanes, v5f sixteen floats.
 */

#ifndef LLM_KERNELS_CPU_VEC512_H
#define LLM_KERNELS_CPU_VEC512_H

#include <stdint.h>
#include <string.h>

#ifndef K_VEC512_EMULATE

#define k_v5 static inline __attribute__((always_inline))

#include <immintrin.h>

typedef __m512i v5i;
typedef __m512  v5f;


k_v5 v5i
v5i_load(const void *p)
{
    return _mm512_loadu_si512(p);
}


k_v5 v5i
v5i_zero(void)
{
    return _mm512_setzero_si512();
}


k_v5 v5i
v5i_set32(int v)
{
    return _mm512_set1_epi32(v);
}


/* 16 halves of 16 bits, zero extended. */
k_v5 v5i
v5i_load16(const void *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *) p));
}


k_v5 v5i
v5i_and(v5i a, v5i b)
{
    return _mm512_and_si512(a, b);
}


k_v5 v5i
v5i_xor(v5i a, v5i b)
{
    return _mm512_xor_si512(a, b);
}


k_v5 v5i
v5i_sub(v5i a, v5i b)
{
    return _mm512_sub_epi32(a, b);
}


/* Shifts of 32-bit lanes: left, right (zeros), right (sign). */
k_v5 v5i
v5i_shl(v5i a, int n)
{
    return _mm512_sll_epi32(a, _mm_cvtsi32_si128(n));
}


k_v5 v5i
v5i_shr(v5i a, int n)
{
    return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n));
}


k_v5 v5i
v5i_sar(v5i a, int n)
{
    return _mm512_sra_epi32(a, _mm_cvtsi32_si128(n));
}


/* acc + sums of 4 products u8 (a) * s8 (the 4 bytes at q, to all lanes). */
k_v5 v5i
v5i_dot(v5i acc, v5i a, const int8_t *q)
{
    int v;

    memcpy(&v, q, 4);

    return _mm512_dpbusd_epi32(acc, a, _mm512_set1_epi32(v));
}


k_v5 v5f
v5f_from_i(v5i a)
{
    return _mm512_cvtepi32_ps(a);
}


k_v5 v5f
v5f_from_bits(v5i a)
{
    return _mm512_castsi512_ps(a);
}


k_v5 v5f
v5f_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
}


k_v5 v5f
v5f_load(const void *p)
{
    return _mm512_loadu_ps(p);
}


k_v5 void
v5f_store(float *p, v5f a)
{
    _mm512_storeu_ps(p, a);
}


k_v5 v5f
v5f_set(float v)
{
    return _mm512_set1_ps(v);
}


k_v5 v5f
v5f_add(v5f a, v5f b)
{
    return _mm512_add_ps(a, b);
}


k_v5 v5f
v5f_mul(v5f a, v5f b)
{
    return _mm512_mul_ps(a, b);
}


/* a * b + c; c - a * b: rounded once. */
k_v5 v5f
v5f_fma(v5f a, v5f b, v5f c)
{
    return _mm512_fmadd_ps(a, b, c);
}


k_v5 v5f
v5f_fnma(v5f a, v5f b, v5f c)
{
    return _mm512_fnmadd_ps(a, b, c);
}


k_v5 void
v5_prefetch(const uint8_t *p, uint32_t size)
{
    uint32_t i;

    for (i = 0; i < size; i += 64) {
        _mm_prefetch((const char *) p + i, _MM_HINT_T0);
    }
}

#else /* K_VEC512_EMULATE */

/* calls, lest unrolled kernels take minutes to compile with sanitizers */
#define k_v5 static __attribute__((noinline, unused))

#include <math.h>

typedef struct {
    uint32_t v[16];
} v5i;

typedef struct {
    float v[16];
} v5f;

#define k_v5_each(i) for (int i = 0; i < 16; i++)


k_v5 v5i
v5i_load(const void *p)
{
    v5i r;

    memcpy(&r, p, 64);

    return r;
}


k_v5 v5i
v5i_zero(void)
{
    v5i r;

    memset(&r, 0, sizeof(r));

    return r;
}


k_v5 v5i
v5i_set32(int v)
{
    v5i r;

    k_v5_each(i) r.v[i] = (uint32_t) v;

    return r;
}


k_v5 v5i
v5i_load16(const void *p)
{
    v5i      r;
    uint16_t h[16];

    memcpy(h, p, 32);
    k_v5_each(i) r.v[i] = h[i];

    return r;
}


k_v5 v5i
v5i_and(v5i a, v5i b)
{
    k_v5_each(i) a.v[i] &= b.v[i];

    return a;
}


k_v5 v5i
v5i_xor(v5i a, v5i b)
{
    k_v5_each(i) a.v[i] ^= b.v[i];

    return a;
}


k_v5 v5i
v5i_sub(v5i a, v5i b)
{
    k_v5_each(i) a.v[i] -= b.v[i];

    return a;
}


k_v5 v5i
v5i_shl(v5i a, int n)
{
    k_v5_each(i) a.v[i] <<= n;

    return a;
}


k_v5 v5i
v5i_shr(v5i a, int n)
{
    k_v5_each(i) a.v[i] >>= n;

    return a;
}


k_v5 v5i
v5i_sar(v5i a, int n)
{
    k_v5_each(i) a.v[i] = (uint32_t) ((int32_t) a.v[i] >> n);

    return a;
}


k_v5 v5i
v5i_dot(v5i acc, v5i a, const int8_t *q)
{
    uint8_t u[4];

    k_v5_each(i)
    {
        memcpy(u, &a.v[i], 4);
        acc.v[i] +=
            (uint32_t) (u[0] * q[0] + u[1] * q[1] + u[2] * q[2] + u[3] * q[3]);
    }

    return acc;
}


k_v5 v5f
v5f_from_i(v5i a)
{
    v5f r;

    k_v5_each(i) r.v[i] = (float) (int32_t) a.v[i];

    return r;
}


k_v5 v5f
v5f_from_bits(v5i a)
{
    v5f r;

    memcpy(&r, &a, sizeof(r));

    return r;
}


k_v5 v5f
v5f_load_f16(const void *p)
{
    v5f      r;
    uint16_t h[16];

    memcpy(h, p, 32);
    k_v5_each(i) r.v[i] = k_f16(h[i]);

    return r;
}


k_v5 v5f
v5f_load(const void *p)
{
    v5f r;

    memcpy(&r, p, 64);

    return r;
}


k_v5 void
v5f_store(float *p, v5f a)
{
    memcpy(p, &a, 64);
}


k_v5 v5f
v5f_set(float v)
{
    v5f r;

    k_v5_each(i) r.v[i] = v;

    return r;
}


k_v5 v5f
v5f_add(v5f a, v5f b)
{
    k_v5_each(i) a.v[i] += b.v[i];

    return a;
}


k_v5 v5f
v5f_mul(v5f a, v5f b)
{
    k_v5_each(i) a.v[i] *= b.v[i];

    return a;
}


k_v5 v5f
v5f_fma(v5f a, v5f b, v5f c)
{
    k_v5_each(i) c.v[i] = fmaf(a.v[i], b.v[i], c.v[i]);

    return c;
}


k_v5 v5f
v5f_fnma(v5f a, v5f b, v5f c)
{
    k_v5_each(i) c.v[i] = fmaf(-a.v[i], b.v[i], c.v[i]);

    return c;
}


k_v5 void
v5_prefetch(const uint8_t *p, uint32_t size)
{
    (void) p;
    (void) size;
}

#endif /* K_VEC512_EMULATE */

#endif /* LLM_KERNELS_CPU_VEC512_H */
