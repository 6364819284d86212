/*
 * Block weights between forms: from the file's bytes into a matrix (at load),
 * from a matrix to rows of T (for cuBLASLt, in prefill), and made up (for
 * benches).  No shared memory.
 *
 * cu_repack      a thread takes a piece of 32 weights apart, byte by byte, and
 *                writes its parts: the file's blocks have odd sizes (17, 18,
 *                210 bytes), so reads are small, and caught by L1.  Bound by
 *                the copy from the host anyway.
 * cu_dequant     a thread takes two words (16 weights), so that two threads
 *                read a piece's 16 bytes and write its 64 bytes of T in whole
 *                sectors; four pieces a thread, all loads before the first
 *                use.  Bound by the write: 2 bytes a weight.
 */

#include "kernels/cuda/quant.cuh"

#define CU_DEQUANT_THREADS 64
#define CU_DEQUANT_UNROLL  4


/* --- the file's blocks --- */

/* Nibble k of 32: byte i has k = i (low) and 16 + i. */
__device__ static inline uint32_t
cu_file_nibble(const uint8_t *p, int k)
{
    return p[k % 16] >> k / 16 * 4 & 15u;
}


__device__ static inline uint32_t
cu_file_bit(const uint8_t *p, int k)
{
    return p[k / 8] >> k % 8 & 1u;
}


/* Weight k of piece b of a block, as it is stored. */
template <cu_form_t F>
__device__ static inline uint32_t
cu_file_weight(const uint8_t *p, int b, int k)
{
    if constexpr (F == CU_W_Q8_0) {
        return p[2 + k];
    } else if constexpr (F == CU_W_Q4_0) {
        return cu_file_nibble(p + 2, k) ^ 8;
    } else if constexpr (F == CU_W_Q4_1) {
        return cu_file_nibble(p + 4, k);
    } else if constexpr (F == CU_W_Q5_0) {
        return (cu_file_nibble(p + 6, k) | cu_file_bit(p + 2, k) << 4) ^ 16;
    } else if constexpr (F == CU_W_Q5_1) {
        return cu_file_nibble(p + 8, k) | cu_file_bit(p + 4, k) << 4;
    } else if constexpr (F == CU_W_Q4_K) {
        return p[16 + b / 2 * 32 + k] >> b % 2 * 4 & 15u;
    } else if constexpr (F == CU_W_Q5_K) {
        return (p[48 + b / 2 * 32 + k] >> b % 2 * 4 & 15u) | (p[16 + k] >> b & 1u) << 4;
    } else if constexpr (F == CU_W_Q6_K) {
        return ((p[b / 4 * 64 + b % 2 * 32 + k] >> b % 4 / 2 * 4 & 15u)
                | (p[128 + b / 4 * 32 + k] >> b % 4 * 2 & 3u) << 4)
               ^ 32;
    } else if constexpr (F == CU_W_Q3_K) {
        return ((p[32 + b / 4 * 32 + k] >> b % 4 * 2 & 3u) + (p[k] >> b & 1u) * 4 + 4) ^ 8;
    } else if constexpr (F == CU_W_IQ4_XS) {
        return cu_file_nibble(p + 8 + 16 * b, k);
    } else {
        return cu_file_nibble(p + (F == CU_W_MXFP4 ? 1 : 2), k);
    }
}


__device__ static inline uint32_t
cu_file_16(const uint8_t *p)
{
    return p[0] | (uint32_t) p[1] << 8;
}


/* Piece b's scale, and its block's, as they stand in the parts. */
template <cu_form_t F>
__device__ static inline void
cu_file_scale(const uint8_t *p, int b, uint32_t *scale, uint32_t *super)
{
    const cu_scale_t K = cu_quant<F>::KIND;

    uint32_t       s, m;
    const uint8_t *q;

    *super = 0;
    if constexpr (K == CU_SCALE_E) {
        *scale = p[0];
    } else if constexpr (K == CU_SCALE_D) {
        *scale = cu_file_16(p);
    } else if constexpr (K == CU_SCALE_DM) {
        *scale = cu_file_16(p) | cu_file_16(p + 2) << 16;
    } else if constexpr (F == CU_W_Q6_K) {
        *scale = cu_file_16(p + 192 + 2 * b);
        *super = cu_file_16(p + 208);
    } else if constexpr (F == CU_W_Q3_K) {
        /* number 2b and the next: low four bits, and high two */
        q = p + 96;
        s = 2 * (uint32_t) b;
        m = (q[s % 8] >> s / 8 * 4 & 15u) | (q[8 + s % 4] >> s / 4 * 2 & 3u) << 4;
        s++;
        s = (q[s % 8] >> s / 8 * 4 & 15u) | (q[8 + s % 4] >> s / 4 * 2 & 3u) << 4;
        *scale = ((m - 32) & 255) | ((s - 32) & 255) << 8;
        *super = cu_file_16(p + 108);
    } else if constexpr (F == CU_W_IQ4_XS) {
        s = (p[4 + b / 2] >> b % 2 * 4 & 15u) | (cu_file_16(p + 2) >> 2 * b & 3u) << 4;
        *scale = (s - 32) & 255;
        *super = cu_file_16(p);
    } else {
        /* 6 bits each: pieces 4 - 7 have their upper two in 0 - 3's bytes */
        q = p + 4;
        if (b < 4) {
            s = q[b] & 63u;
            m = q[b + 4] & 63u;
        } else {
            s = (q[b + 4] & 15u) | (uint32_t) (q[b - 4] >> 6) << 4;
            m = (q[b + 4] >> 4) | (uint32_t) (q[b] >> 6) << 4;
        }
        *scale = s | m << 8;
        *super = cu_file_16(p) | cu_file_16(p + 2) << 16;
    }
}


/* --- a piece's parts --- */

/* The words of the weights v(k). */
template <cu_form_t F, typename V>
__device__ static inline void
cu_piece_words(V v, uint32_t q[8], uint32_t high[2])
{
    const bool table = F == CU_W_MXFP4 || F == CU_W_IQ4_NL || F == CU_W_IQ4_XS;

    int      i, j;
    uint32_t lo, hi;

    high[0] = 0;
    high[1] = 0;
#pragma unroll
    for (j = 0; j < 4; j++) {
        q[j] = 0;
        q[4 + j] = 0;
#pragma unroll
        for (i = 0; i < 4; i++) {
            lo = v(4 * j + i);
            hi = v(16 + 4 * j + i);

            if constexpr (cu_quant<F>::Q == 32) {
                q[j] |= lo << 8 * i;
                q[4 + j] |= hi << 8 * i;
            } else if constexpr (table) {
                q[j] |= lo << 4 * i | hi << (16 + 4 * i);
            } else {
                q[j] |= ((lo & 15) | (hi & 15) << 4) << 8 * i;
            }

            if constexpr (cu_quant<F>::HIGH == 4) {
                high[0] |= (lo >> 4 << j | hi >> 4 << (4 + j)) << 8 * i;
            } else if constexpr (cu_quant<F>::HIGH == 8) {
                high[0] |= lo >> 4 << 2 * j << 8 * i;
                high[1] |= hi >> 4 << 2 * j << 8 * i;
            }
        }
    }
}


template <cu_form_t F>
__device__ static inline void
cu_piece_put(const cu_quant_view_t &v, uint32_t row, uint32_t p, const uint32_t q[8],
             const uint32_t high[2], uint32_t scale, uint32_t super)
{
    typedef cu_quant<F> Q;

    uint8_t *r = (uint8_t *) v.base + (size_t) row * v.stride, *at;

    at = r + p * Q::Q;
    *(uint4 *) at = make_uint4(q[0], q[1], q[2], q[3]);
    if constexpr (Q::Q == 32) {
        *(uint4 *) (at + 16) = make_uint4(q[4], q[5], q[6], q[7]);
    }

    at = r + v.at[CU_PART_HIGH] + p * Q::HIGH;
    if constexpr (Q::HIGH == 4) {
        *(uint32_t *) at = high[0];
    } else if constexpr (Q::HIGH == 8) {
        *(uint2 *) at = make_uint2(high[0], high[1]);
    }

    at = r + v.at[CU_PART_SCALE] + p * Q::SCALE;
    if constexpr (Q::SCALE == 1) {
        *at = (uint8_t) scale;
    } else if constexpr (Q::SCALE == 2) {
        *(uint16_t *) at = (uint16_t) scale;
    } else {
        *(uint32_t *) at = scale;
    }

    if (Q::SUPER != 0 && p % 8 == 0) {
        at = r + v.at[CU_PART_SUPER] + p / 8 * Q::SUPER;
        if constexpr (Q::SUPER == 2) {
            *(uint16_t *) at = (uint16_t) super;
        } else {
            *(uint32_t *) at = super;
        }
    }
}


/* --- cu_repack --- */

template <cu_form_t F>
__global__ void __launch_bounds__(256)
    cu_repack_kernel(cu_quant_view_t v, uint32_t row, uint64_t n, const uint8_t *src)
{
    typedef cu_quant<F> Q;
    const int           per = Q::BLOCK / CU_PIECE;

    int            b;
    uint32_t       p, q[8], high[2], scale, super;
    uint64_t       i;
    const uint8_t *block;

    cu_grid_wait();

    i = (uint64_t) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) {
        return;
    }

    p = (uint32_t) (i % v.pieces);
    b = (int) (p % per);
    block = src + i / per * Q::BYTES;

    cu_piece_words<F>([=](int k) { return cu_file_weight<F>(block, b, k); }, q, high);
    cu_file_scale<F>(block, b, &scale, &super);
    cu_piece_put<F>(v, row + (uint32_t) (i / v.pieces), p, q, high, scale, super);
}


/* --- cu_synthetic_quant --- */

__device__ static inline uint32_t
cu_mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x85ebca6b;
    x = (x ^ x >> 13) * 0xc2b2ae35;
    return x ^ x >> 16;
}


/* Scales with which random weights lie in +-limit. */
template <cu_form_t F>
__device__ static inline void
cu_synthetic_scale(uint32_t random, float limit, uint32_t *scale, uint32_t *super)
{
    typedef cu_quant<F> Q;
    const cu_scale_t    K = Q::KIND;
    const int           bits = Q::Q == 32 ? 8 : 4 + Q::HIGH / 4;
    const float         most = (float) ((1 << bits) - 1);
    int                 e;
    uint32_t            d, m;

    *super = 0;
    if constexpr (K == CU_SCALE_E) {
        frexpf(limit / 12.0f, &e);
        *scale = (uint32_t) min(max(e - 1 + 128, 0), 254);
    } else if constexpr (K == CU_SCALE_D) {
        d = __half_as_ushort(__float2half_rn(limit / (F == CU_W_IQ4_NL ? 127 : (most + 1) / 2)));
        *scale = d;
    } else if constexpr (K == CU_SCALE_K2) {
        /* 64 .. 127, of either sign */
        d = 64 + random % 64;
        m = 64 + random / 64 % 64;
        *scale = ((random & 4096 ? d : 256 - d) & 255) | ((random & 8192 ? m : 256 - m) & 255) << 8;
        *super = __half_as_ushort(__float2half_rn(limit / (127 * (most + 1) / 2)));
    } else if constexpr (K == CU_SCALE_K1) {
        d = 64 + random % 64;
        *scale = random & 4096 ? d : 256 - d;
        *super = __half_as_ushort(__float2half_rn(limit / (127 * 127)));
    } else if constexpr (K == CU_SCALE_DM) {
        d = __half_as_ushort(__float2half_rn(2 * limit / most));
        m = __half_as_ushort(__float2half_rn(-limit));
        *scale = d | m << 16;
    } else {
        /* the same number for scale and minimum: symmetric */
        d = 32 + random % 32;
        *scale = d | d << 8;
        d = __half_as_ushort(__float2half_rn(2 * limit / (63 * most)));
        m = __half_as_ushort(__float2half_rn(limit / 63));
        *super = d | m << 16;
    }
}


template <cu_form_t F>
__global__ void __launch_bounds__(256)
    cu_synthetic_kernel(cu_quant_view_t v, uint64_t n, uint32_t seed, float limit)
{
    int      j;
    uint32_t x, q[8], high[2], scale, super;
    uint64_t i;

    cu_grid_wait();

    i = (uint64_t) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) {
        return;
    }

    x = cu_mix(cu_mix((uint32_t) i ^ seed) ^ (uint32_t) (i >> 32));
    cu_synthetic_scale<F>(x, limit, &scale, &super);
#pragma unroll
    for (j = 0; j < 10; j++) {
        x = cu_mix(x + 0x9e3779b9);
        if (j < 8) {
            q[j] = x;
        } else {
            high[j - 8] = x;
        }
    }
    cu_piece_put<F>(v, (uint32_t) (i / v.pieces), (uint32_t) (i % v.pieces), q, high, scale, super);
}


/* --- cu_dequant --- */

template <typename T>
__device__ static inline void
cu_store8(T *out, const float f[8])
{
    *(uint4 *) out = make_uint4(cu_pack<T>(f[0], f[1]), cu_pack<T>(f[2], f[3]),
                                cu_pack<T>(f[4], f[5]), cu_pack<T>(f[6], f[7]));
}


template <>
__device__ inline void
cu_store8<float>(float *out, const float f[8])
{
    *(float4 *) out = make_float4(f[0], f[1], f[2], f[3]);
    *(float4 *) (out + 4) = make_float4(f[4], f[5], f[6], f[7]);
}


/* Block (row, chunk); item i of a row is half i % 2 of piece i / 2. */
template <cu_form_t F, typename T>
__global__ void
__launch_bounds__(CU_DEQUANT_THREADS) cu_dequant_kernel(cu_quant_view_t v, uint32_t row, T *out)
{
    const int U = CU_DEQUANT_UNROLL;

    int              u, j;
    T               *to;
    float            f[2][8], g[8];
    uint32_t         first, i;
    cu_quant_row_t   r;
    cu_quant_word_t  w[U][2];
    cu_quant_scale_t s[U];

    cu_grid_launch();

    r = cu_quant_at(v, row + blockIdx.x);
    out += (size_t) blockIdx.x * v.pieces * CU_PIECE;
    first = blockIdx.y * CU_DEQUANT_THREADS * U + threadIdx.x;
    j = (int) (first % 2) * 2;

#pragma unroll
    for (u = 0; u < U; u++) {
        i = (first + (uint32_t) u * CU_DEQUANT_THREADS) / 2;
        if (i < v.pieces) {
            w[u][0] = cu_quant_word<F>(r, i, j);
            w[u][1] = cu_quant_word<F>(r, i, j + 1);
            s[u] = cu_quant_scales<F>(r, i);
        }
    }

    /* weights never change; but what is in `out` may still be read */
    cu_grid_wait();

#pragma unroll
    for (u = 0; u < U; u++) {
        i = (first + (uint32_t) u * CU_DEQUANT_THREADS) / 2;
        if (i < v.pieces) {
            cu_quant_floats<F>(w[u][0], j, s[u], f[0]);
            cu_quant_floats<F>(w[u][1], j + 1, s[u], f[1]);
            to = out + (size_t) i * CU_PIECE + j * 4;
#pragma unroll
            for (int h = 0; h < 2; h++) {
#pragma unroll
                for (int k = 0; k < 8; k++) {
                    g[k] = f[k / 4][h * 4 + k % 4];
                }
                cu_store8<T>(to + h * 16, g);
            }
        }
    }
}


/* --- launchers --- */

/* 0 or -EINVAL: rows [row, row + n) of a matrix of a block form. */
static int
cu_quant_check(const cu_matrix_t *w, uint32_t row, uint32_t n, cu_quant_view_t *v)
{
    if (w->plane[0] == NULL || (uintptr_t) w->plane[0] % 16 != 0 || row > w->rows
        || n > w->rows - row) {
        return -EINVAL;
    }
    return cu_quant_view(w->form, w->cols, w->plane[0], v);
}


extern "C" int
cu_repack(const cu_matrix_t *w, uint32_t row, uint32_t n, const void *src, cu_stream_t s)
{
    int             rc;
    uint64_t        pieces;
    cu_quant_view_t v;

    rc = cu_quant_check(w, row, n, &v);
    if (rc != 0 || n == 0) {
        return rc;
    }

    pieces = (uint64_t) n * v.pieces;
    if ((pieces + 255) / 256 > INT32_MAX) {
        return -EINVAL;
    }

    switch (w->form) {
#define CU_QUANT_CASE(name, ...)                                                                   \
    case CU_W_##name:                                                                              \
        return cu_launch(cu_repack_kernel<CU_W_##name>, dim3((uint32_t) ((pieces + 255) / 256)),   \
                         dim3(256), 0, s, v, row, pieces, (const uint8_t *) src);
        CU_QUANT_TABLE(CU_QUANT_CASE)
#undef CU_QUANT_CASE
    default:
        return -EINVAL;
    }
}


extern "C" int
cu_synthetic_quant(const cu_matrix_t *w, uint32_t seed, float limit, cu_stream_t s)
{
    int             rc;
    uint64_t        pieces;
    cu_quant_view_t v;

    rc = cu_quant_check(w, 0, w->rows, &v);
    if (rc != 0 || w->rows == 0) {
        return rc;
    }

    pieces = (uint64_t) w->rows * v.pieces;
    if ((pieces + 255) / 256 > INT32_MAX) {
        return -EINVAL;
    }

    switch (w->form) {
#define CU_QUANT_CASE(name, ...)                                                                   \
    case CU_W_##name:                                                                              \
        return cu_launch(cu_synthetic_kernel<CU_W_##name>,                                         \
                         dim3((uint32_t) ((pieces + 255) / 256)), dim3(256), 0, s, v, pieces,      \
                         seed, limit);
        CU_QUANT_TABLE(CU_QUANT_CASE)
#undef CU_QUANT_CASE
    default:
        return -EINVAL;
    }
}


template <cu_form_t F>
static int
cu_dequant_of(cu_type_t t, const cu_quant_view_t &v, uint32_t row, uint32_t n, void *out,
              cu_stream_t s)
{
    const uint32_t per = CU_DEQUANT_THREADS * CU_DEQUANT_UNROLL;
    const dim3     grid(n, (v.pieces * 2 + per - 1) / per), block(CU_DEQUANT_THREADS);

    switch (t) {
    case CU_F32:
        return cu_launch(cu_dequant_kernel<F, float>, grid, block, 0, s, v, row, (float *) out);
    case CU_F16:
        return cu_launch(cu_dequant_kernel<F, __half>, grid, block, 0, s, v, row, (__half *) out);
    case CU_BF16:
        return cu_launch(cu_dequant_kernel<F, __nv_bfloat16>, grid, block, 0, s, v, row,
                         (__nv_bfloat16 *) out);
    default:
        return -EINVAL;
    }
}


extern "C" int
cu_dequant(cu_type_t t, const cu_matrix_t *w, uint32_t row, uint32_t n, void *out, cu_stream_t s)
{
    int             rc;
    cu_quant_view_t v;

    rc = cu_quant_check(w, row, n, &v);
    if (rc != 0 || n == 0) {
        return rc;
    }

    /* grid.y is at most 65535: 268 million columns */
    if (n > INT32_MAX || v.pieces > 1u << 23 || (uintptr_t) out % 16 != 0) {
        return -EINVAL;
    }

    switch (w->form) {
#define CU_QUANT_CASE(name, ...)                                                                   \
    case CU_W_##name:                                                                              \
        return cu_dequant_of<CU_W_##name>(t, v, row, n, out, s);
        CU_QUANT_TABLE(CU_QUANT_CASE)
#undef CU_QUANT_CASE
    default:
        return -EINVAL;
    }
}
