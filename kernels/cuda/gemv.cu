/*
 * cu_gemv(): Y = W X for 1 to 8 rows of X and plain weights: what one token
 * costs is reading W once, so all here serves that the memory never waits.
 *
 * WHO DOES WHAT.  A warp makes 2 outputs of all rows of X (a task); 4 where
 * more is done with a weight, so that X's conversion is shared by 4: E4M3, and
 * above 2 rows.  In a step each lane takes 16 bytes of each weight row, 512
 * bytes for the warp: whole lines.  Weights come by cp.async, each lane's own
 * 16 bytes to its own place in shared memory, three steps ahead of use and on
 * into the warp's next task: no registers, no barrier, and no thread waits for
 * memory but at the start.
 *
 * BYTES IN FLIGHT.  4.8 TB/s for 700 ns (1 us under load) over 132 SMs are 25
 * (36) KiB an SM.  A warp has 3 to 4 KiB under way (4 outputs: 6 to 8), an SM
 * has 4 blocks of 8 (4) warps and 32 KiB of shared memory: 96 to 128 KiB if all
 * are there, and still 36 KiB with a third of them, so that the end of a
 * matrix, where some warps are done, runs at full speed too.  The grid is what
 * fits at once, tasks go round: with 28672 x 4096 bf16 it is 14336 tasks for
 * 4224 warps, 3 or 4 each; 128256 rows: 15 or 16; 6144 rows: 3072 warps with
 * one each, 23 an SM; 4096 rows: 2048, 15.5 an SM, 46 to 62 KiB.  For fewer
 * rows the warps of a block share a task (`split`: 2 or 4), each every 2nd or
 * 4th 512 bytes, as long as each has 4 steps: 1024 x 4096 is 2048 warps again
 * and all of W is under way almost at once.
 *
 * BETWEEN KERNELS.  The first three steps are asked for before cu_grid_wait():
 * up to 12 MB, 2.8 us of the memory's time, come while the kernel before (a
 * norm, mostly) ends.
 *
 * X is read as T straight from L1, which it does not leave: cp.async.cg passes
 * it by.  An SM needs 20 bytes of weights a clock, twice through the 128 a
 * clock of L1 and shared memory; X costs another 10 for each row of it.  Sums
 * are F32.  Of the issue slots (196 for 1 KiB of W) a row of bf16 needs 40 %,
 * one of E4M3 or four of bf16 about 60.  Beyond that (CU_GEMV_FMA) and up to 8
 * rows the tensor cores do it, cu_mma(), but for F32 weights (routers), small
 * ones.
 *
 * ORDER.  A number's sum depends on the shape of W alone: not on how many rows
 * X has, nor on the others, as long as this kernel does it.
 */

#include "kernels/cuda/mul.cuh"

#define CU_GEMV_BLOCKS 4 /* an SM */
#define CU_GEMV_STAGES 4 /* one of them in use */
#define CU_GEMV_SPLIT  2 /* log2 of the most warps that share a task */
#define CU_GEMV_ANY    256

/* Outputs of a task; warps of a block, whose stages are 32 KiB. */
#define CU_GEMV_N(size, rows) ((size) == 1 || (rows) > 2 ? 4 : 2)
#define CU_GEMV_WARPS(n)      (16 / (n))

/* Most rows that are better done without tensor cores. */
#define CU_GEMV_FMA(type) (type == CU_F8 ? 2u : type == CU_F32 ? 8u : 4u)

typedef struct {
    const uint8_t   *w;
    const void      *x;
    const cu_step_t *step;
    uint32_t         n; /* outputs */
    uint32_t         cols;
    uint32_t         split; /* log2 of the warps of a task */
    cu_out_t         out;
} cu_gemv_t;

/* Where a warp's next weights come from, and go to. */
template <int N> struct cu_gemv_next_t {
    const uint8_t *from[N];
    uint32_t       task;
    uint32_t       k;
    uint32_t       left; /* steps of this task */
    uint32_t       stage;
};


/* 16 bytes of weights as F32. */
template <typename W>
__device__ static inline void
cu_gemv_floats(float *f, uint4 v)
{
    uint32_t w[4] = {v.x, v.y, v.z, v.w};

#pragma unroll
    for (int i = 0; i < 4; i++) {
        if constexpr (sizeof(W) == 4) {
            memcpy(f + i, w + i, 4);
        } else if constexpr (sizeof(W) == 2) {
            float2 two = cu_floats<W>(w[i]);
            f[2 * i] = two.x;
            f[2 * i + 1] = two.y;
        } else {
            float2 a = __half22float2(cu_f8_half2<0, 1>(w[i]));
            float2 b = __half22float2(cu_f8_half2<2, 3>(w[i]));
            f[4 * i] = a.x;
            f[4 * i + 1] = a.y;
            f[4 * i + 2] = b.x;
            f[4 * i + 3] = b.y;
        }
    }
}


/* E numbers of X, or zeros. */
template <typename T, int E>
__device__ static inline void
cu_gemv_x(uint32_t *x, const T *from, bool some)
{
    if constexpr (E == 4) {
        uint2 v = make_uint2(0, 0);

        if (some) {
            v = *(const uint2 *) from;
        }
        x[0] = v.x;
        x[1] = v.y;
    } else {
#pragma unroll
        for (int i = 0; i < E / 8; i++) {
            uint4 v = make_uint4(0, 0, 0, 0);

            if (some) {
                v = ((const uint4 *) from)[i];
            }
            x[4 * i] = v.x;
            x[4 * i + 1] = v.y;
            x[4 * i + 2] = v.z;
            x[4 * i + 3] = v.w;
        }
    }
}


/*
 * Sums M numbers over the warp, each by the same tree of lanes; number
 * lane / (32 / M) comes out in v[0].
 */
template <int M, int S = 16>
__device__ static inline void
cu_gemv_sum(float *v, uint32_t lane)
{
    if constexpr (S * M < 32) {
        v[0] += __shfl_xor_sync(CU_FULL, v[0], S);
    }

#pragma unroll
    for (int i = 0; i < S * M / 32; i++) {
        float keep = lane & S ? v[i + S * M / 32] : v[i];
        float give = lane & S ? v[i] : v[i + S * M / 32];

        v[i] = keep + __shfl_xor_sync(CU_FULL, give, S);
    }

    if constexpr (S > 1) {
        cu_gemv_sum<M, S / 2>(v, lane);
    }
}


/* To a task's beginning; weight rows that are not there are the last. */
template <typename W, int N>
__device__ static inline void
cu_gemv_begin(cu_gemv_next_t<N> *next, const cu_gemv_t *p, uint32_t task, uint32_t k0)
{
    next->task = task;
    next->k = task * N < p->n ? k0 : p->cols;

#pragma unroll
    for (int n = 0; n < N; n++) {
        uint32_t row = min(task * N + n, p->n - 1);

        next->from[n] = p->w + ((size_t) row * p->cols + k0) * sizeof(W);
    }
}


/* Asks for the next stage, zeros where W has no more columns, or rows. */
template <int N>
__device__ static inline void
cu_gemv_ask(uint4 (*ring)[N][32], const cu_gemv_next_t<N> *next, uint32_t cols)
{
#pragma unroll
    for (int n = 0; n < N; n++) {
        cu_async16(&ring[next->stage][n][threadIdx.x % 32], next->from[n], next->k < cols ? 16 : 0);
    }
    cu_async_commit();
}


template <typename W, int N>
__device__ static inline void
cu_gemv_advance(cu_gemv_next_t<N> *next, const cu_gemv_t *p, uint32_t k0, uint32_t dk,
                uint32_t steps, uint32_t stride)
{
    next->stage = (next->stage + 1) % CU_GEMV_STAGES;
    next->k += dk;
    next->left--;
#pragma unroll
    for (int n = 0; n < N; n++) {
        next->from[n] += dk * sizeof(W);
    }

    if (next->left == 0) {
        next->left = steps;
        cu_gemv_begin<W, N>(next, p, next->task + stride, k0);
    }
}


template <typename T, typename W, int R, int N>
__global__ void
__launch_bounds__(CU_GEMV_WARPS(N) * 32, CU_GEMV_BLOCKS) cu_gemv_kernel(cu_gemv_t p)
{
    const int S = CU_GEMV_STAGES, WARPS = CU_GEMV_WARPS(N), M = N * R;
    const int E = 16 / sizeof(W);

    CU_SHARED __align__(16) uint4 rings[WARPS][S][N][32];
    CU_SHARED float               sums[2][WARPS][M];

    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t part = warp & ((1u << p.split) - 1);
    uint32_t groups = WARPS >> p.split;
    uint32_t stride = gridDim.x * groups;
    uint32_t tasks = (p.n + N - 1) / N;
    uint32_t first = blockIdx.x * groups; /* the block's first task */
    uint32_t task = first + (warp >> p.split);
    uint32_t k0 = (part * 32 + lane) * E;
    uint32_t dk = 32 * E << p.split;
    uint32_t steps = (p.cols + dk - 1) / dk;
    uint32_t row0 = blockIdx.y * R;
    uint32_t at, row, out, stage, k, i, j;
    uint4(*ring)[N][32] = rings[warp];
    bool              home;
    float             acc[M], base;
    const T          *x[R];
    cu_gemv_next_t<N> next;

    next.stage = 0;
    next.left = steps;
    cu_gemv_begin<W, N>(&next, &p, task, k0);

    for (i = 0; i < S - 1; i++) {
        cu_gemv_ask<N>(ring, &next, p.cols);
        cu_gemv_advance<W, N>(&next, &p, k0, dk, steps, stride);
    }

    cu_grid_launch();
    cu_grid_wait();

    if (row0 >= cu_out_rows(&p.out, p.step)) {
        cu_async_wait<0>();
        return;
    }

    /* Which of the sums this lane brings home. */
    at = lane / (32 / M);
    row = row0 + at / N;
    stage = 0;

    /* All warps of a block go round as often. */
    for (i = 0; first < tasks; i++) {
        out = task * N + at % N;
        home = lane % (32 / M) == 0 && part == 0 && out < p.n && row < p.out.rows;
        base = home ? cu_out_base(&p.out, row, out, out) : 0;

#pragma unroll
        for (int m = 0; m < M; m++) {
            acc[m] = 0;
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            x[r] = (const T *) p.x + (size_t) min(row0 + r, p.out.rows - 1) * p.cols + k0;
        }

        for (j = 0, k = k0; j < steps; j++, k += dk) {
            uint32_t xw[R][E / 2];

            /* Into the stage that the step before this has used. */
            cu_gemv_ask<N>(ring, &next, p.cols);
            cu_gemv_advance<W, N>(&next, &p, k0, dk, steps, stride);

#pragma unroll
            for (int r = 0; r < R; r++) {
                cu_gemv_x<T, E>(xw[r], x[r], k < p.cols);
                x[r] += dk;
            }

            cu_async_wait<S - 1>();

#pragma unroll
            for (int n = 0; n < N; n++) {
                float f[E];

                cu_gemv_floats<W>(f, ring[stage][n][lane]);

#pragma unroll
                for (int r = 0; r < R; r++) {
#pragma unroll
                    for (int e = 0; e < E / 2; e++) {
                        float2 v = cu_floats<T>(xw[r][e]);

                        acc[r * N + n] = fmaf(f[2 * e], v.x, acc[r * N + n]);
                        acc[r * N + n] = fmaf(f[2 * e + 1], v.y, acc[r * N + n]);
                    }
                }
            }
            stage = (stage + 1) % S;
        }

        cu_gemv_sum<M>(acc, lane);

        if (p.split > 0) {
            if (lane % (32 / M) == 0) {
                sums[i % 2][warp][at] = acc[0];
            }
            __syncthreads();
            if (home) {
#pragma unroll 1
                for (j = 1; j < 1u << p.split; j++) {
                    acc[0] += sums[i % 2][warp + j][at];
                }
            }
        }

        if (home) {
            if (p.out.scales != NULL) {
                acc[0] *= p.out.scales[out];
            }
            cu_out_put<T>(&p.out, row, out, acc[0] + base);
        }

        task += stride;
        first += stride;
    }

    cu_async_wait<0>();
}


/* Any number of columns, any alignment: an output a warp, element by element. */
template <typename T, typename W>
__global__ void
__launch_bounds__(CU_GEMV_ANY) cu_gemv_any(cu_gemv_t p)
{
    uint32_t lane = threadIdx.x % 32;
    uint32_t out = blockIdx.x * (CU_GEMV_ANY / 32) + threadIdx.x / 32;
    uint32_t row0 = blockIdx.y * CU_GEMV_ROWS;
    uint32_t n;
    float    acc[CU_GEMV_ROWS] = {0};

    cu_grid_launch();
    cu_grid_wait();

    if (out >= p.n || row0 >= cu_out_rows(&p.out, p.step)) {
        return;
    }

    n = min(p.out.rows - row0, CU_GEMV_ROWS);

    for (uint32_t k = lane; k < p.cols; k += 32) {
        float    f = cu_float(((const W *) p.w)[(size_t) out * p.cols + k]);
        const T *x = (const T *) p.x + (size_t) row0 * p.cols + k;

        /* Rows that are not there are the last one. */
#pragma unroll
        for (uint32_t j = 0; j < CU_GEMV_ROWS; j++) {
            acc[j] = fmaf(f, cu_float(x[(size_t) min(j, n - 1) * p.cols]), acc[j]);
        }
    }

    cu_gemv_sum<CU_GEMV_ROWS>(acc, lane);

    if (lane % 4 == 0 && lane / 4 < n) {
        float base = cu_out_base(&p.out, row0 + lane / 4, out, out);

        if (p.out.scales != NULL) {
            acc[0] *= p.out.scales[out];
        }
        cu_out_put<T>(&p.out, row0 + lane / 4, out, acc[0] + base);
    }
}


/* R rows at a time. */
template <typename T, typename W, int R>
static int
cu_gemv_rows(cu_gemv_t *p, uint32_t sms, cu_stream_t s)
{
    const int N = CU_GEMV_N(sizeof(W), R), WARPS = CU_GEMV_WARPS(N);

    uint32_t chunks, blocks;

    chunks = (uint32_t) ((p->cols * sizeof(W) + 511) / 512);

    /* Nothing but W's shape and the device decides: see ORDER. */
    p->split = 0;
    while (p->split < CU_GEMV_SPLIT && p->n << p->split < sms * 24
           && chunks >> (p->split + 1) >= 4) {
        p->split++;
    }

    blocks = ((p->n + N - 1) / N + (WARPS >> p->split) - 1) / (WARPS >> p->split);
    blocks = min(blocks, sms * CU_GEMV_BLOCKS);

    return cu_launch(cu_gemv_kernel<T, W, R, N>, dim3(blocks, (p->out.rows + R - 1) / R),
                     dim3(WARPS * 32), 0, s, *p);
}


template <typename T, typename W>
static int
cu_gemv_launch(cu_gemv_t *p, cu_stream_t s)
{
    uint32_t sms, blocks, y;

    if (p->cols * sizeof(W) % 16 != 0 || (uintptr_t) p->w % 16 != 0 || (uintptr_t) p->x % 16 != 0) {
        blocks = (p->n + CU_GEMV_ANY / 32 - 1) / (CU_GEMV_ANY / 32);
        y = (p->out.rows + CU_GEMV_ROWS - 1) / CU_GEMV_ROWS;
        return cu_launch(cu_gemv_any<T, W>, dim3(blocks, y), dim3(CU_GEMV_ANY), 0, s, *p);
    }

    sms = cu_sms();
    if (sms == 0) {
        return -EIO;
    }

    if (p->out.rows == 1) {
        return cu_gemv_rows<T, W, 1>(p, sms, s);
    }
    if constexpr (sizeof(W) > 1) {
        if (p->out.rows > 2) {
            return cu_gemv_rows<T, W, 4>(p, sms, s);
        }
    }
    return cu_gemv_rows<T, W, 2>(p, sms, s);
}


template <typename T>
static int
cu_gemv_type(cu_type_t w, cu_gemv_t *p, cu_stream_t s)
{
    switch (w) {
    case CU_F32:
        return cu_gemv_launch<T, float>(p, s);
    case CU_F16:
        return cu_gemv_launch<T, __half>(p, s);
    case CU_BF16:
        return cu_gemv_launch<T, __nv_bfloat16>(p, s);
    case CU_F8:
        return cu_gemv_launch<T, uint8_t>(p, s);
    }
    return -EINVAL;
}


int
cu_gemv(cu_type_t t, const cu_mul_t *p, const cu_step_t *step, cu_stream_t s)
{
    int       rc;
    cu_gemv_t g = {};

    rc = cu_out_of(&g.out, t, p);
    if (rc != 0 || p->w->form != CU_W_PLAIN || p->slots != NULL || p->rows > CU_GEMV_ROWS) {
        return -EINVAL;
    }

    if (p->rows > CU_GEMV_FMA(p->w->type)) {
        return cu_mma(t, p, step, s);
    }

    g.w = (const uint8_t *) p->w->data;
    g.x = p->x;
    g.step = step;
    g.n = p->w->rows;
    g.cols = p->w->cols;

    return t == CU_F16 ? cu_gemv_type<__half>(p->w->type, &g, s)
                       : cu_gemv_type<__nv_bfloat16>(p->w->type, &g, s);
}
