/*
 * Attention for any shape, slow and plain: what the fast kernels are held
 * against, and what serves shapes that they do not do.
 *
 * A block takes a query head and work items one after the other: first those
 * of decode[], then of prefill[].  Items of a split sequence leave parts
 * (attn.cuh), as cu_attn_decode() does; tickets are not used.
 *
 * A block goes over a row's positions 128 at a time: each thread has the score
 * of one, the block their maximum and sum, each thread up to four elements of
 * the output.  Probabilities stay F32.  Shared memory: 2.6 KiB.
 */

#include "kernels/cuda/attn.cuh"

#define SIMPLE_THREADS 128
#define SIMPLE_DIM     512

template <typename T>
__device__ static inline float
simple_value(const uint8_t *row, uint32_t i)
{
    return cu_float(((const T *) row)[i]);
}

template <>
__device__ inline float
simple_value<uint8_t>(const uint8_t *row, uint32_t i)
{
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(row[i], __NV_E4M3)));
}


/* The row at position pos, positions [begin, end) of it; item: for parts. */
template <typename T, typename KV>
__device__ static __forceinline__ void
simple_row(const cu_attn_t &p, const cu_step_t *step, const cu_attn_work_t &work, uint32_t row,
           uint32_t pos, uint32_t begin, uint32_t end, uint32_t item, int split)
{
    CU_SHARED float q[SIMPLE_DIM];
    CU_SHARED float prob[SIMPLE_THREADS];
    CU_SHARED float red[SIMPLE_THREADS / 32 + 1];

    const uint32_t  tid = threadIdx.x, head = blockIdx.x, dim = p.head_dim;
    const uint32_t  kv_head = head / (p.n_head / p.n_kv);
    const uint64_t  bytes = (uint64_t) dim * sizeof(KV);
    const uint8_t  *kv = (const uint8_t *) p.kv + kv_head * K_PAGE_TOKENS * bytes;
    const uint32_t *pages = step->pages + work.pages;
    const T        *from = (const T *) p.q + (size_t) row * p.q_ld + head * dim;
    float           o[SIMPLE_DIM / SIMPLE_THREADS] = {0, 0, 0, 0};
    float           m = -INFINITY, l = 0, mx, t, f;

    for (uint32_t i = tid; i < dim; i += SIMPLE_THREADS) {
        q[i] = cu_float(from[i]);
    }
    __syncthreads();

    end = min(end, pos + 1);
    if (p.window > 0 && pos + 1 > p.window) {
        begin = max(begin, pos + 1 - p.window);
    }

    for (uint32_t at = begin; at < end; at += SIMPLE_THREADS) {
        uint32_t k = at + tid, n = min(end - at, (uint32_t) SIMPLE_THREADS);

        t = -INFINITY;
        if (tid < n) {
            const uint8_t *key =
                kv + pages[k / K_PAGE_TOKENS] * p.kv_page + (k % K_PAGE_TOKENS) * bytes;

            t = 0;
            for (uint32_t i = 0; i < dim; i++) {
                t += q[i] * simple_value<KV>(key, i);
            }
            t *= p.scale;
            if (p.soft_cap > 0) {
                t = p.soft_cap * tanhf(t / p.soft_cap);
            }
            t *= CU_LOG2E;
        }

        mx = fmaxf(m, cu_block_max(t, red));
        f = cu_exp2(m - cu_attn_base(mx));
        m = mx;
        prob[tid] = cu_exp2(t - cu_attn_base(m));
        l = l * f + cu_block_sum(prob[tid], red);

#pragma unroll
        for (int j = 0; j < SIMPLE_DIM / SIMPLE_THREADS; j++) {
            uint32_t d = tid + j * SIMPLE_THREADS;

            o[j] *= f;
            for (uint32_t i = 0; d < dim && i < n; i++) {
                const uint8_t *value = kv + pages[(at + i) / K_PAGE_TOKENS] * p.kv_page + p.kv_v
                                       + ((at + i) % K_PAGE_TOKENS) * bytes;

                o[j] += prob[i] * simple_value<KV>(value, d);
            }
        }
        __syncthreads();
    }

    if (split) {
        float *part = cu_attn_part(p, item, head);

#pragma unroll
        for (int j = 0; j < SIMPLE_DIM / SIMPLE_THREADS; j++) {
            if (tid + j * SIMPLE_THREADS < dim) {
                part[tid + j * SIMPLE_THREADS] = o[j];
            }
        }
        if (tid == 0) {
            part[dim] = m;
            part[dim + 1] = l;
        }
        return;
    }

    t = cu_attn_sink(p, head);
    mx = cu_attn_base(fmaxf(m, t));
    f = cu_exp2(m - mx);
    l = l * f + cu_exp2(t - mx);
    f = l > 0 ? f / l : 0;

#pragma unroll
    for (int j = 0; j < SIMPLE_DIM / SIMPLE_THREADS; j++) {
        uint32_t d = tid + j * SIMPLE_THREADS;

        if (d < dim) {
            ((T *) p.a)[((size_t) row * p.n_head + head) * dim + d] = cu_to<T>(o[j] * f);
        }
    }
}


template <typename T, typename KV>
__global__ void
__launch_bounds__(SIMPLE_THREADS, 8) cu_attn_simple_kernel(cu_attn_t p, const cu_step_t *step)
{
    cu_grid_wait();

    for (uint32_t w = blockIdx.y; w < step->n_decode + step->n_prefill; w += gridDim.y) {
        const int            decode = w < step->n_decode;
        const cu_attn_work_t work = decode ? step->decode[w] : step->prefill[w - step->n_decode];

        for (uint32_t i = 0; i < (decode ? 1 : work.n); i++) {
            simple_row<T, KV>(p, step, work, work.row + i, work.pos + i, decode ? work.begin : 0,
                              decode ? work.end : ~0u, w, decode && work.n_split > 1);
            __syncthreads();
        }
    }
}


int
cu_attn_simple(cu_type_t t, const cu_attn_t *p, const cu_step_t *step, cu_stream_t s)
{
    dim3 grid(p->n_head, p->max_work);

    if (!cu_attn_sane(t, p)) {
        return -EINVAL;
    }

    if (p->max_work == 0) {
        return 0;
    }

    if (t == CU_F16) {
        return cu_launch(p->kv_type == CU_F8 ? cu_attn_simple_kernel<__half, uint8_t>
                                             : cu_attn_simple_kernel<__half, __half>,
                         grid, dim3(SIMPLE_THREADS), 0, s, *p, step);
    }

    return cu_launch(p->kv_type == CU_F8 ? cu_attn_simple_kernel<__nv_bfloat16, uint8_t>
                                         : cu_attn_simple_kernel<__nv_bfloat16, __nv_bfloat16>,
                     grid, dim3(SIMPLE_THREADS), 0, s, *p, step);
}
