/*
 * What the two sampling kernels share: the scratch's layout, a slab of a row
 * in registers, reductions and scans over the block, compaction in the order
 * of ids, the cut of a list, the walk that is a draw.  Device code; included
 * by sample.cu only.
 *
 * A SLAB is CU_SLAB neighbouring tokens of a row.  A block of CU_PICK threads
 * has one in registers: thread t holds in v[4 c + j] token 1024 c + 4 t + j of
 * it, so that a warp reads 512 bytes at once and all four loads of a thread
 * are under way together.  What is beyond the vocabulary is -infinity.
 *
 * The partition into slabs depends on the vocabulary only and all sums run in
 * a fixed order or are of integers, so a row's token does not depend on the
 * rows beside it, on the bucket, or on which block comes last.
 *
 * Functions that all threads of the block must call say "block"; they may be
 * called again at once, and what they give is the same in every thread.
 */

#ifndef LLM_KERNELS_CUDA_SAMPLE_CUH
#define LLM_KERNELS_CUDA_SAMPLE_CUH

#include "kernels/cuda/cu_device.cuh"
#include "kernels/philox.h"

#define CU_PICK      256 /* threads of a block */
#define CU_WARPS     (CU_PICK / 32)
#define CU_SLAB      4096
#define CU_CHUNKS    (CU_SLAB / (4 * CU_PICK))
#define CU_EACH      (4 * CU_CHUNKS) /* tokens of a thread */
#define CU_SLABS_MAX 192
#define CU_LIST      4096 /* tokens of a row's list */
#define CU_BINS      256
#define CU_BINS_NAT  8.0f /* bins of the histogram in a factor of e */
#define CU_NONE      0xffffffffu
#define CU_COLDEST   1e-6f /* as on the CPU: temperatures below count as this */

/* 2^-37: the quantum of weights in sums of integers.  One is exact. */
#define CU_QUANTA   137438953472.0f
#define CU_QUANTUM  (1.0 / 137438953472.0)
#define CU_LOW_BITS 19

#define CU_INF __int_as_float(0x7f800000)

typedef struct {
    float    x;
    uint32_t id;
} cu_pick_t;

/* A slab of a row; the second part is the second kernel's. */
typedef struct {
    double   sum_raw; /* of exp(x - max_raw) */
    double   sum;     /* of exp((x - max) / temperature) */
    float    max_raw;
    float    max;
    uint32_t arg; /* lowest id of max */
    uint32_t bad; /* a logit is NaN or +infinity */

    double   mass;     /* of tokens before the list: all */
    double   drawable; /* and those that min_p leaves */
    uint32_t n_sure;   /* how many they are */
    uint32_t first;    /* in the row's list */
    uint32_t n_list;
    uint32_t pad;
} cu_slab_t;

/*
 * A row.  Distances are (max - x) / temperature in bins: tokens nearer than
 * `near` are before the cut for sure, those at `far` or beyond it do not
 * matter, those between are put into the list, among which it is.
 */
typedef struct {
    uint32_t done;    /* blocks that have come; 0 between kernels */
    uint32_t listed;  /* tokens that the list should have */
    uint32_t pending; /* 1: the second kernel has work */
    float    max;
    float    near;
    float    far;
    double   total;
    double   lse;
} cu_row_t;

/* What a row asks for, worked out. */
typedef struct {
    float    t; /* 1 / temperature */
    float    min_p;
    uint32_t top_k; /* 0: off */
    int      top_p; /* 1: on */
    int      judged;
    int      greedy;
    int      cut;
} cu_ask_t;

/* A row and where its scratch is. */
typedef struct {
    const float *raw;
    uint32_t     n;
    uint32_t     n_slabs;
    int          wide;
    cu_row_t    *row;
    cu_slab_t   *slabs;
    uint16_t    *hist;
    cu_pick_t   *top;
    cu_pick_t   *list;
} cu_place_t;

/*
 * Shared memory of a block: 39 KiB.  What the row is and asks for stands here
 * too, so that it takes no registers.
 */
typedef struct {
    float     x[CU_SLAB + CU_SLAB / 16]; /* by CU_AT() */
    uint32_t  id[CU_LIST];
    uint32_t  hist[3][CU_BINS];
    double    sums[CU_BINS];
    double    part[CU_WARPS];
    uint64_t  words[CU_WARPS];
    uint32_t  totals[32];
    uint32_t  digit;
    uint32_t  count;
    uint32_t  flag;
    uint32_t  key;
    double    above;
    double    rest;
    cu_pick_t few[K_TOP_MAX];

    k_sampled_t *out;
    int32_t     *drawn;
    cu_draws_t   draws;
    cu_draw_t    d;
    cu_ask_t     a;
    cu_place_t   w;
    cu_row_t     row; /* as the first kernel has left it */
} cu_pick_smem_t;

/* Sixteen neighbours a thread without bank conflicts. */
#define CU_AT(i) ((i) + (i) / 16)


__host__ __device__ static inline uint32_t
cu_slabs(uint32_t n_vocab)
{
    return (n_vocab + CU_SLAB - 1) / CU_SLAB;
}


/* A row's scratch: cu_row_t, slabs, histograms, top ones, list. */
typedef struct {
    uint64_t slabs;
    uint64_t hist;
    uint64_t top;
    uint64_t list;
    uint64_t size;
} cu_pick_layout_t;

__host__ __device__ static inline cu_pick_layout_t
cu_pick_layout(uint32_t n_vocab)
{
    uint64_t         n = cu_slabs(n_vocab);
    cu_pick_layout_t l;

    l.slabs = (sizeof(cu_row_t) + 63) / 64 * 64;
    l.hist = l.slabs + n * sizeof(cu_slab_t);
    l.top = l.hist + n * CU_BINS * sizeof(uint16_t);
    l.list = l.top + n * K_TOP_MAX * sizeof(cu_pick_t);
    l.size = (l.list + CU_LIST * sizeof(cu_pick_t) + 255) / 256 * 256;
    return l;
}


/* Keys compare as the floats do; both zeros are one. */
__device__ static inline uint32_t
cu_key(float x)
{
    uint32_t u = __float_as_uint(x + 0.0f);

    return u & 0x80000000u ? ~u : u | 0x80000000u;
}


__device__ static inline float
cu_unkey(uint32_t key)
{
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}


/* exp((x - max) * t), each operation rounded: as the CPU. */
__device__ static inline float
cu_weight(float x, float max, float t)
{
    return expf(__fmul_rn(__fsub_rn(x, max), t));
}


/* --- over the block --- */

__device__ static inline uint64_t
cu_block_max64(uint64_t x, cu_pick_smem_t &s)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        uint64_t y = __shfl_xor_sync(CU_FULL, (unsigned long long) x, i);

        x = y > x ? y : x;
    }
    if (threadIdx.x % 32 == 0) {
        s.words[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = s.words[0];
#pragma unroll
    for (int i = 1; i < CU_WARPS; i++) {
        x = s.words[i] > x ? s.words[i] : x;
    }
    __syncthreads();
    return x;
}


__device__ static inline uint32_t
cu_block_min32(uint32_t x, cu_pick_smem_t &s)
{
    x = __reduce_min_sync(CU_FULL, x);
    if (threadIdx.x % 32 == 0) {
        s.words[threadIdx.x / 32] = x;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < CU_WARPS; i++) {
        x = (uint32_t) s.words[i] < x ? (uint32_t) s.words[i] : x;
    }
    __syncthreads();
    return x;
}


__device__ static inline uint32_t
cu_block_max32(uint32_t x, cu_pick_smem_t &s)
{
    return ~cu_block_min32(~x, s);
}


__device__ static inline double
cu_block_sum64(double x, cu_pick_smem_t &s)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        x += __shfl_xor_sync(CU_FULL, x, i);
    }
    if (threadIdx.x % 32 == 0) {
        s.part[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = s.part[0];
#pragma unroll
    for (int i = 1; i < CU_WARPS; i++) {
        x += s.part[i];
    }
    __syncthreads();
    return x;
}


/* The sum of all threads before this one; *total: of all. */
__device__ static inline double
cu_block_scan(double x, double *total, cu_pick_smem_t &s)
{
    int    lane = threadIdx.x % 32;
    int    warp = threadIdx.x / 32;
    double before;

#pragma unroll
    for (int i = 1; i < 32; i *= 2) {
        double y = __shfl_up_sync(CU_FULL, x, i);

        x += lane >= i ? y : 0;
    }
    before = __shfl_up_sync(CU_FULL, x, 1);
    before = lane == 0 ? 0 : before;
    if (lane == 31) {
        s.part[warp] = x;
    }
    __syncthreads();
    x = 0;
    for (int i = 0; i < CU_WARPS; i++) {
        before += i == warp ? x : 0;
        x += s.part[i];
    }
    *total = x;
    __syncthreads();
    return before;
}


/* --- a slab --- */

__device__ static inline uint32_t
cu_slab_at(int i)
{
    return (uint32_t) (i / 4) * (4 * CU_PICK) + 4 * threadIdx.x + (uint32_t) (i % 4);
}


/* CU_AT() of it: one register and constants, which the compiler does not see. */
__device__ static inline uint32_t
cu_slab_own(int i)
{
    return (uint32_t) (i / 4) * (CU_AT(4 * CU_PICK)) + 4 * threadIdx.x + threadIdx.x / 4
           + (uint32_t) (i % 4);
}


/* Tokens [base, base + CU_SLAB) of the row. */
__device__ static inline void
cu_slab_load(float v[CU_EACH], uint32_t base, const cu_pick_smem_t &s)
{
    int          wide = s.w.wide;
    uint32_t     n = s.w.n;
    const float *row = s.w.raw;

#pragma unroll
    for (int c = 0; c < CU_CHUNKS; c++) {
        uint32_t i = base + cu_slab_at(4 * c);
        float4   w = make_float4(-CU_INF, -CU_INF, -CU_INF, -CU_INF);

        if (wide && i + 4 <= n) {
            w = *(const float4 *) (row + i);
        } else {
            w.x = i < n ? row[i] : w.x;
            w.y = i + 1 < n ? row[i + 1] : w.y;
            w.z = i + 2 < n ? row[i + 2] : w.z;
            w.w = i + 3 < n ? row[i + 3] : w.w;
        }
        v[4 * c] = w.x;
        v[4 * c + 1] = w.y;
        v[4 * c + 2] = w.z;
        v[4 * c + 3] = w.w;
    }
}


__device__ static inline float
cu_penalised(float l, uint32_t count, const cu_draw_t &d)
{
    l = l > 0 ? l / d.repetition : __fmul_rn(l, d.repetition);
    if (count != 0) {
        l = __fsub_rn(l, __fmul_rn(d.frequency, (float) count));
        l = __fsub_rn(l, d.presence);
    }
    return l;
}


/*
 * Block: penalties, bias and mask.  The lists are read by every slab's block,
 * each of which changes its own tokens, in shared memory: no copy of the row
 * is made.  A token stands once in a list, or the draw is `serial`.
 */
__device__ static inline void
cu_slab_adjust(float v[CU_EACH], uint32_t base, cu_pick_smem_t &s)
{
    const cu_draw_t  &d = s.d;
    const cu_draws_t &draws = s.draws;

    if (d.n_counts != 0 || d.n_bias != 0) {
        uint32_t         step = d.serial ? 1 : CU_PICK;
        uint32_t         from = d.serial && threadIdx.x != 0 ? CU_NONE : threadIdx.x;
        const k_count_t *counts = draws.counts + d.counts;
        const k_bias_t  *biases = draws.biases + d.bias;

#pragma unroll
        for (int i = 0; i < CU_EACH; i++) {
            s.x[cu_slab_own(i)] = v[i];
        }
        __syncthreads();
        for (uint32_t i = from; i < d.n_counts; i += 4 * step) {
            k_count_t k[4];

#pragma unroll
            for (uint32_t j = 0; j < 4; j++) {
                k[j].token = -1;
                if (i + j * step < d.n_counts) {
                    k[j] = counts[i + j * step];
                }
            }
#pragma unroll
            for (uint32_t j = 0; j < 4; j++) {
                uint32_t at = (uint32_t) k[j].token - base;

                if (at < CU_SLAB) {
                    s.x[CU_AT(at)] = cu_penalised(s.x[CU_AT(at)], k[j].count, d);
                }
            }
        }
        __syncthreads();
        for (uint32_t i = from; i < d.n_bias; i += step) {
            k_bias_t k = biases[i];
            uint32_t at = (uint32_t) k.token - base;

            if (at < CU_SLAB) {
                s.x[CU_AT(at)] = __fadd_rn(s.x[CU_AT(at)], k.value);
            }
        }
        __syncthreads();

        /* Never +infinity, so that differences mean something. */
#pragma unroll
        for (int i = 0; i < CU_EACH; i++) {
            float x = s.x[cu_slab_own(i)];

            x = x <= FLT_MAX ? x : x != x ? -CU_INF : FLT_MAX;
            v[i] = x;
        }
        __syncthreads();
    }

    if (d.mask == CU_NONE) {
        return;
    }

#pragma unroll
    for (int c = 0; c < CU_CHUNKS; c++) {
        uint32_t i = base + cu_slab_at(4 * c);
        uint32_t word = i < s.w.n ? draws.masks[d.mask + i / 32] >> (i % 32) : 0;

#pragma unroll
        for (int j = 0; j < 4; j++) {
            v[4 * c + j] = word >> j & 1 ? v[4 * c + j] : -CU_INF;
        }
    }
}


/*
 * Block: where the tokens of a slab that are marked (bit i of `marks`: v[i])
 * come in the order of ids: token v[4 c + j] is number at[c] + the marked ones
 * below j.  Returns how many there are.
 */
__device__ static inline uint32_t
cu_slab_order(uint32_t marks, uint32_t at[CU_CHUNKS], cu_pick_smem_t &s)
{
    int      lane = threadIdx.x % 32;
    int      warp = threadIdx.x / 32;
    uint32_t x, total;

#pragma unroll
    for (int c = 0; c < CU_CHUNKS; c++) {
        uint32_t before = 0, all = 0;

#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t b = __ballot_sync(CU_FULL, marks >> (4 * c + j) & 1);

            before += (uint32_t) __popc(b & ((1u << lane) - 1));
            all += (uint32_t) __popc(b);
        }
        at[c] = before;
        if (lane == 0) {
            s.totals[c * CU_WARPS + warp] = all;
        }
    }
    __syncthreads();

    x = s.totals[lane];
    total = x;
#pragma unroll
    for (int i = 1; i < 32; i *= 2) {
        uint32_t y = __shfl_up_sync(CU_FULL, total, i);

        total += lane >= i ? y : 0;
    }
    x = total - x;
#pragma unroll
    for (int c = 0; c < CU_CHUNKS; c++) {
        at[c] += __shfl_sync(CU_FULL, x, c * CU_WARPS + warp);
    }
    total = __shfl_sync(CU_FULL, total, 31);
    __syncthreads();
    return total;
}


/* The number of marked token v[k]. */
__device__ static inline uint32_t
cu_slab_place(uint32_t marks, const uint32_t at[CU_CHUNKS], int k)
{
    return at[k / 4] + (uint32_t) __popc(marks >> (k / 4 * 4) & ((1u << k % 4) - 1));
}


static_assert(CU_CHUNKS * CU_WARPS == 32, "a warp scans the totals of all warps' chunks");
static_assert(CU_EACH * CU_PICK == CU_SLAB && CU_LIST <= CU_SLAB, "a list fits a slab's place");
static_assert(CU_BINS == CU_PICK && CU_SLABS_MAX <= CU_PICK, "a thread for each");


/*
 * Block: the draw.  Of weights s.x[CU_AT(i)], i < m, the first at which their
 * sum exceeds `at`, or the last that is above 0; CU_NONE if none is.
 */
__device__ static inline uint32_t
cu_walk(uint32_t m, double at, cu_pick_smem_t &s)
{
    uint32_t i, first = threadIdx.x * 16, found = CU_NONE, last = 0;
    double   sum, total;
    float    w;

    sum = 0;
    for (i = first; i < first + 16 && i < m; i++) {
        sum += (double) s.x[CU_AT(i)];
    }
    sum = cu_block_scan(sum, &total, s);

    for (i = first; i < first + 16 && i < m; i++) {
        w = s.x[CU_AT(i)];
        if (w > 0) {
            last = i + 1;
            sum += (double) w;
            if (sum > at && found == CU_NONE) {
                found = i;
            }
        }
    }

    found = cu_block_min32(found, s);
    last = cu_block_max32(last, s);
    return found != CU_NONE ? found : last - 1;
}


/* Block: the same over the slabs' weights s.sums[i], i < n; *rest: what is
   left of `at` in it. */
__device__ static inline uint32_t
cu_walk_slabs(uint32_t n, double at, double *rest, cu_pick_smem_t &s)
{
    uint32_t t = threadIdx.x, found, last;
    double   w, before, total;

    w = t < n ? s.sums[t] : 0;
    before = cu_block_scan(w, &total, s);
    found = cu_block_min32(w > 0 && before + w > at ? t : CU_NONE, s);
    last = cu_block_max32(w > 0 ? t + 1 : 0, s);
    found = found != CU_NONE ? found : last - 1;
    if (t == found) {
        s.rest = at - before;
    }
    __syncthreads();
    *rest = s.rest;
    __syncthreads();
    return found;
}

#endif /* LLM_KERNELS_CUDA_SAMPLE_CUH */
