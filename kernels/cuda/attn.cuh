/*
 * What the attention kernels share: tiles in shared memory, E4M3 to T, the
 * score's form, parts of a split sequence and how they are joined.  Device
 * code only; everything is inline.
 *
 * SCORES are kept in base 2: t = score(q k) * log2(e), so that exp(s - max) is
 * one ex2.  A maximum of -inf (nothing seen yet) is replaced by 0 where it is
 * subtracted: then 2^(-inf - 0) = 0, and never inf - inf.
 *
 * PARTS.  A sequence whose positions are split has n_split neighbouring items
 * in decode[], split 0, 1, ... in this order.  Item w leaves for each head
 * parts[w][head]: o [head_dim], not divided; m, the maximum in base 2; l, the
 * sum.  A split that sees nothing (window) leaves o = 0, m = -inf, l = 0.
 * Sinks count once: where parts are joined, or where n_split is 1.  Who joins:
 *
 *     tickets == NULL   cu_attn_merge(), a launch of its own
 *     tickets           the last block of a sequence and KV head to finish, in
 *                       the order of the splits: same bits, no launch.  They
 *                       count up from 0 and are 0 again afterwards
 *
 * HOW TO SPLIT (for step.c).  With pages_i = pages that sequence i sees (the
 * window's only, if all layers have one), P = their sum:
 *
 *     t         = max(2, ceil(P * n_kv / (2 * sms)))     pages of a split
 *     n_split_i = max(1, min(64, (pages_i + t / 2) / t))  rounded, not up
 *     each split ceil(pages_i / n_split_i) pages; the last one ends at pos + 1
 *     and may come out short, never empty: recompute n_split_i from that
 *
 * so that two blocks a multiprocessor share all positions evenly.  max_work of
 * a bucket of R rows: R + ceil(2 * sms / n_kv) + 1.  (t >= P n_kv / 2 sms, and
 * rounding gives at most P / t + R items.)  Order: long items first, the tail
 * is as long as the last block; items of one sequence stay together.
 * Prefill: pieces of <= 64 rows, those of highest position first; max_work =
 * ceil(rows / 64) + sequences.  It does not split positions: a few rows at the
 * end of a long sequence (n <= 4, say) are faster as so many items of decode,
 * one a row, which may be split: cu_attn_decode() asks for row, pos, pages and
 * nothing of other rows.
 *
 * BYTES IN FLIGHT.  4.5 TB/s over 132 multiprocessors is 19 bytes a clock
 * each; at 900 clocks of latency 17 KiB must be under way, under load twice
 * that.  A decode block has 4 warps (2 where a unit is 16 KiB), each with its
 * own ring of 2 units of 16 positions, K and V in groups of their own: 1.5
 * units in flight on average.
 *
 *     head_dim, KV   unit     block     blocks/SM (sm_90)   in flight/SM
 *     64 T           4 KiB    32 KiB    6                   144 KiB
 *     80 T           5 KiB    44 KiB    4                   120 KiB
 *     96 T           6 KiB    52 KiB    4                   144 KiB
 *     128 T          8 KiB    64 KiB    3                   144 KiB
 *     256 T          16 KiB   64 KiB    3                   144 KiB
 *     64 E4M3        2 KiB    20 KiB    6                    72 KiB
 *     128 E4M3       4 KiB    32 KiB    4                    96 KiB
 *     256 E4M3       8 KiB    64 KiB    3                   144 KiB
 *
 * One block alone keeps 48 KiB under way: a multiprocessor with a single
 * block still has its share of the bandwidth, so that waves need not be full.
 */

#ifndef LLM_KERNELS_CUDA_ATTN_CUH
#define LLM_KERNELS_CUDA_ATTN_CUH

#include <string.h>

#include "kernels/cuda/cu_device.cuh"

#define CU_LOG2E 1.4426950408889634f

/* A score's way from the product: cap * tanh(s * in) * out, or s * out. */
typedef struct {
    float in; /* 0: no soft cap */
    float out;
} cu_score_t;

static inline cu_score_t
cu_attn_score(const cu_attn_t *p)
{
    cu_score_t f;

    f.in = p->soft_cap > 0 ? p->scale / p->soft_cap : 0;
    f.out = (p->soft_cap > 0 ? p->soft_cap : p->scale) * CU_LOG2E;
    return f;
}


/* What every launcher asks of its arguments. */
static inline int
cu_attn_sane(cu_type_t t, const cu_attn_t *p)
{
    return (t == CU_F16 || t == CU_BF16) && (p->kv_type == t || p->kv_type == CU_F8) && p->n_kv > 0
           && p->n_head > 0 && p->n_head % p->n_kv == 0 && p->head_dim > 0 && p->head_dim <= 512
           && p->head_dim % 8 == 0 && p->max_work <= 65535 && p->n_kv <= 65535 && p->scale > 0;
}


/* 1: 16-byte accesses to Q, A and the pages are aligned. */
static inline int
cu_attn_wide(cu_type_t t, const cu_attn_t *p)
{
    return cu_attn_sane(t, p) && p->head_dim % 16 == 0 && p->q_ld % 8 == 0
           && (((uintptr_t) p->q | (uintptr_t) p->a | (uintptr_t) p->kv | p->kv_page | p->kv_v)
               % 16)
                  == 0;
}


/* tanh to about 1e-7 of 1, by ex2; right at +-inf. */
__device__ static inline float
cu_attn_tanh(float x)
{
    return 1.0f - __fdividef(2.0f, 1.0f + cu_exp2(x * (2 * CU_LOG2E)));
}


/* Two probabilities in a word: one conversion, nothing to saturate. */
__device__ static inline uint32_t
cu_attn_pair(float a, float b, __half)
{
    __half2  v = __floats2half2_rn(a, b);
    uint32_t w;

    memcpy(&w, &v, 4);
    return w;
}


__device__ static inline uint32_t
cu_attn_pair(float a, float b, __nv_bfloat16)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    uint32_t       w;

    memcpy(&w, &v, 4);
    return w;
}


/* What is subtracted from scores whose maximum is m. */
__device__ static inline float
cu_attn_base(float m)
{
    return m == -INFINITY ? 0.0f : m;
}


/*
 * Rows of CHUNKS 16-byte chunks in shared memory, so that eight neighbouring
 * rows' chunks of one number lie in all 32 banks (ldmatrix): by exclusive or
 * where a row is a multiple of 128 bytes, else by an odd stride.
 */
template <int CHUNKS> struct cu_tile {
    static const int  stride = CHUNKS % 8 == 0 ? CHUNKS : CHUNKS | 1;
    static const bool swizzled = CHUNKS % 8 == 0;

    /* Bytes from the tile's beginning. */
    __device__ static inline uint32_t
    at(uint32_t row, uint32_t chunk)
    {
        return (row * stride + (swizzled ? chunk ^ (row & 7) : chunk)) * 16;
    }

    /* at(row, 2 k + half), of base = at(row, half), half 0 or 1. */
    __device__ static inline uint32_t
    pair(uint32_t base, uint32_t k)
    {
        static_assert(!swizzled || (stride & (stride - 1)) == 0, "rows of 2^n bytes");

        return swizzled ? base ^ (k * 32) : base + k * 32;
    }
};


/* Both halves of w times 2^8, 2^120: exact. */
__device__ static inline uint32_t
cu_f8_mend(uint32_t w, __half)
{
    uint32_t f = 0x5c005c00;
    __half2  a, b;

    memcpy(&a, &w, 4);
    memcpy(&b, &f, 4);
    a = __hmul2(a, b);
    memcpy(&w, &a, 4);
    return w;
}


__device__ static inline uint32_t
cu_f8_mend(uint32_t w, __nv_bfloat16)
{
    uint32_t       f = 0x7b807b80;
    __nv_bfloat162 a, b;

    memcpy(&a, &w, 4);
    memcpy(&b, &f, 4);
    a = __hmul2(a, b);
    memcpy(&w, &a, 4);
    return w;
}


/*
 * Four E4M3 in a word as T: even = bytes 0 and 2, odd = bytes 1 and 3.  Their
 * bits, put where T has its exponent's low end, are the value times 2^(7 -
 * T's bias), denormals too; one product, exact, mends that.  NaNs do not
 * come out as such: pages have none.
 */
template <typename T>
__device__ static inline void
cu_f8x4(uint32_t w, uint32_t *even, uint32_t *odd)
{
    uint32_t e, o;

    if (cu_type_of<T>::value == CU_F16) {
        e = ((w << 8) & 0x80008000) | ((w << 7) & 0x3f803f80);
        o = (w & 0x80008000) | ((w >> 1) & 0x3f803f80);
    } else {
        e = ((w << 8) & 0x80008000) | ((w << 4) & 0x07f007f0);
        o = (w & 0x80008000) | ((w >> 4) & 0x07f007f0);
    }

    *even = cu_f8_mend(e, T());
    *odd = cu_f8_mend(o, T());
}


/* --- parts --- */

__device__ static inline float *
cu_attn_part(const cu_attn_t &p, uint32_t work, uint32_t head)
{
    return p.parts + ((size_t) work * p.n_head + head) * (p.head_dim + 2);
}


/* log2 of what the sink adds to the sum; -inf: none. */
__device__ static inline float
cu_attn_sink(const cu_attn_t &p, uint32_t head)
{
    return p.sinks != NULL ? p.sinks[head] * CU_LOG2E : -INFINITY;
}


/*
 * One warp joins the n parts of a head from work item `first` on and writes
 * row `row` of A.  Lane i has elements 2 i, 2 i + 1 of every 64; PAIRS times
 * 64 is head_dim or more.
 */
template <typename T, int PAIRS>
__device__ static inline void
cu_attn_join(const cu_attn_t &p, uint32_t first, uint32_t n, uint32_t row, uint32_t head)
{
    const uint32_t lane = threadIdx.x % 32, dim = p.head_dim;
    const size_t   step = (size_t) p.n_head * (dim + 2);
    const float   *part = cu_attn_part(p, first, head);
    const float    sink = cu_attn_sink(p, head);
    T             *a = (T *) p.a + ((size_t) row * p.n_head + head) * dim;
    float          o[PAIRS][2], m = -INFINITY, l = 0, base, f, g;

    for (uint32_t s = lane; s < n; s += 32) {
        m = fmaxf(m, part[s * step + dim]);
    }
    base = cu_attn_base(fmaxf(cu_warp_max(m), sink));

#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        o[i][0] = 0;
        o[i][1] = 0;
    }

    for (uint32_t s0 = 0; s0 < n; s0 += 32) {
        uint32_t k = min(n - s0, 32u);

        f = 0;
        if (lane < k) {
            f = cu_exp2(part[(s0 + lane) * step + dim] - base);
            l += f * part[(s0 + lane) * step + dim + 1];
        }

#pragma unroll 8
        for (uint32_t s = 0; s < k; s++) {
            const float *from = part + (s0 + s) * step + 2 * lane;

            g = __shfl_sync(CU_FULL, f, (int) s);
#pragma unroll
            for (int i = 0; i < PAIRS; i++) {
                if (i * 64 + 2 * lane < dim) {
                    float2 v = *(const float2 *) (from + i * 64);

                    o[i][0] += g * v.x;
                    o[i][1] += g * v.y;
                }
            }
        }
    }

    l = cu_warp_sum(l) + cu_exp2(sink - base);
    l = l > 0 ? 1.0f / l : 0;

#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        if (i * 64 + 2 * lane < dim) {
            *(uint32_t *) (a + i * 64 + 2 * lane) = cu_pack<T>(o[i][0] * l, o[i][1] * l);
        }
    }
}

#endif /* LLM_KERNELS_CUDA_ATTN_CUH */
