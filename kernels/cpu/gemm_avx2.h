/*
 * Inside the AVX2 files of the matrix products: blocks of the packed form
 * (gemm_kernel.h) into registers, by constants (k_shape_t) of which the
 * compiler makes code for each format.  See gemm_avx2.c.
 */

#ifndef LLM_KERNELS_CPU_GEMM_AVX2_H
#define LLM_KERNELS_CPU_GEMM_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/gemm_kernel.h"

#define K_LANES  8
#define K_AHEAD  8192 /* bytes: how far one row of x prefetches w */
#define k_inline static inline __attribute__((always_inline))


/* A format as a constant; the fields are k_format_t's. */
typedef struct {
    int     bits;
    int     off;   /* of the unsigned bytes: 8 or 16; any with sub-scales */
    int     chain; /* products that fit into 16 bits: 8, 4, 2 */
    int     full;  /* 8 bits, signed */
    int     min;
    k_sub_t sub;
    k_map_t map;
} k_shape_t;

/* What a record's head says; d and m as they are. */
typedef struct {
    __m256 d;
    __m256 m;
} k_head_t;

typedef struct {
    __m256i u[8];
    __m256  scale;
    __m256  min;
    __m256i sub[2]; /* K_SUB_TWO, _PAIR: s16 scales of a half, twice each */
    __m256i offs;   /* s16 pairs: off * scale of both halves */
    __m256i mins;   /* s16 pairs: minima of both halves */
} k_regs_t;


/* In floats, any format: gemm_f32_avx2.c. */
void k_avx2_f32(const k_job_t *job);


/*
 * Keeps GCC from turning a chain of sums into a tree: that would need more
 * registers than there are.
 */
#define k_in_order(v) __asm__("" : "+x"(v))


k_inline int
k_blocks(const k_shape_t s)
{
    return s.sub == K_SUB_NONE ? 1 : 8;
}


/* Bytes of a record before the sub-scales of block 0, and of a block's. */

k_inline int
k_head_size(const k_shape_t s)
{
    return ((s.map == K_MAP_MXFP4 ? 1 : 2) + 2 * s.min) * K_LANES;
}


k_inline int
k_sub_size(const k_shape_t s)
{
    return (s.sub == K_SUB_NONE ? 0 : s.sub == K_SUB_ONE ? 1 : 2) * K_LANES;
}


k_inline int
k_planes_at(const k_shape_t s)
{
    return k_head_size(s) + k_blocks(s) * k_sub_size(s);
}


k_inline __m256i
k_vec(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *) p);
}


k_inline __m256i
k_bytes4(const int8_t *q)
{
    int v;

    memcpy(&v, q, 4);

    return _mm256_set1_epi32(v);
}


k_inline __m256
k_halves(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p));
}


/* 2^(e - 128) for 8 exponents; the smallest two are subnormal. */

k_inline __m256
k_exponents(const uint8_t *p)
{
    __m256i e, low;

    e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) p));
    low = _mm256_min_epi32(e, _mm256_set1_epi32(2));
    low = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), low);
    e = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);

    return _mm256_castsi256_ps(_mm256_max_epi32(e, low));
}


/*
 * A record that follows soon: the matrix is read from front to back, across
 * the ends of groups, but the CPU's own prefetcher stops at each page.
 */

k_inline void
k_prefetch(const uint8_t *p, int size)
{
    int i;

    for (i = 0; i < size; i += 64) {
        _mm_prefetch((const char *) p + K_AHEAD + i, _MM_HINT_T0);
    }
}


/* Writes up to 8 outputs of row m from n on. */

k_inline void
k_store(const k_job_t *job, uint32_t m, uint32_t n, __m256 acc)
{
    float   *out, tmp[K_LANES];
    uint32_t i;

    out = job->out + m * job->ld + n;

    if (n + K_LANES <= job->n_to) {
        if (job->bias) {
            acc = _mm256_add_ps(acc, _mm256_loadu_ps(job->bias + n));
        }

        if (job->flags & K_GEMM_ADD) {
            acc = _mm256_add_ps(_mm256_loadu_ps(out), acc);
        }

        _mm256_storeu_ps(out, acc);
        return;
    }

    _mm256_storeu_ps(tmp, acc);

    for (i = 0; i < job->n_to - n; i++) {
        if (job->bias) {
            tmp[i] += job->bias[n + i];
        }

        out[i] = job->flags & K_GEMM_ADD ? out[i] + tmp[i] : tmp[i];
    }
}


/* Bits of two planes, or of one shifted. */

k_inline __m256i
k_bits(__m256i v, int right, int mask)
{
    if (right > 0) {
        v = _mm256_srli_epi16(v, right);
    } else if (right < 0) {
        v = _mm256_slli_epi16(v, -right);
    }

    return _mm256_and_si256(v, _mm256_set1_epi8((char) mask));
}


/* The planes of a block into 8 vectors. */

k_inline void
k_unpack(const uint8_t *p, const int bits, __m256i *u)
{
    int     i;
    __m256i v[8];

#pragma GCC unroll 8
    for (i = 0; i < bits; i++) {
        v[i] = k_vec(p + i * 32);
    }

    switch (bits) {

    case 2:
#pragma GCC unroll 8
        for (i = 0; i < 8; i++) {
            u[i] = k_bits(v[i / 4], i % 4 * 2, 3);
        }
        return;

    case 3:
#pragma GCC unroll 8
        for (i = 0; i < 6; i++) {
            u[i] = k_bits(v[i / 2], i % 2 * 3, 7);
        }

        u[6] = _mm256_or_si256(k_bits(v[0], 6, 3), k_bits(v[2], 4, 4));
        u[7] = _mm256_or_si256(k_bits(v[1], 6, 3), k_bits(v[2], 5, 4));
        return;

    case 4:
#pragma GCC unroll 8
        for (i = 0; i < 8; i++) {
            u[i] = k_bits(v[i % 4], i / 4 * 4, 15);
        }
        return;

    case 5:
#pragma GCC unroll 8
        for (i = 0; i < 5; i++) {
            u[i] = k_bits(v[i], 0, 31);
        }

        u[5] = _mm256_or_si256(k_bits(v[0], 5, 7), k_bits(v[1], 2, 24));
        u[6] = _mm256_or_si256(k_bits(v[2], 5, 7), k_bits(v[3], 2, 24));
        u[7] = _mm256_or_si256(k_bits(v[4], 5, 7), k_bits(v[1], 4, 8));
        u[7] = _mm256_or_si256(u[7], k_bits(v[3], 3, 16));
        return;

    case 6:
#pragma GCC unroll 8
        for (i = 0; i < 6; i++) {
            u[i] = k_bits(v[i], 0, 63);
        }

#pragma GCC unroll 8
        for (i = 0; i < 2; i++) {
            u[6 + i] = _mm256_or_si256(k_bits(v[i * 3], 6, 3),
                                       k_bits(v[i * 3 + 1], 4, 12));
            u[6 + i] = _mm256_or_si256(u[6 + i], k_bits(v[i * 3 + 2], 2, 48));
        }
        return;

    default:
#pragma GCC unroll 8
        for (i = 0; i < 8; i++) {
            u[i] = v[i];
        }
        return;
    }
}


/* What a format's indices stand for, plus `add`. */

k_inline __m256i
k_table(const int8_t *map, int add)
{
    __m128i t;

    t = _mm_loadu_si128((const __m128i *) map);

    return _mm256_add_epi8(_mm256_broadcastsi128_si256(t),
                           _mm256_set1_epi8((char) add));
}


/* 8 vectors of a block as signed bytes: the format's integers. */

k_inline void
k_signed(const uint8_t *p, const k_shape_t s, __m256i *u)
{
    int     i;
    __m256i t;

    k_unpack(p, s.bits, u);

    if (s.map != K_MAP_NONE) {
        t = k_table(s.map == K_MAP_IQ4 ? k_map_iq4 : k_map_mxfp4, 0);

#pragma GCC unroll 8
        for (i = 0; i < 8; i++) {
            u[i] = _mm256_shuffle_epi8(t, u[i]);
        }
    }
}


/* 8 vectors as unsigned bytes, `off` above the format's integers. */

k_inline void
k_unsigned(const uint8_t *p, const k_shape_t s, __m256i *u)
{
    int     i;
    __m256i t;

    k_unpack(p, s.bits, u);

    if (s.map != K_MAP_NONE) {
        t = k_table(k_map_mxfp4, s.off);

#pragma GCC unroll 8
        for (i = 0; i < 8; i++) {
            u[i] = _mm256_shuffle_epi8(t, u[i]);
        }
    }
}


k_inline void
k_head(const uint8_t *rec, const k_shape_t s, k_head_t *h)
{
    h->d = s.map == K_MAP_MXFP4 ? k_exponents(rec) : k_halves(rec);
    h->m = s.min ? k_halves(rec + 2 * K_LANES) : _mm256_setzero_ps();
}


/* Scales of block b. */

k_inline void
k_load_scales(const uint8_t *rec, const k_shape_t s, int b, const k_head_t *h,
              k_regs_t *r)
{
    __m256i        v;
    const uint8_t *p;

    p = rec + k_head_size(s) + b * k_sub_size(s);
    r->scale = h->d;
    r->min = h->m;

    switch (s.sub) {

    case K_SUB_MIN:
        v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) p));
        r->scale = _mm256_mul_ps(h->d, _mm256_cvtepi32_ps(v));
        v = _mm256_cvtepu8_epi32(
            _mm_loadl_epi64((const __m128i *) (p + K_LANES)));
        r->min = _mm256_mul_ps(h->m, _mm256_cvtepi32_ps(v));
        return;

    case K_SUB_ONE:
        v = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *) p));
        r->scale = _mm256_mul_ps(h->d, _mm256_cvtepi32_ps(v));
        return;

    case K_SUB_TWO:
        v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) p));
        r->offs = _mm256_mullo_epi16(v, _mm256_set1_epi16((short) s.off));
        break;

    case K_SUB_PAIR:
        v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *) p));
        r->mins = _mm256_srli_epi16(v, 4);
        v = _mm256_and_si256(v, _mm256_set1_epi16(15));
        break;

    default:
        return;
    }

    /* of the four pairs of a lane, the first or the second of each, twice */
    r->sub[0] = _mm256_shuffle_epi8(
        v, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8,
                                                     9, 8, 9, 12, 13, 12, 13)));
    r->sub[1] =
        _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(
                                   _mm_setr_epi8(2, 3, 2, 3, 6, 7, 6, 7, 10, 11,
                                                 10, 11, 14, 15, 14, 15)));
}

#endif /* LLM_KERNELS_CPU_GEMM_AVX2_H */
