/*
 * Sampling without a sort of the vocabulary: two launches, whatever is asked.
 * Each has a block for every slab of CU_SLAB tokens of every row (draw), so
 * that one row of 128k logits is on 32 SMs and 256 rows fill the device; the
 * last block of a row to come does what needs all of its slabs.
 *
 *   cu_pick_scan    one pass over every row: is it finite, largest logit (raw,
 *                   and after penalties, bias and mask), sums of weights
 *                   relative to the slab's own largest, for logprobs the top
 *                   ones of the slab, for cut rows a histogram of distances
 *                   from the slab's largest.  The last block ends rows that
 *                   are judged, greedy or not cut (it walks through the one
 *                   slab that holds the draw); for the others it finds, from
 *                   the histograms, between which distances the cut is.
 *   cu_pick_cut     of rows that are cut: slabs that reach into what matters
 *                   (the others are not read again) sum what is before the cut
 *                   for sure and list what is near it.  The last block finds
 *                   the cut in the list and draws.  As a rule the list holds
 *                   all that may be drawn, and no slab is read a third time.
 *                   A list that overflows (more than CU_LIST tokens about the
 *                   cut: very flat logits) costs this block some passes over
 *                   the row: the cut is searched for, then listed.
 *
 * A row is read once or twice, mostly from L2; exp() once or twice a token.
 * Threads to data, and shared memory, as sample.cuh says.  What is left out
 * beyond 31.9 nats from the largest weighs about 1e-8 of it at most, in all.
 */

#include "kernels/cuda/sample_row.cuh"

#define CU_FAR   255.0f /* bins: farther tokens are none */
#define CU_SLACK 0.01f  /* bins: more than the error of a distance */
#define CU_SURE  1e-5   /* relative: more than the error of the sums */
#define CU_TAIL  2e-8   /* weight of all farther tokens is less */


/* --- top ones --- */

/*
 * Block: the first `want` of the list (values s.x, places' order is that of
 * ids s.id) by falling value, to few[]; returns how many there are.
 */
__device__ static inline uint32_t
cu_first_few(uint32_t m, uint32_t want, cu_pick_smem_t &s)
{
    uint32_t  i, j, rank, t = threadIdx.x;
    float     x;
    cu_cut_t  cut = {0, CU_NONE};
    cu_pick_t mine;

    want = want < m ? want : m;
    if (want == 0) {
        return 0;
    }

    if (m > CU_PICK) {
        cut = cu_cut(m, cut, 0, 0, want, 0, 0, s);
        if (t == 0) {
            s.count = 0;
        }
        __syncthreads();
        for (i = t; i < m; i += CU_PICK) {
            if (cu_before(cut, cu_key(s.x[CU_AT(i)]), i)) {
                j = atomicAdd(&s.count, 1u);
                s.few[j].x = s.x[CU_AT(i)];
                s.few[j].id = s.id[i];
            }
        }
        __syncthreads();
        m = want;
        if (t < m) {
            mine = s.few[t];
        }
        __syncthreads();
        if (t < m) {
            s.x[CU_AT(t)] = mine.x;
            s.id[t] = mine.id;
        }
        __syncthreads();
    }

    if (t < m) {
        x = s.x[CU_AT(t)];
        rank = 0;
        for (i = 0; i < m; i++) {
            float y = s.x[CU_AT(i)];

            rank += y > x || (y == x && s.id[i] < s.id[t]);
        }
        if (rank < want) {
            s.few[rank].x = x;
            s.few[rank].id = s.id[t];
        }
    }
    __syncthreads();
    return want;
}


/*
 * Block: s.rest becomes a bound that no fewer than `want` tokens reach: the
 * want-th largest of n <= CU_PICK maxima in s.sums, each of a token of its
 * own; -FLT_MAX where there are not so many.
 */
__device__ static inline float
cu_bound(uint32_t n, uint32_t want, cu_pick_smem_t &s)
{
    uint32_t i, rank = 0, t = threadIdx.x;
    float    bound;

    if (t == 0) {
        s.rest = -FLT_MAX;
    }
    __syncthreads();
    if (t < n) {
        for (i = 0; i < n; i++) {
            rank += s.sums[i] > s.sums[t] || (s.sums[i] == s.sums[t] && i < t);
        }
        if (rank == want - 1 && s.sums[t] > -FLT_MAX) {
            s.rest = s.sums[t];
        }
    }
    __syncthreads();
    bound = (float) s.rest;
    __syncthreads();
    return bound;
}


/* Block: the slab's top ones to its place; ids CU_NONE where there is none. */
__device__ static inline void
cu_slab_top(const float v[CU_EACH], uint32_t base, uint32_t want, cu_pick_t *top, cu_pick_smem_t &s)
{
    uint32_t i, marks = 0, m, at[CU_CHUNKS];
    float    bound;

    /* Maxima of 128 neighbours. */
#pragma unroll
    for (int c = 0; c < CU_CHUNKS; c++) {
        float x = fmaxf(fmaxf(v[4 * c], v[4 * c + 1]), fmaxf(v[4 * c + 2], v[4 * c + 3]));

        x = cu_warp_max(x);
        if (threadIdx.x % 32 == 0) {
            s.sums[c * CU_WARPS + threadIdx.x / 32] = (double) x;
        }
    }
    __syncthreads();
    bound = cu_bound(32, want, s);

#pragma unroll
    for (int k = 0; k < CU_EACH; k++) {
        marks |= v[k] >= bound ? 1u << k : 0;
    }
    m = cu_slab_order(marks, at, s);
#pragma unroll
    for (int k = 0; k < CU_EACH; k++) {
        if (marks >> k & 1) {
            i = cu_slab_place(marks, at, k);
            s.x[CU_AT(i)] = v[k];
            s.id[i] = base + cu_slab_at(k);
        }
    }
    __syncthreads();

    m = cu_first_few(m, want, s);
    if (threadIdx.x < want) {
        cu_pick_t none = {0, CU_NONE};

        top[threadIdx.x] = threadIdx.x < m ? s.few[threadIdx.x] : none;
    }
    __syncthreads();
}


/* Block: the row's top ones from its slabs', to out. */
__device__ static inline void
cu_row_top(uint32_t want, double lse, k_sampled_t *out, cu_pick_smem_t &s)
{
    const cu_place_t &w = s.w;

    uint32_t  i, n = w.n_slabs * want, m, t = threadIdx.x, at = 0;
    float     bound;
    double    before, total;
    cu_pick_t k;

    if (t < w.n_slabs) {
        s.sums[t] = (double) w.slabs[t].max_raw;
    }
    __syncthreads();
    bound = cu_bound(w.n_slabs, want, s);

    /* A thread's neighbours in order, so all are in the order of ids among
       equal ones. */
    n = (n + CU_PICK - 1) / CU_PICK;
    m = 0;
    for (i = t * n; i < (t + 1) * n && i < w.n_slabs * want; i++) {
        k = w.top[i / want * K_TOP_MAX + i % want];
        m += k.id != CU_NONE && k.x >= bound;
    }
    before = cu_block_scan((double) m, &total, s);
    at = (uint32_t) before;
    for (i = t * n; i < (t + 1) * n && i < w.n_slabs * want; i++) {
        k = w.top[i / want * K_TOP_MAX + i % want];
        if (k.id != CU_NONE && k.x >= bound) {
            s.x[CU_AT(at)] = k.x;
            s.id[at++] = k.id;
        }
    }
    __syncthreads();

    m = cu_first_few((uint32_t) total, want, s);
    if (t < K_TOP_MAX) {
        out->top[t].token = t < m ? (int32_t) s.few[t].id : 0;
        out->top[t].logprob = t < m ? (float) ((double) s.few[t].x - lse) : 0;
    }
    if (t == 0) {
        out->n_top = m;
    }
    __syncthreads();
}


/* --- the first kernel's last block --- */

/*
 * Block: between which distances the cut is, from the slabs' histograms.  A
 * token that its slab counts in bin b is at a distance of at least D + b and
 * less than D + b + 1 from the row's largest, where D is the slab's: nearest
 * and farthest whole bins of it go to near and far.
 */
__device__ static inline void
cu_window(float max, double total, cu_pick_smem_t &s)
{
    const cu_ask_t   &a = s.a;
    const cu_draw_t  &d = s.d;
    const cu_place_t &w = s.w;

    uint32_t  i, t = threadIdx.x, b = CU_BINS - 1 - t, first, last;
    uint32_t *hist_near = s.hist[0], *hist_far = s.hist[1];
    float     near, far, range;
    double    tail, count, reach, n_near, n_far, mass, limit;

    hist_near[t] = 0;
    hist_far[t] = 0;
    __syncthreads();

    /* A warp takes a slab, a lane eight of its bins. */
    for (i = t / 32; i < w.n_slabs; i += CU_WARPS) {
        uint4    bins = ((const uint4 *) (w.hist + i * CU_BINS))[t % 32];
        float    from = (max - w.slabs[i].max) * a.t * CU_BINS_NAT;
        uint32_t word[4] = {bins.x, bins.y, bins.z, bins.w};

#pragma unroll
        for (int k = 0; k < 8; k++) {
            uint32_t n = word[k / 2] >> (k % 2 * 16) & 0xffff;

            range = from + (float) (t % 32 * 8 + k);
            if (n != 0 && range < CU_FAR) {
                atomicAdd(&hist_near[(uint32_t) fmaxf(range - CU_SLACK, 0)], n);
                range += 1 + CU_SLACK;
                atomicAdd(&hist_far[(uint32_t) fminf(range, CU_FAR)], n);
            }
        }
    }
    __syncthreads();

    /* Thread t has bin b; from the far end: sums of all bins from b on. */
    n_near = hist_near[b];
    n_far = hist_far[b];
    mass = n_near * exp(-(double) b / CU_BINS_NAT);
    tail = cu_block_scan(mass, &limit, s) + mass;
    count = n_near + cu_block_scan(n_near, &limit, s);
    count = limit - count; /* tokens nearer than b are no more */
    reach = cu_block_scan(n_far, &limit, s);
    reach = limit - reach; /* no fewer are nearer than b + 1 */

    first = CU_NONE; /* far: the first whole bin that is far enough */
    last = 0;        /* near: the last that is before the cut */

    if (a.top_k) {
        first = reach >= (double) a.top_k ? b + 1 : CU_NONE;
        last = count < (double) a.top_k ? b : 0;
    } else if (a.top_p) {
        limit = (1.0 - (double) d.top_p) * total;
        mass = tail;
        for (i = 1; i <= 2 && i <= b; i++) {
            mass += hist_near[b - i] * exp(-(double) b / CU_BINS_NAT);
        }
        if (b > 0 && mass + CU_TAIL <= limit * (1 - CU_SURE)) {
            first = b;
        }
        mass = tail * exp(-(2 + 2 * (double) CU_SLACK) / CU_BINS_NAT);
        if (mass >= limit + (double) d.top_p * total * CU_SURE) {
            last = b;
        }
    }

    first = cu_block_min32(first, s);
    last = cu_block_max32(last, s);
    far = first < (uint32_t) CU_FAR ? (float) first : CU_FAR;
    near = (float) last;

    /* With both, top_p is of what top_k keeps: all of that is wanted. */
    if (a.min_p > 0 && !(a.top_k && a.top_p)) {
        range = -logf(a.min_p) * CU_BINS_NAT + 0.1f;
        far = fminf(far, range);
        near = a.top_k == 0 && !a.top_p ? far : near;
    }
    near = fminf(near, far);

    /* Where the list can hold all that matters, it does. */
    s.sums[b] = count;
    __syncthreads();
    i = (uint32_t) ceilf(far);
    if ((a.top_k && a.top_p) || s.sums[i < CU_BINS ? i : CU_BINS - 1] <= CU_LIST) {
        near = -1;
    }
    if (t == 0) {
        w.row->near = near;
        w.row->far = far;
    }
    __syncthreads();
}


/* Block: what all slabs together say. */
__device__ static inline void
cu_scan_end(cu_pick_smem_t &s)
{
    const cu_ask_t   &a = s.a;
    const cu_draw_t  &d = s.d;
    const cu_place_t &w = s.w;

    uint32_t t = threadIdx.x, bad, token;
    uint64_t best = 0;
    float    max_raw, max;
    double   lse = 0, sum, total;
    cu_cut_t none = {CU_NONE, 0};

    if (t == 0) {
        w.row->pending = 0;
        w.row->listed = 0;
    }

    bad = cu_block_max32(t < w.n_slabs ? w.slabs[t].bad : 0, s);
    max_raw = cu_unkey(cu_block_max32(t < w.n_slabs ? cu_key(w.slabs[t].max_raw) : 0, s));
    if (bad || max_raw == -CU_INF) {
        cu_fail(s);
        return;
    }

    if (d.logprob) {
        sum = 0;
        if (t < w.n_slabs && w.slabs[t].sum_raw > 0) {
            sum = w.slabs[t].sum_raw * exp((double) w.slabs[t].max_raw - (double) max_raw);
        }
        lse = (double) max_raw + log(cu_block_sum64(sum, s));
    }
    if (d.logprob && d.n_top != 0) {
        cu_row_top(d.n_top, lse, s.out, s);
    } else if (t == 0) {
        s.out->n_top = 0;
    }
    if (a.judged) {
        cu_finish((uint32_t) d.score, lse, s);
        return;
    }

    if (t < w.n_slabs) {
        best = (uint64_t) cu_key(w.slabs[t].max) << 32 | (uint32_t) ~w.slabs[t].arg;
    }
    best = cu_block_max64(best, s);
    max = cu_unkey((uint32_t) (best >> 32));
    token = ~(uint32_t) best;
    if (max == -CU_INF) {
        cu_fail(s);
        return;
    }
    if (a.greedy) {
        cu_finish(token, lse, s);
        return;
    }

    sum = 0;
    if (t < w.n_slabs && w.slabs[t].sum > 0) {
        sum = w.slabs[t].sum * exp((double) __fmul_rn(__fsub_rn(w.slabs[t].max, max), a.t));
    }
    total = cu_block_sum64(sum, s);

    if (!a.cut) {
        s.sums[t] = sum;
        __syncthreads();
        token = cu_draw_slabs(none, CU_INF, max, s);
        cu_finish(token, lse, s);
        return;
    }

    cu_window(max, total, s);
    if (t == 0) {
        w.row->max = max;
        w.row->total = total;
        w.row->lse = lse;
        w.row->pending = 1;
    }
}


/* Grid: (slabs, draws). */
__global__ static void
__launch_bounds__(CU_PICK, 3) cu_pick_scan(cu_sample_t p)
{
    CU_SHARED cu_pick_smem_t s;

    const cu_ask_t   &a = s.a;
    const cu_draw_t  &d = s.d;
    const cu_place_t &w = s.w;

    int        have, good;
    uint32_t   slab = blockIdx.x, base = slab * CU_SLAB, t = threadIdx.x;
    uint64_t   best;
    float      v[CU_EACH], max_raw, max;
    double     sum;
    cu_slab_t *mine;

    have = cu_setup(p, s);
    cu_grid_wait();
    cu_grid_launch();
    if (!have) {
        return;
    }
    mine = w.slabs + slab;

    cu_slab_load(v, base, s);

    best = 0;
#pragma unroll
    for (int i = 0; i < CU_EACH; i++) {
        uint64_t key = v[i] < CU_INF ? cu_key(v[i]) : CU_NONE;

        key = key << 32 | (uint32_t) ~(base + cu_slab_at(i));
        best = key > best ? key : best;
    }
    best = cu_block_max64(best, s);
    good = best >> 32 != CU_NONE;
    max_raw = cu_unkey((uint32_t) (best >> 32));
    if (t == 0) {
        mine->bad = !good;
        mine->max_raw = max_raw;
        mine->max = max_raw;
        mine->arg = ~(uint32_t) best;
        mine->sum_raw = 0;
        mine->sum = 0;
    }

    if (good && max_raw != -CU_INF && d.logprob) {
        sum = 0;
#pragma unroll
        for (int i = 0; i < CU_EACH; i++) {
            sum += (double) cu_weight(v[i], max_raw, 1.0f);
        }
        sum = cu_block_sum64(sum, s);
        if (t == 0) {
            mine->sum_raw = sum;
        }
    }
    if (d.logprob && d.n_top != 0) {
        cu_slab_top(v, base, d.n_top, w.top + slab * K_TOP_MAX, s);
    }

    if (good && !a.judged) {
        max = max_raw;
        if (d.n_counts != 0 || d.n_bias != 0 || d.mask != CU_NONE) {
            cu_slab_adjust(v, base, s);
            best = 0;
#pragma unroll
            for (int i = 0; i < CU_EACH; i++) {
                uint64_t key = (uint64_t) cu_key(v[i]) << 32 | (uint32_t) ~(base + cu_slab_at(i));

                best = key > best ? key : best;
            }
            best = cu_block_max64(best, s);
            max = cu_unkey((uint32_t) (best >> 32));
            if (t == 0) {
                mine->max = max;
                mine->arg = ~(uint32_t) best;
            }
        }

        if (!a.greedy) {
            s.hist[0][t] = 0;
            __syncthreads();
            sum = 0;
            if (max != -CU_INF) {
#pragma unroll
                for (int i = 0; i < CU_EACH; i++) {
                    float far = (max - v[i]) * a.t * CU_BINS_NAT;

                    sum += (double) cu_weight(v[i], max, a.t);
                    if (a.cut && far < CU_FAR) {
                        atomicAdd(&s.hist[0][(uint32_t) far], 1u);
                    }
                }
            }
            sum = cu_block_sum64(sum, s);
            if (t == 0) {
                mine->sum = sum;
            }
            if (a.cut) {
                w.hist[slab * CU_BINS + t] = (uint16_t) s.hist[0][t];
            }
        }
    }

    if (cu_last_block(w.row, s)) {
        cu_scan_end(s);
    }
}


uint64_t
cu_sample_scratch(uint32_t max_draws, uint32_t n_vocab)
{
    return cu_pick_layout(n_vocab).size * max_draws;
}


int
cu_sample(const cu_sample_t *p, cu_stream_t s)
{
    int      rc;
    uint32_t slabs = cu_slabs(p->n_vocab);

    if (p->n_vocab == 0 || slabs > CU_SLABS_MAX || p->ld < p->n_vocab || p->max_draws > 65535) {
        return -EINVAL;
    }
    if (p->max_draws == 0) {
        return 0;
    }

    rc = cu_launch(cu_pick_scan, dim3(slabs, p->max_draws), dim3(CU_PICK), 0, s, *p);
    if (rc == 0) {
        rc = cu_sample_cut(p, s);
    }
    return rc;
}
