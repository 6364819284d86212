/*
 * What the element-wise kernels share: loads and stores of a few neighbouring
 * elements as one access, int8 blocks and E4M3 of them, activation functions,
 * one-barrier reductions.  Device code only; everything is inline.
 *
 * A CHUNK is N (4 or 8) elements of a row from column `at`, in a thread's
 * registers as F32.  WIDE: rows begin at multiples of the access (cols is
 * divisible by N) and a chunk is one or two 16-byte accesses; else it goes
 * element by element, for odd shapes.  Nothing at or beyond column n is
 * touched; such elements are 0.
 *
 * Activations are read by plain loads: never __ldg(), whose values the
 * compiler may fetch before cu_grid_wait().
 */

#ifndef LLM_KERNELS_CUDA_ELEM_CUH
#define LLM_KERNELS_CUDA_ELEM_CUH

#include <string.h>

#include "kernels/cuda/cu_device.cuh"

#define CU_AMAX_MIN 1e-30f /* the CPU's: a block with no larger element is zeros */
#define CU_F8_MAX   448.0f

template <int BYTES> struct cu_word;
template <> struct cu_word<4> {
    typedef uint32_t type;
};
template <> struct cu_word<8> {
    typedef uint2 type;
};
template <> struct cu_word<16> {
    typedef uint4 type;
};


/* --- loads --- */

template <int N, bool WIDE>
__device__ static inline void
cu_load_chunk(float v[N], const float *row, uint32_t at, uint32_t n)
{
#pragma unroll
    for (int i = 0; i < N; i++) {
        v[i] = 0;
    }

    if constexpr (WIDE) {
        if (at >= n) {
            return;
        }
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            float4 w = *(const float4 *) (row + at + i);

            v[i] = w.x;
            v[i + 1] = w.y;
            v[i + 2] = w.z;
            v[i + 3] = w.w;
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (at + i < n) {
                v[i] = row[at + i];
            }
        }
    }
}


/* T of 2 bytes. */
template <int N, bool WIDE, typename T>
__device__ static inline void
cu_load_chunk(float v[N], const T *row, uint32_t at, uint32_t n)
{
    typedef typename cu_word<N * 2>::type word_t;

    word_t   w;
    uint32_t u[N / 2];

#pragma unroll
    for (int i = 0; i < N; i++) {
        v[i] = 0;
    }

    if constexpr (WIDE) {
        if (at >= n) {
            return;
        }
        w = *(const word_t *) (row + at);
        memcpy(u, &w, sizeof(u));
#pragma unroll
        for (int i = 0; i < N; i += 2) {
            float2 f = cu_unpack<T>(u[i / 2]);

            v[i] = f.x;
            v[i + 1] = f.y;
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (at + i < n) {
                v[i] = cu_float(row[at + i]);
            }
        }
    }
}


/* --- stores --- */

template <int N, bool WIDE>
__device__ static inline void
cu_store_chunk(float *row, const float v[N], uint32_t at, uint32_t n)
{
    if constexpr (WIDE) {
        if (at >= n) {
            return;
        }
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            *(float4 *) (row + at + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (at + i < n) {
                row[at + i] = v[i];
            }
        }
    }
}


template <int N, bool WIDE, typename T>
__device__ static inline void
cu_store_chunk(T *row, const float v[N], uint32_t at, uint32_t n)
{
    typedef typename cu_word<N * 2>::type word_t;

    word_t   w;
    uint32_t u[N / 2];

    if constexpr (WIDE) {
        if (at >= n) {
            return;
        }
#pragma unroll
        for (int i = 0; i < N; i += 2) {
            u[i / 2] = cu_pack<T>(v[i], v[i + 1]);
        }
        memcpy(&w, u, sizeof(w));
        *(word_t *) (row + at) = w;
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (at + i < n) {
                row[at + i] = cu_to<T>(v[i]);
            }
        }
    }
}


/* E4M3 of v * mul, saturating; NaN stays NaN. */
template <int N, bool WIDE>
__device__ static inline void
cu_store_f8(uint8_t *row, const float v[N], float mul, uint32_t at, uint32_t n)
{
    typedef typename cu_word<N>::type word_t;

    word_t   w;
    uint32_t u[N / 4];

    if constexpr (WIDE) {
        if (at >= n) {
            return;
        }
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            float2   lo = make_float2(v[i] * mul, v[i + 1] * mul);
            float2   hi = make_float2(v[i + 2] * mul, v[i + 3] * mul);
            uint32_t a = __nv_cvt_float2_to_fp8x2(lo, __NV_SATFINITE, __NV_E4M3);
            uint32_t b = __nv_cvt_float2_to_fp8x2(hi, __NV_SATFINITE, __NV_E4M3);

            u[i / 4] = a | b << 16;
        }
        memcpy(&w, u, sizeof(w));
        *(word_t *) (row + at) = w;
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (at + i < n) {
                row[at + i] = __nv_cvt_float_to_fp8(v[i] * mul, __NV_SATFINITE, __NV_E4M3);
            }
        }
    }
}


/*
 * The chunk's part of an int8 block of 32, by the CPU backend's rule: d =
 * amax / 127, q = v * (127 / amax) to the nearest, even ones at ties; a block
 * with a NaN or an infinity has d = NaN and zeros.  The 32 / N lanes that
 * hold a block are neighbours; n is divisible by 32; all lanes of the warp
 * call it, also those whose `at` is beyond n.
 */
template <int N>
__device__ static inline void
cu_store_q8(int8_t *row, float *row_d, const float v[N], uint32_t at, uint32_t n)
{
    typedef typename cu_word<N>::type word_t;

    int      sum = 0;
    float    d, inv;
    word_t   w;
    uint32_t max = 0, u[N / 4];

    /* As integers floats have the same order, and NaN is the largest. */
#pragma unroll
    for (int i = 0; i < N; i++) {
        uint32_t bits = __float_as_uint(v[i]) & 0x7fffffff;

        max = bits > max ? bits : max;
    }
#pragma unroll
    for (int i = 1; i < 32 / N; i *= 2) {
        uint32_t other = __shfl_xor_sync(CU_FULL, max, i);

        max = other > max ? other : max;
    }

    d = __uint_as_float(max) / 127.0f;
    inv = 127.0f / __uint_as_float(max);
    if (__uint_as_float(max) < CU_AMAX_MIN) {
        d = 0;
        inv = 0;
    }
    if (max >= 0x7f800000) {
        d = __uint_as_float(0x7fc00000);
    }

#pragma unroll
    for (int i = 0; i < N; i += 4) {
        u[i / 4] = 0;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int q = max >= 0x7f800000 ? 0 : __float2int_rn(v[i + j] * inv);

            sum += q;
            u[i / 4] |= (uint32_t) (q & 255) << 8 * j;
        }
    }
#pragma unroll
    for (int i = 1; i < 32 / N; i *= 2) {
        sum += __shfl_xor_sync(CU_FULL, sum, i);
    }

    if (at >= n) {
        return;
    }
    memcpy(&w, u, sizeof(w));
    *(word_t *) (row + at) = w;
    if (at % 32 == 0) {
        *(float2 *) (row_d + at / 32 * 2) = make_float2(d, max >= 0x7f800000 ? 0 : d * (float) sum);
    }
}


/* The scale of a row of E4M3 by its largest element, and what elements are
   times.  A row of zeros, and one that has a NaN, gets the smallest scale. */
__device__ static inline float
cu_f8_scale(float amax, float *mul)
{
    amax = fmaxf(amax, CU_AMAX_MIN);
    *mul = CU_F8_MAX / amax;
    return amax / CU_F8_MAX;
}


/* --- act(g) * u, see k_fn_t --- */

/* 1 / (1 + e^-x), to 2^-20 or so: it is rounded to T or less. */
__device__ static inline float
cu_sigmoid(float x)
{
    return __fdividef(1.0f, 1.0f + cu_exp2(-1.442695041f * x));
}


/* v[i] = act(g[i]) * u[i]; v may be g. */
template <int N>
__device__ static inline void
cu_act_chunk(int fn, float v[N], const float g[N], const float u[N])
{
    switch (fn) {
    case K_FN_SILU:
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = g[i] * cu_sigmoid(g[i]) * u[i];
        }
        break;
    case K_FN_GELU_TANH:
        /* (1 + tanh(y)) / 2 is the sigmoid of 2 y. */
#pragma unroll
        for (int i = 0; i < N; i++) {
            float y = 0.7978845608f * (g[i] + 0.044715f * g[i] * g[i] * g[i]);

            v[i] = g[i] * cu_sigmoid(2.0f * y) * u[i];
        }
        break;
    case K_FN_GELU_ERF:
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = 0.5f * g[i] * (1.0f + erff(g[i] * 0.70710678f)) * u[i];
        }
        break;
    default: /* K_FN_SWIGLU_OAI; a NaN passes its comparisons */
#pragma unroll
        for (int i = 0; i < N; i++) {
            float a = g[i] > 7.0f ? 7.0f : g[i];
            float b = u[i] > 7.0f ? 7.0f : u[i] < -7.0f ? -7.0f : u[i];

            v[i] = a * cu_sigmoid(1.702f * a) * (b + 1.0f);
        }
        break;
    }
}


/*
 * Sum and largest over the block, the same in each thread, with one barrier:
 * buf (32 of them) must not be used again in this kernel.  The block is whole
 * warps.
 */
__device__ static inline float2
cu_block_sum_max(float sum, float max, float2 *buf)
{
    float2   v = make_float2(0, 0);
    uint32_t lane = threadIdx.x % 32;

    sum = cu_warp_sum(sum);
    max = cu_warp_max(max);
    if (lane == 0) {
        buf[threadIdx.x / 32] = make_float2(sum, max);
    }
    __syncthreads();
    if (lane < blockDim.x / 32) {
        v = buf[lane];
    }

    return make_float2(cu_warp_sum(v.x), cu_warp_max(v.y));
}

#endif /* LLM_KERNELS_CUDA_ELEM_CUH */
