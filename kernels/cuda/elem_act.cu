/*
 * What a product's output (T) becomes for the next one: act(gate) * up, in T,
 * int8 blocks or E4M3.
 *
 * A thread takes 8 columns: 16 bytes of gate and of up, all of a block's loads
 * at once.  Without E4M3 a block of 128 threads takes 1,024 columns of a row,
 * so that one row alone still spreads over many SMs.  E4M3's scale needs the
 * whole row's largest element: there one block takes a row and keeps act's
 * result in registers (E chunks a thread, rows of up to 32,768); longer rows,
 * and odd ones, are computed twice.
 */

#include "kernels/cuda/elem.cuh"

#define CU_ACT_THREADS 128


/* Columns [at, at + 8) of a row's result. */
template <typename T, bool WIDE>
__device__ static inline void
cu_act_value(const cu_act_t &p, uint32_t row, float scale_row, uint32_t at, float v[8])
{
    float    u[8], t[8];
    const T *in = (const T *) p.in + (size_t) row * (p.fn < 0 ? p.n : 2 * p.n);

    cu_load_chunk<8, WIDE>(v, in, at, p.n);
    if (p.fn >= 0) {
        cu_load_chunk<8, WIDE>(u, in + p.n, at, p.n);
    }

    if (p.in_scale_col != NULL) {
        cu_load_chunk<8, WIDE>(t, p.in_scale_col, at, p.n);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] *= t[i];
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        v[i] *= scale_row;
    }
    if (p.fn < 0) {
        return;
    }

    if (p.in_scale_col != NULL) {
        cu_load_chunk<8, WIDE>(t, p.in_scale_col + p.n, at, p.n);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            u[i] *= t[i];
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        u[i] *= scale_row;
    }

    if (p.bias_g != NULL) {
        cu_load_chunk<8, WIDE>(t, p.bias_g, at, p.n);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] += t[i];
        }
    }
    if (p.bias_u != NULL) {
        cu_load_chunk<8, WIDE>(t, p.bias_u, at, p.n);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            u[i] += t[i];
        }
    }

    cu_act_chunk<8>(p.fn, v, v, u);
}


template <typename T, bool WIDE>
__device__ static inline void
cu_act_store(const cu_act_t &p, uint32_t row, uint32_t at, const float v[8], float f8_mul)
{
    size_t first = (size_t) row * p.n;

    if (p.out != NULL) {
        cu_store_chunk<8, WIDE>((T *) p.out + first, v, at, p.n);
    }
    if (WIDE && p.q != NULL) {
        cu_store_q8<8>(p.q + first, p.q_d + first / 16, v, at, p.n);
    }
    if (p.f8 != NULL) {
        cu_store_f8<8, WIDE>(p.f8 + first, v, f8_mul, at, p.n);
    }
}


/* No E4M3: blockIdx.y is the row, x the thousand columns. */
template <typename T, bool WIDE>
__global__ void
__launch_bounds__(CU_ACT_THREADS) cu_act_tile(const cu_act_t p, const cu_step_t *step)
{
    float    v[8];
    uint32_t row = blockIdx.y, n_rows;
    uint32_t at = (blockIdx.x * CU_ACT_THREADS + threadIdx.x) * 8;

    cu_grid_launch();
    n_rows = step->n_rows;
    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    cu_act_value<T, WIDE>(p, row, p.in_scale_row != NULL ? p.in_scale_row[row] : 1.0f, at, v);
    cu_act_store<T, WIDE>(p, row, at, v, 1.0f);
}


template <int N>
__device__ static inline float
cu_amax_chunk(float amax, const float v[N])
{
#pragma unroll
    for (int i = 0; i < N; i++) {
        amax = fmaxf(amax, fabsf(v[i]));
    }
    return amax;
}


/* A row a block, in registers. */
template <typename T, int E>
__global__ void
__launch_bounds__(E == 1 ? 512 : 1024) cu_act_row(const cu_act_t p, const cu_step_t *step)
{
    CU_SHARED float2 buf[32];

    float    v[E][8], amax = 0, mul, scale, scale_row;
    uint32_t row = blockIdx.x, n_rows;

    cu_grid_launch();
    n_rows = step->n_rows;
    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    scale_row = p.in_scale_row != NULL ? p.in_scale_row[row] : 1.0f;
#pragma unroll
    for (int e = 0; e < E; e++) {
        cu_act_value<T, true>(p, row, scale_row, (e * blockDim.x + threadIdx.x) * 8, v[e]);
        amax = cu_amax_chunk<8>(amax, v[e]);
    }

    scale = cu_f8_scale(cu_block_sum_max(0, amax, buf).y, &mul);
    if (threadIdx.x == 0) {
        p.f8_scale[row] = scale;
    }
#pragma unroll
    for (int e = 0; e < E; e++) {
        cu_act_store<T, true>(p, row, (e * blockDim.x + threadIdx.x) * 8, v[e], mul);
    }
}


/*
 * A row a block, computed twice.  Whole warps walk the row, also beyond its
 * end, since int8 blocks are shuffled.
 */
template <typename T, bool WIDE>
__global__ void __launch_bounds__(1024) cu_act_twice(const cu_act_t p, const cu_step_t *step)
{
    CU_SHARED float2 buf[32];

    float    v[8], amax = 0, mul, scale, scale_row;
    uint32_t row = blockIdx.x, n_rows, from;

    cu_grid_launch();
    n_rows = step->n_rows;
    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    scale_row = p.in_scale_row != NULL ? p.in_scale_row[row] : 1.0f;
#pragma unroll 1
    for (from = 0; from < p.n; from += blockDim.x * 8) {
        cu_act_value<T, WIDE>(p, row, scale_row, from + threadIdx.x * 8, v);
        amax = cu_amax_chunk<8>(amax, v);
    }

    scale = cu_f8_scale(cu_block_sum_max(0, amax, buf).y, &mul);
    if (threadIdx.x == 0) {
        p.f8_scale[row] = scale;
    }
#pragma unroll 1
    for (from = 0; from < p.n; from += blockDim.x * 8) {
        cu_act_value<T, WIDE>(p, row, scale_row, from + threadIdx.x * 8, v);
        cu_act_store<T, WIDE>(p, row, from + threadIdx.x * 8, v, mul);
    }
}


template <typename T>
static int
cu_act_launch(const cu_act_t *p, const cu_step_t *step, cu_stream_t s)
{
    static void (*const row[])(const cu_act_t, const cu_step_t *) = {cu_act_row<T, 1>,
                                                                     cu_act_row<T, 2>,
                                                                     cu_act_row<T, 4>};

    bool     wide = p->n % 8 == 0;
    uint32_t chunks = (p->n + 7) / 8, i, threads;

    if (p->f8 == NULL) {
        dim3 grid((chunks + CU_ACT_THREADS - 1) / CU_ACT_THREADS, p->rows);

        return cu_launch(wide ? cu_act_tile<T, true> : cu_act_tile<T, false>, grid,
                         dim3(CU_ACT_THREADS), 0, s, *p, step);
    }

    if (!wide || chunks > 4096) {
        threads = chunks < 1024 ? (chunks + 31) / 32 * 32 : 1024;
        return cu_launch(wide ? cu_act_twice<T, true> : cu_act_twice<T, false>, dim3(p->rows),
                         dim3(threads), 0, s, *p, step);
    }

    i = chunks <= 512 ? 0 : chunks <= 2048 ? 1 : 2;
    threads = (((chunks + (1u << i) - 1) >> i) + 31) / 32 * 32;

    return cu_launch(row[i], dim3(p->rows), dim3(threads), 0, s, *p, step);
}


int
cu_act(cu_type_t t, const cu_act_t *p, const cu_step_t *step, cu_stream_t s)
{
    if (p->rows == 0 || p->rows > 65535 || p->n == 0 || p->n > 1u << 24 || p->fn < -1
        || p->fn > K_FN_SWIGLU_OAI || (p->q != NULL && p->n % 32 != 0)
        || (p->q != NULL) != (p->q_d != NULL) || (p->f8 != NULL) != (p->f8_scale != NULL)
        || (p->out == NULL && p->q == NULL && p->f8 == NULL)) {
        return -EINVAL;
    }

    switch (t) {
    case CU_F16:
        return cu_act_launch<__half>(p, step, s);
    case CU_BF16:
        return cu_act_launch<__nv_bfloat16>(p, step, s);
    default:
        return -EINVAL;
    }
}
