/*
 * Matrix products for AVX-512 with VNNI: 16 rows of w in the lanes.
 *
 * Two blocks of 16 rows x 32 inputs are unpacked once into 16 registers of
 * unsigned bytes and meet the rows of the activation tile, up to K_ROWS at a
 * time: a broadcast serves two VPDPBUSD, whose chains are many enough to hide
 * their latency.  What has to be subtracted because bytes are unsigned, off *
 * sum of x, is where the chains start: one VPDPWSSD for both blocks.
 *
 * Formats with two scales in a block start their chains from K_MAGIC's bits,
 * so that the sums are floats without a conversion; sub * (K_MAGIC + sum) -
 * sub * K_MAGIC is exact.
 *
 * Written in the operations of vec512.h; t/kernels/gemm.c compiles the same
 * source with them emulated (K_VEC512_EMULATE; the table is then called
 * k_gemm_vec512).  Called on any thread; no state.
 */

#include "kernels/cpu/gemm_avx512.h"

#define K_ROWS  4    /* of x at a time */
#define K_AHEAD 8192 /* bytes: how far one row of x prefetches w */


static void k_v512_int8(const k_job_t *job);
static void k_v512_f32(const k_job_t *job);
static void k_v512_quantize(const k_act_t *a, uint32_t from, uint32_t to);


#ifdef K_VEC512_EMULATE
extern const k_gemm_ops_t k_gemm_vec512;
const k_gemm_ops_t        k_gemm_vec512 = {
#else
const k_gemm_ops_t k_gemm_avx512 = {
#endif
    K_ISA_AVX512, K_LANES, k_v512_int8, k_v512_f32, k_v512_quantize,
};


/* Writes up to 16 outputs of row m from n on. */

k_inline void
k_store(const k_job_t *job, uint32_t m, uint32_t n, v5f acc)
{
    float   *out, tmp[K_LANES];
    uint32_t i;

    out = job->out + m * job->ld + n;

    if (n + K_LANES <= job->n_to) {
        if (job->bias) {
            acc = v5f_add(acc, v5f_load(job->bias + n));
        }

        if (job->flags & K_GEMM_ADD) {
            acc = v5f_add(v5f_load(out), acc);
        }

        v5f_store(out, acc);
        return;
    }

    v5f_store(tmp, acc);

    for (i = 0; i < job->n_to - n; i++) {
        if (job->bias) {
            tmp[i] += job->bias[n + i];
        }

        out[i] = job->flags & K_GEMM_ADD ? out[i] + tmp[i] : tmp[i];
    }
}


/* Where the sum of half i (of the block, if it has no halves) starts. */

k_inline v5i
k_start(const k_regs_t *r, const k_rows_t kind, const int i, const k_q8_t *x)
{
    v5i zero;

    zero = k_rows_halved(kind) ? v5i_set32(K_MAGIC_BITS) : v5i_zero();

    if (kind == K_ROWS_OFF || kind == K_ROWS_TWO) {
        return v5i_dot2(zero, r->off[i], v5i_each(x->h));
    }

    return zero;
}


/* dot + vectors [from, to) of u times x. */

k_inline void
k_dots(const v5i u[][8], const k_q8_t *x, v5i dot[][K_ROWS], const int from,
       const int to, const int rows, const int groups)
{
    int g, j, k;
    v5i v;

#pragma GCC unroll 8
    for (k = from; k < to; k++) {
#pragma GCC unroll 4
        for (j = 0; j < rows; j++) {
            v = v5i_each(x[j].q + k * 4);
#pragma GCC unroll 2
            for (g = 0; g < groups; g++) {
                dot[g][j] = v5i_dot(dot[g][j], u[g][k], v);
                v5i_keep(dot[g][j]);
            }
        }
    }
}


/*
 * acc + the product of a block whose sums are dot: of half 1, if it has halves;
 * half 0 has its in dot0.
 */

k_inline v5f
k_scaled(const k_regs_t *r, const k_rows_t kind, v5i dot0, v5i dot,
         const k_q8_t *x, v5f acc)
{
    v5f t, d;
    v5i min;

    d = v5f_set(x->d);

    if (kind == K_ROWS_PAIR) {
        min = v5i_dot2(v5i_zero(), r->minima, v5i_each(x->h));
        acc = v5f_fma(v5f_from_i(min), v5f_mul(r->m, d), acc);

    } else if (kind == K_ROWS_MIN) {
        acc = v5f_fma(r->m, v5f_set(x->dsum), acc);
    }

    if (k_rows_halved(kind)) {
        t = v5f_sub(v5f_from_bits(dot), v5f_set(K_MAGIC));
        t = v5f_fma(r->sub[1], t,
                    v5f_fma(r->sub[0], v5f_from_bits(dot0), r->bias));

    } else {
        t = v5f_from_i(dot);
    }

    return v5f_fma(t, v5f_mul(r->d, d), acc);
}


/*
 * `groups` (1 or 2) blocks r, elements u, with `rows` rows of x.
 * Accumulators of group g are at acc + g * K_TILE_MAX.
 */

k_inline void
k_step(const k_regs_t *r, const v5i u[][8], const k_rows_t kind,
       const k_q8_t *x, v5f *acc, const int rows, const int groups)
{
    int g, i, j, halves;
    v5i dot[2][2][K_ROWS], v;
    v5f t[2];

    halves = k_rows_halved(kind) ? 2 : 1;

#pragma GCC unroll 2
    for (i = 0; i < halves; i++) {

#pragma GCC unroll 4
        for (j = 0; j < rows; j++) {
            v = k_start(r, kind, i, x + j);
#pragma GCC unroll 2
            for (g = 0; g < groups; g++) {
                dot[i][g][j] = v;
            }
        }

        k_dots(u, x, dot[i], i * 4, halves == 1 ? 8 : i * 4 + 4, rows, groups);
    }

#pragma GCC unroll 4
    for (j = 0; j < rows; j++) {
#pragma GCC unroll 2
        for (g = 0; g < groups; g++) {
            t[g] = k_scaled(&r[g], kind, dot[0][g][j], dot[halves - 1][g][j],
                            x + j, acc[g * K_TILE_MAX + j]);
        }

#pragma GCC unroll 2
        for (g = 0; g < groups; g++) {
            acc[g * K_TILE_MAX + j] = t[g];
        }
    }
}


/*
 * A block of each group with m rows of x.  The elements stay in registers;
 * scales are read where they are used, since acc might be their memory: they
 * cost no registers, and loads are not what binds.
 */

k_inline void
k_rows(const k_regs_t *r, const k_rows_t kind, const k_q8_t *x, uint32_t m,
       v5f *acc, const int groups)
{
    int g, k;
    v5i u[2][8];

#pragma GCC unroll 2
    for (g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (k = 0; k < 8; k++) {
            u[g][k] = r[g].u[k];
        }
    }

    /* with halves there are sums to keep: fewer rows */
    for (; m >= 4 && !k_rows_halved(kind); m -= 4, x += 4, acc += 4) {
        k_step(r, u, kind, x, acc, 4, groups);
    }

    for (; m >= 2; m -= 2, x += 2, acc += 2) {
        k_step(r, u, kind, x, acc, 2, groups);
    }

    if (m) {
        k_step(r, u, kind, x, acc, 1, groups);
    }
}


/* Functions of their own: the compiler runs out of registers otherwise. */

#define K_V512_ROWS(name, kind)                                                \
    static __attribute__((noinline)) void k_rows_##name##_1(                   \
        const k_regs_t *r, const k_q8_t *x, uint32_t m, v5f *acc)              \
    {                                                                          \
        k_rows(r, kind, x, m, acc, 1);                                         \
    }                                                                          \
                                                                               \
                                                                               \
    static __attribute__((noinline)) void k_rows_##name##_2(                   \
        const k_regs_t *r, const k_q8_t *x, uint32_t m, v5f *acc)              \
    {                                                                          \
        k_rows(r, kind, x, m, acc, 2);                                         \
    }                                                                          \
                                                                               \
    struct k_rows_##name##_end

K_V512_ROWS(off, K_ROWS_OFF);
K_V512_ROWS(min, K_ROWS_MIN);
K_V512_ROWS(two, K_ROWS_TWO);
K_V512_ROWS(pair, K_ROWS_PAIR);


/* A block of each group with all rows of the tile. */

k_inline void
k_block(const k_rows_t kind, const k_regs_t *r, const k_q8_t *x, uint32_t m,
        v5f *acc, const int groups)
{
    static void (*const rows[][2])(const k_regs_t *, const k_q8_t *, uint32_t,
                                   v5f *) = {
        [K_ROWS_OFF] = {k_rows_off_1, k_rows_off_2},
        [K_ROWS_MIN] = {k_rows_min_1, k_rows_min_2},
        [K_ROWS_TWO] = {k_rows_two_1, k_rows_two_2},
        [K_ROWS_PAIR] = {k_rows_pair_1, k_rows_pair_2},
    };

    rows[kind][groups - 1](r, x, m, acc);
}


/* Groups from row n of w on, with all rows of the tile. */

k_inline void
k_tile(const k_job_t *job, const k_shape_t s, uint32_t n, const int groups)
{
    int            g;
    v5f            acc[2 * K_TILE_MAX], zero;
    uint32_t       m, i, b, records;
    k_head_t       h[2];
    k_regs_t       r[2];
    const k_q8_t  *x;
    const uint8_t *rec[2];

    records = job->w->cols / K_BLOCK / (uint32_t) s.blocks;
    zero = v5f_set(0);
    x = job->q;

#pragma GCC unroll 2
    for (g = 0; g < groups; g++) {
        rec[g] = k_group(job->w, n + (uint32_t) g * K_LANES);

        for (m = 0; m < job->m; m++) {
            acc[(uint32_t) g * K_TILE_MAX + m] = zero;
        }
    }

    for (i = 0; i < records; i++) {
#pragma GCC unroll 2
        for (g = 0; g < groups; g++) {
            k_load_head(rec[g], s, &h[g]);
        }

        for (b = 0; b < (uint32_t) s.blocks; b++) {
#pragma GCC unroll 2
            for (g = 0; g < groups; g++) {
                k_load_block(rec[g], b, s, &h[g], &r[g]);
            }

            k_block(k_shape_rows(s), r, x, job->m, acc, groups);
            x += job->stride;
        }

#pragma GCC unroll 2
        for (g = 0; g < groups; g++) {
            rec[g] += job->w->record;
        }
    }

    for (m = 0; m < job->m; m++) {
        for (g = 0; g < groups; g++) {
            k_store(job, m, n + (uint32_t) g * K_LANES,
                    acc[(uint32_t) g * K_TILE_MAX + m]);
        }
    }
}


k_inline void
k_many(const k_job_t *job, const k_shape_t s)
{
    uint32_t n;

    n = job->n_from;

    /* two groups: an activation is broadcast once for both */
    for (; n + K_LANES < job->n_to; n += 2 * K_LANES) {
        k_tile(job, s, n, 2);
    }

    if (n < job->n_to) {
        k_tile(job, s, n, 1);
    }
}


/* One row: the accumulator stays in its register. */

k_inline void
k_one(const k_job_t *job, const k_shape_t s)
{
    v5f            acc;
    uint32_t       n, i, b, records, head, size;
    k_head_t       h;
    k_regs_t       r;
    const k_q8_t  *x;
    const uint8_t *rec;

    records = job->w->cols / K_BLOCK / (uint32_t) s.blocks;
    head = k_shape_planes(s);
    size = (uint32_t) s.bits * 4 * K_LANES;

    for (n = job->n_from; n < job->n_to; n += K_LANES) {
        rec = k_group(job->w, n);
        x = job->q;
        acc = v5f_set(0);

        for (i = 0; i < records; i++) {
            v5_prefetch(rec + K_AHEAD, head);
            k_load_head(rec, s, &h);

            for (b = 0; b < (uint32_t) s.blocks; b++) {
                v5_prefetch(rec + K_AHEAD + head + b * size, size);
                k_load_block(rec, b, s, &h, &r);
                k_step(&r, &r.u, k_shape_rows(s), x, &acc, 1, 1);
                x += job->stride;
            }

            rec += job->w->record;
        }

        k_store(job, 0, n, acc);
    }
}


/* A block as floats: w[k * 16 + r]. */

k_inline void
k_floats(const uint8_t *rec, uint32_t b, const k_shape_t s, float *w)
{
    int      i, k;
    v5f      t, scale, min;
    v5i      v;
    k_head_t h;
    k_regs_t r;

    k_load_head(rec, s, &h);
    k_load_block(rec, b, s, &h, &r);

    for (k = 0; k < 8; k++) {
        scale = k_is_halved(s) ? v5f_mul(r.d, r.sub[k / 4]) : r.d;
        min = r.m;

        if (s.sub == K_SUB_PAIR) {
            v = k < 4 ? v5i_and(r.minima, v5i_set32(15))
                      : v5i_shr(r.minima, 16);
            min = v5f_mul(r.m, v5f_from_i(v));
        }

        v = r.u[k];

        for (i = 0; i < 4; i++) {
            t = v5f_from_i(
                v5i_sub(v5i_and(v, v5i_set32(255)), v5i_set32(s.off)));
            t = v5f_mul(scale, t);
            t = s.min ? v5f_add(t, min) : t;
            v5f_store(w + (k * 4 + i) * K_LANES, t);
            v = v5i_shr(v, 8);
        }
    }
}


#define K_V512_KERNEL(name, ...)                                               \
    static void k_v512_##name(const k_job_t *job)                              \
    {                                                                          \
        const k_shape_t s = {__VA_ARGS__};                                     \
                                                                               \
        if (job->m == 1) {                                                     \
            k_one(job, s);                                                     \
        } else {                                                               \
            k_many(job, s);                                                    \
        }                                                                      \
    }                                                                          \
                                                                               \
                                                                               \
    static void k_v512_##name##_floats(const uint8_t *rec, uint32_t b,         \
                                       float *w)                               \
    {                                                                          \
        const k_shape_t s = {__VA_ARGS__};                                     \
                                                                               \
        k_floats(rec, b, s, w);                                                \
    }                                                                          \
                                                                               \
    struct k_v512_##name##_end

K_V512_KERNEL(q4_0, .bits = 4, .off = 8, .blocks = 1);
K_V512_KERNEL(q4_1, .bits = 4, .blocks = 1, .min = 1);
K_V512_KERNEL(q5_0, .bits = 5, .off = 16, .blocks = 1);
K_V512_KERNEL(q5_1, .bits = 5, .blocks = 1, .min = 1);
K_V512_KERNEL(q8_0, .bits = 8, .off = 128, .blocks = 1);
K_V512_KERNEL(q2_k, .bits = 2, .blocks = 8, .min = 1, .sub = K_SUB_PAIR);
K_V512_KERNEL(q3_k, .bits = 3, .off = 4, .blocks = 8, .sub = K_SUB_TWO);
K_V512_KERNEL(q4_k, .bits = 4, .blocks = 8, .min = 1, .sub = K_SUB_MIN);
K_V512_KERNEL(q5_k, .bits = 5, .blocks = 8, .min = 1, .sub = K_SUB_MIN);
K_V512_KERNEL(q6_k, .bits = 6, .off = 32, .blocks = 8, .sub = K_SUB_TWO);
K_V512_KERNEL(iq4_nl, .bits = 4, .off = 128, .blocks = 1, .map = K_MAP_IQ4);
K_V512_KERNEL(iq4_xs, .bits = 4, .off = 128, .blocks = 8, .sub = K_SUB_ONE,
              .map = K_MAP_IQ4);
K_V512_KERNEL(mxfp4, .bits = 4, .off = 128, .blocks = 1, .e8m0 = 1,
              .map = K_MAP_MXFP4);


typedef struct {
    void (*int8)(const k_job_t *job);
    void (*floats)(const uint8_t *rec, uint32_t b, float *w);
} k_v512_kernel_t;

#define K_V512_ENTRY(type, name)                                               \
    [type] = {k_v512_##name, k_v512_##name##_floats}

static const k_v512_kernel_t k_v512_kernels[] = {
    K_V512_ENTRY(K_Q4_0, q4_0),     K_V512_ENTRY(K_Q4_1, q4_1),
    K_V512_ENTRY(K_Q5_0, q5_0),     K_V512_ENTRY(K_Q5_1, q5_1),
    K_V512_ENTRY(K_Q8_0, q8_0),     K_V512_ENTRY(K_Q2_K, q2_k),
    K_V512_ENTRY(K_Q3_K, q3_k),     K_V512_ENTRY(K_Q4_K, q4_k),
    K_V512_ENTRY(K_Q5_K, q5_k),     K_V512_ENTRY(K_Q6_K, q6_k),
    K_V512_ENTRY(K_IQ4_NL, iq4_nl), K_V512_ENTRY(K_IQ4_XS, iq4_xs),
    K_V512_ENTRY(K_MXFP4, mxfp4),
};


static void
k_v512_int8(const k_job_t *job)
{
    k_v512_kernels[job->w->type].int8(job);
}


#include "kernels/cpu/gemm_avx512_f32.inc"


/* Too little work to deserve code of its own: a CPU with VNNI has AVX2. */

static void
k_v512_quantize(const k_act_t *a, uint32_t from, uint32_t to)
{
    k_gemm_avx2.quantize(a, from, to);
}
