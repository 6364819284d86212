/*
 * What surrounds the experts' products (cu_mma()): which experts a row goes
 * to, act(gate) * up of each slot, and the sum of a row's slots.
 *
 * ROUTE.  A warp chooses for a row: each lane holds every 32nd router number
 * as an integer of the same order (NaN as infinity, so that its row becomes
 * NaN, as on the CPU; equal numbers are equal), and n_used times the warp
 * takes the largest, the lowest expert among equals.  Then slots are sorted by
 * expert.  Up to CU_MOE_FEW rows one block does all of it, with a thread an
 * expert that walks the slots in shared memory.  Beyond that a block an expert
 * walks all slots, twice: those of lower experts and its own are counted, then
 * its own are written in their order; 64 Ki slots and 128 experts are 64 MiB
 * out of L2, about 15 us.  No atomics, no scratch: each number has one place.
 *
 * Rows that the step does not have get no slots.
 *
 * ACT and SUM are element-wise: 16 bytes of T (of F32) a thread.
 */

#include "kernels/cuda/elem.cuh"

#define CU_MOE_FEW     32   /* rows */
#define CU_MOE_EXPERTS 1024 /* most */
#define CU_MOE_USED    64   /* most */
#define CU_MOE_CHOOSE  128  /* threads: 4 rows a block */
#define CU_MOE_SORT    512  /* threads */
#define CU_MOE_ACT     128  /* threads, a chunk of 8 each */
#define CU_MOE_SUM     128  /* threads, a chunk of 4 each */


/* In the order of the numbers, 0 below all of them. */
__device__ static inline uint32_t
cu_moe_key(float x)
{
    uint32_t u;

    /* -0 and 0 are equal. */
    u = __float_as_uint(isnan(x) ? INFINITY : x + 0.0f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}


/*
 * A row's experts, by one whole warp; up to 32 * N experts.  ids also to
 * `also`, if that is not NULL.
 */
template <int N>
__device__ static inline void
cu_moe_choose(const cu_moe_t *p, uint32_t row, uint32_t *also)
{
    const float *r = p->router + (size_t) row * p->n_expert;

    uint32_t lane = threadIdx.x % 32;
    uint32_t key[N], best, most, e, id[CU_MOE_USED / 32];
    float    max, sum, g[CU_MOE_USED / 32];

#pragma unroll
    for (int i = 0; i < N; i++) {
        e = lane + 32 * i;
        key[i] = e < p->n_expert ? cu_moe_key(r[e]) : 0;
    }

    max = 0;
    id[0] = id[1] = 0;

    for (uint32_t n = 0; n < p->n_used; n++) {
        most = 0;
        best = 0;
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (key[i] > most) {
                most = key[i];
                best = lane + 32 * i;
            }
        }

        e = __reduce_max_sync(CU_FULL, most);
        best = __reduce_min_sync(CU_FULL, most == e ? best : ~0u);

#pragma unroll
        for (int i = 0; i < N; i++) {
            if (best == lane + 32 * i) {
                key[i] = 0;
            }
        }

#pragma unroll
        for (uint32_t i = 0; i < CU_MOE_USED / 32; i++) {
            if (n == lane + 32 * i) {
                id[i] = best;
            }
        }
        if (n == 0) {
            max = r[best];
        }
    }

    sum = 0;
#pragma unroll
    for (int i = 0; i < CU_MOE_USED / 32; i++) {
        g[i] = lane + 32 * i < p->n_used ? expf(r[id[i]] - max) : 0;
        sum += g[i];
    }
    if (p->gate == K_GATE_SOFTMAX) {
        sum = 0;
        for (e = lane; e < p->n_expert; e += 32) {
            sum += expf(r[e] - max);
        }
    }
    sum = cu_warp_sum(sum);

#pragma unroll
    for (uint32_t i = 0; i < CU_MOE_USED / 32; i++) {
        e = lane + 32 * i;
        if (e < p->n_used) {
            p->ids[(size_t) row * p->n_used + e] = id[i];
            p->gates[(size_t) row * p->n_used + e] = g[i] / sum * p->w_scale;
            if (also != NULL) {
                also[e] = id[i];
            }
        }
    }
}


/* One block, 1024 threads. */
template <int N>
__global__ void
__launch_bounds__(CU_MOE_EXPERTS) cu_moe_route_few(cu_moe_t p, const cu_step_t *step)
{
    CU_SHARED uint32_t ids[CU_MOE_FEW * CU_MOE_USED];

    uint32_t rows, slots, i, e = threadIdx.x, less = 0, equal = 0;

    cu_grid_launch();
    cu_grid_wait();

    rows = min(step->n_rows, p.rows);
    slots = rows * p.n_used;

    /* CU_MOE_FEW warps. */
    i = threadIdx.x / 32;
    if (i < rows) {
        cu_moe_choose<N>(&p, i, ids + i * p.n_used);
    }
    __syncthreads();

    if (e >= p.n_expert) {
        return;
    }

    for (i = 0; i < slots; i++) {
        less += ids[i] < e;
        equal += ids[i] == e;
    }

    p.first[e] = less;
    if (e == p.n_expert - 1) {
        p.first[e + 1] = slots;
    }

    for (i = 0; equal > 0 && i < slots; i++) {
        if (ids[i] == e) {
            p.slots[less++] = i;
            equal--;
        }
    }
}


/* A warp a row. */
template <int N>
__global__ void
__launch_bounds__(CU_MOE_CHOOSE) cu_moe_route_rows(cu_moe_t p, const cu_step_t *step)
{
    uint32_t row = (blockIdx.x * CU_MOE_CHOOSE + threadIdx.x) / 32;

    cu_grid_launch();
    cu_grid_wait();

    if (row < min(step->n_rows, p.rows)) {
        cu_moe_choose<N>(&p, row, NULL);
    }
}


/* A block an expert; each warp has a part of the slots, one after the other. */
__global__ void
__launch_bounds__(CU_MOE_SORT) cu_moe_sort(cu_moe_t p, const cu_step_t *step)
{
    const uint32_t warps = CU_MOE_SORT / 32;

    CU_SHARED uint32_t counts[warps], lower[warps];

    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t e = blockIdx.x;
    uint32_t slots, part, begin, end, i, id, at, mask, less = 0, equal = 0;

    cu_grid_launch();
    cu_grid_wait();

    slots = min(step->n_rows, p.rows) * p.n_used;
    part = (slots + warps * 32 - 1) / (warps * 32) * 32;
    begin = min(warp * part, slots);
    end = min(begin + part, slots);

#pragma unroll 4
    for (i = begin + lane; i < end; i += 32) {
        id = p.ids[i];
        less += id < e;
        equal += id == e;
    }

    less = __reduce_add_sync(CU_FULL, less);
    equal = __reduce_add_sync(CU_FULL, equal);
    if (lane == 0) {
        counts[warp] = equal;
        lower[warp] = less;
    }
    __syncthreads();

    /* Where the expert's slots begin; where this warp's do. */
    at = 0;
    for (i = 0; i < warps; i++) {
        at += lower[i];
    }
    if (threadIdx.x == 0) {
        p.first[e] = at;
        if (e == p.n_expert - 1) {
            p.first[e + 1] = slots;
        }
    }
    for (i = 0; i < warp; i++) {
        at += counts[i];
    }

    if (equal == 0) {
        return;
    }

    for (i = begin; i < end; i += 32) {
        id = i + lane < end ? p.ids[i + lane] : ~0u;
        mask = __ballot_sync(CU_FULL, id == e);
        if (id == e) {
            p.slots[at + __popc(mask & ((1u << lane) - 1))] = i + lane;
        }
        at += __popc(mask);
    }
}


template <int N>
static int
cu_moe_route_launch(const cu_moe_t *p, const cu_step_t *step, cu_stream_t s)
{
    int      rc;
    uint32_t blocks;

    /* Keys of more than 512 experts do not fit into 64 registers. */
    if constexpr (N <= 16) {
        if (p->rows <= CU_MOE_FEW) {
            return cu_launch(cu_moe_route_few<N>, dim3(1), dim3(CU_MOE_EXPERTS), 0, s, *p, step);
        }
    }

    blocks = (p->rows + CU_MOE_CHOOSE / 32 - 1) / (CU_MOE_CHOOSE / 32);
    rc = cu_launch(cu_moe_route_rows<N>, dim3(blocks), dim3(CU_MOE_CHOOSE), 0, s, *p, step);
    if (rc != 0) {
        return rc;
    }
    return cu_launch(cu_moe_sort, dim3(p->n_expert), dim3(CU_MOE_SORT), 0, s, *p, step);
}


int
cu_moe_route(const cu_moe_t *p, const cu_step_t *step, cu_stream_t s)
{
    if (p->rows == 0 || p->n_expert == 0 || p->n_expert > CU_MOE_EXPERTS || p->n_used == 0
        || p->n_used > CU_MOE_USED || p->n_used > p->n_expert
        || p->rows > UINT32_MAX / CU_MOE_USED) {
        return -EINVAL;
    }

    if (p->n_expert <= 32) {
        return cu_moe_route_launch<1>(p, step, s);
    }
    if (p->n_expert <= 128) {
        return cu_moe_route_launch<4>(p, step, s);
    }
    if (p->n_expert <= 512) {
        return cu_moe_route_launch<16>(p, step, s);
    }
    return cu_moe_route_launch<32>(p, step, s);
}


/* --- act(gate) * up --- */

template <typename T, bool WIDE>
__global__ void
__launch_bounds__(CU_MOE_ACT) cu_moe_act_kernel(cu_moe_act_t p, const cu_step_t *step)
{
    const int N = 8;

    uint32_t slot = blockIdx.x;
    uint32_t at = (blockIdx.y * CU_MOE_ACT + threadIdx.x) * N;
    size_t   row = (size_t) slot * p.n, bias;
    float    g[N], u[N], b[N];

    cu_grid_launch();
    cu_grid_wait();

    /* At most slots = rows * n_used of them. */
    if (slot / p.n_used >= step->n_rows || at >= p.n) {
        return;
    }

    cu_load_chunk<N, WIDE>(g, (const T *) p.g + row, at, p.n);
    cu_load_chunk<N, WIDE>(u, (const T *) p.u + row, at, p.n);

    if (p.bias_g != NULL || p.bias_u != NULL) {
        bias = (size_t) p.ids[slot] * p.n;

        if (p.bias_g != NULL) {
            cu_load_chunk<N, WIDE>(b, p.bias_g + bias, at, p.n);
#pragma unroll
            for (int i = 0; i < N; i++) {
                g[i] += b[i];
            }
        }
        if (p.bias_u != NULL) {
            cu_load_chunk<N, WIDE>(b, p.bias_u + bias, at, p.n);
#pragma unroll
            for (int i = 0; i < N; i++) {
                u[i] += b[i];
            }
        }
    }

    cu_act_chunk<N>(p.fn, g, g, u);
    cu_store_chunk<N, WIDE>((T *) p.h + row, g, at, p.n);
}


template <typename T>
static int
cu_moe_act_launch(const cu_moe_act_t *p, const cu_step_t *step, cu_stream_t s)
{
    dim3 grid(p->slots, (p->n + CU_MOE_ACT * 8 - 1) / (CU_MOE_ACT * 8));

    if (p->n % 8 == 0) {
        return cu_launch(cu_moe_act_kernel<T, true>, grid, dim3(CU_MOE_ACT), 0, s, *p, step);
    }
    return cu_launch(cu_moe_act_kernel<T, false>, grid, dim3(CU_MOE_ACT), 0, s, *p, step);
}


int
cu_moe_act(cu_type_t t, const cu_moe_act_t *p, const cu_step_t *step, cu_stream_t s)
{
    if (p->slots == 0 || p->n == 0 || p->n_used == 0 || p->fn > K_FN_SWIGLU_OAI) {
        return -EINVAL;
    }

    if (t == CU_F16) {
        return cu_moe_act_launch<__half>(p, step, s);
    }
    return t == CU_BF16 ? cu_moe_act_launch<__nv_bfloat16>(p, step, s) : -EINVAL;
}


/* --- the sum --- */

template <bool WIDE>
__global__ void
__launch_bounds__(CU_MOE_SUM)
    cu_moe_sum_kernel(const float *y, const float *gates, float *out, uint32_t rows,
                      uint32_t n_used, uint32_t n, const cu_step_t *step)
{
    const int N = 4;

    size_t   row = blockIdx.x;
    uint32_t at = (blockIdx.y * CU_MOE_SUM + threadIdx.x) * N;
    float    sum[N] = {0}, v[N];

    cu_grid_launch();
    cu_grid_wait();

    if (row >= step->n_rows || at >= n) {
        return;
    }

#pragma unroll 4
    for (uint32_t i = 0; i < n_used; i++) {
        float gate = gates[row * n_used + i];

        cu_load_chunk<N, WIDE>(v, y + (row * n_used + i) * n, at, n);
#pragma unroll
        for (int j = 0; j < N; j++) {
            sum[j] = fmaf(gate, v[j], sum[j]);
        }
    }

    cu_store_chunk<N, WIDE>(out + row * n, sum, at, n);
}


int
cu_moe_sum(const float *y, const float *gates, float *out, uint32_t rows, uint32_t n_used,
           uint32_t n, const cu_step_t *step, cu_stream_t s)
{
    dim3 grid(rows, (n + CU_MOE_SUM * 4 - 1) / (CU_MOE_SUM * 4));

    if (rows == 0 || n_used == 0 || n == 0) {
        return -EINVAL;
    }

    if (n % 4 == 0) {
        return cu_launch(cu_moe_sum_kernel<true>, grid, dim3(CU_MOE_SUM), 0, s, y, gates, out, rows,
                         n_used, n, step);
    }
    return cu_launch(cu_moe_sum_kernel<false>, grid, dim3(CU_MOE_SUM), 0, s, y, gates, out, rows,
                     n_used, n, step);
}
