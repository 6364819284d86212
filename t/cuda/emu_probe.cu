/* Kernels of one instruction each, and wrong ones: see emu_probe.h. */

#include "kernels/cuda/cu_device.cuh"
#include "t/cuda/emu_probe.h"


template <typename T>
__global__ static void
mma_kernel(float *d, const uint32_t *a, const uint32_t *b)
{
    uint32_t lane = threadIdx.x, ra[4], rb[2];
    float    rd[4];

    cu_grid_wait();
    for (int i = 0; i < 4; i++) {
        ra[i] = a[lane * 4 + i];
        rd[i] = d[lane * 4 + i];
    }
    for (int i = 0; i < 2; i++) {
        rb[i] = b[lane * 2 + i];
    }

    cu_mma16(rd, ra, rb, T());

    for (int i = 0; i < 4; i++) {
        d[lane * 4 + i] = rd[i];
    }
}


int
probe_mma(cu_type_t t, float *d, const uint32_t *a, const uint32_t *b, cu_stream_t s)
{
    return t == CU_F16 ? cu_launch(mma_kernel<__half>, dim3(1), dim3(32), 0, s, d, a, b)
                       : cu_launch(mma_kernel<__nv_bfloat16>, dim3(1), dim3(32), 0, s, d, a, b);
}


__global__ static void
ldmatrix_kernel(probe_ld_t kind, const uint16_t *in, const uint32_t *at, uint32_t *out)
{
    CU_SHARED __align__(16) uint16_t m[512];

    uint32_t lane = threadIdx.x, r[4] = {0, 0, 0, 0};

    cu_grid_wait();
    for (uint32_t i = lane; i < 512; i += 32) {
        m[i] = in[i];
    }
    __syncwarp();

    if (kind == PROBE_LD4) {
        cu_ldmatrix4(r, m + at[lane] * 8);
    } else if (kind == PROBE_LD4_TRANS) {
        cu_ldmatrix4_trans(r, m + at[lane] * 8);
    } else {
        cu_ldmatrix2(r, m + at[lane] * 8);
    }

    for (int i = 0; i < 4; i++) {
        out[lane * 4 + i] = r[i];
    }
}


int
probe_ldmatrix(probe_ld_t kind, const uint16_t *in, const uint32_t *at, uint32_t *out,
               cu_stream_t s)
{
    return cu_launch(ldmatrix_kernel, dim3(1), dim3(32), 0, s, kind, in, at, out);
}


__global__ static void
transpose_kernel(const uint32_t *in, uint32_t *out)
{
    cu_grid_wait();
    out[threadIdx.x] = cu_transpose8(in[threadIdx.x]);
}


int
probe_transpose(const uint32_t *in, uint32_t *out, cu_stream_t s)
{
    return cu_launch(transpose_kernel, dim3(1), dim3(32), 0, s, in, out);
}


template <typename T>
__global__ static void
shuffle_kernel(probe_shuffle_t op, int width, const int *arg, const T *in, T *out)
{
    T   v;
    int a;

    cu_grid_wait();
    v = in[threadIdx.x];
    a = arg[threadIdx.x];

    switch (op) {
    case PROBE_IDX:
        v = __shfl_sync(CU_FULL, v, a, width);
        break;
    case PROBE_XOR:
        v = __shfl_xor_sync(CU_FULL, v, a, width);
        break;
    case PROBE_UP:
        v = __shfl_up_sync(CU_FULL, v, (unsigned) a, width);
        break;
    default:
        v = __shfl_down_sync(CU_FULL, v, (unsigned) a, width);
    }

    out[threadIdx.x] = v;
}


int
probe_shuffle32(probe_shuffle_t op, int width, const int *arg, const float *in, float *out,
                cu_stream_t s)
{
    return cu_launch(shuffle_kernel<float>, dim3(1), dim3(32), 0, s, op, width, arg, in, out);
}


int
probe_shuffle64(probe_shuffle_t op, int width, const int *arg, const uint64_t *in, uint64_t *out,
                cu_stream_t s)
{
    return cu_launch(shuffle_kernel<unsigned long long>, dim3(1), dim3(32), 0, s, op, width, arg,
                     (const unsigned long long *) in, (unsigned long long *) out);
}


__global__ static void
vote_kernel(uint32_t mask, const uint32_t *in, uint32_t *out)
{
    uint32_t lane = threadIdx.x, v;

    cu_grid_wait();
    if (!(mask >> lane & 1)) {
        return;
    }

    v = in[lane];
    out[0 * 32 + lane] = __ballot_sync(mask, (int) (v & 1));
    out[1 * 32 + lane] = (uint32_t) (__any_sync(mask, (int) (v & 1)) != 0);
    out[2 * 32 + lane] = (uint32_t) (__all_sync(mask, (int) (v & 1)) != 0);
    out[3 * 32 + lane] = __match_any_sync(mask, v & 3);
    out[4 * 32 + lane] = __reduce_add_sync(mask, v);
    out[5 * 32 + lane] = __reduce_min_sync(mask, v);
    out[6 * 32 + lane] = __reduce_max_sync(mask, v);
    out[7 * 32 + lane] = (uint32_t) __reduce_add_sync(mask, (int) v);
    out[8 * 32 + lane] = (uint32_t) __reduce_min_sync(mask, (int) v);
    out[9 * 32 + lane] = (uint32_t) __reduce_max_sync(mask, (int) v);
    out[10 * 32 + lane] = __reduce_and_sync(mask, v);
    out[11 * 32 + lane] = __reduce_or_sync(mask, v);
}


int
probe_vote(uint32_t mask, const uint32_t *in, uint32_t *out, cu_stream_t s)
{
    return cu_launch(vote_kernel, dim3(1), dim3(32), 0, s, mask, in, out);
}


__global__ static void
ints_kernel(const uint32_t *pa, const uint32_t *pb, const uint32_t *pc, uint32_t n, uint32_t *out)
{
    uint32_t i = threadIdx.x, a, b, c;

    cu_grid_wait();
    if (i >= n) {
        return;
    }

    a = pa[i];
    b = pb[i];
    c = pc[i];
    out[0 * 32 + i] = (uint32_t) __dp4a((int) a, (int) b, (int) c);
    out[1 * 32 + i] = __dp4a(a, b, c);
    out[2 * 32 + i] = cu_lop3<0xea>(a, b, c);
    out[3 * 32 + i] = cu_lop3<0x96>(a, b, c);
    out[4 * 32 + i] = cu_lop3<0x1b>(a, b, c);
    out[5 * 32 + i] = __byte_perm(a, b, c & 0x7777);
    out[6 * 32 + i] = cu_prmt(a, b, c & 0xffff);
    out[7 * 32 + i] = (uint32_t) __popc(a);
    out[8 * 32 + i] = (uint32_t) __ffs((int) (a & 0xfff00000));
    out[9 * 32 + i] = (uint32_t) __clz((int) (a & 0xfff));
    out[10 * 32 + i] = __brev(a);
    out[11 * 32 + i] = __umulhi(a, b);
    out[12 * 32 + i] = __funnelshift_r(a, b, c);
    out[13 * 32 + i] = __funnelshift_l(a, b, c);
    out[14 * 32 + i] = __vsubss4(a, b);
    out[15 * 32 + i] = (uint32_t) __float2int_rn(__int_as_float((int) a));
    out[16 * 32 + i] = cu_opaque(a);
}


int
probe_ints(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t n, uint32_t *out,
           cu_stream_t s)
{
    return cu_launch(ints_kernel, dim3(1), dim3(32), 0, s, a, b, c, n, out);
}


/* --- conversions: one thread a number --- */

#define EACH(NAME, IN, OUT, EXPR)                                                                  \
    __global__ static void NAME(const IN *in, OUT *out, uint32_t n)                                \
    {                                                                                              \
        uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;                                        \
                                                                                                   \
        cu_grid_wait();                                                                            \
        if (i < n) {                                                                               \
            out[i] = EXPR;                                                                         \
        }                                                                                          \
    }

EACH(from_half_kernel, __half, float, cu_float(in[i]))
EACH(from_bf16_kernel, __nv_bfloat16, float, cu_float(in[i]))
EACH(from_f8_kernel, __nv_fp8_e4m3, float, (float) in[i])
EACH(to_half_kernel, float, __half, __float2half_rn(in[i]))
EACH(to_bf16_kernel, float, __nv_bfloat16, __float2bfloat16_rn(in[i]))
EACH(to_f8_kernel, float, __nv_fp8_e4m3, __nv_fp8_e4m3(in[i]))
EACH(cu_to_half_kernel, float, __half, cu_to<__half>(in[i]))
EACH(cu_to_bf16_kernel, float, __nv_bfloat16, cu_to<__nv_bfloat16>(in[i]))
EACH(next_kernel, uint32_t, uint32_t, in[i] + 1)

#define BLOCKS(N) dim3(((N) + 255) / 256), dim3(256), 0, s


int
probe_from_half(const uint16_t *in, float *out, uint32_t n, cu_stream_t s)
{
    return cu_launch(from_half_kernel, BLOCKS(n), (const __half *) in, out, n);
}


int
probe_from_bf16(const uint16_t *in, float *out, uint32_t n, cu_stream_t s)
{
    return cu_launch(from_bf16_kernel, BLOCKS(n), (const __nv_bfloat16 *) in, out, n);
}


int
probe_from_f8(const uint8_t *in, float *out, uint32_t n, cu_stream_t s)
{
    return cu_launch(from_f8_kernel, BLOCKS(n), (const __nv_fp8_e4m3 *) in, out, n);
}


int
probe_to(cu_type_t t, const float *in, void *out, uint32_t n, cu_stream_t s)
{
    switch (t) {
    case CU_F16:
        return cu_launch(to_half_kernel, BLOCKS(n), in, (__half *) out, n);
    case CU_BF16:
        return cu_launch(to_bf16_kernel, BLOCKS(n), in, (__nv_bfloat16 *) out, n);
    default:
        return cu_launch(to_f8_kernel, BLOCKS(n), in, (__nv_fp8_e4m3 *) out, n);
    }
}


int
probe_cu_to(cu_type_t t, const float *in, void *out, uint32_t n, cu_stream_t s)
{
    return t == CU_F16 ? cu_launch(cu_to_half_kernel, BLOCKS(n), in, (__half *) out, n)
                       : cu_launch(cu_to_bf16_kernel, BLOCKS(n), in, (__nv_bfloat16 *) out, n);
}


int
probe_next(const uint32_t *in, uint32_t *out, uint32_t n, cu_stream_t s)
{
    return cu_launch(next_kernel, BLOCKS(n), in, out, n);
}


template <typename T2>
__global__ static void
pairs_kernel(const T2 *a, const T2 *b, const T2 *c, T2 *out, uint32_t n)
{
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

    cu_grid_wait();
    if (i >= n) {
        return;
    }

    out[i * 5 + 0] = __hfma2(a[i], b[i], c[i]);
    out[i * 5 + 1] = __hmul2(a[i], b[i]);
    out[i * 5 + 2] = __hadd2(a[i], b[i]);
    out[i * 5 + 3] = __hsub2(a[i], b[i]);
    out[i * 5 + 4] = __hmax2(a[i], b[i]);
}


int
probe_pairs(cu_type_t t, const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out,
            uint32_t n, cu_stream_t s)
{
    if (t == CU_F16) {
        return cu_launch(pairs_kernel<__half2>, BLOCKS(n), (const __half2 *) a, (const __half2 *) b,
                         (const __half2 *) c, (__half2 *) out, n);
    }
    return cu_launch(pairs_kernel<__nv_bfloat162>, BLOCKS(n), (const __nv_bfloat162 *) a,
                     (const __nv_bfloat162 *) b, (const __nv_bfloat162 *) c, (__nv_bfloat162 *) out,
                     n);
}


__global__ static void
floats_kernel(const float *in, float *out, uint32_t n)
{
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

    cu_grid_wait();
    if (i >= n) {
        return;
    }

    out[i * 3 + 0] = cu_exp2(in[i]);
    out[i * 3 + 1] = rsqrtf(in[i]);
    out[i * 3 + 2] = __expf(in[i]);
}


int
probe_floats(const float *in, float *out, uint32_t n, cu_stream_t s)
{
    return cu_launch(floats_kernel, BLOCKS(n), in, out, n);
}


/* --- blocks --- */

__global__ static void
async_kernel(const uint8_t *in, const uint8_t *keep, uint8_t *out, uint32_t n)
{
    CU_SHARED uint4 ring[4][32];

    uint32_t lane = threadIdx.x, at, step;
    uint32_t steps = (n + 31) / 32;

    cu_grid_wait();

    for (step = 0; step < steps + 3; step++) {
        at = step * 32 + lane;
        if (at < n) {
            cu_async16(&ring[step % 4][lane], in + at * 16, keep[at] ? 16 : 0);
        }
        cu_async_commit();
        cu_async_wait<3>();
        __syncwarp();

        /* Another lane's, so that the barrier matters. */
        at = (step - 3) * 32 + (lane ^ 1);
        if (step >= 3 && at < n) {
            *(uint4 *) (out + at * 16) = ring[(step - 3) % 4][lane ^ 1];
        }
        __syncwarp();
    }

    cu_async_wait<0>();
}


int
probe_async(const uint8_t *in, const uint8_t *keep, uint8_t *out, uint32_t n, cu_stream_t s)
{
    return cu_launch(async_kernel, dim3(1), dim3(32), 0, s, in, keep, out, n);
}


__global__ static void
block_kernel(const float *in, float *out)
{
    CU_SHARED float buf[33];
    CU_SHARED float sum;
    CU_SHARED int   most;

    float v, r[7];

    cu_grid_wait();
    v = in[threadIdx.x];
    if (threadIdx.x == 0) {
        sum = 0;
        most = INT32_MIN;
    }

    r[0] = cu_block_sum(v, buf);
    r[1] = cu_block_max(v, buf);
    r[2] = (float) (__syncthreads_or(v > 0) != 0);
    r[3] = (float) (__syncthreads_and(v > 0) != 0);
    r[4] = (float) __syncthreads_count(v > 0);
    atomicAdd(&sum, v);
    atomicMax(&most, (int) v);
    __syncthreads();
    r[5] = sum;
    r[6] = (float) most;

    for (int i = 0; threadIdx.x == blockDim.x - 1 && i < 7; i++) {
        out[i] = r[i];
    }
}


int
probe_block(const float *in, float *out, uint32_t threads, cu_stream_t s)
{
    return cu_launch(block_kernel, dim3(1), dim3(threads), 0, s, in, out);
}


__global__ static void
dynamic_kernel(uint32_t *out, uint32_t bytes)
{
    CU_SHARED float buf[33];

    uint8_t *p = cu_smem<uint8_t>();
    float    v = 0;

    cu_grid_wait();
    for (uint32_t i = threadIdx.x; i < bytes; i += blockDim.x) {
        p[i] = 1;
    }
    __syncthreads();

    for (uint32_t i = blockDim.x - 1 - threadIdx.x; i < bytes; i += blockDim.x) {
        v += p[i];
    }
    v = cu_block_sum(v, buf);
    if (threadIdx.x == 0) {
        out[0] = (uint32_t) v;
    }
}


int
probe_dynamic(uint32_t *out, uint32_t threads, uint32_t bytes, cu_stream_t s)
{
    return cu_launch(dynamic_kernel, dim3(1), dim3(threads), bytes, s, out, bytes);
}


/* --- what must not be done: for the emulated device --- */

#ifdef CU_EMULATED

/* All wait for each other by one barrier; not `wait`: they do not. */
static inline void
race_step(uint32_t *shared, const uint32_t *in, uint32_t *out, int wait)
{
    uint32_t i = threadIdx.x;

    shared[i] = in[i];
    if (wait) {
        __syncthreads();
    }
    out[i] = shared[(i + 1) % 256];
}


static void
race_kernel(probe_fault_t fault, const uint32_t *in, uint32_t *out)
{
    CU_SHARED __align__(16) uint32_t shared[512];

    uint32_t i = threadIdx.x, last = 0;

    cu_grid_wait();
    switch (fault) {
    case PROBE_RACE:
    case PROBE_GOOD:
        race_step(shared, in, out, fault == PROBE_GOOD);
        break;

    case PROBE_RACE_WARP:
        shared[i] = in[i];
        out[i] = shared[i / 32 * 32 + (i + 1) % 32];
        break;

    case PROBE_RACE_ASYNC:
    case PROBE_NO_WAIT:
        if (i < 64) {
            cu_async16(shared + i * 4, in + i * 4, 16);
            cu_async_commit();
            if (fault == PROBE_RACE_ASYNC) {
                cu_async_wait<0>();
            }
        }
        if (fault == PROBE_NO_WAIT) {
            __syncthreads();
        }
        out[i] = shared[(i + 1) % 256];
        break;

    default:
        /* The buffer is filled again while others may still read it. */
        for (uint32_t n = 8; n-- > 0;) {
            shared[i] = in[i] + n;
            __syncthreads();
            last |= shared[(i + 1) % 256] - n - in[(i + 1) % 256];
        }
        out[i] = in[(i + 1) % 256] + last;
    }
}


static void
fault_kernel(probe_fault_t fault, const uint32_t *in, uint32_t *out)
{
    uint32_t i = threadIdx.x, v = i, r[4] = {0, 0, 0, 0};
    float    d[4] = {0, 0, 0, 0};

    if (fault == PROBE_NO_GRID_WAIT) {
        return;
    }
    cu_grid_wait();

    switch (fault) {
    case PROBE_DIVERGED:
        if (i % 2) {
            v = __shfl_xor_sync(CU_FULL, v, 1);
        } else {
            v = (uint32_t) __any_sync(CU_FULL, (int) v);
        }
        break;
    case PROBE_EXITED:
        if (i % 32 == 5) {
            return;
        }
        v = __shfl_xor_sync(CU_FULL, v, 1);
        break;
    case PROBE_BARRIER:
        if (i < 128) {
            __syncthreads();
        }
        break;
    case PROBE_BARRIERS:
        if (i < 128) {
            __syncthreads();
        } else {
            __syncthreads();
        }
        break;
    case PROBE_MASK:
        v = __shfl_xor_sync(0x0000ffff, v, 1);
        break;
    case PROBE_MMA:
        if (i % 32 < 16) {
            cu_mma16(d, r, r, __half());
        } else {
            cu_mma16(d, r, r, __half());
        }
        break;
    case PROBE_SHARED:
        cu_smem<uint8_t>()[1000 + i / 255] = 1; /* 1000 bytes there are */
        break;
    case PROBE_SHARED_FAR:
        cu_smem<uint8_t>()[1000 + i] = 1;
        break;
    case PROBE_GLOBAL:
        v = in[i + 128];
        break;
    case PROBE_NULL:
        ((volatile uint32_t *) (uintptr_t) (in[0] & 0))[i] = 1;
        break;
    case PROBE_MISALIGNED:
        cu_async16(cu_smem<uint8_t>(), in + 1, 16);
        break;
    case PROBE_NOT_SHARED:
        cu_ldmatrix4(r, in);
        break;
    default:
        break;
    }

    out[i] = v + r[0] + (uint32_t) d[0];
}


int
probe_fault(probe_fault_t fault, const uint32_t *in, uint32_t *out, cu_stream_t s)
{
    if (fault < PROBE_RACES) {
        return cu_launch(race_kernel, dim3(1), dim3(256), 0, s, fault, in, out);
    }
    return cu_launch(fault_kernel, dim3(1), dim3(256), 1000, s, fault, in, out);
}

#else

int
probe_fault(probe_fault_t, const uint32_t *, uint32_t *, cu_stream_t)
{
    return -ENOTSUP;
}

#endif /* CU_EMULATED */
