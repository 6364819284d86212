/*
 * From the QKV product's rows to what attention reads: bias, norm per head,
 * rotation, q in T, k and v in their pages.
 *
 * One block takes a row.  Everything that does not depend on the product, the
 * row's sines and cosines above all, is computed before cu_grid_wait(), while
 * the product still runs (metadata comes by a copy, see elem.cu); they lie in
 * shared memory for all heads.  A rotation joins two elements of a head; a
 * thread takes eight rotations at once and owns both chunks of 8 elements that
 * they join:
 *
 *     HALVES   [8u, 8u + 8) and the same + n_rot / 2
 *     PAIRS    [16u, 16u + 16)
 *     beyond n_rot, and without rope: any two chunks, rotated by nothing
 *
 * so that all accesses are of 16 bytes, nothing is exchanged, and q may be
 * rotated in place.  The 2^k threads of a head (head_dim / 16, rounded up) are
 * neighbours in a warp: a head's sum for its norm is k shuffles.  Shared
 * memory: 6 KiB.  Shapes that do not split so (head_dim or n_rot odd multiples
 * of 2) go by cu_rope_narrow: a warp a head, element by element.
 */

#include "kernels/cuda/elem.cuh"

#define CU_ROPE_THREADS 512
#define CU_ROPE_DIM     512

typedef struct {
    float cos[CU_ROPE_DIM / 2]; /* of rotation i; 1 where there is none */
    float sin[CU_ROPE_DIM / 2];
    float norm_q[CU_ROPE_DIM];
    float norm_k[CU_ROPE_DIM];
} cu_rope_shared_t;


/*
 * To F32's accuracy for any angle up to 2^50: pi / 2 is subtracted k times in
 * two parts with fma, so that no bit is lost (no table, no local memory), and
 * |r| <= pi / 4 is what Taylor's series are short for: the first term left
 * out is < 2e-9 of the sine, 2e-10 of the cosine.
 */
__device__ static inline void
cu_sin_cos(float angle, float mul, float *sn, float *cs)
{
    double  a = angle, k = rint(a * 0.63661977236758134308), r, z, s, c, t;
    int64_t quadrant = (int64_t) k;

    r = fma(-k, 1.5707963267948966192, a);
    r = fma(-k, 6.123233995736766036e-17, r);
    z = r * r;

    s = fma(z, 1.0 / 362880, -1.0 / 5040);
    s = fma(z, s, 1.0 / 120);
    s = fma(z, s, -1.0 / 6);
    s = fma(z * r, s, r);

    c = fma(z, -1.0 / 3628800, 1.0 / 40320);
    c = fma(z, c, -1.0 / 720);
    c = fma(z, c, 1.0 / 24);
    c = fma(z, c, -0.5);
    c = fma(z, c, 1.0);

    if (quadrant & 1) {
        t = s;
        s = c;
        c = -t;
    }
    if (quadrant & 2) {
        s = -s;
        c = -c;
    }

    *sn = (float) (s * mul);
    *cs = (float) (c * mul);
}


/* Fills the block's tables; a barrier follows. */
__device__ static inline void
cu_rope_tables(const cu_rope_t &p, cu_rope_shared_t *sh, uint32_t pos)
{
    uint32_t i, n = p.rope == K_ROPE_NONE ? 0 : p.n_rot / 2;

    for (i = threadIdx.x; i < p.head_dim / 2; i += blockDim.x) {
        float s = 0, c = 1;

        if (i < n) {
            cu_sin_cos((float) pos * p.inv_freq[i], p.rope_mul, &s, &c);
        }
        sh->sin[i] = s;
        sh->cos[i] = c;
    }

    for (i = threadIdx.x; i < p.head_dim; i += blockDim.x) {
        sh->norm_q[i] = p.norm_q != NULL ? p.norm_q[i] : 1.0f;
        sh->norm_k[i] = p.norm_k != NULL ? p.norm_k[i] : 1.0f;
    }
}


/* Heads of a row: queries, keys, values. */
typedef struct {
    uint32_t     h; /* among its kind */
    bool         rotate;
    bool         norm;
    const float *weights; /* in shared memory */
    const float *bias;    /* of this head, or NULL */
} cu_rope_head_t;

__device__ static inline cu_rope_head_t
cu_rope_head(const cu_rope_t &p, const cu_rope_shared_t *sh, uint32_t head)
{
    cu_rope_head_t v;

    if (head < p.n_head) {
        v.h = head;
        v.rotate = p.rope != K_ROPE_NONE;
        v.norm = p.norm_q != NULL;
        v.weights = sh->norm_q;
        v.bias = p.bias_q;
    } else if (head < p.n_head + p.n_kv) {
        v.h = head - p.n_head;
        v.rotate = p.rope != K_ROPE_NONE;
        v.norm = p.norm_k != NULL;
        v.weights = sh->norm_k;
        v.bias = p.bias_k;
    } else {
        v.h = head - p.n_head - p.n_kv;
        v.rotate = false;
        v.norm = false;
        v.weights = sh->norm_k;
        v.bias = p.bias_v;
    }
    if (v.bias != NULL) {
        v.bias += v.h * p.head_dim;
    }
    return v;
}


/* Where a key or value goes. */
template <typename E>
__device__ static inline E *
cu_rope_page(const cu_rope_t &p, uint32_t slot, bool value, uint32_t h)
{
    uint8_t *page = (uint8_t *) p.kv + (uint64_t) (slot / K_PAGE_TOKENS) * p.kv_page;

    return (E *) (page + (value ? p.kv_v : 0))
           + (size_t) (h * K_PAGE_TOKENS + slot % K_PAGE_TOKENS) * p.head_dim;
}


/* Elements of a thread's two chunks, from 0 of the head. */
__device__ static inline void
cu_rope_chunks(const cu_rope_t &p, uint32_t unit, uint32_t at[2])
{
    uint32_t half = p.n_rot / 2;

    at[0] = unit * 16;
    at[1] = unit * 16 + 8;
    if (p.rope == K_ROPE_HALVES && unit * 8 < half) {
        at[0] = unit * 8;
        at[1] = unit * 8 + half;
    }
}


/* Of a vector of all heads, or `fill`. */
__device__ static inline void
cu_rope_vector(float v[2][8], const float *of, const uint32_t at[2], bool active, float fill)
{
#pragma unroll
    for (int c = 0; c < 2; c++) {
        if (of != NULL && active) {
            cu_load_chunk<8, true>(v[c], of, at[c], CU_ROPE_DIM);
            continue;
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[c][i] = fill;
        }
    }
}


/* `lanes` neighbouring threads, a power of 2, are a head. */
template <typename T>
__global__ void
__launch_bounds__(CU_ROPE_THREADS)
    cu_rope_wide(const cu_rope_t p, const cu_step_t *step, uint32_t lanes)
{
    CU_SHARED cu_rope_shared_t sh;

    float          x[2][8], scale[2][8], bias[2][8], scale_row, sum, inv;
    bool           active;
    uint32_t       row = blockIdx.x, unit = threadIdx.x % lanes, head = threadIdx.x / lanes;
    uint32_t       heads = p.n_head + 2 * p.n_kv, each = blockDim.x / lanes;
    uint32_t       n_rows, pos, slot = 0, at[2];
    const T       *in;
    cu_rope_head_t v;

    cu_grid_launch();
    n_rows = step->n_rows;
    if (row < n_rows) {
        pos = step->pos[row];
        slot = step->slot[row];
        cu_rope_tables(p, &sh, pos);
    }
    cu_rope_chunks(p, unit, at);
    __syncthreads();

    active = head < heads && unit < p.head_dim / 16;
    v = cu_rope_head(p, &sh, head);
    cu_rope_vector(bias, v.bias, at, active, 0);
    cu_rope_vector(scale, p.in_scale_col != NULL ? p.in_scale_col + head * p.head_dim : NULL, at,
                   active, 1);

    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    scale_row = p.in_scale_row != NULL ? p.in_scale_row[row] : 1.0f;
    in = (const T *) p.qkv + (size_t) row * heads * p.head_dim;

    /* Whole warps go round, for the shuffles. */
    for (uint32_t first = 0; first < heads; first += each) {
        if (first > 0) {
            head += each;
            active = head < heads && unit < p.head_dim / 16;
            v = cu_rope_head(p, &sh, head);
            cu_rope_vector(bias, v.bias, at, active, 0);
            cu_rope_vector(scale,
                           p.in_scale_col != NULL ? p.in_scale_col + head * p.head_dim : NULL, at,
                           active, 1);
        }

        sum = 0;
#pragma unroll
        for (int c = 0; c < 2; c++) {
            cu_load_chunk<8, true>(x[c], in + (size_t) head * p.head_dim, at[c],
                                   active ? CU_ROPE_DIM : 0);
        }
#pragma unroll
        for (int c = 0; c < 2; c++) {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                x[c][i] = x[c][i] * (scale[c][i] * scale_row) + bias[c][i];
                sum += x[c][i] * x[c][i];
            }
        }

        if (p.norm_q != NULL || p.norm_k != NULL) {
            for (uint32_t i = lanes / 2; i > 0; i /= 2) {
                sum += __shfl_xor_sync(CU_FULL, sum, i);
            }
            inv = rsqrtf(sum / (float) p.head_dim + p.eps);
            if (v.norm && active) {
#pragma unroll
                for (int c = 0; c < 2; c++) {
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        x[c][i] *= inv * v.weights[at[c] + i];
                    }
                }
            }
        }

        if (!active) {
            continue;
        }

        if (v.rotate && p.rope == K_ROPE_HALVES) {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float a = x[0][i], b = x[1][i];
                float c = sh.cos[unit * 8 + i], s = sh.sin[unit * 8 + i];

                x[0][i] = a * c - b * s;
                x[1][i] = b * c + a * s;
            }
        } else if (v.rotate) {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float a = x[i / 4][i % 4 * 2], b = x[i / 4][i % 4 * 2 + 1];
                float c = sh.cos[unit * 8 + i], s = sh.sin[unit * 8 + i];

                x[i / 4][i % 4 * 2] = a * c - b * s;
                x[i / 4][i % 4 * 2 + 1] = b * c + a * s;
            }
        }

#pragma unroll
        for (int c = 0; c < 2; c++) {
            if (head < p.n_head) {
                cu_store_chunk<8, true>((T *) p.q + (size_t) row * p.q_ld
                                            + (size_t) v.h * p.head_dim,
                                        x[c], at[c], CU_ROPE_DIM);
            } else if (p.kv_type == CU_F8) {
                cu_store_f8<8, true>(cu_rope_page<uint8_t>(p, slot, head >= p.n_head + p.n_kv, v.h),
                                     x[c], 1.0f, at[c], CU_ROPE_DIM);
            } else {
                cu_store_chunk<8, true>(cu_rope_page<T>(p, slot, head >= p.n_head + p.n_kv, v.h),
                                        x[c], at[c], CU_ROPE_DIM);
            }
        }
    }
}


/* --- any shape --- */

template <typename T>
__device__ static inline float
cu_rope_element(const cu_rope_t &p, const T *in, const cu_rope_head_t &v, float scale_row,
                uint32_t head, uint32_t i)
{
    float x = cu_float(in[head * p.head_dim + i]) * scale_row;

    if (p.in_scale_col != NULL) {
        x *= p.in_scale_col[head * p.head_dim + i];
    }
    return v.bias != NULL ? x + v.bias[i] : x;
}


template <typename T>
__device__ static inline void
cu_rope_put(const cu_rope_t &p, const cu_rope_head_t &v, uint32_t row, uint32_t slot, uint32_t head,
            uint32_t i, float x)
{
    bool value = head >= p.n_head + p.n_kv;

    if (head < p.n_head) {
        ((T *) p.q)[(size_t) row * p.q_ld + v.h * p.head_dim + i] = cu_to<T>(x);
    } else if (p.kv_type == CU_F8) {
        cu_rope_page<uint8_t>(p, slot, value, v.h)[i] =
            __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
    } else {
        cu_rope_page<T>(p, slot, value, v.h)[i] = cu_to<T>(x);
    }
}


template <typename T>
__global__ void
__launch_bounds__(CU_ROPE_THREADS) cu_rope_narrow(const cu_rope_t p, const cu_step_t *step)
{
    CU_SHARED cu_rope_shared_t sh;

    float    scale_row, sum, inv, a, b, c, s;
    uint32_t row = blockIdx.x, head = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t heads = p.n_head + 2 * p.n_kv, half = p.n_rot / 2, n_rows, slot = 0, i, ia, ib;
    const T *in;

    cu_grid_launch();
    n_rows = step->n_rows;
    if (row < n_rows) {
        slot = step->slot[row];
        cu_rope_tables(p, &sh, step->pos[row]);
    }
    __syncthreads();
    cu_grid_wait();
    if (row >= n_rows) {
        return;
    }

    scale_row = p.in_scale_row != NULL ? p.in_scale_row[row] : 1.0f;
    in = (const T *) p.qkv + (size_t) row * heads * p.head_dim;

    for (; head < heads; head += blockDim.x / 32) {
        cu_rope_head_t v = cu_rope_head(p, &sh, head);

        inv = 1;
        if (v.norm) {
            sum = 0;
            for (i = lane; i < p.head_dim; i += 32) {
                a = cu_rope_element(p, in, v, scale_row, head, i);
                sum += a * a;
            }
            sum = cu_warp_sum(sum);
            inv = rsqrtf(sum / (float) p.head_dim + p.eps);
        }

        /* The lane that reads two elements writes them: q may be in place.
           But for the sum all lanes have read, and shuffles order nothing. */
        __syncwarp();
        for (i = lane; i < p.head_dim / 2; i += 32) {
            ia = 2 * i;
            ib = 2 * i + 1;
            if (p.rope == K_ROPE_HALVES && i < half) {
                ia = i;
                ib = i + half;
            }

            a = cu_rope_element(p, in, v, scale_row, head, ia);
            b = cu_rope_element(p, in, v, scale_row, head, ib);
            if (v.norm) {
                a *= inv * v.weights[ia];
                b *= inv * v.weights[ib];
            }
            c = v.rotate ? sh.cos[i] : 1.0f;
            s = v.rotate ? sh.sin[i] : 0.0f;
            cu_rope_put<T>(p, v, row, slot, head, ia, a * c - b * s);
            cu_rope_put<T>(p, v, row, slot, head, ib, b * c + a * s);
        }
        __syncwarp();
    }
}


template <typename T>
static int
cu_rope_launch(const cu_rope_t *p, const cu_step_t *step, cu_stream_t s)
{
    uint32_t lanes = 1, threads, heads = p->n_head + 2 * p->n_kv;

    if (p->head_dim % 16 != 0 || p->q_ld % 8 != 0 || p->kv_page % 16 != 0 || p->kv_v % 16 != 0
        || (p->rope == K_ROPE_HALVES && p->n_rot % 16 != 0)) {
        threads = heads < CU_ROPE_THREADS / 32 ? heads * 32 : CU_ROPE_THREADS;
        return cu_launch(cu_rope_narrow<T>, dim3(p->rows), dim3(threads), 0, s, *p, step);
    }

    while (lanes < p->head_dim / 16) {
        lanes *= 2;
    }
    threads = (heads * lanes + 31) / 32 * 32;
    if (threads > CU_ROPE_THREADS) {
        threads = CU_ROPE_THREADS;
    }

    return cu_launch(cu_rope_wide<T>, dim3(p->rows), dim3(threads), 0, s, *p, step, lanes);
}


int
cu_rope(cu_type_t t, const cu_rope_t *p, const cu_step_t *step, cu_stream_t s)
{
    if (p->rows == 0 || p->n_head == 0 || p->n_kv == 0 || p->head_dim == 0 || p->head_dim % 2 != 0
        || p->head_dim > CU_ROPE_DIM || (unsigned) p->rope > K_ROPE_HALVES
        || (p->kv_type != t && p->kv_type != CU_F8) || p->q_ld < p->n_head * p->head_dim) {
        return -EINVAL;
    }
    if (p->rope != K_ROPE_NONE
        && (p->inv_freq == NULL || p->n_rot % 2 != 0 || p->n_rot > p->head_dim)) {
        return -EINVAL;
    }

    switch (t) {
    case CU_F16:
        return cu_rope_launch<__half>(p, step, s);
    case CU_BF16:
        return cu_rope_launch<__nv_bfloat16>(p, step, s);
    default:
        return -EINVAL;
    }
}
