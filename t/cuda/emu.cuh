/*
 * The CUDA language for g++: what kernels see of the emulated device.
 *
 * Comes by -include before every kernel of the tests' build (CU_EMULATED).  A
 * CUDA thread is a fiber with a stack of its own, the blocks of a launch run
 * one after the other in a shuffled order, and a fiber runs until it waits: at
 * a barrier of its block, or at an operation of its warp, which is carried
 * out for all lanes of its mask at once when the last of them has come.  Who
 * runs next is drawn by chance (emu.cu).
 *
 * It is strict where hardware would go wrong silently: a lane of the mask that
 * has exited or that waits elsewhere, a barrier not reached by all, warps'
 * .sync.aligned instructions (ldmatrix, mma) of not all lanes at one place,
 * misaligned 16-byte accesses, cp.async to what is not shared memory: each
 * ends the process with the kernel's name, block and thread.
 *
 * What a real device does and this does not: blocks at the same time (a block
 * that waits for another hangs it), contracted multiply-adds, flushed
 * denormals.
 *
 * Where a CUDA header declares a function for nvcc only, a macro of its name
 * leads to ours, so that headers that do have it do not matter.
 */

#ifndef LLM_T_CUDA_EMU_CUH
#define LLM_T_CUDA_EMU_CUH

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <type_traits>

#include <cuda_runtime.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

/* Of both, g++ sees in kernels what is none: halves have constructors. */
#pragma GCC diagnostic ignored "-Wclass-memaccess"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __shared__
#define __shared__ static thread_local
#define CU_SHARED  static thread_local
#ifndef __noinline__
#define __noinline__ /* libraries have it in attributes */
#endif
#define __builtin_assume(x) ((void) 0)

/* Where a call stands: the caller's place, as a default argument. */
#define EMU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

#define EMU_FULL   0xffffffffu
#define EMU_INLINE __attribute__((unused)) static inline


/* --- emu.cu --- */

typedef enum {
    EMU_OP_SYNCWARP = 0,
    EMU_OP_SHFL,
    EMU_OP_SHFL_XOR,
    EMU_OP_SHFL_UP,
    EMU_OP_SHFL_DOWN,
    EMU_OP_BALLOT,
    EMU_OP_ANY,
    EMU_OP_ALL,
    EMU_OP_MATCH,
    EMU_OP_REDUCE_ADD,
    EMU_OP_REDUCE_MIN,
    EMU_OP_REDUCE_MAX,
    EMU_OP_REDUCE_AND,
    EMU_OP_REDUCE_OR,
    EMU_OP_REDUCE_XOR,
    EMU_OP_REDUCE_MIN_S,
    EMU_OP_REDUCE_MAX_S,
    EMU_OP_LDMATRIX,
    EMU_OP_MMA_BF16,
    EMU_OP_MMA_F16,
    EMU_OPS
} emu_op_t;

typedef struct {
    uint64_t in;
    uint64_t out;
    int      arg;   /* source lane, mask or distance */
    int      width; /* of a shuffle */
} emu_word_t;

typedef struct {
    uint32_t *r;
    uint16_t  row[8]; /* what this lane's address has */
    int       n;      /* matrices */
    int       trans;
} emu_ldmatrix_t;

typedef struct {
    float          *d;
    const uint32_t *a;
    const uint32_t *b;
} emu_mma_t;

typedef struct {
    uint3 tid; /* first: what threadIdx reads */
} emu_self_t;

typedef std::function<void()> emu_call_t;

extern emu_self_t *emu_self; /* the fiber that runs */
extern uint3       emu_block_idx;
extern dim3        emu_block_dim;
extern dim3        emu_grid_dim;

#define threadIdx (*(const uint3 *) &emu_current()->tid)
#define blockIdx  (*(const uint3 *) &emu_block_idx)
#define blockDim  (*(const dim3 *) &emu_block_dim)
#define gridDim   (*(const dim3 *) &emu_grid_dim)

static const int warpSize = 32;

EMU_INLINE emu_self_t *
emu_current()
{
    return __atomic_load_n(&emu_self, __ATOMIC_RELAXED);
}

/* Ends the process: kernel, block and thread, and what is wrong. */
[[noreturn]] __attribute__((format(printf, 3, 4))) void emu_fail(const char *file, int line,
                                                                 const char *fmt, ...);

/* An operation of the warp: `arg` is this lane's, results are in it. */
void emu_warp(emu_op_t op, uint32_t mask, void *arg, const char *file, int line);
/* The block's barrier; the result of `kind` over all threads' `value`. */
typedef enum { EMU_BAR = 0, EMU_BAR_OR, EMU_BAR_AND, EMU_BAR_COUNT } emu_bar_t;
int   emu_barrier(emu_bar_t kind, int value, const char *file, int line);
void *emu_dynamic_shared();
void  emu_grid_wait();
void  emu_async16(void *smem, const void *global, int n, const char *file, int line);
void  emu_async_commit();
void  emu_async_wait(int n);
/* Fails if p is not aligned to n, or is not in the device's memory. */
void     emu_check_global(const void *p, size_t n, const char *file, int line);
void     emu_check_shared(const void *p, size_t n, const char *file, int line);
uint32_t emu_active_mask();
uint32_t emu_lane();

/* Queues (or captures) a launch; emu_rt.cu. */
cudaError_t emu_launch(const void *kernel, const emu_call_t &call, dim3 grid, dim3 block,
                       size_t smem, cudaStream_t stream);


/* --- barriers and warps --- */

EMU_INLINE void
__syncthreads(EMU_HERE)
{
    emu_barrier(EMU_BAR, 0, file, line);
}


EMU_INLINE int
__syncthreads_or(int v, EMU_HERE)
{
    return emu_barrier(EMU_BAR_OR, v, file, line);
}


EMU_INLINE int
__syncthreads_and(int v, EMU_HERE)
{
    return emu_barrier(EMU_BAR_AND, v, file, line);
}


EMU_INLINE int
__syncthreads_count(int v, EMU_HERE)
{
    return emu_barrier(EMU_BAR_COUNT, v, file, line);
}


EMU_INLINE void
__syncwarp(uint32_t mask = EMU_FULL, EMU_HERE)
{
    emu_warp(EMU_OP_SYNCWARP, mask, NULL, file, line);
}


EMU_INLINE uint32_t
__activemask()
{
    return emu_active_mask();
}


template <typename T>
static inline T
emu_shuffle(emu_op_t op, uint32_t mask, T v, int arg, int width, const char *file, int line)
{
    emu_word_t w = {0, 0, arg, width};
    T          out;

    static_assert(sizeof(T) <= 8, "a shuffle moves at most 64 bits");
    memcpy(&w.in, &v, sizeof(T));
    emu_warp(op, mask, &w, file, line);
    memcpy((void *) &out, &w.out, sizeof(T));
    return out;
}


template <typename T>
static inline T
__shfl_sync(uint32_t mask, T v, int lane, int width = 32, EMU_HERE)
{
    return emu_shuffle(EMU_OP_SHFL, mask, v, lane, width, file, line);
}


template <typename T>
static inline T
__shfl_xor_sync(uint32_t mask, T v, int lane_mask, int width = 32, EMU_HERE)
{
    return emu_shuffle(EMU_OP_SHFL_XOR, mask, v, lane_mask, width, file, line);
}


template <typename T>
static inline T
__shfl_up_sync(uint32_t mask, T v, unsigned n, int width = 32, EMU_HERE)
{
    return emu_shuffle(EMU_OP_SHFL_UP, mask, v, (int) n, width, file, line);
}


template <typename T>
static inline T
__shfl_down_sync(uint32_t mask, T v, unsigned n, int width = 32, EMU_HERE)
{
    return emu_shuffle(EMU_OP_SHFL_DOWN, mask, v, (int) n, width, file, line);
}


EMU_INLINE uint32_t
emu_vote(emu_op_t op, uint32_t mask, uint64_t v, const char *file, int line)
{
    emu_word_t w = {v, 0, 0, 32};

    emu_warp(op, mask, &w, file, line);
    return (uint32_t) w.out;
}


EMU_INLINE uint32_t
__ballot_sync(uint32_t mask, int pred, EMU_HERE)
{
    return emu_vote(EMU_OP_BALLOT, mask, pred != 0, file, line);
}


EMU_INLINE int
__any_sync(uint32_t mask, int pred, EMU_HERE)
{
    return (int) emu_vote(EMU_OP_ANY, mask, pred != 0, file, line);
}


EMU_INLINE int
__all_sync(uint32_t mask, int pred, EMU_HERE)
{
    return (int) emu_vote(EMU_OP_ALL, mask, pred != 0, file, line);
}


template <typename T>
static inline uint32_t
__match_any_sync(uint32_t mask, T v, EMU_HERE)
{
    uint64_t w = 0;

    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "words of 32 or 64 bits");
    memcpy(&w, &v, sizeof(T));
    return emu_vote(EMU_OP_MATCH, mask, w, file, line);
}

/* sm_80: 32-bit words only. */
#define EMU_REDUCE(NAME, T, OP)                                                                    \
    EMU_INLINE T NAME(uint32_t mask, T v, EMU_HERE)                                                \
    {                                                                                              \
        return (T) emu_vote(OP, mask, (uint32_t) v, file, line);                                   \
    }

EMU_REDUCE(__reduce_add_sync, uint32_t, EMU_OP_REDUCE_ADD)
EMU_REDUCE(__reduce_add_sync, int, EMU_OP_REDUCE_ADD)
EMU_REDUCE(__reduce_min_sync, uint32_t, EMU_OP_REDUCE_MIN)
EMU_REDUCE(__reduce_min_sync, int, EMU_OP_REDUCE_MIN_S)
EMU_REDUCE(__reduce_max_sync, uint32_t, EMU_OP_REDUCE_MAX)
EMU_REDUCE(__reduce_max_sync, int, EMU_OP_REDUCE_MAX_S)
EMU_REDUCE(__reduce_and_sync, uint32_t, EMU_OP_REDUCE_AND)
EMU_REDUCE(__reduce_or_sync, uint32_t, EMU_OP_REDUCE_OR)
EMU_REDUCE(__reduce_xor_sync, uint32_t, EMU_OP_REDUCE_XOR)


/* --- memory --- */

EMU_INLINE void
__threadfence()
{
}


EMU_INLINE void
__threadfence_block()
{
}


EMU_INLINE void
__threadfence_system()
{
}


EMU_INLINE void
__nanosleep(unsigned)
{
}


#define EMU_LOAD(NAME)                                                                             \
    template <typename T> static inline T NAME(const T *p, EMU_HERE)                               \
    {                                                                                              \
        static_assert(sizeof(T) <= 16, "a load moves at most 128 bits");                           \
        emu_check_global(p, sizeof(T), file, line);                                                \
        return *p;                                                                                 \
    }

#define EMU_STORE(NAME)                                                                            \
    template <typename T>                                                                          \
    static inline void NAME(T *p, typename std::remove_reference<T>::type v, EMU_HERE)             \
    {                                                                                              \
        static_assert(sizeof(T) <= 16, "a store moves at most 128 bits");                          \
        emu_check_global(p, sizeof(T), file, line);                                                \
        *p = v;                                                                                    \
    }

EMU_LOAD(__ldg)
EMU_LOAD(__ldcs)
EMU_LOAD(__ldcg)
EMU_LOAD(__ldca)
EMU_LOAD(__ldcv)
EMU_LOAD(__ldlu)
EMU_STORE(__stcs)
EMU_STORE(__stcg)
EMU_STORE(__stwb)
EMU_STORE(__stwt)


/* Fibers take turns, so that these are whole by themselves; built-ins, so
   that TSan knows them as atomic. */
#define EMU_ATOMIC(NAME, T, NEW)                                                                   \
    EMU_INLINE T NAME(T *p, T v)                                                                   \
    {                                                                                              \
        T old, next;                                                                               \
                                                                                                   \
        __atomic_load(p, &old, __ATOMIC_RELAXED);                                                  \
        next = (NEW);                                                                              \
        __atomic_store(p, &next, __ATOMIC_RELAXED);                                                \
        return old;                                                                                \
    }

typedef unsigned long long emu_u64_t;
typedef long long          emu_i64_t;

EMU_ATOMIC(atomicAdd, int, old + v)
EMU_ATOMIC(atomicAdd, unsigned, old + v)
EMU_ATOMIC(atomicAdd, emu_u64_t, old + v)
EMU_ATOMIC(atomicAdd, float, old + v)
EMU_ATOMIC(atomicAdd, double, old + v)
EMU_ATOMIC(atomicSub, int, old - v)
EMU_ATOMIC(atomicSub, unsigned, old - v)
EMU_ATOMIC(atomicMin, int, v < old ? v : old)
EMU_ATOMIC(atomicMin, unsigned, v < old ? v : old)
EMU_ATOMIC(atomicMin, emu_u64_t, v < old ? v : old)
EMU_ATOMIC(atomicMin, emu_i64_t, v < old ? v : old)
EMU_ATOMIC(atomicMax, int, v > old ? v : old)
EMU_ATOMIC(atomicMax, unsigned, v > old ? v : old)
EMU_ATOMIC(atomicMax, emu_u64_t, v > old ? v : old)
EMU_ATOMIC(atomicMax, emu_i64_t, v > old ? v : old)
EMU_ATOMIC(atomicAnd, int, old &v)
EMU_ATOMIC(atomicAnd, unsigned, old &v)
EMU_ATOMIC(atomicAnd, emu_u64_t, old &v)
EMU_ATOMIC(atomicOr, int, old | v)
EMU_ATOMIC(atomicOr, unsigned, old | v)
EMU_ATOMIC(atomicOr, emu_u64_t, old | v)
EMU_ATOMIC(atomicXor, int, old ^ v)
EMU_ATOMIC(atomicXor, unsigned, old ^ v)
EMU_ATOMIC(atomicExch, int, v)
EMU_ATOMIC(atomicExch, unsigned, v)
EMU_ATOMIC(atomicExch, emu_u64_t, v)
EMU_ATOMIC(atomicExch, float, v)
EMU_ATOMIC(atomicInc, unsigned, old >= v ? 0 : old + 1)
EMU_ATOMIC(atomicDec, unsigned, old == 0 || old > v ? v : old - 1)

#define EMU_CAS(T)                                                                                 \
    EMU_INLINE T atomicCAS(T *p, T expected, T v)                                                  \
    {                                                                                              \
        __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);   \
        return expected;                                                                           \
    }

EMU_CAS(int)
EMU_CAS(unsigned)
EMU_CAS(emu_u64_t)


#include "t/cuda/emu_math.cuh"


/* --- what cu_device.cuh has in PTX --- */

typedef struct CUstream_st *emu_stream_t;

template <typename T>
static inline T *
cu_smem()
{
    return (T *) emu_dynamic_shared();
}


EMU_INLINE void
cu_grid_wait()
{
    emu_grid_wait();
}


EMU_INLINE void
cu_grid_launch()
{
}


EMU_INLINE uint4
cu_load_stream(const void *p, EMU_HERE)
{
    emu_check_global(p, 16, file, line);
    return *(const uint4 *) p;
}


EMU_INLINE void
cu_async16(void *smem, const void *global, int n, EMU_HERE)
{
    emu_async16(smem, global, n, file, line);
}


EMU_INLINE void
cu_async_commit()
{
    emu_async_commit();
}


template <int N>
static inline void
cu_async_wait()
{
    static_assert(N >= 0, "groups that may be under way");
    emu_async_wait(N);
}


EMU_INLINE void
emu_ldmatrix(uint32_t *r, const void *smem, int n, int trans, const char *file, int line)
{
    emu_ldmatrix_t l = {r, {0}, n, trans};

    if (emu_lane() < 8u * (unsigned) n) {
        emu_check_shared(smem, 16, file, line);
        memcpy(l.row, smem, 16);
    }
    emu_warp(EMU_OP_LDMATRIX, EMU_FULL, &l, file, line);
}


EMU_INLINE void
cu_ldmatrix4(uint32_t r[4], const void *smem, EMU_HERE)
{
    emu_ldmatrix(r, smem, 4, 0, file, line);
}


EMU_INLINE void
cu_ldmatrix4_trans(uint32_t r[4], const void *smem, EMU_HERE)
{
    emu_ldmatrix(r, smem, 4, 1, file, line);
}


EMU_INLINE void
cu_ldmatrix2(uint32_t r[2], const void *smem, EMU_HERE)
{
    emu_ldmatrix(r, smem, 2, 0, file, line);
}


EMU_INLINE void
cu_mma16(float d[4], const uint32_t a[4], const uint32_t b[2], __nv_bfloat16, EMU_HERE)
{
    emu_mma_t m = {d, a, b};

    emu_warp(EMU_OP_MMA_BF16, EMU_FULL, &m, file, line);
}


EMU_INLINE void
cu_mma16(float d[4], const uint32_t a[4], const uint32_t b[2], __half, EMU_HERE)
{
    emu_mma_t m = {d, a, b};

    emu_warp(EMU_OP_MMA_F16, EMU_FULL, &m, file, line);
}


/* movmatrix: from lanes 8 t + g / 2 and 8 t + 4 + g / 2, half g % 2. */
EMU_INLINE uint32_t
cu_transpose8(uint32_t w, EMU_HERE)
{
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, a, b;

    a = __shfl_sync(EMU_FULL, w, (int) (8 * t + g / 2), 32, file, line);
    b = __shfl_sync(EMU_FULL, w, (int) (8 * t + 4 + g / 2), 32, file, line);
    return g % 2 ? (a >> 16) | (b & 0xffff0000) : (a & 0xffff) | (b << 16);
}


EMU_INLINE uint32_t
cu_prmt(uint32_t a, uint32_t b, uint32_t sel)
{
    uint32_t d = 0, byte, i;
    uint64_t v = (uint64_t) b << 32 | a;

    for (i = 0; i < 4; i++) {
        byte = (uint32_t) (v >> (sel >> 4 * i & 7) * 8) & 0xff;
        if (sel >> 4 * i & 8) {
            byte = byte & 0x80 ? 0xff : 0;
        }
        d |= byte << 8 * i;
    }
    return d;
}


/* Bit a * 4 + b * 2 + c of TABLE. */
template <int TABLE>
static inline uint32_t
cu_lop3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d = 0;

    d |= TABLE & 0x01 ? ~a & ~b & ~c : 0;
    d |= TABLE & 0x02 ? ~a & ~b & c : 0;
    d |= TABLE & 0x04 ? ~a & b & ~c : 0;
    d |= TABLE & 0x08 ? ~a & b & c : 0;
    d |= TABLE & 0x10 ? a & ~b & ~c : 0;
    d |= TABLE & 0x20 ? a & ~b & c : 0;
    d |= TABLE & 0x40 ? a & b & ~c : 0;
    d |= TABLE & 0x80 ? a & b & c : 0;
    return d;
}


EMU_INLINE uint32_t
cu_opaque(uint32_t x)
{
    return x;
}


/* ex2.approx.ftz: denormals in and out are zero. */
EMU_INLINE float
cu_exp2(float x)
{
    float y = exp2f(x);

    return y < 0x1p-126f ? 0.0f : y;
}


typedef enum { CU_NO_PDL = 0, CU_PDL = 1 } cu_pdl_t;

EMU_INLINE int
cu_device_pdl(void)
{
    return 1;
}


template <typename... P, typename... A>
static inline int
cu_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, emu_stream_t stream, A... args)
{
    cudaError_t rc;

    static_assert((sizeof(P) + ... + 0) <= 4096, "arguments of at most 4 KiB");
    static_assert((std::is_trivially_copyable<P>::value && ...), "arguments are copied as bytes");

    if (smem > 48 * 1024) {
        rc = cudaFuncSetAttribute((const void *) kernel,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, (int) smem);
        if (rc != cudaSuccess) {
            return -5; /* EIO */
        }
    }

    rc = emu_launch((const void *) kernel, [=]() { kernel((P) args...); }, grid, block, smem,
                    stream);
    return rc == cudaSuccess ? 0 : -5;
}

#endif /* LLM_T_CUDA_EMU_CUH */
