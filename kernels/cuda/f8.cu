/*
 * cu_to_f8(): a matrix in E4M3, each row with a scale of its own.  Runs when
 * weights are loaded, on the loader's stream.
 *
 * A block makes a row: its largest element, then each by that; the second time
 * the row comes from L2.  16 bytes a thread where the row's bytes allow it.
 * Shared memory: 64 bytes or so.
 */

#include <string.h>

#include "kernels/cuda/cu_device.cuh"

#define CU_F8_THREADS 256
#define CU_F8_LARGEST 448.0f

/* Elements [at, at + V) of a row; V elements are 16 bytes, or V is 1. */
template <typename W, int V>
__device__ static inline void
cu_f8_read(float *f, const W *row, uint32_t at)
{
    uint4 u;
    W     w[V];

    if constexpr (V == 1) {
        f[0] = cu_float(row[at]);
    } else {
        u = *(const uint4 *) (row + at);
        memcpy((void *) w, &u, sizeof(u));
#pragma unroll
        for (int i = 0; i < V; i++) {
            f[i] = cu_float(w[i]);
        }
    }
}


template <typename W, int V>
__global__ void
__launch_bounds__(CU_F8_THREADS)
    cu_f8_kernel(const W *in, uint32_t cols, uint8_t *out, float *scales)
{
    CU_SHARED float buf[CU_F8_THREADS / 32 + 1];

    size_t   row = blockIdx.x;
    float    max = 0, scale, f[V];
    uint32_t i;
    uint8_t  b[V];

    cu_grid_wait();

    in += row * cols;
    out += row * cols;

    for (i = threadIdx.x * V; i < cols; i += CU_F8_THREADS * V) {
        cu_f8_read<W, V>(f, in, i);
#pragma unroll
        for (int j = 0; j < V; j++) {
            max = fmaxf(max, fabsf(f[j]));
        }
    }

    /* A row of zeros has a scale, too. */
    max = cu_block_max(max, buf);
    scale = fmaxf(max / CU_F8_LARGEST, FLT_MIN);
    if (threadIdx.x == 0) {
        scales[row] = scale;
    }

    for (i = threadIdx.x * V; i < cols; i += CU_F8_THREADS * V) {
        cu_f8_read<W, V>(f, in, i);
#pragma unroll
        for (int j = 0; j < V; j++) {
            b[j] = __nv_cvt_float_to_fp8(f[j] / scale, __NV_SATFINITE, __NV_E4M3);
        }
        if constexpr (V == 1) {
            out[i] = b[0];
        } else if constexpr (V == 4) {
            uint32_t u;
            memcpy(&u, b, sizeof(u));
            *(uint32_t *) (out + i) = u;
        } else {
            uint2 u;
            memcpy(&u, b, sizeof(u));
            *(uint2 *) (out + i) = u;
        }
    }
}


template <typename W>
static int
cu_f8_launch(const void *in, uint32_t rows, uint32_t cols, uint8_t *out, float *scales,
             cu_stream_t s)
{
    const int V = 16 / sizeof(W);

    if (cols % V == 0 && (uintptr_t) in % 16 == 0 && (uintptr_t) out % V == 0) {
        return cu_launch(cu_f8_kernel<W, V>, dim3(rows), dim3(CU_F8_THREADS), 0, s, (const W *) in,
                         cols, out, scales);
    }
    return cu_launch(cu_f8_kernel<W, 1>, dim3(rows), dim3(CU_F8_THREADS), 0, s, (const W *) in,
                     cols, out, scales);
}


int
cu_to_f8(const void *in, cu_type_t type, uint32_t rows, uint32_t cols, uint8_t *out, float *scales,
         cu_stream_t s)
{
    if (rows == 0 || cols == 0) {
        return -EINVAL;
    }

    switch (type) {
    case CU_F32:
        return cu_f8_launch<float>(in, rows, cols, out, scales, s);
    case CU_F16:
        return cu_f8_launch<__half>(in, rows, cols, out, scales, s);
    case CU_BF16:
        return cu_f8_launch<__nv_bfloat16>(in, rows, cols, out, scales, s);
    default:
        return -EINVAL;
    }
}
