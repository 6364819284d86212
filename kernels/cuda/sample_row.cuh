/*
 * What the last block of a row does in both sampling kernels: what the row is
 * and asks for, the cut of a list, the draw from the slabs' weights, results.
 * Device code; included by sample.cu and sample_cut.cu only.
 */

#ifndef LLM_KERNELS_CUDA_SAMPLE_ROW_CUH
#define LLM_KERNELS_CUDA_SAMPLE_ROW_CUH

#include "kernels/cuda/sample.cuh"

/* Launches the second kernel, sample_cut.cu. */
int cu_sample_cut(const cu_sample_t *p, cu_stream_t s);


__device__ static inline cu_ask_t
cu_ask(const cu_draw_t &d, uint32_t n)
{
    cu_ask_t a;

    a.t = 1.0f / (d.temperature > CU_COLDEST ? d.temperature : CU_COLDEST);
    a.min_p = d.min_p < 1.0f ? d.min_p : 1.0f;
    a.top_k = d.top_k < n ? d.top_k : 0;
    a.top_p = d.top_p < 1.0f;
    a.judged = d.score >= 0;

    /* Cuts that leave one token leave the greedy one. */
    a.greedy = d.temperature == 0 || d.top_k == 1 || d.top_p <= 0;
    a.cut = !a.judged && !a.greedy && (a.top_k != 0 || a.top_p || a.min_p > 0);
    return a;
}


__device__ static inline cu_row_t *
cu_row(const cu_sample_t &p, uint32_t draw)
{
    return (cu_row_t *) ((uint8_t *) p.scratch + draw * cu_pick_layout(p.n_vocab).size);
}


__device__ static inline cu_place_t
cu_place(const cu_sample_t &p, uint32_t draw, uint32_t logit)
{
    cu_place_t       w;
    cu_pick_layout_t l = cu_pick_layout(p.n_vocab);
    uint8_t         *mem = (uint8_t *) p.scratch + draw * l.size;

    w.raw = p.l + (size_t) logit * p.ld;
    w.n = p.n_vocab;
    w.n_slabs = cu_slabs(p.n_vocab);
    w.wide = ((uintptr_t) p.l & 15) == 0 && p.ld % 4 == 0;
    w.row = (cu_row_t *) mem;
    w.slabs = (cu_slab_t *) (mem + l.slabs);
    w.hist = (uint16_t *) (mem + l.hist);
    w.top = (cu_pick_t *) (mem + l.top);
    w.list = (cu_pick_t *) (mem + l.list);
    return w;
}


/*
 * Block: what the row is and asks for, to s; 0 if there is no such draw.
 * Draws come by a copy, never from a kernel, so that this may be done before
 * cu_grid_wait(): nothing of it waits for the logits.
 */
__device__ static inline int
cu_setup(const cu_sample_t &p, cu_pick_smem_t &s)
{
    if (blockIdx.y >= p.draws->n) {
        return 0;
    }
    if (threadIdx.x == 0) {
        s.out = p.out + blockIdx.y;
        s.drawn = p.drawn + blockIdx.y;
        s.draws = *p.draws;
        s.d = s.draws.draws[blockIdx.y];
        s.a = cu_ask(s.d, p.n_vocab);
        s.w = cu_place(p, blockIdx.y, s.d.logit);
    }
    __syncthreads();
    return 1;
}


/*
 * Block: 1 for the last of the row's blocks to come here, which then sees what
 * all have written before; the counter is 0 again.  The fences of one thread
 * are enough: barriers on both sides make them those of the block.
 */
__device__ static inline int
cu_last_block(cu_row_t *row, cu_pick_smem_t &s)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        s.flag = atomicAdd(&row->done, 1u) == gridDim.x - 1;
        if (s.flag) {
            row->done = 0;
        }
        __threadfence();
    }
    __syncthreads();
    return (int) s.flag;
}


/* Block: the result of a draw; top ones are there already. */
__device__ static inline void
cu_finish(uint32_t token, double lse, const cu_pick_smem_t &s)
{
    if (threadIdx.x == 0) {
        s.out->token = (int32_t) token;
        s.out->logprob = s.d.logprob ? (float) ((double) s.w.raw[token] - lse) : 0;
        *s.drawn = (int32_t) token;
    }
}


/* Block: a row without a token. */
__device__ static inline void
cu_fail(const cu_pick_smem_t &s)
{
    if (threadIdx.x == 0) {
        s.out->token = -1;
        s.out->logprob = 0;
        s.out->n_top = 0;
        *s.drawn = 0;
    }
}


/* --- the cut of a list --- */

/* A front part by (value falling, place rising): keys above `key`, and of
   those that are `key` the places up to `last`. */
typedef struct {
    uint32_t key;
    uint32_t last;
} cu_cut_t;

__device__ static inline int
cu_before(cu_cut_t c, uint32_t key, uint32_t place)
{
    return key > c.key || (key == c.key && place <= c.last);
}


/*
 * Equal ones that are taken: as many of weight w as bring `above` to target,
 * at least one, at most n.
 */
__device__ static inline double
cu_equals(double above, double w, double target, double n)
{
    double e;

    if (!(w > 0)) {
        return n;
    }
    e = ceil((target - above) / w);
    e = e < 1 ? 1 : e > n ? n : e;
    if (e > 1 && above + (e - 1) * w >= target) {
        e -= 1;
    } else if (e < n && above + e * w < target) {
        e += 1;
    }
    return e;
}


/*
 * Warp 0: the digit, from the top, at which the histogram's sum on `above`
 * reaches target, or the lowest that there is: s.digit, and s.above before it.
 * A lane has eight digits.  hist[0] counts, or low and high parts of weights.
 */
__device__ static inline double
cu_digit_mass(int d, int by_mass, const cu_pick_smem_t &s)
{
    double q = (double) s.hist[0][d];

    if (by_mass) {
        q = (q + (double) s.hist[1][d] * (1 << CU_LOW_BITS)) * CU_QUANTUM;
    }
    return q;
}


__device__ static inline void
cu_digit(double above, double target, int by_mass, cu_pick_smem_t &s)
{
    int      lane = threadIdx.x, first = CU_BINS - 1 - 8 * lane;
    double   sum = 0, before;
    uint32_t reach, some;

#pragma unroll 1
    for (int d = first; d > first - 8; d--) {
        sum += cu_digit_mass(d, by_mass, s);
    }

    before = sum;
#pragma unroll
    for (int i = 1; i < 32; i *= 2) {
        double y = __shfl_up_sync(CU_FULL, before, i);

        before += lane >= i ? y : 0;
    }
    before += above;
    reach = __ballot_sync(CU_FULL, sum > 0 && before >= target);
    some = __ballot_sync(CU_FULL, sum > 0);
    before -= sum;

    if (lane != (reach ? __ffs((int) reach) - 1 : 31 - __clz((int) some))) {
        return;
    }
#pragma unroll 1
    for (int d = first; d > first - 8; d--) {
        sum = cu_digit_mass(d, by_mass, s);
        if (sum > 0) {
            s.digit = (uint32_t) d;
            s.above = before;
            before += sum;
            if (before >= target) {
                break;
            }
        }
    }
}


/*
 * Block: of the list's values s.x[CU_AT(i)], i < m, m > 0, that are in
 * `limit`, the shortest front part that counts (or weighs, with what `above`
 * weighs already) target or more; never empty; all if none does.  A radix
 * selection over the bits in which the keys differ.  Counts and weights are
 * summed as integers: in any order they come to the same.
 */
__device__ static inline cu_cut_t
cu_cut(uint32_t m, cu_cut_t limit, int by_mass, double above, double target, float max, float t,
       cu_pick_smem_t &s)
{
    uint32_t i, key, low = CU_NONE, high = 0, prefix = 0, n, first;
    int      shift, width, bits;
    double   before, total, e;
    cu_cut_t cut;

    for (i = threadIdx.x; i < m; i += CU_PICK) {
        key = cu_key(s.x[CU_AT(i)]);
        if (cu_before(limit, key, i)) {
            low = key < low ? key : low;
            high = key > high ? key : high;
        }
    }
    low = cu_block_min32(low, s);
    high = cu_block_max32(high, s);

    bits = high > low ? 32 - __clz((int) (high - low)) : 0;
    shift = bits;

    while (shift > 0) {
        width = shift < 8 ? shift : 8;
        for (i = threadIdx.x; i < CU_BINS; i += CU_PICK) {
            s.hist[0][i] = 0;
            s.hist[1][i] = 0;
        }
        __syncthreads();

        for (i = threadIdx.x; i < m; i += CU_PICK) {
            float    x = s.x[CU_AT(i)];
            uint32_t digit;
            uint64_t q;

            key = cu_key(x);
            if (!cu_before(limit, key, i) || (uint64_t) (key - low) >> shift != (uint64_t) prefix) {
                continue;
            }
            digit = (key - low) >> (shift - width) & ((1u << width) - 1);
            if (!by_mass) {
                atomicAdd(&s.hist[0][digit], 1u);
                continue;
            }
            q = (uint64_t) (cu_weight(x, max, t) * CU_QUANTA);
            q = q == 0 ? 1 : q;
            atomicAdd(&s.hist[0][digit], (uint32_t) q & ((1u << CU_LOW_BITS) - 1));
            atomicAdd(&s.hist[1][digit], (uint32_t) (q >> CU_LOW_BITS));
        }
        __syncthreads();

        if (threadIdx.x < 32) {
            cu_digit(above, target, by_mass, s);
        }
        __syncthreads();
        prefix = prefix << width | s.digit;
        above = s.above;
        shift -= width;
        __syncthreads();
    }

    cut.key = low + prefix;

    /* Which of those with this key: each thread has sixteen neighbours. */
    n = 0;
    first = threadIdx.x * 16;
    for (i = first; i < first + 16 && i < m; i++) {
        key = cu_key(s.x[CU_AT(i)]);
        n += key == cut.key && cu_before(limit, key, i);
    }
    before = cu_block_scan((double) n, &total, s);
    e = fmax(fmin(target - above, total), 1);
    if (by_mass) {
        e = cu_equals(above, (double) cu_weight(cu_unkey(cut.key), max, t), target, total);
    }

    for (i = first; i < first + 16 && i < m; i++) {
        key = cu_key(s.x[CU_AT(i)]);
        if (key == cut.key && cu_before(limit, key, i)) {
            before += 1;
            if (before == e) {
                s.key = i;
            }
        }
    }
    __syncthreads();
    cut.last = s.key;
    __syncthreads();
    return cut;
}


/* --- the draw from a slab --- */

/* Block: weights of a slab to s.x, without what is not before the cut or what
   min_p leaves out; its cut is by ids. */
__device__ static inline void
cu_slab_weights(const float v[CU_EACH], uint32_t base, cu_cut_t cut, float near, float max,
                cu_pick_smem_t &s)
{
    const cu_ask_t &a = s.a;

#pragma unroll
    for (int i = 0; i < CU_EACH; i++) {
        uint32_t at = cu_slab_at(i);
        float    x = v[i], y = cu_weight(x, max, a.t);

        if (!((max - x) * a.t * CU_BINS_NAT < near) && !cu_before(cut, cu_key(x), base + at)) {
            y = 0;
        }
        s.x[cu_slab_own(i)] = y >= a.min_p ? y : 0;
    }
    __syncthreads();
}


/* Block: the draw from slabs whose weights are in s.sums. */
__device__ static inline uint32_t
cu_draw_slabs(cu_cut_t cut, float near, float max, cu_pick_smem_t &s)
{
    const cu_draw_t &d = s.d;

    uint32_t slab, t = threadIdx.x;
    float    v[CU_EACH];
    double   u, total, rest;

    u = k_philox_draw(d.seed, d.position, d.choice, 0);
    total = cu_block_sum64(t < s.w.n_slabs ? s.sums[t] : 0, s);
    slab = cu_walk_slabs(s.w.n_slabs, u * total, &rest, s);
    cu_slab_load(v, slab * CU_SLAB, s);
    cu_slab_adjust(v, slab * CU_SLAB, s);
    cu_slab_weights(v, slab * CU_SLAB, cut, near, max, s);
    return slab * CU_SLAB + cu_walk(CU_SLAB, rest, s);
}

#endif /* LLM_KERNELS_CUDA_SAMPLE_ROW_CUH */
