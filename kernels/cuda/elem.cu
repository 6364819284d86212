/*
 * Embedding, the residual stream with its norms, and what is done to logits.
 *
 * cu_norm is the kernel between any two products.  One block takes a row and
 * keeps it in registers: 4 elements a thread at a time, 16-byte accesses, E of
 * them (1 to 8) by the number of columns, so that a row is read once, written
 * once, and all of its loads are under way together.  A sum needs one barrier;
 * there are one or two sums.  With one row in all, time is a chain of
 * latencies: metadata and norm weights come before cu_grid_wait(), while the
 * product before still runs, and only x and u come after it.  Sums depend on
 * cols only, so a row's result does not depend on other rows.  Shared memory:
 * 512 bytes.
 *
 * Step metadata (cu_step_t, but `drawn`) comes by a copy before the step's
 * first kernel, which waits for that copy in full: all kernels may read it
 * before cu_grid_wait().
 */

#include "kernels/cuda/elem.cuh"
#include "kernels/cuda/quant.cuh"

#define CU_EMBED_THREADS 128
#define CU_CAP_THREADS   256


/* --- embedding: 8 columns a thread, blocks of 1,024 columns, a row each --- */

/* Out-of-range tokens become 0: a draw that failed is -1. */
__device__ static inline uint32_t
cu_token(const cu_step_t *step, int32_t token, uint32_t n)
{
    if (token < 0) {
        token = step->drawn[-1 - token];
    }
    return token < 0 || (uint32_t) token >= n ? 0 : (uint32_t) token;
}


template <bool WIDE>
__device__ static inline void
cu_load_table(float v[8], const uint8_t *row, uint32_t at, uint32_t n)
{
    uint8_t b[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    uint2   w;

    if (WIDE && at < n) {
        w = *(const uint2 *) (row + at);
        memcpy(b, &w, sizeof(b));
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (!WIDE && at + i < n) {
            b[i] = row[at + i];
        }
        v[i] = __half2float(__half(__nv_cvt_fp8_to_halfraw(b[i], __NV_E4M3)));
    }
}


template <bool WIDE, typename W>
__device__ static inline void
cu_load_table(float v[8], const W *row, uint32_t at, uint32_t n)
{
    cu_load_chunk<8, WIDE>(v, row, at, n);
}


template <typename W, bool WIDE>
__global__ void
__launch_bounds__(CU_EMBED_THREADS)
    cu_embed_plain(const cu_matrix_t table, const cu_step_t *step, float *x, float scale)
{
    float    v[8];
    int32_t  token = 0;
    uint32_t row = blockIdx.y, at, id, n_rows;

    cu_grid_launch();
    n_rows = step->n_rows;
    if (row < n_rows) {
        token = step->tokens[row];
    }
    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    id = cu_token(step, token, table.rows);
    at = (blockIdx.x * CU_EMBED_THREADS + threadIdx.x) * 8;

    cu_load_table<WIDE>(v, (const W *) table.data + (size_t) id * table.cols, at, table.cols);
    if (table.scales != NULL) {
        scale *= table.scales[id];
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        v[i] *= scale;
    }

    cu_store_chunk<8, WIDE>(x + (size_t) row * table.cols, v, at, table.cols);
}


/* Neighbouring threads take neighbouring columns: a block's bytes are shared. */
__global__ void
__launch_bounds__(CU_EMBED_THREADS)
    cu_embed_quant(const cu_matrix_t table, const cu_step_t *step, float *x, float scale)
{
    int32_t  token = 0;
    uint32_t row = blockIdx.y, at, id, n_rows;

    cu_grid_launch();
    n_rows = step->n_rows;
    if (row < n_rows) {
        token = step->tokens[row];
    }
    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    id = cu_token(step, token, table.rows);
    at = blockIdx.x * CU_EMBED_THREADS * 8 + threadIdx.x;

#pragma unroll 1
    for (int i = 0; i < 8 && at < table.cols; i++, at += CU_EMBED_THREADS) {
        x[(size_t) row * table.cols + at] = cu_quant_value(table, id, at) * scale;
    }
}


typedef void (*cu_embed_kernel_t)(const cu_matrix_t, const cu_step_t *, float *, float);

int
cu_embed(const cu_matrix_t *table, const cu_step_t *step, float *x, uint32_t rows, float scale,
         cu_stream_t s)
{
    static const cu_embed_kernel_t plain[][2] = {
        [CU_F32] = {cu_embed_plain<float, false>, cu_embed_plain<float, true>},
        [CU_F16] = {cu_embed_plain<__half, false>, cu_embed_plain<__half, true>},
        [CU_BF16] = {cu_embed_plain<__nv_bfloat16, false>, cu_embed_plain<__nv_bfloat16, true>},
        [CU_F8] = {cu_embed_plain<uint8_t, false>, cu_embed_plain<uint8_t, true>},
    };

    dim3              grid;
    cu_embed_kernel_t kernel = cu_embed_quant;

    if (rows == 0 || rows > 65535 || table->rows == 0 || table->cols == 0
        || table->form >= CU_W_FORMS || (unsigned) table->type > CU_F8) {
        return -EINVAL;
    }

    if (table->form == CU_W_PLAIN) {
        kernel = plain[table->type][table->cols % 8 == 0];
    }

    grid = dim3((table->cols + CU_EMBED_THREADS * 8 - 1) / (CU_EMBED_THREADS * 8), rows);

    return cu_launch(kernel, grid, dim3(CU_EMBED_THREADS), 0, s, *table, step, x, scale);
}


/* --- norm: see above --- */

/* u's chunk with its scales and bias; `in` as it stands in memory. */
template <bool WIDE>
__device__ static inline void
cu_norm_scaled(const cu_norm_t &p, float scale_row, uint32_t at, float in[4])
{
    float t[4];

    if (p.u_scale_col != NULL) {
        cu_load_chunk<4, WIDE>(t, p.u_scale_col, at, p.cols);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            in[i] *= t[i];
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        in[i] *= scale_row;
    }
    if (p.bias != NULL) {
        cu_load_chunk<4, WIDE>(t, p.bias, at, p.cols);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            in[i] += t[i];
        }
    }
}


template <bool WIDE>
__device__ static inline void
cu_norm_weights(float w[4], const float *norm, uint32_t at, uint32_t n)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        w[i] = 1;
    }
    if (norm != NULL) {
        cu_load_chunk<4, WIDE>(w, norm, at, n);
    }
}


/* All lanes of a warp call it. */
template <typename T, bool WIDE>
__device__ static inline void
cu_norm_store(const cu_norm_t &p, uint32_t row, uint32_t at, const float h[4], float f8_mul)
{
    size_t first = (size_t) row * p.cols;

    if (p.out != NULL) {
        cu_store_chunk<4, WIDE>((T *) p.out + first, h, at, p.cols);
    }
    if (WIDE && p.q != NULL) {
        cu_store_q8<4>(p.q + first, p.q_d + first / 16, h, at, p.cols);
    }
    if (p.f8 != NULL) {
        cu_store_f8<4, WIDE>(p.f8 + first, h, f8_mul, at, p.cols);
    }
}


/*
 * From the row's sum of squares, and the largest of |x * norm|, what x * norm
 * is times in h, and h in E4M3.
 */
__device__ static inline float
cu_norm_factor(const cu_norm_t &p, uint32_t row, float2 both, float *f8_mul)
{
    float inv = p.no_norm ? 1.0f : rsqrtf(both.x / (float) p.cols + p.eps), scale;

    *f8_mul = 1;
    if (p.f8 != NULL) {
        scale = cu_f8_scale(both.y * inv, f8_mul);
        if (threadIdx.x == 0) {
            p.f8_scale[row] = scale;
        }
    }
    return inv;
}


/*
 * A row in registers, E chunks a thread.  POST: with post_norm.  Up to E = 2
 * weights are in registers before the wait.
 */
template <typename T, int E, bool POST>
__global__ void
__launch_bounds__(E == 1 ? 512 : 1024) cu_norm_kernel(const cu_norm_t p, const cu_step_t *step)
{
    CU_SHARED float2 buf[2][32];

    float    x[E][4], v[E][4], w[E][4], post[E][4], sum = 0, max = 0, inv, mul, f8_mul;
    float2   both = make_float2(0, 0);
    size_t   first;
    uint32_t row = blockIdx.x, n = p.cols, n_rows, at[E];

    cu_grid_launch();
    n_rows = p.gather != NULL ? step->n_logits : step->n_rows;

#pragma unroll
    for (int e = 0; e < E; e++) {
        at[e] = (e * blockDim.x + threadIdx.x) * 4;
        if (E <= 2) {
            cu_norm_weights<true>(w[e], p.norm, at[e], n);
            if (POST) {
                cu_norm_weights<true>(post[e], p.post_norm, at[e], n);
            }
        }
    }

    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    first = (size_t) (p.gather != NULL ? p.gather[row] : row) * n;
#pragma unroll
    for (int e = 0; e < E; e++) {
        cu_load_chunk<4, true>(x[e], p.x + first, at[e], n);
    }

    if (p.u != NULL) {
        float scale_row = p.u_scale_row != NULL ? p.u_scale_row[row] : 1.0f;

#pragma unroll
        for (int e = 0; e < E; e++) {
            cu_load_chunk<4, true>(v[e], p.u + first, at[e], n);
        }
#pragma unroll
        for (int e = 0; e < E; e++) {
            cu_norm_scaled<true>(p, scale_row, at[e], v[e]);
        }

        mul = p.scale;
        if (POST) {
#pragma unroll
            for (int e = 0; e < E; e++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    /* What lies beyond the row has its bias at 0 as well. */
                    sum += v[e][i] * v[e][i];
                }
            }
            both = cu_block_sum_max(sum, 0, buf[0]);
            mul *= rsqrtf(both.x / (float) n + p.eps_post);
            sum = 0;
        }

#pragma unroll
        for (int e = 0; e < E; e++) {
            if (POST) {
                if (E > 2) {
                    cu_load_chunk<4, true>(post[e], p.post_norm, at[e], n);
                }
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    v[e][i] *= post[e][i];
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                x[e][i] += mul * v[e][i];
            }
            cu_store_chunk<4, true>(p.x + first, x[e], at[e], n);
        }
    }

    if (p.out == NULL && p.q == NULL && p.f8 == NULL) {
        return;
    }

#pragma unroll
    for (int e = 0; e < E; e++) {
        if (E > 2) {
            cu_norm_weights<true>(w[e], p.norm, at[e], n);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sum += x[e][i] * x[e][i];
            x[e][i] *= w[e][i];
            max = fmaxf(max, fabsf(x[e][i]));
        }
    }
    if (!p.no_norm || p.f8 != NULL) {
        both = cu_block_sum_max(sum, max, buf[1]);
    }
    inv = cu_norm_factor(p, row, both, &f8_mul);

#pragma unroll
    for (int e = 0; e < E; e++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            x[e][i] *= inv;
        }
        cu_norm_store<T, true>(p, row, at[e], x[e], f8_mul);
    }
}


/*
 * Rows that registers do not hold, and odd ones: the same sums over a row that
 * is read again for each step of them.  A thread reads no element of x that
 * another one writes.  Whole warps walk the row, also beyond its end, since
 * int8 blocks are shuffled.
 */
template <typename T, bool WIDE>
__global__ void __launch_bounds__(1024) cu_norm_long(const cu_norm_t p, const cu_step_t *step)
{
    CU_SHARED float2 buf[2][32];

    float    x[4], v[4], w[4], sum = 0, max = 0, inv, mul = p.scale, f8_mul, scale_row;
    float   *xs;
    float2   both;
    size_t   first;
    uint32_t row = blockIdx.x, n = p.cols, n_rows, from, at;

    cu_grid_launch();
    n_rows = p.gather != NULL ? step->n_logits : step->n_rows;
    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    first = (size_t) (p.gather != NULL ? p.gather[row] : row) * n;
    xs = p.x + first;
    scale_row = p.u_scale_row != NULL ? p.u_scale_row[row] : 1.0f;

    if (p.u != NULL && p.post_norm != NULL) {
#pragma unroll 1
        for (from = 0; from < n; from += blockDim.x * 4) {
            at = from + threadIdx.x * 4;
            cu_load_chunk<4, WIDE>(v, p.u + first, at, n);
            cu_norm_scaled<WIDE>(p, scale_row, at, v);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                sum += v[i] * v[i];
            }
        }
        both = cu_block_sum_max(sum, 0, buf[0]);
        mul *= rsqrtf(both.x / (float) n + p.eps_post);
        sum = 0;
    }

#pragma unroll 1
    for (from = 0; from < n; from += blockDim.x * 4) {
        at = from + threadIdx.x * 4;
        cu_load_chunk<4, WIDE>(x, xs, at, n);
        if (p.u != NULL) {
            cu_load_chunk<4, WIDE>(v, p.u + first, at, n);
            cu_norm_scaled<WIDE>(p, scale_row, at, v);
            cu_norm_weights<WIDE>(w, p.post_norm, at, n);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                x[i] += mul * (v[i] * w[i]);
            }
            cu_store_chunk<4, WIDE>(xs, x, at, n);
        }
        cu_norm_weights<WIDE>(w, p.norm, at, n);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sum += x[i] * x[i];
            max = fmaxf(max, fabsf(x[i] * w[i]));
        }
    }

    if (p.out == NULL && p.q == NULL && p.f8 == NULL) {
        return;
    }

    inv = cu_norm_factor(p, row, cu_block_sum_max(sum, max, buf[1]), &f8_mul);

#pragma unroll 1
    for (from = 0; from < n; from += blockDim.x * 4) {
        at = from + threadIdx.x * 4;
        cu_load_chunk<4, WIDE>(x, xs, at, n);
        cu_norm_weights<WIDE>(w, p.norm, at, n);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            x[i] *= w[i];
            x[i] *= inv;
        }
        cu_norm_store<T, WIDE>(p, row, at, x, f8_mul);
    }
}


typedef void (*cu_norm_kernel_t)(const cu_norm_t, const cu_step_t *);

template <typename T>
static cu_norm_kernel_t
cu_norm_pick(uint32_t chunks, bool wide, bool post, uint32_t *each)
{
    static const cu_norm_kernel_t kernels[3][2] = {
        {cu_norm_kernel<T, 1, false>, cu_norm_kernel<T, 1, true>},
        {cu_norm_kernel<T, 2, false>, cu_norm_kernel<T, 2, true>},
        {cu_norm_kernel<T, 4, false>, cu_norm_kernel<T, 4, true>},
    };
    uint32_t i;

    if (!wide || chunks > 4096) {
        *each = (chunks + 1023) / 1024;
        return wide ? cu_norm_long<T, true> : cu_norm_long<T, false>;
    }

    /* 512 threads are enough for a small row; then 1,024 at most. */
    i = chunks <= 512 ? 0 : chunks <= 2048 ? 1 : 2;
    *each = 1u << i;
    return kernels[i][post];
}


int
cu_norm(cu_type_t t, const cu_norm_t *p, const cu_step_t *step, cu_stream_t s)
{
    bool             wide = p->cols % 4 == 0, post = p->post_norm != NULL && p->u != NULL;
    uint32_t         chunks = (p->cols + 3) / 4, each, threads;
    cu_norm_t        q = *p;
    cu_norm_kernel_t kernel;

    if (p->rows == 0 || p->cols == 0 || p->cols % 2 != 0 || p->cols > 32768
        || (p->gather != NULL && p->u != NULL) || (p->q != NULL && p->cols % 32 != 0)
        || (p->q != NULL) != (p->q_d != NULL) || (p->f8 != NULL) != (p->f8_scale != NULL)
        || (t != CU_F16 && t != CU_BF16)) {
        return -EINVAL;
    }

    if (p->no_norm) {
        q.norm = NULL;
    }

    kernel = t == CU_F16 ? cu_norm_pick<__half>(chunks, wide, post, &each)
                         : cu_norm_pick<__nv_bfloat16>(chunks, wide, post, &each);
    threads = ((chunks + each - 1) / each + 31) / 32 * 32;

    return cu_launch(kernel, dim3(p->rows), dim3(threads), 0, s, q, step);
}


/* --- logits: 4 a thread --- */

template <bool WIDE>
__global__ void
__launch_bounds__(CU_CAP_THREADS) cu_cap_kernel(const cu_cap_t p, const cu_step_t *step)
{
    float    v[4], t[4], mul = p.scale;
    float   *l = p.l + (size_t) blockIdx.y * p.ld;
    uint32_t at = (blockIdx.x * CU_CAP_THREADS + threadIdx.x) * 4, n_logits;

    cu_grid_launch();
    n_logits = step->n_logits;
    cu_grid_wait();
    if (blockIdx.y >= n_logits) {
        return;
    }

    cu_load_chunk<4, WIDE>(v, l, at, p.n);
    if (p.scale_row != NULL) {
        mul *= p.scale_row[blockIdx.y];
    }
    if (p.scale_col != NULL) {
        cu_load_chunk<4, WIDE>(t, p.scale_col, at, p.n);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[i] *= t[i];
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[i] *= mul;
    }
    if (p.bias != NULL) {
        cu_load_chunk<4, WIDE>(t, p.bias, at, p.n);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[i] += t[i];
        }
    }
    if (p.soft_cap != 0) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[i] = p.soft_cap * tanhf(v[i] / p.soft_cap);
        }
    }
    cu_store_chunk<4, WIDE>(l, v, at, p.n);
}


int
cu_cap(const cu_cap_t *p, const cu_step_t *step, cu_stream_t s)
{
    bool wide = p->n % 4 == 0 && p->ld % 4 == 0;
    dim3 grid((p->n + CU_CAP_THREADS * 4 - 1) / (CU_CAP_THREADS * 4), p->rows);

    if (p->rows == 0 || p->rows > 65535 || p->n == 0 || p->n > p->ld) {
        return -EINVAL;
    }

    /* Nothing to do. */
    if (p->scale == 1.0f && p->soft_cap == 0 && p->scale_row == NULL && p->scale_col == NULL
        && p->bias == NULL) {
        return 0;
    }

    return cu_launch(wide ? cu_cap_kernel<true> : cu_cap_kernel<false>, grid, dim3(CU_CAP_THREADS),
                     0, s, *p, step);
}
