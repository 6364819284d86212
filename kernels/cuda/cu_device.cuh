/*
 * What kernels need beyond CUDA C itself: launches, and the instructions that
 * have no C form.  The only file with inline PTX.
 *
 * Two builds know it: nvcc's, and the emulated one of the tests, in which g++
 * compiles the same kernels and each CUDA thread is a fiber on the CPU
 * (CU_EMULATED; t/cuda/emu.cuh comes first by -include, brings threadIdx,
 * __syncthreads(), shuffles and atomics, and all functions of the part below).
 * So kernels keep to:
 *
 *     - CU_SHARED for static shared memory, cu_smem<T>() for dynamic
 *     - cu_launch(), never <<< >>>
 *     - the functions here, CUDA's __shfl_*_sync, __ballot_sync, __syncwarp,
 *       __syncthreads, atomicAdd, atomicMax, __ldg, __dp4a, __popc, __ffs and
 *       the conversions of cuda_fp16.h, cuda_bf16.h, cuda_fp8.h
 *     - no warp-level call in a branch that not all lanes of its mask take
 */

#ifndef LLM_KERNELS_CUDA_CU_DEVICE_CUH
#define LLM_KERNELS_CUDA_CU_DEVICE_CUH

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdint.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "kernels/cuda/cu_kernels.h"

#define CU_FULL 0xffffffffu

#ifndef CU_EMULATED

#define CU_SHARED __shared__

/* Dynamic shared memory of the block, 16-byte aligned. */
template <typename T>
__device__ static inline T *
cu_smem()
{
    extern __shared__ __align__(128) uint8_t cu_smem_[];
    return (T *) cu_smem_;
}


/*
 * All that kernels before this one have written is visible after it.  Every
 * thread of every block calls it, before it returns.
 */
__device__ static inline void
cu_grid_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}


/* The next kernel's blocks may come to where they wait. */
__device__ static inline void
cu_grid_launch()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}


/* 16 bytes of weights, read once: not kept in L1. */
__device__ static inline uint4
cu_load_stream(const void *p)
{
    uint4 v;

    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}


/* 16 bytes from global to shared memory; n = 0: zeros are written instead. */
__device__ static inline void
cu_async16(void *smem, const void *global, int n)
{
    uint32_t at = (uint32_t) __cvta_generic_to_shared(smem);

    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(global), "r"(n)
                 : "memory");
}


__device__ static inline void
cu_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}


/* All but the last N groups are there (for this thread: a barrier follows). */
template <int N>
__device__ static inline void
cu_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}


/*
 * ldmatrix: four (or two) 8 x 8 matrices of 16-bit elements.  Lane i gives the
 * address of row i % 8 of matrix i / 8; it gets of each matrix elements
 * [i / 4][2 (i % 4)] and the next.  _trans: of the transposed matrices.
 */
__device__ static inline void
cu_ldmatrix4(uint32_t r[4], const void *smem)
{
    uint32_t at = (uint32_t) __cvta_generic_to_shared(smem);

    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}


__device__ static inline void
cu_ldmatrix4_trans(uint32_t r[4], const void *smem)
{
    uint32_t at = (uint32_t) __cvta_generic_to_shared(smem);

    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}


__device__ static inline void
cu_ldmatrix2(uint32_t r[2], const void *smem)
{
    uint32_t at = (uint32_t) __cvta_generic_to_shared(smem);

    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(at)
                 : "memory");
}


/*
 * D += A B with A 16 x 16 (row), B 16 x 8 (column), D 16 x 8 in F32; with
 * g = lane / 4, t = lane % 4:
 *     a[0] = A[g][2t..2t+1]    a[1] = A[g+8][2t..]
 *     a[2] = A[g][2t+8..]      a[3] = A[g+8][2t+8..]
 *     b[0] = B[2t..2t+1][g]    b[1] = B[2t+8..][g]
 *     d[0..1] = D[g][2t..2t+1] d[2..3] = D[g+8][2t..]
 */
__device__ static inline void
cu_mma16(float d[4], const uint32_t a[4], const uint32_t b[2], __nv_bfloat16)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}


__device__ static inline void
cu_mma16(float d[4], const uint32_t a[4], const uint32_t b[2], __half)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}


/*
 * An 8 x 8 matrix of 16-bit elements, transposed within the warp (movmatrix):
 * lane i has elements [i / 4][2 (i % 4)] and the next, before and after.  So
 * a product's accumulators, packed, become the next one's B.
 */
__device__ static inline uint32_t
cu_transpose8(uint32_t w)
{
    uint32_t d;

    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(d) : "r"(w));
    return d;
}


/* a & b | c's kind: any function of three words, by its truth table. */
template <int TABLE>
__device__ static inline uint32_t
cu_lop3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d;

    asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c), "n"(TABLE));
    return d;
}


/*
 * Byte i of the result is the one that nibble i of sel (bits 0 - 15 count)
 * names: 0 - 3 of a, 4 - 7 of b; with bit 3 set its sign, in all eight bits.
 */
__device__ static inline uint32_t
cu_prmt(uint32_t a, uint32_t b, uint32_t sel)
{
    uint32_t d;

    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(sel));
    return d;
}


/*
 * x, of which the compiler knows nothing: what a loop computes from it is
 * computed anew each time, not kept in registers over the loop.
 */
__device__ static inline uint32_t
cu_opaque(uint32_t x)
{
    asm volatile("" : "+r"(x));
    return x;
}


/* 2^x and 1/x and tanh as the special function unit has them. */
__device__ static inline float
cu_exp2(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}


typedef enum { CU_NO_PDL = 0, CU_PDL = 1 } cu_pdl_t;

/* 1 where the current device has programmatic dependent launch; launch.cu. */
int cu_device_pdl(void);

/*
 * Launches kernel(args...) with `smem` bytes of dynamic shared memory; where
 * that and static memory may be above 48 KiB the kernel is allowed it first.
 */
template <typename... P, typename... A>
static inline int
cu_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, cu_stream_t stream, A... args)
{
    cudaError_t         rc;
    cudaLaunchConfig_t  conf = {};
    cudaLaunchAttribute attr = {};

    /* Static memory comes on top of it: allowed from where both might. */
    if (smem > 8 * 1024) {
        rc = cudaFuncSetAttribute((const void *) kernel,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, (int) smem);
        if (rc != cudaSuccess) {
            return -EIO;
        }
    }

    attr.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attr.val.programmaticStreamSerializationAllowed = 1;
    conf.gridDim = grid;
    conf.blockDim = block;
    conf.dynamicSmemBytes = smem;
    conf.stream = stream;
    conf.attrs = &attr;
    conf.numAttrs = cu_device_pdl() ? 1 : 0;

    rc = cudaLaunchKernelEx(&conf, kernel, (P) args...);

    return rc == cudaSuccess ? 0 : -EIO;
}

#endif /* CU_EMULATED */


/* --- for both builds --- */

template <typename T> struct cu_type_of;
template <> struct cu_type_of<float> {
    static const cu_type_t value = CU_F32;
};
template <> struct cu_type_of<__half> {
    static const cu_type_t value = CU_F16;
};
template <> struct cu_type_of<__nv_bfloat16> {
    static const cu_type_t value = CU_BF16;
};


__device__ static inline float
cu_float(float x)
{
    return x;
}


__device__ static inline float
cu_float(__half x)
{
    return __half2float(x);
}


__device__ static inline float
cu_float(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}


template <typename T> __device__ static inline T cu_to(float x);

template <>
__device__ inline float
cu_to<float>(float x)
{
    return x;
}

template <>
__device__ inline __half
cu_to<__half>(float x)
{
    return __float2half_rn(fminf(fmaxf(x, -65504.0f), 65504.0f));
}

template <>
__device__ inline __nv_bfloat16
cu_to<__nv_bfloat16>(float x)
{
    return __float2bfloat16_rn(x);
}


/* Two of T in a word, the first in the low half; and back. */
template <typename T>
__device__ static inline uint32_t
cu_pack(float a, float b)
{
    T        v[2] = {cu_to<T>(a), cu_to<T>(b)};
    uint32_t w;

    memcpy(&w, v, 4);
    return w;
}


template <typename T>
__device__ static inline float2
cu_unpack(uint32_t w)
{
    T v[2];

    memcpy((void *) v, &w, 4);
    return make_float2(cu_float(v[0]), cu_float(v[1]));
}


/* Over all lanes of the warp, the same in each. */
__device__ static inline float
cu_warp_sum(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        x += __shfl_xor_sync(CU_FULL, x, i);
    }
    return x;
}


__device__ static inline float
cu_warp_max(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        x = fmaxf(x, __shfl_xor_sync(CU_FULL, x, i));
    }
    return x;
}


/* Over the block, the same in each thread; buf has a float for each warp + 1.
   All threads call it; buf may be used again after it. */
__device__ static inline float
cu_block_sum(float x, float *buf)
{
    int warps = (int) (blockDim.x + 31) / 32;

    x = cu_warp_sum(x);
    if (threadIdx.x % 32 == 0) {
        buf[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = 0;
    for (int i = 0; i < warps; i++) {
        x += buf[i];
    }
    __syncthreads();
    return x;
}


__device__ static inline float
cu_block_max(float x, float *buf)
{
    int warps = (int) (blockDim.x + 31) / 32;

    x = cu_warp_max(x);
    if (threadIdx.x % 32 == 0) {
        buf[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = buf[0];
    for (int i = 1; i < warps; i++) {
        x = fmaxf(x, buf[i]);
    }
    __syncthreads();
    return x;
}

#endif /* LLM_KERNELS_CUDA_CU_DEVICE_CUH */
