/*
 * Matrix products for AVX2 and FMA: 8 rows of w in the lanes.
 *
 * A block of 8 rows x 32 inputs is unpacked once into registers (8 vectors of
 * unsigned bytes) and meets every row of the activation tile in turn, so that
 * the price of unpacking is shared and any number of rows takes the same way.
 * VPMADDUBSW's pairs are added up in 16 bits as far as they cannot overflow:
 * 8 times for up to 4 bits, 4 times for 5, 2 times for 6; with 8 bits each is
 * widened at once.
 *
 * There is one kernel, of which the compiler makes one for each format
 * (K_AVX2_KERNEL); how a block comes into registers is in gemm_avx2.h, products
 * in floats are in gemm_f32_avx2.c.  Called on any thread; no state.
 * Accumulators of a tile lie on the stack.
 */

#include "kernels/cpu/gemm_avx2.h"

#define K_PAIRS 12 /* rows from which groups are taken in pairs */


static void k_avx2_int8(const k_job_t *job);
static void k_avx2_quantize(const k_act_t *a, uint32_t from, uint32_t to);
static void k_avx2_block(const float *x, k_q8_t *q);


const k_gemm_ops_t k_gemm_avx2 = {
    K_ISA_AVX2, K_LANES, k_avx2_int8, k_avx2_f32, k_avx2_quantize,
};


/* Products of vectors i .. i + n - 1 with x, added up in 16 bits. */

k_inline __m256i
k_chain(const __m256i *u, const int8_t *q, int i, int n)
{
    int     j;
    __m256i a;

    a = _mm256_maddubs_epi16(u[i], k_bytes4(q + i * 4));

#pragma GCC unroll 8
    for (j = i + 1; j < i + n; j++) {
        a = _mm256_add_epi16(a,
                             _mm256_maddubs_epi16(u[j], k_bytes4(q + j * 4)));
        k_in_order(a);
    }

    return a;
}


/* A block's 8 sums in 32 bits, the halves times their sub-scales if any. */

k_inline __m256i
k_dot(const k_regs_t *r, const k_shape_t s, const int8_t *q)
{
    int     i;
    __m256i a, b, w[2];

    w[0] = _mm256_set1_epi16(1);
    w[1] = w[0];

    if (s.sub == K_SUB_TWO || s.sub == K_SUB_PAIR) {
        w[0] = r->sub[0];
        w[1] = r->sub[1];

    } else if (s.chain == 8) {
        a = k_chain(r->u, q, 0, 4);
        b = k_chain(r->u, q, 4, 4);
        return _mm256_madd_epi16(_mm256_add_epi16(a, b), w[0]);
    }

    if (s.chain >= 4) {
        a = k_chain(r->u, q, 0, 4);
        b = k_chain(r->u, q, 4, 4);
        return _mm256_add_epi32(_mm256_madd_epi16(a, w[0]),
                                _mm256_madd_epi16(b, w[1]));
    }

    a = _mm256_madd_epi16(k_chain(r->u, q, 0, 2), w[0]);

#pragma GCC unroll 4
    for (i = 2; i < 8; i += 2) {
        b = _mm256_madd_epi16(k_chain(r->u, q, i, 2), w[i / 4]);
        a = _mm256_add_epi32(a, b);
    }

    return a;
}


/* acc + the sums `dot` of a block, scaled. */

k_inline __m256
k_scaled(const k_regs_t *r, const k_shape_t s, __m256i dot, const k_q8_t *q,
         __m256 acc)
{
    __m256  d;
    __m256i h;

    d = _mm256_broadcast_ss(&q->d);

    if (s.sub == K_SUB_TWO || s.sub == K_SUB_PAIR) {
        h = k_bytes4((const int8_t *) q->h);

        if (s.off) {
            dot = _mm256_sub_epi32(dot, _mm256_madd_epi16(r->offs, h));
        }

        if (s.min) {
            h = _mm256_madd_epi16(r->mins, h);
            acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(h),
                                  _mm256_mul_ps(r->min, d), acc);
        }

    } else {
        if (s.off) {
            h = _mm256_set1_epi32(q->sum8);
            h = s.off == 8 ? h : _mm256_slli_epi32(h, 1);
            dot = _mm256_sub_epi32(dot, h);
        }

        if (s.min) {
            acc = _mm256_fmadd_ps(r->min, _mm256_broadcast_ss(&q->dsum), acc);
        }
    }

    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(r->scale, d),
                           acc);
}


/*
 * 8-bit weights: x takes the sign of w, and |w| is unsigned.  Only two
 * products fit into 16 bits: each pair is widened at once.
 */

k_inline __m256i
k_widen(__m256i abs, __m256i w, const int8_t *q)
{
    __m256i x;

    x = _mm256_sign_epi8(k_bytes4(q), w);

    return _mm256_madd_epi16(_mm256_maddubs_epi16(abs, x),
                             _mm256_set1_epi16(1));
}


/* 8 sums of a block of 8-bit weights in registers. */

k_inline __m256i
k_full_dot(const __m256i *u, const int8_t *q)
{
    int     i;
    __m256i sum;

    sum = k_widen(_mm256_abs_epi8(u[0]), u[0], q);

#pragma GCC unroll 8
    for (i = 1; i < 8; i++) {
        sum = _mm256_add_epi32(sum,
                               k_widen(_mm256_abs_epi8(u[i]), u[i], q + i * 4));
        k_in_order(sum);
    }

    return sum;
}


/* A block's vectors and scales, and its sums with a row of x. */

k_inline void
k_load(const uint8_t *rec, const k_shape_t s, int b, const k_head_t *h,
       k_regs_t *r)
{
    const uint8_t *p;

    p = rec + k_planes_at(s) + b * s.bits * 32;
    k_load_scales(rec, s, b, h, r);

    if (s.full) {
        k_signed(p, s, r->u);
    } else {
        k_unsigned(p, s, r->u);
    }
}


k_inline __m256
k_step(const k_regs_t *r, const k_shape_t s, const k_q8_t *q, __m256 acc)
{
    __m256i dot;

    dot = s.full ? k_full_dot(r->u, q->q) : k_dot(r, s, q->q);

    return k_scaled(r, s, dot, q, acc);
}


/* One group, any number of rows. */

k_inline void
k_many(const k_job_t *job, const k_shape_t s)
{
    int            b;
    float          acc[K_TILE_MAX * K_LANES] __attribute__((aligned(32))), *p;
    uint32_t       n, m, i, records;
    k_regs_t       r;
    k_head_t       h;
    const k_q8_t  *q, *x;
    const uint8_t *rec;

    records = job->w->cols / K_BLOCK / (uint32_t) k_blocks(s);

    for (n = job->n_from; n < job->n_to; n += K_LANES) {
        rec = k_group(job->w, n);
        q = job->q;
        memset(acc, 0, job->m * K_LANES * sizeof(float));

        for (i = 0; i < records; i++, rec += job->w->record) {
            k_head(rec, s, &h);

            for (b = 0; b < k_blocks(s); b++, q += job->stride) {
                k_load(rec, s, b, &h, &r);
                x = q;

#pragma GCC unroll 4
                for (p = acc; p < acc + job->m * K_LANES; p += K_LANES, x++) {
                    _mm256_store_ps(p, k_step(&r, s, x, _mm256_load_ps(p)));
                }
            }
        }

        for (m = 0; m < job->m; m++) {
            k_store(job, m, n, _mm256_load_ps(acc + m * K_LANES));
        }
    }
}


/*
 * A block for a tile of rows.  With 8 bits, u are masks of the negative
 * weights: w * x = |w| * (x ^ mask) + (mask ? |w| : 0), and the latter's sums
 * are the same for every row.  VPXOR finds a free port where VPSIGNB does not.
 */
typedef struct {
    k_regs_t r;
    __m256i  abs[8];
    __m256i  neg;
} k_pair_t;


k_inline void
k_pair_load(const uint8_t *rec, const k_shape_t s, int b, k_pair_t *t)
{
    int      i;
    __m256i  v;
    k_head_t h;

    k_head(rec, s, &h);
    k_load(rec, s, b, &h, &t->r);

    if (!s.full) {
        return;
    }

    t->neg = _mm256_setzero_si256();

#pragma GCC unroll 8
    for (i = 0; i < 8; i++) {
        v = t->r.u[i];
        t->abs[i] = _mm256_abs_epi8(v);
        t->r.u[i] = _mm256_cmpgt_epi8(_mm256_setzero_si256(), v);

        /* the mask is -1 */
        v = _mm256_maddubs_epi16(t->abs[i], t->r.u[i]);
        v = _mm256_madd_epi16(v, _mm256_set1_epi16(-1));
        t->neg = _mm256_add_epi32(t->neg, v);
    }
}


/*
 * Vectors that are added up in one sum of 16 bits: as many as fit, and none of
 * the other half where halves have sub-scales.
 */

k_inline int
k_run(const k_shape_t s)
{
    if (s.full || (s.chain == 8 && s.sub != K_SUB_TWO && s.sub != K_SUB_PAIR)) {
        return 8;
    }

    return s.chain == 2 ? 2 : 4;
}


/* Sums in 16 bits of half i into 32, times the half's sub-scale if any. */

k_inline __m256i
k_half_sum(const k_pair_t *t, const k_shape_t s, int i, __m256i sum)
{
    if (s.sub == K_SUB_TWO || s.sub == K_SUB_PAIR) {
        return _mm256_madd_epi16(sum, t->r.sub[i]);
    }

    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}


/* sum (8 bits: in 32 bits, else in 16) + the product of vector i with x. */

k_inline __m256i
k_pair_sum(const k_pair_t *t, const k_shape_t s, int i, __m256i x, __m256i sum)
{
    if (s.full) {
        x = _mm256_xor_si256(x, t->r.u[i]);
        x = _mm256_maddubs_epi16(t->abs[i], x);
        x = _mm256_madd_epi16(x, _mm256_set1_epi16(1));

        return _mm256_add_epi32(i == 0 ? t->neg : sum, x);
    }

    x = _mm256_maddubs_epi16(t->r.u[i], x);

    return i % k_run(s) == 0 ? x : _mm256_add_epi16(sum, x);
}


/*
 * `rows` rows of x with `groups` (1 or 2) blocks: a broadcast serves two.  The
 * weights are too many for the registers: they come from memory, each once for
 * all of the rows.  Accumulators of group g are at acc + g * K_TILE_MAX *
 * K_LANES.
 */

k_inline void
k_pair_step(const k_pair_t *t, const k_shape_t s, const k_q8_t *q, float *acc,
            const int rows, const int groups)
{
    int     i, j, g;
    float  *p;
    __m256i sum[2][4], dot[2][4], x[4], v;

    /* GCC would keep some of u, and spill what is needed more */
    __asm__ volatile("" : : "r"(t) : "memory");

#pragma GCC unroll 8
    for (i = 0; i < 8; i++) {
#pragma GCC unroll 4
        for (j = 0; j < rows; j++) {
            x[j] = k_bytes4(q[j].q + i * 4);
            k_in_order(x[j]);
        }

#pragma GCC unroll 2
        for (g = 0; g < groups; g++) {
#pragma GCC unroll 4
            for (j = 0; j < rows; j++) {
                if (i > 0 && i % k_run(s) == 0) {
                    v = k_half_sum(&t[g], s, (i - 1) / 4, sum[g][j]);
                    dot[g][j] =
                        i == k_run(s) ? v : _mm256_add_epi32(dot[g][j], v);
                }

                sum[g][j] = k_pair_sum(&t[g], s, i, x[j], sum[g][j]);
                k_in_order(sum[g][j]);
            }
        }
    }

#pragma GCC unroll 4
    for (j = 0; j < rows; j++) {
#pragma GCC unroll 2
        for (g = 0; g < groups; g++) {
            p = acc + (g * K_TILE_MAX + j) * K_LANES;

            if (!s.full) {
                sum[g][j] = k_half_sum(&t[g], s, 1, sum[g][j]);
            }

            if (k_run(s) < 8) {
                sum[g][j] = _mm256_add_epi32(dot[g][j], sum[g][j]);
            }

            _mm256_store_ps(p, k_scaled(&t[g].r, s, sum[g][j], q + j,
                                        _mm256_load_ps(p)));
        }
    }
}


/* `groups` groups from row n of w on, any number of rows. */

k_inline void
k_pair_tile(const k_job_t *job, const k_shape_t s, uint32_t n, const int groups)
{
    int           g, in;
    float         acc[2 * K_TILE_MAX * K_LANES] __attribute__((aligned(32)));
    size_t        at;
    uint32_t      m, b, blocks;
    k_pair_t      t[2];
    const k_q8_t *q;

    blocks = job->w->cols / K_BLOCK;
    q = job->q;

#pragma GCC unroll 2
    for (g = 0; g < groups; g++) {
        memset(acc + g * K_TILE_MAX * K_LANES, 0,
               job->m * K_LANES * sizeof(float));
    }

    for (b = 0; b < blocks; b++, q += job->stride) {
        in = (int) b % k_blocks(s);
        at = b / (uint32_t) k_blocks(s) * (size_t) job->w->record;

#pragma GCC unroll 2
        for (g = 0; g < groups; g++) {
            k_pair_load(k_group(job->w, n + (uint32_t) g * K_LANES) + at, s, in,
                        &t[g]);
        }

        for (m = 0; m + 4 <= job->m; m += 4) {
            k_pair_step(t, s, q + m, acc + m * K_LANES, 4, groups);
        }

        for (; m < job->m; m++) {
            k_pair_step(t, s, q + m, acc + m * K_LANES, 1, groups);
        }
    }

    for (m = 0; m < job->m; m++) {
        for (g = 0; g < groups; g++) {
            k_store(job, m, n + (uint32_t) g * K_LANES,
                    _mm256_load_ps(
                        acc + ((uint32_t) g * K_TILE_MAX + m) * K_LANES));
        }
    }
}


k_inline void
k_pair_many(const k_job_t *job, const k_shape_t s)
{
    uint32_t n;

    n = job->n_from;

    for (; n + K_LANES < job->n_to; n += 2 * K_LANES) {
        k_pair_tile(job, s, n, 2);
    }

    if (n < job->n_to) {
        k_pair_tile(job, s, n, 1);
    }
}


/* One row: the accumulator stays in its register. */

k_inline void
k_one(const k_job_t *job, const k_shape_t s)
{
    int            b;
    __m256         acc;
    uint32_t       n, i, records;
    k_regs_t       r;
    k_head_t       h;
    const k_q8_t  *q;
    const uint8_t *rec, *p;

    records = job->w->cols / K_BLOCK / (uint32_t) k_blocks(s);

    for (n = job->n_from; n < job->n_to; n += K_LANES) {
        rec = k_group(job->w, n);
        acc = _mm256_setzero_ps();
        q = job->q;

        for (i = 0; i < records; i++, rec += job->w->record) {
            k_prefetch(rec, k_planes_at(s));
            k_head(rec, s, &h);
            p = rec + k_planes_at(s);

            for (b = 0; b < k_blocks(s); b++, q += job->stride) {
                k_prefetch(p, s.bits * 32);
                k_load(rec, s, b, &h, &r);
                acc = k_step(&r, s, q, acc);
                p += s.bits * 32;
            }
        }

        k_store(job, 0, n, acc);
    }
}


/* The kernel of a format; it is followed by a semicolon. */

#define K_AVX2_KERNEL(name, ...)                                               \
    static void k_avx2_##name(const k_job_t *job)                              \
    {                                                                          \
        const k_shape_t s = {__VA_ARGS__};                                     \
                                                                               \
        if (job->m == 1) {                                                     \
            k_one(job, s);                                                     \
        } else if (job->m >= K_PAIRS) {                                        \
            k_pair_many(job, s);                                               \
        } else {                                                               \
            k_many(job, s);                                                    \
        }                                                                      \
    }                                                                          \
    _Static_assert(1, "")

K_AVX2_KERNEL(q4_0, .bits = 4, .off = 8, .chain = 8);
K_AVX2_KERNEL(q4_1, .bits = 4, .chain = 8, .min = 1);
K_AVX2_KERNEL(q5_0, .bits = 5, .off = 16, .chain = 4);
K_AVX2_KERNEL(q5_1, .bits = 5, .chain = 4, .min = 1);
K_AVX2_KERNEL(q8_0, .bits = 8, .full = 1);
K_AVX2_KERNEL(q2_k, .bits = 2, .chain = 8, .min = 1, .sub = K_SUB_PAIR);
K_AVX2_KERNEL(q3_k, .bits = 3, .off = 4, .chain = 8, .sub = K_SUB_TWO);
K_AVX2_KERNEL(q4_k, .bits = 4, .chain = 8, .min = 1, .sub = K_SUB_MIN);
K_AVX2_KERNEL(q5_k, .bits = 5, .chain = 4, .min = 1, .sub = K_SUB_MIN);
K_AVX2_KERNEL(q6_k, .bits = 6, .off = 32, .chain = 2, .sub = K_SUB_TWO);
K_AVX2_KERNEL(iq4_nl, .bits = 4, .full = 1, .map = K_MAP_IQ4);
K_AVX2_KERNEL(iq4_xs, .bits = 4, .full = 1, .map = K_MAP_IQ4, .sub = K_SUB_ONE);
K_AVX2_KERNEL(mxfp4, .bits = 4, .off = 16, .chain = 4, .map = K_MAP_MXFP4);


static void
k_avx2_int8(const k_job_t *job)
{
    static void (*const kernels[])(const k_job_t *) = {
        [K_Q4_0] = k_avx2_q4_0,     [K_Q4_1] = k_avx2_q4_1,
        [K_Q5_0] = k_avx2_q5_0,     [K_Q5_1] = k_avx2_q5_1,
        [K_Q8_0] = k_avx2_q8_0,     [K_Q2_K] = k_avx2_q2_k,
        [K_Q3_K] = k_avx2_q3_k,     [K_Q4_K] = k_avx2_q4_k,
        [K_Q5_K] = k_avx2_q5_k,     [K_Q6_K] = k_avx2_q6_k,
        [K_IQ4_NL] = k_avx2_iq4_nl, [K_IQ4_XS] = k_avx2_iq4_xs,
        [K_MXFP4] = k_avx2_mxfp4,
    };

    kernels[job->w->type](job);
}


/* Sum of 8 lanes. */

k_inline int
k_sum8(__m256i v)
{
    __m128i s;

    s = _mm_add_epi32(_mm256_castsi256_si128(v),
                      _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));

    return _mm_cvtsi128_si32(s);
}


static void
k_avx2_block(const float *x, k_q8_t *q)
{
    int      i;
    float    amax;
    __m128i  s;
    __m256   v[4], inv;
    __m256i  a, max, c[4];
    uint32_t bits;

    max = _mm256_setzero_si256();

    for (i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + i * 8);
        a = _mm256_and_si256(_mm256_castps_si256(v[i]),
                             _mm256_set1_epi32(0x7fffffff));
        max = _mm256_max_epu32(max, a);
    }

    s = _mm_max_epu32(_mm256_castsi256_si128(max),
                      _mm256_extracti128_si256(max, 1));
    s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0xb1));
    bits = (uint32_t) _mm_cvtsi128_si32(s);
    amax = k_f32_bits(bits);

    if (bits >= 0x7f800000 || amax < K_AMAX_MIN) {
        memset(q, 0, sizeof(*q));
        q->d = bits >= 0x7f800000 ? k_f32_bits(0x7fc00000) : 0;
        return;
    }

    q->d = amax / 127.0f;
    inv = _mm256_set1_ps(127.0f / amax);

    for (i = 0; i < 4; i++) {
        c[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inv));
    }

    q->h[0] = (int16_t) k_sum8(_mm256_add_epi32(c[0], c[1]));
    q->h[1] = (int16_t) k_sum8(_mm256_add_epi32(c[2], c[3]));
    q->sum8 = 8 * (q->h[0] + q->h[1]);
    q->dsum = q->d * (float) (q->h[0] + q->h[1]);

    a = _mm256_packs_epi16(_mm256_packs_epi32(c[0], c[1]),
                           _mm256_packs_epi32(c[2], c[3]));
    a = _mm256_permutevar8x32_epi32(a,
                                    _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *) q->q, a);
}


static void
k_avx2_quantize(const k_act_t *a, uint32_t from, uint32_t to)
{
    uint32_t     m, b;
    const float *x;

    for (m = from; m < to; m++) {
        x = a->x + m * a->ld;

        for (b = 0; b < a->cols / K_BLOCK; b++) {
            k_avx2_block(x + b * K_BLOCK, k_act_at(a, m, b));
        }
    }
}
