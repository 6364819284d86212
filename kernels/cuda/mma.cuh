/*
 * cu_mma()'s kernel: Y = W X for some rows of X at a time on the tensor cores,
 * whatever form W has; mma.cu launches it, mma_*.cu have its copies for block
 * forms.
 *
 * WEIGHTS ARE THE A OPERAND (16 outputs x 16 k of m16n8k16), rows of X the 8
 * columns of B, so that few rows waste little.  A block makes RB outputs for
 * up to 8 NT rows, in steps of 256 k: 16-byte pieces of the weights, in their
 * own form, and of X go to shared memory by cp.async, some stages ahead.  Its
 * 8 warps are WM x WK: WM share the outputs (16 MT each, RB = 16 MT WM), WK
 * the 8 pieces of 32 k of a step, which is how few outputs still give many
 * blocks.  At the end WK partial sums meet in shared memory, in fixed order.
 *
 * ORDER OF K.  Thread t of a quad takes k = 4t .. 4t + 3 of a piece for the
 * first mma and 16 + 4t .. for the second, of W and X alike: what a sum runs
 * over does not care.  So a fragment of X is 8 bytes in a row, of block forms
 * it is a word of quant.h, and no ldmatrix is needed.  Rows in shared memory
 * are padded so that 8 (or 4) of them fall into different banks.
 *
 * BLOCK FORMS enter as exact small integers in T; a piece's sums are times
 * its scale in F32: nothing is rounded but X.  What a form adds (m) is times
 * the sum of X over the piece, which two more mma with ones give.  E4M3 is
 * exact in T.  F32 enters as 2 (F16) or 3 (BF16) numbers of T whose sum it is,
 * F16 as 2 of BF16; BF16 becomes F16 as far as that goes.
 *
 * COST.  X passes from L2 n / RB times: for 64 rows and 4-bit weights RB = 128
 * is as many bytes of X as of W, so RB is as large as leaves a block for each
 * SM.  Weights under way: RB x 256 x (stages - 1), with Q4_K 17 KiB for RB =
 * 32 and 4 stages, times the blocks of an SM; alone on it a block has up to 8.
 *
 * EXPERTS.  The grid's y counts (expert, tile of its slots); a block finds its
 * own by a scan of first[].  Only experts that have slots get blocks, all but
 * a few.
 */

#ifndef LLM_KERNELS_CUDA_MMA_CUH
#define LLM_KERNELS_CUDA_MMA_CUH

#include <string.h>

#include "kernels/cuda/mul.cuh"
#include "kernels/cuda/quant.cuh"

#define CU_MMA_THREADS 256
#define CU_MMA_K       256          /* of a step */
#define CU_MMA_P       8            /* pieces of a step */
#define CU_MMA_X_LD    544          /* bytes from row to row of X, staged */
#define CU_MMA_STAGES  8            /* most */
#define CU_MMA_SMEM    (160 * 1024) /* most; sm_80 has 163 KiB */

typedef struct {
    cu_quant_view_t  w; /* of plain weights: base, stride, pieces */
    const void      *x;
    const cu_step_t *step;
    const uint32_t  *slots; /* NULL: no experts */
    const uint32_t  *first;
    uint32_t         experts;
    uint32_t         x_div;
    uint32_t         n; /* outputs, of an expert */
    uint32_t         cols;
    uint32_t         split; /* log2 of WK */
    uint32_t         stages;
    int              odd; /* rows that cp.async cannot read: plain ones only */
    cu_out_t         out;
} cu_mma_t;


/* --- forms: units of 16 bytes of a step, and fragments --- */

/* Four numbers as two pairs of T; what is left of them. */
template <typename T>
__device__ static inline void
cu_mma_split(float *f, uint32_t *out)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float2 v;

        out[i] = cu_pack<T>(f[2 * i], f[2 * i + 1]);
        v = cu_floats<T>(out[i]);
        f[2 * i] -= v.x;
        f[2 * i + 1] -= v.y;
    }
}


template <typename T, typename W> struct cu_mma_plain {
    static const int SIZE = sizeof(W);
    static const int UNITS = CU_MMA_K * SIZE / 16;
    static const int LD = CU_MMA_K * SIZE + 16 * SIZE;
    static const int BLOCK = 0, MIN = 0, HALVES = 0;
    static const int HALF = std::is_same<T, __half>::value;
    static const int PARTS = SIZE == 4 ? 3 - HALF : std::is_same<W, __half>::value ? 2 - HALF : 1;

    typedef W type;

    /* Unit u of the step that begins with piece p0: its place in the row. */
    __device__ static inline uint32_t
    unit(const cu_mma_t &p, uint32_t u, uint32_t p0, bool *some)
    {
        uint32_t at = p0 * CU_PIECE * SIZE + u * 16;

        *some = at < p.cols * SIZE;
        return at;
    }

    /* Of a staged row, piece p, thread t: pairs 4t.. and 16 + 4t.. */
    __device__ static inline void
    pairs(const uint8_t *row, uint32_t p, uint32_t t, uint32_t out[][4])
    {
        const uint8_t *at = row + (p * CU_PIECE + t * 4) * SIZE;

#pragma unroll
        for (int i = 0; i < 2; i++) {
            if constexpr (std::is_same<T, W>::value) {
                uint2 v = *(const uint2 *) (at + i * 32);

                out[0][2 * i] = v.x;
                out[0][2 * i + 1] = v.y;
            } else if constexpr (SIZE == 2) {
                uint2  v = *(const uint2 *) (at + i * 32);
                float2 a = cu_floats<W>(v.x), b = cu_floats<W>(v.y);
                float  f[4] = {a.x, a.y, b.x, b.y};

#pragma unroll
                for (int j = 0; j < PARTS; j++) {
                    cu_mma_split<T>(f, out[j] + 2 * i);
                }
            } else if constexpr (SIZE == 1) {
                uint32_t v = *(const uint32_t *) (at + i * 16);
                __half2  h[2] = {cu_f8_half2<0, 1>(v), cu_f8_half2<2, 3>(v)};

                if constexpr (HALF) {
                    memcpy(out[0] + 2 * i, h, 8);
                } else {
                    float2 a = __half22float2(h[0]), b = __half22float2(h[1]);

                    out[0][2 * i] = cu_pack<T>(a.x, a.y);
                    out[0][2 * i + 1] = cu_pack<T>(b.x, b.y);
                }
            } else {
                float4 v = *(const float4 *) (at + i * 64);
                float  f[4] = {v.x, v.y, v.z, v.w};

#pragma unroll
                for (int j = 0; j < PARTS; j++) {
                    cu_mma_split<T>(f, out[j] + 2 * i);
                }
            }
        }
    }

    __device__ static inline cu_quant_scale_t
    scale(const uint8_t *, uint32_t, uint32_t)
    {
        return {{1.0f, 1.0f}, 0.0f};
    }
};


template <typename T, cu_form_t F> struct cu_mma_block {
    typedef cu_quant<F> Q;

    static const int UQ = Q::Q * 8 / 16;
    static const int UH = Q::HIGH * 8 / 16;
    static const int US = (Q::SCALE * 8 + 15) / 16;
    static const int UU = Q::SUPER > 0;
    static const int UNITS = UQ + UH + US + UU;
    static const int LD = (UNITS | 1) * 16;
    static const int BLOCK = 1, MIN = Q::MIN, HALVES = Q::KIND == CU_SCALE_K2;
    static const int PARTS = 1;

    typedef uint8_t type;

    /* Scales that are less than 16 bytes come with their neighbours. */
    __device__ static inline uint32_t
    unit(const cu_mma_t &p, uint32_t u, uint32_t p0, bool *some)
    {
        uint32_t at;

        if (u < UQ) {
            at = p0 * Q::Q + u * 16;
            *some = at < p.w.pieces * Q::Q;
            return p.w.at[CU_PART_Q] + at;
        }
        if (UH > 0 && u < UQ + UH) {
            at = p0 * Q::HIGH + (u - UQ) * 16;
            *some = at < p.w.pieces * Q::HIGH;
            return p.w.at[CU_PART_HIGH] + at;
        }
        if (u < UQ + UH + US) {
            at = (p0 * Q::SCALE & ~15u) + (u - UQ - UH) * 16;
            *some = at < p.w.pieces * Q::SCALE;
            return p.w.at[CU_PART_SCALE] + at;
        }
        *some = true;
        return p.w.at[CU_PART_SUPER] + (p0 / 8 * Q::SUPER & ~15u);
    }

    __device__ static inline cu_quant_row_t
    parts(const uint8_t *row, uint32_t p0)
    {
        const uint8_t *s = row + (UQ + UH) * 16;

        return {row, row + UQ * 16, s + (p0 * Q::SCALE & 15),
                s + US * 16 + (p0 / 8 * Q::SUPER & 15)};
    }

    __device__ static inline void
    pairs(const uint8_t *row, uint32_t p, uint32_t t, uint32_t out[][4])
    {
        cu_quant_pairs<F, T>(cu_quant_word<F>(parts(row, 0), p, (int) t), (int) t, out[0]);
    }

    __device__ static inline cu_quant_scale_t
    scale(const uint8_t *row, uint32_t p, uint32_t p0)
    {
        return cu_quant_scales<F>(parts(row, p0), p);
    }
};


/* --- staging --- */

/* `rows` rows of the step that begins with piece p0. */
template <typename F>
__device__ static inline void
cu_mma_stage_w(const cu_mma_t &p, uint8_t *to, const uint8_t *from, uint32_t rows, uint32_t have,
               uint32_t p0)
{
    typedef typename F::type W;

    if constexpr (!F::BLOCK) {
        if (p.odd) {
            for (uint32_t i = threadIdx.x; i < rows * CU_MMA_K; i += CU_MMA_THREADS) {
                uint32_t r = i / CU_MMA_K, k = i % CU_MMA_K, at = p0 * CU_PIECE + k;
                W        v = W();

                if (r < have && at < p.cols) {
                    v = ((const W *) (from + (size_t) r * p.w.stride))[at];
                }
                ((W *) (to + r * F::LD))[k] = v;
            }
            return;
        }
    }

    /* 16 threads take units side by side, of every 16th row. */
    for (uint32_t u = threadIdx.x % 16; u < F::UNITS; u += 16) {
        uint32_t       r = threadIdx.x / 16, at;
        uint8_t       *dst = to + r * F::LD + u * 16;
        const uint8_t *src;
        bool           some;

        at = F::unit(p, u, p0, &some);
        have = some ? have : 0;
        src = from + (size_t) r * p.w.stride + at;

#pragma unroll 2
        for (; r < rows; r += 16) {
            cu_async16(dst, r < have ? src : from, r < have ? 16 : 0);
            dst += 16 * F::LD;
            src += 16 * (size_t) p.w.stride;
        }
    }
}


/*
 * `tiles` times 8 rows of X, zeros beyond the columns.  A warp takes every 8th
 * row, of which `from` has this thread's 16 bytes in step 0; NULL: zeros.
 */
template <typename T, typename F, int NT>
__device__ static inline void
cu_mma_stage_x(const cu_mma_t &p, uint8_t *to, const T *const *from, uint32_t tiles, uint32_t p0)
{
    uint32_t lane = threadIdx.x % 32, k = p0 * CU_PIECE + lane * 8;

    to += threadIdx.x / 32 * CU_MMA_X_LD + lane * 16;

#pragma unroll
    for (int i = 0; i < NT; i++) {
        if (i < (int) tiles) {
            uint8_t *dst = to + i * 8 * CU_MMA_X_LD;
            bool     some = from[i] != NULL && k < p.cols;

            if constexpr (!F::BLOCK) {
                if (p.odd) {
                    for (uint32_t j = 0; j < 8; j++) {
                        ((T *) dst)[j] =
                            some && k + j < p.cols ? from[i][p0 * CU_PIECE + j] : cu_to<T>(0.0f);
                    }
                    continue;
                }
            }
            cu_async16(dst, some ? from[i] + p0 * CU_PIECE : (const T *) p.x, some ? 16 : 0);
        }
    }
}


/* Until all but the `newer` last groups are there. */
__device__ static inline void
cu_mma_wait(uint32_t newer)
{
    switch (newer) {
    case 0:
        cu_async_wait<0>();
        break;
    case 1:
        cu_async_wait<1>();
        break;
    case 2:
        cu_async_wait<2>();
        break;
    case 3:
        cu_async_wait<3>();
        break;
    case 4:
        cu_async_wait<4>();
        break;
    case 5:
        cu_async_wait<5>();
        break;
    default:
        cu_async_wait<6>();
        break;
    }
}


/* --- products --- */

/* A piece of 32 k: 16 MT outputs from row w0 on with all rows of X. */
template <typename T, typename F, int MT, int NT>
__device__ static inline void
cu_mma_piece(float acc[MT][NT][4], const uint8_t *w0, const uint8_t *x, uint32_t p, uint32_t p0,
             uint32_t tiles)
{
    const uint32_t one = std::is_same<T, __half>::value ? 0x3c003c00u : 0x3f803f80u;

    uint32_t         g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    uint32_t         a[MT][2][F::PARTS][4];
    cu_quant_scale_t s[MT][2];

    /* Row g of each 16, and g + 8. */
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint8_t *row = w0 + (m * 16 + h * 8 + g) * F::LD;

            F::pairs(row, p, t, a[m][h]);
            s[m][h] = F::scale(row, p, p0);
        }
    }

#pragma unroll
    for (int n = 0; n < NT; n++) {
        if (n < (int) tiles) {
            const uint8_t *xr = x + (n * 8 + g) * CU_MMA_X_LD + (p * CU_PIECE + t * 4) * 2;
            uint2          x0 = *(const uint2 *) xr, x1 = *(const uint2 *) (xr + 32);
            uint32_t       b[2][2] = {{x0.x, x0.y}, {x1.x, x1.y}};
            float          sum[4] = {0, 0, 0, 0};

            if constexpr (F::MIN) {
                const uint32_t ones[4] = {one, one, one, one};

                cu_mma16(sum, ones, b[0], T());
                cu_mma16(sum, ones, b[1], T());
            }

#pragma unroll
            for (int m = 0; m < MT; m++) {
                float part[4] = {0, 0, 0, 0};

#pragma unroll
                for (int i = 0; i < 2; i++) {
#pragma unroll
                    for (int j = 0; j < F::PARTS; j++) {
                        const uint32_t frag[4] = {a[m][0][j][2 * i], a[m][1][j][2 * i],
                                                  a[m][0][j][2 * i + 1], a[m][1][j][2 * i + 1]};

                        cu_mma16(F::BLOCK ? part : acc[m][n], frag, b[i], T());
                    }

                    /* Q6_K has a scale for each 16. */
                    if constexpr (F::BLOCK) {
                        if (i == 1 || F::HALVES) {
#pragma unroll
                            for (int c = 0; c < 4; c++) {
                                acc[m][n][c] = fmaf(part[c], s[m][c / 2].s[i], acc[m][n][c]);
                                part[c] = 0;
                            }
                        }
                    }
                }

                if constexpr (F::MIN) {
#pragma unroll
                    for (int c = 0; c < 4; c++) {
                        acc[m][n][c] = fmaf(sum[c], s[m][c / 2].m, acc[m][n][c]);
                    }
                }
            }
        }
    }
}


/*
 * Which expert, and which tile of `size` of its slots, this block does: 0 if
 * none is left for it.  All threads call it; `find` has 2 + 8 words.
 */
__device__ static inline int
cu_mma_find(const cu_mma_t &p, uint32_t size, uint32_t *find)
{
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t tiles[4], mine = 0, sum, v, at;

#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t e = threadIdx.x * 4 + i;

        tiles[i] = e < p.experts ? (p.first[e + 1] - p.first[e] + size - 1) / size : 0;
        mine += tiles[i];
    }

    sum = mine;
#pragma unroll
    for (uint32_t i = 1; i < 32; i *= 2) {
        v = __shfl_up_sync(CU_FULL, sum, i);
        sum += lane >= i ? v : 0;
    }
    if (lane == 31) {
        find[2 + warp] = sum;
    }
    if (threadIdx.x == 0) {
        find[0] = p.experts;
    }
    __syncthreads();

    at = sum - mine;
    for (uint32_t i = 0; i < warp; i++) {
        at += find[2 + i];
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        if (blockIdx.y >= at && blockIdx.y - at < tiles[i]) {
            find[0] = threadIdx.x * 4 + i;
            find[1] = blockIdx.y - at;
        }
        at += tiles[i];
    }
    __syncthreads();

    return find[0] < p.experts;
}


template <typename T, typename F, int MT, int NT>
__global__ void
__launch_bounds__(CU_MMA_THREADS, NT <= 2 ? 3 : 1) cu_mma_kernel(cu_mma_t p)
{
    const uint32_t size = NT * 8;

    CU_SHARED uint32_t find[2 + CU_MMA_THREADS / 32];
    CU_SHARED uint32_t y_row[NT * 8];

    uint8_t       *smem = cu_smem<uint8_t>();
    uint32_t       warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t       wk = warp & ((1u << p.split) - 1), wm = warp >> p.split;
    uint32_t       rb = 16 * MT * (CU_MMA_THREADS / 32) >> p.split;
    uint32_t       ld = rb + 4; /* of partial sums */
    uint32_t       stage = rb * F::LD + size * CU_MMA_X_LD;
    uint32_t       out0 = blockIdx.x * rb;
    uint32_t       have = min(rb, p.n - out0);
    uint32_t       steps = (p.cols + CU_MMA_K - 1) / CU_MMA_K;
    uint32_t       expert = 0, count, tiles, begin, i, j;
    float          acc[MT][NT][4], *sums;
    const uint8_t *w = p.w.base + (size_t) out0 * p.w.stride;
    const T       *x[NT];

    if (p.slots == NULL) {
        for (i = 0; i < p.stages - 1 && i < steps; i++) {
            cu_mma_stage_w<F>(p, smem + i * stage, w, rb, have, i * CU_MMA_P);
        }
    }

    cu_grid_launch();
    cu_grid_wait();

    if (p.slots == NULL) {
        begin = blockIdx.y * size;
        count = cu_out_rows(&p.out, p.step);
        if (begin >= count) {
            cu_async_wait<0>();
            return;
        }
        count = min(count - begin, size);

    } else {
        if (!cu_mma_find(p, size, find)) {
            return;
        }
        expert = find[0];
        begin = p.first[expert] + find[1] * size;
        count = min(p.first[expert + 1] - begin, size);
        w += (size_t) expert * p.n * p.w.stride;
    }

    for (i = threadIdx.x; i < count; i += CU_MMA_THREADS) {
        y_row[i] = p.slots == NULL ? begin + i : p.slots[begin + i];
    }
    tiles = (count + 7) / 8;
    __syncthreads();

#pragma unroll
    for (int n = 0; n < NT; n++) {
        j = n * 8 + warp;
        x[n] =
            j < count ? (const T *) p.x + (size_t) (y_row[j] / p.x_div) * p.cols + lane * 8 : NULL;
    }

    /* Without experts the weights of all these stages are in the first group. */
    for (i = 0; i < p.stages - 1; i++) {
        if (i < steps) {
            if (p.slots != NULL) {
                cu_mma_stage_w<F>(p, smem + i * stage, w, rb, have, i * CU_MMA_P);
            }
            cu_mma_stage_x<T, F, NT>(p, smem + i * stage + rb * F::LD, x, tiles, i * CU_MMA_P);
        }
        cu_async_commit();
    }

#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
#pragma unroll
            for (int c = 0; c < 4; c++) {
                acc[m][n][c] = 0;
            }
        }
    }

    uint32_t now = 0, next = p.stages - 1; /* stages */

    for (i = 0; i < steps; i++) {
        cu_mma_wait(p.stages - 2);
        __syncthreads();

        /* Into the stage that all have left. */
        j = i + p.stages - 1;
        if (j < steps) {
            uint8_t *to = smem + next * stage;

            cu_mma_stage_w<F>(p, to, w, rb, have, j * CU_MMA_P);
            cu_mma_stage_x<T, F, NT>(p, to + rb * F::LD, x, tiles, j * CU_MMA_P);
        }
        cu_async_commit();

        for (j = wk; j < CU_MMA_P && i * CU_MMA_P + j < p.w.pieces; j += 1u << p.split) {
            const uint8_t *at = smem + now * stage;

            cu_mma_piece<T, F, MT, NT>(acc, at + wm * 16 * MT * F::LD, at + rb * F::LD, j,
                                       i * CU_MMA_P, tiles);
        }

        now = now + 1 == p.stages ? 0 : now + 1;
        next = next + 1 == p.stages ? 0 : next + 1;
    }

    /* [wk][row][output]: 8 outputs and 4 rows 2 apart are 32 banks. */
    cu_async_wait<0>();
    __syncthreads();
    sums = (float *) smem;

#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
#pragma unroll
            for (int c = 0; c < 4; c++) {
                uint32_t row = n * 8 + lane % 4 * 2 + c % 2;
                uint32_t at = (wm * MT + m) * 16 + lane / 4 + c / 2 * 8;

                sums[(wk * size + row) * ld + at] = acc[m][n][c];
            }
        }
    }
    __syncthreads();

    for (i = threadIdx.x; i < count * rb; i += CU_MMA_THREADS) {
        uint32_t row = i / rb, out = i % rb, at;
        float    v = 0, base;

        if (out >= have) {
            continue;
        }
        at = expert * p.n + out0 + out;
        base = cu_out_base(&p.out, y_row[row], out0 + out, at);
        for (j = 0; j < 1u << p.split; j++) {
            v += sums[(j * size + row) * ld + out];
        }
        if (p.out.scales != NULL) {
            v *= p.out.scales[at];
        }
        cu_out_put<T>(&p.out, y_row[row], out0 + out, v + base);
    }
}


/* Chooses the shape of blocks, and launches. */
template <typename T, typename F, int MT, int NT>
static inline int
cu_mma_launch(cu_mma_t *p, uint32_t y, uint32_t sms, cu_stream_t s)
{
    size_t   stage, sums, smem, room;
    uint32_t rb, blocks;

    /* As many outputs a block as leave a block for nearly each SM. */
    for (p->split = 0;; p->split++) {
        rb = 128 * MT >> p->split;
        blocks = (p->n + rb - 1) / rb * y;
        stage = rb * F::LD + NT * 8 * CU_MMA_X_LD;
        if (p->split == 3 || (blocks >= sms * 7 / 8 && 3 * stage <= CU_MMA_SMEM)) {
            break;
        }
    }

    /* So many blocks, up to 3, are to fit into an SM side by side. */
    room = blocks <= sms ? CU_MMA_SMEM : blocks <= 2 * sms ? CU_MMA_SMEM * 2 / 3 : 72 * 1024;
    room = NT > 2 ? CU_MMA_SMEM : room;
    p->stages = 2;
    while (p->stages < CU_MMA_STAGES && (p->stages + 1) * stage <= room) {
        p->stages++;
    }

    sums = (size_t) (NT * 8 << p->split) * (rb + 4) * sizeof(float);
    smem = p->stages * stage;
    smem = smem > sums ? smem : sums;

    return cu_launch(cu_mma_kernel<T, F, MT, NT>, dim3((p->n + rb - 1) / rb, y),
                     dim3(CU_MMA_THREADS), smem, s, *p);
}


/* few: tiles of 16 rows instead of 64. */
template <typename T, typename F>
static inline int
cu_mma_rows(cu_mma_t *p, int few, uint32_t y, uint32_t sms, cu_stream_t s)
{
    return few ? cu_mma_launch<T, F, 1, 2>(p, y, sms, s) : cu_mma_launch<T, F, 2, 8>(p, y, sms, s);
}


/* Block forms: mma_f16.cu, mma_bf16.cu. */
int cu_mma_f16(cu_form_t form, cu_mma_t *p, int few, uint32_t y, uint32_t sms, cu_stream_t s);
int cu_mma_bf16(cu_form_t form, cu_mma_t *p, int few, uint32_t y, uint32_t sms, cu_stream_t s);

template <typename T>
static inline int
cu_mma_form(cu_form_t form, cu_mma_t *p, int few, uint32_t y, uint32_t sms, cu_stream_t s)
{
#define CU_MMA_FORM(name, block, bytes, q, high, scale, super)                                     \
    if (form == CU_W_##name) {                                                                     \
        return cu_mma_rows<T, cu_mma_block<T, CU_W_##name>>(p, few, y, sms, s);                    \
    }
    CU_QUANT_TABLE(CU_MMA_FORM)
#undef CU_MMA_FORM

    return -EINVAL;
}

#endif /* LLM_KERNELS_CUDA_MMA_CUH */
