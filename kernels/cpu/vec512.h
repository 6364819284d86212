/*
 * The 512-bit operations that gemm_avx512.c is written in, twice: as
 * AVX-512 intrinsics, and (K_VEC512_EMULATE) in plain C, so that the same
 * kernel source can be tested on a machine without AVX-512.  Each function
 * does what its instruction does, rounding included; v5i is sixteen 32-bit
 * lanes, v5f sixteen floats.  Memory needs no alignment.
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

/* Shifts of 32-bit lanes by a constant: left, right (zeros), right (sign). */
#define v5i_shl(a, n) _mm512_slli_epi32(a, n)
#define v5i_shr(a, n) _mm512_srli_epi32(a, n)
#define v5i_sar(a, n) _mm512_srai_epi32(a, n)

/* Nothing, but GCC's order of what is computed and its registers. */
#define v5i_keep(a) __asm__("" : "+v"(a))


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


/* The 4 bytes at p in all lanes. */
k_v5 v5i
v5i_each(const void *p)
{
    int v;

    memcpy(&v, p, 4);

    return _mm512_set1_epi32(v);
}


/* 16 integers of 16 or 8 bits, extended to a lane each. */
k_v5 v5i
v5i_load_u16(const void *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *) p));
}


k_v5 v5i
v5i_load_u8(const void *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) p));
}


k_v5 v5i
v5i_load_s8(const void *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) p));
}


/* 32 integers of 8 bits, extended to 16: two in a lane. */
k_v5 v5i
v5i_load_u8x2(const void *p)
{
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *) p));
}


k_v5 v5i
v5i_load_s8x2(const void *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *) p));
}


/* A table of 16 bytes, as v5i_look() wants it. */
k_v5 v5i
v5i_load_table(const void *p)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) p));
}


/* Each byte of a, 0 .. 15, becomes that byte of the table. */
k_v5 v5i
v5i_look(v5i table, v5i a)
{
    return _mm512_shuffle_epi8(table, a);
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


/* Bits of a where the mask has ones, of b elsewhere. */
k_v5 v5i
v5i_pick(v5i mask, v5i a, v5i b)
{
    return _mm512_ternarylogic_epi32(mask, a, b, 0xca);
}


k_v5 v5i
v5i_add(v5i a, v5i b)
{
    return _mm512_add_epi32(a, b);
}


k_v5 v5i
v5i_sub(v5i a, v5i b)
{
    return _mm512_sub_epi32(a, b);
}


/* Signed. */
k_v5 v5i
v5i_max(v5i a, v5i b)
{
    return _mm512_max_epi32(a, b);
}


/* acc + the sums of 4 products, u8 of a with s8 of b. */
k_v5 v5i
v5i_dot(v5i acc, v5i a, v5i b)
{
    return _mm512_dpbusd_epi32(acc, a, b);
}


/* acc + the sums of 2 products of s16. */
k_v5 v5i
v5i_dot2(v5i acc, v5i a, v5i b)
{
    return _mm512_dpwssd_epi32(acc, a, b);
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
v5f_sub(v5f a, v5f b)
{
    return _mm512_sub_ps(a, b);
}


k_v5 v5f
v5f_mul(v5f a, v5f b)
{
    return _mm512_mul_ps(a, b);
}


/* a * b + c, rounded once. */
k_v5 v5f
v5f_fma(v5f a, v5f b, v5f c)
{
    return _mm512_fmadd_ps(a, b, c);
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

#define v5i_keep(a) ((void) (a))

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

    k_v5_each(i) r.v[i] = 0;

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
v5i_each(const void *p)
{
    v5i r;

    k_v5_each(i) memcpy(&r.v[i], p, 4);

    return r;
}


k_v5 v5i
v5i_load_u16(const void *p)
{
    v5i      r;
    uint16_t h[16];

    memcpy(h, p, 32);
    k_v5_each(i) r.v[i] = h[i];

    return r;
}


k_v5 v5i
v5i_load_u8(const void *p)
{
    v5i r;

    k_v5_each(i) r.v[i] = ((const uint8_t *) p)[i];

    return r;
}


k_v5 v5i
v5i_load_s8(const void *p)
{
    v5i r;

    k_v5_each(i) r.v[i] = (uint32_t) ((const int8_t *) p)[i];

    return r;
}


k_v5 v5i
v5i_load_u8x2(const void *p)
{
    v5i            r;
    const uint8_t *b;

    b = p;
    k_v5_each(i) r.v[i] = b[2 * i] | (uint32_t) b[2 * i + 1] << 16;

    return r;
}


k_v5 v5i
v5i_load_s8x2(const void *p)
{
    v5i           r;
    const int8_t *b;

    b = p;
    k_v5_each(i) r.v[i] = (uint16_t) b[2 * i] | (uint32_t) b[2 * i + 1] << 16;

    return r;
}


k_v5 v5i
v5i_load_table(const void *p)
{
    v5i r;

    k_v5_each(i) memcpy(&r.v[i], (const uint8_t *) p + i % 4 * 4, 4);

    return r;
}


k_v5 v5i
v5i_look(v5i table, v5i a)
{
    int      j;
    uint8_t  t[64], b[64];
    uint32_t k;

    memcpy(t, &table, 64);
    memcpy(b, &a, 64);

    for (j = 0; j < 64; j++) {
        k = b[j];
        b[j] = k & 0x80 ? 0 : t[j / 16 * 16 + (k & 15)];
    }

    memcpy(&a, b, 64);

    return a;
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
v5i_pick(v5i mask, v5i a, v5i b)
{
    k_v5_each(i) a.v[i] = (a.v[i] & mask.v[i]) | (b.v[i] & ~mask.v[i]);

    return a;
}


k_v5 v5i
v5i_add(v5i a, v5i b)
{
    k_v5_each(i) a.v[i] += b.v[i];

    return a;
}


k_v5 v5i
v5i_sub(v5i a, v5i b)
{
    k_v5_each(i) a.v[i] -= b.v[i];

    return a;
}


k_v5 v5i
v5i_max(v5i a, v5i b)
{
    k_v5_each(i) a.v[i] = (int32_t) a.v[i] > (int32_t) b.v[i] ? a.v[i] : b.v[i];

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
v5i_dot(v5i acc, v5i a, v5i b)
{
    uint8_t u[4];
    int8_t  s[4];

    k_v5_each(i)
    {
        memcpy(u, &a.v[i], 4);
        memcpy(s, &b.v[i], 4);
        acc.v[i] +=
            (uint32_t) (u[0] * s[0] + u[1] * s[1] + u[2] * s[2] + u[3] * s[3]);
    }

    return acc;
}


k_v5 v5i
v5i_dot2(v5i acc, v5i a, v5i b)
{
    int16_t p[2], q[2];

    k_v5_each(i)
    {
        memcpy(p, &a.v[i], 4);
        memcpy(q, &b.v[i], 4);
        acc.v[i] += (uint32_t) (p[0] * q[0]) + (uint32_t) (p[1] * q[1]);
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
v5f_sub(v5f a, v5f b)
{
    k_v5_each(i) a.v[i] -= b.v[i];

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


k_v5 void
v5_prefetch(const uint8_t *p, uint32_t size)
{
    (void) p;
    (void) size;
}

#endif /* K_VEC512_EMULATE */

#endif /* LLM_KERNELS_CPU_VEC512_H */
