/*
 * Matrix products for AVX-512 with VNNI: 16 rows of w in the lanes.
 *
 * Two blocks of 16 rows x 32 inputs are unpacked once into 16 registers of
 * unsigned bytes and meet the rows of the activation tile, K_ROWS at a time:
 * eight chains of VPDPBUSD hide its latency, and a broadcast serves two of
 * them.  Bytes are stored with 128 added, which is subtracted again as 128 *
 * sum of q.
 *
 * Written in the operations of vec512.h; t/kernels/gemm.c compiles the same
 * source with them emulated (K_VEC512_EMULATE; the table is then called
 * k_gemm_vec512).  Called on any thread; no state.
 */

#include <string.h>

#include "kernels/cpu/gemm_kernel.h"
#include "kernels/cpu/vec512.h"

#define K_LANES  16
#define K_ROWS   4    /* of x at a time, integers */
#define K_AHEAD  8192 /* bytes: how far one row of x prefetches w */
#define K_GROUPS 4    /* groups that the f32 product takes at once */
#define k_inline static inline __attribute__((always_inline))


/* A format as a constant, by which the compiler makes its kernel. */
typedef struct {
    k_store_t store;
    int       off; /* off * sum of q is subtracted */
    int       subs;
    int       wide;
    int       min;
} k_shape_t;

typedef struct {
    v5i u[8];
    v5f scale[2];
    v5f min;
} k_regs_t;


static void k_v512_int8(const k_job_t *job);
static void k_v512_f32(const k_job_t *job);
static void k_v512_quantize(const k_act_t *a, uint32_t from, uint32_t to);
static void k_v512_f32_groups(const k_job_t *job, const k_format_t *f,
                              uint32_t n, uint32_t groups);
static void k_v512_f32_kinds(float *acc, const uint8_t *const *w, k_type_t kind,
                             const float *x, size_t x_ld, uint32_t size,
                             int n_rows, uint32_t n_groups);
static void k_v512_unpack(const k_format_t *f, const uint8_t *rec, float *w);


#ifdef K_VEC512_EMULATE
extern const k_gemm_ops_t k_gemm_vec512;
const k_gemm_ops_t        k_gemm_vec512 = {
#else
const k_gemm_ops_t k_gemm_avx512 = {
#endif
    K_ISA_AVX512, K_LANES, k_v512_int8, k_v512_f32, k_v512_quantize,
};


k_inline v5f
k_scales(const uint8_t *p, int i, int wide)
{
    return wide ? v5f_load(p + i * 64) : v5f_load_f16(p + i * 32);
}


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


k_inline void
k_load(const uint8_t *rec, const k_shape_t s, k_regs_t *r)
{
    int            i;
    v5i            v, low;
    const uint8_t *p;

    low = v5i_set32(0x0f0f0f0f);
    p = rec + (s.store == K_NIBBLES ? 16 : 32) * K_LANES;

#pragma GCC unroll 8
    for (i = 0; i < 8; i++) {
        if (s.store == K_NIBBLES) {
            v = v5i_load(rec + i % 4 * 64);
            r->u[i] = v5i_and(i < 4 ? v : v5i_shr(v, 4), low);

        } else {
            r->u[i] = v5i_load(rec + i * 64);
        }
    }

    r->scale[0] = k_scales(p, 0, s.wide);

    if (s.subs == 2) {
        r->scale[1] = k_scales(p, 1, s.wide);
    }

    if (s.min) {
        r->min = k_scales(p, s.subs, s.wide);
    }
}


/* acc + the sums `dot` of part i of a block, scaled. */

k_inline v5f
k_scaled(const k_regs_t *r, const k_shape_t s, int i, v5i dot, const k_q8_t *q,
         v5f acc)
{
    v5f t, sum;

    sum = v5f_set(s.subs == 2 ? q->h[i] : q->sum);
    t = v5f_from_i(dot);

    if (s.off) {
        /* exact: integers below 2^24 */
        t = v5f_fnma(v5f_set((float) s.off), sum, t);
    }

    t = s.min ? v5f_fma(r->scale[i], t, v5f_mul(r->min, sum))
              : v5f_mul(r->scale[i], t);

    return v5f_fma(t, v5f_set(q->d), acc);
}


/*
 * `groups` (1 or 2) blocks with `rows` rows of x.  Accumulators of group g
 * are at acc + g * K_TILE_MAX * 16.
 */

k_inline void
k_step(const k_regs_t *r, const k_shape_t s, const k_q8_t *q, float *acc,
       const int rows, const int groups)
{
    int    g, i, j, k, n;
    v5i    dot[2][K_ROWS];
    float *p;

    n = 8 / s.subs;

#pragma GCC unroll 2
    for (i = 0; i < s.subs; i++) {

#pragma GCC unroll 8
        for (k = i * n; k < (i + 1) * n; k++) {
#pragma GCC unroll 8
            for (j = 0; j < rows; j++) {
#pragma GCC unroll 2
                for (g = 0; g < groups; g++) {
                    dot[g][j] = v5i_dot(k == i * n ? v5i_zero() : dot[g][j],
                                        r[g].u[k], q[j].q + k * 4);
                }
            }
        }

#pragma GCC unroll 8
        for (j = 0; j < rows; j++) {
#pragma GCC unroll 2
            for (g = 0; g < groups; g++) {
                p = acc + (g * K_TILE_MAX + j) * K_LANES;
                v5f_store(p,
                          k_scaled(&r[g], s, i, dot[g][j], q + j, v5f_load(p)));
            }
        }
    }
}


/* Groups from row n of w on, with all rows of the tile. */

k_inline void
k_tile(const k_job_t *job, const k_shape_t s, uint32_t n, const int groups)
{
    int           g;
    float         acc[2 * K_TILE_MAX * K_LANES] __attribute__((aligned(64)));
    size_t        at;
    uint32_t      m, b, blocks;
    k_regs_t      r[2];
    const k_q8_t *q;

    blocks = job->w->cols / K_BLOCK;

#pragma GCC unroll 2
    for (g = 0; g < groups; g++) {
        memset(acc + g * K_TILE_MAX * K_LANES, 0,
               job->m * K_LANES * sizeof(float));
    }

    for (b = 0, at = 0; b < blocks; b++, at += job->w->record) {
#pragma GCC unroll 2
        for (g = 0; g < groups; g++) {
            k_load(k_group(job->w, n + (uint32_t) g * K_LANES) + at, s, &r[g]);
        }

        q = job->q + b * job->stride;

        for (m = 0; m + K_ROWS <= job->m; m += K_ROWS) {
            k_step(r, s, q + m, acc + m * K_LANES, K_ROWS, groups);
        }

        for (; m < job->m; m++) {
            k_step(r, s, q + m, acc + m * K_LANES, 1, groups);
        }
    }

    for (m = 0; m < job->m; m++) {
        for (g = 0; g < groups; g++) {
            k_store(job, m, n + (uint32_t) g * K_LANES,
                    v5f_load(acc + ((uint32_t) g * K_TILE_MAX + m) * K_LANES));
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
    int            i, k, half;
    v5f            acc;
    v5i            dot;
    uint32_t       n, b, blocks;
    k_regs_t       r;
    const k_q8_t  *q;
    const uint8_t *rec;

    half = 8 / s.subs;
    blocks = job->w->cols / K_BLOCK;

    for (n = job->n_from; n < job->n_to; n += K_LANES) {
        rec = k_group(job->w, n);
        acc = v5f_set(0);
        q = job->q;

        for (b = 0; b < blocks; b++) {
            v5_prefetch(rec + K_AHEAD, job->w->record);
            k_load(rec, s, &r);

#pragma GCC unroll 2
            for (i = 0; i < s.subs; i++) {
                dot = v5i_zero();

#pragma GCC unroll 8
                for (k = i * half; k < (i + 1) * half; k++) {
                    dot = v5i_dot(dot, r.u[k], q->q + k * 4);
                }

                acc = k_scaled(&r, s, i, dot, q, acc);
            }

            rec += job->w->record;
            q += job->stride;
        }

        k_store(job, 0, n, acc);
    }
}


#define k_v512_kernel(name, ...)                                               \
    static void k_v512_##name(const k_job_t *job)                              \
    {                                                                          \
        const k_shape_t s = {__VA_ARGS__};                                     \
                                                                               \
        if (job->m == 1) {                                                     \
            k_one(job, s);                                                     \
        } else {                                                               \
            k_many(job, s);                                                    \
        }                                                                      \
    }

/* name, store, off, subs, wide, min */
k_v512_kernel(q4_0, K_NIBBLES, 8, 1, 0, 0)
    k_v512_kernel(q4_1, K_NIBBLES, 0, 1, 0, 1)
        k_v512_kernel(q4_k, K_NIBBLES, 0, 1, 1, 1)
            k_v512_kernel(q8_0, K_BYTES, 128, 1, 0, 0)
                k_v512_kernel(q5_1, K_BYTES, 128, 1, 0, 1)
                    k_v512_kernel(q5_k, K_BYTES, 128, 1, 1, 1)
                        k_v512_kernel(q6_k, K_BYTES, 128, 2, 1, 0)


                            static void k_v512_int8(const k_job_t *job)
{
    switch (job->w->type) {

    case K_Q4_0:
        k_v512_q4_0(job);
        return;

    case K_Q4_1:
        k_v512_q4_1(job);
        return;

    case K_Q4_K:
        k_v512_q4_k(job);
        return;

    case K_Q5_0:
    case K_Q8_0:
        /* the same packed form */
        k_v512_q8_0(job);
        return;

    case K_Q5_1:
        k_v512_q5_1(job);
        return;

    case K_Q5_K:
        k_v512_q5_k(job);
        return;

    case K_Q6_K:
        k_v512_q6_k(job);
        return;

    default:
        return;
    }
}


/* Inputs k of 16 rows, out of floats of a kind. */

k_inline v5f
k_plain(const uint8_t *w, uint32_t k, const k_type_t kind)
{
    if (kind == K_F32) {
        return v5f_load(w + k * 64);
    }

    if (kind == K_F16) {
        return v5f_load_f16(w + k * 32);
    }

    return v5f_from_bits(v5i_shl(v5i_load16(w + k * 32), 16));
}


/* A record as floats: w[k * 16 + r]. */

static void
k_v512_unpack(const k_format_t *f, const uint8_t *rec, float *w)
{
    int            k, shift;
    v5f            t, min;
    v5i            v;
    const uint8_t *p;

    if (f->type == K_F16) {
        for (k = 0; k < K_BLOCK; k++) {
            v5f_store(w + k * K_LANES, k_plain(rec, (uint32_t) k, K_F16));
        }

        return;
    }

    if (f->type == K_BF16) {
        for (k = 0; k < K_BLOCK; k++) {
            v5f_store(w + k * K_LANES, k_plain(rec, (uint32_t) k, K_BF16));
        }

        return;
    }

    p = rec + k_record_scales(f, K_LANES);
    min = f->min ? k_scales(p, f->subs, f->wide) : v5f_set(0);

    for (k = 0; k < K_BLOCK; k++) {
        shift = k % 4 * 8;

        if (f->store == K_NIBBLES) {
            v = v5i_load(rec + k % 16 / 4 * 64);
            v = v5i_shr(v, shift + (k < 16 ? 0 : 4));
            v = v5i_and(v, v5i_set32(15));
            v = v5i_sub(v, v5i_set32(f->off));

        } else {
            v = v5i_load(rec + k / 4 * 64);
            v = v5i_xor(v, v5i_set32((int) 0x80808080));
            v = v5i_sar(v5i_shl(v, 24 - shift), 24);
        }

        t = k_scales(p, k * f->subs / K_BLOCK, f->wide);
        t = v5f_mul(t, v5f_from_i(v));

        if (f->min) {
            t = v5f_add(t, min);
        }

        v5f_store(w + k * K_LANES, t);
    }
}


/*
 * `rows` (1 .. 4) rows of x, `groups` groups of w, `size` inputs: enough
 * chains of sums at once to hide the latency of FMA, each in the order of k.
 */

k_inline void
k_f32_tile(float *acc, const uint8_t *const *w, const k_type_t kind,
           const float *x, size_t x_ld, uint32_t size, const int rows,
           const int groups)
{
    int      i, g;
    v5f      sum[4][K_GROUPS], v;
    uint32_t k;

#pragma GCC unroll 4
    for (i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (g = 0; g < groups; g++) {
            sum[i][g] = v5f_load(acc + (i * K_GROUPS + g) * K_LANES);
        }
    }

    for (k = 0; k < size; k++) {
#pragma GCC unroll 4
        for (g = 0; g < groups; g++) {
            v = k_plain(w[g], k, kind);
#pragma GCC unroll 4
            for (i = 0; i < rows; i++) {
                sum[i][g] = v5f_fma(v, v5f_set(x[i * x_ld + k]), sum[i][g]);
            }
        }
    }

#pragma GCC unroll 4
    for (i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (g = 0; g < groups; g++) {
            v5f_store(acc + (i * K_GROUPS + g) * K_LANES, sum[i][g]);
        }
    }
}


/* The tile as constants: the compiler makes one of each. */

#define k_f32_case(rows, groups)                                               \
    do {                                                                       \
        if (kind == K_F32) {                                                   \
            k_f32_tile(acc, w, K_F32, x, x_ld, size, rows, groups);            \
        } else if (kind == K_F16) {                                            \
            k_f32_tile(acc, w, K_F16, x, x_ld, size, rows, groups);            \
        } else {                                                               \
            k_f32_tile(acc, w, K_BF16, x, x_ld, size, rows, groups);           \
        }                                                                      \
    } while (0)


static void
k_v512_f32_kinds(float *acc, const uint8_t *const *w, k_type_t kind,
                 const float *x, size_t x_ld, uint32_t size, int n_rows,
                 uint32_t n_groups)
{
    if (n_groups == K_GROUPS && n_rows >= 4) {
        k_f32_case(4, K_GROUPS);

    } else if (n_groups == K_GROUPS) {
        k_f32_case(1, K_GROUPS);

    } else if (n_rows >= 4) {
        k_f32_case(4, 1);

    } else {
        k_f32_case(1, 1);
    }
}


static void
k_v512_f32_groups(const k_job_t *job, const k_format_t *f, uint32_t n,
                  uint32_t groups)
{
    float    acc[K_TILE_MAX * K_GROUPS * K_LANES] __attribute__((aligned(64)));
    float    piece[K_GROUPS][K_BLOCK * K_LANES] __attribute__((aligned(64)));
    float   *p;
    size_t   at;
    uint32_t m, g, k, size, rows;
    const float   *x;
    k_type_t       kind;
    const uint8_t *w[K_GROUPS];

    /* few rows convert on the way, for many it is done once */
    kind = f->store == K_PLAIN && job->m <= 4 ? f->type : K_F32;

    memset(acc, 0, job->m * K_GROUPS * K_LANES * sizeof(float));

    for (k = 0, at = 0; k < job->w->cols; k += size, at += job->w->record) {
        size = job->w->cols - k < K_BLOCK ? job->w->cols - k : K_BLOCK;

        for (g = 0; g < groups; g++) {
            w[g] = k_group(job->w, n + g * K_LANES) + at;

            if (kind != f->type) {
                k_v512_unpack(f, w[g], piece[g]);
                w[g] = (const uint8_t *) piece[g];
            }
        }

        for (m = 0; m < job->m; m += rows) {
            p = acc + m * K_GROUPS * K_LANES;
            x = job->x + m * job->x_ld + k;
            rows = m + 4 <= job->m ? 4 : 1;

            k_v512_f32_kinds(p, w, kind, x, job->x_ld, size, (int) rows,
                             groups);
        }
    }

    for (m = 0; m < job->m; m++) {
        for (g = 0; g < groups; g++) {
            k_store(job, m, n + g * K_LANES,
                    v5f_load(acc + (m * K_GROUPS + g) * K_LANES));
        }
    }
}


static void
k_v512_f32(const k_job_t *job)
{
    uint32_t          n, groups;
    const k_format_t *f;

    f = k_format(job->w->type);

    for (n = job->n_from; n < job->n_to; n += groups * K_LANES) {
        groups = n + K_GROUPS * K_LANES <= job->n_to ? K_GROUPS : 1;
        k_v512_f32_groups(job, f, n, groups);
    }
}


/* Too little work to deserve code of its own: a CPU with VNNI has AVX2. */

static void
k_v512_quantize(const k_act_t *a, uint32_t from, uint32_t to)
{
    k_gemm_avx2.quantize(a, from, to);
}
