/*
 * What stands beside a step: the reading speed of the device's memory, weights
 * made up for benches, copies of KV pages.
 *
 * cu_roof_read: as many blocks as the device holds at once walk the memory in
 * tiles of 64 KiB, each thread with eight 16-byte loads under way: 256 KiB a
 * SM, several times what latency times bandwidth asks for (about 25 KiB), so
 * that only the memory is the limit.
 */

#include <cuda_runtime_api.h>

#include "kernels/cuda/elem.cuh"
#include "kernels/cuda/quant.h"

#define CU_ROOF_THREADS 512
#define CU_ROOF_LOADS   8
#define CU_ROOF_TILE    (CU_ROOF_THREADS * CU_ROOF_LOADS * 16)
#define CU_ROOF_BLOCKS  4 /* on an SM: all of its 2,048 threads */

#define CU_FILL_THREADS 256
#define CU_COPY_THREADS 256


/* --- reading --- */

__global__ void
__launch_bounds__(CU_ROOF_THREADS, CU_ROOF_BLOCKS)
    cu_roof_kernel(const uint8_t *p, uint64_t tiles, uint32_t *sink)
{
    uint32_t sum = 0;

    cu_grid_launch();
    cu_grid_wait();

    p += threadIdx.x * 16;
    for (uint64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        uint4 w[CU_ROOF_LOADS];

#pragma unroll
        for (int i = 0; i < CU_ROOF_LOADS; i++) {
            w[i] = cu_load_stream(p + tile * CU_ROOF_TILE + i * CU_ROOF_THREADS * 16);
        }
#pragma unroll
        for (int i = 0; i < CU_ROOF_LOADS; i++) {
            sum += w[i].x + w[i].y + w[i].z + w[i].w;
        }
    }

#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        sum += __shfl_xor_sync(CU_FULL, sum, i);
    }
    if (threadIdx.x % 32 == 0) {
        atomicAdd(sink, sum);
    }
}


/* *sink grows by the sum of all words. */
int
cu_roof_read(const void *p, uint64_t n, uint32_t *sink, cu_stream_t s)
{
    int      device, sms;
    uint64_t tiles = n / CU_ROOF_TILE, blocks;

    if (n == 0 || n % (16u << 20) != 0) {
        return -EINVAL;
    }
    if (cudaGetDevice(&device) != cudaSuccess
        || cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
        return -EIO;
    }

    blocks = (uint64_t) sms * CU_ROOF_BLOCKS;
    if (blocks > tiles) {
        blocks = tiles;
    }

    return cu_launch(cu_roof_kernel, dim3((unsigned) blocks), dim3(CU_ROOF_THREADS), 0, s,
                     (const uint8_t *) p, tiles, sink);
}


/* --- weights --- */

/* Of 32 bits each, one to one. */
__device__ static inline uint32_t
cu_mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}


/*
 * Element i: uniform in +-limit.  8 a thread; n need not be divisible by 8.
 * No cu_grid_launch(): products read weights before they wait.
 */
template <typename W>
__global__ void
__launch_bounds__(CU_FILL_THREADS) cu_fill_kernel(W *out, uint64_t n, uint32_t seed, float limit)
{
    uint64_t at = ((uint64_t) blockIdx.x * CU_FILL_THREADS + threadIdx.x) * 8, left;
    float    v[8];

    cu_grid_wait();
    if (at >= n) {
        return;
    }

#pragma unroll
    for (int i = 0; i < 8; i++) {
        uint32_t x = cu_mix((uint32_t) (at + i) + cu_mix(seed ^ (uint32_t) ((at + i) >> 32)));

        v[i] = (float) (int32_t) x * (limit * 0x1p-31f);
    }

    left = n - at;
    if (left >= 8) {
        if constexpr (sizeof(W) == 1) {
            cu_store_f8<8, true>((uint8_t *) out + at, v, 1.0f, 0, 8);
        } else {
            cu_store_chunk<8, true>(out + at, v, 0, 8);
        }
        return;
    }
    if constexpr (sizeof(W) == 1) {
        cu_store_f8<8, false>((uint8_t *) out + at, v, 1.0f, 0, (uint32_t) left);
    } else {
        cu_store_chunk<8, false>(out + at, v, 0, (uint32_t) left);
    }
}


__global__ void
__launch_bounds__(CU_FILL_THREADS) cu_fill_scales(float *out, uint32_t n, float value)
{
    uint32_t at = blockIdx.x * CU_FILL_THREADS + threadIdx.x;

    cu_grid_wait();
    if (at < n) {
        out[at] = value;
    }
}


template <typename W>
static int
cu_fill(const cu_matrix_t *w, uint32_t seed, float limit, cu_stream_t s)
{
    uint64_t n = (uint64_t) w->rows * w->cols;
    uint64_t blocks = (n + CU_FILL_THREADS * 8 - 1) / (CU_FILL_THREADS * 8);

    if (blocks > 0x7fffffff) {
        return -EINVAL;
    }
    return cu_launch(cu_fill_kernel<W>, dim3((unsigned) blocks), dim3(CU_FILL_THREADS), 0, s,
                     (W *) w->data, n, seed, limit);
}


int
cu_synthetic(const cu_matrix_t *w, uint32_t seed, float limit, cu_stream_t s)
{
    int rc;

    if (w->rows == 0 || w->cols == 0 || w->form >= CU_W_FORMS) {
        return -EINVAL;
    }
    if (w->form != CU_W_PLAIN) {
        return cu_synthetic_quant(w, seed, limit, s);
    }

    switch (w->type) {
    case CU_F32:
        return cu_fill<float>(w, seed, limit, s);
    case CU_F16:
        return cu_fill<__half>(w, seed, limit, s);
    case CU_BF16:
        return cu_fill<__nv_bfloat16>(w, seed, limit, s);
    case CU_F8:
        if (w->scales == NULL) {
            return cu_fill<uint8_t>(w, seed, limit, s);
        }
        /* As real ones: the elements use all of E4M3's range. */
        rc =
            cu_launch(cu_fill_scales, dim3((w->rows + CU_FILL_THREADS - 1) / CU_FILL_THREADS),
                      dim3(CU_FILL_THREADS), 0, s, (float *) w->scales, w->rows, limit / CU_F8_MAX);
        return rc != 0 ? rc : cu_fill<uint8_t>(w, seed, CU_F8_MAX, s);
    }

    return -EINVAL;
}


/* --- KV pages: a block a head's tile --- */

__global__ void
__launch_bounds__(CU_COPY_THREADS)
    cu_copy_kernel(uint8_t *dst, const uint8_t *src, uint64_t head_bytes, uint32_t n)
{
    cu_grid_launch();
    cu_grid_wait();

    dst += blockIdx.x * head_bytes;
    src += blockIdx.x * head_bytes;

    for (uint32_t i = threadIdx.x; i < n / 16; i += CU_COPY_THREADS) {
        ((uint4 *) dst)[i] = ((const uint4 *) src)[i];
    }
    for (uint32_t i = n / 16 * 16 + threadIdx.x; i < n; i += CU_COPY_THREADS) {
        dst[i] = src[i];
    }
}


int
cu_kv_copy(void *kv, uint64_t page_bytes, uint32_t dst, uint32_t src, uint32_t n,
           uint64_t head_bytes, uint32_t n_heads, uint64_t row_bytes, cu_stream_t s)
{
    if (n > K_PAGE_TOKENS || head_bytes % 16 != 0 || page_bytes % 16 != 0
        || row_bytes * K_PAGE_TOKENS > head_bytes || head_bytes * n_heads > page_bytes) {
        return -EINVAL;
    }
    if (n == 0 || n_heads == 0 || dst == src) {
        return 0;
    }

    return cu_launch(cu_copy_kernel, dim3(n_heads), dim3(CU_COPY_THREADS), 0, s,
                     (uint8_t *) kv + dst * page_bytes, (const uint8_t *) kv + src * page_bytes,
                     head_bytes, (uint32_t) (n * row_bytes));
}
